//! The Python twin gives the same answers as the Rust shop, from the same data.

use std::process::Command;

use crate::running::{Running, shop, wait};

/// The twin; none, and a message, where there is no Python.
fn twin() -> Option<Command> {
    let mut command = Command::new("python3");
    if command.arg("--version").output().is_err() {
        // Shown by the test runner with --nocapture, and on failure.
        let note = "skipped: python3 is not installed";
        std::io::Write::write_all(&mut std::io::stderr(), format!("{note}\n").as_bytes()).unwrap();
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/shop.py"));
    Some(command)
}

#[test]
fn both_shops_answer_alike() {
    let Some(command) = twin() else { return };
    let shops = [
        Running::listening(shop(), &[]),
        Running::listening(command, &[]),
    ];
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for shop in &shops {
        let fields = [
            ("product", "2"),
            ("rating", "4"),
            ("message", "<i>bright</i>\r\nat night"),
        ];
        let answer = shop.form("/feedback", &fields);
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, "/product/2#feedback")
        );
        assert_eq!(
            shop.form("/feedback", &[("rating", "12"), ("message", "m")])
                .status,
            422
        );
        assert_eq!(
            shop.form("/feedback", &[("rating", "5"), ("message", " ")])
                .status,
            422
        );
        assert_eq!(shop.upload("a file.bin", &bytes).status, 303);
        assert_eq!(shop.upload("a file.bin", b"two").status, 303);
        assert_eq!(shop.upload("../shop.db", b"harm").status, 400);
        assert_eq!(shop.upload("over.bin", &vec![7; 10_100_000]).status, 413);
        assert_eq!(shop.fault("do=partner-fail").unwrap().status, 200);
        assert_eq!(
            shop.form("/feedback", &[("rating", "1"), ("message", "refused")])
                .status,
            502
        );
    }
    for (path, status, wants) in [
        (
            "/",
            200,
            &["Mooring rope, 20 m", "€ 129.00", "href=\"/product/8\""][..],
        ),
        (
            "/product/2",
            200,
            &[
                "Storm lantern",
                "&lt;i&gt;bright&lt;/i&gt;\nat night",
                ">sent</span>",
            ],
        ),
        ("/product/99", 404, &["We do not sell that."]),
        (
            "/feedback",
            200,
            &["&lt;i&gt;bright", "Ines", ">sent</span>"],
        ),
        (
            "/uploads",
            200,
            &["href=\"/uploads/a%20file.bin\"", "a file-2.bin"],
        ),
        ("/uploads/..%2Fshop.db", 404, &[]),
        ("/up", 200, &["up\n"]),
        ("/nowhere", 404, &[]),
    ] {
        for shop in &shops {
            let answer = shop.get(path);
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            for want in wants {
                assert!(
                    answer.text().contains(want),
                    "{path} lacks {want}: {}",
                    answer.text()
                );
            }
            assert!(!answer.text().contains("<i>"), "{path}");
            assert!(!answer.text().contains("refused"), "{path}");
        }
    }
    for shop in &shops {
        let back = shop.get("/uploads/a%20file.bin");
        assert_eq!(back.header("content-type"), "application/octet-stream");
        assert!(back.body == bytes, "the upload came back different");
        assert_eq!(
            std::fs::read_dir(shop.data().join("incoming"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn the_twin_goes_on_with_the_data_of_the_other() {
    let Some(command) = twin() else { return };
    let mut rust = Running::listening(shop(), &[]);
    assert_eq!(
        rust.form("/feedback", &[("rating", "2"), ("message", "to be kept")])
            .status,
        303
    );
    assert_eq!(rust.upload("kept.txt", b"kept").status, 303);
    rust.term();
    assert_eq!(rust.ended(), Ok(0));
    let python = Running::start_in(rust.into_dir(), command, &[]).until_listening();
    assert!(python.get("/feedback").text().contains("to be kept"));
    assert_eq!(python.get("/uploads/kept.txt").body, b"kept");
    assert_eq!(python.get("/").text().matches("class=\"card\"").count(), 8);
}

#[test]
fn the_twin_fails_and_ends_as_the_other() {
    for (query, end) in [("do=crash", Err(6)), ("do=exit&code=7", Ok(7))] {
        let Some(command) = twin() else { return };
        let mut twin = Running::listening(command, &[]);
        assert!(twin.fault(query).is_none());
        assert_eq!(twin.ended(), end, "{query}");
    }
    let Some(command) = twin() else { return };
    let mut twin = Running::listening(command, &[]);
    assert_eq!(twin.fault("do=panic").unwrap().status, 500);
    assert_eq!(twin.fault("do=log&lines=500&bytes=80").unwrap().status, 200);
    let out = twin.out();
    let noise: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("noise "))
        .collect();
    assert_eq!((noise.len(), noise[499].len()), (500, 80));
    twin.term();
    assert_eq!(twin.ended(), Ok(0));
    let Some(command) = self::twin() else { return };
    let mut deaf = Running::listening(command, &[("SHOP_FAULT", "ignore-term")]);
    deaf.term();
    wait("the signal to be ignored", || {
        deaf.err().contains("SIGTERM ignored").then_some(())
    });
    assert!(deaf.runs());
}

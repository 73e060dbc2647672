//! What visitors can do.

use crate::running::{Running, shop};

const MINE: [(&str, &str); 4] = [
    ("product", "3"),
    ("name", "Ada"),
    ("rating", "4"),
    ("message", "Points north.\r\n<b>Mostly</b> & \"always\""),
];

#[test]
fn every_page_answers() {
    let shop = Running::listening(shop(), &[]);
    for (path, status, want) in [
        ("/", 200, "Storm lantern"),
        ("/product/3", 200, "<h1>Pocket compass</h1>"),
        ("/product/99", 404, "We do not sell that."),
        ("/product/x", 404, "We do not sell that."),
        ("/feedback", 200, "Tell us about the shop"),
        ("/uploads", 200, "Nothing yet."),
        ("/uploads/none.png", 404, "No such file."),
        ("/up", 200, "up\n"),
        ("/nowhere", 404, ""),
        ("/admin/fault", 405, ""),
    ] {
        let answer = shop.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(want), "{path}: {}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'"),
            "{path}"
        );
        assert!(
            shop.out().contains(&format!("GET {path} {status} ")),
            "{}",
            shop.out()
        );
    }
    assert!(!shop.err().contains("ERROR"), "{}", shop.err());
}

#[test]
fn error_pages_are_the_shops_own_with_a_code() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/tmpl");
    let shop = Running::listening(shop(), &[("SHOP_PAGES", pages)]);
    let browser = [("Accept", "text/html")];
    let answer = shop.ask("GET", "/nowhere", &browser, b"").unwrap();
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("Harbour &amp; Line"),
        "{}",
        answer.text()
    );
    let answer = shop.ask("POST", "/admin/fault?do=panic", &browser, b"");
    let answer = answer.unwrap();
    let code = answer.header("x-fault-id").to_owned();
    assert_eq!(answer.status, 500);
    assert!(
        answer.text().contains(&format!("<code>{code}</code>")),
        "{}",
        answer.text()
    );
}

#[test]
fn feedback_is_stored_handed_over_and_escaped() {
    let shop = Running::listening(shop(), &[]);
    let answer = shop.form("/feedback", &MINE);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, "/product/3#feedback")
    );
    for path in ["/product/3", "/feedback"] {
        let text = shop.get(path).text();
        assert!(
            text.contains("Points north.\n&lt;b&gt;Mostly&lt;/b&gt; &amp; &quot;"),
            "{text}"
        );
        assert!(!text.contains("<b>Mostly"), "{text}");
        assert!(text.contains("title=\"P-1\">sent"), "{text}");
    }
    assert!(!shop.get("/product/4").text().contains("Points north."));
    let about_all = shop.form("/feedback", &[("rating", "5"), ("message", "Nice shop")]);
    assert_eq!(
        (about_all.status, about_all.header("location")),
        (303, "/feedback#feedback")
    );
}

#[test]
fn refused_feedback_is_not_lost() {
    let shop = Running::listening(shop(), &[]);
    for (rating, product) in [("9", "3"), ("5", "99")] {
        let fields = [
            ("product", product),
            ("rating", rating),
            ("message", "long </textarea>"),
        ];
        let answer = shop.form("/feedback", &fields);
        assert_eq!(answer.status, 422);
        assert!(
            answer
                .text()
                .contains("\nlong &lt;/textarea&gt;</textarea>"),
            "{}",
            answer.text()
        );
    }
    assert!(!shop.get("/feedback").text().contains("long &lt;"));
}

#[test]
fn a_form_of_another_site_is_refused() {
    let shop = Running::listening(shop(), &[]);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", "http://evil.example"),
    ];
    let answer = shop
        .ask("POST", "/feedback", &headers, b"rating=5&message=forged")
        .unwrap();
    assert_eq!(answer.status, 403);
    assert!(!shop.get("/feedback").text().contains("forged"));
    let own = format!("http://{}", shop.address);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", own.as_str()),
    ];
    let answer = shop
        .ask("POST", "/feedback", &headers, b"rating=5&message=own")
        .unwrap();
    assert_eq!(answer.status, 303);
}

#[test]
fn without_the_partner_nothing_is_kept() {
    let shop = Running::listening(shop(), &[("SHOP_PARTNER_TIMEOUT_MS", "500")]);
    for (how, status) in [("refuse", 502), ("silent", 504), ("off", 303)] {
        assert_eq!(
            shop.fault(&format!("do=partner-fail&how={how}"))
                .unwrap()
                .status,
            200
        );
        let message = format!("partner {how}");
        let fields = [
            ("rating", "1"),
            ("mail", "a@b.example"),
            ("message", &message),
        ];
        let answer = shop.form("/feedback", &fields);
        assert_eq!(answer.status, status, "{how}: {}", answer.text());
        let good = status == 303;
        if !good {
            assert!(
                answer.text().contains("kept nothing of it"),
                "{}",
                answer.text()
            );
        }
        let text = shop.get("/feedback").text();
        assert_eq!(text.contains(&message), good, "{text}");
        // What it took without saying so is given back.
        crate::running::wait("the partner to agree", || {
            let taken = shop.get("/partner/feedback").text();
            (taken.matches("reference").count() == usize::from(good)).then_some(())
        });
    }
    crate::running::wait("the thanks", || {
        shop.get("/partner/feedback")
            .text()
            .contains("\"thanks\":1")
            .then_some(())
    });
}

#[test]
fn a_request_that_comes_twice_is_done_once() {
    let shop = Running::listening(shop(), &[]);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Idempotency-Key", "once"),
    ];
    for replayed in ["", "true"] {
        let answer = shop.ask("POST", "/feedback", &headers, b"rating=5&message=just+once");
        let answer = answer.unwrap();
        assert_eq!(answer.status, 303);
        assert_eq!(answer.header("idempotency-replayed"), replayed);
    }
    assert_eq!(shop.get("/feedback").text().matches("just once").count(), 1);
    let taken = shop.get("/partner/feedback").text();
    assert_eq!(taken.matches("reference").count(), 1, "{taken}");
}

#[test]
fn a_partner_of_its_own() {
    let mut command = shop();
    command.args(["partner", "--listen", "127.0.0.1:0"]);
    let mut partner = Running::listening(command, &[]);
    let url = format!("http://{}/partner/feedback", partner.address);
    let shop = Running::listening(shop(), &[("SHOP_PARTNER_URL", &url)]);
    assert_eq!(shop.form("/feedback", &MINE).status, 303);
    assert!(shop.get("/feedback").text().contains("title=\"P-1\">sent"));
    assert!(
        partner.out().contains("POST /partner/feedback 200 "),
        "{}",
        partner.out()
    );
    partner.term();
    assert_eq!(partner.ended(), Ok(0));
    assert_eq!(shop.form("/feedback", &MINE).status, 502);
    assert_eq!(
        shop.get("/feedback")
            .text()
            .matches("Points north.\n")
            .count(),
        1
    );
}

#[test]
fn uploads_come_back_as_they_were() {
    let shop = Running::listening(shop(), &[]);
    let mut bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    bytes.extend_from_slice(b"\r\n--Edge\r\n--edg\r\n--");
    for (name, path, kind) in [
        ("knot.png", "/uploads/knot.png", "image/png"),
        ("knot.png", "/uploads/knot-2.png", "image/png"),
        (
            "evil.html",
            "/uploads/evil.html",
            "application/octet-stream",
        ),
        (
            "船 a.bin",
            "/uploads/%E8%88%B9%20a.bin",
            "application/octet-stream",
        ),
    ] {
        let bytes = if path.contains("-2") {
            b"another"
        } else {
            bytes.as_slice()
        };
        let answer = shop.upload(name, bytes);
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, "/uploads"),
            "{name}"
        );
        let list = shop.get("/uploads").text();
        assert!(list.contains(&format!("href=\"{path}\"")), "{list}");
        let back = shop.get(path);
        assert_eq!(
            (back.status, back.header("content-type")),
            (200, kind),
            "{name}"
        );
        assert!(back.header("content-security-policy").contains("sandbox"));
        assert!(back.body == bytes, "{name} came back different");
    }
    assert!(
        shop.get("/uploads/evil.html")
            .header("content-disposition")
            .starts_with("attachment")
    );
    assert_eq!(
        std::fs::read_dir(shop.data().join("incoming"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let shop = Running::listening(shop(), &[]);
    for name in ["../shop.db", "..", "/etc/passwd", ".hidden", "..\\x", "a/b"] {
        let answer = shop.upload(name, b"harm");
        assert_eq!(answer.status, 400, "{name}");
        assert!(
            answer.text().contains("Refused: a file name must not"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(shop.upload("", b"nameless").status, 400);
    assert_eq!(
        std::fs::read_dir(shop.data().join("uploads"))
            .unwrap()
            .count(),
        0
    );
    for path in [
        "/uploads/..%2Fshop.db",
        "/uploads/%2Fetc%2Fpasswd",
        "/uploads/../shop.db",
    ] {
        assert_eq!(shop.get(path).status, 404, "{path}");
    }
}

#[test]
fn files_that_are_too_large_are_refused_and_leave_nothing() {
    let shop = Running::listening(shop(), &[]);
    let mut bytes = vec![7; 10_000_000];
    assert_eq!(shop.upload("just.bin", &bytes).status, 303);
    bytes.push(7);
    let answer = shop.upload("over.bin", &bytes);
    assert_eq!(answer.status, 413);
    assert!(
        answer.text().contains("larger than 10 MB"),
        "{}",
        answer.text()
    );
    assert_eq!(shop.get("/uploads/over.bin").status, 404);
    assert_eq!(
        std::fs::read_dir(shop.data().join("incoming"))
            .unwrap()
            .count(),
        0
    );
    let kind = [("Content-Type", "multipart/form-data; boundary=edge")];
    let cut =
        b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut\"\r\n\r\nhalf";
    assert_eq!(
        shop.ask("POST", "/uploads", &kind, cut).unwrap().status,
        400
    );
    assert_eq!(shop.get("/uploads/cut").status, 404);
}

#[test]
fn what_was_given_is_there_after_a_restart() {
    let mut running = Running::listening(shop(), &[]);
    assert_eq!(running.form("/feedback", &MINE).status, 303);
    assert_eq!(running.upload("knot.txt", b"bowline").status, 303);
    running.term();
    assert_eq!(running.ended(), Ok(0));
    let again = Running::start_in(running.into_dir(), shop(), &[]).until_listening();
    assert_eq!(
        again
            .get("/product/3")
            .text()
            .matches("Points north.")
            .count(),
        2
    );
    assert_eq!(again.get("/").text().matches("class=\"card\"").count(), 8);
    assert_eq!(again.get("/uploads/knot.txt").body, b"bowline");
}

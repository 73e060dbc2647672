//! The shop fails as it is told to, and only so.

use std::net::TcpStream;

use crate::running::{Running, shop, wait};

const SIGABRT: i32 = 6;

#[test]
fn a_crash_is_a_crash() {
    let mut shop = Running::listening(shop(), &[]);
    assert!(shop.fault("do=crash").is_none());
    assert_eq!(shop.ended(), Err(SIGABRT));
}

#[test]
fn an_exit_has_its_code() {
    let mut shop = Running::listening(shop(), &[]);
    assert!(shop.fault("do=exit&code=7").is_none());
    assert_eq!(shop.ended(), Ok(7));
}

#[test]
fn a_panic_costs_one_request() {
    let mut shop = Running::listening(shop(), &[]);
    let answer = shop.fault("do=panic").unwrap();
    assert_eq!(answer.status, 500);
    let code = answer.header("x-fault-id").to_owned();
    assert!(answer.text().contains(&code), "{}", answer.text());
    wait("the panic to be told with its code", || {
        let err = shop.err();
        (err.contains(&code) && err.contains("asked to")).then_some(())
    });
    assert_eq!(shop.get("/").status, 200);
    assert!(shop.runs());
    assert!(shop.fault("do=panic&panic=process").is_none());
    assert_eq!(shop.ended(), Ok(101));
}

#[test]
fn noise_is_counted_exactly() {
    let shop = Running::listening(shop(), &[]);
    for (to, lines) in [("stdout", 3000), ("stderr", 20)] {
        let answer = shop
            .fault(&format!("do=log&lines={lines}&bytes=120&to={to}"))
            .unwrap();
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("{lines} lines written\n"))
        );
        let written = if to == "stdout" {
            shop.out()
        } else {
            shop.err()
        };
        let noise: Vec<&str> = written
            .lines()
            .filter(|line| line.starts_with("noise "))
            .collect();
        assert_eq!(noise.len(), lines);
        assert!(noise.iter().all(|line| line.len() == 120));
        assert!(noise[lines - 1].starts_with(&format!("noise {lines} of {lines} ")));
    }
}

#[test]
fn a_hanging_shop_answers_nothing_but_can_be_ended() {
    let mut shop = Running::listening(shop(), &[]);
    assert_eq!(shop.fault("do=hang").unwrap().status, 200);
    let stream = TcpStream::connect(&shop.address).unwrap();
    std::io::Write::write_all(&mut &stream, b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_millis(300)))
        .unwrap();
    let error = std::io::Read::read(&mut &stream, &mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert!(shop.runs());
    shop.term();
    assert_eq!(
        shop.ended(),
        Ok(1),
        "a request was cut off, and that is said"
    );
    assert!(
        shop.err().contains("requests were cut off"),
        "{}",
        shop.err()
    );
}

#[test]
fn term_ends_it_well_and_can_be_ignored() {
    let mut well = Running::listening(shop(), &[]);
    well.term();
    assert_eq!(well.ended(), Ok(0));
    let mut deaf = Running::listening(shop(), &[("SHOP_FAULT", "ignore-term")]);
    deaf.term();
    wait("the signal to be ignored", || {
        deaf.err().contains("SIGTERM ignored").then_some(())
    });
    assert!(deaf.runs());
    assert_eq!(deaf.get("/up").status, 200);
}

#[test]
fn leaks_stay() {
    let resident = |shop: &Running| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", shop.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let shop = Running::listening(shop(), &[]);
    let before = resident(&shop);
    assert_eq!(
        shop.fault("do=leak&mb=64").unwrap().text(),
        "64 MB leaked, 64 MB in all\n"
    );
    let after = resident(&shop);
    assert!(
        after > before + 60_000,
        "{before} kB before, {after} kB after"
    );
}

#[test]
fn faults_at_start() {
    for (fault, end) in [
        ("crash", Err(SIGABRT)),
        ("exit:3", Ok(3)),
        ("panic", Ok(101)),
    ] {
        let mut shop = Running::start(shop(), &[("SHOP_FAULT", fault)]);
        assert_eq!(shop.ended(), end, "{fault}");
        assert!(!shop.data().exists(), "{fault} came too late");
    }
    let noisy = Running::listening(shop(), &[("SHOP_FAULT", "log:5000")]);
    assert_eq!(
        noisy
            .out()
            .lines()
            .filter(|line| line.starts_with("noise "))
            .count(),
        5000
    );
    let mut slow = Running::start(shop(), &[("SHOP_FAULT", "slow-start:3600")]);
    wait("the slow start", || {
        slow.out().contains("starting slowly").then_some(())
    });
    slow.term();
    assert_eq!(slow.ended(), Ok(0));
}

#[test]
fn wrong_faults_are_refused_in_words() {
    let shop = Running::listening(shop(), &[]);
    for (query, want) in [
        ("", "do= is missing"),
        ("do=explode", "there is no fault explode"),
        ("do=exit&code=1000", "not a number that fits"),
        ("do=slow-start", "only at start"),
    ] {
        let answer = shop.fault(query).unwrap();
        assert!(
            (400..500).contains(&answer.status),
            "{query}: {}",
            answer.status
        );
        assert!(answer.text().contains(want), "{query}: {}", answer.text());
    }
}

#[test]
fn strangers_cannot_ask_for_faults() {
    let mut open = Running::listening(shop(), &[]);
    let forwarded = [("X-Forwarded-For", "192.0.2.1")];
    let answer = open
        .ask("POST", "/admin/fault?do=crash", &forwarded, b"")
        .unwrap();
    assert_eq!(answer.status, 403);
    assert!(open.runs());
    let mut closed = Running::listening(shop(), &[("SHOP_FAULTS", "0")]);
    assert_eq!(closed.fault("do=crash").unwrap().status, 404);
    assert!(closed.runs());
}

#[test]
fn what_cannot_work_is_said_at_start() {
    let first = Running::listening(shop(), &[]);
    for (name, value, code, want) in [
        (
            "SHOP_LISTEN",
            first.address.as_str(),
            1,
            "another program has this port",
        ),
        (
            "SHOP_LISTEN",
            "nonsense",
            1,
            "SHOP_LISTEN must be host:port",
        ),
        ("SHOP_DATA", "/proc/none", 1, "SHOP_DATA names another"),
        ("SHOP_FAULT", "explode", 2, "there is no fault explode"),
        (
            "SHOP_PARTNER_URL",
            "https://partner.example/",
            2,
            "speaks no TLS",
        ),
    ] {
        let mut second = Running::start(shop(), &[(name, value)]);
        assert_eq!(second.ended(), Ok(code), "{name}={value}");
        assert!(
            second.err().contains(want),
            "{name}={value}: {}",
            second.err()
        );
    }
}

#[test]
fn what_a_crash_left_half_done_is_undone_by_the_next_one() {
    // A partner that takes it and never answers, and a crash while the shop waits for it.
    let mut command = shop();
    command.args(["partner", "--listen", "127.0.0.1:0"]);
    let partner = Running::listening(command, &[("SHOP_FAULT", "partner-fail:silent")]);
    let url = format!("http://{}/partner/feedback", partner.address);
    let environment = [
        ("SHOP_PARTNER_URL", url.as_str()),
        ("SHOP_PARTNER_TIMEOUT_MS", "600000"),
        ("SHOP_LEASE_MS", "1000"),
    ];
    let taken = || partner.get("/partner/feedback").text();
    let mut running = Running::listening(shop(), &environment);
    std::thread::scope(|scope| {
        let given = scope.spawn(|| {
            let kind = [("Content-Type", "application/x-www-form-urlencoded")];
            running.ask("POST", "/feedback", &kind, b"rating=5&message=in+between")
        });
        wait("the partner to have it", || {
            taken().contains("P-1").then_some(())
        });
        assert!(running.fault("do=crash").is_none());
        assert!(given.join().unwrap().is_none());
    });
    assert_eq!(running.ended(), Err(SIGABRT));
    let again = Running::start_in(running.into_dir(), shop(), &environment).until_listening();
    wait("the partner to have given it back", || {
        (taken() == "[]").then_some(())
    });
    assert!(!again.get("/feedback").text().contains("in between"));
}

#[test]
fn a_deleted_database_is_an_error_until_the_next_start() {
    let mut running = Running::listening(shop(), &[]);
    std::fs::remove_file(running.data().join("shop.db")).unwrap();
    // By the connection that is open it may still answer.
    assert!([200, 500, 503].contains(&running.get("/").status));
    assert!(running.runs());
    running.term();
    assert_eq!(running.ended(), Ok(0));
    for leftover in ["shop.db-wal", "shop.db-shm"] {
        let _ = std::fs::remove_file(running.data().join(leftover));
    }
    let again = Running::start_in(running.into_dir(), shop(), &[]).until_listening();
    assert_eq!(again.get("/product/1").status, 200);
}

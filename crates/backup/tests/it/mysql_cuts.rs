//! Restores of `MySQL` and `MariaDB` that are cut off: by a kill of the process or of the server, by a
//! connection that is gone, by a full disk. What is live stays, and the same restore goes on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_backup::{Backups, ErrorKind, Pick, Progress, ServerRequest};
use mainstay_mysql::Connection;

use crate::bench::{Bench, quiet, run_ok};
use crate::mysql::{config, facts, texts};
use crate::mysql_restores::{databases, into, number, restore_server, shop};
use crate::servers::{Server, all, mariadb, mysql};

/// Does something when so many bytes of a step were done, or at its beginning.
struct At {
    step: &'static str,
    bytes: u64,
    here: std::sync::Mutex<String>,
    done: AtomicU64,
    act: Box<dyn Fn() + Send + Sync>,
}

impl Progress for At {
    fn begin(&self, what: &str, _: Option<u64>) {
        what.clone_into(&mut self.here.lock().unwrap());
        if self.bytes == 0 && what.starts_with(self.step) {
            (self.act)();
        }
    }
    fn advance(&self, bytes: u64) {
        if self.bytes > 0 && self.here.lock().unwrap().starts_with(self.step) {
            let before = self.done.fetch_add(bytes, Ordering::SeqCst);
            if before < self.bytes && before + bytes >= self.bytes {
                (self.act)();
            }
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

fn at(step: &'static str, bytes: u64, act: impl Fn() + Send + Sync + 'static) -> Arc<dyn Progress> {
    Arc::new(At {
        step,
        bytes,
        here: std::sync::Mutex::default(),
        done: AtomicU64::new(0),
        act: Box::new(act),
    })
}

/// Stops the work when so many bytes were loaded.
struct Stop(AtomicU64);

impl Progress for Stop {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::SeqCst);
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 20_000_000
    }
}

#[test]
fn a_full_disk_or_a_word_stops_it_and_it_goes_on() {
    let small = "--innodb-data-file-path=ibdata1:12M:autoextend:max:40M";
    let large = "--innodb-data-file-path=ibdata1:12M:autoextend:max:400M";
    let (Some(from), Some(mut to)) = (mariadb(&[]), mariadb(&["--innodb-file-per-table=0", small]))
    else {
        return;
    };
    shop(&from, 60_000);
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let request = into(&to);
    let error = restore_server(&backups, &request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    let help = error.help().unwrap();
    assert!(
        help.contains("free space where the server keeps its data")
            && help.contains("the same command"),
        "{help}"
    );
    assert_eq!(
        number(
            &mut to.root(),
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ('shop', 'other')"
        ),
        0
    );
    to.restart(&[large]);
    let plan = backups.plan_server(&request, &quiet()).unwrap();
    let stop: Arc<dyn Progress> = Arc::new(Stop(AtomicU64::new(0)));
    let error = backups.restore_server(&plan, &stop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    restore_server(&backups, &request).unwrap();
    same_shop(&from, &to);
}

/// The steps of a restore, and how far into them something happens.
const MOMENTS: [(&str, u64); 6] = [
    ("Making tables", 0),
    ("Loading rows", 0),
    ("Loading rows", 20_000_000),
    ("Making keys", 0),
    ("Putting tables", 0),
    ("Making views", 0),
];

#[test]
fn a_connection_that_is_cut_costs_nothing_that_was_done() {
    let (Some(from), Some(to)) = (mariadb(&[]), mariadb(&[])) else {
        return;
    };
    // Some files, so that there is something in between.
    shop(&from, 60_000);
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let request = into(&to);
    for (step, bytes) in MOMENTS {
        let plan = backups.plan_server(&request, &quiet()).unwrap();
        let endpoint = to.options();
        let cut = at(step, bytes, move || {
            let mut killer = Connection::open(&endpoint).unwrap();
            end_others(&mut killer);
        });
        let error = backups.restore_server(&plan, &cut).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server, "{step}: {error}");
        let help = error.help().unwrap_or_default().to_owned();
        assert!(help.contains("the same command"), "{step}: {help}");
        let plan = backups.plan_server(&request, &quiet()).unwrap();
        assert!(
            plan.resumes && plan.to_string().starts_with("go on with"),
            "{plan}"
        );
    }
    restore_server(&backups, &request).unwrap();
    same_shop(&from, &to);
}

#[test]
fn what_is_set_aside_survives_every_cut() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let mut root = shop(&server, 60_000);
    let bench = Bench::new();
    let backups = bench.ready(&config(&server.options(), ""));
    run_ok(&backups, "server");
    let stored = facts(&server);
    all(
        &mut root,
        &[
            "UPDATE shop.customers SET name = 'live'",
            "DELETE FROM shop.orders WHERE id > 50",
        ],
    );
    let live = facts(&server);
    let mut request = into(&server);
    request.pick = Pick::Databases(vec!["shop".to_owned()]);
    request.set_aside = true;
    for (step, bytes) in MOMENTS {
        let plan = backups.plan_server(&request, &quiet()).unwrap();
        let endpoint = server.options();
        let cut = at(step, bytes, move || {
            end_others(&mut Connection::open(&endpoint).unwrap());
        });
        backups.restore_server(&plan, &cut).unwrap_err();
        if step != "Making views" {
            let now = facts(&server);
            let of_shop = |fact: &&String| fact.contains("`shop`");
            for fact in live.keys().filter(of_shop) {
                assert_eq!(now.get(fact), live.get(fact), "{step}: {fact}");
            }
        }
    }
    let report = restore_server(&backups, &request).unwrap();
    let aside = &report.set_aside[0].1;
    let now = facts(&server);
    let of_shop = |fact: &&String| fact.contains("`shop`");
    for fact in stored.keys().filter(of_shop) {
        assert_eq!(now.get(fact), stored.get(fact), "{fact}");
    }
    let rows = |fact: &&String| fact.starts_with("rows `shop`");
    for fact in live.keys().filter(rows) {
        let old = fact.replace("`shop`", &format!("`{aside}`"));
        assert_eq!(now.get(&old), live.get(fact), "{fact}");
    }
    let triggers = texts(
        &mut server.root(),
        "SELECT TRIGGER_SCHEMA FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = 'stamp' ORDER BY 1",
    );
    assert_eq!(triggers, [["shop"], [aside.as_str()]]);
    assert!(report.issues.is_empty(), "{:?}", report.issues);
}

fn same_shop(from: &Server, to: &Server) {
    let (before, after) = (facts(from), facts(to));
    for (fact, value) in &before {
        assert_eq!(after.get(fact), Some(value), "{fact}");
    }
    assert_eq!(after.len(), before.len());
}

/// Not a test of its own: the process that is killed by the one below.
#[test]
fn helper_that_is_killed() {
    let Some(directory) = std::env::var_os("MAINSTAY_TEST_KILLED_RESTORE") else {
        return;
    };
    let directory = Path::new(&directory);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let backups = Bench::new().backups_at(&read("config"), directory);
    let mut request = ServerRequest::new("server");
    request.server = backups
        .server_at("server", Some(&read("server")), None, None)
        .unwrap();
    if let Ok(database) = std::fs::read_to_string(directory.join("set aside")) {
        request.pick = Pick::Databases(vec![database]);
        request.set_aside = true;
    }
    let Ok(plan) = backups.plan_server(&request, &quiet()) else {
        return;
    };
    let progress = match read("moment").parse::<usize>() {
        Err(_) => quiet(),
        Ok(moment) => {
            let (step, bytes) = MOMENTS[moment];
            let hangs = directory.join("hangs");
            at(step, bytes, move || {
                std::fs::write(&hangs, "").unwrap();
                std::thread::sleep(Duration::from_mins(5));
            })
        }
    };
    if let Err(error) = backups.restore_server(&plan, &progress) {
        eprintln!("{error}");
    }
}

#[test]
fn a_killed_restore_goes_on_where_it_was() {
    let (Some(from), Some(to)) = (mariadb(&[]), mariadb(&[])) else {
        return;
    };
    shop(&from, 60_000);
    // Tables that cannot take anything back.
    all(
        &mut from.root(),
        &[
            "CREATE TABLE other.m (id INT PRIMARY KEY, t TEXT) ENGINE=MyISAM",
            "INSERT INTO other.m SELECT id, note FROM shop.orders WHERE id <= 40000",
            "CREATE TABLE other.keyless (t VARCHAR(10))",
            "INSERT INTO other.keyless VALUES ('a'), ('a'), ('b')",
        ],
    );
    let bench = Bench::new();
    let text = config(&from.options(), "");
    let backups = bench.ready(&text);
    run_ok(&backups, "server");
    let place = |name: &str| bench.path(name);
    std::fs::write(place("config"), &text).unwrap();
    std::fs::write(place("server"), to.options().endpoint.to_string()).unwrap();
    for moment in 0..MOMENTS.len() {
        std::fs::write(place("moment"), moment.to_string()).unwrap();
        let _ = std::fs::remove_file(place("hangs"));
        let mut child = helper(bench.directory.path());
        let begun = Instant::now();
        while !place("hangs").exists() {
            assert!(
                begun.elapsed() < Duration::from_mins(2),
                "it never came there"
            );
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let plan = backups.plan_server(&into(&to), &quiet()).unwrap();
    assert!(plan.resumes, "{plan}");
    backups.restore_server(&plan, &quiet()).unwrap();
    same_shop(&from, &to);
}

/// Where the trigger of the shop is, and on which table.
fn stamp(root: &mut Connection) -> Vec<Vec<String>> {
    texts(
        root,
        "SELECT TRIGGER_SCHEMA, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = 'stamp' ORDER BY 1",
    )
}

/// Waits until a statement that begins so is seen on the server, or is not any more; its connection.
fn wait_for(root: &mut Connection, statement: &str, there: bool) -> Option<String> {
    let begun = Instant::now();
    loop {
        let found = texts(
            root,
            &format!(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '{statement}%'"
            ),
        );
        if found.is_empty() != there {
            return found.into_iter().flatten().next();
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "{statement}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_live_has_its_triggers_whoever_is_killed_at_the_swap() {
    for server in [mariadb(&[]), mysql(&[])].into_iter().flatten() {
        killed_at_the_swap(&server);
    }
}

fn killed_at_the_swap(server: &Server) {
    let mut root = shop(server, 100);
    // One of which nothing is noted while it is loaded.
    all(&mut root, &["CREATE TABLE shop.empty (id INT PRIMARY KEY)"]);
    let bench = Bench::new();
    let text = config(&server.options(), "");
    let backups = bench.ready(&text);
    run_ok(&backups, "server");
    let stored = facts(server);
    all(&mut root, &["DELETE FROM shop.orders WHERE id > 50"]);
    let place = |name: &str| bench.path(name);
    for (name, content) in [
        ("config", text.as_str()),
        ("server", &server.options().endpoint.to_string()),
        ("moment", "none"),
        ("set aside", "shop"),
    ] {
        std::fs::write(place(name), content).unwrap();
    }
    let live = |root: &mut Connection| {
        assert_eq!(stamp(root), [["shop", "orders"]]);
        let sum = number(root, "SELECT COUNT(*) FROM shop.orders");
        assert_eq!(sum, 50);
    };
    for swaps in [false, true] {
        // The swap waits for somebody who reads a table, and then nobody waits for the swap.
        let mut other = server.root();
        all(&mut other, &["LOCK TABLES shop.customers READ"]);
        let mut child = helper(bench.directory.path());
        let waits = wait_for(&mut root, "RENAME TABLE", true).unwrap();
        // Whoever looks at the tables now waits for the swap.
        if swaps {
            // The server does it, and can tell nobody.
            stop(&child);
            drop(other);
            let begun = Instant::now();
            while number(&mut root, "SELECT COUNT(*) FROM shop.orders") != 100 {
                let said = std::fs::read_to_string(place("said")).unwrap();
                assert!(begun.elapsed() < Duration::from_mins(1), "no swap: {said}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if !swaps {
            // It may have noticed by itself.
            let _ = root.run(&format!("KILL {waits}"));
            wait_for(&mut root, "RENAME TABLE", false);
            live(&mut root);
        }
    }
    let mut request = into(server);
    request.pick = Pick::Databases(vec!["shop".to_owned()]);
    request.set_aside = true;
    let report = restore_server(&backups, &request).unwrap();
    let aside = report.set_aside[0].1.clone();
    assert_eq!(
        stamp(&mut root),
        [["shop", "orders"], [aside.as_str(), "orders"]]
    );
    let now = facts(server);
    for (fact, value) in &stored {
        if fact.contains("`shop`") {
            assert_eq!(now.get(fact), Some(value), "{fact}");
        }
    }
    let old = format!("SELECT COUNT(*) FROM {aside}.orders");
    assert_eq!(number(&mut root, &old), 50);
    assert_eq!(databases(&mut root), ["other", "shop", aside.as_str()]);
}

fn stop(process: &std::process::Child) {
    Command::new("kill")
        .args(["-STOP", &process.id().to_string()])
        .status()
        .unwrap();
}

/// As below, with something live: it has its triggers, before and after.
#[test]
fn what_is_live_has_its_triggers_whenever_a_restore_is_killed() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let mut root = shop(&server, 2000);
    let bench = Bench::new();
    let text = config(&server.options(), "");
    let backups = bench.ready(&text);
    run_ok(&backups, "server");
    for (name, content) in [
        ("config", text.as_str()),
        ("server", &server.options().endpoint.to_string()),
        ("moment", "none"),
        ("set aside", "shop"),
    ] {
        std::fs::write(bench.path(name), content).unwrap();
    }
    let mut request = into(&server);
    request.pick = Pick::Databases(vec!["shop".to_owned()]);
    request.set_aside = true;
    let mut state = u64::from(std::process::id());
    println!("seed {state}");
    let (mut before, mut after) = (0, 0);
    for _ in 0..rounds() {
        let begun = Instant::now();
        let mut child = helper(bench.directory.path());
        // Once, how long it takes; from then on a moment in it.
        if before + after == 0 {
            child.wait().unwrap();
            println!("it takes {:?}", begun.elapsed());
        } else {
            std::thread::sleep(Duration::from_millis(next(&mut state, 2500)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        end_others(&mut root);
        let aside = databases(&mut root)
            .into_iter()
            .find(|name| name.starts_with("shop_before"));
        let on_live = stamp(&mut root).contains(&vec!["shop".to_owned(), "orders".to_owned()]);
        let tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA = 'shop'";
        assert!(number(&mut root, tables) >= 2);
        let swapped = aside.as_ref().is_some_and(|aside| {
            let there = format!(
                "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{aside}'"
            );
            number(&mut root, &there) > 0
        });
        if swapped {
            after += 1;
        } else {
            assert!(on_live);
            before += 1;
        }
        // Where it was done to its end this is another one.
        let report = restore_server(&backups, &request).unwrap();
        assert!(stamp(&mut root).contains(&vec!["shop".to_owned(), "orders".to_owned()]));
        assert!(report.issues.is_empty(), "{report:?}");
        assert_eq!(number(&mut root, "SELECT COUNT(*) FROM shop.orders"), 2000);
        for aside in databases(&mut root) {
            if aside.starts_with("shop_before") {
                let old = format!("SELECT COUNT(*) FROM {aside}.orders");
                assert_eq!(number(&mut root, &old), 2000);
                all(&mut root, &[&format!("DROP DATABASE {aside}")]);
            }
        }
        assert_eq!(databases(&mut root), ["other", "shop"]);
    }
    println!("{before} were cut off before the swap, {after} after it");
}

/// How often something is killed.
fn rounds() -> u64 {
    std::env::var("MAINSTAY_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(6)
}

#[test]
fn a_server_that_is_killed_has_what_was_loaded() {
    let (Some(from), Some(mut to)) = (mariadb(&[]), mariadb(&[])) else {
        return;
    };
    shop(&from, 60_000);
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let request = into(&to);
    for (step, bytes) in MOMENTS {
        let plan = backups.plan_server(&request, &quiet()).unwrap();
        let pid = to.pid();
        let kill = at(step, bytes, move || {
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap();
        });
        let error = backups.restore_server(&plan, &kill).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server, "{step}: {error}");
        to.restart(&[]);
    }
    restore_server(&backups, &request).unwrap();
    same_shop(&from, &to);
}

/// A number that is another one each time, from one that is told.
pub(crate) fn next(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// Something is killed at any moment: the process, the server, a connection. What is live is all there
/// or not at all each time, and in the end everything is. `MAINSTAY_ROUNDS` says how often.
#[test]
fn whatever_is_killed_at_any_moment_it_goes_on() {
    let (Some(from), Some(mut to)) = (mariadb(&[]), mariadb(&[])) else {
        return;
    };
    let rounds = rounds();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut state = seed;
    shop(&from, 60_000);
    let bench = Bench::new();
    let text = config(&from.options(), "");
    let backups = bench.ready(&text);
    run_ok(&backups, "server");
    let place = |name: &str| bench.path(name);
    std::fs::write(place("config"), &text).unwrap();
    std::fs::write(place("server"), to.options().endpoint.to_string()).unwrap();
    std::fs::write(place("moment"), "none").unwrap();
    let (mut finished, mut resumed) = (0, 0);
    for round in 0..rounds {
        let mut child = helper(bench.directory.path());
        std::thread::sleep(Duration::from_millis(next(&mut state, 4000)));
        match round % 3 {
            0 => child.kill().unwrap(),
            1 => to.restart(&[]),
            _ => cut(&to),
        }
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_mins(3), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut root = to.root();
        let tables = number(
            &mut root,
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA IN ('shop', 'other')",
        );
        assert!([0, 3].contains(&tables), "{tables}");
        if tables == 3 {
            // Only what is made after the swap can be missing.
            restore_or_done(&backups, &into(&to));
            same_shop(&from, &to);
            finished += 1;
            all(
                &mut root,
                &[
                    "SET SESSION foreign_key_checks = 0",
                    "DROP DATABASE shop",
                    "DROP DATABASE other",
                ],
            );
        } else if databases(&mut root)
            .iter()
            .any(|name| name.starts_with("mainstay_restore_"))
        {
            resumed += 1;
        }
    }
    println!("{rounds} rounds, {finished} came to the end, {resumed} were cut off before it");
    restore_or_done(&backups, &into(&to));
    same_shop(&from, &to);
}

/// Finishes a restore, unless it is done.
fn restore_or_done(backups: &Backups, request: &ServerRequest) {
    match restore_server(backups, request) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}"),
    }
}

fn cut(server: &Server) {
    end_others(&mut server.root());
}

/// Ends all connections but this one.
fn end_others(root: &mut Connection) {
    let own = root.id().to_string();
    for id in texts(
        root,
        "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'root'",
    ) {
        if id[0] != own {
            let _ = root.run(&format!("KILL {}", id[0]));
        }
    }
}

/// A process that restores, and hangs at the moment that it is told.
fn helper(directory: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "mysql_cuts::helper_that_is_killed",
            "--nocapture",
        ])
        .env("MAINSTAY_TEST_KILLED_RESTORE", directory)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(directory.join("said")).unwrap())
        .spawn()
        .unwrap()
}

//! Servers whose tables are altered, emptied, renamed and made anew while they are backed up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_backup::config::SourceConfig;
use mainstay_backup::source::mysql::Mysql;
use mainstay_backup::source::{Context, Issue, Reading, Source};
use mainstay_backup::{Backups, Outcome, Weight};
use mainstay_base::Resolver;
use mainstay_mysql::Connection;

use crate::bench::{Bench, quiet, run};
use crate::mysql::{config, texts};
use crate::mysql_cuts::next;
use crate::mysql_restores::{into, restore_server};
use crate::servers::{Server, all, mariadb};

/// `a` is read first, then `b`, which takes long, then the others.
const TABLES: &[&str] = &[
    "CREATE DATABASE d",
    "USE d",
    "CREATE TABLE a (id INT PRIMARY KEY)",
    "INSERT INTO a VALUES (1)",
    "CREATE TABLE b (id INT PRIMARY KEY, p VARCHAR(2000))",
    "INSERT INTO b SELECT seq, REPEAT(MD5(seq), 50) FROM seq_1_to_40000",
    "CREATE TABLE c (id INT PRIMARY KEY, v INT)",
    "INSERT INTO c SELECT seq, 1 FROM seq_1_to_50",
    "CREATE TABLE e (id INT PRIMARY KEY, v INT)",
    "INSERT INTO e SELECT seq, 2 FROM seq_1_to_5",
    "CREATE TABLE `o/d``d ä` (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE p (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "INSERT INTO p VALUES (1, 1), (200, 1)",
];

/// A server as a source, which has been opened.
fn open(bench: &Bench, backups: &Backups) -> Box<dyn Reading> {
    let SourceConfig::Mysql(config) = &backups.config().backups[0].source else {
        panic!("it is a server")
    };
    let context = Context {
        staging: bench.directory.path(),
        progress: &quiet(),
    };
    let source = Mysql::new(config, &Resolver::default()).unwrap();
    source.open(&context).unwrap()
}

/// Waits until the clock has left the second in which a definition changed last: two changes in one
/// cannot be told apart, and then all is read again to be sure.
fn settled(root: &mut Connection) {
    let fresh = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd' AND CREATE_TIME >= NOW() - INTERVAL 1 SECOND";
    let deadline = Instant::now() + Duration::from_mins(1);
    while texts(root, fresh) != [["0"]] {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads everything, with these statements while `b` is read; whether it came to the end.
fn read_while(reading: &dyn Reading, root: &mut Connection, statements: &[&str]) -> bool {
    let mut entries = reading.entries();
    let first = Path::new("data/d/b/000000.tsv");
    assert!(entries.any(|entry| entry.path.ends_with(first)));
    // Nobody takes more of b for now: it is being read as long as that.
    all(root, &["SET SESSION lock_wait_timeout = 30", "USE d"]);
    all(root, statements);
    entries.any(|entry| entry.path.ends_with("manifest.json"))
}

fn missing(issues: &[Issue]) -> Vec<&Issue> {
    (issues.iter())
        .filter(|issue| issue.weight == Weight::Missing)
        .collect()
}

#[test]
fn what_is_altered_while_it_is_read_is_read_again() {
    let Some(server) = mariadb(&["--log-bin", "--innodb-log-file-size=256M"]) else {
        return;
    };
    let mut root = server.root();
    all(&mut root, TABLES);
    let bench = Bench::new();
    let backups = bench.backups(&config(
        &server.options(),
        ", connections = 1, databases = [\"d\"], users = false",
    ));
    let cases: &[(&str, &[&str], &str)] = &[
        // What was read before may be altered, and renamed there and back.
        (
            "altered after it was read",
            &[
                "ALTER TABLE a ADD n INT, ALGORITHM=COPY",
                "RENAME TABLE a TO x, x TO a",
            ],
            "",
        ),
        (
            "altered",
            &["ALTER TABLE c ADD n INT, ALGORITHM=COPY"],
            "data/d/c: it was altered since the moment",
        ),
        ("emptied", &["TRUNCATE TABLE c"], "data/d/c: it was altered"),
        (
            "made anew",
            &[
                "DROP TABLE c",
                "CREATE TABLE c (id INT PRIMARY KEY, v INT, n INT)",
            ],
            "data/d/c: it was altered",
        ),
        (
            "renamed",
            &["RENAME TABLE c TO x"],
            "data/d/c: Table 'd.c' doesn't exist",
        ),
        ("dropped", &["DROP TABLE x"], "data/d/x: Table"),
        // Nothing that a server would say anything of: what is read is another table.
        (
            "swapped",
            &["RENAME TABLE e TO x, `o/d``d ä` TO e, x TO `o/d``d ä`"],
            "data/d/e: another table has its name",
        ),
        (
            "a partition is exchanged",
            &["ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE e"],
            "another table has its name",
        ),
    ];
    for (name, statements, why) in cases {
        settled(&mut root);
        let reading = open(&bench, &backups);
        assert_eq!(reading.take_issues(), [], "{name}");
        let whole = read_while(reading.as_ref(), &mut root, statements);
        assert_eq!(whole, why.is_empty(), "{name}: {:?}", reading.take_issues());
        let before = reading.facts().server.unwrap();
        assert_eq!(reading.again().unwrap(), !why.is_empty(), "{name}");
        if !why.is_empty() {
            let after = reading.facts().server.unwrap();
            assert!(before.taken < after.taken, "{name}");
            assert!(read_while(reading.as_ref(), &mut root, &[]), "{name}");
            assert!(!reading.again().unwrap(), "{name}");
        }
        let issues = reading.take_issues();
        assert!(missing(&issues).is_empty(), "{name}: {issues:?}");
        assert_eq!(issues.len(), usize::from(!why.is_empty()), "{issues:?}");
        for issue in issues {
            assert!(issue.what.contains(why), "{name}: {}", issue.what);
            assert!(issue.what.contains("(try 2 of 3)"), "{}", issue.what);
        }
    }
    // Each time: then it is incomplete, and says what to do.
    let reading = open(&bench, &backups);
    for number in 0..3 {
        let alter = format!("ALTER TABLE p ADD n{number} INT, ALGORITHM=COPY");
        let whole = read_while(reading.as_ref(), &mut root, &[&alter]);
        assert_eq!(whole, number == 2, "{number}");
        assert_eq!(reading.again().unwrap(), number < 2, "{number}");
    }
    let issues = reading.take_issues();
    let missing = missing(&issues);
    assert_eq!((issues.len(), missing.len()), (3, 1), "{issues:?}");
    assert!(missing[0].path.ends_with("data/d/p"), "{issues:?}");
    assert!(
        missing[0]
            .what
            .contains("in each of 3 tries; run the backup when no tables are altered"),
        "{issues:?}"
    );
}

/// A bank whose money is in tables to which everything happens. Whatever is moved about, the sum stays.
const BANK: &[&str] = &[
    "CREATE DATABASE bank",
    "USE bank",
    "CREATE TABLE stays (id INT PRIMARY KEY, m INT)",
    "INSERT INTO stays SELECT seq, 1000 FROM seq_0_to_63",
    "CREATE TABLE altered LIKE stays",
    "INSERT INTO altered SELECT seq, 1000 FROM seq_0_to_63",
    "CREATE TABLE swap1 LIKE stays",
    "INSERT INTO swap1 SELECT seq, 1000 FROM seq_0_to_63",
    "CREATE TABLE swap2 LIKE stays",
    "INSERT INTO swap2 SELECT seq, 2000 FROM seq_0_to_63",
    "CREATE TABLE renamed LIKE stays",
    "INSERT INTO renamed SELECT seq, 1000 FROM seq_0_to_63",
    "CREATE TABLE made LIKE stays",
    "INSERT INTO made SELECT seq, 1000 FROM seq_0_to_63",
    "CREATE TABLE cut LIKE stays",
    "INSERT INTO cut SELECT seq, 1000 FROM seq_0_to_63",
];
const MONEY: i64 = 8 * 64 * 1000;
/// What a table is, between a drop and the next one: longer than a moment takes.
const LIFE: Duration = Duration::from_secs(3);

/// Runs a transaction; whether it was committed, and each of its statements changed something.
fn transact(connection: &mut Connection, statements: &[String]) -> bool {
    let mut all = || -> Result<bool, mainstay_mysql::Error> {
        connection.run("BEGIN")?;
        for statement in statements {
            if connection.run(statement)?.affected == 0 {
                connection.run("ROLLBACK")?;
                return Ok(false);
            }
        }
        connection.run("COMMIT")?;
        Ok(true)
    };
    match all() {
        Ok(done) => done,
        Err(error) => {
            // It waits for another that waits for it, or the table has another name at the moment.
            let expected = [1146, 1205, 1213, 1412];
            assert!(
                error.code().is_some_and(|code| expected.contains(&code)),
                "{error}"
            );
            connection.run("ROLLBACK").unwrap();
            false
        }
    }
}

/// Moves money from any table to any other until it is told to stop.
fn move_money(mut connection: Connection, seed: u64, stop: &AtomicBool) {
    let mut state = seed;
    let tables = [
        "stays", "altered", "swap1", "swap2", "renamed", "renamed2", "made", "cut",
    ];
    while !stop.load(Ordering::Relaxed) {
        let mut pick = || {
            let table = tables[usize::try_from(next(&mut state, 8)).unwrap()];
            (table, next(&mut state, 64))
        };
        let ((from, a), (to, b)) = (pick(), pick());
        transact(
            &mut connection,
            &[
                format!("UPDATE bank.{from} SET m = m - 7 WHERE id = {a}"),
                format!("UPDATE bank.{to} SET m = m + 7 WHERE id = {b}"),
            ],
        );
    }
}

/// Takes the money out of a table, does something to it, and gives it some again.
fn without_money(root: &mut Connection, table: &str, statements: &[&str]) {
    loop {
        let sum = texts(root, &format!("SELECT SUM(m) FROM bank.{table}"))[0][0].clone();
        // In the meantime it may be another sum.
        let taken = transact(
            root,
            &[
                format!(
                    "UPDATE bank.stays SET m = m + {sum} WHERE id = 0 AND (SELECT SUM(m) FROM bank.{table}) = {sum}"
                ),
                format!("DELETE FROM bank.{table}"),
            ],
        );
        if taken {
            break;
        }
    }
    all(root, statements);
    loop {
        let given = transact(
            root,
            &[
                format!("INSERT INTO bank.{table} (id, m) SELECT seq, 1000 FROM seq_0_to_63"),
                "UPDATE bank.stays SET m = m - 64000 WHERE id = 0".to_owned(),
            ],
        );
        if given {
            break;
        }
    }
}

/// Alters tables until it is told to stop.
fn alter(mut root: Connection, seed: u64, stop: &AtomicBool) {
    let mut state = seed;
    let mut made = Instant::now();
    all(
        &mut root,
        &["USE bank", "SET SESSION lock_wait_timeout = 60"],
    );
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(next(&mut state, 250)));
        match next(&mut state, 6) {
            0 => all(
                &mut root,
                &[
                    "ALTER TABLE altered ADD x INT DEFAULT 5, ALGORITHM=COPY",
                    "ALTER TABLE altered DROP x, ALGORITHM=COPY",
                ],
            ),
            1 => all(
                &mut root,
                &[
                    "ALTER TABLE altered ADD y INT DEFAULT 5 FIRST, ALGORITHM=INSTANT",
                    "ALTER TABLE altered DROP y, ALGORITHM=INSTANT",
                ],
            ),
            2 => all(
                &mut root,
                &["RENAME TABLE swap1 TO x, swap2 TO swap1, x TO swap2"],
            ),
            3 => {
                all(&mut root, &["RENAME TABLE renamed TO renamed2"]);
                std::thread::sleep(Duration::from_millis(next(&mut state, 100)));
                all(&mut root, &["RENAME TABLE renamed2 TO renamed"]);
            }
            4 if made.elapsed() > LIFE => {
                without_money(
                    &mut root,
                    "made",
                    &["DROP TABLE made", "CREATE TABLE made LIKE stays"],
                );
                made = Instant::now();
            }
            _ => without_money(&mut root, "cut", &["TRUNCATE TABLE cut"]),
        }
    }
}

#[test]
fn whatever_is_altered_meanwhile_a_good_snapshot_is_whole() {
    let (Some(server), Some(to)) = (mariadb(&["--log-bin"]), mariadb(&[])) else {
        return;
    };
    all(&mut server.root(), BANK);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let bench = Bench::new();
    let backups = bench.ready(&config(
        &server.options(),
        ", databases = [\"bank\"], users = false",
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for number in 0..3 {
        let (root, stop) = (server.root(), Arc::clone(&stop));
        threads.push(std::thread::spawn(move || match number {
            0 => alter(root, seed, &stop),
            _ => move_money(root, seed + number, &stop),
        }));
    }
    let (mut good, mut again, mut incomplete) = (0, 0, 0);
    let begun = Instant::now();
    while good < 10 || again < 2 {
        assert!(
            begun.elapsed() < Duration::from_mins(4),
            "{good} good, {again} of them after another try, {incomplete} incomplete"
        );
        let report = run(&backups, "server");
        bench.advance(1);
        match report.outcome {
            Outcome::Ok => good += 1,
            Outcome::Partial => {
                incomplete += 1;
                continue;
            }
            Outcome::Failed => panic!("{report:#?}"),
        }
        let issues = &report.repositories[0].issues;
        again += usize::from(issues.iter().any(|issue| issue.what.contains("try ")));
        restore_server(&backups, &into(&to)).unwrap();
        assert_eq!(money(&to), MONEY, "{report:#?}");
        all(&mut to.root(), &["DROP DATABASE bank"]);
    }
    println!("{good} good, {again} of them after another try, {incomplete} incomplete");
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(money(&server), MONEY);
}

/// The sum over all tables.
fn money(server: &Server) -> i64 {
    let mut root = server.root();
    let tables = texts(&mut root, "SHOW TABLES FROM bank");
    let of = |table: Vec<String>| -> i64 {
        let sum = texts(&mut root, &format!("SELECT SUM(m) FROM bank.{}", table[0]));
        sum[0][0].parse().unwrap_or(0)
    };
    tables.into_iter().map(of).sum()
}

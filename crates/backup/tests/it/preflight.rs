//! What stands in the way of a backup of a database server: said beforehand, and said when it is made.

use std::fs;
use std::path::PathBuf;

use mainstay_backup::classic::{ExportRequest, Format};
use mainstay_backup::{Backups, Check, Grade, Outcome, Selector, Weight};

use crate::bench::{Bench, quiet, run, run_ok};
use crate::mysql::config;
use crate::redis::source;
use crate::redis_server::{Server as Redis, free_port, is_here};
use crate::servers::{Server, all, mariadb};

fn checks(backups: &Backups, name: &str) -> Vec<Check> {
    let found = backups.preflight(&[name.to_owned()], &quiet()).unwrap();
    assert_eq!(found[0].backup.as_deref(), Some(name));
    found.into_iter().flat_map(|part| part.checks).collect()
}

/// Those that are not good, as `grade: what → help`.
fn faults(backups: &Backups, name: &str) -> Vec<String> {
    checks(backups, name)
        .iter()
        // The clock of a bench stands still.
        .filter(|check| check.grade != Grade::Good && !check.what.contains("its clock differs"))
        .map(|check| {
            let help = check.help.as_deref().unwrap();
            format!("{}: {} → {help}", check.grade, check.what)
        })
        .collect()
}

/// Whether there is one fault for each of these, in any order, and no other.
fn assert_faults(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for words in expected {
        let has = |fault: &&String| words.split('…').all(|word| fault.contains(word));
        assert!(found.iter().any(|fault| has(&fault)), "{words}: {found:#?}");
    }
}

#[test]
fn what_a_server_lacks_is_said_with_what_to_do() {
    let Some(server) = mariadb(&["--log-bin", "--max-allowed-packet=32M"]) else {
        return;
    };
    let mut root = server.root();
    all(
        &mut root,
        &[
            "CREATE DATABASE d",
            "USE d",
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE USER 'we''ak'@localhost IDENTIFIED BY 'correct horse'",
        ],
    );
    let bench = Bench::new();
    let text = config(&server.options(), "");
    let backups = bench.ready(&text);
    assert_faults(&faults(&backups, "server"), &[]);
    let weak = text.replace(
        "\"root\"",
        "\"we'ak\", password = \"${env.PASSWORD}\", databases = [\"d\"]",
    );
    let backups = bench.backups(&weak);
    let rights = [
        "SELECT",
        "SHOW VIEW",
        "TRIGGER",
        "EVENT",
        "BINLOG ADMIN",
        "BINLOG MONITOR",
    ];
    let mut expected: Vec<String> = rights
        .iter()
        .map(|right| {
            format!("the right {right} is missing…→ GRANT {right} ON *.* TO 'we''ak'@'localhost';")
        })
        .collect();
    expected.push("fail: users and grants cannot be read…GRANT SELECT ON mysql.*".to_owned());
    expected.push("fail: no database is called `d`".to_owned());
    let found = faults(&backups, "server");
    assert_faults(
        &found,
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(
        found
            .iter()
            .filter(|fault| fault.starts_with("warn"))
            .count(),
        2
    );
    // What is said is what helps.
    for fault in &found {
        if let Some((grant, _)) = fault
            .split_once("→ ")
            .and_then(|(_, help)| help.split_once(';'))
        {
            all(&mut root, &[grant]);
        }
    }
    assert_faults(&faults(&backups, "server"), &[]);
    // A right on one database only.
    all(
        &mut root,
        &[
            "REVOKE EVENT ON *.* FROM 'we''ak'@localhost",
            "GRANT EVENT ON d.* TO 'we''ak'@localhost",
            "SET GLOBAL max_allowed_packet = 1048576",
            "CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM",
            "CREATE TABLE gone (id INT)",
            "CREATE VIEW v AS SELECT id FROM gone",
            "DROP TABLE gone",
        ],
    );
    assert_faults(
        &faults(&backups, "server"),
        &[
            "warn: the right EVENT is there on some databases only",
            "warn: max_allowed_packet is …→ `SET GLOBAL max_allowed_packet",
            "warn: one of its tables",
            "warn: view `d`.`v` cannot be used",
        ],
    );
    // A clock that is elsewhere, a wrong password, nobody there.
    bench.clock_now();
    bench.advance(1);
    let clock = |check: &Check| check.what.contains("its clock differs from ours by -3");
    assert!(checks(&backups, "server").iter().any(clock));
    let found = faults(&bench.backups_with(&weak, "wrong"), "server");
    assert!(
        found[0].starts_with("fail: cannot back up the server"),
        "{found:#?}"
    );
    let found = faults(&bench.backups(&text.replace("/s\"", "/nobody\"")), "server");
    assert!(found[0].contains("fail: "), "{found:#?}");
}

#[test]
fn without_a_binary_log_a_lock_is_needed() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    all(
        &mut server.root(),
        &[
            "CREATE USER b@localhost IDENTIFIED BY 'correct horse'",
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, BINLOG ADMIN, BINLOG MONITOR ON *.* TO b@localhost",
        ],
    );
    let bench = Bench::new();
    let text =
        config(&server.options(), "").replace("\"root\"", "\"b\", password = \"${env.PASSWORD}\"");
    assert_faults(
        &faults(&bench.ready(&text), "server"),
        &[
            "fail: the right RELOAD is missing…GRANT RELOAD ON *.* TO 'b'@'localhost';",
            "warn: there is no binary log…log_bin",
        ],
    );
}

#[test]
fn what_a_redis_lacks_is_said_with_what_to_do() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let server = Redis::start(&bench.path("redis"), &[]);
    let mut cli = server.cli();
    let backups = bench.ready(&source(server.port, ""));
    assert_faults(&faults(&backups, "redis"), &[]);
    cli.ask(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "replica 1048576 0 0",
    ]);
    assert_faults(
        &faults(&backups, "redis"),
        &[
            "warn: client-output-buffer-limit for replicas is 1.0 MB…CONFIG SET client-output-buffer-limit",
        ],
    );
    let with_user = source(
        server.port,
        ", user = \"poor\", password = \"${env.PASSWORD}\"",
    );
    let found = faults(&bench.backups(&with_user), "redis");
    assert!(found[0].contains("WRONGPASS"), "{found:#?}");
    cli.ask(&[
        "ACL",
        "SETUSER",
        "poor",
        "on",
        ">correct horse",
        "+ping",
        "+info",
        "+acl",
        "+command",
    ]);
    assert_faults(
        &faults(&bench.backups(&with_user), "redis"),
        &["fail: …psync…ACL SETUSER NAME"],
    );
    let found = faults(&bench.backups(&source(free_port(), "")), "redis");
    assert!(found[0].contains("start the server"), "{found:#?}");
}

#[test]
fn repositories_and_paths_are_looked_at() {
    let bench = Bench::new();
    let text = "[backup.files]\nfiles = { path = \"@/data\" }\nto = [\"local\"]\n";
    let backups = bench.backups(text);
    assert_faults(
        &faults(&backups, "files"),
        &["fail: …@/data…", "fail: …backup init local"]
            .map(|text| text.replace("@/data", "/data"))
            .each_ref()
            .map(String::as_str),
    );
    fs::create_dir(bench.path("data")).unwrap();
    let backups = bench.ready(text);
    assert_faults(&faults(&backups, "files"), &[]);
    let found = faults(&bench.backups_with(text, "wrong"), "files");
    assert_faults(&found, &["fail: …password"]);
}

fn data(server: &Server, file: &str) -> PathBuf {
    let socket = PathBuf::from(server.options().endpoint.to_string());
    socket.with_file_name("data").join(file)
}

#[test]
fn a_crashed_table_is_missing_and_the_rest_is_there() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let rows = "SELECT seq, REPEAT('x', 1000) FROM seq_1_to_2000";
    let mut statements = vec!["CREATE DATABASE d".to_owned(), "USE d".to_owned()];
    for (table, engine) in [
        ("good", "InnoDB"),
        ("m_index", "MyISAM"),
        ("m_rows", "MyISAM"),
        ("a_index", "Aria TRANSACTIONAL=0"),
        ("a_rows", "Aria TRANSACTIONAL=0"),
    ] {
        statements.push(format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, p VARCHAR(1000)) ENGINE={engine}"
        ));
        statements.push(format!("INSERT INTO {table} {rows}"));
    }
    statements.push("FLUSH TABLES".to_owned());
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    all(&mut server.root(), &statements);
    for index in ["d/m_index.MYI", "d/a_index.MAI"] {
        fs::write(data(&server, index), vec![0; 100]).unwrap();
    }
    for rows in ["d/m_rows.MYD", "d/a_rows.MAD"] {
        let path = data(&server, rows);
        let whole = fs::read(&path).unwrap();
        let mut cut = whole[..whole.len() / 2].to_vec();
        cut.extend(vec![0xff; 5000]);
        fs::write(path, cut).unwrap();
    }
    let bench = Bench::new();
    let backups = bench.ready(&config(&server.options(), ", users = false"));
    let found = faults(&backups, "server");
    for table in ["m_index", "a_index"] {
        let words = format!("fail: table `d`.`{table}` cannot be opened");
        assert!(
            found.iter().any(|fault| fault.contains(&words)),
            "{words}: {found:#?}"
        );
    }
    let report = run(&backups, "server");
    assert_eq!(report.outcome, Outcome::Partial, "{report:#?}");
    let issues = &report.repositories[0].issues;
    for table in ["m_index", "m_rows", "a_index", "a_rows"] {
        assert!(
            issues.iter().any(|issue| issue.weight == Weight::Missing
                && issue.path.ends_with(format!("data/d/{table}"))),
            "{table}: {issues:#?}"
        );
    }
    assert!(
        !issues
            .iter()
            .any(|issue| issue.path.ends_with("data/d/good"))
    );
    assert_eq!(backups.status().unwrap()[0].last_good, None);
}

#[test]
fn rows_longer_than_a_packet_are_read_and_said() {
    let Some(server) = mariadb(&["--max-allowed-packet=64M", "--innodb-log-file-size=256M"]) else {
        return;
    };
    all(
        &mut server.root(),
        &[
            "CREATE DATABASE d",
            "USE d",
            "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB)",
            "INSERT INTO t VALUES (1, REPEAT('0123456789abcdef', 1250000)), (2, 'short')",
            "SET GLOBAL max_allowed_packet = 1048576",
        ],
    );
    let bench = Bench::new();
    let backups = bench.ready(&config(&server.options(), ""));
    run_ok(&backups, "server");
    let request = ExportRequest {
        backup: "server".to_owned(),
        snapshot: Selector::Latest,
        repository: None,
        databases: vec!["d".to_owned()],
        to: bench.path("dumps"),
        format: Format::Sql,
    };
    // The digest of the rows is looked at.
    let report = backups.export(&request, &quiet()).unwrap();
    assert!(report.files[0].longest > 20_000_000);
    assert!(
        report.warnings[0].contains("--max-allowed-packet"),
        "{:?}",
        report.warnings
    );
}

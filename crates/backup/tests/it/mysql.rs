//! Servers of `MariaDB` and `MySQL`: what goes in, as of one moment, and loaded into another server.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mainstay_backup::source::mysql::{Load, Manifest, Object, Table, User};
use mainstay_backup::{Backups, Depth, ErrorKind, Outcome, Target};
use mainstay_mysql::{Connection, Options};

use crate::bench::{Bench, request, restore, run, run_ok};
use crate::servers::{Server, all, mariadb, mysql};

pub(crate) fn config(options: &Options, more: &str) -> String {
    format!(
        "[backup.server]\nmysql = {{ socket = \"{}\", user = \"{}\"{more} }}\nto = [\"local\"]\n",
        options.endpoint, options.user
    )
}

fn manifest(directory: &Path) -> Manifest {
    serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap()
}

/// Restores the latest snapshot into a directory.
fn fetch(bench: &Bench, backups: &Backups, name: &str) -> (PathBuf, Manifest) {
    let directory = bench.path(name);
    restore(backups, &request("server", Target::Into(directory.clone()))).unwrap();
    let read = manifest(&directory);
    (directory, read)
}

fn files(directory: &Path, table: &Table) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory.join(&table.data))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn rows(directory: &Path, table: &Table) -> Vec<String> {
    files(directory, table)
        .iter()
        .flat_map(|file| {
            let bytes = fs::read(file).unwrap();
            String::from_utf8_lossy(&bytes)
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

pub(crate) fn texts(connection: &mut Connection, statement: &str) -> Vec<Vec<String>> {
    let rows = match connection.fetch(statement) {
        Ok(rows) => rows,
        Err(error) => panic!("{statement}: {error}"),
    };
    let text = |cell: Option<Vec<u8>>| {
        cell.map_or("NULL".to_owned(), |cell| {
            String::from_utf8_lossy(&cell).into_owned()
        })
    };
    rows.into_iter()
        .map(|row| row.into_iter().map(text).collect())
        .collect()
}

fn create(connection: &mut Connection, object: &Object) {
    for (variable, value) in &object.session {
        // Only a database has that one.
        if variable != "collation_database" {
            let value = value.replace('\'', "''");
            connection
                .run(&format!("SET SESSION {variable} = '{value}'"))
                .unwrap();
        }
    }
    if let Err(error) = connection.run(&object.create) {
        panic!("{}: {error}", object.create);
    }
    all(
        connection,
        &[
            "SET SESSION sql_mode = '', time_zone = '+00:00'",
            "SET NAMES utf8mb4",
        ],
    );
}

fn load(connection: &mut Connection, directory: &Path, table: &Table) {
    let columns: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| match column.load {
            Load::Plain => name(&column.name),
            Load::Unsigned | Load::Text => format!("@v{at}"),
        })
        .collect();
    let sets: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .filter_map(|(at, column)| match column.load {
            Load::Plain => None,
            Load::Unsigned => Some(format!("{} = CAST(@v{at} AS UNSIGNED)", name(&column.name))),
            Load::Text => Some(format!(
                "{} = CONVERT(@v{at} USING utf8mb4)",
                name(&column.name)
            )),
        })
        .collect();
    let set = if sets.is_empty() {
        String::new()
    } else {
        format!(" SET {}", sets.join(", "))
    };
    let statement = format!(
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE {} CHARACTER SET binary ({}){set}",
        name(&table.name),
        columns.join(", ")
    );
    let mut rows = 0;
    for file in files(directory, table) {
        let mut data = fs::File::open(file).unwrap();
        let done = connection.load(&statement, &mut data).unwrap();
        // The number of no member of an ENUM is told, and taken.
        let warnings = texts(connection, "SHOW WARNINGS");
        assert!(
            warnings
                .iter()
                .all(|row| row[1] == "1265" && row[2].contains("'p'")),
            "{statement}: {warnings:?}"
        );
        rows += done.affected;
    }
    assert_eq!(rows, table.rows, "{}", table.name);
}

/// The users that are not there from the beginning.
const USERS: [&str; 3] = ["shop", "reader", "odd'user"];

/// Makes everything of a snapshot on another server, as a restore does.
fn load_all(server: &Server, directory: &Path, read: &Manifest) {
    let mut options = server.options();
    options.local_infile = true;
    let mut connection = Connection::open(&options).unwrap();
    all(
        &mut connection,
        &[
            "SET SESSION sql_mode = '', time_zone = '+00:00', foreign_key_checks = 0, unique_checks = 0",
            "SET NAMES utf8mb4",
        ],
    );
    let ours = |user: &&User| USERS.contains(&user.name.as_str());
    for user in read.users.iter().filter(ours) {
        all(&mut connection, &[&user.create]);
    }
    for database in &read.databases {
        all(
            &mut connection,
            &[&database.create, &format!("USE {}", name(&database.name))],
        );
        for sequence in &database.sequences {
            create(&mut connection, sequence);
            let next = sequence.next.as_ref().unwrap();
            let restart = format!("ALTER SEQUENCE {} RESTART {next}", name(&sequence.name));
            all(&mut connection, &[&restart]);
        }
        for routine in &database.routines {
            create(&mut connection, routine);
        }
        for table in &database.tables {
            all(&mut connection, &[&table.create]);
        }
    }
    for database in &read.databases {
        all(&mut connection, &[&format!("USE {}", name(&database.name))]);
        for table in &database.tables {
            if table.history {
                all(
                    &mut connection,
                    &["SET SESSION system_versioning_insert_history = 1"],
                );
            }
            load(&mut connection, directory, table);
        }
    }
    for database in &read.databases {
        all(&mut connection, &[&format!("USE {}", name(&database.name))]);
        let objects = database
            .views
            .iter()
            .chain(&database.triggers)
            .chain(&database.events);
        for object in objects.filter(|object| object.broken.is_none()) {
            create(&mut connection, object);
        }
    }
    for grant in read.users.iter().filter(ours).flat_map(|user| &user.grants) {
        all(&mut connection, &[grant]);
    }
}

/// Everything that two servers must have in common.
pub(crate) fn facts(server: &Server) -> BTreeMap<String, String> {
    let mut connection = server.root();
    all(
        &mut connection,
        &["SET SESSION sql_mode = '', time_zone = '+00:00'"],
    );
    let mut facts = BTreeMap::new();
    let own = "('mysql', 'sys', 'information_schema', 'performance_schema')";
    let tables = texts(
        &mut connection,
        &format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN {own}"
        ),
    );
    for table in &tables {
        let whole = format!("{}.{}", name(&table[0]), name(&table[1]));
        // What cannot be used is kept as text.
        if table[1] == "broken" {
            continue;
        }
        let create = texts(&mut connection, &format!("SHOW CREATE TABLE {whole}"))[0][1].clone();
        // MySQL shows the character set only of a column that was made with it.
        let create = create.replace(" CHARACTER SET latin1 COLLATE", " COLLATE");
        facts.insert(format!("create {whole}"), create);
        if table[2] == "VIEW" {
            continue;
        }
        let times = if table[2] == "SYSTEM VERSIONED" {
            " FOR SYSTEM_TIME ALL"
        } else {
            ""
        };
        facts.insert(
            format!("checksum {whole}"),
            texts(&mut connection, &format!("CHECKSUM TABLE {whole}"))[0][1].clone(),
        );
        let columns = texts(
            &mut connection,
            &format!(
                "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{}' ORDER BY ORDINAL_POSITION",
                table[0].replace('\'', "''"),
                table[1].replace('\'', "''")
            ),
        );
        let columns: Vec<String> = columns
            .into_iter()
            .map(|column| match column[1].as_str() {
                // What is shown of these is not all that they are.
                "float" | "double" | "enum" | "set" => format!("{} + 0e0", name(&column[0])),
                _ => format!("HEX({})", name(&column[0])),
            })
            .collect();
        let mut rows = texts(
            &mut connection,
            &format!("SELECT {} FROM {whole}{times}", columns.join(", ")),
        );
        rows.sort();
        facts.insert(format!("rows {whole}"), format!("{rows:?}"));
    }
    for (what, statement) in [
        (
            "databases",
            format!(
                "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN {own}"
            ),
        ),
        (
            "routines",
            format!(
                "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, SQL_MODE, DEFINER, CHARACTER_SET_CLIENT, COLLATION_CONNECTION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA NOT IN {own}"
            ),
        ),
        (
            "triggers",
            format!(
                "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_ORDER, ACTION_TIMING, ACTION_STATEMENT, SQL_MODE, DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA NOT IN {own}"
            ),
        ),
        (
            "events",
            format!(
                "SELECT EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION, TIME_ZONE, INTERVAL_VALUE, STARTS, SQL_MODE, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA NOT IN {own}"
            ),
        ),
        (
            "views",
            format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION, DEFINER, SECURITY_TYPE FROM information_schema.VIEWS WHERE TABLE_SCHEMA NOT IN {own} AND TABLE_NAME <> 'broken'"
            ),
        ),
    ] {
        for (at, row) in texts(&mut connection, &format!("{statement} ORDER BY 1, 2"))
            .iter()
            .enumerate()
        {
            facts.insert(format!("{what} {at}"), format!("{row:?}"));
        }
    }
    let users = texts(
        &mut connection,
        "SELECT User, Host FROM mysql.user WHERE User IN ('shop', 'reader', 'odd''user')",
    );
    for user in users {
        let account = if user[1].is_empty() {
            name(&user[0])
        } else {
            format!("'{}'@'{}'", user[0].replace('\'', "''"), user[1])
        };
        let grants = texts(&mut connection, &format!("SHOW GRANTS FOR {account}"));
        facts.insert(format!("grants {account}"), format!("{grants:?}"));
    }
    facts
}

pub(crate) fn same(from: &Server, to: &Server) {
    let (before, after) = (facts(from), facts(to));
    assert!(before.len() > 30, "{}", before.len());
    for (fact, value) in &before {
        assert_eq!(after.get(fact), Some(value), "{fact}");
    }
    assert_eq!(after.len(), before.len());
}

/// What both flavours have.
pub(crate) const COMMON: &[&str] = &[
    "SET SESSION sql_mode = '', time_zone = '+00:00'",
    "CREATE DATABASE `od``d \"na'me` CHARACTER SET latin1 COLLATE latin1_german1_ci",
    "CREATE DATABASE `注文` CHARACTER SET utf8mb4",
    "CREATE DATABASE `../x`",
    "USE `../x`",
    "CREATE TABLE `a/b` (id INT PRIMARY KEY, `.dot` INT)",
    "INSERT INTO `a/b` VALUES (1, 2)",
    "CREATE TABLE `empty` (id INT PRIMARY KEY)",
    "USE `od``d \"na'me`",
    "CREATE TABLE latin (id VARCHAR(20) PRIMARY KEY, t TEXT)",
    "INSERT INTO latin VALUES ('ä', 'Größe'), ('tab\\t', 'line\\nnext\\\\\\0')",
    "USE `注文`",
    "CREATE TABLE kinds (
        a TINYINT UNSIGNED, b MEDIUMINT, c BIGINT UNSIGNED ZEROFILL, d DECIMAL(65,30), f FLOAT, g DOUBLE,
        h DATE, i DATETIME(6), j TIMESTAMP(3) NULL, k TIME(2), l YEAR, m CHAR(5), n BINARY(5), o VARBINARY(9),
        p ENUM('a', '', '3'), q SET('x','y','z'), r BIT(11), s BIT(64), t JSON, u GEOMETRY,
        v VARCHAR(10) CHARACTER SET utf16, w VARCHAR(10) CHARACTER SET sjis, x LONGBLOB)",
    "INSERT INTO kinds VALUES (255, -8388608, 7, -1.000000000000000000000000000001, 16777217, 0.1,
        '0000-00-00', '9999-12-31 23:59:59.999999', '2026-03-29 02:30:00.123', '-838:59:59', 0, 'a ', 'b', x'00095c0a',
        'nothing', 'x,z', b'10000000001', b'1000000000000000000000000000000000000000000000000000000000000001',
        '{\"a\": [1, \"\\\\u00e4\"]}', ST_GeomFromText('POINT(1 2)', 0), 'ä😀', '表', x'fe00ff')",
    "INSERT INTO kinds (f, g, l, p, q, k) VALUES (1.1, -5e-324, 2026, '', '', '-00:00:01.5')",
    "INSERT INTO kinds (f, g, l, p, q, r) VALUES (3.4028234e38, 1.7976931348623157e308, 1901, '3', 'y', 0)",
    "INSERT INTO kinds VALUES ()",
    "CREATE TABLE made (id INT AUTO_INCREMENT PRIMARY KEY, a INT, twice INT AS (a * 2) VIRTUAL, thrice INT AS (a * 3) STORED, hidden INT INVISIBLE DEFAULT 5) AUTO_INCREMENT = 1000",
    "INSERT INTO made (a, hidden) VALUES (1, 10), (2, 20)",
    "CREATE TABLE child (id INT PRIMARY KEY, made INT, FOREIGN KEY (made) REFERENCES made (id))",
    "INSERT INTO child VALUES (1, 1000)",
    "CREATE TABLE keyless (a INT, b TEXT)",
    "INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (2, NULL)",
    "CREATE TABLE parted (id INT, at DATE, PRIMARY KEY (id, at)) PARTITION BY RANGE (YEAR(at)) (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "INSERT INTO parted VALUES (1, '1999-01-01'), (1, '2026-01-01')",
    "CREATE VIEW zz AS SELECT id, a FROM made WHERE a > 0",
    "CREATE VIEW checked AS SELECT * FROM zz WHERE a < 100 WITH CASCADED CHECK OPTION",
    "CREATE TABLE gone (a INT)",
    "CREATE VIEW broken AS SELECT a FROM gone",
    "DROP TABLE gone",
    "CREATE PROCEDURE proc(IN x INT) COMMENT 'it''s' BEGIN SELECT x; END",
    "CREATE FUNCTION func(x INT) RETURNS INT DETERMINISTIC RETURN x + 1",
    "CREATE TRIGGER first BEFORE INSERT ON keyless FOR EACH ROW SET NEW.a = NEW.a + 1",
    "CREATE TRIGGER second BEFORE INSERT ON keyless FOR EACH ROW SET NEW.a = NEW.a * 2",
    "CREATE EVENT ev ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM keyless",
    "CREATE USER shop@'%' IDENTIFIED BY 'secret'",
    "CREATE USER 'odd''user'@localhost",
    "GRANT SELECT, INSERT (a) ON `注文`.made TO shop@'%'",
    "GRANT ALL ON `od``d \"na'me`.* TO 'odd''user'@localhost WITH GRANT OPTION",
];

pub(crate) const OF_MARIADB: &[&str] = &[
    "USE `注文`",
    "CREATE SEQUENCE numbers START WITH 100 INCREMENT BY 10",
    "DO NEXTVAL(numbers)",
    "CREATE TABLE own (u UUID PRIMARY KEY, a INET6, b INET4)",
    "INSERT INTO own VALUES ('6ccd780c-baba-1026-9564-5b8c656024db', '2001:db8::1', '192.0.2.1')",
    "CREATE TABLE versioned (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING",
    "INSERT INTO versioned VALUES (1, 1), (2, 2)",
    "UPDATE versioned SET v = 10 WHERE id = 1",
    "DELETE FROM versioned WHERE id = 2",
    "CREATE TABLE explicit (id INT PRIMARY KEY, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING",
    "INSERT INTO explicit (id) VALUES (1)",
    "DELETE FROM explicit",
    "CREATE ROLE reader",
    "GRANT SELECT ON `注文`.* TO reader",
    "GRANT reader TO shop@'%'",
];

fn round_trip(from: &Server, to: &Server) -> Manifest {
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    let report = run(&backups, "server");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    let warnings: Vec<&str> = report.repositories[0]
        .issues
        .iter()
        .map(|issue| issue.what.as_str())
        // A server without names of hosts does not use what its installation made for this one.
        .filter(|what| !what.contains("not in use"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("`broken` cannot be used"),
        "{warnings:?}"
    );
    let snapshot = report.repositories[0].snapshot.clone().unwrap();
    assert_eq!(snapshot.facts.kind, "mysql");
    let (directory, read) = fetch(&bench, &backups, "out");
    let verified = backups
        .verify(&[], Depth::Structure, &crate::bench::quiet())
        .unwrap();
    let proofs = &verified.repositories[0].proofs;
    assert!(
        proofs.len() == 1 && proofs[0].failure.is_none(),
        "{proofs:?}"
    );
    load_all(to, &directory, &read);
    same(from, to);
    bench.assert_clean();
    // What is in place is a server: nothing is written to a path that only looks like one.
    let error = backups.plan_restore(&request("server", Target::InPlace), &crate::bench::quiet());
    assert!(error.unwrap_err().help().unwrap().contains("--to"));
    read
}

#[test]
fn everything_in_a_mariadb_comes_back() {
    let (Some(from), Some(to)) = (mariadb(&["--log-bin"]), mariadb(&["--local-infile=1"])) else {
        return;
    };
    let mut root = from.root();
    all(&mut root, COMMON);
    all(&mut root, OF_MARIADB);
    let read = round_trip(&from, &to);
    assert_eq!(read.consistency.way, "binlog_snapshot");
    assert_eq!(read.consistency.stall_us, 0);
    let position = read.position.unwrap();
    assert!(
        position.offset > 0 && position.gtid.starts_with("0-1-"),
        "{position:?}"
    );
    let now = texts(&mut root, "SELECT @@gtid_current_pos");
    assert_eq!(now[0][0], position.gtid);
}

#[test]
fn everything_in_a_mysql_comes_back() {
    let (Some(from), Some(to)) = (mysql(&[]), mysql(&["--local-infile=1"])) else {
        return;
    };
    all(&mut from.root(), COMMON);
    let read = round_trip(&from, &to);
    assert_eq!(read.consistency.way, "lock");
    assert!(read.consistency.stall_us > 0);
    assert!(read.position.is_some());
}

/// Moves money between two databases until it is told to stop.
fn writer(
    server: &Server,
    seed: u64,
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    let mut connection = server.root();
    let (stop, done) = (Arc::clone(stop), Arc::clone(done));
    std::thread::spawn(move || {
        let mut state = seed;
        while !stop.load(Ordering::Relaxed) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (a, b) = ((state >> 33) & 63, (state >> 41) & 63);
            for statement in [
                "BEGIN".to_owned(),
                format!("UPDATE bank1.a SET m = m - 1 WHERE id = {a}"),
                format!("UPDATE bank2.a SET m = m + 1 WHERE id = {b}"),
                "COMMIT".to_owned(),
            ] {
                if let Err(error) = connection.run(&statement) {
                    // Two that wait for each other: one is asked to begin anew.
                    assert_eq!(error.code(), Some(1213), "{error}");
                    let _ = connection.run("ROLLBACK");
                    break;
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[test]
fn what_is_written_meanwhile_is_whole() {
    for (options, way) in [(&["--log-bin"][..], "binlog_snapshot"), (&[][..], "lock")] {
        let Some(server) = mariadb(options) else {
            return;
        };
        let mut root = server.root();
        for database in ["bank1", "bank2"] {
            all(
                &mut root,
                &[
                    &format!("CREATE DATABASE {database}"),
                    &format!("USE {database}"),
                    &format!("CREATE TABLE {database}.a (id INT PRIMARY KEY, m INT)"),
                    &format!("INSERT INTO {database}.a SELECT seq, 1000 FROM seq_0_to_63"),
                ],
            );
        }
        let bench = Bench::new();
        let backups = bench.ready(&config(
            &server.options(),
            ", databases = [\"bank*\"], users = false",
        ));
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (1..4)
            .map(|seed| writer(&server, seed, &stop, &done))
            .collect();
        for round in 0..3 {
            let before = done.load(Ordering::Relaxed);
            while done.load(Ordering::Relaxed) < before + 50 {
                std::thread::yield_now();
            }
            run_ok(&backups, "server");
            bench.advance(1);
            let (directory, read) = fetch(&bench, &backups, &format!("out{round}"));
            let sum: i64 = read
                .databases
                .iter()
                .flat_map(|database| &database.tables)
                .flat_map(|table| rows(&directory, table))
                .map(|row| row.split_once('\t').unwrap().1.parse::<i64>().unwrap())
                .sum();
            assert_eq!(sum, 128_000);
            assert_eq!(read.consistency.way, way);
            println!(
                "{way}: {} tries, writers held up for {} us",
                read.consistency.tries, read.consistency.stall_us
            );
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
    }
}

#[test]
fn a_large_table_is_cut_and_goes_to_two_repositories() {
    let Some(server) = mariadb(&["--log-bin", "--innodb-log-file-size=256M"]) else {
        return;
    };
    let mut root = server.root();
    all(
        &mut root,
        &[
            "CREATE DATABASE d",
            "USE d",
            "CREATE TABLE d.t (a VARCHAR(10) COLLATE utf8mb4_unicode_ci, b INT, p VARCHAR(2000), PRIMARY KEY (a, b)) CHARACTER SET utf8mb4",
            "INSERT INTO d.t SELECT CONCAT(ELT(1 + seq % 5, 'a', 'Z', 'é', 'ß', '_'), 'ä', seq % 7), seq, REPEAT(MD5(seq), 40) FROM seq_1_to_60000",
            "ANALYZE TABLE d.t",
        ],
    );
    let bench = Bench::new();
    let text = config(&server.options(), ", users = false")
        .replace("[\"local\"]", "[\"local\", \"second\"]")
        + "[repository.second]\npath = \"@/second\"\npassword = \"${env.PASSWORD}\"\n";
    let backups = bench.ready(&text);
    backups.init("second", &crate::bench::quiet()).unwrap();
    let report = run(&backups, "server");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    let (directory, read) = fetch(&bench, &backups, "out");
    let table = &read.databases[0].tables[0];
    assert_eq!(table.rows, 60_000);
    let found = files(&directory, table);
    assert!(found.len() > 4, "{}", found.len());
    let all: Vec<String> = rows(&directory, table);
    let ids: std::collections::BTreeSet<&str> = all
        .iter()
        .map(|row| row.split('\t').nth(1).unwrap())
        .collect();
    assert_eq!((all.len(), ids.len()), (60_000, 60_000));
    let mut wanted = request("server", Target::Into(bench.path("out2")));
    wanted.repository = Some("second".to_owned());
    restore(&backups, &wanted).unwrap();
    assert_eq!(manifest(&bench.path("out2")), read);
}

#[test]
fn what_goes_wrong_is_told() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let mut root = server.root();
    all(
        &mut root,
        &[
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY)",
            "CREATE USER weak IDENTIFIED BY 'x'",
            "CREATE TABLE d.m (id INT PRIMARY KEY) ENGINE=MyISAM",
        ],
    );
    let bench = Bench::new();
    let socket = config(&server.options(), "");
    let backups = bench.ready(&socket);
    let report = run(&backups, "server");
    assert_eq!(report.outcome, Outcome::Ok);
    assert!(
        report.repositories[0].issues[0]
            .what
            .contains("(MyISAM) has no snapshots")
    );
    let failed = |config: &str| {
        let report = run(&bench.backups(config), "server");
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        let error = report.repositories[0].error.clone().unwrap();
        assert!(report.repositories[0].snapshot.is_none());
        error
    };
    let error = failed(&socket.replace("\"root\"", "\"weak\""));
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.help().unwrap().contains("password"), "{error}");
    let error = failed(&socket.replace("/s\"", "/nobody\""));
    assert_eq!(error.kind(), ErrorKind::SourceMissing, "{error}");
    // A password that is right, and rights that do not suffice for the lock.
    let weak = socket.replace("\"root\"", "\"weak\", password = \"${env.PASSWORD}\"");
    all(
        &mut root,
        &["SET PASSWORD FOR weak = PASSWORD('correct horse')"],
    );
    let error = failed(&weak);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.help().unwrap().contains("RELOAD"), "{error}");
    // A database that is not there is missing, and the snapshot says so.
    let report = run(
        &bench.backups(&socket.replace(", user", ", databases = [\"d\", \"nowhere\"], user")),
        "server",
    );
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(
        report.repositories[0].issues[0]
            .what
            .contains("no database is called `nowhere`")
    );
    // A lock of somebody else's is waited for for five seconds, and nobody for longer because of us.
    let mut other = server.root();
    all(&mut other, &["LOCK TABLES d.t WRITE"]);
    let error = failed(&socket);
    assert!(error.to_string().contains("within 5 s"), "{error}");
    assert!(error.help().unwrap().contains("PROCESSLIST"), "{error}");
    all(&mut other, &["INSERT INTO d.t VALUES (1)", "UNLOCK TABLES"]);
    run_ok(&backups, "server");
}

//! The classic layout: what is exported is loaded by the stock client, and what `mysqldump` makes is
//! imported.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mainstay_backup::classic::{ExportReport, ExportRequest, Format, ImportReport, ImportRequest};
use mainstay_backup::{Backups, Error, ErrorKind, Selector};

use crate::bench::{Bench, DATABASE, quiet, run_ok};
use crate::databases::bank;
use crate::mysql::{COMMON, OF_MARIADB, config, same, texts};
use crate::servers::{Server, all, mariadb, mysql};

fn wanted(bench: &Bench, format: Format) -> ExportRequest {
    ExportRequest {
        backup: "server".to_owned(),
        snapshot: Selector::Latest,
        repository: None,
        databases: Vec::new(),
        to: bench.path("dumps"),
        format,
    }
}

/// A stock program with these arguments, told of the server.
fn stock(program: &str, server: &Server) -> Command {
    let mut command = Command::new(testbed::find(program).unwrap());
    command
        .arg("--no-defaults")
        .arg(format!("--socket={}", server.options().endpoint))
        .arg("--user=root");
    command
}

/// `zcat FILE | mysql`, and what it said.
fn load(server: &Server, file: &Path, arguments: &[&str]) -> Output {
    let suffix = file.extension().unwrap().to_str().unwrap();
    let program = match suffix {
        "gz" => "zcat",
        "zst" => "zstdcat",
        _ => "cat",
    };
    let mut unpack = Command::new(program)
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = stock("mysql", server)
        .args(arguments)
        .stdin(unpack.stdout.take().unwrap())
        .output()
        .unwrap();
    let unpacked = unpack.wait().unwrap();
    assert!(unpacked.success() || !said.status.success());
    said
}

fn load_all(server: &Server, report: &ExportReport, arguments: &[&str]) {
    for file in &report.files {
        let said = load(server, &file.path, arguments);
        assert!(
            said.status.success(),
            "{}: {}",
            file.path.display(),
            String::from_utf8_lossy(&said.stderr)
        );
    }
}

/// What a line client, a character set and a row of a statement's size make difficult.
const HARD: &[&str] = &[
    "SET SESSION sql_mode = '', time_zone = '+00:00'",
    "USE `注文`",
    "CREATE TABLE bytes (id INT PRIMARY KEY, b LONGBLOB, t VARCHAR(50) CHARACTER SET utf16)",
    "INSERT INTO bytes VALUES (1, x'000a0d1a22275c5c5c27255f80ff090a', '12\\n'), (2, '\\\\N', '''\"`--#/*;;'), (3, NULL, NULL), (4, '', '')",
    "INSERT INTO bytes VALUES (5, REPEAT(x'00ff5c27', 400000), 'delimiter ;;'), (-6, REPEAT('a;', 900000), '')",
    "CREATE TABLE numbers_as_text (a VARCHAR(10), b CHAR(4) CHARACTER SET ucs2, c BIGINT, d DECIMAL(20,5), `in``t` INT, e BINARY(3))",
    "INSERT INTO numbers_as_text VALUES ('007', '12', -9223372036854775808, -0.00001, 1, '12'), ('1e5', '٣', 0, 12345678901234.5, NULL, '')",
    "CREATE VIEW `../x`.afar AS SELECT id FROM `注文`.bytes",
    "CREATE VIEW `注文`.back AS SELECT id FROM `../x`.afar",
    "CREATE PROCEDURE long_one() BEGIN SELECT 'a;;b', \"it's\"; SELECT 1 /* not a comment's ; end */ ; END",
    "CREATE USER plain@localhost",
];

/// Texts that the stock client takes apart: comments, other character sets.
const COMMENTED: &[&str] = &[
    "USE `注文`",
    "CREATE PROCEDURE commented() BEGIN\n-- it's one\nSELECT 1; # another's\n/* the ''third */ SELECT '-- none';\nEND",
    "CREATE TRIGGER commented AFTER DELETE ON keyless FOR EACH ROW BEGIN /* why */ SET @x = 'ä'; END",
    "CREATE EVENT commented ON SCHEDULE EVERY 1 HOUR STARTS '2030-01-01 00:00:00' DISABLE DO -- now\nDELETE FROM keyless",
    "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES', time_zone = '+03:00'",
    "CREATE FUNCTION modes() RETURNS TEXT DETERMINISTIC RETURN 'a\\'",
    "CREATE FUNCTION modes_commented() RETURNS TEXT DETERMINISTIC RETURN /* \\ */ 'a\\'",
    "SET SESSION sql_mode = '', time_zone = '+00:00'",
    "SET NAMES latin1",
    "CREATE FUNCTION of_latin1() RETURNS TEXT CHARACTER SET latin1 DETERMINISTIC RETURN 'Gr\u{f6}\u{df}e'",
    "SET NAMES utf8mb4",
];

fn round_trip(from: &Server, to: &Server, format: Format, arguments: &[&str]) {
    let bench = Bench::new();
    let backups = bench.ready(&config(&from.options(), ""));
    run_ok(&backups, "server");
    let report = backups.export(&wanted(&bench, format), &quiet()).unwrap();
    let day = bench.path("dumps/2026-11-22");
    let names: Vec<String> = report
        .files
        .iter()
        .map(|file| file.path.strip_prefix(&day).unwrap().display().to_string())
        .collect();
    assert_eq!(
        names.last().unwrap(),
        &format!("mysql-202611220300.{}", format.suffix()),
        "{names:?}"
    );
    assert!(names.contains(&format!("%2E.%2Fx-202611220300.{}", format.suffix())));
    for file in &report.files {
        let metadata = fs::metadata(&file.path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(metadata.len(), file.size);
    }
    for directory in [bench.path("dumps"), day.clone()] {
        let mode = fs::metadata(directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    assert_eq!(fs::read_dir(&day).unwrap().count(), report.files.len());
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("`broken`")),
        "{:?}",
        report.warnings
    );
    load_all(to, &report, arguments);
    same(from, to);
}

#[test]
fn what_is_exported_is_loaded_by_the_stock_client() {
    if testbed::find("mysql").is_none() {
        println!("SKIPPED: no mysql client on this machine");
        return;
    }
    for (format, arguments) in [
        (Format::SqlGz, &[][..]),
        (Format::SqlZst, &["--default-character-set=latin1"]),
    ] {
        if format == Format::SqlZst && testbed::find("zstdcat").is_none() {
            println!("SKIPPED: no zstd on this machine");
            continue;
        }
        let (Some(from), Some(to)) = (mariadb(&["--log-bin"]), mariadb(&[])) else {
            return;
        };
        let mut root = from.root();
        all(&mut root, COMMON);
        all(&mut root, OF_MARIADB);
        all(&mut root, HARD);
        all(&mut root, COMMENTED);
        // Whoever is there keeps the password.
        all(
            &mut to.root(),
            &["CREATE USER plain@localhost IDENTIFIED BY 'its own'"],
        );
        let hash = |server: &Server| {
            texts(
                &mut server.root(),
                "SELECT authentication_string FROM mysql.user WHERE User = 'plain'",
            )
        };
        let before = hash(&to);
        round_trip(&from, &to, format, arguments);
        assert_eq!(hash(&to), before);
        assert_ne!(hash(&from), before);
    }
}

#[test]
fn what_is_exported_from_a_mysql_is_loaded_by_the_stock_client() {
    let (Some(from), Some(to)) = (mysql(&[]), mysql(&[])) else {
        return;
    };
    let mut root = from.root();
    all(&mut root, COMMON);
    all(&mut root, HARD);
    // The client of MariaDB leaves comments out of routines, as the export warns of.
    round_trip(&from, &to, Format::Sql, &["--comments"]);
}

#[test]
fn an_export_is_whole_or_not_there() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    all(
        &mut server.root(),
        &[
            "CREATE DATABASE d",
            "USE d",
            "CREATE TABLE t (id INT PRIMARY KEY, p VARCHAR(2000))",
            "INSERT INTO t SELECT seq, REPEAT(MD5(seq), 60) FROM seq_1_to_2000",
            "CREATE DATABASE e",
        ],
    );
    let bench = Bench::new();
    let text = config(&server.options(), "") + DATABASE;
    let backups = bench.ready(&text);
    bank(&bench.path("shop.db"), "wal");
    run_ok(&backups, "server");
    let mut packs: Vec<PathBuf> = Vec::new();
    for directory in fs::read_dir(bench.path("repo/data")).unwrap().flatten() {
        packs.extend(
            fs::read_dir(directory.path())
                .unwrap()
                .map(|pack| pack.unwrap().path()),
        );
    }
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    run_ok(&backups, "db");
    let refused = |request: &ExportRequest| backups.export(request, &quiet()).unwrap_err();
    let nothing = || !bench.path("dumps/2026-11-22").exists();
    let mut request = wanted(&bench, Format::SqlGz);
    "db".clone_into(&mut request.backup);
    let error = refused(&request);
    assert!(error.to_string().contains("of sqlite"), "{error}");
    let mut request = wanted(&bench, Format::SqlGz);
    request.databases = vec!["dd".to_owned()];
    let error = refused(&request);
    assert!(error.help().unwrap().contains("`d`"), "{error:?}");
    assert!(nothing());
    // One database: no users.
    request.databases = vec!["e".to_owned()];
    let report = backups.export(&request, &quiet()).unwrap();
    assert_eq!(report.files.len(), 1);
    assert_eq!(report.files[0].database.as_deref(), Some("e"));
    // The whole: one of its files is there already, and nothing else is written.
    let error = refused(&wanted(&bench, Format::SqlGz));
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}");
    assert!(
        error.to_string().contains("e-202611220300.sql.gz"),
        "{error}"
    );
    fs::remove_file(&report.files[0].path).unwrap();
    fs::remove_dir(bench.path("dumps/2026-11-22")).unwrap();
    // A pack of the repository is gone.
    fs::rename(largest, bench.path("away")).unwrap();
    let error = refused(&wanted(&bench, Format::SqlGz));
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(nothing());
    fs::rename(bench.path("away"), largest).unwrap();
    let report = backups
        .export(&wanted(&bench, Format::SqlGz), &quiet())
        .unwrap();
    let rows: Vec<u64> = report.files.iter().map(|file| file.rows).collect();
    assert_eq!(rows, [2000, 0, 0]);
    assert!(report.files[0].longest <= 1_000_000 && report.files[0].bytes > 3_000_000);
    // The database is there: the client stops before anything is changed.
    let said = load(&server, &report.files[0].path, &[]);
    assert!(!said.status.success());
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(text.contains("database exists"), "{text}");
}

fn import(backups: &Backups, files: &[&Path], over: &[&str]) -> Result<ImportReport, Error> {
    backups.import(&request(files, over), &quiet())
}

fn request(files: &[&Path], over: &[&str]) -> ImportRequest {
    ImportRequest {
        backup: "server".to_owned(),
        server: None,
        files: files.iter().map(|file| file.to_path_buf()).collect(),
        database: None,
        over: over.iter().map(|name| (*name).to_owned()).collect(),
        dry_run: false,
    }
}

fn run(command: &mut Command) {
    let said = command.output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{command:?}: {text}");
}

#[test]
fn what_mysqldump_makes_is_imported() {
    if testbed::find("mariadb-dump").is_none() {
        println!("SKIPPED: no mariadb-dump on this machine");
        return;
    }
    let (Some(from), Some(to)) = (mariadb(&["--log-bin"]), mariadb(&[])) else {
        return;
    };
    let mut root = from.root();
    all(&mut root, COMMON);
    all(&mut root, OF_MARIADB);
    all(&mut root, HARD);
    all(&mut root, COMMENTED);
    // What a dump of theirs does not keep: digits of a FLOAT, an ENUM that is none, a check on a view.
    all(
        &mut root,
        &[
            "USE `注文`",
            "UPDATE kinds SET f = 0.5, p = 'a'",
            "DROP VIEW checked, broken",
            // Of the host's own name, which is not in use here, and which their dump stumbles over.
            "DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost', '%', '')",
            "FLUSH PRIVILEGES",
        ],
    );
    let bench = Bench::new();
    let backups = bench.ready(&config(&to.options(), ""));
    let dump = |name: &str, arguments: &[&str]| {
        let path = bench.path(name);
        run(stock("mariadb-dump", &from)
            .arg(format!("--result-file={}", path.display()))
            .args([
                "--single-transaction",
                "--default-character-set=utf8mb4",
                "--max-allowed-packet=64M",
            ])
            .args(arguments));
        path
    };
    let data = dump(
        "data.sql",
        &[
            "--routines",
            "--events",
            "--dump-history",
            "--databases",
            "../x",
            "od`d \"na'me",
            "注文",
        ],
    );
    let users = dump("users.sql", &["--system=users", "--insert-ignore"]);
    run(Command::new("gzip").arg(&data));
    let data = bench.path("data.sql.gz");
    let report = import(&backups, &[&data, &users], &[]).unwrap();
    assert_eq!(report.databases, ["../x", "od`d \"na'me", "注文"]);
    assert!(report.files[0].statements > 100, "{report:?}");
    same(&from, &to);
    // A second time they are there.
    let error = import(&backups, &[&data], &["../x"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}");
    assert!(!error.to_string().contains("../x"), "{error}");
    assert!(error.help().unwrap().contains("--over '注文'"), "{error:?}");
    import(
        &backups,
        &[&data],
        &report
            .databases
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    same(&from, &to);
}

#[test]
fn a_user_who_may_only_read_imports_nothing_and_another_does() {
    let Some(server) = mariadb(&[]) else {
        return;
    };
    let mut root = server.root();
    all(
        &mut root,
        &[
            "CREATE USER reader@localhost",
            "GRANT SELECT ON *.* TO reader@localhost",
        ],
    );
    let mut options = server.options();
    options.user = "reader".to_owned();
    let bench = Bench::new();
    let backups = bench.ready(&config(&options, ""));
    let path = bench.path("dump.sql");
    fs::write(
        &path,
        "CREATE DATABASE a; USE a; CREATE TABLE t (i INT); INSERT INTO t VALUES (7);\n-- Dump completed\n",
    )
    .unwrap();
    let mut request = request(&[&path], &[]);
    let error = backups.import(&request, &quiet()).unwrap_err();
    assert!(error.to_string().contains("reader"), "{error}");
    assert!(error.help().unwrap().contains("--user"), "{error:?}");
    request.server = backups
        .server_at("server", None, Some("root"), None)
        .unwrap();
    backups.import(&request, &quiet()).unwrap();
    assert_eq!(texts(&mut root, "SELECT i FROM a.t"), [["7"]]);
    // What the server warns of is said in its own words.
    fs::write(
        &path,
        "CREATE DATABASE b; USE b; DROP TABLE IF EXISTS gone;\n-- Dump completed\n",
    )
    .unwrap();
    let report = backups.import(&request, &quiet()).unwrap();
    let warned = report.warnings.last().unwrap();
    assert!(
        warned.contains("1 thing, ") && warned.contains("b.gone"),
        "{report:?}"
    );
}

#[test]
fn what_is_wrong_with_a_dump_is_told() {
    let Some(server) = mariadb(&["--max-allowed-packet=1M"]) else {
        return;
    };
    let bench = Bench::new();
    let backups = bench.ready(&config(&server.options(), ""));
    let path = bench.path("dump.sql");
    let told = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        import(&backups, &[&path], &[])
    };
    let databases = || texts(&mut server.root(), "SHOW DATABASES").len();
    let before = databases();
    let long = format!(
        "CREATE DATABASE a;\nINSERT INTO a.t VALUES ('{}');\n",
        "x".repeat(2_000_000)
    );
    for (text, reason, help) in [
        (
            "-- MariaDB dump 10.19\nCREATE DATABASE a;\n",
            "Dump completed",
            "another dump",
        ),
        (
            "-- MySQL dump\nCREATE DATABASE a;\nUSE a;\nINSERT INTO t VALUES ('se",
            "line 4",
            "cut off",
        ),
        (
            "\n\nINSERT INTO t VALUES ('secret');",
            "line 3: `INSERT INTO t` is of no database",
            "--database",
        ),
        (
            "CREATE DATABASE a; SET NAMES gbk;",
            "character set gbk",
            "utf8mb4",
        ),
        (
            "USE mysql; DROP TABLE user;",
            "has `mysql` already",
            "--over",
        ),
        ("-- nothing\n", "no statement", "another dump"),
        (
            &long,
            "line 2: `INSERT INTO a.t` has 20000",
            "max_allowed_packet",
        ),
    ] {
        let error = told(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert!(error.help().unwrap().contains(help), "{help}: {error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(databases(), before, "{reason}");
    }
    // A file that gzip says is cut off.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    packed.write_all(b"CREATE DATABASE a;\n").unwrap();
    let whole = packed.finish().unwrap();
    let error = told(&whole[..whole.len() - 4]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert_eq!(databases(), before);
    // What only the server knows: the line, the words, and what is half there.
    let text = "/*M!999999\\- enable the sandbox mode */ \nCREATE DATABASE a;\nUSE a;\nCREATE TABLE t (id INT);\nINSERT INTO t VALUES\n(1);\nINSERT INTO nowhere VALUES ('secret');\n";
    let error = told(text.as_bytes()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("dump.sql, line 7: `INSERT INTO nowhere`"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    assert!(error.help().unwrap().contains("drop `a`"), "{error:?}");
    assert_eq!(databases(), before + 1);
    // The client's own commands are not carried out.
    let touched = bench.path("touched");
    let error = told(format!("\\! touch {}\nCREATE DATABASE b;\n", touched.display()).as_bytes());
    assert!(error.is_err() && !touched.exists());
}

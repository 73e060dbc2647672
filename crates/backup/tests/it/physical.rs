//! Servers of `MariaDB` by their files: read while they run, prepared, and started again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_backup::classic::{ExportRequest, Format};
use mainstay_backup::drill::{DrillReport, DrillRequest, Verdict};
use mainstay_backup::{
    Backups, Depth, ErrorKind, Grade, Outcome, Pick, Progress, RunReport, Selector, ServerRequest,
    Target, Weight,
};
use mainstay_mysql::Connection;
use testbed::find;

use crate::bench::{Bench, PASSWORD, quiet, request, restore, run, run_ok};
use crate::mysql::{COMMON, OF_MARIADB, config, facts, same, texts};
use crate::mysql_restores::shop;
use crate::servers::{Server, all, mariadb, mariadb_made, mariadb_on};

/// A server of these options, if it and the program are here.
fn server(options: &[&str]) -> Option<Server> {
    if find("mariadb-backup").is_none() {
        println!("SKIPPED: no mariadb-backup on this machine");
        return None;
    }
    mariadb(options)
}

fn physical(server: &Server, more: &str) -> String {
    let more = format!(", engine = \"mariadb-backup\"{more}");
    config(&server.options(), &more)
}

/// A program in the place of the real one, which is `REAL` in it. It says the version of that one.
fn program(bench: &Bench, body: &str) -> String {
    let real = find("mariadb-backup").unwrap();
    let text = format!(
        "#!/bin/sh\nfor arg; do case $arg in\n--version) exec REAL --version;;\n--target-dir=*) target=${{arg#--target-dir=}};;\nesac; done\n{body}\n"
    )
    .replace("REAL", real.to_str().unwrap());
    // Several may be made before the first is used.
    let path = (0..1000)
        .map(|number| bench.path(&format!("program-{number}")))
        .find(|path| !path.exists())
        .unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!(", program = \"{}\"", path.display())
}

/// A server on what was restored into `data` of this directory.
fn started(directory: tempfile::TempDir, options: &[&str]) -> Server {
    mariadb_on(directory, options).unwrap()
}

/// Restores the latest snapshot into a new directory, and starts a server there.
fn brought_back(backups: &Backups, options: &[&str]) -> Server {
    let directory = testbed::directory();
    let data = directory.path().join("data");
    let report = restore(backups, &request("server", Target::Into(data.clone()))).unwrap();
    assert!(
        report.checked.contains("prepared by mariadb-backup"),
        "{}",
        report.checked
    );
    let next = report.next.unwrap();
    assert!(
        next.contains(&format!("--datadir={}", data.display())),
        "{next}"
    );
    assert!(report.issues.is_empty(), "{:?}", report.issues);
    started(directory, options)
}

fn failure(report: &RunReport) -> (ErrorKind, String) {
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let run = &report.repositories[0];
    assert!(run.snapshot.is_none());
    let error = run.error.clone().unwrap();
    let said = format!("{error} → {}", error.help().unwrap_or_default());
    (error.kind(), said)
}

fn snapshots(backups: &Backups) -> usize {
    let listing = backups.list(Some("server"), None, &quiet()).unwrap();
    assert!(listing.failed.is_empty());
    listing.snapshots.len()
}

#[test]
fn a_server_comes_back_whole_from_its_files() {
    let Some(from) = server(&["--log-bin"]) else {
        return;
    };
    let mut root = from.root();
    all(&mut root, COMMON);
    all(&mut root, OF_MARIADB);
    all(
        &mut root,
        &[
            "CREATE DATABASE kinds",
            "CREATE TABLE kinds.isam (id INT PRIMARY KEY, t TEXT) ENGINE=MyISAM",
            "INSERT INTO kinds.isam VALUES (1, 'one'), (2, 'two')",
            "CREATE TABLE kinds.aria (id INT PRIMARY KEY, t TEXT) ENGINE=Aria",
            "INSERT INTO kinds.aria VALUES (1, 'one'), (2, 'two')",
            "CREATE TABLE kinds.fleeting (id INT PRIMARY KEY) ENGINE=MEMORY",
            "INSERT INTO kinds.fleeting VALUES (1), (2)",
            // More than one piece, and more than one chunk of the stream.
            "CREATE TABLE kinds.large (id INT PRIMARY KEY, t TEXT)",
            "INSERT INTO kinds.large SELECT seq, REPEAT(SHA2(seq, 512), 8) FROM seq_1_to_20000",
        ],
    );
    // A file whose first page is not on disk yet has another name in a backup, until it is prepared.
    all(
        &mut root,
        &["FLUSH TABLES kinds.large FOR EXPORT", "UNLOCK TABLES"],
    );
    let bench = Bench::new();
    let backups = bench.ready(&physical(&from, ", connections = 3"));
    let report = run(&backups, "server");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    let stored = &report.repositories[0];
    let issues: Vec<_> = stored.issues.iter().collect();
    assert_eq!(issues.len(), 1, "{issues:?}");
    assert!(
        issues[0].weight == Weight::Warning
            && issues[0].path.ends_with("kinds/fleeting.frm")
            && issues[0].what.contains("engine MEMORY"),
        "{issues:?}"
    );
    let snapshot = stored.snapshot.clone().unwrap();
    let (server, files) = (
        snapshot.facts.server.clone().unwrap(),
        snapshot.facts.physical.clone().unwrap(),
    );
    let position = server.position.unwrap();
    let now = texts(&mut root, "SELECT @@gtid_current_pos, VERSION(), @@datadir");
    assert_eq!(position.gtid, now[0][0]);
    assert!(
        position.offset > 0 && position.file.contains("bin"),
        "{position:?}"
    );
    assert_eq!(server.version, now[0][1]);
    assert_eq!(format!("{}/", files.data), now[0][2]);
    assert!(
        files.to_lsn > 0 && files.last_lsn >= files.to_lsn,
        "{files:?}"
    );
    let count = texts(
        &mut root,
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')",
    );
    assert_eq!(server.tables.to_string(), count[0][0]);
    assert_eq!((server.databases, files.without_rows), (4, 1));

    // Each file of the data directory is one of the snapshot.
    let (_, items) = backups
        .show("server", &Selector::Latest, None, &quiet())
        .unwrap();
    let has = |path: &str| items.iter().any(|item| item.path == Path::new(path));
    for path in [
        "ibdata1",
        "kinds",
        "kinds/large.ibd",
        "kinds/aria.MAD",
        "mysql/global_priv.frm",
    ] {
        assert!(has(path), "{path}: {items:#?}");
    }
    let large = items
        .iter()
        .find(|item| item.path.ends_with("large.ibd"))
        .unwrap();
    assert_eq!(
        large.meta.size,
        fs::metadata(from.data().join("kinds/large.ibd"))
            .unwrap()
            .len()
    );
    let verified = backups.verify(&[], Depth::All, &quiet()).unwrap();
    let proofs = &verified.repositories[0].proofs;
    assert!(
        proofs.len() == 1 && proofs[0].failure.is_none(),
        "{proofs:?}"
    );

    let to = brought_back(&backups, &[]);
    // Users are those of then, root too.
    let mut there = to.root();
    assert_eq!(
        texts(&mut there, "SELECT COUNT(*) FROM kinds.fleeting")[0][0],
        "0"
    );
    for connection in [&mut root, &mut there] {
        all(connection, &["DROP TABLE kinds.fleeting"]);
    }
    same(&from, &to);
    // Whoever owned the files owns them, and what the preparing made.
    let owner = fs::metadata(from.data()).unwrap().uid();
    for path in ["", "ibdata1", "ib_logfile0", "kinds/large.ibd"] {
        let about = fs::metadata(to.data().join(path)).unwrap();
        assert_eq!(about.uid(), owner, "{path}");
    }
    let mode = |server: &Server, path: &str| {
        fs::metadata(server.data().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    for path in ["", "kinds", "kinds/large.ibd"] {
        assert_eq!(mode(&to, path), mode(&from, path), "{path}");
    }
    bench.assert_clean();
}

#[test]
fn what_did_not_change_is_not_stored_again() {
    let Some(from) = server(&[]) else {
        return;
    };
    let mut root = shop(&from, 40_000);
    let bench = Bench::new();
    let backups = bench.ready(&physical(&from, ""));
    let first = run(&backups, "server").repositories[0].clone();
    bench.advance(1);
    all(
        &mut root,
        &["UPDATE shop.customers SET name = 'changed' WHERE id = 1"],
    );
    let second = run(&backups, "server").repositories[0].clone();
    assert_eq!(second.outcome, Outcome::Ok, "{second:#?}");
    assert!(first.snapshot.unwrap().bytes > 40_000_000);
    assert!(
        second.added * 4 < first.added,
        "{} {}",
        first.added,
        second.added
    );
}

#[test]
fn money_that_moves_meanwhile_is_all_there() {
    let Some(from) = server(&[]) else {
        return;
    };
    let mut root = from.root();
    all(
        &mut root,
        &[
            "CREATE DATABASE a",
            "USE a",
            "CREATE DATABASE b",
            "CREATE TABLE a.accounts (id INT PRIMARY KEY, money INT, padding CHAR(200))",
            "CREATE TABLE b.accounts LIKE a.accounts",
            "INSERT INTO a.accounts SELECT seq, 1000, REPEAT('x', 200) FROM seq_1_to_20000",
            "INSERT INTO b.accounts SELECT * FROM a.accounts",
        ],
    );
    let done = AtomicBool::new(false);
    let bench = Bench::new();
    let backups = bench.ready(&physical(&from, ""));
    let moves = std::thread::scope(|threads| {
        let mover = threads.spawn(|| {
            let mut connection = from.root();
            let mut moves = 0u64;
            while !done.load(Ordering::SeqCst) {
                let (one, other) = (1 + moves * 7919 % 20000, 1 + moves * 104_729 % 20000);
                all(
                    &mut connection,
                    &[
                        "BEGIN",
                        &format!("UPDATE a.accounts SET money = money - 1 WHERE id = {one}"),
                        &format!("UPDATE b.accounts SET money = money + 1 WHERE id = {other}"),
                        "COMMIT",
                    ],
                );
                moves += 1;
            }
            moves
        });
        let report = run(&backups, "server");
        done.store(true, Ordering::SeqCst);
        assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
        mover.join().unwrap()
    });
    assert!(moves > 0);
    let to = brought_back(&backups, &[]);
    let sum = "SELECT (SELECT SUM(money) FROM a.accounts) + (SELECT SUM(money) FROM b.accounts)";
    assert_eq!(texts(&mut to.root(), sum)[0][0], "40000000");
}

#[test]
fn what_goes_wrong_stores_nothing_and_is_said() {
    let Some(from) = server(&[]) else {
        return;
    };
    shop(&from, 20_000);
    let bench = Bench::new();
    let ready = bench.ready(&physical(&from, ""));
    let whole = "REAL \"$@\" > \"$TMPDIR/stream\" || exit 1; ";
    for (name, more, expected) in [
        (
            "no program",
            ", program = \"/nowhere/mariadb-backup\"".to_owned(),
            "/nowhere/mariadb-backup cannot be used",
        ),
        (
            "another program",
            ", program = \"/bin/true\"".to_owned(),
            "/bin/true is no mariadb-backup",
        ),
        (
            "a stream that is cut off",
            program(
                &bench,
                &format!("{whole} head -c 3000000 \"$TMPDIR/stream\""),
            ),
            "the stream of mariadb-backup ends within",
        ),
        (
            "a stream with a byte that is spoiled",
            program(
                &bench,
                &format!(
                    "{whole} printf X | dd of=\"$TMPDIR/stream\" bs=1 seek=2000000 conv=notrunc 2>/dev/null; cat \"$TMPDIR/stream\""
                ),
            ),
            "the stream of mariadb-backup is ",
        ),
        (
            "no stream at all",
            program(&bench, "echo '[00] 2026-11-26 03:00:00 completed OK!' >&2"),
            "does not say up to where it has read the log",
        ),
        (
            "a bad end",
            program(&bench, "REAL \"$@\"; exit 3"),
            "mariadb-backup ended: exit code 3; its last words: ",
        ),
        (
            "no good word",
            program(&bench, "REAL \"$@\" 2>/dev/null"),
            "ended without saying `completed OK!`",
        ),
        (
            "killed in the middle",
            program(
                &bench,
                &format!("{whole} head -c 3000000 \"$TMPDIR/stream\"; kill -9 $$"),
            ),
            "mariadb-backup ended: ",
        ),
    ] {
        let backups = bench.backups(&physical(&from, &more));
        let (_, said) = failure(&run(&backups, "server"));
        assert!(said.contains(expected), "{name}: {said}");
        let (what, help) = said.split_once(" → ").unwrap();
        assert!(!help.is_empty(), "{name}: {what}");
        assert_eq!(snapshots(&ready), 0, "{name}");
        bench.assert_clean();
    }
    // The repository is as good as before.
    run_ok(&ready, "server");
    assert_eq!(snapshots(&ready), 1);
}

#[test]
fn a_password_is_seen_by_nobody() {
    let Some(from) = server(&[]) else {
        return;
    };
    shop(&from, 10);
    let rights = "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO";
    all(
        &mut from.root(),
        &[
            &format!("CREATE USER backup@localhost IDENTIFIED BY '{PASSWORD}'"),
            &format!("{rights} backup@localhost"),
        ],
    );
    let bench = Bench::new();
    let seen = bench.path("seen");
    let body = format!(
        "{{ echo \"$0 $*\"; env; tr '\\0' ' ' < /proc/$$/cmdline; ls -l /proc/$$/fd; }} >> {} ; exec REAL \"$@\"",
        seen.display()
    );
    let text = physical(&from, &program(&bench, &body));
    let with_password = "user = \"backup\", password = \"${env.PASSWORD}\"";
    let text = text.replace("user = \"root\"", with_password);
    let backups = bench.ready(&text);
    run_ok(&backups, "server");
    let seen = fs::read_to_string(&seen).unwrap();
    assert!(
        seen.contains("--defaults-file=/dev/fd/3") && seen.contains("HOME="),
        "{seen}"
    );
    assert!(
        !seen.contains(PASSWORD) && !seen.contains("horse"),
        "{seen}"
    );

    let wrong = bench.backups_with(
        &text.replace("${env.PASSWORD}", "${env.PASSWORD}x"),
        PASSWORD,
    );
    let (kind, said) = failure(&run(&wrong, "server"));
    assert_eq!(kind, ErrorKind::Denied, "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
}

fn faults(backups: &Backups) -> Vec<String> {
    let found = backups.preflight(&["server".to_owned()], &quiet()).unwrap();
    let checks = found.into_iter().flat_map(|part| part.checks);
    checks
        .filter(|check| check.grade != Grade::Good && !check.what.contains("its clock differs"))
        .map(|check| format!("{}: {} → {}", check.grade, check.what, check.help.unwrap()))
        .collect()
}

#[test]
fn what_stands_in_the_way_is_said_beforehand() {
    let Some(from) = server(&["--log-bin"]) else {
        return;
    };
    let mut root = from.root();
    all(
        &mut root,
        &[
            "CREATE DATABASE d",
            "CREATE USER weak@localhost IDENTIFIED BY 'correct horse'",
        ],
    );
    let bench = Bench::new();
    let text = physical(&from, "");
    let backups = bench.ready(&text);
    assert_eq!(faults(&backups), [""; 0]);
    let weak = text.replace("\"root\"", "\"weak\", password = \"${env.PASSWORD}\"");
    let backups = bench.backups(&weak);
    let found = faults(&backups);
    assert_eq!(found.len(), 4, "{found:#?}");
    for fault in found {
        assert!(fault.starts_with("fail: the right "), "{fault}");
        let (_, help) = fault.split_once("→ ").unwrap();
        // What is said is what helps.
        all(&mut root, &[help]);
    }
    assert_eq!(faults(&backups), [""; 0]);
    run_ok(&backups, "server");

    let missing = bench.backups(&physical(&from, ", program = \"/nowhere\""));
    let found = faults(&missing);
    assert!(
        found.len() == 1 && found[0].contains("`mysql.program`"),
        "{found:#?}"
    );

    // Tables that are elsewhere would be those of the running server.
    let elsewhere = testbed::directory();
    all(
        &mut root,
        &[
            &format!(
                "CREATE TABLE d.t (id INT) DATA DIRECTORY = '{}'",
                elsewhere.path().display()
            ),
            "CREATE TABLE d.m (id INT) ENGINE=MEMORY",
        ],
    );
    let backups = bench.backups(&text);
    let found = faults(&backups);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].contains("t.isl says that the file of a table lies elsewhere"),
        "{found:#?}"
    );
    assert!(
        found[1].starts_with("warn: 1 of its tables are in memory only"),
        "{found:#?}"
    );
    let (_, said) = failure(&run(&backups, "server"));
    assert!(
        said.contains("t.isl") && said.contains("leave `engine` out"),
        "{said}"
    );
}

/// A process that does something with backups, and hangs where it is told.
fn helper(directory: &Path, what: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "physical::helper_that_is_killed", "--nocapture"])
        .env("MAINSTAY_TEST_KILLED_PHYSICAL", directory)
        .env("MAINSTAY_TEST_KILLED_WHAT", what)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Hangs in a step, when so many bytes of it are done.
struct Hang {
    step: String,
    bytes: u64,
    at: std::path::PathBuf,
    here: std::sync::Mutex<(String, u64)>,
}

impl Hang {
    fn hang(&self) {
        fs::write(&self.at, "").unwrap();
        std::thread::sleep(Duration::from_mins(5));
    }
}

impl Progress for Hang {
    fn begin(&self, what: &str, _: Option<u64>) {
        *self.here.lock().unwrap() = (what.to_owned(), 0);
        if self.bytes == 0 && what.starts_with(&self.step) {
            self.hang();
        }
    }
    fn advance(&self, bytes: u64) {
        let mut here = self.here.lock().unwrap();
        here.1 += bytes;
        if self.bytes > 0 && here.0.starts_with(&self.step) && here.1 >= self.bytes {
            self.hang();
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

/// Not a test of its own: the process that is killed by those below.
#[test]
fn helper_that_is_killed() {
    let Some(directory) = std::env::var_os("MAINSTAY_TEST_KILLED_PHYSICAL") else {
        return;
    };
    let directory = Path::new(&directory);
    let what = std::env::var("MAINSTAY_TEST_KILLED_WHAT").unwrap();
    let (verb, moment) = what.split_once(' ').unwrap();
    let (bytes, step) = moment.split_once(' ').unwrap();
    let text = fs::read_to_string(directory.join("config")).unwrap();
    let backups = Bench::new().backups_at(&text, directory);
    let hang: Arc<dyn Progress> = Arc::new(Hang {
        step: step.to_owned(),
        bytes: bytes.parse().unwrap(),
        at: directory.join("hangs"),
        here: std::sync::Mutex::default(),
    });
    if verb == "run" {
        let _ = backups.run("server", &hang);
    } else {
        let plan = backups
            .plan_restore(&request("server", Target::InPlace), &quiet())
            .unwrap();
        let _ = backups.restore(&plan, &hang);
    }
}

/// Has a process do something, and kills it where it hangs.
fn killed(bench: &Bench, what: &str) {
    let hangs = bench.path("hangs");
    let _ = fs::remove_file(&hangs);
    let mut child = helper(bench.directory.path(), what);
    let begun = Instant::now();
    while !hangs.exists() {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{what}: it never came there"
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "{what}: it ended by itself"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until no process has this in its command line.
fn nobody_works_in(directory: &Path) {
    let text = directory.to_str().unwrap();
    let begun = Instant::now();
    let works = || {
        fs::read_dir("/proc").unwrap().flatten().any(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
    };
    while works() {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "somebody works in {text}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_backup_leaves_nothing_behind() {
    let Some(from) = server(&[]) else {
        return;
    };
    let mut root = shop(&from, 60_000);
    let bench = Bench::new();
    let text = physical(&from, "");
    let backups = bench.ready(&text);
    fs::write(bench.path("config"), &text).unwrap();
    for moment in [
        "run 1 Backing up",
        "run 20000000 Backing up",
        "run 60000000 Backing up",
    ] {
        killed(&bench, moment);
        nobody_works_in(&bench.path("state/staging"));
        assert_eq!(snapshots(&backups), 0, "{moment}");
        // Nothing holds the server up.
        all(
            &mut root,
            &["CREATE TABLE shop.fresh (id INT)", "DROP TABLE shop.fresh"],
        );
    }
    run_ok(&backups, "server");
    bench.assert_clean();
    let to = brought_back(&backups, &[]);
    same_shop(&from, &to);
}

fn same_shop(from: &Server, to: &Server) {
    assert_eq!(facts(from), facts(to));
}

/// A bench with a server's files in the repository, and what it was like then. Since then it changed.
fn changed_since(server: &Server, bench: &Bench) -> std::collections::BTreeMap<String, String> {
    let mut root = shop(server, 20_000);
    let backups = bench.ready(&physical(server, ""));
    run_ok(&backups, "server");
    let then = facts(server);
    all(
        &mut root,
        &[
            "UPDATE shop.customers SET name = 'live'",
            "DROP TABLE shop.orders",
            "FLUSH TABLES",
        ],
    );
    then
}

#[test]
fn a_restore_in_place_sets_the_old_server_aside() {
    let Some(mut server) = server(&[]) else {
        return;
    };
    let bench = Bench::new();
    let then = changed_since(&server, &bench);
    let backups = bench.backups(&physical(&server, ""));
    let wanted = request("server", Target::InPlace);
    let live = facts(&server);

    // Never below a server that runs.
    let plan = backups.plan_restore(&wanted, &quiet()).unwrap();
    let text = plan.to_string();
    assert!(
        text.contains("must be stopped first") && text.contains("prepares them"),
        "{text}"
    );
    let error = backups.restore(&plan, &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(
        error.help().unwrap().contains("stop the server"),
        "{error:?}"
    );
    assert_eq!(facts(&server), live);

    server.stop();
    let report = restore(&backups, &wanted).unwrap();
    assert!(report.next.unwrap().contains("start the server"));
    let aside = &report.set_aside[0];
    assert_eq!(aside.from, server.data());
    server.restart(&[]);
    assert_eq!(facts(&server), then);

    // The old one is whole, too.
    let old = testbed::directory();
    fs::rename(&aside.to, old.path().join("data")).unwrap();
    assert_eq!(facts(&started(old, &[])), live);
    bench.assert_clean();
}

#[test]
fn a_killed_restore_comes_to_its_end_when_it_is_asked_again() {
    let Some(mut server) = server(&[]) else {
        return;
    };
    let bench = Bench::new();
    let then = changed_since(&server, &bench);
    let live = facts(&server);
    let text = physical(&server, "");
    let backups = bench.backups(&text);
    fs::write(bench.path("config"), &text).unwrap();
    for moment in [
        "restore 1 Restoring",
        "restore 20000000 Restoring",
        "restore 0 Preparing",
    ] {
        server.stop();
        killed(&bench, moment);
        nobody_works_in(&server.data());
        // What is live is as it was.
        server.restart(&[]);
        assert_eq!(facts(&server), live, "{moment}");
    }
    server.stop();
    restore(&backups, &request("server", Target::InPlace)).unwrap();
    server.restart(&[]);
    assert_eq!(facts(&server), then);
    bench.assert_clean();
}

#[test]
fn parts_of_it_are_refused_with_what_to_do() {
    let Some(from) = server(&[]) else {
        return;
    };
    shop(&from, 10);
    let bench = Bench::new();
    let backups = bench.ready(&physical(&from, ""));
    run_ok(&backups, "server");
    let mut into_server = ServerRequest::new("server");
    into_server.pick = Pick::Tables(vec![("shop".to_owned(), "orders".to_owned())]);
    let error = backups.plan_server(&into_server, &quiet()).unwrap_err();
    assert!(error.help().unwrap().contains("--to DIR"), "{error:?}");
    let mut part = request("server", Target::Into(bench.path("part")));
    part.only = vec!["shop".into()];
    assert!(backups.plan_restore(&part, &quiet()).is_err());
    let wanted = ExportRequest {
        backup: "server".to_owned(),
        snapshot: Selector::Latest,
        repository: None,
        to: bench.path("export"),
        format: Format::SqlGz,
        databases: Vec::new(),
    };
    let error = backups.export(&wanted, &quiet()).unwrap_err();
    assert!(error.help().unwrap().contains("--to DIR"), "{error:?}");
    // Another host's server is not put into the place of ours.
    let other = bench.backups_on("shop2", &physical(&from, ""));
    let mut theirs = request("server", Target::InPlace);
    let listing = backups.list(Some("server"), None, &quiet()).unwrap();
    theirs.snapshot = Selector::Id(listing.snapshots[0].snapshot.id.clone());
    let error = other.plan_restore(&theirs, &quiet()).unwrap_err();
    assert!(error.help().unwrap().contains("--to DIR"), "{error:?}");
    // A series of the program that does not know these files.
    let text = physical(&from, &program(&bench, "exit 1")).replace("/program-0\"", "/older\"");
    let older =
        "#!/bin/sh\necho 'mariadb-backup based on MariaDB server 10.4.1-MariaDB Linux (x86_64)'\n";
    fs::write(bench.path("older"), older).unwrap();
    fs::set_permissions(bench.path("older"), fs::Permissions::from_mode(0o755)).unwrap();
    let backups = bench.backups(&text);
    let whole = request("server", Target::Into(bench.path("whole")));
    let error = backups.plan_restore(&whole, &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoServer, "{error}");
    assert!(
        error.help().unwrap().contains("install mariadb-backup 10."),
        "{error:?}"
    );
    let (_, said) = failure(&run(&backups, "server"));
    assert!(said.contains("is of 10.4.1-MariaDB"), "{said}");
}

fn drill(backups: &Backups) -> DrillReport {
    let request = DrillRequest {
        backup: "server".to_owned(),
        snapshot: Selector::Latest,
        repository: None,
    };
    backups.drill(&request, &quiet()).unwrap()
}

#[test]
fn a_drill_starts_a_server_on_the_files() {
    let small_pages = ["--innodb-page-size=8k", "--innodb-undo-tablespaces=2"];
    if find("mariadb-backup").is_none() {
        println!("SKIPPED: no mariadb-backup on this machine");
        return;
    }
    let Some(from) = mariadb_made(&small_pages, &[]) else {
        return;
    };
    let mut root = shop(&from, 20_000);
    all(
        &mut root,
        &[
            "CREATE TABLE shop.fleeting (id INT PRIMARY KEY) ENGINE=MEMORY",
            "INSERT INTO shop.fleeting VALUES (1)",
            "CREATE SEQUENCE shop.numbers",
        ],
    );
    let rows = texts(&mut root, "SELECT COUNT(*) FROM shop.orders")[0][0].clone();
    let asks = format!(
        "drill = {{ assert = [{{ query = \"SELECT COUNT(*) FROM shop.orders\", is = \"{rows}\" }}] }}\n"
    );
    let bench = Bench::new();
    let text = format!("{}{asks}", physical(&from, ""));
    let backups = bench.ready(&text);
    let id = run_ok(&backups, "server");
    let report = drill(&backups);
    assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
    assert_eq!(report.snapshot.as_ref().unwrap().id, id);
    let found = |what: &str| {
        let check = report.checks.iter().find(|check| check.what == what);
        check
            .unwrap_or_else(|| panic!("{what}: {report:#?}"))
            .found
            .clone()
    };
    assert_eq!(found("table `shop`.`orders`"), format!("OK, {rows} rows"));
    let count = texts(
        &mut root,
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ('shop', 'other') AND TABLE_TYPE <> 'VIEW'",
    );
    assert_eq!(found("tables"), count[0][0]);
    for what in ["CHECK TABLE", "no digests", "MEMORY"] {
        assert!(
            report.notes.iter().any(|note| note.contains(what)),
            "{:?}",
            report.notes
        );
    }
    for step in ["write the files", "prepare them", "start a server on them"] {
        assert!(
            report.steps.iter().any(|s| s.what == step && s.restores),
            "{report:#?}"
        );
    }
    assert!(
        backups
            .last_report("server")
            .unwrap()
            .unwrap()
            .report
            .is_proven()
    );
    bench.assert_clean();

    // One that must fail does.
    let failed = |text: &str, verdict: Verdict, expected: &str| {
        let report = drill(&bench.backups(text));
        assert_eq!(report.verdict, verdict, "{report:#?}");
        let why = report.why.unwrap();
        assert!(why.contains(expected), "{why}");
        bench.assert_clean();
    };
    let wrong = text.replace(&format!("is = \"{rows}\""), "is = \"7\"");
    failed(&wrong, Verdict::Failed, "expected 7");
    let with = |body: &str| {
        let more = program(&bench, body);
        format!("{}{asks}", physical(&from, &more))
    };
    failed(
        &with(
            "REAL \"$@\" && dd if=/dev/zero of=\"$target/shop/orders.ibd\" bs=8k seek=40 count=200 conv=notrunc 2>/dev/null",
        ),
        Verdict::Failed,
        "shop",
    );
    failed(
        &with("REAL \"$@\" && rm \"$target\"/shop/customers.*"),
        Verdict::Failed,
        "tables: expected",
    );
    failed(
        &with("exit 1"),
        Verdict::Failed,
        "the files cannot be prepared",
    );
    let missing = format!("{}{asks}", physical(&from, ", program = \"/nowhere\""));
    failed(&missing, Verdict::Impossible, "cannot be drilled here");
}

/// What a connection sees of `shop` when a table is altered while its files are read: either the old or
/// the new one.
#[test]
fn tables_that_change_meanwhile_come_back() {
    let Some(from) = server(&[]) else {
        return;
    };
    let mut root = shop(&from, 20_000);
    let bench = Bench::new();
    let backups = bench.ready(&physical(&from, ""));
    let done = AtomicBool::new(false);
    let report = std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut connection: Connection = from.root();
            let mut number = 0;
            while !done.load(Ordering::SeqCst) {
                number += 1;
                all(
                    &mut connection,
                    &[
                        &format!(
                            "CREATE TABLE shop.t{number} (id INT PRIMARY KEY) AS SELECT 1 AS id"
                        ),
                        &format!("ALTER TABLE shop.t{number} ADD COLUMN b INT"),
                        &format!("RENAME TABLE shop.t{number} TO shop.u{number}"),
                        &format!("DROP TABLE shop.u{number}"),
                    ],
                );
            }
        });
        let report = run(&backups, "server");
        done.store(true, Ordering::SeqCst);
        report
    });
    let rows = "SELECT COUNT(*), SUM(LENGTH(note)) FROM shop.orders";
    // mariadb-backup may give up on a table that changes under its hands; it says so.
    if report.outcome == Outcome::Failed {
        let (_, said) = failure(&report);
        assert!(said.contains("mariadb-backup ended"), "{said}");
        run_ok(&backups, "server");
    }
    let to = brought_back(&backups, &[]);
    assert_eq!(texts(&mut to.root(), rows), texts(&mut root, rows));
}

//! Drills: what is proven, what fails loudly, and what is left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mainstay_backup::drill::{DrillReport, DrillRequest, Verdict, page};
use mainstay_backup::{Backups, ErrorKind, Progress, Selector};
use rusqlite::Connection;

use crate::bench::{Bench, DATABASE, FILES, noise, quiet, run, run_ok};
use crate::databases::bank;
use crate::mysql::{COMMON, OF_MARIADB};
use crate::redis_server::{Server, is_here};
use crate::servers::{self, all, mariadb, mysql};

pub(crate) fn request(backup: &str) -> DrillRequest {
    DrillRequest {
        backup: backup.to_owned(),
        snapshot: Selector::Latest,
        repository: None,
    }
}

fn drill_with(backups: &Backups, backup: &str, progress: &Arc<dyn Progress>) -> DrillReport {
    backups.drill(&request(backup), progress).unwrap()
}

fn drill(backups: &Backups, backup: &str) -> DrillReport {
    drill_with(backups, backup, &quiet())
}

/// The reason of a drill that proves nothing, which is loud everywhere.
fn failed(bench: &Bench, backups: &Backups, report: &DrillReport, verdict: Verdict) -> String {
    assert_eq!(report.verdict, verdict, "{report:#?}");
    let status = backups.status().unwrap();
    let status = status.iter().find(|s| s.name == report.backup).unwrap();
    assert!(status.drill_failed() && !status.is_well());
    assert_eq!(status.last_drill.as_ref().unwrap().error, report.why);
    let kept = backups.last_report(&report.backup).unwrap().unwrap();
    assert_eq!(kept.report.verdict, verdict);
    assert!(!page(&kept.report).contains("PROVEN"));
    nothing_left(bench);
    report.why.clone().unwrap()
}

fn nothing_left(bench: &Bench) {
    let scratch = bench.path("state/drill/scratch");
    if scratch.exists() {
        assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
    }
    bench.assert_clean();
}

/// Does something once, when a step begins that has this in its name.
struct Meddler {
    step: &'static str,
    done: AtomicBool,
    act: Box<dyn Fn() + Send + Sync>,
}

impl Progress for Meddler {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what.contains(self.step) && !self.done.swap(true, Ordering::Relaxed) {
            (self.act)();
        }
    }
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

fn at_step(step: &'static str, act: impl Fn() + Send + Sync + 'static) -> Arc<dyn Progress> {
    Arc::new(Meddler {
        step,
        done: AtomicBool::new(false),
        act: Box::new(act),
    })
}

fn tree(bench: &Bench) {
    fs::create_dir_all(bench.path("data/deep")).unwrap();
    fs::write(bench.path("data/large"), noise(1_000_000, 3)).unwrap();
    fs::write(bench.path("data/deep/small"), "small").unwrap();
    std::os::unix::fs::symlink("small", bench.path("data/deep/link")).unwrap();
}

fn packs(bench: &Bench) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> = fs::read_dir(bench.path("repo/data"))
        .unwrap()
        .flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    packs
}

#[test]
fn a_drill_proves_files_and_signs_what_it_found() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(&format!(
        "{FILES}drill = {{ assert = [{{ path = \"deep/small\" }}, {{ command = [\"/usr/bin/test\", \"-s\", \"deep/link\"] }}, {{ command = [\"/bin/cat\", \"deep/small\"], is = \"small\" }}] }}\n"
    ));
    let id = run_ok(&backups, "files");
    bench.advance(1);
    assert!(backups.status().unwrap()[0].proven.is_none());
    let report = drill(&backups, "files");
    assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
    assert_eq!(report.snapshot.as_ref().unwrap().id, id);
    assert_eq!(report.checks.len(), 5, "{:#?}", report.checks);
    assert!(report.steps.iter().any(|step| step.restores));
    nothing_left(&bench);
    // What was there is as it was.
    assert_eq!(fs::read(bench.path("data/deep/small")).unwrap(), b"small");
    let status = backups.status().unwrap().remove(0);
    assert!(status.is_well());
    let proven = status.proven.unwrap();
    assert_eq!(proven.snapshot.as_deref(), Some(id.as_str()));
    // It is signed, for whoever has the public key.
    let kept = backups.last_report("files").unwrap().unwrap();
    assert_eq!(kept.report, report);
    assert_eq!(Some(kept.path.clone()), proven.report);
    let json = fs::read(&kept.path).unwrap();
    let signature = fs::read(kept.path.with_extension("json.sig")).unwrap();
    assert!(backups.drill_key().unwrap().verifies(&json, &signature));
    let text = fs::read_to_string(kept.path.with_extension("md")).unwrap();
    assert!(
        text.contains("**PROVEN") && text.contains("BEGIN PUBLIC KEY"),
        "{text}"
    );
    for file in ["key.pk8", "reports/files"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(bench.path("state/drill").join(file)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o077, 0, "{file}");
    }
    // A word changed in it is seen.
    let changed = String::from_utf8(json).unwrap().replace("shop1", "shop2");
    fs::write(&kept.path, changed).unwrap();
    let error = backups.last_report("files").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("signature"), "{error}");
}

#[test]
fn openssl_verifies_a_report_too() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    drill(&backups, "files");
    let report = backups.last_report("files").unwrap().unwrap().path;
    let key = bench.path("key.pem");
    fs::write(&key, backups.drill_key().unwrap().to_string()).unwrap();
    let verify = || {
        std::process::Command::new("openssl")
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(&key)
            .arg("-in")
            .arg(&report)
            .arg("-sigfile")
            .arg(report.with_extension("json.sig"))
            .output()
    };
    let Ok(said) = verify() else {
        println!("SKIPPED: openssl is not installed");
        return;
    };
    assert!(said.status.success(), "{said:?}");
    fs::write(&report, "{}").unwrap();
    assert!(!verify().unwrap().status.success());
}

#[test]
fn a_drill_of_a_database_asks_what_the_config_asserts() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "wal");
    let backups = bench.ready(&format!(
        "{DATABASE}drill = {{ assert = [{{ query = \"SELECT sum(money), count(*) FROM accounts\", is = \"200000\\t200\" }}, {{ query = \"SELECT id FROM accounts WHERE id < 3 ORDER BY id\", is = \"1\\n2\" }}] }}\n"
    ));
    run_ok(&backups, "db");
    let report = drill(&backups, "db");
    assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
    let rows = |table: &str| {
        let what = format!("rows of `{table}`");
        let check = report.checks.iter().find(|check| check.what == what);
        check.unwrap().found.clone()
    };
    assert_eq!(
        (rows("accounts"), rows("transfers")),
        ("200".to_owned(), "3000".to_owned())
    );
    nothing_left(&bench);
}

#[test]
fn what_does_not_hold_is_loud() {
    for (name, assertion, said) in [
        (
            "a false query",
            "{ query = \"SELECT count(*) FROM accounts\", is = \"7\" }",
            "expected 7, found 200",
        ),
        (
            "a query that cannot be asked",
            "{ query = \"SELECT * FROM gone\", is = \"7\" }",
            "no such table: gone",
        ),
        (
            "a query that would write",
            "{ query = \"DELETE FROM accounts\", is = \"\" }",
            "readonly",
        ),
        ("a program", "{ command = [\"/bin/false\"] }", "exit code 0"),
        (
            "a program that is not there",
            "{ command = [\"/nonexistent/x\"] }",
            "/nonexistent/x",
        ),
        (
            "a word of a program",
            "{ command = [\"/bin/echo\", \"a\"], is = \"b\" }",
            "expected b, found a",
        ),
    ] {
        let bench = Bench::new();
        bank(&bench.path("shop.db"), "delete");
        let backups = bench.ready(&format!("{DATABASE}drill = {{ assert = [{assertion}] }}\n"));
        run_ok(&backups, "db");
        let report = drill(&backups, "db");
        let why = failed(&bench, &backups, &report, Verdict::Failed);
        assert!(why.contains(said), "{name}: {why}");
    }
}

#[test]
fn a_file_that_must_be_there_and_is_not() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(&format!(
        "{FILES}drill = {{ assert = [{{ path = \"index.html\" }}] }}\n"
    ));
    run_ok(&backups, "files");
    let why = failed(&bench, &backups, &drill(&backups, "files"), Verdict::Failed);
    assert!(
        why.contains("index.html: expected exists, found is not there"),
        "{why}"
    );
    // When it is there, all is well again.
    fs::write(bench.path("data/index.html"), "x").unwrap();
    bench.advance(1);
    run_ok(&backups, "files");
    bench.advance(1);
    assert!(drill(&backups, "files").is_proven());
    let status = backups.status().unwrap().remove(0);
    assert!(!status.drill_failed() && status.is_well());
}

#[test]
fn a_damaged_chunk_and_a_wrong_password_fail() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(FILES);
    let error = drill(&backups, "files");
    let why = failed(&bench, &backups, &error, Verdict::Failed);
    assert!(why.contains("there is none yet"), "{why}");
    run_ok(&backups, "files");
    bench.advance(1);
    let wrong = bench.backups_with(FILES, "wrong horse");
    let why = failed(&bench, &wrong, &drill(&wrong, "files"), Verdict::Failed);
    assert!(why.contains("password"), "{why}");
    let pack = packs(&bench).pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    bench.advance(1);
    let report = drill(&backups, "files");
    failed(&bench, &backups, &report, Verdict::Failed);
    let step = report.steps.last().unwrap();
    assert!(
        step.error.is_some() && step.what == "write the files",
        "{step:?}"
    );
}

#[test]
fn a_snapshot_that_was_drilled_is_a_verified_one() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 1, verified = 1 }}\n"));
    let drilled = run_ok(&backups, "files");
    bench.advance(1);
    assert!(drill(&backups, "files").is_proven());
    bench.advance(1);
    fs::write(bench.path("data/deep/small"), "another").unwrap();
    let newest = run_ok(&backups, "files");
    let listing = backups.list(None, None, &quiet()).unwrap();
    let ids: Vec<String> = listing
        .snapshots
        .into_iter()
        .map(|s| s.snapshot.id)
        .collect();
    assert_eq!(ids, [drilled, newest]);
}

#[test]
fn repositories_take_turns_and_a_broken_one_is_not_passed_over() {
    let bench = Bench::new();
    tree(&bench);
    let two = format!(
        "[repository.second]\npath = \"@/second\"\npassword = \"${{env.PASSWORD}}\"\n{}",
        FILES.replace("[\"local\"]", "[\"local\", \"second\"]")
    );
    let backups = bench.ready(&two);
    backups.init("second", &quiet()).unwrap();
    run_ok(&backups, "files");
    let mut drilled = Vec::new();
    for _ in 0..4 {
        bench.advance(1);
        let report = drill(&backups, "files");
        assert!(report.is_proven(), "{report:#?}");
        drilled.extend(report.repository);
    }
    assert_eq!(drilled, ["local", "second", "local", "second"]);
    fs::rename(bench.path("repo"), bench.path("gone")).unwrap();
    for _ in 0..2 {
        bench.advance(1);
        let report = drill(&backups, "files");
        failed(&bench, &backups, &report, Verdict::Failed);
    }
    let mut named = request("files");
    named.repository = Some("second".to_owned());
    bench.advance(1);
    assert!(backups.drill(&named, &quiet()).unwrap().is_proven());
}

#[test]
fn a_table_that_is_truncated_is_found() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "delete");
    let backups = bench.ready(DATABASE);
    run_ok(&backups, "db");
    let file = bench.path("state/drill/scratch/db/data/database");
    let meddler = at_step("Checking the restored database", move || {
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch("DELETE FROM accounts").unwrap();
    });
    let report = drill_with(&backups, "db", &meddler);
    failed(&bench, &backups, &report, Verdict::Failed);
    let accounts = report
        .checks
        .iter()
        .find(|check| check.what == "rows of `accounts`");
    let accounts = accounts.unwrap();
    assert!(!accounts.holds && accounts.found == "0", "{accounts:?}");
}

#[test]
fn what_a_killed_drill_left_is_removed_and_one_under_way_is_not() {
    let bench = Bench::new();
    tree(&bench);
    let backups = Arc::new(bench.ready(FILES));
    run_ok(&backups, "files");
    let scratch = bench.path("state/drill/scratch");
    for left in ["files/data/old", "other/data/deep"] {
        fs::create_dir_all(scratch.join(left)).unwrap();
    }
    backups.recover().unwrap();
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    fs::create_dir_all(scratch.join("files/data/old")).unwrap();
    let (again, place) = (Arc::clone(&backups), scratch.clone());
    let met = Arc::new(Mutex::new(None));
    let told = Arc::clone(&met);
    let meddler = at_step("into a scratch place", move || {
        // Another process meanwhile: it sweeps nothing, and drills nothing.
        assert!(!place.join("files/data/old").exists());
        again.recover().unwrap();
        assert!(place.join("files").exists());
        let error = again.drill(&request("files"), &quiet()).unwrap_err();
        *told.lock().unwrap() = Some(error.kind());
    });
    assert!(drill_with(&backups, "files", &meddler).is_proven());
    assert_eq!(*met.lock().unwrap(), Some(ErrorKind::Locked));
    nothing_left(&bench);
}

/// Asks to stop when a step begins.
struct Stopper(&'static str, AtomicBool);

impl Progress for Stopper {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what.contains(self.0) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {}
    fn cancelled(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

#[test]
fn a_drill_that_is_asked_to_stop_says_nothing_of_the_backup() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    let stopper: Arc<dyn Progress> =
        Arc::new(Stopper("into a scratch place", AtomicBool::new(false)));
    let error = backups.drill(&request("files"), &stopper).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(backups.status().unwrap()[0].last_drill.is_none());
    nothing_left(&bench);
}

#[test]
fn a_backup_that_shrinks_is_loud_and_a_usual_one_is_not() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "delete");
    let backups = bench.ready(DATABASE);
    for _ in 0..4 {
        run_ok(&backups, "db");
        bench.advance(1);
    }
    let status = backups.status().unwrap().remove(0);
    assert!(status.is_well() && status.sizes.len() == 4, "{status:?}");
    assert_eq!(status.usual_bytes(), status.sizes.first().copied());
    // Not vacuumed: the file stays as large as it was, and the rows are gone.
    let connection = Connection::open(bench.path("shop.db")).unwrap();
    connection.execute_batch("DELETE FROM transfers").unwrap();
    run_ok(&backups, "db");
    let status = backups.status().unwrap().remove(0);
    let shrunken = status.shrunken.unwrap();
    assert!(
        shrunken.rows && shrunken.now == 200 && shrunken.usual == 3200,
        "{shrunken:?}"
    );
    assert!(!status.is_well());
    let patient = bench.backups(&format!("{DATABASE}shrunken_percent = 0\n"));
    assert!(patient.status().unwrap()[0].is_well());
}

#[test]
fn a_proof_that_is_too_old_is_loud() {
    let bench = Bench::new();
    tree(&bench);
    let backups = bench.ready(&format!("{FILES}drill = {{ max_age = \"8d\" }}\n"));
    run_ok(&backups, "files");
    assert!(!backups.status().unwrap()[0].unproven);
    bench.advance(9 * 24);
    run_ok(&backups, "files");
    assert!(backups.status().unwrap()[0].unproven);
    drill(&backups, "files");
    assert!(!backups.status().unwrap()[0].unproven);
    bench.advance(9 * 24);
    assert!(backups.status().unwrap()[0].unproven);
}

fn redis(port: u16, drill: &str) -> String {
    format!(
        "[backup.redis]\nredis = {{ address = \"127.0.0.1:{port}\" }}\nto = [\"local\"]\ndrill = {{ {drill} }}\n"
    )
}

/// A server with keys in two databases, of which some expire.
fn filled(bench: &Bench, options: &[&str]) -> Server {
    let server = Server::start(&bench.path("production"), options);
    let mut cli = server.cli();
    for number in 0..500 {
        cli.ask(&["SET", &format!("key:{number}"), "value"]);
    }
    for line in [
        "SET soon x PX 1",
        "SET later x EX 100000",
        "SELECT 3",
        "SET other 1",
    ] {
        cli.line(line);
    }
    server
}

#[test]
fn a_server_of_redis_is_drilled_beside_the_one_that_serves() {
    if !is_here() {
        return;
    }
    for options in [&[][..], &["--appendonly", "yes"]] {
        let bench = Bench::new();
        let production = filled(&bench, options);
        let backups = bench.ready(&redis(
            production.port,
            &format!("assert = [{{ query = \"GET key:7\", is = \"value\" }}, {{ query = \"CONFIG GET port\", is = \"port\\n0\" }}, {{ command = [\"/usr/bin/stat\", \"-c\", \"%u\", \"drill.sock\"], is = \"{}\" }}]", guest(&bench, "redis")),
        ));
        run_ok(&backups, "redis");
        let before = production.cli().info("run_id");
        let scratch = bench.path("state/drill/scratch/redis/data");
        let seen = Arc::new(AtomicBool::new(false));
        let (told, place) = (Arc::clone(&seen), scratch.clone());
        let meddler = at_step("Asking what", move || {
            told.store(place.join("drill.sock").exists(), Ordering::Relaxed);
        });
        let report = drill_with(&backups, "redis", &meddler);
        assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
        assert!(
            seen.load(Ordering::Relaxed),
            "no socket in the scratch place"
        );
        assert!(report.server.as_ref().unwrap().contains("v="));
        let keys = |database: u64| {
            let what = format!("keys in database {database}");
            let check = report.checks.iter().find(|check| check.what == what);
            check.unwrap().found.clone()
        };
        assert_eq!((keys(0), keys(3)), ("501".to_owned(), "1".to_owned()));
        // The one that serves was not touched, and nothing of the other is left.
        let mut cli = production.cli();
        assert_eq!(cli.info("run_id"), before);
        assert_eq!(cli.number("DBSIZE"), 501);
        nothing_left(&bench);
        assert_eq!(servers_in(&scratch), Vec::<u32>::new());
    }
}

/// The processes that work in a directory.
fn servers_in(directory: &Path) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let cwd = fs::read_link(process.path().join("cwd")).ok()?;
            cwd.starts_with(directory).then_some(pid)
        })
        .collect()
}

#[test]
fn keys_that_a_scratch_server_does_not_have_are_missed() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let production = filled(&bench, &[]);
    let backups = bench.ready(&redis(production.port, ""));
    run_ok(&backups, "redis");
    // What was restored is replaced by an empty database before the server reads it.
    let data = bench.path("state/drill/scratch/redis/data/dump.rdb");
    let empty = bench.path("empty");
    let mut server = Server::start(&empty, &[]);
    server.cli().line("SAVE");
    server.kill();
    let meddler = at_step("Starting a scratch server", move || {
        fs::copy(empty.join("dump.rdb"), &data).unwrap();
    });
    let report = drill_with(&backups, "redis", &meddler);
    let why = failed(&bench, &backups, &report, Verdict::Failed);
    assert!(
        why.contains("keys in database 0: expected 501, found 0"),
        "{why}"
    );
}

#[test]
fn without_the_program_it_cannot_be_drilled_here() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let production = filled(&bench, &[]);
    for (program, said) in [
        ("/nonexistent/redis-server", "/nonexistent/redis-server"),
        ("/bin/echo", "is no Redis"),
    ] {
        let backups = bench.backups(&redis(production.port, &format!("program = \"{program}\"")));
        let _ = backups.init("local", &quiet());
        assert_eq!(run(&backups, "redis").outcome, mainstay_backup::Outcome::Ok);
        bench.advance(1);
        // It is known before the first drill, if there is nothing of that name.
        let found = backups.preflight(&["redis".to_owned()], &quiet()).unwrap();
        let mut checks = found[0].checks.iter().map(|check| &check.what);
        let expected = if Path::new(program).exists() {
            "a drill can start"
        } else {
            "it cannot be drilled here"
        };
        assert!(checks.any(|what| what.contains(expected)), "{found:?}");
        let report = drill(&backups, "redis");
        let why = failed(&bench, &backups, &report, Verdict::Impossible);
        assert!(
            why.contains("cannot be drilled here") && why.contains(said),
            "{why}"
        );
        assert!(report.help.unwrap().contains("drill = { program"));
    }
}

#[test]
fn a_server_that_does_not_come_up_is_told_with_its_last_words() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let production = filled(&bench, &[]);
    let backups = bench.ready(&redis(production.port, ""));
    run_ok(&backups, "redis");
    let data = bench.path("state/drill/scratch/redis/data/dump.rdb");
    let meddler = at_step("Starting a scratch server", move || {
        let mut bytes = fs::read(&data).unwrap();
        bytes[5..9].copy_from_slice(b"9999");
        fs::remove_file(&data).unwrap();
        fs::write(&data, bytes).unwrap();
    });
    let report = drill_with(&backups, "redis", &meddler);
    let why = failed(&bench, &backups, &report, Verdict::Failed);
    assert!(
        why.contains("the scratch server") && why.contains("RDB"),
        "{why}"
    );
}

/// The backup of a database server, with a drill that asserts this.
fn server(options: &mainstay_mysql::Options, drill: &str) -> String {
    format!(
        "[backup.server]\nmysql = {{ socket = \"{}\", user = \"{}\" }}\nto = [\"local\"]\ndrill = {{ {drill} }}\n",
        options.endpoint, options.user
    )
}

/// Whom a scratch server runs as: where we are root this user if there is one, or nobody.
fn guest(bench: &Bench, name: &str) -> String {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(bench.directory.path(), mode).unwrap();
    let id = |arguments: &[&str]| {
        let said = std::process::Command::new("id").args(arguments).output();
        String::from_utf8(said.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    if id(&["-u"]) != "0" {
        println!("SKIPPED: who is not root runs servers as they are");
        return id(&["-u"]);
    }
    [id(&["-u", name]), id(&["-u", "nobody"])]
        .into_iter()
        .find(|id| !id.is_empty())
        .unwrap()
}

/// Everything that a server can have is drilled, beside the one that serves.
fn proven(production: &servers::Server, program: Option<&Path>) -> DrillReport {
    let bench = Bench::new();
    let user = guest(&bench, "mysql");
    // One that was unpacked somewhere may be where only root comes to.
    let asked = match program {
        None => format!(
            ", {{ command = [\"/bin/sh\", \"-c\", \"stat -c %u /proc/$(cat drill.pid) .\"], is = \"{user}\\n{user}\" }}"
        ),
        Some(_) => String::new(),
    };
    let program = program.map_or_else(String::new, |program| {
        format!("program = \"{}\", ", program.display())
    });
    let backups = bench.ready(&server(
        &production.options(),
        &format!(
            "{program}assert = [{{ query = \"SELECT count(*) FROM `注文`.made\", is = \"2\" }}, {{ query = \"SHOW VARIABLES LIKE 'skip_networking'\", is = \"skip_networking\\tON\" }}, {{ query = \"SHOW VARIABLES LIKE 'datadir'\", is = \"datadir\\t@/state/drill/scratch/server/data/\" }}, {{ query = \"SELECT 1 + NULL\", is = \"NULL\" }}{asked}]"
        ),
    ));
    run_ok(&backups, "server");
    let facts = |connection: &mut mainstay_mysql::Connection| {
        connection
            .fetch("SELECT @@datadir, @@port, (SELECT count(*) FROM `注文`.made)")
            .unwrap()
    };
    let before = facts(&mut production.root());
    let report = drill(&backups, "server");
    assert_eq!(report.verdict, Verdict::Proven, "{report:#?}");
    assert_eq!(facts(&mut production.root()), before);
    for what in [
        "table `注文`.`kinds`",
        "views",
        "routines",
        "triggers",
        "events",
        "users and roles",
    ] {
        assert!(
            report.checks.iter().any(|check| check.what == what),
            "{what}: {:#?}",
            report.checks
        );
    }
    nothing_left(&bench);
    assert!(servers_in(&bench.path("state/drill")).is_empty());
    report
}

#[test]
fn a_mariadb_is_drilled_in_a_server_of_its_own() {
    let Some(production) = mariadb(&["--log-bin"]) else {
        return;
    };
    let mut root = production.root();
    all(&mut root, COMMON);
    all(&mut root, OF_MARIADB);
    let report = proven(&production, None);
    assert!(
        report.notes.iter().all(|note| !note.contains("as root")),
        "{:?}",
        report.notes
    );
    assert!(report.server.as_ref().unwrap().contains("MariaDB"));
    assert!(report.checks.iter().any(|check| check.what == "sequences"));
}

#[test]
fn a_mysql_is_drilled_in_a_server_of_its_own() {
    let Some(production) = mysql(&[]) else {
        return;
    };
    all(&mut production.root(), COMMON);
    // One that was unpacked somewhere needs some words more.
    let scripts = tempfile::tempdir().unwrap();
    let program = std::env::var_os("MAINSTAY_TEST_MYSQL").map(|root| {
        let root = PathBuf::from(root);
        let path = scripts.path().join("mysqld");
        let at = |below: &str| root.join(below).display().to_string();
        let (libraries, program) = (at("usr/lib/x86_64-linux-gnu"), at("usr/sbin/mysqld"));
        let script = format!(
            "#!/bin/sh\nshift\nexec {libraries}/ld-linux-x86-64.so.2 --library-path {libraries} {program} --no-defaults --lc-messages-dir={} --character-sets-dir={} --plugin-dir={} \"$@\"\n",
            at("usr/share/mysql"),
            at("usr/share/mysql/charsets"),
            at("usr/lib/mysql/plugin"),
        );
        fs::write(&path, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
        path
    });
    proven(&production, program.as_deref());
}

const ORDERS: &[&str] = &[
    "CREATE DATABASE shop",
    "CREATE TABLE shop.orders (id INT PRIMARY KEY, what VARCHAR(20))",
    "INSERT INTO shop.orders VALUES (1, 'a'), (2, 'b'), (3, 'c')",
];

#[test]
fn rows_that_are_not_in_the_scratch_server_are_missed() {
    let Some(production) = mariadb(&[]) else {
        return;
    };
    all(&mut production.root(), ORDERS);
    let bench = Bench::new();
    let backups = bench.ready(&server(&production.options(), ""));
    run_ok(&backups, "server");
    for (statement, found) in [
        ("TRUNCATE TABLE shop.orders", "0 rows"),
        ("UPDATE shop.orders SET what = 'x' WHERE id = 2", "3 rows"),
        ("DROP TABLE shop.orders", "no such table"),
    ] {
        bench.advance(1);
        let socket = bench.path("state/drill/scratch/server/data/drill.sock");
        let meddler = at_step("Counting the rows", move || {
            let options = mainstay_mysql::Options::new(
                mainstay_mysql::Endpoint::Unix(socket.clone()),
                "root",
            );
            let mut scratch = mainstay_mysql::Connection::open(&options).unwrap();
            scratch.run(statement).unwrap();
        });
        let report = drill_with(&backups, "server", &meddler);
        let why = failed(&bench, &backups, &report, Verdict::Failed);
        assert!(
            why.contains("table `shop`.`orders`: expected 3 rows"),
            "{why}"
        );
        assert!(why.contains(&format!("found {found}")), "{why}");
    }
}

#[test]
fn a_server_without_its_program_or_with_another_ones_cannot_be_drilled_here() {
    let Some(production) = mariadb(&[]) else {
        return;
    };
    all(&mut production.root(), ORDERS);
    let bench = Bench::new();
    let scripts = tempfile::tempdir().unwrap();
    let other = scripts.path().join("mysqld");
    fs::write(&other, "#!/bin/sh\necho 'mysqld  Ver 9.7.4 for Linux'\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&other, mode).unwrap();
    bench.ready(&server(&production.options(), ""));
    for (program, said) in [
        ("/nonexistent/mariadbd", "/nonexistent/mariadbd"),
        ("/bin/echo", "is no server"),
        (other.to_str().unwrap(), "is no MariaDB"),
    ] {
        let drilled = format!("program = \"{program}\"");
        let backups = bench.backups(&server(&production.options(), &drilled));
        run_ok(&backups, "server");
        bench.advance(1);
        let report = drill(&backups, "server");
        let why = failed(&bench, &backups, &report, Verdict::Impossible);
        assert!(
            why.contains("cannot be drilled here") && why.contains(said),
            "{why}"
        );
    }
    // A query that is false, and one that is none.
    for (query, said) in [
        ("SELECT count(*) FROM shop.orders", "expected 4, found 3"),
        ("SELECT * FROM shop.gone", "shop.gone"),
    ] {
        let asserted = format!("assert = [{{ query = \"{query}\", is = \"4\" }}]");
        let backups = bench.backups(&server(&production.options(), &asserted));
        bench.advance(1);
        let report = drill(&backups, "server");
        let why = failed(&bench, &backups, &report, Verdict::Failed);
        assert!(why.contains(said), "{why}");
    }
}

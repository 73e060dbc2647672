//! Redis: what a real server has comes back, whatever happens in between.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_backup::source::redis::{RedisFacts, RedisShard};
use mainstay_backup::{Backups, Depth, ErrorKind, Outcome, Progress, Selector, Target};

use crate::bench::{Bench, noise, quiet, request, restore, run, run_ok};
use crate::faults::Small;
use crate::redis_server::{Cli, Server, is_here, wait_for};

/// The backup of a server on this port.
pub(crate) fn source(port: u16, more: &str) -> String {
    format!(
        "[backup.redis]\nredis = {{ address = \"127.0.0.1:{port}\"{more} }}\nto = [\"local\"]\n"
    )
}

pub(crate) fn facts(backups: &Backups) -> RedisFacts {
    let found = backups.find("redis", &Selector::Latest, None, &quiet());
    found.unwrap().snapshot.facts.redis.unwrap()
}

fn shard(backups: &Backups) -> RedisShard {
    let mut facts = facts(backups);
    assert_eq!(facts.shards.len(), 1);
    facts.shards.remove(0)
}

const LIBRARY: &str =
    "#!lua name=shop\nredis.register_function('price', function(keys, args) return 7 end)";

/// Every type of value in both of its forms, in several databases.
fn fill(cli: &mut Cli) {
    for line in [
        "SET text hello",
        "SET number 12345",
        "SET negative -3",
        "SET later x PX 86400000",
        "RPUSH list a b c",
        "SADD numbers 1 2 3",
        "SADD words a b c",
        "HSET hash a 1 b 2",
        "HSET leaves a 1",
        "EXPIRE leaves 100000",
        "ZADD scores 1.5 a -inf b +inf c",
        "SETBIT bits 77 1",
        "PFADD about a b c",
        "GEOADD places 13.36 38.11 palermo",
        "XADD stream 1-1 a 1",
        "XADD stream 2-1 a 2 b 3",
        "XADD stream 3-1 c 4",
        "XDEL stream 2-1",
        "XGROUP CREATE stream workers 0",
        "XREADGROUP GROUP workers anna COUNT 1 STREAMS stream >",
        "XREADGROUP GROUP workers bert COUNT 1 STREAMS stream >",
        "XACK stream workers 1-1",
        "XGROUP CREATE empty group $ MKSTREAM",
        "SELECT 3",
        "SET text other",
        "SELECT 15",
        "SET last one",
        "SELECT 0",
        "ACL SETUSER anna on >secret ~shop:* +get",
    ] {
        cli.line(line);
    }
    for number in 0..700 {
        let member = format!("member-{number:0100}");
        let score = number.to_string();
        cli.ask(&["RPUSH", "long list", &member]);
        cli.ask(&["SADD", "large set", &member]);
        cli.ask(&["HSET", "large hash", &member, &score]);
        cli.ask(&["ZADD", "many scores", &score, &member]);
        cli.ask(&["SET", &format!("key:{number}"), &member]);
    }
    let incompressible: String = noise(3 << 20, 1)
        .iter()
        .map(|byte| char::from(byte & 0x7f))
        .collect();
    cli.ask(&["SET", "large", &incompressible]);
    cli.ask(&["SET", "compressible", &"x".repeat(5 << 20)]);
    cli.ask(&["FUNCTION", "LOAD", LIBRARY]);
    cli.line("DEBUG SET-ACTIVE-EXPIRE 0");
    cli.line("SET expired x PX 1");
}

/// Starts a server in a restored directory and compares.
fn assert_loads(
    directory: &Path,
    options: &[&str],
    state: &std::collections::BTreeMap<String, String>,
) {
    let server = Server::start(directory, options);
    let mut cli = server.cli();
    let found = cli.state();
    for (name, value) in state {
        assert_eq!(found.get(name), Some(value), "{name} with {options:?}");
    }
    assert_eq!(found.len(), state.len(), "with {options:?}");
    assert_eq!(cli.number("FCALL price 0"), 7);
    // What is written from now on is there after a crash too, if it should be.
    cli.line("CONFIG SET appendfsync always");
    cli.line("SET written afterwards");
    if options
        .windows(2)
        .any(|pair| pair == ["--appendonly", "yes"])
    {
        drop(server);
        let server = Server::start(directory, options);
        let mut cli = server.cli();
        assert_eq!(
            cli.line("GET written").text().as_deref(),
            Some("afterwards")
        );
        assert_eq!(cli.line("GET text").text().as_deref(), Some("hello"));
        cli.line("DEL written");
        server.stop();
    }
}

#[test]
fn everything_a_server_has_comes_back_whichever_file_it_loads() {
    if !is_here() {
        return;
    }
    for (diskless, appendonly) in [("yes", "no"), ("no", "yes")] {
        let bench = Bench::new();
        let data = bench.path("data");
        let options = ["--appendonly", appendonly, "--repl-diskless-sync", diskless];
        let server = Server::start(&data, &options);
        let mut cli = server.cli();
        fill(&mut cli);
        let config = source(server.port, ", data = \"@/data\"");
        let backups = bench.ready(&config);
        run_ok(&backups, "redis");
        assert_eq!(cli.info("connected_slaves"), "0");
        let state = cli.state();
        let facts = shard(&backups);
        assert!(facts.version.starts_with("7."), "{facts:?}");
        assert_eq!(facts.role, "master");
        assert_eq!(facts.run_id, cli.info("run_id"));
        assert_eq!(facts.replid, cli.info("master_replid"));
        assert_eq!(facts.functions, 1);
        assert_eq!(facts.layout.appendonly, appendonly == "yes");
        // One that has expired and nobody has looked at since is in the file too.
        assert_eq!(facts.keys(), state.len() as u64);
        assert_eq!(facts.databases[&0].expiring, 3);
        assert_eq!(facts.databases[&3].keys, 1);
        assert!(facts.counted);

        // Elsewhere: a data directory that a server starts in.
        let into = bench.path("elsewhere");
        let report = restore(&backups, &request("redis", Target::Into(into.clone()))).unwrap();
        assert!(report.checked.contains("CRC64"), "{report:?}");
        assert!(report.checked.contains("1 in database 3"), "{report:?}");
        assert!(report.issues.is_empty(), "{report:?}");
        let acl = fs::read_to_string(into.join("acl.txt")).unwrap();
        assert!(acl.contains("user anna on"), "{acl}");
        assert!(!acl.contains("secret"), "{acl}");
        let settings = fs::read_to_string(into.join("config.txt")).unwrap();
        assert!(
            settings.contains(&format!("appendonly \"{appendonly}\"")),
            "{settings}"
        );
        for option in ["no", "yes"] {
            // A fresh one each time: the server makes it its own.
            let into = bench.path(&format!("elsewhere-{option}"));
            restore(&backups, &request("redis", Target::Into(into.clone()))).unwrap();
            assert_loads(&into, &["--appendonly", option], &state);
        }

        // In place, after a mistake.
        cli.line("FLUSHALL");
        cli.line("FUNCTION FLUSH");
        cli.line("SET only this");
        let plan = backups
            .plan_restore(&request("redis", Target::InPlace), &quiet())
            .unwrap();
        let said = plan.to_string();
        assert!(said.contains("has 1 key in database 0 now"), "{said}");
        let refused = backups.restore(&plan, &quiet()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InUse, "{refused}");
        let port = server.port;
        server.stop();
        let report = restore(&backups, &request("redis", Target::InPlace)).unwrap();
        assert_eq!(
            report.set_aside.is_empty(),
            appendonly == "no",
            "{report:?}"
        );
        assert!(
            data.join(format!("log-{port}")).exists(),
            "what is not data stays"
        );
        assert_loads(&data, &options, &state);
        bench.assert_clean();
    }
}

#[test]
fn an_rdb_file_alone_is_an_empty_database() {
    // Why a restore lays down more than that: if this fails, it may do with less.
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench.path("data"), &[]);
    server.cli().line("SET a 1");
    let backups = bench.ready(&source(server.port, ""));
    run_ok(&backups, "redis");
    let into = bench.path("into");
    restore(&backups, &request("redis", Target::Into(into.clone()))).unwrap();
    let alone = bench.path("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(into.join("dump.rdb"), alone.join("dump.rdb")).unwrap();
    let keys = |directory: &Path| {
        let server = Server::start(directory, &["--appendonly", "yes"]);
        server.cli().number("DBSIZE")
    };
    assert_eq!(keys(&alone), 0);
    assert_eq!(keys(&into), 1);
}

#[test]
fn names_of_files_are_those_of_the_server() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let data = bench.path("data");
    let options = [
        "--dbfilename",
        "shop.rdb",
        "--appendfilename",
        "shop.aof",
        "--appenddirname",
        "shop.d",
        "--appendonly",
        "yes",
    ];
    let server = Server::start(&data, &options);
    server.cli().line("SET a 1");
    let config = source(server.port, ", data = \"@/data\"");
    let backups = bench.ready(&config);
    run_ok(&backups, "redis");
    server.cli().line("SET a 2");
    server.stop();
    let report = restore(&backups, &request("redis", Target::InPlace)).unwrap();
    assert_eq!(report.set_aside.len(), 1, "{report:?}");
    assert!(data.join("shop.rdb").exists() && data.join("shop.d/shop.aof.manifest").exists());
    let server = Server::start(&data, &options);
    assert_eq!(server.cli().number("GET a"), 1);
}

/// Moves money between two accounts, each time in one transaction.
struct Bank {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bank {
    fn open(server: &Server) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut cli = server.cli();
        cli.line("SET a 1000");
        cli.line("SET b 0");
        let (inner, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            while !inner.load(Ordering::Relaxed) {
                cli.line("MULTI");
                cli.line("DECR a");
                cli.line("INCR b");
                cli.line("EXEC");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            done,
            thread: Some(thread),
        }
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn every_snapshot_under_writes_holds_the_invariant() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench.path("data"), &[]);
    server.cli().line("DEBUG POPULATE 20000 padding 200");
    let backups = bench.ready(&source(server.port, ""));
    let bank = Bank::open(&server);
    let mut offset = 0;
    for round in 0..3 {
        let before = bank.done.load(Ordering::Relaxed);
        wait_for("it writes", || {
            (bank.done.load(Ordering::Relaxed) > before + 20).then_some(())
        });
        run_ok(&backups, "redis");
        bench.advance(1);
        let facts = shard(&backups);
        // A server counts from the first time that somebody follows it.
        assert!(facts.offset > offset || round == 0, "{facts:?}");
        offset = facts.offset;
        assert_eq!(facts.keys(), 20_002);
        let into = bench.path(&format!("into-{round}"));
        restore(&backups, &request("redis", Target::Into(into.clone()))).unwrap();
        let restored = Server::start(&into, &[]);
        let mut cli = restored.cli();
        let (a, b) = (cli.number("GET a"), cli.number("GET b"));
        assert_eq!(a + b, 1000);
        assert!(b > 20 * i64::from(round), "{b}");
    }
}

/// The line of rights that our own error gives, as a command.
fn rights() -> String {
    "ACL SETUSER backup on >hunter2 +ping +info +psync +replconf +client|setname +acl|list +config|get +cluster|slots".to_owned()
}

#[test]
fn a_wrong_password_and_missing_rights_say_what_to_do() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench.path("data"), &[]);
    let mut cli = server.cli();
    cli.line("SET a 1");
    cli.line(&rights());
    cli.line("ACL SETUSER poor on >hunter2 +ping +info");
    cli.line("CONFIG SET masterauth hunter9");
    cli.line("ACL SETUSER default >hunter2");
    let with = |user: &str, password: &str| {
        source(
            server.port,
            &format!(", user = \"{user}\", password = \"{password}${{env.PASSWORD}}\""),
        )
    };
    // The password of the repository stands at the end of each.
    let real = format!("hunter2{}", crate::bench::PASSWORD);
    for user in ["backup", "poor", "default"] {
        cli.ask(&["ACL", "SETUSER", user, &format!(">{real}")]);
    }
    let backups = bench.ready(&source(server.port, ""));
    let error = |config: &str| {
        let report = run(&bench.backups(config), "redis");
        assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
        let error = report.repositories[0].error.clone().unwrap();
        let said = format!("{error:?} {report:#?}");
        assert!(!said.contains("hunter2"), "{said}");
        error
    };
    let refused = error(&source(server.port, ""));
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(
        refused.help().unwrap().contains("add `password"),
        "{refused:?}"
    );
    let refused = error(&with("backup", "wrong"));
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("WRONGPASS"), "{refused}");
    let refused = error(&with("poor", "hunter2"));
    assert!(refused.to_string().contains("NOPERM"), "{refused}");
    assert!(
        refused
            .help()
            .unwrap()
            .contains(rights().split_once("+ping").unwrap().1),
        "{refused:?}"
    );
    assert!(
        backups
            .list(None, None, &quiet())
            .unwrap()
            .snapshots
            .is_empty()
    );
    // And those rights are enough.
    let backups = bench.backups(&with("backup", "hunter2"));
    let report = run(&backups, "redis");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    assert!(report.repositories[0].issues.is_empty(), "{report:#?}");
    let into = bench.path("into");
    restore(&backups, &request("redis", Target::Into(into.clone()))).unwrap();
    let settings = fs::read_to_string(into.join("config.txt")).unwrap();
    assert!(settings.contains("# masterauth is set"), "{settings}");
    assert!(!settings.contains("hunter"), "{settings}");
}

#[test]
fn a_server_that_is_down_or_something_else_is_said() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench.path("data"), &[]);
    let port = server.port;
    let config = source(port, ", data = \"@/data\"");
    let backups = bench.ready(&config);
    run_ok(&backups, "redis");
    server.stop();
    let report = run(&backups, "redis");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::SourceMissing, "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")));
    // A replica without its master.
    let options = [
        "--replicaof",
        "127.0.0.1 1",
        "--replica-serve-stale-data",
        "no",
    ];
    let replica = Server::spawn(
        &bench.path("replica"),
        crate::redis_server::free_port(),
        &options,
    );
    drop(replica.cli());
    let lost = bench.backups(&source(replica.port, ""));
    let report = run(&lost, "redis");
    let error = report.repositories[0].error.as_ref().unwrap();
    let said = format!("{error} {:?}", error.help());
    assert!(
        said.contains("MASTERDOWN") || said.contains("NOMASTERLINK"),
        "{said}"
    );
    assert!(said.contains("master"), "{said}");
}

/// Does something once so many bytes were pulled.
struct Trap {
    after: u64,
    done: AtomicU64,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Progress for Trap {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, bytes: u64) {
        if self.done.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.after
            && let Some(act) = self.act.lock().unwrap().take()
        {
            act();
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

#[test]
fn a_server_that_dies_in_the_middle_costs_one_run() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let data = bench.path("data");
    let server = Server::start(&data, &["--appendonly", "yes"]);
    let port = server.port;
    let mut cli = server.cli();
    let value: String = noise(1 << 20, 1)
        .iter()
        .map(|byte| char::from(byte & 0x7f))
        .collect();
    for number in 0..20 {
        cli.ask(&["SET", &format!("key:{number}"), &value]);
    }
    // A pause after each key: it is in the middle when it is killed.
    cli.line("CONFIG SET rdb-key-save-delay 100000");
    let backups = bench.ready(&source(port, ""));
    let trap: Arc<dyn Progress> = Arc::new(Trap {
        after: 2 << 20,
        done: AtomicU64::new(0),
        act: Mutex::new(Some(Box::new(move || drop(server)))),
    });
    let report = backups.run("redis", &trap).unwrap();
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert!(
        error.help().unwrap().contains("nothing was stored"),
        "{error:?}"
    );
    assert!(
        backups
            .list(None, None, &quiet())
            .unwrap()
            .snapshots
            .is_empty()
    );
    bench.assert_clean();
    let server = Server::start_at(&data, port, &["--appendonly", "yes"]);
    bench.advance(1);
    run_ok(&backups, "redis");
    assert_eq!(shard(&backups).keys(), 20);
    drop(server);
}

#[test]
fn a_full_disk_of_the_state_costs_one_run() {
    if !is_here() {
        return;
    }
    for diskless in ["yes", "no"] {
        let bench = Bench::new();
        let Some(_small) = Small::mount(&bench.path("state"), "6m") else {
            return;
        };
        let options = ["--repl-diskless-sync", diskless];
        let server = Server::start(&bench.path("data"), &options);
        let mut cli = server.cli();
        cli.line("SET small x");
        let backups = bench.ready(&source(server.port, ""));
        run_ok(&backups, "redis");
        for number in 0..10 {
            let value = String::from_utf8_lossy(&noise(1 << 20, number)).into_owned();
            cli.ask(&["SET", &format!("key:{number}"), &value]);
        }
        bench.advance(1);
        let report = run(&backups, "redis");
        let error = report.repositories[0].error.as_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
        assert!(
            error.help().unwrap().contains("state directory"),
            "{error:?}"
        );
        let listed = backups.list(None, None, &quiet()).unwrap().snapshots;
        assert_eq!(listed.len(), 1);
        // Nothing of it is left in the way of the next one.
        cli.line("FLUSHALL");
        bench.advance(1);
        run_ok(&backups, "redis");
        assert_eq!(cli.info("connected_slaves"), "0");
    }
}

/// Not a test of its own: the process that is killed by the one below.
#[test]
fn helper_that_is_killed() {
    let Some(directory) = std::env::var_os("MAINSTAY_TEST_KILLED_REDIS") else {
        return;
    };
    let directory = Path::new(&directory);
    let config = fs::read_to_string(directory.join("config")).unwrap();
    let backups = Bench::new().backups_at(&config, directory);
    fs::write(directory.join("begun"), "").unwrap();
    let _ = backups.run("redis", &quiet());
}

#[test]
fn runs_killed_at_any_moment_break_nothing() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench.path("data"), &[]);
    let mut cli = server.cli();
    cli.line("DEBUG POPULATE 40000 key 300");
    let config = source(server.port, "");
    fs::write(bench.path("config"), &config).unwrap();
    let backups = bench.ready(&config);
    for round in 0..12u64 {
        let begun = bench.path("begun");
        let _ = fs::remove_file(&begun);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "redis::helper_that_is_killed", "--nocapture"])
            .env("MAINSTAY_TEST_KILLED_REDIS", bench.directory.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for("it begins", || begun.exists().then_some(()));
        // Some in the introduction, some in the transfer, some while it is stored.
        std::thread::sleep(Duration::from_millis(round * round * 8));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.advance(1);
    run_ok(&backups, "redis");
    let verified = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    assert_eq!(verified.repositories[0].proofs.len(), 1);
    // Every snapshot that is listed can be restored, also those of runs that were killed too late.
    for located in backups.list(None, None, &quiet()).unwrap().snapshots {
        assert_eq!(
            located.snapshot.facts.redis.as_ref().unwrap().shards[0].keys(),
            40_000
        );
        let mut wanted = request("redis", Target::Into(bench.path(&located.snapshot.id)));
        wanted.snapshot = Selector::Id(located.snapshot.id);
        let report = restore(&backups, &wanted).unwrap();
        assert!(report.checked.contains("40000 keys"), "{report:?}");
    }
    wait_for("the server has forgotten us", || {
        (cli.info("connected_slaves") == "0").then_some(())
    });
    bench.assert_clean();
}

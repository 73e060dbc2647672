//! A daemon that has not descriptors enough for what an earlier one left.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command as Process, Output, Stdio};
use std::sync::Arc;

use mainstay_base::Resolver;
use mainstay_supervise::{
    Autorestart, Command, Did, Event, Phase, ProgramSpec, Reply, Settings, Supervisor,
    descriptors_needed,
};
use mainstay_sys::Signal;
use mainstay_sys::limits::{self, Resource};

use crate::bench::{Bench, alive, did, program, script, supervise, wait_for};

const ROLE: &str = "SUPERVISE_TEST_STARVED";
const COUNT: usize = 10;

fn programs(dir: &Path) -> Vec<ProgramSpec> {
    (0..COUNT)
        .map(|i| program(dir, &format!("web-{i}"), &["sleep", "1000"]))
        .collect()
}

fn limit(soft: u64) {
    let (_, hard) = limits::get(None, Resource::Nofile).unwrap();
    limits::set(None, Resource::Nofile, soft.min(hard), hard).unwrap();
}

/// A supervisor that has descriptors for the log files of all and the processes of a few.
fn starve(dir: &Arc<tempfile::TempDir>) -> Bench {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    limit(open + 2 * COUNT as u64 + 17);
    let bench = Bench::within(Arc::clone(dir), programs(dir.path()));
    let unknown = bench
        .all()
        .iter()
        .filter(|s| s.phase == Phase::Unknown)
        .count();
    assert!((3..COUNT).contains(&unknown), "{:#?}", bench.all());
    bench
}

fn pids(bench: &Bench) -> Vec<u32> {
    bench.all().iter().map(|s| s.pid.unwrap()).collect()
}

fn myself(role: &OsStr) -> Output {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "starved::starved", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The daemon before: its programs are not the children of the next one.
fn begin_and_die(dir: &Path) {
    let supervisor = supervise(dir, programs(dir), &Arc::default());
    let all = wait_for("all to run", || {
        let Ok(Reply::Status(all)) = supervisor.ask(Command::Status { names: vec![] }) else {
            return None;
        };
        all.iter()
            .all(|status| status.phase == Phase::Running)
            .then_some(all)
    });
    let pids: String = all
        .iter()
        .map(|status| status.pid.unwrap().to_string() + "\n")
        .collect();
    std::fs::write(dir.join("pids"), pids).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

/// Not a test by itself: it changes the limit of its whole process.
#[test]
#[ignore = "part of a_daemon_without_descriptors_loses_nobody"]
fn starved() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    limit(1000);
    if !role.is_empty() {
        return begin_and_die(Path::new(&role));
    }
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let begun = myself(dir.path().as_os_str());
    let before: Vec<u32> = std::fs::read_to_string(dir.path().join("pids"))
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(before.len(), COUNT, "{begun:?}");

    let bench = starve(&dir);
    assert_eq!(pids(&bench), before);
    let last = bench.status("web-9");
    assert_eq!(last.phase, Phase::Unknown);
    let trouble = last.trouble.unwrap();
    assert!(trouble.contains("cannot be taken over"), "{trouble}");
    assert!(matches!(&bench.start("web-9")[..], [Did::Failed(why)] if *why == trouble));
    let names = vec!["web-9".to_owned()];
    let signal = Signal::from_name("CONT").unwrap();
    let signalled = bench.outcomes(Command::Signal { names, signal });
    assert_eq!(did(signalled), [Did::Signalled]);
    assert_eq!(bench.stop("web-9"), [Did::Stopped]);
    assert!(!alive(before[9]));
    let none_was_started = |bench: &Bench| {
        !bench
            .events()
            .iter()
            .any(|e| matches!(e, Event::Spawned { .. }))
    };
    assert!(none_was_started(&bench));

    // The next one finds them all again, as little as it can do for them.
    let dir = bench.abandon();
    let bench = starve(&dir);
    assert_eq!(bench.status("web-9").phase, Phase::Stopped);
    assert_eq!(bench.status("web-8").phase, Phase::Unknown);
    limit(1000);
    for (i, pid) in before.iter().enumerate().take(9) {
        let status = bench.until(&format!("web-{i}"), Phase::Running);
        assert_eq!((status.pid, status.trouble), (Some(*pid), None));
    }
    assert!(none_was_started(&bench));

    // And an end in order is an end of those, too, that it never had.
    let dir = bench.abandon();
    let bench = starve(&dir);
    assert_eq!(bench.supervisor().ask(Command::Shutdown), Ok(Reply::Ok));
    wait_for("their end", || {
        before.iter().all(|pid| !alive(*pid)).then_some(())
    });
    println!("all went well");
}

#[test]
fn a_daemon_without_descriptors_loses_nobody() {
    let done = myself(OsStr::new(""));
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("all went well"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn programs_find_the_limit_that_the_daemon_had_before() {
    let dir = tempfile::tempdir().unwrap();
    let (_, hard) = limits::get(None, Resource::Nofile).unwrap();
    let job = |name: &str| {
        let mut job = script(dir.path(), name, "ulimit -Sn");
        job.policy.autorestart = Autorestart::Never;
        job
    };
    let mut own = job("own");
    own.limits = vec![(Resource::Nofile, 77, 77)];
    let mut settings = Settings::new(dir.path());
    settings.child_nofile = Some((99, hard));
    let programs = vec![own, job("other")];
    assert_eq!(
        descriptors_needed(&programs) - descriptors_needed(&programs[..1]),
        5
    );
    let supervisor =
        Supervisor::start(settings, programs, Resolver::default(), Box::new(|_| {})).unwrap();
    for (name, limit) in [("own", "77\n"), ("other", "99\n")] {
        let log = dir.path().join(format!("log/{name}.stdout.log"));
        wait_for("its output", || {
            (std::fs::read_to_string(&log).ok()? == limit).then_some(())
        });
    }
    supervisor.ask(Command::Shutdown).unwrap();
    assert!(supervisor.join());
}

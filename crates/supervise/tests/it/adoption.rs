//! Daemons that die, and those that come after them.

use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_supervise::journal::{Journal, ProcessRecord, SlotRecord};
use mainstay_supervise::{Autorestart, Command, Did, Event, Exit, Phase, ProgramSpec};
use mainstay_sys::{Spawn, pipe};

use crate::bench::{Bench, alive, program, script, supervise, wait_for};

#[test]
fn what_was_stopped_by_hand_stays_stopped() {
    let programs = |dir: &Path| {
        let mut by_hand = program(dir, "by-hand", &["sleep", "1000"]);
        by_hand.autostart = false;
        vec![program(dir, "web", &["sleep", "1000"]), by_hand]
    };
    let bench = Bench::new(programs);
    bench.until("web", Phase::Running);
    assert_eq!(bench.stop("web"), [Did::Stopped]);
    assert_eq!(bench.start("by-hand"), [Did::Started]);
    let dir = bench.shut_down();
    let bench = Bench::within(Arc::clone(&dir), programs(dir.path()));
    bench.until("by-hand", Phase::Running);
    let web = bench.status("web");
    assert_eq!((web.phase, web.decided), (Phase::Stopped, Some(false)));
    assert_eq!(bench.start("web"), [Did::Started]);
    let dir = bench.shut_down();
    let bench = Bench::within(Arc::clone(&dir), programs(dir.path()));
    bench.until("web", Phase::Running);
    assert_eq!(bench.status("web").decided, None);
}

#[test]
fn an_abandoned_program_is_taken_over() {
    let text = "echo begin; while [ ! -e go ]; do sleep 0.02; done; echo end; exit 7";
    let programs = |dir: &Path| {
        let mut job = script(dir, "job", text);
        job.dir = Some(dir.to_owned());
        job.policy.autorestart = Autorestart::Never;
        vec![
            job,
            program(dir, "gone", &["sleep", "1000"]),
            program(dir, "web", &["sleep", "1000"]),
        ]
    };
    let bench = Bench::new(programs);
    let pids: Vec<u32> = ["job", "gone", "web"]
        .map(|name| bench.until(name, Phase::Running).pid.unwrap())
        .to_vec();
    let dir = bench.abandon();
    assert!(pids.iter().all(|pid| alive(*pid)));

    // `gone` has left the config, `web` has another command.
    let mut changed = programs(dir.path());
    changed.remove(1);
    changed[1] = program(dir.path(), "web", &["sleep", "1001"]);
    let bench = Bench::within(Arc::clone(&dir), changed);
    let seen: Vec<u32> = ["job", "gone", "web"]
        .map(|name| bench.status(name).pid.unwrap())
        .to_vec();
    assert_eq!(seen, pids);
    assert!(bench.status("web").outdated && !bench.status("job").outdated);
    assert!(
        bench
            .events()
            .iter()
            .any(|event| { matches!(event, Event::LeftOver { process, .. } if process == "gone") })
    );
    let gone = bench.status("gone");
    assert!(gone.left_over && gone.phase == Phase::Running);
    assert!(matches!(&bench.restart("gone")[..], [Did::Failed(_)]));
    assert_eq!(bench.stop("gone"), [Did::Stopped]);
    assert!(bench.all().iter().all(|status| status.process != "gone"));

    std::fs::write(dir.path().join("go"), "").unwrap();
    let job = bench.until("job", Phase::Exited);
    assert_eq!(job.last_exit, Some(Exit::Code(7)));
    assert_eq!(bench.log("job.stdout.log"), "begin\nend\n");
    assert_eq!(bench.restart("web"), [Did::Started]);
    assert!(!bench.status("web").outdated);
}

#[test]
fn a_job_that_is_done_is_not_done_twice() {
    let programs = |dir: &Path| {
        let mut job = script(dir, "job", "echo done");
        job.policy.autorestart = Autorestart::Never;
        vec![job]
    };
    let bench = Bench::new(programs);
    bench.until("job", Phase::Exited);
    let dir = bench.abandon();
    let bench = Bench::within(Arc::clone(&dir), programs(dir.path()));
    assert_eq!(bench.status("job").phase, Phase::Exited);
    assert_eq!(bench.log("job.stdout.log"), "done\n");
    // But a start in order is a start.
    let dir = bench.shut_down();
    let bench = Bench::within(Arc::clone(&dir), programs(dir.path()));
    wait_for("the second run", || {
        (bench.log("job.stdout.log") == "done\ndone\n").then_some(())
    });
}

#[test]
fn a_job_that_ended_unseen_is_not_done_again_by_any_later_daemon() {
    let mut dir = Arc::new(tempfile::tempdir().unwrap());
    let mut job = script(dir.path(), "job", "echo done again");
    job.policy.autorestart = Autorestart::Never;
    let mut gone = Process::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let path = dir.path().join("programs.journal");
    let (mut journal, _) = Journal::open(&path, &mainstay_sys::boot_id().unwrap()).unwrap();
    journal
        .rewrite([&SlotRecord {
            process: "job".into(),
            program: "job".into(),
            phase: Phase::Running,
            live: Some(ProcessRecord::Live {
                pid: gone.id(),
                start_ticks: 1,
            }),
            spec_hash: job.hash(&job.processes[0]),
            ..SlotRecord::default()
        }])
        .unwrap();
    drop(journal);
    for _ in 0..3 {
        let bench = Bench::within(Arc::clone(&dir), vec![job.clone()]);
        assert_eq!(bench.status("job").phase, Phase::Exited);
        assert_eq!(bench.log("job.stdout.log"), "");
        dir = bench.abandon();
    }
}

#[test]
fn what_was_given_up_still_says_why() {
    let programs = |dir: &Path| {
        let mut broken = program(dir, "broken", &["/no/such/program"]);
        broken.policy.start_retries = Some(0);
        let mut bad = script(dir, "bad", "exit 3");
        bad.policy.start_secs = Duration::ZERO;
        bad.policy.give_up = Some(mainstay_supervise::GiveUp {
            count: 1,
            window: Duration::from_mins(1),
        });
        vec![broken, bad]
    };
    let bench = Bench::new(programs);
    let before = ["broken", "bad"].map(|name| bench.until(name, Phase::Fatal).trouble);
    assert!(before[0].as_ref().unwrap().contains("/no/such/program"));
    let mut dir = bench.abandon();
    for _ in 0..2 {
        let bench = Bench::within(Arc::clone(&dir), programs(dir.path()));
        let after = ["broken", "bad"].map(|name| bench.until(name, Phase::Fatal).trouble);
        assert_eq!(after, before);
        dir = bench.abandon();
    }
}

const ROLE: &str = "SUPERVISE_TEST_DAEMON_DIR";

/// Programs that come and go all the time, each of which tells when there are two of it.
fn restless_programs(dir: &Path) -> Vec<ProgramSpec> {
    let text = "mkdir lock-$MAINSTAY_PROCESS 2>/dev/null || echo $MAINSTAY_PROCESS >> twice; \
                echo life; sleep 0.03; rmdir lock-$MAINSTAY_PROCESS";
    (0..8)
        .map(|i| {
            let mut spec = script(dir, &format!("restless-{i}"), text);
            spec.dir = Some(dir.to_owned());
            spec.policy.start_secs = Duration::ZERO;
            spec.policy.backoff = mainstay_supervise::Backoff::Exponential {
                min: Duration::from_millis(10),
                max: Duration::from_millis(10),
            };
            spec
        })
        .collect()
}

fn crash_programs(dir: &Path) -> Vec<ProgramSpec> {
    let mut writer = script(
        dir,
        "writer",
        "i=0; while [ ! -e stop ]; do echo line $i; i=$((i+1)); done; printf last; exit 42",
    );
    writer.dir = Some(dir.to_owned());
    writer.policy.autorestart = Autorestart::Never;
    let mut all = vec![writer];
    for i in 0..5 {
        all.push(program(dir, &format!("sleeper-{i}"), &["sleep", "1000"]));
    }
    all
}

/// Not a test: the daemon that the next test kills. It runs in a process of its own, this binary
/// again with this one test and the variable set.
#[test]
#[ignore = "the victim of a_killed_daemon_costs_nothing"]
fn daemon_to_be_killed() {
    let Ok(dir) = std::env::var(ROLE) else { return };
    let dir = Path::new(&dir);
    let programs = match std::env::var("SUPERVISE_TEST_RESTLESS") {
        Ok(_) => restless_programs(dir),
        Err(_) => crash_programs(dir),
    };
    let supervisor = supervise(dir, programs, &Arc::new(Mutex::new(Vec::new())));
    std::fs::write(dir.join("up"), "").unwrap();
    loop {
        std::thread::park();
        assert!(supervisor.turns() > 0);
    }
}

fn daemon(dir: &Path, restless: bool) -> std::process::Child {
    let _ = std::fs::remove_file(dir.join("up"));
    let mut call = Process::new(std::env::current_exe().unwrap());
    call.args([
        "--exact",
        "adoption::daemon_to_be_killed",
        "--ignored",
        "--nocapture",
    ])
    .env(ROLE, dir)
    .stdin(Stdio::null())
    .stdout(Stdio::null());
    if restless {
        call.env("SUPERVISE_TEST_RESTLESS", "");
    }
    let child = call.spawn().unwrap();
    wait_for("the daemon", || dir.join("up").exists().then_some(()));
    child
}

#[test]
fn a_killed_daemon_costs_nothing() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let log = dir.path().join("log/writer.stdout.log");
    let size = || std::fs::metadata(&log).map_or(0, |about| about.len());
    let mut victim = daemon(dir.path(), false);
    for round in 0..6 {
        let before = size();
        wait_for("some output", || (size() > before + 1000).then_some(()));
        // In the middle of its work, at no particular moment.
        std::thread::sleep(Duration::from_millis(20 + round * 17));
        victim.kill().unwrap();
        victim.wait().unwrap();
        if round < 5 {
            victim = daemon(dir.path(), false);
        }
    }
    let bench = Bench::within(Arc::clone(&dir), crash_programs(dir.path()));
    assert_eq!(bench.all().len(), 6);
    let adopted: Vec<u32> = bench
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Adopted {
                pid,
                outdated: false,
                ..
            } => Some(*pid),
            _ => None,
        })
        .collect();
    assert_eq!(adopted.len(), 6, "{:?}", bench.events());
    let spawned = bench
        .events()
        .iter()
        .any(|event| matches!(event, Event::Spawned { .. }));
    assert!(!spawned, "no duplicate");
    assert_eq!(bench.status("sleeper-3").restarts, 0);

    std::fs::write(dir.path().join("stop"), "").unwrap();
    let writer = bench.until("writer", Phase::Exited);
    assert!(
        matches!(writer.last_exit, Some(Exit::Code(42) | Exit::Unknown)),
        "{writer:?}"
    );
    let text = bench.log("writer.stdout.log");
    let mut lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines.pop(), Some("last"));
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {i}"), "of {}", lines.len());
    }
}

/// A daemon killed in the middle of its own end: what it had told to stop is still wanted.
#[test]
fn a_shutdown_that_was_cut_short_changes_nothing_about_what_is_wanted() {
    let slow = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    let programs = |dir: &Path| {
        let mut by_hand = script(dir, "by-hand", slow);
        by_hand.policy.stop_wait = Duration::from_millis(500);
        let mut slow = script(dir, "slow", slow);
        slow.policy.stop_wait = Duration::from_millis(500);
        vec![slow, by_hand]
    };
    // Whether it is taken over while it still is stopping, or had ended before.
    for alive_then in [true, false] {
        let bench = Bench::new(programs);
        for name in ["slow", "by-hand"] {
            wait_for("the trap", || {
                (bench.log(&format!("{name}.stdout.log")) == "ready\n").then_some(())
            });
        }
        let pid = bench.until("slow", Phase::Running).pid.unwrap();
        let other = bench.until("by-hand", Phase::Running).pid.unwrap();
        let names = vec!["by-hand".to_owned()];
        bench.outcomes(Command::Stop { names, wait: false });
        bench.supervisor().request(Command::Shutdown, |_| ());
        bench.until("slow", Phase::Stopping);
        let dir = bench.abandon();
        if !alive_then {
            for pid in [pid, other] {
                rustix::process::kill_process(
                    rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
                    rustix::process::Signal::KILL,
                )
                .unwrap();
                wait_for("its end", || (!alive(pid)).then_some(()));
            }
        }
        let bench = Bench::within(dir.clone(), programs(dir.path()));
        let again = bench.until("slow", Phase::Running);
        assert_ne!(again.pid, Some(pid));
        assert!(again.wanted);
        let stopped = bench.until("by-hand", Phase::Stopped);
        assert_eq!((stopped.decided, stopped.wanted), (Some(false), false));
        assert!(!alive(pid) && !alive(other));
    }
}

/// Killed in the middle of births and deaths, at moments that are all different.
#[test]
fn no_moment_to_be_killed_makes_a_process_twice() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    for round in 0..25 {
        let mut victim = daemon(dir.path(), true);
        std::thread::sleep(Duration::from_micros(20_000 + round * 1_730));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let bench = Bench::within(Arc::clone(&dir), restless_programs(dir.path()));
    let lives = || bench.log("restless-3.stdout.log").lines().count();
    let before = lives();
    assert!(before > 5, "they did live: {before}");
    wait_for("more lives", || (lives() > before + 5).then_some(()));
    let twice = std::fs::read_to_string(dir.path().join("twice")).unwrap_or_default();
    assert_eq!(twice, "");
    assert_eq!(bench.stop("all").len(), 8);
}

#[test]
fn a_damaged_byte_in_the_journal_makes_no_process_twice() {
    let programs = |dir: &Path| {
        ["a", "b", "c", "d"]
            .map(|name| program(dir, name, &["sleep", "1000"]))
            .to_vec()
    };
    let bench = Bench::new(programs);
    let pids = ["a", "b", "c", "d"].map(|name| bench.until(name, Phase::Running).pid);
    let mut dir = bench.abandon();
    for part in [0, 1, 10, 40] {
        let path = dir.path().join("programs.journal");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() * part / 100;
        bytes[at] ^= 0x20;
        std::fs::write(&path, bytes).unwrap();
        let bench = Bench::within(Arc::clone(&dir), programs(dir.path()));
        let seen = ["a", "b", "c", "d"].map(|name| bench.status(name).pid);
        assert_eq!(seen, pids, "damaged at {at}");
        let told = |event: &Event| matches!(event, Event::JournalDamaged { bytes } if *bytes > 0);
        assert!(bench.events().iter().any(told));
        dir = bench.abandon();
    }
    Bench::within(Arc::clone(&dir), programs(dir.path()));
}

/// A daemon that died between the birth of a process and the note of its id.
#[test]
fn a_process_whose_birth_was_only_planned_is_found_by_its_pipe() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let web = program(dir.path(), "web", &["sleep", "1000"]);
    let (reader, writer) = pipe::capture_pipe(pipe::CAPTURE_SIZE).unwrap();
    let inode = pipe::inode(&reader).unwrap();
    let mut call = Spawn::new("/bin/sh");
    call.args = ["sh", "-c", "echo hello; sleep 1000 & sleep 1000"]
        .map(Into::into)
        .to_vec();
    call.session = true;
    call.fds = vec![(writer, 1)];
    let child = call.spawn().unwrap();
    drop((call, reader));
    let path = dir.path().join("programs.journal");
    let (mut journal, _) = Journal::open(&path, &mainstay_sys::boot_id().unwrap()).unwrap();
    journal
        .rewrite([&SlotRecord {
            process: "web".into(),
            program: "web".into(),
            live: Some(ProcessRecord::Intent),
            spec_hash: web.hash(&web.processes[0]),
            stdout_pipe: inode,
            ..SlotRecord::default()
        }])
        .unwrap();
    let bench = Bench::within(dir, vec![web]);
    let status = bench.until("web", Phase::Running);
    assert_eq!(status.pid, Some(child.pid().cast_unsigned()));
    wait_for("its output", || {
        (bench.log("web.stdout.log") == "hello\n").then_some(())
    });
    assert_eq!(bench.stop("web"), [Did::Stopped]);
}

/// A daemon that died between the plan of a restart and the birth of the process.
#[test]
fn a_restart_that_was_only_planned_is_made_and_counted_once() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let web = program(dir.path(), "web", &["sleep", "1000"]);
    let path = dir.path().join("programs.journal");
    let (mut journal, _) = Journal::open(&path, &mainstay_sys::boot_id().unwrap()).unwrap();
    let mut record = SlotRecord {
        process: "web".into(),
        program: "web".into(),
        phase: Phase::Starting,
        live: Some(ProcessRecord::Intent),
        spec_hash: web.hash(&web.processes[0]),
        // No pipe has this number.
        stdout_pipe: u64::MAX,
        ..SlotRecord::default()
    };
    record.counters.restarts = 7;
    journal.rewrite([&record]).unwrap();
    let bench = Bench::within(dir, vec![web]);
    assert_eq!(bench.until("web", Phase::Running).restarts, 7);
}

#[test]
fn a_number_that_means_another_process_is_left_alone() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut stranger = Process::new("sleep").arg("1000").spawn().unwrap();
    let path = dir.path().join("programs.journal");
    let (mut journal, _) = Journal::open(&path, &mainstay_sys::boot_id().unwrap()).unwrap();
    journal
        .rewrite([&SlotRecord {
            process: "web".into(),
            program: "web".into(),
            phase: Phase::Running,
            // The number is right, the start time is not.
            live: Some(ProcessRecord::Live {
                pid: stranger.id(),
                start_ticks: 1,
            }),
            ..SlotRecord::default()
        }])
        .unwrap();
    let web = program(dir.path(), "web", &["sleep", "1000"]);
    let bench = Bench::within(dir, vec![web]);
    let status = bench.until("web", Phase::Running);
    assert_ne!(status.pid, Some(stranger.id()));
    assert_eq!(status.restarts, 1, "it had died while nobody watched");
    bench.shut_down();
    assert!(alive(stranger.id()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn two_daemons_cannot_have_one_state() {
    let bench = Bench::new(|dir| vec![program(dir, "web", &["sleep", "1000"])]);
    bench.until("web", Phase::Running);
    let second = mainstay_supervise::Supervisor::start(
        mainstay_supervise::Settings::new(bench.dir.path()),
        Vec::<ProgramSpec>::new(),
        mainstay_base::Resolver::default(),
        Box::new(|_| {}),
    );
    let error = second.err().unwrap().to_string();
    assert!(error.contains("held by process"), "{error}");
    assert_eq!(bench.status("web").phase, Phase::Running);
    let refused = bench.supervisor().ask(Command::Status {
        names: vec!["web".into()],
    });
    assert!(refused.is_ok());
}

/// A file system that is full: supervision goes on, says so, and catches up.
#[test]
#[ignore = "needs root: mounts a small tmpfs"]
fn a_full_disk_stops_only_the_journal() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let mount = |words: &[&str]| {
        let done = Process::new(words[0])
            .args(&words[1..])
            .arg(&state)
            .status()
            .unwrap();
        assert!(done.success(), "{words:?}");
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=128k", "none"]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let programs = || vec![program(dir.path(), "web", &["sleep", "1000"])];
    let supervisor = supervise(&state, programs(), &events);
    let names = vec!["web".to_owned()];
    let restart = || {
        let command = Command::Restart {
            names: names.clone(),
            wait: true,
        };
        supervisor.ask(command).unwrap()
    };
    restart();
    let _ = std::fs::write(state.join("filler"), vec![0; 1 << 20]);
    let seen = |wanted: fn(&Event) -> bool| events.lock().unwrap().iter().any(wanted);
    wait_for("the journal to fail", || {
        let mainstay_supervise::Reply::Done(outcomes) = restart() else {
            panic!()
        };
        assert_eq!(outcomes[0].result, Did::Started);
        seen(|event| matches!(event, Event::JournalFailed { .. })).then_some(())
    });
    restart();
    std::fs::remove_file(state.join("filler")).unwrap();
    wait_for("the journal to recover", || {
        seen(|event| matches!(event, Event::JournalRecovered)).then_some(())
    });
    supervisor.abandon();
    let adopted = Arc::new(Mutex::new(Vec::new()));
    let supervisor = supervise(&state, programs(), &adopted);
    supervisor.ask(Command::Status { names: vec![] }).unwrap();
    let adopted = matches!(&adopted.lock().unwrap()[0], Event::Adopted { .. });
    supervisor.ask(Command::Shutdown).unwrap();
    assert!(supervisor.join());
    mount(&["umount"]);
    assert!(adopted);
}

#[test]
fn nothing_is_begun_after_a_handover() {
    let dir = tempfile::tempdir().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut job = program(dir.path(), "job", &["true"]);
    job.autostart = false;
    let supervisor = Arc::new(supervise(dir.path(), vec![job], &events));
    let (answers, answered) = std::sync::mpsc::channel();
    let inside = Arc::clone(&supervisor);
    let look = Command::Status { names: Vec::new() };
    supervisor.request(look, move |_| {
        // This is the supervision thread: it finds both requests at once.
        let first = answers.clone();
        inside.request(Command::Handover, move |reply| {
            first.send(reply.is_ok()).unwrap();
        });
        let start = Command::Start {
            names: vec!["job".to_owned()],
            wait: false,
            strict: false,
        };
        inside.request(start, move |reply| answers.send(reply.is_ok()).unwrap());
    });
    assert_eq!(answered.iter().collect::<Vec<_>>(), [true]);
    drop(supervisor);
    let events = events.lock().unwrap();
    let begun = |event: &Event| matches!(event, Event::Spawned { .. } | Event::Changed(_));
    assert!(!events.iter().any(begun), "{events:?}");
}

//! Starting, stopping, dying, logging.

use std::time::Duration;

use mainstay_base::Template;
use mainstay_supervise::{Autorestart, Command, Did, Event, Exit, Output, Phase, Refusal};
use mainstay_sys::Signal;

use crate::bench::{Bench, alive, did, program, script, wait_for};

#[test]
fn start_stop_restart() {
    let bench = Bench::new(|dir| {
        let mut by_hand = program(dir, "by-hand", &["sleep", "1000"]);
        by_hand.autostart = false;
        vec![program(dir, "web", &["sleep", "1000"]), by_hand]
    });
    let web = bench.until("web", Phase::Running);
    let pid = web.pid.unwrap();
    assert!(alive(pid) && web.uptime.is_some() && web.wanted && web.trouble.is_none());
    assert_eq!(bench.status("by-hand").phase, Phase::Stopped);
    assert_eq!(bench.start("all"), [Did::AlreadyRunning, Did::Started]);

    assert_eq!(bench.restart("web"), [Did::Started]);
    let again = bench.status("web");
    assert!(again.pid.unwrap() != pid && !alive(pid));
    assert_eq!(again.restarts, 0, "asked for, so not counted");

    assert_eq!(bench.stop("web"), [Did::Stopped]);
    assert_eq!(bench.stop("web"), [Did::NotRunning]);
    let stopped = bench.status("web");
    assert_eq!((stopped.phase, stopped.pid), (Phase::Stopped, None));
    assert_eq!(
        stopped.last_exit,
        Some(Exit::Signal {
            number: 15,
            core: false
        })
    );
    assert!(!alive(again.pid.unwrap()));
    assert_eq!(
        bench.phases("web"),
        [
            Phase::Starting,
            Phase::Running,
            Phase::Stopping,
            Phase::Stopped,
            Phase::Starting,
            Phase::Running,
            Phase::Stopping,
            Phase::Stopped
        ]
    );
}

#[test]
fn names_and_refusals() {
    let bench = Bench::new(|dir| {
        let mut web = program(dir, "web", &["sleep", "1000"]);
        let first = web.processes[0].clone();
        web.processes = (0..2)
            .map(|instance| {
                let mut process = first.clone();
                process.process = format!("web:{instance}");
                process.instance = instance;
                process.stdout = Output::Discard;
                process.stderr = Output::Discard;
                process
            })
            .collect();
        vec![web]
    });
    bench.until("web:1", Phase::Running);
    bench.until("web:0", Phase::Running);
    assert_eq!(bench.stop("web:1"), [Did::Stopped]);
    assert_eq!(bench.start("web:*"), [Did::AlreadyRunning, Did::Started]);
    let names = vec!["web".to_owned(), "wep".to_owned()];
    assert_eq!(
        bench.supervisor().ask(Command::Stop { names, wait: true }),
        Err(Refusal::UnknownName {
            name: "wep".into(),
            nearest: Some("web".into())
        })
    );
    assert!(
        bench
            .all()
            .iter()
            .all(|status| status.phase == Phase::Running),
        "nothing was done"
    );
}

#[test]
fn what_dies_is_started_again() {
    let bench = Bench::new(|dir| vec![program(dir, "web", &["sleep", "1000"])]);
    let pid = bench.until("web", Phase::Running).pid.unwrap();
    let names = vec!["web".to_owned()];
    let signalled = bench.outcomes(Command::Signal {
        names,
        signal: Signal::KILL,
    });
    assert_eq!(did(signalled), [Did::Signalled]);
    let again = wait_for("another process", || {
        Some(bench.status("web")).filter(|s| s.phase == Phase::Running && s.pid != Some(pid))
    });
    assert_eq!(again.restarts, 1);
    assert_eq!(
        again.last_exit,
        Some(Exit::Signal {
            number: 9,
            core: false
        })
    );
}

#[test]
fn back_off_then_fatal() {
    let bench = Bench::new(|dir| {
        let mut web = script(dir, "web", "echo attempt; exit 3");
        web.policy.start_retries = Some(2);
        web.autostart = false;
        vec![web]
    });
    let failed = bench.start("web");
    assert!(
        matches!(&failed[..], [Did::Failed(text)] if text.contains("Exited too quickly")),
        "{failed:?}"
    );
    let fatal = bench.until("web", Phase::Fatal);
    assert_eq!(fatal.last_exit, Some(Exit::Code(3)));
    assert_eq!(
        bench.log("web.stdout.log"),
        "attempt\nattempt\nattempt\n",
        "2 retries: 3 attempts"
    );
    assert_eq!(
        bench.phases("web"),
        [
            Phase::Starting,
            Phase::Backoff,
            Phase::Starting,
            Phase::Backoff,
            Phase::Starting,
            Phase::Backoff,
            Phase::Fatal
        ]
    );
}

#[test]
fn a_job_that_is_done_is_not_started_again() {
    let bench = Bench::new(|dir| {
        let mut job = script(dir, "job", "echo done");
        job.policy.autorestart = Autorestart::Never;
        job.autostart = false;
        vec![job]
    });
    assert_eq!(bench.start("job"), [Did::Finished]);
    assert_eq!(bench.status("job").phase, Phase::Exited);
    assert_eq!(bench.log("job.stdout.log"), "done\n");
}

#[test]
fn what_cannot_be_started_says_why_in_its_log_too() {
    let bench = Bench::new(|dir| {
        let mut missing = program(dir, "missing", &["no-such-program-here"]);
        missing.autostart = false;
        let mut broken = program(dir, "broken", &["./broken"]);
        std::fs::write(dir.join("broken"), "#!/no/such/interpreter\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.join("broken"), mode).unwrap();
        broken.dir = Some(dir.to_owned());
        broken.autostart = false;
        vec![missing, broken]
    });
    for (name, words) in [
        ("missing", "cannot find the program"),
        ("broken", "interpreter"),
    ] {
        let failed = bench.start(name);
        assert!(
            matches!(&failed[..], [Did::SpawnFailed(text)] if text.contains(words)),
            "{failed:?}"
        );
        let told = bench.events().iter().any(|event| {
            matches!(event, Event::SpawnFailed { process, text } if process == name && text.contains(words))
        });
        assert!(told);
        let log = bench.log(&format!("{name}.stderr.log"));
        assert!(
            log.starts_with("mainstay: cannot start ") && log.contains(words),
            "{log}"
        );
        assert_eq!(
            bench.stop(name),
            [Did::Stopped],
            "at once, although it is waiting to retry"
        );
    }
}

#[test]
fn who_ignores_term_is_killed() {
    let bench = Bench::new(|dir| {
        let mut web = script(
            dir,
            "web",
            "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        );
        web.policy.stop_wait = Duration::from_millis(100);
        vec![web]
    });
    wait_for("the trap", || {
        (bench.log("web.stdout.log") == "ready\n").then_some(())
    });
    bench.until("web", Phase::Running);
    assert_eq!(bench.stop("web"), [Did::Stopped]);
    assert_eq!(
        bench.status("web").last_exit,
        Some(Exit::Signal {
            number: 9,
            core: false
        })
    );
    assert!(
        bench
            .events()
            .iter()
            .any(|event| matches!(event, Event::Killing { .. }))
    );
}

#[test]
fn a_stop_takes_the_whole_group() {
    let bench = Bench::new(|dir| {
        vec![script(
            dir,
            "web",
            "sleep 1000 & echo $!; sleep 1000 & echo $!; wait",
        )]
    });
    let children: Vec<u32> = wait_for("the children", || {
        let log = bench.log("web.stdout.log");
        (log.lines().count() == 2).then(|| log.lines().map(|l| l.parse().unwrap()).collect())
    });
    bench.until("web", Phase::Running);
    assert!(children.iter().all(|pid| alive(*pid)));
    let names = vec!["web".to_owned()];
    bench.outcomes(Command::Signal {
        names,
        signal: Signal::KILL,
    });
    wait_for("the children of the one that died", || {
        (!children.iter().any(|pid| alive(*pid))).then_some(())
    });
    let log = wait_for("the next children", || {
        Some(bench.log("web.stdout.log")).filter(|log| log.lines().count() == 4)
    });
    bench.until("web", Phase::Running);
    let children: Vec<u32> = log.lines().skip(2).map(|l| l.parse().unwrap()).collect();
    // The stop signal goes to the leader; when it is gone, to those it left behind.
    assert_eq!(bench.stop("web"), [Did::Stopped]);
    assert!(!children.iter().any(|pid| alive(*pid)));
}

#[test]
fn output_is_complete_at_the_end() {
    let bench = Bench::new(|dir| {
        let text = "i=0; while [ $i -lt 200 ]; do printf '%01000d\n' $i; i=$((i+1)); done; \
                    printf 'the last words'; printf oops >&2";
        let mut job = script(dir, "job", text);
        job.policy.autorestart = Autorestart::Never;
        let mut merged = script(dir, "merged", "echo one; echo two >&2; printf three");
        merged.policy.autorestart = Autorestart::Never;
        merged.processes[0].stderr = Output::Merge;
        vec![job, merged]
    });
    bench.until("job", Phase::Exited);
    bench.until("merged", Phase::Exited);
    let expected: String =
        (0..200).fold(String::new(), |text, i| text + &format!("{i:01000}\n")) + "the last words";
    assert_eq!(bench.log("job.stdout.log"), expected);
    assert_eq!(bench.log("job.stderr.log"), "oops");
    assert_eq!(bench.log("merged.stdout.log"), "one\ntwo\nthree");
}

#[test]
fn the_environment_of_a_program() {
    let bench = Bench::new(|dir| {
        let mut job = script(
            dir,
            "job",
            "echo $MAINSTAY_PROGRAM $MAINSTAY_PROCESS $MAINSTAY_INSTANCE $EXTRA; pwd; umask; ls /proc/self/fd",
        );
        job.processes[0]
            .env
            .insert("EXTRA".into(), Template::literal("more"));
        job.dir = Some("/".into());
        job.umask = Some(0o27);
        job.policy.autorestart = Autorestart::Never;
        vec![job]
    });
    bench.until("job", Phase::Exited);
    // 3 is the directory that ls reads.
    assert_eq!(
        bench.log("job.stdout.log"),
        "job job 0 more\n/\n0027\n0\n1\n2\n3\n"
    );
}

#[test]
fn idle_means_no_turns() {
    let bench = Bench::new(|dir| {
        (0..100)
            .map(|i| program(dir, &format!("sleeper-{i}"), &["sleep", "1000"]))
            .collect()
    });
    wait_for("all to run", || {
        bench
            .all()
            .iter()
            .all(|status| status.phase == Phase::Running)
            .then_some(())
    });
    // One turn comes when the start is over.
    std::thread::sleep(Duration::from_millis(1500));
    let before = bench.supervisor().turns();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(bench.supervisor().turns(), before);
}

#[test]
fn a_waiting_request_holds_up_nobody() {
    let bench = Bench::new(|dir| {
        let mut slow = script(
            dir,
            "slow",
            "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        );
        slow.policy.stop_wait = Duration::from_millis(1500);
        vec![slow, program(dir, "quick", &["sleep", "1000"])]
    });
    wait_for("the trap", || {
        (bench.log("slow.stdout.log") == "ready\n").then_some(())
    });
    let (sender, receiver) = std::sync::mpsc::channel();
    let names = vec!["slow".to_owned()];
    bench
        .supervisor()
        .request(Command::Stop { names, wait: true }, move |answer| {
            sender.send(answer).unwrap();
        });
    bench.until("slow", Phase::Stopping);
    bench.until("quick", Phase::Running);
    assert_eq!(bench.restart("quick"), [Did::Started]);
    assert!(
        receiver.try_recv().is_err(),
        "the other one is still waiting"
    );
    assert!(receiver.recv().unwrap().is_ok());
}

#[test]
fn shutdown_goes_group_by_group_in_reverse() {
    let bench = Bench::new(|dir| {
        let slow = "trap 'sleep 0.2; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
        ["first", "second", "third"]
            .iter()
            .zip([1, 2, 3])
            .map(|(name, priority)| {
                let mut spec = script(dir, name, slow);
                spec.group.priority = priority;
                spec
            })
            .collect()
    });
    for name in ["first", "second", "third"] {
        wait_for("the trap", || {
            (bench.log(&format!("{name}.stdout.log")) == "ready\n").then_some(())
        });
        bench.until(name, Phase::Running);
    }
    let events = std::sync::Arc::clone(&bench.events);
    events.lock().unwrap().clear();
    bench.shut_down();
    let seen: Vec<String> = events
        .lock()
        .unwrap()
        .iter()
        .map(|event| match event {
            Event::Changed(change) => format!("{} {}", change.process, change.to),
            other => other.to_string(),
        })
        .collect();
    assert_eq!(
        seen,
        [
            "stopping all programs",
            "third STOPPING",
            "third STOPPED",
            "second STOPPING",
            "second STOPPED",
            "first STOPPING",
            "first STOPPED",
            "supervision has ended"
        ]
    );
}

#[test]
fn groups_of_equal_priority_stop_at_the_same_time_unless_told_otherwise() {
    for group_by_group in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let slow = "trap 'sleep 0.2; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
        let programs = ["a", "b", "c"].map(|name| script(dir.path(), name, slow));
        let mut settings = mainstay_supervise::Settings::new(dir.path());
        settings.group_by_group = group_by_group;
        let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let told = std::sync::Arc::clone(&seen);
        let supervisor = mainstay_supervise::Supervisor::start(
            settings,
            programs.to_vec(),
            mainstay_base::Resolver::default(),
            Box::new(move |event| match event {
                Event::Changed(change) if change.to == Phase::Stopping => {
                    told.lock().unwrap().push('+');
                }
                Event::Changed(change) if change.to == Phase::Stopped => {
                    told.lock().unwrap().push('-');
                }
                _ => {}
            }),
        )
        .unwrap();
        for name in ["a", "b", "c"] {
            let log = dir.path().join(format!("log/{name}.stdout.log"));
            wait_for("the trap", || {
                (std::fs::read_to_string(&log).ok()? == "ready\n").then_some(())
            });
        }
        supervisor.ask(Command::Shutdown).unwrap();
        assert!(supervisor.join());
        let expected = if group_by_group { "+-+-+-" } else { "+++---" };
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}

#[test]
fn a_suspended_program_is_stopped_in_order() {
    let bench = Bench::new(|dir| {
        let text = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
        vec![script(dir, "web", text)]
    });
    wait_for("the trap", || {
        (bench.log("web.stdout.log") == "ready\n").then_some(())
    });
    let pid = bench.until("web", Phase::Running).pid.unwrap();
    let names = vec!["web".to_owned()];
    let signal = Signal::from_name("STOP").unwrap();
    bench.outcomes(Command::Signal { names, signal });
    wait_for("its suspension", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    });
    assert_eq!(bench.stop("web"), [Did::Stopped]);
    assert_eq!(bench.status("web").last_exit, Some(Exit::Code(9)));
}

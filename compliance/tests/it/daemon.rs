//! The daemon comes up, goes away, and comes back to what it left.

use std::os::unix::fs::PermissionsExt;

use compliance::{Sandbox, alive, signal_pid, wait_for};

const TWO: &str = "[program.first]\ncommand = ['sh', '-c', 'trap \"echo first ends; exit 0\" TERM; while :; do sleep 0.02; done']\npriority = 1\nstart_secs = 0\n\
                   [program.second]\ncommand = ['sh', '-c', 'trap \"sleep 0.3; echo second ends; exit 0\" TERM; while :; do sleep 0.02; done']\npriority = 2\nstart_secs = 0\n";

fn pids(sandbox: &Sandbox) -> Vec<u64> {
    let status = sandbox.json(&["status"]);
    status["programs"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p["pid"].as_u64())
        .collect()
}

#[test]
fn term_stops_everything_in_order_and_leaves_nothing() {
    let sandbox = Sandbox::new(TWO);
    let mut daemon = sandbox.start();
    sandbox.in_state("first", "RUNNING");
    sandbox.in_state("second", "RUNNING");
    let processes = pids(&sandbox);
    let socket = sandbox.path().join(".mainstay/control.sock");
    assert!(socket.exists());
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(!socket.exists(), "the socket is gone");
    assert!(
        processes.iter().all(|pid| !alive(*pid)),
        "no process is left"
    );
    let log = |name: &str| {
        let path = sandbox
            .path()
            .join(format!(".mainstay/log/{name}.stdout.log"));
        std::fs::metadata(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .modified()
            .unwrap()
    };
    assert!(
        log("second") <= log("first"),
        "the second in priority ends before the first"
    );
    assert_eq!(sandbox.run(&["status"]).code, 7, "nobody answers any more");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let sandbox = Sandbox::new(TWO);
    let daemon = sandbox.start();
    let second = sandbox.run(&["run"]);
    assert_eq!(second.code, 6, "{second:?}");
    assert!(
        second.err.contains(&daemon.pid().to_string()),
        "{}",
        second.err
    );
    assert!(alive(daemon.pid()));
    sandbox.done(&["version"]);
}

#[test]
fn in_the_background_it_returns_when_the_daemon_is_up() {
    let sandbox = Sandbox::new(TWO);
    let outcome = sandbox.run(&["run", "--daemon"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // No waiting here: up is up.
    let status = sandbox.json(&["status"]);
    let pid = status["daemon"]["pid"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status}"));
    let session = std::process::Command::new("ps")
        .args(["-o", "sid=,tty=", "-p", &pid.to_string()])
        .output()
        .unwrap();
    let session = String::from_utf8(session.stdout).unwrap();
    let own = std::process::Command::new("ps")
        .args(["-o", "sid=", "-p", &std::process::id().to_string()])
        .output()
        .unwrap();
    assert_ne!(
        session.split_whitespace().next(),
        String::from_utf8(own.stdout)
            .unwrap()
            .split_whitespace()
            .next()
    );
    assert!(session.contains('?'), "it has no terminal: {session}");
    for fd in 0..3 {
        assert_eq!(
            std::fs::read_link(format!("/proc/{pid}/fd/{fd}"))
                .unwrap()
                .to_str(),
            Some("/dev/null")
        );
    }
    sandbox.done(&["shutdown"]);
    assert!(!alive(pid));
    assert!(!sandbox.path().join(".mainstay/control.sock").exists());
}

#[test]
fn in_the_background_it_says_why_it_is_not_up() {
    let sandbox = Sandbox::new(TWO);
    let socket = sandbox.path().join(".mainstay/control.sock");
    std::fs::create_dir_all(&socket).unwrap();
    let outcome = sandbox.run(&["run", "--daemon"]);
    assert_ne!(outcome.code, 0);
    assert!(outcome.err.contains("control.sock"), "{outcome:?}");
    assert!(outcome.err.contains("help:"), "{outcome:?}");
    std::fs::remove_dir(&socket).unwrap();
    assert_eq!(sandbox.run(&["run", "--daemon"]).code, 0);
    assert_eq!(
        sandbox.run(&["run", "--daemon"]).code,
        6,
        "the second time it runs already"
    );
    sandbox.done(&["shutdown"]);
}

#[test]
fn after_a_kill_the_next_daemon_takes_over_what_runs() {
    let sandbox = Sandbox::new(
        "[program.count]\ncommand = ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done']\nstart_secs = 0\n",
    );
    let mut first = sandbox.start();
    let before = sandbox.in_state("count", "RUNNING");
    let pid = before["pid"].as_u64().unwrap();
    first.signal("KILL");
    first.wait();
    assert!(alive(pid), "the program goes on without the daemon");
    let second = sandbox.start();
    let after = sandbox.process("count");
    assert_eq!(after["pid"], pid, "the same process, no duplicate");
    assert_eq!(after["adopted"], true);
    assert_eq!(after["restarts"], 0);
    let log = after["logs"]["stdout"].as_str().unwrap().to_owned();
    let lines = || -> Vec<u64> {
        let text = std::fs::read_to_string(&log).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    };
    let seen = lines().len();
    wait_for("the log to grow again", || {
        (lines().len() > seen + 20).then_some(())
    });
    let all = lines();
    assert!(
        all.iter().copied().eq(1..=all.len() as u64),
        "no line is lost or doubled"
    );
    // What was taken over is also looked after: it is brought back when it dies.
    signal_pid(pid, "KILL");
    wait_for("the program to be back", || {
        let process = sandbox.process("count");
        (process["state"] == "RUNNING" && process["pid"] != pid).then_some(())
    });
    drop(second);
}

#[test]
fn stopped_by_hand_stays_stopped_over_a_kill() {
    let sandbox = Sandbox::new(TWO);
    let mut first = sandbox.start();
    sandbox.done(&["stop", "second"]);
    first.signal("KILL");
    first.wait();
    let _second = sandbox.start();
    sandbox.in_state("first", "RUNNING");
    assert_eq!(sandbox.process("second")["state"], "STOPPED");
}

#[test]
fn the_state_is_private() {
    let sandbox = Sandbox::new(TWO);
    let _daemon = sandbox.start();
    let mode = |path: &str| {
        std::fs::metadata(sandbox.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(".mainstay") & 0o007, 0);
    assert_eq!(mode(".mainstay/control.sock") & 0o007, 0);
    for entry in std::fs::read_dir(sandbox.path().join(".mainstay")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert!(
            mode & 0o002 == 0,
            "{:?} can be written by others: {mode:o}",
            entry.path()
        );
    }
}

#[test]
fn logs_are_opened_anew_after_something_moved_them() {
    let sandbox = Sandbox::new(
        "[program.tick]\ncommand = ['sh', '-c', 'while :; do echo tick; sleep 0.02; done']\nstart_secs = 0\n",
    );
    let _daemon = sandbox.start();
    let log = sandbox.process("tick")["logs"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_for("a first line", || {
        std::fs::metadata(&log)
            .is_ok_and(|m| m.len() > 0)
            .then_some(())
    });
    std::fs::rename(&log, format!("{log}.moved")).unwrap();
    sandbox.done(&["reopen-logs"]);
    wait_for("a new file", || {
        std::fs::metadata(&log)
            .is_ok_and(|m| m.len() > 0)
            .then_some(())
    });
}

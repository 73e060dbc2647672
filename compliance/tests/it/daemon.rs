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
    // Others may pass to what they know the name of, as the server of a drill does, and see nothing.
    assert_eq!(mode(".mainstay") & 0o006, 0);
    assert_eq!(mode(".mainstay/control.sock") & 0o007, 0);
    for entry in std::fs::read_dir(sandbox.path().join(".mainstay")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        // Where programs report faults: it answers nobody else.
        if entry.file_name() == "report.sock" {
            continue;
        }
        assert!(
            mode & 0o006 == 0,
            "{:?} can be read or written by others: {mode:o}",
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

#[test]
fn a_signal_that_comes_at_once_ends_it_in_order() {
    let sandbox = Sandbox::new(TWO);
    for _ in 0..5 {
        sandbox.done(&["run", "--daemon"]);
        let pid: u64 = std::fs::read_to_string(sandbox.path().join(".mainstay/mainstay.pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        signal_pid(pid, "TERM");
        wait_for("the daemon to end", || (!alive(pid)).then_some(()));
        assert!(!sandbox.path().join(".mainstay/control.sock").exists());
        assert!(!sandbox.path().join(".mainstay/mainstay.pid").exists());
        let programs = std::process::Command::new("pgrep")
            .args(["-f", "first ends|second ends"])
            .output()
            .unwrap();
        let left: Vec<u64> = String::from_utf8_lossy(&programs.stdout)
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid| started_in(*pid, sandbox.path()))
            .collect();
        assert!(left.is_empty(), "{left:?} are left");
    }
}

/// Whether a process works in that directory: it is one of ours, not of a check beside this one.
fn started_in(pid: u64, directory: &std::path::Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory)
}

#[test]
fn members_of_the_socket_s_group_are_let_in_and_others_are_not() {
    let sandbox = Sandbox::new(
        "[control]\nsocket = { mode = \"0660\", group = \"nogroup\" }\n\
         [program.web]\ncommand = \"sleep 1000\"\nstart_secs = 0\n",
    );
    std::fs::set_permissions(sandbox.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |group: &str, arguments: &[&str]| {
        std::process::Command::new("setpriv")
            .args([
                "--reuid=nobody",
                &format!("--regid={group}"),
                "--clear-groups",
            ])
            .arg(compliance::binary("mainstay"))
            .arg("-c")
            .arg(sandbox.path().join("mainstay.toml"))
            .args(arguments)
            .current_dir("/")
            .output()
            .unwrap()
    };
    if as_nobody("nogroup", &["--version"]).status.code() != Some(0) {
        println!(
            "SKIPPED: only root can be somebody else, and somebody else must reach the binary"
        );
        return;
    }
    let _daemon = sandbox.start();
    let member = as_nobody("nogroup", &["restart", "web"]);
    assert_eq!(
        member.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&member.stderr)
    );
    assert_eq!(
        as_nobody("nogroup", &["shutdown"]).status.code(),
        Some(5),
        "a member may not end it"
    );
    assert_eq!(
        as_nobody("daemon", &["status"]).status.code(),
        Some(5),
        "a stranger may do nothing"
    );
}

#[test]
fn programs_have_the_limit_of_open_files_that_mainstay_was_given() {
    let sandbox = Sandbox::new(
        "[program.limit]\ncommand = ['sh', '-c', 'ulimit -Sn; ulimit -Hn; sleep 1000']\nstart_secs = 0\n",
    );
    let _daemon = sandbox.start();
    let own = std::process::Command::new("sh")
        .args(["-c", "ulimit -Sn; ulimit -Hn"])
        .output()
        .unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    wait_for("the program to say its limits", || {
        let said = sandbox.done(&["logs", "limit"]).out;
        (said.lines().count() == 2).then(|| assert_eq!(said, own))
    });
}

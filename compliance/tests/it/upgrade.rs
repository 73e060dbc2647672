//! The running binary replaced in place, at bad moments.

use std::time::Duration;

use compliance::{Sandbox, alive};

#[test]
fn a_stop_that_comes_during_an_upgrade_is_obeyed() {
    // Moments from before the self-check of the new binary until after it is up. None is waited
    // for; whatever the daemon is at then, it must end in order.
    for moment in (0..200).step_by(20).map(Duration::from_millis) {
        let sandbox = Sandbox::new("[program.web]\ncommand = \"sleep 100000\"\nstart_secs = 0\n");
        let mut daemon = sandbox.start();
        let web = sandbox.in_state("web", "RUNNING")["pid"].as_u64().unwrap();
        daemon.signal("USR1");
        std::thread::sleep(moment);
        daemon.signal("TERM");
        assert_eq!(daemon.wait(), Some(0), "{moment:?}: {}", daemon.said());
        assert!(!alive(web), "{moment:?}");
    }
}

/// The daemon raises its own limit of open files; programs have the one they always had, also those
/// that start after the binary was replaced.
#[test]
fn programs_keep_their_limit_of_open_files_over_an_upgrade() {
    let sandbox = Sandbox::new(
        "[program.web]\ncommand = [\"sh\", \"-c\", \"ulimit -Sn; exec sleep 100000\"]\nstart_secs = 0\n",
    );
    let limited = |words: &[&str]| {
        let mut line = vec!["-c", "ulimit -Sn 512; exec \"$@\"", "sh"];
        let binary = compliance::binary("mainstay").display().to_string();
        line.push(&binary);
        line.extend(words);
        let said = std::process::Command::new("sh")
            .args(&line)
            .current_dir(sandbox.path())
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
    };
    limited(&["run", "--daemon"]);
    sandbox.in_state("web", "RUNNING");
    sandbox.done(&["upgrade"]);
    sandbox.done(&["restart", "web"]);
    sandbox.in_state("web", "RUNNING");
    let log = compliance::wait_for("two starts", || {
        let log = sandbox.run(&["logs", "web", "-n", "10"]).out;
        (log.lines().count() >= 2).then_some(log)
    });
    sandbox.done(&["shutdown"]);
    assert!(log.lines().all(|line| line.trim() == "512"), "{log}");
}

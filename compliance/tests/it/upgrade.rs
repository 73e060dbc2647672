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

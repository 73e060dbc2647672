//! Nothing happens, so nothing wakes up.

use std::time::Duration;

use compliance::Sandbox;

#[test]
fn with_a_hundred_idle_programs_the_supervision_thread_sleeps() {
    let sandbox = Sandbox::new(
        "[program.idle]\ncommand = \"sleep 100000\"\ninstances = 100\nstart_secs = 0\n",
    );
    let daemon = sandbox.start();
    for instance in 0..100 {
        sandbox.in_state(&format!("idle:{instance}"), "RUNNING");
    }
    let tasks = format!("/proc/{}/task", daemon.pid());
    let thread = std::fs::read_dir(&tasks)
        .unwrap()
        .map(|task| task.unwrap().path())
        .find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "supervise")
        })
        .expect("the supervision thread is called supervise");
    // A thread that was woken has switched: the kernel counts both kinds.
    let switches = || -> Vec<String> {
        let status = std::fs::read_to_string(thread.join("status")).unwrap();
        status
            .lines()
            .filter(|line| line.contains("ctxt_switches"))
            .map(str::to_owned)
            .collect()
    };
    std::thread::sleep(Duration::from_millis(500));
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        switches(),
        before,
        "the thread woke up though nothing happened"
    );
}

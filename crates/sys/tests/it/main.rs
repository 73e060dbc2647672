//! The crate against the real kernel: programs are really started, killed, orphaned and taken over.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "forks in tests: this crate is the one that may")]

mod adopt;
mod background;
mod capture;
mod signal;
mod spawning;
mod strangers;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_sys::spawn::Detour;
use mainstay_sys::{Child, ExitStatus, Spawn};

/// How long a test waits for something that should come at once; only a failing test ever waits
/// that long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Every way a program can be started in.
const DETOURS: [Detour; 5] = {
    let none = Detour {
        fork: false,
        list_descriptors: false,
        copy_descriptors: false,
        refuse_unsharing: false,
    };
    let (fork, list_descriptors) = (true, true);
    [
        none,
        Detour {
            copy_descriptors: true,
            ..none
        },
        Detour { fork, ..none },
        Detour {
            list_descriptors,
            ..none
        },
        Detour {
            fork,
            list_descriptors,
            ..none
        },
    ]
};

/// A shell that will run this script, with a usable search path.
fn shell(script: &str) -> Spawn {
    let mut spawn = Spawn::new("/bin/sh");
    spawn.args = ["sh", "-c", script].map(Into::into).to_vec();
    spawn.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    spawn
}

/// An ordinary pipe: (read, write).
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), writer.into())
}

/// Starts it, and gives back what it wrote to standard output and how it ended.
fn run(mut spawn: Spawn, detour: Detour) -> (String, ExitStatus) {
    let (mut reader, writer) = pipe();
    spawn.fds.push((writer, 1));
    let child = spawn.spawn_by(detour).unwrap();
    drop(spawn);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    (output, ended(&child))
}

fn ended(child: &Child) -> ExitStatus {
    child
        .wait(Some(DEADLINE))
        .unwrap()
        .expect("the program did not end")
}

/// Runs the code in a process of its own with one thread, and gives back how that ended.
fn in_child(code: impl FnOnce() -> i32 + std::panic::UnwindSafe) -> ExitStatus {
    // SAFETY: the child runs the closure only and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = std::panic::catch_unwind(code).unwrap_or(99);
        // SAFETY: ends this process without running the exit handlers of the test harness.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0);
    let mut word = 0;
    // SAFETY: our own child and a valid pointer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut word, 0) }, pid);
    if libc::WIFEXITED(word) {
        ExitStatus::Code(libc::WEXITSTATUS(word))
    } else {
        ExitStatus::Unknown
    }
}

/// Waits until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_root(what: &str) -> bool {
    let root = mainstay_sys::users::effective_uid() == 0;
    if !root {
        let _ = writeln!(std::io::stderr(), "skipped, needs root: {what}");
    }
    root
}

/// The letter of the process state, `None` when there is no such process.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

//! Taking over processes that an earlier run started, and learning how they end although they are
//! not our children.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_sys::epoll::{Events, Interest};
use mainstay_sys::{Child, Epoll, ExitStatus, Signal, start_time};

use crate::{DEADLINE, ended, read, shell, until};

/// A process whose parent has died, so that it belongs to the machine's first process now: its pid.
fn orphan(dir: &Path, script: &str) -> i32 {
    let file = dir.join("pid");
    let mut spawn = shell(&format!(
        "sh -c '{script}' & echo $! > {0}.new; mv {0}.new {0}",
        file.display()
    ));
    spawn.session = true;
    let parent = spawn.spawn().unwrap();
    assert_eq!(ended(&parent), ExitStatus::Code(0));
    let pid = read(&file).trim().parse().unwrap();
    until("it has a new parent", || {
        parent_of(pid).is_none_or(|found| found != parent.pid())
    });
    pid
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Whether this kernel keeps the exit status of any process for those who hold a pidfd of it.
fn kernel_keeps_records() -> bool {
    let release = read(Path::new("/proc/sys/kernel/osrelease"));
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

#[test]
fn the_exit_code_of_a_process_that_is_not_our_child() {
    for (end, want) in [
        ("exit 42", ExitStatus::Code(42)),
        ("kill -9 $$", ExitStatus::Signal(9, false)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let go = dir.path().join("go");
        let pid = orphan(
            dir.path(),
            &format!(
                "while ! [ -e {} ]; do sleep 0.01; done; {end}",
                go.display()
            ),
        );
        let child = Child::adopt(pid, start_time(pid).unwrap())
            .unwrap()
            .unwrap();
        assert!(!child.is_ours());
        assert_eq!(child.pid(), pid);
        assert_eq!(child.try_wait().unwrap(), None);
        let (epoll, mut events) = (Epoll::new().unwrap(), Events::with_capacity(8));
        epoll.add(&child, 1, Interest::READ_EDGE).unwrap();
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        fs::write(&go, "").unwrap();
        // Edges are enough: each None is followed by another event.
        let status = loop {
            epoll.wait(&mut events, Some(DEADLINE)).unwrap();
            assert!(
                !events.is_empty(),
                "an adopted process ended and no event said so"
            );
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        if kernel_keeps_records() {
            assert_eq!(status, want);
        } else {
            assert!([want, ExitStatus::Unknown].contains(&status), "{status:?}");
        }
        assert_eq!(child.try_wait().unwrap(), Some(status), "asked again");
    }
}

#[test]
fn the_exit_code_of_a_process_that_another_has_reaped() {
    for (end, want) in [
        ("exit 42", ExitStatus::Code(42)),
        ("kill -9 $$", ExitStatus::Signal(9, false)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (file, go) = (dir.path().join("pid"), dir.path().join("go"));
        let mut spawn = shell(&format!(
            "sh -c 'while ! [ -e {1} ]; do sleep 0.01; done; {end}' & echo $! > {0}.new; mv {0}.new {0}; wait",
            file.display(),
            go.display()
        ));
        spawn.session = true;
        let parent = spawn.spawn().unwrap();
        until("the pid", || file.exists());
        let pid = read(&file).trim().parse().unwrap();
        let child = Child::adopt(pid, start_time(pid).unwrap())
            .unwrap()
            .unwrap();
        fs::write(&go, "").unwrap();
        ended(&parent);
        until("its parent has reaped it", || start_time(pid).is_err());
        let want = if kernel_keeps_records() {
            want
        } else {
            ExitStatus::Unknown
        };
        assert_eq!(child.try_wait().unwrap(), Some(want));
    }
}

#[test]
fn an_adopted_process_takes_signals() {
    let dir = tempfile::tempdir().unwrap();
    let pid = orphan(dir.path(), "exec sleep 100");
    let child = Child::adopt(pid, start_time(pid).unwrap())
        .unwrap()
        .unwrap();
    child.signal(Signal::TERM).unwrap();
    let status = ended(&child);
    assert!(
        [ExitStatus::Signal(15, false), ExitStatus::Unknown].contains(&status),
        "{status:?}"
    );
    until("it is reaped", || child.signal(Signal::TERM).is_err());
}

#[test]
fn another_start_time_is_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let pid = orphan(dir.path(), "exec sleep 100");
    let started = start_time(pid).unwrap();
    assert!(Child::adopt(pid, started + 1).unwrap().is_none());
    let child = Child::adopt(pid, started).unwrap().unwrap();
    assert_eq!(child.start_time().unwrap(), started);
    child.signal(Signal::KILL).unwrap();
    ended(&child);
    until("it is reaped", || start_time(pid).is_err());
    assert!(Child::adopt(pid, started).unwrap().is_none());
}

#[test]
fn our_own_child_can_be_adopted_as_after_an_exec_in_place() {
    let first = shell("exec sleep 100").spawn().unwrap();
    let (pid, started) = (first.pid(), first.start_time().unwrap());
    drop(first);
    let child = Child::adopt(pid, started).unwrap().unwrap();
    assert!(child.is_ours());
    child.signal(Signal::KILL).unwrap();
    assert_eq!(ended(&child), ExitStatus::Signal(9, false));
}

#[test]
fn the_status_of_a_zombie_whose_parent_does_not_reap() {
    // Its parent sleeps on and never looks.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    // exec keeps the child but forgets that the shell would have waited for it.
    let mut spawn = shell(&format!(
        "(while ! [ -e {1}/go ]; do sleep 0.01; done; exit 42) & echo $! > {0}.new; mv {0}.new {0}; exec sleep 100",
        file.display(),
        dir.path().display()
    ));
    spawn.session = true;
    let parent = spawn.spawn().unwrap();
    until("the pid", || file.exists());
    let pid = read(&file).trim().parse().unwrap();
    let child = Child::adopt(pid, start_time(pid).unwrap())
        .unwrap()
        .unwrap();
    assert!(!child.is_ours());
    // sleep must have taken the shell's place, or it would reap.
    until("the parent does not reap", || {
        read(Path::new(&format!("/proc/{}/comm", parent.pid()))) == "sleep\n"
    });
    fs::write(dir.path().join("go"), "").unwrap();
    assert_eq!(
        child.wait(Some(DEADLINE)).unwrap(),
        Some(ExitStatus::Code(42))
    );
    assert_eq!(
        crate::state(pid),
        Some('Z'),
        "it was learned from the zombie"
    );
    parent.signal_group(Signal::KILL).unwrap();
    ended(&parent);
}

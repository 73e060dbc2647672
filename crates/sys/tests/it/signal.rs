//! Signals to programs, to what they started, and to us.

use std::io::Read as _;

use mainstay_sys::epoll::{Events, Interest};
use mainstay_sys::{Child, Epoll, ExitStatus, Signal, SignalFd};

use crate::{DEADLINE, ended, pipe, shell, state, until};

/// A shell that says that it is ready, so that its traps are set, and the pids it wrote.
fn started(script: &str, session: bool) -> (Child, Vec<i32>, std::fs::File) {
    let (mut reader, writer) = pipe();
    let mut spawn = shell(script);
    spawn.session = session;
    spawn.fds = vec![(writer, 1)];
    let child = spawn.spawn().unwrap();
    drop(spawn);
    let mut line = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    let pids = String::from_utf8(line)
        .unwrap()
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    (child, pids, reader)
}

#[test]
fn a_signal_reaches_the_program_and_its_end_is_known() {
    let (child, _, _output) = started(
        "trap 'exit 7' USR1; echo; while :; do sleep 0.01; done",
        false,
    );
    assert_eq!(child.try_wait().unwrap(), None);
    assert!(child.is_ours());
    child.signal(Signal::USR1).unwrap();
    assert_eq!(ended(&child), ExitStatus::Code(7));
    assert_eq!(
        child.try_wait().unwrap(),
        Some(ExitStatus::Code(7)),
        "asked again"
    );
    for result in [child.signal(Signal::KILL), child.signal_group(Signal::KILL)] {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}

#[test]
fn real_time_signals_too() {
    let (child, _, _output) = started("echo; exec sleep 100", false);
    let signal = Signal::from_name("RTMIN+5").unwrap();
    child.signal(signal).unwrap();
    assert_eq!(ended(&child), ExitStatus::Signal(signal.number(), false));
}

#[test]
fn a_group_signal_reaches_what_the_program_started_even_after_its_end() {
    let (child, pids, _output) = started("sleep 100 & echo $!; wait", true);
    child.signal_group(Signal::TERM).unwrap();
    assert_eq!(ended(&child), ExitStatus::Signal(15, false));
    until("the grandchild is gone", || {
        matches!(state(pids[0]), None | Some('Z'))
    });

    let (child, pids, _output) = started("sleep 100 & echo $!", true);
    assert_eq!(ended(&child), ExitStatus::Code(0));
    assert!(!matches!(state(pids[0]), None | Some('Z')), "it lives on");
    match child.signal_group(Signal::KILL) {
        Ok(()) => until("the grandchild is gone", || {
            matches!(state(pids[0]), None | Some('Z'))
        }),
        // Before Linux 6.9 this cannot be done with certainty, so it is not done.
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
            // SAFETY: plain integers; our own descendant.
            unsafe { libc::kill(pids[0], libc::SIGKILL) };
        }
    }
}

#[test]
fn a_program_that_leads_no_group_has_no_group_to_signal() {
    let (child, _, _output) = started("echo; exec sleep 100", false);
    assert_eq!(
        child.signal_group(Signal::KILL).unwrap_err().raw_os_error(),
        Some(libc::ESRCH)
    );
    assert_eq!(child.try_wait().unwrap(), None, "and nobody was hit");
    child.signal(Signal::KILL).unwrap();
    ended(&child);
}

#[test]
fn the_end_of_a_program_wakes_an_epoll() {
    let (epoll, mut events) = (Epoll::new().unwrap(), Events::with_capacity(8));
    let (child, _, _output) = started("echo; exec sleep 100", false);
    epoll.add(&child, 42, Interest::READ).unwrap();
    epoll
        .wait(&mut events, Some(std::time::Duration::ZERO))
        .unwrap();
    assert!(events.is_empty());
    child.signal(Signal::KILL).unwrap();
    epoll.wait(&mut events, Some(DEADLINE)).unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| (event.token, event.readable))
            .collect::<Vec<_>>(),
        [(42, true)]
    );
    assert_eq!(
        child.try_wait().unwrap(),
        Some(ExitStatus::Signal(9, false))
    );
}

#[test]
fn signals_to_us_come_through_the_descriptor_with_their_sender() {
    let signals = SignalFd::new(&[Signal::USR1, Signal::USR2]).unwrap();
    assert_eq!(signals.read().unwrap(), None);
    let me = i32::try_from(std::process::id()).unwrap();
    // To this thread, as the others of the test harness have not blocked it.
    // SAFETY: plain integers.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    for signal in [Signal::USR2, Signal::USR1] {
        // SAFETY: plain integers.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, me, thread, signal.number()) };
        assert_eq!(sent, 0);
    }
    let (epoll, mut events) = (Epoll::new().unwrap(), Events::with_capacity(8));
    epoll.add(&signals, 1, Interest::READ).unwrap();
    epoll.wait(&mut events, Some(DEADLINE)).unwrap();
    assert_eq!(events.iter().count(), 1);
    let mut got = [
        signals.read().unwrap().unwrap(),
        signals.read().unwrap().unwrap(),
    ];
    got.sort_unstable();
    assert_eq!(got, [(Signal::USR1, me), (Signal::USR2, me)]);
    assert_eq!(signals.read().unwrap(), None);
}

#[test]
fn a_blocked_signal_waits_in_its_thread() {
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        mask >> (Signal::USR1.number() - 1) & 1 == 1
    };
    // The mask is that of a thread.
    let thread = std::thread::spawn(move || {
        assert!(!blocked());
        mainstay_sys::signals::block(&[Signal::USR1]).unwrap();
        assert!(blocked());
        mainstay_sys::signals::raise(Signal::USR1).unwrap();
        let waiting = SignalFd::new(&[Signal::USR1]).unwrap();
        let me = std::process::id().cast_signed();
        assert_eq!(waiting.read().unwrap(), Some((Signal::USR1, me)));
        mainstay_sys::signals::unblock(&[Signal::USR1]).unwrap();
        assert!(!blocked());
    });
    thread.join().unwrap();
}

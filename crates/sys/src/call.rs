//! The few shapes of raw system call that neither std nor rustix offers in the form needed here.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::ExitStatus;

/// Turns the `-1` and `errno` convention of libc into a result.
pub(crate) fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Whom `waitid` asks about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom {
    /// Any child of this process.
    Any,
    /// The child with this pid.
    Pid(i32),
    /// The child behind this pidfd (Linux 5.4).
    Pidfd(i32),
}

/// `waitid(2)` for ended children: the pid and how it ended, `None` when nobody has ended yet (only
/// with `WNOHANG`).
///
/// `options` is `WNOHANG` and `WNOWAIT` as wanted; `WEXITED` is always added.
pub(crate) fn wait_id(whom: Whom, options: libc::c_int) -> io::Result<Option<(i32, ExitStatus)>> {
    let (kind, id) = match whom {
        Whom::Any => (libc::P_ALL, 0),
        Whom::Pid(pid) => (libc::P_PID, pid),
        Whom::Pidfd(fd) => (libc::P_PIDFD, fd),
    };
    retry(|| {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the pointer is to a siginfo_t that lives through the call; the kernel only writes
        // to it.
        check(unsafe {
            libc::waitid(
                kind,
                id.cast_unsigned(),
                info.as_mut_ptr(),
                options | libc::WEXITED,
            )
        })?;
        // SAFETY: all-zero bytes are a valid siginfo_t, and the kernel wrote over them whole.
        let info = unsafe { info.assume_init() };
        // SAFETY: waitid either fills the SIGCHLD fields or leaves the zeroes we put there.
        let pid = unsafe { info.si_pid() };
        if pid == 0 {
            return Ok(None);
        }
        // SAFETY: as above, pid is not zero, so the SIGCHLD fields are filled.
        let value = unsafe { info.si_status() };
        Ok(Some((pid, ExitStatus::from_siginfo(info.si_code, value))))
    })
}

/// Waits until `fd` is readable (or hung up) or the time is over. `Ok(true)` means readable.
pub(crate) fn poll_readable(
    fd: impl std::os::fd::AsFd,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let timeout = timeout.map(whole_millis);
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    Ok(retry(|| Ok(poll(&mut fds, timeout.as_ref())?))? > 0)
}

/// The time as whole milliseconds, rounded up and cut at what `epoll_wait` takes on every kernel
/// (24 days).
///
/// Rounding up matters: rounded down, a timer that is due in 0.4 ms would make the caller spin
/// until it is due.
pub(crate) fn whole_millis(time: Duration) -> Timespec {
    const MOST: i64 = i32::MAX as i64;
    let nanos = time.as_nanos();
    let millis = i64::try_from(nanos.div_ceil(1_000_000))
        .unwrap_or(MOST)
        .min(MOST);
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_up_and_never_overflow() {
        for (time, (sec, nsec)) in [
            (Duration::ZERO, (0, 0)),
            (Duration::from_nanos(1), (0, 1_000_000)),
            (Duration::from_millis(1), (0, 1_000_000)),
            (Duration::from_micros(1001), (0, 2_000_000)),
            (Duration::from_nanos(999_999_999), (1, 0)),
            (Duration::from_secs(3), (3, 0)),
            (Duration::MAX, (2_147_483, 647_000_000)),
        ] {
            let spec = whole_millis(time);
            assert_eq!((spec.tv_sec, spec.tv_nsec), (sec, nsec), "{time:?}");
        }
    }
}

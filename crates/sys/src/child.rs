//! A running process, held by a pidfd so that its number can never come to mean another one.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::call::{Whom, check, poll_readable, wait_id};
use crate::proc;
use crate::reap;
use crate::signals::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal killed it; whether it left a core dump.
    Signal(i32, bool),
    /// It ended, and nobody can say how: it was not our child and the kernel keeps no record
    /// (before Linux 6.15), or someone else took the record.
    Unknown,
}

impl ExitStatus {
    /// Whether it exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// From the code and value of a `SIGCHLD` siginfo, waitid(2).
    pub(crate) fn from_siginfo(code: i32, value: i32) -> Self {
        match code {
            libc::CLD_EXITED => Self::Code(value),
            libc::CLD_KILLED => Self::Signal(value, false),
            libc::CLD_DUMPED => Self::Signal(value, true),
            _ => Self::Unknown,
        }
    }

    /// From the status word of wait(2), which `/proc/PID/stat` and `PIDFD_GET_INFO` give too.
    pub(crate) fn from_wait_word(word: i32) -> Self {
        if libc::WIFEXITED(word) {
            Self::Code(libc::WEXITSTATUS(word))
        } else if libc::WIFSIGNALED(word) {
            Self::Signal(libc::WTERMSIG(word), libc::WCOREDUMP(word))
        } else {
            Self::Unknown
        }
    }
}

/// A process: one we started, or one that an earlier run of us started and that we took over.
///
/// The descriptor ([`AsFd`]) becomes readable when the process ends, so it can be waited for in an
/// [`Epoll`](crate::Epoll). Dropping the value neither ends nor reaps the process; see
/// [`reap_strangers`](crate::reap_strangers) for who then does.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    ours: bool,
    /// In clock ticks since boot, where it is known already.
    started: Option<u64>,
    /// Set once it is known, which for our own child also means that it is reaped and the pid is
    /// free again.
    ended: Mutex<Option<ExitStatus>>,
}

impl Child {
    /// A child just made. The guard shows that the caller holds off the reaping of strangers.
    pub(crate) fn spawned(
        pid: i32,
        pidfd: OwnedFd,
        started: Option<u64>,
        guard: &reap::Spawning,
    ) -> Self {
        guard.register(pid);
        Self {
            pid,
            pidfd,
            ours: true,
            started,
            ended: Mutex::new(None),
        }
    }

    /// Takes over a process that an earlier run of this program started, known by its pid and the
    /// [`start_time`](crate::start_time) noted then (compare the [`boot_id`](crate::boot_id) first:
    /// both repeat after a reboot).
    ///
    /// `None` when that process is gone; also when the pid means another process now, which is
    /// never touched: the start time is compared after the pidfd is open, so it cannot change its
    /// meaning in between.
    pub fn adopt(pid: i32, start_time: u64) -> io::Result<Option<Self>> {
        let pidfd = match open_pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match proc::stat(pid) {
            Ok(stat) if stat.start_time == start_time => {}
            Ok(_) => return Ok(None),
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        // After an exec in place the process is still our child; after a restart it is not.
        let guard = reap::spawning();
        let ours = wait_id(
            Whom::Pidfd(pidfd.as_raw_fd()),
            libc::WNOHANG | libc::WNOWAIT,
        )
        .is_ok();
        if ours {
            guard.register(pid);
        }
        Ok(Some(Self {
            pid,
            pidfd,
            ours,
            started: Some(start_time),
            ended: Mutex::new(None),
        }))
    }

    /// Its process id. Good for display and for the journal; to act on the process use the methods
    /// here.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it is our child, so that its exit status will be known for certain.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// When it started, in clock ticks since boot: with the pid and the boot id this names it for
    /// ever. Ask while the process runs: `ESRCH` may come when it has been reaped.
    pub fn start_time(&self) -> io::Result<u64> {
        if let Some(started) = self.started {
            return Ok(started);
        }
        let start_time = proc::start_time(self.pid)?;
        // Read by number, so it is only its own if the process still had the number afterwards.
        self.send(0, 0)?;
        Ok(start_time)
    }

    /// Sends it a signal. `ESRCH` when it has been reaped; a zombie takes any signal without
    /// effect.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.send(signal.number(), 0)
    }

    /// Sends a signal to the process group it leads (it was started with `session`), so also to
    /// what it started itself, even after it has ended. `ESRCH` when nobody is left, or nobody that
    /// can be named with certainty.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        // Linux 6.9 signals the group by the pidfd: it cannot hit a group that got the number
        // later.
        const PROCESS_GROUP: libc::c_uint = 1 << 2;
        match self.send(signal.number(), PROCESS_GROUP) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.signal_group_by_number(signal)
            }
            other => other,
        }
    }

    /// The older way: by number, and only while the process holds the number.
    fn signal_group_by_number(&self, signal: Signal) -> io::Result<()> {
        // Held over the kill: our child keeps its number until `try_wait` reaps it, which needs
        // this lock.
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_some() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        // For an adopted process there is a gap between this and the kill in which someone else
        // could reap it and the number be given away; numbers are given in rising order, so it
        // would have to come round within microseconds.
        self.send(0, 0)?;
        // SAFETY: plain integers.
        check(unsafe { libc::kill(-self.pid, signal.number()) }).map(drop)
    }

    fn send(&self, number: i32, flags: libc::c_uint) -> io::Result<()> {
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open; a null siginfo means the default one.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                number,
                info,
                flags,
            )
        };
        if returned == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// How it ended, `None` while it has not. Reaps our own child; the answer stays the same ever
    /// after.
    ///
    /// For an adopted process the kernel's record appears when its parent has reaped it, a moment
    /// after its descriptor became readable; until then the answer can still be `None`. So watch
    /// adopted processes with [`Interest::READ_EDGE`](crate::epoll::Interest::READ_EDGE): the
    /// reaping is reported as another edge, and nothing spins in between.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            *ended = if self.ours {
                self.reap()?
            } else {
                self.look()?
            };
        }
        Ok(*ended)
    }

    /// Waits until it has ended or the time is over (`None`: for ever), see
    /// [`try_wait`](Self::try_wait).
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<ExitStatus>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let readable = poll_readable(&self.pidfd, left)?;
            match self.try_wait()? {
                None if left.is_some_and(|left| left.is_zero()) => return Ok(None),
                // An adopted process that is dead but not reaped; it stays readable, so poll would
                // not wait.
                None if readable => std::thread::sleep(Duration::from_millis(2)),
                None => {}
                status => return Ok(status),
            }
        }
    }

    fn reap(&self) -> io::Result<Option<ExitStatus>> {
        reap::unregister_if(self.pid, || {
            match wait_id(Whom::Pidfd(self.pidfd.as_raw_fd()), libc::WNOHANG) {
                Ok(ended) => Ok(ended.map(|(_, status)| status)),
                // Someone reaped it before us, or SIGCHLD is ignored in this process.
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                    Ok(Some(ExitStatus::Unknown))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn look(&self) -> io::Result<Option<ExitStatus>> {
        if !poll_readable(&self.pidfd, Some(Duration::ZERO))? {
            return Ok(None);
        }
        let record = exit_record(&self.pidfd)?;
        if let Record::Ended(status) = record {
            return Ok(Some(status));
        }
        // Dead, and its parent has not reaped it (a container's first process may never do). As
        // long as it is a zombie, /proc shows the status to those who may see it.
        match (proc::zombie_status(self.pid), record) {
            (Some(status), _) => Ok(Some(status)),
            (None, Record::NotYet) => Ok(None),
            (None, _) => Ok(Some(ExitStatus::Unknown)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Once it is reaped the number may already be that of another child.
        if self.ours
            && self
                .ended
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .is_none()
        {
            reap::unregister(self.pid);
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The errors by which the kernel says that there is no such process (or only a thread) of this
/// number.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ESRCH | libc::ENOENT | libc::EINVAL)
    )
}

/// `pidfd_open(2)`, Linux 5.3. The descriptor is close-on-exec.
pub(crate) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    let returned = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(i32::try_from(returned).unwrap_or(-1))?;
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel says about the end of a process that is not our child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Ended(ExitStatus),
    /// It keeps records (Linux 6.15), but this process has not been reaped yet.
    NotYet,
    /// It keeps none, or has lost this one.
    None,
}

/// The first published form of `struct pidfd_info` (linux/pidfd.h); the kernel goes by its size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    /// pid, tgid, ppid, then real, effective, saved and file system uid and gid.
    ids: [u32; 11],
    exit_code: i32,
}

/// `ioctl(PIDFD_GET_INFO)` with `PIDFD_INFO_EXIT`.
fn exit_record(pidfd: &OwnedFd) -> io::Result<Record> {
    const INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const GET_INFO: libc::c_ulong =
        (3 << 30) | ((size_of::<PidfdInfo>() as libc::c_ulong) << 16) | (0xFF << 8) | 0x0B;
    let mut info = PidfdInfo {
        mask: INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the request number carries the size of the structure, which the kernel does not write
    // beyond. The cast is because the C libraries disagree about the sign of the request.
    let returned = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) };
    match check(returned) {
        Ok(_) if info.mask & INFO_EXIT != 0 => {
            Ok(Record::Ended(ExitStatus::from_wait_word(info.exit_code)))
        }
        Ok(_) => Ok(Record::NotYet),
        // Linux before 6.13 does not know the call and those before 6.15 not the record: they say
        // that the process is gone.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOTTY | libc::EINVAL | libc::ESRCH)
            ) =>
        {
            Ok(Record::None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_published_size() {
        assert_eq!(size_of::<PidfdInfo>(), 64);
    }

    #[test]
    fn wait_words_and_siginfo_mean_the_same() {
        for (word, code, value, want) in [
            (0, libc::CLD_EXITED, 0, ExitStatus::Code(0)),
            (42 << 8, libc::CLD_EXITED, 42, ExitStatus::Code(42)),
            (9, libc::CLD_KILLED, 9, ExitStatus::Signal(9, false)),
            (0x8B, libc::CLD_DUMPED, 11, ExitStatus::Signal(11, true)),
            (0x137f, libc::CLD_STOPPED, 19, ExitStatus::Unknown),
        ] {
            assert_eq!(ExitStatus::from_wait_word(word), want, "{word:#x}");
            assert_eq!(
                ExitStatus::from_siginfo(code, value),
                want,
                "{code} {value}"
            );
        }
    }

    #[test]
    fn numbers_that_are_no_process_are_nobody_to_adopt() {
        for pid in [i32::MAX, 0, -1] {
            assert!(Child::adopt(pid, 1).unwrap().is_none(), "{pid}");
        }
    }

    #[test]
    fn a_group_signalled_the_older_way() {
        let mut spawn = crate::Spawn::new("/bin/sleep");
        spawn.args = vec!["sleep".into(), "100".into()];
        let unled = spawn.spawn().unwrap();
        spawn.session = true;
        let child = spawn.spawn().unwrap();
        let error = unled.signal_group_by_number(Signal::KILL).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH), "it leads none");
        child.signal_group_by_number(Signal::TERM).unwrap();
        assert_eq!(
            child.wait(None).unwrap(),
            Some(ExitStatus::Signal(15, false))
        );
        let error = child.signal_group_by_number(Signal::TERM).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(libc::ESRCH),
            "the number is free"
        );
        unled.signal(Signal::KILL).unwrap();
        assert_eq!(
            unled.wait(None).unwrap(),
            Some(ExitStatus::Signal(9, false))
        );
    }
}

//! Signals: their names, and receiving them as a readable descriptor.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

use crate::call::check;

/// A signal: a number from 1 to 64 that this system knows (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

/// The names without `SIG`; where two names share a number the first one here is the one we print.
const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

impl Signal {
    /// Reload or restart, by custom.
    pub const HUP: Self = Self(libc::SIGHUP);
    /// Ctrl-C.
    pub const INT: Self = Self(libc::SIGINT);
    /// Ctrl-\.
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// Cannot be caught.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// For the program's own use.
    pub const USR1: Self = Self(libc::SIGUSR1);
    /// Reopen the logs, by supervisord's custom.
    pub const USR2: Self = Self(libc::SIGUSR2);
    /// Written to a pipe that nobody reads.
    pub const PIPE: Self = Self(libc::SIGPIPE);
    /// Please end.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// A child ended.
    pub const CHLD: Self = Self(libc::SIGCHLD);
    /// Go on after a stop.
    pub const CONT: Self = Self(libc::SIGCONT);
    /// Stop, cannot be caught.
    pub const STOP: Self = Self(libc::SIGSTOP);
    /// The terminal changed its size.
    pub const WINCH: Self = Self(libc::SIGWINCH);

    /// The signal with this number; `None` for numbers no program can send or receive (0, above 64,
    /// and the two or three real-time numbers that the C library keeps for itself).
    pub fn new(number: i32) -> Option<Self> {
        let named = NAMES.iter().any(|&(_, named)| named == number);
        (named || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number)).then_some(Self(number))
    }

    /// Reads `TERM`, `SIGTERM`, `15`, `RTMIN`, `SIGRTMIN+3` or `RTMAX-1`, in any case.
    pub fn from_name(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_uppercase();
        if let Ok(number) = text.parse::<i32>() {
            return Self::new(number);
        }
        let name = text.strip_prefix("SIG").unwrap_or(&text);
        if let Some(&(_, number)) = NAMES.iter().find(|&&(known, _)| known == name) {
            return Some(Self(number));
        }
        let (base, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => (libc::SIGRTMIN(), rest),
            (_, Some(rest)) => (libc::SIGRTMAX(), rest),
            _ => return None,
        };
        let away = match rest {
            "" => 0,
            _ if rest.starts_with(['+', '-']) => rest.parse::<i32>().ok()?,
            _ => return None,
        };
        let number = base.checked_add(away)?;
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then_some(Self(number))
    }

    /// The name as the shell prints it: `SIGTERM`, `SIGRTMIN+3`.
    pub fn name(self) -> Cow<'static, str> {
        let away = self.0 - libc::SIGRTMIN();
        match NAMES.iter().find(|&&(_, number)| number == self.0) {
            Some((name, _)) => Cow::Owned(format!("SIG{name}")),
            None if away == 0 => Cow::Borrowed("SIGRTMIN"),
            None => Cow::Owned(format!("SIGRTMIN+{away}")),
        }
    }

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name())
    }
}

/// Signals as a readable, nonblocking descriptor (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks the signals in this thread and makes a descriptor that delivers them.
    ///
    /// Call it before other threads start: they inherit the blocking, and a signal that any thread
    /// has not blocked would be delivered there, with its default deed, instead of here. The
    /// signals stay blocked when the value is dropped. Programs started by [`Spawn`](crate::Spawn)
    /// begin with nothing blocked all the same.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        block(signals)?;
        let set = set_of(signals)?;
        // SAFETY: set is an initialised sigset_t, -1 asks for a new descriptor.
        let fd = check(unsafe {
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        })?;
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The next signal that has come and the pid of its sender (0 when the kernel sent it); `None`
    /// when there is none.
    ///
    /// Equal signals that come before they are read arrive as one (standard signals do not queue).
    pub fn read(&self) -> io::Result<Option<(Signal, i32)>> {
        let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match crate::call::retry(|| Ok(rustix::io::read(&self.fd, &mut buffer)?)) {
            Ok(count) if count == buffer.len() => {}
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        // SAFETY: the buffer has the size of the structure and any bytes are a valid value of it
        // (integers only); read_unaligned asks for no alignment.
        let info = unsafe {
            buffer
                .as_ptr()
                .cast::<libc::signalfd_siginfo>()
                .read_unaligned()
        };
        Ok(Some((
            Signal(info.ssi_signo.cast_signed()),
            info.ssi_pid.cast_signed(),
        )))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Blocks the signals in this thread: one that comes waits, also through an `execve`, until
/// [`unblock`].
///
/// A signal for the whole process waits only if every thread has it blocked. Without this, one that
/// comes between an `execve` and the moment the next program takes it over from its default deed
/// ends the process (execve(2): handlers are reset, the mask and what waits are kept).
pub fn block(signals: &[Signal]) -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, signals)
}

/// Takes [`block`] back for this thread. What waited is delivered before this returns.
pub fn unblock(signals: &[Signal]) -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK, signals)
}

/// Sends a signal to this very thread. If it is blocked here, it waits here.
pub fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: plain integers; raise is thread-directed in a program with threads.
    check(unsafe { libc::raise(signal.0) }).map(drop)
}

fn change_mask(how: i32, signals: &[Signal]) -> io::Result<()> {
    let set = set_of(signals)?;
    // SAFETY: set is an initialised sigset_t; the old mask is not asked for.
    let error = unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(())
}

fn set_of(signals: &[Signal]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
    for signal in signals {
        // SAFETY: the set was initialised by sigemptyset above.
        check(unsafe { libc::sigaddset(set.as_mut_ptr(), signal.0) })?;
    }
    // SAFETY: as above.
    Ok(unsafe { set.assume_init() })
}

/// All signals of this thread blocked, the raw kernel mask restored on drop.
///
/// The C library's `pthread_sigmask` leaves out the signals it uses itself; here they must be
/// blocked too, since a handler that runs in a process that shares our memory would run on our
/// state.
pub(crate) struct AllBlocked {
    before: u64,
}

/// The size of the kernel's signal mask, in bytes; the same on all architectures we build for.
const MASK_BYTES: usize = size_of::<u64>();

impl AllBlocked {
    pub(crate) fn new() -> Self {
        let mut before = 0_u64;
        set_raw_mask(&u64::MAX, Some(&mut before));
        Self { before }
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        set_raw_mask(&self.before, None);
    }
}

/// `rt_sigprocmask(SIG_SETMASK)`, async-signal-safe. It cannot fail with a valid pointer and size.
pub(crate) fn set_raw_mask(mask: &u64, before: Option<&mut u64>) {
    let before = before.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: both pointers are null or to a u64, which is the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::from_ref(mask),
            before,
            MASK_BYTES,
        );
    }
}

/// Puts every signal back to its default deed, async-signal-safe, the C library's own signals
/// included.
///
/// The Rust runtime ignores `SIGPIPE`, and ignored signals survive `execve`: without this every
/// program we start would ignore it too.
pub(crate) fn reset_all_handlers() {
    // A kernel sigaction that is all zero means SIG_DFL, no flags, empty mask, whatever the order
    // of its fields.
    let default = [0_u64; 8];
    for number in 1..=64 {
        // SAFETY: the buffer is larger than the kernel's structure; a null pointer asks for no old
        // value. SIGKILL and SIGSTOP answer EINVAL, which is right: they have no other deed.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<libc::c_void>(),
                MASK_BYTES,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_sig_and_numbers() {
        for (text, number, name) in [
            ("TERM", 15, "SIGTERM"),
            ("SIGTERM", 15, "SIGTERM"),
            ("sigterm", 15, "SIGTERM"),
            ("15", 15, "SIGTERM"),
            (" Hup ", 1, "SIGHUP"),
            ("cld", libc::SIGCHLD, "SIGCHLD"),
            ("IOT", libc::SIGABRT, "SIGABRT"),
            ("POLL", libc::SIGIO, "SIGIO"),
            ("RTMIN", libc::SIGRTMIN(), "SIGRTMIN"),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3, "SIGRTMIN+3"),
            ("rtmax", libc::SIGRTMAX(), "SIGRTMIN+30"),
            ("RTMAX-29", libc::SIGRTMAX() - 29, "SIGRTMIN+1"),
        ] {
            let signal = Signal::from_name(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((signal.number(), &*signal.name()), (number, name), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal() {
        for text in [
            "",
            "SIG",
            "0",
            "-9",
            "65",
            "32",
            "TERMINATE",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN3",
            "RTMIN+x",
            "SIGSIGHUP",
        ] {
            assert_eq!(Signal::from_name(text), None, "{text}");
        }
    }

    #[test]
    fn every_name_leads_back_to_its_number() {
        for number in (1..=64).filter(|number| Signal::new(*number).is_some()) {
            let signal = Signal::new(number).expect("filtered");
            assert_eq!(Signal::from_name(&signal.name()), Some(signal));
        }
    }
}

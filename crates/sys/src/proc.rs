//! What `/proc` says about processes and the machine.

use std::io::{self, Read as _};
use std::time::Duration;

use crate::child::ExitStatus;

/// The id of this boot of the machine: pids and start times from another boot mean nothing.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned())
}

/// When the process started, in clock ticks since boot. With the pid it names a process, since two
/// processes that have the same number never start in the same tick. `ESRCH` when there is none.
pub fn start_time(pid: i32) -> io::Result<u64> {
    Ok(stat(pid)?.start_time)
}

/// The clock that start times are told in, now; `None` where its unit is not known.
pub(crate) fn ticks_since_boot() -> Option<u64> {
    let per_second = rustix::param::clock_ticks_per_second();
    let tick = 1_000_000_000_u64.checked_div(per_second)?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).ok()?;
    let rest = u64::try_from(now.tv_nsec).ok()?;
    (seconds * 1_000_000_000 + rest).checked_div(tick)
}

/// The path that this process was executed by, as the call to execve gave it (`AT_EXECFN`,
/// getauxval(3)). A shell that looks a command up gives the path it found, whatever was typed.
pub fn executed_file() -> Option<String> {
    let path = rustix::param::linux_execfn();
    Some(path.to_str().ok()?.to_owned()).filter(|path| !path.is_empty())
}

/// The name of this machine, as uname(2) gives it.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// How many threads this process has.
pub fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Sets the file mode mask of this process (the nine permission bits count) and returns the one
/// before. Files are made by many threads, so call it before they start.
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask & 0o777)).as_raw_mode()
}

/// The fields of `/proc/PID/stat` that we use (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    /// Kernel flags; `PF_EXITING` is 4.
    pub(crate) flags: u64,
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) threads: u64,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
    pub(crate) rss_pages: u64,
    /// The wait status of a zombie; 0 when we may not see it.
    pub(crate) exit_word: i32,
}

/// Reads `/proc/PID/stat`; `ESRCH` when there is no such process.
pub(crate) fn stat(pid: i32) -> io::Result<Stat> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    stat_at(&format!("/proc/{pid}/stat"))
}

fn stat_at(path: &str) -> io::Result<Stat> {
    // As bytes: the name in it may be any bytes. One read gives it whole.
    let mut buffer = [0; 2048];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut buffer));
    let length = read.map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            io::Error::from_raw_os_error(libc::ESRCH)
        } else {
            error
        }
    })?;
    parse(&String::from_utf8_lossy(&buffer[..length])).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} has an unknown form"),
        )
    })
}

fn parse(text: &str) -> Option<Stat> {
    // The name is in parentheses and may contain some itself, so the fields count from the last
    // one.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first of them is field 3 of the manual page.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        state: field(3)?.chars().next()?,
        flags: field(9)?.parse().ok()?,
        user_ticks: field(14)?.parse().ok()?,
        system_ticks: field(15)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        start_time: field(22)?.parse().ok()?,
        rss_pages: field(24)?.parse().ok()?,
        exit_word: field(52)?.parse().ok()?,
    })
}

/// The exit status of a zombie that is not our child, if we may see it.
pub(crate) fn zombie_status(pid: i32) -> Option<ExitStatus> {
    let stat = stat(pid).ok().filter(|stat| stat.state == 'Z')?;
    // A zero is also what those see who may not look. Following the link to the program tells
    // which: for a zombie there is no program, but only those who may look are told so.
    let may_look = || {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    (stat.exit_word != 0 || may_look()).then(|| ExitStatus::from_wait_word(stat.exit_word))
}

/// Whether there is such a process, and it is neither a zombie nor on its way to be one.
pub(crate) fn runs(pid: i32) -> bool {
    const EXITING: u64 = 4;
    stat(pid).is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X') && stat.flags & EXITING == 0)
}

/// Clock ticks as time; their length is the same for all of `/proc`.
pub(crate) fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let nanos = (count % per_second) * 1_000_000_000 / per_second;
    Duration::from_secs(count / per_second) + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_stand_in_the_parentheses() {
        let rest = "S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 5 0 987654 1000000 321 18446744073709551615 1 1 0 0 0 \
                    0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 256";
        let want = Stat {
            state: 'S',
            flags: 4_194_560,
            user_ticks: 12,
            system_ticks: 34,
            threads: 5,
            start_time: 987_654,
            rss_pages: 321,
            exit_word: 256,
        };
        for name in ["sleep", "a b", ") S 1 2", "((", "tmux: server)", "\u{fffd}"] {
            assert_eq!(
                parse(&format!("7 ({name}) {rest}\n")).as_ref(),
                Some(&want),
                "{name}"
            );
        }
        for text in [
            "",
            "7",
            "7 (x) ",
            "7 (x) S 1 2 3",
            "7 (x) S 1 7 7 0 -1 4194560 100 0 0 0 a b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn we_have_a_start_time_and_nobody_has_not() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(start_time(me).unwrap(), start_time(me).unwrap());
        assert_eq!(start_time(0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert_eq!(
            start_time(i32::MAX).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }

    #[test]
    fn a_boot_has_one_id() {
        let id = boot_id().unwrap();
        assert_eq!((id.len(), boot_id().unwrap()), (36, id.clone()), "{id}");
    }

    #[test]
    fn the_mask_comes_back() {
        let before = set_umask(0o7027);
        assert_eq!(set_umask(before), 0o027);
    }
}

//! Sessions and process groups, as `/proc` shows them.

use std::fs;
use std::io;

use rustix::process::{Pid, test_kill_process_group};

/// The fields of `/proc/PID/stat` that say to whom a process belongs, `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Belonging {
    zombie: bool,
    group: i32,
    session: i32,
}

/// Reads them. The name of the process, in parentheses, may have anything in it.
fn parse(stat: &str) -> Option<Belonging> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let _parent = fields.next()?;
    Some(Belonging {
        zombie: matches!(state, "Z" | "X"),
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
    })
}

fn belonging(pid: i32) -> Option<Belonging> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The ids of all processes.
pub(crate) fn processes() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Whether the group has a member that is more than a zombie: those wait for a parent to reap
/// them, which in a container may never happen, and hold nothing.
pub(crate) fn lives(group: i32) -> bool {
    let Some(number) = Pid::from_raw(group) else {
        return false;
    };
    // The cheap question first. Signal 0 does no harm to whoever it is.
    if matches!(
        test_kill_process_group(number),
        Err(rustix::io::Errno::SRCH)
    ) {
        return false;
    }
    // Without a list it counts as alive: who waits for it has a limit.
    processes().map_or(true, |mut all| {
        all.any(|pid| belonging(pid).is_some_and(|it| it.group == group && !it.zombie))
    })
}

/// Whether the process leads its own session, as every process we start does.
pub(crate) fn leads_session(pid: i32) -> bool {
    belonging(pid).is_some_and(|it| it.session == pid && !it.zombie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let is = |zombie, group, session| {
            Some(Belonging {
                zombie,
                group,
                session,
            })
        };
        for (stat, expected) in [
            ("7 (sh) S 1 8 9 0 -1", is(false, 8, 9)),
            ("7 (sh) Z 1 8 9 0 -1", is(true, 8, 9)),
            ("7 (a) Z 1 2 3 b) R 1 8 9 0 -1", is(false, 8, 9)),
            ("2 (kthreadd) S 0 0 0 0 -1", is(false, 0, 0)),
            ("", None),
            ("7 (sh) S 1", None),
        ] {
            assert_eq!(parse(stat), expected, "{stat}");
        }
    }

    #[test]
    fn a_child_that_is_a_zombie_keeps_no_group_alive() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        let group = child.id().cast_signed();
        assert!(lives(group));
        child.kill().unwrap();
        while belonging(group).is_some_and(|it| !it.zombie) {
            std::thread::yield_now();
        }
        assert!(!lives(group));
        child.wait().unwrap();
        assert!(!lives(group));
    }
}

//! Descriptors that stay open while a program executes itself anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::fcntl_getfd;

use crate::pipe::set_cloexec;

/// Lets these descriptors live through the next `execve` of this process, and gives the text that
/// tells [`take`] there which is which. Names have no `=` and no `,`; several may be alike.
///
/// If the `execve` fails, [`keep_private`] takes that back.
pub fn give<'a>(open: impl IntoIterator<Item = (&'a str, BorrowedFd<'a>)>) -> io::Result<String> {
    // The process id stays the same by an exec, and not for a child that finds the text by mistake.
    let mut text = std::process::id().to_string();
    for (name, fd) in open {
        set_cloexec(fd, false)?;
        // Writing to a String cannot fail.
        let _ = write!(text, ",{name}={}", fd.as_raw_fd());
    }
    Ok(text)
}

/// Makes these descriptors private to this program again, after an `execve` that failed.
pub fn keep_private<'a>(open: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    open.into_iter().try_for_each(|fd| set_cloexec(fd, true))
}

/// Takes over what [`give`] left open before this program was executed; close-on-exec from now on.
/// Empty when the text is for another process, is damaged, or was taken before.
pub fn take(text: &str) -> Vec<(String, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let Some(entries) = parse(text, std::process::id()) else {
        return Vec::new();
    };
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (name, raw) in entries {
        // SAFETY: `raw` is not -1 (`parse` wants more than 2), and the borrow ends before the
        // descriptor could be closed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        if fcntl_getfd(borrowed).is_err() || set_cloexec(borrowed, true).is_err() {
            continue;
        }
        // SAFETY: the descriptor is open, it was left open for us by the program that this process
        // was before, nothing in this program opened it, and `TAKEN` and `parse` see to it that
        // no other owner is made.
        out.push((name, unsafe { OwnedFd::from_raw_fd(raw) }));
    }
    out
}

fn parse(text: &str, pid: u32) -> Option<Vec<(String, i32)>> {
    let mut parts = text.split(',');
    if parts.next()?.parse() != Ok(pid) {
        return None;
    }
    let mut seen = BTreeSet::new();
    parts
        .map(|part| {
            let (name, fd) = part.split_once('=')?;
            let fd: i32 = fd.parse().ok()?;
            (fd > 2 && seen.insert(fd)).then(|| (name.to_owned(), fd))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn only_what_is_whole_and_for_us_is_believed() {
        let some = |list: &[(&str, i32)]| {
            Some(
                list.iter()
                    .map(|(name, fd)| ((*name).to_owned(), *fd))
                    .collect::<Vec<_>>(),
            )
        };
        for (text, want) in [
            ("7", some(&[])),
            ("7,a=3,b=4", some(&[("a", 3), ("b", 4)])),
            ("7,a=3,a=4", some(&[("a", 3), ("a", 4)])),
            ("8,a=3", None),
            ("", None),
            ("7,a", None),
            ("7,a=x", None),
            ("7,a=2", None),
            ("7,a=-1", None),
            ("7,a=3,b=3", None),
        ] {
            assert_eq!(parse(text, 7), want, "{text}");
        }
    }

    #[test]
    fn what_is_given_is_not_closed_by_an_exec_and_can_be_taken_back() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let text = give([("x", file.as_fd())]).unwrap();
        assert_eq!(
            text,
            format!("{},x={}", std::process::id(), file.as_raw_fd())
        );
        let flags = || fcntl_getfd(&file).unwrap();
        assert!(!flags().contains(rustix::io::FdFlags::CLOEXEC));
        keep_private([file.as_fd()]).unwrap();
        assert!(flags().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

//! Descriptors kept back for the hour in which there are none left.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use mainstay_sys::Errno;

/// As many as looking a process up takes: a pidfd and files of `/proc`.
const KEPT: usize = 4;

/// Descriptors that are given back for a moment when something must work although the limit of open
/// files is reached: looking whether a process lives, signalling it.
#[derive(Debug)]
pub(crate) struct Reserve {
    kept: Vec<OwnedFd>,
}

impl Reserve {
    /// Takes them.
    pub(crate) fn new() -> io::Result<Self> {
        let mut reserve = Self { kept: Vec::new() };
        reserve.fill()?;
        Ok(reserve)
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.kept.len() < KEPT {
            self.kept.push(File::open("/dev/null")?.into());
        }
        Ok(())
    }

    /// Does it with the reserve set free. What it opens it must close again.
    pub(crate) fn lend<T>(&mut self, act: impl FnOnce() -> T) -> T {
        self.kept.clear();
        let done = act();
        // If another thread was quicker they are taken at the next occasion.
        let _ = self.fill();
        done
    }
}

/// Whether this error says that there are no descriptors left.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::MFILE, Errno::NFILE])
}

/// Whether this error says that something is used up that a descriptor takes, so that the same may
/// work later.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    is_exhausted(error) || is_one_of(error, &[Errno::NOMEM, Errno::NOSPC])
}

fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    errnos
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages() {
        for (errno, exhausted, shortage) in [
            (Errno::MFILE, true, true),
            (Errno::NFILE, true, true),
            (Errno::NOMEM, false, true),
            (Errno::PERM, false, false),
        ] {
            let error = io::Error::from(errno);
            assert_eq!(
                (is_exhausted(&error), is_shortage(&error)),
                (exhausted, shortage),
                "{error}"
            );
        }
    }

    #[test]
    fn what_was_lent_is_taken_back() {
        let mut reserve = Reserve::new().unwrap();
        assert_eq!(reserve.lend(|| 7), 7);
        assert_eq!(reserve.kept.len(), KEPT);
    }
}

//! Where the files of a repository lie: a directory, a bucket, a directory on another machine.
//!
//! The layout is everywhere that of restic's local backend: `config`, `keys/ID`, `index/ID`,
//! `snapshots/ID`, `locks/ID`, and packs as `data/ID[..2]/ID`.

pub(super) mod local;
pub(super) mod s3;
pub(super) mod sftp;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::index::lock;

/// A file that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) modified: Option<SystemTime>,
}

/// A place for files. Paths are relative, with `/`.
///
/// What may pass is tried again before it is an error. Errors may carry advice ([`Advised`]).
pub(super) trait Place: Send + Sync {
    /// Where a path is, for people.
    fn path(&self, path: &str) -> PathBuf;

    /// The names at the top, or nothing if there is no such place.
    fn top(&self) -> io::Result<Option<Vec<String>>>;

    /// Makes the directories that a repository has.
    fn create(&self) -> io::Result<()>;

    /// The files of a directory, of `data` those of all below it. A directory that is missing is an
    /// error where there are directories.
    fn list(&self, directory: &str) -> io::Result<Vec<Listed>>;

    /// The size of a file.
    fn size(&self, path: &str) -> io::Result<u64>;

    /// All of a file.
    fn read(&self, path: &str) -> io::Result<Bytes>;

    /// A part of a file; one that is not there in full is an error.
    fn read_range(&self, path: &str, offset: u32, length: u32) -> io::Result<Bytes>;

    /// Writes a file; it is whole and on disk, or not there at all.
    fn write(&self, path: &str, parts: &[Bytes]) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
}

/// An error with advice, inside of an [`io::Error`].
#[derive(Debug)]
pub(crate) struct Advised {
    pub(crate) text: String,
    pub(crate) help: String,
}

impl Advised {
    /// An error of this kind that says what to do.
    pub(super) fn error(
        kind: io::ErrorKind,
        text: impl Into<String>,
        help: impl Into<String>,
    ) -> io::Error {
        let (text, help) = (text.into(), help.into());
        io::Error::new(kind, Self { text, help })
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Advised {}

/// Keeps transfers below a rate, over all threads.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes in a second.
    rate: u64,
    /// When all that was let through is paid for.
    free: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            free: Mutex::new(Instant::now()),
        }
    }

    /// Waits until that many bytes more may be sent.
    pub(super) fn wait(&self, bytes: usize) {
        let until = {
            let mut free = lock(&self.free);
            let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.rate);
            let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            *free = (*free).max(Instant::now()) + cost;
            *free
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Waits, where there is a limit.
pub(super) fn wait(pace: Option<&Pace>, bytes: usize) {
    if let Some(pace) = pace {
        pace.wait(bytes);
    }
}

/// So much is moved between two looks at the limit.
pub(super) const STRIDE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_over_all_threads() {
        let pace = Pace::new(1_000_000);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| pace.wait(50_000));
            }
        });
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
}

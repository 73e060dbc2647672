//! Locks between processes: one file each, held by flock(2), so that the kernel lets go of it whatever
//! happens to the holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_base::fs::create_dir_private;

use crate::error::{Error, ErrorKind};
use crate::progress::Progress;

/// How long to try at least: a look whether a lock is held takes it for a moment.
const GLANCE: Duration = Duration::from_millis(300);

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
}

impl Held {
    /// The lock for another process to hold as well: it is free when the last of them has ended.
    pub(crate) fn share(&self) -> std::io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }
}

fn open(directory: &Path, name: &str) -> std::io::Result<File> {
    create_dir_private(directory, 0o700)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(format!("{name}.lock")))
}

/// Takes the lock, waiting for up to `patience` while another process holds it.
pub(crate) fn acquire(
    directory: &Path,
    name: &str,
    attempt: &str,
    patience: Duration,
    progress: &dyn Progress,
) -> Result<Held, Error> {
    let path = directory.join(format!("{name}.lock"));
    let mut file = open(directory, name).map_err(|error| Error::io(attempt, &path, &error))?;
    let begun = Instant::now();
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(Error::io(attempt, &path, &error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let mut holder = String::new();
        let _ = file.seek(SeekFrom::Start(0));
        let _ = (&mut file).take(200).read_to_string(&mut holder);
        let holder = match holder.trim() {
            "" => "another process".to_owned(),
            holder => holder.to_owned(),
        };
        if progress.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                attempt,
                "the caller asked to stop",
            ));
        }
        if begun.elapsed() >= patience.max(GLANCE) {
            return Err(Error::new(
                ErrorKind::Locked,
                attempt,
                format!("{holder} is at work on it"),
            )
            .with_help(
                "wait until it is done and try again; the lock goes away with its process",
            ));
        }
        if !said && begun.elapsed() > GLANCE {
            progress.message(&format!("waiting: {holder} is at work"));
            said = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // For the message above only; nothing depends on it.
    let _ = file.set_len(0);
    let _ = file.seek(SeekFrom::Start(0));
    let _ = write!(file, "process {} ({attempt})", std::process::id());
    Ok(Held { file })
}

/// Whether a process holds the lock now.
pub(crate) fn is_held(directory: &Path, name: &str) -> bool {
    match OpenOptions::new()
        .read(true)
        .open(directory.join(format!("{name}.lock")))
    {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    #[test]
    fn a_held_lock_is_refused_and_its_holder_named() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_held(directory.path(), "x"));
        let take = || {
            acquire(
                directory.path(),
                "x",
                "run backup `x`",
                Duration::ZERO,
                &Quiet,
            )
        };
        let held = take().unwrap();
        assert!(is_held(directory.path(), "x"));
        let refused = take().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
        assert!(
            refused
                .to_string()
                .contains(&format!("process {}", std::process::id()))
        );
        drop(held);
        assert!(!is_held(directory.path(), "x"));
        take().unwrap();
    }
}

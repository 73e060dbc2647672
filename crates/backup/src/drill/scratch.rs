//! The scratch place of a drill: a private directory, held by a lock that its servers hold too.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::Error;
use crate::lock::Held;
use crate::run::Staging;

/// So long may the path of a socket be, and some more for its name (`unix(7)`: 108 bytes with the zero).
const SOCKET_PATH: usize = 100;

/// A scratch place; it is removed with this.
#[derive(Debug)]
pub(super) struct Scratch {
    // In this order: the directory goes while the lock is held.
    staging: Staging,
    lock: Held,
}

impl Scratch {
    /// An empty directory at this path, whatever was there before: only a drill that was killed can
    /// have left it, because whoever holds the lock is the only one, and its servers hold it too.
    pub(super) fn new(path: &Path, lock: Held) -> Result<Self, Error> {
        open_up(path);
        Ok(Self {
            staging: Staging::new(path)?,
            lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.staging.path()
    }

    /// A private directory in it.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io("prepare a scratch directory", &path, &error))?;
        Ok(path)
    }

    /// The lock for a program to hold: as long as one lives, nobody takes its directory away.
    pub(super) fn share_lock(&self) -> std::io::Result<OwnedFd> {
        self.lock.share()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        open_up(self.path());
    }
}

/// Makes every directory one that its owner may empty: restored ones have the modes they had.
fn open_up(directory: &Path) {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// A path to a socket in a directory that is short enough for one, wherever the directory is.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl Socket {
    pub(super) fn in_directory(directory: &Path, name: &str) -> std::io::Result<Self> {
        let path = directory.join(name);
        if path.as_os_str().len() <= SOCKET_PATH {
            return Ok(Self {
                path,
                _directory: None,
            });
        }
        let opened = rustix::fs::open(
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
        Ok(Self {
            path: Path::new("/proc/self/fd")
                .join(number.to_string())
                .join(name),
            _directory: Some(opened),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_deep_below_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let near = Socket::in_directory(root.path(), "s").unwrap();
        assert_eq!(near.path, root.path().join("s"));
        let deep = root.path().join("e".repeat(90)).join("f".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        let socket = Socket::in_directory(&deep, "s").unwrap();
        let _listener = UnixListener::bind(&socket.path).unwrap();
        assert!(deep.join("s").exists());
        let again = Socket::in_directory(&deep, "s").unwrap();
        UnixStream::connect(&again.path).unwrap();
    }
}

//! The scratch place of a drill: a private directory, held by a lock that its servers hold too.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mainstay_sys::users::{Identity, effective_uid, lookup};
use rustix::fs::{Mode, OFlags};

use crate::error::Error;
use crate::lock::Held;
use crate::run::Staging;

/// So long may the path of a socket be, and some more for its name (`unix(7)`: 108 bytes with the zero).
const SOCKET_PATH: usize = 100;

/// An account that servers run as where we are root: what they load may be made to harm them.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) identity: Identity,
}

impl Guest {
    /// The first of these accounts that there is; none where we are not root.
    pub(super) fn find(names: &[&str]) -> Option<Self> {
        if effective_uid() != 0 {
            return None;
        }
        names.iter().find_map(|name| {
            let user = lookup(name).ok().flatten()?;
            (user.identity.uid != 0).then_some(Self {
                identity: user.identity,
            })
        })
    }

    /// Makes these directories its own, with all that is in them.
    pub(super) fn take(&self, directories: &[&Path]) -> std::io::Result<()> {
        let mut left: Vec<PathBuf> = directories.iter().map(|path| path.to_path_buf()).collect();
        while let Some(path) = left.pop() {
            let who = &self.identity;
            std::os::unix::fs::lchown(&path, Some(who.uid), Some(who.gid))?;
            if fs::symlink_metadata(&path)?.is_dir() {
                for entry in fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
            }
        }
        Ok(())
    }

    /// Whether it may go through a directory (`path_resolution(7)`).
    fn may_pass(&self, directory: &fs::Metadata) -> bool {
        let (mode, who) = (directory.mode(), &self.identity);
        let shift = if directory.uid() == who.uid {
            6
        } else if directory.gid() == who.gid || who.groups.contains(&directory.gid()) {
            3
        } else {
            0
        };
        mode >> shift & 1 == 1
    }
}

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

    /// Lets a guest come to it, which itself stays ours: directories from `state` on are ours, and have nothing in them that is
    /// not closed itself. The answer is a directory above that is closed to it, if there is one.
    pub(super) fn invite(&self, guest: &Guest, state: &Path) -> std::io::Result<Option<PathBuf>> {
        for directory in self.path().ancestors() {
            let about = fs::metadata(directory)?;
            if guest.may_pass(&about) {
                continue;
            }
            if !directory.starts_with(state) {
                return Ok(Some(directory.to_owned()));
            }
            let mode = fs::Permissions::from_mode(about.mode() & 0o7777 | 0o011);
            fs::set_permissions(directory, mode)?;
        }
        Ok(None)
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

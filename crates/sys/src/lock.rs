//! A pid file that at most one process holds.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::LockError;

/// A held lock: the file exists, is locked (flock(2)) and has our pid in it.
///
/// The lock goes when the process ends, however it ends, and what is left behind is a file that the
/// next one takes over. It is not inherited by started programs. Dropping the value gives the lock
/// up and leaves the file; [`release`](Self::release) removes it.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

/// More than any pid and a newline.
const LONGEST: u64 = 32;

impl LockFile {
    /// Takes the lock and writes our pid, mode 0640, or says who has it. Never waits.
    ///
    /// Who can read a file can lock it, and so keep a daemon from its start: not everybody can.
    ///
    /// A daemon calls it after it went to the background, since a fork changes the pid. What is no
    /// pid file (a symbolic link, a directory, a file with other content) is left alone.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |doing| {
            move |source| LockError::Io {
                path: path.to_path_buf(),
                doing,
                source,
            }
        };
        let strange = |found| LockError::NotALock {
            path: path.to_path_buf(),
            found,
        };
        loop {
            // Nonblocking, in case it is something that opening would wait for.
            let opened = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o640)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(path);
            let mut file = match opened {
                Ok(file) => file,
                Err(error) => {
                    return Err(match error.raw_os_error() {
                        Some(libc::ELOOP) => strange("a symbolic link"),
                        Some(libc::EISDIR) => strange("a directory"),
                        Some(libc::ENXIO) => strange("a socket"),
                        _ => failed("open")(error),
                    });
                }
            };
            let about = file.metadata().map_err(failed("examine"))?;
            if !about.is_file() {
                return Err(strange("a special file"));
            }
            let content = read_pid(&mut file).map_err(failed("read"))?;
            if content == Content::Other {
                return Err(strange("a file with other content"));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let pid = if let Content::Pid(pid) = content {
                        Some(pid)
                    } else {
                        None
                    };
                    return Err(LockError::Held {
                        path: path.to_path_buf(),
                        pid,
                    });
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failed("lock")(errno.into())),
            }
            // The holder may have removed the file between our opening and our locking it; then we
            // hold the lock of a file that nobody else can find.
            if !is_at(&file, path).map_err(failed("examine"))? {
                continue;
            }
            let mut lock = Self {
                file,
                path: path.to_path_buf(),
            };
            lock.write_pid().map_err(failed("write"))?;
            return Ok(lock);
        }
    }

    /// As [`acquire`](Self::acquire), but a lock whose owner is dead is waited for, at most so long.
    ///
    /// After a SIGKILL such a lock is held on by a process that the owner was starting, which has a
    /// copy of the owner's descriptors from its clone to its exec. So having the lock also says that
    /// no start of the owner is half way. A lock that this process itself had a moment ago is waited
    /// for too: what another thread is starting may hold a copy.
    pub fn succeed(path: &Path, patience: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + patience;
        let own = std::process::id().cast_signed();
        loop {
            match Self::acquire(path) {
                Err(LockError::Held { pid, .. })
                    if !pid.is_some_and(|pid| pid != own && crate::proc::runs(pid))
                        && Instant::now() < until =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other,
            }
        }
    }

    /// The lock of the program that executed itself anew and became this one: the descriptor among
    /// `open` that is the file at `path`, taken out. `None`: there is no such one.
    pub fn inherit(path: &Path, open: &mut Vec<OwnedFd>) -> Option<Self> {
        let about = std::fs::symlink_metadata(path).ok()?;
        let at = open.iter().position(|fd| {
            rustix::fs::fstat(fd)
                .is_ok_and(|one| (one.st_dev, one.st_ino) == (about.dev(), about.ino()))
        })?;
        let file = File::from(open.swap_remove(at));
        // It is ours already; this only makes sure that it is a lock at all.
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    /// Gives the locked descriptor away: as long as it is open the lock is held.
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file and gives the lock up. A file that someone else has put at this path is
    /// left alone.
    pub fn release(self) -> io::Result<()> {
        // Removed while it is locked: afterwards it might be another's.
        if is_at(&self.file, &self.path)? {
            std::fs::remove_file(&self.path)
        } else {
            Ok(())
        }
    }

    fn write_pid(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        // In this order there is no moment with a wrong number in it: at worst it is empty.
        self.file.set_len(0)?;
        self.file
            .write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

/// The locked descriptor, close-on-exec: a program that executes itself anew keeps the lock by
/// keeping this one open ([`set_cloexec`](crate::pipe::set_cloexec)).
impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Empty,
    Pid(i32),
    Other,
}

fn read_pid(file: &mut File) -> io::Result<Content> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(classify(&bytes))
}

fn classify(bytes: &[u8]) -> Content {
    if bytes.len() as u64 > LONGEST {
        return Content::Other;
    }
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok("") => Content::Empty,
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_or(Content::Other, Content::Pid)
        }
        _ => Content::Other,
    }
}

/// Whether the open file is the one that the path leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_counts_as_a_pid_file() {
        for (bytes, want) in [
            (&b""[..], Content::Empty),
            (b"\n", Content::Empty),
            (b"12\n", Content::Pid(12)),
            (b" 12", Content::Pid(12)),
            (b"12 13\n", Content::Other),
            (b"root:x:0:0\n", Content::Other),
            (b"99999999999\n", Content::Other),
            (b"111111111111111111111111111111111", Content::Other),
            (b"\xff", Content::Other),
        ] {
            assert_eq!(classify(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.pid");
        let first = LockFile::acquire(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        let error = LockFile::acquire(&path).unwrap_err();
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(
            matches!(&error, LockError::Held { pid: Some(pid), .. } if *pid == me),
            "{error}"
        );
        drop(first);
        assert!(path.exists(), "only a release removes it");
        fs::write(&path, b"999999999").unwrap();
        let second = LockFile::acquire(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id()),
            "the old pid is gone"
        );
        second.release().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_another_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.pid");
        let ours = LockFile::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = LockFile::acquire(&path).unwrap();
        ours.release().unwrap();
        assert!(path.exists());
        theirs.release().unwrap();
        assert!(!path.exists());
        let gone = LockFile::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        gone.release().unwrap();
    }

    #[test]
    fn what_is_no_pid_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("notes"), "buy milk\n").unwrap();
        fs::write(at("target"), "").unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["notes", "link", "dir", "socket"] {
            let error = LockFile::acquire(&at(name)).unwrap_err();
            assert!(
                matches!(error, LockError::NotALock { .. }),
                "{name}: {error}"
            );
        }
        assert_eq!(fs::read_to_string(at("notes")).unwrap(), "buy milk\n");
        let error = LockFile::acquire(&at("missing/m.pid")).unwrap_err();
        assert!(
            matches!(error, LockError::Io { doing: "open", .. }),
            "{error}"
        );
    }

    #[test]
    fn many_who_come_and_go_never_hold_it_together() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.pid");
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while turns.load(Ordering::SeqCst) < 200 {
                        match LockFile::acquire(&path) {
                            Ok(lock) => {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                                turns.fetch_add(1, Ordering::SeqCst);
                                inside.fetch_sub(1, Ordering::SeqCst);
                                lock.release().unwrap();
                            }
                            Err(LockError::Held { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        });
    }
}

//! What the path of a log leads to: a plain file, a device, a pipe, or a descriptor that this
//! process has already. Opened so that no write to it ever waits.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// How many symbolic links are followed, at most, as by the kernel.
const LINKS: usize = 40;
/// What a terminal takes in one go that says it takes something.
const MORSEL: usize = 256;

/// An open log.
pub(crate) struct Target {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    pub(crate) door: Door,
}

/// How bytes get into a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// A plain file that has the path as its name: it has offsets, it can roll.
    Plain,
    /// Bytes follow one another and that is all. A write to it does not wait.
    Stream,
    /// The same, but the open file is shared with others who expect to wait, so that each write has
    /// to ask not to.
    Shared,
}

impl Door {
    pub(crate) fn is_plain(self) -> bool {
        self == Self::Plain
    }
}

/// Opens the log at its end, and creates it and the directories above it where they are not.
///
/// `/dev/stdout`, `/dev/stderr`, `/dev/fd/N`, `/proc/self/fd/N` and links to them are no files of
/// that name, whatever is behind them: what they lead to belongs to whoever started this process. It
/// is written to where it is, after what others wrote there, and is never rolled or cut.
pub(crate) fn open(path: &Path) -> io::Result<Target> {
    // What is there nearly always costs one call: neither a descriptor, nor a link, nor missing
    // directories.
    if let Some(number) = named_descriptor(path) {
        return open_own(number);
    }
    let create = |more: OFlags| {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | more;
        options()
            .create(true)
            .truncate(false)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    let mut opened = create(OFlags::NOFOLLOW);
    if let Err(error) = &opened
        && error.kind() == io::ErrorKind::NotFound
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(parent_of(path))?;
        opened = create(OFlags::NOFOLLOW);
    }
    if let Err(error) = &opened
        && error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
    {
        if let Some(number) = own_descriptor(path) {
            return open_own(number);
        }
        opened = create(OFlags::empty());
    }
    let file = opened?;
    let metadata = file.metadata()?;
    let door = if metadata.is_file() {
        Door::Plain
    } else {
        Door::Stream
    };
    Ok(Target {
        file,
        metadata,
        door,
    })
}

/// Opens to write anywhere and to read back what is at the end. Never blocks, not even on a FIFO.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o640);
    options
}

pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn open_own(number: i32) -> io::Result<Target> {
    let shared = File::from(mainstay_sys::pipe::duplicate(number)?);
    if rustix::fs::fcntl_getfl(&shared)? & OFlags::ACCMODE == OFlags::RDONLY {
        // A pipe would let us open its other end, which nobody meant.
        return Err(Errno::BADF.into());
    }
    let metadata = shared.metadata()?;
    let kind = metadata.file_type();
    if kind.is_file() {
        // The offset is shared too, so that all who write there write one after another. Writing to
        // a plain file does not wait.
        return Ok(Target {
            file: shared,
            metadata,
            door: Door::Stream,
        });
    }
    if kind.is_fifo() || kind.is_char_device() {
        // An open file of our own may be nonblocking; to make theirs so would break their writes.
        // Refused where another user made it.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let own = OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(format!("/proc/self/fd/{number}"));
        if let Ok(file) = own {
            return Ok(Target {
                file,
                metadata,
                door: Door::Stream,
            });
        }
    }
    Ok(Target {
        file: shared,
        metadata,
        door: Door::Shared,
    })
}

/// Whether the kernel moves bytes there by itself, and without waiting when it is asked to.
///
/// Sockets and terminals wait in a splice if their open file says so. A plain file that is reached
/// through a descriptor is not spliced to, because that moves a shared offset without its lock.
pub(crate) fn splices(target: &Target) -> bool {
    let kind = target.metadata.file_type();
    match target.door {
        Door::Plain => true,
        Door::Stream => kind.is_fifo() || kind.is_char_device(),
        Door::Shared => kind.is_fifo(),
    }
}

/// Writes what fits now; `WouldBlock` when that is nothing.
pub(crate) fn write_at_once(file: &File, data: &[u8]) -> rustix::io::Result<usize> {
    // Offset -1: where the file is. Pipes and sockets know this flag, terminals do not.
    let slices = [io::IoSlice::new(data)];
    match rustix::io::pwritev2(file, &slices, u64::MAX, ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {}
        other => return other,
    }
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&now))? == 0 {
        return Err(Errno::AGAIN);
    }
    rustix::io::write(file, &data[..data.len().min(MORSEL)])
}

/// The number of the descriptor of this process that the path means, if it means one.
fn own_descriptor(path: &Path) -> Option<i32> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Some(number) = named_descriptor(&path) {
            return Some(number);
        }
        let link = fs::read_link(&path).ok()?;
        path = parent_of(&path).join(link);
    }
    None
}

fn named_descriptor(path: &Path) -> Option<i32> {
    match path.to_str()? {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    if !path.starts_with("/dev/fd") && !path.starts_with("/proc") {
        return None;
    }
    let directories: [PathBuf; 4] = [
        "/dev/fd".into(),
        "/proc/self/fd".into(),
        "/proc/thread-self/fd".into(),
        format!("/proc/{}/fd", std::process::id()).into(),
    ];
    if !directories
        .iter()
        .any(|directory| path.parent() == Some(directory))
    {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let number: i32 = name.parse().ok()?;
    (number >= 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_paths_are_descriptors() {
        let table: [(&str, Option<i32>); 9] = [
            ("/dev/stdout", Some(1)),
            ("/dev/stderr", Some(2)),
            ("/dev/fd/7", Some(7)),
            ("/proc/self/fd/12", Some(12)),
            ("/dev/fd/-1", None),
            ("/dev/fd/x", None),
            ("/dev/fd", None),
            ("/dev/null", None),
            ("/var/log/stdout", None),
        ];
        for (path, expected) in table {
            assert_eq!(named_descriptor(Path::new(path)), expected, "{path}");
        }
    }

    /// Open files that wait, as a shell hands them down.
    #[test]
    fn a_write_to_what_is_shared_does_not_wait() {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let (_read, pipe) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut all: Vec<(&str, std::os::fd::OwnedFd)> =
            vec![("pipe", pipe), ("socket", socket.into())];
        let mut masters = Vec::new();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        if let Ok(master) = openpt(flags) {
            grantpt(&master).unwrap();
            unlockpt(&master).unwrap();
            all.push(("terminal", ioctl_tiocgptpeer(&master, flags).unwrap()));
            masters.push(master);
        }
        for (name, fd) in all {
            let file = File::from(fd);
            let mut written = 0;
            let error = loop {
                match write_at_once(&file, &[b'x'; 1000]) {
                    Ok(bytes) => written += bytes,
                    Err(error) => break error,
                }
            };
            assert_eq!(error, Errno::AGAIN, "{name}");
            assert!(written > 0, "{name}");
        }
    }

    #[test]
    fn links_to_descriptors_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.log"), dir.path().join("b.log"));
        std::os::unix::fs::symlink("/dev/stderr", &first).unwrap();
        std::os::unix::fs::symlink("a.log", &second).unwrap();
        assert_eq!(own_descriptor(&second), Some(2));
        let round = dir.path().join("round");
        std::os::unix::fs::symlink("round", &round).unwrap();
        assert_eq!(own_descriptor(&round), None);
    }
}

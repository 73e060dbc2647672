//! Pipes between a program and its log that outlive the daemon, and moving bytes out of them
//! without a copy.
//!
//! The moves take a descriptor of the reading end, never block (`SPLICE_F_NONBLOCK`), and share one
//! meaning: `Ok(0)` is the end of the input, `WouldBlock` means that there is nothing now.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, openat};
use rustix::io::{DupFlags, Errno, FdFlags, dup3, fcntl_getfd, fcntl_setfd};
use rustix::path::DecInt;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use crate::call::{check, retry};

/// The room of a pipe for the output of a program, once there is some: what an unprivileged process may have at
/// most, by default.
pub const CAPTURE_SIZE: usize = 1 << 20;

/// A pipe for the output of a program: (our reading end, nonblocking; the writing end for the
/// program). Both are close-on-exec.
///
/// The writing end is open for reading too. Whoever holds it therefore always has a reader, itself:
/// when the daemon dies the program gets no `SIGPIPE`, its output stays in the pipe, and it waits
/// when that is full, until the next daemon reads on ([`reopen_reader`]). The end of the input
/// still comes when the last holder of a writing end is gone, so close ours after the spawn.
///
/// For `size` in bytes see [`enlarge`]; with 0 it is as large as the system makes pipes.
pub fn capture_pipe(size: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    if size > 0 {
        enlarge(&reader, size);
    }
    // Another open file: programs expect to wait.
    let both = reopen(&writer, OFlags::RDWR)?;
    Ok((reader, both))
}

/// A pipe for the input of a program: (our writing end, nonblocking; the reading end for the
/// program). Both are close-on-exec.
///
/// The reading end is open for writing too. Whoever holds it therefore always has a writer, itself:
/// when the daemon dies the program does not come to the end of its input, and the next daemon goes
/// on writing ([`reopen_writer`]).
pub fn input_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let both = reopen(&reader, OFlags::RDWR)?;
    Ok((writer, both))
}

/// Gives a pipe room for `size` bytes, or for as much as the kernel grants: it is halved until it
/// does, since an unprivileged user's pipes are limited in sum (pipe(7)). What is in it stays. A pipe
/// that could not grow works the same, only with less room; see [`capacity`].
///
/// The kernel keeps 10 KiB for the book-keeping of a large pipe, so that this pays only for one that
/// is written to. Returns what the pipe holds now, or 0 where that is not known.
pub fn enlarge(pipe: impl AsFd, mut size: usize) -> usize {
    const SMALLEST_GAIN: usize = 128 * 1024;
    while size >= SMALLEST_GAIN {
        match fcntl_setpipe_size(&pipe, size) {
            Err(Errno::PERM | Errno::NOMEM | Errno::INVAL) => size /= 2,
            _ => break,
        }
    }
    capacity(pipe).unwrap_or(0)
}

/// A new open file of the same object, with other flags.
fn reopen(fd: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut mirror = MIRROR.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = mirror.take().filter(|it| it.owner == std::process::id());
    let mut paved = ours.map_or_else(Mirror::new, Ok)?;
    // After an error the next one begins anew.
    let opened = paved.open(fd.as_fd(), flags)?;
    *mirror = Some(paved);
    Ok(opened)
}

/// A way to the open files of this process that is paved already: `/proc/self/fd`, and one number in it
/// that stands for whatever is to be reopened. Three pipes are reopened at each birth, and a number that
/// the kernel has not looked up before costs as much again as the opening.
struct Mirror {
    /// Whose it is: of no use to a fork of this process.
    owner: u32,
    directory: OwnedFd,
    null: OwnedFd,
    place: OwnedFd,
}

impl Mirror {
    fn new() -> io::Result<Self> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let null: OwnedFd = (File::options().read(true).write(true))
            .open("/dev/null")?
            .into();
        Ok(Self {
            owner: std::process::id(),
            directory: openat(CWD, "/proc/self/fd", directory, Mode::empty())?,
            place: null.try_clone()?,
            null,
        })
    }

    fn open(&mut self, fd: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
        dup3(fd, &mut self.place, DupFlags::CLOEXEC)?;
        let name = DecInt::from_fd(&self.place);
        let opened = openat(&self.directory, name, flags, Mode::empty());
        // Or it would hold the pipe open.
        dup3(&self.null, &mut self.place, DupFlags::CLOEXEC)?;
        Ok(opened?)
    }
}

static MIRROR: Mutex<Option<Mirror>> = Mutex::new(None);

/// Opens for reading the pipe that a running process has as its descriptor `fd`, nonblocking, and
/// says which it is ([`inode`]): the caller compares that with its notes before it believes that
/// this is the pipe it made.
///
/// `InvalidData` when the descriptor is not a pipe; `NotFound` when the process or the descriptor
/// is gone; `PermissionDenied` when it runs as another user and we lack `CAP_SYS_PTRACE`, which
/// containers often drop.
pub fn reopen_reader(pid: i32, fd: i32) -> io::Result<(OwnedFd, u64)> {
    reopen_of(pid, fd, OFlags::RDONLY)
}

/// Opens for writing the pipe that a running process has as its descriptor `fd`, as
/// [`reopen_reader`] does for reading.
pub fn reopen_writer(pid: i32, fd: i32) -> io::Result<(OwnedFd, u64)> {
    reopen_of(pid, fd, OFlags::WRONLY)
}

fn reopen_of(pid: i32, fd: i32, flags: OFlags) -> io::Result<(OwnedFd, u64)> {
    // First only a handle, which has no effect on whatever the process has put there: opening a
    // device or a terminal may do something.
    let path = format!("/proc/{pid}/fd/{fd}");
    let handle = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let about = fstat(&handle)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::Fifo {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("descriptor {fd} of process {pid} is no pipe"),
        ));
    }
    Ok((reopen(&handle, flags | OFlags::NONBLOCK)?, about.st_ino))
}

/// A second descriptor of what this process has open as descriptor `number`, close-on-exec: what a
/// config means by `/dev/stdout`. `EBADF` when nothing is open under that number.
///
/// Both are the same open file: they share its offset and its flags.
pub fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // Above the standard streams, also when these are closed.
    const LEAST: libc::c_int = 3;
    // SAFETY: F_DUPFD_CLOEXEC takes integers only and changes no descriptor there is; a number that
    // is not open is refused by the kernel.
    let fd = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, LEAST) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number that names a pipe as long as it exists.
pub fn inode(pipe: impl AsFd) -> io::Result<u64> {
    Ok(fstat(pipe)?.st_ino)
}

/// How many bytes the pipe can hold.
pub fn capacity(pipe: impl AsFd) -> io::Result<usize> {
    Ok(fcntl_getpipe_size(pipe)?)
}

/// How many bytes are in the pipe now.
pub fn bytes_readable(pipe: impl AsFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(pipe)?)
}

/// Moves up to `max` bytes from the pipe into the file at `offset`, inside the kernel: a daemon
/// that is killed has either moved them or left them in the pipe, never lost them.
///
/// The file must not be open for appending (`EINVAL`); its own position is not used and not
/// changed. On `ENOSPC` what was not written is still in the pipe.
pub fn splice_to_file(
    pipe: impl AsFd,
    file: impl AsFd,
    offset: u64,
    max: usize,
) -> io::Result<usize> {
    let mut at = offset;
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    retry(|| {
        Ok(rustix::pipe::splice(
            &pipe,
            None,
            &file,
            Some(&mut at),
            max,
            flags,
        )?)
    })
}

/// Duplicates up to `max` bytes from one pipe into another; they stay in the first. `WouldBlock`
/// also when the second is full.
pub fn tee(from: impl AsFd, to: impl AsFd, max: usize) -> io::Result<usize> {
    retry(|| Ok(rustix::pipe::tee(&from, &to, max, SpliceFlags::NONBLOCK)?))
}

/// Throws away up to `max` bytes of the pipe and says how many. Less than `max` may be more than
/// nothing is left: ask again until it would block.
pub fn discard(pipe: impl AsFd, max: usize) -> io::Result<usize> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    retry(|| {
        Ok(rustix::pipe::splice(
            &pipe,
            None,
            &nowhere,
            None,
            max,
            SpliceFlags::NONBLOCK,
        )?)
    })
}

/// Whether reads and writes return `WouldBlock` instead of waiting. It holds for the open file, so
/// for everybody who shares it.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(&fd)?;
    flags.set(OFlags::NONBLOCK, on);
    Ok(fcntl_setfl(&fd, flags)?)
}

/// Whether the descriptor is closed when this process executes another program.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = fcntl_getfd(&fd)?;
    flags.set(FdFlags::CLOEXEC, on);
    Ok(fcntl_setfd(&fd, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn would_block<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn both_ends_are_ours_until_the_writer_is_closed() {
        let (reader, writer) = capture_pipe(CAPTURE_SIZE).unwrap();
        assert!(capacity(&reader).unwrap() >= 64 * 1024);
        assert_eq!(inode(&reader).unwrap(), inode(&writer).unwrap());
        assert!(fcntl_getfd(&reader).unwrap().contains(FdFlags::CLOEXEC));
        assert!(fcntl_getfd(&writer).unwrap().contains(FdFlags::CLOEXEC));
        assert!(
            !fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK),
            "programs expect to wait"
        );
        let (mut reader, mut writer) = (File::from(reader), File::from(writer));
        writer.write_all(b"hello").unwrap();
        assert_eq!(bytes_readable(&reader).unwrap(), 5);
        let mut buffer = [0; 16];
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        assert!(would_block(reader.read(&mut buffer)));
        drop(writer);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_size_beyond_the_limit_is_halved_and_not_refused() {
        let (reader, _writer) = capture_pipe(1 << 40).unwrap();
        assert!(capacity(&reader).unwrap() >= 64 * 1024);
    }

    #[test]
    fn a_duplicate_is_the_same_open_file() {
        use std::os::fd::AsRawFd as _;
        let (reader, writer) = capture_pipe(0).unwrap();
        let second = duplicate(writer.as_raw_fd()).unwrap();
        assert!(fcntl_getfd(&second).unwrap().contains(FdFlags::CLOEXEC));
        File::from(second).write_all(b"x").unwrap();
        assert_eq!(bytes_readable(&reader).unwrap(), 1);
        let error = duplicate(i32::MAX).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn splice_moves_to_the_offset_and_keeps_the_order() {
        let (reader, writer) = capture_pipe(CAPTURE_SIZE).unwrap();
        let mut writer = File::from(writer);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"head").unwrap();
        let mut offset = 4;
        let mut want = b"head".to_vec();
        for number in 0..2000_u32 {
            let line = format!("line {number}\n");
            writer.write_all(line.as_bytes()).unwrap();
            want.extend(line.as_bytes());
            if number % 7 == 0 {
                offset += splice_to_file(&reader, &file, offset, 13).unwrap() as u64;
            }
        }
        loop {
            match splice_to_file(&reader, &file, offset, 4096) {
                Ok(count) => offset += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        drop(writer);
        assert_eq!(
            splice_to_file(&reader, &file, offset, 10).unwrap(),
            0,
            "the end of the input"
        );
        let mut got = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut got).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn splice_refuses_a_file_open_for_appending() {
        let (reader, writer) = capture_pipe(0).unwrap();
        File::from(writer).write_all(b"x").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let appending = File::options().append(true).open(file.path()).unwrap();
        let error = splice_to_file(&reader, &appending, 0, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert_eq!(bytes_readable(&reader).unwrap(), 1, "nothing is lost");
    }

    #[test]
    fn tee_leaves_what_it_copies_and_discard_does_not() {
        let (reader, writer) = capture_pipe(0).unwrap();
        let (copy, into) = capture_pipe(0).unwrap();
        let mut writer = File::from(writer);
        assert!(would_block(tee(&reader, &into, 100)));
        assert!(would_block(discard(&reader, 100)));
        writer.write_all(b"0123456789").unwrap();
        assert_eq!(tee(&reader, &into, 4).unwrap(), 4);
        assert_eq!(bytes_readable(&reader).unwrap(), 10);
        let mut buffer = [0; 16];
        assert_eq!(File::from(copy).read(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"0123");
        assert_eq!(discard(&reader, 3).unwrap(), 3);
        assert_eq!(discard(&reader, 100).unwrap(), 7);
        drop(writer);
        assert_eq!(discard(&reader, 1).unwrap(), 0, "the end of the input");
    }
}

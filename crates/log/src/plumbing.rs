//! Bytes between pipes and files without passing through this process: what `mainstay_sys::pipe`
//! does, with its three outcomes told apart, and a look that takes nothing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mainstay_sys::pipe;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// What moving bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing is there now.
    Empty,
    /// Nothing is there and nobody has the other end open.
    End,
}

fn moved(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::Empty),
        Err(error) => Err(error),
    }
}

/// Moves at most `max` bytes from the pipe into the file at `offset`. What cannot be spliced to gives
/// `EINVAL` (splice(2)).
pub(crate) fn splice(
    pipe: BorrowedFd<'_>,
    file: &File,
    offset: u64,
    max: usize,
) -> io::Result<Moved> {
    moved(pipe::splice_to_file(pipe, file, offset, max))
}

/// Moves at most `max` bytes from the pipe to what has no offsets: a pipe, a device. `WouldBlock` when
/// that takes nothing now.
pub(crate) fn splice_on(pipe: BorrowedFd<'_>, to: &File, max: usize) -> io::Result<Moved> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let splice = || {
        let result = retry_on_intr(|| rustix::pipe::splice(pipe, None, to, None, max, flags));
        moved(result.map_err(io::Error::from))
    };
    match splice()? {
        // Either of the two ends may be meant. Bytes that are there do not go away meanwhile, so that
        // a second time it is the other end.
        Moved::Empty if waiting(pipe)? > 0 => match splice()? {
            Moved::Empty => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        },
        other => Ok(other),
    }
}

/// Takes at most `max` bytes out of the pipe, into `scratch`: where it holds so many, a kill of this
/// process falls before or after all of them.
///
/// That is why this is a read and no splice to `/dev/null`: the kernel looks for signals between two
/// pages of a splice, and not within a read that finds bytes.
pub(crate) fn take(pipe: BorrowedFd<'_>, scratch: &mut Vec<u8>, max: usize) -> io::Result<Moved> {
    if scratch.len() < max {
        scratch.resize(max, 0);
    }
    let read = retry_on_intr(|| rustix::io::read(pipe, &mut scratch[..max]));
    moved(read.map_err(io::Error::from))
}

/// The place where bytes go that nobody wants, open while there are such.
#[derive(Debug, Default)]
pub(crate) struct Nowhere(Option<File>);

impl Nowhere {
    pub(crate) fn splice(&mut self, pipe: BorrowedFd<'_>, max: usize) -> io::Result<Moved> {
        let file = match self.0.take() {
            Some(file) => file,
            None => File::options().write(true).open("/dev/null")?,
        };
        splice_on(pipe, self.0.insert(file), max)
    }
}

/// Whether nobody has the writing end open any more.
pub(crate) fn hung_up(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    poll(&mut fds, Some(&NOW)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Whether a writer would get anything into the pipe now.
///
/// A pipe is full when it has no free page, and small writes do not fill pages: the number of bytes
/// in it does not tell. Only a writing end can be asked; it is opened for a moment.
pub(crate) fn is_writable(pipe: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(end) = rustix::fs::open(path, flags, Mode::empty()) else {
        return true;
    };
    let mut fds = [PollFd::new(&end, PollFlags::OUT)];
    poll(&mut fds, Some(&NOW)).is_ok_and(|ready| ready > 0)
}

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Drops at most `max` bytes and says how many; less only when no more are there.
pub(crate) fn discard(pipe: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
    let mut dropped = 0;
    while dropped < max {
        match moved(pipe::discard(pipe, max - dropped))? {
            Moved::Bytes(bytes) => dropped += bytes,
            Moved::Empty | Moved::End => break,
        }
    }
    Ok(dropped)
}

/// Bytes waiting in the pipe.
pub(crate) fn waiting(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(usize::try_from(pipe::bytes_readable(pipe)?).unwrap_or(usize::MAX))
}

/// How many bytes the pipe can hold.
pub(crate) fn capacity(pipe: BorrowedFd<'_>) -> usize {
    pipe::capacity(pipe).unwrap_or(64 * 1024)
}

/// A look at what is in a pipe that takes nothing out of it.
///
/// tee(2) copies references to the pipe's pages into a second pipe, and only that one is read: if
/// the process is killed at any moment, the first pipe still holds all.
#[derive(Debug)]
pub(crate) struct Periscope {
    read: OwnedFd,
    write: OwnedFd,
    buffer: Vec<u8>,
}

impl Periscope {
    /// Sees up to `size` bytes at once, as far as the system allows pipes of that size.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        if size > 64 * 1024 {
            // Over the user's limit of pipe pages this fails, and less is seen at once.
            let _ = rustix::pipe::fcntl_setpipe_size(&write, size);
        }
        Ok(Self {
            read,
            write,
            buffer: Vec::new(),
        })
    }

    /// Looks at the first bytes of the pipe, at most `max`; `see` gets what is there.
    pub(crate) fn look(&mut self, pipe: BorrowedFd<'_>, max: usize) -> io::Result<Moved> {
        self.buffer.clear();
        let copied = match moved(pipe::tee(pipe, self.write.as_fd(), max))? {
            Moved::Bytes(copied) => copied,
            nothing => return Ok(nothing),
        };
        self.buffer.resize(copied, 0);
        let mut seen = 0;
        while seen < copied {
            let read = retry_on_intr(|| rustix::io::read(&self.read, &mut self.buffer[seen..]));
            match moved(read.map_err(io::Error::from))? {
                Moved::Bytes(bytes) => seen += bytes,
                Moved::Empty | Moved::End => break,
            }
        }
        self.buffer.truncate(seen);
        Ok(Moved::Bytes(seen))
    }

    /// Takes at most `max` bytes out of the pipe, see [`take`]. What was seen is gone from here.
    pub(crate) fn take(&mut self, pipe: BorrowedFd<'_>, max: usize) -> io::Result<Moved> {
        let result = take(pipe, &mut self.buffer, max);
        self.buffer.clear();
        result
    }

    /// What the last look saw.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.buffer
    }
}

//! Bytes between pipes and files without passing through this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
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

fn moved(result: Result<usize, Errno>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(Errno::AGAIN) => Ok(Moved::Empty),
        Err(errno) => Err(errno.into()),
    }
}

/// Moves at most `max` bytes from the pipe into the file, at `offset` or, for what has no offsets,
/// at its end. A file opened with `O_APPEND` gives `EINVAL` (splice(2)).
pub(crate) fn splice(
    pipe: BorrowedFd<'_>,
    file: &File,
    offset: Option<u64>,
    max: usize,
) -> io::Result<Moved> {
    moved(retry_on_intr(|| {
        let mut at = offset;
        rustix::pipe::splice(
            pipe,
            None,
            file,
            at.as_mut(),
            max,
            SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
        )
    }))
}

/// Reads and drops at most `max` bytes.
pub(crate) fn discard(pipe: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let mut dropped = 0;
    while dropped < max {
        let part = buffer.len().min(max - dropped);
        match moved(retry_on_intr(|| {
            rustix::io::read(pipe, &mut buffer[..part])
        }))? {
            Moved::Bytes(bytes) => dropped += bytes,
            Moved::Empty | Moved::End => break,
        }
    }
    Ok(dropped)
}

/// Bytes waiting in the pipe.
pub(crate) fn waiting(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let bytes = rustix::io::ioctl_fionread(pipe)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// How many bytes the pipe can hold.
pub(crate) fn capacity(pipe: BorrowedFd<'_>) -> usize {
    rustix::pipe::fcntl_getpipe_size(pipe).unwrap_or(64 * 1024)
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
        let copied = match moved(retry_on_intr(|| {
            rustix::pipe::tee(pipe, self.write.as_fd(), max, SpliceFlags::NONBLOCK)
        }))? {
            Moved::Bytes(copied) => copied,
            nothing => return Ok(nothing),
        };
        self.buffer.resize(copied, 0);
        let mut seen = 0;
        while seen < copied {
            match moved(retry_on_intr(|| {
                rustix::io::read(&self.read, &mut self.buffer[seen..])
            }))? {
                Moved::Bytes(bytes) => seen += bytes,
                Moved::Empty | Moved::End => break,
            }
        }
        self.buffer.truncate(seen);
        Ok(Moved::Bytes(seen))
    }

    /// What the last look saw.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.buffer
    }
}

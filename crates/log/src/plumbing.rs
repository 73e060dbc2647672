//! Bytes between pipes and files without passing through this process: what `mainstay_sys::pipe`
//! does, with its three outcomes told apart, and a look that takes nothing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mainstay_sys::pipe;
use rustix::io::retry_on_intr;
use rustix::pipe::PipeFlags;

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

    /// What the last look saw.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.buffer
    }
}

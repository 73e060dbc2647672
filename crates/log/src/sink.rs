//! Where formatted records land.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::batch::{Batch, Entry, Unwritten};
use crate::error::{Error, Notice};
use crate::record::Stream;
use crate::rolling::RollingFile;

/// A place where records land, already formatted.
///
/// A sink is called by one thread at a time. It must not log (the record would come back to it), and
/// where it is not behind a queue it must not wait for anything but the local disk.
pub trait Sink: Send {
    /// Takes formatted records: one, in the thread that writes it, or behind a queue as many as came
    /// together.
    ///
    /// What an error leaves over is given again later behind a queue. Otherwise it is lost; who calls
    /// counts the loss, and tells the sink in a record of its own when it works again.
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten>;

    /// Hands on what is held back, as far as that can be done now. After an error a sink behind a
    /// queue is asked again later, also when no record comes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Opens again what may have been moved away.
    fn reopen(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes what a person should know about this sink.
    fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }

    /// Takes how many records were lost for good since the last call, by level, trace first: refused
    /// by the peer, pushed out of a spool. What [`Sink::write`] leaves over is not among them. They
    /// are said in notices too.
    fn take_lost(&mut self) -> [u64; 6] {
        [0; 6]
    }

    /// Where a dying process can still write what waits for this sink, as it is.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A rolling file, or with [`Retention::NONE`](crate::Retention::NONE) a plain one.
impl Sink for RollingFile {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        RollingFile::write(self, batch.bytes()).map_err(|error| Unwritten {
            taken: error.written,
            error: error.error,
        })
    }

    fn reopen(&mut self) -> Result<(), Error> {
        RollingFile::reopen(self)
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        RollingFile::take_notices(self)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(RollingFile::descriptor(self))
    }
}

/// How many bytes wait for a console that does not take any.
const PENDING: usize = 256 * 1024;
/// As many bytes a pipe takes at once when poll(2) says that it takes any (`PIPE_BUF`).
const ATOMIC: usize = 4096;
/// How long a flush waits for the console, in all.
const FLUSH_MILLIS: i64 = 200;

/// The process's standard error or output.
///
/// Never waits: a terminal that is stopped, or a pipe nobody reads, would otherwise stop whoever
/// logs. Up to 256 KiB are held back for it, and what is more is an error, that is a counted loss.
#[derive(Debug)]
pub struct Console<F = StandardStream> {
    out: F,
    pending: VecDeque<u8>,
}

/// One of the process's own output streams.
#[derive(Debug)]
pub enum StandardStream {
    /// Standard output.
    Stdout(io::Stdout),
    /// Standard error.
    Stderr(io::Stderr),
    /// The terminal that one of them is, opened once more for ourselves.
    Terminal(OwnedFd),
}

impl AsFd for StandardStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout(stdout) => stdout.as_fd(),
            Self::Stderr(stderr) => stderr.as_fd(),
            Self::Terminal(terminal) => terminal.as_fd(),
        }
    }
}

impl Console {
    /// This stream of the process.
    pub fn standard(stream: Stream) -> Self {
        let standard = match stream {
            Stream::Stdout => StandardStream::Stdout(io::stdout()),
            Stream::Stderr => StandardStream::Stderr(io::stderr()),
        };
        Self::new(match terminal(standard.as_fd()) {
            Some(terminal) => StandardStream::Terminal(terminal),
            None => standard,
        })
    }
}

/// The terminal behind a descriptor, so that writing to it never waits.
///
/// A terminal that takes one byte is writable for poll(2), and a write of more then waits for the
/// rest. Only a description of our own can be told not to: the one we were given is shared with the
/// shell that started us.
fn terminal(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    if !rustix::termios::isatty(stream) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

impl<F: AsFd + Send> Console<F> {
    /// Anything with a descriptor that can be polled.
    pub fn new(out: F) -> Self {
        Self {
            out,
            pending: VecDeque::new(),
        }
    }

    /// Bytes that are held back until the console takes them; [`Sink::flush`] tries for a moment.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Writes as much of `bytes` as goes without waiting, at most `wait` for each part.
    fn write_now(&self, bytes: &[u8], wait_millis: i64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() && self.is_writable(wait_millis)? {
            let part = &bytes[done..bytes.len().min(done + ATOMIC)];
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.out, part)) {
                Ok(written) => done += written,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    fn is_writable(&self, wait_millis: i64) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.out, PollFlags::OUT)];
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: wait_millis * 1_000_000,
        };
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&wait)))?;
        // On an error the write says which one it is.
        Ok(ready > 0)
    }

    fn write_one(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_pending(0)?;
        let done = if self.pending.is_empty() {
            self.write_now(line, 0)?
        } else {
            0
        };
        if done == 0 && self.pending.len() + line.len() > PENDING {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "the console takes no more",
            ));
        }
        // A line of which a part is written is completed, whatever its size.
        self.pending.extend(&line[done..]);
        Ok(())
    }

    fn write_pending(&mut self, wait_millis: i64) -> io::Result<()> {
        while !self.pending.is_empty() {
            let (head, _) = self.pending.as_slices();
            // On an error all is kept for the next try: it is little, and nothing is lost unsaid.
            match self.write_now(head, wait_millis)? {
                0 => break,
                written => drop(self.pending.drain(..written)),
            }
        }
        Ok(())
    }
}

impl<F: AsFd + Send> Sink for Console<F> {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let mut taken = 0;
        for Entry { bytes, .. } in batch.entries() {
            self.write_one(bytes)
                .map_err(|error| Unwritten { taken, error })?;
            taken += bytes.len();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_pending(FLUSH_MILLIS)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.out.as_fd())
    }
}

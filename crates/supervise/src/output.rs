//! The output of one process stream: the pipes it comes from and the file it goes to.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mainstay_log::{Capture, Finish, Notice, Progress};
use mainstay_sys::epoll::Interest;
use mainstay_sys::{Epoll, pipe};

use crate::pace::Pace;

/// How much is asked for where nothing more is expected.
const LAST_BYTES: usize = 64 * 1024;

/// A pipe that a process writes into.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) fd: OwnedFd,
    pub(crate) inode: u64,
    pub(crate) token: u64,
    /// Whether it is out of the epoll set, because its file cannot be written.
    pub(crate) paused: bool,
    /// What it holds; 0 until it has been given the room for a burst, which is at its first byte, since
    /// many never write.
    capacity: usize,
    /// Whether it is watched for edges, because it has bytes that nobody can decide on yet.
    edges: bool,
}

impl Pipe {
    /// A pipe that has been added to the epoll set with this token.
    pub(crate) fn new(fd: OwnedFd, inode: u64, token: u64) -> Self {
        Self {
            fd,
            inode,
            token,
            paused: false,
            capacity: 0,
            edges: false,
        }
    }

    /// Watches it as it is to be watched after this progress.
    pub(crate) fn watch(&mut self, epoll: &Epoll, progress: Progress) {
        let edges = progress == Progress::Undecided;
        let interest = if edges {
            Interest::READ_EDGE
        } else {
            Interest::READ
        };
        if self.edges != edges
            && !self.paused
            && epoll.modify(&self.fd, self.token, interest).is_ok()
        {
            self.edges = edges;
        }
    }

    /// Takes it out of the epoll set for now: that reports a hang-up whatever one asks for.
    pub(crate) fn pause(&mut self, epoll: &Epoll) {
        if !self.paused {
            let _ = epoll.delete(&self.fd);
            (self.paused, self.edges) = (true, false);
        }
    }
}

/// A stream of a process. The last pipe is the present process's; those before it belong to ended
/// ones, whose own children still hold them.
pub(crate) struct Channel {
    capture: Capture,
    pub(crate) pipes: Vec<Pipe>,
    said: Vec<Notice>,
}

impl Channel {
    pub(crate) fn new(capture: Capture) -> Self {
        Self {
            capture,
            pipes: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Moves what the pipe at this place has into the file, at the pace of this turn.
    pub(crate) fn read(&mut self, at: usize, pace: &mut Pace) -> Progress {
        let before = self.capture.taken();
        let max = self.capture.at_most(pace.appetite());
        let progress = self.take(at, max);
        // Who moved all that was asked for left the rest there.
        let room = max.min(self.pipes[at].capacity);
        pace.moved(self.capture.taken().saturating_sub(before), room);
        progress
    }

    fn take(&mut self, at: usize, max: usize) -> Progress {
        let pipe = &mut self.pipes[at];
        if pipe.capacity == 0 {
            pipe.capacity = pipe::enlarge(&pipe.fd, pipe::CAPTURE_SIZE);
        }
        let pipe = pipe.fd.as_fd();
        let progress = self.capture.on_readable_for(pipe, max);
        if progress == Progress::Ended {
            // Only the last line is left, without its end.
            let _ = self.capture.finish(pipe);
        }
        progress
    }

    /// The process behind the pipe has ended: moves all that it wrote.
    pub(crate) fn finish(&mut self, at: usize) -> Progress {
        match self.capture.finish(self.pipes[at].fd.as_fd()) {
            Finish::Done => self.take(at, LAST_BYTES),
            Finish::Held(_) => Progress::Stuck,
        }
    }

    /// The pipes are about to be closed for good: what the file cannot take is counted and told.
    pub(crate) fn give_up(&mut self) {
        for pipe in self.pipes.drain(..) {
            if let Finish::Held(_) = self.capture.finish(pipe.fd.as_fd()) {
                self.capture.give_up(pipe.fd.as_fd());
            }
        }
    }

    /// On the capture's clock, when a pipe that is stuck is to be tried again.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        self.capture.next_tick()
    }

    /// On the capture's clock, when a record has waited long enough for further lines.
    pub(crate) fn next_flush(&self) -> Option<Duration> {
        self.capture.next_flush()
    }

    /// Hands that record to the routes, if its time has come.
    pub(crate) fn flush_due(&mut self) {
        self.capture.flush_due();
    }

    /// Hands on all that waits: another process goes on with the pipes, or none.
    pub(crate) fn flush(&mut self) {
        self.capture.flush();
    }

    /// Lines of mainstay's own, for whoever reads the log of the program. When the file cannot be
    /// written they are dropped: they were told as an event as well.
    pub(crate) fn note(&mut self, text: &str) {
        let text: String = text.chars().take(1000).collect();
        for line in text.lines() {
            self.capture.say(line);
        }
    }

    /// Goes on with another file and retention; the pipes stay.
    pub(crate) fn replace(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.capture, &mut other.capture);
    }

    /// Empties the file and removes those that were rolled.
    pub(crate) fn clear(&mut self) -> Result<(), String> {
        self.capture.clear().map_err(|error| error.to_string())
    }

    /// Opens the file anew.
    pub(crate) fn reopen(&mut self) {
        if let Err(error) = self.capture.reopen() {
            let text = error.to_string();
            self.said.push(Notice {
                level: mainstay_log::Level::Error,
                text,
            });
        }
    }

    /// What is to be told since the last call.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        let mut said = std::mem::take(&mut self.said);
        said.extend(self.capture.take_notices());
        said
    }
}

//! What a program prints, into its file and, line by line, to the routes that ask for it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Notice, Reason, WriteError};
use crate::level::Level;
use crate::logger::Logger;
use crate::plumbing::{self, Moved, Periscope};
use crate::record::{Record, Stream, Value};
use crate::rolling::{RollingFile, Spliced};
use crate::splitter::{Piece, Splitter};

/// Lines longer than this reach the routes in pieces.
const LINE_LIMIT: usize = 64 * 1024;
/// How much one call moves at most, so that one program's flood does not keep the thread from the
/// others.
const BUDGET: usize = 1 << 20;
/// How soon the file is tried again while output presses, and how late when it does not.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);
/// How often a file that comes and goes is spoken of.
const SPEAK_EVERY: Duration = Duration::from_mins(1);

/// One output stream of one program, on its way from the pipe into a rolling file.
///
/// Driven by the thread that polls the pipe; never waits. The pipe must not block. Bytes go to the
/// file by splice(2), as they are; what a route wants is looked at with tee(2) before. Whoever kills
/// this process at any moment loses nothing, since the bytes are either in the pipe or in the file;
/// a route may then get a line a second time from the next process, never none.
///
/// When the file cannot be written (disk full), output waits in the pipe. When the pipe is full,
/// the older half of it is dropped, up to a line end, so that the program goes on. What was dropped
/// is counted, and stands in the file, in its place, as soon as that takes anything again:
/// `[mainstay] N bytes of output lost between T1 and T2: no space left on device`.
#[derive(Debug)]
pub struct Capture {
    program: String,
    stream: Stream,
    file: RollingFile,
    routed: Option<Routed>,
    trouble: Option<Trouble>,
    /// Dropped and not yet declared in the file.
    lost: Option<Lost>,
    lost_in_all: u64,
    /// Bytes that left the pipe since the start, into the file or not.
    taken: u64,
    spoken: Option<Duration>,
    notices: Vec<Notice>,
}

#[derive(Debug)]
struct Routed {
    logger: Logger,
    splitter: Splitter,
    periscope: Option<Periscope>,
    /// So many bytes at the head of the pipe went to the routes already.
    ahead: usize,
}

/// The file cannot be written to.
#[derive(Debug)]
struct Trouble {
    since: Timestamp,
    reason: String,
    next: Duration,
    delay: Duration,
}

#[derive(Debug)]
struct Lost {
    bytes: u64,
    since: Timestamp,
    reason: String,
}

/// What the caller should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Wait until the pipe is readable.
    Wait,
    /// There may be more; a level-triggered poll says so by itself.
    More,
    /// Nobody has the other end open and the pipe is empty: call [`Capture::finish`] and close it.
    Ended,
    /// The file cannot be written to: stop polling the pipe, and call [`Capture::on_tick`] at
    /// [`Capture::next_tick`] until it says otherwise.
    Stuck,
}

/// What [`Capture::finish`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// All that was in the pipe is in the file.
    Done,
    /// So many bytes are still in the pipe because the file cannot be written to. Keep the pipe and
    /// call `finish` again later, or [`Capture::give_up`].
    Held(usize),
}

impl Capture {
    /// Takes what `program` prints to `stream` into `file`. Routes of the logger that want this
    /// program get its lines as records, of level [`Stream::level`], with the program as target.
    /// A line longer than 64 KiB comes in pieces with the fields `part`, from 1, and `more = true`
    /// on all but the last.
    pub fn new(
        program: impl Into<String>,
        stream: Stream,
        file: RollingFile,
        logger: Option<Logger>,
    ) -> Self {
        Self {
            program: program.into(),
            stream,
            file,
            routed: logger.map(|logger| Routed {
                logger,
                splitter: Splitter::new(LINE_LIMIT),
                periscope: None,
                ahead: 0,
            }),
            trouble: None,
            lost: None,
            lost_in_all: 0,
            taken: 0,
            spoken: None,
            notices: Vec::new(),
        }
    }

    /// The file it writes to.
    pub fn file(&self) -> &RollingFile {
        &self.file
    }

    /// Bytes of output lost since the start, whether or not the file says so yet.
    pub fn lost(&self) -> u64 {
        self.lost_in_all
    }

    /// Opens the file again, see [`RollingFile::reopen`].
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.file.reopen()
    }

    /// Takes what a person should know.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.extend(self.file.take_notices());
        std::mem::take(&mut self.notices)
    }

    /// The monotonic time at which [`Self::on_tick`] should be called; `None` while all is well, so
    /// that an idle process sleeps.
    pub fn next_tick(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|trouble| trouble.next)
    }

    /// Moves what is in the pipe.
    pub fn on_readable(&mut self, pipe: BorrowedFd<'_>) -> Progress {
        if self.trouble.is_some() {
            return self.on_tick(pipe);
        }
        let mut moved = 0;
        while moved < BUDGET {
            match self.step(pipe, BUDGET - moved) {
                Ok(Spliced::Moved(bytes)) => moved += bytes,
                Ok(Spliced::Empty) => return Progress::Wait,
                Ok(Spliced::End) => return Progress::Ended,
                Err(error) => {
                    self.fail(&error);
                    return Progress::Stuck;
                }
            }
            // One splice takes all there is, mostly; asking again would cost a call each time.
            if self.routed.is_none() {
                break;
            }
        }
        Progress::More
    }

    /// Tries again what failed. Does nothing before [`Self::next_tick`].
    pub fn on_tick(&mut self, pipe: BorrowedFd<'_>) -> Progress {
        match &self.trouble {
            Some(trouble) if self.file.clock().monotonic() >= trouble.next => self.retry(pipe),
            Some(_) => Progress::Stuck,
            None => Progress::Wait,
        }
    }

    /// The program has ended: moves what is left. The pipe may stay open in a grandchild; what that
    /// writes meanwhile is taken as far as it was there at the call.
    ///
    /// A last line without a line feed is in the file as it is, and goes to the routes as a line.
    pub fn finish(&mut self, pipe: BorrowedFd<'_>) -> Finish {
        let end = self.taken + plumbing::waiting(pipe).unwrap_or(0) as u64;
        if let Some(trouble) = &mut self.trouble {
            trouble.next = Duration::ZERO;
        }
        loop {
            match self.on_readable(pipe) {
                Progress::Stuck => return Finish::Held(plumbing::waiting(pipe).unwrap_or(0)),
                Progress::More if self.taken < end => {}
                Progress::More | Progress::Ended | Progress::Wait => break,
            }
        }
        self.flush_partial();
        Finish::Done
    }

    /// Drops what is in the pipe, and says how much output is lost that the file does not tell of:
    /// in the return value and in a notice. For when the file cannot be written to and the pipe has
    /// to be closed.
    pub fn give_up(&mut self, pipe: BorrowedFd<'_>) -> u64 {
        self.route(pipe);
        let waiting = plumbing::waiting(pipe).unwrap_or(0);
        self.drop_bytes(pipe, waiting);
        self.flush_partial();
        let Some(lost) = self.lost.take() else {
            return 0;
        };
        let text = format!(
            "{} of {} ({}) that {} does not tell of",
            lost.sentence(self.file.clock().now()),
            self.program,
            self.stream,
            self.file.path().display()
        );
        self.notices.push(Notice {
            level: Level::Error,
            text,
        });
        lost.bytes
    }

    /// Routes and moves once.
    fn step(&mut self, pipe: BorrowedFd<'_>, max: usize) -> Result<Spliced, WriteError> {
        let max = match self.route(pipe) {
            Some(Moved::Bytes(seen)) => seen.min(max),
            // Not one byte goes past the routes, also if one came in the meantime.
            Some(Moved::Empty) => return Ok(Spliced::Empty),
            Some(Moved::End) => return Ok(Spliced::End),
            None => max,
        };
        let spliced = self.file.splice_from(pipe, max)?;
        if let Spliced::Moved(bytes) = spliced {
            self.left_pipe(bytes);
        }
        Ok(spliced)
    }

    fn left_pipe(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        if let Some(routed) = &mut self.routed {
            routed.ahead = routed.ahead.saturating_sub(bytes);
        }
    }

    /// Gives the routes the lines they have not seen. Returns how many bytes at the head of the pipe
    /// they have seen then, or why there are none; `None` if no route asks for this stream.
    fn route(&mut self, pipe: BorrowedFd<'_>) -> Option<Moved> {
        let routed = self.routed.as_mut()?;
        let pipeline = routed.logger.pipeline();
        if !pipeline.wants(&self.program, self.stream) {
            return None;
        }
        let mut periscope = match routed.periscope.take() {
            Some(periscope) => periscope,
            None => match Periscope::new(plumbing::capacity(pipe)) {
                Ok(periscope) => periscope,
                Err(error) => {
                    // The file gets all the same; a person learns that the routes do not.
                    self.speak(format!("lines cannot be routed: {}", Reason(&error)));
                    return None;
                }
            },
        };
        let looked = match periscope.look(pipe, BUDGET) {
            Ok(looked) => looked,
            Err(error) => {
                self.speak(format!("lines cannot be routed: {}", Reason(&error)));
                return None;
            }
        };
        if let Some(new) = periscope.seen().get(routed.ahead..) {
            let now = pipeline.clock().now();
            let (program, stream) = (&self.program, self.stream);
            routed.splitter.push(new, |piece| {
                pipeline.write_piece(now, program, stream, piece);
            });
        }
        routed.ahead = routed.ahead.max(periscope.seen().len());
        routed.periscope = Some(periscope);
        Some(looked)
    }

    fn flush_partial(&mut self) {
        if let Some(routed) = &mut self.routed {
            let pipeline = routed.logger.pipeline();
            let now = pipeline.clock().now();
            let (program, stream) = (&self.program, self.stream);
            routed.splitter.finish(|piece| {
                pipeline.write_piece(now, program, stream, piece);
            });
        }
    }

    /// The file failed: remembers it and says so.
    fn fail(&mut self, error: &WriteError) {
        let clock = self.file.clock();
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let reason = Reason(&error.error).to_string();
        self.speak(format!(
            "cannot be written to {}: {reason}; it waits, and when the pipe is full its oldest \
             part is dropped and counted",
            self.file.path().display()
        ));
        self.trouble = Some(Trouble {
            since: now,
            reason,
            next: monotonic + RETRY_FIRST,
            delay: RETRY_FIRST,
        });
    }

    fn speak(&mut self, what: String) {
        let now = self.file.clock().monotonic();
        if self
            .spoken
            .is_none_or(|last| now.saturating_sub(last) >= SPEAK_EVERY)
        {
            self.spoken = Some(now);
            self.notices.push(Notice {
                level: Level::Error,
                text: format!("output of {} ({}) {what}", self.program, self.stream),
            });
        }
    }

    fn retry(&mut self, pipe: BorrowedFd<'_>) -> Progress {
        let result = self.declare().and_then(|()| self.step(pipe, BUDGET));
        match result {
            Ok(spliced) => {
                self.trouble = None;
                match spliced {
                    Spliced::Moved(_) => Progress::More,
                    Spliced::Empty => Progress::Wait,
                    Spliced::End => Progress::Ended,
                }
            }
            Err(error) => {
                let pressed = self.make_room(pipe);
                let now = self.file.clock().monotonic();
                if let Some(trouble) = &mut self.trouble {
                    trouble.reason = Reason(&error.error).to_string();
                    trouble.delay = if pressed {
                        RETRY_FIRST
                    } else {
                        (trouble.delay * 2).min(RETRY_LAST)
                    };
                    trouble.next = now + trouble.delay;
                }
                Progress::Stuck
            }
        }
    }

    /// Writes into the file what is missing there.
    fn declare(&mut self) -> Result<(), WriteError> {
        let Some(lost) = &self.lost else {
            return Ok(());
        };
        let sentence = lost.sentence(self.file.clock().now());
        self.file
            .write_on_new_line(format!("[mainstay] {sentence}\n").as_bytes())?;
        self.notices.push(Notice {
            level: Level::Error,
            text: format!("{sentence} of {} ({})", self.program, self.stream),
        });
        self.lost = None;
        if let Some(trouble) = &mut self.trouble {
            // What is lost from here on is another gap.
            trouble.since = self.file.clock().now();
        }
        Ok(())
    }

    /// Drops the older half of a full pipe, up to a line end. Returns whether it was full.
    fn make_room(&mut self, pipe: BorrowedFd<'_>) -> bool {
        let waiting = plumbing::waiting(pipe).unwrap_or(0);
        let full = waiting >= plumbing::capacity(pipe) / 4 * 3 || !is_writable(pipe);
        if !full || waiting == 0 {
            return false;
        }
        // The routes get what the file will not.
        self.route(pipe);
        self.drop_bytes(pipe, waiting / 2 + 1);
        // Then the rest of the line, looked for before it is taken.
        if let Ok(mut periscope) = Periscope::new(0)
            && let Ok(Moved::Bytes(_)) = periscope.look(pipe, 64 * 1024)
        {
            let seen = periscope.seen();
            let rest = seen
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            self.drop_bytes(pipe, rest);
        }
        true
    }

    fn drop_bytes(&mut self, pipe: BorrowedFd<'_>, bytes: usize) {
        let dropped = plumbing::discard(pipe, bytes).unwrap_or(0);
        if dropped == 0 {
            return;
        }
        self.left_pipe(dropped);
        self.lost_in_all += dropped as u64;
        let (since, reason) = match &self.trouble {
            Some(trouble) => (trouble.since, trouble.reason.clone()),
            None => (self.file.clock().now(), "it was given up".to_owned()),
        };
        let lost = self.lost.get_or_insert_with(|| Lost {
            bytes: 0,
            since,
            reason: String::new(),
        });
        lost.bytes += dropped as u64;
        lost.reason = reason;
    }
}

impl Lost {
    fn sentence(&self, now: Timestamp) -> String {
        format!(
            "{} bytes of output lost between {:.3} and {now:.3}: {}",
            self.bytes, self.since, self.reason
        )
    }
}

impl crate::Pipeline {
    fn write_piece(&self, now: Timestamp, program: &str, stream: Stream, piece: Piece<'_>) {
        let bytes = match piece.bytes {
            [line @ .., b'\r'] if piece.last => line,
            line => line,
        };
        let all = [
            ("part", Value::Unsigned(piece.index + 1)),
            ("more", Value::Bool(true)),
        ];
        let fields = match (piece.index, piece.last) {
            (0, true) => &all[..0],
            (_, true) => &all[..1],
            (_, false) => &all[..],
        };
        let record = Record::new(now, stream.level(), program, bytes)
            .program(program, stream)
            .fields(fields);
        self.write(&record);
    }
}

/// Whether a writer would get anything into the pipe now.
///
/// A pipe is full when it has no free page, and small writes do not fill pages: the number of bytes
/// in it does not tell. Only a writing end can be asked; it is opened for a moment.
fn is_writable(pipe: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(end) = rustix::fs::open(path, flags, Mode::empty()) else {
        return true;
    };
    let mut fds = [PollFd::new(&end, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

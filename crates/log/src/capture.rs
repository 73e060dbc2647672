//! What a program prints, into its file and, line by line, to the routes that ask for it.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::Clock;

use crate::error::{Error, Notice, Reason, WriteError};
use crate::inspect::{Head, Inspect, Inspection, RUNS, VIEW};
use crate::join::{Joined, Joiner, Limits};
use crate::level::Level;
use crate::logger::Logger;
use crate::plumbing::{self, Moved, Nowhere, Periscope};
use crate::recognise::recognise;
use crate::record::{Record, Stream, Value};
use crate::rolling::{RollingFile, Spliced};
use crate::splitter::{Piece, Splitter};

/// Lines longer than this reach the routes in pieces.
const LINE_LIMIT: usize = 64 * 1024;
/// How much one call moves at most where bytes are looked at, so that one program's flood does not keep
/// the thread from the others.
const BUDGET: usize = 64 * 1024;
/// How soon the file is tried again while output presses, and how late when it does not.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);
/// How soon a reader is tried again that did not keep up, and how long it may take nothing before
/// that counts as a file that cannot be written.
const RETRY_READER: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a file that comes and goes is spoken of.
const SPEAK_EVERY: Duration = Duration::from_mins(1);

/// One output stream of one program, on its way from the pipe into a rolling file.
///
/// Driven by the thread that polls the pipe; never waits. The pipe must not block. Bytes go to the
/// file by splice(2), as they are; what a route wants is looked at with tee(2) before. Whoever kills
/// this process at any moment loses nothing, since the bytes are either in the pipe or in the file;
/// a route may then get a line a second time from the next process, or miss a record that was still
/// waiting for further lines of its own.
///
/// When the file cannot be written (disk full), output waits in the pipe. When the pipe is full,
/// the older half of it is dropped, up to a line end, so that the program goes on. What was dropped
/// is counted, and stands in the file, in its place, as soon as that takes anything again:
/// `[mainstay] N bytes of output lost between T1 and T2: no space left on device`.
///
/// Where the file is a pipe, a terminal or a socket that somebody reads too slowly, the program waits
/// as it would if it wrote there itself; a reader that takes nothing for ten seconds is a file that
/// cannot be written.
///
/// An [`Inspect`] may decide which bytes are kept, see [`Capture::inspected`].
pub struct Capture {
    program: String,
    stream: Stream,
    outlet: Outlet,
    clock: Arc<dyn Clock>,
    routed: Option<Box<Routed>>,
    inspection: Option<Box<Inspection>>,
    /// The program has ended: what an inspector waits for does not come.
    finishing: bool,
    trouble: Option<Box<Trouble>>,
    /// Dropped and not yet declared in the file.
    lost: Option<Box<Lost>>,
    lost_in_all: u64,
    /// Bytes that left the pipe since the start, into the file or not.
    taken: u64,
    spoken: Option<Duration>,
    notices: Vec<Notice>,
}

/// Where kept bytes go.
#[derive(Debug)]
enum Outlet {
    File(Box<RollingFile>),
    Nowhere(Nowhere),
}

#[derive(Debug)]
struct Routed {
    logger: Logger,
    splitter: Splitter,
    /// Makes records of lines; `None`: each line is one.
    joiner: Option<Joiner>,
    /// The level of a line that comes in pieces.
    long: Option<Level>,
    periscope: Option<Periscope>,
    /// So many bytes at the head of the pipe went to the routes already.
    ahead: usize,
}

/// The file cannot be written to.
#[derive(Debug)]
struct Trouble {
    since: Timestamp,
    reason: String,
    /// On the monotonic clock: when it began, and when to try again.
    began: Duration,
    next: Duration,
    delay: Duration,
}

#[derive(Debug)]
struct Lost {
    bytes: u64,
    since: Timestamp,
    reason: String,
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// So many bytes left the pipe.
    Moved(usize),
    Empty,
    End,
    /// Bytes are there, and the inspector must see more of them.
    Undecided,
}

/// What becomes of bytes that the inspector keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    /// Dropped and counted, because the file cannot be written to.
    Lost,
}

/// What the caller should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Wait until the pipe is readable.
    Wait,
    /// There may be more; a level-triggered poll says so by itself.
    More,
    /// Bytes are in the pipe that its inspector cannot decide on before more come. A level-triggered
    /// poll would report them without end: wait for an edge, that is until the pipe is written to or
    /// closed, and go back to levels when this says something else.
    Undecided,
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
    /// program get what it prints as records with the program as target: lines that belong together
    /// are one (see [`Joiner`]), of the level that they show (see [`recognise`]), else of
    /// [`Stream::level`]. The caller must look after [`Capture::next_flush`].
    ///
    /// A line longer than 64 KiB, and a record of more than 64 KiB or 500 lines, comes in pieces with
    /// the fields `part`, from 1, and `more = true` on all but the last.
    pub fn new(
        program: impl Into<String>,
        stream: Stream,
        file: RollingFile,
        logger: Option<Logger>,
    ) -> Self {
        let clock = Arc::clone(file.clock());
        Self::to(
            program.into(),
            stream,
            Outlet::File(Box::new(file)),
            clock,
            logger,
        )
    }

    /// The same without a file: what is kept goes to the routes only.
    pub fn discarding(
        program: impl Into<String>,
        stream: Stream,
        clock: Arc<dyn Clock>,
        logger: Option<Logger>,
    ) -> Self {
        let outlet = Outlet::Nowhere(Nowhere::default());
        Self::to(program.into(), stream, outlet, clock, logger)
    }

    fn to(
        program: String,
        stream: Stream,
        outlet: Outlet,
        clock: Arc<dyn Clock>,
        logger: Option<Logger>,
    ) -> Self {
        Self {
            program,
            stream,
            outlet,
            clock,
            inspection: None,
            finishing: false,
            routed: logger.map(|logger| {
                Box::new(Routed {
                    logger,
                    splitter: Splitter::new(LINE_LIMIT),
                    joiner: Some(Joiner::new(Limits::default())),
                    long: None,
                    periscope: None,
                    ahead: 0,
                })
            }),
            trouble: None,
            lost: None,
            lost_in_all: 0,
            taken: 0,
            spoken: None,
            notices: Vec::new(),
        }
    }

    /// Lets inspectors decide which bytes reach the file and the routes. `make` is called once for
    /// each pipe that is read, when it is read first, so that what one process has begun does not
    /// mix with the output of the next.
    ///
    /// With an inspector the output is read by this process, by tee(2), and each run of kept bytes is
    /// a splice of its own: output that changes sides every few bytes costs accordingly.
    #[must_use]
    pub fn inspected(mut self, make: impl FnMut() -> Box<dyn Inspect> + Send + 'static) -> Self {
        self.inspection = Some(Box::new(Inspection::new(Box::new(make))));
        self
    }

    /// Makes each line a record of its own, of level [`Stream::level`], whatever it says.
    #[must_use]
    pub fn line_by_line(mut self) -> Self {
        if let Some(routed) = &mut self.routed {
            routed.joiner = None;
        }
        self
    }

    /// The file it writes to, if there is one.
    pub fn file(&self) -> Option<&RollingFile> {
        match &self.outlet {
            Outlet::File(file) => Some(file),
            Outlet::Nowhere(_) => None,
        }
    }

    fn path(&self) -> &Path {
        self.file()
            .map_or_else(|| Path::new("/dev/null"), RollingFile::path)
    }

    /// Bytes that left the pipe since the start, whatever became of them.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes of output lost since the start, whether or not the file says so yet.
    pub fn lost(&self) -> u64 {
        self.lost_in_all
    }

    /// Opens the file again, see [`RollingFile::reopen`].
    pub fn reopen(&mut self) -> Result<(), Error> {
        match &mut self.outlet {
            Outlet::File(file) => file.reopen(),
            Outlet::Nowhere(_) => Ok(()),
        }
    }

    /// Empties the file and deletes the rolled ones, see [`RollingFile::clear`]. What is still in the
    /// pipe comes after that.
    pub fn clear(&mut self) -> Result<(), Error> {
        if let Some(trouble) = &mut self.trouble {
            // There is space now, perhaps.
            trouble.next = Duration::ZERO;
        }
        match &mut self.outlet {
            Outlet::File(file) => file.clear(),
            Outlet::Nowhere(_) => Ok(()),
        }
    }

    /// Puts a line of our own, without its end, among what the program prints: into the file, on a
    /// line of its own, and to the routes, past the inspector. While the file cannot be written to,
    /// the routes alone get it.
    pub fn say(&mut self, line: &str) {
        if self.trouble.is_none()
            && let Outlet::File(file) = &mut self.outlet
        {
            // Whoever calls tells it elsewhere too; a file that fails here fails soon for output.
            let _ = file.write_on_new_line(format!("{line}\n").as_bytes());
        }
        self.cut();
        if let Some(routed) = &self.routed {
            let pipeline = routed.logger.pipeline();
            if pipeline.wants(&self.program, self.stream) {
                let piece = Piece {
                    bytes: line.as_bytes(),
                    index: 0,
                    last: true,
                };
                let now = pipeline.clock().now();
                let level = self.stream.level();
                pipeline.write_piece(now, &self.program, self.stream, level, piece);
            }
        }
    }

    /// Takes what a person should know.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        if let Outlet::File(file) = &mut self.outlet {
            self.notices.extend(file.take_notices());
        }
        std::mem::take(&mut self.notices)
    }

    /// The monotonic time at which [`Self::on_tick`] should be called; `None` while all is well, so
    /// that an idle process sleeps.
    pub fn next_tick(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|trouble| trouble.next)
    }

    /// The monotonic time at which [`Self::flush_due`] should be called; `None` while no record waits
    /// for further lines, so that an idle process sleeps.
    pub fn next_flush(&self) -> Option<Duration> {
        let joiner = self.routed.as_ref()?.joiner.as_ref()?;
        joiner.wake_at()
    }

    /// Hands a record to the routes that has waited long enough for further lines.
    pub fn flush_due(&mut self) {
        if self
            .next_flush()
            .is_some_and(|at| self.clock.monotonic() >= at)
        {
            self.cut();
        }
    }

    /// Hands a record to the routes that waits for further lines, and the line that has not ended: as
    /// if the stream ended here. For when another process goes on with the pipe. Dropping does it too.
    pub fn flush(&mut self) {
        if let Some(routed) = &mut self.routed {
            routed.pass(&self.program, self.stream, &*self.clock, None);
        }
    }

    fn cut(&mut self) {
        if let Some(routed) = &mut self.routed {
            let pipeline = routed.logger.pipeline();
            let (program, stream) = (&self.program, self.stream);
            if let Some(joiner) = &mut routed.joiner {
                joiner.finish(|joined| pipeline.write_joined(program, stream, joined));
            }
        }
    }

    /// Moves what is in the pipe.
    pub fn on_readable(&mut self, pipe: BorrowedFd<'_>) -> Progress {
        self.on_readable_for(pipe, BUDGET)
    }

    /// The same for at most `max` bytes, or fewer where routes or an inspector see them. How much at a
    /// time is best is the caller's to know: a move of 1 MiB costs little more than one of 64 KiB if
    /// the bytes are still in the processor's caches.
    pub fn on_readable_for(&mut self, pipe: BorrowedFd<'_>, max: usize) -> Progress {
        if self.trouble.is_some() {
            return self.on_tick(pipe);
        }
        let max = self.at_most(max);
        let mut moved = 0;
        while moved < max {
            match self.step(pipe, max - moved) {
                Ok(Step::Moved(bytes)) => moved += bytes,
                Ok(Step::Empty) => return Progress::Wait,
                Ok(Step::End) => return Progress::Ended,
                Ok(Step::Undecided) => return Progress::Undecided,
                Err(error) => {
                    self.fail(&error);
                    return Progress::Stuck;
                }
            }
            // One splice takes all there is, mostly; asking again would cost a call each time.
            if self.routed.is_none() || self.inspection.is_some() {
                break;
            }
        }
        Progress::More
    }

    /// How much one call moves of `max` bytes: fewer where routes or an inspector see them.
    pub fn at_most(&self, max: usize) -> usize {
        let is_seen = self.routed.is_some() || self.inspection.is_some();
        if is_seen { max.min(BUDGET) } else { max }
    }

    /// Tries again what failed. Does nothing before [`Self::next_tick`].
    pub fn on_tick(&mut self, pipe: BorrowedFd<'_>) -> Progress {
        match &self.trouble {
            Some(trouble) if self.clock.monotonic() >= trouble.next => self.retry(pipe),
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
        self.finishing = true;
        let progress = loop {
            match self.on_readable(pipe) {
                Progress::More if self.taken < end => {}
                progress => break progress,
            }
        };
        self.finishing = false;
        if progress == Progress::Stuck {
            return Finish::Held(plumbing::waiting(pipe).unwrap_or(0));
        }
        if let Some(inspection) = &mut self.inspection {
            inspection.finish(pipe, progress == Progress::Ended);
        }
        self.flush();
        Finish::Done
    }

    /// Drops what is in the pipe, and says how much output is lost that the file does not tell of:
    /// in the return value and in a notice. For when the file cannot be written to and the pipe has
    /// to be closed.
    pub fn give_up(&mut self, pipe: BorrowedFd<'_>) -> u64 {
        self.route(pipe);
        let waiting = plumbing::waiting(pipe).unwrap_or(0);
        self.drop_bytes(pipe, waiting);
        if let Some(inspection) = &mut self.inspection {
            inspection.finish(pipe, true);
        }
        self.flush();
        let Some(lost) = self.lost.take() else {
            return 0;
        };
        let text = format!(
            "{} of {} ({}) that {} does not tell of",
            lost.sentence(self.clock.now()),
            self.program,
            self.stream,
            self.path().display()
        );
        self.notices.push(Notice {
            level: Level::Error,
            text,
        });
        lost.bytes
    }

    /// Routes and moves once.
    fn step(&mut self, pipe: BorrowedFd<'_>, max: usize) -> Result<Step, WriteError> {
        if self.inspection.is_some() {
            return self.inspect(pipe, max, Fate::Delivered);
        }
        let max = match self.route(pipe) {
            Some(Moved::Bytes(seen)) => seen.min(max),
            // Not one byte goes past the routes, also if one came in the meantime.
            Some(Moved::Empty) => return Ok(Step::Empty),
            Some(Moved::End) => return Ok(Step::End),
            None => max,
        };
        let moved = self.deliver(pipe, max)?;
        Ok(match moved {
            Moved::Bytes(bytes) => {
                self.left_pipe(bytes);
                Step::Moved(bytes)
            }
            Moved::Empty => Step::Empty,
            Moved::End => Step::End,
        })
    }

    /// Moves bytes out of the pipe to where they belong.
    fn deliver(&mut self, pipe: BorrowedFd<'_>, max: usize) -> Result<Moved, WriteError> {
        match &mut self.outlet {
            Outlet::File(file) => Ok(match file.splice_from(pipe, max)? {
                Spliced::Moved(bytes) => Moved::Bytes(bytes),
                Spliced::Empty => Moved::Empty,
                Spliced::End => Moved::End,
            }),
            Outlet::Nowhere(nowhere) => nowhere
                .splice(pipe, max)
                .map_err(|error| self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> WriteError {
        WriteError {
            written: 0,
            path: self.path().to_owned(),
            error,
        }
    }

    /// Has the head of the pipe decided on, and does what was decided, for at most `max` bytes.
    fn inspect(
        &mut self,
        pipe: BorrowedFd<'_>,
        max: usize,
        fate: Fate,
    ) -> Result<Step, WriteError> {
        let Some(mut inspection) = self.inspection.take() else {
            return Ok(Step::Empty);
        };
        let result = match inspection.at(pipe) {
            Ok(at) => self.inspect_head(pipe, max, fate, at),
            // What cannot be looked at stays where it is.
            Err(error) => Err(self.failed(error)),
        };
        self.inspection = Some(inspection);
        result
    }

    fn inspect_head(
        &mut self,
        pipe: BorrowedFd<'_>,
        max: usize,
        fate: Fate,
        (head, periscope, scratch): (&mut Head, &mut Periscope, &mut Vec<u8>),
    ) -> Result<Step, WriteError> {
        let (mut moved, mut runs) = (0, 0);
        // So much of what the periscope saw is decided on.
        let mut decided = 0;
        let mut looked = false;
        loop {
            while let Some(run) = head.run {
                if moved >= max || runs >= RUNS {
                    return Ok(Step::Moved(moved));
                }
                let part = run.left.min(max - moved);
                let done = if run.keep && fate == Fate::Delivered {
                    self.deliver(pipe, part)
                } else {
                    plumbing::take(pipe, scratch, part).map_err(|error| self.failed(error))
                };
                match done {
                    Ok(Moved::Bytes(bytes)) => {
                        head.done(bytes);
                        self.left_pipe(bytes);
                        if run.keep && fate == Fate::Lost {
                            self.count_lost(bytes);
                        }
                        moved += bytes;
                        runs += 1;
                    }
                    // Nobody else reads this pipe; were it so, there would be nothing left to do.
                    Ok(_) => head.run = None,
                    Err(_) if moved > 0 => return Ok(Step::Moved(moved)),
                    Err(error) => return Err(error),
                }
            }
            if !looked || decided == periscope.seen().len() {
                if moved > 0 {
                    return Ok(Step::Moved(moved));
                }
                let seen = periscope.look(pipe, VIEW);
                match seen.map_err(|error| self.failed(error))? {
                    Moved::Bytes(_) => {}
                    Moved::Empty => return Ok(Step::Empty),
                    Moved::End => return Ok(Step::End),
                }
                (looked, decided) = (true, 0);
            }
            let run = match head.decide(&periscope.seen()[decided..], false) {
                Some(run) => run,
                None if moved > 0 => return Ok(Step::Moved(moved)),
                // Nothing has moved, so what was shown is the head of the pipe.
                None => {
                    // All this is asked before the second look, which so sees what came before the
                    // writers went.
                    let over = self.finishing
                        || fate == Fate::Lost
                        || plumbing::hung_up(pipe)
                        || !plumbing::is_writable(pipe);
                    let waiting = plumbing::waiting(pipe).unwrap_or(0);
                    let before = periscope.seen().len();
                    let seen = periscope.look(pipe, VIEW);
                    seen.map_err(|error| self.failed(error))?;
                    let seen = periscope.seen();
                    if seen.len() > before {
                        decided = 0;
                        continue;
                    }
                    // What is beyond the view is not shown later either.
                    if !over && waiting <= seen.len() {
                        return Ok(Step::Undecided);
                    }
                    match head.decide(seen, true) {
                        Some(run) => run,
                        None => return Ok(Step::Undecided),
                    }
                }
            };
            let end = decided + run.left;
            if run.keep {
                self.route_kept(&periscope.seen()[decided..end]);
            }
            decided = end;
        }
    }

    /// Gives the routes what an inspector keeps.
    fn route_kept(&mut self, bytes: &[u8]) {
        let Some(routed) = &mut self.routed else {
            return;
        };
        let pipeline = routed.logger.pipeline();
        if !pipeline.wants(&self.program, self.stream) {
            return;
        }
        drop(pipeline);
        routed.pass(&self.program, self.stream, &*self.clock, Some(bytes));
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
        if self.inspection.is_some() {
            // They get what is kept, when that is decided.
            return None;
        }
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
        drop(pipeline);
        if let Some(new) = periscope.seen().get(routed.ahead..) {
            routed.pass(&self.program, self.stream, &*self.clock, Some(new));
        }
        routed.ahead = routed.ahead.max(periscope.seen().len());
        routed.periscope = Some(periscope);
        Some(looked)
    }

    /// The file failed: remembers it and says so.
    fn fail(&mut self, error: &WriteError) {
        let monotonic = self.clock.monotonic();
        let reason = Reason(&error.error).to_string();
        let delay = if error.error.kind() == io::ErrorKind::WouldBlock {
            // Most often somebody reads and is slower than the program for a moment.
            RETRY_READER
        } else {
            self.tell_trouble(&reason);
            RETRY_FIRST
        };
        self.trouble = Some(Box::new(Trouble {
            since: self.clock.now(),
            reason,
            began: monotonic,
            next: monotonic + delay,
            delay,
        }));
    }

    fn tell_trouble(&mut self, reason: &str) {
        self.speak(format!(
            "cannot be written to {}: {reason}; it waits, and when the pipe is full its oldest \
             part is dropped and counted",
            self.path().display()
        ));
    }

    fn speak(&mut self, what: String) {
        let now = self.clock.monotonic();
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
            Ok(step) => {
                self.trouble = None;
                match step {
                    Step::Moved(_) => Progress::More,
                    Step::Empty => Progress::Wait,
                    Step::End => Progress::Ended,
                    Step::Undecided => Progress::Undecided,
                }
            }
            Err(error) => {
                let reason = Reason(&error.error).to_string();
                let now = self.clock.monotonic();
                let began = self.trouble.as_ref().map_or(now, |trouble| trouble.began);
                let patient = error.error.kind() == io::ErrorKind::WouldBlock
                    && now.saturating_sub(began) < PATIENCE;
                let pressed = !patient && {
                    self.tell_trouble(&reason);
                    self.make_room(pipe)
                };
                if let Some(trouble) = &mut self.trouble {
                    trouble.reason = reason;
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
        let sentence = lost.sentence(self.clock.now());
        if let Outlet::File(file) = &mut self.outlet {
            file.write_on_new_line(format!("[mainstay] {sentence}\n").as_bytes())?;
        }
        self.notices.push(Notice {
            level: Level::Error,
            text: format!("{sentence} of {} ({})", self.program, self.stream),
        });
        self.lost = None;
        if let Some(trouble) = &mut self.trouble {
            // What is lost from here on is another gap.
            trouble.since = self.clock.now();
        }
        Ok(())
    }

    /// Drops the older half of a full pipe, up to a line end. Returns whether it was full.
    fn make_room(&mut self, pipe: BorrowedFd<'_>) -> bool {
        let waiting = plumbing::waiting(pipe).unwrap_or(0);
        let full = waiting >= plumbing::capacity(pipe) / 4 * 3 || !plumbing::is_writable(pipe);
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
        let mut left = bytes;
        while self.inspection.is_some() && left > 0 {
            // Where even looking fails, the program still must go on.
            match self.inspect(pipe, left, Fate::Lost) {
                Ok(Step::Moved(moved)) => left = left.saturating_sub(moved),
                Ok(Step::Empty | Step::End | Step::Undecided) => return,
                Err(_) => break,
            }
        }
        let dropped = plumbing::discard(pipe, left).unwrap_or(0);
        self.left_pipe(dropped);
        self.count_lost(dropped);
    }

    fn count_lost(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.lost_in_all += bytes as u64;
        let (since, reason) = match &self.trouble {
            Some(trouble) => (trouble.since, trouble.reason.clone()),
            None => (self.clock.now(), "it was given up".to_owned()),
        };
        let lost = self.lost.get_or_insert_with(|| {
            Box::new(Lost {
                bytes: 0,
                since,
                reason: String::new(),
            })
        });
        lost.bytes += bytes as u64;
        lost.reason = reason;
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("program", &self.program)
            .field("stream", &self.stream)
            .field("outlet", &self.outlet)
            .field("inspection", &self.inspection)
            .field("trouble", &self.trouble)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
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

impl Routed {
    /// Gives the routes what is new of a stream; `None`: it ends here.
    fn pass(&mut self, program: &str, stream: Stream, clock: &dyn Clock, new: Option<&[u8]>) {
        let pipeline = self.logger.pipeline();
        let (now, monotonic) = (pipeline.clock().now(), clock.monotonic());
        let mark = u64::try_from(now.as_nanosecond()).unwrap_or(0);
        let (joiner, long) = (&mut self.joiner, &mut self.long);
        let piece = |piece: Piece<'_>| {
            let Some(joiner) = joiner.as_mut() else {
                pipeline.write_piece(now, program, stream, stream.level(), piece);
                return;
            };
            let emit = |joined: Joined<'_>| pipeline.write_joined(program, stream, joined);
            if piece.index == 0 && piece.last {
                joiner.line(piece.bytes, monotonic, mark, emit);
                return;
            }
            joiner.finish(emit);
            if piece.index == 0 {
                *long = recognise(piece.bytes).level;
            }
            let level = long.unwrap_or(stream.level());
            pipeline.write_piece(now, program, stream, level, piece);
        };
        match new {
            Some(bytes) => self.splitter.push(bytes, piece),
            None => self.splitter.finish(piece),
        }
        if new.is_none()
            && let Some(joiner) = &mut self.joiner
        {
            joiner.finish(|joined| pipeline.write_joined(program, stream, joined));
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.flush();
    }
}

impl crate::Pipeline {
    fn write_piece(
        &self,
        now: Timestamp,
        program: &str,
        stream: Stream,
        level: Level,
        piece: Piece<'_>,
    ) {
        let bytes = match piece.bytes {
            [line @ .., b'\r'] if piece.last => line,
            line => line,
        };
        self.write_part(
            now,
            program,
            stream,
            level,
            bytes,
            (piece.index, !piece.last),
        );
    }

    fn write_joined(&self, program: &str, stream: Stream, joined: Joined<'_>) {
        let time = Timestamp::from_nanosecond(i128::from(joined.mark));
        self.write_part(
            time.unwrap_or(Timestamp::UNIX_EPOCH),
            program,
            stream,
            joined.level.unwrap_or(stream.level()),
            joined.bytes,
            (joined.part, joined.more),
        );
    }

    /// Writes a record, or one of the parts of a long one: the how-manieth, from 0, and whether more
    /// follow.
    fn write_part(
        &self,
        time: Timestamp,
        program: &str,
        stream: Stream,
        level: Level,
        bytes: &[u8],
        (part, more): (u64, bool),
    ) {
        let all = [
            ("part", Value::Unsigned(part + 1)),
            ("more", Value::Bool(true)),
        ];
        let fields = match (part, more) {
            (0, false) => &all[..0],
            (_, false) => &all[..1],
            (_, true) => &all[..],
        };
        let record = Record::new(time, level, program, bytes)
            .program(program, stream)
            .fields(fields);
        self.write(&record);
    }
}

//! A log file that rolls: usable alone, also as [`std::io::Write`].

mod roll;

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::Clock;
use rustix::fs::{AtFlags, FallocateFlags, StatxFlags, fallocate};
use rustix::io::{Errno, ReadWriteFlags};

use crate::error::{Error, Notice, Reason, WriteError};
use crate::level::Level;
use crate::naming::{Naming, rolled_files};
use crate::outlet::lock;
use crate::pack::{Notices, clear_parts};
use crate::period::Calendar;
use crate::plumbing::{self, Moved, Periscope};
use crate::retention::{Retention, Step, step};
use crate::seelog::Archive;
use crate::target::{self, Door, Target};

use roll::current_path;

/// How often a file that this process alone writes is looked at, at most: looking costs about half of
/// what a line costs.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often the path is compared with the open file, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often retention is applied when no roll does it.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// Waiting time after the first failed roll; doubled after each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_mins(1);
/// A line longer than this may be cut when a moved file is left, where no size limits it.
const LONG_LINE: u64 = 1 << 20;
/// A splice of so many bytes is part of a stream.
const STREAM: usize = 128 * 1024;
/// How much room is set aside for a stream at a time, at least and at most.
const AHEAD: [u64; 2] = [1 << 20, 16 << 20];
/// How many notices wait to be taken; a flood of them says nothing more.
const NOTICES: usize = 32;

/// A file that is followed by another when it reaches a size, line by line.
///
/// `f.log` is the current file, `f.log.1` the one before it, `f.log.2` older still (as supervisord
/// and logrotate name them). The next file begins before a line that would make this one larger than
/// [`Retention::size`]; a line is cut only if it alone is longer than that. Old files go by number,
/// age and total size, at opening, at each roll and once an hour while it is written to.
///
/// A roll that fails loses nothing: the current file grows, the roll is tried again after one second,
/// two, four, up to a minute, and [`RollingFile::take_notices`] says why.
///
/// The file may be moved, deleted or truncated by others. Deletion and truncation are seen by the first
/// write after a millisecond (and before every write where the file is shared, see [`Rolls`]), a move
/// within a second; writing goes on in a new file, at the new end. The file is not
/// opened with `O_APPEND`, because splice(2) refuses that. Writes append by themselves (`RWF_APPEND`),
/// so that two that write the same file, as two pipelines do while one replaces the other, never
/// write over each other; a splice goes to the end as it was looked up just before.
///
/// New directories get mode 0750 and new files 0640, less the umask; a file that follows another
/// has its mode and owner. At opening, a symbolic link at the path is followed, since an
/// administrator may want it; the file that begins after a roll is created with `O_NOFOLLOW`, and
/// renames do not follow links, so that nobody who may write to the directory later can send the log
/// elsewhere.
///
/// What is no plain file (`/dev/null`, a terminal, a FIFO) is written to and never rolled; neither is
/// what a descriptor of this process leads to (`/dev/stdout`, `/dev/stderr`, `/dev/fd/N`), be it a
/// pipe, a terminal, a socket or a file that a shell has opened. No write waits for its reader: where
/// that takes nothing the error is `WouldBlock`.
pub struct RollingFile {
    path: PathBuf,
    rolls: Rolls,
    /// The path as it was given; the current file may have its period in its name.
    base: PathBuf,
    calendar: Option<Calendar>,
    period: Period,
    packs: Notices,
    archive_fails: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    file: File,
    identity: Identity,
    door: Door,
    position: u64,
    line: Line,
    /// When it was seen last what others did to the file; `None` to see it before the next write.
    looked: Option<Duration>,
    checked: Duration,
    pruned: Duration,
    blocked: Option<Backoff>,
    /// Somebody moved the file: another one begins at the end of this line.
    moved_away: bool,
    splices: bool,
    appends: bool,
    periscope: Option<Periscope>,
    /// The last splice was part of a stream.
    streams: bool,
    /// Room is set aside on the disk up to here; the highest number where that cannot be.
    reserved: u64,
    notices: VecDeque<Notice>,
}

/// How a file is rolled.
#[derive(Debug, Clone, PartialEq)]
pub struct Rolls {
    /// When, and which rolled files are kept.
    pub retention: Retention,
    /// How these are called.
    pub naming: Naming,
    /// Where the days of [`Retention::every`] and the dates of names begin.
    pub zone: TimeZone,
    /// Where rolled files go that are too many, instead of being deleted: into an archive, in the
    /// background. Needs names that stay, so not [`Naming::Shifted`].
    pub archive: Option<Archive>,
    /// Other processes write and roll it too, all with the same settings. The file is rolled under a
    /// lock, `.f.log.lock` beside it, and before each write it is seen whether another one has.
    pub shared: bool,
}

impl From<Retention> for Rolls {
    /// By numbers, days in UTC, by this process alone.
    fn from(retention: Retention) -> Self {
        Self {
            retention,
            naming: Naming::default(),
            zone: TimeZone::UTC,
            archive: None,
            shared: false,
        }
    }
}

/// The stretch of the calendar that the current file is for.
#[derive(Debug, Default)]
struct Period {
    /// What tells it from others.
    text: String,
    /// A moment in it.
    moment: Timestamp,
    /// The second for which it was looked last whether it is over.
    looked: i64,
    over: bool,
}

/// How long the unfinished line at the end of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Length(u64),
    /// Bytes came that were not looked at; the file itself knows.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Backoff {
    until: Duration,
    delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// What [`RollingFile::splice_from`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spliced {
    /// So many bytes were moved, at least one.
    Moved(usize),
    /// The pipe is empty and a writer may still come.
    Empty,
    /// The pipe is empty and nobody has it open for writing.
    End,
}

impl RollingFile {
    /// Opens the file at its end, and creates it and the directories above it where they are not.
    pub fn open(
        path: impl Into<PathBuf>,
        retention: Retention,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Self::open_with(path, retention.into(), clock)
    }

    /// The same with all there is to say of how it rolls.
    pub fn open_with(
        path: impl Into<PathBuf>,
        mut rolls: Rolls,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let base = path.into();
        rolls.retention.size = rolls.retention.size.filter(|size| *size > 0);
        if rolls.archive.is_some() && rolls.naming == Naming::Shifted {
            let source = io::Error::new(
                io::ErrorKind::InvalidInput,
                "an archive needs rolled files whose names stay: growing numbers or dates",
            );
            return Err(Error::setup(base.display().to_string(), source));
        }
        let path = current_path(&base, &rolls, &*clock);
        let target = match target::open(&path) {
            Ok(target) => target,
            Err(error) => return Err(Error::open(&path, error)),
        };
        let splices = target::splices(&target);
        let Target {
            file,
            metadata,
            door,
        } = target;
        let now = clock.monotonic();
        let zone = || rolls.zone.clone();
        let calendar = match (rolls.retention.every, &rolls.naming) {
            (Some(every), _) => Some(Calendar::every(every, zone())),
            (None, Naming::Dated { layout, .. }) if rolls.retention.size.is_none() => {
                Some(Calendar::layout(Arc::clone(layout), zone()))
            }
            _ => None,
        };
        let mut rolling = Self {
            path,
            base,
            rolls,
            calendar,
            period: Period::default(),
            packs: Notices::default(),
            archive_fails: Arc::default(),
            file,
            identity: Identity::of(&metadata),
            door,
            position: 0,
            line: Line::Unknown,
            looked: None,
            checked: now,
            pruned: now,
            blocked: None,
            moved_away: false,
            splices,
            appends: true,
            periscope: None,
            streams: false,
            reserved: 0,
            notices: VecDeque::new(),
            clock,
        };
        if rolling.door.is_plain() {
            rolling.position = metadata.len();
            rolling.begin_period(&metadata);
            if rolling.rolls.retention.compress.is_some() {
                clear_parts(&rolling.path);
                rolling.pack_what_is_left();
            }
            if let Some(archive) = &rolling.rolls.archive {
                clear_parts(&archive.path);
            }
            // Listing the directory for each of its hundreds of logs would cost their square. The
            // youngest rolled file is there as long as any is; where only their number counts, what
            // is behind an empty file was counted when that began.
            let retention = &rolling.rolls.retention;
            let may_be_old = retention.age.is_some() || retention.total.is_some();
            let is_shifted = rolling.rolls.naming == Naming::Shifted;
            if !is_shifted
                || (rolling.position > 0 || may_be_old) && rolling.any_variant(1).is_some()
            {
                rolling.prune();
            }
        }
        Ok(rolling)
    }

    /// The path of the current file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the current file in bytes, as of the last write.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What rolls and keeps the files.
    pub fn retention(&self) -> &Retention {
        &self.rolls.retention
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Takes what happened since the last call and should be told to a person. Nothing in it means
    /// that something was lost.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.extend(lock(&self.packs).drain(..));
        self.notices.drain(..).collect()
    }

    /// Closes the file and opens the path again, as after logrotate has moved it away. Where that
    /// fails the old file goes on being written to.
    ///
    /// Done at once: output of a program that is in the middle of a line continues in the new file.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.try_reopen()
            .map_err(|error| Error::open(&self.path, error))
    }

    fn try_reopen(&mut self) -> io::Result<()> {
        self.become_target(target::open(&self.path)?);
        Ok(())
    }

    fn become_target(&mut self, target: Target) {
        self.identity = Identity::of(&target.metadata);
        self.door = target.door;
        self.position = if self.door.is_plain() {
            target.metadata.len()
        } else {
            0
        };
        self.begin_period(&target.metadata);
        self.splices = target::splices(&target);
        self.file = target.file;
        self.line = if self.position == 0 {
            Line::Length(0)
        } else {
            Line::Unknown
        };
        self.moved_away = false;
        self.appends = true;
        self.reserved = 0;
        self.checked = self.clock.monotonic();
    }

    /// Empties the file and deletes the rolled ones, as supervisord's `clearProcessLogs` does. Whoever
    /// follows the file sees that it was truncated. Files with numbers are left alone where nothing
    /// rolls, because then they are somebody else's; so is all that is no plain file.
    ///
    /// Goes as far as it can and fails with the first thing that could not be done.
    pub fn clear(&mut self) -> Result<(), Error> {
        if !self.door.is_plain() {
            return Ok(());
        }
        if !self.is_current() {
            // Somebody moved it: theirs is not ours to cut.
            self.reopen()?;
        }
        let mut result = self
            .file
            .set_len(0)
            .map_err(|error| Error::clear(&self.path, error));
        if result.is_ok() {
            self.position = 0;
            self.line = Line::Length(0);
        }
        if self.rolls() {
            for rolled in rolled_files(&self.base, &self.rolls.naming) {
                let path = self.base.with_file_name(&rolled.name);
                if path == self.path {
                    continue;
                }
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        result = result.and(Err(Error::clear(&path, error)));
                    }
                    _ => {}
                }
            }
        }
        result
    }

    /// Writes whole lines, and begins new files between them as needed.
    ///
    /// All of it is written, or [`WriteError::written`] bytes are: whole lines, and of the one that
    /// failed nothing stays in the file. Bytes that do not end in a line feed are written too, and
    /// what comes next continues that line.
    pub fn write(&mut self, data: &[u8]) -> Result<(), WriteError> {
        let mut written = 0;
        self.write_counting(data, &mut written)
            .map_err(|error| WriteError {
                written,
                ..self.failed(error)
            })
    }

    /// Writes whole lines that do not continue an unfinished one: that gets its line feed first.
    pub(crate) fn write_on_new_line(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        let ready = self.look().and_then(|()| self.line_length());
        let unfinished = ready.map_err(|error| self.failed(error))? > 0;
        if unfinished {
            // In one write, so that a failure leaves neither.
            let mut both = Vec::with_capacity(lines.len() + 1);
            both.push(b'\n');
            both.extend_from_slice(lines);
            return match self.write(&both) {
                // Only the line feed went in: what is left is the same as on a new line.
                Err(error) if error.written > 0 => Err(WriteError {
                    written: error.written - 1,
                    ..error
                }),
                other => other,
            };
        }
        self.write(lines)
    }

    fn write_counting(&mut self, data: &[u8], written: &mut usize) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        // What is decided by the size is decided by the size as it is.
        let mut fresh = self.look_now_and_then()?;
        while *written < data.len() {
            let rest = &data[*written..];
            let part = match self.limit() {
                Some(limit) if self.position.saturating_add(rest.len() as u64) > limit => {
                    if !std::mem::replace(&mut fresh, true) {
                        self.look()?;
                        continue;
                    }
                    let line = self.line_length()?;
                    match step(self.position, line, limit, self.cut(), rest) {
                        Step::Write(part) => part,
                        Step::Turn => {
                            self.turn();
                            continue;
                        }
                    }
                }
                _ => rest.len(),
            };
            *written += self.put(&rest[..part])?;
        }
        Ok(())
    }

    /// Writes all of `data` at the end, or else whole lines of it: then the error is given back by
    /// the next call, since what is left fails again.
    fn put(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        let failed = loop {
            if done == data.len() {
                break None;
            }
            match self.append(&data[done..], self.position + done as u64) {
                // The system, or this file system, knows no appending by the write.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if self.appends => {
                    self.appends = false;
                }
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => done += bytes,
                Err(errno) => break Some(io::Error::from(errno)),
            }
        };
        let keep = match &failed {
            Some(_) if self.door.is_plain() => self.take_back(data, done),
            _ => done,
        };
        self.advance(&data[..keep]);
        match failed {
            Some(error) if keep == 0 => Err(error),
            _ => Ok(keep),
        }
    }

    /// Writes at the end of the file, wherever that is by now; without `RWF_APPEND` at `end`.
    fn append(&self, data: &[u8], end: u64) -> rustix::io::Result<usize> {
        rustix::io::retry_on_intr(|| match self.door {
            Door::Stream => rustix::io::write(&self.file, data),
            Door::Shared => target::write_at_once(&self.file, data),
            Door::Plain if self.appends => {
                let data = [io::IoSlice::new(data)];
                rustix::io::pwritev2(&self.file, &data, end, ReadWriteFlags::APPEND)
            }
            Door::Plain => rustix::io::pwrite(&self.file, data, end),
        })
    }

    /// Cuts off the part of a line that was written before an error. Returns how many of the `done`
    /// bytes stay.
    fn take_back(&mut self, data: &[u8], done: usize) -> usize {
        let whole = data[..done]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole == done {
            return done;
        }
        let end = self.position + done as u64;
        // Not if somebody has appended in the meantime: their bytes are not ours to cut.
        let ours = self.file.metadata().is_ok_and(|meta| meta.len() == end);
        if ours && self.file.set_len(self.position + whole as u64).is_ok() {
            whole
        } else {
            done
        }
    }

    fn advance(&mut self, data: &[u8]) {
        if self.door.is_plain() {
            self.position += data.len() as u64;
        }
        self.line = match (data.iter().rposition(|byte| *byte == b'\n'), self.line) {
            (Some(at), _) => Line::Length((data.len() - at - 1) as u64),
            (None, Line::Length(before)) => Line::Length(before + data.len() as u64),
            (None, Line::Unknown) => Line::Unknown,
        };
    }

    /// Moves at most `max` bytes from a pipe to the end of the file without reading them, and begins
    /// new files at line ends as needed. The pipe must not block (`O_NONBLOCK`).
    ///
    /// Bytes leave the pipe only when they are in the file: on an error, and if this process is
    /// killed at any moment, the pipe still holds all the rest. A file may exceed its size by the
    /// rest of one line. On an error of which some bytes preceded, these are reported and the error
    /// is given back by the next call.
    pub fn splice_from(&mut self, pipe: BorrowedFd<'_>, max: usize) -> Result<Spliced, WriteError> {
        self.look().map_err(|error| self.failed(error))?;
        let mut total = 0;
        let mut last = Moved::Empty;
        while total < max {
            let want = max - total;
            let (asked, result) = match self.limit() {
                Some(limit) if self.position >= limit => (1, self.splice_rest(pipe, want)),
                limit => {
                    let room = limit.map_or(u64::MAX, |limit| limit - self.position);
                    let part = want.min(usize::try_from(room).unwrap_or(usize::MAX));
                    (part, self.splice(pipe, part))
                }
            };
            match result {
                Ok(Moved::Bytes(bytes)) => {
                    total += bytes;
                    if bytes < asked {
                        break;
                    }
                }
                Ok(nothing) => {
                    last = nothing;
                    break;
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(match last {
            _ if total > 0 => Spliced::Moved(total),
            Moved::End => Spliced::End,
            _ => Spliced::Empty,
        })
    }

    fn failed(&self, error: io::Error) -> WriteError {
        let error = if error.kind() == io::ErrorKind::WouldBlock {
            io::Error::new(error.kind(), "nobody reads what is written there")
        } else {
            error
        };
        WriteError {
            written: 0,
            path: self.path.clone(),
            error,
        }
    }

    fn splice(&mut self, pipe: BorrowedFd<'_>, max: usize) -> io::Result<Moved> {
        if self.splices {
            let plain = self.door.is_plain();
            let result = if plain {
                self.set_room_aside(max);
                plumbing::splice(pipe, &self.file, self.position, max)
            } else {
                plumbing::splice_on(pipe, &self.file, max)
            };
            match result {
                Ok(moved) => {
                    if let Moved::Bytes(bytes) = moved {
                        self.streams = bytes >= STREAM;
                        self.position += if plain { bytes as u64 } else { 0 };
                        self.line = Line::Unknown;
                    }
                    return Ok(moved);
                }
                // Some file systems and devices cannot be spliced to.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.splices = false;
                }
                Err(error) => return Err(error),
            }
        }
        let mut periscope = self.periscope()?;
        let result = self.copy(&mut periscope, pipe, max);
        self.periscope = Some(periscope);
        result
    }

    /// Has the file system find room for what comes next in a stream, at most a quarter of what the file
    /// holds already and never beyond the size it may have. Found once for many pages, room costs a
    /// third less than page by page, and lies together on the disk. What is not used in the end goes
    /// when the file is deleted or truncated; its size is not changed by this.
    fn set_room_aside(&mut self, coming: usize) {
        let end = self.position.saturating_add(coming as u64);
        if !self.streams || end <= self.reserved {
            return;
        }
        let ahead = (self.position / 4).min(AHEAD[1]) / AHEAD[0] * AHEAD[0];
        let from = self.reserved.max(self.position);
        let to = (from + ahead).min(self.limit().unwrap_or(u64::MAX));
        if ahead == 0 || to <= from {
            return;
        }
        // Not every file system can, and a disk may be too full: then it is as without.
        self.reserved = match fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, to - from) {
            Ok(()) => to,
            Err(_) => u64::MAX,
        };
    }

    /// What splice does, by hand: written first and taken from the pipe then, so that being killed
    /// in between doubles bytes and loses none.
    fn copy(
        &mut self,
        periscope: &mut Periscope,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> io::Result<Moved> {
        match periscope.look(pipe, max)? {
            Moved::Bytes(_) => {
                let written = self.put(periscope.seen())?;
                periscope.take(pipe, written)
            }
            nothing => Ok(nothing),
        }
    }

    /// The file has its size: finishes the line at its end, or begins the next file.
    fn splice_rest(&mut self, pipe: BorrowedFd<'_>, max: usize) -> io::Result<Moved> {
        let mut periscope = self.periscope()?;
        // A new file begins only when there is something to put into it.
        let seen = periscope.look(pipe, max.min(64 * 1024));
        let rest = periscope
            .seen()
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(periscope.seen().len(), |at| at + 1);
        self.periscope = Some(periscope);
        match seen? {
            Moved::Bytes(_) => {}
            nothing => return Ok(nothing),
        }
        let line = self.line_length()?;
        let cut = self.cut();
        if line == 0 || line >= cut {
            self.turn();
            let room = match self.limit() {
                Some(limit) => usize::try_from(limit.saturating_sub(self.position))
                    .unwrap_or(usize::MAX)
                    // The file that was turned to may be full itself; its first line goes in.
                    .max(1),
                None => usize::MAX,
            };
            return self.splice(pipe, max.min(room));
        }
        let part = rest.min(usize::try_from(cut - line).unwrap_or(usize::MAX));
        let moved = self.splice(pipe, part)?;
        if let Moved::Bytes(bytes) = moved {
            // What was moved is what was seen: nobody else reads this pipe.
            let ended = self
                .periscope
                .as_ref()
                .and_then(|periscope| periscope.seen().get(bytes - 1))
                == Some(&b'\n');
            self.line = Line::Length(if ended { 0 } else { line + bytes as u64 });
        }
        Ok(moved)
    }

    fn periscope(&mut self) -> io::Result<Periscope> {
        match self.periscope.take() {
            Some(periscope) => Ok(periscope),
            None => Periscope::new(64 * 1024),
        }
    }

    /// The size at which the current file ends, if it ends.
    fn limit(&self) -> Option<u64> {
        if self.moved_away {
            return Some(0);
        }
        if !self.door.is_plain() {
            return None;
        }
        match self.blocked {
            Some(blocked) if self.clock.monotonic() < blocked.until => None,
            _ if self.period.over => Some(0),
            _ => self.rolls.retention.size,
        }
    }

    /// Whether anything makes it roll.
    fn rolls(&self) -> bool {
        self.rolls.retention.size.is_some() || self.calendar.is_some()
    }

    /// Lines longer than this are cut.
    fn cut(&self) -> u64 {
        self.rolls.retention.size.unwrap_or(LONG_LINE)
    }

    /// How long the unfinished line at the end of the file is, up to [`Self::cut`] and a bit.
    fn line_length(&mut self) -> io::Result<u64> {
        if let Line::Length(length) = self.line {
            return Ok(length);
        }
        let mut buffer = [0; 8192];
        let mut from = if self.door.is_plain() {
            self.position
        } else {
            0
        };
        let mut length = 0;
        'file: while from > 0 && length < self.cut() {
            let part = from.min(buffer.len() as u64);
            from -= part;
            // `part` is at most the buffer's length.
            let chunk = &mut buffer[..usize::try_from(part).unwrap_or(0)];
            self.file.read_exact_at(chunk, from)?;
            for byte in chunk.iter().rev() {
                if *byte == b'\n' {
                    break 'file;
                }
                length += 1;
            }
        }
        self.line = Line::Length(length);
        Ok(length)
    }

    /// Sees what others did to the file, unless that was seen a moment ago and nothing depends on it.
    /// Returns whether it was seen now.
    fn look_now_and_then(&mut self) -> io::Result<bool> {
        let is_recent = |looked: Duration| {
            let now = self.clock.monotonic();
            now.saturating_sub(looked) < LOOK_EVERY
        };
        let may_wait = self.appends && !self.rolls.shared;
        if may_wait && self.looked.is_some_and(is_recent) {
            self.look_at_the_calendar();
            return Ok(false);
        }
        self.look()?;
        Ok(true)
    }

    /// Sees what others did to the file since the last write.
    fn look(&mut self) -> io::Result<()> {
        if !self.door.is_plain() {
            return Ok(());
        }
        self.looked = None;
        let (size, links) = size_and_links(&self.file)?;
        if links == 0 {
            // What went into the deleted file is gone by somebody's will; nothing more follows it.
            self.try_reopen()?;
            self.notice(
                Level::Warn,
                format!(
                    "{} was deleted while it was written to; a new file has begun",
                    self.path.display()
                ),
            );
            return Ok(());
        }
        if size < self.position {
            self.notice(
                Level::Warn,
                format!(
                    "{} was truncated by somebody, from {} to {size} bytes",
                    self.path.display(),
                    self.position
                ),
            );
        }
        if size != self.position {
            self.position = size;
            self.line = Line::Unknown;
        }
        self.look_at_the_calendar();
        let now = self.clock.monotonic();
        self.looked = Some(now);
        if self.rolls.shared || now.saturating_sub(self.checked) >= CHECK_EVERY {
            self.checked = now;
            self.moved_away = !self.is_current();
            if self.moved_away && self.position == 0 {
                self.turn();
            }
        }
        if now.saturating_sub(self.pruned) >= PRUNE_EVERY {
            self.prune();
        }
        Ok(())
    }

    /// Whether the path still leads to the open file.
    fn is_current(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|there| Identity::of(&there) == self.identity)
    }

    /// Leaves the current file: rolls it, or, where somebody else moved it, begins another.
    fn turn(&mut self) {
        let now = self.clock.monotonic();
        if self.moved_away {
            self.moved_away = false;
            self.checked = now;
            match self.try_reopen() {
                // That is how another process rolls it.
                Ok(()) if self.rolls.shared => {}
                Ok(()) => self.notice(
                    Level::Info,
                    format!(
                        "{} was moved away; writing goes on in a new file",
                        self.path.display()
                    ),
                ),
                Err(error) => self.notice(
                    Level::Error,
                    format!(
                        "{} was moved away and cannot be opened again: {}; writing goes on in \
                         the moved file",
                        self.path.display(),
                        Reason(&error)
                    ),
                ),
            }
            return;
        }
        match self.try_roll() {
            Ok(()) => {
                if self.blocked.take().is_some() {
                    self.notice(Level::Info, format!("{} rolls again", self.path.display()));
                }
                self.prune();
            }
            Err(failure) => {
                let delay = self.blocked.map_or(BACKOFF_FIRST, |blocked| {
                    (blocked.delay * 2).min(BACKOFF_LAST)
                });
                self.blocked = Some(Backoff {
                    until: now + delay,
                    delay,
                });
                self.notice(
                    Level::Error,
                    format!(
                        "cannot roll {}: {failure}; the file grows until this is mended",
                        self.path.display()
                    ),
                );
            }
        }
    }

    fn notice(&mut self, level: Level, text: String) {
        if self.notices.len() == NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(Notice { level, text });
    }

    /// Waits until the disk has everything (fdatasync).
    pub fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // What is no file has no disk.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }
}

impl io::Write for RollingFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match RollingFile::write(self, data) {
            Ok(()) => Ok(data.len()),
            Err(error) if error.written > 0 => Ok(error.written),
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing is held back; for the disk see [`RollingFile::sync`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for RollingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RollingFile")
            .field("path", &self.path)
            .field("rolls", &self.rolls)
            .field("position", &self.position)
            .field("line", &self.line)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}

/// The size of a file and under how many names it is.
///
/// Its times are not asked for: since multigrain timestamps (Linux 6.13) a write after somebody has
/// looked at the times must write the inode with new ones, which made each line several times dearer.
fn size_and_links(file: &File) -> io::Result<(u64, u64)> {
    let wanted = StatxFlags::SIZE | StatxFlags::NLINK;
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted) {
        Ok(found) => Ok((found.stx_size, found.stx_nlink.into())),
        Err(_) => file.metadata().map(|found| (found.len(), found.nlink())),
    }
}

//! Looking for records in log files: of some level, some time, with some text; the last ones first
//! where only those are wanted.
//!
//! Files are read from their ends or from about the right place, so that the last ten records of a
//! gigabyte cost no more than those of a megabyte. Nothing is held but one piece of one file.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::archive::{PutAway, Shelf};
use crate::error::Error;
use crate::join::{Joined, Joiner, Limits};
use crate::level::{Level, LevelSet};
use crate::pack::Compression;
use crate::recognise::recognise;
use crate::splitter::Splitter;
use crate::tail::{Tail, from_start};

/// How much one step reads.
const STEP: u64 = 1 << 20;
const PIECE: usize = 1 << 20;
/// How much the first step from the end reads: mostly it is enough.
const FIRST: u64 = 64 * 1024;
/// A record is no longer than that, so that whoever begins so much earlier knows where each begins.
const RECORD: u64 = 64 * 1024;
/// Files smaller than this are not worth a binary search.
const LARGE: u64 = 1 << 20;
/// Times in a file may be out of order by as much as was written within this.
const DISORDER: u64 = 256 * 1024;
/// A line longer than this is handed over in parts.
const LONG_LINE: usize = 1 << 20;

/// What is asked of the bytes of a record.
pub type TextTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What is looked for. All that is given must hold.
#[derive(Clone)]
pub struct Wanted {
    /// The level of records that show none, see [`Stream::level`](crate::Stream::level).
    pub fallback: Level,
    /// The levels wanted.
    pub levels: LevelSet,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
    /// What the bytes of a record must be like.
    pub text: Option<TextTest>,
    /// The zone of times that name none.
    pub zone: TimeZone,
    /// Only so many, the last ones; `None`: all.
    pub last: Option<u64>,
}

impl Wanted {
    /// Everything, with the times of `zone`.
    pub fn all(fallback: Level, zone: TimeZone) -> Self {
        Self {
            fallback,
            levels: LevelSet::ALL,
            since: None,
            until: None,
            text: None,
            zone,
            last: None,
        }
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted")
            .field("levels", &self.levels)
            .field("since", &self.since)
            .field("until", &self.until)
            .field("text", &self.text.is_some())
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// A record that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    /// When it was: as it says; else as the record before it; else when its file was written last.
    pub time: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// Its lines, without the last line feed.
    pub bytes: &'a [u8],
}

/// Makes records of bytes and lets through those that are wanted.
#[derive(Debug)]
struct Sieve {
    wanted: Wanted,
    splitter: Splitter,
    joiner: Joiner,
    /// The time of what shows none.
    time: Timestamp,
    /// What times without a year or a day are near to.
    near: Timestamp,
    /// Bytes that came after the last time that is wanted, without one in between.
    beyond: u64,
}

impl Sieve {
    fn new(wanted: Wanted, near: Timestamp) -> Self {
        Self {
            wanted,
            splitter: Splitter::new(LONG_LINE),
            joiner: Joiner::new(Limits::default()),
            time: near,
            near,
            beyond: 0,
        }
    }

    fn push(&mut self, bytes: &[u8], now: Duration, emit: &mut dyn FnMut(Hit<'_>)) {
        let (joiner, judge) = (
            &mut self.joiner,
            &mut Judge {
                wanted: &self.wanted,
                time: &mut self.time,
                near: self.near,
                beyond: &mut self.beyond,
            },
        );
        // A record that goes on in the next file is of the one it began in: it is marked with that.
        let mark = self.near.as_millisecond().cast_unsigned();
        self.splitter.push(bytes, |piece| {
            joiner.line(piece.bytes, now, mark, |joined| judge.pass(joined, emit));
        });
    }

    fn on_time(&mut self, now: Duration, emit: &mut dyn FnMut(Hit<'_>)) {
        if self.joiner.wake_at().is_some_and(|at| now >= at) {
            self.end_record(emit);
        }
    }

    fn end_record(&mut self, emit: &mut dyn FnMut(Hit<'_>)) {
        let mut judge = Judge {
            wanted: &self.wanted,
            time: &mut self.time,
            near: self.near,
            beyond: &mut self.beyond,
        };
        self.joiner.finish(|joined| judge.pass(joined, emit));
    }

    fn finish(&mut self, now: Duration, emit: &mut dyn FnMut(Hit<'_>)) {
        if self.splitter.held() > 0 {
            self.push(b"\n", now, emit);
        }
        self.end_record(emit);
    }
}

/// What decides on one record.
struct Judge<'a> {
    wanted: &'a Wanted,
    time: &'a mut Timestamp,
    near: Timestamp,
    beyond: &'a mut u64,
}

impl Judge<'_> {
    fn is_wanted(&mut self, joined: &Joined<'_>) -> Option<(Timestamp, Level)> {
        let said = joined
            .time
            .and_then(|time| time.at(&self.wanted.zone, self.near));
        if let Some(time) = said {
            *self.time = time;
        }
        let time = *self.time;
        if self.wanted.until.is_some_and(|until| time > until) {
            *self.beyond += joined.bytes.len() as u64 + 1;
            return None;
        }
        *self.beyond = 0;
        let level = joined.level.unwrap_or(self.wanted.fallback);
        let wanted = self.wanted.levels.contains(level)
            && self.wanted.since.is_none_or(|since| time >= since)
            && self
                .wanted
                .text
                .as_ref()
                .is_none_or(|text| text(joined.bytes));
        wanted.then_some((time, level))
    }

    /// What [`Sieve::push`] has marked with what its times are near to.
    fn pass(&mut self, joined: Joined<'_>, emit: &mut dyn FnMut(Hit<'_>)) {
        let near = Timestamp::from_millisecond(joined.mark.cast_signed());
        self.near = near.unwrap_or(self.near);
        if let Some((time, level)) = self.is_wanted(&joined) {
            emit(Hit {
                time,
                level,
                bytes: joined.bytes,
            });
        }
    }
}

/// A file as it was when the search began. What is written later is not looked at here.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) form: Form,
    /// How much is in it; if it is not plain, that says nothing of what is in it.
    pub(crate) end: u64,
    pub(crate) modified: Timestamp,
}

/// How a file of the past is read.
#[derive(Debug)]
pub(crate) enum Form {
    Plain(File),
    Packed(File, Compression),
    PutAway(PutAway),
}

impl Past {
    /// The file, if it can be read from any place.
    fn plain(&self) -> Option<&File> {
        match &self.form {
            Form::Plain(file) => Some(file),
            Form::Packed(..) | Form::PutAway(_) => None,
        }
    }

    /// The start of the first line that begins at or behind the offset; the end where that cannot be
    /// known.
    fn line_start(&self, offset: u64) -> io::Result<u64> {
        match self.plain() {
            _ if offset == 0 => Ok(0),
            Some(file) => Ok(line_start(file, offset)?.min(self.end)),
            None => Ok(self.end),
        }
    }
}

/// A compressed file that is read from its start.
struct Unpacking {
    at: usize,
    offset: u64,
    reader: Reader,
}

enum Reader {
    Packed(Box<dyn Read + Send>),
    PutAway(Box<Shelf>),
}

impl fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacking")
            .field("at", &self.at)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Unpacking {
    fn begin(past: &Past, at: usize, zone: &TimeZone) -> io::Result<Self> {
        let reader = match &past.form {
            Form::Plain(file) => Reader::Packed(Box::new(from_start(file)?)),
            Form::Packed(file, packed) => Reader::Packed(packed.unpack(from_start(file)?)?),
            Form::PutAway(away) => Reader::PutAway(Box::new(away.open(zone)?)),
        };
        Ok(Self {
            at,
            offset: 0,
            reader,
        })
    }

    /// When what was read last was written last, if it is known better than by the file.
    fn modified(&self) -> Option<Timestamp> {
        match &self.reader {
            Reader::Packed(_) => None,
            Reader::PutAway(shelf) => shelf.modified(),
        }
    }

    /// As much as there is, up to the size of the buffer. Of what was put away less, so that it is of
    /// one member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = match &mut self.reader {
            Reader::Packed(reader) => reader,
            Reader::PutAway(shelf) => {
                let read = shelf.read(buffer)?;
                self.offset += read as u64;
                return Ok(read);
            }
        };
        let mut read = 0;
        while read < buffer.len() {
            match reader.read(&mut buffer[read..]) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += read as u64;
        Ok(read)
    }
}

#[derive(Debug)]
enum Stage {
    /// From the end of this file at this offset towards the start, so many still to be met.
    Back {
        at: usize,
        end: u64,
        left: u64,
        size: u64,
    },
    /// From here to the end.
    Forward {
        at: usize,
        offset: u64,
    },
    Done,
}

/// A search through a log file and those rolled from it, in steps; then through what is added.
///
/// Rolled files that are compressed are read from their starts, so that little of one costs as much as all.
#[derive(Debug)]
pub struct Search {
    /// The oldest first.
    files: Vec<Past>,
    sieve: Sieve,
    stage: Stage,
    buffer: Vec<u8>,
    unpacking: Option<Unpacking>,
}

impl Search {
    /// Begins with what is in the files now, as far as `tail` has come. With `partial`, the last line
    /// counts though it has not ended.
    pub fn begin(tail: &Tail, wanted: Wanted, partial: bool) -> Result<Self, Error> {
        let failed = |error| Error::read(tail.path(), error);
        let files = tail.past(partial).map_err(failed)?;
        let mut search = Self {
            sieve: Sieve::new(wanted, Timestamp::UNIX_EPOCH),
            stage: Stage::Done,
            buffer: Vec::new(),
            unpacking: None,
            files,
        };
        search.stage = search.first_stage().map_err(failed)?;
        Ok(search)
    }

    fn first_stage(&self) -> io::Result<Stage> {
        let wanted = &self.sieve.wanted;
        let Some(newest) = self.files.len().checked_sub(1) else {
            return Ok(Stage::Done);
        };
        if let Some(left) = wanted.last {
            if left == 0 {
                return Ok(Stage::Done);
            }
            let (at, end) = match wanted.until {
                Some(until) => self.end_of(until)?,
                None => (newest, self.files[newest].end),
            };
            return Ok(Stage::Back {
                at,
                end,
                left,
                size: FIRST,
            });
        }
        let Some(since) = wanted.since else {
            return Ok(Stage::Forward { at: 0, offset: 0 });
        };
        // What was written last before that holds nothing later.
        let at = self.files.iter().position(|past| past.modified >= since);
        let Some(mut at) = at else {
            return Ok(Stage::Done);
        };
        // What was put away is older than the first file that was not, whenever that was done.
        let kept = |past: &Past| !matches!(past.form, Form::PutAway(_));
        if let Some(first) = self.files.iter().position(kept)
            && at < first
            && self.files[first].end > DISORDER
            && self
                .time_near(&self.files[first], DISORDER)?
                .is_some_and(|time| time < since)
        {
            at = first;
        }
        let offset = self
            .place_of(&self.files[at], since)?
            .map_or(0, |place| place.0.saturating_sub(DISORDER));
        let offset = self.files[at].line_start(offset)?;
        Ok(Stage::Forward { at, offset })
    }

    /// The file and the offset behind which nothing is as early as `until`.
    fn end_of(&self, until: Timestamp) -> io::Result<(usize, u64)> {
        for (at, past) in self.files.iter().enumerate().rev() {
            if at > 0 && self.begins_after(past, until)? {
                continue;
            }
            let end = self.place_of(past, until)?.map_or(past.end, |place| {
                place.1.saturating_add(DISORDER).min(past.end)
            });
            return Ok((at, past.line_start(end)?));
        }
        Ok((0, 0))
    }

    fn begins_after(&self, past: &Past, until: Timestamp) -> io::Result<bool> {
        let first = self.time_near(past, 0)?;
        Ok(first.is_some_and(|time| time > until) && past.end > DISORDER)
    }

    /// Two offsets: before the first all is earlier than `time`, behind the second all is later, if
    /// times ascend. `None` if the file shows too few times, or is too small to be worth it.
    fn place_of(&self, past: &Past, time: Timestamp) -> io::Result<Option<(u64, u64)>> {
        if past.end < LARGE || past.plain().is_none() {
            return Ok(None);
        }
        let (mut low, mut high) = (0, past.end);
        while high - low > DISORDER {
            let middle = low + (high - low) / 2;
            match self.time_near(past, middle)? {
                None => return Ok(None),
                Some(there) if there < time => low = middle,
                Some(_) => high = middle,
            }
        }
        // What is equal may go on behind.
        let mut end = high;
        let mut step = DISORDER;
        while end < past.end
            && self
                .time_near(past, end)?
                .is_some_and(|there| there <= time)
        {
            end = end.saturating_add(step).min(past.end);
            step *= 2;
        }
        Ok(Some((low, end)))
    }

    /// The first time with a date that a line at or behind the offset shows, within a short distance.
    fn time_near(&self, past: &Past, offset: u64) -> io::Result<Option<Timestamp>> {
        let Some(file) = past.plain() else {
            return Ok(None);
        };
        let mut buffer = vec![0; 64 * 1024];
        let read = read_at(file, &mut buffer, offset, past.end)?;
        let mut lines = buffer[..read].split(|byte| *byte == b'\n');
        if offset > 0 {
            lines.next();
        }
        Ok(lines.find_map(|line| {
            let time = recognise(line).time.filter(crate::Moment::has_date)?;
            time.at(&self.sieve.wanted.zone, past.modified)
        }))
    }

    /// Looks through the next piece. Hands on what is found, the oldest first. Returns whether there
    /// is more to look through.
    pub fn step(&mut self, mut emit: impl FnMut(Hit<'_>)) -> io::Result<bool> {
        match self.stage {
            Stage::Done => Ok(false),
            Stage::Back {
                at,
                end,
                left,
                size,
            } => {
                self.stage = self.step_back(at, end, left, size)?;
                Ok(true)
            }
            Stage::Forward { at, offset } => {
                if offset == 0 || self.sieve.near == Timestamp::UNIX_EPOCH {
                    self.enter(at);
                }
                self.step_forward(at, offset, &mut emit)
            }
        }
    }

    /// What shows no time in this file is of the time at which it was written last.
    fn enter(&mut self, at: usize) {
        let modified = self.files[at].modified;
        self.sieve.near = modified;
        if self.sieve.time == Timestamp::UNIX_EPOCH {
            self.sieve.time = modified;
        }
    }

    fn step_forward(
        &mut self,
        at: usize,
        offset: u64,
        emit: &mut dyn FnMut(Hit<'_>),
    ) -> io::Result<bool> {
        self.buffer.resize(PIECE, 0);
        let past = &self.files[at];
        let read = if let Some(file) = past.plain() {
            read_at(file, &mut self.buffer, offset, past.end)?
        } else {
            let there = self.unpacking.take();
            let mut unpacking = match there.filter(|there| there.at == at && there.offset <= offset)
            {
                Some(there) => there,
                None => Unpacking::begin(past, at, &self.sieve.wanted.zone)?,
            };
            while unpacking.offset < offset {
                let missing = usize::try_from(offset - unpacking.offset).unwrap_or(PIECE);
                if unpacking.read(&mut self.buffer[..missing.min(PIECE)])? == 0 {
                    break;
                }
            }
            let read = unpacking.read(&mut self.buffer)?;
            if let Some(modified) = unpacking.modified() {
                self.sieve.near = modified;
            }
            self.unpacking = (read > 0).then_some(unpacking);
            read
        };
        let more = past.plain().is_none() || offset + (read as u64) < past.end;
        let buffer = std::mem::take(&mut self.buffer);
        self.sieve.push(&buffer[..read], Duration::ZERO, emit);
        self.buffer = buffer;
        let over = self.sieve.wanted.until.is_some() && self.sieve.beyond > LARGE;
        let offset = offset + read as u64;
        self.stage = if over {
            Stage::Done
        } else if read > 0 && more {
            Stage::Forward { at, offset }
        } else if at + 1 < self.files.len() {
            Stage::Forward {
                at: at + 1,
                offset: 0,
            }
        } else {
            Stage::Done
        };
        Ok(!matches!(self.stage, Stage::Done))
    }

    /// Counts what is wanted in the piece that ends at `end`.
    fn step_back(&mut self, at: usize, end: u64, left: u64, size: u64) -> io::Result<Stage> {
        let past = &self.files[at];
        let Some(file) = past.plain() else {
            return self.step_back_packed(at, left, size);
        };
        let begin = end.saturating_sub(size);
        let warm = begin.saturating_sub(RECORD);
        let beyond = end.saturating_add(RECORD).min(past.end);
        // A record may go on over a roll: the lines before and behind are looked at too.
        let before = (warm == 0 && at > 0)
            .then(|| &self.files[at - 1])
            .and_then(|past| Some((past.plain()?, past.end)));
        let behind = (beyond == past.end)
            .then(|| self.files.get(at + 1))
            .flatten()
            .and_then(|past| Some((past.plain()?, past.end)));
        self.buffer.clear();
        if let Some((before, end)) = before {
            let from = line_start(before, end.saturating_sub(RECORD))?;
            read_more(before, &mut self.buffer, from, end)?;
        }
        let lead = self.buffer.len() as u64;
        read_more(file, &mut self.buffer, warm, beyond)?;
        if let Some((behind, end)) = behind {
            read_more(behind, &mut self.buffer, 0, end.min(RECORD))?;
        }
        // From here on places are those in the buffer.
        let place = |offset: u64| offset - warm + lead;
        let (begin_place, end_place) = (place(begin), place(end));
        let mut marks = Vec::new();
        let mut latest = None;
        let (mut time, mut ignored) = (past.modified, 0);
        let mut judge = Judge {
            wanted: &self.sieve.wanted,
            time: &mut time,
            near: past.modified,
            beyond: &mut ignored,
        };
        let mut joiner = Joiner::new(Limits::default());
        let mut take = |joined: Joined<'_>| {
            if joined.part > 0 {
                return;
            }
            let wanted = judge.is_wanted(&joined).is_some();
            if (begin_place..end_place).contains(&joined.mark) {
                if joined.time.is_some() {
                    latest = latest.max(Some(*judge.time));
                }
                if wanted {
                    marks.push((joined.mark, *judge.time));
                }
            }
        };
        let mut offset = 0;
        let mut lines = self.buffer.split_inclusive(|byte| *byte == b'\n');
        if warm > 0 {
            offset += lines.next().map_or(0, <[u8]>::len) as u64;
        }
        for line in lines {
            if offset >= end_place && joiner.wake_at().is_none() {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            joiner.line(text, Duration::ZERO, offset, &mut take);
            offset += line.len() as u64;
        }
        joiner.finish(&mut take);
        let found = marks.len() as u64;
        if found >= left {
            let first = usize::try_from(found - left).unwrap_or(0);
            let (mark, time) = marks[first];
            // It may have its time from a line before.
            self.sieve.time = time;
            return Ok(Stage::Forward {
                at,
                offset: mark - lead + warm,
            });
        }
        let since = self.sieve.wanted.since;
        let early = |time: Timestamp| since.is_some_and(|since| time < since);
        if latest.is_some_and(early) || (begin == 0 && at > 0 && early(self.files[at - 1].modified))
        {
            return Ok(Stage::Forward {
                at,
                offset: past.line_start(begin)?,
            });
        }
        Ok(match (begin, at) {
            (0, 0) => Stage::Forward { at: 0, offset: 0 },
            (0, _) => Stage::Back {
                at: at - 1,
                end: self.files[at - 1].end,
                left: left - found,
                size,
            },
            _ => Stage::Back {
                at,
                end: begin,
                left: left - found,
                size: (size * 4).min(STEP),
            },
        })
    }

    /// The same for all of a compressed file.
    fn step_back_packed(&mut self, at: usize, left: u64, size: u64) -> io::Result<Stage> {
        let past = &self.files[at];
        let mut unpacking = Unpacking::begin(past, at, &self.sieve.wanted.zone)?;
        let keep = usize::try_from(left).unwrap_or(usize::MAX);
        let mut marks: VecDeque<(u64, Timestamp)> = VecDeque::new();
        let (mut time, mut ignored) = (past.modified, 0);
        let mut judge = Judge {
            wanted: &self.sieve.wanted,
            time: &mut time,
            near: past.modified,
            beyond: &mut ignored,
        };
        // From which place on times are near to the second, before to the first.
        let near = Cell::new((0, past.modified, past.modified));
        let mut take = |joined: Joined<'_>| {
            let (from, before, behind) = near.get();
            judge.near = if joined.mark < from { before } else { behind };
            if joined.part == 0 && judge.is_wanted(&joined).is_some() {
                if marks.len() >= keep {
                    marks.pop_front();
                }
                marks.push_back((joined.mark, *judge.time));
            }
        };
        let mut joiner = Joiner::new(Limits::default());
        let mut splitter = Splitter::new(LONG_LINE);
        let mut start = 0;
        self.buffer.resize(PIECE, 0);
        loop {
            let read = unpacking.read(&mut self.buffer)?;
            if read == 0 {
                break;
            }
            if let Some(modified) = unpacking.modified()
                && modified != near.get().2
            {
                near.set((start, near.get().2, modified));
            }
            splitter.push(&self.buffer[..read], |piece| {
                joiner.line(piece.bytes, Duration::ZERO, start, &mut take);
                start += piece.bytes.len() as u64 + u64::from(piece.last);
            });
        }
        splitter.finish(|piece| joiner.line(piece.bytes, Duration::ZERO, start, &mut take));
        joiner.finish(&mut take);
        let found = marks.len() as u64;
        if found >= left
            && let Some((offset, time)) = marks.pop_front()
        {
            self.sieve.time = time;
            return Ok(Stage::Forward { at, offset });
        }
        let since = self.sieve.wanted.since;
        Ok(match at.checked_sub(1) {
            Some(before) if since.is_none_or(|since| self.files[before].modified >= since) => {
                Stage::Back {
                    at: before,
                    end: self.files[before].end,
                    left: left - found,
                    size,
                }
            }
            _ => Stage::Forward { at, offset: 0 },
        })
    }

    /// Looks through what was added, at the monotonic time `now` of any origin. Times without a date
    /// are of about `clock`.
    pub fn push(
        &mut self,
        bytes: &[u8],
        now: Duration,
        clock: Timestamp,
        mut emit: impl FnMut(Hit<'_>),
    ) {
        self.sieve.near = clock;
        if self.sieve.time == Timestamp::UNIX_EPOCH {
            self.sieve.time = clock;
        }
        self.sieve.push(bytes, now, &mut emit);
    }

    /// Hands on a record for which no further line came in time.
    pub fn on_time(&mut self, now: Duration, mut emit: impl FnMut(Hit<'_>)) {
        self.sieve.on_time(now, &mut emit);
    }

    /// Nothing comes any more: hands on what is open.
    pub fn finish(&mut self, mut emit: impl FnMut(Hit<'_>)) {
        self.sieve.finish(Duration::ZERO, &mut emit);
    }
}

/// The start of the first line that begins at or behind the offset.
fn line_start(file: &File, offset: u64) -> io::Result<u64> {
    if offset == 0 {
        return Ok(0);
    }
    let mut at = offset - 1;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = read_at(file, &mut chunk, at, u64::MAX)?;
        if read == 0 {
            return Ok(at);
        }
        if let Some(feed) = chunk[..read].iter().position(|byte| *byte == b'\n') {
            return Ok(at + feed as u64 + 1);
        }
        at += read as u64;
    }
}

/// Appends what is between the two offsets.
fn read_more(file: &File, buffer: &mut Vec<u8>, offset: u64, end: u64) -> io::Result<()> {
    let start = buffer.len();
    let length = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    buffer.resize(start.saturating_add(length), 0);
    let read = read_at(file, &mut buffer[start..], offset, end)?;
    buffer.truncate(start + read);
    Ok(())
}

/// Reads as much as there is before `end`. Less where the file was truncated meanwhile.
fn read_at(file: &File, buffer: &mut [u8], offset: u64, end: u64) -> io::Result<usize> {
    let most = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    let most = most.min(buffer.len());
    let mut read = 0;
    while read < most {
        match file.read_at(&mut buffer[read..most], offset + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

//! Records wait on disk while the sink behind cannot take them.
//!
//! The directory holds *segments*, files `00000000000000000001.spool` and so on, each a magic of
//! [`MAGIC`] and then records: length of the bytes and checksum (CRC-32 over the rest, 4 bytes each),
//! time in nanoseconds since 1970 (8 bytes), level (1 byte), bytes; numbers little-endian. A file
//! `position` says what of the oldest segment has gone out: number of the segment, offset, checksum.
//! A segment is written by one process and never continued by another, so that only its end can be
//! torn.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_base::Clock;
use mainstay_sys::LockFile;
use rustix::fs::OFlags;

use super::backoff::{Backoff, Pause};
use super::failover::{rest, whole};
use super::losses::Losses;
use crate::batch::{Batch, Mark, Unwritten};
use crate::error::{Error, Notice, Reason};
use crate::level::Level;
use crate::loss::Counts;
use crate::sink::Sink;

/// What a segment begins with.
pub const MAGIC: &[u8; 8] = b"MSPOOL1\n";
/// Before the bytes of a record: length, checksum, time, level.
const HEAD: usize = 17;
/// The largest record that is kept; a larger one is lost, and said.
const LARGEST: usize = 16 << 20;
/// So much is given to the sink behind at a time.
const CHUNK: usize = 256 << 10;
/// So long records are given out in one call.
const REPLAY: Duration = Duration::from_secs(1);
/// What a stranger may have put there is looked at so far.
const MOST_READ: u64 = 64 << 20;

/// Where and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// A directory for this sink alone. It is made with mode 0700, and must belong to us and be closed
    /// to others.
    pub directory: PathBuf,
    /// So many bytes may wait; an eighth of it is the size of a segment. When it is full the oldest
    /// segment goes, and what is lost with it is counted and said.
    pub bytes: u64,
    /// Waits for the disk after each batch: then records outlive a loss of power, not only a death of
    /// the process.
    pub sync: bool,
    /// How long the sink behind is left alone after it failed.
    pub pause: Pause,
}

impl SpoolConfig {
    /// A directory, and defaults: 64 MiB, no waiting for the disk, 100 ms to 10 s.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            bytes: 64 << 20,
            sync: false,
            pause: Pause {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(10),
            },
        }
    }
}

/// A record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// When it happened.
    pub time: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// The record as its format wrote it.
    pub bytes: &'a [u8],
}

/// The records of a segment, as far as they are whole.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

/// Reads a segment; there is nothing in one without its [`MAGIC`].
pub fn records(segment: &[u8]) -> Records<'_> {
    match segment.strip_prefix(MAGIC) {
        Some(rest) => Records { rest },
        None => Records { rest: b"" },
    }
}

impl<'a> Records<'a> {
    /// The bytes that are not read yet; at the end, those that are no record.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

fn number<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

impl<'a> Iterator for Records<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        let length = u32::from_le_bytes(number(self.rest)?);
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= LARGEST)?;
        let sum = u32::from_le_bytes(number(self.rest.get(4..)?)?);
        let body = self.rest.get(8..HEAD + length)?;
        if crc32fast::hash(body) != sum {
            return None;
        }
        let nanos = i64::from_le_bytes(number(body)?);
        let level = *Level::ALL.get(usize::from(body[8]))?;
        let record = Stored {
            time: Timestamp::from_nanosecond(nanos.into()).ok()?,
            level,
            bytes: &body[9..],
        };
        self.rest = &self.rest[HEAD + length..];
        Some(record)
    }
}

/// Appends a record as a segment has it. `bytes` are at most [`LARGEST`].
fn encode(time: Timestamp, level: Level, bytes: &[u8], out: &mut Vec<u8>) {
    let nanos = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
    let level = u8::try_from(level.index()).unwrap_or(0);
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    let sum = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&nanos.to_le_bytes());
    out.push(level);
    out.extend_from_slice(bytes);
    let hash = crc32fast::hash(&out[sum + 4..]);
    out[sum..sum + 4].copy_from_slice(&hash.to_le_bytes());
}

/// A file of records.
struct Segment {
    number: u64,
    /// So many bytes of it are whole records and magic.
    length: u64,
    /// Records of it that have not gone out, and when the first and last of all happened.
    counts: Counts,
    first: Timestamp,
    last: Timestamp,
}

impl Segment {
    fn new(number: u64) -> Self {
        Self {
            number,
            length: MAGIC.len() as u64,
            counts: [0; 6],
            first: Timestamp::MAX,
            last: Timestamp::MIN,
        }
    }

    fn count(&mut self, level: Level, time: Timestamp) {
        self.counts[level.index()] += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}

/// Keeps records on disk while the sink behind fails, and gives them out in their order when it works
/// again, also after a restart or a SIGKILL.
///
/// Each record reaches the sink behind at least once: one that it took shortly before a crash may come
/// again. While another process, or the same sink of a config that is being replaced, has the
/// directory, records go straight to the sink behind.
pub struct Spool {
    inner: Box<dyn Sink>,
    config: SpoolConfig,
    clock: Arc<dyn Clock>,
    /// Held as long as the directory is ours.
    lock: Option<LockFile>,
    segments: VecDeque<Segment>,
    /// The last segment, if it is ours to write.
    writer: Option<File>,
    reader: Option<(u64, File)>,
    position: Option<File>,
    /// Where in the first segment the next record is.
    at: u64,
    next_number: u64,
    backoff: Backoff,
    trouble: Option<(io::ErrorKind, String)>,
    /// Records that have gone out since the spool was last empty.
    replayed: u64,
    losses: Losses,
}

impl Spool {
    /// Makes the directory, and finds what a former process left in it.
    pub fn open(
        inner: Box<dyn Sink>,
        config: SpoolConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let subject = || format!("the spool {}", config.directory.display());
        mainstay_base::fs::create_dir_private(&config.directory, 0o700)
            .map_err(|error| Error::setup(subject(), error))?;
        let about =
            fs::metadata(&config.directory).map_err(|error| Error::setup(subject(), error))?;
        let me = rustix::process::geteuid().as_raw();
        if about.uid() != me || about.mode() & 0o077 != 0 {
            let text = format!(
                "it must belong to uid {me} and be closed to others (chmod 700), and has uid {} and \
                 mode {:04o}",
                about.uid(),
                about.mode() & 0o7777
            );
            let error = io::Error::new(io::ErrorKind::PermissionDenied, text);
            return Err(Error::setup(subject(), error));
        }
        let mut spool = Self {
            inner,
            backoff: Backoff::new(config.pause),
            clock,
            lock: None,
            segments: VecDeque::new(),
            writer: None,
            reader: None,
            position: None,
            at: MAGIC.len() as u64,
            next_number: 1,
            trouble: None,
            replayed: 0,
            losses: Losses::default(),
            config,
        };
        spool.acquire();
        Ok(spool)
    }

    /// How many bytes wait on disk.
    pub fn waiting(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.config.directory.join(format!("{number:020}.spool"))
    }

    /// Takes the directory if nobody else has it. Returns whether it is ours.
    fn acquire(&mut self) -> bool {
        if self.lock.is_none()
            && let Ok(lock) = LockFile::acquire(&self.config.directory.join("lock"))
        {
            self.lock = Some(lock);
            if let Err(error) = self.find() {
                let text = format!(
                    "what waits in the spool {} cannot be read: {}; it stays there",
                    self.config.directory.display(),
                    Reason(&error)
                );
                self.losses.say(Level::Error, text);
            }
        }
        self.lock.is_some()
    }

    /// Finds the segments that are there.
    fn find(&mut self) -> io::Result<()> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.config.directory)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".spool"))
                .filter(|digits| digits.len() == 20)
                .and_then(|digits| digits.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let position = open_private(&self.config.directory.join("position"), true)?;
        let (started, offset) = read_position(&position).unwrap_or((0, 0));
        self.position = Some(position);
        let newest = numbers.last().copied().unwrap_or(0).max(started);
        self.next_number = newest.saturating_add(1);
        let mut torn = 0;
        for number in numbers {
            let path = self.path(number);
            let file = match open_private(&path, false) {
                Ok(file) => file,
                Err(error) => {
                    let text = format!(
                        "the spool segment {} cannot be read: {}; it stays there",
                        path.display(),
                        Reason(&error)
                    );
                    self.losses.say(Level::Error, text);
                    continue;
                }
            };
            let mut bytes = Vec::new();
            let size = file.metadata()?.len();
            (&file).take(MOST_READ).read_to_end(&mut bytes)?;
            let skip = if number == started { offset } else { 0 };
            let (segment, at) = survey(number, &bytes, skip);
            torn += size - segment.length.min(size);
            if segment.counts == [0; 6] {
                drop(fs::remove_file(&path));
                continue;
            }
            if self.segments.is_empty() {
                self.at = at;
            }
            self.segments.push_back(segment);
        }
        if torn > 0 {
            let text = format!(
                "{torn} bytes in the spool {} are no whole records, as after a crash, and are left out",
                self.config.directory.display()
            );
            self.losses.say(Level::Warn, text);
        }
        Ok(())
    }

    /// Keeps the records of a batch from a byte on. Returns how many bytes of the batch are kept, and
    /// why not all.
    fn keep(&mut self, batch: &Batch<'_>, from: usize) -> (usize, io::Result<()>) {
        let marks = rest(batch, from);
        let part = Batch::new(&batch.bytes()[from.min(batch.bytes().len())..], &marks);
        let segment_size = (self.config.bytes / 8).max(4096);
        let mut frames = Vec::new();
        let mut counted = Vec::new();
        let mut kept = from;
        let mut pending = 0;
        let mut entries = part.entries().peekable();
        while let Some(entry) = entries.next() {
            if entry.bytes.len() > LARGEST {
                let reason = "it is larger than a spool keeps";
                self.losses.lose(entry.level, entry.time, reason);
            } else {
                encode(entry.time, entry.level, entry.bytes, &mut frames);
                counted.push((entry.level, entry.time));
            }
            pending += entry.bytes.len();
            if entries.peek().is_none() || frames.len() as u64 >= segment_size {
                if let Err(error) = self.append(&frames, &counted, segment_size) {
                    return (kept, Err(error));
                }
                kept += pending;
                pending = 0;
                frames.clear();
                counted.clear();
            }
        }
        (kept, Ok(()))
    }

    fn append(
        &mut self,
        frames: &[u8],
        counted: &[(Level, Timestamp)],
        segment_size: u64,
    ) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        if self
            .segments
            .back()
            .is_none_or(|segment| segment.length >= segment_size)
        {
            self.writer = None;
        }
        while !self.segments.is_empty()
            && self.waiting() + frames.len() as u64 + MAGIC.len() as u64 > self.config.bytes
        {
            let reason = format!("the spool {} is full", self.config.directory.display());
            self.drop_first(&reason);
        }
        if self.writer.is_none() {
            let number = self.next_number;
            let mut file = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(self.path(number))?;
            self.next_number += 1;
            if let Err(error) = file.write_all(MAGIC) {
                drop(fs::remove_file(self.path(number)));
                return Err(error);
            }
            self.writer = Some(file);
            if self.segments.is_empty() {
                self.at = MAGIC.len() as u64;
            }
            self.segments.push_back(Segment::new(number));
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut result = writer.write_all(frames);
        if result.is_ok() && self.config.sync {
            result = writer.sync_data();
        }
        if let Err(error) = result {
            // Half a record would hide all that comes after it.
            if writer.set_len(segment.length).is_err() {
                self.writer = None;
            }
            let is_empty = segment.length == MAGIC.len() as u64;
            if is_empty {
                let number = segment.number;
                self.segments.pop_back();
                self.writer = None;
                drop(fs::remove_file(self.path(number)));
            }
            return Err(error);
        }
        segment.length += frames.len() as u64;
        for (level, time) in counted {
            segment.count(*level, *time);
        }
        Ok(())
    }

    /// Gives up the oldest segment.
    fn drop_first(&mut self, reason: &str) {
        if let Some(segment) = self.forget_first() {
            let between = (segment.first, segment.last);
            self.losses.lose_counts(segment.counts, between, reason);
        }
    }

    fn forget_first(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        if self.segments.is_empty() {
            self.writer = None;
        }
        self.reader = None;
        self.at = MAGIC.len() as u64;
        // A file that stays is given out again after a restart: twice, and not lost.
        drop(fs::remove_file(self.path(segment.number)));
        Some(segment)
    }

    /// Gives out what waits, as long as the sink behind takes it and time allows.
    fn replay(&mut self) {
        let until = Instant::now() + REPLAY;
        while !self.segments.is_empty() && Instant::now() < until {
            if !self.backoff.is_over(self.clock.monotonic()) {
                return;
            }
            if let Err(error) = self.replay_some() {
                self.failed(&error);
                return;
            }
        }
        if self.segments.is_empty() && self.replayed > 0 {
            let text = format!(
                "the spool {} is empty again: {} records have gone out",
                self.config.directory.display(),
                std::mem::take(&mut self.replayed)
            );
            self.losses.say(Level::Info, text);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        let text = Reason(error).to_string();
        if self.trouble.is_none() {
            let notice = format!(
                "a log sink fails: {text}; its records go to the spool {}",
                self.config.directory.display()
            );
            self.losses.say(Level::Warn, notice);
        }
        self.trouble = Some((error.kind(), text));
        self.backoff.failed(self.clock.monotonic());
    }

    /// Gives the next records to the sink behind.
    fn replay_some(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.front() else {
            return Ok(());
        };
        let (number, left) = (segment.number, segment.length.saturating_sub(self.at));
        if left == 0 {
            self.forget_first();
            self.save_position();
            return Ok(());
        }
        let bytes = match self.read(number, left) {
            Ok(bytes) => bytes,
            Err(error) => {
                let reason = format!(
                    "the spool segment {} cannot be read: {}",
                    self.path(number).display(),
                    Reason(&error)
                );
                self.drop_first(&reason);
                return Ok(());
            }
        };
        let mut records = Records { rest: &bytes };
        let mut flat = Vec::with_capacity(bytes.len());
        let mut marks = Vec::new();
        for record in records.by_ref() {
            flat.extend_from_slice(record.bytes);
            marks.push(Mark::new(record.time, record.level, record.bytes.len()));
        }
        if marks.is_empty() {
            let reason = format!(
                "the spool segment {} is damaged",
                self.path(number).display()
            );
            self.drop_first(&reason);
            return Ok(());
        }
        let batch = Batch::new(&flat, &marks);
        let result = self.inner.write(&batch);
        let taken = match &result {
            Ok(()) => flat.len(),
            // A record that was taken in part goes again whole.
            Err(unwritten) => whole(&batch, unwritten.taken),
        };
        let mut left = taken;
        for mark in marks {
            if mark.length() > left || (left == 0 && result.is_err()) {
                break;
            }
            left -= mark.length();
            self.at += (HEAD + mark.length()) as u64;
            self.replayed += 1;
            if let Some(segment) = self.segments.front_mut() {
                let count = &mut segment.counts[mark.level().index()];
                *count = count.saturating_sub(1);
            }
        }
        match result {
            Ok(()) => {
                self.trouble = None;
                self.backoff.succeeded();
                if self
                    .segments
                    .front()
                    .is_some_and(|segment| self.at >= segment.length)
                {
                    self.forget_first();
                }
                self.save_position();
                Ok(())
            }
            Err(unwritten) => {
                if taken > 0 {
                    self.save_position();
                }
                Err(unwritten.error)
            }
        }
    }

    /// Some bytes of a segment from where we are, at least one record.
    fn read(&mut self, number: u64, left: u64) -> io::Result<Vec<u8>> {
        if self.reader.as_ref().is_none_or(|(open, _)| *open != number) {
            self.reader = Some((number, open_private(&self.path(number), false)?));
        }
        let Some((_, file)) = &self.reader else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut head = [0; 4];
        file.read_exact_at(&mut head, self.at)?;
        let first = u64::from(u32::from_le_bytes(head)) + HEAD as u64;
        let size = first.max(CHUNK as u64).min(left);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
        file.read_exact_at(&mut bytes, self.at)?;
        Ok(bytes)
    }

    /// Writes down what has gone out. Where that fails, a restart gives some records out twice.
    fn save_position(&mut self) {
        let (number, at) = match self.segments.front() {
            Some(segment) => (segment.number, self.at),
            None => (self.next_number.saturating_sub(1), 0),
        };
        if let Some(file) = &self.position {
            drop(file.write_all_at(&encode_position(number, at), 0));
        }
    }
}

/// A file of the spool for reading, perhaps for writing too; nothing else that has its name.
fn open_private(path: &Path, write: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .create(write)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no plain file",
        ))
    }
}

fn encode_position(number: u64, at: u64) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&at.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn read_position(file: &File) -> Option<(u64, u64)> {
    let mut bytes = [0; 20];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let found = (
        u64::from_le_bytes(number(&bytes)?),
        u64::from_le_bytes(number(&bytes[8..])?),
    );
    (encode_position(found.0, found.1) == bytes).then_some(found)
}

/// What is in a segment, and where its first record is that has not gone out: after `skip` bytes, if a
/// record begins there.
fn survey(number: u64, bytes: &[u8], skip: u64) -> (Segment, u64) {
    let begin = MAGIC.len() as u64;
    let walk = |skip: u64| {
        let mut segment = Segment::new(number);
        let mut found = records(bytes);
        let mut is_border = skip <= begin;
        while let Some(record) = found.next() {
            if segment.length >= skip {
                segment.count(record.level, record.time);
            }
            segment.length = (bytes.len() - found.rest().len()) as u64;
            is_border |= segment.length == skip;
        }
        (segment, is_border)
    };
    match walk(skip) {
        (segment, true) => (segment, skip.max(begin)),
        (_, false) => (walk(0).0, begin),
    }
}

impl Sink for Spool {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        if !self.acquire() {
            return self.inner.write(batch);
        }
        let mut from = 0;
        if self.segments.is_empty() {
            // A sink that has just failed is not asked again for each batch.
            if self.backoff.is_over(self.clock.monotonic()) {
                match self.inner.write(batch) {
                    Ok(()) => {
                        self.trouble = None;
                        self.backoff.succeeded();
                        return Ok(());
                    }
                    Err(Unwritten { taken, error }) => {
                        from = taken;
                        self.failed(&error);
                    }
                }
            }
        }
        let (taken, result) = self.keep(batch, from);
        if let Err(error) = result {
            let text = format!(
                "cannot write to the spool {}: {}",
                self.config.directory.display(),
                Reason(&error)
            );
            let error = io::Error::new(error.kind(), text);
            return Err(Unwritten { taken, error });
        }
        self.replay();
        Ok(())
    }

    /// An error as long as records wait, so that the queue asks again.
    fn flush(&mut self) -> io::Result<()> {
        if self.acquire() {
            self.replay();
            if !self.segments.is_empty() {
                let (kind, text) = self
                    .trouble
                    .clone()
                    .unwrap_or((io::ErrorKind::WouldBlock, "more is to go out".to_owned()));
                return Err(io::Error::new(kind, text));
            }
        }
        self.inner.flush()
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.inner.reopen()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = self.losses.take_notices();
        notices.extend(self.inner.take_notices());
        notices
    }

    fn take_lost(&mut self) -> [u64; 6] {
        let mut sum = self.losses.take_lost();
        for (sum, count) in sum.iter_mut().zip(self.inner.take_lost()) {
            *sum += count;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanosecond(nanos.into()).unwrap()
    }

    #[test]
    fn a_torn_end_and_a_position_that_is_none() {
        let mut bytes = MAGIC.to_vec();
        encode(at(1), Level::Info, b"one\n", &mut bytes);
        let second = bytes.len() as u64;
        encode(at(2), Level::Error, b"two\n", &mut bytes);
        let whole = bytes.len() as u64;
        encode(at(3), Level::Error, b"three\n", &mut bytes);
        bytes.truncate(bytes.len() - 1);
        let table = [
            (0, 8, [0, 0, 1, 0, 1, 0]),
            (8, 8, [0, 0, 1, 0, 1, 0]),
            (second, second, [0, 0, 0, 0, 1, 0]),
            (whole, whole, [0; 6]),
            (second + 1, 8, [0, 0, 1, 0, 1, 0]),
            (whole + 5, 8, [0, 0, 1, 0, 1, 0]),
        ];
        for (skip, begin, counts) in table {
            let (segment, found) = survey(7, &bytes, skip);
            assert_eq!((found, segment.counts), (begin, counts), "{skip}");
            assert_eq!(segment.length, whole);
        }
        let (segment, _) = survey(7, b"no magic", 0);
        assert_eq!((segment.length, segment.counts), (8, [0; 6]));
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back_up_to_the_first_fault(
            kept in proptest::collection::vec((any::<i64>(), 0_usize..6, any::<Vec<u8>>()), 0..20),
            flip in any::<proptest::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let mut bytes = MAGIC.to_vec();
            let mut ends = Vec::new();
            for (time, level, text) in &kept {
                encode(at(*time), Level::ALL[*level], text, &mut bytes);
                ends.push(bytes.len());
            }
            let mut found = records(&bytes);
            for (time, level, text) in &kept {
                let record = found.next().unwrap();
                prop_assert_eq!(record.time, at(*time));
                prop_assert_eq!(record.level, Level::ALL[*level]);
                prop_assert_eq!(record.bytes, text.as_slice());
            }
            prop_assert!(found.next().is_none() && found.rest().is_empty());
            let place = flip.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            let sound = if place < MAGIC.len() { 0 } else { ends.iter().filter(|end| **end <= place).count() };
            prop_assert_eq!(records(&bytes).count(), sound);
        }

        #[test]
        fn bytes_of_a_stranger_do_no_harm(bytes in any::<Vec<u8>>(), skip in any::<u64>()) {
            let all = [MAGIC.as_slice(), &bytes].concat();
            let (segment, begin) = survey(1, &all, skip);
            prop_assert!(begin <= segment.length && segment.length <= all.len() as u64);
        }
    }
}

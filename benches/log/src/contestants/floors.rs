//! What the machine permits: the same line by the plainest code there is, with nothing that makes a
//! logger of it (no levels at run time, no routes, no rolling, no errors handled).

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};

use super::{Contestant, Entry, entry};
use crate::Failed;
use crate::job::Job;

const BUFFER: usize = 64 * 1024;
/// More than a line takes.
const LINE: usize = 128;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            writes: false,
            ..entry!("floor: empty call", None, "-", |_: &Job| Ok::<_, Failed>(
                Nothing
            ))
        },
        entry!("floor: fs::write at the end", None, "-", AtEnd::start),
        entry!("floor: mutex and 64 KiB buffer", None, "-", Buffer::start),
        entry!("floor: write(2) per line", None, "-", Unbuffered::start),
    ]
}

/// The level that is let through, as a logger would hold it.
static LEVEL: AtomicU8 = AtomicU8::new(INFO);
const INFO: u8 = 3;
const DEBUG: u8 = 4;

/// A load and a comparison.
#[inline(always)]
fn is_on(level: u8) -> bool {
    level <= LEVEL.load(Ordering::Relaxed)
}

/// Local time, made into text once a second.
struct Second {
    zone: TimeZone,
    held: i64,
    text: String,
}

impl Second {
    fn new() -> Self {
        Self {
            zone: TimeZone::system(),
            held: i64::MIN,
            text: String::new(),
        }
    }

    fn now(&mut self) -> &[u8] {
        let second = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        if second != self.held {
            let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            self.text = time
                .to_zoned(self.zone.clone())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string();
            self.held = second;
        }
        self.text.as_bytes()
    }
}

thread_local! {
    static SECOND: RefCell<Second> = RefCell::new(Second::new());
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends the line.
#[inline(always)]
fn line(out: &mut Vec<u8>, user: u64, attempt: u64) {
    SECOND.with_borrow_mut(|second| out.extend_from_slice(second.now()));
    out.extend_from_slice(b" INFO failed login attempt from 11.22.33.44 user ");
    out.extend_from_slice(itoa::Buffer::new().format(user).as_bytes());
    out.extend_from_slice(b" attempt ");
    out.extend_from_slice(itoa::Buffer::new().format(attempt).as_bytes());
    out.push(b'\n');
}

/// Hands the line over in the thread's own buffer.
#[inline(always)]
fn with_line(user: u64, attempt: u64, write: impl FnOnce(&[u8])) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        line(scratch, user, attempt);
        write(scratch);
    });
}

fn path(job: &Job) -> PathBuf {
    job.sink_directory(0).join("app.log")
}

/// What measuring itself costs.
struct Nothing;

impl Contestant for Nothing {
    #[inline(always)]
    fn log(&self, _: u64, _: u64) {}

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        if is_on(DEBUG) {
            self.log(user, attempt);
        }
    }

    fn finish(self) -> Result<(), Failed> {
        Ok(())
    }
}

/// Lines in memory, a piece for each thread, written by one call of `std::fs::write`.
struct AtEnd {
    path: PathBuf,
}

/// Empty pieces that threads take at their first line, and what they leave when they end: so that no
/// lock is on the way of a line.
static EMPTY: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static FULL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Piece(Vec<u8>);

impl Piece {
    fn hand_over(&mut self) {
        if !self.0.is_empty() {
            lock(&FULL).push(std::mem::take(&mut self.0));
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.hand_over();
    }
}

thread_local! {
    static PIECE: RefCell<Piece> = const { RefCell::new(Piece(Vec::new())) };
}

impl AtEnd {
    fn start(job: &Job) -> Result<Self, Failed> {
        let room = usize::try_from(job.per_thread())? * LINE;
        for _ in 0..job.threads {
            // A page that was never touched would be the price of the first line in it.
            let mut piece = vec![b'x'; room];
            piece.clear();
            lock(&EMPTY).push(piece);
        }
        Ok(Self { path: path(job) })
    }
}

impl Contestant for AtEnd {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        PIECE.with_borrow_mut(|piece| {
            if piece.0.is_empty() {
                piece.0 = lock(&EMPTY).pop().unwrap_or_default();
            }
            line(&mut piece.0, user, attempt);
        });
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        if is_on(DEBUG) {
            self.log(user, attempt);
        }
    }

    fn finish(self) -> Result<(), Failed> {
        PIECE.with_borrow_mut(Piece::hand_over);
        let mut pieces = std::mem::take(&mut *lock(&FULL));
        let mut all = pieces.pop().unwrap_or_default();
        for piece in pieces {
            all.extend_from_slice(&piece);
        }
        std::fs::write(self.path, all)?;
        Ok(())
    }
}

/// One buffer for all threads, written when the next line does not fit.
struct Buffer(Mutex<Buffered>);

struct Buffered {
    bytes: Vec<u8>,
    file: File,
    error: Option<std::io::Error>,
}

impl Buffered {
    fn write_out(&mut self) {
        if let Err(error) = self.file.write_all(&self.bytes) {
            self.error = Some(error);
        }
        self.bytes.clear();
    }
}

impl Buffer {
    fn start(job: &Job) -> Result<Self, Failed> {
        Ok(Self(Mutex::new(Buffered {
            bytes: Vec::with_capacity(BUFFER),
            file: File::create_new(path(job))?,
            error: None,
        })))
    }
}

impl Contestant for Buffer {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        with_line(user, attempt, |line| {
            let mut buffer = lock(&self.0);
            if buffer.bytes.len() + line.len() > BUFFER {
                buffer.write_out();
            }
            buffer.bytes.extend_from_slice(line);
        });
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        if is_on(DEBUG) {
            self.log(user, attempt);
        }
    }

    fn finish(self) -> Result<(), Failed> {
        let mut buffer = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        buffer.write_out();
        buffer.error.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// A file that is appended to line by line; the kernel keeps lines whole.
struct Unbuffered {
    file: File,
    failed: AtomicBool,
}

impl Unbuffered {
    fn start(job: &Job) -> Result<Self, Failed> {
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(path(job))?;
        Ok(Self {
            file,
            failed: AtomicBool::new(false),
        })
    }
}

impl Contestant for Unbuffered {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        with_line(user, attempt, |line| {
            if (&self.file).write_all(line).is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
        });
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        if is_on(DEBUG) {
            self.log(user, attempt);
        }
    }

    fn finish(self) -> Result<(), Failed> {
        if self.failed.load(Ordering::Relaxed) {
            return Err("a line could not be written".into());
        }
        Ok(())
    }
}

//! Sinks that leave the machine against real peers, scripted or not.

mod http;
mod journald;
mod spool;
mod stream;
mod syslog;
mod tls;
mod wrappers;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_base::ManualClock;
use mainstay_log::{Batch, Level, Mark, Sink, Unwritten};

/// How long something that has to happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Records on their way, as a queue has them.
#[derive(Clone, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

impl Records {
    pub(crate) fn add(&mut self, level: Level, line: &str) {
        let time = Timestamp::from_second(1_800_000_000).unwrap();
        self.add_at(time, level, line.as_bytes());
    }

    pub(crate) fn add_at(&mut self, time: Timestamp, level: Level, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.marks.push(Mark::new(time, level, bytes.len()));
    }

    /// Lines `#0000000` and so on, each padded to so many bytes.
    pub(crate) fn numbered(numbers: std::ops::Range<usize>, size: usize) -> Self {
        let mut records = Self::default();
        for number in numbers {
            records.add(Level::Info, &format!("#{number:07} {}\n", "x".repeat(size)));
        }
        records
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.bytes, &self.marks)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Takes bytes off the front, as a queue does.
    pub(crate) fn discard(&mut self, bytes: usize) {
        self.bytes.drain(..bytes);
        let mut left = bytes;
        while let Some(mark) = self.marks.first_mut() {
            if mark.length() > left {
                *mark = mark.shortened(left);
                break;
            }
            left -= mark.length();
            self.marks.remove(0);
        }
    }
}

/// Gives a sink records once, and takes those off that it has. The error of what is left.
pub(crate) fn give(sink: &mut dyn Sink, records: &mut Records) -> io::Result<()> {
    match sink.write(&records.batch()) {
        Ok(()) => {
            *records = Records::default();
            Ok(())
        }
        Err(Unwritten { taken, error }) => {
            assert!(
                taken < records.bytes.len(),
                "an error leaves something over"
            );
            records.discard(taken);
            Err(error)
        }
    }
}

/// Gives a sink records until it has all, as a queue does: after each error some time passes.
pub(crate) fn give_all(sink: &mut dyn Sink, mut records: Records, clock: &ManualClock) {
    let until = Instant::now() + PATIENCE;
    while !records.is_empty() {
        if let Err(error) = give(sink, &mut records) {
            assert!(Instant::now() < until, "{error}");
            clock.advance(Duration::from_mins(2));
            std::thread::yield_now();
        }
    }
    while let Err(error) = sink.flush() {
        assert!(Instant::now() < until, "{error}");
        clock.advance(Duration::from_mins(2));
    }
}

/// Waits for a condition.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The numbers of numbered lines; every line must be one.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<usize> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
    text.lines()
        .map(|line| {
            let number = line.strip_prefix('#').and_then(|line| line.get(..7));
            number
                .and_then(|number| number.parse().ok())
                .unwrap_or_else(|| panic!("no whole line: {line:?}"))
        })
        .collect()
}

pub(crate) fn notices(sink: &mut dyn Sink) -> Vec<String> {
    sink.take_notices()
        .into_iter()
        .map(|notice| notice.text)
        .collect()
}

/// A sink that keeps what it gets, while it is told to work.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<FakeState>>,
}

#[derive(Default)]
pub(crate) struct FakeState {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<(Timestamp, Level, usize)>,
    pub(crate) calls: usize,
    /// Takes no more than so many bytes in all.
    pub(crate) room: Option<usize>,
}

impl Fake {
    pub(crate) fn broken() -> Self {
        let fake = Self::default();
        fake.set_room(Some(0));
        fake
    }

    pub(crate) fn set_room(&self, room: Option<usize>) {
        self.state.lock().unwrap().room = room;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }
}

impl Sink for Fake {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let all = batch.bytes();
        let room = state
            .room
            .unwrap_or(usize::MAX)
            .saturating_sub(state.bytes.len());
        let taken = room.min(all.len());
        state.bytes.extend_from_slice(&all[..taken]);
        for entry in batch.entries() {
            state
                .entries
                .push((entry.time, entry.level, entry.bytes.len()));
        }
        if taken < all.len() {
            return Err(Unwritten {
                taken,
                error: io::Error::new(io::ErrorKind::ConnectionRefused, "Out of order"),
            });
        }
        Ok(())
    }
}

/// Reads until there are so many line feeds, or the end.
pub(crate) fn read_lines(from: &mut impl Read, lines: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut byte = [0];
    let mut left = lines;
    while left > 0 && from.read(&mut byte).unwrap() > 0 {
        all.push(byte[0]);
        left -= usize::from(byte == *b"\n");
    }
    all
}

/// A stream that can be read and written.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

pub(crate) fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

//! Formatted records on their way to a sink, one after another in one piece of memory.

use std::io;

use jiff::Timestamp;

use crate::level::Level;
use crate::record::Record;

/// What is known of one record beside its bytes.
///
/// Two words, so that it is handed on in registers: written to memory in parts and read back as a whole
/// it would cost a dozen cycles for each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it happened, in nanoseconds since 1970.
    time: i64,
    /// The length, above eight bits for the level.
    rest: u64,
}

impl Mark {
    /// The largest record that can be marked, in bytes.
    pub const LARGEST: usize = u32::MAX as usize;

    /// A record of this many bytes, at most [`Mark::LARGEST`].
    #[inline]
    pub fn new(time: Timestamp, level: Level, length: usize) -> Self {
        Self {
            time: time
                .as_second()
                .saturating_mul(1_000_000_000)
                .saturating_add(time.subsec_nanosecond().into()),
            rest: (length.min(Self::LARGEST) as u64) << 8 | level as u64,
        }
    }

    /// All that it says, and [`Mark::from_words`] of it is the same.
    #[inline]
    pub(crate) const fn words(self) -> [u64; 2] {
        [self.time.cast_unsigned(), self.rest]
    }

    pub(crate) const fn from_words([time, rest]: [u64; 2]) -> Self {
        Self {
            time: time.cast_signed(),
            rest,
        }
    }

    /// When it happened.
    pub fn time(self) -> Timestamp {
        Timestamp::from_nanosecond(self.time.into()).unwrap_or(Timestamp::MAX)
    }

    /// How grave it is.
    #[inline]
    pub const fn level(self) -> Level {
        match self.rest & 0xff {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warn,
            4 => Level::Error,
            _ => Level::Critical,
        }
    }

    /// How many bytes it has.
    #[inline]
    pub const fn length(self) -> usize {
        (self.rest >> 8) as usize
    }

    /// The same record without so many of its first bytes.
    #[must_use]
    pub fn shortened(self, by: usize) -> Self {
        let length = self.length().saturating_sub(by) as u64;
        Self {
            rest: length << 8 | self.level() as u64,
            ..self
        }
    }
}

/// One formatted record of a [`Batch`].
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When it happened.
    pub time: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// The record as its format wrote it, with the line feed that most formats end in.
    pub bytes: &'a [u8],
}

/// Some formatted records in the order they were written, at least one.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    marks: &'a [Mark],
    record: Option<&'a Record<'a>>,
}

impl<'a> Batch<'a> {
    /// Records that lie one after another in `bytes`, each as long as its mark says.
    pub fn new(bytes: &'a [u8], marks: &'a [Mark]) -> Self {
        debug_assert_eq!(
            bytes.len(),
            marks.iter().map(|mark| mark.length()).sum::<usize>(),
            "every byte belongs to a record"
        );
        Self {
            bytes,
            marks,
            record: None,
        }
    }

    /// The same with the record that the only entry was made of.
    pub(crate) fn of_one(bytes: &'a [u8], mark: &'a Mark, record: &'a Record<'a>) -> Self {
        Self {
            bytes,
            marks: std::slice::from_ref(mark),
            record: Some(record),
        }
    }

    /// All records as one piece, for sinks that need no borders between them.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many records there are.
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none. No sink is given such a batch.
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The records one by one.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = 0;
        self.marks.iter().map(move |mark| {
            let start = at;
            at = (at + mark.length()).min(bytes.len());
            Entry {
                time: mark.time(),
                level: mark.level(),
                bytes: &bytes[start..at],
            }
        })
    }

    /// What the only entry was made of. There is one where the sink is called in the thread that
    /// writes the record, and none behind a queue.
    pub const fn record(&self) -> Option<&'a Record<'a>> {
        self.record
    }
}

/// A batch, or its end, that a sink could not take.
#[derive(Debug)]
pub struct Unwritten {
    /// So many bytes from the first on were taken, whole records where the sink can choose. The rest
    /// can be given again and then continues them; nothing of it has been taken.
    pub taken: usize,
    /// Why.
    pub error: io::Error,
}

impl From<io::Error> for Unwritten {
    /// Nothing was taken.
    fn from(error: io::Error) -> Self {
        Self { taken: 0, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_the_records_with_what_is_known_of_them() {
        let time = "2026-11-22T06:00:00.123456789Z".parse().unwrap();
        let marks = [
            Mark::new(time, Level::Info, 2),
            Mark::new(time, Level::Error, 0),
            Mark::new(time, Level::Trace, 3),
        ];
        let batch = Batch::new(b"a\nbc\n", &marks);
        let seen: Vec<_> = batch.entries().map(|e| (e.level, e.bytes)).collect();
        assert_eq!(
            seen,
            [
                (Level::Info, &b"a\n"[..]),
                (Level::Error, b""),
                (Level::Trace, b"bc\n")
            ]
        );
        assert!(batch.entries().all(|entry| entry.time == time));
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn times_beyond_the_range_are_its_ends() {
        let mark = Mark::new(Timestamp::MAX, Level::Info, usize::MAX);
        assert!(mark.time() > "2262-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(mark.length(), Mark::LARGEST);
        assert_eq!(mark.shortened(1).length(), Mark::LARGEST - 1);
    }
}

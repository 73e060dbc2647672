//! A flight recorder: what is not let through stays in memory for a while, and is written only when
//! something goes wrong.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};

use jiff::Timestamp;

use crate::format::{Raw, text_field};
use crate::level::{Level, LevelSet};
use crate::outlet::lock;
use crate::record::{Message, Record, Spans};

/// What is recorded, and what has it written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightConfig {
    /// Records of these levels are kept where the levels do not let them through.
    pub levels: LevelSet,
    /// A record from this level up has what was kept written before it: of the same outermost span,
    /// from whatever thread, or without a span what its thread has kept.
    pub trigger: Level,
    /// So many bytes each thread keeps at most; the oldest records go first.
    pub bytes: usize,
}

impl Default for FlightConfig {
    /// Every level, written at an error, 64 KiB for each thread.
    fn default() -> Self {
        Self {
            levels: LevelSet::ALL,
            trigger: Level::Error,
            bytes: 64 << 10,
        }
    }
}

/// The recorder of one pipeline.
pub(crate) struct Flight {
    pub(crate) config: FlightConfig,
    /// Tells the recorders of pipelines apart.
    number: u64,
    /// Those of all threads; a thread that has ended takes its own along.
    tapes: Mutex<Vec<Weak<Mutex<Tape>>>>,
}

/// What a thread has kept: two halves, of which the older one is forgotten when the newer is full.
#[derive(Default)]
struct Tape {
    older: Half,
    newer: Half,
}

#[derive(Default)]
struct Half {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    time: Timestamp,
    level: Level,
    root: Option<u64>,
    target: Range<usize>,
    message: Range<usize>,
    spans_text: Range<usize>,
    spans_json: Range<usize>,
}

/// A record as it comes from a tape.
pub(crate) struct Kept {
    pub(crate) time: Timestamp,
    pub(crate) level: Level,
    target: String,
    message: String,
    root: Option<u64>,
    spans_text: String,
    spans_json: String,
}

thread_local! {
    static TAPE: RefCell<Option<(u64, Arc<Mutex<Tape>>)>> = const { RefCell::new(None) };
}

impl Flight {
    pub(crate) fn new(config: FlightConfig, number: u64) -> Self {
        Self {
            config,
            number,
            tapes: Mutex::new(Vec::new()),
        }
    }

    /// Keeps a record that is not let through.
    pub(crate) fn keep(&self, record: &Record<'_>) {
        if let Some(tape) = self.own_tape() {
            lock(&tape).keep(record, self.config.bytes / 2);
        }
    }

    /// This thread's tape. A thread that is ending, and one that logs while it logs, has none.
    fn own_tape(&self) -> Option<Arc<Mutex<Tape>>> {
        TAPE.try_with(|held| {
            let mut held = held.try_borrow_mut().ok()?;
            if let Some((number, tape)) = &*held
                && *number == self.number
            {
                return Some(Arc::clone(tape));
            }
            let tape = Arc::new(Mutex::new(Tape::default()));
            let mut tapes = lock(&self.tapes);
            tapes.retain(|tape| tape.strong_count() > 0);
            tapes.push(Arc::downgrade(&tape));
            *held = Some((self.number, Arc::clone(&tape)));
            Some(tape)
        })
        .ok()
        .flatten()
    }

    /// Takes what belongs to this record, oldest first: what has been taken is not kept any more.
    pub(crate) fn take(&self, record: &Record<'_>) -> Vec<Kept> {
        let mut kept = Vec::new();
        match record.spans {
            Some(Spans { root, .. }) => {
                let tapes: Vec<_> = lock(&self.tapes).iter().filter_map(Weak::upgrade).collect();
                for tape in tapes {
                    lock(&tape).take(&mut kept, |entry| entry.root == Some(root));
                }
            }
            None => {
                if let Some(tape) = self.own_tape() {
                    lock(&tape).take(&mut kept, |entry| entry.root.is_none());
                }
            }
        }
        // Each thread's are in order already.
        kept.sort_by_key(|kept| kept.time);
        kept
    }
}

impl Tape {
    fn keep(&mut self, record: &Record<'_>, most: usize) {
        if self.newer.bytes.len() >= most {
            std::mem::swap(&mut self.older, &mut self.newer);
            self.newer.bytes.clear();
            self.newer.entries.clear();
        }
        self.newer.keep(record);
    }

    fn take(&mut self, kept: &mut Vec<Kept>, wanted: impl Fn(&Entry) -> bool) {
        for half in [&mut self.older, &mut self.newer] {
            let bytes = &half.bytes;
            half.entries.retain(|entry| {
                let taken = wanted(entry);
                if taken {
                    let text = |range: &Range<usize>| {
                        String::from_utf8_lossy(&bytes[range.clone()]).into_owned()
                    };
                    kept.push(Kept {
                        time: entry.time,
                        level: entry.level,
                        target: text(&entry.target),
                        message: text(&entry.message),
                        root: entry.root,
                        spans_text: text(&entry.spans_text),
                        spans_json: text(&entry.spans_json),
                    });
                }
                !taken
            });
        }
    }
}

impl Half {
    fn keep(&mut self, record: &Record<'_>) {
        let out = &mut self.bytes;
        let mut part = |write: &mut dyn FnMut(&mut Vec<u8>)| {
            let start = out.len();
            write(out);
            start..out.len()
        };
        let target = part(&mut |out| out.extend_from_slice(record.target.as_bytes()));
        let message = part(&mut |out| {
            match record.message {
                Message::Text(text) => out.extend_from_slice(text.as_bytes()),
                Message::Bytes(bytes) => out.extend_from_slice(bytes),
                // What cannot be shown is cut off where it fails.
                Message::Format(arguments) => drop(Raw(out).write_fmt(arguments)),
                Message::Parts(append) => drop(append(out)),
            }
            for (key, value) in record.fields {
                text_field(key, *value, out);
            }
        });
        let spans = record.spans;
        let spans_text = part(&mut |out| {
            out.extend_from_slice(spans.map_or("", |spans| spans.text).as_bytes());
        });
        let spans_json = part(&mut |out| {
            out.extend_from_slice(spans.map_or("", |spans| spans.json).as_bytes());
        });
        self.entries.push(Entry {
            time: record.time,
            level: record.level,
            root: spans.map(|spans| spans.root),
            target,
            message,
            spans_text,
            spans_json,
        });
    }
}

impl Kept {
    /// The record again. Its fields are text in the message by now.
    pub(crate) fn record(&self) -> Record<'_> {
        let spans = self.root.map(|root| Spans {
            text: &self.spans_text,
            json: &self.spans_json,
            root,
        });
        Record::new(self.time, self.level, &self.target, self.message.as_str()).spans(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;

    fn record<'a>(second: i64, message: &'a str, spans: Option<Spans<'a>>) -> Record<'a> {
        let time = Timestamp::from_second(second).unwrap();
        Record::new(time, Level::Debug, "t", message).spans(spans)
    }

    fn spans(root: u64) -> Spans<'static> {
        Spans {
            text: "request",
            json: "{}",
            root,
        }
    }

    fn texts(kept: &[Kept]) -> Vec<&str> {
        kept.iter().map(|kept| kept.message.as_str()).collect()
    }

    #[test]
    fn what_belongs_together_is_taken_once_and_in_order() {
        let flight = Flight::new(FlightConfig::default(), u64::MAX);
        flight.keep(&record(1, "alone", None));
        flight.keep(&record(2, "of request 1", Some(spans(1))));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                flight.keep(&record(3, "of request 2", Some(spans(2))));
                flight.keep(&record(0, "of request 1, elsewhere", Some(spans(1))));
                let taken = flight.take(&record(9, "error", Some(spans(1))));
                assert_eq!(texts(&taken), ["of request 1, elsewhere", "of request 1"]);
            });
        });
        assert_eq!(
            texts(&flight.take(&record(9, "error", Some(spans(1))))),
            [""; 0]
        );
        let taken = flight.take(&record(9, "error", None));
        assert_eq!(texts(&taken), ["alone"]);
    }

    #[test]
    fn the_oldest_go_and_fields_are_text() {
        let config = FlightConfig {
            bytes: 100,
            ..FlightConfig::default()
        };
        let flight = Flight::new(config, u64::MAX - 1);
        for n in 0..100 {
            let fields = [("n", Value::Signed(n)), ("text", Value::Text("a b"))];
            flight.keep(&record(n, "m", None).fields(&fields));
        }
        let taken = flight.take(&record(100, "error", None));
        assert!((3..20).contains(&taken.len()), "{}", taken.len());
        assert_eq!(taken.last().unwrap().message, "m n=99 text=\"a b\"");
    }
}

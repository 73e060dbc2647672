//! Faults in one stream of output: bytes come in, occurrences come out. Pure.
//!
//! Most output holds none, and a first look at a whole chunk says so; only where that finds a word that
//! a traceback has are lines cut, joined to records and looked at.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_fault::Recogniser;
use mainstay_fault::ledger::Occurrence;
use mainstay_log::{Joiner, Limits};
use regex::bytes::Regex;

/// How many lines before a traceback are kept with it.
const AROUND: usize = 10;
/// In how many bytes these are looked for.
const HISTORY: usize = 4096;

/// What every traceback that [`Recogniser`] knows has somewhere.
static SIGNS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)Traceback \(most|panic|goroutine |(?i:fatal error)|Parse error|Uncaught|Exception in thread|Caused by:|(?:\t|  |\\t|\\n *)at |\.rb:|Stack trace|stacktrace|overflowed its stack|memory allocation of|fatal runtime error|OutOfMemory|heap out of memory|Node\.js v|syntax error|SyntaxError|IndentationError|TabError",
    )
    .expect("the pattern is a constant")
});

/// Looks through one stream of one process.
pub(super) struct Finder {
    app: String,
    joiner: Joiner,
    /// The end of what came before.
    history: Vec<u8>,
    /// How many bytes at its end belong to a record that is not known to be over.
    open: usize,
}

impl Finder {
    pub(super) fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            joiner: Joiner::new(Limits::default()),
            history: Vec::new(),
            open: 0,
        }
    }

    /// How many bytes of what was pushed belong to a record that is not known to be over.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// When [`Self::on_time`] should be called, on the clock of [`Self::push`].
    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.joiner.wake_at()
    }

    /// Takes whole lines. Of faults of one kind in `found` there is one, with their number.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        now: Duration,
        at: Timestamp,
        found: &mut Vec<Occurrence>,
    ) {
        if self.open > 0 || SIGNS.is_match(chunk) {
            self.look(chunk, now, at, found);
        }
        let keep = HISTORY + self.open;
        if chunk.len() >= keep {
            self.history.clear();
            self.history.extend_from_slice(&chunk[chunk.len() - keep..]);
        } else {
            let surplus = (self.history.len() + chunk.len()).saturating_sub(keep);
            self.history.drain(..surplus);
            self.history.extend_from_slice(chunk);
        }
    }

    fn look(&mut self, chunk: &[u8], now: Duration, at: Timestamp, found: &mut Vec<Occurrence>) {
        let Self {
            app,
            joiner,
            history,
            open,
        } = self;
        // Where the open record began: so many bytes before the chunk, or at this place in it.
        let mut start = (*open > 0).then(|| -offset(*open));
        let mut place = 0;
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            let here = offset(place);
            place += line.len();
            let was_open = start;
            let mut emitted = false;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            joiner.line(line, now, 0, |joined| {
                // What is handed on first is the record that was open; without one, this line.
                let began = was_open.filter(|_| !emitted).unwrap_or(here);
                emitted = true;
                let before = || around(history, chunk, began);
                take(app, joined.bytes, at, before, found);
            });
            start = match joiner.wake_at() {
                None => None,
                Some(_) if emitted => Some(here),
                Some(_) => start.or(Some(here)),
            };
        }
        *open = start.map_or(0, |start| {
            usize::try_from(offset(chunk.len()) - start).unwrap_or(0)
        });
    }

    /// Takes the open record for whole, if its time is over.
    pub(super) fn on_time(&mut self, now: Duration, at: Timestamp, found: &mut Vec<Occurrence>) {
        if self.wake_at().is_some_and(|wake| now >= wake) {
            self.finish(at, found);
        }
    }

    /// Takes the open record for whole.
    pub(super) fn finish(&mut self, at: Timestamp, found: &mut Vec<Occurrence>) {
        let Self {
            app,
            joiner,
            history,
            open,
        } = self;
        let began = -offset(*open);
        joiner.finish(|joined| {
            take(app, joined.bytes, at, || around(history, &[], began), found);
        });
        self.open = 0;
    }
}

fn offset(place: usize) -> isize {
    isize::try_from(place).unwrap_or(isize::MAX)
}

/// The lines before a place in the chunk, or before its start; what came before the chunk is `history`.
fn around(history: &[u8], chunk: &[u8], began: isize) -> Vec<String> {
    let (history, chunk) = if let Ok(began) = usize::try_from(began) {
        (history, &chunk[..began.min(chunk.len())])
    } else {
        let back = began.unsigned_abs().min(history.len());
        (&history[..history.len() - back], &[][..])
    };
    let from = chunk.len().saturating_sub(HISTORY);
    let mut text = if from == 0 {
        history.to_vec()
    } else {
        Vec::new()
    };
    text.extend_from_slice(&chunk[from..]);
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(AROUND);
    lines[from..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// Looks at one record.
fn take(
    app: &str,
    record: &[u8],
    at: Timestamp,
    before: impl FnOnce() -> Vec<String>,
    found: &mut Vec<Occurrence>,
) {
    if !SIGNS.is_match(record) {
        return;
    }
    let Some(fault) = Recogniser::new().fault(&String::from_utf8_lossy(record)) else {
        return;
    };
    let like = found
        .iter_mut()
        .find(|other| other.app == app && other.fingerprint == fault.fingerprint());
    if let Some(like) = like {
        like.count += 1;
        like.last = at;
        return;
    }
    let mut occurrence = Occurrence::of(app, &fault, at);
    occurrence.detail.records = before();
    found.push(occurrence);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "Traceback (most recent call last):\n  File \"/srv/shop/app.py\", line 12, in order\n    price = prices[sku]\nKeyError: 'A-17'\n";

    fn at() -> Timestamp {
        Timestamp::from_second(1_770_000_000).unwrap()
    }

    /// What is found in the text when it comes in chunks of whole lines of about this size.
    fn found(text: &str, size: usize) -> Vec<Occurrence> {
        let mut finder = Finder::new("web");
        let mut found = Vec::new();
        let mut chunk = Vec::new();
        for line in text.as_bytes().split_inclusive(|byte| *byte == b'\n') {
            chunk.extend_from_slice(line);
            if chunk.len() >= size {
                finder.push(&chunk, Duration::ZERO, at(), &mut found);
                chunk.clear();
            }
        }
        finder.push(&chunk, Duration::ZERO, at(), &mut found);
        finder.finish(at(), &mut found);
        assert_eq!(finder.open(), 0);
        found
    }

    #[test]
    fn whatever_chunks_it_comes_in_the_same_is_found() {
        let lines: Vec<String> = (0..20).map(|n| format!("line {n}\n")).collect();
        let lines = lines.concat();
        let text = format!("{lines}{TRACE}after it\n{TRACE}{lines}");
        for size in [1, 30, 60, 100, 250, 10_000] {
            let found = found(&text, size);
            assert_eq!(found.len(), 1, "{size}");
            assert_eq!(found[0].count, 2, "{size}");
            assert_eq!(found[0].title, "KeyError: 'A-17'");
            let around: Vec<String> = (10..20).map(|n| format!("line {n}")).collect();
            assert_eq!(found[0].detail.records, around, "{size}");
        }
    }

    /// What is not known to be over is read again by the next daemon, from its first byte.
    #[test]
    fn it_says_how_much_is_not_over() {
        let mut finder = Finder::new("web");
        let mut found = Vec::new();
        finder.push(b"one\ntwo\n", Duration::ZERO, at(), &mut found);
        assert_eq!((finder.open(), finder.wake_at()), (0, None));
        let (head, rest) = TRACE.split_at(TRACE.find("    price").unwrap());
        let first = format!("three\n{head}");
        finder.push(first.as_bytes(), Duration::ZERO, at(), &mut found);
        assert_eq!(finder.open(), head.len());
        finder.push(rest.as_bytes(), Duration::ZERO, at(), &mut found);
        assert_eq!(finder.open(), TRACE.len());
        assert!(found.is_empty());
        finder.on_time(Duration::from_millis(1), at(), &mut found);
        assert!(found.is_empty(), "it waits for more");
        finder.on_time(Duration::from_secs(1), at(), &mut found);
        assert_eq!((found.len(), finder.open()), (1, 0));
        assert_eq!(found[0].detail.records, ["one", "two", "three"]);
        // A record that ends by the next one.
        let text = format!("{TRACE}{TRACE}");
        finder.push(text.as_bytes(), Duration::ZERO, at(), &mut found);
        assert_eq!((found[0].count, finder.open()), (2, TRACE.len()));
    }

    /// The first look passes over no traceback that would be found.
    #[test]
    fn every_traceback_has_a_sign() {
        let mut text = String::new();
        let mut checked = 0;
        let all = include_str!("../../../fault/src/recognise/traces.txt");
        for row in all.lines().chain(["## end"]) {
            if row.starts_with("## ") {
                if Recogniser::new().find(&text).is_some() {
                    assert!(SIGNS.is_match(text.as_bytes()), "{text}");
                    checked += 1;
                }
                text.clear();
            } else if let Some(line) = row.strip_prefix('>') {
                let line = line.strip_prefix(' ').unwrap_or(line);
                text.push_str(&line.replace("\\t", "\t").replace("\\e", "\x1b"));
                text.push('\n');
            }
        }
        assert!(checked > 50, "{checked}");
        for usual in [
            "listening at http://127.0.0.1:80\n",
            "2026-01-01 12:00:00 INFO GET / 200 at home\n",
            "ERROR payment refused: card expired\n",
        ] {
            assert!(!SIGNS.is_match(usual.as_bytes()), "{usual}");
        }
    }
}

//! Grafana Loki: its push API with JSON (Loki HTTP API, `POST /loki/api/v1/push`).
//!
//! Takes records of any format: the line is what the format rendered, the level is a label.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_base::Clock;

use super::http::{Http, HttpConfig, Passing, post_batch};
use super::losses::Losses;
use super::text::{self, Raw};
use crate::batch::{Batch, Entry, Unwritten};
use crate::error::{Error, Notice};
use crate::level::Level;
use crate::sink::Sink;

/// The path of an address that has none.
const PATH: &str = "/loki/api/v1/push";
/// A time that lies so little before the one before it in its stream is moved behind it.
const SKEW: i128 = 1_000_000_000;

/// Where records for Loki go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LokiConfig {
    /// The address, for instance `http://localhost:3100`; without a path it is `/loki/api/v1/push`.
    /// `X-Scope-OrgID` and `Authorization` are headers.
    pub http: HttpConfig,
    /// Labels of every stream. `level` is added to them.
    pub labels: Vec<(String, String)>,
}

impl LokiConfig {
    /// An address and a label `job`.
    pub fn new(url: impl Into<String>, job: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            labels: vec![("job".to_owned(), job.into())],
        }
    }
}

/// Pushes records to Loki, those of each level as one stream.
///
/// Times within a stream grow: of two records with the same time and line Loki would drop one. A
/// record that is pushed again because an answer was lost has the same time again, and Loki keeps it
/// once.
pub struct LokiSink {
    http: Http,
    labels: Vec<(String, String)>,
    /// The last time of each level's stream that was taken, in nanoseconds since 1970.
    last: [i128; 6],
    losses: Losses,
}

impl LokiSink {
    /// Checks the config and reads certificates; connects at the first record.
    pub fn open(config: LokiConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        for (name, _) in &config.labels {
            let is_name = name.bytes().enumerate().all(|(at, byte)| {
                byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
            });
            if name.is_empty() || !is_name || name == "level" {
                return Err(Error::setup(
                    format!("the label `{}` for Loki", name.escape_debug()),
                    io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "a label has letters, digits and _ only, and is not `level`",
                    ),
                ));
            }
        }
        Ok(Self {
            http: Http::new(config.http, PATH, clock)?,
            labels: config.labels,
            last: [i128::MIN; 6],
            losses: Losses::default(),
        })
    }
}

/// The body of a push, and the last time of each stream after it.
fn body(
    labels: &[(String, String)],
    mut last: [i128; 6],
    entries: &[Entry<'_>],
) -> (Vec<u8>, [i128; 6]) {
    let mut out = b"{\"streams\":[".to_vec();
    let mut first_stream = true;
    for level in Level::ALL {
        let mut first = true;
        for entry in entries.iter().filter(|entry| entry.level == level) {
            if first {
                if !std::mem::take(&mut first_stream) {
                    out.push(b',');
                }
                // Writing to memory cannot fail, here and below.
                let _ = write!(Raw(&mut out), "{{\"stream\":{{\"level\":\"{level}\"");
                for (name, value) in labels {
                    out.push(b',');
                    text::json(name, &mut out);
                    out.push(b':');
                    text::json(value, &mut out);
                }
                out.extend_from_slice(b"},\"values\":[");
            } else {
                out.push(b',');
            }
            first = false;
            let time = place(entry.time, &mut last[level.index()]);
            let _ = write!(Raw(&mut out), "[\"{time}\",");
            text::json_bytes(text::chomped(entry.bytes), &mut out);
            out.push(b']');
        }
        if !first {
            out.extend_from_slice(b"]}");
        }
    }
    out.extend_from_slice(b"]}");
    (out, last)
}

/// The time of a record in its stream.
fn place(time: Timestamp, last: &mut i128) -> i128 {
    let time = time.as_nanosecond();
    let placed = if time <= *last && *last - time < SKEW {
        *last + 1
    } else {
        time
    };
    *last = placed;
    placed
}

impl Sink for LokiSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let labels = &self.labels;
        let last = std::cell::Cell::new(self.last);
        let next = std::cell::Cell::new(self.last);
        let result = post_batch(
            &mut self.http,
            &mut self.losses,
            batch,
            Passing::All,
            |entries| {
                let (body, after) = body(labels, last.get(), entries);
                next.set(after);
                body
            },
            |_, _, _| last.set(next.get()),
        );
        self.last = last.get();
        result
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.http.reopen()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        self.losses.take_notices()
    }

    fn take_lost(&mut self) -> [u64; 6] {
        self.losses.take_lost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_levels_and_times_grow() {
        let at = |nanos: i128| Timestamp::from_nanosecond(nanos).unwrap();
        let entry = |nanos, level, bytes: &'static [u8]| Entry {
            time: at(nanos),
            level,
            bytes,
        };
        let entries = [
            entry(10, Level::Info, b"a\n"),
            entry(10, Level::Error, b"say \"b\"\n"),
            entry(10, Level::Info, b"c"),
            entry(5, Level::Info, b"d\xff\n"),
            entry(5_000_000_000, Level::Info, b"e"),
            entry(0, Level::Info, b"the clock went back"),
        ];
        let labels = [("job".to_owned(), "x\"y".to_owned())];
        let (bytes, last) = body(&labels, [i128::MIN; 6], &entries);
        let found: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected = serde_json::json!({ "streams": [
            {
                "stream": { "level": "info", "job": "x\"y" },
                "values": [
                    ["10", "a"], ["11", "c"], ["12", "d\u{fffd}"],
                    ["5000000000", "e"], ["0", "the clock went back"],
                ],
            },
            { "stream": { "level": "error", "job": "x\"y" }, "values": [["10", "say \"b\""]] },
        ] });
        assert_eq!(found, expected);
        assert_eq!(last[Level::Error.index()], 10);
        let (again, _) = body(&labels, [i128::MIN; 6], &entries);
        assert_eq!(again, bytes, "a second try says the same");
    }
}

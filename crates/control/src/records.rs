//! How records travel: what [`LogQuery::records`](crate::wire::LogQuery::records) is answered with.
//!
//! Each record is a line `TIME LEVEL BYTES`, then so many bytes, then a line feed. TIME is nanoseconds
//! since 1970-01-01 UTC, LEVEL a name. When the past has ended and what follows is new, a line `-`
//! comes.

use std::collections::VecDeque;

use jiff::Timestamp;

/// A line of the head is never longer.
const HEAD: usize = 64;
/// No record is larger.
const LIMIT: usize = 16 << 20;

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record {
        /// When it was.
        time: Timestamp,
        /// The name of its level.
        level: String,
        /// Its lines, without the last line feed.
        text: Vec<u8>,
    },
    /// What follows is new.
    Now,
}

/// Writes a record.
pub fn record(time: Timestamp, level: &str, text: &[u8], out: &mut Vec<u8>) {
    let head = format!("{} {level} {}\n", time.as_nanosecond(), text.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Writes that what follows is new.
pub fn now(out: &mut Vec<u8>) {
    out.extend_from_slice(b"-\n");
}

/// What came is not of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer is no list of records")
    }
}

impl std::error::Error for Malformed {}

/// Reads records from chunks.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: VecDeque<u8>,
}

impl Reader {
    /// Takes what has come.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
    }

    /// The next item; `None` until it has come whole.
    pub fn item(&mut self) -> Result<Option<Item>, Malformed> {
        let Some(feed) = self.bytes.iter().take(HEAD).position(|byte| *byte == b'\n') else {
            return if self.bytes.len() >= HEAD {
                Err(Malformed)
            } else {
                Ok(None)
            };
        };
        let head: Vec<u8> = self.bytes.iter().take(feed).copied().collect();
        if head == b"-" {
            self.bytes.drain(..=feed);
            return Ok(Some(Item::Now));
        }
        let head = std::str::from_utf8(&head).map_err(|_| Malformed)?;
        let mut parts = head.split(' ');
        let time = parts.next().and_then(|part| part.parse().ok());
        let time = time.and_then(|time| Timestamp::from_nanosecond(time).ok());
        let (Some(time), Some(level), Some(Ok(length)), None) = (
            time,
            parts.next(),
            parts.next().map(str::parse::<usize>),
            parts.next(),
        ) else {
            return Err(Malformed);
        };
        if length > LIMIT {
            return Err(Malformed);
        }
        let whole = feed + 1 + length + 1;
        if self.bytes.len() < whole {
            return Ok(None);
        }
        let level = level.to_owned();
        self.bytes.drain(..=feed);
        let text: Vec<u8> = self.bytes.drain(..length).collect();
        if self.bytes.pop_front() != Some(b'\n') {
            return Err(Malformed);
        }
        Ok(Some(Item::Record { time, level, text }))
    }

    /// Whether nothing is left of what came.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_chunks_it_comes_in() {
        let items = [
            Item::Record {
                time: Timestamp::from_nanosecond(1_767_366_245_123_456_789).unwrap(),
                level: "error".into(),
                text: b"one\n  two\n\xff- 3\n".to_vec(),
            },
            Item::Now,
            Item::Record {
                time: Timestamp::UNIX_EPOCH,
                level: "info".into(),
                text: Vec::new(),
            },
        ];
        let mut bytes = Vec::new();
        for item in &items {
            match item {
                Item::Record { time, level, text } => record(*time, level, text, &mut bytes),
                Item::Now => now(&mut bytes),
            }
        }
        for size in 1..=bytes.len() {
            let mut reader = Reader::default();
            let mut read = Vec::new();
            for chunk in bytes.chunks(size) {
                reader.push(chunk);
                while let Some(item) = reader.item().unwrap() {
                    read.push(item);
                }
            }
            assert_eq!(read, items, "in chunks of {size}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for text in [
            "\n",
            "1 error\n",
            "x error 1\na\n",
            "1 error 1 1\na\n",
            "1 error 1\nab",
            "1 error 99999999999\n",
            "1 error -1\n",
            "--\n",
            "0123456789012345678901234567890123456789012345678901234567890123456789",
        ] {
            let mut reader = Reader::default();
            reader.push(text.as_bytes());
            assert_eq!(reader.item(), Err(Malformed), "{text:?}");
        }
    }
}

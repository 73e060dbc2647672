//! How large files get and which rolled ones are kept: the deciding part of rolling, pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How large a log file gets before it is rolled, and how long the rolled ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Bytes a file may hold; `None` never rolls. Zero means the same, as in supervisord.
    pub size: Option<u64>,
    /// How many rolled files are kept beside the current one; `None` keeps all.
    pub files: Option<u32>,
    /// Rolled files last written longer ago than this are deleted.
    pub age: Option<Duration>,
    /// Bytes that the current and the rolled files may hold together; the oldest go first. The
    /// current file is never deleted for it.
    pub total: Option<u64>,
}

impl Retention {
    /// One file that grows for ever.
    pub const NONE: Self = Self {
        size: None,
        files: None,
        age: None,
        total: None,
    };
}

impl Default for Retention {
    /// 50 MB, ten rolled files, whatever their age: what supervisord does.
    fn default() -> Self {
        Self {
            size: Some(50_000_000),
            files: Some(10),
            age: None,
            total: None,
        }
    }
}

/// What to do next with bytes that are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write so many of them, at least one.
    Write(usize),
    /// Begin a new file first.
    Turn,
}

/// Decides it so that no line is cut: neither are lines moved to the next file while they fit into
/// this one, nor does a file end within a line, unless the line alone is longer than `cut`.
///
/// `position` is the size of the file, `line` the length of the unfinished line at its end, `limit`
/// the size at which files end. `data` is not empty.
pub(crate) fn step(position: u64, line: u64, limit: u64, cut: u64, data: &[u8]) -> Step {
    let room = usize::try_from(limit.saturating_sub(position)).unwrap_or(usize::MAX);
    if data.len() <= room {
        return Step::Write(data.len());
    }
    if position > 0 && room == 0 && (line == 0 || line >= cut) {
        return Step::Turn;
    }
    if let Some(end) = data[..room].iter().rposition(|byte| *byte == b'\n') {
        return Step::Write(end + 1);
    }
    if line == 0 && position > 0 {
        // The next line does not fit.
        return Step::Turn;
    }
    // Within a line, or at the start of one that is longer than a file may be.
    let rest = usize::try_from(cut.saturating_sub(line)).unwrap_or(usize::MAX);
    let end = data
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(data.len(), |at| at + 1);
    match end.min(rest) {
        0 => Step::Turn,
        bytes => Step::Write(bytes),
    }
}

/// A rolled file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rolled {
    /// Its number: 1 is the newest.
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) modified: Option<Timestamp>,
}

/// The numbers of the files that retention no longer keeps.
pub(crate) fn doomed(
    rolled: &[Rolled],
    current: u64,
    retention: &Retention,
    now: Timestamp,
) -> Vec<u32> {
    let mut sorted = rolled.to_vec();
    sorted.sort_unstable_by_key(|file| file.number);
    let mut total = current;
    let mut full = false;
    sorted
        .iter()
        .filter(|file| {
            let surplus = retention.files.is_some_and(|files| file.number > files);
            let expired = match (retention.age, file.modified) {
                (Some(age), Some(modified)) => SignedDuration::try_from(age)
                    .is_ok_and(|age| modified.duration_until(now) > age),
                _ => false,
            };
            let gone = surplus || expired;
            if !gone {
                total = total.saturating_add(file.size);
                full |= retention.total.is_some_and(|limit| total > limit);
            }
            gone || full
        })
        .map(|file| file.number)
        .collect()
}

/// The number in `name`, the name of a file rolled from `base`: `base.7` is 7.
///
/// Only what rolling itself makes counts: no leading zero and at most five digits, so that
/// `base.20261122`, as logrotate's `dateext` names them, is never taken for one of ours and deleted.
pub(crate) fn number_of(base: &[u8], name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(base)?.strip_prefix(b".")?;
    if digits.is_empty()
        || digits.len() > 5
        || digits[0] == b'0'
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        use Step::{Turn, Write};
        // position, line, limit, data
        let table: [(u64, u64, u64, &str, Step); 18] = [
            (0, 0, 10, "abc\n", Write(4)),
            (0, 0, 10, "123456789\n", Write(10)),
            (6, 0, 10, "abc\n", Write(4)),
            (6, 0, 10, "ab\ncd\n", Write(3)),
            (7, 0, 10, "abc\n", Turn),
            (10, 0, 10, "a\n", Turn),
            (12, 0, 10, "a\n", Turn),
            // A line longer than a file is cut at the size of one.
            (0, 0, 10, "1234567890abc\n", Write(10)),
            (5, 0, 10, "1234567890abc\n", Turn),
            (10, 10, 10, "abc\n", Turn),
            (25, 10, 10, "abc\n", Turn),
            // Within a line its end still comes here.
            (9, 3, 10, "abc\ndef\n", Write(4)),
            (10, 3, 10, "abc\ndef\n", Write(4)),
            (14, 4, 10, "abc", Write(3)),
            (9, 3, 10, "\nabc\n", Write(1)),
            // ... unless that makes it longer than a file.
            (10, 3, 10, "1234567890\n", Write(7)),
            (17, 10, 10, "890\n", Turn),
            (3, 3, 10, "1234567890", Write(7)),
        ];
        for (position, line, limit, data, expected) in table {
            assert_eq!(
                step(position, line, limit, limit, data.as_bytes()),
                expected,
                "at {position}, in a line of {line}, {data:?}"
            );
        }
    }

    #[test]
    fn which_files_go() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let file = |number, size, hours: i64| Rolled {
            number,
            size,
            modified: Some(now - SignedDuration::from_hours(hours)),
        };
        let files = [
            file(3, 10, 72),
            file(1, 10, 1),
            file(2, 10, 24),
            file(9, 10, 80),
        ];
        let keep = |files, hours, total| Retention {
            size: None,
            files,
            age: Option::map(hours, |h: u64| Duration::from_secs(h * 3600)),
            total,
        };
        let table: [(Retention, &[u32]); 8] = [
            (keep(None, None, None), &[]),
            (keep(Some(3), None, None), &[9]),
            (keep(Some(0), None, None), &[1, 2, 3, 9]),
            (keep(None, Some(24), None), &[3, 9]),
            (keep(Some(2), Some(1000), None), &[3, 9]),
            (keep(None, None, Some(30)), &[3, 9]),
            (keep(None, None, Some(4)), &[1, 2, 3, 9]),
            (keep(Some(9), Some(25), Some(1000)), &[3, 9]),
        ];
        for (retention, expected) in table {
            assert_eq!(
                doomed(&files, 5, &retention, now),
                expected,
                "{retention:?}"
            );
        }
    }

    #[test]
    fn names() {
        let table: [(&str, Option<u32>); 10] = [
            ("f.log.1", Some(1)),
            ("f.log.10", Some(10)),
            ("f.log.99999", Some(99_999)),
            ("f.log", None),
            ("f.log.", None),
            ("f.log.0", None),
            ("f.log.01", None),
            ("f.log.1b", None),
            ("f.log.20261122", None),
            ("g.log.1", None),
        ];
        for (name, expected) in table {
            assert_eq!(number_of(b"f.log", name.as_bytes()), expected, "{name}");
        }
    }
}

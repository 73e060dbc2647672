//! How large files get and which rolled ones are kept: the deciding part of rolling, pure.

use std::ffi::OsString;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::pack::Compression;
use crate::period::Every;

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
    /// A file is rolled when this ends, whatever its size.
    pub every: Option<Every>,
    /// Rolled files are compressed, one after another and in the background.
    pub compress: Option<Compression>,
}

impl Retention {
    /// One file that grows for ever.
    pub const NONE: Self = Self {
        size: None,
        files: None,
        age: None,
        total: None,
        every: None,
        compress: None,
    };
}

impl Default for Retention {
    /// 50 MB, ten rolled files, whatever their age: what supervisord does.
    fn default() -> Self {
        Self {
            size: Some(50_000_000),
            files: Some(10),
            ..Self::NONE
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rolled {
    pub(crate) name: OsString,
    /// The number in its name, if it has one.
    pub(crate) serial: Option<u64>,
    /// It is compressed.
    pub(crate) packed: bool,
    /// How far it is from the current file: 1 is the newest.
    pub(crate) place: u64,
    pub(crate) size: u64,
    pub(crate) modified: Option<Timestamp>,
}

/// Which of the rolled files, newest first, retention no longer keeps.
pub(crate) fn doomed<'a>(
    rolled: &'a [Rolled],
    current: u64,
    retention: &Retention,
    now: Timestamp,
) -> Vec<&'a Rolled> {
    let mut total = current;
    let mut full = false;
    rolled
        .iter()
        .filter(|file| {
            let surplus = retention
                .files
                .is_some_and(|files| file.place > files.into());
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
        .collect()
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
        let file = |place, size, hours: i64| Rolled {
            name: format!("f.log.{place}").into(),
            serial: Some(place),
            packed: false,
            place,
            size,
            modified: Some(now - SignedDuration::from_hours(hours)),
        };
        let files = [
            file(1, 10, 1),
            file(2, 10, 24),
            file(3, 10, 72),
            file(9, 10, 80),
        ];
        let keep = |files, hours, total| Retention {
            files,
            age: Option::map(hours, |h: u64| Duration::from_secs(h * 3600)),
            total,
            ..Retention::NONE
        };
        let table: [(Retention, &[u64]); 8] = [
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
            let doomed: Vec<u64> = doomed(&files, 5, &retention, now)
                .iter()
                .map(|file| file.place)
                .collect();
            assert_eq!(doomed, expected, "{retention:?}");
        }
    }
}

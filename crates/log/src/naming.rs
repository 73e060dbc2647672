//! How rolled files are called, and which files in a directory are such. The deciding part is pure.

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::retention::Rolled;
use crate::seelog::DateLayout;
use crate::target::parent_of;

/// How the files are called that a file is rolled to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Naming {
    /// `f.log.1` is the newest, and each number moves up by one when the file is rolled: as
    /// supervisord and logrotate do.
    #[default]
    Shifted,
    /// Numbers grow for ever: `f.log.1` is the oldest.
    Growing {
        /// `1.f.log` instead.
        prefix: bool,
    },
    /// By the period that ended: `f.log.2026-11-25`. A second one of the same period gets `.2` behind
    /// that.
    Dated {
        /// How the date is written. It may not hold `/`; such a character becomes `_`.
        layout: Arc<DateLayout>,
        /// `2026-11-25.f.log` instead.
        prefix: bool,
        /// The current file too has its period in its name.
        current: bool,
    },
}

/// What is behind the name of a file that was compressed.
pub(crate) const SUFFIXES: [&str; 2] = [".gz", ".zst"];

/// The name that a file had before it was compressed.
pub(crate) fn bare(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    let mut suffixes = SUFFIXES.iter();
    let bare = suffixes.find_map(|suffix| bytes.strip_suffix(suffix.as_bytes()));
    OsStr::from_bytes(bare.unwrap_or(bytes))
}

/// A name that may be one of a rolled file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinship {
    /// Its number, if it is called by numbers.
    pub(crate) number: Option<u64>,
    /// It is compressed.
    pub(crate) packed: bool,
}

impl Naming {
    /// What `name` is to the log file `base`; `None` if it has nothing to do with it.
    ///
    /// Of numbers only what rolling itself makes counts: no leading zero, and with [`Self::Shifted`]
    /// at most five digits, so that `base.20261122`, as logrotate's `dateext` names them, is never
    /// taken for one of ours and deleted. A date counts when it has the form of the layout's dates.
    pub(crate) fn kinship(&self, base: &[u8], name: &[u8]) -> Option<Kinship> {
        let bare = SUFFIXES
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix.as_bytes()));
        let packed = bare.is_some();
        let name = bare.unwrap_or(name);
        let behind = |prefix: bool| {
            if prefix {
                name.strip_suffix(base)?.strip_suffix(b".")
            } else {
                name.strip_prefix(base)?.strip_prefix(b".")
            }
        };
        match self {
            Self::Shifted => {
                let number = number(behind(false)?, 5)?;
                Some(Kinship {
                    number: Some(number),
                    packed,
                })
            }
            Self::Growing { prefix } => {
                let number = number(behind(*prefix)?, 18)?;
                Some(Kinship {
                    number: Some(number),
                    packed,
                })
            }
            Self::Dated { layout, prefix, .. } => {
                let text = behind(*prefix)?;
                let shape = shape(date(layout, Timestamp::UNIX_EPOCH, &TimeZone::UTC).as_bytes());
                let is_date = |text: &[u8]| self::shape(text) == shape;
                let counted = |text: &[u8]| {
                    let dot = text.iter().rposition(|byte| *byte == b'.')?;
                    number(&text[dot + 1..], 9)?;
                    Some(is_date(&text[..dot]))
                };
                (is_date(text) || counted(text) == Some(true)).then_some(Kinship {
                    number: None,
                    packed,
                })
            }
        }
    }

    /// The name for the next rolled file among those that are there, where no others have to move.
    /// `period` is a moment in what has ended.
    pub(crate) fn next(
        &self,
        base: &OsStr,
        there: &[Rolled],
        period: Timestamp,
        zone: &TimeZone,
    ) -> OsString {
        match self {
            Self::Shifted => join(base, "1", false),
            Self::Growing { prefix } => {
                let highest = there.iter().filter_map(|file| file.serial).max();
                let next = highest.unwrap_or(0).saturating_add(1);
                join(base, &next.to_string(), *prefix)
            }
            Self::Dated { layout, prefix, .. } => {
                let date = date(layout, period, zone);
                let taken = |name: &OsStr| {
                    there.iter().any(|file| {
                        let bytes = file.name.as_bytes();
                        file.name == name
                            || SUFFIXES.iter().any(|suffix| {
                                bytes.strip_suffix(suffix.as_bytes()) == Some(name.as_bytes())
                            })
                    })
                };
                let mut name = join(base, &date, *prefix);
                let mut count = 2_u64;
                while taken(&name) {
                    name = join(base, &format!("{date}.{count}"), *prefix);
                    count += 1;
                }
                name
            }
        }
    }

    /// The name of the current file at this moment.
    pub(crate) fn current(&self, base: &OsStr, now: Timestamp, zone: &TimeZone) -> OsString {
        match self {
            Self::Dated {
                layout,
                prefix,
                current: true,
            } => join(base, &date(layout, now, zone), *prefix),
            _ => base.to_owned(),
        }
    }
}

fn date(layout: &DateLayout, time: Timestamp, zone: &TimeZone) -> String {
    layout.format(time, zone).replace(['/', '\0'], "_")
}

fn join(base: &OsStr, text: &str, prefix: bool) -> OsString {
    let (base, text) = (base.as_bytes(), text.as_bytes());
    let (first, second) = if prefix { (text, base) } else { (base, text) };
    OsString::from_vec([first, b".", second].concat())
}

fn number(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty()
        || digits.len() > most
        || digits[0] == b'0'
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A text with each run of digits, and of letters, as one character.
fn shape(text: &[u8]) -> Vec<u8> {
    let mut shape = Vec::new();
    for byte in text {
        let class = match byte {
            b'0'..=b'9' => b'0',
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => b'a',
            other => *other,
        };
        let is_run = matches!(class, b'0' | b'a') && shape.last() == Some(&class);
        if !is_run {
            shape.push(class);
        }
    }
    shape
}

/// The rolled files of `path`, newest first. What cannot be read is left out.
pub(crate) fn rolled_files(path: &Path, naming: &Naming) -> Vec<Rolled> {
    let Some(base) = path.file_name() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(parent_of(path)) else {
        return Vec::new();
    };
    let mut files: Vec<Rolled> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let kinship = naming.kinship(base.as_bytes(), name.as_bytes())?;
            // Of a link itself: it is the name here that rolls.
            let metadata = entry.metadata().ok()?;
            (!metadata.is_dir()).then(|| Rolled {
                serial: kinship.number,
                packed: kinship.packed,
                place: 0,
                size: metadata.len(),
                modified: metadata
                    .modified()
                    .ok()
                    .and_then(|time| Timestamp::try_from(time).ok()),
                name,
            })
        })
        .collect();
    match naming {
        Naming::Shifted => files.sort_by_key(|file| file.serial),
        Naming::Growing { .. } => files.sort_by_key(|file| Reverse(file.serial)),
        Naming::Dated { .. } => {
            // Of one moment and period the one with the higher count, and so the longer name, is newer.
            let key = |file: &Rolled| (file.modified, bare(&file.name).len());
            files.sort_by(|a, b| (key(b), &b.name).cmp(&(key(a), &a.name)));
        }
    }
    for (index, file) in files.iter_mut().enumerate() {
        file.place = match naming {
            // Where a number is missing, the others keep theirs.
            Naming::Shifted => file.serial.unwrap_or(0),
            _ => index as u64 + 1,
        };
    }
    files
}

/// `f.log.7` for `f.log` and 7.
pub(crate) fn rolled_path(path: &Path, number: u32) -> PathBuf {
    let base = path.file_name().unwrap_or(OsStr::new(""));
    path.with_file_name(join(base, &number.to_string(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(layout: &str, prefix: bool) -> Naming {
        Naming::Dated {
            layout: Arc::new(DateLayout::compile(layout)),
            prefix,
            current: false,
        }
    }

    type Seen = Option<(Option<u64>, bool)>;

    #[test]
    fn which_names_are_ours() {
        let shifted = Naming::Shifted;
        let growing = |prefix| Naming::Growing { prefix };
        let table: [(Naming, &str, Seen); 24] = [
            (shifted.clone(), "f.log.1", Some((Some(1), false))),
            (shifted.clone(), "f.log.99999", Some((Some(99_999), false))),
            (shifted.clone(), "f.log.3.gz", Some((Some(3), true))),
            (shifted.clone(), "f.log.3.zst", Some((Some(3), true))),
            (shifted.clone(), "f.log.gz", None),
            (shifted.clone(), "f.log", None),
            (shifted.clone(), "f.log.", None),
            (shifted.clone(), "f.log.0", None),
            (shifted.clone(), "f.log.01", None),
            (shifted.clone(), "f.log.1b", None),
            (shifted.clone(), "f.log.20261122", None),
            (shifted, "g.log.1", None),
            (growing(false), "f.log.123456", Some((Some(123_456), false))),
            (growing(false), "f.log.a", None),
            (growing(true), "7.f.log", Some((Some(7), false))),
            (growing(true), "f.log.7", None),
            (
                dated("2006-01-02", false),
                "f.log.2026-11-25",
                Some((None, false)),
            ),
            (
                dated("2006-01-02", false),
                "f.log.2026-11-25.2",
                Some((None, false)),
            ),
            (
                dated("2006-01-02", false),
                "f.log.2026-11-25.2.gz",
                Some((None, true)),
            ),
            (dated("2006-01-02", false), "f.log.old", None),
            (dated("2006-01-02", false), "f.log.7", None),
            (
                dated("02.01.2006", true),
                "25.11.2026.f.log",
                Some((None, false)),
            ),
            (dated("Jan-2", false), "f.log.Nov-25", Some((None, false))),
            (dated("Jan-2", false), "f.log.25-Nov", None),
        ];
        for (naming, name, expected) in table {
            let seen = naming.kinship(b"f.log", name.as_bytes());
            let seen = seen.map(|kinship| (kinship.number, kinship.packed));
            assert_eq!(seen, expected, "{naming:?} {name}");
        }
    }

    #[test]
    fn the_next_name() {
        let file = |name: &str, serial| Rolled {
            name: name.into(),
            serial,
            packed: false,
            place: 0,
            size: 0,
            modified: None,
        };
        let time = "2026-11-25T12:00:00Z".parse().unwrap();
        let base = OsStr::new("f.log");
        let next =
            |naming: &Naming, there: &[Rolled]| naming.next(base, there, time, &TimeZone::UTC);
        let growing = Naming::Growing { prefix: false };
        assert_eq!(next(&growing, &[]), "f.log.1");
        let there = [file("f.log.7", Some(7)), file("f.log.2", Some(2))];
        assert_eq!(next(&growing, &there), "f.log.8");
        assert_eq!(next(&Naming::Growing { prefix: true }, &there), "8.f.log");
        let by_day = dated("2006/01/02", false);
        assert_eq!(next(&by_day, &[]), "f.log.2026_11_25");
        let there = [
            file("f.log.2026_11_25", None),
            file("f.log.2026_11_25.2.gz", None),
        ];
        assert_eq!(next(&by_day, &there), "f.log.2026_11_25.3");
        let current = Naming::Dated {
            layout: Arc::new(DateLayout::compile("2006")),
            prefix: true,
            current: true,
        };
        assert_eq!(current.current(base, time, &TimeZone::UTC), "2026.f.log");
        assert_eq!(by_day.current(base, time, &TimeZone::UTC), "f.log");
    }
}

//! How grave a record is, and sets of such levels.

use std::fmt;
use std::str::FromStr;

/// How grave a record is. The order is the order of gravity: `Trace < Critical`.
///
/// The names and their order are those of seelog (`specs/seelog.md` 1.2); the `log` crate has no
/// critical level, see [`crate::bridge`] for how one arrives through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Every step; of use only to who wrote the code.
    Trace = 0,
    /// What helps to find a fault.
    Debug = 1,
    /// Normal life worth a line.
    Info = 2,
    /// Something is not as it should be, and nothing has failed yet.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// A person should look now.
    Critical = 5,
}

impl Level {
    /// All levels, least grave first.
    pub const ALL: [Self; 6] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Critical,
    ];

    /// The name in lower case, as written in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The name as it stands in a line of text: upper case, five columns wide (`CRIT ` for critical,
    /// so that what follows stays in its column).
    pub const fn column(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO ",
            Self::Warn => "WARN ",
            Self::Error => "ERROR",
            Self::Critical => "CRIT ",
        }
    }

    /// The number of this level, 0 for trace to 5 for critical.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The level as the `log` crate knows it; critical becomes error, its gravest.
    pub const fn to_log(self) -> log::Level {
        match self {
            Self::Trace => log::Level::Trace,
            Self::Debug => log::Level::Debug,
            Self::Info => log::Level::Info,
            Self::Warn => log::Level::Warn,
            Self::Error | Self::Critical => log::Level::Error,
        }
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Trace => Self::Trace,
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Error,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLevel(pub String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no log level; levels are trace, debug, info, warn, error, critical",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for UnknownLevel {}

impl FromStr for Level {
    type Err = UnknownLevel;
    /// Reads a name in any case; `warning` and `crit` are understood too, because people write them.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(text))
            .or_else(|| {
                if text.eq_ignore_ascii_case("warning") {
                    Some(Self::Warn)
                } else if text.eq_ignore_ascii_case("crit") {
                    Some(Self::Critical)
                } else {
                    None
                }
            })
            .ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// Which levels are let through; may be none, may have holes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LevelSet(u8);

impl LevelSet {
    /// Every level.
    pub const ALL: Self = Self(0b11_1111);
    /// No level: off.
    pub const NONE: Self = Self(0);

    /// The levels from `min` up.
    pub const fn from(min: Level) -> Self {
        Self((Self::ALL.0 >> min as u8) << min as u8)
    }

    /// The levels from `min` to `max`, both included; none if `min` is graver than `max`.
    pub const fn range(min: Level, max: Level) -> Self {
        Self(Self::from(min).0 & (Self::ALL.0 >> (Level::Critical as u8 - max as u8)))
    }

    /// The same with `level` let through too.
    #[must_use]
    pub const fn with(self, level: Level) -> Self {
        Self(self.0 | 1 << level as u8)
    }

    /// The levels that both let through.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The levels that either lets through.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this level is let through.
    pub const fn contains(self, level: Level) -> bool {
        self.0 & 1 << level as u8 != 0
    }

    /// Whether nothing is let through.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The least grave level that is let through.
    pub fn min(self) -> Option<Level> {
        Level::ALL.into_iter().find(|level| self.contains(*level))
    }

    /// The set as six bits, trace in the lowest; for an atomic.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// The set of six bits.
    pub(crate) const fn of_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl Default for LevelSet {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromIterator<Level> for LevelSet {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        levels.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for LevelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Level::ALL.iter().filter(|level| self.contains(**level)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        let table = [
            ("trace", Some(Level::Trace)),
            ("DEBUG", Some(Level::Debug)),
            ("Info", Some(Level::Info)),
            ("warn", Some(Level::Warn)),
            ("warning", Some(Level::Warn)),
            ("eRRor", Some(Level::Error)),
            ("critical", Some(Level::Critical)),
            ("CRIT", Some(Level::Critical)),
            ("", None),
            (" warn", None),
            ("off", None),
            ("fatal", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Level>().ok(), expected, "{text:?}");
        }
        for level in Level::ALL {
            assert_eq!(level.name().parse::<Level>(), Ok(level));
            assert_eq!(level.column().len(), 5);
        }
    }

    #[test]
    fn sets() {
        use Level::{Critical, Debug, Error, Info, Trace, Warn};
        let table: [(LevelSet, &[Level]); 7] = [
            (LevelSet::ALL, &Level::ALL),
            (LevelSet::NONE, &[]),
            (LevelSet::from(Warn), &[Warn, Error, Critical]),
            (LevelSet::range(Debug, Warn), &[Debug, Info, Warn]),
            (LevelSet::range(Error, Debug), &[]),
            ([Trace, Critical].into_iter().collect(), &[Trace, Critical]),
            (
                LevelSet::from(Warn).intersect(LevelSet::range(Trace, Error)),
                &[Warn, Error],
            ),
        ];
        for (set, expected) in table {
            for level in Level::ALL {
                assert_eq!(
                    set.contains(level),
                    expected.contains(&level),
                    "{set:?} {level}"
                );
            }
            assert_eq!(set.min(), expected.first().copied());
            assert_eq!(set.is_empty(), expected.is_empty());
            assert_eq!(LevelSet::of_bits(set.bits()), set);
        }
    }

    #[test]
    fn the_log_crate_has_no_critical() {
        assert_eq!(Level::Critical.to_log(), log::Level::Error);
        for level in Level::ALL.into_iter().take(5) {
            assert_eq!(Level::from(level.to_log()), level);
        }
    }
}

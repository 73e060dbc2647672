//! Sizes, durations and numbers of things as people write them.

use std::fmt;
use std::time::Duration;

/// A number of bytes. `MB` is 10⁶ and `MiB` is 2²⁰, as IEC 80000-13 has it.
///
/// ```
/// use mainstay_base::Size;
/// assert_eq!("50MB".parse(), Ok(Size(50_000_000)));
/// assert_eq!("1 KiB".parse(), Ok(Size(1024)));
/// assert_eq!(Size(1024).to_string(), "1KiB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// So many of something: `1 file`, `2 files`, `3 directories`.
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    if number == N::from(1) {
        return format!("{number} {what}");
    }
    match what.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {what}s"),
    }
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl std::str::FromStr for Size {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| UnitError::size(text))?;
        let unit = unit.trim();
        if unit.is_empty() {
            return Ok(Self(number));
        }
        let factor = SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor)
            .ok_or_else(|| UnitError::size(text))?;
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| UnitError::size(text))
    }
}

/// The largest unit that says it exactly, so that reading it back gives the same number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Size {
    /// For people: three significant digits and a decimal unit, `412 MB`.
    pub fn human(self) -> String {
        let (unit, factor) = [("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)]
            .into_iter()
            .map(|(unit, power)| (unit, 10_u64.pow(power)))
            .find(|(_, factor)| self.0 >= *factor)
            .unwrap_or(("B", 1));
        let whole = self.0 / factor;
        let tenth = self.0 % factor * 10 / factor;
        if factor == 1 || whole >= 10 {
            format!("{whole} {unit}")
        } else {
            format!("{whole}.{tenth} {unit}")
        }
    }
}

/// A text that is not a size or a duration, and how one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    kind: &'static str,
    form: &'static str,
}

impl UnitError {
    fn size(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            kind: "a size",
            form: "a whole number and one of B KB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024), as in \"50MB\"",
        }
    }
    fn duration(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            kind: "a duration",
            form: "whole numbers with a unit each, of ms s m h d w, as in \"30s\" or \"1h30m\"",
        }
    }

    /// How a right one is written.
    pub fn form(&self) -> &'static str {
        self.form
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.text, self.kind)
    }
}

impl std::error::Error for UnitError {}

const DURATION_UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `30s`, `1h30m`, `250ms`, `30d`. A day is 24 hours and a week 7 days: these are lengths of
/// time, not calendar steps.
///
/// ```
/// use mainstay_base::parse_duration;
/// assert_eq!(parse_duration("1m30s").map(|d| d.as_secs()), Ok(90));
/// assert!(parse_duration("30").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::duration(text);
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0_u64;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let number: u64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let factor = DURATION_UNITS
            .iter()
            .find(|(name, _)| *name == &rest[..letters])
            .map(|(_, factor)| *factor)
            .ok_or_else(error)?;
        total = number
            .checked_mul(factor)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(error)?;
        rest = rest[letters..].trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration so that [`parse_duration`] gives the same one back, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS.into_iter().filter(|(unit, _)| *unit != "w") {
        if ms >= factor {
            text.push_str(&(ms / factor).to_string());
            text.push_str(unit);
            ms %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_counted() {
        for (number, what, expected) in [
            (0_u64, "file", "0 files"),
            (1, "file", "1 file"),
            (2, "file", "2 files"),
            (1, "directory", "1 directory"),
            (3, "directory", "3 directories"),
            (2, "key", "2 keys"),
        ] {
            assert_eq!(counted(number, what), expected);
        }
        assert_eq!(counted(1_usize, "row"), "1 row");
    }
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("50MB", Some(50_000_000)),
            ("50 mb", Some(50_000_000)),
            ("1KiB", Some(1024)),
            ("2GiB", Some(2 << 30)),
            ("", None),
            ("MB", None),
            ("1.5GB", None),
            ("-1", None),
            ("10M", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(text.parse::<Size>().ok(), expected.map(Size), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("2w", Some(1_209_600_000)),
            ("30", None),
            ("s", None),
            ("", None),
            ("3x", None),
            ("1s2", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(
                parse_duration(text).ok(),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn human_sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (412_000_000, "412 MB"),
            (9_990_000_000, "9.9 GB"),
        ] {
            assert_eq!(Size(bytes).human(), text);
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back_as_itself(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
        }

        #[test]
        fn a_duration_reads_back_as_itself(ms in 0..u64::from(u32::MAX) * 1000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,12}") {
            let _ = text.parse::<Size>();
            let _ = parse_duration(&text);
        }
    }
}

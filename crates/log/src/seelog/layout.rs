//! Date layouts as Go writes them: an example of the reference time, Mon Jan 2 15:04:05 MST 2006.
//!
//! The elements and their output are those of the package `time` of Go 1.19, `Time.Format`.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A compiled date layout. Every text is one: what is no element stands for itself.
///
/// ```
/// use mainstay_log::seelog::DateLayout;
///
/// let layout = DateLayout::compile("Mon 2 Jan 2006 15:04:05.000");
/// let time = "2026-11-22T06:00:00.123Z".parse()?;
/// assert_eq!(layout.format(time, &jiff::tz::TimeZone::UTC), "Sun 22 Nov 2026 06:00:00.123");
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug)]
pub struct DateLayout {
    /// Tells layouts apart in a cache; two that are equal may have different ones.
    id: u64,
    text: Box<str>,
    /// Between two neighbours stands a fraction.
    runs: Box<[Box<[Part]>]>,
    fractions: Box<[Fraction]>,
}

impl PartialEq for DateLayout {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for DateLayout {}

impl Hash for DateLayout {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    Element(Element),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// `2006`
    LongYear,
    /// `06`
    Year,
    /// `January`
    LongMonth,
    /// `Jan`
    Month,
    /// `1`
    NumMonth,
    /// `01`
    ZeroMonth,
    /// `Monday`
    LongWeekday,
    /// `Mon`
    Weekday,
    /// `2`
    Day,
    /// `_2`
    UnderDay,
    /// `02`
    ZeroDay,
    /// `__2`
    UnderYearDay,
    /// `002`
    ZeroYearDay,
    /// `15`
    Hour,
    /// `3`
    Hour12,
    /// `03`
    ZeroHour12,
    /// `4`
    Minute,
    /// `04`
    ZeroMinute,
    /// `5`
    Second,
    /// `05`
    ZeroSecond,
    /// `PM`
    UpperHalf,
    /// `pm`
    LowerHalf,
    /// `MST`
    ZoneName,
    /// `-0700` and its like; `z` for those that write `Z` where there is no offset.
    Offset { z: bool, form: OffsetForm },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OffsetForm {
    Hours,
    Minutes,
    ColonMinutes,
    Seconds,
    ColonSeconds,
}

/// `.000`, `.999` or either with a comma.
#[derive(Debug, Clone, Copy)]
struct Fraction {
    mark: u8,
    digits: usize,
    /// Whether zeros at the end are left out, and the mark if nothing is left.
    trim: bool,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// The elements whose text is enough to know them, longest first where one begins another.
const PLAIN: [(&str, Element); 31] = {
    use Element as E;
    use OffsetForm as O;
    const fn offset(z: bool, form: OffsetForm) -> Element {
        Element::Offset { z, form }
    }
    [
        ("January", E::LongMonth),
        ("Monday", E::LongWeekday),
        ("MST", E::ZoneName),
        ("002", E::ZeroYearDay),
        ("01", E::ZeroMonth),
        ("02", E::ZeroDay),
        ("03", E::ZeroHour12),
        ("04", E::ZeroMinute),
        ("05", E::ZeroSecond),
        ("06", E::Year),
        ("15", E::Hour),
        ("1", E::NumMonth),
        ("2006", E::LongYear),
        ("2", E::Day),
        ("__2", E::UnderYearDay),
        ("_2", E::UnderDay),
        ("3", E::Hour12),
        ("4", E::Minute),
        ("5", E::Second),
        ("PM", E::UpperHalf),
        ("pm", E::LowerHalf),
        ("-070000", offset(false, O::Seconds)),
        ("-07:00:00", offset(false, O::ColonSeconds)),
        ("-0700", offset(false, O::Minutes)),
        ("-07:00", offset(false, O::ColonMinutes)),
        ("-07", offset(false, O::Hours)),
        ("Z070000", offset(true, O::Seconds)),
        ("Z07:00:00", offset(true, O::ColonSeconds)),
        ("Z0700", offset(true, O::Minutes)),
        ("Z07:00", offset(true, O::ColonMinutes)),
        ("Z07", offset(true, O::Hours)),
    ]
};

impl DateLayout {
    /// Compiles a layout.
    pub fn compile(text: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut runs: Vec<Box<[Part]>> = Vec::new();
        let mut fractions = Vec::new();
        let mut run: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let end_literal = |literal: &mut String, run: &mut Vec<Part>| {
                if !literal.is_empty() {
                    run.push(Part::Literal(std::mem::take(literal).into()));
                }
            };
            if let Some((element, length)) = element(rest) {
                end_literal(&mut literal, &mut run);
                run.push(Part::Element(element));
                rest = &rest[length..];
            } else if let Some((fraction, length)) = fraction(rest) {
                end_literal(&mut literal, &mut run);
                runs.push(std::mem::take(&mut run).into());
                fractions.push(fraction);
                rest = &rest[length..];
            } else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            run.push(Part::Literal(literal.into()));
        }
        runs.push(run.into());
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            text: text.into(),
            runs: runs.into(),
            fractions: fractions.into(),
        }
    }

    /// The layout as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether its output changes with the time at all.
    pub fn shows_time(&self) -> bool {
        let element = |part: &Part| matches!(part, Part::Element(_));
        !self.fractions.is_empty() || self.runs.iter().any(|run| run.iter().any(element))
    }

    /// Whether it shows less than a second.
    pub fn shows_subseconds(&self) -> bool {
        !self.fractions.is_empty()
    }

    /// The time in this zone, written so.
    pub fn format(&self, time: Timestamp, zone: &TimeZone) -> String {
        let (second, nanos) = split(time);
        let mut text = Text::default();
        text.fill(self, second, zone);
        let mut out = Vec::new();
        text.write(self, nanos, &mut out);
        // What elements and literals write is text.
        String::from_utf8(out).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// The second a moment lies in, and the nanoseconds since it began; also before 1970.
pub(crate) fn split(time: Timestamp) -> (i64, u32) {
    let (second, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        (
            second - 1,
            u32::try_from(nanos + 1_000_000_000).unwrap_or(0),
        )
    } else {
        (second, u32::try_from(nanos).unwrap_or(0))
    }
}

/// A second written by a layout; what is left to fill in are the fractions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    text: String,
    /// Where in the text each fraction belongs.
    cuts: Vec<usize>,
}

impl Text {
    /// Writes this second.
    pub(crate) fn fill(&mut self, layout: &DateLayout, second: i64, zone: &TimeZone) {
        let moment = Timestamp::from_second(second).unwrap_or(Timestamp::MIN);
        let info = zone.to_offset_info(moment);
        let local = Local {
            time: info.offset().to_datetime(moment),
            offset: info.offset().seconds(),
            zone: info.abbreviation(),
        };
        self.text.clear();
        self.cuts.clear();
        for (index, run) in layout.runs.iter().enumerate() {
            if index > 0 {
                self.cuts.push(self.text.len());
            }
            for part in run {
                match part {
                    Part::Literal(text) => self.text.push_str(text),
                    Part::Element(element) => local.write(*element, &mut self.text),
                }
            }
        }
    }

    /// Appends the text with these fractions of a second.
    pub(crate) fn write(&self, layout: &DateLayout, nanos: u32, out: &mut Vec<u8>) {
        let text = self.text.as_bytes();
        let mut from = 0;
        for (cut, fraction) in self.cuts.iter().zip(&layout.fractions) {
            out.extend_from_slice(&text[from..*cut]);
            from = *cut;
            fraction.write(nanos, out);
        }
        out.extend_from_slice(&text[from..]);
    }
}

impl Fraction {
    fn write(self, nanos: u32, out: &mut Vec<u8>) {
        let mut digits = [b'0'; 9];
        let mut left = nanos;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
        }
        let mut shown = &digits[..self.digits];
        if self.trim {
            let zeros = shown
                .iter()
                .rev()
                .take_while(|digit| **digit == b'0')
                .count();
            shown = &shown[..shown.len() - zeros];
            if shown.is_empty() {
                return;
            }
        }
        out.push(self.mark);
        out.extend_from_slice(shown);
    }
}

/// The element that `rest` begins with, and its length.
fn element(rest: &str) -> Option<(Element, usize)> {
    // An underscore before a year is only itself.
    if rest.starts_with("_2006") {
        return None;
    }
    let short = |name: &str| {
        rest.strip_prefix(name)
            .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    if let Some((name, element)) = PLAIN.iter().find(|(name, _)| rest.starts_with(name)) {
        return Some((*element, name.len()));
    }
    if short("Jan") {
        return Some((Element::Month, 3));
    }
    if short("Mon") {
        return Some((Element::Weekday, 3));
    }
    None
}

/// The fraction that `rest` begins with, and its length: a mark and a run of one of the digits 0
/// and 9 that no other digit follows.
fn fraction(rest: &str) -> Option<(Fraction, usize)> {
    let bytes = rest.as_bytes();
    let (mark, digit) = (*bytes.first()?, *bytes.get(1)?);
    if !matches!(mark, b'.' | b',') || !matches!(digit, b'0' | b'9') {
        return None;
    }
    let run = bytes[1..].iter().take_while(|byte| **byte == digit).count();
    if bytes.get(1 + run).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let fraction = Fraction {
        mark,
        digits: run.min(9),
        trim: digit == b'9',
    };
    Some((fraction, 1 + run))
}

struct Local<'a> {
    time: DateTime,
    /// Seconds east of UTC.
    offset: i32,
    zone: &'a str,
}

impl Local<'_> {
    fn write(&self, element: Element, out: &mut String) {
        let time = self.time;
        let hour12 = match time.hour().rem_euclid(12) {
            0 => 12,
            hour => hour,
        };
        let month = MONTHS[usize::from(time.month().unsigned_abs() - 1) % 12];
        let weekday =
            WEEKDAYS[usize::from(time.weekday().to_monday_zero_offset().unsigned_abs()) % 7];
        let year = time.year();
        // Writing to memory cannot fail.
        let _ = match element {
            Element::LongYear if year < 0 => write!(out, "-{:04}", year.unsigned_abs()),
            Element::LongYear => write!(out, "{year:04}"),
            Element::Year => write!(out, "{:02}", year.unsigned_abs() % 100),
            Element::LongMonth => out.write_str(month),
            Element::Month => out.write_str(&month[..3]),
            Element::NumMonth => write!(out, "{}", time.month()),
            Element::ZeroMonth => write!(out, "{:02}", time.month()),
            Element::LongWeekday => out.write_str(weekday),
            Element::Weekday => out.write_str(&weekday[..3]),
            Element::Day => write!(out, "{}", time.day()),
            Element::UnderDay => write!(out, "{:2}", time.day()),
            Element::ZeroDay => write!(out, "{:02}", time.day()),
            Element::UnderYearDay => write!(out, "{:3}", time.day_of_year()),
            Element::ZeroYearDay => write!(out, "{:03}", time.day_of_year()),
            Element::Hour => write!(out, "{:02}", time.hour()),
            Element::Hour12 => write!(out, "{hour12}"),
            Element::ZeroHour12 => write!(out, "{hour12:02}"),
            Element::Minute => write!(out, "{}", time.minute()),
            Element::ZeroMinute => write!(out, "{:02}", time.minute()),
            Element::Second => write!(out, "{}", time.second()),
            Element::ZeroSecond => write!(out, "{:02}", time.second()),
            Element::UpperHalf => out.write_str(if time.hour() >= 12 { "PM" } else { "AM" }),
            Element::LowerHalf => out.write_str(if time.hour() >= 12 { "pm" } else { "am" }),
            Element::ZoneName => out.write_str(self.zone),
            Element::Offset { z: true, .. } if self.offset == 0 => out.write_str("Z"),
            Element::Offset { form, .. } => self.write_offset(form, out),
        };
    }

    fn write_offset(&self, form: OffsetForm, out: &mut String) -> std::fmt::Result {
        let minutes = self.offset / 60;
        // As Go has it: an offset of less than a minute has no sign of its own.
        out.push(if minutes < 0 { '-' } else { '+' });
        let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
        let seconds = self.offset.abs() % 60;
        match form {
            OffsetForm::Hours => write!(out, "{hours:02}"),
            OffsetForm::Minutes => write!(out, "{hours:02}{minutes:02}"),
            OffsetForm::ColonMinutes => write!(out, "{hours:02}:{minutes:02}"),
            OffsetForm::Seconds => write!(out, "{hours:02}{minutes:02}{seconds:02}"),
            OffsetForm::ColonSeconds => write!(out, "{hours:02}:{minutes:02}:{seconds:02}"),
        }
    }
}

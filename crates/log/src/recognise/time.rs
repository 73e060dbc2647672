//! The times that stand in front of log lines.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::cursor::Cursor;

const DAY: i64 = 86_400;
/// A time without a year is of the last year in which it is not in the future; so much of it is let
/// pass, for clocks that differ.
const AHEAD: i64 = DAY;

/// A time as a line says it; what it leaves out is filled in by [`Moment::at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970-01-01 00:00:00, of the clock that wrote it.
    seconds: i64,
    nanos: i32,
    known: Known,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// All.
    All,
    /// All but the time zone.
    Local,
    /// Neither year nor zone; the year is taken for 1972, which has a 29 February.
    Yearless,
    /// The time of day.
    Clock,
}

impl Moment {
    /// The instant, where a local time is of `zone`. A missing year or day is the last before `near`
    /// that fits, with a day, or an hour, of tolerance. `None` if there is no such instant.
    pub fn at(&self, zone: &TimeZone, near: Timestamp) -> Option<Timestamp> {
        let local = |seconds: i64| {
            let utc = Timestamp::new(seconds, self.nanos).ok()?;
            let civil: DateTime = TimeZone::UTC.to_datetime(utc);
            zone.to_ambiguous_timestamp(civil).compatible().ok()
        };
        match self.known {
            Known::All => Timestamp::new(self.seconds, self.nanos).ok(),
            Known::Local => local(self.seconds),
            Known::Yearless => {
                let today = zone.to_datetime(near);
                let in_year = |year: i16| {
                    let then = Timestamp::new(self.seconds, self.nanos).ok()?;
                    let then = TimeZone::UTC.to_datetime(then);
                    let civil = then.with().year(year).build().ok()?;
                    zone.to_ambiguous_timestamp(civil).compatible().ok()
                };
                in_year(today.year())
                    .filter(|at| at.as_second() <= near.as_second() + AHEAD)
                    .or_else(|| in_year(today.year() - 1))
            }
            Known::Clock => {
                let midnight = zone
                    .to_datetime(near)
                    .date()
                    .to_datetime(jiff::civil::Time::midnight());
                let midnight = TimeZone::UTC.to_timestamp(midnight).ok()?.as_second();
                let today = local(midnight + self.seconds)?;
                if today.as_second() <= near.as_second() + 3600 {
                    return Some(today);
                }
                local(midnight + self.seconds - DAY)
            }
        }
    }

    /// Whether the line says which day it was.
    pub fn has_date(&self) -> bool {
        self.known != Known::Clock
    }

    /// Seconds, thousandths, millionths or billionths since 1970, told apart by their size.
    pub(super) fn epoch(number: u64, fraction: i32) -> Option<Self> {
        let (seconds, nanos) = match number {
            0..1_000_000_000 => return None,
            1_000_000_000..100_000_000_000 => (number, fraction),
            100_000_000_000..100_000_000_000_000 => (number / 1000, sub(number % 1000, 1_000_000)),
            100_000_000_000_000..100_000_000_000_000_000 => {
                (number / 1_000_000, sub(number % 1_000_000, 1000))
            }
            _ => (number / 1_000_000_000, sub(number % 1_000_000_000, 1)),
        };
        Some(Self {
            seconds: i64::try_from(seconds).ok()?,
            nanos,
            known: Known::All,
        })
    }
}

fn sub(count: u64, unit: i32) -> i32 {
    i32::try_from(count).unwrap_or(0).saturating_mul(unit)
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    seconds: i64,
    nanos: i32,
}

/// A time that begins here, in any of the forms loggers use. Leaves the cursor behind it.
pub(super) fn take(cursor: &mut Cursor<'_>) -> Option<Moment> {
    let mut at = *cursor;
    let moment = match at.peek() {
        b'0'..=b'9' => numeric(&mut at)?,
        b'A'..=b'Z' => named(&mut at)?,
        _ => return None,
    };
    *cursor = at;
    Some(moment)
}

fn numeric(at: &mut Cursor<'_>) -> Option<Moment> {
    // The place of the first byte that is no digit tells the forms apart.
    let mut digits = 1;
    while digits < 20 && at.ahead(digits).is_ascii_digit() {
        digits += 1;
    }
    match (digits, at.ahead(digits)) {
        (4, b'-' | b'/' | b'.') => iso(at),
        (1 | 2, b':') => clock_only(at),
        (1 | 2, b'-' | b'/' | b' ' | b'.') => day_first(at),
        (6, b' ') => six_digits(at),
        (10 | 13 | 16 | 19, _) => epoch(at, digits),
        _ => None,
    }
}

/// `2026-01-02T15:04:05.123Z`, RFC 3339 and its relatives.
fn iso(at: &mut Cursor<'_>) -> Option<Moment> {
    let year = at.digits(4)?;
    let separator = at.peek();
    at.at += 1;
    let month = at.digits(2)?;
    at.take(separator)?;
    let day = at.digits(2)?;
    if !matches!(at.peek(), b'T' | b't' | b' ' | b'_' | b'-') {
        return None;
    }
    at.at += 1;
    let clock = clock(at)?;
    Some(zoned(at, days(year, month, day)?, clock))
}

/// `01-Jan-2026 …`, `01/Jan/2026:…`, `01 Jan 2026 …`, `01/31/2026, …`.
fn day_first(at: &mut Cursor<'_>) -> Option<Moment> {
    let day = at.one_or_two()?;
    let separator = at.peek();
    at.at += 1;
    let (day, month) = if at.peek().is_ascii_digit() {
        if separator == b' ' {
            return None;
        }
        let second = at.one_or_two()?;
        // The second is the month everywhere but in America, which writes slashes.
        if second > 12 || (separator == b'/' && day <= 12) {
            (second, day)
        } else {
            (day, second)
        }
    } else {
        (day, month(at)?)
    };
    at.take(separator)?;
    let year = at.digits(4)?;
    if at.peek() == b',' {
        at.at += 1;
    }
    if !matches!(at.peek(), b' ' | b':') {
        return None;
    }
    at.at += 1;
    let clock = clock(at)?;
    Some(zoned(at, days(year, month, day)?, clock))
}

/// `260102 15:04:05`, of glog's relatives, old `MySQL` and Tornado.
fn six_digits(at: &mut Cursor<'_>) -> Option<Moment> {
    let (year, month, day) = (at.digits(2)?, at.digits(2)?, at.digits(2)?);
    at.take(b' ')?;
    if at.peek() == b' ' {
        at.at += 1;
    }
    let clock = clock(at)?;
    Some(zoned(at, days(2000 + year, month, day)?, clock))
}

fn clock_only(at: &mut Cursor<'_>) -> Option<Moment> {
    let clock = clock(at)?;
    Some(Moment {
        seconds: clock.seconds,
        nanos: clock.nanos,
        known: Known::Clock,
    })
}

fn epoch(at: &mut Cursor<'_>, digits: usize) -> Option<Moment> {
    let mut number = 0_u64;
    for index in 0..digits {
        number = number * 10 + u64::from(at.ahead(index) - b'0');
    }
    at.at += digits;
    let nanos = fraction(at);
    if !matches!(at.peek(), b' ' | b'\t' | b']' | b'|' | b':' | 0) {
        return None;
    }
    Moment::epoch(number, nanos)
}

/// `Jan  2 15:04:05`, `Jan 02, 2026 3:04:05 PM`, `Fri Jan 02 15:04:05.123 2026`.
fn named(at: &mut Cursor<'_>) -> Option<Moment> {
    let weekday = matches!(
        at.rest().get(..3)?,
        b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun"
    );
    if weekday {
        at.at += 3;
        if at.peek() == b',' {
            at.at += 1;
        }
        at.take(b' ')?;
        if at.peek().is_ascii_digit() {
            return day_first(at);
        }
    }
    let month = month(at)?;
    at.take(b' ')?;
    if at.peek() == b' ' {
        at.at += 1;
    }
    let day = at.one_or_two()?;
    if at.peek() == b',' {
        at.at += 1;
    }
    at.take(b' ')?;
    let mut year = at.digits(4);
    if year.is_some() && at.take(b' ').is_none() {
        return None;
    }
    let clock = clock(at)?;
    if year.is_none() && at.peek() == b' ' {
        let mut behind = *at;
        behind.at += 1;
        year = behind
            .digits(4)
            .filter(|_| !behind.peek().is_ascii_alphanumeric());
        if year.is_some() {
            *at = behind;
        }
    }
    match year {
        Some(year) => Some(zoned(at, days(year, month, day)?, clock)),
        None => Some(Moment {
            seconds: days(1972, month, day)? * DAY + clock.seconds,
            nanos: clock.nanos,
            known: Known::Yearless,
        }),
    }
}

/// `0102 15:04:05.123456`, as glog has it behind the letter of the level.
pub(super) fn month_day(at: &mut Cursor<'_>) -> Option<Moment> {
    let (month, day) = (at.digits(2)?, at.digits(2)?);
    at.take(b' ')?;
    let clock = clock(at)?;
    Some(Moment {
        seconds: days(1972, month, day)? * DAY + clock.seconds,
        nanos: clock.nanos,
        known: Known::Yearless,
    })
}

fn month(at: &mut Cursor<'_>) -> Option<u32> {
    let name = at.rest().get(..3)?;
    let month = match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    at.at += 3;
    Some(month)
}

/// `15:04:05.123`, `15:04:05,123`, `3:04PM`.
fn clock(at: &mut Cursor<'_>) -> Option<Clock> {
    let mut hour = at.one_or_two()?;
    at.take(b':')?;
    let minute = at.digits(2)?;
    let (mut second, mut nanos, mut exact) = (0, 0, false);
    if at.peek() == b':' && at.ahead(1).is_ascii_digit() {
        at.at += 1;
        second = at.digits(2)?;
        nanos = fraction(at);
        exact = true;
    }
    let noon = usize::from(at.peek() == b' ');
    match (at.ahead(noon), at.ahead(noon + 1)) {
        (b'A', b'M') if hour <= 12 => {
            hour %= 12;
            at.at += noon + 2;
        }
        (b'P', b'M') if hour <= 12 => {
            hour = hour % 12 + 12;
            at.at += noon + 2;
        }
        // Without seconds it may be anything: `12:34 of it`.
        _ if !exact => return None,
        _ => {}
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(Clock {
        seconds: i64::from(hour * 3600 + minute * 60 + second),
        nanos,
    })
}

/// A fraction of a second, if there is one, as nanoseconds. Its point may be a comma.
fn fraction(at: &mut Cursor<'_>) -> i32 {
    if !matches!(at.peek(), b'.' | b',') || !at.ahead(1).is_ascii_digit() {
        return 0;
    }
    at.at += 1;
    let (mut nanos, mut unit) = (0, 100_000_000);
    while at.peek().is_ascii_digit() {
        nanos += i32::from(at.peek() - b'0') * unit;
        unit /= 10;
        at.at += 1;
    }
    nanos
}

/// The same with the zone behind it, if there is one.
fn zoned(at: &mut Cursor<'_>, days: i64, clock: Clock) -> Moment {
    let seconds = days * DAY + clock.seconds;
    let (offset, known) = match zone(at) {
        Some(offset) => (offset, Known::All),
        None => (0, Known::Local),
    };
    Moment {
        seconds: seconds - offset,
        nanos: clock.nanos,
        known,
    }
}

/// Seconds east of Greenwich. A name that says less is gone over.
fn zone(at: &mut Cursor<'_>) -> Option<i64> {
    let mut behind = *at;
    if behind.peek() == b' ' {
        behind.at += 1;
    }
    match behind.peek() {
        b'Z' | b'z' if behind.at == at.at && !behind.ahead(1).is_ascii_alphanumeric() => {
            at.at += 1;
            Some(0)
        }
        sign @ (b'+' | b'-') => {
            behind.at += 1;
            let hours = behind.digits(2)?;
            if behind.peek() == b':' {
                behind.at += 1;
            }
            let minutes = behind.digits(2).unwrap_or(0);
            if behind.peek().is_ascii_alphanumeric() {
                return None;
            }
            *at = behind;
            let offset = i64::from(hours * 3600 + minutes * 60);
            Some(if sign == b'-' { -offset } else { offset })
        }
        b'A'..=b'Z' => {
            let rest = behind.rest();
            let length = rest
                .iter()
                .take(6)
                .take_while(|b| b.is_ascii_uppercase())
                .count();
            if rest
                .get(length)
                .is_some_and(|b| !matches!(b, b' ' | b']' | b':' | b','))
            {
                return None;
            }
            let known = match &rest[..length] {
                b"UTC" | b"GMT" => Some(0),
                b"CET" | b"CEST" | b"EET" | b"EEST" | b"WET" | b"WEST" | b"BST" | b"MSK"
                | b"EST" | b"EDT" | b"CST" | b"CDT" | b"MST" | b"MDT" | b"PST" | b"PDT"
                | b"JST" | b"IST" | b"KST" | b"HKT" | b"SGT" | b"AEST" | b"AEDT" | b"NZST"
                | b"NZDT" => None,
                _ => return None,
            };
            behind.at += length;
            *at = behind;
            known
        }
        _ => None,
    }
}

/// Days from 1970-01-01 to that day of the Gregorian calendar, counted from a year that begins in
/// March, so that a leap day is its last.
fn days(year: u32, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year == 0 {
        return None;
    }
    let year = i64::from(year) - i64::from(month <= 2);
    let month = i64::from((month + 9) % 12);
    let before = 365 * year + year / 4 - year / 100 + year / 400;
    Some(before + (153 * month + 2) / 5 + i64::from(day) - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let near: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let table = [
            ("2026-01-02T15:04:05Z", "2026-01-02T15:04:05Z", ""),
            (
                "2026-01-02T15:04:05.123456789Z x",
                "2026-01-02T15:04:05.123456789Z",
                " x",
            ),
            (
                "2026-01-02 15:04:05,123 - x",
                "2026-01-02T13:04:05.123Z",
                " - x",
            ),
            ("2026-01-02T15:04:05+05:30", "2026-01-02T09:34:05Z", ""),
            ("2026-01-02 15:04:05 -0800]", "2026-01-02T23:04:05Z", "]"),
            (
                "2026-01-02 15:04:05.1 UTC [1]",
                "2026-01-02T15:04:05.1Z",
                " [1]",
            ),
            ("2026-01-02 15:04:05 CEST x", "2026-01-02T13:04:05Z", " x"),
            (
                "2026/01/02 15:04:05 GET /",
                "2026-01-02T13:04:05Z",
                " GET /",
            ),
            ("2026.01.02 15:04:05.5 [", "2026-01-02T13:04:05.5Z", " ["),
            ("02-Jan-2026 15:04:05 UTC]", "2026-01-02T15:04:05Z", "]"),
            ("02/Jan/2026:15:04:05 +0000]", "2026-01-02T15:04:05Z", "]"),
            (
                "02 Jan 2026 15:04:05.123 #",
                "2026-01-02T13:04:05.123Z",
                " #",
            ),
            ("01/02/2026, 3:04:05 PM  x", "2026-01-02T13:04:05Z", "  x"),
            ("31.12.2025 15:04:05 x", "2025-12-31T13:04:05Z", " x"),
            ("Jan  2 15:04:05 host", "2026-01-02T13:04:05Z", " host"),
            ("Dec 31 15:04:05 host", "2025-12-31T13:04:05Z", " host"),
            ("Feb 29 15:04:05 host", "", ""),
            (
                "Jan 02, 2026 12:04:05 AM com",
                "2026-01-01T22:04:05Z",
                " com",
            ),
            (
                "Fri Jan 02 15:04:05.123456 2026]",
                "2026-01-02T13:04:05.123456Z",
                "]",
            ),
            ("Fri, 02 Jan 2026 15:04:05 GMT", "2026-01-02T15:04:05Z", ""),
            ("260102 15:04:05 [", "2026-01-02T13:04:05Z", " ["),
            ("14:00:00.5 x", "2026-06-15T12:00:00.5Z", " x"),
            ("23:00:00 x", "2026-06-14T21:00:00Z", " x"),
            ("3:04PM INF", "2026-06-14T13:04:00Z", " INF"),
            ("1767366245 x", "2026-01-02T15:04:05Z", " x"),
            ("1767366245.5 x", "2026-01-02T15:04:05.5Z", " x"),
            ("1767366245123 x", "2026-01-02T15:04:05.123Z", " x"),
            (
                "1767366245123456789 x",
                "2026-01-02T15:04:05.123456789Z",
                " x",
            ),
            ("2026-13-02 15:04:05", "", ""),
            ("2026-01-02 25:04:05", "", ""),
            ("2026-01-02", "", ""),
            ("12:34 of it", "", ""),
            ("12345 x", "", ""),
            ("10.0.0.1 - -", "", ""),
            ("1.2.2026", "", ""),
            ("Janet 2", "", ""),
            ("Mon", "", ""),
        ];
        for (text, expected, rest) in table {
            let mut cursor = Cursor::new(text.as_bytes());
            let taken = take(&mut cursor).and_then(|moment| moment.at(&zone, near));
            let expected: Option<Timestamp> =
                (!expected.is_empty()).then(|| expected.parse().unwrap());
            assert_eq!(taken, expected, "{text}");
            if expected.is_some() {
                assert_eq!(cursor.rest(), rest.as_bytes(), "{text}");
            }
        }
    }
}

//! Times as supervisord writes them, in the C locale.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The largest number that clients which keep to the letter of XML-RPC can read.
pub const LARGEST: i64 = i32::MAX as i64;

/// A number within 32 bits.
pub fn capped(number: impl TryInto<i64>) -> i64 {
    number
        .try_into()
        .map_or(LARGEST, |number: i64| number.clamp(-LARGEST - 1, LARGEST))
}

/// Whole seconds since 1970, within 32 bits.
pub fn seconds(at: Timestamp) -> i64 {
    capped(at.as_second())
}

/// How long something is up, as Python writes a `timedelta` of whole seconds: `0:00:07`,
/// `1 day, 2:03:04`. A negative time is none.
pub fn uptime(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        _ => format!("{days} days, {clock}"),
    }
}

fn month(number: i8) -> &'static str {
    usize::try_from(number - 1)
        .ok()
        .and_then(|at| MONTHS.get(at))
        .copied()
        .unwrap_or_default()
}

/// A moment in the past: `Jan 31 11:59 PM`, which is `%b %d %I:%M %p`.
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    let at = zone.to_datetime(at);
    let (hour, half) = match at.hour() {
        0 => (12, "AM"),
        hour @ 1..12 => (hour, "AM"),
        12 => (12, "PM"),
        hour => (hour - 12, "PM"),
    };
    format!(
        "{} {:02} {hour:02}:{:02} {half}",
        month(at.month()),
        at.day(),
        at.minute()
    )
}

/// A moment as ctime(3) writes it, without its line end: `Sat Jan  1 00:00:00 2000`.
pub fn ctime(at: Timestamp, zone: &TimeZone) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let at = zone.to_datetime(at);
    let day = usize::try_from(at.weekday().to_monday_zero_offset()).unwrap_or(0);
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        DAYS[day],
        month(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.year()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes() {
        for (seconds, expected) in [
            (-5, "0:00:00"),
            (0, "0:00:00"),
            (59, "0:00:59"),
            (3_600, "1:00:00"),
            (86_399, "23:59:59"),
            (86_400, "1 day, 0:00:00"),
            (93_784, "1 day, 2:03:04"),
            (200_000, "2 days, 7:33:20"),
            (86_400 * 1000, "1000 days, 0:00:00"),
        ] {
            assert_eq!(uptime(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn moments() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (at, expected, long) in [
            (
                "2026-01-31T23:59:58+01",
                "Jan 31 11:59 PM",
                "Sat Jan 31 23:59:58 2026",
            ),
            (
                "2026-02-01T00:05:00+01",
                "Feb 01 12:05 AM",
                "Sun Feb  1 00:05:00 2026",
            ),
            (
                "2026-12-24T12:30:00+01",
                "Dec 24 12:30 PM",
                "Thu Dec 24 12:30:00 2026",
            ),
            (
                "2026-05-09T09:00:00+01",
                "May 09 09:00 AM",
                "Sat May  9 09:00:00 2026",
            ),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(moment(at, &zone), expected);
            assert_eq!(ctime(at, &zone), long);
        }
    }

    #[test]
    fn numbers_stay_within_32_bits() {
        assert_eq!(capped(7_u32), 7);
        assert_eq!(capped(1_i64 << 40), LARGEST);
        assert_eq!(capped(u64::MAX), LARGEST);
        assert_eq!(capped(-(1_i64 << 40)), -LARGEST - 1);
        let late: Timestamp = "2050-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(seconds(late), LARGEST);
    }
}

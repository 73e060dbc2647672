//! When a job is due: five-field cron or a plain interval, in a time zone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::unit::{format_duration, parse_duration};

/// A schedule such as `0 3 * * *` (minute hour day month weekday, as in crontab(5)) or `every 10m`.
///
/// Cron times are wall clock times of the zone. On the day the clock goes forward a time that does
/// not exist is run at the moment the clock jumps; on the day it goes back a repeated time of a
/// fixed hour is run once. `every` counts from the Unix epoch, so that a restart does not shift it.
///
/// ```
/// use mainstay_base::Schedule;
/// let zone = jiff::tz::TimeZone::get("Asia/Shanghai")?;
/// let nightly = Schedule::parse("0 0 * * *", zone)?;
/// let next = nightly.next_after("2026-11-22T08:00:00Z".parse()?);
/// assert_eq!(next, Some("2026-11-22T16:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    kind: Kind,
    zone: TimeZone,
    text: String,
}

#[derive(Debug, Clone)]
enum Kind {
    Cron(Box<croner::Cron>),
    Every(Duration),
}

/// No job runs less often.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError(String);

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScheduleError {}

impl Schedule {
    /// Reads a schedule whose wall clock is that of `zone`.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let kind = if let Some(interval) = text.strip_prefix("every ") {
            let interval = parse_duration(interval).map_err(|e| ScheduleError(e.to_string()))?;
            if interval < Duration::from_secs(1) {
                return Err(ScheduleError(
                    "the shortest interval is one second".to_owned(),
                ));
            }
            if interval > LONGEST {
                return Err(ScheduleError("the longest interval is a year".to_owned()));
            }
            Kind::Every(interval)
        } else {
            let fields = text.split_whitespace().count();
            if fields != 5 {
                return Err(ScheduleError(format!(
                    "it has {fields} fields, and cron has five"
                )));
            }
            let parser = CronParser::builder()
                .seconds(Seconds::Disallowed)
                .year(Year::Disallowed)
                .build();
            let cron = parser
                .parse(text)
                .map_err(|e| ScheduleError(e.to_string()))?;
            Kind::Cron(Box::new(cron))
        };
        let schedule = Self {
            kind,
            zone,
            text: text.to_owned(),
        };
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(ScheduleError("that time never comes".to_owned()));
        }
        Ok(schedule)
    }

    /// The same schedule on the wall clock of another zone.
    #[must_use]
    pub fn in_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// The first time after `after`, or `None` when the calendar ends before it.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Cron(cron) => {
                let start = after.to_zoned(self.zone.clone());
                cron.find_next_occurrence(&start, false)
                    .ok()
                    .map(|next| next.timestamp())
            }
            Kind::Every(interval) => {
                let step = i64::try_from(interval.as_millis()).ok()?;
                let next = (after.as_millisecond().div_euclid(step) + 1).checked_mul(step)?;
                Timestamp::from_millisecond(next).ok()
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;
    /// Reads a schedule in UTC; see [`Schedule::in_zone`].
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        Self::parse(text, TimeZone::UTC)
    }
}

/// The text it was read from.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Cron(_) => f.write_str(&self.text),
            Kind::Every(interval) => write!(f, "every {}", format_duration(*interval)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        Schedule::parse(schedule, TimeZone::get(zone).unwrap())
            .unwrap()
            .next_after(after.parse().unwrap())
            .map_or_else(|| "never".to_owned(), |t| t.to_string())
    }

    #[test]
    fn next_times() {
        for (schedule, zone, after, expected) in [
            (
                "0 0 * * *",
                "UTC",
                "2026-11-22T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                "*/5 * * * *",
                "UTC",
                "2026-11-22T14:01:00Z",
                "2026-11-22T14:05:00Z",
            ),
            (
                "0 5 * * 0",
                "UTC",
                "2026-11-22T06:00:00Z",
                "2026-11-29T05:00:00Z",
            ),
            (
                "0 0 * * *",
                "Asia/Shanghai",
                "2026-11-22T08:00:00Z",
                "2026-11-22T16:00:00Z",
            ),
            // The clock goes forward from 02:00 to 03:00 at 01:00 UTC: 02:30 does not exist.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-29T01:00:00Z",
            ),
            // The clock goes back from 03:00 to 02:00 at 01:00 UTC: 02:30 comes twice, is run once.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
            (
                "every 10m",
                "UTC",
                "2026-11-22T14:01:00Z",
                "2026-11-22T14:10:00Z",
            ),
            (
                "every 10m",
                "UTC",
                "2026-11-22T14:10:00Z",
                "2026-11-22T14:20:00Z",
            ),
        ] {
            assert_eq!(
                next(schedule, zone, after),
                expected,
                "{schedule} {zone} {after}"
            );
        }
    }

    #[test]
    fn what_is_not_a_schedule() {
        for text in [
            "",
            "daily",
            "* * * *",
            "* * * * * *",
            "61 * * * *",
            "every",
            "every 0s",
            "every 5",
            "every 999999999d",
            "0 0 31 2 *",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}

//! Stretches of the calendar at whose end a file is rolled. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::seelog::DateLayout;

/// How often a file is rolled by the calendar, in the log's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Every {
    /// At each full hour. An hour that the clocks go through twice is one.
    Hour,
    /// At midnight, or when the day begins where it does so later.
    Day,
    /// Before Monday (ISO 8601).
    Week,
    /// Before the first of a month.
    Month,
}

impl Every {
    /// All, shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The name in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// What tells one period from the next: the file is rolled when the text changes.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    kind: Kind,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Kind {
    Every(Every),
    Layout(Arc<DateLayout>),
}

impl Calendar {
    pub(crate) fn every(every: Every, zone: TimeZone) -> Self {
        Self {
            kind: Kind::Every(every),
            zone,
        }
    }

    pub(crate) fn layout(layout: Arc<DateLayout>, zone: TimeZone) -> Self {
        Self {
            kind: Kind::Layout(layout),
            zone,
        }
    }

    /// The period this moment lies in.
    pub(crate) fn period(&self, time: Timestamp) -> String {
        let every = match &self.kind {
            Kind::Layout(layout) => return layout.format(time, &self.zone),
            Kind::Every(every) => every,
        };
        let local = self.zone.to_datetime(time);
        let date = local.date();
        match every {
            Every::Hour => format!("{date}T{:02}", local.hour()),
            Every::Day => date.to_string(),
            Every::Week => {
                let week = date.iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            }
            Every::Month => format!("{:04}-{:02}", date.year(), date.month()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_end_where_the_calendar_says() {
        let zone = |name: &str| TimeZone::get(name).unwrap();
        // Zone, period, moments of which each `|` begins another period.
        let table: [(&str, Every, &[&str]); 8] = [
            (
                "UTC",
                Every::Day,
                &["2026-11-25T23:59:59.999Z", "|2026-11-26T00:00:00Z"],
            ),
            (
                "Asia/Taipei",
                Every::Day,
                &["2026-11-25T15:59:59Z", "|2026-11-25T16:00:00Z"],
            ),
            // A day of 25 hours and one of 23.
            (
                "America/New_York",
                Every::Day,
                &[
                    "2026-11-01T04:00:00Z",
                    "2026-11-02T04:59:59Z",
                    "|2026-11-02T05:00:00Z",
                ],
            ),
            (
                "America/New_York",
                Every::Day,
                &[
                    "2026-03-08T05:00:00Z",
                    "2026-03-09T03:59:59Z",
                    "|2026-03-09T04:00:00Z",
                ],
            ),
            // Half past one comes twice.
            (
                "America/New_York",
                Every::Hour,
                &[
                    "2026-11-01T05:30:00Z",
                    "2026-11-01T06:30:00Z",
                    "|2026-11-01T07:00:00Z",
                ],
            ),
            // The clocks go forward at midnight: the day begins at one.
            (
                "America/Santiago",
                Every::Day,
                &["2026-09-06T03:59:59Z", "|2026-09-06T04:00:00Z"],
            ),
            (
                "UTC",
                Every::Week,
                &[
                    "2026-12-27T23:00:00Z",
                    "|2026-12-28T00:00:00Z",
                    "2027-01-03T23:00:00Z",
                    "|2027-01-04T00:00:00Z",
                ],
            ),
            (
                "UTC",
                Every::Month,
                &["2026-02-28T23:59:59Z", "|2026-03-01T00:00:00Z"],
            ),
        ];
        for (name, every, moments) in table {
            let calendar = Calendar::every(every, zone(name));
            let mut before: Option<String> = None;
            for moment in moments {
                let time: Timestamp = moment.trim_start_matches('|').parse().unwrap();
                let period = calendar.period(time);
                if let Some(before) = before {
                    assert_eq!(before != period, moment.starts_with('|'), "{name} {moment}");
                }
                before = Some(period);
            }
        }
    }
}

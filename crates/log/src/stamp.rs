//! Local time as text, looked up in the time zone database once a second at most.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::seelog::layout::{self, DateLayout};

/// How many layouts a thread remembers the text of. More are only seen where formats come and go.
const MAX_LAYOUTS: usize = 32;

/// A time zone and the text of the last second that was asked for.
///
/// The offset of a zone changes only between seconds, so that a second's text holds for all its
/// fractions, also when the clock goes back.
#[derive(Debug, Clone)]
pub struct Stamp {
    zone: TimeZone,
    second: Option<i64>,
    /// `2026-11-22T14:00:00`, empty before the first use.
    date_time: Vec<u8>,
    /// `+08:00`.
    offset: Vec<u8>,
    layouts: Vec<Written>,
}

/// The text of a second in a layout.
#[derive(Debug, Clone)]
struct Written {
    layout: u64,
    utc: bool,
    second: i64,
    text: layout::Text,
}

impl Stamp {
    /// Stamps in this zone.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            second: None,
            date_time: Vec::with_capacity(24),
            offset: Vec::with_capacity(12),
            layouts: Vec::new(),
        }
    }

    /// The zone of these stamps.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Appends `2026-11-22T14:00:00.123+08:00` (RFC 3339, milliseconds cut, not rounded).
    pub fn full(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let millis = self.look_up(time);
        out.extend_from_slice(&self.date_time);
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
        out.extend_from_slice(&self.offset);
    }

    /// Appends `14:00:00`.
    pub fn clock(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        self.look_up(time);
        let start = self.date_time.len().saturating_sub(8);
        out.extend_from_slice(&self.date_time[start..]);
    }

    /// Appends the time as `layout` writes it, in UTC or in the zone of these stamps.
    pub(crate) fn date(
        &mut self,
        layout: &DateLayout,
        utc: bool,
        time: Timestamp,
        out: &mut Vec<u8>,
    ) {
        let (second, nanos) = layout::split(time);
        let known = |written: &Written| written.layout == layout.id() && written.utc == utc;
        let at = self.layouts.iter().position(known).unwrap_or_else(|| {
            if self.layouts.len() >= MAX_LAYOUTS {
                self.layouts.clear();
            }
            self.layouts.push(Written {
                layout: layout.id(),
                utc,
                // No second that there is: years end at 9999.
                second: i64::MIN,
                text: layout::Text::default(),
            });
            self.layouts.len() - 1
        });
        let written = &mut self.layouts[at];
        if written.second != second {
            let zone = if utc { &TimeZone::UTC } else { &self.zone };
            written.text.fill(layout, second, zone);
            written.second = second;
        }
        written.text.write(layout, nanos, out);
    }

    /// Makes the cached texts those of this second; returns the milliseconds within it.
    fn look_up(&mut self, time: Timestamp) -> i32 {
        // Floored, so that moments before 1970 lie in the second they began in.
        let nanos = time.as_nanosecond();
        let second = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        let millis = i32::try_from(nanos.rem_euclid(1_000_000_000) / 1_000_000).unwrap_or(0);
        if self.second != Some(second) {
            self.second = Some(second);
            let whole = Timestamp::from_second(second).unwrap_or(time);
            let offset = self.zone.to_offset(whole);
            let local = offset.to_datetime(whole);
            self.date_time.clear();
            // Writing to memory cannot fail.
            let _ = write!(
                self.date_time,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                local.year(),
                local.month(),
                local.day(),
                local.hour(),
                local.minute(),
                local.second()
            );
            self.offset.clear();
            // RFC 3339 knows no seconds in an offset; they are cut (only zones before about 1920
            // have any).
            let minutes = offset.seconds() / 60;
            let _ = write!(
                self.offset,
                "{}{:02}:{:02}",
                if offset.seconds() < 0 { '-' } else { '+' },
                minutes.abs() / 60,
                minutes.abs() % 60
            );
        }
        millis
    }
}

fn digit(number: i32) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(stamp: &mut Stamp, time: &str) -> (String, String) {
        let time: Timestamp = time.parse().unwrap();
        let (mut full, mut clock) = (Vec::new(), Vec::new());
        stamp.full(time, &mut full);
        stamp.clock(time, &mut clock);
        (
            String::from_utf8(full).unwrap(),
            String::from_utf8(clock).unwrap(),
        )
    }

    #[test]
    fn table() {
        // The German rows cross both changes of the clock of 2026, there and back in one cache.
        let table = [
            (
                "Asia/Taipei",
                "2026-11-22T06:00:00.123456789Z",
                "2026-11-22T14:00:00.123+08:00",
                "14:00:00",
            ),
            (
                "UTC",
                "2026-11-22T06:00:00.999999999Z",
                "2026-11-22T06:00:00.999+00:00",
                "06:00:00",
            ),
            (
                "America/St_Johns",
                "2026-01-01T00:00:00Z",
                "2025-12-31T20:30:00.000-03:30",
                "20:30:00",
            ),
            (
                "Europe/Berlin",
                "2026-03-29T00:59:59.5Z",
                "2026-03-29T01:59:59.500+01:00",
                "01:59:59",
            ),
            (
                "Europe/Berlin",
                "2026-03-29T01:00:00Z",
                "2026-03-29T03:00:00.000+02:00",
                "03:00:00",
            ),
            (
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-25T02:30:00.000+02:00",
                "02:30:00",
            ),
            (
                "Europe/Berlin",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:30:00.000+01:00",
                "02:30:00",
            ),
            (
                "UTC",
                "1969-12-31T23:59:59.25Z",
                "1969-12-31T23:59:59.250+00:00",
                "23:59:59",
            ),
        ];
        for (zone, time, full, clock) in table {
            let mut stamp = Stamp::new(TimeZone::get(zone).unwrap());
            assert_eq!(
                both(&mut stamp, time),
                (full.to_owned(), clock.to_owned()),
                "{zone} {time}"
            );
        }
        let mut stamp = Stamp::new(TimeZone::UTC);
        for (time, full) in [
            ("2026-11-22T06:00:00.001Z", "2026-11-22T06:00:00.001+00:00"),
            ("2026-11-22T06:00:00.02Z", "2026-11-22T06:00:00.020+00:00"),
            ("2026-11-22T06:00:01Z", "2026-11-22T06:00:01.000+00:00"),
            ("2026-11-22T06:00:00.3Z", "2026-11-22T06:00:00.300+00:00"),
        ] {
            assert_eq!(both(&mut stamp, time).0, full);
        }
    }
}

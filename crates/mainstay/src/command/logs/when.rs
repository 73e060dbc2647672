//! Times as people say them: `10m`, `today`, `2026-11-25T10:00`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// What can be written.
pub(crate) const HELP: &str = "write how long ago (`10m`, `2h`, `3d`), `today`, `yesterday`, `now`, a \
     time of today (`10:00`), a day (`2026-11-25`) or both (`2026-11-25T10:00`, with `Z` or `+02:00` \
     where it is not the local time)";

/// The instant that is meant; without a zone it is of `zone`.
pub(crate) fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    let today = zone.to_datetime(now).date();
    let local = |at: DateTime| {
        zone.to_ambiguous_timestamp(at)
            .compatible()
            .map_err(|why| format!("there is no such time: {why}"))
    };
    let start = |date: Date| local(date.to_datetime(Time::midnight()));
    match text {
        "now" => return Ok(now),
        "today" => return start(today),
        "yesterday" => {
            let day = today.yesterday().map_err(|why| why.to_string())?;
            return start(day);
        }
        _ => {}
    }
    if let Ok(ago) = mainstay_base::parse_duration(text) {
        let millis = i64::try_from(ago.as_millis()).map_err(|_| "so long ago is no time")?;
        return now
            .checked_sub(
                Span::new()
                    .try_milliseconds(millis)
                    .map_err(|why| why.to_string())?,
            )
            .map_err(|_| "so long ago is no time".to_owned());
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return local(at);
    }
    if let Ok(time) = text.parse::<Time>() {
        return local(today.to_datetime(time));
    }
    Err("it is no time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now: Timestamp = "2026-11-25T12:30:00Z".parse().unwrap();
        for (text, expected) in [
            ("now", "2026-11-25T12:30:00Z"),
            ("10m", "2026-11-25T12:20:00Z"),
            ("90s", "2026-11-25T12:28:30Z"),
            ("2d", "2026-11-23T12:30:00Z"),
            ("today", "2026-11-24T22:00:00Z"),
            ("yesterday", "2026-11-23T22:00:00Z"),
            ("2026-11-25", "2026-11-24T22:00:00Z"),
            ("2026-11-25T10:00", "2026-11-25T08:00:00Z"),
            ("2026-11-25 10:00:05", "2026-11-25T08:00:05Z"),
            ("2026-11-25T10:00:00Z", "2026-11-25T10:00:00Z"),
            ("2026-11-25T10:00:00-01:00", "2026-11-25T11:00:00Z"),
            ("10:00", "2026-11-25T08:00:00Z"),
            (" 10:00 ", "2026-11-25T08:00:00Z"),
            ("", ""),
            ("soon", ""),
            ("2026-13-01", ""),
            ("25:00", ""),
            ("99999999999d", ""),
        ] {
            let expected = (!expected.is_empty()).then(|| expected.parse().unwrap());
            assert_eq!(parse(text, now, &zone).ok(), expected, "{text:?}");
        }
    }
}

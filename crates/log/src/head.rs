//! What the records of one moment begin with: made once, and copied for each of them.
//!
//! A thread that writes many records writes the same date, time and level in front of most of them.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format::Format;
use crate::level::Level;
use crate::record::Record;
use crate::seelog::layout;
use crate::stamp::Stamp;

/// A format, and how many of its operations write the same for all records of a moment and a level
/// that are no output of a program.
pub(crate) struct Headed {
    format: Format,
    operations: Range<usize>,
    /// The moment is a millisecond and no second.
    millis: bool,
}

/// What a thread remembers for one pipeline.
pub(crate) struct Moments {
    stamp: Stamp,
    /// By format and level.
    heads: Vec<Head>,
}

struct Head {
    moment: i64,
    text: Vec<u8>,
}

impl Headed {
    pub(crate) fn new(format: Format) -> Self {
        let (count, millis) = format.steady();
        Self {
            format,
            operations: 0..count,
            millis,
        }
    }

    pub(crate) fn format(&self) -> &Format {
        &self.format
    }

    /// Appends the record, as [`Format::render`] does. `place` is that of this format among those of
    /// the pipeline.
    #[inline]
    pub(crate) fn render(
        &self,
        place: usize,
        record: &Record<'_>,
        moments: &mut Moments,
        out: &mut Vec<u8>,
    ) {
        let Moments { stamp, heads } = moments;
        let head = heads.get_mut(place * Level::ALL.len() + record.level.index());
        let Some(head) = head.filter(|_| record.program.is_none()) else {
            return self.format.render(record, stamp, out);
        };
        let moment = self.moment(record.time);
        if head.moment != moment {
            head.text.clear();
            let operations = self.operations.clone();
            self.format
                .render_part(operations, record, stamp, &mut head.text);
            head.moment = moment;
        }
        out.extend_from_slice(&head.text);
        let operations = self.operations.end..usize::MAX;
        self.format.render_part(operations, record, stamp, out);
    }

    #[inline]
    fn moment(&self, time: Timestamp) -> i64 {
        let (second, nanos) = layout::split(time);
        if self.millis {
            // Seconds of the years -9999 to 9999.
            second * 1000 + i64::from(nanos / 1_000_000)
        } else {
            second
        }
    }
}

impl fmt::Debug for Headed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.format.fmt(f)
    }
}

impl Moments {
    /// For so many formats.
    pub(crate) fn new(zone: TimeZone, formats: usize) -> Self {
        let head = || Head {
            // No moment that there is.
            moment: i64::MIN,
            text: Vec::new(),
        };
        Self {
            stamp: Stamp::new(zone),
            heads: std::iter::repeat_with(head)
                .take(formats * Level::ALL.len())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Stream;
    use crate::seelog::Options;

    fn formats() -> Vec<Format> {
        let verbs = [
            "%Date %Time %LEVEL %Msg%n",
            "%Date(2006-01-02 15:04:05.000) %Lev %Msg",
            "%UTCDate(15:04:05) [%l] %EscM(31)%Func %Ns",
            "%Msg%n",
            "no verb at all",
        ];
        let seelog = verbs.map(|verbs| Format::seelog(verbs, &Options::new()).unwrap());
        let named = [
            Format::text(),
            Format::short(),
            Format::json(),
            Format::text().coloured(),
        ];
        named.into_iter().chain(seelog).collect()
    }

    proptest! {
        /// Whatever was written before, a record is what its format makes of it.
        #[test]
        fn a_record_is_what_its_format_makes_of_it(
            records in prop::collection::vec(
                (-2_000_000_000_i64..2_000_000_000, any::<bool>(), 0..6_usize, any::<bool>()),
                1..50,
            ),
        ) {
            let zone = TimeZone::get("America/St_Johns").unwrap();
            let all: Vec<Headed> = formats().into_iter().map(Headed::new).collect();
            let mut moments = Moments::new(zone.clone(), all.len());
            for (nanos, today, level, is_output) in records {
                let nanos = i128::from(nanos) + if today { 1_800_000_000_000_000_000 } else { 0 };
                let time = Timestamp::from_nanosecond(nanos).unwrap();
                let mut record = Record::new(time, Level::ALL[level], "here", "what");
                if is_output {
                    record = record.program("web", Stream::Stdout);
                }
                for (place, headed) in all.iter().enumerate() {
                    let (mut seen, mut expected) = (Vec::new(), Vec::new());
                    headed.render(place, &record, &mut moments, &mut seen);
                    let stamp = &mut Stamp::new(zone.clone());
                    headed.format().render(&record, stamp, &mut expected);
                    prop_assert_eq!(
                        String::from_utf8_lossy(&seen),
                        String::from_utf8_lossy(&expected)
                    );
                }
            }
        }
    }
}

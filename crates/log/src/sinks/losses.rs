//! What a sink lost for good, and what it has to say.

use jiff::Timestamp;

use crate::error::Notice;
use crate::level::Level;
use crate::loss::{Counts, Loss};

/// Notices that wait to be taken; more than this many at a time are not kept.
const MOST: usize = 16;

/// Collects what [`Sink::take_notices`](crate::Sink::take_notices) and
/// [`Sink::take_lost`](crate::Sink::take_lost) hand out.
#[derive(Debug, Default)]
pub(super) struct Losses {
    notices: Vec<Notice>,
    lost: Counts,
    open: Option<Loss>,
}

impl Losses {
    /// Something a person should know.
    pub(super) fn say(&mut self, level: Level, text: String) {
        if self.notices.len() < MOST {
            self.notices.push(Notice { level, text });
        }
    }

    /// A record is lost for good. Those lost for one reason until the next call of
    /// [`Losses::take_notices`] are said together.
    pub(super) fn lose(&mut self, level: Level, time: Timestamp, reason: &str) {
        if self
            .open
            .as_ref()
            .is_some_and(|open| *open.reason != *reason)
        {
            self.close();
        }
        self.lost[level.index()] += 1;
        Loss::add(&mut self.open, level, time, reason);
    }

    /// So many records of this level are lost for good, between these times.
    pub(super) fn lose_counts(
        &mut self,
        counts: Counts,
        between: (Timestamp, Timestamp),
        reason: &str,
    ) {
        if counts == [0; 6] {
            return;
        }
        self.close();
        for (sum, count) in self.lost.iter_mut().zip(counts) {
            *sum += count;
        }
        self.open = Some(Loss {
            counts,
            first: between.0,
            last: between.1,
            reason: reason.into(),
        });
        self.close();
    }

    fn close(&mut self) {
        if let Some(loss) = self.open.take() {
            let text = format!(
                "{loss} between {} and {}: {}",
                loss.first, loss.last, loss.reason
            );
            self.say(Level::Error, text);
        }
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        self.close();
        std::mem::take(&mut self.notices)
    }

    pub(super) fn take_lost(&mut self) -> Counts {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_one_reason_are_one_notice() {
        let mut losses = Losses::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        losses.lose(Level::Info, at(1), "refused");
        losses.lose(Level::Warn, at(2), "refused");
        losses.lose(Level::Warn, at(3), "too large");
        let mut counts = [0; 6];
        counts[0] = 7;
        losses.lose_counts(counts, (at(4), at(5)), "full");
        let texts: Vec<String> = losses.take_notices().into_iter().map(|n| n.text).collect();
        assert_eq!(
            texts,
            [
                "2 records lost (info 1, warn 1) between 1970-01-01T00:00:01Z and \
                 1970-01-01T00:00:02Z: refused",
                "1 warn record lost between 1970-01-01T00:00:03Z and 1970-01-01T00:00:03Z: \
                 too large",
                "7 trace records lost between 1970-01-01T00:00:04Z and 1970-01-01T00:00:05Z: full",
            ]
        );
        assert_eq!(losses.take_lost(), [7, 0, 1, 2, 0, 0]);
        assert_eq!(losses.take_lost(), [0; 6]);
        assert!(losses.take_notices().is_empty());
        for _ in 0..100 {
            losses.say(Level::Warn, "again".to_owned());
        }
        assert_eq!(losses.take_notices().len(), MOST);
    }
}

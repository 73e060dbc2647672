//! What a sink did not get: counted by level, and said in words.

use std::fmt;

use jiff::Timestamp;

use crate::level::Level;

/// How many records, by level.
pub(crate) type Counts = [u64; 6];

/// How a sink does since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// What the config calls it: `rolling:/var/log/app.log`.
    pub name: String,
    /// Records that it took.
    pub delivered: u64,
    /// Records that are lost to it, by level, least grave first.
    pub lost: [u64; 6],
    /// How often it could not take what it was given. With a queue that costs nothing yet.
    pub errors: u64,
    /// Bytes that wait in its queue, beside those that are being written.
    pub waiting: usize,
    /// Bytes that may wait there; `None` without a queue.
    pub room: Option<usize>,
}

/// Records that are lost to a sink and that it does not know of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) counts: Counts,
    /// When the first and the last of them happened.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) reason: Box<str>,
}

impl Loss {
    /// One record lost.
    pub(crate) fn of(level: Level, time: Timestamp, reason: &str) -> Self {
        let mut counts = [0; 6];
        counts[level.index()] = 1;
        Self {
            counts,
            first: time,
            last: time,
            reason: reason.into(),
        }
    }

    /// Adds one record to what is lost already, if anything is.
    pub(crate) fn add(loss: &mut Option<Self>, level: Level, time: Timestamp, reason: &str) {
        match loss {
            None => *loss = Some(Self::of(level, time, reason)),
            Some(loss) => {
                loss.counts[level.index()] += 1;
                loss.first = loss.first.min(time);
                loss.last = loss.last.max(time);
                if *loss.reason != *reason {
                    loss.reason = reason.into();
                }
            }
        }
    }
}

impl fmt::Display for Loss {
    /// `812 debug records lost`, or with several levels `815 records lost (debug 812, info 3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.counts.iter().sum();
        let records = if total == 1 { "record" } else { "records" };
        let mut there = Level::ALL
            .iter()
            .zip(self.counts)
            .filter(|(_, count)| *count > 0);
        if let (Some((level, _)), None) = (there.next(), there.next()) {
            return write!(f, "{total} {level} {records} lost");
        }
        write!(f, "{total} {records} lost (")?;
        let there = Level::ALL
            .iter()
            .zip(self.counts)
            .filter(|(_, count)| *count > 0);
        for (index, (level, count)) in there.enumerate() {
            write!(f, "{}{level} {count}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut loss = None;
        Loss::add(&mut loss, Level::Debug, at(5), "full");
        assert_eq!(loss.as_ref().unwrap().to_string(), "1 debug record lost");
        Loss::add(&mut loss, Level::Debug, at(3), "full");
        assert_eq!(loss.as_ref().unwrap().to_string(), "2 debug records lost");
        Loss::add(&mut loss, Level::Info, at(9), "gone");
        let loss = loss.unwrap();
        assert_eq!(loss.to_string(), "3 records lost (debug 2, info 1)");
        assert_eq!(
            (loss.first, loss.last, &*loss.reason),
            (at(3), at(9), "gone")
        );
    }
}

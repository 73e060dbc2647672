//! Several sinks of which the first that works gets the records.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::Clock;

use super::backoff::{Backoff, Pause};
use super::losses::Losses;
use crate::batch::{Batch, Mark, Unwritten};
use crate::error::{Error, Notice, Reason};
use crate::level::Level;
use crate::sink::Sink;

/// When a better sink is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverConfig {
    /// How long after a failure; longer each time.
    pub back: Pause,
}

impl Default for FailoverConfig {
    /// 10 s to 5 minutes.
    fn default() -> Self {
        Self {
            back: Pause {
                first: Duration::from_secs(10),
                longest: Duration::from_mins(5),
            },
        }
    }
}

/// Gives records to the first of several sinks that takes them, and goes back to a better one when
/// that works again. Each change is said in a notice.
///
/// A record that a failing sink took a part of is given to the next one whole.
pub struct Failover {
    sinks: Vec<(String, Box<dyn Sink>)>,
    current: usize,
    back: Backoff,
    clock: Arc<dyn Clock>,
    losses: Losses,
}

impl Failover {
    /// Sinks with their names, best first; an error if there is none.
    pub fn new(
        sinks: Vec<(String, Box<dyn Sink>)>,
        config: FailoverConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if sinks.is_empty() {
            return Err(Error::setup(
                "failover",
                io::Error::new(io::ErrorKind::InvalidInput, "it needs sinks to choose from"),
            ));
        }
        Ok(Self {
            sinks,
            current: 0,
            back: Backoff::new(config.back),
            clock,
            losses: Losses::default(),
        })
    }

    /// The name of the sink that gets the records now.
    pub fn current(&self) -> &str {
        &self.sinks[self.current].0
    }

    fn change(&mut self, to: usize, reason: Option<&io::Error>) {
        let (old, new) = (&self.sinks[self.current].0, &self.sinks[to].0);
        match reason {
            Some(error) => self.losses.say(
                Level::Error,
                format!(
                    "the log sink {old} fails: {}; records go to {new}",
                    Reason(error)
                ),
            ),
            None => self.losses.say(
                Level::Info,
                format!("the log sink {new} works again; records go there and no longer to {old}"),
            ),
        }
        self.current = to;
    }
}

/// The rest of a batch from a byte on, in marks: whole records, the first perhaps shortened.
pub(super) fn rest(batch: &Batch<'_>, from: usize) -> Vec<Mark> {
    let mut before = from;
    let mut marks = Vec::new();
    for entry in batch.entries() {
        let length = entry.bytes.len();
        if length <= before && before > 0 {
            before -= length;
            continue;
        }
        marks.push(Mark::new(entry.time, entry.level, length - before));
        before = 0;
    }
    marks
}

/// The end of the last whole record within the first bytes of a batch.
pub(super) fn whole(batch: &Batch<'_>, taken: usize) -> usize {
    let mut end = 0;
    for entry in batch.entries() {
        if end + entry.bytes.len() > taken {
            break;
        }
        end += entry.bytes.len();
    }
    end
}

impl Sink for Failover {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        // From the best one on if it is time, otherwise from where we are; the better ones come last
        // then, which is sooner than not at all.
        let all = self.sinks.len();
        let first = if self.back.is_over(self.clock.monotonic()) {
            0
        } else {
            self.current
        };
        let mut taken = 0;
        let mut failed = None;
        for index in (first..all).chain(0..first) {
            let marks = rest(batch, taken);
            if marks.is_empty() {
                return Ok(());
            }
            let part = Batch::new(&batch.bytes()[taken..], &marks);
            match self.sinks[index].1.write(&part) {
                Ok(()) => {
                    if index < self.current {
                        self.change(index, None);
                    } else if index > self.current {
                        self.change(index, failed.as_ref());
                        // The better one has just failed: that is the moment it counts from.
                        self.back.failed(self.clock.monotonic());
                    }
                    if index == 0 {
                        self.back.succeeded();
                    }
                    return Ok(());
                }
                Err(error) => {
                    taken += whole(&part, error.taken);
                    failed = Some(error.error);
                    if index < self.current && first == 0 {
                        self.back.failed(self.clock.monotonic());
                    }
                }
            }
        }
        let error = failed.unwrap_or_else(|| io::ErrorKind::Other.into());
        Err(Unwritten { taken, error })
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for (index, (_, sink)) in self.sinks.iter_mut().enumerate() {
            // What the others hold goes when they work again.
            let flushed = sink.flush();
            if index == self.current {
                result = flushed;
            }
        }
        result
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for (_, sink) in &mut self.sinks {
            result = result.and(sink.reopen());
        }
        result
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = self.losses.take_notices();
        for (_, sink) in &mut self.sinks {
            notices.extend(sink.take_notices());
        }
        notices
    }

    fn take_lost(&mut self) -> [u64; 6] {
        let mut sum = [0; 6];
        for (_, sink) in &mut self.sinks {
            for (sum, count) in sum.iter_mut().zip(sink.take_lost()) {
                *sum += count;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;

    #[test]
    fn parts_of_batches() {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let marks = [2, 0, 3].map(|length| Mark::new(time, Level::Info, length));
        let batch = Batch::new(b"abcde", &marks);
        let table: [(usize, &[usize], usize); 6] = [
            (0, &[2, 0, 3], 0),
            (1, &[1, 0, 3], 0),
            (2, &[0, 3], 2),
            (3, &[2], 2),
            (4, &[1], 2),
            (5, &[], 5),
        ];
        for (taken, lengths, end) in table {
            let found: Vec<usize> = rest(&batch, taken).iter().map(|m| m.length()).collect();
            assert_eq!(found, lengths, "{taken}");
            assert_eq!(whole(&batch, taken), end, "{taken}");
        }
    }
}

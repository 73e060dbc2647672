//! What stands between the callers and the thread: bounded, and never a wait for either.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::alert::{Alert, Key};
use crate::channel::Failure;
use crate::severity::Severity;
use crate::worker::Worker;

/// Something that is done on the thread, with its state.
pub(crate) type Question = Box<dyn FnOnce(&mut Worker, Timestamp) + Send>;

/// What came of one attempt at a delivery.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) channel: usize,
    pub(crate) message: String,
    pub(crate) subject: String,
    pub(crate) severity: Severity,
    pub(crate) to: Vec<String>,
    pub(crate) results: Vec<Result<(), Failure>>,
}

/// One thing for the thread to do.
pub(crate) enum Operation {
    Raise {
        alert: Box<Alert>,
        first: Timestamp,
        last: Timestamp,
    },
    Resolve(Key, Timestamp),
    Ask(Question),
    Delivered(Report),
    Beaten(Result<(), Failure>),
}

/// Everything that has come since the thread looked last.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) operations: Vec<Operation>,
    /// Alerts there was no room for, and the gravest of them.
    pub(crate) overflow: Option<(u64, Severity)>,
    /// Until when the thread may go on; it ends then at the latest.
    pub(crate) stop: Option<Instant>,
}

#[derive(Default)]
struct Contents {
    batch: Batch,
    /// Where the raise of a key is that later ones join.
    open: HashMap<Key, usize>,
    waiting: usize,
    closed: bool,
}

/// The inbox.
pub(crate) struct Inbox {
    contents: Mutex<Contents>,
    something: Condvar,
    room: usize,
}

impl Inbox {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            contents: Mutex::new(Contents::default()),
            something: Condvar::new(),
            room: room.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an alert in. One of a key that waits already joins it, so that a storm of the same takes
    /// one place and is counted exactly; where there is no place, the alert is only counted.
    pub(crate) fn raise(&self, alert: Alert, at: Timestamp) {
        let mut contents = self.lock();
        let count = alert.count.max(1);
        let index = contents.open.get(&alert.key).copied();
        if let Some(Operation::Raise {
            alert: known, last, ..
        }) = index.and_then(|index| contents.batch.operations.get_mut(index))
        {
            known.count = known.count.saturating_add(count);
            known.severity = known.severity.max(alert.severity);
            if known.context.is_empty() {
                known.context = alert.context;
            }
            *last = (*last).max(at);
            return;
        }
        if contents.waiting >= self.room || contents.closed {
            let (known, severity) = contents.batch.overflow.unwrap_or((0, alert.severity));
            contents.batch.overflow =
                Some((known.saturating_add(count), severity.max(alert.severity)));
            return;
        }
        contents.waiting += 1;
        let index = contents.batch.operations.len();
        contents.open.insert(alert.key.clone(), index);
        contents.batch.operations.push(Operation::Raise {
            alert: Box::new(alert),
            first: at,
            last: at,
        });
        self.something.notify_one();
    }

    /// Puts the end of an alert in. There is room for as many again as for alerts: an end that is
    /// lost leaves an alert that never ends.
    pub(crate) fn resolve(&self, key: Key, at: Timestamp) -> bool {
        let mut contents = self.lock();
        if contents.closed || contents.waiting >= self.room.saturating_mul(2) {
            return false;
        }
        contents.waiting += 1;
        contents.open.remove(&key);
        contents.batch.operations.push(Operation::Resolve(key, at));
        self.something.notify_one();
        true
    }

    /// Puts in what the thread is asked; false when it has ended.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut contents = self.lock();
        if contents.closed {
            return false;
        }
        contents.batch.operations.push(Operation::Ask(question));
        self.something.notify_one();
        true
    }

    /// Puts in what came of a delivery. There are no more of them than channels.
    pub(crate) fn delivered(&self, report: Report) {
        self.lock()
            .batch
            .operations
            .push(Operation::Delivered(report));
        self.something.notify_one();
    }

    /// Puts in what came of a beat of the heartbeat. There is one at a time.
    pub(crate) fn beaten(&self, result: Result<(), Failure>) {
        self.lock().batch.operations.push(Operation::Beaten(result));
        self.something.notify_one();
    }

    /// Asks the thread to end, at `deadline` at the latest.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.lock().batch.stop = Some(deadline);
        self.something.notify_one();
    }

    /// Nobody looks any more: questions are refused.
    pub(crate) fn close(&self) {
        let mut contents = self.lock();
        contents.closed = true;
        contents.batch.operations.clear();
        contents.open.clear();
    }

    /// Waits until there is something, at most so long, and takes all of it.
    pub(crate) fn take(&self, most: Option<Duration>) -> Batch {
        let mut contents = self.lock();
        let until = most.and_then(|most| Instant::now().checked_add(most));
        loop {
            let batch = &contents.batch;
            if !batch.operations.is_empty() || batch.overflow.is_some() || batch.stop.is_some() {
                break;
            }
            let Some(until) = until else {
                contents = self
                    .something
                    .wait(contents)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            contents = self
                .something
                .wait_timeout(contents, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        contents.open.clear();
        contents.waiting = 0;
        std::mem::take(&mut contents.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(batch: &Batch) -> Vec<(String, u64)> {
        batch
            .operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Raise { alert, .. } => Some((alert.title.clone(), alert.count)),
                Operation::Resolve(key, _) => Some((format!("end of {}", key.app), 0)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_same_join_what_is_too_much_is_counted_and_order_is_kept() {
        let inbox = Inbox::new(3);
        let at = Timestamp::UNIX_EPOCH;
        let raise = |title: &str| inbox.raise(Alert::new("a", Severity::Error, title), at);
        raise("one");
        raise("one");
        raise("two");
        inbox.resolve(Alert::new("a", Severity::Error, "one").key, at);
        raise("one");
        raise("four");
        raise("five");
        raise("two");
        let batch = inbox.take(None);
        assert_eq!(
            counted(&batch),
            [
                ("one".to_owned(), 2),
                ("two".to_owned(), 2),
                ("end of a".to_owned(), 0),
            ]
        );
        // The third "one" comes after its end and finds three waiting.
        assert_eq!(batch.overflow, Some((3, Severity::Error)));
        raise("one");
        let batch = inbox.take(None);
        assert_eq!(counted(&batch), [("one".to_owned(), 1)]);
        assert!(batch.overflow.is_none());
    }
}

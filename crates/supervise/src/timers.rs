//! The timers of the epoll thread: each has at most one deadline.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Deadlines by key, earliest first.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    queue: BTreeSet<(Duration, K)>,
    at: HashMap<K, Duration>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BTreeSet::new(),
            at: HashMap::new(),
        }
    }

    /// Sets, moves or removes the deadline of `key`.
    pub(crate) fn set(&mut self, key: K, deadline: Option<Duration>) {
        if self.at.get(&key).copied() == deadline {
            return;
        }
        if let Some(old) = self.at.remove(&key) {
            self.queue.remove(&(old, key));
        }
        if let Some(new) = deadline {
            self.at.insert(key, new);
            self.queue.insert((new, key));
        }
    }

    /// Removes and returns a key whose deadline has come.
    pub(crate) fn due(&mut self, now: Duration) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }

    /// How long until the first deadline; `None`: there is none, sleep without end.
    pub(crate) fn wait(&self, now: Duration) -> Option<Duration> {
        self.queue.first().map(|(at, _)| at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_deadline_per_key_earliest_first() {
        let s = Duration::from_secs;
        let mut timers = Timers::new();
        assert_eq!(timers.wait(s(0)), None);
        timers.set('a', Some(s(5)));
        timers.set('b', Some(s(3)));
        timers.set('a', Some(s(1)));
        assert_eq!(timers.wait(s(0)), Some(s(1)));
        assert_eq!(timers.wait(s(2)), Some(s(0)));
        assert_eq!(timers.due(s(0)), None);
        assert_eq!(timers.due(s(9)), Some('a'));
        timers.set('b', None);
        assert_eq!(timers.due(s(9)), None);
        assert_eq!(timers.wait(s(9)), None);
    }
}

//! Faults that wait for the daemon: one by one while those of a kind are few, together when they are
//! many. What decides is [`Pile`], which is pure.

use std::backtrace::Backtrace;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_fault::{Fault, Notify};
use tokio::sync::Notify as Bell;

/// So many faults of a kind are told one by one in each period; the next ones together.
const EACH: u32 = 8;
const PERIOD: Duration = Duration::from_mins(1);
/// How many may wait, and how many kinds are told apart.
const WAITING: usize = 256;
const KINDS: usize = 1024;

/// How long the word that a work is stuck waits: the fault that broke the work off comes first then,
/// and its code is the one that the visitor knows.
#[cfg(feature = "journal")]
const SETTLE: Duration = Duration::from_secs(3);

/// How long a fault waits at least.
fn wait(fault: &Fault) -> Duration {
    #[cfg(feature = "journal")]
    if fault.fingerprint().starts_with(crate::report::STUCK) {
        return SETTLE;
    }
    let _ = fault;
    Duration::ZERO
}

/// A fault, or several of a kind of which it is the first.
#[derive(Debug, Clone)]
pub(crate) struct Letter<T> {
    pub(crate) fault: Fault,
    pub(crate) trace: Option<T>,
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    due: Duration,
}

/// What there was of a kind in this period.
struct Kind {
    until: Duration,
    own: u32,
}

/// What waits. `T` is what comes with a fault.
pub(crate) struct Pile<T> {
    letters: VecDeque<Letter<T>>,
    kinds: HashMap<String, Kind>,
    lost: u64,
}

impl<T: Clone> Pile<T> {
    pub(crate) fn new() -> Self {
        Self {
            letters: VecDeque::new(),
            kinds: HashMap::new(),
            lost: 0,
        }
    }

    /// Takes a fault. Says whether something is due earlier than before.
    pub(crate) fn add(
        &mut self,
        now: Duration,
        at: Timestamp,
        fault: &Fault,
        trace: Option<&T>,
    ) -> bool {
        if fault.notify() == Notify::Never {
            return false;
        }
        let fingerprint = fault.fingerprint();
        if !self.kinds.contains_key(fingerprint) {
            if self.kinds.len() >= KINDS {
                self.kinds.retain(|_, kind| kind.until > now);
            }
            if self.kinds.len() >= KINDS {
                self.lost += 1;
                return false;
            }
            let kind = Kind {
                until: now + PERIOD,
                own: 0,
            };
            self.kinds.insert(fingerprint.to_owned(), kind);
        }
        let Some(kind) = self.kinds.get_mut(fingerprint) else {
            return false;
        };
        if kind.until <= now {
            kind.until = now + PERIOD;
            kind.own = 0;
        }
        let has_room = self.letters.len() < WAITING;
        let due = if has_room && kind.own < EACH {
            kind.own += 1;
            now + wait(fault)
        } else {
            let mut waiting = self.letters.iter_mut().rev();
            if let Some(letter) = waiting.find(|one| one.fault.fingerprint() == fingerprint) {
                letter.count += 1;
                letter.last = at;
                return false;
            }
            if !has_room {
                self.lost += 1;
                return false;
            }
            kind.until
        };
        self.letters.push_back(Letter {
            fault: fault.clone(),
            trace: trace.cloned(),
            count: 1,
            first: at,
            last: at,
            due,
        });
        true
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.letters.iter().map(|letter| letter.due).min()
    }

    /// The oldest that is due.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Letter<T>> {
        let index = self.letters.iter().position(|letter| letter.due <= now)?;
        self.letters.remove(index)
    }

    /// One that could not be told waits again.
    pub(crate) fn put_back(&mut self, letter: Letter<T>) {
        if self.letters.len() < WAITING {
            self.letters.push_front(letter);
        } else {
            self.lost += letter.count;
        }
    }

    /// How many found no room, since this was last asked.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

/// What waits, shared by who reports and who carries.
pub(crate) struct Post {
    pile: Mutex<Pile<Arc<Backtrace>>>,
    pub(crate) bell: Bell,
    clock: SystemClock,
}

impl Post {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            pile: Mutex::new(Pile::new()),
            bell: Bell::new(),
            clock: SystemClock::new(),
        })
    }

    pub(crate) fn pile(&self) -> MutexGuard<'_, Pile<Arc<Backtrace>>> {
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the pile.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Takes a fault. Waits for nothing but a short lock.
    pub(crate) fn put(&self, fault: &Fault, trace: Option<&Arc<Backtrace>>) {
        let now = self.now();
        let at = self.clock.now();
        if self.pile().add(now, at, fault, trace) {
            self.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_fault::{Class, Verdict};

    const NEVER: Option<&()> = None;

    fn panic(kind: &str) -> Fault {
        Fault::told(Class::Panic, "it").with_fingerprint(kind)
    }

    fn counts(pile: &mut Pile<()>, now: Duration) -> Vec<u64> {
        std::iter::from_fn(|| pile.take(now).map(|letter| letter.count)).collect()
    }

    #[test]
    fn few_are_told_one_by_one_and_many_together() {
        let (zero, at) = (Duration::ZERO, Timestamp::UNIX_EPOCH);
        let mut pile = Pile::new();
        assert!(!pile.add(zero, at, &Fault::told(Verdict::not_found(), "it"), NEVER));
        for _ in 0..3 {
            assert!(pile.add(zero, at, &panic("a"), NEVER));
        }
        assert!(pile.add(zero, at, &panic("b"), NEVER));
        assert_eq!(counts(&mut pile, zero), [1, 1, 1, 1]);
        for _ in 0..10_000 {
            pile.add(zero, at, &panic("a"), NEVER);
        }
        assert_eq!(counts(&mut pile, zero), [1, 1, 1, 1, 9996]);
        pile.add(zero, at, &panic("a"), NEVER);
        pile.add(zero, at, &panic("a"), NEVER);
        assert_eq!(counts(&mut pile, zero), [0; 0], "they wait for others");
        assert_eq!(pile.next(), Some(PERIOD));
        assert_eq!(counts(&mut pile, PERIOD), [2]);
        assert!(pile.add(PERIOD, at, &panic("a"), NEVER));
        assert_eq!(counts(&mut pile, PERIOD), [1], "another period");
        assert_eq!(pile.take_lost(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_nothing_is_lost_in_silence() {
        let (zero, at) = (Duration::ZERO, Timestamp::UNIX_EPOCH);
        let mut pile = Pile::new();
        for number in 0..WAITING + 10 {
            pile.add(zero, at, &panic(&number.to_string()), NEVER);
        }
        for _ in 0..5 {
            pile.add(zero, at, &panic("0"), NEVER);
        }
        assert_eq!((pile.take_lost(), pile.take_lost()), (10, 0));
        let first = pile.take(zero).unwrap();
        assert_eq!(first.count, 6);
        pile.put_back(first.clone());
        pile.put_back(first);
        assert_eq!(pile.take_lost(), 6, "there was no room for it again");
        let all: u64 = counts(&mut pile, zero).iter().sum();
        assert_eq!(all, WAITING as u64 + 5);
    }
}

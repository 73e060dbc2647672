//! When a person is told of which faults: those of one kind are one notice with their number. Pure.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_fault::{Fault, Notify};

/// How many kinds are counted apart.
const KINDS: usize = 1024;
/// So many of a kind within a period are often.
const OFTEN: u64 = 5;

/// How long faults of a kind are gathered into one notice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// Before the first notice.
    pub(crate) first: Duration,
    /// Between one and the next.
    pub(crate) period: Duration,
}

struct Kind<T> {
    fault: Fault,
    trace: Option<T>,
    fresh: u64,
    /// When it is told next; never while it is held and has been told.
    due: Duration,
    told: bool,
    /// A state that lasts until it is released.
    held: bool,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<T> {
    /// The first of them.
    pub(crate) fault: Fault,
    pub(crate) trace: Option<T>,
    /// How many since the last notice.
    pub(crate) count: u64,
    /// It is over: there was none for a whole period.
    pub(crate) over: bool,
}

/// Counts faults by kind. `T` is what comes with the first of a kind.
pub(crate) struct Tally<T> {
    rhythm: Rhythm,
    kinds: HashMap<String, Kind<T>>,
    further: u64,
}

impl<T> Tally<T> {
    pub(crate) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            kinds: HashMap::new(),
            further: 0,
        }
    }

    /// Counts one. Says whether something is due earlier than before.
    pub(crate) fn add(&mut self, now: Duration, fault: Fault, trace: Option<T>) -> bool {
        let on_rate = match fault.notify() {
            Notify::Never => return false,
            notify => notify == Notify::OnRate,
        };
        let soon = now.saturating_add(self.rhythm.first);
        if let Some(kind) = self.kinds.get_mut(fault.fingerprint()) {
            kind.fresh = kind.fresh.saturating_add(1);
            kind.trace = kind.trace.take().or(trace);
            let often = on_rate && !kind.told && kind.fresh >= OFTEN && soon < kind.due;
            if often {
                kind.due = soon;
            }
            return often;
        }
        if self.kinds.len() >= KINDS {
            self.further = self.further.saturating_add(1);
            return false;
        }
        let due = if on_rate {
            now.saturating_add(self.rhythm.period)
        } else {
            soon
        };
        let kind = Kind {
            trace,
            fresh: 1,
            due,
            told: false,
            held: false,
            fault,
        };
        self.kinds.insert(kind.fault.fingerprint().to_owned(), kind);
        true
    }

    /// A state begins that somebody watches: it is over when that one says so.
    pub(crate) fn hold(&mut self, now: Duration, fault: Fault) -> bool {
        let fingerprint = fault.fingerprint().to_owned();
        let earlier = self.add(now, fault, None);
        if let Some(kind) = self.kinds.get_mut(&fingerprint) {
            kind.held = true;
        }
        earlier
    }

    /// A state that was held is over. Says whether something is due earlier than before.
    pub(crate) fn release(&mut self, now: Duration, fingerprint: &str) -> bool {
        let Some(kind) = self.kinds.get_mut(fingerprint) else {
            return false;
        };
        kind.held = false;
        let was_told = kind.due == Duration::MAX;
        if was_told {
            kind.due = now;
        }
        was_told
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        let dues = self.kinds.values().map(|kind| kind.due);
        dues.filter(|due| *due < Duration::MAX).min()
    }

    /// What is due.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Due<T>> {
        let mut all = Vec::new();
        let period = self.rhythm.period;
        self.kinds.retain(|_, kind| {
            if kind.due > now {
                return true;
            }
            let notify = kind.fault.notify();
            let over = kind.fresh == 0;
            if over && kind.held {
                kind.due = Duration::MAX;
                return true;
            }
            let seldom = notify == Notify::OnRate && !kind.told && kind.fresh < OFTEN;
            if seldom || over && notify != Notify::OnChange {
                return false;
            }
            all.push(Due {
                fault: kind.fault.clone(),
                trace: kind.trace.take(),
                count: std::mem::take(&mut kind.fresh),
                over,
            });
            kind.told = true;
            kind.due = now.saturating_add(period);
            !over
        });
        all
    }

    /// What is left when nothing more comes.
    pub(crate) fn rest(&mut self) -> Vec<Due<T>> {
        self.kinds.retain(|_, kind| kind.fresh > 0);
        self.due(Duration::MAX)
    }

    /// How many were of more kinds than are told apart, since this was last asked.
    pub(crate) fn take_further(&mut self) -> u64 {
        std::mem::take(&mut self.further)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_fault::{Class, Verdict};

    const RHYTHM: Rhythm = Rhythm {
        first: Duration::from_secs(1),
        period: Duration::from_mins(1),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is told at which second of a few faults of one kind.
    fn told(verdict: &Verdict, at: &[u64]) -> Vec<(u64, u64, bool)> {
        let mut tally: Tally<()> = Tally::new(RHYTHM);
        let mut told = Vec::new();
        for now in 0..300 {
            for _ in at.iter().filter(|at| **at == now) {
                tally.add(seconds(now), Fault::told(verdict.clone(), "it"), None);
            }
            for due in tally.due(seconds(now)) {
                told.push((now, due.count, due.over));
            }
        }
        assert_eq!(tally.next(), None, "what is over is forgotten");
        told
    }

    #[test]
    fn who_is_told_what_and_when() {
        let class = Verdict::new;
        for (name, verdict, at, expected) in [
            ("none", class(Class::Panic), vec![], vec![]),
            ("one", class(Class::Panic), vec![3], vec![(4, 1, false)]),
            (
                "a flood is one, then one a minute",
                class(Class::Panic),
                vec![0, 0, 0, 1, 2, 60, 61, 90],
                vec![(1, 4, false), (61, 3, false), (121, 1, false)],
            ),
            (
                "a page that is not there",
                Verdict::not_found(),
                vec![0; 99],
                vec![],
            ),
            (
                "seldom",
                class(Class::UpstreamTimeout),
                vec![0, 1, 2, 3],
                vec![],
            ),
            (
                "often",
                class(Class::UpstreamTimeout),
                vec![0, 1, 2, 3, 4, 30],
                vec![(5, 5, false), (65, 1, false)],
            ),
            (
                "a state begins and ends",
                class(Class::Overload),
                vec![0, 0, 2],
                vec![(1, 2, false), (61, 1, false), (121, 0, true)],
            ),
        ] {
            assert_eq!(told(&verdict, &at), expected, "{name}");
        }
    }

    #[test]
    fn a_state_that_is_held_lasts() {
        let full = || Fault::told(Verdict::new(Class::Overload), "it").with_fingerprint("disk");
        for (name, end, expected) in [
            ("a long one", 200, vec![(1, 1, false), (200, 0, true)]),
            ("a short one", 20, vec![(1, 1, false), (61, 0, true)]),
            ("one that nobody saw", 0, vec![(1, 1, false), (61, 0, true)]),
        ] {
            let mut tally: Tally<()> = Tally::new(RHYTHM);
            let mut told = Vec::new();
            for now in 0..300 {
                if now == 0 {
                    assert!(tally.hold(seconds(now), full()), "{name}");
                }
                if now == end {
                    assert_eq!(tally.release(seconds(now), "disk"), end > 61, "{name}");
                }
                for due in tally.due(seconds(now)) {
                    told.push((now, due.count, due.over));
                }
                assert_eq!(
                    tally.kinds.len(),
                    usize::from(now < 61.max(end)),
                    "{name} {now}"
                );
            }
            assert_eq!(told, expected, "{name}");
            assert_eq!(tally.next(), None, "{name}");
        }
    }

    #[test]
    fn kinds_are_bounded_and_nothing_is_lost() {
        let mut tally: Tally<()> = Tally::new(RHYTHM);
        for index in 0..KINDS + 10 {
            let fault = Fault::told(Class::Panic, "it").with_fingerprint(index.to_string());
            tally.add(seconds(0), fault, None);
        }
        let rest = tally.rest();
        assert_eq!(rest.iter().map(|due| due.count).sum::<u64>(), KINDS as u64);
        assert_eq!((tally.take_further(), tally.take_further()), (10, 0));
    }
}

//! When something that failed is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long something that failed is left alone: longer each time, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Pause {
    /// For connections: 100 ms to 30 s.
    pub const CONNECT: Self = Self {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(30),
    };
}

/// Counts failures and says whether it is time to try again. Asks no clock.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Pause,
    /// The pause after the next failure.
    next: Duration,
    until: Duration,
}

impl Backoff {
    pub(super) fn new(pause: Pause) -> Self {
        Self {
            pause,
            next: pause.first,
            until: Duration::ZERO,
        }
    }

    /// Whether it may be tried at this monotonic time.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// It failed. Up to a quarter of the pause is left off by chance, so that those who lost the same
    /// peer do not all come back at once.
    pub(super) fn failed(&mut self, now: Duration) {
        let chance = RandomState::new().hash_one(now) % 256;
        self.failed_by(now, u32::try_from(chance).unwrap_or(0));
    }

    /// The same with the chance, 0 to 255, handed in.
    fn failed_by(&mut self, now: Duration, chance: u32) {
        let cut = self.next / 4 * chance / 256;
        self.until = now + self.next.saturating_sub(cut);
        self.next = (self.next * 2).min(self.pause.longest);
    }

    /// It asked to be left alone for so long.
    pub(super) fn hold(&mut self, now: Duration, span: Duration) {
        self.until = now + span;
    }

    /// It works.
    pub(super) fn succeeded(&mut self) {
        self.next = self.pause.first;
        self.until = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let second = Duration::from_secs;
        let mut backoff = Backoff::new(Pause {
            first: second(1),
            longest: second(5),
        });
        let mut now = second(100);
        assert!(backoff.is_over(now));
        for expected in [1, 2, 4, 5, 5] {
            backoff.failed_by(now, 0);
            assert!(
                !backoff.is_over(now + second(expected).saturating_sub(Duration::from_nanos(1)))
            );
            now += second(expected);
            assert!(backoff.is_over(now));
        }
        backoff.failed_by(now, 255);
        assert!(backoff.is_over(now + second(4)));
        backoff.succeeded();
        assert!(backoff.is_over(now));
        backoff.failed_by(now, 0);
        assert!(backoff.is_over(now + second(1)));
        backoff.failed(now);
        assert!(!backoff.is_over(now) && backoff.is_over(now + second(2)));
        backoff.hold(now, second(60));
        assert!(!backoff.is_over(now + second(59)));
    }
}

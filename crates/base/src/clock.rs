//! Time as a value that tests can hold in their hand.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Where all time comes from: wall clock for schedules and stamps, monotonic for delays.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The wall clock as of the system's last tick, up to ten milliseconds ago, for a fifth of the
    /// price: for what shows no fractions of a second.
    fn now_coarse(&self) -> Timestamp {
        self.now()
    }
    /// Time since some fixed moment; never goes back, whatever happens to the wall clock.
    fn monotonic(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        read(ClockId::Realtime)
    }
    fn now_coarse(&self) -> Timestamp {
        read(ClockId::RealtimeCoarse)
    }
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

fn read(clock: ClockId) -> Timestamp {
    let now = clock_gettime(clock);
    let nanoseconds = i32::try_from(now.tv_nsec).unwrap_or(0);
    // A clock that is set to before the year -9999 or after 9999 is as good as any.
    Timestamp::new(now.tv_sec, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Timestamp, Duration)>);

impl ManualClock {
    /// A clock that shows `now`, with monotonic time zero.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut guard = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.0 = guard
            .0
            .saturating_add(jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX);
        guard.1 = guard.1.saturating_add(by);
    }

    /// Sets the wall clock, as an administrator or NTP would; monotonic time is not touched.
    pub fn set(&self, now: Timestamp) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
    }
    fn monotonic(&self) -> Duration {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .1
    }
}

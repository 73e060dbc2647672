//! How many requests run at once: a limit, a queue before it that does not stand, and the wait for
//! the last one at shutdown.
//!
//! A queue that is empty now and then may be waited in; one that stands for longer than it may is no
//! queue but a delay for everybody, and then nobody is let wait for long (Nichols and Jacobson,
//! Controlling Queue Delay, 2012).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Who waits in a queue that stands, waits for this part of the usual time.
const SHORT: u32 = 20;

pub(crate) struct Gate {
    /// Requests that run, and how many may.
    running: AtomicUsize,
    limit: usize,
    /// How long one may wait; also how long the queue may stand.
    patience: Duration,
    waiting: AtomicUsize,
    /// Since when somebody waits.
    since: Mutex<Option<Instant>>,
    freed: Notify,
    /// Tasks, which have no limit.
    tasks: AtomicUsize,
    draining: AtomicBool,
    idle: Notify,
}

/// Somebody who runs; the place is free when this is dropped.
pub(crate) struct Entered {
    gate: Arc<Gate>,
    is_task: bool,
}

impl Gate {
    pub(crate) fn new(limit: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            running: AtomicUsize::new(0),
            limit: limit.max(1),
            patience,
            waiting: AtomicUsize::new(0),
            since: Mutex::new(None),
            freed: Notify::new(),
            tasks: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            idle: Notify::new(),
        })
    }

    /// Lets a request in, if there is room.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Entered> {
        let more = |running: usize| (running < self.limit).then_some(running + 1);
        self.running
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .ok()
            .map(|_| Entered {
                gate: Arc::clone(self),
                is_task: false,
            })
    }

    /// Waits for room. `None`: turned away.
    pub(crate) async fn enter(self: &Arc<Self>) -> Option<Entered> {
        if let Some(entered) = self.try_enter() {
            return Some(entered);
        }
        // As many may wait as may run: more would wait in vain.
        let seat = Seat::take(self)?;
        let entered = tokio::time::timeout(seat.patience(), async {
            loop {
                // A place that is freed after this look announces itself, because we are counted.
                if let Some(entered) = self.try_enter() {
                    return entered;
                }
                self.freed.notified().await;
            }
        });
        entered.await.ok()
    }

    /// Counts a task in.
    pub(crate) fn task(self: &Arc<Self>) -> Entered {
        self.tasks.fetch_add(1, Ordering::SeqCst);
        Entered {
            gate: Arc::clone(self),
            is_task: true,
        }
    }

    /// How many requests and tasks run.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst) + self.tasks.load(Ordering::SeqCst)
    }

    /// From now on everybody is asked to go elsewhere next time.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until nothing runs, at most so long. Says how many still do.
    pub(crate) async fn idle(&self, patience: Duration) -> usize {
        let quiet = async {
            while self.running() > 0 {
                self.idle.notified().await;
            }
        };
        let _ = tokio::time::timeout(patience, quiet).await;
        self.running()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let gate = &self.gate;
        if self.is_task {
            gate.tasks.fetch_sub(1, Ordering::SeqCst);
        } else {
            gate.running.fetch_sub(1, Ordering::SeqCst);
            if gate.waiting.load(Ordering::SeqCst) > 0 {
                gate.freed.notify_one();
            }
        }
        if gate.draining.load(Ordering::SeqCst) {
            gate.idle.notify_one();
        }
    }
}

/// A place in the queue.
struct Seat<'a>(&'a Gate);

impl<'a> Seat<'a> {
    fn take(gate: &'a Gate) -> Option<Self> {
        let more = |waiting: usize| (waiting < gate.limit).then_some(waiting + 1);
        gate.waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .ok()?;
        let seat = Self(gate);
        seat.since().get_or_insert_with(Instant::now);
        Some(seat)
    }

    fn since(&self) -> std::sync::MutexGuard<'a, Option<Instant>> {
        self.0.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience(&self) -> Duration {
        let usual = self.0.patience;
        let stands = self.since().is_some_and(|since| since.elapsed() > usual);
        if stands { usual / SHORT } else { usual }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut since = self.since();
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            *since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_freed_goes_to_who_waits() {
        let gate = Gate::new(1, Duration::from_secs(2));
        let first = gate.enter().await.unwrap();
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_some() }
        });
        while gate.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(
            gate.enter().await.is_none(),
            "one may wait where one may run"
        );
        drop(first);
        assert!(waiter.await.unwrap());
        assert_eq!(
            (gate.running(), gate.since.lock().unwrap().is_none()),
            (0, true)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let gate = Gate::new(1, Duration::from_secs(2));
        let _first = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_one_ends_the_wait() {
        let gate = Gate::new(usize::MAX, Duration::from_secs(2));
        let (request, task) = (gate.enter().await.unwrap(), gate.task());
        gate.drain();
        assert_eq!(gate.idle(Duration::from_secs(1)).await, 2);
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.idle(Duration::from_hours(1)).await }
        });
        tokio::task::yield_now().await;
        drop(request);
        tokio::task::yield_now().await;
        drop(task);
        assert_eq!(waiter.await.unwrap(), 0);
    }
}

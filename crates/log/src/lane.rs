//! The way to a sink that has a thread of its own: what waits for it, who waits, and who sleeps.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mainstay_sys::spill::{self, Spill};

use crate::batch::Mark;
use crate::outlet::{RETRY_FIRST, RETRY_LAST, inside_a_sink, lock};
use crate::queue::{Queue, QueueConfig, Store};
use crate::sink::Sink;

/// What waits for a sink, and the thread that writes it.
pub(crate) struct Lane {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    pub(crate) work: Condvar,
    /// There is room, or something was settled.
    pub(crate) room: Condvar,
    /// What the worker does, also for those who add records without the lock. It falls asleep under it.
    worker: AtomicU8,
    /// [`QueueConfig::batch`].
    batch: usize,
    pub(crate) spill: Spill,
}

/// The worker is awake.
const AWAKE: u8 = 0;
/// It sleeps until it is woken, and nothing waits.
const PARKED: u8 = 1;
/// It sleeps until enough waits, or some time has passed.
const LINGERS: u8 = 2;

/// The lock of a lane, with the queue to itself: who writes a record meanwhile waits for the lock. When
/// it is given back, or waited with, records get in without it again.
pub(crate) struct Inside<'a> {
    lane: &'a Lane,
    /// `None` only while it is waited with.
    waiting: Option<MutexGuard<'a, Waiting>>,
}

impl<'a> Inside<'a> {
    pub(crate) fn new(lane: &'a Lane) -> Self {
        let mut waiting = lock(&lane.waiting);
        waiting.queue.shut();
        Self {
            lane,
            waiting: Some(waiting),
        }
    }

    /// Waits for the condition, at most for this time.
    fn wait(mut self, condition: &Condvar, at_most: Option<Duration>) -> Self {
        let lane = self.lane;
        let waiting = self.leave();
        let mut waiting = match (waiting, at_most) {
            (None, _) => lock(&lane.waiting),
            (Some(waiting), None) => condition
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner),
            (Some(waiting), Some(time)) => {
                let waited = condition.wait_timeout(waiting, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        waiting.queue.shut();
        self.waiting = Some(waiting);
        self
    }

    fn leave(&mut self) -> Option<MutexGuard<'a, Waiting>> {
        let mut waiting = self.waiting.take()?;
        if waiting.ended {
            waiting.queue.close();
        } else {
            waiting.queue.open();
        }
        Some(waiting)
    }
}

impl Deref for Inside<'_> {
    type Target = Waiting;

    fn deref(&self) -> &Waiting {
        match &self.waiting {
            Some(waiting) => waiting,
            None => unreachable!("it is away only while it is waited with"),
        }
    }
}

impl DerefMut for Inside<'_> {
    fn deref_mut(&mut self) -> &mut Waiting {
        match &mut self.waiting {
            Some(waiting) => waiting,
            None => unreachable!("it is away only while it is waited with"),
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What the lock of a lane guards. Records mostly get into the queue without it: see [`Inside`].
pub(crate) struct Waiting {
    pub(crate) queue: Queue,
    /// Write now, however little it is.
    pub(crate) urgent: bool,
    /// So many threads wait for `room`.
    pub(crate) waiters: u32,
    /// The outlet is closed, and the worker has until then.
    pub(crate) closing: Option<Instant>,
    pub(crate) ended: bool,
}

impl Lane {
    pub(crate) fn new(config: QueueConfig, sink: &dyn Sink) -> (Self, Store) {
        let (spill, first, second) = spill::pair(config.bytes.max(1), config.undecided());
        spill.set_descriptor(sink.descriptor());
        let lane = Self {
            waiting: Mutex::new(Waiting {
                queue: Queue::new(config, Store::new(first)),
                urgent: false,
                waiters: 0,
                closing: None,
                ended: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            worker: AtomicU8::new(AWAKE),
            batch: config.batch,
            spill,
        };
        (lane, Store::new(second))
    }

    /// Adds a record without the lock, if there is room and nothing is to be decided about it.
    #[inline]
    pub(crate) fn push(&self, line: &[u8], mark: Mark) -> bool {
        let Some(before) = self.spill.push(line, mark.words()) else {
            return false;
        };
        let wake = match self.worker.load(Ordering::SeqCst) {
            PARKED => true,
            LINGERS => before < self.batch && before + line.len() >= self.batch,
            _ => false,
        };
        if wake {
            self.wake();
        }
        true
    }

    #[cold]
    fn wake(&self) {
        // One call is enough, whoever comes before the worker has woken.
        if self.worker.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            // It may have said that it sleeps and still hold the lock.
            drop(lock(&self.waiting));
            self.work.notify_one();
        }
    }

    /// Wakes the worker where it sleeps without end. The lock is for one that is about to sleep.
    pub(crate) fn wake_if_parked(&self) {
        let _waiting = lock(&self.waiting);
        if self.worker.load(Ordering::SeqCst) == PARKED {
            self.work.notify_one();
        }
    }

    /// Says that the worker is to be woken: for records of which one does not linger if it is `urgent`,
    /// or now makes a `batch`. Whoever is told so wakes it, with or without the lock.
    pub(crate) fn claim_wake(&self, urgent: bool, batch: bool) -> bool {
        let wake = match self.worker.load(Ordering::SeqCst) {
            PARKED => true,
            LINGERS => urgent || batch,
            _ => false,
        };
        if wake {
            // One call is enough, whoever comes before the worker has woken.
            self.worker.store(AWAKE, Ordering::SeqCst);
        }
        wake
    }

    pub(crate) fn hurry(&self, waiting: &mut Waiting) {
        waiting.urgent = true;
        if self.worker.load(Ordering::SeqCst) != AWAKE {
            self.work.notify_one();
        }
    }

    /// Leaves the sink alone for a while, unless the outlet is closed.
    pub(crate) fn pause(&self, delay: &mut Duration) {
        let until = Instant::now() + *delay;
        *delay = (*delay * 2).min(RETRY_LAST);
        let mut waiting = Inside::new(self);
        loop {
            let closing = waiting.closing;
            let until = closing.map_or(until, |_| {
                // There is little time left: it is tried often.
                until.min(Instant::now() + RETRY_FIRST)
            });
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = waiting.wait(&self.work, Some(left));
            if closing.is_some() {
                return;
            }
        }
    }

    /// Has the worker sleep until it is woken, or for this time.
    fn sleep<'a>(&self, waiting: Inside<'a>, how: u8, at_most: Option<Duration>) -> Inside<'a> {
        // Before the queue is open: whoever adds the next record knows that the worker sleeps.
        self.worker.store(how, Ordering::SeqCst);
        let waiting = waiting.wait(&self.work, at_most);
        self.worker.store(AWAKE, Ordering::SeqCst);
        waiting
    }

    /// Waits until something is to be written: enough, or old enough, or urgent. `None` when the
    /// outlet is closed and nothing waits any more; `idle` is how long it may take before the sink is
    /// asked to hand on what it still holds.
    pub(crate) fn wait_for_work(
        &self,
        config: &QueueConfig,
        idle: Option<Duration>,
        next_due: impl Fn() -> Option<Duration>,
    ) -> Work<'_> {
        let mut waiting = Inside::new(self);
        let mut linger_until = None;
        let idle_until = idle.map(|idle| Instant::now() + idle);
        loop {
            if !waiting.queue.is_empty() {
                if waiting.urgent || waiting.closing.is_some() || waiting.queue.is_batch() {
                    break;
                }
                let now = Instant::now();
                let until = *linger_until.get_or_insert(now + config.linger);
                let left = until.saturating_duration_since(now);
                if left.is_zero() {
                    break;
                }
                waiting = self.sleep(waiting, LINGERS, Some(left));
                continue;
            }
            if waiting.closing.is_some() {
                return Work::End(waiting);
            }
            waiting.urgent = false;
            if waiting.queue.has_after() {
                return Work::Loss(waiting);
            }
            let due = next_due();
            if due.is_some_and(|due| due.is_zero()) {
                return Work::Summaries;
            }
            let due = due.map(|due| Instant::now() + due);
            let wake = match (idle_until, due) {
                (Some(idle), Some(due)) => Some(idle.min(due)),
                (idle, due) => idle.or(due),
            };
            let left = wake.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                if idle_until == wake {
                    return Work::Idle;
                }
                return Work::Summaries;
            }
            waiting = self.sleep(waiting, PARKED, left);
        }
        waiting.urgent = false;
        Work::Records(waiting)
    }
}

/// Waits until that many records are settled. Returns whether they are.
pub(crate) fn wait_settled(mut waiting: Inside<'_>, target: u64, until: Instant) -> bool {
    if inside_a_sink() {
        return waiting.queue.settled() >= target;
    }
    while waiting.queue.settled() < target && !waiting.ended {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        waiting = wait_for_room(waiting, Some(left));
    }
    waiting.queue.settled() >= target
}

/// Waits until there may be room, or something is settled.
pub(crate) fn wait_for_room(mut waiting: Inside<'_>, at_most: Option<Duration>) -> Inside<'_> {
    waiting.waiters += 1;
    let room = &waiting.lane.room;
    let mut waiting = waiting.wait(room, at_most);
    waiting.waiters -= 1;
    waiting
}

/// What a worker has to do.
pub(crate) enum Work<'a> {
    Records(Inside<'a>),
    /// Nothing waits, but something was lost that the sink does not know of.
    Loss(Inside<'a>),
    Idle,
    /// The time has come to tell what was held back.
    Summaries,
    End(Inside<'a>),
}

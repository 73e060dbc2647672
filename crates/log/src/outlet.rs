//! One sink and the way to it: direct, or through a queue and a thread of its own.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_base::Clock;

use crate::admission::{Admission, AdmissionConfig, Decision, Summary};
use crate::batch::{Batch, Mark, Unwritten};
use crate::error::{Error, Notice, Reason};
use crate::lane::{Inside, Lane, Waiting, Work, wait_for_room, wait_settled};
use crate::level::Level;
use crate::loss::{Counts, Loss, SinkStatus};
use crate::model::SinkConfig;
use crate::pipeline::Core;
use crate::queue::{Delivery, Push, Queue, Store};
use crate::record::Record;
use crate::sink::Sink;
use crate::stamp::Stamp;
use crate::voice::Voice;

/// How often a sink that goes on failing is spoken of.
const REPORT_EVERY: Duration = Duration::from_mins(1);
/// How long a sink that failed is left alone before what waits is given to it again; doubled each
/// time.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(50);
pub(crate) const RETRY_LAST: Duration = Duration::from_secs(5);
/// A sink that panics this often over the same records does not get them again.
const PANICS: u32 = 3;
/// How long who writes a critical record waits for it to be written.
const CRITICAL_WAIT: Duration = Duration::from_secs(1);
/// How long a sink that is closed gets to take what waits.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

thread_local! {
    /// This thread is inside a sink: it must wait for none.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a sink. Who is must not wait for records to be written: that may be
/// what it is doing.
pub(crate) fn inside_a_sink() -> bool {
    INSIDE.try_with(Cell::get).unwrap_or(true)
}

/// Something the pipeline has to say, and the outlet it should not be said to.
pub(crate) struct Report {
    pub(crate) notice: Notice,
    pub(crate) except: Option<u64>,
}

/// A sink as pipelines share it: a pipeline that follows another takes over those that stay the same.
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// Tells outlets apart.
    id: u64,
    name: String,
    config: SinkConfig,
    clock: Arc<dyn Clock>,
    voice: Mutex<Voice>,
    /// Who else can be told that this sink fails.
    audience: Mutex<Weak<Core>>,
    sink: Mutex<State>,
    lane: Option<Lane>,
    admission: Option<Mutex<Admission>>,
    /// The worker wakes by itself when something held back is to be told.
    timed: AtomicBool,
    /// How often the sink has failed.
    errors: AtomicU64,
    /// Records that did not go through the queue: how many were taken, and lost by level. Written
    /// under the lock of the sink, read without.
    delivered: AtomicU64,
    lost: [AtomicU64; 6],
}

/// What makes two records the same, and tells the places they come from apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ident {
    pub(crate) key: u64,
    pub(crate) hash: u64,
}

struct State {
    sink: Box<dyn Sink>,
    /// Without a queue: what the sink does not know of yet.
    loss: Option<Loss>,
    /// When its failing was last spoken of.
    reported: Option<Duration>,
}

impl Outlet {
    pub(crate) fn open(
        config: SinkConfig,
        sink: Box<dyn Sink>,
        voice: Voice,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut spare = None;
        let lane = match config.delivery {
            Delivery::Direct => None,
            Delivery::Queued(queue) => {
                let (lane, second) = Lane::new(queue, sink.as_ref());
                spare = Some(second);
                Some(lane)
            }
        };
        let admission = (config.admission != AdmissionConfig::default())
            .then(|| Mutex::new(Admission::new(config.admission)));
        let shared = Arc::new(Shared {
            admission,
            timed: AtomicBool::new(false),
            errors: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            lost: Default::default(),
            id: NUMBER.fetch_add(1, Ordering::Relaxed),
            name: config.to_string(),
            config,
            clock,
            voice: Mutex::new(voice),
            audience: Mutex::new(Weak::new()),
            sink: Mutex::new(State {
                sink,
                loss: None,
                reported: None,
            }),
            lane,
        });
        let worker = match spare {
            None => None,
            Some(spare) => {
                let shared = Arc::clone(&shared);
                let thread = std::thread::Builder::new().name("mainstay-log".into());
                let started = thread.spawn(move || shared.work(spare));
                Some(started.map_err(Error::thread)?)
            }
        };
        Ok(Self {
            shared,
            worker: Mutex::new(worker),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// How it does. A sink may hang: its own lock is not waited for.
    pub(crate) fn status(&self) -> SinkStatus {
        let shared = &*self.shared;
        let lane = shared.lane.as_ref().map(Inside::new);
        let queue = lane.as_ref().map(|waiting| &waiting.queue);
        let delivered = queue.map_or(0, Queue::delivered);
        let waiting = queue.map_or(0, Queue::bytes);
        drop(lane);
        SinkStatus {
            name: shared.name.clone(),
            delivered: shared.delivered.load(Ordering::Relaxed) + delivered,
            lost: self.lost(),
            errors: shared.errors.load(Ordering::Relaxed),
            waiting,
            room: shared.config.delivery.room(),
        }
    }

    /// Whether records are compared with others before they are written.
    pub(crate) fn compares(&self) -> bool {
        self.shared.admission.is_some()
    }

    pub(crate) fn config(&self) -> &SinkConfig {
        &self.shared.config
    }

    /// Says how this sink is to be told what it misses, and who else hears of it.
    pub(crate) fn join(&self, audience: &Arc<Core>, voice: Voice) {
        *lock(&self.shared.audience) = Arc::downgrade(audience);
        *lock(&self.shared.voice) = voice;
    }

    /// How many records were ever lost here, by level.
    pub(crate) fn lost(&self) -> Counts {
        match &self.shared.lane {
            Some(lane) => Inside::new(lane).queue.lost(),
            None => self
                .shared
                .lost
                .each_ref()
                .map(|n| n.load(Ordering::Relaxed)),
        }
    }

    /// How many bytes wait here.
    pub(crate) fn waiting(&self) -> usize {
        let lane = self.shared.lane.as_ref();
        lane.map_or(0, |lane| Inside::new(lane).queue.bytes())
    }

    /// Takes a record for the sink, and waits for room if the policy says so and `may_wait` too.
    /// Returns whether it took it; if not, it is counted.
    pub(crate) fn take(
        &self,
        line: &[u8],
        record: &Record<'_>,
        ident: Option<Ident>,
        may_wait: bool,
        reports: &mut Vec<Report>,
    ) -> bool {
        if let (Some(admission), Some(ident)) = (&self.shared.admission, ident) {
            let (decision, summaries) = {
                let mut admission = lock(admission);
                let decision = admission.decide(record.time, record.level, ident.key, ident.hash);
                (decision, admission.take_summaries())
            };
            self.shared.write_summaries(summaries);
            if decision == Decision::Drop {
                self.shared.set_timer();
                return true;
            }
        }
        let mark = Mark::new(record.time, record.level, line.len());
        match &self.shared.lane {
            None => self.shared.give(line, mark, record, reports),
            Some(lane) => self.shared.queue(lane, line, mark, may_wait, reports),
        }
    }

    /// Has what waits written now, without waiting for it.
    pub(crate) fn hurry(&self) {
        if let Some(lane) = &self.shared.lane {
            lane.hurry(&mut Inside::new(lane));
        }
    }

    /// Waits until what waits now is written, and has the sink hand it on.
    pub(crate) fn flush(&self, until: Instant) -> io::Result<()> {
        if let Some(lane) = &self.shared.lane {
            let mut waiting = Inside::new(lane);
            lane.hurry(&mut waiting);
            let target = waiting.queue.pushed();
            if !wait_settled(waiting, target, until) {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "not all that waits could be written in time",
                ));
            }
        }
        let mut state = lock(&self.shared.sink);
        guarded(|| state.sink.flush())
    }

    /// Opens again what may have been moved away.
    pub(crate) fn reopen(&self) -> Result<(), Error> {
        let mut state = lock(&self.shared.sink);
        let result = state.sink.reopen();
        self.shared.point(&state);
        result
    }

    /// Keeps the sink from being written to as long as the guard lives.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held(lock(&self.shared.sink), &self.shared)
    }

    /// Writes what waits, as far as that goes within five seconds, and ends the thread. What is still
    /// there then is lost and told to who is left.
    pub(crate) fn close(&self) {
        if let Some(admission) = &self.shared.admission {
            let summaries = lock(admission).finish();
            self.shared.write_summaries(summaries);
        }
        let Some(worker) = lock(&self.worker).take() else {
            return;
        };
        if let Some(lane) = &self.shared.lane {
            let mut waiting = Inside::new(lane);
            waiting.closing = Some(Instant::now() + CLOSE_WAIT);
            drop(waiting);
            lane.work.notify_all();
            lane.room.notify_all();
        }
        // The last owner may be the worker itself, which has told the others something.
        if worker.thread().id() != std::thread::current().id() {
            let _ = worker.join();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.close();
    }
}

/// See [`Outlet::hold`].
pub(crate) struct Held<'a>(MutexGuard<'a, State>, &'a Shared);

impl Held<'_> {
    /// The file may have been rolled by who wrote it before.
    pub(crate) fn reopen(mut self) -> Result<(), Error> {
        let result = self.0.sink.reopen();
        self.1.point(&self.0);
        result
    }
}

impl Shared {
    /// Tells a dying process where the bytes are meant for.
    fn point(&self, state: &State) {
        if let Some(lane) = &self.lane {
            lane.spill.set_descriptor(state.sink.descriptor());
        }
    }

    /// In what time something held back is to be told, also if no record comes.
    fn next_due(&self) -> Option<Duration> {
        let due = lock(self.admission.as_ref()?).next_due()?;
        let left = due.duration_since(self.clock.now());
        Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// Something is held back: the worker is to tell it in time, also if no record comes.
    fn set_timer(&self) {
        if let Some(lane) = &self.lane
            && !self.timed.swap(true, Ordering::Relaxed)
        {
            lane.wake_if_parked();
        }
    }

    /// Writes what was held back, in place.
    fn write_summaries(&self, summaries: Vec<Summary>) {
        for summary in summaries {
            let now = self.clock.now();
            let words = |stamp: &mut Stamp| summary.text(stamp);
            let (line, mark) = lock(&self.voice).render_text(summary.level, now, words);
            if let Some(lane) = &self.lane {
                self.queue(lane, &line, mark, false, &mut Vec::new());
                continue;
            }
            let mut state = lock(&self.sink);
            if give_one(&mut *state.sink, Batch::new(&line, &[mark])).is_err() {
                self.lost[mark.level().index()].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The way without a queue.
    fn give(
        &self,
        line: &[u8],
        mark: Mark,
        record: &Record<'_>,
        reports: &mut Vec<Report>,
    ) -> bool {
        let mut state = lock(&self.sink);
        let result = self
            .declare(&mut state)
            .and_then(|()| give_one(&mut *state.sink, Batch::of_one(line, &mark, record)));
        let notices = quiet(|| state.sink.take_notices());
        reports.extend(notices.into_iter().map(|notice| Report {
            notice,
            except: None,
        }));
        let Err(error) = result else {
            self.delivered.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        self.lost[record.level.index()].fetch_add(1, Ordering::Relaxed);
        let reason = Reason(&error).to_string();
        Loss::add(&mut state.loss, record.level, record.time, &reason);
        if let Some(loss) = &state.loss {
            let text = format!(
                "the log sink {} fails: {reason}; {loss} since {}",
                self.name, loss.first
            );
            reports.extend(self.report(&mut state.reported, text));
        }
        false
    }

    /// Tells a sink that works again what it misses; an error if it does not work yet.
    fn declare(&self, state: &mut State) -> io::Result<()> {
        let Some(loss) = &state.loss else {
            return Ok(());
        };
        let (line, mark) = lock(&self.voice).render(loss, self.clock.now());
        give_one(&mut *state.sink, Batch::new(&line, &[mark]))?;
        state.loss = None;
        state.reported = None;
        Ok(())
    }

    /// What is to be said of a sink that fails, now and then.
    fn report(&self, reported: &mut Option<Duration>, text: String) -> Option<Report> {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.monotonic();
        let due = reported.is_none_or(|last| now.saturating_sub(last) >= REPORT_EVERY);
        due.then(|| {
            *reported = Some(now);
            Report {
                notice: Notice {
                    level: Level::Error,
                    text,
                },
                except: Some(self.id),
            }
        })
    }

    /// The way through the queue.
    #[inline]
    fn queue(
        &self,
        lane: &Lane,
        line: &[u8],
        mark: Mark,
        may_wait: bool,
        reports: &mut Vec<Report>,
    ) -> bool {
        if mark.level() < Level::Error && lane.push(line, mark) {
            return true;
        }
        self.queue_inside(lane, line, mark, may_wait, reports)
    }

    /// The same where something is to be decided.
    #[cold]
    fn queue_inside(
        &self,
        lane: &Lane,
        line: &[u8],
        mark: Mark,
        may_wait: bool,
        reports: &mut Vec<Report>,
    ) -> bool {
        let mut waiting = Inside::new(lane);
        let was_batch = waiting.queue.is_batch();
        if waiting.queue.has_after() {
            self.declare_in_place(&mut waiting, mark);
        }
        let outcome = if waiting.ended {
            Push::Wait
        } else {
            waiting.queue.push(line, mark)
        };
        if outcome != Push::Taken {
            return self.queue_hard(lane, waiting, outcome, (line, mark), may_wait, reports);
        }
        let level = mark.level();
        if level >= Level::Error {
            waiting.urgent = true;
        }
        let wake = lane.claim_wake(waiting.urgent, !was_batch && waiting.queue.is_batch());
        if level == Level::Critical && may_wait && self.config.kind.is_local() {
            if wake {
                lane.work.notify_one();
            }
            let target = waiting.queue.pushed();
            wait_settled(waiting, target, Instant::now() + CRITICAL_WAIT);
            return true;
        }
        drop(waiting);
        if wake {
            lane.work.notify_one();
        }
        true
    }

    /// Says what was lost before the record that comes now, if there is room for both.
    #[cold]
    fn declare_in_place(&self, waiting: &mut Waiting, next: Mark) {
        let Some(loss) = waiting.queue.take_after() else {
            return;
        };
        let (line, mark) = lock(&self.voice).render(&loss, self.clock.now());
        if !waiting.queue.push_before(&line, mark, next) {
            waiting.queue.put_after(loss);
        }
    }

    /// The record did not get in at once.
    #[cold]
    fn queue_hard(
        &self,
        lane: &Lane,
        mut waiting: Inside<'_>,
        mut outcome: Push,
        (line, mark): (&[u8], Mark),
        may_wait: bool,
        reports: &mut Vec<Report>,
    ) -> bool {
        let may_wait = may_wait && !inside_a_sink();
        lane.hurry(&mut waiting);
        loop {
            match outcome {
                Push::Taken => return true,
                Push::Lost => return false,
                _ if !may_wait || waiting.closing.is_some() => {
                    waiting.queue.lose(mark);
                    return false;
                }
                Push::TooLarge if !self.config.kind.is_local() => {
                    waiting.queue.lose_with(mark, "larger than the queue");
                    return false;
                }
                Push::TooLarge => {
                    // It goes past the queue, after all that waits.
                    let target = waiting.queue.pushed();
                    wait_settled(waiting, target, Instant::now() + CLOSE_WAIT);
                    return self.give_past(lane, line, mark, reports);
                }
                Push::Wait => {
                    waiting = wait_for_room(waiting, None);
                    outcome = waiting.queue.push(line, mark);
                    lane.hurry(&mut waiting);
                }
            }
        }
    }

    fn give_past(&self, lane: &Lane, line: &[u8], mark: Mark, reports: &mut Vec<Report>) -> bool {
        let mut state = lock(&self.sink);
        let result = give_one(&mut *state.sink, Batch::new(line, &[mark]));
        self.point(&state);
        let Err(error) = result else {
            self.delivered.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let reason = Reason(&error).to_string();
        let text = format!("the log sink {} fails: {reason}", self.name);
        reports.extend(self.report(&mut state.reported, text));
        drop(state);
        Inside::new(lane).queue.lose_with(mark, &reason);
        false
    }

    /// The life of the thread behind a queue.
    fn work(&self, spare: Store) {
        let (Some(lane), Delivery::Queued(config)) = (&self.lane, self.config.delivery) else {
            return;
        };
        INSIDE.set(true);
        let mut spare = spare;
        // Whether, and in what time, the sink is asked again to hand on what it holds.
        // A spool may hold what an earlier process has left.
        let mut idle = Some(Duration::ZERO);
        let mut delay = RETRY_FIRST;
        loop {
            match lane.wait_for_work(&config, idle, || self.next_due()) {
                Work::Summaries => {
                    self.timed.store(false, Ordering::Relaxed);
                    if let Some(admission) = &self.admission {
                        let summaries = lock(admission).due(self.clock.now());
                        self.write_summaries(summaries);
                    }
                }
                Work::Records(mut waiting) => {
                    lane.spill.begin_writing();
                    let store = waiting.queue.take(spare);
                    lane.spill.set_older(store.half());
                    let waiters = waiting.waiters;
                    drop(waiting);
                    if waiters > 0 {
                        lane.room.notify_all();
                    }
                    spare = self.write_out(lane, store);
                    idle = Some(Duration::ZERO);
                }
                Work::Loss(mut waiting) => {
                    let loss = waiting.queue.take_after();
                    drop(waiting);
                    if let Some(loss) = loss
                        && let Err(error) = self.say(&loss)
                    {
                        let mut waiting = Inside::new(lane);
                        waiting.queue.put_after(loss);
                        if waiting.closing.is_some() {
                            continue;
                        }
                        drop(waiting);
                        self.complain(&Reason(&error).to_string());
                        lane.pause(&mut delay);
                    } else {
                        delay = RETRY_FIRST;
                    }
                }
                Work::Idle => {
                    let (flushed, notices, lost) = {
                        let mut state = lock(&self.sink);
                        let flushed = guarded(|| state.sink.flush());
                        let notices = quiet(|| state.sink.take_notices());
                        (flushed, notices, state.sink.take_lost())
                    };
                    if lost != [0; 6] {
                        Inside::new(lane).queue.count_lost(lost);
                    }
                    for notice in notices {
                        self.tell(notice.level, notice.text);
                    }
                    idle = match flushed {
                        Ok(()) => {
                            delay = RETRY_FIRST;
                            None
                        }
                        Err(error) => {
                            self.complain(&Reason(&error).to_string());
                            let wait = delay;
                            delay = (delay * 2).min(RETRY_LAST);
                            Some(wait)
                        }
                    };
                }
                Work::End(mut waiting) => {
                    let loss = waiting.queue.take_after();
                    waiting.ended = true;
                    drop(waiting);
                    lane.room.notify_all();
                    let said = loss.as_ref().map(|loss| self.say(loss));
                    if let (Some(Err(_)), Some(loss)) = (said, loss) {
                        self.tell(
                            Level::Error,
                            format!("the log sink {}: {loss}: {}", self.name, loss.reason),
                        );
                    }
                    let mut state = lock(&self.sink);
                    // What it cannot hand on now is its own to keep: there is nobody left to try.
                    let _ = guarded(|| state.sink.flush());
                    lane.spill.set_descriptor(None);
                    return;
                }
            }
        }
    }

    /// Writes all records of a store, however long that takes, unless the outlet is closed meanwhile.
    /// Gives back the store, empty.
    fn write_out(&self, lane: &Lane, mut store: Store) -> Store {
        let mut delay = RETRY_FIRST;
        let mut panics = 0;
        let mut failing = false;
        while !store.is_empty() {
            let result = match &store.preface {
                Some(loss) => self.say(loss).map_err(Unwritten::from),
                None => Ok(()),
            };
            let result = result.and_then(|()| {
                store.preface = None;
                let mut state = lock(&self.sink);
                let result = catch_unwind(AssertUnwindSafe(|| state.sink.write(&store.batch())));
                let notices = quiet(|| state.sink.take_notices());
                let lost = state.sink.take_lost();
                self.point(&state);
                drop(state);
                if lost != [0; 6] {
                    Inside::new(lane).queue.count_lost(lost);
                }
                for notice in notices {
                    self.tell(notice.level, notice.text);
                }
                result.unwrap_or_else(|_| {
                    panics += 1;
                    Err(io::Error::other(PANICKED).into())
                })
            });
            let (records, trouble) = match result {
                Ok(()) => {
                    let records = store.batch().len() as u64;
                    store.clear();
                    (records, None)
                }
                Err(Unwritten { taken, error }) => {
                    if taken > 0 {
                        delay = RETRY_FIRST;
                        panics = 0;
                    }
                    (store.discard(taken), Some(Reason(&error).to_string()))
                }
            };
            lane.spill.end_writing();
            let mut waiting = Inside::new(lane);
            waiting.queue.settle(records);
            let given_up = match &trouble {
                None => false,
                Some(_) if panics >= PANICS => true,
                Some(_) => waiting.closing.is_some_and(|until| Instant::now() >= until),
            };
            if failing || trouble.is_some() {
                failing = trouble.is_some();
                waiting
                    .queue
                    .set_failing(trouble.as_deref().map(Into::into));
            }
            if let (true, Some(reason)) = (given_up, &trouble) {
                let batch = store.batch();
                let marks = batch
                    .entries()
                    .map(|entry| Mark::new(entry.time, entry.level, entry.bytes.len()));
                waiting.queue.lose_taken(marks, reason);
                if waiting.closing.is_some() {
                    let lost = waiting.queue.lose_all(reason);
                    drop(waiting);
                    if let Some(lost) = lost {
                        let text =
                            format!("the log sink {} is closed: {lost}: {reason}", self.name);
                        self.tell(Level::Error, text);
                    }
                } else {
                    drop(waiting);
                }
                store.clear();
                lane.room.notify_all();
                break;
            }
            let waiters = waiting.waiters;
            drop(waiting);
            if waiters > 0 {
                lane.room.notify_all();
            }
            if let Some(reason) = trouble {
                self.complain(&reason);
                lane.pause(&mut delay);
                lane.spill.begin_writing();
            } else {
                lock(&self.sink).reported = None;
            }
        }
        store.preface = None;
        store
    }

    /// Tells the sink what it misses.
    fn say(&self, loss: &Loss) -> io::Result<()> {
        let (line, mark) = lock(&self.voice).render(loss, self.clock.now());
        let mut state = lock(&self.sink);
        give_one(&mut *state.sink, Batch::new(&line, &[mark]))
    }

    /// Tells the others that this sink fails, now and then.
    fn complain(&self, reason: &str) {
        let text = format!(
            "the log sink {} fails: {reason}; what it should get waits",
            self.name
        );
        let report = {
            let mut state = lock(&self.sink);
            self.report(&mut state.reported, text)
        };
        if let Some(report) = report {
            self.tell(report.notice.level, report.notice.text);
        }
    }

    /// Tells all other sinks.
    fn tell(&self, level: Level, text: String) {
        let audience = lock(&self.audience).upgrade();
        if let Some(audience) = audience {
            audience.tell(vec![Report {
                notice: Notice { level, text },
                except: Some(self.id),
            }]);
        }
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outlet").field(&self.shared.name).finish()
    }
}

/// A lock that somebody panicked under is still a lock: sinks are guarded one by one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a sink a single record: all of it is taken, or it is lost.
fn give_one(sink: &mut dyn Sink, batch: Batch<'_>) -> io::Result<()> {
    guarded(|| sink.write(&batch).map_err(|unwritten| unwritten.error))
}

const PANICKED: &str = "the sink panicked";

/// A sink's panic is its error and nobody else's.
pub(crate) fn guarded(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let before = INSIDE.try_with(|inside| inside.replace(true));
    let result =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other(PANICKED)));
    if let Ok(before) = before {
        let _ = INSIDE.try_with(|inside| inside.set(before));
    }
    result
}

fn quiet(work: impl FnOnce() -> Vec<Notice>) -> Vec<Notice> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}

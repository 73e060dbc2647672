//! Faults on their way to people: a line in the log at once, and a notice from a thread that has time.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use log::Level;
use mainstay_fault::{Class, Fault, Frame, Recogniser, Severity, Verdict};
use tokio::sync::{oneshot, watch};

#[cfg(feature = "daemon")]
use crate::post::Post;
use crate::storm::Storm;
use crate::tally::{Due, Rhythm, Tally};

/// The target of our records.
pub(crate) const TARGET: &str = "mainstay_web";

/// The fact of a fault that is the id of its work in the journal.
#[cfg(feature = "journal")]
pub(crate) const WORK: &str = "work";
/// What the fingerprint of a work that is stuck begins with.
#[cfg(feature = "journal")]
pub(crate) const STUCK: &str = "stuck-";

/// Faults of one kind, for a person.
///
/// What is told: those whose [`Fault::notify`] says so, so never a page that is not there. Those of
/// one kind within a minute are one notice; those that count only when they are frequent come from the
/// fifth in a minute on.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The first of them, for a panic with the frames that led to it.
    pub fault: Fault,
    /// How many there were since the last notice of this kind.
    pub count: u64,
    /// A state that was told of, such as overload, has ended.
    pub over: bool,
}

/// What is called with each notice.
pub(crate) type Tell = Box<dyn Fn(&Notice) + Send + Sync>;

/// Where faults go.
pub(crate) struct Reporter {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// What is for the daemon.
    #[cfg(feature = "daemon")]
    post: Option<Arc<Post>>,
    wake: Condvar,
    origin: Instant,
    /// Whether a new process would be better than this one.
    restart: watch::Sender<bool>,
}

struct State {
    tally: Tally<Arc<Backtrace>>,
    storm: Option<Storm>,
    ended: bool,
    /// Told when the thread is at its end.
    done: Vec<oneshot::Sender<()>>,
}

/// The reporters there are, for panics that belong to no request.
static ALL: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Reports a fault that belongs to no guard to whichever there is.
pub(crate) fn report_to_any(seen: impl FnOnce() -> (Fault, Option<Backtrace>)) {
    let inner = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find_map(Weak::upgrade)
    };
    if let Some(inner) = inner {
        let (fault, trace) = seen();
        inner.report(fault, trace);
    }
}

impl Reporter {
    /// Starts its thread.
    pub(crate) fn start(
        rhythm: Rhythm,
        storm: Option<Storm>,
        tell: Vec<Tell>,
        #[cfg(feature = "daemon")] post: Option<Arc<Post>>,
    ) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                tally: Tally::new(rhythm),
                storm,
                ended: false,
                done: Vec::new(),
            }),
            #[cfg(feature = "daemon")]
            post,
            wake: Condvar::new(),
            origin: Instant::now(),
            restart: watch::Sender::new(false),
        });
        let own = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("mainstay-web".to_owned())
            .spawn(move || own.work(&tell))?;
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    /// Logs a fault and counts it. Waits for nothing but the logger.
    pub(crate) fn report(&self, fault: Fault, trace: Option<Backtrace>) {
        self.inner.report(fault, trace);
    }

    /// Logs a fault that is a state, and has it told; it lasts until it is released.
    pub(crate) fn hold(&self, fault: Fault) {
        log(&fault);
        #[cfg(feature = "daemon")]
        if let Some(post) = &self.inner.post {
            post.put(&fault, None);
        }
        let now = self.inner.origin.elapsed();
        if self.inner.state().tally.hold(now, fault) {
            self.inner.wake.notify_one();
        }
    }

    /// A state is over.
    pub(crate) fn release(&self, fingerprint: &str) {
        let now = self.inner.origin.elapsed();
        if self.inner.state().tally.release(now, fingerprint) {
            self.inner.wake.notify_one();
        }
    }

    /// Whether there were so many panics that a restart is wanted.
    pub(crate) fn restart(&self) -> watch::Receiver<bool> {
        self.inner.restart.subscribe()
    }

    /// Tells what is left, and ends the thread, at most so long.
    pub(crate) async fn end(&self, patience: Duration) {
        let (done, ended) = oneshot::channel();
        self.inner.end(Some(done));
        let _ = tokio::time::timeout(patience, ended).await;
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.inner.end(None);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, fault: Fault, trace: Option<Backtrace>) {
        log(&fault);
        let trace = trace.map(Arc::new);
        #[cfg(feature = "daemon")]
        if let Some(post) = &self.post {
            post.put(&fault, trace.as_ref());
        }
        let now = self.origin.elapsed();
        let mut state = self.state();
        let is_storm = fault.class() == Class::Panic
            && (state.storm.as_mut()).is_some_and(|storm| storm.add(now));
        let earlier = state.tally.add(now, fault, trace);
        drop(state);
        if earlier {
            self.wake.notify_one();
        }
        if is_storm {
            self.ask_for_restart();
        }
    }

    fn ask_for_restart(&self) {
        self.restart.send_replace(true);
        let verdict = Verdict::new(Class::Internal).with_severity(Severity::Critical);
        let fault = Fault::told(
            verdict,
            "more panics in a minute than may be: a restart is asked for",
        )
        .at(Frame::default())
        .with_fingerprint("mainstay-web: panics");
        self.report(fault, None);
    }

    fn end(&self, done: Option<oneshot::Sender<()>>) {
        let mut state = self.state();
        // The thread is gone after the first time, and what it would have told too.
        if !state.ended {
            state.done.extend(done);
            state.ended = true;
        }
        drop(state);
        self.wake.notify_one();
    }

    fn work(&self, tell: &[Tell]) {
        loop {
            let turn = self.wait();
            for due in turn.due {
                told(due, tell);
            }
            if turn.further > 0 {
                log::warn!(
                    target: TARGET,
                    "{} faults were of more kinds than are told apart: they are in this log only",
                    turn.further
                );
            }
            if let Some(waiters) = turn.last {
                for waiter in waiters {
                    let _ = waiter.send(());
                }
                return;
            }
        }
    }

    /// Waits until something is to be told, or nothing more comes.
    fn wait(&self) -> Turn {
        let mut state = self.state();
        loop {
            let now = self.origin.elapsed();
            let due = if state.ended {
                state.tally.rest()
            } else {
                state.tally.due(now)
            };
            if state.ended || !due.is_empty() {
                let last = state.ended.then(|| std::mem::take(&mut state.done));
                return Turn {
                    due,
                    further: state.tally.take_further(),
                    last,
                };
            }
            state = match state.tally.next() {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    self.wake
                        .wait_timeout(state, next.saturating_sub(now))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

/// What there is to do for the thread.
struct Turn {
    due: Vec<Due<Arc<Backtrace>>>,
    further: u64,
    /// Nothing more comes: who waits for the end of the thread.
    last: Option<Vec<oneshot::Sender<()>>>,
}

fn told(due: Due<Arc<Backtrace>>, tell: &[Tell]) {
    let Due {
        mut fault,
        trace,
        count,
        over,
    } = due;
    if let Some(trace) = trace {
        let frames = frames(&trace, fault.place());
        log::error!(target: TARGET, "{}", shown(&fault, &frames));
        fault = fault.with_frames(frames);
    }
    let notice = Notice { fault, count, over };
    for tell in tell {
        if catch_unwind(AssertUnwindSafe(|| tell(&notice))).is_err() {
            log::error!(target: TARGET, "who is told of faults panicked at {}", notice.fault);
        }
    }
}

/// The names of the addresses of a backtrace, the innermost first, from the place of the panic on.
pub(crate) fn frames(trace: &Backtrace, place: Option<&Frame>) -> Vec<Frame> {
    let text = format!("thread '' panicked at ?:0:0:\n\nstack backtrace:\n{trace}");
    let mut frames = Recogniser::new()
        .find(&text)
        .map(|found| found.frames().to_vec())
        .unwrap_or_default();
    frames.retain(|frame| frame.file != "?");
    // What is above is how panics are made. The compiler and the backtrace begin paths differently.
    let is_place = |frame: &Frame| {
        place.is_some_and(|place| {
            place.line == frame.line
                && !frame.file.is_empty()
                && place.file.ends_with(frame.file.trim_start_matches("./"))
        })
    };
    if let Some(at) = frames.iter().position(is_place) {
        frames.drain(..at);
    }
    frames
}

fn shown(fault: &Fault, frames: &[Frame]) -> String {
    let mut text = format!("{fault}; the way to it, told once a minute:");
    for (index, frame) in frames.iter().enumerate() {
        let _ = write!(text, "\n  {index}: {frame}");
    }
    text
}

/// One line for each fault, so that the code that a visitor reads out is found.
fn log(fault: &Fault) {
    let level = match fault.severity() {
        Severity::Critical | Severity::Error => Level::Error,
        Severity::Warning => Level::Warn,
        Severity::Info => Level::Info,
        Severity::Debug => Level::Debug,
    };
    if !log::log_enabled!(target: TARGET, level) {
        return;
    }
    let mut around = String::new();
    for (name, value) in fault.context() {
        let _ = write!(around, "; {name}: ");
        around.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    log::log!(target: TARGET, level, "{fault}{around}");
}

//! Faults on their way to the daemon, how undos go on, and orders on their way back.
//!
//! All of it is tasks of the app's runtime. A request waits for nothing of it; a daemon that is away
//! finds later what was kept meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_control::wire::{FaultReport, ReportedRequest};
use mainstay_control::{Kind, Reporter};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[cfg(feature = "journal")]
use crate::orders::{self, Nudge};
use crate::post::{Letter, Post};
use crate::report::{self, TARGET};
#[cfg(feature = "journal")]
use crate::report::{STUCK, WORK};

/// How long a daemon that did not answer is left alone: first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The tasks, for who ends them.
pub(crate) struct Handle {
    stop: watch::Sender<bool>,
    courier: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Sends what waits, once, and ends, at most so long.
    pub(crate) async fn end(&self, patience: Duration) {
        self.stop.send_replace(true);
        let task = self
            .courier
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(mut task) = task
            && tokio::time::timeout(patience, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Starts the tasks on the current runtime.
pub(crate) fn start(
    post: Arc<Post>,
    socket: PathBuf,
    release: Option<String>,
    #[cfg(feature = "alert")] alerted: bool,
    #[cfg(feature = "journal")] journal: Option<&mainstay_journal::Journal>,
) -> Handle {
    let reporter = Reporter::new(socket);
    let (stop, stopped) = watch::channel(false);
    #[cfg(feature = "journal")]
    let (nudge, nudged) = tokio::sync::mpsc::channel(64);
    #[cfg(feature = "journal")]
    if let Some(journal) = journal {
        let orders =
            orders::carry_out(reporter.clone(), journal.operator(), nudge, stopped.clone());
        tokio::spawn(orders);
    }
    let courier = Courier {
        post,
        reporter,
        release,
        #[cfg(feature = "alert")]
        alerted,
        #[cfg(not(feature = "alert"))]
        alerted: false,
        away: None,
        refused: false,
        #[cfg(feature = "journal")]
        works: journal.map(|journal| orders::Works::new(journal.operator())),
        #[cfg(feature = "journal")]
        nudged,
    };
    Handle {
        stop,
        courier: std::sync::Mutex::new(Some(tokio::spawn(courier.run(stopped)))),
    }
}

/// A daemon that does not answer.
struct Away {
    until: Instant,
    pause: Duration,
}

/// What became of a report.
#[derive(PartialEq, Eq)]
pub(crate) enum Sent {
    /// The daemon has it, or will never take it.
    Yes,
    /// It can be tried again.
    NotYet,
}

struct Courier {
    post: Arc<Post>,
    reporter: Reporter,
    release: Option<String>,
    alerted: bool,
    away: Option<Away>,
    /// That the daemon refuses a report is said once.
    refused: bool,
    #[cfg(feature = "journal")]
    works: Option<orders::Works>,
    #[cfg(feature = "journal")]
    nudged: tokio::sync::mpsc::Receiver<Nudge>,
}

impl Courier {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let is_last = *stopped.borrow();
            let may_try =
                is_last || (self.away.as_ref()).is_none_or(|away| away.until <= Instant::now());
            if may_try {
                self.deliver(is_last).await;
                #[cfg(feature = "journal")]
                self.follow(is_last).await;
            }
            let lost = self.post.pile().take_lost();
            if lost > 0 {
                log::warn!(
                    target: TARGET,
                    "{lost} faults were more than wait for the daemon: they are in this log only"
                );
            }
            if is_last {
                return;
            }
            let wait = self.wait();
            #[cfg(feature = "journal")]
            tokio::select! {
                () = self.post.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = stopped.changed() => {}
                Some(nudge) = self.nudged.recv() => {
                    if let Some(works) = &mut self.works {
                        works.look_at(nudge, self.release.as_deref());
                    }
                }
            }
            #[cfg(not(feature = "journal"))]
            tokio::select! {
                () = self.post.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// How long there is nothing to do, if nobody rings.
    fn wait(&self) -> Duration {
        if let Some(away) = &self.away {
            return away.until.saturating_duration_since(Instant::now());
        }
        let next = self.post.pile().next();
        let next = next.map(|next| next.saturating_sub(self.post.now()));
        #[cfg(feature = "journal")]
        let next = [next, self.works.as_ref().and_then(orders::Works::next)]
            .into_iter()
            .flatten()
            .min();
        next.unwrap_or(Duration::from_hours(1))
    }

    /// Sends what is due, or when this is the last time, all there is.
    async fn deliver(&mut self, is_last: bool) {
        let now = if is_last {
            Duration::MAX
        } else {
            self.post.now()
        };
        loop {
            let Some(letter) = self.post.pile().take(now) else {
                return;
            };
            if self.send(&letter).await == Sent::NotYet {
                self.post.pile().put_back(letter);
                return;
            }
        }
    }

    async fn send(&mut self, letter: &Letter<Arc<std::backtrace::Backtrace>>) -> Sent {
        let mut report = report_of(letter);
        report.release.clone_from(&self.release);
        report.alerted = self.alerted;
        if let Some(trace) = &letter.trace {
            let (trace, place) = (Arc::clone(trace), letter.fault.place().cloned());
            // To look up names takes its time.
            let frames =
                tokio::task::spawn_blocking(move || report::frames(&trace, place.as_ref())).await;
            let frames = frames.unwrap_or_default();
            report.trace = frames.iter().map(ToString::to_string).collect();
        }
        #[cfg(feature = "journal")]
        if let (Some(works), Some(work)) = (&mut self.works, fact(letter, WORK)) {
            let is_stuck = letter.fault.fingerprint().starts_with(STUCK);
            if is_stuck && works.is_followed(work) {
                // The fault that broke it off is brought up to date: its code is the one that is known.
                works.look_at(Nudge::of(work), None);
                return Sent::Yes;
            }
            report.work = works.state_of(work).await;
        }
        let sent = self.post_report(&report).await;
        #[cfg(feature = "journal")]
        if sent == Sent::Yes
            && let Some(works) = &mut self.works
        {
            works.follow(report);
        }
        sent
    }

    /// Tells how works went on.
    #[cfg(feature = "journal")]
    async fn follow(&mut self, is_last: bool) {
        loop {
            let Some(works) = &mut self.works else { return };
            let Some((index, report)) = works.changed(is_last).await else {
                return;
            };
            let sent = self.post_report(&report).await;
            if sent == Sent::NotYet {
                return;
            }
            if let Some(works) = &mut self.works {
                works.told(index, report);
            }
        }
    }

    async fn post_report(&mut self, report: &FaultReport) -> Sent {
        let Err(error) = self.reporter.report(report).await else {
            if self.away.take().is_some() {
                log::info!(target: TARGET, "the daemon takes faults again");
            }
            return Sent::Yes;
        };
        let is_away = matches!(
            error.kind,
            Kind::NotReachable
                | Kind::TryLater
                | Kind::Bug
                | Kind::Failed
                | Kind::Locked
                | Kind::TooSlow
        );
        if !is_away {
            if !std::mem::replace(&mut self.refused, true) {
                log::warn!(target: TARGET, "the daemon does not take faults of this process: {error}");
            }
            return Sent::Yes;
        }
        let pause = match &self.away {
            None => {
                log::warn!(target: TARGET, "the daemon can't be told of faults, which wait: {error}");
                PAUSE
            }
            Some(away) => (away.pause * 2).min(LONGEST_PAUSE),
        };
        self.away = Some(Away {
            until: Instant::now() + pause,
            pause,
        });
        Sent::NotYet
    }
}

/// A fact of a letter's fault, by its name.
fn fact<'a, T>(letter: &'a Letter<T>, name: &str) -> Option<&'a str> {
    let facts = letter.fault.context();
    let found = facts.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// All that is known of a fault.
fn report_of<T>(letter: &Letter<T>) -> FaultReport {
    let fault = &letter.fault;
    let mut chain = fault.chain().iter();
    let mut report = FaultReport::new(chain.next().map_or("a fault", String::as_str));
    report.causes = chain.cloned().collect();
    report.code = Some(fault.id().to_string());
    report.class = Some(fault.class().name().to_owned());
    report.status = Some(fault.status().as_u16());
    report.severity = Some(fault.severity().name().to_owned());
    report.notify = Some(fault.notify().name().to_owned());
    report.fingerprint = Some(fault.fingerprint().to_owned());
    report.place = fault.place().map(ToString::to_string);
    report.place = report.place.filter(|place| !place.is_empty());
    report.trace = fault.frames().iter().map(ToString::to_string).collect();
    if let Some((method, path)) = fact(letter, "request").and_then(|text| text.split_once(' ')) {
        report.request = Some(ReportedRequest {
            id: fact(letter, "request id").unwrap_or_default().to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
        });
    }
    report.count = letter.count;
    report.first = Some(letter.first);
    report.last = Some(letter.last);
    report
}

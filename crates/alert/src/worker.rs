//! The thread: it owns the machine and the outbox, and has channels bring what is due, each on a
//! thread of its own, so that a server that does not answer holds up nobody else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mainstay_base::Clock;

use crate::alert::{Alert, Key};
use crate::alerts::{ChannelHealth, Overview};
use crate::channel::{Channel, Failure, back_off};
use crate::config::Keep;
use crate::heartbeat::{self, Beating};
use crate::inbox::{Batch, Inbox, Operation, Report};
use crate::machine::Machine;
use crate::message::{Message, When};
use crate::outbox::{Attempted, DeliveryState, Due, Outbox, Routed};
use crate::severity::Severity;
use crate::text;

/// How often it is tried whether the file of the outbox can be written again.
const FILE_AGAIN: Duration = Duration::from_secs(30);
/// How often old messages are looked for while some wait.
const TRIM: Duration = Duration::from_mins(10);
/// How many deliveries a list shows.
const LISTED: usize = 200;

/// Time that goes at the pace of the monotonic clock and never back, begun at the wall clock's and
/// brought forward with it. Were the wall clock set back, waits would otherwise last for as long.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    anchor: std::sync::Mutex<(Timestamp, Duration)>,
}

impl Pace {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let anchor = (clock.now(), clock.monotonic());
        Self {
            clock,
            anchor: std::sync::Mutex::new(anchor),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let mut anchor = self
            .anchor
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (wall, steady) = (self.clock.now(), self.clock.monotonic());
        let own = SignedDuration::try_from(steady.saturating_sub(anchor.1))
            .ok()
            .and_then(|passed| anchor.0.checked_add(passed).ok())
            .unwrap_or(wall);
        let now = own.max(wall);
        *anchor = (now, steady);
        now
    }
}

/// A channel, and how it does.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) when: When,
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) busy: bool,
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) rests_until: Option<Timestamp>,
    pub(crate) last_error: Option<Failure>,
    pub(crate) told: bool,
}

/// What the thread works with.
pub(crate) struct Worker {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) machine: Machine,
    pub(crate) outbox: Outbox,
    pub(crate) channels: Vec<Running>,
    pub(crate) heartbeat: Option<Beating>,
    pub(crate) keep: Keep,
    pub(crate) channel_failure: Duration,
    pub(crate) overflowed: u64,
    pub(crate) file_again: Option<Timestamp>,
    pub(crate) trim_at: Timestamp,
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

impl Worker {
    /// Works until it is asked to stop, and then until nothing is due or the deadline has come.
    pub(crate) fn run(mut self) {
        let mut batch = Batch::default();
        let mut stop: Option<Instant> = None;
        loop {
            stop = match (stop, batch.stop) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let now = self.pace.now();
            let worked = self.apply(batch, now);
            self.turn(now, worked);
            let mut wait = self.next(now).map(|next| {
                Duration::try_from(next.duration_since(self.pace.now())).unwrap_or_default()
            });
            if let Some(deadline) = stop {
                let left = deadline.saturating_duration_since(Instant::now());
                let flying = self.channels.iter().any(|channel| channel.busy);
                if left.is_zero() || !flying {
                    break;
                }
                wait = Some(wait.map_or(left, |wait| wait.min(left)));
            }
            batch = self.inbox.take(wait);
        }
        // What came at the very end is stored too.
        let now = self.pace.now();
        let batch = self.inbox.take(Some(Duration::ZERO));
        self.inbox.close();
        if self.apply(batch, now) {
            self.save(&[], now);
        }
        // The last chance for what is in memory only.
        if self.outbox.trouble().is_some() {
            self.outbox.return_to_file(&mut self.machine, now);
        }
    }

    fn apply(&mut self, batch: Batch, now: Timestamp) -> bool {
        // What a heartbeat changes, the machine knows of itself: a good one is no reason to write.
        let worked = batch.overflow.is_some()
            || batch
                .operations
                .iter()
                .any(|operation| !matches!(operation, Operation::Beaten(_)));
        let mut questions = Vec::new();
        for operation in batch.operations {
            match operation {
                Operation::Raise {
                    mut alert,
                    first,
                    last,
                } => {
                    alert.since = alert.since.or(Some(first));
                    self.machine.raise(*alert, last);
                }
                Operation::Resolve(key, at) => self.machine.resolve(&key, at),
                Operation::Delivered(report) => self.delivered(report, now),
                Operation::Beaten(result) => self.beaten(result, now),
                Operation::Ask(question) => questions.push(question),
            }
        }
        if let Some((count, severity)) = batch.overflow {
            self.overflowed = self.overflowed.saturating_add(count);
            let mut alert = Alert::new(
                "mainstay",
                severity,
                "alerts came faster than they could be taken",
            )
            .body("They are only counted. The log has what happened.")
            .command("mainstay alert list");
            alert.count = count;
            self.machine.raise(alert, now);
        }
        if !questions.is_empty() {
            // What was raised before a question is on disk before its answer.
            self.save(&[], now);
            for question in questions {
                question(self, now);
            }
        }
        worked
    }

    /// Everything that is due.
    fn turn(&mut self, now: Timestamp, worked: bool) {
        if let Some(damage) = self.outbox.take_damage() {
            self.tell_damage(&damage, now);
        }
        if now >= self.trim_at {
            self.trim(now);
        }
        let messages = self.machine.tick(now);
        let routed: Vec<Routed> = messages
            .into_iter()
            .map(|message| self.route(message))
            .collect();
        if worked || !routed.is_empty() || self.machine.is_changed() {
            self.save(&routed, now);
        }
        if self.outbox.trouble().is_some() && self.file_again.is_none_or(|at| at <= now) {
            if self.outbox.return_to_file(&mut self.machine, now) {
                log::info!("the outbox of alerts is on disk again");
                self.file_again = None;
            } else {
                self.file_again = Some(later(now, FILE_AGAIN));
            }
        }
        for index in 0..self.channels.len() {
            self.bring(index, now);
        }
        self.beat(now);
    }

    /// Who brings a message: what is about a channel goes by all others.
    fn route(&self, message: Message) -> Routed {
        let to = self
            .channels
            .iter()
            .filter(|running| {
                message.not_via.as_ref() != Some(&running.name)
                    && message.part_for(&running.when).is_some()
            })
            .map(|running| (running.name.clone(), running.channel.recipients()))
            .collect();
        (message, to)
    }

    fn save(&mut self, routed: &[Routed], now: Timestamp) {
        let Err(error) = self.outbox.commit(&mut self.machine, routed) else {
            return;
        };
        log::warn!("the outbox of alerts cannot be used and goes on in memory: {error}");
        self.file_again = Some(later(now, FILE_AGAIN));
        let again = self
            .outbox
            .leave_file(&mut self.machine, error.to_string())
            .and_then(|()| self.outbox.commit(&mut self.machine, routed));
        if let Err(error) = again {
            log::warn!("the outbox of alerts cannot be kept in memory either: {error}");
        }
    }

    fn noted(&mut self, result: rusqlite::Result<()>, now: Timestamp) {
        if let Err(error) = result {
            log::warn!("the outbox of alerts cannot be used and goes on in memory: {error}");
            self.file_again = Some(later(now, FILE_AGAIN));
            let left = self.outbox.leave_file(&mut self.machine, error.to_string());
            if let Err(error) = left {
                log::warn!("the outbox of alerts cannot be kept in memory either: {error}");
            }
        }
    }

    /// Has a channel bring what is due, if it is not at it already.
    fn bring(&mut self, index: usize, now: Timestamp) {
        let Some(running) = self.channels.get_mut(index) else {
            return;
        };
        if running.busy || running.rests_until.is_some_and(|until| until > now) {
            return;
        }
        let due = match self.outbox.due(&running.name, now) {
            Ok(Some(due)) => due,
            Ok(None) => return,
            Err(error) => {
                // What cannot be read is looked at when the file is returned to.
                running.rests_until = Some(later(now, FILE_AGAIN));
                self.noted(Err(error), now);
                return;
            }
        };
        let Due { message, owed } = due;
        let part = message.part_for(&running.when).unwrap_or(message);
        let mut attempt = Attempt {
            inbox: Arc::clone(&self.inbox),
            report: Some(Report {
                channel: index,
                message: part.id.clone(),
                subject: text::subject(&part),
                severity: part.severity(),
                results: Vec::new(),
                to: owed,
            }),
        };
        running.busy = true;
        let channel = Arc::clone(&running.channel);
        let thread = std::thread::Builder::new()
            .name(format!("alert {}", running.name))
            .spawn(move || {
                if let Some(report) = &mut attempt.report {
                    report.results = channel.deliver(&part, &report.to);
                }
            });
        if let Err(error) = thread {
            // The attempt went with the closure and has reported itself as failed.
            log::warn!("no thread for an alert's delivery: {error}");
        }
    }

    fn delivered(&mut self, report: Report, now: Timestamp) {
        let Report {
            channel: index,
            message,
            subject,
            severity,
            to,
            results,
        } = report;
        let Some(running) = self.channels.get_mut(index) else {
            return;
        };
        running.busy = false;
        let name = running.name.clone();
        let mut owed = Vec::new();
        let mut refused = Vec::new();
        let mut failure: Option<Failure> = None;
        let mut any_sent = false;
        for (position, recipient) in to.into_iter().enumerate() {
            match results.get(position) {
                Some(Ok(())) => any_sent = true,
                Some(Err(why)) if !why.temporary => {
                    refused.push((recipient, why.clone()));
                    failure.get_or_insert_with(|| why.clone());
                }
                Some(Err(why)) => {
                    owed.push(recipient);
                    failure = Some(why.clone());
                }
                None => {
                    owed.push(recipient);
                    failure = Some(Failure::temporary(
                        format!("the channel `{name}` ended without a word"),
                        "this is a fault of mainstay: report it, with the log around this moment",
                    ));
                }
            }
        }
        let answered = any_sent || !refused.is_empty();
        let mut next = now;
        if owed.is_empty() || answered {
            running.failures = 0;
            running.failing_since = None;
            running.rests_until = None;
            running.told = false;
        }
        if !owed.is_empty() {
            running.failures = running.failures.saturating_add(1);
            let asked = failure.as_ref().and_then(|failure| failure.retry_after);
            next = later(now, back_off(running.failures, asked));
            if !answered {
                running.failing_since = running.failing_since.or(Some(now));
                running.rests_until = Some(next);
            }
        }
        running.last_error.clone_from(&failure);
        let (state, left) = if !owed.is_empty() {
            (DeliveryState::Waiting, owed)
        } else if !refused.is_empty() {
            let names = refused.iter().map(|(name, _)| name.clone()).collect();
            (DeliveryState::Failed, names)
        } else {
            (DeliveryState::Sent, Vec::new())
        };
        let noted = self.outbox.attempted(Attempted {
            message: message.clone(),
            channel: name.clone(),
            state,
            owed: left,
            next,
            now,
            error: failure.as_ref().map(|failure| failure.why.clone()),
        });
        self.noted(noted, now);
        if answered {
            self.machine.resolve(&failing_key(&name), now);
            let hurried = self.outbox.hurry(&name, now);
            // Who was left out just now keeps their wait.
            self.noted(hurried, now);
            if state == DeliveryState::Waiting {
                let noted = self.outbox.postpone(&message, &name, next);
                self.noted(noted, now);
            }
        }
        if let Some(failure) = failure {
            log::warn!("an alert was not delivered by the channel `{name}`: {failure}");
            if !refused.is_empty() {
                self.tell_refused(&name, &subject, severity, &refused, now);
            }
            self.tell_failing(index, severity, &failure, now);
        }
    }

    /// A message that a channel will never bring is told by the others.
    fn tell_refused(
        &mut self,
        name: &str,
        subject: &str,
        severity: Severity,
        refused: &[(String, Failure)],
        now: Timestamp,
    ) {
        let mut body = format!("The message was: {subject}\n");
        for (recipient, failure) in refused {
            let _ = writeln!(body, "{recipient}: {failure}\n{}", failure.help);
        }
        let mut alert = Alert::new(
            "mainstay",
            severity.max(Severity::Warning),
            format!("a message was refused on its way through the channel {name}"),
        )
        .fingerprint(format!("refused:{name}"))
        .body(body.trim_end())
        .command("mainstay alert list");
        alert.not_via = Some(name.to_owned());
        self.machine.raise(alert, now);
    }

    /// With the file went what waited in it.
    fn tell_damage(&mut self, damage: &str, now: Timestamp) {
        let alert = Alert::new(
            "mainstay",
            Severity::Error,
            "the outbox of alerts was damaged and begun anew",
        )
        .body(format!(
            "{damage}. Messages that waited for their channels may be lost, and what lasts is told as new. Look at the disk."
        ))
        .command("mainstay alert list");
        self.machine.raise(alert, now);
    }

    /// A channel that fails for long is told by the others.
    fn tell_failing(
        &mut self,
        index: usize,
        severity: Severity,
        failure: &Failure,
        now: Timestamp,
    ) {
        let Some(running) = self.channels.get_mut(index) else {
            return;
        };
        let Some(since) = running.failing_since else {
            return;
        };
        if running.told || later(since, self.channel_failure) > now {
            return;
        }
        running.told = true;
        let name = &running.name;
        let mut alert = Alert::new(
            "mainstay",
            severity.max(Severity::Error),
            format!("alerts do not get through the channel {name}"),
        )
        .fingerprint(failing_key(name).fingerprint)
        .lasting()
        .body(format!("{failure}\n{}", failure.help))
        .command("mainstay alert test");
        alert.since = Some(since);
        alert.not_via = Some(name.clone());
        self.machine.raise(alert, now);
    }

    /// Whether nobody has been told anything for long, whatever was tried.
    fn mute(&self, now: Timestamp) -> bool {
        !self.channels.is_empty()
            && self.channels.iter().all(|running| {
                running
                    .failing_since
                    .is_some_and(|since| later(since, self.channel_failure) <= now)
            })
    }

    /// Beats when it is time, but not while no channel works: then the service behind the heartbeat
    /// is the only one that can tell somebody, and it does so when it hears nothing.
    fn beat(&mut self, now: Timestamp) {
        let mute = self.mute(now);
        let Some(beating) = &mut self.heartbeat else {
            return;
        };
        if beating.busy || beating.due > now {
            return;
        }
        beating.due = later(now, beating.every());
        if mute {
            log::warn!("the heartbeat of alerts is held back, because no channel works");
            return;
        }
        beating.busy = true;
        let heartbeat = Arc::clone(&beating.heartbeat);
        let mut beat = Beat {
            inbox: Arc::clone(&self.inbox),
            result: Err(Failure::temporary(
                "the heartbeat ended without a word",
                "this is a fault of mainstay: report it, with the log around this moment",
            )),
        };
        let thread = std::thread::Builder::new()
            .name("alert heartbeat".to_owned())
            .spawn(move || beat.came(heartbeat.beat()));
        if let Err(error) = thread {
            // The beat went with the closure and has reported itself as failed.
            log::warn!("no thread for a heartbeat: {error}");
        }
    }

    /// A heartbeat that fails for long is told, and so is its return.
    fn beaten(&mut self, result: Result<(), Failure>, now: Timestamp) {
        let Some(beating) = &mut self.heartbeat else {
            return;
        };
        let key = Key::new("mainstay", "heartbeat");
        match &result {
            Ok(()) => self.machine.resolve(&key, now),
            Err(failure) => {
                log::warn!("a heartbeat was not taken: {failure}");
                let since = beating.failing_since.unwrap_or(now);
                if !beating.told && later(since, self.channel_failure) <= now {
                    beating.told = true;
                    let mut alert = Alert::new(
                        "mainstay",
                        Severity::Error,
                        "the heartbeat does not get through",
                    )
                    .fingerprint(key.fingerprint)
                    .lasting()
                    .body(format!(
                        "{failure}\n{}\nThe service behind it will soon say that this host is dead.",
                        failure.help
                    ))
                    .command("mainstay alert test");
                    alert.since = Some(since);
                    self.machine.raise(alert, now);
                }
            }
        }
        beating.beaten(result, now);
    }

    fn trim(&mut self, now: Timestamp) {
        self.trim_at = later(now, TRIM);
        let names: Vec<&str> = self.channels.iter().map(|c| c.name.as_str()).collect();
        match self.outbox.trim(&self.keep, &names, now) {
            Ok(given) => {
                for given in given {
                    let mut alert = Alert::new(
                        "mainstay",
                        given.severity.max(Severity::Error),
                        format!(
                            "messages for the channel {} were given up",
                            given.channel
                        ),
                    )
                    .fingerprint(format!("given-up:{}", given.channel))
                    .body(format!(
                        "{} waited for too long, were too many, or have no channel any more. The oldest was: {}",
                        text::number(given.count),
                        given.subject
                    ))
                    .command("mainstay alert list");
                    alert.count = given.count;
                    self.machine.raise(alert, now);
                }
            }
            Err(error) => self.noted(Err(error), now),
        }
    }

    /// When there is something to do next.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.outbox.next().unwrap_or_else(|error| {
            log::warn!("the outbox of alerts cannot be read: {error}");
            BTreeMap::new()
        });
        let trim = (!waiting.is_empty()).then_some(self.trim_at);
        let deliveries = self.channels.iter().filter_map(|running| {
            let due = *waiting.get(&running.name)?;
            (!running.busy).then(|| running.rests_until.map_or(due, |until| until.max(due)))
        });
        let file = self.outbox.trouble().and(self.file_again);
        let heartbeat = self
            .heartbeat
            .iter()
            .filter(|beating| !beating.busy)
            .map(|beating| beating.due);
        self.machine
            .next(now)
            .into_iter()
            .chain(deliveries)
            .chain(trim)
            .chain(file)
            .chain(heartbeat)
            .min()
    }

    /// How everything stands.
    pub(crate) fn overview(&self, now: Timestamp) -> rusqlite::Result<Overview> {
        Ok(Overview {
            alerts: self.machine.list(now),
            silences: self.machine.silences().to_vec(),
            deliveries: self.outbox.list(LISTED)?,
            channels: self
                .channels
                .iter()
                .map(|running| ChannelHealth {
                    name: running.name.clone(),
                    failing_since: running.failing_since,
                    last_error: running.last_error.clone(),
                    next_attempt: running.rests_until.filter(|until| *until > now),
                })
                .collect(),
            heartbeat: self.heartbeat.as_ref().map(|beating| ChannelHealth {
                name: heartbeat::NAME.to_owned(),
                failing_since: beating.failing_since,
                last_error: beating.last_error.clone(),
                next_attempt: Some(beating.due),
            }),
            counts: self.machine.counts(),
            waiting: self.machine.waiting(),
            overflowed: self.overflowed,
            trouble: self.outbox.trouble().map(str::to_owned),
        })
    }
}

/// The key of the alert about a channel that fails.
fn failing_key(channel: &str) -> Key {
    Key::new("mainstay", format!("channel:{channel}"))
}

/// An attempt reports itself, whatever becomes of its thread.
struct Attempt {
    inbox: Arc<Inbox>,
    report: Option<Report>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            self.inbox.delivered(report);
        }
    }
}

/// A beat reports itself, whatever becomes of its thread.
struct Beat {
    inbox: Arc<Inbox>,
    result: Result<(), Failure>,
}

impl Beat {
    fn came(&mut self, result: Result<(), Failure>) {
        self.result = result;
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.inbox
            .beaten(std::mem::replace(&mut self.result, Ok(())));
    }
}

//! The handle: what the rest of a program does with alerts.

use std::fmt;
use std::io::Read as _;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_base::{Clock, hex};
use sha2::{Digest as _, Sha256};

use crate::alert::{Alert, Key};
use crate::channel::{Channel, Failure};
use crate::config::{ChannelConfig, Config, Target};
use crate::error::{Error, ErrorKind};
use crate::exec::ExecChannel;
use crate::heartbeat::{self, Beating, Heartbeat};
use crate::inbox::Inbox;
use crate::machine::{Counts, Listed, Machine, Silence};
use crate::mail::MailChannel;
use crate::message::Message;
use crate::outbox::{Delivery, Outbox};
use crate::policy::Matcher;
use crate::severity::Severity;
use crate::webhook::WebhookChannel;
use crate::worker::{Pace, Running, Worker};

/// How long an answer of the thread is waited for. It never waits for a network or a person.
const ANSWER: Duration = Duration::from_secs(30);

/// The longest silence: one that is longer is a setting, and belongs into the config.
const LONGEST_SILENCE: Duration = Duration::from_hours(366 * 24);

/// How a channel does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelHealth {
    /// Its name.
    pub name: String,
    /// Since when every attempt fails.
    pub failing_since: Option<Timestamp>,
    /// What the last attempt ran into.
    pub last_error: Option<Failure>,
    /// When it is tried next, where it is given a rest.
    pub next_attempt: Option<Timestamp>,
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// What is raised and not over, gravest first.
    pub alerts: Vec<Listed>,
    /// The silences that hold.
    pub silences: Vec<Silence>,
    /// Messages on their way and those before, newest first.
    pub deliveries: Vec<Delivery>,
    /// The channels, in the order of the config.
    pub channels: Vec<ChannelHealth>,
    /// The heartbeat; absent where there is none.
    pub heartbeat: Option<ChannelHealth>,
    /// Where all alerts are.
    pub counts: Counts,
    /// How many alerts are in no message yet.
    pub waiting: u64,
    /// How many alerts there was no room for since the start; they are counted in a message.
    pub overflowed: u64,
    /// Why the outbox is in memory only; absent when all is well.
    pub trouble: Option<String>,
}

/// What came of trying a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The channel.
    pub channel: String,
    /// The recipient, by the channel's name for it.
    pub recipient: String,
    /// Whether the message was taken, or why not and what to do.
    pub result: Result<(), Failure>,
}

/// A channel with its name.
type Named = (String, Arc<dyn Channel>);

struct Inner {
    inbox: Arc<Inbox>,
    pace: Arc<Pace>,
    host: String,
    channels: Vec<Named>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.inbox.stop(Instant::now());
    }
}

/// The alerts of a process: raised from any thread, told by a thread of their own.
///
/// Clones are the same alerts. When the last of them is dropped the thread ends by itself; see
/// [`Alerts::shutdown`] for an end that waits.
#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").finish_non_exhaustive()
    }
}

impl Alerts {
    /// Starts the thread, which goes on from what is in the outbox. Fails for a config that cannot
    /// be used; an outbox that cannot be opened is told in [`Overview::trouble`] and tried again,
    /// and alerts go on in memory meanwhile.
    pub fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut channels = build_all(&config)?;
        let heartbeat = heartbeat(&config);
        let pace = Arc::new(Pace::new(clock));
        let now = pace.now();
        let broken = |error: rusqlite::Error| {
            Error::new(
                ErrorKind::Outbox,
                format!("open the outbox {}", config.outbox.display()),
                error.to_string(),
                "check the file and the directory it is in",
            )
        };
        let outbox = Outbox::open(&config.outbox, now).map_err(broken)?;
        if let Some(why) = outbox.trouble() {
            log::warn!("the outbox of alerts goes on in memory: {why}");
        }
        let stored = outbox.load().map_err(broken)?;
        let mut machine = Machine::from_stored(config.policy, &config.host, stored, now);
        machine.salted(|| salt(&config.host, now));
        let inbox = Arc::new(Inbox::new(config.queue));
        let running = config
            .channels
            .iter()
            .zip(&channels)
            .map(|(config, (name, channel))| Running {
                name: name.clone(),
                when: config.when.clone(),
                channel: Arc::clone(channel),
                busy: false,
                failures: 0,
                failing_since: None,
                rests_until: None,
                last_error: None,
                told: false,
            })
            .collect();
        if let Some(heartbeat) = &heartbeat {
            channels.push((
                heartbeat::NAME.to_owned(),
                Arc::clone(heartbeat) as Arc<dyn Channel>,
            ));
        }
        let worker = Worker {
            inbox: Arc::clone(&inbox),
            pace: Arc::clone(&pace),
            machine,
            outbox,
            channels: running,
            heartbeat: heartbeat.map(|heartbeat| Beating::new(heartbeat, now)),
            keep: config.keep,
            channel_failure: config.channel_failure,
            overflowed: 0,
            file_again: None,
            trim_at: now,
        };
        let thread = std::thread::Builder::new()
            .name("alert".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| {
                Error::new(
                    ErrorKind::NotRunning,
                    "start the thread of the alerts",
                    error.to_string(),
                    "raise the limit of processes (nproc) of this user",
                )
            })?;
        Ok(Self(Arc::new(Inner {
            inbox,
            pace,
            host: config.host,
            channels,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Raises an alert. Never blocks, does no I/O and cannot fail: where there is no room, the alert
    /// is counted, and the count is told.
    pub fn raise(&self, alert: Alert) {
        self.0.inbox.raise(alert.trimmed(), self.0.pace.now());
    }

    /// Says that what the key stands for is over. False when there was no room for that, which takes
    /// thousands of them at once: say it again later.
    pub fn resolve(&self, key: &Key) -> bool {
        let key = Key::new(key.app.as_str(), key.fingerprint.as_str());
        self.0.inbox.resolve(key, self.0.pace.now())
    }

    /// Raises a log record as an event, see [`Alert::of_record`]. Records of this crate itself are not
    /// taken: an alert about the failing of alerts would go in a circle.
    pub fn raise_record<S: Into<String>>(
        &self,
        severity: Severity,
        app: &str,
        target: &str,
        message: &str,
        time: Timestamp,
        context: impl IntoIterator<Item = S>,
    ) {
        if target == "mainstay_alert" || target.starts_with("mainstay_alert::") {
            return;
        }
        let mut alert = Alert::of_record(app, severity, target, message).context(context);
        if app != "mainstay" {
            alert = alert.command(format!("mainstay logs {app}"));
        }
        alert.since = Some(time);
        self.raise(alert);
    }

    fn ask<T: Send + 'static>(
        &self,
        attempt: &str,
        question: impl FnOnce(&mut Worker, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = self.0.inbox.ask(Box::new(move |worker, now| {
            let _ = answer.send(question(worker, now));
        }));
        asked
            .then(|| answered.recv_timeout(ANSWER).ok())
            .flatten()
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::NotRunning,
                    attempt,
                    "the thread of the alerts does not answer",
                    "restart mainstay; what was raised is in the outbox",
                )
            })
    }

    /// Silences the alerts that match for a while from now; gives the silence's number.
    pub fn silence(
        &self,
        matcher: Matcher,
        length: Duration,
        author: &str,
        reason: &str,
    ) -> Result<i64, Error> {
        let refused = |reason: &str, help: &str| {
            Err(Error::new(
                ErrorKind::Refused,
                "silence alerts",
                reason,
                help,
            ))
        };
        if matcher.is_empty() {
            return refused(
                "nothing says which alerts",
                "name a key, an app or a severity; `*` stands for any",
            );
        }
        if length.is_zero() || length > LONGEST_SILENCE {
            return refused(
                "a silence has an end",
                "say for how long, as in 2h, and at most a year",
            );
        }
        if author.trim().is_empty() || reason.trim().is_empty() {
            return refused(
                "a silence says who asked for it and why",
                "give an author and a reason: whoever looks next must know",
            );
        }
        let (author, reason) = (author.trim().to_owned(), reason.trim().to_owned());
        self.ask("silence alerts", move |worker, now| {
            let until = jiff::SignedDuration::try_from(length)
                .ok()
                .and_then(|length| now.checked_add(length).ok())
                .unwrap_or(Timestamp::MAX);
            worker.machine.silence(Silence {
                id: 0,
                matcher,
                from: now,
                until,
                author,
                reason,
            })
        })
    }

    /// Ends a silence; whether there was one of that number.
    pub fn unsilence(&self, id: i64) -> Result<bool, Error> {
        self.ask("end a silence", move |worker, now| {
            worker.machine.unsilence(id, now)
        })
    }

    /// Has the silences of other alerts, as they are there, and no others: for a program that keeps
    /// several and silences in one place.
    pub fn adopt_silences(&self, silences: Vec<Silence>) -> Result<(), Error> {
        self.ask("adopt silences", move |worker, now| {
            worker.machine.adopt_silences(silences, now);
        })
    }

    /// While an app is being deployed, alerts about it and its programs are only counted, at most
    /// for so long; what lasts beyond that is told.
    pub fn mute_while_deploy(&self, app: &str, at_most: Duration) -> Result<(), Error> {
        let app = app.to_owned();
        self.ask("mute alerts", move |worker, now| {
            let until = jiff::SignedDuration::try_from(at_most)
                .ok()
                .and_then(|length| now.checked_add(length).ok())
                .unwrap_or(Timestamp::MAX);
            let reason = format!("{app} is being deployed");
            worker.machine.excuse(&app, until, &reason);
        })
    }

    /// The deploy of an app is over.
    pub fn deploy_is_over(&self, app: &str) -> Result<(), Error> {
        let app = app.to_owned();
        self.ask("end the mute of a deploy", move |worker, now| {
            worker.machine.end_excuse(&app, now);
        })
    }

    /// How everything stands.
    pub fn list(&self) -> Result<Overview, Error> {
        self.ask("list the alerts", |worker, now| worker.overview(now))?
            .map_err(|error| {
                Error::new(
                    ErrorKind::Outbox,
                    "list the alerts",
                    error.to_string(),
                    "check the file of the outbox and the disk it is on",
                )
            })
    }

    /// Waits until everything raised so far is in the outbox. It is soon anyway; this is for who
    /// must know, as a process that is about to end.
    pub fn sync(&self) -> Result<(), Error> {
        self.ask("store the alerts", |_, _| ())
    }

    /// Sends a test message through each channel now, all at once, and waits for what comes of it. The
    /// heartbeat beats once more for it, as a channel of that name.
    pub fn test(&self) -> Vec<Tried> {
        try_all(&self.0.channels, &self.0.host, self.0.pace.now())
    }

    /// Ends the thread: everything raised before is stored, and what is due is still tried until
    /// `at_most` has passed. What is left stays in the outbox for the next start.
    pub fn shutdown(&self, at_most: Duration) {
        let now = Instant::now();
        self.0.inbox.stop(now.checked_add(at_most).unwrap_or(now));
        let thread = self
            .0
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::warn!("the thread of the alerts has panicked");
        }
    }
}

/// Sends a test message through each channel of a config, without a running daemon, as
/// [`Alerts::test`] does.
pub fn try_channels(config: &Config, now: Timestamp) -> Result<Vec<Tried>, Error> {
    let mut channels = build_all(config)?;
    if let Some(heartbeat) = heartbeat(config) {
        channels.push((heartbeat::NAME.to_owned(), heartbeat));
    }
    Ok(try_all(&channels, &config.host, now))
}

fn try_all(channels: &[Named], host: &str, now: Timestamp) -> Vec<Tried> {
    let message = Message::test(format!("test.{}", salt(host, now)), host, now);
    std::thread::scope(|scope| {
        let threads: Vec<_> = channels
            .iter()
            .map(|(name, channel)| {
                let message = &message;
                let to = channel.recipients();
                let sent = to.clone();
                let thread = scope.spawn(move || channel.deliver(message, &sent));
                (name, to, thread)
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|(name, to, thread)| {
                let results = thread.join().unwrap_or_default();
                to.into_iter().enumerate().map(move |(index, recipient)| Tried {
                    channel: name.clone(),
                    recipient,
                    result: results.get(index).cloned().unwrap_or_else(|| {
                        Err(Failure::permanent(
                            "the channel ended without a word",
                            "this is a fault of mainstay: report it, with the log around this moment",
                        ))
                    }),
                })
            })
            .collect()
    })
}

fn heartbeat(config: &Config) -> Option<Arc<Heartbeat>> {
    config.heartbeat.clone().map(|heartbeat| {
        Arc::new(Heartbeat {
            config: heartbeat,
            resolver: config.resolver.clone(),
        })
    })
}

fn build_all(config: &Config) -> Result<Vec<Named>, Error> {
    config
        .channels
        .iter()
        .map(|channel| Ok((channel.name.clone(), build(channel, config)?)))
        .collect()
}

fn build(channel: &ChannelConfig, config: &Config) -> Result<Arc<dyn Channel>, Error> {
    let name = &channel.name;
    let (zone, resolver) = (config.zone.clone(), config.resolver.clone());
    Ok(match &channel.target {
        Target::Mail(mail) => Arc::new(MailChannel::new(
            name,
            mail.clone(),
            &config.host,
            zone,
            resolver,
        )?),
        Target::Webhook(hook) => Arc::new(WebhookChannel::new(name, hook.clone(), zone, resolver)),
        Target::Exec(exec) => Arc::new(ExecChannel::new(name, exec.clone(), zone, resolver)),
        Target::Custom(channel) => Arc::clone(channel),
    })
}

/// What makes ids unique: random where the system has it, and the host and the moment in any case.
fn salt(host: &str, now: Timestamp) -> String {
    let mut random = [0_u8; 16];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    if let Err(error) = read {
        log::warn!("ids of alerts are made without random numbers: {error}");
    }
    let digest = Sha256::new()
        .chain_update(random)
        .chain_update(host.as_bytes())
        .chain_update(now.as_nanosecond().to_be_bytes())
        .chain_update(std::process::id().to_be_bytes())
        .finalize();
    hex(&digest[..8])
}

//! Ours, by each way in and each way of delivery: the one module to change when there are others.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_log::seelog::Options;
use mainstay_log::{
    Config, Delivery, Format, Level, LevelSet, Logger, Pipeline, QueueConfig, Retention,
    SinkConfig, SinkKind, Surroundings, When,
};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Contestant, Entry, SizedMessages, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

/// The package by which ours are known.
pub(super) const PACKAGE: &str = "mainstay-log";
/// How long the writing of what waits may take at the end.
const FLUSH: Duration = Duration::from_mins(1);

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!(
            "mainstay queued, own macros",
            Some(PACKAGE),
            "size",
            |job| { OwnMacros::start(job, blocking()) }
        ),
        entry!("mainstay queued, log crate", Some(PACKAGE), "size", |job| {
            LogCrate::start(job, blocking())
        }),
        entry!("mainstay queued, tracing", Some(PACKAGE), "size", |job| {
            Tracing::start(job, blocking())
        }),
        entry!(
            "mainstay direct, own macros",
            Some(PACKAGE),
            "size",
            |job| { OwnMacros::start(job, Delivery::Direct) }
        ),
        entry!("mainstay direct, log crate", Some(PACKAGE), "size", |job| {
            LogCrate::start(job, Delivery::Direct)
        }),
    ]
}

/// A queue as it is by default: who finds it full waits, and nothing is lost.
fn blocking() -> Delivery {
    Delivery::Queued(QueueConfig::default())
}

/// A logger with a rolling file for each sink of the job.
fn build(job: &Job, delivery: Delivery) -> Result<Logger, Failed> {
    let format = Format::seelog("%Date %Time %LEVEL %Msg%n", &Options::new())
        .map_err(|why| format!("{why:?}"))?;
    let mut config = Config::new(&job.directory, TimeZone::system());
    for sink in 0..job.sinks {
        let when = When {
            levels: LevelSet::from(Level::Info),
            ..When::default()
        };
        let retention = Retention {
            size: Some(job.roll),
            ..Retention::NONE
        };
        let path = job.sink_directory(sink).join("app.log");
        let kind = SinkKind::rolling(path, retention);
        let sink = SinkConfig {
            delivery,
            ..kind.into()
        };
        config.route("all", when, sink, format.clone());
    }
    let surroundings = Surroundings::new(Arc::new(SystemClock::new()));
    Ok(Logger::new(Pipeline::build(&config, surroundings)?))
}

fn finish(logger: Logger) -> Result<(), Failed> {
    if logger.pipeline().flush_within(FLUSH) {
        Ok(())
    } else {
        Err(format!("not flushed after {} s", FLUSH.as_secs()).into())
    }
}

/// By the macros of the `log` crate.
struct LogCrate(Logger);

impl LogCrate {
    fn start(job: &Job, delivery: Delivery) -> Result<Self, Failed> {
        let logger = build(job, delivery)?;
        logger.install()?;
        Ok(Self(logger))
    }
}

impl Contestant for LogCrate {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        log_crate(user, attempt);
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        log_crate_disabled(user, attempt);
    }

    fn finish(self) -> Result<(), Failed> {
        finish(self.0)
    }

    fn sized(&self) -> Option<&dyn SizedMessages> {
        Some(self)
    }
}

impl SizedMessages for LogCrate {
    fn log_sized(&self, filler: &str, attempt: u64) {
        log::info!(target: "login", "{filler}{attempt:010}");
    }
}

/// By the macros of `mainstay-log`.
struct OwnMacros(Logger);

impl OwnMacros {
    fn start(job: &Job, delivery: Delivery) -> Result<Self, Failed> {
        let logger = build(job, delivery)?;
        logger.make_global();
        Ok(Self(logger))
    }
}

impl Contestant for OwnMacros {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        mainstay_log::info!(target: "login", "failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        mainstay_log::debug!(target: "login", "failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    fn finish(self) -> Result<(), Failed> {
        finish(self.0)
    }

    fn sized(&self) -> Option<&dyn SizedMessages> {
        Some(self)
    }
}

impl SizedMessages for OwnMacros {
    fn log_sized(&self, filler: &str, attempt: u64) {
        mainstay_log::info!(target: "login", "{filler}{attempt:010}");
    }
}

/// By the macros of `tracing`.
struct Tracing(Logger);

impl Tracing {
    fn start(job: &Job, delivery: Delivery) -> Result<Self, Failed> {
        let logger = build(job, delivery)?;
        tracing_subscriber::registry()
            .with(mainstay_log::layer(&logger))
            .try_init()?;
        Ok(Self(logger))
    }
}

impl Contestant for Tracing {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        tracing::info!("failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        tracing::debug!("failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    fn finish(self) -> Result<(), Failed> {
        finish(self.0)
    }

    fn sized(&self) -> Option<&dyn SizedMessages> {
        Some(self)
    }
}

impl SizedMessages for Tracing {
    fn log_sized(&self, filler: &str, attempt: u64) {
        tracing::info!("{filler}{attempt:010}");
    }
}

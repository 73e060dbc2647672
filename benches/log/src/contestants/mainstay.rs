//! Ours: the one module to change when there is another way in or another way of delivery.

use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_log::seelog::Options;
use mainstay_log::{
    Config, Delivery, Format, Level, LevelSet, Logger, Pipeline, QueueConfig, Retention,
    SinkConfig, SinkKind, Surroundings, When,
};
use tracing_subscriber::layer::SubscriberExt as _;

use super::{Contestant, Entry, SizedMessages, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

/// The package by which ours are known.
pub(super) const PACKAGE: &str = "mainstay-log";

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!(
            "mainstay queued, own macros",
            Some(PACKAGE),
            "size",
            |job| { start(job, queued()).map(Own) }
        ),
        entry!("mainstay queued, log crate", Some(PACKAGE), "size", |job| {
            start(job, queued()).map(LogCrate)
        }),
        entry!("mainstay queued, tracing", Some(PACKAGE), "size", |job| {
            traced(start(job, queued())?)
        }),
        entry!("mainstay direct, log crate", Some(PACKAGE), "size", |job| {
            start(job, Delivery::Direct).map(LogCrate)
        }),
    ]
}

fn traced(logger: Logger) -> Result<Tracing, Failed> {
    let registry = tracing_subscriber::registry().with(mainstay_log::layer(&logger));
    ::tracing::subscriber::set_global_default(registry)?;
    Ok(Tracing(logger))
}

fn queued() -> Delivery {
    Delivery::Queued(QueueConfig::default())
}

/// A logger of the process, with a rolling file for each sink of the job.
fn start(job: &Job, delivery: Delivery) -> Result<Logger, Failed> {
    let mut config = Config::new(&job.directory, TimeZone::system());
    let format = Format::seelog("%Date %Time %LEVEL %Msg%n", &Options::new())
        .map_err(|diagnostic| diagnostic.to_string())?;
    for sink in 0..job.sinks {
        let when = When {
            levels: LevelSet::from(Level::Info),
            ..When::default()
        };
        let retention = Retention {
            size: Some(job.roll),
            ..Retention::NONE
        };
        let sink = SinkConfig {
            kind: SinkKind::rolling(job.sink_directory(sink).join("app.log"), retention),
            delivery,
        };
        config.route("all", when, sink, format.clone());
    }
    let surroundings = Surroundings::new(Arc::new(SystemClock::new()));
    let logger = Logger::new(Pipeline::build(&config, surroundings)?);
    logger.install()?;
    Ok(logger)
}

/// By our own macros.
struct Own(Logger);

impl Contestant for Own {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        mainstay_log::info!(
            target: "login",
            "failed login attempt from 11.22.33.44 user {user} attempt {attempt}"
        );
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        mainstay_log::debug!(
            target: "login",
            "failed login attempt from 11.22.33.44 user {user} attempt {attempt}"
        );
    }

    fn finish(self) -> Result<(), Failed> {
        self.0.flush();
        Ok(())
    }

    fn sized(&self) -> Option<&dyn SizedMessages> {
        Some(self)
    }
}

impl SizedMessages for Own {
    fn log_sized(&self, filler: &str, attempt: u64) {
        mainstay_log::info!(target: "login", "{filler}{attempt:010}");
    }
}

/// By `tracing`.
struct Tracing(Logger);

impl Contestant for Tracing {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        ::tracing::info!(
            target: "login",
            "failed login attempt from 11.22.33.44 user {user} attempt {attempt}"
        );
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        ::tracing::debug!(
            target: "login",
            "failed login attempt from 11.22.33.44 user {user} attempt {attempt}"
        );
    }

    fn finish(self) -> Result<(), Failed> {
        self.0.flush();
        Ok(())
    }
}

/// By the macros of the `log` crate.
struct LogCrate(Logger);

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
        self.0.flush();
        Ok(())
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

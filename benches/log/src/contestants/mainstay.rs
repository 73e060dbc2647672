//! Ours: the one module to change when there is another way in or another way of delivery.

use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_log::{
    Config, Format, Level, LevelSet, Logger, Pipeline, Retention, SinkConfig, Surroundings, When,
};

use super::{Contestant, Entry, SizedMessages, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

/// The package by which ours are known.
pub(super) const PACKAGE: &str = "mainstay-log";

pub(super) fn entries() -> Vec<Entry> {
    vec![entry!(
        "mainstay direct, log crate",
        Some(PACKAGE),
        "size",
        |job| start(job).map(LogCrate)
    )]
}

/// A logger that is installed for the `log` crate, with a rolling file for each sink of the job.
fn start(job: &Job) -> Result<Logger, Failed> {
    let mut config = Config::new(&job.directory, TimeZone::system());
    for sink in 0..job.sinks {
        let when = When {
            levels: LevelSet::from(Level::Info),
            ..When::default()
        };
        let sink = SinkConfig::Rolling {
            path: job.sink_directory(sink).join("app.log"),
            retention: Retention {
                size: Some(job.roll),
                ..Retention::NONE
            },
        };
        config.route("all", when, sink, Format::text());
    }
    let surroundings = Surroundings::new(Arc::new(SystemClock::new()));
    let logger = Logger::new(Pipeline::build(&config, surroundings)?);
    logger.install()?;
    Ok(logger)
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
        self.0.pipeline().flush();
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

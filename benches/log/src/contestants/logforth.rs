//! logforth through the `log` crate: its file, in the caller and behind its queue.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ::logforth::append::asynchronous::AsyncBuilder;
use ::logforth::append::file::{File, FileBuilder};
use ::logforth::bridge::log::LogBridge;
use ::logforth::record::{Level, LevelFilter, Record};
use ::logforth::{Append, Diagnostic, Error, Layout};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Contestant, Entry, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

const PACKAGE: Option<&str> = Some("logforth");

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!("logforth file", PACKAGE, "size", |job| start(file(job)?)),
        // What it does when the queue is full is not said: it waits, as is its default. The bound is
        // tracing-appender's.
        entry!("logforth async", PACKAGE, "size", |job| {
            start(
                AsyncBuilder::new("writer")
                    .append(file(job)?)
                    .buffered_lines_limit(Some(128_000))
                    .build(),
            )
        }),
    ]
}

fn file(job: &Job) -> Result<File, Failed> {
    let size = NonZeroUsize::new(usize::try_from(job.roll)?).ok_or("a file of no bytes")?;
    Ok(FileBuilder::new(job.sink_directory(0), "app")
        .layout(Plain {
            zone: TimeZone::system(),
        })
        .rollover_size(size)
        .build()?)
}

fn start(append: impl Append) -> Result<Logforth, Failed> {
    let logger = Arc::new(
        ::logforth::core::builder()
            .dispatch(|dispatch| {
                dispatch
                    .filter(LevelFilter::MoreSevereEqual(Level::Info))
                    .append(append)
            })
            .build(),
    );
    log::set_boxed_logger(Box::new(LogBridge::new(Arc::clone(&logger))))?;
    log::set_max_level(log::LevelFilter::Info);
    Ok(Logforth { logger })
}

/// The line that all write, by the library that its own layouts show time with.
#[derive(Debug)]
struct Plain {
    zone: TimeZone,
}

impl Layout for Plain {
    fn format(&self, record: &Record<'_>, _: &[Box<dyn Diagnostic>]) -> Result<Vec<u8>, Error> {
        let time = Timestamp::try_from(record.time())
            .map_err(|why| Error::new("no time").with_source(why))?
            .to_zoned(self.zone.clone());
        Ok(format!(
            "{} {} {}",
            time.strftime("%Y-%m-%d %H:%M:%S"),
            record.level().name(),
            record.payload()
        )
        .into_bytes())
    }
}

struct Logforth {
    logger: Arc<::logforth::core::Logger>,
}

impl Contestant for Logforth {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        log_crate(user, attempt);
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        log_crate_disabled(user, attempt);
    }

    fn finish(self) -> Result<(), Failed> {
        self.logger.flush();
        Ok(())
    }
}

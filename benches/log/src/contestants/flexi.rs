//! `flexi_logger`: its three ways of writing to a file that is rolled by size.

use std::io::Write;

use flexi_logger::{
    Cleanup, Criterion, DeferredNow, FileSpec, LogSpecification, Logger, LoggerHandle, Naming,
    WriteMode,
};
use log::Record;

use super::{Contestant, Entry, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

const PACKAGE: Option<&str> = Some("flexi_logger");

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!("flexi_logger direct", PACKAGE, "size", |job| {
            start(job, WriteMode::Direct)
        }),
        entry!("flexi_logger buffered", PACKAGE, "size", |job| {
            start(job, WriteMode::BufferAndFlush)
        }),
        entry!("flexi_logger async", PACKAGE, "size", |job| {
            start(job, WriteMode::Async)
        }),
    ]
}

fn start(job: &Job, mode: WriteMode) -> Result<Flexi, Failed> {
    let file = FileSpec::default()
        .directory(job.sink_directory(0))
        .basename("app");
    let handle = Logger::with(LogSpecification::info())
        .log_to_file(file)
        .rotate(Criterion::Size(job.roll), Naming::Numbers, Cleanup::Never)
        .format(format)
        .write_mode(mode)
        .start()?;
    Ok(Flexi { handle })
}

fn format(
    out: &mut dyn Write,
    now: &mut DeferredNow,
    record: &Record<'_>,
) -> Result<(), std::io::Error> {
    write!(
        out,
        "{} {} {}",
        now.format("%Y-%m-%d %H:%M:%S"),
        record.level(),
        record.args()
    )
}

struct Flexi {
    handle: LoggerHandle,
}

impl Contestant for Flexi {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        log_crate(user, attempt);
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        log_crate_disabled(user, attempt);
    }

    fn finish(self) -> Result<(), Failed> {
        self.handle.shutdown();
        Ok(())
    }
}

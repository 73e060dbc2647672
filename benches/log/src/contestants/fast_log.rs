//! `fast_log` with its own format (`time [INFO] message`) and its split file.

use ::fast_log::Config;
use ::fast_log::consts::LogSize;
use ::fast_log::plugin::file_split::{KeepType, RawFile, Rolling, RollingType};
use ::fast_log::plugin::packer::LogPacker;
use log::LevelFilter;

use super::{Contestant, Entry, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

pub(super) fn entries() -> Vec<Entry> {
    vec![entry!("fast_log", Some("fast_log"), "size", start)]
}

fn start(job: &Job) -> Result<FastLog, Failed> {
    let file = job.sink_directory(0).join("app.log");
    let size = LogSize::B(usize::try_from(job.roll)?);
    let config = Config::new()
        .level(LevelFilter::Info)
        .split::<RawFile, _, _, _>(
            &file.to_string_lossy(),
            KeepType::All,
            LogPacker {},
            Rolling::new(RollingType::BySize(size)),
        );
    ::fast_log::init(config).map_err(|why| why.to_string())?;
    Ok(FastLog)
}

struct FastLog;

impl Contestant for FastLog {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        log_crate(user, attempt);
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        log_crate_disabled(user, attempt);
    }

    fn finish(self) -> Result<(), Failed> {
        log::logger().flush();
        Ok(())
    }
}

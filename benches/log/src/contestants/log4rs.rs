//! log4rs: its plain file and its rolling one.

use ::log4rs::Handle;
use ::log4rs::append::Append;
use ::log4rs::append::file::FileAppender;
use ::log4rs::append::rolling_file::RollingFileAppender;
use ::log4rs::append::rolling_file::policy::compound::CompoundPolicy;
use ::log4rs::append::rolling_file::policy::compound::roll::fixed_window::FixedWindowRoller;
use ::log4rs::append::rolling_file::policy::compound::trigger::size::SizeTrigger;
use ::log4rs::config::{Appender, Config, Root};
use ::log4rs::encode::Encode;
use ::log4rs::encode::pattern::PatternEncoder;
use log::LevelFilter;

use super::{Contestant, Entry, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

const PACKAGE: Option<&str> = Some("log4rs");
/// So many rolled files that none is deleted.
const FILES: u32 = 1000;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!("log4rs file", PACKAGE, "-", |job: &Job| {
            let file = FileAppender::builder()
                .encoder(encoder())
                .build(job.sink_directory(0).join("app.log"))?;
            install(Box::new(file))
        }),
        entry!("log4rs rolling", PACKAGE, "size", |job: &Job| {
            let directory = job.sink_directory(0);
            let pattern = directory.join("app.log.{}");
            let roller = FixedWindowRoller::builder().build(&pattern.to_string_lossy(), FILES)?;
            let policy =
                CompoundPolicy::new(Box::new(SizeTrigger::new(job.roll)), Box::new(roller));
            let file = RollingFileAppender::builder()
                .encoder(encoder())
                .build(directory.join("app.log"), Box::new(policy))?;
            install(Box::new(file))
        }),
    ]
}

fn encoder() -> Box<dyn Encode> {
    Box::new(PatternEncoder::new("{d(%Y-%m-%d %H:%M:%S)} {l} {m}{n}"))
}

fn install(file: Box<dyn Append>) -> Result<Log4rs, Failed> {
    let config = Config::builder()
        .appender(Appender::builder().build("file", file))
        .build(Root::builder().appender("file").build(LevelFilter::Info))?;
    Ok(Log4rs {
        _handle: ::log4rs::init_config(config)?,
    })
}

struct Log4rs {
    _handle: Handle,
}

impl Contestant for Log4rs {
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

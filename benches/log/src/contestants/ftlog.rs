//! ftlog with a bounded queue, in both ways that it can be full.
//!
//! It puts how long a record was on its way between time and message (`0ms`).

use std::fmt::{self, Display};
use std::sync::Mutex;

use ::ftlog::appender::{FileAppender, Period};
use ::ftlog::{FtLogFormat, LoggerGuard};
use log::{Level, LevelFilter, Record};

use super::{Contestant, Entry, entry, log_crate, log_crate_disabled};
use crate::Failed;
use crate::job::Job;

const PACKAGE: Option<&str> = Some("ftlog");
/// Its default.
const QUEUE: usize = 100_000;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!("ftlog block", PACKAGE, "day", |job| start(job, true)),
        Entry {
            may_lose: true,
            ..entry!("ftlog default (drops)", PACKAGE, "day", |job| start(
                job, false
            ))
        },
    ]
}

fn start(job: &Job, block: bool) -> Result<FtLog, Failed> {
    let time = time::format_description::parse_owned::<2>(
        "[year]-[month]-[day] [hour]:[minute]:[second]",
    )?;
    let file = FileAppender::rotate(job.sink_directory(0).join("app.log"), Period::Day);
    let guard = ::ftlog::builder()
        .max_log_level(LevelFilter::Info)
        .time_format(time)
        .format(Plain)
        .bounded(QUEUE, block)
        .root(file)
        .try_init()
        .map_err(|why| why.to_string())?;
    Ok(FtLog {
        guard: Mutex::new(guard),
    })
}

/// Level and message; the message is made in the caller, because its arguments are borrowed.
struct Plain;

struct Message {
    level: Level,
    text: String,
}

impl FtLogFormat for Plain {
    fn msg(&self, record: &Record<'_>) -> Box<dyn Send + Sync + Display> {
        Box::new(Message {
            level: record.level(),
            text: record.args().to_string(),
        })
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.text)
    }
}

struct FtLog {
    guard: Mutex<LoggerGuard>,
}

impl Contestant for FtLog {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        log_crate(user, attempt);
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        log_crate_disabled(user, attempt);
    }

    fn finish(self) -> Result<(), Failed> {
        drop(self.guard);
        Ok(())
    }
}

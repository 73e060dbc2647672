//! tracing-subscriber's formatter over tracing-appender's ways to a file.

use std::sync::Mutex;

use ::tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::{ChronoLocal, FormatTime, SystemTime};

use super::{Contestant, Entry, entry};
use crate::Failed;
use crate::job::Job;

const PACKAGE: Option<&str> = Some("tracing-appender");

pub(super) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            may_lose: true,
            ..entry!(
                "tracing non_blocking (lossy)",
                PACKAGE,
                "day",
                |job| queued(job, true, local())
            )
        },
        entry!("tracing non_blocking lossless", PACKAGE, "day", |job| {
            queued(job, false, local())
        }),
        // The time stamp is what costs its formatter most: this one is tracing's own.
        entry!(
            "tracing non_blocking lossless, UTC",
            PACKAGE,
            "day",
            |job| { queued(job, false, SystemTime) }
        ),
        entry!(
            "tracing RollingFileAppender",
            PACKAGE,
            "day",
            |job| -> Result<Tracing, Failed> {
                install(appender(job)?, local())?;
                Ok(Tracing { guard: None })
            }
        ),
    ]
}

fn local() -> ChronoLocal {
    ChronoLocal::new("%Y-%m-%d %H:%M:%S".to_owned())
}

fn appender(job: &Job) -> Result<RollingFileAppender, Failed> {
    Ok(RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("app")
        .build(job.sink_directory(0))?)
}

fn queued(
    job: &Job,
    lossy: bool,
    timer: impl FormatTime + Send + Sync + 'static,
) -> Result<Tracing, Failed> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(lossy)
        .finish(appender(job)?);
    install(writer, timer)?;
    Ok(Tracing {
        guard: Some(Mutex::new(guard)),
    })
}

fn install<W, T>(writer: W, timer: T) -> Result<(), Failed>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    T: FormatTime + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_writer(writer)
        .with_timer(timer)
        .with_target(false)
        .with_ansi(false)
        .with_max_level(LevelFilter::INFO)
        .try_init()
}

/// The subscriber is the process's; the guard is what flushes.
struct Tracing {
    guard: Option<Mutex<WorkerGuard>>,
}

impl Contestant for Tracing {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        ::tracing::info!("failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        ::tracing::debug!("failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    fn finish(self) -> Result<(), Failed> {
        drop(self.guard);
        Ok(())
    }
}

//! spdlog-rs by its own macros, in the caller and with its pool.

use std::sync::Arc;

use ::spdlog::formatter::{PatternFormatter, pattern};
use ::spdlog::sink::{AsyncPoolSink, RotatingFileSink, RotationPolicy, Sink};
use ::spdlog::{Level, LevelFilter, Logger, ThreadPool};

use super::{Contestant, Entry, entry};
use crate::Failed;
use crate::job::Job;

const PACKAGE: Option<&str> = Some("spdlog-rs");
/// So many files that none is deleted.
const FILES: usize = 100;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry!("spdlog-rs sync", PACKAGE, "size", |job| {
            let file = file(job)?;
            Spdlog::start(Arc::clone(&file) as Arc<dyn Sink>, file, None)
        }),
        entry!("spdlog-rs async", PACKAGE, "size", |job| {
            let file = file(job)?;
            let pool = Arc::new(ThreadPool::builder().build()?);
            let queue = AsyncPoolSink::builder()
                .sink(Arc::clone(&file) as Arc<dyn Sink>)
                .thread_pool(Arc::clone(&pool))
                .build_arc()?;
            Spdlog::start(queue, file, Some(pool))
        }),
    ]
}

fn file(job: &Job) -> Result<Arc<RotatingFileSink>, Failed> {
    let format = PatternFormatter::new(pattern!(
        "{year}-{month}-{day} {hour}:{minute}:{second} {level} {payload}{eol}"
    ));
    Ok(RotatingFileSink::builder()
        .base_path(job.sink_directory(0).join("app.log"))
        .rotation_policy(RotationPolicy::FileSize(job.roll))
        // With the default, which is documented as no limit, 0.5.3 empties its one file at each roll.
        .max_files(FILES)
        .formatter(format)
        .build_arc()?)
}

struct Spdlog {
    logger: Arc<Logger>,
    file: Arc<RotatingFileSink>,
    pool: Option<Arc<ThreadPool>>,
}

impl Spdlog {
    fn start(
        sink: Arc<dyn Sink>,
        file: Arc<RotatingFileSink>,
        pool: Option<Arc<ThreadPool>>,
    ) -> Result<Self, Failed> {
        let logger = Logger::builder()
            .sink(sink)
            .level_filter(LevelFilter::MoreSevereEqual(Level::Info))
            .build_arc()?;
        Ok(Self { logger, file, pool })
    }
}

impl Contestant for Spdlog {
    #[inline(always)]
    fn log(&self, user: u64, attempt: u64) {
        ::spdlog::info!(logger: self.logger, "failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    #[inline(always)]
    fn disabled(&self, user: u64, attempt: u64) {
        ::spdlog::debug!(logger: self.logger, "failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
    }

    fn finish(self) -> Result<(), Failed> {
        // The pool does what is queued before it ends, and it ends with the last that holds it.
        drop(self.logger);
        drop(self.pool);
        self.file.flush()?;
        Ok(())
    }
}

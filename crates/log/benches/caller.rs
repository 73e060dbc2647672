//! What a call costs who makes it, and what the thread behind the queue keeps up with.
//!
//! `cargo bench -p mainstay-log --bench caller`. `benches/log` compares with other loggers.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::time::Instant;

use jiff::tz::TimeZone;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_log::{
    Config, Format, Level, Logger, Pipeline, QueueConfig, Record, Retention, SinkKind,
    Surroundings, When,
};

const RECORDS: u64 = 1_000_000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    for threads in [1, 4] {
        for round in 0..3 {
            let path = dir.path().join(format!("{threads}-{round}.log"));
            let mut config = Config::new(dir.path(), TimeZone::UTC);
            let sink = SinkKind::rolling(
                path,
                Retention {
                    files: Some(2),
                    ..Retention::default()
                },
            );
            config.route(
                "all",
                When::default(),
                sink.queued(QueueConfig::default()),
                Format::text(),
            );
            let clock = Arc::new(SystemClock::new());
            let logger =
                Logger::new(Pipeline::build(&config, Surroundings::new(clock.clone())).unwrap());
            let start = Instant::now();
            let each = RECORDS / threads;
            let busy: f64 = std::thread::scope(|scope| {
                let all: Vec<_> = (0..threads)
                    .map(|_| {
                        let (logger, clock) = (&logger, &clock);
                        scope.spawn(move || {
                            let start = Instant::now();
                            for n in 0..each {
                                let user = n % 1000;
                                logger.write(&Record::new(
                                    clock.now(),
                                    Level::Info,
                                    "bench",
                                    format_args!(
                                        "failed login attempt from 11.22.33.44 user {user} attempt {n}"
                                    ),
                                ));
                            }
                            start.elapsed().as_secs_f64()
                        })
                    })
                    .collect();
                all.into_iter().map(|one| one.join().unwrap()).sum()
            });
            logger.flush();
            println!(
                "{threads} threads: {:5.0} ns a call, {:5.2} M records a second with the flush, lost {:?}",
                busy / RECORDS as f64 * 1e9,
                RECORDS as f64 / start.elapsed().as_secs_f64() / 1e6,
                logger.pipeline().losses()[0].1.iter().sum::<u64>(),
            );
        }
    }
}

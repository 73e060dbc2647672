//! What the two ways to a file cost beside the plainest way there is: one write(2) per line.
//!
//! `cargo bench -p mainstay-log`. Each is run three times in turn and the best is taken; read the
//! ratios, not the times.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_log::{
    Capture, Config, Format, Level, Pipeline, Progress, Record, Retention, RollingFile, SinkConfig,
    Stream, Surroundings, When,
};

const LINES: usize = 300_000;

type Way = fn(&Path) -> Duration;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let ways: [(&str, Way); 4] = [
        ("write(2) of a ready line", floor),
        ("pipeline: format and rolling file", pipeline),
        ("read(2) and write(2) of a pipe, 64 KiB", copied),
        ("capture of the same pipe", captured),
    ];
    let mut best = [Duration::MAX; 4];
    for _ in 0..3 {
        for ((_, way), best) in ways.iter().zip(&mut best) {
            *best = way(dir.path()).min(*best);
        }
    }
    for ((name, _), time) in ways.iter().zip(best) {
        println!(
            "{name:40} {:6.0} ns a line, {:4.2} of the first",
            time.as_nanos() as f64 / LINES as f64,
            time.as_secs_f64() / best[0].as_secs_f64()
        );
    }
}

fn line() -> String {
    let start = "2026-11-22T14:00:00.123+08:00 INFO  bench: ";
    format!("{start}{}\n", "x".repeat(86 - start.len()))
}

fn floor(dir: &Path) -> Duration {
    let line = line();
    let mut file = File::create(dir.join("floor")).unwrap();
    let begin = Instant::now();
    for _ in 0..LINES {
        file.write_all(line.as_bytes()).unwrap();
    }
    begin.elapsed()
}

fn pipeline(dir: &Path) -> Duration {
    let clock = Arc::new(SystemClock::new());
    let mut config = Config::new(dir, TimeZone::get("Asia/Taipei").unwrap());
    let sink = SinkConfig::Rolling {
        path: "pipeline".into(),
        retention: Retention {
            files: Some(0),
            ..Retention::default()
        },
    };
    config.route("all", When::default(), sink, Format::text());
    let pipeline = Pipeline::build(&config, Surroundings::new(clock.clone())).unwrap();
    let begin = Instant::now();
    for n in 0..LINES {
        let message = format_args!("failed login attempt, number {n:6}, one of many");
        pipeline.write(&Record::new(clock.now(), Level::Info, "bench", message));
    }
    pipeline.flush();
    begin.elapsed()
}

/// A program that prints as fast as it can, in blocks, and whoever takes it; the time of the latter.
fn piped(take: impl FnOnce(std::os::fd::OwnedFd)) -> Duration {
    let (read, write) = mainstay_sys::pipe::capture_pipe(1 << 20).unwrap();
    let writer = std::thread::spawn(move || {
        let mut out = std::io::BufWriter::with_capacity(64 * 1024, File::from(write));
        let line = line();
        for _ in 0..LINES {
            out.write_all(line.as_bytes()).unwrap();
        }
        out.flush().unwrap();
    });
    let begin = Instant::now();
    take(read);
    let took = begin.elapsed();
    writer.join().unwrap();
    took
}

fn wait(pipe: &impl AsFd) {
    let mut fds = [rustix::event::PollFd::new(
        pipe,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut fds, None).unwrap();
}

fn copied(dir: &Path) -> Duration {
    let mut file = File::create(dir.join("copied")).unwrap();
    piped(|pipe| {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match rustix::io::read(&pipe, &mut buffer) {
                Ok(0) => break,
                Ok(bytes) => file.write_all(&buffer[..bytes]).unwrap(),
                Err(_) => wait(&pipe),
            }
        }
    })
}

fn captured(dir: &Path) -> Duration {
    let path = dir.join("captured");
    drop(std::fs::remove_file(&path));
    let file = RollingFile::open(path, Retention::NONE, Arc::new(SystemClock::new())).unwrap();
    let mut capture = Capture::new("bench", Stream::Stdout, file, None);
    piped(|pipe| {
        loop {
            match capture.on_readable(pipe.as_fd()) {
                Progress::Ended => break,
                Progress::More => {}
                Progress::Wait | Progress::Stuck => wait(&pipe),
            }
        }
    })
}

//! What the two ways to a file cost beside the plainest way there is: one write(2) per line.
//!
//! `cargo bench -p mainstay-log --bench paths`. Each is run three times in turn and the best is taken; read the
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
    Capture, Config, Format, Level, Pipeline, Progress, Record, Retention, RollingFile, SinkKind,
    Stream, Surroundings, Verdict, When,
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
    per_gigabyte(dir.path());
}

/// The processor time of one gigabyte from one writer, as the supervisor's thread spends it: rolling
/// at 50 MB, waiting in epoll.
fn per_gigabyte(dir: &Path) {
    let plain = line();
    let coloured = format!("\x1b[32m{}\x1b[0m{}", &plain[..30], &plain[30..]);
    let cases: [(&str, &str, bool); 3] = [
        ("spliced", &plain, false),
        ("inspected, all kept", &plain, true),
        ("inspected, two sequences a line dropped", &coloured, true),
    ];
    for (name, line, inspected) in cases {
        let total = if line.len() > plain.len() { 100 } else { 1000 } * 1_000_000;
        let mut best = (Duration::MAX, Duration::MAX, 0);
        for _ in 0..3 {
            best = best.min(gigabyte(dir, line, total, inspected));
        }
        let scale = 1e9 / total as f64;
        println!(
            "{name:40} {:4.2} s of processor, {:4.2} s by the wall, {:6.0} turns a GB",
            best.0.as_secs_f64() * scale,
            best.1.as_secs_f64() * scale,
            f64::from(best.2) * scale
        );
    }
}

fn gigabyte(dir: &Path, line: &str, total: usize, inspected: bool) -> (Duration, Duration, u32) {
    let retention = Retention {
        files: Some(1),
        ..Retention::default()
    };
    let clock = Arc::new(SystemClock::new());
    let file = RollingFile::open(dir.join("gigabyte"), retention, clock).unwrap();
    let mut capture = Capture::new("bench", Stream::Stdout, file, None);
    if inspected {
        capture = capture.inspected(|| Box::new(colours));
    }
    let (read, write) = mainstay_sys::pipe::capture_pipe(1 << 20).unwrap();
    let block = line.repeat(64 * 1024 / line.len());
    let writer = std::thread::spawn(move || {
        let mut out = File::from(write);
        for _ in 0..total / block.len() {
            out.write_all(block.as_bytes()).unwrap();
        }
    });
    let epoll = mainstay_sys::Epoll::new().unwrap();
    epoll
        .add(&read, 1, mainstay_sys::epoll::Interest::READ)
        .unwrap();
    let mut events = mainstay_sys::epoll::Events::with_capacity(8);
    let (begin, cpu, mut turns) = (Instant::now(), processor(), 0);
    loop {
        epoll.wait(&mut events, None).unwrap();
        turns += 1;
        if capture.on_readable(read.as_fd()) == Progress::Ended {
            break;
        }
    }
    let took = (processor().saturating_sub(cpu), begin.elapsed(), turns);
    writer.join().unwrap();
    took
}

/// Drops `ESC [ ... m`.
fn colours(ahead: &[u8], _: bool) -> Verdict {
    match ahead.iter().position(|byte| *byte == 0x1b) {
        Some(0) => match ahead.iter().position(|byte| *byte == b'm') {
            Some(end) => Verdict::Drop(end + 1),
            None => Verdict::Wait,
        },
        Some(at) => Verdict::Keep(at),
        None => Verdict::Keep(ahead.len()),
    }
}

fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        time.tv_nsec.try_into().unwrap(),
    )
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
    let sink = SinkKind::rolling(
        "pipeline",
        Retention {
            files: Some(0),
            ..Retention::default()
        },
    );
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
                Progress::Wait | Progress::Stuck | Progress::Undecided => wait(&pipe),
            }
        }
    })
}

//! A disk that is full, and then is not: a small tmpfs of our own, which only root can have.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_log::{
    Capture, Config, Finish, Format, Level, LevelSet, Logger, Overflow, Pipeline, Progress,
    QueueConfig, Record, Retention, RollingFile, SinkKind, Stream, Surroundings, When,
};

use crate::capture::routed;
use crate::{clock, everything, keep_all, pipe, put, text};

pub(crate) struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    /// A file system of one mebibyte, or the reason why there is none.
    pub(crate) fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting a small tmpfs needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            other => {
                eprintln!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Fills all but `free` bytes.
    pub(crate) fn fill(&self, free: usize) -> PathBuf {
        let path = self.path("ballast");
        let block = vec![b'x'; 4096];
        let mut file = fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size - free as u64).unwrap();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.dir.path()).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_write_is_whole_lines_or_nothing() {
    let Some(small) = Small::mount() else { return };
    let path = small.path("f.log");
    let mut file = RollingFile::open(&path, keep_all(1 << 20), clock()).unwrap();
    file.write(b"before\n").unwrap();
    let ballast = small.fill(4096);
    let line = format!("{}\n", "y".repeat(2999));
    let error = file.write(line.repeat(5).as_bytes()).unwrap_err();
    // The page that was begun and one more take two lines.
    assert_eq!(error.written % 3000, 0);
    assert_eq!(error.error.kind(), std::io::ErrorKind::StorageFull);
    let kept = error.written / 3000;
    assert!(kept < 5);
    assert_eq!(text(&path), format!("before\n{}", line.repeat(kept)));
    fs::remove_file(ballast).unwrap();
    file.write(b"after\n").unwrap();
    assert_eq!(text(&path), format!("before\n{}after\n", line.repeat(kept)));
}

#[test]
fn a_sink_tells_in_place_what_it_could_not_take() {
    let Some(small) = Small::mount() else { return };
    let clock = clock();
    let mut config = Config::new(small.dir.path(), TimeZone::UTC);
    let sink = SinkKind::rolling("m.log", Retention::default());
    config.route("all", When::default(), sink, Format::short());
    let pipeline = Pipeline::build(&config, Surroundings::new(clock.clone())).unwrap();
    let write = |n: u32| {
        let message = format!("{n:04} {}", "z".repeat(100));
        pipeline.write(&Record::new(
            clock.now(),
            Level::Info,
            "t",
            message.as_str(),
        ));
    };
    let ballast = small.fill(8192);
    (0..200).for_each(write);
    fs::remove_file(ballast).unwrap();
    (200..300).for_each(write);
    let all = text(small.path("m.log"));
    let lost: u64 = pipeline.losses()[0].1.iter().sum();
    assert!(lost > 0 && lost < 200, "{lost}");
    let mut next = 0;
    for line in all.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[1] == "WARN" {
            assert_eq!(words[2], lost.to_string(), "{line}");
            assert!(line.ends_with("no space left on device"), "{line}");
            next += lost;
        } else {
            assert_eq!(words[2].parse::<u64>().unwrap(), next, "{line}");
            next += 1;
        }
    }
    assert_eq!(next, 300);
}

#[test]
fn captured_output_waits_then_is_dropped_counted_and_declared() {
    let Some(small) = Small::mount() else { return };
    let clock = clock();
    let path = small.path("web.log");
    let (logger, records) = routed(clock.clone(), LevelSet::ALL);
    let file = RollingFile::open(&path, keep_all(200_000), clock.clone()).unwrap();
    let mut capture = Capture::new("web", Stream::Stdout, file, Some(logger));
    let (read, write) = pipe();
    let count = 100_000_u64;
    let writer = std::thread::spawn(move || {
        for n in 0..count {
            put(&write, format!("{n:013}\n").as_bytes());
        }
    });
    let mut ballast = Some(small.fill(300_000));
    let mut refills = 0;
    loop {
        match capture.on_readable(read.as_fd()) {
            Progress::Ended => break,
            Progress::Stuck => {
                clock.advance(Duration::from_millis(50));
                // Space comes twice while the program still writes, and is used up again.
                if capture.lost() > 200_000 * (refills + 1) && refills < 2 {
                    refills += 1;
                    if let Some(ballast) = ballast.take() {
                        let file = fs::File::options().write(true).open(&ballast).unwrap();
                        let size = file.metadata().unwrap().len();
                        file.set_len(size - 100_000).unwrap();
                    }
                    ballast = Some(small.path("ballast"));
                }
                if writer.is_finished()
                    && let Some(ballast) = ballast.take()
                {
                    fs::remove_file(ballast).unwrap();
                }
            }
            Progress::More => {}
            Progress::Wait | Progress::Undecided => std::thread::yield_now(),
        }
    }
    writer.join().unwrap();
    assert_eq!(capture.finish(read.as_fd()), Finish::Done);
    assert_eq!(refills, 2);
    check(&path, count, capture.lost());
    let lines = records.lines();
    assert_eq!(lines.len() as u64, count, "the routes got every line once");
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(line, format!("{n:013}").as_bytes());
    }
    assert_eq!(capture.next_tick(), None);
}

/// Every byte is in the file, or in a declared gap exactly where it is missing.
fn check(path: &Path, count: u64, lost: u64) {
    const LINE: u64 = 14;
    let all = String::from_utf8(everything(path)).unwrap();
    let (mut position, mut declared, mut gaps) = (0_u64, 0, 0);
    for line in all.lines() {
        if let Some(rest) = line.strip_prefix("[mainstay] ") {
            let bytes: u64 = rest.split(' ').next().unwrap().parse().unwrap();
            assert!(
                rest.contains(" bytes of output lost between 2026-11-22T"),
                "{rest}"
            );
            assert!(rest.ends_with("Z: no space left on device"), "{rest}");
            position += bytes;
            declared += bytes;
            gaps += 1;
            continue;
        }
        assert_eq!(position % LINE, 0, "a gap ends at a line end");
        let whole = format!("{:013}", position / LINE);
        if line == whole {
            position += LINE;
        } else {
            // The line that was being written when the disk was full.
            assert!(whole.starts_with(line), "{line} is not {whole}");
            position += line.len() as u64;
        }
    }
    assert_eq!(position, count * LINE);
    assert_eq!(declared, lost);
    assert!(gaps >= 2, "{gaps}");
}

/// A logger whose queue holds 64 KiB, writing to a file on the small disk.
fn queued(small: &Small, overflow: Overflow) -> (Logger, PathBuf) {
    let path = small.path("queued.log");
    let mut config = Config::new("/", TimeZone::UTC);
    let sink = SinkKind::File { path: path.clone() }.queued(QueueConfig {
        overflow,
        bytes: 64 * 1024,
        ..QueueConfig::default()
    });
    config.route("all", When::default(), sink, Format::short());
    let clock = Arc::new(SystemClock::new());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock)).unwrap());
    (logger, path)
}

fn write_numbers(logger: &Logger, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let level = if n % 10 == 0 {
            Level::Error
        } else {
            Level::Debug
        };
        let text = format!("{:50} #{n}", "a record of some length");
        logger.write(&Record::new(
            logger.pipeline().now(),
            level,
            "x",
            text.as_str(),
        ));
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    text(path)
        .lines()
        .filter_map(|line| line.rsplit_once('#')?.1.parse().ok())
        .collect()
}

/// How many records the lines say were lost.
fn said_to_be_lost(path: &Path) -> u64 {
    text(path)
        .lines()
        .filter(|line| line.contains(" lost"))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[2].parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn behind_a_queue_that_drops_nobody_waits_and_every_loss_is_said() {
    for overflow in [
        Overflow::DropNew,
        Overflow::DropOld,
        Overflow::DropBelow(Level::Error),
    ] {
        let Some(small) = Small::mount() else { return };
        let (logger, path) = queued(&small, overflow);
        write_numbers(&logger, 0..100);
        logger.flush();
        let ballast = small.fill(0);
        // Far more than disk and queue hold, by a thread that would stop if anything waited. (What is
        // of level error waits with the last policy: that is one in ten, and fits.)
        write_numbers(&logger, 100..3000);
        fs::remove_file(ballast).unwrap();
        write_numbers(&logger, 3000..3100);
        let end = Instant::now() + Duration::from_mins(1);
        while !logger.pipeline().flush_within(Duration::from_millis(100)) {
            assert!(Instant::now() < end, "{overflow:?}: it never writes again");
        }
        let lost: u64 = logger.pipeline().losses()[0].1.iter().sum();
        drop(logger);
        let written = numbers(&path);
        assert!(written.is_sorted(), "{overflow:?}");
        assert!(lost > 1000, "{overflow:?}: {lost}");
        assert_eq!(written.len() as u64 + lost, 3100, "{overflow:?}");
        assert_eq!(said_to_be_lost(&path), lost, "{overflow:?}");
        if overflow == Overflow::DropBelow(Level::Error) {
            let errors = written.iter().filter(|n| *n % 10 == 0).count();
            assert_eq!(errors, 310, "no error is lost");
        }
    }
}

#[test]
fn behind_a_queue_that_blocks_nothing_is_lost() {
    let Some(small) = Small::mount() else { return };
    let (logger, path) = queued(&small, Overflow::Block);
    write_numbers(&logger, 0..100);
    logger.flush();
    let ballast = small.fill(0);
    let writer = {
        let logger = logger.clone();
        std::thread::spawn(move || write_numbers(&logger, 100..3000))
    };
    let end = Instant::now() + Duration::from_mins(1);
    while logger.pipeline().waiting()[0].1 < 60 * 1024 {
        assert!(Instant::now() < end, "the queue never fills");
        std::thread::yield_now();
    }
    assert!(!writer.is_finished());
    fs::remove_file(ballast).unwrap();
    writer.join().unwrap();
    drop(logger);
    assert_eq!(numbers(&path), (0..3000).collect::<Vec<_>>());
}

//! What happens between a record and a sink behind a queue.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_log::{
    AdmissionConfig, Batch, Config, Dedup, Delivery, Format, Level, LevelSet, Limit, Logger, Mark,
    Naming, Overflow, Pipeline, QueueConfig, Record, Retention, Sink, SinkConfig, SinkKind,
    Surroundings, Unwritten, When,
};

use crate::{family, text};

const PATIENCE: Duration = Duration::from_mins(1);

fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}

fn write(logger: &Logger, level: Level, message: &str) {
    let now = logger.pipeline().clock().now();
    logger.write(&Record::new(now, level, "test", message));
}

/// A sink that can be stopped, and fails or panics when it is told to.
#[derive(Clone, Default)]
struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seen: Mutex<Seen>,
    changed: Condvar,
    fails: AtomicBool,
    panics: AtomicBool,
}

#[derive(Default)]
struct Seen {
    shut: bool,
    /// Calls that are held up.
    inside: u32,
    text: String,
    batches: usize,
}

impl Gate {
    fn shut(&self, shut: bool) {
        self.0.seen.lock().unwrap().shut = shut;
        self.0.changed.notify_all();
    }

    fn wait(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = self.0.seen.lock().unwrap();
        while !condition(&seen) {
            assert!(
                Instant::now() < end,
                "waited in vain for: {what}\n{}",
                seen.text
            );
            seen = self
                .0
                .changed
                .wait_timeout(seen, Duration::from_millis(50))
                .unwrap()
                .0;
        }
        seen.text.clone()
    }
}

impl Sink for Gate {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        assert!(!self.0.panics.load(Ordering::Relaxed), "told to");
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(28).into());
        }
        let mut seen = self.0.seen.lock().unwrap();
        seen.inside += 1;
        self.0.changed.notify_all();
        while seen.shut {
            seen = self.0.changed.wait(seen).unwrap();
        }
        seen.inside -= 1;
        seen.batches += 1;
        seen.text
            .push_str(std::str::from_utf8(batch.bytes()).unwrap());
        self.0.changed.notify_all();
        Ok(())
    }
}

/// A logger with one queued sink, and one that is not.
fn gated(queue: QueueConfig) -> (Logger, Gate, Gate) {
    let (gate, other) = (Gate::default(), Gate::default());
    let mut config = Config::new("/nowhere", TimeZone::UTC);
    let kind = |name: &str| SinkKind::Custom { name: name.into() };
    config.route(
        "gate",
        When::default(),
        kind("gate").queued(queue),
        Format::text(),
    );
    config.route("other", When::default(), kind("other"), Format::text());
    let surroundings = Surroundings {
        custom: vec![
            ("gate".into(), Box::new(gate.clone())),
            ("other".into(), Box::new(other.clone())),
        ],
        ..Surroundings::new(clock())
    };
    let logger = Logger::new(Pipeline::build(&config, surroundings).unwrap());
    (logger, gate, other)
}

fn small(overflow: Overflow) -> QueueConfig {
    QueueConfig {
        overflow,
        bytes: 4096,
        ..QueueConfig::default()
    }
}

/// The numbers after `#` in the lines that have one.
fn numbers(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| line.rsplit_once('#')?.1.parse().ok())
        .collect()
}

#[test]
fn records_are_written_together_in_order_and_soon() {
    let (logger, gate, _) = gated(QueueConfig::default());
    gate.shut(true);
    write(&logger, Level::Info, "#0");
    gate.wait("the first", |seen| seen.inside == 1);
    for n in 1..1000 {
        write(&logger, Level::Info, &format!("#{n}"));
    }
    gate.shut(false);
    // Nobody flushes.
    let text = gate.wait("all", |seen| seen.text.lines().count() == 1000);
    assert!(numbers(&text).is_sorted());
    let batches = gate.0.seen.lock().unwrap().batches;
    assert!(batches < 10, "{batches}");
}

#[test]
fn an_error_does_not_linger() {
    let hour = QueueConfig {
        linger: Duration::from_hours(1),
        ..QueueConfig::default()
    };
    let (logger, gate, _) = gated(hour);
    write(&logger, Level::Info, "waits for company");
    assert_eq!(gate.0.seen.lock().unwrap().text, "");
    write(&logger, Level::Error, "hurries");
    let text = gate.wait("both", |seen| seen.text.lines().count() == 2);
    assert!(text.ends_with("hurries\n"));
}

#[test]
fn a_critical_record_is_in_the_file_when_the_call_returns() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let kind = SinkKind::File {
        path: "a.log".into(),
    };
    let hour = QueueConfig {
        linger: Duration::from_hours(1),
        ..QueueConfig::default()
    };
    config.route("all", When::default(), kind.queued(hour), Format::short());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock())).unwrap());
    write(&logger, Level::Info, "before");
    write(&logger, Level::Critical, "now");
    let text = text(dir.path().join("a.log"));
    assert!(text.ends_with(" CRIT  now\n"), "{text}");
    assert!(text.contains("before"));
}

#[test]
fn a_sink_that_fails_gets_all_later_and_the_others_are_told() {
    let (logger, gate, other) = gated(QueueConfig::default());
    gate.0.fails.store(true, Ordering::Relaxed);
    for n in 0..100 {
        write(&logger, Level::Info, &format!("#{n}"));
    }
    let said = other.wait("a word on it", |seen| seen.text.contains("fails"));
    assert_eq!(numbers(&said).len(), 100, "the other one waits for nothing");
    assert!(
        said.contains(
            "the log sink custom:gate fails: no space left on device; what it should get"
        ),
        "{said}"
    );
    gate.0.fails.store(false, Ordering::Relaxed);
    let text = gate.wait("all", |seen| seen.text.lines().count() >= 100);
    assert_eq!(numbers(&text), (0..100).collect::<Vec<_>>());
    assert_eq!(logger.pipeline().losses()[0], ("custom:gate", [0; 6]));
}

#[test]
fn a_sink_that_panics_stops_getting_the_same_and_is_told() {
    let (logger, gate, other) = gated(QueueConfig::default());
    gate.0.panics.store(true, Ordering::Relaxed);
    write(&logger, Level::Warn, "deadly #0");
    other.wait("a word on it", |seen| {
        seen.text.contains("the sink panicked")
    });
    let end = Instant::now() + PATIENCE;
    while logger.pipeline().losses()[0].1[Level::Warn.index()] == 0 {
        assert!(Instant::now() < end, "it is never given up");
        std::thread::sleep(Duration::from_millis(5));
    }
    gate.0.panics.store(false, Ordering::Relaxed);
    write(&logger, Level::Info, "harmless #1");
    let text = gate.wait("the next", |seen| seen.text.contains("harmless"));
    assert!(text.contains("1 warn record lost between "), "{text}");
    assert!(text.contains(": the sink panicked\n"), "{text}");
    assert_eq!(numbers(&text), [1]);
}

#[test]
fn losses_are_said_to_the_record_where_they_happened() {
    // Who drops new records says it after those that waited, who drops old ones before.
    for overflow in [Overflow::DropNew, Overflow::DropOld] {
        let (logger, gate, _) = gated(small(overflow));
        gate.shut(true);
        write(&logger, Level::Debug, "#0");
        gate.wait("the first", |seen| seen.inside == 1);
        for n in 1..1000 {
            write(&logger, Level::Debug, &format!("#{n}"));
        }
        let lost = logger.pipeline().losses()[0].1;
        assert!(
            lost[1] > 900 && lost.iter().sum::<u64>() == lost[1],
            "{lost:?}"
        );
        gate.shut(false);
        let said = format!("{} debug records lost between ", lost[1]);
        let last = if overflow == Overflow::DropOld {
            "#999\n"
        } else {
            ""
        };
        let text = gate.wait("the loss", |seen| {
            seen.text.contains(&said) && seen.text.ends_with(last)
        });
        assert!(text.contains(": the queue was full\n"));
        let at = text.lines().position(|line| line.contains(&said)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let (before, after) = (
            numbers(&lines[..at].join("\n")),
            numbers(&lines[at + 1..].join("\n")),
        );
        if overflow == Overflow::DropNew {
            assert_eq!(before, (0..1000 - lost[1]).collect::<Vec<_>>());
            assert!(after.is_empty());
            write(&logger, Level::Debug, "#1000");
            gate.wait("the next", |seen| seen.text.contains("#1000"));
        } else {
            assert_eq!(before, [0]);
            assert_eq!(after, (lost[1] + 1..1000).collect::<Vec<_>>());
        }
    }
}

/// Threads write into a queue that is always full, while others look at it: what is written and what
/// is said to be lost is everything, for each level, in each thread's order.
#[test]
fn many_threads_and_every_policy_account_for_every_record() {
    const EACH: u64 = 3000;
    let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
    let two = NonZeroU32::new(2).unwrap();
    for overflow in [
        Overflow::Block,
        Overflow::DropNew,
        Overflow::DropOld,
        Overflow::DropBelow(Level::Warn),
        Overflow::Sample(two),
    ] {
        let (logger, gate, _) = gated(small(overflow));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|thread| {
                    let logger = &logger;
                    scope.spawn(move || {
                        for n in 0..EACH {
                            let level = levels[usize::try_from(n).unwrap() % levels.len()];
                            write(logger, level, &format!("thread {thread} #{n}"));
                        }
                    })
                })
                .collect();
            let mut round = 0;
            while writers.iter().any(|writer| !writer.is_finished()) {
                round += 1;
                gate.shut(round % 2 == 0);
                let (_, waiting) = logger.pipeline().waiting()[0];
                assert!(waiting <= 4096, "{overflow:?}: {waiting} wait");
                let lost: u64 = logger.pipeline().losses()[0].1.iter().sum();
                assert!(lost <= 4 * EACH, "{overflow:?}");
                std::thread::yield_now();
            }
            gate.shut(false);
        });
        assert!(logger.pipeline().flush_within(PATIENCE), "{overflow:?}");
        let status = &logger.pipeline().sinks()[0];
        let lost = status.lost;
        // "40 records lost (debug 10, …) between", "7 debug records lost between"
        let said = |text: &str| -> u64 {
            let lines = text.lines().filter(|line| line.contains(" lost "));
            lines
                .filter_map(|line| {
                    line.split(": ")
                        .nth(1)?
                        .split(' ')
                        .next()?
                        .parse::<u64>()
                        .ok()
                })
                .sum()
        };
        let text = gate.wait("all losses", |seen| {
            said(&seen.text) == lost.iter().sum::<u64>()
        });
        let mut written = [0_u64; 6];
        for thread in 0..4 {
            let own = format!("thread {thread} #");
            let mine: Vec<&str> = text.lines().filter(|line| line.contains(&own)).collect();
            let order = numbers(&mine.join("\n"));
            assert!(order.is_sorted_by(|a, b| a < b), "{overflow:?}: {thread}");
            for n in order {
                written[levels[usize::try_from(n).unwrap() % levels.len()].index()] += 1;
            }
        }
        for level in levels {
            let level = level.index();
            assert_eq!(written[level] + lost[level], EACH, "{overflow:?}: {lost:?}");
        }
        let grave = Level::Warn.index();
        match overflow {
            Overflow::Block => assert_eq!(lost, [0; 6]),
            Overflow::DropBelow(_) => assert_eq!(lost[grave..], [0; 3], "{lost:?}"),
            _ => {}
        }
        assert!(status.delivered >= written.iter().sum::<u64>());
    }
}

#[test]
fn who_may_not_lose_waits_until_there_is_room() {
    let (logger, gate, _) = gated(small(Overflow::Block));
    gate.shut(true);
    let writer = {
        let logger = logger.clone();
        std::thread::spawn(move || {
            for n in 0..2000 {
                write(&logger, Level::Info, &format!("#{n}"));
            }
        })
    };
    gate.wait("the first", |seen| seen.inside == 1);
    let end = Instant::now() + PATIENCE;
    while logger.pipeline().waiting()[0].1 < 4000 {
        assert!(Instant::now() < end, "the queue never fills");
        std::thread::yield_now();
    }
    assert!(!writer.is_finished());
    gate.shut(false);
    writer.join().unwrap();
    let text = gate.wait("all", |seen| seen.text.lines().count() == 2000);
    assert_eq!(numbers(&text), (0..2000).collect::<Vec<_>>());
}

#[test]
fn a_record_larger_than_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let kind = SinkKind::File {
        path: "a.log".into(),
    };
    let sink = kind.queued(small(Overflow::DropNew));
    config.route("all", When::default(), sink, Format::short());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock())).unwrap());
    write(&logger, Level::Info, "#1");
    write(&logger, Level::Info, &format!("{} #2", "x".repeat(10_000)));
    write(&logger, Level::Info, "#3");
    logger.flush();
    assert_eq!(numbers(&text(dir.path().join("a.log"))), [1, 2, 3]);
}

#[test]
fn a_logger_that_is_dropped_has_written_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let logger =
        Logger::new(Pipeline::build(&one_file(&path, 0), Surroundings::new(clock())).unwrap());
    for n in 0..5000 {
        write(&logger, Level::Info, &format!("#{n}"));
    }
    drop(logger);
    assert_eq!(numbers(&text(&path)), (0..5000).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_is_closed_while_it_fails_says_what_is_lost() {
    let (logger, gate, other) = gated(QueueConfig::default());
    gate.0.fails.store(true, Ordering::Relaxed);
    for n in 0..10 {
        write(&logger, Level::Info, &format!("#{n}"));
    }
    // The next config has only the other sink.
    let mut config = Config::new("/nowhere", TimeZone::UTC);
    let kind = SinkKind::Custom {
        name: "other".into(),
    };
    config.route("other", When::default(), kind, Format::text());
    let changes = logger.reload(&config, Surroundings::new(clock())).unwrap();
    assert_eq!(changes.kept, ["custom:other"]);
    assert_eq!(changes.closed, ["custom:gate"]);
    let said = other.wait("the loss", |seen| seen.text.contains("is closed"));
    assert!(
        said.contains("the log sink custom:gate is closed: 10 info records lost: no space left"),
        "{said}"
    );
}

/// A config of one rolling file; `variant` changes what does not change where records go.
fn one_file(path: &Path, variant: u32) -> Config {
    one_file_of(path, variant, [1 << 20, 200_000])
}

fn one_file_of(path: &Path, variant: u32, sizes: [u64; 2]) -> Config {
    let mut config = Config::new(path.parent().unwrap(), TimeZone::UTC);
    let kind = SinkKind::rolling(
        path.to_owned(),
        Retention {
            size: Some(sizes[variant as usize % 2]),
            ..Retention::NONE
        },
    );
    let delivery = match variant % 3 {
        0 => Delivery::Queued(QueueConfig::default()),
        1 => Delivery::Queued(QueueConfig {
            bytes: 64 * 1024,
            ..QueueConfig::default()
        }),
        _ => Delivery::Direct,
    };
    let sink = SinkConfig {
        delivery,
        ..kind.into()
    };
    config.route("all", When::default(), sink, Format::short());
    if variant % 4 == 3 {
        let extra = SinkKind::File {
            path: "extra.log".into(),
        };
        let levels = LevelSet::from(Level::Error);
        let when = When {
            levels,
            ..When::default()
        };
        config.route("extra", when, extra, Format::json());
    }
    config
}

/// What four threads have written, in these files one after another: each its own numbers, all, once,
/// in order.
fn check_four(files: &[PathBuf], each: &[u64]) {
    let mut next: HashMap<u64, u64> = HashMap::new();
    for file in files {
        for line in BufReader::new(fs::File::open(file).unwrap()).lines() {
            let line = line.unwrap();
            let (_, rest) = line.split_once("thread ").unwrap();
            let (thread, number) = rest.split_once(" #").unwrap();
            let next = next.entry(thread.parse().unwrap()).or_default();
            assert_eq!(*next, number.parse::<u64>().unwrap(), "{line}");
            *next += 1;
        }
    }
    let seen: Vec<u64> = (0..each.len() as u64).map(|thread| next[&thread]).collect();
    assert_eq!(seen, each);
}

/// Four threads write until `during` is over; how many each has written.
fn storm(logger: &Logger, during: impl FnOnce()) -> Vec<u64> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        write(logger, Level::Info, &format!("thread {thread} #{n}"));
                        n += 1;
                    }
                    n
                })
            })
            .collect();
        during();
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    })
}

#[test]
fn a_storm_of_reloads_loses_doubles_and_turns_round_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let logger =
        Logger::new(Pipeline::build(&one_file(&path, 0), Surroundings::new(clock())).unwrap());
    let mut reloads = 0;
    let each = storm(&logger, || {
        for variant in 1..=200 {
            let config = one_file(&path, variant);
            let changes = logger.reload(&config, Surroundings::new(clock())).unwrap();
            reloads += usize::from(!changes.opened.is_empty());
            // A bad config changes nothing.
            let mut bad = one_file(&path, variant);
            bad.sink(
                SinkKind::File {
                    path: "/proc/no/such".into(),
                }
                .into(),
            );
            logger.reload(&bad, Surroundings::new(clock())).unwrap_err();
        }
    });
    logger.flush();
    assert!(reloads > 100);
    check_four(&family(&path), &each);
}

#[test]
fn a_storm_of_rolls_loses_doubles_and_turns_round_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let kind = SinkKind::rolling(
        path.clone(),
        Retention {
            size: Some(20_000),
            ..Retention::NONE
        },
    );
    config.route(
        "all",
        When::default(),
        kind.queued(QueueConfig::default()),
        Format::short(),
    );
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock())).unwrap());
    let rolled = path.with_file_name("a.log.200");
    let each = storm(&logger, || {
        let end = Instant::now() + PATIENCE;
        while !rolled.exists() {
            assert!(Instant::now() < end, "it does not roll");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    logger.flush();
    check_four(&family(&path), &each);
}

/// The long form of the storms: a hundred reloads a second for ten seconds. Four threads write as fast
/// as they can: some gigabytes.
#[test]
#[ignore = "takes ten seconds and gigabytes; the storms above are its short form"]
fn a_hundred_reloads_a_second_for_ten_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let config = |variant| one_file_of(&path, variant, [64 << 20, 32 << 20]);
    let logger = Logger::new(Pipeline::build(&config(0), Surroundings::new(clock())).unwrap());
    let start = Instant::now();
    let (mut opened, mut slowest) = (0, Duration::ZERO);
    let each = storm(&logger, || {
        for variant in 1..=1000 {
            let due = start + Duration::from_millis(10) * variant;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let before = Instant::now();
            let changes = logger.reload(&config(variant), Surroundings::new(clock()));
            opened += changes.unwrap().opened.len();
            slowest = slowest.max(before.elapsed());
        }
    });
    let took = start.elapsed();
    logger.flush();
    let files = family(&path);
    check_four(&files, &each);
    eprintln!(
        "1000 reloads in {took:.1?}, {opened} sinks opened, slowest reload {slowest:.1?}, {} records of 4 threads in {} files: 0 lost, doubled or out of order",
        each.iter().sum::<u64>(),
        files.len()
    );
}

/// The same for rolls: files of 200 kB for ten seconds.
#[test]
#[ignore = "takes ten seconds and gigabytes; the storms above are its short form"]
fn ten_seconds_of_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let kind = SinkKind::Rolling {
        path: path.clone(),
        retention: Retention {
            size: Some(200_000),
            ..Retention::NONE
        },
        naming: Naming::Growing { prefix: false },
        archive: None,
        shared: false,
    };
    let sink = kind.queued(QueueConfig::default());
    config.route("all", When::default(), sink, Format::short());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock())).unwrap());
    let each = storm(&logger, || std::thread::sleep(Duration::from_secs(10)));
    logger.flush();
    let mut files: Vec<PathBuf> = (1..1_000_000)
        .map(|number| dir.path().join(format!("a.log.{number}")))
        .take_while(|file| file.exists())
        .collect();
    let rolls = files.len();
    files.push(path);
    check_four(&files, &each);
    eprintln!(
        "{rolls} rolls in 10 s, {} records of 4 threads: 0 lost, doubled or out of order",
        each.iter().sum::<u64>()
    );
}

#[test]
fn levels_of_a_target_for_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    config.levels = LevelSet::from(Level::Info);
    let kind = SinkKind::File {
        path: "a.log".into(),
    };
    config.route("all", When::default(), kind, Format::short());
    let time = crate::clock();
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(time.clone())).unwrap());
    let write = |target: &str, text: &str| {
        logger.write(&Record::new(time.now(), Level::Debug, target, text));
    };
    write("api::db", "1 no");
    let debug = Some(LevelSet::from(Level::Debug));
    logger.set_levels_of(Some("api::db"), debug, Some(Duration::from_mins(10)));
    write("api::db", "2 yes");
    write("api::db::pool", "3 yes");
    write("api", "4 no");
    assert_eq!(logger.pipeline().lowest_level(), Some(Level::Debug));
    logger
        .reload(&config, Surroundings::new(time.clone()))
        .unwrap();
    write("api::db", "5 yes, also after a reload");
    let off = Some(LevelSet::NONE);
    logger.set_levels_of(Some("api::db::pool"), off, None);
    write("api::db::pool", "6 no, the longer name counts");
    time.advance(Duration::from_mins(10));
    write("api::db", "7 no, the time is over");
    assert_eq!(logger.pipeline().lowest_level(), Some(Level::Info));
    logger.set_levels_of(None, debug, None);
    write("other", "8 yes");
    logger.set_levels_of(None, None, None);
    write("other", "9 no");
    let text = text(dir.path().join("a.log"));
    let seen: Vec<&str> = text
        .lines()
        .map(|line| line.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(seen, ["2", "3", "5", "8"], "{text}");
}

/// How a process ends, whether it can be asked what it had written, and how it looks from outside.
const ENDS: [(&str, bool); 7] = [
    ("return", true),
    ("exit", true),
    ("panic", true),
    ("abort", true),
    ("term", true),
    ("fault", true),
    ("kill", false),
];

/// In processes of their own: each fills a queue that nobody hurries, and ends.
#[test]
fn what_waits_is_written_when_the_process_ends() {
    let me = std::env::current_exe().unwrap();
    for (end, all) in ENDS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let status = Command::new(&me)
            .args([
                "--exact",
                "queue::process_that_ends",
                "--nocapture",
                "--include-ignored",
            ])
            .env("MAINSTAY_LOG_TEST_END", end)
            .env("MAINSTAY_LOG_TEST_PATH", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let written = numbers(&text(&path));
        if all {
            assert_eq!(written, (0..3000).collect::<Vec<_>>(), "{end}: {status}");
        } else {
            assert!(written.is_empty(), "{end}: {status}");
        }
        assert_eq!(
            status.success(),
            matches!(end, "return" | "exit"),
            "{end}: {status}"
        );
    }
}

#[test]
#[ignore = "a part of what_waits_is_written_when_the_process_ends"]
fn process_that_ends() {
    let Some(end) = std::env::var_os("MAINSTAY_LOG_TEST_END") else {
        return;
    };
    let path = PathBuf::from(std::env::var_os("MAINSTAY_LOG_TEST_PATH").unwrap());
    let mut config = Config::new("/", TimeZone::UTC);
    let hour = QueueConfig {
        linger: Duration::from_hours(1),
        batch: 1 << 20,
        ..QueueConfig::default()
    };
    let sink = SinkKind::File { path }.queued(hour);
    config.route("all", When::default(), sink, Format::short());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock())).unwrap());
    logger.drain_at_the_end().unwrap();
    for n in 0..3000 {
        write(&logger, Level::Info, &format!("#{n}"));
    }
    let signal = |name: &str| {
        let pid = std::process::id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
        std::thread::sleep(PATIENCE);
    };
    match end.to_str() {
        // As static, for `main` does not drop what another thread of the test runner holds.
        Some("return") => drop(logger),
        Some("exit") => std::process::exit(0),
        Some("panic") => panic!("the end"),
        Some("abort") => std::process::abort(),
        Some("term") => signal("TERM"),
        Some("fault") => signal("SEGV"),
        _ => signal("KILL"),
    }
}

#[test]
fn marks_and_bytes_fit() {
    // A custom sink sees each record with its level and time, in whole.
    #[derive(Clone, Default)]
    struct Entries(Arc<Mutex<Vec<(Level, String)>>>);
    impl Sink for Entries {
        fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
            assert!(batch.record().is_none());
            let mut all = self.0.lock().unwrap();
            for entry in batch.entries() {
                let text = String::from_utf8(entry.bytes.to_vec()).unwrap();
                all.push((entry.level, text));
            }
            Ok(())
        }
    }
    let entries = Entries::default();
    let mut config = Config::new("/nowhere", TimeZone::UTC);
    let kind = SinkKind::Custom { name: "e".into() };
    config.route(
        "all",
        When::default(),
        kind.queued(QueueConfig::default()),
        Format::short(),
    );
    let surroundings = Surroundings {
        custom: vec![("e".into(), Box::new(entries.clone()))],
        ..Surroundings::new(crate::clock())
    };
    let logger = Logger::new(Pipeline::build(&config, surroundings).unwrap());
    write(&logger, Level::Info, "one\nof two lines");
    write(&logger, Level::Warn, "two");
    logger.flush();
    assert_eq!(
        *entries.0.lock().unwrap(),
        [
            (
                Level::Info,
                "06:00:00 INFO  one\n    of two lines\n".to_owned()
            ),
            (Level::Warn, "06:00:00 WARN  two\n".to_owned()),
        ]
    );
    assert!(Mark::LARGEST > fs::read(std::env::current_exe().unwrap()).unwrap().len());
}

/// A queued and a direct sink that are spared what repeats and what floods.
#[test]
fn repetitions_and_floods_are_counted_and_told() {
    for delivery in [Delivery::Direct, Delivery::Queued(QueueConfig::default())] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut config = Config::new(dir.path(), TimeZone::UTC);
        let sink = SinkConfig {
            delivery,
            admission: AdmissionConfig {
                dedup: Some(Dedup {
                    window: Duration::from_hours(1),
                }),
                limit: Some(Limit {
                    records: NonZeroU32::MIN,
                    every: Duration::from_hours(1),
                    burst: NonZeroU32::new(3).unwrap(),
                    tell_every: Duration::from_hours(1),
                    ..Limit::default()
                }),
                sample: None,
            },
            ..SinkKind::File { path: path.clone() }.into()
        };
        config.route("all", When::default(), sink, Format::short());
        let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock())).unwrap());
        for _ in 0..1000 {
            write(&logger, Level::Warn, "the same #1");
        }
        write(&logger, Level::Warn, "another #2");
        for n in 3..=50 {
            write(&logger, Level::Info, &format!("of many #{n}"));
        }
        write(&logger, Level::Critical, "spared #51");
        drop(logger);
        let text = text(&path);
        assert_eq!(numbers(&text), [1, 2, 3, 51], "{text}");
        assert_eq!(text.matches("repeated 999 times").count(), 1, "{text}");
        assert!(text.contains("47 "), "{text}");
    }
}

/// What is held back is told although no record follows.
#[test]
fn a_repetition_is_told_in_time() {
    let (gate, mut config) = (Gate::default(), Config::new("/nowhere", TimeZone::UTC));
    let kind = SinkKind::Custom {
        name: "gate".into(),
    };
    let sink = SinkConfig {
        admission: AdmissionConfig {
            dedup: Some(Dedup {
                window: Duration::from_millis(50),
            }),
            ..AdmissionConfig::default()
        },
        ..kind.queued(QueueConfig::default())
    };
    config.route("gate", When::default(), sink, Format::short());
    let surroundings = Surroundings {
        custom: vec![("gate".into(), Box::new(gate.clone()))],
        ..Surroundings::new(clock())
    };
    let logger = Logger::new(Pipeline::build(&config, surroundings).unwrap());
    write(&logger, Level::Warn, "once");
    write(&logger, Level::Warn, "once");
    write(&logger, Level::Warn, "once");
    gate.wait("the count", |seen| seen.text.contains("repeated 2 times"));
}

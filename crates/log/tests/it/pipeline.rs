use std::fs;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use log::Log as _;
use mainstay_base::{Clock as _, ManualClock};
use mainstay_log::{
    Batch, Config, Console, Format, Level, LevelSet, Logger, Mark, Notice, Pattern, Pipeline,
    Record, Retention, Sink, SinkKind, Stream, Surroundings, Unwritten, When,
};

use crate::{clock, text};

/// A sink in memory that fails, panics or speaks when it is told to.
#[derive(Clone, Default)]
struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    bytes: Mutex<Vec<u8>>,
    fails: AtomicBool,
    panics: AtomicBool,
    notice: AtomicBool,
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.bytes.lock().unwrap().clone()).unwrap()
    }
    fn take(&self) -> String {
        let text = self.text();
        self.0.bytes.lock().unwrap().clear();
        text
    }
    fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::Relaxed);
    }
}

impl Sink for Memory {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        assert!(!self.0.panics.load(Ordering::Relaxed), "told to");
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(28).into());
        }
        self.0
            .bytes
            .lock()
            .unwrap()
            .extend_from_slice(batch.bytes());
        Ok(())
    }
    fn take_notices(&mut self) -> Vec<Notice> {
        if self.0.notice.swap(false, Ordering::Relaxed) {
            return vec![Notice {
                level: Level::Warn,
                text: "something odd".into(),
            }];
        }
        Vec::new()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn custom(name: &str) -> SinkKind {
    SinkKind::Custom { name: name.into() }
}

/// A pipeline with the sinks a and b, each with a route of all records, and a last resort.
fn two() -> (Pipeline, Memory, Memory, Memory, Arc<ManualClock>) {
    let (a, b, last) = (Memory::default(), Memory::default(), Memory::default());
    let clock = clock();
    let mut config = Config::new("/nowhere", TimeZone::UTC);
    config.route("a", When::default(), custom("a"), Format::short());
    config.route("b", When::default(), custom("b"), Format::short());
    let surroundings = Surroundings {
        clock: clock.clone(),
        last_resort: Some(Box::new(last.clone())),
        custom: vec![
            ("a".into(), Box::new(a.clone())),
            ("b".into(), Box::new(b.clone())),
        ],
        alerts: None,
    };
    let pipeline = Pipeline::build(&config, surroundings).unwrap();
    (pipeline, a, b, last, clock)
}

fn record<'a>(clock: &ManualClock, level: Level, message: &'a str) -> Record<'a> {
    Record::new(clock.now(), level, "test", message)
}

#[test]
fn records_go_where_routes_say_once_and_in_the_first_format() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let all = SinkKind::rolling("all.log", Retention::default());
    let grave = SinkKind::File {
        path: "sub/grave.log".into(),
    };
    let warn = When {
        levels: LevelSet::from(Level::Warn),
        ..When::default()
    };
    let web = When {
        programs: vec![Pattern::new("web*")],
        ..When::default()
    };
    config.route("grave", warn.clone(), grave, Format::json());
    config.route("loud", warn, all.clone(), Format::short());
    config.route("all", When::default(), all.clone(), Format::text());
    config.route("web", web, all, Format::short());
    config.levels = LevelSet::from(Level::Debug);
    let pipeline = Pipeline::build(&config, Surroundings::new(clock.clone())).unwrap();

    pipeline.write(&record(&clock, Level::Trace, "not let through"));
    pipeline.write(&record(&clock, Level::Info, "calm"));
    pipeline.write(&record(&clock, Level::Error, "grave"));
    pipeline.write(&record(&clock, Level::Info, "GET /").program("web:1", Stream::Stdout));
    pipeline.write(&record(&clock, Level::Info, "SELECT").program("db", Stream::Stdout));
    assert_eq!(
        text(dir.path().join("all.log")),
        "2026-11-22T06:00:00.000+00:00 INFO  test: calm\n\
         06:00:00 ERROR grave\n\
         06:00:00 INFO  web:1[stdout]: GET /\n"
    );
    assert_eq!(
        text(dir.path().join("sub/grave.log")),
        "{\"time\":\"2026-11-22T06:00:00.000+00:00\",\"level\":\"error\",\"target\":\"test\",\
         \"message\":\"grave\"}\n"
    );
    assert!(pipeline.wants("web:2", Stream::Stderr));
    assert!(!pipeline.wants("db", Stream::Stderr));
    assert!(pipeline.enabled(Level::Debug, "x"));
    assert!(!pipeline.enabled(Level::Trace, "x"));

    pipeline.set_levels(Some(LevelSet::ALL));
    pipeline.write(&record(&clock, Level::Trace, "let through"));
    pipeline.set_levels(None);
    pipeline.write(&record(&clock, Level::Trace, "again not"));
    let all = text(dir.path().join("all.log"));
    assert!(all.contains("let through") && !all.contains("again not"));

    fs::rename(dir.path().join("all.log"), dir.path().join("old.log")).unwrap();
    pipeline.reopen().unwrap();
    pipeline.write(&record(&clock, Level::Info, "after"));
    assert!(text(dir.path().join("all.log")).ends_with("test: after\n"));
}

#[test]
fn a_failing_sink_harms_no_other_and_learns_what_it_missed() {
    let (pipeline, a, b, last, clock) = two();
    a.fail(true);
    for _ in 0..5 {
        pipeline.write(&record(&clock, Level::Info, "one"));
        clock.advance(Duration::from_secs(1));
    }
    pipeline.write(&record(&clock, Level::Error, "two"));
    let said = b.take();
    assert_eq!(said.matches("one\n").count(), 5);
    assert_eq!(
        said.matches("the log sink custom:a fails: no space left on device; 1 info record lost")
            .count(),
        1,
        "once, not six times: {said}"
    );
    clock.advance(Duration::from_mins(1));
    pipeline.write(&record(&clock, Level::Info, "again"));
    assert!(b.take().contains("7 records lost (info 6, error 1)"));
    assert_eq!(last.text(), "", "the other sink was told");

    a.fail(false);
    pipeline.write(&record(&clock, Level::Info, "back"));
    assert_eq!(
        a.take(),
        "06:01:05 WARN  7 records lost (info 6, error 1) between 2026-11-22T06:00:00.000+00:00 and \
         2026-11-22T06:01:05.000+00:00: no space left on device\n06:01:05 INFO  back\n"
    );
    assert_eq!(
        pipeline.losses(),
        [("custom:a", [0, 0, 6, 0, 1, 0]), ("custom:b", [0; 6])]
    );
}

#[test]
fn with_no_sink_left_the_last_resort_is_told() {
    let (pipeline, a, b, last, clock) = two();
    a.fail(true);
    b.0.panics.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        pipeline.write(&record(&clock, Level::Critical, "nobody hears"));
    }
    let said = last.take();
    assert!(
        said.starts_with("mainstay: the log sink custom:a fails: no space"),
        "{said}"
    );
    assert!(
        said.contains("the log sink custom:b fails: the sink panicked"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");
    a.fail(false);
    b.0.panics.store(false, Ordering::Relaxed);
    pipeline.write(&record(&clock, Level::Info, "back"));
    for sink in [a, b] {
        assert!(sink.take().ends_with("INFO  back\n"));
    }
    let [(_, first), (_, second)] = pipeline.losses()[..] else {
        panic!("two sinks");
    };
    assert_eq!(first[Level::Critical.index()], 100);
    assert_eq!(second[Level::Critical.index()], 100);
}

#[test]
fn notices_of_a_sink_are_records() {
    let (pipeline, a, b, _, clock) = two();
    a.0.notice.store(true, Ordering::Relaxed);
    pipeline.write(&record(&clock, Level::Info, "x"));
    for sink in [a, b] {
        assert_eq!(
            sink.text(),
            "06:00:00 INFO  x\n06:00:00 WARN  something odd\n"
        );
    }
}

/// Shown as a message or a field, it logs itself.
struct Chatty<'a>(&'a Logger);
impl std::fmt::Display for Chatty<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.log(
            &log::Record::builder()
                .args(format_args!("inner"))
                .level(log::Level::Info)
                .target("test")
                .build(),
        );
        f.write_str("outer")
    }
}

#[test]
fn what_logs_while_it_is_logged_comes_first_and_nothing_hangs() {
    let (pipeline, a, _, _, _) = two();
    let logger = Logger::new(pipeline);
    let chatty = Chatty(&logger);
    let value = log::kv::Value::from_dyn_display(&chatty);
    logger.log(
        &log::Record::builder()
            .args(format_args!("{chatty}"))
            .level(log::Level::Info)
            .target("test")
            .key_values(&("key", value))
            .build(),
    );
    assert_eq!(
        a.take(),
        "06:00:00 INFO  inner\n06:00:00 INFO  inner\n06:00:00 INFO  outer key=outer\n"
    );
}

#[test]
fn the_log_crate_reaches_us_with_its_fields() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let file = SinkKind::File {
        path: "a.log".into(),
    };
    let grave = SinkKind::File {
        path: "critical.log".into(),
    };
    let critical = When {
        levels: LevelSet::from(Level::Critical),
        ..When::default()
    };
    config.levels = LevelSet::from(Level::Info);
    config.route("critical", critical, grave, Format::short());
    config.route("all", When::default(), file, Format::json());
    let pipeline = Pipeline::build(&config, Surroundings::new(clock())).unwrap();
    let logger = mainstay_log::bridge(pipeline);
    logger.install().unwrap();
    assert_eq!(log::max_level(), log::LevelFilter::Info);
    assert!(
        logger
            .clone()
            .install()
            .unwrap_err()
            .to_string()
            .contains("another logger")
    );

    let path = "x y";
    log::debug!("not let through");
    log::info!(n = 3_u64, path, ok = true, pi = 1.5, shown:? = Some(1), ch = 'c'; "message {}", 1);
    log::error!(critical = true, code = -7; "look now");
    log::warn!(critical = true; "only errors can be");
    logger.set_levels(Some(LevelSet::ALL));
    assert_eq!(log::max_level(), log::LevelFilter::Trace);
    log::trace!("let through");
    logger.set_levels(None);
    log::trace!("again not");
    log::logger().flush();

    let lines: Vec<serde_json::Value> = text(dir.path().join("a.log"))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0]["message"], "message 1");
    assert_eq!(
        lines[0]["fields"],
        serde_json::json!({"n": 3, "path": "x y", "ok": true, "pi": 1.5, "shown": "Some(1)", "ch": "c"})
    );
    assert!(lines[0]["file"].as_str().unwrap().ends_with("pipeline.rs"));
    assert_eq!(lines[0]["target"], "it::pipeline");
    assert_eq!(lines[1]["level"], "critical");
    assert_eq!(lines[1]["fields"], serde_json::json!({"code": -7}));
    assert_eq!(lines[2]["fields"], serde_json::json!({"critical": true}));
    assert_eq!(lines[3]["message"], "let through");
    assert_eq!(
        text(dir.path().join("critical.log")),
        "06:00:00 CRIT  look now code=-7\n"
    );
}

#[test]
fn many_fields() {
    let (pipeline, a, _, _, _) = two();
    let logger = Logger::new(pipeline);
    let pairs: Vec<(String, u32)> = (0..40).map(|n| (format!("k{n}"), n)).collect();
    let pairs: Vec<(&str, u32)> = pairs.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    logger.log(
        &log::Record::builder()
            .args(format_args!("m"))
            .level(log::Level::Info)
            .key_values(&pairs.as_slice())
            .build(),
    );
    let said = a.take();
    assert!(
        said.contains(" k0=0 ") && said.ends_with(" k39=39\n"),
        "{said}"
    );
}

#[test]
fn a_replaced_pipeline_loses_nothing() {
    let (first, a, _, _, _) = two();
    let logger = Logger::new(first);
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(0_u64)),
    );
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (logger, stop, done) = (logger.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let message = "counted";
                    logger.write(&Record::new(
                        jiff::Timestamp::UNIX_EPOCH,
                        Level::Info,
                        "t",
                        message,
                    ));
                    count += 1;
                }
                *done.lock().unwrap() += count;
            })
        })
        .collect();
    let mut sinks = vec![a];
    for _ in 0..50 {
        let (next, sink, _, _, _) = two();
        sinks.push(sink);
        logger.replace(next);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let written: usize = sinks.iter().map(|sink| sink.text().lines().count()).sum();
    assert_eq!(written as u64, *done.lock().unwrap());
}

#[test]
fn configs_that_name_what_is_not_there() {
    let mut config = Config::new("/", TimeZone::UTC);
    config.sink(custom("x").into());
    let error = Pipeline::build(&config, Surroundings::new(clock())).unwrap_err();
    assert!(error.to_string().contains("no custom sink `x`"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path(), TimeZone::UTC);
    let path = dir.path().to_owned();
    config.route(
        "r",
        When::default(),
        SinkKind::File { path },
        Format::text(),
    );
    let error = Pipeline::build(&config, Surroundings::new(clock())).unwrap_err();
    assert!(error.to_string().contains("is a directory"), "{error}");
}

#[test]
fn a_console_that_nobody_reads_stops_nobody() {
    let (read, end) = rustix::pipe::pipe().unwrap();
    let mut console = Console::new(end);
    let clock = clock();
    let line = format!("{}\n", "x".repeat(999));
    let mut taken = 0;
    let write = |console: &mut Console<_>, line: &[u8]| {
        let mark = Mark::new(clock.now(), Level::Info, line.len());
        console.write(&Batch::new(line, &[mark]))
    };
    // Without a reader: the pipe fills, then what is held back, then records are refused.
    let error = loop {
        match write(&mut console, line.as_bytes()) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "it never refuses");
    };
    assert_eq!(error.error.kind(), io::ErrorKind::WouldBlock);
    assert!(taken > 256, "{taken}");
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        fs::File::from(read).read_to_string(&mut all).unwrap();
        all
    });
    // Once it is read, what was taken comes whole and in order.
    while write(&mut console, b"last\n").is_err() {
        std::thread::yield_now();
    }
    while console.pending() > 0 {
        console.flush().unwrap();
    }
    drop(console);
    let all = reader.join().unwrap();
    assert_eq!(all, line.repeat(taken) + "last\n");
}

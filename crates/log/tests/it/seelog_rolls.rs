//! Rolling files, archives, buffers and types of loggers as configs of seelog have them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::{Clock, ManualClock, SystemClock};
use mainstay_log::seelog::{self, Options};
use mainstay_log::{Level, Logger, Pipeline, Record, Surroundings};

use crate::clock;
use crate::sinks::{PATIENCE, wait_until};

fn logger(xml: &str, dir: &Path, clock: Arc<dyn Clock>) -> Logger {
    let parsed = seelog::Config::parse("seelog.xml", xml, &Options::new()).unwrap();
    let (config, _) = parsed.to_pipeline(dir, TimeZone::UTC).unwrap();
    Logger::new(Pipeline::build(&config, Surroundings::new(clock)).unwrap())
}

fn write(logger: &Logger, level: Level, message: &str) {
    let now = logger.pipeline().now();
    logger.write(&Record::new(now, level, "t", message));
}

/// The files below a directory, folders that are empty with a slash behind; no hidden ones, which are
/// ours for a moment.
fn names(dir: &Path, below: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            let inside = self::names(&entry.path(), &format!("{name}/"));
            if inside.is_empty() {
                names.push(format!("{name}/"));
            }
            names.extend(inside);
        } else if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    names
}

fn make(dir: &Path, name: &str) {
    match name.strip_suffix('/') {
        Some(folder) => fs::create_dir(dir.join(folder)).unwrap(),
        None => fs::write(dir.join(name), "before 00\n").unwrap(),
    }
}

#[test]
fn rolls() {
    let table = include_str!("../seelog/rolls.txt");
    let mut count = 0;
    for (number, row) in table.lines().enumerate() {
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        count += 1;
        let what = format!("rolls.txt:{}: {row}", number + 1);
        let (row, _) = row.split_once(" !").unwrap_or((row, ""));
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [attributes, before, steps, after] = columns[..] else {
            panic!("{what}");
        };
        let dir = tempfile::tempdir().unwrap();
        for name in before.split_whitespace() {
            make(dir.path(), name);
        }
        let xml = format!(
            r#"<seelog type="sync"><outputs formatid="m"><rollingfile filename="f.log" {attributes}/></outputs>
            <formats><format id="m" format="%Msg%n"/></formats></seelog>"#
        );
        let clock: Arc<ManualClock> = clock();
        let mut running = logger(&xml, dir.path(), clock.clone());
        let mut written = 0;
        for step in steps.split_whitespace() {
            match step {
                "day" => clock.advance(Duration::from_hours(24)),
                "again" => {
                    drop(running);
                    running = logger(&xml, dir.path(), clock.clone());
                }
                messages => {
                    for _ in 0..messages.parse().unwrap() {
                        written += 1;
                        write(&running, Level::Info, &format!("line {written:04}"));
                    }
                }
            }
        }
        let mut expected: Vec<&str> = after.split_whitespace().collect();
        expected.sort_unstable();
        let end = Instant::now() + PATIENCE;
        while names(dir.path(), "") != expected {
            let seen = names(dir.path(), "");
            assert!(Instant::now() < end, "{what}\n{seen:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let lost: u64 = running.pipeline().losses()[0].1.iter().sum();
        assert_eq!(lost, 0, "{what}");
    }
    assert!(count >= 55, "{count}");
}

/// A buffer is written when it is full, in time, or when somebody asks; a message that is larger than
/// it passes (`TestChunkWriteOnFilling`, `TestBigMessageMustPassMemoryBuffer`).
#[test]
fn buffers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let xml = |flush: u32| {
        format!(
            r#"<seelog type="sync"><outputs formatid="m"><buffered size="100" flushperiod="{flush}" formatid="m"><file path="f.log"/></buffered></outputs>
            <formats><format id="m" format="%Msg%n"/></formats></seelog>"#
        )
    };
    let size = || fs::metadata(&path).map_or(0, |file| file.len());
    let running = logger(&xml(0), dir.path(), Arc::new(SystemClock::new()));
    for _ in 0..9 {
        write(&running, Level::Info, "123456789");
    }
    assert_eq!(size(), 0, "ninety of a hundred bytes");
    write(&running, Level::Info, "123456789");
    wait_until("a full buffer", || size() == 100);
    write(&running, Level::Info, "123456789");
    assert_eq!(size(), 100);
    running.flush();
    assert_eq!(size(), 110);
    write(&running, Level::Info, &"x".repeat(5000));
    wait_until("a large message", || size() == 5111);
    write(&running, Level::Info, "rest");
    drop(running);
    assert_eq!(size(), 5116, "what is left is written at the end");

    let running = logger(&xml(1), dir.path(), Arc::new(SystemClock::new()));
    write(&running, Level::Info, "1234");
    wait_until("the time", || size() == 5121);
}

/// Every type of logger has all in order after a flush (`Test_Sync`, `Test_Asyncloop`,
/// `Test_Asynctimer`, `Test_Adaptive`), and after a critical record without one.
#[test]
fn types_of_loggers() {
    for kind in [
        r#"type="sync""#,
        r#"type="asyncloop""#,
        r#"type="asynctimer" asyncinterval="100""#,
        r#"type="adaptive" mininterval="1000" maxinterval="1000000" critmsgcount="50""#,
        "",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.log");
        let xml = format!(
            r#"<seelog {kind}><outputs formatid="m"><file path="f.log"/></outputs>
            <formats><format id="m" format="%Msg%n"/></formats></seelog>"#
        );
        let running = logger(&xml, dir.path(), Arc::new(SystemClock::new()));
        let lines =
            |range: std::ops::Range<u32>| -> String { range.map(|n| format!("{n}\n")).collect() };
        for n in 0..1000 {
            write(&running, Level::Info, &n.to_string());
        }
        running.flush();
        assert_eq!(crate::text(&path), lines(0..1000), "{kind}");
        write(&running, Level::Info, "1000");
        write(&running, Level::Critical, "1001");
        wait_until(kind, || crate::text(&path) == lines(0..1002));
        write(&running, Level::Info, "1002");
        drop(running);
        assert_eq!(crate::text(&path), lines(0..1003), "{kind}");
    }
}

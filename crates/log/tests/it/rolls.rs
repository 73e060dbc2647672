//! Files that roll by the calendar, under other names, compressed, and by several processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use mainstay_base::{ManualClock, SystemClock};
use mainstay_log::{Compression, Every, Naming, Retention, RollingFile, Rolls, open_packed};

use mainstay_log::seelog::DateLayout;

use crate::clock;

const PATIENCE: Duration = Duration::from_mins(1);

fn dated(layout: &str, prefix: bool, current: bool) -> Naming {
    Naming::Dated {
        layout: Arc::new(DateLayout::compile(layout)),
        prefix,
        current,
    }
}

fn rolls(retention: Retention, naming: Naming) -> Rolls {
    Rolls {
        naming,
        ..retention.into()
    }
}

fn open(path: &Path, rolls: &Rolls, clock: &Arc<ManualClock>) -> RollingFile {
    RollingFile::open_with(path, rolls.clone(), clock.clone()).unwrap()
}

/// What each file of a directory holds, by name; compressed ones as if they were not.
fn files(dir: &Path) -> BTreeMap<String, String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mut text = String::new();
            let mut reader = open_packed(&entry.path()).unwrap();
            reader.read_to_string(&mut text).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

fn expect(dir: &Path, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    assert_eq!(files(dir), expected);
}

/// Waits until the names in the directory are these.
fn wait_for(dir: &Path, names: &[&str]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut sorted: Vec<&str> = seen.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        if sorted == names {
            return;
        }
        assert!(Instant::now() < end, "{sorted:?}, not {names:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Has a file look as if it was written last at that time.
fn age(path: &Path, time: &str) {
    let time: jiff::Timestamp = time.parse().unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::from(time)).unwrap();
}

#[test]
fn a_file_ends_with_its_day() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let clock = clock();
    let daily = Retention {
        every: Some(Every::Day),
        files: Some(2),
        ..Retention::NONE
    };
    let rolls = Rolls {
        zone: TimeZone::get("Asia/Taipei").unwrap(),
        ..daily.into()
    };
    // 14:00 in Taipei.
    let mut file = open(&path, &rolls, &clock);
    file.write(b"day 1\n").unwrap();
    clock.advance(Duration::from_secs(10 * 3600 - 1));
    file.write(b"last second\n").unwrap();
    clock.advance(Duration::from_secs(1));
    file.write(b"midnight\n").unwrap();
    expect(
        dir.path(),
        &[("f.log", "midnight\n"), ("f.log.1", "day 1\nlast second\n")],
    );
    // Days without a record roll nothing.
    clock.advance(Duration::from_hours(72));
    file.write(b"day 5\n").unwrap();
    clock.advance(Duration::from_hours(24));
    file.write(b"day 6\n").unwrap();
    expect(
        dir.path(),
        &[
            ("f.log", "day 6\n"),
            ("f.log.1", "day 5\n"),
            ("f.log.2", "midnight\n"),
        ],
    );
}

/// The period of what is in the file is known after a restart (D4), and names it.
#[test]
fn a_restart_does_not_forget_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    fs::write(&path, "two days old\n").unwrap();
    age(&path, "2026-11-20T12:00:00Z");
    let clock = clock();
    let rolls = rolls(Retention::NONE, dated("2006-01-02", false, false));
    let mut file = open(&path, &rolls, &clock);
    file.write(b"today\n").unwrap();
    drop(file);
    age(&path, "2026-11-22T06:00:00Z");
    let mut file = open(&path, &rolls, &clock);
    file.write(b"later today\n").unwrap();
    expect(
        dir.path(),
        &[
            ("f.log", "today\nlater today\n"),
            ("f.log.2026-11-20", "two days old\n"),
        ],
    );
}

#[test]
fn size_and_day_together_and_names_by_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let clock = clock();
    let both = Retention {
        every: Some(Every::Day),
        size: Some(10),
        ..Retention::NONE
    };
    let rolls = rolls(both, dated("20060102", true, false));
    let mut file = open(&path, &rolls, &clock);
    for text in ["12345678\n", "abcdefgh\n", "ABCDEFGH\n"] {
        file.write(text.as_bytes()).unwrap();
    }
    clock.advance(Duration::from_hours(24));
    file.write(b"next day\n").unwrap();
    expect(
        dir.path(),
        &[
            ("f.log", "next day\n"),
            ("20261122.f.log", "12345678\n"),
            ("20261122.2.f.log", "abcdefgh\n"),
            ("20261122.3.f.log", "ABCDEFGH\n"),
        ],
    );
}

/// seelog's `fullname`: so many old files are kept, not counting the current one (D5).
#[test]
fn the_current_file_can_have_the_date_in_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let clock = clock();
    let two = Retention {
        files: Some(2),
        ..Retention::NONE
    };
    let rolls = rolls(two, dated("2006-01-02", false, true));
    let mut file = open(&path, &rolls, &clock);
    for day in 22..=26 {
        file.write(format!("day {day}\n").as_bytes()).unwrap();
        age(file.path(), &format!("2026-11-{day}T06:00:00Z"));
        clock.advance(Duration::from_hours(24));
    }
    expect(
        dir.path(),
        &[
            ("f.log.2026-11-24", "day 24\n"),
            ("f.log.2026-11-25", "day 25\n"),
            ("f.log.2026-11-26", "day 26\n"),
        ],
    );
}

#[test]
fn numbers_that_grow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    for name in ["f.log.7", "f.log.a", "f.log.1b"] {
        fs::write(dir.path().join(name), "before\n").unwrap();
    }
    let some = Retention {
        size: Some(5),
        files: Some(2),
        ..Retention::NONE
    };
    let mut file = open(
        &path,
        &rolls(some, Naming::Growing { prefix: false }),
        &clock(),
    );
    for n in 1..=4 {
        file.write(format!("new{n}\n").as_bytes()).unwrap();
    }
    expect(
        dir.path(),
        &[
            ("f.log", "new4\n"),
            ("f.log.10", "new3\n"),
            ("f.log.9", "new2\n"),
            ("f.log.a", "before\n"),
            ("f.log.1b", "before\n"),
        ],
    );
}

#[test]
fn rolled_files_are_compressed_and_move_up_all_the_same() {
    for compression in Compression::ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.log");
        // One that an earlier run left, and half of one.
        fs::write(dir.path().join("f.log.1"), "left\n").unwrap();
        fs::write(dir.path().join(".f.log.4194305.7.part"), "half").unwrap();
        let suffix = compression.suffix();
        let some = Retention {
            size: Some(5),
            files: Some(3),
            compress: Some(compression),
            ..Retention::NONE
        };
        let mut file = open(&path, &some.into(), &clock());
        wait_for(dir.path(), &["f.log", &format!("f.log.1{suffix}")]);
        for n in 1..=2 {
            file.write(format!("new{n}\n").as_bytes()).unwrap();
        }
        let (one, two) = (format!("f.log.1{suffix}"), format!("f.log.2{suffix}"));
        wait_for(dir.path(), &["f.log", &one, &two]);
        expect(
            dir.path(),
            &[("f.log", "new2\n"), (&one, "new1\n"), (&two, "left\n")],
        );
        // Faster than it compresses.
        for n in 3..=40 {
            file.write(format!("{n:4}\n").as_bytes()).unwrap();
        }
        let three = format!("f.log.3{suffix}");
        wait_for(dir.path(), &["f.log", &one, &two, &three]);
        expect(
            dir.path(),
            &[
                ("f.log", "  40\n"),
                (&one, "  39\n"),
                (&two, "  38\n"),
                (&three, "  37\n"),
            ],
        );
        assert_eq!(file.take_notices(), []);
    }
}

/// A roll that fails, and a file that cannot be compressed, lose nothing (D1, D3).
#[test]
fn what_cannot_be_compressed_stays_as_it_is_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let some = Retention {
        size: Some(5),
        compress: Some(Compression::Gzip),
        ..Retention::NONE
    };
    let mut file = open(&path, &some.into(), &clock());
    file.write(b"one1\n").unwrap();
    // Where the compressed one begins, there is something in the way.
    let inode = fs::metadata(&path).unwrap().ino();
    let part = format!(".f.log.{}.{inode}.part", std::process::id());
    fs::create_dir(dir.path().join(part)).unwrap();
    file.write(b"two2\n").unwrap();
    let end = Instant::now() + PATIENCE;
    let said = loop {
        let said = file.take_notices();
        if !said.is_empty() {
            break said[0].text.clone();
        }
        assert!(Instant::now() < end, "nothing is said");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(said.contains("f.log"), "{said}");
    let all: String = [dir.path().join("f.log.1"), path.clone()]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    assert_eq!(all, "one1\ntwo2\n", "{said}");
}

/// Several processes roll one file: each re-executes this test.
#[test]
fn several_processes_write_and_roll_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let me = std::env::current_exe().unwrap();
    let mut children: Vec<_> = (0..4)
        .map(|number| {
            Command::new(&me)
                .args(["--exact", "rolls::process_that_writes", "--include-ignored"])
                .env("MAINSTAY_LOG_TEST_PATH", &path)
                .env("MAINSTAY_LOG_TEST_NUMBER", number.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let mut lines: Vec<String> = Vec::new();
    for (name, text) in files(dir.path()) {
        if name == ".f.log.lock" {
            continue;
        }
        assert!(text.ends_with('\n'), "{name}");
        lines.extend(text.lines().map(str::to_owned));
    }
    let rolled = fs::read_dir(dir.path()).unwrap().count();
    assert!(rolled > 20, "{rolled}");
    lines.sort_unstable();
    let mut expected: Vec<String> = (0..4)
        .flat_map(|process| (0..2000).map(move |n| line(process, n)))
        .collect();
    expected.sort_unstable();
    assert_eq!(lines.len(), expected.len());
    assert_eq!(lines, expected);
}

fn line(process: u32, n: u32) -> String {
    format!("process {process} line {n} of some length, so that files fill")
}

#[test]
#[ignore = "a part of several_processes_write_and_roll_one_file"]
fn process_that_writes() {
    let Some(path) = std::env::var_os("MAINSTAY_LOG_TEST_PATH").map(PathBuf::from) else {
        return;
    };
    let number = std::env::var("MAINSTAY_LOG_TEST_NUMBER").unwrap();
    let rolls = Rolls {
        shared: true,
        ..Retention {
            size: Some(16 * 1024),
            ..Retention::NONE
        }
        .into()
    };
    let mut file = RollingFile::open_with(path, rolls, Arc::new(SystemClock::new())).unwrap();
    for n in 0..2000 {
        let text = line(number.parse().unwrap(), n) + "\n";
        file.write(text.as_bytes()).unwrap();
    }
    assert_eq!(file.take_notices(), []);
}

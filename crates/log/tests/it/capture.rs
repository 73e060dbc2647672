use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::{Clock as _, ManualClock};
use mainstay_log::{
    Batch, Capture, Config, Finish, Format, Level, LevelSet, Logger, Message, Pattern, Pipeline,
    Progress, RollingFile, Sink, SinkKind, Stream, Surroundings, Unwritten, Value, When,
};
use proptest::prelude::*;

use crate::{clock, everything, keep_all, pipe, put, text};

/// What a route got: program, stream, level, message, fields.
pub(crate) type Seen = (String, Stream, Level, Vec<u8>, Vec<(String, String)>);

#[derive(Clone, Default)]
pub(crate) struct Records(pub(crate) Arc<Mutex<Vec<Seen>>>);

impl Sink for Records {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let record = batch.record().unwrap();
        let Message::Bytes(message) = record.message else {
            return Ok(());
        };
        self.0.lock().unwrap().push((
            record.program.unwrap().to_owned(),
            record.stream.unwrap(),
            record.level,
            message.to_vec(),
            record
                .fields
                .iter()
                .map(|(key, value)| ((*key).to_owned(), format!("{value:?}")))
                .collect(),
        ));
        Ok(())
    }
}

impl Records {
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|seen| seen.3.clone())
            .collect()
    }
}

/// A logger whose one route takes what `web` prints, at these levels.
pub(crate) fn routed(clock: Arc<ManualClock>, levels: LevelSet) -> (Logger, Records) {
    let records = Records::default();
    let mut config = Config::new("/nowhere", TimeZone::UTC);
    let when = When {
        levels,
        programs: vec![Pattern::new("web")],
        ..When::default()
    };
    let sink = SinkKind::Custom { name: "r".into() };
    config.route("r", when, sink, Format::short());
    let mut surroundings = Surroundings::new(clock);
    surroundings
        .custom
        .push(("r".into(), Box::new(records.clone())));
    (
        Logger::new(Pipeline::build(&config, surroundings).unwrap()),
        records,
    )
}

fn file(path: &Path, size: u64) -> RollingFile {
    RollingFile::open(path, keep_all(size), clock()).unwrap()
}

#[test]
fn bytes_to_the_file_and_lines_to_the_routes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let (logger, records) = routed(clock(), LevelSet::ALL);
    let mut capture = Capture::new("web", Stream::Stderr, file(&path, 1000), Some(logger));
    let (read, write) = pipe();
    assert_eq!(capture.on_readable(read.as_fd()), Progress::Wait);
    for bytes in [b"one\ntw".as_slice(), b"o\r\n", b"\xff\n", b"par", b"tial"] {
        put(&write, bytes);
        while capture.on_readable(read.as_fd()) == Progress::More {}
    }
    assert_eq!(records.lines(), [b"one".as_slice(), b"two", b"\xff"]);
    put(&write, b" end");
    assert_eq!(capture.finish(read.as_fd()), Finish::Done);
    drop(write);
    assert_eq!(capture.on_readable(read.as_fd()), Progress::Ended);
    assert_eq!(records.lines().last().unwrap(), b"partial end");
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\r\n\xff\npartial end");
    let first = records.0.lock().unwrap()[0].clone();
    assert_eq!(
        first,
        (
            "web".into(),
            Stream::Stderr,
            Level::Warn,
            b"one".to_vec(),
            vec![]
        )
    );
    assert_eq!(capture.next_tick(), None, "an idle stream wakes nobody");
    assert_eq!(capture.take_notices(), []);
    assert_eq!(capture.lost(), 0);
}

#[test]
fn streams_that_no_route_asks_for_are_only_moved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let (read, write) = pipe();
    for (program, stream, levels) in [
        ("db", Stream::Stdout, LevelSet::ALL),
        ("web", Stream::Stdout, LevelSet::from(Level::Warn)),
    ] {
        let (logger, records) = routed(clock(), levels);
        let mut capture = Capture::new(program, stream, file(&path, 1000), Some(logger));
        put(&write, b"quiet\n");
        capture.on_readable(read.as_fd());
        assert_eq!(records.lines().len(), 0);
    }
    assert_eq!(text(&path), "quiet\nquiet\n");
}

#[test]
fn a_long_line_comes_in_marked_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let (logger, records) = routed(clock(), LevelSet::ALL);
    let mut capture = Capture::new("web", Stream::Stdout, file(&path, 1 << 30), Some(logger));
    let (read, write) = pipe();
    let line = "0123456789".repeat(15_000);
    let writer = std::thread::spawn(move || {
        put(&write, line.as_bytes());
        put(&write, b"\nshort\n");
    });
    loop {
        if capture.on_readable(read.as_fd()) == Progress::Ended {
            break;
        }
        std::thread::yield_now();
    }
    writer.join().unwrap();
    let seen = records.0.lock().unwrap().clone();
    let fields: Vec<String> = seen.iter().map(|seen| format!("{:?}", seen.4)).collect();
    let part = |n: u64| format!("(\"part\", \"{:?}\")", Value::Unsigned(n));
    assert_eq!(
        fields,
        [
            format!("[{}, (\"more\", \"true\")]", part(1)),
            format!("[{}, (\"more\", \"true\")]", part(2)),
            format!("[{}]", part(3)),
            "[]".into(),
        ]
    );
    assert_eq!(seen.iter().map(|seen| seen.3.len()).sum::<usize>(), 150_005);
    assert_eq!(fs::metadata(&path).unwrap().len(), 150_007);
}

/// Programs write while the file rolls; routes and file get the same.
#[test]
fn a_fast_program_loses_nothing_over_many_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let (logger, records) = routed(clock(), LevelSet::ALL);
    let mut capture = Capture::new("web", Stream::Stdout, file(&path, 50_000), Some(logger));
    let (read, write) = pipe();
    let expected: String = (0..60_000).fold(String::new(), |mut all, n| {
        use std::fmt::Write as _;
        writeln!(all, "line {n} {}", "x".repeat(n % 40)).unwrap();
        all
    });
    let bytes = expected.clone();
    let writer = std::thread::spawn(move || {
        let mut out = io::LineWriter::with_capacity(700, write);
        out.write_all(bytes.as_bytes()).unwrap();
        out.flush().unwrap();
    });
    loop {
        match capture.on_readable(read.as_fd()) {
            Progress::Ended => break,
            Progress::Wait | Progress::Undecided => std::thread::yield_now(),
            Progress::More => {}
            Progress::Stuck => panic!("{:?}", capture.take_notices()),
        }
    }
    writer.join().unwrap();
    assert!(
        everything(&path) == expected.as_bytes(),
        "the files are not what was written"
    );
    let lines = records.lines();
    assert!(
        lines
            .iter()
            .map(Vec::as_slice)
            .eq(expected.lines().map(str::as_bytes))
    );
    for path in crate::family(&path) {
        assert_eq!(fs::read(path).unwrap().last(), Some(&b'\n'));
    }
}

const TARGET: &str = "MAINSTAY_TEST_CAPTURE";

/// The captor of the next test, in a process of its own that will be killed: its standard input is
/// the pipe.
#[test]
#[ignore = "run by the test after it"]
fn captor() {
    let path = std::env::var_os(TARGET).unwrap();
    let clock = Arc::new(mainstay_base::SystemClock::new());
    let file = RollingFile::open(path, keep_all(30_000), clock).unwrap();
    let mut capture = Capture::new("web", Stream::Stdout, file, None);
    while capture.on_readable(io::stdin().as_fd()) != Progress::Ended {}
}

/// Killed at any moment, the captor has lost nothing: what is not in the file is in the pipe.
#[test]
fn killing_the_captor_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let (read, write) = pipe();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                put(&write, format!("line {count}\n").as_bytes());
                count += 1;
            }
            count
        }
    });
    for round in 0..12_u64 {
        let mut captor = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "capture::captor", "--ignored"])
            .env(TARGET, &path)
            .stdin(read.try_clone().unwrap())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until it has done something in this round, and then a little, never the same.
        let mark = |path: &Path| {
            fs::metadata(path)
                .map(|m| (m.len(), m.modified().ok()))
                .ok()
        };
        let before = mark(&path);
        while mark(&path) == before && captor.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(round * 997));
        captor.kill().unwrap();
        captor.wait().unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut capture = Capture::new("web", Stream::Stdout, file(&path, 30_000), None);
    while capture.on_readable(read.as_fd()) != Progress::Ended {}
    let count: usize = writer.join().unwrap();
    let mut next = 0;
    // A number that is missing was being made when the captor died.
    let mut files: Vec<std::path::PathBuf> = (1..20_000)
        .rev()
        .map(|number| dir.path().join(format!("web.log.{number}")))
        .filter(|path| path.exists())
        .collect();
    files.push(path);
    assert!(files.len() > 12, "{} files", files.len());
    for path in files {
        for line in text(&path).lines() {
            assert_eq!(line, format!("line {next}"), "{}", path.display());
            next += 1;
        }
    }
    assert_eq!(next, count);
}

/// A file that never takes anything: the program goes on, and every byte is accounted for.
#[test]
fn a_file_that_cannot_be_written_holds_nobody_up() {
    let clock = clock();
    let (logger, records) = routed(clock.clone(), LevelSet::ALL);
    let file = RollingFile::open("/dev/full", keep_all(1000), clock.clone()).unwrap();
    let mut capture = Capture::new("web", Stream::Stdout, file, Some(logger));
    let (read, write) = pipe();
    let total = 500_000;
    let writer = std::thread::spawn(move || {
        for n in 0..total / 10 {
            put(&write, format!("{n:09}\n").as_bytes());
        }
    });
    let mut stuck = 0;
    while !writer.is_finished() {
        match capture.on_readable(read.as_fd()) {
            Progress::Stuck => {
                stuck += 1;
                assert!(capture.next_tick().is_some());
                clock.advance(Duration::from_millis(50));
            }
            _ => std::thread::yield_now(),
        }
    }
    writer.join().unwrap();
    assert!(stuck > 0);
    let Finish::Held(held) = capture.finish(read.as_fd()) else {
        panic!("nothing can have been written");
    };
    assert_eq!(capture.lost() + held as u64, total);
    assert_eq!(capture.give_up(read.as_fd()), total);
    assert_eq!(capture.lost(), total);
    assert_eq!(
        records.lines().len() as u64,
        total / 10,
        "the routes got every line once"
    );
    let notices = capture.take_notices();
    assert!(
        notices[0].text.contains("no space left on device"),
        "{notices:?}"
    );
    let last = &notices.last().unwrap().text;
    assert!(
        last.starts_with("500000 bytes of output lost between 2026-11-22T06:00:00.000Z and"),
        "{last}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_pieces_reach_file_and_routes(
        pieces in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just(b'\n'), b'a'..=b'e', any::<u8>()], 1..30),
            1..30,
        ),
        size in 1_u64..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let (logger, records) = routed(clock(), LevelSet::ALL);
        let mut capture = Capture::new("web", Stream::Stdout, file(&path, size), Some(logger));
        let (read, write) = pipe();
        let all: Vec<u8> = pieces.concat();
        for piece in &pieces {
            put(&write, piece);
            while capture.on_readable(read.as_fd()) == Progress::More {}
        }
        prop_assert_eq!(capture.finish(read.as_fd()), Finish::Done);
        prop_assert_eq!(everything(&path), all.clone());
        let mut expected: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
        if expected.last().is_some_and(|line| line.is_empty()) {
            expected.pop();
        }
        // A carriage return before a line feed belongs to the line end.
        let expected: Vec<&[u8]> = expected
            .into_iter()
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .collect();
        prop_assert_eq!(records.lines(), expected);
    }
}

#[test]
fn routes_get_records_with_the_level_that_they_show() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let clock = clock();
    let (logger, records) = routed(Arc::clone(&clock), LevelSet::from(Level::Warn));
    let rolling = RollingFile::open(&path, keep_all(1 << 20), clock.clone()).unwrap();
    let mut capture = Capture::new("web", Stream::Stdout, rolling, Some(logger));
    let (read, write) = pipe();
    let said = "{\"level\":30,\"msg\":\"an error\"}\n{\"level\":50,\"msg\":\"no\"}\nplain\n\
                2026-01-02 15:04:05,123 - app - ERROR - lost\nTraceback (most recent call last):\n  File \"x\"\n";
    put(&write, said.as_bytes());
    assert_eq!(capture.next_flush(), None);
    while capture.on_readable(read.as_fd()) == Progress::More {}
    let level = |at: usize| records.0.lock().unwrap()[at].2;
    assert_eq!(records.lines(), [b"{\"level\":50,\"msg\":\"no\"}"]);
    assert_eq!(level(0), Level::Error);
    // The rest comes in time.
    clock.advance(Duration::from_millis(200));
    put(&write, b"ValueError: bad\n");
    while capture.on_readable(read.as_fd()) == Progress::More {}
    let wake = capture.next_flush().unwrap();
    assert_eq!(wake, clock.monotonic() + Duration::from_millis(300));
    capture.flush_due();
    assert_eq!(records.lines().len(), 1, "it is not over yet");
    clock.advance(Duration::from_millis(300));
    capture.flush_due();
    assert_eq!(capture.next_flush(), None, "an idle stream wakes nobody");
    assert_eq!(
        records.lines()[1],
        b"2026-01-02 15:04:05,123 - app - ERROR - lost\nTraceback (most recent call last):\n  File \"x\"\nValueError: bad"
    );
    assert_eq!(level(1), Level::Error);
    // What is open when the capture ends is handed on.
    put(&write, b"WARN: one\n  two\npar");
    while capture.on_readable(read.as_fd()) == Progress::More {}
    capture.flush();
    put(&write, b"ERROR: three\n");
    while capture.on_readable(read.as_fd()) == Progress::More {}
    drop(capture);
    assert_eq!(
        records.lines()[2..],
        [b"WARN: one\n  two".as_slice(), b"ERROR: three"]
    );
    assert_eq!(
        text(&path),
        format!("{said}ValueError: bad\nWARN: one\n  two\nparERROR: three\n")
    );
}

#[test]
fn line_by_line_nothing_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, records) = routed(clock(), LevelSet::ALL);
    let file = file(&dir.path().join("web.log"), 1 << 20);
    let mut capture = Capture::new("web", Stream::Stdout, file, Some(logger)).line_by_line();
    let (read, write) = pipe();
    put(&write, b"ERROR: one\n  two\n");
    while capture.on_readable(read.as_fd()) == Progress::More {}
    assert_eq!(records.lines(), [b"ERROR: one".as_slice(), b"  two"]);
    assert!(
        records
            .0
            .lock()
            .unwrap()
            .iter()
            .all(|seen| seen.2 == Level::Info)
    );
    assert_eq!(capture.next_flush(), None);
}

//! What an inspector keeps and drops, against real pipes and files.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_log::{Capture, Finish, Inspect, LevelSet, Progress, RollingFile, Stream, Verdict};
use mainstay_sys::epoll::{Epoll, Events, Interest};
use proptest::prelude::*;

use crate::capture::routed;
use crate::{clock, everything, family, keep_all, pipe, put, text};

const MARKER: &[u8] = b"<!--marker-->";

/// Drops every [`MARKER`], also one that comes in pieces.
fn markers(ahead: &[u8], last: bool) -> Verdict {
    let at = ahead
        .windows(MARKER.len())
        .position(|window| window == MARKER);
    match at {
        Some(0) => Verdict::Drop(MARKER.len()),
        Some(at) => Verdict::Keep(at),
        None if last => Verdict::Keep(ahead.len()),
        None => {
            let begun = (1..MARKER.len().min(ahead.len() + 1))
                .rev()
                .find(|length| ahead.ends_with(&MARKER[..*length]))
                .unwrap_or(0);
            match ahead.len() - begun {
                0 => Verdict::Wait,
                whole => Verdict::Keep(whole),
            }
        }
    }
}

fn capture(path: &Path, size: u64) -> Capture {
    let file = RollingFile::open(path, keep_all(size), clock()).unwrap();
    Capture::new("web", Stream::Stdout, file, None)
}

/// Reads until there is nothing to do; what that came to.
fn read_all(capture: &mut Capture, pipe: &impl AsFd) -> Progress {
    loop {
        match capture.on_readable(pipe.as_fd()) {
            Progress::More => {}
            other => return other,
        }
    }
}

#[test]
fn kept_and_dropped_and_waited_for() {
    use Progress::{Undecided, Wait};
    type Steps = [(&'static str, Progress, &'static str)];
    // A name, then what is written, what that comes to, and what is in the file then.
    let table: [(&str, &Steps, &str); 6] = [
        ("nothing to drop", &[("a\nb", Wait, "a\nb")], "a\nb"),
        ("a marker at once", &[("a<!--marker-->b", Wait, "ab")], "ab"),
        (
            "only markers",
            &[("<!--marker--><!--marker-->", Wait, "")],
            "",
        ),
        (
            "a marker in three pieces",
            &[
                ("a<!--m", Undecided, "a"),
                ("arke", Undecided, "a"),
                ("r-->b", Wait, "ab"),
            ],
            "ab",
        ),
        (
            "what looked like one",
            &[("a<!--", Undecided, "a"), ("x", Wait, "a<!--x")],
            "a<!--x",
        ),
        (
            "one that never ends is output",
            &[("a<!--mark", Undecided, "a")],
            "a<!--mark",
        ),
    ];
    for (name, steps, end) in table {
        for hangs_up in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("web.log");
            let (logger, records) = routed(clock(), LevelSet::ALL);
            let file = RollingFile::open(&path, keep_all(1000), clock()).unwrap();
            let mut capture = Capture::new("web", Stream::Stdout, file, Some(logger))
                .inspected(|| Box::new(markers));
            let (read, write) = pipe();
            for (bytes, progress, expected) in steps {
                put(&write, bytes.as_bytes());
                assert_eq!(read_all(&mut capture, &read), *progress, "{name}");
                assert_eq!(text(&path), *expected, "{name}");
            }
            if hangs_up {
                drop(write);
                assert_eq!(read_all(&mut capture, &read), Progress::Ended, "{name}");
                assert_eq!(text(&path), end, "{name}");
            }
            assert_eq!(capture.finish(read.as_fd()), Finish::Done, "{name}");
            assert_eq!(text(&path), end, "{name}");
            let lines: Vec<&[u8]> = end.as_bytes().split(|byte| *byte == b'\n').collect();
            let lines: Vec<&[u8]> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            assert_eq!(
                records.lines(),
                lines,
                "{name}: the routes get what is kept"
            );
        }
    }
}

/// What the supervisor does with [`Progress::Undecided`]: one more turn, then sleep until bytes come.
#[test]
fn waiting_for_more_wakes_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let mut capture = capture(&path, 1000).inspected(|| Box::new(markers));
    let (read, write) = pipe();
    let epoll = Epoll::new().unwrap();
    epoll.add(&read, 1, Interest::READ).unwrap();
    let mut events = Events::with_capacity(4);
    put(&write, b"a<!--");
    assert_eq!(read_all(&mut capture, &read), Progress::Undecided);
    epoll.modify(&read, 1, Interest::READ_EDGE).unwrap();
    let mut turns = 0;
    loop {
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        if events.is_empty() {
            break;
        }
        turns += 1;
        assert_eq!(read_all(&mut capture, &read), Progress::Undecided);
        assert!(turns < 3);
    }
    for (bytes, expected) in [("mark", "a"), ("er--><", "a")] {
        put(&write, bytes.as_bytes());
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!events.is_empty(), "an edge for {bytes}");
        assert_eq!(read_all(&mut capture, &read), Progress::Undecided);
        assert_eq!(text(&path), expected);
    }
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    drop(write);
    epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(!events.is_empty(), "an edge for the end");
    assert_eq!(read_all(&mut capture, &read), Progress::Ended);
    assert_eq!(text(&path), "a<");
}

/// An inspector that never decides holds neither the program nor its output up.
#[test]
fn what_cannot_be_decided_is_kept_when_the_pipe_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    for (pipe_size, total) in [(64 * 1024, 300_000), (1 << 20, 3_000_000)] {
        let mut capture =
            capture(&path, 1 << 40).inspected(|| Box::new(|_: &[u8], _: bool| Verdict::Wait));
        capture.clear().unwrap();
        let (read, write) = pipe();
        rustix::pipe::fcntl_setpipe_size(&read, pipe_size).unwrap();
        let writer = std::thread::spawn(move || {
            for n in 0..total / 10 {
                put(&write, format!("{n:09}\n").as_bytes());
            }
        });
        loop {
            match capture.on_readable(read.as_fd()) {
                Progress::Ended => break,
                Progress::More => {}
                _ => std::thread::yield_now(),
            }
        }
        writer.join().unwrap();
        let all = text(&path);
        assert_eq!(all.len(), total);
        assert!(
            all.lines()
                .enumerate()
                .all(|(n, line)| line == format!("{n:09}"))
        );
    }
}

#[test]
fn files_end_between_lines_of_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let mut capture = capture(&path, 100).inspected(|| Box::new(markers));
    let (read, write) = pipe();
    let mut expected = String::new();
    for n in 0..300 {
        use std::fmt::Write as _;
        put(
            &write,
            format!("li<!--marker-->ne <!--marker-->{n}").as_bytes(),
        );
        if n % 3 == 0 {
            read_all(&mut capture, &read);
        }
        put(&write, b"<!--marker-->\n<!--marker-->");
        writeln!(expected, "line {n}").unwrap();
    }
    assert_eq!(capture.finish(read.as_fd()), Finish::Done);
    assert_eq!(String::from_utf8(everything(&path)).unwrap(), expected);
    let files = family(&path);
    assert!(files.len() > 20);
    for path in files {
        let text = text(path);
        assert!(text.ends_with('\n'));
        assert!(text.len() < 120);
    }
}

/// Tells what its pipe said, and when that ended.
struct Told(Vec<u8>, Arc<Mutex<Vec<String>>>);

impl Inspect for Told {
    fn inspect(&mut self, ahead: &[u8], _: bool) -> Verdict {
        self.0.extend_from_slice(ahead);
        Verdict::Drop(ahead.len())
    }

    fn finish(&mut self) {
        let told = String::from_utf8(std::mem::take(&mut self.0)).unwrap();
        self.1.lock().unwrap().push(told);
    }
}

#[test]
fn each_pipe_has_an_inspector_of_its_own() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let mut capture = Capture::discarding("web", Stream::Stdout, clock(), None)
        .inspected(move || Box::new(Told(Vec::new(), Arc::clone(&log))));
    let (first, to_first) = pipe();
    let (second, to_second) = pipe();
    for (write, bytes) in [(&to_first, "a"), (&to_second, "1"), (&to_first, "b")] {
        put(write, bytes.as_bytes());
        read_all(&mut capture, &first);
        read_all(&mut capture, &second);
    }
    capture.finish(first.as_fd());
    put(&to_second, b"2");
    capture.finish(second.as_fd());
    assert_eq!(*told.lock().unwrap(), ["ab", "12"]);
}

#[test]
fn without_a_file_the_routes_get_all_the_same() {
    for inspected in [false, true] {
        let (logger, records) = routed(clock(), LevelSet::ALL);
        let mut capture = Capture::discarding("web", Stream::Stdout, clock(), Some(logger));
        if inspected {
            capture = capture.inspected(|| Box::new(markers));
        }
        let (read, write) = pipe();
        put(&write, b"one\ntwo\n");
        assert_eq!(read_all(&mut capture, &read), Progress::Wait);
        put(&write, b"three");
        assert_eq!(capture.finish(read.as_fd()), Finish::Done);
        assert_eq!(records.lines(), [b"one".as_slice(), b"two", b"three"]);
        drop(write);
        assert_eq!(read_all(&mut capture, &read), Progress::Ended);
        capture.clear().unwrap();
        capture.reopen().unwrap();
        assert!(capture.file().is_none());
        assert_eq!(capture.take_notices(), []);
    }
}

#[test]
fn only_kept_bytes_count_as_lost() {
    let clock = clock();
    let (logger, records) = routed(clock.clone(), LevelSet::ALL);
    let file = RollingFile::open("/dev/full", keep_all(1000), clock.clone()).unwrap();
    let mut capture =
        Capture::new("web", Stream::Stdout, file, Some(logger)).inspected(|| Box::new(markers));
    let (read, write) = pipe();
    let lines = 50_000_u64;
    let writer = std::thread::spawn(move || {
        for n in 0..lines {
            put(&write, format!("{n:09}<!--marker-->\n").as_bytes());
        }
    });
    while !writer.is_finished() {
        if capture.on_readable(read.as_fd()) == Progress::Stuck {
            clock.advance(Duration::from_millis(50));
        }
    }
    writer.join().unwrap();
    assert!(matches!(capture.finish(read.as_fd()), Finish::Held(_)));
    assert_eq!(capture.give_up(read.as_fd()), lines * 10);
    assert_eq!(records.lines().len() as u64, lines);
}

const TARGET: &str = "MAINSTAY_TEST_INSPECT";

/// The captor of the next test, in a process of its own that will be killed: its standard input is
/// the pipe.
#[test]
#[ignore = "run by the test after it"]
fn captor() {
    let path = std::env::var_os(TARGET).unwrap();
    let clock = Arc::new(mainstay_base::SystemClock::new());
    let file = RollingFile::open(path, keep_all(30_000), clock).unwrap();
    let mut capture =
        Capture::new("web", Stream::Stdout, file, None).inspected(|| Box::new(markers));
    while capture.on_readable(io::stdin().as_fd()) != Progress::Ended {}
}

/// Killed at any moment, the captor has lost and doubled nothing, and let no piece of a marker through.
#[test]
fn killing_the_captor_changes_nothing_of_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let (read, write) = pipe();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut n = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            put(
                &write,
                format!("<!--marker-->li<!--marker-->ne <!--marker-->{n}\n").as_bytes(),
            );
            n += 1;
        }
        n
    });
    for round in 0..30_u64 {
        let mut captor = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "inspect::captor"])
            .env(TARGET, &path)
            .stdin(read.try_clone().unwrap())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until it has begun its work, and then some more or less.
        let before = size(&path);
        while size(&path) == before {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(round * 997));
        captor.kill().unwrap();
        captor.wait().unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut capture = capture(&path, 30_000).inspected(|| Box::new(markers));
    while capture.on_readable(read.as_fd()) != Progress::Ended {}
    let count: usize = writer.join().unwrap();
    let all = String::from_utf8(everything(&path)).unwrap();
    let mut next = 0;
    for line in all.lines() {
        assert_eq!(line, format!("line {next}"));
        next += 1;
    }
    assert_eq!(next, count);
}

fn size(path: &Path) -> u64 {
    // Of the current file and how often it rolled.
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    let rolled = fs::read_dir(path.parent().unwrap()).unwrap().count() as u64;
    size + (rolled << 32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_file_is_the_kept_runs(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..30),
        verdicts in prop::collection::vec((0..3_u8, 0..50_usize), 1..20),
        size in 1_u64..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        // What was kept, and all that was decided on.
        let ledger = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let (book, mut turn) = (Arc::clone(&ledger), 0);
        let inspector = move |ahead: &[u8], last: bool| {
            let (kind, bytes) = verdicts[turn % verdicts.len()];
            turn += 1;
            let verdict = match kind {
                0 => Verdict::Keep(bytes),
                1 => Verdict::Drop(bytes),
                _ => Verdict::Wait,
            };
            let (kept, all) = &mut *book.lock().unwrap();
            let run = match verdict {
                Verdict::Wait if last => ahead,
                Verdict::Wait => &[],
                _ => &ahead[..bytes.clamp(1, ahead.len())],
            };
            all.extend_from_slice(run);
            if verdict != Verdict::Drop(bytes) {
                kept.extend_from_slice(run);
            }
            verdict
        };
        let mut inspector = Some(inspector);
        let mut capture = capture(&path, size)
            .inspected(move || Box::new(inspector.take().expect("there is one pipe")));
        let (read, write) = pipe();
        for piece in &pieces {
            put(&write, piece);
            read_all(&mut capture, &read);
        }
        prop_assert_eq!(capture.finish(read.as_fd()), Finish::Done);
        let (kept, all) = ledger.lock().unwrap().clone();
        prop_assert_eq!(all, pieces.concat());
        prop_assert_eq!(everything(&path), kept);
    }
}

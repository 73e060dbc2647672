use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_base::SystemClock;
use mainstay_log::seelog::DateLayout;
use mainstay_log::{Compression, LogFile, Naming, Retention, RollingFile, Rolls, Tail};

use crate::{keep_all, open, pipe, put, splice_all};

fn new(tail: &mut Tail) -> String {
    let mut out = Vec::new();
    while tail.read_new(&mut out).unwrap() > 0 {}
    String::from_utf8(out).unwrap()
}

fn named(path: &std::path::Path, naming: &Naming) -> LogFile {
    LogFile {
        naming: naming.clone(),
        ..path.into()
    }
}

fn last(tail: &mut Tail, count: usize) -> String {
    String::from_utf8(tail.last_lines(count).unwrap()).unwrap()
}

#[test]
fn the_last_lines_over_rolled_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(20));
    for n in 1..=20 {
        file.write(format!("line {n}\n").as_bytes()).unwrap();
    }
    file.write(b"unfinished").unwrap();
    let mut tail = Tail::open(&path).unwrap();
    for count in [0_usize, 1, 2, 3, 7, 19, 20, 21, usize::MAX] {
        let expected: String = (1..=20_usize)
            .skip(20_usize.saturating_sub(count))
            .map(|n| format!("line {n}\n"))
            .collect();
        assert_eq!(last(&mut tail, count), expected, "{count}");
    }
    assert_eq!(new(&mut tail), "");
    file.write(b", now finished\nmore\n").unwrap();
    assert_eq!(new(&mut tail), "unfinished, now finished\nmore\n");
    file.write(b"again unfinished").unwrap();
    assert_eq!(new(&mut tail), "");
    assert_eq!(tail.take_partial(), b"again unfinished");
    assert_eq!(tail.gaps(), 0);
}

#[test]
fn lines_that_were_cut_are_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(10));
    let long = "0123456789abcdefghijklmnopqrstuvwxyz\n";
    file.write(format!("first\n{long}last\n").as_bytes())
        .unwrap();
    let mut tail = Tail::open(&path).unwrap();
    assert_eq!(last(&mut tail, 2), format!("{long}last\n"));
    file.write(format!("{long}{long}").as_bytes()).unwrap();
    assert_eq!(new(&mut tail), format!("{long}{long}"));
}

#[test]
fn a_file_that_comes_later_and_one_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let mut tail = Tail::open(&path).unwrap();
    assert_eq!(last(&mut tail, 5), "");
    assert_eq!(new(&mut tail), "");
    fs::write(&path, "here\n").unwrap();
    assert_eq!(new(&mut tail), "here\n");
    assert!(
        Tail::open(dir.path())
            .unwrap_err()
            .to_string()
            .contains("no plain file")
    );
}

#[test]
fn rolled_several_times_between_two_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(8));
    file.write(b"0\n").unwrap();
    let mut tail = Tail::open(&path).unwrap();
    let lines: String = (1..40).map(|n| format!("{n}\n")).collect();
    file.write(lines.as_bytes()).unwrap();
    assert_eq!(new(&mut tail), lines);
    assert_eq!(last(&mut tail, 3), "37\n38\n39\n");
    assert_eq!(tail.gaps(), 0);
}

#[test]
fn files_deleted_before_they_were_read_are_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(
        &path,
        Retention {
            files: Some(1),
            ..keep_all(4)
        },
    );
    file.write(b"0\n").unwrap();
    let mut tail = Tail::open(&path).unwrap();
    assert_eq!(new(&mut tail), "");
    // So that the files that follow are newer by the file system's coarse clock.
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let probe = dir.path().join("probe");
    loop {
        fs::write(&probe, "x").unwrap();
        if fs::metadata(&probe).unwrap().modified().unwrap() > before + Duration::from_millis(20) {
            break;
        }
    }
    file.write(b"1\n").unwrap();
    let later = fs::metadata(&path).unwrap().modified().unwrap();
    for n in 2..=9 {
        loop {
            fs::write(&probe, "x").unwrap();
            if fs::metadata(&probe).unwrap().modified().unwrap() > later {
                break;
            }
        }
        file.write(format!("{n}\n").as_bytes()).unwrap();
    }
    let got = new(&mut tail);
    assert!(
        got.starts_with("1\n"),
        "the held file is read to its end: {got}"
    );
    assert!(got.ends_with("8\n9\n"), "{got}");
    assert_eq!(tail.gaps(), 1);
}

#[test]
fn truncation_and_moving_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let mut other = fs::File::options()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    other.write_all(b"one\ntwo\n").unwrap();
    let mut tail = Tail::open(&path).unwrap();
    other.set_len(0).unwrap();
    other.write_all(b"3\n").unwrap();
    assert_eq!(new(&mut tail), "3\n");
    // As logrotate does it: moved, a new one made, and the writer goes on for a moment.
    fs::rename(&path, dir.path().join("f.log-20261122")).unwrap();
    let mut next = fs::File::options()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    assert_eq!(new(&mut tail), "");
    other.write_all(b"late\n").unwrap();
    assert_eq!(new(&mut tail), "late\n");
    other.write_all(b"later\n").unwrap();
    next.write_all(b"new\n").unwrap();
    assert_eq!(new(&mut tail), "later\nnew\n");
    fs::remove_file(&path).unwrap();
    assert_eq!(new(&mut tail), "");
    fs::write(&path, "after\n").unwrap();
    assert_eq!(new(&mut tail), "after\n");
}

fn by_date(layout: &str, current: bool) -> Naming {
    Naming::Dated {
        layout: Arc::new(DateLayout::compile(layout)),
        prefix: false,
        current,
    }
}

fn rolls(naming: &Naming, size: u64, compress: Option<Compression>) -> Rolls {
    Rolls {
        naming: naming.clone(),
        ..Rolls::from(Retention {
            compress,
            ..keep_all(size)
        })
    }
}

fn is_packed(name: &str) -> bool {
    let ending = std::path::Path::new(name).extension();
    ending.is_some_and(|ending| ending == "gz" || ending == "zst")
}

/// However rolled files are called and compressed, the last lines are found and what is new is read on.
#[test]
fn all_names_and_compressions() {
    let namings = [
        Naming::Shifted,
        Naming::Growing { prefix: false },
        Naming::Growing { prefix: true },
        by_date("2006-01-02", false),
        by_date("2006-01-02", true),
    ];
    for naming in namings {
        for compress in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
            let what = format!("{naming:?} {compress:?}");
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f.log");
            let clock = crate::clock();
            let rolls = rolls(&naming, 20, compress);
            let mut file = RollingFile::open_with(&path, rolls, clock).unwrap();
            let lines = |range: std::ops::Range<usize>| -> String {
                range.map(|n| format!("line {n}\n")).collect()
            };
            file.write(lines(0..30).as_bytes()).unwrap();
            let packed = |dir: &std::path::Path| {
                let names = fs::read_dir(dir).unwrap();
                let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
                names.filter(|name| is_packed(name)).count()
            };
            let files = || fs::read_dir(dir.path()).unwrap().count();
            if compress.is_some() {
                crate::sinks::wait_until(&what, || packed(dir.path()) + 1 == files());
            }
            let mut tail = Tail::open(named(&path, &naming)).unwrap();
            for count in [0, 1, 2, 3, 4, 15, 29, 30, 31] {
                let expected = lines(30_usize.saturating_sub(count)..30);
                assert_eq!(last(&mut tail, count), expected, "{what}: {count}");
            }
            file.write(lines(30..60).as_bytes()).unwrap();
            if compress.is_some() {
                crate::sinks::wait_until(&what, || packed(dir.path()) + 1 == files());
            }
            assert_eq!(new(&mut tail), lines(30..60), "{what}");
            assert_eq!(last(&mut tail, 40), lines(20..60), "{what}");
            assert_eq!(tail.gaps(), 0, "{what}");

            // What was rolled is all that is left.
            fs::remove_file(file.path()).unwrap();
            let mut tail = Tail::open(named(&path, &naming)).unwrap();
            let left = last(&mut tail, 100);
            assert!(
                lines(0..60).starts_with(&left) && left.len() > 300,
                "{what}: {left}"
            );
        }
    }
}

/// 100 000 lines through hundreds of rolls, half of them by splice, read while they are written.
#[test]
fn follows_a_fast_writer_and_gets_every_line_once() {
    follow(&Naming::Shifted, None);
}

#[test]
fn follows_over_growing_names_that_are_compressed() {
    follow(&Naming::Growing { prefix: false }, Some(Compression::Gzip));
}

#[test]
fn follows_over_moving_names_that_are_compressed() {
    follow(&Naming::Shifted, Some(Compression::Zstd));
}

#[test]
fn follows_over_dates() {
    follow(&by_date("2006-01-02", false), None);
}

fn follow(naming: &Naming, compress: Option<Compression>) {
    const LINES: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let mut tail = Tail::open(named(&path, naming)).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (path, done) = (path.clone(), done.clone());
        let rolls = rolls(naming, 20_000, compress);
        move || {
            let clock = Arc::new(SystemClock::new());
            let mut file = RollingFile::open_with(&path, rolls, clock).unwrap();
            let (read, write) = pipe();
            for n in 0..LINES {
                let line = format!("line number {n}\n");
                if n / 100 % 2 == 0 {
                    file.write(line.as_bytes()).unwrap();
                } else {
                    put(&write, line.as_bytes());
                    splice_all(&mut file, &read);
                }
            }
            done.store(true, Ordering::Release);
        }
    });
    let mut out = Vec::new();
    let mut expected = 0;
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let last_round = done.load(Ordering::Acquire);
        out.clear();
        let read = tail.read_new(&mut out).unwrap();
        for line in std::str::from_utf8(&out).unwrap().lines() {
            assert_eq!(line, format!("line number {expected}"));
            expected += 1;
        }
        if last_round && read == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{expected} lines so far");
    }
    writer.join().unwrap();
    assert_eq!(expected, LINES);
    assert_eq!(tail.gaps(), 0);
    assert!(fs::read_dir(dir.path()).unwrap().count() > 50);
}

#[test]
fn reading_goes_on_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let resume = |place| Tail::resume(&path, place).unwrap();
    // There is no file yet, so all that comes is new.
    let mut tail = resume(None);
    assert_eq!((new(&mut tail), tail.place()), (String::new(), None));
    let (mut file, _) = open(&path, keep_all(40));
    file.write(b"one\ntwo\nhal").unwrap();
    let mut tail = resume(tail.place());
    assert_eq!(new(&mut tail), "one\ntwo\n");
    let place = tail.place();
    assert_eq!(
        place.map(|place| place.offset),
        Some(8),
        "before the half line"
    );
    file.write(b"f\nthree\n").unwrap();
    let mut tail = resume(place);
    assert_eq!(new(&mut tail), "half\nthree\n");
    // Rolled several times meanwhile.
    let place = tail.place();
    let lines: String = (0..30).map(|n| format!("line {n}\n")).collect();
    for line in lines.split_inclusive('\n') {
        file.write(line.as_bytes()).unwrap();
    }
    let mut tail = resume(place);
    assert_eq!((new(&mut tail), tail.gaps()), (lines, 0));
    // What it was in is gone: the present file is read from its start.
    let gone = mainstay_log::Place {
        identity: (0, 0),
        offset: 7,
    };
    let mut tail = resume(Some(gone));
    let present = fs::read_to_string(&path).unwrap();
    assert_eq!((new(&mut tail), tail.gaps()), (present.clone(), 1));
    // So it is where it has become shorter.
    let place = tail.place().map(|place| mainstay_log::Place {
        offset: place.offset + 1,
        ..place
    });
    let mut tail = resume(place);
    assert_eq!((new(&mut tail), tail.gaps()), (present, 1));
}

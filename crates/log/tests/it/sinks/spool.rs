//! Records that wait on disk.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::{ManualClock, SystemClock};
use mainstay_log::sinks::{Pause, Spool, SpoolConfig};
use mainstay_log::{Batch, Level, Sink, Unwritten};

use super::{Fake, Records, give, give_all, notices, numbers, wait_until};
use crate::clock;
use crate::full::Small;

fn open(dir: &Path, fake: &Fake, bytes: u64) -> (Spool, Arc<ManualClock>) {
    let clock = clock();
    let config = SpoolConfig {
        bytes,
        ..SpoolConfig::new(dir)
    };
    let spool = Spool::open(Box::new(fake.clone()), config, clock.clone()).unwrap();
    (spool, clock)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "spool"))
        .collect();
    found.sort();
    found
}

#[test]
fn records_wait_in_order_and_go_out_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let fake = Fake::default();
    let (mut spool, clock) = open(&path, &fake, 1 << 20);
    give(&mut spool, &mut Records::numbered(0..3, 0)).unwrap();
    assert!(segments(&path).is_empty(), "nothing waits while it works");
    // One whole record and a part of the next.
    fake.set_room(Some(fake.bytes().len() + 12));
    let mut records = Records::default();
    for (number, level) in [(3, Level::Info), (4, Level::Error), (5, Level::Trace)] {
        records.add(level, &format!("#{number:07} \n"));
    }
    give(&mut spool, &mut records).unwrap();
    give(&mut spool, &mut Records::numbered(6..9, 0)).unwrap();
    assert!(spool.flush().is_err(), "so that the queue asks again");
    let told = notices(&mut spool);
    assert!(
        told[0].starts_with("a log sink fails: out of order; its records go to"),
        "{told:?}"
    );
    assert_eq!(told.len(), 1, "{told:?}");
    for file in segments(&path) {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    drop(spool);
    let (mut spool, clock_) = open(&path, &fake, 1 << 20);
    drop(clock);
    assert!(spool.flush().is_err());
    fake.set_room(None);
    clock_.advance(Duration::from_mins(1));
    fake.state.lock().unwrap().entries.clear();
    spool.flush().unwrap();
    // The record that was taken in part is continued, as the sink said it can be.
    assert_eq!(numbers(&fake.bytes()), (0..9).collect::<Vec<_>>());
    let levels: Vec<Level> = fake
        .state
        .lock()
        .unwrap()
        .entries
        .iter()
        .map(|e| e.1)
        .collect();
    assert_eq!(levels[..2], [Level::Error, Level::Trace]);
    assert!(segments(&path).is_empty());
    let told = notices(&mut spool);
    assert!(
        told.iter()
            .any(|text| text.ends_with("5 records have gone out")),
        "{told:?}"
    );
    // And straight again.
    let calls = fake.state.lock().unwrap().calls;
    give_all(&mut spool, Records::numbered(9..10, 0), &clock_);
    assert_eq!(fake.state.lock().unwrap().calls, calls + 1);
    assert_eq!(numbers(&fake.bytes()).len(), 10);
}

#[test]
fn a_full_spool_loses_its_oldest_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let fake = Fake::broken();
    let (mut spool, clock) = open(&path, &fake, 80_000);
    for round in 0..300 {
        give(
            &mut spool,
            &mut Records::numbered(round * 10..round * 10 + 10, 90),
        )
        .unwrap();
    }
    assert!(spool.waiting() <= 80_000, "{}", spool.waiting());
    let size: u64 = segments(&path)
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert_eq!(size, spool.waiting());
    let lost = usize::try_from(spool.take_lost()[Level::Info.index()]).unwrap();
    assert!(lost > 2000, "{lost}");
    let told = notices(&mut spool);
    assert!(told[1].contains("info records lost between"), "{told:?}");
    assert!(told[1].ends_with("is full"), "{told:?}");
    fake.set_room(None);
    clock.advance(Duration::from_mins(1));
    spool.flush().unwrap();
    assert_eq!(numbers(&fake.bytes()), (lost..3000).collect::<Vec<_>>());
}

#[test]
fn two_do_not_share_a_directory_and_the_second_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let (old, new) = (Fake::broken(), Fake::broken());
    let (mut first, _) = open(&path, &old, 1 << 20);
    give(&mut first, &mut Records::numbered(0..5, 0)).unwrap();
    let (mut second, clock) = open(&path, &new, 1 << 20);
    let mut records = Records::numbered(5..6, 0);
    assert!(
        give(&mut second, &mut records).is_err(),
        "there is no spool for it"
    );
    drop(first);
    give(&mut second, &mut records).unwrap();
    new.set_room(None);
    clock.advance(Duration::from_mins(1));
    second.flush().unwrap();
    assert_eq!(numbers(&new.bytes()), (0..6).collect::<Vec<_>>());
}

#[test]
fn directories_and_files_that_are_not_ours_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("open");
    fs::DirBuilder::new().mode(0o755).create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let config = SpoolConfig::new(&path);
    let error = Spool::open(Box::new(Fake::default()), config, clock())
        .err()
        .unwrap();
    assert!(error.to_string().contains("closed to others"), "{error}");
    // Whatever else lies there is left alone, and does no harm.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let stranger = dir.path().join("stranger");
    fs::write(&stranger, "not to be touched").unwrap();
    let name = |number: u64| path.join(format!("{number:020}.spool"));
    std::os::unix::fs::symlink(&stranger, name(1)).unwrap();
    fs::create_dir(name(2)).unwrap();
    fs::write(name(3), vec![0xff; 100_000]).unwrap();
    fs::write(path.join("position"), "nonsense").unwrap();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let fake = Fake::broken();
    let (mut spool, clock) = open(&path, &fake, 1 << 20);
    give(&mut spool, &mut Records::numbered(0..5, 0)).unwrap();
    fake.set_room(None);
    clock.advance(Duration::from_mins(1));
    spool.flush().unwrap();
    assert_eq!(numbers(&fake.bytes()), (0..5).collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(&stranger).unwrap(), "not to be touched");
    assert!(path.join("notes.txt").exists());
    let told = notices(&mut spool).join("\n");
    assert!(told.contains("it stays there"), "{told}");
    assert!(told.contains("are no whole records"), "{told}");
}

#[test]
fn a_torn_segment_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let fake = Fake::broken();
    let (mut spool, _) = open(&path, &fake, 1 << 20);
    give(&mut spool, &mut Records::numbered(0..10, 0)).unwrap();
    drop(spool);
    let file = &segments(&path)[0];
    let size = fs::metadata(file).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(size - 3)
        .unwrap();
    let (mut spool, clock) = open(&path, &fake, 1 << 20);
    give(&mut spool, &mut Records::numbered(10..12, 0)).unwrap();
    fake.set_room(None);
    clock.advance(Duration::from_mins(1));
    spool.flush().unwrap();
    let expected: Vec<usize> = (0..9).chain(10..12).collect();
    assert_eq!(numbers(&fake.bytes()), expected);
}

#[test]
fn a_full_disk_leaves_the_rest_to_the_queue() {
    let Some(small) = Small::mount() else { return };
    let path = small.path("spool");
    let fake = Fake::broken();
    let (mut spool, clock) = open(&path, &fake, 64 << 20);
    let ballast = small.fill(64 << 10);
    let mut sent = 0;
    let mut records = Records::default();
    loop {
        if records.is_empty() {
            records = Records::numbered(sent..sent + 50, 100);
            sent += 50;
        }
        if let Err(error) = give(&mut spool, &mut records) {
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
            assert!(
                error.to_string().starts_with("cannot write to the spool"),
                "{error}"
            );
            break;
        }
        assert!(sent < 10_000);
    }
    fs::remove_file(ballast).unwrap();
    fake.set_room(None);
    clock.advance(Duration::from_mins(1));
    give_all(&mut spool, records, &clock);
    assert_eq!(numbers(&fake.bytes()), (0..sent).collect::<Vec<_>>());
    assert_eq!(spool.take_lost(), [0; 6]);
}

/// A sink that works now and then, into a file that a SIGKILL leaves whole.
struct Moody {
    file: File,
    turn: u32,
}

impl Sink for Moody {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            self.file.write_all(batch.bytes())?;
            return Ok(());
        }
        Err(std::io::Error::other("not now").into())
    }
}

const DIR: &str = "MAINSTAY_LOG_TEST_SPOOL";
const START: &str = "MAINSTAY_LOG_TEST_START";

/// Writes numbered records through a spool until it is killed, and writes down which were taken.
#[test]
#[ignore = "a part of what_was_taken_outlives_sigkill"]
fn spooler() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let mut number: usize = std::env::var(START).unwrap().parse().unwrap();
    let append = |name: &str| {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(dir.join(name))
            .unwrap()
    };
    let config = SpoolConfig {
        bytes: 256 << 20,
        pause: Pause {
            first: Duration::from_micros(50),
            longest: Duration::from_micros(500),
        },
        ..SpoolConfig::new(dir.join("spool"))
    };
    let moody = Moody {
        file: append("out"),
        turn: 0,
    };
    let mut spool = Spool::open(Box::new(moody), config, Arc::new(SystemClock::new())).unwrap();
    let mut taken = append("taken");
    loop {
        let records = Records::numbered(number..number + 20, 30);
        spool.write(&records.batch()).unwrap();
        number += 20;
        taken.write_all(format!("{number}\n").as_bytes()).unwrap();
    }
}

#[test]
fn what_was_taken_outlives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let taken = || {
        let text = fs::read_to_string(dir.path().join("taken")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .last()
            .map_or(0, |line| line.parse::<usize>().unwrap())
    };
    for round in 0..8_u64 {
        let start = taken();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sinks::spool::spooler", "--ignored"])
            .env(DIR, dir.path())
            .env(START, start.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the child writes", || taken() >= start + 400);
        std::thread::sleep(Duration::from_micros(round * 773));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let fake = Fake::default();
    let (mut spool, clock) = open(&dir.path().join("spool"), &fake, 256 << 20);
    while spool.flush().is_err() {
        clock.advance(Duration::from_mins(1));
    }
    let mut all = numbers(&fs::read(dir.path().join("out")).unwrap());
    let before = all.len();
    all.extend(numbers(&fake.bytes()));
    let is_there: std::collections::BTreeSet<usize> = all.iter().copied().collect();
    let last = taken();
    let missing: Vec<usize> = (0..last)
        .filter(|number| !is_there.contains(number))
        .collect();
    assert!(
        missing.is_empty(),
        "{missing:?} of {last}, {before} went out before"
    );
    // Twice only what had gone out when somebody was killed: at most what is given out at a time.
    assert!(
        all.len() - is_there.len() <= 8 * 10_000,
        "{}",
        all.len() - is_there.len()
    );
}

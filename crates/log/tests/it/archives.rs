//! Rolled files that are too many go into archives that other programs read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_log::seelog::{Archive, ArchiveKind, DateLayout};
use mainstay_log::{
    Compression, Hit, Level, LogFile, Naming, Retention, RollingFile, Rolls, Search, Tail, Wanted,
};

use crate::clock;
use crate::sinks::{PATIENCE, wait_until};

const GROWING: Naming = Naming::Growing { prefix: false };

fn archive(kind: ArchiveKind, exploded: bool, path: &Path) -> Archive {
    Archive {
        kind,
        exploded,
        path: path.to_owned(),
    }
}

/// Files of ten bytes, two rolled ones kept, the others archived.
fn rolls(naming: Naming, archive: Archive) -> Rolls {
    Rolls {
        naming,
        archive: Some(archive),
        ..Rolls::from(Retention {
            size: Some(10),
            files: Some(2),
            ..Retention::NONE
        })
    }
}

/// What is in an archive, by name.
fn members(path: &Path, kind: ArchiveKind) -> BTreeMap<String, String> {
    let Ok(file) = File::open(path) else {
        return BTreeMap::new();
    };
    let mut members = BTreeMap::new();
    match kind {
        ArchiveKind::Zip => {
            let mut zip = zip::ZipArchive::new(file).unwrap();
            for index in 0..zip.len() {
                let mut member = zip.by_index(index).unwrap();
                let mut text = String::new();
                member.read_to_string(&mut text).unwrap();
                let name = member.name().unwrap().into_owned();
                assert!(members.insert(name, text).is_none());
            }
        }
        ArchiveKind::Gzip => {
            let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
            for entry in tar.entries().unwrap() {
                let mut entry = entry.unwrap();
                let name = entry.path().unwrap().to_str().unwrap().to_owned();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                assert!(members.insert(name, text).is_none(), "twice");
            }
        }
    }
    members
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn is_packed(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "gz" || ending == "zst")
}

/// `line 0001`, ten bytes each.
fn line(n: usize) -> String {
    format!("line {n:04}\n")
}

fn write(file: &mut RollingFile, lines: std::ops::RangeInclusive<usize>) {
    for n in lines {
        file.write(line(n).as_bytes()).unwrap();
    }
}

/// `f.log.1` to `f.log.N`, each with its line.
fn rolled(count: usize) -> BTreeMap<String, String> {
    (1..=count)
        .map(|n| (format!("f.log.{n}"), line(n)))
        .collect()
}

#[test]
fn one_archive_grows_and_is_read_by_other_programs() {
    for (kind, name) in [
        (ArchiveKind::Zip, "log.zip"),
        (ArchiveKind::Gzip, "log.tar.gz"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.log");
        let to = dir.path().join("archives").join(name);
        let rolls = rolls(GROWING, archive(kind, false, &to));
        let mut file = RollingFile::open_with(&path, rolls.clone(), clock()).unwrap();
        write(&mut file, 1..=5);
        wait_until(name, || {
            names(dir.path()) == ["archives", "f.log", "f.log.3", "f.log.4"]
        });
        assert_eq!(members(&to, kind), rolled(2), "{name}");
        write(&mut file, 6..=6);
        wait_until(name, || members(&to, kind).len() == 3);
        drop(file);
        // Another run goes on.
        let mut file = RollingFile::open_with(&path, rolls, clock()).unwrap();
        write(&mut file, 7..=12);
        wait_until(name, || {
            names(dir.path()) == ["archives", "f.log", "f.log.10", "f.log.11"]
        });
        assert_eq!(members(&to, kind), rolled(9), "{name}");
        assert_eq!(names(&dir.path().join("archives")), [name]);
        assert_eq!(file.take_notices(), []);
        read_by_another(kind, &to, &rolled(9));
    }
}

/// Lists, tests and unpacks an archive with the program that people have for it.
fn read_by_another(kind: ArchiveKind, path: &Path, expected: &BTreeMap<String, String>) {
    let into = tempfile::tempdir().unwrap();
    let script = match kind {
        ArchiveKind::Zip => {
            "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nz.extractall(sys.argv[2])\n"
        }
        ArchiveKind::Gzip => {
            "import sys, tarfile\nt = tarfile.open(sys.argv[1])\nt.extractall(sys.argv[2])\n"
        }
    };
    let mut programs = vec![("python3", vec!["-c".to_owned(), script.to_owned()])];
    match kind {
        ArchiveKind::Zip => programs.push(("unzip", vec!["-q".to_owned()])),
        ArchiveKind::Gzip => programs.push(("tar", vec!["-xzf".to_owned()])),
    }
    for (number, (program, mut arguments)) in programs.into_iter().enumerate() {
        let into = into.path().join(number.to_string());
        fs::create_dir(&into).unwrap();
        arguments.push(path.to_str().unwrap().to_owned());
        match program {
            "unzip" => arguments.push("-d".to_owned()),
            "tar" => arguments.push("-C".to_owned()),
            _ => {}
        }
        arguments.push(into.to_str().unwrap().to_owned());
        let output = match Command::new(program).args(&arguments).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: there is no {program}");
                continue;
            }
            other => other.unwrap(),
        };
        assert!(output.status.success(), "{program}: {output:?}");
        let unpacked: BTreeMap<String, String> = names(&into)
            .into_iter()
            .map(|name| (name.clone(), fs::read_to_string(into.join(name)).unwrap()))
            .collect();
        assert_eq!(&unpacked, expected, "{program}");
    }
}

#[test]
fn an_archive_for_each() {
    for (kind, suffix) in [(ArchiveKind::Zip, "zip"), (ArchiveKind::Gzip, "gz")] {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("f.log"), dir.path().join("old"));
        // Of an earlier log of this name: it stays.
        fs::create_dir(&old).unwrap();
        fs::write(old.join(format!("f.log.2.{suffix}")), "something else").unwrap();
        let rolls = rolls(GROWING, archive(kind, true, &old));
        let mut file = RollingFile::open_with(&path, rolls, clock()).unwrap();
        write(&mut file, 1..=6);
        wait_until(suffix, || {
            names(dir.path()) == ["f.log", "f.log.4", "f.log.5", "old"]
        });
        let expected: Vec<String> = ["1", "2.2", "2", "3"]
            .map(|n| format!("f.log.{n}.{suffix}"))
            .into();
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        assert_eq!(names(&old), sorted);
        for (number, name) in [(1, "1"), (2, "2.2"), (3, "3")] {
            let at = old.join(format!("f.log.{name}.{suffix}"));
            let text = match kind {
                ArchiveKind::Zip => members(&at, kind)
                    .remove(&format!("f.log.{number}"))
                    .unwrap(),
                ArchiveKind::Gzip => {
                    let mut text = String::new();
                    let mut reader = MultiGzDecoder::new(File::open(&at).unwrap());
                    reader.read_to_string(&mut text).unwrap();
                    text
                }
            };
            assert_eq!(text, line(number), "{name}");
        }
        assert_eq!(file.take_notices(), []);
    }
}

/// Without a number of rolls that are kept none is too many; and names that move have no archive.
#[test]
fn what_is_never_archived() {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("f.log"), dir.path().join("log.zip"));
    let mut all = rolls(GROWING, archive(ArchiveKind::Zip, false, &to));
    all.retention.files = None;
    let mut file = RollingFile::open_with(&path, all, clock()).unwrap();
    write(&mut file, 1..=20);
    drop(file);
    assert_eq!(names(dir.path()).len(), 20);
    let shifted = rolls(Naming::Shifted, archive(ArchiveKind::Zip, false, &to));
    let error = RollingFile::open_with(&path, shifted, clock()).unwrap_err();
    assert!(error.to_string().contains("names stay"), "{error}");
}

/// D3: where the archive cannot be written nothing is deleted, and it is said; once it can, all go in.
#[test]
fn an_archive_that_cannot_be_written_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let blocked = dir.path().join("blocked");
    fs::write(&blocked, "a file where a directory is wanted").unwrap();
    let to = blocked.join("log.zip");
    let rolls = rolls(GROWING, archive(ArchiveKind::Zip, false, &to));
    let mut file = RollingFile::open_with(&path, rolls, clock()).unwrap();
    write(&mut file, 1..=6);
    let mut said = Vec::new();
    wait_until("a notice", || {
        said.extend(file.take_notices());
        !said.is_empty()
    });
    let text = &said[0].text;
    assert!(
        text.contains("log.zip") && text.contains("they stay"),
        "{text}"
    );
    assert_eq!(names(dir.path()).len(), 7, "all six and what is in the way");
    fs::remove_file(&blocked).unwrap();
    write(&mut file, 7..=7);
    wait_until("the archive", || {
        names(dir.path()) == ["blocked", "f.log", "f.log.5", "f.log.6"]
    });
    assert_eq!(members(&to, ArchiveKind::Zip), rolled(4));

    // One that is no archive is not written over.
    said.clear();
    file.take_notices();
    fs::write(&to, "not a zip").unwrap();
    write(&mut file, 8..=8);
    wait_until("a notice", || {
        said.extend(file.take_notices());
        !said.is_empty()
    });
    assert!(names(dir.path()).contains(&"f.log.5".to_owned()));
    assert_eq!(crate::text(&to), "not a zip");
}

/// A roll that is in the archive already is not added again; another one of its name is.
#[test]
fn what_is_in_it_already() {
    for (kind, name) in [(ArchiveKind::Zip, "a.zip"), (ArchiveKind::Gzip, "a.tar.gz")] {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("f.log"), dir.path().join(name));
        let rolls = rolls(GROWING, archive(kind, false, &to));
        let mut file = RollingFile::open_with(&path, rolls.clone(), clock()).unwrap();
        write(&mut file, 1..=5);
        wait_until(name, || {
            members(&to, kind).len() == 2 && names(dir.path()).len() == 4
        });
        drop(file);
        // As after a kill between the archive and the deleting, and as after somebody began anew.
        fs::write(dir.path().join("f.log.1"), line(1)).unwrap();
        fs::write(dir.path().join("f.log.2"), "another\n").unwrap();
        // What a process that is gone has left of it.
        let stale = dir.path().join(format!(".{name}.4000000.0.part"));
        fs::write(&stale, "half").unwrap();
        let file = RollingFile::open_with(&path, rolls, clock()).unwrap();
        wait_until(name, || names(dir.path()).len() == 4);
        let mut expected = rolled(2);
        expected.insert("f.log.2.2".to_owned(), "another\n".to_owned());
        assert_eq!(members(&to, kind), expected);
        assert!(!stale.exists());
        drop(file);
    }
}

/// Archives of others are added to: a tar in one gzip member, as tar and seelog write it.
#[test]
fn an_archive_that_another_program_made() {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("f.log"), dir.path().join("log.tar.gz"));
    let out =
        flate2::write::GzEncoder::new(File::create(&to).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(out);
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    let long = format!("{}/old.log", "d".repeat(120));
    tar.append_data(&mut header, &long, &b"older"[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    let rolls = rolls(GROWING, archive(ArchiveKind::Gzip, false, &to));
    let mut file = RollingFile::open_with(&path, rolls, clock()).unwrap();
    write(&mut file, 1..=5);
    let mut expected = rolled(2);
    expected.insert(long, "older".to_owned());
    wait_until("the archive", || {
        members(&to, ArchiveKind::Gzip) == expected
    });
}

/// What a search finds in a log whose rolled files are put away.
fn found(file: &LogFile, last: Option<u64>, since: Option<Timestamp>) -> std::io::Result<String> {
    let mut wanted = Wanted::all(Level::Info, TimeZone::UTC);
    (wanted.last, wanted.since) = (last, since);
    let tail = Tail::open(file.clone()).unwrap();
    let mut search = Search::begin(&tail, wanted, true).unwrap();
    let mut text = String::new();
    let mut take = |hit: Hit<'_>| {
        text.push_str(std::str::from_utf8(hit.bytes).unwrap());
        text.push('\n');
    };
    while search.step(&mut take)? {}
    search.finish(&mut take);
    Ok(text)
}

#[test]
fn a_search_looks_into_archives() {
    let kinds = [ArchiveKind::Zip, ArchiveKind::Gzip];
    let packs = [None, Some(Compression::Gzip), Some(Compression::Zstd)];
    for (kind, exploded, compress) in kinds
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
        .flat_map(|(kind, exploded)| packs.map(|pack| (kind, exploded, pack)))
    {
        let what = format!("{kind:?} exploded={exploded} {compress:?}");
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("f.log"), dir.path().join("away"));
        let archive = archive(kind, exploded, &to);
        let mut rolls = rolls(GROWING, archive.clone());
        rolls.retention.compress = compress;
        let mut file = RollingFile::open_with(&path, rolls, clock()).unwrap();
        // More than ten, so that names are in another order than numbers.
        for n in 1..=14 {
            write(&mut file, n..=n);
            wait_until(&what, || {
                let names = names(dir.path());
                let rolled = || names.iter().filter(|name| name.starts_with("f.log."));
                let done = |name: &String| compress.is_none() || is_packed(name);
                rolled().count() <= 2
                    && rolled().all(done)
                    && names.iter().all(|name| !name.starts_with('.'))
            });
        }
        let log = LogFile {
            path: path.clone(),
            naming: GROWING,
            archive: Some(archive),
        };
        let lines = |from: usize| (from..=14).map(line).collect::<String>();
        assert_eq!(found(&log, None, None).unwrap(), lines(1), "{what}");
        for last in 1..=14 {
            let expected = lines(15 - last);
            let last = u64::try_from(last).unwrap();
            assert_eq!(
                found(&log, Some(last), None).unwrap(),
                expected,
                "{what}: last {last}"
            );
        }
        assert_eq!(found(&log, Some(99), None).unwrap(), lines(1), "{what}");
        // Without being told of it nobody looks there.
        assert_eq!(
            found(
                &LogFile {
                    archive: None,
                    ..log.clone()
                },
                None,
                None
            )
            .unwrap(),
            lines(12)
        );

        // As after a kill: what is put away is also still there, and is read once.
        fs::write(dir.path().join("f.log.11"), line(11)).unwrap();
        assert_eq!(
            found(&log, None, None).unwrap(),
            lines(1),
            "{what}: in both"
        );
        fs::remove_file(dir.path().join("f.log.11")).unwrap();
        drop(file);

        // An archive that is damaged is said, and nothing is made up.
        let target = if exploded {
            let first = names(&to)
                .into_iter()
                .find(|name| name.starts_with("f.log.1."));
            to.join(first.unwrap())
        } else {
            to.clone()
        };
        let bytes = fs::read(&target).unwrap();
        fs::write(&target, &bytes[..bytes.len() / 2]).unwrap();
        let error = found(&log, None, None).unwrap_err();
        assert!(!error.to_string().is_empty(), "{what}: {error}");
    }
}

/// Times without a date are near to when their file was written, and files of others are left alone.
#[test]
fn a_search_in_an_archive_that_another_program_made() {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("f.log"), dir.path().join("log.tar.gz"));
    let out =
        flate2::write::GzEncoder::new(File::create(&to).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(out);
    let written = |day: i64| 1_767_312_000 + day * 86_400;
    let long = format!("{}.log", "d".repeat(120));
    for (name, day, text) in [
        ("g.log.1", 1, "12:00:00 of another log\n"),
        ("f.log.1", 1, "12:00:00 one\n"),
        (&*long, 1, "12:00:00 another name\n"),
        ("f.log.2", 3, "12:00:00 two\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(written(day)).unwrap() + 43_200);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    fs::write(&path, "three\n").unwrap();
    let log = LogFile {
        path,
        naming: GROWING,
        archive: Some(archive(ArchiveKind::Gzip, false, &to)),
    };
    let all = "12:00:00 one\n12:00:00 two\nthree\n";
    assert_eq!(found(&log, None, None).unwrap(), all);
    assert_eq!(found(&log, Some(3), None).unwrap(), all);
    let since = Timestamp::from_second(written(2)).unwrap();
    let later = "12:00:00 two\nthree\n";
    assert_eq!(found(&log, None, Some(since)).unwrap(), later);
    assert_eq!(found(&log, Some(9), Some(since)).unwrap(), later);
}

/// Dates and compression go together with archives.
#[test]
fn dates_and_compressed_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("f.log"), dir.path().join("log.zip"));
    let naming = Naming::Dated {
        layout: Arc::new(DateLayout::compile("2006-01-02")),
        prefix: false,
        current: false,
    };
    let mut rolls = rolls(naming, archive(ArchiveKind::Zip, false, &to));
    rolls.retention.size = None;
    let clock = clock();
    let mut file = RollingFile::open_with(&path, rolls.clone(), clock.clone()).unwrap();
    for n in 1..=5 {
        write(&mut file, n..=n);
        clock.advance(Duration::from_hours(24));
    }
    wait_until("the archive", || names(dir.path()).len() == 4);
    let held: Vec<String> = members(&to, ArchiveKind::Zip).into_values().collect();
    assert_eq!(held, [line(1), line(2)]);
    drop(file);

    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("f.log"), dir.path().join("log.zip"));
    rolls.naming = GROWING;
    rolls.archive = Some(archive(ArchiveKind::Zip, false, &to));
    rolls.retention.size = Some(10);
    rolls.retention.compress = Some(Compression::Gzip);
    let mut file = RollingFile::open_with(&path, rolls, clock).unwrap();
    for n in 1..=5 {
        write(&mut file, n..=n);
        wait_until("compressed", || {
            let names = names(dir.path());
            let plain = |name: &String| name.starts_with("f.log.") && !is_packed(name);
            !names.iter().any(plain) && names.iter().all(|name| !name.starts_with('.'))
        });
    }
    wait_until("the archive", || {
        names(dir.path()) == ["f.log", "f.log.3.gz", "f.log.4.gz", "log.zip"]
    });
    let mut zip = zip::ZipArchive::new(File::open(&to).unwrap()).unwrap();
    let mut text = String::new();
    let member = zip.by_name("f.log.2.gz").unwrap();
    MultiGzDecoder::new(member)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, line(2));
}

/// Killed again and again at any moment: each line is in an archive, a rolled file or the current one.
#[test]
fn a_process_that_is_killed_loses_no_roll() {
    for (kind, name) in [
        (ArchiveKind::Zip, "log.zip"),
        (ArchiveKind::Gzip, "log.tar.gz"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.log");
        let to = dir.path().join(name);
        let end = Instant::now() + PATIENCE;
        for round in 0..15_u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "archives::process_that_is_killed",
                    "--include-ignored",
                ])
                .env("MAINSTAY_LOG_TEST_PATH", &path)
                .env("MAINSTAY_LOG_TEST_ARCHIVE", &to)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Until it has archived something, and then some time that is another in each round.
            let before = fs::metadata(&to).map_or(0, |file| file.len());
            while fs::metadata(&to).map_or(0, |file| file.len()) == before {
                assert!(Instant::now() < end, "round {round}");
                std::thread::sleep(Duration::from_micros(500));
            }
            std::thread::sleep(Duration::from_micros(round * 1300));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let mut texts = members(&to, kind);
        for name in names(dir.path()) {
            if name.starts_with("f.log") {
                let text = crate::text(dir.path().join(&name));
                // One that was archived and not deleted yet is the same.
                let there = texts.entry(name.clone()).or_insert_with(|| text.clone());
                assert_eq!(*there, text, "{name}");
            }
        }
        let mut lines: Vec<usize> = texts
            .values()
            .flat_map(|text| text.lines())
            .map(|line| line.strip_prefix("line ").unwrap().parse().unwrap())
            .collect();
        lines.sort_unstable();
        let last = *lines.last().unwrap();
        assert!(last > 100, "{last}");
        assert_eq!(lines, (1..=last).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
#[ignore = "a part of a_process_that_is_killed_loses_no_roll"]
fn process_that_is_killed() {
    let Some(path) = std::env::var_os("MAINSTAY_LOG_TEST_PATH").map(PathBuf::from) else {
        return;
    };
    let to = std::env::var_os("MAINSTAY_LOG_TEST_ARCHIVE")
        .map(PathBuf::from)
        .unwrap();
    let kind = match to.extension().unwrap().to_str() {
        Some("zip") => ArchiveKind::Zip,
        _ => ArchiveKind::Gzip,
    };
    // The last line tells where it goes on: the newest file with one.
    let mut last = 0;
    for name in names(path.parent().unwrap()) {
        if name.starts_with("f.log") {
            for line in crate::text(path.with_file_name(name)).lines() {
                last = last.max(line.strip_prefix("line ").unwrap().parse().unwrap());
            }
        }
    }
    let rolls = rolls(GROWING, archive(kind, false, &to));
    let mut file = RollingFile::open_with(&path, rolls, Arc::new(SystemClock::new())).unwrap();
    for n in last + 1.. {
        write(&mut file, n..=n);
        std::thread::sleep(Duration::from_micros(200));
    }
}

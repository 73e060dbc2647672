use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use mainstay_log::{Level, Retention, RollingFile, Spliced};
use proptest::prelude::*;

use crate::{clock, everything, family, keep_all, open, pipe, put, splice_all, text};

#[test]
fn lines_are_never_cut_and_numbers_shift() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/f.log");
    let retention = Retention {
        size: Some(10),
        files: Some(2),
        ..Retention::NONE
    };
    let (mut file, _) = open(&path, retention);
    for line in [
        "one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n",
    ] {
        file.write(line.as_bytes()).unwrap();
    }
    assert_eq!(text(&path), "six\nseven\n");
    assert_eq!(text(dir.path().join("a/b/f.log.1")), "four\nfive\n");
    assert_eq!(text(dir.path().join("a/b/f.log.2")), "three\n");
    assert!(!dir.path().join("a/b/f.log.3").exists());
    assert_eq!(file.take_notices(), []);
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777;
    // The umask may take more away, never add.
    assert_eq!(mode("a") & !0o750, 0);
    assert_eq!(mode("a/b/f.log") & !0o640, 0);
    assert_eq!(mode("a/b/f.log") & 0o600, 0o600);
}

#[test]
fn a_new_file_has_the_mode_of_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(8));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    file.write(b"1234567\nabc\n").unwrap();
    assert_eq!(text(&path), "abc\n");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o604);
}

#[test]
fn goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    fs::write(&path, "old\nhal").unwrap();
    let (mut file, _) = open(&path, keep_all(10));
    assert_eq!(file.position(), 7);
    // The line that was begun is finished here, also beyond the size.
    file.write(b"f line\nnext\n").unwrap();
    assert_eq!(text(dir.path().join("f.log.1")), "old\nhalf line\n");
    assert_eq!(text(&path), "next\n");
}

#[test]
fn size_zero_never_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(0));
    for _ in 0..6 {
        file.write(b"kept\n").unwrap();
    }
    assert_eq!(text(&path), "kept\n".repeat(6));
}

/// D1 and D3 of the seelog specification: a roll that cannot be done lost every later message.
#[test]
fn a_roll_that_fails_loses_nothing_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let blocker = dir.path().join("f.log.1");
    fs::create_dir(&blocker).unwrap();
    let (mut file, clock) = open(&path, keep_all(8));
    for _ in 0..6 {
        file.write(b"message\n").unwrap();
    }
    assert_eq!(text(&path), "message\n".repeat(6));
    let notices = file.take_notices();
    assert_eq!(notices.len(), 1, "said once: {notices:?}");
    assert_eq!(notices[0].level, Level::Error);
    assert!(
        notices[0].text.contains("a directory is in the way"),
        "{notices:?}"
    );

    // Later attempts wait twice as long each time, up to a minute.
    let mut attempts = 0;
    for _ in 0..600 {
        clock.advance(Duration::from_secs(1));
        file.write(b"message\n").unwrap();
        attempts += file.take_notices().len();
    }
    assert!(
        (10..=20).contains(&attempts),
        "{attempts} attempts in ten minutes"
    );

    fs::remove_dir(&blocker).unwrap();
    clock.advance(Duration::from_mins(1));
    file.write(b"rolled!\n").unwrap();
    assert_eq!(text(&path), "rolled!\n");
    assert_eq!(text(&blocker), "message\n".repeat(606));
    assert_eq!(
        file.take_notices()[0].text,
        format!("{} rolls again", path.display())
    );
}

#[test]
fn a_directory_further_up_is_seen_before_anything_moves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    fs::write(dir.path().join("f.log.1"), "one\n").unwrap();
    fs::create_dir(dir.path().join("f.log.2")).unwrap();
    let (mut file, _) = open(&path, keep_all(4));
    file.write(b"abc\ndef\n").unwrap();
    assert_eq!(text(&path), "abc\ndef\n");
    assert_eq!(text(dir.path().join("f.log.1")), "one\n");
}

#[test]
fn a_gap_in_the_numbers_is_filled_and_others_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    for (name, content) in [
        ("f.log.1", "1\n"),
        ("f.log.3", "3\n"),
        ("f.log.20261101", "dateext\n"),
        ("f.log.bak", "bak\n"),
        ("f.log.4", "4\n"),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let retention = Retention {
        files: Some(3),
        ..keep_all(4)
    };
    let (mut file, _) = open(&path, retention);
    file.write(b"abc\ndef\n").unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
    assert_eq!(read("f.log").as_deref(), Some("def\n"));
    assert_eq!(read("f.log.1").as_deref(), Some("abc\n"));
    assert_eq!(read("f.log.2").as_deref(), Some("1\n"));
    assert_eq!(read("f.log.3").as_deref(), Some("3\n"));
    assert_eq!(read("f.log.4"), None, "more than three");
    assert_eq!(read("f.log.20261101").as_deref(), Some("dateext\n"));
    assert_eq!(read("f.log.bak").as_deref(), Some("bak\n"));
}

#[test]
fn age_and_total_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    fs::write(&path, "").unwrap();
    let now = fs::metadata(&path).unwrap().modified().unwrap();
    for (number, days) in [(1_u64, 1), (2, 5), (3, 9)] {
        let rolled = dir.path().join(format!("f.log.{number}"));
        fs::write(&rolled, "12345678\n").unwrap();
        let old = now - Duration::from_hours(days * 24);
        fs::File::options()
            .write(true)
            .open(&rolled)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    let at = |retention| {
        let clock = std::sync::Arc::new(mainstay_base::ManualClock::new(now.try_into().unwrap()));
        let file = RollingFile::open(&path, retention, clock.clone()).unwrap();
        (file, clock, family(&path).len() - 1)
    };
    let week = Retention {
        age: Some(Duration::from_hours(7 * 24)),
        ..keep_all(100)
    };
    let (mut file, clock, left) = at(week);
    assert_eq!(left, 2, "the one of nine days is gone at opening");
    clock.advance(Duration::from_hours(3 * 24));
    file.write(b"x\n").unwrap();
    assert_eq!(
        family(&path).len() - 1,
        1,
        "that of five days later, without a roll"
    );
    let total = Retention {
        total: Some(20),
        ..keep_all(10)
    };
    let (mut file, _, _) = at(total);
    for _ in 0..10 {
        file.write(b"123456789\n").unwrap();
    }
    let sizes: u64 = family(&path)
        .iter()
        .map(|p| fs::metadata(p).unwrap().len())
        .sum();
    assert!(sizes <= 20, "{sizes}");
    assert_eq!(family(&path).len(), 2);
}

#[test]
fn a_link_planted_at_the_name_of_the_next_file_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let victim = dir.path().join("victim");
    fs::write(&victim, "untouched\n").unwrap();
    // A link where the first rolled file goes is replaced, not followed.
    symlink(&victim, dir.path().join("f.log.1")).unwrap();
    let (mut file, _) = open(
        &path,
        Retention {
            files: Some(1),
            ..keep_all(4)
        },
    );
    file.write(b"abc\ndef\n").unwrap();
    assert_eq!(text(&victim), "untouched\n");
    assert_eq!(text(dir.path().join("f.log.1")), "abc\n");
    assert!(!dir.path().join("f.log.1").is_symlink());
}

#[test]
fn moved_deleted_truncated_and_appended_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let aside = dir.path().join("aside");
    let (mut file, clock) = open(&path, keep_all(1000));

    file.write(b"1\n").unwrap();
    fs::rename(&path, &aside).unwrap();
    clock.advance(Duration::from_secs(1));
    file.write(b"2\n").unwrap();
    assert_eq!((text(&aside), text(&path)), ("1\n".into(), "2\n".into()));
    assert!(file.take_notices()[0].text.contains("was moved away"));

    // Not looked at twice a second: until then the moved file gets it.
    fs::rename(&path, &aside).unwrap();
    file.write(b"3\n").unwrap();
    assert_eq!(text(&aside), "2\n3\n");
    clock.advance(Duration::from_secs(1));
    file.write(b"4\n").unwrap();
    assert_eq!(text(&path), "4\n");

    // On demand, at once.
    fs::rename(&path, &aside).unwrap();
    file.reopen().unwrap();
    file.write(b"5\n").unwrap();
    assert_eq!((text(&aside), text(&path)), ("4\n".into(), "5\n".into()));

    // Looked at once a millisecond, and not for each write.
    let a_moment = Duration::from_millis(1);
    fs::remove_file(&path).unwrap();
    clock.advance(a_moment);
    file.write(b"6\n").unwrap();
    assert_eq!(text(&path), "6\n");
    fs::remove_dir_all(dir.path()).unwrap();
    clock.advance(a_moment);
    file.write(b"7\n").unwrap();
    assert_eq!(text(&path), "7\n", "with the directory");
    file.take_notices();

    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    clock.advance(a_moment);
    file.write(b"8\n").unwrap();
    assert_eq!(text(&path), "8\n", "no hole");
    assert!(file.take_notices()[0].text.contains("truncated"));

    let mut other = fs::File::options().append(true).open(&path).unwrap();
    other.write_all(b"other\n").unwrap();
    file.write(b"9\n").unwrap();
    assert_eq!(text(&path), "8\nother\n9\n");
    assert_eq!(file.take_notices(), []);
}

#[test]
fn what_others_append_counts_when_the_file_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(10));
    file.write(b"123\n").unwrap();
    // Truncated within the same millisecond: the size is looked at before anything rolls for it.
    fs::write(&path, "").unwrap();
    file.write(b"456789a\n").unwrap();
    assert_eq!(text(&path), "456789a\n");
    assert!(!dir.path().join("f.log.1").exists());
    fs::write(&path, "").unwrap();
    file.write(b"b\n").unwrap();
    assert_eq!(text(&path), "b\n", "no hole");
}

#[test]
fn a_spliced_line_is_finished_in_the_file_that_was_moved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let aside = dir.path().join("aside");
    let (mut file, clock) = open(&path, keep_all(1000));
    let (read, write) = pipe();
    put(&write, b"one\nhal");
    splice_all(&mut file, &read);
    fs::rename(&path, &aside).unwrap();
    clock.advance(Duration::from_secs(2));
    put(&write, b"f\ntwo\n");
    splice_all(&mut file, &read);
    assert_eq!(text(&aside), "one\nhalf\n");
    assert_eq!(text(&path), "two\n");
}

#[test]
fn what_is_no_file_is_written_to_and_never_rolled() {
    let (mut file, _) = open(std::path::Path::new("/dev/null"), keep_all(4));
    let (read, write) = pipe();
    file.write(b"nothing\nnothing\n").unwrap();
    put(&write, b"nothing\nnothing\n");
    splice_all(&mut file, &read);
    drop(write);
    assert_eq!(file.splice_from(read.as_fd(), 10).unwrap(), Spliced::End);
    assert_eq!(file.position(), 0);
    assert_eq!(file.take_notices(), []);
}

#[test]
fn a_directory_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let error = RollingFile::open(dir.path(), keep_all(4), clock()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("is a directory") && said.contains("name a file"),
        "{said}"
    );
}

/// Room is found ahead for what streams in, and not much more than is used.
#[test]
fn a_stream_holds_little_more_than_its_size() {
    const CHUNK: usize = 512 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open(&dir.path().join("a.log"), Retention::NONE);
    let (read, write) = mainstay_sys::pipe::capture_pipe(1 << 20).unwrap();
    let writer = fs::File::from(write);
    let line = [&[b'x'; 63][..], b"\n"].concat();
    let mut chunk = line.repeat(CHUNK / line.len());
    for number in 0..80_u8 {
        chunk[0] = number;
        put(&writer, &chunk);
        let moved = file.splice_from(read.as_fd(), CHUNK).unwrap();
        assert_eq!(moved, Spliced::Moved(CHUNK));
        let about = fs::metadata(dir.path().join("a.log")).unwrap();
        let wanted = (u64::from(number) + 1) * CHUNK as u64;
        assert_eq!(about.len(), wanted);
        assert!(about.blocks() * 512 <= wanted + wanted / 4 + CHUNK as u64);
    }
    let bytes = fs::read(dir.path().join("a.log")).unwrap();
    let firsts: Vec<u8> = bytes.chunks(CHUNK).map(|chunk| chunk[0]).collect();
    assert_eq!(firsts, (0..80).collect::<Vec<u8>>());
}

#[test]
fn splicing_rolls_at_line_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let (mut file, _) = open(&path, keep_all(10));
    let (read, write) = pipe();
    put(&write, b"1234567\nabcdef\nxy\n");
    splice_all(&mut file, &read);
    // The line over the size is finished first, then the next file begins.
    assert_eq!(text(dir.path().join("f.log.1")), "1234567\nabcdef\n");
    assert_eq!(text(&path), "xy\n");
    // A line that comes in pieces, past the size.
    for piece in ["0123456", "789", "ab", "\n", "next\n"] {
        put(&write, piece.as_bytes());
        splice_all(&mut file, &read);
    }
    assert_eq!(text(dir.path().join("f.log.1")), "xy\n0123456789");
    assert_eq!(text(&path), "ab\nnext\n", "longer than a file may be: cut");
    // Exactly full: the next file begins when there is something to put into it.
    let path = dir.path().join("g.log");
    let (mut file, _) = open(&path, keep_all(4));
    put(&write, b"abc\n");
    splice_all(&mut file, &read);
    assert_eq!(family(&path).len(), 1);
    put(&write, b"d\n");
    splice_all(&mut file, &read);
    assert_eq!(text(&path), "d\n");
}

#[derive(Debug, Clone)]
enum Act {
    Write(Vec<u8>),
    Splice(Vec<u8>),
    SpliceSome(usize),
    Reopen,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let lines =
        prop::collection::vec(prop::collection::vec(b'a'..=b'z', 0..14), 1..6).prop_map(|lines| {
            let mut bytes = Vec::new();
            for line in lines {
                bytes.extend_from_slice(&line);
                bytes.push(b'\n');
            }
            bytes
        });
    let act = prop_oneof![
        3 => lines.clone().prop_map(Act::Write),
        3 => (lines, 0_usize..8).prop_map(|(mut bytes, cut)| {
            // A splice may end within a line; a later one goes on with it.
            bytes.truncate(bytes.len().saturating_sub(cut).max(1));
            Act::Splice(bytes)
        }),
        1 => (1_usize..9).prop_map(Act::SpliceSome),
        1 => Just(Act::Reopen),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn all_files_together_are_the_input(acts in acts(), size in 1_u64..60) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.log");
        let (mut file, clock) = open(&path, keep_all(size));
        let (read, write) = pipe();
        let mut expected = Vec::new();
        for act in acts {
            match act {
                Act::Write(bytes) => {
                    // Writes go between lines.
                    splice_all(&mut file, &read);
                    if expected.last().is_some_and(|byte| *byte != b'\n') {
                        put(&write, b"\n");
                        expected.push(b'\n');
                        splice_all(&mut file, &read);
                    }
                    file.write(&bytes).unwrap();
                    expected.extend_from_slice(&bytes);
                }
                Act::Splice(bytes) => {
                    put(&write, &bytes);
                    splice_all(&mut file, &read);
                    expected.extend_from_slice(&bytes);
                }
                Act::SpliceSome(max) => {
                    put(&write, b"some\n");
                    expected.extend_from_slice(b"some\n");
                    match file.splice_from(read.as_fd(), max).unwrap() {
                        Spliced::Moved(bytes) => prop_assert!((1..=max).contains(&bytes)),
                        other => prop_assert!(false, "{:?}", other),
                    }
                    splice_all(&mut file, &read);
                }
                Act::Reopen => file.reopen().unwrap(),
                Act::Restart => {
                    drop(file);
                    file = RollingFile::open(&path, keep_all(size), clock.clone()).unwrap();
                }
            }
        }
        prop_assert_eq!(file.take_notices(), vec![]);
        let got = everything(&path);
        prop_assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected));
        let files = family(&path);
        for (index, path) in files.iter().enumerate() {
            let bytes = fs::read(path).unwrap();
            prop_assert!((bytes.len() as u64) < 2 * size + 1, "{} bytes", bytes.len());
            let last = index + 1 == files.len();
            if !last && bytes.last() != Some(&b'\n') {
                // Cut: then the line alone is as long as a file may be.
                let line = bytes.iter().rev().take_while(|byte| **byte != b'\n').count();
                prop_assert!(line as u64 >= size, "a line of {} was cut at {}", line, size);
            }
        }
    }

    /// Written lines keep the size exactly.
    #[test]
    fn written_files_keep_their_size(
        lines in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 0..30), 1..40),
        size in 1_u64..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.log");
        let (mut file, _) = open(&path, keep_all(size));
        let mut expected = Vec::new();
        for mut line in lines {
            line.push(b'\n');
            file.write(&line).unwrap();
            expected.extend_from_slice(&line);
        }
        prop_assert_eq!(everything(&path), expected);
        for path in family(&path) {
            prop_assert!(fs::metadata(path).unwrap().len() <= size);
        }
    }
}

/// As two pipelines do while one replaces the other.
#[test]
fn two_that_write_one_file_do_not_write_over_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.log");
    let threads: Vec<_> = ["a", "bb"]
        .into_iter()
        .map(|name| {
            let (mut file, _) = open(&path, Retention::NONE);
            std::thread::spawn(move || {
                for n in 0..5000 {
                    file.write(format!("{name} {n}\n").as_bytes()).unwrap();
                }
                file.take_notices()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), []);
    }
    let all = text(&path);
    for name in ["a", "bb"] {
        let mut lines = all.lines().filter(|line| line.starts_with(name));
        for n in 0..5000 {
            assert_eq!(lines.next(), Some(format!("{name} {n}").as_str()));
        }
    }
}

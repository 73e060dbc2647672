//! Logs that are no plain files: what a descriptor leads to, pipes, terminals, sockets.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_log::{Capture, Finish, Kind, Progress, Retention, RollingFile, Stream, Verdict};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{clock, everything, keep_all, pipe, put, text};

/// How supervisord's config would name this descriptor, if it were the standard output.
fn path_of(fd: &impl AsRawFd) -> PathBuf {
    format!("/dev/fd/{}", fd.as_raw_fd()).into()
}

fn sizes() -> [Retention; 2] {
    [Retention::NONE, keep_all(100)]
}

fn capture(path: impl Into<PathBuf>, retention: Retention) -> Capture {
    let file = RollingFile::open(path, retention, clock()).unwrap();
    Capture::new("web", Stream::Stdout, file, None)
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect()
}

/// Has `text` captured in a few turns.
fn print(capture: &mut Capture, text: &str) {
    let (read, write) = pipe();
    for part in text.as_bytes().chunks(300) {
        put(&write, part);
        while capture.on_readable(read.as_fd()) == Progress::More {}
    }
    assert_eq!(capture.finish(read.as_fd()), Finish::Done);
    assert_eq!(capture.take_notices(), []);
}

#[test]
fn a_file_that_a_shell_opened() {
    for (retention, appends) in [
        (sizes()[0], false),
        (sizes()[0], true),
        (sizes()[1], false),
        (sizes()[1], true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "before\n").unwrap();
        let mut shell = if appends {
            File::options().append(true).open(&path).unwrap()
        } else {
            File::create(&path).unwrap()
        };
        let mut capture = capture(path_of(&shell), retention);
        shell.write_all(b"theirs\n").unwrap();
        print(&mut capture, &lines(100));
        capture.say("ours");
        shell.write_all(b"theirs\n").unwrap();
        print(&mut capture, "after\n");
        capture.reopen().unwrap();
        capture.clear().unwrap();
        let before = if appends { "before\n" } else { "" };
        assert_eq!(
            text(&path),
            format!("{before}theirs\n{}ours\ntheirs\nafter\n", lines(100)),
            "appends: {appends}"
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing rolled"
        );
    }
}

/// Pipe and socket: what is written to them comes out.
fn streams() -> Vec<(&'static str, OwnedFd, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs: OwnedFd = theirs.into();
    vec![
        ("a pipe", write, read.into()),
        ("a socket", ours.into(), theirs.into()),
    ]
}

#[test]
fn a_pipe_and_a_socket() {
    for retention in sizes() {
        for inspected in [false, true] {
            for (name, out, mut reader) in streams() {
                let before = rustix::fs::fcntl_getfl(&out).unwrap();
                let mut capture = capture(path_of(&out), retention);
                if inspected {
                    capture = capture
                        .inspected(|| Box::new(|ahead: &[u8], _: bool| Verdict::Keep(ahead.len())));
                }
                print(&mut capture, &lines(200));
                capture.say("ours");
                let after = rustix::fs::fcntl_getfl(&out).unwrap();
                assert_eq!(before, after, "{name}: its flags are shared and stay");
                drop((capture, out));
                let mut got = String::new();
                reader.read_to_string(&mut got).unwrap();
                assert_eq!(got, format!("{}ours\n", lines(200)), "{name}");
            }
        }
    }
}

/// Nobody reads: nothing waits, nothing is lost, and it goes on when somebody does.
#[test]
fn a_reader_that_does_not_keep_up() {
    for (name, out, mut reader) in streams() {
        let clock = clock();
        let file = RollingFile::open(path_of(&out), keep_all(100), clock.clone()).unwrap();
        let mut capture = Capture::new("web", Stream::Stdout, file, None);
        let (read, write) = pipe();
        let total = 2_000_000;
        let writer = std::thread::spawn(move || {
            for n in 0..total / 10 {
                put(&write, format!("{n:09}\n").as_bytes());
            }
        });
        while capture.on_readable(read.as_fd()) != Progress::Stuck {}
        // For some seconds the program waits, as if it wrote there itself.
        for _ in 0..100 {
            clock.advance(Duration::from_millis(50));
            assert_eq!(capture.on_readable(read.as_fd()), Progress::Stuck, "{name}");
        }
        assert_eq!(capture.lost(), 0, "{name}");
        assert_eq!(capture.take_notices(), [], "{name}");
        let slow = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        loop {
            match capture.on_readable(read.as_fd()) {
                Progress::Ended => break,
                Progress::Stuck => {
                    // Time goes on when the reader does.
                    let mut fds = [PollFd::new(&out, PollFlags::OUT)];
                    poll(&mut fds, None).unwrap();
                    clock.advance(Duration::from_millis(50));
                }
                _ => std::thread::yield_now(),
            }
        }
        writer.join().unwrap();
        assert_eq!(capture.lost(), 0, "{name}");
        drop((capture, out));
        let got = String::from_utf8(slow.join().unwrap()).unwrap();
        assert_eq!(got.len(), total, "{name}");
        assert!(
            got.lines()
                .enumerate()
                .all(|(n, line)| line == format!("{n:09}")),
            "{name}"
        );
    }
}

/// A reader that never reads is a file that cannot be written: the program goes on.
#[test]
fn a_reader_that_never_reads() {
    for (name, out, _reader) in streams() {
        let clock = clock();
        let file = RollingFile::open(path_of(&out), keep_all(100), clock.clone()).unwrap();
        let mut capture = Capture::new("web", Stream::Stdout, file, None);
        let (read, write) = pipe();
        let writer = std::thread::spawn(move || {
            for n in 0..100_000 {
                put(&write, format!("{n:09}\n").as_bytes());
            }
        });
        while !writer.is_finished() {
            if capture.on_readable(read.as_fd()) == Progress::Stuck {
                clock.advance(Duration::from_millis(50));
            }
        }
        writer.join().unwrap();
        assert!(capture.lost() > 0, "{name}");
        let notices = capture.take_notices();
        assert!(
            notices[0]
                .text
                .contains("nobody reads what is written there"),
            "{name}: {notices:?}"
        );
    }
}

#[test]
fn a_reader_that_is_gone() {
    for (name, out, reader) in streams() {
        let mut capture = capture(path_of(&out), Retention::NONE);
        drop(reader);
        let (read, write) = pipe();
        put(&write, b"x\n");
        assert_eq!(capture.on_readable(read.as_fd()), Progress::Stuck, "{name}");
        let notices = capture.take_notices();
        assert!(
            notices[0].text.contains("broken pipe"),
            "{name}: {notices:?}"
        );
    }
}

#[test]
fn a_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let Ok(master) = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY) else {
        eprintln!("SKIPPED: no pseudo-terminal can be had here");
        return;
    };
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let mut capture = capture(path_of(&terminal), keep_all(10));
    print(&mut capture, "one\ntwo\n");
    let mut got = [0; 100];
    let mut master = File::from(master);
    let mut length = 0;
    while length < 10 {
        length += master.read(&mut got[length..]).unwrap();
    }
    assert_eq!(&got[..length], b"one\r\ntwo\r\n");
    // And nobody looks at it any more.
    let (read, write) = pipe();
    let writer = std::thread::spawn(move || put(&write, &b"0123456789\n".repeat(10_000)));
    while capture.on_readable(read.as_fd()) != Progress::Stuck {}
    assert!(capture.next_tick().is_some());
    drop((capture, read));
    // The pipe is gone under it.
    let _ = writer.join();
}

#[test]
fn a_fifo_with_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.unwrap();
    for retention in sizes() {
        // Nobody has it open yet.
        let mut capture = capture(&path, retention);
        print(&mut capture, &lines(100));
        let mut reader = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .unwrap();
        let mut got = vec![0; 100_000];
        let length = reader.read(&mut got).unwrap();
        assert_eq!(&got[..length], lines(100).as_bytes());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn links_lead_to_descriptors_and_are_never_rolled() {
    let dir = tempfile::tempdir().unwrap();
    let (link, out) = (dir.path().join("app.log"), dir.path().join("out"));
    let shell = File::create(&out).unwrap();
    std::os::unix::fs::symlink(path_of(&shell), &link).unwrap();
    let mut capture = capture(&link, keep_all(50));
    print(&mut capture, &lines(50));
    assert_eq!(text(&out), lines(50));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn descriptors_that_cannot_be_written() {
    let (read, _write) = pipe();
    for path in [path_of(&read), Path::new("/dev/fd/999999").to_owned()] {
        let error = RollingFile::open(&path, Retention::NONE, clock()).unwrap_err();
        assert_eq!(error.kind(), Kind::Open, "{}", path.display());
    }
}

#[test]
fn clearing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let rolled = |number: u32| dir.path().join(format!("web.log.{number}"));
    let foreign = dir.path().join("web.log.20261122");
    fs::write(&foreign, "theirs").unwrap();
    let mut rolling = capture(&path, keep_all(100));
    print(&mut rolling, &lines(100));
    assert!(rolled(3).exists());
    rolling.clear().unwrap();
    assert_eq!(text(&path), "");
    assert!(!rolled(1).exists() && !rolled(3).exists() && foreign.exists());
    print(&mut rolling, "after\n");
    assert_eq!(text(&path), "after\n");
    assert_eq!(rolling.take_notices(), [], "our own cut is no surprise");

    // What somebody moved away is theirs.
    let moved = dir.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    rolling.clear().unwrap();
    assert_eq!(text(&moved), "after\n");
    assert_eq!(everything(&path), b"");

    // A directory is none of ours.
    print(&mut rolling, &lines(20));
    fs::remove_file(rolled(1)).unwrap();
    fs::create_dir(rolled(1)).unwrap();
    rolling.clear().unwrap();
    assert!(rolled(1).is_dir() && !rolled(2).exists());

    // Without rolling, files with numbers are somebody else's.
    let mut growing = capture(&path, Retention::NONE);
    fs::write(rolled(2), "theirs").unwrap();
    growing.clear().unwrap();
    assert_eq!(text(rolled(2)), "theirs");
}

#[test]
fn clearing_shows_to_who_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let mut capture = capture(&path, keep_all(1000));
    print(&mut capture, "long before\n");
    let reader = File::open(&path).unwrap();
    capture.clear().unwrap();
    assert_eq!(reader.metadata().unwrap().len(), 0, "the same file, cut");
}

/// supervisord's `logfile_backups = 0`: one file, begun again at its size.
#[test]
fn no_backups() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let retention = Retention {
        files: Some(0),
        ..keep_all(100)
    };
    let mut capture = capture(&path, retention);
    print(&mut capture, &lines(100));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let kept = text(&path);
    assert!(kept.len() <= 100 && lines(100).ends_with(&kept), "{kept}");
}

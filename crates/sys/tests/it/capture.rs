//! Pipes that outlive their reader.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use mainstay_sys::pipe::{
    CAPTURE_SIZE, bytes_readable, capacity, capture_pipe, inode, reopen_reader, splice_to_file,
};
use mainstay_sys::{ExitStatus, Signal, Spawn};

use crate::{DETOURS, ended, pipe, shell, until};

#[test]
fn a_program_survives_the_death_of_its_reader_and_the_next_one_reads_on() {
    for detour in DETOURS {
        let (reader, writer) = capture_pipe(CAPTURE_SIZE).unwrap();
        let (go_reader, go) = pipe();
        let mut spawn = shell("echo before; read line; echo after; read line; echo end; exit 3");
        spawn.fds = vec![(writer, 1), (go_reader.into(), 0)];
        let child = spawn.spawn_by(detour).unwrap();
        drop(spawn);
        let ours = inode(&reader).unwrap();
        until("the first line", || bytes_readable(&reader).unwrap() == 7);
        drop(reader);
        // Nobody reads now. With an ordinary pipe the next line would be its death by SIGPIPE.
        let go = File::from(go);
        std::io::Write::write_all(&mut &go, b"\n").unwrap();
        let (reader, found) = reopen_reader(child.pid(), 1).unwrap();
        assert_eq!(found, ours);
        until("the line without a reader", || {
            bytes_readable(&reader).unwrap() == 13
        });
        std::io::Write::write_all(&mut &go, b"\n").unwrap();
        assert_eq!(ended(&child), ExitStatus::Code(3), "{detour:?}");
        let mut output = String::new();
        File::from(reader).read_to_string(&mut output).unwrap();
        assert_eq!(output, "before\nafter\nend\n", "{detour:?}");
    }
}

#[test]
fn an_ordinary_pipe_would_have_killed_it() {
    // The counterpart of the test above, so that it is known to test something.
    let (reader, writer) = pipe();
    let (go_reader, go) = pipe();
    let mut spawn = shell("read line; echo after; exit 3");
    spawn.fds = vec![(writer, 1), (go_reader.into(), 0)];
    let child = spawn.spawn().unwrap();
    drop((spawn, reader));
    std::io::Write::write_all(&mut File::from(go), b"\n").unwrap();
    assert_eq!(ended(&child), ExitStatus::Signal(13, false));
}

#[test]
fn splice_takes_a_long_output_whole_and_in_order() {
    let (reader, writer) = capture_pipe(CAPTURE_SIZE).unwrap();
    let mut spawn = Spawn::new("/usr/bin/seq");
    spawn.args = ["seq", "300000"].map(Into::into).to_vec();
    spawn.fds = vec![(writer, 1)];
    let child = spawn.spawn().unwrap();
    drop(spawn);
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut offset = 0;
    loop {
        // Odd sizes, so that pages are cut everywhere.
        match splice_to_file(&reader, file.as_file(), offset, 54_321) {
            Ok(0) => break,
            Ok(count) => offset += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ended(&child), ExitStatus::Code(0));
    let got = std::fs::read_to_string(file.path()).unwrap();
    assert!(
        got.lines().map(str::parse::<u32>).eq((1..=300_000).map(Ok)),
        "lines lost, cut or out of order"
    );
}

#[test]
fn a_full_pipe_makes_the_program_wait_and_loses_nothing() {
    let (reader, writer) = capture_pipe(0).unwrap();
    let room = capacity(&reader).unwrap() as u64;
    let mut spawn = Spawn::new("/usr/bin/seq");
    spawn.args = ["seq", "100000"].map(Into::into).to_vec();
    spawn.fds = vec![(writer, 1)];
    let child = spawn.spawn().unwrap();
    drop(spawn);
    // It cannot end before somebody reads.
    until("the pipe is full", || {
        bytes_readable(&reader).unwrap() > room / 2
    });
    assert_eq!(child.try_wait().unwrap(), None);
    mainstay_sys::pipe::set_nonblocking(&reader, false).unwrap();
    let mut output = String::new();
    File::from(reader).read_to_string(&mut output).unwrap();
    assert_eq!(output.lines().count(), 100_000);
    assert_eq!(ended(&child), ExitStatus::Code(0));
}

#[test]
fn only_a_pipe_is_reopened() {
    let mut spawn = Spawn::new("/bin/sleep");
    spawn.args = ["sleep", "100"].map(Into::into).to_vec();
    let child = spawn.spawn().unwrap();
    assert_eq!(
        reopen_reader(child.pid(), 1).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    assert_eq!(
        reopen_reader(child.pid(), 7).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    child.signal(Signal::KILL).unwrap();
    ended(&child);
    assert_eq!(
        reopen_reader(child.pid(), 1).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

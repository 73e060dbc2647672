//! The journal's native protocol, to a socket that reads it as journald does.

use std::fs::File;
use std::io::{self, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_log::sinks::journald::JournaldFormat;
use mainstay_log::sinks::{JournaldConfig, JournaldSink};
use mainstay_log::{Level, Record, Stamp, Value};
use rustix::cmsg_space;
use rustix::fs::{SealFlags, fcntl_get_seals};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Records, give, give_all};
use crate::clock;

/// An entry, from the datagram or from the sealed file that came with it.
fn receive(socket: &UnixDatagram) -> (Vec<(String, Vec<u8>)>, bool) {
    let mut buffer = vec![0; 1 << 20];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut buffer)];
    let received = recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut file: Option<OwnedFd> = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            file = fds.into_iter().next();
        }
    }
    let bytes = match &file {
        None => buffer[..received.bytes].to_vec(),
        Some(file) => {
            assert_eq!(received.bytes, 0, "a file comes alone");
            let seals = fcntl_get_seals(file).unwrap();
            let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            assert_eq!(seals, all);
            let mut bytes = Vec::new();
            let mut file = File::from(file.try_clone().unwrap());
            io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        }
    };
    (parse(&bytes), file.is_some())
}

/// Name, `=`, value, line feed; or name, line feed, length, value, line feed.
fn parse(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let line = &bytes[..end];
        let after = &bytes[end + 1..];
        let (name, value);
        if let Some(at) = line.iter().position(|byte| *byte == b'=') {
            (name, value) = (&line[..at], &line[at + 1..]);
            bytes = after;
        } else {
            let length = u64::from_le_bytes(after[..8].try_into().unwrap());
            let length = usize::try_from(length).unwrap();
            (name, value) = (line, &after[8..8 + length]);
            assert_eq!(after[8 + length], b'\n');
            bytes = &after[8 + length + 1..];
        }
        fields.push((String::from_utf8(name.to_vec()).unwrap(), value.to_vec()));
    }
    fields
}

fn value<'a>(fields: &'a [(String, Vec<u8>)], name: &str) -> &'a [u8] {
    let mut found = fields.iter().filter(|(known, _)| known == name);
    let (_, value) = found
        .next()
        .unwrap_or_else(|| panic!("{name} in {fields:?}"));
    assert!(found.next().is_none(), "{name} once");
    value
}

fn rendered(level: Level, message: &str, fields: &[(&str, Value<'_>)]) -> Records {
    let time = "2026-11-22T06:00:00.5Z".parse().unwrap();
    let record = Record::new(time, level, "app::db", message).fields(fields);
    let mut bytes = Vec::new();
    let mut stamp = Stamp::new(TimeZone::UTC);
    JournaldFormat::default().render(&record, &mut stamp, &mut bytes);
    let mut records = Records::default();
    records.add_at(time, level, &bytes);
    records
}

fn config(path: &Path) -> JournaldConfig {
    JournaldConfig {
        socket: path.to_owned(),
        timeout: Duration::from_millis(50),
    }
}

#[test]
fn entries_small_large_and_strange() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    let clock = clock();
    let mut sink = JournaldSink::new(config(&path), clock.clone());
    let multi = "first\nsecond = \\n\u{0}\nPRIORITY=0";
    let fields = [("user-id", 7.into()), ("message", Value::Text("own"))];
    give_all(&mut sink, rendered(Level::Error, multi, &fields), &clock);
    let (entry, in_file) = receive(&socket);
    assert!(!in_file);
    assert_eq!(value(&entry, "MESSAGE"), multi.as_bytes());
    assert_eq!(value(&entry, "PRIORITY"), b"3");
    assert_eq!(value(&entry, "USER_ID"), b"7");
    assert_eq!(value(&entry, "FIELD_MESSAGE"), b"own");
    assert_eq!(value(&entry, "TARGET"), b"app::db");
    // More than any socket takes at once.
    let huge = "line\n".repeat(1_000_000);
    give_all(&mut sink, rendered(Level::Info, &huge, &[]), &clock);
    let (entry, in_file) = receive(&socket);
    assert!(in_file);
    assert_eq!(value(&entry, "MESSAGE"), huge.as_bytes());
    assert_eq!(value(&entry, "PRIORITY"), b"6");
    // What the pipeline says itself may have another format.
    let mut records = Records::default();
    records.add(Level::Warn, "3 records lost\n");
    give_all(&mut sink, records, &clock);
    let (entry, _) = receive(&socket);
    assert_eq!(value(&entry, "MESSAGE"), b"3 records lost");
    assert_eq!(value(&entry, "PRIORITY"), b"4");
}

#[test]
fn a_journal_that_is_away_full_or_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let clock = clock();
    let mut sink = JournaldSink::new(config(&path), clock.clone());
    let error = give(&mut sink, &mut rendered(Level::Info, "0", &[])).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot reach journald at"), "{text}");
    let mut number = 0;
    for _ in 0..2 {
        let socket = UnixDatagram::bind(&path).unwrap();
        clock.advance(Duration::from_mins(1));
        let mut sent = 0;
        loop {
            let mut records = rendered(Level::Info, &(number + sent).to_string(), &[]);
            match give(&mut sink, &mut records) {
                Ok(()) => sent += 1,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
                    break;
                }
            }
        }
        for expected in number..number + sent {
            let (entry, _) = receive(&socket);
            assert_eq!(value(&entry, "MESSAGE"), expected.to_string().as_bytes());
        }
        number += sent;
        drop(socket);
        std::fs::remove_file(&path).unwrap();
    }
}

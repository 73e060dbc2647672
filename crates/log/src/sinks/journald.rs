//! The journal of systemd, by its native protocol (systemd.io, "Native Journal Protocol").
//!
//! A [`JournaldFormat`] renders a record where it is written, into lines of text: `KEY=value`, a line
//! feed in a value as `\n`, a backslash as `\\`. The [`JournaldSink`] makes the protocol's datagram of
//! it, whose lengths nothing in between can put out of step. What was rendered by any other format
//! becomes the `MESSAGE`.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_base::Clock;
use mainstay_sys::passing;
use rustix::event::PollFlags;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, send};

use super::backoff::{Backoff, Pause};
use super::connection::{self, wait_for};
use super::syslog::severity;
use super::text::{self, Raw};
use crate::batch::{Batch, Entry, Unwritten};
use crate::error::{Error, Reason};
use crate::record::Record;
use crate::sink::Sink;
use crate::stamp::Stamp;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// The longest name of a field (journald refuses longer ones).
const LONGEST_NAME: usize = 64;

/// Names that say something else than a record's own fields.
const TAKEN: [&str; 11] = [
    "CODE_FILE",
    "CODE_FUNC",
    "CODE_LINE",
    "MESSAGE",
    "MESSAGE_ID",
    "PRIORITY",
    "PROGRAM",
    "STREAM",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_TIMESTAMP",
    "TARGET",
];

/// How records become entries of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JournaldFormat {
    /// `SYSLOG_IDENTIFIER`: who speaks. Output of a captured program has that program's name.
    pub identifier: String,
}

impl Default for JournaldFormat {
    /// `mainstay`.
    fn default() -> Self {
        Self {
            identifier: "mainstay".to_owned(),
        }
    }
}

impl JournaldFormat {
    /// Appends the record as lines: `PRIORITY`, `SYSLOG_IDENTIFIER`, `SYSLOG_TIMESTAMP`, `TARGET` or
    /// `PROGRAM` and `STREAM`, `CODE_FILE`, `CODE_LINE`, `CODE_FUNC`, `SPANS`, the fields in upper
    /// case (`FIELD_…` where a name is taken or begins with no letter), `MESSAGE`.
    pub fn render(&self, record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
        // Writing to memory cannot fail, here and below.
        let _ = writeln!(Raw(out), "PRIORITY={}", severity(record.level));
        line(
            "SYSLOG_IDENTIFIER",
            record.program.unwrap_or(&self.identifier),
            out,
        );
        out.extend_from_slice(b"SYSLOG_TIMESTAMP=");
        stamp.full(record.time, out);
        out.push(b'\n');
        match record.program {
            None => line("TARGET", record.target, out),
            Some(program) => line("PROGRAM", program, out),
        }
        if let Some(stream) = record.stream {
            line("STREAM", stream.name(), out);
        }
        if let Some(location) = record.location {
            line("CODE_FILE", location.file, out);
            let _ = writeln!(Raw(out), "CODE_LINE={}", location.line);
            if let Some(function) = location.function {
                line("CODE_FUNC", function, out);
            }
        }
        if let Some(spans) = record.spans {
            line("SPANS", spans.text, out);
        }
        for (key, value) in record.fields {
            name(key, out);
            out.push(b'=');
            text::value(*value, &mut Escaped(out));
            out.push(b'\n');
        }
        out.extend_from_slice(b"MESSAGE=");
        text::message(record.message, &mut Escaped(out));
        out.push(b'\n');
    }
}

fn line(name: &str, value: &str, out: &mut Vec<u8>) {
    let _ = write!(Raw(out), "{name}=");
    let _ = Escaped(out).write_str(value);
    out.push(b'\n');
}

/// A name of a field: capital letters, digits and underscores, beginning with a letter.
fn name(key: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(key.bytes().take(LONGEST_NAME).map(|byte| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        b'A'..=b'Z' | b'0'..=b'9' => byte,
        _ => b'_',
    }));
    let made = &out[start..];
    let is_taken = TAKEN.iter().any(|taken| taken.as_bytes() == made);
    if is_taken || !made.first().is_some_and(u8::is_ascii_uppercase) {
        out.splice(start..start, *b"FIELD_");
        out.truncate(start + LONGEST_NAME);
    }
}

/// A value in one line.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                byte => self.0.push(byte),
            }
        }
        Ok(())
    }
}

/// The bytes that [`Escaped`] was given.
fn unescape(value: &[u8], out: &mut Vec<u8>) {
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(b'n')) => {
                out.push(b'\n');
                bytes.next();
            }
            (b'\\', Some(b'\\')) => {
                out.push(b'\\');
                bytes.next();
            }
            _ => out.push(*byte),
        }
    }
}

/// `NAME=value` of a rendered line.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&line[..at], &line[at + 1..]);
    let is_name = name.first().is_some_and(u8::is_ascii_uppercase)
        && name.len() <= LONGEST_NAME
        && name
            .iter()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
    is_name.then_some((name, value))
}

/// Makes the datagram of the protocol: values with a line feed have their length before them.
fn datagram(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.clear();
    let lines = || {
        entry
            .bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
    };
    let is_rendered = lines().all(|line| field(line).is_some())
        && lines().any(|line| line.starts_with(b"MESSAGE="));
    if !is_rendered {
        let _ = writeln!(Raw(out), "PRIORITY={}", severity(entry.level));
        put(b"MESSAGE", text::chomped(entry.bytes), out);
        return;
    }
    let mut value = Vec::new();
    for (name, escaped) in lines().filter_map(field) {
        value.clear();
        unescape(escaped, &mut value);
        put(name, &value, out);
    }
}

fn put(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Where the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournaldConfig {
    /// The socket, [`SOCKET`] by default.
    pub socket: PathBuf,
    /// How long to wait for room in journald's queue.
    pub timeout: Duration,
}

impl Default for JournaldConfig {
    /// journald's own socket, 10 s.
    fn default() -> Self {
        Self {
            socket: SOCKET.into(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Sends records to journald. What was sent is in its hands; an entry that is too large for a
/// datagram goes in a sealed file in memory.
pub struct JournaldSink {
    config: JournaldConfig,
    clock: Arc<dyn Clock>,
    socket: Option<OwnedFd>,
    backoff: Backoff,
    trouble: Option<(io::ErrorKind, String)>,
}

impl JournaldSink {
    /// Connects at the first record.
    pub fn new(config: JournaldConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            config,
            clock,
            socket: None,
            backoff: Backoff::new(Pause::CONNECT),
            trouble: None,
        }
    }

    fn send(&mut self, bytes: &[u8], until: Instant) -> io::Result<()> {
        let mut again = true;
        loop {
            let socket = self.connected()?;
            match send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for_room(socket, until)?,
                Err(Errno::MSGSIZE | Errno::NOBUFS) => return send_file(socket, bytes, until),
                Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::CONNRESET) if again => {
                    // journald was started again.
                    again = false;
                    self.socket = None;
                }
                Err(errno) => {
                    self.socket = None;
                    return Err(errno.into());
                }
            }
        }
    }

    fn connected(&mut self) -> io::Result<&OwnedFd> {
        if self.socket.is_none() {
            let now = self.clock.monotonic();
            if let Some((kind, text)) = &self.trouble
                && !self.backoff.is_over(now)
            {
                return Err(io::Error::new(*kind, text.clone()));
            }
            let address = self.config.socket.to_str().ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the path of the socket is no text",
                )
            });
            match address.and_then(|address| connection::unix(SocketType::DGRAM, address)) {
                Ok(socket) => {
                    self.backoff.succeeded();
                    self.trouble = None;
                    self.socket = Some(socket);
                }
                Err(error) => {
                    self.backoff.failed(now);
                    let text = format!(
                        "cannot reach journald at {}: {}",
                        self.config.socket.display(),
                        Reason(&error)
                    );
                    self.trouble = Some((error.kind(), text.clone()));
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        self.socket
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn wait_for_room(socket: impl AsFd, until: Instant) -> io::Result<()> {
    if wait_for(socket.as_fd(), PollFlags::OUT, until)? {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "journald takes nothing at the moment",
        ))
    }
}

/// Sends an entry as a file that nobody can change any more: journald reads no other.
fn send_file(socket: &OwnedFd, bytes: &[u8], until: Instant) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("journal-entry", flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    loop {
        match passing::send(socket, b"", Some(file.as_fd())) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for_room(socket, until)?;
            }
            other => return other,
        }
    }
}

impl Sink for JournaldSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let until = Instant::now() + self.config.timeout;
        let mut taken = 0;
        let mut bytes = Vec::new();
        for entry in batch.entries() {
            if !entry.bytes.is_empty() {
                datagram(&entry, &mut bytes);
                self.send(&bytes, until)
                    .map_err(|error| Unwritten { taken, error })?;
            }
            taken += entry.bytes.len();
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.socket = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::level::Level;
    use crate::record::{Location, Stream, Value};

    fn time() -> Timestamp {
        "2026-11-22T06:00:00.123Z".parse().unwrap()
    }

    fn rendered(record: &Record<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let format = JournaldFormat::default();
        format.render(record, &mut Stamp::new(TimeZone::UTC), &mut out);
        out
    }

    fn sent(bytes: &[u8], level: Level) -> Vec<u8> {
        let mut out = b"old".to_vec();
        let time = time();
        datagram(&Entry { time, level, bytes }, &mut out);
        out
    }

    #[test]
    fn entries() {
        let fields = [
            ("user.name", Value::Text("a\\b\nc")),
            ("message", 1.into()),
            ("_x", 2.into()),
            ("", 3.into()),
        ];
        let record = Record::new(time(), Level::Warn, "app", "two\nlines\\n")
            .fields(&fields)
            .location(Some(Location {
                file: "src/a.rs",
                line: 7,
                function: Some("a::b"),
            }));
        let lines = rendered(&record);
        assert_eq!(
            String::from_utf8(lines.clone()).unwrap(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=mainstay\n\
             SYSLOG_TIMESTAMP=2026-11-22T06:00:00.123+00:00\nTARGET=app\nCODE_FILE=src/a.rs\n\
             CODE_LINE=7\nCODE_FUNC=a::b\nUSER_NAME=a\\\\b\\nc\nFIELD_MESSAGE=1\nFIELD__X=2\n\
             FIELD_=3\nMESSAGE=two\\nlines\\\\n\n"
        );
        let sent_ = sent(&lines, Level::Warn);
        let expected: &[u8] = b"PRIORITY=4\nSYSLOG_IDENTIFIER=mainstay\n\
             SYSLOG_TIMESTAMP=2026-11-22T06:00:00.123+00:00\nTARGET=app\nCODE_FILE=src/a.rs\n\
             CODE_LINE=7\nCODE_FUNC=a::b\nUSER_NAME\n\x05\0\0\0\0\0\0\0a\\b\nc\nFIELD_MESSAGE=1\n\
             FIELD__X=2\nFIELD_=3\nMESSAGE\n\x0b\0\0\0\0\0\0\0two\nlines\\n\n";
        assert_eq!(sent_, expected, "{}", String::from_utf8_lossy(&sent_));
        let record =
            Record::new(time(), Level::Info, "web", "hot").program("web:1", Stream::Stdout);
        let text = String::from_utf8(rendered(&record)).unwrap();
        assert!(text.contains("\nSYSLOG_IDENTIFIER=web:1\n"), "{text}");
        assert!(text.contains("\nPROGRAM=web:1\nSTREAM=stdout\n"), "{text}");
    }

    #[test]
    fn what_another_format_rendered_is_the_message() {
        let table: [(&[u8], &[u8]); 4] = [
            (b"plain\n", b"PRIORITY=3\nMESSAGE=plain\n"),
            (b"A=1\n", b"PRIORITY=3\nMESSAGE=A=1\n"),
            (
                b"MESSAGE=x\nand more\n",
                b"PRIORITY=3\nMESSAGE\n\x12\0\0\0\0\0\0\0MESSAGE=x\nand more\n",
            ),
            (
                b"_PID=1\nMESSAGE=forged",
                b"PRIORITY=3\nMESSAGE\n\x15\0\0\0\0\0\0\0_PID=1\nMESSAGE=forged\n",
            ),
        ];
        for (bytes, expected) in table {
            let found = sent(bytes, Level::Error);
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&found));
        }
    }

    proptest! {
        #[test]
        fn values_come_back(message in any::<String>(), key in any::<String>()) {
            let fields = [(key.as_str(), Value::Text(&message))];
            let record = Record::new(time(), Level::Info, &key, message.as_str()).fields(&fields);
            let lines = rendered(&record);
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let (name, value) = field(line).unwrap();
                if name == b"MESSAGE" {
                    let mut out = Vec::new();
                    unescape(value, &mut out);
                    prop_assert_eq!(&out, message.as_bytes());
                }
            }
        }
    }
}

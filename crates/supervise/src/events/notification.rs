//! One notification: its number and its payload.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::kind::Kind;
use crate::machine::Phase;

/// The largest serial number, Python's `sys.maxsize`; 0 follows it.
const LAST_SERIAL: u64 = i64::MAX as u64;

/// A counter of serial numbers: 0, 1, … up to [`i64::MAX`], then 0 again.
///
/// There is one for all notifications, which counts only those that some pool takes, and one in
/// each pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Serials {
    next: u64,
}

impl Serials {
    /// A counter that goes on after `last`, which was given out by an earlier daemon.
    pub fn after(last: u64) -> Self {
        Self {
            next: if last >= LAST_SERIAL { 0 } else { last + 1 },
        }
    }

    /// A new number.
    // Not an iterator: it has no end, and nobody collects it.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        let serial = self.next;
        *self = Self::after(serial);
        serial
    }

    /// The number that [`Serials::next`] gives out.
    pub fn peek(&self) -> u64 {
        self.next
    }
}

/// The process that a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who<'a> {
    /// Its name, without the group.
    pub process: &'a str,
    /// The name of its group.
    pub group: &'a str,
}

/// A process went from one phase to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseChange {
    /// The phase before.
    pub from: Phase,
    /// The phase after; it decides the kind.
    pub to: Phase,
    /// The process id: of the process that ended, when it ended; 0 when there is none, as for one
    /// stopped while it waited for its next start. For RUNNING, STOPPING, STOPPED and EXITED.
    pub pid: u32,
    /// How many starts in a row have failed: for STARTING the ones before, for BACKOFF this one
    /// included.
    pub tries: u32,
    /// Whether the exit code is one of `exitcodes`. For EXITED.
    pub expected: bool,
}

/// One of a process's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Channel {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One notification. Clones share the payload.
///
/// The payloads are those of the table in spec 1.7.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it is about.
    pub kind: Kind,
    /// What a listener reads after the header.
    pub payload: Arc<[u8]>,
    /// Its number among all notifications of the daemon.
    pub serial: u64,
}

impl Notification {
    fn new(serial: u64, kind: Kind, payload: String) -> Self {
        Self {
            kind,
            payload: payload.into_bytes().into(),
            serial,
        }
    }

    /// A process changed its phase. A change from a phase to itself is none: supervisord does
    /// not tell of it, and the caller should not either.
    pub fn phase(serial: u64, who: Who<'_>, change: PhaseChange) -> Self {
        let PhaseChange {
            from,
            to,
            pid,
            tries,
            expected,
        } = change;
        let mut text = format!(
            "processname:{} groupname:{} from_state:{from}",
            who.process, who.group
        );
        match to {
            Phase::Starting | Phase::Backoff => push(&mut text, format_args!(" tries:{tries}")),
            Phase::Running | Phase::Stopping | Phase::Stopped => {
                push(&mut text, format_args!(" pid:{pid}"));
            }
            Phase::Exited => {
                let expected = u8::from(expected);
                push(&mut text, format_args!(" expected:{expected} pid:{pid}"));
            }
            Phase::Fatal | Phase::Unknown => {}
        }
        Self::new(serial, Kind::of_phase(to), text)
    }

    /// A process wrote something.
    pub fn log(serial: u64, who: Who<'_>, pid: u32, channel: Channel, data: &[u8]) -> Self {
        let kind = match channel {
            Channel::Stdout => Kind::ProcessLogStdout,
            Channel::Stderr => Kind::ProcessLogStderr,
        };
        let text = format!(
            "processname:{} groupname:{} pid:{pid} channel:{}\n{}",
            who.process,
            who.group,
            channel.name(),
            as_text(data)
        );
        Self::new(serial, kind, text)
    }

    /// A process wrote something between the capture tokens.
    pub fn communication(
        serial: u64,
        who: Who<'_>,
        pid: u32,
        channel: Channel,
        data: &[u8],
    ) -> Self {
        let kind = match channel {
            Channel::Stdout => Kind::ProcessCommunicationStdout,
            Channel::Stderr => Kind::ProcessCommunicationStderr,
        };
        let text = format!(
            "processname:{} groupname:{} pid:{pid}\n{}",
            who.process,
            who.group,
            as_text(data)
        );
        Self::new(serial, kind, text)
    }

    /// A client sent something by `sendRemoteCommEvent`.
    pub fn remote(serial: u64, subject: &str, data: &str) -> Self {
        let text = format!("type:{subject}\n{data}");
        Self::new(serial, Kind::RemoteCommunication, text)
    }

    /// The daemon is running.
    pub fn supervisor_running(serial: u64) -> Self {
        Self::new(serial, Kind::SupervisorStateChangeRunning, String::new())
    }

    /// The daemon is stopping.
    pub fn supervisor_stopping(serial: u64) -> Self {
        Self::new(serial, Kind::SupervisorStateChangeStopping, String::new())
    }

    /// A tick as [`super::Ticks::due`] gives it: `when` is in seconds since the epoch.
    pub fn tick(serial: u64, kind: Kind, when: u64) -> Self {
        Self::new(serial, kind, format!("when:{when}"))
    }

    /// A group was added.
    pub fn group_added(serial: u64, group: &str) -> Self {
        let text = format!("groupname:{group}\n");
        Self::new(serial, Kind::ProcessGroupAdded, text)
    }

    /// A group was removed.
    pub fn group_removed(serial: u64, group: &str) -> Self {
        let text = format!("groupname:{group}\n");
        Self::new(serial, Kind::ProcessGroupRemoved, text)
    }
}

impl fmt::Debug for Notification {
    /// The payload can be anything that a program wrote, so only its length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("kind", &self.kind)
            .field("serial", &self.serial)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

fn push(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}

/// What a program wrote, as supervisord puts it into payloads and log lines: as it is when it is
/// UTF-8, or else all of it escaped after the word `Undecodable`.
pub fn as_text(data: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(data) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(format!("Undecodable: {}", python_bytes(data))),
    }
}

/// Bytes as Python's `repr` shows them.
fn python_bytes(data: &[u8]) -> String {
    let quote = if data.contains(&b'\'') && !data.contains(&b'"') {
        b'"'
    } else {
        b'\''
    };
    let mut text = String::with_capacity(data.len() + 3);
    text.push('b');
    text.push(char::from(quote));
    for &byte in data {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            _ if byte == quote => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => push(&mut text, format_args!("\\x{byte:02x}")),
        }
    }
    text.push(char::from(quote));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_wrap_where_python_does() {
        let mut serials = Serials::default();
        assert_eq!((serials.next(), serials.next(), serials.peek()), (0, 1, 2));
        let mut serials = Serials::after(i64::MAX as u64 - 1);
        assert_eq!(
            (serials.next(), serials.next(), serials.next()),
            (i64::MAX as u64, 0, 1)
        );
        assert_eq!(Serials::after(u64::MAX).next(), 0);
    }

    #[test]
    fn what_is_not_utf_8_is_escaped() {
        for (data, text) in [
            (&b""[..], ""),
            ("naïve\0".as_bytes(), "naïve\0"),
            (b"\xff", "Undecodable: b'\\xff'"),
            (
                b"a\t\n\r\\\x00\x7f\x80~ ",
                "Undecodable: b'a\\t\\n\\r\\\\\\x00\\x7f\\x80~ '",
            ),
            (b"'\xc3", "Undecodable: b\"'\\xc3\""),
            (b"\"\xc3", "Undecodable: b'\"\\xc3'"),
            (b"'\"\xc3", "Undecodable: b'\\'\"\\xc3'"),
            // A surrogate is no UTF-8, for Python neither.
            (b"\xed\xa0\x80", "Undecodable: b'\\xed\\xa0\\x80'"),
        ] {
            assert_eq!(as_text(data), text);
        }
    }

    #[test]
    fn debug_shows_no_output_of_programs() {
        let who = Who {
            process: "p",
            group: "g",
        };
        let note = Notification::log(7, who, 1, Channel::Stdout, b"hunter2");
        let shown = format!("{note:?}");
        assert!(
            shown.contains("serial: 7") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

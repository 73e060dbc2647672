//! The protocol that a listener speaks on its standard output.

use std::fmt;
use std::mem;

use mainstay_log::Level;

use super::notification::as_text;

/// The largest length that a result may have, in bytes. supervisord has no limit.
pub const LONGEST_RESULT: usize = 1024 * 1024;
/// So many bytes of a result are kept, the first ones. No result as long as this is `OK`.
pub const RESULT_KEPT: usize = 4096;
/// The longest line that announces a result, in bytes, without its line feed. supervisord has no
/// limit, but Python reads no number of more than 4300 digits.
pub const LONGEST_LINE: usize = 4096;

const READY: &[u8] = b"READY\n";
/// How long the word `RESULT` and its space are. supervisord does not look which word it is.
const RESULT_WORD: usize = b"RESULT ".len();
const ACCEPTED: &[u8] = b"OK";

/// What a listener is doing, as far as its output tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It has started, or has answered; it gets nothing before it says that it is ready.
    Acknowledged,
    /// It waits for a notification.
    Ready,
    /// It has got a notification, and has not answered.
    Busy,
    /// It violated the protocol. It gets nothing any more until its process is started again.
    Unknown,
}

impl State {
    /// supervisord's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "ACKNOWLEDGED",
            Self::Ready => "READY",
            Self::Busy => "BUSY",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the output of a listener meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is ready: ACKNOWLEDGED → READY.
    Ready,
    /// It did what was to be done: BUSY → ACKNOWLEDGED. What it was busy with is done.
    Accepted,
    /// It answered with something else than `OK`; these are the first [`RESULT_KEPT`] bytes of
    /// it. BUSY → ACKNOWLEDGED. What it was busy with goes back into its pool.
    Rejected(Vec<u8>),
    /// It said what it may not say: → UNKNOWN. If it was busy, what it was busy with goes back
    /// into its pool.
    Violation {
        /// The state before.
        from: State,
        /// The line in place of `RESULT n`, if it was busy.
        bad_line: Option<String>,
    },
}

impl Step {
    /// The state after it.
    pub fn state(&self) -> State {
        match self {
            Self::Ready => State::Ready,
            Self::Accepted | Self::Rejected(_) => State::Acknowledged,
            Self::Violation { .. } => State::Unknown,
        }
    }

    /// Whether what the listener was busy with goes back into its pool.
    pub fn gives_back(&self) -> bool {
        matches!(
            self,
            Self::Rejected(_)
                | Self::Violation {
                    from: State::Busy,
                    ..
                }
        )
    }

    /// supervisord's log lines about it, for the listener `process`.
    pub fn lines(&self, process: &str) -> Vec<(Level, String)> {
        let from = match self {
            Self::Ready => State::Acknowledged,
            Self::Accepted | Self::Rejected(_) => State::Busy,
            Self::Violation { from, .. } => *from,
        };
        let change = (
            Level::Debug,
            format!("{process}: {from} -> {}", self.state()),
        );
        match self {
            Self::Ready => vec![change],
            Self::Accepted => vec![
                (Level::Debug, format!("{process}: event was processed")),
                change,
            ],
            Self::Rejected(_) => vec![
                (Level::Warn, format!("{process}: event was rejected")),
                change,
            ],
            Self::Violation { bad_line, .. } => {
                let bad_line = bad_line
                    .iter()
                    .map(|line| format!("{process}: bad result line: '{line}'"))
                    .map(|line| (Level::Warn, line));
                let unknown = format!(
                    "{process}: has entered the UNKNOWN state and will no longer receive events, \
                     this usually indicates the process violated the eventlistener protocol"
                );
                bad_line.chain([change, (Level::Warn, unknown)]).collect()
            }
        }
    }
}

/// What the output of one listener process has said so far. A new one is for a process that was
/// just started.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Listener {
    pub(super) awaits: Awaits,
}

/// What comes next, and what has come of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The token `READY\n`. Nothing is decided before as many bytes have come as it is long.
    Token(Vec<u8>),
    /// Nothing: a notification goes to the listener first.
    Notification,
    /// The rest of a line `RESULT n`.
    Line(Vec<u8>),
    /// So many more bytes of a result; and what is kept of it.
    Result { missing: usize, kept: Vec<u8> },
    /// Whatever comes, it is dropped.
    Nothing,
}

impl Default for Awaits {
    fn default() -> Self {
        Self::Token(Vec::new())
    }
}

impl Listener {
    /// What the listener is doing.
    pub fn state(&self) -> State {
        match self.awaits {
            Awaits::Token(_) => State::Acknowledged,
            Awaits::Notification => State::Ready,
            Awaits::Line(_) | Awaits::Result { .. } => State::Busy,
            Awaits::Nothing => State::Unknown,
        }
    }

    /// Its process was started anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A notification was sent to it, which makes it busy. One is only sent to a listener that
    /// is ready; otherwise nothing changes, and the answer is false.
    pub fn sent(&mut self) -> bool {
        let ready = self.state() == State::Ready;
        if ready {
            self.awaits = Awaits::Line(Vec::new());
        }
        ready
    }

    /// Takes what it wrote to its standard output, in pieces of any size, and tells what it
    /// means.
    pub fn feed(&mut self, bytes: &[u8], mut on: impl FnMut(Step)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, step) = self.eat(rest);
            rest = &rest[used..];
            if let Some(step) = step {
                on(step);
            }
        }
    }

    /// Takes some of `bytes`, of which there is at least one, up to the next step.
    fn eat(&mut self, bytes: &[u8]) -> (usize, Option<Step>) {
        match &mut self.awaits {
            Awaits::Token(token) => {
                let used = bytes.len().min(READY.len() - token.len());
                token.extend_from_slice(&bytes[..used]);
                if token.len() < READY.len() {
                    (used, None)
                } else if token == READY {
                    self.awaits = Awaits::Notification;
                    (used, Some(Step::Ready))
                } else {
                    (bytes.len(), Some(self.violation(None)))
                }
            }
            Awaits::Notification => (bytes.len(), Some(self.violation(None))),
            Awaits::Line(line) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = end.unwrap_or(bytes.len());
                let room = LONGEST_LINE - line.len();
                line.extend_from_slice(&bytes[..part.min(room)]);
                if part <= room && end.is_none() {
                    return (part, None);
                }
                let line = mem::take(line);
                let length = if part <= room { length(&line) } else { None };
                match length {
                    Some(missing) => {
                        let kept = Vec::new();
                        self.awaits = Awaits::Result { missing, kept };
                        (part + 1, self.complete())
                    }
                    None => (bytes.len(), Some(self.violation(Some(&line)))),
                }
            }
            Awaits::Result { missing, kept } => {
                let used = bytes.len().min(*missing);
                let room = RESULT_KEPT - kept.len();
                kept.extend_from_slice(&bytes[..used.min(room)]);
                *missing -= used;
                (used, self.complete())
            }
            Awaits::Nothing => (bytes.len(), None),
        }
    }

    /// The step when the whole result is there.
    fn complete(&mut self) -> Option<Step> {
        let Awaits::Result { missing: 0, kept } = &mut self.awaits else {
            return None;
        };
        let result = mem::take(kept);
        self.awaits = Awaits::default();
        Some(if result == ACCEPTED {
            Step::Accepted
        } else {
            Step::Rejected(result)
        })
    }

    fn violation(&mut self, line: Option<&[u8]>) -> Step {
        let from = self.state();
        self.awaits = Awaits::Nothing;
        Step::Violation {
            from,
            bad_line: line.map(|line| as_text(line).into_owned()),
        }
    }
}

impl fmt::Debug for Listener {
    /// What it wrote can be anything, and is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The length in a line `RESULT n`, read as Python's `int` reads bytes: with white space around
/// it, a sign, and underscores between digits. `None` for what is no number, or none that a
/// length may be.
fn length(line: &[u8]) -> Option<usize> {
    let number = line.get(RESULT_WORD..)?;
    let number = std::str::from_utf8(number).ok()?;
    let number = number.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let negative = number.starts_with('-');
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    let mut value = 0_usize;
    for group in digits.split('_') {
        if group.is_empty() {
            return None;
        }
        for digit in group.chars() {
            let digit = digit.to_digit(10)? as usize;
            value = value.saturating_mul(10).saturating_add(digit);
        }
    }
    (value <= LONGEST_RESULT && !(negative && value > 0)).then_some(value)
}

#[cfg(test)]
#[path = "tests/listener.rs"]
mod tests;

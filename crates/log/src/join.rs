//! Lines of output as records: what a traceback, a panic or a logger wrote in several lines is one.
//!
//! Pure: time comes in as a value, and [`Joiner::wake_at`] says when it is wanted next. One joiner is
//! for one stream.

use std::time::Duration;

use crate::level::Level;
use crate::recognise::trace::{
    bare, contains, digits_at_end, exception, is_goroutine, is_ruby_place,
};
use crate::recognise::{Moment, Recognised, Shape, Trace, recognise};

/// How large a record may grow, and how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record, line feeds between lines included. A single line may be longer.
    pub bytes: usize,
    /// Lines of one record.
    pub lines: usize,
    /// So long after a line the record is over if none follows.
    pub wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024,
            lines: 500,
            wait: Duration::from_millis(300),
        }
    }
}

/// Lines that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined<'a> {
    /// The lines without the last line feed.
    pub bytes: &'a [u8],
    /// The level that the lines show; `None`: nothing is known. A traceback without a level word is
    /// at least an error.
    pub level: Option<Level>,
    /// The time that the first line shows.
    pub time: Option<Moment>,
    /// How many lines.
    pub lines: usize,
    /// 0; for what goes on beyond a limit 1, 2, …
    pub part: u64,
    /// Whether it goes on beyond a limit.
    pub more: bool,
    /// What was given with its first line: when that came, or where it stands.
    pub mark: u64,
}

/// How many empty lines may stand between two parts of a record.
const BLANKS: usize = 3;

/// What may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// What a logger wrote: indented lines, and a traceback where an error was logged.
    Logged,
    /// The line with the level, in the next line.
    Half,
    /// Indented lines, up to the line of the exception.
    Frames,
    /// After the exception: what caused it, what was raised while it was handled.
    Raised,
    /// After the sentence that leads to the next traceback.
    Chained,
    Exception,
    /// After `Require stack:`, which is between a message and its steps.
    Required,
    /// So many lines after the place; [`CARET`] after the mark below the line.
    NodeSource(u8),
    Go,
    /// The message, up to a note or the backtrace.
    RustMessage,
    RustTrace,
    Machine,
}

/// The mark of Node has come: what is thrown is next.
const CARET: u8 = 10;

/// What a line is to the open record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Follows(State),
    /// Waits for the next line to say.
    Blank,
    Not,
}

#[derive(Debug)]
struct Open {
    state: State,
    level: Option<Level>,
    /// Whether a level word was there.
    said: bool,
    time: Option<Moment>,
    lines: usize,
    part: u64,
    mark: u64,
    /// Empty lines behind the bytes that may belong to it.
    blanks: usize,
    /// The marks of these.
    blank_marks: [u64; BLANKS],
    wake: Duration,
}

/// Joins lines. Holds what is not known to be over; see [`Joiner::finish`].
#[derive(Debug)]
pub struct Joiner {
    limits: Limits,
    bytes: Vec<u8>,
    open: Option<Open>,
}

impl Joiner {
    /// A joiner with nothing open.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bytes: Vec::new(),
            open: None,
        }
    }

    /// When [`Self::on_time`] should be called; `None` while nothing is open.
    pub fn wake_at(&self) -> Option<Duration> {
        self.open.as_ref().map(|open| open.wake)
    }

    /// Takes the next line, without its line feed, at the monotonic time `now`. Hands on the records
    /// that are over by it.
    pub fn line(
        &mut self,
        line: &[u8],
        now: Duration,
        mark: u64,
        mut emit: impl FnMut(Joined<'_>),
    ) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut known = None;
        if let Some(open) = &self.open {
            let fit = if is_blank(line) {
                blank_fits(open.state)
            } else {
                fits(open, &self.bytes, line, &mut known)
            };
            match fit {
                Fit::Follows(state) => {
                    self.append(line, known, state, now, mark, &mut emit);
                    return;
                }
                Fit::Blank if open.blanks < BLANKS => {
                    if let Some(open) = &mut self.open {
                        open.blank_marks[open.blanks] = mark;
                        open.blanks += 1;
                        open.wake = now + self.limits.wait;
                    }
                    return;
                }
                Fit::Blank | Fit::Not => self.finish(&mut emit),
            }
        }
        let known = known.unwrap_or_else(|| recognise(line));
        let state = match known.shape {
            Shape::Plain | Shape::Whole | Shape::Further => {
                emit(Joined {
                    bytes: line,
                    level: known.level,
                    time: known.time,
                    lines: 1,
                    part: 0,
                    more: false,
                    mark,
                });
                return;
            }
            Shape::Logged => State::Logged,
            Shape::Half => State::Half,
            Shape::Trace(trace) => begun(trace, line),
        };
        self.bytes.clear();
        self.bytes.extend_from_slice(line);
        self.open = Some(Open {
            state,
            level: known.level,
            said: known.level.is_some() && !matches!(known.shape, Shape::Trace(_)),
            time: known.time,
            lines: 1,
            part: 0,
            mark,
            blanks: 0,
            blank_marks: [0; BLANKS],
            wake: now + self.limits.wait,
        });
    }

    fn append(
        &mut self,
        line: &[u8],
        known: Option<Recognised>,
        state: State,
        now: Duration,
        mark: u64,
        emit: &mut impl FnMut(Joined<'_>),
    ) {
        let Some(open) = &mut self.open else { return };
        let grown = self.bytes.len() + open.blanks + 1 + line.len();
        if grown > self.limits.bytes || open.lines + open.blanks >= self.limits.lines {
            emit(open.joined(&self.bytes, true));
            // Blank lines at the cut are in neither part: they say nothing.
            self.bytes.clear();
            open.part += 1;
            (open.lines, open.blanks, open.mark) = (0, 0, mark);
        } else {
            let feeds = open.blanks + 1;
            self.bytes.resize(self.bytes.len() + feeds, b'\n');
        }
        self.bytes.extend_from_slice(line);
        open.lines += open.blanks + 1;
        open.blanks = 0;
        open.wake = now + self.limits.wait;
        let level = known.and_then(|known| known.level);
        if open.state == State::Half {
            open.level = level;
            open.said = level.is_some();
        } else if !open.said && state != State::Logged {
            // A traceback below a line without a level.
            let least = Some(level.unwrap_or(Level::Error).max(Level::Error));
            open.level = open.level.max(least);
        }
        open.state = state;
    }

    /// Hands on what is open if its time is over.
    pub fn on_time(&mut self, now: Duration, emit: impl FnMut(Joined<'_>)) {
        if self.wake_at().is_some_and(|wake| now >= wake) {
            self.finish(emit);
        }
    }

    /// Hands on what is open: the stream has ended, or is cut here.
    pub fn finish(&mut self, mut emit: impl FnMut(Joined<'_>)) {
        let Some(open) = self.open.take() else { return };
        emit(open.joined(&self.bytes, false));
        for mark in &open.blank_marks[..open.blanks] {
            emit(Joined {
                bytes: b"",
                level: None,
                time: None,
                lines: 1,
                part: 0,
                more: false,
                mark: *mark,
            });
        }
        if self.bytes.capacity() > 4096 {
            // One long traceback does not cost memory for ever.
            self.bytes = Vec::new();
        }
    }
}

impl Open {
    fn joined<'a>(&self, bytes: &'a [u8], more: bool) -> Joined<'a> {
        Joined {
            bytes,
            level: self.level,
            time: self.time,
            lines: self.lines,
            part: self.part,
            more,
            mark: self.mark,
        }
    }
}

fn begun(trace: Trace, line: &[u8]) -> State {
    match trace {
        Trace::Python => State::Frames,
        Trace::Exception => State::Exception,
        Trace::Node => State::NodeSource(0),
        Trace::Go => State::Go,
        // Rust of old has the message in the same line.
        Trace::Rust if line.ends_with(b":") => State::RustMessage,
        Trace::Rust => State::RustTrace,
        Trace::Machine => State::Machine,
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

fn blank_fits(state: State) -> Fit {
    match state {
        State::Raised | State::Chained | State::Go | State::Exception | State::RustTrace => {
            Fit::Blank
        }
        State::NodeSource(_) | State::Frames | State::RustMessage => Fit::Follows(state),
        State::Logged | State::Half | State::Required | State::Machine => Fit::Not,
    }
}

/// Whether a line that is not blank belongs to the open record, whose lines are `bytes`. Leaves in `known` what it had to find
/// out about the line.
fn fits(open: &Open, bytes: &[u8], line: &[u8], known: &mut Option<Recognised>) -> Fit {
    use Fit::{Follows, Not};
    let state = open.state;
    let text = bare(line);
    let is_indented = matches!(text.first(), Some(b' ' | b'\t'));
    let after_blank = open.blanks > 0;
    // Indented, and no new record with a time in front.
    if is_indented && !after_blank {
        let begins = text.trim_ascii_start().first();
        let could_be_new = begins.is_some_and(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'[' | b'{' | 0x1b) || byte.is_ascii_uppercase()
        });
        if could_be_new && matches!(state, State::Logged | State::Exception) {
            let recognised = recognise(line);
            let is_new = recognised.time.is_some() && recognised.level.is_some();
            if is_new {
                *known = Some(recognised);
                return Not;
            }
        }
        if state == State::Half {
            return Not;
        }
        return Follows(match state {
            State::NodeSource(lines) => node(lines, text),
            State::Required => State::Exception,
            state => state,
        });
    }
    if let Some(state) = special(open, bytes, text, is_indented) {
        return Follows(state);
    }
    if after_blank {
        return Not;
    }
    let recognised = known.get_or_insert_with(|| recognise(line));
    let is_new = recognised.time.is_some();
    match state {
        State::Half => {
            let level_only = recognised.level.is_some() && !is_new;
            if level_only {
                Follows(State::Logged)
            } else {
                Not
            }
        }
        // The exception itself, whatever it looks like.
        State::Frames if !is_new => Follows(State::Raised),
        State::NodeSource(lines) if !is_new && lines < 2 => Follows(node(lines, text)),
        // A value that is no error, or one whose name does not say so.
        State::NodeSource(CARET) if !is_new => Follows(State::Exception),
        // The message of a panic that a logger tells.
        State::Logged if !is_new && open.lines == 1 && is_panic(bytes) => Follows(state),
        State::RustMessage if !is_new && open.lines < 20 => Follows(state),
        _ if recognised.shape == Shape::Further && open.time.is_some() == is_new => {
            Follows(State::Logged)
        }
        State::Logged => match recognised.shape {
            // A logger of errors puts the traceback behind its line; what it said of the level holds.
            Shape::Trace(trace) if open.level.is_none_or(|level| level >= Level::Warn) => {
                let repeats = open.time.is_none() && trace == Trace::Exception && open.lines > 1;
                if repeats || (open.time.is_none() && !open.said) || trace == Trace::Node {
                    Not
                } else {
                    Follows(begun(trace, text))
                }
            }
            _ => Not,
        },
        _ => Not,
    }
}

fn node(lines: u8, text: &[u8]) -> State {
    let is_caret = text.trim_ascii().iter().all(|byte| *byte == b'^');
    if is_caret {
        return State::NodeSource(CARET);
    }
    if lines >= 2 && exception(text).is_some() {
        return State::Exception;
    }
    State::NodeSource(lines.saturating_add(1))
}

/// Lines that belong to a traceback though they are not indented.
fn special(open: &Open, bytes: &[u8], text: &[u8], is_indented: bool) -> Option<State> {
    let starts = |what: &[u8]| text.starts_with(what);
    let first = *text.first()?;
    let state = open.state;
    let is_trace = !matches!(state, State::Half);
    let grave = open.level.is_none_or(|level| level >= Level::Warn);
    match (state, first) {
        (State::Raised, b'D' | b'T')
            if starts(b"During handling of the above exception")
                || starts(b"The above exception was the direct cause") =>
        {
            Some(State::Chained)
        }
        (State::Chained | State::Frames | State::Logged, b'T')
            if starts(b"Traceback (most recent call last)")
                && grave
                && (state != State::Frames || open.lines == 1) =>
        {
            Some(State::Frames)
        }
        // Exception groups.
        (State::Raised | State::Frames, b' ' | b'+' | b'|') if is_indented => Some(state),
        (State::NodeSource(_), _) if exception(text).is_some() || starts(b"Uncaught ") => {
            Some(State::Exception)
        }
        (State::Exception, b'N') if starts(b"Node.js v") => Some(State::Exception),
        (State::Exception, b'(') if starts(b"(Use `node ") => Some(State::Exception),
        (State::Exception, b'R') if text == b"Require stack:" => Some(State::Required),
        (State::Required, b'-') if starts(b"- ") => Some(State::Required),
        (State::Machine, b'#') => Some(State::Machine),
        // The end of a message of PHP that has several lines.
        (State::Exception | State::Logged, _)
            if open.lines == 1 && text.last()?.is_ascii_digit() && is_end_of_php(bytes, text) =>
        {
            Some(State::Exception)
        }
        (State::Exception | State::Logged, b'}' | b']') if text.len() <= 2 && open.lines > 1 => {
            Some(state)
        }
        (State::Exception | State::Logged, b'C') if starts(b"Caused by:") && grave => {
            Some(State::Exception)
        }
        (State::Exception, b'S' | b'L')
            if starts(b"Stack backtrace:")
                || starts(b"Location:")
                || starts(b"State: ")
                || starts(b"Last message") =>
        {
            Some(State::Exception)
        }
        // Rust's anyhow and eyre, below a blank line.
        (State::Exception, b' ') if is_indented && open.blanks > 0 => Some(state),
        (State::Exception | State::Logged, b'S') if starts(b"Stack trace:") => {
            Some(State::Exception)
        }
        (State::Exception | State::Logged, b'[')
            if starts(b"[stacktrace]") || starts(b"[previous exception]") =>
        {
            Some(State::Exception)
        }
        (State::Exception | State::Logged, b'#') if text.get(1).is_some_and(u8::is_ascii_digit) => {
            Some(State::Exception)
        }
        (State::Exception, b'N')
            if starts(b"Next ") && contains(text.get(..200).unwrap_or(text), b"Exception") =>
        {
            Some(state)
        }
        (State::Exception | State::Logged, b'"') if starts(b"\"}") => Some(state),
        (State::Exception | State::Logged, b'*') if starts(b"** (") && grave => {
            Some(State::Exception)
        }
        (State::Go | State::Logged, b'g') if is_goroutine(text) => Some(State::Go),
        (State::Go, _) => go(text).then_some(State::Go),
        (State::RustMessage | State::RustTrace, b'n') if starts(b"note: ") => {
            Some(State::RustTrace)
        }
        (State::RustTrace, b'f') if starts(b"fatal runtime error: ") => Some(State::RustTrace),
        (State::RustMessage | State::RustTrace, b's') if starts(b"stack backtrace:") => {
            Some(State::RustTrace)
        }
        _ if is_trace && grave && is_ruby_place(text) => Some(if state == State::Logged {
            state
        } else {
            State::Exception
        }),
        _ => None,
    }
}

/// `… ERROR thread 'main' panicked at src/main.rs:5:10:`, without the message.
fn is_panic(line: &[u8]) -> bool {
    line.ends_with(b":") && contains(line, b"thread '") && contains(line, b" panicked at ")
}

/// `two in /srv/shop/a.php:3` after `PHP Fatal error:  Uncaught Exception: one`.
fn is_end_of_php(first: &[u8], text: &[u8]) -> bool {
    let is_place = |text: &[u8]| {
        let place = &text[..text.len() - digits_at_end(text)];
        place.ends_with(b".php:") && contains(place, b" in /")
    };
    is_place(text) && contains(first, b"Uncaught ") && !is_place(first)
}

/// Lines of a crash of Go that are not indented: calls, headings, registers.
fn go(text: &[u8]) -> bool {
    let known: [&[u8]; 10] = [
        b"goroutine ",
        b"panic(",
        b"created by ",
        b"[signal ",
        b"[recovered]",
        b"exit status ",
        b"runtime stack:",
        b"panic: ",
        b"PC=",
        b"main.",
    ];
    if known.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    let is_call = text.ends_with(b")")
        && text.contains(&b'(')
        && text.contains(&b'.')
        && !text[..text.len().min(2)].contains(&b' ');
    let name = text.iter().position(|byte| *byte == b'(').unwrap_or(0);
    // `rax    0x0`
    let is_register = text.len() < 40
        && text
            .iter()
            .position(|byte| *byte == b' ')
            .is_some_and(|space| space <= 6 && text[space..].trim_ascii_start().starts_with(b"0x"));
    (is_call && !text[..name].contains(&b' ')) || is_register
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;

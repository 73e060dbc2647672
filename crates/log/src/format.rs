//! Records as bytes: formats compiled to a list of operations, and the escaping they share.
//!
//! Rendering appends to the caller's buffer and allocates nothing itself, so that a buffer that is
//! used again costs no allocation once it has grown.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use crate::digits::{signed, unsigned};
use crate::level::Level;
use crate::record::{Location, Message, Record, Value};
use crate::scratch;
use crate::seelog::{Custom, DateLayout};
use crate::sinks::SyslogFormat;
use crate::sinks::journald::JournaldFormat;
use crate::sinks::otlp;
use crate::stamp::Stamp;

/// How a record is written, compiled.
///
/// Three have names: `text` (`2026-11-22T14:00:00.123+08:00 INFO  target: spans: message key=value`),
/// `short` (`14:00:00 INFO  message key=value`) and `json` (one object a line). Others are written in
/// the verbs of seelog, see [`Format::seelog`](crate::Format::seelog).
///
/// In the three with names one record is never taken for two in text: a line break inside a message
/// is followed by four spaces, and every other control character but tab is written as an escape, so
/// that what a program prints cannot move the cursor of whoever reads the log. In JSON a record is
/// always one line. seelog's verbs write what they are given as it is, and a line ends where the format says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Format {
    ops: Arc<[Op]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Literal(Box<str>),
    Stamp,
    Clock,
    Level,
    ColouredLevel,
    Source,
    Program,
    Spans,
    Message,
    Fields,
    Json,
    /// The level by one of seelog's names.
    LevelName(LevelName),
    /// Unix time in nanoseconds.
    Nanoseconds,
    /// The time by a layout, in UTC or local.
    Date(Arc<DateLayout>, bool),
    /// The spans alone, where there are any.
    Context,
    /// The line in the source file.
    Line,
    /// Text from the record.
    Text(Piece, Escape),
    Custom(Custom),
    /// A message for a syslog daemon.
    Syslog(Arc<SyslogFormat>),
    /// An entry for the journal of systemd.
    Journald(Arc<JournaldFormat>),
    /// A log record of OpenTelemetry as JSON.
    Otlp,
}

/// The names a level has in seelog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LevelName {
    /// `Warn`
    Word,
    /// `WARN`
    UpperWord,
    /// `Wrn`
    Three,
    /// `WRN`
    UpperThree,
    /// `w`
    Letter,
}

impl LevelName {
    fn of(self, level: Level) -> &'static str {
        let names: [&str; 6] = match self {
            Self::Word => ["Trace", "Debug", "Info", "Warn", "Error", "Critical"],
            Self::UpperWord => ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"],
            Self::Three => ["Trc", "Dbg", "Inf", "Wrn", "Err", "Crt"],
            Self::UpperThree => ["TRC", "DBG", "INF", "WRN", "ERR", "CRT"],
            Self::Letter => ["t", "d", "i", "w", "e", "c"],
        };
        names[level.index()]
    }
}

/// A text that a record has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    Message,
    /// The function; the target where it is not known.
    Function,
    /// The same without the path before it.
    FunctionName,
    /// The last part of the source file's path.
    FileName,
    /// The source file's path below this directory, which ends with a slash.
    RelativePath(Arc<str>),
    /// The source file's path, made absolute by this directory.
    FullPath(Arc<str>),
}

/// What is done to a text so that it can stand inside other text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Escape {
    None,
    /// The inside of a JSON string (RFC 8259, section 7).
    Json,
    /// The content of an XML element (XML 1.0, section 2.4).
    Xml,
}

/// What stands for a place in the code that is not known.
const NOWHERE: &str = "-";

/// The names [`Format::named`] knows.
pub const NAMES: [&str; 3] = ["text", "short", "json"];

impl Format {
    /// The format of this name, see [`NAMES`].
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::text()),
            "short" => Some(Self::short()),
            "json" => Some(Self::json()),
            _ => None,
        }
    }

    /// Everything on a line, for people and grep.
    pub fn text() -> Self {
        Self::of([
            Op::Stamp,
            Op::Literal(" ".into()),
            Op::Level,
            Op::Literal(" ".into()),
            Op::Source,
            Op::Literal(": ".into()),
            Op::Spans,
            Op::Message,
            Op::Fields,
            Op::Literal("\n".into()),
        ])
    }

    /// What a person at a terminal needs: the time of day, the level, the program if it is one.
    pub fn short() -> Self {
        Self::of([
            Op::Clock,
            Op::Literal(" ".into()),
            Op::Level,
            Op::Literal(" ".into()),
            Op::Program,
            Op::Spans,
            Op::Message,
            Op::Fields,
            Op::Literal("\n".into()),
        ])
    }

    /// One JSON object a line: `time`, `level`, `target`, then where known `program`, `stream`,
    /// `message`, `fields` (an object), `spans` (an array of objects, outermost first), `file`, `line`,
    /// `function`.
    pub fn json() -> Self {
        Self::of([Op::Json, Op::Literal("\n".into())])
    }

    /// What a syslog daemon takes, one message for each record.
    pub fn syslog(format: SyslogFormat) -> Self {
        Self::of([Op::Syslog(Arc::new(format))])
    }

    /// What the journal of systemd takes, one entry for each record.
    pub fn journald(format: JournaldFormat) -> Self {
        Self::of([Op::Journald(Arc::new(format))])
    }

    /// A record as a collector of OpenTelemetry takes it.
    pub fn otlp() -> Self {
        Self::of([Op::Otlp])
    }

    /// The same with the level in colour, for a terminal. JSON stays as it is.
    #[must_use]
    pub fn coloured(self) -> Self {
        self.ops
            .iter()
            .map(|op| match op {
                Op::Level => Op::ColouredLevel,
                op => op.clone(),
            })
            .collect()
    }

    fn of<const N: usize>(ops: [Op; N]) -> Self {
        ops.into_iter().collect()
    }

    /// Whether anything it writes depends on less than a second of the time, so that a clock of
    /// whole seconds would not do. What is not known, as of a custom formatter, counts as yes.
    pub fn needs_subseconds(&self) -> bool {
        self.ops.iter().any(|op| match op {
            Op::Stamp
            | Op::Json
            | Op::Nanoseconds
            | Op::Custom(_)
            | Op::Syslog(_)
            | Op::Journald(_)
            | Op::Otlp => true,
            Op::Date(layout, _) => layout.shows_subseconds(),
            _ => false,
        })
    }

    /// Whether it writes where in the code a record was made. What is not known counts as yes.
    pub fn needs_location(&self) -> bool {
        self.ops.iter().any(|op| match op {
            Op::Json | Op::Line | Op::Custom(_) | Op::Syslog(_) | Op::Journald(_) | Op::Otlp => {
                true
            }
            Op::Text(piece, _) => *piece != Piece::Message,
            _ => false,
        })
    }

    /// How many of the first operations write the same for all records of one level and one second
    /// that are no output of a program; or of one millisecond, if the second answer says so.
    pub(crate) fn steady(&self) -> (usize, bool) {
        let mut millis = false;
        let is_steady = |op: &&Op| match op {
            Op::Stamp => {
                millis = true;
                true
            }
            Op::Date(layout, _) => !layout.shows_subseconds(),
            Op::Literal(_)
            | Op::Clock
            | Op::Level
            | Op::ColouredLevel
            | Op::LevelName(_)
            | Op::Program => true,
            _ => false,
        };
        let count = self.ops.iter().take_while(is_steady).count();
        (count, millis)
    }

    /// Appends the record, with its line end if the format has one.
    pub fn render(&self, record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
        self.render_part(0..usize::MAX, record, stamp, out);
    }

    /// Appends what these of its operations write, as far as there are so many.
    pub(crate) fn render_part(
        &self,
        operations: Range<usize>,
        record: &Record<'_>,
        stamp: &mut Stamp,
        out: &mut Vec<u8>,
    ) {
        let end = operations.end.min(self.ops.len());
        for op in self.ops.get(operations.start..end).unwrap_or_default() {
            match op {
                Op::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Op::Stamp => stamp.full(record.time, out),
                Op::Clock => stamp.clock(record.time, out),
                Op::Level => out.extend_from_slice(record.level.column().as_bytes()),
                Op::ColouredLevel => {
                    out.extend_from_slice(colour(record.level).as_bytes());
                    out.extend_from_slice(record.level.column().as_bytes());
                    out.extend_from_slice(b"\x1b[0m");
                }
                Op::Source => source(record, out),
                Op::Program => {
                    if record.program.is_some() {
                        source(record, out);
                        out.extend_from_slice(b": ");
                    }
                }
                Op::Context => {
                    if let Some(spans) = record.spans {
                        out.extend_from_slice(spans.text.as_bytes());
                    }
                }
                Op::Spans => {
                    if let Some(spans) = record.spans {
                        out.extend_from_slice(spans.text.as_bytes());
                        out.extend_from_slice(b": ");
                    }
                }
                Op::Message => plain_message(record.message, out),
                Op::Fields => {
                    for (key, value) in record.fields {
                        text_field(key, *value, out);
                    }
                }
                Op::Json => json_record(record, stamp, out),
                Op::LevelName(name) => out.extend_from_slice(name.of(record.level).as_bytes()),
                Op::Nanoseconds => nanoseconds(record, out),
                Op::Date(layout, utc) => stamp.date(layout, *utc, record.time, out),
                Op::Line => match record.location {
                    Some(location) => unsigned(u64::from(location.line), out),
                    None => out.extend_from_slice(NOWHERE.as_bytes()),
                },
                Op::Text(Piece::Message, Escape::None) => message_bytes(record.message, out),
                Op::Text(piece, Escape::None) => text_piece(piece, record, &mut Raw(out)),
                Op::Text(piece, Escape::Json) => text_piece(piece, record, &mut Json(out)),
                Op::Text(piece, Escape::Xml) => text_piece(piece, record, &mut Xml(out)),
                Op::Custom(custom) => custom.write(record, out),
                Op::Syslog(format) => format.render(record, stamp, out),
                Op::Journald(format) => format.render(record, stamp, out),
                Op::Otlp => otlp::render(record, out),
            }
        }
    }
}

impl FromIterator<Op> for Format {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        Self {
            ops: ops.into_iter().collect(),
        }
    }
}

fn text_piece(piece: &Piece, record: &Record<'_>, out: &mut impl fmt::Write) {
    let location = record.location;
    let file = location.map_or(NOWHERE, |location| location.file);
    let function = || {
        location
            .and_then(|location: Location<'_>| location.function)
            .unwrap_or(record.target)
    };
    let result = match piece {
        Piece::Message => raw_message(record.message, out),
        Piece::Function => out.write_str(function()),
        Piece::FunctionName => {
            let path = function();
            // Go ends a package with a dot, Rust a module with two colons.
            let from = path.rfind(['.', ':']).map_or(0, |at| at + 1);
            out.write_str(&path[from..])
        }
        Piece::FileName => {
            let from = file.rfind(['/', '\\']).map_or(0, |at| at + 1);
            out.write_str(&file[from..])
        }
        Piece::RelativePath(root) => out.write_str(file.strip_prefix(&**root).unwrap_or(file)),
        Piece::FullPath(root) if location.is_some() && !file.starts_with('/') => {
            out.write_str(root).and_then(|()| out.write_str(file))
        }
        Piece::FullPath(_) => out.write_str(file),
    };
    shown(result, out);
}

/// The message with nothing added; what is no UTF-8 becomes U+FFFD.
fn raw_message(message: Message<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    match message {
        Message::Text(text) => out.write_str(text),
        Message::Format(arguments) => out.write_fmt(arguments),
        Message::Bytes(bytes) => lossy(bytes, out),
        Message::Parts(append) => scratch::with_message(|bytes| {
            let shown = append(bytes);
            lossy(bytes, out).and(shown)
        }),
    }
}

fn lossy(bytes: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    bytes.utf8_chunks().try_for_each(|chunk| {
        out.write_str(chunk.valid())?;
        if chunk.invalid().is_empty() {
            return Ok(());
        }
        out.write_str("\u{fffd}")
    })
}

fn nanoseconds(record: &Record<'_>, out: &mut Vec<u8>) {
    let nanos = record.time.as_nanosecond();
    if nanos < 0 {
        out.push(b'-');
    }
    match u64::try_from(nanos.unsigned_abs()) {
        Ok(nanos) => unsigned(nanos, out),
        // After the year 2554. Writing to memory cannot fail.
        Err(_) => drop(write!(Raw(out), "{}", nanos.unsigned_abs())),
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Trace | Level::Debug => "\x1b[2m",
        Level::Info => "\x1b[32m",
        Level::Warn => "\x1b[33m",
        Level::Error => "\x1b[31m",
        Level::Critical => "\x1b[1;31m",
    }
}

/// Who speaks: the target, or `program[stream]`.
fn source(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    match record.program {
        None => out.extend_from_slice(record.target.as_bytes()),
        Some(program) => {
            out.extend_from_slice(program.as_bytes());
            if let Some(stream) = record.stream {
                out.push(b'[');
                out.extend_from_slice(stream.name().as_bytes());
                out.push(b']');
            }
        }
    }
    make_plain(start, out);
}

fn plain_message(message: Message<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    message_bytes(message, out);
    make_plain(start, out);
}

/// The text of a message; each ill-formed sequence of a program's output is U+FFFD.
pub(crate) fn message_text(message: Message<'_>, out: &mut impl fmt::Write) {
    shown(raw_message(message, out), out);
}

/// The same into memory, where nothing stands between.
#[inline]
pub(crate) fn message_bytes(message: Message<'_>, out: &mut Vec<u8>) {
    match message {
        Message::Text(text) => out.extend_from_slice(text.as_bytes()),
        Message::Parts(append) => {
            let result = append(out);
            shown(result, &mut Raw(out));
        }
        message => message_text(message, &mut Raw(out)),
    }
}

/// Makes the text from `start` on such that it can stand in a line, see [`Format`].
fn make_plain(start: usize, out: &mut Vec<u8>) {
    if !is_clean(&out[start..]) {
        escape_line(start, out);
    }
}

/// A value that cannot be shown says so in its place; `format!` would panic.
fn shown(result: fmt::Result, out: &mut impl fmt::Write) {
    if result.is_err() {
        // Writing to memory cannot fail.
        let _ = out.write_str("<cannot be shown>");
    }
}

/// The value bare where that is clear, else in quotes.
fn plain_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Signed(number) => return signed(number, out),
        Value::Unsigned(number) => return unsigned(number, out),
        _ => {}
    }
    quoted_if_needed(out, |out| value_text(value, &mut Raw(out)));
}

/// The text of a value.
pub(crate) fn value_text(value: Value<'_>, out: &mut impl fmt::Write) {
    let result = match value {
        Value::Null => out.write_str("null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Signed(value) => write!(out, "{value}"),
        Value::Unsigned(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value}"),
        Value::Text(text) => out.write_str(text),
        Value::Display(value) => write!(out, "{value}"),
        Value::Debug(value) => write!(out, "{value:?}"),
    };
    shown(result, out);
}

/// Appends what `write` appends, and puts it in quotes with escapes if a reader could not tell
/// where it ends.
fn quoted_if_needed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let clear = |byte: &u8| matches!(byte, 0x21..=0x7e if !matches!(byte, b'"' | b'=' | b'\\'));
    let written = &out[start..];
    if !written.is_empty() && written.iter().all(|byte| clear(byte) || !byte.is_ascii()) {
        // Letters of other scripts stay bare; their spaces and the C1 controls do not.
        let bare = written.is_ascii()
            || std::str::from_utf8(written)
                .is_ok_and(|text| !text.chars().any(|c| c.is_control() || c.is_whitespace()));
        if bare {
            return;
        }
    }
    // The quoted form goes behind the bare one, then takes its place: no second buffer.
    let end = out.len();
    out.push(b'"');
    let mut at = start;
    while at < end {
        let (char, size) = char_at(&out[at..end]);
        at += size;
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            char => escaped(char, false, out),
        }
    }
    out.push(b'"');
    out.drain(start..end);
}

/// The first character and its size; U+FFFD for what is no UTF-8. `bytes` is not empty.
fn char_at(bytes: &[u8]) -> (char, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let chunk = head.utf8_chunks().next();
    match chunk {
        Some(chunk) => match chunk.valid().chars().next() {
            Some(char) => (char, char.len_utf8()),
            None => ('\u{fffd}', chunk.invalid().len().max(1)),
        },
        None => ('\u{fffd}', 1),
    }
}

/// Appends a character, control characters as escapes.
fn escaped(char: char, keep_tab: bool, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    match char {
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' if keep_tab => out.push(b'\t'),
        '\t' => out.extend_from_slice(b"\\t"),
        char if char.is_ascii_control() => {
            let code = char as u8;
            out.extend_from_slice(&[b'\\', b'x', hex(code >> 4), hex(code & 15)]);
        }
        char if char.is_control() => {
            // Writing to memory cannot fail.
            let _ = write!(Raw(out), "\\u{{{:x}}}", u32::from(char));
        }
        char => out.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes()),
    }
}

fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 15)]
}

/// Bytes as they come.
pub(crate) struct Raw<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// A byte that may not stand in a line as it is. 0xC2 begins the C1 control characters.
fn is_odd(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f || byte == 0xc2
}

/// Whether no byte [`is_odd`]: eight at a time, since this is asked of all that is ever written.
fn is_clean(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The highest bit of each byte that is less than `limit`; `limit` is at most 128. Bytes beside
    // one may be wrong, which does not change whether there is any.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & (ONES << 7);
    let odd = |word: [u8; 8]| {
        let word = u64::from_ne_bytes(word);
        below(word, 0x20) | below(word ^ (ONES * 0x7f), 1) | below(word ^ (ONES * 0xc2), 1)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let any = words.iter().fold(0, |any, word| any | odd(*word));
    if any != 0 {
        return false;
    }
    match bytes.last_chunk::<8>() {
        Some(last) => odd(*last) == 0,
        None => !rest.iter().any(|byte| is_odd(*byte)),
    }
}

/// Escapes the text from `start` on. The new text goes behind the old one and then takes its place:
/// no second buffer.
#[cold]
fn escape_line(start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    let mut at = start;
    // Line breaks seen and not yet written: those at the end are dropped.
    let mut breaks = 0;
    while at < end {
        let rest = &out[at..end];
        let run = rest.iter().position(|byte| is_odd(*byte));
        let run = run.unwrap_or(rest.len());
        let odd = rest.get(run..).filter(|odd| !odd.is_empty()).map(char_at);
        let is_break = match odd {
            Some(('\n', _)) => true,
            // CR LF is a line break too.
            Some(('\r', _)) => rest.get(run + 1) == Some(&b'\n'),
            _ => false,
        };
        if run > 0 || (odd.is_some() && !is_break) {
            for _ in 0..std::mem::take(&mut breaks) {
                out.extend_from_slice(b"\n    ");
            }
        }
        out.extend_from_within(at..at + run);
        at += run;
        if let Some((char, size)) = odd {
            at += size;
            match char {
                '\n' => breaks += 1,
                '\r' if is_break => {}
                char => escaped(char, true, out),
            }
        }
    }
    out.drain(start..end);
}

/// The inside of a JSON string (RFC 8259, section 7).
pub(crate) struct Json<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = text.as_bytes();
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 | 0x7f => &[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)],
                _ => continue,
            };
            self.0.extend_from_slice(&bytes[from..at]);
            self.0.extend_from_slice(escape);
            from = at + 1;
        }
        self.0.extend_from_slice(&bytes[from..]);
        Ok(())
    }
}

/// The content of an XML element; what XML cannot hold becomes U+FFFD.
struct Xml<'a>(&'a mut Vec<u8>);

impl fmt::Write for Xml<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let bytes = text.as_bytes();
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'&' => b"&amp;",
                b'<' => b"&lt;",
                b'>' => b"&gt;",
                // A bare one is read back as a line feed.
                b'\r' => b"&#13;",
                b'\n' | b'\t' => continue,
                0..0x20 => "\u{fffd}".as_bytes(),
                // U+FFFE and U+FFFF.
                0xef if matches!(bytes[at + 1..], [0xbf, 0xbe | 0xbf, ..]) => "\u{fffd}".as_bytes(),
                _ => continue,
            };
            self.0.extend_from_slice(&bytes[from..at]);
            self.0.extend_from_slice(escape);
            from = at + if *byte == 0xef { 3 } else { 1 };
        }
        self.0.extend_from_slice(&bytes[from..]);
        Ok(())
    }
}

/// A span's name and fields as [`Spans::text`](crate::record::Spans) has them.
pub(crate) fn span_text(name: &str, fields: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    make_plain(start, out);
    if let Some((_, fields)) = fields.split_first() {
        out.push(b'{');
        out.extend_from_slice(fields);
        out.push(b'}');
    }
}

/// A field as text has it, with the space in front of it.
pub(crate) fn text_field(key: &str, value: Value<'_>, out: &mut Vec<u8>) {
    out.push(b' ');
    quoted_if_needed(out, |out| out.extend_from_slice(key.as_bytes()));
    out.push(b'=');
    plain_value(value, out);
}

/// A field as JSON has it, with the comma in front of it.
pub(crate) fn json_field(key: &str, value: Value<'_>, out: &mut Vec<u8>) {
    out.push(b',');
    json_string(key, out);
    out.push(b':');
    json_value(value, out);
}

fn json_value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Signed(_) | Value::Unsigned(_) => {
            value_text(value, &mut Raw(out));
        }
        Value::Float(number) if number.is_finite() => value_text(value, &mut Raw(out)),
        _ => json_quoted(out, |json| {
            value_text(value, json);
            Ok(())
        }),
    }
}

pub(crate) fn json_string(text: &str, out: &mut Vec<u8>) {
    json_quoted(out, |json| json.write_str(text));
}

fn json_quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Json<'_>) -> fmt::Result) {
    out.push(b'"');
    let mut json = Json(out);
    let result = write(&mut json);
    shown(result, &mut json);
    out.push(b'"');
}

fn json_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn json_record(record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    stamp.full(record.time, out);
    out.push(b'"');
    json_key("level", out);
    json_string(record.level.name(), out);
    json_key("target", out);
    json_string(record.target, out);
    if let Some(program) = record.program {
        json_key("program", out);
        json_string(program, out);
    }
    if let Some(stream) = record.stream {
        json_key("stream", out);
        json_string(stream.name(), out);
    }
    json_key("message", out);
    json_quoted(out, |json| raw_message(record.message, json));
    if !record.fields.is_empty() {
        json_key("fields", out);
        out.push(b'{');
        for (index, (key, value)) in record.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json_string(key, out);
            out.push(b':');
            json_value(*value, out);
        }
        out.push(b'}');
    }
    if let Some(spans) = record.spans {
        json_key("spans", out);
        out.push(b'[');
        out.extend_from_slice(spans.json.as_bytes());
        out.push(b']');
    }
    if let Some(location) = record.location {
        json_key("file", out);
        json_string(location.file, out);
        json_key("line", out);
        value_text(Value::Unsigned(location.line.into()), &mut Raw(out));
        if let Some(function) = location.function {
            json_key("function", out);
            json_string(function, out);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;

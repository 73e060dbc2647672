//! What a line of a program's output says about itself: how grave it is, and when it was.
//!
//! Loggers of all languages put that in front of the message, in a few dozen ways. What is known of
//! them is here; the table of all ways is that of the tests, `recognise/table.txt`. Only where loggers
//! put it is a word taken for a level: a sentence that speaks of an error is no error.
//!
//! Pure: no allocation, no search beyond the first bytes, nothing kept from line to line.

mod cursor;
mod json;
mod time;
pub(crate) mod trace;
mod word;

use cursor::Cursor;
pub use time::Moment;
pub use trace::Trace;
use word::{Case, Strength, Word};

use crate::level::Level;

/// How much of a line is looked at, unless it is JSON.
const HEAD: usize = 512;
/// How many parts of a header are gone over in search of the level.
const PARTS: usize = 16;
/// How long a part in brackets may be.
const GROUP: usize = 160;

/// What is known of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recognised {
    /// How grave it is.
    pub level: Option<Level>,
    /// When it was, as the line says it.
    pub time: Option<Moment>,
    /// Where in the line the message begins, as far as that can be told; at most its length.
    pub message: usize,
    /// Its place among other lines.
    pub shape: Shape,
}

/// The place of a line among other lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// A line of which nothing is known.
    #[default]
    Plain,
    /// What a logger has written, at least the first line of it.
    Logged,
    /// A whole record in one line: nothing follows.
    Whole,
    /// The first of two lines: the level is in the next (`java.util.logging`).
    Half,
    /// Belongs to the line before though it has a header of its own (`PostgreSQL`'s `DETAIL:`).
    Further,
    /// The first line of a traceback.
    Trace(Trace),
}

/// What the parts of this module find.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    level: Option<Level>,
    time: Option<Moment>,
    message: usize,
    further: bool,
    half: bool,
}

/// Says what is known of a line, without its line feed.
pub fn recognise(line: &[u8]) -> Recognised {
    let mut start = Cursor::new(line);
    start.blanks();
    if start.peek() == b'{' {
        let found = json::object(line, start.at);
        let whole = trimmed(line).last() == Some(&b'}');
        let known = found.level.is_some() || found.time.is_some();
        return Recognised {
            level: found.level,
            time: found.time,
            message: found.message.min(line.len()),
            shape: match (whole, known) {
                (true, _) => Shape::Whole,
                (false, true) => Shape::Logged,
                (false, false) => Shape::Plain,
            },
        };
    }
    let head = line.get(..HEAD).unwrap_or(line);
    let found = text(head);
    if found.time.is_none()
        && let Some((trace, level)) = trace::start(trace::bare(head))
        // `Error: …` is a level word and the name of an exception.
        && found.level.is_none_or(|known| known >= Level::Error)
    {
        return Recognised {
            level: Some(found.level.map_or(level, |known| known.max(level))),
            time: None,
            message: 0,
            shape: if level == Level::Warn {
                Shape::Logged
            } else {
                Shape::Trace(trace)
            },
        };
    }
    Recognised {
        level: found.level,
        time: found.time,
        message: found.message.min(line.len()),
        shape: if found.further {
            Shape::Further
        } else if found.half {
            Shape::Half
        } else if found.level.is_some() || found.time.is_some() {
            Shape::Logged
        } else {
            Shape::Plain
        },
    }
}

/// The line without blanks, a carriage return and control sequences at its end.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut line = line.trim_ascii_end();
    // One sequence: loggers reset the colour at the end of a line.
    if line.last() == Some(&b'm')
        && let Some(at) = line.iter().rev().take(8).position(|byte| *byte == 0x1b)
    {
        line = line[..line.len() - at - 1].trim_ascii_end();
    }
    line
}

/// A line that is no JSON.
fn text(line: &[u8]) -> Found {
    let mut at = Cursor::new(line);
    let coloured = at.blanks();
    match at.peek() {
        b'0'..=b'9' => digit(at),
        b'A'..=b'Z' | b'a'..=b'z' => letter(at, coloured),
        b'[' => header(at, None).unwrap_or_default(),
        b'<' => priority(at),
        b'(' | b'/' | b'.' | b'_' => prefixed(at).unwrap_or_default(),
        b'=' => erlang(at),
        b':' => access(at).unwrap_or_default(),
        _ => Found::default(),
    }
}

/// A line that begins with a digit: a time, or an address in an access log.
fn digit(at: Cursor<'_>) -> Found {
    let mut behind = at;
    if let Some(moment) = time::take(&mut behind) {
        return header(behind, Some(moment)).unwrap_or(Found {
            time: Some(moment),
            message: skip_separators(behind),
            ..Found::default()
        });
    }
    if let Some(found) = redis(at) {
        return found;
    }
    let token = at.token(64);
    let count = |what: u8| {
        token
            .iter()
            .map(|byte| usize::from(*byte == what))
            .sum::<usize>()
    };
    let (dots, colons) = (count(b'.'), count(b':'));
    if dots >= 3 || colons >= 2 {
        return access(at).unwrap_or_default();
    }
    // zap of old: seconds as a float, then a tab.
    if at.ahead(token.len()) == b'\t' && dots == 1 {
        behind.at += token.len();
        return header(behind, None).unwrap_or_default();
    }
    // Milliseconds since the start, of log4j.
    let digits = token
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits == token.len() {
        behind.at += digits;
        if behind.peek() == b' ' && behind.ahead(1) == b'[' {
            return header(behind, None).unwrap_or_default();
        }
    }
    Found::default()
}

/// A line that begins with a letter.
fn letter(at: Cursor<'_>, coloured: bool) -> Found {
    // Ruby's Logger: `E, [2026-01-02T15:04:05.123456 #12] ERROR -- : …`.
    if at.ahead(1) == b',' && at.ahead(2) == b' ' && at.ahead(3) == b'[' {
        return ruby(at).unwrap_or_default();
    }
    if at.ahead(1).is_ascii_digit()
        && let Some(found) = glog(at)
    {
        return found;
    }
    if let Some(word) = word::at(at.rest())
        && let Some(found) = leading(at, word, coloured)
    {
        return found;
    }
    let mut behind = at;
    if at.peek().is_ascii_uppercase()
        && let Some(moment) = time::take(&mut behind)
    {
        return named_time(behind, moment);
    }
    if let Some(found) = special(at) {
        return found;
    }
    let token = at.token(HEAD);
    match token.last() {
        Some(b':') => return prefixed(at).unwrap_or_default(),
        _ if token.contains(&b'=') => return json::pairs(at).unwrap_or_default(),
        _ => {}
    }
    // A name and a bar: `web-1  | …`, `app - ERROR - …`; a host name in an access log.
    behind = at;
    behind.at += token.len();
    behind.blanks();
    match (behind.peek(), behind.ahead(1)) {
        (b'|', _) => header(behind, None).unwrap_or_default(),
        (b'-', b' ') => access(at)
            .or_else(|| header(behind, None))
            .unwrap_or_default(),
        _ => Found::default(),
    }
}

/// A level word as the first thing in a line.
fn leading(at: Cursor<'_>, word: Word, coloured: bool) -> Option<Found> {
    let mut behind = at;
    behind.at += word.length;
    let coloured = coloured && behind.peek() == 0x1b;
    let upper = word.case == Case::Upper;
    let accepted = match behind.peek() {
        b':' => (word.strength > Strength::Odd || upper) && behind.ahead(1) != b'/',
        _ if coloured => true,
        b' ' => match word.case {
            // HTTP has a method of that name.
            Case::Upper => word.strength == Strength::Strong && behind.ahead(1) != b'/',
            // yarn: `error Command failed`.
            Case::Lower => {
                word.strength == Strength::Strong && behind.ahead(1).is_ascii_uppercase()
            }
            Case::Mixed => false,
        },
        // logrus has abbreviations there: `ERRO[0012] …`.
        b'[' => upper && word.strength >= Strength::Short,
        b'\t' | b'(' | b'|' | 0x1b | 0 | b'\r' => upper && word.strength == Strength::Strong,
        _ => false,
    };
    if !accepted {
        return None;
    }
    if upper && behind.peek() == b':' && is_further(&at.rest()[..word.length]) {
        return None;
    }
    if behind.peek() == b'[' {
        behind.group(b']', GROUP);
    }
    let mut found = Found {
        level: Some(word.level),
        message: skip_separators(behind),
        ..Found::default()
    };
    // Python's default: `WARNING:root:message`.
    if upper && behind.peek() == b':' && is_name_start(behind.ahead(1)) {
        let rest = &behind.rest()[1..];
        let end = rest
            .iter()
            .position(|byte| !is_name_start(*byte) && !matches!(byte, b'.' | b'-' | b'0'..=b'9'));
        if let Some(end) = end
            && rest[end] == b':'
        {
            found.message = behind.at + 1 + end + 1;
        }
        return Some(found);
    }
    // Cassandra: `INFO  [main] 2026-01-02 15:04:05,123 …`.
    behind.blanks();
    if behind.peek() == b'[' {
        behind.group(b']', GROUP);
        behind.blanks();
    }
    if behind.peek().is_ascii_digit() {
        found.time = time::take(&mut behind);
        if found.time.is_some() {
            found.message = skip_separators(behind);
        }
    }
    Some(found)
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// What belongs to a record of `PostgreSQL` besides its first line.
fn is_further(word: &[u8]) -> bool {
    matches!(
        word,
        b"DETAIL" | b"HINT" | b"STATEMENT" | b"CONTEXT" | b"QUERY" | b"LOCATION"
    )
}

/// The one-offs: PHP, npm, Rails and what `PostgreSQL` writes further.
fn special(at: Cursor<'_>) -> Option<Found> {
    let rest = at.rest();
    let found = |level, message| {
        Some(Found {
            level: Some(level),
            message: at.at + message,
            ..Found::default()
        })
    };
    match rest.first()? {
        b'P' if rest.starts_with(b"PHP ") => php(at, 4),
        b'F' | b'R' | b'C'
            if rest.starts_with(b"Fatal error: ") || rest.starts_with(b"Recoverable fatal") =>
        {
            php(at, 0)
        }
        b'C' if rest.starts_with(b"Completed 5") && rest.get(13) == Some(&b' ') => {
            found(Level::Error, 0)
        }
        b'n' if rest.starts_with(b"npm ") => {
            let mut behind = at;
            behind.at += 4;
            behind.blanks();
            let word = word::at(behind.rest())?;
            behind.at += word.length;
            found(word.level, skip_separators(behind) - at.at)
        }
        b'D' | b'H' | b'S' | b'C' | b'Q' | b'L' => {
            let end = rest.iter().take(12).position(|byte| *byte == b':')?;
            (is_further(&rest[..end]) && rest[end..].starts_with(b":  ")).then(|| Found {
                further: true,
                message: at.at + end + 3,
                ..Found::default()
            })
        }
        _ => None,
    }
}

/// `PHP Warning:  …`. A fatal error is one of one request: no more than an error.
fn php(at: Cursor<'_>, skip: usize) -> Option<Found> {
    let rest = at.rest().get(skip..)?;
    let end = rest.iter().take(32).position(|byte| *byte == b':')?;
    let level = match &rest[..end] {
        b"Warning" | b"User Warning" | b"Core Warning" | b"Compile Warning" | b"Deprecated"
        | b"User Deprecated" => Level::Warn,
        b"Notice" | b"User Notice" | b"Strict Standards" => Level::Info,
        kind if kind.ends_with(b"error") || kind.ends_with(b"Error") => Level::Error,
        _ => return None,
    };
    let mut behind = at;
    behind.at += skip + end;
    Some(Found {
        level: Some(level),
        message: skip_separators(behind),
        ..Found::default()
    })
}

/// `E, [2026-01-02T15:04:05.123456 #12] ERROR -- : …`
fn ruby(at: Cursor<'_>) -> Option<Found> {
    let level = word::letter(at.peek())?;
    let mut behind = at;
    behind.at += 4;
    let time = time::take(&mut behind)?;
    let head = behind.rest();
    let head = head.get(..GROUP).unwrap_or(head);
    let message = head
        .windows(4)
        .position(|part| part == b" -- ")
        .map_or(behind.at, |dashes| {
            let colon = head[dashes..].windows(2).position(|part| part == b": ");
            behind.at + dashes + colon.map_or(4, |colon| colon + 2)
        });
    Some(Found {
        level: Some(level),
        time: Some(time),
        message,
        ..Found::default()
    })
}

/// `E0102 15:04:05.123456   12 file.go:34] …`, and `CockroachDB`'s `E260102 …`.
fn glog(at: Cursor<'_>) -> Option<Found> {
    let level = match at.peek() {
        letter @ (b'I' | b'W' | b'E' | b'F' | b'D') => word::letter(letter)?,
        _ => return None,
    };
    let mut behind = at;
    behind.at += 1;
    let time = match time::take(&mut behind) {
        Some(time) => time,
        None => time::month_day(&mut behind)?,
    };
    let head = behind.rest();
    let head = head.get(..GROUP).unwrap_or(head);
    let message = head
        .windows(2)
        .position(|part| part == b"] ")
        .map_or(behind.at, |end| behind.at + end + 2);
    Some(Found {
        level: Some(level),
        time: Some(time),
        message,
        ..Found::default()
    })
}

/// `12:M 02 Jan 2026 15:04:05.123 # …`
fn redis(at: Cursor<'_>) -> Option<Found> {
    let mut behind = at;
    while behind.peek().is_ascii_digit() && behind.at < at.at + 10 {
        behind.at += 1;
    }
    behind.take(b':')?;
    matches!(behind.peek(), b'M' | b'S' | b'C' | b'X').then_some(())?;
    behind.at += 1;
    behind.take(b' ')?;
    let time = time::take(&mut behind)?;
    behind.take(b' ')?;
    let level = match behind.peek() {
        b'.' => Level::Debug,
        b'-' | b'*' => Level::Info,
        b'#' => Level::Warn,
        _ => return None,
    };
    Some(Found {
        level: Some(level),
        time: Some(time),
        message: behind.at + 2,
        ..Found::default()
    })
}

/// `<3>…` of systemd, `<34>Jan  2 15:04:05 host app[1]: …` and `<165>1 2026-…` of syslog.
fn priority(at: Cursor<'_>) -> Found {
    let mut behind = at;
    let Some(digits) = behind.group(b'>', 4) else {
        return Found::default();
    };
    let Some(number) = Cursor::new(digits)
        .digits(digits.len())
        .filter(|n| *n <= 191 && !digits.is_empty())
    else {
        return Found::default();
    };
    let mut found = Found {
        level: word::syslog(number % 8),
        message: behind.at,
        ..Found::default()
    };
    if behind.peek() == b'1' && behind.ahead(1) == b' ' {
        behind.at += 2;
    }
    found.time = time::take(&mut behind);
    if found.time.is_some() {
        found.message = skip_separators(behind);
    }
    found
}

/// `=ERROR REPORT==== …`
fn erlang(at: Cursor<'_>) -> Found {
    let mut behind = at;
    behind.at += 1;
    let Some(word) = word::at(behind.rest()) else {
        return Found::default();
    };
    behind.at += word.length;
    if word.case != Case::Upper || !behind.rest().starts_with(b" REPORT==") {
        return Found::default();
    }
    Found {
        level: Some(word.level),
        ..Found::default()
    }
}

/// After a time that begins with the name of a month or a day: a log, syslog, or the first line of
/// `java.util.logging`, which has the level in the second.
fn named_time(at: Cursor<'_>, moment: Moment) -> Found {
    let bare = Found {
        time: Some(moment),
        message: skip_separators(at),
        ..Found::default()
    };
    let mut behind = at;
    behind.blanks();
    if at.line[..at.at].ends_with(b"M") {
        return header(at, Some(moment)).unwrap_or(Found { half: true, ..bare });
    }
    if let Some(found) = header(at, Some(moment)) {
        return found;
    }
    // A host, then `app[12]:`.
    let host = behind.token(64);
    behind.at += host.len();
    behind.blanks();
    let tag = behind.token(64);
    if !tag.ends_with(b":") {
        return bare;
    }
    behind.at += tag.len();
    behind.blanks();
    let level = word::at(behind.rest()).and_then(|word| leading(behind, word, false));
    Found {
        level: level.and_then(|found| found.level),
        message: level.map_or(behind.at, |found| found.message),
        ..bare
    }
}

/// `program: error: …`, `file.py:12: DeprecationWarning: …`, `(node:12) Warning: …`.
fn prefixed(at: Cursor<'_>) -> Option<Found> {
    let mut behind = at;
    if at.peek() == b'(' {
        behind.group(b')', GROUP)?;
    } else {
        let token = at.token(256);
        if token.last() != Some(&b':') {
            return None;
        }
        behind.at += token.len();
    }
    behind.take(b' ')?;
    if behind.peek() == b'[' {
        behind.group(b']', GROUP)?;
        behind.blanks();
    }
    let rest = behind.rest();
    if let Some(word) = word::at(rest)
        && word.strength > Strength::Odd
        && rest.get(word.length) == Some(&b':')
    {
        behind.at += word.length;
        return Some(Found {
            level: Some(word.level),
            message: skip_separators(behind),
            ..Found::default()
        });
    }
    // Warnings of Python and Node; an error is said at the start of a line.
    (trace::exception(rest) == Some(Level::Warn)).then(|| Found {
        level: Some(Level::Warn),
        message: behind.at,
        ..Found::default()
    })
}

/// An access log in the common log format, or `HAProxy`'s for HTTP. The status says the level: a fault
/// of the server is an error, one of the client is not.
fn access(at: Cursor<'_>) -> Option<Found> {
    let mut behind = at;
    let host = behind.token(256);
    behind.at += host.len();
    behind.take(b' ')?;
    if behind.peek() == b'[' {
        return haproxy(behind);
    }
    // The identity, the user; before them perhaps the virtual host.
    for _ in 0..3 {
        if behind.peek() == b'[' {
            break;
        }
        behind.at += behind.token(64).len();
        behind.take(b' ')?;
    }
    behind.take(b'[')?;
    let time = time::take(&mut behind)?;
    behind.take(b']')?;
    behind.take(b' ')?;
    Some(Found {
        level: Some(status_behind_request(&mut behind)?),
        time: Some(time),
        message: at.at,
        ..Found::default()
    })
}

/// `10.0.0.1:1234 [02/Jan/2026:15:04:05.123] front back/srv 0/0/1/2/3 503 212 …`
fn haproxy(at: Cursor<'_>) -> Option<Found> {
    let mut behind = at;
    behind.at += 1;
    let time = time::take(&mut behind)?;
    behind.take(b']')?;
    for _ in 0..3 {
        behind.take(b' ')?;
        behind.at += behind.token(128).len();
    }
    behind.take(b' ')?;
    Some(Found {
        level: Some(status(&mut behind)?),
        time: Some(time),
        message: skip_separators(at),
        ..Found::default()
    })
}

/// `"GET / HTTP/1.1" 500`
fn status_behind_request(at: &mut Cursor<'_>) -> Option<Level> {
    at.take(b'"')?;
    let rest = at.rest();
    let end = rest.iter().position(|byte| *byte == b'"')?;
    at.at += end + 1;
    at.take(b' ')?;
    status(at)
}

fn status(at: &mut Cursor<'_>) -> Option<Level> {
    let status = at.digits(3)?;
    if !matches!(at.peek(), b' ' | 0) {
        return None;
    }
    match status {
        100..=499 => Some(Level::Info),
        500..=599 => Some(Level::Error),
        _ => None,
    }
}

/// Where the message begins behind a level or a time.
fn skip_separators(at: Cursor<'_>) -> usize {
    let mut at = at;
    at.blanks();
    while matches!(
        at.peek(),
        b':' | b']' | b')' | b'>' | b'|' | b'-' | b'!' | b','
    ) {
        at.at += 1;
        at.blanks();
    }
    at.at
}

/// Goes over what loggers put in front of the level, behind or before the time: brackets, numbers,
/// names, separators. `None` where no level comes before the message does.
fn header(at: Cursor<'_>, time: Option<Moment>) -> Option<Found> {
    let mut at = at;
    let mut time = time;
    let mut names = 0;
    let found = |level: Level, time: Option<Moment>, mut behind: Cursor<'_>| {
        // Celery: `INFO/MainProcess]`.
        if behind.peek() == b'/' {
            behind.at += behind.token(64).len();
        }
        Some(Found {
            level: Some(level),
            time,
            message: skip_separators(behind),
            ..Found::default()
        })
    };
    for part in 0..PARTS {
        let start = at.at;
        // A bar, a tab or a colour sets off a level in any case.
        let (mut set_off, mut coloured) = (false, false);
        loop {
            match at.peek() {
                b'|' | b'\t' => set_off = true,
                b'-' if at.ahead(1).is_ascii_alphanumeric() => return None,
                b' ' | b'-' | b':' | b',' | b';' | b']' | b')' | b'>' | b'}' => {}
                0x1b => {
                    if !at.escapes() {
                        return None;
                    }
                    coloured = true;
                    continue;
                }
                0xc2 if at.ahead(1) == 0xb7 => at.at += 1,
                _ => break,
            }
            coloured = false;
            at.at += 1;
        }
        let gap = at.at - start;
        match at.peek() {
            open @ (b'[' | b'(' | b'{' | b'<') => {
                let mut inner = at;
                inner.at += 1;
                inner.blanks();
                if open == b'['
                    && time.is_none()
                    && let Some(moment) = time::take(&mut inner)
                {
                    time = Some(moment);
                    at = inner;
                    continue;
                }
                if open != b'{'
                    && let Some(word) = word::at(inner.rest())
                {
                    let mut behind = inner;
                    behind.at += word.length;
                    let upper = word.case == Case::Upper && word.strength == Strength::Strong;
                    let next = behind.peek();
                    behind.blanks();
                    let closed =
                        matches!(behind.peek(), b']' | b'>') || (behind.peek() == b')' && upper);
                    if closed
                        || (open == b'['
                            && (matches!(next, b':' | b'/') || (upper && next == b' ')))
                    {
                        return found(word.level, time, behind);
                    }
                }
                // Tornado: `[W 260102 15:04:05 web:12] …`.
                if open == b'['
                    && inner.ahead(1) == b' '
                    && inner.ahead(2).is_ascii_digit()
                    && let Some(level) = word::letter(inner.peek())
                {
                    let mut behind = inner;
                    behind.at += 2;
                    if let Some(moment) = time::take(&mut behind) {
                        let mut end = at;
                        end.group(b']', GROUP)?;
                        return found(level, time.or(Some(moment)), end);
                    }
                }
                let close = match open {
                    b'[' => b']',
                    b'(' => b')',
                    b'{' => b'}',
                    _ => b'>',
                };
                let group = at.group(close, GROUP)?;
                // Apache: `[core:error]`.
                if open == b'['
                    && let Some(colon) = group.iter().position(|byte| *byte == b':')
                    && let Some(level) = word::value(&group[colon + 1..])
                    && group.len() > colon + 2
                {
                    return found(level, time, at);
                }
            }
            b'0'..=b'9' => {
                if time.is_none()
                    && let Some(moment) = time::take(&mut at)
                {
                    time = Some(moment);
                    continue;
                }
                at.at += at.token(64).len();
            }
            b'#' | b'+' => at.at += at.token(64).len(),
            // Django's own server: `[02/Jan/2026 15:04:05] "GET / HTTP/1.1" 500 12`.
            b'"' if time.is_some() => {
                let level = status_behind_request(&mut at)?;
                return found(level, time, Cursor { at: start, ..at });
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'@' | b'/' => {
                if let Some(level) = level_word(at, part, gap, set_off, coloured) {
                    let mut behind = at;
                    behind.at += level.length;
                    return found(level.level, time, behind);
                }
                let rest = at.rest();
                if part <= 1
                    && rest.get(1) == Some(&b' ')
                    && let Some(level) = word::letter(rest[0])
                    // etcd: `E | …`; MongoDB of old: `E NETWORK  [conn1] …`.
                    && (rest.get(2) == Some(&b'|')
                        || rest.get(2..5).is_some_and(|next| next.iter().all(u8::is_ascii_uppercase)))
                {
                    at.at += 2;
                    return found(level, time, at);
                }
                let token = at.token(256);
                if token.contains(&b'=') {
                    let before = at.at;
                    if let Some(level) = json::level_of_pair(&mut at) {
                        return found(level, time, at);
                    }
                    if at.at > before {
                        continue;
                    }
                }
                if let Some(special) = special(at) {
                    return Some(Found { time, ..special });
                }
                if token.ends_with(b":") && token.len() > 1 {
                    // Monolog: `production.ERROR: …`.
                    let name = &token[..token.len() - 1];
                    let last = name
                        .iter()
                        .rposition(|byte| *byte == b'.')
                        .map_or(0, |dot| dot + 1);
                    if last > 0
                        && let Some(word) = word::at(&name[last..])
                        && word.case == Case::Upper
                        && word.length == name.len() - last
                    {
                        at.at += token.len();
                        return found(word.level, time, at);
                    }
                }
                names += 1;
                if names > 3 || !is_name(at, token) {
                    return None;
                }
                at.at += token.len();
            }
            _ => return None,
        }
    }
    None
}

/// Whether this word of a header may be gone over: it looks like the name of something, or what
/// follows sets it off from the message.
fn is_name(at: Cursor<'_>, token: &[u8]) -> bool {
    if token.ends_with(b":")
        || token
            .iter()
            .any(|byte| matches!(byte, b'.' | b'_' | b'/' | b'@' | b'0'..=b'9' | b'-' | b':'))
    {
        return !matches!(token.last(), Some(b'.' | b',' | b'!' | b'?'));
    }
    let mut behind = at;
    behind.at += token.len();
    matches!(behind.peek(), b'|' | b'\t') || {
        behind.blanks();
        matches!(
            (behind.peek(), behind.ahead(1)),
            (b'|', _) | (b'-' | b':', b' ')
        ) || behind.rest().starts_with(b"level=")
    }
}

/// A level word within a header.
fn level_word(
    at: Cursor<'_>,
    part: usize,
    gap: usize,
    set_off: bool,
    coloured: bool,
) -> Option<Word> {
    let word = word::at(at.rest())?;
    let next = at.ahead(word.length);
    let after = at.ahead(word.length + 1);
    let delimited = matches!(next, b':' | b'|' | b'\t' | b']' | b'>')
        || (next == b' '
            && (matches!(after, b'|' | b'[')
                || (after == b'-' && at.ahead(word.length + 2) == b' ')));
    let accepted = match word.case {
        Case::Upper => {
            word.strength >= Strength::Short
                || delimited
                || set_off
                || (next == b' ' && after == b' ')
        }
        Case::Mixed | Case::Lower => {
            (word.strength > Strength::Odd && delimited)
                || (set_off && matches!(next, b' ' | b'|' | b'\t'))
                || (coloured && next == 0x1b)
                // Padded to a column.
                || (part == 0 && gap > 0 && word.strength == Strength::Strong && next == b' ' && after == b' ')
        }
    };
    // `2026-01-02 15:04:05 TRACE /path`: a request.
    (accepted && !(next == b' ' && after == b'/')).then_some(word)
}

#[cfg(test)]
mod tests;

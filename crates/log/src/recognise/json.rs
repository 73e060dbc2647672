//! Lines that are a JSON object, and `key=value` lines: structured loggers of any language.

use super::cursor::Cursor;
use super::time::{self, Moment};
use super::{Found, word};
use crate::level::Level;

/// How much of such a line is looked at: the level may be its last key.
const LIMIT: usize = 16 * 1024;
/// How many pairs of a `key=value` line are looked at.
const PAIRS: usize = 24;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Level,
    /// A level as a number of its own scale.
    Scale(Scale),
    /// `s` of `MongoDB`: a letter, or a letter and a digit.
    Letter,
    Time,
    Message,
    /// `log`: the message of Docker's files, or an object with the level, as in ECS.
    Log,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// 10 to 60 of bunyan and pino, 0 to 7 of syslog, 100 to 600 of Monolog.
    Common,
    /// 100 to 800 of Google Cloud's logging.
    Google,
    /// 10 to 50 of Python.
    Python,
    /// 1 to 24 of OpenTelemetry's data model.
    Telemetry,
}

fn role(key: &[u8]) -> Role {
    match key {
        b"level" | b"lvl" | b"log.level" | b"@l" | b"loglevel" | b"logLevel" | b"LogLevel"
        | b"log_level" | b"levelname" | b"level_name" | b"Level" | b"LEVEL" | b"severityText"
        | b"SeverityText" | b"severity_text" | b"at" | b"PRIORITY" | b"priority" | b"levelName" => {
            Role::Level
        }
        b"severity" | b"Severity" => Role::Scale(Scale::Google),
        b"levelno" => Role::Scale(Scale::Python),
        b"severityNumber" | b"SeverityNumber" | b"severity_number" => Role::Scale(Scale::Telemetry),
        b"s" => Role::Letter,
        b"time" | b"ts" | b"timestamp" | b"@timestamp" | b"@t" | b"t" | b"asctime"
        | b"datetime" | b"date" | b"Timestamp" | b"eventTime" | b"timeMillis" => Role::Time,
        b"msg" | b"message" | b"@m" | b"@mt" | b"event" | b"short_message" | b"body"
        | b"Message" | b"Body" => Role::Message,
        b"log" => Role::Log,
        _ => Role::Other,
    }
}

/// The level of a number.
fn number(digits: &[u8], scale: Scale) -> Option<Level> {
    if digits.len() > 4 {
        return None;
    }
    let number = Cursor::new(digits).digits(digits.len())?;
    Some(match (scale, number) {
        (Scale::Common, 0..=7) | (Scale::Google, 1..=7) => return word::syslog(number),
        (Scale::Common, 8..=19) | (Scale::Telemetry, 1..=4) | (Scale::Python, 1..=9) => {
            Level::Trace
        }
        (Scale::Common, 20..=29 | 100..=199)
        | (Scale::Google, 100..=199)
        | (Scale::Telemetry, 5..=8)
        | (Scale::Python, 10..=19) => Level::Debug,
        (Scale::Common, 30..=39 | 200..=299)
        | (Scale::Google, 0 | 200..=399)
        | (Scale::Telemetry, 9..=12)
        | (Scale::Python, 20..=29) => Level::Info,
        (Scale::Common, 40..=49 | 300..=399)
        | (Scale::Google, 400..=499)
        | (Scale::Telemetry, 13..=16)
        | (Scale::Python, 30..=39) => Level::Warn,
        (Scale::Common, 50..=59 | 400..=499)
        | (Scale::Google, 500..=599)
        | (Scale::Telemetry, 17..=20)
        | (Scale::Python, 40..=49) => Level::Error,
        (Scale::Common, 60..=69 | 500..=600)
        | (Scale::Google, 600..=800)
        | (Scale::Telemetry, 21..=24)
        | (Scale::Python, 50..=59) => Level::Critical,
        _ => return None,
    })
}

/// Reads an object whose `{` is here. Stops when all that is wanted is found.
pub(super) fn object(line: &[u8], start: usize) -> Found {
    let line = line.get(..LIMIT).unwrap_or(line);
    let mut at = Cursor {
        line,
        at: start + 1,
    };
    let mut found = Found::default();
    let (mut from_letter, mut rendered) = (None, false);
    let mut has_message = false;
    while let Some(key) = key(&mut at) {
        let role = role(key);
        let value_at = at.at;
        let Some(value) = value(&mut at) else { break };
        match role {
            Role::Level => found.level = found.level.or_else(|| level(value, Scale::Common)),
            Role::Scale(scale) => found.level = found.level.or_else(|| level(value, scale)),
            Role::Letter => from_letter = letter(value),
            Role::Time => {
                found.time = found.time.or_else(|| moment(value));
                // Serilog leaves out the level of information.
                rendered |= key == b"@t";
            }
            Role::Message if !has_message => {
                has_message = true;
                found.message = value_at + usize::from(value.first() == Some(&b'"'));
            }
            Role::Log => match value {
                [b'{', ..] => found.level = found.level.or_else(|| nested(value)),
                [b'"', inner @ .., b'"'] => {
                    if found.level.is_none() {
                        found.level = super::text(inner).level;
                    }
                    if !has_message {
                        has_message = true;
                        found.message = value_at + 1;
                    }
                }
                _ => {}
            },
            Role::Message | Role::Other => {}
        }
        if found.level.is_some() && found.time.is_some() && has_message {
            break;
        }
    }
    found.level = found
        .level
        .or(from_letter)
        .or_else(|| rendered.then_some(Level::Info));
    found
}

/// The level in an object within.
fn nested(object: &[u8]) -> Option<Level> {
    let mut at = Cursor {
        line: object,
        at: 1,
    };
    while let Some(key) = key(&mut at) {
        let value = value(&mut at)?;
        if role(key) == Role::Level {
            return level(value, Scale::Common);
        }
    }
    None
}

fn level(value: &[u8], scale: Scale) -> Option<Level> {
    match value {
        [b'"', digits @ .., b'"'] if digits.first().is_some_and(u8::is_ascii_digit) => {
            number(digits, scale)
        }
        [b'"', text @ .., b'"'] => word::value(text),
        digits => number(digits, scale),
    }
}

fn letter(value: &[u8]) -> Option<Level> {
    match value {
        [b'"', letter, b'"'] | [b'"', letter, b'1'..=b'5', b'"'] => word::letter(*letter),
        _ => None,
    }
}

fn moment(value: &[u8]) -> Option<Moment> {
    let mut at = Cursor::new(value);
    match value {
        [b'"', ..] => {
            at.at = 1;
            time::take(&mut at)
        }
        // MongoDB's {"$date":"…"}.
        [b'{', ..] => {
            at.at = 1;
            key(&mut at)?;
            at.take(b'"')?;
            time::take(&mut at)
        }
        [b'0'..=b'9', ..] => time::take(&mut at),
        _ => None,
    }
}

/// Goes over `, "key":` and the blanks around it.
fn key<'a>(at: &mut Cursor<'a>) -> Option<&'a [u8]> {
    while matches!(at.peek(), b' ' | b'\t' | b',') {
        at.at += 1;
    }
    let key = string(at)?;
    while matches!(at.peek(), b' ' | b'\t') {
        at.at += 1;
    }
    at.take(b':')?;
    while matches!(at.peek(), b' ' | b'\t') {
        at.at += 1;
    }
    Some(&key[1..key.len() - 1])
}

/// A string with its quotes.
fn string<'a>(at: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let start = at.at;
    at.take(b'"')?;
    loop {
        let rest = at.rest();
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        at.at += stop + 1;
        if rest[stop] == b'"' {
            return Some(&at.line[start..at.at]);
        }
        at.at += 1;
    }
}

/// A value as it stands; for an object or a list all of it.
fn value<'a>(at: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let start = at.at;
    match at.peek() {
        b'"' => return string(at),
        b'{' | b'[' => {
            let mut depth = 0_u32;
            loop {
                match at.peek() {
                    b'"' => {
                        string(at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    0 if at.is_at_end() => return None,
                    _ => {}
                }
                at.at += 1;
                if depth == 0 {
                    break;
                }
            }
        }
        _ => {
            while !at.is_at_end() && !matches!(at.peek(), b',' | b'}' | b' ' | b'\t') {
                at.at += 1;
            }
        }
    }
    Some(&at.line[start..at.at])
}

/// The value of the pair `key=value` that begins here, without quotes.
fn pair<'a>(at: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let rest = at.rest();
    let end = rest.iter().take(64).position(|byte| {
        !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@' | b'/'))
    })?;
    if end == 0 || rest[end] != b'=' {
        return None;
    }
    let key = &rest[..end];
    at.at += end + 1;
    if at.peek() == b'"' {
        let value = string(at)?;
        return Some((key, &value[1..value.len() - 1]));
    }
    let value = at.token(256);
    at.at += value.len();
    Some((key, value))
}

/// Goes over the pair that begins here, if there is one, and says the level in it.
pub(super) fn level_of_pair(at: &mut Cursor<'_>) -> Option<Level> {
    let (key, value) = pair(at)?;
    match role(key) {
        Role::Level | Role::Scale(_) => word::value(value),
        _ => None,
    }
}

/// A line of pairs. `None` if it begins with none.
pub(super) fn pairs(at: Cursor<'_>) -> Option<Found> {
    let mut at = at;
    let mut found = Found::default();
    let mut has_message = false;
    for index in 0..PAIRS {
        at.blanks();
        let start = at;
        let Some((key, value)) = pair(&mut at) else {
            if index == 0 {
                return None;
            }
            // A word without a value is a pair too.
            let word = at.token(256);
            if word.is_empty() {
                break;
            }
            at.at += word.len();
            continue;
        };
        match role(key) {
            Role::Level | Role::Scale(_) => {
                found.level = found.level.or_else(|| word::value(value));
            }
            Role::Time => {
                found.time = found.time.or_else(|| time::take(&mut Cursor::new(value)));
            }
            Role::Message if !has_message => {
                has_message = true;
                found.message = start.at + key.len() + 1;
                if at.line.get(found.message) == Some(&b'"') {
                    found.message += 1;
                }
            }
            _ => {}
        }
        if found.level.is_some() && found.time.is_some() && has_message {
            break;
        }
    }
    Some(found)
}

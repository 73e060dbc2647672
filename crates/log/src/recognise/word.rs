//! The words that loggers have for their levels.

use crate::level::Level;

/// The longest word that is known.
const LONGEST: usize = 13;

/// How sure it is that a word is a level where it stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// A plain word of many languages: only between brackets or, in upper case, before a colon.
    Odd,
    /// Only between brackets or before a colon.
    Weak,
    /// An abbreviation: also bare behind a time, in upper case.
    Short,
    /// Also bare at the start of a line, in upper case.
    Strong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
    Mixed,
}

/// A level word and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) level: Level,
    pub(super) strength: Strength,
    pub(super) case: Case,
    /// Its length in bytes.
    pub(super) length: usize,
}

/// The level word at the start of `bytes`, if there is one that ends where a word can end.
pub(super) fn at(bytes: &[u8]) -> Option<Word> {
    let first = *bytes.first()?;
    // No level word begins with any other letter.
    if !matches!(first | 0x20, b'a'..=b'f' | b'i' | b'l' | b'n' | b'p' | b's'..=b'w') {
        return None;
    }
    let mut lower = [0_u8; LONGEST];
    let (mut length, mut uppers) = (0, 0);
    while let Some(byte) = bytes.get(length) {
        if !byte.is_ascii_alphabetic() {
            break;
        }
        *lower.get_mut(length)? = byte | 0x20;
        uppers += usize::from(byte.is_ascii_uppercase());
        length += 1;
    }
    if length < 3 {
        return None;
    }
    let (level, strength) = known(&lower[..length])?;
    let case = match uppers {
        0 => Case::Lower,
        n if n == length => Case::Upper,
        _ => Case::Mixed,
    };
    // PostgreSQL's DEBUG1 to DEBUG5.
    if level == Level::Debug && bytes.get(length).is_some_and(|b| matches!(b, b'1'..=b'5')) {
        length += 1;
    }
    // The levels between of log/slog: ERROR+2.
    if let Some(b'+' | b'-') = bytes.get(length)
        && bytes.get(length + 1).is_some_and(u8::is_ascii_digit)
    {
        length += 2;
    }
    let ends = match bytes.get(length) {
        None => true,
        Some(byte) => matches!(
            byte,
            b' ' | b'\t'
                | b'\r'
                | b':'
                | b']'
                | b')'
                | b'>'
                | b'|'
                | b'['
                | b'('
                | b'/'
                | b','
                | 0x1b
                | b'"'
                | b'!'
        ),
    };
    ends.then_some(Word {
        level,
        strength,
        case,
        length,
    })
}

/// The level that a whole value names, in any case: for `"level": "warn"` and `level=warn`.
pub(super) fn value(bytes: &[u8]) -> Option<Level> {
    if let [letter] = bytes {
        return self::letter(letter.to_ascii_uppercase());
    }
    let word = at(bytes)?;
    (word.length == bytes.len()).then_some(word.level)
}

/// The level that a single capital letter stands for.
pub(super) fn letter(letter: u8) -> Option<Level> {
    Some(match letter {
        b'T' | b'V' => Level::Trace,
        b'D' => Level::Debug,
        b'I' | b'N' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' | b'C' => Level::Critical,
        _ => return None,
    })
}

/// The severities of syslog, RFC 5424 section 6.2.1.
pub(super) fn syslog(severity: u32) -> Option<Level> {
    Some(match severity {
        0..=2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        7 => Level::Debug,
        _ => return None,
    })
}

fn known(lower: &[u8]) -> Option<(Level, Strength)> {
    use Level::{Critical, Debug, Error, Info, Trace, Warn};
    use Strength::{Odd, Short, Strong, Weak};
    Some(match lower {
        b"info" => (Info, Strong),
        b"error" | b"severe" => (Error, Strong),
        b"warn" | b"warning" => (Warn, Strong),
        b"debug" => (Debug, Strong),
        b"trace" => (Trace, Strong),
        b"fatal" | b"critical" | b"crit" | b"panic" => (Critical, Strong),
        b"inf" => (Info, Short),
        b"wrn" => (Warn, Short),
        b"err" | b"erro" | b"eror" => (Error, Short),
        b"dbg" | b"debg" | b"debu" | b"dbug" => (Debug, Short),
        b"vrb" | b"trc" | b"trac" | b"trce" | b"blat" => (Trace, Short),
        b"ftl" | b"fata" | b"pani" | b"crt" | b"dpanic" => (Critical, Short),
        b"notice" | b"information" | b"informational" => (Info, Weak),
        b"fail" => (Error, Weak),
        b"alert" | b"emerg" | b"emergency" => (Critical, Weak),
        b"verbose" | b"config" | b"fine" => (Debug, Odd),
        b"log" | b"note" | b"system" | b"success" => (Info, Odd),
        b"finer" | b"finest" | b"silly" => (Trace, Odd),
        _ => return None,
    })
}

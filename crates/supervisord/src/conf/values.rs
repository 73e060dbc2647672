//! The types of values in a `supervisord.conf`.
//!
//! Each function takes the text of a value and gives the typed value, or the original's words for
//! what is wrong with it.

use super::ini::is_space;
use super::quote;

/// A whole number as Python's `int` reads it: a sign and single underscores are allowed.
pub fn integer(text: &str) -> Result<i64, String> {
    radix(text, 10)
        .ok_or_else(|| format!("invalid literal for int() with base 10: {}", quote(text)))
}

/// A number in base 8, with or without `0o`.
pub fn octal(text: &str) -> Result<u32, String> {
    radix(text, 8)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| format!("{text} can not be converted to an octal type"))
}

fn radix(text: &str, base: u32) -> Option<i64> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let digits = match base {
        8 => digits
            .strip_prefix("0o")
            .or_else(|| digits.strip_prefix("0O"))
            .map_or(digits, |rest| rest.strip_prefix('_').unwrap_or(rest)),
        _ => digits,
    };
    let single = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    let plain: String = digits.chars().filter(|&c| c != '_').collect();
    if !single || plain.is_empty() || !plain.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let number = i64::from_str_radix(&plain, base).ok()?;
    Some(if negative { -number } else { number })
}

/// `yes`, `true`, `on`, `1`, or `no`, `false`, `off`, `0`, in any case.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("not a valid boolean value: {}", quote(text))),
    }
}

/// Bytes, or KB, MB, GB of 1024. A negative size means what 0 means: no limit.
pub fn byte_size(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];
    let lower = text.to_lowercase();
    let found = UNITS
        .iter()
        .find_map(|(suffix, unit)| lower.strip_suffix(suffix).map(|rest| (rest, *unit)));
    let (number, unit) = found.unwrap_or((&lower, 1));
    let number = u64::try_from(integer(number)?).unwrap_or(0);
    Ok(number.saturating_mul(unit))
}

/// Names separated by commas. An empty text is an empty list.
pub fn strings(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let stripped = |item: &str| item.trim_matches(is_space).to_owned();
    text.split(',').map(stripped).collect()
}

/// Exit codes from 0 to 255, separated by commas.
pub fn exit_codes(text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let code = |item| integer(item).ok().and_then(|code| u8::try_from(code).ok());
    text.split(',')
        .map(code)
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| format!("not a valid list of exit codes: {}", quote(text)))
}

/// Names of signals with their numbers on Linux, signal(7).
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// A signal by its name, with or without `SIG`, or by its number. Unlike in the original 0 is none.
pub fn signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = integer(text) {
        let known = SIGNALS.iter().find(|(_, it)| i64::from(*it) == number);
        return known
            .map(|(_, number)| *number)
            .ok_or_else(|| format!("value {} is not a valid signal number", quote(text)));
    }
    let upper = text.trim_matches(is_space).to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .ok_or_else(|| format!("value {} is not a valid signal name", quote(text)))
}

/// When a program that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Always,
    /// After an exit code that is not one of `exitcodes`, and after a death by signal.
    Unexpected,
    /// Never.
    Never,
}

/// The value of `autorestart`.
pub fn restart(text: &str) -> Result<Restart, String> {
    let lower = text.to_lowercase();
    match boolean(&lower) {
        Ok(true) => Ok(Restart::Always),
        Ok(false) => Ok(Restart::Never),
        Err(_) if lower == "unexpected" => Ok(Restart::Unexpected),
        Err(_) => Err(format!("invalid 'autorestart' value {}", quote(&lower))),
    }
}

/// The levels of the daemon's own log, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `blather`
    Blather,
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// `critical`
    Critical,
}

/// The value of `loglevel`.
pub fn level(text: &str) -> Result<Level, String> {
    Ok(match text.to_lowercase().as_str() {
        "blather" => Level::Blather,
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        _ => return Err(format!("bad logging level name {}", quote(text))),
    })
}

/// Where the output of a program goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFile {
    /// To a file with a name of our making.
    Auto,
    /// Nowhere.
    Off,
    /// To syslog: the old spelling of `stdout_syslog=true`.
    Syslog,
    /// To this file, as it was written.
    File(String),
}

/// The value of `stdout_logfile` and its like. Whether the directory exists is not asked here.
pub fn log_file(text: &str) -> LogFile {
    match text.to_lowercase().as_str() {
        "none" | "off" => LogFile::Off,
        "auto" => LogFile::Auto,
        "syslog" => LogFile::Syslog,
        _ => LogFile::File(text.to_owned()),
    }
}

/// The name of a program, process or group: stripped, without space, `:` and `/`.
pub fn name(text: &str) -> Result<String, String> {
    let stripped = text.trim_matches(is_space);
    match [' ', ':', '/'].into_iter().find(|&c| stripped.contains(c)) {
        Some(c) => Err(format!(
            "Invalid name: {} because of character: {}",
            quote(text),
            quote(&c.to_string())
        )),
        None => Ok(stripped.to_owned()),
    }
}

/// `user` or `user:group`, split. Who they are is for the system to say.
pub fn user_group(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    }
}

/// `port`, `host:port` or `*:port`. An empty host means all addresses.
pub fn inet_address(text: &str) -> Result<(String, u16), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        let port = port(text).map_err(|_| format!("not a valid port number: {} ", quote(text)))?;
        return Ok((String::new(), port));
    };
    if port.is_empty() {
        return Err(format!("no port number specified in {}", quote(port)));
    }
    let host = if host == "*" {
        String::new()
    } else {
        host.to_lowercase()
    };
    Ok((host, self::port(port)?))
}

/// A port number from 1 to 65535.
pub fn port(text: &str) -> Result<u16, String> {
    let number = integer(text)?;
    if number < 1 {
        return Err(format!("{number} is below lower bound (1)"));
    }
    u16::try_from(number).map_err(|_| format!("{number} is above upper bound (65535)"))
}

/// Pairs as in `KEY=val,KEY2="a,b"`. A later key replaces an earlier one at its place.
pub fn environment(text: &str) -> Result<Vec<(String, String)>, String> {
    let tokens = tokens(text)?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for chunk in tokens.chunks(4) {
        let [key, equals, value, ..] = chunk else {
            return Err(unexpected_end(text));
        };
        if equals != "=" {
            return Err(unexpected_end(text));
        }
        let value = value.trim_matches(['\'', '"']).to_owned();
        match pairs.iter_mut().find(|(known, _)| known == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key.clone(), value)),
        }
    }
    Ok(pairs)
}

fn unexpected_end(text: &str) -> String {
    format!("Unexpected end of key/value pairs in value '{text}'")
}

/// Words, quoted texts and single other characters, as Python's `shlex` without POSIX rules.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_/.+-():".contains(c);
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {}
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            '\'' | '"' => {
                let mut token = String::from(c);
                loop {
                    let next = chars.next().ok_or("No closing quotation")?;
                    token.push(next);
                    if next == c {
                        break;
                    }
                }
                tokens.push(token);
            }
            c if is_word(c) => {
                let mut token = String::from(c);
                while let Some(&next) = chars.peek() {
                    if next == '#' {
                        // A comment does not end the word before it.
                        while chars.next().is_some_and(|c| c != '\n') {}
                    } else if is_word(next) || next == '\'' || next == '"' {
                        token.push(next);
                        chars.next();
                    } else {
                        break;
                    }
                }
                tokens.push(token);
            }
            other => tokens.push(other.to_string()),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
#[path = "tests/values.rs"]
mod tests;

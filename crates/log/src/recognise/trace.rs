//! The first lines of tracebacks, panics and uncaught errors, and the lines that follow them.

use super::cursor::Cursor;
use crate::level::Level;

/// Whose way of reporting an error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// `Traceback (most recent call last):`
    Python,
    /// An exception and, indented, where it came from: Java, .NET, Node, Ruby, PHP and others.
    Exception,
    /// The place in the source that Node shows before an uncaught error.
    Node,
    /// `panic:`, `fatal error:` and the goroutines after it.
    Go,
    /// `thread 'main' panicked at …`, `thread 'main' has overflowed its stack`
    Rust,
    /// The report of a crash of Java's machine: every line has `#` in front.
    Machine,
}

/// The trace that this line begins, and how grave it is. The line has no control sequences in front.
pub(super) fn start(line: &[u8]) -> Option<(Trace, Level)> {
    let error = |trace| Some((trace, Level::Error));
    match line.first()? {
        b'T' if line.starts_with(b"Traceback (most recent call last)") => error(Trace::Python),
        b'E' if line.starts_with(b"Exception in thread ")
            || line.starts_with(b"Exception ignored in")
            || line.starts_with(b"Exception Group Traceback") =>
        {
            error(if line.starts_with(b"Exception in thread \"") {
                Trace::Exception
            } else {
                Trace::Python
            })
        }
        b' ' if line.starts_with(b"  + Exception Group Traceback") || is_syntax_place(line) => {
            error(Trace::Python)
        }
        b'#' if line.starts_with(b"# A fatal error has been detected by the Java Runtime") => {
            Some((Trace::Machine, Level::Critical))
        }
        b'U' if line.starts_with(b"Unhandled exception")
            || line.starts_with(b"Unhandled Exception")
            || line.starts_with(b"Uncaught ") =>
        {
            error(Trace::Exception)
        }
        b't' if line.starts_with(b"thread '")
            && (contains(head(line), b"panicked at")
                || contains(head(line), b"has overflowed its stack")) =>
        {
            error(Trace::Rust)
        }
        b'p' if line.starts_with(b"panic: ") => Some((Trace::Go, Level::Critical)),
        b'f' if line.starts_with(b"fatal error: ") => Some((Trace::Go, Level::Critical)),
        b'g' if is_goroutine(line) => error(Trace::Go),
        b'S' if line.starts_with(b"SIGQUIT: quit") => error(Trace::Go),
        b'*' if line.starts_with(b"** (") => error(Trace::Exception),
        b'/' | b'n' | b'f' if is_source_place(line) => error(Trace::Node),
        _ => exception(line)
            .map(|level| (Trace::Exception, level))
            .or_else(|| is_ruby_place(line).then_some((Trace::Exception, Level::Error))),
    }
}

/// `ValueError: …`, `java.lang.IllegalStateException`, `NoMethodError (…)`, `DeprecationWarning: …`:
/// one word that ends like the name of an exception, and nothing else before a colon.
pub(crate) fn exception(line: &[u8]) -> Option<Level> {
    let line = line.get(..200).unwrap_or(line);
    let is_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | b'\\');
    let end = line
        .iter()
        .position(|byte| !is_name(byte))
        .unwrap_or(line.len());
    // Ruby's and Rust's paths: `A::BError`.
    let end = match line[end..] {
        [b':', b':', ..] => {
            let more = line[end..]
                .iter()
                .position(|byte| !is_name(byte) && *byte != b':');
            let all = more.map_or(line.len(), |more| end + more);
            let colons = line[..all]
                .iter()
                .rev()
                .take_while(|byte| **byte == b':')
                .count();
            all - colons
        }
        _ => end,
    };
    let name = &line[..end];
    // Rails: `ActiveRecord::RecordNotFound (Couldn't find Order with 'id'=17):`.
    let is_rails = contains(name, b"::")
        && line[end..].starts_with(b" (")
        && line.trim_ascii_end().ends_with(b"):");
    let level = if name.ends_with(b"Error") || name.ends_with(b"Exception") || is_rails {
        Level::Error
    } else if name.ends_with(b"Warning") && name.len() > 7 {
        Level::Warn
    } else {
        return None;
    };
    match &line[end..] {
        [] | [b':' | b'\r'] | [b':', b' ', ..] | [0x1b, ..] => Some(level),
        // Rails, and Node with a code: `Error [ERR_X]: …`.
        [b' ', b'(' | b'[', ..] if level == Level::Error => Some(level),
        _ => None,
    }
}

/// Where Python found that a text is no program: `  File "/srv/app.py", line 3`, and no traceback before
/// it. A step of a traceback goes on behind the number.
fn is_syntax_place(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let digits = digits_at_end(line);
    line.starts_with(b"  File \"")
        && digits > 0
        && line[..line.len() - digits].ends_with(b"\", line ")
}

pub(crate) fn digits_at_end(text: &[u8]) -> usize {
    text.iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// `goroutine 12 [running]:`
pub(crate) fn is_goroutine(line: &[u8]) -> bool {
    line.strip_prefix(b"goroutine ").is_some_and(|rest| {
        rest.first().is_some_and(u8::is_ascii_digit) && contains(head(rest), b" [")
    })
}

/// `/srv/app/server.js:12`, `node:internal/x:12`, and nothing behind it.
fn is_source_place(line: &[u8]) -> bool {
    let known =
        line.starts_with(b"/") || line.starts_with(b"node:") || line.starts_with(b"file:///");
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !known || line.len() > 1024 {
        return false;
    }
    let digits = digits_at_end(line);
    digits > 0
        && line.len() > digits + 1
        && line[line.len() - digits - 1] == b':'
        && !line.contains(&b' ')
}

/// `app.rb:12:in 'method'`
pub(crate) fn is_ruby_place(line: &[u8]) -> bool {
    let line = head(line);
    let Some(at) = find(line, b":in ") else {
        return false;
    };
    at > 2
        && line[at - 1].is_ascii_digit()
        && matches!(line.get(at + 4), Some(b'\'' | b'`'))
        && !line[..at].contains(&b' ')
}

/// The name and the place in front of a line, as far as such things reach.
fn head(line: &[u8]) -> &[u8] {
    line.get(..256).unwrap_or(line)
}

pub(crate) fn contains(line: &[u8], what: &[u8]) -> bool {
    find(line, what).is_some()
}

fn find(line: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = line.get(from..)?.iter().position(|byte| *byte == first) {
        if line[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The line without control sequences in front.
pub(crate) fn bare(line: &[u8]) -> &[u8] {
    let mut at = Cursor::new(line);
    at.escapes();
    at.rest()
}

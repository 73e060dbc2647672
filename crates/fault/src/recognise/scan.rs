//! What the modules of the languages have in common: lines without what others put around them, and
//! names of exceptions.

use std::fmt::Write as _;

use crate::fault::Frame;

/// The text without the control sequences of terminals.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\x1b', '\r']) {
        out.push_str(&rest[..at]);
        let sequence = &rest[at + 1..];
        rest = match sequence
            .strip_prefix('[')
            .filter(|_| rest[at..].starts_with('\x1b'))
        {
            Some(body) => {
                let end = body
                    .find(|c: char| ('@'..='~').contains(&c))
                    .map_or(body.len(), |end| end + 1);
                body.get(end..).unwrap_or_default()
            }
            None => sequence,
        };
    }
    out.push_str(rest);
    out
}

/// The lines without what a container or a log of the system has put in front of each one:
/// `web-1  | `, `Jan 02 15:04:05 host app[12]: `, `2026-01-02T… stderr F `.
pub(super) fn without_prefix(lines: Vec<&str>) -> Vec<&str> {
    let Some((first, others)) = lines.split_first() else {
        return lines;
    };
    if others.is_empty() {
        return lines;
    }
    let mut common = first.len();
    for line in others {
        let same = first
            .bytes()
            .zip(line.bytes())
            .take(common)
            .take_while(|(a, b)| a == b || a.is_ascii_digit() && b.is_ascii_digit())
            .count();
        common = common.min(same);
    }
    while !first.is_char_boundary(common) {
        common -= 1;
    }
    let common = &first[..common];
    // The bar of an exception group, and the `#12 ` of PHP, are part of the traceback.
    let end = [" | ", "]: ", " stderr F ", " stdout F "]
        .iter()
        .filter_map(|sign| Some(common.rfind(sign)? + sign.len()))
        .max()
        .filter(|end| !common[..*end].trim_start().starts_with('|'));
    match end {
        Some(end) => lines
            .into_iter()
            .map(|line| line.get(end..).unwrap_or_default())
            .collect(),
        None => lines,
    }
}

/// A frame as part of a fingerprint: the function and the name of its file.
pub(super) fn without_place(frame: &Frame) -> String {
    let file = frame.file.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut text = String::new();
    for c in frame.function.chars() {
        // What quotes, separates or points would be taken for something to leave out.
        text.push(if c.is_alphanumeric() || "_.:".contains(c) {
            c
        } else {
            ' '
        });
    }
    let _ = write!(text, " in {file}");
    text
}

pub(super) fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// The name that a text begins with: letters, digits, `_`, `.`, `$`, `\`, and `::` between parts.
pub(super) fn name(text: &str) -> &str {
    let mut end = 0;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(end) {
        if byte.is_ascii_alphanumeric() || b"_.$\\".contains(byte) || !byte.is_ascii() {
            end += 1;
        } else if bytes[end..].starts_with(b"::")
            && bytes.get(end + 2).is_some_and(u8::is_ascii_alphabetic)
        {
            end += 2;
        } else {
            break;
        }
    }
    // Bytes that are not ASCII go together.
    while !text.is_char_boundary(end) {
        end += 1;
    }
    &text[..end]
}

/// Whether a name is that of an exception by the custom of most languages.
pub(super) fn is_exception(name: &str) -> bool {
    let last = name
        .rsplit(['.', '$', '\\', ':'])
        .next()
        .unwrap_or_default();
    ["Error", "Exception", "Throwable", "Rejection", "Failure"]
        .iter()
        .any(|end| last.ends_with(end))
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '\\')
}

/// `Name: message` or `Name` alone, where the name is that of an exception.
pub(super) fn raised(text: &str) -> Option<(&str, &str)> {
    let name = name(text);
    if !is_exception(name) {
        return None;
    }
    let rest = &text[name.len()..];
    if rest.trim().is_empty() {
        return Some((name, ""));
    }
    // Node writes codes in brackets.
    let rest = match rest.strip_prefix(" [") {
        Some(code) => code.split_once(']').map_or(rest, |(_, rest)| rest),
        None => rest,
    };
    if rest.is_empty() {
        return Some((name, ""));
    }
    rest.strip_prefix(':').map(|message| (name, message.trim()))
}

/// [`raised`] at the beginning of a line or behind what a logger has put there.
pub(super) fn raised_in(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(found) = raised(line) {
        return Some(found);
    }
    let mut from = 0;
    while let Some(at) = line[from..].find(' ') {
        from += at + 1;
        // Behind a word there would be a sentence that speaks of an error.
        let before = line[..from].trim_end();
        let after_sign = before.ends_with([':', ']', ')', '-', '|', '>', '"']);
        if after_sign && let Some(found) = raised(&line[from..]) {
            return Some(found);
        }
    }
    None
}

/// A path and a line at its end: `/srv/app.py:12`.
pub(super) fn path_and_line(text: &str) -> Option<(&str, u32)> {
    let (path, line) = text.rsplit_once(':')?;
    if path.is_empty() || line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((path, line.parse().ok()?))
}

pub(super) fn frame(function: &str, file: &str, line: Option<u32>) -> Frame {
    Frame {
        function: function.trim().to_owned(),
        file: file.to_owned(),
        line,
    }
}

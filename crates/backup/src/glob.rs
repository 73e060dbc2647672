//! Exclude patterns: the part of gitignore(5) that people write from memory.
//!
//! `*` and `?` stop at `/`, `[a-z]` and `[!a-z]` match one byte, `**` spans directories, `\` quotes.
//! A pattern without `/` matches a name at any depth; one with `/` is matched against the whole path
//! below the directory that is backed up. A trailing `/` is allowed and means the same as none. What
//! is below an excluded directory is excluded with it. Names are bytes; they need not be UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A list of exclude patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excludes(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: Vec<u8>,
    anchored: bool,
}

impl Excludes {
    /// Reads patterns; the error says which one is not a pattern and why.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, String> {
        patterns
            .iter()
            .map(|pattern| {
                let pattern = pattern.as_ref();
                let fail = |why: &str| Err(format!("`{pattern}` is not a pattern: {why}"));
                let text = pattern.strip_suffix('/').unwrap_or(pattern);
                let anchored = text.contains('/');
                let text = text.strip_prefix('/').unwrap_or(text);
                if text.is_empty() {
                    return fail("it is empty");
                }
                if text.starts_with('!') {
                    return fail("negation is not supported");
                }
                if !closed(text.as_bytes()) {
                    return fail("a `[` has no `]`, or it ends in a single `\\`");
                }
                Ok(Pattern {
                    text: text.as_bytes().to_vec(),
                    anchored,
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the path, relative to the directory that is backed up, is excluded by itself.
    pub fn matches(&self, relative: &Path) -> bool {
        let whole = relative.as_os_str().as_bytes();
        let name = relative.file_name().unwrap_or(OsStr::new("")).as_bytes();
        self.0
            .iter()
            .any(|pattern| matches(&pattern.text, if pattern.anchored { whole } else { name }))
    }
}

/// Whether every `[` is closed and every `\` quotes something.
fn closed(mut pattern: &[u8]) -> bool {
    loop {
        match pattern {
            [] => return true,
            [b'\\'] => return false,
            [b'[', rest @ ..] => match class_end(rest) {
                Some(end) => pattern = &rest[end + 1..],
                None => return false,
            },
            [b'\\', _, rest @ ..] | [_, rest @ ..] => pattern = rest,
        }
    }
}

/// The index of the `]` that ends a class whose `[` was just read.
fn class_end(class: &[u8]) -> Option<usize> {
    let skip = usize::from(class.first() == Some(&b'!'));
    // A `]` directly after the `[` or `[!` stands for itself.
    class
        .iter()
        .enumerate()
        .skip(skip + 1)
        .find(|(_, byte)| **byte == b']')
        .map(|(at, _)| at)
}

fn class_matches(class: &[u8], byte: u8) -> bool {
    let (class, wanted) = match class.split_first() {
        Some((b'!', rest)) => (rest, false),
        _ => (class, true),
    };
    let mut found = false;
    let mut at = 0;
    while at < class.len() {
        if at + 2 < class.len() && class[at + 1] == b'-' {
            found |= (class[at]..=class[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= class[at] == byte;
            at += 1;
        }
    }
    found == wanted
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        // `**/` also stands for no directory at all.
        [b'*', b'*', b'/', rest @ ..] => {
            matches(rest, text)
                || text
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == b'/')
                    .any(|(at, _)| matches(rest, &text[at + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let end = text
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        [b'?', rest @ ..] => {
            text.first().is_some_and(|byte| *byte != b'/') && matches(rest, &text[1..])
        }
        [b'[', rest @ ..] => match (class_end(rest), text.split_first()) {
            (Some(end), Some((byte, after))) => {
                *byte != b'/'
                    && class_matches(&rest[..end], *byte)
                    && matches(&rest[end + 1..], after)
            }
            _ => false,
        },
        [b'\\', quoted, rest @ ..] => text.first() == Some(quoted) && matches(rest, &text[1..]),
        [byte, rest @ ..] => text.first() == Some(byte) && matches(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, path, expected) in [
            ("*.tmp", "a.tmp", true),
            ("*.tmp", "deep/er/a.tmp", true),
            ("*.tmp", "a.tmp.txt", false),
            ("cache", "cache", true),
            ("cache/", "deep/cache", true),
            ("cache", "mycache", false),
            ("/cache", "cache", true),
            ("/cache", "deep/cache", false),
            ("a/*.txt", "a/b.txt", true),
            ("a/*.txt", "a/b/c.txt", false),
            ("a/**/c.txt", "a/c.txt", true),
            ("a/**/c.txt", "a/b/d/c.txt", true),
            ("a/**", "a/b/d/c.txt", true),
            ("a/**", "a", false),
            ("?.log", "x.log", true),
            ("?.log", "xy.log", false),
            ("[a-c].log", "b.log", true),
            ("[!a-c].log", "b.log", false),
            ("[]].log", "].log", true),
            ("\\*.log", "*.log", true),
            ("\\*.log", "a.log", false),
            ("a?c/x", "a/c/x", false),
        ] {
            let excludes = Excludes::parse(&[pattern]).unwrap();
            assert_eq!(
                excludes.matches(Path::new(path)),
                expected,
                "{pattern} on {path}"
            );
        }
    }

    #[test]
    fn a_bad_pattern_is_refused_with_a_reason() {
        for pattern in ["", "/", "[abc", "a\\", "!keep"] {
            let refusal = Excludes::parse(&[pattern]).unwrap_err();
            assert!(refusal.contains("is not a pattern"), "{refusal}");
        }
    }
}

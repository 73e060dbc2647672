//! Which texts are one kind: what differs from one time to the next is left out.

use sha2::{Digest, Sha256};

/// A short name for the kind of thing a text tells: the same for texts that differ only in numbers,
/// hexadecimal digits, UUIDs, quoted parts and paths.
///
/// ```
/// use mainstay_base::fingerprint;
/// assert_eq!(fingerprint("user 17 failed"), fingerprint("user 18 failed"));
/// assert_ne!(fingerprint("user 17 failed"), fingerprint("disk 17 failed"));
/// ```
pub fn fingerprint(text: &str) -> String {
    hex(&Sha256::digest(shape(text).as_bytes())[..6])
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap_or('0');
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.push(digit(byte >> 4));
        hex.push(digit(byte & 15));
    }
    hex
}

/// The text with a placeholder for each part that differs from one time to the next: `#` for a
/// number or a run of hexadecimal digits, `''` for what is quoted, `/…` for a path. Only its first
/// 4 KiB count.
pub fn shape(text: &str) -> String {
    let mut end = text.len().min(4096);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut rest = &text[..end];
    let mut shape = String::with_capacity(end);
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if let Some(after) = quoted(rest, before) {
            shape.push_str("''");
            rest = after;
            before = '\'';
        } else if c == '/' && !before.is_alphanumeric() && starts_path(rest) {
            shape.push_str("/…");
            rest = &rest[path_length(rest)..];
            before = '/';
        } else if c.is_alphanumeric() || c == '_' {
            let length = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            word(&rest[..length], &mut shape);
            rest = &rest[length..];
            before = 'w';
        } else if c.is_whitespace() {
            if !shape.ends_with(' ') {
                shape.push(' ');
            }
            rest = &rest[c.len_utf8()..];
            before = ' ';
        } else {
            shape.push(c);
            rest = &rest[c.len_utf8()..];
            before = c;
        }
    }
    joined(shape.trim())
}

/// What follows the quoted part that the text starts with. An apostrophe inside a word quotes
/// nothing, nor does a quote that is not closed on its line.
fn quoted(text: &str, before: char) -> Option<&str> {
    let open = text.chars().next()?;
    let close = match open {
        '"' | '`' => open,
        '\'' if before != 'w' => open,
        '“' => '”',
        '«' => '»',
        _ => return None,
    };
    let inside = &text[open.len_utf8()..];
    let line = inside.find('\n').map_or(inside, |end| &inside[..end]);
    let end = line.find(close)?;
    Some(&inside[end + close.len_utf8()..])
}

/// Whether a slash begins a path, as in `/var/log`, and is not one between words, as in `and / or`.
fn starts_path(text: &str) -> bool {
    text[1..]
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || "._-~/".contains(c))
}

fn path_length(text: &str) -> usize {
    let end = text
        .find(|c: char| c.is_whitespace() || "\"'`,;:()[]{}<>|".contains(c))
        .unwrap_or(text.len());
    text[..end].trim_end_matches(['.', '!', '?']).len()
}

/// A word: as it is, unless it holds digits.
fn word(word: &str, shape: &mut String) {
    if !word.bytes().any(|byte| byte.is_ascii_digit()) {
        shape.push_str(word);
        return;
    }
    let bare = word.strip_prefix("0x").unwrap_or(word);
    let hex = bare.len() >= 4 && bare.chars().all(|c| c.is_ascii_hexdigit());
    if hex || bare.len() < word.len() && bare.chars().all(|c| c.is_ascii_hexdigit()) {
        shape.push('#');
        return;
    }
    let mut in_number = false;
    for c in word.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                shape.push('#');
            }
            in_number = true;
        } else {
            shape.push(c);
            in_number = false;
        }
    }
}

/// The shape with numbers that hang together as one: a date, an address, a version, a UUID. Groups
/// of letters of a UUID (`abcd`) have no digit and look like words, so they go with their neighbours.
fn joined(shape: &str) -> String {
    let mut out = String::with_capacity(shape.len());
    for (index, token) in shape.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        join_token(token, &mut out);
    }
    out
}

fn join_token(token: &str, out: &mut String) {
    let mut rest = token;
    while let Some(at) = rest.find('#') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut end = 1;
        loop {
            let tail = &rest[end..];
            let Some(sign) = tail.chars().next() else {
                break;
            };
            if !"-.:,+/_".contains(sign) {
                break;
            }
            let group = &tail[1..];
            let length = group
                .find(|c: char| !c.is_ascii_hexdigit() && c != '#')
                .unwrap_or(group.len());
            let piece = &group[..length];
            let uuid_letters = sign == '-' && matches!(length, 4 | 12);
            if piece != "#" && !uuid_letters {
                break;
            }
            end += 1 + length;
        }
        out.push('#');
        rest = &rest[end..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_kind() {
        for (a, b) in [
            ("user 17 failed", "user 18 failed"),
            ("user 17 failed", "user 123456 failed"),
            ("took 1.5 s", "took 12 s"),
            ("job 0xdeadbeef died", "job 0x1 died"),
            ("commit 3f2a9c1 is bad", "commit 00ab12cd is bad"),
            (
                "request 550e8400-e29b-41d4-a716-446655440000 failed",
                "request 6ba7b810-9dad-11d1-80b4-00c04fd430c8 failed",
            ),
            (
                "request 550e8400-beef-41d4-abcd-446655440000 failed",
                "request 6ba7b810-9dad-11d1-80b4-00c04fd430c8 failed",
            ),
            ("no such key \"a b c\"", "no such key \"other\""),
            ("no such key 'x'", "no such key 'a longer one'"),
            (
                "cannot open /var/log/a.log: denied",
                "cannot open /srv/b: denied",
            ),
            ("peer 10.0.0.1:4711 left", "peer 192.168.17.4:80 left"),
            ("at 2026-11-26T01:02:03Z", "at 2025-01-02T11:12:13.456Z"),
            ("too  many\tspaces", "too many spaces"),
            ("worker-3 died", "worker-12 died"),
        ] {
            assert_eq!(shape(a), shape(b), "{a} | {b}");
            assert_eq!(fingerprint(a), fingerprint(b));
        }
    }

    #[test]
    fn not_the_same_kind() {
        for (a, b) in [
            ("user 17 failed", "disk 17 failed"),
            (
                "cannot open /var/a: denied",
                "cannot open /var/a: no such file",
            ),
            ("it's the user's fault", "it's the disk's fault"),
            ("read and/or write", "read and/or seek"),
            ("a", "b"),
            ("", "x"),
        ] {
            assert_ne!(shape(a), shape(b), "{a} | {b}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_shape_and_numbers_never_matter(
            text in ".{0,200}", words in "[a-z]{1,8}( [a-z]{1,8}){0,4}", a in 0_u64.., b in 0_u64..
        ) {
            prop_assert_eq!(fingerprint(&text).len(), 12);
            prop_assert_eq!(
                fingerprint(&format!("{words} {a} {words}")),
                fingerprint(&format!("{words} {b} {words}"))
            );
        }
    }
}

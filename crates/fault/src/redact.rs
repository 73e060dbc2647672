//! Secrets struck out of texts that others wrote: errors, panics, what programs print.
//!
//! A fault is read by people and kept in stores. What it holds passes through here once, at the
//! door, so that no way of showing it can show a secret.

use mainstay_base::secret::{HEADERS, is_secret_name};

/// What stands where a secret was.
const STRUCK: &str = "***";

/// The text with what looks like a secret struck out: values of names like `password`, what follows
/// `Bearer`, the password and the query of URLs. Time is linear in the text.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(url) = rest.strip_prefix("://") {
            out.push_str("://");
            rest = address(url, &mut out);
        } else if c.is_ascii_alphanumeric() || c == '_' {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            out.push_str(word);
            rest = after;
            if let Some(value) = is_secret_name(word).then(|| assigned(after)).flatten() {
                let (between, value) = after.split_at(after.len() - value.len());
                out.push_str(between);
                let to_the_end = HEADERS.iter().any(|name| {
                    word.len() >= name.len()
                        && word.is_char_boundary(word.len() - name.len())
                        && word[word.len() - name.len()..].eq_ignore_ascii_case(name)
                });
                rest = strike(value, to_the_end, &mut out);
            } else if word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic") {
                let length = token(after.strip_prefix(' ').unwrap_or_default());
                if length >= 8 {
                    out.push(' ');
                    out.push_str(STRUCK);
                    rest = &after[1 + length..];
                }
            }
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// How many characters of a token the text begins with.
fn token(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || "._~+/=-".contains(c)))
        .unwrap_or(text.len())
}

/// The value, if what follows a name gives it one: `=x`, `: x`, `": "x`, `=>x`.
fn assigned(after: &str) -> Option<&str> {
    let after = after
        .strip_prefix("\\\"")
        .or_else(|| after.strip_prefix(['"', '\'']))
        .unwrap_or(after);
    let after = after.trim_start_matches(' ');
    let after = after
        .strip_prefix("=>")
        .or_else(|| after.strip_prefix(['=', ':']))?;
    let value = after.trim_start_matches(' ');
    // `Token::new`, and a name at the end of a line.
    let has_value = value
        .chars()
        .next()
        .is_some_and(|c| !c.is_control() && c != ':');
    has_value.then_some(value)
}

/// Writes what stands for a value; what follows it is the answer.
fn strike<'a>(value: &'a str, to_the_end: bool, out: &mut String) -> &'a str {
    out.push_str(STRUCK);
    let (quote, inside) = match value.strip_prefix("\\\"") {
        Some(inside) => ("\\\"", inside),
        None => match value.chars().next() {
            Some('"') => ("\"", &value[1..]),
            Some('\'') => ("'", &value[1..]),
            _ => ("", value),
        },
    };
    if quote.is_empty() {
        let ends = |c: char| {
            c.is_control()
                || "\"'<>".contains(c)
                || !to_the_end && (c.is_whitespace() || ",;&)]}".contains(c))
        };
        return &inside[inside.find(ends).unwrap_or(inside.len())..];
    }
    // A quote behind a backslash is part of the value, unless all quotes are written so.
    let mut from = 0;
    while let Some(at) = inside[from..].find(quote) {
        let at = from + at;
        if quote.len() == 1 && inside[..at].ends_with('\\') {
            from = at + 1;
            continue;
        }
        return &inside[at + quote.len()..];
    }
    ""
}

/// The rest of a URL behind `://`: without the password and without the query.
fn address<'a>(url: &'a str, out: &mut String) -> &'a str {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>()[]{}|,".contains(c);
    // An address of IP version 6 has brackets.
    let end = url
        .find(|c: char| ends(c) && c != '[' && c != ']')
        .unwrap_or(url.len());
    let (whole, rest) = url.split_at(end);
    let authority_end = whole.find(['/', '?', '#']).unwrap_or(whole.len());
    let (authority, path) = whole.split_at(authority_end);
    // The last `@` ends the password, which may hold others.
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map(|(name, _)| name);
            if let Some(name) = name {
                out.push_str(name);
                out.push(':');
            }
            out.push_str(STRUCK);
            out.push('@');
            out.push_str(host);
        }
        None => out.push_str(authority),
    }
    match path.split_once('?') {
        Some((path, _)) => {
            out.push_str(path);
            out.push_str("?…");
        }
        None => out.push_str(path),
    }
    rest
}

/// At most `most` bytes of a text, whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        for (text, expected) in [
            ("nothing here: 17 passwords", "nothing here: 17 passwords"),
            (
                "password authentication failed for user \"shop\"",
                "password authentication failed for user \"shop\"",
            ),
            ("password=hunter2&user=bob", "password=***&user=bob"),
            ("db_password = hunter2 host=x", "db_password = *** host=x"),
            ("PGPASSWORD=hunter2", "PGPASSWORD=***"),
            (
                "{\"password\": \"p w\",\"n\":1}",
                "{\"password\": ***,\"n\":1}",
            ),
            (
                r#"{\"token\":\"abc\",\"n\":1}"#,
                r#"{\"token\":***,\"n\":1}"#,
            ),
            (r#"secret="my \"old\" pw" next"#, "secret=*** next"),
            ("'api_key' => 'abc', 'n' => 1", "'api_key' => ***, 'n' => 1"),
            ("x-api-key: abc", "x-api-key: ***"),
            (
                "Authorization: Bearer abc def\nnext",
                "Authorization: ***\nnext",
            ),
            ("sent Bearer eyJhbGciOi.J9.x to it", "sent Bearer *** to it"),
            ("a basic problem", "a basic problem"),
            ("Cookie: a=b; c=d", "Cookie: ***"),
            (
                "mysql://shop:hunter2@db/shop failed",
                "mysql://shop:***@db/shop failed",
            ),
            ("redis://:p@ss@cache:6379/0", "redis://:***@cache:6379/0"),
            (
                "https://ghp_token@git.example/x",
                "https://***@git.example/x",
            ),
            (
                "error sending request for url (https://api.example/pay?key=abc&to=bob)",
                "error sending request for url (https://api.example/pay?…)",
            ),
            (
                "http://[::1]:80/x?y=1 refused",
                "http://[::1]:80/x?… refused",
            ),
            ("Token::new failed", "Token::new failed"),
            ("no token:\nfound", "no token:\nfound"),
            ("資料庫密碼 password=秘密 後", "資料庫密碼 password=*** 後"),
        ] {
            assert_eq!(redact(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_value_of_any_kind_is_gone(value in "[a-z0-9!$%^*+/?#@.]{6,20}", before in "[ -~]{0,30}") {
            // A quote that is open before it would end somewhere else.
            let before = before.replace(['"', '\'', '\\'], " ");
            for text in [
                format!("{before} password={value}"),
                format!("{before} \"client_secret\": \"{value}\", x"),
                format!("{before} mysql://shop:{value}@db/x"),
            ] {
                // The password of a URL ends at a slash; one that holds it has to be escaped there.
                if text.contains("mysql://") && value.contains(['/', '?', '#']) {
                    continue;
                }
                prop_assert!(!redact(&text).contains(&value), "{text}");
            }
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,300}") {
            let once = redact(&text);
            prop_assert!(once.len() <= text.len() * 2 + 16);
        }
    }
}

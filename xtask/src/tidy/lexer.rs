//! Just enough of a Rust lexer to tell code from comments and strings.
//!
//! Searching a source file for `unsafe` or `println!` as text finds them in prose and in test data
//! too. [`split`] keeps the shape of the file (every line stays where it is) and sorts its
//! characters into code, comments and strings, so that a check looks only where it means to.

/// One source file in three views of the same shape: what is not part of a view is blank there.
pub(crate) struct Source {
    /// Code without comments and without what stands inside quotes.
    pub(crate) code: String,
    /// Comments, with their markers.
    pub(crate) comments: String,
    /// What stands inside string literals.
    pub(crate) strings: String,
}

/// A word or a mark of code and the line it is on, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// The word, or one character of punctuation (`::` is one token).
    pub(crate) text: &'a str,
    /// Line, from 1.
    pub(crate) line: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// Sorts the characters of `source` into code, comments and strings.
pub(crate) fn split(source: &str) -> Source {
    let chars: Vec<char> = source.chars().collect();
    let mut kinds = vec![Kind::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        let end = match chars[at] {
            '/' if next == Some('/') => mark(&mut kinds, at, line_end(&chars, at), Kind::Comment),
            '/' if next == Some('*') => mark(&mut kinds, at, block_end(&chars, at), Kind::Comment),
            '"' => {
                let end = quoted_end(&chars, at + 1, '"');
                let closed = end > at + 1 && chars[end - 1] == '"';
                mark(&mut kinds, at + 1, end - usize::from(closed), Kind::Text);
                end
            }
            '\'' => char_end(&chars, at),
            c if c.is_alphabetic() || c == '_' => word(&chars, at, &mut kinds),
            _ => at + 1,
        };
        at = end.max(at + 1);
    }
    let view = |wanted: Kind| -> String {
        chars
            .iter()
            .zip(&kinds)
            .map(|(&c, &kind)| if kind == wanted || c == '\n' { c } else { ' ' })
            .collect()
    };
    Source {
        code: view(Kind::Code),
        comments: view(Kind::Comment),
        strings: view(Kind::Text),
    }
}

fn mark(kinds: &mut [Kind], from: usize, to: usize, kind: Kind) -> usize {
    kinds[from..to].fill(kind);
    to
}

fn line_end(chars: &[char], from: usize) -> usize {
    (from..chars.len())
        .find(|&i| chars[i] == '\n')
        .unwrap_or(chars.len())
}

/// The end of a block comment, which may hold others.
fn block_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// The index after the closing quote of a literal whose content starts at `from`.
fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// A quote mark opens a character literal or a lifetime: `'a'` and `'\n'`, but `'a` and `'static`.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => quoted_end(chars, at + 1, '\''),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// A word of code; where it is the prefix of a raw or byte string, the string too.
fn word(chars: &[char], from: usize, kinds: &mut [Kind]) -> usize {
    let end = (from..chars.len())
        .find(|&i| !(chars[i].is_alphanumeric() || chars[i] == '_'))
        .unwrap_or(chars.len());
    let prefix: String = chars[from..end].iter().collect();
    if !matches!(prefix.as_str(), "r" | "br" | "cr") {
        return end;
    }
    let hashes = chars[end..].iter().take_while(|&&c| c == '#').count();
    if chars.get(end + hashes) != Some(&'"') {
        return end;
    }
    let start = end + hashes + 1;
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
    };
    let close = (start..chars.len()).find(closes).unwrap_or(chars.len());
    mark(kinds, start, close, Kind::Text);
    (close + 1 + hashes).min(chars.len())
}

/// The words and marks of a code view.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let line = index + 1;
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            found.push(Token {
                text: &rest[..length],
                line,
            });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The code view without what is compiled for tests only (`#[cfg(test)]` and the item after it).
pub(crate) fn product(code: &str) -> String {
    let mut kept = code.to_owned();
    let mut from = 0;
    while let Some(found) = next_test_attribute(&kept, from) {
        let end = item_end(&kept, found);
        let blank: String = kept[found..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        from = found + blank.len();
        kept.replace_range(found..end, &blank);
    }
    kept
}

fn next_test_attribute(code: &str, from: usize) -> Option<usize> {
    ["#[cfg(test)]", "#[cfg(all(test", "#[test]"]
        .iter()
        .filter_map(|attribute| code[from..].find(attribute))
        .min()
        .map(|offset| from + offset)
}

/// Where the item that starts at `from` ends: its `;` or the brace that closes it.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for (offset, c) in code[from..].char_indices() {
        match c {
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets = brackets.saturating_sub(1),
            ';' if depth == 0 && brackets == 0 => return from + offset + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return from + offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (what it is about, source, words that must be left as code)
    const CODE: &[(&str, &str, &[&str])] = &[
        (
            "line comment",
            "let a; // unsafe\nlet b;",
            &["let", "a", "let", "b"],
        ),
        (
            "nested block comment",
            "x /* a /* unsafe */ b */ y",
            &["x", "y"],
        ),
        ("string", r#"x("unsafe \" unsafe") y"#, &["x", "y"]),
        ("raw string", r##"x(r#"a " unsafe"#) y"##, &["x", "r", "y"]),
        ("byte string", r#"x(b"unsafe") y"#, &["x", "b", "y"]),
        (
            "quote as a character",
            "x('\"', '\\'', 'u') unsafe",
            &["x", "u", "unsafe"],
        ),
        (
            "lifetimes",
            "fn f<'a>(x: &'a str) { unsafe }",
            &["fn", "f", "a", "x", "a", "str", "unsafe"],
        ),
        (
            "comment marks in a string",
            r#""http://x" unsafe "/*" y"#,
            &["unsafe", "y"],
        ),
        (
            "a name that ends in r",
            r#"for x in bar"s" {}"#,
            &["for", "x", "in", "bar"],
        ),
        ("unclosed string", "x \"unsafe", &["x"]),
        ("doc comment", "/// println!()\nfn f() {}", &["fn", "f"]),
    ];

    #[test]
    fn code_is_what_is_neither_comment_nor_string() {
        for (name, source, expected) in CODE {
            let split = split(source);
            let words: Vec<&str> = tokens(&split.code)
                .into_iter()
                .map(|token| token.text)
                .filter(|text| text.starts_with(|c: char| c.is_alphabetic()))
                .collect();
            assert_eq!(words, *expected, "{name}");
            assert_eq!(
                split.code.lines().count(),
                source.lines().count(),
                "{name}: shape"
            );
        }
    }

    #[test]
    fn comments_and_strings_have_their_own_views() {
        let split = split("let a = \"in quotes\"; // SAFETY: so\n");
        assert_eq!(split.comments.trim(), "// SAFETY: so");
        assert_eq!(split.strings.trim(), "in quotes");
    }

    #[test]
    fn product_code_leaves_out_tests() {
        let table = [
            (
                "fn a() { x } #[cfg(test)] mod tests { fn b() { { y } } } fn c() { z }",
                "x z",
            ),
            ("#[cfg(test)] mod tests; fn c() { z }", "z"),
            ("#[cfg(test)] use a::{x, y}; fn c() { z }", "z"),
            (
                "#[cfg(test)]\nimpl X { fn a(x: [u8; 2]) {} }\nfn z() {}",
                "z",
            ),
        ];
        for (source, expected) in table {
            let product = product(source);
            let letters: Vec<&str> = tokens(&product)
                .into_iter()
                .map(|token| token.text)
                .filter(|text| matches!(*text, "x" | "y" | "z"))
                .collect();
            assert_eq!(letters.join(" "), expected, "{source}");
            assert_eq!(product.len(), source.len());
        }
    }

    #[test]
    fn tokens_know_their_line() {
        let found = tokens("a::b\n  c!");
        let seen: Vec<(&str, usize)> = found.iter().map(|t| (t.text, t.line)).collect();
        assert_eq!(seen, [("a", 1), ("::", 1), ("b", 1), ("c", 2), ("!", 2)]);
    }
}

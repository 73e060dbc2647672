//! The text of a message in pieces: the deciding part, pure. What it does not understand is `None`.

/// One after another they make up the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// An argument and how it is shown, which is empty for the usual way.
    Argument(Which, String),
}

/// Which argument is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// `{}`
    Next,
    /// `{name}`
    Named(String),
}

impl Piece {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Argument(..) => "",
        }
    }
}

/// Words that are no names (reference of Rust, "Keywords"); `self` is a value.
const KEYWORDS: [&str; 49] = [
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue",
    "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub",
    "ref", "return", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where",
];

/// A text with its `{}` (`std::fmt`, "Syntax"); those that name other arguments for width and
/// precision, and arguments by number, are not understood.
pub(crate) fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..];
        if let Some(after) = brace.strip_prefix("{{") {
            plain.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            plain.push('}');
            rest = after;
        } else {
            let (inside, after) = brace.strip_prefix('{')?.split_once('}')?;
            rest = after;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(argument(inside)?);
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Some(pieces)
}

fn argument(inside: &str) -> Option<Piece> {
    let (name, spec) = inside.split_once(':').unwrap_or((inside, ""));
    // A brace can be a fill character.
    if spec.contains(['$', '*', '{', '}']) {
        return None;
    }
    let which = if name.is_empty() {
        Which::Next
    } else {
        let mut bytes = name.bytes();
        let is_name = bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name != "_"
            && !KEYWORDS.contains(&name);
        is_name.then(|| Which::Named(name.to_owned()))?
    };
    Some(Piece::Argument(which, spec.to_owned()))
}

/// What a string literal means, as it stands in the source (reference of Rust, "String literals").
pub(crate) fn literal_text(source: &str) -> Option<String> {
    if let Some(raw) = source.strip_prefix('r') {
        let inside = raw.trim_start_matches('#');
        let hashes = &raw[..raw.len() - inside.len()];
        let inside = inside.strip_prefix('"')?.strip_suffix(hashes)?;
        return inside.strip_suffix('"').map(str::to_owned);
    }
    let mut rest = source.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let mut chars = after.chars();
        let (char, left) = match chars.next()? {
            'n' => ('\n', chars.as_str()),
            'r' => ('\r', chars.as_str()),
            't' => ('\t', chars.as_str()),
            '0' => ('\0', chars.as_str()),
            char @ ('\\' | '\'' | '"') => (char, chars.as_str()),
            '\n' => {
                rest = chars.as_str().trim_start_matches([' ', '\n', '\r', '\t']);
                continue;
            }
            'x' => {
                let digits = after.get(1..3)?;
                let code = u8::from_str_radix(digits, 16).ok()?;
                (char::from(code), after.get(3..)?)
            }
            'u' => {
                let (digits, left) = after.strip_prefix("u{")?.split_once('}')?;
                let code = u32::from_str_radix(&digits.replace('_', ""), 16).ok()?;
                (char::from_u32(code)?, left)
            }
            _ => return None,
        };
        text.push(char);
        rest = left;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    fn next(spec: &str) -> Piece {
        Piece::Argument(Which::Next, spec.into())
    }

    fn named(name: &str, spec: &str) -> Piece {
        Piece::Argument(Which::Named(name.into()), spec.into())
    }

    #[test]
    fn messages() {
        let table: &[(&str, Option<Vec<Piece>>)] = &[
            ("", Some(vec![])),
            ("plain", Some(vec![text("plain")])),
            ("{}", Some(vec![next("")])),
            (
                "a {} b{c}",
                Some(vec![text("a "), next(""), text(" b"), named("c", "")]),
            ),
            (
                "{{}} {{{x}}}",
                Some(vec![text("{} {"), named("x", ""), text("}")]),
            ),
            (
                "{:?}{e:#?}{:>8.3}",
                Some(vec![next("?"), named("e", "#?"), next(">8.3")]),
            ),
            ("{self}", Some(vec![named("self", "")])),
            // Left to `format_args!`, also to complain about.
            ("{0}", None),
            ("{:1$}", None),
            ("{:.*}", None),
            ("{:width$}", None),
            ("{ x }", None),
            ("{type}", None),
            ("{größe}", None),
            ("{a.b}", None),
            ("open {", None),
            ("shut }", None),
            ("{:}<3}", None),
        ];
        for (message, expected) in table {
            assert_eq!(pieces(message), *expected, "{message}");
        }
    }

    #[test]
    fn literals() {
        let table: &[(&str, Option<&str>)] = &[
            (r#""plain ü""#, Some("plain ü")),
            (r#""a\n\t\r\0\\\'\"b""#, Some("a\n\t\r\0\\'\"b")),
            (r#""\x41\u{1F_600}\u{e4}""#, Some("A\u{1f600}ä")),
            ("\"one \\\n     two\"", Some("one two")),
            ("r\"a\\n\"", Some("a\\n")),
            ("r#\"a\"b\"#", Some("a\"b")),
            // No text, or none that this understands.
            ("7", None),
            ("b\"a\"", None),
            ("c\"a\"", None),
            (r#""\q""#, None),
            (r#""\xz1""#, None),
            ("\"a\"suffix", None),
        ];
        for (source, expected) in table {
            assert_eq!(literal_text(source).as_deref(), *expected, "{source}");
        }
    }
}

//! Paths, queries and forms.

/// Undoes `%20` and the like. What is no such thing stays as it is.
pub(super) fn unquote(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |at: usize| {
            let digit = char::from(*bytes.get(at)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out)
        .unwrap_or_else(|why| String::from_utf8_lossy(why.as_bytes()).into_owned())
}

/// The fields of a request, of its address and of its body.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads both. A field of the body counts more than one of the address. Empty ones are not
    /// there, as in the original.
    pub(super) fn new(query: &str, body: &str) -> Self {
        let fields = |text: &str| {
            text.split('&')
                .filter_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    let plain = |text: &str| unquote(&text.replace('+', " "));
                    (!value.is_empty()).then(|| (plain(name), plain(value)))
                })
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = fields(body).into_iter().rev().collect();
        all.extend(fields(query));
        Self(all)
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_undone() {
        for (text, expected) in [
            ("a%20b", "a b"),
            ("%3a%3A", "::"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("a+b", "a+b"),
            ("%c3%a4", "ä"),
            ("%ff", "\u{fffd}"),
            ("ä", "ä"),
        ] {
            assert_eq!(unquote(text), expected, "{text}");
        }
    }

    #[test]
    fn fields() {
        let form = Form::new("a=1&b=2&a=3&c&d=&e=x%3Dy+z", "b=4&b=5");
        for (name, expected) in [
            ("a", Some("1")),
            ("b", Some("5")),
            ("c", None),
            ("d", None),
            ("e", Some("x=y z")),
            ("", None),
        ] {
            assert_eq!(form.get(name), expected, "{name}");
        }
        assert_eq!(Form::new("", ""), Form::default());
    }
}

//! Parts of records as text, for the formats of these sinks.

use std::fmt::{self, Write};

use crate::record::{Message, Value};

/// The text of a message; each ill-formed sequence of a program's output is U+FFFD.
pub(super) fn message(message: Message<'_>, out: &mut impl Write) {
    let result = match message {
        Message::Text(text) => out.write_str(text),
        Message::Format(arguments) => out.write_fmt(arguments),
        Message::Bytes(bytes) => lossy(bytes, out),
    };
    shown(result, out);
}

/// The text of a value.
pub(super) fn value(value: Value<'_>, out: &mut impl Write) {
    let result = match value {
        Value::Null => out.write_str("null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Signed(value) => write!(out, "{value}"),
        Value::Unsigned(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value}"),
        Value::Text(text) => out.write_str(text),
        Value::Display(value) => write!(out, "{value}"),
        Value::Debug(value) => write!(out, "{value:?}"),
    };
    shown(result, out);
}

fn lossy(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        out.write_str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            out.write_str("\u{fffd}")?;
        }
    }
    Ok(())
}

/// A value that cannot be shown says so in its place.
fn shown(result: fmt::Result, out: &mut impl Write) {
    if result.is_err() {
        // Writing to memory cannot fail.
        let _ = out.write_str("<cannot be shown>");
    }
}

/// Bytes as they come.
pub(super) struct Raw<'a>(pub(super) &'a mut Vec<u8>);

impl Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The inside of a JSON string (RFC 8259, section 7).
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let code;
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 | 0x7f => {
                    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                    code = [b'\\', b'u', b'0', b'0', HEX[high], HEX[low]];
                    &code
                }
                _ => continue,
            };
            self.0.extend_from_slice(&bytes[from..at]);
            self.0.extend_from_slice(escape);
            from = at + 1;
        }
        self.0.extend_from_slice(&bytes[from..]);
        Ok(())
    }
}

/// Appends a JSON string of this text.
pub(super) fn json(text: &str, out: &mut Vec<u8>) {
    json_of(out, |json| {
        // Writing to memory cannot fail.
        let _ = json.write_str(text);
    });
}

/// Appends a JSON string of what is written.
pub(super) fn json_of(out: &mut Vec<u8>, write: impl FnOnce(&mut Json<'_>)) {
    out.push(b'"');
    write(&mut Json(out));
    out.push(b'"');
}

/// Appends a JSON string of bytes that should be UTF-8.
pub(super) fn json_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    json_of(out, |json| {
        // Writing to memory cannot fail.
        let _ = lossy(bytes, json);
    });
}

/// Without the line feed that most formats end in.
pub(super) fn chomped(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

/// The longest beginning of at most so many bytes that ends between characters.
pub(super) fn cut(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    // A character has at most three bytes that continue it.
    let is_inside = |at: usize| bytes[at] & 0xc0 == 0x80;
    let end = (most.saturating_sub(3)..=most)
        .rev()
        .find(|at| !is_inside(*at))
        .unwrap_or(most);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        let table: [(&[u8], usize, &[u8]); 6] = [
            (b"abc", 5, b"abc"),
            (b"abc", 2, b"ab"),
            ("a\u{e9}b".as_bytes(), 2, b"a"),
            ("a\u{e9}b".as_bytes(), 3, "a\u{e9}".as_bytes()),
            ("\u{1f980}\u{1f980}".as_bytes(), 7, "\u{1f980}".as_bytes()),
            (b"\x80\x80\x80\x80\x80", 4, b"\x80\x80\x80\x80"),
        ];
        for (bytes, most, expected) in table {
            assert_eq!(cut(bytes, most), expected);
        }
    }

    proptest! {
        #[test]
        fn json_strings_say_what_was_said(bytes in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            json_bytes(&bytes, &mut out);
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
            prop_assert!(!out.iter().any(u8::is_ascii_control));
        }
    }
}

//! Parts of records as text, for the formats of these sinks.

use std::fmt::Write;

use crate::record::Message;

pub(super) use crate::format::{Json, Raw, message_text as message, value_text as value};

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
    json_of(out, |json| message(Message::Bytes(bytes), json));
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

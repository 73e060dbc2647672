//! Values to XML, straight into the buffer of the answer.

use std::io::Write as _;

use super::{Value, base64};

const PROLOGUE: &[u8] = b"<?xml version='1.0'?>\n";

/// Appends an answer with this value.
pub fn write_response(value: &Value, out: &mut Vec<u8>) {
    write_response_with(out, |writer| writer.value(value));
}

/// Appends an answer with the value that `write` writes, without building it first.
pub fn write_response_with(out: &mut Vec<u8>, write: impl FnOnce(ValueWriter<'_>)) {
    out.extend_from_slice(PROLOGUE);
    out.extend_from_slice(b"<methodResponse>\n<params>\n<param>\n");
    write(ValueWriter { out });
    out.extend_from_slice(b"</param>\n</params>\n</methodResponse>\n");
}

/// Appends an answer that something could not be done.
pub fn write_fault(code: i32, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(PROLOGUE);
    out.extend_from_slice(b"<methodResponse>\n<fault>\n");
    ValueWriter { out }.structure(|fault| {
        fault.member("faultCode").int(code.into());
        fault.member("faultString").text(text);
    });
    out.extend_from_slice(b"</fault>\n</methodResponse>\n");
}

/// Appends a call.
pub fn write_call(method: &str, params: &[Value], out: &mut Vec<u8>) {
    out.extend_from_slice(PROLOGUE);
    out.extend_from_slice(b"<methodCall>\n<methodName>");
    escape(method.as_bytes(), out);
    out.extend_from_slice(b"</methodName>\n<params>\n");
    for param in params {
        out.extend_from_slice(b"<param>\n");
        ValueWriter { out }.value(param);
        out.extend_from_slice(b"</param>\n");
    }
    out.extend_from_slice(b"</params>\n</methodCall>\n");
}

/// The place for exactly one value: each of its methods writes it and takes the place away.
///
/// A place that is dropped without a value leaves a text that is XML, but no XML-RPC.
#[must_use = "an answer needs a value here"]
pub struct ValueWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl ValueWriter<'_> {
    /// A number. Clients that keep to the letter of XML-RPC cannot read more than 32 bits.
    pub fn int(self, number: i64) {
        self.out.extend_from_slice(b"<value><int>");
        display(number, self.out);
        self.out.extend_from_slice(b"</int></value>\n");
    }

    /// A truth value.
    pub fn bool(self, truth: bool) {
        let text: &[u8] = if truth {
            b"<value><boolean>1</boolean></value>\n"
        } else {
            b"<value><boolean>0</boolean></value>\n"
        };
        self.out.extend_from_slice(text);
    }

    /// A text. What XML cannot carry is replaced, see the [module](super).
    pub fn text(self, text: &str) {
        self.out.extend_from_slice(b"<value><string>");
        escape(text.as_bytes(), self.out);
        self.out.extend_from_slice(b"</string></value>\n");
    }

    /// A text from a log. What is not UTF-8 becomes U+FFFD, the rest is as in [`text`](Self::text).
    pub fn log(self, bytes: &[u8]) {
        self.out.extend_from_slice(b"<value><string>");
        for chunk in bytes.utf8_chunks() {
            escape(chunk.valid().as_bytes(), self.out);
            if !chunk.invalid().is_empty() {
                self.out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
        self.out.extend_from_slice(b"</string></value>\n");
    }

    /// A number with a fraction.
    pub fn double(self, number: f64) {
        self.out.extend_from_slice(b"<value><double>");
        display(format_args!("{number:?}"), self.out);
        self.out.extend_from_slice(b"</double></value>\n");
    }

    /// A time, as in `20260131T23:59:59`.
    pub fn date_time(self, text: &str) {
        self.out.extend_from_slice(b"<value><dateTime.iso8601>");
        escape(text.as_bytes(), self.out);
        self.out.extend_from_slice(b"</dateTime.iso8601></value>\n");
    }

    /// Bytes, kept as they are.
    pub fn base64(self, bytes: &[u8]) {
        self.out.extend_from_slice(b"<value><base64>\n");
        base64::encode_lines(bytes, self.out);
        self.out.extend_from_slice(b"</base64></value>\n");
    }

    /// Nothing. Not all clients can read it.
    pub fn nil(self) {
        self.out.extend_from_slice(b"<value><nil/></value>");
    }

    /// An array of the items that `write` writes.
    pub fn array(self, write: impl FnOnce(&mut ArrayWriter<'_>)) {
        self.out.extend_from_slice(b"<value><array><data>\n");
        write(&mut ArrayWriter { out: self.out });
        self.out.extend_from_slice(b"</data></array></value>\n");
    }

    /// A struct of the members that `write` writes.
    pub fn structure(self, write: impl FnOnce(&mut StructWriter<'_>)) {
        self.out.extend_from_slice(b"<value><struct>\n");
        let mut members = StructWriter {
            out: self.out,
            begun: false,
        };
        write(&mut members);
        members.end_member();
        self.out.extend_from_slice(b"</struct></value>\n");
    }

    /// A value that is there already.
    pub fn value(self, value: &Value) {
        match value {
            Value::Int(number) => self.int(*number),
            Value::Bool(truth) => self.bool(*truth),
            Value::Text(text) => self.text(text),
            Value::Double(number) => self.double(*number),
            Value::DateTime(text) => self.date_time(text),
            Value::Base64(bytes) => self.base64(bytes),
            Value::Nil => self.nil(),
            Value::Array(items) => self.array(|array| {
                for item in items {
                    array.item().value(item);
                }
            }),
            Value::Struct(members) => self.structure(|structure| {
                for (name, member) in members {
                    structure.member(name).value(member);
                }
            }),
        }
    }
}

/// The inside of an array.
pub struct ArrayWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl ArrayWriter<'_> {
    /// The place of the next item.
    pub fn item(&mut self) -> ValueWriter<'_> {
        ValueWriter { out: self.out }
    }
}

/// The inside of a struct.
pub struct StructWriter<'a> {
    out: &'a mut Vec<u8>,
    /// A member is begun, and must be ended before the next one and at the end.
    begun: bool,
}

impl StructWriter<'_> {
    /// The place of the member with this name.
    pub fn member(&mut self, name: &str) -> ValueWriter<'_> {
        self.end_member();
        self.begun = true;
        self.out.extend_from_slice(b"<member>\n<name>");
        escape(name.as_bytes(), self.out);
        self.out.extend_from_slice(b"</name>\n");
        ValueWriter { out: self.out }
    }

    fn end_member(&mut self) {
        if self.begun {
            self.out.extend_from_slice(b"</member>\n");
        }
    }
}

fn display(what: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{what}");
}

/// Bytes at which [`escape`] has to look: markup, control characters, the first of U+FFFE.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = byte != b'\t' as usize && byte != b'\n' as usize;
        byte += 1;
    }
    special[b'&' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[0xef] = true;
    special
};

/// Appends UTF-8 text as XML text, see the [module](super) for what is replaced.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| SPECIAL[byte as usize]) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        let mut length = 1;
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'\r' => out.extend_from_slice(b"&#13;"),
            0..0x20 => out.extend_from_slice(&[0xe2, 0x90, 0x80 + byte]),
            _ if matches!(rest[at..], [0xef, 0xbf, 0xbe | 0xbf, ..]) => {
                length = 3;
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
            _ => out.push(byte),
        }
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest);
}

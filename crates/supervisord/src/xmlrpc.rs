//! XML-RPC as supervisord and Python's `xmlrpc.client` speak it: bytes to values and back.
//!
//! Reading is as lax as the original's reader and Python's together: the name of the root is not
//! looked at, `params` may be missing, a `value` without a type is a string, what is not known is
//! skipped or taken for its text. It is stricter where laxness is a danger: there is no DTD and so
//! no entity that grows, and [`Limits`] bound size, depth and number of values. Time and memory are
//! linear in the length of the text.
//!
//! Writing gives the bytes that Python's `xmlrpc.client.dumps` gives, with one difference. Python
//! writes characters that XML 1.0 cannot carry as they are, and then cannot read them; the original
//! answers with status 500 where a log is not UTF-8. Here an answer can always be read:
//! - a control character becomes its picture (ESC is `␛`, NUL is `␀`), so that it can still be seen;
//! - U+FFFE, U+FFFF and each byte sequence that is not UTF-8 become U+FFFD;
//! - a carriage return is written as `&#13;`, without which the reader would see a line feed.
//!
//! The tokenizer is our own. What XML-RPC needs of XML is elements, text and five entities; a
//! general parser would be called for each of them, and the decoding, the entities, the limits and
//! the refusal of DTDs would still be ours to write.
//!
//! ```
//! use mainstay_supervisord::xmlrpc::{self, Value};
//! let mut bytes = Vec::new();
//! xmlrpc::write_call("supervisor.startProcess", &["web".into(), true.into()], &mut bytes);
//! let call = xmlrpc::parse_call(&bytes)?;
//! assert_eq!(call.method, "supervisor.startProcess");
//! assert_eq!(call.params, [Value::from("web"), Value::from(true)]);
//!
//! let mut answer = Vec::new();
//! xmlrpc::write_response_with(&mut answer, |value| {
//!     value.array(|list| {
//!         list.item().structure(|process| {
//!             process.member("name").text("web");
//!             process.member("pid").int(4711);
//!         });
//!     });
//! });
//! let value = xmlrpc::parse_response(&answer)?.expect("it is no fault");
//! assert_eq!(value.items()[0].get("pid").and_then(Value::as_int), Some(4711));
//! # Ok::<(), xmlrpc::ParseError>(())
//! ```

use std::fmt;

pub mod base64;
mod markup;
mod read;
mod write;

pub use read::{Limits, parse_call, parse_call_within, parse_response, parse_response_within};
pub use write::{
    ArrayWriter, StructWriter, ValueWriter, write_call, write_fault, write_response,
    write_response_with,
};

/// A value of XML-RPC, with the two types that everybody added to it: 64-bit numbers and nil.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `int`, `i4`, `i8` and their like. Clients that keep to the letter read 32 bits only.
    Int(i64),
    /// `boolean`
    Bool(bool),
    /// `string`, or a value without a type.
    Text(String),
    /// `double`
    Double(f64),
    /// `dateTime.iso8601`, as it was written.
    DateTime(String),
    /// `base64`, decoded.
    Base64(Vec<u8>),
    /// `nil`
    Nil,
    /// `array`
    Array(Vec<Value>),
    /// `struct`, in the order of its members. Of two with one name the later counts.
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The text, if it is one. As in the original, `base64` that holds UTF-8 is a text too.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Base64(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The values of an array; none if it is something else.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The members of a struct; none if it is something else.
    pub fn members(&self) -> &[(String, Value)] {
        match self {
            Self::Struct(members) => members,
            _ => &[],
        }
    }

    /// The member of that name, if this is a struct that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members()
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl<const N: usize> From<[Value; N]> for Value {
    fn from(items: [Value; N]) -> Self {
        Self::Array(items.into())
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Value {
    fn from(members: [(&str, Value); N]) -> Self {
        let owned = members.map(|(name, value)| (name.to_owned(), value));
        Self::Struct(owned.into())
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method, as in `supervisor.getState`. It is not empty, and nothing else is known of it.
    pub method: String,
    /// Its arguments.
    pub params: Vec<Value>,
}

/// The answer that something could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which of the faults it is, spec section 1.5.
    pub code: i32,
    /// Its name, and often more: `BAD_NAME: web`.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// Why a text is no call or no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// How many bytes into the text, after it was decoded.
    pub offset: usize,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// It is longer than [`Limits::bytes`].
    TooLong,
    /// It is deeper than [`Limits::depth`].
    TooDeep,
    /// It holds more than [`Limits::values`].
    TooMany,
    /// It is in an encoding other than UTF-8, ASCII and Latin-1, or not in the one it declares.
    Encoding,
    /// It has a document type, which could define entities.
    DocumentType,
    /// It is no XML; the text says why.
    Malformed(&'static str),
    /// A value is not what its type says, which the text names.
    BadValue(&'static str),
    /// It names no method.
    NoMethod,
    /// It is neither an answer nor a fault.
    NoAnswer,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ParseErrorKind::TooLong => f.write_str("the XML-RPC text is too long"),
            ParseErrorKind::TooDeep => f.write_str("the XML-RPC text is nested too deeply"),
            ParseErrorKind::TooMany => f.write_str("the XML-RPC text holds too many values"),
            ParseErrorKind::Encoding => f.write_str(
                "the XML-RPC text is not in the encoding it declares, or in one that is not read: \
                 send UTF-8",
            ),
            ParseErrorKind::DocumentType => {
                f.write_str("the XML-RPC text has a document type, which is refused")
            }
            ParseErrorKind::Malformed(why) => write!(f, "the XML-RPC text is no XML: {why}"),
            ParseErrorKind::BadValue(what) => write!(f, "the XML-RPC text has a bad {what}"),
            ParseErrorKind::NoMethod => f.write_str("the XML-RPC text names no method"),
            ParseErrorKind::NoAnswer => {
                f.write_str("the XML-RPC text is neither an answer nor a fault")
            }
        }?;
        write!(f, " (at byte {})", self.offset)
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests;

//! The protocol of Redis, version 2: what a command looks like, and what a server may answer.
//!
//! Everything a server sends has a limit here, so that one that is not what it seems costs no more
//! memory than an honest one. See <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::io::{self, BufRead, Read};

/// The longest line: a status, an error, a number, a length.
const LINE: u64 = 64 << 10;
/// The most bytes of one answer.
const BYTES: u64 = 64 << 20;
/// The most values of one answer.
const VALUES: u32 = 1 << 20;
/// How deep lists may lie in lists. `CLUSTER SLOTS` has four levels.
const DEPTH: u8 = 8;

/// An answer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A short text.
    Simple(String),
    /// A refusal, with its code as the first word.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Nothing: a missing value or a missing list.
    Null,
    /// A list.
    Array(Vec<Value>),
}

impl Value {
    /// The text of a short text or of bytes; what is not UTF-8 in it is replaced.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    /// The parts of a list; none of anything else.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The value as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Simple(text) => line(out, b'+', text),
            Self::Error(text) => line(out, b'-', text),
            Self::Integer(number) => line(out, b':', &number.to_string()),
            Self::Null => out.extend(b"$-1\r\n"),
            Self::Bulk(bytes) => bulk(out, bytes),
            Self::Array(items) => {
                line(out, b'*', &items.len().to_string());
                for item in items {
                    item.write(out);
                }
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.as_bytes());
    out.extend(b"\r\n");
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    line(out, b'$', &bytes.len().to_string());
    out.extend(bytes);
    out.extend(b"\r\n");
}

/// A command and its arguments as they go over the wire.
pub fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    line(&mut out, b'*', &parts.len().to_string());
    for part in parts {
        bulk(&mut out, part);
    }
    out
}

/// Reads one answer. What no server sends is an error of the kind `InvalidData`.
pub fn read(input: &mut impl BufRead) -> io::Result<Value> {
    let mut allowance = Allowance {
        bytes: BYTES,
        values: VALUES,
    };
    value(input, &mut allowance, DEPTH)
}

/// Reads a line up to its end, which is taken off.
pub(super) fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.by_ref().take(LINE).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        if line.len() as u64 + 1 >= LINE {
            return Err(strange("a line without an end"));
        }
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

struct Allowance {
    bytes: u64,
    values: u32,
}

fn strange(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it sent {what}; is it a Redis server?"),
    )
}

fn value(input: &mut impl BufRead, left: &mut Allowance, depth: u8) -> io::Result<Value> {
    left.values = left
        .values
        .checked_sub(1)
        .ok_or_else(|| strange("a list of more than a million values"))?;
    let line = read_line(input)?;
    spend(left, line.len() as u64)?;
    let Some((kind, rest)) = line.split_first() else {
        return Err(strange("an empty line"));
    };
    let text = || String::from_utf8_lossy(rest).into_owned();
    match kind {
        b'+' => Ok(Value::Simple(text())),
        b'-' => Ok(Value::Error(text())),
        b':' => Ok(Value::Integer(number(rest)?)),
        b'$' => match number(rest)? {
            -1 => Ok(Value::Null),
            length => {
                let length = u64::try_from(length).map_err(|_| strange("a negative length"))?;
                spend(left, length)?;
                let mut bytes = Vec::new();
                // What is claimed is not set aside: only what comes takes memory.
                input.by_ref().take(length).read_to_end(&mut bytes)?;
                let mut end = [0; 2];
                input.read_exact(&mut end)?;
                if bytes.len() as u64 != length || end != *b"\r\n" {
                    return Err(strange("a value that does not end where it should"));
                }
                Ok(Value::Bulk(bytes))
            }
        },
        b'*' => match number(rest)? {
            -1 => Ok(Value::Null),
            count => {
                let count = u64::try_from(count).map_err(|_| strange("a negative length"))?;
                let Some(depth) = depth.checked_sub(1) else {
                    return Err(strange("lists in lists without end"));
                };
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(value(input, left, depth)?);
                }
                Ok(Value::Array(items))
            }
        },
        _ => Err(strange("something that is no answer")),
    }
}

fn spend(left: &mut Allowance, bytes: u64) -> io::Result<()> {
    left.bytes = left
        .bytes
        .checked_sub(bytes)
        .ok_or_else(|| strange("an answer of more than 64 MiB"))?;
    Ok(())
}

fn number(digits: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| strange("a number that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_are_read() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        for (bytes, expected) in [
            ("+OK\r\n", Value::Simple("OK".into())),
            ("-NOAUTH no\r\n", Value::Error("NOAUTH no".into())),
            (":-7\r\n", Value::Integer(-7)),
            ("$-1\r\n", Value::Null),
            ("*-1\r\n", Value::Null),
            ("$0\r\n\r\n", bulk("")),
            ("$4\r\na\r\nb\r\n", bulk("a\r\nb")),
            (
                "*2\r\n:1\r\n$1\r\nx\r\n",
                Value::Array(vec![Value::Integer(1), bulk("x")]),
            ),
            ("*0\r\n", Value::Array(Vec::new())),
        ] {
            assert_eq!(read(&mut bytes.as_bytes()).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        let deep = "*1\r\n".repeat(9);
        let long = format!("+{}", "x".repeat(70_000));
        for bytes in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "$-2\r\n",
            "*-2\r\n",
            "$x\r\n",
            ":\r\n",
            "$3\r\nabcd\r\n",
            "$99999999999\r\n",
            "*9999999\r\n",
            deep.as_str(),
            long.as_str(),
        ] {
            assert!(read(&mut bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        let many = format!("*1048576\r\n{}", ":1\r\n".repeat(1_048_576));
        let error = read(&mut many.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        let cut = read(&mut b"*2\r\n:1\r\n".as_slice()).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "[a-zA-Z0-9 ]{0,40}".prop_map(Value::Simple),
            "[A-Z]{1,9} [a-z ]{0,30}".prop_map(Value::Error),
            any::<i64>().prop_map(Value::Integer),
            any::<Vec<u8>>().prop_map(Value::Bulk),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop::collection::vec(inner, 0..8).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values(), next: u8) {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            bytes.push(next);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read(&mut rest).unwrap(), value);
            prop_assert_eq!(rest, [next]);
        }

        #[test]
        fn noise_ends(bytes: Vec<u8>) {
            let _ = read(&mut bytes.as_slice());
        }

        #[test]
        fn commands_are_lists_of_bytes(parts: Vec<Vec<u8>>) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let written = command(&slices);
            let read = read(&mut written.as_slice()).unwrap();
            prop_assert_eq!(read, Value::Array(parts.into_iter().map(Value::Bulk).collect()));
        }
    }
}

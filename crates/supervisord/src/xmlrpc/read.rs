//! Values from XML.

use std::borrow::Cow;

use super::markup::{Token, Tokens, decoded, is_space};
use super::{Call, Fault, ParseError, ParseErrorKind as Kind, Value, base64};

/// What one text may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its length in bytes.
    pub bytes: usize,
    /// How deep arrays and structs may be nested.
    pub depth: usize,
    /// How many values there may be, those inside of others included.
    pub values: usize,
}

impl Limits {
    /// For calls, which come from strangers.
    pub const CALL: Self = Self {
        bytes: 1 << 20,
        depth: 64,
        values: 100_000,
    };

    /// For answers, which may be logs, or the state of thousands of processes.
    pub const RESPONSE: Self = Self {
        bytes: 256 << 20,
        depth: 64,
        values: 4_000_000,
    };
}

/// Reads what a client sent, within [`Limits::CALL`].
///
/// # Errors
/// What the text is beyond, or why it is no call. The original answers status 400 to all of them.
pub fn parse_call(bytes: &[u8]) -> Result<Call, ParseError> {
    parse_call_within(bytes, Limits::CALL)
}

/// Reads what a client sent, within limits of the caller's choice.
///
/// # Errors
/// As [`parse_call`].
pub fn parse_call_within(bytes: &[u8], limits: Limits) -> Result<Call, ParseError> {
    let text = accepted(bytes, limits)?;
    let mut reader = Reader::new(&text, limits);
    let read = reader.call();
    read.map_err(|kind| reader.error(kind))
}

/// Reads what a server answered, within [`Limits::RESPONSE`].
///
/// # Errors
/// What the text is beyond, or why it is no answer. A fault is an answer.
pub fn parse_response(bytes: &[u8]) -> Result<Result<Value, Fault>, ParseError> {
    parse_response_within(bytes, Limits::RESPONSE)
}

/// Reads what a server answered, within limits of the caller's choice.
///
/// # Errors
/// As [`parse_response`].
pub fn parse_response_within(
    bytes: &[u8],
    limits: Limits,
) -> Result<Result<Value, Fault>, ParseError> {
    let text = accepted(bytes, limits)?;
    let mut reader = Reader::new(&text, limits);
    let read = reader.response();
    read.map_err(|kind| reader.error(kind))
}

fn accepted(bytes: &[u8], limits: Limits) -> Result<Cow<'_, str>, ParseError> {
    let error = |kind, offset| ParseError { kind, offset };
    if bytes.len() > limits.bytes {
        return Err(error(Kind::TooLong, limits.bytes));
    }
    decoded(bytes).map_err(|kind| error(kind, 0))
}

struct Reader<'a> {
    tokens: Tokens<'a>,
    /// How many more values there may be.
    values: usize,
    /// How much deeper they may be.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, limits: Limits) -> Self {
        Self {
            // A struct is the deepest: value, struct, member. Around all are response, params,
            // param.
            tokens: Tokens::new(text, 3 * limits.depth + 8),
            values: limits.values,
            depth: limits.depth,
        }
    }

    fn error(&self, kind: Kind) -> ParseError {
        ParseError {
            kind,
            offset: self.tokens.offset(),
        }
    }

    fn call(&mut self) -> Result<Call, Kind> {
        let mut method = String::new();
        let mut params = Vec::new();
        self.root(|reader, tag| {
            match tag {
                "methodName" => method = reader.text()?,
                "params" => params = reader.params()?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        if method.is_empty() {
            return Err(Kind::NoMethod);
        }
        Ok(Call { method, params })
    }

    fn response(&mut self) -> Result<Result<Value, Fault>, Kind> {
        let mut answer = None;
        self.root(|reader, tag| {
            match tag {
                "params" => answer = reader.params()?.into_iter().next().map(Ok),
                "fault" => answer = Some(Err(reader.fault()?)),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        answer.ok_or(Kind::NoAnswer)
    }

    /// Reads the root and all that is after it.
    fn root(
        &mut self,
        each: impl FnMut(&mut Self, &'a str) -> Result<(), Kind>,
    ) -> Result<(), Kind> {
        self.tokens.next()?;
        self.children(each)?;
        // What may follow is read over; all else is a fault.
        self.tokens.next().map(drop)
    }

    /// Calls `each` for every child of the open element, until its end. `each` reads the child to
    /// its end. Text between the children is skipped.
    fn children(
        &mut self,
        mut each: impl FnMut(&mut Self, &'a str) -> Result<(), Kind>,
    ) -> Result<(), Kind> {
        while let Some(token) = self.tokens.next()? {
            match token {
                Token::Start(tag) => each(self, local(tag))?,
                Token::End => break,
                Token::Text(_) => {}
            }
        }
        Ok(())
    }

    /// Reads to the end of the open element.
    fn skip(&mut self) -> Result<(), Kind> {
        let outside = self.tokens.depth() - 1;
        while self.tokens.depth() > outside {
            if self.tokens.next()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The text of the open element before its first child. Children are skipped.
    fn text(&mut self) -> Result<String, Kind> {
        let mut text = Cow::Borrowed("");
        let mut whole = true;
        while let Some(token) = self.tokens.next()? {
            match token {
                Token::Start(_) => {
                    whole = false;
                    self.skip()?;
                }
                Token::End => break,
                Token::Text(more) if whole => append(&mut text, more),
                Token::Text(_) => {}
            }
        }
        Ok(text.into_owned())
    }

    fn params(&mut self) -> Result<Vec<Value>, Kind> {
        let mut params = Vec::new();
        self.children(|reader, tag| {
            let value = if tag == "param" {
                reader.first_child()?.ok_or(Kind::BadValue("parameter"))?
            } else {
                reader.element(tag)?
            };
            params.push(value);
            Ok(())
        })?;
        Ok(params)
    }

    fn fault(&mut self) -> Result<Fault, Kind> {
        let value = self.first_child()?.ok_or(Kind::BadValue("fault"))?;
        let code = value.get("faultCode").and_then(Value::as_int);
        let code = code.and_then(|code| i32::try_from(code).ok());
        let text = value.get("faultString").and_then(Value::as_str);
        Ok(Fault {
            code: code.ok_or(Kind::BadValue("fault"))?,
            text: text.unwrap_or_default().to_owned(),
        })
    }

    /// The first child of the open element as a value. Others are skipped.
    fn first_child(&mut self) -> Result<Option<Value>, Kind> {
        let mut first = None;
        self.children(|reader, tag| {
            if first.is_some() {
                return reader.skip();
            }
            first = Some(reader.element(tag)?);
            Ok(())
        })?;
        Ok(first)
    }

    /// The open element as a value: `value`, or a type without it.
    fn element(&mut self, tag: &str) -> Result<Value, Kind> {
        if tag == "value" {
            self.value()
        } else {
            self.typed(tag)
        }
    }

    fn value(&mut self) -> Result<Value, Kind> {
        let mut text = Cow::Borrowed("");
        let mut typed = None;
        while let Some(token) = self.tokens.next()? {
            match token {
                Token::Start(_) if typed.is_some() => self.skip()?,
                Token::Start(tag) => typed = Some(self.element(local(tag))?),
                Token::End => break,
                Token::Text(more) => append(&mut text, more),
            }
        }
        if let Some(value) = typed {
            return Ok(value);
        }
        self.count()?;
        Ok(Value::Text(text.into_owned()))
    }

    fn count(&mut self) -> Result<(), Kind> {
        self.values = self.values.checked_sub(1).ok_or(Kind::TooMany)?;
        Ok(())
    }

    fn typed(&mut self, tag: &str) -> Result<Value, Kind> {
        self.count()?;
        Ok(match tag {
            "int" | "i1" | "i2" | "i4" | "i8" | "biginteger" => {
                let text = self.text()?;
                Value::Int(trim(&text).parse().map_err(|_| Kind::BadValue("int"))?)
            }
            "boolean" => match trim(&self.text()?) {
                "1" | "true" => Value::Bool(true),
                // All else is false to the original; that hides a mistake of the client's.
                "0" | "false" | "" => Value::Bool(false),
                _ => return Err(Kind::BadValue("boolean")),
            },
            "double" | "float" => {
                let text = self.text()?;
                Value::Double(trim(&text).parse().map_err(|_| Kind::BadValue("double"))?)
            }
            "dateTime.iso8601" => Value::DateTime(trim(&self.text()?).to_owned()),
            "base64" => {
                let text = self.text()?;
                Value::Base64(base64::decode(&text).ok_or(Kind::BadValue("base64"))?)
            }
            "nil" => {
                self.skip()?;
                Value::Nil
            }
            "array" => self.deeper(|reader| {
                let mut items = Vec::new();
                reader.children(|reader, tag| {
                    if tag != "data" {
                        items.push(reader.element(tag)?);
                        return Ok(());
                    }
                    reader.children(|reader, tag| {
                        items.push(reader.element(tag)?);
                        Ok(())
                    })
                })?;
                Ok(Value::Array(items))
            })?,
            "struct" => self.deeper(|reader| {
                let mut members = Vec::new();
                reader.children(|reader, _| {
                    members.push(reader.member()?);
                    Ok(())
                })?;
                Ok(Value::Struct(members))
            })?,
            // "string", and what is not known.
            _ => Value::Text(self.text()?),
        })
    }

    fn deeper(
        &mut self,
        reading: impl FnOnce(&mut Self) -> Result<Value, Kind>,
    ) -> Result<Value, Kind> {
        self.depth = self.depth.checked_sub(1).ok_or(Kind::TooDeep)?;
        let value = reading(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn member(&mut self) -> Result<(String, Value), Kind> {
        let mut name = None;
        let mut value = None;
        self.children(|reader, tag| {
            if tag == "name" {
                name = Some(reader.text()?);
            } else {
                value = Some(reader.element(tag)?);
            }
            Ok(())
        })?;
        name.zip(value).ok_or(Kind::BadValue("struct member"))
    }
}

/// A name without its namespace.
fn local(tag: &str) -> &str {
    tag.rsplit(':').next().unwrap_or(tag)
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii() && is_space(c as u8))
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}

//! As much of XML 1.0 as XML-RPC needs: elements, text, CDATA, five entities, character references.
//!
//! Comments, processing instructions and attributes are read over, namespaces are left in the
//! names, document types are refused. Unlike XML, control characters other than NUL are read, so
//! that a client can send them to a program's stdin.

use std::borrow::Cow;

use super::ParseErrorKind as Kind;

/// The longest `<?xml … ?>` that is looked at.
const MAX_DECLARATION: usize = 1024;

/// The next piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `<name …>`. For `<name/>` an [`End`](Token::End) follows.
    Start(&'a str),
    /// `</name>`, which was checked to match its start.
    End,
    /// Characters, with references replaced. Text may come in several pieces.
    Text(Cow<'a, str>),
}

/// Reads tokens from a decoded text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    open: Vec<&'a str>,
    max_open: usize,
    /// An empty element was begun; its end comes next.
    empty: bool,
    seen_root: bool,
}

impl<'a> Tokens<'a> {
    /// Begins to read. `max_open` is how many elements may be open at one time.
    pub(super) fn new(text: &'a str, max_open: usize) -> Self {
        Self {
            text,
            at: 0,
            open: Vec::new(),
            max_open,
            empty: false,
            seen_root: false,
        }
    }

    /// How many bytes have been read.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// How many elements are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// The next token; `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, Kind> {
        loop {
            if self.empty {
                self.empty = false;
                self.open.pop();
                return Ok(Some(Token::End));
            }
            let rest = &self.text[self.at..];
            if rest.is_empty() {
                return match (self.open.is_empty(), self.seen_root) {
                    (false, _) => Err(Kind::Malformed("an element is not closed")),
                    (_, false) => Err(Kind::Malformed("there is no element")),
                    _ => Ok(None),
                };
            }
            let Some(markup) = rest.strip_prefix('<') else {
                if let Some(text) = self.characters(rest)? {
                    return Ok(Some(Token::Text(text)));
                }
                continue;
            };
            if let Some(name) = markup.strip_prefix('/') {
                return self.end(name).map(Some);
            }
            if let Some(inner) = markup.strip_prefix("!--") {
                self.skip(inner, 4, "-->", "a comment is not closed")?;
            } else if let Some(inner) = markup.strip_prefix("![CDATA[") {
                let text = self.skip(inner, 9, "]]>", "a CDATA section is not closed")?;
                if self.open.is_empty() {
                    return Err(Kind::Malformed("there is text outside of the root"));
                }
                return newlines(text).map(|text| Some(Token::Text(text)));
            } else if markup.starts_with('!') {
                return Err(Kind::DocumentType);
            } else if let Some(inner) = markup.strip_prefix('?') {
                self.skip(inner, 2, "?>", "a processing instruction is not closed")?;
            } else {
                return self.start(markup).map(Some);
            }
        }
    }

    /// Moves behind `until`, and gives what is before it. `inner` begins `opening` bytes from here.
    fn skip(
        &mut self,
        inner: &'a str,
        opening: usize,
        until: &str,
        missing: &'static str,
    ) -> Result<&'a str, Kind> {
        let end = inner.find(until).ok_or(Kind::Malformed(missing))?;
        self.at += opening + end + until.len();
        Ok(&inner[..end])
    }

    fn characters(&mut self, rest: &'a str) -> Result<Option<Cow<'a, str>>, Kind> {
        let raw = &rest[..rest.find('<').unwrap_or(rest.len())];
        if self.open.is_empty() {
            if !raw.bytes().all(is_space) {
                return Err(Kind::Malformed("there is text outside of the root"));
            }
            self.at += raw.len();
            return Ok(None);
        }
        let text = references(raw)?;
        self.at += raw.len();
        Ok(Some(text))
    }

    fn start(&mut self, markup: &'a str) -> Result<Token<'a>, Kind> {
        if self.open.is_empty() && self.seen_root {
            return Err(Kind::Malformed("there is a second root"));
        }
        let name_end = markup
            .find(|c: char| c.is_ascii() && !is_name(c as u8))
            .ok_or(Kind::Malformed("a tag is not closed"))?;
        let name = &markup[..name_end];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        {
            return Err(Kind::Malformed("a tag has no name"));
        }
        let mut quote = None;
        let mut close = None;
        for (at, byte) in markup.bytes().enumerate().skip(name_end) {
            match (quote, byte) {
                (_, b'<') => break,
                (Some(mark), _) if mark == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'>') => {
                    close = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let close = close.ok_or(Kind::Malformed("a tag is not closed"))?;
        let attributes = &markup[name_end..close];
        self.empty = attributes.ends_with('/');
        let attributes = attributes.strip_suffix('/').unwrap_or(attributes);
        if attributes.bytes().next().is_some_and(|b| !is_space(b)) {
            return Err(Kind::Malformed("a tag has no proper name"));
        }
        if self.open.len() >= self.max_open {
            return Err(Kind::TooDeep);
        }
        self.at += 1 + close + 1;
        self.open.push(name);
        self.seen_root = true;
        Ok(Token::Start(name))
    }

    fn end(&mut self, markup: &'a str) -> Result<Token<'a>, Kind> {
        let close = markup
            .find(['>', '<'])
            .filter(|&at| markup.as_bytes()[at] == b'>')
            .ok_or(Kind::Malformed("a tag is not closed"))?;
        let name = markup[..close].trim_end_matches(|c: char| c.is_ascii() && is_space(c as u8));
        if self.open.pop() != Some(name) {
            return Err(Kind::Malformed("the end of an element has another name"));
        }
        self.at += 2 + close + 1;
        Ok(Token::End)
    }
}

/// The white space of XML.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.')
}

/// Replaces references and normalises line ends, XML 1.0 sections 2.11 and 4.4.
fn references(raw: &str) -> Result<Cow<'_, str>, Kind> {
    if !raw.contains('&') {
        return newlines(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&newlines(&rest[..at])?);
        // The longest reference is shorter than this; so no text is searched twice.
        let window = rest.as_bytes()[at + 1..].iter().take(12);
        let length = window
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'#')
            .count();
        let name = &rest[at + 1..at + 1 + length];
        rest = rest[at + 1 + length..]
            .strip_prefix(';')
            .ok_or(Kind::Malformed("an entity is not closed"))?;
        text.push(entity(name)?);
    }
    text.push_str(&newlines(rest)?);
    Ok(Cow::Owned(text))
}

fn entity(name: &str) -> Result<char, Kind> {
    let code = match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => match name.strip_prefix('#') {
            Some(digits) => match digits.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => digits.parse(),
            },
            None => return Err(Kind::Malformed("an entity is not known")),
        },
    };
    code.ok()
        .filter(|&code| code != 0)
        .and_then(char::from_u32)
        .ok_or(Kind::Malformed("a character reference is out of range"))
}

fn newlines(raw: &str) -> Result<Cow<'_, str>, Kind> {
    if raw.contains('\0') {
        return Err(Kind::Malformed("there is a NUL character"));
    }
    Ok(if raw.contains('\r') {
        Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(raw)
    })
}

/// The text of the bytes, by the encoding that they declare. A byte order mark is left out.
pub(super) fn decoded(bytes: &[u8]) -> Result<Cow<'_, str>, Kind> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let declaration = bytes
        .strip_prefix(b"<?xml")
        .map(|rest| &rest[..rest.len().min(MAX_DECLARATION)])
        .and_then(|rest| rest.split(|&b| b == b'>').next())
        .and_then(|inner| std::str::from_utf8(inner).ok())
        .unwrap_or("");
    match encoding(declaration).to_ascii_lowercase().as_str() {
        // Who declares ASCII and sends UTF-8 is understood.
        "" | "utf-8" | "utf8" | "us-ascii" | "ascii" => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| Kind::Encoding),
        "iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin-1" | "latin1" => {
            Ok(Cow::Owned(bytes.iter().map(|&b| char::from(b)).collect()))
        }
        _ => Err(Kind::Encoding),
    }
}

fn encoding(declaration: &str) -> &str {
    let Some((_, after)) = declaration.split_once("encoding") else {
        return "";
    };
    let after = after.trim_start().trim_start_matches('=').trim_start();
    match after.chars().next() {
        Some(mark @ ('"' | '\'')) => after[1..].split(mark).next().unwrap_or(""),
        _ => "",
    }
}

//! An XML document as a tree with places: what seelog's reader takes, and no more.
//!
//! The rules are those of the `encoding/xml` package of Go that seelog reads with, as far as they
//! decide between good and bad: text and comments mean nothing, entities are the five of XML 1.0
//! section 4.6 and character references, a document type is skipped and declares nothing, what
//! follows the root element is looked at only to find a second one. Attribute values keep their line
//! breaks and tabs. Everything is bounded: see the constants.

use std::borrow::Cow;
use std::ops::Range;

/// The most bytes a document may have.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// How deep elements may be nested.
const MAX_DEPTH: usize = 64;
/// The most elements of a document.
const MAX_ELEMENTS: usize = 10_000;
/// The most attributes of an element.
const MAX_ATTRIBUTES: usize = 64;
/// The most bytes of a name.
const MAX_NAME: usize = 256;
/// The most bytes of an attribute's value, as written.
const MAX_VALUE: usize = 64 << 10;

/// Something wrong, or odd, at a stretch of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// An element. No `Debug`: values may be secrets.
pub(super) struct Element<'a> {
    pub(super) name: &'a str,
    /// From `<` to the end of the name.
    pub(super) span: Range<usize>,
    /// In the order of the text; of several with one name only the first.
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) children: Vec<Element<'a>>,
    /// The first text inside it that is not blank.
    pub(super) text: Option<Range<usize>>,
}

/// An attribute.
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: Cow<'a, str>,
    /// The name.
    pub(super) name_span: Range<usize>,
    /// The value without its quotes.
    pub(super) value_span: Range<usize>,
}

impl Attribute<'_> {
    /// The place of a stretch of the value; the whole value where references shift it.
    pub(super) fn within(&self, part: Range<usize>) -> Range<usize> {
        if self.value.len() == self.value_span.len() && part.end <= self.value.len() {
            self.value_span.start + part.start..self.value_span.start + part.end
        } else {
            self.value_span.clone()
        }
    }
}

/// What was read.
pub(super) struct Document<'a> {
    pub(super) root: Element<'a>,
    /// Faults that reading could go on after.
    pub(super) errors: Vec<Fault>,
    /// What is there and means nothing.
    pub(super) ignored: Vec<Fault>,
}

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Document<'_>, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        elements: 0,
        errors: Vec::new(),
        ignored: Vec::new(),
    };
    let mut open: Vec<Element<'_>> = Vec::new();
    let root = loop {
        let done = match reader.next(open.last().map(|element| element.name))? {
            None => {
                return Err(match open.pop() {
                    Some(element) => {
                        Fault::new(element.span, format!("<{}> is not closed", element.name))
                    }
                    None => Fault::new(text.len()..text.len(), "there is no element")
                        .help("the root element is <seelog>"),
                });
            }
            Some(Piece::Text(span)) => {
                if let Some(element) = open.last_mut() {
                    element.text.get_or_insert(span);
                } else {
                    reader.ignored.push(Fault::new(
                        span,
                        "text outside of the root element is ignored",
                    ));
                }
                continue;
            }
            Some(Piece::Start(element)) => {
                if open.len() >= MAX_DEPTH {
                    return Err(Fault::new(
                        element.span,
                        format!("elements are nested more than {MAX_DEPTH} deep"),
                    ));
                }
                open.push(element);
                continue;
            }
            Some(Piece::Empty(element)) => element,
            // The end of the element that `next` was told is the open one.
            Some(Piece::End) => match open.pop() {
                Some(element) => element,
                None => continue,
            },
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(done),
            None => break done,
        }
    };
    reader.after_root()?;
    Ok(Document {
        root,
        errors: reader.errors,
        ignored: reader.ignored,
    })
}

enum Piece<'a> {
    Start(Element<'a>),
    Empty(Element<'a>),
    End,
    /// Text that is not blank.
    Text(Range<usize>),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    elements: usize,
    errors: Vec<Fault>,
    ignored: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The character here, for errors.
    fn here(&self) -> Range<usize> {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        self.at..self.at + length
    }

    /// The next piece that means something; `None` at the end of the text.
    fn next(&mut self, open: Option<&str>) -> Result<Option<Piece<'a>>, Fault> {
        loop {
            let start = self.at;
            let rest = self.rest();
            if rest.is_empty() {
                return Ok(None);
            }
            if !rest.starts_with('<') {
                let raw = &rest[..rest.find('<').unwrap_or(rest.len())];
                if let Some(at) = raw.find("]]>") {
                    return Err(Fault::new(
                        start + at..start + at + 3,
                        "`]]>` stands outside of a CDATA section",
                    ));
                }
                let value = decoded(raw, start)?;
                self.at += raw.len();
                if !value.trim().is_empty() {
                    let lead = raw.len() - raw.trim_start().len();
                    let end = start + raw.trim_end().len();
                    return Ok(Some(Piece::Text((start + lead).min(end)..end)));
                }
            } else if rest.starts_with("</") {
                self.end(open)?;
                return Ok(Some(Piece::End));
            } else if rest.starts_with("<!--") {
                let inner = self.until("<!--", "-->", "the comment is not closed")?;
                // XML 1.0 section 2.5; the last hyphen may not touch the end either.
                let found = inner
                    .find("--")
                    .or(inner.ends_with('-').then(|| inner.len() - 1));
                if let Some(at) = found {
                    let at = start + 4 + at;
                    return Err(Fault::new(at..at + 2, "`--` stands inside a comment"));
                }
            } else if rest.starts_with("<![CDATA[") {
                let inner = self.until("<![CDATA[", "]]>", "the CDATA section is not closed")?;
                allowed(inner, start + 9)?;
                if !inner.trim().is_empty() {
                    return Ok(Some(Piece::Text(start..self.at)));
                }
            } else if rest.starts_with("<!") {
                self.directive()?;
            } else if rest.starts_with("<?") {
                self.instruction()?;
            } else {
                let (element, empty) = self.start()?;
                return Ok(Some(if empty {
                    Piece::Empty(element)
                } else {
                    Piece::Start(element)
                }));
            }
        }
    }

    /// Moves behind `close` and gives what is between; the text here starts with `open`.
    fn until(&mut self, open: &str, close: &str, missing: &str) -> Result<&'a str, Fault> {
        let inner = &self.rest()[open.len()..];
        let Some(end) = inner.find(close) else {
            return Err(Fault::new(self.at..self.at + open.len(), missing));
        };
        self.at += open.len() + end + close.len();
        Ok(&inner[..end])
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// A name, or nothing if none begins here. A prefix is reported, and left out.
    fn name(&mut self) -> Result<Option<&'a str>, Fault> {
        let part = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "_:.-".contains(c);
        let rest = self.rest();
        let name = &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())];
        if name.is_empty() || name.starts_with(|c: char| "-.".contains(c) || c.is_ascii_digit()) {
            return Ok(None);
        }
        let span = self.at..self.at + name.len();
        if name.len() > MAX_NAME {
            return Err(Fault::new(
                self.here(),
                format!("a name has more than {MAX_NAME} bytes"),
            ));
        }
        self.at = span.end;
        match name.split_once(':') {
            Some((prefix, local)) if !prefix.is_empty() && !local.is_empty() => {
                self.errors.push(
                    Fault::new(span, format!("`{name}` has a namespace prefix"))
                        .help(format!("seelog knows no namespaces; write `{local}`")),
                );
                Ok(Some(local))
            }
            _ => Ok(Some(name)),
        }
    }

    fn start(&mut self) -> Result<(Element<'a>, bool), Fault> {
        let open = self.at;
        self.at += 1;
        let Some(name) = self.name()? else {
            return Err(Fault::new(open..self.at, "`<` is not followed by a name")
                .help("write &lt; for the character itself"));
        };
        self.elements += 1;
        let mut element = Element {
            name,
            span: open..self.at,
            attributes: Vec::new(),
            children: Vec::new(),
            text: None,
        };
        if self.elements > MAX_ELEMENTS {
            return Err(Fault::new(
                element.span,
                format!("there are more than {MAX_ELEMENTS} elements"),
            ));
        }
        loop {
            self.spaces();
            let rest = self.rest();
            if rest.starts_with('>') {
                self.at += 1;
                return Ok((element, false));
            }
            if rest.starts_with("/>") {
                self.at += 2;
                return Ok((element, true));
            }
            if rest.is_empty() {
                return Err(Fault::new(element.span, "the tag is not closed"));
            }
            let attribute = self.attribute(name)?;
            if element.attributes.len() >= MAX_ATTRIBUTES {
                return Err(Fault::new(
                    attribute.name_span,
                    format!("<{name}> has more than {MAX_ATTRIBUTES} attributes"),
                ));
            }
            let twice = |other: &Attribute<'_>| other.name == attribute.name;
            if element.attributes.iter().any(twice) {
                self.errors.push(Fault::new(
                    attribute.name_span,
                    format!("<{name}> has the attribute `{}` twice", attribute.name),
                ));
            } else {
                element.attributes.push(attribute);
            }
        }
    }

    fn attribute(&mut self, element: &str) -> Result<Attribute<'a>, Fault> {
        let start = self.at;
        let Some(name) = self.name()? else {
            return Err(Fault::new(
                self.here(),
                format!("there is no attribute's name where one belongs in <{element}>"),
            )
            .help("an attribute is written name=\"value\""));
        };
        let name_span = start..self.at;
        let odd = |span, what: &str| {
            Err(Fault::new(span, format!("the attribute `{name}` {what}"))
                .help(format!("write {name}=\"…\" with straight quotes")))
        };
        self.spaces();
        if !self.rest().starts_with('=') {
            return odd(name_span, "has no value");
        }
        self.at += 1;
        self.spaces();
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return odd(self.here(), "has a value without quotes");
        };
        // The end is looked for no further than the longest value goes.
        let bytes = rest.as_bytes();
        let window = &bytes[1..bytes.len().min(MAX_VALUE + 2)];
        let Some(length) = window
            .iter()
            .position(|byte| *byte == quote as u8 || *byte == b'<')
        else {
            return if window.len() > MAX_VALUE {
                let what = format!("is longer than {MAX_VALUE} bytes");
                Err(Fault::new(
                    name_span,
                    format!("the attribute `{name}` {what}"),
                ))
            } else {
                odd(name_span, "is not closed")
            };
        };
        let from = self.at + 1;
        if window[length] == b'<' {
            let at = from + length;
            return Err(Fault::new(
                at..at + 1,
                format!("`<` stands in the value of the attribute `{name}`"),
            )
            .help("write &lt; for the character, or close the quotes before it"));
        }
        let raw = &rest[1..=length];
        let value = decoded(raw, from)?;
        self.at = from + length + 1;
        Ok(Attribute {
            name,
            value,
            name_span,
            value_span: from..from + length,
        })
    }

    fn end(&mut self, open: Option<&str>) -> Result<(), Fault> {
        let start = self.at;
        self.at += 2;
        let name = self.name()?;
        let span = start..self.at;
        let Some(name) = name else {
            return Err(Fault::new(span, "`</` is not followed by a name"));
        };
        self.spaces();
        if !self.rest().starts_with('>') {
            return Err(Fault::new(span, format!("the tag </{name} is not closed")));
        }
        self.at += 1;
        match open {
            Some(open) if open == name => Ok(()),
            Some(open) => Err(Fault::new(span, format!("<{open}> is closed by </{name}>"))),
            None => Err(Fault::new(span, format!("</{name}> closes nothing"))),
        }
    }

    /// `<!DOCTYPE …>` and its like: skipped, whatever it declares.
    fn directive(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (mut at, mut depth, mut quote) = (start + 2, 0_usize, None);
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match (quote, byte) {
                (Some(mark), _) if mark == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'>') if depth == 0 => {
                    self.at = at;
                    self.ignored.push(
                        Fault::new(start..at, "the document type is ignored")
                            .help("entities declared in it are not known"),
                    );
                    return Ok(());
                }
                (None, b'>') => depth -= 1,
                (None, b'<') if bytes[at..].starts_with(b"!--") => {
                    // `at` is behind an ASCII character.
                    match self.text[at..].find("-->") {
                        Some(end) => at += end + 3,
                        None => break,
                    }
                }
                (None, b'<') => depth += 1,
                _ => {}
            }
        }
        Err(Fault::new(start..start + 2, "`<!` is not closed"))
    }

    /// `<?xml …?>` is checked, others are skipped.
    fn instruction(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 2;
        let name = self.name()?;
        let span = start..self.at;
        let Some(name) = name else {
            return Err(Fault::new(span, "`<?` is not followed by a name"));
        };
        let inner = self
            .until("", "?>", "")
            .map_err(|_| Fault::new(span.clone(), "the processing instruction is not closed"))?;
        if name != "xml" {
            return Ok(());
        }
        if let Some(version) = declared(inner, "version").filter(|v| !matches!(*v, "" | "1.0")) {
            return Err(
                Fault::new(span, format!("XML {} is not read", shown(version)))
                    .help("write version=\"1.0\""),
            );
        }
        match declared(inner, "encoding") {
            Some(name) if !name.is_empty() && !name.eq_ignore_ascii_case("utf-8") => {
                Err(not_utf8(span).help(format!(
                    "the file declares {}: convert it to UTF-8 and declare that, or nothing",
                    shown(name)
                )))
            }
            _ => Ok(()),
        }
    }

    /// Only a second root is an error here; what cannot be read is no element.
    fn after_root(&mut self) -> Result<(), Fault> {
        let (from, errors) = (self.at, self.errors.len());
        loop {
            let piece = self.next(None);
            if self.errors.len() > errors {
                break;
            }
            match piece {
                Ok(Some(Piece::Start(second) | Piece::Empty(second))) => {
                    return Err(Fault::new(
                        second.span,
                        format!("<{}> is a second root element", second.name),
                    )
                    .help("a config has one <seelog>"));
                }
                Ok(None) => return Ok(()),
                Ok(Some(Piece::Text(_) | Piece::End)) => {}
                Err(_) => break,
            }
            if self
                .ignored
                .last()
                .is_none_or(|last| last.span.start < from)
            {
                self.ignored.push(after(self.text, from));
            }
        }
        self.errors.truncate(errors);
        if self
            .ignored
            .last()
            .is_none_or(|last| last.span.start < from)
        {
            self.ignored.push(after(self.text, from));
        }
        Ok(())
    }
}

fn after(text: &str, from: usize) -> Fault {
    let rest = &text[from..];
    let start = text.len() - rest.trim_start().len();
    let length = text[start..].chars().next().map_or(0, char::len_utf8);
    Fault::new(
        start..start + length,
        "what follows the root element is ignored",
    )
}

/// That bytes are not, or are said not to be, UTF-8.
pub(super) fn not_utf8(span: Range<usize>) -> Fault {
    Fault::new(span, "the file is not in UTF-8").help("save it as UTF-8")
}

/// A pseudo attribute of an XML declaration.
fn declared<'a>(inner: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = inner.split_once(name)?;
    let after = after.strip_prefix('=')?;
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    after[1..].split_once(quote).map(|(value, _)| value)
}

/// A text in an error: not longer than a line, no control characters.
pub(super) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(60).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!(
        "`{}{more}`",
        head.escape_debug().to_string().replace("\\\"", "\"")
    )
}

/// XML 1.0 section 2.2.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn allowed(raw: &str, base: usize) -> Result<(), Fault> {
    match raw.char_indices().find(|(_, c)| !is_char(*c)) {
        Some((at, c)) => Err(Fault::new(
            base + at..base + at + c.len_utf8(),
            format!("U+{:04X} is not allowed in XML", u32::from(c)),
        )),
        None => Ok(()),
    }
}

/// Replaces references, and line ends by line feeds (XML 1.0 sections 2.11, 4.1, 4.6).
fn decoded(raw: &str, base: usize) -> Result<Cow<'_, str>, Fault> {
    allowed(raw, base)?;
    if !raw.contains(['&', '\r']) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut value = String::with_capacity(raw.len());
    let mut at = 0;
    while let Some(found) = raw[at..].find(['&', '\r']) {
        value.push_str(&raw[at..at + found]);
        at += found;
        if raw[at..].starts_with('\r') {
            value.push('\n');
            at += if raw[at..].starts_with("\r\n") { 2 } else { 1 };
            continue;
        }
        // The longest reference is shorter than this, so that no text is looked at twice.
        let length = raw.as_bytes()[at + 1..]
            .iter()
            .take(16)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#')
            .count();
        let name = &raw[at + 1..at + 1 + length];
        let span = base + at..base + at + 1 + length;
        if !raw[at + 1 + length..].starts_with(';') {
            return Err(
                Fault::new(span, "`&` does not begin an entity that ends with `;`")
                    .help("write &amp; for the character itself"),
            );
        }
        value.push(entity(name).map_err(|why| {
            Fault::new(span, format!("`&{name};` {why}")).help(
                "known are &lt; &gt; &amp; &quot; &apos; and characters by number, as in &#10;",
            )
        })?);
        at += 1 + length + 1;
    }
    value.push_str(&raw[at..]);
    Ok(Cow::Owned(value))
}

fn entity(name: &str) -> Result<char, &'static str> {
    let digits = match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => name.strip_prefix('#').ok_or("is not known")?,
    };
    let code = match digits.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    // A surrogate becomes the replacement character, as Go has it.
    code.ok()
        .filter(|code| *code <= 0x10_ffff)
        .map(|code| char::from_u32(code).unwrap_or('\u{fffd}'))
        .filter(|c| is_char(*c))
        .ok_or("is no character of XML")
}

/// The text as it may be shown: the values of attributes that hold secrets are replaced, character by
/// character, by others of the same size, so that every place stays where it is.
///
/// It looks at no structure, so that the text of a broken document can be shown too.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let named = before[..at].trim_end();
        let from = named
            .rfind(|c: char| c.is_whitespace() || "<>\"'=".contains(c))
            .map_or(0, |at| {
                at + named[at..].chars().next().map_or(1, char::len_utf8)
            });
        if !names_secret(&named[from..]) {
            continue;
        }
        let value = rest.trim_start();
        out.push_str(&rest[..rest.len() - value.len()]);
        let (open, end) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => (1, value[1..].find(quote).map(|end| end + 1)),
            _ => (0, value.find([' ', '\t', '\r', '\n', '>', '/'])),
        };
        let end = end.unwrap_or(value.len());
        out.push_str(&value[..open]);
        out.extend(value[open..end].chars().map(veiled));
        rest = &value[end..];
    }
    out.push_str(rest);
    out
}

/// Whether an attribute of this name, also mistyped, may hold a secret itself.
pub(super) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let holds = [
        "pas", "pwd", "psw", "passwd", "secret", "token", "apikey", "api-key",
    ];
    holds.iter().any(|word| name.contains(word)) && !name.ends_with("_file")
}

fn veiled(c: char) -> char {
    match (c, c.len_utf8()) {
        ('\n' | '\r', _) => c,
        (_, 1) => '*',
        (_, 2) => '\u{d7}',
        (_, 3) => '\u{2022}',
        _ => '\u{1f512}',
    }
}

#[cfg(test)]
// How outlines and long documents are put together needs no finer means.
#[allow(clippy::format_collect)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outline(element: &Element<'_>) -> String {
        let attributes: String = element
            .attributes
            .iter()
            .map(|a| format!(" {}={:?}", a.name, a.value))
            .collect();
        let children: String = element.children.iter().map(outline).collect();
        format!("({}{attributes}{children})", element.name)
    }

    #[test]
    fn trees() {
        let table = [
            ("<a/>", "(a)"),
            ("\u{feff}<a/>", "(a)"),
            ("<a></a >", "(a)"),
            ("<a><b/><c>t</c></a>", "(a(b)(c))"),
            ("<a x='1' y = \"2\"z='3'/>", "(a x=\"1\" y=\"2\" z=\"3\")"),
            (
                "<a x='&lt;&#10;&#x41;&quot;\r\n\t'/>",
                "(a x=\"<\\nA\\\"\\n\\t\")",
            ),
            ("<a x='&#xD800;'/>", "(a x=\"\u{fffd}\")"),
            (
                "<?xml version='1.0' encoding='utf-8'?><!-- c --><a>]] ></a>",
                "(a)",
            ),
            ("<!DOCTYPE a [<!ENTITY e '>'> <!-- > -->]><a/>", "(a)"),
            ("<a><![CDATA[<b>]]></a>", "(a)"),
            ("<?go on?><a/>", "(a)"),
            ("<a/> junk & more <", "(a)"),
            ("<a/></b>", "(a)"),
            ("<a/><b c='1' c='2'>", "(a)"),
        ];
        for (text, expected) in table {
            match parse(text) {
                Ok(document) => {
                    assert_eq!(outline(&document.root), expected, "{text}");
                    assert_eq!(document.errors, [], "{text}");
                }
                Err(fault) => panic!("{text}: {fault:?}"),
            }
        }
    }

    #[test]
    fn faults() {
        let table = [
            ("", 0, "no element"),
            ("text", 4, "no element"),
            ("<a>", 0, "<a> is not closed"),
            ("<a", 0, "the tag is not closed"),
            ("<a><b></a>", 6, "<b> is closed by </a>"),
            ("</a>", 0, "closes nothing"),
            ("<a x=1/>", 5, "without quotes"),
            ("<a x=\u{201c}1\u{201d}/>", 5, "without quotes"),
            ("<a x/>", 3, "has no value"),
            ("<a x='1/>", 3, "is not closed"),
            ("<a x='<'/>", 6, "`<` stands in the value"),
            ("<a =''/>", 3, "no attribute's name"),
            ("<a x='&b;'/>", 6, "`&b;` is not known"),
            ("<a x='&lt'/>", 6, "does not begin an entity"),
            ("<a x='&#0;'/>", 6, "no character of XML"),
            ("<a x='&#x110000;'/>", 6, "no character of XML"),
            ("<a x='\u{1}'/>", 6, "U+0001 is not allowed"),
            ("<a>&e;</a>", 3, "is not known"),
            ("<a>]]></a>", 3, "outside of a CDATA"),
            ("<!-- -- --><a/>", 5, "inside a comment"),
            ("<!-- --", 0, "comment is not closed"),
            ("<a><![CDATA[", 3, "CDATA section is not closed"),
            ("<!DOCTYPE a [<!ENTITY", 0, "`<!` is not closed"),
            ("<?xml version='1.1'?><a/>", 0, "XML `1.1` is not read"),
            ("<?xml encoding='GBK'?><a/>", 0, "not in UTF-8"),
            ("<?xml encoding='utf8'?><a/>", 0, "not in UTF-8"),
            ("<? x?><a/>", 0, "not followed by a name"),
            ("<a/><b/>", 4, "second root"),
            ("<a/><b>", 4, "second root"),
            ("< a/>", 0, "not followed by a name"),
        ];
        for (text, at, message) in table {
            match parse(text) {
                Ok(_) => panic!("{text} was read"),
                Err(fault) => {
                    assert!(fault.message.contains(message), "{text}: {fault:?}");
                    assert_eq!(fault.span.start, at, "{text}: {fault:?}");
                }
            }
        }
        let gone_on = [
            ("<a x='1' x='2'/>", 9, "`x` twice"),
            ("<s:a/>", 1, "namespace prefix"),
            ("<a s:x='1'/>", 3, "namespace prefix"),
        ];
        for (text, at, message) in gone_on {
            let errors = parse(text).map(|document| document.errors).unwrap();
            assert_eq!(errors.len(), 1, "{text}");
            assert!(errors[0].message.contains(message), "{text}: {errors:?}");
            assert_eq!(errors[0].span.start, at, "{text}");
        }
    }

    #[test]
    fn limits() {
        let deep = "<a>".repeat(10_000);
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        let long = format!("<a x='{}'/>", "y".repeat(MAX_VALUE + 1));
        let wide = format!(
            "<a {}/>",
            (0..100).map(|n| format!("x{n}='' ")).collect::<String>()
        );
        let named = format!("<{}/>", "a".repeat(MAX_NAME + 1));
        let table = [
            (&deep, "nested more than"),
            (&many, "more than 10000 elements"),
            (&long, "is longer than"),
            (&wide, "more than 64 attributes"),
            (&named, "more than 256 bytes"),
        ];
        for (text, message) in table {
            let fault = parse(text).map(|_| ()).unwrap_err();
            assert!(fault.message.contains(message), "{fault:?}");
        }
        let fits = format!("<a x='{}'/>", "y".repeat(MAX_VALUE));
        assert!(parse(&fits).is_ok());
    }

    #[test]
    fn secrets_are_masked_in_place() {
        let table = [
            (
                "<smtp password=\"a b\" x='1'/>",
                "<smtp password=\"***\" x='1'/>",
            ),
            (
                "<s PassWord = 'x\u{e9}\u{20ac}\u{1f600}y'/>",
                "<s PassWord = '*\u{d7}\u{2022}\u{1f512}*'/>",
            ),
            ("<s pasword='abc", "<s pasword='***"),
            ("<s password=abc x='1'/>", "<s password=*** x='1'/>"),
            ("<s password_file='/a'/>", "<s password_file='/a'/>"),
            (
                "<s data-token='abc' name='n'/>",
                "<s data-token='***' name='n'/>",
            ),
            ("<!-- password='abc' -->", "<!-- password='***' -->"),
            ("<s user='password' x='y'/>", "<s user='password' x='y'/>"),
            ("password=", "password="),
        ];
        for (text, expected) in table {
            assert_eq!(masked(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            let _ = parse(&text);
            let shown = masked(&text);
            prop_assert_eq!(shown.len(), text.len());
            prop_assert_eq!(shown.chars().count(), text.chars().count());
        }

        #[test]
        fn markup_is_read_or_refused(text in "(<|</|/>|>|<!--|-->|<!|<\\?|\\?>|]]>|<!\\[CDATA\\[|a|:|=|'|\"|&|;|#|1| |\u{e9}|password){0,60}") {
            if let Ok(document) = parse(&text) {
                prop_assert!(text.is_char_boundary(document.root.span.start));
            }
            prop_assert_eq!(masked(&text).len(), text.len());
        }
    }
}

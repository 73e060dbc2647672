//! One log event, borrowed from whoever has it: nothing here owns memory.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;

use crate::level::Level;

/// One log event.
///
/// Build one with [`Record::new`] and set the fields that apply; later fields get a neutral value in
/// `new`, so that code written today goes on compiling.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Record<'a> {
    /// When it happened.
    pub time: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// What it is about, as a Rust path: `mainstay_supervise::runtime`; for captured output the
    /// program's name.
    pub target: &'a str,
    /// What happened.
    pub message: Message<'a>,
    /// What else is known, in the order given. A key may appear twice; all are kept.
    pub fields: &'a [Field<'a>],
    /// Where in the code it was written.
    pub location: Option<Location<'a>>,
    /// What was being done when it was written.
    pub spans: Option<Spans<'a>>,
    /// The program whose output this is; `None` for the daemon's own records.
    pub program: Option<&'a str>,
    /// The stream of that program.
    pub stream: Option<Stream>,
}

/// A key and its value.
pub type Field<'a> = (&'a str, Value<'a>);

/// A value that was lent for a moment only: texts are kept elsewhere.
pub(crate) enum HeldValue {
    Plain(Value<'static>),
    /// Where in what is kept.
    Text(Range<usize>),
}

impl HeldValue {
    pub(crate) fn in_text<'a>(&self, text: &'a str) -> Value<'a> {
        match self {
            Self::Plain(value) => *value,
            Self::Text(range) => Value::Text(&text[range.clone()]),
        }
    }
}

impl<'a> Record<'a> {
    /// A record with nothing but what every record has.
    pub fn new(
        time: Timestamp,
        level: Level,
        target: &'a str,
        message: impl Into<Message<'a>>,
    ) -> Self {
        Self {
            time,
            level,
            target,
            message: message.into(),
            fields: &[],
            location: None,
            spans: None,
            program: None,
            stream: None,
        }
    }

    /// The same with these fields.
    #[must_use]
    pub fn fields(mut self, fields: &'a [Field<'a>]) -> Self {
        self.fields = fields;
        self
    }

    /// The same with a place in the code.
    #[must_use]
    pub fn location(mut self, location: Option<Location<'a>>) -> Self {
        self.location = location;
        self
    }

    /// The same within these spans.
    #[must_use]
    pub fn spans(mut self, spans: Option<Spans<'a>>) -> Self {
        self.spans = spans;
        self
    }

    /// The same as output of a program.
    #[must_use]
    pub fn program(mut self, program: &'a str, stream: Stream) -> Self {
        self.program = Some(program);
        self.stream = Some(stream);
        self
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("time", &self.time)
            .field("level", &self.level)
            .field("target", &self.target)
            .field("message", &self.message)
            .field("fields", &self.fields)
            .field("spans", &self.spans)
            .field("program", &self.program)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// What a record says.
#[derive(Clone, Copy)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Output of a program, which may be no UTF-8; each ill-formed sequence is shown as U+FFFD.
    Bytes(&'a [u8]),
    /// What a logging macro was given; rendered when a route wants it, in the caller.
    Format(fmt::Arguments<'a>),
    /// The same from the macros of this crate: appends the message, which is UTF-8.
    Parts(&'a dyn Fn(&mut Vec<u8>) -> fmt::Result),
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<fmt::Arguments<'a>> for Message<'a> {
    fn from(arguments: fmt::Arguments<'a>) -> Self {
        Self::Format(arguments)
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Bytes(bytes) => fmt::Debug::fmt(&String::from_utf8_lossy(bytes), f),
            Self::Format(arguments) => fmt::Debug::fmt(&arguments.to_string(), f),
            Self::Parts(append) => {
                let mut bytes = Vec::new();
                append(&mut bytes)?;
                fmt::Debug::fmt(&String::from_utf8_lossy(&bytes), f)
            }
        }
    }
}

/// The value of a field.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Signed(i64),
    /// A whole number that may be larger than `i64`.
    Unsigned(u64),
    /// A number; those JSON has no form for (NaN, infinities) are written as text there.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Anything that can be shown.
    Display(&'a dyn fmt::Display),
    /// Anything that can be shown for debugging.
    Debug(&'a dyn fmt::Debug),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => fmt::Debug::fmt(value, f),
            Self::Display(value) => value.fmt(f),
            Self::Debug(value) => value.fmt(f),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident as $to:ty),* $(,)?) => {$(
        impl From<$from> for Value<'_> {
            fn from(value: $from) -> Self {
                Self::$variant(<$to>::from(value))
            }
        }
    )*};
}

value_from! {
    bool => Bool as bool,
    i32 => Signed as i64, i64 => Signed as i64,
    u16 => Unsigned as u64, u32 => Unsigned as u64, u64 => Unsigned as u64,
    f64 => Float as f64,
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

/// The spans a record was written in, outermost first, as text that formats use as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans<'a> {
    /// `request{method=GET id=7}:query`. Holds no control characters.
    pub text: &'a str,
    /// The items of a JSON array: `{"name":"request","method":"GET","id":7},{"name":"query"}`.
    pub json: &'a str,
    /// Tells the outermost of them from all others of this process: what belongs to one request has
    /// one number.
    pub root: u64,
}

/// A place in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location<'a> {
    /// The source file, as the compiler named it.
    pub file: &'a str,
    /// The line, counted from 1.
    pub line: u32,
    /// The function or module, where it is known.
    pub function: Option<&'a str>,
}

/// An output stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The level of a captured line of which nothing more is known.
    ///
    /// stderr is a warning and no error: most programs write their whole log there.
    pub const fn level(self) -> Level {
        match self {
            Self::Stdout => Level::Info,
            Self::Stderr => Level::Warn,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

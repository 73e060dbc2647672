//! A config of seelog as values.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::{Diagnostics, Place, Secret};

use crate::format::Format;
use crate::level::LevelSet;
use crate::seelog::{DateLayout, Dialect};
use mainstay_base::Pattern;

/// What a document says, each thing with the place where it says so.
///
/// The text behind the places has the values of passwords masked, so that whatever shows a place
/// shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The dialect it was read in.
    pub dialect: Dialect,
    /// The levels that the root lets through.
    pub levels: Levels,
    /// What differs from that for some functions and files; the first that matches counts.
    pub exceptions: Vec<Exception>,
    /// The formats that the document defines, in its order; of several with one id the last counts.
    pub formats: Vec<NamedFormat>,
    /// Where records go. The root of the tree is a [`OutputKind::Splitter`].
    pub outputs: Output,
    /// How seelog would queue records.
    pub logger: LoggerType,
    /// Where `type` says so, or the root element.
    pub logger_place: Place,
    /// What is accepted and does not do what it seems to. Empty in the strict dialect.
    pub warnings: Diagnostics,
}

/// A set of levels and where it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// The levels let through; none for `off`.
    pub set: LevelSet,
    /// The attribute that says so, or the element that says nothing.
    pub place: Place,
}

/// `<exception>`: other levels for some functions and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The full names of functions, `*` for all. Runs of asterisks are one.
    pub function: Pattern,
    /// The full paths of source files, `*` for all. Runs of asterisks are one.
    pub file: Pattern,
    /// The levels let through instead of the general ones.
    pub levels: Levels,
    /// The element.
    pub place: Place,
}

/// `<format>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFormat {
    /// Its id, maybe empty, maybe that of a predefined format.
    pub id: String,
    /// As it is written.
    pub text: String,
    /// Compiled.
    pub format: Format,
    /// The element.
    pub place: Place,
}

/// The format that holds at an output: its own or that of the nearest element around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatUse {
    /// The id by which it was named; `None` for the default, which has none.
    pub id: Option<String>,
    /// Compiled.
    pub format: Format,
    /// The `formatid` that named it.
    pub place: Option<Place>,
    pub(super) key: FormatKey,
}

/// Which of the formats it is: two that read the same are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormatKey {
    Default,
    Standard(&'static str),
    /// The place in [`Config::formats`].
    Defined(usize),
}

/// How seelog would take records from callers. We take them another way; what is kept is the
/// promise: order, and for `sync` that a record is handed on before the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggerType {
    /// In the caller.
    Sync,
    /// Through a queue. The default.
    AsyncLoop,
    /// One record in each interval.
    AsyncTimer {
        /// The interval.
        interval: Duration,
    },
    /// One record in an interval that shrinks as the queue grows.
    Adaptive {
        /// The shortest interval.
        min: Duration,
        /// The longest interval. May be below `min`, as in seelog.
        max: Duration,
        /// The length of the queue at which the interval is shortest; 1 to 1000.
        critical_count: u32,
    },
}

/// An element below `<outputs>`, or that itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The element; the root element where the document has no `<outputs>`.
    pub place: Place,
    /// The format that holds here.
    pub format: FormatUse,
    /// What it does.
    pub kind: OutputKind,
}

/// What an output does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    /// Hands each record to all.
    Splitter(Vec<Output>),
    /// Hands records of these levels to all.
    Filter(Levels, Vec<Output>),
    /// Writes records somewhere.
    Receiver(Receiver),
}

/// Where records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receiver {
    /// Standard output.
    Console,
    /// A file.
    File(File),
    /// A file that is rolled.
    Rolling(Rolling),
    /// Another receiver behind a buffer.
    Buffered(Buffered),
    /// A network connection.
    Conn(Conn),
    /// Mail.
    Smtp(Smtp),
    /// A receiver of the program's own.
    Custom(Custom),
}

impl Receiver {
    /// The name of its element.
    pub fn element(&self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::File(_) => "file",
            Self::Rolling(_) => "rollingfile",
            Self::Buffered(_) => "buffered",
            Self::Conn(_) => "conn",
            Self::Smtp(_) => "smtp",
            Self::Custom(_) => "custom",
        }
    }
}

/// `<file>`: opened at the first record, appended to, folders made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, absolute or below the working directory. Empty in seelog too, where every write
    /// then fails.
    pub path: PathBuf,
}

/// `<rollingfile>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolling {
    /// The path of the current file.
    pub path: PathBuf,
    /// When it is rolled.
    pub when: RollWhen,
    /// Where the number or date of a rolled file stands in its name.
    pub names: NameMode,
    /// How many rolled files are kept; `None` for all, as `maxrolls` of 0 or less has it.
    pub max_rolls: Option<u64>,
    /// What becomes of files that `max_rolls` would delete; `None`: they are deleted.
    pub archive: Option<Archive>,
}

/// When a file is rolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollWhen {
    /// When it has this many bytes before a write; `None`, for a `maxsize` of 0 or less: never.
    Size {
        /// The bytes.
        max: Option<u64>,
    },
    /// When the date, written so, changes.
    Date {
        /// The layout.
        pattern: Arc<DateLayout>,
        /// Whether the current file carries its date in its name.
        full_name: bool,
    },
}

/// Where the number or date of a rolled file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameMode {
    /// `app.log.3`. The default.
    Postfix,
    /// `3.app.log`
    Prefix,
}

/// Where rolled files go that are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The form.
    pub kind: ArchiveKind,
    /// Whether each rolled file gets an archive of its own.
    pub exploded: bool,
    /// The one archive, or the folder of all if exploded. Where the document says nothing: `log.zip`,
    /// `log.tar.gz` or the folder `old`.
    pub path: PathBuf,
}

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// zip
    Zip,
    /// A gzipped tar; exploded, each a plain gzip file.
    Gzip,
}

impl ArchiveKind {
    /// Where it is if nothing else is said: the one archive, or the folder of all.
    pub(crate) fn usual_path(self, exploded: bool) -> &'static str {
        match (exploded, self) {
            (true, _) => "old",
            (false, Self::Zip) => "log.zip",
            (false, Self::Gzip) => "log.tar.gz",
        }
    }
}

/// `<buffered>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffered {
    /// The size of the buffer in bytes, more than 0.
    pub size: u64,
    /// After what time it is written out at the latest; `None`: only when it is full.
    pub flush: Option<Duration>,
    /// What is behind it; never custom.
    pub inner: Box<Receiver>,
    /// The element of that.
    pub inner_place: Place,
}

/// `<conn>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conn {
    /// `tcp`, `udp`, `unix` and the like, as Go's `net.Dial` names them. Not checked.
    pub network: String,
    /// `host:port`, or a path for `unix`.
    pub address: String,
    /// Whether each record gets a connection of its own.
    pub reconnect: bool,
    /// Whether and how the connection is encrypted.
    pub tls: Option<Tls>,
}

/// An encrypted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tls {
    /// Whether the other side's certificate is checked.
    pub verify: bool,
}

/// `<smtp>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// The address mail is from.
    pub sender_address: String,
    /// The name beside it.
    pub sender_name: String,
    /// The mail server.
    pub host: String,
    /// Its port. Not checked: may be beyond 65535.
    pub port: i64,
    /// How to log in; `None`, in the extended dialect only: not at all.
    pub login: Option<Login>,
    /// What mail is about.
    pub subject: String,
    /// The addresses mail goes to; may be none.
    pub recipients: Vec<String>,
    /// Folders whose `*.pem` files replace the system's root certificates.
    pub ca_directories: Vec<PathBuf>,
    /// Headers to add.
    pub headers: Vec<Header>,
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// A password or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself.
    Value(Secret),
    /// The file that holds it: our `password_file`.
    File(PathBuf),
}

/// A header of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `<custom>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    /// The name it is registered by.
    pub name: String,
    /// What it is told.
    pub data: Vec<DataParameter>,
}

/// `data-name="value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataParameter {
    /// The name without `data-`.
    pub name: String,
    /// The value; nobody here knows whether it is a secret.
    pub value: Secret,
}

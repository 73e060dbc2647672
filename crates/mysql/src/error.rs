//! One error for the whole crate: what was tried, on what, why it failed, what to do next.

use std::fmt;
use std::io;

use mainstay_base::tls;

/// What kind of thing went wrong, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nobody answers at the address.
    Connect,
    /// The server did not answer, or did not take what was sent, within the time it is given.
    Timeout,
    /// The connection broke.
    Lost,
    /// TLS could not be agreed on, or the certificate is not one that is believed.
    Tls,
    /// What the server asks for would show the password to whoever listens.
    Insecure,
    /// The server asks for something that is not built here.
    Unsupported,
    /// What the server sent is not the protocol.
    Protocol,
    /// The server sent more than it may.
    Limit,
    /// The server answered with an error of its own: see [`Error::server`].
    Server,
    /// The caller's own data for `LOAD DATA LOCAL` could not be read.
    Input,
    /// The rows of the statement before were not read to their end, or the connection broke earlier.
    Unusable,
    /// A file or a name that was given is not what it should be.
    Setup,
}

/// An error that a server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The number, such as 1045; see the list of error messages in the server's manual.
    pub code: u16,
    /// The five letters of SQL, such as `28000`; `HY000` where the server gave none.
    pub sqlstate: String,
    /// The server's own words.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (error {}, {})",
            self.message, self.code, self.sqlstate
        )
    }
}

/// A failure. `Display` is one line without the guidance; [`Error::help`] is the guidance. Neither
/// holds a statement or a password.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    attempt: String,
    reason: String,
    help: Option<String>,
    server: Option<ServerError>,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            attempt: String::new(),
            reason: reason.into(),
            help: None,
            server: None,
            source: None,
        }))
    }

    pub(crate) fn protocol(what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Protocol,
            format!("what came is not the protocol of MySQL: {what}"),
        )
    }

    pub(crate) fn of_server(error: ServerError) -> Self {
        let mut made = Self::new(ErrorKind::Server, error.to_string());
        made.0.server = Some(error);
        made
    }

    /// What a failed read or write of the connection means.
    pub(crate) fn of_stream(error: io::Error) -> Self {
        if let Some(fault) = tls::fault(&error) {
            return Self::new(ErrorKind::Tls, format!("TLS: {fault}")).with_help(tls::help(fault));
        }
        let (kind, reason) = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => (
                ErrorKind::Timeout,
                "the server was silent for longer than it may be".to_owned(),
            ),
            io::ErrorKind::UnexpectedEof => (
                ErrorKind::Lost,
                "the server closed the connection".to_owned(),
            ),
            _ => (ErrorKind::Lost, "the connection broke".to_owned()),
        };
        let mut made = Self::new(kind, reason);
        made.0.source = Some(error);
        made
    }

    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: io::Error) -> Self {
        self.0.source = Some(source);
        self
    }

    /// The same error, of this attempt; the first one that is named stays.
    #[must_use]
    pub(crate) fn attempting(mut self, attempt: impl FnOnce() -> String) -> Self {
        if self.0.attempt.is_empty() {
            self.0.attempt = attempt();
        }
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Why it failed, without what was tried.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// What to do next, where there is something to do.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// What the server said, if it was the server that refused.
    pub fn server(&self) -> Option<&ServerError> {
        self.0.server.as_ref()
    }

    /// The number of the server's error, if it was the server that refused.
    pub fn code(&self) -> Option<u16> {
        self.server().map(|error| error.code)
    }
}

impl From<tls::Error> for Error {
    fn from(error: tls::Error) -> Self {
        Self::new(ErrorKind::Setup, error.to_string()).with_help(error.help())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.attempt.is_empty() {
            write!(f, "cannot {}: ", self.0.attempt)?;
        }
        f.write_str(&self.0.reason)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|error| error as &(dyn std::error::Error + 'static))
    }
}

//! One error for the whole crate: what was tried, why it failed, what to do next.

use std::error::Error as StdError;
use std::fmt;

/// Any error of a caller's own.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What kind of thing went wrong, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guard could not be started.
    Start,
    /// There is no guard around this code.
    Unguarded,
    /// The guard was not given what was asked for: a database, a journal.
    Missing,
    /// Something else of the request has it: the transaction, the journal.
    Busy,
    /// The request is over, and what was asked for with it.
    Over,
    /// The database failed.
    Database,
    /// The act of a step said that it did nothing.
    Refused,
    /// Nobody knows whether the act of a step happened; it is undone with the request.
    Unknown,
    /// The journal failed.
    Journal,
}

/// A failure; the `Display` form is one line without the guidance, [`Error::help`] is the guidance.
pub struct Error {
    kind: ErrorKind,
    what: What,
}

enum What {
    Told {
        attempt: String,
        reason: String,
        help: &'static str,
        source: Option<BoxError>,
    },
    #[cfg(feature = "journal")]
    Journal(mainstay_journal::Error),
}

impl Error {
    /// An error; `attempt` completes "cannot …", `reason` says why, `help` what to do next.
    pub(crate) fn new(
        kind: ErrorKind,
        attempt: impl Into<String>,
        reason: impl Into<String>,
        help: &'static str,
    ) -> Self {
        Self {
            kind,
            what: What::Told {
                attempt: attempt.into(),
                reason: reason.into(),
                help,
                source: None,
            },
        }
    }

    /// The same with the error that caused it, whose words are the reason.
    pub(crate) fn caused(
        kind: ErrorKind,
        attempt: impl Into<String>,
        help: &'static str,
        cause: impl Into<BoxError>,
    ) -> Self {
        let cause = cause.into();
        Self {
            kind,
            what: What::Told {
                attempt: attempt.into(),
                reason: cause.to_string(),
                help,
                source: Some(cause),
            },
        }
    }

    /// The kind of the error.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    pub fn help(&self) -> &str {
        match &self.what {
            What::Told { help, .. } => help,
            #[cfg(feature = "journal")]
            What::Journal(error) => error.help(),
        }
    }
}

#[cfg(feature = "journal")]
impl From<mainstay_journal::Error> for Error {
    fn from(error: mainstay_journal::Error) -> Self {
        let kind = match error.kind() {
            mainstay_journal::ErrorKind::Refused => ErrorKind::Refused,
            mainstay_journal::ErrorKind::Unknown => ErrorKind::Unknown,
            _ => ErrorKind::Journal,
        };
        Self {
            kind,
            what: What::Journal(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Told {
                attempt, reason, ..
            } => write!(f, "cannot {attempt}: {reason}"),
            #[cfg(feature = "journal")]
            What::Journal(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("says", &self.to_string())
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.what {
            What::Told { source, .. } => source.as_deref().map(|source| source as _),
            #[cfg(feature = "journal")]
            What::Journal(error) => error.source(),
        }
    }
}

//! One error for the whole crate: what was tried, why it failed, what to do next.

use std::error::Error as StdError;
use std::fmt;

/// Any error of a caller's own.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What kind of thing went wrong, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The act of a step said that it did nothing; there is nothing of it to undo.
    Refused,
    /// Nobody knows whether the act of a step happened; it is undone with the work.
    Unknown,
    /// The store could not be read or written.
    Store,
    /// Another process has taken the work over: this one must not go on with it.
    Lost,
    /// A name, an argument or a number is more than the journal takes.
    Limit,
    /// No undo or action is registered under that name.
    Unregistered,
    /// What was asked for does not fit the state that the work is in.
    State,
    /// There is no such work.
    Missing,
}

/// A failure; the `Display` form is one line without the guidance, [`Error::help`] is the guidance.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    attempt: String,
    reason: String,
    help: &'static str,
    source: Option<BoxError>,
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
            attempt: attempt.into(),
            reason: reason.into(),
            help,
            source: None,
        }
    }

    /// The same with the error that caused it.
    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A failure of a store, for stores of a caller's own too.
    pub fn store(attempt: impl Into<String>, source: impl Into<BoxError>) -> Self {
        let source = source.into();
        Self::new(
            ErrorKind::Store,
            attempt,
            source.to_string(),
            "see that the journal's database or file can be reached and written; what was begun is resumed by itself when it can",
        )
        .with_source(source)
    }

    /// The work belongs to somebody else now.
    pub(crate) fn lost(attempt: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::Lost,
            attempt,
            "its lease ran out and another process took it over, or the transaction does not see it",
            "answer with an error and roll back; the other process undoes the work",
        )
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    pub fn help(&self) -> &str {
        self.help
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.attempt, self.reason)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// How an act, an undo or an action failed.
///
/// Any error becomes [`Failure::unknown`] by `?`, because that is the safe guess: a timeout or a
/// torn connection says nothing about what the other side did. Only who knows that nothing happened
/// says [`Failure::refused`].
#[derive(Debug)]
pub struct Failure {
    pub(crate) refused: bool,
    pub(crate) source: BoxError,
}

impl Failure {
    /// It did not happen and will not. Of an undo or an action: trying again is of no use.
    pub fn refused(why: impl Into<BoxError>) -> Self {
        Self {
            refused: true,
            source: why.into(),
        }
    }

    /// Nobody knows whether it happened. Of an undo or an action: try again.
    pub fn unknown(why: impl Into<BoxError>) -> Self {
        Self {
            refused: false,
            source: why.into(),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::unknown(error)
    }
}

//! One error for the whole crate: what was tried, why it failed, what to do next.

use std::fmt;

/// What kind of thing went wrong, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value of the config cannot be used.
    Config,
    /// The thread of the alerts has ended or does not answer.
    NotRunning,
    /// What was asked for makes no sense: a silence without an end, a channel that is not there.
    Refused,
    /// The outbox in the state directory cannot be used.
    Outbox,
}

/// A failure; the `Display` form is one line without the guidance, [`Error::help`] is the guidance.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    attempt: String,
    reason: String,
    help: String,
}

impl Error {
    /// An error; `attempt` completes "cannot …", `reason` says why, `help` what to do next.
    pub fn new(
        kind: ErrorKind,
        attempt: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            attempt: attempt.into(),
            reason: reason.into(),
            help: help.into(),
        }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.attempt, self.reason)
    }
}

impl std::error::Error for Error {}

//! What goes wrong below, and how it is told.

use std::io;

use rustic_core::RusticError;

use super::format::Spoiled;
use super::place::Advised;
use super::store::Store;
use crate::error::{Error, ErrorKind};

/// What goes wrong below, and is told in our words at the top.
pub(super) enum Trouble {
    /// An error of the library, or of what it writes to.
    Library(Box<RusticError>),
    /// Stored bytes are not what they should be.
    Spoiled(String),
    /// What is to be stored did not come to its end.
    Source(Error),
    /// Another thread has failed, and has said why.
    Gone,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Library(error) => f.write_str(&message(error)),
            Self::Spoiled(why) => f.write_str(why),
            Self::Source(error) => write!(f, "{error}"),
            Self::Gone => f.write_str("another part of it failed"),
        }
    }
}

impl From<Box<RusticError>> for Trouble {
    fn from(error: Box<RusticError>) -> Self {
        Self::Library(error)
    }
}

impl From<Spoiled> for Trouble {
    fn from(why: Spoiled) -> Self {
        Self::Spoiled(why.to_string())
    }
}

/// An error of the library in our words. What happened to the files comes first: it is the cause.
pub(super) fn translate(attempt: &str, store: &Store, error: &RusticError) -> Error {
    if store.cancelled() {
        return Error::new(ErrorKind::Cancelled, attempt, "the caller asked to stop");
    }
    if let Some(failure) = store.failure() {
        return failure;
    }
    if error.is_incorrect_password() {
        return Error::new(
            ErrorKind::WrongPassword,
            attempt,
            "none of its keys opens with this password",
        )
        .with_help("check the secret that `password` refers to; a repository keeps the password it was initialised with (stock restic: `restic key`)");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            let kind = match cause.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => ErrorKind::Damaged,
                _ => crate::error::kind_of_io(cause),
            };
            let made = Error::new(kind, attempt, message(error));
            let advised = cause
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<Advised>());
            return match advised.filter(|advised| !advised.help.is_empty()) {
                Some(advised) => made.with_help(&advised.help),
                None => made,
            };
        }
        source = cause.source();
    }
    Error::new(ErrorKind::Damaged, attempt, message(error))
        .with_help("`mainstay backup verify` says what is damaged; stock `restic check` works on the same repository")
}

/// The first line of what the library says, without its preamble.
pub(super) fn message(error: &RusticError) -> String {
    let text = error.display_log();
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    let mut line = text.lines().next().unwrap_or_default().to_owned();
    if let Some(at) = line.find(" (kind: related to") {
        line.truncate(at);
    }
    line
}

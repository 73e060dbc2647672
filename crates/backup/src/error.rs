//! One error for the whole crate: what was tried, why it failed, what to do next.

use std::fmt;
use std::io;
use std::path::Path;

use crate::restic::Advised;

/// What kind of thing went wrong, for callers that decide by it (exit codes, retries).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The config does not know a backup of that name.
    UnknownBackup,
    /// The config does not know a repository of that name.
    UnknownRepository,
    /// No snapshot answers to that id, or several do.
    UnknownSnapshot,
    /// Nothing, or an empty directory, is where the repository should be.
    NotInitialised,
    /// Something that is not a repository is where the repository should be.
    NotARepository,
    /// The repository exists already.
    AlreadyInitialised,
    /// No key of the repository opens with the password.
    WrongPassword,
    /// The password could not be read from where the config says it is.
    Secret,
    /// Another run holds the lock.
    Locked,
    /// What is to be backed up does not exist.
    SourceMissing,
    /// What is to be backed up cannot be read, or is not what the config says.
    SourceUnreadable,
    /// A disk is full, or a quota is used up.
    DiskFull,
    /// The rights of this process do not suffice.
    Denied,
    /// What is stored is damaged or incomplete.
    Damaged,
    /// The target of a restore exists and is not empty.
    TargetNotEmpty,
    /// The server that is restored into is not there, refused, or is another than it must be.
    Server,
    /// A process still has the target of a restore open.
    InUse,
    /// A program that is needed (the server of a drill, `mariadb-backup`) is not there, or is none that
    /// can be used.
    NoServer,
    /// The caller asked to stop.
    Cancelled,
    /// The catalog in the state directory cannot be used.
    Catalog,
    /// Any other failure of the operating system.
    Io,
    /// A fault of this program or of the library under it.
    Internal,
}

/// A failure: what was tried, on what, why it failed and what to do next.
///
/// The `Display` form is one line without the guidance; [`Error::help`] is the guidance.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    attempt: String,
    reason: String,
    help: Option<String>,
}

impl Error {
    /// An error of this kind; `attempt` completes "cannot …", `reason` says why.
    pub fn new(kind: ErrorKind, attempt: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            attempt: attempt.into(),
            reason: reason.into(),
            help: None,
        }
    }

    /// The same error with guidance: what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Why it failed, without what was tried.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do next, where there is something to do.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// An error of the operating system about `path`; the kind and the guidance follow from it.
    pub fn io(attempt: impl Into<String>, path: &Path, error: &io::Error) -> Self {
        let kind = kind_of_io(error);
        let made = Self::new(
            kind,
            attempt,
            format!("{}: {}", path.display(), reason_of_io(error)),
        );
        // What speaks to servers knows better what to do.
        let advised = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Advised>());
        if let Some(advised) = advised.filter(|advised| !advised.help.is_empty()) {
            return made.with_help(&advised.help);
        }
        match kind {
            ErrorKind::DiskFull => made.with_help(format!(
                "free space on the file system of {}, or keep fewer snapshots, and try again; nothing was left half done",
                path.display()
            )),
            ErrorKind::Denied => made.with_help(format!(
                "check owner and mode of {} and of the directories above it, or run as the user they belong to",
                path.display()
            )),
            _ => made,
        }
    }
}

/// The kind an error of the operating system belongs to.
pub(crate) fn kind_of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::DiskFull
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        _ => ErrorKind::Io,
    }
}

/// The text of an error of the operating system without the number behind it.
pub(crate) fn reason_of_io(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.attempt, self.reason)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_says_what_on_what_and_why() {
        let full = io::Error::from_raw_os_error(28);
        let error = Error::io("write a pack", Path::new("/backup/data"), &full);
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        assert_eq!(
            error.to_string(),
            "cannot write a pack: /backup/data: no space left on device"
        );
        assert!(error.help().is_some_and(|help| help.contains("free space")));
    }
}

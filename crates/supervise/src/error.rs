//! What keeps a supervisor from starting.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why [`crate::Supervisor::start`] failed. Nothing was started and no process was touched.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// What to do about it.
    pub guidance: String,
}

/// The kinds of failure.
#[derive(Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Two processes have the same name.
    SameName(String),
    /// Two outputs go to the same file.
    SameFile {
        /// The file.
        path: PathBuf,
        /// One process.
        one: String,
        /// The other.
        other: String,
    },
    /// An output goes to a file that has the name which another's file gets when it rolls.
    RolledFile {
        /// The file.
        path: PathBuf,
        /// The process that logs to it.
        one: String,
        /// The process whose log would be rolled over it.
        other: String,
    },
    /// Another daemon supervises with the same state directory.
    Locked(mainstay_sys::LockError),
    /// A log file could not be opened.
    Log {
        /// The process whose output it is for.
        process: String,
        /// Why.
        source: mainstay_log::Error,
    },
    /// The system refused something.
    System {
        /// What was tried, as in "read the journal /var/lib/…".
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn new(kind: Kind, guidance: impl Into<String>) -> Self {
        Self {
            kind,
            guidance: guidance.into(),
        }
    }

    pub(crate) fn system(doing: impl Into<String>, source: io::Error) -> Self {
        let guidance = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "check the owner and the mode of the directory, and which user mainstay runs as"
            }
            _ if crate::reserve::is_exhausted(&source) => {
                "raise the limit of open files: `ulimit -n`, LimitNOFILE= in the unit of systemd"
            }
            io::ErrorKind::StorageFull => "free some space on that disk",
            _ => "check that the directory exists and is writable",
        };
        Self::new(
            Kind::System {
                doing: doing.into(),
                source,
            },
            guidance,
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::SameName(name) => write!(f, "two processes are called `{name}`")?,
            Kind::SameFile { path, one, other } => {
                write!(f, "`{one}` and `{other}` both log to {}", path.display())?;
            }
            Kind::RolledFile { path, one, other } => write!(
                f,
                "`{one}` logs to {}, which is what a log file of `{other}` is called once it has \
                 rolled",
                path.display()
            )?,
            Kind::Locked(error) => write!(f, "cannot supervise: {error}")?,
            Kind::Log { process, source } => {
                write!(f, "cannot open a log file of `{process}`: {source}")?;
            }
            Kind::System { doing, source } => write!(f, "cannot {doing}: {source}")?,
        }
        if self.guidance.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.guidance)
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::SameName(_) | Kind::SameFile { .. } | Kind::RolledFile { .. } => None,
            Kind::Locked(source) => Some(source),
            Kind::Log { source, .. } => Some(source),
            Kind::System { source, .. } => Some(source),
        }
    }
}

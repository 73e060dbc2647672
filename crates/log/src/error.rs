//! What can go wrong with a log, in words that say what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_base::tls;

use crate::level::Level;

/// An error of this crate: what was tried, on what, why it failed, what to do next.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    subject: String,
    source: Option<io::Error>,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Opening a log file to write into it.
    Open,
    /// Opening or reading a log file to show it.
    Read,
    /// Emptying a log file or deleting a rolled one, because somebody asked for it.
    Clear,
    /// Building a pipeline from a config that names what does not exist.
    Config,
    /// Making a pipeline the receiver of the `log` crate's macros.
    Install,
    /// Starting the thread that writes behind a queue.
    Thread,
    /// Having what waits written when the process ends.
    Drain,
    /// Setting up a sink: reading its certificates, making its directory, compiling its patterns.
    Setup,
}

impl Error {
    pub(crate) fn open(path: &Path, source: io::Error) -> Self {
        Self {
            kind: Kind::Open,
            subject: path.display().to_string(),
            source: Some(source),
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self {
            kind: Kind::Read,
            subject: path.display().to_string(),
            source: Some(source),
        }
    }

    pub(crate) fn clear(path: &Path, source: io::Error) -> Self {
        Self {
            kind: Kind::Clear,
            subject: path.display().to_string(),
            source: Some(source),
        }
    }

    pub(crate) fn config(subject: impl Into<String>) -> Self {
        Self {
            kind: Kind::Config,
            subject: subject.into(),
            source: None,
        }
    }

    pub(crate) fn install() -> Self {
        Self {
            kind: Kind::Install,
            subject: String::new(),
            source: None,
        }
    }

    pub(crate) fn thread(source: io::Error) -> Self {
        Self {
            kind: Kind::Thread,
            subject: String::new(),
            source: Some(source),
        }
    }

    pub(crate) fn setup(subject: impl Into<String>, source: io::Error) -> Self {
        Self {
            kind: Kind::Setup,
            subject: subject.into(),
            source: Some(source),
        }
    }

    pub(crate) fn drain(source: io::Error) -> Self {
        Self {
            kind: Kind::Drain,
            subject: String::new(),
            source: Some(source),
        }
    }

    /// What was tried.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it.
    pub fn guidance(&self) -> &'static str {
        let cause = self.source.as_ref().map(io::Error::kind);
        match (self.kind, cause) {
            (Kind::Open, Some(io::ErrorKind::PermissionDenied)) => {
                "give the user mainstay runs as the right to write there, or choose another path \
                 in [log] dir or in the route"
            }
            (Kind::Open, Some(io::ErrorKind::StorageFull)) => "free some space on that file system",
            (Kind::Open, Some(io::ErrorKind::IsADirectory)) => {
                "name a file, not a directory, or move the directory away"
            }
            (Kind::Open, _) => "check the path in the config",
            (Kind::Read, Some(io::ErrorKind::PermissionDenied)) => {
                "log files are readable by their owner and group only: run as one of these"
            }
            (Kind::Read, _) => "check that the file is there and is a plain file",
            (Kind::Clear, _) => {
                "give the user mainstay runs as the right to write there, or clear it by hand"
            }
            (Kind::Config, _) => "name a sink that the config has",
            (Kind::Install, _) => "install one logger only, early in main",
            (Kind::Setup, kind) => match self.source.as_ref().and_then(of_tls) {
                Some(error) => error.help(),
                None if kind == Some(io::ErrorKind::PermissionDenied) => {
                    "give the user mainstay runs as the right to use it, or name another one"
                }
                None => "check what the config says about this sink",
            },
            (Kind::Drain, _) => "flush the log before the process ends",
            (Kind::Thread, _) => {
                "raise the limit of threads (ulimit -u, pids.max), or use no queue"
            }
        }
    }
}

fn of_tls(error: &io::Error) -> Option<&tls::Error> {
    error.get_ref()?.downcast_ref()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Open => write!(f, "cannot open the log file {}", self.subject)?,
            Kind::Read => write!(f, "cannot read the log file {}", self.subject)?,
            Kind::Clear => write!(f, "cannot clear the log file {}", self.subject)?,
            Kind::Config => write!(f, "the log config is inconsistent: {}", self.subject)?,
            Kind::Setup => write!(f, "cannot set up a log sink: {}", self.subject)?,
            Kind::Thread => f.write_str("cannot start a thread for a log sink")?,
            Kind::Drain => {
                f.write_str("cannot have what waits written when the process ends")?;
            }
            Kind::Install => f.write_str("another logger has been installed before")?,
        }
        if let Some(source) = &self.source {
            write!(f, ": {}", Reason(source))?;
        }
        write!(f, "; {}", self.guidance())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

/// An I/O error as words in a sentence: `no space left on device`, without a number.
pub(crate) struct Reason<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = match text.find(" (os error") {
            Some(end) => &text[..end],
            None => &text,
        };
        // `No space` becomes `no space`; `IO` and the like stay.
        let mut chars = text.chars();
        match (chars.next(), chars.as_str().chars().next()) {
            (Some(first), Some(second)) if second.is_lowercase() => {
                write!(f, "{}{}", first.to_lowercase(), chars.as_str())
            }
            _ => f.write_str(text),
        }
    }
}

/// Bytes that could not be written, and how many could.
#[derive(Debug)]
pub struct WriteError {
    /// How many of the bytes handed in are in the file: whole lines, from the first on. The rest may
    /// be tried again later; nothing of it is in the file.
    pub written: usize,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot write to {}: {}",
            self.path.display(),
            Reason(&self.error)
        )
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        Self::new(error.error.kind(), error)
    }
}

/// Something that a person should know about a log and that has lost nothing by itself: a roll that
/// failed and will be tried again, a file that somebody moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How grave it is.
    pub level: Level,
    /// What happened, why, and what happens next.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let full = || io::Error::from_raw_os_error(28);
        assert_eq!(
            Error::open(Path::new("/var/log/a.log"), full()).to_string(),
            "cannot open the log file /var/log/a.log: no space left on device; \
             free some space on that file system"
        );
        let error = WriteError {
            written: 3,
            path: "/x".into(),
            error: full(),
        };
        assert_eq!(
            error.to_string(),
            "cannot write to /x: no space left on device"
        );
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::StorageFull);
    }
}

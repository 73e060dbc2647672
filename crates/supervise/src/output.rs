//! The output of one process stream: the pipes it comes from and the file it goes to.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::Clock;
use mainstay_log::{Level, RollingFile, Spliced};

/// How much is moved in one go before other descriptors get their turn.
const CHUNK: usize = 1 << 20;
/// How long to leave a pipe alone whose file cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// A pipe that a process writes into.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) fd: OwnedFd,
    pub(crate) token: u64,
    /// Whether it is out of the epoll set, because its file cannot be written.
    pub(crate) paused: bool,
}

/// What came of reading a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was moved, and there may be more.
    More,
    /// It is empty, and more may come.
    Empty,
    /// It is empty, and nobody can write into it any more.
    End,
    /// The file cannot be written; not to be tried again before this much time.
    Blocked(Duration),
}

/// A stream of a process. The last pipe is the present process's; those before it belong to ended
/// ones, whose own children still hold them.
pub(crate) struct Channel {
    file: RollingFile,
    pub(crate) pipes: Vec<Pipe>,
    failing: bool,
    said: Vec<(Level, String)>,
}

impl Channel {
    pub(crate) fn open(
        path: &std::path::Path,
        retain: mainstay_log::Retention,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, mainstay_log::Error> {
        let file = RollingFile::open(path, retain, Arc::clone(clock))?;
        Ok(Self {
            file,
            pipes: Vec::new(),
            failing: false,
            said: Vec::new(),
        })
    }

    /// Moves what the pipe with this token has into the file.
    pub(crate) fn read(&mut self, token: u64) -> Progress {
        let Some(pipe) = self.pipes.iter().find(|pipe| pipe.token == token) else {
            return Progress::End;
        };
        match self
            .file
            .splice_from(std::os::fd::AsFd::as_fd(&pipe.fd), CHUNK)
        {
            Ok(spliced) => {
                if std::mem::take(&mut self.failing) {
                    self.said
                        .push((Level::Info, "its log file can be written again".to_owned()));
                }
                match spliced {
                    Spliced::Moved(_) => Progress::More,
                    Spliced::Empty => Progress::Empty,
                    Spliced::End => Progress::End,
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.said.push((Level::Error, error.to_string()));
                }
                Progress::Blocked(RETRY)
            }
        }
    }

    /// Writes a line of mainstay's own into the file, for whoever reads the log of the program.
    pub(crate) fn note(&mut self, text: &str) {
        if let Err(error) = self.file.write(format!("mainstay: {text}\n").as_bytes()) {
            self.said.push((Level::Error, error.to_string()));
        }
    }

    /// Opens the file anew.
    pub(crate) fn reopen(&mut self) {
        if let Err(error) = self.file.reopen() {
            self.said.push((Level::Error, error.to_string()));
        }
    }

    /// What is to be told since the last call.
    pub(crate) fn take_notices(&mut self) -> Vec<(Level, String)> {
        let mut said = std::mem::take(&mut self.said);
        said.extend(
            self.file
                .take_notices()
                .into_iter()
                .map(|notice| (notice.level, notice.text)),
        );
        said
    }
}

//! What can be asked of a supervisor, and what it answers and tells.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_sys::Signal;

use crate::machine::{Exit, Phase, Why};

/// A request. `names` are process, program or group names, `x:*` or `all`; an unknown one refuses
/// the whole request before anything is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// How the processes are; all, when `names` is empty.
    Status {
        /// Which ones.
        names: Vec<String>,
    },
    /// Start those that do not run.
    Start {
        /// Which ones.
        names: Vec<String>,
        /// Whether to answer only when each has settled: RUNNING, or failed. A program that
        /// waits in BACKOFF has failed, although it will be tried again.
        wait: bool,
        /// Whether one that waits in BACKOFF counts as running, and one whose program cannot be
        /// found is refused without a try, as supervisord's `startProcess` does.
        strict: bool,
    },
    /// Stop those that run, and remember that it was wanted: they stay stopped when the daemon
    /// is started again.
    Stop {
        /// Which ones.
        names: Vec<String>,
        /// Whether to answer only when each is gone.
        wait: bool,
    },
    /// Stop those that run, then start all.
    Restart {
        /// Which ones.
        names: Vec<String>,
        /// Whether to answer only when each has settled.
        wait: bool,
    },
    /// Send a signal.
    Signal {
        /// To whom.
        names: Vec<String>,
        /// Which.
        signal: Signal,
    },
    /// Open the log files anew, after something else moved them away.
    ReopenLogs,
    /// Empty the log files of processes and delete those that were rolled.
    ClearLogs {
        /// Which ones.
        names: Vec<String>,
    },
    /// Write to the standard input of a process.
    Send {
        /// Which.
        name: String,
        /// What. All of it is written, or nothing.
        data: Vec<u8>,
    },
    /// Send a notification of type `REMOTE_COMMUNICATION` to the event listeners.
    Announce {
        /// The type that the sender gives it.
        kind: String,
        /// The rest.
        data: String,
    },
    /// Forget a group whose processes are all down.
    RemoveGroup {
        /// Its name.
        name: String,
    },
    /// End the supervision and leave every process as it is, for the binary that follows in this
    /// process. Answered with [`Reply::Handover`].
    Handover,
    /// Stop everything in descending priority of the groups, those of equal priority at the same
    /// time (see [`crate::Settings::group_by_group`]), each before the next, and end.
    /// What was wanted is not changed by it. Answered when all are gone; if some could not be
    /// stopped, with [`Reply::Done`] of those.
    Shutdown,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To [`Command::Status`]: the processes in the order of the config.
    Status(Vec<Status>),
    /// To commands that act on processes: what became of each.
    Done(Vec<Outcome>),
    /// Done; there is nothing more to say.
    Ok,
    /// To [`Command::Handover`]: the descriptors that must stay open until the next supervisor of
    /// this process has them, see [`crate::Settings::inherited`].
    Handover(Inheritance),
}

/// Descriptors on their way from one supervisor to the next. Equal to nothing but itself.
#[derive(Debug, Clone)]
pub struct Inheritance(pub std::sync::Arc<Vec<std::os::fd::OwnedFd>>);

impl PartialEq for Inheritance {
    fn eq(&self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Why a request was refused. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such process, program or group.
    UnknownName {
        /// The name.
        name: String,
        /// The known name closest to it.
        nearest: Option<String>,
    },
    /// The group is there already.
    AlreadyThere,
    /// The group has processes that are not down.
    StillRunning,
    /// Everything is being stopped.
    ShuttingDown,
    /// The supervisor has ended.
    Gone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName {
                name,
                nearest: Some(nearest),
            } => {
                write!(f, "there is no program `{name}`; did you mean `{nearest}`?")
            }
            Self::UnknownName {
                name,
                nearest: None,
            } => {
                write!(
                    f,
                    "there is no program `{name}`; `mainstay status` lists them"
                )
            }
            Self::AlreadyThere => f.write_str("the group is there already"),
            Self::StillRunning => f.write_str("the group has processes that run; stop them first"),
            Self::ShuttingDown => f.write_str("mainstay is shutting down; start it again first"),
            Self::Gone => f.write_str("the supervisor has ended; start mainstay again"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What became of one process by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The process.
    pub process: String,
    /// Its program.
    pub program: String,
    /// Its group.
    pub group: String,
    /// Its phase at the time of the answer.
    pub phase: Phase,
    /// Its process id at the time of the answer.
    pub pid: Option<u32>,
    /// What was done.
    pub result: Did,
}

/// What a command did to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// It was asked for; the answer did not wait for it.
    Asked,
    /// It is RUNNING.
    Started,
    /// It ran to its expected end before it counted as running: a short job.
    Finished,
    /// It ran already.
    AlreadyRunning,
    /// It is down.
    Stopped,
    /// It was not running.
    NotRunning,
    /// The signal was sent.
    Signalled,
    /// Its log files were emptied.
    Cleared,
    /// All was written to its standard input.
    Sent,
    /// A strict start was refused: its program cannot be found. Why.
    NoFile(String),
    /// A strict start was refused: its program cannot be executed. Why.
    NotExecutable(String),
    /// It could not be spawned: why.
    SpawnFailed(String),
    /// It did not work: why.
    Failed(String),
}

impl Did {
    /// Whether the process now is as it was asked to be.
    pub fn is_ok(&self) -> bool {
        !matches!(
            self,
            Self::Failed(_) | Self::SpawnFailed(_) | Self::NoFile(_) | Self::NotExecutable(_)
        )
    }
}

/// How a process is.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The process.
    pub process: String,
    /// Its program.
    pub program: String,
    /// Its group.
    pub group: String,
    /// Its number among the processes of the program.
    pub instance: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it got there.
    pub since: Timestamp,
    /// Its process id.
    pub pid: Option<u32>,
    /// How long the process has been up.
    pub uptime: Option<Duration>,
    /// When the present or last process was started.
    pub started: Option<Timestamp>,
    /// When the last process ended.
    pub ended: Option<Timestamp>,
    /// How often it was started again by itself since it was last started by hand or by the
    /// daemon.
    pub restarts: u32,
    /// Failed starts in a row.
    pub failures: u32,
    /// In how long it is tried again.
    pub retry_in: Option<Duration>,
    /// How it ended last time.
    pub last_exit: Option<Exit>,
    /// What is wrong with it, in words.
    pub trouble: Option<String>,
    /// Whether it is meant to be up.
    pub wanted: bool,
    /// Whether it starts with the daemon, by the config.
    pub autostart: bool,
    /// Whether a person stopped (`Some(false)`) or started (`Some(true)`) it against the config.
    pub decided: Option<bool>,
    /// Whether the process was started with another config than the present one.
    pub outdated: bool,
    /// Whether its program is no longer in the config; it is not started again.
    pub left_over: bool,
    /// Where its output goes.
    pub stdout_log: Option<PathBuf>,
    /// Where its errors go; with merged output the same.
    pub stderr_log: Option<PathBuf>,
}

/// Something that happened, told by the supervision thread. The receiver must be quick: while it
/// works nothing is supervised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A process entered another phase.
    Changed(Change),
    /// A process was started.
    Spawned {
        /// Which.
        process: String,
        /// Its id.
        pid: u32,
    },
    /// A process could not be started.
    SpawnFailed {
        /// Which.
        process: String,
        /// Why, and what to do.
        text: String,
    },
    /// A process of an earlier daemon was found alive and is supervised again.
    Adopted {
        /// Which.
        process: String,
        /// Its id.
        pid: u32,
        /// Whether it was started with another config than the present one.
        outdated: bool,
    },
    /// A process of an earlier daemon is alive and its program is no longer in the config. It is
    /// left running, its output goes on being logged, it can be stopped by its name, and it is
    /// not started again.
    LeftOver {
        /// Which.
        process: String,
        /// Its id.
        pid: u32,
    },
    /// A process did not stop in time and is killed.
    Killing {
        /// Which.
        process: String,
        /// Its id.
        pid: u32,
    },
    /// A log file of a program: something failed, was lost or works again.
    Output {
        /// Whose output.
        process: String,
        /// How grave.
        level: mainstay_log::Level,
        /// What.
        text: String,
    },
    /// A line of output for syslog.
    Syslog {
        /// Whose.
        process: String,
        /// What it wrote, with its line ends.
        text: String,
    },
    /// What is worth a line about sockets, event listeners and the keeper of output.
    Said {
        /// How grave.
        level: mainstay_log::Level,
        /// What.
        text: String,
    },
    /// The journal could not be written; supervision goes on, and it is tried again.
    JournalFailed {
        /// Why.
        text: String,
    },
    /// The journal is complete again.
    JournalRecovered,
    /// A part of the journal was damaged and was skipped.
    JournalDamaged {
        /// So many bytes.
        bytes: usize,
    },
    /// The supervision thread itself is in trouble.
    Fault {
        /// What.
        text: String,
    },
    /// Everything was told to stop.
    ShuttingDown,
    /// The supervision has ended, and this process goes on: it could not be stopped.
    LeftRunning {
        /// Which.
        process: String,
        /// Its id, and why.
        text: String,
    },
    /// The supervision has ended: all that it could stop is down. This is the last event.
    Down,
}

/// A change of phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The process.
    pub process: String,
    /// Its program.
    pub program: String,
    /// Its group.
    pub group: String,
    /// The phase before.
    pub from: Phase,
    /// The phase now.
    pub to: Phase,
    /// What made it change.
    pub why: Why,
    /// The process, or the one that just ended.
    pub pid: Option<u32>,
    /// Failed starts in a row; supervisord's `tries`.
    pub tries: u32,
    /// How it ended, when it just did.
    pub exit: Option<Exit>,
    /// What is wrong, in words.
    pub trouble: Option<String>,
    /// In how long it is tried again.
    pub retry_in: Option<Duration>,
}

impl Event {
    /// How grave it is, for a log.
    pub fn level(&self) -> mainstay_log::Level {
        use mainstay_log::Level;
        match self {
            Self::Changed(change) => match change.to {
                Phase::Fatal | Phase::Unknown => Level::Error,
                Phase::Backoff => Level::Warn,
                Phase::Exited if change.why == Why::Died => Level::Warn,
                Phase::Stopped
                | Phase::Starting
                | Phase::Running
                | Phase::Stopping
                | Phase::Exited => Level::Info,
            },
            Self::SpawnFailed { .. }
            | Self::JournalFailed { .. }
            | Self::Fault { .. }
            | Self::LeftRunning { .. } => Level::Error,
            Self::Output { level, .. } | Self::Said { level, .. } => *level,
            Self::LeftOver { .. } | Self::Killing { .. } | Self::JournalDamaged { .. } => {
                Level::Warn
            }
            Self::Syslog { .. }
            | Self::Spawned { .. }
            | Self::Adopted { .. }
            | Self::JournalRecovered
            | Self::ShuttingDown
            | Self::Down => Level::Info,
        }
    }
}

impl fmt::Display for Event {
    /// One line for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(change) => change.fmt(f),
            Self::Spawned { process, pid } => write!(f, "{process}: started as pid {pid}"),
            Self::Adopted {
                process,
                pid,
                outdated,
            } => {
                write!(
                    f,
                    "{process}: pid {pid} is still running and is supervised again"
                )?;
                if *outdated {
                    write!(
                        f,
                        "; its config has changed, `mainstay restart {process}` applies it"
                    )?;
                }
                Ok(())
            }
            Self::LeftOver { process, pid } => write!(
                f,
                "{process}: pid {pid} is still running, but the config has no such program any \
                 more; it is left alone, `mainstay stop {process}` stops it"
            ),
            Self::Killing { process, pid } => {
                write!(f, "{process}: pid {pid} did not stop in time: SIGKILL")
            }
            Self::SpawnFailed { process, text }
            | Self::LeftRunning { process, text }
            | Self::Output { process, text, .. } => {
                write!(f, "{process}: {text}")
            }
            Self::JournalFailed { text } => write!(
                f,
                "{text}; programs go on running, but a crash of mainstay now would lose sight of \
                 the newest; it is tried again"
            ),
            Self::JournalRecovered => f.write_str("the journal of processes is complete again"),
            Self::JournalDamaged { bytes } => {
                write!(
                    f,
                    "{bytes} bytes of the journal of processes were damaged and are skipped; compare \
                     `mainstay status` with what runs"
                )
            }
            Self::Syslog { process, text } => write!(f, "{process}: {}", text.trim_end()),
            Self::Fault { text } | Self::Said { text, .. } => f.write_str(text),
            Self::ShuttingDown => f.write_str("stopping all programs"),
            Self::Down => f.write_str("supervision has ended"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} → {}: {}",
            self.process,
            self.from,
            self.to,
            self.why.text()
        )?;
        if let Some(pid) = self.pid {
            write!(f, ", pid {pid}")?;
        }
        if let Some(exit) = self.exit {
            write!(f, ", {exit}")?;
        }
        // Trouble is told when it comes up, not once more with each attempt to get over it; and that
        // a spawn failed has its own event just before this one.
        let new = matches!(
            self.to,
            Phase::Backoff | Phase::Exited | Phase::Fatal | Phase::Unknown
        );
        if let Some(trouble) = self
            .trouble
            .as_ref()
            .filter(|_| new && self.why != Why::SpawnFailed)
        {
            write!(f, ": {trouble}")?;
        }
        if let Some(delay) = self.retry_in {
            let seconds =
                Duration::from_secs(delay.as_secs() + u64::from(delay.subsec_nanos() > 0));
            write!(f, "; again in {}", mainstay_base::format_duration(seconds))?;
        }
        Ok(())
    }
}

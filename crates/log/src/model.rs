//! The config of a pipeline as values: what every reader of a config file fills.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::flight::FlightConfig;
use crate::format::Format;
use crate::level::LevelSet;
use crate::naming::Naming;
use crate::queue::{Delivery, QueueConfig};
use crate::record::Stream;
use crate::retention::Retention;
use crate::route::When;
use crate::seelog::Gate;

/// What a [`Pipeline`](crate::Pipeline) is built from.
///
/// A plain value: two configs can be compared, and a reader of another config language fills the
/// same.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The levels anything is done about; routes narrow it further. Can be changed while running.
    pub levels: LevelSet,
    /// Levels for single functions and source files of the process itself, asked after `levels`.
    pub gate: Option<Gate>,
    /// What of the process's own records is kept in memory where it is not let through, and written
    /// when something goes wrong.
    pub flight: Option<FlightConfig>,
    /// The zone of the time stamps, and of the days at whose end files are rolled.
    pub zone: TimeZone,
    /// Where relative paths of files lie.
    pub directory: PathBuf,
    /// What rolling files keep that say nothing else.
    pub retention: Retention,
    /// Where records can go. Routes name them by their place in this list.
    pub sinks: Vec<SinkConfig>,
    /// Which records go where. Every route is asked, in this order; a sink gets a record once, in the
    /// format of the first route that sends it there.
    pub routes: Vec<Route>,
}

/// A place in [`Config::sinks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(pub usize);

/// Which records go where.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name in the config.
    pub name: String,
    /// Which records.
    pub when: When,
    /// Where to.
    pub to: Vec<SinkId>,
    /// How they are written there.
    pub format: Format,
}

/// Where records can go, and how they get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Where.
    pub kind: SinkKind,
    /// How.
    pub delivery: Delivery,
}

impl From<SinkKind> for SinkConfig {
    /// In the thread that writes the record.
    fn from(kind: SinkKind) -> Self {
        Self {
            kind,
            delivery: Delivery::Direct,
        }
    }
}

impl std::fmt::Display for SinkConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

/// Where records can go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkKind {
    /// The process's own standard error or output.
    Console {
        /// Which of the two.
        stream: Stream,
        /// Whether levels are coloured.
        colours: bool,
    },
    /// A file that others roll, or nobody.
    File {
        /// Its path, absolute or below [`Config::directory`].
        path: PathBuf,
    },
    /// A file that is rolled.
    Rolling {
        /// Its path, absolute or below [`Config::directory`].
        path: PathBuf,
        /// When it is rolled and what is kept.
        retention: Retention,
        /// How the rolled files are called.
        naming: Naming,
        /// Other processes write and roll it too, see [`Rolls::shared`](crate::Rolls::shared).
        shared: bool,
    },
    /// A sink of the program's own, handed in by this name when the pipeline is built.
    Custom {
        /// Its name.
        name: String,
    },
}

impl SinkKind {
    /// A rolling file whose rolled files are numbered, written by this process alone.
    pub fn rolling(path: impl Into<PathBuf>, retention: Retention) -> Self {
        Self::Rolling {
            path: path.into(),
            retention,
            naming: Naming::default(),
            shared: false,
        }
    }

    /// The same through a queue of this kind, written by a thread of its own.
    pub fn queued(self, queue: QueueConfig) -> SinkConfig {
        SinkConfig {
            kind: self,
            delivery: Delivery::Queued(queue),
        }
    }

    /// Whether records land on this machine, where writing is a matter of moments.
    pub(crate) fn is_local(&self) -> bool {
        !matches!(self, Self::Custom { .. })
    }

    /// The same with its path made absolute.
    pub(crate) fn below(&self, directory: &Path) -> Self {
        let mut kind = self.clone();
        if let Self::File { path } | Self::Rolling { path, .. } = &mut kind {
            *path = directory.join(&*path);
        }
        kind
    }
}

impl std::fmt::Display for SinkKind {
    /// As it is written in a config: `rolling:/var/log/app.log`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Console {
                stream: Stream::Stderr,
                ..
            } => f.write_str("console"),
            Self::Console { stream, .. } => write!(f, "console:{stream}"),
            Self::File { path } => write!(f, "file:{}", path.display()),
            Self::Rolling { path, .. } => write!(f, "rolling:{}", path.display()),
            Self::Custom { name } => write!(f, "custom:{name}"),
        }
    }
}

impl Config {
    /// A config with neither sinks nor routes, every level let through.
    pub fn new(directory: impl Into<PathBuf>, zone: TimeZone) -> Self {
        Self {
            levels: LevelSet::ALL,
            gate: None,
            flight: None,
            zone,
            directory: directory.into(),
            retention: Retention::default(),
            sinks: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// Adds a sink, or finds the one that is just like it.
    pub fn sink(&mut self, sink: SinkConfig) -> SinkId {
        if let Some(at) = self.sinks.iter().position(|there| *there == sink) {
            return SinkId(at);
        }
        self.sinks.push(sink);
        SinkId(self.sinks.len() - 1)
    }

    /// Adds a route to one sink, for configs made in code.
    pub fn route(&mut self, name: &str, when: When, to: impl Into<SinkConfig>, format: Format) {
        let to = vec![self.sink(to.into())];
        self.routes.push(Route {
            name: name.to_owned(),
            when,
            to,
            format,
        });
    }
}

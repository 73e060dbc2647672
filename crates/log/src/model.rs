//! The config of a pipeline as values: what every reader of a config file fills.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use mainstay_base::Resolver;

use crate::admission::AdmissionConfig;
use crate::error::Error;
use crate::flight::FlightConfig;
use crate::format::Format;
use crate::level::LevelSet;
use crate::naming::Naming;
use crate::queue::{Delivery, Overflow, QueueConfig};
use crate::record::Stream;
use crate::retention::Retention;
use crate::route::When;
use crate::seelog::{Archive, Gate};
use crate::sinks::journald::JournaldFormat;
use crate::sinks::{
    AlertConfig, JournaldConfig, LokiConfig, OtlpConfig, RedactConfig, SpoolConfig, StreamConfig,
    SyslogConfig, SyslogFormat,
};

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
    /// How. What leaves the machine never does so in the thread that writes the record: without a
    /// queue of its own it gets one that drops the oldest records.
    pub delivery: Delivery,
    /// Repetitions, floods and samples that it is spared.
    pub admission: AdmissionConfig,
    /// Secrets that are struck out of records on their way.
    pub redact: Option<RedactConfig>,
    /// Where records wait on disk while the sink takes none, also over restarts.
    pub spool: Option<SpoolConfig>,
    /// Where records go while it takes none, in this order.
    pub failover: Vec<SinkKind>,
}

impl From<SinkKind> for SinkConfig {
    /// In the thread that writes the record.
    fn from(kind: SinkKind) -> Self {
        Self {
            kind,
            delivery: Delivery::Direct,
            admission: AdmissionConfig::default(),
            redact: None,
            spool: None,
            failover: Vec::new(),
        }
    }
}

impl SinkConfig {
    /// The same with what holds for this kind, and paths made absolute.
    pub(crate) fn resolved(&self, directory: &Path) -> Self {
        let mut wanted = self.clone();
        wanted.kind = self.kind.below(directory);
        for kind in &mut wanted.failover {
            *kind = kind.below(directory);
        }
        if let Some(spool) = &mut wanted.spool {
            spool.directory = directory.join(&spool.directory);
        }
        let leaves = |kind: &SinkKind| kind.leaves_the_machine();
        if wanted.delivery == Delivery::Direct
            && (leaves(&wanted.kind) || wanted.failover.iter().any(leaves))
        {
            wanted.delivery = Delivery::Queued(QueueConfig {
                overflow: Overflow::DropOld,
                ..QueueConfig::default()
            });
        }
        wanted
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
        /// Where rolled files go that are too many; its path as that of the file.
        archive: Option<Archive>,
        /// Other processes write and roll it too, see [`Rolls::shared`](crate::Rolls::shared).
        shared: bool,
    },
    /// A network connection or a unix socket.
    Stream(Box<StreamConfig>),
    /// A syslog daemon, and how messages to it are laid out.
    Syslog(Box<SyslogConfig>, SyslogFormat),
    /// The journal of systemd.
    Journald(JournaldConfig, JournaldFormat),
    /// A collector of OpenTelemetry, by OTLP/HTTP with JSON.
    Otlp(Box<OtlpConfig>),
    /// Loki.
    Loki(Box<LokiConfig>),
    /// Alerts to people, by what the program hands in.
    Alert(AlertConfig),
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
            archive: None,
            shared: false,
        }
    }

    /// The same through a queue of this kind, written by a thread of its own.
    pub fn queued(self, queue: QueueConfig) -> SinkConfig {
        SinkConfig {
            delivery: Delivery::Queued(queue),
            ..self.into()
        }
    }

    /// Whether records go to another process or machine, which may not be there.
    pub(crate) fn leaves_the_machine(&self) -> bool {
        matches!(
            self,
            Self::Stream(_) | Self::Syslog(..) | Self::Journald(..) | Self::Otlp(_) | Self::Loki(_)
        )
    }

    /// How records must be written for it, if there is no choice.
    pub(crate) fn own_format(&self) -> Option<Format> {
        match self {
            Self::Syslog(_, format) => Some(Format::syslog(format.clone())),
            Self::Journald(_, format) => Some(Format::journald(format.clone())),
            Self::Otlp(_) => Some(Format::otlp()),
            _ => None,
        }
    }

    /// Whether records land on this machine, where writing is a matter of moments.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Console { .. } | Self::File { .. } | Self::Rolling { .. }
        )
    }

    /// The same with its path made absolute.
    pub(crate) fn below(&self, directory: &Path) -> Self {
        let mut kind = self.clone();
        if let Self::File { path } | Self::Rolling { path, .. } = &mut kind {
            *path = directory.join(&*path);
        }
        if let Self::Rolling {
            archive: Some(archive),
            ..
        } = &mut kind
        {
            archive.path = directory.join(&archive.path);
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
            Self::Stream(config) => write!(f, "{}:{}", config.net.name(), config.address),
            Self::Syslog(config, _) => write!(f, "syslog:{}", config.address),
            Self::Journald(config, _) => write!(f, "journald:{}", config.socket.display()),
            Self::Otlp(config) => write!(f, "otlp:{}", config.http.place()),
            Self::Loki(config) => write!(f, "loki:{}", config.http.place()),
            Self::Alert(config) => config.fmt(f),
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

    /// The same with every secret read that it refers to: what a pipeline is built from. Two configs of
    /// which a secret was changed in between are two.
    pub fn with_secrets(mut self, resolver: &Resolver) -> Result<Self, Error> {
        for sink in &mut self.sinks {
            for kind in std::iter::once(&mut sink.kind).chain(&mut sink.failover) {
                match kind {
                    SinkKind::Otlp(config) => config.http.read_headers(resolver)?,
                    SinkKind::Loki(config) => config.http.read_headers(resolver)?,
                    _ => {}
                }
            }
        }
        Ok(self)
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

//! The names that a user of seelog knows: loggers from a config, and the one of the process.
//!
//! They do what seelog's functions of these names do, as far as Rust has the like: errors are
//! returned, `Infof` is [`info!`](crate::info).

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_base::{Diagnostics, SystemClock};

use crate::error::Error;
use crate::format::Format;
use crate::level::{Level, LevelSet};
use crate::logger::Logger;
use crate::model::{Config, SinkConfig, SinkKind};
use crate::pipeline::{Pipeline, Surroundings};
use crate::route::When;
use crate::seelog::{self, Options};
use crate::sink::Sink;
use crate::sinks::OpenAlerts;

/// Why there is no logger.
#[derive(Debug)]
pub enum LoadError {
    /// The config is wrong: each fault with its place.
    Config(Diagnostics),
    /// What it asks for cannot be opened.
    Open(Error),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(diagnostics) => diagnostics.fmt(f),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

/// What a logger from a config of seelog needs from its process.
pub struct Loading<'a> {
    /// How the document is read; also its environment, formatters and working directory.
    pub options: Options<'a>,
    /// The zone of dates.
    pub zone: TimeZone,
    /// Where relative paths of files are.
    pub directory: &'a Path,
    /// Custom receivers by name.
    pub receivers: Vec<(String, Box<dyn Sink>)>,
    /// What sends the mail of `<smtp>`; without it no config with one can be loaded.
    pub alerts: Option<OpenAlerts>,
}

impl<'a> Loading<'a> {
    /// Relative paths below this directory, dates in this zone, nothing custom.
    pub fn new(directory: &'a Path, zone: TimeZone) -> Self {
        Self {
            options: Options::new(),
            zone,
            directory,
            receivers: Vec::new(),
            alerts: None,
        }
    }
}

/// A logger from the config of seelog in this file: `LoggerFromConfigAsFile`.
///
/// ```no_run
/// use std::path::Path;
/// use mainstay_log::{Loading, info, logger_from_config_as_file, replace_logger};
///
/// let loading = Loading::new(Path::new("."), jiff::tz::TimeZone::system());
/// let logger = logger_from_config_as_file(Path::new("seelog.xml"), loading)?;
/// replace_logger(&logger);
/// info!("hello");
/// # Ok::<(), mainstay_log::LoadError>(())
/// ```
pub fn logger_from_config_as_file(path: &Path, loading: Loading<'_>) -> Result<Logger, LoadError> {
    let file =
        std::fs::File::open(path).map_err(|error| LoadError::Open(Error::read(path, error)))?;
    logger_from_config(path, file, loading)
}

/// The same from a text: `LoggerFromConfigAsString`. Faults are shown in a file called `config`.
pub fn logger_from_config_as_string(text: &str, loading: Loading<'_>) -> Result<Logger, LoadError> {
    logger_from_config_as_bytes(text.as_bytes(), loading)
}

/// The same from bytes: `LoggerFromConfigAsBytes`.
pub fn logger_from_config_as_bytes(
    bytes: &[u8],
    loading: Loading<'_>,
) -> Result<Logger, LoadError> {
    logger_from_config(Path::new("config"), bytes, loading)
}

fn logger_from_config(
    path: &Path,
    source: impl Read,
    loading: Loading<'_>,
) -> Result<Logger, LoadError> {
    let config = seelog::Config::read(path, source, &loading.options);
    let (config, _) = config
        .and_then(|config| config.to_pipeline(loading.directory, loading.zone))
        .map_err(LoadError::Config)?;
    let surroundings = Surroundings {
        custom: loading.receivers,
        alerts: loading.alerts,
        ..surroundings()
    };
    let pipeline = Pipeline::build(&config, surroundings).map_err(LoadError::Open)?;
    Ok(Logger::new(pipeline))
}

/// A logger that writes records from this level up to one sink: `LoggerFromWriterWithMinLevelAndFormat`.
pub fn logger_from_sink_with_min_level(
    sink: Box<dyn Sink>,
    level: Level,
    format: Format,
) -> Result<Logger, Error> {
    let mut config = Config::new("/", TimeZone::UTC);
    config.levels = LevelSet::from(level);
    let name = "sink".to_owned();
    config.route(
        "all",
        When::default(),
        SinkKind::Custom { name: name.clone() },
        format,
    );
    let surroundings = Surroundings {
        custom: vec![(name, sink)],
        ..surroundings()
    };
    Pipeline::build(&config, surroundings).map(Logger::new)
}

/// A logger that writes nothing: `Disabled`.
pub fn disabled() -> Logger {
    let mut config = Config::new("/", TimeZone::UTC);
    config.levels = LevelSet::NONE;
    // Without a sink there is nothing that could fail.
    let pipeline = Pipeline::build(&config, surroundings());
    Logger::new(pipeline.unwrap_or_else(|error| unreachable!("{error}")))
}

impl Logger {
    /// A logger that writes records from this level up to one place, as text with times of this zone.
    /// Relative paths are below the working directory.
    ///
    /// ```no_run
    /// use mainstay_log::{Level, Logger, Retention, SinkKind};
    ///
    /// let file = SinkKind::rolling("app.log", Retention::default());
    /// Logger::to(file, Level::Info, jiff::tz::TimeZone::system())?.install()?;
    /// log::info!("hello");
    /// # Ok::<(), mainstay_log::Error>(())
    /// ```
    pub fn to(sink: impl Into<SinkConfig>, level: Level, zone: TimeZone) -> Result<Self, Error> {
        let mut config = Config::new("", zone);
        config.levels = LevelSet::from(level);
        config.route("all", When::default(), sink, Format::text());
        Pipeline::build(&config, surroundings()).map(Self::new)
    }
}

fn surroundings() -> Surroundings {
    Surroundings::new(Arc::new(SystemClock::new()))
}

/// Has the macros write to this logger; the one before is flushed and stays open: `UseLogger`.
pub fn use_logger(logger: &Logger) {
    logger.make_global();
}

/// The same, and closes the one before after all that waited there is written: `ReplaceLogger`.
pub fn replace_logger(logger: &Logger) {
    let before = Logger::global();
    logger.make_global();
    if let Some(before) = before.filter(|before| !before.is(logger)) {
        before.pipeline().close();
    }
}

/// Has the macros write nothing: `UseLogger(Disabled)`.
pub fn disable_log() {
    use_logger(&disabled());
}

/// The logger that the macros write to: `Current`.
pub fn current() -> Option<Logger> {
    Logger::global()
}

/// Waits until all that the macros wrote is with the sinks: `Flush`.
pub fn flush() {
    if let Some(logger) = Logger::global() {
        logger.flush();
    }
}

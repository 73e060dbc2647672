//! The `[log]` section of a config file as a [`Config`].

mod kind;
mod sink;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{
    Diagnostic, Diagnostics, Pattern, Place, Resolver, SecretRef, Size, Spanned, nearest,
};

use crate::error::Reason;
use crate::flight::FlightConfig;
use crate::format::{self, Format};
use crate::level::{Level, LevelSet};
use crate::model::{Config, Route, SinkConfig, SinkKind};
use crate::pack::Compression;
use crate::period::Every;
use crate::record::Stream;
use crate::retention::Retention;
use crate::route::When;
use crate::seelog::{self, Gate, Options, Rule};
use crate::sinks::AlertConfig;

/// What holds where the section says nothing.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// `dir`: where log files lie.
    pub directory: PathBuf,
    /// The zone of the time stamps.
    pub zone: TimeZone,
    /// Whether standard error is a terminal that can show colours.
    pub colours: bool,
    /// Where records go that no route of the config speaks of, each with its format.
    pub sinks: Vec<(SinkKind, Format)>,
    /// Where variables in an imported config of seelog have their values from.
    pub resolver: Resolver,
}

/// The route that the defaults make, and that a config can replace by naming one so.
const DEFAULT_ROUTE: &str = "default";

impl Config {
    /// The config of a file without `[log]`.
    pub fn standard(defaults: &Defaults) -> Self {
        let mut config = Self::new(&defaults.directory, defaults.zone.clone());
        config.levels = LevelSet::from(Level::Info);
        config.add_default_routes(defaults);
        config
    }

    fn add_default_routes(&mut self, defaults: &Defaults) {
        for (sink, format) in &defaults.sinks {
            let mut sink = sink.clone();
            if let SinkKind::Rolling { retention, .. } = &mut sink {
                *retention = self.retention;
            }
            self.route(DEFAULT_ROUTE, When::default(), sink, format.clone());
        }
    }

    /// Reads `[log]`; what is wrong with it goes to the document's list of diagnostics.
    ///
    /// ```toml
    /// [log]
    /// level = "info"                 # trace, debug, info, warn, error, critical
    /// dir = "/var/log/mainstay"
    /// format = "text"                # text, short, json: of the routes that name none
    /// retain = { size = "50MB", files = 10, age = "30d" }
    /// [log.route.web-errors]
    /// when = { level = "warn", program = "web*", stream = "stderr" }
    /// to = ["console", "file:/var/log/web.err", "rolling:web-errors.log"]
    /// format = "json"
    /// [log.sink.audit]
    /// type = "rolling"               # console, file, rolling
    /// path = "audit.log"
    /// queue = { bytes = "1MB", overflow = "drop-below", keep = "warn" }
    /// ```
    ///
    /// With `import = "seelog.xml"` a config of [seelog](crate::seelog) stands for `level`, `format`,
    /// `exceptions` and the default route; sinks and routes are added to its own.
    ///
    /// A route names such a sink in `to` by its name. `when` may also hold `target` (a Rust path and all below it) and instead of `level`, the
    /// lowest, `levels`, a list. The routes of the file stand before the default one; a route named
    /// `default` replaces it.
    pub fn read(mut section: Section<'_>, defaults: &Defaults) -> Self {
        let mut config = Self::new(&defaults.directory, defaults.zone.clone());
        let level = section.get::<Level>("level").unwrap_or(Level::Info);
        config.levels = LevelSet::from(level);
        if let Some(directory) = section.get::<PathBuf>("dir") {
            config.directory = directory;
        }
        let format = section.get::<Format>("format");
        config.retention = Retention::read(&mut section, Retention::default());
        config.flight = section.section("flight").map(read_flight);
        config.gate = read_exceptions(&mut section, config.levels);
        if let Some(gate) = &config.gate {
            config.levels = gate.possible();
        }
        let mut reader = RouteReader {
            config,
            colours: defaults.colours,
            format: format.clone().unwrap_or_else(Format::text),
            written: HashMap::new(),
            named: HashMap::new(),
        };
        let import = section.get_spanned::<PathBuf>("import");
        if let Some(import) = &import {
            report_rivals(&mut section);
            match reader.import(import, &defaults.resolver) {
                Ok(warnings) | Err(warnings) => {
                    for diagnostic in warnings {
                        section.report(diagnostic);
                    }
                }
            }
        }
        for (name, sink) in section.sections("sink") {
            reader.named_sink(name, sink);
        }
        // The document says where everything goes.
        let mut replaced = import.is_some();
        for (name, route) in section.sections("route") {
            replaced |= name.value == DEFAULT_ROUTE;
            reader.route(name, route);
        }
        let mut config = reader.config;
        if !replaced {
            let mut defaults = defaults.clone();
            if let Some(format) = format {
                for (_, default) in &mut defaults.sinks {
                    default.clone_from(&format);
                }
            }
            config.add_default_routes(&defaults);
        }
        section.finish();
        config
    }
}

use kind::TYPES;

struct RouteReader {
    config: Config,
    colours: bool,
    format: Format,
    /// Which sink writes to a path, and where the file says so.
    written: HashMap<PathBuf, (SinkConfig, Place)>,
    /// The sinks that have a section of their own.
    named: HashMap<String, SinkConfig>,
}

/// What a config of seelog says by itself cannot be said beside it.
fn report_rivals(section: &mut Section<'_>) {
    for key in ["level", "format", "exceptions"] {
        if let Some(value) = section.value(key) {
            section.report(
                value
                    .error(format!("`{key}` stands beside `import`, which says it too"))
                    .help("remove one; `mainstay log convert FILE` shows the file as [log]"),
            );
        }
    }
}

impl RouteReader {
    /// Takes levels, exceptions, sinks and routes from a config of seelog. What that is warned of, or
    /// why it cannot be taken.
    fn import(
        &mut self,
        import: &Spanned<PathBuf>,
        resolver: &Resolver,
    ) -> Result<Diagnostics, Diagnostics> {
        let path = &import.value;
        let file = File::open(path).map_err(|error| {
            let message = format!("cannot read {}: {}", path.display(), Reason(&error));
            Diagnostic::error(message)
                .at(&import.place)
                .help("name a config of seelog that the user who runs mainstay may read")
        })?;
        let environment = |name: &str| {
            let variable = SecretRef::Env(name.to_owned());
            let value = resolver.read(name, &variable).ok()?;
            Some(value.expose().to_owned())
        };
        let options = Options::new().environment(&environment).receivers(&[]);
        let document = seelog::Config::read(path, file, &options)?;
        let directory = self.config.directory.clone();
        let (imported, more) = document.to_pipeline(&directory, self.config.zone.clone())?;
        self.config.levels = document.gate().possible();
        self.config.gate = imported.gate;
        self.config.routes = imported.routes;
        for sink in imported.sinks {
            let sink = SinkConfig {
                kind: sink.kind.below(&directory),
                ..sink
            };
            if let SinkKind::File { path } | SinkKind::Rolling { path, .. } = &sink.kind {
                let written = (sink.clone(), import.place.clone());
                self.written.entry(path.clone()).or_insert(written);
            }
            // Each route has its own: the places of sinks stay as they are.
            self.config.sinks.push(sink);
        }
        let mut warnings = document.warnings;
        warnings.extend(more);
        Ok(warnings)
    }

    fn route(&mut self, name: Spanned<String>, mut section: Section<'_>) {
        let when = match section.section("when") {
            Some(when) => read_when(when),
            None => When::default(),
        };
        let format = section
            .get::<Format>("format")
            .unwrap_or_else(|| self.format.clone());
        let mut to = Vec::new();
        if section.value("to").is_none() {
            section.required::<Vec<String>>("to");
        }
        if let Some(value) = section.value("to") {
            match value.as_array() {
                Ok(items) => {
                    for item in items {
                        match self.sink(&item) {
                            Ok(sink) => to.push(self.config.sink(sink)),
                            Err(diagnostic) => section.report(diagnostic),
                        }
                    }
                }
                Err(diagnostic) => section.report(
                    diagnostic.help("write a list, to = [\"console\", \"rolling:app.log\"]"),
                ),
            }
        }
        self.config.routes.push(Route {
            name: name.value,
            when,
            to,
            format,
        });
        section.finish();
    }

    fn sink(&mut self, value: &Value<'_>) -> Result<SinkConfig, Diagnostic> {
        let text = value.as_str()?;
        if let Some(sink) = self.named.get(text) {
            return Ok(sink.clone());
        }
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let sink = match (kind, rest) {
            ("console", None | Some("stderr")) => SinkKind::Console {
                stream: Stream::Stderr,
                colours: self.colours,
            },
            ("console", Some("stdout")) => SinkKind::Console {
                stream: Stream::Stdout,
                colours: self.colours,
            },
            ("file", Some(path)) if !path.is_empty() => SinkKind::File {
                path: self.path(path),
            },
            ("rolling", Some(path)) if !path.is_empty() => {
                SinkKind::rolling(self.path(path), self.config.retention)
            }
            ("alert", None) => SinkKind::Alert(AlertConfig::default()),
            ("mail" | "smtp", _) => {
                return Err(value
                    .error("mail is sent by the channels of alerts")
                    .help("write to = [\"alert\"], and [alert.to.NAME] with mail = { … }"));
            }
            ("tcp" | "udp" | "unix" | "unixgram" | "syslog" | "journald" | "otlp" | "loki", _) => {
                return Err(value
                    .error(format!("a sink of type {kind} needs a section of its own"))
                    .help(format!(
                        "write [log.sink.NAME] with type = \"{kind}\", and here the NAME"
                    )));
            }
            _ => {
                let diagnostic = value
                    .error(format!("`{text}` is no place records can go"))
                    .help("write one of console, file:PATH, rolling:PATH, alert, or the NAME of a [log.sink.NAME]");
                let named = self.named.keys().map(String::as_str);
                return Err(match nearest(kind, named.chain(TYPES)) {
                    Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
        };
        let sink = SinkConfig::from(sink);
        self.claim(&sink, value.place())?;
        Ok(sink)
    }

    /// Sees that no file is written by two kinds of sink.
    fn claim(&mut self, sink: &SinkConfig, place: &Place) -> Result<(), Diagnostic> {
        if let SinkKind::File { path } | SinkKind::Rolling { path, .. } = &sink.kind {
            let (before, there) = self
                .written
                .entry(path.clone())
                .or_insert_with(|| (sink.clone(), place.clone()));
            if before != sink {
                return Err(Diagnostic::error(
                    "the same file is written as another kind of sink already",
                )
                .at(place)
                .help(format!(
                    "choose one kind for {}; see {there}",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.config.directory.join(Path::new(path))
    }
}

/// Reads `flight`: what is kept in memory until something goes wrong.
fn read_flight(mut section: Section<'_>) -> FlightConfig {
    let default = FlightConfig::default();
    let bytes = section.get_spanned::<Size>("bytes");
    let bytes = match bytes {
        None => default.bytes,
        Some(bytes) => match usize::try_from(bytes.value.0) {
            Ok(size) if (4096..=64 << 20).contains(&size) => size,
            _ => {
                section.report(
                    Diagnostic::error("each thread keeps 4 KiB at least and 64 MiB at most")
                        .at(&bytes.place)
                        .help("64 KiB is usual"),
                );
                default.bytes
            }
        },
    };
    let level = section.get::<Level>("level").unwrap_or(Level::Trace);
    let config = FlightConfig {
        levels: LevelSet::from(level),
        trigger: section.get("trigger").unwrap_or(default.trigger),
        bytes,
    };
    section.finish();
    config
}

/// Reads `exceptions`: other levels for some functions and files of the process itself. The first
/// that matches counts.
fn read_exceptions(section: &mut Section<'_>, general: LevelSet) -> Option<Gate> {
    let items = match section.value("exceptions")?.as_array() {
        Ok(items) => items,
        Err(diagnostic) => {
            section.report(diagnostic.help(
                "write a list of tables, exceptions = [{ func = \"app::db::*\", level = \"warn\" }]",
            ));
            return None;
        }
    };
    let mut rules = Vec::new();
    for item in items {
        let mut one = match item.as_section() {
            Ok(one) => one,
            Err(diagnostic) => {
                section.report(diagnostic);
                continue;
            }
        };
        let pattern = |text: Option<String>| Pattern::new(text.unwrap_or_else(|| "*".to_owned()));
        let (function, file) = (pattern(one.get("func")), pattern(one.get("file")));
        let levels = read_levels(&mut one);
        rules.push(Rule {
            function,
            file,
            levels,
        });
        one.finish();
    }
    Some(Gate::new(general, rules))
}

/// Reads `level`, the lowest let through, or `levels`, a list; every level where neither is there.
fn read_levels(section: &mut Section<'_>) -> LevelSet {
    let lowest = section.get_spanned::<Level>("level");
    let levels = section.get_spanned::<Vec<Level>>("levels");
    match (lowest, levels) {
        (Some(_), Some(levels)) => {
            section.report(
                Diagnostic::error("`level` and `levels` exclude each other")
                    .at(&levels.place)
                    .help("`level` is the lowest level let through, `levels` the list of them"),
            );
            LevelSet::ALL
        }
        (Some(lowest), None) => LevelSet::from(lowest.value),
        (None, Some(levels)) => levels.value.into_iter().collect(),
        (None, None) => LevelSet::ALL,
    }
}

fn read_when(mut section: Section<'_>) -> When {
    let levels = read_levels(&mut section);
    let programs = match section.value("program") {
        Some(value) if value.is_str() => section
            .get::<String>("program")
            .map(|program| vec![program]),
        Some(_) => section.get::<Vec<String>>("program"),
        None => None,
    };
    let stream = section.get_spanned::<Stream>("stream");
    if let (Some(stream), None) = (&stream, &programs) {
        section.report(
            Diagnostic::error("`stream` without `program` takes no record")
                .at(&stream.place)
                .help("add program = \"*\" for the output of all programs"),
        );
    }
    let when = When {
        levels,
        target: section.get("target"),
        programs: programs
            .unwrap_or_default()
            .into_iter()
            .map(Pattern::new)
            .collect(),
        stream: stream.map(|stream| stream.value),
    };
    section.finish();
    when
}

impl Retention {
    /// Reads `retain = { size, files, age, total, every, compress }` of a section; what it does not say is as in
    /// `default`. `size = 0` never rolls.
    pub fn read(section: &mut Section<'_>, default: Self) -> Self {
        let Some(mut retain) = section.section("retain") else {
            return default;
        };
        let read = Self {
            size: match retain.get::<Size>("size") {
                Some(Size(0)) => None,
                Some(Size(bytes)) => Some(bytes),
                None => default.size,
            },
            files: retain.get("files").or(default.files),
            age: retain.get("age").or(default.age),
            total: retain
                .get::<Size>("total")
                .map(|Size(bytes)| bytes)
                .or(default.total),
            every: retain.get("every").or(default.every),
            compress: retain.get("compress").or(default.compress),
        };
        retain.finish();
        read
    }
}

impl FromValue for Level {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let text = value.as_str()?;
        text.parse().map_err(|error: crate::UnknownLevel| {
            let diagnostic = value.error(error);
            match nearest(&text.to_ascii_lowercase(), Level::ALL.map(Level::name)) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic,
            }
        })
    }
}

impl FromValue for Format {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let text = value.as_str()?;
        if text.contains('%') || text.starts_with("std:") {
            return Format::seelog(text, &Options::new())
                .map_err(|diagnostic| diagnostic.at(value.place()));
        }
        let name =
            one_of(value, "log format", &format::NAMES, |name| name).map_err(|diagnostic| {
                diagnostic.help("or write seelog's verbs: \"%Time %LEV %Msg%n\"")
            })?;
        // Each name has its format.
        Ok(Format::named(name).unwrap_or_else(Format::text))
    }
}

impl FromValue for Every {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "period", &Self::ALL, Self::name)
    }
}

impl FromValue for Compression {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "compression", &Self::ALL, Self::name)
    }
}

impl FromValue for Stream {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        match value.as_str()? {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            other => Err(value.error(format!("`{other}` is neither stdout nor stderr"))),
        }
    }
}

#[cfg(test)]
mod tests;

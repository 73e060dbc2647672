//! The `[log]` section of a config file as a [`Config`].

mod sink;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Diagnostic, Pattern, Place, Size, Spanned, nearest};

use crate::flight::FlightConfig;
use crate::format::{self, Format};
use crate::level::{Level, LevelSet};
use crate::model::{Config, Route, SinkConfig, SinkKind};
use crate::pack::Compression;
use crate::period::Every;
use crate::record::Stream;
use crate::retention::Retention;
use crate::route::When;
use crate::seelog::{Gate, Options, Rule};
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
        section.planned(&["import"]);
        let mut reader = RouteReader {
            config,
            colours: defaults.colours,
            format: format.clone().unwrap_or_else(Format::text),
            written: HashMap::new(),
            named: HashMap::new(),
        };
        for (name, sink) in section.sections("sink") {
            reader.named_sink(name, sink);
        }
        let mut replaced = false;
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

use sink::TYPES;

struct RouteReader {
    config: Config,
    colours: bool,
    format: Format,
    /// Which sink writes to a path, and where the file says so.
    written: HashMap<PathBuf, (SinkConfig, Place)>,
    /// The sinks that have a section of their own.
    named: HashMap<String, SinkConfig>,
}

impl RouteReader {
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
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use mainstay_base::config::Document;

    use super::*;
    use crate::naming::Naming;
    use crate::queue::{Delivery, Overflow};

    fn defaults() -> Defaults {
        Defaults {
            directory: "/var/log/mainstay".into(),
            zone: TimeZone::UTC,
            colours: false,
            sinks: vec![(
                SinkKind::rolling("mainstay.log", Retention::default()),
                Format::text(),
            )],
        }
    }

    fn read(text: &str) -> (Config, String) {
        let document = Document::parse("m.toml", text).unwrap();
        let mut root = document.root();
        let config = Config::read(root.section("log").unwrap(), &defaults());
        root.finish();
        (config, document.take_diagnostics().to_string())
    }

    #[test]
    fn everything_at_once() {
        let (config, said) = read(
            r#"
            [log]
            level = "debug"
            dir = "/logs"
            format = "short"
            retain = { size = "1MB", files = 3, age = "2d", total = "5MB", every = "week", compress = "zstd" }
            [log.route.critical]
            when = { level = "critical" }
            to = ["console", "file:/var/critical.log"]
            format = "json"
            [log.route.web]
            when = { levels = ["warn", "trace"], program = ["web*", "api"], stream = "stderr", target = "a::b" }
            to = ["rolling:web.log", "console"]
            "#,
        );
        assert_eq!(said, "");
        let retention = Retention {
            size: Some(1_000_000),
            files: Some(3),
            age: Some(Duration::from_hours(48)),
            total: Some(5_000_000),
            every: Some(Every::Week),
            compress: Some(Compression::Zstd),
        };
        assert_eq!(config.levels, LevelSet::from(Level::Debug));
        assert_eq!(config.retention, retention);
        let kinds: Vec<_> = config.sinks.iter().map(|sink| sink.kind.clone()).collect();
        assert_eq!(
            kinds,
            [
                SinkKind::Console {
                    stream: Stream::Stderr,
                    colours: false
                },
                SinkKind::File {
                    path: "/var/critical.log".into()
                },
                SinkKind::rolling("/logs/web.log", retention),
                SinkKind::rolling("mainstay.log", retention),
            ]
        );
        let [critical, web, default] = config.routes.as_slice() else {
            panic!("{:?}", config.routes);
        };
        assert_eq!(critical.when.levels, LevelSet::from(Level::Critical));
        assert_eq!(critical.format, Format::json());
        assert_eq!(
            critical.to.iter().map(|id| id.0).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(
            web.when,
            When {
                levels: [Level::Warn, Level::Trace].into_iter().collect(),
                target: Some("a::b".into()),
                programs: vec![Pattern::new("web*"), Pattern::new("api")],
                stream: Some(Stream::Stderr),
            }
        );
        assert_eq!(web.format, Format::short());
        assert_eq!(web.to.iter().map(|id| id.0).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(default.name, "default");
        assert_eq!(default.format, Format::short());
    }

    #[test]
    fn little_is_enough() {
        let (config, said) = read("[log]\n");
        assert_eq!(said, "");
        assert_eq!(config, Config::standard(&defaults()));
        let (config, said) =
            read("[log]\nretain.size = 0\n[log.route.default]\nto = [\"console:stdout\"]\n");
        assert_eq!(said, "");
        assert_eq!(config.retention.size, None);
        assert_eq!(config.retention.files, Some(10));
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn sinks_of_their_own() {
        let (config, said) = read(
            r#"
            [log]
            dir = "/logs"
            [log.sink.audit]
            type = "rolling"
            path = "audit.log"
            names = "date"
            shared = true
            retain = { size = 0, every = "day", compress = "gzip" }
            queue = { bytes = "64KiB", overflow = "drop-below", keep = "error", linger = "1s" }
            [log.sink.screen]
            type = "console"
            stream = "stdout"
            colours = true
            queue = { overflow = "sample", one_in = 3 }
            [log.route.everything]
            to = ["audit", "screen", "console"]
            "#,
        );
        assert_eq!(said, "");
        let sinks = &config.sinks[..3];
        let SinkKind::Rolling {
            path,
            retention,
            naming,
            shared: true,
        } = &sinks[0].kind
        else {
            panic!("{:?}", sinks[0]);
        };
        assert_eq!(path, Path::new("/logs/audit.log"));
        assert_eq!(
            (retention.size, retention.every, retention.compress),
            (None, Some(Every::Day), Some(Compression::Gzip))
        );
        assert!(matches!(naming, Naming::Dated { layout, .. } if layout.text() == "2006-01-02"));
        let Delivery::Queued(queue) = sinks[0].delivery else {
            panic!("{:?}", sinks[0]);
        };
        assert_eq!(queue.overflow, Overflow::DropBelow(Level::Error));
        assert_eq!(
            (queue.bytes, queue.linger),
            (65_536, Duration::from_secs(1))
        );
        let Delivery::Queued(queue) = sinks[1].delivery else {
            panic!("{:?}", sinks[1]);
        };
        let three = NonZeroU32::new(3).unwrap();
        assert_eq!(queue.overflow, Overflow::Sample(three));
        assert_eq!(sinks[2].delivery, Delivery::Direct);
    }

    #[test]
    fn sinks_that_leave_the_machine() {
        let (config, said) = read(
            r#"
            [log.sink.collector]
            type = "tcp"
            address = "logs.example.org:6514"
            tls = { ca = "/etc/ca.pem", server_name = "logs" }
            framing = "octet-counting"
            redact = ["password", "jwt"]
            spool = { dir = "/var/spool/log", bytes = "10MB", sync = true }
            failover = ["file:/var/log/instead.log"]
            [log.sink.system]
            type = "syslog"
            facility = "local3"
            app = "shop"
            [log.sink.journal]
            type = "journald"
            [log.sink.otel]
            type = "otlp"
            url = "http://localhost:4318"
            app = "shop"
            [log.sink.grafana]
            type = "loki"
            url = "http://localhost:3100"
            labels = { env = "test" }
            gzip = false
            [log.route.out]
            to = ["collector", "system", "journal", "otel", "grafana"]
            "#,
        );
        assert_eq!(said, "");
        let shown: Vec<String> = config.sinks.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown[..5],
            [
                "tcp:logs.example.org:6514",
                "syslog:/dev/log",
                "journald:/run/systemd/journal/socket",
                "otlp:localhost:4318",
                "loki:localhost:3100",
            ]
        );
        let first = &config.sinks[0];
        assert_eq!(first.redact.as_ref().unwrap().named.len(), 2);
        assert_eq!(first.spool.as_ref().unwrap().bytes, 10_000_000);
        assert_eq!(first.failover.len(), 1);
        let SinkKind::Syslog(_, format) = &config.sinks[1].kind else {
            panic!("{:?}", config.sinks[1]);
        };
        assert_eq!(
            (format.facility.name(), &*format.app_name),
            ("local3", "shop")
        );
    }

    #[test]
    fn faults_are_told() {
        let table = [
            ("level = \"wran\"", "m.toml:2:9:", "did you mean `warn`?"),
            ("level = 3", "m.toml:2:9:", "a string"),
            ("format = \"jsn\"", "m.toml:2:10:", "did you mean `json`?"),
            (
                "import = \"seelog.xml\"",
                "m.toml:2:1:",
                "does not work yet",
            ),
            (
                "[log.sink.a]\ntype = \"rollin\"",
                "m.toml:3:8:",
                "did you mean `rolling`?",
            ),
            (
                "[log.sink.file]\ntype = \"console\"",
                "m.toml:2:",
                "cannot be called",
            ),
            ("[log.sink.a]\ntype = \"file\"", "m.toml:2:", "path"),
            (
                "[log.sink.a]\ntype = \"console\"\nqueue = { overflow = \"drop\" }",
                "m.toml:4:22:",
                "drop-new",
            ),
            (
                "[log.sink.a]\ntype = \"console\"\nqueue = { keep = \"warn\" }",
                "m.toml:4:18:",
                "drop-below",
            ),
            (
                "[log.sink.a]\ntype = \"console\"\nqueue = { bytes = \"1\" }",
                "m.toml:4:19:",
                "4 KiB",
            ),
            (
                "[log.sink.a]\ntype = \"file\"\npath = \"x\"\n[log.sink.b]\ntype = \"rolling\"\npath = \"x\"",
                "m.toml:5:",
                "the same file",
            ),
            (
                "[log.sink.a]\ntype = \"console\"\npath = \"x\"",
                "m.toml:4:",
                "does nothing for a sink of type console",
            ),
            (
                "[log.sink.a]\ntype = \"rolling\"\npath = \"x\"\nnames = \"growing\"\ndate = \"2006\"",
                "m.toml:6:",
                "names = \"date\"",
            ),
            ("[log.sink.a]\ntype = \"tcp\"", "m.toml:2:", "address"),
            (
                "[log.sink.a]\ntype = \"loki\"\nurl = \"localhost\"",
                "m.toml:4:7:",
                "http://",
            ),
            (
                "[log.sink.a]\ntype = \"syslog\"\nfacility = \"demon\"",
                "m.toml:4:12:",
                "no facility",
            ),
            (
                "[log.route.x]\nto = [\"tcp:x:1\"]",
                "m.toml:3:7:",
                "type = \"tcp\"",
            ),
            (
                "[log.sink.audit]\ntype = \"console\"\n[log.route.x]\nto = [\"audi\"]",
                "m.toml:5:",
                "did you mean `audit`?",
            ),
            (
                "retain = { compress = \"zst\" }",
                "m.toml:2:23:",
                "did you mean `zstd`?",
            ),
            (
                "retain = { siez = \"1MB\" }",
                "m.toml:2:12:",
                "did you mean `size`?",
            ),
            ("levle = \"info\"", "m.toml:2:1:", "did you mean `level`?"),
            (
                "[log.route.x]\nformat = \"text\"",
                "m.toml:2",
                "`log.route.x.to` is missing",
            ),
            (
                "[log.route.x]\nto = \"console\"",
                "m.toml:3:6:",
                "write a list",
            ),
            (
                "[log.route.x]\nto = [\"consle\"]",
                "m.toml:3:7:",
                "did you mean `console`?",
            ),
            (
                "[log.route.x]\nto = [\"file:\"]",
                "m.toml:3:7:",
                "write one of",
            ),
            (
                "[log.route.x]\nto = [\"smtp\"]",
                "m.toml:3:7:",
                "mail is sent by the channels of alerts",
            ),
            (
                "[log.sink.a]\ntype = \"alert\"\nqueue = {}",
                "m.toml:4:9:",
                "`queue` does nothing for a sink of type alert",
            ),
            (
                "[log.sink.a]\ntype = \"alert\"\nspool = { dir = \"/s\" }",
                "m.toml:4:9:",
                "`spool` does nothing for a sink of type alert",
            ),
            (
                "[log.route.x]\nto = [\"file:/a\", \"rolling:/a\"]",
                "m.toml:3:18:",
                "same file",
            ),
            (
                "[log.route.x]\nwhen = { level = \"warn\", levels = [\"info\"] }\nto = []",
                "m.toml:3",
                "exclude each other",
            ),
            (
                "[log.route.x]\nwhen = { stream = \"stdout\" }\nto = []",
                "m.toml:3",
                "program = \"*\"",
            ),
            (
                "[log.route.x]\nwhen = { program = \"a\", stream = \"out\" }\nto = []",
                "m.toml:3",
                "neither",
            ),
            (
                "[log.route.x]\nwhen = { levl = \"warn\" }\nto = []",
                "m.toml:3",
                "did you mean `level`?",
            ),
        ];
        for (text, place, what) in table {
            let (_, said) = read(&format!("[log]\n{text}\n"));
            assert!(said.contains(place), "{text}: {place} not in\n{said}");
            assert!(said.contains(what), "{text}: {what} not in\n{said}");
        }
    }
}

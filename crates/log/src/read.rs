//! The `[log]` section of a config file as a [`Config`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use mainstay_base::config::{FromValue, Section, Value};
use mainstay_base::{Diagnostic, Pattern, Place, Size, Spanned, nearest};

use crate::format::{self, Format};
use crate::level::{Level, LevelSet};
use crate::model::{Config, Route, SinkConfig};
use crate::record::Stream;
use crate::retention::Retention;
use crate::route::When;

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
    pub sinks: Vec<(SinkConfig, Format)>,
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
            if let SinkConfig::Rolling { retention, .. } = &mut sink {
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
    /// ```
    ///
    /// `when` may also hold `target` (a Rust path and all below it) and instead of `level`, the
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
        section.planned(&["import"]);
        let mut reader = RouteReader {
            config,
            colours: defaults.colours,
            format: format.clone().unwrap_or_else(Format::text),
            written: HashMap::new(),
        };
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

struct RouteReader {
    config: Config,
    colours: bool,
    format: Format,
    /// Which sink writes to a path, and where the file says so.
    written: HashMap<PathBuf, (SinkConfig, Place)>,
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
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let sink = match (kind, rest) {
            ("console", None | Some("stderr")) => SinkConfig::Console {
                stream: Stream::Stderr,
                colours: self.colours,
            },
            ("console", Some("stdout")) => SinkConfig::Console {
                stream: Stream::Stdout,
                colours: self.colours,
            },
            ("file", Some(path)) if !path.is_empty() => SinkConfig::File {
                path: self.path(path),
            },
            ("rolling", Some(path)) if !path.is_empty() => SinkConfig::Rolling {
                path: self.path(path),
                retention: self.config.retention,
            },
            ("alert" | "syslog" | "journald" | "otlp" | "smtp" | "tcp" | "udp", _) => {
                return Err(value
                    .error(format!("the sink `{kind}` does not work yet"))
                    .label("designed, not built"));
            }
            _ => {
                let known = ["console", "file:PATH", "rolling:PATH"];
                let diagnostic = value
                    .error(format!("`{text}` is no place records can go"))
                    .help(format!("write one of {}", known.join(", ")));
                return Err(match nearest(kind, ["console", "file", "rolling"]) {
                    Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
        };
        if let SinkConfig::File { path } | SinkConfig::Rolling { path, .. } = &sink {
            let (before, place) = self
                .written
                .entry(path.clone())
                .or_insert_with(|| (sink.clone(), value.place().clone()));
            if *before != sink {
                return Err(value
                    .error("the same file is written as another kind of sink already")
                    .help(format!(
                        "choose one kind for {}; see {place}",
                        path.display()
                    )));
            }
        }
        Ok(sink)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.config.directory.join(Path::new(path))
    }
}

fn read_when(mut section: Section<'_>) -> When {
    let lowest = section.get_spanned::<Level>("level");
    let levels = section.get_spanned::<Vec<Level>>("levels");
    let levels = match (lowest, levels) {
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
    };
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
    /// Reads `retain = { size, files, age, total }` of a section; what it does not say is as in
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
        };
        retain.planned(&["compress"]);
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
        Format::named(text).ok_or_else(|| {
            let diagnostic = value.error(format!(
                "`{text}` is no log format; formats are {}",
                format::NAMES.join(", ")
            ));
            match nearest(text, format::NAMES) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic,
            }
        })
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
    use std::time::Duration;

    use mainstay_base::config::Document;

    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            directory: "/var/log/mainstay".into(),
            zone: TimeZone::UTC,
            colours: false,
            sinks: vec![(
                SinkConfig::Rolling {
                    path: "mainstay.log".into(),
                    retention: Retention::default(),
                },
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
            retain = { size = "1MB", files = 3, age = "2d", total = "5MB" }
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
        };
        assert_eq!(config.levels, LevelSet::from(Level::Debug));
        assert_eq!(config.retention, retention);
        assert_eq!(
            config.sinks,
            [
                SinkConfig::Console {
                    stream: Stream::Stderr,
                    colours: false
                },
                SinkConfig::File {
                    path: "/var/critical.log".into()
                },
                SinkConfig::Rolling {
                    path: "/logs/web.log".into(),
                    retention
                },
                SinkConfig::Rolling {
                    path: "mainstay.log".into(),
                    retention
                },
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
                "retain = { compress = \"zstd\" }",
                "m.toml:2:12:",
                "does not work yet",
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
                "[log.route.x]\nto = [\"alert\"]",
                "m.toml:3:7:",
                "does not work yet",
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

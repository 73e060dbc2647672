//! Configs of seelog that are run, and that are converted: what is in the files then.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_base::config::Document;
use mainstay_base::{Clock as _, Diagnostics, ManualClock, Resolver};
use mainstay_log::seelog::{self, Options};
use mainstay_log::{Config, Defaults, Level, Location, Logger, Pipeline, Record, Surroundings};

use crate::clock;

fn parse(xml: &str) -> seelog::Config {
    seelog::Config::parse("seelog.xml", xml, &Options::new()).unwrap()
}

/// What a pipeline of this config leaves in the directory after some records.
fn run(config: &Config, dir: &Path, clock: &Arc<ManualClock>) -> BTreeMap<String, String> {
    let logger = Logger::new(Pipeline::build(config, Surroundings::new(clock.clone())).unwrap());
    for (n, level) in Level::ALL.into_iter().enumerate() {
        for function in ["main.main", "main.db.get"] {
            let text = format!("{level} {n} \"of\" {function}");
            let location = Location {
                file: "/src/app/main.go",
                line: 7,
                function: Some(function),
            };
            logger.write(
                &Record::new(clock.now(), level, "app", text.as_str()).location(Some(location)),
            );
        }
    }
    drop(logger);
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

/// The XML as it is, and as the TOML that it is converted to: both do the same.
fn both(xml: &str) -> BTreeMap<String, String> {
    let clock = clock();
    let parsed = parse(xml);
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = parsed.to_pipeline(dir.path(), TimeZone::UTC).unwrap();
    let direct = run(&config, dir.path(), &clock);

    let dir = tempfile::tempdir().unwrap();
    let toml = parsed.to_toml();
    let (config, said) = read(&toml, dir.path());
    assert_eq!(said.to_string(), "", "{toml}");
    let converted = run(&config, dir.path(), &clock);
    assert_eq!(direct, converted, "{toml}");

    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = elsewhere.path().join("seelog.xml");
    fs::write(&path, xml).unwrap();
    let toml = format!("[log]\nimport = \"{}\"\n", path.display());
    let (config, said) = read(&toml, dir.path());
    assert!(!said.has_errors(), "{said}");
    let imported = run(&config, dir.path(), &clock);
    assert_eq!(direct, imported, "{xml}");
    direct
}

/// The config of this text, and what is said of it.
fn read(toml: &str, dir: &Path) -> (Config, Diagnostics) {
    let document = Document::parse("m.toml", toml).unwrap();
    let mut root = document.root();
    let _: Option<i64> = root.get("schema");
    let config = Config::read(root.section("log").unwrap(), &defaults(dir));
    root.finish();
    (config, document.take_diagnostics())
}

fn defaults(dir: &Path) -> Defaults {
    Defaults {
        directory: dir.to_owned(),
        zone: TimeZone::UTC,
        colours: false,
        sinks: Vec::new(),
        resolver: Resolver::default(),
    }
}

#[test]
fn levels_exceptions_filters_and_formats() {
    let files = both(
        r#"<seelog type="sync" minlevel="info">
            <exceptions>
                <exception funcpattern="*db*" minlevel="error"/>
            </exceptions>
            <outputs formatid="main">
                <file path="all.log"/>
                <filter levels="error,critical" formatid="grave">
                    <file path="sub.log"/>
                </filter>
            </outputs>
            <formats>
                <format id="main" format="%Date %Time [%LEV] %Func:%Line %Msg%n"/>
                <format id="grave" format="%l|%FuncShort|%File|%Msg%n"/>
            </formats>
        </seelog>"#,
    );
    assert_eq!(
        files["all.log"].lines().collect::<Vec<_>>(),
        [
            "2026-11-22 06:00:00 [INF] main.main:7 info 2 \"of\" main.main",
            "2026-11-22 06:00:00 [WRN] main.main:7 warn 3 \"of\" main.main",
            "2026-11-22 06:00:00 [ERR] main.main:7 error 4 \"of\" main.main",
            "2026-11-22 06:00:00 [ERR] main.db.get:7 error 4 \"of\" main.db.get",
            "2026-11-22 06:00:00 [CRT] main.main:7 critical 5 \"of\" main.main",
            "2026-11-22 06:00:00 [CRT] main.db.get:7 critical 5 \"of\" main.db.get",
        ]
    );
    assert_eq!(
        files["sub.log"].lines().next(),
        Some("e|main|main.go|error 4 \"of\" main.main")
    );
}

#[test]
fn holes_in_the_levels_and_the_default_format() {
    let files =
        both(r#"<seelog levels="trace, error"><outputs><file path="a.log"/></outputs></seelog>"#);
    let nanoseconds = clock().now().as_nanosecond();
    assert_eq!(
        files["a.log"].lines().collect::<Vec<_>>(),
        [
            format!("{nanoseconds} [Trace] trace 0 \"of\" main.main"),
            format!("{nanoseconds} [Trace] trace 0 \"of\" main.db.get"),
            format!("{nanoseconds} [Error] error 4 \"of\" main.main"),
            format!("{nanoseconds} [Error] error 4 \"of\" main.db.get"),
        ]
    );
}

/// seelog's std:json breaks at a quote (D9).
#[test]
fn json_is_json() {
    let files = both(
        r#"<seelog><outputs formatid="std:json"><buffered size="100" flushperiod="0"><file path="a.log" formatid="std:json"/></buffered></outputs></seelog>"#,
    );
    // One after another without a line end, as in seelog.
    let all = serde_json::Deserializer::from_str(&files["a.log"]).into_iter::<serde_json::Value>();
    let all: Vec<_> = all.map(Result::unwrap).collect();
    assert_eq!(all.len(), 12);
    assert_eq!(all[0]["msg"], "trace 0 \"of\" main.main");
}

#[test]
fn rolling_files() {
    let files = both(
        r#"<seelog type="asynctimer" asyncinterval="2000000"><outputs formatid="m">
            <rollingfile type="size" filename="s.log" maxsize="40" maxrolls="2"/>
            <rollingfile type="size" filename="p.log" maxsize="40" namemode="prefix"/>
        </outputs><formats><format id="m" format="%Msg%n"/></formats></seelog>"#,
    );
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let kept = names
        .iter()
        .filter(|name| name.starts_with("s.log."))
        .count();
    assert_eq!(kept, 2, "{names:?}");
    assert!(names.contains(&"1.p.log"), "{names:?}");
    let lines: usize = files
        .iter()
        .filter(|(name, _)| name.ends_with("p.log"))
        .map(|(_, text)| text.lines().count())
        .sum();
    assert_eq!(lines, 12, "{names:?}");
}

/// A size of zero or less, which loads in seelog and then loses all (D2).
#[test]
fn a_size_of_nothing_never_rolls() {
    let files = both(
        r#"<seelog><outputs><rollingfile type="size" filename="a.log" maxsize="0"/></outputs></seelog>"#,
    );
    assert_eq!(files["a.log"].lines().count(), 12);
}

/// Two receivers with one file are two, and what both take is there twice. (Converted to TOML they
/// are one sink, which gets each record once.)
#[test]
fn one_file_twice() {
    let dir = tempfile::tempdir().unwrap();
    let parsed = parse(
        r#"<seelog type="sync"><outputs formatid="m"><file path="a.log"/><file path="a.log"/></outputs>
        <formats><format id="m" format="%Msg%n"/></formats></seelog>"#,
    );
    let (config, said) = parsed.to_pipeline(dir.path(), TimeZone::UTC).unwrap();
    assert!(said.is_empty());
    let files = run(&config, dir.path(), &clock());
    assert_eq!(files["a.log"].lines().count(), 24);
}

/// What a connection becomes in TOML is read again as the same kind of sink.
#[test]
fn connections_are_converted() {
    let parsed = parse(
        r#"<seelog><outputs><conn net="tcp" addr="127.0.0.1:1" tls="true" insecureskipverify="true"/>
        <conn net="udp" addr="127.0.0.1:2"/>
        <conn net="tcp" addr="127.0.0.1:3" reconnectonmsg="true"/></outputs></seelog>"#,
    );
    let toml = parsed.to_toml();
    let (converted, said) = read(&toml, Path::new("/"));
    assert_eq!(said.to_string(), "", "{toml}");
    let shown: Vec<String> = converted.sinks.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["tcp:127.0.0.1:1", "udp:127.0.0.1:2", "tcp:127.0.0.1:3"]
    );
    let (direct, _) = parsed.to_pipeline("/", TimeZone::UTC).unwrap();
    assert_eq!(converted.sinks[0], direct.sinks[0]);
    assert_eq!(converted.sinks[2], direct.sinks[2]);
}

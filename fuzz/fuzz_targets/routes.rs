//! What can be in `[log]` of a mainstay.toml.

#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use mainstay_base::Resolver;
use mainstay_base::config::Document;
use mainstay_log::{Config, Defaults, Format, Level, Question, Retention, SinkKind};

fuzz_target!(|text: &str| {
    // That one is read from any file there is, and has a target of its own.
    if text.contains("import") {
        return;
    }
    let document = match Document::parse("fuzz.toml", text) {
        Ok(document) => document,
        Err(wrong) => {
            assert!(wrong.has_errors());
            let _ = wrong.to_string();
            return;
        }
    };
    let mut root = document.root();
    let Some(section) = root.section("log") else {
        return;
    };
    let defaults = Defaults {
        directory: "/logs".into(),
        zone: TimeZone::UTC,
        colours: false,
        sinks: vec![(
            SinkKind::rolling("mainstay.log", Retention::default()),
            Format::text(),
        )],
        resolver: Resolver::default(),
    };
    let config = Config::read(section, &defaults);
    root.finish();
    let diagnostics = document.take_diagnostics();
    let _ = diagnostics.to_string();
    for level in Level::ALL {
        let question = Question {
            level: Some(level),
            target: Some("shop::db".to_owned()),
            ..Question::default()
        };
        let answer = config.explain(&question);
        assert_eq!(answer.routes.len(), config.routes.len());
        let _ = answer.to_string();
    }
});

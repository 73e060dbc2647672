//! The ways in: own macros, `tracing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_log::{
    Config, Format, Level, LevelSet, Loading, Logger, Pipeline, SinkKind, Surroundings, When,
    critical, current, debug, disable_log, error, info, log, logger_from_config_as_file,
    logger_from_config_as_string, replace_logger, trace, use_logger, warn,
};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::text;

fn config(dir: &std::path::Path, format: Format) -> Config {
    let mut config = Config::new(dir, TimeZone::UTC);
    config.levels = LevelSet::from(Level::Info);
    let kind = SinkKind::File {
        path: "a.log".into(),
    };
    config.route("all", When::default(), kind, format);
    config
}

fn surroundings() -> Surroundings {
    Surroundings::new(Arc::new(SystemClock::new()))
}

fn logger(dir: &std::path::Path, format: Format) -> Logger {
    Logger::new(Pipeline::build(&config(dir, format), surroundings()).unwrap())
}

fn lines(dir: &std::path::Path) -> Vec<Value> {
    let text = text(dir.join("a.log"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

// The tests of this file share the logger of the process; each runs in a process of its own under
// nextest, and one after another otherwise.
pub(crate) static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn own_macros() {
    let _alone = ALONE.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let evaluated = AtomicUsize::new(0);
    let count = || evaluated.fetch_add(1, Ordering::Relaxed);
    error!("nobody listens yet");
    let logger = logger(dir.path(), Format::json());
    logger.make_global();
    trace!("no {}", count());
    debug!(n = count(); "no");
    info!("plain {}", count());
    let (user, name, missing) = (17_u32, String::from("x y"), None::<i64>);
    warn!(user, name, missing, shown:% = "a", kind:? = Some(1), pi = 3.5; "with {}", "fields");
    error!(target: "audit", "elsewhere");
    let in_closure = || critical!("help");
    in_closure();
    log!(Level::Info, "by level");
    logger.set_levels(Some(LevelSet::from(Level::Debug)));
    debug!("now {}", count());
    logger.set_levels(None);
    debug!("not {}", count());
    assert_eq!(evaluated.load(Ordering::Relaxed), 2);

    let other = tempfile::tempdir().unwrap();
    let second = self::logger(other.path(), Format::json());
    second.make_global();
    info!("to the second");
    let before = logger.reload(&config(other.path(), Format::text()), surroundings());
    before.unwrap();
    info!("to the second, still");

    let lines = lines(dir.path());
    let messages: Vec<_> = lines
        .iter()
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        messages,
        [
            "plain 0",
            "with fields",
            "elsewhere",
            "help",
            "by level",
            "now 1"
        ]
    );
    assert_eq!(
        lines[1]["fields"],
        json!({"user": 17, "name": "x y", "missing": null, "shown": "a", "kind": "Some(1)", "pi": 3.5})
    );
    assert_eq!(lines[1]["target"], "it::front");
    assert_eq!(lines[1]["function"], "it::front::own_macros");
    assert_eq!(lines[3]["function"], "it::front::own_macros");
    assert_eq!(lines[3]["level"], "critical");
    assert_eq!(lines[2]["target"], "audit");
    assert!(lines[1]["file"].as_str().unwrap().ends_with("front.rs"));
    assert_eq!(self::lines(other.path()).len(), 2);
}

fn traced(value: u32) {
    tracing::debug!(value, "detail");
}

#[test]
fn events_of_tracing_with_the_spans_around_them() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), Format::json());
    let registry = tracing_subscriber::registry().with(mainstay_log::layer(&logger));
    tracing::subscriber::with_default(registry, || {
        tracing::info!("outside");
        let request = tracing::info_span!(
            "request",
            method = "GET",
            id = 7,
            user = tracing::field::Empty
        );
        let _in = request.enter();
        traced(1);
        request.record("user", "a b");
        let query = tracing::debug_span!("query");
        query.in_scope(|| tracing::warn!(rows = 3, ok = false, request_id = %5, "slow"));
        logger.set_levels_of(
            Some("it::front"),
            Some(LevelSet::ALL),
            Some(Duration::from_mins(1)),
        );
        traced(2);
        logger.set_levels_of(Some("it::front"), None, None);
        traced(3);
        let error = std::io::Error::other("broken pipe");
        tracing::error!(
            critical = true,
            error = &error as &dyn std::error::Error,
            "two\nlines"
        );
        tracing::error!(critical = false, "one");
    });
    let lines = lines(dir.path());
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["level"].as_str().unwrap(),
                line["message"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("info", "outside"),
            ("warn", "slow"),
            ("debug", "detail"),
            ("critical", "two\nlines"),
            ("error", "one"),
        ]
    );
    assert!(lines[0].get("spans").is_none());
    let request = json!({"name": "request", "method": "GET", "id": 7, "user": "a b"});
    assert_eq!(lines[1]["spans"], json!([request, {"name": "query"}]));
    assert_eq!(
        lines[1]["fields"],
        json!({"rows": 3, "ok": false, "request_id": "5"})
    );
    assert_eq!(lines[2]["spans"], json!([request]));
    assert_eq!(lines[2]["fields"], json!({"value": 2}));
    assert_eq!(lines[3]["fields"], json!({"error": "broken pipe"}));
    assert_eq!(lines[4]["fields"], json!({"critical": false}));
    assert_eq!(lines[1]["target"], "it::front");

    let text_dir = tempfile::tempdir().unwrap();
    let logger = self::logger(text_dir.path(), Format::short());
    let registry = tracing_subscriber::registry().with(mainstay_log::layer(&logger));
    tracing::subscriber::with_default(registry, || {
        let _request = tracing::info_span!("request", path = "/a\nb", id = 7).entered();
        let _query = tracing::info_span!("query").entered();
        tracing::info!(rows = 3, "done");
    });
    let text = text(text_dir.path().join("a.log"));
    assert!(
        text.ends_with(" INFO  request{path=\"/a\\nb\" id=7}:query: done rows=3\n"),
        "{text}"
    );
}

struct Counts(Arc<AtomicUsize>);
impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Counts {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What others let through is their matter, and the other way round.
#[test]
fn other_layers_see_what_they_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(dir.path(), Format::short());
    let seen = Arc::new(AtomicUsize::new(0));
    let registry = tracing_subscriber::registry()
        .with(mainstay_log::layer(&logger))
        .with(Counts(Arc::clone(&seen)));
    tracing::subscriber::with_default(registry, || {
        tracing::trace!("one");
        tracing::info!("two");
    });
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    assert_eq!(text(dir.path().join("a.log")).lines().count(), 1);
}

#[test]
fn the_names_that_a_user_of_seelog_knows() {
    let _alone = ALONE.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seelog.xml");
    let xml = r#"<seelog minlevel="info"><outputs formatid="m"><file path="a.log"/></outputs>
        <formats><format id="m" format="%LEV %FuncShort %Msg%n"/></formats></seelog>"#;
    std::fs::write(&path, xml).unwrap();
    let loading = || Loading::new(dir.path(), TimeZone::UTC);
    let logger = logger_from_config_as_file(&path, loading()).unwrap();
    replace_logger(&logger);
    info!("one");
    debug!("no");
    mainstay_log::flush();
    assert!(current().unwrap().is(&logger));
    disable_log();
    critical!("nobody hears");
    use_logger(&logger);
    warn!("two");
    mainstay_log::flush();
    let expected = "INF the_names_that_a_user_of_seelog_knows one\nWRN the_names_that_a_user_of_seelog_knows two\n";
    assert_eq!(text(dir.path().join("a.log")), expected);
    // Closed: what comes later is lost there, and counted.
    replace_logger(&mainstay_log::disabled());
    logger.write(&mainstay_log::Record::new(
        logger.pipeline().now(),
        Level::Error,
        "x",
        "late",
    ));
    assert_eq!(text(dir.path().join("a.log")), expected);
    assert_eq!(logger.pipeline().losses()[0].1[Level::Error.index()], 1);

    let bad = logger_from_config_as_string("<seelog minlevel=\"inf\"/>", loading()).unwrap_err();
    assert!(bad.to_string().starts_with("config:1:"), "{bad}");
    assert!(bad.to_string().contains("did you mean `info`?"), "{bad}");
}

/// Debug records are written when an error comes, and only those of the same request.
#[test]
fn what_was_kept_is_written_when_something_goes_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), Format::short());
    config.flight = Some(mainstay_log::FlightConfig::default());
    let logger = Logger::new(Pipeline::build(&config, surroundings()).unwrap());
    let registry = tracing_subscriber::registry().with(mainstay_log::layer(&logger));
    tracing::subscriber::with_default(registry, || {
        tracing::debug!("outside");
        let bad = tracing::info_span!("request", id = 1);
        let good = tracing::info_span!("request", id = 2);
        good.in_scope(|| tracing::debug!("well"));
        bad.in_scope(|| tracing::trace!(step = 1, "begun"));
        bad.in_scope(|| tracing::debug_span!("query").in_scope(|| tracing::debug!("asked")));
        good.in_scope(|| tracing::info!("done"));
        assert_eq!(text(dir.path().join("a.log")).lines().count(), 1);
        bad.in_scope(|| tracing::error!("broken"));
        bad.in_scope(|| tracing::error!("again"));
    });
    let text = text(dir.path().join("a.log"));
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    assert_eq!(
        lines,
        [
            "INFO  request{id=2}: done",
            "TRACE request{id=1}: begun step=1 kept=true",
            "DEBUG request{id=1}:query: asked kept=true",
            "ERROR request{id=1}: broken",
            "ERROR request{id=1}: again",
        ]
    );
}

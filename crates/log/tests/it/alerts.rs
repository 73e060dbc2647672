//! Records that are raised as alerts, by a program that only writes them down.

use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use log::Log as _;
use mainstay_base::{Clock as _, SystemClock};
use mainstay_log::seelog::{self, Options};
use mainstay_log::sinks::{AlertConfig, OpenAlerts, Raise, Raised, RedactConfig};
use mainstay_log::{
    Config, FlightConfig, Format, Level, LevelSet, Loading, Logger, Overflow, Pattern, Pipeline,
    QueueConfig, Record, SinkConfig, SinkKind, Stream, Surroundings, When,
    logger_from_config_as_string,
};

use crate::clock;

/// What was raised, each as one text.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<Vec<String>>>);

impl Desk {
    fn opener(&self) -> OpenAlerts {
        let desk = self.clone();
        Box::new(move |config| {
            if config
                .mail
                .as_ref()
                .is_some_and(|mail| mail.host == "nowhere")
            {
                return Err("no such host".to_owned());
            }
            Ok(Arc::new(desk.clone()))
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Raise for Desk {
    fn raise(&self, raised: &Raised<'_>) {
        let context: Vec<&str> = raised.context.iter().map(String::as_str).collect();
        let line = format!(
            "{} {} {}: {} {:?} | {} | {}",
            raised.level,
            raised.app.unwrap_or("-"),
            raised.target,
            raised.message,
            raised.fields,
            raised.text,
            context.join("; ")
        );
        self.0.lock().unwrap().push(line);
    }
}

fn surroundings(desk: &Desk) -> Surroundings {
    let mut surroundings = Surroundings::new(clock());
    surroundings.alerts = Some(desk.opener());
    surroundings
}

fn alert() -> SinkKind {
    SinkKind::Alert(AlertConfig::default())
}

fn errors_of(programs: &[&str]) -> When {
    When {
        levels: LevelSet::from(Level::Error),
        programs: programs.iter().map(|p| Pattern::new(*p)).collect(),
        ..When::default()
    }
}

fn short() -> Format {
    Format::seelog("%l %Msg%Fields", &Options::new()).unwrap()
}

fn record<'a>(level: Level, target: &'a str, text: &'a str) -> Record<'a> {
    Record::new(clock().now(), level, target, text)
}

#[test]
fn what_is_raised_has_the_last_records_of_its_origin() {
    let desk = Desk::default();
    let mut config = Config::new("/", TimeZone::UTC);
    config.levels = LevelSet::from(Level::Debug);
    config.route("own", errors_of(&[]), alert(), short());
    config.route("web", errors_of(&["web*"]), alert(), short());
    let pipeline = Pipeline::build(&config, surroundings(&desk)).unwrap();
    let fields = [("user", 7.into())];
    for own in [
        record(Level::Debug, "api", "not kept"),
        record(Level::Info, "api", "begins"),
        record(Level::Error, "api", "breaks").fields(&fields),
    ] {
        pipeline.write(&own);
    }
    for (program, text) in [("web:0", "one"), ("web:1", "two"), ("worker", "three")] {
        let info = record(Level::Info, program, text).program(program, Stream::Stdout);
        pipeline.write(&info);
    }
    let grave = record(Level::Critical, "web:1", "dies\nat line 3");
    pipeline.write(&grave.program("web:1", Stream::Stderr));
    let other = record(Level::Critical, "worker", "not asked for");
    pipeline.write(&other.program("worker", Stream::Stderr));
    assert_eq!(
        desk.take(),
        [
            "error - api: breaks [(\"user\", \"7\")] | e breaks user=7 | i begins",
            "critical web:1 web:1: dies\nat line 3 [] | c dies\nat line 3 | i two",
        ]
    );
    // The last ones, and each only so long.
    for number in 0..30 {
        pipeline.write(&record(Level::Info, "api", &format!("n{number}")));
    }
    pipeline.write(&record(Level::Warn, "api", &"ä".repeat(2000)));
    pipeline.write(&record(Level::Error, "api", "again"));
    let said = desk.take();
    let (_, context) = said[0].rsplit_once(" | ").unwrap();
    let lines: Vec<&str> = context.split("; ").collect();
    assert_eq!((lines.len(), lines[0]), (20, "i n11"));
    assert!(lines[19].starts_with("w ä") && lines[19].len() <= 1000);
}

#[test]
fn what_sends_alerts_raises_none_and_writes_down_no_secrets() {
    let desk = Desk::default();
    let mut config = Config::new("/", TimeZone::UTC);
    config.route("all", When::default(), alert(), short());
    let logger = Logger::new(Pipeline::build(&config, surroundings(&desk)).unwrap());
    for target in [
        "mainstay_alert",
        "mainstay_alert::worker",
        "lettre::transport",
        "ureq",
        "ureq_proto::util",
        "rustls::client",
        "mainstay_alerts",
    ] {
        logger
            .pipeline()
            .write(&record(Level::Critical, target, "x"));
    }
    assert_eq!(
        desk.take(),
        ["critical - mainstay_alerts: x [] | c x | "],
        "only what is none of them"
    );
    let enabled = |level, target| {
        let metadata = log::Metadata::builder().level(level).target(target).build();
        logger.enabled(&metadata)
    };
    assert!(!enabled(log::Level::Trace, "ureq_proto::util"));
    assert!(!enabled(log::Level::Trace, "lettre"));
    assert!(enabled(log::Level::Debug, "ureq"));
    assert!(enabled(log::Level::Trace, "ureqx"));
}

#[test]
fn secrets_are_struck_out_and_what_the_flight_recorder_kept_is_context() {
    let desk = Desk::default();
    let mut config = Config::new("/", TimeZone::UTC);
    config.levels = LevelSet::from(Level::Info);
    config.flight = Some(FlightConfig::default());
    let sink = SinkConfig {
        redact: Some(RedactConfig::default()),
        ..alert().into()
    };
    config.route("all", errors_of(&[]), sink, short());
    let pipeline = Pipeline::build(&config, surroundings(&desk)).unwrap();
    pipeline.write(&record(Level::Debug, "api", "password=hunter2"));
    let fields = [("token", "hunter2 token=hunter2".into())];
    pipeline.write(&record(Level::Error, "api", "secret=hunter2 is wrong").fields(&fields));
    let said = desk.take();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("secret=*** is wrong"), "{said:?}");
    assert!(said[0].contains("d password=***"), "{said:?}");
    assert!(!said[0].contains("token=hunter2"), "{said:?}");
    assert!(!said[0].contains("password=hunter2"), "{said:?}");
}

#[test]
fn what_cannot_be_built_is_told() {
    let desk = Desk::default();
    let build = |sink: SinkConfig, surroundings: Surroundings| {
        let mut config = Config::new("/", TimeZone::UTC);
        config.route("all", When::default(), sink, short());
        Pipeline::build(&config, surroundings)
            .unwrap_err()
            .to_string()
    };
    let none = build(alert().into(), Surroundings::new(clock()));
    assert!(
        none.contains("nothing in this program raises alerts"),
        "{none}"
    );
    let queue = QueueConfig {
        overflow: Overflow::DropOld,
        ..QueueConfig::default()
    };
    let queued = build(alert().queued(queue), surroundings(&desk));
    assert!(queued.contains("alerts have their own"), "{queued}");
    let failover = SinkConfig {
        failover: vec![alert()],
        ..SinkKind::File {
            path: "/dev/null".into(),
        }
        .into()
    };
    let failover = build(failover, surroundings(&desk));
    assert!(failover.contains("cannot stand in"), "{failover}");
}

#[test]
fn a_reload_keeps_what_is_known_unless_other_records_are_raised() {
    let desk = Desk::default();
    let config = |level| {
        let mut config = Config::new("/", TimeZone::UTC);
        let when = When {
            levels: LevelSet::from(level),
            ..When::default()
        };
        config.route("all", when, alert(), short());
        config
    };
    let pipeline = Pipeline::build(&config(Level::Error), surroundings(&desk)).unwrap();
    let logger = Logger::new(pipeline);
    logger.pipeline().write(&record(Level::Info, "a", "before"));
    let changes = logger
        .reload(&config(Level::Error), surroundings(&desk))
        .unwrap();
    assert_eq!(changes.kept, ["alert"]);
    logger.pipeline().write(&record(Level::Error, "a", "x"));
    assert_eq!(desk.take(), ["error - a: x [] | e x | i before"]);
    let changes = logger
        .reload(&config(Level::Critical), surroundings(&desk))
        .unwrap();
    assert_eq!(changes.opened, ["alert"]);
    logger.pipeline().write(&record(Level::Error, "a", "x"));
    assert!(desk.take().is_empty());
}

const MAIL: &str = r#"<seelog minlevel="info"><outputs formatid="all">
  <filter levels="critical" formatid="mail">
    <buffered size="1000" flushperiod="1000" formatid="mail">
      <smtp senderaddress="log@example.org" sendername="Log" hostname="mx" hostport="25" subject="boom " formatid="mail">
        <recipient address="ops@example.org"/>
        <header name="Priority" value="Urgent"/><header name="Content-Type" value="text/html"/>
      </smtp>
    </buffered>
  </filter>
</outputs>
<formats><format id="all" format="%Msg%n"/><format id="mail" format="Critical error on our server!\n%LEV %Msg\nSent by seelog"/></formats>
</seelog>"#;

#[test]
fn mail_of_seelog_is_raised_in_its_format() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::default();
    let mut loading = Loading::new(directory.path(), TimeZone::UTC);
    loading.alerts = Some(desk.opener());
    let logger = logger_from_config_as_string(MAIL, loading).unwrap();
    let now = SystemClock::new().now();
    let write = |level, text| {
        logger
            .pipeline()
            .write(&Record::new(now, level, "shop", text));
    };
    write(Level::Error, "not let through");
    write(Level::Critical, "no disk");
    write(Level::Critical, "no disk");
    logger.flush();
    let text = "Critical error on our server!\nCRT no disk\nSent by seelog";
    assert_eq!(
        desk.take(),
        [
            format!("critical - shop: no disk [] | {text} | "),
            format!("critical - shop: no disk [] | {text} | {text}"),
        ]
    );
    let loading = Loading::new(directory.path(), TimeZone::UTC);
    let error = logger_from_config_as_string(MAIL, loading).unwrap_err();
    assert!(
        error.to_string().contains("smtp:mx:25 to ops@example.org"),
        "{error}"
    );
    let mut loading = Loading::new(directory.path(), TimeZone::UTC);
    loading.alerts = Some(desk.opener());
    let nowhere = MAIL.replace("\"mx\"", "\"nowhere\"");
    let error = logger_from_config_as_string(&nowhere, loading).unwrap_err();
    assert!(error.to_string().contains("no such host"), "{error}");
}

#[test]
fn mail_of_seelog_is_checked_and_converted() {
    let read = |text: &str| seelog::Config::parse("seelog.xml", text, &Options::new()).unwrap();
    let (config, said) = read(MAIL).to_pipeline("/", TimeZone::UTC).unwrap();
    let said = said.to_string();
    assert!(
        said.contains("seelog.xml:3:5: warning: the header Content-Type"),
        "{said}"
    );
    assert!(
        said.contains("records like each other are one mail"),
        "{said}"
    );
    let SinkKind::Alert(AlertConfig {
        mail: Some(mail), ..
    }) = &config.sinks[0].kind
    else {
        panic!("{config:?}");
    };
    assert_eq!(mail.headers.len(), 1);
    assert!(config.sinks[0].delivery == mainstay_log::Delivery::Direct);
    for (from, to, expected) in [
        (
            "\"25\"",
            "\"99999\"",
            "seelog.xml:3:5: error: there is no port 99999",
        ),
        (
            "<recipient address=\"ops@example.org\"/>",
            "",
            "seelog.xml:3:5: error: mail goes to nobody",
        ),
    ] {
        let wrong = read(&MAIL.replace(from, to)).to_pipeline("/", TimeZone::UTC);
        let said = wrong.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    let toml = read(MAIL).to_toml();
    for part in [
        "type = \"alert\"\n",
        "[alert.to.mail1]\nwhen = { severity = \"critical\" }\n",
        "[alert.to.mail1.mail]\nto = [\"ops@example.org\"]\nfrom = \"\\\"Log\\\" <log@example.org>\"\nserver = \"mx:25\"\ntls = \"opportunistic\"\nsubject = \"boom \"\nheaders = { \"Priority\" = \"Urgent\" }\n",
    ] {
        assert!(toml.contains(part), "{part} in\n{toml}");
    }
    assert!(!toml.contains("queue"), "{toml}");
}

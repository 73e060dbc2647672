use std::num::NonZeroU32;
use std::time::Duration;

use mainstay_base::config::Document;
use mainstay_base::{Credential, Secrets};

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
        resolver: Resolver::new(
            Secrets::default(),
            [("DISK".to_owned(), "/disk".to_owned())].into(),
        ),
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
        archive: None,
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

/// Paths of logs start where logs are, wherever the config is.
#[test]
fn where_relative_paths_start_and_what_is_archived() {
    let text = "[log]\ndir = \"/logs\"\n[log.sink.a]\ntype = \"rolling\"\npath = \"a.log\"\nnames = \"growing\"\narchive = { type = \"gzip\" }\n[log.route.default]\nto = [\"a\"]\n";
    let document = Document::parse("/etc/mainstay/m.toml", text).unwrap();
    let mut root = document.root();
    let config = Config::read(root.section("log").unwrap(), &defaults());
    assert_eq!(document.take_diagnostics().to_string(), "");
    let SinkKind::Rolling {
        path,
        archive: Some(archive),
        ..
    } = &config.sinks[0].kind
    else {
        panic!("{:?}", config.sinks);
    };
    assert_eq!(path, Path::new("/logs/a.log"));
    assert_eq!(archive.path, Path::new("/logs/log.tar.gz"));
    let (_, said) = read(
        "[log]\n[log.sink.a]\ntype = \"rolling\"\npath = \"a\"\narchive = { type = \"zip\" }\n",
    );
    assert!(
        said.contains("m.toml:5:11:") && said.contains("names stay"),
        "{said}"
    );
}

#[test]
fn sinks_that_leave_the_machine() {
    let (config, said) = read(
        r#"
        [log.sink.collector]
        type = "tcp"
        address = "logs.example.org:6514"
        tls = { ca = "/etc/ca.pem", server_name = "logs", cert = "/etc/me.pem", key = "/etc/me.key" }
        framing = "octet-counting"
        reconnect = true
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
        headers = { X-Scope-OrgID = "shop", Authorization = { file = "/etc/loki.token" } }
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
    let SinkKind::Stream(stream) = &first.kind else {
        panic!("{first:?}");
    };
    assert!(stream.reconnect_per_message);
    let identity = stream.tls.as_ref().unwrap().identity.as_ref().unwrap();
    assert_eq!(identity.key, Path::new("/etc/me.key"));
    let SinkKind::Loki(loki) = &config.sinks[4].kind else {
        panic!("{:?}", config.sinks[4]);
    };
    let token = Credential::Reference(SecretRef::File("/etc/loki.token".into()));
    assert!(
        loki.http
            .headers
            .contains(&("Authorization".to_owned(), token))
    );
    let SinkKind::Syslog(_, format) = &config.sinks[1].kind else {
        panic!("{:?}", config.sinks[1]);
    };
    assert_eq!(
        (format.facility.name(), &*format.app_name),
        ("local3", "shop")
    );
}

#[test]
fn an_imported_document() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seelog.xml");
    let read_with = |xml: &str, more: &str| {
        std::fs::write(&path, xml).unwrap();
        read(&format!(
            "[log]\nimport = \"{}\"\ndir = \"/logs\"\nretain.files = 3\n{more}",
            path.display()
        ))
    };
    let xml = r#"
        <seelog type="sync" minlevel="info">
            <exceptions><exception filepattern="*db.rs" minlevel="warn"/></exceptions>
            <outputs formatid="short">
                <file path="all.log"/>
                <filter levels="error,critical"><rollingfile type="size" filename="${DISK}/bad.log" maxsize="100" maxrolls="2"/></filter>
            </outputs>
            <formats><format id="short" format="%Level %Msg%n"/></formats>
        </seelog>"#;
    let (config, said) = read_with(
        xml,
        "[log.route.web]\nwhen = { program = \"web\" }\nto = [\"rolling:web.log\"]\nformat = \"json\"\n",
    );
    assert_eq!(said, "");
    assert_eq!(config.levels, LevelSet::from(Level::Info));
    let gate = config.gate.as_ref().unwrap();
    assert!(!gate.allows(Level::Info, "f", "/x/db.rs"));
    let shown: Vec<String> = config.sinks.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "file:/logs/all.log",
            "rolling:/disk/bad.log",
            "rolling:/logs/web.log"
        ]
    );
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    let place = |line: u32, column: u32| format!("{}:{line}:{column}", path.display());
    assert_eq!(names[0], format!("<file> at {}", place(5, 17)));
    assert_eq!(names[2], "web");
    assert_eq!(config.routes.len(), 3, "no default route");
    assert_eq!(config.routes[1].when.levels, LevelSet::from(Level::Error));
    assert_eq!(config.retention.files, Some(3));

    // Faults and warnings have their places in the document.
    let table = [
        (
            "<seelog minlevel=\"inof\"/>",
            "seelog.xml:1:19: error:",
            "did you mean `info`?",
        ),
        (
            "<seelog>\n<outputs><custom name=\"x\"/></outputs></seelog>",
            "seelog.xml:2:",
            "custom",
        ),
        (
            "<seelog>\n<outputs><conn net=\"ipx\" addr=\"x\"/></outputs></seelog>",
            "seelog.xml:2:10: error:",
            "is no network",
        ),
        (
            "<seelog><outputs><rollingfile type=\"size\" filename=\"x\" maxsize=\"0\"/></outputs></seelog>",
            "seelog.xml:1:",
            "warning",
        ),
    ];
    for (xml, place, what) in table {
        let (_, said) = read_with(xml, "");
        assert!(
            said.contains(place) && said.contains(what),
            "{xml}:\n{said}"
        );
    }
    let (_, said) = read_with(xml, "[log.route.x]\nto = [\"rolling:all.log\"]\n");
    assert!(said.contains("the same file"), "{said}");
}

#[test]
fn faults_are_told() {
    let table = [
        ("level = \"wran\"", "m.toml:2:9:", "did you mean `warn`?"),
        ("level = 3", "m.toml:2:9:", "a string"),
        ("format = \"jsn\"", "m.toml:2:10:", "did you mean `json`?"),
        (
            "import = \"/no/seelog.xml\"",
            "m.toml:2:10:",
            "cannot read /no/seelog.xml: no such file",
        ),
        (
            "import = \"/no/seelog.xml\"\nlevel = \"warn\"",
            "m.toml:3:9:",
            "`level` stands beside `import`",
        ),
        (
            "[log.sink.a]\ntype = \"tcp\"\naddress = \"x:1\"\ntls = { cert = \"c.pem\" }",
            "m.toml:5:16:",
            "`cert` does nothing without `key`",
        ),
        (
            "[log.sink.a]\ntype = \"loki\"\nurl = \"http://x\"\nheaders = { authorization = \"Bearer abc\" }",
            "m.toml:5:29:",
            "a secret is never written into the config",
        ),
        (
            "[log.sink.a]\ntype = \"otlp\"\nurl = \"http://x\"\nheaders = { Host = \"x\" }",
            "m.toml:5:20:",
            "belongs to the protocol",
        ),
        (
            "[log.sink.a]\ntype = \"tcp\"\naddress = \"x:1\"\nheaders = { A = \"b\" }",
            "m.toml:5:11:",
            "does nothing for a sink of type tcp",
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

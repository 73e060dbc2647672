//! How processes are, what the config says of them, what they wrote.

use mainstay_supervise::{Exit, Phase, Status};
use mainstay_supervisord::xmlrpc::Value;

use crate::fake::{Fake, running, status};
use crate::rpc::{call, fault, texts};

#[test]
fn how_processes_are() {
    let started = Some("2026-01-31T10:58:57Z".parse().unwrap());
    let ended = Some("2026-01-31T11:05:00Z".parse().unwrap());
    let mut up = running("db", "db", 10);
    up.stdout_log = Some("/log/db".into());
    up.stderr_log = Some("/log/db".into());
    up.last_exit = Some(Exit::Code(7));
    up.trouble = Some("an old story".to_owned());
    let died = |exit| Status {
        started,
        ended,
        last_exit: Some(exit),
        trouble: Some("killed by SIGKILL".to_owned()),
        ..status("x", "x", Phase::Exited)
    };
    let signal = Exit::Signal {
        number: 9,
        core: false,
    };
    let failed = |phase, trouble: Option<&str>| Status {
        trouble: trouble.map(str::to_owned),
        last_exit: Some(Exit::Code(1)),
        ..status("x", "x:y", phase)
    };
    // (status, state, name, spawnerr, exitstatus, description)
    for (status, state, name, error, exit, description) in [
        (up.clone(), 20, "RUNNING", "", 0, "pid 10, uptime 1:01:03"),
        (
            status("x", "x", Phase::Stopped),
            0,
            "STOPPED",
            "",
            0,
            "Not started",
        ),
        (
            Status {
                trouble: None,
                phase: Phase::Stopped,
                ..died(Exit::Code(0))
            },
            0,
            "STOPPED",
            "",
            0,
            "Jan 31 11:05 AM",
        ),
        (
            Status {
                ended: None,
                trouble: None,
                last_exit: None,
                ..died(signal)
            },
            100,
            "EXITED",
            "",
            0,
            "Jan 31 12:00 PM",
        ),
        (
            died(Exit::Code(3)),
            100,
            "EXITED",
            "Bad exit code 3",
            3,
            "Jan 31 11:05 AM",
        ),
        (
            died(signal),
            100,
            "EXITED",
            "Bad exit code -1",
            -1,
            "Jan 31 11:05 AM",
        ),
        (
            failed(Phase::Backoff, Some("Exited too quickly")),
            30,
            "BACKOFF",
            "Exited too quickly",
            0,
            "Exited too quickly",
        ),
        (
            failed(Phase::Fatal, None),
            200,
            "FATAL",
            "",
            0,
            "unknown error (try \"tail y\")",
        ),
        (
            failed(Phase::Starting, Some("old")),
            10,
            "STARTING",
            "",
            0,
            "",
        ),
        (failed(Phase::Stopping, None), 40, "STOPPING", "", 0, ""),
        (
            failed(Phase::Unknown, Some("EPERM")),
            1000,
            "UNKNOWN",
            "EPERM",
            0,
            "",
        ),
    ] {
        let whole = if status.process == "x:y" {
            "x:y"
        } else {
            &status.group
        };
        let whole = whole.to_owned();
        let rpc = Fake::new(vec![status]).rpc();
        let info = call(&rpc, "supervisor.getProcessInfo", &texts(&[&whole])).unwrap();
        for (part, expected) in [
            ("state", state.into()),
            ("statename", name.into()),
            ("spawnerr", error.into()),
            ("exitstatus", exit.into()),
            ("description", description.into()),
        ] {
            assert_eq!(info.get(part), Some(&expected), "{name} {part}");
        }
        let all = call(&rpc, "supervisor.getAllProcessInfo", &[]).unwrap();
        assert_eq!(all.items(), [info]);
    }
    let rpc = Fake::new(vec![up]).rpc();
    let info = call(&rpc, "supervisor.getProcessInfo", &texts(&["db"])).unwrap();
    assert_eq!(
        info,
        Value::from([
            ("name", "db".into()),
            ("group", "db".into()),
            ("start", 1_769_857_137.into()),
            ("stop", 0.into()),
            ("now", 1_769_860_800.into()),
            ("state", 20.into()),
            ("statename", "RUNNING".into()),
            ("spawnerr", "".into()),
            ("exitstatus", 0.into()),
            ("logfile", "/log/db".into()),
            ("stdout_logfile", "/log/db".into()),
            ("stderr_logfile", "".into()),
            ("pid", 10.into()),
            ("description", "pid 10, uptime 1:01:03".into()),
        ])
    );
}

#[test]
fn all_are_sorted_by_group_and_name() {
    let rpc = Fake::new(vec![
        status("shop", "web:1", Phase::Stopped),
        status("shop", "shop:b", Phase::Stopped),
        status("db", "db", Phase::Stopped),
        status("shop", "shop:web", Phase::Stopped),
        status("shop", "a", Phase::Stopped),
    ])
    .rpc();
    let all = call(&rpc, "supervisor.getAllProcessInfo", &[]).unwrap();
    let names: Vec<_> = all
        .items()
        .iter()
        .map(|it| it.get("name").and_then(Value::as_str).unwrap())
        .collect();
    assert_eq!(names, ["db", "a", "b", "web", "web_1"]);
}

#[test]
fn what_the_config_says() {
    let rpc = Fake::new(vec![]).rpc();
    let all = call(&rpc, "supervisor.getAllConfigInfo", &[]).unwrap();
    assert_eq!(all.items().len(), 2);
    let first = &all.items()[0];
    assert_eq!(first.members().len(), 29);
    for (key, expected) in [
        ("name", "db".into()),
        ("command", "/bin/db <&>".into()),
        ("directory", "none".into()),
        ("uid", "none".into()),
        ("exitcodes", Value::Array(vec![0.into(), 2.into()])),
        ("stdout_logfile", "auto".into()),
        ("stderr_logfile", "none".into()),
        ("serverurl", "http://localhost:9001".into()),
        ("stderr_logfile_maxbytes", i32::MAX.into()),
        ("stopsignal", 15.into()),
        ("inuse", true.into()),
    ] {
        assert_eq!(first.get(key), Some(&expected), "{key}");
    }
}

#[test]
fn logs_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("out");
    std::fs::write(&log, "0123456789").unwrap();
    let mut merged = running("db", "db", 1);
    merged.stdout_log = Some(log.clone());
    merged.stderr_log = Some(log.clone());
    let mut apart = running("web", "web", 2);
    apart.stderr_log = Some(log.clone());
    apart.stdout_log = Some(dir.path().join("missing"));
    let rpc = Fake::new(vec![merged, apart]).rpc();
    let args = |name: &str, offset: i32, length: i32| {
        vec![Value::from(name), offset.into(), length.into()]
    };
    let tail = |data: &str, offset: i32, overflow: bool| {
        Ok(Value::Array(vec![
            data.into(),
            offset.into(),
            overflow.into(),
        ]))
    };
    let missing = format!("NO_FILE: {}", dir.path().join("missing").display());
    for (method, params, expected) in [
        ("readProcessLog", args("db", 2, 3), Ok("234".into())),
        ("readProcessStdoutLog", args("db", -2, 0), Ok("89".into())),
        (
            "readProcessStderrLog",
            args("web", 0, 0),
            Ok("0123456789".into()),
        ),
        (
            "readProcessStderrLog",
            args("db", 0, 0),
            fault(20, "NO_FILE"),
        ),
        (
            "readProcessStdoutLog",
            args("web", 0, 0),
            fault(20, &missing),
        ),
        (
            "readProcessStdoutLog",
            args("db", 0, -1),
            fault(3, "BAD_ARGUMENTS"),
        ),
        (
            "readProcessStdoutLog",
            args("db:*", 0, 0),
            fault(10, "BAD_NAME: db:*"),
        ),
        (
            "readProcessStdoutLog",
            args("no", 0, 0),
            fault(10, "BAD_NAME: no"),
        ),
        ("tailProcessLog", args("db", 0, 4), tail("6789", 10, true)),
        (
            "tailProcessStdoutLog",
            args("db", 6, 4),
            tail("6789", 10, false),
        ),
        (
            "tailProcessStderrLog",
            args("web", 10, 4),
            tail("", 10, false),
        ),
        ("tailProcessStderrLog", args("db", 5, 4), tail("", 0, false)),
        (
            "tailProcessStdoutLog",
            args("web", 5, 4),
            tail("", 0, false),
        ),
        (
            "tailProcessStdoutLog",
            args("no", 5, 4),
            fault(10, "BAD_NAME: no"),
        ),
    ] {
        let method = format!("supervisor.{method}");
        assert_eq!(
            call(&rpc, &method, &params),
            expected,
            "{method} {params:?}"
        );
    }
}

//! What can be asked, and what comes back.

use futures_util::TryStreamExt;
use mainstay_control::wire::{
    ActionRequest, FaultQuery, ForgetRequest, LogLevelRequest, LogQuery, OrderRequest, Outcome,
    RaiseRequest, SCHEMA, SignalRequest, SilenceRequest, State, Stream, UnsilenceRequest,
};
use mainstay_control::{BODY_LIMIT, Error, Kind, Notice, Role, Verb};

use crate::fake::{Rig, post, raw, refusal};

fn query(name: &str) -> LogQuery {
    LogQuery {
        name: name.into(),
        stream: Stream::Stdout,
        lines: None,
        follow: false,
        records: None,
    }
}

#[tokio::test]
async fn looking() {
    let rig = Rig::start();
    let client = rig.client();
    client.ping().await.unwrap();
    let version = client.version().await.unwrap();
    assert_eq!(
        (version.schema, version.version.as_str(), version.pid),
        (SCHEMA, "1.2.3", 77)
    );
    let status = client.status().await.unwrap();
    assert_eq!(status.host, "shop1");
    assert_eq!(status.programs[0].state, State::Running);
    assert_eq!(status.programs[0].pid, Some(812));
    assert_eq!(status.warnings, ["the clock is off"]);
    let query = FaultQuery {
        app: Some("a&b=c".into()),
        since: Some("2026-11-22T06:00:00Z".parse().unwrap()),
        severity: Some("error".into()),
        limit: Some(5),
    };
    let faults = client.faults(&query).await.unwrap();
    let fault = &faults.faults[0];
    assert_eq!(Some(&fault.app), query.app.as_ref());
    assert_eq!(Some(fault.first), query.since);
    assert_eq!((fault.severity.as_str(), fault.count), ("error", 5));
    let fault = client.fault("k7q29 xwd4m").await.unwrap();
    assert_eq!(fault.fault.code, "K7Q29-XWD4M");
    let unknown = client.fault("x").await.unwrap_err();
    assert_eq!(unknown.kind, Kind::UnknownName);
    {
        let callers = rig.daemon.callers.lock().unwrap();
        let caller = callers[0];
        assert_eq!(caller.role, Role::Admin);
        assert_eq!(caller.actor.pid, i32::try_from(std::process::id()).ok());
    }
    assert!(
        rig.daemon.audited().is_empty(),
        "looking is not written down"
    );
    let served = rig.end().await;
    assert_eq!(
        (served.connections, served.strangers, served.unfinished),
        (6, 0, 0)
    );
}

#[tokio::test]
async fn numbers_are_text_for_prometheus() {
    let rig = Rig::start();
    let request = b"GET /v1/metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = raw(&rig.path, request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    let up = "mainstay_program_up{group=\"\",name=\"web\",program=\"web\"} 1\n";
    assert!(body.contains(up), "{body}");
    assert!(rig.daemon.audited().is_empty());
    rig.end().await;
}

#[tokio::test]
async fn acting_is_written_down() {
    let rig = Rig::start();
    let client = rig.client();
    let started = client
        .start(&ActionRequest::new(["web", "web:1"], true))
        .await
        .unwrap();
    assert_eq!(started.verb, Verb::Start);
    assert_eq!(started.results[0].state, Some(State::Running));
    assert_eq!((started.results.len(), started.exit_code()), (2, 0));
    let stopped = client
        .stop(&ActionRequest::new(["web"], false))
        .await
        .unwrap();
    assert_eq!(stopped.results[0].outcome, Outcome::Stopped);
    let restarted = client
        .restart(&ActionRequest::new(["web", "nobody"], false))
        .await
        .unwrap();
    assert_eq!(restarted.exit_code(), 4);
    let signalled = client
        .signal(&SignalRequest::new(["web"], "HUP"))
        .await
        .unwrap();
    assert_eq!(signalled.results[0].outcome, Outcome::Signalled);
    assert_eq!(
        client.reopen_logs().await.unwrap().detail.as_deref(),
        Some("3 files")
    );
    let debug = LogLevelRequest::new(Some("api::db".into()), "debug", Some(600));
    assert_eq!(
        client.log_level(&debug).await.unwrap().detail.as_deref(),
        Some("debug")
    );
    let raised = client
        .raise_alert(&RaiseRequest::new("blog", "it broke"))
        .await
        .unwrap();
    assert_eq!(raised.detail.as_deref(), Some("it broke"));
    let mut over = RaiseRequest::new("blog", "");
    over.fingerprint = Some("x".to_owned());
    over.resolve = true;
    client.raise_alert(&over).await.unwrap();
    let mut silence = SilenceRequest::new(60, "deploy");
    silence.app = Some("blog".to_owned());
    let silenced = client.silence_alerts(&silence).await.unwrap();
    assert_eq!((silenced.id, silenced.until.as_second()), (7, 60));
    client
        .unsilence_alerts(&UnsilenceRequest::new(7))
        .await
        .unwrap();
    let tried = client.test_alerts().await.unwrap();
    assert_eq!(tried.tally(), (1, 1));
    let all = client.alerts().await.unwrap();
    assert_eq!(all.alerts[0].key, "blog/x");
    let skip = OrderRequest::skip("K7Q29-XWD4M", "crm.create", "done by hand");
    let ordered = client.order(&skip).await.unwrap();
    assert_eq!(ordered.order.order.step.as_deref(), Some("crm.create"));
    let codes = vec!["K7Q29-XWD4M".to_owned(), "x".to_owned()];
    let forgot = client.forget_faults(&ForgetRequest::new(codes)).await;
    assert_eq!(forgot.unwrap().detail.as_deref(), Some("K7Q29-XWD4M x"));
    client.shutdown().await.unwrap();
    assert_eq!(
        rig.daemon.audited(),
        [
            "(admin): start web web:1: done",
            "(admin): stop web: done",
            "(admin): restart web nobody: partly: 1 done, 1 not",
            "(admin): signal HUP to web: done",
            "(admin): reopen_logs: done",
            "(admin): log_level api::db=debug: done",
            "(admin): raise_alert blog/it broke: done",
            "(admin): raise_alert blog/x (over): done",
            "(admin): silence_alerts app=blog for 60s: done",
            "(admin): unsilence_alerts 7: done",
            "(admin): test_alerts: partly: 1 done, 1 not",
            "(admin): order_fault skip K7Q29-XWD4M crm.create: done",
            "(admin): forget_faults K7Q29-XWD4M x: done",
            "(admin): shutdown: done",
        ]
    );
    rig.end().await;
}

#[tokio::test]
async fn errors_arrive_as_they_were() {
    let rig = Rig::start();
    let client = rig.client();
    let error = client
        .start(&ActionRequest::new(["nobody"], false))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        Error::new(Kind::UnknownName, "no program is called nobody").help("there is web")
    );
    let error = client
        .signal(&SignalRequest::new(["web"], "FLY"))
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.exit_code()), (Kind::Usage, 2));
    let error = client
        .start(&ActionRequest::new::<String>([], false))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert_eq!(
        client.logs(&query("nobody")).await.unwrap_err().kind,
        Kind::UnknownName
    );
    assert_eq!(
        rig.daemon.audited(),
        [
            "(admin): start nobody: failed: no program is called nobody",
            "(admin): signal FLY to web: failed: no such signal",
        ]
    );
    rig.end().await;
}

#[tokio::test]
async fn a_panic_of_the_daemon_is_an_answer_and_an_audit_entry() {
    let rig = Rig::start();
    let error = rig
        .client()
        .start(&ActionRequest::new(["panic"], false))
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.exit_code()), (Kind::Bug, 70));
    assert_eq!(
        rig.daemon.audited(),
        ["(admin): start panic: unknown: cut off while under way"]
    );
    rig.client().ping().await.unwrap();
    rig.end().await;
}

#[tokio::test]
async fn what_was_begun_goes_on_without_its_client() {
    let rig = Rig::start();
    let client = rig.client();
    let asking =
        tokio::spawn(async move { client.stop(&ActionRequest::new(["slow"], true)).await });
    rig.until("the daemon was asked", |fake| {
        !fake.callers.lock().unwrap().is_empty()
    })
    .await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert!(rig.daemon.audited().is_empty(), "not done yet");
    rig.daemon.gate.add_permits(1);
    rig.until("it was done", |fake| {
        fake.audited() == ["(admin): stop slow: done"]
    })
    .await;
    rig.end().await;
}

#[tokio::test]
async fn logs_are_bytes() {
    let rig = Rig::start();
    let client = rig.client();
    let wanted = LogQuery {
        stream: Stream::Stderr,
        lines: Some(20),
        ..query("web:0 a/b?商%")
    };
    let chunks: Vec<_> = client
        .logs(&wanted)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        chunks.concat(),
        b"web:0 a/b?\xe5\x95\x86% stderr Some(20)\n\xff\x00raw\n"
    );
    rig.end().await;
}

#[tokio::test]
async fn a_log_that_breaks_off_says_so() {
    let rig = Rig::start();
    let mut stream = rig.client().logs(&query("broken")).await.unwrap();
    let mut seen = Vec::new();
    let error = loop {
        match stream.chunk().await {
            Some(Ok(chunk)) => seen.extend_from_slice(&chunk),
            Some(Err(error)) => break error,
            None => panic!("the end came as if nothing were missing"),
        }
    };
    assert_eq!(
        seen, b"broken stdout None\n",
        "what came before it has arrived"
    );
    assert_eq!(error.kind, Kind::NotReachable);
    assert!(stream.chunk().await.is_none());
    let why = "the disk is gone".to_owned();
    assert_eq!(
        *rig.daemon.notices.lock().unwrap(),
        [Notice::LogsBrokeOff {
            name: "broken".into(),
            why
        }]
    );
    rig.end().await;
}

#[tokio::test]
async fn leaving_ends_a_follower() {
    use std::sync::atomic::Ordering::SeqCst;
    let rig = Rig::start();
    let follow = LogQuery {
        follow: true,
        ..query("web")
    };
    let mut stream = rig.client().logs(&follow).await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "web stdout None\n");
    assert_eq!(rig.daemon.followers.load(SeqCst), 1);
    drop(stream);
    rig.until("the follower is dropped", |fake| {
        fake.followers.load(SeqCst) == 0
    })
    .await;
    rig.end().await;
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let rig = Rig::start();
    let start = "/v1/programs/start";
    let deep = format!(r#"{{"names":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let huge = format!(r#"{{"names":["{}"]}}"#, "x".repeat(BODY_LIMIT));
    let bare = |line: &str| format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    // (why, request, kind, what the message says)
    let table: Vec<(&str, Vec<u8>, Kind, &str)> = vec![
        (
            "not JSON",
            post(start, "names=web"),
            Kind::Usage,
            "line 1 column",
        ),
        (
            "cut short",
            post(start, r#"{"names":["#),
            Kind::Usage,
            "EOF",
        ),
        ("empty", post(start, ""), Kind::Usage, "EOF"),
        (
            "something after it",
            post(start, r#"{"names":["web"]}x"#),
            Kind::Usage,
            "trailing",
        ),
        (
            "unknown field",
            post(start, r#"{"names":["web"],"wiat":true}"#),
            Kind::Usage,
            "wiat",
        ),
        (
            "missing field",
            post(start, r#"{"wait":true}"#),
            Kind::Usage,
            "names",
        ),
        (
            "wrong kind of value",
            post(start, r#"{"names":"web"}"#),
            Kind::Usage,
            "sequence",
        ),
        (
            "given twice",
            post(start, r#"{"names":["a"],"names":["b"]}"#),
            Kind::Usage,
            "duplicate",
        ),
        ("too deep", post(start, &deep), Kind::Usage, "start"),
        (
            "no names",
            post(start, r#"{"names":[]}"#),
            Kind::Usage,
            "no program",
        ),
        ("too large", post(start, &huge), Kind::TooLarge, "65536"),
        (
            "other schema",
            post(start, r#"{"schema":9,"names":["a"]}"#),
            Kind::OtherVersion,
            "9",
        ),
        (
            "wrong method",
            bare(&format!("GET {start}")).into(),
            Kind::WrongMethod,
            "GET",
        ),
        (
            "wrong method",
            post("/v1/status", "{}"),
            Kind::WrongMethod,
            "POST",
        ),
        (
            "no such path",
            bare("GET /v2/status").into(),
            Kind::NoSuchRoute,
            "/v2/status",
        ),
        ("no path", bare("GET /").into(), Kind::NoSuchRoute, "/"),
        (
            "no content type",
            bare(&format!("POST {start}")).into(),
            Kind::NotJson,
            "JSON",
        ),
        (
            "unknown parameter",
            bare("GET /v1/programs/web/logs?folow=true").into(),
            Kind::Usage,
            "folow",
        ),
        (
            "bad parameter",
            bare("GET /v1/programs/web/logs?lines=-1").into(),
            Kind::Usage,
            "lines",
        ),
        (
            "name that is not UTF-8",
            bare("GET /v1/programs/%FF/logs").into(),
            Kind::Usage,
            "name",
        ),
        (
            "name with a control character",
            bare("GET /v1/programs/a%0Ab/logs").into(),
            Kind::Usage,
            "name",
        ),
    ];
    for (why, request, kind, says) in table {
        let (status, error) = refusal(&raw(&rig.path, &request).await);
        assert_eq!(
            (status, error.kind),
            (kind.status(), kind),
            "{why}: {error}"
        );
        assert!(error.message.contains(says), "{why}: {error}");
        assert!(error.help.is_some(), "{why}: {error}");
    }
    assert!(
        rig.daemon.callers.lock().unwrap().is_empty(),
        "the daemon was never bothered"
    );
    assert!(rig.daemon.audited().is_empty());
    rig.client().ping().await.unwrap();
    rig.end().await;
}

#[tokio::test]
async fn a_schema_may_be_left_out() {
    let rig = Rig::start();
    let answer = raw(
        &rig.path,
        &post("/v1/programs/start", r#"{"names":["web"]}"#),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""outcome":"started""#), "{answer}");
    rig.end().await;
}

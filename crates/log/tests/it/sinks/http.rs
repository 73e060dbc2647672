//! OTLP and Loki against a scripted server.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use mainstay_base::Secret;
use mainstay_log::sinks::otlp::render;
use mainstay_log::sinks::{LokiConfig, LokiSink, OtlpConfig, OtlpSink, Timeouts};
use mainstay_log::{Level, Record, Sink};
use rustls::ServerConfig;
use serde_json::Value;

use super::tls::Certificate;
use super::{Records, Stream, give, give_all, notices};
use crate::clock;

/// What the server does with a request.
#[derive(Clone, Debug)]
enum Act {
    /// Answers, and keeps the connection.
    Answer(u16, &'static str, &'static str),
    /// Answers 200 and closes without having said that it will.
    TakeAndClose,
    /// Closes without an answer; what it read does not count.
    Hang,
    /// Answers nothing until the other side gives up.
    Stall,
}

const OK: Act = Act::Answer(200, "", "{}");

#[derive(Default)]
pub(super) struct Seen {
    connections: usize,
    /// Head and body of the requests that were answered.
    pub(super) requests: Vec<(String, Value)>,
}

pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// Does what the script says, and then answers 200.
    fn start(script: Vec<Act>, tls: Option<&Certificate>) -> Self {
        Self::start_with(script, tls.map(|certificate| certificate.server(None)))
    }

    /// Answers 200 to whoever can show who they are.
    pub(super) fn secure(tls: Arc<ServerConfig>) -> Self {
        Self::start_with(Vec::new(), Some(tls))
    }

    fn start_with(script: Vec<Act>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut script = VecDeque::from(script);
        let shared = Arc::clone(&seen);
        // Ends with the process: a listener cannot be told to stop.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                shared.lock().unwrap().connections += 1;
                let stream: Box<dyn Stream> = match &tls {
                    None => Box::new(stream),
                    Some(tls) => Box::new(super::tls::accept(tls, stream)),
                };
                // An error is the end of a connection, which the other side may want.
                let _ = serve(stream, &mut script, &shared);
            }
        });
        Self { url, seen }
    }

    pub(super) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

fn serve(
    stream: Box<dyn Stream>,
    script: &mut VecDeque<Act>,
    seen: &Mutex<Seen>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .unwrap()
            .parse()
            .unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        if head.contains("Content-Encoding: gzip") {
            let mut plain = Vec::new();
            GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
            body = plain;
        }
        let body = serde_json::from_slice(&body).unwrap();
        let act = script.pop_front().unwrap_or(OK);
        let (status, headers, text) = match act {
            Act::Answer(status, headers, text) => (status, headers, text),
            Act::TakeAndClose => (200, "", ""),
            Act::Hang => return Ok(()),
            Act::Stall => {
                stream.read_line(&mut head)?;
                return Ok(());
            }
        };
        seen.lock().unwrap().requests.push((head, body));
        let length = text.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{text}");
        stream.get_mut().write_all(answer.as_bytes())?;
        stream.get_mut().flush()?;
        if matches!(act, Act::TakeAndClose) {
            return Ok(());
        }
    }
}

fn at(number: usize) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(number).unwrap()).unwrap()
}

/// Records as OTLP has them, with a number for a message.
fn rendered(numbers: std::ops::Range<usize>) -> Records {
    let mut records = Records::default();
    for number in numbers {
        let level = Level::ALL[number % 6];
        let message = number.to_string();
        let mut bytes = Vec::new();
        render(
            &Record::new(at(number), level, "t", message.as_str()),
            &mut bytes,
        );
        records.add_at(at(number), level, &bytes);
    }
    records
}

fn log_records(body: &Value) -> &Vec<Value> {
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        .as_array()
        .unwrap()
}

/// The messages of all requests with this status, in order.
fn messages(seen: &Seen) -> Vec<usize> {
    seen.requests
        .iter()
        .flat_map(|(_, body)| log_records(body))
        .map(|record| {
            record["body"]["stringValue"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

fn otlp(url: &str) -> OtlpConfig {
    let mut config = OtlpConfig::new(url, "shop");
    config.http.timeouts = Timeouts {
        read: Duration::from_millis(500),
        ..Timeouts::default()
    };
    config
}

#[test]
fn otlp_posts_what_the_specification_asks_for() {
    let certificate = Certificate::new();
    for (gzip, tls) in [(true, None), (false, None), (true, Some(&certificate))] {
        let server = Server::start(Vec::new(), tls);
        let mut config = otlp(&server.url);
        config.http.gzip = gzip;
        config.http.tls = certificate.trusted();
        config.http.headers = vec![(
            "Authorization".to_owned(),
            Secret::new("Bearer s3cret").into(),
        )];
        config
            .resource
            .push(("host.name".to_owned(), "web \"1\"".to_owned()));
        assert!(!format!("{config:?}").contains("s3cret"));
        let clock = clock();
        let mut sink = OtlpSink::open(config, clock.clone()).unwrap();
        for round in 0..5 {
            give_all(&mut sink, rendered(round * 10..round * 10 + 10), &clock);
        }
        let seen = server.seen();
        assert_eq!(seen.connections, 1, "the connection is kept");
        assert_eq!(messages(&seen), (0..50).collect::<Vec<_>>());
        let (head, body) = &seen.requests[0];
        assert!(
            head.starts_with("POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1:"),
            "{head}"
        );
        assert!(
            head.contains("\r\nContent-Type: application/json\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nAuthorization: Bearer s3cret\r\n"),
            "{head}"
        );
        assert_eq!(head.contains("gzip"), gzip);
        assert_eq!(
            body["resourceLogs"][0]["resource"]["attributes"],
            serde_json::json!([
                { "key": "service.name", "value": { "stringValue": "shop" } },
                { "key": "host.name", "value": { "stringValue": "web \"1\"" } },
            ])
        );
        let record = &log_records(body)[3];
        assert_eq!(record["timeUnixNano"], "1800000003000000000");
        assert_eq!(record["severityNumber"], 13);
        assert_eq!(notices(&mut sink), Vec::<String>::new());
    }
}

#[test]
fn answers_and_what_becomes_of_the_records() {
    // Name, script, whether the first try is an error, lost by level, messages the server has, notice.
    type Row = (
        &'static str,
        Vec<Act>,
        Option<&'static str>,
        [u64; 6],
        Vec<usize>,
        Option<&'static str>,
    );
    let all: Vec<usize> = (0..6).collect();
    let twice = || (0..6).chain(0..6).collect::<Vec<_>>();
    let table: Vec<Row> = vec![
        ("taken", vec![OK], None, [0; 6], all.clone(), None),
        (
            "some refused",
            vec![Act::Answer(
                200,
                "",
                r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too\nold"}}"#,
            )],
            None,
            [1, 1, 0, 0, 0, 0],
            all.clone(),
            Some("took the others and refused these: too old"),
        ),
        (
            "a warning",
            vec![Act::Answer(
                200,
                "",
                r#"{"partialSuccess":{"errorMessage":"slow down"}}"#,
            )],
            None,
            [0; 6],
            all.clone(),
            Some("took all records and says: slow down"),
        ),
        (
            "refused for good",
            vec![Act::Answer(400, "", r#"{"code":3,"message":"bad"}"#)],
            None,
            [1; 6],
            all.clone(),
            Some("6 records lost (trace 1, debug 1, info 1, warn 1, error 1, critical 1)"),
        ),
        (
            "busy",
            vec![Act::Answer(503, "", "")],
            Some("answered 503"),
            [0; 6],
            twice(),
            None,
        ),
        (
            "wrong password",
            vec![Act::Answer(401, "", "who are you?")],
            Some("answered 401: who are you?"),
            [0; 6],
            twice(),
            None,
        ),
        (
            "moved",
            vec![Act::Answer(302, "Location: http://127.0.0.1:1/\r\n", "")],
            Some("answered 302"),
            [0; 6],
            twice(),
            None,
        ),
        (
            "no answer",
            vec![Act::Hang],
            Some("without an answer"),
            [0; 6],
            all.clone(),
            None,
        ),
        (
            "slow",
            vec![Act::Stall],
            Some("in time"),
            [0; 6],
            all.clone(),
            None,
        ),
        (
            "too large",
            vec![Act::Answer(413, "", ""), Act::Answer(413, "", "")],
            None,
            [0; 6],
            // All, the first half, and then in quarters.
            [0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3, 4, 5].to_vec(),
            None,
        ),
    ];
    for (name, script, fails, lost, has, notice) in table {
        let server = Server::start(script, None);
        let clock = clock();
        let mut sink = OtlpSink::open(otlp(&server.url), clock.clone()).unwrap();
        let mut records = rendered(0..6);
        let result = give(&mut sink, &mut records);
        match (fails, result) {
            (None, Ok(())) => {}
            (Some(part), Err(error)) => {
                assert!(error.to_string().contains(part), "{name}: {error}");
                // At once again it is not even asked.
                let requests = server.seen().requests.len();
                assert!(give(&mut sink, &mut records).is_err(), "{name}");
                assert_eq!(server.seen().requests.len(), requests, "{name}");
                clock.advance(Duration::from_mins(1));
                give_all(&mut sink, records, &clock);
            }
            (_, other) => panic!("{name}: {other:?}"),
        }
        assert_eq!(messages(&server.seen()), has, "{name}");
        assert_eq!(sink.take_lost(), lost, "{name}");
        let told = notices(&mut sink);
        match notice {
            None => assert!(told.is_empty(), "{name}: {told:?}"),
            Some(part) => assert!(told[0].contains(part), "{name}: {told:?}"),
        }
    }
}

#[test]
fn a_server_is_left_alone_as_long_as_it_asks() {
    let busy = Act::Answer(429, "Retry-After: 120\r\n", "");
    let server = Server::start(vec![busy], None);
    let clock = clock();
    let mut sink = OtlpSink::open(otlp(&server.url), clock.clone()).unwrap();
    let mut records = rendered(0..3);
    assert!(give(&mut sink, &mut records).is_err());
    clock.advance(Duration::from_secs(119));
    assert!(give(&mut sink, &mut records).is_err());
    assert_eq!(server.seen().requests.len(), 1);
    clock.advance(Duration::from_secs(1));
    give(&mut sink, &mut records).unwrap();
    assert_eq!(server.seen().requests.len(), 2);
}

#[test]
fn nothing_is_lost_or_doubled_over_fifty_connections() {
    // A server that closes after each answer, after some without having read the next.
    let script = (0..100)
        .map(|n| match n % 4 {
            1 => Act::Hang,
            _ => Act::TakeAndClose,
        })
        .collect();
    let server = Server::start(script, None);
    let clock = clock();
    let mut sink = OtlpSink::open(otlp(&server.url), clock.clone()).unwrap();
    for round in 0..60 {
        give_all(&mut sink, rendered(round * 5..round * 5 + 5), &clock);
    }
    let seen = server.seen();
    assert!(seen.connections > 60, "{}", seen.connections);
    assert_eq!(messages(&seen), (0..300).collect::<Vec<_>>());
}

#[test]
fn large_batches_go_in_parts() {
    let server = Server::start(Vec::new(), None);
    let clock = clock();
    let mut config = otlp(&server.url);
    config.http.largest = 2000;
    let mut sink = OtlpSink::open(config, clock.clone()).unwrap();
    give_all(&mut sink, rendered(0..100), &clock);
    let seen = server.seen();
    assert!(seen.requests.len() > 5, "{}", seen.requests.len());
    assert_eq!(messages(&seen), (0..100).collect::<Vec<_>>());
}

#[test]
fn loki_gets_streams_by_level() {
    let server = Server::start(
        vec![
            Act::Answer(204, "", ""),
            Act::Answer(500, "", "ring is empty"),
            Act::Answer(400, "", "entry too far behind"),
        ],
        None,
    );
    let clock = clock();
    let mut config = LokiConfig::new(server.url.clone(), "shop");
    config.labels.push(("host".to_owned(), "web1".to_owned()));
    let mut sink = LokiSink::open(config, clock.clone()).unwrap();
    let mut records = Records::default();
    for (level, text) in [
        (Level::Info, "a\n"),
        (Level::Error, "b \"quoted\"\n"),
        (Level::Info, "c\n"),
    ] {
        records.add_at(at(0), level, text.as_bytes());
    }
    give(&mut sink, &mut records.clone()).unwrap();
    {
        let seen = server.seen();
        let (head, body) = &seen.requests[0];
        assert!(
            head.starts_with("POST /loki/api/v1/push HTTP/1.1\r\n"),
            "{head}"
        );
        assert_eq!(
            *body,
            serde_json::json!({ "streams": [
                {
                    "stream": { "level": "info", "job": "shop", "host": "web1" },
                    "values": [["1800000000000000000", "a"], ["1800000000000000001", "c"]],
                },
                {
                    "stream": { "level": "error", "job": "shop", "host": "web1" },
                    "values": [["1800000000000000000", "b \"quoted\""]],
                },
            ] })
        );
    }
    let mut again = records.clone();
    let error = give(&mut sink, &mut again).unwrap_err();
    assert!(
        error.to_string().ends_with("answered 500: ring is empty"),
        "{error}"
    );
    clock.advance(Duration::from_mins(1));
    give(&mut sink, &mut again).unwrap();
    assert_eq!(sink.take_lost(), [0, 0, 2, 0, 1, 0]);
    let told = notices(&mut sink);
    assert!(told[0].contains("entry too far behind"), "{told:?}");
    let seen = server.seen();
    assert_eq!(
        seen.requests[1].1, seen.requests[2].1,
        "a second try says the same"
    );
    let first = &seen.requests[1].1["streams"][0]["values"][0][0];
    assert_eq!(first, "1800000000000000002", "times grow");
}

#[test]
fn configs_that_cannot_work_are_refused() {
    let clock = clock();
    for url in ["localhost:4318", "http://user:pw@h/", "ftp://h"] {
        let error = OtlpSink::open(OtlpConfig::new(url, "s"), clock.clone()).err();
        assert!(error.is_some(), "{url}");
    }
    for (name, value) in [("X Y", "v"), ("", "v"), ("X", "a\r\nEvil: 1")] {
        let mut config = OtlpConfig::new("http://h", "s");
        config.http.headers = vec![(name.to_owned(), Secret::new(value).into())];
        assert!(OtlpSink::open(config, clock.clone()).is_err(), "{name}");
    }
    for label in ["", "1a", "a-b", "level"] {
        let mut config = LokiConfig::new("http://h", "s");
        config.labels = vec![(label.to_owned(), "v".to_owned())];
        assert!(LokiSink::open(config, clock.clone()).is_err(), "{label}");
    }
}

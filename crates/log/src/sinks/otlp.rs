//! OpenTelemetry logs: OTLP/HTTP with JSON (OTLP specification 1.x, "OTLP/HTTP"; the JSON mapping of
//! `opentelemetry/proto/logs/v1/logs.proto`).
//!
//! [`render`] makes the `logRecord` of a record where that is written; the [`OtlpSink`] puts them into
//! the envelope and posts it.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use mainstay_base::Clock;

use super::http::{Answer, Http, HttpConfig, Passing, post_batch};
use super::losses::Losses;
use super::text::{self, Raw};
use crate::batch::{Batch, Entry, Unwritten};
use crate::error::{Error, Notice};
use crate::level::Level;
use crate::record::{Record, Value};
use crate::sink::Sink;

/// The path of an address that has none.
const PATH: &str = "/v1/logs";

/// Where OpenTelemetry logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The address, for instance `http://localhost:4318`; without a path it is `/v1/logs`.
    pub http: HttpConfig,
    /// Attributes of what is logging: `service.name`, `host.name` and others.
    pub resource: Vec<(String, String)>,
}

impl OtlpConfig {
    /// An address and a `service.name`.
    pub fn new(url: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            http: HttpConfig::new(url),
            resource: vec![("service.name".to_owned(), service.into())],
        }
    }
}

/// Appends the record as one JSON object of the type `LogRecord`, without a line feed.
///
/// Fields become attributes. Those named `trace_id` (32 hexadecimal digits) and `span_id` (16) become
/// what they say. `code.file.path`, `code.line.number`, `code.function.name` and `log.iostream` are
/// the names of the semantic conventions; `target`, `program` and `spans` have none.
pub fn render(record: &Record<'_>, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, here and below.
    let _ = write!(
        Raw(out),
        "{{\"timeUnixNano\":\"{}\",\"severityNumber\":{},\"severityText\":\"{}\",\"body\":{{\"stringValue\":",
        record.time.as_nanosecond().max(0),
        severity(record.level),
        record.level
    );
    text::json_of(out, |json| text::message(record.message, json));
    out.extend_from_slice(b"},\"attributes\":[");
    let mut first = true;
    let mut trace = (None, None);
    match record.program {
        None => attribute("target", Value::Text(record.target), &mut first, out),
        Some(program) => attribute("program", Value::Text(program), &mut first, out),
    }
    if let Some(stream) = record.stream {
        attribute("log.iostream", Value::Text(stream.name()), &mut first, out);
    }
    if let Some(location) = record.location {
        attribute(
            "code.file.path",
            Value::Text(location.file),
            &mut first,
            out,
        );
        let line = Value::Unsigned(location.line.into());
        attribute("code.line.number", line, &mut first, out);
        if let Some(function) = location.function {
            attribute("code.function.name", Value::Text(function), &mut first, out);
        }
    }
    if let Some(spans) = record.spans {
        attribute("spans", Value::Text(spans.text), &mut first, out);
    }
    for (key, value) in record.fields {
        match (*key, identifier(*value)) {
            ("trace_id", Some(id)) if id.len() == 32 => trace.0 = Some(id),
            ("span_id", Some(id)) if id.len() == 16 => trace.1 = Some(id),
            _ => attribute(key, *value, &mut first, out),
        }
    }
    out.push(b']');
    for (name, id) in [("traceId", trace.0), ("spanId", trace.1)] {
        if let Some(id) = id {
            let _ = write!(Raw(out), ",\"{name}\":\"{id}\"");
        }
    }
    out.push(b'}');
}

/// The number of the data model ("Severity Fields").
const fn severity(level: Level) -> u8 {
    match level {
        Level::Trace => 1,
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warn => 13,
        Level::Error => 17,
        Level::Critical => 21,
    }
}

/// A value that may be the id of a trace or span: hexadecimal digits, not all zero.
fn identifier(value: Value<'_>) -> Option<String> {
    let mut text = String::new();
    match value {
        Value::Text(value) => text.push_str(value),
        Value::Display(_) | Value::Debug(_) => text::value(value, &mut text),
        _ => return None,
    }
    let fits = text.len() <= 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0');
    fits.then(|| text.to_ascii_lowercase())
}

fn attribute(key: &str, value: Value<'_>, first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"key\":");
    text::json(key, out);
    out.extend_from_slice(b",\"value\":{");
    match value {
        Value::Null => {}
        Value::Bool(value) => drop(write!(Raw(out), "\"boolValue\":{value}")),
        // 64-bit numbers are text in the JSON of protocol buffers.
        Value::Signed(value) => drop(write!(Raw(out), "\"intValue\":\"{value}\"")),
        Value::Unsigned(value) if i64::try_from(value).is_ok() => {
            let _ = write!(Raw(out), "\"intValue\":\"{value}\"");
        }
        Value::Float(value) if value.is_finite() => {
            let _ = write!(Raw(out), "\"doubleValue\":{value}");
        }
        value => {
            out.extend_from_slice(b"\"stringValue\":");
            text::json_of(out, |json| text::value(value, json));
        }
    }
    out.extend_from_slice(b"}}");
}

/// Posts records to a collector.
///
/// It may get a record twice: when the answer to a post is lost. What a collector refuses for good
/// is counted and said.
pub struct OtlpSink {
    http: Http,
    /// The envelope up to the first record.
    head: Vec<u8>,
    losses: Losses,
}

const TAIL: &[u8] = b"]}]}]}";

impl OtlpSink {
    /// Checks the config and reads certificates; connects at the first record.
    pub fn open(config: OtlpConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let mut head = b"{\"resourceLogs\":[{\"resource\":{\"attributes\":[".to_vec();
        let mut first = true;
        for (key, value) in &config.resource {
            attribute(key, Value::Text(value), &mut first, &mut head);
        }
        head.extend_from_slice(
            b"]},\"scopeLogs\":[{\"scope\":{\"name\":\"mainstay_log\"},\"logRecords\":[",
        );
        Ok(Self {
            http: Http::new(config.http, PATH, clock)?,
            head,
            losses: Losses::default(),
        })
    }
}

fn envelope(head: &[u8], entries: &[Entry<'_>]) -> Vec<u8> {
    let mut body = head.to_vec();
    let mut first = true;
    for entry in entries {
        let record = text::chomped(entry.bytes);
        if record.is_empty() {
            continue;
        }
        if !std::mem::take(&mut first) {
            body.push(b',');
        }
        // What another format rendered, or a wrapper made no JSON of, is the body of a record.
        if is_object(record) {
            body.extend_from_slice(record);
        } else {
            let _ = write!(
                Raw(&mut body),
                "{{\"timeUnixNano\":\"{}\",\"severityNumber\":{},\"severityText\":\"{}\",\"body\":{{\"stringValue\":",
                entry.time.as_nanosecond().max(0),
                severity(entry.level),
                entry.level
            );
            text::json_bytes(record, &mut body);
            body.extend_from_slice(b"}}");
        }
    }
    body.extend_from_slice(TAIL);
    body
}

/// Whether this is a log record: one bad one would have the collector refuse all of them.
fn is_object(record: &[u8]) -> bool {
    record.starts_with(b"{\"timeUnixNano\":\"")
        && serde_json::from_slice::<serde_json::Value>(record).is_ok()
}

/// A collector that took the post may have refused some of its records ("Partial Success").
fn partial(answer: &Answer, entries: &[Entry<'_>], url: &str, losses: &mut Losses) {
    let Ok(said) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        return;
    };
    let partial = &said["partialSuccess"];
    let rejected = &partial["rejectedLogRecords"];
    let rejected = rejected
        .as_u64()
        .or_else(|| rejected.as_str()?.parse().ok())
        .unwrap_or(0);
    let message: String = partial["errorMessage"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if rejected > 0 {
        // Which ones is not told: they are counted as the least grave.
        let mut levels: Vec<&Entry<'_>> = entries.iter().collect();
        levels.sort_by_key(|entry| entry.level);
        let reason = format!("{url} took the others and refused these: {message}");
        for entry in levels
            .iter()
            .take(usize::try_from(rejected).unwrap_or(usize::MAX))
        {
            losses.lose(entry.level, entry.time, &reason);
        }
    } else if !message.is_empty() {
        losses.say(
            Level::Warn,
            format!("{url} took all records and says: {message}"),
        );
    }
}

impl Sink for OtlpSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let head = &self.head;
        let url = self.http.url().to_owned();
        post_batch(
            &mut self.http,
            &mut self.losses,
            batch,
            Passing::Gateways,
            |entries| envelope(head, entries),
            |answer, entries, losses| partial(answer, entries, &url, losses),
        )
    }

    fn reopen(&mut self) -> Result<(), Error> {
        self.http.reopen()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        self.losses.take_notices()
    }

    fn take_lost(&mut self) -> [u64; 6] {
        self.losses.take_lost()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Location, Stream};

    fn time() -> Timestamp {
        "2026-11-22T06:00:00.123456789Z".parse().unwrap()
    }

    fn rendered(record: &Record<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        render(record, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn records() {
        let fields = [
            ("n", Value::Signed(-3)),
            ("big", Value::Unsigned(u64::MAX)),
            ("yes", true.into()),
            ("half", 0.5.into()),
            ("nan", f64::NAN.into()),
            ("none", Value::Null),
            ("trace_id", Value::Text("0AF7651916cd43dd8448eb211c80319c")),
            ("span_id", Value::Text("no id")),
        ];
        let record = Record::new(time(), Level::Critical, "app", "it \"broke\"\n")
            .fields(&fields)
            .location(Some(Location {
                file: "a.rs",
                line: 7,
                function: None,
            }));
        let expected = serde_json::json!({
            "timeUnixNano": "1795327200123456789",
            "severityNumber": 21,
            "severityText": "critical",
            "body": { "stringValue": "it \"broke\"\n" },
            "attributes": [
                { "key": "target", "value": { "stringValue": "app" } },
                { "key": "code.file.path", "value": { "stringValue": "a.rs" } },
                { "key": "code.line.number", "value": { "intValue": "7" } },
                { "key": "n", "value": { "intValue": "-3" } },
                { "key": "big", "value": { "stringValue": "18446744073709551615" } },
                { "key": "yes", "value": { "boolValue": true } },
                { "key": "half", "value": { "doubleValue": 0.5 } },
                { "key": "nan", "value": { "stringValue": "NaN" } },
                { "key": "none", "value": {} },
                { "key": "span_id", "value": { "stringValue": "no id" } },
            ],
            "traceId": "0af7651916cd43dd8448eb211c80319c",
        });
        assert_eq!(rendered(&record), expected);
        let record = Record::new(time(), Level::Info, "web", b"\xff".as_slice())
            .program("web:1", Stream::Stderr);
        let found = rendered(&record);
        assert_eq!(found["body"]["stringValue"], "\u{fffd}");
        assert_eq!(found["attributes"][1]["value"]["stringValue"], "stderr");
    }

    #[test]
    fn an_envelope_is_json_whatever_comes() {
        let entry = |bytes: &'static [u8]| Entry {
            time: time(),
            level: Level::Info,
            bytes,
        };
        let entries = [
            entry(b"{\"timeUnixNano\":\"1\"}\n"),
            entry(b"plain \xff text\n"),
            entry(b"\n"),
            entry(b"{\"timeUnixNano\":\"2\",\n"),
        ];
        let body = envelope(
            b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[",
            &entries,
        );
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let records = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        assert_eq!(records[0]["timeUnixNano"], "1");
        assert_eq!(records[1]["body"]["stringValue"], "plain \u{fffd} text");
        assert_eq!(
            records[2]["body"]["stringValue"],
            "{\"timeUnixNano\":\"2\","
        );
        assert_eq!(records[3], serde_json::Value::Null);
    }

    proptest! {
        #[test]
        fn a_record_is_json_that_says_what_was_said(
            message in any::<Vec<u8>>(),
            text in any::<String>(),
            float in any::<f64>(),
        ) {
            let fields = [(text.as_str(), Value::Text(&text)), ("f", float.into())];
            let record = Record::new(time(), Level::Info, &text, message.as_slice()).fields(&fields);
            let found = rendered(&record);
            prop_assert_eq!(
                found["body"]["stringValue"].as_str().unwrap(),
                String::from_utf8_lossy(&message)
            );
            prop_assert_eq!(found["attributes"][0]["value"]["stringValue"].as_str().unwrap(), &text);
        }
    }
}

//! What joins the lines of a program and what finds faults in the joined text fit each other: the
//! two crates do not know each other, and only here they meet.

use std::fmt::Write as _;
use std::time::Duration;

use mainstay_fault::{Recogniser, Traceback};
use mainstay_log::{Joiner, Limits};

/// The tracebacks of the table of `mainstay-fault`, with their names.
fn traces() -> Vec<(String, String)> {
    let mut traces: Vec<(String, String)> = Vec::new();
    for row in include_str!("../../fault/src/recognise/traces.txt").lines() {
        if let Some(name) = row.strip_prefix("## ") {
            traces.push((name.to_owned(), String::new()));
        } else if let (Some(line), Some((_, text))) = (row.strip_prefix('>'), traces.last_mut()) {
            let line = line.strip_prefix(' ').unwrap_or(line);
            text.push_str(&line.replace("\\t", "\t").replace("\\e", "\x1b"));
            text.push('\n');
        }
    }
    traces
}

/// The tracebacks in the records that the lines become.
fn joined(text: &str) -> Vec<Traceback> {
    let mut found = Vec::new();
    let mut emit = |joined: mainstay_log::Joined<'_>| {
        found.extend(Recogniser::new().find(&String::from_utf8_lossy(joined.bytes)));
    };
    let mut joiner = Joiner::new(Limits::default());
    for line in text.lines() {
        joiner.line(line.as_bytes(), Duration::ZERO, 0, &mut emit);
    }
    joiner.finish(&mut emit);
    found
}

/// What is not one record, or not a whole one: others write in between or in front of each line, there
/// are two of them, the beginning is a line like any other, or is missing. Steps without a beginning are
/// no record, because they are a dump of all threads too.
const IN_PARTS: &[&str] = &[
    "go: lines of others in between",
    "go: recovered and printed",
    "java: beginning is missing",
    "java: lines of others in between",
    "node: a class without the word",
    "node: beginning is missing",
    "node: lines of others in between",
    "python: behind the prefix of a cluster",
    "python: behind the prefix of a container",
    "python: behind the prefix of a system log",
    "python: lines of another thread in between",
    "ruby: rails behind its logger",
    "rust: two panics",
];

#[test]
fn a_record_holds_what_is_recognised() {
    let mut wrong = String::new();
    for (name, text) in traces() {
        let whole = Recogniser::new().find(&text);
        let parts = joined(&text);
        let kind = |found: &Traceback| (found.fingerprint().to_owned(), found.raised().clone());
        let same = match &whole {
            Some(whole) => parts.first().map(kind) == Some(kind(whole)) && parts.len() == 1,
            None => parts.is_empty(),
        };
        if same == IN_PARTS.contains(&name.as_str()) {
            writeln!(wrong, "{name}: {whole:#?}\nfrom records: {parts:#?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

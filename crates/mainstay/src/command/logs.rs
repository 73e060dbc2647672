//! `mainstay logs`

pub(super) mod when;

use std::collections::VecDeque;
use std::io::Write;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_control::records::{Item, Reader};
use mainstay_control::wire::{LogQuery, PATTERN_LIMIT, RecordQuery, Stream};
use mainstay_control::{Client, LogStream};

use crate::cli::{Cli, Logs, StreamChoice};
use crate::command::{self, status::is_meant};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The name under which the daemon's own log is asked for.
pub(crate) const OWN: &str = "mainstay";
/// How many records of the past are shown if nothing is said.
const LINES: u64 = 50;
/// How many outputs are read at once: the daemon has connections for others too.
const TOGETHER: usize = 64;
/// What the names of programs are written in on a terminal, in turn.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// A record of one of several outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    time: Timestamp,
    level: String,
    text: Vec<u8>,
    /// Which of the outputs.
    from: usize,
}

/// An output that is read.
struct Reading {
    from: usize,
    source: LogStream,
    reader: Reader,
    /// Whether the past is over.
    now: bool,
    ended: bool,
}

impl Reading {
    /// The next record; `None` at the end of the past, and of the whole.
    async fn next(&mut self) -> Result<Option<Shown>, Failure> {
        loop {
            let item = self.reader.item().map_err(|why| {
                Failure::new(Exit::Failed, format!("cannot read the logs: {why}"))
                    .help("see with `mainstay version` whether the daemon is of this version")
            })?;
            match item {
                Some(Item::Record { time, level, text }) => {
                    let from = self.from;
                    return Ok(Some(Shown {
                        time,
                        level,
                        text,
                        from,
                    }));
                }
                Some(Item::Now) => {
                    self.now = true;
                    return Ok(None);
                }
                None => {
                    let Some(chunk) = self.source.chunk().await else {
                        self.ended = true;
                        return Ok(None);
                    };
                    self.reader.push(&chunk?);
                }
            }
        }
    }
}

/// How records are written.
struct Style {
    /// By output: the name of the process, and the stream.
    names: Vec<(String, Stream)>,
    /// Whether there are several processes.
    several: bool,
    json: bool,
    color: bool,
}

impl Style {
    fn write(&self, shown: &Shown, out: &mut Vec<u8>) {
        let (process, stream) = &self.names[shown.from];
        if self.json {
            let document = serde_json::json!({
                "schema": 1,
                "process": process,
                "stream": stream.name(),
                "time": shown.time.to_string(),
                "level": shown.level,
                "line": String::from_utf8_lossy(&shown.text),
            });
            out.extend_from_slice(document.to_string().as_bytes());
            out.push(b'\n');
            return;
        }
        for line in shown.text.split(|byte| *byte == b'\n') {
            if self.several && self.color {
                let first = self.names.iter().position(|(name, _)| name == process);
                let code = COLOURS[first.unwrap_or(0) % COLOURS.len()];
                out.extend_from_slice(format!("\x1b[{code}m{process} |\x1b[0m ").as_bytes());
            } else if self.several {
                out.extend_from_slice(format!("{process} | ").as_bytes());
            }
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
}

/// What the command line asks for, apart from the programs.
fn query(
    logs: &Logs,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<(RecordQuery, Option<u64>), Failure> {
    let time = |option: &str, text: &Option<String>| {
        text.as_ref()
            .map(|text| {
                when::parse(text, now, zone).map_err(|why| {
                    Failure::new(Exit::Usage, format!("--{option} {text}: {why}")).help(when::HELP)
                })
            })
            .transpose()
    };
    let pattern = match (&logs.grep, &logs.regex) {
        (Some(text), _) => Some(regex::escape(text)),
        (None, regex) => regex.clone(),
    };
    let pattern = pattern.map(|text| {
        if logs.ignore_case {
            format!("(?i){text}")
        } else {
            text
        }
    });
    if let Some(text) = &pattern {
        if text.len() > PATTERN_LIMIT {
            return Err(Failure::new(
                Exit::Usage,
                format!("the text to look for has {} bytes", text.len()),
            )
            .help(format!("use at most {PATTERN_LIMIT}")));
        }
        crate::records::pattern(text).map_err(|why| {
            Failure::new(Exit::Usage, format!("--regex cannot be used: {why}"))
                .help("write it without look-around and back-references, or use --grep")
        })?;
    }
    let records = RecordQuery {
        level: logs.level.map(|level| level.name().to_owned()),
        since: time("since", &logs.since)?,
        until: time("until", &logs.until)?,
        pattern,
    };
    // A span of time is shown whole.
    let whole = records.since.is_some() || records.until.is_some();
    let last = logs.lines.map(u64::from);
    Ok((records, last.or((!whole).then_some(LINES))))
}

/// Shows captured output: what is past, merged by time, then what comes.
pub(crate) fn run(cli: &Cli, output: &Output, logs: &Logs) -> Result<Exit, Failure> {
    let zone = TimeZone::system();
    let (records, last) = query(logs, Timestamp::now(), &zone)?;
    let client = command::client(cli)?;
    command::ask(async {
        let names = outputs(&client, logs).await?;
        let style = Style {
            several: names.iter().any(|(name, _)| *name != names[0].0),
            names,
            json: output.json,
            color: output.paint(zone).color,
        };
        let at_once = logs.follow || last.is_none();
        if at_once && style.names.len() > TOGETHER {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} outputs are more than are read at once",
                    style.names.len()
                ),
            )
            .help(format!(
                "name programs of at most {TOGETHER} outputs, or say how many records with -n, without -f"
            )));
        }
        let query = |from: usize| LogQuery {
            name: style.names[from].0.clone(),
            stream: style.names[from].1,
            lines: last,
            follow: logs.follow,
            records: Some(records.clone()),
        };
        let mut kept = Vec::new();
        let mut readings = Vec::new();
        let all: Vec<usize> = (0..style.names.len()).collect();
        for batch in all.chunks(TOGETHER) {
            readings.clear();
            for from in batch {
                readings.push(Reading {
                    from: *from,
                    source: client.logs(&query(*from)).await?,
                    reader: Reader::default(),
                    now: false,
                    ended: false,
                });
            }
            if !merge(&mut readings, last, &mut kept, &style).await? {
                return Ok(Exit::Done);
            }
        }
        kept.sort_by_key(|shown: &Shown| shown.time);
        let skip = kept
            .len()
            .saturating_sub(last.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)));
        if !say(&kept[skip..], &style) {
            return Ok(Exit::Done);
        }
        drop(kept);
        if logs.follow {
            follow(readings, &style).await?;
        }
        Ok(Exit::Done)
    })
}

/// The outputs that are meant.
async fn outputs(client: &Client, logs: &Logs) -> Result<Vec<(String, Stream)>, Failure> {
    let mut found: Vec<(String, Stream)> = Vec::new();
    let all = ["all".to_owned()];
    let names: &[String] = if logs.all { &all } else { &logs.names };
    let status = if names.iter().all(|name| name == OWN) {
        None
    } else {
        Some(client.status().await?)
    };
    for name in names {
        let Some(status) = status.as_ref().filter(|_| name != OWN) else {
            found.push((OWN.to_owned(), Stream::Stdout));
            continue;
        };
        if !logs.all && !status.programs.iter().any(|p| is_meant(name, p)) {
            let names: Vec<&str> = status.programs.iter().map(|p| p.name.as_str()).collect();
            let more = format!(", and `{OWN}` for the daemon's own log");
            return Err(Failure::unknown_name("program", name, &names, &more));
        }
        for process in status.programs.iter().filter(|p| is_meant(name, p)) {
            let logs_of = &process.logs;
            if logs_of.stdout.is_some() && logs.stream != StreamChoice::Stderr {
                found.push((process.name.clone(), Stream::Stdout));
            }
            let own_stderr = logs_of.stderr.is_some() && logs_of.stderr != logs_of.stdout;
            if own_stderr && logs.stream != StreamChoice::Stdout {
                found.push((process.name.clone(), Stream::Stderr));
            }
        }
    }
    let mut once = Vec::with_capacity(found.len());
    for output in found {
        if !once.contains(&output) {
            once.push(output);
        }
    }
    Ok(once)
}

/// Reads what is past of all, in the order of time. The last ones are kept; without a number each is
/// written at once. False when nobody reads any more.
async fn merge(
    readings: &mut [Reading],
    last: Option<u64>,
    kept: &mut Vec<Shown>,
    style: &Style,
) -> Result<bool, Failure> {
    let most = last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
    let mut ring = VecDeque::new();
    let mut heads: Vec<Option<Shown>> = Vec::with_capacity(readings.len());
    for reading in readings.iter_mut() {
        heads.push(reading.next().await?);
    }
    loop {
        let first = heads
            .iter()
            .enumerate()
            .filter_map(|(at, head)| head.as_ref().map(|head| (head.time, at)))
            .min();
        let Some((_, at)) = first else { break };
        let next = readings[at].next().await?;
        let Some(shown) = std::mem::replace(&mut heads[at], next) else {
            break;
        };
        match most {
            Some(0) => {}
            Some(most) => {
                if ring.len() >= most {
                    ring.pop_front();
                }
                ring.push_back(shown);
            }
            None => {
                if !say(&[shown], style) {
                    return Ok(false);
                }
            }
        }
    }
    kept.extend(ring);
    Ok(true)
}

/// Writes what comes, as it comes.
async fn follow(readings: Vec<Reading>, style: &Style) -> Result<(), Failure> {
    let next = |mut reading: Reading| async move {
        let shown = reading.next().await;
        (reading, shown)
    };
    let live = readings.into_iter().filter(|reading| !reading.ended);
    let mut waiting: FuturesUnordered<_> = live.map(next).collect();
    while let Some((reading, shown)) = waiting.next().await {
        if let Some(shown) = shown? {
            if !say(&[shown], style) {
                return Ok(());
            }
        } else if reading.ended {
            continue;
        }
        waiting.push(next(reading));
    }
    Ok(())
}

/// Writes records. False when nobody reads any more.
fn say(records: &[Shown], style: &Style) -> bool {
    let mut text = Vec::new();
    for shown in records {
        style.write(shown, &mut text);
    }
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&text)
        .and_then(|()| stdout.flush())
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(from: usize, level: &str, text: &[u8]) -> Shown {
        Shown {
            time: Timestamp::from_second(1_767_366_245).unwrap(),
            level: level.to_owned(),
            text: text.to_vec(),
            from,
        }
    }

    fn written(several: bool, json: bool, color: bool) -> String {
        let style = Style {
            names: vec![
                ("web:0".into(), Stream::Stdout),
                ("web:0".into(), Stream::Stderr),
                ("db".into(), Stream::Stdout),
            ],
            several,
            json,
            color,
        };
        let mut out = Vec::new();
        for record in [
            shown(0, "info", b"one"),
            shown(1, "error", b"Traceback:\n  two\nValueError: \"x\""),
            shown(2, "warn", b"three\xff"),
        ] {
            style.write(&record, &mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn one_process_as_it_is() {
        assert_eq!(
            written(false, false, true),
            "one\nTraceback:\n  two\nValueError: \"x\"\nthree\u{fffd}\n"
        );
    }

    #[test]
    fn several_with_their_names() {
        insta::assert_snapshot!(written(true, false, false), @r#"
        web:0 | one
        web:0 | Traceback:
        web:0 |   two
        web:0 | ValueError: "x"
        db | three�
        "#);
        insta::assert_snapshot!(written(true, false, true).replace('\x1b', "ESC"), @r#"
        ESC[36mweb:0 |ESC[0m one
        ESC[36mweb:0 |ESC[0m Traceback:
        ESC[36mweb:0 |ESC[0m   two
        ESC[36mweb:0 |ESC[0m ValueError: "x"
        ESC[32mdb |ESC[0m three�
        "#);
    }

    #[test]
    fn for_machines_a_document_for_each_record() {
        insta::assert_snapshot!(written(true, true, true), @r#"
        {"level":"info","line":"one","process":"web:0","schema":1,"stream":"stdout","time":"2026-01-02T15:04:05Z"}
        {"level":"error","line":"Traceback:\n  two\nValueError: \"x\"","process":"web:0","schema":1,"stream":"stderr","time":"2026-01-02T15:04:05Z"}
        {"level":"warn","line":"three�","process":"db","schema":1,"stream":"stdout","time":"2026-01-02T15:04:05Z"}
        "#);
    }
}

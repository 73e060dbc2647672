//! `mainstay logs`

use std::io::Write;

use futures_util::stream::{FuturesUnordered, StreamExt};
use mainstay_control::LogStream;
use mainstay_control::wire::{LogQuery, Stream};

use crate::cli::{Cli, StreamChoice};
use crate::command::{self, status::is_meant};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The name under which the daemon's own log is asked for.
pub(crate) const OWN: &str = "mainstay";

/// What `mainstay logs` was asked.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) follow: bool,
    pub(crate) lines: u32,
    pub(crate) stream: StreamChoice,
}

/// One output that is read.
struct Reading {
    process: String,
    stream: Stream,
    source: LogStream,
    partial: Vec<u8>,
}

/// Copies captured output to standard output, each line whole.
pub(crate) fn run(cli: &Cli, output: &Output, wanted: &Wanted<'_>) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    command::ask(async {
        let mut queries = Vec::new();
        let query = |name: &str, stream| LogQuery {
            name: name.to_owned(),
            stream,
            lines: Some(u64::from(wanted.lines)),
            follow: wanted.follow,
        };
        if wanted.name == OWN {
            queries.push(query(OWN, Stream::Stdout));
        } else {
            let status = client.status().await?;
            for process in status.programs.iter().filter(|p| is_meant(wanted.name, p)) {
                let logs = &process.logs;
                if logs.stdout.is_some() && wanted.stream != StreamChoice::Stderr {
                    queries.push(query(&process.name, Stream::Stdout));
                }
                let own_stderr = logs.stderr.is_some() && logs.stderr != logs.stdout;
                if own_stderr && wanted.stream != StreamChoice::Stdout {
                    queries.push(query(&process.name, Stream::Stderr));
                }
            }
            if !status.programs.iter().any(|p| is_meant(wanted.name, p)) {
                let names: Vec<&str> = status.programs.iter().map(|p| p.name.as_str()).collect();
                let more = format!(", and `{OWN}` for the daemon's own log");
                return Err(Failure::unknown_name("program", wanted.name, &names, &more));
            }
        }
        let several = queries.iter().any(|q| q.name != queries[0].name);
        let mut readings = Vec::new();
        for query in queries {
            let source = client.logs(&query).await?;
            readings.push(Reading {
                process: query.name,
                stream: query.stream,
                source,
                partial: Vec::new(),
            });
        }
        copy(output, readings, several, wanted.follow).await
    })
}

async fn copy(
    output: &Output,
    readings: Vec<Reading>,
    several: bool,
    follow: bool,
) -> Result<Exit, Failure> {
    let next = |mut reading: Reading| async move {
        let chunk = reading.source.chunk().await;
        (reading, chunk)
    };
    // What is past comes one output after the other; what goes on comes as it comes.
    let mut waiting = FuturesUnordered::new();
    if follow {
        waiting.extend(readings.into_iter().map(next));
        while let Some((mut reading, chunk)) = waiting.next().await {
            match chunk {
                Some(chunk) => {
                    if !write(output, &mut reading, &chunk?, several) {
                        return Ok(Exit::Done);
                    }
                    waiting.push(next(reading));
                }
                None => flush(output, &mut reading, several),
            }
        }
    } else {
        for mut reading in readings {
            while let Some(chunk) = reading.source.chunk().await {
                if !write(output, &mut reading, &chunk?, several) {
                    return Ok(Exit::Done);
                }
            }
            flush(output, &mut reading, several);
        }
    }
    Ok(Exit::Done)
}

/// Writes the whole lines of a chunk and keeps the rest. False when nobody reads any more.
fn write(output: &Output, reading: &mut Reading, chunk: &[u8], several: bool) -> bool {
    reading.partial.extend_from_slice(chunk);
    let Some(end) = reading.partial.iter().rposition(|byte| *byte == b'\n') else {
        return true;
    };
    let rest = reading.partial.split_off(end + 1);
    let lines = std::mem::replace(&mut reading.partial, rest);
    let text = format_lines(
        &lines,
        &reading.process,
        reading.stream,
        several,
        output.json,
    );
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&text)
        .and_then(|()| stdout.flush())
        .is_ok()
}

fn flush(output: &Output, reading: &mut Reading, several: bool) {
    if !reading.partial.is_empty() {
        reading.partial.push(b'\n');
        write(output, reading, b"", several);
    }
}

fn format_lines(lines: &[u8], process: &str, stream: Stream, several: bool, json: bool) -> Vec<u8> {
    if !json && !several {
        return lines.to_vec();
    }
    let mut text = Vec::with_capacity(lines.len() * 2);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if json {
            let document = serde_json::json!({
                "schema": 1, "process": process, "stream": stream.name(), "line": String::from_utf8_lossy(line),
            });
            text.extend_from_slice(document.to_string().as_bytes());
        } else {
            text.extend_from_slice(format!("{process} | ").as_bytes());
            text.extend_from_slice(line);
        }
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_marked_only_when_they_come_from_several() {
        let lines = b"one\n\xfftwo\n";
        assert_eq!(
            format_lines(lines, "web", Stream::Stdout, false, false),
            lines
        );
        assert_eq!(
            format_lines(lines, "web:1", Stream::Stdout, true, false),
            b"web:1 | one\nweb:1 | \xfftwo\n"
        );
        let json =
            String::from_utf8(format_lines(b"a\"b\n", "web", Stream::Stderr, false, true)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["line"], "a\"b");
        assert_eq!(value["stream"], "stderr");
    }
}

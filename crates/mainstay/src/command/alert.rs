//! `mainstay alert`: what a person must know, for people and for scripts.

use std::fmt::Write as _;
use std::io::Read as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_alert::try_channels;
use mainstay_base::{format_duration, parse_duration};
use mainstay_control::Kind;
use mainstay_control::wire::{
    AlertsDocument, RaiseRequest, SilenceRequest, TriedDocument, UnsilenceRequest,
};

use crate::cli::{Alert, Cli, Raise, Silence};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::render::{self, Paint, Tone, plain, table};
use crate::{alerting, command};

/// As much of a body as an alert keeps.
const BODY: u64 = 8 << 10;

/// Does it.
pub(crate) fn run(cli: &Cli, output: &Output, alert: &Alert) -> Result<Exit, Failure> {
    match alert {
        Alert::List => list(cli, output),
        Alert::Raise(raised) => raise(cli, output, raised),
        Alert::Silence(silenced) => silence(cli, output, silenced),
        Alert::Unsilence { id } => {
            let client = command::client(cli)?;
            let request = UnsilenceRequest::new(*id);
            let document = command::ask(async { Ok(client.unsilence_alerts(&request).await?) })?;
            if output.json {
                output.document(&document);
            } else {
                output.say(document.detail.as_deref().unwrap_or("done"));
            }
            Ok(Exit::Done)
        }
        Alert::Test { here } => test(cli, output, *here),
    }
}

fn list(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let document = command::ask(async { Ok(client.alerts().await?) })?;
    if output.json {
        output.document(&document);
    } else {
        let paint = output.paint(TimeZone::system());
        output.print(&listed(&document, Timestamp::now(), &paint));
    }
    Ok(Exit::Done)
}

/// The first bytes of standard input, as many as an alert keeps; the rest is read and passed over, so
/// that who writes it does not fail.
fn standard_input() -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot read the body of the alert from standard input: {error}"),
        )
    };
    let mut input = std::io::stdin().lock();
    let mut bytes = Vec::new();
    (&mut input)
        .take(BODY)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    std::io::copy(&mut input, &mut std::io::sink()).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn raise(cli: &Cli, output: &Output, raised: &Raise) -> Result<Exit, Failure> {
    let mut request = RaiseRequest::new(&raised.app, raised.title.clone().unwrap_or_default());
    request.severity = raised.severity.map(|severity| severity.name().to_owned());
    request.body = match raised.body.as_deref() {
        Some("-") => standard_input()?,
        Some(text) => text.chars().take(8 << 10).collect(),
        None => String::new(),
    };
    request.fingerprint.clone_from(&raised.fingerprint);
    request.lasting = raised.lasting;
    request.resolve = raised.resolve;
    let client = command::client(cli)?;
    let document = command::ask(async { Ok(client.raise_alert(&request).await?) })?;
    if output.json {
        output.document(&document);
    } else {
        output.say(document.detail.as_deref().unwrap_or("done"));
    }
    Ok(Exit::Done)
}

fn silence(cli: &Cli, output: &Output, silenced: &Silence) -> Result<Exit, Failure> {
    let length = parse_duration(&silenced.time)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let mut request = SilenceRequest::new(length.as_secs(), &silenced.reason);
    request.key.clone_from(&silenced.key);
    request.app.clone_from(&silenced.app);
    request.severity.clone_from(&silenced.severity);
    request.author.clone_from(&silenced.author);
    let client = command::client(cli)?;
    let document = command::ask(async { Ok(client.silence_alerts(&request).await?) })?;
    if output.json {
        output.document(&document);
    } else {
        let paint = output.paint(TimeZone::system());
        output.say(&format!(
            "silence {} holds until {}; to end it: mainstay alert unsilence {}",
            document.id,
            paint.moment(document.until),
            document.id
        ));
    }
    Ok(Exit::Done)
}

fn test(cli: &Cli, output: &Output, here: bool) -> Result<Exit, Failure> {
    let asked = if here { None } else { by_daemon(cli)? };
    let document = match asked {
        Some(document) => document,
        None => by_config(cli, output, here)?,
    };
    let (done, not) = document.tally();
    if done + not == 0 {
        return Err(Failure::new(Exit::Failed, "there is no channel: nobody is told of alerts")
            .help("add [alert.to.NAME] with `mail` or `webhook` to the config; a running daemon takes it up by SIGHUP"));
    }
    if output.json {
        output.document(&document);
    } else {
        let paint = output.paint(TimeZone::system());
        for one in &document.tried {
            let (channel, to) = (plain(&one.channel), plain(&one.recipient));
            let line = match &one.error {
                None => format!(
                    "{} {channel}: {to} was sent a test",
                    paint.tone(Tone::Good, "✔")
                ),
                Some(why) => format!(
                    "{} {channel}: {to} was not sent a test: {}\n  help: {}",
                    paint.tone(Tone::Bad, "✖"),
                    plain(why),
                    plain(one.help.as_deref().unwrap_or(""))
                ),
            };
            output.print(&format!("{line}\n"));
        }
    }
    Ok(match (done, not) {
        (_, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        _ => Exit::Partly,
    })
}

/// What the daemon says; none when no daemon answers.
fn by_daemon(cli: &Cli) -> Result<Option<TriedDocument>, Failure> {
    let client = command::client(cli)?;
    command::ask(async {
        match client.test_alerts().await {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.kind == Kind::NotReachable => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

/// Tries the channels of the config from this process.
fn by_config(cli: &Cli, output: &Output, here: bool) -> Result<TriedDocument, Failure> {
    let config = command::load(cli, output)?;
    if !here && !output.quiet {
        output.print_error("no daemon answers: the channels of the config are tried from here\n");
    }
    let Some(alert) = &config.alert else {
        return Ok(TriedDocument::new(Vec::new()));
    };
    let tried = try_channels(alert, Timestamp::now())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()).help(error.help()))?;
    Ok(alerting::tried(tried))
}

type Row = Vec<(String, Option<Tone>)>;

fn severity_tone(severity: &str) -> Option<Tone> {
    match severity {
        "critical" | "error" => Some(Tone::Bad),
        "warning" => Some(Tone::Busy),
        _ => None,
    }
}

/// Everything on one screen.
fn listed(document: &AlertsDocument, now: Timestamp, paint: &Paint) -> String {
    let mut text = String::new();
    let ago = |at: Timestamp| {
        let seconds = u64::try_from(now.as_second() - at.as_second()).unwrap_or(0);
        render::ago(seconds)
    };
    let cell = |text: &str| (plain(text), None);
    let head = |names: &[&str]| -> Row {
        let names = names.iter();
        names
            .map(|name| ((*name).to_owned(), Some(Tone::Faint)))
            .collect()
    };
    if let Some(trouble) = &document.trouble {
        let line = format!("▲ alerts are in memory only: {}", plain(trouble));
        text.push_str(&paint.tone(Tone::Bad, &line));
        text.push('\n');
    }
    if document.alerts.is_empty() {
        text.push_str("no alert is raised\n");
    } else {
        let mut rows = vec![head(&["SEVERITY", "STATE", "FOR", "TIMES", "KEY", "WHAT"])];
        for alert in &document.alerts {
            let mut what = plain(&alert.title);
            if let Some(by) = &alert.muted_by {
                let _ = write!(what, " ({})", plain(by));
            }
            rows.push(vec![
                (alert.severity.clone(), severity_tone(&alert.severity)),
                cell(&alert.state),
                (ago(alert.since), None),
                (alert.count.to_string(), None),
                cell(&alert.key),
                (what, None),
            ]);
        }
        text.push_str(&table(&rows, paint));
    }
    if !document.silences.is_empty() {
        let mut rows = vec![head(&["SILENCE", "OF", "UNTIL", "BY", "WHY"])];
        for silence in &document.silences {
            let named = [
                ("key", &silence.key),
                ("app", &silence.app),
                ("severity", &silence.severity),
            ];
            let named: Vec<String> = named
                .into_iter()
                .filter_map(|(what, text)| text.as_ref().map(|text| format!("{what}={text}")))
                .collect();
            rows.push(vec![
                (silence.id.to_string(), Some(Tone::Strong)),
                cell(&named.join(" ")),
                (paint.moment(silence.until), None),
                cell(&silence.author),
                cell(&silence.reason),
            ]);
        }
        text.push('\n');
        text.push_str(&table(&rows, paint));
    }
    text.push('\n');
    if document.channels.is_empty() {
        let line = "no channel: nobody is told; add [alert.to.NAME] to the config";
        text.push_str(&paint.tone(Tone::Busy, line));
        text.push('\n');
    } else {
        let mut rows = vec![head(&["", "CHANNEL", "", ""])];
        for channel in &document.channels {
            let failing = channel.failing_since;
            let (mark, tone) = if failing.is_some() {
                ("✖", Tone::Bad)
            } else {
                ("●", Tone::Good)
            };
            let how = failing.map_or_else(
                || "ready".to_owned(),
                |since| format!("failing for {}", ago(since)),
            );
            let why = channel.last_error.as_deref().filter(|_| failing.is_some());
            rows.push(vec![
                (mark.to_owned(), Some(tone)),
                (plain(&channel.name), Some(Tone::Strong)),
                (how, None),
                cell(why.unwrap_or("")),
            ]);
        }
        text.push_str(&table(&rows, paint));
    }
    if !document.messages.is_empty() {
        let mut rows = vec![head(&["MESSAGE", "STATE", "BY", "TRIED", "SUBJECT", ""])];
        for message in document.messages.iter().take(MESSAGES) {
            let tone = match message.state.as_str() {
                "sent" => Some(Tone::Good),
                "waiting" => Some(Tone::Busy),
                _ => Some(Tone::Bad),
            };
            let mut remark = message.error.as_deref().map(plain).unwrap_or_default();
            if let Some(next) = message.next.filter(|_| message.state == "waiting") {
                let wait = u64::try_from(next.as_second() - now.as_second()).unwrap_or(0);
                let wait = format_duration(std::time::Duration::from_secs(wait.max(1)));
                let _ = write!(remark, "; again in {wait}");
            }
            rows.push(vec![
                (paint.moment(message.at), None),
                (plain(&message.state), tone),
                cell(message.channel.as_deref().unwrap_or("-")),
                (message.attempts.to_string(), None),
                cell(&message.subject),
                (remark.trim_start_matches("; ").to_owned(), None),
            ]);
        }
        text.push('\n');
        text.push_str(&table(&rows, paint));
    }
    let counts = &document.counts;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{} raised: {} told in {} messages, {} silenced, {} follow from others, {} waiting{}",
        counts.raised,
        counts.told,
        counts.messages,
        counts.silenced,
        counts.inhibited,
        counts.waiting,
        match counts.overflowed {
            0 => String::new(),
            lost => format!(", {lost} only counted"),
        }
    );
    text
}

/// How many messages a person is shown; `--json` has all.
const MESSAGES: usize = 10;

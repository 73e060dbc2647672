//! A message in words, for every channel the same.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::alert::cut;
use crate::message::{Entry, Message, Purpose, Standing};

/// A moment for sentences, in UTC and to the minute.
pub(crate) fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A moment in the zone of whoever reads, with its distance from UTC.
pub(crate) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// A number with its thousands apart.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{} times", number(n)),
    }
}

/// How long, to two units: `2 h 5 min`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        ("d", seconds / 86_400),
        ("h", seconds / 3600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let first = parts
        .iter()
        .position(|(_, n)| *n > 0)
        .unwrap_or(parts.len() - 1);
    parts[first..]
        .iter()
        .take(2)
        .enumerate()
        .filter(|(index, (_, n))| *index == 0 || *n > 0)
        .map(|(_, (unit, n))| format!("{n} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn between(from: Timestamp, to: Timestamp) -> String {
    span(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

/// One line that says it all.
pub(crate) fn subject(message: &Message) -> String {
    let host = &message.host;
    let line = match message.purpose {
        Purpose::Test => format!("[test] mainstay on {host}: alerts arrive here"),
        Purpose::Digest => format!("[digest] {host}: {}", sums(message)),
        Purpose::Summary => format!("[{}] {host}: {}", message.severity(), sums(message)),
        Purpose::Alert => match message.entries.as_slice() {
            [] => format!("[{}] {host}", message.severity()),
            [one] => {
                let word = match one.standing {
                    Standing::Resolved => "resolved".to_owned(),
                    Standing::Still => format!("{}, still", one.severity),
                    Standing::New | Standing::Again => one.severity.to_string(),
                };
                let often = match (one.standing, one.fresh) {
                    (Standing::Resolved, _) => {
                        format!(" (after {})", between(one.since, one.last))
                    }
                    (_, 0 | 1) => String::new(),
                    (_, n) => format!(" (×{})", number(n)),
                };
                let place = if one.host.is_empty() { host } else { &one.host };
                format!("[{word}] {}: {}{often} — {place}", one.key.app, one.title)
            }
            [first, ..] => {
                let word = if message.is_resolved() {
                    "resolved".to_owned()
                } else {
                    message.severity().to_string()
                };
                format!(
                    "[{word}] {}: {} and {} more — {host}",
                    first.key.app,
                    first.title,
                    message.entries.len() - 1
                )
            }
        },
    };
    cut(line.replace(['\n', '\r'], " "), 250)
}

fn sums(message: &Message) -> String {
    let kinds = message.entries.len() as u64 + message.rest.as_ref().map_or(0, |rest| rest.kinds);
    let fresh = message.fresh();
    format!(
        "{} alert{} of {} kind{}",
        number(fresh),
        if fresh == 1 { "" } else { "s" },
        number(kinds),
        if kinds == 1 { "" } else { "s" }
    )
}

/// What is said at the head of a message of more than one thing.
fn head(message: &Message) -> Option<String> {
    match message.purpose {
        Purpose::Summary => Some(format!(
            "More happened than the limit of messages let through. Together: {}.",
            sums(message)
        )),
        Purpose::Digest => Some(format!("What could wait: {}.", sums(message))),
        Purpose::Alert | Purpose::Test => None,
    }
}

fn standing(entry: &Entry) -> &'static str {
    match (entry.standing, entry.lasting) {
        (Standing::New, true) => "began",
        (Standing::New, false) => "happened",
        (Standing::Again, _) => "happened again",
        (Standing::Still, _) => "lasts",
        (Standing::Resolved, _) => "is over",
    }
}

/// How often and since when, in one sentence.
fn often(entry: &Entry, zone: &TimeZone) -> String {
    let mut text = match entry.standing {
        Standing::Resolved => format!(
            "over after {}, {} in all",
            between(entry.since, entry.last),
            times(entry.total)
        ),
        Standing::Still => format!("for {} now", between(entry.since, entry.last)),
        _ if entry.fresh == entry.total => times(entry.fresh),
        _ => format!(
            "{} since the last message, {} in all",
            times(entry.fresh),
            times(entry.total)
        ),
    };
    if entry.total > 1 && entry.standing != Standing::Resolved {
        let _ = write!(text, ", last at {}", moment(entry.last, zone));
    }
    if entry.muted > 0 {
        let _ = write!(text, "; {} of these were kept back", number(entry.muted));
    }
    text
}

/// The rest that is only summed.
pub(crate) fn rest(message: &Message, zone: &TimeZone) -> Option<String> {
    let rest = message.rest.as_ref()?;
    Some(format!(
        "and {} more of {} kind{} since {}",
        number(rest.count),
        number(rest.kinds),
        if rest.kinds == 1 { "" } else { "s" },
        moment(rest.since, zone)
    ))
}

/// The whole message as plain text.
pub(crate) fn full(message: &Message, zone: &TimeZone) -> String {
    let mut out = String::new();
    if let Some(head) = head(message) {
        let _ = writeln!(out, "{head}\n");
    }
    for entry in &message.entries {
        long(&mut out, message, entry, zone);
        out.push('\n');
    }
    if let Some(rest) = rest(message, zone) {
        let _ = writeln!(out, "{rest}\n");
    }
    for note in &message.notes {
        let _ = writeln!(out, "{note}\n");
    }
    let _ = writeln!(
        out,
        "-- \nmainstay on {}, message {}",
        message.host, message.id
    );
    out
}

/// One entry as plain text.
pub(crate) fn entry(message: &Message, entry: &Entry, zone: &TimeZone) -> String {
    let mut out = String::new();
    long(&mut out, message, entry, zone);
    out
}

fn long(out: &mut String, message: &Message, entry: &Entry, zone: &TimeZone) {
    let _ = writeln!(
        out,
        "{} [{}] {}",
        entry.key.app, entry.severity, entry.title
    );
    for line in entry.body.lines() {
        let _ = writeln!(out, "    {line}");
    }
    let host = if entry.host.is_empty() {
        &message.host
    } else {
        &entry.host
    };
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<10} {value}");
    };
    row("state", standing(entry));
    row("where", &format!("{}, host {host}", entry.key.app));
    row("since", &moment(entry.since, zone));
    row("how often", &often(entry, zone));
    for (name, value) in &entry.labels {
        row(name, value);
    }
    row("error id", &entry.key.to_string());
    for link in &entry.links {
        row("read", &format!("{} {}", link.title, link.url));
    }
    if let Some(command) = &entry.command {
        row("next", command);
    }
    if !entry.context.is_empty() {
        out.push_str("  last lines of the log:\n");
        for line in &entry.context {
            let _ = writeln!(out, "    {line}");
        }
    }
}

/// The message for a chat, without its subject: a few lines for each entry, at most `most`
/// characters as `len` counts them. What does not fit is said.
pub(crate) fn short(
    message: &Message,
    zone: &TimeZone,
    most: usize,
    escape: impl Fn(&str) -> String,
    len: impl Fn(&str) -> usize,
) -> String {
    let mut out = String::new();
    if let Some(head) = head(message) {
        let _ = writeln!(out, "{}", escape(&head));
    }
    // What is said at the end is of more use than the last entries, so its room is kept.
    let mut tail = String::new();
    if let Some(rest) = rest(message, zone) {
        let _ = writeln!(tail, "{}", escape(&rest));
    }
    for note in &message.notes {
        let _ = writeln!(tail, "{}", escape(note));
    }
    let left_out = "… and more: see `mainstay alert list`\n";
    let room = most.saturating_sub(len(&tail) + len(left_out));
    let single = message.entries.len() == 1;
    let mut complete = true;
    'entries: for entry in &message.entries {
        for line in lines(message, entry, zone, single) {
            let line = format!("{}\n", escape(&line));
            if len(&out) + len(&line) > room {
                complete = false;
                if single {
                    continue;
                }
                break 'entries;
            }
            out.push_str(&line);
        }
    }
    if !complete {
        out.push_str(left_out);
    }
    out.push_str(&tail);
    out.trim_end().to_owned()
}

fn lines(message: &Message, entry: &Entry, zone: &TimeZone, single: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if single {
        lines.extend(entry.body.lines().map(str::to_owned));
        lines.push(format!(
            "{} since {}, {}",
            standing(entry),
            moment(entry.since, zone),
            often(entry, zone)
        ));
    } else {
        lines.push(format!(
            "[{}] {}: {}; {} since {}, {}",
            entry.severity,
            entry.key.app,
            entry.title,
            standing(entry),
            moment(entry.since, zone),
            often(entry, zone)
        ));
    }
    if single {
        let host = if entry.host.is_empty() {
            &message.host
        } else {
            &entry.host
        };
        lines.push(format!("host: {host}, error id: {}", entry.key));
        lines.extend(
            entry
                .labels
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        lines.extend(
            entry
                .links
                .iter()
                .map(|l| format!("{}: {}", l.title, l.url)),
        );
        lines.extend(
            entry
                .command
                .iter()
                .map(|command| format!("next: {command}")),
        );
        if !entry.context.is_empty() {
            lines.push("last lines of the log:".to_owned());
            lines.extend(entry.context.iter().map(|line| format!("  {line}")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans() {
        for (n, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (9980, "9,980"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(n), expected);
        }
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7500, "2 h 5 min"),
            (86_400 + 30, "1 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_short_text_keeps_to_its_room_and_says_what_is_missing() {
        let mut message = Message::test("id", "shop1", Timestamp::UNIX_EPOCH);
        message.entries[0].context = (0..20)
            .map(|n| format!("{n} {}", "x".repeat(500)))
            .collect();
        let text = short(&message, &TimeZone::UTC, 1000, str::to_owned, |text| {
            text.chars().count()
        });
        assert!(text.chars().count() <= 1000);
        assert!(text.contains("… and more"), "{text}");
        assert!(text.contains("error id: mainstay/"), "{text}");
    }
}

//! Text for people. Pure: documents and a moment come in, text goes out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::{Size, counted};
use mainstay_control::wire::{
    AlertSummary, BackupOutcome, BackupStatus, ProcessStatus, State, StatusDocument,
};

/// How text is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Paint {
    /// With ANSI colours.
    pub(crate) color: bool,
    /// The zone times are shown in.
    pub(crate) zone: TimeZone,
}

/// The colours that carry a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Busy,
    Bad,
    Faint,
    Strong,
}

impl Paint {
    /// The text in that tone.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "1;31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A moment as `2026-11-22 14:05`, on the wall clock of the zone.
    pub(crate) fn moment(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone())
            .strftime("%Y-%m-%d %H:%M")
            .to_string()
    }
}

/// Terminal control characters of somebody else's text must not reach the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A length of time as people say it: `12s`, `5m`, `3h 10m`, `4d 2h`.
pub(crate) fn ago(seconds: u64) -> String {
    let (d, h, m) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m"),
        (0, h, 0) => format!("{h}h"),
        (0, h, m) => format!("{h}h {m}m"),
        (d, 0, _) => format!("{d}d"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.as_second() - earlier.as_second()).unwrap_or(0)
}

/// A table whose columns are as wide as their widest cell; colours do not count as width.
pub(crate) fn table(rows: &[Vec<(String, Option<Tone>)>], paint: &Paint) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            rows.iter()
                .filter_map(|r| r.get(i))
                .map(|c| c.0.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        // Nothing stands behind the last cell that says something, not even a colour.
        let end = row
            .iter()
            .rposition(|(cell, _)| !cell.is_empty())
            .map_or(0, |last| last + 1);
        for (i, (cell, tone)) in row[..end].iter().enumerate() {
            match tone {
                Some(tone) if !cell.is_empty() => text.push_str(&paint.tone(*tone, cell)),
                _ => text.push_str(cell),
            }
            if i + 1 < end {
                text.push_str(&" ".repeat(widths[i] - cell.chars().count() + 2));
            }
        }
        text.push('\n');
    }
    text
}

fn header(names: &[&str]) -> Vec<(String, Option<Tone>)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), Some(Tone::Faint)))
        .collect()
}

fn state_tone(state: State) -> Tone {
    match state {
        State::Running => Tone::Good,
        State::Starting | State::Stopping => Tone::Busy,
        State::Stopped => Tone::Faint,
        _ => Tone::Bad,
    }
}

fn process_row(process: &ProcessStatus, now: Timestamp) -> Vec<(String, Option<Tone>)> {
    let tone = state_tone(process.state);
    let dash = || "-".to_owned();
    let time = process.uptime_seconds.or_else(|| {
        (process.state != State::Running)
            .then(|| process.since.map(|at| seconds_between(at, now)))?
    });
    let mut remark = process.reason.as_deref().map(plain).unwrap_or_default();
    if process.adopted {
        remark = if remark.is_empty() {
            "taken over".to_owned()
        } else {
            format!("taken over; {remark}")
        };
    }
    vec![
        ("●".to_owned(), Some(tone)),
        (process.name.clone(), Some(Tone::Strong)),
        (process.state.name().to_owned(), Some(tone)),
        (process.pid.map_or_else(dash, |pid| pid.to_string()), None),
        (time.map_or_else(dash, ago), None),
        (
            process.restarts.to_string(),
            (process.restarts > 0).then_some(Tone::Busy),
        ),
        (
            process
                .rss_bytes
                .map_or_else(dash, |bytes| Size(bytes).human()),
            None,
        ),
        (remark, (tone == Tone::Bad).then_some(Tone::Bad)),
    ]
}

/// Whether this backup needs a person: the last run was not good or has far less than usual, none came
/// when it was due, or a restore is not proven as it should be.
pub(crate) fn needs_attention(backup: &BackupStatus) -> bool {
    backup.overdue
        || backup.unproven
        || backup.shrunken.is_some()
        || backup.drill_error.is_some()
        || matches!(
            backup.last_outcome,
            Some(BackupOutcome::Failed | BackupOutcome::Partly)
        )
}

/// The size of the last good run, and how far it is from what is usual.
fn size(backup: &BackupStatus) -> String {
    let Some(bytes) = backup.last_good_bytes else {
        return "-".to_owned();
    };
    let human = Size(bytes).human();
    match backup.usual_bytes.filter(|usual| *usual > 0) {
        None => human,
        Some(usual) => {
            let (now, usual) = (i128::from(bytes), i128::from(usual));
            let percent = (now - usual) * 100 / usual;
            format!("{human} ({percent:+} %)")
        }
    }
}

/// How long something took, in short.
pub(crate) fn took(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds}ms"),
        seconds @ 60..3600 if seconds % 60 > 0 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds => ago(seconds),
    }
}

/// The backups, a line for each.
pub(crate) fn backups(backups: &[BackupStatus], now: Timestamp, paint: &Paint) -> String {
    let mut rows = vec![header(&[
        "",
        "BACKUP",
        "OF",
        "LAST GOOD",
        "LOST NOW",
        "SIZE",
        "PROVEN",
        "IN",
        "NEXT",
        "TO",
        "",
    ])];
    rows.extend(backups.iter().map(|backup| backup_row(backup, now, paint)));
    table(&rows, paint)
}

fn backup_row(backup: &BackupStatus, now: Timestamp, paint: &Paint) -> Vec<(String, Option<Tone>)> {
    let (mark, tone) = match backup.last_outcome {
        _ if backup.running => ("…", Tone::Busy),
        Some(BackupOutcome::Failed) => ("✖", Tone::Bad),
        Some(BackupOutcome::Partly) => ("▲", Tone::Bad),
        _ if needs_attention(backup) => ("▲", Tone::Bad),
        Some(BackupOutcome::Good) => ("✔", Tone::Good),
        None => ("○", Tone::Busy),
    };
    let last = (backup.last_good).map_or_else(|| "never".to_owned(), |at| paint.moment(at));
    // What was written since is not in it.
    let lost =
        (backup.last_good).map_or_else(|| "all".to_owned(), |at| ago(seconds_between(at, now)));
    let (proven, restore) = match &backup.proven {
        Some(proven) => (paint.moment(proven.at), took(proven.milliseconds)),
        None => ("never".to_owned(), "-".to_owned()),
    };
    let mut remarks = Vec::new();
    if backup.running {
        remarks.push("running".to_owned());
    }
    match backup.last_outcome {
        Some(BackupOutcome::Failed) => remarks.push(format!(
            "FAILED{}: {}",
            backup
                .failing_since
                .map(|at| format!(" since {}", paint.moment(at)))
                .unwrap_or_default(),
            plain(backup.last_error.as_deref().unwrap_or("no reason is known"))
        )),
        Some(BackupOutcome::Partly) => remarks.push(format!(
            "NOT ALL: {}",
            plain(
                backup
                    .last_error
                    .as_deref()
                    .unwrap_or("something was left out")
            )
        )),
        _ => {}
    }
    if backup.overdue {
        remarks.push("OVERDUE".to_owned());
    }
    if let Some(shrunken) = &backup.shrunken {
        remarks.push(format!("SHRUNKEN: {}", plain(shrunken)));
    }
    if let Some(why) = &backup.drill_error {
        remarks.push(format!("DRILL FAILED: {}", plain(why)));
    }
    if backup.unproven {
        remarks.push(format!("UNPROVEN: mainstay backup drill {}", backup.name));
    }
    if backup.drilling {
        remarks.push("a drill is under way".to_owned());
    }
    if backup.last_outcome.is_none() && !backup.running {
        remarks.push(format!("never ran: mainstay backup run {}", backup.name));
    }
    vec![
        (mark.to_owned(), Some(tone)),
        (backup.name.clone(), Some(Tone::Strong)),
        (backup.source.clone(), None),
        (last, (backup.last_good.is_none()).then_some(tone)),
        (lost, (backup.last_good.is_none()).then_some(tone)),
        (
            size(backup),
            (backup.shrunken.is_some()).then_some(Tone::Bad),
        ),
        (
            proven,
            match (&backup.proven, backup.unproven) {
                (_, true) => Some(Tone::Bad),
                (None, false) => Some(Tone::Busy),
                (Some(_), false) => None,
            },
        ),
        (restore, None),
        (
            backup
                .next_due
                .map_or_else(|| "by hand".to_owned(), |at| paint.moment(at)),
            None,
        ),
        (backup.repositories.join(" "), None),
        (remarks.join("; "), (tone == Tone::Bad).then_some(Tone::Bad)),
    ]
}

/// `alerts: none firing · 1 silenced until 2026-11-22 18:00`
fn alerts_line(alerts: &AlertSummary, paint: &Paint) -> String {
    let told = alerts.firing.saturating_sub(alerts.muted);
    let mut parts = vec![match (told, &alerts.gravest) {
        (0, _) => "none firing".to_owned(),
        (1, Some(title)) => format!("1 firing: {}", plain(title)),
        (_, Some(title)) => format!("{told} firing, first of all: {}", plain(title)),
        (_, None) => format!("{told} firing"),
    }];
    if alerts.muted > 0 {
        parts.push(format!("{} kept back", alerts.muted));
    }
    if let Some(until) = alerts.silenced_until {
        parts.push(format!(
            "{} until {}",
            counted(alerts.silences, "silence"),
            paint.moment(until)
        ));
    }
    if alerts.undelivered > 0 {
        parts.push(format!("{} undelivered", alerts.undelivered));
    }
    for channel in &alerts.failing {
        parts.push(format!("channel {} FAILS", plain(channel)));
    }
    if let Some(trouble) = &alerts.trouble {
        parts.push(format!("in memory only: {}", plain(trouble)));
    }
    if alerts.channels == 0 && alerts.firing > 0 {
        parts.push("nobody is told: there is no [alert.to.NAME]".to_owned());
    }
    let line = format!("alerts: {}", parts.join(" · "));
    let bad = told > 0 || !alerts.failing.is_empty() || alerts.trouble.is_some();
    if bad {
        paint.tone(Tone::Bad, &line)
    } else {
        line
    }
}

/// How many kinds of faults are new, in one line.
fn faults_line(new: &BTreeMap<String, u64>, paint: &Paint) -> String {
    let each = new
        .iter()
        .map(|(program, count)| format!("{} {count}", plain(program)));
    let line = format!(
        "faults new since yesterday: {} · mainstay faults",
        each.collect::<Vec<_>>().join(", ")
    );
    paint.tone(Tone::Bad, &line)
}

/// The one screen.
pub(crate) fn status(document: &StatusDocument, now: Timestamp, paint: &Paint) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  mainstay {}, pid {}, up {}",
        paint.tone(Tone::Strong, &plain(&document.host)),
        document.version,
        document.daemon.pid,
        ago(document.daemon.uptime_seconds)
    );
    for warning in &document.warnings {
        let _ = writeln!(
            text,
            "{}",
            paint.tone(Tone::Bad, &format!("▲ {}", plain(warning)))
        );
    }
    if !document.programs.is_empty() {
        let mut rows = vec![header(&[
            "", "PROGRAM", "STATE", "PID", "FOR", "RESTARTS", "MEMORY", "",
        ])];
        rows.extend(
            document
                .programs
                .iter()
                .map(|process| process_row(process, now)),
        );
        let _ = write!(text, "\n{}", table(&rows, paint));
    }
    if !document.backups.is_empty() {
        let _ = write!(text, "\n{}", backups(&document.backups, now, paint));
    }
    if let Some(alerts) = &document.alerts {
        let _ = writeln!(text, "\n{}", alerts_line(alerts, paint));
    }
    if !document.new_faults.is_empty() {
        let _ = writeln!(text, "\n{}", faults_line(&document.new_faults, paint));
    }
    if !document.disks.is_empty() {
        text.push('\n');
        for disk in &document.disks {
            let used = (disk.total - disk.free.min(disk.total)) * 100 / disk.total.max(1);
            let line = format!(
                "disk {} {used} % used, {} free",
                disk.path,
                Size(disk.free).human()
            );
            let tone = if used >= 90 { Some(Tone::Bad) } else { None };
            let _ = writeln!(
                text,
                "{}",
                tone.map_or_else(|| line.clone(), |tone| paint.tone(tone, &line))
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_control::wire::{DaemonStatus, Desired, DiskStatus, ProvenRestore};

    #[test]
    fn the_line_of_alerts() {
        let paint = Paint {
            color: false,
            zone: TimeZone::UTC,
        };
        let none = AlertSummary {
            channels: 1,
            ..AlertSummary::default()
        };
        let line = |alerts: AlertSummary| alerts_line(&alerts, &paint);
        for (alerts, expected) in [
            (none.clone(), "alerts: none firing"),
            (
                AlertSummary {
                    firing: 1,
                    gravest: Some("web is FATAL".to_owned()),
                    ..none.clone()
                },
                "alerts: 1 firing: web is FATAL",
            ),
            (
                AlertSummary {
                    firing: 3,
                    muted: 1,
                    gravest: Some("web is FATAL".to_owned()),
                    channels: 0,
                    ..none.clone()
                },
                "alerts: 2 firing, first of all: web is FATAL · 1 kept back · nobody is told: there is no [alert.to.NAME]",
            ),
            (
                AlertSummary {
                    firing: 1,
                    muted: 1,
                    silences: 1,
                    silenced_until: Some(now()),
                    ..none.clone()
                },
                "alerts: none firing · 1 kept back · 1 silence until 2026-11-22 14:00",
            ),
            (
                AlertSummary {
                    undelivered: 2,
                    failing: vec!["mail".to_owned()],
                    trouble: Some("disk full".to_owned()),
                    ..none
                },
                "alerts: none firing · 2 undelivered · channel mail FAILS · in memory only: disk full",
            ),
        ] {
            assert_eq!(line(alerts), expected);
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T14:00:00Z".parse().unwrap()
    }

    fn document() -> StatusDocument {
        let mut web = ProcessStatus::new("web", "web", State::Running);
        web.pid = Some(4711);
        web.uptime_seconds = Some(3 * 86_400 + 4 * 3_600);
        web.restarts = 1;
        web.rss_bytes = Some(34_500_000);
        let mut worker = ProcessStatus::new("worker", "worker", State::Fatal);
        worker.since = Some("2026-11-22T13:58:00Z".parse().unwrap());
        worker.reason = Some("gave up after 4 attempts: \x1b[2Jexited with code 1".to_owned());
        worker.restarts = 3;
        worker.desired = Desired::Down;
        let backup = |name: &str, outcome, good: Option<&str>, error: Option<&str>| BackupStatus {
            name: name.to_owned(),
            source: "sqlite".to_owned(),
            repositories: vec!["local".to_owned()],
            last_good: good.map(|t| t.parse().unwrap()),
            last_good_bytes: good.map(|_| 34_500_000),
            last_outcome: outcome,
            last_error: error.map(str::to_owned),
            failing_since: error.map(|_| "2026-11-22T00:00:00Z".parse().unwrap()),
            next_due: Some("2026-11-23T00:00:00Z".parse().unwrap()),
            snapshots: Some(3),
            ..BackupStatus::default()
        };
        let mut proven = backup(
            "db",
            Some(BackupOutcome::Good),
            Some("2026-11-22T00:00:00Z"),
            None,
        );
        proven.usual_bytes = Some(33_000_000);
        proven.proven = Some(ProvenRestore {
            at: "2026-11-21T05:00:00Z".parse().unwrap(),
            milliseconds: 75_300,
            snapshot: None,
            taken: None,
        });
        let loud = BackupStatus {
            name: "server".to_owned(),
            source: "mysql".to_owned(),
            last_good_bytes: Some(1_000),
            usual_bytes: Some(40_000),
            shrunken: Some("1.0 kB, and usually 40 kB".to_owned()),
            unproven: true,
            drill_error: Some("rows of `orders`: expected 7, found 0".to_owned()),
            ..proven.clone()
        };
        StatusDocument {
            schema: 1,
            host: "shop1".to_owned(),
            version: "0.1.0".to_owned(),
            daemon: DaemonStatus {
                pid: 4242,
                started: now(),
                uptime_seconds: 300,
            },
            programs: vec![web, worker],
            backups: vec![
                proven,
                loud,
                backup(
                    "uploads",
                    Some(BackupOutcome::Failed),
                    None,
                    Some("wrong password"),
                ),
                backup("new", None, None, None),
            ],
            disks: vec![DiskStatus {
                path: "/".to_owned(),
                total: 100_000_000_000,
                free: 39_000_000_000,
            }],
            alerts: None,
            new_faults: [("web".to_owned(), 2)].into(),
            log: Vec::new(),
            warnings: vec!["no repository is off this machine".to_owned()],
        }
    }

    #[test]
    fn the_one_screen() {
        let paint = Paint {
            color: false,
            zone: TimeZone::UTC,
        };
        insta::assert_snapshot!(status(&document(), now(), &paint));
    }

    #[test]
    fn colours_do_not_move_columns_and_foreign_escapes_do_not_pass() {
        let plain_text = status(
            &document(),
            now(),
            &Paint {
                color: false,
                zone: TimeZone::UTC,
            },
        );
        let coloured = status(
            &document(),
            now(),
            &Paint {
                color: true,
                zone: TimeZone::UTC,
            },
        );
        assert!(!plain_text.contains('\x1b') && !coloured.contains("\x1b[2J"));
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some(at) = rest.find('\x1b') {
            stripped.push_str(&rest[..at]);
            rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
        }
        stripped.push_str(rest);
        assert_eq!(stripped, plain_text);
    }

    #[test]
    fn lengths_of_time() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_600, "1h"),
            (11_400, "3h 10m"),
            (90_000, "1d 1h"),
            (86_400, "1d"),
        ] {
            assert_eq!(ago(seconds), text);
        }
        for (milliseconds, text) in [
            (999, "999ms"),
            (1_000, "1s"),
            (60_000, "1m"),
            (75_300, "1m 15s"),
            (3_661_000, "1h 1m"),
        ] {
            assert_eq!(took(milliseconds), text);
        }
    }
}

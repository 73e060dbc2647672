//! A status in numbers, as Prometheus and what reads its format take them: [`FAMILIES`] is the list,
//! one row for each family. A row more is a number more, everywhere it is shown; `docs/metrics.md`
//! has the same table, and a test compares the two.
//!
//! Source of the format: Prometheus, "Exposition formats", text format 0.0.4; of the names and units:
//! its "Metric and label naming".

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::wire::{
    AlertSummary, BackupOutcome, BackupStatus, Desired, LogSinkStatus, ProcessStatus, SCHEMA,
    State, StatusDocument,
};

/// What HTTP calls the format that [`exposition`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The levels of records. Each is shown for each sink, lost or not, so that a rate has a beginning.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

/// The severities of alerts, of which each is shown, for the same reason.
const SEVERITIES: [&str; 4] = ["info", "warning", "error", "critical"];

/// How the values of a family behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// Only grows, and begins at 0 again with what it counts.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Behaviour {
    /// Its name in the format.
    pub fn name(self) -> &'static str {
        match self {
            Behaviour::Counter => "counter",
            Behaviour::Gauge => "gauge",
        }
    }
}

/// Numbers of one kind.
#[derive(Debug)]
pub struct Family {
    /// Its name: the unit is in it, and `_total` where it is a [`Behaviour::Counter`].
    pub name: &'static str,
    /// How its values behave.
    pub behaviour: Behaviour,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it is, in one line.
    pub help: &'static str,
    read: fn(&StatusDocument, &mut Samples),
}

/// Every family, in the order it is shown.
pub static FAMILIES: &[Family] = &[
    gauge(
        "mainstay_info",
        &["version", "host"],
        "Always 1; which version runs where",
        |status, out| out.put(&[&status.version, &status.host], 1.0),
    ),
    gauge(
        "mainstay_start_time_seconds",
        &[],
        "When the daemon started, in seconds since 1970",
        |status, out| out.put(&[], seconds(status.daemon.started)),
    ),
    gauge(
        "mainstay_warnings",
        &[],
        "How many warnings `mainstay status` shows",
        |status, out| out.count(&[], status.warnings.len()),
    ),
    gauge(
        "mainstay_program_up",
        PROCESS,
        "1 while it is in RUNNING, else 0",
        |status, out| out.processes(status, |p| Some(flag(p.state == State::Running))),
    ),
    gauge(
        "mainstay_program_wanted",
        PROCESS,
        "1 if it should run, else 0",
        |status, out| out.processes(status, |p| Some(flag(p.desired == Desired::Up))),
    ),
    gauge(
        "mainstay_program_state",
        PROCESS,
        "Its state by supervisord's numbers: 0 STOPPED, 10 STARTING, 20 RUNNING, 30 BACKOFF, \
         40 STOPPING, 100 EXITED, 200 FATAL, 1000 UNKNOWN",
        |status, out| out.processes(status, |p| Some(f64::from(p.state.code()))),
    ),
    counter(
        "mainstay_program_restarts_total",
        PROCESS,
        "Times it was started again without anybody asking",
        |status, out| out.processes(status, |p| Some(number(p.restarts))),
    ),
    gauge(
        "mainstay_program_uptime_seconds",
        PROCESS,
        "How long it has been running; missing while it does not",
        |status, out| out.processes(status, |p| p.uptime_seconds.map(number)),
    ),
    gauge(
        "mainstay_program_resident_memory_bytes",
        PROCESS,
        "Resident memory of the process; missing without one",
        |status, out| out.processes(status, |p| p.rss_bytes.map(number)),
    ),
    counter(
        "mainstay_program_cpu_seconds_total",
        PROCESS,
        "Processor time that the process has used; missing without one",
        |status, out| out.processes(status, |p| p.cpu_seconds),
    ),
    counter(
        "mainstay_log_records_delivered_total",
        SINK,
        "Records that the sink took since it was opened",
        |status, out| out.sinks(status, |sink| Some(sink.delivered)),
    ),
    counter(
        "mainstay_log_records_lost_total",
        &["sink", "level"],
        "Records lost to the sink since it was opened; why is said in its place in the log",
        |status, out| {
            for sink in &status.log {
                for level in LEVELS {
                    let lost = sink.lost.get(level).copied().unwrap_or(0);
                    out.put(&[&sink.name, level], number(lost));
                }
            }
        },
    ),
    counter(
        "mainstay_log_sink_errors_total",
        SINK,
        "How often the sink could not take what it was given; it fails while this grows",
        |status, out| out.sinks(status, |sink| Some(sink.errors)),
    ),
    gauge(
        "mainstay_log_sink_waiting_bytes",
        SINK,
        "Bytes that wait in the sink's queue",
        |status, out| out.sinks(status, |sink| Some(sink.waiting)),
    ),
    gauge(
        "mainstay_log_sink_room_bytes",
        SINK,
        "Bytes that may wait there; missing without a queue",
        |status, out| out.sinks(status, |sink| sink.room),
    ),
    gauge(
        "mainstay_alerts_open",
        &["severity"],
        "Kinds of alerts that are raised and not over",
        |status, out| {
            let Some(alerts) = &status.alerts else {
                return;
            };
            for severity in SEVERITIES {
                let open = alerts.open.get(severity).copied().unwrap_or(0);
                out.put(&[severity], number(open));
            }
        },
    ),
    gauge(
        "mainstay_alerts_muted",
        &[],
        "How many of those are not told, by a silence or because something wider is broken",
        |status, out| out.alerts(status, |alerts| alerts.muted),
    ),
    gauge(
        "mainstay_alerts_waiting",
        &[],
        "Alerts that are in no message yet",
        |status, out| out.alerts(status, |alerts| alerts.counts.waiting),
    ),
    counter(
        "mainstay_alerts_raised_total",
        &[],
        "Alerts raised since the state was begun",
        |status, out| out.alerts(status, |alerts| alerts.counts.raised),
    ),
    counter(
        "mainstay_alerts_told_total",
        &[],
        "Alerts told in a message",
        |status, out| out.alerts(status, |alerts| alerts.counts.told),
    ),
    counter(
        "mainstay_alerts_silenced_total",
        &[],
        "Alerts kept back by a silence",
        |status, out| out.alerts(status, |alerts| alerts.counts.silenced),
    ),
    counter(
        "mainstay_alerts_inhibited_total",
        &[],
        "Alerts kept back because something wider was broken",
        |status, out| out.alerts(status, |alerts| alerts.counts.inhibited),
    ),
    counter(
        "mainstay_alerts_overflowed_total",
        &[],
        "Alerts that there was no room for; they are told as a number",
        |status, out| out.alerts(status, |alerts| alerts.counts.overflowed),
    ),
    gauge(
        "mainstay_alert_silences",
        &[],
        "Silences that hold",
        |status, out| out.alerts(status, |alerts| alerts.silences),
    ),
    counter(
        "mainstay_alert_messages_total",
        &[],
        "Messages made of alerts",
        |status, out| out.alerts(status, |alerts| alerts.counts.messages),
    ),
    gauge(
        "mainstay_alert_deliveries",
        &["state"],
        "How the last 200 messages through channels stand: waiting, sent, failed, given_up, no_channel",
        |status, out| {
            for (state, deliveries) in status.alerts.iter().flat_map(|alerts| &alerts.deliveries) {
                out.put(&[state], number(*deliveries));
            }
        },
    ),
    gauge(
        "mainstay_alert_channels",
        &[],
        "Channels of alerts",
        |status, out| out.alerts(status, |alerts| alerts.channels),
    ),
    gauge(
        "mainstay_alert_channels_failing",
        &[],
        "Channels that do not get messages through, the heartbeat among them",
        |status, out| {
            if let Some(alerts) = &status.alerts {
                out.count(&[], alerts.failing.len());
            }
        },
    ),
    gauge(
        "mainstay_alert_outbox_in_memory",
        &[],
        "1 while the outbox cannot be written to disk, else 0",
        |status, out| out.alerts(status, |alerts| u64::from(alerts.trouble.is_some())),
    ),
    gauge(
        "mainstay_backup_last_good_timestamp_seconds",
        BACKUP,
        "When it last succeeded everywhere, in seconds since 1970; missing if never",
        |status, out| out.backups(status, |backup| backup.last_good.map(seconds)),
    ),
    gauge(
        "mainstay_backup_last_good_bytes",
        BACKUP,
        "Bytes in the snapshot of that run; missing if not known",
        |status, out| out.backups(status, |backup| backup.last_good_bytes.map(number)),
    ),
    gauge(
        "mainstay_backup_failed",
        BACKUP,
        "1 if the last run was not good everywhere, else 0; missing if it never ran",
        |status, out| {
            out.backups(status, |backup| {
                Some(flag(backup.last_outcome? != BackupOutcome::Good))
            });
        },
    ),
    gauge(
        "mainstay_backup_overdue",
        BACKUP,
        "1 if there should be a newer good one, else 0",
        |status, out| out.backups(status, |backup| Some(flag(backup.overdue))),
    ),
    gauge(
        "mainstay_backup_running",
        BACKUP,
        "1 while it runs, else 0",
        |status, out| out.backups(status, |backup| Some(flag(backup.running))),
    ),
    gauge(
        "mainstay_backup_next_due_timestamp_seconds",
        BACKUP,
        "When it is due next, in seconds since 1970; missing without a schedule",
        |status, out| out.backups(status, |backup| backup.next_due.map(seconds)),
    ),
    gauge(
        "mainstay_backup_usual_bytes",
        BACKUP,
        "Bytes that the good runs before the last one usually had; missing without any",
        |status, out| out.backups(status, |backup| backup.usual_bytes.map(number)),
    ),
    gauge(
        "mainstay_backup_shrunken",
        BACKUP,
        "1 if the last good run has far less than those before it, else 0",
        |status, out| out.backups(status, |backup| Some(flag(backup.shrunken.is_some()))),
    ),
    gauge(
        "mainstay_backup_proven_timestamp_seconds",
        BACKUP,
        "When a drill last proved a restore, in seconds since 1970; missing if never",
        |status, out| out.backups(status, |backup| Some(seconds(backup.proven.as_ref()?.at))),
    ),
    gauge(
        "mainstay_backup_proven_restore_seconds",
        BACKUP,
        "How long that restore took, without its checks; missing if never",
        |status, out| {
            out.backups(status, |backup| {
                Some(number(backup.proven.as_ref()?.milliseconds) / 1000.0)
            });
        },
    ),
    gauge(
        "mainstay_backup_unproven",
        BACKUP,
        "1 if a restore should have been proven since, else 0",
        |status, out| out.backups(status, |backup| Some(flag(backup.unproven))),
    ),
    gauge(
        "mainstay_backup_drill_failed",
        BACKUP,
        "1 if the last drill proved nothing, else 0",
        |status, out| out.backups(status, |backup| Some(flag(backup.drill_error.is_some()))),
    ),
    gauge(
        "mainstay_disk_size_bytes",
        &["path"],
        "Size of the file system that holds this path",
        |status, out| {
            for disk in &status.disks {
                out.put(&[&disk.path], number(disk.total));
            }
        },
    ),
    gauge(
        "mainstay_disk_free_bytes",
        &["path"],
        "What an ordinary user may still fill of it",
        |status, out| {
            for disk in &status.disks {
                out.put(&[&disk.path], number(disk.free));
            }
        },
    ),
];

const PROCESS: &[&str] = &["name", "program", "group"];
const SINK: &[&str] = &["sink"];
const BACKUP: &[&str] = &["backup"];

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&StatusDocument, &mut Samples),
) -> Family {
    Family {
        name,
        behaviour: Behaviour::Gauge,
        labels,
        help,
        read,
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&StatusDocument, &mut Samples),
) -> Family {
    Family {
        behaviour: Behaviour::Counter,
        ..gauge(name, labels, help, read)
    }
}

/// The values of one family, by those of its labels. What has the same labels is one thing to
/// Prometheus, and refused twice: it is added up.
#[derive(Debug, Default)]
struct Samples(BTreeMap<Vec<String>, f64>);

impl Samples {
    fn put(&mut self, labels: &[&str], value: f64) {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        *self.0.entry(labels).or_insert(0.0) += value;
    }

    fn count(&mut self, labels: &[&str], count: usize) {
        self.put(labels, number(u64::try_from(count).unwrap_or(u64::MAX)));
    }

    fn processes(
        &mut self,
        status: &StatusDocument,
        value: impl Fn(&ProcessStatus) -> Option<f64>,
    ) {
        for process in &status.programs {
            if let Some(value) = value(process) {
                let group = process.group.as_deref().unwrap_or_default();
                self.put(&[&process.name, &process.program, group], value);
            }
        }
    }

    fn sinks(&mut self, status: &StatusDocument, value: impl Fn(&LogSinkStatus) -> Option<u64>) {
        for sink in &status.log {
            if let Some(value) = value(sink) {
                self.put(&[&sink.name], number(value));
            }
        }
    }

    fn alerts(&mut self, status: &StatusDocument, value: impl Fn(&AlertSummary) -> u64) {
        if let Some(alerts) = &status.alerts {
            self.put(&[], number(value(alerts)));
        }
    }

    fn backups(&mut self, status: &StatusDocument, value: impl Fn(&BackupStatus) -> Option<f64>) {
        for backup in &status.backups {
            if let Some(value) = value(backup) {
                self.put(&[&backup.name], value);
            }
        }
    }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// All numbers of the format are floating point. From 9e15 on single units are lost.
#[expect(
    clippy::cast_precision_loss,
    reason = "the format has no other numbers"
)]
fn number(count: u64) -> f64 {
    count as f64
}

/// To the millisecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 have 41 bits"
)]
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// A status in numbers, as a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Those of [`FAMILIES`] that have a value.
    pub families: Vec<FamilyValues>,
}

/// A family with its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilyValues {
    /// [`Family::name`].
    pub name: &'static str,
    /// [`Family::behaviour`].
    #[serde(rename = "type")]
    pub behaviour: Behaviour,
    /// [`Family::help`].
    pub help: &'static str,
    /// Each value once, ordered by the values of its labels.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// What of: names of labels and their values.
    pub labels: BTreeMap<&'static str, String>,
    /// How much.
    pub value: f64,
}

/// The numbers of a status. Families without a value are left out.
pub fn metrics(status: &StatusDocument) -> MetricsDocument {
    let values = |family: &Family| {
        let mut samples = Samples::default();
        (family.read)(status, &mut samples);
        let samples: Vec<Sample> = samples
            .0
            .into_iter()
            .map(|(labels, value)| Sample {
                labels: family.labels.iter().copied().zip(labels).collect(),
                value,
            })
            .collect();
        (!samples.is_empty()).then_some(FamilyValues {
            name: family.name,
            behaviour: family.behaviour,
            help: family.help,
            samples,
        })
    };
    MetricsDocument {
        schema: SCHEMA,
        families: FAMILIES.iter().filter_map(values).collect(),
    }
}

/// The same in the text format 0.0.4; [`CONTENT_TYPE`].
pub fn exposition(status: &StatusDocument) -> String {
    let mut text = String::new();
    for family in metrics(status).families {
        let (name, behaviour) = (family.name, family.behaviour.name());
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        escape(&mut text, family.help, false);
        // Writing to a string cannot fail.
        let _ = write!(text, "\n# TYPE {name} {behaviour}\n");
        for sample in family.samples {
            text.push_str(name);
            let mut before = '{';
            for (label, value) in &sample.labels {
                text.push(before);
                text.push_str(label);
                text.push_str("=\"");
                escape(&mut text, value, true);
                text.push('"');
                before = ',';
            }
            if before == ',' {
                text.push('}');
            }
            let _ = writeln!(text, " {}", sample.value);
        }
    }
    text
}

/// A backslash and a line feed are escaped everywhere, quotes in values of labels.
fn escape(out: &mut String, text: &str, quotes: bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;

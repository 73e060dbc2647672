use std::collections::BTreeSet;

use super::*;
use crate::wire::{AlertCounts, DaemonStatus, DiskStatus, ProvenRestore};

fn empty() -> StatusDocument {
    StatusDocument {
        schema: SCHEMA,
        host: "shop1".into(),
        version: "1.2.3".into(),
        daemon: DaemonStatus {
            pid: 77,
            started: "2026-11-22T06:00:00.25Z".parse().unwrap(),
            uptime_seconds: 12,
        },
        programs: Vec::new(),
        backups: Vec::new(),
        disks: Vec::new(),
        new_faults: std::collections::BTreeMap::new(),
        alerts: None,
        log: Vec::new(),
        warnings: Vec::new(),
    }
}

fn sink(name: &str) -> LogSinkStatus {
    LogSinkStatus {
        name: name.into(),
        delivered: 1000,
        lost: [("debug".to_owned(), 812)].into(),
        errors: 3,
        waiting: 4096,
        room: None,
    }
}

fn full() -> StatusDocument {
    let running = ProcessStatus {
        group: Some("shop".into()),
        restarts: 2,
        uptime_seconds: Some(90),
        rss_bytes: Some(1 << 40),
        cpu_seconds: Some(1.5),
        ..ProcessStatus::new("web:1", "web", State::Running)
    };
    let stopped = ProcessStatus {
        desired: Desired::Down,
        ..ProcessStatus::new("cron", "cron", State::Stopped)
    };
    let backup = |name: &str| BackupStatus {
        name: name.into(),
        source: "files".into(),
        repositories: vec!["local".into()],
        overdue: true,
        ..BackupStatus::default()
    };
    StatusDocument {
        programs: vec![running, stopped],
        backups: vec![
            BackupStatus {
                last_good: Some("2026-11-22T05:00:00Z".parse().unwrap()),
                last_good_bytes: Some(77),
                last_outcome: Some(BackupOutcome::Partly),
                next_due: Some("2026-11-23T05:00:00Z".parse().unwrap()),
                overdue: false,
                running: true,
                usual_bytes: Some(200),
                shrunken: Some("77 B, and usually 200 B".into()),
                proven: Some(ProvenRestore {
                    at: "2026-11-21T05:00:00Z".parse().unwrap(),
                    milliseconds: 1500,
                    snapshot: None,
                    taken: None,
                }),
                unproven: true,
                drill_error: Some("a pack is damaged".into()),
                ..backup("db")
            },
            backup("never"),
        ],
        disks: vec![DiskStatus {
            path: "/srv".into(),
            total: 100,
            free: 40,
        }],
        new_faults: std::collections::BTreeMap::new(),
        alerts: Some(AlertSummary {
            firing: 2,
            muted: 1,
            silences: 1,
            channels: 3,
            failing: vec!["mail".into()],
            undelivered: 5,
            trouble: Some("the disk is full".into()),
            open: [("critical".to_owned(), 2)].into(),
            deliveries: [("sent".to_owned(), 9), ("waiting".to_owned(), 5)].into(),
            counts: AlertCounts {
                raised: 20,
                told: 15,
                silenced: 1,
                inhibited: 2,
                waiting: 2,
                overflowed: 4,
                messages: 14,
            },
            ..AlertSummary::default()
        }),
        log: vec![
            LogSinkStatus {
                room: Some(8192),
                ..sink("tcp:logs:601")
            },
            sink("console"),
        ],
        warnings: vec!["the clock is off".into()],
        ..empty()
    }
}

/// The lines of the text that are values.
fn values(status: &StatusDocument) -> BTreeSet<String> {
    let text = exposition(status);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_a_status_comes_to() {
    let found = values(&full());
    let web = r#"{group="shop",name="web:1",program="web"}"#;
    let cron = r#"{group="",name="cron",program="cron"}"#;
    let table = [
        r#"mainstay_info{host="shop1",version="1.2.3"} 1"#.to_owned(),
        "mainstay_start_time_seconds 1795327200.25".to_owned(),
        "mainstay_warnings 1".to_owned(),
        format!("mainstay_program_up{web} 1"),
        format!("mainstay_program_up{cron} 0"),
        format!("mainstay_program_wanted{cron} 0"),
        format!("mainstay_program_state{web} 20"),
        format!("mainstay_program_restarts_total{web} 2"),
        format!("mainstay_program_uptime_seconds{web} 90"),
        format!("mainstay_program_resident_memory_bytes{web} 1099511627776"),
        format!("mainstay_program_cpu_seconds_total{web} 1.5"),
        r#"mainstay_log_records_delivered_total{sink="console"} 1000"#.to_owned(),
        r#"mainstay_log_records_lost_total{level="debug",sink="tcp:logs:601"} 812"#.to_owned(),
        r#"mainstay_log_records_lost_total{level="critical",sink="tcp:logs:601"} 0"#.to_owned(),
        r#"mainstay_log_sink_errors_total{sink="console"} 3"#.to_owned(),
        r#"mainstay_log_sink_waiting_bytes{sink="console"} 4096"#.to_owned(),
        r#"mainstay_log_sink_room_bytes{sink="tcp:logs:601"} 8192"#.to_owned(),
        r#"mainstay_alerts_open{severity="critical"} 2"#.to_owned(),
        r#"mainstay_alerts_open{severity="info"} 0"#.to_owned(),
        "mainstay_alerts_muted 1".to_owned(),
        "mainstay_alerts_waiting 2".to_owned(),
        "mainstay_alerts_raised_total 20".to_owned(),
        "mainstay_alerts_told_total 15".to_owned(),
        "mainstay_alerts_silenced_total 1".to_owned(),
        "mainstay_alerts_inhibited_total 2".to_owned(),
        "mainstay_alerts_overflowed_total 4".to_owned(),
        "mainstay_alert_silences 1".to_owned(),
        "mainstay_alert_messages_total 14".to_owned(),
        r#"mainstay_alert_deliveries{state="sent"} 9"#.to_owned(),
        r#"mainstay_alert_deliveries{state="waiting"} 5"#.to_owned(),
        "mainstay_alert_channels 3".to_owned(),
        "mainstay_alert_channels_failing 1".to_owned(),
        "mainstay_alert_outbox_in_memory 1".to_owned(),
        r#"mainstay_backup_last_good_timestamp_seconds{backup="db"} 1795323600"#.to_owned(),
        r#"mainstay_backup_last_good_bytes{backup="db"} 77"#.to_owned(),
        r#"mainstay_backup_failed{backup="db"} 1"#.to_owned(),
        r#"mainstay_backup_overdue{backup="db"} 0"#.to_owned(),
        r#"mainstay_backup_overdue{backup="never"} 1"#.to_owned(),
        r#"mainstay_backup_running{backup="db"} 1"#.to_owned(),
        r#"mainstay_backup_next_due_timestamp_seconds{backup="db"} 1795410000"#.to_owned(),
        r#"mainstay_backup_usual_bytes{backup="db"} 200"#.to_owned(),
        r#"mainstay_backup_shrunken{backup="db"} 1"#.to_owned(),
        r#"mainstay_backup_shrunken{backup="never"} 0"#.to_owned(),
        r#"mainstay_backup_proven_timestamp_seconds{backup="db"} 1795237200"#.to_owned(),
        r#"mainstay_backup_proven_restore_seconds{backup="db"} 1.5"#.to_owned(),
        r#"mainstay_backup_unproven{backup="db"} 1"#.to_owned(),
        r#"mainstay_backup_unproven{backup="never"} 0"#.to_owned(),
        r#"mainstay_backup_drill_failed{backup="db"} 1"#.to_owned(),
        r#"mainstay_disk_size_bytes{path="/srv"} 100"#.to_owned(),
        r#"mainstay_disk_free_bytes{path="/srv"} 40"#.to_owned(),
    ];
    for line in &table {
        assert!(found.contains(line), "{line} is not in {found:#?}");
    }
    let absent = [
        "mainstay_program_uptime_seconds{group=\"\"",
        "mainstay_log_sink_room_bytes{sink=\"console\"",
        "mainstay_backup_last_good_timestamp_seconds{backup=\"never\"",
        "mainstay_backup_failed{backup=\"never\"",
    ];
    for start in absent {
        let there = found.iter().find(|line| line.starts_with(start));
        assert_eq!(there, None);
    }
    // Every family has a row above.
    for family in FAMILIES {
        assert!(
            table.iter().any(|line| line
                .strip_prefix(family.name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))),
            "{} is not in the table of this test",
            family.name
        );
    }
}

#[test]
fn values_of_labels_are_escaped() {
    let table = [
        ("plain", "plain"),
        (r#"file:/a "b""#, r#"file:/a \"b\""#),
        (r"C:\logs", r"C:\\logs"),
        ("two\nlines", r"two\nlines"),
        ("\\n", r"\\n"),
        ("商店 {a=\"1\"}", r#"商店 {a=\"1\"}"#),
        ("", ""),
    ];
    for (name, written) in table {
        let status = StatusDocument {
            log: vec![sink(name)],
            ..empty()
        };
        let line = format!("mainstay_log_records_delivered_total{{sink=\"{written}\"}} 1000");
        let found = values(&status);
        assert!(found.contains(&line), "{name:?}: {found:#?}");
        assert!(
            found.iter().all(|line| line.starts_with("mainstay_")),
            "{name:?} broke a line: {found:#?}"
        );
    }
    let mut help = String::new();
    escape(&mut help, "a \"b\" \\ c\nd", false);
    assert_eq!(help, r#"a "b" \\ c\nd"#);
}

#[test]
fn the_text_is_of_the_format() {
    let text = exposition(&full());
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
    let mut lines = text.lines().peekable();
    let mut seen = BTreeSet::new();
    while let Some(line) = lines.next() {
        let (name, help) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
            .unwrap_or_else(|| panic!("{line}"));
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        assert_eq!(help, family.help);
        assert_eq!(
            lines.next(),
            Some(&*format!("# TYPE {name} {}", family.behaviour.name()))
        );
        let mut samples = 0;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            assert!(line.starts_with(name), "{line} under {name}");
            let (of, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(seen.insert(of.to_owned()), "{of} is there twice");
            samples += 1;
        }
        assert!(samples > 0, "{name} has a head and nothing else");
    }
}

#[test]
fn sinks_of_one_name_are_one() {
    let status = StatusDocument {
        log: vec![sink("console"), sink("console")],
        ..empty()
    };
    let found = values(&status);
    assert!(found.contains(r#"mainstay_log_records_delivered_total{sink="console"} 2000"#));
    assert!(
        found.contains(r#"mainstay_log_records_lost_total{level="debug",sink="console"} 1624"#)
    );
}

/// Prometheus: names are of letters, digits and `_`; counters end in `_total`, nothing else does;
/// units are whole words in the plural, as base units.
#[test]
fn names_are_by_the_rules() {
    let mut names = BTreeSet::new();
    for family in FAMILIES {
        let name = family.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("mainstay_")
                && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            family.behaviour == Behaviour::Counter,
            "{name}"
        );
        for unit in ["_ms", "_millis", "_kb", "_minutes", "_percent"] {
            assert!(!name.contains(unit), "{name}");
        }
        for label in family.labels {
            assert!(
                label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && *label != "le",
                "{name}: {label}"
            );
        }
        assert!(
            !family.help.is_empty() && !family.help.ends_with('.'),
            "{name}"
        );
    }
}

/// The table of the documents has the same rows, in the same order.
#[test]
fn the_documents_have_every_family() {
    let documented: Vec<String> = include_str!("../../../docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `mainstay_"))
        .map(str::to_owned)
        .collect();
    let built: Vec<String> = FAMILIES
        .iter()
        .map(|family| {
            let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
            let (name, behaviour) = (family.name, family.behaviour.name());
            let (labels, help) = (labels.join(", "), family.help);
            format!("| `{name}` | {behaviour} | {labels} | {help} |")
        })
        .collect();
    assert_eq!(documented, built, "docs/metrics.md:\n{}", built.join("\n"));
}

#[test]
fn as_a_document() {
    let value = serde_json::to_value(metrics(&full())).unwrap();
    assert_eq!(value["schema"], SCHEMA);
    let families = value["families"].as_array().unwrap();
    let lost = families
        .iter()
        .find(|family| family["name"] == "mainstay_log_records_lost_total")
        .unwrap();
    assert_eq!(lost["type"], "counter");
    assert!(
        lost["samples"]
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({
                "labels": {"sink": "console", "level": "debug"}, "value": 812.0
            }))
    );
}

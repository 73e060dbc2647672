use mainstay_control::wire::ProvenRestore;
use mainstay_supervise::Exit;

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn change(from: Phase, to: Phase, why: Why, tries: u32) -> Event {
    Event::Changed(Change {
        process: "web".to_owned(),
        program: "web".to_owned(),
        group: "web".to_owned(),
        from,
        to,
        why,
        pid: None,
        tries,
        exit: (why == Why::Died).then_some(Exit::Code(7)),
        trouble: None,
        retry_in: None,
    })
}

/// An act in a few words.
fn shown(act: Option<&Act>) -> String {
    let alert = |alert: &Alert| {
        let lasting = if alert.lasting { ", lasting" } else { "" };
        format!(
            "{} {}: {}{lasting}",
            alert.severity, alert.key.app, alert.title
        )
    };
    match act {
        None => String::new(),
        Some(Act::Raise(raised)) => alert(raised),
        Some(Act::RaiseWithOutput(raised, process)) => {
            format!("{}, with output of {process}", alert(raised))
        }
        Some(Act::Resolve(key)) => format!("over: {key}"),
    }
}

#[test]
fn what_programs_do_is_told_as_a_table_says() {
    use Phase::{Backoff, Exited, Fatal, Running, Starting, Stopped, Stopping};
    const FATAL: &str =
        "critical web: web is FATAL: it is not started again, lasting, with output of web";
    const DIES: &str = "error web: web does not start, lasting, with output of web";
    const ENDED: &str = "error web: web ended unexpectedly: exit status 7, with output of web";
    const OVER: &str = "over: web/program-down";
    type Step = (Phase, Phase, Why, u32, &'static str);
    let table: &[(&str, &[Step])] = &[
        (
            "it goes on",
            &[
                (Stopped, Starting, Why::Autostart, 0, ""),
                (Starting, Running, Why::StayedUp, 0, ""),
                (Running, Stopping, Why::Asked, 0, ""),
                (Stopping, Stopped, Why::Gone, 0, ""),
            ],
        ),
        (
            "it is given up and comes back",
            &[
                (Starting, Backoff, Why::TooQuick, 1, ""),
                (Backoff, Fatal, Why::GaveUp, 2, FATAL),
                (Fatal, Starting, Why::Asked, 0, ""),
                (Starting, Running, Why::StayedUp, 0, OVER),
                (Running, Stopping, Why::Asked, 0, ""),
            ],
        ),
        (
            "given up twice is one alert that lasts",
            &[
                (Backoff, Fatal, Why::GaveUp, 2, FATAL),
                (Fatal, Starting, Why::Asked, 0, ""),
                (Starting, Backoff, Why::TooQuick, 9, ""),
                (Backoff, Fatal, Why::GaveUp, 10, ""),
                (Fatal, Stopped, Why::Asked, 0, OVER),
            ],
        ),
        (
            "it is never given up and never starts",
            &[
                (Starting, Backoff, Why::TooQuick, 4, ""),
                (Starting, Backoff, Why::TooQuick, 5, DIES),
                (Starting, Backoff, Why::SpawnFailed, 6, ""),
                (Backoff, Fatal, Why::GaveUp, 7, FATAL),
                (Starting, Running, Why::StayedUp, 0, OVER),
            ],
        ),
        (
            "it ends each time",
            &[
                (Running, Exited, Why::Died, 0, ENDED),
                (Running, Exited, Why::Died, 0, ENDED),
            ],
        ),
        ("as expected", &[(Running, Exited, Why::Done, 0, "")]),
        (
            "a job that does its work at last",
            &[
                (Starting, Backoff, Why::TooQuick, 5, DIES),
                (Running, Exited, Why::Done, 0, OVER),
            ],
        ),
    ];
    for (name, steps) in table {
        let mut watch = Watch::default();
        for (number, (from, to, why, tries, expected)) in steps.iter().enumerate() {
            let act = watch.on_event(&change(*from, *to, *why, *tries), at(0));
            assert_eq!(shown(act.as_ref()), *expected, "{name}, step {number}");
        }
    }
}

#[test]
fn an_end_that_was_asked_for_is_no_news() {
    let mut watch = Watch::default();
    let fatal = change(Phase::Backoff, Phase::Fatal, Why::GaveUp, 2);
    assert!(watch.on_event(&fatal, at(0)).is_some());
    assert_eq!(watch.on_event(&Event::ShuttingDown, at(1)), None);
    for event in [
        change(Phase::Running, Phase::Exited, Why::Died, 0),
        change(Phase::Fatal, Phase::Stopped, Why::Asked, 0),
    ] {
        assert_eq!(watch.on_event(&event, at(2)), None, "{event}");
    }
}

#[test]
fn other_events() {
    let output = |level| Event::Output {
        process: "web".to_owned(),
        level,
        text: "cannot write".to_owned(),
    };
    let failed = Event::JournalFailed {
        text: "disk full".to_owned(),
    };
    let adopted = Event::Adopted {
        process: "web".to_owned(),
        pid: 1,
        outdated: false,
    };
    let fatal = change(Phase::Backoff, Phase::Fatal, Why::GaveUp, 2);
    let mut watch = Watch::default();
    for (event, expected) in [
        (output(Level::Info), ""),
        (
            output(Level::Error),
            "error web: the output of web is not kept, lasting",
        ),
        (output(Level::Error), ""),
        (output(Level::Info), "over: web/program-output"),
        (
            failed,
            "error mainstay: a kill of mainstay now could lose sight of programs, lasting",
        ),
        (Event::JournalRecovered, "over: mainstay/journal"),
        (adopted.clone(), ""),
        (
            fatal,
            "critical web: web is FATAL: it is not started again, lasting, with output of web",
        ),
        (adopted, "over: web/program-down"),
    ] {
        let act = watch.on_event(&event, at(0));
        assert_eq!(shown(act.as_ref()), expected, "{event}");
    }
}

fn backup(
    outcome: Option<BackupOutcome>,
    last_good: Option<Timestamp>,
    overdue: bool,
) -> BackupStatus {
    BackupStatus {
        name: "db".to_owned(),
        source: "sqlite".to_owned(),
        last_good,
        last_outcome: outcome,
        overdue,
        ..BackupStatus::default()
    }
}

#[test]
fn what_shrinks_or_is_not_proven_is_told_as_a_table_says() {
    const SHRUNKEN: &str = "error backup:db: the backup db has shrunken, lasting";
    const DRILL: &str = "error backup:db: the drill of db failed, lasting";
    const UNPROVEN: &str = "warning backup:db: no restore of db was proven for long, lasting";
    let good = |change: &dyn Fn(&mut BackupStatus)| {
        let mut status = backup(Some(BackupOutcome::Good), Some(at(1)), false);
        change(&mut status);
        status
    };
    let proven = |minute| {
        Some(ProvenRestore {
            at: at(minute),
            milliseconds: 1,
            snapshot: None,
            taken: None,
        })
    };
    let mut watch = Watch::default();
    for (minute, status, expected) in [
        (1, good(&|_| {}), vec![]),
        (
            2,
            good(&|s| s.shrunken = Some("1 B, and usually 9 B".to_owned())),
            vec![SHRUNKEN],
        ),
        (3, good(&|_| {}), vec!["over: backup:db/backup-shrunken"]),
        (4, good(&|s| s.unproven = true), vec![UNPROVEN]),
        (5, good(&|s| s.unproven = true), vec![]),
        (
            6,
            good(&|s| {
                s.unproven = true;
                s.drill_error = Some("a pack is damaged".to_owned());
            }),
            vec![DRILL],
        ),
        // What was proven before it failed ends nothing.
        (
            7,
            good(&|s| s.proven = proven(5)),
            vec!["over: backup:db/backup-unproven"],
        ),
        (
            8,
            good(&|s| s.proven = proven(8)),
            vec!["over: backup:db/drill-failed"],
        ),
        (9, good(&|s| s.proven = proven(8)), vec![]),
        // It is being drilled: the word is spoken afterwards.
        (
            10,
            good(&|s| {
                s.unproven = true;
                s.drilling = true;
            }),
            vec![],
        ),
    ] {
        let acts = watch.on_backups(&[status], at(minute));
        let acts: Vec<String> = acts.iter().map(|act| shown(Some(act))).collect();
        assert_eq!(acts, expected, "minute {minute}");
    }
}

#[test]
fn what_backups_do_is_told_as_a_table_says() {
    use BackupOutcome::{Failed, Good, Partly};
    const FAILED_TEXT: &str = "error backup:db: the backup db failed, lasting";
    const PARTLY: &str = "error backup:db: the backup db is not complete, lasting";
    const LATE: &str = "error backup:db: the backup db is overdue, lasting";
    let failed_over = "over: backup:db/backup-failed";
    let late_over = "over: backup:db/backup-overdue";
    let mut watch = Watch::default();
    for (minute, status, expected) in [
        (0, backup(None, None, false), vec![]),
        (1, backup(Some(Good), Some(at(1)), false), vec![]),
        (
            2,
            backup(Some(Failed), Some(at(1)), false),
            vec![FAILED_TEXT],
        ),
        (3, backup(Some(Failed), Some(at(1)), true), vec![LATE]),
        (4, backup(Some(Partly), Some(at(1)), true), vec![PARTLY]),
        (
            5,
            backup(Some(Good), Some(at(5)), false),
            vec![failed_over, late_over],
        ),
        (6, backup(Some(Good), Some(at(5)), false), vec![]),
    ] {
        let acts = watch.on_backups(&[status], at(minute));
        let acts: Vec<String> = acts.iter().map(|act| shown(Some(act))).collect();
        assert_eq!(acts, expected, "minute {minute}");
    }
}

#[test]
fn a_run_that_the_catalog_does_not_know_lasts_until_a_good_one() {
    let mut watch = Watch::default();
    let before = backup(Some(BackupOutcome::Good), Some(at(1)), false);
    let act = watch.on_failed_run("db", "no such file", at(5));
    assert_eq!(
        shown(act.as_ref()),
        "error backup:db: the backup db failed, lasting"
    );
    assert_eq!(watch.on_failed_run("db", "no such file", at(6)), None);
    assert!(watch.on_backups(&[before], at(7)).is_empty());
    let good = backup(Some(BackupOutcome::Good), Some(at(8)), false);
    let acts = watch.on_backups(&[good], at(9));
    assert_eq!(shown(acts.first()), "over: backup:db/backup-failed");
}

#[test]
fn disks() {
    let mut watch = Watch::default();
    let disk = |free, total| {
        vec![DiskStatus {
            path: "/var".to_owned(),
            total,
            free,
        }]
    };
    for (free, expected) in [
        (500, ""),
        (50, ""),
        (49, "warning disk: the disk of /var is nearly full, lasting"),
        (40, ""),
        (9, "critical disk: the disk of /var is full, lasting"),
        (20, "warning disk: the disk of /var is nearly full, lasting"),
        (51, ""),
        (60, "over: disk//var"),
        (60, ""),
    ] {
        let acts = watch.on_disks(&disk(free, 1000), at(0));
        assert!(acts.len() <= 1);
        assert_eq!(shown(acts.first()), expected, "{free}");
    }
    assert!(watch.on_disks(&disk(0, 0), at(0)).is_empty(), "of no size");
}

#[test]
fn what_an_earlier_daemon_raised_goes_on_and_ends() {
    let listed = |app: &str, fingerprint: &str, title: &str, state| Listed {
        key: Key::new(app, fingerprint),
        severity: Severity::Error,
        title: title.to_owned(),
        host: String::new(),
        state,
        muted_by: None,
        since: at(0),
        last: at(0),
        total: 1,
        waiting: 0,
    };
    let mut watch = Watch::default();
    watch.resume(&[
        listed(
            "web",
            DOWN,
            "web is FATAL: it is not started again",
            State::Firing,
        ),
        listed("gone", DOWN, "gone is FATAL", State::Firing),
        listed("over", DOWN, "over is FATAL", State::Resolved),
        listed("a script", "x", "said by a script", State::Firing),
        listed("backup:db", FAILED, "the backup db failed", State::Firing),
    ]);
    let fatal = change(Phase::Backoff, Phase::Fatal, Why::GaveUp, 2);
    assert_eq!(watch.on_event(&fatal, at(1)), None, "it lasts");
    let over = watch.reconcile(&[], at(1));
    let keys: Vec<String> = over.iter().map(|act| shown(Some(act))).collect();
    assert_eq!(keys, ["over: gone/program-down", "over: web/program-down"]);
    let good = backup(Some(BackupOutcome::Good), Some(at(5)), false);
    let acts = watch.on_backups(&[good], at(6));
    assert_eq!(shown(acts.first()), "over: backup:db/backup-failed");
}

#[test]
fn what_was_missed_is_made_up_for() {
    let status = |phase, wanted| Status {
        process: "web".to_owned(),
        program: "web".to_owned(),
        group: "web".to_owned(),
        instance: 0,
        phase,
        since: at(0),
        pid: None,
        uptime: None,
        started: None,
        ended: None,
        restarts: 0,
        failures: 0,
        retry_in: None,
        last_exit: None,
        trouble: None,
        wanted,
        autostart: true,
        decided: None,
        outdated: false,
        left_over: false,
        stdout_log: None,
        stderr_log: None,
    };
    let mut watch = Watch::default();
    for (phase, wanted, expected) in [
        (Phase::Running, true, ""),
        (
            Phase::Fatal,
            true,
            "critical web: web is FATAL: it is not started again, lasting, with output of web",
        ),
        (Phase::Fatal, true, ""),
        (Phase::Starting, true, ""),
        (Phase::Stopped, true, ""),
        (Phase::Stopped, false, "over: web/program-down"),
        (Phase::Stopped, false, ""),
    ] {
        let acts = watch.reconcile(&[status(phase, wanted)], at(0));
        assert_eq!(shown(acts.first()), expected, "{phase} {wanted}");
    }
}

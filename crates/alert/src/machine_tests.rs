//! Tables and properties of the state machine.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mainstay_base::{Pattern, Schedule};
use proptest::prelude::*;

use crate::machine::Stored;
use crate::policy::{Digest, GroupBy, Limit};
use crate::{
    Alert, Key, Machine, Matcher, Message, Policy, Purpose, Scope, Severity, Silence, Standing,
    State,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + seconds).unwrap()
}

fn policy() -> Policy {
    Policy {
        limit: None,
        digest: None,
        ..Policy::default()
    }
}

fn event(title: &str) -> Alert {
    Alert::new("blog", Severity::Error, title)
}

fn state(app: &str, title: &str) -> Alert {
    Alert::new(app, Severity::Critical, title).lasting()
}

fn machine(policy: Policy) -> Machine {
    Machine::new(policy, "shop1", "salt")
}

/// One line for each entry of each message, as `second purpose: standing title ×fresh/total`.
fn said(seconds: i64, messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .flat_map(|message| {
            message.entries.iter().map(move |entry| {
                format!(
                    "{seconds} {:?}: {:?} {} ×{}/{}",
                    message.purpose, entry.standing, entry.title, entry.fresh, entry.total
                )
            })
        })
        .collect()
}

/// What is said until `end`, at each moment the machine asks to be looked at.
fn run(machine: &mut Machine, from: i64, end: i64) -> Vec<String> {
    let mut out = Vec::new();
    let mut now = at(from);
    while let Some(next) = machine.next(now) {
        now = next.max(now);
        if now > at(end) {
            break;
        }
        let seconds = now.duration_since(at(0)).as_secs();
        out.extend(said(seconds, &machine.tick(now)));
    }
    out
}

enum Do {
    Raise(i64, Alert),
    Resolve(i64, Alert),
}

#[test]
fn lives_of_alerts() {
    use Do::{Raise, Resolve};
    let disk = || state("mainstay", "disk full").scope(Scope::Disk);
    let down = || state("blog", "web is down").scope(Scope::Service);
    let cases: Vec<(&str, Vec<Do>, i64, Vec<&str>)> = vec![
        (
            "an event waits for its group, then is told once",
            vec![Raise(0, event("x"))],
            100_000,
            vec!["30 Alert: New x ×1/1"],
        ),
        (
            "a storm is told at its begin and at each interval",
            (0..=400).map(|s| Raise(s, event("x"))).collect(),
            100_000,
            vec![
                "30 Alert: New x ×30/30",
                "330 Alert: Again x ×300/330",
                "630 Alert: Again x ×71/401",
            ],
        ),
        (
            "an event after a long quiet is new",
            vec![Raise(0, event("x")), Raise(5000, event("x"))],
            100_000,
            vec!["30 Alert: New x ×1/1", "5030 Alert: New x ×1/1"],
        ),
        (
            "a state is repeated and its end is told",
            vec![
                Raise(0, state("blog", "s")),
                Resolve(50_000, state("blog", "s")),
            ],
            200_000,
            vec![
                "30 Alert: New s ×1/1",
                "43230 Alert: Still s ×0/1",
                "50000 Alert: Resolved s ×0/1",
            ],
        ),
        (
            "a state that comes back before its end was told just goes on",
            vec![
                Raise(0, state("blog", "s")),
                Resolve(40, state("blog", "s")),
                Raise(50, state("blog", "s")),
            ],
            400,
            vec!["30 Alert: New s ×1/1", "330 Alert: Again s ×1/2"],
        ),
        (
            "without a digest what came and went is told too",
            vec![
                Raise(0, state("blog", "s")),
                Resolve(10, state("blog", "s")),
            ],
            100_000,
            vec!["30 Alert: Resolved s ×1/1"],
        ),
        (
            "what becomes graver does not wait for the interval",
            vec![
                Raise(0, event("x")),
                Raise(60, Alert::new("blog", Severity::Critical, "x")),
            ],
            1000,
            vec!["30 Alert: New x ×1/1", "90 Alert: Again x ×1/2"],
        ),
        (
            "what follows from a full disk is counted, and told when it outlasts it",
            vec![
                Raise(0, disk()),
                Raise(1, down()),
                Raise(2, event("x")),
                Resolve(1000, disk()),
            ],
            2000,
            vec![
                "30 Alert: New disk full ×1/1",
                "1000 Alert: Resolved disk full ×0/1",
                "1030 Alert: New web is down ×0/1",
            ],
        ),
        (
            "what came and went while it was held back is not told",
            vec![
                Raise(0, disk()),
                Raise(1, down()),
                Resolve(500, down()),
                Resolve(1000, disk()),
            ],
            2000,
            vec![
                "30 Alert: New disk full ×1/1",
                "1000 Alert: Resolved disk full ×0/1",
            ],
        ),
        (
            "the end of what was told is told, though something wider broke meanwhile",
            vec![
                Raise(0, down()),
                Raise(400, disk()),
                Resolve(1000, down()),
                Resolve(2000, disk()),
            ],
            3000,
            vec![
                "30 Alert: New web is down ×1/1",
                "430 Alert: New disk full ×1/1",
                "1000 Alert: Resolved web is down ×0/1",
                "2000 Alert: Resolved disk full ×0/1",
            ],
        ),
        (
            "a service holds back its own app only",
            vec![
                Raise(0, down()),
                Raise(0, event("x")),
                Raise(0, Alert::new("shop", Severity::Error, "y")),
            ],
            100,
            vec!["30 Alert: New web is down ×1/1", "30 Alert: New y ×1/1"],
        ),
        (
            "another host's disk holds back nothing here",
            vec![Raise(0, disk().host("db1")), Raise(0, event("x"))],
            100,
            vec!["30 Alert: New disk full ×1/1", "30 Alert: New x ×1/1"],
        ),
        (
            "the end of what was never raised is nothing",
            vec![Resolve(0, event("x"))],
            100,
            vec![],
        ),
    ];
    for (name, steps, end, expected) in cases {
        let mut machine = machine(policy());
        let mut out = Vec::new();
        let mut now = 0;
        for step in steps {
            let (Raise(seconds, _) | Resolve(seconds, _)) = &step;
            out.extend(run(&mut machine, now, *seconds));
            now = *seconds;
            match step {
                Raise(_, alert) => machine.raise(alert, at(now)),
                Resolve(_, alert) => machine.resolve(&alert.key, at(now)),
            }
        }
        out.extend(run(&mut machine, now, end));
        assert_eq!(out, expected, "{name}");
    }
}

#[test]
fn grouping_makes_one_message() {
    let mut machine = machine(Policy {
        group_by: vec![GroupBy::App],
        ..policy()
    });
    machine.raise(event("x"), at(0));
    machine.raise(event("y"), at(5));
    machine.raise(Alert::new("shop", Severity::Critical, "z"), at(5));
    let first = machine.tick(at(30));
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].entries.len(), 2);
    assert_eq!(machine.tick(at(35)).len(), 1);
}

#[test]
fn a_limit_is_kept_and_what_exceeds_it_is_summed_exactly() {
    let mut machine = machine(Policy {
        limit: Some(Limit {
            messages: 4,
            per: Duration::from_hours(1),
        }),
        ..policy()
    });
    for n in 0..100 {
        let title = format!("kind {}", char::from(b'a' + n % 26));
        let mut alert = event(&format!("{title} {}", "x".repeat(usize::from(n / 26) + 1)));
        alert.count = 100;
        machine.raise(alert, at(0));
    }
    let first = machine.tick(at(30));
    assert_eq!(first.len(), 3, "the fourth is kept for critical ones");
    assert!(
        first[2].notes[0].contains("until 2001-09-09 02:47 UTC"),
        "{first:?}"
    );
    machine.raise(state("shop", "gone"), at(40));
    let critical = machine.tick(at(70));
    assert_eq!(critical.len(), 1);
    machine.raise(state("shop", "gone too"), at(80));
    assert_eq!(machine.tick(at(110)).len(), 0, "the limit is for all");
    let next = machine.next(at(110)).unwrap();
    assert_eq!(next, at(3630));
    let summary = machine.tick(next);
    assert_eq!(summary.len(), 1);
    assert_eq!(summary[0].purpose, Purpose::Summary);
    assert_eq!(summary[0].entries.len(), 50);
    assert_eq!(summary[0].entries[0].title, "gone too");
    let rest = summary[0].rest.as_ref().unwrap();
    assert_eq!((rest.kinds, rest.count), (48, 4800));
    let told: u64 = first
        .iter()
        .chain(&critical)
        .chain(&summary)
        .map(Message::fresh)
        .sum();
    assert_eq!(told, 100 * 100 + 2);
}

#[test]
fn silences_hold_and_end() {
    let mut machine = machine(policy());
    let silence = |app: &str, until: i64| Silence {
        id: 0,
        matcher: Matcher {
            app: Some(Pattern::new(app)),
            ..Matcher::default()
        },
        from: at(0),
        until: at(until),
        author: "ops".into(),
        reason: "known".into(),
    };
    let id = machine.silence(silence("bl*", 10_000));
    machine.silence(silence("shop", 100));
    machine.raise(state("blog", "s"), at(0));
    machine.raise(event("x"), at(0));
    machine.raise(state("shop", "t"), at(0));
    assert_eq!(machine.tick(at(30)), []);
    assert_eq!(machine.counts().silenced, 3);
    let listed = machine.list(at(31));
    assert_eq!(listed[0].state, State::Muted);
    assert_eq!(
        listed[0].muted_by.as_deref(),
        Some("silence 1 by ops: known")
    );
    // The second silence ends: the state that lasts is told, with what was kept back.
    assert_eq!(run(&mut machine, 30, 150), ["130 Alert: New t ×0/1"]);
    assert!(machine.unsilence(id, at(200)));
    assert!(!machine.unsilence(id, at(200)));
    assert_eq!(run(&mut machine, 200, 300), ["230 Alert: New s ×0/1"]);
}

#[test]
fn a_deploy_excuses_its_app_for_a_while() {
    let mut machine = machine(policy());
    machine.excuse("blog", at(600), "blog is being deployed");
    machine.raise(state("blog", "s"), at(0));
    machine.raise(event("x"), at(0));
    machine.raise(Alert::new("shop", Severity::Error, "y"), at(0));
    assert_eq!(run(&mut machine, 0, 100), ["30 Alert: New y ×1/1"]);
    machine.end_excuse("blog", at(100));
    assert_eq!(run(&mut machine, 100, 200), ["130 Alert: New s ×0/1"]);
    assert_eq!(machine.counts().inhibited, 2);
    machine.excuse("blog", at(600), "again");
    machine.raise(state("blog", "u"), at(300));
    assert_eq!(run(&mut machine, 300, 700), ["630 Alert: New u ×0/1"]);
}

#[test]
fn a_digest_has_what_can_wait() {
    let mut machine = machine(Policy {
        digest: Some(Digest {
            below: Severity::Warning,
            at: Schedule::parse("0 8 * * *", TimeZone::UTC).unwrap(),
        }),
        ..policy()
    });
    machine.raise(Alert::new("backup", Severity::Info, "went well"), at(0));
    machine.raise(state("blog", "s"), at(0));
    machine.resolve(&state("blog", "s").key, at(10));
    assert_eq!(machine.tick(at(30)), []);
    machine.raise(Alert::new("backup", Severity::Info, "went well"), at(400));
    assert_eq!(machine.tick(at(430)), []);
    let due: Timestamp = "2001-09-09T08:00:00Z".parse().unwrap();
    let mut digests = Vec::new();
    let mut now = at(430);
    while let Some(next) = machine.next(now) {
        now = next;
        digests.extend(machine.tick(now).into_iter().map(|message| (now, message)));
    }
    let [(when, digest)] = digests.as_slice() else {
        panic!("{digests:?}")
    };
    assert_eq!((*when, digest.purpose), (due, Purpose::Digest));
    let entries: Vec<_> = digest
        .entries
        .iter()
        .map(|entry| (entry.title.as_str(), entry.standing, entry.fresh))
        .collect();
    assert_eq!(
        entries,
        [
            ("went well", Standing::New, 2),
            ("s", Standing::Resolved, 1)
        ]
    );
}

#[test]
fn too_many_kinds_are_one() {
    let mut machine = machine(Policy {
        kinds: 2,
        ..policy()
    });
    for title in ["a", "b", "c", "d", "a"] {
        machine.raise(event(title), at(0));
    }
    let messages = machine.tick(at(30));
    let mut counts = said(30, &messages);
    counts.sort();
    assert_eq!(
        counts,
        [
            "30 Alert: New a ×2/2",
            "30 Alert: New alerts of more kinds than are kept apart ×2/2",
            "30 Alert: New b ×1/1",
        ]
    );
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_messages() {
    let mut before = machine(policy());
    before.raise(event("x"), at(1_000_000));
    let changes = before.changes();
    let groups = changes
        .groups
        .iter()
        .filter_map(|(_, group)| group.cloned())
        .collect();
    let stored = Stored {
        groups,
        ..Stored::default()
    };
    let after = Machine::from_stored(policy(), "shop1", stored, at(0));
    assert!(after.next(at(0)).unwrap() <= at(12 * 3600));
    assert_eq!(after.waiting(), 1);
}

/// What was told in a future that was none is repeated, and its end is told, all the same.
#[test]
fn a_clock_that_was_wrong_before_a_restart_delays_nothing() {
    let mut before = machine(policy());
    let year = 365 * 86_400;
    before.raise(state("blog", "s"), at(10 * year));
    before.raise(event("x"), at(10 * year));
    assert_eq!(before.tick(at(10 * year + 30)).len(), 2);
    before.all_changed();
    let groups = before
        .changes()
        .groups
        .iter()
        .filter_map(|(_, group)| group.cloned())
        .collect();
    let stored = Stored {
        groups,
        ..Stored::default()
    };
    let mut after = Machine::from_stored(policy(), "shop1", stored, at(0));
    assert_eq!(
        run(&mut after, 0, 2 * 86_400)[..2],
        ["43200 Alert: Still s ×0/1", "86400 Alert: Still s ×0/1"]
    );
    assert_eq!(
        after.list(at(2 * 86_400)).len(),
        1,
        "the event is forgotten"
    );
}

/// However many kinds there are, only so many are kept, and all are counted.
#[test]
fn a_hundred_thousand_kinds_take_the_room_of_a_few() {
    let mut machine = machine(Policy {
        kinds: 100,
        limit: Some(Limit {
            messages: 4,
            per: Duration::from_hours(1),
        }),
        ..policy()
    });
    let mut told = 0;
    for n in 0..100_000_u32 {
        let mut alert = event("x").body("b".repeat(100));
        alert.key = Key::new(format!("app{}", n % 7), format!("{n:x}"));
        machine.raise(alert, at(i64::from(n / 1000)));
        if n % 1000 == 0 {
            told += fresh(&machine.tick(at(i64::from(n / 1000))));
        }
    }
    assert!(machine.list(at(100)).len() <= 101);
    machine.all_changed();
    let changes = machine.changes();
    let groups: Vec<_> = changes
        .groups
        .iter()
        .filter_map(|(_, group)| *group)
        .collect();
    let size = serde_json::to_string(&(changes.core, changes.piles, groups))
        .unwrap()
        .len();
    assert!(size < 1_000_000, "{size} bytes");
    let mut now = at(100);
    while machine.waiting() > 0 {
        now = machine.next(now).unwrap().max(now);
        told += fresh(&machine.tick(now));
    }
    assert_eq!(told, 100_000);
}

fn fresh(messages: &[Message]) -> u64 {
    messages.iter().map(Message::fresh).sum()
}

#[test]
fn patterns_of_silences() {
    let pattern = |text: &str| Some(Pattern::new(text));
    let key = Key::new("blog-2", "disk");
    for (matcher, expected) in [
        (Matcher::default(), false),
        (
            Matcher {
                app: pattern("*"),
                ..Matcher::default()
            },
            true,
        ),
        (
            Matcher {
                app: pattern("blog*"),
                ..Matcher::default()
            },
            true,
        ),
        (
            Matcher {
                app: pattern("blog"),
                ..Matcher::default()
            },
            false,
        ),
        (
            Matcher {
                app: pattern("*-2"),
                ..Matcher::default()
            },
            true,
        ),
        (
            Matcher {
                key: pattern("blog-2/disk"),
                ..Matcher::default()
            },
            true,
        ),
        (
            Matcher {
                key: pattern("*/disk"),
                ..Matcher::default()
            },
            true,
        ),
        (
            Matcher {
                key: pattern("disk"),
                ..Matcher::default()
            },
            false,
        ),
        (
            Matcher {
                severity: pattern("err*"),
                ..Matcher::default()
            },
            true,
        ),
        (
            Matcher {
                severity: pattern("critical"),
                ..Matcher::default()
            },
            false,
        ),
        (
            Matcher {
                app: pattern("blog*"),
                severity: pattern("critical"),
                ..Matcher::default()
            },
            false,
        ),
        (
            Matcher {
                app: pattern("blog*"),
                key: pattern("*disk*"),
                severity: pattern("error"),
            },
            true,
        ),
    ] {
        assert_eq!(
            matcher.matches(&key, Severity::Error),
            expected,
            "{matcher:?}"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Raise {
        kind: u8,
        severity: u8,
        lasting: bool,
        scope: u8,
        count: u64,
    },
    Resolve(u8),
    Silence(u8, u16),
    Unsilence(i64),
    Excuse(u8, u16),
    Pass(u16),
    /// The clock is set back by so many seconds while the process is down.
    RestartBefore(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u8, 0..4_u8, any::<bool>(), 0..4_u8, 1..50_u64).prop_map(
            |(kind, severity, lasting, scope, count)| Step::Raise {
                kind, severity, lasting, scope, count
            }
        ),
        2 => (0..12_u8).prop_map(Step::Resolve),
        1 => (0..3_u8, 1..5000_u16).prop_map(|(app, length)| Step::Silence(app, length)),
        1 => (0..5_i64).prop_map(Step::Unsilence),
        1 => (0..3_u8, 1..5000_u16).prop_map(|(app, length)| Step::Excuse(app, length)),
        5 => (0..8000_u16).prop_map(Step::Pass),
        1 => prop_oneof![Just(0), 0..100_000_u32].prop_map(Step::RestartBefore),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// Whatever happens: every alert is in exactly one place, the limit holds, and ids are unique.
    #[test]
    fn nothing_is_unaccounted(steps in steps(), kinds in 1..8_usize, messages in 1..6_u32) {
        let policy = Policy {
            kinds,
            limit: Some(Limit { messages, per: Duration::from_mins(20) }),
            ..Policy::default()
        };
        let mut machine = machine(policy.clone());
        let mut now = at(0);
        let (mut raised, mut told) = (0_u64, 0_u64);
        // The machine's own time, which a clock set back does not turn back.
        let mut sent: Vec<(u32, Timestamp)> = Vec::new();
        let mut epoch = 0;
        let mut ids = std::collections::BTreeSet::new();
        let key = |kind: u8| Key::new(format!("app{}", kind % 3), format!("kind{kind}"));
        for step in steps {
            match step {
                Step::Raise { kind, severity, lasting, scope, count } => {
                    let mut alert = Alert::new("", Severity::ALL[usize::from(severity)], "t");
                    alert.key = key(kind);
                    alert.lasting = lasting;
                    alert.count = count;
                    alert.scope = [Scope::App, Scope::Service, Scope::Disk, Scope::Host][usize::from(scope)];
                    raised += count;
                    machine.raise(alert, now);
                }
                Step::Resolve(kind) => machine.resolve(&key(kind), now),
                Step::Silence(app, length) => {
                    machine.silence(Silence {
                        id: 0,
                        matcher: Matcher { app: Some(Pattern::new(format!("app{app}"))), ..Matcher::default() },
                        from: now,
                        until: now + SignedDuration::from_secs(length.into()),
                        author: "a".into(),
                        reason: "r".into(),
                    });
                }
                Step::Unsilence(id) => { machine.unsilence(id, now); }
                Step::Excuse(app, length) => {
                    machine.excuse(&format!("app{app}"), now + SignedDuration::from_secs(length.into()), "d");
                }
                Step::Pass(seconds) => {
                    let end = now + SignedDuration::from_secs(seconds.into());
                    let mut turns = 0;
                    while let Some(next) = machine.next(now) && next <= end {
                        now = next.max(now);
                        for message in machine.tick(now) {
                            told += message.fresh();
                            sent.push((epoch, now));
                            prop_assert!(ids.insert(message.id.clone()));
                            prop_assert!(!message.entries.is_empty());
                        }
                        turns += 1;
                        prop_assert!(turns < 10_000, "the machine spins at {now}");
                    }
                    now = end;
                }
                Step::RestartBefore(seconds) => {
                    now -= SignedDuration::from_secs(seconds.into());
                    epoch += u32::from(seconds > 0);
                    let stored = {
                        let mut all = machine;
                        all.all_changed();
                        let changes = all.changes();
                        let text = serde_json::to_string(&(changes.core, changes.piles)).unwrap();
                        let (core, piles) = serde_json::from_str::<(_, Option<_>)>(&text).unwrap();
                        Stored {
                            core,
                            piles: piles.unwrap(),
                            groups: changes.groups.iter().filter_map(|(_, group)| {
                                let text = serde_json::to_string(&(*group)?).unwrap();
                                Some(serde_json::from_str(&text).unwrap())
                            }).collect(),
                            silences: changes.silences.unwrap().to_vec(),
                        }
                    };
                    machine = Machine::from_stored(policy.clone(), "shop1", stored, now);
                }
            }
            let counts = machine.counts();
            prop_assert_eq!(counts.raised, raised);
            prop_assert_eq!(counts.told, told);
            prop_assert_eq!(
                told + counts.silenced + counts.inhibited + machine.waiting(), raised
            );
        }
        // Digests are few by their schedule, so only they may go past the limit.
        for (index, (epoch, first)) in sent.iter().enumerate() {
            let end = *first + SignedDuration::from_mins(20);
            let within = sent[index..].iter().filter(|(of, at)| of == epoch && *at < end).count();
            prop_assert!(within <= messages as usize + 1, "{within} in twenty minutes");
        }
    }
}

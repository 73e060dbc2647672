//! Tables and properties of the machine.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    attempts: 4,
};

fn with(events: Vec<Event>) -> Work {
    let mut work = Work::new("feedback", 0);
    for event in events {
        work.apply(event.clone(), 10, &BACKOFF, 0)
            .unwrap_or_else(|why| panic!("{event:?}: {why}"));
    }
    work
}

fn intend(name: &str) -> Event {
    Event::Intend {
        name: name.into(),
        args: Args::default(),
    }
}

fn done() -> Event {
    Event::Acted(Outcome::Done(Args::default()))
}

fn refused() -> Event {
    Event::Acted(Outcome::Refused("no".into()))
}

fn unknown() -> Event {
    Event::Acted(Outcome::Unknown("timeout".into()))
}

fn abort() -> Event {
    Event::Abort("because".into())
}

fn commit(actions: &[&str]) -> Event {
    let actions = actions.iter();
    Event::Commit(
        actions
            .map(|name| ((*name).to_owned(), Args::default()))
            .collect(),
    )
}

fn undid(step: usize) -> Event {
    Event::Undid {
        step,
        attempt: Attempt::Done,
    }
}

fn failed(step: usize) -> Event {
    Event::Undid {
        step,
        attempt: Attempt::Failed("down".into()),
    }
}

fn hopeless(step: usize) -> Event {
    Event::Undid {
        step,
        attempt: Attempt::Hopeless("never".into()),
    }
}

fn by(name: &str) -> String {
    name.to_owned()
}

#[test]
fn what_comes_next() {
    use Command::{End, Hold, Probe, Rest, Run, Tell, Undo, Wait};
    let (a, b) = (|| intend("a"), || intend("probed"));
    let stuck = || vec![a(), done(), a(), done(), abort(), hopeless(1)];
    let cases: Vec<(&str, Vec<Event>, Command)> = vec![
        ("new", vec![], Hold),
        ("acting", vec![a()], Hold),
        ("acted", vec![a(), done()], Hold),
        ("nothing was done", vec![abort()], End(Way::Back)),
        (
            "only a refusal",
            vec![a(), refused(), abort()],
            End(Way::Back),
        ),
        ("one done", vec![a(), done(), abort()], Undo(0)),
        (
            "the last is first",
            vec![a(), done(), a(), done(), abort()],
            Undo(1),
        ),
        (
            "what was refused is passed over",
            vec![a(), done(), a(), refused(), abort()],
            Undo(0),
        ),
        ("unknown is undone", vec![a(), unknown(), abort()], Undo(0)),
        (
            "unknown is probed if it can be",
            vec![b(), unknown(), abort()],
            Probe(0),
        ),
        ("known is not probed", vec![b(), done(), abort()], Undo(0)),
        ("a crash in the act", vec![a(), Event::TakenOver], Undo(0)),
        (
            "a crash in the act, probed",
            vec![b(), Event::TakenOver],
            Probe(0),
        ),
        (
            "a crash after it",
            vec![a(), done(), Event::TakenOver],
            Undo(0),
        ),
        (
            "a probe that found it",
            vec![
                b(),
                unknown(),
                abort(),
                Event::Probed {
                    step: 0,
                    finding: Finding::Happened,
                },
            ],
            Undo(0),
        ),
        (
            "a probe that did not",
            vec![
                a(),
                done(),
                b(),
                unknown(),
                abort(),
                Event::Probed {
                    step: 1,
                    finding: Finding::Absent,
                },
            ],
            Undo(0),
        ),
        (
            "a probe that failed",
            vec![b(), unknown(), abort(), failed(0)],
            Wait(110),
        ),
        (
            "all undone",
            vec![a(), done(), abort(), undid(0)],
            End(Way::Back),
        ),
        (
            "an undo failed",
            vec![a(), done(), abort(), failed(0)],
            Wait(110),
        ),
        (
            "and again",
            vec![a(), done(), abort(), failed(0), failed(0)],
            Wait(210),
        ),
        (
            "too often",
            vec![
                a(),
                done(),
                abort(),
                failed(0),
                failed(0),
                failed(0),
                failed(0),
            ],
            Tell,
        ),
        (
            "hopeless at once",
            vec![a(), done(), abort(), hopeless(0)],
            Tell,
        ),
        ("told", [stuck(), vec![Event::Told]].concat(), Rest),
        (
            "a crash before it was told",
            [stuck(), vec![Event::TakenOver]].concat(),
            Tell,
        ),
        (
            "retried",
            [stuck(), vec![Event::Told, Event::Retry { by: by("me") }]].concat(),
            Undo(1),
        ),
        (
            "skipped",
            [stuck(), vec![Event::Told, Event::Skip { by: by("me") }]].concat(),
            Undo(0),
        ),
        (
            "the last one skipped",
            vec![
                a(),
                done(),
                abort(),
                hopeless(0),
                Event::Skip { by: by("me") },
            ],
            End(Way::Back),
        ),
        (
            "retried while it waits",
            vec![
                a(),
                done(),
                abort(),
                failed(0),
                Event::Retry { by: by("me") },
            ],
            Undo(0),
        ),
        ("committed", vec![a(), done(), commit(&[])], End(Way::On)),
        (
            "committed with nothing in it",
            vec![commit(&[])],
            End(Way::On),
        ),
        (
            "committed after a refusal",
            vec![a(), refused(), commit(&[])],
            End(Way::On),
        ),
        (
            "actions follow",
            vec![a(), done(), commit(&["x", "y"])],
            Run(0),
        ),
        (
            "a crash after the commit",
            vec![commit(&["x"]), Event::TakenOver],
            Run(0),
        ),
        (
            "the next action",
            vec![
                commit(&["x", "y"]),
                Event::Ran {
                    action: 0,
                    attempt: Attempt::Done,
                },
            ],
            Run(1),
        ),
        (
            "an action failed",
            vec![
                commit(&["x"]),
                Event::Ran {
                    action: 0,
                    attempt: Attempt::Failed("down".into()),
                },
            ],
            Wait(110),
        ),
        (
            "all actions ran",
            vec![
                commit(&["x"]),
                Event::Ran {
                    action: 0,
                    attempt: Attempt::Done,
                },
            ],
            End(Way::On),
        ),
        (
            "an action is hopeless",
            vec![
                commit(&["x"]),
                Event::Ran {
                    action: 0,
                    attempt: Attempt::Hopeless("no".into()),
                },
            ],
            Tell,
        ),
        (
            "an action is skipped",
            vec![
                commit(&["x", "y"]),
                Event::Ran {
                    action: 0,
                    attempt: Attempt::Hopeless("no".into()),
                },
                Event::Skip { by: by("me") },
            ],
            Run(1),
        ),
        (
            "an act that came after its undo",
            vec![
                a(),
                Event::TakenOver,
                undid(0),
                Event::Late {
                    step: 0,
                    outcome: Outcome::Done(Args::default()),
                },
            ],
            Undo(0),
        ),
        (
            "a late refusal changes nothing",
            vec![
                a(),
                Event::TakenOver,
                undid(0),
                Event::Late {
                    step: 0,
                    outcome: Outcome::Refused("no".into()),
                },
            ],
            End(Way::Back),
        ),
    ];
    for (name, events, expected) in cases {
        let work = with(events);
        assert_eq!(work.next(10, |name| name == "probed"), expected, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let retry = || Event::Retry { by: by("me") };
    let skip = || Event::Skip { by: by("me") };
    let late = || Event::Late {
        step: 0,
        outcome: Outcome::Done(Args::default()),
    };
    let cases: Vec<(&str, Vec<Event>, Event)> = vec![
        (
            "a commit with an act that goes on",
            vec![intend("a")],
            commit(&[]),
        ),
        (
            "a commit with an unknown step",
            vec![intend("a"), unknown()],
            commit(&[]),
        ),
        ("a step after the commit", vec![commit(&[])], intend("a")),
        ("a step after giving up", vec![abort()], intend("a")),
        (
            "a commit after giving up",
            vec![intend("a"), done(), abort()],
            commit(&[]),
        ),
        ("giving up after the commit", vec![commit(&["x"])], abort()),
        ("an end of no act", vec![], done()),
        ("two ends of an act", vec![intend("a"), done()], done()),
        (
            "an undo before it is decided",
            vec![intend("a"), done()],
            undid(0),
        ),
        (
            "an undo out of order",
            vec![intend("a"), done(), intend("b"), done(), abort()],
            undid(0),
        ),
        (
            "an undo twice",
            vec![intend("a"), done(), abort(), undid(0)],
            undid(0),
        ),
        ("an undo of nothing", vec![abort()], undid(7)),
        ("a retry while it is open", vec![intend("a")], retry()),
        ("a retry when it is over", vec![commit(&[])], retry()),
        ("a skip while it is open", vec![intend("a")], skip()),
        ("a skip when it is over", vec![abort()], skip()),
        ("told without being stuck", vec![abort()], Event::Told),
        ("late while it is open", vec![intend("a")], late()),
        (
            "late after the commit",
            vec![intend("a"), done(), commit(&[])],
            late(),
        ),
        ("late without a step", vec![abort()], late()),
    ];
    for (name, events, event) in cases {
        let mut work = with(events);
        let before = work.clone();
        assert!(work.apply(event, 10, &BACKOFF, 0).is_err(), "{name}");
        assert_eq!(work, before, "{name}");
    }
}

#[test]
fn waits_double_up_to_a_bound_and_the_dice_take_half_at_most() {
    for (failures, dice, expected) in [
        (1, 0, 100),
        (2, 0, 200),
        (4, 0, 800),
        (5, 0, 1000),
        (400, 0, 1000),
        (u32::MAX, 0, 1000),
        (1, 255, 50),
        (5, 255, 500),
    ] {
        assert_eq!(BACKOFF.wait(failures, dice), expected, "{failures} {dice}");
    }
}

#[test]
fn a_retry_has_all_its_attempts_again() {
    let mut work = with(vec![intend("a"), done(), abort()]);
    for round in 0..2 {
        for _ in 0..BACKOFF.attempts {
            assert!(matches!(work.phase, Phase::Going(Way::Back)), "{round}");
            work.apply(failed(0), 10, &BACKOFF, 0).unwrap();
        }
        assert_eq!(work.next(10, |_| false), Command::Tell);
        work.apply(Event::Told, 10, &BACKOFF, 0).unwrap();
        work.apply(Event::Retry { by: by("me") }, 11, &BACKOFF, 0)
            .unwrap();
    }
    let told = serde_json::to_value(&work.interventions).unwrap();
    assert_eq!(told[1], json!({ "at": 11, "by": "me", "what": "retry" }));
    work.apply(Event::Skip { by: by("you") }, 12, &BACKOFF, 0)
        .unwrap();
    assert_eq!(work.interventions[2].what, "skip a");
}

#[test]
fn long_errors_are_cut_between_characters() {
    let work = with(vec![
        intend("a"),
        Event::Acted(Outcome::Refused("ü".repeat(400))),
    ]);
    let error = work.steps[0].error.clone().unwrap();
    assert!(
        error.len() <= ERROR_LENGTH + 3 && error.ends_with("ü…"),
        "{error}"
    );
}

/// What the world does to a work: how each act and each call ends, and where its process dies.
#[derive(Debug, Clone)]
struct World {
    acts: Vec<u8>,
    commits: bool,
    actions: usize,
    dies_at: usize,
    calls: Vec<u8>,
}

fn world() -> impl Strategy<Value = World> {
    (
        proptest::collection::vec(0..3_u8, 0..5),
        any::<bool>(),
        0..3_usize,
        0..30_usize,
        proptest::collection::vec(0..6_u8, 0..40),
    )
        .prop_map(|(acts, commits, actions, dies_at, calls)| World {
            acts,
            commits,
            actions,
            dies_at,
            calls,
        })
}

proptest! {
    /// Whatever happens: every work ends; what it ends as is what the world looks like; undos come
    /// last first; and a record that went through the store is the same.
    #[test]
    fn a_work_ends_as_all_or_nothing(world in world()) {
        let mut work = Work::new("feedback", 0);
        let mut now = 1;
        let events = std::cell::Cell::new(0);
        // What stands out there: of each step whether it is known to be there.
        let mut there: Vec<bool> = Vec::new();
        let mut ran = Vec::new();
        let mut calls = world.calls.iter().copied().chain(std::iter::repeat(0));
        macro_rules! apply {
            ($event:expr) => {{
                let event = $event;
                work.apply(event.clone(), now, &BACKOFF, 7).map_err(|why| {
                    TestCaseError::fail(format!("{event:?}: {why} in {work:?}"))
                })?;
                let stored = serde_json::to_vec(&work).unwrap();
                prop_assert_eq!(&serde_json::from_slice::<Work>(&stored).unwrap(), &work);
                events.set(events.get() + 1);
            }};
        }
        let mut fresh = true;
        'process: {
            for act in &world.acts {
                if events.get() >= world.dies_at { break 'process; }
                apply!(intend(if *act == 2 { "probed" } else { "plain" }));
                if events.get() >= world.dies_at { break 'process; }
                there.push(*act != 1);
                if events.get() + 1 >= world.dies_at { break 'process; }
                apply!(match act { 0 => done(), 1 => refused(), _ => unknown() });
            }
            fresh = false;
            if world.commits && !world.acts.contains(&2) {
                let names: Vec<String> = (0..world.actions).map(|n| n.to_string()).collect();
                apply!(commit(&names.iter().map(String::as_str).collect::<Vec<_>>()));
            } else {
                apply!(abort());
            }
        }
        if fresh && work.phase == Phase::Open { apply!(Event::TakenOver); }
        for turn in 0.. {
            prop_assert!(turn < 1000, "{:?} does not end", work);
            // Any process may die at any moment of this.
            if calls.next() == Some(5) { apply!(Event::TakenOver); }
            match work.next(now, |name| name == "probed") {
                Command::Hold => prop_assert!(false, "nobody is at it"),
                Command::Wait(until) => {
                    prop_assert!(until > now && until - now <= 1000);
                    now = until;
                }
                Command::Probe(step) => {
                    prop_assert_ne!(work.steps[step].state, StepState::Done);
                    if calls.next() == Some(1) { apply!(failed(step)); } else {
                        let finding = Finding::from(there.get(step) == Some(&true));
                        apply!(Event::Probed { step, finding });
                    }
                }
                Command::Undo(step) => {
                    prop_assert!(there.iter().skip(step + 1).all(|there| !there), "out of order");
                    match calls.next() {
                        Some(1) => apply!(failed(step)),
                        Some(2) => apply!(hopeless(step)),
                        call => {
                            if let Some(there) = there.get_mut(step) { *there = false; }
                            // It happened, but its answer got lost.
                            if call == Some(3) { apply!(failed(step)); } else { apply!(undid(step)); }
                        }
                    }
                }
                Command::Run(action) => if calls.next() == Some(1) { apply!(Event::Ran { action, attempt: Attempt::Failed("down".into()) }); } else { ran.push(action); apply!(Event::Ran { action, attempt: Attempt::Done }); },
                Command::Tell => apply!(Event::Told),
                Command::Rest => apply!(Event::Retry { by: by("me") }),
                Command::End(way) => {
                    match way {
                        Way::Back => {
                            prop_assert!(there.iter().all(|there| !there), "left: {:?}", there);
                            prop_assert!(ran.is_empty());
                        }
                        Way::On => {
                            let expected: Vec<bool> = world.acts.iter().map(|act| *act == 0).collect();
                            prop_assert_eq!(&there, &expected);
                            prop_assert_eq!(ran, (0..world.actions).collect::<Vec<_>>());
                        }
                    }
                    break;
                }
            }
        }
    }
}

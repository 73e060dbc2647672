//! The machine against spec `supervisord.md` 1.3 row by row, against its invariants with random
//! events, and in a simulation of thousands of programs in virtual time.

use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn secs(n: u64) -> Duration {
    S * u32::try_from(n).unwrap()
}

/// One row: a policy, what happens at which second, and what is seen after each of it.
struct Row {
    name: &'static str,
    policy: Policy,
    story: Vec<(u64, Event, &'static str)>,
}

/// The phase changes and effects of one step in short: `STARTING spawn`, `STOPPING sig15`.
fn shorten(effects: &Effects) -> String {
    let words: Vec<String> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Spawn => "spawn".to_owned(),
            Effect::Signal { number, group } => {
                format!("{}{number}", if group { "groupsig" } else { "sig" })
            }
            Effect::Kill { group } => if group { "groupkill" } else { "kill" }.to_owned(),
            Effect::Changed { to, .. } => to.to_string(),
        })
        .collect();
    words.join(" ")
}

fn code(n: i32) -> Event {
    Event::Exited(Exit::Code(n))
}

fn died() -> Event {
    Event::Exited(Exit::Signal {
        number: 9,
        core: false,
    })
}

fn no() -> Event {
    Event::SpawnFailed("no such file".into())
}

fn rows() -> Vec<Row> {
    use Event::{Autostart, Restart, Spawned, Start, Stop, Tick};
    let legacy = Policy::supervisord;
    let row = |name, policy, story: &[(u64, Event, &'static str)]| Row {
        name,
        policy,
        story: story.to_vec(),
    };
    vec![
        row(
            "never started, autostart",
            legacy(),
            &[(0, Autostart, "STARTING spawn")],
        ),
        row("started by hand", legacy(), &[(0, Start, "STARTING spawn")]),
        row(
            "prerequisites fail: BACKOFF, linear delays, FATAL after startretries + 1 attempts",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, no(), "BACKOFF"),
                (0, Tick, ""),
                (1, Tick, "STARTING spawn"),
                (1, no(), "BACKOFF"),
                (2, Tick, ""),
                (3, Tick, "STARTING spawn"),
                (3, no(), "BACKOFF"),
                (6, Tick, "STARTING spawn"),
                (6, no(), "BACKOFF FATAL"),
                (99, Tick, ""),
                (99, Start, "STARTING spawn"),
            ],
        ),
        row(
            "stays up for startsecs",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
            ],
        ),
        row(
            "startsecs=0: running at once",
            Policy {
                start_secs: Duration::ZERO,
                ..legacy()
            },
            &[(0, Start, "STARTING spawn"), (0, Spawned(7), "RUNNING")],
        ),
        row(
            "exits earlier than startsecs, also with an expected code",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (0, code(0), "BACKOFF"),
                (1, Tick, "STARTING spawn"),
            ],
        ),
        row(
            "exits after startsecs, but before the tick: it was running",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, code(0), "RUNNING EXITED"),
            ],
        ),
        row(
            "stop in BACKOFF: at once",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, no(), "BACKOFF"),
                (0, Stop, "STOPPED"),
                (9, Tick, ""),
            ],
        ),
        row(
            "running, expected exit: stays EXITED with autorestart=unexpected",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (5, code(0), "EXITED"),
                (9, Tick, ""),
                (9, Start, "STARTING spawn"),
            ],
        ),
        row(
            "running, bad exit code: EXITED, then STARTING without delay",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (5, code(3), "EXITED STARTING spawn"),
                (5, Spawned(8), ""),
            ],
        ),
        row(
            "running, killed by a signal: unexpected",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (5, died(), "EXITED STARTING spawn"),
            ],
        ),
        row(
            "autorestart=false: stays EXITED",
            Policy {
                autorestart: Autorestart::Never,
                ..legacy()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (5, code(3), "EXITED"),
            ],
        ),
        row(
            "autorestart=true: also after an expected code",
            Policy {
                autorestart: Autorestart::Always,
                ..legacy()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (5, code(0), "EXITED STARTING spawn"),
            ],
        ),
        row(
            "stop while RUNNING: signal, then KILL every stopwaitsecs",
            Policy {
                stop_wait: secs(3),
                stop_signal: 2,
                ..legacy()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (2, Stop, "STOPPING sig2"),
                (4, Tick, ""),
                (5, Tick, "kill"),
                (7, Tick, ""),
                (8, Tick, "kill"),
                (8, died(), "STOPPED"),
            ],
        ),
        row(
            "stop while STARTING; to the group",
            Policy {
                stop_group: true,
                kill_group: true,
                ..legacy()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (0, Stop, "STOPPING groupsig15"),
                (10, Tick, "groupkill"),
                (10, died(), "STOPPED"),
            ],
        ),
        row(
            "kill(2) refused: UNKNOWN, and no second process beside it",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (2, Stop, "STOPPING sig15"),
                (2, Event::SignalError("not permitted".into()), "UNKNOWN"),
                (3, Start, ""),
                (4, Stop, "STOPPING sig15"),
                (5, died(), "STOPPED"),
            ],
        ),
        row(
            "a process in UNKNOWN ends after all",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (2, Stop, "STOPPING sig15"),
                (2, Event::SignalError("not permitted".into()), "UNKNOWN"),
                (9, code(0), "STOPPED"),
            ],
        ),
        row(
            "start while STOPPING is remembered; a stop takes it back",
            legacy(),
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Stop, "STOPPING sig15"),
                (1, Start, ""),
                (2, code(0), "STOPPED STARTING spawn"),
                (2, Spawned(8), ""),
                (3, Stop, "STOPPING sig15"),
                (3, Start, ""),
                (3, Stop, ""),
                (4, code(0), "STOPPED"),
            ],
        ),
        row(
            "restart is one intent, from any phase",
            legacy(),
            &[
                (0, Restart, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Restart, "STOPPING sig15"),
                (1, Restart, ""),
                (2, code(0), "STOPPED STARTING spawn"),
                (2, no(), "BACKOFF"),
                (2, Restart, "STARTING spawn"),
            ],
        ),
        row(
            "adopted: RUNNING when it has been up long enough, else STARTING",
            legacy(),
            &[
                (
                    100,
                    Event::Adopted {
                        pid: 7,
                        started: secs(5),
                    },
                    "RUNNING",
                ),
                (101, Stop, "STOPPING sig15"),
                (102, Event::Exited(Exit::Unknown), "STOPPED"),
            ],
        ),
        row(
            "alive, but not taken over yet: nothing is started beside it",
            legacy(),
            &[
                (
                    100,
                    Event::Unreachable {
                        pid: 7,
                        started: secs(5),
                        why: "no descriptors".into(),
                    },
                    "UNKNOWN",
                ),
                (101, Start, ""),
                (101, Autostart, ""),
                (110, Tick, ""),
                (
                    111,
                    Event::Adopted {
                        pid: 7,
                        started: secs(5),
                    },
                    "RUNNING",
                ),
                (
                    112,
                    Event::Adopted {
                        pid: 8,
                        started: secs(5),
                    },
                    "",
                ),
            ],
        ),
        row(
            "alive, not taken over yet, restarted",
            legacy(),
            &[
                (
                    100,
                    Event::Unreachable {
                        pid: 7,
                        started: secs(5),
                        why: "no descriptors".into(),
                    },
                    "UNKNOWN",
                ),
                (101, Restart, "STOPPING sig15"),
                (102, Event::Exited(Exit::Unknown), "STOPPED STARTING spawn"),
            ],
        ),
        row(
            "adopted young",
            legacy(),
            &[
                (
                    100,
                    Event::Adopted {
                        pid: 7,
                        started: secs(100),
                    },
                    "STARTING",
                ),
                (101, Tick, "RUNNING"),
            ],
        ),
        row(
            "mainstay: the first death after a long life restarts at once, quick ones wait longer",
            Policy::default(),
            &[
                (0, Autostart, "STARTING spawn"),
                (0, Spawned(7), ""),
                (1, Tick, "RUNNING"),
                (20, died(), "EXITED STARTING spawn"),
                (20, Spawned(8), ""),
                (21, Tick, "RUNNING"),
                (22, died(), "EXITED"),
                (23, Tick, "STARTING spawn"),
                (23, Spawned(9), ""),
                (25, died(), "RUNNING EXITED"),
                (26, Tick, ""),
                (27, Tick, "STARTING spawn"),
                (27, Spawned(10), ""),
                (27, died(), "BACKOFF"),
                (30, Tick, ""),
                (31, Tick, "STARTING spawn"),
            ],
        ),
        row(
            "mainstay: startsecs=0 and dying at once is no busy loop",
            Policy {
                start_secs: Duration::ZERO,
                ..Policy::default()
            },
            &[
                (0, Autostart, "STARTING spawn"),
                (0, Spawned(7), "RUNNING"),
                (0, code(1), "EXITED"),
                (0, Tick, ""),
                (1, Tick, "STARTING spawn"),
            ],
        ),
        row(
            "mainstay: stop while EXITED waits for its restart: STOPPED at once",
            Policy {
                start_secs: Duration::ZERO,
                ..Policy::default()
            },
            &[
                (0, Autostart, "STARTING spawn"),
                (0, Spawned(7), "RUNNING"),
                (0, code(1), "EXITED"),
                (0, Stop, "STOPPED"),
                (9, Tick, ""),
            ],
        ),
        row(
            "mainstay: start while waiting in BACKOFF: now",
            Policy::default(),
            &[
                (0, Autostart, "STARTING spawn"),
                (0, no(), "BACKOFF"),
                (0, Start, "STARTING spawn"),
            ],
        ),
        row(
            "mainstay: a short job with policy never is done, not failed",
            Policy {
                autorestart: Autorestart::Never,
                ..Policy::default()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (0, code(0), "EXITED"),
                (9, Start, "STARTING spawn"),
                (9, no(), "FATAL"),
            ],
        ),
        row(
            "give_up: 3 in 60 s, however it died",
            Policy {
                give_up: Some(GiveUp {
                    count: 3,
                    window: secs(60),
                }),
                ..Policy::default()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, no(), "BACKOFF"),
                (1, Tick, "STARTING spawn"),
                (1, Spawned(7), ""),
                (3, code(1), "RUNNING EXITED"),
                (5, Tick, "STARTING spawn"),
                (5, Spawned(8), ""),
                (59, code(1), "RUNNING EXITED FATAL"),
                (90, Start, "STARTING spawn"),
                (90, no(), "BACKOFF"),
            ],
        ),
        row(
            "give_up: deaths outside the window do not count",
            Policy {
                give_up: Some(GiveUp {
                    count: 2,
                    window: secs(10),
                }),
                ..Policy::default()
            },
            &[
                (0, Start, "STARTING spawn"),
                (0, Spawned(7), ""),
                (20, code(1), "RUNNING EXITED STARTING spawn"),
                (20, Spawned(8), ""),
                (40, code(1), "RUNNING EXITED STARTING spawn"),
                (40, Spawned(9), ""),
                (45, code(1), "RUNNING EXITED FATAL"),
            ],
        ),
    ]
}

#[test]
fn the_table_of_spec_1_3() {
    for Row {
        name,
        policy,
        story,
    } in rows()
    {
        let mut state = State::default();
        for (n, (at, event, expected)) in story.into_iter().enumerate() {
            let shown = format!("{event:?}");
            let (next, effects) = step(&policy, &state, event, secs(at));
            assert_eq!(
                shorten(&effects),
                expected,
                "{name}, row {n}: {shown} at {at} s"
            );
            state = next;
        }
    }
}

#[test]
fn codes_and_sets() {
    for (phase, code, stopped, running, signallable) in [
        (Phase::Stopped, 0, true, false, false),
        (Phase::Starting, 10, false, true, true),
        (Phase::Running, 20, false, true, true),
        (Phase::Backoff, 30, false, true, false),
        (Phase::Stopping, 40, false, false, true),
        (Phase::Exited, 100, true, false, false),
        (Phase::Fatal, 200, true, false, false),
        (Phase::Unknown, 1000, true, false, false),
    ] {
        assert_eq!(phase.code(), code);
        assert_eq!(phase.is_stopped(), stopped, "{phase}");
        assert_eq!(phase.is_running(), running, "{phase}");
        assert_eq!(phase.is_signallable(), signallable, "{phase}");
    }
}

#[test]
fn troubles_are_worded_as_supervisord_does() {
    for (trouble, words) in [
        (
            Trouble::TooQuick,
            "Exited too quickly (process log may have details)",
        ),
        (Trouble::BadExit(Exit::Code(3)), "Bad exit code 3"),
        (
            Trouble::BadExit(Exit::Signal {
                number: 11,
                core: true,
            }),
            "killed by SIGSEGV, core dumped",
        ),
    ] {
        assert_eq!(trouble.to_string(), words);
    }
}

#[test]
fn startretries_n_means_n_plus_1_attempts() {
    for n in [0, 1, 3, 10] {
        let policy = Policy {
            start_retries: Some(n),
            ..Policy::supervisord()
        };
        let (mut state, mut effects) = step(&policy, &State::default(), Event::Start, S);
        let mut attempts = 0;
        let mut now = S;
        while effects.iter().any(|e| e == Effect::Spawn) {
            attempts += 1;
            (state, _) = step(&policy, &state, no(), now);
            now = state.deadline.unwrap_or(now);
            (state, effects) = step(&policy, &state, Event::Tick, now);
        }
        assert_eq!((attempts, state.phase), (n + 1, Phase::Fatal));
    }
}

fn backoffs() -> impl Strategy<Value = Backoff> {
    prop_oneof![
        (0_u64..100).prop_map(|s| Backoff::Linear {
            step: Duration::from_millis(s * 100)
        }),
        (1_u64..50, 0_u64..1000).prop_map(|(min, more)| Backoff::Exponential {
            min: Duration::from_millis(min * 100),
            max: Duration::from_millis((min + more) * 100),
        }),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    (
        0_u64..4,
        proptest::option::of(0_u32..4),
        prop_oneof![
            Just(Autorestart::Always),
            Just(Autorestart::Unexpected),
            Just(Autorestart::Never)
        ],
        0_u64..6,
        backoffs(),
        proptest::option::of((1_u8..6, 1_u64..60)),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(start, retries, autorestart, wait, backoff, give_up, (delay, early))| Policy {
                start_secs: secs(start),
                start_retries: retries,
                autorestart,
                stop_wait: secs(wait),
                backoff,
                give_up: give_up.map(|(count, window)| GiveUp {
                    count,
                    window: secs(window),
                }),
                delay_restarts: delay,
                early_exit_fails: early,
                ..Policy::default()
            },
        )
}

/// What the world may do next; whether it can is decided by the state.
#[derive(Debug, Clone, Copy)]
enum Act {
    Start,
    Stop,
    Restart,
    Die(i32),
    Refuse,
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Start),
        Just(Act::Stop),
        Just(Act::Restart),
        (0_i32..3).prop_map(Act::Die),
        Just(Act::Refuse),
        (1_u64..5000).prop_map(Act::Wait),
    ]
}

/// A world of one slot that checks the invariants at every step.
#[derive(Debug)]
struct World {
    policy: Policy,
    state: State,
    now: Duration,
    next_pid: u32,
    live: Option<u32>,
    /// Answers to spawn requests, used in turn: whether it works.
    spawns: Vec<bool>,
    spawned: usize,
}

impl World {
    fn feed(&mut self, event: Event) {
        let mut queue = vec![event];
        while let Some(event) = queue.pop() {
            let before = self.state.clone();
            let (next, effects) = step(&self.policy, &before, event, self.now);
            let mut phase = before.phase;
            for effect in effects.iter() {
                match effect {
                    Effect::Spawn => {
                        assert_eq!(self.live, None, "a spawn while a process lives");
                        let works = self.spawns[self.spawned % self.spawns.len()];
                        self.spawned += 1;
                        queue.push(if works {
                            self.next_pid += 1;
                            self.live = Some(self.next_pid);
                            Event::Spawned(self.next_pid)
                        } else {
                            no()
                        });
                    }
                    Effect::Signal { .. } | Effect::Kill { .. } => {
                        assert!(self.live.is_some(), "a signal to nobody");
                    }
                    Effect::Changed { from, to, .. } => {
                        assert_eq!(from, phase, "the changes form a chain");
                        assert_ne!(from, to);
                        phase = to;
                    }
                }
            }
            assert_eq!(phase, next.phase, "every change is told");
            self.state = next;
            if queue.is_empty() {
                assert_eq!(self.state.pid, self.live);
            }
        }
        let s = &self.state;
        match s.phase {
            Phase::Starting | Phase::Running | Phase::Stopping => assert!(s.pid.is_some()),
            Phase::Stopped | Phase::Backoff | Phase::Exited | Phase::Fatal => {
                assert!(s.pid.is_none());
            }
            Phase::Unknown => {}
        }
        if matches!(s.phase, Phase::Starting | Phase::Backoff | Phase::Stopping) {
            assert!(s.deadline.is_some(), "{} has a way out", s.phase);
        }
        if matches!(
            s.phase,
            Phase::Stopped | Phase::Running | Phase::Fatal | Phase::Unknown
        ) {
            assert!(s.deadline.is_none(), "{} needs no timer", s.phase);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Start => self.feed(Event::Start),
            Act::Stop => self.feed(Event::Stop),
            Act::Restart => self.feed(Event::Restart),
            Act::Die(n) => {
                if self.live.take().is_some() {
                    self.feed(Event::Exited(if n == 2 {
                        Exit::Unknown
                    } else {
                        Exit::Code(n)
                    }));
                }
            }
            Act::Refuse => {
                if self.state.phase == Phase::Stopping {
                    self.feed(Event::SignalError("not permitted".into()));
                }
            }
            Act::Wait(ms) => {
                let until = self.now + Duration::from_millis(ms);
                let mut turns = 0;
                while let Some(at) = self.state.deadline.filter(|at| *at <= until) {
                    self.now = self.now.max(at);
                    self.feed(Event::Tick);
                    turns += 1;
                    assert!(turns < 1000, "a busy loop");
                }
                self.now = until;
            }
        }
    }
}

fn worlds() -> impl Strategy<Value = World> {
    (policies(), proptest::collection::vec(any::<bool>(), 1..8)).prop_map(|(mut policy, spawns)| {
        // A step of zero is refused by the config readers.
        if let Backoff::Linear { step } = &mut policy.backoff {
            *step = (*step).max(Duration::from_millis(100));
        }
        World {
            policy,
            state: State::default(),
            now: secs(1000),
            next_pid: 1,
            live: None,
            spawns,
            spawned: 0,
        }
    })
}

proptest! {
    #[test]
    fn never_two_live_processes_in_one_slot(
        mut world in worlds(),
        acts in proptest::collection::vec(acts(), 0..60),
    ) {
        for act in acts {
            world.act(act);
        }
    }

    /// A process that ignores everything but SIGKILL is gone within the stop wait, whatever
    /// happened before.
    #[test]
    fn a_stop_always_ends(
        mut world in worlds(),
        acts in proptest::collection::vec(acts(), 0..40),
    ) {
        for act in acts {
            world.act(act);
        }
        world.act(Act::Stop);
        // As the last intent, unless it is already being killed for an earlier one.
        let limit = world.now + world.policy.stop_wait.max(S) ;
        while world.live.is_some() {
            let deadline = world.state.deadline;
            prop_assert!(deadline.is_some_and(|at| at <= limit), "stuck: {:?}", world.state);
            world.now = world.now.max(deadline.unwrap());
            let (next, effects) = step(&world.policy, &world.state, Event::Tick, world.now);
            world.state = next;
            if effects.iter().any(|e| matches!(e, Effect::Kill { .. })) {
                world.live = None;
                world.feed(died());
            }
        }
        prop_assert!(world.state.is_settled());
        prop_assert!(world.state.deadline.is_none());
        prop_assert!(!world.state.wanted);
        world.act(Act::Wait(1_000_000));
        prop_assert!(world.live.is_none(), "it stays down");
    }

    #[test]
    fn delays_grow_until_the_cap(backoff in backoffs(), failures in 1_u32..100) {
        prop_assert!(backoff.delay(failures) <= backoff.delay(failures + 1));
        if let Backoff::Exponential { min, max } = backoff {
            prop_assert_eq!(backoff.delay(1), min);
            prop_assert!(backoff.delay(failures) <= max);
        }
    }

    /// The machine's own waits in BACKOFF grow monotonously for one uninterrupted failure.
    #[test]
    fn waits_in_backoff_grow(policy in policies(), attempts in 1_usize..40) {
        let mut now = secs(10);
        let (mut state, _) = step(&policy, &State::default(), Event::Start, now);
        let mut last = Duration::ZERO;
        for _ in 0..attempts {
            (state, _) = step(&policy, &state, no(), now);
            let Some(deadline) = state.deadline else { break };
            let wait = deadline.checked_sub(now).unwrap();
            prop_assert!(wait >= last);
            last = wait;
            now = deadline;
            (state, _) = step(&policy, &state, Event::Tick, now);
        }
    }
}

/// A random number generator good enough to scatter deaths (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Three thousand programs for one virtual day: they die at random, some starts fail, some are
/// stopped. At the end all are told to stop and all are down; nobody was ever there twice, and
/// the number of spawns stays within what the back-off allows.
#[test]
fn a_day_of_thousands_of_programs() {
    const PROGRAMS: usize = 3000;
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let policies = [Policy::default(), Policy::supervisord()];
    let mut states = vec![State::default(); PROGRAMS];
    let mut live = vec![None::<u32>; PROGRAMS];
    // (Reverse time in ms, slot, what): `None` is a tick, `Some(pid)` the death of that process.
    let mut agenda: BinaryHeap<(std::cmp::Reverse<u64>, usize, Option<u32>)> = BinaryHeap::new();
    let mut next_pid = 100;
    let mut spawns = vec![0_u32; PROGRAMS];
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap();
    let day = 86_400_000;

    let mut feed =
        |slot: usize,
         event: Event,
         now: u64,
         states: &mut Vec<State>,
         live: &mut Vec<Option<u32>>,
         agenda: &mut BinaryHeap<(std::cmp::Reverse<u64>, usize, Option<u32>)>| {
            let policy = &policies[slot % 2];
            let mut event = Some(event);
            while let Some(present) = event.take() {
                let (next, effects) =
                    step(policy, &states[slot], present, Duration::from_millis(now));
                states[slot] = next;
                for effect in effects.iter() {
                    match effect {
                        Effect::Spawn => {
                            assert_eq!(live[slot], None, "two processes in one slot");
                            spawns[slot] += 1;
                            event = Some(if dice.roll(10) == 0 {
                                no()
                            } else {
                                next_pid += 1;
                                live[slot] = Some(next_pid);
                                // Every 20th slot is a crasher; the others live for hours.
                                let life = if slot.is_multiple_of(20) {
                                    3000
                                } else {
                                    20_000_000
                                };
                                let at = now + 1 + dice.roll(life);
                                agenda.push((std::cmp::Reverse(at), slot, Some(next_pid)));
                                Event::Spawned(next_pid)
                            });
                        }
                        Effect::Kill { .. } => {
                            let pid = live[slot].expect("someone to kill");
                            agenda.push((std::cmp::Reverse(now), slot, Some(pid)));
                        }
                        Effect::Signal { .. } | Effect::Changed { .. } => {}
                    }
                }
            }
            if let Some(at) = states[slot].deadline {
                agenda.push((std::cmp::Reverse(ms(at)), slot, None));
            }
        };

    for slot in 0..PROGRAMS {
        feed(
            slot,
            Event::Autostart,
            0,
            &mut states,
            &mut live,
            &mut agenda,
        );
    }
    let mut told_to_stop = false;
    let mut turns = 0_u64;
    while let Some((std::cmp::Reverse(now), slot, what)) = agenda.pop() {
        turns += 1;
        assert!(turns < 5_000_000, "a busy loop");
        if now >= day && !told_to_stop {
            told_to_stop = true;
            for slot in 0..PROGRAMS {
                feed(slot, Event::Stop, now, &mut states, &mut live, &mut agenda);
            }
        }
        match what {
            None => feed(slot, Event::Tick, now, &mut states, &mut live, &mut agenda),
            Some(pid) if live[slot] == Some(pid) => {
                live[slot] = None;
                feed(slot, code(1), now, &mut states, &mut live, &mut agenda);
            }
            Some(_) => {}
        }
    }
    assert!(told_to_stop);
    assert!(live.iter().all(Option::is_none));
    assert!(
        states
            .iter()
            .all(|s| s.pid.is_none() && s.deadline.is_none())
    );
    // A crasher under mainstay's default is held back to about one start a minute.
    let worst = (0..PROGRAMS)
        .step_by(20)
        .map(|slot| spawns[slot])
        .max()
        .unwrap();
    assert!(
        (200..3000).contains(&worst),
        "{worst} spawns of one crasher in a day"
    );
}

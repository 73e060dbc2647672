//! The life of one process slot as a pure function.
//!
//! [`step`] takes the policy, the state, one event and the time, and answers the next state and
//! what the caller must do. It does no input or output, reads no clock and allocates nothing.
//! The states, their codes and the transitions are those of supervisord 4.2 (spec
//! `supervisord.md`, 1.3); where mainstay's own default differs, the difference is a field of
//! [`Policy`], so that [`Policy::supervisord`] gives the old behaviour to the letter.
//!
//! Three rules tie the caller to the machine:
//! * after [`Effect::Spawn`] the caller answers with [`Event::Spawned`] or
//!   [`Event::SpawnFailed`], and nothing but the machine ever asks for a spawn;
//! * the one timer of the slot is [`State::deadline`]: when it has come, the caller sends
//!   [`Event::Tick`] (a tick too early does no harm);
//! * [`Event::Exited`] is sent once, when the process (and, if the policy says so, its group)
//!   is gone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The largest `count` of [`GiveUp`]: the state remembers that many deaths, in place.
pub const GIVE_UP_MAX: u8 = 32;

/// SIGKILL is not repeated more often than this, even with a stop wait of zero.
const KILL_AGAIN_AT_LEAST: Duration = Duration::from_secs(1);

/// Where a process is in its life. The numbers are supervisord's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Not running because nobody wants it to, or it was never started.
    #[default]
    Stopped,
    /// Spawned, but not yet alive for `start_secs`.
    Starting,
    /// Alive for at least `start_secs`.
    Running,
    /// A start failed; the next attempt waits for its time.
    Backoff,
    /// Told to stop, not gone yet.
    Stopping,
    /// Ended by itself after it had been running.
    Exited,
    /// Given up: only a person starts it again.
    Fatal,
    /// It lives, but cannot be signalled or taken over.
    Unknown,
}

impl Phase {
    /// Every phase, in the order of the codes.
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Backoff,
        Self::Stopping,
        Self::Exited,
        Self::Fatal,
        Self::Unknown,
    ];

    /// supervisord's state code (spec 1.3).
    pub fn code(self) -> u16 {
        match self {
            Self::Stopped => 0,
            Self::Starting => 10,
            Self::Running => 20,
            Self::Backoff => 30,
            Self::Stopping => 40,
            Self::Exited => 100,
            Self::Fatal => 200,
            Self::Unknown => 1000,
        }
    }

    /// The name in capitals, as supervisord prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Backoff => "BACKOFF",
            Self::Stopping => "STOPPING",
            Self::Exited => "EXITED",
            Self::Fatal => "FATAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// supervisord's `STOPPED_STATES`: nothing happens any more unless someone asks.
    pub fn is_stopped(self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::Exited | Self::Fatal | Self::Unknown
        )
    }

    /// supervisord's `RUNNING_STATES`: it runs or is on its way to.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Backoff)
    }

    /// supervisord's `SIGNALLABLE_STATES`: there is a process to send a signal to.
    pub fn is_signallable(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It ended by itself with this code, 0–255.
    Code(i32),
    /// A signal ended it; `core` says whether a core was dumped.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether the kernel wrote a core file.
        core: bool,
    },
    /// It ended while nobody could learn how: an adopted process on a kernel older than 6.15.
    Unknown,
}

impl Exit {
    /// Whether this end is among the codes the program calls a success.
    pub fn is_expected(self, codes: &[i32]) -> bool {
        matches!(self, Self::Code(code) if codes.contains(&code))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal { number, core } => {
                let core = if *core { ", core dumped" } else { "" };
                match signal_name(*number) {
                    Some(name) => write!(f, "killed by SIG{name}{core}"),
                    None => write!(f, "killed by signal {number}{core}"),
                }
            }
            Self::Unknown => f.write_str("exit status not known"),
        }
    }
}

/// The common signals by number (Linux, all architectures this runs on).
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return None,
    })
}

/// Whether a process that ended by itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Autorestart {
    /// However it ended.
    #[default]
    Always,
    /// Only when its exit code is not among `exit_codes`, or a signal ended it.
    Unexpected,
    /// Not at all.
    Never,
}

/// How long to wait before attempt n+1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// supervisord's: `step` × the number of failures in a row, without a cap.
    Linear {
        /// What every further failure adds.
        step: Duration,
    },
    /// `min`, doubled by every further failure, never more than `max`.
    Exponential {
        /// The first delay.
        min: Duration,
        /// The cap.
        max: Duration,
    },
}

impl Backoff {
    /// The delay after the `failures`-th failure in a row (1 is the first). Never shrinks as
    /// `failures` grows.
    pub fn delay(self, failures: u32) -> Duration {
        let failures = failures.max(1);
        match self {
            Self::Linear { step } => step.saturating_mul(failures),
            Self::Exponential { min, max } => {
                let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                let factor = if failures > 31 { u32::MAX } else { factor };
                min.saturating_mul(factor).min(max.max(min))
            }
        }
    }
}

/// Give up at the `count`-th death within `window` (OTP calls this the restart intensity).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GiveUp {
    /// How many deaths, 1 to [`GIVE_UP_MAX`].
    pub count: u8,
    /// Within how long.
    pub window: Duration,
}

/// What the config says about one slot's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Alive for this long after the spawn means started. Zero: started at once.
    pub start_secs: Duration,
    /// Failed starts in a row before FATAL: N allows N+1 attempts. `None`: no limit.
    pub start_retries: Option<u32>,
    /// Whether it is started again after it ended by itself.
    pub autorestart: Autorestart,
    /// The exit codes that count as success.
    pub exit_codes: Vec<i32>,
    /// The number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// How long it may take to stop before SIGKILL, and between further ones.
    pub stop_wait: Duration,
    /// Whether the stop signal goes to the whole process group.
    pub stop_group: bool,
    /// Whether SIGKILL goes to the whole process group.
    pub kill_group: bool,
    /// Whether what a leader leaves behind in its group goes with it: killed when the leader died, told
    /// to stop and waited for when it was stopped. supervisord does neither. Only where `kill_group`
    /// is set.
    pub sweep_group: bool,
    /// Whether the stop signal is followed by SIGCONT, so that a suspended process hears of it.
    /// supervisord does not: there such a process is killed after `stop_wait`.
    pub stop_resumes: bool,
    /// The delays between attempts.
    pub backoff: Backoff,
    /// When to stop trying however the deaths came about.
    pub give_up: Option<GiveUp>,
    /// A process that lived this long has proven itself: its death counts as the first again.
    pub settle: Duration,
    /// Whether the back-off also holds between a process that had been RUNNING and ended within
    /// `settle`, and its restart. supervisord restarts at once, which is a busy loop for a
    /// program that dies right away with `startsecs=0`.
    pub delay_restarts: bool,
    /// Whether every exit before `start_secs` is a failed start (supervisord), or only one that
    /// `autorestart` would restart: then a short job with `never` may simply be done.
    pub early_exit_fails: bool,
}

impl Default for Policy {
    /// mainstay's defaults: always restarted, delays of 1 s doubling to 60 s, no giving up.
    ///
    /// Whoever lists a program wants it running, also after somebody else's SIGTERM made it
    /// exit with 0; and a database that is away for an hour must not leave the shop FATAL until
    /// a person comes. The cost is bounded by the back-off and visible in the restart count.
    fn default() -> Self {
        Self {
            start_secs: Duration::from_secs(1),
            start_retries: None,
            autorestart: Autorestart::Always,
            exit_codes: vec![0],
            stop_signal: 15,
            stop_wait: Duration::from_secs(10),
            stop_group: false,
            kill_group: true,
            sweep_group: true,
            stop_resumes: true,
            backoff: Backoff::Exponential {
                min: Duration::from_secs(1),
                max: Duration::from_mins(1),
            },
            give_up: None,
            settle: Duration::from_secs(10),
            delay_restarts: true,
            early_exit_fails: false,
        }
    }
}

impl Policy {
    /// supervisord 4.2's defaults and exact rules (spec 1.2 and 1.3).
    pub fn supervisord() -> Self {
        Self {
            start_retries: Some(3),
            autorestart: Autorestart::Unexpected,
            kill_group: false,
            sweep_group: false,
            stop_resumes: false,
            backoff: Backoff::Linear {
                step: Duration::from_secs(1),
            },
            settle: Duration::from_secs(1),
            delay_restarts: false,
            early_exit_fails: true,
            ..Self::default()
        }
    }

    fn restarts(&self, exit: Exit) -> bool {
        match self.autorestart {
            Autorestart::Always => true,
            Autorestart::Unexpected => !exit.is_expected(&self.exit_codes),
            Autorestart::Never => false,
        }
    }
}

/// What happened to a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The daemon has come up and the program starts by itself.
    Autostart,
    /// Someone wants it up. While STOPPING this is remembered; while waiting for a retry it
    /// starts now.
    Start,
    /// Someone wants it down.
    Stop,
    /// Someone wants it down and up again, as one intent.
    Restart,
    /// The spawn worked: the process id.
    Spawned(u32),
    /// The spawn did not work: why, in words for a person.
    SpawnFailed(Arc<str>),
    /// The process is gone.
    Exited(Exit),
    /// The time is now at or after [`State::deadline`].
    Tick,
    /// The process could not be signalled, for another reason than being gone: the words.
    SignalError(Arc<str>),
    /// A process of an earlier daemon was found alive; `started` is on the clock of `now`.
    Adopted {
        /// Its process id.
        pid: u32,
        /// When it was spawned.
        started: Duration,
    },
    /// A process of an earlier daemon lives, but could not be taken over for now: why. Nothing is
    /// started beside it; [`Event::Adopted`] or [`Event::Exited`] follows when that is over.
    Unreachable {
        /// Its process id.
        pid: u32,
        /// When it was spawned.
        started: Duration,
        /// Why, and what to do.
        why: Arc<str>,
    },
}

/// What the caller must do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start the process and answer with [`Event::Spawned`] or [`Event::SpawnFailed`].
    Spawn,
    /// Send this signal to the process, or to its group.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether to the whole process group.
        group: bool,
    },
    /// Send SIGKILL to the process, or to its group.
    Kill {
        /// Whether to the whole process group.
        group: bool,
    },
    /// Tell whoever listens that the phase changed.
    Changed {
        /// The phase before.
        from: Phase,
        /// The phase now.
        to: Phase,
        /// What made it change.
        why: Why,
    },
}

/// What made a phase change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The daemon started it as configured.
    Autostart,
    /// Someone asked.
    Asked,
    /// The delay after a failure or an exit is over, or there was none.
    Retry,
    /// It stayed up for `start_secs`.
    StayedUp,
    /// It could not be spawned.
    SpawnFailed,
    /// It ended before `start_secs`.
    TooQuick,
    /// It ended by itself with an expected code.
    Done,
    /// It ended by itself otherwise.
    Died,
    /// It is gone, as asked.
    Gone,
    /// Too many failures.
    GaveUp,
    /// The kernel refused a signal.
    SignalRefused,
    /// It was found alive after the daemon had been away.
    Adopted,
    /// It was found alive, but cannot be taken over for now.
    Unreachable,
}

impl Why {
    /// A few words for logs and answers.
    pub fn text(self) -> &'static str {
        match self {
            Self::Autostart => "starts with the daemon",
            Self::Asked => "asked for",
            Self::Retry => "started again",
            Self::StayedUp => "stayed up long enough",
            Self::SpawnFailed => "could not be started",
            Self::TooQuick => "exited too quickly",
            Self::Done => "exited as expected",
            Self::Died => "exited unexpectedly",
            Self::Gone => "is gone",
            Self::GaveUp => "gave up",
            Self::SignalRefused => "could not be signalled",
            Self::Adopted => "was found alive",
            Self::Unreachable => "was found alive, but cannot be taken over yet",
        }
    }
}

/// What is wrong with a slot, for people; supervisord calls it `spawnerr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It could not be started: why and what to do.
    Spawn(Arc<str>),
    /// It ended before `start_secs`.
    TooQuick,
    /// It ended with this unexpected status.
    BadExit(Exit),
    /// A signal could not be sent to it: why.
    Signal(Arc<str>),
    /// What an earlier daemon said of it.
    Earlier(Arc<str>),
}

impl fmt::Display for Trouble {
    /// supervisord's words where it has some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(text) | Self::Signal(text) | Self::Earlier(text) => f.write_str(text),
            Self::TooQuick => f.write_str("Exited too quickly (process log may have details)"),
            Self::BadExit(Exit::Code(code)) => write!(f, "Bad exit code {code}"),
            Self::BadExit(exit) => exit.fmt(f),
        }
    }
}

/// Everything known about a slot at one moment. Cheap to clone: it owns no heap memory of its
/// own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Where it is in its life.
    pub phase: Phase,
    /// The live process. No spawn is ever asked for while this is set.
    pub pid: Option<u32>,
    /// Whether someone wants it up. Outlives the daemon: stopped by hand stays stopped.
    pub wanted: bool,
    /// When the phase was entered.
    pub since: Duration,
    /// When the present or last process was spawned: the origin of the uptime.
    pub started: Option<Duration>,
    /// When the last process ended.
    pub ended: Option<Duration>,
    /// The timer: when to send [`Event::Tick`]. `None`: nothing to wait for.
    pub deadline: Option<Duration>,
    /// Failed starts in a row; supervisord's `backoff`, its events' `tries`.
    pub failures: u32,
    /// Deaths in a row of processes that lived shorter than [`Policy::settle`].
    pub streak: u32,
    /// How often it was started again by itself since it was last started by hand or by the
    /// daemon.
    pub restarts: u32,
    /// How the last process ended.
    pub last_exit: Option<Exit>,
    /// What is wrong, if something is.
    pub trouble: Option<Trouble>,
    /// A start was asked for while it was stopping.
    pub again: bool,
    /// Whether SIGKILL was already sent to the process that is stopping.
    pub killed: bool,
    deaths: Deaths,
}

/// The times of the last deaths, in milliseconds, as a ring. Most processes have none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Deaths {
    at: Vec<u64>,
    next: u8,
}

impl Deaths {
    fn push(&mut self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        match self.at.get_mut(usize::from(self.next)) {
            Some(oldest) => *oldest = now,
            None => self.at.push(now),
        }
        self.next = (self.next + 1) % GIVE_UP_MAX;
    }

    fn within(&self, now: Duration, window: Duration) -> usize {
        let from = u64::try_from(now.saturating_sub(window).as_millis()).unwrap_or(u64::MAX);
        self.at.iter().filter(|at| **at >= from).count()
    }
}

/// What a journal keeps of a state from one daemon to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// See [`State::failures`].
    pub failures: u32,
    /// See [`State::streak`].
    pub streak: u32,
    /// See [`State::restarts`].
    pub restarts: u32,
    /// See [`State::last_exit`].
    pub last_exit: Option<Exit>,
}

impl State {
    /// A slot without a process, as an earlier daemon left it. With `waiting` it was to be tried
    /// again: the delay starts anew.
    pub fn restored(
        phase: Phase,
        waiting: bool,
        counters: Counters,
        policy: &Policy,
        now: Duration,
    ) -> Self {
        let failures = counters.failures.max(counters.streak);
        Self {
            phase: match phase {
                Phase::Starting | Phase::Running | Phase::Stopping | Phase::Unknown => {
                    Phase::Stopped
                }
                Phase::Stopped | Phase::Backoff | Phase::Exited | Phase::Fatal => phase,
            },
            wanted: waiting,
            since: now,
            deadline: waiting.then(|| now.saturating_add(policy.backoff.delay(failures))),
            failures: counters.failures,
            streak: counters.streak,
            restarts: counters.restarts,
            last_exit: counters.last_exit,
            ..Self::default()
        }
    }

    /// What to keep of it for the next daemon.
    pub fn counters(&self) -> Counters {
        Counters {
            failures: self.failures,
            streak: self.streak,
            restarts: self.restarts,
            last_exit: self.last_exit,
        }
    }

    /// How long the live process has been up.
    pub fn uptime(&self, now: Duration) -> Option<Duration> {
        self.pid
            .and(self.started)
            .map(|started| now.saturating_sub(started))
    }

    /// Whether nothing more happens by itself soon: what a waiting start or stop waits for.
    /// BACKOFF counts as settled, because with unlimited retries it may last for ever.
    pub fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Stopping => false,
            Phase::Stopped
            | Phase::Running
            | Phase::Backoff
            | Phase::Exited
            | Phase::Fatal
            | Phase::Unknown => !self.again,
        }
    }
}

/// The effects of one step: a short list without heap memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects {
    list: [Option<Effect>; 6],
    len: u8,
}

impl Effects {
    fn push(&mut self, effect: Effect) {
        debug_assert!(
            usize::from(self.len) < self.list.len(),
            "a step has at most six effects"
        );
        if let Some(slot) = self.list.get_mut(usize::from(self.len)) {
            *slot = Some(effect);
            self.len += 1;
        }
    }

    /// The effects in order.
    pub fn iter(&self) -> impl Iterator<Item = Effect> + '_ {
        self.list.iter().copied().flatten()
    }
}

/// One step: see the module's page.
pub fn step(policy: &Policy, state: &State, event: Event, now: Duration) -> (State, Effects) {
    let mut turn = Turn {
        policy,
        s: state.clone(),
        out: Effects::default(),
        now,
    };
    turn.event(event);
    (turn.s, turn.out)
}

struct Turn<'a> {
    policy: &'a Policy,
    s: State,
    out: Effects,
    now: Duration,
}

impl Turn<'_> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Autostart => self.start(Why::Autostart),
            Event::Start => self.start(Why::Asked),
            Event::Stop => self.stop(),
            Event::Restart => {
                if self.s.pid.is_some() || self.s.phase == Phase::Starting {
                    self.stop();
                    self.s.wanted = true;
                    self.s.again = true;
                } else {
                    self.start(Why::Asked);
                }
            }
            Event::Spawned(pid) => self.spawned(pid),
            Event::SpawnFailed(text) => self.spawn_failed(text),
            Event::Exited(exit) => self.exited(exit),
            Event::Tick => self.tick(),
            Event::SignalError(text) => {
                if self.s.pid.is_some() {
                    self.s.trouble = Some(Trouble::Signal(text));
                    self.s.again = false;
                    self.s.deadline = None;
                    self.to(Phase::Unknown, Why::SignalRefused);
                }
            }
            Event::Unreachable { pid, started, why } => {
                if self.s.pid.is_none() {
                    self.s.wanted = true;
                    self.s.pid = Some(pid);
                    self.s.started = Some(started);
                    self.s.killed = false;
                    self.s.deadline = None;
                    self.s.trouble = Some(Trouble::Signal(why));
                    self.to(Phase::Unknown, Why::Unreachable);
                }
            }
            Event::Adopted { pid, started } => {
                let reached = self.s.phase == Phase::Unknown && self.s.pid == Some(pid);
                if reached || self.s.pid.is_none() {
                    if reached {
                        self.s.trouble = None;
                    } else {
                        self.s.wanted = true;
                    }
                    self.s.pid = Some(pid);
                    self.s.started = Some(started);
                    self.s.killed = false;
                    let up_at = started.saturating_add(self.policy.start_secs);
                    if up_at <= self.now {
                        self.s.deadline = None;
                        self.s.failures = 0;
                        self.to(Phase::Running, Why::Adopted);
                    } else {
                        self.s.deadline = Some(up_at);
                        self.to(Phase::Starting, Why::Adopted);
                    }
                }
            }
        }
    }

    fn to(&mut self, to: Phase, why: Why) {
        let from = self.s.phase;
        if from != to {
            self.s.phase = to;
            self.s.since = self.now;
            self.out.push(Effect::Changed { from, to, why });
        }
    }

    /// Someone wants it up.
    fn start(&mut self, why: Why) {
        self.s.wanted = true;
        match self.s.phase {
            Phase::Starting | Phase::Running => {}
            Phase::Stopping => self.s.again = true,
            // No second process beside one that we cannot signal.
            Phase::Unknown if self.s.pid.is_some() => {}
            Phase::Stopped | Phase::Backoff | Phase::Exited | Phase::Fatal | Phase::Unknown => {
                // By hand or by the daemon's start: a new chance.
                self.s.failures = 0;
                self.s.streak = 0;
                self.s.restarts = 0;
                self.s.deaths = Deaths::default();
                self.spawn(why);
            }
        }
    }

    fn spawn(&mut self, why: Why) {
        self.s.deadline = None;
        self.s.again = false;
        self.s.killed = false;
        self.to(Phase::Starting, why);
        self.out.push(Effect::Spawn);
    }

    /// Starts it again by itself.
    fn respawn(&mut self) {
        self.s.restarts = self.s.restarts.saturating_add(1);
        self.spawn(Why::Retry);
    }

    /// Someone wants it down.
    fn stop(&mut self) {
        self.s.wanted = false;
        self.s.again = false;
        match self.s.phase {
            Phase::Backoff => {
                self.s.failures = 0;
                self.s.streak = 0;
                self.s.deadline = None;
                self.to(Phase::Stopped, Why::Asked);
            }
            Phase::Exited if self.s.deadline.is_some() => {
                self.s.streak = 0;
                self.s.deadline = None;
                self.to(Phase::Stopped, Why::Asked);
            }
            Phase::Starting | Phase::Running | Phase::Unknown if self.s.pid.is_some() => {
                self.ask_to_stop();
            }
            // Already on its way, spawn under way (`spawned` sees `wanted`), or down already.
            Phase::Starting
            | Phase::Running
            | Phase::Stopping
            | Phase::Stopped
            | Phase::Exited
            | Phase::Fatal
            | Phase::Unknown => {}
        }
    }

    fn ask_to_stop(&mut self) {
        self.s.killed = false;
        self.s.deadline = Some(self.now.saturating_add(self.policy.stop_wait));
        self.to(Phase::Stopping, Why::Asked);
        self.out.push(Effect::Signal {
            number: self.policy.stop_signal,
            group: self.policy.stop_group,
        });
    }

    fn spawned(&mut self, pid: u32) {
        if self.s.phase != Phase::Starting || self.s.pid.is_some() {
            return;
        }
        self.s.pid = Some(pid);
        self.s.started = Some(self.now);
        self.s.trouble = None;
        if !self.s.wanted || self.s.again {
            // A stop or restart came while the spawn was under way.
            let again = self.s.again;
            self.ask_to_stop();
            self.s.again = again;
        } else if self.policy.start_secs.is_zero() {
            self.up();
        } else {
            self.s.deadline = Some(self.now.saturating_add(self.policy.start_secs));
        }
    }

    fn up(&mut self) {
        self.s.failures = 0;
        self.s.trouble = None;
        self.s.deadline = None;
        self.to(Phase::Running, Why::StayedUp);
    }

    fn spawn_failed(&mut self, text: Arc<str>) {
        if self.s.phase != Phase::Starting || self.s.pid.is_some() {
            return;
        }
        self.s.trouble = Some(Trouble::Spawn(text));
        let again = std::mem::take(&mut self.s.again);
        if !self.s.wanted {
            self.to(Phase::Stopped, Why::Gone);
        } else if self.policy.autorestart == Autorestart::Never && !self.policy.early_exit_fails {
            self.to(Phase::Fatal, Why::SpawnFailed);
        } else {
            let _ = again; // Trying again is what BACKOFF does.
            self.failed(Why::SpawnFailed);
        }
    }

    fn exited(&mut self, exit: Exit) {
        if self.s.pid.is_none() {
            return;
        }
        let life = self.now.saturating_sub(self.s.started.unwrap_or(self.now));
        self.s.pid = None;
        self.s.ended = Some(self.now);
        self.s.last_exit = Some(exit);
        self.s.deadline = None;
        self.s.killed = false;
        match self.s.phase {
            Phase::Stopping => self.stopped(),
            Phase::Unknown if !self.s.wanted => self.stopped(),
            Phase::Starting => {
                if life < self.policy.start_secs
                    && (self.policy.early_exit_fails || self.policy.restarts(exit))
                {
                    self.s.trouble = Some(Trouble::TooQuick);
                    self.failed(Why::TooQuick);
                } else {
                    if life >= self.policy.start_secs {
                        self.up();
                    }
                    self.ended_by_itself(exit, life);
                }
            }
            Phase::Running
            | Phase::Unknown
            | Phase::Stopped
            | Phase::Backoff
            | Phase::Exited
            | Phase::Fatal => self.ended_by_itself(exit, life),
        }
    }

    fn stopped(&mut self) {
        self.s.failures = 0;
        self.s.streak = 0;
        self.s.trouble = None;
        self.to(Phase::Stopped, Why::Gone);
        if self.s.again {
            self.start(Why::Asked);
        }
    }

    /// It had been running, or is done early and not to be restarted.
    fn ended_by_itself(&mut self, exit: Exit, life: Duration) {
        let expected = exit.is_expected(&self.policy.exit_codes);
        self.s.trouble = (!expected).then_some(Trouble::BadExit(exit));
        self.to(Phase::Exited, if expected { Why::Done } else { Why::Died });
        if !self.policy.restarts(exit) {
            return;
        }
        self.count_death(life);
        if self.gives_up() {
            self.to(Phase::Fatal, Why::GaveUp);
        } else if self.policy.delay_restarts && self.s.streak > 0 {
            let delay = self.policy.backoff.delay(self.s.streak);
            self.s.deadline = Some(self.now.saturating_add(delay));
        } else {
            self.respawn();
        }
    }

    /// A start failed: BACKOFF, or FATAL after too many.
    fn failed(&mut self, why: Why) {
        self.s.failures = self.s.failures.saturating_add(1);
        self.count_death(Duration::ZERO);
        self.to(Phase::Backoff, why);
        if self
            .policy
            .start_retries
            .is_some_and(|limit| self.s.failures > limit)
            || self.gives_up()
        {
            self.s.deadline = None;
            self.to(Phase::Fatal, Why::GaveUp);
        } else {
            // supervisord counts failed starts only; a process that got past `start_secs`
            // resets it. mainstay's count goes on until one lived for `settle`.
            let failures = if self.policy.delay_restarts {
                self.s.streak
            } else {
                self.s.failures
            };
            let delay = self.policy.backoff.delay(failures);
            self.s.deadline = Some(self.now.saturating_add(delay));
        }
    }

    fn count_death(&mut self, life: Duration) {
        self.s.deaths.push(self.now);
        self.s.streak = if life >= self.policy.settle && !life.is_zero() {
            0
        } else {
            self.s.streak.saturating_add(1)
        };
    }

    fn gives_up(&self) -> bool {
        self.policy.give_up.is_some_and(|give_up| {
            self.s.deaths.within(self.now, give_up.window) >= usize::from(give_up.count)
        })
    }

    fn tick(&mut self) {
        let Some(deadline) = self.s.deadline else {
            return;
        };
        if self.now < deadline {
            return;
        }
        self.s.deadline = None;
        match self.s.phase {
            Phase::Starting => self.up(),
            Phase::Backoff | Phase::Exited => self.respawn(),
            Phase::Stopping => {
                let again = self.policy.stop_wait.max(KILL_AGAIN_AT_LEAST);
                self.s.deadline = Some(self.now.saturating_add(again));
                self.s.killed = true;
                self.out.push(Effect::Kill {
                    group: self.policy.kill_group,
                });
            }
            Phase::Stopped | Phase::Running | Phase::Fatal | Phase::Unknown => {}
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

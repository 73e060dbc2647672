//! The epoll thread: it does what the machine says and tells the machine what happened.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mainstay_base::{Clock, Resolver};
use mainstay_log::{Logger, Progress, Stream};
use mainstay_sys::epoll::{Events, Interest};
use mainstay_sys::{Child, Epoll, LockFile, Signal, Wake};

use crate::command::{Change, Did, Event, Outcome};
use crate::group;
use crate::handover::Inherited;
use crate::input::Sent;
use crate::journal::{self, Journal, Noted, Record, SlotRecord};
use crate::keeper::line::Keeper;
use crate::launch::Words;
use crate::listeners::Audience;
use crate::machine::{self, Effect, Phase, step};
use crate::output::Pipe;
use crate::pace::Pace;
use crate::request::{Message, Shutdown, Waiting};
use crate::reserve::Reserve;
use crate::slot::{Departing, Slot, index, retry_in};
use crate::socket::Sockets;
use crate::timers::Timers;

/// Added to the monotonic clock, so that the start of a process that is older than the clock's
/// origin is still a point in time.
pub(crate) const ORIGIN: Duration = Duration::from_hours(1_000_000);
/// How often a group is looked at whose leader has ended.
const GROUP_POLL: Duration = Duration::from_millis(20);
/// How long a killed group may take to vanish before it is no longer waited for.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait between attempts to write the journal.
const JOURNAL_RETRY: Duration = Duration::from_secs(5);
/// When the start is taken to be over, and how much later where something was still starting.
const CALM: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// How many events may wait to be passed on.
const SAID_AT_MOST: usize = 16;

/// What a descriptor in the epoll set belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Wake,
    Process(usize),
    Pipe(usize, Stream),
    Input(usize),
    Keeper,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The machine's deadline of a slot.
    Slot(usize),
    /// Looking at the group of a slot whose leader has ended.
    Group(usize),
    /// Trying again to take a slot's process over.
    Held(usize),
    /// Trying again to write the output of a slot's stream.
    Output(usize, usize),
    /// A record of a slot's stream has waited long enough for further lines.
    Record(usize, usize),
    /// Trying again to write the journal.
    Journal,
    /// Answering requests that waited for no more than a moment.
    Answer,
    /// The next TICK.
    Tick,
    /// Telling the keeper what it does not know.
    Keeper,
    /// Giving back what only the start needed.
    Settle { again: bool },
}

pub(crate) struct Runtime {
    pub(crate) clock: Arc<dyn Clock>,
    events: Box<dyn Fn(Event) + Send>,
    /// Not passed on yet: whoever listens is woken once for what happens at once.
    said: RefCell<Vec<Event>>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) resolver: Resolver,
    pub(crate) logger: Option<Logger>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) journal: Journal,
    pub(crate) lock: Option<LockFile>,
    pub(crate) waits: Vec<Waiting>,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) done: bool,
    inbox: Receiver<Message>,
    wake: Arc<Wake>,
    pub(crate) epoll: Epoll,
    pub(crate) tokens: HashMap<u64, Token>,
    next_token: u64,
    pub(crate) timers: Timers<Timer>,
    pub(crate) reserve: Reserve,
    pub(crate) child_nofile: Option<(u64, u64)>,
    pub(crate) group_by_group: bool,
    pub(crate) words: Words,
    pub(crate) sockets: Sockets,
    pub(crate) audience: Audience,
    pub(crate) inherited: Inherited,
    pub(crate) keeper: Keeper,
    pace: Pace,
    turns: Arc<AtomicU64>,
}

impl Runtime {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by Supervisor::start"
    )]
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        events: Box<dyn Fn(Event) + Send>,
        environment: BTreeMap<String, String>,
        resolver: Resolver,
        logger: Option<Logger>,
        slots: Vec<Slot>,
        journal: Journal,
        lock: LockFile,
        inbox: Receiver<Message>,
        wake: Arc<Wake>,
        turns: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&*wake, 0, Interest::READ)?;
        Ok(Self {
            clock,
            events,
            said: RefCell::default(),
            environment,
            resolver,
            logger,
            slots,
            journal,
            lock: Some(lock),
            waits: Vec::new(),
            shutdown: None,
            done: false,
            inbox,
            wake,
            epoll,
            tokens: HashMap::from([(0, Token::Wake)]),
            next_token: 1,
            timers: Timers::new(),
            reserve: Reserve::new()?,
            child_nofile: None,
            group_by_group: false,
            words: Words::Mainstay,
            sockets: Sockets::default(),
            audience: Audience::default(),
            inherited: Inherited::default(),
            keeper: Keeper::default(),
            pace: Pace::default(),
            turns,
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic().saturating_add(ORIGIN)
    }

    /// Has an event passed on, at the end of this turn at the latest.
    pub(crate) fn tell(&self, event: Event) {
        self.said.borrow_mut().push(event);
        if self.said.borrow().len() >= SAID_AT_MOST {
            self.pass_on();
        }
    }

    /// Passes on what was told.
    fn pass_on(&self) {
        // Taken first: nothing is borrowed while others are called.
        for event in self.said.take() {
            (self.events)(event);
        }
    }

    /// The loop. Ends when everything is down, or was abandoned.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let settled = self.now().saturating_add(CALM[0]);
        self.timers
            .set(Timer::Settle { again: false }, Some(settled));
        while !self.done {
            self.pass_on();
            let wait = self.timers.wait(self.now());
            if let Err(error) = self.epoll.wait(&mut events, wait) {
                // Nothing but a fault in this program makes epoll_wait fail; do not spin on it.
                self.tell(Event::JournalFailed {
                    text: format!("cannot wait for events: {error}"),
                });
                std::thread::sleep(Duration::from_secs(1));
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
            self.pace.begin(events.len());
            for event in &events {
                if self.done {
                    break;
                }
                match self.tokens.get(&event.token) {
                    Some(Token::Wake) => self.on_wake(),
                    Some(&Token::Process(i)) => self.on_process(i),
                    Some(&Token::Pipe(i, stream)) => {
                        self.on_pipe(i, stream, event.token);
                        self.tell_output(i);
                    }
                    Some(&Token::Input(i)) => self.flush_input(i),
                    Some(Token::Keeper) => self.on_keeper(),
                    // Removed earlier in this turn.
                    None => {}
                }
            }
            if self.done {
                // After a handover the process may be another program at any instant: a birth or a
                // reaping begun now would be known to nobody.
                break;
            }
            let now = self.now();
            while let Some(timer) = self.timers.due(now) {
                self.on_timer(timer);
            }
            self.dispatch();
            // Before the answers: what a client was told has been said.
            self.pass_on();
            self.settle();
            let pause = self.pace.end(now);
            if !self.done && !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
    }

    /// The start is over: from here on this process sleeps, mostly. Once more where something has yet
    /// to show that it stays up.
    fn settle_down(&mut self, again: bool) {
        mainstay_sys::memory::settle();
        if !again && (self.slots.iter()).any(|slot| slot.state.phase == Phase::Starting) {
            let later = self.now().saturating_add(CALM[1]);
            self.timers.set(Timer::Settle { again: true }, Some(later));
        }
    }

    fn on_wake(&mut self) {
        // A level that stays up would only cost another turn.
        let _ = self.wake.drain();
        while !self.done
            && let Ok(message) = self.inbox.try_recv()
        {
            self.on_message(message);
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Slot(i) => self.feed(i, machine::Event::Tick),
            Timer::Group(i) => self.look_at_group(i),
            Timer::Held(i) => self.look_at_held(i),
            Timer::Output(i, at) => {
                let stream = if at == 0 {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                };
                self.resume_output(i, stream);
                self.tell_output(i);
            }
            Timer::Record(i, at) => {
                let stream = [Stream::Stdout, Stream::Stderr][at];
                if let Some(channel) = self.slots[i].channels[at].as_mut() {
                    channel.flush_due();
                }
                self.wait_for_lines(i, stream);
            }
            Timer::Journal => self.rewrite_journal(),
            // The end of the turn answers.
            Timer::Answer => {}
            Timer::Tick => self.tick(),
            Timer::Keeper => self.fill_keeper(),
            Timer::Settle { again } => self.settle_down(again),
        }
    }

    /// Gives the machine of slot `i` an event, does what it says, and notes what changed.
    pub(crate) fn feed(&mut self, i: usize, event: machine::Event) {
        let spec = Arc::clone(&self.slots[i].spec);
        let mut pending = Some(event);
        while let Some(event) = pending.take() {
            let now = self.now();
            let pid_before = self.slots[i].state.pid;
            let exit = match &event {
                machine::Event::Exited(exit) => Some(*exit),
                _ => None,
            };
            let (next, effects) = step(&spec.policy, &self.slots[i].state, event, now);
            self.slots[i].state = next;
            for effect in effects.iter() {
                match effect {
                    Effect::Changed { from, to, why } => {
                        self.changed(i, from, to, why, pid_before, exit);
                    }
                    Effect::Spawn => pending = Some(self.spawn(i)),
                    Effect::Signal { number, group } => {
                        pending = self.signal(i, number, group);
                        if pending.is_none() && spec.policy.stop_resumes {
                            // The process has the stop signal already, and acts on it first.
                            let _ = self.signal(i, Signal::CONT.number(), group);
                        }
                    }
                    Effect::Kill { group } => {
                        if let Some(pid) = self.slots[i].state.pid {
                            let process = self.slots[i].name().to_owned();
                            self.tell(Event::Killing { process, pid });
                        }
                        pending = self.signal(i, Signal::KILL.number(), group);
                    }
                }
            }
        }
        self.timers
            .set(Timer::Slot(i), self.slots[i].state.deadline);
        self.after(i);
    }

    fn changed(
        &mut self,
        i: usize,
        from: Phase,
        to: Phase,
        why: machine::Why,
        pid_before: Option<u32>,
        exit: Option<machine::Exit>,
    ) {
        let now = self.now();
        let slot = &mut self.slots[i];
        slot.since = self.clock.now();
        let last = to == slot.state.phase;
        let ended = matches!(to, Phase::Exited | Phase::Stopped | Phase::Backoff);
        let change = Change {
            process: slot.process.process.clone(),
            program: slot.spec.name.clone(),
            group: slot.spec.group.name.clone(),
            from,
            to,
            why,
            pid: slot
                .state
                .pid
                .or(pid_before)
                .filter(|_| to != Phase::Starting),
            tries: slot.state.failures,
            exit: exit.filter(|_| ended),
            trouble: slot
                .state
                .trouble
                .as_ref()
                .filter(|_| last)
                .map(ToString::to_string),
            retry_in: retry_in(&slot.state, now).filter(|_| last),
        };
        self.announce_change(&change);
        self.tell(Event::Changed(change));
    }

    /// What follows from a slot's new state besides the effects.
    fn after(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        let ended_for_good = matches!(slot.state.phase, Phase::Exited | Phase::Fatal)
            && slot.state.deadline.is_none();
        if ended_for_good && slot.decided == Some(true) {
            // It was started by hand and has ended by itself: nothing is left to remember.
            slot.decided = None;
        }
        if slot.left_over && !slot.is_live() && !slot.forgotten {
            slot.forgotten = true;
            let record = Record::Forget(slot.process.process.clone());
            let result = self.journal.append(&record, false);
            self.journalled(result);
            return;
        }
        self.note(i);
    }

    pub(crate) fn token(&mut self, meaning: Token) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.tokens.insert(token, meaning);
        token
    }

    /// Watches a process; gives it back if that cannot be.
    pub(crate) fn attach(&mut self, i: usize, child: Child) -> Result<(), (Child, io::Error)> {
        let token = self.token(Token::Process(i));
        // Edges, because an adopted process is readable a moment before its status is known.
        if let Err(error) = self.epoll.add(&child, token, Interest::READ_EDGE) {
            self.tokens.remove(&token);
            return Err((child, error));
        }
        self.slots[i].child = Some(child);
        self.slots[i].child_token = token;
        Ok(())
    }

    /// Reads a pipe from now on; its token.
    pub(crate) fn attach_pipe(
        &mut self,
        i: usize,
        stream: Stream,
        fd: OwnedFd,
        inode: u64,
    ) -> io::Result<u64> {
        let token = self.token(Token::Pipe(i, stream));
        if let Err(error) = self.epoll.add(&fd, token, Interest::READ) {
            self.tokens.remove(&token);
            return Err(error);
        }
        if let Some(channel) = self.slots[i].channel(stream) {
            channel.pipes.push(Pipe::new(fd, inode, token));
            self.keep_attached(inode);
        }
        Ok(token)
    }

    /// Takes an input out of the set, if it is there.
    fn unwatch_input(&mut self, i: usize) {
        if let Some(input) = &mut self.slots[i].input
            && let Some(token) = input.token.take()
        {
            let _ = self.epoll.delete(&*input);
            self.tokens.remove(&token);
        }
    }

    fn close_input(&mut self, i: usize) {
        self.unwatch_input(i);
        self.slots[i].input = None;
    }

    /// The input of slot `i` has room again.
    fn flush_input(&mut self, i: usize) {
        let Some(input) = &mut self.slots[i].input else {
            return;
        };
        match input.flush() {
            Sent::Waits => {}
            Sent::All | Sent::Full => self.unwatch_input(i),
            Sent::Closed => self.close_input(i),
        }
    }

    /// Writes to the input of slot `i`, now or when there is room.
    pub(crate) fn write_input(&mut self, i: usize, data: &[u8]) -> Sent {
        let Some(input) = &mut self.slots[i].input else {
            return Sent::Closed;
        };
        let sent = input.send(data);
        match sent {
            Sent::Waits if input.token.is_none() => {
                let token = self.token(Token::Input(i));
                if let Some(input) = &mut self.slots[i].input {
                    match self.epoll.add(&*input, token, Interest::WRITE) {
                        Ok(()) => input.token = Some(token),
                        Err(_) => {
                            self.tokens.remove(&token);
                        }
                    }
                }
            }
            Sent::Closed => self.close_input(i),
            Sent::All | Sent::Waits | Sent::Full => {}
        }
        sent
    }

    // Signals and ends.

    /// Sends a signal to the process of slot `i`; what the machine must know if it fails.
    fn signal(&mut self, i: usize, number: i32, group: bool) -> Option<machine::Event> {
        let now = self.now();
        let slot = &mut self.slots[i];
        let signal = Signal::new(number)?;
        let refused = |pid, error: &io::Error| {
            machine::Event::SignalError(
                format!(
                    "cannot send {} to pid {pid}: {error}; run mainstay as root or as the user of \
                     the program",
                    signal.name(),
                )
                .into(),
            )
        };
        if slot.held.is_some() {
            let pid = slot.state.pid?;
            // Once its leader is gone the rest of its group could not be named any more.
            let group = group || slot.spec.policy.kill_group;
            return match self.signal_held(i, signal, group) {
                Err(error) if !is_gone(&error) => Some(refused(pid, &error)),
                _ => None,
            };
        }
        let child = slot.child.as_ref()?;
        if let Some(departing) = &mut slot.departing {
            // Only its group is left.
            let result = child.signal_group(signal);
            if signal == Signal::KILL {
                let patience = if result.is_ok() {
                    GROUP_PATIENCE
                } else {
                    Duration::ZERO
                };
                departing
                    .give_up_at
                    .get_or_insert(now.saturating_add(patience));
            }
            return None;
        }
        match if group {
            child.signal_group(signal)
        } else {
            child.signal(signal)
        } {
            Ok(()) => None,
            // Gone already: its end is on its way to us.
            Err(error) if is_gone(&error) => None,
            Err(error) => Some(refused(child.pid().cast_unsigned(), &error)),
        }
    }

    /// A signal that a person asked for.
    pub(crate) fn signal_by_hand(&mut self, i: usize, signal: Signal) -> Result<(), String> {
        if self.slots[i].held.is_some() {
            return self
                .signal_held(i, signal, false)
                .map_err(|error| format!("cannot send {} to it: {error}", signal.name()));
        }
        let slot = &self.slots[i];
        match &slot.child {
            Some(child) if slot.departing.is_none() => child.signal(signal).map_err(|error| {
                format!(
                    "cannot send {} to pid {}: {error}",
                    signal.name(),
                    child.pid()
                )
            }),
            _ => Err("not running".to_owned()),
        }
    }

    fn on_process(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        let Some(child) = &slot.child else { return };
        if slot.departing.is_some() {
            return;
        }
        let whole_group = slot.spec.policy.kill_group && slot.spec.policy.sweep_group;
        let stopping = slot.state.phase == Phase::Stopping;
        if whole_group && !stopping {
            // It died. What it started would hold its port and its locks against the next one;
            // before the reaping its number still is its own on every kernel.
            let _ = child.signal_group(Signal::KILL);
        }
        let exit = match child.try_wait() {
            // An adopted process whose parent has not reaped it yet: there will be another edge.
            Ok(None) => return,
            Ok(Some(status)) => status.into(),
            Err(_) => machine::Exit::Unknown,
        };
        if whole_group && stopping && group::lives(child.pid()) {
            // A wrapper (`sh -c`) went first. What it started has not heard of it yet, or is
            // still finishing its work: it has the rest of the time.
            if !slot.spec.policy.stop_group
                && let Some(signal) = Signal::new(slot.spec.policy.stop_signal)
            {
                let _ = child.signal_group(signal);
                if slot.spec.policy.stop_resumes {
                    let _ = child.signal_group(Signal::CONT);
                }
            }
            slot.departing = Some(Departing {
                exit,
                give_up_at: None,
            });
            let again = self.now().saturating_add(GROUP_POLL);
            self.timers.set(Timer::Group(i), Some(again));
            return;
        }
        self.ended(i, exit);
    }

    fn look_at_group(&mut self, i: usize) {
        let now = self.now();
        let slot = &mut self.slots[i];
        let (Some(departing), Some(child)) = (&slot.departing, &slot.child) else {
            return;
        };
        let over = departing.give_up_at.is_some_and(|at| at <= now);
        if over || !group::lives(child.pid()) {
            let exit = departing.exit;
            self.ended(i, exit);
        } else {
            self.timers
                .set(Timer::Group(i), Some(now.saturating_add(GROUP_POLL)));
        }
    }

    /// The process of slot `i` is gone: takes the rest of its output, then tells the machine.
    pub(crate) fn ended(&mut self, i: usize, exit: machine::Exit) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Some(channel) = self.slots[i].channel(stream) else {
                continue;
            };
            let tokens: Vec<u64> = channel.pipes.iter().map(|pipe| pipe.token).collect();
            for token in tokens {
                self.finish_pipe(i, stream, token);
            }
            self.hear(i, stream);
        }
        self.tell_output(i);
        let slot = &mut self.slots[i];
        if let Some(child) = slot.child.take() {
            let _ = self.epoll.delete(&child);
        }
        self.tokens.remove(&slot.child_token);
        slot.departing = None;
        slot.live = None;
        slot.pipes = [0; 2];
        slot.stdin_pipe = 0;
        self.close_input(i);
        self.close_socket(i);
        self.listener_ended(i);
        self.timers.set(Timer::Group(i), None);
        self.feed(i, machine::Event::Exited(exit));
    }

    // Output.

    /// Takes what is in a pipe whose process has ended.
    pub(crate) fn finish_pipe(&mut self, i: usize, stream: Stream, token: u64) {
        if let Some((channel, at)) = self.slots[i].pipe(stream, token) {
            let progress = channel.finish(at);
            self.after_read(i, stream, token, progress);
        }
    }

    fn on_pipe(&mut self, i: usize, stream: Stream, token: u64) {
        let Some((channel, at)) = self.slots[i].pipe(stream, token) else {
            return;
        };
        let progress = channel.read(at, &mut self.pace);
        self.after_read(i, stream, token, progress);
        self.hear(i, stream);
    }

    fn after_read(&mut self, i: usize, stream: Stream, token: u64, progress: Progress) {
        let Some((channel, at)) = self.slots[i].pipe(stream, token) else {
            return;
        };
        match progress {
            Progress::More | Progress::Wait | Progress::Undecided => {
                channel.pipes[at].watch(&self.epoll, progress);
            }
            Progress::Ended => {
                let pipe = channel.pipes.remove(at);
                if !pipe.paused {
                    let _ = self.epoll.delete(&pipe.fd);
                }
                self.tokens.remove(&token);
                self.let_go(pipe.inode);
            }
            Progress::Stuck => {
                let next = channel.next_tick().map(|at| at.saturating_add(ORIGIN));
                channel.pipes[at].pause(&self.epoll);
                self.timers.set(Timer::Output(i, index(stream)), next);
            }
        }
        self.wait_for_lines(i, stream);
    }

    /// Sets the time at which a record is over that waits for further lines; none if none waits.
    fn wait_for_lines(&mut self, i: usize, stream: Stream) {
        if let Some(channel) = self.slots[i].channels[index(stream)].as_ref() {
            let next = channel.next_flush().map(|at| at.saturating_add(ORIGIN));
            self.timers.set(Timer::Record(i, index(stream)), next);
        }
    }

    fn resume_output(&mut self, i: usize, stream: Stream) {
        let Some(channel) = self.slots[i].channels[index(stream)].as_mut() else {
            return;
        };
        let mut tokens = Vec::new();
        for pipe in channel.pipes.iter_mut().filter(|pipe| pipe.paused) {
            if self.epoll.add(&pipe.fd, pipe.token, Interest::READ).is_ok() {
                pipe.paused = false;
            }
            tokens.push(pipe.token);
        }
        for token in tokens {
            self.on_pipe(i, stream, token);
        }
    }

    /// Passes on what the log files of a slot have to say.
    pub(crate) fn tell_output(&mut self, i: usize) {
        for at in 0..2 {
            let Some(channel) = self.slots[i].channels[at].as_mut() else {
                continue;
            };
            for mainstay_log::Notice { level, text } in channel.take_notices() {
                let process = self.slots[i].name().to_owned();
                self.tell(Event::Output {
                    process,
                    level,
                    text,
                });
            }
        }
    }

    // The journal.

    /// Writes down what changed about slot `i`.
    pub(crate) fn note(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        let record = Record::Slot(Box::new(slot.record()));
        let mut bytes = Vec::with_capacity(256);
        journal::encode(&record, &mut bytes);
        let noted = Noted::new(slot.decided, &bytes);
        if slot.noted == Some(noted) {
            return;
        }
        let sync = slot.noted.and_then(|old| old.decided) != slot.decided;
        slot.noted = Some(noted);
        let result = self.journal.append_encoded(&bytes, sync);
        self.journalled(result);
        if self.journal.is_large() {
            self.rewrite_journal();
        }
    }

    pub(crate) fn journalled(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.tell(Event::JournalFailed {
                text: format!("cannot write the journal of processes: {error}"),
            });
            self.retry_journal();
        }
    }

    /// Tries to write the journal again in a while.
    pub(crate) fn retry_journal(&mut self) {
        self.timers.set(
            Timer::Journal,
            Some(self.now().saturating_add(JOURNAL_RETRY)),
        );
    }

    /// Writes the journal anew from the slots.
    pub(crate) fn rewrite_journal(&mut self) {
        let was_behind = self.journal.is_behind();
        let records: Vec<SlotRecord> = self
            .slots
            .iter()
            .filter(|slot| !slot.forgotten)
            .map(Slot::record)
            .collect();
        match self.journal.rewrite(&records) {
            Ok(()) => {
                let kept = self.slots.iter_mut().filter(|slot| !slot.forgotten);
                for (slot, record) in kept.zip(records) {
                    slot.noted = Some(Noted::of(record));
                }
                if was_behind {
                    self.tell(Event::JournalRecovered);
                }
            }
            Err(error) if was_behind => {
                // Told when it began.
                drop(error);
                self.retry_journal();
            }
            Err(error) => self.journalled(Err(error)),
        }
    }

    /// The last words: everything is down.
    pub(crate) fn close(&mut self) -> Vec<Outcome> {
        if self.journal.is_behind() {
            self.rewrite_journal();
        }
        for i in 0..self.slots.len() {
            for channel in self.slots[i].channels.iter_mut().flatten() {
                channel.give_up();
            }
            self.tell_output(i);
        }
        // One that could not be signalled still lives: the next daemon must know.
        let alive: Vec<Outcome> = self
            .slots
            .iter()
            .filter(|slot| slot.is_live())
            .map(|slot| {
                let pid = slot.state.pid.unwrap_or_default();
                let why = slot.state.trouble.as_ref();
                let why = why.map_or_else(String::new, |trouble| format!(": {trouble}"));
                slot.outcome(Did::Failed(format!("pid {pid} goes on running{why}")))
            })
            .collect();
        for outcome in &alive {
            if let Did::Failed(text) = &outcome.result {
                let process = outcome.process.clone();
                let text = text.clone();
                self.tell(Event::LeftRunning { process, text });
            }
        }
        let result = if alive.is_empty() {
            self.dismiss_keeper();
            self.journal.append(&Record::Closed, true)
        } else {
            Ok(())
        };
        if let Err(error) = result {
            self.tell(Event::JournalFailed {
                text: format!("cannot close the journal of processes: {error}"),
            });
        }
        if let Some(lock) = self.lock.take() {
            let _ = lock.release();
        }
        self.done = true;
        self.tell(Event::Down);
        alive
    }
}

/// Whether this error says that there is no such process.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(mainstay_sys::Errno::SRCH.raw_os_error())
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(Event::Fault {
                text: "supervision has stopped by a fault in mainstay; the programs go on \
                       running: start mainstay again, it takes them over, and please report this"
                    .to_owned(),
            });
        }
        self.pass_on();
    }
}

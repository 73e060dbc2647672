//! What the epoll thread does about requests, and when it answers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::command::{Command, Did, Event, Outcome, Refusal, Reply};
use crate::launch::Reason;
use crate::machine::{self, Phase};
use crate::names::{Names, select, suggest};
use crate::runtime::{Runtime, Timer};
use crate::slot::Slot;

/// How long a process without a `start_secs` is looked at before a waiting start calls it started.
const A_MOMENT: Duration = Duration::from_millis(150);

/// Takes the answer to a request.
pub(crate) type Answer = Box<dyn FnOnce(Result<Reply, Refusal>) + Send>;

/// What comes through the inbox.
pub(crate) enum Message {
    /// A request and who wants to know.
    Request(Command, Answer),
    /// A group with all its processes, and who wants to know.
    AddGroup(Vec<Slot>, Answer),
    /// End the thread and leave every process alone.
    Abandon,
}

/// What a waiting request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Up,
    Down,
}

/// A request that is answered when all its processes have settled.
pub(crate) struct Waiting {
    goal: Goal,
    /// Each process, and what became of it once that is known.
    pub(crate) open: Vec<(usize, Option<Outcome>)>,
    pub(crate) answer: Answer,
    /// Not answered before: a process that counts as started at once is given a moment to prove it.
    not_before: Option<Duration>,
}

/// Everything is being stopped.
pub(crate) struct Shutdown {
    /// The groups still to stop, those together that are stopped together; the last one is next.
    groups: Vec<Vec<usize>>,
    /// The group that is stopping now.
    current: Vec<usize>,
    answers: Vec<Answer>,
}

impl Runtime {
    pub(crate) fn on_message(&mut self, message: Message) {
        match message {
            Message::Request(command, answer) => self.on_request(command, answer),
            Message::AddGroup(_, answer) if self.shutdown.is_some() => {
                answer(Err(Refusal::ShuttingDown));
            }
            Message::AddGroup(slots, answer) => answer(self.add_group(slots)),
            Message::Abandon => self.done = true,
        }
    }

    fn on_request(&mut self, command: Command, answer: Answer) {
        if let Some(shutdown) = &mut self.shutdown {
            match command {
                Command::Shutdown => shutdown.answers.push(answer),
                Command::Status { names } => self.status(&names, answer),
                _ => answer(Err(Refusal::ShuttingDown)),
            }
            return;
        }
        match command {
            Command::Status { names } => self.status(&names, answer),
            Command::Start {
                names,
                wait,
                strict,
            } => {
                self.act(&names, answer, Goal::Up, wait, |runtime, i| {
                    let phase = runtime.slots[i].state.phase;
                    if strict && phase == Phase::Backoff {
                        return Some(Did::AlreadyRunning);
                    }
                    if matches!(phase, Phase::Running | Phase::Starting) {
                        runtime.decide(i, true);
                        return Some(Did::AlreadyRunning);
                    }
                    if let Some(refusal) = left_over(&runtime.slots[i]) {
                        return Some(refusal);
                    }
                    if strict
                        && phase != Phase::Stopping
                        && let Some(refusal) = runtime.refused(i)
                    {
                        return Some(refusal);
                    }
                    runtime.decide(i, true);
                    runtime.feed(i, machine::Event::Start);
                    let state = &runtime.slots[i].state;
                    if state.phase == Phase::Unknown && state.pid.is_some() {
                        return Some(became(&runtime.slots[i], Goal::Up));
                    }
                    None
                });
            }
            Command::Stop { names, wait } => {
                self.act(&names, answer, Goal::Down, wait, |runtime, i| {
                    let state = &runtime.slots[i].state;
                    let up = state.pid.is_some() || state.deadline.is_some();
                    runtime.decide(i, false);
                    runtime.feed(i, machine::Event::Stop);
                    (!up).then_some(Did::NotRunning)
                });
            }
            Command::Restart { names, wait } => {
                self.act(&names, answer, Goal::Up, wait, |runtime, i| {
                    if let Some(refusal) = left_over(&runtime.slots[i]) {
                        return Some(refusal);
                    }
                    runtime.decide(i, true);
                    runtime.feed(i, machine::Event::Restart);
                    None
                });
            }
            Command::Signal { names, signal } => {
                // Answered at once: a signal has no end that one could wait for.
                self.act(&names, answer, Goal::Up, false, |runtime, i| {
                    Some(match runtime.signal_by_hand(i, signal) {
                        Ok(()) => Did::Signalled,
                        Err(_) if runtime.slots[i].state.pid.is_none() => Did::NotRunning,
                        Err(text) => Did::Failed(text),
                    })
                });
            }
            Command::ReopenLogs => {
                for i in 0..self.slots.len() {
                    for channel in self.slots[i].channels.iter_mut().flatten() {
                        channel.reopen();
                    }
                    self.tell_output(i);
                }
                answer(Ok(Reply::Ok));
            }
            Command::ClearLogs { names } => {
                self.act(&names, answer, Goal::Up, false, |runtime, i| {
                    let result = runtime.clear_logs(i);
                    runtime.tell_output(i);
                    Some(result.map_or_else(Did::Failed, |()| Did::Cleared))
                });
            }
            Command::Send { name, data } => {
                self.act(&[name], answer, Goal::Up, false, |runtime, i| {
                    Some(runtime.send_input(i, &data))
                });
            }
            Command::Announce { kind, data } => {
                self.announce(&kind, &data);
                answer(Ok(Reply::Ok));
            }
            Command::RemoveGroup { name } => answer(self.remove_group(&name)),
            Command::Handover => self.hand_over(answer),
            Command::Shutdown => self.begin_shutdown(answer),
        }
    }

    fn select(&self, names: &[String]) -> Result<Vec<usize>, Refusal> {
        let live: Vec<usize> = (0..self.slots.len())
            .filter(|i| !self.slots[*i].forgotten)
            .collect();
        let known: Vec<Names<'_>> = live.iter().map(|i| self.slots[*i].names()).collect();
        let mut chosen = BTreeSet::new();
        for name in names {
            let found = select(name, &known).ok_or_else(|| Refusal::UnknownName {
                name: name.clone(),
                nearest: suggest(name, &known).map(str::to_owned),
            })?;
            chosen.extend(found.into_iter().map(|at| live[at]));
        }
        Ok(chosen.into_iter().collect())
    }

    fn status(&self, names: &[String], answer: Answer) {
        let all = ["all".to_owned()];
        let chosen = self.select(if names.is_empty() { &all } else { names });
        let (now, wall) = (self.now(), self.clock.now());
        answer(chosen.map(|chosen| {
            Reply::Status(
                chosen
                    .into_iter()
                    .map(|i| self.slots[i].status(now, wall))
                    .collect(),
            )
        }));
    }

    /// Does `act` to each named process. What it answers is final; `None` means that the outcome
    /// shows when the process has settled.
    fn act(
        &mut self,
        names: &[String],
        answer: Answer,
        goal: Goal,
        wait: bool,
        act: impl Fn(&mut Self, usize) -> Option<Did>,
    ) {
        let chosen = match self.select(names) {
            Ok(chosen) => chosen,
            Err(refusal) => return answer(Err(refusal)),
        };
        let mut open = Vec::with_capacity(chosen.len());
        let mut at_once = false;
        for i in self.in_order(chosen) {
            let did = act(self, i).or_else(|| (!wait).then_some(Did::Asked));
            at_once |= did.is_none() && self.slots[i].spec.policy.start_secs.is_zero();
            open.push((i, did.map(|did| self.slots[i].outcome(did))));
        }
        let not_before = (at_once && goal == Goal::Up).then(|| self.now().saturating_add(A_MOMENT));
        if not_before.is_some() {
            self.timers.set(Timer::Answer, not_before);
        }
        self.waits.push(Waiting {
            goal,
            open,
            answer,
            not_before,
        });
    }

    /// In the order in which they start: groups, then programs, by priority and name.
    pub(crate) fn in_order(&self, mut chosen: Vec<usize>) -> Vec<usize> {
        chosen.sort_by_key(|i| {
            let slot = &self.slots[*i];
            (
                &slot.spec.group,
                slot.spec.priority,
                &slot.spec.name,
                slot.process.instance,
            )
        });
        chosen
    }

    /// Remembers what a person wants, where it is not what the config says anyway.
    fn decide(&mut self, i: usize, up: bool) {
        let slot = &mut self.slots[i];
        slot.decided = (slot.spec.autostart != up).then_some(up);
        self.note(i);
    }

    /// Answers the requests whose processes have all settled, and moves the shutdown on.
    pub(crate) fn settle(&mut self) {
        let mut at = 0;
        while at < self.waits.len() {
            let now = self.now();
            let Self { waits, slots, .. } = self;
            let waiting = &mut waits[at];
            let early = waiting.not_before.is_some_and(|at| now < at);
            for (i, outcome) in &mut waiting.open {
                let slot = &slots[*i];
                // One that has ended needs no more time to show that it does not stay up.
                let proven = !early || slot.state.phase != Phase::Running;
                if outcome.is_none() && slot.is_settled() && proven {
                    *outcome = Some(slot.outcome(became(slot, waiting.goal)));
                }
            }
            if waiting.open.iter().all(|(_, outcome)| outcome.is_some()) {
                let waiting = self.waits.remove(at);
                let mut open = waiting.open;
                open.sort_by_key(|(i, _)| *i);
                let outcomes = open
                    .into_iter()
                    .filter_map(|(_, outcome)| outcome)
                    .collect();
                (waiting.answer)(Ok(Reply::Done(outcomes)));
            } else {
                at += 1;
            }
        }
        self.continue_shutdown();
    }

    /// Why the process of slot `i` is not even tried.
    fn refused(&mut self, i: usize) -> Option<Did> {
        let refused = self.probe(i).err()?;
        match refused.reason {
            Reason::NoFile => Some(Did::NoFile(refused.text)),
            Reason::NotExecutable => Some(Did::NotExecutable(refused.text)),
            Reason::Other => None,
        }
    }

    fn begin_shutdown(&mut self, answer: Answer) {
        self.tell(Event::ShuttingDown);
        self.announce_state(false);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for i in self.in_order((0..self.slots.len()).collect()) {
            match groups.last_mut() {
                Some(last) if self.stop_together(last[0], i) => last.push(i),
                _ => groups.push(vec![i]),
            }
        }
        self.shutdown = Some(Shutdown {
            groups,
            current: Vec::new(),
            answers: vec![answer],
        });
    }

    fn stop_together(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.slots[one].spec.group, &self.slots[other].spec.group);
        one.priority == other.priority && (!self.group_by_group || one.name == other.name)
    }

    fn continue_shutdown(&mut self) {
        while let Some(shutdown) = &mut self.shutdown
            && !self.done
        {
            let down = |i: &usize| {
                let slot = &self.slots[*i];
                !slot.is_live() && slot.is_settled()
                    // One that cannot be signalled is not waited for: it would be for ever.
                    || slot.state.phase == Phase::Unknown
            };
            if !shutdown.current.iter().all(down) {
                return;
            }
            if let Some(group) = shutdown.groups.pop() {
                shutdown.current.clone_from(&group);
                for i in group.into_iter().rev() {
                    // What a person decided stays as it is: this is the daemon's end, not theirs.
                    self.feed(i, machine::Event::Stop);
                }
                continue;
            }
            let answers = std::mem::take(&mut shutdown.answers);
            let alive = self.close();
            for answer in answers {
                answer(Ok(if alive.is_empty() {
                    Reply::Ok
                } else {
                    Reply::Done(alive.clone())
                }));
            }
        }
    }
}

fn left_over(slot: &Slot) -> Option<Did> {
    slot.left_over.then(|| {
        Did::Failed(format!(
            "`{}` is not in the config any more: it can be stopped, but not started",
            slot.spec.name
        ))
    })
}

/// What became of a settled process that was to come up or go down.
fn became(slot: &Slot, goal: Goal) -> Did {
    let state = &slot.state;
    let trouble = || {
        let mut text = state
            .trouble
            .as_ref()
            .map_or_else(|| format!("it is {}", state.phase), ToString::to_string);
        if matches!(state.phase, Phase::Backoff) {
            text.push_str("; it is tried again by itself");
        }
        match state.trouble {
            Some(machine::Trouble::Spawn(_)) => Did::SpawnFailed(text),
            _ => Did::Failed(text),
        }
    };
    match (goal, state.phase) {
        (Goal::Up, Phase::Running) => Did::Started,
        (Goal::Up, Phase::Exited) if state.trouble.is_none() => Did::Finished,
        (Goal::Up, _) | (Goal::Down, Phase::Unknown) => trouble(),
        (Goal::Down, Phase::Running | Phase::Backoff) => {
            Did::Failed("it was started again by someone else".to_owned())
        }
        (Goal::Down, _) => Did::Stopped,
    }
}

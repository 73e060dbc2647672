//! What a work is and what comes next: events in, the next command out. No clock, no store, no
//! randomness; what time it is and how the dice fell comes with the event.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::store::Millis;

/// How often and how soon something that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure; doubled after each further one.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// After this many attempts a work is stuck.
    pub attempts: u32,
}

impl Default for Backoff {
    /// From one second to five minutes, sixteen attempts: three quarters of an hour in all.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(5),
            attempts: 16,
        }
    }
}

impl Backoff {
    /// The wait after so many failures, in milliseconds. `dice` takes away up to half of it, so that
    /// those who failed together do not come back together.
    fn wait(&self, failures: u32, dice: u8) -> Millis {
        let doublings = failures.saturating_sub(1).min(32);
        let whole = self
            .first
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(self.longest);
        let whole = Millis::try_from(whole.as_millis()).unwrap_or(Millis::MAX >> 16);
        whole - whole / 2 * Millis::from(dice) / 255
    }
}

/// What is known of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It was going to happen. Found after a crash, this is the same as unknown.
    Intended,
    /// It happened.
    Done,
    /// It did not happen.
    Refused,
    /// It was tried; nobody knows whether it happened.
    Unknown,
    /// It was undone.
    Undone,
    /// A person said that it need not be undone.
    Skipped,
}

impl StepState {
    /// Whether an end of the work other than success has to undo it.
    fn stands(self) -> bool {
        matches!(self, Self::Intended | Self::Done | Self::Unknown)
    }
}

/// A step of a work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The name that its undo is registered under.
    pub name: String,
    /// What the undo needs to know.
    pub args: Args,
    /// What is known of it.
    pub state: StepState,
    /// What the act told about itself, for the undo.
    #[serde(default, skip_serializing_if = "Args::is_empty")]
    pub note: Args,
    /// How often its undo has failed.
    #[serde(default)]
    pub attempts: u32,
    /// The last error of the act or the undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is known of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// It is to happen.
    Waiting,
    /// It happened.
    Done,
    /// A person said that it need not happen.
    Skipped,
}

/// Something that happens after the commit, at least once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The name that it is registered under.
    pub name: String,
    /// Its arguments.
    pub args: Args,
    /// What is known of it.
    pub state: ActionState,
    /// How often it has failed.
    #[serde(default)]
    pub attempts: u32,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The two directions a work can go to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Back: the steps are undone, last first.
    Back,
    /// On: it is committed, its actions are run in order.
    On,
}

/// Where a work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its process is at it.
    Open,
    /// It is decided which way it ends.
    Going(Way),
    /// The undo or the action that is next has failed too often. A person decides.
    Stuck {
        /// Which way it was going.
        way: Way,
        /// Whether the alert went out.
        told: bool,
    },
    /// It is over: everything was undone, or everything was done.
    Over(Way),
}

/// What a person did to a work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// When, in milliseconds since 1970.
    pub at: Millis,
    /// Who.
    pub by: String,
    /// What: "retry", or "skip" and the name of what was skipped.
    pub what: String,
}

/// A unit of work, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// What the app calls this kind of work.
    pub name: String,
    /// Where it is.
    pub phase: Phase,
    /// Its steps, in the order they were begun.
    pub steps: Vec<Step>,
    /// What happens after the commit, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// Why it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub began: Millis,
    /// When the next attempt may be made, in milliseconds since 1970.
    #[serde(default)]
    pub due: Millis,
    /// What people did to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
}

/// How an act ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It happened, and told this about itself.
    Done(Args),
    /// It did not happen.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// How an undo or an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Well.
    Done,
    /// It failed; another try may help.
    Failed(String),
    /// It failed, and no other try will help.
    Hopeless(String),
}

/// What a probe found out about a step of which nothing was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It happened, and is to be undone.
    Happened,
    /// It did not happen, and cannot happen any more.
    Absent,
}

/// What can happen to a work.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step is going to be acted.
    Intend {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Args,
    },
    /// The last step's act has ended.
    Acted(Outcome),
    /// Everything is done: actions follow.
    Commit(Vec<(String, Args)>),
    /// It is given up, for this reason.
    Abort(String),
    /// Another process took it from the one that had it.
    TakenOver,
    /// The probe of a step has ended.
    Probed {
        /// Which step.
        step: usize,
        /// What it found.
        finding: Finding,
    },
    /// The undo of a step, or a probe that found nothing out, has ended.
    Undid {
        /// Which step.
        step: usize,
        /// How.
        attempt: Attempt,
    },
    /// An action has ended.
    Ran {
        /// Which action.
        action: usize,
        /// How.
        attempt: Attempt,
    },
    /// The alert went out.
    Told,
    /// The act of a step ended after the work was taken over, so that its undo may have come first.
    Late {
        /// Which step.
        step: usize,
        /// How.
        outcome: Outcome,
    },
    /// A person wants what is next to be tried again.
    Retry {
        /// Who.
        by: String,
    },
    /// A person says that what is next need not happen.
    Skip {
        /// Who.
        by: String,
    },
}

/// What has to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Nothing: the process that has it is at it.
    Hold,
    /// Find out whether this step happened.
    Probe(usize),
    /// Undo this step.
    Undo(usize),
    /// Run this action.
    Run(usize),
    /// Come back at this time.
    Wait(Millis),
    /// Tell a person that it is stuck.
    Tell,
    /// Nothing until a person decides.
    Rest,
    /// Nothing ever: it ended this way.
    End(Way),
}

/// An event that does not fit the phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit(pub(crate) &'static str);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The longest error that is stored, in bytes.
const ERROR_LENGTH: usize = 500;

impl Work {
    /// A work that has just begun.
    pub fn new(name: impl Into<String>, now: Millis) -> Self {
        Self {
            name: name.into(),
            phase: Phase::Open,
            steps: Vec::new(),
            actions: Vec::new(),
            reason: None,
            began: now,
            due: 0,
            interventions: Vec::new(),
        }
    }

    /// What comes next. `probed` says which names have a probe.
    pub fn next(&self, now: Millis, probed: impl Fn(&str) -> bool) -> Command {
        match self.phase {
            Phase::Open => Command::Hold,
            Phase::Stuck { told: false, .. } => Command::Tell,
            Phase::Stuck { told: true, .. } => Command::Rest,
            Phase::Over(way) => Command::End(way),
            Phase::Going(_) if now < self.due => Command::Wait(self.due),
            Phase::Going(Way::Back) => match self.standing() {
                Some(index) => {
                    let step = &self.steps[index];
                    if step.state != StepState::Done && probed(&step.name) {
                        Command::Probe(index)
                    } else {
                        Command::Undo(index)
                    }
                }
                None => Command::End(Way::Back),
            },
            Phase::Going(Way::On) => match self.waiting() {
                Some(index) => Command::Run(index),
                None => Command::End(Way::On),
            },
        }
    }

    /// The step that is undone next.
    pub fn standing(&self) -> Option<usize> {
        self.steps.iter().rposition(|step| step.state.stands())
    }

    /// The action that is run next.
    pub fn waiting(&self) -> Option<usize> {
        self.actions
            .iter()
            .position(|action| action.state == ActionState::Waiting)
    }

    /// Takes an event in. On an error nothing has changed.
    pub fn apply(
        &mut self,
        event: Event,
        now: Millis,
        backoff: &Backoff,
        dice: u8,
    ) -> Result<(), Misfit> {
        match event {
            Event::Intend { name, args } => {
                self.must_be_open()?;
                self.steps.push(Step {
                    name,
                    args,
                    state: StepState::Intended,
                    note: Args::default(),
                    attempts: 0,
                    error: None,
                });
            }
            Event::Acted(outcome) => {
                self.must_be_open()?;
                self.steps
                    .last_mut()
                    .filter(|step| step.state == StepState::Intended)
                    .ok_or(Misfit("no step is being acted"))?
                    .end(outcome);
            }
            Event::Commit(actions) => {
                self.must_be_open()?;
                if self
                    .steps
                    .iter()
                    .any(|step| matches!(step.state, StepState::Intended | StepState::Unknown))
                {
                    return Err(Misfit(
                        "there is a step of which nobody knows whether it happened",
                    ));
                }
                self.actions = actions
                    .into_iter()
                    .map(|(name, args)| Action {
                        name,
                        args,
                        state: ActionState::Waiting,
                        attempts: 0,
                        error: None,
                    })
                    .collect();
                self.go(Way::On);
            }
            Event::Abort(reason) => {
                self.must_be_open()?;
                self.reason = Some(short(reason));
                self.go(Way::Back);
            }
            Event::TakenOver => {
                if self.phase == Phase::Open {
                    self.reason = Some("its process ended or lost its lease".to_owned());
                    self.go(Way::Back);
                }
            }
            Event::Probed { step, finding } => {
                let step = self.step_going_back(step)?;
                step.attempts = 0;
                step.error = None;
                step.state = match finding {
                    Finding::Happened => StepState::Done,
                    Finding::Absent => StepState::Refused,
                };
                self.go(Way::Back);
            }
            Event::Undid { step, attempt } => {
                let step = self.step_going_back(step)?;
                let failed = judge(&mut step.attempts, &mut step.error, attempt, backoff);
                if failed.is_none() {
                    step.state = StepState::Undone;
                }
                self.after_attempt(Way::Back, failed, now, backoff, dice);
            }
            Event::Ran { action, attempt } => {
                let next = self.waiting();
                if self.phase != Phase::Going(Way::On) || next != Some(action) {
                    return Err(Misfit("this action is not the next one"));
                }
                let action = &mut self.actions[action];
                let failed = judge(&mut action.attempts, &mut action.error, attempt, backoff);
                if failed.is_none() {
                    action.state = ActionState::Done;
                }
                self.after_attempt(Way::On, failed, now, backoff, dice);
            }
            Event::Told => match &mut self.phase {
                Phase::Stuck { told, .. } => *told = true,
                _ => return Err(Misfit("it is not stuck")),
            },
            Event::Late { step, outcome } => {
                let (Phase::Going(Way::Back)
                | Phase::Stuck { way: Way::Back, .. }
                | Phase::Over(Way::Back)) = self.phase
                else {
                    return Err(Misfit("it was not given up"));
                };
                let late = self
                    .steps
                    .get_mut(step)
                    .ok_or(Misfit("there is no such step"))?;
                late.attempts = 0;
                late.end(outcome);
                self.due = now;
                self.go(Way::Back);
            }
            Event::Retry { by } => {
                let way = self.interrupted()?;
                self.intervene(now, by, "retry".to_owned());
                if let Some((attempts, _)) = self.pending(way) {
                    *attempts = 0;
                }
                self.due = now;
                self.go(way);
            }
            Event::Skip { by } => {
                let way = self.interrupted()?;
                let name = match way {
                    Way::Back => self.standing().map(|index| {
                        let step = &mut self.steps[index];
                        step.state = StepState::Skipped;
                        step.name.clone()
                    }),
                    Way::On => self.waiting().map(|index| {
                        let action = &mut self.actions[index];
                        action.state = ActionState::Skipped;
                        action.name.clone()
                    }),
                };
                let name = name.ok_or(Misfit("there is nothing left to skip"))?;
                self.intervene(now, by, format!("skip {name}"));
                self.due = now;
                self.go(way);
            }
        }
        Ok(())
    }

    fn must_be_open(&self) -> Result<(), Misfit> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Going(Way::Back)
            | Phase::Stuck { way: Way::Back, .. }
            | Phase::Over(Way::Back) => Err(Misfit("it was given up")),
            _ => Err(Misfit("it was committed")),
        }
    }

    /// The step, if it is the one to be undone next.
    fn step_going_back(&mut self, step: usize) -> Result<&mut Step, Misfit> {
        if self.phase != Phase::Going(Way::Back) || self.standing() != Some(step) {
            return Err(Misfit("this step is not the next one to be undone"));
        }
        Ok(&mut self.steps[step])
    }

    /// The way on which a person may intervene.
    fn interrupted(&self) -> Result<Way, Misfit> {
        match self.phase {
            Phase::Stuck { way, .. } | Phase::Going(way) => Ok(way),
            Phase::Open => Err(Misfit("its process is at it")),
            Phase::Over(_) => Err(Misfit("it is over")),
        }
    }

    /// The count of attempts and the error of what is next on that way.
    fn pending(&mut self, way: Way) -> Option<(&mut u32, &mut Option<String>)> {
        match way {
            Way::Back => {
                let step = self.standing().map(|index| &mut self.steps[index])?;
                Some((&mut step.attempts, &mut step.error))
            }
            Way::On => {
                let action = self.waiting().map(|index| &mut self.actions[index])?;
                Some((&mut action.attempts, &mut action.error))
            }
        }
    }

    fn intervene(&mut self, at: Millis, by: String, what: String) {
        self.interventions.push(Intervention {
            at,
            by: short(by),
            what,
        });
    }

    /// Goes that way, or is over if nothing is left to do on it.
    fn go(&mut self, way: Way) {
        let left = match way {
            Way::Back => self.standing(),
            Way::On => self.waiting(),
        };
        self.phase = match left {
            Some(_) => Phase::Going(way),
            None => Phase::Over(way),
        };
    }

    fn after_attempt(
        &mut self,
        way: Way,
        failed: Option<Failed>,
        now: Millis,
        backoff: &Backoff,
        dice: u8,
    ) {
        match failed {
            None => self.go(way),
            Some(Failed::Again(failures)) => {
                self.due = now.saturating_add(backoff.wait(failures, dice));
            }
            Some(Failed::ForGood) => self.phase = Phase::Stuck { way, told: false },
        }
    }
}

impl Step {
    fn end(&mut self, outcome: Outcome) {
        self.error = None;
        match outcome {
            Outcome::Done(note) => {
                self.state = StepState::Done;
                self.note = note;
            }
            Outcome::Refused(why) => {
                self.state = StepState::Refused;
                self.error = Some(short(why));
            }
            Outcome::Unknown(why) => {
                self.state = StepState::Unknown;
                self.error = Some(short(why));
            }
        }
    }
}

/// What a failed attempt leads to.
enum Failed {
    Again(u32),
    ForGood,
}

fn judge(
    attempts: &mut u32,
    error: &mut Option<String>,
    attempt: Attempt,
    backoff: &Backoff,
) -> Option<Failed> {
    let (why, hopeless) = match attempt {
        Attempt::Done => {
            *error = None;
            return None;
        }
        Attempt::Failed(why) => (why, false),
        Attempt::Hopeless(why) => (why, true),
    };
    *attempts = attempts.saturating_add(1);
    *error = Some(short(why));
    Some(if hopeless || *attempts >= backoff.attempts {
        Failed::ForGood
    } else {
        Failed::Again(*attempts)
    })
}

/// At most so much of a text as is stored of an error.
fn short(mut text: String) -> String {
    if text.len() > ERROR_LENGTH {
        text.truncate(text.floor_char_boundary(ERROR_LENGTH));
        text.push('…');
    }
    text
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

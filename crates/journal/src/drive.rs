//! Brings one work to its end: asks the machine what comes next, does it, writes down how it went.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::args::Args;
use crate::error::{Error, Failure};
use crate::held::{Driven, Held, Shared};
use crate::machine::{Attempt, Command, Event, Finding, Outcome, Way};
use crate::operator::Stuck;
use crate::registry::{Call, Function};
use crate::store::Kind;

/// How far a work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything is done, all actions included.
    Done,
    /// Everything is undone.
    Undone,
    /// Something failed and is tried again later, by whichever process is there then.
    Later,
    /// Something failed too often: a person decides.
    Stuck,
}

/// Goes on with a work until it ends or has to wait, after an event if one comes first.
pub(crate) async fn drive(mut held: Held, first: Option<Event>) -> Result<Ended, Error> {
    let _driven = Driven(Arc::clone(&held.shared), held.id.clone());
    if let Some(event) = first {
        held.write(event).await?;
    }
    loop {
        let event = match held.next() {
            Command::End(Way::On) => return Ok(Ended::Done),
            Command::End(Way::Back) => return Ok(Ended::Undone),
            Command::Rest => return Ok(Ended::Stuck),
            Command::Hold => return Ok(Ended::Later),
            Command::Wait(_) | Command::Probe(_) | Command::Undo(_) | Command::Run(_)
                if !held.owned =>
            {
                held.shared.expect(held.work.due);
                return Ok(Ended::Later);
            }
            // Only where the clock was set back a little in between.
            Command::Wait(due) => {
                let left = due.saturating_sub(held.shared.now());
                tokio::time::sleep(Duration::from_millis(left)).await;
                continue;
            }
            Command::Tell => {
                let stuck = Stuck::of(&held.id, &held.work);
                log::error!("{stuck}");
                if let Some(tell) = &held.shared.tell {
                    tell(&stuck);
                }
                Event::Told
            }
            Command::Probe(step) => {
                let probe = held.shared.registry.probes.get(&held.work.steps[step].name);
                match call(&held.shared, probe, step_call(&held, step)).await {
                    Ok(finding) => Event::Probed { step, finding },
                    Err(failure) => Event::Undid {
                        step,
                        attempt: failed(failure),
                    },
                }
            }
            Command::Undo(step) => {
                let undo = held.shared.registry.undos.get(&held.work.steps[step].name);
                let attempt = match call(&held.shared, undo, step_call(&held, step)).await {
                    Ok(()) => Attempt::Done,
                    Err(failure) => failed(failure),
                };
                Event::Undid { step, attempt }
            }
            Command::Run(action) => {
                let function = held
                    .shared
                    .registry
                    .actions
                    .get(&held.work.actions[action].name);
                let attempt = match call(&held.shared, function, action_call(&held, action)).await {
                    Ok(()) => Attempt::Done,
                    Err(failure) => failed(failure),
                };
                Event::Ran { action, attempt }
            }
        };
        held.write(event).await?;
    }
}

fn failed(failure: Failure) -> Attempt {
    let words = failure.source.to_string();
    if failure.refused {
        Attempt::Hopeless(words)
    } else {
        Attempt::Failed(words)
    }
}

fn step_call(held: &Held, index: usize) -> Call {
    let step = &held.work.steps[index];
    Call {
        work: held.id.clone(),
        index,
        name: step.name.clone(),
        args: step.args.clone(),
        note: step.note.clone(),
        certain: step.state == crate::machine::StepState::Done,
        attempt: step.attempts,
    }
}

fn action_call(held: &Held, index: usize) -> Call {
    let action = &held.work.actions[index];
    Call {
        work: held.id.clone(),
        // Other keys than those of the steps.
        index: held.work.steps.len() + index,
        name: action.name.clone(),
        args: action.args.clone(),
        note: Args::default(),
        certain: true,
        attempt: action.attempts,
    }
}

/// Calls what is registered, in a task of its own: its panic is a failure like any other.
async fn call<T: Send + 'static>(
    shared: &Shared,
    function: Option<&Function<T>>,
    call: Call,
) -> Result<T, Failure> {
    let Some(function) = function else {
        // A process of another release may know it: not hopeless.
        return Err(Failure::unknown(format!(
            "nothing is registered under the name `{}`",
            call.name
        )));
    };
    let function = Arc::clone(function);
    let mut task = AbortOnDrop(tokio::spawn(async move { function(call).await }));
    match timeout(shared.settings.call_limit, &mut task.0).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(Failure::unknown(format!("it panicked: {error}"))),
        Err(_) => Err(Failure::unknown(format!(
            "no answer within {:?}",
            shared.settings.call_limit
        ))),
    }
}

/// A task that ends with who waits for it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An act ended after its work was taken over: the undo may have come before it. The work is taken
/// back and undone once more.
pub(crate) async fn late(shared: Arc<Shared>, id: String, step: usize, outcome: Outcome) {
    for attempt in 0..8_u32 {
        tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        let row = match shared.store.get(Kind::Work, &id).await {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(_) => continue,
        };
        let Ok(mut held) = Held::of_row(Arc::clone(&shared), &row) else {
            break;
        };
        if held.work.phase == crate::machine::Phase::Open {
            // Nobody took it: its lease ends, and then the step is undone as unknown.
            return;
        }
        let outcome = outcome.clone();
        if held.write(Event::Late { step, outcome }).await.is_ok() {
            if let Err(error) = drive(held, None).await {
                log::warn!("{error}; {}", error.help());
            }
            return;
        }
    }
    log::error!(
        "step {step} of work {id} happened after the work was undone, and this could not be written down: undo it by hand"
    );
}

/// What a probe finds, from whether the thing is there.
impl From<bool> for Finding {
    fn from(there: bool) -> Self {
        if there { Self::Happened } else { Self::Absent }
    }
}

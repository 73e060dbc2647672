//! What becomes of works that faults have broken off, and what people order about them.

use std::time::{Duration, Instant};

use mainstay_control::Reporter;
use mainstay_control::wire::{
    FaultReport, Order, OrderAct, OrderOutcome, ReportedStep, ReportedWork, WorkState,
};
use mainstay_fault::{Class, Fault};
use mainstay_journal::{ErrorKind, Listed, Operator, State};
use tokio::sync::{mpsc, watch};

use crate::report::TARGET;

/// How many works are followed at once.
const FOLLOWED: usize = 256;
/// How often one is looked at: first, and at most.
const LOOK: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(30);
/// How long the daemon is to wait for an order, and we for the daemon when it does not answer.
const WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(5);

/// Something may have happened to a work.
pub(crate) struct Nudge {
    work: String,
    /// The code of its fault, if it is known.
    code: Option<String>,
}

impl Nudge {
    pub(crate) fn of(work: &str) -> Self {
        Self {
            work: work.to_owned(),
            code: None,
        }
    }
}

struct Followed {
    work: String,
    /// What was told last.
    report: FaultReport,
    due: Instant,
    pause: Duration,
}

/// The works that are not over.
pub(crate) struct Works {
    operator: Operator,
    followed: Vec<Followed>,
}

impl Works {
    pub(crate) fn new(operator: Operator) -> Self {
        Self {
            operator,
            followed: Vec::new(),
        }
    }

    pub(crate) fn is_followed(&self, work: &str) -> bool {
        self.followed.iter().any(|followed| followed.work == work)
    }

    /// How far it is; none if it never came into the journal, or can't be read now.
    pub(crate) async fn state_of(&self, work: &str) -> Option<ReportedWork> {
        self.operator.show(work).await.ok().as_ref().map(reported)
    }

    /// Follows the work of a fault that was told, until it is over.
    pub(crate) fn follow(&mut self, report: FaultReport) {
        let Some(work) = &report.work else { return };
        if work.state.is_over() || self.is_followed(&work.id) {
            return;
        }
        if self.followed.len() >= FOLLOWED {
            let oldest = self.followed.remove(0);
            log::warn!(
                target: TARGET,
                "more works are being undone than are followed: the daemon is not told how {} goes on",
                oldest.work
            );
        }
        self.followed.push(Followed {
            work: work.id.clone(),
            due: Instant::now() + LOOK,
            pause: LOOK,
            report,
        });
    }

    /// Looks at a work soon.
    pub(crate) fn look_at(&mut self, nudge: Nudge, release: Option<&str>) {
        let known = self.followed.iter_mut().find(|one| one.work == nudge.work);
        if let Some(followed) = known {
            followed.due = Instant::now();
            followed.pause = LOOK;
            return;
        }
        // Of a process before this one, but a person has named the fault.
        let Some(code) = nudge.code else { return };
        let mut report = FaultReport::new(format!("work {}", nudge.work));
        report.code = Some(code);
        report.release = release.map(str::to_owned);
        report.work = Some(ReportedWork {
            id: nudge.work,
            state: WorkState::Open,
            steps: Vec::new(),
        });
        self.follow(report);
    }

    /// How long until the next one is looked at.
    pub(crate) fn next(&self) -> Option<Duration> {
        let next = self.followed.iter().map(|followed| followed.due).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// The next work that has gone on since it was told of, and the report that says so.
    pub(crate) async fn changed(&mut self, all: bool) -> Option<(usize, FaultReport)> {
        let mut index = 0;
        while index < self.followed.len() {
            let followed = &mut self.followed[index];
            if !all && followed.due > Instant::now() {
                index += 1;
                continue;
            }
            followed.due = Instant::now() + followed.pause;
            followed.pause = (followed.pause * 2).min(SELDOM);
            match self.operator.show(&followed.work).await {
                Ok(listed) => {
                    let state = Some(reported(&listed));
                    if state != followed.report.work {
                        let mut report = followed.report.clone();
                        report.work = state;
                        return Some((index, report));
                    }
                }
                // It is over for so long that it is gone.
                Err(error) if error.kind() == ErrorKind::Missing => {
                    self.followed.remove(index);
                    continue;
                }
                Err(_) => {}
            }
            index += 1;
        }
        None
    }

    /// The daemon knows that now.
    pub(crate) fn told(&mut self, index: usize, report: FaultReport) {
        let is_over = (report.work.as_ref()).is_some_and(|work| work.state.is_over());
        if is_over {
            self.followed.remove(index);
        } else if let Some(followed) = self.followed.get_mut(index) {
            followed.report = report;
            followed.due = Instant::now() + LOOK;
            followed.pause = LOOK;
        }
    }
}

/// A work as the daemon is told of it.
fn reported(listed: &Listed) -> ReportedWork {
    let state = match listed.state() {
        State::Open => WorkState::Open,
        State::Undoing => WorkState::Undoing,
        State::Undone => WorkState::Undone,
        State::Finishing => WorkState::Finishing,
        State::Done => WorkState::Done,
        State::Stuck => WorkState::Stuck,
    };
    let steps = listed.items().into_iter().map(|item| ReportedStep {
        name: item.name,
        state: item.state.to_owned(),
        error: item.error.map(struck),
    });
    ReportedWork {
        id: listed.id.clone(),
        state,
        steps: steps.collect(),
    }
}

/// Strikes secrets out, as it is done for all texts of faults.
fn struck(text: String) -> String {
    let fault = Fault::told(Class::Internal, &text);
    fault.chain().first().cloned().unwrap_or_default()
}

/// Fetches orders and carries them out, until the process ends.
pub(crate) async fn carry_out(
    reporter: Reporter,
    operator: Operator,
    nudge: mpsc::Sender<Nudge>,
    mut stopped: watch::Receiver<bool>,
) {
    // An order that was carried out and could not be told of comes again, and is not done twice.
    let mut settled: Option<(i64, OrderOutcome)> = None;
    loop {
        if *stopped.borrow() {
            return;
        }
        let orders = tokio::select! {
            orders = reporter.orders(WAIT) => orders,
            _ = stopped.changed() => return,
        };
        let mut is_away = orders.is_err();
        for order in orders.map(|document| document.orders).unwrap_or_default() {
            let outcome = match &settled {
                Some((id, outcome)) if *id == order.id => outcome.clone(),
                _ => {
                    let outcome = obey(&operator, &order).await;
                    let _ = nudge.try_send(Nudge {
                        work: order.work.clone(),
                        code: Some(order.code.clone()),
                    });
                    outcome
                }
            };
            let told = reporter.settle(order.id, &outcome).await;
            settled = Some((order.id, outcome));
            if told.is_err() {
                is_away = true;
                break;
            }
        }
        if is_away {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stopped.changed() => return,
            }
        }
    }
}

/// Does what a person wants done about a work.
async fn obey(operator: &Operator, order: &Order) -> OrderOutcome {
    let listed = match operator.show(&order.work).await {
        Ok(listed) => listed,
        Err(error) => return OrderOutcome::refused(struck(error.to_string())),
    };
    if let Some(step) = &order.step
        && listed.next() != Some(step)
    {
        let next = listed.next().unwrap_or("nothing");
        return OrderOutcome::refused(format!("`{next}` is next in it now, not `{step}`"));
    }
    let by = match &order.reason {
        Some(reason) => format!("{}: {reason}", order.by),
        None => order.by.clone(),
    };
    let done = match order.act {
        OrderAct::Retry => operator.retry(&order.work, &by).await,
        OrderAct::Skip => operator.skip(&order.work, &by).await,
    };
    match done {
        Ok(()) => {
            log::info!(target: TARGET, "{} of work {} by {by}", order.act, order.work);
            OrderOutcome::done()
        }
        Err(error) => OrderOutcome::refused(struck(error.to_string())),
    }
}

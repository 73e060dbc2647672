//! What a person can see and do: list, look, retry, skip. Works with the store alone, so that a
//! command line can do it beside the app.

use std::fmt;
use std::sync::Arc;

use mainstay_base::SystemClock;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::args::shown;
use crate::error::{Error, ErrorKind};
use crate::held::{Shared, body_of, misfitting, work_of};
use crate::machine::{ActionState, Event, Phase, StepState, Way, Work};
use crate::registry::Registry;
use crate::settings::Settings;
use crate::store::{Kind, Row, Status, Store};

/// How often a row is tried to be changed while others change it too.
const TRIES: u32 = 10;

/// A work that cannot go on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Its id.
    pub work: String,
    /// What the app calls it.
    pub name: String,
    /// The step that cannot be undone, or the action that cannot be run.
    pub item: String,
    /// Whether it was being undone, not finished.
    pub undoing: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// The last error.
    pub error: String,
}

impl Stuck {
    pub(crate) fn of(id: &str, work: &Work) -> Self {
        let undoing = !matches!(work.phase, Phase::Stuck { way: Way::On, .. });
        let item = if undoing {
            let step = work.standing().map(|index| &work.steps[index]);
            step.map(|step| (&step.name, step.attempts, &step.error))
        } else {
            let action = work.waiting().map(|index| &work.actions[index]);
            action.map(|action| (&action.name, action.attempts, &action.error))
        };
        let (item, attempts, error) = item.map_or_else(Default::default, |(name, count, error)| {
            (name.clone(), count, error.clone().unwrap_or_default())
        });
        Self {
            work: id.to_owned(),
            name: work.name.clone(),
            item,
            undoing,
            attempts,
            error,
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.undoing { "undo" } else { "run" };
        write!(
            f,
            "work {} ({}) is stuck: cannot {what} `{}` after {} attempts: {}; mend what is behind it and retry, or skip it",
            self.work, self.name, self.item, self.attempts, self.error
        )
    }
}

/// How far a work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is not decided yet which way it ends.
    Open,
    /// Its steps are being undone.
    Undoing,
    /// All of them are.
    Undone,
    /// It is committed, and its actions are being run.
    Finishing,
    /// All of it is done.
    Done,
    /// What is next has failed too often: a person decides.
    Stuck,
}

/// A step of a work, or an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The name that it is registered under.
    pub name: String,
    /// `done`, `undone`, `refused`, `unknown`, `skipped`, `waiting`, `stuck`.
    pub state: &'static str,
    /// Its last error.
    pub error: Option<String>,
}

/// A work in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The process that is at it; empty for none.
    pub owner: String,
    /// The work. Its `Debug` form shows no secrets; its serialised form does, so show the
    /// [report](Self::report).
    pub work: Work,
}

impl Listed {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.clone(),
            owner: row.owner.clone(),
            work: work_of(row)?,
        })
    }

    /// How far it is.
    pub fn state(&self) -> State {
        match self.work.phase {
            Phase::Open => State::Open,
            Phase::Going(Way::Back) => State::Undoing,
            Phase::Going(Way::On) => State::Finishing,
            Phase::Stuck { .. } => State::Stuck,
            Phase::Over(Way::Back) => State::Undone,
            Phase::Over(Way::On) => State::Done,
        }
    }

    /// Its steps in the order in which they were begun; once it is committed, its actions.
    pub fn items(&self) -> Vec<Item> {
        let next = self.place_of_next();
        let is_stuck = self.state() == State::Stuck;
        let item = |index: usize, name: &str, state: &'static str, error: &Option<String>| Item {
            name: name.to_owned(),
            state: if is_stuck && next == Some(index) {
                "stuck"
            } else {
                state
            },
            error: error.clone(),
        };
        if self.is_going_on() {
            let actions = self.work.actions.iter().enumerate();
            let actions = actions.map(|(index, action)| {
                let state = match action.state {
                    ActionState::Waiting => "waiting",
                    ActionState::Done => "done",
                    ActionState::Skipped => "skipped",
                };
                item(index, &action.name, state, &action.error)
            });
            return actions.collect();
        }
        let steps = self.work.steps.iter().enumerate();
        let steps = steps.map(|(index, step)| {
            let state = match step.state {
                StepState::Intended | StepState::Unknown => "unknown",
                StepState::Done => "done",
                StepState::Refused => "refused",
                StepState::Undone => "undone",
                StepState::Skipped => "skipped",
            };
            item(index, &step.name, state, &step.error)
        });
        steps.collect()
    }

    /// The name of the step that is undone next, or of the action that is run next.
    pub fn next(&self) -> Option<&str> {
        let index = self.place_of_next()?;
        Some(if self.is_going_on() {
            &self.work.actions[index].name
        } else {
            &self.work.steps[index].name
        })
    }

    fn is_going_on(&self) -> bool {
        matches!(
            self.work.phase,
            Phase::Going(Way::On) | Phase::Stuck { way: Way::On, .. } | Phase::Over(Way::On)
        )
    }

    fn place_of_next(&self) -> Option<usize> {
        if self.is_going_on() {
            self.work.waiting()
        } else {
            self.work.standing()
        }
    }

    /// All of it as JSON, without secrets.
    pub fn report(&self) -> Value {
        let work = serde_json::to_value(&self.work).unwrap_or_default();
        json!({ "id": self.id, "owner": self.owner, "work": shown(&work) })
    }
}

/// What a person can do about works.
pub struct Operator {
    shared: Arc<Shared>,
}

impl Operator {
    /// For works in that store, beside the app that knows their undos.
    pub fn new(store: impl Store) -> Self {
        let (orphans, _) = mpsc::unbounded_channel();
        Self::shared(Arc::new(Shared::new(
            Arc::new(store),
            Registry::default(),
            Settings::default(),
            Arc::new(SystemClock::new()),
            None,
            orphans,
        )))
    }

    pub(crate) fn shared(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// At most so many works, those with the greatest ids first: of ids that the journal makes,
    /// these are the youngest.
    pub async fn list(&self, limit: usize) -> Result<Vec<Listed>, Error> {
        self.read(None, limit).await
    }

    /// At most so many works that wait for a person.
    pub async fn stuck(&self, limit: usize) -> Result<Vec<Listed>, Error> {
        self.read(Some(Status::Stuck), limit).await
    }

    /// One that cannot be read must not hide the others.
    async fn read(&self, status: Option<Status>, limit: usize) -> Result<Vec<Listed>, Error> {
        let rows = self.shared.store.list(status, limit).await?;
        let readable = rows.iter().filter_map(|row| match Listed::of(row) {
            Ok(listed) => Some(listed),
            Err(error) => {
                log::error!("{error}; {}", error.help());
                None
            }
        });
        Ok(readable.collect())
    }

    /// One work.
    pub async fn show(&self, id: &str) -> Result<Listed, Error> {
        Listed::of(&self.row(id).await?)
    }

    /// What is next in a work is tried again, at once, and as often as the first time. `by` is
    /// written down.
    pub async fn retry(&self, id: &str, by: &str) -> Result<(), Error> {
        self.change(id, Event::Retry { by: by.to_owned() }).await
    }

    /// What is next in a work is taken for done, and the rest goes on. `by` is written down.
    pub async fn skip(&self, id: &str, by: &str) -> Result<(), Error> {
        self.change(id, Event::Skip { by: by.to_owned() }).await
    }

    async fn row(&self, id: &str) -> Result<Row, Error> {
        let row = self.shared.store.get(Kind::Work, id).await?;
        row.ok_or_else(|| {
            Error::new(
                ErrorKind::Missing,
                format!("find work {id}"),
                "there is none of this id",
                "list shows those there are; works that are over are removed after a while",
            )
        })
    }

    async fn change(&self, id: &str, event: Event) -> Result<(), Error> {
        let now = self.shared.store.now().await?;
        self.shared.set_time(now);
        for _ in 0..TRIES {
            let mut row = self.row(id).await?;
            let mut work = work_of(&row)?;
            work.apply(event.clone(), now, &self.shared.settings.backoff, 0)
                .map_err(|misfit| misfitting(id, &misfit))?;
            row.version += 1;
            row.body = body_of(id, &work, usize::MAX)?;
            row.owner.clear();
            (row.status, row.wake) = match work.phase {
                // A keeper removes it when it next looks.
                Phase::Over(_) => (
                    Status::Ended,
                    now.saturating_add(crate::held::millis(self.shared.settings.retention)),
                ),
                _ => (Status::Live, now),
            };
            if self.shared.put(&row).await? {
                self.shared.expect(now);
                return Ok(());
            }
        }
        Err(Error::lost(format!("change work {id}")))
    }
}

//! A unit of work as the app holds it: steps, actions, and its end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::args::Args;
use crate::drive::{Ended, drive, late};
use crate::error::{BoxError, Error, ErrorKind, Failure};
use crate::held::{Held, Orphan};
use crate::machine::{Event, Outcome, Phase, Way, Work};
use crate::registry::key;
use crate::store::{Kind, Outbox, Row};

/// The longest name or id, in bytes.
pub(crate) const NAME_LIMIT: usize = 200;

/// A unit of work: what was done in it stays done if it is committed, and is undone if it is not.
///
/// One that is dropped without a word, by a panic, an early return or because its future was
/// cancelled, is undone too.
pub struct Unit {
    /// None when it has ended.
    held: Option<Held>,
    actions: Vec<(String, Args)>,
    /// The last step is done, and only this process knows.
    unwritten: Option<usize>,
}

impl Unit {
    pub(crate) fn new(held: Held) -> Self {
        Self {
            held: Some(held),
            actions: Vec::new(),
            unwritten: None,
        }
    }

    fn held(&mut self) -> &mut Held {
        self.held
            .as_mut()
            .expect("it is taken only by what consumes the unit")
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.held.as_ref().map_or("", |held| &held.id)
    }

    /// A step, by the name that its undo is registered under, and what the undo has to know.
    pub fn step(&mut self, name: &str, args: impl Into<Args>) -> StepRun<'_> {
        StepRun {
            unit: self,
            name: name.to_owned(),
            args: args.into(),
            resends: 0,
        }
    }

    /// Something to happen after the commit, at least once, by the name that it is registered under.
    pub fn after_commit(&mut self, name: &str, args: impl Into<Args>) -> Result<(), Error> {
        let args = args.into();
        let held = self.held();
        if !held.shared.registry.actions.contains_key(name) {
            return Err(unregistered("action", name));
        }
        check(held, name, &args)?;
        self.actions.push((name.to_owned(), args));
        Ok(())
    }

    /// Everything is done: nothing will be undone, and the actions follow.
    ///
    /// With [`ErrorKind::Store`] it is not known which way it went: it is either committed or
    /// undone, as a whole.
    pub async fn commit(mut self) -> Result<(), Error> {
        let actions = std::mem::take(&mut self.actions);
        if self.held().version == 0 && actions.is_empty() && !self.held().doubtful {
            self.held = None;
            return Ok(());
        }
        self.write(Event::Commit(actions)).await?;
        go_on(self.held.take());
        Ok(())
    }

    /// Writes into the caller's own transaction that everything is done, so that this holds if and
    /// only if the transaction is committed. The transaction must be in the database of the
    /// journal's store.
    ///
    /// ```
    /// # use mainstay_journal::{Journal, SqliteStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let options = sqlx::sqlite::SqliteConnectOptions::new()
    /// #     .filename(directory.path().join("app.db"))
    /// #     .create_if_missing(true);
    /// # let pool = sqlx::SqlitePool::connect_with(options).await?;
    /// # let journal = Journal::with(SqliteStore::open(pool.clone()).await?)
    /// #     .action("mail.thanks", |_| async { Ok(()) })
    /// #     .start()
    /// #     .await?;
    /// let mut work = journal.work("feedback");
    /// work.after_commit("mail.thanks", serde_json::json!({ "to": "me@example.com" }))?;
    /// let mut tx = pool.begin().await?;
    /// sqlx::query("CREATE TABLE form (id)").execute(&mut *tx).await?;
    /// let sealed = work.commit_in(&mut *tx).await?;
    /// sealed.settle(tx.commit().await).await?;
    /// # journal.shutdown(std::time::Duration::from_secs(5)).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Do the steps before the first statement of the transaction: in `SQLite` a transaction that
    /// has written keeps steps from being written, and with repeatable reads `PostgreSQL` does not
    /// see them in one that has read.
    pub async fn commit_in<C: Outbox + ?Sized>(
        mut self,
        connection: &mut C,
    ) -> Result<Sealed, Error> {
        let actions = std::mem::take(&mut self.actions);
        let held = self.held();
        if held.doubtful || held.lost {
            return Err(Error::lost(format!("commit work {}", held.id)));
        }
        if held.version == 0 && actions.is_empty() {
            self.held = None;
            return Ok(Sealed { promise: None });
        }
        let work = held.applied(Event::Commit(actions))?;
        let row = held.row(&work)?;
        // The row is locked until the transaction ends: no renewal should wait for that.
        held.shared.forget(Kind::Work, &held.id);
        if connection.put(&row, row.version - 1).await? {
            Ok(Sealed {
                promise: self.held.take().map(|held| Promise { held, row, work }),
            })
        } else {
            let error = self.held().lose("commit");
            self.hand_on();
            Err(error)
        }
    }

    /// Gives it up: the steps are undone, last first. Goes on to its end also when this future is
    /// dropped, or in another process if this one dies.
    pub async fn undo(mut self, reason: &str) -> Result<Ended, Error> {
        self.unwritten = None;
        let held = self.held();
        if held.doubtful || held.lost {
            // It goes the way of those that are dropped, or somebody else undoes it.
            return Ok(Ended::Later);
        }
        let Some(held) = self.held.take_if(|held| held.version > 0) else {
            self.held = None;
            return Ok(Ended::Undone);
        };
        let shared = Arc::clone(&held.shared);
        let id = held.id.clone();
        let reason = reason.to_owned();
        let task = tokio::spawn(drive(held, Some(Event::Abort(reason))));
        let result = task.await;
        let result = result.unwrap_or_else(|error| Err(Error::store("undo a work", error)));
        if result.is_err() {
            shared.forget(Kind::Work, &id);
            shared.expect(shared.lease_end());
        }
        result
    }

    /// Writes an event; a step that nobody else knows to be done is handed on if the work is lost.
    async fn write(&mut self, event: Event) -> Result<(), Error> {
        match self.held().write(event).await {
            Ok(()) => {
                self.unwritten = None;
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::Lost {
                    self.hand_on();
                }
                Err(error)
            }
        }
    }

    /// The work is somebody else's now, who may have undone the last step before it happened.
    fn hand_on(&mut self) {
        if let Some(step) = self.unwritten.take() {
            self.late(step, Outcome::Done(Args::default()));
        }
    }

    fn late(&mut self, step: usize, outcome: Outcome) {
        let held = self.held();
        tokio::spawn(late(
            Arc::clone(&held.shared),
            held.id.clone(),
            step,
            outcome,
        ));
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if (held.version > 0 || held.doubtful) && !held.lost {
            let why = if std::thread::panicking() {
                "it panicked"
            } else {
                "it was dropped before its end"
            };
            // Without a keeper the end of the lease does it.
            let orphans = held.shared.orphans.clone();
            let _ = orphans.send(Orphan::of(held, why));
        }
    }
}

/// Runs the actions of a committed work, if it has any.
fn go_on(held: Option<Held>) {
    let Some(held) = held else { return };
    if held.work.phase == Phase::Going(Way::On) {
        tokio::spawn(async move {
            if let Err(error) = drive(held, None).await {
                log::warn!("{error}; {}", error.help());
            }
        });
    }
}

/// A work that is written as committed in a transaction that is not yet: see [`Unit::commit_in`].
#[must_use = "tell it with settle how the transaction's commit went"]
pub struct Sealed {
    promise: Option<Promise>,
}

struct Promise {
    /// As it is outside of the transaction.
    held: Held,
    /// As it is inside.
    row: Row,
    work: Work,
}

impl Sealed {
    /// Says how the commit of the transaction went. If it failed, or nobody knows, the store is
    /// asked, and what is not committed is undone.
    ///
    /// An error says that it is not committed, or with [`ErrorKind::Store`] that this is not known:
    /// then it is either committed or undone, as a whole.
    pub async fn settle<E: Into<BoxError>>(
        mut self,
        committed: Result<(), E>,
    ) -> Result<(), Error> {
        let Some(promise) = self.promise.take() else {
            return committed.map_err(|error| uncommitted(error.into()));
        };
        match committed {
            Ok(()) => {
                promise.kept();
                Ok(())
            }
            // Not to be cut in the middle by a caller who goes away.
            Err(error) => tokio::spawn(promise.examine(error.into()))
                .await
                .unwrap_or_else(|error| Err(Error::store("settle a work", error))),
        }
    }
}

impl Promise {
    fn kept(self) {
        let Self {
            mut held,
            row,
            work,
        } = self;
        held.version = row.version;
        held.work = work;
        held.owned = !row.owner.is_empty();
        if held.owned {
            held.shared.keep(Kind::Work, &held.id);
        }
        go_on(Some(held));
    }

    async fn examine(self, error: BoxError) -> Result<(), Error> {
        let shared = Arc::clone(&self.held.shared);
        let Self { held, row, work } = self;
        let (id, version) = (held.id.clone(), held.version);
        if version > 0 {
            // This waits for the transaction's lock, if it still has one, and fails if it was
            // committed.
            let reason = format!("the transaction was not committed: {error}");
            match drive(held, Some(Event::Abort(reason))).await {
                Ok(_) => return Err(uncommitted(error)),
                Err(why) if why.kind() == ErrorKind::Lost => {}
                Err(why) => return Err(why),
            }
        }
        match shared.store.get(Kind::Work, &id).await? {
            Some(stored) if stored.is_same_write(&row) => {
                let held = Held::of_row(Arc::clone(&shared), &stored)?;
                Promise { held, row, work }.kept();
                Ok(())
            }
            // Somebody went on with the committed work already.
            Some(stored) if stored.version > row.version && committed(&stored) => Ok(()),
            _ => Err(uncommitted(error)),
        }
    }
}

fn committed(row: &Row) -> bool {
    crate::held::work_of(row).is_ok_and(|work| {
        matches!(
            work.phase,
            Phase::Going(Way::On) | Phase::Over(Way::On) | Phase::Stuck { way: Way::On, .. }
        )
    })
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take() {
            let mut held = promise.held;
            held.doubtful = true;
            let orphans = held.shared.orphans.clone();
            let _ = orphans.send(Orphan::of(held, "nobody said how its commit went"));
        }
    }
}

fn uncommitted(error: BoxError) -> Error {
    Error::new(
        ErrorKind::State,
        "commit the transaction",
        error.to_string(),
        "what was done outside of the database is being undone; answer with an error",
    )
    .with_source(error)
}

/// What an act is told.
#[derive(Debug)]
pub struct Act {
    key: String,
    attempt: u32,
    note: std::sync::mpsc::Sender<Args>,
}

impl Act {
    /// The idempotency key to send along: the same for every attempt of this act.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How often it was tried before.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Tells the undo something that only the act knows, such as an id that the other side chose.
    /// After a crash in the wrong moment the undo has to do without it.
    pub fn note(&self, note: impl Into<Args>) {
        let _ = self.note.send(note.into());
    }
}

/// A step that is about to run.
#[must_use = "a step does nothing before run"]
pub struct StepRun<'a> {
    unit: &'a mut Unit,
    name: String,
    args: Args,
    resends: u32,
}

impl StepRun<'_> {
    /// Acts again, up to so many times, when nobody knows whether it happened. Only for acts that
    /// the other side takes once however often it gets them, by their [key](Act::key).
    pub fn resend(mut self, times: u32) -> Self {
        self.resends = times;
        self
    }

    /// Writes down what is going to happen, acts, and writes down how it went.
    ///
    /// Nothing is acted if the first could not be written. An error of the act comes back as
    /// [`ErrorKind::Refused`] or [`ErrorKind::Unknown`], with its own error as the source; a work
    /// that goes on after the first can still be committed.
    pub async fn run<T, F, R>(self, mut act: F) -> Result<T, Error>
    where
        F: FnMut(Act) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let Self {
            unit,
            name,
            args,
            resends,
        } = self;
        let held = unit.held();
        if !held.shared.registry.undos.contains_key(&name) {
            return Err(unregistered("undo", &name));
        }
        check(held, &name, &args)?;
        let step = held.work.steps.len();
        let key = key(&held.id, step);
        let attempted = format!("do step `{name}` of work {}", held.id);
        unit.write(Event::Intend { name, args }).await?;

        let (note, notes) = std::sync::mpsc::channel();
        let mut attempt = 0;
        let result = loop {
            let result = act(Act {
                key: key.clone(),
                attempt,
                note: note.clone(),
            })
            .await;
            match result {
                Err(failure) if !failure.refused && attempt < resends => {
                    tokio::time::sleep(Duration::from_millis(100 << attempt.min(6))).await;
                    attempt += 1;
                }
                result => break result,
            }
        };
        let outcome = match &result {
            Ok(_) => Outcome::Done(notes.try_iter().last().unwrap_or_default()),
            Err(failure) if failure.refused => Outcome::Refused(failure.source.to_string()),
            Err(failure) => Outcome::Unknown(failure.source.to_string()),
        };
        unit.acted(step, outcome).await?;
        result.map_err(|failure| {
            let (kind, help) = if failure.refused {
                (ErrorKind::Refused, "nothing of this step has to be undone")
            } else {
                (
                    ErrorKind::Unknown,
                    "give the work up: the step is undone in case it happened",
                )
            };
            Error::new(kind, attempted, failure.source.to_string(), help)
                .with_source(failure.source)
        })
    }
}

impl Unit {
    async fn acted(&mut self, step: usize, outcome: Outcome) -> Result<(), Error> {
        if let Outcome::Done(note) = &outcome
            && note.is_empty()
        {
            // A crash undoes it whether this is written or not, so the next write is soon enough.
            let held = self.held();
            held.work = held.applied(Event::Acted(outcome))?;
            self.unwritten = Some(step);
            return Ok(());
        }
        let written = self.held().write(Event::Acted(outcome.clone())).await;
        if let Err(error) = &written
            && error.kind() == ErrorKind::Lost
            && !matches!(outcome, Outcome::Refused(_))
        {
            self.late(step, outcome);
        }
        written
    }
}

fn unregistered(what: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::Unregistered,
        format!("begin `{name}`"),
        format!("no {what} is registered under this name"),
        "register it when the journal is started: after a crash it is called by this name",
    )
}

fn check(held: &Held, name: &str, args: &Args) -> Result<(), Error> {
    check_id("work", &held.id)?;
    let limit = held.shared.settings.args_limit;
    let size = serde_json::to_vec(args).map_or(usize::MAX, |json| json.len());
    let (reason, help) = if name.is_empty() || name.len() > NAME_LIMIT {
        (
            format!(
                "its name has {} bytes, the limit is {NAME_LIMIT}",
                name.len()
            ),
            "name it after what it does: crm.create",
        )
    } else if size > limit {
        (
            format!("its arguments have {size} bytes, the limit is {limit}"),
            "give it the keys of things instead of the things",
        )
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(40).collect();
    Err(Error::new(
        ErrorKind::Limit,
        format!("begin `{shown}`"),
        reason,
        help,
    ))
}

/// Ids are printable ASCII, so that every database compares them alike.
pub(crate) fn check_id(what: &str, id: &str) -> Result<(), Error> {
    if (1..=NAME_LIMIT).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Limit,
        format!("take the id of a {what}"),
        format!("it is not 1 to {NAME_LIMIT} printable ASCII characters without a space"),
        "hash what may be longer or anything else",
    ))
}

//! A row that this process holds: every write of it goes through here, is fenced by the version, and
//! is known to have happened or not, also when the store's answer got lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_base::{Clock, hex};
use tokio::sync::{Notify, mpsc};

use crate::error::{Error, ErrorKind};
use crate::journal::Tell;
use crate::machine::{Command, Event, Misfit, Phase, Work};
use crate::registry::Registry;
use crate::settings::Settings;
use crate::store::{Kind, Millis, NEVER, Row, Status, Store, wall_clock};

/// How often a write whose answer got lost is asked after.
const QUESTIONS: u32 = 4;

/// What everything of one journal shares.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    /// This process in the store: other for each start.
    pub(crate) owner: String,
    /// What to add to the monotonic clock for the store's time, in milliseconds.
    offset: AtomicI64,
    /// The rows whose lease is to be renewed.
    renewed: Mutex<BTreeSet<(Kind, String)>>,
    /// Wakes the keeper: something is due earlier than it knows.
    pub(crate) wake: Notify,
    /// The earliest time that this process knows something to be due at.
    pub(crate) due: Mutex<Millis>,
    /// Told of every work that is stuck.
    pub(crate) tell: Option<Tell>,
    /// What was dropped while it was held.
    pub(crate) orphans: mpsc::UnboundedSender<Orphan>,
}

/// What was dropped without its end.
pub(crate) enum Orphan {
    /// A work.
    Work {
        id: String,
        /// The last version that its holder knew to be in the store.
        version: u64,
        /// One more may have been written.
        doubtful: bool,
        /// Why it is given up.
        why: &'static str,
    },
    /// A key that nobody answered, and the version it was reserved with.
    Key(String, u64),
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        registry: Registry,
        settings: Settings,
        clock: Arc<dyn Clock>,
        tell: Option<Tell>,
        orphans: mpsc::UnboundedSender<Orphan>,
    ) -> Self {
        let shared = Self {
            store,
            registry,
            settings,
            owner: fresh_id(),
            offset: AtomicI64::new(0),
            renewed: Mutex::default(),
            wake: Notify::new(),
            due: Mutex::new(NEVER),
            tell,
            orphans,
            clock,
        };
        shared.set_time(wall_clock());
        shared
    }

    /// The store's time, as far as it is known without asking.
    pub(crate) fn now(&self) -> Millis {
        let now = monotonic(&*self.clock).saturating_add(self.offset.load(Ordering::Relaxed));
        Millis::try_from(now).unwrap_or(0)
    }

    pub(crate) fn set_time(&self, now: Millis) {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.offset.store(
            now.saturating_sub(monotonic(&*self.clock)),
            Ordering::Relaxed,
        );
    }

    /// When a lease that is given now ends.
    pub(crate) fn lease_end(&self) -> Millis {
        self.now().saturating_add(millis(self.settings.lease))
    }

    fn renewed(&self) -> std::sync::MutexGuard<'_, BTreeSet<(Kind, String)>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keep(&self, kind: Kind, id: &str) {
        self.renewed().insert((kind, id.to_owned()));
    }

    pub(crate) fn forget(&self, kind: Kind, id: &str) {
        self.renewed().remove(&(kind, id.to_owned()));
    }

    pub(crate) fn kept(&self) -> Vec<(Kind, String)> {
        self.renewed().iter().cloned().collect()
    }

    /// Something is due at this time.
    pub(crate) fn expect(&self, due: Millis) {
        self.expect_quietly(due);
        self.wake.notify_one();
    }

    /// The same, said by the keeper itself.
    pub(crate) fn expect_quietly(&self, due: Millis) {
        let mut known = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *known = due.min(*known);
    }

    /// A throw of the dice for waits.
    pub(crate) fn dice() -> u8 {
        random::<1>()[0]
    }

    /// Writes the row over version `row.version - 1`. `Ok(false)`: somebody else's version is there.
    /// `Err`: nothing is known.
    ///
    /// A write can have happened although its answer got lost, and it can happen after a first look.
    /// So it is asked after and repeated, until one of the two is certain.
    pub(crate) async fn put(&self, row: &Row) -> Result<bool, Error> {
        let expected = row.version - 1;
        let mut failed = match self.store.put(row, expected).await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        for question in 0..QUESTIONS {
            tokio::time::sleep(Duration::from_millis(10 << (2 * question))).await;
            match self.store.get(row.kind, &row.id).await {
                Ok(Some(stored)) if stored.is_same_write(row) => return Ok(true),
                Ok(stored) if stored.as_ref().map_or(0, |stored| stored.version) != expected => {
                    return Ok(false);
                }
                Ok(_) => match self.store.put(row, expected).await {
                    Ok(true) => return Ok(true),
                    // The first write came late, or somebody's: look again.
                    Ok(false) => {}
                    Err(error) => failed = error,
                },
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn monotonic(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX)
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// An id nobody has had, that sorts by time.
pub(crate) fn fresh_id() -> String {
    format!("{:012x}-{}", wall_clock(), hex(&random::<10>()))
}

/// Random bytes of the kernel.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // It can only be interrupted; short requests do not fail otherwise once the kernel is up.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .unwrap_or(0);
    }
    bytes
}

/// Keeps the lease of a work until it is dropped, also by a panic: what nobody drives any more must
/// not be renewed.
pub(crate) struct Driven(pub(crate) Arc<Shared>, pub(crate) String);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.forget(Kind::Work, &self.1);
    }
}

impl Orphan {
    /// A work whose holder is gone.
    pub(crate) fn of(held: Held, why: &'static str) -> Self {
        Self::Work {
            id: held.id,
            version: held.version,
            doubtful: held.doubtful,
            why,
        }
    }
}

/// A work that this process holds.
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: String,
    /// Of the row in the store; zero while there is none.
    pub(crate) version: u64,
    pub(crate) work: Work,
    /// A write has begun and its end was not seen.
    pub(crate) doubtful: bool,
    /// Somebody else has the row.
    pub(crate) lost: bool,
    /// The row in the store names this process.
    pub(crate) owned: bool,
}

impl Held {
    /// A work that nobody knows yet.
    pub(crate) fn new(shared: Arc<Shared>, id: String, name: &str) -> Self {
        let work = Work::new(name, shared.now());
        Self {
            shared,
            id,
            version: 0,
            work,
            doubtful: false,
            lost: false,
            owned: false,
        }
    }

    /// What the row of a work says.
    pub(crate) fn of_row(shared: Arc<Shared>, row: &Row) -> Result<Self, Error> {
        let work = work_of(row)?;
        Ok(Self {
            id: row.id.clone(),
            version: row.version,
            work,
            doubtful: false,
            lost: false,
            owned: row.owner == shared.owner,
            shared,
        })
    }

    /// What would be written now.
    pub(crate) fn row(&self, work: &Work) -> Result<Row, Error> {
        let shared = &self.shared;
        let (status, owner, wake) = placed(work, &shared.owner, shared.lease_end(), || {
            shared
                .now()
                .saturating_add(millis(shared.settings.retention))
        });
        Ok(Row {
            kind: Kind::Work,
            id: self.id.clone(),
            version: self.version + 1,
            status,
            owner,
            wake,
            body: body_of(&self.id, work, shared.settings.work_limit)?,
        })
    }

    /// Lets the event happen in memory only.
    pub(crate) fn applied(&self, event: Event) -> Result<Work, Error> {
        let mut work = self.work.clone();
        work.apply(
            event,
            self.shared.now(),
            &self.shared.settings.backoff,
            Shared::dice(),
        )
        .map_err(|misfit| misfitting(&self.id, &misfit))?;
        Ok(work)
    }

    /// Lets the event happen, durably. On an error of the store nothing is known, and the work is no
    /// longer ours: whoever finds its lease at the end goes on with what is stored.
    pub(crate) async fn write(&mut self, event: Event) -> Result<(), Error> {
        if self.doubtful || self.lost {
            return Err(Error::lost(format!("go on with work {}", self.id)));
        }
        let work = self.applied(event)?;
        let row = self.row(&work)?;
        if !row.owner.is_empty() {
            self.shared.keep(Kind::Work, &self.id);
        }
        self.doubtful = true;
        let written = self.shared.put(&row).await;
        if !matches!(written, Ok(true)) || row.owner.is_empty() {
            self.shared.forget(Kind::Work, &self.id);
        }
        match written {
            Ok(true) => {
                self.doubtful = false;
                self.owned = !row.owner.is_empty();
                self.version = row.version;
                self.work = work;
                Ok(())
            }
            Ok(false) => Err(self.lose("write")),
            Err(error) => {
                // It may be ours in the store: come back when the lease ends.
                self.shared.expect(row.wake);
                Err(error)
            }
        }
    }

    /// Somebody else has it, or had it all the time.
    pub(crate) fn lose(&mut self, what: &str) -> Error {
        self.lost = true;
        let attempt = format!("{what} work {}", self.id);
        if self.version > 0 {
            return Error::lost(attempt);
        }
        Error::new(
            ErrorKind::State,
            attempt,
            "there is a work of this id already",
            "give each work an id of its own; one that a client chose is not",
        )
    }

    /// What comes next.
    pub(crate) fn next(&self) -> Command {
        self.work.next(self.shared.now(), |name| {
            self.shared.registry.has_probe(name)
        })
    }
}

/// Status, owner and wake of a work's row.
pub(crate) fn placed(
    work: &Work,
    owner: &str,
    lease_end: Millis,
    removal: impl FnOnce() -> Millis,
) -> (Status, String, Millis) {
    match work.phase {
        Phase::Open | Phase::Stuck { told: false, .. } => {
            (Status::Live, owner.to_owned(), lease_end)
        }
        // One that has to wait is nobody's: whoever is there at the time takes it.
        Phase::Going(_) if work.due > 0 && waits(work) => (Status::Live, String::new(), work.due),
        Phase::Going(_) => (Status::Live, owner.to_owned(), lease_end),
        Phase::Stuck { told: true, .. } => (Status::Stuck, String::new(), NEVER),
        Phase::Over(_) => (Status::Ended, String::new(), removal()),
    }
}

/// Whether what is next has failed, or a person touched it.
fn waits(work: &Work) -> bool {
    let failures = match work.phase {
        Phase::Going(crate::machine::Way::Back) => {
            work.standing().map(|index| work.steps[index].attempts)
        }
        _ => work.waiting().map(|index| work.actions[index].attempts),
    };
    failures.is_some_and(|failures| failures > 0)
}

/// What is stored of a work.
pub(crate) fn body_of(id: &str, work: &Work, limit: usize) -> Result<Vec<u8>, Error> {
    let body = serde_json::to_vec(work).map_err(|error| Error::store("encode a work", error))?;
    if body.len() > limit {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("write work {id}"),
            format!("it has {} bytes, the limit is {limit}", body.len()),
            "give steps the keys of things instead of the things, or make two works of it",
        ));
    }
    Ok(body)
}

/// The work in a row.
pub(crate) fn work_of(row: &Row) -> Result<Work, Error> {
    serde_json::from_slice(&row.body).map_err(|error| {
        // The error's own words quote the body, in which there may be secrets.
        let place = format!("line {}, column {}", error.line(), error.column());
        Error::new(
            ErrorKind::Store,
            format!("read work {}", row.id),
            format!("its record cannot be understood at {place}"),
            "a newer version of the program may have written it: run that one, or remove the row",
        )
    })
}

pub(crate) fn misfitting(id: &str, misfit: &Misfit) -> Error {
    Error::new(
        ErrorKind::State,
        format!("go on with work {id}"),
        misfit.to_string(),
        "look at it with list; a work goes one way only",
    )
}

//! The journal as the app holds it: what is registered, and the keeper that renews leases, finds
//! works whose process is gone, and brings everything that was begun to its end.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_base::{Clock, SystemClock};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::drive::drive;
use crate::error::{Error, ErrorKind, Failure};
use crate::held::{Held, Orphan, Shared, fresh_id, millis};
use crate::machine::{Event, Finding, Phase};
use crate::operator::{Operator, Stuck};
use crate::registry::{Call, Registry, boxed};
use crate::settings::Settings;
use crate::store::{Kind, NEVER, Store};
use crate::work::Unit;

/// How many works are looked at in one go.
const BATCH: usize = 32;

/// What is called when a work is stuck.
pub(crate) type Tell = Arc<dyn Fn(&Stuck) + Send + Sync>;

/// A journal that is being put together.
pub struct Builder {
    store: Arc<dyn Store>,
    registry: Registry,
    settings: Settings,
    clock: Arc<dyn Clock>,
    tell: Option<Tell>,
}

impl Builder {
    /// Registers the undo of the steps of that name. It is called at least once for each step that
    /// happened or may have happened, maybe in another process and long after; when there is
    /// nothing to undo it must say that all is well.
    #[must_use]
    pub fn undo<F, R>(mut self, name: &str, undo: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.registry.undos.insert(name.to_owned(), boxed(undo));
        self
    }

    /// Registers what finds out whether a step of that name happened, when its act did not say. It
    /// may ask the other side, or send the act again with the same key ([`Call::key`]) and so learn
    /// what became of it. Its failure is tried again like that of an undo.
    #[must_use]
    pub fn probe<F, R>(mut self, name: &str, probe: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Finding, Failure>> + Send + 'static,
    {
        self.registry.probes.insert(name.to_owned(), boxed(probe));
        self
    }

    /// Registers what happens after commits under that name, at least once each.
    #[must_use]
    pub fn action<F, R>(mut self, name: &str, action: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.registry.actions.insert(name.to_owned(), boxed(action));
        self
    }

    /// Called when a work is stuck, at least once each time; it must not block.
    #[must_use]
    pub fn on_stuck(mut self, tell: impl Fn(&Stuck) + Send + Sync + 'static) -> Self {
        self.tell = Some(Arc::new(tell));
        self
    }

    /// Other settings than the default.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Another clock for leases and waits.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts it: asks the store for the time and spawns the keeper on the current tokio runtime.
    /// What other processes left behind is resumed as soon as their leases end.
    pub async fn start(self) -> Result<Journal, Error> {
        let (orphans, orphaned) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(
            self.store,
            self.registry,
            self.settings,
            self.clock,
            self.tell,
            orphans,
        ));
        shared.set_time(shared.store.now().await?);
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            orphaned,
            stopped,
            slots: Arc::new(Semaphore::new(shared.settings.concurrency.max(1))),
            drives: JoinSet::new(),
        };
        Ok(Journal {
            keeper: Arc::new(KeeperHandle {
                stop,
                task: Mutex::new(Some(tokio::spawn(keeper.run()))),
            }),
            shared,
        })
    }
}

/// A journal: works are begun with it, and it brings them to their end. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    keeper: Arc<KeeperHandle>,
}

struct KeeperHandle {
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for KeeperHandle {
    /// Without its last journal the keeper has nothing to wait for.
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

impl Journal {
    /// A journal in that store.
    pub fn with(store: impl Store) -> Builder {
        Builder {
            store: Arc::new(store),
            registry: Registry::default(),
            settings: Settings::default(),
            clock: Arc::new(SystemClock::new()),
            tell: None,
        }
    }

    /// Begins a unit of work, under a name that people recognise. Nothing is stored before its first
    /// step.
    pub fn work(&self, name: &str) -> Unit {
        self.work_with_id(name, fresh_id())
    }

    /// Begins a unit of work whose id is known elsewhere too, such as that of a request.
    pub fn work_with_id(&self, name: &str, id: impl Into<String>) -> Unit {
        Unit::new(Held::new(Arc::clone(&self.shared), id.into(), name))
    }

    /// What a person can do about works.
    pub fn operator(&self) -> Operator {
        Operator::shared(Arc::clone(&self.shared))
    }

    /// Ends the keeper: begins nothing more, and waits at most so long for what is being undone.
    /// The rest is resumed by another process, or at the next start.
    pub async fn shutdown(&self, patience: Duration) {
        let _ = self.keeper.stop.send(true);
        let task = self
            .keeper
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut task) = task
            && tokio::time::timeout(patience, &mut task).await.is_err()
        {
            // Its set of drives goes with it.
            task.abort();
            let _ = task.await;
        }
    }
}

/// The one task that works for the journal as a whole.
struct Keeper {
    shared: Arc<Shared>,
    orphaned: mpsc::UnboundedReceiver<Orphan>,
    stopped: watch::Receiver<bool>,
    slots: Arc<Semaphore>,
    drives: JoinSet<()>,
}

impl Keeper {
    async fn run(mut self) {
        let beat = self.shared.settings.lease / 3;
        let mut next_beat = tokio::time::Instant::now();
        let mut purge_in = 0_u32;
        let mut failures = HashMap::new();
        while !*self.stopped.borrow() {
            let now = tokio::time::Instant::now();
            if now >= next_beat {
                next_beat = now + beat;
                said(&mut failures, "renew leases", self.renew().await);
                if purge_in == 0 {
                    purge_in = 60;
                    let purged = self.shared.store.purge(self.shared.now()).await;
                    said(&mut failures, "remove what is over", purged.map(drop));
                }
                purge_in -= 1;
            }
            said(&mut failures, "look for works", self.claim().await);
            let due = *self
                .shared
                .due
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let wait = Duration::from_millis(due.saturating_sub(self.shared.now()).max(1));
            let wake = next_beat.min(tokio::time::Instant::now() + wait.min(beat));
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = self.shared.wake.notified() => {}
                _ = self.stopped.changed() => {}
                Some(_) = self.drives.join_next() => {}
                Some(orphan) = self.orphaned.recv() => self.adopt(orphan).await,
            }
        }
        // Orphans that nobody adopted any more are found by the end of their lease.
        while self.drives.join_next().await.is_some() {}
    }

    async fn renew(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.set_time(shared.store.now().await?);
        let kept = shared.kept();
        if kept.is_empty() {
            return Ok(());
        }
        shared
            .store
            .renew(&shared.owner, &kept, shared.lease_end())
            .await
    }

    /// Takes what nobody is at, as much as there are hands for.
    async fn claim(&mut self) -> Result<(), Error> {
        let shared = &self.shared;
        let mut slots = Vec::new();
        while slots.len() < BATCH
            && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        // What is known to be due is due in the store, and is looked for now, or when a hand is
        // free; what comes later announces itself.
        *shared.due.lock().unwrap_or_else(PoisonError::into_inner) = NEVER;
        if slots.is_empty() {
            return Ok(());
        }
        let now = shared.now();
        let rows = match shared
            .store
            .claim(&shared.owner, now, shared.lease_end(), slots.len())
            .await
        {
            Ok(rows) => rows,
            Err(error) => {
                shared.expect_quietly(now.saturating_add(millis(Duration::from_secs(1))));
                return Err(error);
            }
        };
        if rows.len() == slots.len() {
            shared.expect_quietly(now);
        }
        for row in rows {
            shared.keep(Kind::Work, &row.id);
            match Held::of_row(Arc::clone(shared), &row) {
                Ok(held) => {
                    let first = (held.work.phase == Phase::Open).then_some(Event::TakenOver);
                    let slot = slots.pop();
                    self.drives.spawn(async move {
                        let _slot = slot;
                        if let Err(error) = drive(held, first).await {
                            log::warn!("{error}; {}", error.help());
                        }
                    });
                }
                Err(error) => {
                    shared.forget(Kind::Work, &row.id);
                    log::error!("{error}; {}", error.help());
                }
            }
        }
        Ok(())
    }

    /// Goes on with what was dropped. It is read again, since its last write may have been cut.
    async fn adopt(&mut self, orphan: Orphan) {
        let shared = &self.shared;
        let (id, versions, why) = match orphan {
            Orphan::Work {
                id,
                version,
                doubtful,
                why,
            } => (id, version..=version + u64::from(doubtful), why),
            Orphan::Key(id, version) => {
                shared.forget(Kind::Key, &id);
                crate::idempotency::release(shared, &id, version).await;
                return;
            }
        };
        let found = shared.store.get(Kind::Work, &id).await;
        let held = found.and_then(|row| {
            // Of another version it may be this keeper's, which took it over.
            row.filter(|row| row.owner == shared.owner && versions.contains(&row.version))
                .map(|row| Held::of_row(Arc::clone(shared), &row))
                .transpose()
        });
        match held {
            Ok(Some(held)) => {
                let first = (held.work.phase == Phase::Open).then(|| Event::Abort(why.to_owned()));
                self.drives.spawn(async move {
                    if let Err(error) = drive(held, first).await {
                        log::warn!("{error}; {}", error.help());
                    }
                });
            }
            // It never came into the store, it is over, or somebody else has it.
            Ok(None) => shared.forget(Kind::Work, &id),
            Err(error) => {
                shared.forget(Kind::Work, &id);
                shared.expect(shared.lease_end());
                log::warn!("{error}; {}", error.help());
            }
        }
    }
}

/// Logs a failure that is new, and its end: a database that is away is one line, not thousands.
fn said(
    failures: &mut HashMap<&'static str, ErrorKind>,
    what: &'static str,
    result: Result<(), Error>,
) {
    match result {
        Ok(()) => {
            if failures.remove(what).is_some() {
                log::info!("the journal can {what} again");
            }
        }
        Err(error) => {
            if failures.insert(what, error.kind()).is_none() {
                log::error!("the journal cannot {what}: {error}; {}", error.help());
            }
        }
    }
}

//! Where a process can die: before and after every write, every call and every commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mainstay_journal::store::{Kind, Millis, Pending, Row, Status};
use mainstay_journal::{Error, Outbox, Store};

/// Counts the points that are passed, and dies at one of them.
pub(crate) struct Gate {
    passed: AtomicU32,
    dies_at: u32,
    /// By SIGKILL; else nothing that has to pass here works any more.
    kills: bool,
    dead: AtomicBool,
}

impl Gate {
    pub(crate) fn new(dies_at: u32, kills: bool) -> Arc<Self> {
        Arc::new(Self {
            passed: AtomicU32::new(0),
            dies_at,
            kills,
            dead: AtomicBool::new(false),
        })
    }

    /// Whether it still lives.
    pub(crate) fn pass(&self) -> bool {
        if self.passed.fetch_add(1, Ordering::SeqCst) == self.dies_at {
            if self.kills {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
                loop {
                    std::thread::park();
                }
            }
            self.dead.store(true, Ordering::SeqCst);
        }
        !self.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn passed(&self) -> u32 {
        self.passed.load(Ordering::SeqCst)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.pass().then_some(()).ok_or_else(died)
    }
}

pub(crate) fn died() -> Error {
    Error::store("go on", std::io::Error::other("the process is dead"))
}

/// A store, or a connection, of a process that dies at the gate.
pub(crate) struct Mortal<T> {
    pub(crate) inner: T,
    pub(crate) gate: Arc<Gate>,
}

impl<T> Mortal<T> {
    async fn through<R>(&self, work: impl Future<Output = Result<R, Error>>) -> Result<R, Error> {
        self.gate.check()?;
        let done = work.await;
        self.gate.check()?;
        done
    }
}

impl Store for Mortal<Arc<dyn Store>> {
    fn now(&self) -> Pending<'_, Millis> {
        self.inner.now()
    }
    fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
        Box::pin(self.through(self.inner.put(row, expected)))
    }
    fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>> {
        if self.gate.is_dead() {
            return Box::pin(async { Err(died()) });
        }
        self.inner.get(kind, id)
    }
    /// One that is to die keeps to its own work, so that it dies at the same point each time.
    fn claim<'a>(&'a self, _: &'a str, _: Millis, _: Millis, _: usize) -> Pending<'a, Vec<Row>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn renew<'a>(
        &'a self,
        owner: &'a str,
        rows: &'a [(Kind, String)],
        until: Millis,
    ) -> Pending<'a, ()> {
        if self.gate.is_dead() {
            return Box::pin(async { Err(died()) });
        }
        self.inner.renew(owner, rows, until)
    }
    fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>> {
        self.inner.list(status, limit)
    }
    fn purge(&self, _: Millis) -> Pending<'_, u64> {
        Box::pin(async { Ok(0) })
    }
}

impl<C: Outbox> Outbox for Mortal<&mut C> {
    fn put<'a>(&'a mut self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            gate.check()?;
            let done = self.inner.put(row, expected).await;
            gate.check()?;
            done
        })
    }
}

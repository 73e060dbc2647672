//! What a store must be able to do: seven operations on rows, the same for works and for
//! idempotency keys. What a row means is decided elsewhere.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use mainstay_base::Clock;

use crate::error::Error;

/// The future of a store's operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Milliseconds since 1970-01-01T00:00:00Z, by the store's clock.
pub type Millis = u64;

/// A time that does not come.
pub const NEVER: Millis = i64::MAX as Millis;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A unit of work.
    Work,
    /// An idempotency key.
    Key,
}

impl Kind {
    /// The word that stands for it in a store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Key => "key",
        }
    }

    /// The kind of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Work, Self::Key]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// What a row waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// For its owner, or for whoever comes after [`Row::wake`].
    Live,
    /// For a person.
    Stuck,
    /// For being removed after [`Row::wake`].
    Ended,
}

impl Status {
    /// The word that stands for it in a store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stuck => "stuck",
            Self::Ended => "ended",
        }
    }

    /// The status of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Live, Self::Stuck, Self::Ended]
            .into_iter()
            .find(|status| status.word() == word)
    }
}

/// One row.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub kind: Kind,
    /// Which one of its kind: printable ASCII, at most 200 bytes.
    pub id: String,
    /// One more with each write: who writes on an old version has lost the row to somebody. This is
    /// the fencing token.
    pub version: u64,
    /// What it waits for.
    pub status: Status,
    /// The process that holds it until `wake`; empty for nobody.
    pub owner: String,
    /// When the lease ends, the next attempt is due, or the row may be removed.
    pub wake: Millis,
    /// What only the journal reads.
    pub body: Vec<u8>,
}

impl Row {
    /// Whether both come from the same write; a renewal in between moves only `wake`.
    pub(crate) fn is_same_write(&self, other: &Self) -> bool {
        let renewed = Self {
            wake: other.wake,
            ..self.clone()
        };
        renewed == *other
    }
}

impl fmt::Debug for Row {
    /// Without the body, in which there may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("version", &self.version)
            .field("status", &self.status)
            .field("owner", &self.owner)
            .field("wake", &self.wake)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Where rows are kept. Each operation is atomic and durable when its future is ready, and goes on
/// to its end when the future is dropped before.
pub trait Store: Send + Sync + 'static {
    /// The time that leases are measured by: of the database where several machines share one.
    fn now(&self) -> Pending<'_, Millis> {
        Box::pin(std::future::ready(Ok(wall_clock())))
    }

    /// Writes the row if the stored one has version `expected`; zero means that there must be none.
    /// Says whether it did.
    fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool>;

    /// The row, if there is one.
    fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>>;

    /// Takes at most `limit` live works whose `wake` is not after `now`, the longest due first: gives
    /// each to `owner` until `until`, with its version raised. No row is given to two callers.
    fn claim<'a>(
        &'a self,
        owner: &'a str,
        now: Millis,
        until: Millis,
        limit: usize,
    ) -> Pending<'a, Vec<Row>>;

    /// Sets `wake` of those live rows that are still the owner's. The version stays.
    fn renew<'a>(
        &'a self,
        owner: &'a str,
        rows: &'a [(Kind, String)],
        until: Millis,
    ) -> Pending<'a, ()>;

    /// At most `limit` works, by status or all of them, the greatest id first.
    fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>>;

    /// Removes rows that have ended, and keys that nobody answered, whose `wake` is not after `now`.
    /// Says how many.
    fn purge(&self, now: Millis) -> Pending<'_, u64>;
}

/// A connection in which the caller has a transaction open: what is written here is part of it.
pub trait Outbox: Send {
    /// [`Store::put`] in that transaction.
    fn put<'a>(&'a mut self, row: &'a Row, expected: u64) -> Pending<'a, bool>;
}

/// The time of this machine.
pub(crate) fn wall_clock() -> Millis {
    let now = mainstay_base::SystemClock::new().now().as_millisecond();
    Millis::try_from(now).unwrap_or(0)
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn now(&self) -> Pending<'_, Millis> {
        (**self).now()
    }
    fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
        (**self).put(row, expected)
    }
    fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>> {
        (**self).get(kind, id)
    }
    fn claim<'a>(
        &'a self,
        owner: &'a str,
        now: Millis,
        until: Millis,
        limit: usize,
    ) -> Pending<'a, Vec<Row>> {
        (**self).claim(owner, now, until, limit)
    }
    fn renew<'a>(
        &'a self,
        owner: &'a str,
        rows: &'a [(Kind, String)],
        until: Millis,
    ) -> Pending<'a, ()> {
        (**self).renew(owner, rows, until)
    }
    fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>> {
        (**self).list(status, limit)
    }
    fn purge(&self, now: Millis) -> Pending<'_, u64> {
        (**self).purge(now)
    }
}

//! What is known of faults, over restarts: the ledger.
//!
//! It holds one row for each kind of fault of each app ([`Kind`]): how many there were, since when, in
//! which release they began, and the last few occurrences with all that is known of them. It also has
//! the [`Order`]s of people about works that are stuck, and marks of whoever reads for it.
//!
//! ```
//! use std::sync::Arc;
//! use mainstay_base::SystemClock;
//! use mainstay_fault::ledger::{Ledger, Occurrence, Query};
//! use mainstay_fault::{Class, Fault};
//!
//! # let directory = tempfile::tempdir()?;
//! let path = directory.path().join("faults.db");
//! let mut ledger = Ledger::open(&path, Arc::new(SystemClock::new()));
//! let fault = Fault::told(Class::DiskFull, "no space left for the upload");
//! let now = jiff::Timestamp::now();
//! ledger.note(vec![Occurrence::of("shop", &fault, now)], &[])?;
//! assert!(ledger.trouble().is_none(), "it is on disk");
//!
//! let (kinds, more) = ledger.list(&Query::default())?;
//! assert_eq!((kinds[0].app.as_str(), kinds[0].count, more), ("shop", 1, 0));
//! let found = ledger.find(fault.id())?.expect("the code leads to it");
//! assert_eq!(found.kind.title, "no space left for the upload");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is bounded in kinds, bytes and age. What is noted is on disk when [`Ledger::note`] returns. When
//! the disk cannot be written to, it goes on in memory, because that is an hour in which much goes
//! wrong; [`Ledger::mend`] moves all of it to the disk when that works again.

mod file;
mod keep;
mod kind;
mod orders;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_base::Clock;
use rusqlite::{Connection, Transaction};

use crate::class::Severity;
use crate::id::Id;
use keep::{BOUNDS, Bounds, Held};

pub use kind::{Asking, Detail, Kind, Occurrence, Seen, Step, Work, WorkState};
pub use orders::{Act, Order, OrderState};

/// How often is looked whether something must be forgotten: once in so many writes.
const PRUNE_EVERY: u32 = 64;

/// The ledger could not be read or written.
#[derive(Debug)]
pub struct LedgerError {
    what: String,
    why: rusqlite::Error,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// Which kinds are asked for. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of this app.
    pub app: Option<String>,
    /// Seen since then.
    pub since: Option<Timestamp>,
    /// At least as grave.
    pub severity: Severity,
    /// At most so many.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            app: None,
            since: None,
            severity: Severity::Debug,
            limit: usize::MAX >> 1,
        }
    }
}

/// What became of a kind by an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The kind, as it is now.
    pub kind: Kind,
    /// How many more of it there are by this.
    pub more: u64,
    /// Whether it is the first of its kind.
    pub is_new: bool,
    /// The code that was noted.
    pub code: Id,
}

/// A fault that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub kind: Kind,
    /// What people wanted done about works of its kind, the newest first.
    pub orders: Vec<Order>,
}

/// The ledger.
pub struct Ledger {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    connection: Connection,
    bounds: Bounds,
    writes: u32,
    /// Why it is in memory only.
    trouble: Option<String>,
    /// Whether what is in memory began as what is on disk.
    is_copy: bool,
    damage: Option<String>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("path", &self.path)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger at `path`, making it if there is none, with mode 0600. One that is damaged is
    /// set aside. Where it cannot be opened it goes on in memory, see [`Self::trouble`].
    ///
    /// # Panics
    /// If there is no memory for an empty database.
    pub fn open(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        let path = path.into();
        let (connection, trouble, damage) = match file::open(&path, clock.now()) {
            Ok((connection, damage)) => (connection, None, damage),
            Err(why) => {
                let memory =
                    file::in_memory(None).expect("an empty database in memory can be made");
                (memory, Some(why), None)
            }
        };
        Self {
            path,
            clock,
            connection,
            bounds: BOUNDS,
            writes: 0,
            trouble,
            is_copy: false,
            damage,
        }
    }

    /// Opens a ledger to look only, beside a daemon or without one.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn look(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let path = path.as_ref().to_owned();
        let connection = file::open_to_read(&path).map_err(|why| LedgerError {
            what: format!("read {}", path.display()),
            why,
        })?;
        Ok(Self {
            path,
            clock,
            connection,
            bounds: BOUNDS,
            writes: 0,
            trouble: None,
            is_copy: false,
            damage: None,
        })
    }

    /// Why what is new is in memory only; absent when all is well.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// That a damaged file was set aside, once.
    pub fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    fn error(&self, what: &str, why: rusqlite::Error) -> LedgerError {
        LedgerError {
            what: format!("{what} the ledger of faults {}", self.path.display()),
            why,
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        read(&self.connection).map_err(|why| self.error("read", why))
    }

    /// Does this on disk, or else in memory; all or nothing.
    fn write<T>(
        &mut self,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        match self.attempt(&write) {
            Ok(done) => Ok(done),
            Err(why) if self.trouble.is_none() => self
                .leave_disk(&why)
                .and_then(|()| self.attempt(&write))
                .map_err(|why| self.error("write", why)),
            Err(why) => Err(self.error("write", why)),
        }
    }

    fn attempt<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let behavior = rusqlite::TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let done = write(&transaction)?;
        transaction.commit()?;
        self.writes = self.writes.wrapping_add(1);
        if self.writes % PRUNE_EVERY == 1 {
            let (bounds, now) = (self.bounds, self.clock.now());
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            prune(&transaction, &bounds, now)?;
            transaction.commit()?;
        }
        Ok(done)
    }

    fn leave_disk(&mut self, why: &rusqlite::Error) -> rusqlite::Result<()> {
        let copied = file::in_memory(Some(&self.connection));
        self.is_copy = copied.is_ok();
        self.connection = copied.or_else(|_| file::in_memory(None))?;
        self.trouble = Some(format!("cannot write {}: {why}", self.path.display()));
        Ok(())
    }

    /// Moves what is in memory to the disk, if the disk takes it; whether all is well now.
    pub fn mend(&mut self) -> bool {
        if self.trouble.is_none() {
            return true;
        }
        let mended = file::open(&self.path, self.clock.now()).and_then(|(mut disk, damage)| {
            // Where the file was set aside there is nothing to join with.
            let moved = if self.is_copy || damage.is_some() {
                file::copy(&self.connection, &mut disk)
            } else {
                join(&self.connection, &mut disk)
            };
            moved.map_err(|why| format!("cannot write {}: {why}", self.path.display()))?;
            Ok((disk, damage))
        });
        match mended {
            Ok((disk, damage)) => {
                self.connection = disk;
                self.damage = self.damage.take().or(damage);
                self.trouble = None;
                self.is_copy = false;
                true
            }
            Err(why) => {
                self.trouble = Some(why);
                false
            }
        }
    }

    /// Notes occurrences, and marks of whoever found them ([`Self::marks`]), all or nothing. An
    /// occurrence with a code that is known of that app brings that one up to date. The answer is what
    /// became of their kinds, in order.
    ///
    /// # Errors
    /// If not even the memory takes it.
    pub fn note(
        &mut self,
        occurrences: Vec<Occurrence>,
        marks: &[(String, String)],
    ) -> Result<Vec<Noted>, LedgerError> {
        let sealed: Vec<Occurrence> = occurrences.into_iter().map(Occurrence::sealed).collect();
        self.write(|transaction| {
            let noted = sealed
                .iter()
                .map(|occurrence| note(transaction, occurrence));
            let noted = noted.collect::<rusqlite::Result<Vec<Noted>>>()?;
            let mut statement = transaction.prepare_cached(
                "INSERT INTO marks (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = ?2",
            )?;
            for (name, value) in marks {
                statement.execute([name, value])?;
            }
            drop(statement);
            Ok(noted)
        })
    }

    /// The marks that were noted last, by name.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn marks(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        self.read(|connection| {
            connection
                .prepare("SELECT name, value FROM marks")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// Keeps of the marks only those with these names.
    ///
    /// # Errors
    /// If not even the memory takes it.
    pub fn keep_marks(&mut self, names: &[&str]) -> Result<(), LedgerError> {
        let known = self.marks()?;
        self.write(|transaction| {
            for name in known.keys().filter(|name| !names.contains(&name.as_str())) {
                transaction.execute("DELETE FROM marks WHERE name = ?1", [name])?;
            }
            Ok(())
        })
    }

    /// Kinds without their occurrences, the one seen last first, and how many more there are.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn list(&self, query: &Query) -> Result<(Vec<Kind>, u64), LedgerError> {
        self.read(|connection| {
            file::list(
                connection,
                query.app.as_deref(),
                query.since,
                query.severity,
                query.limit,
            )
        })
    }

    /// The fault of this code; of several apps that have the same one, that which was seen last.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn find(&self, code: Id) -> Result<Option<Found>, LedgerError> {
        self.read(|connection| {
            let found = file::all_by_code(connection, code)?.into_iter().next();
            let Some((id, kind)) = found else {
                return Ok(None);
            };
            let orders = file::orders_of(connection, id)?;
            Ok(Some(Found { kind, orders }))
        })
    }

    /// Forgets the kind of this code with all that belongs to it; the answer is what was forgotten.
    ///
    /// # Errors
    /// If not even the memory takes it.
    pub fn forget(&mut self, code: Id) -> Result<Option<Kind>, LedgerError> {
        self.write(|transaction| {
            let found = file::all_by_code(transaction, code)?.into_iter().next();
            let Some((id, kind)) = found else {
                return Ok(None);
            };
            transaction.execute("DELETE FROM kinds WHERE id = ?1", [id])?;
            Ok(Some(kind))
        })
    }

    /// How many kinds began since then, by app; those that are no fault of the app are not counted.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn news(&self, since: Timestamp) -> Result<BTreeMap<String, u64>, LedgerError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT app, count(*) FROM kinds WHERE first >= ?1 AND severity >= ?2
                     GROUP BY app",
                )?
                .query_map(
                    [since.as_millisecond(), file::rank(Severity::Warning)],
                    |row| {
                        let count: i64 = row.get(1)?;
                        Ok((row.get(0)?, u64::try_from(count).unwrap_or(0)))
                    },
                )?
                .collect()
        })
    }

    /// Places an order; the answer has its number.
    ///
    /// # Errors
    /// If not even the memory takes it.
    pub fn order(&mut self, order: &Order) -> Result<Order, LedgerError> {
        self.write(|transaction| {
            let kind = file::by_code(transaction, &order.app, order.code)?;
            let id = file::put_order(transaction, kind.map(|(id, ..)| id), order)?;
            Ok(Order {
                id,
                ..order.clone()
            })
        })
    }

    /// The orders for an app of which no outcome is known, the oldest first. The app has them by this.
    ///
    /// # Errors
    /// If the ledger cannot be read, or not even the memory takes that they were fetched.
    pub fn orders_for(&mut self, app: &str) -> Result<Vec<Order>, LedgerError> {
        let orders = self.read(|connection| file::open_orders(connection, app))?;
        if orders
            .iter()
            .any(|order| order.state == OrderState::Waiting)
        {
            self.write(|transaction| file::fetched(transaction, app))?;
        }
        Ok(orders)
    }

    /// Notes what came of an order; whether there is such an order of that app. The first word counts.
    ///
    /// # Errors
    /// If not even the memory takes it.
    pub fn settle(
        &mut self,
        app: &str,
        id: i64,
        done: bool,
        detail: Option<&str>,
    ) -> Result<bool, LedgerError> {
        let now = self.clock.now();
        let state = if done {
            OrderState::Done
        } else {
            OrderState::Refused
        };
        self.write(|transaction| file::settle(transaction, (app, id), state, detail, now))
    }
}

/// One occurrence into its kind.
fn note(connection: &Connection, occurrence: &Occurrence) -> rusqlite::Result<Noted> {
    let known = file::by_code(connection, &occurrence.app, occurrence.code)?;
    let (id, mut kind, known) = if let Some((id, kind, known)) = known {
        (Some(id), kind, Some(known))
    } else {
        let (app, fingerprint) = (&occurrence.app, &occurrence.fingerprint);
        let like = file::by_fingerprint(connection, app, fingerprint)?;
        like.map_or_else(
            || (None, Kind::new(occurrence), None),
            |(id, kind)| (Some(id), kind, None),
        )
    };
    let before = kind.count;
    let stands_for = kind.add(occurrence, known);
    let is_new = id.is_none();
    let id = file::put(connection, id, &kind)?;
    let code = (occurrence.code, occurrence.app.as_str());
    file::put_code(connection, code, id, stands_for, occurrence.last)?;
    Ok(Noted {
        more: kind.count - before,
        is_new,
        code: occurrence.code,
        kind,
    })
}

/// Forgets what is too much.
fn prune(connection: &Connection, bounds: &Bounds, now: Timestamp) -> rusqlite::Result<()> {
    let held = connection
        .prepare_cached("SELECT id, app, last, length(recent), undo FROM kinds")?
        .query_map([], |row| {
            let undo: Option<String> = row.get(4)?;
            Ok(Held {
                id: row.get(0)?,
                app: row.get(1)?,
                last: file::time(row.get(2)?),
                bytes: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                stuck: undo.as_deref() == Some(WorkState::Stuck.name()),
            })
        })?
        .collect::<rusqlite::Result<Vec<Held>>>()?;
    let mut forget = connection.prepare_cached("DELETE FROM kinds WHERE id = ?1")?;
    for id in keep::surplus(held, bounds, now) {
        forget.execute([id])?;
    }
    connection
        .prepare_cached(
            "DELETE FROM codes WHERE (code, app) IN
                (SELECT code, app FROM codes ORDER BY at DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([file::number(bounds.codes)])?;
    connection
        .prepare_cached(
            "DELETE FROM orders WHERE id IN (SELECT id FROM orders
                WHERE state IN ('done', 'refused') ORDER BY id DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([file::number(bounds.orders)])?;
    Ok(())
}

/// Adds what is in one ledger to another one.
fn join(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    let transaction = to.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for (from_id, kind) in file::all(from)? {
        let there = file::by_fingerprint(&transaction, &kind.app, &kind.fingerprint)?;
        let (app, code, last) = (kind.app.clone(), kind.code, kind.last);
        let codes: Vec<(Id, u64, Timestamp)> = kind
            .recent
            .iter()
            .map(|seen| (seen.code, seen.count, seen.at))
            .collect();
        let id = match there {
            Some((id, mut known)) => {
                known.join(kind);
                file::put(&transaction, Some(id), &known)?
            }
            None => file::put(&transaction, None, &kind)?,
        };
        file::put_code(&transaction, (code, &app), id, 1, last)?;
        for (code, stands_for, at) in codes {
            file::put_code(&transaction, (code, &app), id, stands_for, at)?;
        }
        for order in file::orders_of(from, from_id)?.iter().rev() {
            file::put_order(&transaction, Some(id), order)?;
        }
    }
    let mut marks = from.prepare("SELECT name, value FROM marks")?;
    let mut rows = marks.query([])?;
    while let Some(row) = rows.next()? {
        transaction.execute(
            "INSERT OR REPLACE INTO marks (name, value) VALUES (?1, ?2)",
            [row.get::<_, String>(0)?, row.get::<_, String>(1)?],
        )?;
    }
    drop(rows);
    transaction.commit()
}

#[cfg(test)]
mod tests;

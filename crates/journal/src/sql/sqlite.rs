//! `SQLite`.

use std::future::{Ready, ready};

use sqlx::sqlite::{Sqlite, SqliteConnection, SqlitePool};

use super::{INSERT, plain};
use crate::error::{Error, ErrorKind};
use crate::store::wall_clock;

/// The table, for those who run migrations of their own.
pub const SQLITE_SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS mainstay_journal (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        owner TEXT NOT NULL,
        wake INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (kind, id)
    )",
    "CREATE INDEX IF NOT EXISTS mainstay_journal_wake ON mainstay_journal (status, wake)",
];

/// A journal in a `SQLite` database, which processes of one machine can share.
///
/// `SQLite` has one writer at a time: while a transaction of the app has written and is open, steps
/// wait for it, and give up after the pool's `busy_timeout`. So steps come first, then the
/// transaction.
pub struct SqliteStore {
    pool: SqlitePool,
    skip: &'static str,
}

impl SqliteStore {
    /// The journal in that database; makes the table where there is none. `PRAGMA synchronous` must
    /// be `FULL`, as it is by default: else a power failure could lose an intent.
    pub async fn open(pool: SqlitePool) -> Result<Self, Error> {
        let attempt = "open the journal in SQLite";
        let failed = |error| Error::store(attempt, error);
        for statement in SQLITE_SCHEMA {
            sqlx::query(*statement)
                .execute(&pool)
                .await
                .map_err(failed)?;
        }
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&pool)
            .await
            .map_err(failed)?;
        if synchronous < 2 {
            return Err(Error::new(
                ErrorKind::Store,
                attempt,
                "PRAGMA synchronous is less than FULL, so that a power failure could lose what was written",
                "give the journal a pool with SqliteSynchronous::Full",
            ));
        }
        Ok(Self { pool, skip: "" })
    }
}

/// All who share the file have the same clock.
fn now(_: &mut SqliteConnection) -> Ready<Result<Millis, sqlx::Error>> {
    ready(Ok(wall_clock()))
}

fn insert() -> String {
    format!("{INSERT} ON CONFLICT DO NOTHING")
}

super::store!(SqliteStore, Sqlite, SqliteConnection, plain, &insert());

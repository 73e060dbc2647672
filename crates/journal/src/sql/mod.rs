//! Stores in a database: one table, the same statements for all, each one a transaction of its own.
//!
//! No statement here is inside a transaction that the store would have to roll back, and none is
//! dropped while it runs: each runs in a task of its own, on a connection that goes back to the pool
//! only after an answer. A connection that did not answer in time, or that failed, is closed. Why
//! that matters is shown by the test `hazard` of this crate.

use std::future::Future;
use std::time::Duration;

use crate::error::Error;

#[cfg(feature = "mysql")]
pub use mysql::{MYSQL_SCHEMA, MySqlStore};
#[cfg(feature = "postgres")]
pub use postgres::{POSTGRES_SCHEMA, PgStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SQLITE_SCHEMA, SqliteStore};

/// How long a statement may take; a store that says nothing for so long is taken for unreachable.
const LIMIT: Duration = Duration::from_secs(10);
/// How many rows are renewed by one statement.
const CHUNK: usize = 100;

/// The statements, with `?` for each parameter.
const INSERT: &str = "INSERT INTO mainstay_journal \
    (status, owner, wake, body, kind, id, version) VALUES (?, ?, ?, ?, ?, ?, ?)";
const UPDATE: &str = "UPDATE mainstay_journal SET status = ?, owner = ?, wake = ?, body = ? \
    , version = version + 1 WHERE kind = ? AND id = ? AND version = ?";
const GET: &str = "SELECT kind, id, version, status, owner, wake, body FROM mainstay_journal \
    WHERE kind = ? AND id = ?";
const DUE: &str = "SELECT kind, id, version, status, owner, wake, body FROM mainstay_journal \
    WHERE status = 'live' AND wake <= ? AND kind = 'work' ORDER BY wake LIMIT ?";
/// Not to wait for rows that somebody has locked.
#[cfg(any(feature = "mysql", feature = "postgres"))]
const SKIP: &str = " FOR UPDATE SKIP LOCKED";
const CLAIM: &str = "UPDATE mainstay_journal SET owner = ?, wake = ?, version = version + 1 \
    WHERE kind = ? AND id = ? AND version = ? AND status = 'live' AND wake <= ?";
const RENEW: &str = "UPDATE mainstay_journal SET wake = ? WHERE owner = ? AND status = 'live' \
    AND kind = ? AND id IN (";
const LIST: &str = "SELECT kind, id, version, status, owner, wake, body FROM mainstay_journal \
    WHERE kind = 'work' ORDER BY id DESC LIMIT ?";
const LIST_STATUS: &str = "SELECT kind, id, version, status, owner, wake, body \
    FROM mainstay_journal WHERE kind = 'work' AND status = ? ORDER BY id DESC LIMIT ?";
const PURGE: &str = "DELETE FROM mainstay_journal \
    WHERE wake <= ? AND (status = 'ended' OR (status = 'live' AND kind = 'key'))";

/// Runs a statement to its end, whatever becomes of who waits for it.
async fn detached<T: Send + 'static>(
    attempt: &'static str,
    statement: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(statement).await {
        Ok(result) => result.map_err(|error| failed(attempt, error)),
        Err(error) => Err(Error::store(attempt, error)),
    }
}

fn failed(attempt: &str, error: sqlx::Error) -> Error {
    Error::store(format!("{attempt} the table mainstay_journal"), error)
}

/// A number as databases have it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What a database stored of a number; it never stores a negative one.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn word_of<T>(found: Option<T>) -> Result<T, sqlx::Error> {
    found.ok_or_else(|| {
        sqlx::Error::Decode("a word in it is not known to this version of the program".into())
    })
}

/// Takes a connection out of its pool and closes it. Nothing is sent: what it was at is unknown.
fn close<DB: sqlx::Database>(connection: sqlx::pool::PoolConnection<DB>) {
    drop(connection.detach());
}

/// All that a store does, for one database. `$statement` writes parameters as the database does.
macro_rules! store {
    ($store:ident, $database:ty, $connection:ty, $statement:path, $insert:expr) => {
        use std::pin::Pin;

        use sqlx::Row as _;

        use crate::store::{Kind, Millis, Outbox, Pending, Row, Status, Store};

        /// The future of a statement on a connection.
        type Statement<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

        impl $store {
            /// Runs a statement on a connection of the pool; one that fails it is not used again.
            fn on<T, W>(&self, attempt: &'static str, work: W) -> Pending<'static, T>
            where
                T: Send + 'static,
                W: for<'c> FnOnce(&'c mut $connection) -> Statement<'c, T> + Send + 'static,
            {
                let pool = self.pool.clone();
                Box::pin(crate::sql::detached(attempt, async move {
                    let mut connection = pool.acquire().await?;
                    let limit = crate::sql::LIMIT;
                    match tokio::time::timeout(limit, work(&mut connection)).await {
                        // It said yes, or no: the connection is as good as before.
                        Ok(answer @ (Ok(_) | Err(sqlx::Error::Database(_)))) => answer,
                        Ok(Err(error)) => {
                            crate::sql::close(connection);
                            Err(error)
                        }
                        Err(_) => {
                            crate::sql::close(connection);
                            Err(sqlx::Error::Io(std::io::Error::new(
                                std::io::ErrorKind::TimedOut,
                                format!("no answer within {limit:?}"),
                            )))
                        }
                    }
                }))
            }
        }

        async fn put(
            connection: &mut $connection,
            row: Row,
            expected: u64,
        ) -> Result<bool, sqlx::Error> {
            let text = if expected == 0 {
                $insert
            } else {
                crate::sql::UPDATE
            };
            let version = if expected == 0 { row.version } else { expected };
            let result = sqlx::query::<$database>($statement(text))
                .bind(row.status.word())
                .bind(row.owner)
                .bind(crate::sql::signed(row.wake))
                .bind(row.body)
                .bind(row.kind.word())
                .bind(row.id)
                .bind(crate::sql::signed(version))
                .execute(connection)
                .await;
            match result {
                Ok(done) => Ok(done.rows_affected() == 1),
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
                Err(error) => Err(error),
            }
        }

        fn row_of(found: &<$database as sqlx::Database>::Row) -> Result<Row, sqlx::Error> {
            let number = |column| found.try_get::<i64, _>(column).map(crate::sql::unsigned);
            Ok(Row {
                kind: crate::sql::word_of(Kind::of(found.try_get("kind")?))?,
                id: found.try_get("id")?,
                version: number("version")?,
                status: crate::sql::word_of(Status::of(found.try_get("status")?))?,
                owner: found.try_get("owner")?,
                wake: number("wake")?,
                body: found.try_get("body")?,
            })
        }

        impl Outbox for $connection {
            fn put<'a>(&'a mut self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
                let row = row.clone();
                Box::pin(async move {
                    put(self, row, expected)
                        .await
                        .map_err(|error| crate::sql::failed("write to", error))
                })
            }
        }

        impl Store for $store {
            fn now(&self) -> Pending<'_, Millis> {
                self.on("ask for the time beside", |connection| {
                    Box::pin(now(connection))
                })
            }

            fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
                let row = row.clone();
                self.on("write to", move |connection| {
                    Box::pin(put(connection, row, expected))
                })
            }

            fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>> {
                let id = id.to_owned();
                self.on("read", move |connection| {
                    Box::pin(async move {
                        sqlx::query::<$database>($statement(crate::sql::GET))
                            .bind(kind.word())
                            .bind(id)
                            .fetch_optional(connection)
                            .await?
                            .map(|found| row_of(&found))
                            .transpose()
                    })
                })
            }

            fn claim<'a>(
                &'a self,
                owner: &'a str,
                now: Millis,
                until: Millis,
                limit: usize,
            ) -> Pending<'a, Vec<Row>> {
                let owner = owner.to_owned();
                let due = format!("{}{}", crate::sql::DUE, self.skip);
                self.on("write to", move |connection| {
                    Box::pin(async move {
                        let found = sqlx::query::<$database>($statement(&due))
                            .bind(crate::sql::signed(now))
                            .bind(crate::sql::signed(limit as u64))
                            .fetch_all(&mut *connection)
                            .await?;
                        let mut rows = Vec::with_capacity(found.len());
                        for found in &found {
                            let mut row = row_of(found)?;
                            let taken = sqlx::query::<$database>($statement(crate::sql::CLAIM))
                                .bind(owner.clone())
                                .bind(crate::sql::signed(until))
                                .bind(row.kind.word())
                                .bind(row.id.clone())
                                .bind(crate::sql::signed(row.version))
                                .bind(crate::sql::signed(now))
                                .execute(&mut *connection)
                                .await?;
                            if taken.rows_affected() == 1 {
                                row.version += 1;
                                row.owner.clone_from(&owner);
                                row.wake = until;
                                rows.push(row);
                            }
                        }
                        Ok(rows)
                    })
                })
            }

            fn renew<'a>(
                &'a self,
                owner: &'a str,
                rows: &'a [(Kind, String)],
                until: Millis,
            ) -> Pending<'a, ()> {
                let (owner, rows) = (owner.to_owned(), rows.to_vec());
                self.on("write to", move |connection| {
                    Box::pin(async move {
                        for kind in [Kind::Work, Kind::Key] {
                            let ids: Vec<&String> = rows
                                .iter()
                                .filter(|(of, _)| *of == kind)
                                .map(|(_, id)| id)
                                .collect();
                            for ids in ids.chunks(crate::sql::CHUNK) {
                                let text = crate::sql::renewal(ids.len());
                                let mut query = sqlx::query::<$database>($statement(&text))
                                    .bind(crate::sql::signed(until))
                                    .bind(owner.clone())
                                    .bind(kind.word());
                                for id in ids {
                                    query = query.bind((*id).clone());
                                }
                                query.execute(&mut *connection).await?;
                            }
                        }
                        Ok(())
                    })
                })
            }

            fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>> {
                let limit = crate::sql::signed(limit as u64);
                self.on("read", move |connection| {
                    Box::pin(async move {
                        let query = match status {
                            None => sqlx::query::<$database>($statement(crate::sql::LIST)),
                            Some(status) => {
                                sqlx::query::<$database>($statement(crate::sql::LIST_STATUS))
                                    .bind(status.word())
                            }
                        };
                        let found = query.bind(limit).fetch_all(connection).await?;
                        found.iter().map(row_of).collect()
                    })
                })
            }

            fn purge(&self, now: Millis) -> Pending<'_, u64> {
                self.on("write to", move |connection| {
                    Box::pin(async move {
                        let gone = sqlx::query::<$database>($statement(crate::sql::PURGE))
                            .bind(crate::sql::signed(now))
                            .execute(connection)
                            .await?;
                        Ok(gone.rows_affected())
                    })
                })
            }
        }
    };
}
use store;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// The statement that renews so many rows.
fn renewal(count: usize) -> String {
    let mut text = format!("{RENEW}?{}", ", ?".repeat(count.saturating_sub(1)));
    text.push(')');
    text
}

/// The text as it is, for databases that write parameters as `?`.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn plain(text: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.to_owned())
}

/// The text with `$1`, `$2` and so on for each `?`.
#[cfg(feature = "postgres")]
fn numbered(text: &str) -> sqlx::AssertSqlSafe<String> {
    use std::fmt::Write as _;

    let mut number = 0;
    let mut numbered = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character == '?' {
            number += 1;
            // Writing into a string cannot fail.
            let _ = write!(numbered, "${number}");
        } else {
            numbered.push(character);
        }
    }
    sqlx::AssertSqlSafe(numbered)
}

//! The request's transaction: begun when it is first asked for, ended by whoever ends the request.
//!
//! No end is left to drop. sqlx rolls a dropped transaction back by queuing the statement, which in
//! its `MySQL` driver reads the wrong answer if another statement was cut off (docs/journal.md shows
//! it). So each end is awaited with a limit, in a task that nobody cuts off; and a connection that
//! did not end well, or whose statement may have been cut off, is closed, at which the server rolls
//! back.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::time::Duration;

use mainstay_journal::Outbox;
use sqlx::pool::PoolConnection;
use sqlx_core::transaction::TransactionManager;

use crate::error::{BoxError, Error, ErrorKind};
use crate::scope::Scope;
use crate::work::Work;

/// How long beginning, committing and rolling back may take each, connecting apart.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// What the trait has to do with nobody outside.
mod sealed {
    pub trait Sealed {}
}

/// A database that a request can have its transaction in: sqlx's `MySql`, `Postgres` or `Sqlite`, by
/// the features of these names.
pub trait Database: sqlx::Database<Connection: Outbox> + sealed::Sealed {
    #[doc(hidden)]
    fn begin_statement(mutating: bool) -> Option<&'static str>;
}

macro_rules! database {
    ($feature:literal, $database:ty, $statement:expr) => {
        #[cfg(feature = $feature)]
        impl sealed::Sealed for $database {}
        #[cfg(feature = $feature)]
        impl Database for $database {
            fn begin_statement(mutating: bool) -> Option<&'static str> {
                let statement: fn(bool) -> Option<&'static str> = $statement;
                statement(mutating)
            }
        }
    };
}

database!("mysql", sqlx::MySql, |_| None);
database!("postgres", sqlx::Postgres, |_| None);
// One that reads first and then wants to write fails at once when somebody else writes; one that
// says so at the beginning waits.
database!("sqlite", sqlx::Sqlite, |mutating| mutating
    .then_some("BEGIN IMMEDIATE"));

type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An open transaction of whichever database. Dropped, its connection is closed.
pub(crate) trait Open: Send {
    fn outbox(&mut self) -> Option<&mut dyn Outbox>;
    fn commit(self: Box<Self>) -> Doing<'static, Result<(), BoxError>>;
    fn rollback(self: Box<Self>) -> Doing<'static, Result<(), BoxError>>;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

struct OpenOn<D: Database>(Option<PoolConnection<D>>);

impl<D: Database> Drop for OpenOn<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl<D: Database> OpenOn<D> {
    /// Commits or rolls back; the connection goes back to its pool only if that went well.
    async fn end(mut self: Box<Self>, commit: bool) -> Result<(), BoxError> {
        let Some(connection) = &mut self.0 else {
            return Ok(());
        };
        let end = async {
            if commit {
                D::TransactionManager::commit(&mut **connection).await
            } else {
                D::TransactionManager::rollback(&mut **connection).await
            }
        };
        match tokio::time::timeout(LIMIT, end).await {
            Ok(Ok(())) => {
                drop(self.0.take());
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(silent()),
        }
    }
}

fn silent() -> BoxError {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no answer within {LIMIT:?}"),
    ))
    .into()
}

impl<D: Database> Open for OpenOn<D> {
    fn outbox(&mut self) -> Option<&mut dyn Outbox> {
        let connection: &mut D::Connection = self.0.as_deref_mut()?;
        Some(connection)
    }

    fn commit(self: Box<Self>) -> Doing<'static, Result<(), BoxError>> {
        Box::pin(self.end(true))
    }

    fn rollback(self: Box<Self>) -> Doing<'static, Result<(), BoxError>> {
        Box::pin(self.end(false))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// A pool of whichever database.
pub(crate) trait Pool: Send + Sync {
    /// Begins a transaction, in a task that nobody cuts off.
    fn begin(&self, mutating: bool) -> Doing<'static, Result<Box<dyn Open>, BoxError>>;
    /// Whether the journal's table is in this database.
    fn has_journal(&self) -> Doing<'static, Result<(), BoxError>>;
    /// Whether an open transaction keeps everybody else from writing.
    fn has_one_writer(&self) -> bool;
}

impl<D> Pool for sqlx::Pool<D>
where
    D: Database,
    for<'c> &'c mut D::Connection: sqlx::Executor<'c, Database = D>,
{
    fn begin(&self, mutating: bool) -> Doing<'static, Result<Box<dyn Open>, BoxError>> {
        let pool = self.clone();
        Box::pin(async move {
            let begin = async move {
                let connection = pool.acquire().await?;
                let mut open = Box::new(OpenOn::<D>(Some(connection)));
                if let Some(connection) = &mut open.0 {
                    let statement =
                        D::begin_statement(mutating).map(sqlx::SqlSafeStr::into_sql_str);
                    let begun = D::TransactionManager::begin(&mut **connection, statement);
                    tokio::time::timeout(LIMIT, begun)
                        .await
                        .map_err(|_| silent())??;
                }
                Ok::<Box<dyn Open>, BoxError>(open)
            };
            tokio::spawn(begin).await?
        })
    }

    fn has_journal(&self) -> Doing<'static, Result<(), BoxError>> {
        let pool = self.clone();
        Box::pin(async move {
            let mut connection = pool.acquire().await?;
            let text = "SELECT 1 FROM mainstay_journal WHERE kind = ''";
            sqlx::Executor::execute(&mut *connection, text).await?;
            Ok(())
        })
    }

    fn has_one_writer(&self) -> bool {
        D::begin_statement(true).is_some()
    }
}

/// The request's transaction, while a handler uses it. Dereferences to the database's connection:
/// `&mut *tx` is what sqlx's queries take.
///
/// There is nothing to commit or roll back here: the layer does, once it knows how the request ended.
/// Statements should be awaited to their end: one that is cut off by a `select!` or a timeout of the
/// handler's own leaves the connection in a state that nobody knows.
#[must_use = "run statements on it"]
pub struct Tx<'w, D: Database> {
    open: Option<Box<OpenOn<D>>>,
    scope: &'w Scope,
}

impl<D: Database> Deref for Tx<'_, D> {
    type Target = D::Connection;
    fn deref(&self) -> &D::Connection {
        self.open
            .as_ref()
            .and_then(|open| open.0.as_deref())
            .expect("it has its connection until it is dropped")
    }
}

impl<D: Database> DerefMut for Tx<'_, D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.open
            .as_mut()
            .and_then(|open| open.0.as_deref_mut())
            .expect("it has its connection until it is dropped")
    }
}

impl<D: Database> Drop for Tx<'_, D> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.scope.stake.give_back(open);
        }
    }
}

/// A transaction that is about to begin. If nobody waits for that any more, there is none.
struct Beginning<'a>(Option<&'a Scope>);

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if let Some(scope) = self.0 {
            scope.stake.no_transaction();
        }
    }
}

impl<D: Database> Work<D> {
    /// The request's transaction, which begins with the first call of this. It is committed before
    /// the first byte of a good answer leaves, and rolled back if the request ends in any other way.
    ///
    /// Fails if the guard has no pool of this database, if something else of the request has the
    /// transaction, if the request is over, or if the database fails.
    pub async fn tx(&mut self) -> Result<Tx<'_, D>, Error> {
        let scope = self.scope();
        let shared = &scope.shared;
        let pool = shared
            .pool
            .as_ref()
            .ok_or_else(|| missing::<D>("no pool"))?;
        let lent = scope.stake.lend_transaction()?;
        let mut beginning = Beginning(Some(scope));
        let open = match lent {
            Some(open) => open,
            None => pool.begin(scope.is_mutating()).await.map_err(|error| {
                Error::caused(
                    ErrorKind::Database,
                    "begin the request's transaction",
                    "see that the database can be reached; the request can be made again",
                    error,
                )
            })?,
        };
        // From here on it is lent; one that is lost is an error of the request.
        beginning.0 = None;
        match open.into_any().downcast::<OpenOn<D>>() {
            Ok(open) => Ok(Tx {
                open: Some(open),
                scope,
            }),
            Err(_) => Err(missing::<D>("a pool of another database")),
        }
    }
}

fn missing<D: Database>(what: &str) -> Error {
    Error::new(
        ErrorKind::Missing,
        format!("begin a transaction of {}", D::NAME),
        format!("the guard has {what}"),
        "give the guard the pool: Guard::builder().database(pool)",
    )
}

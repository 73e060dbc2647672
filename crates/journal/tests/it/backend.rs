//! The stores behind one face: each with the app's own table beside it, where it has one.

use std::path::Path;
use std::sync::Arc;

use mainstay_journal::{
    Error, FileStore, MemoryStore, MySqlStore, PgStore, SqliteStore, Store, Unit,
};
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::gate::{Gate, Mortal, died};
use crate::servers;

/// The app's own database.
#[derive(Clone)]
pub(crate) enum Forms {
    None,
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// A store, and the app's database that it is in.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) forms: Forms,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS form (id VARCHAR(200) PRIMARY KEY)";

pub(crate) fn memory() -> Backend {
    Backend {
        store: Arc::new(MemoryStore::default()),
        forms: Forms::None,
    }
}

pub(crate) fn file(path: &Path) -> Backend {
    Backend {
        store: Arc::new(FileStore::open(path).unwrap()),
        forms: Forms::None,
    }
}

pub(crate) async fn sqlite(path: &Path) -> Backend {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(std::time::Duration::from_secs(30))
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new()
        .max_connections(8)
        .connect_with(options)
        .await
        .unwrap();
    sqlx::query(TABLE).execute(&pool).await.unwrap();
    Backend {
        store: Arc::new(SqliteStore::open(pool.clone()).await.unwrap()),
        forms: Forms::Sqlite(pool),
    }
}

pub(crate) async fn mysql(directory: &Path, skip_locked: bool) -> Backend {
    let options = servers::mariadb_options(directory);
    let pool = MySqlPoolOptions::new().max_connections(4);
    let store = MySqlStore::open(pool.clone().connect_with(options.clone()).await.unwrap())
        .await
        .unwrap();
    let store = if skip_locked {
        store
    } else {
        store.without_skip_locked()
    };
    let forms = pool
        .max_connections(16)
        .connect_with(options)
        .await
        .unwrap();
    sqlx::query(TABLE).execute(&forms).await.unwrap();
    Backend {
        store: Arc::new(store),
        forms: Forms::MySql(forms),
    }
}

pub(crate) async fn postgres(directory: &Path, skip_locked: bool) -> Backend {
    let options = servers::postgres_options(directory);
    let pool = PgPoolOptions::new().max_connections(4);
    let store = PgStore::open(pool.clone().connect_with(options.clone()).await.unwrap())
        .await
        .unwrap();
    let store = if skip_locked {
        store
    } else {
        store.without_skip_locked()
    };
    let forms = pool
        .max_connections(16)
        .connect_with(options)
        .await
        .unwrap();
    sqlx::query(TABLE).execute(&forms).await.unwrap();
    Backend {
        store: Arc::new(store),
        forms: Forms::Postgres(forms),
    }
}

/// Inserts the form and commits the work with it in one transaction, dying where the gate says so.
macro_rules! submit {
    ($pool:expr, $unit:expr, $gate:expr, $insert:expr) => {{
        let (gate, unit) = ($gate, $unit);
        let database = |error: sqlx::Error| Error::store("use the app's database", error);
        gate.check()?;
        let mut transaction = $pool.begin().await.map_err(database)?;
        let id = unit.id().to_owned();
        sqlx::query($insert)
            .bind(id)
            .execute(&mut *transaction)
            .await
            .map_err(database)?;
        gate.check()?;
        let sealed = unit
            .commit_in(&mut Mortal {
                inner: &mut *transaction,
                gate: Arc::clone(gate),
            })
            .await?;
        gate.check()?;
        let committed = transaction.commit().await;
        if !gate.pass() {
            // The answer got lost with the process.
            return Err(died());
        }
        sealed.settle(committed).await
    }};
}

impl Backend {
    /// Commits a unit, with a form of the same id where there is a database.
    pub(crate) async fn submit(&self, unit: Unit, gate: &Arc<Gate>) -> Result<(), Error> {
        const PLAIN: &str = "INSERT INTO form (id) VALUES (?)";
        match &self.forms {
            Forms::None => unit.commit().await,
            Forms::Sqlite(pool) => submit!(pool, unit, gate, PLAIN),
            Forms::MySql(pool) => submit!(pool, unit, gate, PLAIN),
            Forms::Postgres(pool) => {
                submit!(pool, unit, gate, "INSERT INTO form (id) VALUES ($1)")
            }
        }
    }

    /// Whether the form is there; `None` where there is no database.
    pub(crate) async fn has_form(&self, id: &str) -> Option<bool> {
        const PLAIN: &str = "SELECT COUNT(*) FROM form WHERE id = ?";
        let count: i64 = match &self.forms {
            Forms::None => return None,
            Forms::Sqlite(pool) => sqlx::query_scalar(PLAIN).bind(id).fetch_one(pool).await,
            Forms::MySql(pool) => sqlx::query_scalar(PLAIN).bind(id).fetch_one(pool).await,
            Forms::Postgres(pool) => {
                let text = "SELECT COUNT(*) FROM form WHERE id = $1";
                sqlx::query_scalar(text).bind(id).fetch_one(pool).await
            }
        }
        .unwrap();
        Some(count == 1)
    }
}

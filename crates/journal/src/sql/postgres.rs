//! `PostgreSQL`.

use sqlx::postgres::{PgConnection, PgPool, Postgres};

use super::{INSERT, SKIP, numbered, unsigned};
use crate::error::Error;

/// The table, for those who run migrations of their own.
pub const POSTGRES_SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS mainstay_journal (
        kind TEXT COLLATE \"C\" NOT NULL,
        id TEXT COLLATE \"C\" NOT NULL,
        version BIGINT NOT NULL,
        status TEXT COLLATE \"C\" NOT NULL,
        owner TEXT COLLATE \"C\" NOT NULL,
        wake BIGINT NOT NULL,
        body BYTEA NOT NULL,
        PRIMARY KEY (kind, id)
    )",
    "CREATE INDEX IF NOT EXISTS mainstay_journal_wake ON mainstay_journal (status, wake)",
];

/// A journal in a `PostgreSQL` database, which any number of processes can share.
pub struct PgStore {
    pool: PgPool,
    skip: &'static str,
}

impl PgStore {
    /// The journal in that database; makes the table where there is none. Give it a pool of its own,
    /// of two or three connections: in a pool that requests hold transactions from, the last one
    /// would wait for itself.
    pub async fn open(pool: PgPool) -> Result<Self, Error> {
        let failed = |error| Error::store("open the journal in PostgreSQL", error);
        let probe = "SELECT 1 FROM mainstay_journal WHERE kind = ''";
        if sqlx::query(probe).execute(&pool).await.is_err() {
            for statement in POSTGRES_SCHEMA {
                if let Err(error) = sqlx::query(*statement).execute(&pool).await
                    // Two that create it at once: one gets an error although the table is there.
                    && sqlx::query(probe).execute(&pool).await.is_err()
                {
                    return Err(failed(error));
                }
            }
        }
        let commit: String = sqlx::query_scalar("SHOW synchronous_commit")
            .fetch_one(&pool)
            .await
            .map_err(failed)?;
        if commit == "off" {
            log::warn!(
                "synchronous_commit is off: a crash of the database can lose intents of the journal; set it to on for its connections"
            );
        }
        Ok(Self { pool, skip: SKIP })
    }

    /// The same without `SKIP LOCKED`, as for databases that only speak like `PostgreSQL`.
    #[must_use]
    pub fn without_skip_locked(mut self) -> Self {
        self.skip = "";
        self
    }
}

/// By the server's clock.
async fn now(connection: &mut PgConnection) -> Result<Millis, sqlx::Error> {
    let text = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    sqlx::query_scalar::<_, i64>(text)
        .fetch_one(connection)
        .await
        .map(unsigned)
}

fn insert() -> String {
    // A duplicate must not break the caller's transaction.
    format!("{INSERT} ON CONFLICT DO NOTHING")
}

super::store!(PgStore, Postgres, PgConnection, numbered, &insert());

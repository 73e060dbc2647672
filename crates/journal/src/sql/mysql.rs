//! `MySQL` and `MariaDB`.

use sqlx::mysql::{MySql, MySqlConnection, MySqlPool};

use super::{INSERT, SKIP, plain, unsigned};
use crate::error::Error;

/// The table, for those who run migrations of their own.
pub const MYSQL_SCHEMA: &[&str] = &["CREATE TABLE IF NOT EXISTS mainstay_journal (
        kind VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        id VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        version BIGINT NOT NULL,
        status VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        owner VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        wake BIGINT NOT NULL,
        body LONGBLOB NOT NULL,
        PRIMARY KEY (kind, id),
        KEY mainstay_journal_wake (status, wake)
    ) ENGINE = InnoDB"];

/// A journal in a `MySQL` or `MariaDB` database, which any number of processes can share.
pub struct MySqlStore {
    pool: MySqlPool,
    skip: &'static str,
}

impl MySqlStore {
    /// The journal in that database; makes the table where there is none. Give it a pool of its own,
    /// of two or three connections: in a pool that requests hold transactions from, the last one
    /// would wait for itself.
    pub async fn open(pool: MySqlPool) -> Result<Self, Error> {
        let failed = |error| Error::store("open the journal in MySQL", error);
        let probe = "SELECT 1 FROM mainstay_journal WHERE kind = ''";
        if sqlx::query(probe).execute(&pool).await.is_err() {
            // Who may not create tables finds one that somebody else created.
            for statement in MYSQL_SCHEMA {
                sqlx::query(*statement)
                    .execute(&pool)
                    .await
                    .map_err(failed)?;
            }
        }
        let flush: i64 =
            sqlx::query_scalar("SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)")
                .fetch_one(&pool)
                .await
                .map_err(failed)?;
        if flush != 1 {
            log::warn!(
                "innodb_flush_log_at_trx_commit is {flush}: a crash of the database's machine can lose intents of the journal; set it to 1"
            );
        }
        // From MySQL 8.0 and MariaDB 10.6 on; others claim row by row, which is as safe.
        let skips = sqlx::query(plain(&format!("{probe}{SKIP}")))
            .execute(&pool)
            .await
            .is_ok();
        Ok(Self {
            pool,
            skip: if skips { SKIP } else { "" },
        })
    }

    /// The same without `SKIP LOCKED`, as on servers that do not know it.
    #[must_use]
    pub fn without_skip_locked(mut self) -> Self {
        self.skip = "";
        self
    }
}

/// By the server's clock, in UTC: local time comes twice when the clocks go back.
async fn now(connection: &mut MySqlConnection) -> Result<Millis, sqlx::Error> {
    let text = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000";
    sqlx::query_scalar::<_, i64>(text)
        .fetch_one(connection)
        .await
        .map(unsigned)
}

// INSERT IGNORE would also ignore what does not fit; a duplicate leaves a transaction as it is.
super::store!(MySqlStore, MySql, MySqlConnection, plain, INSERT);

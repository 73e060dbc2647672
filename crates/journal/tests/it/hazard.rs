//! What happens to a connection of sqlx's `MySQL` driver when a transaction is dropped while a
//! statement of it is being prepared, and what does not happen when the connection is closed.
//!
//! The driver notes that one answer is awaited, although a prepared statement has several packets
//! of answer. Dropping the transaction queues a ROLLBACK, whose answer is then looked for in the
//! rest of the first one; so whoever uses the connection next, and be it the pool on taking it
//! back, waits for packets that never come.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use sqlx::mysql::{MySql, MySqlPool, MySqlPoolOptions};

use crate::servers;

/// Until something is taken for hanging. Too short makes no test fail that should pass.
const PATIENCE: Duration = Duration::from_secs(5);

async fn pool(directory: &Path) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .connect_with(servers::mariadb_options(directory))
        .await
        .unwrap()
}

/// Begins a transaction that has written, and leaves it in the middle of a statement that the
/// server has not prepared before: once polled, it has been sent and waits.
async fn cut(pool: &MySqlPool, id: &str) -> sqlx::Transaction<'static, MySql> {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO form (id) VALUES (?)")
        .bind(id)
        .execute(&mut *transaction)
        .await
        .unwrap();
    {
        let statement = sqlx::query("SELECT COUNT(*) FROM form WHERE id = ? AND id <> ?")
            .bind(id)
            .bind("")
            .fetch_one(&mut *transaction);
        let mut statement = pin!(statement);
        let mut context = Context::from_waker(Waker::noop());
        assert!(statement.as_mut().poll(&mut context).is_pending());
    }
    transaction
}

async fn answers(pool: &MySqlPool) -> bool {
    let question = sqlx::query_scalar::<_, i64>("SELECT 42").fetch_one(pool);
    matches!(tokio::time::timeout(PATIENCE, question).await, Ok(Ok(42)))
}

/// The hazard itself. If this fails, the driver is mended: then what docs/journal.md says about it
/// has to be looked at again.
///
/// It depends on how much of the answer is there when the statement is left, which a busy machine
/// decides: so it is tried some times.
pub(crate) async fn a_dropped_transaction_spoils_its_connection(directory: &Path) {
    const TRIES: usize = 50;
    for number in 0..TRIES {
        let pool = pool(directory).await;
        assert!(answers(&pool).await);
        let transaction = cut(&pool, &format!("dropped {number}")).await;
        drop(transaction);
        let healthy = answers(&pool).await;
        let closes = tokio::time::timeout(PATIENCE, pool.close()).await.is_ok();
        println!("after a drop: the pool answers: {healthy}, closes: {closes}");
        if !healthy || !closes {
            return;
        }
    }
    panic!("the driver does not have the fault any more");
}

/// What there is to do instead: the connection leaves the pool and is closed; the server rolls back.
pub(crate) async fn a_closed_one_does_not(directory: &Path) {
    let pool = pool(directory).await;
    let mut connection = pool.acquire().await.unwrap();
    {
        // The transaction is the connection's, so that there is something left to close.
        sqlx::query("BEGIN")
            .execute(&mut *connection)
            .await
            .unwrap();
        sqlx::query("INSERT INTO form (id) VALUES ('closed')")
            .execute(&mut *connection)
            .await
            .unwrap();
        let statement = sqlx::query("SELECT COUNT(*) FROM form WHERE id <> ? AND id = ?")
            .bind("")
            .bind("closed")
            .fetch_one(&mut *connection);
        let mut statement = pin!(statement);
        let mut context = Context::from_waker(Waker::noop());
        assert!(statement.as_mut().poll(&mut context).is_pending());
    }
    drop(connection.detach());
    assert!(answers(&pool).await);
    // The server notices the closed socket in its own time; a lock that it still held would be
    // waited for here.
    sqlx::query("INSERT INTO form (id) VALUES ('closed')")
        .execute(&pool)
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE * 10, pool.close())
        .await
        .unwrap();
}

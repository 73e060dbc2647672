//! Servers of the tests' own, and pools of connections to them.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use testbed::Server;

/// How many connections a pool of the tests has at most.
const CONNECTIONS: u32 = 20;

pub(crate) fn mariadb_options(directory: &Path) -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .socket(directory.join("s"))
        .username("root")
        .database("mysql")
}

pub(crate) fn postgres_options(directory: &Path) -> PgConnectOptions {
    PgConnectOptions::new()
        .host(&directory.display().to_string())
        .username("postgres")
        .database("postgres")
}

/// Tries until it works.
async fn eventually<T, E: std::fmt::Display>(
    server: &mut Server,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(why) => server.expect_more(begun, &why),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn mariadb_pool(server: &mut Server) -> MySqlPool {
    let options = mariadb_options(server.directory());
    let pool = eventually(server, async || {
        MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options.clone())
            .await
    });
    pool.await
}

pub(crate) async fn postgres_pool(server: &mut Server) -> PgPool {
    let options = postgres_options(server.directory());
    let pool = eventually(server, async || {
        PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options.clone())
            .await
    });
    pool.await
}

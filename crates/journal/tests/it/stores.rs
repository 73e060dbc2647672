//! Each store through the same suites. A database is started once for all that is tried on it.

use crate::backend;
use crate::conformance;
use crate::crash::{self, Place};
use crate::hazard;
use crate::servers;
use crate::units;

#[tokio::test]
async fn memory() {
    let backend = backend::memory();
    conformance::all(&backend.store).await;
    units::all(&backend).await;
    crash::at_every_point(&backend, 40).await;
}

#[tokio::test]
async fn file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let backend = backend::file(&path);
    conformance::all(&backend.store).await;
    units::all(&backend).await;
    crash::at_every_point(&backend, 20).await;
    drop(backend);
    crash::killed_at_every_point(&Place::File(directory.path().join("killed"))).await;
}

#[tokio::test]
async fn sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let backend = backend::sqlite(&path).await;
    conformance::all(&backend.store).await;
    units::all(&backend).await;
    crash::at_every_point(&backend, 4).await;
    crash::killed_at_every_point(&Place::Sqlite(path)).await;
}

#[tokio::test]
async fn mariadb() {
    let Some(mut server) = testbed::mariadb(&["--skip-networking"]) else {
        return;
    };
    let pool = servers::mariadb_pool(&mut server).await;
    let directory = server.directory().to_owned();
    let portable = backend::mysql(&directory, false).await;
    conformance::all(&portable.store).await;
    let backend = backend::mysql(&directory, true).await;
    conformance::all(&backend.store).await;
    units::all(&backend).await;
    crash::at_every_point(&backend, 12).await;
    crash::killed_at_every_point(&Place::MySql(directory.clone())).await;
    hazard::a_dropped_transaction_spoils_its_connection(&directory).await;
    hazard::a_closed_one_does_not(&directory).await;
    pool.close().await;
}

#[tokio::test]
async fn postgres() {
    let Some(mut server) = testbed::postgres() else {
        return;
    };
    let pool = servers::postgres_pool(&mut server).await;
    let directory = server.directory().to_owned();
    let portable = backend::postgres(&directory, false).await;
    conformance::all(&portable.store).await;
    let backend = backend::postgres(&directory, true).await;
    conformance::all(&backend.store).await;
    units::all(&backend).await;
    crash::at_every_point(&backend, 12).await;
    crash::killed_at_every_point(&Place::Postgres(directory)).await;
    pool.close().await;
}

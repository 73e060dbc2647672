//! The request's transaction, and all that is committed with it, on each database.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_journal::{Failure, Journal, Store};
use mainstay_web::Guard;

use crate::client::PATIENCE;
use crate::{log, servers};

/// A third party: what exists there, by key, and mails that were sent.
#[derive(Clone, Default)]
pub(crate) struct Crm {
    customers: Arc<Mutex<BTreeSet<String>>>,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Crm {
    pub(crate) fn create(&self, key: &str) {
        self.customers.lock().unwrap().insert(key.to_owned());
    }
    pub(crate) fn count(&self) -> usize {
        self.customers.lock().unwrap().len()
    }
    pub(crate) fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }

    /// A journal with its undo and its mail.
    pub(crate) fn journal(&self, store: impl Store) -> mainstay_journal::Builder {
        let customers = Arc::clone(&self.customers);
        let mails = Arc::clone(&self.mails);
        Journal::with(store)
            .undo("crm.create", move |step| {
                let customers = Arc::clone(&customers);
                async move {
                    customers.lock().unwrap().remove(&step.key());
                    Ok::<(), Failure>(())
                }
            })
            .action("mail.thanks", move |action| {
                let mails = Arc::clone(&mails);
                async move {
                    let to = action.args()["to"].as_str().unwrap_or_default().to_owned();
                    mails.lock().unwrap().push(to);
                    Ok::<(), Failure>(())
                }
            })
    }
}

/// The guard of these tests: who owns a key says so in a header.
pub(crate) fn guard(crm: &Crm, store: impl Store) -> mainstay_web::Builder {
    log::listen();
    Guard::builder()
        .deadline(Duration::from_millis(400))
        .journal(crm.journal(store))
        .idempotency(Duration::from_hours(1), |parts| {
            let user = parts.headers.get("x-user")?;
            user.to_str().ok().map(str::to_owned)
        })
}

/// The same suite for each database. Statements are texts without parameters, which all three take.
macro_rules! suite {
    ($name:ident, $database:ty, $sleep:expr, $break_commit:expr, $broken:expr) => {
        pub(crate) mod $name {
            use std::sync::Arc;

            use axum::Router;
            use axum::extract::Path;
            use axum::http::StatusCode;
            use axum::response::{IntoResponse, Response};
            use axum::routing::{get, post};
            use mainstay_fault::{Class, Verdict};
            use mainstay_journal::{Failure, Store};
            use mainstay_web::{Failed, Outcome, Work};
            use serde_json::json;
            use sqlx::{AssertSqlSafe, Pool};
            use tokio::sync::Semaphore;

            use crate::client::{ask, eventually, post as ask_for, reply, send, serve};
            use crate::database::{Crm, guard};
            use crate::log;

            type Here = Work<$database>;
            type Answer = Result<String, Failed>;

            async fn insert(work: &mut Here, id: &str) -> Result<(), Failed> {
                let text = format!("INSERT INTO form (id) VALUES ('{id}')");
                sqlx::query(AssertSqlSafe(text))
                    .execute(&mut *work.tx().await?)
                    .await?;
                Ok(())
            }

            async fn rows(pool: &Pool<$database>, id: &str) -> i64 {
                let text = format!("SELECT COUNT(*) FROM form WHERE id = '{id}'");
                sqlx::query_scalar(AssertSqlSafe(text))
                    .fetch_one(pool)
                    .await
                    .unwrap()
            }

            async fn good(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                Ok(format!("thanks {id}"))
            }

            async fn fails(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                Err(Failed::told(Class::Internal, "it fails"))
            }

            async fn twice(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                insert(&mut work, &id).await?;
                Ok(id)
            }

            async fn status(
                mut work: Here,
                Path((id, code)): Path<(String, u16)>,
            ) -> Result<StatusCode, Failed> {
                insert(&mut work, &id).await?;
                Ok(StatusCode::from_u16(code).unwrap())
            }

            async fn counted(mut work: Here, Path(id): Path<String>) -> Result<Response, Failed> {
                insert(&mut work, &id).await?;
                let mut response = StatusCode::UNAUTHORIZED.into_response();
                response.extensions_mut().insert(Outcome::Commit);
                Ok(response)
            }

            async fn panics(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                panic!("after the row");
            }

            async fn panics_with_it(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                let _tx = work.tx().await?;
                panic!("with the transaction");
            }

            async fn late(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                std::future::pending().await
            }

            /// Is stopped in the middle of a statement.
            async fn late_in_it(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                let mut tx = work.tx().await?;
                if let Some(sleep) = $sleep {
                    let sleep: &str = sleep;
                    sqlx::query(AssertSqlSafe(sleep.to_owned()))
                        .execute(&mut *tx)
                        .await?;
                }
                std::future::pending().await
            }

            /// Something of the request still has its transaction when it ends.
            async fn lends(
                gate: Arc<Semaphore>,
                mut work: Here,
                Path(id): Path<String>,
            ) -> Answer {
                insert(&mut work, &id).await?;
                let (has, had) = tokio::sync::oneshot::channel();
                tokio::spawn(async move {
                    let _tx = work.tx().await.unwrap();
                    has.send(()).unwrap();
                    gate.acquire().await.unwrap().forget();
                });
                had.await.unwrap();
                Ok(id)
            }

            async fn cannot_commit(mut work: Here, Path(id): Path<String>) -> Answer {
                insert(&mut work, &id).await?;
                let text: &str = $break_commit;
                let _ = sqlx::query(AssertSqlSafe(text.to_owned()))
                    .execute(&mut *work.tx().await?)
                    .await;
                Ok(id)
            }

            /// A step, a row, a mail; `how` says what goes wrong.
            async fn order(
                crm: Crm,
                mut work: Here,
                Path((id, how)): Path<(String, String)>,
            ) -> Answer {
                work.step("crm.create", json!({ "form": id }))
                    .run(|act| {
                        let (crm, how) = (crm.clone(), how.clone());
                        async move {
                            if how == "refused" {
                                return Err(Failure::refused("no"));
                            }
                            crm.create(act.key());
                            if how == "unknown" {
                                return Err(Failure::unknown("the connection broke"));
                            }
                            Ok(())
                        }
                    })
                    .await?;
                insert(&mut work, &id).await?;
                work.after_commit("mail.thanks", json!({ "to": id }))?;
                match how.as_str() {
                    "fails" => Err(Failed::told(Verdict::conflict("no"), "x")),
                    "panics" => panic!("after the step"),
                    "late" => std::future::pending().await,
                    _ => Ok(id),
                }
            }

            pub(crate) async fn all(pool: Pool<$database>, store: impl Store) {
                for statement in [
                    "CREATE TABLE form (id VARCHAR(64) PRIMARY KEY)",
                    "CREATE TABLE child (id VARCHAR(64) REFERENCES form (id) DEFERRABLE INITIALLY DEFERRED)",
                ] {
                    let text = statement.to_owned();
                    let created = sqlx::query(AssertSqlSafe(text)).execute(&pool).await;
                    // Not every database can look at a reference later.
                    assert!(created.is_ok() || statement.contains("DEFERRABLE"), "{created:?}");
                }
                let crm = Crm::default();
                let guard = guard(&crm, store).database(pool.clone()).start().await.unwrap();
                let gate = Arc::new(Semaphore::new(0));
                let app = Router::new()
                    .route("/good/{id}", post(good))
                    .route("/fails/{id}", post(fails))
                    .route("/twice/{id}", post(twice))
                    .route("/status/{id}/{code}", post(status))
                    .route("/counted/{id}", post(counted))
                    .route("/panics/{id}", post(panics))
                    .route("/panics-with-it/{id}", post(panics_with_it))
                    .route("/late/{id}", post(late))
                    .route("/late-in-it/{id}", post(late_in_it))
                    .route("/lends/{id}", {
                        let gate = Arc::clone(&gate);
                        post(async move |work: Here, id: Path<String>| lends(gate, work, id).await)
                    })
                    .route("/cannot-commit/{id}", post(cannot_commit))
                    .route("/order/{id}/{how}", {
                        let crm = crm.clone();
                        post(async move |work: Here, path: Path<(String, String)>| {
                            order(crm, work, path).await
                        })
                    })
                    .layer(guard.layer());
                // What waits for a client here must not run into a deadline.
                let patient = Router::new()
                    .route("/waits/{id}", {
                        let gate = Arc::clone(&gate);
                        post(async move |mut work: Here, Path(id): Path<String>| {
                            // Before the transaction: with SQLite, others could not even ask
                            // for the key meanwhile.
                            gate.acquire().await.unwrap().forget();
                            insert(&mut work, &id).await?;
                            Ok::<_, Failed>(id)
                        })
                    })
                    .route("/left/{id}", {
                        // As a GET, which is cut off when its client leaves.
                        get(async move |mut work: Here, Path(id): Path<String>| {
                            insert(&mut work, &id).await?;
                            std::future::pending::<Answer>().await
                        })
                    })
                    .layer(guard.layer().deadline(crate::client::PATIENCE));
                let server = serve(app.merge(patient)).await;

                for (path, expected, kept) in [
                    ("good", 200, 1),
                    ("fails", 500, 0),
                    ("twice", 409, 0),
                    ("counted", 401, 1),
                    ("panics", 500, 0),
                    ("panics-with-it", 500, 0),
                    ("late", 503, 0),
                    ("late-in-it", 503, 0),
                    ("cannot-commit", $broken, 0),
                    // The last: until the gate opens, it has what others would wait for.
                    ("lends", 500, 0),
                ] {
                    let answer = ask_for(server, &format!("/{path}/{path}")).await;
                    assert_eq!(answer.status, expected, "{path}: {}", answer.text());
                    eventually(path, async || rows(&pool, path).await == kept).await;
                    if expected != 200 {
                        let code = answer.header("x-fault-id");
                        assert!(!log::lines_with(code).is_empty(), "{path}");
                    }
                }
                gate.add_permits(1);
                for (code, kept) in [(204, 1), (303, 1), (400, 0), (404, 0), (503, 0)] {
                    let id = format!("status-{code}");
                    let answer = ask_for(server, &format!("/status/{id}/{code}")).await;
                    assert_eq!((answer.status, rows(&pool, &id).await), (code, kept), "{code}");
                }

                for (how, expected, kept) in [
                    ("fails", 409, 0),
                    ("panics", 500, 0),
                    ("late", 503, 0),
                    ("refused", 502, 0),
                    ("unknown", 502, 0),
                ] {
                    let id = format!("order-{how}");
                    let answer = ask_for(server, &format!("/order/{id}/{how}")).await;
                    assert_eq!(answer.status, expected, "{how}: {}", answer.text());
                    eventually(how, async || {
                        rows(&pool, &id).await == kept && crm.count() == 0
                    })
                    .await;
                }
                assert!(crm.mails().is_empty());
                let answer = ask_for(server, "/order/order-good/good").await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!((rows(&pool, "order-good").await, crm.count()), (1, 1));
                eventually("the mail", async || crm.mails() == ["order-good"]).await;

                // The same request twice, another one with its key, and one of somebody else.
                let key = "idempotency-key: \"k1\"\r\nx-user: anna\r\n";
                let first = ask(server, "POST /good/once", key, "a=1").await;
                let second = ask(server, "POST /good/once", key, "a=1").await;
                assert_eq!((first.status, first.text()), (200, "thanks once".into()));
                assert_eq!((second.status, second.text()), (200, first.text()));
                assert_eq!(second.header("idempotency-replayed"), "true");
                assert_eq!(second.header("content-type"), first.header("content-type"));
                assert_eq!(ask(server, "POST /good/once", key, "a=2").await.status, 422);
                let other = "idempotency-key: k1\r\nx-user: bert\r\n";
                assert_eq!(ask(server, "POST /good/once", other, "a=1").await.status, 409);
                assert_eq!(rows(&pool, "once").await, 1);
                // One that failed did nothing, and may be made again. Its key is given back a moment
                // after the answer.
                let key = "idempotency-key: k2\r\nx-user: anna\r\n";
                let failed = ask(server, "POST /fails/again", key, "").await;
                assert_eq!(failed.status, 500);
                eventually("the key is free again", async || {
                    ask(server, "POST /fails/again", key, "").await.status == 500
                })
                .await;
                let bad = "idempotency-key: two words\r\nx-user: anna\r\n";
                assert_eq!(ask(server, "POST /good/bad", bad, "").await.status, 400);
                // While one is at it, nobody else is; which begins, is chance.
                let key = "idempotency-key: k3\r\nx-user: anna\r\n";
                let request = format!(
                    "POST /waits/waits HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{key}content-length: 0\r\n\r\n"
                );
                let one = tokio::spawn(reply(send(server, &request).await));
                let two = tokio::spawn(reply(send(server, &request).await));
                eventually("one is turned away", async || {
                    one.is_finished() || two.is_finished()
                })
                .await;
                gate.add_permits(1);
                let mut statuses = [one.await.unwrap().status, two.await.unwrap().status];
                statuses.sort_unstable();
                assert_eq!(statuses, [200, 409]);

                // A client that leaves a GET, and the pool after all of that.
                let stream = send(server, "GET /left/left HTTP/1.1\r\nhost: x\r\n\r\n").await;
                drop(stream);
                eventually("the pool is whole", async || {
                    let all = async {
                        let mut held = Vec::new();
                        for _ in 0..pool.options().get_max_connections() {
                            held.push(pool.acquire().await?);
                        }
                        sqlx::query("SELECT 42").execute(&mut *held[0]).await
                    };
                    all.await.is_ok()
                })
                .await;
                assert_eq!(rows(&pool, "left").await, 0);
                assert_eq!(guard.shutdown(crate::client::PATIENCE).await, 0);
                let closed = tokio::time::timeout(crate::client::PATIENCE, pool.close()).await;
                assert!(closed.is_ok(), "every connection came back or was closed");
            }
        }
    };
}

suite!(
    sqlite,
    sqlx::Sqlite,
    None::<&str>,
    "INSERT INTO child (id) VALUES ('nobody')",
    409
);
suite!(
    mariadb,
    sqlx::MySql,
    Some("SELECT SLEEP(600)"),
    "KILL CONNECTION_ID()",
    503
);
suite!(
    postgres,
    sqlx::Postgres,
    Some("SELECT pg_sleep(600)"),
    "INSERT INTO child (id) VALUES ('nobody')",
    409
);

/// A pool whose waits end well before the tests' patience.
const ACQUIRE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(directory.path().join("app.db"))
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .busy_timeout(PATIENCE)
        .create_if_missing(true);
    let pool = |connections| {
        sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.clone())
    };
    let store = mainstay_journal::SqliteStore::open(pool(2).await.unwrap());
    sqlite::all(pool(4).await.unwrap(), store.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mariadb() {
    let Some(mut server) = testbed::mariadb(&["--skip-networking"]) else {
        return;
    };
    servers::mariadb_pool(&mut server).await.close().await;
    let options = servers::mariadb_options(server.directory());
    let pool = |connections| {
        sqlx::mysql::MySqlPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.clone())
    };
    let store = mainstay_journal::MySqlStore::open(pool(3).await.unwrap());
    mariadb::all(pool(4).await.unwrap(), store.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let Some(mut server) = testbed::postgres() else {
        return;
    };
    servers::postgres_pool(&mut server).await.close().await;
    let options = servers::postgres_options(server.directory());
    let pool = |connections| {
        sqlx::postgres::PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.clone())
    };
    let store = mainstay_journal::PgStore::open(pool(3).await.unwrap());
    postgres::all(pool(4).await.unwrap(), store.await.unwrap()).await;
}

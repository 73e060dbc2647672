//! What is refused, and what is resumed, without a server of a database.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use mainstay_journal::{FileStore, MemoryStore, Settings, SqliteStore};
use mainstay_web::{ErrorKind, Failed, Guard, Work};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use crate::client::{PATIENCE, eventually, post as ask_for, send, serve};
use crate::database::{Crm, guard};
use crate::log;

async fn sqlite(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .busy_timeout(PATIENCE)
        .create_if_missing(true);
    SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_and_not_there_is_said() {
    log::listen();
    let directory = tempfile::tempdir().unwrap();
    let pool = sqlite(&directory.path().join("app.db")).await;

    assert_eq!(
        Work::<()>::current().err().unwrap().kind(),
        ErrorKind::Unguarded
    );
    let without_journal = Guard::builder()
        .idempotency(Duration::from_secs(1), |_| None)
        .start()
        .await;
    assert_eq!(without_journal.err().unwrap().kind(), ErrorKind::Start);
    let elsewhere = FileStore::open(directory.path().join("journal")).unwrap();
    let apart = guard(&Crm::default(), elsewhere).database(pool.clone());
    let error = apart.start().await.err().unwrap();
    assert!(error.to_string().contains("mainstay_journal"), "{error}");

    let bare = Guard::builder().start().await.unwrap();
    let app = Router::new()
        .route(
            "/tx",
            post(async |mut work: Work<sqlx::Sqlite>| work.tx().await.err().unwrap().to_string()),
        )
        .route(
            "/step",
            post(async |mut work: Work| {
                let step = work.step("crm.create", json!(1));
                let done = step.run(async |_| Ok(())).await;
                done.unwrap_err().to_string()
            }),
        )
        .layer(bare.layer());
    let server = serve(app).await;
    let text = ask_for(server, "/tx").await.text();
    assert!(text.contains("the guard has no pool"), "{text}");
    let text = ask_for(server, "/step").await.text();
    assert!(text.contains("the guard has no journal"), "{text}");

    let store = SqliteStore::open(pool.clone()).await.unwrap();
    let full = guard(&Crm::default(), store)
        .database(pool)
        .start()
        .await
        .unwrap();
    let app = Router::new()
        .route(
            "/other",
            post(async |mut work: Work<sqlx::Postgres>| {
                drop(work.tx().await?);
                Ok::<_, Failed>("never")
            }),
        )
        .route(
            "/late-step",
            post(async |mut work: Work<sqlx::Sqlite>| {
                drop(work.tx().await?);
                let step = work.step("crm.create", json!(1));
                step.run(async |_| Ok(())).await?;
                Ok::<_, Failed>("never")
            }),
        )
        .layer(full.layer());
    let server = serve(app).await;
    for (path, why) in [
        ("/other", "a pool of another database"),
        ("/late-step", "one writer at a time"),
    ] {
        let reply = ask_for(server, path).await;
        assert_eq!(reply.status, 500);
        let said = &log::lines_with(reply.header("x-fault-id"))[0];
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_need_no_database() {
    let crm = Crm::default();
    let guard = guard(&crm, MemoryStore::default()).start().await.unwrap();
    let app = Router::new()
        .route("/{how}", {
            let crm = crm.clone();
            post(
                async move |mut work: Work, how: axum::extract::Path<String>| {
                    work.step("crm.create", json!(1))
                        .run(|act| {
                            let crm = crm.clone();
                            async move {
                                crm.create(act.key());
                                Ok(())
                            }
                        })
                        .await?;
                    work.after_commit("mail.thanks", json!({ "to": *how }))?;
                    if *how == "fails" {
                        return Err(Failed::told(mainstay_fault::Class::Internal, "it fails"));
                    }
                    // One that is cut off leaves nobody knowing what it did.
                    if *how == "cut" {
                        let step = work.step("crm.create", json!(2));
                        let never = step.run(|act| {
                            crm.create(act.key());
                            std::future::pending::<Result<(), mainstay_journal::Failure>>()
                        });
                        let _ = tokio::time::timeout(Duration::from_millis(1), never).await;
                    }
                    Ok("done")
                },
            )
        })
        .layer(guard.layer());
    let server = serve(app).await;
    for how in ["fails", "cut"] {
        assert_eq!(
            ask_for(server, &format!("/{how}")).await.status,
            500,
            "{how}"
        );
        eventually(how, async || crm.count() == 0).await;
    }
    assert_eq!(ask_for(server, "/good").await.status, 200);
    eventually("the mail", async || crm.mails() == ["good"]).await;
    assert_eq!(crm.count(), 1);
}

/// A process that dies in the middle of a request is one whose runtime is gone.
#[test]
fn what_a_crash_left_behind_is_undone_at_the_next_start() {
    log::listen();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.db");
    let crm = Crm::default();
    let settings = || Settings {
        lease: Duration::from_secs(1),
        ..Settings::default()
    };
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    first.block_on(async {
        let pool = sqlite(&file).await;
        let store = SqliteStore::open(pool.clone()).await.unwrap();
        let journal = crm.journal(store).settings(settings());
        let guard = Guard::builder()
            .journal(journal)
            .database(pool)
            .start()
            .await
            .unwrap();
        let app = Router::new()
            .route("/", {
                let crm = crm.clone();
                post(
                    async move |mut work: Work<sqlx::Sqlite>| -> Result<(), Failed> {
                        work.step("crm.create", json!(1))
                            .run(|act| {
                                crm.create(act.key());
                                std::future::ready(Ok(()))
                            })
                            .await?;
                        sqlx::query("CREATE TABLE form (id TEXT)")
                            .execute(&mut *work.tx().await?)
                            .await?;
                        std::future::pending().await
                    },
                )
            })
            .layer(guard.layer());
        let server = serve(app).await;
        let _open = send(
            server,
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        eventually("the step", async || crm.count() == 1).await;
    });
    first.shutdown_timeout(Duration::ZERO);
    assert_eq!(crm.count(), 1, "nobody was there to undo it");
    runtime().block_on(async {
        let pool = sqlite(&file).await;
        let store = SqliteStore::open(pool.clone()).await.unwrap();
        let journal = crm.journal(store).settings(settings());
        let guard = Guard::builder()
            .journal(journal)
            .database(pool.clone())
            .start()
            .await
            .unwrap();
        eventually("the undo", async || crm.count() == 0).await;
        let tables: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE name = 'form'")
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(tables, 0, "the transaction went with the process");
        guard.shutdown(PATIENCE).await;
    });
}

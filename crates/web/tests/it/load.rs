//! Too many requests, too slow ones, and the end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use mainstay_web::{Guard, Work};
use tokio::sync::Semaphore;

use crate::client::{PATIENCE, eventually, get as ask_for, post as send_to, reply, send, serve};
use crate::log;

const GET: &str = "GET /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_turned_away_and_what_waits_is_served() {
    log::listen();
    let gate = Arc::new(Semaphore::new(0));
    let begun = Arc::new(Semaphore::new(0));
    let guard = Guard::builder()
        .shed(2)
        .patience(PATIENCE)
        .start()
        .await
        .unwrap();
    let app = Router::new()
        .route("/wait", {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            get(async move || {
                begun.add_permits(1);
                gate.acquire().await.unwrap().forget();
                "served"
            })
        })
        .layer(guard.layer());
    let server = serve(app).await;
    // Two run, two wait, and the rest has to be turned away; which is which, is chance.
    let clients: Vec<_> = [(); 10]
        .map(|()| tokio::spawn(async move { reply(send(server, GET).await).await }))
        .into_iter()
        .collect();
    eventually("six are turned away", async || {
        clients.iter().filter(|client| client.is_finished()).count() == 6
    })
    .await;
    assert_eq!(begun.available_permits(), 2);
    gate.add_permits(100);
    let mut statuses = Vec::new();
    for client in clients {
        let reply = client.await.unwrap();
        if reply.status == 503 {
            assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
        statuses.push(reply.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503, 503, 503, 503, 503]);
    assert_eq!(ask_for(server, "/wait").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_too_long_is_stopped() {
    log::listen();
    let guard = Guard::builder()
        .deadline(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let slow = async || -> &'static str { std::future::pending().await };
    let app = Router::new()
        .route("/slow", get(slow).post(slow))
        .layer(guard.layer());
    let server = serve(app).await;
    for reply in [
        ask_for(server, "/slow").await,
        send_to(server, "/slow").await,
    ] {
        assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
        assert!(log::lines_with(reply.header("x-fault-id"))[0].contains("timeout 503"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_while_it_is_read_only() {
    log::listen();
    let guard = Guard::builder().start().await.unwrap();
    let app = Router::new()
        .route("/", get(async || "read").post(async || "written"))
        .layer(guard.layer());
    let server = serve(app).await;
    guard.set_read_only(true);
    assert_eq!(ask_for(server, "/").await.text(), "read");
    let reply = send_to(server, "/").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "60"));
    guard.set_read_only(false);
    assert_eq!(send_to(server, "/").await.text(), "written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_lets_what_runs_end() {
    log::listen();
    let gate = Arc::new(Semaphore::new(0));
    let guard = Guard::builder().start().await.unwrap();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/task", {
            let gate = Arc::clone(&gate);
            post(async move |work: Work| {
                work.spawn("later", async move {
                    gate.acquire().await.unwrap().forget();
                });
                "begun"
            })
        })
        .layer(guard.layer());
    let server = serve(app).await;
    assert_eq!(send_to(server, "/task").await.text(), "begun");
    assert!(guard.is_ready());
    guard.drain();
    assert!(!guard.is_ready());
    let open = send(server, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let reply = reply(open).await;
    assert_eq!(
        (reply.text().as_str(), reply.header("connection")),
        ("hello", "close")
    );
    assert_eq!(
        guard.shutdown(Duration::from_millis(10)).await,
        1,
        "the task still runs"
    );
    gate.add_permits(1);
    assert_eq!(guard.shutdown(PATIENCE).await, 0);
}

//! Clients that leave before their answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use mainstay_web::{Detach, Guard};
use tokio::sync::Semaphore;

use crate::client::{PATIENCE, eventually, send, serve};
use crate::log;

/// Where the handlers are.
#[derive(Clone)]
struct Shop {
    begun: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn handler(State(shop): State<Shop>) -> &'static str {
    let _dropped = Dropped(Arc::clone(&shop.dropped));
    shop.begun.fetch_add(1, Ordering::SeqCst);
    shop.gate.acquire().await.unwrap().forget();
    shop.done.fetch_add(1, Ordering::SeqCst);
    "done"
}

/// Whether a request goes on without its client.
async fn goes_on(method: &str, detach: Detach) -> bool {
    log::listen();
    let shop = Shop {
        begun: Arc::default(),
        done: Arc::default(),
        dropped: Arc::default(),
        gate: Arc::new(Semaphore::new(0)),
    };
    let guard = Guard::builder().start().await.unwrap();
    let app = Router::new()
        .route("/", any(handler))
        .with_state(shop.clone())
        .layer(guard.layer().detach(detach));
    let server = serve(app).await;
    let request = format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    let left = || log::lines_with("a client has left").len();
    let before = left();
    let stream = send(server, &request).await;
    let begun = || shop.begun.load(Ordering::SeqCst) == 1;
    eventually("the handler begins", async || begun()).await;
    drop(stream);
    if method == "GET" && detach == Detach::Mutating || detach == Detach::Never {
        let dropped = || shop.dropped.load(Ordering::SeqCst) == 1;
        eventually("the handler is cut off", async || dropped()).await;
    } else {
        // The server has let go of the request when it has no connection any more.
        eventually("the client is missed", async || left() > before).await;
    }
    shop.gate.add_permits(1);
    let running = guard.shutdown(PATIENCE).await;
    assert_eq!(running, 0, "{method} {detach:?}");
    shop.done.load(Ordering::SeqCst) == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_goes_on() {
    for (method, detach, expected) in [
        ("POST", Detach::Mutating, true),
        ("DELETE", Detach::Mutating, true),
        ("GET", Detach::Mutating, false),
        ("GET", Detach::Always, true),
        ("POST", Detach::Never, false),
    ] {
        assert_eq!(
            goes_on(method, detach).await,
            expected,
            "{method} {detach:?}"
        );
    }
}

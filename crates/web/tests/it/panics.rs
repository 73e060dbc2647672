//! Panics, wherever they are.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http_body::Frame;
use mainstay_fault::{Class, Fault};
use mainstay_web::{Guard, Notice, Work};

use crate::client::{PATIENCE, ask, eventually, get as ask_for, rest, send, serve};
use crate::log;

/// A body whose second piece panics.
struct Bomb(bool);

impl http_body::Body for Bomb {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        assert!(!self.0, "in the body");
        self.0 = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first")))))
    }
}

/// Panics when it goes.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn shopping_basket() -> usize {
    let prices: Vec<usize> = Vec::new();
    prices[std::hint::black_box(7)]
}

type Told = Arc<Mutex<Vec<Notice>>>;

fn recorded() -> (Told, impl Fn(&Notice) + Send + Sync) {
    let told = Told::default();
    let own = Arc::clone(&told);
    (told, move |notice: &Notice| {
        own.lock().unwrap().push(notice.clone());
    })
}

fn about(told: &Told, text: &str) -> Vec<Fault> {
    let told = told.lock().unwrap();
    let faults = told.iter().map(|notice| &notice.fault);
    faults
        .filter(|fault| fault.to_string().contains(text))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_are_answered_and_told() {
    log::listen();
    let (told, tell) = recorded();
    let guard = Guard::builder()
        .on_fault(tell)
        .gather(Duration::from_millis(10), Duration::from_millis(10))
        .start()
        .await
        .unwrap();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/panic", get(async || shopping_basket().to_string()))
        .route(
            "/later",
            get(async || {
                tokio::task::yield_now().await;
                let _late = Late;
                tokio::task::yield_now().await;
                "never sent"
            }),
        )
        .route("/body", get(async || Response::new(Body::new(Bomb(false)))))
        .route(
            "/task",
            get(async |work: Work| {
                let task = work.spawn("mail", async {
                    assert!(std::hint::black_box(false), "in a task");
                });
                let blocking = work.spawn_blocking("zip", || {
                    assert!(std::hint::black_box(false), "in a blocking task");
                });
                (task.await.unwrap_err().is_panic() && blocking.await.unwrap_err().is_panic())
                    .to_string()
            }),
        )
        .route(
            "/caught",
            get(async || {
                std::panic::catch_unwind(|| panic!("caught by the app")).unwrap_err();
                "went on"
            }),
        )
        .route(
            "/any",
            get(async || -> &'static str { std::panic::panic_any(Late) }),
        )
        .layer(guard.layer());
    let server = serve(app).await;
    for path in ["/panic", "/later", "/any"] {
        let reply = ask(server, &format!("GET {path}"), "accept: text/html\r\n", "").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (500, "text/html; charset=utf-8"),
            "{path}"
        );
        assert!(reply.text().contains(reply.header("x-fault-id")));
        assert_eq!(ask_for(server, "/").await.text(), "hello");
    }
    assert_eq!(ask_for(server, "/task").await.text(), "true");
    assert_eq!(ask_for(server, "/caught").await.text(), "went on");
    let stream = send(server, "GET /body HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let bytes = rest(stream).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        !text.ends_with("0\r\n\r\n"),
        "a part does not pass for the whole: {text}"
    );

    for text in [
        "index out of bounds",
        "in a destructor",
        "in the body",
        "in a task",
        "in a blocking task",
        "caught by the app",
    ] {
        eventually(text, async || !about(&told, text).is_empty()).await;
    }
    let fault = &about(&told, "index out of bounds")[0];
    assert_eq!(fault.class(), Class::Panic);
    assert_eq!(fault.place().unwrap().file, file!());
    let frames: Vec<String> = fault.frames().iter().map(ToString::to_string).collect();
    assert!(frames[0].contains("shopping_basket"), "{frames:?}");
    assert!(
        fault
            .context()
            .contains(&("request".into(), "GET /panic".into())),
        "{fault:?}"
    );
    let fault = &about(&told, "in a task")[0];
    assert!(
        fault.context().contains(&("task".into(), "mail".into())),
        "{fault:?}"
    );
}

/// A service that is used without axum, and panics before it has a future.
#[derive(Clone)]
struct Rude(&'static str);

impl tower_service::Service<Request<mainstay_web::RequestBody<Body>>> for Rude {
    type Response = Response;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Response, std::io::Error>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        assert!(self.0 != "ready", "not ready");
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: Request<mainstay_web::RequestBody<Body>>) -> Self::Future {
        assert!(self.0 != "call", "in the call");
        std::future::ready(Err(std::io::ErrorKind::StorageFull.into()))
    }
}

#[tokio::test]
async fn any_service_is_guarded() {
    use tower_layer::Layer as _;
    use tower_service::Service as _;
    log::listen();
    let guard = Guard::builder().start().await.unwrap();
    for (how, status) in [("ready", 500), ("call", 500), ("fails", 503)] {
        let mut service = guard.layer().layer(Rude(how));
        let response = service.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), status, "{how}");
    }
    let unfinished = guard.shutdown(PATIENCE).await;
    assert_eq!(unfinished, 0);
}

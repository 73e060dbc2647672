//! What clients get when something goes wrong.

use std::net::SocketAddr;

use axum::extract::{DefaultBodyLimit, Form};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mainstay_fault::Verdict;
use mainstay_web::{Deliberate, Failed, Guard, Work};

use crate::client::{Reply, ask, serve};
use crate::log;

#[derive(serde::Deserialize)]
struct Feedback {
    text: String,
}

fn app(guard: &Guard) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/form", post(async |Form(form): Form<Feedback>| form.text))
        .route(
            "/file",
            get(async || -> Result<String, Failed> {
                Ok(std::fs::read_to_string("/no/such/file")?)
            }),
        )
        .route(
            "/taken",
            get(async || Err::<(), _>(Failed::told(Verdict::conflict("<Anna> is taken."), "x"))),
        )
        .route("/bare/{status}", get(bare))
        .route(
            "/own",
            get(async || (StatusCode::NOT_FOUND, Html("<h1>ours</h1>"))),
        )
        .route(
            "/json",
            get(async || {
                (
                    StatusCode::BAD_GATEWAY,
                    Json(serde_json::json!({"ours": 1})),
                )
            }),
        )
        .route(
            "/meant",
            get(async || {
                let mut response = (StatusCode::CONFLICT, "meant so").into_response();
                response.extensions_mut().insert(Deliberate);
                response
            }),
        )
        .route(
            "/wait",
            get(async || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "77")])),
        )
        .route("/id", get(async |work: Work| work.request_id().to_owned()))
        .route(
            "/service.Shop/Order",
            post(async || {
                let mut response = Response::new(axum::body::Body::empty());
                response
                    .headers_mut()
                    .insert("grpc-status", "5".parse().unwrap());
                response
            }),
        )
        .layer(DefaultBodyLimit::max(1000))
        .layer(guard.layer())
}

async fn bare(path: axum::extract::Path<u16>) -> StatusCode {
    StatusCode::from_u16(path.0).unwrap()
}

async fn start(builder: mainstay_web::Builder) -> SocketAddr {
    log::listen();
    let guard = builder.start().await.unwrap();
    serve(app(&guard)).await
}

const HTML: &str = "accept: text/html\r\n";
const JSON: &str = "accept: application/json\r\n";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

fn kind(reply: &Reply) -> &str {
    reply.header("content-type").split(';').next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_gets_what_it_can_read() {
    let server = start(Guard::builder()).await;
    let fetch = "accept: */*\r\nsec-fetch-dest: empty\r\n";
    let navigation = "accept: */*\r\nsec-fetch-dest: document\r\n";
    for (name, line, headers, body, status, expected) in [
        (
            "curl",
            "GET /nothing",
            "accept: */*\r\n",
            "",
            404,
            "text/plain",
        ),
        ("no Accept", "GET /nothing", "", "", 404, "text/plain"),
        ("a browser", "GET /nothing", HTML, "", 404, "text/html"),
        (
            "a navigation",
            "GET /nothing",
            navigation,
            "",
            404,
            "text/html",
        ),
        ("fetch", "GET /nothing", fetch, "", 404, "text/plain"),
        (
            "a program",
            "GET /nothing",
            JSON,
            "",
            404,
            "application/problem+json",
        ),
        (
            "fetch that sent JSON",
            "POST /form",
            "accept: */*\r\ncontent-type: application/json\r\n",
            "{}",
            415,
            "application/problem+json",
        ),
        ("another method", "DELETE /form", HTML, "", 405, "text/html"),
        (
            "an extractor's word",
            "POST /form",
            format!("{HTML}{FORM}").as_str(),
            "x=1",
            422,
            "text/html",
        ),
        (
            "a body too large",
            "POST /form",
            format!("{JSON}{FORM}").as_str(),
            "x".repeat(2000).as_str(),
            413,
            "application/problem+json",
        ),
        (
            "an error of the handler",
            "GET /file",
            HTML,
            "",
            500,
            "text/html",
        ),
        (
            "a status alone",
            "GET /bare/507",
            HTML,
            "",
            507,
            "text/html",
        ),
        (
            "an odd status",
            "GET /bare/418",
            JSON,
            "",
            418,
            "application/problem+json",
        ),
        ("HEAD", "HEAD /nothing", HTML, "", 404, "text/html"),
        ("HEAD of an error", "HEAD /file", HTML, "", 500, "text/html"),
        (
            "gRPC",
            "POST /nothing",
            "content-type: application/grpc\r\n",
            "",
            200,
            "application/grpc",
        ),
    ] {
        let reply = ask(server, line, headers, body).await;
        assert_eq!((reply.status, kind(&reply)), (status, expected), "{name}");
        let code = reply.header("x-fault-id").to_owned();
        assert_eq!(code.len(), 11, "{name}");
        if line.starts_with("HEAD") {
            assert!(reply.body.is_empty(), "{name}");
            assert!(
                reply.header("content-length").parse::<u32>().unwrap() > 0,
                "{name}"
            );
        } else if status != 200 {
            assert!(reply.text().contains(&code), "{name}: {}", reply.text());
            assert_eq!(reply.header("cache-control"), "no-store", "{name}");
        }
        assert!(!reply.header("x-request-id").is_empty(), "{name}");
        let logged = log::lines_with(&code);
        assert_eq!(
            logged.len(),
            1,
            "{name}: the page and the log have one code: {logged:?}"
        );
        assert!(
            logged[0].contains(reply.header("x-request-id")),
            "{name}: {logged:?}"
        );
    }
    let reply = ask(server, "DELETE /form", HTML, "").await;
    assert_eq!(
        reply.header("allow"),
        "POST",
        "what the app says beside the body stays"
    );
    let reply = ask(server, "POST /form", &format!("{HTML}{FORM}"), "x=1").await;
    assert!(
        reply.text().contains("missing field `text`"),
        "{}",
        reply.text()
    );
    let reply = ask(server, "GET /file", HTML, "").await;
    assert!(!reply.text().contains("such/file"), "that is for the log");
    assert!(log::lines_with(reply.header("x-fault-id"))[0].contains("tests/it/pages.rs"));
    let reply = ask(server, "GET /taken", HTML, "").await;
    assert_eq!(reply.status, 409);
    assert!(reply.text().contains("&lt;Anna&gt; is taken."));
    let reply = ask(server, "GET /wait", HTML, "").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "77"));
    let reply = ask(
        server,
        "POST /nothing",
        "content-type: application/grpc\r\n",
        "",
    )
    .await;
    assert_eq!((reply.header("grpc-status"), reply.body.len()), ("5", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_app_has_designed_is_left_alone() {
    let server = start(Guard::builder()).await;
    for (line, headers, status, body) in [
        ("GET /", HTML, 200, "hello"),
        ("GET /own", JSON, 404, "<h1>ours</h1>"),
        ("GET /json", HTML, 502, "{\"ours\":1}"),
        ("GET /meant", HTML, 409, "meant so"),
        ("GET /meant", "", 409, "meant so"),
    ] {
        let reply = ask(server, line, headers, "").await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, body),
            "{line}"
        );
        assert!(!reply.header("x-request-id").is_empty());
        assert_eq!(
            reply.header("x-fault-id").is_empty(),
            status < 500,
            "{line}"
        );
    }
    let grpc = "content-type: application/grpc\r\n";
    let reply = ask(server, "POST /service.Shop/Order", grpc, "").await;
    assert_eq!((reply.status, reply.header("grpc-status")), (200, "5"));
    assert_eq!(log::lines_with(reply.header("x-fault-id")).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_requests() {
    let server = start(Guard::builder()).await;
    let reply = ask(server, "GET /id", "x-request-id: abc-1\r\n", "").await;
    assert_eq!(
        (reply.text().as_str(), reply.header("x-request-id")),
        ("abc-1", "abc-1")
    );
    let reply = ask(server, "GET /id", "x-request-id: a b\r\n", "").await;
    assert_eq!(reply.text(), reply.header("x-request-id"));
    assert_eq!(reply.body.len(), 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_pages_there_is_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("404.html", "{{ status }} {% if %}");
    write("500.html", "own {{ id }} {{.ErrorInfo}}");
    write("409.html", &"x".repeat(10 << 20));
    std::fs::create_dir(directory.path().join("503.html")).unwrap();
    std::fs::write(directory.path().join("4xx.html"), b"\xff\xfe").unwrap();
    let no_directory = directory.path().join("404.html");
    write(
        "error.html",
        "{% for i in range(99999999) %}{{ i }}{% endfor %}",
    );
    let broken = start(Guard::builder().pages(directory.path())).await;
    let missing = start(Guard::builder().pages("/no/such/directory")).await;
    let a_file = start(Guard::builder().pages(no_directory)).await;
    let panics = start(Guard::builder().render(|_, _| panic!("in the page"))).await;
    let huge = format!("{HTML}accept-language: {}\r\n", "zh-TW,".repeat(11_000));
    for server in [broken, missing, a_file, panics] {
        for path in ["/nothing", "/file", "/taken", "/bare/503"] {
            for headers in [HTML, JSON, "", &huge] {
                let reply = ask(server, &format!("GET {path}"), headers, "").await;
                let expected = match path {
                    "/nothing" => 404,
                    "/file" => 500,
                    "/taken" => 409,
                    _ => 503,
                };
                assert_eq!(reply.status, expected, "{path}");
                assert!(reply.text().contains(reply.header("x-fault-id")), "{path}");
            }
        }
    }
    // It was read, and not only survived.
    let reply = ask(missing, "GET /nothing", &huge, "").await;
    assert_eq!(reply.header("content-language"), "zh-Hant");
    let long = "y".repeat(64 << 10);
    for header in [
        "accept",
        "x-request-id",
        "traceparent",
        "content-type",
        "sec-fetch-dest",
    ] {
        let reply = ask(
            missing,
            "GET /nothing",
            &format!("{header}: {long}\r\n"),
            "",
        )
        .await;
        assert_eq!(reply.status, 404, "{header}");
        assert!(
            reply.text().contains(reply.header("x-fault-id")),
            "{header}"
        );
        assert_eq!(reply.header("x-request-id").len(), 32, "{header}");
    }
    let reply = ask(broken, "GET /file", HTML, "").await;
    assert!(
        reply.text().starts_with("own "),
        "the good page among bad ones is used"
    );
}

#[tokio::test]
async fn trailers_of_grpc_arrive_and_their_errors_are_told() {
    use axum::body::Body;
    use axum::http::{HeaderMap, Request};
    use http_body_util::{BodyExt as _, Full};
    use tower_layer::Layer as _;
    use tower_service::Service as _;

    log::listen();
    let guard = Guard::builder().start().await.unwrap();
    let app = Router::new().route(
        "/shop.Shop/Watch",
        post(async || {
            let trailers =
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), "15".parse().unwrap())]);
            let messages = Full::new(bytes::Bytes::from_static(b"message"));
            Response::new(Body::new(
                messages.with_trailers(std::future::ready(Some(Ok(trailers)))),
            ))
        }),
    );
    let mut service = guard.layer().layer(app);
    let request = Request::post("/shop.Shop/Watch")
        .header("content-type", "application/grpc")
        .header("x-request-id", "trailing")
        .body(Body::empty())
        .unwrap();
    let response = service.call(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "15");
    assert_eq!(body.to_bytes(), "message");
    let told = log::lines_with("answered grpc-status 15");
    assert!(told.len() == 1 && told[0].contains("trailing"), "{told:?}");
}

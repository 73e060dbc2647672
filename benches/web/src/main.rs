//! The processor time of a request in a guard and without one, in a server of its own process.
//!
//! `web-bench` measures all and prints a table; `web-bench serve NAME` is the server it starts.

#![cfg_attr(
    feature = "sqlite",
    allow(dead_code, reason = "then rows alone are measured")
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use mainstay_web::Guard;
use rustix::time::{ClockId, clock_gettime};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::services::ServeFile;

/// Connections that ask at the same time.
const CLIENTS: u32 = 4;
/// How often everything is measured; the least of each counts.
const ROUNDS: usize = 7;

/// What is measured: the server, the request, and how often on each connection.
struct Case {
    server: &'static str,
    request: &'static str,
    requests: u32,
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
const PANIC: &str = "GET /panic HTTP/1.1\r\nhost: x\r\n\r\n";

const NOTHING: &str = "GET /nothing HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n";
const FILE: &str = "GET /file HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n";
const MEMORY: &str = "GET /memory HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n";
#[cfg(feature = "sqlite")]
const ROW: &str = "POST /row HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";

#[cfg(not(feature = "sqlite"))]
const CASES: [Case; 11] = [
    case("bare", GET, 20_000),
    case("guard", GET, 20_000),
    case("guard-all", GET, 20_000),
    case("bare", POST, 20_000),
    case("guard", POST, 20_000),
    case("guard-all", POST, 20_000),
    case("catch-panic", PANIC, 1_000),
    case("guard-all", PANIC, 5_000),
    case("bare", FILE, 5_000),
    case("bare", MEMORY, 10_000),
    case("guard-all", NOTHING, 10_000),
];
#[cfg(feature = "sqlite")]
const CASES: [Case; 2] = [case("bare", ROW, 2_000), case("guard-all", ROW, 2_000)];

/// What is divided by what, for the table of ratios.
#[cfg(not(feature = "sqlite"))]
const RATIOS: [(&str, usize, usize); 7] = [
    ("guard / bare, GET", 1, 0),
    ("guard with all / bare, GET", 2, 0),
    ("guard / bare, POST", 4, 3),
    ("guard with all / bare, POST", 5, 3),
    ("catch-panic / guard with all, panics", 6, 7),
    ("page for 404 / a static file", 10, 8),
    ("page for 404 / the same from memory", 10, 9),
];
#[cfg(feature = "sqlite")]
const RATIOS: [(&str, usize, usize); 1] = [("guard with all / by hand, a row", 1, 0)];

const fn case(server: &'static str, request: &'static str, requests: u32) -> Case {
    Case {
        server,
        request,
        requests,
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => serve(name),
        [] => measure(),
        _ => {
            eprintln!("web-bench | web-bench serve bare|guard|guard-all|catch-panic");
            std::process::exit(2);
        }
    }
}

/// A logger that makes every line and gives it to nobody.
struct Nowhere;

impl log::Log for Nowhere {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        std::hint::black_box(record.args().to_string());
    }
    fn flush(&self) {}
}

// One thread: of several, the one that waits for the network may not be the one that serves, and a
// process may begin either way.
#[tokio::main(flavor = "current_thread")]
async fn serve(name: &str) {
    log::set_logger(&Nowhere).expect("it is the first");
    log::set_max_level(log::LevelFilter::Info);
    let directory = tempfile::tempdir().expect("a directory");
    let page = page();
    let file = directory.path().join("404.html");
    std::fs::write(&file, page).expect("a page");
    let routes = Router::new()
        .route("/", get(async || "hello").post(async || "hello"))
        .route("/panic", get(panics))
        .route(
            "/memory",
            get(async move || (StatusCode::NOT_FOUND, Html(page))),
        )
        .route_service("/file", ServeFile::new(file));
    #[cfg(feature = "sqlite")]
    let pool = rows::open(directory.path()).await;
    let app = match name {
        "bare" => {
            #[cfg(feature = "sqlite")]
            let routes = routes.route(
                "/row",
                axum::routing::post(rows::by_hand).layer(axum::Extension(pool)),
            );
            routes
        }
        "catch-panic" => routes.layer(CatchPanicLayer::new()),
        name => {
            let mut builder = Guard::builder();
            if name == "guard-all" {
                builder = builder.deadline(Duration::from_secs(15)).shed(512);
            }
            #[cfg(feature = "sqlite")]
            let builder = builder.database(pool);
            #[cfg(feature = "sqlite")]
            let routes = routes.route("/row", axum::routing::post(rows::guarded));
            let guard = builder.start().await.expect("a guard");
            routes.layer(guard.layer())
        }
    };
    let app = app.route("/cpu", get(async || cpu().to_string()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    // A file goes out in two writes: the second would wait for the client to acknowledge the first.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("no delay"));
    axum::serve(listener, app).await.expect("it serves");
}

/// A page as long as the one that a guard makes.
fn page() -> &'static str {
    let asked = mainstay_fault::Asked::of(&axum::http::Method::GET, &{
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("accept", axum::http::HeaderValue::from_static("text/html"));
        headers
    });
    let fault = mainstay_fault::Fault::told(mainstay_fault::Verdict::not_found(), "x");
    let pages = mainstay_fault::PageSet::built_in();
    let page = mainstay_fault::answer(&asked, &fault, &pages)
        .response
        .into_body();
    String::from_utf8(page).expect("a text").leak()
}

/// A row for each request.
#[cfg(feature = "sqlite")]
mod rows {
    use std::path::Path;

    use axum::Extension;
    use mainstay_web::{Failed, Work};
    use sqlx::sqlite::{
        Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    };

    const INSERT: &str = "INSERT INTO feedback (text) VALUES ('hello')";

    pub(crate) async fn open(directory: &Path) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(directory.join("app.db"))
            .journal_mode(SqliteJournalMode::Wal)
            .create_if_missing(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await;
        let pool = pool.expect("a database");
        let made = sqlx::query("CREATE TABLE feedback (text TEXT)")
            .execute(&pool)
            .await;
        made.expect("a table");
        pool
    }

    pub(crate) async fn by_hand(Extension(pool): Extension<SqlitePool>) -> &'static str {
        let mut transaction = pool.begin().await.expect("it begins");
        let row = sqlx::query(INSERT).execute(&mut *transaction).await;
        row.expect("a row");
        transaction.commit().await.expect("it is committed");
        "hello"
    }

    pub(crate) async fn guarded(mut work: Work<Sqlite>) -> Result<&'static str, Failed> {
        sqlx::query(INSERT).execute(&mut *work.tx().await?).await?;
        Ok("hello")
    }
}

async fn panics() -> &'static str {
    let prices: Vec<&str> = Vec::new();
    prices[std::hint::black_box(7)]
}

/// Nanoseconds of processor time that this process has used.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(name: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["serve", name])
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let output = child.stdout.take().expect("its output");
        let mut address = String::new();
        BufReader::new(output)
            .read_line(&mut address)
            .expect("its address");
        let address = address.trim().to_owned();
        Self { child, address }
    }

    /// Microseconds of processor time for each request.
    fn cost(&self, case: &Case) -> f64 {
        let before = self.cpu();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(&self.address).expect("a connection");
                    stream.set_nodelay(true).expect("no delay");
                    for _ in 0..case.requests {
                        ask(&mut stream, case.request);
                    }
                });
            }
        });
        let used = self.cpu() - before;
        used as f64 / 1000.0 / f64::from(case.requests * CLIENTS)
    }

    fn cpu(&self) -> u64 {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let body = ask(&mut stream, "GET /cpu HTTP/1.1\r\nhost: x\r\n\r\n");
        body.parse().expect("nanoseconds")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and reads its answer; gives the body.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut seen = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the connection was closed");
        seen.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse().ok());
            if length.is_some_and(|length: usize| body.len() >= length) {
                return body.to_owned();
            }
        }
    }
}

fn measure() {
    let mut least = [f64::MAX; CASES.len()];
    for _ in 0..ROUNDS {
        for (case, least) in CASES.iter().zip(&mut least) {
            let server = Server::start(case.server);
            // The first ones fill caches and connections.
            server.cost(&Case {
                requests: case.requests / 10,
                ..*case
            });
            *least = least.min(server.cost(case));
        }
    }
    for (case, cost) in CASES.iter().zip(least) {
        let line = case.request.lines().next().unwrap_or_default();
        println!("{:12} {line:22} {cost:8.2} µs", case.server);
    }
    for (name, above, below) in RATIOS {
        println!("{name:38} {:.3}", least[above] / least[below]);
    }
    #[cfg(not(feature = "sqlite"))]
    println!(
        "{:38} {:.1}",
        "the same, above a plain request",
        (least[6] - least[0]) / (least[7] - least[2])
    );
}

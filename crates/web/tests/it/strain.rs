//! A server that has no descriptors left: a process of its own, because limits are one's whole process's.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Path};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use mainstay_sys::limits::{self, Resource};
use mainstay_web::Guard;

use crate::client::PATIENCE;

/// Makes [`server`] one, and says with which limit.
const SERVER: &str = "MAINSTAY_WEB_SERVER";

/// As many panics as it may have in a minute.
const PANICS: u32 = 20;

/// Prints what is logged.
struct Printer;

impl log::Log for Printer {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "mainstay_web"
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("log {}", record.args());
        }
    }
    fn flush(&self) {}
}

fn limit(files: u64) {
    let (_, hard) = limits::get(None, Resource::Nofile).unwrap();
    limits::set(None, Resource::Nofile, files.min(hard), hard).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server() {
    let Ok(files) = std::env::var(SERVER) else {
        return;
    };
    ::log::set_logger(&Printer).unwrap();
    ::log::set_max_level(::log::LevelFilter::Info);
    let files: u64 = files.parse().unwrap();
    limit(files);
    let mut builder = Guard::builder()
        .gather(Duration::from_millis(10), Duration::from_millis(500))
        .on_fault(|notice| {
            let state = if notice.over { "over" } else { "on" };
            println!(
                "notice {} {state} {}",
                notice.count,
                notice.fault.fingerprint()
            );
        });
    if files == 0 {
        builder = builder.raise_open_files();
    }
    let guard = builder.restart_after(PANICS).start().await.unwrap();
    let app = Router::new()
        .route(
            "/",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
        )
        .route("/panic", get(async || -> &'static str { panic!("again") }))
        .route(
            "/limit/{files}",
            get(async |Path(files): Path<u64>| limit(files)),
        )
        .layer(guard.layer());
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("address {}", socket.local_addr().unwrap());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let until = guard.clone();
    axum::serve(guard.listener(socket).tap_io(|_| ()), app)
        .with_graceful_shutdown(async move {
            until.restart_wanted().await;
            until.drain();
        })
        .await
        .unwrap();
    guard.shutdown(PATIENCE).await;
    std::process::exit(guard.exit_code().into());
}

/// The server, and the lines that it prints.
struct Server {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(files: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "strain::server", "--nocapture"])
            .env(SERVER, files.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let own = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                own.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// What comes after a word at the beginning of a line.
    fn said(&self, word: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .filter_map(|line| Some(line.strip_prefix(word)?.trim().to_owned()))
            .collect()
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{what}: {:?}",
                self.lines.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn address(&self) -> SocketAddr {
        self.until("an address", |server| {
            server.said("address").first()?.parse().ok()
        })
    }

    /// How many were turned away, and how many tries to accept failed, as the log has it.
    fn totals(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for line in self.said("log connections are accepted again;") {
            let mut numbers = line.split(' ').filter_map(|word| word.parse::<u64>().ok());
            totals.0 += numbers.next().unwrap();
            totals.1 += numbers.next().unwrap();
        }
        totals
    }
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(stream: &mut TcpStream, path: &str) {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n"
    )
    .unwrap();
}

/// The status and all of an answer whose connection stays open only if it is good.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            length.is_some_and(|length| body.len() >= length.parse().unwrap())
        });
        match status {
            Some(status) if whole && status != 503 => return (status, text),
            Some(status) if count == 0 => return (status, text),
            _ => assert!(count > 0, "no answer: {text}"),
        }
    }
}

fn ask(stream: &mut TcpStream, path: &str) -> (u16, String) {
    send(stream, path);
    answer(stream)
}

#[test]
fn more_connections_than_descriptors() {
    let server = Server::start(40);
    let address = server.address();
    let mut open = Vec::new();
    let mut silent = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let mut stream = connect(address);
        let (status, text) = ask(&mut stream, "/");
        if status == 200 {
            assert!(text.ends_with("127.0.0.1"), "{text}");
            open.push(stream);
            continue;
        }
        assert_eq!(status, 503, "{text}");
        for part in [
            "retry-after: 5\r\n",
            "connection: close\r\n",
            "x-fault-id: ",
            "<!doctype html>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        refused += 1;
        // Some who say nothing do not keep the others waiting.
        if silent.len() < 3 {
            silent.push(connect(address));
        }
    }
    assert!(open.len() > 5 && refused > 50, "{} {refused}", open.len());
    // Those that are connected are served as before.
    assert_eq!(ask(&mut open[0], "/").0, 200);
    drop((open, silent));
    server.until("it serves again", |_| {
        (ask(&mut connect(address), "/").0 == 200).then_some(())
    });
    // Of those who said nothing, and of those who asked whether it serves again, some may have been
    // let in, and the others are counted as well.
    let (all, tries) = server.until("it is over, in the log and for people", |server| {
        let (all, tries) = server.totals();
        let notices = server.said("notice");
        let is_over = notices
            .last()
            .is_some_and(|last| last.starts_with("0 over"));
        let counts = notices.iter().map(|notice| {
            assert!(
                notice.ends_with("mainstay-web: accept"),
                "one kind: {notice}"
            );
            notice.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        (is_over && all >= refused && counts.sum::<u64>() >= all).then_some((all, tries))
    });
    assert!(
        tries < 4 * all,
        "{tries} tries for {all} who were turned away"
    );
}

#[test]
fn after_too_many_panics_an_app_ends_to_be_begun_anew() {
    let mut server = Server::start(1024);
    let address = server.address();
    for _ in 0..PANICS {
        assert_eq!(ask(&mut connect(address), "/panic").0, 500);
    }
    assert_eq!(ask(&mut connect(address), "/").0, 200, "so many may be");
    let last = ask(&mut connect(address), "/panic").0;
    assert_eq!(last, 500, "the one too many is answered too");
    assert_eq!(server.child.wait().unwrap().code(), Some(75));
    let asked = |server: &Server| {
        let told = server.said("notice");
        told.into_iter()
            .find(|notice| notice.ends_with("mainstay-web: panics"))
    };
    server.until("it is told", |server| asked(server));
}

#[test]
fn where_even_the_reserve_does_not_help_a_timer_does() {
    let server = Server::start(60);
    let address = server.address();
    let mut first = connect(address);
    assert_eq!(ask(&mut first, "/limit/3").0, 200);
    let mut waiting: Vec<_> = (0..5).map(|_| connect(address)).collect();
    for stream in &mut waiting {
        send(stream, "/");
    }
    server.until("it is told", |server| {
        server.said("notice").first().cloned()
    });
    // Long enough for a busy loop to be one.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ask(&mut first, "/limit/60").0, 200);
    for stream in &mut waiting {
        assert_eq!(answer(stream).0, 200);
    }
    let tries = server.until("the log says so", |server| {
        Some(server.totals().1).filter(|tries| *tries > 0)
    });
    assert!(tries < 100, "{tries} tries in two seconds");
}

#[test]
fn the_limit_of_open_files_is_raised_and_said() {
    let (_, hard) = limits::get(None, Resource::Nofile).unwrap();
    let server = Server::start(0);
    server.address();
    assert_eq!(
        server.said("log this process may open"),
        [format!(
            "{hard} files, as the system allows; it was 0 before"
        )]
    );
    let pid = i32::try_from(server.child.id()).unwrap();
    assert_eq!(
        limits::get(Some(pid), Resource::Nofile).unwrap(),
        (hard, hard)
    );
}

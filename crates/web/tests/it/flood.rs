//! Ten thousand requests that panic.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use mainstay_web::Guard;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{PATIENCE, get as ask_for, serve};
use crate::log;

const CLIENTS: usize = 20;
const EACH: usize = 500;

/// Asks again and again on one connection; says how often it was answered.
async fn ask(server: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut answered = 0;
    let mut buffer = vec![0; 16 * 1024];
    for index in 0..EACH {
        let request = format!("GET /panic/{index} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(
                count > 0,
                "the connection was closed after {answered} answers"
            );
            seen.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&seen);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map(|length| length.parse::<usize>().unwrap());
                if body.len() >= length.unwrap() {
                    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
                    break;
                }
            }
        }
        answered += 1;
    }
    answered
}

/// Kilobytes of memory that are this process's.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let digits = line.unwrap().split_whitespace().nth(1);
    digits.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_panics_are_ten_thousand_answers_and_one_notice() {
    log::listen();
    let told = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&told);
    let guard = Guard::builder()
        .gather(Duration::from_hours(1), Duration::from_hours(1))
        .on_fault(move |notice| own.lock().unwrap().push(notice.clone()))
        .start()
        .await
        .unwrap();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/panic/{number}", get(boom))
        .layer(guard.layer());
    let server = serve(app).await;
    // What is needed once is there after the first.
    assert_eq!(ask(server).await, EACH);
    let before = resident();
    let clients: Vec<_> = (1..CLIENTS).map(|_| tokio::spawn(ask(server))).collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), EACH);
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(ask_for(server, "/").await.text(), "hello");
    // The lines that the tests' logger keeps are a part of it, and other tests run meanwhile.
    assert!(grown < 64 * 1024, "{grown} KiB more");
    guard.shutdown(PATIENCE).await;
    let told = told.lock().unwrap();
    let ours: Vec<_> = told
        .iter()
        .filter(|notice| notice.fault.to_string().contains("order"))
        .collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours[0].count, (CLIENTS * EACH) as u64);
    assert!(!ours[0].fault.frames().is_empty());
}

async fn boom(number: axum::extract::Path<u32>) -> String {
    panic!("order {} is not there", number.0)
}

//! A server on a port of its own, and a client that writes and reads bytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Until something is taken for hanging. Too short makes no test fail that should pass.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Serves an app until the test's runtime ends.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Self {
            status: head[9..12].parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }
}

/// Sends a request and does not wait for the answer.
pub(crate) async fn send(server: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the server closes the connection.
pub(crate) async fn rest(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("an answer in time")
        .map(|_| bytes)
}

pub(crate) async fn reply(stream: TcpStream) -> Reply {
    Reply::parse(&rest(stream).await.unwrap())
}

/// A request with lines of headers, each with its end.
pub(crate) async fn ask(server: SocketAddr, line: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    reply(send(server, &request).await).await
}

pub(crate) async fn get(server: SocketAddr, path: &str) -> Reply {
    ask(server, &format!("GET {path}"), "", "").await
}

pub(crate) async fn post(server: SocketAddr, path: &str) -> Reply {
    ask(server, &format!("POST {path}"), "", "").await
}

/// Waits for something that comes by itself.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < PATIENCE, "it never happens: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

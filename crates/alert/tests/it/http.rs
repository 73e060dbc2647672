//! An HTTP server that answers as it is told and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::tls::Secured;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<VecDeque<String>>,
    asked: Mutex<Vec<Asked>>,
    closed: AtomicBool,
    tls: Option<Secured>,
}

/// An answer that begins and never ends.
pub(crate) const ENDLESS: &str = "ENDLESS";
/// No answer, on a connection that stays open.
pub(crate) const SILENCE: &str = "SILENCE";
/// An answer of which a byte comes now and then.
pub(crate) const DRIP: &str = "DRIP";

pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl Http {
    /// A server that gives these answers, head and body, in turn, and then `204`.
    pub(crate) fn start(answers: &[&str]) -> Self {
        Self::with(answers, None)
    }

    /// The same with TLS, for `localhost`.
    pub(crate) fn secure(answers: &[&str]) -> Self {
        Self::with(answers, Some(crate::tls::secured()))
    }

    fn with(answers: &[&str], tls: Option<Secured>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            tls,
            ..State::default()
        });
        state
            .answers
            .lock()
            .unwrap()
            .extend(answers.iter().map(|answer| (*answer).to_owned()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else {
                    continue;
                };
                std::thread::spawn(move || match &shared.tls {
                    None => drop(serve(stream, &shared)),
                    Some(tls) => {
                        drop(serve(crate::tls::accept(&tls.config, stream), &shared));
                    }
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        match &self.state.tls {
            None => format!("http://{}/hook/SECRET", self.address),
            Some(_) => format!("https://localhost:{}/hook/SECRET", self.address.port()),
        }
    }

    /// The file of the authority that its certificate is by.
    pub(crate) fn ca(&self) -> PathBuf {
        self.state.tls.as_ref().unwrap().ca.clone()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: impl Read + Write, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let asked = Asked {
        method,
        path,
        headers,
        body: String::new(),
    };
    let length = asked
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    state.asked.lock().unwrap().push(Asked {
        body: String::from_utf8(body).unwrap(),
        ..asked
    });
    let answer = state
        .answers
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or_else(|| "204 No Content\n".to_owned());
    let closed = || state.closed.load(Ordering::SeqCst);
    let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
    match answer.as_str() {
        SILENCE => {
            while !closed() {
                pause();
            }
            return Ok(());
        }
        DRIP => {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            while !closed() {
                stream.get_mut().write_all(b"x")?;
                stream.get_mut().flush()?;
                pause();
            }
            return Ok(());
        }
        ENDLESS => {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            while !closed() {
                stream.get_mut().write_all(&[b'x'; 8192])?;
            }
            return Ok(());
        }
        _ => {}
    }
    let (head, body) = answer.split_once("\n\n").unwrap_or((answer.as_str(), ""));
    let head = head.trim_end().replace('\n', "\r\n");
    let length = body.len();
    let text =
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.get_mut().write_all(text.as_bytes())?;
    stream.get_mut().flush()
}

//! A socket that listens, and goes on when there are no descriptors left.
//!
//! accept(2) fails with `EMFILE` then and leaves the connection in its queue: who tries again at once
//! does nothing else, and who gives up is deaf for good. A few descriptors are kept for that hour. One
//! of them is closed to make room for a connection, which is answered with 503 and closed, and opened
//! again. Where even that fails, the next try waits for a timer.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Response};
use mainstay_fault::{Asked, Fault, Frame, Notify, Verdict};
use mainstay_sys::Errno;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::guard::Shared;
use crate::page::mark;
use crate::report::TARGET;
use crate::scope::TELLING;

/// Descriptors that are kept: so many are turned away at the same time, so that one who stalls does
/// not keep the others waiting.
const RESERVE: usize = 4;
/// How long who is turned away may take for the head of a request, and for all of it.
const HEAD_TIME: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_secs(1);
/// So much of a head is looked at.
const HEAD_BYTES: usize = 8 * 1024;
/// The first wait after a failure that nothing can be done about, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A socket of tokio's that listens: [`TcpListener`] or [`UnixListener`].
pub trait Socket: sealed::Sealed + Send + Sync + 'static {
    /// What is accepted.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who connects.
    type Address: Send;

    /// The socket's own `poll_accept`.
    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Self::Address)>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<Self::Address>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for tokio::net::TcpListener {}
    impl Sealed for tokio::net::UnixListener {}
}

impl Socket for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        Self::poll_accept(self, context)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

impl Socket for UnixListener {
    type Stream = UnixStream;
    type Address = tokio::net::unix::SocketAddr;

    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, Self::Address)>> {
        Self::poll_accept(self, context)
    }

    fn local_addr(&self) -> io::Result<Self::Address> {
        Self::local_addr(self)
    }
}

/// A listener that answers with 503 when the process has no descriptors left, and is never deaf nor
/// busy with nothing: from [`Guard::listener`](crate::Guard::listener).
///
/// With the feature `axum` it is one for `axum::serve`; others call [`Listener::accept`]. For
/// `ConnectInfo` axum wants `.tap_io(|_| ())` around a listener that is not tokio's
/// (`axum::serve::ListenerExt`).
///
/// A person is told once, with the number of those who were turned away, and when it is over.
pub struct Listener<S = TcpListener> {
    socket: S,
    shared: Arc<Shared>,
    reserve: Arc<Reserve>,
    strain: Strain,
}

/// What failed since a connection was last accepted.
struct Strain {
    pause: Duration,
    tries: u64,
    refused: u64,
    told: bool,
}

impl Strain {
    const NONE: Self = Self {
        pause: FIRST_PAUSE,
        tries: 0,
        refused: 0,
        told: false,
    };
}

impl<S: Socket> Listener<S> {
    pub(crate) fn new(socket: S, shared: &Arc<Shared>) -> Self {
        let reserve = Arc::new(Reserve::default());
        reserve.fill();
        Self {
            socket,
            shared: Arc::clone(shared),
            reserve,
            strain: Strain::NONE,
        }
    }

    /// The next connection. It may be cut off (`select!`) without losing one.
    pub async fn accept(&mut self) -> (S::Stream, S::Address) {
        loop {
            self.reserve.fill();
            let error = match poll_fn(|context| self.socket.poll_accept(context)).await {
                Ok(accepted) => {
                    self.goes_on();
                    return accepted;
                }
                Err(error) => error,
            };
            self.strain.tries += 1;
            if is_of_the_connection(&error) {
                continue;
            }
            if is_exhausted(&error)
                && let Some(place) = Reserve::give_way(&self.reserve)
            {
                // Once, without waiting: another thread may have taken what was just closed.
                let next = poll_fn(|context| Poll::Ready(self.socket.poll_accept(context))).await;
                match next {
                    Poll::Ready(Ok((stream, _))) => {
                        self.strain.refused += 1;
                        self.strain.pause = FIRST_PAUSE;
                        let shared = Arc::clone(&self.shared);
                        tokio::spawn(turn_away(stream, shared, error, place));
                        continue;
                    }
                    // Nobody is in the queue, and the system would have said so with a descriptor.
                    Poll::Pending => continue,
                    Poll::Ready(Err(_)) => self.strain.tries += 1,
                }
            }
            self.wait(error).await;
        }
    }

    /// Waits until it is worth while to try again.
    async fn wait(&mut self, error: io::Error) {
        if self.strain.refused == 0 && !self.strain.told {
            self.strain.told = true;
            let fault = fault(&error).with("while", "connections wait to be accepted");
            self.shared.reporter.report(fault, None);
        }
        // No `select!`: the macros of tokio are five crates more for every app.
        let back = timeout(self.strain.pause, self.reserve.back.notified());
        if back.await.is_err() {
            self.strain.pause = (self.strain.pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn goes_on(&mut self) {
        let strain = std::mem::replace(&mut self.strain, Strain::NONE);
        if strain.refused > 0 || strain.told {
            log::info!(
                target: TARGET,
                "connections are accepted again; {} were answered with 503, and {} tries to accept failed",
                strain.refused,
                strain.tries
            );
        }
    }
}

#[cfg(feature = "axum")]
impl<S: Socket> axum::serve::Listener for Listener<S> {
    type Io = S::Stream;
    type Addr = S::Address;

    async fn accept(&mut self) -> (S::Stream, S::Address) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<S::Address> {
        self.socket.local_addr()
    }
}

/// It was this connection that failed; the next one is another.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// The process, or the system, has no descriptors left.
fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&code)
}

/// A state, which begins and ends.
fn fault(error: &io::Error) -> Fault {
    let verdict = Verdict::from_error(error).with_notify(Notify::OnChange);
    Fault::from_verdict(verdict, error)
        .at(Frame::default())
        .with_fingerprint("mainstay-web: accept")
}

/// Descriptors for the hour in which there are none.
#[derive(Default)]
struct Reserve {
    files: Mutex<Vec<File>>,
    /// Those whose place a connection has.
    given: AtomicUsize,
    back: tokio::sync::Notify,
}

impl Reserve {
    /// Opens what is missing, as far as that is possible.
    fn fill(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        while files.len() + self.given.load(Ordering::Relaxed) < RESERVE {
            let Ok(file) = File::open("/dev/null") else {
                break;
            };
            files.push(file);
        }
    }

    /// Closes one; its place is for a connection.
    fn give_way(this: &Arc<Self>) -> Option<Given> {
        let mut files = this.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.pop().map(|_closed| {
            this.given.fetch_add(1, Ordering::Relaxed);
            Given(Arc::clone(this))
        })
    }
}

/// The place of a descriptor of the reserve: taken again when this is dropped.
struct Given(Arc<Reserve>);

impl Drop for Given {
    fn drop(&mut self) {
        self.0.given.fetch_sub(1, Ordering::Relaxed);
        self.0.fill();
        self.0.back.notify_one();
    }
}

/// Answers a connection with 503 and closes it, in a bounded time.
async fn turn_away<T>(stream: T, shared: Arc<Shared>, error: io::Error, place: Given)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // Whether the answer arrives is up to them; it must only not take long.
    let _ = timeout(FAREWELL, dismiss(stream, &shared, &error)).await;
    // The connection is closed by now.
    drop(place);
}

async fn dismiss<T>(mut stream: T, shared: &Shared, error: &io::Error) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let head = timeout(HEAD_TIME, head(&mut stream)).await;
    let head = head.unwrap_or(Ok(Vec::new()))?;
    let mut fault = fault(error);
    let Some(asked) = Question::read(&head) else {
        // Nothing yet, TLS or HTTP/2: they take a text for a failure of another kind.
        shared.reporter.report(fault, None);
        return Ok(());
    };
    fault = fault.with("request", &asked.line);
    let answer = written(shared.source.answer(&asked.asked, &fault), &asked, &fault);
    shared.reporter.report(fault, None);
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    // Closing while there is something unread would reset the connection under the answer.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The head of a request, or as much of it as there is.
async fn head<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while head.len() < HEAD_BYTES && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// What of a request says how it is to be answered.
struct Question {
    asked: Asked,
    is_head: bool,
    line: String,
}

impl Question {
    /// `None`: it is no HTTP/1.
    fn read(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") {
            return None;
        }
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let known = TELLING
                .into_iter()
                .find(|known| name.eq_ignore_ascii_case(known.as_str()));
            if let (Some(name), Ok(value)) = (known, HeaderValue::from_str(value.trim())) {
                headers.append(name, value);
            }
        }
        Some(Self {
            asked: Asked::of(&method, &headers),
            is_head: method == Method::HEAD,
            line: format!("{method} {target}"),
        })
    }
}

/// An answer as it goes over the wire; the last one of its connection.
fn written(response: Response<Vec<u8>>, asked: &Question, fault: &Fault) -> Vec<u8> {
    let (mut parts, body) = response.into_parts();
    mark(&mut parts.headers, fault);
    let headers = &mut parts.headers;
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if !asked.is_head {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in headers.iter() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_and_how() {
        for (name, head, expected) in [
            ("nothing", "", None),
            ("TLS", "\u{16}\u{3}\u{1}\u{2}", None),
            ("HTTP/2", "PRI * HTTP/2.0\r\n\r\n", None),
            ("half a line", "GET /a", None),
            (
                "curl",
                "GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
                Some(("GET /a?b", "text/plain")),
            ),
            (
                "a browser",
                "GET / HTTP/1.1\r\nACCEPT: text/html\r\n\r\n",
                Some(("GET /", "text/html")),
            ),
            (
                "a head that is cut off",
                "POST / HTTP/1.0\r\naccept: application/json\r\ncook",
                Some(("POST /", "application/problem+json")),
            ),
        ] {
            let question = Question::read(head.as_bytes());
            let fault = fault(&Errno::MFILE.into());
            let got = question.as_ref().map(|question| {
                let pages = mainstay_fault::PageSet::built_in();
                let answer = mainstay_fault::answer(&question.asked, &fault, &pages).response;
                let bytes = written(answer, question, &fault);
                let text = String::from_utf8(bytes).unwrap();
                assert!(
                    text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
                    "{name}: {text}"
                );
                for header in ["retry-after: 5\r\n", "connection: close\r\n"] {
                    assert!(text.contains(header), "{name}: {text}");
                }
                assert!(
                    text.contains(&format!("x-fault-id: {}\r\n", fault.id())),
                    "{name}: {text}"
                );
                let kind = text
                    .split("content-type: ")
                    .nth(1)
                    .unwrap()
                    .split([';', '\r'])
                    .next();
                (question.line.clone(), kind.unwrap().to_owned())
            });
            let got = got
                .as_ref()
                .map(|(line, kind)| (line.as_str(), kind.as_str()));
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn the_reserve_is_as_large_as_before() {
        let reserve = Arc::new(Reserve::default());
        reserve.fill();
        let given: Vec<_> = std::iter::from_fn(|| Reserve::give_way(&reserve)).collect();
        assert_eq!(given.len(), RESERVE);
        reserve.fill();
        assert!(
            reserve.files.lock().unwrap().is_empty(),
            "their places are taken"
        );
        drop(given);
        assert_eq!(reserve.files.lock().unwrap().len(), RESERVE);
    }
}

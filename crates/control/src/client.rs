//! Asking a daemon, over its control socket.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::PidfdFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Kind};
use crate::wire::{
    ActionDocument, ActionRequest, AlertsDocument, DoneDocument, ErrorDocument, FaultDocument,
    FaultQuery, FaultsDocument, ForgetRequest, LogLevelRequest, LogQuery, OrderRequest,
    OrderedDocument, RaiseRequest, SCHEMA, SignalRequest, SilenceRequest, SilencedDocument,
    StatusDocument, TriedDocument, UnsilenceRequest, VersionDocument,
};

/// How long an answer may take, unless the request is one that waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to go on trying to connect while the daemon's queue is full.
const KNOCK: Duration = Duration::from_secs(5);

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Largest document that is read, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Asks the daemon behind one control socket. Each request has a connection of its own; the methods
/// need a tokio runtime, which the caller provides.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client for the daemon at that socket. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            patience: PATIENCE,
        }
    }

    /// Lets an answer take that long instead of 30 s. Requests that wait and logs have no limit.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the daemon answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.get::<DoneDocument>("/v1/ping").await.map(drop)
    }

    /// Which version answers.
    pub async fn version(&self) -> Result<VersionDocument, Error> {
        self.get("/v1/version").await
    }

    /// Everything, now.
    pub async fn status(&self) -> Result<StatusDocument, Error> {
        self.get("/v1/status").await
    }

    /// Starts programs.
    pub async fn start(&self, request: &ActionRequest) -> Result<ActionDocument, Error> {
        self.post("/v1/programs/start", request, !request.wait)
            .await
    }

    /// Stops programs.
    pub async fn stop(&self, request: &ActionRequest) -> Result<ActionDocument, Error> {
        self.post("/v1/programs/stop", request, !request.wait).await
    }

    /// Stops programs and starts them again.
    pub async fn restart(&self, request: &ActionRequest) -> Result<ActionDocument, Error> {
        self.post("/v1/programs/restart", request, !request.wait)
            .await
    }

    /// Sends a signal to programs.
    pub async fn signal(&self, request: &SignalRequest) -> Result<ActionDocument, Error> {
        self.post("/v1/programs/signal", request, true).await
    }

    /// Captured output, as a stream of chunks. An error in it means that the rest is missing.
    pub async fn logs(&self, query: &LogQuery) -> Result<LogStream, Error> {
        let mut path = format!(
            "/v1/programs/{}/logs?stream={}",
            percent(&query.name),
            query.stream.name()
        );
        if let Some(lines) = query.lines {
            path.push_str("&lines=");
            path.push_str(&lines.to_string());
        }
        if query.follow {
            path.push_str("&follow=true");
        }
        if let Some(records) = &query.records {
            path.push_str("&records=true");
            let parameters = [
                ("level", records.level.clone()),
                ("since", records.since.map(|time| time.to_string())),
                ("until", records.until.map(|time| time.to_string())),
                ("pattern", records.pattern.clone()),
            ];
            for (name, value) in parameters {
                if let Some(value) = value {
                    path.push('&');
                    path.push_str(name);
                    path.push('=');
                    path.push_str(&percent(&value));
                }
            }
        }
        let asking = self.ask(Method::GET, &path, None);
        let (response, line) = self.within(true, asking).await?;
        Ok(LogStream {
            body: response.into_body(),
            path: self.path.clone(),
            ended: false,
            _line: line,
        })
    }

    /// Has all log files closed and opened again.
    pub async fn reopen_logs(&self) -> Result<DoneDocument, Error> {
        self.post("/v1/log/reopen", &(), true).await
    }

    /// Has other levels let through, for a time or until the daemon ends.
    pub async fn log_level(&self, request: &LogLevelRequest) -> Result<DoneDocument, Error> {
        self.post("/v1/log/level", request, true).await
    }

    /// How all alerts stand.
    pub async fn alerts(&self) -> Result<AlertsDocument, Error> {
        self.get("/v1/alerts").await
    }

    /// Raises an alert, or says that it is over.
    pub async fn raise_alert(&self, request: &RaiseRequest) -> Result<DoneDocument, Error> {
        self.post("/v1/alerts/raise", request, true).await
    }

    /// Silences alerts for a while.
    pub async fn silence_alerts(
        &self,
        request: &SilenceRequest,
    ) -> Result<SilencedDocument, Error> {
        self.post("/v1/alerts/silence", request, true).await
    }

    /// Ends a silence.
    pub async fn unsilence_alerts(
        &self,
        request: &UnsilenceRequest,
    ) -> Result<DoneDocument, Error> {
        self.post("/v1/alerts/unsilence", request, true).await
    }

    /// Has a test message sent through each channel. It takes as long as the slowest of them.
    pub async fn test_alerts(&self) -> Result<TriedDocument, Error> {
        self.post("/v1/alerts/test", &(), false).await
    }

    /// Kinds of faults.
    pub async fn faults(&self, query: &FaultQuery) -> Result<FaultsDocument, Error> {
        let mut path = "/v1/faults".to_owned();
        let parameters = [
            ("app", query.app.clone()),
            ("since", query.since.map(|time| time.to_string())),
            ("severity", query.severity.clone()),
            ("limit", query.limit.map(|limit| limit.to_string())),
        ];
        let mut separator = '?';
        for (name, value) in parameters {
            if let Some(value) = value {
                path.push(separator);
                path.push_str(name);
                path.push('=');
                path.push_str(&percent(&value));
                separator = '&';
            }
        }
        self.get(&path).await
    }

    /// One fault, by its code.
    pub async fn fault(&self, code: &str) -> Result<FaultDocument, Error> {
        self.get(&format!("/v1/faults/{}", percent(code))).await
    }

    /// Gives an order about the work of a fault.
    pub async fn order(&self, request: &OrderRequest) -> Result<OrderedDocument, Error> {
        self.post("/v1/faults/order", request, true).await
    }

    /// Forgets kinds of faults.
    pub async fn forget_faults(&self, request: &ForgetRequest) -> Result<DoneDocument, Error> {
        self.post("/v1/faults/forget", request, true).await
    }

    /// Ends the daemon. It answers before it has ended; [`Client::gone`] waits for that.
    pub async fn shutdown(&self) -> Result<DoneDocument, Error> {
        self.post("/v1/shutdown", &(), true).await
    }

    /// Replaces the running binary by the one on disk. It answers when that one is fit to take over,
    /// and before it has.
    pub async fn upgrade(&self) -> Result<DoneDocument, Error> {
        self.post("/v1/upgrade", &(), false).await
    }

    /// The daemon's process, to be waited for; `None` where the kernel does not tell.
    pub async fn process(&self) -> Option<OwnedFd> {
        let stream = UnixStream::connect(&self.path).await.ok()?;
        let pid = rustix::process::Pid::from_raw(stream.peer_cred().ok()?.pid()?)?;
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
    }

    /// Waits until nobody listens on the socket any more, and that process has ended.
    ///
    /// # Errors
    /// [`Kind::TryLater`] if that is not so after `within`.
    pub async fn gone(&self, process: Option<OwnedFd>, within: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        loop {
            match UnixStream::connect(&self.path).await {
                Err(why)
                    if matches!(
                        why.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) && process.as_ref().is_none_or(has_ended) =>
                {
                    return Ok(());
                }
                _ if Instant::now() >= deadline => {
                    return Err(Error::new(
                        Kind::TryLater,
                        format!(
                            "the daemon at {} is still there after {} s",
                            self.path.display(),
                            within.as_secs_f32()
                        ),
                    )
                    .help("it may be waiting for a program to stop: look at its status and log"));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.within(true, self.exchange(Method::GET, path, None))
            .await
    }

    pub(crate) async fn post<T: DeserializeOwned, B: Serialize>(
        &self,
        path: &str,
        body: &B,
        limited: bool,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|why| {
            Error::new(
                Kind::Bug,
                format!("cannot write the request to {path} as JSON: {why}"),
            )
        })?;
        self.within(limited, self.exchange(Method::POST, path, Some(body)))
            .await
    }

    /// Gives up on `work` after the client's patience, if it is limited.
    async fn within<T>(
        &self,
        limited: bool,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if !limited {
            return work.await;
        }
        timeout(self.patience, work).await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::NotReachable,
                format!(
                    "the daemon at {} did not answer within {} s; whether it did what was asked is \
                     not known",
                    self.path.display(),
                    self.patience.as_secs_f32()
                ),
            )
            .help("look at its log, then ask for the status"))
        })
    }

    /// One request and the document that answers it.
    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, Error> {
        let (response, _line) = self.ask(method, path, body).await?;
        let bytes = self.whole(response.into_body()).await?;
        self.read(&bytes)
    }

    /// Sends one request; an error document becomes an error.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(Response<Incoming>, Line), Error> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|why| self.broken(&why))?;
        // What the connection ends with, the request ends with too.
        let line = Line(tokio::spawn(async move { drop(connection.await) }));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "mainstay")
            .header(header::ACCEPT, "application/json, application/octet-stream");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|why| {
                Error::new(
                    Kind::Bug,
                    format!("cannot make a request for {path}: {why}"),
                )
            })?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|why| self.broken(&why))?;
        if response.status().is_success() {
            return Ok((response, line));
        }
        let status = response.status();
        let bytes = self.whole(response.into_body()).await?;
        Err(self.refused(status, &bytes))
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        let deadline = Instant::now() + KNOCK;
        loop {
            match UnixStream::connect(&self.path).await {
                Ok(stream) => return Ok(stream),
                // The queue of the socket is full (connect(2), EAGAIN).
                Err(why)
                    if why.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    sleep(PAUSE).await;
                }
                Err(why) => return Err(unreachable(&self.path, &why)),
            }
        }
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Error> {
        Limited::new(body, LARGEST_ANSWER)
            .collect()
            .await
            .map(Collected::to_bytes)
            .map_err(|why| {
                Error::new(
                    Kind::NotReachable,
                    format!(
                        "the answer of the daemon at {} broke off: {why}",
                        self.path.display()
                    ),
                )
                .help("see whether it still runs, and look at its log")
            })
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let found = serde_json::from_slice::<Schema>(bytes).map_err(|why| self.nonsense(&why))?;
        if found.schema != SCHEMA {
            return Err(Error::new(
                Kind::OtherVersion,
                format!(
                    "the daemon at {} answers in schema {}, this program reads schema {SCHEMA}",
                    self.path.display(),
                    found.schema
                ),
            )
            .help(
                "use the command line of the same version as the daemon, or restart the daemon",
            ));
        }
        serde_json::from_slice(bytes).map_err(|why| self.nonsense(&why))
    }

    fn refused(&self, status: hyper::StatusCode, bytes: &[u8]) -> Error {
        match self.read::<ErrorDocument>(bytes) {
            Ok(document) => document.error,
            Err(error) if error.kind == Kind::OtherVersion => error,
            Err(_) => Error::new(
                Kind::Failed,
                format!(
                    "the daemon at {} answered {status}, without a reason",
                    self.path.display()
                ),
            )
            .help("check that a mainstay daemon listens there"),
        }
    }

    fn nonsense(&self, why: &serde_json::Error) -> Error {
        Error::new(
            Kind::Failed,
            format!(
                "the answer of the daemon at {} cannot be read: {why}",
                self.path.display()
            ),
        )
        .help("check that a mainstay daemon of this version listens there")
    }

    fn broken(&self, why: &hyper::Error) -> Error {
        Error::new(
            Kind::NotReachable,
            format!(
                "the daemon at {} ended the connection before it answered ({why}); whether it did \
                 what was asked is not known",
                self.path.display()
            ),
        )
        .help(
            "it may be ending, or have too many callers: look at its log, then ask for the status",
        )
    }
}

/// Why a socket cannot be reached, by what lies there.
fn unreachable(path: &Path, why: &io::Error) -> Error {
    let shown = path.display();
    match why.kind() {
        io::ErrorKind::NotFound => Error::new(
            Kind::NotReachable,
            format!("no daemon at {shown}: there is no such socket"),
        )
        .help(
            "start it with `mainstay run`; if it runs, it listens where [control] \
                     socket.path of its configuration says",
        ),
        io::ErrorKind::ConnectionRefused => match fs::metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => Error::new(
                Kind::Usage,
                format!("cannot reach a daemon at {shown}: it is not a socket"),
            )
            .help("name the socket that [control] socket.path of the daemon says"),
            _ => Error::new(
                Kind::NotReachable,
                format!("no daemon at {shown}: the socket is there, but nobody listens on it"),
            )
            .help("the daemon was killed; start it with `mainstay run`, which replaces the socket"),
        },
        io::ErrorKind::PermissionDenied => {
            let whose = fs::metadata(path).map_or_else(
                |_| "its directory cannot be entered".to_owned(),
                |meta| {
                    format!(
                        "it belongs to uid {} and gid {}, with mode {:04o}",
                        meta.uid(),
                        meta.gid(),
                        meta.mode() & 0o7777
                    )
                },
            );
            Error::new(Kind::Denied, format!("may not open {shown}: {whose}")).help(
                "ask as root, as the user that the daemon runs as, or as a member of the socket's \
                 group (a new membership counts from the next login)",
            )
        }
        io::ErrorKind::WouldBlock => Error::new(
            Kind::TryLater,
            format!("the daemon at {shown} accepts no more connections for now"),
        )
        .help("it may hang or have too many callers: look at its log, then ask again"),
        _ => Error::new(
            Kind::NotReachable,
            format!("cannot reach a daemon at {shown}: {why}"),
        )
        .help("check the path: it must be the socket of a running daemon"),
    }
}

/// The task that moves the bytes of one connection; ends with it.
#[derive(Debug)]
struct Line(JoinHandle<()>);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Captured output on its way. Its end is the end of what was asked for (or, of a stream that follows,
/// of the daemon); an error is a part that is missing.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    path: PathBuf,
    ended: bool,
    _line: Line,
}

impl LogStream {
    /// The next chunk, `None` at the end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|context| self.poll_chunk(context)).await
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        while !self.ended {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Ok(frame))) => {
                    // Whatever is no data (trailers) has no meaning here.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(why))) => {
                    self.ended = true;
                    let error = Error::new(
                        Kind::NotReachable,
                        format!("the logs from {} broke off: {why}", self.path.display()),
                    )
                    .help("see whether the daemon still runs, and look at its log");
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl futures_util::Stream for LogStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(context)
    }
}

/// A name as one segment of a path: everything but the unreserved characters and `:` is
/// percent-encoded (RFC 3986, sections 2.3 and 3.3).
fn percent(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for nibble in [byte >> 4, byte & 0xF] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    encoded
}

/// Whether the process has ended (`pidfd_open(2)`: its descriptor can be read then).
fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths() {
        let table = [
            ("web", "web"),
            ("web:0", "web:0"),
            ("shop:*", "shop:%2A"),
            ("a/b?c d", "a%2Fb%3Fc%20d"),
            ("50%", "50%25"),
            ("商", "%E5%95%86"),
        ];
        for (name, encoded) in table {
            assert_eq!(percent(name), encoded);
        }
    }

    #[test]
    fn why_nobody_is_reached() {
        use io::ErrorKind::{ConnectionRefused, NotFound, Other, PermissionDenied, WouldBlock};
        let table = [
            (NotFound, Kind::NotReachable, 7),
            (ConnectionRefused, Kind::NotReachable, 7),
            (PermissionDenied, Kind::Denied, 5),
            (WouldBlock, Kind::TryLater, 75),
            (Other, Kind::NotReachable, 7),
        ];
        for (why, kind, exit) in table {
            let error = unreachable(Path::new("/nowhere/mainstay.sock"), &why.into());
            assert_eq!((error.kind, error.exit_code()), (kind, exit), "{why:?}");
            assert!(error.message.contains("/nowhere/mainstay.sock"));
            assert!(error.help.is_some());
        }
    }
}

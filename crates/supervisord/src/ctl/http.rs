//! As much of HTTP/1.1 as supervisord's server and ours need from a client: one POST for a call,
//! one GET for a log without end, RFC 9112.
//!
//! Plain blocking sockets: a command line asks one question at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_base::base64;
use mainstay_base::secret::Secret;

use super::failure::Failure;
use crate::xmlrpc::Limits;

/// How long a connection may take to come about, and a request to be taken.
const CONNECT: Duration = Duration::from_secs(30);

/// How often a wait looks whether it was interrupted.
const TICK: Duration = Duration::from_millis(100);

/// The most bytes in the head of an answer, or in the line before a chunk.
const MAX_HEAD: u64 = 64 << 10;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `http://host:port`
    Tcp { host: String, port: u16 },
    /// `unix:///path`
    Unix(String),
}

impl Address {
    /// Reads a URL. As in the original a path in an `http` URL has no meaning.
    pub(super) fn parse(url: &str) -> Result<Self, Failure> {
        if let Some(path) = url.strip_prefix("unix://") {
            return Ok(Self::Unix(path.to_owned()));
        }
        let unknown = || Failure::Protocol(format!("Unknown protocol for serverurl {url}"));
        let rest = url.strip_prefix("http://").ok_or_else(unknown)?;
        let place = rest.split(['/', '?', '#']).next().unwrap_or("");
        let place = place.rsplit('@').next().unwrap_or("");
        let (host, port) = match place
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("")),
            None => place.split_once(':').unwrap_or((place, "")),
        };
        let port = match port {
            "" => 80,
            port => port
                .parse()
                .map_err(|_| Failure::Protocol(format!("no port number in serverurl {url}")))?,
        };
        Ok(Self::Tcp {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    fn host(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    fn connect(&self) -> io::Result<Socket> {
        let (host, port) = match self {
            Self::Unix(path) => return Ok(Socket::Unix(UnixStream::connect(path)?)),
            Self::Tcp { host, port } => (host, port),
        };
        let host = if host.is_empty() { "localhost" } else { host };
        let mut failed = None;
        for address in (host, *port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Socket::Tcp(stream));
                }
                // The first failure is that of the address which is preferred.
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: Secret,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_timeouts(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(CONNECT))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(CONNECT))
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn close(&self) {
        // It may be closed already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// A socket whose reads can be interrupted, and end after a silence.
struct Patient {
    socket: Socket,
    interrupt: Arc<AtomicBool>,
    patience: Option<Duration>,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = self.patience;
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(io::Error::other(Interrupted));
            }
            let read = match &mut self.socket {
                Socket::Tcp(stream) => stream.read(buffer),
                Socket::Unix(stream) => stream.read(buffer),
            };
            match read {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why)
                    if matches!(
                        why.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    left = match left.map(|left| left.checked_sub(TICK)) {
                        None => None,
                        Some(Some(left)) => Some(left),
                        Some(None) => return Err(io::ErrorKind::TimedOut.into()),
                    };
                }
                other => return other,
            }
        }
    }
}

/// The marker of a wait that was interrupted.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn io_failure(why: io::Error) -> Failure {
    if why
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Interrupted>)
    {
        Failure::Interrupted
    } else {
        Failure::Io(why)
    }
}

/// One connection to a server, for one request after the other.
pub(super) struct Connection {
    reader: BufReader<Patient>,
    host: String,
    used: bool,
}

/// The head of an answer.
struct Head {
    status: u16,
    reason: String,
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

impl Connection {
    /// Connects. A wait ends when `interrupt` is set.
    pub(super) fn open(address: &Address, interrupt: Arc<AtomicBool>) -> Result<Self, Failure> {
        let socket = address.connect().map_err(Failure::Connect)?;
        socket.set_timeouts().map_err(Failure::Io)?;
        Ok(Self {
            reader: BufReader::with_capacity(
                64 << 10,
                Patient {
                    socket,
                    interrupt,
                    patience: None,
                },
            ),
            host: address.host(),
            used: false,
        })
    }

    /// Whether it has answered before, so that the server may have closed it since.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// Posts a call. Gives the body, and whether the connection can be used again. `patience` is
    /// how long the server may be silent.
    pub(super) fn post(
        &mut self,
        body: &[u8],
        credentials: Option<&Credentials>,
        patience: Option<Duration>,
    ) -> Result<(Vec<u8>, bool), Failure> {
        let mut request = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: {}\r\nUser-Agent: mainstay\r\nAccept: text/xml\r\n\
             Content-Type: text/xml\r\nContent-Length: {}\r\n",
            self.host,
            body.len()
        )
        .into_bytes();
        authorize(credentials, &mut request);
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.reader.get_mut().patience = patience;
        self.send(&request)?;
        let head = self.head()?;
        self.used = true;
        if head.status != 200 {
            return Err(Failure::Http {
                status: head.status,
                reason: head.reason,
            });
        }
        let most = Limits::RESPONSE.bytes as u64;
        let mut body = Vec::new();
        let mut keep = !head.close;
        if head.chunked {
            while let Some(length) = self.chunk_length()? {
                if body.len() as u64 + length > most {
                    return Err(too_long());
                }
                self.fill(length, &mut body)?;
                self.line()?;
            }
        } else if let Some(length) = head.length {
            if length > most {
                return Err(too_long());
            }
            self.fill(length, &mut body)?;
        } else {
            keep = false;
            let mut rest = (&mut self.reader).take(most);
            rest.read_to_end(&mut body).map_err(io_failure)?;
        }
        Ok((body, keep))
    }

    /// Follows a log: hands its bytes to `each` until the server ends it.
    pub(super) fn follow(
        mut self,
        path: &str,
        credentials: Option<&Credentials>,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: mainstay\r\nAccept: */*\r\n",
            self.host
        )
        .into_bytes();
        authorize(credentials, &mut request);
        request.extend_from_slice(b"\r\n");
        self.send(&request)?;
        let head = self.head()?;
        if head.status != 200 {
            return Err(Failure::Http {
                status: head.status,
                reason: head.reason,
            });
        }
        if !head.chunked {
            let rest = head.length.unwrap_or(u64::MAX);
            return self.pass_on(rest, &mut each);
        }
        while let Some(length) = self.chunk_length()? {
            self.pass_on(length, &mut each)?;
            self.line()?;
        }
        Ok(())
    }

    fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        let socket = &mut self.reader.get_mut().socket;
        socket.write_all(request).map_err(Failure::Io)
    }

    fn pass_on(
        &mut self,
        mut length: u64,
        each: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        while length > 0 {
            let ready = self.reader.fill_buf().map_err(io_failure)?;
            if ready.is_empty() {
                break;
            }
            let take = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(ready.len());
            each(&ready[..take]).map_err(Failure::Output)?;
            self.reader.consume(take);
            length -= take as u64;
        }
        Ok(())
    }

    fn fill(&mut self, length: u64, body: &mut Vec<u8>) -> Result<(), Failure> {
        let mut part = (&mut self.reader).take(length);
        let read = part.read_to_end(body).map_err(io_failure)?;
        if (read as u64) < length {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let mut part = (&mut self.reader).take(MAX_HEAD);
        part.read_until(b'\n', &mut line).map_err(io_failure)?;
        if line.pop() != Some(b'\n') {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let status = self.line()?;
        let mut words = status.splitn(3, ' ');
        let version = words.next().unwrap_or("");
        let code = words.next().and_then(|code| code.parse().ok());
        let (true, Some(code)) = (version.starts_with("HTTP/1."), code) else {
            return Err(Failure::Protocol("the server does not speak HTTP".into()));
        };
        let mut head = Head {
            status: code,
            reason: words.next().unwrap_or("").to_owned(),
            length: None,
            chunked: false,
            close: version == "HTTP/1.0",
        };
        let mut bytes = 0;
        loop {
            let line = self.line()?;
            bytes += line.len() as u64;
            if bytes > MAX_HEAD {
                return Err(too_long());
            }
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().ok(),
                "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" => head.close = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
    }

    /// The length of the next chunk; `None` after the last.
    fn chunk_length(&mut self) -> Result<Option<u64>, Failure> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or("").trim();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|_| Failure::Protocol("the server sent a bad chunk".into()))?;
        if length > 0 {
            return Ok(Some(length));
        }
        // Trailers, up to an empty line. The original's server may leave that out.
        while self.line().is_ok_and(|line| !line.is_empty()) {}
        Ok(None)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.get_ref().socket.close();
    }
}

fn too_long() -> Failure {
    Failure::Protocol("the server's answer is too long".into())
}

fn authorize(credentials: Option<&Credentials>, request: &mut Vec<u8>) {
    let Some(Credentials { username, password }) = credentials else {
        return;
    };
    request.extend_from_slice(b"Authorization: Basic ");
    let both = format!("{username}:{}", password.expose());
    request.extend_from_slice(base64(both.as_bytes()).as_bytes());
    request.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let tcp = |host: &str, port| {
            Some(Address::Tcp {
                host: host.into(),
                port,
            })
        };
        for (url, expected) in [
            (
                "unix:///run/s.sock",
                Some(Address::Unix("/run/s.sock".into())),
            ),
            ("http://localhost:9001", tcp("localhost", 9001)),
            ("http://Host/x:y", tcp("host", 80)),
            ("http://u:p@h:1/", tcp("h", 1)),
            ("http://[::1]:9", tcp("::1", 9)),
            ("http://*:9", tcp("*", 9)),
            ("http://h:port", None),
            ("https://h", None),
            ("", None),
        ] {
            assert_eq!(Address::parse(url).ok(), expected, "{url}");
        }
    }
}

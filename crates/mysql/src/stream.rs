//! What packets go over: TCP or a unix socket, in clear or under TLS, with a time limit on everything.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mainstay_base::net;
use rustix::net::sockopt;
use rustls::{ClientConnection, StreamOwned};

use crate::auth::Privacy;
use crate::error::{Error, ErrorKind};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host, by name or address, and a port; 3306 is usual.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket on this machine.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How long is waited for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection until the user is let in, all together. What looking up a name takes is the
    /// resolver's to limit.
    pub connect: Duration,
    /// For a server that says nothing while it is to answer; a statement that works for long before
    /// its first row needs as much. `None`: for ever.
    pub read: Option<Duration>,
    /// For a server that takes nothing of what is sent.
    pub write: Option<Duration>,
}

impl Default for Timeouts {
    /// 10 s, 10 minutes, 1 minute.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Some(Duration::from_mins(10)),
            write: Some(Duration::from_mins(1)),
        }
    }
}

/// A stream that somebody else has opened: a tunnel, or a test.
pub trait Transport: Read + Write + Send {}

impl<T: Read + Write + Send> Transport for T {}

enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket.
pub(crate) struct Socket {
    raw: Raw,
    timeouts: Timeouts,
    /// Until then all must be over.
    deadline: Option<Instant>,
}

impl Socket {
    fn set(&self, read: bool, timeout: Option<Duration>) -> io::Result<()> {
        match (&self.raw, read) {
            (Raw::Tcp(raw), true) => raw.set_read_timeout(timeout),
            (Raw::Tcp(raw), false) => raw.set_write_timeout(timeout),
            (Raw::Unix(raw), true) => raw.set_read_timeout(timeout),
            (Raw::Unix(raw), false) => raw.set_write_timeout(timeout),
        }
    }

    /// What is left of the deadline becomes the limit of the next call.
    fn hurry(&self, read: bool) -> io::Result<()> {
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.set(read, Some(left))
    }

    /// From here on only silence is limited.
    pub(crate) fn relax(&mut self) -> io::Result<()> {
        self.deadline = None;
        self.set(true, self.timeouts.read)?;
        self.set(false, self.timeouts.write)
    }

    fn privacy(&self) -> Privacy {
        match &self.raw {
            Raw::Unix(_) => Privacy::Socket,
            Raw::Tcp(raw) => match raw.peer_addr() {
                Ok(address) if address.ip().to_canonical().is_loopback() => Privacy::Loopback,
                _ => Privacy::Open,
            },
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.hurry(true)?;
        match &mut self.raw {
            Raw::Tcp(raw) => raw.read(buffer),
            Raw::Unix(raw) => raw.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hurry(false)?;
        match &mut self.raw {
            Raw::Tcp(raw) => raw.write(bytes),
            Raw::Unix(raw) => raw.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What packets go over.
pub(crate) enum Stream {
    Clear(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
    Given(Box<dyn Transport>),
    /// It is broken, and closed.
    Closed,
}

impl Stream {
    pub(crate) fn open(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Self, Error> {
        let begun = Instant::now();
        let deadline = begun + timeouts.connect;
        let raw = match endpoint {
            Endpoint::Tcp { host, port } => tcp(host, *port, deadline).map(Raw::Tcp),
            Endpoint::Unix(path) => net::connect_unix(path, timeouts.connect).map(Raw::Unix),
        };
        let raw = raw.map_err(|error| refused(endpoint, error))?;
        Ok(Self::Clear(Socket {
            raw,
            timeouts,
            deadline: Some(deadline),
        }))
    }

    pub(crate) fn privacy(&self) -> Privacy {
        match self {
            Self::Clear(socket) => socket.privacy(),
            Self::Tls(_) => Privacy::Tls,
            // Nobody knows what it is.
            Self::Given(_) | Self::Closed => Privacy::Open,
        }
    }

    pub(crate) fn relax(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.relax(),
            Self::Tls(stream) => stream.sock.relax(),
            Self::Given(_) | Self::Closed => Ok(()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Given(stream) => stream.read(buffer),
            Self::Closed => Ok(0),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Given(stream) => stream.write(bytes),
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Given(stream) => stream.flush(),
            Self::Closed => Ok(()),
        }
    }
}

fn refused(endpoint: &Endpoint, error: io::Error) -> Error {
    let (kind, reason, help) = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => (
            ErrorKind::Timeout,
            "nobody answered in time",
            "is the host up, and does a firewall let the port through?",
        ),
        io::ErrorKind::ConnectionRefused => (
            ErrorKind::Connect,
            "nobody listens there",
            "does the server run, and is it there that it listens?",
        ),
        io::ErrorKind::NotFound => (
            ErrorKind::Connect,
            "there is no such socket",
            "does the server run? `SHOW VARIABLES LIKE 'socket'` says where its socket is",
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Connect,
            "this user may not use the socket",
            "check the mode of the directories above it",
        ),
        _ => (
            ErrorKind::Connect,
            "it cannot be reached",
            match endpoint {
                Endpoint::Tcp { .. } => "check the name of the host and the network",
                Endpoint::Unix(_) => "check that it is the server's socket",
            },
        ),
    };
    Error::new(kind, reason).with_help(help).with_source(error)
}

fn tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let stream = net::connect(&addresses, deadline)?;
    stream.set_nodelay(true)?;
    // A peer that is gone without a word is noticed (tcp(7)).
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_mins(1))?;
    Ok(stream)
}

//! A connection to a server: plain, through a socket in the file system, or by TLS.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_base::Secret;
use mainstay_base::net::{self, Timed};
use mainstay_base::tls::{self, Tls};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::resp::{self, Value};
use crate::error::{Error, ErrorKind, reason_of_io};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take from its first byte to its last.
const ANSWER: Duration = Duration::from_secs(30);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or a number, and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How to get to a server and what to say there.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    /// What the config says, and what was made of it.
    pub(super) tls: Option<(Tls, Arc<ClientConfig>)>,
}

/// Why a conversation failed.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    /// The server said no, in its words.
    Refused(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Trouble {
    /// Whether nobody is there: the server is down, or the name or the way to it is wrong.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ))
    }

    /// The error of the crate, with what to do about it.
    pub(super) fn explain(self, attempt: &str) -> Error {
        let said = match self {
            Self::Io(error) => return explain_io(attempt, &error),
            Self::Refused(said) => said,
        };
        let (kind, help) = guidance(&said);
        // Nothing we sent comes back in an answer but the name of a command.
        let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
        let error = Error::new(kind, attempt, format!("the server says: {said}"));
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

/// What to do about a refusal, by its code.
fn guidance(said: &str) -> (ErrorKind, Option<&'static str>) {
    const RIGHTS: &str = "the user needs: ACL SETUSER NAME on >PASSWORD +ping +info +psync +replconf +client|setname +acl|list +config|get +cluster|slots; nothing was stored";
    let code = said.split(' ').next().unwrap_or_default();
    match code {
        "NOAUTH" => (
            ErrorKind::Denied,
            Some(
                "the server wants a password: add `password = \"${secret.NAME}\"` (and `user`, if it is not the default one) to `redis`",
            ),
        ),
        "WRONGPASS" => (
            ErrorKind::Denied,
            Some("check `user` and `password` of `redis`, and that the user is `on` in ACL LIST"),
        ),
        "NOPERM" => (ErrorKind::Denied, Some(RIGHTS)),
        "LOADING" => (
            ErrorKind::SourceUnreadable,
            Some(
                "it is still reading its own data: run the backup again when it is done (`redis-cli INFO persistence` says how far it is)",
            ),
        ),
        "NOMASTERLINK" => (
            ErrorKind::SourceUnreadable,
            Some(
                "this replica is not connected with its master: look at master_link_status in INFO replication, or name the master as `address`",
            ),
        ),
        "MASTERDOWN" => (
            ErrorKind::SourceUnreadable,
            Some(
                "this replica has lost its master and does not serve old data (replica-serve-stale-data no): bring the master back, or name another server as `address`",
            ),
        ),
        "DENIED" => (
            ErrorKind::Denied,
            Some(
                "protected mode answers only to its own machine: set a password there and name it here, or run mainstay on that machine",
            ),
        ),
        _ if said.contains("max number of clients") => (
            ErrorKind::SourceUnreadable,
            Some("raise maxclients of the server, or run the backup when fewer are connected"),
        ),
        _ if said.contains("unknown command") => (
            ErrorKind::SourceUnreadable,
            Some(
                "the server does not know the command, or it was renamed or switched off there (managed services often do that to PSYNC): pull from a replica of your own",
            ),
        ),
        _ => (ErrorKind::SourceUnreadable, None),
    }
}

fn explain_io(attempt: &str, error: &io::Error) -> Error {
    use io::ErrorKind as Kind;
    if let Some(fault) = tls::fault(error) {
        return Error::new(
            ErrorKind::SourceUnreadable,
            attempt,
            format!("TLS: {fault}"),
        )
        .with_help(tls::help(fault));
    }
    let (kind, help) = match error.kind() {
        Kind::ConnectionRefused | Kind::NotFound => (
            ErrorKind::SourceMissing,
            "start the server, or check the address in `redis`; nothing was stored, and no older snapshot was removed",
        ),
        Kind::PermissionDenied => (
            ErrorKind::Denied,
            "run mainstay as a user who may connect to the socket (`unixsocketperm` and the group of it), or as root",
        ),
        Kind::TimedOut | Kind::WouldBlock => (
            ErrorKind::SourceMissing,
            "check that the server is not hung (`redis-cli --latency`) and that no firewall is in between; if the server speaks TLS only, `redis` needs `tls`",
        ),
        Kind::UnexpectedEof
        | Kind::ConnectionReset
        | Kind::BrokenPipe
        | Kind::ConnectionAborted => (
            ErrorKind::SourceUnreadable,
            "the server closed the connection: its log says why (it was stopped, its child for the dump died for want of memory, `maxclients`, `client-output-buffer-limit replica`, or it speaks TLS only); nothing was stored",
        ),
        _ => (
            ErrorKind::SourceUnreadable,
            "look at the log of the server; nothing was stored",
        ),
    };
    let why = match error.kind() {
        Kind::TimedOut | Kind::WouldBlock => "it does not answer".to_owned(),
        Kind::UnexpectedEof => "the connection was closed in the middle".to_owned(),
        _ => reason_of_io(error),
    };
    Error::new(kind, attempt, why).with_help(help)
}

enum Wire {
    Tcp(Timed<TcpStream>),
    Unix(Timed<UnixStream>),
    Tls(Box<StreamOwned<ClientConnection, Timed<TcpStream>>>),
}

impl Wire {
    /// From now on, everything may take so long.
    fn extend(&mut self, time: Duration) {
        let until = Instant::now() + time;
        match self {
            Self::Tcp(stream) => stream.until = until,
            Self::Unix(stream) => stream.until = until,
            Self::Tls(stream) => stream.sock.until = until,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection whose server knows who we are.
pub(super) struct Client {
    wire: BufReader<Wire>,
    /// Whether there was a password to give and nobody who asked for one.
    pub(super) needless_password: bool,
}

impl Client {
    pub(super) fn connect(address: &Address, dial: &Dial) -> Result<Self, Trouble> {
        let until = Instant::now() + ANSWER;
        let wire = match address {
            Address::Unix(path) => Wire::Unix(Timed {
                socket: net::connect_unix(path, CONNECT)?,
                until,
            }),
            Address::Tcp(host, port) => {
                let socket = reach(host, *port)?;
                socket.set_nodelay(true)?;
                let timed = Timed { socket, until };
                match &dial.tls {
                    None => Wire::Tcp(timed),
                    Some((tls, client)) => {
                        let name = tls.name(host).map_err(io::Error::from)?;
                        Wire::Tls(Box::new(tls::begin(Arc::clone(client), name, timed)?))
                    }
                }
            }
        };
        let mut client = Self {
            wire: BufReader::with_capacity(256 << 10, wire),
            needless_password: false,
        };
        if let Some(password) = &dial.password {
            let mut parts: Vec<&[u8]> = vec![b"AUTH"];
            parts.extend(dial.user.as_ref().map(String::as_bytes));
            parts.push(password.expose().as_bytes());
            match client.ask_raw(&parts)? {
                Value::Error(said) if said.contains("without any password configured") => {
                    client.needless_password = true;
                }
                Value::Error(said) => return Err(Trouble::Refused(said)),
                _ => {}
            }
        }
        Ok(client)
    }

    /// Sends a command and gives the answer; a refusal is an error.
    pub(super) fn ask(&mut self, parts: &[&str]) -> Result<Value, Trouble> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        match self.ask_raw(&parts)? {
            Value::Error(said) => Err(Trouble::Refused(said)),
            value => Ok(value),
        }
    }

    fn ask_raw(&mut self, parts: &[&[u8]]) -> Result<Value, Trouble> {
        self.allow(ANSWER);
        let command = resp::command(parts);
        self.wire.get_mut().write_all(&command)?;
        self.wire.get_mut().flush()?;
        Ok(resp::read(&mut self.wire)?)
    }

    /// Sends a command whose answer comes later, or never.
    pub(super) fn say(&mut self, parts: &[&str]) -> io::Result<()> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        self.wire.get_mut().write_all(&resp::command(&parts))?;
        self.wire.get_mut().flush()
    }

    /// From now on the server may be silent for so long.
    pub(super) fn allow(&mut self, time: Duration) {
        self.wire.get_mut().extend(time);
    }

    /// What has come, waiting for it; nothing if the server closed. It may be silent for so long;
    /// `stop` is asked about every second, and ends the wait.
    pub(super) fn wait(&mut self, silence: Duration, stop: &dyn Fn() -> bool) -> io::Result<&[u8]> {
        let until = Instant::now() + silence;
        loop {
            if stop() {
                return Err(io::Error::other("cancelled"));
            }
            self.allow(Duration::from_secs(1));
            match self.wire.fill_buf() {
                Ok(_) => return Ok(self.wire.buffer()),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                        if Instant::now() < until => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Takes that many bytes of what [`Client::wait`] gave.
    pub(super) fn consume(&mut self, count: usize) {
        self.wire.consume(count);
    }

    /// The next line that is not empty: a server sends empty ones so that we know that it lives.
    pub(super) fn line(
        &mut self,
        silence: Duration,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<String> {
        loop {
            match self.wait(silence, stop)?.first() {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(b'\n') => self.consume(1),
                Some(_) => {
                    self.allow(ANSWER);
                    let line = resp::read_line(&mut self.wire)?;
                    return Ok(String::from_utf8_lossy(&line).into_owned());
                }
            }
        }
    }

    /// Leaves. A server takes a replica off its list when its connection is closed; there is no word
    /// for it.
    pub(super) fn leave(mut self) {
        let wire = self.wire.get_mut();
        wire.extend(Duration::from_secs(1));
        let both = std::net::Shutdown::Both;
        match wire {
            Wire::Tcp(stream) => drop(stream.socket.shutdown(both)),
            Wire::Unix(stream) => drop(stream.socket.shutdown(both)),
            Wire::Tls(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
                let _ = stream.sock.socket.shutdown(both);
            }
        }
    }
}

fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| io::Error::new(io::ErrorKind::NotFound, reason_of_io(&error)))?
        .collect();
    net::connect(&addresses, Instant::now() + CONNECT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        for (said, kind, help) in [
            (
                "NOAUTH Authentication required.",
                ErrorKind::Denied,
                "add `password",
            ),
            (
                "WRONGPASS invalid username-password pair",
                ErrorKind::Denied,
                "check `user`",
            ),
            (
                "NOPERM this user has no permissions to run the 'psync' command",
                ErrorKind::Denied,
                "+psync",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                ErrorKind::SourceUnreadable,
                "again",
            ),
            (
                "NOMASTERLINK Can't SYNC while not connected with my master",
                ErrorKind::SourceUnreadable,
                "master_link_status",
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                ErrorKind::SourceUnreadable,
                "bring the master back",
            ),
            (
                "DENIED Redis is running in protected mode",
                ErrorKind::Denied,
                "protected mode",
            ),
            (
                "ERR max number of clients reached",
                ErrorKind::SourceUnreadable,
                "maxclients",
            ),
            (
                "ERR unknown command 'PSYNC'",
                ErrorKind::SourceUnreadable,
                "managed services",
            ),
        ] {
            let error = Trouble::Refused(said.to_owned()).explain("pull");
            assert_eq!(error.kind(), kind, "{said}");
            assert!(error.help().unwrap().contains(help), "{error:?}");
            assert!(error.to_string().contains(said));
        }
    }

    #[test]
    fn broken_connections_say_what_to_do() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, ErrorKind::SourceMissing),
            (io::ErrorKind::TimedOut, ErrorKind::SourceMissing),
            (io::ErrorKind::UnexpectedEof, ErrorKind::SourceUnreadable),
            (io::ErrorKind::InvalidData, ErrorKind::SourceUnreadable),
            (io::ErrorKind::PermissionDenied, ErrorKind::Denied),
        ] {
            let error = Trouble::Io(kind.into()).explain("pull");
            assert_eq!(error.kind(), expected, "{kind}");
            assert!(error.help().is_some());
        }
    }
}

//! One connection to a peer, with a time limit on everything.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mainstay_base::{net, tls};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socket_with, sockopt};
use rustls::ClientConnection;

use super::endpoint::{self, Net};
use super::tls::TlsClient;
use crate::error::Reason;

/// How long a sink waits for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included. What looking up a name takes is the resolver's to limit.
    pub connect: Duration,
    /// For a batch of records to be taken.
    pub write: Duration,
    /// For an answer, where the protocol has any.
    pub read: Duration,
}

impl Default for Timeouts {
    /// 5 s, 10 s and 10 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            write: Duration::from_secs(10),
            read: Duration::from_secs(10),
        }
    }
}

/// How long a peer that was shown a certificate may take to refuse it.
const REFUSAL: Duration = Duration::from_millis(500);
/// How much a peer that should not say anything may say before that is looked at again later.
const CHATTER: usize = 64;

/// A nonblocking socket that waits as long as it is told to.
struct Socket {
    fd: OwnedFd,
    /// Until then; `None`: not at all.
    until: Option<Instant>,
}

impl Socket {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let Some(until) = self.until else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if wait_for(self.fd.as_fd(), flags, until)? {
            Ok(())
        } else {
            Err(timed_out())
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer in time")
}

/// Whether a descriptor becomes ready in time. Errors of it are ready too: the next call says which.
pub(super) fn wait_for(fd: BorrowedFd<'_>, flags: PollFlags, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 3600,
            tv_nsec: 0,
        });
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        match poll(&mut fds, Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(read) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a connection is made to and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) net: Net,
    pub(super) address: String,
    pub(super) tls: Option<TlsClient>,
    pub(super) timeouts: Timeouts,
    /// A peer that is silent so long is asked whether it is there (tcp(7)).
    pub(super) keepalive: Option<Duration>,
}

/// A stream to a peer.
pub(super) struct Connection {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

impl Connection {
    /// Connects, at most for as long as the target says.
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        Self::try_open(target).map_err(|error| {
            let mut text = format!(
                "cannot connect to {} {}: {}",
                target.net,
                target.address,
                Reason(&error)
            );
            if let Some(fault) = tls::fault(&error) {
                let _ = write!(text, "; {}", tls::help(fault));
            }
            io::Error::new(error.kind(), text)
        })
    }

    fn try_open(target: &Target) -> io::Result<Self> {
        let until = Instant::now() + target.timeouts.connect;
        let fd = if target.net.is_unix() {
            unix(SocketType::STREAM, &target.address)?
        } else {
            tcp(target, until)?
        };
        let mut connection = Self {
            socket: Socket {
                fd,
                until: Some(until),
            },
            tls: None,
        };
        if let Some(tls) = &target.tls {
            let session = ClientConnection::new(tls.config.clone(), tls.name.clone())
                .map_err(io::Error::other)?;
            let session = connection.tls.insert(Box::new(session));
            while session.is_handshaking() {
                let (read, _) = session.complete_io(&mut connection.socket)?;
                if read == 0 && session.is_handshaking() && !session.wants_write() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // What the handshake left to be said.
            while session.wants_write() {
                session.write_tls(&mut connection.socket)?;
            }
            if tls.shows_identity {
                let until = until.min(Instant::now() + REFUSAL);
                wait_for(connection.socket.fd.as_fd(), PollFlags::IN, until)?;
                connection.check()?;
            }
        }
        Ok(connection)
    }

    /// An error if the peer has closed the connection or it broke. What a peer says meanwhile is
    /// thrown away: unread, it would make the kernel throw away what the peer has not read when we
    /// close.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.socket.until = None;
        match self.take_chatter() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    fn take_chatter(&mut self) -> io::Result<()> {
        let closed = || {
            io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the peer closed the connection",
            )
        };
        let mut scratch = [0; 4096];
        for _ in 0..CHATTER {
            match &mut self.tls {
                None => {
                    if self.socket.read(&mut scratch)? == 0 {
                        return Err(closed());
                    }
                }
                Some(tls) => {
                    let read = tls.read_tls(&mut self.socket)?;
                    let state = tls.process_new_packets().map_err(invalid)?;
                    let mut left = state.plaintext_bytes_to_read();
                    while left > 0 {
                        let most = left.min(scratch.len());
                        match tls.reader().read(&mut scratch[..most])? {
                            0 => break,
                            read => left -= read,
                        }
                    }
                    if read == 0 || state.peer_has_closed() {
                        return Err(closed());
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands on the bytes from `sent` on, and counts in it those that are gone: in the kernel, or in
    /// TLS, whose own rest goes with a later call if there is no time left.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        sent: &mut usize,
        until: Instant,
    ) -> io::Result<()> {
        self.socket.until = Some(until);
        match &mut self.tls {
            None => {
                while *sent < bytes.len() {
                    *sent += self.socket.write(&bytes[*sent..])?;
                }
            }
            Some(tls) => loop {
                while tls.wants_write() {
                    if tls.write_tls(&mut self.socket)? == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                }
                if *sent == bytes.len() {
                    break;
                }
                *sent += tls.writer().write(&bytes[*sent..])?;
            },
        }
        Ok(())
    }

    /// Reads what the peer says; 0 is the end.
    pub(super) fn receive(&mut self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        self.socket.until = Some(until);
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Cut off without a word: whoever reads knows by its own framing if that is the end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
            tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(invalid)?;
        }
    }

    /// Says that this was all, and waits at most so long for the peer to have read it and close too.
    /// Returns whether it did.
    pub(super) fn close(mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        self.socket.until = Some(until);
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() {
                if tls.write_tls(&mut self.socket).is_err() {
                    return false;
                }
            }
        }
        if rustix::net::shutdown(&self.socket.fd, rustix::net::Shutdown::Write).is_err() {
            return false;
        }
        let mut scratch = [0; 4096];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// The words of TLS as an error of a connection.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Connects to the first address of the name that answers.
fn tcp(target: &Target, until: Instant) -> io::Result<OwnedFd> {
    let addresses = endpoint::resolve(target.net, &target.address)?;
    let stream = net::connect(&addresses, until)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    if let Some(after) = target.keepalive {
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, after)?;
        sockopt::set_tcp_keepintvl(&stream, after)?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
    }
    Ok(stream.into())
}

/// Connects a unix socket. It never waits: where too many do already, that is an error.
pub(super) fn unix(kind: SocketType, address: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::io::retry_on_intr(|| {
        rustix::net::connect(&fd, &endpoint::unix(address).map_err(to_errno)?)
    })?;
    Ok(fd)
}

fn to_errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

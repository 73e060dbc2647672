//! Connections that do not wait for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// Connects to the first of these addresses that answers, until then. Each gets an equal part of what is
/// left, so that one which is dead does not use up all.
pub fn connect(addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let left = until.saturating_duration_since(Instant::now()) / others;
        match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
            Ok(stream) if is_to_itself(&stream) => {
                let _ = stream.shutdown(Shutdown::Both);
                failed = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A port of our own machine that nobody listens at can be the one we call from; then we would be our
/// own peer, and take the port away from whoever should listen there.
fn is_to_itself(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local == peer,
        _ => false,
    }
}

/// Connects to a unix socket. A connect(2) to one waits while the server's queue is full; its limit is
/// that of a send.
pub fn connect_unix(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// A socket whose calls can be given a limit.
pub trait Limited: Read + Write {
    /// How long the next reads may wait.
    fn limit_reads(&self, time: Duration) -> io::Result<()>;
    /// How long the next writes may wait.
    fn limit_writes(&self, time: Duration) -> io::Result<()>;
}

impl Limited for TcpStream {
    fn limit_reads(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
    fn limit_writes(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

impl Limited for UnixStream {
    fn limit_reads(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
    fn limit_writes(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

/// A connection on which nothing waits beyond a moment.
#[derive(Debug)]
pub struct Timed<S> {
    /// The connection.
    pub socket: S,
    /// Then everything on it fails with [`io::ErrorKind::TimedOut`].
    pub until: Instant,
}

impl<S> Timed<S> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl<S: Limited> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.limit_reads(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl<S: Limited> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.limit_writes(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_address_that_is_dead_leaves_time_for_the_others() {
        // Nobody accepts: when the queue is full, the kernel answers no more.
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&deaf, 0).unwrap();
        let dead = deaf.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&dead, Duration::from_millis(500)) {
            waiting.push(stream);
        }
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = good.local_addr().map(|address| (good, address)).unwrap();
        let until = Instant::now() + Duration::from_secs(4);
        let stream = connect(&[dead, good.1], until).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good.1);
        let error = connect(&[dead], Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = connect(&[], until).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_server_that_accepts_nobody_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        assert!(connect_unix(&path, Duration::from_secs(10)).is_err());
        let deaf = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&deaf, 0).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect_unix(&path, Duration::from_millis(50)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!waiting.is_empty());
    }

    #[test]
    fn nothing_waits_beyond_its_moment() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let mut timed = Timed {
            socket: ours,
            until: Instant::now(),
        };
        let late = |error: io::Error| {
            let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
            assert!(kinds.contains(&error.kind()), "{error}");
        };
        late(timed.read(&mut [0]).unwrap_err());
        late(timed.write(&[0]).unwrap_err());
        timed.until = Instant::now() + Duration::from_millis(20);
        late(timed.read(&mut [0]).unwrap_err());
        timed.until = Instant::now() + Duration::from_mins(1);
        peer.write_all(b"x").unwrap();
        assert_eq!(timed.read(&mut [0]).unwrap(), 1);
    }
}

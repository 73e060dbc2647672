//! Records over TCP, TLS, UDP and unix sockets.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_base::Clock;
use mainstay_base::tls::Tls;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, send, sockopt};

use super::backoff::{Backoff, Pause};
use super::connection::{self, Connection, Target, Timeouts, wait_for};
use super::endpoint::{self, Net};
use super::losses::Losses;
use super::text;
use super::tls::TlsClient;
use crate::batch::{Batch, Entry, Unwritten};
use crate::error::{Error, Notice, Reason};
use crate::level::Level;
use crate::sink::Sink;

/// How the borders of records are told in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Records go as their format wrote them.
    None,
    /// A line feed ends each record; one that has none gets one. Line feeds inside a record are not
    /// touched: use a format that has none, if each line is a record for the peer.
    #[default]
    Newline,
    /// The length in decimal and a space go before each record (RFC 6587, 3.4.1; RFC 5425, 4.3). The
    /// line feed at its end does not go.
    OctetCounting,
}

/// Where a [`StreamSink`] sends records and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// The kind of network.
    pub net: Net,
    /// `host:port`, or the path of a unix socket, or `@name` in the abstract namespace.
    pub address: String,
    /// TLS, over TCP only.
    pub tls: Option<Tls>,
    /// Each record gets a connection of its own (seelog's `reconnectonmsg`).
    pub reconnect_per_message: bool,
    /// How long to wait for the peer.
    pub timeouts: Timeouts,
    /// A TCP peer that is silent so long is asked whether it is there; given up after three times
    /// that.
    pub keepalive: Option<Duration>,
    /// How the borders of records are told. Datagrams have borders: with anything but
    /// [`Framing::None`] they go without their line feed.
    pub framing: Framing,
    /// The largest datagram; a longer record is cut, and that is said.
    pub largest: usize,
    /// How long a peer that cannot be reached is left alone.
    pub pause: Pause,
}

impl StreamConfig {
    /// A place, and defaults: no TLS, one connection for all, [`Timeouts::default`], keepalive after
    /// 30 s, lines, datagrams of at most 65,507 bytes, [`Pause::CONNECT`].
    pub fn new(net: Net, address: impl Into<String>) -> Self {
        Self {
            net,
            address: address.into(),
            tls: None,
            reconnect_per_message: false,
            timeouts: Timeouts::default(),
            keepalive: Some(Duration::from_secs(30)),
            framing: Framing::default(),
            largest: 65_507,
            pause: Pause::CONNECT,
        }
    }
}

/// So much is sent in one piece. As it is what a TLS record holds at most, the kernel has all of a
/// piece or the peer can decrypt nothing of it.
const PIECE: usize = 16 << 10;
/// How long a peer gets to read the last records when the sink goes.
const FAREWELL: Duration = Duration::from_millis(250);
/// How long it takes to be told that nobody listens at a UDP port of this machine, with room to spare.
const REFUSAL: Duration = Duration::from_millis(20);

/// Sends records over the network or to a unix socket, and connects again when that breaks.
///
/// # What can be lost
///
/// - A *TCP* peer does not say what it has read. Whole records that the kernel took count as taken; a
///   record that was cut off by a broken connection is sent again whole. Before each batch it is
///   looked whether the peer has closed, and then nothing is sent into the void. What stays: records
///   that were under way when the peer died are lost, and nobody can know how many; a connection that
///   broke is said in a notice.
/// - *TLS*: the same; a piece that did not go into the kernel whole cannot be decrypted and is sent
///   again.
/// - A *unix stream*: as TCP, without a network between.
/// - A *unix datagram* that was taken is in the peer's hands. While its queue is full we wait.
/// - *UDP* promises nothing. If the port is refused, which the peer's machine may tell, the record
///   before is counted as lost, and from then on one is sent and looked after before the next.
pub struct StreamSink {
    config: StreamConfig,
    target: Target,
    clock: Arc<dyn Clock>,
    link: Link,
    backoff: Backoff,
    /// Why there is no connection.
    trouble: Option<(io::ErrorKind, String)>,
    begun: Option<Begun>,
    /// Records that were cut.
    cut: u64,
    losses: Losses,
}

enum Link {
    Closed,
    Stream(Connection),
    Datagrams(Datagrams),
}

/// What a stream has taken a part of: ours until it is gone.
struct Begun {
    bytes: Vec<u8>,
    sent: usize,
}

struct Datagrams {
    fd: OwnedFd,
    /// The next one is looked after, because nobody may be listening.
    unsure: bool,
    /// The one before, for a refusal is told at the next.
    before: Option<(Level, Timestamp)>,
}

impl StreamSink {
    /// Reads certificates; connects at the first record.
    pub fn open(config: StreamConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let tls = load(&config)?;
        let target = Target {
            net: config.net,
            address: config.address.clone(),
            tls,
            timeouts: config.timeouts,
            keepalive: config.keepalive,
        };
        Ok(Self {
            backoff: Backoff::new(config.pause),
            config,
            target,
            clock,
            link: Link::Closed,
            trouble: None,
            begun: None,
            cut: 0,
            losses: Losses::default(),
        })
    }

    /// Connects if there is no connection that seems to work.
    fn connect(&mut self) -> io::Result<()> {
        match &mut self.link {
            Link::Stream(connection) => match connection.check() {
                Ok(()) => return Ok(()),
                Err(error) => self.broke(&error),
            },
            Link::Datagrams(_) => return Ok(()),
            Link::Closed => {}
        }
        let now = self.clock.monotonic();
        if let Some((kind, text)) = &self.trouble
            && !self.backoff.is_over(now)
        {
            return Err(io::Error::new(*kind, text.clone()));
        }
        match self.open_link() {
            Ok(link) => {
                self.link = link;
                self.trouble = None;
                self.backoff.succeeded();
                Ok(())
            }
            Err(error) => {
                self.backoff.failed(self.clock.monotonic());
                self.trouble = Some((error.kind(), error.to_string()));
                Err(error)
            }
        }
    }

    fn open_link(&self) -> io::Result<Link> {
        if self.config.net.is_stream() {
            return Connection::open(&self.target).map(Link::Stream);
        }
        let (net, address) = (self.config.net, self.config.address.as_str());
        let opened = match net {
            Net::UnixDatagram => connection::unix(SocketType::DGRAM, address),
            Net::UnixPacket => connection::unix(SocketType::SEQPACKET, address),
            _ => udp(net, address),
        };
        let fd = opened.map_err(|error| {
            let text = format!("cannot connect to {net} {address}: {}", Reason(&error));
            io::Error::new(error.kind(), text)
        })?;
        Ok(Link::Datagrams(Datagrams {
            fd,
            unsure: !net.is_unix(),
            before: None,
        }))
    }

    /// The connection is no more. What it had taken a part of is sent again whole.
    fn broke(&mut self, error: &io::Error) {
        self.link = Link::Closed;
        if let Some(begun) = &mut self.begun {
            begun.sent = 0;
        }
        if error.kind() != io::ErrorKind::ConnectionAborted {
            let text = format!(
                "the connection to {} {} broke: {}; what was sent last may not have arrived",
                self.config.net,
                self.config.address,
                Reason(error)
            );
            self.losses.say(Level::Warn, text);
        }
    }

    /// Sends these bytes from `sent` on. An error that is no lack of time has ended the connection.
    fn send(&mut self, bytes: &[u8], sent: &mut usize, until: Instant) -> io::Result<()> {
        let Link::Stream(connection) = &mut self.link else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let result = connection.send(bytes, sent, until);
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::TimedOut
        {
            self.broke(error);
        }
        result
    }

    /// Sends the rest of what was begun.
    fn complete(&mut self, until: Instant) -> io::Result<()> {
        let Some(mut begun) = self.begun.take() else {
            return Ok(());
        };
        let result = self.send(&begun.bytes, &mut begun.sent, until);
        match &result {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(_) => begun.sent = 0,
        }
        self.begun = Some(begun);
        result
    }

    fn write_stream(&mut self, batch: &Batch<'_>, until: Instant) -> Result<(), Unwritten> {
        let mut piece = Piece::default();
        let mut taken = 0;
        let most = if self.config.reconnect_per_message {
            0
        } else {
            PIECE
        };
        let mut entries = batch.entries().peekable();
        while let Some(entry) = entries.next() {
            piece.push(entry, self.config.framing);
            let full = entries
                .peek()
                .is_none_or(|next| piece.bytes.len() + next.bytes.len() + 12 > most);
            if full {
                let mut sent = 0;
                if let Err(error) = self.send(&piece.bytes, &mut sent, until) {
                    taken += self.salvage(&mut piece, sent, &error);
                    return Err(Unwritten { taken, error });
                }
                taken += piece.original;
                piece.clear();
                if self.config.reconnect_per_message {
                    self.hang_up();
                    if entries.peek().is_some() {
                        self.connect().map_err(|error| Unwritten { taken, error })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// How much of a piece that did not go whole is taken, or is ours now.
    fn salvage(&mut self, piece: &mut Piece, sent: usize, error: &io::Error) -> usize {
        let is_slow = error.kind() == io::ErrorKind::TimedOut;
        if self.target.tls.is_some() {
            // What TLS has of it comes out of it in order, or not at all.
            if !is_slow || sent == 0 {
                return 0;
            }
            self.begun = Some(Begun {
                bytes: std::mem::take(&mut piece.bytes),
                sent,
            });
            return piece.original;
        }
        let (mut frames, mut originals) = (0, 0);
        for (frame, original) in &piece.ends {
            if *frame > sent {
                if is_slow && sent > frames {
                    self.begun = Some(Begun {
                        bytes: piece.bytes[frames..*frame].to_vec(),
                        sent: sent - frames,
                    });
                    return *original;
                }
                break;
            }
            (frames, originals) = (*frame, *original);
        }
        originals
    }

    fn hang_up(&mut self) {
        if let Link::Stream(connection) = std::mem::replace(&mut self.link, Link::Closed) {
            // With TLS the peer has said things that we did not ask for, and closing before they are
            // read would take back what it has not read.
            let wait = if self.target.tls.is_some() {
                self.config.timeouts.read.min(Duration::from_secs(1))
            } else {
                Duration::ZERO
            };
            connection.close(wait);
        }
    }

    fn write_datagrams(&mut self, batch: &Batch<'_>, until: Instant) -> Result<(), Unwritten> {
        let mut taken = 0;
        for entry in batch.entries() {
            let bytes = match self.config.framing {
                Framing::None => entry.bytes,
                Framing::Newline | Framing::OctetCounting => text::chomped(entry.bytes),
            };
            if !bytes.is_empty() {
                self.send_datagram(bytes, &entry, until)
                    .map_err(|error| Unwritten { taken, error })?;
            }
            taken += entry.bytes.len();
        }
        Ok(())
    }

    fn send_datagram(&mut self, bytes: &[u8], entry: &Entry<'_>, until: Instant) -> io::Result<()> {
        let mut part = text::cut(bytes, self.config.largest);
        let mut again = true;
        loop {
            self.connect()?;
            let Link::Datagrams(datagrams) = &mut self.link else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            match datagrams.send(part, until) {
                Ok(()) => break,
                Err(Errno::MSGSIZE) if part.len() > 1 => {
                    part = text::cut(bytes, part.len() / 4 * 3);
                }
                Err(Errno::CONNREFUSED) if !self.config.net.is_unix() => {
                    if let Some((level, time)) = datagrams.before.take() {
                        let reason = format!("nobody listens at udp {}", self.config.address);
                        self.losses.lose(level, time, &reason);
                    }
                    let text = format!("nobody listens at udp {}", self.config.address);
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
                }
                Err(
                    Errno::CONNREFUSED
                    | Errno::NOTCONN
                    | Errno::CONNRESET
                    | Errno::PIPE
                    | Errno::DESTADDRREQ,
                ) if again => {
                    // Who listened there has ended; another one may listen there by now.
                    again = false;
                    self.link = Link::Closed;
                }
                Err(errno) => {
                    if errno != Errno::TIMEDOUT && errno != Errno::NOBUFS {
                        self.link = Link::Closed;
                    }
                    return Err(errno.into());
                }
            }
        }
        self.cut += u64::from(part.len() < bytes.len());
        if let Link::Datagrams(datagrams) = &mut self.link {
            datagrams.before = Some((entry.level, entry.time));
        }
        Ok(())
    }
}

fn load(config: &StreamConfig) -> Result<Option<TlsClient>, Error> {
    let invalid = |text: String| {
        let subject = format!("{} {}", config.net, config.address);
        Error::setup(subject, io::Error::new(io::ErrorKind::InvalidInput, text))
    };
    match &config.tls {
        None => Ok(None),
        Some(_) if !config.net.is_tcp() => {
            Err(invalid(format!("there is no TLS over {}", config.net)))
        }
        Some(tls) => TlsClient::load(tls, endpoint::host(&config.address)).map(Some),
    }
}

fn udp(net: Net, address: &str) -> io::Result<OwnedFd> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for address in endpoint::resolve(net, address)? {
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        match UdpSocket::bind(any).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect(address)?;
            Ok(socket)
        }) {
            Ok(socket) => return Ok(socket.into()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Datagrams {
    fn send(&mut self, bytes: &[u8], until: Instant) -> rustix::io::Result<()> {
        loop {
            match send(&self.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match wait_for(self.fd.as_fd(), PollFlags::OUT, until) {
                    Ok(true) => {}
                    Ok(false) => return Err(Errno::TIMEDOUT),
                    Err(_) => return Err(Errno::IO),
                },
                Err(errno) => {
                    self.unsure |= errno == Errno::CONNREFUSED;
                    return Err(errno);
                }
            }
        }
        if self.unsure {
            // Only errors wake this up.
            let until = Instant::now() + REFUSAL;
            if let Ok(true) = wait_for(self.fd.as_fd(), PollFlags::empty(), until)
                && let Ok(Err(errno)) = sockopt::socket_error(&self.fd)
            {
                // This one it was, and it is given again.
                self.before = None;
                return Err(errno);
            }
            self.unsure = false;
        }
        Ok(())
    }
}

impl Sink for StreamSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<(), Unwritten> {
        let until = Instant::now() + self.config.timeouts.write;
        if !self.config.net.is_stream() {
            return self.write_datagrams(batch, until);
        }
        self.connect()?;
        self.complete(until)?;
        self.write_stream(batch, until)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.begun.is_some() {
            self.connect()?;
            self.complete(Instant::now() + self.config.timeouts.write)?;
        }
        Ok(())
    }

    /// Reads certificates again, and looks the name up again at the next record.
    fn reopen(&mut self) -> Result<(), Error> {
        self.target.tls = load(&self.config)?;
        if self.begun.is_none() {
            self.hang_up();
            self.link = Link::Closed;
        }
        Ok(())
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        if self.cut > 0 {
            let text = format!(
                "{} records for {} {} were longer than a datagram may be, and were cut",
                std::mem::take(&mut self.cut),
                self.config.net,
                self.config.address
            );
            self.losses.say(Level::Warn, text);
        }
        self.losses.take_notices()
    }

    fn take_lost(&mut self) -> [u64; 6] {
        self.losses.take_lost()
    }
}

impl Drop for StreamSink {
    fn drop(&mut self) {
        if let Link::Stream(connection) = std::mem::replace(&mut self.link, Link::Closed) {
            connection.close(FAREWELL);
        }
    }
}

/// Records in their frames, and where each ends: in the piece, and in the batch from the piece's
/// first record on.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
    original: usize,
}

impl Piece {
    fn push(&mut self, entry: Entry<'_>, framing: Framing) {
        use std::io::Write as _;
        match framing {
            Framing::None => self.bytes.extend_from_slice(entry.bytes),
            Framing::Newline => {
                self.bytes.extend_from_slice(text::chomped(entry.bytes));
                self.bytes.push(b'\n');
            }
            Framing::OctetCounting => {
                let message = text::chomped(entry.bytes);
                if !message.is_empty() {
                    // Writing to memory cannot fail.
                    let _ = write!(self.bytes, "{} ", message.len());
                    self.bytes.extend_from_slice(message);
                }
            }
        }
        self.original += entry.bytes.len();
        self.ends.push((self.bytes.len(), self.original));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.original = 0;
    }
}

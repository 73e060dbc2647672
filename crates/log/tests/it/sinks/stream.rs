//! Streams and datagrams.

use std::io::{self, Read, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mainstay_log::sinks::{Framing, Net, StreamConfig, StreamSink, Timeouts};
use mainstay_log::{Level, Sink as _};

use super::tls::Certificate;
use super::{
    PATIENCE, Records, Stream, give, give_all, notices, numbers, path_text, read_lines, wait_until,
};
use crate::clock;

/// A kind of server, and how it is reached.
struct Server {
    config: StreamConfig,
    accept: Box<dyn FnMut() -> Box<dyn Stream> + Send>,
    _kept: Box<dyn std::any::Any + Send>,
}

fn tcp() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Server {
        config: StreamConfig::new(Net::Tcp, address),
        accept: Box::new(move || Box::new(listener.accept().unwrap().0)),
        _kept: Box::new(()),
    }
}

fn unix() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    Server {
        config: StreamConfig::new(Net::Unix, path_text(&path)),
        accept: Box::new(move || Box::new(listener.accept().unwrap().0)),
        _kept: Box::new(dir),
    }
}

fn tls() -> Server {
    let certificate = Certificate::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = certificate.server(None);
    Server {
        config: StreamConfig {
            tls: Some(certificate.trusted()),
            ..StreamConfig::new(Net::Tcp, address)
        },
        accept: Box::new(move || {
            let (stream, _) = listener.accept().unwrap();
            Box::new(super::tls::accept(&server, stream))
        }),
        _kept: Box::new(certificate),
    }
}

fn servers() -> [(&'static str, Server); 3] {
    [("tcp", tcp()), ("unix", unix()), ("tls", tls())]
}

/// Reads to the end, however that comes.
fn read_all(stream: &mut dyn Stream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 16384];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        all.extend_from_slice(&chunk[..count]);
    }
    all
}

#[test]
fn framings() {
    let mut records = Records::default();
    records.add(Level::Info, "one\n");
    records.add(Level::Warn, "two, no end");
    records.add(Level::Warn, "");
    records.add(Level::Warn, "th\nree\n");
    let table: [(Framing, &str); 3] = [
        (Framing::None, "one\ntwo, no endth\nree\n"),
        (Framing::Newline, "one\ntwo, no end\n\nth\nree\n"),
        (Framing::OctetCounting, "3 one11 two, no end6 th\nree"),
    ];
    for (framing, expected) in table {
        for (name, mut server) in servers() {
            server.config.framing = framing;
            let config = server.config.clone();
            let thread = std::thread::spawn(move || read_all(&mut *(server.accept)()));
            let mut sink = StreamSink::open(config, clock()).unwrap();
            sink.write(&records.batch()).unwrap();
            drop(sink);
            let heard = String::from_utf8(thread.join().unwrap()).unwrap();
            assert_eq!(heard, expected, "{name} {framing:?}");
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_a_peer_closes_between_batches() {
    const ROUNDS: usize = 50;
    const LINES: usize = 7;
    for (name, mut server) in servers() {
        let config = server.config.clone();
        let (closed, is_closed) = channel();
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            for _ in 0..ROUNDS {
                let mut stream = (server.accept)();
                all.extend(read_lines(&mut stream, LINES));
                drop(stream);
                closed.send(()).unwrap();
            }
            all
        });
        let clock = clock();
        let mut sink = StreamSink::open(config, clock.clone()).unwrap();
        for round in 0..ROUNDS {
            let records = Records::numbered(round * LINES..(round + 1) * LINES, 20);
            give_all(&mut sink, records, &clock);
            is_closed.recv_timeout(PATIENCE).unwrap();
        }
        let all = numbers(&thread.join().unwrap());
        assert_eq!(all, (0..ROUNDS * LINES).collect::<Vec<_>>(), "{name}");
        // A peer that resets with something of ours unread may be spoken of; one that closed is not.
        assert_eq!(sink.take_lost(), [0; 6]);
    }
}

#[test]
fn a_peer_that_refuses_is_left_alone_for_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let clock = clock();
    let config = StreamConfig::new(Net::Tcp, address.to_string());
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    let mut records = Records::numbered(0..3, 0);
    let error = give(&mut sink, &mut records).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let text = format!("cannot connect to tcp {address}: connection refused");
    assert_eq!(error.to_string(), text);
    let listener = TcpListener::bind(address).unwrap();
    // Not yet.
    let error = give(&mut sink, &mut records).unwrap_err();
    assert_eq!(error.to_string(), text);
    clock.advance(Duration::from_secs(1));
    give(&mut sink, &mut records).unwrap();
    drop(sink);
    let mut heard = Vec::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_end(&mut heard)
        .unwrap();
    assert_eq!(numbers(&heard), [0, 1, 2]);
}

#[test]
fn a_peer_that_stalls_gets_everything_once_when_it_goes_on() {
    for (name, mut server) in servers() {
        server.config.timeouts = Timeouts {
            write: Duration::from_millis(100),
            ..Timeouts::default()
        };
        let config = server.config.clone();
        let (go_on, may_go_on) = channel();
        let thread = std::thread::spawn(move || {
            let mut stream = (server.accept)();
            // A TLS peer has to shake hands first.
            let mut all = read_lines(&mut stream, 1);
            may_go_on.recv_timeout(PATIENCE).unwrap();
            all.extend(read_all(&mut *stream));
            all
        });
        let clock = clock();
        let mut sink = StreamSink::open(config, clock.clone()).unwrap();
        let mut sent = 0;
        let mut failures = 0;
        let started = Instant::now();
        let mut records = Records::default();
        while failures < 3 {
            if records.is_empty() {
                records = Records::numbered(sent..sent + 100, 5000);
                sent += 100;
            }
            if let Err(error) = give(&mut sink, &mut records) {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{name}: {error}");
                failures += 1;
            }
            assert!(started.elapsed() < PATIENCE, "{name}");
        }
        go_on.send(()).unwrap();
        give_all(&mut sink, records, &clock);
        drop(sink);
        let all = numbers(&thread.join().unwrap());
        assert_eq!(all, (0..sent).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn after_a_connection_broke_the_next_begins_with_a_whole_record() {
    for (name, mut server) in servers() {
        let config = server.config.clone();
        let thread = std::thread::spawn(move || {
            let mut stream = (server.accept)();
            let mut first = vec![0; 100_003];
            stream.read_exact(&mut first).unwrap();
            drop(stream);
            let second = read_all(&mut *(server.accept)());
            (first, second)
        });
        let clock = clock();
        let mut sink = StreamSink::open(config, clock.clone()).unwrap();
        for round in 0..40 {
            let records = Records::numbered(round * 100..(round + 1) * 100, 3000);
            give_all(&mut sink, records, &clock);
        }
        let told = notices(&mut sink);
        drop(sink);
        let (first, second) = thread.join().unwrap();
        let end = first.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        let (first, second) = (numbers(&first[..end]), numbers(&second));
        assert_eq!(first, (0..first.len()).collect::<Vec<_>>(), "{name}");
        let start = second[0];
        assert_eq!(second, (start..4000).collect::<Vec<_>>(), "{name}");
        assert!(start >= first.len(), "{name}: nothing twice");
        if start > first.len() {
            assert!(told[0].contains("may not have arrived"), "{name}: {told:?}");
        }
    }
}

#[test]
fn each_record_has_its_connection() {
    for (name, mut server) in servers() {
        server.config.reconnect_per_message = true;
        let config = server.config.clone();
        let thread = std::thread::spawn(move || {
            (0..3)
                .map(|_| read_all(&mut *(server.accept)()))
                .collect::<Vec<_>>()
        });
        let clock = clock();
        let mut sink = StreamSink::open(config, clock.clone()).unwrap();
        give_all(&mut sink, Records::numbered(0..3, 0), &clock);
        let heard: Vec<_> = thread.join().unwrap().iter().map(|h| numbers(h)).collect();
        assert_eq!(heard, [[0], [1], [2]], "{name}");
    }
}

/// A server that says something, as some greet: what we have not read must not cost what it has not.
#[test]
fn what_a_peer_says_is_no_harm() {
    let mut server = tcp();
    let config = server.config.clone();
    let thread = std::thread::spawn(move || {
        let mut stream = (server.accept)();
        let mut all = Vec::new();
        for _ in 0..20 {
            stream.write_all(&[b'!'; 3000]).unwrap();
            all.extend(read_lines(&mut stream, 1));
        }
        all.extend(read_all(&mut *stream));
        all
    });
    let clock = clock();
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    for number in 0..30 {
        give_all(&mut sink, Records::numbered(number..number + 1, 10), &clock);
    }
    drop(sink);
    assert_eq!(
        numbers(&thread.join().unwrap()),
        (0..30).collect::<Vec<_>>()
    );
}

fn received(socket: &UdpSocket) -> String {
    let mut buffer = [0; 16384];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

#[test]
fn udp_that_is_refused_costs_nothing_where_that_can_be_told() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let clock = clock();
    let config = StreamConfig::new(Net::Udp, address.to_string());
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    let mut records = Records::numbered(0..3, 0);
    let error = give(&mut sink, &mut records).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    give_all(&mut sink, records, &clock);
    let heard: Vec<String> = (0..3).map(|_| received(&socket)).collect();
    assert_eq!(heard, ["#0000000 ", "#0000001 ", "#0000002 "]);
    assert_eq!(sink.take_lost(), [0; 6]);
    // Whoever listens ends: the record before the news is lost, and said.
    drop(socket);
    give_all(&mut sink, Records::numbered(3..4, 0), &clock);
    let mut records = Records::numbered(4..6, 0);
    wait_until("the refusal is told", || {
        give(&mut sink, &mut records).is_err()
    });
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    give_all(&mut sink, records, &clock);
    assert_eq!(received(&socket), "#0000004 ");
    assert_eq!(sink.take_lost(), [0, 0, 1, 0, 0, 0]);
    let told = notices(&mut sink);
    assert!(
        told[0].starts_with("1 info record lost between"),
        "{told:?}"
    );
}

#[test]
fn datagrams_that_are_too_long_are_cut_and_said() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let config = StreamConfig {
        largest: 1000,
        ..StreamConfig::new(Net::Udp, address.clone())
    };
    let clock = clock();
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    give_all(&mut sink, Records::numbered(0..2, 5000), &clock);
    assert_eq!(received(&socket).len(), 1000);
    assert_eq!(received(&socket).len(), 1000);
    let told = notices(&mut sink);
    assert_eq!(
        told,
        [format!(
            "2 records for udp {address} were longer than a datagram may be, and were cut"
        )]
    );
}

#[test]
fn unix_datagrams_over_a_restart_of_the_peer_and_a_full_queue() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let clock = clock();
    let config = StreamConfig {
        timeouts: Timeouts {
            write: Duration::from_millis(5),
            ..Timeouts::default()
        },
        ..StreamConfig::new(Net::UnixDatagram, path_text(&path))
    };
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    let mut sent = 0;
    let mut heard = Vec::new();
    let receive = |socket: &UnixDatagram, heard: &mut Vec<u8>| {
        let mut buffer = [0; 1000];
        socket.set_nonblocking(true).unwrap();
        while let Ok(count) = socket.recv(&mut buffer) {
            heard.extend_from_slice(&buffer[..count]);
            heard.push(b'\n');
        }
    };
    for _ in 0..3 {
        let socket = UnixDatagram::bind(&path).unwrap();
        // Until its queue is full.
        let mut records = Records::numbered(sent..sent + 600, 10);
        sent += 600;
        clock.advance(Duration::from_mins(1));
        let error = give(&mut sink, &mut records).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        while !records.is_empty() {
            receive(&socket, &mut heard);
            let _ = give(&mut sink, &mut records);
        }
        receive(&socket, &mut heard);
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        let mut records = Records::numbered(sent..sent + 1, 10);
        let error = give(&mut sink, &mut records).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
    assert_eq!(numbers(&heard), (0..sent).collect::<Vec<_>>());
}

#[test]
fn abstract_names_and_packets() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let name = format!("mainstay-log-test-{}", std::process::id());
    let fd = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    bind(
        &fd,
        &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap(),
    )
    .unwrap();
    listen(&fd, 1).unwrap();
    let config = StreamConfig::new(Net::UnixPacket, format!("@{name}"));
    let clock = clock();
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    give_all(&mut sink, Records::numbered(0..2, 0), &clock);
    let peer = rustix::net::accept(&fd).unwrap();
    for expected in ["#0000000 ", "#0000001 "] {
        let mut buffer = [0; 100];
        let count = rustix::io::read(&peer, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], expected.as_bytes());
    }
}

/// A name that leads nowhere and a server that never shakes hands end in time.
#[test]
fn every_wait_has_its_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let certificate = Certificate::new();
    let config = StreamConfig {
        tls: Some(certificate.trusted()),
        timeouts: Timeouts {
            connect: Duration::from_millis(100),
            ..Timeouts::default()
        },
        ..StreamConfig::new(Net::Tcp, listener.local_addr().unwrap().to_string())
    };
    let mut sink = StreamSink::open(config, Arc::clone(&clock()) as _).unwrap();
    let started = Instant::now();
    let error = give(&mut sink, &mut Records::numbered(0..1, 0)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(started.elapsed() < PATIENCE);
}

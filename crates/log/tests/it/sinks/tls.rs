//! TLS servers of the tests.

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_base::config::Document;
use mainstay_base::{Clock as _, Resolver, Secrets};
use mainstay_log::sinks::{Check, Identity, Net, StreamConfig, StreamSink, Tls};
use mainstay_log::{
    Config, Defaults, Level, Logger, Pipeline, Question, Record, Sink as _, Surroundings,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Records, give, read_lines};
use crate::clock;

/// A certificate for `localhost` that vouches for itself, in files.
pub(crate) struct Certificate {
    _dir: tempfile::TempDir,
    pub(crate) public: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (public, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&public, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self {
            _dir: dir,
            public,
            key,
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_file(&self.public).unwrap()]
    }

    /// Trusts this certificate alone.
    pub(crate) fn trusted(&self) -> Tls {
        Tls {
            ca: vec![self.public.clone()],
            server_name: Some("localhost".to_owned()),
            ..Tls::default()
        }
    }

    /// A server with this certificate, which asks clients for theirs if it is given one.
    pub(crate) fn server(&self, client: Option<&Certificate>) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut roots = RootCertStore::empty();
                roots.add(client.chain().remove(0)).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        Arc::new(builder.with_single_cert(self.chain(), key).unwrap())
    }
}

pub(crate) fn accept(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// Name, what we trust and show, whom the server asks for, what the error says.
type Case<'a> = (&'a str, Tls, Option<&'a Certificate>, Option<&'a str>);

#[test]
fn who_is_trusted() {
    let ours = Certificate::new();
    let other = Certificate::new();
    let identity = |of: &Certificate| {
        Some(Identity {
            certificates: of.public.clone(),
            key: of.key.clone(),
        })
    };
    let trusted = ours.trusted();
    let table: [Case<'_>; 7] = [
        ("trusted", trusted.clone(), None, None),
        (
            "another authority",
            other.trusted(),
            None,
            Some("certificate"),
        ),
        (
            "another name",
            Tls {
                server_name: Some("example.org".to_owned()),
                ..trusted.clone()
            },
            None,
            Some("certificate"),
        ),
        (
            "not looked at",
            Tls {
                check: Check::Nothing,
                server_name: Some("example.org".to_owned()),
                ..other.trusted()
            },
            None,
            None,
        ),
        (
            "shows who it is",
            Tls {
                identity: identity(&other),
                ..trusted.clone()
            },
            Some(&other),
            None,
        ),
        (
            "shows somebody else",
            Tls {
                identity: identity(&ours),
                ..trusted.clone()
            },
            Some(&other),
            Some("alert"),
        ),
        (
            "the name of the address",
            Tls {
                server_name: None,
                ..trusted
            },
            None,
            None,
        ),
    ];
    for (name, tls, client, expected) in table {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ours.server(client);
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = accept(&server, stream);
            let mut line = Vec::new();
            let mut read = [0; 100];
            while let Ok(count @ 1..) = io::Read::read(&mut stream, &mut read) {
                line.extend_from_slice(&read[..count]);
            }
            line
        });
        let config = StreamConfig {
            tls: Some(tls),
            ..StreamConfig::new(Net::Tcp4, format!("localhost:{port}"))
        };
        let mut sink = StreamSink::open(config, clock()).unwrap();
        let mut records = Records::default();
        records.add(Level::Info, "hello\n");
        let result = give(&mut sink, &mut records);
        drop(sink);
        let heard = thread.join().unwrap();
        match (expected, result) {
            (None, Ok(())) => assert_eq!(heard, b"hello\n", "{name}"),
            (Some(expected), Err(error)) => {
                assert!(error.to_string().contains(expected), "{name}: {error}");
                assert!(heard.is_empty() && !records.is_empty(), "{name}");
            }
            (_, other) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn files_that_are_none_are_named() {
    let ours = Certificate::new();
    let missing = ours.public.with_file_name("missing.pem");
    for (tls, part) in [
        (
            Tls {
                ca: vec![missing.clone()],
                ..Tls::default()
            },
            "missing.pem",
        ),
        (
            Tls {
                ca: vec![ours.key.clone()],
                ..Tls::default()
            },
            "has no certificates in it",
        ),
        (
            Tls {
                identity: Some(Identity {
                    certificates: ours.public.clone(),
                    key: missing,
                }),
                ..ours.trusted()
            },
            "private key",
        ),
        (
            Tls {
                server_name: Some("not a name".to_owned()),
                ..ours.trusted()
            },
            "not a name",
        ),
    ] {
        let config = StreamConfig {
            tls: Some(tls),
            ..StreamConfig::new(Net::Tcp, "localhost:1")
        };
        let error = StreamSink::open(config, clock()).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let udp = StreamConfig {
        tls: Some(ours.trusted()),
        ..StreamConfig::new(Net::Udp, "localhost:1")
    };
    assert!(StreamSink::open(udp, clock()).is_err());
}

/// After `reopen` a new certificate is trusted.
#[test]
fn certificates_are_read_again() {
    let old = Certificate::new();
    let new = Certificate::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = new.server(None);
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // The one who does not trust us.
        let _ = io::Read::read(&mut accept(&server, stream), &mut [0; 10]);
        let (stream, _) = listener.accept().unwrap();
        read_lines(&mut accept(&server, stream), 1)
    });
    let config = StreamConfig {
        tls: Some(old.trusted()),
        ..StreamConfig::new(Net::Tcp4, format!("localhost:{port}"))
    };
    let clock = clock();
    let mut sink = StreamSink::open(config, clock.clone()).unwrap();
    let mut records = Records::default();
    records.add(Level::Info, "hello\n");
    assert!(give(&mut sink, &mut records).is_err());
    std::fs::copy(&new.public, &old.public).unwrap();
    sink.reopen().unwrap();
    clock.advance(super::PATIENCE);
    give(&mut sink, &mut records).unwrap();
    assert_eq!(thread.join().unwrap(), b"hello\n");
}

/// A server that asks who we are and keeps what it reads until the connection ends.
fn listen(ours: &Certificate, client: &Certificate) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = ours.server(Some(client));
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = accept(&server, stream);
        let (mut all, mut read) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = io::Read::read(&mut stream, &mut read) {
            all.extend_from_slice(&read[..count]);
        }
        all
    });
    (port, thread)
}

/// What a config says of certificates and secrets is what servers that ask for them see, and nobody
/// else.
#[test]
fn a_config_with_certificates_and_secrets() {
    let (ours, client) = (Certificate::new(), Certificate::new());
    let (tcp, tcp_thread) = listen(&ours, &client);
    let (syslog, syslog_thread) = listen(&ours, &client);
    let loki = super::http::Server::secure(ours.server(Some(&client)));
    let otlp = super::http::Server::secure(ours.server(Some(&client)));
    let token = client.key.with_file_name("token");
    let write_token = |text: &str| {
        mainstay_base::fs::replace(&token, text.as_bytes(), 0o600).unwrap();
    };
    write_token("s3cret-one\n");
    let tls = format!(
        "tls = {{ ca = {:?}, cert = {:?}, key = {:?}, server_name = \"localhost\" }}",
        ours.public, client.public, client.key
    );
    let text = format!(
        r#"
        [secret]
        loki = {{ file = {token:?} }}
        [log.sink.to-tcp]
        type = "tcp"
        address = "localhost:{tcp}"
        {tls}
        [log.sink.to-syslog]
        type = "syslog"
        transport = "tcp"
        address = "localhost:{syslog}"
        {tls}
        [log.sink.to-loki]
        type = "loki"
        url = "{loki}"
        headers = {{ Authorization = "Bearer ${{secret.loki}}", X-Scope-OrgID = "shop" }}
        {tls}
        [log.sink.to-otlp]
        type = "otlp"
        url = "{otlp}"
        headers = {{ Authorization = {{ file = {token:?} }} }}
        {tls}
        [log.route.default]
        to = ["to-tcp", "to-syslog", "to-loki", "to-otlp"]
        format = "short"
        "#,
        loki = loki.url,
        otlp = otlp.url,
    );
    let document = Document::parse("m.toml", text).unwrap();
    let mut root = document.root();
    let resolver = Resolver::new(Secrets::read(&mut root), std::collections::BTreeMap::new());
    let defaults = Defaults {
        directory: "/".into(),
        zone: jiff::tz::TimeZone::UTC,
        colours: false,
        sinks: Vec::new(),
        resolver: resolver.clone(),
    };
    let read = Config::read(root.section("log").unwrap(), &defaults);
    document.check_references(&resolver);
    assert_eq!(document.take_diagnostics().to_string(), "");
    let config = read.clone().with_secrets(&resolver).unwrap();
    let question = Question {
        level: Some(Level::Error),
        ..Question::default()
    };
    let shown = format!("{config:?} {}", config.explain(&question));
    assert!(!shown.contains("s3cret"), "{shown}");

    let clock = Arc::new(mainstay_base::SystemClock::new());
    let logger = Logger::new(Pipeline::build(&config, Surroundings::new(clock.clone())).unwrap());
    let write = |text: &'static str| {
        logger.write(&Record::new(clock.now(), Level::Error, "t", text));
        logger.flush();
    };
    write("hello");
    let header = |server: &super::http::Server| {
        super::wait_until("a request", || !server.seen().requests.is_empty());
        let (head, _) = server.seen().requests.remove(0);
        head
    };
    let head = header(&loki);
    assert!(
        head.contains("\r\nAuthorization: Bearer s3cret-one\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nX-Scope-OrgID: shop\r\n"), "{head}");
    let head = header(&otlp);
    assert!(head.contains("\r\nAuthorization: s3cret-one\r\n"), "{head}");

    // A secret that was changed counts after a reload; what has none goes on as it is.
    write_token("s3cret-two");
    let config = read.with_secrets(&resolver).unwrap();
    let changes = logger
        .reload(&config, Surroundings::new(clock.clone()))
        .unwrap();
    assert_eq!(
        (changes.opened.len(), changes.kept.len()),
        (2, 2),
        "{changes:?}"
    );
    write("again");
    let head = header(&loki);
    assert!(
        head.contains("\r\nAuthorization: Bearer s3cret-two\r\n"),
        "{head}"
    );
    drop(logger);
    let heard = String::from_utf8(tcp_thread.join().unwrap()).unwrap();
    assert!(
        heard.contains("hello\n") && heard.contains("again\n"),
        "{heard}"
    );
    let heard = String::from_utf8(syslog_thread.join().unwrap()).unwrap();
    assert!(heard.contains("hello"), "{heard}");
}

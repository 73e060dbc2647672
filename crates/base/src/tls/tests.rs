use std::os::unix::net::UnixStream;
use std::thread;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;
use crate::config::Document;

/// An authority, what it has signed, and a directory for the files.
struct Authority {
    directory: TempDir,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate of a server, and its key.
struct Signed {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            directory,
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate for `localhost` from the first of January of one year to that of another.
    fn sign(&self, years: (i32, i32)) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    /// A certificate of a client, in files of this name.
    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        Identity {
            certificates: self.write(&format!("{name}.pem"), &certificate.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    fn trusted(&self) -> Tls {
        Tls {
            ca: vec![self.path("ca.pem")],
            ..Tls::default()
        }
    }

    /// A server that asks for certificates of this authority.
    fn asking(&self, signed: Signed) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(signed.chain, signed.key)
            .unwrap();
        Arc::new(config)
    }
}

fn server(signed: Signed) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(signed.chain, signed.key)
        .unwrap();
    Arc::new(config)
}

/// Whether a server with this config and a client come to speak with each other.
fn meet(tls: &Tls, server: &Arc<ServerConfig>) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = Arc::clone(server);
    let thread = thread::spawn(move || {
        let mut stream = StreamOwned::new(ServerConnection::new(server).unwrap(), theirs);
        // A client that does not believe us is gone.
        let _ = stream.write_all(b"hello").and_then(|()| stream.flush());
    });
    let spoken = begin(tls.client().unwrap(), tls.name("localhost").unwrap(), ours)
        .and_then(|mut stream| stream.read_exact(&mut [0; 5]));
    thread.join().unwrap();
    spoken
}

#[test]
fn who_is_believed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let valid = server(ours.sign((2020, 4000)));
    let asking = ours.asking(ours.sign((2020, 4000)));
    let trusted = ours.trusted();
    let named = |name: &str| Tls {
        server_name: Some(name.to_owned()),
        ..trusted.clone()
    };
    let showing = |identity| Tls {
        identity: Some(identity),
        ..trusted.clone()
    };
    let any = |of: &Authority| Tls {
        check: Check::AnyName,
        server_name: Some("other".to_owned()),
        ..of.trusted()
    };
    let nothing = Tls {
        check: Check::Nothing,
        ..any(&other)
    };
    let both = Tls {
        ca: vec![other.path("ca.pem"), ours.path("ca.pem")],
        ..Tls::default()
    };
    let expired = server(ours.sign((2020, 2021)));
    for (what, tls, server, advice) in [
        ("believed", &trusted, &valid, None),
        ("one of two authorities", &both, &valid, None),
        (
            "another authority",
            &other.trusted(),
            &valid,
            Some("the authority"),
        ),
        ("expired", &trusted, &expired, Some("valid today")),
        (
            "not valid yet",
            &trusted,
            &server(ours.sign((3999, 4000))),
            Some("valid today"),
        ),
        ("another name", &named("other"), &valid, Some("a name that")),
        (
            "an address",
            &named("127.0.0.1"),
            &valid,
            Some("a name that"),
        ),
        ("any name", &any(&ours), &valid, None),
        (
            "any name, expired",
            &any(&ours),
            &expired,
            Some("valid today"),
        ),
        (
            "any name of another authority",
            &any(&other),
            &valid,
            Some("the authority"),
        ),
        ("nothing", &nothing, &expired, None),
        ("nobody asks", &showing(ours.identity("a")), &valid, None),
        (
            "shows who it is",
            &showing(ours.identity("b")),
            &asking,
            None,
        ),
        ("shows nothing", &trusted, &asking, Some("show it a")),
        (
            "shows what nobody believes",
            &showing(other.identity("c")),
            &asking,
            Some("does not take our"),
        ),
    ] {
        match (meet(tls, server), advice) {
            (Ok(()), None) => {}
            (Err(error), Some(advice)) => {
                let fault = fault(&error).unwrap_or_else(|| panic!("{what}: {error}"));
                assert!(help(fault).contains(advice), "{what}: {fault}");
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn who_does_not_speak_tls_is_told_as_such() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    let authority = Authority::new();
    let tls = authority.trusted();
    let error = begin(tls.client().unwrap(), tls.name("localhost").unwrap(), ours).unwrap_err();
    assert!(help(fault(&error).unwrap()).contains("port"), "{error}");
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let error = begin(tls.client().unwrap(), tls.name("localhost").unwrap(), ours).unwrap_err();
    assert!(fault(&error).is_none(), "{error}");
}

/// What is wrong with a file, the file, and the key of the config that names it.
#[test]
fn files_that_are_of_no_use_are_named() {
    let ours = Authority::new();
    let good = ours.identity("good");
    let other = ours.identity("other");
    let pem = |label: &str, text: &str| {
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let ca = |path: PathBuf| Tls {
        ca: vec![path],
        ..Tls::default()
    };
    let shown = |certificates: &Path, key: &Path| Tls {
        identity: Some(Identity {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
        }),
        ..ours.trusted()
    };
    let (missing, empty) = (ours.path("missing.pem"), ours.write("empty.pem", ""));
    let half = ours.write("half.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n");
    let begun = ours.write("begun.pem", "-----BEGIN CERTIFICATE--\naGVsbG8=\n");
    let odd = ours.write("odd.pem", &pem("CERTIFICATE", "!!!!"));
    let hello = ours.write("hello.pem", &pem("CERTIFICATE", "aGVsbG8="));
    let locked = ours.write("locked.key", &pem("ENCRYPTED PRIVATE KEY", "aGVsbG8="));
    let noise = ours.write("noise.key", &pem("PRIVATE KEY", "aGVsbG8="));
    for (tls, reason, file, key) in [
        (
            ca(missing.clone()),
            "cannot read the certificates",
            "missing.pem",
            "`ca`",
        ),
        (
            ca(ours.directory.path().to_owned()),
            "cannot read",
            "",
            "`ca`",
        ),
        (
            ca(empty.clone()),
            "has no certificates",
            "empty.pem",
            "`ca`",
        ),
        (
            ca(good.key.clone()),
            "has no certificates",
            "good.key",
            "`ca`",
        ),
        (ca(half), "END line is missing", "half.pem", "`ca`"),
        (ca(begun), "BEGIN line", "begun.pem", "`ca`"),
        (ca(odd), "not base64", "odd.pem", "`ca`"),
        (ca(hello.clone()), "not a certificate", "hello.pem", "`ca`"),
        (
            shown(&missing, &good.key),
            "cannot read the certificates",
            "missing.pem",
            "`cert`",
        ),
        (
            shown(&empty, &good.key),
            "has no certificates",
            "empty.pem",
            "`cert`",
        ),
        (
            shown(&good.certificates, &missing),
            "cannot read the private key",
            "missing.pem",
            "`key`",
        ),
        (
            shown(&good.certificates, &empty),
            "has no private key",
            "empty.pem",
            "`key`",
        ),
        (
            shown(&good.certificates, &good.certificates),
            "has no private key",
            "good.pem",
            "`key`",
        ),
        (
            shown(&good.certificates, &locked),
            "has no private key",
            "locked.key",
            "without a password",
        ),
        (
            shown(&good.certificates, &noise),
            "of no use",
            "noise.key",
            "`key`",
        ),
        (
            shown(&good.certificates, &other.key),
            "is not that of",
            "other.key",
            "made together",
        ),
        (shown(&hello, &good.key), "of no use", "hello.pem", "`cert`"),
        (
            Tls {
                check: Check::AnyName,
                ..Tls::default()
            },
            "only from an authority of `ca`",
            "",
            "`ca`",
        ),
    ] {
        let error = tls.client().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(file), "{text}");
        assert!(error.help().contains(key), "{text}: {}", error.help());
    }
    let error = ca(missing).client().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    let named = Tls {
        server_name: Some("not a name".to_owned()),
        ..Tls::default()
    };
    let error = named.name("localhost").unwrap_err();
    assert!(error.to_string().contains("`not a name`"), "{error}");
    assert!(Tls::default().name("::1").is_ok());
}

/// A bundle is not lost for one certificate in it, and nothing of a key is shown.
#[test]
fn what_is_left_out_and_what_is_not_shown() {
    let ours = Authority::new();
    let identity = ours.identity("client");
    let bundle = format!(
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n{}",
        ours.certificate.pem()
    );
    let tls = Tls {
        ca: vec![ours.write("bundle.pem", &bundle)],
        identity: Some(identity.clone()),
        ..Tls::default()
    };
    assert_eq!(authorities(&tls.ca).unwrap().len(), 1);
    let client = tls.client().unwrap();
    meet(&tls, &server(ours.sign((2020, 4000)))).unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    // In a list of numbers, which is how bytes are shown.
    let part = format!("{:?}", &key.secret_der()[40..48]);
    let part = part.trim_matches(['[', ']']);
    let shown = format!("{client:?} {tls:?}");
    assert!(
        shown.contains("client.key") && !shown.contains(part),
        "{shown}"
    );
}

#[test]
fn what_a_config_says() {
    let read = |text: &str| {
        let document = Document::parse("/etc/m.toml", text).unwrap();
        let mut root = document.root();
        let mut section = root.section("tls").unwrap();
        let tls = Tls::read(&mut section);
        section.finish();
        root.finish();
        (tls, document.take_diagnostics().to_string())
    };
    let (tls, said) = read(
        "tls = { ca = \"ca.pem\", server_name = \"db\", cert = \"/c.pem\", key = \"/c.key\" }",
    );
    assert_eq!(said, "");
    let expected = Tls {
        ca: vec!["/etc/ca.pem".into()],
        server_name: Some("db".to_owned()),
        check: Check::Name,
        identity: Some(Identity {
            certificates: "/c.pem".into(),
            key: "/c.key".into(),
        }),
    };
    assert_eq!(tls, expected);
    assert_eq!(read("tls = {}"), (Tls::default(), String::new()));
    for (text, expected) in [
        (
            "tls = { cert = \"/c\" }",
            "`cert` does nothing without `key`",
        ),
        (
            "tls = { key = \"/c\" }",
            "`key` does nothing without `cert`",
        ),
        ("tls = { servername = \"x\" }", "did you mean `server_name`"),
    ] {
        let (tls, said) = read(text);
        assert!(said.contains(expected), "{said}");
        assert_eq!(tls.identity, None);
    }
}

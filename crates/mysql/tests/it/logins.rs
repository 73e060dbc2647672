//! Who is let in, by which method, and over what.

use mainstay_base::Secret;
use mainstay_mysql::{Check, Connection, Endpoint, ErrorKind, Flavour, Options, ServerKey, Tls};

use crate::certificates::Certificates;
use crate::servers::{Server, all, mariadb, mysql};

fn with(mut options: Options, password: &str) -> Options {
    options.password = Secret::new(password);
    options
}

fn over_tls(mut options: Options, tls: Tls) -> Options {
    options.tls = Some(tls);
    options
}

fn user_of(options: &Options) -> String {
    let mut connection = Connection::open(options).unwrap();
    let rows = connection.fetch("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)");
    String::from_utf8(rows.unwrap()[0][0].clone().unwrap()).unwrap()
}

/// A wrong password is told as such, without the password.
fn refuses(options: &Options, wrong: &str) {
    let error = Connection::open(&with(options.clone(), wrong)).unwrap_err();
    assert_eq!(error.code(), Some(1045), "{error}");
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(error.help().unwrap().contains("password"), "{error}");
    let shown = format!("{error} {error:?} {options:?}");
    assert!(wrong.is_empty() || !shown.contains(wrong), "{shown}");
}

fn cipher(options: &Options) -> String {
    let mut connection = Connection::open(options).unwrap();
    let rows = connection.fetch("SHOW STATUS LIKE 'Ssl_cipher'").unwrap();
    String::from_utf8(rows[0][1].clone().unwrap()).unwrap()
}

#[test]
fn users_of_mariadb_are_let_in_by_their_methods() {
    let certificates = Certificates::new("db.example");
    let tls = certificates.options();
    let mut options: Vec<&str> = tls.iter().map(String::as_str).collect();
    options.push("--plugin-load-add=auth_ed25519");
    let Some(server) = mariadb(&options) else {
        return;
    };
    let mut root = server.root();
    assert_eq!(root.version().flavour, Flavour::MariaDb);
    assert!(root.version().is_mariadb(10, 0), "{}", root.version());
    all(
        &mut root,
        &[
            "CREATE USER native IDENTIFIED BY 'a pässword'",
            "CREATE USER modern IDENTIFIED VIA ed25519 USING PASSWORD('another')",
            "CREATE USER open",
            "CREATE USER sealed IDENTIFIED BY 's' REQUIRE SSL",
        ],
    );
    for endpoint in [server.options().endpoint, server.tcp("x").endpoint] {
        for (user, password) in [
            ("native", "a pässword"),
            ("modern", "another"),
            ("open", ""),
        ] {
            let options = Options::new(endpoint.clone(), user);
            assert_eq!(user_of(&with(options.clone(), password)), user);
            refuses(&options, "wrong-one");
            if user != "open" {
                refuses(&options, "");
            }
        }
    }
    let ca = Tls {
        ca: vec![certificates.path("ca.pem")],
        ..Tls::default()
    };
    let named = Tls {
        server_name: Some("db.example".to_owned()),
        ..ca.clone()
    };
    let any = Tls {
        check: Check::AnyName,
        ..ca.clone()
    };
    let sealed = with(server.tcp("sealed"), "s");
    assert_eq!(Connection::open(&sealed).unwrap_err().code(), Some(1045));
    for tls in [&named, &any] {
        assert!(!cipher(&over_tls(sealed.clone(), tls.clone())).is_empty());
    }
    assert_eq!(cipher(&with(server.tcp("native"), "a pässword")), "");
    let on_socket = over_tls(server.options(), named.clone());
    assert!(!cipher(&on_socket).is_empty());
    // Its certificate is for another name; it is of another authority; nobody we know signed it.
    let others = Certificates::new("db.example");
    let other = |check| Tls {
        ca: vec![others.path("ca.pem")],
        check,
        ..named.clone()
    };
    for (tls, kind) in [
        (ca.clone(), ErrorKind::Tls),
        (other(Check::Name), ErrorKind::Tls),
        (other(Check::AnyName), ErrorKind::Tls),
        (
            Tls {
                ca: Vec::new(),
                ..named.clone()
            },
            ErrorKind::Tls,
        ),
        (
            Tls {
                ca: Vec::new(),
                ..any.clone()
            },
            ErrorKind::Setup,
        ),
        (
            Tls {
                ca: vec!["/nowhere".into()],
                ..named.clone()
            },
            ErrorKind::Setup,
        ),
    ] {
        let error = Connection::open(&over_tls(sealed.clone(), tls.clone())).unwrap_err();
        // A system without any authority of its own says so.
        let bare = tls.ca.is_empty() && error.kind() == ErrorKind::Setup;
        assert!(error.kind() == kind || bare, "{tls:?}: {error}");
    }
}

#[test]
fn a_server_without_tls_gets_no_password_where_tls_was_asked_for() {
    let Some(server) = mariadb(&["--skip-ssl"]) else {
        return;
    };
    let certificates = Certificates::new("localhost");
    let tls = Tls {
        ca: vec![certificates.path("ca.pem")],
        ..Tls::default()
    };
    let error = Connection::open(&over_tls(server.tcp("root"), tls)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("no TLS"), "{error}");
}

#[test]
fn who_is_not_there_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let options = Options::new(Endpoint::Unix(socket.clone()), "root");
    let error = Connection::open(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(
        error.to_string().contains(&socket.display().to_string()),
        "{error}"
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = Endpoint::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
    };
    // One that is silent.
    let mut options = Options::new(endpoint, "root");
    options.timeouts.connect = std::time::Duration::from_millis(200);
    let error = Connection::open(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    drop(listener);
    let error = Connection::open(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.help().is_some());
}

fn forget(server: &Server) {
    all(&mut server.root(), &["FLUSH PRIVILEGES"]);
}

#[test]
fn users_of_mysql_are_let_in_by_their_methods() {
    let Some(server) = mysql(&[]) else {
        return;
    };
    let mut root = server.root();
    assert_eq!(root.version().flavour, Flavour::MySql);
    all(
        &mut root,
        &[
            "CREATE USER cached IDENTIFIED WITH caching_sha2_password BY 'a pässword'",
            "CREATE USER open IDENTIFIED WITH caching_sha2_password BY ''",
            "CREATE USER plain IDENTIFIED WITH sha256_password BY 'another'",
        ],
    );
    let data = root.fetch("SELECT @@datadir").unwrap()[0][0]
        .clone()
        .unwrap();
    let data = std::path::PathBuf::from(String::from_utf8(data).unwrap());
    let socket = |user: &str| Options::new(server.options().endpoint, user);
    let tls = Tls {
        ca: vec![data.join("ca.pem")],
        check: Check::AnyName,
        ..Tls::default()
    };
    let sealed = |user: &str| over_tls(server.tcp(user), tls.clone());
    let keyed = |user: &str| {
        let mut options = server.tcp(user);
        options.server_key = ServerKey::File(data.join("public_key.pem"));
        options
    };
    for (user, password) in [("cached", "a pässword"), ("plain", "another"), ("open", "")] {
        for options in [socket(user), server.tcp(user), sealed(user), keyed(user)] {
            // The first time the whole password is asked for, the second time a hash does.
            forget(&server);
            for _ in 0..2 {
                assert_eq!(user_of(&with(options.clone(), password)), user);
            }
            refuses(&options, "wrong-one");
        }
    }
    assert!(!cipher(&with(sealed("cached"), "a pässword")).is_empty());
}

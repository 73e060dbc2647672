//! What real errors of the libraries are. Databases and peers are a few lines that speak just as much
//! of the protocol as makes the library raise the error.

use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use mainstay_fault::{Class, Classify as _, Fault, Verdict};
use sqlx::Connection as _;

fn class(error: &(dyn Error + 'static)) -> Class {
    Verdict::from_error(error).class()
}

#[test]
fn errors_of_the_system() {
    use Class::{
        DiskFull, FileDenied, FileMissing, Internal, Resources, UpstreamConnect, UpstreamTimeout,
    };
    for (error, expected) in [
        (
            std::fs::File::open("/no/such/file").unwrap_err(),
            FileMissing,
        ),
        (std::fs::read("/").unwrap_err(), FileMissing),
        (
            io::Error::from_raw_os_error(libc_numbers::EACCES),
            FileDenied,
        ),
        (
            io::Error::from_raw_os_error(libc_numbers::EPERM),
            FileDenied,
        ),
        (
            io::Error::from_raw_os_error(libc_numbers::EROFS),
            FileDenied,
        ),
        (io::Error::from_raw_os_error(libc_numbers::ENOSPC), DiskFull),
        (io::Error::from_raw_os_error(libc_numbers::EDQUOT), DiskFull),
        (
            io::Error::from_raw_os_error(libc_numbers::EMFILE),
            Resources,
        ),
        (
            io::Error::from_raw_os_error(libc_numbers::ENFILE),
            Resources,
        ),
        (
            io::Error::from_raw_os_error(libc_numbers::ENOMEM),
            Resources,
        ),
        (
            io::Error::from_raw_os_error(libc_numbers::EAGAIN),
            Resources,
        ),
        (TcpStream::connect(closed()).unwrap_err(), UpstreamConnect),
        (io::Error::from(ErrorKind::ConnectionReset), UpstreamConnect),
        (io::Error::from(ErrorKind::BrokenPipe), UpstreamConnect),
        (io::Error::from(ErrorKind::TimedOut), UpstreamTimeout),
        (io::Error::from(ErrorKind::InvalidData), Internal),
        (io::Error::other("odd"), Internal),
        // What is inside says more than the wrapping.
        (
            io::Error::other(io::Error::from(ErrorKind::StorageFull)),
            DiskFull,
        ),
        (
            io::Error::new(
                ErrorKind::InvalidData,
                serde_json::from_str::<u8>("x").unwrap_err(),
            ),
            Class::Data,
        ),
    ] {
        assert_eq!(class(&error), expected, "{error}");
        assert_eq!(error.classify().class(), expected);
        let boxed: Box<dyn Error + Send + Sync> = format!("reading: {error}").into();
        assert_eq!(
            class(boxed.as_ref()),
            Internal,
            "a text says nothing of its type"
        );
        let shared = Arc::new(error);
        assert_eq!(class(&shared), expected, "shared");
    }
}

/// Numbers of Linux that are the same on all its platforms that we build for.
mod libc_numbers {
    pub(super) const EPERM: i32 = 1;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EACCES: i32 = 13;
    pub(super) const ENFILE: i32 = 23;
    pub(super) const EMFILE: i32 = 24;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const EDQUOT: i32 = 122;
}

/// A file that goes away while it is read.
struct Gone;
impl io::Read for Gone {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::NotFound.into())
    }
}

#[test]
fn errors_of_reading() {
    let error = serde_json::from_str::<Vec<u8>>("{").unwrap_err();
    assert_eq!(class(&error), Class::Data);
    let error = serde_json::from_reader::<_, u8>(Gone).unwrap_err();
    assert_eq!(class(&error), Class::FileMissing, "that of the file");
    let error = mainstay_base::config::Document::parse("a.toml", "[x\n")
        .err()
        .unwrap();
    assert_eq!(class(&error), Class::Config);
}

/// A server that gives each connection to `serve`, until it is dropped.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(serve));
    address
}

/// An address that nobody listens at.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn mysql(address: SocketAddr) -> sqlx::Error {
    let url = format!("mysql://shop:hunter2@{address}/shop?ssl-mode=disabled");
    sqlx::MySqlConnection::connect(&url).await.unwrap_err()
}

#[test]
fn errors_of_mysql() {
    use Class::{
        DatabaseConflict as Conflict, DatabaseConnection as Connection,
        DatabaseDeadlock as Deadlock, DatabaseInvalid as Invalid, DatabaseQuery as Query, DiskFull,
        Resources,
    };
    runtime().block_on(async {
        for (number, state, expected) in [
            (1040_u16, "08004", Connection),
            (1045, "28000", Connection),
            (1049, "42000", Connection),
            (1053, "08S01", Connection),
            (1064, "42000", Query),
            (1054, "42S22", Query),
            (1146, "42S02", Query),
            (1062, "23000", Conflict),
            (1452, "23000", Conflict),
            (1406, "22001", Invalid),
            (1213, "40001", Deadlock),
            (1205, "HY000", Deadlock),
            (1021, "HY000", DiskFull),
            (1114, "HY000", DiskFull),
            (1041, "HY000", Resources),
            (1999, "40001", Deadlock),
            (1999, "HY000", Query),
        ] {
            let error = mysql(server(move |mut peer| {
                let mut packet = vec![0xff];
                packet.extend(number.to_le_bytes());
                packet.extend(format!("#{state}it went wrong").bytes());
                let mut whole = u32::try_from(packet.len()).unwrap().to_le_bytes()[..3].to_vec();
                whole.push(0);
                whole.extend(packet);
                let _ = peer.write_all(&whole);
            }))
            .await;
            assert!(
                matches!(error, sqlx::Error::Database(_)),
                "{number}: {error:?}"
            );
            assert_eq!(class(&error), expected, "{number} {state}: {error}");
        }
        assert_eq!(class(&mysql(closed()).await), Connection);
        assert_eq!(class(&mysql(server(drop)).await), Connection);
    });
}

async fn postgres(address: SocketAddr) -> sqlx::Error {
    let url = format!("postgres://shop:hunter2@{address}/shop?sslmode=disable");
    sqlx::PgConnection::connect(&url).await.unwrap_err()
}

#[test]
fn errors_of_postgres() {
    use Class::{
        DatabaseConflict as Conflict, DatabaseConnection as Connection,
        DatabaseDeadlock as Deadlock, DatabaseInvalid as Invalid, DatabaseQuery as Query, DiskFull,
        Resources,
    };
    runtime().block_on(async {
        for (state, expected) in [
            ("08006", Connection),
            ("28P01", Connection),
            ("57P01", Connection),
            ("57P03", Connection),
            ("53300", Connection),
            ("53100", DiskFull),
            ("53200", Resources),
            ("42601", Query),
            ("42P01", Query),
            ("23505", Conflict),
            ("23503", Conflict),
            ("22001", Invalid),
            ("23502", Invalid),
            ("40001", Deadlock),
            ("40P01", Deadlock),
        ] {
            let error = postgres(server(move |mut peer| {
                let _ = peer.read(&mut [0; 1024]);
                let fields = format!("SERROR\0VERROR\0C{state}\0Mit went wrong\0\0");
                let mut answer = vec![b'E'];
                answer.extend((u32::try_from(fields.len()).unwrap() + 4).to_be_bytes());
                answer.extend(fields.bytes());
                let _ = peer.write_all(&answer);
            }))
            .await;
            assert!(
                matches!(error, sqlx::Error::Database(_)),
                "{state}: {error:?}"
            );
            assert_eq!(class(&error), expected, "{state}: {error}");
        }
    });
}

#[test]
fn errors_of_sqlx_itself() {
    let full = io::Error::from(ErrorKind::StorageFull);
    for (error, expected) in [
        (sqlx::Error::PoolTimedOut, Class::DatabaseConnection),
        (sqlx::Error::PoolClosed, Class::DatabaseConnection),
        (
            sqlx::Error::Io(ErrorKind::ConnectionRefused.into()),
            Class::DatabaseConnection,
        ),
        (sqlx::Error::Io(full), Class::DiskFull),
        (
            sqlx::Error::ColumnNotFound("x".into()),
            Class::DatabaseQuery,
        ),
        (sqlx::Error::Configuration("no host".into()), Class::Config),
        (sqlx::Error::RowNotFound, Class::Request),
    ] {
        assert_eq!(class(&error), expected, "{error}");
    }
    assert_eq!(Fault::new(&sqlx::Error::RowNotFound).status(), 404);
    let error = "mysql://shop:hunter2@:x/"
        .parse::<sqlx::mysql::MySqlConnectOptions>()
        .unwrap_err();
    assert_eq!(class(&error), Class::Config);
    assert!(!format!("{:?}", Fault::new(&error)).contains("hunter2"));
}

/// Codes of `SQLite` through sqlx. Its driver can't be linked beside rusqlite, which this workspace
/// uses, so that this error is one that is like it: code and kind are what is looked at.
#[test]
fn errors_of_sqlite() {
    #[derive(Debug)]
    struct Sqlite(&'static str);
    impl std::fmt::Display for Sqlite {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "(code: {})", self.0)
        }
    }
    impl Error for Sqlite {}
    impl sqlx::error::DatabaseError for Sqlite {
        fn message(&self) -> &'static str {
            "it went wrong"
        }
        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.into())
        }
        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }
    for (code, expected) in [
        ("2067", Class::DatabaseConflict),
        ("1299", Class::DatabaseInvalid),
        ("5", Class::DatabaseDeadlock),
        ("13", Class::DiskFull),
        ("14", Class::DatabaseConnection),
        ("1", Class::DatabaseQuery),
    ] {
        let error = sqlx::Error::Database(Box::new(Sqlite(code)));
        assert_eq!(class(&error), expected, "{code}");
    }
}

/// Answers every request with these bytes.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    server(move |mut peer| {
        let _ = peer.read(&mut [0; 4096]);
        let _ = peer.write_all(bytes);
    })
}

#[test]
fn errors_of_reqwest() {
    runtime().block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = |address: SocketAddr| format!("http://{address}/pay?key=hunter2");
        let refused = client.get(url(closed())).send().await.unwrap_err();
        assert_eq!(class(&refused), Class::UpstreamConnect);
        let shown = format!("{:?}", Fault::new(&refused));
        assert!(
            !shown.contains("hunter2") && shown.contains("/pay?…"),
            "{shown}"
        );

        // The peer is kept open and says nothing.
        let (keep, kept) = std::sync::mpsc::channel();
        let silent = server(move |peer| keep.send(peer).unwrap());
        let late = client
            .get(url(silent))
            .timeout(Duration::from_millis(50))
            .send()
            .await
            .unwrap_err();
        assert_eq!(class(&late), Class::UpstreamTimeout);
        drop(kept);

        let broken = answering(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
        let refused = client
            .get(url(broken))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap_err();
        assert_eq!(class(&refused), Class::UpstreamResponse);

        let short = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        let cut = client
            .get(url(short))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap_err();
        assert_eq!(class(&cut), Class::UpstreamResponse);

        let nonsense = client
            .get(url(answering(b"hello\r\n\r\n")))
            .send()
            .await
            .unwrap_err();
        assert_eq!(class(&nonsense), Class::UpstreamResponse);

        let unsent = client.get("not a url").send().await.unwrap_err();
        assert_eq!(class(&unsent), Class::Internal);
    });
}

#[test]
fn errors_of_hyper() {
    use hyper_util::rt::TokioIo;
    runtime().block_on(async {
        // A server's connection, whose client sends this and leaves.
        async fn served(bytes: &'static [u8]) -> hyper::Error {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(bytes).unwrap();
            drop(client);
            let (stream, _) = listener.accept().await.unwrap();
            let service =
                hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                    request.into_body().collect().await?;
                    Ok::<_, hyper::Error>(http::Response::new(Empty::<bytes::Bytes>::new()))
                });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .unwrap_err()
        }
        let gone = served(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
        assert_eq!(class(&gone), Class::ClientGone, "{gone:?}");
        let gone = served(b"GET / HT").await;
        assert_eq!(class(&gone), Class::ClientGone, "{gone:?}");
        let nonsense = served(b"\x16\x03\x01 hello\r\n\r\n").await;
        assert_eq!(Verdict::from_error(&nonsense).status(), 400, "{nonsense:?}");

        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http::<Empty<bytes::Bytes>>();
        let get = async |address: SocketAddr| {
            client
                .get(format!("http://{address}/").parse().unwrap())
                .await
                .unwrap_err()
        };
        assert_eq!(class(&get(closed()).await), Class::UpstreamConnect);
        assert_eq!(
            class(&get(answering(b"hello\r\n\r\n")).await),
            Class::UpstreamResponse
        );
        assert_eq!(class(&get(answering(b"")).await), Class::UpstreamResponse);
    });
}

#[test]
fn errors_of_tower_and_tokio() {
    assert_eq!(
        class(&tower::timeout::error::Elapsed::new()),
        Class::Timeout
    );
    assert_eq!(
        class(&tower::load_shed::error::Overloaded::new()),
        Class::Overload
    );
    // As layers hand them on.
    let boxed: Box<dyn Error + Send + Sync> = Box::new(tower::timeout::error::Elapsed::new());
    assert_eq!(class(boxed.as_ref()), Class::Timeout);
    runtime().block_on(async {
        let late = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(class(&late), Class::Timeout);
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        assert_eq!(class(&task.await.unwrap_err()), Class::Internal);
        let panicked = tokio::spawn(async { panic!("on purpose") })
            .await
            .unwrap_err();
        assert_eq!(class(&panicked), Class::Panic);
    });
}

//! The server over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_base::Secret;
use mainstay_supervise::{Did, Phase};
use mainstay_supervisord::rpc::{Rpc, Supervision};
use mainstay_supervisord::server::{Limits, Login, Server, Socket, serve};
use tokio::sync::watch;

use crate::fake::{Fake, running, status};

/// For what must happen; nothing is concluded from how long it took.
const SOON: Duration = Duration::from_mins(1);

/// A server on a thread of its own. It stops when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn start_on<S: Supervision>(
    socket: Socket,
    rpc: Rpc<S, Fake>,
    change: impl FnOnce(&mut Server),
) -> Running {
    let address = match &socket {
        Socket::Tcp(socket) => socket.local_addr().unwrap(),
        Socket::Unix(_) => "127.0.0.1:0".parse().unwrap(),
    };
    let mut server = Server {
        socket,
        login: None,
        names: Vec::new(),
        limits: Limits::default(),
    };
    change(&mut server);
    let rpc = Arc::new(rpc);
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(serve(server, rpc, stopped))
            .unwrap();
    });
    Running {
        address,
        stop: Some(stop),
        thread: Some(thread),
    }
}

fn start(fake: &Fake, change: impl FnOnce(&mut Server)) -> Running {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    start_on(Socket::Tcp(socket), fake.rpc(), change)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the server does not panic");
            }
        }
    }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Sends a request as it is and reads all there is until the server closes.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        let text = format!("{text}Content-Length: {}\r\n\r\n{body}", body.len());
        Answer::read(&self.raw(text.as_bytes()))
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    fn call(&self, method: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("POST", "/RPC2", headers, &call_text(method, ""))
    }
}

fn call_text(method: &str, params: &str) -> String {
    format!(
        "<?xml version='1.0'?><methodCall><methodName>{method}</methodName>\
         <params>{params}</params></methodCall>"
    )
}

/// A response, taken apart.
#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            code: code.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

fn shop() -> Fake {
    Fake::new(vec![
        running("db", "db", 10),
        running("shop", "shop:web", 11),
        status("shop", "shop:mail", Phase::Stopped),
    ])
}

fn acted(fake: &Fake) -> usize {
    let is_act = |it: &&mainstay_supervise::Command| {
        !matches!(it, mainstay_supervise::Command::Status { .. })
    };
    fake.0.lock().unwrap().asked.iter().filter(is_act).count()
}

#[test]
fn answers_have_the_form_of_the_originals() {
    let server = start(&shop(), |_| {});
    let version = server.call("supervisor.getAPIVersion", &[]);
    assert_eq!(version.code, 200, "{version:?}");
    assert_eq!(version.header("Content-Type"), Some("text/xml"));
    assert!(version.body.contains("<string>3.0</string>"), "{version:?}");
    let anywhere = server.send(
        "POST",
        "/RPC2/x?y",
        &[],
        &call_text("system.listMethods", ""),
    );
    assert_eq!(anywhere.code, 200);
    for (method, path, code, kind) in [
        ("GET", "/", 200, "text/html;charset=utf-8"),
        ("GET", "/index.html", 200, "text/html;charset=utf-8"),
        ("GET", "/tail.html", 200, "text/html;charset=utf-8"),
        ("GET", "/ok.html", 200, "text/plain"),
        ("GET", "/stylesheets/supervisor.css", 200, "text/css"),
        ("GET", "/images/icon.svg", 200, "image/svg+xml"),
        ("GET", "/nothing", 404, "text/html;charset=utf-8"),
        ("GET", "/RPC2", 400, "text/html;charset=utf-8"),
        ("GET", "/logtail/db", 404, "text/html;charset=utf-8"),
        ("GET", "/logtail/nobody", 404, "text/html;charset=utf-8"),
        ("GET", "/mainlogtail", 404, "text/html;charset=utf-8"),
        ("HEAD", "/", 200, "text/html;charset=utf-8"),
        ("DELETE", "/", 400, "text/html;charset=utf-8"),
    ] {
        let answer = server.send(method, path, &[], "");
        assert_eq!(answer.code, code, "{method} {path} {answer:?}");
        assert_eq!(answer.header("Content-Type"), Some(kind), "{path}");
        for (name, part) in [
            ("Content-Security-Policy", "default-src 'none'"),
            ("X-Frame-Options", "DENY"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ] {
            let value = answer.header(name).unwrap_or("");
            assert!(value.contains(part), "{path} {name}: {value}");
        }
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {path}");
    }
    assert_eq!(server.get("/ok.html").body, "OK");
    // A connection serves more than one request, also in HTTP/1.0 if it is asked to.
    let mut stream = server.connect();
    for _ in 0..3 {
        let text = call_text("supervisor.getPID", "");
        let length = text.len();
        write!(
            stream,
            "POST /RPC2 HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n{text}"
        )
        .unwrap();
        read_until(&mut stream, "</methodResponse>\n");
    }
}

fn read_until(stream: &mut impl std::io::Read, end: &str) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.contains(end) {
            return text;
        }
        let read = stream.read(&mut piece).expect("there is more to come");
        assert!(read > 0, "the stream ended after {text}");
        all.extend_from_slice(&piece[..read]);
    }
}

#[test]
fn what_is_no_call_is_refused() {
    let fake = shop();
    let server = start(&fake, |_| {});
    for body in [
        "",
        "rubbish",
        "<methodCall></methodCall>",
        "<!DOCTYPE x [<!ENTITY e 'x'>]><methodCall><methodName>&e;</methodName></methodCall>",
        "<methodCall><methodName>x</methodName><params><param><value><int>x</int></value></param></params></methodCall>",
    ] {
        let answer = server.send("POST", "/RPC2", &[], body);
        assert_eq!(answer.code, 400, "{body}");
    }
    assert_eq!(fake.0.lock().unwrap().said.len(), 5);
    // The address of the exploit of CVE-2017-11610 is a method that is not there.
    let answer = server.call(
        "supervisor.supervisord.options.warnings.linecache.os.system",
        &[],
    );
    assert_eq!(answer.code, 200);
    assert!(answer.body.contains("UNKNOWN_METHOD"), "{answer:?}");
}

#[test]
fn nobody_gets_in_without_the_password() {
    let fake = shop();
    for password in [
        "thepassword",
        "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d",
    ] {
        let server = start(&fake, |server| {
            server.login = Some(Login::new("user", Secret::new(password)));
        });
        for path in [
            "/",
            "/index.html?action=stopall",
            "/tail.html",
            "/ok.html",
            "/stylesheets/supervisor.css",
            "/logtail/db",
            "/mainlogtail",
            "/nothing",
            "/RPC2",
        ] {
            let answer = server.get(path);
            assert_eq!(answer.code, 401, "{path}");
            assert_eq!(
                answer.header("WWW-Authenticate"),
                Some("Basic realm=\"default\"")
            );
            assert_eq!(answer.header("Connection"), Some("close"));
        }
        // user:wrong, user:thepassword
        let wrong = server.call(
            "supervisor.getPID",
            &[("Authorization", "Basic dXNlcjp3cm9uZw==")],
        );
        assert_eq!(wrong.code, 401);
        let malformed = server.call("supervisor.getPID", &[("Authorization", "Basic abcde")]);
        assert_eq!(malformed.code, 400);
        // The digest is that of `thepassword` as well.
        let right = server.call(
            "supervisor.getPID",
            &[("Authorization", "Basic dXNlcjp0aGVwYXNzd29yZA==")],
        );
        assert_eq!(right.code, 200, "{password}");
    }
    assert_eq!(acted(&fake), 0);
}

#[test]
fn other_sites_cannot_make_a_browser_do_things() {
    let fake = shop();
    let server = start(&fake, |_| {});
    let firefox = ("User-Agent", "Mozilla/5.0 (X11; Linux)");
    let action = "/index.html?processname=db&action=stop";
    for headers in [
        vec![firefox, ("Sec-Fetch-Site", "cross-site")],
        vec![firefox, ("Sec-Fetch-Site", "same-site")],
        vec![firefox, ("Referer", "http://evil.example/")],
        vec![("Origin", "http://evil.example")],
        vec![("Origin", "null")],
    ] {
        for path in [action, "/?action=stopall", "/index.html?action=restartall"] {
            assert_eq!(
                server.send("GET", path, &headers, "").code,
                403,
                "{headers:?}"
            );
            assert_eq!(
                server.send("POST", path, &headers, "").code,
                403,
                "{headers:?}"
            );
        }
        assert_eq!(
            server.call("supervisor.shutdown", &headers).code,
            403,
            "{headers:?}"
        );
        // What only shows may be linked to.
        assert_eq!(server.send("GET", "/", &headers, "").code, 200);
    }
    // A browser that does not say who asked is asked itself.
    let unsure = server.send("GET", action, &[firefox], "");
    assert_eq!(unsure.code, 403);
    assert!(unsure.body.contains("Please confirm"), "{unsure:?}");
    // And nothing is done for those who only look.
    assert_eq!(server.send("HEAD", action, &[], "").code, 200);
    assert_eq!(acted(&fake), 0);

    for headers in [
        vec![],
        vec![firefox, ("Sec-Fetch-Site", "same-origin")],
        vec![firefox, ("Sec-Fetch-Site", "none")],
        vec![firefox, ("Referer", "http://localhost/")],
    ] {
        let answer = server.send("GET", "/?action=stopall", &headers, "");
        assert_eq!(answer.code, 301, "{headers:?}");
    }
    let posted = server.send(
        "POST",
        "/index.html?action=stopall",
        &[firefox, ("Origin", "http://localhost")],
        "",
    );
    assert_eq!(posted.code, 303);
}

#[test]
fn names_that_point_here_are_not_enough() {
    let fake = shop();
    let server = start(&fake, |server| server.names.push("box.lan".to_owned()));
    let login = start(&fake, |server| {
        server.login = Some(Login::new("u", Secret::new("p")));
    });
    for (host, code) in [
        ("evil.example", 403),
        ("evil.example:9001", 403),
        ("localhost:9001", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("box.lan:80", 200),
        ("", 200),
    ] {
        let answer = server.call("supervisor.getPID", &[("Host", host)]);
        assert_eq!(answer.code, code, "{host}");
        assert_eq!(server.send("GET", "/", &[("Host", host)], "").code, code);
        // With a password a browser would not have sent it.
        let auth = ("Authorization", "Basic dTpw");
        let answer = login.call("supervisor.getPID", &[("Host", host), auth]);
        assert_eq!(answer.code, 200, "{host}");
    }
}

#[test]
fn actions() {
    let fake = shop().with(|world| {
        let spawn = Did::SpawnFailed("no".to_owned());
        world.results.insert("shop:mail".to_owned(), spawn);
    });
    let server = start(&fake, |_| {});
    for (query, expected) in [
        ("processname=db&action=stop", "Process%20db%20stopped"),
        (
            "processname=db&action=stop",
            "unexpected%20rpc%20fault%20%5B70%5D%20NOT_RUNNING%3A%20db",
        ),
        ("processname=db&action=start", "Process%20db%20started"),
        ("processname=db&action=restart", "Process%20db%20restarted"),
        (
            "processname=shop%3Aweb&action=clearlog",
            "Log%20for%20shop%3Aweb%20cleared",
        ),
        (
            "processname=shop:mail&action=start",
            "ERROR%3A%20Process%20shop%3Amail%3A%20spawn%20error",
        ),
        (
            "processname=no&action=start",
            "No%20such%20process%20named%20no",
        ),
        (
            "processname=shop:*&action=stop",
            "No%20such%20process%20named%20shop%3A%2A",
        ),
        (
            "action=refresh",
            "Page%20refreshed%20at%20Sat%20Jan%2031%2012%3A00%3A00%202026",
        ),
        (
            "action=stopall",
            "All%20stopped%20at%20Sat%20Jan%2031%2012%3A00%3A00%202026",
        ),
        (
            "action=restartall",
            "All%20restarted%20at%20Sat%20Jan%2031%2012%3A00%3A00%202026",
        ),
    ] {
        let answer = server.get(&format!("/index.html?{query}"));
        assert_eq!(answer.code, 301, "{query}");
        let place = format!("http://localhost/?message={expected}");
        assert_eq!(answer.header("Location"), Some(&*place), "{query}");
    }
    for query in ["action=nonsense", "action=start", "processname=db&action=x"] {
        assert_eq!(server.get(&format!("/?{query}")).code, 400, "{query}");
    }
    let posted = server.send(
        "POST",
        "/index.html",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        "processname=db&action=clearlog",
    );
    assert_eq!(posted.code, 303);
    // Behind a proxy the address is left to the browser.
    let headers = [("X-Forwarded-Proto", "https")];
    let answer = server.send("GET", "/?action=stopall", &headers, "");
    assert!(
        answer
            .header("Location")
            .unwrap()
            .starts_with("./?message=")
    );
    // A host that is none gets into no answer.
    let answer = server.send("GET", "/?action=stopall", &[("Host", "")], "");
    assert!(
        answer
            .header("Location")
            .unwrap()
            .starts_with("./?message=")
    );
    let page = server.get("/?message=%3Cscript%3Ealert(1)%3C/script%3E");
    assert!(page.body.contains("&lt;script&gt;alert(1)"), "{page:?}");
    assert!(!page.body.contains("<script"), "{page:?}");
}

#[test]
fn a_call_that_waits_holds_up_nobody() {
    let fake = shop().with(|world| world.held = true);
    let server = start(&fake, |_| {});
    let mut waiting = server.connect();
    let text = call_text("supervisor.stopProcess", "<param><value>db</value></param>");
    let length = text.len();
    write!(
        waiting,
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{text}"
    )
    .unwrap();
    // Others say half of what they want to say, or nothing.
    let mut half = server.connect();
    half.write_all(b"POST /RPC2 HTTP/1.1\r\nHost: x").unwrap();
    let _silent = server.connect();
    for _ in 0..10 {
        assert_eq!(server.call("supervisor.getPID", &[]).code, 200);
    }
    fake.0.lock().unwrap().held = false;
    let answer = read_until(&mut waiting, "</methodResponse>");
    assert!(answer.contains("<boolean>1</boolean>"), "{answer}");
}

#[test]
fn everything_has_a_limit() {
    let fake = shop();
    let server = start(&fake, |server| {
        server.limits.head_time = Duration::from_millis(200);
        server.limits.body_time = Duration::from_millis(200);
        server.limits.idle = Duration::from_millis(200);
    });
    let long = "x".repeat(2 << 20);
    assert_eq!(server.send("POST", "/RPC2", &[], &long).code, 413);
    let chunked = format!(
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    let answer = Answer::read(&server.raw(chunked.as_bytes()));
    assert!(matches!(answer.code, 413 | 0), "{answer:?}");
    let headers = [("X-Long", &*"x".repeat(100_000))];
    let code = server.send("GET", "/", &headers, "").code;
    assert!(matches!(code, 431 | 0), "{code}");
    let many = "X: y\r\n".repeat(1000);
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes());
    assert_ne!(Answer::read(&answer).code, 200);
    // What does not come in time ends the connection: the head, the body, another request.
    assert_eq!(server.raw(b""), "");
    assert_eq!(server.raw(b"GET / HTTP/1.1\r\nHost: loc"), "");
    let answer =
        server.raw(b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx");
    assert_eq!(Answer::read(&answer).code, 408);
    let answer = server.raw(b"GET /ok.html HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(Answer::read(&answer).code, 200);
    assert_eq!(server.call("supervisor.getPID", &[]).code, 200);
}

#[test]
fn a_client_that_takes_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    file.set_len(30 << 20).unwrap();
    let fake = shop().with(|world| world.main_log = Some(log));
    let server = start(&fake, |server| {
        server.limits.stall = Duration::from_millis(200);
    });
    let mut stalled = server.connect();
    let text = call_text(
        "supervisor.readLog",
        "<param><value><int>0</int></value></param><param><value><int>0</int></value></param>",
    );
    let length = text.len();
    write!(
        stalled,
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{text}"
    )
    .unwrap();
    // It ends at some time, although there is more to be sent than was taken.
    let deadline = Instant::now() + SOON;
    while guests(&server) > 0 {
        assert!(Instant::now() < deadline, "it is still being served");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest);
    assert!(rest.len() < 30 << 20, "{} bytes came after all", rest.len());
}

/// How many connections to the server this host knows as established, from the server's side.
fn guests(server: &Running) -> usize {
    let port = format!(":{:04X}", server.address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    table
        .lines()
        .filter(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|it| it.ends_with(&port));
            let established = fields.nth(1) == Some("01");
            local && established
        })
        .count()
}

#[test]
fn the_idle_make_room_for_others() {
    let server = start(&shop(), |server| server.limits.connections = 3);
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect();
        stream
            .write_all(b"GET /ok.html HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        read_until(&mut stream, "\r\n\r\nOK");
        idle.push(stream);
    }
    for _ in 0..5 {
        assert_eq!(server.get("/ok.html").code, 200);
    }
    // The oldest ones went first.
    let mut rest = Vec::new();
    idle[0].read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn logs_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, format!("{}end\n", "x".repeat(5000))).unwrap();
    let mut db = running("db", "db", 1);
    db.stdout_log = Some(log.clone());
    let fake = Fake::new(vec![db]).with(|world| world.main_log = Some(log.clone()));
    let server = start(&fake, |_| {});
    for (path, buffering) in [
        ("/logtail/db", true),
        ("/logtail/db:db/stdout", true),
        ("/mainlogtail", false),
    ] {
        let mut stream = server.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let begun = read_until(&mut stream, "end\n");
        let answer = Answer::read(&begun);
        assert_eq!(answer.code, 200, "{path}");
        assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(
            answer.header("Content-Type"),
            Some("text/plain;charset=utf-8")
        );
        assert!(answer.header("Last-Modified").is_some());
        let expected = buffering.then_some("no");
        assert_eq!(answer.header("X-Accel-Buffering"), expected, "{path}");
        assert!(begun.len() < 2048, "only the end is sent");
        let mut file = std::fs::File::options().append(true).open(&log).unwrap();
        file.write_all(b"more\n").unwrap();
        read_until(&mut stream, "more\n");
        std::fs::rename(&log, dir.path().join("log.1")).unwrap();
        std::fs::write(&log, "rolled\n").unwrap();
        read_until(&mut stream, "rolled\n");
        std::fs::write(&log, "").unwrap();
        read_until(&mut stream, "==> File truncated <==\n");
        std::fs::write(&log, format!("{}end\n", "x".repeat(5000))).unwrap();
        read_until(&mut stream, "xend\n");
    }
    assert_eq!(server.get("/logtail/db/stderr").code, 404);
    assert_eq!(server.get("/logtail/db:*").code, 404);
    assert_eq!(server.send("HEAD", "/logtail/db", &[], "").code, 400);
    let page = server.get("/tail.html?processname=db&limit=2048");
    assert!(page.body.contains("xend\n</pre>"), "{page:?}");
    assert_eq!(page.body.matches('x').count() / 1000, 2);
    let page = server.get("/tail.html?processname=no");
    assert!(
        page.body
            .contains("ERROR: unexpected rpc fault [10] BAD_NAME: no")
    );

    // Followers do not keep the server from stopping.
    let mut stream = server.connect();
    stream
        .write_all(b"GET /logtail/db HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    read_until(&mut stream, "end\n");
    drop(server);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// Runs a program with Python's own client; `false` where there is no Python.
fn python(program: &str, arguments: &[&str]) -> bool {
    let path = Path::new("/usr/bin/python3");
    if !path.exists() {
        println!("SKIPPED: there is no {}", path.display());
        return false;
    }
    let output = Command::new(path)
        .arg("-c")
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

#[test]
fn pythons_client_understands_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, b"\x00\xff\x1b[1m<&>\r\n").unwrap();
    let fake = shop().with(|world| world.main_log = Some(log));
    let server = start(&fake, |server| {
        server.login = Some(Login::new("u", Secret::new("p")));
    });
    let program = "
import sys, xmlrpc.client
url = 'http://%s@' + sys.argv[1] + '/RPC2'
proxy = xmlrpc.client.ServerProxy(url % 'u:p')
s = proxy.supervisor
assert s.getState() == {'statecode': 1, 'statename': 'RUNNING'}
assert [i['name'] for i in s.getAllProcessInfo()] == ['db', 'mail', 'web']
assert s.getProcessInfo('shop:web')['pid'] == 11
assert len(s.getAllConfigInfo()[0]) == 29
assert s.readLog(0, 0) == '\\u2400\\ufffd\\u241b[1m<&>\\r\\n'
assert s.stopProcess('db') is True
assert s.startProcessGroup('shop', False)[0]['status'] == 80
assert s.reloadConfig() == [[['a'], [], ['r', 's']]]
try:
    s.startProcess('nobody')
    assert False
except xmlrpc.client.Fault as fault:
    assert (fault.faultCode, fault.faultString) == (10, 'BAD_NAME: nobody')
calls = [{'methodName': 'supervisor.getPID'}, {'methodName': 'x'}]
assert proxy.system.multicall(calls) == [99, {'faultCode': 1, 'faultString': 'UNKNOWN_METHOD'}]
try:
    xmlrpc.client.ServerProxy(url % 'u:q').supervisor.getPID()
    assert False
except xmlrpc.client.ProtocolError as error:
    assert error.errcode == 401
";
    python(program, &[&server.address.to_string()]);
}

#[test]
fn debians_supervisorctl_works() {
    let supervisorctl = Path::new("/usr/bin/supervisorctl");
    if !supervisorctl.exists() {
        println!("SKIPPED: there is no {}", supervisorctl.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, "some output\n").unwrap();
    let mut db = running("db", "db", 10);
    db.stdout_log = Some(log.clone());
    let fake = Fake::new(vec![db, status("shop", "shop:web", Phase::Stopped)])
        .with(|world| world.main_log = Some(log));
    let path = dir.path().join("s.sock");
    let config = dir.path().join("ctl.conf");
    std::fs::write(&config, "[supervisorctl]\n").unwrap();
    let socket = UnixListener::bind(&path).unwrap();
    let server = start_on(Socket::Unix(socket), fake.rpc(), |server| {
        server.login = Some(Login::new("u", Secret::new("p")));
    });
    let ctl = |password: &str, line: &[&str]| {
        let output = Command::new(supervisorctl)
            .arg("-c")
            .arg(&config)
            .args(["-u", "u", "-p", password, "-s"])
            .arg(format!("unix://{}", path.display()))
            .args(line)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (line, expected) in [
        (&["pid"][..], "99\n"),
        (&["version"], "4.2.5\n"),
        (&["start", "shop:web"], "shop:web: started\n"),
        (&["stop", "all"], "db: stopped\nshop:web: stopped\n"),
        (&["start", "nobody"], "nobody: ERROR (no such process)\n"),
        (&["clear", "db"], "db: cleared\n"),
        (&["tail", "db"], "some output\n\n"),
        (&["maintail"], "some output\n\n"),
        (
            &["reread"],
            "a: available\nr: disappeared\ns: disappeared\n",
        ),
    ] {
        assert_eq!(ctl("p", line), expected, "{line:?}");
    }
    let status = ctl("p", &["status"]);
    assert!(
        status.contains("shop:web") && status.contains("STOPPED"),
        "{status}"
    );
    assert!(ctl("q", &["status"]).contains("Server requires authentication"));

    // Its own way of following a log.
    let mut follower = Command::new(supervisorctl)
        .arg("-c")
        .arg(&config)
        .args(["-u", "u", "-p", "p", "-s"])
        .arg(format!("unix://{}", path.display()))
        .args(["tail", "-f", "db"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = follower.stdout.take().unwrap();
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        read_until(&mut output, "some output\n")
    }));
    follower.kill().unwrap();
    follower.wait().unwrap();
    seen.unwrap();
    drop(server);
}

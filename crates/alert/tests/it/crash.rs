//! A SIGKILL with alerts on their way: the next start brings them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mainstay_alert::{Alert, Config, DeliveryState, MailConfig, Severity, Target, Tls, When};

use crate::scene::{config, eventually, start};
use crate::smtp::{Mode, Smtp, Wrap};

const DIRECTORY: &str = "MAINSTAY_ALERT_TEST_DIRECTORY";
const PORT: &str = "MAINSTAY_ALERT_TEST_PORT";
const KINDS: u8 = 20;

fn make(directory: &Path, port: u16) -> Config {
    let mut mail = MailConfig::new("mainstay@example.com", ["ops@example.com"], "127.0.0.1");
    mail.port = port;
    mail.tls = Tls::None;
    let mut config = config(directory).channel("admin", When::default(), Target::Mail(mail));
    config.policy.limit = None;
    config
}

/// Not a test: what the tests below run as a process of its own and kill.
#[test]
fn victim() {
    let (Ok(directory), Ok(port)) = (std::env::var(DIRECTORY), std::env::var(PORT)) else {
        return;
    };
    let alerts = start(make(Path::new(&directory), port.parse().unwrap()));
    for kind in 0..KINDS {
        for _ in 0..=kind {
            let letter = char::from(b'a' + kind);
            alerts.raise(Alert::new(
                "blog",
                Severity::Critical,
                format!("kind {letter}"),
            ));
        }
    }
    alerts.sync().unwrap();
    println!("READY");
    // Whoever started this ends it; if they cannot, their end closes the pipe.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn kill_a_victim(directory: &Path, port: u16, before_the_kill: impl FnOnce()) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(PORT, port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ready = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("READY"));
    before_the_kill();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready, "the victim did not come so far");
}

fn all_arrives(directory: &Path, server: &Smtp) {
    let alerts = start(make(directory, server.address.port()));
    let overview = eventually("everything to be delivered", || {
        let overview = alerts.list().unwrap();
        let sent = overview
            .deliveries
            .iter()
            .all(|delivery| delivery.state == DeliveryState::Sent);
        (sent && overview.waiting == 0).then_some(overview)
    });
    let raised: u64 = (1..=u64::from(KINDS)).sum();
    assert_eq!(overview.counts.raised, raised);
    assert_eq!(overview.counts.told, raised);
    let taken = server.taken();
    for kind in 0..KINDS {
        let title = format!("kind {}", char::from(b'a' + kind));
        let mails: Vec<_> = taken
            .iter()
            .filter(|taken| String::from_utf8_lossy(&taken.bytes).contains(&title))
            .collect();
        assert!(!mails.is_empty(), "{title} is lost");
    }
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn killed_while_the_server_is_down() {
    let directory = tempfile::tempdir().unwrap();
    // The port is one that nobody listens at until the victim is dead.
    let port = {
        let server = Smtp::plain();
        server.address.port()
    };
    kill_a_victim(directory.path(), port, || ());
    let server = Smtp::at(&format!("127.0.0.1:{port}"), Wrap::Plain, None, "PLAIN");
    all_arrives(directory.path(), &server);
}

#[test]
fn killed_in_the_middle_of_deliveries() {
    let directory = tempfile::tempdir().unwrap();
    let server = Smtp::plain();
    kill_a_victim(directory.path(), server.address.port(), || {
        eventually("some mails", || (server.taken().len() >= 3).then_some(()));
    });
    all_arrives(directory.path(), &server);
}

#[test]
fn killed_while_the_server_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Smtp::plain();
    server.set(Mode::Stall);
    kill_a_victim(directory.path(), server.address.port(), || ());
    server.set(Mode::Accept);
    all_arrives(directory.path(), &server);
}

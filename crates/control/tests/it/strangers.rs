//! Callers that are not root. They are threads that give their rights away before they connect, which
//! only root can do; without root these tests say so and end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mainstay_control::wire::LogQuery;
use mainstay_control::{Error, Kind, Limits, Role};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::fake::{DEADLINE, Rig, post, refusal};

const DEPLOY: u32 = 4711;
const SOMEBODY: u32 = 4242;

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let text = b"skipped: callers of other users can only be tried as root\n";
        std::io::stderr().write_all(text).unwrap();
    }
    root
}

/// What the server answers to that user; an error if it cannot even be opened.
async fn ask_as(
    path: &Path,
    uid: u32,
    gid: u32,
    groups: &'static [u32],
    request: Vec<u8>,
) -> std::io::Result<String> {
    let path = path.to_owned();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own, which ends with the rights it gave away.
    std::thread::spawn(move || {
        let answer = (|| {
            let groups: Vec<_> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
            set_thread_groups(&groups)?;
            let gid = Gid::from_raw(gid);
            set_thread_res_gid(gid, gid, gid)?;
            let uid = Uid::from_raw(uid);
            set_thread_res_uid(uid, uid, uid)?;
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(&request)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })();
        sender.send(answer).unwrap();
    });
    receiver.await.unwrap()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_stranger_is_turned_away_even_from_an_open_socket() {
    if !root() {
        return;
    }
    let rig = Rig::with(Limits::default(), 0o666, Some(DEPLOY));
    let requests = [
        get("/v1/status"),
        get("/v1/ping"),
        get("/nowhere"),
        post("/v1/programs/stop", r#"{"names":["web"]}"#),
        b"\x00\xff not HTTP at all".to_vec(),
        post("/v1/shutdown", &"x".repeat(100_000)),
    ];
    let count = requests.len();
    for request in requests {
        let answer = ask_as(&rig.path, SOMEBODY, SOMEBODY, &[], request)
            .await
            .unwrap();
        let (status, error) = refusal(&answer);
        assert_eq!(
            (status, error.kind, error.exit_code()),
            (403, Kind::Denied, 5)
        );
        assert!(error.message.contains("uid 4242"), "{error}");
        assert!(error.help.unwrap().contains("group"));
    }
    assert!(rig.daemon.callers.lock().unwrap().is_empty());
    assert_eq!(
        rig.daemon.audited(),
        ["(stranger): connect: denied"],
        "once, not for each knock"
    );
    assert_eq!(rig.daemon.audit.lock().unwrap()[0].actor.uid, SOMEBODY);
    // A supplementary group proves nothing while the socket lets everybody in.
    let answer = ask_as(&rig.path, SOMEBODY, SOMEBODY, &[DEPLOY], get("/v1/ping"))
        .await
        .unwrap();
    assert_eq!(refusal(&answer).0, 403);
    let served = rig.end().await;
    assert_eq!(
        (served.connections, served.strangers),
        (0, u64::try_from(count).unwrap() + 1)
    );
}

#[tokio::test]
async fn members_of_the_group_are_operators() {
    if !root() {
        return;
    }
    let rig = Rig::with(Limits::default(), 0o660, Some(DEPLOY));
    // As their primary group, and as one of several.
    for (gid, groups) in [(DEPLOY, &[][..]), (SOMEBODY, &[1, DEPLOY][..])] {
        let answer = ask_as(&rig.path, SOMEBODY, gid, groups, get("/v1/status"))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let stop = post("/v1/programs/stop", r#"{"names":["web"]}"#);
        let answer = ask_as(&rig.path, SOMEBODY, gid, groups, stop)
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let end = post("/v1/shutdown", "{}");
        let answer = ask_as(&rig.path, SOMEBODY, gid, groups, end).await.unwrap();
        let (status, error) = refusal(&answer);
        assert_eq!((status, error.kind), (403, Kind::Denied));
        assert!(error.message.contains("admin"), "{error}");
        assert!(error.message.contains("operator"), "{error}");
    }
    assert_eq!(
        rig.daemon.audited(),
        [
            "(operator): stop web: done",
            "(operator): shutdown: denied",
            "(operator): stop web: done",
            "(operator): shutdown: denied",
        ]
    );
    assert!(
        rig.daemon
            .callers
            .lock()
            .unwrap()
            .iter()
            .all(|caller| caller.role == Role::Operator)
    );
    // Whoever is not a member does not even get through the door.
    let refused = ask_as(&rig.path, SOMEBODY, SOMEBODY, &[], get("/v1/ping"))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    rig.end().await;
}

#[tokio::test]
async fn strangers_take_no_place_from_others() {
    if !root() {
        return;
    }
    let limits = Limits {
        connections: 1,
        reserve: 0,
        waiting: 1,
        wait: Duration::from_secs(20),
        strangers: 2,
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o666, None);
    let path = rig.path.clone();
    // They connect and say nothing.
    let held = std::thread::spawn(move || {
        set_thread_groups(&[]).unwrap();
        let (gid, uid) = (Gid::from_raw(SOMEBODY), Uid::from_raw(SOMEBODY));
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        (0..20)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect::<Vec<_>>()
    });
    let held = tokio::task::spawn_blocking(move || held.join().unwrap())
        .await
        .unwrap();
    rig.client().ping().await.unwrap();
    assert!(rig.daemon.notices.lock().unwrap().is_empty());
    drop(held);
    assert_eq!(rig.end().await.strangers, 20);
}

#[tokio::test]
async fn the_last_places_are_for_admins() {
    if !root() {
        return;
    }
    let limits = Limits {
        connections: 1,
        reserve: 1,
        waiting: 1,
        wait: Duration::from_millis(50),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o660, Some(DEPLOY));
    let query = LogQuery {
        name: "web".into(),
        stream: mainstay_control::wire::Stream::Stdout,
        lines: None,
        follow: true,
        records: None,
    };
    let mut follower = rig.client().logs(&query).await.unwrap();
    assert!(follower.chunk().await.unwrap().is_ok());
    let answer = ask_as(&rig.path, SOMEBODY, DEPLOY, &[], get("/v1/ping"))
        .await
        .unwrap();
    let (status, error): (u16, Error) = refusal(&answer);
    assert_eq!((status, error.kind), (503, Kind::TryLater));
    rig.client().ping().await.expect("root still gets in");
    drop(follower);
    rig.end().await;
}

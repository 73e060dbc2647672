//! How many, how slow, and how it ends.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mainstay_control::wire::{ActionRequest, LogQuery, Stream};
use mainstay_control::{Kind, Limits, Notice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fake::{DEADLINE, Rig, refusal};

fn follow() -> LogQuery {
    LogQuery {
        name: "web".into(),
        stream: Stream::Stdout,
        lines: None,
        follow: true,
        records: None,
    }
}

#[tokio::test]
async fn two_hundred_at_once() {
    let rig = Rig::start();
    let mut asking = JoinSet::new();
    for _ in 0..200 {
        let client = rig.client();
        asking.spawn(async move { client.status().await });
    }
    let answers = timeout(DEADLINE, asking.join_all()).await.unwrap();
    for answer in answers {
        assert_eq!(answer.unwrap().host, "shop1");
    }
    let served = rig.end().await;
    assert_eq!((served.connections, served.cut_off), (200, 0));
}

#[tokio::test]
async fn a_full_house_says_try_later() {
    let limits = Limits {
        connections: 1,
        reserve: 1,
        waiting: 1,
        wait: Duration::from_millis(50),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o600, None);
    let client = rig.client();
    let mut first = client.logs(&follow()).await.unwrap();
    let mut second = client.logs(&follow()).await.unwrap();
    assert!(first.chunk().await.unwrap().is_ok());
    assert!(second.chunk().await.unwrap().is_ok());
    let error = client.status().await.unwrap_err();
    assert_eq!(
        (error.kind, error.exit_code()),
        (Kind::TryLater, 75),
        "{error}"
    );
    assert_eq!(*rig.daemon.notices.lock().unwrap(), [Notice::Full]);
    drop(first);
    rig.until("a place is free", |fake| fake.followers.load(SeqCst) == 1)
        .await;
    timeout(DEADLINE, async { while client.status().await.is_err() {} })
        .await
        .unwrap();
    drop(second);
    rig.end().await;
}

#[tokio::test]
async fn a_slow_head_is_closed() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o600, None);
    for beginning in [
        "",
        "GET /v1/sta",
        "GET /v1/status HTTP/1.1\r\nhost: x\r\nx-a: ",
    ] {
        let mut stream = UnixStream::connect(&rig.path).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closed with something unread is a reset, which is an end as well.
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer))
            .await
            .expect(beginning);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{beginning:?}");
    }
    rig.client().ping().await.unwrap();
    rig.end().await;
}

#[tokio::test]
async fn a_trickling_head_is_closed() {
    let limits = Limits {
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o600, None);
    let mut stream = UnixStream::connect(&rig.path).await.unwrap();
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    timeout(DEADLINE, async {
        // One byte at a time must not buy more time.
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    rig.end().await;
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let limits = Limits {
        body: Duration::from_millis(100),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o600, None);
    let mut stream = UnixStream::connect(&rig.path).await.unwrap();
    let head = "POST /v1/programs/stop HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let (status, error) = refusal(&answer);
    assert_eq!((status, error.kind), (408, Kind::TooSlow));
    assert!(rig.daemon.callers.lock().unwrap().is_empty());
    rig.end().await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let rig = Rig::start();
    let head = format!(
        "GET /v1/status HTTP/1.1\r\nx-long: {}",
        "a".repeat(512 * 1024)
    );
    let answer = crate::fake::raw(&rig.path, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    rig.end().await;
}

#[tokio::test]
async fn the_end_ends_followers_in_good_order() {
    let rig = Rig::start();
    let mut stream = rig.client().logs(&follow()).await.unwrap();
    assert!(stream.chunk().await.unwrap().is_ok());
    let client = rig.client();
    let idle = UnixStream::connect(&rig.path).await.unwrap();
    client.ping().await.unwrap();
    let daemon = std::sync::Arc::clone(&rig.daemon);
    let served = rig.end().await;
    assert_eq!(served.unfinished, 0);
    assert!(stream.chunk().await.is_none(), "an end, not a break");
    assert_eq!(daemon.followers.load(SeqCst), 0);
    drop(idle);
    let error = client.ping().await.unwrap_err();
    assert_eq!((error.kind, error.exit_code()), (Kind::NotReachable, 7));
    client.gone(None, DEADLINE).await.unwrap();
}

#[tokio::test]
async fn requests_under_way_may_finish() {
    let rig = Rig::start();
    let client = rig.client();
    let asking =
        tokio::spawn(async move { client.stop(&ActionRequest::new(["slow"], true)).await });
    rig.until("the daemon was asked", |fake| {
        !fake.callers.lock().unwrap().is_empty()
    })
    .await;
    let daemon = std::sync::Arc::clone(&rig.daemon);
    let path = rig.path.clone();
    let ending = tokio::spawn(rig.end());
    timeout(DEADLINE, async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    daemon.gate.add_permits(1);
    assert_eq!(asking.await.unwrap().unwrap().exit_code(), 0);
    assert_eq!(ending.await.unwrap().unfinished, 0);
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let limits = Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 0o600, None);
    let client = rig.client();
    let asking =
        tokio::spawn(async move { client.stop(&ActionRequest::new(["slow"], true)).await });
    rig.until("the daemon was asked", |fake| {
        !fake.callers.lock().unwrap().is_empty()
    })
    .await;
    let daemon = std::sync::Arc::clone(&rig.daemon);
    assert_eq!(rig.end().await.unfinished, 1);
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::NotReachable);
    assert!(error.message.contains("not known"), "{error}");
    daemon.gate.add_permits(1);
    timeout(DEADLINE, async {
        while daemon.audited().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("what was begun is still written down");
}

#[tokio::test]
async fn a_client_loses_patience() {
    let rig = Rig::start();
    let client = rig.client().patience(Duration::from_millis(50));
    let error = client
        .stop(&ActionRequest::new(["slow"], false))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotReachable);
    assert!(error.message.contains("not known"), "{error}");
    let waiting =
        tokio::spawn(async move { client.stop(&ActionRequest::new(["slow"], true)).await });
    rig.until("both asked", |fake| fake.callers.lock().unwrap().len() == 2)
        .await;
    rig.daemon.gate.add_permits(2);
    assert_eq!(
        waiting.await.unwrap().unwrap().exit_code(),
        0,
        "a request that waits has no limit"
    );
    rig.end().await;
}

//! A disk that runs full under an app: a small tmpfs of our own, which only root can have.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use mainstay_fault::Class;
use mainstay_web::{ErrorKind, Guard};

use crate::client::{ask, eventually, get as ask_for, post as send_to, serve};
use crate::log;

struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// One of a mebibyte.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(directory)),
            other => {
                println!("SKIPPED: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_nothing_is_changed() {
    log::listen();
    let Some(disk) = Tmpfs::mount() else { return };
    let told = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&told);
    let guard = Guard::builder()
        .disk(disk.0.path())
        .gather(Duration::from_millis(10), Duration::from_millis(50))
        .on_fault(move |notice| {
            let kind = (notice.fault.class(), notice.count, notice.over);
            own.lock().unwrap().push(kind);
        })
        .start()
        .await
        .unwrap();
    let app = Router::new()
        .route("/", get(async || "read").post(async || "written"))
        .layer(guard.layer());
    let server = serve(app).await;
    assert_eq!(send_to(server, "/").await.text(), "written");
    let ballast = disk.0.path().join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    eventually("it is full", async || guard.is_read_only()).await;
    assert_eq!(ask_for(server, "/").await.text(), "read");
    let reply = ask(server, "POST /", "accept: text/html\r\n", "").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "60"));
    assert!(reply.text().contains(reply.header("x-fault-id")));
    assert!(log::lines_with(reply.header("x-fault-id"))[0].starts_with("WARN"));
    guard.set_read_only(false);
    assert!(guard.is_read_only(), "the disk is still full");
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    eventually("there is room", async || !guard.is_read_only()).await;
    assert_eq!(send_to(server, "/").await.text(), "written");
    let expected = [(Class::DiskFull, 1, false), (Class::DiskFull, 0, true)];
    eventually("it is told", async || told.lock().unwrap().len() >= 2).await;
    assert_eq!(*told.lock().unwrap(), expected, "once, and that it is over");
}

#[tokio::test]
async fn a_disk_that_is_not_there_is_an_error_at_the_start() {
    let begun = Guard::builder().disk("/no/such/place").start().await;
    let error = begun.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains("/no/such/place"), "{error}");
}

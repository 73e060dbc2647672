//! Going to the background.

use std::fs;
use std::path::Path;

use mainstay_sys::daemon::{Daemonized, Verdict, daemonize};
use mainstay_sys::{DaemonError, ExitStatus, LockError, LockFile};

use crate::{DEADLINE, in_child, read, until};

/// Writes it where the test can see it, whole or not at all.
fn tell(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join("new"), text).unwrap();
    fs::rename(dir.join("new"), dir.join(name)).unwrap();
}

#[test]
fn a_daemon_that_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_path_buf();
    let status = in_child(move || match daemonize(0o027).unwrap() {
        Daemonized::Parent(Verdict::Ready { pid }) => {
            // The lock is the daemon's, and tells the pid that we know.
            match LockFile::acquire(&place.join("m.pid")) {
                Err(LockError::Held {
                    pid: Some(holder), ..
                }) if holder == pid => 0,
                other => panic!("{other:?}"),
            }
        }
        Daemonized::Parent(other) => panic!("{other:?}"),
        Daemonized::Daemon(ready) => {
            let _lock = LockFile::acquire(&place.join("m.pid")).unwrap();
            ready.ready().unwrap();
            let me = std::process::id();
            // SAFETY: plain integers.
            let session = unsafe { libc::getsid(0) };
            let std_fds: Vec<_> = (0..3)
                .map(|fd| {
                    fs::read_link(format!("/proc/self/fd/{fd}"))
                        .unwrap()
                        .display()
                        .to_string()
                })
                .collect();
            fs::write(place.join("masked"), "").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &place.join("masked").metadata().unwrap().permissions(),
            );
            tell(
                &place,
                "report",
                &format!(
                    "{} {std_fds:?} {:o}",
                    i64::from(me) == i64::from(session),
                    mode & 0o777
                ),
            );
            until("the test lets it end", || place.join("end").exists());
            0
        }
    });
    assert_eq!(status, ExitStatus::Code(0));
    until("the daemon's report", || dir.path().join("report").exists());
    assert_eq!(
        read(&dir.path().join("report")),
        r#"true ["/dev/null", "/dev/null", "/dev/null"] 640"#
    );
    let daemon: i32 = read(&dir.path().join("m.pid")).trim().parse().unwrap();
    fs::write(dir.path().join("end"), "").unwrap();
    until("the daemon has ended", || {
        matches!(crate::state(daemon), None | Some('Z'))
    });
    LockFile::acquire(&dir.path().join("m.pid"))
        .unwrap()
        .release()
        .unwrap();
}

#[test]
fn a_daemon_that_fails_says_why_to_its_caller() {
    let status = in_child(|| match daemonize(0o022).unwrap() {
        Daemonized::Parent(verdict) => {
            assert_eq!(
                verdict,
                Verdict::Failed {
                    text: "the port is taken\nby \u{fc}".to_owned(),
                    code: 2
                }
            );
            2
        }
        Daemonized::Daemon(ready) => {
            ready.fail("the port is taken\nby \u{fc}", 2).unwrap();
            77
        }
    });
    assert_eq!(status, ExitStatus::Code(2));
}

#[test]
fn a_daemon_that_dies_without_a_word() {
    let status = in_child(|| match daemonize(0o022).unwrap() {
        Daemonized::Parent(Verdict::Died(ExitStatus::Code(78))) => 0,
        Daemonized::Parent(other) => panic!("{other:?}"),
        Daemonized::Daemon(_ready) => 78,
    });
    assert_eq!(status, ExitStatus::Code(0));
}

#[test]
fn not_with_threads() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv_timeout(DEADLINE));
    assert!(matches!(daemonize(0o022), Err(DaemonError::Threads(count)) if count > 1));
    drop(stop);
    thread.join().unwrap().unwrap_err();
}

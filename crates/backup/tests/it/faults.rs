//! Runs that are killed, cancelled, locked out, or out of space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_backup::{Depth, ErrorKind, Outcome, Progress, Target};

use crate::bench::{Bench, FILES, noise, quiet, request, restore, run, run_ok};

/// Cancels, or stops for ever, once so many bytes are done.
#[derive(Default)]
struct Brake {
    after: u64,
    /// Instead of cancelling, stops for ever and says so by creating this file.
    hang: Option<PathBuf>,
    done: AtomicU64,
    pulled: AtomicBool,
}

impl Progress for Brake {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, bytes: u64) {
        if self.done.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.after {
            self.pulled.store(true, Ordering::Relaxed);
            while let Some(sign) = &self.hang {
                fs::write(sign, "").unwrap();
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
    fn cancelled(&self) -> bool {
        self.pulled.load(Ordering::Relaxed) && self.hang.is_none()
    }
}

fn many_files(bench: &Bench) {
    fs::create_dir_all(bench.path("data")).unwrap();
    for number in 0..40 {
        let path = bench.path("data").join(format!("{number:02}"));
        fs::write(path, noise(1_000_000, number)).unwrap();
    }
}

fn brake(after: u64) -> Arc<dyn Progress> {
    Arc::new(Brake {
        after,
        ..Brake::default()
    })
}

#[test]
fn a_cancelled_run_leaves_no_snapshot() {
    let bench = Bench::new();
    many_files(&bench);
    let backups = bench.ready(FILES);
    let report = backups.run("files", &brake(3_000_000)).unwrap();
    assert_eq!(report.outcome, Outcome::Failed);
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(
        backups
            .list(None, None, &quiet())
            .unwrap()
            .snapshots
            .is_empty()
    );
    bench.advance(1);
    run_ok(&backups, "files");
    let plan = backups
        .plan_restore(
            &request("files", Target::Into(bench.path("back"))),
            &quiet(),
        )
        .unwrap();
    let error = backups.restore(&plan, &brake(3_000_000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!bench.path("back").exists());
    bench.assert_clean();
}

/// Not a test of its own: the process that is killed by the one below.
#[test]
fn helper_that_is_killed() {
    let Some(directory) = std::env::var_os("MAINSTAY_TEST_KILLED") else {
        return;
    };
    let bench = Bench {
        directory: tempfile::tempdir_in(&directory).unwrap(),
        ..Bench::new()
    };
    many_files(&bench);
    let backups = bench.ready(FILES);
    let inner = bench.directory.path();
    fs::write(Path::new(&directory).join("where"), inner.to_str().unwrap()).unwrap();
    let brake = Brake {
        // A pack is 32 MiB: the first one is written by then.
        after: 38_000_000,
        hang: Some(inner.join("hangs")),
        ..Brake::default()
    };
    let _ = backups.run("files", &(Arc::new(brake) as Arc<dyn Progress>));
}

#[test]
fn a_killed_run_breaks_nothing_and_shows() {
    let outer = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::helper_that_is_killed", "--nocapture"])
        .env("MAINSTAY_TEST_KILLED", outer.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pointer = outer.path().join("where");
    let begun = Instant::now();
    let inner = loop {
        assert!(begun.elapsed() < Duration::from_mins(2), "it never began");
        std::thread::sleep(Duration::from_millis(20));
        let Ok(inner) = fs::read_to_string(&pointer) else {
            continue;
        };
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        if Path::new(&inner).join("hangs").exists() {
            break inner;
        }
    };
    // The scratch directory of the one that is killed.
    let inner = Path::new(&inner);
    let backups = Bench::new().backups_at(FILES, inner);
    let status = backups.status().unwrap().remove(0);
    assert!(status.running);
    let refused = backups.run("files", &quiet()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    assert!(
        refused
            .to_string()
            .contains(&format!("process {}", child.id())),
        "{refused}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let status = backups.status().unwrap().remove(0);
    assert!(!status.running);
    assert_eq!(status.last_outcome, Some(Outcome::Failed));
    assert!(status.last_error.unwrap().starts_with("interrupted"));
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
    let locks = || fs::read_dir(inner.join("repo/locks")).unwrap().count();
    assert_eq!(locks(), 1, "that of the killed run");
    assert_eq!(run(&backups, "files").outcome, Outcome::Ok);
    assert_eq!(locks(), 0);
    assert!(backups.status().unwrap()[0].is_well());
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
    assert_eq!(
        fs::read_dir(inner.join("state/staging")).unwrap().count(),
        0
    );
}

/// A file system of this size in memory; needs root.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path.to_owned())),
            _ => {
                eprintln!("skipped: a small file system takes root and mount(8)");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_repository_disk_costs_one_run_and_nothing_else() {
    let bench = Bench::new();
    let Some(_small) = Small::mount(&bench.path("repo"), "12m") else {
        return;
    };
    fs::create_dir(bench.path("data")).unwrap();
    fs::write(bench.path("data/small"), "small").unwrap();
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    many_files(&bench);
    bench.advance(1);
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(error.help().unwrap().contains("free space"));
    assert_eq!(
        backups.list(None, None, &quiet()).unwrap().snapshots.len(),
        1
    );
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
}

#[test]
fn a_restore_without_room_is_refused_before_it_begins() {
    let bench = Bench::new();
    let Some(_small) = Small::mount(&bench.path("small"), "8m") else {
        return;
    };
    many_files(&bench);
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    let into = bench.path("small/back");
    let error = backups
        .plan_restore(&request("files", Target::Into(into.clone())), &quiet())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull);
    assert!(error.to_string().contains("it needs about"), "{error}");
    assert!(!into.exists());
}

#[test]
fn a_mount_point_is_refused_whole_and_restored_in_parts() {
    let bench = Bench::new();
    let Some(_small) = Small::mount(&bench.path("data"), "8m") else {
        return;
    };
    fs::write(bench.path("data/file"), "old").unwrap();
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    let mut wanted = request("files", Target::InPlace);
    let error = backups.plan_restore(&wanted, &quiet()).unwrap_err();
    assert!(error.to_string().contains("mount point"), "{error}");
    fs::write(bench.path("data/file"), "new").unwrap();
    wanted.only = vec!["file".into()];
    restore(&backups, &wanted).unwrap();
    assert_eq!(fs::read(bench.path("data/file")).unwrap(), b"old");
    bench.assert_clean();
}

#[test]
fn a_full_state_directory_fails_a_database_run_clearly() {
    let bench = Bench::new();
    let Some(_small) = Small::mount(&bench.path("state"), "3m") else {
        return;
    };
    crate::databases::bank(&bench.path("shop.db"), "wal");
    let connection = rusqlite::Connection::open(bench.path("shop.db")).unwrap();
    connection
        .execute_batch("INSERT INTO transfers (padding) SELECT hex(randomblob(1000000)) FROM transfers LIMIT 5")
        .unwrap();
    let backups = bench.ready(crate::bench::DATABASE);
    let report = run(&backups, "db");
    assert_eq!(report.outcome, Outcome::Failed);
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    bench.assert_clean();
}

//! Restores over something that is there.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_backup::{Backups, ErrorKind, Progress, RestoreRequest, Selector, Target};
use rusqlite::Connection;

use crate::bench::{Bench, DATABASE, FILES, look, noise, quiet, request, restore, run, run_ok};
use crate::databases::bank;

fn in_place(backup: &str) -> RestoreRequest {
    request(backup, Target::InPlace)
}

fn small_tree(bench: &Bench) {
    for name in ["data/a/one", "data/a/two", "data/b/three"] {
        let path = bench.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

#[test]
fn a_directory_is_set_aside_and_replaced() {
    let bench = Bench::new();
    small_tree(&bench);
    let before = look(&bench.path("data"));
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    fs::write(bench.path("data/a/one"), "spoiled").unwrap();
    fs::remove_dir_all(bench.path("data/b")).unwrap();
    fs::write(bench.path("data/extra"), "made since").unwrap();
    fs::set_permissions(bench.path("data"), fs::Permissions::from_mode(0o711)).unwrap();
    let spoiled = look(&bench.path("data"));
    let plan = backups.plan_restore(&in_place("files"), &quiet()).unwrap();
    let said = plan.to_string();
    let aside = bench.path("data.before-restore-20261122T030000Z");
    assert!(said.contains(&aside.display().to_string()), "{said}");
    assert!(said.contains("writes  3 files"), "{said}");
    assert_eq!(look(&bench.path("data")), spoiled, "a plan changes nothing");
    // However long a person thinks about it, the names stay those of the plan.
    bench.advance(1);
    let report = backups.restore(&plan, &quiet()).unwrap();
    assert_eq!(report.set_aside, plan.set_aside);
    assert!(
        report.checked.starts_with("3 files and 3 directories,"),
        "{}",
        report.checked
    );
    assert_eq!(look(&aside), spoiled);
    let after = look(&bench.path("data"));
    for (path, seen) in &before {
        if path.as_os_str().is_empty() {
            // The mode of what it replaces.
            assert_eq!(after[path].mode, 0o711);
        } else {
            assert_eq!(after.get(path), Some(seen), "{path:?}");
        }
    }
    assert_eq!(before.len(), after.len());
    let removal = report.removal().unwrap();
    assert!(removal.starts_with("rm -r -- /") && removal.contains("before-restore"));
    bench.assert_clean();
    // Again by a plan of the same moment: the name is taken.
    let report = backups.restore(&plan, &quiet()).unwrap();
    assert!(report.set_aside[0].to.to_str().unwrap().ends_with("Z-2"));
}

#[test]
fn a_missing_target_is_just_put_into_place() {
    let bench = Bench::new();
    small_tree(&bench);
    let before = look(&bench.path("data"));
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    fs::remove_dir_all(bench.path("data")).unwrap();
    let report = restore(&backups, &in_place("files")).unwrap();
    assert!(report.set_aside.is_empty() && report.removal().is_none());
    assert_eq!(look(&bench.path("data")), before);
}

#[test]
fn parts_of_a_directory_come_back_alone() {
    let bench = Bench::new();
    small_tree(&bench);
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    fs::write(bench.path("data/a/one"), "spoiled").unwrap();
    fs::write(bench.path("data/a/two"), "wanted so").unwrap();
    fs::remove_dir_all(bench.path("data/b")).unwrap();
    let mut some = in_place("files");
    some.only = vec!["a/one".into(), "b/three".into()];
    let report = restore(&backups, &some).unwrap();
    assert_eq!(report.files, 2);
    let text = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    assert_eq!(text("data/a/one"), "data/a/one");
    assert_eq!(text("data/a/two"), "wanted so");
    assert_eq!(text("data/b/three"), "data/b/three");
    assert_eq!(
        text("data/a/one.before-restore-20261122T030000Z"),
        "spoiled"
    );
    assert_eq!(report.set_aside.len(), 1);
    some.target = Target::Into(bench.path("some"));
    restore(&backups, &some).unwrap();
    let names: Vec<PathBuf> = look(&bench.path("some")).into_keys().collect();
    assert_eq!(names, ["", "a", "a/one", "b", "b/three"].map(PathBuf::from));
    some.only = vec!["a/four".into()];
    let error = backups.plan_restore(&some, &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty);
    some.target = Target::InPlace;
    let error = backups.plan_restore(&some, &quiet()).unwrap_err();
    assert!(error.to_string().contains("has no `a/four`"), "{error}");
    bench.assert_clean();
}

#[test]
fn a_directory_that_is_not_empty_is_refused() {
    let bench = Bench::new();
    small_tree(&bench);
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    fs::create_dir(bench.path("full")).unwrap();
    restore(
        &backups,
        &request("files", Target::Into(bench.path("full"))),
    )
    .unwrap();
    let before = look(&bench.path("full"));
    let error = restore(
        &backups,
        &request("files", Target::Into(bench.path("full"))),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty);
    assert_eq!(look(&bench.path("full")), before);
}

/// Between a plan and its act a person thinks, and a program may write.
#[test]
fn a_file_that_came_after_the_plan_is_not_written_over() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "wal");
    let backups = bench.ready(DATABASE);
    run_ok(&backups, "db");
    let request = request("db", Target::Into(bench.path("other")));
    let plan = backups.plan_restore(&request, &quiet()).unwrap();
    let came = bench.path("other/shop.db");
    fs::create_dir(came.parent().unwrap()).unwrap();
    fs::write(&came, "mine").unwrap();
    let error = backups.restore(&plan, &quiet()).unwrap_err();
    assert!(error.to_string().contains("shop.db"), "{error}");
    assert_eq!(fs::read_to_string(&came).unwrap(), "mine");
    bench.assert_clean();
}

/// A database whose last writes are only in its log, as a crash leaves it.
fn crashed_database(bench: &Bench) -> Backups {
    let path = bench.path("shop.db");
    bank(&path, "wal");
    let backups = bench.ready(DATABASE);
    run_ok(&backups, "db");
    let live = Connection::open(&path).unwrap();
    live.execute_batch("PRAGMA wal_autocheckpoint=0; DELETE FROM accounts;")
        .unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("shop.db{suffix}");
        fs::copy(bench.path(&name), bench.path(&format!("{name}.crash"))).unwrap();
    }
    drop(live);
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("shop.db{suffix}");
        fs::rename(bench.path(&format!("{name}.crash")), bench.path(&name)).unwrap();
    }
    backups
}

fn accounts(path: &std::path::Path) -> i64 {
    Connection::open(path)
        .unwrap()
        .query_row("SELECT count(*) FROM accounts", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_database_is_set_aside_with_its_log() {
    let bench = Bench::new();
    let backups = crashed_database(&bench);
    let path = bench.path("shop.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let owner = fs::metadata(&path).unwrap().uid();
    let report = restore(&backups, &in_place("db")).unwrap();
    assert_eq!(report.set_aside.len(), 3, "{:?}", report.set_aside);
    assert!(report.checked.contains("integrity_check ok"));
    assert!(!bench.path("shop.db-wal").exists());
    assert_eq!(accounts(&path), 200);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.uid()),
        (0o640, owner)
    );
    // What was set aside is a whole database, last writes and all.
    assert_eq!(
        accounts(&bench.path("shop.db.before-restore-20261122T030000Z")),
        0
    );
    bench.assert_clean();
}

#[test]
fn a_database_in_use_is_not_replaced() {
    let bench = Bench::new();
    let backups = crashed_database(&bench);
    let user = Connection::open(bench.path("shop.db")).unwrap();
    let plan = backups.plan_restore(&in_place("db"), &quiet()).unwrap();
    assert!(plan.to_string().contains("has it open"), "{plan}");
    let error = backups.restore(&plan, &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id()))
    );
    drop(user);
    assert_eq!(accounts(&bench.path("shop.db")), 0);
    bench.assert_clean();
    backups.restore(&plan, &quiet()).unwrap();
    assert_eq!(accounts(&bench.path("shop.db")), 200);
}

#[test]
fn a_failure_between_the_renames_puts_the_old_back() {
    for failing in 1..=4 {
        let bench = Bench::new();
        let backups = crashed_database(&bench);
        let names = ["shop.db", "shop.db-wal"];
        let before = names.map(|name| fs::read(bench.path(name)).unwrap());
        let plan = backups.plan_restore(&in_place("db"), &quiet()).unwrap();
        let mut count = 0;
        let error = backups
            .restore_by(&plan, &quiet(), &mut |from, to| {
                count += 1;
                if count == failing {
                    return Err(io::Error::from_raw_os_error(5));
                }
                fs::rename(from, to)
            })
            .unwrap_err();
        assert_eq!(
            error.help(),
            Some("everything is where it was before"),
            "{error}"
        );
        assert!(before == names.map(|name| fs::read(bench.path(name)).unwrap()));
        bench.assert_clean();
        assert!(!fs::read_dir(bench.directory.path()).unwrap().any(|e| {
            e.unwrap()
                .file_name()
                .to_string_lossy()
                .contains("before-restore")
        }));
    }
}

#[test]
fn a_crash_between_the_renames_is_put_right_by_the_next_restore() {
    crash_between_the_renames(false);
}

#[test]
fn a_crash_between_the_renames_is_put_right_on_demand() {
    crash_between_the_renames(true);
}

fn crash_between_the_renames(by_hand: bool) {
    let bench = Bench::new();
    let backups = crashed_database(&bench);
    let plan = backups.plan_restore(&in_place("db"), &quiet()).unwrap();
    // The process dies after the database itself was set aside: the rest of the renames, and the
    // renames that would take them back, do not happen, and nothing is written down about it.
    let mut count = 0;
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        backups.restore_by(&plan, &quiet(), &mut |from, to| {
            count += 1;
            assert!(count < 4, "killed");
            fs::rename(from, to)
        })
    }));
    assert!(died.is_err());
    assert!(!bench.path("shop.db").exists());
    drop(backups);
    let backups = bench.backups(DATABASE);
    if by_hand {
        assert_eq!(backups.recover().unwrap(), ["db"]);
        assert!(bench.path("shop.db").exists() && bench.path("shop.db-wal").exists());
        assert!(backups.recover().unwrap().is_empty());
    }
    let report = restore(&backups, &in_place("db")).unwrap();
    assert_eq!(accounts(&bench.path("shop.db")), 200);
    assert_eq!(
        report.set_aside.len(),
        3,
        "the old was put back first: {report:?}"
    );
    assert_eq!(accounts(&report.set_aside[2].to), 0);
    bench.assert_clean();
}

#[test]
fn another_host_can_restore_without_the_catalog() {
    let bench = Bench::new();
    small_tree(&bench);
    let id = run_ok(&bench.ready(FILES), "files");
    let text = "[backup.files]\nfiles = { path = \"@/elsewhere/data\" }\nto = [\"local\"]\n";
    fs::remove_dir_all(bench.path("state")).unwrap();
    let backups = bench.backups_on("shop2", text);
    let mut wanted = in_place("files");
    let error = restore(&backups, &wanted).unwrap_err();
    assert!(
        error.to_string().contains("none made on this host (shop2)"),
        "{error}"
    );
    assert!(error.help().unwrap().contains("host shop1"), "{error:?}");
    wanted.snapshot = Selector::Id(id[..8].to_owned());
    restore(&backups, &wanted).unwrap();
    assert_eq!(
        fs::read_to_string(bench.path("elsewhere/data/b/three")).unwrap(),
        "data/b/three"
    );
    assert_eq!(run(&backups, "files").outcome, mainstay_backup::Outcome::Ok);
}

/// Somebody who writes slowly to a disk.
struct Slow;

impl Progress for Slow {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {
        std::thread::sleep(Duration::from_millis(5));
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}

/// What is fetched ahead waits for who writes, and nobody for ever.
#[test]
fn a_large_file_comes_back_onto_a_slow_disk() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    let large = noise(64 << 20, 5);
    fs::write(bench.path("data/large"), &large).unwrap();
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    let into = bench.path("out");
    let plan = backups
        .plan_restore(&request("files", Target::Into(into.clone())), &quiet())
        .unwrap();
    let slow: Arc<dyn Progress> = Arc::new(Slow);
    backups.restore(&plan, &slow).unwrap();
    assert!(fs::read(into.join("large")).unwrap() == large);
}

//! Runs, retention, pruning, locks, status.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mainstay_backup::{Depth, ErrorKind, Outcome, Selector, Target};

use crate::bench::{Bench, FILES, noise, quiet, request, restore, run, run_ok};

fn size(path: &std::path::Path) -> u64 {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        fs::read_dir(path)
            .unwrap()
            .map(|e| size(&e.unwrap().path()))
            .sum()
    } else {
        metadata.len()
    }
}

fn data(bench: &Bench, content: &[u8]) {
    fs::create_dir_all(bench.path("data")).unwrap();
    fs::write(bench.path("data/file"), content).unwrap();
}

#[test]
fn keep_forgets_prune_frees_and_the_rest_stays_readable() {
    let bench = Bench::new();
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 2 }}\n"));
    for day in 0..4 {
        data(&bench, &noise(1_000_000, day));
        let report = run(&backups, "files");
        assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
        assert_eq!(
            report.repositories[0].forgotten.len(),
            usize::from(day >= 2)
        );
        bench.advance(25);
    }
    let listing = backups.list(None, None, &quiet()).unwrap();
    assert_eq!(listing.snapshots.len(), 2);
    // What nobody needs is marked, and stays for those who may still be reading it.
    assert!(size(&bench.path("repo")) > 3_900_000);
    let report = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    for (number, located) in listing.snapshots.iter().enumerate() {
        let into = bench.path(&format!("back{number}"));
        let mut wanted = request("files", Target::Into(into.clone()));
        wanted.snapshot = Selector::Id(located.snapshot.id.clone());
        restore(&backups, &wanted).unwrap();
        assert!(fs::read(into.join("file")).unwrap() == noise(1_000_000, 2 + number as u64));
    }
}

#[test]
fn other_backups_and_other_hosts_are_never_forgotten() {
    let bench = Bench::new();
    data(&bench, b"1");
    let two = format!(
        "{FILES}keep = {{ last = 1 }}\n[backup.other]\nfiles = {{ path = \"@/data\" }}\nto = [\"local\"]\nkeep = {{ last = 1 }}\n"
    );
    let backups = bench.ready(&two);
    let other = run_ok(&backups, "other");
    bench.advance(1);
    run_ok(&backups, "files");
    bench.advance(1);
    let last = run_ok(&backups, "files");
    let ids: Vec<String> = backups
        .list(None, None, &quiet())
        .unwrap()
        .snapshots
        .into_iter()
        .map(|located| located.snapshot.id)
        .collect();
    assert_eq!(ids, [other, last]);
}

#[test]
fn one_repository_that_fails_does_not_stop_the_other() {
    let bench = Bench::new();
    data(&bench, b"1");
    let config = "[repository.offsite]\npath = \"@/offsite\"\npassword = \"${env.PASSWORD}\"\n\
        [backup.files]\nfiles = { path = \"@/data\" }\nto = [\"offsite\", \"local\"]\n";
    let backups = bench.ready(config);
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Partial);
    let [offsite, local] = &report.repositories[..] else {
        panic!("two repositories");
    };
    assert_eq!(local.outcome, Outcome::Ok);
    let error = offsite.error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotInitialised);
    assert!(
        error
            .help()
            .unwrap()
            .contains("mainstay backup init offsite")
    );
    let status = backups.status().unwrap().remove(0);
    assert_eq!(status.last_outcome, Some(Outcome::Failed));
    assert_eq!(status.last_good, None);
    // The first repository that has it serves a restore.
    let report = restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
    assert_eq!(report.files, 1);
    backups.init("offsite", &quiet()).unwrap();
    bench.advance(1);
    assert_eq!(run(&backups, "files").outcome, Outcome::Ok);
    assert!(backups.status().unwrap()[0].is_well());
}

#[test]
fn the_catalog_can_be_lost() {
    let bench = Bench::new();
    data(&bench, b"1");
    let backups = bench.ready(FILES);
    let id = run_ok(&backups, "files");
    let good = backups.status().unwrap()[0].last_good;
    assert!(good.is_some());
    drop(backups);
    fs::remove_dir_all(bench.path("state")).unwrap();
    let backups = bench.backups(FILES);
    assert_eq!(backups.status().unwrap()[0].last_outcome, None);
    let listing = backups.list(None, None, &quiet()).unwrap();
    assert_eq!(listing.snapshots[0].snapshot.id, id);
    let status = backups.status().unwrap().remove(0);
    assert_eq!(status.last_good, good);
    assert!(status.is_well());
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
}

#[test]
fn everything_that_is_written_is_private() {
    let bench = Bench::new();
    data(&bench, b"1");
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    let mut stack = vec![bench.path("repo"), bench.path("state")];
    let mut count = 0;
    while let Some(path) = stack.pop() {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{path:?}");
        count += 1;
        if metadata.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    assert!(count > 260);
}

#[test]
fn unknown_names_come_with_the_nearest_one() {
    let bench = Bench::new();
    let backups = bench.ready(FILES);
    let error = backups.run("flies", &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownBackup);
    assert_eq!(error.help(), Some("did you mean `files`?"));
    let error = backups.init("locl", &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownRepository);
    assert_eq!(error.help(), Some("did you mean `local`?"));
    let find = |selector: &str| {
        backups
            .find("files", &Selector::from(selector), None, &quiet())
            .unwrap_err()
    };
    assert!(find("latest").to_string().contains("none yet"));
    data(&bench, b"1");
    run_ok(&backups, "files");
    assert!(
        find("0123456789abcdef")
            .help()
            .unwrap()
            .contains("backup list")
    );
    bench.advance(1);
    run_ok(&backups, "files");
    assert!(find("").to_string().contains("several"));
}

/// Not a test of its own: what the one below runs with a home directory of its own.
#[test]
fn helper_that_has_a_home() {
    let bench = Bench::new();
    data(&bench, b"1");
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
    restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap();
}

#[test]
fn nothing_is_written_to_the_home_directory() {
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::helper_that_has_a_home"])
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

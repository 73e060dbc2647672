//! What a disk does to a repository, and what a verification makes of it.

use std::fs;
use std::path::PathBuf;

use mainstay_backup::{Depth, ErrorKind, Target};

use crate::bench::{Bench, DATABASE, FILES, PASSWORD, noise, quiet, request, restore, run, run_ok};
use crate::databases::bank;

fn packs(bench: &Bench) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> = fs::read_dir(bench.path("repo/data"))
        .unwrap()
        .flat_map(|e| fs::read_dir(e.unwrap().path()).unwrap())
        .map(|e| e.unwrap().path())
        .collect();
    packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    packs
}

fn stored(bench: &Bench) -> mainstay_backup::Backups {
    fs::create_dir(bench.path("data")).unwrap();
    fs::write(bench.path("data/file"), noise(2_000_000, 3)).unwrap();
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    backups
}

#[test]
fn a_flipped_byte_is_found_by_reading() {
    let bench = Bench::new();
    let backups = stored(&bench);
    let pack = packs(&bench).pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    // It is not in the structure.
    assert!(
        backups
            .verify(&[], Depth::Structure, &quiet())
            .unwrap()
            .is_sound()
    );
    let report = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(!report.is_sound());
    let finding = report.repositories[0]
        .findings
        .iter()
        .find(|f| f.damage)
        .unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(finding.what.contains(&name[..8]), "{}", finding.what);
    let verify = backups.status().unwrap()[0].repositories[0]
        .last_verify
        .clone()
        .unwrap();
    assert!(verify.damaged > 0 && verify.depth == "all");
    // A restore does not hand out what is not what was stored.
    let error = restore(
        &backups,
        &request("files", Target::Into(bench.path("back"))),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(!bench.path("back").exists());
    bench.assert_clean();
}

#[test]
fn a_missing_and_a_shortened_pack_are_found_without_reading() {
    for short in [false, true] {
        let bench = Bench::new();
        let backups = stored(&bench);
        let pack = packs(&bench).pop().unwrap();
        if short {
            let file = fs::File::options().write(true).open(&pack).unwrap();
            file.set_len(1000).unwrap();
        } else {
            fs::remove_file(&pack).unwrap();
        }
        let report = backups
            .verify(&["files".to_owned()], Depth::Structure, &quiet())
            .unwrap();
        assert!(!report.is_sound(), "short: {short}");
        assert!(
            report.repositories[0]
                .findings
                .iter()
                .any(|finding| finding.damage)
        );
    }
}

#[test]
fn a_database_is_proved_by_restoring_it() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "wal");
    let backups = bench.ready(DATABASE);
    run_ok(&backups, "db");
    let report = backups.verify(&[], Depth::Structure, &quiet()).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.repositories[0].proofs[0].backup, "db");
    let pack = packs(&bench).pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 0x40;
    fs::write(&pack, bytes).unwrap();
    let report = backups.verify(&[], Depth::Structure, &quiet()).unwrap();
    assert!(report.repositories[0].proofs[0].failure.is_some());
    assert!(!report.is_sound());
    bench.assert_clean();
}

#[test]
fn an_unreadable_directory_is_not_an_empty_one() {
    // The files of the snapshots are gone from sight, as on a disk that begins to fail: nothing may
    // conclude that no data is needed any more.
    let bench = Bench::new();
    let backups = stored(&bench);
    let snapshots = bench.path("repo/snapshots");
    fs::rename(&snapshots, bench.path("away")).unwrap();
    let error = backups.prune("local", &quiet()).unwrap_err();
    assert!(error.to_string().contains("snapshots"), "{error}");
    fs::rename(bench.path("away"), &snapshots).unwrap();
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
}

#[test]
fn wrong_password_wrong_path_and_no_repository_are_told_apart() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    let kind = |backups: &mainstay_backup::Backups| {
        let report = run(backups, "files");
        let error = report.repositories[0].error.clone().unwrap();
        assert!(error.help().is_some(), "{error}");
        error
    };
    let backups = bench.backups(FILES);
    let error = kind(&backups);
    assert_eq!(error.kind(), ErrorKind::NotInitialised);
    assert!(error.to_string().contains("does not exist"));
    assert!(error.help().unwrap().contains("mainstay backup init local"));
    fs::create_dir(bench.path("repo")).unwrap();
    assert_eq!(kind(&backups).kind(), ErrorKind::NotInitialised);
    fs::write(bench.path("repo/letter.txt"), "dear").unwrap();
    assert_eq!(kind(&backups).kind(), ErrorKind::NotARepository);
    let error = backups.init("local", &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotARepository);
    assert!(error.to_string().contains("letter.txt"), "{error}");
    fs::remove_file(bench.path("repo/letter.txt")).unwrap();
    backups.init("local", &quiet()).unwrap();
    let error = backups.init("local", &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyInitialised);
    run_ok(&backups, "files");
    drop(backups);
    let wrong = bench.backups_with(FILES, "wrong");
    let error = kind(&wrong);
    assert_eq!(error.kind(), ErrorKind::WrongPassword);
    assert!(!error.to_string().contains("wrong\"") && !error.to_string().contains(PASSWORD));
    let empty = bench.backups_with(FILES, "");
    assert_eq!(kind(&empty).kind(), ErrorKind::Secret);
}

#[test]
fn an_init_that_was_killed_can_be_done_again() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    let backups = bench.ready(FILES);
    // All but the config, with a key that fits nothing.
    fs::remove_file(bench.path("repo/config")).unwrap();
    backups.init("local", &quiet()).unwrap();
    run_ok(&backups, "files");
    assert_eq!(fs::read_dir(bench.path("repo/keys")).unwrap().count(), 1);
}

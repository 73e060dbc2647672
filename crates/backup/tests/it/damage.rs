//! What a disk does to a repository, and what a verification makes of it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mainstay_backup::{Depth, ErrorKind, Progress, Target};

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

/// The steps with their totals and how far they came; asks to stop in the step of that name.
#[derive(Default)]
struct Watch {
    steps: Mutex<Vec<(String, Option<u64>, u64)>>,
    stops_in: Option<&'static str>,
    stopped: AtomicBool,
}

impl Progress for Watch {
    fn begin(&self, what: &str, total: Option<u64>) {
        let mut steps = self.steps.lock().unwrap();
        // One that begins again has a better total.
        steps.retain(|(known, ..)| known != what);
        steps.push((what.to_owned(), total, 0));
    }
    fn advance(&self, bytes: u64) {
        let mut steps = self.steps.lock().unwrap();
        let (what, _, done) = steps.last_mut().unwrap();
        *done += bytes;
        if self.stops_in.is_some_and(|name| what.starts_with(name)) {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }
    fn message(&self, _: &str) {}
    fn finish(&self) {}
    fn cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

#[test]
fn a_verification_says_how_much_is_left_and_ends_when_asked_to() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("data/deep/er")).unwrap();
    fs::write(bench.path("data/deep/er/one"), "one").unwrap();
    fs::write(bench.path("data/large"), noise(40_000_000, 5)).unwrap();
    let backups = bench.ready(FILES);
    run_ok(&backups, "files");
    let watch = Arc::new(Watch::default());
    let progress = Arc::clone(&watch) as Arc<dyn Progress>;
    let report = backups.verify(&[], Depth::All, &progress).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    let steps = watch.steps.lock().unwrap().clone();
    let stored: u64 = packs(&bench)
        .iter()
        .map(|pack| fs::metadata(pack).unwrap().len())
        .sum();
    let of = |what: &str| {
        let step = steps.iter().find(|(known, ..)| known == what);
        step.map(|(_, total, done)| (total.unwrap(), *done))
            .unwrap()
    };
    let (total, done) = of("Checking repository local");
    assert!(total > 0 && total == done, "{steps:?}");
    assert_eq!(
        of("Reading the data of local"),
        (stored, stored),
        "{steps:?}"
    );
    // One who stops it learns nothing of the repository, and nothing is remembered of it.
    let verified = || {
        backups.status().unwrap()[0].repositories[0]
            .last_verify
            .clone()
    };
    let before = verified().unwrap().finished;
    for name in ["Checking", "Reading"] {
        bench.advance(1);
        let stopper: Arc<dyn Progress> = Arc::new(Watch {
            stops_in: Some(name),
            ..Watch::default()
        });
        let error = backups.verify(&[], Depth::All, &stopper).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert_eq!(verified().unwrap().finished, before);
    }
}

//! A repository that others use too: other hosts, stock restic, and whoever prunes it meanwhile.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mainstay_backup::{Depth, ErrorKind, Outcome, Progress, Selector, Target};

use crate::bench::{Bench, DATABASE, FILES, noise, quiet, request, run, run_ok};
use crate::databases::bank;
use crate::stock::restic;

const KEEP_ONE: &str = "keep = { last = 1 }\n";

fn tree(bench: &Bench, name: &str) {
    fs::create_dir_all(bench.path(name)).unwrap();
    fs::write(bench.path(name).join("file"), name).unwrap();
}

fn ids(backups: &mainstay_backup::Backups) -> Vec<String> {
    backups
        .list(None, None, &quiet())
        .unwrap()
        .snapshots
        .into_iter()
        .map(|located| located.snapshot.id)
        .collect()
}

#[test]
fn the_latest_is_one_of_this_host_and_path_and_only_those_are_forgotten() {
    let bench = Bench::new();
    for name in ["data", "other"] {
        tree(&bench, name);
    }
    let mine = format!("{FILES}{KEEP_ONE}");
    let theirs = mine.replace("@/data", "@/other");
    let here = bench.ready(&mine);
    let first = run_ok(&here, "files");
    bench.advance(1);
    let there = run_ok(&bench.backups_on("shop2", &theirs), "files");
    bench.advance(1);
    let moved = run_ok(&bench.backups(&theirs), "files");
    bench.advance(1);
    // Stock restic, with our tags: an empty directory must not become the latest.
    fs::create_dir(bench.path("empty")).unwrap();
    let arguments = [
        "backup",
        "--host=shop1",
        "--tag=mainstay,backup=files",
        bench.path("data").to_str().unwrap(),
    ]
    .map(str::to_owned);
    fs::rename(bench.path("data"), bench.path("away")).unwrap();
    fs::create_dir(bench.path("data")).unwrap();
    let stock = restic(&bench, &arguments.each_ref().map(String::as_str));
    fs::remove_dir(bench.path("data")).unwrap();
    fs::rename(bench.path("away"), bench.path("data")).unwrap();
    let find = |selector: &str| {
        here.find("files", &Selector::from(selector), None, &quiet())
            .unwrap()
            .snapshot
            .id
    };
    assert_eq!(find("latest"), first);
    assert_eq!(find(&there[..10]), there);
    let mut wanted = request("files", Target::InPlace);
    let plan = here.plan_restore(&wanted, &quiet()).unwrap();
    assert!(!plan.to_string().contains("not here"), "{plan}");
    for (id, host) in [(&there, "shop2"), (&moved, "shop1")] {
        wanted.snapshot = Selector::Id(id[..10].to_owned());
        let said = here.plan_restore(&wanted, &quiet()).unwrap().to_string();
        let other = bench.path("other");
        let warning = format!("made on host {host} from {}, not here", other.display());
        assert!(said.contains(&warning), "{said}");
    }
    let last = run(&here, "files");
    assert_eq!(last.repositories[0].forgotten, [first]);
    let last = last.repositories[0].snapshot.clone().unwrap().id;
    assert_eq!(ids(&here), [there, moved, last]);
    if stock.is_some() {
        let files = fs::read_dir(bench.path("repo/snapshots")).unwrap().count();
        assert_eq!(files, 4, "that of stock restic stays");
    }
}

/// Does something once, at the end of the step that has this in its name.
struct Meddler {
    step: &'static str,
    current: Mutex<String>,
    done: AtomicBool,
    act: Box<dyn Fn() + Send + Sync>,
}

impl Progress for Meddler {
    fn begin(&self, what: &str, _: Option<u64>) {
        what.clone_into(&mut self.current.lock().unwrap());
    }
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {
        if self.current.lock().unwrap().starts_with(self.step)
            && !self.done.swap(true, Ordering::Relaxed)
        {
            (self.act)();
        }
    }
}

fn meddler(act: impl Fn() + Send + Sync + 'static) -> Arc<dyn Progress> {
    Arc::new(Meddler {
        step: "Backing up",
        current: Mutex::default(),
        done: AtomicBool::new(false),
        act: Box::new(act),
    })
}

fn remove_packs(data: &PathBuf) {
    for directory in fs::read_dir(data).unwrap().flatten() {
        for pack in fs::read_dir(directory.path()).unwrap().flatten() {
            fs::remove_file(pack.path()).unwrap();
        }
    }
}

#[test]
fn a_run_whose_packs_are_pruned_meanwhile_fails_and_the_next_one_stores_anew() {
    let bench = Bench::new();
    tree(&bench, "data");
    fs::write(bench.path("data/large"), noise(1_000_000, 1)).unwrap();
    let backups = bench.ready(&format!("{FILES}{KEEP_ONE}"));
    let data = bench.path("repo/data");
    let report = backups
        .run("files", &meddler(move || remove_packs(&data)))
        .unwrap();
    assert_eq!(report.outcome, Outcome::Failed, "{report:#?}");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.help().unwrap().contains("restic prune"), "{error:?}");
    assert!(report.repositories[0].snapshot.is_none());
    assert!(ids(&backups).is_empty());
    assert_eq!(backups.status().unwrap()[0].last_good, None);
    bench.advance(1);
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    let notes = &report.repositories[0].notes;
    assert!(notes[0].contains("gone"), "{notes:?}");
    assert!(report.repositories[0].added > 1_000_000);
    let verified = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
}

#[test]
fn stock_restic_does_not_prune_beside_a_run() {
    let bench = Arc::new(Bench::new());
    tree(&bench, "data");
    let backups = bench.ready(FILES);
    if restic(&bench, &["list", "locks"]).is_none() {
        return;
    }
    let inner = Arc::clone(&bench);
    let said = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&said);
    let report = backups
        .run(
            "files",
            &meddler(move || *heard.lock().unwrap() = restic(&inner, &["prune"])),
        )
        .unwrap();
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    let pruned = said.lock().unwrap().take().unwrap();
    let text = String::from_utf8_lossy(&pruned.stderr).into_owned();
    assert!(
        !pruned.status.success() && text.contains("locked"),
        "{text}"
    );
    assert!(text.contains("shop1 (mainstay)"), "{text}");
    let locks = || fs::read_dir(bench.path("repo/locks")).unwrap().count();
    assert_eq!(locks(), 0);
    let pruned = restic(&bench, &["prune"]).unwrap();
    assert!(pruned.status.success(), "{pruned:?}");
    assert_eq!(locks(), 0);
}

#[test]
fn packs_lost_between_runs_are_not_counted_on() {
    let bench = Bench::new();
    tree(&bench, "data");
    fs::write(bench.path("data/large"), noise(1_000_000, 1)).unwrap();
    let backups = bench.ready(&format!("{FILES}{KEEP_ONE}"));
    let first = run_ok(&backups, "files");
    bench.advance(1);
    remove_packs(&bench.path("repo/data"));
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    assert!(report.repositories[0].added > 1_000_000);
    assert!(!report.repositories[0].notes.is_empty());
    // Nothing is removed from a damaged repository.
    assert!(report.repositories[0].forgotten.is_empty());
    assert_eq!(ids(&backups)[0], first);
    let into = bench.path("back");
    crate::bench::restore(&backups, &request("files", Target::Into(into.clone()))).unwrap();
    assert!(fs::read(into.join("large")).unwrap() == noise(1_000_000, 1));
}

#[test]
fn a_repository_in_use_refuses_before_anything_is_copied() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "wal");
    let backups = bench.ready(DATABASE);
    let lock = fs::File::options()
        .write(true)
        .open(bench.path("state/locks/repository-local.lock"))
        .unwrap();
    lock.lock().unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let watch: Arc<dyn Progress> = Arc::new(Meddler {
        step: "",
        current: Mutex::default(),
        done: AtomicBool::new(false),
        act: Box::new(move || seen.store(true, Ordering::Relaxed)),
    });
    let report = backups.run("db", &watch).unwrap();
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(!begun.load(Ordering::Relaxed), "something was copied");
    drop(lock);
    run_ok(&backups, "db");
}

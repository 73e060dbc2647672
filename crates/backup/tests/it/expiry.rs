//! What is removed, and what stays whatever the rules say.

use std::fs;

use mainstay_backup::{Backups, Depth, ErrorKind, Outcome, Selector};
use mainstay_base::Clock as _;

use crate::bench::{Bench, FILES, noise, quiet, run, run_ok};
use crate::stock::restic;

fn write(bench: &Bench, seed: u64) {
    fs::create_dir_all(bench.path("data")).unwrap();
    fs::write(bench.path("data/file"), noise(10_000, seed)).unwrap();
}

fn ids(backups: &Backups) -> Vec<String> {
    let listing = backups.list(None, None, &quiet()).unwrap();
    listing
        .snapshots
        .into_iter()
        .map(|located| located.snapshot.id)
        .collect()
}

fn verify(backups: &Backups) {
    let report = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(report.is_sound(), "{report:#?}");
}

/// The reasons of each snapshot of the one repository, newest first.
fn why(backups: &Backups) -> Vec<String> {
    let expiries = backups.expire("files", None, true, &quiet()).unwrap();
    assert_eq!(expiries.len(), 1);
    assert!(expiries[0].error.is_none(), "{expiries:#?}");
    let reasons = |verdict: &mainstay_backup::retention::Verdict| {
        let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
        reasons.join(", ")
    };
    expiries[0]
        .verdicts
        .iter()
        .map(|(_, v)| reasons(v))
        .collect()
}

#[test]
fn weeks_of_failing_runs_do_not_cost_the_last_verified_snapshots() {
    let bench = Bench::new();
    write(&bench, 0);
    let backups = bench.ready(&format!("{FILES}keep = {{ days = 3, verified = 2 }}\n"));
    let mut good = Vec::new();
    for day in 0..4 {
        write(&bench, day);
        good.push(run_ok(&backups, "files"));
        bench.advance(24);
    }
    verify(&backups);
    // The source is away for six weeks: every run fails, and none removes anything.
    fs::rename(bench.path("data"), bench.path("away")).unwrap();
    for _ in 0..42 {
        assert_eq!(run(&backups, "files").outcome, Outcome::Failed);
        bench.advance(24);
    }
    assert_eq!(ids(&backups), good[1..]);
    fs::rename(bench.path("away"), bench.path("data")).unwrap();
    // By their age alone all of them would go now, for one that nobody has proved.
    let unproven = run_ok(&backups, "files");
    assert_eq!(
        ids(&backups),
        [good[2].clone(), good[3].clone(), unproven.clone()]
    );
    assert_eq!(
        why(&backups),
        ["days 1 of 3, newest", "verified 1 of 2", "verified 2 of 2"]
    );
    verify(&backups);
    bench.advance(1);
    let newest = run_ok(&backups, "files");
    assert_eq!(
        ids(&backups),
        [good[3].clone(), unproven.clone(), newest.clone()]
    );
    verify(&backups);
    let removed = backups.expire("files", None, false, &quiet()).unwrap();
    assert!(removed[0].removed, "{removed:#?}");
    assert_eq!(ids(&backups), [unproven, newest]);
}

/// A machine whose clock was ahead for one run: what is made after it was put right counts as ever.
#[test]
fn a_run_under_a_clock_that_was_ahead_costs_no_later_one() {
    let bench = Bench::new();
    let right = bench.clock.now();
    bench.clock.set("2099-01-01T03:00:00Z".parse().unwrap());
    write(&bench, 0);
    let backups = bench.ready(&format!(
        "{FILES}at = \"0 3 * * *\"\nkeep = {{ days = 3, verified = 0 }}\n"
    ));
    let ahead = run_ok(&backups, "files");
    bench.clock.set(right);
    let mut good = Vec::new();
    for day in 1..6 {
        write(&bench, day);
        good.push(run_ok(&backups, "files"));
        bench.advance(24);
    }
    let [.., first, second, last] = &good[..] else {
        panic!("five runs");
    };
    assert_eq!(
        ids(&backups),
        [first.clone(), second.clone(), last.clone(), ahead]
    );
    assert_eq!(why(&backups)[0], "of a time to come");
    let latest = backups.find("files", &Selector::Latest, None, &quiet());
    assert_eq!(&latest.unwrap().snapshot.id, last);
    // A run that is missed is missed, whatever the other one was.
    let status = backups.status().unwrap().remove(0);
    assert_eq!(status.last_run, status.last_good);
    assert!(status.last_good.unwrap() <= bench.clock.now() && !status.overdue);
    bench.advance(48);
    assert!(backups.status().unwrap()[0].overdue);
}

#[test]
fn a_rehearsal_removes_nothing_and_what_it_says_is_done_then() {
    let bench = Bench::new();
    write(&bench, 0);
    let all = bench.ready(FILES);
    for day in 0..3 {
        write(&bench, day);
        run_ok(&all, "files");
        bench.advance(24);
    }
    let before = ids(&all);
    let expiries = all.expire("files", None, false, &quiet()).unwrap();
    assert!(!expiries[0].removed);
    assert_eq!(why(&all), ["newest, no rule", "no rule", "no rule"]);
    let strict = bench.backups(&format!("{FILES}keep = {{ last = 1 }}\n"));
    let said = why(&strict);
    assert_eq!(
        said,
        [
            "in place of a verified one 1 of 1, last 1 of 1, newest",
            "",
            ""
        ]
    );
    assert_eq!(ids(&strict), before);
    let expiries = strict
        .expire("files", Some("local"), false, &quiet())
        .unwrap();
    assert_eq!(expiries[0].gone().count(), 2);
    assert_eq!(ids(&strict), before[2..]);
    let unknown = strict.expire("files", Some("lcal"), true, &quiet());
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::UnknownRepository);
}

#[test]
fn a_pinned_snapshot_stays_until_it_is_unpinned() {
    let bench = Bench::new();
    write(&bench, 0);
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 1 }}\n"));
    let first = run_ok(&backups, "files");
    verify(&backups);
    let id = |id: &str| Selector::Id(id.to_owned());
    let pin = |selector: &Selector, on: bool| {
        let located = backups.pin("files", selector, None, on, &quiet()).unwrap();
        assert_eq!(located.snapshot.pinned, on);
        located.snapshot.id
    };
    let pinned = pin(&id(&first), true);
    assert_ne!(pinned, first);
    assert_eq!(pin(&Selector::Latest, true), pinned, "it is so already");
    assert_eq!(ids(&backups), std::slice::from_ref(&pinned));
    assert!(
        why(&backups)[0].contains("pinned, verified 1 of 1"),
        "{:?}",
        why(&backups)
    );
    let status = backups.status().unwrap().remove(0);
    assert!(status.is_well());
    assert_eq!(
        status.repositories[0].last_good.as_ref().unwrap().snapshot,
        Some(pinned.clone())
    );
    for day in 1..3 {
        bench.advance(24);
        write(&bench, day);
        run_ok(&backups, "files");
        verify(&backups);
    }
    assert_eq!(ids(&backups)[0], pinned);
    if let Some(listed) = restic(&bench, &["snapshots", "--json", "--tag", "keep"]) {
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed[0]["id"], pinned.as_str());
        assert_eq!(listed[0]["original"], first.as_str());
    }
    pin(&id(&pinned), false);
    bench.advance(24);
    write(&bench, 9);
    run_ok(&backups, "files");
    verify(&backups);
    backups.expire("files", None, false, &quiet()).unwrap();
    assert_eq!(ids(&backups).len(), 1);
}

#[test]
fn nothing_is_removed_from_a_damaged_repository() {
    let bench = Bench::new();
    write(&bench, 0);
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 1 }}\n"));
    let first = run_ok(&backups, "files");
    let mut stack = vec![bench.path("repo/data")];
    let mut packs = Vec::new();
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            packs.push(path);
        }
    }
    packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let pack = packs.last().unwrap();
    let whole = fs::read(pack).unwrap();
    let mut spoiled = whole.clone();
    spoiled[100] ^= 1;
    fs::write(pack, &spoiled).unwrap();
    let report = backups.verify(&[], Depth::All, &quiet()).unwrap();
    assert!(!report.is_sound());
    bench.advance(24);
    write(&bench, 1);
    let report = run(&backups, "files");
    assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
    assert!(report.repositories[0].forgotten.is_empty());
    let notes = &report.repositories[0].notes;
    assert!(notes[0].contains("found damage"), "{notes:?}");
    assert_eq!(ids(&backups)[0], first);
    let refused = backups.expire("files", None, false, &quiet()).unwrap();
    let error = refused[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.help().unwrap().contains("--read-data"), "{error:?}");
    assert_eq!(ids(&backups).len(), 2);
    fs::write(pack, &whole).unwrap();
    verify(&backups);
    backups.expire("files", None, false, &quiet()).unwrap();
    assert_eq!(ids(&backups).len(), 1);
}

#[test]
fn of_two_runs_at_once_one_is_kept_out() {
    let bench = Bench::new();
    write(&bench, 0);
    let backups = bench.ready(FILES);
    let lock = fs::File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(bench.path("state/locks/backup-files.lock"))
        .unwrap();
    lock.lock().unwrap();
    let kept_out = backups.run("files", &quiet()).unwrap_err();
    assert_eq!(kept_out.kind(), ErrorKind::Locked);
    assert!(ids(&backups).is_empty());
    drop(lock);
    // Two that wait for each other both come to their turn.
    let waiting = || {
        let backups = bench
            .backups(FILES)
            .with_patience(std::time::Duration::from_mins(2));
        run_ok(&backups, "files")
    };
    std::thread::scope(|scope| {
        let both = [scope.spawn(waiting), scope.spawn(waiting)];
        for one in both {
            one.join().unwrap();
        }
    });
    assert_eq!(ids(&backups).len(), 2);
}

#[test]
fn all_data_is_read_part_by_part_and_damage_is_loud() {
    let bench = Bench::new();
    write(&bench, 0);
    let config = format!("verify_within = \"3d\"\n{FILES}keep = {{ last = 4, verified = 1 }}\n");
    let backups = bench.ready(&config);
    let first = run_ok(&backups, "files");
    let depth = || {
        let status = backups.status().unwrap().remove(0);
        status.repositories[0].last_verify.clone().unwrap().depth
    };
    assert_eq!(depth(), "part 1/3");
    bench.advance(1);
    run_ok(&backups, "files");
    assert_eq!(depth(), "part 1/3", "not twice in a day");
    for part in [2, 3, 1, 2, 3] {
        bench.advance(23);
        run_ok(&backups, "files");
        assert_eq!(depth(), format!("part {part}/3"));
    }
    // What was there before a round of all parts is proved by it.
    let kept = why(&backups);
    assert!(
        kept.iter().any(|why| why.contains("verified 1 of 1")),
        "{kept:?}"
    );
    assert!(
        ids(&backups).contains(&first),
        "it is the first that was proved"
    );
    let mut packs = Vec::new();
    for directory in fs::read_dir(bench.path("repo/data")).unwrap().flatten() {
        packs.extend(
            fs::read_dir(directory.path())
                .unwrap()
                .flatten()
                .map(|pack| pack.path()),
        );
    }
    for pack in &packs {
        let mut bytes = fs::read(pack).unwrap();
        bytes[20] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    let mut found = None;
    for _ in 0..3 {
        bench.advance(23);
        let report = run(&backups, "files");
        if report.outcome != Outcome::Ok {
            found = report.repositories[0].error.clone();
            break;
        }
    }
    assert_eq!(found.unwrap().kind(), ErrorKind::Damaged);
    assert!(!backups.status().unwrap()[0].is_well());
}

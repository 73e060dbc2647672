//! Stock restic on our repositories, and we on its.

use std::fs;
use std::process::{Command, Output};

use mainstay_backup::{Depth, Outcome, Target};

use crate::bench::{
    Bench, DATABASE, FILES, PASSWORD, look, noise, quiet, request, restore, run, run_ok,
};
use crate::databases::bank;
use crate::trees::odd_tree;

pub(crate) fn restic(bench: &Bench, arguments: &[&str]) -> Option<Output> {
    match Command::new("restic")
        .args(["--no-cache", "-r"])
        .arg(bench.path("repo"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", bench.directory.path())
        .env("RESTIC_PASSWORD", PASSWORD)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: restic is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn stock_restic_lists_checks_and_restores() {
    let bench = Bench::new();
    odd_tree(&bench.path("data"));
    bank(&bench.path("shop.db"), "wal");
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 1 }}\n{DATABASE}"));
    for day in 0..2 {
        fs::write(bench.path("data/daily"), noise(500_000, day)).unwrap();
        run_ok(&backups, "files");
        bench.advance(25);
    }
    let id = run_ok(&backups, "db");
    // With data that a prune has marked and not removed yet.
    backups.prune("local", &quiet()).unwrap();
    let Some(listed) = restic(&bench, &["snapshots", "--json"]) else {
        return;
    };
    let listed: serde_json::Value = serde_json::from_str(&text(&listed)).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().any(|snapshot| snapshot["id"] == id.as_str()));
    assert!(listed.iter().all(|snapshot| {
        snapshot["hostname"] == "shop1"
            && snapshot["tags"]
                .as_array()
                .unwrap()
                .iter()
                .any(|tag| tag == "mainstay")
    }));
    let checked = restic(&bench, &["check", "--read-data"]).unwrap();
    assert!(text(&checked).contains("no errors were found"));
    for tag in ["backup=files", "backup=db"] {
        let into = bench.path("stock");
        text(
            &restic(
                &bench,
                &[
                    "restore",
                    "latest",
                    "--tag",
                    tag,
                    "--target",
                    into.to_str().unwrap(),
                ],
            )
            .unwrap(),
        );
    }
    let below = bench
        .path("stock")
        .join(bench.directory.path().strip_prefix("/").unwrap());
    let (ours, theirs) = (look(&bench.path("data")), look(&below.join("data")));
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (path, seen) in &ours {
        if path.ends_with("odd link") {
            // Releases of restic before `linktarget_raw` write such a target with replacement characters.
            continue;
        }
        let other = &theirs[path];
        assert!(other.content == seen.content, "{path:?} differs");
        assert_eq!(other.mode, seen.mode, "{path:?}");
        if seen.kind == "file" {
            assert_eq!(other.mtime, seen.mtime, "{path:?}");
        }
    }
    restore(&backups, &request("db", Target::Into(bench.path("back")))).unwrap();
    assert!(
        fs::read(bench.path("back/shop.db")).unwrap() == fs::read(below.join("shop.db")).unwrap()
    );
}

/// Words that compress well, and are others for each seed.
fn words(seed: u64) -> Vec<u8> {
    noise(300_000, seed)
        .into_iter()
        .flat_map(|byte| format!("number {}, ", byte % 50).into_bytes())
        .collect()
}

#[test]
fn what_is_compressed_otherwise_is_the_same_to_stock_restic() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    bench.ready(FILES);
    let run_with = |compression: &str| {
        bench.advance(1);
        let config = format!("compression = \"{compression}\"\n{FILES}");
        let mut report = run(&bench.backups(&config), "files");
        assert_eq!(report.outcome, Outcome::Ok, "{report:#?}");
        report.repositories.remove(0).added
    };
    let add = |seed| {
        let words = words(seed);
        fs::write(bench.path(&format!("data/{seed}")), &words).unwrap();
        words.len() as u64
    };
    let length = add(1);
    let off = run_with("off");
    assert!(off > length, "{off} of {length}");
    // What is there stays as it is, and is found.
    assert!(run_with("max") < 20_000);
    add(2);
    let max = run_with("max");
    add(3);
    let auto = run_with("auto");
    assert!(max < auto && auto < off / 2, "{off}, {auto}, {max}");
    let Some(checked) = restic(&bench, &["check", "--read-data"]) else {
        return;
    };
    assert!(text(&checked).contains("no errors were found"));
    let into = bench.path("stock");
    let arguments = ["restore", "latest", "--target", into.to_str().unwrap()];
    text(&restic(&bench, &arguments).unwrap());
    let below = into.join(bench.path("data").strip_prefix("/").unwrap());
    for seed in 1..4 {
        assert!(fs::read(below.join(seed.to_string())).unwrap() == words(seed));
    }
}

#[test]
fn what_stock_restic_adds_is_left_alone() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    fs::write(bench.path("data/file"), "ours").unwrap();
    let backups = bench.ready(&format!("{FILES}keep = {{ last = 1 }}\n"));
    let other = bench.path("other");
    fs::write(&other, noise(300_000, 9)).unwrap();
    let Some(output) = restic(&bench, &["backup", other.to_str().unwrap()]) else {
        return;
    };
    text(&output);
    for _ in 0..3 {
        run_ok(&backups, "files");
        bench.advance(25);
    }
    assert_eq!(
        backups.list(None, None, &quiet()).unwrap().snapshots.len(),
        1
    );
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
    let listed = text(&restic(&bench, &["snapshots", "--json"]).unwrap());
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(text(&restic(&bench, &["check", "--read-data"]).unwrap()).contains("no errors"));
}

#[test]
fn files_are_cut_where_stock_restic_cuts_them() {
    let bench = Bench::new();
    fs::create_dir(bench.path("data")).unwrap();
    // Long enough for pieces of all lengths; of one byte only, every piece is the longest.
    fs::write(bench.path("data/noise"), noise(24_000_000, 5)).unwrap();
    fs::write(bench.path("data/zeros"), vec![0; 20_000_000]).unwrap();
    let backups = bench.ready(FILES);
    let packs = || {
        let mut bytes = 0;
        for directory in fs::read_dir(bench.path("repo/data")).unwrap().flatten() {
            for pack in fs::read_dir(directory.path()).unwrap().flatten() {
                bytes += pack.metadata().unwrap().len();
            }
        }
        bytes
    };
    run_ok(&backups, "files");
    let before = packs();
    let data = bench.path("data");
    let Some(output) = restic(&bench, &["backup", data.to_str().unwrap()]) else {
        return;
    };
    text(&output);
    let added = packs() - before;
    assert!(added < 50_000, "stock restic stored {added} bytes anew");
    // And the other way round, from a parent that is not ours.
    fs::write(bench.path("data/noise"), noise(24_000_001, 5)).unwrap();
    text(&restic(&bench, &["backup", data.to_str().unwrap()]).unwrap());
    bench.advance(1);
    let report = crate::bench::run(&backups, "files");
    let added = report.repositories[0].added;
    assert!(added < 50_000, "{added} bytes stored anew: {report:#?}");
    assert!(
        backups
            .verify(&[], Depth::All, &quiet())
            .unwrap()
            .is_sound()
    );
}

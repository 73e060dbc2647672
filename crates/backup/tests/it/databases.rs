//! `SQLite` databases that are written while they are backed up.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_backup::{ErrorKind, Outcome, Target};
use rusqlite::Connection;

use crate::bench::{Bench, DATABASE, quiet, request, restore, run, run_ok};

const ACCOUNTS: i64 = 200;
const TOTAL: i64 = ACCOUNTS * 1000;

/// A bank: every account has 1000, and whatever is moved about, the sum stays.
pub(crate) fn bank(path: &Path, journal: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode={journal};
             CREATE TABLE accounts (id INTEGER PRIMARY KEY, money INTEGER NOT NULL, padding TEXT);
             CREATE TABLE transfers (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, padding TEXT);
             BEGIN;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS})
                INSERT INTO accounts SELECT i, 1000, hex(randomblob(2000)) FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO transfers SELECT i, 1, 2, hex(randomblob(1000)) FROM n;
             COMMIT;"
        ))
        .unwrap();
}

fn invariant(path: &Path) -> (i64, i64) {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row(
            "SELECT (SELECT sum(money) FROM accounts), (SELECT count(*) FROM transfers)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap()
}

struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    busy: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(path: &Path, patience: Duration) -> Self {
        let (stop, done, busy) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
        );
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(patience).unwrap();
        connection.execute_batch("PRAGMA synchronous=OFF").unwrap();
        let thread = std::thread::spawn({
            let (stop, done, busy) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&busy));
            move || {
                let mut n = 1i64;
                while !stop.load(Ordering::Relaxed) {
                    n += 7;
                    let (a, b) = (n % ACCOUNTS + 1, (n * 3) % ACCOUNTS + 1);
                    let moved = connection.execute_batch(&format!(
                        "BEGIN IMMEDIATE;
                         UPDATE accounts SET money = money - 5 WHERE id = {a};
                         UPDATE accounts SET money = money + 5 WHERE id = {b};
                         INSERT INTO transfers (a, b, padding) VALUES ({a}, {b}, hex(randomblob(500)));
                         COMMIT;"
                    ));
                    if moved.is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    } else {
                        busy.fetch_add(1, Ordering::Relaxed);
                        let _ = connection.execute_batch("ROLLBACK");
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        let writer = Self {
            stop,
            done,
            busy,
            thread: Some(thread),
        };
        writer.wait_for(10);
        writer
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn wait_for(&self, more: u64) {
        let (before, begun) = (self.count(), Instant::now());
        while self.count() < before + more {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "the writer is stuck"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn backed_up_while_written(journal: &str, patience: Duration) -> u64 {
    let bench = Bench::new();
    let path = bench.path("shop.db");
    bank(&path, journal);
    let backups = bench.ready(DATABASE);
    let mut counts = Vec::new();
    let busy;
    {
        let writer = Writer::start(&path, patience);
        for _ in 0..4 {
            bench.advance(1);
            run_ok(&backups, "db");
            writer.wait_for(5);
        }
        busy = writer.busy.load(Ordering::Relaxed);
    }
    let listing = backups.list(Some("db"), None, &quiet()).unwrap();
    assert_eq!(listing.snapshots.len(), 4);
    for (number, located) in listing.snapshots.iter().enumerate() {
        let into = bench.path(&format!("back{number}"));
        let mut wanted = request("db", Target::Into(into.clone()));
        wanted.snapshot = mainstay_backup::Selector::Id(located.snapshot.id.clone());
        restore(&backups, &wanted).unwrap();
        let (sum, transfers) = invariant(&into.join("shop.db"));
        assert_eq!(sum, TOTAL, "snapshot {number}");
        let facts = located.snapshot.facts.database.clone().unwrap();
        assert_eq!(facts.tables["transfers"], u64::try_from(transfers).unwrap());
        counts.push(transfers);
    }
    assert!(counts.is_sorted() && counts[0] < counts[3], "{counts:?}");
    bench.assert_clean();
    busy
}

#[test]
fn in_wal_mode_every_copy_is_consistent_and_no_writer_is_ever_refused() {
    // Without any patience: a single moment of waiting would be a refusal.
    let refused = backed_up_while_written("wal", Duration::ZERO);
    assert_eq!(refused, 0);
}

#[test]
fn in_rollback_mode_every_copy_is_consistent_and_writers_wait() {
    let refused = backed_up_while_written("delete", Duration::from_secs(30));
    assert_eq!(refused, 0);
}

#[test]
fn the_log_and_the_file_of_a_live_database_are_left_alone() {
    let bench = Bench::new();
    let path = bench.path("shop.db");
    bank(&path, "wal");
    let live = Connection::open(&path).unwrap();
    live.execute_batch("UPDATE accounts SET money = 999 WHERE id = 1; UPDATE accounts SET money = 1001 WHERE id = 2;")
        .unwrap();
    let wal = bench.path("shop.db-wal");
    let before = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
    let backups = bench.ready(DATABASE);
    run_ok(&backups, "db");
    assert!(before == (fs::read(&path).unwrap(), fs::read(&wal).unwrap()));
    restore(&backups, &request("db", Target::Into(bench.path("back")))).unwrap();
    let copy = Connection::open(bench.path("back/shop.db")).unwrap();
    let money: i64 = copy
        .query_row("SELECT money FROM accounts WHERE id = 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(money, 999, "what only the log had");
}

#[test]
fn the_second_backup_of_a_database_stores_little() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "wal");
    let backups = bench.ready(DATABASE);
    let first = run(&backups, "db").repositories.remove(0);
    bench.advance(1);
    let second = run(&backups, "db").repositories.remove(0);
    assert!(first.added > 1_000_000, "{}", first.added);
    assert!(second.added < 100_000, "{}", second.added);
}

#[test]
fn a_journal_that_a_crash_left_is_rolled_back() {
    let bench = Bench::new();
    let path = bench.path("shop.db");
    let live_path = bench.path("live.db");
    bank(&live_path, "delete");
    // A transaction that has spilled into the file, frozen in the middle.
    let live = Connection::open(&live_path).unwrap();
    live.execute_batch("PRAGMA cache_size=5; BEGIN; UPDATE accounts SET money = 0, padding = '';")
        .unwrap();
    fs::copy(&live_path, &path).unwrap();
    fs::copy(bench.path("live.db-journal"), bench.path("shop.db-journal")).unwrap();
    drop(live);
    // Without its journal the file would be the half of a transaction.
    fs::copy(&path, bench.path("half.db")).unwrap();
    let half: rusqlite::Result<i64> = Connection::open(bench.path("half.db")).unwrap().query_row(
        "SELECT sum(money) FROM accounts",
        [],
        |row| row.get(0),
    );
    assert_ne!(half, Ok(TOTAL));
    let backups = bench.ready(DATABASE);
    run_ok(&backups, "db");
    restore(&backups, &request("db", Target::Into(bench.path("back")))).unwrap();
    assert_eq!(invariant(&bench.path("back/shop.db")).0, TOTAL);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("shop.db"), vec![9; 10_000]).unwrap();
    let backups = bench.ready(DATABASE);
    let report = run(&backups, "db");
    assert_eq!(report.outcome, Outcome::Failed);
    let error = report.repositories[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::SourceUnreadable);
    assert!(
        error.to_string().contains("not a SQLite database"),
        "{error}"
    );
    bench.assert_clean();
}

/// Breaks the content of pages in the middle; the first page stays readable.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

/// Repositories that cut files in other places each get a reading of their own.
#[test]
fn a_damaged_database_is_good_in_no_repository() {
    let bench = Bench::new();
    bank(&bench.path("shop.db"), "delete");
    damage(&bench.path("shop.db"));
    let backups = bench.ready(
        "[repository.other]\npath = \"@/other\"\npassword = \"${env.PASSWORD}\"\n\
         [backup.db]\nsqlite = { path = \"@/shop.db\" }\nto = [\"local\", \"other\"]\n",
    );
    // Made while there is none to be made like.
    fs::rename(bench.path("repo"), bench.path("away")).unwrap();
    backups.init("other", &quiet()).unwrap();
    fs::rename(bench.path("away"), bench.path("repo")).unwrap();
    let report = run(&backups, "db");
    for run in &report.repositories {
        assert_eq!(run.outcome, Outcome::Partial, "{run:#?}");
        assert!(!run.snapshot.as_ref().unwrap().complete);
        assert!(run.issues[0].what.contains("damaged"), "{run:#?}");
    }
}

#[test]
fn a_damaged_database_is_stored_but_loud() {
    let bench = Bench::new();
    let path = bench.path("shop.db");
    bank(&path, "delete");
    let backups = bench.ready(&format!("{DATABASE}keep = {{ last = 1 }}\n"));
    let good = run_ok(&backups, "db");
    damage(&path);
    bench.advance(1);
    let report = run(&backups, "db");
    assert_eq!(report.outcome, Outcome::Partial, "{report:#?}");
    let issue = &report.repositories[0].issues[0];
    assert!(issue.what.contains("damaged"), "{}", issue.what);
    assert!(!report.repositories[0].snapshot.as_ref().unwrap().complete);
    // The good one is still there, and is what "latest" means.
    let plan = backups
        .plan_restore(&request("db", Target::InPlace), &quiet())
        .unwrap();
    assert_eq!(plan.from.snapshot.id, good);
    let status = backups.status().unwrap().remove(0);
    assert_eq!(status.last_outcome, Some(Outcome::Partial));
    assert!(status.failing_since.is_some());
}

//! What happened: runs, verifications and restores, in a `SQLite` database in the state directory.
//!
//! The catalog answers "is all well" without a password and without opening a repository. It is never
//! needed to restore: the repository is the truth, and a catalog that was deleted is filled again from
//! there. Times are milliseconds since the Unix epoch.

mod drills;
mod proofs;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use mainstay_base::sqlite::{self, Fit, Trouble};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{Error, ErrorKind, reason_of_io};
use crate::repository::Snapshot;
use crate::swap::Move;

pub use drills::DrillRecord;

/// Each entry brings the schema from the version of its index to the next.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        backup TEXT NOT NULL,
        repository TEXT NOT NULL,
        started INTEGER NOT NULL,
        finished INTEGER,
        outcome TEXT CHECK (outcome IN ('ok', 'partial', 'failed')),
        error TEXT,
        help TEXT,
        warnings INTEGER NOT NULL DEFAULT 0,
        snapshot TEXT,
        files INTEGER,
        bytes INTEGER,
        added INTEGER,
        observed INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX runs_of ON runs (backup, repository, started);
    CREATE TABLE verifies (
        id INTEGER PRIMARY KEY,
        repository TEXT NOT NULL,
        depth TEXT NOT NULL,
        started INTEGER NOT NULL,
        finished INTEGER NOT NULL,
        damaged INTEGER NOT NULL,
        error TEXT
    ) STRICT;
    CREATE TABLE restores (
        id INTEGER PRIMARY KEY,
        backup TEXT NOT NULL,
        repository TEXT NOT NULL,
        snapshot TEXT NOT NULL,
        target TEXT NOT NULL,
        started INTEGER NOT NULL,
        finished INTEGER,
        error TEXT,
        moves TEXT NOT NULL
    ) STRICT;
    CREATE TABLE upkeep (
        repository TEXT PRIMARY KEY,
        pruned INTEGER,
        pending INTEGER NOT NULL DEFAULT 0
    ) STRICT;
",
    "
    ALTER TABLE runs ADD COLUMN rows INTEGER;
    CREATE TABLE drills (
        id INTEGER PRIMARY KEY,
        backup TEXT NOT NULL,
        repository TEXT,
        snapshot TEXT,
        taken INTEGER,
        started INTEGER NOT NULL,
        finished INTEGER NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('proven', 'failed', 'impossible')),
        error TEXT,
        help TEXT,
        restore_ms INTEGER NOT NULL,
        bytes INTEGER,
        report TEXT
    ) STRICT;
    CREATE INDEX drills_of ON drills (backup, started);
",
    "
    CREATE TABLE proofs (
        repository TEXT NOT NULL,
        snapshot TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (repository, snapshot)
    ) STRICT;
",
];

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything is stored.
    Ok,
    /// A snapshot exists, and something is missing from it, or one of several repositories failed.
    Partial,
    /// There is no new snapshot.
    Failed,
}

impl Outcome {
    /// `ok`, `partial` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "ok" => Self::Ok,
            "partial" => Self::Partial,
            _ => Self::Failed,
        }
    }
}

/// One run to one repository, as remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The backup.
    pub backup: String,
    /// The repository.
    pub repository: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; absent while it runs, and for ever if it was killed.
    pub finished: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it did not end well.
    pub error: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// How many warnings there were.
    pub warnings: u64,
    /// The snapshot it made.
    pub snapshot: Option<String>,
    /// Files in the snapshot.
    pub files: Option<u64>,
    /// Their size in bytes.
    pub bytes: Option<u64>,
    /// Bytes the repository grew by.
    pub added: Option<u64>,
    /// Rows, or keys, in a database; absent for files.
    pub rows: Option<u64>,
}

/// One verification, as remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRecord {
    /// The repository.
    pub repository: String,
    /// How deep it looked: `structure`, `part N/M` or `all`.
    pub depth: String,
    /// When it ended.
    pub finished: Timestamp,
    /// How many damages it found.
    pub damaged: u64,
    /// Why it could not be done.
    pub error: Option<String>,
}

/// How a run ended, to be remembered.
pub(crate) struct Ending<'a> {
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<&'a str>,
    pub(crate) help: Option<&'a str>,
    pub(crate) warnings: usize,
    pub(crate) snapshot: Option<&'a Snapshot>,
    pub(crate) added: u64,
    pub(crate) rows: Option<u64>,
}

/// A restore that was begun and not ended.
pub(crate) struct Unfinished {
    pub(crate) id: i64,
    pub(crate) moves: Vec<Move>,
}

/// The catalog.
pub(crate) struct Catalog {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the catalog in the state directory, creating it if there is none. One that is damaged
    /// is set aside, and a new one begun: it holds nothing that cannot be had again.
    pub(crate) fn open(state: &Path, now: Timestamp) -> Result<Self, Error> {
        let path = state.join("catalog.db");
        let attempt = format!("open the catalog {}", path.display());
        let opened = sqlite::open(&path, now, |connection| {
            match sqlite::migrate(connection, MIGRATIONS)? {
                Fit::Same => Ok(()),
                Fit::Newer => Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_SCHEMA),
                    Some("it was written by a newer version of this program".to_owned()),
                )),
            }
        });
        let (connection, damage) = opened.map_err(|trouble| match trouble {
            Trouble::File(path, error) => Error::io(&attempt, &path, &error),
            Trouble::Database(_, error) => catalog_error(&attempt, &error),
        })?;
        if let Some(damage) = damage {
            log::warn!("the catalog {damage}; a new one was begun");
        }
        Ok(Self {
            path,
            connection: Mutex::new(connection),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        verb: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        work(&self.lock()).map_err(|error| {
            catalog_error(
                &format!("{verb} the catalog {}", self.path.display()),
                &error,
            )
        })
    }

    /// Remembers that a run began.
    pub(crate) fn begin(
        &self,
        backup: &str,
        repository: &str,
        at: Timestamp,
    ) -> Result<i64, Error> {
        self.with("write to", |connection| {
            connection.execute(
                "INSERT INTO runs (backup, repository, started) VALUES (?1, ?2, ?3)",
                params![backup, repository, at.as_millisecond()],
            )?;
            Ok(connection.last_insert_rowid())
        })
    }

    /// Remembers how it ended.
    pub(crate) fn end(&self, run: i64, ending: &Ending<'_>) -> Result<(), Error> {
        let snapshot = ending.snapshot;
        self.with("write to", |connection| {
            connection.execute(
                "UPDATE runs SET finished = ?2, outcome = ?3, error = ?4, help = ?5, warnings = ?6,
                    snapshot = ?7, files = ?8, bytes = ?9, added = ?10, rows = ?11 WHERE id = ?1",
                params![
                    run,
                    ending.at.as_millisecond(),
                    ending.outcome.as_str(),
                    ending.error,
                    ending.help,
                    signed(ending.warnings as u64),
                    snapshot.map(|s| s.id.as_str()),
                    snapshot.map(|s| signed(s.files)),
                    snapshot.map(|s| signed(s.bytes)),
                    signed(ending.added),
                    ending.rows.map(signed),
                ],
            )
        })?;
        Ok(())
    }

    /// Ends the runs of a backup that were killed. Called by whoever holds the lock of the backup.
    pub(crate) fn bury(&self, backup: &str, at: Timestamp) -> Result<(), Error> {
        self.with("write to", |connection| {
            connection.execute(
                "UPDATE runs SET finished = ?2, outcome = 'failed', error = ?3
                 WHERE backup = ?1 AND finished IS NULL",
                params![backup, at.as_millisecond(), INTERRUPTED],
            )
        })?;
        Ok(())
    }

    /// Notes snapshots that are in the repository and that the catalog does not know.
    pub(crate) fn observe(&self, repository: &str, snapshots: &[&Snapshot]) -> Result<(), Error> {
        self.with("write to", |connection| {
            let transaction = connection.unchecked_transaction()?;
            for snapshot in snapshots {
                let outcome = if snapshot.complete {
                    Outcome::Ok
                } else {
                    Outcome::Partial
                };
                transaction.execute(
                    "INSERT INTO runs (backup, repository, started, finished, outcome, snapshot, files, bytes, observed)
                     SELECT ?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, 1
                     WHERE NOT EXISTS (SELECT 1 FROM runs WHERE repository = ?2 AND snapshot = ?5)",
                    params![
                        snapshot.backup,
                        repository,
                        snapshot.time.as_millisecond(),
                        outcome.as_str(),
                        snapshot.id,
                        signed(snapshot.files),
                        signed(snapshot.bytes),
                    ],
                )?;
            }
            transaction.commit()
        })
    }

    /// The last runs of a backup to a repository that began until then, newest first.
    pub(crate) fn runs(
        &self,
        backup: &str,
        repository: &str,
        most: u32,
        until: Timestamp,
    ) -> Result<Vec<RunRecord>, Error> {
        self.with("read", |connection| {
            connection
                .prepare(
                    "SELECT * FROM runs WHERE backup = ?1 AND repository = ?2
                        AND started <= ?4 ORDER BY started DESC, id DESC LIMIT ?3",
                )?
                .query_map(
                    params![backup, repository, most, until.as_millisecond()],
                    run_record,
                )?
                .collect()
        })
    }

    /// The last good runs that began until then, newest first.
    pub(crate) fn good_runs(
        &self,
        backup: &str,
        repository: &str,
        most: u32,
        until: Timestamp,
    ) -> Result<Vec<RunRecord>, Error> {
        self.with("read", |connection| {
            connection
                .prepare(
                    "SELECT * FROM runs WHERE backup = ?1 AND repository = ?2 AND outcome = 'ok'
                        AND started <= ?4 ORDER BY started DESC, id DESC LIMIT ?3",
                )?
                .query_map(
                    params![backup, repository, most, until.as_millisecond()],
                    run_record,
                )?
                .collect()
        })
    }

    /// When the runs began to fail: the first one after the last good one.
    pub(crate) fn failing_since(
        &self,
        backup: &str,
        repository: &str,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        self.with("read", |connection| {
            connection.query_row(
                "WITH good AS (SELECT started, id FROM runs WHERE backup = ?1 AND repository = ?2
                    AND outcome = 'ok' AND started <= ?3 ORDER BY started DESC, id DESC LIMIT 1)
                 SELECT min(started) FROM runs WHERE backup = ?1 AND repository = ?2
                    AND started <= ?3 AND (outcome IS NULL OR outcome <> 'ok')
                    AND (NOT EXISTS (SELECT 1 FROM good)
                        OR (started, id) > (SELECT started, id FROM good))",
                params![backup, repository, until.as_millisecond()],
                |row| Ok(row.get::<_, Option<i64>>(0)?.map(time)),
            )
        })
    }

    /// Remembers a verification.
    pub(crate) fn verified(&self, record: &VerifyRecord, started: Timestamp) -> Result<(), Error> {
        self.with("write to", |connection| {
            connection.execute(
                "INSERT INTO verifies (repository, depth, started, finished, damaged, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    record.repository,
                    record.depth,
                    started.as_millisecond(),
                    record.finished.as_millisecond(),
                    signed(record.damaged),
                    record.error,
                ],
            )
        })?;
        Ok(())
    }

    /// The last verification of a repository.
    pub(crate) fn last_verify(&self, repository: &str) -> Result<Option<VerifyRecord>, Error> {
        self.with("read", |connection| {
            connection
                .query_row(
                    "SELECT repository, depth, finished, damaged, error FROM verifies
                     WHERE repository = ?1 ORDER BY id DESC LIMIT 1",
                    params![repository],
                    |row| {
                        Ok(VerifyRecord {
                            repository: row.get(0)?,
                            depth: row.get(1)?,
                            finished: time(row.get(2)?),
                            damaged: unsigned(row.get(3)?),
                            error: row.get(4)?,
                        })
                    },
                )
                .optional()
        })
    }

    /// Remembers, before anything is moved, what a restore is about to move.
    pub(crate) fn restore_begins(
        &self,
        backup: &str,
        repository: &str,
        snapshot: &str,
        target: &Path,
        moves: &[Move],
        at: Timestamp,
    ) -> Result<i64, Error> {
        let moves = serde_json::to_string(moves).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                "write down the restore",
                error.to_string(),
            )
        })?;
        self.with("write to", |connection| {
            connection.execute(
                "INSERT INTO restores (backup, repository, snapshot, target, started, moves)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    backup,
                    repository,
                    snapshot,
                    target.display().to_string(),
                    at.as_millisecond(),
                    moves
                ],
            )?;
            Ok(connection.last_insert_rowid())
        })
    }

    /// Remembers that a restore is over, well or not.
    pub(crate) fn restore_ended(
        &self,
        id: i64,
        error: Option<&str>,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.with("write to", |connection| {
            connection.execute(
                "UPDATE restores SET finished = ?2, error = ?3 WHERE id = ?1",
                params![id, at.as_millisecond(), error],
            )
        })?;
        Ok(())
    }

    /// The restores of a backup that were killed, newest first.
    pub(crate) fn unfinished_restores(&self, backup: &str) -> Result<Vec<Unfinished>, Error> {
        self.with("read", |connection| {
            connection
                .prepare(
                    "SELECT id, moves FROM restores WHERE backup = ?1 AND finished IS NULL ORDER BY id DESC",
                )?
                .query_map(params![backup], |row| {
                    let moves: String = row.get(1)?;
                    Ok(Unfinished {
                        id: row.get(0)?,
                        moves: serde_json::from_str(&moves).unwrap_or_default(),
                    })
                })?
                .collect()
        })
    }

    /// When the repository was last pruned, and whether there is something to prune.
    pub(crate) fn upkeep(&self, repository: &str) -> Result<(Option<Timestamp>, bool), Error> {
        self.with("read", |connection| {
            connection
                .query_row(
                    "SELECT pruned, pending FROM upkeep WHERE repository = ?1",
                    params![repository],
                    |row| Ok((row.get::<_, Option<i64>>(0)?.map(time), row.get(1)?)),
                )
                .optional()
                .map(|found| found.unwrap_or((None, false)))
        })
    }

    /// Remembers a prune, or that there is something to prune.
    pub(crate) fn set_upkeep(
        &self,
        repository: &str,
        pruned: Option<Timestamp>,
        pending: bool,
    ) -> Result<(), Error> {
        self.with("write to", |connection| {
            connection.execute(
                "INSERT INTO upkeep (repository, pruned, pending) VALUES (?1, ?2, ?3)
                 ON CONFLICT (repository) DO UPDATE SET
                    pruned = coalesce(excluded.pruned, pruned), pending = excluded.pending",
                params![
                    repository,
                    pruned.map(jiff::Timestamp::as_millisecond),
                    pending
                ],
            )
        })?;
        Ok(())
    }
}

/// What the catalog says of a run that was killed.
pub(crate) const INTERRUPTED: &str = "interrupted: the process ended before the run did; nothing in the repository is broken by that";

/// `path` with something appended to its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn catalog_error(attempt: &str, error: &rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::DiskFull,
        Some(
            rusqlite::ErrorCode::PermissionDenied
            | rusqlite::ErrorCode::ReadOnly
            | rusqlite::ErrorCode::CannotOpen,
        ) => ErrorKind::Denied,
        _ => ErrorKind::Catalog,
    };
    Error::new(kind, attempt, error.to_string()).with_help(
        "check the state directory: owner, mode, free space; the catalog may be removed, the repositories hold everything",
    )
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn run_record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        backup: row.get("backup")?,
        repository: row.get("repository")?,
        started: time(row.get("started")?),
        finished: row.get::<_, Option<i64>>("finished")?.map(time),
        outcome: row
            .get::<_, Option<String>>("outcome")?
            .map(|text| Outcome::parse(&text)),
        error: row.get("error")?,
        help: row.get("help")?,
        warnings: unsigned(row.get("warnings")?),
        snapshot: row.get("snapshot")?,
        files: row.get::<_, Option<i64>>("files")?.map(unsigned),
        bytes: row.get::<_, Option<i64>>("bytes")?.map(unsigned),
        added: row.get::<_, Option<i64>>("added")?.map(unsigned),
        rows: row.get::<_, Option<i64>>("rows")?.map(unsigned),
    })
}

/// A state directory that cannot be used, in the words of this crate.
pub(crate) fn state_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        crate::error::kind_of_io(error),
        format!("use the state directory {}", path.display()),
        reason_of_io(error),
    )
    .with_help("check `[host] state` in the config, and owner and mode of the directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn end(catalog: &Catalog, run: i64, second: i64, outcome: Outcome) {
        let ending = Ending {
            at: at(second),
            outcome,
            error: (outcome != Outcome::Ok).then_some("why"),
            help: None,
            warnings: 0,
            snapshot: None,
            added: 0,
            rows: None,
        };
        catalog.end(run, &ending).unwrap();
    }

    #[test]
    fn runs_are_remembered_and_failures_dated() {
        let state = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        for (second, outcome) in [
            (10, Outcome::Failed),
            (20, Outcome::Ok),
            (30, Outcome::Partial),
            (40, Outcome::Failed),
        ] {
            let run = catalog.begin("db", "local", at(second)).unwrap();
            end(&catalog, run, second + 1, outcome);
        }
        let runs = catalog.runs("db", "local", 10, at(99)).unwrap();
        assert_eq!(runs.len(), 4);
        assert_eq!(runs[0].outcome, Some(Outcome::Failed));
        assert_eq!(
            catalog.good_runs("db", "local", 1, at(99)).unwrap()[0].started,
            at(20)
        );
        assert_eq!(
            catalog.failing_since("db", "local", at(99)).unwrap(),
            Some(at(30))
        );
        let run = catalog.begin("db", "local", at(50)).unwrap();
        end(&catalog, run, 51, Outcome::Ok);
        assert_eq!(catalog.failing_since("db", "local", at(99)).unwrap(), None);
        assert_eq!(
            catalog.failing_since("db", "offsite", at(99)).unwrap(),
            None
        );
    }

    #[test]
    fn a_killed_run_is_buried_as_failed() {
        let state = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        catalog.begin("db", "local", at(10)).unwrap();
        drop(catalog);
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        assert_eq!(
            catalog.runs("db", "local", 1, at(99)).unwrap()[0].finished,
            None
        );
        catalog.bury("db", at(99)).unwrap();
        let run = catalog.runs("db", "local", 1, at(99)).unwrap().remove(0);
        assert_eq!(run.outcome, Some(Outcome::Failed));
        assert!(run.error.unwrap().starts_with("interrupted"));
    }

    #[test]
    fn a_damaged_catalog_is_set_aside_and_a_newer_one_refused() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("catalog.db");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        assert!(catalog.runs("db", "local", 1, at(99)).unwrap().is_empty());
        let aside = std::fs::read_dir(state.path()).unwrap().flatten().any(|e| {
            e.file_name()
                .to_string_lossy()
                .contains(".damaged-19700101")
        });
        assert!(aside);
        catalog
            .lock()
            .execute_batch("PRAGMA user_version = 999")
            .unwrap();
        drop(catalog);
        let refused = Catalog::open(state.path(), at(0)).unwrap_err();
        assert!(refused.to_string().contains("newer version"), "{refused}");
    }
}

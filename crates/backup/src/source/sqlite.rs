//! A `SQLite` database, copied by its own backup interface while it is in use.
//!
//! The copy is made inside one read transaction. In WAL mode that is a fixed snapshot: writers are not
//! held up, and the copy never has to start over. In rollback-journal mode `SQLite` has no such
//! snapshot; the read lock is then held for the whole copy, and a writer's commit waits for it (the
//! only other way, copying in steps without a lock, starts over at every write and may never end).
//! The run says so when that took more than a second.
//!
//! The copy lands in a private staging file, is checked there, and is streamed into the snapshot as one
//! file under the name of the database. See <https://sqlite.org/backup.html>.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_base::hex;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

use super::files::{ancestors, meta};
use super::{Content, Context, DatabaseFacts, Entry, Facts, Issues, Meta, Reading, Source, Weight};
use crate::error::{Error, ErrorKind, reason_of_io};
use crate::progress::Progress;

/// How long to wait for a lock that another connection holds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pages copied between two looks at whether the caller wants to stop: 16 MiB of the usual size.
const STEP: i32 = 4096;

/// A `SQLite` database as a source.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// The database file at this absolute path.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Source for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error> {
        let copy = context.staging.join("database");
        let issues = Issues::default();
        let progress = context.progress;
        let metadata = self.metadata()?;
        self.copy(&copy, progress, &issues)?;
        progress.begin(
            &format!("Checking the copy of {}", self.path.display()),
            None,
        );
        let inspected = inspect(&copy).map_err(|why| self.error(why))?;
        progress.finish();
        for finding in &inspected.findings {
            issues.add(
                Weight::Missing,
                &self.path,
                format!("the database is damaged: {finding}"),
            );
        }
        let file_meta = Meta {
            size: inspected.facts.bytes,
            hard_link: None,
            ..meta(&self.path, &metadata, &issues)
        };
        issues.settle();
        Ok(Box::new(Copy {
            path: self.path.clone(),
            staged: copy,
            meta: file_meta,
            facts: inspected.facts,
            issues,
            progress: Arc::clone(progress),
        }))
    }
}

impl Sqlite {
    fn attempt(&self) -> String {
        format!("copy the database {}", self.path.display())
    }

    fn error(&self, why: rusqlite::Error) -> Error {
        database_error(self.attempt(), &why)
    }

    fn metadata(&self) -> Result<fs::Metadata, Error> {
        let metadata = fs::metadata(&self.path).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::SourceMissing,
                _ => ErrorKind::SourceUnreadable,
            };
            Error::new(kind, self.attempt(), reason_of_io(&error)).with_help(
                "check `sqlite.path` in the config; nothing was stored, and no older snapshot was removed",
            )
        })?;
        if metadata.is_file() {
            Ok(metadata)
        } else {
            Err(Error::new(
                ErrorKind::SourceUnreadable,
                self.attempt(),
                "it is not a file",
            ))
        }
    }

    fn copy(
        &self,
        copy: &Path,
        progress: &Arc<dyn Progress>,
        issues: &Issues,
    ) -> Result<(), Error> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(copy)
            .map_err(|error| Error::io("create a staging file", copy, &error))?;
        let source = self.connect().map_err(|why| self.error(why))?;
        let started = Instant::now();
        let result = copy_pages(&source, copy, progress, &self.path);
        let in_wal = result.map_err(|failure| match failure {
            CopyFailure::Database(why) => {
                // The staging disk is the likelier one to be full, and SQLite does not say which it was.
                database_error(self.attempt(), &why)
            }
            CopyFailure::Cancelled => Error::new(
                ErrorKind::Cancelled,
                self.attempt(),
                "the caller asked to stop",
            ),
        })?;
        progress.finish();
        if !in_wal && started.elapsed() > Duration::from_secs(1) {
            issues.add(
                Weight::Warning,
                &self.path,
                format!(
                    "it is not in WAL mode: commits had to wait for the copy, {:.1} s; `PRAGMA journal_mode=WAL` avoids that",
                    started.elapsed().as_secs_f64()
                ),
            );
        }
        Ok(())
    }

    /// Read-only where possible. A journal that a crash left behind can only be rolled back by a
    /// connection that may write, as the next reader of the program itself would do.
    fn connect(&self) -> rusqlite::Result<Connection> {
        let open = |flags| -> rusqlite::Result<Connection> {
            let connection =
                Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(PATIENCE)?;
            // The transaction begins with the first read.
            connection.execute_batch("BEGIN")?;
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(connection)
        };
        match open(OpenFlags::SQLITE_OPEN_READ_ONLY) {
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen)
                ) =>
            {
                open(OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            other => other,
        }
    }
}

enum CopyFailure {
    Database(rusqlite::Error),
    Cancelled,
}

impl From<rusqlite::Error> for CopyFailure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Copies all pages inside the transaction that `source` holds; says whether it is in WAL mode.
fn copy_pages(
    source: &Connection,
    copy: &Path,
    progress: &Arc<dyn Progress>,
    path: &Path,
) -> Result<bool, CopyFailure> {
    let journal: String = source.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let page_size = number(source, "PRAGMA page_size")?;
    let pages = number(source, "PRAGMA page_count")?;
    progress.begin(
        &format!("Copying the database {}", path.display()),
        Some(pages * page_size),
    );
    let mut target = Connection::open_with_flags(
        copy,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // A copy that a crash leaves half done is thrown away: it needs neither journal nor syncs.
    target.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    let backup = Backup::new(source, &mut target)?;
    let mut done = 0u64;
    loop {
        if progress.cancelled() {
            return Err(CopyFailure::Cancelled);
        }
        let result = backup.step(STEP)?;
        let state = backup.progress();
        let now = u64::try_from(state.pagecount - state.remaining).unwrap_or_default() * page_size;
        progress.advance(now.saturating_sub(done));
        done = done.max(now);
        match result {
            StepResult::Done => return Ok(journal == "wal"),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
    }
}

struct Copy {
    path: PathBuf,
    staged: PathBuf,
    meta: Meta,
    facts: DatabaseFacts,
    issues: Issues,
    progress: Arc<dyn Progress>,
}

impl Reading for Copy {
    fn root(&self) -> &Path {
        &self.path
    }

    fn total(&self) -> Option<u64> {
        Some(self.facts.bytes)
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        let mut entries = ancestors(&self.path, &self.issues);
        let copy = self.staged.clone();
        let path = self.path.clone();
        let issues = self.issues.clone();
        let progress = Arc::clone(&self.progress);
        entries.push_back(Entry {
            path: self.path.clone(),
            meta: self.meta.clone(),
            content: Content::File(Box::new(move || match File::open(&copy) {
                Ok(file) => Ok(Box::new(Cancellable { file, progress }) as Box<dyn Read + Send>),
                Err(error) => {
                    let what = format!("its staging copy: {}", reason_of_io(&error));
                    issues.add(Weight::Missing, &path, what);
                    Err(error)
                }
            })),
        });
        Box::new(entries.into_iter())
    }

    fn take_issues(&self) -> Vec<super::Issue> {
        self.issues.take()
    }

    fn facts(&self) -> Facts {
        Facts {
            kind: "sqlite".to_owned(),
            database: Some(self.facts.clone()),
            ..Facts::default()
        }
    }

    fn rows(&self) -> Option<u64> {
        Some(self.facts.tables.values().sum())
    }

    /// The pages of a database change without its times telling anything.
    fn unchanged_by_times(&self) -> bool {
        false
    }
}

/// A staging copy as a stream that ends with an error when the caller wants to stop.
pub(super) struct Cancellable {
    pub(super) file: File,
    pub(super) progress: Arc<dyn Progress>,
}

impl Read for Cancellable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

/// What a look at a database file gives.
pub(crate) struct Inspected {
    pub(crate) facts: DatabaseFacts,
    /// What `PRAGMA integrity_check` says, unless it is "ok".
    pub(crate) findings: Vec<String>,
}

/// Checks a database file that nobody uses, without writing anything beside it.
pub(crate) fn inspect(path: &Path) -> rusqlite::Result<Inspected> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    // Immutable: no locks, no journal, and no -wal and -shm files for a database in WAL mode.
    uri.push_str("?immutable=1");
    let connection = Connection::open_with_flags(
        uri,
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // Some damage makes the check itself fail: that is an answer too.
    let findings = integrity(&connection).or_else(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => Ok(vec![error.to_string()]),
        _ => Err(error),
    })?;
    let pages = number(&connection, "PRAGMA page_count")?;
    let tables = count_rows(&connection);
    let hashed = digest(path).map_err(|error| {
        rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_READ),
            Some(reason_of_io(&error)),
        )
    })?;
    Ok(Inspected {
        facts: DatabaseFacts {
            bytes: hashed.0,
            pages,
            sha256: hashed.1,
            tables,
        },
        findings: findings.into_iter().filter(|line| line != "ok").collect(),
    })
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("PRAGMA integrity_check(20)")?
        .query_map([], |row| row.get::<_, String>(0))?
        .collect()
}

/// The one number that a statement gives.
fn number(connection: &Connection, statement: &str) -> rusqlite::Result<u64> {
    let value: i64 = connection.query_row(statement, [], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or_default())
}

/// Rows of each ordinary table. A table that cannot be counted (a virtual one whose module is not
/// here) is left out: the counts are for people, the digest is the proof.
fn count_rows(connection: &Connection) -> BTreeMap<String, u64> {
    let names = connection
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| {
            let quoted = name.replace('"', "\"\"");
            let count = number(connection, &format!("SELECT count(*) FROM \"{quoted}\"")).ok()?;
            Some((name, count))
        })
        .collect()
}

/// Size and SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    Ok((size, hex(&hasher.finalize())))
}

/// An error of `SQLite` in the words of this crate.
pub(crate) fn database_error(attempt: String, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(Code::NotADatabase) => Error::new(
            ErrorKind::SourceUnreadable,
            attempt,
            "it is not a SQLite database, or it is encrypted",
        )
        .with_help("check the path in the config"),
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => Error::new(
            ErrorKind::SourceUnreadable,
            attempt,
            format!("another program kept it locked for {} s", PATIENCE.as_secs()),
        )
        .with_help("try again; `PRAGMA journal_mode=WAL` lets backups and writers work side by side"),
        Some(Code::DiskFull) => Error::new(ErrorKind::DiskFull, attempt, reason).with_help(
            "the copy needs as much room in the state directory as the database has; free some and try again",
        ),
        Some(Code::PermissionDenied | Code::ReadOnly | Code::CannotOpen) => {
            Error::new(ErrorKind::Denied, attempt, reason)
                .with_help("check owner and mode of the file and of the directory it is in")
        }
        Some(Code::DatabaseCorrupt) => Error::new(ErrorKind::SourceUnreadable, attempt, reason)
            .with_help("the database is damaged; restore the last good snapshot with `mainstay backup restore`"),
        _ => Error::new(ErrorKind::SourceUnreadable, attempt, reason),
    }
}

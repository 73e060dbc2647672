//! A `SQLite` database of our own: made if need be, brought to its schema, and set aside when it is
//! damaged, because what is written next is worth more than what cannot be read.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Error, ErrorCode, TransactionBehavior, ffi};

/// How long another process may hold it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a database cannot be used.
#[derive(Debug)]
pub enum Trouble {
    /// The file, or one beside it, cannot be made or moved.
    File(PathBuf, io::Error),
    /// `SQLite` says why.
    Database(PathBuf, Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "cannot open {}: {error}", path.display()),
            Self::Database(path, error) => write!(f, "cannot open {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Trouble {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(_, error) => Some(error),
            Self::Database(_, error) => Some(error),
        }
    }
}

/// Opens the database at this path, 0600 when it is made, with what was acknowledged on disk for good.
///
/// `prepare` brings it to its schema and looks whether it is whole. When what fails is [damage] to what
/// is in it, the file is renamed to `NAME.damaged-TIME`, a new one is begun, and the second part says
/// so: `/state/x.db was damaged (why) and is now /state/x.db.damaged-…`.
///
/// [damage]: is_damage
pub fn open(
    path: &Path,
    now: Timestamp,
    mut prepare: impl FnMut(&mut Connection) -> rusqlite::Result<()>,
) -> Result<(Connection, Option<String>), Trouble> {
    let mut connect = || {
        // SQLite gives its -wal and -shm the mode of the database.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| Trouble::File(path.to_owned(), error))?;
        let mut open = || {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // The log of changes is cut back, so that a storm does not leave a large file behind.
            connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            prepare(&mut connection)?;
            Ok(connection)
        };
        open().map_err(|error| Trouble::Database(path.to_owned(), error))
    };
    let error = match connect() {
        Ok(connection) => return Ok((connection, None)),
        Err(Trouble::Database(_, error)) if is_damage(&error) => error,
        Err(trouble) => return Err(trouble),
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(now.strftime(".damaged-%Y%m%dT%H%M%SZ").to_string());
    for suffix in ["", "-wal", "-shm"] {
        let (mut from, mut to) = (path.as_os_str().to_owned(), aside.clone());
        from.push(suffix);
        to.push(suffix);
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Trouble::File(from.into(), error));
            }
            _ => {}
        }
    }
    let damage = format!(
        "{} was damaged ({error}) and is now {}",
        path.display(),
        Path::new(&aside).display()
    );
    Ok((connect()?, Some(damage)))
}

/// Brings a database to the newest schema. Each migration brings it from the version of its index to
/// the next; all of them, or none. One that is newer than all is left as it is, which the answer says.
pub fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<Fit> {
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    for migration in migrations.iter().skip(version) {
        transaction.execute_batch(migration)?;
    }
    if version < migrations.len() {
        let latest = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", latest)?;
    }
    transaction.commit()?;
    Ok(if version > migrations.len() {
        Fit::Newer
    } else {
        Fit::Same
    })
}

/// How a database fits this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a newer one may not be what is expected"]
pub enum Fit {
    /// It has the schema of this program.
    Same,
    /// A newer program made it.
    Newer,
}

/// Fails for a database that is damaged, indexes included: one that only fails when it is written to
/// would be opened again and again. Reads all of it.
pub fn check(connection: &Connection) -> rusqlite::Result<()> {
    is_ok(connection, "PRAGMA integrity_check(1)")
}

/// The same without a comparison of indexes with tables, in a fraction of the time.
pub fn check_quickly(connection: &Connection) -> rusqlite::Result<()> {
    is_ok(connection, "PRAGMA quick_check(1)")
}

fn is_ok(connection: &Connection, check: &str) -> rusqlite::Result<()> {
    let said: String = connection.query_row(check, [], |row| row.get(0))?;
    if said == "ok" {
        return Ok(());
    }
    let corrupt = ffi::Error::new(ffi::SQLITE_CORRUPT);
    Err(Error::SqliteFailure(corrupt, Some(said)))
}

/// Whether an error is about what is in the file, and not about the way to it.
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(error, _) => matches!(
            error.code,
            // `Unknown` is what a statement of ours gets that does not fit the tables.
            ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::Unknown
                // A damaged length reads as one that is larger than any.
                | ErrorCode::TooBig
        ),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &[&str] = &["CREATE TABLE t (a INTEGER) STRICT"];
    const TWO: &[&str] = &[
        "CREATE TABLE t (a INTEGER) STRICT",
        "ALTER TABLE t ADD COLUMN b INTEGER; INSERT INTO t VALUES (7, 8)",
    ];

    fn opened(path: &Path, migrations: &[&str]) -> (Connection, Option<String>) {
        open(path, Timestamp::UNIX_EPOCH, |connection| {
            assert_eq!(migrate(connection, migrations)?, Fit::Same);
            check(connection)
        })
        .unwrap()
    }

    fn sum(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT coalesce(sum(b), 0) FROM t", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_database_is_private_and_brought_to_its_schema_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        drop(opened(&path, ONE));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for _ in 0..2 {
            let (connection, damage) = opened(&path, TWO);
            assert_eq!((sum(&connection), damage), (8, None));
        }
        // An older program meets it.
        let (mut connection, _) = open(&path, Timestamp::UNIX_EPOCH, |_| Ok(())).unwrap();
        assert_eq!(migrate(&mut connection, ONE).unwrap(), Fit::Newer);
        assert_eq!(sum(&connection), 8);
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let (mut connection, _) = opened(&path, ONE);
        let broken = [ONE[0], "ALTER TABLE t ADD COLUMN b INTEGER", "nonsense"];
        assert!(migrate(&mut connection, &broken).is_err());
        assert_eq!(migrate(&mut connection, TWO).unwrap(), Fit::Same);
        assert_eq!(sum(&connection), 8);
    }

    #[test]
    fn what_is_damaged_is_set_aside_and_what_cannot_be_reached_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        fs::write(&path, vec![7; 8192]).unwrap();
        let (connection, damage) = opened(&path, TWO);
        assert_eq!(sum(&connection), 8);
        let damage = damage.unwrap();
        assert!(
            damage.contains("is now") && damage.contains(".damaged-19700101"),
            "{damage}"
        );
        let aside = directory.path().join("x.db.damaged-19700101T000000Z");
        assert_eq!(fs::read(aside).unwrap(), vec![7; 8192]);
        let nowhere = directory.path().join("none/x.db");
        let trouble = open(&nowhere, Timestamp::UNIX_EPOCH, |_| Ok(())).unwrap_err();
        assert!(matches!(trouble, Trouble::File(..)), "{trouble}");
        let denied = open(&path, Timestamp::UNIX_EPOCH, |_| {
            Err(Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_FULL),
                None,
            ))
        });
        assert!(matches!(denied, Err(Trouble::Database(..))));
        assert!(path.exists());
    }
}

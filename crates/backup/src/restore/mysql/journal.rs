//! How far a restore is, kept on the server itself: a file of rows and the word that it is loaded are
//! one transaction, so that nothing is loaded twice, whoever was killed in between.

use std::collections::BTreeMap;

use mainstay_mysql::Connection;

use super::server::Server;
use crate::error::{Error, ErrorKind};
use crate::source::mysql::{Tally, literal, name};

/// The number of no file: the table is complete, with its keys.
pub(super) const COMPLETE: i64 = -1;
/// How long is waited for the sessions of one that was killed, in seconds.
const PATIENCE: u32 = 60;

/// The tables that say how far it is.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    state: String,
}

/// What is loaded of each table, by the numbers of tables and files.
pub(super) type Loaded = BTreeMap<usize, BTreeMap<i64, Tally>>;

impl Journal {
    pub(super) fn new(state: &str) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn table(&self, table: &str) -> String {
        format!("{}.{table}", name(&self.state))
    }

    /// What was noted under this name, if anything was.
    pub(super) fn read(
        &self,
        server: &Server,
        connection: &mut Connection,
        what: &str,
    ) -> Result<Option<String>, Error> {
        let known = server.texts(
            connection,
            "read how far it is",
            &format!(
                "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = 'notes'",
                literal(&self.state)
            ),
        )?;
        if known.is_empty() {
            return Ok(None);
        }
        let rows = server.texts(
            connection,
            "read how far it is",
            &format!(
                "SELECT note FROM {} WHERE what = {}",
                self.table("notes"),
                literal(what)
            ),
        )?;
        Ok(rows.into_iter().flatten().next())
    }

    /// Notes something, in place of what was noted under this name.
    pub(super) fn note(
        &self,
        server: &Server,
        connection: &mut Connection,
        what: &str,
        note: &str,
    ) -> Result<(), Error> {
        server.run(
            connection,
            "note how far it is",
            &format!(
                "REPLACE INTO {} VALUES ({}, {})",
                self.table("notes"),
                literal(what),
                literal(note)
            ),
        )
    }

    /// Makes the tables, if they are not there.
    pub(super) fn create(&self, server: &Server, connection: &mut Connection) -> Result<(), Error> {
        for statement in [
            format!(
                "CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4",
                name(&self.state)
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (what VARCHAR(190) PRIMARY KEY, note LONGTEXT NOT NULL) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                self.table("notes")
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (t INT NOT NULL, f INT NOT NULL, row_count BIGINT UNSIGNED NOT NULL, bytes BIGINT UNSIGNED NOT NULL, digest CHAR(32) NOT NULL, PRIMARY KEY (t, f)) ENGINE=InnoDB CHARACTER SET ascii",
                self.table("files")
            ),
        ] {
            server.run(
                connection,
                "make the tables that say how far it is",
                &statement,
            )?;
        }
        Ok(())
    }

    /// The statement that says that a file of rows, or with [`COMPLETE`] a table, is loaded.
    pub(super) fn loaded(&self, table: usize, file: i64, tally: &Tally) -> String {
        format!(
            "INSERT INTO {} VALUES ({table}, {file}, {}, {}, '{}')",
            self.table("files"),
            tally.rows,
            tally.bytes,
            tally.digest()
        )
    }

    /// Takes back what was said of a table.
    pub(super) fn forget(
        &self,
        server: &Server,
        connection: &mut Connection,
        table: usize,
    ) -> Result<(), Error> {
        let statement = format!("DELETE FROM {} WHERE t = {table}", self.table("files"));
        server.run(connection, "note how far it is", &statement)
    }

    /// What is loaded.
    pub(super) fn files(
        &self,
        server: &Server,
        connection: &mut Connection,
    ) -> Result<Loaded, Error> {
        let mut loaded = Loaded::new();
        for row in server.texts(
            connection,
            "read how far it is",
            &format!(
                "SELECT t, f, row_count, bytes, digest FROM {}",
                self.table("files")
            ),
        )? {
            let parsed = || -> Option<(usize, i64, Tally)> {
                let [table, file, rows, bytes, digest] = row.as_slice() else {
                    return None;
                };
                Some((
                    table.parse().ok()?,
                    file.parse().ok()?,
                    Tally::noted(rows.parse().ok()?, bytes.parse().ok()?, digest)?,
                ))
            };
            let Some((table, file, tally)) = parsed() else {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    &server.attempt,
                    format!("{} has a row that is not ours", self.table("files")),
                )
                .with_help(format!("begin anew: DROP DATABASE {}", name(&self.state))));
            };
            loaded.entry(table).or_default().insert(file, tally);
        }
        Ok(loaded)
    }

    /// Keeps others from doing the same on this connection, or says who does.
    pub(super) fn lock(&self, server: &Server, connection: &mut Connection) -> Result<(), Error> {
        let lock = literal(&self.state);
        let doing = "have it for this restore alone";
        let got = server.texts(connection, doing, &format!("SELECT GET_LOCK({lock}, 5)"))?;
        if got.first().is_some_and(|row| row[0] == "1") {
            return Ok(());
        }
        let holder = server.texts(connection, doing, &format!("SELECT IS_USED_LOCK({lock})"))?;
        let holder = holder.into_iter().flatten().next().unwrap_or_default();
        Err(Error::new(
            ErrorKind::Locked,
            &server.attempt,
            format!("connection {holder} of that server is at the same restore"),
        )
        .with_help(format!(
            "wait until it is done; if its host is gone, KILL {holder} on the server"
        )))
    }

    /// Marks a session as one that works for this restore, after it ended one of the same number that
    /// a killed process left behind: a statement goes on after whoever sent it is gone.
    pub(super) fn enlist(
        &self,
        server: &Server,
        connection: &mut Connection,
        number: usize,
    ) -> Result<(), Error> {
        let lock = literal(&format!("{}.{number}", self.state));
        let doing = "end what an earlier restore left at work";
        let take = |connection: &mut Connection, patience: u32| {
            let got = server.texts(
                connection,
                doing,
                &format!("SELECT GET_LOCK({lock}, {patience})"),
            )?;
            Ok::<bool, Error>(got.first().is_some_and(|row| row[0] == "1"))
        };
        if take(connection, 0)? {
            return Ok(());
        }
        let holder = server.texts(connection, doing, &format!("SELECT IS_USED_LOCK({lock})"))?;
        if let Some(holder) = holder.into_iter().flatten().next()
            && !holder.is_empty()
        {
            // It may be gone by now.
            let _ = connection.run(&format!("KILL {holder}"));
        }
        if take(connection, PATIENCE)? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Locked,
            &server.attempt,
            "a statement of an earlier restore does not end",
        )
        .with_help("SHOW FULL PROCESSLIST on the server shows it; try again when it is gone"))
    }

    /// Removes everything.
    pub(super) fn remove(&self, server: &Server, connection: &mut Connection) -> Result<(), Error> {
        let statement = format!("DROP DATABASE IF EXISTS {}", name(&self.state));
        server.run(
            connection,
            "remove the tables that said how far it is",
            &statement,
        )
    }
}

//! A server of `MySQL` or `MariaDB`: everything in it, as of one moment.
//!
//! The snapshot is a tree without any file on disk behind it: `data/DATABASE/TABLE/000000.tsv` and so
//! on are rows (see `lines.rs`), and `manifest.json` says what the server was, how everything in it is
//! made, and how many rows of what digest each table has. Nothing is dumped to a local file; what is
//! read on several connections is in memory until it is stored.

mod chunks;
mod lines;
mod manifest;
mod moment;
mod objects;
mod physical;
mod preflight;
mod recount;
mod tallies;
pub mod xbstream;

use std::fmt;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use mainstay_base::Resolver;
use mainstay_mysql::{Connection, ErrorKind as Trouble, Options};

use super::{Content, Context, Entry, Facts, Issues, Meta, Reading, ServerFacts, Source, Weight};
use crate::config::MysqlConfig;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use chunks::{Coming, Piece, Pool};
use moment::Moment;
use objects::{Found, Plan};

pub(crate) use lines::Tally;
pub use manifest::{Column, Consistency, Database, Load, Manifest, Object, Position, Table, User};
pub use objects::Selection;
pub(crate) use objects::{definitions, user};
pub(crate) use physical::Tool;
pub use physical::{Physical, PhysicalFacts};
pub(crate) use recount::Recount;
pub(crate) use tallies::tallies;

/// The name of the file that says what the others are.
pub const MANIFEST: &str = "manifest.json";

/// A server as a source.
#[derive(Debug, Clone)]
pub struct Mysql {
    options: Options,
    root: PathBuf,
    selection: Selection,
    users: bool,
    connections: usize,
}

/// What went wrong with the server.
pub(crate) enum Failure {
    Server(mainstay_mysql::Error),
    Other(String, Option<String>),
}

impl Failure {
    fn other(reason: impl Into<String>) -> Self {
        Self::Other(reason.into(), None)
    }

    fn odd(what: &str) -> Self {
        Self::Other(format!("{what} has another form than is known here"), None)
    }

    fn held_up(patience: std::time::Duration) -> Self {
        Self::Other(
            format!(
                "the read lock that makes all connections see one moment was not had within {} s, and given up so that nobody is held up for longer",
                patience.as_secs()
            ),
            Some("a statement that runs for long is in the way: `SHOW FULL PROCESSLIST` shows it; run the backup when it is done".to_owned()),
        )
    }
}

impl From<mainstay_mysql::Error> for Failure {
    fn from(error: mainstay_mysql::Error) -> Self {
        Self::Server(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => f.write_str(error.reason()),
            Self::Other(reason, _) => f.write_str(reason),
        }
    }
}

/// Numbers of errors that say that a right is missing.
pub(crate) const RIGHTS: [u16; 8] = [1044, 1045, 1142, 1143, 1227, 1370, 1410, 1698];

/// What the names of databases begin with in which a restore is under way. They are nobody's data.
pub(crate) const SCRATCH: &str = "mainstay_restore_";

/// An identifier in a statement.
pub(crate) fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// A text in a statement, for a session without `NO_BACKSLASH_ESCAPES`.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The name of a database or table as that of a directory: a slash, a percent sign, control
/// characters and a dot in front are written as `%2F` and so on.
pub(crate) fn file_name(text: &str) -> String {
    use fmt::Write;
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        if c == '/' || c == '%' || c.is_ascii_control() || (at == 0 && c == '.') {
            let _ = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Reads all rows of a statement as text; NULL is empty.
pub(crate) fn texts(
    connection: &mut Connection,
    statement: &str,
) -> Result<Vec<Vec<String>>, Failure> {
    let text = |cell: Option<Vec<u8>>| {
        String::from_utf8(cell.unwrap_or_default())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    };
    Ok(connection
        .fetch(statement)?
        .into_iter()
        .map(|row| row.into_iter().map(text).collect())
        .collect())
}

impl Mysql {
    /// The server of a config; its password is read now.
    pub fn new(config: &MysqlConfig, resolver: &Resolver) -> Result<Self, Error> {
        let mut options = Options::new(config.endpoint.clone(), config.user.clone());
        if let Some(password) = &config.password {
            options.password = password.read("mysql.password", resolver).map_err(|error| {
                let attempt = format!("log in to the server at {}", config.endpoint);
                Error::new(ErrorKind::Secret, attempt, error.to_string()).with_help(error.help())
            })?;
        }
        options.tls.clone_from(&config.tls);
        options.server_key.clone_from(&config.server_key);
        Ok(Self {
            options,
            root: config.path.clone(),
            selection: config.selection.clone(),
            users: config.users,
            connections: config.connections,
        })
    }

    /// How to get to the server.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    fn error(&self, failure: Failure) -> Error {
        let attempt = format!(
            "back up the server at {} as `{}`",
            self.options.endpoint, self.options.user
        );
        match failure {
            Failure::Other(reason, help) => {
                let error = Error::new(ErrorKind::SourceUnreadable, attempt, reason);
                match help {
                    Some(help) => error.with_help(help),
                    None => error,
                }
            }
            Failure::Server(error) => {
                let rights = error.code().is_some_and(|code| RIGHTS.contains(&code));
                let kind = match error.kind() {
                    _ if rights => ErrorKind::Denied,
                    Trouble::Connect => ErrorKind::SourceMissing,
                    _ => ErrorKind::SourceUnreadable,
                };
                let made = Error::new(kind, attempt, error.reason());
                match error.help() {
                    Some(help) => made.with_help(help),
                    None if rights => made.with_help(
                        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD, PROCESS, REPLICATION CLIENT ON *.* TO it (MySQL also BACKUP_ADMIN and SHOW_ROUTINE, MariaDB also BINLOG ADMIN)",
                    ),
                    None => made.with_help("nothing was stored, and no older snapshot was removed"),
                }
            }
        }
    }

    fn look(&self, progress: &Arc<dyn Progress>) -> Result<Server, Failure> {
        progress.begin(&format!("Looking at {}", self.options.endpoint), None);
        // One looks things up, the others read.
        let mut moment = Moment::take(&self.options, self.connections.max(1) + 1)?;
        let issues = Issues::default();
        // Not one of those: definitions belong to no moment, and system tables of MariaDB that were
        // read in a transaction keep it from giving back the locks on what else was read in it.
        let mut catalog = moment::connect(&self.options)?;
        let version = catalog.version().clone();
        let found = Found::look(&mut catalog, &self.selection, self.users)?;
        drop(catalog);
        for (path, what) in found.missing {
            issues.add(Weight::Missing, &self.root.join(path), what);
        }
        for (path, what) in found.warnings {
            issues.add(Weight::Warning, &self.root.join(path), what);
        }
        for what in moment.warnings {
            issues.add(Weight::Warning, &self.root, what);
        }
        issues.settle();
        for connection in &mut moment.connections {
            connection.run(chunks::HOLD)?;
            // Text as it is stored, not as a client would like to have it.
            connection.run("SET SESSION character_set_results = NULL")?;
        }
        progress.finish();
        let taken = moment.taken.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Server {
            root: self.root.clone(),
            manifest: Manifest {
                format: manifest::FORMAT,
                mariadb: version.is_mariadb(0, 0),
                server: version.text,
                taken: moment.taken,
                consistency: moment.consistency,
                position: moment.position,
                databases: found.databases,
                users: found.users,
            },
            taken,
            plans: Arc::new(found.plans),
            pool: Arc::new(Mutex::new(moment.connections)),
            _holder: moment.holder.map(Mutex::new),
            issues,
            progress: Arc::clone(progress),
            rows: Arc::default(),
        })
    }
}

impl Source for Mysql {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error> {
        match self.look(context.progress) {
            Ok(server) => Ok(Box::new(server)),
            Err(failure) => Err(self.error(failure)),
        }
    }
}

/// A server at one moment.
struct Server {
    root: PathBuf,
    /// Without counts and digests, which are known when all is read.
    manifest: Manifest,
    taken: Timestamp,
    plans: Arc<Vec<Plan>>,
    pool: Pool,
    _holder: Option<Mutex<Connection>>,
    issues: Issues,
    progress: Arc<dyn Progress>,
    /// Of the last repository that read all of it.
    rows: Arc<Mutex<Option<u64>>>,
}

impl Reading for Server {
    fn root(&self) -> &Path {
        &self.root
    }

    /// The estimates of servers are wrong by half.
    fn total(&self) -> Option<u64> {
        None
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        let started = chunks::start(&self.plans, &self.pool, &self.progress);
        let (coming, threads) = match started {
            Ok(started) => (Some(started.coming), started.threads),
            Err(failure) => {
                self.issues
                    .add(Weight::Missing, &self.root, failure.to_string());
                (None, Vec::new())
            }
        };
        Box::new(Entries {
            root: self.root.clone(),
            taken: self.taken,
            manifest: Some(self.manifest.clone()),
            tallies: vec![Tally::default(); self.plans.len()],
            plans: Arc::clone(&self.plans),
            coming,
            threads,
            current: None,
            directories: vec![PathBuf::from("data"), PathBuf::new()],
            entered: PathBuf::from("data"),
            table: None,
            number: 0,
            issues: self.issues.clone(),
            rows: Arc::clone(&self.rows),
        })
    }

    fn rows(&self) -> Option<u64> {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_issues(&self) -> Vec<super::Issue> {
        self.issues.take()
    }

    fn facts(&self) -> Facts {
        Facts {
            kind: "mysql".to_owned(),
            server: Some(ServerFacts {
                version: self.manifest.server.clone(),
                taken: self.manifest.taken.clone(),
                databases: self.manifest.databases.len() as u64,
                tables: self.plans.len() as u64,
                position: self.manifest.position.clone(),
                stall_us: Some(self.manifest.consistency.stall_us),
            }),
            ..Facts::default()
        }
    }

    fn unchanged_by_times(&self) -> bool {
        false
    }
}

/// The tree, as it comes from the readers.
struct Entries {
    root: PathBuf,
    taken: Timestamp,
    /// Taken when it is given.
    manifest: Option<Manifest>,
    tallies: Vec<Tally>,
    plans: Arc<Vec<Plan>>,
    coming: Option<Receiver<Coming>>,
    threads: Vec<JoinHandle<()>>,
    current: Option<Coming>,
    /// Directories to be given next, the last one first, relative to the root.
    directories: Vec<PathBuf>,
    /// The directory of a database or table that was given last.
    entered: PathBuf,
    table: Option<usize>,
    number: u32,
    issues: Issues,
    rows: Arc<Mutex<Option<u64>>>,
}

impl Entries {
    fn directory(&self, path: &Path) -> Entry {
        Entry {
            // Joining an empty path would add a slash.
            path: if path.as_os_str().is_empty() {
                self.root.clone()
            } else {
                self.root.join(path)
            },
            meta: Meta {
                mode: 0o700,
                ..Meta::synthetic(0, self.taken)
            },
            content: Content::Directory,
        }
    }

    fn file(&self, path: PathBuf, bytes: Vec<u8>) -> Entry {
        Entry {
            path,
            meta: Meta::synthetic(bytes.len() as u64, self.taken),
            content: Content::File(Box::new(move || {
                Ok(Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>)
            })),
        }
    }

    /// Puts the directories of a table in front, unless they were given.
    fn enter(&mut self, table: usize) {
        if self.table == Some(table) {
            return;
        }
        self.table = Some(table);
        self.number = 0;
        let Some(plan) = self.plans.get(table) else {
            return;
        };
        let path = PathBuf::from(&plan.data);
        let mut path_of = Some(path.as_path());
        while let Some(directory) = path_of
            && !self.entered.starts_with(directory)
        {
            self.directories.push(directory.to_owned());
            path_of = directory.parent();
        }
        self.entered = path;
    }

    fn finished(&mut self, mut manifest: Manifest) -> Option<Entry> {
        let tables = manifest
            .databases
            .iter_mut()
            .flat_map(|database| &mut database.tables);
        for (table, tally) in tables.zip(&self.tallies) {
            table.rows = tally.rows;
            table.bytes = tally.bytes;
            table.digest = tally.digest();
        }
        let rows = self.tallies.iter().map(|tally| tally.rows).sum();
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = Some(rows);
        let path = self.root.join(MANIFEST);
        match serde_json::to_vec_pretty(&manifest) {
            Ok(bytes) => Some(self.file(path, bytes)),
            Err(error) => {
                self.issues.add(Weight::Missing, &path, error.to_string());
                None
            }
        }
    }
}

impl Drop for Entries {
    /// Waits until the connections are back: another repository may read from them next.
    fn drop(&mut self) {
        self.current = None;
        self.coming = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(directory) = self.directories.pop() {
                return Some(self.directory(&directory));
            }
            let Some(current) = &self.current else {
                let next = self.coming.as_ref().and_then(|coming| coming.recv().ok());
                let Some(next) = next else {
                    self.coming = None;
                    let manifest = self.manifest.take()?;
                    return self.finished(manifest);
                };
                self.enter(next.table);
                self.current = Some(next);
                continue;
            };
            let table = current.table;
            let (Some(plan), Some(tally)) = (self.plans.get(table), self.tallies.get_mut(table))
            else {
                self.current = None;
                continue;
            };
            let directory = self.root.join(&plan.data);
            match current.pieces.recv() {
                Err(_) => self.current = None,
                Ok(Piece::Failed(failure)) => {
                    self.issues
                        .add(Weight::Missing, &directory, chunks::told(&failure));
                    self.current = None;
                }
                Ok(Piece::Rows(bytes, of_piece)) => {
                    tally.add(&of_piece);
                    let path = chunks::file(&directory, self.number);
                    self.number += 1;
                    return Some(self.file(path, bytes));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_names_of_files() {
        for (name, file) in [
            ("orders", "orders"),
            ("../x", "%2E./x".replace('/', "%2F").as_str()),
            ("a/b%c", "a%2Fb%25c"),
            ("注文 `x'", "注文 `x'"),
            ("tab\t", "tab%09"),
        ] {
            assert_eq!(file_name(name), file);
        }
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
        assert_eq!(name("a`b"), "`a``b`");
    }
}

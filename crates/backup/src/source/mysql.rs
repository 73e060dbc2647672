//! A server of `MySQL` or `MariaDB`: everything in it, as of one moment.
//!
//! The snapshot is a tree without any file on disk behind it: `data/DATABASE/TABLE/000000.tsv` and so
//! on are rows (see `lines.rs`), and `manifest.json` says what the server was, how everything in it is
//! made, and how many rows of what digest each table has. Nothing is dumped to a local file; what is
//! read on several connections is in memory until it is stored.

mod chunks;
mod identity;
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
pub(crate) use objects::{definitions, programs, user};
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

/// How long it is waited before a server whose tables were altered meanwhile is read again, each time.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What went wrong with the server.
pub(crate) enum Failure {
    Server(mainstay_mysql::Error),
    /// Another table has the name that this one had.
    Renamed,
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

    /// Whether somebody altered, renamed or removed something since it was listed.
    fn is_torn(&self) -> bool {
        match self {
            Self::Server(error) => error.code().is_some_and(|code| TORN.contains(&code)),
            Self::Renamed => true,
            Self::Other(..) => false,
        }
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
            Self::Server(error) if error.code() == Some(ALTERED) => {
                f.write_str("it was altered since the moment that is stored")
            }
            Self::Server(error) => f.write_str(error.reason()),
            Self::Renamed => {
                f.write_str("another table has its name since the moment that is stored")
            }
            Self::Other(reason, _) => f.write_str(reason),
        }
    }
}

/// Numbers of errors that say that a right is missing.
pub(crate) const RIGHTS: [u16; 8] = [1044, 1045, 1142, 1143, 1227, 1370, 1410, 1698];

/// `Table definition has changed`
const ALTERED: u16 = 1412;

/// Numbers of errors that say that something is not there, or not as it was listed: an unknown database,
/// column, table or key, an object of another kind, a routine, trigger or event that is gone.
const TORN: [u16; 11] = [
    ALTERED, 1049, 1054, 1146, 1176, 1305, 1347, 1360, 1539, 1615, 1932,
];

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
            Failure::Renamed => {
                Error::new(ErrorKind::SourceUnreadable, attempt, failure.to_string())
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

    /// Looks at everything as of one moment; the second is what was altered meanwhile.
    fn look(
        &self,
        issues: &Issues,
        progress: &Arc<dyn Progress>,
    ) -> Result<(Shot, Vec<Tear>), Failure> {
        progress.begin(&format!("Looking at {}", self.options.endpoint), None);
        // Not one of those below: definitions belong to no moment, and system tables of MariaDB that were
        // read in a transaction keep it from giving back the locks on what else was read in it.
        let mut catalog = moment::connect(&self.options)?;
        let version = catalog.version().clone();
        let before = identity::numbers(&mut catalog)?;
        // One looks things up, the others read.
        let mut moment = Moment::take(&self.options, self.connections.max(1) + 1)?;
        let mut found = Found::look(&mut catalog, &self.selection, self.users)?;
        let mut tears: Vec<Tear> = found
            .torn
            .drain(..)
            .map(|(path, failure)| (self.root.join(path), failure.to_string()))
            .collect();
        if let (Some(before), Some(mut after)) = (before, identity::numbers(&mut catalog)?) {
            for (database, table) in identity::moved(&before, &after, &self.selection) {
                let path = format!("data/{}/{}", file_name(&database), file_name(&table));
                let why = "it was altered, renamed or dropped in the moment that is stored";
                tears.push((self.root.join(path), why.to_owned()));
            }
            for plan in &mut found.plans {
                let key = (plan.database.clone(), plan.table.clone());
                if let Some(identity) = &mut plan.identity {
                    identity.numbers = after.remove(&key);
                }
            }
        }
        let folds = texts(&mut catalog, "SELECT @@lower_case_table_names")? != [["0"]];
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
        for connection in &mut moment.connections {
            connection.run(chunks::HOLD)?;
            // Text as it is stored, not as a client would like to have it.
            connection.run("SET SESSION character_set_results = NULL")?;
        }
        progress.finish();
        let shot = Shot {
            taken: moment.taken.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            manifest: Manifest {
                format: manifest::FORMAT,
                mariadb: version.is_mariadb(0, 0),
                folds,
                server: version.text,
                taken: moment.taken,
                consistency: moment.consistency,
                position: moment.position,
                databases: found.databases,
                users: found.users,
            },
            plans: Arc::new(found.plans),
            pool: Arc::new(Mutex::new(moment.connections)),
            holder: moment.holder,
        };
        Ok((shot, tears))
    }

    /// Looks until nothing is altered meanwhile, as long as there are tries left.
    fn settle(
        &self,
        tries: &mut Tries,
        issues: &Issues,
        progress: &Arc<dyn Progress>,
    ) -> Result<Shot, Error> {
        loop {
            issues.forget();
            let (path, why) = match self.look(issues, progress) {
                Ok((shot, tears)) => match tears.first() {
                    Some(tear) if tries.are_left() => tear.clone(),
                    _ => {
                        for (path, why) in &tears {
                            issues.add(Weight::Missing, path, tries.told(why));
                        }
                        for told in &tries.told {
                            issues.add(Weight::Warning, &self.root, told);
                        }
                        issues.settle();
                        return Ok(shot);
                    }
                },
                Err(failure) if failure.is_torn() && tries.are_left() => {
                    (self.root.clone(), failure.to_string())
                }
                Err(failure) => return Err(self.error(failure)),
            };
            tries.next(&self.root, &path, &why, progress);
        }
    }
}

/// Whether two names of databases, or of tables, are one to a server that folds them or does not
/// (`lower_case_table_names`).
pub(crate) fn is_one_name(a: &str, b: &str, folds: bool) -> bool {
    a == b || (folds && a.to_lowercase() == b.to_lowercase())
}

/// Something that was altered while it was read, and what happened to it.
type Tear = (PathBuf, String);

/// How often a server was read anew, and why each time.
#[derive(Debug, Default)]
struct Tries {
    told: Vec<String>,
}

impl Tries {
    fn are_left(&self) -> bool {
        self.told.len() < PAUSES.len()
    }

    /// Says why there is another try, and waits: what was altered may not be the only thing.
    fn next(&mut self, root: &Path, path: &Path, why: &str, progress: &Arc<dyn Progress>) {
        let pause = PAUSES.get(self.told.len()).copied().unwrap_or_default();
        let what = path.strip_prefix(root).unwrap_or(path).display();
        self.told.push(format!(
            "{what}: {why}: everything was read again, as of a later moment (try {} of {})",
            self.told.len() + 2,
            PAUSES.len() + 1
        ));
        if let Some(told) = self.told.last() {
            progress.message(told);
        }
        let begun = Instant::now();
        while begun.elapsed() < pause && !progress.cancelled() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is said of something that is missing because of that.
    fn told(&self, why: &str) -> String {
        format!(
            "{why}, in each of {} tries; run the backup when no tables are altered, or `exclude` the database",
            self.told.len() + 1
        )
    }
}

impl Source for Mysql {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error> {
        let issues = Issues::default();
        let mut tries = Tries::default();
        let shot = self.settle(&mut tries, &issues, context.progress)?;
        Ok(Box::new(Server {
            source: self.clone(),
            seen: Mutex::new((shot, tries)),
            tear: Arc::default(),
            issues,
            progress: Arc::clone(context.progress),
            rows: Arc::default(),
        }))
    }
}

/// A server at one moment.
struct Shot {
    /// Without counts and digests, which are known when all is read.
    manifest: Manifest,
    taken: Timestamp,
    plans: Arc<Vec<Plan>>,
    pool: Pool,
    /// Keeps others from altering tables, where there is such a lock.
    holder: Option<Connection>,
}

/// A server that is read.
struct Server {
    source: Mysql,
    /// The moment, and how often it was taken.
    seen: Mutex<(Shot, Tries)>,
    /// What was altered while it was read, if there are tries left.
    tear: Arc<Mutex<Option<Tear>>>,
    issues: Issues,
    progress: Arc<dyn Progress>,
    /// Of the last repository that read all of it.
    rows: Arc<Mutex<Option<u64>>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading for Server {
    fn root(&self) -> &Path {
        &self.source.root
    }

    /// The estimates of servers are wrong by half.
    fn total(&self) -> Option<u64> {
        None
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        let root = &self.source.root;
        let seen = lock(&self.seen);
        let (shot, tries) = &*seen;
        let started = chunks::start(&shot.plans, &shot.pool, &self.progress);
        let (coming, threads) = match started {
            Ok(started) => (Some(started.coming), started.threads),
            Err(failure) => {
                self.issues.add(Weight::Missing, root, failure.to_string());
                (None, Vec::new())
            }
        };
        Box::new(Entries {
            root: root.clone(),
            taken: shot.taken,
            manifest: Some(shot.manifest.clone()),
            tallies: vec![Tally::default(); shot.plans.len()],
            plans: Arc::clone(&shot.plans),
            pool: Arc::clone(&shot.pool),
            coming,
            threads,
            current: None,
            directories: vec![PathBuf::from("data"), PathBuf::new()],
            entered: PathBuf::from("data"),
            table: None,
            number: 0,
            issues: self.issues.clone(),
            tear: tries.are_left().then(|| Arc::clone(&self.tear)),
            tries: tries.told(""),
            rows: Arc::clone(&self.rows),
        })
    }

    fn again(&self) -> Result<bool, Error> {
        let Some((path, why)) = lock(&self.tear).take() else {
            return Ok(false);
        };
        let mut seen = lock(&self.seen);
        let (shot, tries) = &mut *seen;
        // Whoever wants to alter something may do it meanwhile.
        lock(&shot.pool).clear();
        shot.holder = None;
        tries.next(&self.source.root, &path, &why, &self.progress);
        *shot = self.source.settle(tries, &self.issues, &self.progress)?;
        Ok(true)
    }

    fn rows(&self) -> Option<u64> {
        *lock(&self.rows)
    }

    fn take_issues(&self) -> Vec<super::Issue> {
        self.issues.take()
    }

    fn facts(&self) -> Facts {
        let (shot, _) = &*lock(&self.seen);
        Facts {
            kind: "mysql".to_owned(),
            server: Some(ServerFacts {
                version: shot.manifest.server.clone(),
                folds: shot.manifest.folds,
                taken: shot.manifest.taken.clone(),
                databases: shot.manifest.databases.len() as u64,
                tables: shot.plans.len() as u64,
                position: shot.manifest.position.clone(),
                stall_us: Some(shot.manifest.consistency.stall_us),
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
    pool: Pool,
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
    /// Where to say what was altered, if all is read again then.
    tear: Option<Arc<Mutex<Option<Tear>>>>,
    /// What is said if not.
    tries: String,
    rows: Arc<Mutex<Option<u64>>>,
}

impl Entries {
    /// Something cannot be read. If that is because it was altered, and all will be read again, nothing
    /// more needs to be read now.
    fn failed(&mut self, directory: &Path, failure: &Failure) {
        match &self.tear {
            Some(tear) if failure.is_torn() => {
                *lock(tear) = Some((directory.to_owned(), failure.to_string()));
                self.manifest = None;
                self.coming = None;
            }
            _ if failure.is_torn() => {
                let what = format!("{failure}{}", self.tries);
                self.issues.add(Weight::Missing, directory, what);
            }
            _ => self
                .issues
                .add(Weight::Missing, directory, failure.to_string()),
        }
    }

    /// Looks whether what was read is of the tables that were listed, all of it.
    fn look_back(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let plans = Arc::clone(&self.plans);
        let pool = Arc::clone(&self.pool);
        let mut idle = lock(&pool);
        let Some(connection) = idle.last_mut() else {
            return;
        };
        match identity::exchanged(connection, &plans) {
            Ok(None) => {}
            Ok(Some(plan)) => self.failed(&self.root.join(&plan.data), &Failure::Renamed),
            Err(failure) => self.failed(&self.root.clone(), &failure),
        }
    }

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
        *lock(&self.rows) = Some(rows);
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
                    if self.manifest.is_some() {
                        self.look_back();
                    }
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
                    self.current = None;
                    self.failed(&directory, &failure);
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

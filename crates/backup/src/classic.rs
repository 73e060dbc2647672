//! The classic layout: a snapshot of a database server as files that `zcat FILE | mysql` loads.
//!
//! `DIRECTORY/2026-11-26/shop-202611260300.sql.gz` is one database with everything in it; users, grants
//! and views that look into other databases are in `mysql-202611260300.sql.gz`, to be loaded last. The
//! files are made from a snapshot, not from the server, and each table is compared with what the
//! manifest says of it while it is written. A file has its name only when it is whole and on disk.

mod import;
mod pack;
pub mod split;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::fs::{create_dir_private, sync_dir};
use mainstay_base::{counted, nearest};

use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{OpenRepository, Repository, Snapshot, Visit};
use crate::restore::physical;
use crate::run::{Backups, Located, Selector};
use crate::source::mysql::{Database, MANIFEST, Manifest, Object, Table, file_name, name};

use pack::Packed;
use write::{Dialect, Inserts};

pub use import::{ImportReport, ImportRequest, ImportedFile};
pub use pack::Format;

/// The size in bytes that a statement has at most, unless one row alone is longer. Servers take 1 MB
/// since they are known (`max_allowed_packet`).
const STATEMENT: usize = 1_000_000;

/// What a server and its client take at least without being told (`max_allowed_packet` of the client).
const USUAL: u64 = 16 << 20;

/// What is to be exported, and where to.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The backup.
    pub backup: String,
    /// Which of its snapshots.
    pub snapshot: Selector,
    /// From which repository; the first one of the backup that has it, if none is named.
    pub repository: Option<String>,
    /// Only these databases, and no users then; everything if there are none.
    pub databases: Vec<String>,
    /// The directory above that of the day.
    pub to: PathBuf,
    /// How the files are compressed.
    pub format: Format,
}

/// What an export wrote.
#[derive(Debug, Clone)]
pub struct ExportReport {
    /// The snapshot and the repository it is from.
    pub from: Located,
    /// The files, in the order in which they are to be loaded.
    pub files: Vec<ExportedFile>,
    /// Things to know before one counts on the files.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Where it is.
    pub path: PathBuf,
    /// The database; none for the file with users and grants.
    pub database: Option<String>,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of statements.
    pub bytes: u64,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes of its longest statement with rows: what `max_allowed_packet` must be at least.
    pub longest: u64,
}

impl Backups {
    /// Writes a snapshot of a database server as files of statements. All of them are there in the end,
    /// or none.
    pub fn export(
        &self,
        request: &ExportRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<ExportReport, Error> {
        let attempt = format!("export backup `{}`", request.backup);
        let begun = self.clock.monotonic();
        let repository = request.repository.as_deref();
        let from = self.find(&request.backup, &request.snapshot, repository, progress)?;
        let snapshot = &from.snapshot;
        if snapshot.facts.kind != "mysql" {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                format!(
                    "it is not of a database server, but of {}",
                    snapshot.facts.kind
                ),
            )
            .with_help(
                "`mainstay backup restore --to DIR` writes what is in it into a directory",
            ));
        }
        if snapshot.facts.physical.is_some() {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                "it has the files of a server (engine `mariadb-backup`), and no rows by themselves",
            )
            .with_help(physical::INSTEAD));
        }
        let opened = self.repository(&from.repository)?.open(progress)?;
        let manifest = manifest(opened.as_ref(), snapshot, &attempt)?;
        let chosen = chosen(&manifest, &request.databases, &attempt)?;
        let taken = snapshot.time.to_zoned(self.config.zone.clone());
        let directory = request.to.join(taken.strftime("%Y-%m-%d").to_string());
        let mut export = Export {
            attempt: &attempt,
            manifest: &manifest,
            dialect: Dialect::of(&manifest),
            head: head(&from, &manifest),
            directory: &directory,
            stamp: taken.strftime("%Y%m%d%H%M").to_string(),
            format: request.format,
            whole: request.databases.is_empty(),
            across: across(&manifest),
            progress,
            current: None,
            done: Vec::new(),
        };
        export.refuse_if_there(&chosen)?;
        create_dir_private(&request.to, 0o700)
            .and_then(|()| create_dir_private(&directory, 0o700))
            .map_err(|error| Error::io(&attempt, &directory, &error))?;
        let total = chosen
            .iter()
            .flat_map(|database| &database.tables)
            .map(|table| table.bytes)
            .sum();
        progress.begin(&format!("Exporting {}", request.backup), Some(total));
        let written = export.write(opened.as_ref(), snapshot, &chosen);
        progress.finish();
        let files = written
            .and_then(|()| export.put_in_place())
            .inspect_err(|_| export.clear())?;
        Ok(ExportReport {
            warnings: warnings(snapshot, &manifest, &chosen, &files),
            from,
            files,
            took: self.clock.monotonic().saturating_sub(begun),
        })
    }
}

/// The manifest of a snapshot of a server.
fn manifest(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    attempt: &str,
) -> Result<Manifest, Error> {
    let mut bytes = Vec::new();
    opened.walk(
        snapshot,
        &snapshot.path.join(MANIFEST),
        &mut |visit| match visit {
            Visit::Item(_, content) => content.write_to(&mut bytes),
            Visit::Enter(_) | Visit::Leave(_) => Ok(()),
        },
    )?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(
            ErrorKind::Damaged,
            attempt,
            format!("its {MANIFEST} cannot be read: {error}"),
        )
        .with_help("`mainstay backup verify` says what is damaged; another snapshot may be whole")
    })
}

/// The databases that were asked for, in the order of the manifest.
fn chosen<'a>(
    manifest: &'a Manifest,
    wanted: &[String],
    attempt: &str,
) -> Result<Vec<&'a Database>, Error> {
    let known = || {
        manifest
            .databases
            .iter()
            .map(|database| database.name.as_str())
    };
    if let Some(missing) = wanted
        .iter()
        .find(|wanted| !known().any(|name| name == *wanted))
    {
        let help = match nearest(missing, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
        };
        return Err(Error::new(
            ErrorKind::UnknownSnapshot,
            attempt,
            format!("the snapshot has no database `{missing}`"),
        )
        .with_help(help));
    }
    Ok(manifest
        .databases
        .iter()
        .filter(|database| wanted.is_empty() || wanted.contains(&database.name))
        .collect())
}

/// A word in a comment: it ends no line.
fn word(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// What stands above every file.
fn head(from: &Located, manifest: &Manifest) -> String {
    let snapshot = &from.snapshot;
    let mut text = format!(
        "-- mainstay {}: snapshot {} of backup {} on {}\n-- a server {}, as of {}\n",
        env!("CARGO_PKG_VERSION"),
        snapshot.short_id(),
        word(&snapshot.backup),
        word(&snapshot.host),
        word(&manifest.server),
        word(&manifest.taken)
    );
    if let Some(position) = &manifest.position {
        let _ = writeln!(
            text,
            "-- its binary log was at {}:{}, its GTID {}",
            word(&position.file),
            position.offset,
            word(&position.gtid)
        );
    }
    if !snapshot.complete {
        text.push_str("-- INCOMPLETE: something is missing from this snapshot\n");
    }
    text
}

/// The views that look into other databases, with the name of their own, each after what it needs. They
/// can be made only when all databases are there.
fn across(manifest: &Manifest) -> Vec<(&str, &Object)> {
    let whole = |database: &str, object: &str| format!("{}.{}", name(database), name(object));
    let mut found: Vec<(&str, &Object)> = Vec::new();
    // What uses one of them is one of them.
    loop {
        let before = found.len();
        for database in &manifest.databases {
            for view in database.views.iter().filter(|view| view.broken.is_none()) {
                let known = |(_, object): &(&str, &Object)| std::ptr::eq(*object, view);
                let others = || {
                    manifest.databases.iter().any(|other| {
                        other.name != database.name
                            && view.create.contains(&format!("{}.", name(&other.name)))
                    })
                };
                let uses = |(database, object): &(&str, &Object)| {
                    view.create.contains(&whole(database, &object.name))
                };
                if !found.iter().any(known) && (others() || found.iter().any(uses)) {
                    found.push((&database.name, view));
                }
            }
        }
        if found.len() == before {
            break;
        }
    }
    let mut ordered = Vec::new();
    while !found.is_empty() {
        let needs = |view: &Object| {
            found.iter().any(|(database, other)| {
                !std::ptr::eq(*other, view) && view.create.contains(&whole(database, &other.name))
            })
        };
        let at = found.iter().position(|(_, view)| !needs(view)).unwrap_or(0);
        ordered.push(found.remove(at));
    }
    ordered
}

fn warnings(
    snapshot: &Snapshot,
    manifest: &Manifest,
    chosen: &[&Database],
    files: &[ExportedFile],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if !snapshot.complete {
        warnings.push(format!(
            "snapshot {} is incomplete: something that was on the server is not in these files",
            snapshot.short_id()
        ));
    }
    for database in chosen {
        for view in &database.views {
            if let Some(why) = &view.broken {
                warnings.push(format!(
                    "view `{}`.`{}` could not be used on the server ({why}), and is a comment in the file",
                    database.name, view.name
                ));
            }
        }
    }
    if let Some(longest) = files.iter().map(|file| file.longest).max()
        && longest > USUAL
    {
        warnings.push(format!(
            "the longest statement has {longest} bytes: to load it, call `mysql --max-allowed-packet=1G`, and have the server take as much (`SET GLOBAL max_allowed_packet`)"
        ));
    }
    let comments = chosen
        .iter()
        .flat_map(|database| write::programs(database))
        .any(|object| write::has_comment(&object.create));
    if comments && !Dialect::of(manifest).executes {
        warnings.push(
            "routines have comments, which the client leaves out unless it is called with `mysql --comments`".to_owned(),
        );
    }
    warnings
}

/// A file under way.
struct Current {
    file: Packed,
    database: Option<String>,
    path: PathBuf,
    rows: u64,
    inserts: Option<(usize, Inserts)>,
}

struct Export<'a> {
    attempt: &'a str,
    manifest: &'a Manifest,
    dialect: Dialect,
    head: String,
    directory: &'a Path,
    stamp: String,
    format: Format,
    /// Whether all databases are written, and users too.
    whole: bool,
    across: Vec<(&'a str, &'a Object)>,
    progress: &'a Arc<dyn Progress>,
    current: Option<Current>,
    done: Vec<ExportedFile>,
}

impl Export<'_> {
    fn path(&self, database: &str) -> PathBuf {
        let (stamp, suffix) = (&self.stamp, self.format.suffix());
        self.directory
            .join(format!("{}-{stamp}.{suffix}", file_name(database)))
    }

    /// The name that a file has until it is whole.
    fn partial(path: &Path) -> PathBuf {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!(".{name}.partial"))
    }

    fn refuse_if_there(&self, chosen: &[&Database]) -> Result<(), Error> {
        let names = chosen.iter().map(|database| database.name.as_str());
        let mut paths = names
            .chain(self.whole.then_some("mysql"))
            .map(|name| self.path(name));
        match paths.find(|path| fs::symlink_metadata(path).is_ok()) {
            None => Ok(()),
            Some(path) => Err(Error::new(
                ErrorKind::TargetNotEmpty,
                self.attempt,
                format!("{} exists", path.display()),
            )
            .with_help("it is not written over: remove it, or name another directory")),
        }
    }

    fn fail(&self, path: &Path, error: &std::io::Error) -> Error {
        Error::io(self.attempt, path, error)
    }

    fn write(
        &mut self,
        opened: &dyn OpenRepository,
        snapshot: &Snapshot,
        chosen: &[&Database],
    ) -> Result<(), Error> {
        let by_directory: BTreeMap<String, &Database> = chosen
            .iter()
            .map(|database| (file_name(&database.name), *database))
            .collect();
        if chosen.iter().any(|database| has_rows(database)) {
            let root = snapshot.path.join("data");
            opened.walk(snapshot, &root, &mut |visit| {
                if self.progress.cancelled() {
                    return Err(Error::new(
                        ErrorKind::Cancelled,
                        self.attempt,
                        "the caller asked to stop",
                    ));
                }
                self.visit(&visit, &by_directory)
            })?;
        }
        let written: BTreeSet<Option<String>> =
            self.done.iter().map(|file| file.database.clone()).collect();
        for database in chosen {
            if !written.contains(&Some(database.name.clone())) {
                self.begin(database)?;
                self.finish(database)?;
            }
        }
        self.done.sort_by(|a, b| a.path.cmp(&b.path));
        if self.whole {
            self.users()?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        visit: &Visit<'_>,
        by_directory: &BTreeMap<String, &Database>,
    ) -> Result<(), Error> {
        let (Visit::Enter(item) | Visit::Leave(item) | Visit::Item(item, _)) = visit;
        let mut parts = item.path.iter().map(|part| part.to_string_lossy());
        let Some(database) = parts
            .next()
            .and_then(|directory| by_directory.get(&*directory))
        else {
            return Ok(());
        };
        let table = parts.next();
        match (visit, table) {
            (Visit::Enter(_), None) => self.begin(database),
            (Visit::Leave(_), None) => self.finish(database),
            (Visit::Enter(_), Some(table)) => self.begin_table(database, &table),
            (Visit::Leave(_), Some(_)) => self.finish_table(database),
            (Visit::Item(_, content), _) => {
                let Some(Current {
                    file,
                    inserts: Some((_, inserts)),
                    path,
                    ..
                }) = &mut self.current
                else {
                    return Ok(());
                };
                let mut into = inserts.in_file(file);
                let read = content.write_to(&mut into);
                if let Some(error) = into.failure {
                    let path = path.clone();
                    return Err(self.fail(&path, &error));
                }
                self.progress.advance(item.meta.size);
                read
            }
        }
    }

    fn put(&mut self, text: &str) -> Result<(), Error> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        match current.file.put(text.as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) => {
                let path = current.path.clone();
                Err(self.fail(&path, &error))
            }
        }
    }

    fn open(&mut self, name: &str, database: Option<String>) -> Result<(), Error> {
        let path = self.path(name);
        let partial = Self::partial(&path);
        let file =
            Packed::create(&partial, self.format).map_err(|error| self.fail(&partial, &error))?;
        self.current = Some(Current {
            file,
            database,
            path,
            rows: 0,
            inserts: None,
        });
        Ok(())
    }

    /// Begins the file of a database: everything that must be there before its rows.
    fn begin(&mut self, database: &Database) -> Result<(), Error> {
        self.open(&database.name, Some(database.name.clone()))?;
        let text = format!("{}{}", self.head, self.dialect.before_rows(database));
        self.put(&text)
    }

    fn begin_table(&mut self, database: &Database, directory: &str) -> Result<(), Error> {
        let data = format!("data/{}/{directory}", file_name(&database.name));
        let Some(at) = database.tables.iter().position(|table| table.data == data) else {
            return Err(Error::new(
                ErrorKind::Damaged,
                self.attempt,
                format!("{data} is of no table"),
            )
            .with_help("`mainstay backup verify` says what is damaged"));
        };
        let table = &database.tables[at];
        let text = write::before_table(table);
        self.put(&text)?;
        if let Some(current) = &mut self.current {
            current.inserts = Some((at, Inserts::new(table, STATEMENT)));
        }
        Ok(())
    }

    fn finish_table(&mut self, database: &Database) -> Result<(), Error> {
        let Some(Current {
            file,
            inserts,
            path,
            rows,
            ..
        }) = &mut self.current
        else {
            return Ok(());
        };
        let Some((at, mut inserts)) = inserts.take() else {
            return Ok(());
        };
        if let Err(error) = inserts.finish(file) {
            let path = path.clone();
            return Err(self.fail(&path, &error));
        }
        let table = &database.tables[at];
        *rows += table.rows;
        same(&inserts, database, table).map_err(|why| damaged(self.attempt, &why))?;
        let text = write::after_table(table);
        self.put(&text)
    }

    /// Ends the file of a database: everything that may be there only after its rows.
    fn finish(&mut self, database: &Database) -> Result<(), Error> {
        let rows: u64 = database.tables.iter().map(|table| table.rows).sum();
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.rows != rows)
        {
            let why = format!("a table of database `{}` has no data", database.name);
            return Err(damaged(self.attempt, &why));
        }
        let mut text = self.dialect.after_rows(database, |view| {
            !self.whole
                || !self
                    .across
                    .iter()
                    .any(|(_, other)| std::ptr::eq(*other, view))
        });
        text.push_str(write::END);
        self.put(&text)?;
        self.close()
    }

    fn users(&mut self) -> Result<(), Error> {
        self.open("mysql", None)?;
        let mut text = format!("{}{}", self.head, write::begin());
        self.dialect.users(&mut text, self.manifest, &self.across);
        text.push_str(write::END);
        self.put(&text)?;
        self.close()
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let packed = current
            .file
            .finish()
            .map_err(|error| self.fail(&current.path, &error))?;
        self.done.push(ExportedFile {
            path: current.path,
            database: current.database,
            rows: current.rows,
            bytes: packed.bytes,
            size: packed.size,
            longest: packed.longest,
        });
        Ok(())
    }

    fn put_in_place(&mut self) -> Result<Vec<ExportedFile>, Error> {
        for (at, file) in self.done.iter().enumerate() {
            if let Err(error) = fs::rename(Self::partial(&file.path), &file.path) {
                for before in &self.done[..at] {
                    let _ = fs::remove_file(&before.path);
                }
                return Err(self.fail(&file.path, &error));
            }
        }
        // The day's directory may be new too.
        let above = self.directory.parent().unwrap_or(self.directory);
        for directory in [self.directory, above] {
            sync_dir(directory).map_err(|error| self.fail(directory, &error))?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Removes what was begun.
    fn clear(&mut self) {
        let current = self.current.take().map(|current| current.path);
        let done = self.done.drain(..).map(|file| file.path);
        for path in done.chain(current) {
            let _ = fs::remove_file(Self::partial(&path));
        }
        // The directory of the day, if nothing else is in it.
        let _ = fs::remove_dir(self.directory);
    }
}

fn has_rows(database: &Database) -> bool {
    database.tables.iter().any(|table| table.rows > 0)
}

fn damaged(attempt: &str, why: &str) -> Error {
    Error::new(ErrorKind::Damaged, attempt, why)
        .with_help("nothing was written; another snapshot may be whole: `mainstay backup list`")
}

/// Whether what was written is what was stored.
fn same(inserts: &Inserts, database: &Database, table: &Table) -> Result<(), String> {
    let whole = format!("table `{}`.`{}`", database.name, table.name);
    if inserts.tally().rows != table.rows {
        return Err(format!(
            "{whole} has {}, and {} when it was stored",
            counted(inserts.tally().rows, "row"),
            table.rows
        ));
    }
    if inserts.tally().digest() != table.digest {
        return Err(format!(
            "the rows of {whole} are not those that were stored"
        ));
    }
    Ok(())
}

//! The rows of a snapshot, from the repository into the tables that were made for them.
//!
//! One thread reads the repository in its order, the others each load a file of rows at a time, or
//! make the keys of a table whose rows are there. What is in memory is bounded: the reader waits while
//! enough files are waiting.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_base::counted;
use mainstay_mysql::{Connection, Done};

use super::ddl;
use super::journal::{COMPLETE, Journal, Loaded};
use super::plan::{Layout, Table};
use super::server::{MORE_PACKET, Server};
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{ItemKind, OpenRepository, Snapshot, Visit};
use crate::source::mysql::{self, Failure, Load, Tally, name};

/// Files that wait for a loader, for each of them: reading is the faster part.
const WAITING: usize = 1;
/// So many tables are looked up one by one in the snapshot.
const FEW: usize = 8;
/// How often a wait looks whether the caller wants to stop.
const GLANCE: Duration = Duration::from_millis(200);
/// `Data truncated`: what a server says of an ENUM that is none of its members, and takes.
const NO_MEMBER: &str = "1265";
/// A value longer than `max_allowed_packet`.
const TOO_LONG: &str = "1301";

/// A file of rows.
struct File {
    table: usize,
    number: i64,
    rows: Vec<u8>,
}

/// Something to do for a loader.
enum Job {
    Create(usize),
    Rows(File),
    /// All rows are there: the keys, and the count.
    Complete(usize),
}

/// How far a table is.
#[derive(Debug, Clone, Default)]
struct Far {
    tally: Tally,
    /// Files that are waiting or being loaded.
    open: usize,
    /// Whether no more files come.
    read: bool,
    complete: bool,
}

/// What reader and loaders share.
#[derive(Default)]
struct Shared {
    files: VecDeque<File>,
    others: VecDeque<Job>,
    tables: Vec<Far>,
    /// Files that are waiting or being loaded, of all tables.
    open: usize,
    /// Tables that are not complete.
    left: usize,
    /// Jobs taken and not done.
    busy: usize,
    closed: bool,
    /// Whether tables that get their keys are what is counted.
    keys_count: bool,
    failed: Option<Error>,
}

struct Desk {
    shared: Mutex<Shared>,
    /// Something changed.
    turn: Condvar,
    limit: usize,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, shared: MutexGuard<'a, Shared>) -> MutexGuard<'a, Shared> {
        self.turn
            .wait_timeout(shared, GLANCE)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// The next thing to do; nothing when all is done, or something failed.
    fn take(&self) -> Option<Job> {
        let mut shared = self.lock();
        loop {
            if shared.failed.is_some() {
                return None;
            }
            // Keys first: the rows are still in the server's memory.
            let job = match shared.others.pop_front() {
                Some(job) => Some(job),
                None => shared.files.pop_front().map(Job::Rows),
            };
            if let Some(job) = job {
                shared.busy += 1;
                self.turn.notify_all();
                return Some(job);
            }
            if shared.closed && shared.busy == 0 {
                return None;
            }
            shared = self.wait(shared);
        }
    }

    fn fail(&self, error: Error) {
        let mut shared = self.lock();
        shared.failed.get_or_insert(error);
        self.turn.notify_all();
    }

    /// Hands a file out, when there is room for it; `false` if nobody wants it any more.
    fn give(&self, file: File) -> bool {
        let mut shared = self.lock();
        while shared.failed.is_none() && shared.files.len() >= self.limit {
            shared = self.wait(shared);
        }
        if shared.failed.is_some() {
            return false;
        }
        if let Some(far) = shared.tables.get_mut(file.table) {
            far.open += 1;
        }
        shared.open += 1;
        shared.files.push_back(file);
        self.turn.notify_all();
        true
    }

    /// A file is loaded.
    fn loaded(&self, table: usize, tally: &Tally) {
        let mut shared = self.lock();
        shared.open -= 1;
        let Some(far) = shared.tables.get_mut(table) else {
            return;
        };
        far.tally.add(tally);
        far.open -= 1;
        if far.open == 0 && far.read {
            shared.others.push_back(Job::Complete(table));
        }
        self.turn.notify_all();
    }

    /// No more files of a table come.
    fn read(&self, table: usize) {
        let mut shared = self.lock();
        let Some(far) = shared.tables.get_mut(table) else {
            return;
        };
        if far.read || far.complete {
            return;
        }
        far.read = true;
        if far.open == 0 {
            shared.others.push_back(Job::Complete(table));
        }
        self.turn.notify_all();
    }

    /// Waits until something is so, or something failed; `false` if the caller wants to stop first.
    fn until(&self, so: &dyn Fn(&Shared) -> bool, cancelled: &dyn Fn() -> bool) -> bool {
        let mut shared = self.lock();
        while shared.failed.is_none() && !so(&shared) {
            if cancelled() {
                return false;
            }
            shared = self.wait(shared);
        }
        true
    }

    /// A job is done.
    fn done(&self) {
        self.lock().busy -= 1;
        self.turn.notify_all();
    }
}

/// What was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Everything a load needs to know.
pub(super) struct Loader<'a> {
    pub(super) server: &'a Server,
    pub(super) journal: &'a Journal,
    pub(super) layout: &'a Layout,
    pub(super) connections: usize,
    pub(super) progress: &'a Arc<dyn Progress>,
}

impl Loader<'_> {
    /// Makes all tables beside their places, with their rows and keys; what an earlier run has loaded
    /// stays.
    pub(super) fn run(
        &self,
        opened: &dyn OpenRepository,
        snapshot: &Snapshot,
        main: &mut Connection,
    ) -> Result<Sum, Error> {
        let mut sessions = Vec::new();
        for number in 0..self.connections.max(1) {
            let mut session = self.server.connect()?;
            self.journal.enlist(self.server, &mut session, number)?;
            sessions.push(session);
        }
        for database in &self.layout.databases {
            let create = ddl::database(
                &database.create,
                "CREATE DATABASE IF NOT EXISTS",
                &database.beside,
            );
            self.server
                .run(main, &format!("make `{}`", database.beside), &create)?;
        }
        // Only now nobody else is at it any more.
        let mut before = self.journal.files(self.server, main)?;
        self.forget_half(&mut before, main)?;
        let tables = self.far(&before);
        let desk = Desk {
            shared: Mutex::new(Shared {
                left: tables.iter().filter(|far| !far.complete).count(),
                tables,
                ..Shared::default()
            }),
            turn: Condvar::new(),
            limit: self.connections.max(1) * WAITING,
        };
        let ids: Vec<u32> = sessions.iter().map(Connection::id).collect();
        std::thread::scope(|scope| {
            for session in sessions {
                scope.spawn(|| self.work(session, &desk));
            }
            let done = self.feed(opened, snapshot, &before, &desk);
            let mut shared = desk.lock();
            shared.closed = true;
            if let Err(error) = done {
                shared.failed.get_or_insert(error);
            }
            let failed = shared.failed.is_some();
            drop(shared);
            desk.turn.notify_all();
            if failed {
                // A statement may go on for hours; nobody waits for it any more.
                for id in ids {
                    let _ = main.run(&format!("KILL {id}"));
                }
            }
        });
        let shared = desk
            .shared
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match shared.failed {
            Some(error) => Err(error),
            None => Ok(shared.tables.iter().fold(Sum::default(), |sum, far| Sum {
                rows: sum.rows + far.tally.rows,
                bytes: sum.bytes + far.tally.bytes,
            })),
        }
    }

    /// Of a table that cannot take anything back nothing counts until it is complete.
    fn forget_half(&self, before: &mut Loaded, main: &mut Connection) -> Result<(), Error> {
        for (number, table) in self.layout.tables.iter().enumerate() {
            let half = before
                .get(&number)
                .is_some_and(|files| !files.contains_key(&COMPLETE));
            // Nor does it outlive its server, if it is one in memory.
            let gone = table.stored.engine.eq_ignore_ascii_case("MEMORY");
            if (half && !table.transactional) || gone {
                before.remove(&number);
                self.journal.forget(self.server, main, number)?;
            }
        }
        Ok(())
    }

    /// How far each table is. One whose rows are all there and that gets nothing after them is
    /// complete without a word of it: a commit for each of many tables would be felt.
    fn far(&self, before: &Loaded) -> Vec<Far> {
        let of = |(number, table): (usize, &Table)| {
            let mut far = Far::default();
            for (file, tally) in before.get(&number).into_iter().flatten() {
                if *file == COMPLETE {
                    far.complete = true;
                    far.tally = *tally;
                    break;
                }
                far.tally.add(tally);
            }
            far.complete |=
                far.tally.rows > 0 && table.tells_itself() && is_stored(&far.tally, table);
            far
        };
        self.layout.tables.iter().enumerate().map(of).collect()
    }

    fn cancelled(&self) -> Error {
        Error::new(
            ErrorKind::Cancelled,
            &self.server.attempt,
            "the caller asked to stop",
        )
        .with_help(&self.server.advice)
    }

    /// Hands out everything there is to do, in order.
    fn feed(
        &self,
        opened: &dyn OpenRepository,
        snapshot: &Snapshot,
        before: &Loaded,
        desk: &Desk,
    ) -> Result<(), Error> {
        let stop = || self.progress.cancelled();
        let tables = &self.layout.tables;
        self.progress.begin("Making tables", None);
        {
            let mut shared = desk.lock();
            for number in 0..tables.len() {
                if !shared.tables[number].complete {
                    shared.others.push_back(Job::Create(number));
                }
            }
        }
        desk.turn.notify_all();
        if !desk.until(
            &|shared| shared.busy == 0 && shared.others.is_empty(),
            &stop,
        ) {
            return Err(self.cancelled());
        }
        self.progress.finish();
        let total = tables.iter().map(|table| table.stored.bytes).sum();
        self.progress.begin("Loading rows", Some(total));
        self.progress
            .advance(desk.lock().tables.iter().map(|far| far.tally.bytes).sum());
        self.read(opened, snapshot, before, desk)?;
        for number in 0..tables.len() {
            desk.read(number);
        }
        if !desk.until(&|shared| shared.open == 0, &stop) {
            return Err(self.cancelled());
        }
        self.progress.finish();
        let left = {
            let shared = desk.lock();
            let of = |(far, table): (&Far, &Table)| {
                (!far.complete && !table.keys.is_empty()).then_some(table.stored.bytes)
            };
            shared.tables.iter().zip(tables).filter_map(of).sum()
        };
        self.progress.begin("Making keys", Some(left));
        // From now on the size of a table counts when it has its keys.
        desk.lock().keys_count = true;
        if !desk.until(&|shared| shared.left == 0, &stop) {
            return Err(self.cancelled());
        }
        self.progress.finish();
        Ok(())
    }

    /// Reads the files of the tables that are wanted and not loaded yet.
    fn read(
        &self,
        opened: &dyn OpenRepository,
        snapshot: &Snapshot,
        before: &Loaded,
        desk: &Desk,
    ) -> Result<(), Error> {
        let mut numbers: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (number, table) in self.layout.tables.iter().enumerate() {
            if table.stored.rows > 0 && !desk.lock().tables[number].complete {
                numbers.insert(PathBuf::from(&table.stored.data), number);
            }
        }
        // Few tables of many are looked up; otherwise one walk over everything is cheaper.
        let roots: Vec<PathBuf> = if numbers.len() <= FEW {
            numbers.keys().cloned().collect()
        } else {
            vec![PathBuf::from("data")]
        };
        for root in roots {
            opened.walk(snapshot, &snapshot.path.join(&root), &mut |visit| {
                self.visit(&root, visit, &numbers, before, desk)
            })?;
        }
        Ok(())
    }

    fn visit(
        &self,
        root: &Path,
        visit: Visit<'_>,
        numbers: &BTreeMap<PathBuf, usize>,
        before: &Loaded,
        desk: &Desk,
    ) -> Result<(), Error> {
        if self.progress.cancelled() {
            return Err(self.cancelled());
        }
        let whole = |path: &Path| {
            if path.as_os_str().is_empty() {
                root.to_owned()
            } else {
                root.join(path)
            }
        };
        match visit {
            Visit::Enter(_) => Ok(()),
            Visit::Leave(item) => {
                if let Some(table) = numbers.get(&whole(&item.path)) {
                    desk.read(*table);
                }
                Ok(())
            }
            Visit::Item(item, content) => {
                let path = whole(&item.path);
                let (Some(table), Some(number)) = (
                    path.parent().and_then(|parent| numbers.get(parent)),
                    path.file_stem()
                        .and_then(|stem| stem.to_str()?.parse::<i64>().ok()),
                ) else {
                    return Ok(());
                };
                let known = before
                    .get(table)
                    .is_some_and(|files| files.contains_key(&number));
                if known || item.kind != ItemKind::File {
                    return Ok(());
                }
                let mut rows = Vec::with_capacity(usize::try_from(item.meta.size).unwrap_or(0));
                content.write_to(&mut rows)?;
                let file = File {
                    table: *table,
                    number,
                    rows,
                };
                if desk.give(file) {
                    Ok(())
                } else {
                    // Why is known to the one who failed.
                    Err(self.cancelled())
                }
            }
        }
    }

    /// What a loader does until nothing is left.
    fn work(&self, mut session: Connection, desk: &Desk) {
        while let Some(job) = desk.take() {
            let done = match job {
                Job::Create(number) => self.create(&mut session, number),
                Job::Rows(file) => self
                    .rows(&mut session, &file)
                    .map(|tally| desk.loaded(file.table, &tally)),
                Job::Complete(number) => {
                    let tally = desk.lock().tables[number].tally;
                    self.complete(&mut session, number, &tally)
                        .map(|()| self.completed(desk, number))
                }
            };
            match done {
                Ok(()) => desk.done(),
                Err(error) => {
                    desk.fail(error);
                    return;
                }
            }
        }
    }

    fn completed(&self, desk: &Desk, number: usize) {
        let mut shared = desk.lock();
        if let Some(far) = shared.tables.get_mut(number) {
            far.complete = true;
        }
        shared.left -= 1;
        if let Some(table) = self.layout.tables.get(number)
            && shared.keys_count
            && !table.keys.is_empty()
        {
            self.progress.advance(table.stored.bytes);
        }
    }

    fn create(&self, session: &mut Connection, number: usize) -> Result<(), Error> {
        let Some(table) = self.layout.tables.get(number) else {
            return Ok(());
        };
        let doing = format!("make table {}", self.layout.place(table));
        let beside = self
            .layout
            .databases
            .get(table.database)
            .map_or("", |database| database.beside.as_str());
        // Names without a database in the statement are those of its own.
        self.server
            .run(session, &doing, &format!("USE {}", name(beside)))?;
        self.server.run(session, &doing, &table.create)?;
        if table.transactional {
            return Ok(());
        }
        let empty = format!("TRUNCATE TABLE {}", self.layout.beside(table));
        self.server.run(session, &doing, &empty)
    }

    /// Loads a file, and says so, in one transaction.
    fn rows(&self, session: &mut Connection, file: &File) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for line in file.rows.split_inclusive(|byte| *byte == b'\n') {
            tally.add_line(line);
        }
        let Some(table) = self.layout.tables.get(file.table) else {
            return Ok(tally);
        };
        let doing = format!("load table {}", self.layout.place(table));
        self.server.run(session, &doing, "BEGIN")?;
        let done = session
            .load(
                &statement(&self.layout.beside(table), &table.stored),
                &mut file.rows.as_slice(),
            )
            .map_err(|error| self.server.error(&doing, error))?;
        self.check(session, &doing, table, &done, tally.rows)?;
        let loaded = self.journal.loaded(file.table, file.number, &tally);
        self.server.run(session, &doing, &loaded)?;
        self.server.run(session, &doing, "COMMIT")?;
        self.progress.advance(tally.bytes);
        Ok(tally)
    }

    /// That the server took every row as it was sent.
    fn check(
        &self,
        session: &mut Connection,
        doing: &str,
        table: &Table,
        done: &Done,
        rows: u64,
    ) -> Result<(), Error> {
        let refused = |reason: String, help: Option<&str>| {
            Err(self.server.error(
                doing,
                Failure::Other(
                    reason,
                    Some(match help {
                        Some(help) => format!("{help}; {}", self.server.advice),
                        None => self.server.advice.clone(),
                    }),
                ),
            ))
        };
        if done.warnings > 0 {
            let numbered = table
                .stored
                .columns
                .iter()
                .any(|column| column.load == Load::Unsigned);
            for row in self.server.texts(session, doing, "SHOW WARNINGS")? {
                let [_, code, message] = row.as_slice() else {
                    continue;
                };
                if code == NO_MEMBER && numbered {
                    continue;
                }
                let help = (code == TOO_LONG).then_some(MORE_PACKET);
                return refused(
                    format!("the server would not take a value as it was: {message} ({code})"),
                    help,
                );
            }
        }
        if done.affected != rows {
            return refused(
                format!(
                    "of {} that were sent the server took {}",
                    counted(rows, "row"),
                    done.affected
                ),
                None,
            );
        }
        Ok(())
    }

    /// Makes the keys of a table whose rows are all there, after they were counted.
    fn complete(
        &self,
        session: &mut Connection,
        number: usize,
        tally: &Tally,
    ) -> Result<(), Error> {
        let Some(table) = self.layout.tables.get(number) else {
            return Ok(());
        };
        let stored = &table.stored;
        let whole = self.layout.place(table);
        if !is_stored(tally, table) {
            return Err(Error::new(
                ErrorKind::Damaged,
                &self.server.attempt,
                if tally.rows == stored.rows {
                    format!("the rows of table {whole} are not those that were stored")
                } else {
                    format!(
                        "table {whole} has {} in the repository, and {} when it was stored",
                        counted(tally.rows, "row"),
                        stored.rows
                    )
                },
            )
            .with_help(format!("restore an older snapshot (`mainstay backup list`), and check the repository with `mainstay backup verify --read-data`; {}", self.server.advice)));
        }
        if table.tells_itself() {
            return Ok(());
        }
        let doing = format!("make the keys of table {whole}");
        for keys in &table.keys {
            let statement = format!(
                "ALTER TABLE {} {}",
                self.layout.beside(table),
                keys.join(", ")
            );
            match session.run(&statement) {
                // They were made by a run that was killed before it could say so: all or none.
                Err(error) if error.code() == Some(1061) => {}
                done => {
                    done.map_err(|error| self.server.error(&doing, error))?;
                }
            }
        }
        let complete = self.journal.loaded(number, COMPLETE, tally);
        self.server.run(session, &doing, &complete)
    }
}

/// Whether these are the rows that were stored.
fn is_stored(tally: &Tally, table: &Table) -> bool {
    tally.rows == table.stored.rows && tally.digest() == table.stored.digest
}

/// What loads rows into a table.
fn statement(whole: &str, table: &mysql::Table) -> String {
    let mut columns = Vec::new();
    let mut sets = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let quoted = name(&column.name);
        match column.load {
            Load::Plain => columns.push(quoted),
            Load::Unsigned => {
                columns.push(format!("@v{at}"));
                sets.push(format!("{quoted} = CAST(@v{at} AS UNSIGNED)"));
            }
            Load::Text => {
                columns.push(format!("@v{at}"));
                sets.push(format!("{quoted} = CONVERT(@v{at} USING utf8mb4)"));
            }
        }
    }
    let mut statement = format!(
        "LOAD DATA LOCAL INFILE 'mainstay' INTO TABLE {whole} CHARACTER SET binary ({})",
        columns.join(", ")
    );
    if !sets.is_empty() {
        let _ = write!(statement, " SET {}", sets.join(", "));
    }
    statement
}

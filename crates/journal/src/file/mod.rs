//! The file store: an append-only log with checksums, for one process. A thread of its own writes
//! it; what many ask for meanwhile becomes one frame and one sync.

mod frame;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind};
use crate::store::{Kind, Millis, Pending, Row, Status, Store};
use crate::table::Table;
use frame::{Broken, Entry};

/// What is dead in a file before it is written anew, in bytes; and it must be half of it.
const WASTE: u64 = 1024 * 1024;
/// How many questions are answered by one sync at most.
const BATCH: usize = 256;

/// Changes the table in memory, notes what has changed, and makes what answers when that is durable.
type Job = Box<dyn FnOnce(&mut Turn<'_>) -> Answer + Send>;
/// Told whether the turn's changes are durable.
type Answer = Box<dyn FnOnce(Result<(), &Failed>) + Send>;

/// A journal in one file that only its owner can read, for one process at a time.
///
/// It holds all its rows in memory, and is meant for thousands of them. What a crash tore at its end
/// is cut off at the next start: nobody was told that it was durable. Damage anywhere else is an
/// error.
pub struct FileStore {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl FileStore {
    /// Opens the journal in that file, or begins one.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let log = Log::open(&path)?;
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("mainstay-journal".to_owned())
            .spawn(move || serve(log, &inbox))
            .map_err(|error| Error::store("start the thread of the journal", error))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            path,
        })
    }

    /// Lets the thread do something and gives what came of it when it is durable.
    fn ask<T: Send + 'static>(
        &self,
        attempt: &'static str,
        job: impl FnOnce(&mut Turn<'_>) -> T + Send + 'static,
    ) -> Pending<'_, T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |turn| {
            let done = job(turn);
            Box::new(move |durable| {
                let _ = sender.send(durable.map(|()| done).map_err(Failed::again));
            })
        });
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        Box::pin(async move {
            let answer = if sent { receiver.await.ok() } else { None };
            answer
                .unwrap_or_else(|| Err(io::Error::other("the thread of the journal has ended")))
                .map_err(|error| Error::store(format!("{attempt} {}", self.path.display()), error))
        })
    }
}

impl Drop for FileStore {
    /// Waits for what was asked for: then the file is free for the next.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Store for FileStore {
    fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
        let row = row.clone();
        self.ask("write to", move |turn| {
            let accepts = turn.table.accepts(&row, expected);
            if accepts {
                turn.set(row);
            }
            accepts
        })
    }

    fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>> {
        let id = id.to_owned();
        self.ask("read", move |turn| turn.table.get(kind, &id).cloned())
    }

    fn claim<'a>(
        &'a self,
        owner: &'a str,
        now: Millis,
        until: Millis,
        limit: usize,
    ) -> Pending<'a, Vec<Row>> {
        let owner = owner.to_owned();
        self.ask("write to", move |turn| {
            let rows = turn.table.claimed(&owner, now, until, limit);
            for row in &rows {
                turn.set(row.clone());
            }
            rows
        })
    }

    fn renew<'a>(
        &'a self,
        owner: &'a str,
        rows: &'a [(Kind, String)],
        until: Millis,
    ) -> Pending<'a, ()> {
        let (owner, rows) = (owner.to_owned(), rows.to_vec());
        self.ask("write to", move |turn| {
            for row in turn.table.renewed(&owner, &rows, until) {
                turn.set(row);
            }
        })
    }

    fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>> {
        self.ask("read", move |turn| turn.table.listed(status, limit))
    }

    fn purge(&self, now: Millis) -> Pending<'_, u64> {
        self.ask("write to", move |turn| {
            let gone = turn.table.purged(now);
            for (kind, id) in &gone {
                turn.remove(*kind, id);
            }
            gone.len() as u64
        })
    }
}

/// Why a turn is not durable.
struct Failed(io::Error);

impl Failed {
    /// The same error once more: many wait for one write.
    fn again(&self) -> io::Error {
        match self.0.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(self.0.kind(), self.0.to_string()),
        }
    }
}

/// What happens between two syncs.
struct Turn<'a> {
    table: &'a mut Table,
    entries: Vec<Entry>,
    /// What the table had before, to be put back in reverse.
    before: Vec<(Kind, String, Option<Row>)>,
}

impl Turn<'_> {
    fn set(&mut self, row: Row) {
        self.entries.push(Entry::Set(row.clone()));
        let (kind, id) = (row.kind, row.id.clone());
        let before = self.table.set(row);
        self.before.push((kind, id, before));
    }

    fn remove(&mut self, kind: Kind, id: &str) {
        self.entries.push(Entry::Remove(kind, id.to_owned()));
        let before = self.table.remove(kind, id);
        self.before.push((kind, id.to_owned(), before));
    }
}

/// The thread: takes what has come, writes it as one frame, answers.
fn serve(mut log: Log, inbox: &mpsc::Receiver<Job>) {
    let mut table = std::mem::take(&mut log.table);
    while let Ok(job) = inbox.recv() {
        let mut turn = Turn {
            table: &mut table,
            entries: Vec::new(),
            before: Vec::new(),
        };
        let mut answers = vec![job(&mut turn)];
        while answers.len() < BATCH
            && let Ok(job) = inbox.try_recv()
        {
            answers.push(job(&mut turn));
        }
        let Turn {
            entries, before, ..
        } = turn;
        let durable = log.append(&entries).map_err(Failed);
        if durable.is_err() {
            for (kind, id, row) in before.into_iter().rev() {
                match row {
                    Some(row) => table.set(row),
                    None => table.remove(kind, &id),
                };
            }
        }
        for answer in answers {
            answer(durable.as_ref().copied());
        }
        log.compact_if_worth_it(&table);
    }
}

/// The file.
struct Log {
    path: PathBuf,
    file: File,
    salt: [u8; 8],
    number: u64,
    /// How many bytes are whole and durable.
    whole: u64,
    /// The size after the last compaction.
    compact: u64,
    /// There may be bytes after `whole` that are to be cut off first.
    torn: bool,
    /// A compaction failed half way: the path may lead to the old file or to the new one.
    uncertain: bool,
    table: Table,
    _lock: File,
}

impl Log {
    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::store(format!("open the journal {}", path.display()), error);
        let lock = lock(path)?;
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let scan = frame::scan(&bytes).map_err(|broken| {
            let (reason, help) = match broken {
                Broken::Foreign => (
                    "it is another kind of file, or one of another version".to_owned(),
                    "name another path",
                ),
                Broken::Damaged(at) => (
                    format!("it is damaged at byte {at}, and there is more after that"),
                    "check the disk; move the file away to begin a new one, and look in it for works that are not over",
                ),
            };
            Error::new(
                ErrorKind::Store,
                format!("open the journal {}", path.display()),
                reason,
                help,
            )
        })?;
        let Some(scan) = scan else {
            // New, or torn at its birth: nothing was promised yet.
            let salt = std::array::from_fn(|_| crate::held::Shared::dice());
            mainstay_base::fs::replace(path, &frame::head(salt), 0o600).map_err(failed)?;
            return Self::at(path, salt, 1, frame::HEAD as u64, Table::default(), lock)
                .map_err(failed);
        };
        let mut table = Table::default();
        for entry in scan.entries {
            match entry {
                Entry::Set(row) => table.set(row),
                Entry::Remove(kind, id) => table.remove(kind, &id),
            };
        }
        let mut log = Self::at(
            path,
            scan.salt,
            scan.number.max(1),
            scan.whole as u64,
            table,
            lock,
        )
        .map_err(failed)?;
        log.torn = scan.whole < bytes.len();
        log.mend().map_err(failed)?;
        Ok(log)
    }

    fn at(
        path: &Path,
        salt: [u8; 8],
        number: u64,
        whole: u64,
        table: Table,
        lock: File,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            salt,
            number,
            whole,
            compact: whole,
            torn: false,
            uncertain: false,
            table,
            _lock: lock,
        })
    }

    /// Cuts off what is not whole. What was synced before stays good whatever failed since.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.whole)?;
            self.file.sync_all()?;
            self.torn = false;
        }
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.find()?;
        self.mend()?;
        let bytes = frame::frame(self.salt, self.number, entries);
        self.torn = true;
        self.file.seek(SeekFrom::Start(self.whole))?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.torn = false;
        self.whole += bytes.len() as u64;
        self.number += 1;
        Ok(())
    }

    /// Writes the file anew when more than half of it is dead. If that fails, the old one goes on.
    fn compact_if_worth_it(&mut self, table: &Table) {
        if self.whole < WASTE || self.whole / 2 < self.compact {
            return;
        }
        let rows: Vec<Entry> = table.rows().cloned().map(Entry::Set).collect();
        let mut bytes = frame::head(self.salt);
        bytes.extend(frame::frame(self.salt, self.number, &rows));
        self.uncertain = true;
        let written = mainstay_base::fs::replace(&self.path, &bytes, 0o600);
        if let Err(error) = written.and_then(|()| self.find()) {
            log::warn!(
                "cannot compact the journal {}: {error}",
                self.path.display()
            );
        }
        // After a failure it is tried again at twice the size.
        self.compact = self.whole;
    }

    /// After a compaction: goes on with the file that the path leads to for good.
    fn find(&mut self) -> io::Result<()> {
        if !self.uncertain {
            return Ok(());
        }
        let directory = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        mainstay_base::fs::sync_dir(directory.unwrap_or(Path::new(".")))?;
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let (found, old) = (file.metadata()?, self.file.metadata()?);
        if found.ino() != old.ino() {
            self.file = file;
            self.whole = found.len();
            self.number += 1;
            self.torn = false;
        }
        self.uncertain = false;
        Ok(())
    }
}

/// The lock beside the file; the file itself is replaced by compactions.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let attempt = format!("lock the journal {}", path.display());
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(|error| Error::store(attempt.clone(), error))?;
    lock.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => Error::new(
            ErrorKind::Store,
            attempt,
            "another process has it open",
            "a file is for one process; take a database for several",
        ),
        std::fs::TryLockError::Error(error) => Error::store(attempt, error),
    })?;
    Ok(lock)
}

#[cfg(test)]
mod tests;

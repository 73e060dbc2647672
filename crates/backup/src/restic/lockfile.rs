//! The locks of restic, which keep stock `restic prune` away while we write.
//!
//! A lock is a file in `locks/`, encrypted like all others, of JSON that says when, by whom, and whether
//! it is exclusive (<https://restic.readthedocs.io/en/stable/100_references.html#locks>). The library
//! writes none. But what it writes for a snapshot has a time, a host and a user as well, under the same
//! names, and restic ignores what it does not know: so ours are written as snapshots, into another
//! directory. Such a lock is never exclusive, which is enough: restic takes an exclusive one for all that
//! removes data, and our own prune removes nothing that was needed in the last 23 hours.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use mainstay_base::{Clock, SystemClock};
use rustic_core::repofile::{MasterKey, SnapshotFile};
use rustic_core::{
    BytesList, Credentials, FileType, Id, ReadBackend, RusticResult, SnapshotOptions, WriteBackend,
};

use super::raw;
use super::store::Store;
use crate::error::{Error, ErrorKind};
use crate::progress::{Progress, Quiet};

/// How often a lock is written anew; restic takes one that is older than half an hour for left behind.
const REFRESH: Duration = Duration::from_mins(5);

/// The repository with its locks in place of its snapshots.
#[derive(Debug)]
struct Locks(Arc<Store>);

impl ReadBackend for Locks {
    fn location(&self) -> String {
        self.0.location()
    }
    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        match kind {
            FileType::Snapshot => Ok(self.0.locks()?.into_iter().map(|(id, _)| (id, 0)).collect()),
            kind => self.0.list_with_size(kind),
        }
    }
    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        match kind {
            FileType::Snapshot => self.0.read_lock(id),
            kind => self.0.read_full(kind, id),
        }
    }
    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.0.read_partial(kind, id, cacheable, offset, length)
    }
    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.0.warmup_path(kind, id)
    }
}

impl WriteBackend for Locks {
    fn create(&self) -> RusticResult<()> {
        Ok(())
    }
    fn write_bytes(
        &self,
        kind: FileType,
        id: &Id,
        cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        match kind {
            FileType::Snapshot => self.0.write_lock(id, content),
            kind => self.0.write_bytes(kind, id, cacheable, content),
        }
    }
    fn remove(&self, kind: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.0.remove(kind, id, cacheable)
    }
}

/// What is read of a lock, of ours or of restic's.
#[derive(serde::Deserialize)]
struct Content {
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
}

/// A lock that is kept fresh until it is dropped.
pub(super) struct Announced {
    store: Arc<Store>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.store.drop_locks(&self.store.held());
    }
}

struct Writer {
    store: Arc<Store>,
    key: MasterKey,
    name: String,
}

impl Writer {
    fn open(&self) -> RusticResult<rustic_core::Repository<rustic_core::OpenStatus>> {
        let quiet: Arc<dyn Progress> = Arc::new(Quiet);
        let backend: Arc<dyn WriteBackend> = Arc::new(Locks(Arc::clone(&self.store)));
        raw(backend, &quiet, None)?.open(&Credentials::Masterkey(self.key.clone()))
    }

    fn write(&self) -> RusticResult<()> {
        let options = SnapshotOptions::default()
            .host(self.name.clone())
            // Others judge by their own clocks whether it is fresh: this is the system's, always.
            .time(SystemClock::new().now().to_zoned(TimeZone::UTC))
            .command("lock".to_owned());
        let mut file = SnapshotFile::from_options(&options)?;
        file.username = format!("process {}", std::process::id());
        self.open()?.save_snapshots(vec![file])
    }

    /// Removes what a killed run of this host left, and says who has it locked for himself alone.
    fn look(&self) -> RusticResult<Option<String>> {
        let repository = self.open()?;
        for (id, fresh) in self.store.locks()? {
            let hex = id.to_hex();
            let Ok(text) = repository.cat_file(FileType::Snapshot, hex.as_str()) else {
                continue;
            };
            let Ok(content) = serde_json::from_slice::<Content>(&text) else {
                continue;
            };
            if content.hostname == self.name && !self.store.held().contains(&id) {
                let lives = content
                    .username
                    .strip_prefix("process ")
                    .is_some_and(|pid| Path::new("/proc").join(pid).exists());
                if !lives || !fresh {
                    self.store.drop_locks(&[id]);
                }
            } else if content.exclusive && fresh {
                return Ok(Some(format!("{}@{}", content.username, content.hostname)));
            }
        }
        Ok(None)
    }
}

/// Writes a lock and keeps it fresh. Fails if another program has the repository for itself alone.
pub(super) fn announce(
    store: &Arc<Store>,
    key: &MasterKey,
    host: &str,
    attempt: &str,
) -> Result<Announced, Error> {
    let writer = Writer {
        store: Arc::clone(store),
        key: key.clone(),
        // Not the name of the host alone: restic asks there whether the process lives, by a number
        // that this file does not have.
        name: format!("{host} (mainstay)"),
    };
    let (stop, stopped) = mpsc::channel();
    let mut announced = Announced {
        store: Arc::clone(store),
        stop: Some(stop),
        thread: None,
    };
    // First the lock, then the look, as restic does: of two who do so at once, one sees the other.
    let other = writer
        .write()
        .and_then(|()| writer.look())
        .map_err(|error| super::translate(attempt, store, &error))?;
    if let Some(other) = other {
        return Err(Error::new(
            ErrorKind::Locked,
            attempt,
            format!("{other} has it locked with stock restic"),
        )
        .with_help("wait until that is done and try again; if it was killed, `restic unlock` removes its lock"));
    }
    let thread = std::thread::Builder::new()
        .name("backup-lock".to_owned())
        .spawn(move || {
            while stopped.recv_timeout(REFRESH) == Err(mpsc::RecvTimeoutError::Timeout) {
                let old = writer.store.held();
                match writer.write() {
                    Ok(()) => writer.store.drop_locks(&old),
                    Err(error) => log::warn!("cannot renew a lock: {}", error.display_log()),
                }
            }
        });
    // Without it the lock would be taken for left behind in the middle of a long run.
    announced.thread = Some(thread.map_err(|error| {
        Error::new(
            ErrorKind::Io,
            attempt,
            format!("the thread that keeps its lock fresh cannot be started: {error}"),
        )
        .with_help("raise the limit of threads (ulimit -u, pids.max)")
    })?);
    Ok(announced)
}

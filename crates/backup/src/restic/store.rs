//! The files of a repository as the library wants them, wherever they lie.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustic_core::{
    BytesList, ErrorKind as RusticKind, FileType, Id, ReadBackend, RusticError, RusticResult,
    WriteBackend,
};

use super::index::lock;
use super::place::{Listed, Place};
use crate::error::{Error, reason_of_io};
use crate::progress::Progress;

/// A lock that is older was left behind by a process that died; the format says so.
const STALE: Duration = Duration::from_mins(30);

/// The place, and what happened to it since it was opened.
pub(super) struct Store {
    place: Arc<dyn Place>,
    progress: Arc<dyn Progress>,
    /// The first write that failed; nothing is written after it.
    failed: Mutex<Option<Error>>,
    written: AtomicU64,
    removed: AtomicU64,
    /// The snapshot file written last.
    snapshot: Mutex<Option<Id>>,
    /// The locks of ours.
    held: Mutex<Vec<Id>>,
    /// Whether reads end when the caller wants to stop. The library asks nobody while it checks.
    checking: AtomicBool,
    /// Whether progress is told of what is read from packs.
    counting: AtomicBool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("place", &self.place.path(""))
            .finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn new(place: Arc<dyn Place>, progress: Arc<dyn Progress>) -> Self {
        Self {
            place,
            progress,
            failed: Mutex::new(None),
            written: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            snapshot: Mutex::new(None),
            held: Mutex::default(),
            checking: AtomicBool::new(false),
            counting: AtomicBool::new(false),
        }
    }

    /// From now on reads end when the caller wants to stop, and count for progress; or no longer.
    pub(super) fn set_checking(&self, checking: bool) {
        self.checking.store(checking, Ordering::Relaxed);
        self.counting.store(checking, Ordering::Relaxed);
    }

    /// From now on somebody else tells progress of what is read.
    pub(super) fn stop_counting(&self) {
        self.counting.store(false, Ordering::Relaxed);
    }

    fn may_read(&self, path: &str) -> RusticResult<()> {
        if self.checking.load(Ordering::Relaxed) && self.progress.cancelled() {
            let error = io::Error::new(io::ErrorKind::Interrupted, "the caller asked to stop");
            return Err(self.backend_error("read the repository", path, error));
        }
        Ok(())
    }

    /// The error of the first write or listing that failed, for people.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.failed).clone()
    }

    /// Whether the caller wants to stop.
    pub(super) fn cancelled(&self) -> bool {
        self.progress.cancelled()
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes removed so far.
    pub(super) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// The id of the snapshot file written last.
    pub(super) fn last_snapshot(&self) -> Option<Id> {
        *lock(&self.snapshot)
    }

    /// The locks in the repository, and whether each is fresh.
    pub(super) fn locks(&self) -> RusticResult<Vec<(Id, bool)>> {
        let listed = match self.place.list("locks") {
            // Nobody has locked it yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => {
                listed.map_err(|error| self.backend_error("list its locks", "locks", error))?
            }
        };
        Ok(listed
            .into_iter()
            .filter_map(|file| Some((id_of(&file.name)?, is_fresh(&file))))
            .collect())
    }

    pub(super) fn read_lock(&self, id: &Id) -> RusticResult<Bytes> {
        let path = lock_path(id);
        self.place
            .read(&path)
            .map_err(|error| self.backend_error("read a lock", &path, error))
    }

    /// Writes a lock, which is ours from then on.
    pub(super) fn write_lock(&self, id: &Id, content: BytesList) -> RusticResult<()> {
        let path = lock_path(id);
        self.place
            .write(&path, content.slice())
            .map_err(|error| self.backend_error("lock the repository", &path, error))?;
        lock(&self.held).push(*id);
        Ok(())
    }

    /// The locks that are ours.
    pub(super) fn held(&self) -> Vec<Id> {
        lock(&self.held).clone()
    }

    /// Removes locks.
    pub(super) fn drop_locks(&self, ids: &[Id]) {
        for id in ids {
            let _ = self.place.remove(&lock_path(id));
        }
        lock(&self.held).retain(|id| !ids.contains(id));
    }

    /// Whether another program or host holds a lock on the repository.
    pub(super) fn foreign_lock(&self) -> RusticResult<bool> {
        let held = self.held();
        Ok(self
            .locks()?
            .iter()
            .any(|(id, fresh)| *fresh && !held.contains(id)))
    }

    /// Notes the first failure and turns it into an error the library passes through.
    fn fail(&self, attempt: &str, path: &str, error: io::Error) -> Box<RusticError> {
        lock(&self.failed)
            .get_or_insert_with(|| Error::io(attempt, &self.place.path(path), &error));
        self.backend_error(attempt, path, error)
    }

    fn backend_error(&self, attempt: &str, path: &str, error: io::Error) -> Box<RusticError> {
        RusticError::with_source(
            RusticKind::Backend,
            format!(
                "cannot {attempt}: {}: {}",
                self.place.path(path).display(),
                reason_of_io(&error)
            ),
            error,
        )
    }
}

fn file(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    let hex = hex.as_str();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{hex}", &hex[..2]),
        _ => format!("{}/{hex}", kind.dirname()),
    }
}

fn lock_path(id: &Id) -> String {
    format!("locks/{}", id.to_hex().as_str())
}

fn is_fresh(file: &Listed) -> bool {
    // A clock that is behind makes it no older.
    file.modified
        .is_some_and(|time| time.elapsed().map_or(true, |age| age < STALE))
}

fn id_of(name: &str) -> Option<Id> {
    (name.len() == 64).then(|| name.parse().ok()).flatten()
}

impl ReadBackend for Store {
    fn location(&self) -> String {
        self.place.path("").display().to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let size_of = |path: &str, size: u64| {
            u32::try_from(size).map_err(|_| {
                self.fail(
                    "read the repository",
                    path,
                    io::Error::other("larger than 4 GiB"),
                )
            })
        };
        if kind == FileType::Config {
            return match self.place.size("config") {
                Ok(size) => Ok(vec![(Id::default(), size_of("config", size)?)]),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(self.fail("read the repository", "config", error)),
            };
        }
        let directory = kind.dirname();
        let listed = self
            .place
            .list(directory)
            .map_err(|error| self.fail("list the repository", directory, error))?;
        let mut files = Vec::with_capacity(listed.len());
        for file in listed {
            if let Some(id) = id_of(&file.name) {
                files.push((id, size_of(directory, file.size)?));
            }
        }
        Ok(files)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let path = file(kind, id);
        self.may_read(&path)?;
        self.place
            .read(&path)
            .map_err(|error| self.backend_error("read the repository", &path, error))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let path = file(kind, id);
        self.may_read(&path)?;
        let read = self
            .place
            .read_range(&path, offset, length)
            .map_err(|error| self.backend_error("read the repository", &path, error));
        if self.counting.load(Ordering::Relaxed) {
            self.progress.advance(length.into());
        }
        read
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.place.path(&file(kind, id)).display().to_string()
    }
}

impl WriteBackend for Store {
    fn create(&self) -> RusticResult<()> {
        self.place
            .create()
            .map_err(|error| self.fail("create the repository", "", error))
    }

    fn write_bytes(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        let path = file(kind, id);
        if let Some(failure) = &*lock(&self.failed) {
            return Err(RusticError::new(
                RusticKind::Backend,
                format!("not written after an earlier failure: {failure}"),
            ));
        }
        if self.progress.cancelled() {
            let error = io::Error::new(io::ErrorKind::Interrupted, "the caller asked to stop");
            return Err(self.fail("write to the repository", &path, error));
        }
        self.place
            .write(&path, content.slice())
            .map_err(|error| self.fail("write to the repository", &path, error))?;
        self.written
            .fetch_add(content.size() as u64, Ordering::Relaxed);
        if kind == FileType::Snapshot {
            *lock(&self.snapshot) = Some(*id);
        }
        Ok(())
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = file(kind, id);
        let size = match kind {
            FileType::Pack => self.place.size(&path).unwrap_or(0),
            _ => 0,
        };
        match self.place.remove(&path) {
            Ok(()) => {
                self.removed.fetch_add(size, Ordering::Relaxed);
                Ok(())
            }
            // Somebody else removed it: what was wanted is so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.fail("remove from the repository", &path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::progress::Quiet;

    /// A place of which nothing can be listed, for this reason.
    struct Deaf(io::ErrorKind);

    impl Place for Deaf {
        fn path(&self, path: &str) -> PathBuf {
            path.into()
        }
        fn top(&self) -> io::Result<Option<Vec<String>>> {
            Err(self.0.into())
        }
        fn create(&self) -> io::Result<()> {
            Err(self.0.into())
        }
        fn list(&self, _: &str) -> io::Result<Vec<Listed>> {
            Err(self.0.into())
        }
        fn size(&self, _: &str) -> io::Result<u64> {
            Err(self.0.into())
        }
        fn read(&self, _: &str) -> io::Result<Bytes> {
            Err(self.0.into())
        }
        fn read_range(&self, _: &str, _: u32, _: u32) -> io::Result<Bytes> {
            Err(self.0.into())
        }
        fn write(&self, _: &str, _: &[Bytes]) -> io::Result<()> {
            Err(self.0.into())
        }
        fn remove(&self, _: &str) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn locks_that_cannot_be_listed_are_not_none() {
        let locked = |kind| {
            let store = Store::new(Arc::new(Deaf(kind)), Arc::new(Quiet));
            store.foreign_lock().ok()
        };
        assert_eq!(locked(io::ErrorKind::NotFound), Some(false));
        assert_eq!(locked(io::ErrorKind::ConnectionReset), None);
        assert_eq!(locked(io::ErrorKind::PermissionDenied), None);
    }
}

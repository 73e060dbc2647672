//! The files of a repository in a local directory, in the layout of restic's local backend.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustic_core::{
    ALL_FILE_TYPES, BytesList, ErrorKind as RusticKind, FileType, Id, ReadBackend, RusticError,
    RusticResult, WriteBackend,
};

use crate::error::{Error, reason_of_io};
use crate::progress::Progress;

/// The directory, and what happened to it since it was opened.
pub(super) struct Store {
    path: PathBuf,
    progress: Arc<dyn Progress>,
    /// The first write that failed; nothing is written after it.
    failed: Mutex<Option<Failure>>,
    written: AtomicU64,
    removed: AtomicU64,
    /// The snapshot file written last.
    snapshot: Mutex<Option<Id>>,
    /// The locks of ours.
    held: Mutex<Vec<Id>>,
}

struct Failure {
    attempt: String,
    path: PathBuf,
    kind: io::ErrorKind,
    raw: Option<i32>,
    text: String,
}

impl Failure {
    fn error(&self) -> Error {
        let error = match self.raw {
            Some(raw) => io::Error::from_raw_os_error(raw),
            None => io::Error::new(self.kind, self.text.clone()),
        };
        Error::io(&self.attempt, &self.path, &error)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Store {
    pub(super) fn new(path: PathBuf, progress: Arc<dyn Progress>) -> Self {
        Self {
            path,
            progress,
            failed: Mutex::new(None),
            written: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            snapshot: Mutex::new(None),
            held: Mutex::default(),
        }
    }

    /// The error of the first write or listing that failed, for people.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.failed).as_ref().map(Failure::error)
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
    pub(super) fn locks(&self) -> Vec<(Id, bool)> {
        let entries = fs::read_dir(self.path.join("locks")).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| {
                let id = id_of(&entry.file_name().to_string_lossy())?;
                Some((id, is_fresh(&entry)))
            })
            .collect()
    }

    fn lock_path(&self, id: &Id) -> PathBuf {
        self.path.join("locks").join(id.to_hex().as_str())
    }

    pub(super) fn read_lock(&self, id: &Id) -> RusticResult<Bytes> {
        let path = self.lock_path(id);
        fs::read(&path)
            .map(Bytes::from)
            .map_err(|error| backend_error("read a lock", &path, error))
    }

    /// Writes a lock, which is ours from then on.
    pub(super) fn write_lock(&self, id: &Id, content: BytesList) -> RusticResult<()> {
        let path = self.lock_path(id);
        Self::write(&self.path.join("locks"), &path, content)
            .map_err(|error| backend_error("lock the repository", &path, error))?;
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
            let _ = fs::remove_file(self.lock_path(id));
        }
        lock(&self.held).retain(|id| !ids.contains(id));
    }

    /// Whether another program or host holds a lock on the repository. Its locks are files; the format says that
    /// one older than half an hour was left behind by a process that died.
    pub(super) fn foreign_lock(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.path.join("locks")) else {
            return false;
        };
        let held = self.held();
        entries.flatten().any(|entry| {
            let ours =
                id_of(&entry.file_name().to_string_lossy()).is_some_and(|id| held.contains(&id));
            !ours && is_fresh(&entry)
        })
    }

    fn directory(&self, kind: FileType, id: &Id) -> PathBuf {
        match kind {
            FileType::Config => self.path.clone(),
            FileType::Pack => self.path.join("data").join(&id.to_hex().as_str()[..2]),
            _ => self.path.join(kind.dirname()),
        }
    }

    fn file(&self, kind: FileType, id: &Id) -> PathBuf {
        match kind {
            FileType::Config => self.path.join("config"),
            _ => self.directory(kind, id).join(id.to_hex().as_str()),
        }
    }

    /// Notes the first failure and turns it into an error the library passes through.
    fn fail(&self, attempt: &str, path: &Path, error: io::Error) -> Box<RusticError> {
        let mut failed = lock(&self.failed);
        if failed.is_none() {
            *failed = Some(Failure {
                attempt: attempt.to_owned(),
                path: path.to_owned(),
                kind: error.kind(),
                raw: error.raw_os_error(),
                text: error.to_string(),
            });
        }
        backend_error(attempt, path, error)
    }

    fn visit(
        &self,
        kind: FileType,
        mut found: impl FnMut(Id, &fs::DirEntry) -> io::Result<()>,
    ) -> RusticResult<()> {
        let top = self.path.join(kind.dirname());
        let mut directories = vec![top.clone()];
        while let Some(directory) = directories.pop() {
            let listed = (|| {
                for entry in fs::read_dir(&directory)? {
                    let entry = entry?;
                    let is_directory = entry.file_type()?.is_dir();
                    // Packs are in data/00 … data/ff; nothing else has directories.
                    if is_directory && kind == FileType::Pack && directory == top {
                        directories.push(entry.path());
                    } else if !is_directory
                        && let Some(id) = id_of(&entry.file_name().to_string_lossy())
                    {
                        found(id, &entry)?;
                    }
                }
                Ok(())
            })();
            listed.map_err(|error| self.fail("list the repository", &directory, error))?;
        }
        Ok(())
    }

    fn write(directory: &Path, path: &Path, content: BytesList) -> io::Result<u64> {
        let mut name = path
            .file_name()
            .map(std::ffi::OsStr::to_os_string)
            .unwrap_or_default();
        // Not an id, so that no listing of ours or of restic takes it for a finished file.
        name.push("-tmp-");
        let temporary = directory.join(name);
        let size = content.size() as u64;
        let result = (|| {
            private_dir(directory)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            for part in content.slice() {
                file.write_all(part)?;
            }
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(directory)?.sync_all()
        })();
        if let Err(error) = result {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(size)
    }
}

/// Creates a directory and those above it, 0700, unless it exists.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn is_fresh(entry: &fs::DirEntry) -> bool {
    entry
        .metadata()
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 30 * 60))
}

fn id_of(name: &str) -> Option<Id> {
    (name.len() == 64).then(|| name.parse().ok()).flatten()
}

fn backend_error(attempt: &str, path: &Path, error: io::Error) -> Box<RusticError> {
    RusticError::with_source(
        RusticKind::Backend,
        format!(
            "cannot {attempt}: {}: {}",
            path.display(),
            reason_of_io(&error)
        ),
        error,
    )
}

impl ReadBackend for Store {
    fn location(&self) -> String {
        format!("local:{}", self.path.display())
    }

    fn list(&self, kind: FileType) -> RusticResult<Vec<Id>> {
        if kind == FileType::Config {
            return Ok(self
                .list_with_size(kind)?
                .into_iter()
                .map(|(id, _)| id)
                .collect());
        }
        let mut ids = Vec::new();
        self.visit(kind, |id, _| {
            ids.push(id);
            Ok(())
        })?;
        Ok(ids)
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let size_of = |metadata: &fs::Metadata| {
            u32::try_from(metadata.len()).map_err(|_| io::Error::other("larger than 4 GiB"))
        };
        if kind == FileType::Config {
            let path = self.path.join("config");
            return match fs::metadata(&path).and_then(|metadata| size_of(&metadata)) {
                Ok(size) => Ok(vec![(Id::default(), size)]),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(self.fail("read the repository", &path, error)),
            };
        }
        let mut files = Vec::new();
        self.visit(kind, |id, entry| {
            match entry.metadata().and_then(|metadata| size_of(&metadata)) {
                Ok(size) => files.push((id, size)),
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        Ok(files)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let path = self.file(kind, id);
        fs::read(&path)
            .map(Bytes::from)
            .map_err(|error| backend_error("read the repository", &path, error))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let path = self.file(kind, id);
        let read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset.into()))?;
            let mut buffer = vec![0; length as usize];
            file.read_exact(&mut buffer)?;
            Ok(Bytes::from(buffer))
        };
        read().map_err(|error| backend_error("read the repository", &path, error))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.file(kind, id).display().to_string()
    }
}

impl WriteBackend for Store {
    fn create(&self) -> RusticResult<()> {
        let make = |path: PathBuf| {
            private_dir(&path).map_err(|error| self.fail("create the repository", &path, error))
        };
        make(self.path.clone())?;
        for kind in ALL_FILE_TYPES {
            make(self.path.join(kind.dirname()))?;
        }
        make(self.path.join("locks"))?;
        for first in 0..=255u8 {
            make(self.path.join("data").join(format!("{first:02x}")))?;
        }
        Ok(())
    }

    fn write_bytes(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        let path = self.file(kind, id);
        if let Some(failure) = &*lock(&self.failed) {
            return Err(RusticError::new(
                RusticKind::Backend,
                format!("not written after an earlier failure: {}", failure.error()),
            ));
        }
        if self.progress.cancelled() {
            let error = io::Error::new(io::ErrorKind::Interrupted, "the caller asked to stop");
            return Err(self.fail("write to the repository", &path, error));
        }
        let size = Self::write(&self.directory(kind, id), &path, content)
            .map_err(|error| self.fail("write to the repository", &path, error))?;
        self.written.fetch_add(size, Ordering::Relaxed);
        if kind == FileType::Snapshot {
            *lock(&self.snapshot) = Some(*id);
        }
        Ok(())
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = self.file(kind, id);
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(&path) {
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

//! A directory and everything below it.
//!
//! Names are stored absolute, as stock restic stores them: `restic restore --target /` puts everything
//! back where it was, and another target gets the whole path below it. Symbolic links are stored, never
//! followed; only the directory itself may be one, and is then stored under the name the config gives.
//! Sockets, pipes and devices are left out with a warning. Mount points below are crossed.
//!
//! A directory in use is not one moment in time: a file is stored as it was when it was read. Size and
//! times are taken from the open file, so that they belong to the same file as the content. A file that
//! grows is stored up to the size it had when it was opened; one that changes meanwhile is reported.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::OFlags;

use super::{Content, Context, Entry, Facts, Issues, Meta, Reading, Source, Weight};
use crate::error::{Error, ErrorKind, kind_of_io, reason_of_io};
use crate::glob::Excludes;
use crate::progress::Progress;

/// A directory as a source.
#[derive(Debug, Clone)]
pub struct Files {
    path: PathBuf,
    exclude: Excludes,
}

impl Files {
    /// The directory at this absolute path, without what the patterns exclude.
    pub fn new(path: PathBuf, exclude: Excludes) -> Self {
        Self { path, exclude }
    }
}

impl Source for Files {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error> {
        let attempt = format!("back up the directory {}", self.path.display());
        let metadata = fs::metadata(&self.path).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::SourceMissing,
                _ => ErrorKind::SourceUnreadable,
            };
            Error::new(kind, &attempt, reason_of_io(&error)).with_help(
                "check `files.path` in the config; nothing was stored, and no older snapshot was removed",
            )
        })?;
        if !metadata.is_dir() {
            return Err(Error::new(
                ErrorKind::SourceUnreadable,
                attempt,
                "it is not a directory",
            )
            .with_help("name the directory above it, with `exclude` for what you do not want"));
        }
        // An unreadable root would otherwise give an empty snapshot with one issue.
        fs::read_dir(&self.path).map_err(|error| Error::io(&attempt, &self.path, &error))?;
        Ok(Box::new(Tree {
            shared: Arc::new(Shared {
                root: self.path.clone(),
                exclude: self.exclude.clone(),
                progress: Arc::clone(context.progress),
                issues: Issues::default(),
            }),
        }))
    }
}

struct Shared {
    root: PathBuf,
    exclude: Excludes,
    progress: Arc<dyn Progress>,
    issues: Issues,
}

struct Tree {
    shared: Arc<Shared>,
}

impl Reading for Tree {
    fn root(&self) -> &Path {
        &self.shared.root
    }

    fn total(&self) -> Option<u64> {
        if !self.shared.progress.wants_total() {
            return None;
        }
        let mut total = 0;
        let mut stack = vec![self.shared.root.clone()];
        while let Some(directory) = stack.pop() {
            if self.shared.progress.cancelled() {
                return None;
            }
            // What cannot be read here is reported when it is read for good.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if self.shared.excluded(&path) {
                    continue;
                }
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => stack.push(path),
                    Ok(metadata) if metadata.is_file() => total += metadata.len(),
                    _ => {}
                }
            }
        }
        Some(total)
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        Box::new(Walk::new(Arc::clone(&self.shared)))
    }

    fn take_issues(&self) -> Vec<super::Issue> {
        self.shared.issues.take()
    }

    fn facts(&self) -> Facts {
        Facts {
            kind: "files".to_owned(),
            ..Facts::default()
        }
    }

    fn unchanged_by_times(&self) -> bool {
        true
    }
}

impl Shared {
    /// Makes an issue of what could not be read.
    fn report(&self, path: &Path, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            self.issues.add(
                Weight::Warning,
                path,
                "vanished while the backup was running",
            );
        } else {
            let advice = if kind_of_io(error) == ErrorKind::Denied {
                "; not stored"
            } else {
                " while reading; not stored"
            };
            self.issues.add(
                Weight::Missing,
                path,
                format!("{}{advice}", reason_of_io(error)),
            );
        }
    }

    fn excluded(&self, path: &Path) -> bool {
        path.strip_prefix(&self.root)
            .is_ok_and(|relative| self.exclude.matches(relative))
    }
}

/// Depth first, names sorted by their bytes.
struct Walk {
    shared: Arc<Shared>,
    /// Entries that come before the root: the directories above it.
    head: VecDeque<Entry>,
    /// What is left of each open directory.
    open: Vec<std::vec::IntoIter<PathBuf>>,
}

impl Walk {
    fn new(shared: Arc<Shared>) -> Self {
        let head = ancestors(&shared.root, &shared.issues);
        let mut walk = Self {
            shared,
            head,
            open: Vec::new(),
        };
        walk.enter_root();
        walk
    }

    fn enter_root(&mut self) {
        let root = self.shared.root.clone();
        match fs::metadata(&root) {
            Ok(metadata) => {
                let meta = meta(&root, &metadata, &self.shared.issues);
                self.head.push_back(Entry {
                    path: root.clone(),
                    meta,
                    content: Content::Directory,
                });
                self.enter(&root);
            }
            Err(error) => self.report(&root, &error),
        }
    }

    fn enter(&mut self, directory: &Path) {
        let listed = fs::read_dir(directory).and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()
        });
        match listed {
            Ok(mut names) => {
                names.sort_unstable();
                let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
                self.open.push(paths.into_iter());
            }
            Err(error) => self.report(directory, &error),
        }
    }

    fn report(&self, path: &Path, error: &io::Error) {
        self.shared.report(path, error);
    }

    /// The entry at a path, or nothing when it is left out; why is then an issue.
    fn entry(&mut self, path: PathBuf) -> Option<Entry> {
        if self.shared.excluded(&path) {
            return None;
        }
        match self.read(&path) {
            Ok(Some((meta, content))) => {
                if matches!(content, Content::Directory) {
                    self.enter(&path);
                }
                Some(Entry {
                    path,
                    meta,
                    content,
                })
            }
            Ok(None) => None,
            Err(error) => {
                self.report(&path, &error);
                None
            }
        }
    }

    fn read(&self, path: &Path) -> io::Result<Option<(Meta, Content)>> {
        let issues = &self.shared.issues;
        let metadata = fs::symlink_metadata(path)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Ok(Some((meta(path, &metadata, issues), Content::Directory)));
        }
        if kind.is_symlink() {
            let target = fs::read_link(path)?;
            return Ok(Some((
                meta(path, &metadata, issues),
                Content::Symlink(target),
            )));
        }
        if !kind.is_file() {
            let what = if kind.is_socket() {
                "a socket"
            } else if kind.is_fifo() {
                "a named pipe"
            } else {
                "a device"
            };
            issues.add(Weight::Warning, path, format!("is {what}; not stored"));
            return Ok(None);
        }
        let path = path.to_owned();
        let seen = plain_meta(&metadata);
        let shared = Arc::clone(&self.shared);
        let open = Box::new(move || match open(&path, &shared) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                let what =
                    "was replaced by something that is not a file while the backup was running";
                shared.issues.add(Weight::Warning, &path, what);
                Err(io::Error::other(what))
            }
            Err(error) => {
                shared.report(&path, &error);
                Err(error)
            }
        });
        Ok(Some((seen, Content::Late(open))))
    }
}

/// Opens a file; nothing if it is none any more.
fn open(path: &Path, shared: &Arc<Shared>) -> io::Result<Option<(Meta, Box<dyn Read + Send>)>> {
    // NOFOLLOW and NONBLOCK: what was a file a moment ago may be a link or a pipe now.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let meta = meta(path, &metadata, &shared.issues);
    let reader = Steady {
        file,
        path: path.to_owned(),
        left: meta.size,
        before: (metadata.len(), metadata.mtime(), metadata.mtime_nsec()),
        shared: Arc::clone(shared),
    };
    Ok(Some((meta, Box::new(reader))))
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if let Some(entry) = self.head.pop_front() {
            return Some(entry);
        }
        loop {
            if self.shared.progress.cancelled() {
                return None;
            }
            match self.open.last_mut()?.next() {
                Some(path) => {
                    if let Some(entry) = self.entry(path) {
                        return Some(entry);
                    }
                }
                None => {
                    self.open.pop();
                }
            }
        }
    }
}

/// Delivers exactly the bytes the file had when it was opened, or fails.
struct Steady {
    file: File,
    path: PathBuf,
    left: u64,
    before: (u64, i64, i64),
    shared: Arc<Shared>,
}

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        if self.shared.progress.cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = match self.file.read(&mut buffer[..most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.shared.issues.add(
                    Weight::Missing,
                    &self.path,
                    format!("{} while reading; not stored", reason_of_io(&error)),
                );
                return Err(error);
            }
            Ok(0) => {
                let what = "became shorter while it was read; not stored";
                self.shared.issues.add(Weight::Missing, &self.path, what);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            Ok(count) => count,
        };
        self.left -= count as u64;
        if self.left == 0
            && let Ok(now) = self.file.metadata()
            && (now.len(), now.mtime(), now.mtime_nsec()) != self.before
        {
            self.shared.issues.add(
                Weight::Warning,
                &self.path,
                "changed while it was read; stored as it was found",
            );
        }
        Ok(count)
    }
}

/// The directories above `root`, outermost first, so that a restore by stock restic to `/` gives them
/// their own mode and owner and not invented ones.
pub(super) fn ancestors(root: &Path, issues: &Issues) -> VecDeque<Entry> {
    let mut above = VecDeque::new();
    for path in root.ancestors().skip(1) {
        if path.parent().is_none() {
            break;
        }
        if let Ok(metadata) = fs::metadata(path) {
            above.push_front(Entry {
                path: path.to_owned(),
                meta: meta(path, &metadata, issues),
                content: Content::Directory,
            });
        }
    }
    above
}

/// The metadata of what stands at `path`.
pub(super) fn meta(path: &Path, metadata: &Metadata, issues: &Issues) -> Meta {
    Meta {
        attributes: attributes(path, issues),
        ..plain_meta(metadata)
    }
}

/// The same without extended attributes.
pub(super) fn plain_meta(metadata: &Metadata) -> Meta {
    let is_file = metadata.is_file();
    Meta {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: Some(time(metadata.ctime(), metadata.ctime_nsec())),
        size: if is_file { metadata.len() } else { 0 },
        hard_link: (is_file && metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino())),
        attributes: Vec::new(),
    }
}

fn time(seconds: i64, nanoseconds: i64) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn attributes(path: &Path, issues: &Issues) -> Vec<(String, Vec<u8>)> {
    let list = |names: &mut [u8]| rustix::fs::llistxattr(path, names);
    let mut few = [0; 256];
    let mut many = Vec::new();
    let listed = match list(&mut few) {
        Err(rustix::io::Errno::RANGE) => {
            // The kernel limits the list and each value to 64 KiB (xattr(7)).
            many.resize(65536, 0);
            list(&mut many)
        }
        listed => listed,
    };
    let length = match listed {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOENT) => return Vec::new(),
        Ok(length) => length,
        Err(error) => {
            let error = io::Error::from(error);
            issues.add(
                Weight::Warning,
                path,
                format!("its extended attributes: {}", reason_of_io(&error)),
            );
            return Vec::new();
        }
    };
    let names = if many.is_empty() {
        &few[..length]
    } else {
        &many[..length]
    };
    let mut found = Vec::new();
    let mut value = vec![0u8; 65536];
    for name in names.split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let Ok(name) = std::str::from_utf8(name) else {
            issues.add(
                Weight::Warning,
                path,
                "an extended attribute whose name is not UTF-8; not stored",
            );
            continue;
        };
        if let Ok(length) = rustix::fs::lgetxattr(path, name, &mut value[..]) {
            found.push((name.to_owned(), value[..length].to_vec()));
        }
    }
    found
}

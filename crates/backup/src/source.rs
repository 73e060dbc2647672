//! What can be backed up: anything that can be read as entries of a tree.
//!
//! A [`Source`] is opened once per run. Opening takes the moment in time (a consistent copy of a
//! database, nothing for a directory); the [`Reading`] that comes of it lists entries, and each file
//! among them is a stream that is opened when its turn comes. Nothing requires a file on disk behind
//! an entry: a database dump is a list of named streams, cut by [`segments()`] where its length is not
//! known in advance.

pub mod files;
pub mod mysql;
pub mod redis;
mod segments;
pub mod sqlite;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use mainstay_base::counted;

use crate::error::Error;
use crate::progress::Progress;

pub use segments::segments;

/// Something that can be backed up.
pub trait Source: Send + Sync {
    /// What kind of source it is, as the config calls it.
    fn kind(&self) -> &'static str;

    /// Takes the moment in time that will be stored.
    ///
    /// Every repository the backup goes to reads from the same `Reading`.
    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error>;
}

/// What a source needs from the run it is opened for.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// A private directory (0700) that exists for this run only and is removed after it.
    pub staging: &'a Path,
    /// Where to show what is going on.
    pub progress: &'a Arc<dyn Progress>,
}

/// A source at one moment in time.
pub trait Reading: Send + Sync {
    /// The absolute path that the snapshot is of. Every entry is this path, an ancestor of it, or
    /// below it.
    fn root(&self) -> &Path;

    /// The total size in bytes of what will be read, where it can be known beforehand.
    fn total(&self) -> Option<u64>;

    /// The entries, parents before children and children sorted by the bytes of their names, so that
    /// unchanged directories are recognised. Called once for each repository.
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send>;

    /// The content as it comes, for a source that cannot list it; then it is read in place of the
    /// entries. Called once for each repository.
    fn flow(&self) -> Option<Result<Box<dyn Flow>, Error>> {
        None
    }

    /// Asked when all entries were read, before a snapshot is made of them: whether they are to be read
    /// once more, because the source was changed under the reading. It has taken a later moment then,
    /// and nothing is to be made of what was read.
    fn again(&self) -> Result<bool, Error> {
        Ok(false)
    }

    /// What went wrong while the entries were listed and read last, and before. What belongs to one
    /// reading is emptied by the call; what would be so again with the next, is told again.
    fn take_issues(&self) -> Vec<Issue>;

    /// What is known about the content as a whole, stored in the snapshot, so that a later
    /// verification needs neither the source nor the catalog. Asked when everything has been read.
    fn facts(&self) -> Facts;

    /// How many rows, or keys, were read, for a database; asked when everything has been read.
    fn rows(&self) -> Option<u64> {
        None
    }

    /// Whether a file whose type, size, mtime and ctime are those of the last snapshot may be taken
    /// from there without being read.
    fn unchanged_by_times(&self) -> bool;
}

/// Files that come piece by piece, several at once, in any order, and of sizes that are known at their
/// ends only.
pub trait Flow: Send {
    /// What comes next, or nothing when all has come and is whole. After an error nothing is stored.
    fn next(&mut self) -> Result<Option<Part>, Error>;

    /// What a directory above the files is like; asked when all has come.
    fn directory(&self, path: &Path) -> Meta;
}

/// A part of what comes. Paths are absolute, at or below the root of the reading.
pub enum Part {
    /// The next bytes of a file; the first of them begin it.
    Bytes(PathBuf, Vec<u8>),
    /// So many zeros of a file.
    Zeros(PathBuf, u64),
    /// The end of a file and what it is; its size counts for nothing.
    End(PathBuf, Box<Meta>),
    /// A file, or all in a directory, that has come and ended belongs to nothing.
    Gone(PathBuf),
    /// A file, or all in a directory, that has come and ended is called otherwise, in place of what was
    /// called so.
    Moved(PathBuf, PathBuf),
}

/// One entry of the tree.
pub struct Entry {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its metadata. For a file, [`Meta::size`] must be exactly what the stream will deliver: stock
    /// restic restores that many bytes.
    pub meta: Meta,
    /// What it is.
    pub content: Content,
}

/// What an entry is.
pub enum Content {
    /// A directory.
    Directory,
    /// A symbolic link and what it points to. Stored as such, never followed.
    Symlink(PathBuf),
    /// A file, opened when its turn comes, possibly on another thread.
    File(Opener),
    /// A file on disk: its metadata is taken from what is opened, if it is opened at all. That of the
    /// entry is enough to see whether it has changed, and has no extended attributes.
    Late(LateOpener),
}

/// Opens the stream of a file. An error leaves the entry out of the snapshot; the opener itself is
/// what must record an [`Issue`] about it.
pub type Opener = Box<dyn FnOnce() -> std::io::Result<Box<dyn Read + Send>> + Send>;

/// Opens a file, and says what is open. The same holds for errors.
pub type LateOpener = Box<dyn FnOnce() -> std::io::Result<(Meta, Box<dyn Read + Send>)> + Send>;

/// Metadata of an entry, as in inode(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with set-user-id, set-group-id and sticky, `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of the inode, where there is one.
    pub ctime: Option<Timestamp>,
    /// Size in bytes; 0 for anything but a file.
    pub size: u64,
    /// Device and inode of a file with several hard links, so that they can be linked again.
    pub hard_link: Option<(u64, u64)>,
    /// Extended attributes, ACLs among them, in the order the system lists them.
    pub attributes: Vec<(String, Vec<u8>)>,
}

impl Meta {
    /// Metadata of something that exists in no file system: mode 0600, this owner, this time.
    pub fn synthetic(size: u64, mtime: Timestamp) -> Self {
        Self {
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime,
            ctime: None,
            size,
            hard_link: None,
            attributes: Vec::new(),
        }
    }
}

/// How much an issue matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Worth a line; the snapshot is complete all the same.
    Warning,
    /// Something that should be in the snapshot is not, or is not sound: the run is partial.
    Missing,
}

/// Something that went wrong with one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// How much it matters.
    pub weight: Weight,
    /// Where.
    pub path: PathBuf,
    /// What happened, completing "PATH: …".
    pub what: String,
}

/// `PATH: WHAT`; what is of no path in particular stands alone.
impl std::fmt::Display for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{}: ", self.path.display())?;
        }
        f.write_str(&self.what)
    }
}

/// Issues that are found on many threads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Issues(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// Those of what is read, however often it is.
    lasting: Vec<Issue>,
    /// Those of one reading.
    passing: Vec<Issue>,
}

impl Issues {
    pub(crate) fn add(&self, weight: Weight, path: &Path, what: impl Into<String>) {
        self.lock().passing.push(Issue {
            weight,
            path: path.to_owned(),
            what: what.into(),
        });
    }

    /// Nothing that was found is so any more.
    pub(crate) fn forget(&self) {
        *self.lock() = Found::default();
    }

    /// What was found until now is so for every reading: the source was copied, or looked at, once.
    pub(crate) fn settle(&self) {
        let mut found = self.lock();
        let until_now = std::mem::take(&mut found.passing);
        found.lasting.extend(until_now);
    }

    pub(crate) fn take(&self) -> Vec<Issue> {
        let mut found = self.lock();
        let mut issues = found.lasting.clone();
        issues.append(&mut found.passing);
        drop(found);
        issues.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.path.cmp(&b.path)));
        issues.dedup();
        issues
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a snapshot knows about its content, kept as JSON in the snapshot itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// The kind of the source, as the config calls it.
    #[serde(default)]
    pub kind: String,
    /// For a database: what its file is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseFacts>,
    /// For Redis: what the servers and their data are like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<redis::RedisFacts>,
    /// For a database server: which, and at what moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFacts>,
    /// For a database server whose files were copied: how, and what reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical: Option<mysql::PhysicalFacts>,
}

/// What is known about a server of `MySQL` or `MariaDB` without its manifest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServerFacts {
    /// Its version in its own words.
    pub version: String,
    /// Whether names of databases and tables are the same in any case (`lower_case_table_names`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folds: bool,
    /// The moment that all data is of, RFC 3339.
    pub taken: String,
    /// How many databases.
    pub databases: u64,
    /// How many tables.
    pub tables: u64,
    /// Where its binary log was, if it has one.
    pub position: Option<mysql::Position>,
    /// For how long writers were held up, in microseconds; snapshots of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_us: Option<u64>,
}

/// A line: what it is, the moment, its binary log.
impl std::fmt::Display for ServerFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {}, {}, all of {}",
            self.version,
            counted(self.databases, "database"),
            counted(self.tables, "table"),
            self.taken
        )?;
        if let Some(position) = &self.position {
            write!(f, ", binary log at {}:{}", position.file, position.offset)?;
            if !position.gtid.is_empty() {
                // A set of MySQL comes in lines.
                write!(f, ", GTID {}", position.gtid.replace('\n', ""))?;
            }
        }
        match self.stall_us {
            None => Ok(()),
            Some(0) => f.write_str("; writers were not held up"),
            Some(held) => write!(f, "; writers were held up for {}", milliseconds(held)),
        }
    }
}

/// Microseconds in milliseconds, for people.
fn milliseconds(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100)
}

/// What is known about the file of a `SQLite` database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DatabaseFacts {
    /// Its size in bytes.
    pub bytes: u64,
    /// The number of its pages.
    pub pages: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Rows of each table when it was copied.
    #[serde(default)]
    pub tables: std::collections::BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_a_line() {
        let mut facts = ServerFacts {
            version: "9.7.4".to_owned(),
            folds: false,
            taken: "2026-11-26T14:21:59Z".to_owned(),
            databases: 2,
            tables: 1,
            position: None,
            stall_us: Some(1_970),
        };
        assert_eq!(
            facts.to_string(),
            "9.7.4, 2 databases, 1 table, all of 2026-11-26T14:21:59Z; writers were held up for 1.9 ms"
        );
        facts.position = Some(mysql::Position {
            file: "bin.000001".to_owned(),
            offset: 702,
            gtid: "a:1-5,\nb:1".to_owned(),
        });
        for (stall, said) in [(None, ""), (Some(0), "; writers were not held up")] {
            facts.stall_us = stall;
            assert!(facts.to_string().ends_with(&format!(
                "binary log at bin.000001:702, GTID a:1-5,b:1{said}"
            )));
        }
    }

    #[test]
    fn what_is_wrong_with_a_source_is_told_to_each_who_reads_it() {
        let issues = Issues::default();
        let add = |what: &str| issues.add(Weight::Missing, Path::new("/db"), what);
        let take = || {
            let taken = issues.take().into_iter();
            taken.map(|issue| issue.what).collect::<Vec<_>>()
        };
        add("damaged");
        issues.settle();
        add("vanished");
        assert_eq!(take().len(), 2);
        assert_eq!(take(), ["damaged"]);
        add("vanished");
        assert_eq!(take().len(), 2);
    }
}

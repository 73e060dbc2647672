//! Where snapshots are kept, seen from outside: what a run, a restore and a verification need of it.
//!
//! [`crate::restic`] is the one implementation; the engine knows only these traits.

use std::any::Any;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::Error;
use crate::progress::Progress;
use crate::source::{Facts, Issue, Meta, Reading};

/// A place for snapshots that may not exist yet.
pub trait Repository: Send + Sync {
    /// Its name in the config.
    fn name(&self) -> &str;

    /// Where it is, for people.
    fn location(&self) -> String;

    /// Creates it, with its parent directories. Refuses when anything is there already. Files will be cut
    /// as in `like`, if there is one.
    fn init(
        &self,
        like: Option<&dyn OpenRepository>,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error>;

    /// Opens it with its password.
    fn open(&self, progress: &Arc<dyn Progress>) -> Result<Box<dyn OpenRepository>, Error>;
}

/// A repository whose password was right.
pub trait OpenRepository: Send + Sync {
    /// Stores a reading as a new snapshot.
    ///
    /// On an error no snapshot exists; what was written before is unreferenced and goes with a later
    /// [`OpenRepository::prune`]. Entries that could not be read are left out and reported.
    fn backup(&self, draft: &Draft, reading: &dyn Reading) -> Result<Stored, Error>;

    /// Whether files are cut here as they are there, so that a copy and a backup share what they store.
    fn cuts_as(&self, other: &dyn OpenRepository) -> bool;

    /// Copies a snapshot of another repository, by its content. On an error no snapshot exists.
    fn copy_from(&self, other: &dyn OpenRepository, snapshot: &Snapshot) -> Result<Stored, Error>;

    /// The same repository as what it is.
    fn as_any(&self) -> &dyn Any;

    /// All snapshots that mainstay made, oldest first; those of other programs are not shown.
    fn snapshots(&self) -> Result<Vec<Snapshot>, Error>;

    /// Walks the tree of a snapshot below `root`, an absolute path in it, children after parents.
    fn walk(
        &self,
        snapshot: &Snapshot,
        root: &Path,
        visit: &mut dyn FnMut(Visit<'_>) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Tells other programs and hosts that the repository is being written to, until what is returned
    /// is dropped. Fails with [`crate::ErrorKind::Locked`] if one of them has it for itself alone.
    fn announce(&self, host: &str) -> Result<Box<dyn Any>, Error>;

    /// Whether all that a snapshot needs is there, and all that the index names; reads no data of
    /// files.
    fn check_snapshot(&self, snapshot: &Snapshot) -> Result<Vec<Finding>, Error>;

    /// Takes packs that are gone, or have another size than they should, out of the index, and says
    /// how many there were. Otherwise the next snapshot would count on the data in them.
    fn mend(&self) -> Result<u64, Error>;

    /// Marks a snapshot as one that no rule removes, or takes the mark off. It has another id then.
    fn pin(&self, snapshot: &Snapshot, pinned: bool) -> Result<Snapshot, Error>;

    /// Removes snapshots; their data stays until [`OpenRepository::prune`].
    fn forget(&self, ids: &[String]) -> Result<(), Error>;

    /// Removes data that no snapshot needs.
    fn prune(&self) -> Result<Pruned, Error>;

    /// Checks the structure, and as much of the data as asked for.
    fn check(&self, depth: Depth) -> Result<Vec<Finding>, Error>;
}

/// What a new snapshot will say about itself.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The backup it belongs to.
    pub backup: String,
    /// The host it was made on.
    pub host: String,
    /// Its time.
    pub time: Timestamp,
    /// Bytes that the last good one had: how much there is to do, where nothing better is known.
    pub usual: Option<u64>,
}

/// What became of a reading.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// What went wrong with single entries.
    pub issues: Vec<Issue>,
    /// Bytes the repository grew by.
    pub added: u64,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// The backup it belongs to.
    pub backup: String,
    /// The host it was made on.
    pub host: String,
    /// When it was taken.
    pub time: Timestamp,
    /// The absolute path it is of.
    pub path: PathBuf,
    /// Whether everything that should be in it is in it.
    pub complete: bool,
    /// Whether a person has pinned it, so that no rule removes it.
    pub pinned: bool,
    /// Files in it.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// What is known about the content.
    pub facts: Facts,
}

impl Snapshot {
    /// The first eight digits of the id, which is how people name it.
    pub fn short_id(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path relative to the root of the walk; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: ItemKind,
    /// Its metadata.
    pub meta: Meta,
}

/// What an entry of a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link and what it points to.
    Symlink(PathBuf),
    /// Something mainstay does not store but another program did.
    Other(String),
}

/// A step of a walk.
pub enum Visit<'a> {
    /// A directory; what is in it follows.
    Enter(&'a Item),
    /// The end of the directory entered last.
    Leave(&'a Item),
    /// Anything else, with its content if it is a file.
    Item(&'a Item, &'a dyn FileContent),
}

/// The content of a file in a snapshot.
pub trait FileContent {
    /// Writes all of it.
    fn write_to(&self, target: &mut dyn Write) -> Result<(), Error>;
}

/// How deep a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Snapshots, directories and the index; that every pack exists and has its size.
    Structure,
    /// Also reads a part of the data: of all packs those whose turn it is. All parts together are all.
    Part {
        /// Which part, from 1.
        number: u32,
        /// How many there are.
        of: u32,
    },
    /// Also reads and decrypts all of the data.
    All,
}

/// `structure`, `part 3/30` or `all`.
impl std::fmt::Display for Depth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Structure => f.write_str("structure"),
            Self::Part { number, of } => write!(f, "part {number}/{of}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Something a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether something is lost or unreadable; otherwise it is only untidy.
    pub damage: bool,
    /// What it is.
    pub what: String,
}

/// What a prune did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Bytes of packs that were removed.
    pub removed: u64,
    /// Bytes that nothing needs any more and that a later prune will remove.
    pub marked: u64,
    /// Whether it was left alone because another program has it locked.
    pub skipped: bool,
}

//! The repository format of restic, version 2, compressed with zstd.
//!
//! The format is that of <https://restic.readthedocs.io/en/stable/100_references.html>; stock restic 0.14
//! or newer lists, checks and restores what is written here, and the other way round.
//!
//! What is done at each backup and each restore is ours: files are cut (`chunker.rs`), packed
//! (`archive.rs`, `pack.rs`) and fetched (`fetch.rs`) by all processors at once. What is done rarely, and
//! is hard, is the library's, `rustic_core`: keys, pruning, checking, repairing, copies of the config.
//! What is ours around it:
//!
//! * The files of a repository (`store.rs`), in a directory, a bucket or on another machine (`place.rs`).
//!   The library's own local backend takes a directory it cannot list for an empty one, which a prune
//!   would take for "nothing is needed"; and it leaves the modes of directories to the umask. Ours
//!   fails, keeps everything 0700/0600, and syncs directories.
//! * No cache: `no_cache` is set, so that nothing is ever written outside the repository and the state
//!   directory, least of all below a home directory.
//! * A write that failed poisons the opened repository: nothing is written after it, above all no
//!   snapshot.
//! * A snapshot in which something is missing carries the tag `partial`, one that a person has pinned
//!   the tag `keep`.
//!
//! * While a run writes, a lock file of restic's kind is in the repository (`lockfile.rs`): stock restic
//!   refuses to prune then. A run that finds its data pruned all the same fails; see `run.rs`.
//!
//! What mainstay makes carries the tags `mainstay` and `backup=NAME`, and as label the name of the
//! backup, and facts about its content as description; nothing else is ever listed or forgotten.
//!
//! Pruning is in two phases, the library's default: data nobody needs is first marked in the index, and
//! removed by a later prune at least 23 hours after. So whoever began to read before (a restore, stock
//! restic on another machine) still finds its data, without any lock between them. The price is that
//! space is free a day later. The first prune runs at most once a day; see `run.rs`.

mod archive;
mod bars;
mod check;
mod chunker;
mod copy;
mod fetch;
mod format;
mod index;
mod lockfile;
mod node;
mod pack;
mod place;
mod store;
mod told;
mod trouble;

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::{Clock, Resolver, SystemClock, Template};
use rustic_core::repofile::{ConfigFile, IndexFile, IndexPack, MasterKey, SnapshotFile};
use rustic_core::{
    CheckOptions, ConfigOptions, Credentials, FileType, KeyOptions, OpenStatus, PruneOptions,
    ReadBackend, RepairIndexOptions, RepositoryBackends, RepositoryOptions, RusticError,
    SnapshotOptions, StringList, WriteBackend,
};

use crate::config::{Compression, PlaceConfig};
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{
    Depth, Draft, Finding, OpenRepository, Pruned, Repository, Snapshot, Stored, Visit,
};
use crate::source::{Facts, Issue, Reading, Weight};

use archive::{Archive, Archived, Coming, Used};
use bars::{Bars, Measured};
use chunker::Rules;
use fetch::{Library, Stop, Trees};
use format::{Id, Kind, Recipe, Spoiled};
use index::{Index, lock};
use place::local::Local;
use place::s3::S3;
use place::sftp::Sftp;
use place::{Pace, Place};
use store::Store;
use told::{findings, ours, summarise};
use trouble::{Trouble, message, translate};

pub(crate) use place::Advised;

/// What servers of buckets and of SFTP answer, read: for fuzz targets.
#[cfg(fuzzing)]
pub mod answers {
    pub use super::place::s3::names;
    pub use super::place::sftp::packets;
}

/// The tag that every snapshot of ours carries.
const TAG: &str = "mainstay";
/// The tag of a snapshot in which something is missing.
const PARTIAL: &str = "partial";
/// The tag of a snapshot that a person has pinned.
const PINNED: &str = "keep";

/// A restic repository, wherever it is.
pub struct Restic {
    name: String,
    place: PlaceConfig,
    limit: Option<u64>,
    compression: Compression,
    password: Template,
    resolver: Resolver,
    keys: Keys,
}

/// The master keys of repositories that were opened, by name. A password is made slow to try on
/// purpose (half a second and 128 MiB), and most commands open a repository more than once.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<Mutex<BTreeMap<String, MasterKey>>>);

impl Keys {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, MasterKey>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Restic {
    /// The repository called `name` in the config, in that place.
    pub fn new(name: String, place: PlaceConfig, password: Template, resolver: Resolver) -> Self {
        Self {
            name,
            place,
            limit: None,
            compression: Compression::default(),
            password,
            resolver,
            keys: Keys::default(),
        }
    }

    /// The same, with so many bytes in a second at most.
    #[must_use]
    pub fn with_limit(mut self, limit: Option<u64>) -> Self {
        self.limit = limit;
        self
    }

    /// The same, with what is stored from now on compressed in this way.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The same, with the keys that were found before.
    #[must_use]
    pub(crate) fn with_keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    fn attempt(&self, verb: &str) -> String {
        format!("{verb} repository `{}`", self.name)
    }

    fn credentials(&self, verb: &str) -> Result<Credentials, Error> {
        let password = self.password.resolve(&self.resolver).map_err(|error| {
            Error::new(ErrorKind::Secret, self.attempt(verb), error.to_string())
                .with_help(error.help())
        })?;
        if password.expose().is_empty() {
            return Err(Error::new(
                ErrorKind::Secret,
                self.attempt(verb),
                "its password is empty",
            )
            .with_help("put a long random password where the config says it is kept, and a copy where you find it when this machine is gone"));
        }
        Ok(Credentials::Password(password.expose().to_owned()))
    }

    fn place(&self, verb: &str) -> Result<Arc<dyn Place>, Error> {
        let pace = self.limit.map(Pace::new);
        Ok(match &self.place {
            PlaceConfig::Local(path) => Arc::new(Local::new(path.clone(), pace)),
            PlaceConfig::S3(config) => Arc::new(
                S3::new(config, &self.resolver, pace)
                    .map_err(|why| Error::new(ErrorKind::Secret, self.attempt(verb), why))?,
            ),
            PlaceConfig::Sftp(config) => Arc::new(Sftp::new(config.clone(), &self.resolver, pace)),
        })
    }

    /// What is there, before any key is tried: the library's own answers to a wrong place are about
    /// keys and index files.
    fn look(&self, place: &dyn Place, verb: &str) -> Result<Found, Error> {
        let failed =
            |path: &str, error: &io::Error| Error::io(self.attempt(verb), &place.path(path), error);
        let mut names = match place.top() {
            Ok(None) => return Ok(Found::Nothing { there: false }),
            Ok(Some(names)) => names,
            Err(error)
                if error.kind() == io::ErrorKind::NotADirectory && error.get_ref().is_none() =>
            {
                return Ok(Found::Other("it is not a directory".to_owned()));
            }
            Err(error) => return Err(failed("", &error)),
        };
        names.sort_unstable();
        if names.iter().any(|name| name == "config") {
            return Ok(Found::Repository);
        }
        // What an `init` that was killed leaves: everything but the config.
        let ours = ["data", "index", "keys", "locks", "snapshots", "lost+found"];
        let mut empty = names.iter().all(|name| ours.contains(&name.as_str()));
        for directory in ["data", "index", "snapshots"] {
            if empty && names.iter().any(|name| name == directory) {
                let files = place.list(directory);
                empty = files.map_err(|error| failed(directory, &error))?.is_empty();
            }
        }
        if empty {
            return Ok(Found::Nothing { there: true });
        }
        let some = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        Ok(Found::Other(format!(
            "there is no `config` in it, but {some}"
        )))
    }

    fn repository(
        &self,
        place: Arc<dyn Place>,
        progress: &Arc<dyn Progress>,
    ) -> Result<(Arc<Store>, rustic_core::Repository<()>), Error> {
        let store = Arc::new(Store::new(place, Arc::clone(progress)));
        let repository = raw(Arc::clone(&store) as Arc<dyn WriteBackend>, progress, None)
            .map_err(|error| self.translate("open", &store, &error))?;
        Ok((store, repository))
    }

    fn translate(&self, verb: &str, store: &Store, error: &RusticError) -> Error {
        translate(&self.attempt(verb), store, error)
    }
}

enum Found {
    Nothing {
        /// Whether there is a place, with nothing in it.
        there: bool,
    },
    Repository,
    Other(String),
}

fn raw(
    backend: Arc<dyn WriteBackend>,
    progress: &Arc<dyn Progress>,
    measured: Option<Measured>,
) -> Result<rustic_core::Repository<()>, Box<RusticError>> {
    let mut options = RepositoryOptions::default();
    options.no_cache = true;
    rustic_core::Repository::new_with_progress(
        &options,
        &RepositoryBackends::new(backend, None),
        Bars {
            progress: Arc::clone(progress),
            measured: measured.unwrap_or_else(|| Arc::new(|_| {})),
        },
    )
}

impl Repository for Restic {
    fn name(&self) -> &str {
        &self.name
    }

    fn location(&self) -> String {
        self.place.shown()
    }

    fn init(
        &self,
        like: Option<&dyn OpenRepository>,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let refuse = |kind, why: String, help: &str| {
            Err(Error::new(kind, self.attempt("initialise"), why).with_help(help))
        };
        let place = self.place("initialise")?;
        match self.look(place.as_ref(), "initialise")? {
            Found::Nothing { .. } => {}
            Found::Repository => {
                return refuse(
                    ErrorKind::AlreadyInitialised,
                    format!("{} is a repository already", self.place.shown()),
                    "nothing to do: `mainstay backup list` shows what is in it",
                );
            }
            Found::Other(why) => {
                return refuse(
                    ErrorKind::NotARepository,
                    format!("{}: {why}", self.place.shown()),
                    "name an empty directory, or one that does not exist yet",
                );
            }
        }
        let credentials = self.credentials("initialise")?;
        // A key that an `init` which was killed left behind opens with the same password, and then
        // fits nothing. There is no data, so there is nothing it could be needed for.
        for key in place.list("keys").unwrap_or_default() {
            let _ = place.remove(&format!("keys/{}", key.name));
        }
        let (store, repository) = self.repository(place, progress)?;
        let like = like.and_then(|like| like.as_any().downcast_ref::<Opened>());
        let made = if let Some(like) = like {
            let id = rustic_core::Id::random().into();
            let mut config = like.config.clone();
            (config.version, config.id) = (2, id);
            (config.is_hot, config.append_only) = (None, None);
            repository.init_with_config(&credentials, &KeyOptions::default(), config)
        } else {
            let mut config = ConfigOptions::default();
            config.set_version = Some(2);
            // What stock restic does: two thirds of the time of zstd's default, and rows of databases
            // come out no larger.
            config.set_compression = Some(1);
            repository.init(&credentials, &KeyOptions::default(), &config)
        };
        made.map_err(|error| self.translate("initialise", &store, &error))?;
        Ok(())
    }

    fn open(&self, progress: &Arc<dyn Progress>) -> Result<Box<dyn OpenRepository>, Error> {
        let attempt = self.attempt("open");
        let place = self.place("open")?;
        match self.look(place.as_ref(), "open")? {
            Found::Repository => {}
            Found::Nothing { there } => {
                let what = if there { "is empty" } else { "does not exist" };
                let why = format!("{} {what}", self.place.shown());
                let mounted = match self.place {
                    PlaceConfig::Local(_) => "is its disk mounted? If it is new, ",
                    _ => "if it is new, ",
                };
                return Err(Error::new(ErrorKind::NotInitialised, attempt, why)
                    .with_help(format!("{mounted}run `mainstay backup init {}`", self.name)));
            }
            Found::Other(why) => {
                return Err(Error::new(
                    ErrorKind::NotARepository,
                    attempt,
                    format!("{}: {why}", self.place.shown()),
                )
                .with_help("check where the config says it is"));
            }
        }
        let (store, repository) = self.repository(place, progress)?;
        let known = self.keys.lock().get(&self.name).cloned();
        // A key that does not fit any more is that of a repository that was there before.
        let again = known.and_then(|key| {
            raw(Arc::clone(&store) as Arc<dyn WriteBackend>, progress, None)
                .and_then(|repository| repository.open(&Credentials::Masterkey(key)))
                .ok()
        });
        let opened = match again {
            Some(opened) => opened,
            None => repository
                .open(&self.credentials("open")?)
                .map_err(|error| self.translate("open", &store, &error))?,
        };
        let key = opened.key();
        self.keys.lock().insert(self.name.clone(), key.clone());
        let unknown = |why: Spoiled| {
            Error::new(ErrorKind::NotARepository, &attempt, why.to_string())
                .with_help("another program made it; stock restic or rustic may read it")
        };
        let recipe = Recipe::new(&key, opened.config())
            .map_err(unknown)?
            .with_compression(self.compression);
        let rules = Rules::new(opened.config())
            .ok_or_else(|| unknown(Spoiled("its config does not say how files are cut")))?;
        Ok(Box::new(Opened {
            name: self.name.clone(),
            key,
            config: opened.config().clone(),
            recipe,
            rules,
            store,
            progress: Arc::clone(progress),
            index: Mutex::new(None),
            stored: Mutex::new(None),
        }))
    }
}

/// An open repository. The library's own handle is made anew for each operation, from the master key:
/// it is consumed by most of them, and the slow part of opening is the password.
struct Opened {
    name: String,
    key: MasterKey,
    config: ConfigFile,
    recipe: Recipe,
    rules: Rules,
    store: Arc<Store>,
    progress: Arc<dyn Progress>,
    /// The index as it was when it was read last, until something is written.
    index: Mutex<Option<Arc<Index>>>,
    /// The snapshot that was stored last, and what it needs.
    stored: Mutex<Option<(String, Used)>>,
}

type Outcome<T> = Result<T, Box<RusticError>>;

impl Opened {
    fn attempt(&self, verb: &str) -> String {
        format!("{verb} repository `{}`", self.name)
    }

    fn run<T>(
        &self,
        verb: &str,
        work: impl FnOnce(rustic_core::Repository<OpenStatus>) -> Outcome<T>,
    ) -> Result<T, Error> {
        self.run_measured(verb, None, work)
    }

    fn run_measured<T>(
        &self,
        verb: &str,
        measured: Option<Measured>,
        work: impl FnOnce(rustic_core::Repository<OpenStatus>) -> Outcome<T>,
    ) -> Result<T, Error> {
        self.guard(verb, || {
            raw(
                Arc::clone(&self.store) as Arc<dyn WriteBackend>,
                &self.progress,
                measured,
            )
            .and_then(|repository| repository.open(&Credentials::Masterkey(self.key.clone())))
            .and_then(work)
            .map_err(|error| translate(&self.attempt(verb), &self.store, &error))
        })
    }

    /// What panics (a worker thread that is gone, an index that nobody expected) is an error of this one
    /// operation, not the end of the process.
    fn guard<T>(&self, verb: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(done) => done,
            Err(_) => Err(self.store.failure().unwrap_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    self.attempt(verb),
                    "a fault in what reads and writes it",
                )
                .with_help("`mainstay backup verify` says whether the repository is sound; please report it")
            })),
        }
    }

    /// Trouble in our words.
    fn told(&self, attempt: &str, trouble: &Trouble) -> Error {
        match trouble {
            Trouble::Library(error) => translate(attempt, &self.store, error),
            Trouble::Source(error) => error.clone(),
            _ if self.store.cancelled() => {
                Error::new(ErrorKind::Cancelled, attempt, "the caller asked to stop")
            }
            Trouble::Spoiled(why) => Error::new(ErrorKind::Damaged, attempt, why)
                .with_help("`mainstay backup verify` says what is damaged; stock `restic check` works on the same repository"),
            Trouble::Gone => self.store.failure().unwrap_or_else(|| {
                Error::new(ErrorKind::Internal, attempt, trouble.to_string())
            }),
        }
    }

    /// The index; read again only after something was written.
    fn index(&self, verb: &str) -> Result<Arc<Index>, Error> {
        let mut known = lock(&self.index);
        if let Some(index) = &*known {
            return Ok(Arc::clone(index));
        }
        let index = Index::load(&self.store, &self.recipe)
            .map_err(|trouble| self.told(&self.attempt(verb), &trouble))?;
        let index = Arc::new(index);
        *known = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Whether another program or host is at work in it. If that is not known, nothing may be removed.
    fn locked(&self, verb: &str) -> Result<bool, Error> {
        self.store
            .foreign_lock()
            .map_err(|error| translate(&self.attempt(verb), &self.store, &error))
    }

    /// The packs that are there, and their sizes.
    fn packs(&self) -> Result<HashMap<Id, u32>, Error> {
        let packs = self
            .store
            .list_with_size(FileType::Pack)
            .map_err(|error| translate(&self.attempt("read"), &self.store, &error))?;
        Ok(packs
            .into_iter()
            .map(|(id, size)| (id.into(), size))
            .collect())
    }

    /// The root of a snapshot.
    fn root(&self, verb: &str, id: &str) -> Result<Id, Error> {
        let file: SnapshotFile = self.run(verb, |repository| {
            repository.get_file(&id.parse::<rustic_core::Id>()?.into())
        })?;
        Ok(Id::from(*file.tree))
    }

    /// The newest snapshot of the same host, backup and path: most of the next one is as in it.
    fn parent(&self, draft: &Draft, root: &Path) -> Result<Option<SnapshotFile>, Error> {
        let files = self.run("read", |repository| repository.get_all_snapshots())?;
        Ok(files
            .into_iter()
            .filter(|file| {
                ours(file).is_some_and(|snapshot| {
                    snapshot.backup == draft.backup
                        && snapshot.host == draft.host
                        && snapshot.path == root
                })
            })
            .max_by_key(|file| file.time.timestamp()))
    }

    /// Stores all entries; the second is the snapshot that most of it may be in already.
    fn store(
        &self,
        draft: &Draft,
        reading: &dyn Reading,
    ) -> Result<(Archived, Option<SnapshotFile>), Error> {
        let attempt = self.attempt("write to");
        let index = self.index("write to")?;
        let parent = if reading.unchanged_by_times() {
            self.parent(draft, reading.root())?
        } else {
            None
        };
        let archive = Archive {
            store: &self.store,
            recipe: &self.recipe,
            rules: &self.rules,
            index: &index,
            progress: &self.progress,
        };
        *lock(&self.index) = None;
        let coming = match reading.flow() {
            Some(flow) => Coming::Flow(flow?),
            None => Coming::Entries(reading.entries()),
        };
        let archived = archive
            .run(coming, parent.as_ref().map(|file| Id::from(*file.tree)))
            .map_err(|trouble| self.told(&attempt, &trouble))?;
        // A walk that stops because the caller wants it ends like any other.
        if self.progress.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                attempt,
                "the caller asked to stop",
            ));
        }
        Ok((archived, parent))
    }

    /// Stores the snapshot of what was stored.
    fn save(
        &self,
        draft: &Draft,
        (path, facts, issues): (&str, &Facts, &[Issue]),
        archived: &Archived,
        parent: Option<SnapshotFile>,
        begun: Timestamp,
    ) -> Result<SnapshotFile, Error> {
        let attempt = self.attempt("write to");
        let mut tags = format!("{TAG},backup={}", draft.backup);
        // From its first moment on it says that something is missing: we may be killed in the next.
        if issues.iter().any(|issue| issue.weight == Weight::Missing) {
            tags = format!("{tags},{PARTIAL}");
        }
        let tags: StringList = tags.parse().unwrap_or_default();
        let options = SnapshotOptions::default()
            .host(draft.host.clone())
            .label(draft.backup.clone())
            .description(serde_json::to_string(facts).unwrap_or_default())
            .tags(vec![tags])
            .time(draft.time.to_zoned(TimeZone::UTC))
            // Set, so that the library does not look at the command line.
            .command(format!("mainstay backup run {}", draft.backup));
        let mut file = SnapshotFile::from_options(&options)
            .map_err(|error| translate(&attempt, &self.store, &error))?;
        file.program_version = format!("mainstay {}", env!("CARGO_PKG_VERSION"));
        file.paths.add(path.to_owned());
        file.tree = archived.tree.library().into();
        file.parent = parent.map(|parent| parent.id);
        summarise(&mut file, archived, begun);
        self.run("write to", |repository| {
            repository.save_snapshots(vec![file.clone()])
        })?;
        if let Some(id) = self.store.last_snapshot() {
            file.id = id.into();
        }
        Ok(file)
    }

    /// Stores a snapshot with other tags in place of itself. A kill in between leaves both.
    fn retag(
        &self,
        snapshot: SnapshotFile,
        change: impl FnOnce(&mut StringList),
    ) -> Result<SnapshotFile, Error> {
        let old = snapshot.id;
        let mut changed = snapshot;
        change(&mut changed.tags);
        self.run("write to", |repository| {
            repository.save_snapshots(vec![changed.clone()])?;
            repository.delete_snapshots(&[old])
        })?;
        if let Some(id) = self.store.last_snapshot() {
            changed.id = id.into();
        }
        Ok(changed)
    }
}

impl OpenRepository for Opened {
    fn backup(&self, draft: &Draft, reading: &dyn Reading) -> Result<Stored, Error> {
        let Some(path) = reading.root().to_str() else {
            let attempt = self.attempt("write to");
            let why = format!("the path {} is not UTF-8", reading.root().display());
            return Err(Error::new(ErrorKind::SourceUnreadable, attempt, why));
        };
        let begun = SystemClock::new().now();
        let written = self.store.written();
        let what = format!("Backing up {} to {}", draft.backup, self.name);
        let (archived, parent) = loop {
            match (reading.total(), draft.usual) {
                (None, Some(usual)) => self
                    .progress
                    .begin(&format!("{what} (about as much as last time)"), Some(usual)),
                (total, _) => self.progress.begin(&what, total),
            }
            let stored = self.guard("write to", || self.store(draft, reading));
            self.progress.finish();
            let stored = stored?;
            // What was stored is found again.
            if !reading.again()? {
                break stored;
            }
        };
        let issues = reading.take_issues();
        let of = (path, &reading.facts(), issues.as_slice());
        let saved = self.guard("write to", || {
            self.save(draft, of, &archived, parent, begun)
        })?;
        let snapshot = ours(&saved).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                self.attempt("write to"),
                "the new snapshot does not carry its tags",
            )
        })?;
        *lock(&self.stored) = Some((snapshot.id.clone(), archived.used));
        Ok(Stored {
            snapshot,
            issues,
            added: self.store.written() - written,
        })
    }

    fn cuts_as(&self, other: &dyn OpenRepository) -> bool {
        let other = other.as_any().downcast_ref::<Self>();
        other.is_some_and(|other| self.config.has_same_chunker(&other.config))
    }

    fn copy_from(&self, other: &dyn OpenRepository, snapshot: &Snapshot) -> Result<Stored, Error> {
        let attempt = format!(
            "copy snapshot {} to repository `{}`",
            snapshot.short_id(),
            self.name
        );
        let Some(other) = other.as_any().downcast_ref::<Self>() else {
            return Err(Error::new(
                ErrorKind::Internal,
                attempt,
                "it is in another format",
            ));
        };
        let written = self.store.written();
        let mut file: SnapshotFile = other.run("read", |repository| {
            repository.get_file(&snapshot.id.parse::<rustic_core::Id>()?.into())
        })?;
        let root = Id::from(*file.tree);
        let (source, index) = (other.index("read")?, self.index("write to")?);
        *lock(&self.index) = None;
        let from = Library {
            store: &other.store,
            recipe: &other.recipe,
            index: &source,
        };
        let to = Library {
            store: &self.store,
            recipe: &self.recipe,
            index: &index,
        };
        let what = format!("Copying {} to {}", snapshot.backup, self.name);
        let used = self.guard("write to", || {
            copy::copy(from, to, root, &what, &self.progress).map_err(|trouble| match trouble {
                Trouble::Gone | Trouble::Source(_) | Trouble::Library(_) => {
                    self.told(&attempt, &trouble)
                }
                // Only what was read can be spoiled.
                Trouble::Spoiled(_) => other.told(&other.attempt("read"), &trouble),
            })
        })?;
        // As restic does: whoever copies again sees that it is there.
        let id = snapshot.id.parse::<rustic_core::Id>();
        let id = id.map_err(|error| translate(&attempt, &self.store, &error))?;
        file.original.get_or_insert(id.into());
        file.parent = None;
        self.run("write to", |repository| {
            repository.save_snapshots(vec![file.clone()])
        })?;
        if let Some(id) = self.store.last_snapshot() {
            file.id = id.into();
        }
        let snapshot = ours(&file).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                attempt,
                "the new snapshot does not carry its tags",
            )
        })?;
        *lock(&self.stored) = Some((snapshot.id.clone(), used));
        Ok(Stored {
            snapshot,
            issues: Vec::new(),
            added: self.store.written() - written,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>, Error> {
        let mut found: Vec<Snapshot> = self
            .run("read", |repository| repository.get_all_snapshots())?
            .iter()
            .filter_map(ours)
            .collect();
        found.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    fn walk(
        &self,
        snapshot: &Snapshot,
        root: &Path,
        visit: &mut dyn FnMut(Visit<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let attempt = self.attempt("read");
        let index = self.index("read")?;
        let library = Library {
            store: &self.store,
            recipe: &self.recipe,
            index: &index,
        };
        let top = self.root("read", &snapshot.id)?;
        let node = Trees::new(library)
            .find(&top, root)
            .map_err(|trouble| self.told(&attempt, &trouble))?;
        let translate = |attempt: &str, trouble: &Trouble| self.told(attempt, trouble);
        self.guard("read", || {
            fetch::walk(library, node, &attempt, &translate, visit).map_err(|stop| match stop {
                Stop::Visitor(error) => error,
                Stop::Trouble(trouble) => self.told(&attempt, &trouble),
            })
        })
    }

    fn announce(&self, host: &str) -> Result<Box<dyn Any>, Error> {
        let held = lockfile::announce(&self.store, &self.key, host, &self.attempt("write to"))?;
        Ok(Box::new(held))
    }

    fn check_snapshot(&self, snapshot: &Snapshot) -> Result<Vec<Finding>, Error> {
        let stored = lock(&self.stored)
            .take()
            .filter(|(id, _)| *id == snapshot.id);
        let Some((_, used)) = stored else {
            let checked = self.run("check", |repository| {
                let file: SnapshotFile =
                    repository.get_file(&snapshot.id.parse::<rustic_core::Id>()?.into())?;
                repository.check_with_trees(CheckOptions::default(), vec![file.tree])
            })?;
            return Ok(findings(checked));
        };
        // Read anew, and compared with what is there now: others may have pruned meanwhile.
        *lock(&self.index) = None;
        let index = self.index("check")?;
        let packs = self.packs()?;
        let damage = |what: String| Finding { damage: true, what };
        let gone = index
            .packs
            .iter()
            .filter(|pack| packs.get(&pack.id) != Some(&pack.size));
        let mut found: Vec<Finding> = gone
            .map(|pack| {
                damage(format!(
                    "pack {} is gone, or has another size than it should",
                    pack.id
                ))
            })
            .collect();
        for (kind, ids) in [(Kind::Tree, &used.trees), (Kind::Data, &used.data)] {
            let lost = ids.iter().filter(|id| index.get(kind, id).is_none());
            found.extend(lost.map(|id| damage(format!("blob {id} is not in the index"))));
        }
        Ok(found)
    }

    fn mend(&self) -> Result<u64, Error> {
        let packs = self.packs()?;
        // Packs that were marked to be removed are no loss when stock restic, which does not know the
        // marks, has removed them first; but the index must not go on naming them.
        let (lost, stale) = self.run("read", |repository| {
            let (mut lost, mut stale) = (0, 0);
            let gone =
                |pack: &&IndexPack| packs.get(&Id::from(*pack.id)) != Some(&pack.pack_size());
            for index in repository.stream_files::<IndexFile>()? {
                let (_, index) = index?;
                lost += index.packs.iter().filter(gone).count() as u64;
                stale += index.packs_to_delete.iter().filter(gone).count() as u64;
            }
            Ok((lost, stale))
        })?;
        if lost + stale == 0 {
            return Ok(0);
        }
        let locked = self.locked("write to")?;
        if lost == 0 && locked {
            return Ok(0);
        }
        if locked {
            return Err(Error::new(
                ErrorKind::Locked,
                self.attempt("write to"),
                format!("{lost} of its packs are gone, and another program has it locked"),
            )
            .with_help("wait until that program is done and run the backup again; never run `restic prune` beside it"));
        }
        *lock(&self.index) = None;
        self.run("repair the index of", |repository| {
            repository.repair_index(&RepairIndexOptions::default(), false)
        })?;
        Ok(lost)
    }

    fn pin(&self, snapshot: &Snapshot, pinned: bool) -> Result<Snapshot, Error> {
        let mut file: SnapshotFile = self.run("read", |repository| {
            repository.get_file(&snapshot.id.parse::<rustic_core::Id>()?.into())
        })?;
        file.id = snapshot
            .id
            .parse::<rustic_core::Id>()
            .map_err(|error| translate(&self.attempt("read"), &self.store, &error))?
            .into();
        // As restic does: whoever looks for the id it had finds it.
        file.original.get_or_insert(file.id);
        let changed = self.retag(file, |tags| {
            if pinned {
                tags.add(PINNED.to_owned());
            } else {
                tags.remove_all(&[PINNED.parse().unwrap_or_default()]);
            }
        })?;
        ours(&changed).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                self.attempt("write to"),
                "the snapshot does not carry its tags",
            )
        })
    }

    fn forget(&self, ids: &[String]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        self.run("remove snapshots from", |repository| {
            let ids = ids
                .iter()
                .map(|id| id.parse::<rustic_core::Id>().map(Into::into))
                .collect::<Outcome<Vec<_>>>()?;
            repository.delete_snapshots(&ids)
        })
    }

    fn prune(&self) -> Result<Pruned, Error> {
        if self.locked("prune")? {
            return Ok(Pruned {
                skipped: true,
                ..Pruned::default()
            });
        }
        *lock(&self.index) = None;
        let before = self.store.removed();
        let (progress, name) = (Arc::clone(&self.progress), self.name.clone());
        let measured: Measured = Arc::new(move |bytes| {
            progress.begin(&format!("Pruning {name}"), Some(bytes));
        });
        let marked = self.run_measured("prune", Some(measured), |repository| {
            let options = PruneOptions::default();
            let plan = repository.prune_plan(&options)?;
            let size = plan.stats.size_sum();
            repository.prune(&options, plan)?;
            Ok(size.remove + size.repackrm)
        })?;
        Ok(Pruned {
            removed: self.store.removed() - before,
            marked,
            skipped: false,
        })
    }

    fn check(&self, depth: Depth) -> Result<Vec<Finding>, Error> {
        self.checked(depth)
    }
}

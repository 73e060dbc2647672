//! The engine: runs backups, lists what there is, and looks after the repositories.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::fs::create_dir_private;
use mainstay_base::{Clock, Resolver, nearest};

use crate::catalog::{Catalog, Ending, Outcome, state_error};
use crate::config::{BackupConfig, Config, Engine, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::lock::{self, Held};
use crate::progress::Progress;
use crate::repository::{Draft, Item, OpenRepository, Repository, Snapshot, Stored, Visit};
use crate::restic::{Keys, Restic};
use crate::retention::horizon;
use crate::source::files::Files;
use crate::source::mysql::{Mysql, Physical};
use crate::source::redis::Redis;
use crate::source::sqlite::Sqlite;
use crate::source::{Context, Issue, Reading, Source, Weight};

/// All backups of a config.
///
/// Every method blocks the thread it is called on, often for long, and may be called from several
/// threads and processes at once: what must not run side by side is kept apart by locks.
pub struct Backups {
    pub(crate) config: Config,
    pub(crate) state: PathBuf,
    resolver: Resolver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) catalog: Catalog,
    patience: Duration,
    keys: Keys,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups")
            .field("config", &self.config)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The backup.
    pub backup: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// Over all repositories: ok if every one is, failed if none got a snapshot.
    pub outcome: Outcome,
    /// What became of it in each repository, in the order of `to`.
    pub repositories: Vec<RepositoryRun>,
}

/// What became of a run in one repository.
#[derive(Debug, Clone)]
pub struct RepositoryRun {
    /// The repository.
    pub repository: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed. Present also when a snapshot was stored but the old ones could not be tidied up.
    pub error: Option<Error>,
    /// The new snapshot.
    pub snapshot: Option<Snapshot>,
    /// What went wrong with single entries.
    pub issues: Vec<Issue>,
    /// Bytes the repository grew by.
    pub added: u64,
    /// Snapshots that were removed because no `keep` rule keeps them.
    pub forgotten: Vec<String>,
    /// Things worth knowing that are no errors.
    pub notes: Vec<String>,
}

/// A snapshot and the repository it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The repository.
    pub repository: String,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// The first repository of a run that has its snapshot.
struct First {
    opened: Box<dyn OpenRepository>,
    stored: Stored,
}

/// What a look into the repositories gave.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Located>,
    /// The repositories that could not be read.
    pub failed: Vec<(String, Error)>,
}

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest complete one that was made on this host, of the path that the config names. One whose
    /// time has not come yet, because a clock was wrong, only if there is no other.
    Latest,
    /// The one whose id begins so; only by its id is one of another host or path ever chosen.
    Id(String),
}

impl From<&str> for Selector {
    /// `latest`, or the beginning of an id.
    fn from(text: &str) -> Self {
        match text {
            "latest" => Self::Latest,
            id => Self::Id(id.to_ascii_lowercase()),
        }
    }
}

impl Backups {
    /// The backups of this config, with their catalog in `state`, which is created if need be.
    pub fn new(
        config: Config,
        state: PathBuf,
        resolver: Resolver,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        create_dir_private(&state, 0o700).map_err(|error| state_error(&state, &error))?;
        let catalog = Catalog::open(&state, clock.now())?;
        Ok(Self {
            config,
            state,
            resolver,
            clock,
            catalog,
            patience: Duration::ZERO,
            keys: Keys::default(),
        })
    }

    /// The same, but waiting for up to `patience` where another run holds a lock, instead of giving up
    /// with [`ErrorKind::Locked`]. A scheduler wants that: two backups that go to one repository are
    /// due at the same moment more often than not.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn backup_config(&self, name: &str) -> Result<&BackupConfig, Error> {
        self.config.backup(name).ok_or_else(|| {
            unknown(
                ErrorKind::UnknownBackup,
                "backup",
                name,
                self.config
                    .backups
                    .iter()
                    .map(|backup| backup.name.as_str()),
            )
        })
    }

    fn source_of(&self, backup: &BackupConfig) -> Result<Box<dyn Source>, Error> {
        Ok(match &backup.source {
            SourceConfig::Files { path, exclude } => {
                Box::new(Files::new(path.clone(), exclude.clone()))
            }
            SourceConfig::Sqlite { path } => Box::new(Sqlite::new(path.clone())),
            SourceConfig::Mysql(server) => match server.engine {
                Engine::Dump => Box::new(Mysql::new(server, &self.resolver)?),
                Engine::MariadbBackup => Box::new(Physical::new(server, &self.resolver)?),
            },
            SourceConfig::Redis(redis) => {
                Box::new(Redis::new((**redis).clone(), self.resolver.clone()))
            }
        })
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    pub(crate) fn repository(&self, name: &str) -> Result<Restic, Error> {
        let config = self.config.repository(name).ok_or_else(|| {
            unknown(
                ErrorKind::UnknownRepository,
                "repository",
                name,
                self.config
                    .repositories
                    .iter()
                    .map(|repository| repository.name.as_str()),
            )
        })?;
        Ok(Restic::new(
            config.name.clone(),
            config.place.clone(),
            config.password.clone(),
            self.resolver.clone(),
        )
        .with_limit(config.limit)
        .with_compression(config.compression)
        .with_keys(self.keys.clone()))
    }

    /// What is later was noted under a wrong clock.
    pub(crate) fn horizon(&self) -> Timestamp {
        horizon(self.clock.now())
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    pub(crate) fn lock(
        &self,
        name: &str,
        attempt: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<Held, Error> {
        lock::acquire(
            &self.locks(),
            name,
            attempt,
            self.patience,
            progress.as_ref(),
        )
    }

    /// A private directory for the one who holds the lock of the backup. What a killed process left
    /// in it is removed first.
    pub(crate) fn staging(&self, backup: &str) -> Result<Staging, Error> {
        Staging::new(&self.state.join("staging").join(backup))
    }

    /// Creates a repository, with its parent directories. Refuses if there is one already.
    pub fn init(&self, repository: &str, progress: &Arc<dyn Progress>) -> Result<(), Error> {
        let target = self.repository(repository)?;
        let attempt = format!("initialise repository `{repository}`");
        let _lock = self.lock(&repository_lock(repository), &attempt, progress)?;
        // So that what is copied from there and what is backed up here share what they store. One that
        // cannot be opened is no reason not to make another.
        let like = self
            .config
            .repositories
            .iter()
            .filter(|other| other.name != repository)
            .find_map(|other| self.repository(&other.name).ok()?.open(progress).ok());
        target.init(like.as_deref(), progress)
    }

    /// Runs a backup to each of its repositories.
    ///
    /// One repository that fails does not stop the others, and a source that cannot be read is a
    /// failed run in the report, not an error: an error here means that there was no run at all.
    pub fn run(&self, name: &str, progress: &Arc<dyn Progress>) -> Result<RunReport, Error> {
        let backup = self.backup_config(name)?;
        let attempt = format!("run backup `{name}`");
        let _lock = self.lock(&backup_lock(name), &attempt, progress)?;
        let started = self.clock.now();
        let monotonic = self.clock.monotonic();
        let mut catalog_trouble = self.catalog.bury(name, started).err();
        let runs: Vec<Option<i64>> = backup
            .to
            .iter()
            .map(
                |repository| match self.catalog.begin(name, repository, started) {
                    Ok(run) => Some(run),
                    Err(error) => {
                        catalog_trouble = Some(error);
                        None
                    }
                },
            )
            .collect();
        // Before anything is copied: a copy that waits for a repository would be old when it gets there,
        // and one that is refused would be for nothing. In the order of their names, so that two
        // runs never wait for each other.
        let mut names: Vec<&String> = backup.to.iter().collect();
        names.sort_unstable();
        let mut locks: BTreeMap<&String, Result<Held, Error>> = BTreeMap::new();
        for repository in names {
            let attempt = format!("write to repository `{repository}`");
            let held = self.lock(&repository_lock(repository), &attempt, progress);
            locks.insert(repository, held);
        }
        // Staging and reading live until the last repository has it.
        let stage = || {
            let staging = self.staging(name)?;
            let context = Context {
                staging: staging.path(),
                progress,
            };
            let reading = self.source_of(backup)?.open(&context)?;
            Ok::<_, Error>((staging, reading))
        };
        let mut staged = None;
        if locks.values().any(Result::is_ok) {
            staged = Some(stage());
        }
        let mut repositories = Vec::new();
        let mut first = None;
        for (repository, run) in backup.to.iter().zip(runs) {
            // The lock is let go of when its repository is done.
            let mut done = match (locks.remove(repository), &staged) {
                (Some(Err(error)), _) => RepositoryRun::failed(repository, error),
                (_, Some(Err(error))) => RepositoryRun::failed(repository, error.clone()),
                (Some(Ok(_lock)), Some(Ok((_, reading)))) => {
                    let reading = reading.as_ref();
                    self.run_to(backup, repository, reading, &mut first, started, progress)
                }
                (_, None) | (None, _) => RepositoryRun::failed(
                    repository,
                    Error::new(ErrorKind::Internal, &attempt, "it is named twice in `to`"),
                ),
            };
            if let Some(help) = done.loss_help(name) {
                done.notes.push(help);
            }
            if let Some(run) = run {
                let error = done.error.as_ref().map(ToString::to_string);
                let error = error.or_else(|| done.first_loss());
                let loss_help = done.loss_help(name);
                let ending = Ending {
                    at: self.clock.now(),
                    outcome: done.outcome,
                    error: error.as_deref(),
                    help: done
                        .error
                        .as_ref()
                        .and_then(Error::help)
                        .or(loss_help.as_deref()),
                    warnings: done.issues.len(),
                    snapshot: done.snapshot.as_ref(),
                    added: done.added,
                    rows: match &staged {
                        Some(Ok((_, reading))) if done.snapshot.is_some() => reading.rows(),
                        _ => None,
                    },
                };
                if let Err(error) = self.catalog.end(run, &ending) {
                    catalog_trouble = Some(error);
                }
            }
            // A catalog that cannot be written must not cost a backup; but it is said.
            if let Some(error) = &catalog_trouble {
                done.notes.push(error.to_string());
            }
            repositories.push(done);
        }
        Ok(RunReport {
            backup: name.to_owned(),
            started,
            took: self.clock.monotonic().saturating_sub(monotonic),
            outcome: overall(&repositories),
            repositories,
        })
    }

    fn run_to(
        &self,
        backup: &BackupConfig,
        repository: &str,
        reading: &dyn Reading,
        first: &mut Option<First>,
        started: Timestamp,
        progress: &Arc<dyn Progress>,
    ) -> RepositoryRun {
        let mut done = RepositoryRun::failed(
            repository,
            Error::new(ErrorKind::Internal, "run", "it did not begin"),
        );
        if let Err(error) = self.run_into(&mut done, backup, reading, first, started, progress) {
            // With a snapshot in place only the tidying failed: it is not a failed backup, but loud.
            if done.snapshot.is_some() {
                done.outcome = done.outcome.max(Outcome::Partial);
            }
            done.error = Some(error);
        }
        done
    }

    fn run_into(
        &self,
        done: &mut RepositoryRun,
        backup: &BackupConfig,
        reading: &dyn Reading,
        first: &mut Option<First>,
        started: Timestamp,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let opened = self.repository(&done.repository)?.open(progress)?;
        let _announced = opened.announce(&self.config.host)?;
        // Before the last snapshot is read: what is taken for stored already must be there.
        let lost = opened.mend()?;
        if lost > 0 {
            done.notes.push(format!(
                "{lost} pack{} of repository `{}` {} gone or cut short and {} taken out of its index, so that what is needed is stored anew; older snapshots may lack data: `mainstay backup verify` says so; nothing was forgotten or pruned",
                if lost == 1 { "" } else { "s" },
                done.repository,
                if lost == 1 { "was" } else { "were" },
                if lost == 1 { "was" } else { "were" },
            ));
        }
        let draft = Draft {
            backup: backup.name.clone(),
            host: self.config.host.clone(),
            time: started,
            usual: (self.catalog)
                .good_runs(&backup.name, &done.repository, 1, self.horizon())
                .ok()
                .and_then(|mut runs| runs.pop()?.bytes),
        };
        let stored = match first {
            // The source is read once, where the copy finds again what is there.
            Some(first) if opened.cuts_as(first.opened.as_ref()) => {
                match opened.copy_from(first.opened.as_ref(), &first.stored.snapshot) {
                    // What was just stored there is damaged: the source still has it.
                    Err(error) if error.kind() == ErrorKind::Damaged => {
                        done.notes
                            .push(format!("{error}; the source was read again"));
                        opened.backup(&draft, reading)?
                    }
                    copied => Stored {
                        issues: first.stored.issues.clone(),
                        ..copied?
                    },
                }
            }
            _ => opened.backup(&draft, reading)?,
        };
        accept(&done.repository, &backup.name, opened.as_ref(), &stored)?;
        done.outcome = if stored.snapshot.complete {
            Outcome::Ok
        } else {
            Outcome::Partial
        };
        done.error = None;
        done.issues.clone_from(&stored.issues);
        done.added = stored.added;
        let new = stored.snapshot.id.clone();
        done.snapshot = Some(stored.snapshot.clone());
        let tidied = self.finish_in(done, backup, opened.as_ref(), lost, &new, progress);
        first.get_or_insert(First { opened, stored });
        tidied
    }

    fn finish_in(
        &self,
        done: &mut RepositoryRun,
        backup: &BackupConfig,
        opened: &dyn OpenRepository,
        lost: u64,
        new: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        // What is left of a damaged repository is kept until somebody has looked at it.
        if lost > 0 {
            return Ok(());
        }
        // An incomplete run removes nothing: what it lacks may be in the snapshots it would remove.
        if done.outcome == Outcome::Ok {
            self.tidy(backup, done, opened, new)?;
        }
        self.prune_if_due(done, opened, progress)?;
        self.verify_part_if_due(&done.repository, opened)
    }

    /// Whether a snapshot is one of this backup as it is configured here: made on this host, of the
    /// path that the config names. A repository may be shared, and names of backups repeat.
    pub(crate) fn is_own(&self, backup: &str, snapshot: &Snapshot) -> bool {
        snapshot.backup == backup
            && snapshot.host == self.config.host
            && self
                .config
                .backup(backup)
                .is_none_or(|backup| snapshot.path == backup.source.path())
    }

    /// The snapshots of a backup, or of all of them, in one repository, or in all of them.
    ///
    /// Also those of backups that the config no longer has. The catalog learns what it did not know.
    pub fn list(
        &self,
        backup: Option<&str>,
        repository: Option<&str>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Listing, Error> {
        let names = self.repositories_of(backup, repository)?;
        let mut listing = Listing {
            snapshots: Vec::new(),
            failed: Vec::new(),
        };
        for name in names {
            match self
                .repository(&name)
                .and_then(|target| target.open(progress))
                .and_then(|opened| opened.snapshots())
            {
                Err(error) => listing.failed.push((name, error)),
                Ok(snapshots) => {
                    self.observe(&name, &snapshots);
                    listing.snapshots.extend(
                        snapshots
                            .into_iter()
                            .filter(|snapshot| backup.is_none_or(|name| snapshot.backup == name))
                            .map(|snapshot| Located {
                                repository: name.clone(),
                                snapshot,
                            }),
                    );
                }
            }
        }
        listing.snapshots.sort_by(|a, b| {
            let key = |located: &Located| (located.snapshot.time, located.snapshot.id.clone());
            key(a).cmp(&key(b))
        });
        Ok(listing)
    }

    pub(crate) fn observe(&self, repository: &str, snapshots: &[Snapshot]) {
        let own: Vec<&Snapshot> = snapshots
            .iter()
            .filter(|snapshot| self.is_own(&snapshot.backup, snapshot))
            .collect();
        if let Err(error) = self.catalog.observe(repository, &own) {
            log::warn!("{error}");
        }
    }

    /// The repositories to look into. A backup that the config no longer has may be in any.
    pub(crate) fn repositories_of(
        &self,
        backup: Option<&str>,
        repository: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        if let Some(name) = repository {
            self.repository(name)?;
            return Ok(vec![name.to_owned()]);
        }
        let all = || {
            self.config
                .repositories
                .iter()
                .map(|repository| repository.name.clone())
                .collect()
        };
        Ok(backup
            .and_then(|name| self.config.backup(name))
            .map_or_else(all, |backup| backup.to.clone()))
    }

    /// Finds one snapshot of a backup; without a repository, in the first one that has it.
    ///
    /// [`Selector::Latest`] looks only at those made on this host of the path that the config names;
    /// by its id one of another host or path is found as well.
    pub fn find(
        &self,
        backup: &str,
        selector: &Selector,
        repository: Option<&str>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Located, Error> {
        let attempt = format!("find a snapshot of `{backup}`");
        let mut failed = None;
        let mut seen = false;
        let mut foreign: Option<Snapshot> = None;
        for name in self.repositories_of(Some(backup), repository)? {
            let snapshots = match self
                .repository(&name)?
                .open(progress)
                .and_then(|opened| opened.snapshots())
            {
                Ok(snapshots) => snapshots,
                Err(error) => {
                    progress.message(&format!("repository `{name}`: {error}"));
                    failed.get_or_insert(error);
                    continue;
                }
            };
            self.observe(&name, &snapshots);
            let (own, others): (Vec<Snapshot>, Vec<Snapshot>) = snapshots
                .into_iter()
                .filter(|snapshot| snapshot.backup == backup)
                .partition(|snapshot| self.is_own(backup, snapshot));
            seen |= !own.is_empty();
            let mut candidates = own;
            if let Some(last) = others.last() {
                foreign.get_or_insert_with(|| last.clone());
            }
            if matches!(selector, Selector::Id(prefix) if !prefix.is_empty()) {
                seen |= !others.is_empty();
                candidates.extend(others);
            }
            if let Some(snapshot) = choose(&candidates, selector, self.clock.now(), &attempt)? {
                return Ok(Located {
                    repository: name,
                    snapshot: snapshot.clone(),
                });
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if let (false, Some(other)) = (seen, &foreign) {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                match self.config.backup(backup) {
                    Some(config) => format!(
                        "there is none made on this host ({}) of {}",
                        self.config.host,
                        config.source.path().display()
                    ),
                    None => format!("there is none made on this host ({})", self.config.host),
                },
            )
            .with_help(format!(
                "there are some made on host {} of {}; to use one of them name it by its id: `mainstay backup list {backup}`",
                other.host,
                other.path.display()
            )));
        }
        if !seen {
            self.backup_config(backup)?;
            return Err(
                Error::new(ErrorKind::UnknownSnapshot, attempt, "there is none yet")
                    .with_help(format!("make one: `mainstay backup run {backup}`")),
            );
        }
        let id = match selector {
            Selector::Latest => "latest".to_owned(),
            Selector::Id(id) => id.clone(),
        };
        Err(Error::new(
            ErrorKind::UnknownSnapshot,
            attempt,
            format!("none has an id that begins with `{id}`"),
        )
        .with_help(format!("`mainstay backup list {backup}` shows their ids")))
    }

    /// What is in a snapshot, parents before children.
    pub fn show(
        &self,
        backup: &str,
        selector: &Selector,
        repository: Option<&str>,
        progress: &Arc<dyn Progress>,
    ) -> Result<(Located, Vec<Item>), Error> {
        let located = self.find(backup, selector, repository, progress)?;
        let opened = self.repository(&located.repository)?.open(progress)?;
        let mut items = Vec::new();
        opened.walk(&located.snapshot, &located.snapshot.path, &mut |visit| {
            match visit {
                Visit::Enter(item) | Visit::Item(item, _) => items.push(item.clone()),
                Visit::Leave(_) => {}
            }
            Ok(())
        })?;
        Ok((located, items))
    }
}

/// Whether a new snapshot can be restored: its directories and data are in the index, and what the
/// index names is there. If not, it is removed again.
///
/// Another program that prunes the repository without a look at locks, or with one that it took for
/// left behind, removes packs that no snapshot it knew needed.
pub(crate) fn accept(
    repository: &str,
    backup: &str,
    opened: &dyn OpenRepository,
    stored: &Stored,
) -> Result<(), Error> {
    let attempt = format!("write to repository `{repository}`");
    let why = match opened.check_snapshot(&stored.snapshot) {
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            opened.forget(std::slice::from_ref(&stored.snapshot.id))?;
            return Err(error);
        }
        Err(error) => error.reason().to_owned(),
        Ok(findings) => match findings.iter().find(|finding| finding.damage) {
            Some(finding) => finding.what.clone(),
            None => return Ok(()),
        },
    };
    let mut reason = format!("what was just written is not all there any more: {why}");
    if let Err(error) = opened.forget(std::slice::from_ref(&stored.snapshot.id)) {
        reason = format!(
            "{reason}; and the snapshot {}, which cannot be restored, could not be removed: {error}",
            stored.snapshot.short_id()
        );
    }
    Err(Error::new(ErrorKind::Damaged, attempt, reason).with_help(format!(
        "another program pruned the repository meanwhile, or its disk fails; run `mainstay backup run {backup}` again, and never run `restic prune` beside it"
    )))
}

/// The snapshot a selector means among those of one backup, oldest first.
pub(crate) fn choose<'a>(
    snapshots: &'a [Snapshot],
    selector: &Selector,
    now: Timestamp,
    attempt: &str,
) -> Result<Option<&'a Snapshot>, Error> {
    match selector {
        // An incomplete one only if there is nothing better.
        Selector::Latest => {
            let complete = || snapshots.iter().rev().filter(|snapshot| snapshot.complete);
            Ok(complete()
                .find(|snapshot| snapshot.time <= horizon(now))
                .or_else(|| complete().next())
                .or(snapshots.last()))
        }
        Selector::Id(prefix) => {
            let mut found = snapshots
                .iter()
                .filter(|snapshot| snapshot.id.starts_with(prefix.as_str()));
            let first = found.next();
            if found.next().is_some() {
                return Err(Error::new(
                    ErrorKind::UnknownSnapshot,
                    attempt,
                    format!("the ids of several begin with `{prefix}`"),
                )
                .with_help("give more digits"));
            }
            Ok(first)
        }
    }
}

pub(crate) fn backup_lock(name: &str) -> String {
    format!("backup-{name}")
}

pub(crate) fn repository_lock(name: &str) -> String {
    format!("repository-{name}")
}

fn overall(runs: &[RepositoryRun]) -> Outcome {
    if runs.iter().all(|run| run.outcome == Outcome::Ok) {
        Outcome::Ok
    } else if runs.iter().all(|run| run.outcome == Outcome::Failed) {
        Outcome::Failed
    } else {
        Outcome::Partial
    }
}

impl RepositoryRun {
    fn failed(repository: &str, error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::of(repository)
        }
    }

    /// One of which nothing is known yet.
    pub(crate) fn of(repository: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            outcome: Outcome::Failed,
            error: None,
            snapshot: None,
            issues: Vec::new(),
            added: 0,
            forgotten: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What to do about an incomplete snapshot.
    fn loss_help(&self, backup: &str) -> Option<String> {
        (self.error.is_none() && self.first_loss().is_some()).then(|| {
            format!("the snapshot is incomplete: make what is missing readable, or `exclude` it, and run `mainstay backup run {backup}` again")
        })
    }

    /// The first thing that is missing from the snapshot, and how many more there are.
    fn first_loss(&self) -> Option<String> {
        let mut losses = self
            .issues
            .iter()
            .filter(|issue| issue.weight == Weight::Missing);
        let first = losses.next()?;
        let more = losses.count();
        let text = format!("{}: {}", first.path.display(), first.what);
        Some(match more {
            0 => text,
            more => format!("{text} (and {more} more)"),
        })
    }
}

fn unknown<'a>(
    kind: ErrorKind,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Error {
    let known: Vec<&str> = known.collect();
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("the config has no [{what}.NAME]"),
        None => format!("there are: {}", known.join(", ")),
    };
    Error::new(
        kind,
        format!("find {what} `{name}`"),
        "the config does not have it",
    )
    .with_help(help)
}

/// A private directory that goes away with its owner.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
}

impl Staging {
    /// An empty directory at this path, 0700, whatever was there before.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let fail = |error: &io::Error| Error::io("prepare a staging directory", path, error);
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(&error)),
            _ => {}
        }
        if let Some(parent) = path.parent() {
            create_dir_private(parent, 0o700).map_err(|error| fail(&error))?;
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(|error| fail(&error))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

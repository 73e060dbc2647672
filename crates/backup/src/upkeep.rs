//! What is removed from repositories, and what is kept from that: the `keep` rules, pins, prunes.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::catalog::VerifyRecord;
use crate::config::BackupConfig;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{Depth, OpenRepository, Repository, Snapshot};
use crate::retention::{self, Candidate, Verdict};
use crate::run::{Backups, Located, RepositoryRun, Selector, repository_lock};

/// A repository is pruned by itself at most this often. A prune reads every directory of every
/// snapshot; and what it marks can be removed only 23 hours later in any case.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Snapshots, newest first, and what the rules say about each.
type Judged = Vec<(Snapshot, Verdict)>;

/// A part of the data is read by itself at most this often: once a day, however late a run may be.
const VERIFY_EVERY: SignedDuration = SignedDuration::from_hours(20);

/// What the rules say about the snapshots of a backup in one repository.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// The repository.
    pub repository: String,
    /// Its snapshots of this backup, host and path, newest first, and why each stays.
    pub verdicts: Vec<(Snapshot, Verdict)>,
    /// Whether those that no rule keeps were removed.
    pub removed: bool,
    /// Things worth knowing that are no errors.
    pub notes: Vec<String>,
    /// Why it could not be looked at, or nothing could be removed.
    pub error: Option<Error>,
}

impl Expiry {
    /// Those that no rule keeps.
    pub fn gone(&self) -> impl Iterator<Item = &Snapshot> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.keeps())
            .map(|(snapshot, _)| snapshot)
    }
}

impl Backups {
    /// What the rules say now, newest first. The error says why nothing may be removed.
    fn judge(
        &self,
        backup: &BackupConfig,
        repository: &str,
        opened: &dyn OpenRepository,
    ) -> Result<(Judged, Option<Error>), Error> {
        let proven = self.catalog.proven(repository)?;
        let mut own: Vec<Snapshot> = opened
            .snapshots()?
            .into_iter()
            .filter(|snapshot| self.is_own(&backup.name, snapshot))
            .collect();
        let candidates: Vec<Candidate> = own
            .iter()
            .map(|snapshot| Candidate {
                id: snapshot.id.clone(),
                time: snapshot.time,
                complete: snapshot.complete,
                verified: proven.snapshots.contains(&snapshot.id),
                pinned: snapshot.pinned,
            })
            .collect();
        let judged = retention::decide(
            &backup.keep,
            &self.config.zone,
            self.clock.now(),
            &candidates,
        )
        .into_iter()
        .filter_map(|verdict| {
            let at = own.iter().position(|snapshot| snapshot.id == verdict.id)?;
            Some((own.swap_remove(at), verdict))
        })
        .collect();
        let refused = proven.damaged.then(|| {
            Error::new(
                ErrorKind::Damaged,
                format!("remove old snapshots from repository `{repository}`"),
                "the last verification found damage in it, and what is whole is not known",
            )
            .with_help("see `mainstay backup verify --read-data`: nothing is removed until that finds none")
        });
        Ok((judged, refused))
    }

    /// Forgets what no rule keeps, among the snapshots of this backup made on this host of this path.
    pub(crate) fn tidy(
        &self,
        backup: &BackupConfig,
        done: &mut RepositoryRun,
        opened: &dyn OpenRepository,
        new: &str,
    ) -> Result<(), Error> {
        if backup.keep.is_empty() {
            return Ok(());
        }
        let (judged, refused) = self.judge(backup, &done.repository, opened)?;
        let gone: Vec<String> = judged
            .into_iter()
            // The rules keep the newest; a clock that went back must not make the new one the oldest.
            .filter(|(_, verdict)| !verdict.keeps() && verdict.id != new)
            .map(|(_, verdict)| verdict.id)
            .collect();
        match refused {
            Some(error) if !gone.is_empty() => done.notes.push(error.to_string()),
            _ => {
                opened.forget(&gone)?;
                done.forgotten = gone;
            }
        }
        Ok(())
    }

    /// Says what the `keep` rules of a backup keep in its repositories, or in one of them, and why; and
    /// removes the rest, unless it is a `rehearsal`.
    ///
    /// A run does the same after it has stored a complete snapshot. One that cannot be read is in the
    /// answer.
    pub fn expire(
        &self,
        name: &str,
        repository: Option<&str>,
        rehearsal: bool,
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Expiry>, Error> {
        let backup = self.backup_config(name)?;
        let names = self.repositories_of(Some(name), repository)?;
        Ok(names
            .into_iter()
            .map(|repository| {
                let mut expiry = Expiry {
                    repository,
                    verdicts: Vec::new(),
                    removed: false,
                    notes: Vec::new(),
                    error: None,
                };
                expiry.error = self
                    .expire_in(backup, &mut expiry, rehearsal, progress)
                    .err();
                expiry
            })
            .collect())
    }

    fn expire_in(
        &self,
        backup: &BackupConfig,
        expiry: &mut Expiry,
        rehearsal: bool,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let name = expiry.repository.clone();
        let attempt = format!("remove old snapshots from repository `{name}`");
        let lock = if rehearsal {
            None
        } else {
            Some(self.lock(&repository_lock(&name), &attempt, progress)?)
        };
        let opened = self.repository(&name)?.open(progress)?;
        let (judged, refused) = self.judge(backup, &name, opened.as_ref())?;
        expiry.verdicts = judged;
        if lock.is_none() || expiry.gone().next().is_none() {
            return Ok(());
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let _announced = opened.announce(&self.config.host)?;
        let lost = opened.mend()?;
        if lost > 0 {
            return Err(Error::new(
                ErrorKind::Damaged,
                attempt,
                format!("{lost} of its packs are gone, and what is whole is not known"),
            )
            .with_help("run `mainstay backup verify`; a new run stores what is missing anew"));
        }
        let gone: Vec<String> = expiry.gone().map(|snapshot| snapshot.id.clone()).collect();
        opened.forget(&gone)?;
        expiry.removed = true;
        let mut done = RepositoryRun::of(&name);
        done.forgotten = gone;
        self.prune_if_due(&mut done, opened.as_ref(), progress)?;
        expiry.notes = done.notes;
        Ok(())
    }

    /// Pins a snapshot, so that no rule removes it, or takes the pin off. It has another id afterwards,
    /// which is in the answer; where it is so already it is left as it is.
    pub fn pin(
        &self,
        backup: &str,
        selector: &Selector,
        repository: Option<&str>,
        pinned: bool,
        progress: &Arc<dyn Progress>,
    ) -> Result<Located, Error> {
        let mut located = self.find(backup, selector, repository, progress)?;
        if located.snapshot.pinned == pinned {
            return Ok(located);
        }
        let name = &located.repository;
        let attempt = format!("mark a snapshot in repository `{name}`");
        let _lock = self.lock(&repository_lock(name), &attempt, progress)?;
        let opened = self.repository(name)?.open(progress)?;
        let _announced = opened.announce(&self.config.host)?;
        let changed = opened.pin(&located.snapshot, pinned)?;
        if let Err(error) = self
            .catalog
            .renamed(name, &located.snapshot.id, &changed.id)
        {
            log::warn!("{error}");
        }
        located.snapshot = changed;
        Ok(located)
    }

    /// Reads the part of the data whose turn it is, if the config wants all to be read in some days, and
    /// none was read today. Damage is an error.
    pub(crate) fn verify_part_if_due(
        &self,
        repository: &str,
        opened: &dyn OpenRepository,
    ) -> Result<(), Error> {
        let config = self.config.repository(repository);
        let Some(of) = config.and_then(|config| config.verify_days) else {
            return Ok(());
        };
        let now = self.clock.now();
        let (number, last) = self.catalog.next_part(repository, of)?;
        if last.is_some_and(|last| last <= now && now.duration_since(last) < VERIFY_EVERY) {
            return Ok(());
        }
        let depth = Depth::Part { number, of };
        let checked = opened.check(depth);
        if let Err(error) = &checked
            && error.kind() == ErrorKind::Cancelled
        {
            return Err(error.clone());
        }
        let damages: Vec<String> = checked
            .iter()
            .flatten()
            .filter(|finding| finding.damage)
            .map(|finding| finding.what.clone())
            .collect();
        let record = VerifyRecord {
            repository: repository.to_owned(),
            depth: depth.to_string(),
            finished: self.clock.now(),
            damaged: damages.len() as u64,
            error: checked.as_ref().err().map(ToString::to_string),
        };
        self.catalog.verified(&record, now)?;
        checked?;
        if let Some(first) = damages.first() {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("verify repository `{repository}`"),
                format!("{first} ({} in all)", damages.len()),
            )
            .with_help("see `mainstay backup verify --read-data`; nothing is removed from it until that finds no damage"));
        }
        let read = self.catalog.read_in_parts(repository, of)?;
        let ids = read.iter().map(String::as_str);
        self.catalog.proved(repository, ids, self.clock.now())
    }

    pub(crate) fn prune_if_due(
        &self,
        done: &mut RepositoryRun,
        opened: &dyn OpenRepository,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let repository = done.repository.clone();
        let (pruned, pending) = self.catalog.upkeep(&repository).unwrap_or((None, true));
        let pending = pending || !done.forgotten.is_empty();
        let now = self.clock.now();
        // A last time in the future is that of a clock that was wrong.
        let waiting =
            pruned.is_some_and(|last| last <= now && now.duration_since(last) < PRUNE_EVERY);
        if !pending || waiting {
            if pending {
                let _ = self.catalog.set_upkeep(&repository, None, true);
            }
            return Ok(());
        }
        self.prune_now(&repository, opened, progress, &mut done.notes)
    }

    fn prune_now(
        &self,
        repository: &str,
        opened: &dyn OpenRepository,
        progress: &Arc<dyn Progress>,
        notes: &mut Vec<String>,
    ) -> Result<(), Error> {
        progress.begin(&format!("Pruning {repository}"), None);
        let pruned = opened.prune();
        progress.finish();
        let pruned = pruned?;
        if pruned.skipped {
            notes.push(format!(
                "repository `{repository}` was not pruned: another program or host has it locked"
            ));
            return self.catalog.set_upkeep(repository, None, true);
        }
        // What is marked now is removed by a later prune: there is something to do again.
        let again = pruned.marked > 0 || pruned.removed > 0;
        self.catalog
            .set_upkeep(repository, Some(self.clock.now()), again)
    }

    /// Removes from a repository what no snapshot needs, now instead of once a day.
    ///
    /// Data that nothing needs any more is marked, and removed by a prune at least 23 hours later.
    pub fn prune(
        &self,
        repository: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<String>, Error> {
        let target = self.repository(repository)?;
        let attempt = format!("prune repository `{repository}`");
        let _lock = self.lock(&repository_lock(repository), &attempt, progress)?;
        let mut notes = Vec::new();
        let opened = target.open(progress)?;
        // Without one it goes on all the same: a full disk must not stop what frees it, and a lock of
        // another is respected by the prune itself.
        let _announced = opened.announce(&self.config.host).ok();
        self.prune_now(repository, opened.as_ref(), progress, &mut notes)?;
        Ok(notes)
    }
}

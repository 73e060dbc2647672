//! Verification: is what is stored still there, and is it what was stored.
//!
//! The structure check finds a missing or shortened pack and a broken directory; it reads no data.
//! Reading the data finds a flipped bit. A database is proved on top of that whatever the depth: its
//! newest snapshot is restored into a private place, its digest compared with that of the copy it was
//! made from, and `SQLite` asked to check it; of a server of `MySQL` the rows are counted anew. Nothing
//! of that needs the source or the catalog.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::catalog::VerifyRecord;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{
    Depth, FileContent, Finding, Item, ItemKind, OpenRepository, Repository, Snapshot, Visit,
};
use crate::restore::redis::damaged;
use crate::run::{Backups, backup_lock, repository_lock};
use crate::source::mysql::Recount;
use crate::source::redis::{self, RedisFacts};
use crate::source::sqlite::inspect;
use crate::writer::Writer;

/// What a verification found.
#[derive(Debug, Clone)]
pub struct VerifyReport {
    /// Each repository that was looked at.
    pub repositories: Vec<RepositoryVerify>,
}

impl VerifyReport {
    /// Whether every repository could be read and nothing in it is damaged.
    pub fn is_sound(&self) -> bool {
        self.repositories.iter().all(|repository| {
            repository.error.is_none()
                && !repository.findings.iter().any(|finding| finding.damage)
                && repository
                    .proofs
                    .iter()
                    .all(|proof| proof.failure.is_none())
        })
    }
}

/// What a verification found in one repository.
#[derive(Debug, Clone)]
pub struct RepositoryVerify {
    /// The repository.
    pub repository: String,
    /// Why it could not be verified.
    pub error: Option<Error>,
    /// What is damaged or untidy.
    pub findings: Vec<Finding>,
    /// The databases that were restored and checked.
    pub proofs: Vec<Proof>,
}

/// A database that was restored into a private place and checked.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The backup.
    pub backup: String,
    /// The snapshot, its newest complete one.
    pub snapshot: Snapshot,
    /// What is wrong with it.
    pub failure: Option<Error>,
}

impl Backups {
    /// Verifies the repositories of these backups, or all repositories if none is named.
    ///
    /// A repository that cannot be read is in the report; an error is returned only for a name that
    /// does not exist, and when the caller asked to stop. Damage is remembered in the catalog, and shown by [`Backups::status`].
    pub fn verify(
        &self,
        backups: &[String],
        depth: Depth,
        progress: &Arc<dyn Progress>,
    ) -> Result<VerifyReport, Error> {
        for name in backups {
            self.backup_config(name)?;
        }
        let wanted = |name: &str| backups.is_empty() || backups.iter().any(|other| other == name);
        let mut repositories = Vec::new();
        for repository in &self.config.repositories {
            let proved: Vec<&str> = self
                .config
                .backups
                .iter()
                .filter(|backup| wanted(&backup.name) && backup.to.contains(&repository.name))
                .map(|backup| backup.name.as_str())
                .collect();
            if proved.is_empty() && !backups.is_empty() {
                continue;
            }
            let started = self.clock.now();
            let mut report = RepositoryVerify {
                repository: repository.name.clone(),
                error: None,
                findings: Vec::new(),
                proofs: Vec::new(),
            };
            match self.verify_into(&mut report, &proved, depth, progress) {
                // Nothing is known of the repository then.
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                done => report.error = done.err(),
            }
            let damaged = report.findings.iter().filter(|found| found.damage).count()
                + report
                    .proofs
                    .iter()
                    .filter(|proof| proof.failure.is_some())
                    .count();
            let record = VerifyRecord {
                repository: repository.name.clone(),
                depth: depth.to_string(),
                finished: self.clock.now(),
                damaged: damaged as u64,
                error: report.error.as_ref().map(ToString::to_string),
            };
            if let Err(error) = self.catalog.verified(&record, started) {
                log::warn!("{error}");
            }
            repositories.push(report);
        }
        Ok(VerifyReport { repositories })
    }

    fn verify_into(
        &self,
        report: &mut RepositoryVerify,
        proved: &[&str],
        depth: Depth,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let attempt = format!("verify repository `{}`", report.repository);
        let snapshots;
        let opened = {
            // A run beside the check would make it see packs that no index knows yet.
            let _lock = self.lock(&repository_lock(&report.repository), &attempt, progress)?;
            let opened = self.repository(&report.repository)?.open(progress)?;
            report.findings = opened.check(depth)?;
            snapshots = opened.snapshots()?;
            opened
        };
        if depth == Depth::All && !report.findings.iter().any(|finding| finding.damage) {
            self.remember_proofs(&report.repository, &snapshots);
        }
        for backup in proved {
            let newest = snapshots
                .iter()
                .rev()
                .find(|snapshot| self.is_own(backup, snapshot) && snapshot.complete);
            let Some(snapshot) = newest.filter(|snapshot| {
                let facts = &snapshot.facts;
                facts.database.is_some() || facts.redis.is_some() || facts.server.is_some()
            }) else {
                continue;
            };
            let _lock = self.lock(&backup_lock(backup), &attempt, progress)?;
            let staging = self.staging(backup)?;
            let copy = staging.path().join("proof");
            let failure = match &snapshot.facts.redis {
                Some(facts) => prove_redis(opened.as_ref(), snapshot, facts, &copy, progress).err(),
                // What is in the files only a server can say: a drill starts one.
                None if snapshot.facts.physical.is_some() => {
                    read_all(opened.as_ref(), snapshot, progress).err()
                }
                None if snapshot.facts.server.is_some() => {
                    prove_server(opened.as_ref(), snapshot, progress).err()
                }
                None => fetch_file(opened.as_ref(), snapshot, &copy, progress)
                    .and_then(|()| prove(snapshot, &copy))
                    .err(),
            };
            if let Some(error) = &failure
                && error.kind() == ErrorKind::Cancelled
            {
                return Err(error.clone());
            }
            if failure.is_none() {
                self.remember_proofs(&report.repository, std::slice::from_ref(snapshot));
            }
            report.proofs.push(Proof {
                backup: (*backup).to_owned(),
                snapshot: snapshot.clone(),
                failure,
            });
        }
        Ok(())
    }

    pub(crate) fn remember_proofs(&self, repository: &str, snapshots: &[Snapshot]) {
        let ids = snapshots.iter().map(|snapshot| snapshot.id.as_str());
        if let Err(error) = self.catalog.proved(repository, ids, self.clock.now()) {
            log::warn!("{error}");
        }
    }
}

/// Reads each file of a snapshot, one after the other.
fn each_file(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    (doing, attempt): (&str, &str),
    progress: &Arc<dyn Progress>,
    read: &mut dyn FnMut(&Item, &dyn FileContent) -> Result<(), Error>,
) -> Result<(), Error> {
    progress.begin(
        &format!("{doing} {}", snapshot.path.display()),
        Some(snapshot.bytes),
    );
    let walked = opened.walk(snapshot, &snapshot.path, &mut |visit| {
        if progress.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                attempt,
                "the caller asked to stop",
            ));
        }
        if let Visit::Item(item, content) = visit
            && item.kind == ItemKind::File
        {
            read(item, content)?;
            progress.advance(item.meta.size);
        }
        Ok(())
    });
    progress.finish();
    walked
}

/// Whether all files of a snapshot can be read, with the sizes they were stored with.
fn read_all(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    let attempt = accepting(snapshot);
    let what = ("Reading", attempt.as_str());
    each_file(opened, snapshot, what, progress, &mut |item, content| {
        let mut counter = Counter(0);
        content.write_to(&mut counter)?;
        if counter.0 == item.meta.size {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Damaged,
            &attempt,
            format!(
                "{} has {} bytes, and {} when it was stored",
                item.path.display(),
                counter.0,
                item.meta.size
            ),
        ))
    })
}

fn accepting(snapshot: &Snapshot) -> String {
    format!("accept snapshot {} as a server", snapshot.short_id())
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the rows of a server of `MySQL` or `MariaDB` are those that its manifest tells of.
fn prove_server(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    let attempt = accepting(snapshot);
    let what = ("Counting the rows of", attempt.as_str());
    let mut recount = Recount::default();
    each_file(opened, snapshot, what, progress, &mut |item, content| {
        recount.file(&item.path, |target| content.write_to(target))
    })?;
    recount.compare().map_err(|why| {
        Error::new(ErrorKind::Damaged, &attempt, why).with_help(
            "restore an older snapshot (`mainstay backup list`), and check the disk of the repository with `mainstay backup verify --read-data`",
        )
    })
}

/// Restores the one file of a snapshot to a new file, 0600.
pub(crate) fn fetch_file(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    to: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    let attempt = format!("restore snapshot {}", snapshot.short_id());
    progress.begin(
        &format!("Restoring {}", snapshot.path.display()),
        Some(snapshot.bytes),
    );
    let mut found = false;
    let fetched = opened.walk(snapshot, &snapshot.path, &mut |visit| {
        let Visit::Item(item, content) = visit else {
            return Ok(());
        };
        if item.kind != ItemKind::File {
            return Ok(());
        }
        found = true;
        write_file(to, &attempt, progress, |target| content.write_to(target))
    });
    progress.finish();
    fetched?;
    if found {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Damaged,
            attempt,
            "it is said to be of a file, and there is none in it",
        ))
    }
}

/// Creates a file, 0600, and has its content written. What goes wrong with the file itself is
/// reported as such, whatever the writer makes of it.
pub(crate) fn write_file(
    path: &Path,
    attempt: &str,
    progress: &Arc<dyn Progress>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let fail = |error: &io::Error| Error::io(attempt, path, error);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fail(&error))?;
    let mut target = Watched {
        file,
        progress,
        failed: None,
    };
    let written = write(&mut target);
    if let Some(error) = target.failed {
        if progress.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                attempt,
                "the caller asked to stop",
            ));
        }
        return Err(fail(&error));
    }
    written
}

struct Watched<'a> {
    file: std::fs::File,
    progress: &'a Arc<dyn Progress>,
    failed: Option<io::Error>,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = if self.progress.cancelled() {
            Err(io::Error::other("cancelled"))
        } else {
            self.file.write(bytes)
        };
        match result {
            Ok(count) => {
                self.progress.advance(count as u64);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                if kind != io::ErrorKind::Interrupted {
                    self.failed = Some(error);
                }
                Err(io::Error::from(kind))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Restores all of a snapshot of Redis, and looks whether it is what was pulled.
fn prove_redis(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    facts: &RedisFacts,
    to: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    let attempt = format!("accept snapshot {} as data of Redis", snapshot.short_id());
    let mut writer = Writer::new(to, &[], &attempt, progress);
    progress.begin(
        &format!("Restoring {}", snapshot.path.display()),
        Some(snapshot.bytes),
    );
    let walked = opened.walk(snapshot, &snapshot.path, &mut |visit| writer.visit(visit));
    progress.finish();
    walked?;
    writer.finish()?;
    redis::check(to, facts)
        .map(drop)
        .map_err(|why| damaged(&attempt, why))
}

/// Whether a restored database is, byte for byte, what was stored, and sound.
pub(crate) fn prove(snapshot: &Snapshot, file: &Path) -> Result<(), Error> {
    let attempt = format!("accept snapshot {} as a database", snapshot.short_id());
    let damaged = |why: String| {
        Err(Error::new(ErrorKind::Damaged, &attempt, why).with_help(
            "restore an older snapshot (`mainstay backup list`), and check the disk of the repository with `mainstay backup verify --read-data`",
        ))
    };
    let found = match inspect(file) {
        Ok(found) => found,
        Err(error) => return damaged(format!("SQLite cannot read it: {error}")),
    };
    if let Some(stored) = &snapshot.facts.database
        && (stored.bytes != found.facts.bytes || stored.sha256 != found.facts.sha256)
    {
        return damaged("it is not what was stored: its SHA-256 is another".to_owned());
    }
    match found.findings.first() {
        None => Ok(()),
        Some(first) => damaged(format!("SQLite finds it damaged: {first}")),
    }
}

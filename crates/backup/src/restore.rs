//! Restores: a plan that can be shown and refused, then the act.
//!
//! A restore never removes the only copy of anything. Everything is first restored completely beside
//! the target, on the same file system, and checked there; only then is the old set aside under the
//! name `NAME.before-restore-TIME` and the new renamed into its place. A failure before that leaves the
//! old untouched; one in between puts it back; a crash in between is put right by the next restore of
//! that backup, from the list of renames in the catalog.

pub(crate) mod mysql;
pub(crate) mod physical;
mod place;
mod plan;
pub(crate) mod redis;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::{Size, counted};

use crate::catalog::with_suffix;
use crate::error::{Error, ErrorKind};
use crate::lock;
use crate::progress::{Progress, Quiet};
use crate::repository::{ItemKind, OpenRepository, Repository, Snapshot, Visit};
use crate::run::{Backups, Staging, backup_lock};
use crate::source::{Issue, Weight};
use crate::swap::{self, Found, Move};
use crate::verify::{fetch_file, prove};
use crate::writer::Writer;

pub(crate) use place::free_space;
use place::{
    aside_name, create_parents, keep_owner, refuse_if_in_use, refuse_mount_point, sync_all,
    users_of,
};
use plan::quoted;
pub use plan::{RestorePlan, RestoreReport, RestoreRequest, Target};

/// Files that belong to a `SQLite` database beside it (<https://sqlite.org/tempfiles.html>). They go
/// where it goes: a log of the old one would be replayed into the new one.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

impl Backups {
    /// Says what a restore would do, without doing anything.
    pub fn plan_restore(
        &self,
        request: &RestoreRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<RestorePlan, Error> {
        let attempt = format!("restore backup `{}`", request.backup);
        let only = clean_only(&request.only, &attempt)?;
        let located = self.find(
            &request.backup,
            &request.snapshot,
            request.repository.as_deref(),
            progress,
        )?;
        let snapshot = &located.snapshot;
        let database = snapshot.facts.kind == "sqlite";
        let redis = snapshot.facts.redis.clone();
        let physical = snapshot.facts.physical.is_some();
        if (database || redis.is_some() || physical) && !only.is_empty() {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                "a part of a database cannot be restored",
            )
            .with_help("restore it into another directory, and take from there what you need"));
        }
        let in_place = request.target == Target::InPlace;
        if in_place && snapshot.facts.kind == "mysql" && !physical {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                "a server is no place in the file system",
            )
            .with_help("it is restored into a server; `--to DIR` gives its files: `manifest.json` there says how everything is made, and the .tsv files are loaded by LOAD DATA"));
        }
        let target = self.target(request, snapshot, database, &attempt)?;
        let (files, bytes) = if only.is_empty() {
            (snapshot.files, snapshot.bytes)
        } else {
            let opened = self.repository(&located.repository)?.open(progress)?;
            count(opened.as_ref(), snapshot, &only, &attempt)?
        };
        let stop = match self.config.backup(&request.backup) {
            Some(backup) if in_place => backup
                .restore_stop
                .iter()
                .map(|name| name.value.clone())
                .collect(),
            _ => Vec::new(),
        };
        let mut plan = RestorePlan {
            planned: self.clock.now(),
            backup: request.backup.clone(),
            in_place,
            free: free_space(&target).map_err(|error| Error::io(&attempt, &target, &error))?,
            set_aside: Vec::new(),
            from: located,
            target,
            only,
            files,
            bytes,
            stop,
            warnings: Vec::new(),
            layout: None,
            tool: None,
        };
        plan.warnings = self.warnings(&plan, database);
        if physical {
            self.plan_physical(&mut plan, &attempt)?;
        }
        if in_place {
            if let Some(facts) = &redis {
                self.plan_redis(&mut plan, facts, &attempt)?;
            }
            if plan.only.is_empty() && redis::parts(&plan).is_none() {
                refuse_mount_point(&plan.target, &attempt)?;
            }
            plan.set_aside = Self::asides(&plan, database);
        }
        check_space(&plan, &attempt)?;
        Ok(plan)
    }

    fn target(
        &self,
        request: &RestoreRequest,
        snapshot: &Snapshot,
        database: bool,
        attempt: &str,
    ) -> Result<PathBuf, Error> {
        match &request.target {
            Target::InPlace => {
                if let Some(facts) = &snapshot.facts.physical {
                    let data = PathBuf::from(&facts.data);
                    return Ok(fs::canonicalize(&data).unwrap_or(data));
                }
                let source = &self.backup_config(&request.backup)?.source;
                let Some(path) = source.restore_to() else {
                    return Err(Error::new(
                        ErrorKind::SourceMissing,
                        attempt,
                        "the config does not say where the server keeps its data",
                    )
                    .with_help("on the server's host, name its directory (`redis-cli CONFIG GET dir`) as `data` in `redis`; anywhere, restore into a new directory, which a server can be started in"));
                };
                // A link stays a link: what it points to is replaced.
                Ok(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
            }
            Target::Into(directory) => {
                let directory = std::path::absolute(directory)
                    .map_err(|error| Error::io(attempt, directory, &error))?;
                match fs::read_dir(&directory) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io(attempt, &directory, &error)),
                    Ok(mut entries) => {
                        if entries.next().is_some() {
                            return Err(Error::new(
                                ErrorKind::TargetNotEmpty,
                                attempt,
                                format!("{} exists and is not empty", directory.display()),
                            )
                            .with_help("name a directory that does not exist yet, or leave it out to restore in place"));
                        }
                    }
                }
                match snapshot.path.file_name() {
                    Some(name) if database => Ok(directory.join(name)),
                    _ => Ok(directory),
                }
            }
        }
    }

    /// What must go out of the way, and where to.
    fn asides(plan: &RestorePlan, database: bool) -> Vec<Move> {
        let mut asides = Vec::new();
        let now = plan.planned;
        let mut add = |from: PathBuf, to: PathBuf| {
            if fs::symlink_metadata(&from).is_ok() {
                asides.push(Move { from, to });
            }
        };
        if !plan.only.is_empty() {
            for only in &plan.only {
                let path = plan.target.join(only);
                add(path.clone(), aside_name(&path, now));
            }
            return asides;
        }
        if redis::parts(plan).is_some() {
            return redis::asides(plan);
        }
        let aside = aside_name(&plan.target, now);
        if database {
            for companion in COMPANIONS {
                add(
                    with_suffix(&plan.target, companion),
                    with_suffix(&aside, companion),
                );
            }
        }
        add(plan.target.clone(), aside);
        asides
    }

    fn warnings(&self, plan: &RestorePlan, database: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        let snapshot = &plan.from.snapshot;
        if !snapshot.complete {
            warnings.push(
                "the snapshot is incomplete: something could not be read when it was made"
                    .to_owned(),
            );
        }
        if !self.is_own(&plan.backup, snapshot) {
            warnings.push(format!(
                "CAREFUL: it was made on host {} from {}, not here",
                snapshot.host,
                snapshot.path.display()
            ));
        }
        let facts = &snapshot.facts;
        let served = database || facts.redis.is_some() || facts.physical.is_some();
        if plan.in_place && plan.stop.is_empty() && served {
            warnings.push(
                "the config names no programs to stop: `restore = { stop = [\"NAME\"] }`"
                    .to_owned(),
            );
        }
        if plan.in_place {
            for (pid, name) in users_of(&plan.target) {
                warnings.push(format!("process {pid} ({name}) has it open"));
            }
        }
        warnings
    }

    /// Does what the plan says. The programs in [`RestorePlan::stop`] must have been stopped.
    ///
    /// On an error the target is as it was before.
    pub fn restore(
        &self,
        plan: &RestorePlan,
        progress: &Arc<dyn Progress>,
    ) -> Result<RestoreReport, Error> {
        self.restore_by(plan, progress, &mut swap::rename)
    }

    /// The same with a rename(2) that tests can make fail.
    #[doc(hidden)]
    pub fn restore_by(
        &self,
        plan: &RestorePlan,
        progress: &Arc<dyn Progress>,
        rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>,
    ) -> Result<RestoreReport, Error> {
        let begun = self.clock.monotonic();
        let attempt = format!("restore backup `{}`", plan.backup);
        let database = plan.from.snapshot.facts.kind == "sqlite";
        let _lock = self.lock(&backup_lock(&plan.backup), &attempt, progress)?;
        self.recover_restores(&plan.backup)?;
        check_space(plan, &attempt)?;
        let opened = self.repository(&plan.from.repository)?.open(progress)?;
        let (Some(parent), Some(name)) = (plan.target.parent(), plan.target.file_name()) else {
            return Err(Error::new(
                ErrorKind::Internal,
                attempt,
                "the target has no name",
            ));
        };
        let created =
            create_parents(parent).map_err(|error| Error::io(&attempt, parent, &error))?;
        let made = self.restore_beside(
            plan,
            database,
            parent,
            name,
            opened.as_ref(),
            &attempt,
            progress,
            rename,
        );
        if made.is_err() {
            // Only those that are still empty go.
            for directory in created.iter().rev() {
                let _ = fs::remove_dir(directory);
            }
        }
        made.map(|mut report| {
            report.took = self.clock.monotonic().saturating_sub(begun);
            report
        })
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the second half of one function, split where the clean-up is"
    )]
    fn restore_beside(
        &self,
        plan: &RestorePlan,
        database: bool,
        parent: &Path,
        name: &std::ffi::OsStr,
        opened: &dyn OpenRepository,
        attempt: &str,
        progress: &Arc<dyn Progress>,
        rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>,
    ) -> Result<RestoreReport, Error> {
        let snapshot = &plan.from.snapshot;
        // Parts are moved into the directory itself, which may be a file system of its own.
        let in_parts = !plan.only.is_empty() || redis::parts(plan).is_some();
        let beside = if plan.in_place && in_parts && plan.target.is_dir() {
            &plan.target
        } else {
            parent
        };
        if plan.in_place && plan.tool.is_some() {
            // Before anything is fetched for nothing, and once more at the end.
            self.refuse_running_mysql(plan, attempt)?;
        }
        let staging = Staging::new(&beside.join(staging_name(name)))?;
        let new = staging.path().join("new");
        let (files, bytes, checked, issues) = if database {
            fetch_file(opened, snapshot, &new, progress)?;
            let proved = prove(snapshot, &new);
            let mut issues = Self::dress_database(plan, opened, &new)?;
            let checked = match proved {
                Ok(()) => "SHA-256 as stored, PRAGMA integrity_check ok".to_owned(),
                // It is never put over the live one; elsewhere a damaged one is better than none.
                Err(error) if plan.in_place => return Err(error),
                Err(error) => {
                    issues.push(Issue {
                        weight: Weight::Missing,
                        path: plan.target.clone(),
                        what: error.reason().to_owned(),
                    });
                    format!("NOT sound: {}", error.reason())
                }
            };
            (1, snapshot.bytes, checked, issues)
        } else {
            let mut writer = Writer::new(&new, &plan.only, attempt, progress);
            progress.begin(&format!("Restoring {}", plan.backup), Some(plan.bytes));
            let walked = opened.walk(snapshot, &snapshot.path, &mut |visit| writer.visit(visit));
            progress.finish();
            walked?;
            let mut written = writer.finish()?;
            let checked = if let Some(facts) = &snapshot.facts.redis {
                redis::make(plan, facts, &new, attempt, &mut written.issues)?
            } else if let Some(tool) = &plan.tool {
                let issues = &mut written.issues;
                physical::make(plan, tool, &new, staging.path(), attempt, progress, issues)?
            } else {
                format!(
                    "{} and {}, all of the size they were stored with",
                    counted(written.files, "file"),
                    counted(written.directories, "directory")
                )
            };
            if plan.in_place && plan.only.is_empty() {
                keep_owner(&plan.target, &new);
            }
            (written.files, written.bytes, checked, written.issues)
        };
        sync_all(staging.path()).map_err(|error| Error::io(attempt, staging.path(), &error))?;
        if plan.in_place && database {
            refuse_if_in_use(&plan.target, attempt)?;
        }
        if plan.in_place && snapshot.facts.redis.is_some() {
            self.refuse_running_redis(plan, attempt)?;
        }
        if plan.in_place && plan.tool.is_some() {
            self.refuse_running_mysql(plan, attempt)?;
        }
        let set_aside = if plan.in_place {
            Self::asides(plan, database)
        } else {
            Vec::new()
        };
        let mut moves = set_aside.clone();
        moves.extend(into_place(plan, &new));
        self.swap(plan, &moves, attempt, rename)?;
        Ok(RestoreReport {
            target: plan.target.clone(),
            files,
            bytes,
            checked,
            set_aside,
            issues,
            next: (snapshot.facts.physical.as_ref()).and_then(|facts| physical::next(plan, facts)),
            took: Duration::ZERO,
        })
    }

    fn swap(
        &self,
        plan: &RestorePlan,
        moves: &[Move],
        attempt: &str,
        rename: &mut dyn FnMut(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let intent = self.catalog.restore_begins(
            &plan.backup,
            &plan.from.repository,
            &plan.from.snapshot.id,
            &plan.target,
            moves,
            self.clock.now(),
        )?;
        let failed = match swap::perform(moves, rename) {
            Ok(()) => {
                if let Err(error) = swap::sync(moves) {
                    log::warn!("{attempt}: a power cut now could undo it: {error}");
                }
                // If this cannot be written, the next restore finds that everything is in place.
                let _ = self.catalog.restore_ended(intent, None, self.clock.now());
                return Ok(());
            }
            Err(failed) => failed,
        };
        let _ = swap::sync(moves);
        let mut error = Error::io(
            format!("{attempt}: move it to {}", failed.step.to.display()),
            &failed.step.from,
            &failed.error,
        );
        if failed.stuck.is_empty() {
            let _ = self
                .catalog
                .restore_ended(intent, Some(&error.to_string()), self.clock.now());
            error = error.with_help("everything is where it was before");
        } else {
            error = error.with_help(put_back_by_hand(&failed.stuck));
        }
        Err(error)
    }

    /// Puts right what crashes in the middle of restores left behind, for all backups; returns the
    /// backups that were put right. What drills that were killed left is removed.
    ///
    /// A daemon calls this before it starts programs: one that finds its data missing may begin anew.
    /// A restore that is under way elsewhere is left alone.
    pub fn recover(&self) -> Result<Vec<String>, Error> {
        self.sweep_drills(None);
        let mut recovered = Vec::new();
        let quiet: Arc<dyn Progress> = Arc::new(Quiet);
        for backup in &self.config.backups {
            if self.catalog.unfinished_restores(&backup.name)?.is_empty() {
                continue;
            }
            let attempt = format!("recover a restore of `{}`", backup.name);
            match lock::acquire(
                &self.locks(),
                &backup_lock(&backup.name),
                &attempt,
                Duration::ZERO,
                quiet.as_ref(),
            ) {
                Ok(_lock) => {
                    self.recover_restores(&backup.name)?;
                    recovered.push(backup.name.clone());
                }
                Err(error) if error.kind() == ErrorKind::Locked => {}
                Err(error) => return Err(error),
            }
        }
        Ok(recovered)
    }

    /// The same for one backup. The caller holds the lock.
    fn recover_restores(&self, backup: &str) -> Result<(), Error> {
        for unfinished in self.catalog.unfinished_restores(backup)? {
            let found = swap::recover(&unfinished.moves, &mut swap::rename);
            let _ = swap::sync(&unfinished.moves);
            let error = match found {
                Found::Done => None,
                Found::TakenBack => {
                    log::warn!("a restore of `{backup}` was interrupted; the old is back in place");
                    Some("interrupted; taken back")
                }
                Found::Stuck(stuck) => {
                    return Err(Error::new(
                        ErrorKind::Io,
                        format!("take back an interrupted restore of `{backup}`"),
                        "something is in the way",
                    )
                    .with_help(put_back_by_hand(&stuck)));
                }
            };
            self.catalog
                .restore_ended(unfinished.id, error, self.clock.now())?;
        }
        Ok(())
    }

    /// Gives a restored database owner, mode and times: of the one it replaces, or as they were stored.
    fn dress_database(
        plan: &RestorePlan,
        opened: &dyn OpenRepository,
        new: &Path,
    ) -> Result<Vec<Issue>, Error> {
        let mut issues = Vec::new();
        let snapshot = &plan.from.snapshot;
        opened.walk(snapshot, &snapshot.path, &mut |visit| {
            if let Visit::Item(item, _) = visit
                && item.kind == ItemKind::File
            {
                crate::writer::dress(new, &item.meta, false, &mut |what| {
                    issues.push(Issue {
                        weight: Weight::Warning,
                        path: plan.target.clone(),
                        what,
                    });
                });
            }
            Ok(())
        })?;
        if plan.in_place {
            keep_owner(&plan.target, new);
        }
        Ok(issues)
    }
}

fn put_back_by_hand(stuck: &[Move]) -> String {
    let commands: Vec<String> = stuck
        .iter()
        .map(|step| format!("mv -n -- {} {}", quoted(&step.to), quoted(&step.from)))
        .collect();
    format!("nothing is lost; put back by hand: {}", commands.join("; "))
}

/// Paths relative to the root of the snapshot, without those that lie in another one of them.
fn clean_only(only: &[PathBuf], attempt: &str) -> Result<Vec<PathBuf>, Error> {
    let mut clean = BTreeSet::new();
    for path in only {
        let normal = path
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect::<PathBuf>();
        let inside = !normal.as_os_str().is_empty()
            && normal
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                format!(
                    "`{}` is not a path below what was backed up",
                    path.display()
                ),
            )
            .with_help("give it relative to the directory that is backed up, without `..`"));
        }
        clean.insert(normal);
    }
    let all = clean.clone();
    clean.retain(|path| !path.ancestors().skip(1).any(|above| all.contains(above)));
    Ok(clean.into_iter().collect())
}

/// Files and bytes of the chosen parts; one that is not in the snapshot is an error.
fn count(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    only: &[PathBuf],
    attempt: &str,
) -> Result<(u64, u64), Error> {
    let (mut files, mut bytes) = (0, 0);
    let mut seen = BTreeSet::new();
    opened.walk(snapshot, &snapshot.path, &mut |visit| {
        let (Visit::Enter(item) | Visit::Item(item, _)) = visit else {
            return Ok(());
        };
        if let Some(chosen) = only.iter().find(|only| item.path.starts_with(only)) {
            seen.insert(chosen.clone());
            if item.kind != ItemKind::Directory {
                files += 1;
                bytes += item.meta.size;
            }
        }
        Ok(())
    })?;
    match only.iter().find(|only| !seen.contains(*only)) {
        None => Ok((files, bytes)),
        Some(missing) => Err(Error::new(
            ErrorKind::UnknownSnapshot,
            attempt,
            format!(
                "snapshot {} has no `{}`",
                snapshot.short_id(),
                missing.display()
            ),
        )
        .with_help("`mainstay backup show` lists what is in it")),
    }
}

fn staging_name(name: &std::ffi::OsStr) -> std::ffi::OsString {
    // Fixed, not random: what a killed restore left is then found and removed by the next one.
    let mut staging = std::ffi::OsString::from(".");
    staging.push(name);
    staging.push(".mainstay-restore");
    staging
}

/// The renames that put the new into place.
fn into_place(plan: &RestorePlan, new: &Path) -> Vec<Move> {
    if let Some(parts) = redis::parts(plan) {
        return parts
            .into_iter()
            .map(|part| Move {
                from: new.join(&part),
                to: plan.target.join(&part),
            })
            .collect();
    }
    if plan.only.is_empty() {
        return vec![Move {
            from: new.to_owned(),
            to: plan.target.clone(),
        }];
    }
    if !plan.in_place || fs::symlink_metadata(&plan.target).is_err() {
        return vec![Move {
            from: new.to_owned(),
            to: plan.target.clone(),
        }];
    }
    // A directory that is missing above a part is put into place whole, with its own mode and owner.
    let mut parts = BTreeSet::new();
    for only in &plan.only {
        let mut part = only.clone();
        while let Some(above) = part.parent()
            && !above.as_os_str().is_empty()
            && fs::symlink_metadata(plan.target.join(above)).is_err()
        {
            part = above.to_path_buf();
        }
        parts.insert(part);
    }
    parts
        .into_iter()
        .map(|part| Move {
            from: new.join(&part),
            to: plan.target.join(&part),
        })
        .collect()
}

fn check_space(plan: &RestorePlan, attempt: &str) -> Result<(), Error> {
    let free =
        free_space(&plan.target).map_err(|error| Error::io(attempt, &plan.target, &error))?;
    // Blocks, directories and the journal of the file system.
    let needed = plan
        .bytes
        .saturating_add(plan.files.saturating_mul(4096))
        .saturating_add(1 << 20);
    if free >= needed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DiskFull,
        attempt,
        format!(
            "it needs about {} beside {}, and {} are free",
            Size(needed).human(),
            plan.target.display(),
            Size(free).human()
        ),
    )
    .with_help(
        "the old is kept until you remove it, so there must be room for both; free some, or restore into another file system",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cleaned_and_kept_inside() {
        let clean = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            clean_only(&paths, "restore").map(|clean| {
                clean
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(clean(&["./a/b", "a/b/c", "d"]).unwrap(), ["a/b", "d"]);
        for outside in ["../a", "/etc", "a/../../b", "", "."] {
            assert!(clean(&[outside]).is_err(), "{outside}");
        }
    }
}

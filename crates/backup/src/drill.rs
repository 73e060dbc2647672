//! Drills: the latest snapshot is restored into a scratch place, looked at, and thrown away.
//!
//! A backup that was never restored is a hope. A drill restores one as the hour of need would: files
//! and databases of `SQLite` into a directory, others into a server that is started for it, with its own
//! directory and a socket in it, and without the network, so that it can never be the one that serves.
//! What is there then is compared with what the snapshot says of itself, and asked what the config wants
//! to hold. Every step is measured, and what came of it is a report, signed with a key of this host.
//!
//! Nothing of a drill stays but the report: the scratch directory goes with the drill, and if that was
//! killed with the next one. The servers in it die with the process that started them.

mod files;
mod mysql;
mod page;
mod physical;
mod redis;
mod report;
mod scratch;
mod server;
mod sign;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::DrillRecord;
use crate::config::{Assertion, BackupConfig, DrillConfig, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{OpenRepository, Repository, Snapshot};
use crate::run::{Backups, Located, Selector};

pub use page::page;
pub use report::{Check, DrillReport, Drilled, Step, Verdict};
pub use sign::{PublicKey, SignedReport};

/// What is to be drilled.
#[derive(Debug, Clone)]
pub struct DrillRequest {
    /// The backup.
    pub backup: String,
    /// Which of its snapshots.
    pub snapshot: Selector,
    /// From which repository. If none is named, they take turns: that one of the backup whose last proof
    /// is the oldest, so that one which cannot be read is not passed over for another.
    pub repository: Option<String>,
}

/// A drill under way: what is measured and found goes into its report.
struct Drill<'a> {
    report: DrillReport,
    config: DrillConfig,
    backups: &'a Backups,
    progress: &'a Arc<dyn Progress>,
    scratch: &'a scratch::Scratch,
    /// Whom its server runs as, if not as we do.
    guest: Option<scratch::Guest>,
}

impl Drill<'_> {
    fn attempt(&self) -> String {
        format!("drill backup `{}`", self.report.backup)
    }

    /// A step of the restore itself: its time is that of a restore in need.
    fn restoring<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.step(what, true, work)
    }

    /// A step that only a drill has.
    fn checking<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.step(what, false, work)
    }

    fn step<T>(
        &mut self,
        what: &str,
        restores: bool,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.progress.cancelled() {
            return Err(cancelled(&self.attempt()));
        }
        let begun = self.backups.clock.monotonic();
        let done = work(self);
        let took = self.backups.clock.monotonic().saturating_sub(begun);
        self.report.steps.push(Step {
            what: what.to_owned(),
            milliseconds: millis(took),
            restores,
            error: done.as_ref().err().map(|error| error.reason().to_owned()),
        });
        done
    }

    /// Something that must hold, and whether it does.
    fn check(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        holds: bool,
    ) {
        self.report.checks.push(Check {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            holds,
        });
    }

    /// The assertions of the config; `ask` puts a query to what was restored, in `directory`.
    fn assert(
        &mut self,
        directory: &Path,
        ask: &mut dyn FnMut(&str, &str) -> Result<String, String>,
    ) -> Result<(), Error> {
        let assertions = std::mem::take(&mut self.config.assertions);
        if assertions.is_empty() {
            return Ok(());
        }
        let checks = self.checking("ask what the config asserts", |drill| {
            drill.progress.begin("Asking what the config asserts", None);
            let mut checks = Vec::new();
            for (index, assertion) in assertions.iter().enumerate() {
                if drill.progress.cancelled() {
                    return Err(cancelled(&drill.attempt()));
                }
                checks.push(match assertion {
                    Assertion::Query { query, is } => answered(query, is, ask(query, is)),
                    Assertion::Path(path) => {
                        let there = directory.join(path).symlink_metadata().is_ok();
                        Check {
                            what: path.display().to_string(),
                            expected: "exists".to_owned(),
                            found: if there { "exists" } else { "is not there" }.to_owned(),
                            holds: there,
                        }
                    }
                    Assertion::Command { words, is } => {
                        // A name for each: what one printed is not the answer of the next.
                        let name = format!("command-{index}");
                        server::command(words, is.as_deref(), directory, &name, drill)
                    }
                });
            }
            drill.progress.finish();
            Ok(checks)
        })?;
        self.report.checks.extend(checks);
        Ok(())
    }
}

/// An answer beside what it should be. White space at the end is no part of either.
fn answered(query: &str, is: &str, answer: Result<String, String>) -> Check {
    let (found, holds) = match answer {
        Ok(answer) => {
            let holds = answer.trim_end() == is.trim_end();
            (answer, holds)
        }
        Err(why) => (why, false),
    };
    Check {
        what: query.to_owned(),
        expected: is.to_owned(),
        found: brief(&found),
        holds,
    }
}

/// What fits into a report.
fn brief(text: &str) -> String {
    const MOST: usize = 500;
    let text = text.trim_end();
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

fn cancelled(attempt: &str) -> Error {
    Error::new(ErrorKind::Cancelled, attempt, "the caller asked to stop")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn drill_lock(name: &str) -> String {
    format!("drill-{name}")
}

/// The program that a drill of this backup would start, or why there is none; nothing for a backup that
/// is not drilled, or needs none.
pub(crate) fn program_of(backup: &BackupConfig) -> Option<Result<PathBuf, String>> {
    let named = backup.drill.as_ref()?.program.as_ref();
    let names: &[&str] = match &backup.source {
        SourceConfig::Mysql(_) => &["mariadbd", "mysqld"],
        SourceConfig::Redis(_) => &redis::PROGRAMS,
        SourceConfig::Files { .. } | SourceConfig::Sqlite { .. } => return None,
    };
    Some(match named {
        Some(path) if path.is_file() => Ok(path.clone()),
        Some(path) => Err(format!("there is no {}", path.display())),
        None => crate::program::find(names)
            .ok_or_else(|| format!("there is no {} on this host", names.join(" or "))),
    })
}

impl Backups {
    /// Restores a snapshot into a scratch place, and says in a signed report whether it is whole.
    ///
    /// What goes wrong is in the report, and remembered in the catalog. An error is returned only where
    /// nothing was tried: for a name that does not exist, while another drill of the backup is under
    /// way, and when the caller asked to stop. A backup may run meanwhile: a drill reads only what a
    /// prune leaves for a day.
    pub fn drill(
        &self,
        request: &DrillRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<DrillReport, Error> {
        let backup = self.backup_config(&request.backup)?;
        if let Some(repository) = &request.repository {
            self.repository(repository)?;
        }
        let attempt = format!("drill backup `{}`", backup.name);
        let lock = self.lock(&drill_lock(&backup.name), &attempt, progress)?;
        self.sweep_drills(Some(&backup.name));
        let began = self.clock.now();
        let monotonic = self.clock.monotonic();
        let mut report = DrillReport::new(backup, &self.config.host, began);
        let tried =
            scratch::Scratch::new(&self.scratch_of(&backup.name), lock).and_then(|scratch| {
                let mut drill = Drill {
                    report: report.clone(),
                    config: backup.drill.clone().unwrap_or_default(),
                    backups: self,
                    progress,
                    scratch: &scratch,
                    guest: None,
                };
                let tried = drill.carry_out(backup, request);
                report = drill.report;
                // The lock is held until the scratch place is gone.
                drop(scratch);
                tried
            });
        if let Err(error) = &tried
            && error.kind() == ErrorKind::Cancelled
        {
            return Err(error.clone());
        }
        let took = self.clock.monotonic().saturating_sub(monotonic);
        report.end(self.clock.now(), took, tried.err());
        let written = self.keep_report(&report);
        let mut record = report.record();
        match written {
            Ok(path) => record.report = Some(path),
            Err(error) => report.notes.push(error.to_string()),
        }
        // A catalog that cannot be written is said, and takes nothing from what was found.
        let mut remembered = self.catalog.drilled(&record);
        if let (true, Some(repository), Some(snapshot)) =
            (report.is_proven(), &record.repository, &record.snapshot)
        {
            let whole = [snapshot.as_str()];
            let proved = self.catalog.proved(repository, whole, record.finished);
            remembered = remembered.and(proved);
        }
        if let Err(error) = remembered {
            report.notes.push(error.to_string());
        }
        Ok(report)
    }

    fn scratch_of(&self, backup: &str) -> PathBuf {
        self.state.join("drill").join("scratch").join(backup)
    }

    /// Removes what drills that were killed left behind; those under way are left alone.
    pub(crate) fn sweep_drills(&self, but: Option<&str>) {
        let quiet: Arc<dyn Progress> = Arc::new(crate::progress::Quiet);
        let scratch = self.state.join("drill").join("scratch");
        for entry in std::fs::read_dir(&scratch).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if Some(name.as_str()) == but {
                continue;
            }
            let held = crate::lock::acquire(
                &self.locks(),
                &drill_lock(&name),
                "remove what a drill left",
                Duration::ZERO,
                quiet.as_ref(),
            );
            if let Ok(held) = held
                && let Err(error) = scratch::Scratch::new(&entry.path(), held)
            {
                log::warn!("{error}");
            }
        }
    }
}

impl Drill<'_> {
    fn carry_out(&mut self, backup: &BackupConfig, request: &DrillRequest) -> Result<(), Error> {
        let attempt = self.attempt();
        let turn = match (&request.repository, &request.snapshot) {
            (Some(repository), _) => Some(repository.clone()),
            (None, Selector::Latest) => self.turn(backup)?,
            // The id of a snapshot is one of one repository.
            (None, Selector::Id(_)) => None,
        };
        let (located, opened) = self.restoring("find the snapshot", |drill| {
            let located = drill.backups.find(
                &request.backup,
                &request.snapshot,
                turn.as_deref(),
                drill.progress,
            )?;
            let repository = drill.backups.repository(&located.repository)?;
            Ok((located, repository.open(drill.progress)?))
        })?;
        let Located {
            repository,
            snapshot,
        } = located;
        self.report.repository = Some(repository);
        self.report.snapshot = Some(Drilled::of(&snapshot));
        if !snapshot.complete {
            return Err(Error::new(
                ErrorKind::Damaged,
                attempt,
                format!(
                    "snapshot {} is incomplete, and there is no other",
                    snapshot.short_id()
                ),
            )
            .with_help(format!(
                "make what is missing readable, and run `mainstay backup run {}`",
                backup.name
            )));
        }
        self.room_for(&snapshot)?;
        self.restore(opened.as_ref(), &snapshot)
    }

    /// The repository whose last proof is the oldest; one without any comes before all others.
    fn turn(&self, backup: &BackupConfig) -> Result<Option<String>, Error> {
        let mut oldest: Option<(Option<Timestamp>, &String)> = None;
        for repository in &backup.to {
            let until = self.backups.horizon();
            let proven = (self.backups.catalog).proven_in(&backup.name, repository, until)?;
            if oldest.is_none_or(|(other, _)| proven < other) {
                oldest = Some((proven, repository));
            }
        }
        Ok(oldest.map(|(_, repository)| repository.clone()))
    }

    fn restore(&mut self, opened: &dyn OpenRepository, snapshot: &Snapshot) -> Result<(), Error> {
        let facts = &snapshot.facts;
        if facts.database.is_some() {
            return files::database(self, opened, snapshot);
        }
        if let Some(redis) = &facts.redis {
            return redis::servers(self, opened, snapshot, redis);
        }
        if let Some(physical) = &facts.physical {
            return physical::server(self, opened, snapshot, physical);
        }
        if facts.server.is_some() {
            return mysql::server(self, snapshot);
        }
        match facts.kind.as_str() {
            "files" | "" => files::tree(self, opened, snapshot),
            kind => Err(Error::new(
                ErrorKind::NoServer,
                self.attempt(),
                format!("cannot be drilled here: nothing is known of `{kind}`"),
            )),
        }
    }

    /// That the file system of the scratch place has room for it: a disk that a drill fills would be
    /// worse than none.
    fn room_for(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let path = self.scratch.path();
        let attempt = self.attempt();
        let about =
            rustix::fs::statvfs(path).map_err(|error| Error::io(&attempt, path, &error.into()))?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        // What a server makes of rows takes more than they do; of its files, less.
        let physical = snapshot.facts.physical.is_some();
        let times = if snapshot.facts.server.is_some() && !physical {
            3
        } else {
            1
        };
        let needed = snapshot
            .bytes
            .saturating_mul(times)
            .saturating_add(snapshot.files.saturating_mul(4096))
            .saturating_add(64 << 20);
        if free >= needed {
            return Ok(());
        }
        let human = |bytes| mainstay_base::Size(bytes).human();
        Err(Error::new(
            ErrorKind::DiskFull,
            attempt,
            format!(
                "it needs about {} in {}, and {} are free",
                human(needed),
                path.display(),
                human(free)
            ),
        )
        .with_help("free some, or put `host.state` on a file system that has room for it"))
    }
}

/// A drill as the catalog has it.
impl DrillReport {
    fn record(&self) -> DrillRecord {
        DrillRecord {
            backup: self.backup.clone(),
            repository: self.repository.clone(),
            snapshot: self.snapshot.as_ref().map(|snapshot| snapshot.id.clone()),
            taken: self.snapshot.as_ref().map(|snapshot| snapshot.taken),
            started: self.began,
            finished: self.ended,
            verdict: self.verdict,
            error: self.why.clone(),
            help: self.help.clone(),
            restore: Duration::from_millis(self.restore_milliseconds),
            bytes: self.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            report: None,
        }
    }
}

/// When a moment was, for the name of a file.
fn stamp(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_without_the_space_at_their_end() {
        for (is, answer, holds) in [
            ("1", Ok("1\n"), true),
            ("1", Ok("1"), true),
            ("1\n", Ok("1"), true),
            ("1", Ok(" 1"), false),
            ("1", Ok("0"), false),
            ("", Ok(""), true),
            ("1", Err("no such table"), false),
        ] {
            let said = answer.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(answered("q", is, said).holds, holds, "{is:?} {answer:?}");
        }
        let long = answered("q", "1", Ok("ä".repeat(10_000)));
        assert_eq!(long.found.chars().count(), 501);
    }
}

//! Whether all is well, from the catalog alone: no password, no repository, no waiting.

use jiff::{SignedDuration, Timestamp};

use crate::catalog::{INTERRUPTED, Outcome, RunRecord, VerifyRecord};
use crate::config::BackupConfig;
use crate::error::Error;
use crate::lock;
use crate::run::{Backups, backup_lock};

/// A backup that is due is overdue when there is no good one so long after.
const GRACE: SignedDuration = SignedDuration::from_mins(15);

/// How a backup is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStatus {
    /// Its name.
    pub name: String,
    /// What it backs up: `files /srv/uploads`.
    pub source: String,
    /// Its schedule as it is written in the config.
    pub schedule: Option<String>,
    /// Whether a run is under way.
    pub running: bool,
    /// When the weakest of its repositories last had a good run; absent if one never had.
    pub last_good: Option<Timestamp>,
    /// When it last began, well or not.
    pub last_run: Option<Timestamp>,
    /// The worst of the last outcomes of its repositories; absent if it never ran.
    pub last_outcome: Option<Outcome>,
    /// Why the last run was not good.
    pub last_error: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// When it stopped being good.
    pub failing_since: Option<Timestamp>,
    /// When it is due next by its schedule. In the past if its time came while nobody ran it.
    pub next_due: Option<Timestamp>,
    /// Whether there should be a newer good one.
    pub overdue: bool,
    /// How it is doing in each repository.
    pub repositories: Vec<RepositoryStatus>,
}

impl BackupStatus {
    /// Whether nobody needs to look at it: the last runs were good, and none is missing.
    pub fn is_well(&self) -> bool {
        !self.overdue && matches!(self.last_outcome, Some(Outcome::Ok))
    }
}

/// How a backup is doing in one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryStatus {
    /// The repository.
    pub repository: String,
    /// The last run. One that was killed is shown as failed.
    pub last_run: Option<RunRecord>,
    /// The last good run.
    pub last_good: Option<RunRecord>,
    /// When it stopped being good.
    pub failing_since: Option<Timestamp>,
    /// The last verification of the repository.
    pub last_verify: Option<VerifyRecord>,
}

impl Backups {
    /// How all backups are doing, in the order of the config.
    pub fn status(&self) -> Result<Vec<BackupStatus>, Error> {
        let now = self.clock.now();
        self.config
            .backups
            .iter()
            .map(|backup| {
                let running = lock::is_held(&self.locks(), &backup_lock(&backup.name));
                let repositories = backup
                    .to
                    .iter()
                    .map(|repository| self.repository_status(&backup.name, repository, running))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(summarise(backup, repositories, running, now))
            })
            .collect()
    }

    fn repository_status(
        &self,
        backup: &str,
        repository: &str,
        running: bool,
    ) -> Result<RepositoryStatus, Error> {
        let mut runs = self.catalog.runs(backup, repository, 2)?.into_iter();
        let mut last_run = runs.next();
        if last_run.as_ref().is_some_and(|run| run.finished.is_none()) {
            if running {
                // It has no outcome yet; what counts is the one before it.
                last_run = runs.next();
            } else if let Some(run) = &mut last_run {
                run.outcome = Some(Outcome::Failed);
                run.error = Some(INTERRUPTED.to_owned());
                run.help = Some(format!("run it again: `mainstay backup run {backup}`"));
            }
        }
        let bad = last_run
            .as_ref()
            .is_some_and(|run| run.outcome != Some(Outcome::Ok));
        Ok(RepositoryStatus {
            repository: repository.to_owned(),
            last_good: self.catalog.last_good(backup, repository)?,
            failing_since: if bad {
                self.catalog.failing_since(backup, repository)?
            } else {
                None
            },
            last_verify: self.catalog.last_verify(repository)?,
            last_run,
        })
    }
}

/// One line for all repositories of a backup. Pure.
fn summarise(
    backup: &BackupConfig,
    repositories: Vec<RepositoryStatus>,
    running: bool,
    now: Timestamp,
) -> BackupStatus {
    let goods: Vec<Option<Timestamp>> = repositories
        .iter()
        .map(|repository| repository.last_good.as_ref().map(|run| run.started))
        .collect();
    let last_good = if goods.contains(&None) {
        None
    } else {
        goods.into_iter().flatten().min()
    };
    let worst = repositories
        .iter()
        .filter_map(|repository| repository.last_run.as_ref())
        .max_by_key(|run| run.outcome);
    let last_run = repositories
        .iter()
        .filter_map(|repository| repository.last_run.as_ref())
        .map(|run| run.started)
        .max();
    let due_after = |time: Timestamp| backup.at.as_ref().and_then(|at| at.next_after(time));
    let overdue = !running
        && last_good
            .and_then(due_after)
            .and_then(|due| due.checked_add(GRACE).ok())
            .is_some_and(|late| late < now);
    BackupStatus {
        name: backup.name.clone(),
        source: format!("{} {}", backup.source.kind(), backup.source.place()),
        schedule: backup.at.as_ref().map(ToString::to_string),
        running,
        last_good,
        last_run,
        last_outcome: worst.and_then(|run| run.outcome),
        last_error: worst.and_then(|run| run.error.clone()),
        help: worst.and_then(|run| run.help.clone()),
        failing_since: repositories
            .iter()
            .filter_map(|repository| repository.failing_since)
            .min(),
        next_due: due_after(last_run.unwrap_or(now)),
        overdue,
        repositories,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourceConfig;
    use crate::retention::Keep;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn record(started: &str, outcome: Outcome) -> RunRecord {
        RunRecord {
            backup: "db".into(),
            repository: "r".into(),
            started: at(started),
            finished: Some(at(started)),
            outcome: Some(outcome),
            error: (outcome != Outcome::Ok).then(|| "disk full".into()),
            help: None,
            warnings: 0,
            snapshot: None,
            files: None,
            bytes: None,
            added: None,
        }
    }

    fn repository(good: Option<&str>, last: Option<(&str, Outcome)>) -> RepositoryStatus {
        RepositoryStatus {
            repository: "r".into(),
            last_run: last.map(|(time, outcome)| record(time, outcome)),
            last_good: good.map(|time| record(time, Outcome::Ok)),
            failing_since: None,
            last_verify: None,
        }
    }

    fn status(repositories: Vec<RepositoryStatus>, now: &str) -> BackupStatus {
        let backup = BackupConfig {
            name: "db".into(),
            source: SourceConfig::Sqlite { path: "/db".into() },
            at: Some("0 3 * * *".parse().unwrap()),
            keep: Keep::default(),
            to: vec!["r".into()],
            restore_stop: Vec::new(),
        };
        summarise(&backup, repositories, false, at(now))
    }

    #[test]
    fn the_weakest_repository_speaks_for_the_backup() {
        let both = status(
            vec![
                repository(
                    Some("2026-11-22T03:00:00Z"),
                    Some(("2026-11-22T03:00:00Z", Outcome::Ok)),
                ),
                repository(
                    Some("2026-11-20T03:00:00Z"),
                    Some(("2026-11-22T03:00:00Z", Outcome::Failed)),
                ),
            ],
            "2026-11-22T04:00:00Z",
        );
        assert_eq!(both.last_good, Some(at("2026-11-20T03:00:00Z")));
        assert_eq!(both.last_outcome, Some(Outcome::Failed));
        assert_eq!(both.last_error.as_deref(), Some("disk full"));
        assert!(both.overdue && !both.is_well());
        assert_eq!(both.next_due, Some(at("2026-11-23T03:00:00Z")));
    }

    #[test]
    fn a_missed_time_is_overdue_after_some_grace() {
        let good = || {
            vec![repository(
                Some("2026-11-21T03:00:00Z"),
                Some(("2026-11-21T03:00:00Z", Outcome::Ok)),
            )]
        };
        assert!(!status(good(), "2026-11-22T03:10:00Z").overdue);
        let late = status(good(), "2026-11-22T03:16:00Z");
        assert!(late.overdue);
        assert_eq!(late.next_due, Some(at("2026-11-22T03:00:00Z")));
        let never = status(vec![repository(None, None)], "2026-11-22T03:16:00Z");
        assert!(!never.overdue && !never.is_well());
        assert_eq!(never.last_outcome, None);
        assert_eq!(never.next_due, Some(at("2026-11-23T03:00:00Z")));
    }
}

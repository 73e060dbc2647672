//! Whether all is well, from the catalog alone: no password, no repository, no waiting.

use jiff::{SignedDuration, Timestamp};

use crate::catalog::{DrillRecord, INTERRUPTED, Outcome, RunRecord, VerifyRecord};
use crate::config::BackupConfig;
use crate::drill::{Verdict, drill_lock};
use crate::error::Error;
use crate::lock;
use crate::run::{Backups, backup_lock};

/// A backup that is due is overdue when there is no good one so long after.
const GRACE: SignedDuration = SignedDuration::from_mins(15);

/// So many good runs say what is usual, the last one not among them.
const USUAL: u32 = 10;

/// Fewer than these say nothing.
const FEWEST: usize = 3;

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
    /// Bytes of the last good runs of the first repository that has some, oldest first.
    pub sizes: Vec<u64>,
    /// Whether the last good run has far less than those before it.
    pub shrunken: Option<Shrunken>,
    /// The last drill, whatever it showed.
    pub last_drill: Option<DrillRecord>,
    /// The last drill that proved a restore.
    pub proven: Option<DrillRecord>,
    /// Whether a restore should have been proven since.
    pub unproven: bool,
    /// When it is drilled next by the config.
    pub next_drill: Option<Timestamp>,
    /// Whether a drill is under way.
    pub drilling: bool,
    /// How it is doing in each repository.
    pub repositories: Vec<RepositoryStatus>,
}

impl BackupStatus {
    /// Whether nobody needs to look at it: the last runs were good, and none is missing.
    pub fn is_well(&self) -> bool {
        !self.overdue
            && !self.unproven
            && self.shrunken.is_none()
            && !self.drill_failed()
            && matches!(self.last_outcome, Some(Outcome::Ok))
    }

    /// Whether the last drill proved nothing.
    pub fn drill_failed(&self) -> bool {
        (self.last_drill.as_ref()).is_some_and(|drill| drill.verdict != Verdict::Proven)
    }

    /// The median of the good runs before the last one, in bytes.
    pub fn usual_bytes(&self) -> Option<u64> {
        median(self.sizes.split_last()?.1.iter().copied())
    }
}

/// A backup that has far less than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shrunken {
    /// Whether rows, or keys, are meant; bytes otherwise.
    pub rows: bool,
    /// How many the last good run has.
    pub now: u64,
    /// The median of those before it.
    pub usual: u64,
}

/// What the catalog has of a backup besides its last runs.
#[derive(Debug, Default)]
struct History {
    /// Good runs to one repository, newest first.
    good: Vec<RunRecord>,
    first_good: Option<Timestamp>,
    last_drill: Option<DrillRecord>,
    proven: Option<DrillRecord>,
    drilling: bool,
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
                let history = self.history(backup)?;
                Ok(summarise(backup, repositories, running, history, now))
            })
            .collect()
    }

    fn history(&self, backup: &BackupConfig) -> Result<History, Error> {
        let mut good = Vec::new();
        for repository in &backup.to {
            good = self
                .catalog
                .good_runs(&backup.name, repository, USUAL + 1, self.horizon())?;
            if !good.is_empty() {
                break;
            }
        }
        Ok(History {
            good,
            first_good: self.catalog.first_good(&backup.name)?,
            last_drill: self.catalog.last_drill(&backup.name, self.horizon())?,
            proven: self.catalog.last_proven(&backup.name, self.horizon())?,
            drilling: lock::is_held(&self.locks(), &drill_lock(&backup.name)),
        })
    }

    fn repository_status(
        &self,
        backup: &str,
        repository: &str,
        running: bool,
    ) -> Result<RepositoryStatus, Error> {
        let until = self.horizon();
        let mut runs = (self.catalog.runs(backup, repository, 2, until)?).into_iter();
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
            last_good: self.catalog.good_runs(backup, repository, 1, until)?.pop(),
            failing_since: if bad {
                self.catalog.failing_since(backup, repository, until)?
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
    history: History,
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
    let due_after = |time: Timestamp| backup.due_after(time);
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
        shrunken: shrunken(&history.good, backup.shrunken_percent),
        sizes: (history.good.iter().rev())
            .filter_map(|run| run.bytes)
            .collect(),
        unproven: is_unproven(backup, &history, now),
        next_drill: (backup.drill.as_ref())
            .and_then(|drill| drill.at.as_ref())
            .and_then(|at| {
                let last = history.last_drill.as_ref();
                at.next_after(last.map_or(now, |drill| drill.started))
            }),
        last_drill: history.last_drill,
        proven: history.proven,
        drilling: history.drilling,
    }
}

/// Whether the newest of these runs has less than this share, in percent, of what is usual. Pure.
fn shrunken(good: &[RunRecord], percent: u64) -> Option<Shrunken> {
    let (last, before) = good.split_first()?;
    let look = |rows: bool, number: &dyn Fn(&RunRecord) -> Option<u64>| {
        let known: Vec<u64> = before.iter().filter_map(number).collect();
        if known.len() < FEWEST {
            return None;
        }
        let (now, usual) = (number(last)?, median(known)?);
        let share = u128::from(usual) * u128::from(percent);
        (u128::from(now) * 100 < share).then_some(Shrunken { rows, now, usual })
    };
    look(true, &|run| run.rows).or_else(|| look(false, &|run| run.bytes))
}

/// The one in the middle; of two the smaller.
fn median(numbers: impl IntoIterator<Item = u64>) -> Option<u64> {
    let mut numbers: Vec<u64> = numbers.into_iter().collect();
    numbers.sort_unstable();
    numbers.get(numbers.len().checked_sub(1)? / 2).copied()
}

/// Whether the last proven restore is too old. Where none ever was, since the first good backup. Pure.
fn is_unproven(backup: &BackupConfig, history: &History, now: Timestamp) -> bool {
    let proven = history.proven.as_ref().map(|drill| drill.finished);
    let (Some(drill), Some(since)) = (&backup.drill, proven.or(history.first_good)) else {
        return false;
    };
    let until = match (drill.max_age, &drill.at) {
        (Some(age), _) => SignedDuration::try_from(age)
            .ok()
            .and_then(|age| since.checked_add(age).ok()),
        // One that is missed may still be made up for.
        (None, Some(at)) => (at.next_after(since))
            .and_then(|first| at.next_after(first))
            .and_then(|second| second.checked_add(GRACE).ok()),
        (None, None) => None,
    };
    until.is_some_and(|until| until < now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DrillConfig, SHRUNKEN_PERCENT, SourceConfig};
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
            rows: None,
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

    fn config() -> BackupConfig {
        BackupConfig {
            name: "db".into(),
            source: SourceConfig::Sqlite { path: "/db".into() },
            at: Some("0 3 * * *".parse().unwrap()),
            delay: std::time::Duration::ZERO,
            keep: Keep::default(),
            to: vec!["r".into()],
            restore_stop: Vec::new(),
            drill: None,
            shrunken_percent: SHRUNKEN_PERCENT,
        }
    }

    fn status(repositories: Vec<RepositoryStatus>, now: &str) -> BackupStatus {
        summarise(&config(), repositories, false, History::default(), at(now))
    }

    #[test]
    fn far_less_than_usual_is_shrunken() {
        // Newest first: bytes and rows of each.
        let runs = |numbers: &[(u64, Option<u64>)]| -> Vec<RunRecord> {
            (numbers.iter())
                .map(|(bytes, rows)| RunRecord {
                    bytes: Some(*bytes),
                    rows: *rows,
                    ..record("2026-11-22T03:00:00Z", Outcome::Ok)
                })
                .collect()
        };
        let found = |rows, now, usual| Some(Shrunken { rows, now, usual });
        for (numbers, percent, expected) in [
            (&[][..], 50, None),
            (&[(1, None)], 50, None),
            // Too few to say what is usual.
            (&[(1, None), (100, None), (100, None)], 50, None),
            (
                &[(49, None), (100, None), (100, None), (100, None)],
                50,
                found(false, 49, 100),
            ),
            (
                &[(50, None), (100, None), (100, None), (100, None)],
                50,
                None,
            ),
            (
                &[(49, None), (100, None), (100, None), (100, None)],
                0,
                None,
            ),
            // One that was odd does not make the usual.
            (
                &[(60, None), (9000, None), (100, None), (100, None)],
                50,
                None,
            ),
            (
                &[
                    (90, Some(1)),
                    (100, Some(10)),
                    (100, Some(10)),
                    (100, Some(10)),
                ],
                50,
                found(true, 1, 10),
            ),
            (
                &[(0, Some(0)), (0, Some(0)), (0, Some(0)), (0, Some(0))],
                50,
                None,
            ),
        ] {
            assert_eq!(shrunken(&runs(numbers), percent), expected, "{numbers:?}");
        }
    }

    fn drilled(finished: &str, verdict: Verdict) -> DrillRecord {
        DrillRecord {
            backup: "db".into(),
            repository: Some("r".into()),
            snapshot: None,
            taken: None,
            started: at(finished),
            finished: at(finished),
            verdict,
            error: None,
            help: None,
            restore: std::time::Duration::from_secs(3),
            bytes: None,
            report: None,
        }
    }

    #[test]
    fn a_restore_that_was_not_proven_for_long_is_told() {
        let week = Some(std::time::Duration::from_hours(7 * 24));
        let sundays = || Some("0 5 * * 0".parse().unwrap());
        let drill = |at, max_age| {
            Some(DrillConfig {
                at,
                max_age,
                ..DrillConfig::default()
            })
        };
        // 2026-11-01 is a Sunday.
        for (name, drill, proven, first_good, now, expected) in [
            (
                "no drill",
                None,
                None,
                Some("2026-01-01T00:00:00Z"),
                "2026-11-26T00:00:00Z",
                false,
            ),
            (
                "nothing to drill",
                drill(None, week),
                None,
                None,
                "2026-11-26T00:00:00Z",
                false,
            ),
            (
                "young",
                drill(None, week),
                None,
                Some("2026-11-20T00:00:00Z"),
                "2026-11-26T00:00:00Z",
                false,
            ),
            (
                "never",
                drill(None, week),
                None,
                Some("2026-11-18T00:00:00Z"),
                "2026-11-26T00:00:00Z",
                true,
            ),
            (
                "proven",
                drill(None, week),
                Some("2026-11-20T00:00:00Z"),
                Some("2026-01-01T00:00:00Z"),
                "2026-11-26T00:00:00Z",
                false,
            ),
            (
                "long ago",
                drill(None, week),
                Some("2026-11-18T00:00:00Z"),
                Some("2026-01-01T00:00:00Z"),
                "2026-11-26T00:00:00Z",
                true,
            ),
            (
                "one missed",
                drill(sundays(), None),
                Some("2026-11-01T05:00:00Z"),
                None,
                "2026-11-15T05:10:00Z",
                false,
            ),
            (
                "two missed",
                drill(sundays(), None),
                Some("2026-11-01T05:00:00Z"),
                None,
                "2026-11-15T05:16:00Z",
                true,
            ),
            (
                "by hand",
                drill(None, None),
                Some("2026-01-01T05:00:00Z"),
                None,
                "2026-11-15T05:16:00Z",
                false,
            ),
        ] {
            let backup = BackupConfig { drill, ..config() };
            let history = History {
                proven: proven.map(|time| drilled(time, Verdict::Proven)),
                first_good: first_good.map(at),
                ..History::default()
            };
            assert_eq!(is_unproven(&backup, &history, at(now)), expected, "{name}");
        }
    }

    #[test]
    fn a_drill_that_failed_is_not_well() {
        let good = || {
            vec![repository(
                Some("2026-11-22T03:00:00Z"),
                Some(("2026-11-22T03:00:00Z", Outcome::Ok)),
            )]
        };
        for (verdict, well) in [
            (None, true),
            (Some(Verdict::Proven), true),
            (Some(Verdict::Failed), false),
            (Some(Verdict::Impossible), false),
        ] {
            let history = History {
                last_drill: verdict.map(|verdict| drilled("2026-11-22T05:00:00Z", verdict)),
                ..History::default()
            };
            let now = at("2026-11-22T06:00:00Z");
            let status = summarise(&config(), good(), false, history, now);
            assert_eq!(status.is_well(), well, "{verdict:?}");
            assert_eq!(status.drill_failed(), !well);
        }
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

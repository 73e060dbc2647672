//! What drills gave.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{Catalog, signed, time, unsigned};
use crate::drill::Verdict;
use crate::error::Error;

/// One drill, as remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillRecord {
    /// The backup.
    pub backup: String,
    /// The repository it was restored from, if it came so far.
    pub repository: Option<String>,
    /// The snapshot, if it came so far.
    pub snapshot: Option<String>,
    /// When that was taken.
    pub taken: Option<Timestamp>,
    /// When the drill began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What it showed.
    pub verdict: Verdict,
    /// Why nothing is proven.
    pub error: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// How long the restore itself took, without the checks.
    pub restore: Duration,
    /// Bytes that were restored.
    pub bytes: Option<u64>,
    /// The signed report, if it could be written.
    pub report: Option<PathBuf>,
}

impl Catalog {
    /// Remembers a drill.
    pub(crate) fn drilled(&self, record: &DrillRecord) -> Result<(), Error> {
        self.with("write to", |connection| {
            connection.execute(
                "INSERT INTO drills (backup, repository, snapshot, taken, started, finished, verdict,
                    error, help, restore_ms, bytes, report)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                params![
                    record.backup,
                    record.repository,
                    record.snapshot,
                    record.taken.map(Timestamp::as_millisecond),
                    record.started.as_millisecond(),
                    record.finished.as_millisecond(),
                    record.verdict.as_str(),
                    record.error,
                    record.help,
                    i64::try_from(record.restore.as_millis()).unwrap_or(i64::MAX),
                    record.bytes.map(signed),
                    record.report.as_ref().map(|path| path.display().to_string()),
                ],
            )
        })?;
        Ok(())
    }

    /// The last drill of a backup that began until then.
    pub(crate) fn last_drill(
        &self,
        backup: &str,
        until: Timestamp,
    ) -> Result<Option<DrillRecord>, Error> {
        self.drill_where(backup, until, "verdict IS NOT NULL")
    }

    /// The last of them that proved a restore.
    pub(crate) fn last_proven(
        &self,
        backup: &str,
        until: Timestamp,
    ) -> Result<Option<DrillRecord>, Error> {
        self.drill_where(backup, until, "verdict = 'proven'")
    }

    fn drill_where(
        &self,
        backup: &str,
        until: Timestamp,
        condition: &str,
    ) -> Result<Option<DrillRecord>, Error> {
        self.with("read", |connection| {
            connection
                .query_row(
                    &format!(
                        "SELECT * FROM drills WHERE backup = ?1 AND started <= ?2 AND {condition}
                         ORDER BY started DESC, id DESC LIMIT 1"
                    ),
                    params![backup, until.as_millisecond()],
                    drill_record,
                )
                .optional()
        })
    }

    /// When a drill that ended until then last proved a restore from a repository.
    pub(crate) fn proven_in(
        &self,
        backup: &str,
        repository: &str,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        self.with("read", |connection| {
            connection.query_row(
                "SELECT max(finished) FROM drills
                 WHERE backup = ?1 AND repository = ?2 AND verdict = 'proven' AND finished <= ?3",
                params![backup, repository, until.as_millisecond()],
                |row| Ok(row.get::<_, Option<i64>>(0)?.map(time)),
            )
        })
    }

    /// When the first good run of a backup was.
    pub(crate) fn first_good(&self, backup: &str) -> Result<Option<Timestamp>, Error> {
        self.with("read", |connection| {
            connection.query_row(
                "SELECT min(started) FROM runs WHERE backup = ?1 AND outcome = 'ok'",
                params![backup],
                |row| Ok(row.get::<_, Option<i64>>(0)?.map(time)),
            )
        })
    }
}

fn drill_record(row: &Row<'_>) -> rusqlite::Result<DrillRecord> {
    let moment = |name| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(time));
    Ok(DrillRecord {
        backup: row.get("backup")?,
        repository: row.get("repository")?,
        snapshot: row.get("snapshot")?,
        taken: moment("taken")?,
        started: time(row.get("started")?),
        finished: time(row.get("finished")?),
        verdict: Verdict::parse(&row.get::<_, String>("verdict")?),
        error: row.get("error")?,
        help: row.get("help")?,
        restore: Duration::from_millis(unsigned(row.get("restore_ms")?)),
        bytes: row.get::<_, Option<i64>>("bytes")?.map(unsigned),
        report: row.get::<_, Option<String>>("report")?.map(PathBuf::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_last_proven_are_remembered() {
        let state = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        let record = |second: i64, verdict: Verdict| DrillRecord {
            backup: "db".to_owned(),
            repository: Some("local".to_owned()),
            snapshot: Some("ab".repeat(32)),
            taken: Some(at(second - 5)),
            started: at(second),
            finished: at(second + 1),
            verdict,
            error: (verdict != Verdict::Proven).then(|| "why".to_owned()),
            help: None,
            restore: Duration::from_millis(1234),
            bytes: Some(7),
            report: Some("/state/report.json".into()),
        };
        assert_eq!(catalog.last_drill("db", at(99)).unwrap(), None);
        for (second, verdict) in [
            (10, Verdict::Proven),
            (20, Verdict::Proven),
            (30, Verdict::Failed),
            (40, Verdict::Impossible),
        ] {
            catalog.drilled(&record(second, verdict)).unwrap();
        }
        let last = catalog.last_drill("db", at(99)).unwrap();
        assert_eq!(last, Some(record(40, Verdict::Impossible)));
        let proven = catalog.last_proven("db", at(99)).unwrap();
        assert_eq!(proven, Some(record(20, Verdict::Proven)));
        assert_eq!(catalog.last_proven("other", at(99)).unwrap(), None);
        assert_eq!(catalog.first_good("db").unwrap(), None);
    }
}

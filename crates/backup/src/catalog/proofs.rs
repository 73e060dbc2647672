//! What is known to be good: verifications, whole or in parts, and what they prove.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::params;

use super::{Catalog, time, unsigned};
use crate::error::Error;

/// Which snapshots of a repository are known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Proven {
    /// All of their data was read back, or they were restored and found whole.
    pub(crate) snapshots: BTreeSet<String>,
    /// Whether damage was found, and not since found to be gone.
    pub(crate) damaged: bool,
}

/// Whether damage is left after these verifications, oldest first: how much each looked at, and how
/// many damages it found. Pure.
fn is_damaged(verifies: impl Iterator<Item = (Reach, u64)>) -> bool {
    let (mut structure, mut data) = (false, false);
    for (reach, damaged) in verifies {
        match (reach, damaged) {
            (Reach::All, 0) => (structure, data) = (false, false),
            // A look at the structure cannot find that damaged data is well again.
            (_, 0) => structure = false,
            (Reach::Structure, _) => structure = true,
            _ => data = true,
        }
    }
    structure || data
}

/// A part of a repository's data that was read.
struct PartRead {
    number: u32,
    started: Timestamp,
    finished: Timestamp,
    damaged: u64,
}

/// When the round began that the last part, which comes first here, has ended. Pure.
fn round(parts: &[PartRead], of: u32) -> Option<Timestamp> {
    let whole = usize::try_from(of).is_ok_and(|of| parts.len() == of);
    let in_order = parts
        .iter()
        .zip((1..=of).rev())
        .all(|(part, number)| part.number == number && part.damaged == 0);
    parts
        .last()
        .filter(|_| whole && in_order)
        .map(|part| part.started)
}

/// How much a verification looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Structure,
    Some,
    All,
}

impl Catalog {
    /// Remembers that snapshots were found whole: all of their data was read, or they were restored.
    pub(crate) fn proved<'a>(
        &self,
        repository: &str,
        snapshots: impl IntoIterator<Item = &'a str>,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.with("write to", |connection| {
            let transaction = connection.unchecked_transaction()?;
            for snapshot in snapshots {
                transaction.execute(
                    "INSERT OR REPLACE INTO proofs (repository, snapshot, at) VALUES (?1, ?2, ?3)",
                    params![repository, snapshot, at.as_millisecond()],
                )?;
            }
            transaction.commit()
        })
    }

    /// Which part of a repository's data is to be read next, of so many, and when one last was.
    pub(crate) fn next_part(
        &self,
        repository: &str,
        of: u32,
    ) -> Result<(u32, Option<Timestamp>), Error> {
        let parts = self.parts(repository, of)?;
        let next = match parts.first() {
            // Damage is looked for again where it was found.
            Some(part) if part.damaged > 0 => part.number,
            Some(part) => part.number % of + 1,
            None => 1,
        };
        Ok((next, parts.first().map(|part| part.finished)))
    }

    /// The snapshots that were there before the first of all parts was read; none unless all of them
    /// were read since, one after the other, and are sound.
    pub(crate) fn read_in_parts(&self, repository: &str, of: u32) -> Result<Vec<String>, Error> {
        let parts = self.parts(repository, of)?;
        let Some(began) = round(&parts, of) else {
            return Ok(Vec::new());
        };
        self.with("read", |connection| {
            connection
                .prepare(
                    "SELECT snapshot FROM runs
                     WHERE repository = ?1 AND finished <= ?2 AND snapshot IS NOT NULL",
                )?
                .query_map(params![repository, began.as_millisecond()], |row| {
                    row.get(0)
                })?
                .collect()
        })
    }

    /// The parts that were read, the last one first.
    fn parts(&self, repository: &str, of: u32) -> Result<Vec<PartRead>, Error> {
        let rows: Vec<(String, i64, i64, i64)> = self.with("read", |connection| {
            connection
                .prepare(
                    "SELECT depth, started, finished, damaged FROM verifies
                     WHERE repository = ?1 AND error IS NULL AND depth LIKE ?2
                     ORDER BY id DESC LIMIT ?3",
                )?
                .query_map(params![repository, format!("part %/{of}"), of], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect()
        })?;
        Ok(rows
            .into_iter()
            .filter_map(|(depth, started, finished, damaged)| {
                let number = depth.strip_prefix("part ")?.split('/').next()?;
                Some(PartRead {
                    number: number.parse().ok()?,
                    started: time(started),
                    finished: time(finished),
                    damaged: unsigned(damaged),
                })
            })
            .collect())
    }

    /// Which snapshots of a repository are known to be good.
    pub(crate) fn proven(&self, repository: &str) -> Result<Proven, Error> {
        self.with("read", |connection| {
            let rows: Vec<(i64, Reach, u64)> = connection
                .prepare(
                    "SELECT finished, depth, damaged FROM verifies
                     WHERE repository = ?1 AND error IS NULL ORDER BY id",
                )?
                .query_map(params![repository], |row| {
                    let reach = match row.get::<_, String>(1)?.as_str() {
                        "all" => Reach::All,
                        "structure" => Reach::Structure,
                        _ => Reach::Some,
                    };
                    Ok((row.get(0)?, reach, unsigned(row.get(2)?)))
                })?
                .collect::<rusqlite::Result<_>>()?;
            // What was found whole before damage was found may have it.
            let since = rows
                .iter()
                .filter(|(.., damaged)| *damaged > 0)
                .map(|(finished, ..)| *finished)
                .max()
                .unwrap_or(i64::MIN);
            let snapshots = connection
                .prepare(
                    "SELECT snapshot FROM proofs WHERE repository = ?1 AND at > ?2
                     UNION SELECT snapshot FROM drills WHERE repository = ?1 AND finished > ?2
                        AND verdict = 'proven' AND snapshot IS NOT NULL",
                )?
                .query_map(params![repository, since], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let verifies = rows.into_iter().map(|(_, reach, damaged)| (reach, damaged));
            Ok(Proven {
                snapshots,
                damaged: is_damaged(verifies),
            })
        })
    }

    /// Remembers that a snapshot is called otherwise now.
    pub(crate) fn renamed(&self, repository: &str, old: &str, new: &str) -> Result<(), Error> {
        self.with("write to", |connection| {
            for table in ["runs", "proofs", "drills"] {
                connection.execute(
                    &format!(
                        "UPDATE {table} SET snapshot = ?3 WHERE repository = ?1 AND snapshot = ?2"
                    ),
                    params![repository, old, new],
                )?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::VerifyRecord;
    use crate::repository::Snapshot;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn damage_is_gone_only_when_as_much_was_looked_at() {
        use Reach::{All, Structure};
        let some = Reach::Some;
        for (name, verifies, damaged) in [
            ("nothing yet", vec![], false),
            ("sound", vec![(Structure, 0), (All, 0), (some, 0)], false),
            ("damage", vec![(All, 0), (some, 2)], true),
            ("then the structure", vec![(All, 1), (Structure, 0)], true),
            ("then a part", vec![(some, 1), (some, 0)], true),
            (
                "a pack is back",
                vec![(Structure, 1), (Structure, 0)],
                false,
            ),
            ("all is well again", vec![(some, 1), (All, 0)], false),
        ] {
            assert_eq!(is_damaged(verifies.into_iter()), damaged, "{name}");
        }
    }

    #[test]
    fn all_parts_in_a_row_prove_what_was_there_before() {
        let state = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        let verify = |second: i64, depth: &str, damaged: u64, error: Option<&str>| {
            let record = VerifyRecord {
                repository: "local".to_owned(),
                depth: depth.to_owned(),
                finished: at(second + 1),
                damaged,
                error: error.map(str::to_owned),
            };
            catalog.verified(&record, at(second)).unwrap();
        };
        let next = || catalog.next_part("local", 3).unwrap().0;
        let read = || catalog.read_in_parts("local", 3).unwrap();
        assert_eq!(next(), 1);
        for (second, id) in [(5, "a"), (15, "b")] {
            let snapshot = Snapshot {
                id: id.to_owned(),
                backup: "db".to_owned(),
                host: "h".to_owned(),
                time: at(second),
                path: "/db".into(),
                complete: true,
                pinned: false,
                files: 1,
                bytes: 1,
                facts: crate::source::Facts::default(),
            };
            catalog.observe("local", &[&snapshot]).unwrap();
        }
        verify(10, "part 1/3", 0, None);
        assert_eq!(next(), 2);
        verify(20, "part 2/3", 1, None);
        assert_eq!(next(), 2, "damage is looked for again");
        verify(30, "part 2/3", 0, None);
        verify(40, "part 3/3", 0, None);
        assert_eq!(next(), 1);
        assert!(read().is_empty(), "there was damage in this round");
        for (second, part) in [(50, 1), (60, 2), (70, 3)] {
            assert_eq!(next(), part);
            verify(second, &format!("part {part}/3"), 0, None);
            verify(
                second + 1,
                &format!("part {part}/3"),
                0,
                Some("asked to stop"),
            );
        }
        assert_eq!(read(), ["a", "b"]);
        verify(80, "part 1/3", 0, None);
        assert!(read().is_empty());
        assert_eq!(catalog.next_part("local", 7).unwrap(), (1, None));
    }

    #[test]
    fn what_was_proved_before_damage_was_found_is_not_proved() {
        let state = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(state.path(), at(0)).unwrap();
        let verify = |second: i64, depth: &str, damaged: u64| {
            let record = VerifyRecord {
                repository: "local".to_owned(),
                depth: depth.to_owned(),
                finished: at(second),
                damaged,
                error: None,
            };
            catalog.verified(&record, at(second - 1)).unwrap();
        };
        catalog.proved("local", ["a", "b"], at(10)).unwrap();
        catalog.proved("offsite", ["x"], at(10)).unwrap();
        catalog.renamed("local", "b", "c").unwrap();
        let proven = catalog.proven("local").unwrap();
        assert_eq!(Vec::from_iter(proven.snapshots), ["a", "c"]);
        verify(20, "5%", 1);
        let proven = catalog.proven("local").unwrap();
        assert!(proven.damaged && proven.snapshots.is_empty());
        verify(30, "all", 0);
        catalog.proved("local", ["a"], at(30)).unwrap();
        let proven = catalog.proven("local").unwrap();
        assert_eq!(Vec::from_iter(proven.snapshots), ["a"]);
        assert!(!proven.damaged);
        assert!(!catalog.proven("offsite").unwrap().damaged);
    }
}

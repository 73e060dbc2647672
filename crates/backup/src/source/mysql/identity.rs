//! Whether a table is still the one that was listed.
//!
//! A table that was altered, emptied or made anew since the moment gives an error when it is read, and
//! one that is gone another. One that was renamed gives none: where two tables change names, as tools
//! that alter tables online have it, the other one is read, as it was when it was half filled. So
//! `MariaDB` is asked who a table is: by the time at which the file with its definition changed last,
//! which a rename sets, and where that says nothing by the number that `InnoDB` gives a table for
//! life, which costs a look at all tables. With `MySQL` the lock that the backup holds is against all of
//! that.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_mysql::Connection;

use super::objects::{Plan, Selection};
use super::{Failure, literal, texts};

/// The numbers of tables, or of their partitions, by database and table.
pub(super) type Numbers = BTreeMap<(String, String), BTreeSet<String>>;

/// Who a table was when it was listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// When the file with its definition changed last, in seconds.
    pub(super) changed: u64,
    /// The second in which that was asked.
    pub(super) asked: u64,
    /// Its numbers; not known to who has not the right PROCESS.
    pub(super) numbers: Option<BTreeSet<String>>,
    /// Whether others may get a part of it without a change of any definition.
    pub(super) partitioned: bool,
}

impl Identity {
    /// Whether a file that changed last at this time is the one that was seen. Two changes in one
    /// second cannot be told apart, and the clock of files may be late by some milliseconds.
    fn is_surely(&self, changed: u64) -> bool {
        changed == self.changed && changed.saturating_add(1) < self.asked
    }
}

/// The numbers of all tables of `InnoDB`; nothing where there are none, or the user may not see them.
pub(super) fn numbers(connection: &mut Connection) -> Result<Option<Numbers>, Failure> {
    if !connection.version().is_mariadb(10, 0) {
        return Ok(None);
    }
    let part = |text: &str| {
        format!("CONVERT(CONVERT(CAST({text} AS BINARY) USING filename) USING utf8mb4)")
    };
    // Names are written as those of files; a partition has its own behind a `#`.
    let statement = format!(
        "SELECT {}, {}, TABLE_ID FROM information_schema.INNODB_SYS_TABLES WHERE INSTR(NAME, '/') > 0",
        part("SUBSTRING_INDEX(NAME, '/', 1)"),
        part("SUBSTRING_INDEX(SUBSTRING_INDEX(NAME, '/', -1), '#', 1)"),
    );
    let rows = match texts(connection, &statement) {
        Err(Failure::Server(error)) if error.server().is_some() => return Ok(None),
        rows => rows?,
    };
    let mut numbers = Numbers::new();
    for row in rows {
        // One that is being made by an ALTER has a `#` in front.
        if let Ok([database, table, number]) = <[String; 3]>::try_from(row)
            && !table.is_empty()
        {
            numbers.entry((database, table)).or_default().insert(number);
        }
    }
    Ok(Some(numbers))
}

/// The tables that are not there any more, or are others.
pub(super) fn moved(
    before: &Numbers,
    after: &Numbers,
    selection: &Selection,
) -> Vec<(String, String)> {
    before
        .iter()
        .filter(|((database, _), _)| selection.takes(database))
        .filter(|(table, numbers)| after.get(table) != Some(numbers))
        .map(|(table, _)| table.clone())
        .collect()
}

/// When the file with the definition of a table changed last.
fn changed(connection: &mut Connection, plan: &Plan) -> Result<Option<u64>, Failure> {
    let rows = texts(
        connection,
        &format!(
            "SELECT UNIX_TIMESTAMP(CREATE_TIME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&plan.database),
            literal(&plan.table)
        ),
    )?;
    Ok(rows.first().and_then(|row| row.first()?.parse().ok()))
}

/// Whether a table is the one that was listed. To be asked after it was read and before it is let go
/// of: nobody can rename it in between.
pub(super) fn is_same(connection: &mut Connection, plan: &Plan) -> Result<bool, Failure> {
    let Some(identity) = &plan.identity else {
        return Ok(true);
    };
    if changed(connection, plan)?.is_some_and(|changed| identity.is_surely(changed)) {
        return Ok(true);
    }
    let Some(before) = &identity.numbers else {
        return Ok(false);
    };
    let key = (plan.database.clone(), plan.table.clone());
    Ok(numbers(connection)?.is_some_and(|now| now.get(&key) == Some(before)))
}

/// The first table that has another's rows now, or given its own away, while its definition is what
/// it was: partitions are exchanged so. Asked when all was read.
pub(super) fn exchanged<'a>(
    connection: &mut Connection,
    plans: &'a [Plan],
) -> Result<Option<&'a Plan>, Failure> {
    let identities = || {
        plans
            .iter()
            .filter_map(|plan| Some((plan, plan.identity.as_ref()?)))
    };
    if !identities().any(|(_, identity)| identity.partitioned) {
        return Ok(None);
    }
    let Some(now) = numbers(connection)? else {
        return Ok(None);
    };
    for (plan, identity) in identities() {
        let key = (plan.database.clone(), plan.table.clone());
        // One that was altered or emptied after it was read has another definition too.
        if identity.numbers.is_some()
            && now.get(&key) != identity.numbers.as_ref()
            && changed(connection, plan)? == Some(identity.changed)
        {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use mainstay_base::Pattern;

    use super::*;

    #[test]
    fn what_changed_in_one_second_cannot_be_told_apart() {
        let seen = |changed, asked| Identity {
            changed,
            asked,
            ..Identity::default()
        };
        assert!(seen(100, 102).is_surely(100));
        for (identity, changed) in [
            (seen(100, 101), 100),
            (seen(100, 100), 100),
            (seen(100, 200), 150),
            // The clock was set back.
            (seen(100, 50), 100),
        ] {
            assert!(!identity.is_surely(changed), "{identity:?}");
        }
    }

    #[test]
    fn tables_that_are_gone_or_others_have_moved() {
        let of = |tables: &[(&str, &str, &str)]| -> Numbers {
            let mut numbers = Numbers::new();
            for (database, table, number) in tables {
                numbers
                    .entry(((*database).to_owned(), (*table).to_owned()))
                    .or_default()
                    .insert((*number).to_owned());
            }
            numbers
        };
        let before = of(&[
            ("d", "same", "1"),
            ("d", "gone", "2"),
            ("d", "swapped", "3"),
            ("d", "parts", "4"),
            ("d", "parts", "5"),
            ("mysql", "help", "6"),
            ("other", "gone", "7"),
        ]);
        let after = of(&[
            ("d", "same", "1"),
            ("d", "swapped", "8"),
            ("d", "parts", "4"),
            ("d", "new", "9"),
        ]);
        let selection = Selection {
            databases: Vec::new(),
            exclude: vec![Pattern::new("other")],
        };
        let moved = moved(&before, &after, &selection);
        let names: Vec<&str> = moved.iter().map(|(_, table)| table.as_str()).collect();
        assert_eq!(names, ["gone", "parts", "swapped"]);
    }
}

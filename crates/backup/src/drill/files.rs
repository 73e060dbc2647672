//! Drills of what becomes files: directories, and databases of `SQLite`.

use std::path::Path;

use mainstay_base::Size;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::Drill;
use crate::error::Error;
use crate::repository::{OpenRepository, Snapshot};
use crate::source::Weight;
use crate::source::sqlite::inspect;
use crate::verify::fetch_file;
use crate::writer::{Writer, Written};

/// Writes a snapshot's tree into a new directory.
pub(super) fn fetch(
    drill: &mut Drill<'_>,
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    to: &Path,
) -> Result<Written, Error> {
    drill.restoring("write the files", |drill| {
        let attempt = drill.attempt();
        let mut writer = Writer::new(to, &[], &attempt, drill.progress);
        let what = format!("Restoring {} into a scratch place", snapshot.backup);
        drill.progress.begin(&what, Some(snapshot.bytes));
        let walked = opened.walk(snapshot, &snapshot.path, &mut |visit| writer.visit(visit));
        drill.progress.finish();
        walked?;
        writer.finish()
    })
}

/// A directory.
pub(super) fn tree(
    drill: &mut Drill<'_>,
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
) -> Result<(), Error> {
    let data = drill.scratch.path().join("data");
    let written = fetch(drill, opened, snapshot, &data)?;
    drill.check(
        "files",
        snapshot.files.to_string(),
        written.files.to_string(),
        written.files == snapshot.files,
    );
    drill.check(
        "bytes",
        format!("{} ({})", snapshot.bytes, Size(snapshot.bytes).human()),
        written.bytes.to_string(),
        written.bytes == snapshot.bytes,
    );
    for issue in written.issues {
        let line = issue.to_string();
        match issue.weight {
            Weight::Missing => drill.check(line, "restored", "is not", false),
            Weight::Warning => drill.report.notes.push(line),
        }
    }
    drill.assert(&data, &mut |_, _| Err("files answer no query".to_owned()))
}

/// A database of `SQLite`.
pub(super) fn database(
    drill: &mut Drill<'_>,
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
) -> Result<(), Error> {
    let directory = drill.scratch.directory("data")?;
    let file = directory.join("database");
    drill.restoring("write the database", |drill| {
        fetch_file(opened, snapshot, &file, drill.progress)
    })?;
    // A restore has this step too: nothing unsound is put into place.
    let found = drill.restoring("let SQLite check it", |drill| {
        drill.progress.begin("Checking the restored database", None);
        let found = inspect(&file);
        drill.progress.finish();
        found.map_err(|error| crate::source::sqlite::database_error(drill.attempt(), &error))
    })?;
    let integrity = found.findings.first().map_or("ok", String::as_str);
    drill.check("PRAGMA integrity_check", "ok", integrity, integrity == "ok");
    if let Some(stored) = &snapshot.facts.database {
        let same = stored.sha256 == found.facts.sha256;
        drill.check("SHA-256", &stored.sha256, &found.facts.sha256, same);
        for (table, rows) in &stored.tables {
            let now = found.facts.tables.get(table);
            drill.check(
                format!("rows of `{table}`"),
                rows.to_string(),
                now.map_or_else(|| "no such table".to_owned(), u64::to_string),
                now == Some(rows),
            );
        }
    }
    drill.assert(&directory, &mut |query, _| {
        ask(&file, query).map_err(|error| error.to_string())
    })
}

/// The answer to a query: cells are parted by tabs, rows by new lines.
fn ask(file: &Path, query: &str) -> rusqlite::Result<String> {
    // Nobody else has it, and nothing is to change in it: another assertion comes after this one.
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        let cells: Vec<String> = (0..columns)
            .map(|column| {
                Ok(match row.get_ref(column)? {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Real(number) => number.to_string(),
                    ValueRef::Text(text) | ValueRef::Blob(text) => {
                        String::from_utf8_lossy(text).into_owned()
                    }
                })
            })
            .collect::<rusqlite::Result<_>>()?;
        answer.push(cells.join("\t"));
        if answer.len() > 1000 {
            break;
        }
    }
    Ok(answer.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_an_answer_in_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2.5, NULL)")
            .unwrap();
        for (query, answer) in [
            ("SELECT count(*) FROM t", "2"),
            ("SELECT * FROM t ORDER BY a", "1\tx\n2.5\tNULL"),
            ("SELECT * FROM t WHERE a = 7", ""),
        ] {
            assert_eq!(ask(&file, query).unwrap(), answer);
        }
        assert!(ask(&file, "DELETE FROM t").is_err());
        assert!(ask(&file, "SELECT * FROM gone").is_err());
    }
}

//! The data of all tables as files, read on several connections at once and given in order.
//!
//! A planner cuts tables along their primary keys, each cut being looked up in the snapshot itself; a
//! reader for each connection takes one piece of work after another; the entries wait for them in the
//! order of the plan. What is in memory is bounded: a reader waits while its last file is not taken.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mainstay_base::hex;
use mainstay_mysql::{Cell, ColumnType, Connection};

use super::lines::{Tally, line};
use super::objects::Plan;
use super::{Failure, identity, name};
use crate::progress::Progress;

/// The size of a file of rows; it ends with the row that reaches it.
const FILE: usize = 16 << 20;
/// How much of a table, by the server's estimate, is one piece of work.
const WORK: u64 = 64 << 20;
/// Rows between two looks at whether the caller wants to stop.
const LOOK: u64 = 1000;

/// What is set before anything is read.
pub(super) const HOLD: &str = "SAVEPOINT mainstay";
/// Gives back the locks on the definitions of tables that were read since. Otherwise whoever wants to
/// alter one waits until the end of the backup, and whoever wants to read it waits behind that.
const LET_GO: &str = "ROLLBACK TO SAVEPOINT mainstay";

/// A column of a primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    column: String,
    charset: String,
    collation: String,
}

impl Key {
    /// Whether values of this type can be written into a statement so that they compare as the
    /// column is ordered. An ENUM is ordered by its numbers and compared by its texts.
    pub(super) fn can_be(kind: &str, charset: &str) -> bool {
        let text = ["char", "varchar"].contains(&kind) && !charset.is_empty();
        text || [
            "tinyint",
            "smallint",
            "mediumint",
            "int",
            "bigint",
            "decimal",
            "date",
            "datetime",
            "timestamp",
            "binary",
            "varbinary",
        ]
        .contains(&kind)
    }

    pub(super) fn new(column: &str, charset: &str, collation: &str) -> Self {
        Self {
            column: column.to_owned(),
            charset: charset.to_owned(),
            collation: collation.to_owned(),
        }
    }

    /// A value of this column as it is written into a statement.
    fn value(&self, cell: Cell<'_>, kind: ColumnType) -> Option<String> {
        Some(match cell {
            Cell::Int(value) => value.to_string(),
            Cell::UInt(value) => value.to_string(),
            Cell::Bytes(bytes) if kind == ColumnType::Decimal => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            Cell::Bytes(bytes) => {
                let mut text = String::new();
                if !self.charset.is_empty() {
                    let _ = write!(text, "_{} ", self.charset);
                }
                let _ = write!(text, "x'{}'", hex(bytes));
                if !self.charset.is_empty() {
                    let _ = write!(text, " COLLATE {}", self.collation);
                }
                text
            }
            Cell::DateTime(value) => {
                let date = format!("{:04}-{:02}-{:02}", value.year, value.month, value.day);
                if kind == ColumnType::Date {
                    format!("'{date}'")
                } else {
                    format!(
                        "'{date} {:02}:{:02}:{:02}.{:06}'",
                        value.hour, value.minute, value.second, value.micros
                    )
                }
            }
            Cell::Null | Cell::Float(_) | Cell::Double(_) | Cell::Time(_) => return None,
        })
    }
}

/// The rows whose key comes after (`>`) or before (`<`) a bound, or is at it too.
///
/// `(a > x) OR (a = x AND b > y)`: not every server finds a range in `(a, b) > (x, y)`.
fn beside(keys: &[Key], bound: &[String], sign: char, at_too: bool) -> String {
    let mut text = String::from("(");
    for (at, key) in keys.iter().enumerate() {
        if at > 0 {
            text.push_str(" OR ");
        }
        text.push('(');
        for (key, value) in keys.iter().zip(bound).take(at) {
            let _ = write!(text, "{} = {value} AND ", name(&key.column));
        }
        let equal = if at_too && at + 1 == keys.len() {
            "="
        } else {
            ""
        };
        let value = bound.get(at).map_or("", String::as_str);
        let _ = write!(text, "{} {sign}{equal} {value})", name(&key.column));
    }
    text.push(')');
    text
}

impl Plan {
    fn from(&self) -> String {
        format!(
            "{}.{}{}",
            name(&self.database),
            name(&self.table),
            self.times
        )
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.key.iter().map(|key| name(&key.column)).collect();
        names.join(", ")
    }

    /// What reads the rows after one bound up to another.
    fn statement(&self, after: Option<&[String]>, to: Option<&[String]>) -> String {
        let mut text = format!("SELECT {} FROM {}", self.select, self.from());
        if self.ordered && self.times.is_empty() {
            text.push_str(" FORCE INDEX (PRIMARY)");
        }
        let bounds: Vec<String> = after
            .map(|bound| beside(&self.key, bound, '>', false))
            .into_iter()
            .chain(to.map(|bound| beside(&self.key, bound, '<', true)))
            .collect();
        if !bounds.is_empty() {
            let _ = write!(text, " WHERE {}", bounds.join(" AND "));
        }
        if !self.key.is_empty() {
            let _ = write!(text, " ORDER BY {}", self.names());
        }
        text
    }

    /// What finds the key that ends a piece of work.
    fn cut(&self, after: Option<&[String]>) -> String {
        let rows = (WORK / self.row_bytes.max(1)).max(1);
        let mut text = format!(
            "SELECT {} FROM {} FORCE INDEX (PRIMARY)",
            self.names(),
            self.from()
        );
        if let Some(bound) = after {
            let _ = write!(text, " WHERE {}", beside(&self.key, bound, '>', false));
        }
        let _ = write!(
            text,
            " ORDER BY {} LIMIT 1 OFFSET {}",
            self.names(),
            rows - 1
        );
        text
    }
}

/// Looks up where the next piece of work of a table ends.
fn next_cut(
    connection: &mut Connection,
    plan: &Plan,
    after: Option<&[String]>,
) -> Result<Option<Vec<String>>, Failure> {
    let statement = connection.prepare(&plan.cut(after))?;
    let mut results = connection.execute(&statement, &[])?;
    let mut found = None;
    while let Some(row) = results.next()? {
        let mut bound = Vec::new();
        for ((cell, column), key) in row.cells().zip(row.columns()).zip(&plan.key) {
            bound.extend(key.value(cell?, column.kind));
        }
        found = (bound.len() == plan.key.len()).then_some(bound);
    }
    results.finish()?;
    connection.close(statement)?;
    connection.run(LET_GO)?;
    Ok(found)
}

/// A piece of work for a reader.
struct Work {
    table: usize,
    statement: String,
    out: SyncSender<Piece>,
}

/// What a reader gives: the content of a file, or why there is no more.
pub(super) enum Piece {
    Rows(Vec<u8>, Tally),
    Failed(Failure),
}

/// What the entries wait for: pieces of this table come here.
pub(super) struct Coming {
    pub(super) table: usize,
    pub(super) pieces: Receiver<Piece>,
}

/// Connections that nobody uses at the moment.
pub(super) type Pool = Arc<Mutex<Vec<Connection>>>;

fn give_back(pool: &Pool, connection: Connection) {
    if connection.is_ready() {
        pool.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}

/// Readings under way.
pub(super) struct Started {
    /// The work of all tables in their order.
    pub(super) coming: Receiver<Coming>,
    /// Threads that end when all is taken, or nobody takes more.
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// Starts to read all tables on the connections of the pool. They are back when the threads ended.
pub(super) fn start(
    plans: &Arc<Vec<Plan>>,
    pool: &Pool,
    progress: &Arc<dyn Progress>,
) -> Result<Started, Failure> {
    let mut connections = std::mem::take(&mut *pool.lock().unwrap_or_else(PoisonError::into_inner));
    let Some(mut planner) = connections.pop() else {
        return Err(Failure::other(
            "the connections that see the moment are lost",
        ));
    };
    if connections.is_empty() {
        give_back(pool, planner);
        return Err(Failure::other(
            "the connections that see the moment are lost",
        ));
    }
    let readers = connections.len();
    let (coming, entries) = sync_channel(readers * 2);
    let (work, taken) = sync_channel::<Work>(readers);
    let taken = Arc::new(Mutex::new(taken));
    let mut threads = Vec::new();
    for mut connection in connections {
        let taken = Arc::clone(&taken);
        let pool = Arc::clone(pool);
        let progress = Arc::clone(progress);
        let plans = Arc::clone(plans);
        threads.push(std::thread::spawn(move || {
            loop {
                let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(work) = next else {
                    break;
                };
                if let Err(failure) = read(&mut connection, &plans, &work, &progress) {
                    let _ = work.out.send(Piece::Failed(failure));
                }
            }
            give_back(&pool, connection);
        }));
    }
    let plans = Arc::clone(plans);
    let pool = Arc::clone(pool);
    threads.push(std::thread::spawn(move || {
        plan_all(&mut planner, &plans, &coming, &work);
        give_back(&pool, planner);
    }));
    Ok(Started {
        coming: entries,
        threads,
    })
}

/// Hands out all work, table after table; ends early when nobody waits for it any more.
fn plan_all(
    connection: &mut Connection,
    plans: &[Plan],
    coming: &SyncSender<Coming>,
    work: &SyncSender<Work>,
) {
    for (table, plan) in plans.iter().enumerate() {
        let hand_out = |statement: Result<String, Failure>| -> bool {
            let (out, pieces) = sync_channel(1);
            if coming.send(Coming { table, pieces }).is_err() {
                return false;
            }
            match statement {
                Ok(statement) => work
                    .send(Work {
                        table,
                        statement,
                        out,
                    })
                    .is_ok(),
                Err(failure) => out.send(Piece::Failed(failure)).is_ok(),
            }
        };
        let mut after: Option<Vec<String>> = None;
        loop {
            let cut = if plan.key.is_empty() || plan.table_bytes <= WORK {
                Ok(None)
            } else {
                next_cut(connection, plan, after.as_deref())
            };
            let cut = match cut {
                Ok(cut) => cut,
                Err(failure) => {
                    if !hand_out(Err(failure)) {
                        return;
                    }
                    break;
                }
            };
            if !hand_out(Ok(plan.statement(after.as_deref(), cut.as_deref()))) {
                return;
            }
            if cut.is_none() {
                break;
            }
            after = cut;
        }
    }
}

fn read(
    connection: &mut Connection,
    plans: &[Plan],
    work: &Work,
    progress: &Arc<dyn Progress>,
) -> Result<(), Failure> {
    let statement = connection.prepare(&work.statement)?;
    let mut results = connection.execute(&statement, &[])?;
    let mut rows = Vec::new();
    let mut tally = Tally::default();
    let mut count = 0u64;
    while let Some(row) = results.next()? {
        let start = rows.len();
        line(&mut rows, &row)?;
        tally.add_line(&rows[start..]);
        count += 1;
        if count.is_multiple_of(LOOK) && progress.cancelled() {
            return Err(Failure::other("the caller asked to stop"));
        }
        if rows.len() >= FILE {
            let whole = std::mem::take(&mut rows);
            if work
                .out
                .send(Piece::Rows(whole, std::mem::take(&mut tally)))
                .is_err()
            {
                return Err(Failure::other("nobody waits for it any more"));
            }
        }
    }
    results.finish()?;
    connection.close(statement)?;
    let same = match plans.get(work.table) {
        Some(plan) => identity::is_same(connection, plan)?,
        None => true,
    };
    connection.run(LET_GO)?;
    if !same {
        return Err(Failure::Renamed);
    }
    if !rows.is_empty() {
        // If nobody waits any more there is nobody to tell.
        let _ = work.out.send(Piece::Rows(rows, tally));
    }
    Ok(())
}

/// The name of a file of rows.
pub(super) fn file(directory: &Path, number: u32) -> std::path::PathBuf {
    directory.join(format!("{number:06}.tsv"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_mysql::DateTime;

    fn plan(keys: &[(&str, &str)]) -> Plan {
        Plan {
            database: "d`b".to_owned(),
            table: "t".to_owned(),
            select: "`a`, `b`".to_owned(),
            times: "",
            key: keys
                .iter()
                .map(|(column, charset)| Key::new(column, charset, &format!("{charset}_bin")))
                .collect(),
            ordered: true,
            row_bytes: 64,
            table_bytes: 0,
            data: String::new(),
            identity: None,
        }
    }

    #[test]
    fn a_table_is_read_between_bounds() {
        let bound = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let two = plan(&[("a", ""), ("b", "")]);
        assert_eq!(
            two.statement(Some(&bound(&["1", "2"])), Some(&bound(&["3", "4"]))),
            "SELECT `a`, `b` FROM `d``b`.`t` FORCE INDEX (PRIMARY) WHERE \
             ((`a` > 1) OR (`a` = 1 AND `b` > 2)) AND ((`a` < 3) OR (`a` = 3 AND `b` <= 4)) \
             ORDER BY `a`, `b`"
        );
        assert_eq!(
            two.cut(Some(&bound(&["1", "2"]))),
            "SELECT `a`, `b` FROM `d``b`.`t` FORCE INDEX (PRIMARY) WHERE \
             ((`a` > 1) OR (`a` = 1 AND `b` > 2)) ORDER BY `a`, `b` LIMIT 1 OFFSET 1048575"
        );
        let mut none = plan(&[]);
        none.ordered = false;
        none.times = " FOR SYSTEM_TIME ALL";
        assert_eq!(
            none.statement(None, None),
            "SELECT `a`, `b` FROM `d``b`.`t` FOR SYSTEM_TIME ALL"
        );
    }

    #[test]
    fn values_of_keys_are_written_so_that_they_compare_alike() {
        let date = DateTime {
            year: 2026,
            month: 1,
            day: 2,
            hour: 3,
            ..DateTime::default()
        };
        for (charset, cell, kind, text) in [
            ("", Cell::Int(-5), ColumnType::Int, Some("-5")),
            ("", Cell::Bytes(b"1.50"), ColumnType::Decimal, Some("1.50")),
            (
                "",
                Cell::Bytes(b"\x00'"),
                ColumnType::VarString,
                Some("x'0027'"),
            ),
            (
                "latin1",
                Cell::Bytes(b"\xe4"),
                ColumnType::VarString,
                Some("_latin1 x'e4' COLLATE latin1_bin"),
            ),
            (
                "",
                Cell::DateTime(date),
                ColumnType::Date,
                Some("'2026-01-02'"),
            ),
            (
                "",
                Cell::DateTime(date),
                ColumnType::DateTime,
                Some("'2026-01-02 03:00:00.000000'"),
            ),
            ("", Cell::Double(0.1), ColumnType::Double, None),
        ] {
            let key = Key::new("k", charset, &format!("{charset}_bin"));
            assert_eq!(key.value(cell, kind).as_deref(), text, "{cell:?}");
        }
        assert!(Key::can_be("varchar", "latin1") && !Key::can_be("enum", "latin1"));
    }
}

//! The ledger's database: `SQLite`, times in milliseconds since the Unix epoch.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::sqlite;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::kind::{Kind, Seen, WorkState};
use super::orders::{Act, Order, OrderState};
use crate::class::Severity;
use crate::id::Id;

/// Each entry brings the schema from the version of its index to the next.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE kinds (
        id INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        class TEXT NOT NULL,
        status INTEGER NOT NULL,
        severity INTEGER NOT NULL,
        title TEXT NOT NULL,
        place TEXT,
        count INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        introduced TEXT,
        release TEXT,
        code INTEGER NOT NULL,
        undo TEXT,
        recent TEXT NOT NULL,
        UNIQUE (app, fingerprint)
    ) STRICT;
    CREATE INDEX kinds_last ON kinds (last);
    CREATE TABLE codes (
        code INTEGER NOT NULL,
        app TEXT NOT NULL,
        kind INTEGER NOT NULL REFERENCES kinds (id) ON DELETE CASCADE,
        count INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (code, app)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX codes_kind ON codes (kind);
    CREATE INDEX codes_at ON codes (at);
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind INTEGER REFERENCES kinds (id) ON DELETE CASCADE,
        app TEXT NOT NULL,
        code INTEGER NOT NULL,
        work TEXT NOT NULL,
        act TEXT NOT NULL,
        step TEXT,
        reason TEXT,
        by TEXT NOT NULL,
        at INTEGER NOT NULL,
        state TEXT NOT NULL,
        ended INTEGER,
        detail TEXT
    ) STRICT;
    CREATE INDEX orders_app ON orders (app, state);
    CREATE INDEX orders_kind ON orders (kind);
    CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"];

/// Opens the database, making it if there is none; one that is damaged is set aside, which the second
/// part says.
pub(super) fn open(path: &Path, now: Timestamp) -> Result<(Connection, Option<String>), String> {
    let opened = sqlite::open(path, now, |connection| {
        migrate(connection)?;
        sqlite::check_quickly(connection)
    });
    opened.map_err(|trouble| trouble.to_string())
}

/// Opens it to look only. A daemon may write it meanwhile.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// A database in memory, with what is in that one.
pub(super) fn in_memory(of: Option<&Connection>) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    if let Some(of) = of {
        copy(of, &mut connection)?;
    }
    migrate(&mut connection)?;
    Ok(connection)
}

/// Makes `to` what `from` is, all or nothing.
pub(super) fn copy(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    Backup::new(from, to)?.run_to_completion(1000, Duration::ZERO, None)
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    sqlite::migrate(connection, MIGRATIONS).map(drop)
}

const COLUMNS: &str = "id, app, fingerprint, class, status, severity, title, place, count, first, \
    last, introduced, release, code, undo";

pub(super) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A number as `SQLite` keeps it.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Codes have fifty bits.
pub(super) fn bits(code: Id) -> i64 {
    number(code.bits())
}

fn id(number: i64) -> Id {
    Id::from_bits(count(number)).unwrap_or_else(|| Id::from_bits(0).unwrap_or_else(Id::random))
}

pub(super) const SEVERITIES: [Severity; 5] = [
    Severity::Debug,
    Severity::Info,
    Severity::Warning,
    Severity::Error,
    Severity::Critical,
];

pub(super) fn rank(severity: Severity) -> i64 {
    SEVERITIES
        .iter()
        .position(|other| *other == severity)
        .map_or(0, |at| number(at as u64))
}

/// A kind with its number, without its occurrences.
fn listed(row: &Row<'_>) -> rusqlite::Result<(i64, Kind)> {
    let undo: Option<String> = row.get(14)?;
    let severity = usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0);
    Ok((
        row.get(0)?,
        Kind {
            app: row.get(1)?,
            fingerprint: row.get(2)?,
            class: row.get(3)?,
            status: row.get(4)?,
            severity: *SEVERITIES.get(severity).unwrap_or(&Severity::Critical),
            title: row.get(6)?,
            place: row.get(7)?,
            count: count(row.get(8)?),
            first: time(row.get(9)?),
            last: time(row.get(10)?),
            introduced: row.get(11)?,
            release: row.get(12)?,
            code: id(row.get(13)?),
            undo: undo.as_deref().and_then(WorkState::parse),
            recent: Vec::new(),
        },
    ))
}

/// A kind with its number and its occurrences.
fn whole(row: &Row<'_>) -> rusqlite::Result<(i64, Kind)> {
    let (id, mut kind) = listed(row)?;
    let recent: String = row.get(15)?;
    // What another version wrote and this one cannot read is left out; the rest of the kind stays.
    kind.recent = serde_json::from_str::<Vec<Seen>>(&recent).unwrap_or_default();
    Ok((id, kind))
}

/// The kind of this code of this app, with how many the code stands for.
pub(super) fn by_code(
    connection: &Connection,
    app: &str,
    code: Id,
) -> rusqlite::Result<Option<(i64, Kind, u64)>> {
    let found: Option<(i64, i64)> = connection
        .prepare_cached("SELECT kind, count FROM codes WHERE code = ?1 AND app = ?2")?
        .query_row(params![bits(code), app], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((kind, known)) = found else {
        return Ok(None);
    };
    Ok(by_id(connection, kind)?.map(|(id, kind)| (id, kind, count(known))))
}

/// The kinds of this code, whoever's it is.
pub(super) fn all_by_code(connection: &Connection, code: Id) -> rusqlite::Result<Vec<(i64, Kind)>> {
    let sql = format!(
        "SELECT {COLUMNS}, recent FROM kinds
         WHERE id IN (SELECT kind FROM codes WHERE code = ?1) ORDER BY last DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([bits(code)], whole)?.collect()
}

fn by_id(connection: &Connection, kind: i64) -> rusqlite::Result<Option<(i64, Kind)>> {
    let sql = format!("SELECT {COLUMNS}, recent FROM kinds WHERE id = ?1");
    connection
        .prepare_cached(&sql)?
        .query_row([kind], whole)
        .optional()
}

/// The kind that has this fingerprint.
pub(super) fn by_fingerprint(
    connection: &Connection,
    app: &str,
    fingerprint: &str,
) -> rusqlite::Result<Option<(i64, Kind)>> {
    let sql = format!("SELECT {COLUMNS}, recent FROM kinds WHERE app = ?1 AND fingerprint = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row([app, fingerprint], whole)
        .optional()
}

/// All kinds, with their occurrences.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<(i64, Kind)>> {
    let sql = format!("SELECT {COLUMNS}, recent FROM kinds");
    connection.prepare(&sql)?.query_map([], whole)?.collect()
}

/// Kinds that fit, the one seen last first, at most so many, and how many more there are.
pub(super) fn list(
    connection: &Connection,
    app: Option<&str>,
    since: Option<Timestamp>,
    severity: Severity,
    limit: usize,
) -> rusqlite::Result<(Vec<Kind>, u64)> {
    let fits = "(?1 IS NULL OR app = ?1) AND (?2 IS NULL OR last >= ?2) AND severity >= ?3";
    let since = since.map(Timestamp::as_millisecond);
    let severity = rank(severity);
    let limit = number(limit as u64);
    let sql =
        format!("SELECT {COLUMNS} FROM kinds WHERE {fits} ORDER BY last DESC, id DESC LIMIT ?4");
    let kinds = connection
        .prepare_cached(&sql)?
        .query_map(params![app, since, severity, limit], listed)?
        .map(|found| found.map(|(_, kind)| kind))
        .collect::<rusqlite::Result<Vec<Kind>>>()?;
    let sql = format!("SELECT count(*) FROM kinds WHERE {fits}");
    let all: i64 = connection
        .prepare_cached(&sql)?
        .query_row(params![app, since, severity], |row| row.get(0))?;
    let more = count(all).saturating_sub(kinds.len() as u64);
    Ok((kinds, more))
}

/// Writes a kind; without a number it is a new one. The answer is its number.
pub(super) fn put(connection: &Connection, id: Option<i64>, kind: &Kind) -> rusqlite::Result<i64> {
    let recent = serde_json::to_string(&kind.recent).unwrap_or_else(|_| "[]".to_owned());
    connection
        .prepare_cached(
            "INSERT INTO kinds (id, app, fingerprint, class, status, severity, title,
                place, count, first, last, introduced, release, code, undo, recent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT (id) DO UPDATE SET class = ?4, status = ?5, severity = ?6, title = ?7,
                place = ?8, count = ?9, first = ?10, last = ?11, introduced = ?12, release = ?13,
                code = ?14, undo = ?15, recent = ?16",
        )?
        .execute(params![
            id,
            kind.app,
            kind.fingerprint,
            kind.class,
            kind.status,
            rank(kind.severity),
            kind.title,
            kind.place,
            number(kind.count),
            kind.first.as_millisecond(),
            kind.last.as_millisecond(),
            kind.introduced,
            kind.release,
            bits(kind.code),
            kind.undo.map(WorkState::name),
            recent,
        ])?;
    Ok(id.unwrap_or_else(|| connection.last_insert_rowid()))
}

/// Remembers how many a code stands for.
pub(super) fn put_code(
    connection: &Connection,
    (code, app): (Id, &str),
    kind: i64,
    stands_for: u64,
    at: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO codes (code, app, kind, count, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (code, app) DO UPDATE SET kind = ?3, count = ?4, at = ?5",
        )?
        .execute(params![
            bits(code),
            app,
            kind,
            number(stands_for),
            at.as_millisecond()
        ])?;
    Ok(())
}

const ORDER: &str = "id, app, code, work, act, step, reason, by, at, state, ended, detail";

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    let act: String = row.get(4)?;
    let state: String = row.get(9)?;
    let ended: Option<i64> = row.get(10)?;
    Ok(Order {
        id: row.get(0)?,
        app: row.get(1)?,
        code: id(row.get(2)?),
        work: row.get(3)?,
        act: if act == Act::Skip.name() {
            Act::Skip
        } else {
            Act::Retry
        },
        step: row.get(5)?,
        reason: row.get(6)?,
        by: row.get(7)?,
        at: time(row.get(8)?),
        state: OrderState::parse(&state),
        ended: ended.map(time),
        detail: row.get(11)?,
    })
}

/// Writes a new order; the answer is its number.
pub(super) fn put_order(
    connection: &Connection,
    kind: Option<i64>,
    order: &Order,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO orders (kind, app, code, work, act, step, reason, by, at, state, ended,
                detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            kind,
            order.app,
            bits(order.code),
            order.work,
            order.act.name(),
            order.step,
            order.reason,
            order.by,
            order.at.as_millisecond(),
            order.state.name(),
            order.ended.map(Timestamp::as_millisecond),
            order.detail,
        ])?;
    Ok(connection.last_insert_rowid())
}

/// The orders about works of a kind, the newest first.
pub(super) fn orders_of(connection: &Connection, kind: i64) -> rusqlite::Result<Vec<Order>> {
    let sql = format!("SELECT {ORDER} FROM orders WHERE kind = ?1 ORDER BY id DESC LIMIT 50");
    connection
        .prepare_cached(&sql)?
        .query_map([kind], order)?
        .collect()
}

/// The orders for an app of which no outcome is known, the oldest first.
pub(super) fn open_orders(connection: &Connection, app: &str) -> rusqlite::Result<Vec<Order>> {
    let sql = format!(
        "SELECT {ORDER} FROM orders WHERE app = ?1 AND state IN ('waiting', 'fetched')
         ORDER BY id LIMIT 100"
    );
    connection
        .prepare_cached(&sql)?
        .query_map([app], order)?
        .collect()
}

/// Notes that an app has been given its orders.
pub(super) fn fetched(connection: &Connection, app: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE orders SET state = 'fetched' WHERE app = ?1 AND state = 'waiting'")?
        .execute([app])?;
    Ok(())
}

/// Notes what came of an order; whether there is such an order of that app. The first word counts.
pub(super) fn settle(
    connection: &Connection,
    (app, id): (&str, i64),
    state: OrderState,
    detail: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE orders SET state = ?3, detail = ?4, ended = ?5
             WHERE id = ?1 AND app = ?2 AND state IN ('waiting', 'fetched')",
        )?
        .execute(params![id, app, state.name(), detail, now.as_millisecond()])?;
    connection
        .prepare_cached("SELECT count(*) > 0 FROM orders WHERE id = ?1 AND app = ?2")?
        .query_row(params![id, app], |row| row.get(0))
}

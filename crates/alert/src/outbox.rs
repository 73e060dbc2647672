//! What must outlive the process: the state of the machine, and each message until every channel
//! has brought it. A `SQLite` database in the state directory; times are milliseconds since the Unix
//! epoch.
//!
//! When the database cannot be written, a full disk being the usual cause, everything goes on in
//! memory, because that is an hour in which a person must be told; what is in memory then moves to
//! the disk when that works again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::{Pattern, sqlite};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::config::Keep;
use crate::machine::{Changes, Group, Machine, Silence, Stored};
use crate::message::Message;
use crate::policy::Matcher;
use crate::severity::Severity;

/// Each entry brings the schema from the version of its index to the next.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE groups (name TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT;
    CREATE TABLE silences (
        id INTEGER PRIMARY KEY,
        key TEXT, app TEXT, severity TEXT,
        made INTEGER NOT NULL,
        ends INTEGER NOT NULL,
        author TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE TABLE messages (
        id TEXT PRIMARY KEY,
        at INTEGER NOT NULL,
        subject TEXT NOT NULL,
        severity TEXT NOT NULL,
        content TEXT NOT NULL
    ) STRICT;
    CREATE TABLE deliveries (
        message TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
        channel TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed', 'given up')),
        owed TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next INTEGER NOT NULL,
        ended INTEGER,
        error TEXT,
        PRIMARY KEY (message, channel)
    ) STRICT;
    CREATE INDEX deliveries_due ON deliveries (state, channel, next);
"];

/// How far a message is on its way through one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It will be tried, or tried again.
    Waiting,
    /// It was taken by the other side.
    Sent,
    /// It was refused, and would be again.
    Failed,
    /// It waited for too long, or too much was waiting.
    GivenUp,
    /// No channel of the config takes it: nobody is told.
    NoChannel,
}

impl DeliveryState {
    /// `waiting`, `sent`, `failed`, `given up` or `no channel`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::GivenUp => "given up",
            Self::NoChannel => "no channel",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "sent" => Self::Sent,
            "failed" => Self::Failed,
            "given up" => Self::GivenUp,
            "no channel" => Self::NoChannel,
            _ => Self::Waiting,
        }
    }
}

/// One message on its way through one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id.
    pub message: String,
    /// Its subject.
    pub subject: String,
    /// When it was made.
    pub at: Timestamp,
    /// The channel; absent for a message that no channel takes.
    pub channel: Option<String>,
    /// How far it is.
    pub state: DeliveryState,
    /// Who has not got it yet, or will not.
    pub owed: Vec<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// A message that is to be sent now.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) message: Message,
    pub(crate) owed: Vec<String>,
}

/// Messages that were given up, by channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) channel: String,
    pub(crate) count: u64,
    pub(crate) severity: Severity,
    pub(crate) subject: String,
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) message: String,
    pub(crate) channel: String,
    pub(crate) state: DeliveryState,
    pub(crate) owed: Vec<String>,
    pub(crate) next: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) error: Option<String>,
}

impl Attempted {
    /// Notes it; how many deliveries it was about: one, or none that is stored here.
    fn note(&self, connection: &Connection) -> rusqlite::Result<usize> {
        let ended = (self.state != DeliveryState::Waiting).then(|| self.now.as_millisecond());
        connection.execute(
            "UPDATE deliveries SET state = ?3, owed = ?4, attempts = attempts + 1, next = ?5,
                ended = ?6, error = ?7 WHERE message = ?1 AND channel = ?2",
            params![
                self.message,
                self.channel,
                self.state.name(),
                json(&self.owed),
                self.next.as_millisecond(),
                ended,
                self.error,
            ],
        )
    }
}

/// A new message and who brings it: (channel, recipients).
pub(crate) type Routed = (Message, Vec<(String, Vec<String>)>);

/// The outbox.
pub(crate) struct Outbox {
    path: PathBuf,
    connection: Connection,
    /// Why it is in memory only.
    trouble: Option<String>,
    /// What came of messages that are in the file, while it cannot be written.
    unnoted: Vec<Attempted>,
    /// Whether what is in the file was read before it was left.
    loaded: bool,
    /// What became of a file that was damaged.
    damage: Option<String>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("path", &self.path)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens the outbox at `path`, creating it if there is none. One that is damaged is set aside.
    pub(crate) fn open(path: &Path, now: Timestamp) -> rusqlite::Result<Self> {
        let (connection, trouble, damage) = match open_file(path, now) {
            Ok((connection, damage)) => (connection, None, damage),
            Err(why) => (in_memory()?, Some(why), None),
        };
        Ok(Self {
            path: path.to_owned(),
            loaded: trouble.is_none(),
            connection,
            trouble,
            unnoted: Vec::new(),
            damage,
        })
    }

    /// Why what is new is in memory only; absent when all is well.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What is stored of the machine.
    pub(crate) fn load(&self) -> rusqlite::Result<Stored> {
        stored(&self.connection)
    }

    /// That a damaged file was set aside, once.
    pub(crate) fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    /// Stores what has changed and what is to be sent, all or nothing.
    pub(crate) fn commit(
        &mut self,
        machine: &mut Machine,
        routed: &[Routed],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        write_changes(&transaction, &machine.changes())?;
        for (message, channels) in routed {
            insert(&transaction, message, channels)?;
        }
        transaction.commit()?;
        machine.stored();
        Ok(())
    }

    /// Goes on in memory, because the file cannot be written.
    pub(crate) fn leave_file(
        &mut self,
        machine: &mut Machine,
        why: String,
    ) -> rusqlite::Result<()> {
        if self.trouble.is_none() {
            self.connection = in_memory()?;
        }
        self.trouble = Some(why);
        machine.all_changed();
        Ok(())
    }

    /// Moves what is in memory to the file; whether that worked.
    pub(crate) fn return_to_file(&mut self, machine: &mut Machine, now: Timestamp) -> bool {
        let moved = open_file(&self.path, now).and_then(|(mut file, damage)| {
            self.move_over(&mut file, machine)
                .map(|()| (file, damage))
                .map_err(|error| error.to_string())
        });
        match moved {
            Ok((file, damage)) => {
                self.connection = file;
                self.damage = damage;
                self.trouble = None;
                self.unnoted.clear();
                machine.stored();
                true
            }
            Err(why) => {
                self.trouble = Some(why);
                false
            }
        }
    }

    fn move_over(&self, to: &mut Connection, machine: &mut Machine) -> rusqlite::Result<()> {
        let from = &self.connection;
        machine.all_changed();
        let transaction = to.transaction()?;
        if self.loaded {
            transaction.execute("DELETE FROM groups", [])?;
        }
        write_changes(&transaction, &machine.changes())?;
        let mut messages =
            from.prepare("SELECT id, at, subject, severity, content FROM messages")?;
        let mut rows = messages.query([])?;
        while let Some(row) = rows.next()? {
            transaction.execute(
                "INSERT OR IGNORE INTO messages (id, at, subject, severity, content)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    row.get::<_, String>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, String>(4)?
                ],
            )?;
        }
        let mut deliveries = from.prepare(
            "SELECT message, channel, state, owed, attempts, next, ended, error FROM deliveries",
        )?;
        let mut rows = deliveries.query([])?;
        while let Some(row) = rows.next()? {
            transaction.execute(
                "INSERT OR REPLACE INTO deliveries
                    (message, channel, state, owed, attempts, next, ended, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, i64>(5)?,
                    row.get::<_, Option<i64>>(6)?,
                    row.get::<_, Option<String>>(7)?
                ],
            )?;
        }
        for attempt in &self.unnoted {
            attempt.note(&transaction)?;
        }
        transaction.commit()
    }

    /// The message that a channel should bring next, if one is due. One that cannot be read any more
    /// is failed, so that it stands in nobody's way.
    pub(crate) fn due(&self, channel: &str, now: Timestamp) -> rusqlite::Result<Option<Due>> {
        loop {
            let found = self
                .connection
                .query_row(
                    "SELECT content, owed, messages.id, deliveries.rowid FROM deliveries
                     JOIN messages ON messages.id = message
                     WHERE state = 'waiting' AND channel = ?1 AND next <= ?2
                     ORDER BY next, at, messages.rowid LIMIT 1",
                    params![channel, now.as_millisecond()],
                    |row| {
                        let texts = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
                        Ok((texts, row.get::<_, i64>(3)?))
                    },
                )
                .optional()?;
            let Some(((content, owed, id), row)) = found else {
                return Ok(None);
            };
            let readable = serde_json::from_str::<Message>(&content)
                .ok()
                .zip(serde_json::from_str::<Vec<String>>(&owed).ok())
                .filter(|(message, _)| message.id == id);
            if let Some((message, owed)) = readable {
                return Ok(Some(Due { message, owed }));
            }
            log::warn!("the outbox has a message for the channel `{channel}` that cannot be read");
            self.connection.execute(
                "UPDATE deliveries SET state = 'failed', ended = ?2,
                    error = 'the stored message cannot be read' WHERE rowid = ?1",
                params![row, now.as_millisecond()],
            )?;
        }
    }

    /// When each channel has something to bring.
    pub(crate) fn next(&self) -> rusqlite::Result<BTreeMap<String, Timestamp>> {
        self.connection
            .prepare(
                "SELECT channel, min(next) FROM deliveries WHERE state = 'waiting' GROUP BY channel",
            )?
            .query_map([], |row| Ok((text(row, 0)?, time(row, 1)?)))?
            .collect()
    }

    /// Notes what came of an attempt: at the latest when the file can be written again, so that
    /// nothing is sent twice because of a disk that was full.
    pub(crate) fn attempted(&mut self, attempt: Attempted) -> rusqlite::Result<()> {
        let noted = attempt.note(&self.connection);
        let is_elsewhere = matches!(noted, Ok(0)) && self.trouble.is_some();
        if noted.is_err() || is_elsewhere {
            self.unnoted.push(attempt);
        }
        noted.map(drop)
    }

    /// A channel works again: what waits for it is due now.
    pub(crate) fn hurry(&self, channel: &str, now: Timestamp) -> rusqlite::Result<()> {
        self.connection
            .execute(
                "UPDATE deliveries SET next = ?2
                 WHERE channel = ?1 AND state = 'waiting' AND next > ?2",
                params![channel, now.as_millisecond()],
            )
            .map(|_| ())
    }

    /// A delivery is not tried again before `next`.
    pub(crate) fn postpone(
        &self,
        message: &str,
        channel: &str,
        next: Timestamp,
    ) -> rusqlite::Result<()> {
        self.connection
            .execute(
                "UPDATE deliveries SET next = ?3 WHERE message = ?1 AND channel = ?2",
                params![message, channel, next.as_millisecond()],
            )
            .map(|_| ())
    }

    /// Gives up what waits for channels that the config does not have any more, what is too old and
    /// what is too much, the oldest first; forgets what is over and old.
    pub(crate) fn trim(
        &mut self,
        keep: &Keep,
        channels: &[&str],
        now: Timestamp,
    ) -> rusqlite::Result<Vec<GivenUp>> {
        let transaction = self.connection.transaction()?;
        let mut given: BTreeMap<String, GivenUp> = BTreeMap::new();
        let before = |age: Duration| {
            now.as_millisecond()
                .saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        };
        {
            let mut waiting = transaction.prepare(
                "SELECT deliveries.rowid, channel, at, subject, severity, length(content) FROM deliveries
                 JOIN messages ON messages.id = message WHERE state = 'waiting'
                 ORDER BY at DESC, messages.rowid DESC",
            )?;
            let mut rows = waiting.query([])?;
            let mut size = 0_u64;
            while let Some(row) = rows.next()? {
                let (delivery, channel) = (row.get::<_, i64>(0)?, text(row, 1)?);
                let at: i64 = row.get(2)?;
                size = size.saturating_add(row.get::<_, i64>(5)?.unsigned_abs());
                let why = if !channels.contains(&channel.as_str()) {
                    "the config has no such channel any more"
                } else if at < before(keep.age) {
                    "it waited for too long"
                } else if size > keep.size {
                    "too much was waiting"
                } else {
                    continue;
                };
                transaction.execute(
                    "UPDATE deliveries SET state = 'given up', ended = ?2,
                        error = ?3 || coalesce(': ' || error, '') WHERE rowid = ?1",
                    params![delivery, now.as_millisecond(), why],
                )?;
                let severity: Severity = text(row, 4)?.parse().unwrap_or(Severity::Error);
                let subject = text(row, 3)?;
                let sum = given.entry(channel.clone()).or_insert(GivenUp {
                    channel,
                    count: 0,
                    severity,
                    subject: String::new(),
                });
                sum.count += 1;
                sum.severity = sum.severity.max(severity);
                sum.subject = subject;
            }
        }
        transaction.execute(
            "DELETE FROM messages WHERE at < ?1 AND NOT EXISTS
                (SELECT 1 FROM deliveries WHERE message = messages.id AND state = 'waiting')",
            [before(keep.history)],
        )?;
        transaction.execute(
            "DELETE FROM messages WHERE rowid <= (SELECT max(rowid) FROM messages) - ?1 AND NOT EXISTS
                (SELECT 1 FROM deliveries WHERE message = messages.id AND state = 'waiting')",
            [i64::try_from(keep.messages).unwrap_or(i64::MAX)],
        )?;
        transaction.commit()?;
        Ok(given.into_values().collect())
    }

    /// What is on its way and what was, newest first; at most `most`.
    pub(crate) fn list(&self, most: usize) -> rusqlite::Result<Vec<Delivery>> {
        self.connection
            .prepare(
                "SELECT messages.id, subject, at, channel, coalesce(state, 'no channel'),
                    coalesce(owed, '[]'), coalesce(attempts, 0), next, error
                 FROM messages LEFT JOIN deliveries ON messages.id = message
                 ORDER BY at DESC, messages.rowid DESC, channel LIMIT ?1",
            )?
            .query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
                let state = DeliveryState::parse(&text(row, 4)?);
                Ok(Delivery {
                    message: text(row, 0)?,
                    subject: text(row, 1)?,
                    at: time(row, 2)?,
                    channel: some_text(row, 3)?,
                    state,
                    owed: parse(Some(text(row, 5)?)),
                    attempts: row.get(6)?,
                    next: if state == DeliveryState::Waiting {
                        Some(time(row, 7)?)
                    } else {
                        None
                    },
                    error: some_text(row, 8)?,
                })
            })?
            .collect()
    }
}

/// What is stored of a machine.
fn stored(connection: &Connection) -> rusqlite::Result<Stored> {
    let value = |name: &str| -> rusqlite::Result<Option<String>> {
        connection
            .query_row("SELECT value FROM state WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()
    };
    // What cannot be read was written by another version; beginning anew tells too much at
    // worst, and a daemon that does not start tells nothing.
    let groups = connection
        .prepare("SELECT state FROM groups")?
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?
        .iter()
        .filter_map(|text| serde_json::from_str::<Group>(text).ok())
        .collect();
    let silences = connection
        .prepare("SELECT id, key, app, severity, made, ends, author, reason FROM silences")?
        .query_map([], |row| {
            let pattern = |index: usize| -> rusqlite::Result<Option<Pattern>> {
                Ok(row.get::<_, Option<String>>(index)?.map(Pattern::new))
            };
            Ok(Silence {
                id: row.get(0)?,
                matcher: Matcher {
                    key: pattern(1)?,
                    app: pattern(2)?,
                    severity: pattern(3)?,
                },
                from: time(row, 4)?,
                until: time(row, 5)?,
                author: row.get(6)?,
                reason: row.get(7)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Stored {
        core: parse(value("core")?),
        piles: parse(value("piles")?),
        groups,
        silences,
    })
}

fn parse<T: serde::de::DeserializeOwned + Default>(text: Option<String>) -> T {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own plain values have a JSON form")
}

/// A text, however damaged: one that is no UTF-8 any more must not keep the others from being read.
fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    Ok(some_text(row, index)?.unwrap_or_default())
}

fn some_text(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    })
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    let ms = row.get::<_, i64>(index)?;
    Ok(Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    }))
}

fn write_changes(transaction: &Transaction<'_>, changes: &Changes<'_>) -> rusqlite::Result<()> {
    let mut put =
        transaction.prepare_cached("INSERT OR REPLACE INTO state (name, value) VALUES (?1, ?2)")?;
    put.execute(params!["core", json(changes.core)])?;
    if let Some(piles) = changes.piles {
        put.execute(params!["piles", json(piles)])?;
    }
    let mut put = transaction
        .prepare_cached("INSERT OR REPLACE INTO groups (name, state) VALUES (?1, ?2)")?;
    let mut remove = transaction.prepare_cached("DELETE FROM groups WHERE name = ?1")?;
    for (name, group) in &changes.groups {
        match group {
            Some(group) => put.execute(params![name, json(group)])?,
            None => remove.execute([name])?,
        };
    }
    if let Some(silences) = changes.silences {
        write_silences(transaction, silences)?;
    }
    Ok(())
}

fn write_silences(transaction: &Transaction<'_>, silences: &[Silence]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM silences", [])?;
    let mut put = transaction.prepare_cached(
        "INSERT INTO silences (id, key, app, severity, made, ends, author, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for silence in silences {
        let text = |pattern: &Option<Pattern>| pattern.as_ref().map(|p| p.as_str().to_owned());
        put.execute(params![
            silence.id,
            text(&silence.matcher.key),
            text(&silence.matcher.app),
            text(&silence.matcher.severity),
            silence.from.as_millisecond(),
            silence.until.as_millisecond(),
            silence.author,
            silence.reason,
        ])?;
    }
    Ok(())
}

fn insert(
    transaction: &Transaction<'_>,
    message: &Message,
    channels: &[(String, Vec<String>)],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO messages (id, at, subject, severity, content)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            message.id,
            message.at.as_millisecond(),
            crate::text::subject(message),
            message.severity().name(),
            json(message),
        ])?;
    let mut put = transaction.prepare_cached(
        "INSERT OR IGNORE INTO deliveries (message, channel, state, owed, next)
         VALUES (?1, ?2, 'waiting', ?3, ?4)",
    )?;
    for (channel, recipients) in channels {
        put.execute(params![
            message.id,
            channel,
            json(recipients),
            message.at.as_millisecond()
        ])?;
    }
    Ok(())
}

/// Moves the messages of one database, and the whole state of the machine, to another.
/// A state in the file that was never read stays for the next start, which joins the two.
fn in_memory() -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the file, and says what became of one that was damaged.
fn open_file(path: &Path, now: Timestamp) -> Result<(Connection, Option<String>), String> {
    let opened = sqlite::open(path, now, |connection| {
        migrate(connection)?;
        // It is small, so that reading all of it takes no time.
        sqlite::check(connection)?;
        stored(connection)?;
        clamp(connection, now)
    });
    let (connection, damage) = opened.map_err(|trouble| trouble.to_string())?;
    if let Some(damage) = &damage {
        log::warn!("the outbox {damage}; a new one was begun");
    }
    Ok((connection, damage))
}

/// Moments that lie further ahead than any wait is long are brought near: the clock was set back.
fn clamp(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let ahead = now.as_millisecond().saturating_add(86_400_000);
    connection
        .execute(
            "UPDATE deliveries SET next = ?1 WHERE state = 'waiting' AND next > ?2",
            params![now.as_millisecond(), ahead],
        )
        .map(drop)
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    sqlite::migrate(connection, MIGRATIONS).map(drop)
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

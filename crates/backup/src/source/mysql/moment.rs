//! One moment for many connections.
//!
//! `MariaDB` with a binary log: each connection begins a consistent snapshot and says where in the log
//! it is; they are begun again until all say the same place. Nobody is held up by that.
//! Otherwise a read lock is held while they begin, which is milliseconds unless a statement that runs
//! for long has a table open: the lock waits for it, and everybody who writes waits for the lock. So a
//! watchdog takes the lock away after five seconds, and the run fails instead.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_mysql::{Connection, Options};

use super::manifest::{Consistency, Position};
use super::{Failure, texts};

/// How long writers may be held up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often positions are compared before a lock is taken instead.
const TRIES: u32 = 200;
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";

/// Connections that see one moment.
pub(super) struct Moment {
    pub(super) connections: Vec<Connection>,
    /// Holds back what changes tables, as long as it lives.
    pub(super) holder: Option<Connection>,
    pub(super) consistency: Consistency,
    pub(super) position: Option<Position>,
    /// When it was, RFC 3339.
    pub(super) taken: String,
    /// What is not as good as it could be.
    pub(super) warnings: Vec<String>,
}

/// Connects, and sets what every session of a dump has.
pub(super) fn connect(options: &Options) -> Result<Connection, Failure> {
    let mut connection = Connection::open(options)?;
    connection.run(
        "SET SESSION sql_mode = '', time_zone = '+00:00', sql_quote_show_create = 1, net_write_timeout = 3600, wait_timeout = 28800",
    )?;
    connection.run("SET NAMES utf8mb4")?;
    connection.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
    // A limit on statements is for the app's; not every version has each of these.
    for setting in [
        "SET SESSION max_statement_time = 0",
        "SET SESSION max_execution_time = 0",
        "SET SESSION information_schema_stats_expiry = 0",
        "SET SESSION print_identified_with_as_hex = 1",
    ] {
        optional(connection.run(setting).map(drop))?;
    }
    Ok(connection)
}

/// Takes an error of the server's own for "it cannot".
fn optional<T>(done: Result<T, mainstay_mysql::Error>) -> Result<Option<T>, Failure> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.server().is_some() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Moment {
    pub(super) fn take(options: &Options, count: usize) -> Result<Self, Failure> {
        let mut connections = (0..count)
            .map(|_| connect(options))
            .collect::<Result<Vec<_>, _>>()?;
        let mut warnings = Vec::new();
        for connection in &mut connections {
            // With a binary log a MariaDB gives locks on definitions back before the end of a
            // transaction only if nothing of it could come into that log.
            let silent = optional(connection.run("SET SESSION sql_log_bin = 0"))?.is_some();
            if !silent && warnings.is_empty() && connection.version().is_mariadb(10, 0) {
                warnings.push("who alters a table that was read waits for the end of the backup: the user lacks the right BINLOG ADMIN".to_owned());
            }
        }
        let mut tries = 0;
        let mut position = None;
        if let Some(first) = connections.first_mut()
            && first.version().is_mariadb(10, 0)
            && texts(first, "SELECT @@log_bin")?
                .first()
                .is_some_and(|row| row[0] == "1")
        {
            while tries < TRIES && position.is_none() {
                tries += 1;
                position = agreed(&mut connections)?;
            }
        }
        let mut moment = Self {
            holder: None,
            consistency: Consistency {
                way: "binlog_snapshot".to_owned(),
                connections: count,
                tries,
                stall_us: 0,
            },
            position,
            taken: String::new(),
            warnings,
            connections,
        };
        if moment.position.is_none() {
            moment.lock(options)?;
        }
        if let Some(first) = moment.connections.first_mut() {
            let now = texts(
                first,
                "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')",
            )?;
            moment.taken = now.into_iter().flatten().next().unwrap_or_default();
        }
        Ok(moment)
    }

    /// Has all connections begin under a read lock.
    fn lock(&mut self, options: &Options) -> Result<(), Failure> {
        let mut holder = connect(options)?;
        if holder.version().is_mysql(8, 0)
            && optional(holder.run("LOCK INSTANCE FOR BACKUP"))?.is_none()
        {
            self.warnings.push(
                "tables may be altered while they are read: the user lacks the right BACKUP_ADMIN"
                    .to_owned(),
            );
        }
        let watchdog = Watchdog::start(connect(options)?, holder.id());
        let begun = Instant::now();
        let locked = self.begin_locked(&mut holder);
        let stall = begun.elapsed();
        let bitten = watchdog.stop();
        if bitten {
            return Err(Failure::held_up(PATIENCE));
        }
        locked?;
        "lock".clone_into(&mut self.consistency.way);
        self.consistency.stall_us = u64::try_from(stall.as_micros()).unwrap_or(u64::MAX);
        self.holder = Some(holder);
        Ok(())
    }

    fn begin_locked(&mut self, holder: &mut Connection) -> Result<(), Failure> {
        let patience = PATIENCE.as_secs();
        holder.run(&format!("SET SESSION lock_wait_timeout = {patience}"))?;
        match holder.run("FLUSH TABLES WITH READ LOCK") {
            // It waited for as long as it may.
            Err(error) if error.code() == Some(1205) => return Err(Failure::held_up(PATIENCE)),
            other => other?,
        };
        for connection in &mut self.connections {
            connection.run(BEGIN)?;
        }
        match position(holder) {
            Ok(position) => self.position = position,
            Err(Failure::Server(error)) if error.server().is_some() => self.warnings.push(format!(
                "where the binary log was is not known: {}",
                error.reason()
            )),
            Err(failure) => return Err(failure),
        }
        holder.run("UNLOCK TABLES")?;
        Ok(())
    }
}

/// Begins on all connections; the position if they agree on one.
fn agreed(connections: &mut [Connection]) -> Result<Option<Position>, Failure> {
    for connection in connections.iter_mut() {
        connection.run(BEGIN)?;
    }
    let mut seen: Option<(String, u64)> = None;
    for connection in connections.iter_mut() {
        let status = texts(connection, "SHOW STATUS LIKE 'binlog_snapshot_%'")?;
        let value = |name: &str| {
            status
                .iter()
                .find(|row| row[0].eq_ignore_ascii_case(name))
                .map(|row| row[1].clone())
                .unwrap_or_default()
        };
        let file = value("binlog_snapshot_file");
        let Ok(offset) = value("binlog_snapshot_position").parse::<u64>() else {
            return Ok(None);
        };
        let here = (file, offset);
        if here.0.is_empty() || seen.get_or_insert_with(|| here.clone()) != &here {
            return Ok(None);
        }
    }
    let (Some((file, offset)), Some(first)) = (seen, connections.first_mut()) else {
        return Ok(None);
    };
    Ok(Some(with_gtid(first, file, offset)?))
}

fn with_gtid(connection: &mut Connection, file: String, offset: u64) -> Result<Position, Failure> {
    let statement = format!(
        "SELECT BINLOG_GTID_POS({}, {offset})",
        super::literal(&file)
    );
    let gtid = texts(connection, &statement)?;
    Ok(Position {
        file,
        offset,
        gtid: gtid.into_iter().flatten().next().unwrap_or_default(),
    })
}

/// Where the binary log is now, if there is one.
fn position(connection: &mut Connection) -> Result<Option<Position>, Failure> {
    let statement = if connection.version().is_mysql(8, 2) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let rows = texts(connection, statement)?;
    let Some([file, offset, rest @ ..]) = rows.first().map(Vec::as_slice) else {
        return Ok(None);
    };
    let Ok(offset) = offset.parse() else {
        return Ok(None);
    };
    if connection.version().is_mariadb(10, 0) {
        return with_gtid(connection, file.clone(), offset).map(Some);
    }
    Ok(Some(Position {
        file: file.clone(),
        offset,
        // After which databases are logged and which not.
        gtid: rest.get(2).cloned().unwrap_or_default(),
    }))
}

/// Kills a connection that holds a lock for too long.
struct Watchdog {
    calm: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Watchdog {
    fn start(mut own: Connection, other: u32) -> Self {
        let (calm, rest) = channel();
        let thread = std::thread::spawn(move || {
            if rest.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            let _ = own.run(&format!("KILL {other}"));
            true
        });
        Self { calm, thread }
    }

    /// Whether it had to kill.
    fn stop(self) -> bool {
        let _ = self.calm.send(());
        self.thread.join().unwrap_or(false)
    }
}

//! The server that is restored into: sessions on it, and what is there already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mainstay_mysql::{Connection, Endpoint, ErrorKind as Trouble, Options, Version};

use crate::error::{Error, ErrorKind};
use crate::source::mysql::{Failure, RIGHTS, literal, name, texts};

/// Numbers of errors that say that there is no room: of a disk, of a table, of a file.
const FULL: [u16; 4] = [1021, 1114, 1136, 3675];
/// The number of the error that says that a lock was waited for, for as long as it may be.
const WAITED: u16 = 1205;
/// Numbers of errors that say that something is longer than `max_allowed_packet`.
const TOO_LONG: [u16; 2] = [1153, 1301];
/// Numbers of errors that say that no data is taken from clients.
const NO_LOCAL: [u16; 3] = [1148, 3948, 4166];
/// What is sent at once while rows are loaded, and some more.
const PACKET: u64 = 2 << 20;

/// What a session is like while things are loaded and made. Checks of unique keys stay: without them
/// a `MariaDB` loads the first rows of a table in another way, which costs it half as much again and
/// shuts the other loaders out.
const SETTINGS: &str = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00', foreign_key_checks = 0, sql_quote_show_create = 1, autocommit = 1, net_read_timeout = 3600, net_write_timeout = 3600, wait_timeout = 28800, lock_wait_timeout = 86400, innodb_lock_wait_timeout = 86400, max_error_count = 65535";

/// What not every version knows, or not every user may.
const OPTIONAL: [&str; 9] = [
    "SET SESSION max_statement_time = 0",
    "SET SESSION max_execution_time = 0",
    // Tables are as they were made elsewhere, at a time when more or less was allowed.
    "SET SESSION innodb_strict_mode = 0",
    "SET SESSION sql_require_primary_key = 0",
    "SET SESSION sql_generate_invisible_primary_key = 0",
    "SET SESSION check_constraint_checks = 0",
    "SET SESSION enforce_storage_engine = NULL",
    "SET SESSION system_versioning_insert_history = 1",
    "SET SESSION system_versioning_alter_history = 'KEEP'",
];

/// How to reach the server, for all that is done with it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    options: Options,
    binlog: bool,
    pub(super) attempt: String,
    /// What to do after a failure, where the failure itself says nothing better.
    pub(super) advice: String,
}

impl Server {
    pub(super) fn new(options: &Options, binlog: bool, backup: &str) -> Self {
        let mut options = options.clone();
        options.local_infile = true;
        // Making the keys of a large table takes hours in which nothing is said.
        options.timeouts.read = None;
        // One that writes to a slow disk takes nothing for minutes.
        options.timeouts.write = Some(Duration::from_mins(10));
        Self {
            attempt: format!(
                "restore backup `{backup}` into the server at {} as `{}`",
                options.endpoint, options.user
            ),
            options,
            binlog,
            advice: "nothing was changed".to_owned(),
        }
    }

    /// The same, with another word of what to do after a failure.
    #[must_use]
    pub(super) fn advising(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// Where it listens.
    pub(super) fn place(&self) -> String {
        self.options.endpoint.to_string()
    }

    /// Whether it runs on this machine.
    fn is_here(&self) -> bool {
        matches!(self.options.endpoint, Endpoint::Unix(_))
    }

    /// A session in which things are loaded and made.
    pub(super) fn connect(&self) -> Result<Connection, Error> {
        let begin = || -> Result<Connection, mainstay_mysql::Error> {
            let mut connection = Connection::open(&self.options)?;
            usual(&mut connection)?;
            for setting in OPTIONAL {
                optional(connection.run(setting).map(drop))?;
            }
            if !self.binlog {
                optional(connection.run("SET SESSION sql_log_bin = 0").map(drop))?;
            }
            Ok(connection)
        };
        begin().map_err(|error| self.error("connect", error))
    }

    /// An error for people, of what was done with the server.
    pub(super) fn error(&self, doing: &str, error: impl Into<Failure>) -> Error {
        let attempt = if doing == "connect" {
            self.attempt.clone()
        } else {
            format!("{}: {doing}", self.attempt)
        };
        let error = match error.into() {
            Failure::Server(error) => error,
            other => {
                let made = Error::new(ErrorKind::Server, attempt, other.to_string());
                return match other {
                    Failure::Other(_, Some(help)) => made.with_help(help),
                    _ => made.with_help(&self.advice),
                };
            }
        };
        let code = error.code().unwrap_or(0);
        let disk = error
            .server()
            .is_some_and(|server| server.message.contains("No space left"));
        let (kind, help) = if RIGHTS.contains(&code) {
            let rights = "a restore makes databases and users: GRANT ALL ON *.* TO it WITH GRANT OPTION, or name another user with --user";
            (ErrorKind::Denied, error.help().or(Some(rights)))
        } else if FULL.contains(&code) || disk {
            (
                ErrorKind::DiskFull,
                Some("free space where the server keeps its data"),
            )
        } else if code == WAITED {
            let who = "somebody uses the tables: stop the programs that do (`SHOW FULL PROCESSLIST` shows who)";
            (ErrorKind::InUse, Some(who))
        } else if TOO_LONG.contains(&code) {
            (ErrorKind::Server, Some(MORE_PACKET))
        } else if NO_LOCAL.contains(&code) {
            (ErrorKind::Denied, Some("SET GLOBAL local_infile = 1"))
        } else {
            (ErrorKind::Server, error.help())
        };
        let help = match help {
            Some(help) if help.ends_with('?') => format!("{help} {}", self.advice),
            Some(help) => format!("{help}; {}", self.advice),
            None => self.advice.clone(),
        };
        Error::new(kind, attempt, error.reason()).with_help(help)
    }

    /// Runs a statement that a person would call `doing`.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        doing: &str,
        statement: &str,
    ) -> Result<(), Error> {
        connection
            .run(statement)
            .map(drop)
            .map_err(|error| self.error(doing, error))
    }

    /// The rows of a statement as texts.
    pub(super) fn texts(
        &self,
        connection: &mut Connection,
        doing: &str,
        statement: &str,
    ) -> Result<Vec<Vec<String>>, Error> {
        texts(connection, statement).map_err(|error| self.error(doing, error))
    }
}

/// What to do about a packet or value that is too long for the server.
pub(super) const MORE_PACKET: &str =
    "SET GLOBAL max_allowed_packet = 1073741824, and the same in the server's configuration";

/// The settings that objects change for themselves.
pub(super) fn usual(connection: &mut Connection) -> Result<(), mainstay_mysql::Error> {
    connection.run(SETTINGS)?;
    connection.run("SET NAMES utf8mb4").map(drop)
}

/// Takes an error of the server's own for "it cannot".
fn optional(done: Result<(), mainstay_mysql::Error>) -> Result<bool, mainstay_mysql::Error> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Trouble::Server => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is in a database already.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Content {
    /// Tables and sequences.
    pub(super) tables: BTreeSet<String>,
    pub(super) views: BTreeSet<String>,
    /// Routines and events.
    pub(super) others: BTreeSet<String>,
}

impl Content {
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.views.is_empty() && self.others.is_empty()
    }
}

/// A foreign key: of which table, to which one, each with its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) from: (String, String),
    pub(super) to: (String, String),
}

/// What a server is and has.
#[derive(Debug, Clone)]
pub(super) struct Existing {
    pub(super) version: Version,
    pub(super) databases: BTreeMap<String, Content>,
    pub(super) users: BTreeSet<(String, String)>,
    /// Whether names of databases and tables are the same in any case.
    pub(super) folds: bool,
    /// Whether rows are taken from clients.
    pub(super) local: bool,
    pub(super) max_packet: u64,
    /// Whether it has a binary log, and whether that can be left alone.
    pub(super) logs: bool,
    pub(super) silent: bool,
    pub(super) replicas: u64,
    pub(super) read_only: bool,
    /// Bytes free where it keeps its data, if that is a directory of this machine.
    pub(super) free: Option<u64>,
}

impl Existing {
    /// Looks at everything that a restore may meet.
    pub(super) fn look(server: &Server, connection: &mut Connection) -> Result<Self, Error> {
        let doing = "look at what is there";
        let version = connection.version().clone();
        let mut databases: BTreeMap<String, Content> = server
            .texts(connection, doing, "SHOW DATABASES")?
            .into_iter()
            .flatten()
            .map(|database| (database, Content::default()))
            .collect();
        let own = "('mysql', 'sys', 'information_schema', 'performance_schema')";
        let mut add = |statement: &str, put: &dyn Fn(&mut Content, &[String])| {
            for row in server.texts(connection, doing, statement)? {
                if let Some(content) = row.first().and_then(|name| databases.get_mut(name)) {
                    put(content, &row[1..]);
                }
            }
            Ok::<(), Error>(())
        };
        add(
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN {own}"
            ),
            &|content, row| {
                let [table, kind] = row else { return };
                match kind.as_str() {
                    "VIEW" | "SYSTEM VIEW" => content.views.insert(table.clone()),
                    _ => content.tables.insert(table.clone()),
                };
            },
        )?;
        for (table, schema, object) in [
            ("ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME"),
            ("EVENTS", "EVENT_SCHEMA", "EVENT_NAME"),
        ] {
            add(
                &format!(
                    "SELECT {schema}, {object} FROM information_schema.{table} WHERE {schema} NOT IN {own}"
                ),
                &|content, row| content.others.extend(row.iter().cloned()),
            )?;
        }
        // Who may not see them will not be able to make any.
        let users = texts(connection, "SELECT User, Host FROM mysql.user")
            .unwrap_or_default()
            .into_iter()
            .filter_map(|row| <[String; 2]>::try_from(row).ok().map(Into::into))
            .collect();
        let facts = server.texts(
            connection,
            doing,
            "SELECT @@global.local_infile, @@global.max_allowed_packet, @@global.log_bin, @@session.sql_log_bin, @@global.read_only, @@global.lower_case_table_names",
        )?;
        let fact = |at: usize| -> u64 {
            facts
                .first()
                .and_then(|row| row.get(at)?.parse().ok())
                .unwrap_or(0)
        };
        let replicas = server.texts(
            connection,
            doing,
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'",
        )?;
        let data = server.texts(connection, doing, "SELECT @@global.datadir")?;
        let free = data
            .first()
            .filter(|_| server.is_here())
            .and_then(|row| super::super::place::free_space(Path::new(row.first()?)).ok());
        Ok(Self {
            free,
            version,
            databases,
            users,
            local: fact(0) == 1,
            max_packet: fact(1),
            logs: fact(2) == 1,
            silent: fact(3) == 0,
            read_only: fact(4) == 1,
            folds: fact(5) != 0,
            replicas: replicas
                .first()
                .and_then(|row| row.first()?.parse().ok())
                .unwrap_or(0),
        })
    }

    /// The foreign keys of all tables. A server may have to look at each one for that.
    pub(super) fn references(
        server: &Server,
        connection: &mut Connection,
    ) -> Result<Vec<Reference>, Error> {
        let rows = server.texts(
            connection,
            "look at the foreign keys",
            "SELECT TABLE_SCHEMA, TABLE_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL",
        )?;
        let reference = |row: Vec<String>| {
            let [schema, table, to_schema, to_table] = <[String; 4]>::try_from(row).ok()?;
            Some(Reference {
                from: (schema, table),
                to: (to_schema, to_table),
            })
        };
        Ok(rows.into_iter().filter_map(reference).collect())
    }

    /// That rows can be sent to it.
    pub(super) fn check_packet(&self) -> Result<(), (String, &'static str)> {
        if self.max_packet >= PACKET {
            return Ok(());
        }
        Err((
            format!(
                "its max_allowed_packet is {}: too small for the rows to be sent",
                mainstay_base::Size(self.max_packet).human()
            ),
            MORE_PACKET,
        ))
    }
}

/// A user or role as it is named in statements.
pub(super) fn account(user: &str, host: &str, role: bool) -> String {
    if role {
        name(user)
    } else {
        format!("{}@{}", literal(user), literal(host))
    }
}

//! What a snapshot of a server says of itself: `manifest.json`, beside the data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The form of the manifest that is written here.
pub(super) const FORMAT: u32 = 1;

/// Everything that is known of a snapshot of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this manifest, 1.
    pub format: u32,
    /// The server's version in its own words.
    pub server: String,
    /// Whether it is a `MariaDB`; a `MySQL` otherwise.
    pub mariadb: bool,
    /// Whether names of databases and tables are the same in any case (`lower_case_table_names`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folds: bool,
    /// When the moment was that all data is of, RFC 3339.
    pub taken: String,
    /// How it was made one moment.
    pub consistency: Consistency,
    /// Where the server's binary log was in that moment, if it has one.
    pub position: Option<Position>,
    /// Its databases, in the order of their names.
    pub databases: Vec<Database>,
    /// Its users and roles.
    pub users: Vec<User>,
}

/// How connections came to see one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// `binlog_snapshot`: without a lock, by positions that agree; `lock`: under a read lock.
    pub way: String,
    /// The connections that read.
    pub connections: usize,
    /// How often it was tried until positions agreed.
    pub tries: u32,
    /// For how long, in microseconds, writers were held up by the read lock: from its being asked for
    /// until it was let go of.
    pub stall_us: u64,
}

/// Where a binary log was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Name of the file.
    pub file: String,
    /// Offset in it.
    pub offset: u64,
    /// The global transaction id: a position with `MariaDB`, a set with `MySQL`.
    pub gtid: String,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// `CREATE DATABASE`
    pub create: String,
    /// Its tables, in the order of their files.
    pub tables: Vec<Table>,
    /// `CREATE SEQUENCE` with the value that comes next, by name (`MariaDB`).
    pub sequences: Vec<Object>,
    /// Views, each after those that it selects from.
    pub views: Vec<Object>,
    /// Functions, procedures and packages.
    pub routines: Vec<Object>,
    /// Triggers, in the order in which they act.
    pub triggers: Vec<Object>,
    /// Events.
    pub events: Vec<Object>,
}

impl Database {
    /// The names of what statements can name in it: tables, sequences, views and routines.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let tables = self.tables.iter().map(|table| &table.name);
        let objects = [&self.sequences, &self.views, &self.routines];
        let objects = objects.into_iter().flatten().map(|object| &object.name);
        tables.chain(objects).cloned().collect()
    }
}

/// A table and its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// `CREATE TABLE`
    pub create: String,
    /// Its engine.
    pub engine: String,
    /// Whether the rows are those of all times (`FOR SYSTEM_TIME ALL`).
    pub history: bool,
    /// The directory with its data, relative to that of the manifest; its files in the order of their
    /// names are its rows.
    pub data: String,
    /// What is in a row, in this order.
    pub columns: Vec<Column>,
    /// How many rows.
    pub rows: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The sum of the first 128 bits of the SHA-256 of each line, as a number of 128 bits.
    pub digest: String,
}

/// A column of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its text becomes its value.
    pub load: Load,
}

/// How the text of a column becomes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// As it is, in the character set `binary`.
    Plain,
    /// `CAST(@v AS UNSIGNED)`: numbers of an ENUM, of a SET, of a BIT.
    Unsigned,
    /// `CONVERT(@v USING utf8mb4)`: types that take text but no bytes.
    Text,
}

/// Something that is made by a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// What it is: `view`, `procedure`, `function`, `package`, `trigger`, `event`, `sequence`.
    pub kind: String,
    /// The statement.
    pub create: String,
    /// The variables of the session that it is to be created with.
    pub session: Vec<(String, String)>,
    /// Of a sequence: the value that comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why it cannot be used, if the server says so; the statement is then from its catalog.
    pub broken: Option<String>,
}

/// A user or a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name.
    pub name: String,
    /// From where; empty for a role of `MariaDB`.
    pub host: String,
    /// Whether it is a role.
    pub role: bool,
    /// `CREATE USER` with the hash of the password, or `CREATE ROLE`.
    pub create: String,
    /// What it may do, as statements.
    pub grants: Vec<String>,
}

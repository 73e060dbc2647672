//! What a server has: databases, tables, and everything that is made by a statement.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_base::Pattern;
use mainstay_mysql::Connection;

use super::chunks::Key;
use super::identity::Identity;
use super::manifest::{Column, Database, Load, Object, Table, User};
use super::{Failure, MANIFEST, SCRATCH, file_name, literal, name, texts};

/// Databases that every server makes for itself. Users and grants of `mysql` are read as statements.
pub(super) const OWN: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];
/// Users that every server makes for itself.
const OWN_USERS: [&str; 4] = [
    "mysql.sys",
    "mysql.session",
    "mysql.infoschema",
    "mariadb.sys",
];

/// Which databases are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Those whose name is one of these; all if there are none.
    pub databases: Vec<Pattern>,
    /// But for these.
    pub exclude: Vec<Pattern>,
}

impl Selection {
    pub(super) fn takes(&self, database: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(database));
        !OWN.contains(&database.to_ascii_lowercase().as_str())
            && !database.starts_with(SCRATCH)
            && (self.databases.is_empty() || any(&self.databases))
            && !any(&self.exclude)
    }
}

/// How a table is read.
pub(super) struct Plan {
    pub(super) database: String,
    pub(super) table: String,
    /// What is selected, in the order of the manifest's columns.
    pub(super) select: String,
    /// `FOR SYSTEM_TIME ALL`, or nothing.
    pub(super) times: &'static str,
    /// The primary key, if rows can be told apart by it in statements.
    pub(super) key: Vec<Key>,
    /// Whether there is a primary key at all, to be ordered by.
    pub(super) ordered: bool,
    /// Bytes of a row, by the server's own estimate.
    pub(super) row_bytes: u64,
    /// Bytes of the table, by the server's own estimate.
    pub(super) table_bytes: u64,
    /// Where its data goes, relative to the root.
    pub(super) data: String,
    /// Who it is, where another may come by its name before it is read.
    pub(super) identity: Option<Identity>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) databases: Vec<Database>,
    /// One for each table, in the order of the databases and their tables.
    pub(super) plans: Vec<Plan>,
    pub(super) users: Vec<User>,
    /// What is there and could not be read.
    pub(super) missing: Vec<(String, String)>,
    /// What is worth a line.
    pub(super) warnings: Vec<(String, String)>,
    /// What somebody altered while it was looked at.
    pub(super) torn: Vec<(String, Failure)>,
}

impl Found {
    pub(super) fn look(
        connection: &mut Connection,
        selection: &Selection,
        users: bool,
    ) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut names: Vec<String> = texts(connection, "SHOW DATABASES")?
            .into_iter()
            .flatten()
            .filter(|database| selection.takes(database))
            .collect();
        // In the order of their directories.
        names.sort_by_key(|database| file_name(database));
        for pattern in &selection.databases {
            if !names.iter().any(|database| pattern.matches(database)) {
                found.missing.push((
                    "data".to_owned(),
                    format!("no database is called `{pattern}`, or the user may not see it"),
                ));
            }
        }
        for database in names {
            let path = format!("data/{}", file_name(&database));
            match found.database(connection, database) {
                Ok(read) => found.databases.push(read),
                // It is gone.
                Err(failure) if failure.is_torn() => found.torn.push((path, failure)),
                Err(failure) => return Err(failure),
            }
        }
        if users && let Err(failure) = found.users(connection) {
            found
                .missing
                .push((MANIFEST.to_owned(), format!("users: {failure}")));
        }
        Ok(found)
    }

    /// Does something for one object; what the server refuses is missing, and the rest goes on.
    fn tolerate<T>(&mut self, path: &str, done: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(failure) if failure.is_torn() => {
                self.torn.push((path.to_owned(), failure));
                Ok(None)
            }
            Err(Failure::Server(error)) if error.server().is_some() => {
                self.missing
                    .push((path.to_owned(), error.reason().to_owned()));
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn database(
        &mut self,
        connection: &mut Connection,
        database: String,
    ) -> Result<Database, Failure> {
        let mut read = bare(connection, database)?;
        let schema = literal(&read.name);
        let mut tables = texts(
            connection,
            &format!(
                "SELECT TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, ''), IFNULL(AVG_ROW_LENGTH, 0), IFNULL(DATA_LENGTH, 0), IFNULL(UNIX_TIMESTAMP(CREATE_TIME), 0), UNIX_TIMESTAMP(), IFNULL(CREATE_OPTIONS LIKE '%partitioned%', 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema}"
            ),
        )?;
        tables.sort_by_key(|row| file_name(&row[0]));
        let mut columns = grouped(texts(
            connection,
            &format!(
                "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, IFNULL(CHARACTER_SET_NAME, ''), IFNULL(COLLATION_NAME, ''), EXTRA, IFNULL(GENERATION_EXPRESSION, '') FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} ORDER BY TABLE_NAME, ORDINAL_POSITION"
            ),
        )?);
        let mut keys = grouped(texts(
            connection,
            &format!(
                "SELECT TABLE_NAME, COLUMN_NAME, IFNULL(SUB_PART, '') FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {schema} AND INDEX_NAME = 'PRIMARY' ORDER BY TABLE_NAME, SEQ_IN_INDEX"
            ),
        )?);
        let mut views = Vec::new();
        for row in tables {
            let [table, kind, ..] = row.as_slice() else {
                continue;
            };
            let path = format!("data/{}/{}", file_name(&read.name), file_name(table));
            match kind.as_str() {
                "VIEW" | "SYSTEM VIEW" => {
                    let view = self.view(connection, &read.name, table);
                    views.extend(self.tolerate(&path, view)?);
                }
                "SEQUENCE" => {
                    let sequence = sequence(connection, &read.name, table);
                    read.sequences.extend(self.tolerate(&path, sequence)?);
                }
                "TEMPORARY" => {}
                _ => {
                    let shape = Shape {
                        columns: columns.remove(table).unwrap_or_default(),
                        key: keys.remove(table).unwrap_or_default(),
                        history: kind == "SYSTEM VERSIONED",
                    };
                    let table = self.table(connection, &read.name, &row, &shape, path.clone());
                    read.tables.extend(self.tolerate(&path, table)?);
                }
            }
        }
        read.views = in_order(&read.name, views);
        self.routines(connection, &mut read)?;
        Ok(read)
    }

    fn table(
        &mut self,
        connection: &mut Connection,
        database: &str,
        row: &[String],
        shape: &Shape,
        path: String,
    ) -> Result<Table, Failure> {
        let [
            table,
            _,
            engine,
            row_bytes,
            table_bytes,
            changed,
            asked,
            partitioned,
        ] = row
        else {
            return Err(Failure::odd("information_schema.TABLES"));
        };
        let whole = qualified(database, table);
        let create = texts(connection, &format!("SHOW CREATE TABLE {whole}"))?;
        let mariadb = connection.version().is_mariadb(5, 0);
        let (columns, select) = shape.select(mariadb);
        if !["InnoDB", "RocksDB", "ROCKSDB", "TokuDB"].contains(&engine.as_str()) {
            self.warnings.push((
                path.clone(),
                format!("its engine ({engine}) has no snapshots: it is as of the moment in which it was read"),
            ));
        }
        self.plans.push(Plan {
            database: database.to_owned(),
            table: table.clone(),
            select,
            times: if shape.history {
                " FOR SYSTEM_TIME ALL"
            } else {
                ""
            },
            key: shape.key(),
            ordered: !shape.key.is_empty(),
            row_bytes: row_bytes.parse().unwrap_or(0),
            table_bytes: table_bytes.parse().unwrap_or(0),
            data: path.clone(),
            identity: (connection.version().is_mariadb(10, 0) && engine == "InnoDB").then(|| {
                Identity {
                    changed: changed.parse().unwrap_or(0),
                    asked: asked.parse().unwrap_or(0),
                    numbers: None,
                    partitioned: partitioned == "1",
                }
            }),
        });
        Ok(Table {
            name: table.clone(),
            create: cell(&create, 1),
            engine: engine.clone(),
            history: shape.history,
            data: path,
            columns,
            rows: 0,
            bytes: 0,
            digest: String::new(),
        })
    }

    fn view(
        &mut self,
        connection: &mut Connection,
        database: &str,
        view: &str,
    ) -> Result<Object, Failure> {
        let mut object = Object {
            name: view.to_owned(),
            kind: "view".to_owned(),
            create: String::new(),
            session: Vec::new(),
            next: None,
            broken: None,
        };
        match texts(
            connection,
            &format!("SHOW CREATE VIEW {}", qualified(database, view)),
        ) {
            Ok(rows) => {
                object.create = cell(&rows, 1);
                object.session = session(&rows, None, None, 2);
                let warned = texts(connection, "SHOW WARNINGS")?;
                object.broken = warned.first().and_then(|row| row.get(2)).cloned();
            }
            // It is gone, or a table now.
            Err(failure) if failure.is_torn() => return Err(failure),
            Err(Failure::Server(error)) if error.server().is_some() => {
                object.broken = Some(error.reason().to_owned());
                let rows = texts(
                    connection,
                    &format!(
                        "SELECT VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
                        literal(database),
                        literal(view)
                    ),
                )?;
                object.create = format!("CREATE VIEW {} AS {}", name(view), cell(&rows, 0));
            }
            Err(failure) => return Err(failure),
        }
        if let Some(why) = &object.broken {
            self.warnings.push((
                format!("data/{}", file_name(database)),
                format!("view `{view}` cannot be used, and is kept as text: {why}"),
            ));
        }
        Ok(object)
    }

    fn routines(
        &mut self,
        connection: &mut Connection,
        read: &mut Database,
    ) -> Result<(), Failure> {
        let schema = literal(&read.name);
        let path = format!("data/{}", file_name(&read.name));
        let routines = texts(
            connection,
            &format!(
                "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {schema} ORDER BY ROUTINE_TYPE, ROUTINE_NAME"
            ),
        )?;
        let triggers = texts(
            connection,
            &format!(
                "SELECT 'TRIGGER', TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {schema} ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
            ),
        )?;
        let events = texts(
            connection,
            &format!(
                "SELECT 'EVENT', EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {schema} ORDER BY EVENT_NAME"
            ),
        )?;
        for row in routines.iter().chain(&triggers).chain(&events) {
            let [kind, object] = row.as_slice() else {
                continue;
            };
            let shown = texts(
                connection,
                &format!("SHOW CREATE {kind} {}", qualified(&read.name, object)),
            );
            let Some(shown) = self.tolerate(&path, shown)? else {
                continue;
            };
            let event = kind == "EVENT";
            let at = if event { 3 } else { 2 };
            let made = Object {
                name: object.clone(),
                kind: kind.to_ascii_lowercase(),
                create: cell(&shown, at),
                session: session(&shown, Some(1), event.then_some(2), at + 1),
                next: None,
                broken: None,
            };
            if made.create.is_empty() {
                self.missing.push((
                    path.clone(),
                    format!("the user may not see {} `{object}`: it takes the right SHOW_ROUTINE, or SELECT on mysql.*", made.kind),
                ));
                continue;
            }
            match kind.as_str() {
                "TRIGGER" => read.triggers.push(made),
                "EVENT" => read.events.push(made),
                _ => read.routines.push(made),
            }
        }
        Ok(())
    }

    fn users(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let mariadb = connection.version().is_mariadb(10, 0);
        let role = if mariadb { "is_role" } else { "'N'" };
        let rows = texts(
            connection,
            &format!("SELECT User, Host, {role} FROM mysql.user ORDER BY 3 DESC, 1, 2"),
        )?;
        for row in rows {
            let [user, host, role] = row.as_slice() else {
                continue;
            };
            if OWN_USERS.contains(&user.as_str()) || (mariadb && user == "PUBLIC") {
                continue;
            }
            match self::user(connection, user, host, role == "Y") {
                Ok(user) => self.users.push(user),
                // Without names of hosts a server does not know whom it has under one.
                Err(Failure::Server(error)) if matches!(error.code(), Some(1133 | 1141)) => {
                    self.warnings.push((
                        MANIFEST.to_owned(),
                        format!("user `{user}`@`{host}` is in the table of users, but not in use, and left out"),
                    ));
                }
                Err(Failure::Server(error)) if error.server().is_some() => self.missing.push((
                    MANIFEST.to_owned(),
                    format!("user `{user}`@`{host}`: {}", error.reason()),
                )),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

/// How everything in one database is made, as it is now.
pub(crate) fn definitions(
    connection: &mut Connection,
    database: &str,
) -> Result<Database, Failure> {
    Found::default().database(connection, database.to_owned())
}

/// How the routines, triggers and events of one database are made, as they are now.
pub(crate) fn programs(connection: &mut Connection, database: &str) -> Result<Database, Failure> {
    let mut read = bare(connection, database.to_owned())?;
    Found::default().routines(connection, &mut read)?;
    Ok(read)
}

/// How a database is made, without what is in it.
fn bare(connection: &mut Connection, database: String) -> Result<Database, Failure> {
    let create = texts(
        connection,
        &format!("SHOW CREATE DATABASE {}", name(&database)),
    )?;
    Ok(Database {
        create: cell(&create, 1),
        tables: Vec::new(),
        sequences: Vec::new(),
        views: Vec::new(),
        routines: Vec::new(),
        triggers: Vec::new(),
        events: Vec::new(),
        name: database,
    })
}

/// How the tables of one database are read.
pub(super) fn plans(connection: &mut Connection, database: &str) -> Result<Vec<Plan>, Failure> {
    let mut found = Found::default();
    found.database(connection, database.to_owned())?;
    if let Some((path, why)) = found.missing.pop() {
        return Err(Failure::other(format!("{path}: {why}")));
    }
    if let Some((_, failure)) = found.torn.pop() {
        return Err(failure);
    }
    for plan in &mut found.plans {
        plan.identity = None;
    }
    Ok(found.plans)
}

/// A user or a role, with its rights.
pub(crate) fn user(
    connection: &mut Connection,
    user: &str,
    host: &str,
    role: bool,
) -> Result<User, Failure> {
    let account = if role {
        name(user)
    } else {
        format!("{}@{}", literal(user), literal(host))
    };
    let create = if role {
        format!("CREATE ROLE {account}")
    } else {
        cell(
            &texts(connection, &format!("SHOW CREATE USER {account}"))?,
            0,
        )
    };
    let grants = texts(connection, &format!("SHOW GRANTS FOR {account}"))?;
    Ok(User {
        name: user.to_owned(),
        host: host.to_owned(),
        role,
        create,
        grants: grants.into_iter().flatten().collect(),
    })
}

fn qualified(database: &str, object: &str) -> String {
    format!("{}.{}", name(database), name(object))
}

/// A cell of the first row.
fn cell(rows: &[Vec<String>], at: usize) -> String {
    rows.first()
        .and_then(|row| row.get(at))
        .cloned()
        .unwrap_or_default()
}

/// Rows by what stands in their first cell.
fn grouped(rows: Vec<Vec<String>>) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut groups: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for mut row in rows {
        if row.is_empty() {
            continue;
        }
        let rest = row.split_off(1);
        groups.entry(row.remove(0)).or_default().push(rest);
    }
    groups
}

/// The variables that an object was made with; `charset` is where the first of their three cells is.
fn session(
    rows: &[Vec<String>],
    mode: Option<usize>,
    zone: Option<usize>,
    charset: usize,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut put = |variable: &str, at: Option<usize>| {
        if let Some(value) = at.and_then(|at| rows.first()?.get(at)) {
            variables.push((variable.to_owned(), value.clone()));
        }
    };
    put("sql_mode", mode);
    put("time_zone", zone);
    put("character_set_client", Some(charset));
    put("collation_connection", Some(charset + 1));
    put("collation_database", Some(charset + 2));
    variables
}

fn sequence(connection: &mut Connection, database: &str, table: &str) -> Result<Object, Failure> {
    let whole = qualified(database, table);
    let create = texts(connection, &format!("SHOW CREATE SEQUENCE {whole}"))?;
    let next = texts(
        connection,
        &format!("SELECT next_not_cached_value FROM {whole}"),
    )?;
    Ok(Object {
        name: table.to_owned(),
        kind: "sequence".to_owned(),
        create: cell(&create, 1),
        session: Vec::new(),
        next: Some(cell(&next, 0)),
        broken: None,
    })
}

/// What `information_schema` says of a table.
struct Shape {
    /// Name, type, character set, collation, extra, expression.
    columns: Vec<Vec<String>>,
    /// Name, and of how much of it the key is if not of all.
    key: Vec<Vec<String>>,
    history: bool,
}

impl Shape {
    /// The columns that have data of their own, and what is selected for them.
    fn select(&self, mariadb: bool) -> (Vec<Column>, String) {
        let mut columns = Vec::new();
        let mut select = Vec::new();
        let mut period = false;
        for column in &self.columns {
            let [column, kind, _, _, extra, expression] = column.as_slice() else {
                continue;
            };
            let of_period = ["ROW START", "ROW END"].contains(&expression.as_str())
                || ["ROW START", "ROW END"]
                    .iter()
                    .any(|word| extra.contains(word));
            period |= of_period;
            let generated = (extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"))
                || !expression.is_empty();
            if (of_period && !self.history) || (generated && !of_period) {
                continue;
            }
            let load = match kind.as_str() {
                "enum" | "set" | "bit" => Load::Unsigned,
                // An alias for text in MariaDB, which takes it as it is.
                "json" if !mariadb => Load::Text,
                "uuid" | "inet4" | "inet6" => Load::Text,
                _ => Load::Plain,
            };
            select.push(match load {
                Load::Unsigned => format!("CAST({} AS UNSIGNED)", name(column)),
                Load::Plain | Load::Text => name(column),
            });
            columns.push(Column {
                name: column.clone(),
                load,
            });
        }
        if self.history && !period {
            // They are there without being in any catalog.
            for column in ["row_start", "row_end"] {
                select.push(name(column));
                columns.push(Column {
                    name: column.to_owned(),
                    load: Load::Plain,
                });
            }
        }
        (columns, select.join(", "))
    }

    /// The key by which the table can be cut; none if one of its columns cannot be compared with
    /// something that is written into a statement.
    fn key(&self) -> Vec<Key> {
        if self.history {
            return Vec::new();
        }
        let of = |part: &Vec<String>| -> Option<Key> {
            let [column, length] = part.as_slice() else {
                return None;
            };
            let found = self
                .columns
                .iter()
                .find(|found| found.first() == Some(column))?;
            let [_, kind, charset, collation, ..] = found.as_slice() else {
                return None;
            };
            (length.is_empty() && Key::can_be(kind, charset))
                .then(|| Key::new(column, charset, collation))
        };
        self.key
            .iter()
            .map(of)
            .collect::<Option<Vec<Key>>>()
            .unwrap_or_default()
    }
}

/// Views, each after those that it selects from. `SHOW CREATE VIEW` writes names in full; what only
/// looks like a name in a text makes an order that is as good as any other.
fn in_order(database: &str, views: Vec<Object>) -> Vec<Object> {
    let names: BTreeSet<String> = views.iter().map(|view| view.name.clone()).collect();
    let mut waiting: Vec<(BTreeSet<String>, Object)> = views
        .into_iter()
        .map(|view| {
            let needs = names
                .iter()
                .filter(|other| {
                    **other != view.name && view.create.contains(&qualified(database, other))
                })
                .cloned()
                .collect();
            (needs, view)
        })
        .collect();
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let at = waiting
            .iter()
            .position(|(needs, _)| needs.is_subset(&done))
            // A circle: there is one only in texts.
            .unwrap_or(0);
        let (_, view) = waiting.remove(at);
        done.insert(view.name.clone());
        ordered.push(view);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, create: &str) -> Object {
        Object {
            name: name.to_owned(),
            kind: "view".to_owned(),
            create: create.to_owned(),
            session: Vec::new(),
            next: None,
            broken: None,
        }
    }

    #[test]
    fn views_come_after_what_they_select_from() {
        let order = |views: Vec<Object>| -> Vec<String> {
            in_order("d", views)
                .into_iter()
                .map(|view| view.name)
                .collect()
        };
        let views = vec![
            view("a", "select from `d`.`b` join `d`.`c`"),
            view("b", "select from `d`.`c`"),
            view("c", "select from `d`.`t`"),
            view("e", "select from `other`.`a`"),
        ];
        assert_eq!(order(views), ["c", "b", "a", "e"]);
        let circle = vec![view("a", "`d`.`b`"), view("b", "`d`.`a`")];
        assert_eq!(order(circle), ["a", "b"]);
    }

    #[test]
    fn a_selection_takes_what_it_names() {
        let pattern = |text: &str| Pattern::new(text);
        let all = Selection::default();
        assert!(!all.takes("mainstay_restore_0a1b2c3d_0"));
        assert!(all.takes("shop") && !all.takes("mysql") && !all.takes("INFORMATION_SCHEMA"));
        let some = Selection {
            databases: vec![pattern("shop"), pattern("wp_*")],
            exclude: vec![pattern("wp_test")],
        };
        assert!(some.takes("shop") && some.takes("wp_1"));
        assert!(!some.takes("wp_test") && !some.takes("other"));
    }
}

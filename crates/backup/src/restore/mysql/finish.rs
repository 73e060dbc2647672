//! From tables that are loaded beside to a server as it was: the swap, and everything that is made by
//! a statement.
//!
//! The swap is one `RENAME TABLE`: what is there goes aside, and the new into its place, all of it or
//! nothing. Before it nothing that is live was touched. No server takes triggers along to another
//! database, so a table that has some goes aside by way of another name in its own: until the swap it
//! has its triggers, and they are taken from it after that. The new ones are made in the next moment.
//! After the swap everything that is still to do can be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_mysql::Connection;

use super::ddl;
use super::journal::Journal;
use super::plan::{Database, Layout};
use super::server::{Existing, Server, account, usual};
use crate::error::Error;
use crate::progress::Progress;
use crate::source::mysql::{self, Object, User, definitions, literal, name, programs, user};
use crate::source::{Issue, Weight};

/// Names of what was noted.
const OLD: &str = "old";
const SWAPPING: &str = "swapping";
const SWAPPED: &str = "swapped";
/// How long the swap waits for whoever uses the tables, in seconds. Who comes after it waits for it.
const PATIENCE: u32 = 10;
const SWAP: &str = "swap the tables";
/// The length of a statement that renames; what is longer are several.
const STATEMENT: usize = 1 << 20;
/// The table in a database that was set aside, with what could not be made there again.
const KEPT: &str = "mainstay_kept";

/// All that is done after the rows are there.
pub(super) struct Finish<'a> {
    pub(super) server: &'a Server,
    pub(super) journal: &'a Journal,
    pub(super) layout: &'a Layout,
    pub(super) existing: &'a Existing,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) issues: Vec<Issue>,
}

/// Something to be made, of a database of the layout.
type Wanted<'a> = (&'a Database, &'a Object);

impl Finish<'_> {
    /// Makes the databases that are not there, and their sequences, which tables may count by.
    pub(super) fn prepare(&self, main: &mut Connection) -> Result<(), Error> {
        for database in &self.layout.databases {
            if database.exists {
                continue;
            }
            let create = ddl::database(
                &database.create,
                "CREATE DATABASE IF NOT EXISTS",
                &database.to,
            );
            self.server
                .run(main, &format!("make database `{}`", database.to), &create)?;
            for sequence in &database.sequences {
                self.sequence(main, database, sequence)?;
            }
        }
        Ok(())
    }

    fn sequence(
        &self,
        main: &mut Connection,
        database: &Database,
        sequence: &Object,
    ) -> Result<(), Error> {
        let doing = format!("make sequence `{}`.`{}`", database.to, sequence.name);
        let statements = [
            format!("USE {}", name(&database.to)),
            ddl::database(
                &sequence.create,
                "CREATE SEQUENCE IF NOT EXISTS",
                &sequence.name,
            ),
            format!(
                "ALTER SEQUENCE {} RESTART {}",
                name(&sequence.name),
                sequence.next.as_deref().unwrap_or("1")
            ),
        ];
        for statement in statements {
            self.server.run(main, &doing, &statement)?;
        }
        Ok(())
    }

    /// Puts the tables into their places.
    pub(super) fn tables_in(&mut self, main: &mut Connection) -> Result<(), Error> {
        self.progress
            .begin("Putting tables into their places", None);
        let old = self.old(main)?;
        self.swap(main, &old)?;
        self.triggers(main, false)?;
        self.journal.note(self.server, main, SWAPPED, "1")?;
        self.progress.finish();
        Ok(())
    }

    /// Makes everything that belongs to the tables in their places.
    pub(super) fn rest(&mut self, main: &mut Connection) -> Result<(), Error> {
        self.progress
            .begin("Making views, routines and users", None);
        let old = self.old(main)?;
        // First of all: who writes meanwhile counts on them. One that needs what is not there yet comes
        // again.
        self.triggers(main, false)?;
        self.old_away(main)?;
        let made = self.users(main)?;
        self.foreign(main)?;
        self.clear(main, &old)?;
        self.objects(main)?;
        self.old_objects(main, &old)?;
        self.grants(main, &made);
        self.tidy(main)?;
        self.progress.finish();
        Ok(())
    }

    /// Whether everything is in its place already, and only what belongs to it is missing.
    pub(super) fn is_swapped(&self, main: &mut Connection) -> Result<bool, Error> {
        if self.journal.read(self.server, main, SWAPPED)?.is_some() {
            return Ok(true);
        }
        // It was killed before it could say so.
        if self.journal.read(self.server, main, SWAPPING)?.is_none() {
            return Ok(false);
        }
        let there = self.tables(main)?;
        let in_place = self.layout.tables.iter().all(|table| {
            let database = self.layout.databases.get(table.database);
            database
                .is_some_and(|database| there.contains(&(database.to.clone(), table.to.clone())))
        });
        Ok(in_place && renames(self.layout, &there, &BTreeSet::new()).is_empty())
    }

    fn issue(&mut self, weight: Weight, what: impl Into<String>) {
        self.issues.push(Issue {
            weight,
            path: PathBuf::from(self.server.place()),
            what: what.into(),
        });
    }

    /// What the databases have that are set aside, read once, before anything of it is moved.
    fn old(&self, main: &mut Connection) -> Result<BTreeMap<String, mysql::Database>, Error> {
        if let Some(noted) = self.journal.read(self.server, main, OLD)?
            && let Ok(old) = serde_json::from_str(&noted)
        {
            return Ok(old);
        }
        let mut old = BTreeMap::new();
        for database in &self.layout.databases {
            if database.aside.is_none() {
                continue;
            }
            let read = if database.whole {
                definitions(main, &database.to)
            } else {
                programs(main, &database.to)
            };
            let mut read = read.map_err(|error| {
                self.server
                    .error(&format!("read what `{}` has", database.to), error)
            })?;
            if !database.whole {
                read.triggers.retain(|trigger| {
                    database
                        .old
                        .iter()
                        .any(|table| ddl::is_on(&trigger.create, table, self.existing.folds))
                });
                read.routines.clear();
                read.events.clear();
            }
            old.insert(database.to.clone(), read);
        }
        let noted = serde_json::to_string(&old).unwrap_or_default();
        self.journal.note(self.server, main, OLD, &noted)?;
        Ok(old)
    }

    /// The tables of some databases, each with the name of its database in front.
    fn tables(&self, main: &mut Connection) -> Result<BTreeSet<(String, String)>, Error> {
        let databases: Vec<String> = self
            .layout
            .databases
            .iter()
            .flat_map(|database| {
                [
                    Some(&database.to),
                    Some(&database.beside),
                    database.aside.as_ref(),
                ]
            })
            .flatten()
            .map(|database| literal(database))
            .collect();
        if databases.is_empty() {
            return Ok(BTreeSet::new());
        }
        let rows = self.server.texts(
            main,
            "look at what is there",
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE NOT LIKE '%VIEW' AND TABLE_SCHEMA IN ({})",
                databases.join(", ")
            ),
        )?;
        Ok(rows
            .into_iter()
            .filter_map(|row| <[String; 2]>::try_from(row).ok().map(Into::into))
            .collect())
    }

    fn swap(
        &self,
        main: &mut Connection,
        old: &BTreeMap<String, mysql::Database>,
    ) -> Result<(), Error> {
        for database in &self.layout.databases {
            if let (Some(aside), Some(old)) = (&database.aside, old.get(&database.to)) {
                let create = ddl::database(&old.create, "CREATE DATABASE IF NOT EXISTS", aside);
                self.server
                    .run(main, &format!("make database `{aside}`"), &create)?;
            }
        }
        let there = self.tables(main)?;
        let triggers = self.live_triggers(main)?;
        let triggered = triggers
            .into_iter()
            .map(|(database, _, table)| (database, table))
            .collect();
        let steps = renames(self.layout, &there, &triggered);
        self.journal.note(self.server, main, SWAPPING, "1")?;
        let patience = format!("SET SESSION lock_wait_timeout = {PATIENCE}");
        self.server.run(main, SWAP, &patience)?;
        self.rename(main, &steps)
    }

    /// The triggers in the databases that something goes to: database, name, table.
    fn live_triggers(
        &self,
        main: &mut Connection,
    ) -> Result<BTreeSet<(String, String, String)>, Error> {
        let databases: Vec<String> = (self.layout.databases.iter())
            .map(|database| literal(&database.to))
            .collect();
        if databases.is_empty() {
            return Ok(BTreeSet::new());
        }
        let rows = self.server.texts(
            main,
            "look at what is there",
            &format!(
                "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA IN ({})",
                databases.join(", ")
            ),
        )?;
        Ok(rows
            .into_iter()
            .filter_map(|row| <[String; 3]>::try_from(row).ok().map(Into::into))
            .collect())
    }

    /// Takes the triggers from tables that are on their way aside, and makes those of the new ones. What
    /// cannot be made is told only at `last`.
    fn triggers(&mut self, main: &mut Connection, last: bool) -> Result<(), Error> {
        let layout = self.layout;
        let wanted = of(layout, |database| &database.triggers);
        let aside = layout
            .databases
            .iter()
            .any(|database| database.aside.is_some());
        if wanted.is_empty() && !aside {
            return Ok(());
        }
        let mut there = BTreeMap::new();
        for (database, trigger, table) in self.live_triggers(main)? {
            if table.starts_with(layout.state.as_str()) {
                let doing = format!("take trigger `{trigger}` from what is set aside");
                let whole = format!("{}.{}", name(&database), name(&trigger));
                self.server
                    .run(main, &doing, &format!("DROP TRIGGER IF EXISTS {whole}"))?;
            } else {
                there.insert((database, trigger), table);
            }
        }
        for (database, trigger) in wanted {
            let key = (database.to.clone(), trigger.name.clone());
            let made = there.get(&key);
            if made.is_some_and(|table| ddl::is_on(&trigger.create, table, self.existing.folds)) {
                continue;
            }
            let doing = format!("make trigger `{}`.`{}`", database.to, trigger.name);
            let made = make(main, &database.to, trigger, &database.said(&trigger.create));
            let Err(error) = made else {
                continue;
            };
            if error.server().is_none() {
                return Err(self.server.error(&doing, error));
            }
            if last {
                let name = format!("trigger `{}`.`{}`", database.to, trigger.name);
                self.issue(Weight::Missing, format!("{name}: {}", error.reason()));
            }
        }
        Ok(())
    }

    /// What had triggers goes on to where it is set aside.
    fn old_away(&self, main: &mut Connection) -> Result<(), Error> {
        if self
            .layout
            .databases
            .iter()
            .all(|database| database.aside.is_none())
        {
            return Ok(());
        }
        let there = self.tables(main)?;
        let mut steps = Vec::new();
        for (number, database) in self.layout.databases.iter().enumerate() {
            let Some(aside) = &database.aside else {
                continue;
            };
            for (at, table) in database.old.iter().enumerate() {
                let way = self.layout.way(number, at);
                if there.contains(&(database.to.clone(), way.clone())) {
                    steps.push(step((&database.to, &way), (aside, table)));
                }
            }
        }
        self.rename(main, &steps)
    }

    fn rename(&self, main: &mut Connection, steps: &[String]) -> Result<(), Error> {
        let mut rest = steps;
        while !rest.is_empty() {
            let mut length = 0;
            let fits = rest
                .iter()
                .take_while(|step| {
                    length += step.len() + 2;
                    length < STATEMENT
                })
                .count()
                .max(1);
            let (now, later) = rest.split_at(fits);
            let statement = format!("RENAME TABLE {}", now.join(", "));
            self.server.run(main, SWAP, &statement)?;
            rest = later;
        }
        self.server
            .run(main, SWAP, "SET SESSION lock_wait_timeout = 86400")
    }

    /// Foreign keys, now that everything has its name.
    fn foreign(&mut self, main: &mut Connection) -> Result<(), Error> {
        let layout = self.layout;
        for table in &layout.tables {
            let Some(database) = layout.databases.get(table.database) else {
                continue;
            };
            if table.foreign.is_empty() {
                continue;
            }
            let whole = layout.place(table);
            let doing = format!("make the foreign keys of table {whole}");
            // All of them are made by one statement.
            let known = self.server.texts(
                main,
                &doing,
                &format!(
                    "SELECT 1 FROM information_schema.TABLE_CONSTRAINTS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND CONSTRAINT_TYPE = 'FOREIGN KEY' LIMIT 1",
                    literal(&database.to),
                    literal(&table.to)
                ),
            )?;
            if !known.is_empty() {
                continue;
            }
            self.server
                .run(main, &doing, &format!("USE {}", name(&database.to)))?;
            let statement = format!("ALTER TABLE {whole} {}", table.foreign.join(", "));
            if let Err(error) = main.run(&statement) {
                if error.server().is_none() {
                    return Err(self.server.error(&doing, error));
                }
                self.issue(
                    Weight::Missing,
                    format!("foreign keys of {whole}: {}", error.reason()),
                );
            }
        }
        Ok(())
    }

    /// Removes what was in a database that was set aside and is no table; it is noted, and made again
    /// in the other one.
    fn clear(
        &self,
        main: &mut Connection,
        old: &BTreeMap<String, mysql::Database>,
    ) -> Result<(), Error> {
        for (database, old) in old {
            for object in old.views.iter().chain(&old.routines).chain(&old.events) {
                let doing = format!("take {} `{}` from `{database}`", object.kind, object.name);
                let drop = format!(
                    "DROP {} IF EXISTS {}.{}",
                    object.kind,
                    name(database),
                    name(&object.name)
                );
                self.server.run(main, &doing, &drop)?;
            }
        }
        Ok(())
    }

    /// Everything that is made by a statement, after what it needs.
    fn objects(&mut self, main: &mut Connection) -> Result<(), Error> {
        let layout = self.layout;
        for database in layout.databases.iter().filter(|database| database.whole) {
            if database.exists {
                let alter = ddl::database(&database.create, "ALTER DATABASE", &database.to);
                let doing = format!("make database `{}` as it was", database.to);
                self.server.run(main, &doing, &alter)?;
                for sequence in &database.sequences {
                    self.sequence(main, database, sequence)?;
                }
            }
        }
        self.make_all(main, of(layout, |database| &database.routines))?;
        self.make_all(main, of(layout, |database| &database.views))?;
        self.triggers(main, true)?;
        self.make_all(main, of(layout, |database| &database.events))
    }

    /// Makes objects that may need each other: those that cannot be made yet are tried again as long as
    /// others can.
    fn make_all(&mut self, main: &mut Connection, objects: Vec<Wanted<'_>>) -> Result<(), Error> {
        let mut waiting = objects;
        while !waiting.is_empty() {
            let mut failed = Vec::new();
            let before = waiting.len();
            for (database, object) in waiting {
                let doing = format!("make {} `{}`.`{}`", object.kind, database.to, object.name);
                // It can only be one that a killed run made.
                let drop = format!(
                    "DROP {} IF EXISTS {}.{}",
                    object.kind,
                    name(&database.to),
                    name(&object.name)
                );
                self.server.run(main, &doing, &drop)?;
                match make(main, &database.to, object, &database.said(&object.create)) {
                    Ok(()) => {}
                    Err(error) if error.server().is_some() => {
                        failed.push((database, object, error));
                    }
                    Err(error) => return Err(self.server.error(&doing, error)),
                }
            }
            if failed.len() == before {
                for (database, object, error) in failed {
                    self.issue(
                        Weight::Missing,
                        format!(
                            "{} `{}`.`{}`: {}",
                            object.kind,
                            database.to,
                            object.name,
                            error.reason()
                        ),
                    );
                }
                return Ok(());
            }
            waiting = failed
                .into_iter()
                .map(|(database, object, _)| (database, object))
                .collect();
        }
        Ok(())
    }

    /// Makes again, in the databases that were set aside, what cannot be moved. Events do not happen
    /// there.
    fn old_objects(
        &mut self,
        main: &mut Connection,
        old: &BTreeMap<String, mysql::Database>,
    ) -> Result<(), Error> {
        for (database, old) in old {
            let known = self.layout.databases.iter();
            let Some((known, aside)) = known
                .filter(|known| known.to == *database)
                .find_map(|known| Some((known, known.aside.clone()?)))
            else {
                continue;
            };
            let names = if known.whole {
                old.names()
            } else {
                known.old.iter().cloned().collect()
            };
            let mut kept = Vec::new();
            let objects = old
                .routines
                .iter()
                .chain(&old.views)
                .chain(&old.triggers)
                .chain(&old.events);
            for object in objects {
                let drop = format!(
                    "DROP {} IF EXISTS {}.{}",
                    object.kind,
                    name(&aside),
                    name(&object.name)
                );
                let doing = format!("make {} `{aside}`.`{}`", object.kind, object.name);
                self.server.run(main, &doing, &drop)?;
                let create = ddl::moved(
                    &object.create,
                    database,
                    &aside,
                    &names,
                    self.existing.folds,
                );
                let mut made = make(main, &aside, object, &create);
                if made.is_ok() && object.kind == "event" {
                    let event = format!("{}.{}", name(&aside), name(&object.name));
                    made = main
                        .run(&format!("ALTER EVENT {event} DISABLE"))
                        .map(drop_done);
                }
                match made {
                    Ok(()) => {}
                    Err(error) if error.server().is_some() => {
                        kept.push((object, error.reason().to_owned()));
                    }
                    Err(error) => return Err(self.server.error(&doing, error)),
                }
            }
            if !kept.is_empty() {
                self.keep(main, &aside, &kept)?;
            }
        }
        Ok(())
    }

    /// Writes down what could not be made again.
    fn keep(
        &mut self,
        main: &mut Connection,
        aside: &str,
        kept: &[(&Object, String)],
    ) -> Result<(), Error> {
        let whole = format!("{}.{KEPT}", name(aside));
        let doing = format!("keep what cannot be in `{aside}`");
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {whole} (kind VARCHAR(64), name VARCHAR(64), statement LONGTEXT, reason TEXT) ENGINE=InnoDB CHARACTER SET utf8mb4"
        );
        self.server.run(main, &doing, &create)?;
        for (object, why) in kept {
            let insert = format!(
                "INSERT INTO {whole} VALUES ({}, {}, {}, {})",
                literal(&object.kind),
                literal(&object.name),
                literal(&object.create),
                literal(why)
            );
            self.server.run(main, &doing, &insert)?;
            self.issue(
                Weight::Warning,
                format!(
                    "{} `{}` of what was set aside is kept as text in {whole}: {why}",
                    object.kind, object.name
                ),
            );
        }
        Ok(())
    }

    /// Makes the users that are not there; those that are there and differ stay as they are. Gives those
    /// that get their rights from the snapshot.
    fn users(&mut self, main: &mut Connection) -> Result<Vec<usize>, Error> {
        let layout = self.layout;
        let mut ours = Vec::new();
        let mut waiting: Vec<(usize, &User)> = Vec::new();
        for (number, wanted) in layout.users.iter().enumerate() {
            let noted = format!("user {number}");
            let there = self
                .existing
                .users
                .contains(&(wanted.name.clone(), wanted.host.clone()));
            let by_us = self.journal.read(self.server, main, &noted)?.is_some();
            if !there {
                if !by_us {
                    self.journal.note(self.server, main, &noted, "1")?;
                }
                waiting.push((number, wanted));
            } else if by_us {
                ours.push(number);
            } else if !is_as(main, wanted) {
                let said = account(&wanted.name, &wanted.host, wanted.role);
                self.issue(
                    Weight::Warning,
                    format!("user {said} is there already and differs: it keeps its password and its rights"),
                );
            }
        }
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut failed = Vec::new();
            for (number, wanted) in waiting {
                match main.run(&wanted.create) {
                    Ok(_) => ours.push(number),
                    Err(error) if error.server().is_some() => failed.push((number, wanted, error)),
                    Err(error) => return Err(self.server.error("make users", error)),
                }
            }
            if failed.len() == before {
                for (_, wanted, error) in failed {
                    let said = account(&wanted.name, &wanted.host, wanted.role);
                    // Its words may hold the statement, with the hash of the password.
                    let code = error.code().unwrap_or(0);
                    self.issue(
                        Weight::Missing,
                        format!("user {said} cannot be made (error {code})"),
                    );
                }
                break;
            }
            waiting = failed
                .into_iter()
                .map(|(number, wanted, _)| (number, wanted))
                .collect();
        }
        ours.sort_unstable();
        Ok(ours)
    }

    /// Gives users their rights, which may be on anything that was made.
    fn grants(&mut self, main: &mut Connection, made: &[usize]) {
        let layout = self.layout;
        for wanted in made.iter().filter_map(|number| layout.users.get(*number)) {
            for grant in &wanted.grants {
                if let Err(error) = main.run(grant) {
                    let said = account(&wanted.name, &wanted.host, wanted.role);
                    let code = error.code().unwrap_or(0);
                    self.issue(
                        Weight::Missing,
                        format!("a right of user {said} cannot be given (error {code})"),
                    );
                }
            }
        }
    }

    /// Removes the databases in which things were loaded, which are empty now.
    fn tidy(&mut self, main: &mut Connection) -> Result<(), Error> {
        let there = self.tables(main)?;
        for database in &self.layout.databases {
            let beside = &database.beside;
            if let Some((_, table)) = there.iter().find(|(database, _)| database == beside) {
                self.issue(
                    Weight::Warning,
                    format!(
                        "`{beside}` has a table `{table}` that is not of this restore, and is left"
                    ),
                );
                continue;
            }
            let drop = format!("DROP DATABASE IF EXISTS {}", name(beside));
            self.server
                .run(main, &format!("remove the empty `{beside}`"), &drop)?;
        }
        self.journal.remove(self.server, main)
    }
}

fn drop_done(_: mainstay_mysql::Done) {}

/// The objects of one kind in all databases.
fn of(layout: &Layout, objects: impl Fn(&Database) -> &Vec<Object>) -> Vec<Wanted<'_>> {
    layout
        .databases
        .iter()
        .flat_map(|database| {
            objects(database)
                .iter()
                .map(move |object| (database, object))
        })
        .collect()
}

/// A part of `RENAME TABLE`.
fn step(from: (&str, &str), to: (&str, &str)) -> String {
    format!(
        "{}.{} TO {}.{}",
        name(from.0),
        name(from.1),
        name(to.0),
        name(to.1)
    )
}

/// What is to be renamed, given the tables that are there, and those of them that have triggers. After a
/// server without atomic renames was killed in the middle this is what is left to do.
fn renames(
    layout: &Layout,
    there: &BTreeSet<(String, String)>,
    triggered: &BTreeSet<(String, String)>,
) -> Vec<String> {
    let has =
        |database: &str, table: &str| there.contains(&(database.to_owned(), table.to_owned()));
    let new: BTreeSet<(usize, &str)> = layout
        .tables
        .iter()
        .map(|table| (table.database, table.to.as_str()))
        .collect();
    let mut steps = Vec::new();
    for (number, database) in layout.databases.iter().enumerate() {
        let Some(aside) = &database.aside else {
            continue;
        };
        for (at, table) in database.old.iter().enumerate() {
            let way = layout.way(number, at);
            // What has come into its place is the new one already.
            let replaced = new.contains(&(number, table.as_str())) && !has(&database.beside, table);
            let gone = has(aside, table) || has(&database.to, &way);
            if replaced || gone || !has(&database.to, table) {
                continue;
            }
            let from = (database.to.as_str(), table.as_str());
            steps.push(
                if triggered.contains(&(database.to.clone(), table.clone())) {
                    step(from, (&database.to, &way))
                } else {
                    step(from, (aside, table))
                },
            );
        }
    }
    for table in &layout.tables {
        if let Some(database) = layout.databases.get(table.database)
            && has(&database.beside, &table.to)
        {
            steps.push(step(
                (&database.beside, &table.to),
                (&database.to, &table.to),
            ));
        }
    }
    steps
}

/// Makes an object in a database, in the session that it was made with.
fn make(
    connection: &mut Connection,
    database: &str,
    object: &Object,
    create: &str,
) -> Result<(), mainstay_mysql::Error> {
    let mut session = || -> Result<(), mainstay_mysql::Error> {
        connection.run(&format!("USE {}", name(database)))?;
        let statement = in_charset(connection, object, create)?;
        for (variable, value) in &object.session {
            // Only a database has that one.
            if variable != "collation_database" {
                connection.run(&format!("SET SESSION {variable} = {}", literal(value)))?;
            }
        }
        connection.run_bytes(&statement).map(drop)
    };
    let made = session();
    if connection.is_ready() {
        usual(connection)?;
    }
    made
}

/// A statement in the character set of the session that an object is made in: the server takes it for
/// that, and keeps it so.
fn in_charset(
    connection: &mut Connection,
    object: &Object,
    create: &str,
) -> Result<Vec<u8>, mainstay_mysql::Error> {
    let charset = object
        .session
        .iter()
        .find_map(|(variable, value)| (variable == "character_set_client").then_some(value))
        .filter(|charset| !charset.starts_with("utf8") && !create.is_ascii());
    let Some(charset) = charset else {
        return Ok(create.as_bytes().to_vec());
    };
    // As it is, not as a client would like to have it.
    connection.run("SET SESSION character_set_results = NULL")?;
    let converted = connection.fetch(&format!(
        "SELECT CONVERT({} USING {charset})",
        literal(create)
    ))?;
    Ok(converted
        .into_iter()
        .flatten()
        .next()
        .flatten()
        .unwrap_or_default())
}

/// Whether a user is on the server just as in the snapshot.
fn is_as(connection: &mut Connection, wanted: &User) -> bool {
    user(connection, &wanted.name, &wanted.host, wanted.role).is_ok_and(|found| found == *wanted)
}

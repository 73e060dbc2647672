//! What goes where: decided from the manifest, what was asked for, and what is on the server.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use mainstay_base::counted;

use super::ddl;
use super::server::{Content, Reference};
use crate::source::mysql::{self, Manifest, Object, SCRATCH, User, name};

/// The longest name of a database.
const NAME: usize = 64;
/// From this size on a table gets its keys after its rows. Below, another statement costs more.
const KEYS_LATER: u64 = 1 << 20;

/// Which part of a server is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// All of it.
    All {
        /// With users, roles and grants.
        users: bool,
    },
    /// These databases.
    Databases(Vec<String>),
    /// One database under another name.
    DatabaseAs {
        /// Its name in the snapshot.
        name: String,
        /// Its name on the server.
        to: String,
    },
    /// These tables, each with the name of its database in front.
    Tables(Vec<(String, String)>),
    /// One table under another name, maybe in another database.
    TableAs {
        /// Database and table in the snapshot.
        name: (String, String),
        /// Database and table on the server.
        to: (String, String),
    },
}

/// Why a restore is not begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The snapshot has no such thing.
    Unknown(String, String),
    /// Something is there.
    InTheWay(String, String),
    /// The server takes names in any case, and the snapshot's did not.
    Folds(String, String),
}

/// A database as it will be.
#[derive(Debug, Clone)]
pub(super) struct Database {
    /// Its name in the snapshot.
    pub(super) from: String,
    /// Its name on the server.
    pub(super) to: String,
    /// Where its tables are loaded.
    pub(super) beside: String,
    /// Where what is there now goes, if something is.
    pub(super) aside: Option<String>,
    /// Whether all of it is restored, and not only some tables.
    pub(super) whole: bool,
    /// Whether there is one of this name.
    pub(super) exists: bool,
    /// `CREATE DATABASE` as it was.
    pub(super) create: String,
    /// Tables and sequences that are there now and go aside.
    pub(super) old: Vec<String>,
    pub(super) sequences: Vec<Object>,
    pub(super) views: Vec<Object>,
    pub(super) routines: Vec<Object>,
    pub(super) triggers: Vec<Object>,
    pub(super) events: Vec<Object>,
    /// What it has in the snapshot, by name.
    pub(super) objects: BTreeSet<String>,
    /// Whether names in the snapshot are the same in any case.
    folds: bool,
}

impl Database {
    /// A statement of the snapshot as it is to be said here.
    pub(super) fn said(&self, statement: &str) -> String {
        if self.from == self.to {
            statement.to_owned()
        } else {
            ddl::moved(statement, &self.from, &self.to, &self.objects, self.folds)
        }
    }
}

/// A table as it will be.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// The number of its database.
    pub(super) database: usize,
    /// Its name on the server.
    pub(super) to: String,
    /// As it is in the snapshot.
    pub(super) stored: mysql::Table,
    /// What makes it where it is loaded.
    pub(super) create: String,
    /// The keys that come after the rows, a list for each statement.
    pub(super) keys: Vec<Vec<String>>,
    /// The foreign keys, which come when it is in its place.
    pub(super) foreign: Vec<String>,
    /// Whether what is loaded of it can be taken back.
    pub(super) transactional: bool,
}

impl Table {
    /// Whether its rows alone say that it is complete: nothing comes after them, and none is half
    /// there.
    pub(super) fn tells_itself(&self) -> bool {
        self.transactional && self.keys.is_empty()
    }

    /// Tables that only show the rows of others.
    fn is_window(table: &mysql::Table) -> bool {
        ["MRG_MYISAM", "FEDERATED", "SPIDER", "CONNECT"]
            .iter()
            .any(|engine| table.engine.eq_ignore_ascii_case(engine))
    }
}

/// All that goes somewhere.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The database in which the server keeps how far it is.
    pub(super) state: String,
    pub(super) databases: Vec<Database>,
    pub(super) tables: Vec<Table>,
    pub(super) users: Vec<User>,
    /// What is not restored, and why.
    pub(super) left_out: Vec<String>,
}

impl Layout {
    /// Where a table is loaded.
    pub(super) fn beside(&self, table: &Table) -> String {
        let beside = self
            .databases
            .get(table.database)
            .map_or("", |database| database.beside.as_str());
        format!("{}.{}", name(beside), name(&table.to))
    }

    /// The name of a table in its own database while it is on its way aside, by the numbers of the
    /// database and of the table among those that go.
    pub(super) fn way(&self, database: usize, table: usize) -> String {
        format!("{}_{database}_{table}", self.state)
    }

    /// Where a table goes.
    pub(super) fn place(&self, table: &Table) -> String {
        let to = self
            .databases
            .get(table.database)
            .map_or("", |database| database.to.as_str());
        format!("{}.{}", name(to), name(&table.to))
    }
}

/// The name of the database for a restore that is the same again: of the same snapshot, to the same
/// names.
pub(super) fn state_name(snapshot: &str, pick: &Pick) -> String {
    let digest = Sha256::digest(format!("{snapshot} {pick:?}"));
    let mut first = [0; 4];
    first.copy_from_slice(&digest[..4]);
    format!("{SCRATCH}{:08x}", u32::from_be_bytes(first))
}

/// The name under which a database is set aside.
fn aside_name(database: &str, now: Timestamp, taken: &dyn Fn(&str) -> bool) -> String {
    let stamp = now.strftime("%Y%m%d%H%M").to_string();
    let mut number = 1;
    loop {
        let tail = match number {
            1 => format!("_before_{stamp}"),
            n => format!("_before_{stamp}_{n}"),
        };
        let room = NAME - tail.len();
        let head: String = database.chars().take(room).collect();
        let aside = format!("{head}{tail}");
        if !taken(&aside) {
            return aside;
        }
        number += 1;
    }
}

/// What of a database is wanted: the name it gets, and the tables with theirs if not all of it.
struct Wanted {
    from: String,
    to: String,
    tables: Option<BTreeMap<String, String>>,
}

fn wanted(pick: &Pick, manifest: &Manifest) -> Vec<Wanted> {
    let whole = |from: &String, to: &String| Wanted {
        from: from.clone(),
        to: to.clone(),
        tables: None,
    };
    match pick {
        Pick::All { .. } => manifest
            .databases
            .iter()
            .map(|database| whole(&database.name, &database.name))
            .collect(),
        Pick::Databases(names) => names
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|name| whole(name, name))
            .collect(),
        Pick::DatabaseAs { name, to } => vec![whole(name, to)],
        Pick::Tables(names) => {
            let mut of: BTreeMap<&String, BTreeMap<String, String>> = BTreeMap::new();
            for (database, table) in names {
                of.entry(database)
                    .or_default()
                    .insert(table.clone(), table.clone());
            }
            of.into_iter()
                .map(|(database, tables)| Wanted {
                    from: database.clone(),
                    to: database.clone(),
                    tables: Some(tables),
                })
                .collect()
        }
        Pick::TableAs { name, to } => vec![Wanted {
            from: name.0.clone(),
            to: to.0.clone(),
            tables: Some([(name.1.clone(), to.1.clone())].into()),
        }],
    }
}

impl Wanted {
    /// With the names as a server has them that folds them: that of the snapshot, that of the restore.
    fn folded(self, source: bool, target: bool) -> Self {
        let lower = |name: String, folds: bool| if folds { name.to_lowercase() } else { name };
        let tables = |tables: BTreeMap<String, String>| {
            (tables.into_iter())
                .map(|(from, to)| (lower(from, source), lower(to, target)))
                .collect()
        };
        Self {
            from: lower(self.from, source),
            to: lower(self.to, target),
            tables: self.tables.map(tables),
        }
    }
}

/// A server that folds names would have `orders` for `Orders`: what refers to it, and what is compared
/// after, would have to be rewritten.
fn refuse_capitals(wanted: &Wanted, database: &mysql::Database) -> Result<(), Refusal> {
    let of_tables = database.tables.iter().map(|table| &table.name);
    let mut names: Vec<&String> = match &wanted.tables {
        None => of_tables
            .chain(database.views.iter().map(|view| &view.name))
            .collect(),
        Some(tables) => of_tables
            .filter(|name| tables.contains_key(*name))
            .collect(),
    };
    names.push(&wanted.from);
    match names.into_iter().find(|name| name.to_lowercase() != **name) {
        None => Ok(()),
        Some(name) => Err(Refusal::Folds(
            format!(
                "the server has all names in lower case (lower_case_table_names), and the snapshot, of a server that has not, has `{name}`"
            ),
            "restore into a server with lower_case_table_names = 0, or give it the dump: `mainstay backup export`, then `mainstay backup import --server`; nothing was changed".to_owned(),
        )),
    }
}

/// Names for a person who used one that is not there.
fn there<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&String> = names.collect();
    let mut text: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    match text.len() {
        0 => "it has none".to_owned(),
        _ => format!("it has {}", text.join(", ")),
    }
}

/// What a server had when a restore was begun. One that goes on decides by the same again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Begun {
    /// What is set aside is named by it.
    pub(super) now: Timestamp,
    /// Whether what is in the way may be set aside.
    pub(super) set_aside: bool,
    /// The databases that were there.
    pub(super) databases: BTreeMap<String, Content>,
    /// Whether its names are the same in any case, and all in lower case.
    #[serde(default)]
    pub(super) folds: bool,
}

impl Begun {
    /// The same, without what is in databases that nothing goes to.
    pub(super) fn only(&self, layout: &Layout) -> Self {
        let mut only = self.clone();
        for (name, content) in &mut only.databases {
            if !layout.databases.iter().any(|database| database.to == *name) {
                *content = Content::default();
            }
        }
        only
    }
}

/// Decides what goes where.
pub(super) fn arrange(
    manifest: &Manifest,
    pick: &Pick,
    state: String,
    begun: &Begun,
) -> Result<Layout, Refusal> {
    let mut layout = Layout {
        state,
        databases: Vec::new(),
        tables: Vec::new(),
        users: Vec::new(),
        left_out: Vec::new(),
    };
    let (mut in_the_way, mut views) = (Vec::new(), Vec::new());
    for wanted in wanted(pick, manifest) {
        let wanted = wanted.folded(manifest.folds, begun.folds);
        let database = find(manifest, &wanted)?;
        if begun.folds && !manifest.folds {
            refuse_capitals(&wanted, database)?;
        }
        let number = layout.databases.len();
        let mut placed = place(
            &mut layout,
            &wanted,
            database,
            begun,
            number,
            manifest.folds,
        );
        if let Some(old) = begun.databases.get(&wanted.to) {
            placed.old = in_way(&placed, &layout.tables, number, old, &mut views);
            if placed.whole && !old.is_empty() {
                in_the_way.push(format!(
                    "a database `{}` with {}",
                    placed.to,
                    counted(old.tables.len(), "table")
                ));
            } else {
                in_the_way.extend(
                    placed
                        .old
                        .iter()
                        .map(|table| format!("a table `{}`.`{table}`", placed.to)),
                );
            }
            if !placed.old.is_empty() || (placed.whole && !old.is_empty()) {
                placed.aside = Some(aside_name(&placed.to, begun.now, &|aside| {
                    begun.databases.contains_key(aside)
                }));
            }
        }
        layout.databases.push(placed);
    }
    if !views.is_empty() {
        return Err(Refusal::InTheWay(
            format!("there is already {}", listed(&views)),
            "nothing was changed; drop the view, or restore the table under another name with --as"
                .to_owned(),
        ));
    }
    if !in_the_way.is_empty() && !begun.set_aside {
        return Err(Refusal::InTheWay(
            format!("there is already {}", listed(&in_the_way)),
            "nothing was changed; --set-aside moves it into a database of another name first, --as NEW restores beside it".to_owned(),
        ));
    }
    if matches!(pick, Pick::All { users: true }) {
        layout.users.clone_from(&manifest.users);
    }
    Ok(layout)
}

fn find<'a>(manifest: &'a Manifest, wanted: &Wanted) -> Result<&'a mysql::Database, Refusal> {
    let Some(database) = manifest
        .databases
        .iter()
        .find(|database| database.name == wanted.from)
    else {
        return Err(Refusal::Unknown(
            format!("the snapshot has no database `{}`", wanted.from),
            there(manifest.databases.iter().map(|database| &database.name)),
        ));
    };
    let missing = wanted
        .tables
        .iter()
        .flat_map(BTreeMap::keys)
        .find(|name| !database.tables.iter().any(|table| table.name == **name));
    match missing {
        None => Ok(database),
        Some(missing) => Err(Refusal::Unknown(
            format!("the snapshot has no table `{}`.`{missing}`", wanted.from),
            there(database.tables.iter().map(|table| &table.name)),
        )),
    }
}

fn listed(things: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = things.iter().take(SHOWN).cloned().collect();
    if things.len() > SHOWN {
        shown.push(format!("and {} more", things.len() - SHOWN));
    }
    shown.join(", ")
}

/// One database, with its tables.
fn place(
    layout: &mut Layout,
    wanted: &Wanted,
    database: &mysql::Database,
    begun: &Begun,
    number: usize,
    folds: bool,
) -> Database {
    let whole = wanted.tables.is_none();
    let objects = database.names();
    let mut placed = Database {
        from: wanted.from.clone(),
        to: wanted.to.clone(),
        beside: format!("{}_{number}", layout.state),
        aside: None,
        whole,
        exists: begun.databases.contains_key(&wanted.to),
        create: database.create.clone(),
        old: Vec::new(),
        sequences: Vec::new(),
        views: Vec::new(),
        routines: Vec::new(),
        triggers: Vec::new(),
        events: Vec::new(),
        objects,
        folds,
    };
    if whole {
        placed.sequences.clone_from(&database.sequences);
        placed.routines.clone_from(&database.routines);
        placed.triggers.clone_from(&database.triggers);
        placed.events.clone_from(&database.events);
        for view in &database.views {
            match &view.broken {
                None => placed.views.push(view.clone()),
                Some(why) => layout.left_out.push(format!(
                    "view `{}`.`{}` could not be used when it was backed up: {why}",
                    database.name, view.name
                )),
            }
        }
    }
    for table in &database.tables {
        let to = match &wanted.tables {
            None => &table.name,
            Some(tables) => match tables.get(&table.name) {
                Some(to) => to,
                None => continue,
            },
        };
        if Table::is_window(table) {
            layout.left_out.push(format!(
                "table `{}`.`{}` only shows rows of others ({}): make it by hand: {}",
                database.name, table.name, table.engine, table.create
            ));
            continue;
        }
        let renamed = *to != table.name;
        let placed_table = make(&placed, table, to);
        if renamed && !placed_table.foreign.is_empty() {
            layout.left_out.push(format!(
                "the foreign keys of `{}`.`{}`: their names are those of the table that has this name",
                database.name, table.name
            ));
        }
        layout.tables.push(Table {
            database: number,
            foreign: if renamed {
                Vec::new()
            } else {
                placed_table.foreign
            },
            ..placed_table
        });
        if whole {
            continue;
        }
        let of_table = database
            .triggers
            .iter()
            .filter(|trigger| ddl::is_on(&trigger.create, &table.name, folds));
        for trigger in of_table {
            if renamed || wanted.from != wanted.to {
                layout.left_out.push(format!(
                    "trigger `{}` of `{}`.`{}`: it is for the table of that name",
                    trigger.name, database.name, table.name
                ));
            } else {
                placed.triggers.push(trigger.clone());
            }
        }
    }
    placed
}

fn make(database: &Database, table: &mysql::Table, to: &str) -> Table {
    let innodb = table.engine.eq_ignore_ascii_case("InnoDB");
    let later = innodb && !table.history && table.bytes >= KEYS_LATER;
    let create = database.said(&table.create);
    let beside = format!("{}.{}", name(&database.beside), name(to));
    let (create, keys, foreign) = match ddl::Table::parse(&create) {
        Some(mut parsed) => {
            parsed.rename(&beside);
            if to != table.name {
                parsed.unname_checks();
            }
            (
                parsed.create(later),
                if later { parsed.keys() } else { Vec::new() },
                parsed.foreign(),
            )
        }
        None => (create, Vec::new(), Vec::new()),
    };
    Table {
        database: 0,
        to: to.to_owned(),
        stored: mysql::Table {
            // There may be a hundred thousand of them.
            create: String::new(),
            ..table.clone()
        },
        create,
        keys,
        foreign,
        transactional: innodb || table.engine.eq_ignore_ascii_case("ROCKSDB"),
    }
}

/// The tables that are there and would be lost, and in `views` what cannot be set aside.
fn in_way(
    placed: &Database,
    tables: &[Table],
    number: usize,
    old: &Content,
    views: &mut Vec<String>,
) -> Vec<String> {
    if placed.whole {
        return old.tables.iter().cloned().collect();
    }
    let ours = || tables.iter().filter(|table| table.database == number);
    views.extend(
        ours()
            .filter(|table| old.views.contains(&table.to))
            .map(|table| format!("a view `{}`.`{}`", placed.to, table.to)),
    );
    ours()
        .filter(|table| old.tables.contains(&table.to))
        .map(|table| table.to.clone())
        .collect()
}

/// A table that stays must not have a foreign key to one that goes aside: the key would go with it.
pub(super) fn refuse_references(layout: &Layout, references: &[Reference]) -> Result<(), Refusal> {
    let goes = |(database, table): &(String, String)| {
        layout
            .databases
            .iter()
            .any(|goes| goes.to == *database && goes.old.contains(table))
    };
    match references
        .iter()
        .find(|reference| goes(&reference.to) && !goes(&reference.from))
    {
        None => Ok(()),
        Some(found) => Err(Refusal::InTheWay(
            format!(
                "table `{}`.`{}` has a foreign key to `{}`.`{}`, and would go on having it to what is set aside",
                found.from.0, found.from.1, found.to.0, found.to.1
            ),
            "nothing was changed; restore both of them together, or under another name with --as, or drop that key first and make it again afterwards".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, engine: &str, bytes: u64) -> mysql::Table {
        mysql::Table {
            name: name.to_owned(),
            create: format!(
                "CREATE TABLE `{name}` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`),\n  KEY `k` (`id`),\n  CONSTRAINT `f` FOREIGN KEY (`id`) REFERENCES `p` (`id`)\n) ENGINE={engine}"
            ),
            engine: engine.to_owned(),
            history: false,
            data: format!("data/d/{name}"),
            columns: Vec::new(),
            rows: 1,
            bytes,
            digest: String::new(),
        }
    }

    fn object(name: &str, kind: &str, create: &str) -> Object {
        Object {
            name: name.to_owned(),
            kind: kind.to_owned(),
            create: create.to_owned(),
            session: Vec::new(),
            next: None,
            broken: None,
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            format: 1,
            server: "10.11.19-MariaDB".to_owned(),
            mariadb: true,
            folds: false,
            taken: String::new(),
            consistency: mysql::Consistency {
                way: String::new(),
                connections: 1,
                tries: 1,
                stall_us: 0,
            },
            position: None,
            databases: vec![mysql::Database {
                name: "d".to_owned(),
                create: "CREATE DATABASE `d`".to_owned(),
                tables: vec![
                    table("big", "InnoDB", 2 << 20),
                    table("small", "InnoDB", 10),
                    table("other", "MyISAM", 2 << 20),
                    table("window", "MRG_MyISAM", 10),
                ],
                sequences: Vec::new(),
                views: vec![object(
                    "v",
                    "view",
                    "CREATE VIEW `d`.`v` AS select `d`.`big`.`id` from `d`.`big`",
                )],
                routines: Vec::new(),
                triggers: vec![
                    object(
                        "t1",
                        "trigger",
                        "CREATE TRIGGER t1 BEFORE INSERT ON big FOR EACH ROW SET @a = 1",
                    ),
                    object(
                        "t2",
                        "trigger",
                        "CREATE TRIGGER t2 BEFORE INSERT ON `d`.`small` FOR EACH ROW SET @a = 1",
                    ),
                ],
                events: Vec::new(),
            }],
            users: Vec::new(),
        }
    }

    fn content(tables: &[&str], views: &[&str]) -> Content {
        Content {
            tables: tables.iter().map(|name| (*name).to_owned()).collect(),
            views: views.iter().map(|name| (*name).to_owned()).collect(),
            ..Content::default()
        }
    }

    fn planned(pick: &Pick, there: &[(&str, Content)], set_aside: bool) -> Result<Layout, Refusal> {
        let there = there
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.clone()))
            .collect();
        let begun = Begun {
            now: "2026-11-26T10:40:00Z".parse().unwrap(),
            set_aside,
            databases: there,
            folds: false,
        };
        arrange(&manifest(), pick, "s".to_owned(), &begun)
    }

    fn pair(database: &str, table: &str) -> (String, String) {
        (database.to_owned(), table.to_owned())
    }

    #[test]
    fn everything_goes_to_its_own_name_by_way_of_another() {
        let layout = planned(&Pick::All { users: true }, &[], false).unwrap();
        assert_eq!(layout.databases.len(), 1);
        let database = &layout.databases[0];
        assert_eq!(
            (database.to.as_str(), database.beside.as_str()),
            ("d", "s_0")
        );
        assert!(database.aside.is_none() && !database.exists && database.whole);
        let names: Vec<&str> = layout
            .tables
            .iter()
            .map(|table| table.to.as_str())
            .collect();
        assert_eq!(names, ["big", "small", "other"]);
        let (big, small, other) = (&layout.tables[0], &layout.tables[1], &layout.tables[2]);
        assert_eq!(big.keys, [["ADD KEY `k` (`id`)"]]);
        assert!(
            big.create
                .starts_with("CREATE TABLE IF NOT EXISTS `s_0`.`big` (")
        );
        assert!(small.keys.is_empty() && small.create.contains("KEY `k`"));
        assert!(other.keys.is_empty() && !other.transactional);
        assert_eq!(big.foreign.len(), 1);
        assert!(
            layout.left_out[0].contains("`window` only shows rows"),
            "{:?}",
            layout.left_out
        );
    }

    #[test]
    fn what_is_there_is_refused_or_set_aside() {
        let there = [
            ("d", content(&["big", "extra"], &[])),
            ("d_before_202611261040", content(&[], &[])),
        ];
        let all = Pick::All { users: false };
        let Err(Refusal::InTheWay(why, help)) = planned(&all, &there, false) else {
            panic!("it is refused");
        };
        assert!(why.contains("a database `d` with 2 tables"), "{why}");
        assert!(help.contains("--set-aside"), "{help}");
        let layout = planned(&all, &there, true).unwrap();
        assert_eq!(
            layout.databases[0].aside.as_deref(),
            Some("d_before_202611261040_2")
        );
        assert_eq!(layout.databases[0].old, ["big", "extra"]);
        // An empty one is taken as it is.
        let layout = planned(&all, &[("d", content(&[], &[]))], false).unwrap();
        assert!(layout.databases[0].exists && layout.databases[0].aside.is_none());
    }

    #[test]
    fn single_tables_leave_the_others_alone() {
        let there = [("d", content(&["big", "extra"], &["small"]))];
        let big = Pick::Tables(vec![pair("d", "big")]);
        assert!(matches!(
            planned(&big, &there, false),
            Err(Refusal::InTheWay(..))
        ));
        let layout = planned(&big, &there, true).unwrap();
        assert_eq!(layout.databases[0].old, ["big"]);
        assert_eq!(layout.databases[0].triggers.len(), 1);
        assert!(layout.databases[0].views.is_empty());
        // A view cannot be moved away.
        let small = Pick::Tables(vec![pair("d", "small")]);
        let Err(Refusal::InTheWay(why, _)) = planned(&small, &there, true) else {
            panic!("it is refused");
        };
        assert!(why.contains("a view `d`.`small`"), "{why}");
        let as_new = Pick::TableAs {
            name: pair("d", "big"),
            to: pair("d", "big2"),
        };
        let layout = planned(&as_new, &there, false).unwrap();
        assert!(layout.tables[0].create.contains("`s_0`.`big2` ("));
        assert!(layout.tables[0].foreign.is_empty() && layout.databases[0].triggers.is_empty());
        assert_eq!(layout.left_out.len(), 2, "{:?}", layout.left_out);
    }

    #[test]
    fn a_database_under_another_name_speaks_of_itself_by_it() {
        let pick = Pick::DatabaseAs {
            name: "d".to_owned(),
            to: "e".to_owned(),
        };
        let layout = planned(&pick, &[("d", content(&["big"], &[]))], false).unwrap();
        let database = &layout.databases[0];
        assert_eq!(
            database.said(&database.views[0].create),
            "CREATE VIEW `e`.`v` AS select `e`.`big`.`id` from `e`.`big`"
        );
    }

    #[test]
    fn what_is_not_in_the_snapshot_is_told_with_what_is() {
        for (pick, said) in [
            (Pick::Databases(vec!["x".to_owned()]), "no database `x`"),
            (Pick::Tables(vec![pair("d", "x")]), "no table `d`.`x`"),
        ] {
            let Err(Refusal::Unknown(why, help)) = planned(&pick, &[], false) else {
                panic!("it is refused");
            };
            assert!(
                why.contains(said) && help.starts_with("it has `"),
                "{why} {help}"
            );
        }
    }

    #[test]
    fn foreign_keys_of_tables_that_stay_are_not_taken_along() {
        let there = [("d", content(&["big", "extra"], &[]))];
        let layout = planned(&Pick::Tables(vec![pair("d", "big")]), &there, true).unwrap();
        let reference = |from: &str, to: &str| Reference {
            from: pair("d", from),
            to: pair("d", to),
        };
        assert!(refuse_references(&layout, &[reference("big", "extra")]).is_ok());
        assert!(refuse_references(&layout, &[reference("big", "big")]).is_ok());
        assert!(refuse_references(&layout, &[reference("extra", "big")]).is_err());
    }

    #[test]
    fn long_names_are_cut_to_what_a_server_takes() {
        let now = "2026-11-26T10:40:00Z".parse().unwrap();
        let name = aside_name(&"ü".repeat(64), now, &|_| false);
        assert_eq!(name.chars().count(), NAME);
        assert!(name.ends_with("ü_before_202611261040"), "{name}");
    }
}

//! Drills of `MySQL` and `MariaDB`: a server of this host is made, gets everything, and is read back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mainstay_base::counted;
use mainstay_mysql::{Connection, Endpoint, Flavour, Options, Version};

use super::Drill;
use super::scratch::{Guest, Socket};
use super::server::{Running, TEMPORARY, impossible, invite, version};
use crate::error::{Error, ErrorKind};
use crate::program::find;
use crate::repository::Snapshot;
use crate::restore::mysql::{Pick, ServerRequest};
use crate::run::Selector;
use crate::source::Weight;
use crate::source::mysql::{Manifest, Object, tallies, texts};

/// The name of the server's socket in its directory.
pub(super) const SOCKET: &str = "drill.sock";

/// With more tables than these, those that are well are told as one for each database.
pub(super) const SINGLY: usize = 1000;

/// The program of a scratch server.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) flavour: Flavour,
    /// Whether its names are the same in any case, as those of the server in the snapshot were.
    folds: bool,
}

impl Program {
    fn folding(&self) -> Option<OsString> {
        self.folds.then(|| "--lower-case-table-names=1".into())
    }
}

/// A server.
pub(super) fn server(drill: &mut Drill<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    let said = snapshot.facts.server.as_ref();
    let then = Version::parse(said.map_or("", |facts| &facts.version));
    invite(drill, &["mysql", "nobody"]);
    // First of all: without it there is nothing to fetch for.
    let program = Program {
        folds: said.is_some_and(|facts| facts.folds),
        ..program(drill, &then)?
    };
    let data = drill.checking("make a server with nothing in it", |drill| {
        drill.progress.begin("Making a scratch server", None);
        let made = install(drill, &program);
        drill.progress.finish();
        made
    })?;
    let socket = Socket::in_directory(&data, SOCKET)
        .map_err(|error| Error::io(drill.attempt(), &data, &error))?;
    let options = Options::new(Endpoint::Unix(socket.path.clone()), "root");
    let _running = drill.checking("start it", |drill| {
        drill.progress.begin("Starting a scratch server", None);
        let started = start(drill, &program, &data, &options);
        drill.progress.finish();
        started
    })?;
    let manifest = load(drill, snapshot, &options)?;
    compare(drill, &manifest, &options)?;
    let mut connection = connect(drill, &options)?;
    drill.assert(&data, &mut |query, _| answer(&mut connection, query))
}

/// What the server answers: cells are parted by a tab, rows by a new line.
pub(super) fn answer(connection: &mut Connection, query: &str) -> Result<String, String> {
    let rows = connection.fetch(query).map_err(|error| error.to_string())?;
    let text = |cell: Option<Vec<u8>>| {
        cell.map_or_else(
            || "NULL".to_owned(),
            |cell| String::from_utf8_lossy(&cell).into_owned(),
        )
    };
    let rows = rows.into_iter().map(|row| {
        let cells: Vec<String> = row.into_iter().map(text).collect();
        cells.join("\t")
    });
    Ok(rows.collect::<Vec<_>>().join("\n"))
}

/// A server of the same kind as the one that was backed up.
pub(super) fn program(drill: &mut Drill<'_>, then: &Version) -> Result<Program, Error> {
    let (what, names): (_, &[&str]) = match then.flavour {
        Flavour::MariaDb => ("MariaDB", &["mariadbd", "mysqld"]),
        Flavour::MySql => ("MySQL", &["mysqld"]),
    };
    let named = drill.config.program.clone();
    let Some(path) = named.or_else(|| find(names)) else {
        let why = format!("there is no {} of {what} on this host", names.join(" or "));
        return Err(impossible(drill, &why));
    };
    // It reads no option file; some say their version only after those.
    let said = version(drill, &path, &["--no-defaults", "--version"])
        .map_err(|error| impossible(drill, error.reason()))?;
    let Some((_, version)) = said.split_once("Ver ") else {
        let why = format!("{} is no server: it says {said:?}", path.display());
        return Err(impossible(drill, &why));
    };
    let now = Version::parse(version);
    if now.flavour != then.flavour {
        let why = format!("{} is no {what}: it says {said:?}", path.display());
        return Err(impossible(drill, &why));
    }
    if (now.number.0, now.number.1) < (then.number.0, then.number.1) {
        drill.report.notes.push(format!(
            "the scratch server is older than {}, which the snapshot is of",
            then.text
        ));
    }
    drill.report.server = Some(format!("{}: {said}", path.display()));
    Ok(Program {
        path,
        flavour: now.flavour,
        folds: false,
    })
}

/// Makes a data directory with the server's own tables, in which root has no password: nobody else
/// gets to the socket.
fn install(drill: &Drill<'_>, program: &Program) -> Result<PathBuf, Error> {
    let scratch = drill.scratch;
    let guest = drill.guest.as_ref();
    let data = scratch.directory("data")?;
    // Where statements could read and write files; nothing is ever there.
    let files = scratch.directory("files")?;
    let temporary = scratch.directory(TEMPORARY)?;
    if let Some(guest) = guest {
        guest
            .take(&[&data, &files, &temporary])
            .map_err(|error| Error::io(drill.attempt(), scratch.path(), &error))?;
    }
    let mut args: Vec<OsString> = vec!["--no-defaults".into(), option("datadir", &data)];
    let installer = match program.flavour {
        Flavour::MySql => {
            args.push("--initialize-insecure".into());
            program.path.clone()
        }
        Flavour::MariaDb => {
            args.extend(
                [
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]
                .map(Into::into),
            );
            installer(drill, program, &mut args)?
        }
    };
    args.extend(program.folding());
    args.extend(as_root(guest));
    Running::start(drill, guest, &installer, args, scratch.path(), "install")?.finish(drill)?;
    Ok(data)
}

/// The program that makes data directories of `MariaDB`: beside a server that the config names, or
/// where programs are.
fn installer(
    drill: &Drill<'_>,
    program: &Program,
    args: &mut Vec<OsString>,
) -> Result<PathBuf, Error> {
    const NAMES: [&str; 2] = ["mariadb-install-db", "mysql_install_db"];
    if drill.config.program.is_some()
        && let Some(base) = program.path.parent().and_then(Path::parent)
    {
        let beside = ["bin", "scripts", "sbin"].iter().find_map(|directory| {
            (NAMES.iter())
                .map(|name| base.join(directory).join(name))
                .find(|path| path.is_file())
        });
        if let Some(path) = beside {
            args.push(option("basedir", base));
            return Ok(path);
        }
    }
    find(&NAMES).ok_or_else(|| {
        impossible(
            drill,
            "there is no mariadb-install-db on this host, which makes data directories",
        )
    })
}

/// A server does not run as root unless it is told to; nobody but root can reach this one.
fn as_root(guest: Option<&Guest>) -> Option<OsString> {
    (guest.is_none() && rustix::process::geteuid().is_root()).then(|| "--user=root".into())
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(path);
    option
}

/// The options of the scratch server: a socket and no network, no option file, and nothing that it
/// does by itself.
pub(super) fn arguments(
    flavour: Flavour,
    scratch: &Path,
    data: &Path,
    guest: Option<&Guest>,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        // The first, or it is none.
        "--no-defaults".into(),
        option("datadir", data),
        option("tmpdir", &scratch.join(TEMPORARY)),
        option("secure-file-priv", &scratch.join("files")),
    ];
    args.extend(
        [
            "--socket=drill.sock",
            "--pid-file=drill.pid",
            "--skip-networking",
            "--skip-log-bin",
            "--event-scheduler=OFF",
            "--performance-schema=OFF",
            "--local-infile=ON",
            "--max-allowed-packet=1G",
            "--innodb-buffer-pool-size=256M",
            "--innodb-flush-log-at-trx-commit=2",
        ]
        .map(Into::into),
    );
    match flavour {
        Flavour::MySql => args.push("--mysqlx=OFF".into()),
        Flavour::MariaDb => args.push("--skip-slave-start".into()),
    }
    args.extend(as_root(guest));
    args
}

fn start(
    drill: &Drill<'_>,
    program: &Program,
    data: &Path,
    options: &Options,
) -> Result<Running, Error> {
    let guest = drill.guest.as_ref();
    let mut args = arguments(program.flavour, drill.scratch.path(), data, guest);
    args.extend(program.folding());
    let running = Running::start(drill, guest, &program.path, args, data, "server")?;
    running.wait_until(drill, || Ok(Connection::open(options).ok()))?;
    Ok(running)
}

pub(super) fn connect(drill: &Drill<'_>, options: &Options) -> Result<Connection, Error> {
    Connection::open(options).map_err(|error| failed(drill, &error.to_string()))
}

pub(super) fn failed(drill: &Drill<'_>, why: &str) -> Error {
    Error::new(
        ErrorKind::Server,
        drill.attempt(),
        format!("the scratch server: {why}"),
    )
}

/// Restores everything, users too, the way a restore into an empty server goes.
fn load(drill: &mut Drill<'_>, snapshot: &Snapshot, options: &Options) -> Result<Manifest, Error> {
    let request = ServerRequest {
        snapshot: Selector::Id(snapshot.id.clone()),
        repository: drill.report.repository.clone(),
        server: Some(options.clone()),
        pick: Pick::All { users: true },
        ..ServerRequest::new(&drill.report.backup)
    };
    let plan = drill.restoring("look what is in the snapshot", |drill| {
        drill.backups.plan_server(&request, drill.progress)
    })?;
    let report = drill.restoring("load rows, keys and everything else", |drill| {
        drill.backups.load_server(&plan, drill.progress)
    })?;
    for issue in report.issues {
        match issue.weight {
            Weight::Missing => drill.check(issue.what, "restored", "is not", false),
            Weight::Warning => drill.report.notes.push(issue.what),
        }
    }
    Ok(plan.into_manifest())
}

/// Rows, digests and objects of the server beside those of the manifest.
fn compare(drill: &mut Drill<'_>, manifest: &Manifest, options: &Options) -> Result<(), Error> {
    let databases: Vec<String> = (manifest.databases.iter())
        .map(|database| database.name.clone())
        .collect();
    let found = drill.checking("read all rows back", |drill| {
        let bytes = (manifest.databases.iter())
            .flat_map(|database| &database.tables)
            .map(|table| table.bytes)
            .sum();
        let what = "Counting the rows of the scratch server";
        drill.progress.begin(what, Some(bytes));
        let found = tallies(options, &databases, 2, drill.progress)
            .map_err(|failure| failed(drill, &failure.to_string()));
        drill.progress.finish();
        found
    })?;
    let tables: usize = (manifest.databases.iter())
        .map(|database| database.tables.len())
        .sum();
    for database in &manifest.databases {
        let mut well = 0u64;
        for table in &database.tables {
            let key = (database.name.clone(), table.name.clone());
            let now = found.get(&key).copied().unwrap_or_default();
            let there = found.contains_key(&key);
            let holds = there && now.rows == table.rows && now.digest() == table.digest;
            if holds && tables > SINGLY {
                well += 1;
                continue;
            }
            drill.check(
                format!("table `{}`.`{}`", database.name, table.name),
                told(table.rows, &table.digest),
                if there {
                    told(now.rows, &now.digest())
                } else {
                    "no such table".to_owned()
                },
                holds,
            );
        }
        if well > 0 {
            let what = format!("tables of `{}` with their rows and digests", database.name);
            drill.check(what, well.to_string(), well.to_string(), true);
        }
    }
    let objects = drill.checking(
        "look for views, routines, triggers, events and users",
        |drill| objects(options).map_err(|failure| failed(drill, &failure.to_string())),
    )?;
    for (what, is_it) in [
        ("views", "view"),
        ("routines", "routine"),
        ("triggers", "trigger"),
        ("events", "event"),
        ("sequences", "sequence"),
        ("users and roles", "user"),
    ] {
        let stored = stored(manifest, is_it);
        let missing: Vec<&String> = stored.difference(&objects).collect();
        if stored.is_empty() {
            continue;
        }
        let found = match missing.as_slice() {
            [] => stored.len().to_string(),
            [first, ..] => {
                format!(
                    "{}, without {first}",
                    stored.len().saturating_sub(missing.len())
                )
            }
        };
        drill.check(what, stored.len().to_string(), found, missing.is_empty());
    }
    Ok(())
}

fn told(rows: u64, digest: &str) -> String {
    format!("{}, digest {digest}", counted(rows, "row"))
}

/// What must be there of a kind, as [`objects`] names it. What cannot be used is kept as text only.
fn stored(manifest: &Manifest, kind: &str) -> BTreeSet<String> {
    if kind == "user" {
        let users = manifest.users.iter();
        return users
            .map(|user| format!("user {}@{}", user.name, user.host))
            .collect();
    }
    let mut names = BTreeSet::new();
    for database in &manifest.databases {
        let objects: &[Object] = match kind {
            "view" => &database.views,
            "routine" => &database.routines,
            "trigger" => &database.triggers,
            "event" => &database.events,
            _ => &database.sequences,
        };
        for object in objects.iter().filter(|object| object.broken.is_none()) {
            names.insert(format!("{kind} {}.{}", database.name, object.name));
        }
    }
    names
}

/// Everything besides tables that a server has.
fn objects(options: &Options) -> Result<BTreeSet<String>, crate::source::mysql::Failure> {
    let mut connection = Connection::open(options)?;
    connection.run("SET NAMES utf8mb4")?;
    let mut found = BTreeSet::new();
    for (kind, statement) in [
        (
            "view",
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.VIEWS",
        ),
        (
            "routine",
            "SELECT ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES",
        ),
        (
            "trigger",
            "SELECT TRIGGER_SCHEMA, TRIGGER_NAME FROM information_schema.TRIGGERS",
        ),
        (
            "event",
            "SELECT EVENT_SCHEMA, EVENT_NAME FROM information_schema.EVENTS",
        ),
        (
            "sequence",
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'SEQUENCE'",
        ),
    ] {
        for row in texts(&mut connection, statement)? {
            if let [database, name, ..] = row.as_slice() {
                found.insert(format!("{kind} {database}.{name}"));
            }
        }
    }
    for row in texts(&mut connection, "SELECT User, Host FROM mysql.user")? {
        if let [name, host, ..] = row.as_slice() {
            found.insert(format!("user {name}@{host}"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_server_has_no_network_and_reads_no_option_file() {
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            let scratch = Path::new("/scratch");
            let args = arguments(flavour, scratch, Path::new("/scratch/data"), None);
            let has = |text: &str| args.iter().any(|arg| arg == text);
            assert_eq!(
                args.first().and_then(|arg| arg.to_str()),
                Some("--no-defaults")
            );
            for text in [
                "--skip-networking",
                "--socket=drill.sock",
                "--datadir=/scratch/data",
                "--tmpdir=/scratch/tmp",
                "--secure-file-priv=/scratch/files",
            ] {
                assert!(has(text), "{text}: {args:?}");
            }
            assert_eq!(has("--mysqlx=OFF"), flavour == Flavour::MySql);
        }
    }
}

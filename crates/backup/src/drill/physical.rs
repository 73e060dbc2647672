//! Drills of a server's files: they are fetched and prepared as a restore does it, and a server of this
//! host is started on them.

use mainstay_mysql::{Connection, Endpoint, Options, Version};

use super::Drill;
use super::files::fetch;
use super::mysql::{SINGLY, SOCKET, answer, arguments, connect, failed, program};
use super::scratch::Socket;
use super::server::{Running, TEMPORARY, invite};
use crate::error::{Error, ErrorKind};
use crate::repository::{OpenRepository, Snapshot};
use crate::restore::physical::options;
use crate::source::Weight;
use crate::source::mysql::{PhysicalFacts, name, texts};

/// A table that was looked at.
struct Looked {
    database: String,
    table: String,
    /// What the server said of it, and whether that is well.
    said: String,
    well: bool,
}

/// A server.
pub(super) fn server(
    drill: &mut Drill<'_>,
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    facts: &PhysicalFacts,
) -> Result<(), Error> {
    let attempt = drill.attempt();
    let said = snapshot.facts.server.as_ref();
    let then = Version::parse(said.map_or("", |facts| &facts.version));
    invite(drill, &["mysql", "nobody"]);
    // First of all: without these there is nothing to fetch for.
    let program = program(drill, &then)?;
    let backup = drill.report.backup.clone();
    let tool = (drill.backups.tool_for(&backup, snapshot, &attempt)).map_err(|error| {
        let why = format!("cannot be drilled here: {}", error.reason());
        let made = Error::new(ErrorKind::NoServer, &attempt, why);
        match error.help() {
            Some(help) => made.with_help(help),
            None => made,
        }
    })?;
    let data = drill.scratch.path().join("data");
    let written = fetch(drill, opened, snapshot, &data)?;
    for issue in written.issues {
        if issue.weight == Weight::Missing {
            drill.check(issue.what, "restored", "is not", false);
        }
    }
    drill.restoring("prepare them", |drill| {
        (drill.progress).begin("Preparing the files of the server", None);
        let work = drill.scratch.directory("prepare")?;
        let prepared = tool.prepare(&data, &work, &attempt, drill.progress);
        drill.progress.finish();
        prepared
    })?;
    let files = drill.scratch.directory("files")?;
    let temporary = drill.scratch.directory(TEMPORARY)?;
    if let Some(guest) = &drill.guest {
        guest
            .take(&[&data, &files, &temporary])
            .map_err(|error| Error::io(&attempt, &data, &error))?;
    }
    let socket =
        Socket::in_directory(&data, SOCKET).map_err(|error| Error::io(&attempt, &data, &error))?;
    let endpoint = Options::new(Endpoint::Unix(socket.path.clone()), "root");
    let _running = drill.restoring("start a server on them", |drill| {
        (drill.progress).begin("Starting a scratch server", None);
        let guest = drill.guest.as_ref();
        let mut args = arguments(program.flavour, drill.scratch.path(), &data, guest);
        // Its users are those of the server that was backed up, and their passwords are nobody's here;
        // only we get to the socket.
        args.push("--skip-grant-tables".into());
        args.extend(
            options(facts)
                .into_iter()
                .map(|option| format!("--{option}").into()),
        );
        let running = Running::start(drill, guest, &program.path, args, &data, "server")?;
        running.wait_until(drill, || Ok(Connection::open(&endpoint).ok()))?;
        drill.progress.finish();
        Ok(running)
    })?;
    look(drill, snapshot, facts, &endpoint)?;
    let mut connection = connect(drill, &endpoint)?;
    drill.assert(&data, &mut |query, _| answer(&mut connection, query))
}

/// Has the server look at every table, and counts what there is beside what there was.
fn look(
    drill: &mut Drill<'_>,
    snapshot: &Snapshot,
    facts: &PhysicalFacts,
    endpoint: &Options,
) -> Result<(), Error> {
    let looked = drill.checking(
        "have the server check every table, and count rows",
        |drill| {
            (drill.progress).begin("Checking the tables of the scratch server", None);
            let looked = tables(drill, endpoint);
            drill.progress.finish();
            looked
        },
    )?;
    let stored = snapshot
        .facts
        .server
        .as_ref()
        .map_or(0, |facts| facts.tables);
    let found = looked.len() as u64;
    drill.check(
        "tables",
        stored.to_string(),
        found.to_string(),
        stored == found,
    );
    let singly = looked.len() <= SINGLY;
    let mut well = 0u64;
    for table in looked {
        if table.well && !singly {
            well += 1;
            continue;
        }
        drill.check(
            format!("table `{}`.`{}`", table.database, table.table),
            "the server finds nothing wrong with it",
            table.said,
            table.well,
        );
    }
    if !singly {
        let what = "tables that the server finds nothing wrong with";
        drill.check(what, found.to_string(), well.to_string(), found == well);
    }
    let users = drill.checking("look for users", |drill| {
        let mut connection = connect(drill, endpoint)?;
        texts(&mut connection, "SELECT COUNT(*) FROM mysql.global_priv")
            .map_err(|failure| failed(drill, &failure.to_string()))
    })?;
    let users = users.into_iter().flatten().next().unwrap_or_default();
    let there = users != "0";
    drill.check("users and roles", "some", users, there);
    let notes = &mut drill.report.notes;
    notes.push("what was compared: the number of tables, and what CHECK TABLE finds of each; no digests were made when the files were read, so that rows were counted and not compared".to_owned());
    if facts.without_rows > 0 {
        notes.push(format!(
            "the rows of {} tables of the engine MEMORY are in no file, and so in no such backup",
            facts.without_rows
        ));
    }
    Ok(())
}

fn tables(drill: &Drill<'_>, endpoint: &Options) -> Result<Vec<Looked>, Error> {
    let told = |failure: crate::source::mysql::Failure| failed(drill, &failure.to_string());
    let mut connection = connect(drill, endpoint)?;
    (connection.run("SET NAMES utf8mb4")).map_err(|error| failed(drill, &error.to_string()))?;
    let found = texts(
        &mut connection,
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys') ORDER BY 1, 2",
    )
    .map_err(told)?;
    let mut looked = Vec::new();
    for row in found {
        let [database, table, kind] = row.as_slice() else {
            continue;
        };
        if drill.progress.cancelled() {
            return Err(super::cancelled(&drill.attempt()));
        }
        let whole = format!("{}.{}", name(database), name(table));
        let (mut said, mut well) = check(&mut connection, &whole);
        // A sequence has no rows of anybody's.
        if well && kind != "SEQUENCE" {
            match texts(&mut connection, &format!("SELECT COUNT(*) FROM {whole}")) {
                Ok(rows) => {
                    let rows = rows.into_iter().flatten().next().unwrap_or_default();
                    said = format!("{said}, {rows} rows");
                }
                Err(failure) => (said, well) = (failure.to_string(), false),
            }
        }
        if !connection.is_ready() {
            connection = connect(drill, endpoint)?;
        }
        looked.push(Looked {
            database: database.clone(),
            table: table.clone(),
            said,
            well,
        });
    }
    Ok(looked)
}

/// What `CHECK TABLE` finds: the last line is the verdict, those before it are reasons.
fn check(connection: &mut Connection, table: &str) -> (String, bool) {
    let rows = match texts(connection, &format!("CHECK TABLE {table}")) {
        Ok(rows) => rows,
        Err(failure) => return (failure.to_string(), false),
    };
    let lines: Vec<(&str, &str)> = rows
        .iter()
        .filter_map(|row| Some((row.get(2)?.as_str(), row.get(3)?.as_str())))
        .collect();
    let bad = lines.iter().any(|(kind, _)| {
        kind.eq_ignore_ascii_case("error") || kind.eq_ignore_ascii_case("warning")
    });
    match lines.last() {
        Some((_, "OK")) if !bad => ("OK".to_owned(), true),
        // Engines that have no such check.
        Some(("note", said)) if !bad => ((*said).to_owned(), true),
        _ => {
            let said: Vec<&str> = lines.iter().map(|(_, said)| *said).collect();
            (said.join("; "), false)
        }
    }
}

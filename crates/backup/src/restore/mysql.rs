//! A restore into a server of `MySQL` or `MariaDB`, straight from the repository.
//!
//! Tables are made and loaded beside, in databases of their own, by several connections; they get
//! their keys when their rows are there. Only when all of that is done and counted are they put into
//! their places, by renames that a server does as one. So a restore that fails leaves what is live as it
//! was, and one that was cut off goes on where it was: the server itself keeps how far it is.

mod ddl;
mod finish;
mod journal;
mod load;
mod plan;
mod server;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::{Credential, Secret, SecretRef, Size, counted};
use mainstay_mysql::{Connection, Endpoint, Options, Version};

use super::physical;
use crate::config::SourceConfig;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{OpenRepository, Repository, Snapshot, Visit};
use crate::run::{Backups, Located, Selector, backup_lock};
use crate::source::mysql::{MANIFEST, Manifest, Mysql, name, tallies};
use crate::source::{Issue, Weight};

use finish::Finish;
use journal::Journal;
use load::Loader;
pub use plan::Pick;
use plan::{Begun, Layout, Refusal, arrange, refuse_references, state_name};
use server::{Existing, Server};

/// What was noted when it began.
const BEGUN: &str = "begun";

/// What of a server is to be restored, and into which.
#[derive(Debug, Clone)]
pub struct ServerRequest {
    /// The backup.
    pub backup: String,
    /// Which of its snapshots.
    pub snapshot: Selector,
    /// From which repository; the first one of the backup that has it, if none is named.
    pub repository: Option<String>,
    /// Into which server; the one that the config names for the backup, if there is none here.
    pub server: Option<Options>,
    /// Which part.
    pub pick: Pick,
    /// Whether a database or table that is there is set aside, in a database called
    /// `NAME_before_YYYYMMDDHHMM`. Otherwise it is a reason not to begin.
    pub set_aside: bool,
    /// Whether it goes into the server's binary log, and so to its replicas.
    pub binlog: bool,
    /// Whether all rows are read back and compared before anything is put into its place.
    pub check: bool,
    /// How many connections load at once; as many as read for the backup, if there is none here.
    pub connections: Option<usize>,
}

impl ServerRequest {
    /// Everything of the latest snapshot, into the server of the config.
    pub fn new(backup: impl Into<String>) -> Self {
        Self {
            backup: backup.into(),
            snapshot: Selector::Latest,
            repository: None,
            server: None,
            pick: Pick::All { users: true },
            set_aside: false,
            binlog: false,
            check: false,
            connections: None,
        }
    }
}

/// A database of a plan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PlannedDatabase {
    /// Its name in the snapshot.
    pub from: String,
    /// Its name on the server.
    pub to: String,
    /// The tables that are restored, by their names on the server.
    pub tables: Vec<String>,
    /// Their rows.
    pub rows: u64,
    /// The size of the rows in bytes, as they are stored.
    pub bytes: u64,
    /// Where what is there now will be.
    pub aside: Option<String>,
    /// How many tables go there.
    pub old_tables: usize,
}

/// What a restore into a server will do. Its `Display` form tells it to a person.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// The backup.
    pub backup: String,
    /// The snapshot and the repository it is in.
    pub from: Located,
    /// Where the server listens.
    pub server: String,
    /// Which server it is.
    pub version: Version,
    /// Its databases.
    pub databases: Vec<PlannedDatabase>,
    /// Users and roles that are looked at; those that are there already stay as they are.
    pub users: usize,
    /// Whether a restore that was cut off goes on.
    pub resumes: bool,
    /// The programs that must not run meanwhile; the caller stops and starts them.
    pub stop: Vec<String>,
    /// Things to consider before saying yes.
    pub warnings: Vec<String>,
    request: ServerRequest,
    options: Options,
    connections: usize,
    begun: Begun,
    manifest: Manifest,
}

/// What a restore into a server did.
#[derive(Debug, Clone)]
pub struct ServerReport {
    /// Where the server listens.
    pub server: String,
    /// Tables that were restored.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// The size of the rows in bytes, as they are stored.
    pub bytes: u64,
    /// How the result was checked before it was put into place.
    pub checked: String,
    /// Databases that what was there is in now, each with the one it is from. Removing them is up to
    /// a person.
    pub set_aside: Vec<(String, String)>,
    /// What could not be restored as it was, and what was left as it is.
    pub issues: Vec<Issue>,
    /// How long it took.
    pub took: Duration,
}

impl ServerReport {
    /// The statements that remove what was set aside, if anything was.
    pub fn removal(&self) -> Option<String> {
        let drops: Vec<String> = self
            .set_aside
            .iter()
            .map(|(_, aside)| format!("DROP DATABASE {};", name(aside)))
            .collect();
        (!drops.is_empty()).then(|| drops.join(" "))
    }
}

impl ServerPlan {
    /// Rows that will be loaded.
    pub fn rows(&self) -> u64 {
        self.databases.iter().map(|database| database.rows).sum()
    }

    /// The size of the rows in bytes, as they are stored.
    pub fn bytes(&self) -> u64 {
        self.databases.iter().map(|database| database.bytes).sum()
    }

    /// What the snapshot says of itself.
    pub(crate) fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

impl fmt::Display for ServerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = &self.from.snapshot;
        writeln!(
            f,
            "{} {} from snapshot {} of {} in repository {}",
            if self.resumes {
                "go on with the restore of"
            } else {
                "restore"
            },
            self.backup,
            snapshot.short_id(),
            snapshot.time.strftime("%Y-%m-%d %H:%M:%S UTC"),
            self.from.repository
        )?;
        writeln!(f, "  to      {} ({})", self.server, self.version)?;
        for database in &self.databases {
            let what = match database.tables.as_slice() {
                [only] => format!("table {only}"),
                tables => counted(tables.len() as u64, "table"),
            };
            write!(f, "  loads   {}", database.from)?;
            if database.from != database.to {
                write!(f, " as {}", database.to)?;
            }
            writeln!(
                f,
                ": {what}, {}, {}",
                counted(database.rows, "row"),
                Size(database.bytes).human()
            )?;
            if let Some(aside) = &database.aside {
                writeln!(
                    f,
                    "  keeps   {} of {} as {aside}",
                    counted(database.old_tables as u64, "table"),
                    database.to
                )?;
            }
        }
        if self.users > 0 {
            writeln!(f, "  makes   users and rights that are not there")?;
        }
        if !self.stop.is_empty() {
            writeln!(f, "  stops   {} meanwhile", self.stop.join(", "))?;
        }
        for warning in &self.warnings {
            writeln!(f, "  note    {warning}")?;
        }
        Ok(())
    }
}

/// A plan that was made again with what is needed to act.
struct Act {
    server: Server,
    main: Connection,
    journal: Journal,
    layout: Layout,
    existing: Existing,
}

impl Backups {
    /// How to reach a server that is named on a command line: the one of another backup of the config,
    /// a socket, or a host with or without a port. What is not said is as for this backup; `None` if
    /// nothing is.
    pub fn server_at(
        &self,
        backup: &str,
        server: Option<&str>,
        user: Option<&str>,
        password: Option<&Path>,
    ) -> Result<Option<Options>, Error> {
        if server.is_none() && user.is_none() && password.is_none() {
            return Ok(None);
        }
        let attempt = format!("find the server for backup `{backup}`");
        let of = |name: &str| match self.config.backup(name).map(|backup| &backup.source) {
            Some(SourceConfig::Mysql(config)) => {
                Some(Mysql::new(config, self.resolver()).map(|source| source.options().clone()))
            }
            _ => None,
        };
        let known = of(backup).transpose()?;
        let mut options = match (server, known) {
            (Some(server), known) => match (of(server), known, user) {
                (Some(options), ..) => options?,
                (None, Some(known), _) => Options {
                    endpoint: endpoint(server),
                    ..known
                },
                (None, None, Some(user)) => Options::new(endpoint(server), user),
                (None, None, None) => {
                    return Err(Error::new(
                        ErrorKind::UnknownBackup,
                        attempt,
                        "it is not said as which user",
                    )
                    .with_help("name one with --user"));
                }
            },
            (None, Some(known)) => known,
            (None, None) => {
                return Err(Error::new(
                    ErrorKind::UnknownBackup,
                    attempt,
                    "the config does not say where the server is",
                )
                .with_help("name one with --server"));
            }
        };
        if let Some(user) = user {
            user.clone_into(&mut options.user);
            if password.is_none() {
                options.password = Secret::new("");
            }
        }
        if let Some(path) = password {
            let kept = Credential::Reference(SecretRef::File(path.to_owned()));
            options.password = kept.read("password", self.resolver()).map_err(|error| {
                Error::new(ErrorKind::Secret, &attempt, error.to_string()).with_help(error.help())
            })?;
        }
        Ok(Some(options))
    }

    /// Says what a restore into a server would do, without doing anything.
    pub fn plan_server(
        &self,
        request: &ServerRequest,
        progress: &Arc<dyn Progress>,
    ) -> Result<ServerPlan, Error> {
        let located = self.find(
            &request.backup,
            &request.snapshot,
            request.repository.as_deref(),
            progress,
        )?;
        let attempt = format!("restore backup `{}` into a server", request.backup);
        if located.snapshot.facts.kind != "mysql" {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                "the snapshot is not of a server of MySQL or MariaDB",
            )
            .with_help("restore it without --server, --database and --table"));
        }
        if located.snapshot.facts.physical.is_some() {
            return Err(Error::new(
                ErrorKind::UnknownSnapshot,
                attempt,
                "the snapshot has the files of a server (engine `mariadb-backup`), which come back whole or not at all",
            )
            .with_help(physical::INSTEAD));
        }
        let configured = match self.config.backup(&request.backup).map(|b| &b.source) {
            Some(SourceConfig::Mysql(config)) => Some(config),
            _ => None,
        };
        let options = match (&request.server, configured) {
            (Some(options), _) => options.clone(),
            (None, Some(config)) => Mysql::new(config, self.resolver())?.options().clone(),
            (None, None) => {
                return Err(Error::new(
                    ErrorKind::UnknownBackup,
                    attempt,
                    "the config does not say where the server is",
                )
                .with_help("name one with --server"));
            }
        };
        let connections = request
            .connections
            .or(configured.map(|config| config.connections))
            .unwrap_or(2);
        let opened = self.repository(&located.repository)?.open(progress)?;
        let manifest = read_manifest(opened.as_ref(), &located.snapshot, &attempt)?;
        let server = Server::new(&options, request.binlog, &request.backup);
        let mut main = server.connect()?;
        let existing = Existing::look(&server, &mut main)?;
        refuse_server(&server, &existing, &manifest)?;
        let state = state_name(&located.snapshot.id, &request.pick);
        let noted = Journal::new(&state).read(&server, &mut main, BEGUN)?;
        let resumed: Option<Begun> = noted.and_then(|noted| serde_json::from_str(&noted).ok());
        let resumes = resumed.is_some();
        let begun = resumed.unwrap_or_else(|| Begun {
            now: self.clock.now(),
            set_aside: request.set_aside,
            databases: existing.databases.clone(),
            folds: existing.folds,
        });
        let layout = arrange(&manifest, &request.pick, state, &begun)
            .map_err(|refusal| refused(&server, refusal))?;
        if !resumes {
            stays(&server, &mut main, &layout)?;
        }
        let mut plan = ServerPlan {
            backup: request.backup.clone(),
            server: options.endpoint.to_string(),
            version: existing.version.clone(),
            databases: planned(&layout),
            users: layout.users.len(),
            resumes,
            stop: self
                .config
                .backup(&request.backup)
                .filter(|_| configured.is_some_and(|config| config.endpoint == options.endpoint))
                .map(|backup| {
                    backup
                        .restore_stop
                        .iter()
                        .map(|name| name.value.clone())
                        .collect()
                })
                .unwrap_or_default(),
            warnings: layout
                .left_out
                .iter()
                .map(|what| format!("left out: {what}"))
                .collect(),
            request: request.clone(),
            options,
            connections,
            begun,
            manifest,
            from: located,
        };
        warn(&mut plan, &existing, &layout);
        Ok(plan)
    }

    /// Does what the plan says. The programs in [`ServerPlan::stop`] must have been stopped.
    ///
    /// On an error nothing that was live is changed, unless the error says so; the same request goes on
    /// where this one was.
    pub fn restore_server(
        &self,
        plan: &ServerPlan,
        progress: &Arc<dyn Progress>,
    ) -> Result<ServerReport, Error> {
        let attempt = format!("restore backup `{}` into a server", plan.backup);
        let _lock = self.lock(&backup_lock(&plan.backup), &attempt, progress)?;
        self.load_server(plan, progress)
    }

    /// The same beside whatever else is done with the backup: into a server that nobody else has.
    pub(crate) fn load_server(
        &self,
        plan: &ServerPlan,
        progress: &Arc<dyn Progress>,
    ) -> Result<ServerReport, Error> {
        let started = self.clock.monotonic();
        let opened = self.repository(&plan.from.repository)?.open(progress)?;
        let mut act = begin(plan)?;
        let opens = !act.existing.local;
        if opens {
            act.server.run(
                &mut act.main,
                "allow rows from clients",
                "SET GLOBAL local_infile = 1",
            )?;
        }
        let done = act_on(plan, &mut act, opened.as_ref(), progress);
        if opens {
            // Another connection: that one may be broken.
            let closed = act.server.connect().and_then(|mut other| {
                act.server
                    .run(&mut other, "forbid it again", "SET GLOBAL local_infile = 0")
            });
            if let Err(error) = closed {
                progress.message(&format!("local_infile is still allowed: {error}"));
            }
        }
        done.map(|mut report| {
            report.took = self.clock.monotonic().saturating_sub(started);
            report
        })
    }
}

/// Does everything that is still to do.
fn act_on(
    plan: &ServerPlan,
    act: &mut Act,
    opened: &dyn OpenRepository,
    progress: &Arc<dyn Progress>,
) -> Result<ServerReport, Error> {
    let Act {
        server,
        main,
        journal,
        layout,
        existing,
    } = act;
    let after = server
        .clone()
        .advising("the tables are in their places; the same command makes the rest");
    let mut finish = Finish {
        server,
        journal,
        layout,
        existing,
        progress,
        issues: Vec::new(),
    };
    for left_out in &layout.left_out {
        finish.issues.push(Issue {
            weight: Weight::Warning,
            path: plan.server.clone().into(),
            what: format!("left out: {left_out}"),
        });
    }
    let mut checked = format!(
        "rows and digests of {} as stored, every row taken as it was sent",
        counted(layout.tables.len() as u64, "table")
    );
    if !finish.is_swapped(main)? {
        finish.prepare(main)?;
        let loader = Loader {
            server,
            journal,
            layout,
            connections: plan.connections,
            progress,
        };
        loader.run(opened, &plan.from.snapshot, main)?;
        if plan.request.check {
            read_back(plan, server, layout, progress)?;
            checked = format!(
                "{} read back from the server, with the rows and digests that were stored",
                counted(layout.tables.len() as u64, "table")
            );
        }
        if progress.cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                &server.attempt,
                "the caller asked to stop",
            )
            .with_help(&server.advice));
        }
        if let Err(error) = finish.tables_in(main) {
            if main.is_ready() {
                return Err(error);
            }
            // The connection may be what failed, and that before the server said that it has done it.
            let again = server.connect().and_then(|mut fresh| {
                journal.lock(server, &mut fresh)?;
                Ok(finish.is_swapped(&mut fresh)?.then_some(fresh))
            });
            match again {
                Ok(Some(fresh)) => *main = fresh,
                _ => return Err(error),
            }
        }
    }
    finish.server = &after;
    finish.rest(main)?;
    Ok(ServerReport {
        server: plan.server.clone(),
        tables: layout.tables.len() as u64,
        rows: plan.rows(),
        bytes: plan.bytes(),
        checked,
        set_aside: layout
            .databases
            .iter()
            .filter_map(|database| Some((database.to.clone(), database.aside.clone()?)))
            .collect(),
        issues: finish.issues,
        took: Duration::ZERO,
    })
}

/// Adds what to consider before saying yes.
fn warn(plan: &mut ServerPlan, existing: &Existing, layout: &Layout) {
    let planned_bytes = plan.bytes();
    let warnings = &mut plan.warnings;
    let snapshot = &plan.from.snapshot;
    if !snapshot.complete {
        warnings.push(
            "the snapshot is incomplete: something could not be read when it was made".to_owned(),
        );
    }
    let then = Version::parse(&plan.manifest.server);
    let now = &existing.version;
    if (now.number.0, now.number.1) < (then.number.0, then.number.1) {
        warnings.push(format!(
            "the server is {now}, older than {then} of the snapshot: what it does not know ends the restore before anything is put into place"
        ));
    }
    if !existing.local {
        warnings.push(
            "it takes no rows from clients (local_infile): that is allowed while it is loaded"
                .to_owned(),
        );
    }
    // With keys and what a server needs besides, a table is larger than its rows as text.
    let needed = planned_bytes.saturating_mul(3) / 2;
    if let Some(free) = existing.free.filter(|free| *free < needed) {
        warnings.push(format!(
            "CAREFUL: {} are free where it keeps its data, and it may take {}",
            Size(free).human(),
            Size(needed).human()
        ));
    }
    if existing.read_only {
        warnings.push("the server is read-only: is it a replica?".to_owned());
    }
    if existing.logs && existing.silent && !plan.request.binlog {
        warnings.push(match existing.replicas {
            0 => "it does not go into the binary log (--binlog writes it there)".to_owned(),
            replicas => format!(
                "CAREFUL: {} attached, and will not get it: --binlog writes it into the binary log",
                match replicas {
                    1 => "1 replica is".to_owned(),
                    more => format!("{more} replicas are"),
                }
            ),
        });
    }
    if existing.logs && !existing.silent && !plan.request.binlog {
        warnings.push(
            "it goes into the binary log and to replicas: the user may not keep it out".to_owned(),
        );
    }
    let unfinished = existing.databases.keys().filter(|database| {
        mainstay_state(database) && !database.starts_with(layout.state.as_str())
    });
    for database in unfinished {
        warnings.push(format!(
            "`{database}` is of another restore that was not finished: the same command as then goes on with it, DROP DATABASE gives it up"
        ));
    }
}

/// Whether a database is one of ours for a restore under way, and not one of its tables.
fn mainstay_state(database: &str) -> bool {
    database
        .strip_prefix(crate::source::mysql::SCRATCH)
        .is_some_and(|rest| !rest.contains('_'))
}

/// Takes the server for this restore, and notes what it is.
fn begin(plan: &ServerPlan) -> Result<Act, Error> {
    let server = Server::new(&plan.options, plan.request.binlog, &plan.backup);
    let mut main = server.connect()?;
    let state = state_name(&plan.from.snapshot.id, &plan.request.pick);
    let journal = Journal::new(&state);
    journal.lock(&server, &mut main)?;
    let existing = Existing::look(&server, &mut main)?;
    // What is there may be another than when it was planned.
    let noted: Option<Begun> = journal
        .read(&server, &mut main, BEGUN)?
        .and_then(|noted| serde_json::from_str(&noted).ok());
    let begun = noted.clone().unwrap_or_else(|| Begun {
        databases: existing.databases.clone(),
        ..plan.begun.clone()
    });
    let layout = arrange(&plan.manifest, &plan.request.pick, state.clone(), &begun)
        .map_err(|refusal| refused(&server, refusal))?;
    if noted.is_none() {
        stays(&server, &mut main, &layout)?;
        journal.create(&server, &mut main)?;
        let text = serde_json::to_string(&begun.only(&layout)).unwrap_or_default();
        journal.note(&server, &mut main, BEGUN, &text)?;
    }
    let server = server.advising(format!(
        "what is live was not changed; the same command goes on where it was, DROP DATABASE {} and those that begin with it gives it up",
        name(&state)
    ));
    Ok(Act {
        server,
        main,
        journal,
        layout,
        existing,
    })
}

/// A socket, or a host with or without a port.
fn endpoint(text: &str) -> Endpoint {
    if text.starts_with('/') {
        return Endpoint::Unix(text.into());
    }
    let (host, port) = match text.rsplit_once(':') {
        // An address of IPv6 has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (text, None),
    };
    Endpoint::Tcp {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: port.unwrap_or(3306),
    }
}

fn planned(layout: &Layout) -> Vec<PlannedDatabase> {
    layout
        .databases
        .iter()
        .enumerate()
        .map(|(number, database)| {
            let tables: Vec<&plan::Table> = layout
                .tables
                .iter()
                .filter(|table| table.database == number)
                .collect();
            PlannedDatabase {
                from: database.from.clone(),
                to: database.to.clone(),
                rows: tables.iter().map(|table| table.stored.rows).sum(),
                bytes: tables.iter().map(|table| table.stored.bytes).sum(),
                tables: tables.iter().map(|table| table.to.clone()).collect(),
                aside: database.aside.clone(),
                old_tables: database.old.len(),
            }
        })
        .collect()
}

/// That no table that stays has a foreign key to one that is set aside.
fn stays(server: &Server, main: &mut Connection, layout: &Layout) -> Result<(), Error> {
    if layout
        .databases
        .iter()
        .all(|database| database.old.is_empty())
    {
        return Ok(());
    }
    let references = Existing::references(server, main)?;
    refuse_references(layout, &references).map_err(|refusal| refused(server, refusal))
}

fn refused(server: &Server, refusal: Refusal) -> Error {
    let (kind, why, help) = match refusal {
        Refusal::Unknown(why, help) => (ErrorKind::UnknownSnapshot, why, help),
        Refusal::InTheWay(why, help) => (ErrorKind::TargetNotEmpty, why, help),
        Refusal::Folds(why, help) => (ErrorKind::Server, why, help),
    };
    Error::new(kind, &server.attempt, why).with_help(help)
}

/// Refuses what cannot go well on this server.
fn refuse_server(server: &Server, existing: &Existing, manifest: &Manifest) -> Result<(), Error> {
    let then = Version::parse(&manifest.server);
    if existing.version.flavour != then.flavour {
        return Err(Error::new(
            ErrorKind::Server,
            &server.attempt,
            format!(
                "the snapshot is of {then}, and the server is {}: neither takes the other's definitions and users",
                existing.version
            ),
        )
        .with_help("restore into a server of the same kind; the rows alone can be had with --to DIR, and loaded by LOAD DATA"));
    }
    existing.check_packet().map_err(|(why, help)| {
        Error::new(ErrorKind::Server, &server.attempt, why)
            .with_help(format!("{help}; nothing was changed"))
    })
}

/// Reads the manifest of a snapshot.
fn read_manifest(
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    attempt: &str,
) -> Result<Manifest, Error> {
    let mut bytes = Vec::new();
    opened.walk(
        snapshot,
        &snapshot.path.join(MANIFEST),
        &mut |visit| match visit {
            Visit::Item(_, content) => content.write_to(&mut bytes),
            _ => Ok(()),
        },
    )?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(
            ErrorKind::Damaged,
            attempt,
            format!(
                "{MANIFEST} of snapshot {} cannot be read: {error}",
                snapshot.short_id()
            ),
        )
        .with_help("restore an older snapshot (`mainstay backup list`)")
    })
}

/// Reads all rows back, and compares them with what was stored.
fn read_back(
    plan: &ServerPlan,
    server: &Server,
    layout: &Layout,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    let databases: Vec<String> = layout
        .databases
        .iter()
        .map(|database| database.beside.clone())
        .collect();
    progress.begin("Reading it back", Some(plan.bytes()));
    let found = tallies(&plan.options, &databases, plan.connections, progress)
        .map_err(|error| server.error("read it back", error))?;
    progress.finish();
    for table in &layout.tables {
        let beside = layout
            .databases
            .get(table.database)
            .map_or("", |database| database.beside.as_str());
        let tally = found
            .get(&(beside.to_owned(), table.to.clone()))
            .copied()
            .unwrap_or_default();
        let stored = &table.stored;
        if tally.rows != stored.rows || tally.digest() != stored.digest {
            return Err(Error::new(
                ErrorKind::Server,
                &server.attempt,
                format!(
                    "table {} on the server has {}, and they are not the {} that were stored",
                    layout.place(table),
                    counted(tally.rows, "row"),
                    stored.rows
                ),
            )
            .with_help(&server.advice));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_socket_or_host() {
        let tcp = |host: &str, port| Endpoint::Tcp {
            host: host.to_owned(),
            port,
        };
        for (text, expected) in [
            ("/run/s", Endpoint::Unix("/run/s".into())),
            ("db1", tcp("db1", 3306)),
            ("db1:3307", tcp("db1", 3307)),
            ("[::1]:3307", tcp("::1", 3307)),
            ("::1", tcp("::1", 3306)),
        ] {
            assert_eq!(endpoint(text), expected, "{text}");
        }
    }

    #[test]
    fn databases_of_restores_are_told_from_their_parts() {
        for (name, is) in [
            ("mainstay_restore_0a1b2c3d", true),
            ("mainstay_restore_0a1b2c3d_0", false),
            ("shop", false),
        ] {
            assert_eq!(mainstay_state(name), is, "{name}");
        }
    }
}

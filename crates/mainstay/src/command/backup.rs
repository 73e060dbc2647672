//! `mainstay backup …`: works without the daemon, because the hour of a restore is the hour in which
//! nothing runs.

mod check;
mod drill;
mod expire;
mod export;
mod import;
mod report;
mod restore;
mod server;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_backup::{
    BackupStatus, Backups, Depth, Error, ErrorKind, Outcome, Progress, RunReport, Selector,
    Shrunken,
};
use mainstay_base::{Size, SystemClock, counted};
use mainstay_control::wire;
use serde_json::json;

use report::{item_kind, located_document, run_document};
use restore::Wanted;

use crate::cli::{Backup, Cli};
use crate::command;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Shown, Style};
use crate::render::{self, Tone, ago, plain};

/// Set by SIGINT and SIGTERM: the work under way ends at the next good moment.
static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Set while a person is asked: then a signal is the answer no.
static ASKING: AtomicBool = AtomicBool::new(false);

/// What the engine refused, as the end of a command.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::UnknownBackup
            | ErrorKind::UnknownRepository
            | ErrorKind::UnknownSnapshot => Exit::UnknownName,
            ErrorKind::Locked => Exit::Locked,
            ErrorKind::Internal => Exit::Bug,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string()).help_if(error.help())
    }
}

/// The engine over a config.
fn open(config: &Config) -> Result<Backups, Failure> {
    Ok(Backups::new(
        config.backup.clone(),
        config.host.state.join("backup"),
        config.resolver.clone(),
        Arc::new(SystemClock::new()),
    )?)
}

/// The state of every backup, as a status shows it.
pub(crate) fn statuses(config: &Config) -> Result<Vec<wire::BackupStatus>, Failure> {
    if config.backup.backups.is_empty() {
        return Ok(Vec::new());
    }
    let kinds = |name: &str| {
        config
            .backup
            .backup(name)
            .map_or("", |backup| backup.source.kind())
    };
    Ok(open(config)?
        .status()?
        .into_iter()
        .map(|status| {
            let (usual_bytes, drill_error) = (status.usual_bytes(), drill_error(&status));
            wire::BackupStatus {
                source: kinds(&status.name).to_owned(),
                last_good_bytes: status
                    .repositories
                    .iter()
                    .filter_map(|repository| repository.last_good.as_ref())
                    .find(|run| Some(run.started) == status.last_good)
                    .and_then(|run| run.bytes),
                repositories: status
                    .repositories
                    .into_iter()
                    .map(|r| r.repository)
                    .collect(),
                last_good: status.last_good,
                last_outcome: status.last_outcome.map(|outcome| match outcome {
                    Outcome::Ok => wire::BackupOutcome::Good,
                    Outcome::Partial => wire::BackupOutcome::Partly,
                    Outcome::Failed => wire::BackupOutcome::Failed,
                }),
                last_error: status.last_error,
                failing_since: status.failing_since,
                next_due: config.backup.backup(&status.name).and_then(|backup| {
                    // While it runs, the time it was due has come.
                    if status.running {
                        backup.due_after(Timestamp::now())
                    } else {
                        status.next_due
                    }
                }),
                overdue: status.overdue,
                running: status.running,
                snapshots: None,
                usual_bytes,
                shrunken: status.shrunken.map(shrunken),
                unproven: status.unproven,
                drill_error,
                proven: status.proven.map(|drill| wire::ProvenRestore {
                    at: drill.finished,
                    milliseconds: u64::try_from(drill.restore.as_millis()).unwrap_or(u64::MAX),
                    snapshot: drill.snapshot,
                    taken: drill.taken,
                }),
                next_drill: status.next_drill,
                drilling: status.drilling,
                sizes: status.sizes,
                name: status.name,
            }
        })
        .collect())
}

/// Why the last drill proved nothing, if it did not.
fn drill_error(status: &mainstay_backup::BackupStatus) -> Option<String> {
    let drill = status.last_drill.as_ref()?;
    (status.drill_failed()).then(|| {
        drill
            .error
            .clone()
            .unwrap_or_else(|| "no reason is known".to_owned())
    })
}

/// How much less there is, in words.
fn shrunken(shrunken: Shrunken) -> String {
    let human = |number: u64| {
        if shrunken.rows {
            counted(number, "row")
        } else {
            Size(number).human()
        }
    };
    format!(
        "{}, and usually {}",
        human(shrunken.now),
        human(shrunken.usual)
    )
}

/// Finishes or takes back restores that were cut off half way; says what was done.
pub(crate) fn recover(config: &Config) -> Result<Vec<String>, Failure> {
    if config.backup.backups.is_empty() {
        return Ok(Vec::new());
    }
    Ok(open(config)?.recover()?)
}

/// A backup, when it last began, and when it was last drilled.
pub(crate) type LastBegun = (String, Option<Timestamp>, Option<Timestamp>);

/// When each backup and its drill last began.
pub(crate) fn last_begun(config: &Config) -> Result<Vec<LastBegun>, Failure> {
    if config.backup.backups.is_empty() {
        return Ok(Vec::new());
    }
    let of = |status: BackupStatus| {
        let drilled = status.last_drill.map(|drill| drill.started);
        (status.name, status.last_run, drilled)
    };
    Ok(open(config)?.status()?.into_iter().map(of).collect())
}

/// One invocation: the engine, the config and how to talk.
struct Session<'a> {
    cli: &'a Cli,
    output: &'a Output,
    config: Config,
    backups: Backups,
    progress: Arc<dyn Progress>,
}

/// Does what `mainstay backup` was asked.
pub(crate) fn run(cli: &Cli, output: &Output, command: &Backup) -> Result<Exit, Failure> {
    let config = command::load(cli, output)?;
    let mut backups = open(&config)?;
    if let Backup::Run {
        wait: Some(wait), ..
    }
    | Backup::Drill {
        wait: Some(wait), ..
    } = command
    {
        backups = backups.with_patience(*wait);
    }
    let style = Style::choose(output.json, output.quiet);
    let progress: Arc<dyn Progress> = Arc::new(Shown::new(style, &CANCELLED));
    watch_signals();
    let session = Session {
        cli,
        output,
        config,
        backups,
        progress,
    };
    match command {
        Backup::Init { repository } => session.init(repository.as_deref()),
        Backup::Run { names, .. } => session.run(names),
        Backup::List { name, repository } => session.list(name.as_deref(), repository.as_deref()),
        Backup::Show {
            name,
            snapshot,
            repository,
        } => session.show(name, snapshot, repository.as_deref()),
        Backup::Restore {
            name,
            snapshot,
            to,
            repository,
            dry_run,
            yes,
            server,
        } => session.restore(&Wanted {
            name,
            snapshot,
            to: to.as_deref(),
            repository: repository.as_deref(),
            dry_run: *dry_run,
            yes: *yes,
            server,
        }),
        Backup::Check { names } => session.check(names),
        Backup::Export {
            name,
            to,
            format,
            snapshot,
            databases,
            repository,
        } => session.export(&export::Wanted {
            name,
            to,
            format: *format,
            snapshot,
            databases,
            repository: repository.as_deref(),
        }),
        Backup::Import {
            files,
            into,
            database,
            over,
            login,
            dry_run,
        } => session.import(&import::Wanted {
            files,
            into: into.as_deref(),
            database: database.as_deref(),
            over,
            login,
            dry_run: *dry_run,
        }),
        Backup::Copy {
            name,
            snapshot,
            from,
            to,
        } => session.copy(name, snapshot.as_deref(), from, to),
        Backup::Expire {
            name,
            repository,
            dry_run,
            why,
        } => session.expire(name, repository.as_deref(), *dry_run, *why),
        Backup::Keep(pin) => session.pin(pin, true),
        Backup::Unkeep(pin) => session.pin(pin, false),
        Backup::Verify { names, read_data } => session.verify(names, *read_data),
        Backup::Drill {
            names,
            snapshot,
            repository,
            show,
            public_key,
            ..
        } => match (public_key, show) {
            (true, _) => session.drill_key(),
            (false, true) => session.drill_show(names),
            (false, false) => session.drill(names, snapshot, repository.as_deref()),
        },
    }
}

/// Lets Ctrl-C end a run in order: what was begun is taken back, locks and staging are removed.
fn watch_signals() {
    let watch = || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut int, mut term) = (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            );
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            CANCELLED.store(true, Ordering::SeqCst);
            if ASKING.load(Ordering::SeqCst) {
                // Nothing was begun; the thread that reads the answer can't be woken.
                let _ = writeln!(std::io::stderr(), "\nnothing was restored");
                std::process::exit(Exit::Failed as i32);
            }
            // The second time nobody wants to wait any more.
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            std::process::exit(Exit::Failed as i32);
        })
    };
    // Without the thread a signal ends the process at once; the next run tidies up after it.
    let _ = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch);
}

impl Session<'_> {
    fn zone(&self) -> TimeZone {
        self.config.host.zone.clone()
    }

    fn init(&self, repository: Option<&str>) -> Result<Exit, Failure> {
        let names: Vec<&str> = match repository {
            Some(name) => vec![name],
            None => self
                .config
                .backup
                .repositories
                .iter()
                .map(|r| r.name.as_str())
                .collect(),
        };
        if names.is_empty() {
            return Err(Failure::new(Exit::Usage, "the config names no repository")
                .help("add [repository.local] with a path and a password"));
        }
        let mut made = Vec::new();
        for name in names {
            match self.backups.init(name, &self.progress) {
                Ok(()) => made.push(name),
                // Asked for all: those that exist are as they should be.
                Err(error)
                    if repository.is_none() && error.kind() == ErrorKind::AlreadyInitialised => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.output.json {
            self.output
                .document(&json!({ "schema": 1, "initialised": made }));
        } else {
            for name in &made {
                self.output.say(&format!("repository {name} is ready; keep its password somewhere else too: without it nothing can be restored"));
            }
            if made.is_empty() {
                self.output.say("every repository exists already");
            }
        }
        Ok(Exit::Done)
    }

    /// The backups that are meant, checked before any of them is run.
    fn names(&self, names: &[String]) -> Result<Vec<String>, Failure> {
        let known: Vec<&str> = self
            .config
            .backup
            .backups
            .iter()
            .map(|b| b.name.as_str())
            .collect();
        for name in names {
            if !known.contains(&name.as_str()) {
                return Err(Failure::unknown_name("backup", name, &known, ""));
            }
        }
        if !names.is_empty() {
            return Ok(names.to_vec());
        }
        if known.is_empty() {
            return Err(Failure::new(Exit::Usage, "the config names no backup")
                .help("add [backup.files] with `files = { path = \"…\" }` and `to = [\"…\"]`"));
        }
        Ok(known.into_iter().map(str::to_owned).collect())
    }

    fn run(&self, names: &[String]) -> Result<Exit, Failure> {
        let names = self.names(names)?;
        let mut reports = Vec::new();
        let mut failures = Vec::new();
        for name in &names {
            match self.backups.run(name, &self.progress) {
                Ok(report) => {
                    self.tell(&report);
                    reports.push(report);
                }
                Err(error) => failures.push(Failure::from(error)),
            }
        }
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "runs": reports.iter().map(run_document).collect::<Vec<_>>(),
                "errors": failures.iter().map(|f| json!({ "message": f.message, "help": f.help })).collect::<Vec<_>>(),
            }));
        }
        let good = reports
            .iter()
            .filter(|report| report.outcome == Outcome::Ok)
            .count();
        let none = reports
            .iter()
            .all(|report| report.outcome == Outcome::Failed);
        for failure in &failures {
            self.output.failure_text(failure);
        }
        // One that was kept out everywhere is not one that was tried and failed.
        let kept_out = |report: &RunReport| {
            let locked = |error: &Error| error.kind() == ErrorKind::Locked;
            report
                .repositories
                .iter()
                .all(|run| run.error.as_ref().is_some_and(locked))
        };
        Ok(match (failures.as_slice(), reports.as_slice()) {
            ([only], []) => only.exit,
            ([], [only]) if kept_out(only) => Exit::Locked,
            _ if failures.is_empty() && good == reports.len() => Exit::Done,
            _ if good == 0 && none => Exit::Failed,
            _ => Exit::Partly,
        })
    }

    fn list(&self, name: Option<&str>, repository: Option<&str>) -> Result<Exit, Failure> {
        let listing = self.backups.list(name, repository, &self.progress)?;
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "backups": self.sources(name)?,
                "snapshots": listing.snapshots.iter().map(located_document).collect::<Vec<_>>(),
                "errors": listing.failed.iter().map(|(repository, error)| json!({
                    "repository": repository, "message": error.to_string(), "help": error.help(),
                })).collect::<Vec<_>>(),
            }));
        } else if listing.snapshots.is_empty() && listing.failed.is_empty() {
            self.output
                .say("there is no snapshot yet: mainstay backup run");
        } else if !listing.snapshots.is_empty() {
            let paint = self.output.paint(self.zone());
            let mut rows = vec![
                [
                    "SNAPSHOT",
                    "TAKEN",
                    "AGO",
                    "BACKUP",
                    "FILES",
                    "SIZE",
                    "REPOSITORY",
                    "HOST",
                ]
                .iter()
                .map(|head| ((*head).to_owned(), Some(Tone::Faint)))
                .collect::<Vec<_>>(),
            ];
            let now = Timestamp::now();
            for located in &listing.snapshots {
                let snapshot = &located.snapshot;
                let age = now.as_second().saturating_sub(snapshot.time.as_second());
                rows.push(vec![
                    (snapshot.short_id().to_owned(), Some(Tone::Strong)),
                    (paint.moment(snapshot.time), None),
                    (ago(u64::try_from(age).unwrap_or(0)), None),
                    (plain(&snapshot.backup), None),
                    (snapshot.files.to_string(), None),
                    (Size(snapshot.bytes).human(), None),
                    (
                        match (snapshot.complete, snapshot.pinned) {
                            (true, false) => located.repository.clone(),
                            (true, true) => format!("{} (pinned)", located.repository),
                            (false, false) => format!("{} (incomplete)", located.repository),
                            (false, true) => format!("{} (incomplete, pinned)", located.repository),
                        },
                        (!snapshot.complete).then_some(Tone::Bad),
                    ),
                    (
                        plain(&snapshot.host),
                        (snapshot.host != self.config.host.name).then_some(Tone::Busy),
                    ),
                ]);
            }
            self.output.print(&render::table(&rows, &paint));
            let sources = self.sources(name)?;
            if !sources.is_empty() {
                let text = render::backups(&sources, now, &paint);
                self.output.print(&format!("\n{text}"));
            }
        }
        for (repository, error) in &listing.failed {
            let message = format!("{repository}: {error}");
            self.output
                .failure_text(&Failure::new(Exit::Failed, message).help_if(error.help()));
        }
        Ok(
            match (listing.failed.is_empty(), listing.snapshots.is_empty()) {
                (true, _) => Exit::Done,
                (false, true) => Exit::Failed,
                (false, false) => Exit::Partly,
            },
        )
    }

    /// How the backups of the config are, or this one.
    fn sources(&self, name: Option<&str>) -> Result<Vec<wire::BackupStatus>, Failure> {
        let mut statuses = statuses(&self.config)?;
        statuses.retain(|status| name.is_none_or(|name| status.name == name));
        Ok(statuses)
    }

    fn show(&self, name: &str, snapshot: &str, repository: Option<&str>) -> Result<Exit, Failure> {
        let (located, items) =
            self.backups
                .show(name, &Selector::from(snapshot), repository, &self.progress)?;
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "snapshot": located_document(&located),
                "items": items.iter().map(|item| json!({
                    "path": item.path.to_string_lossy(),
                    "kind": item_kind(item),
                    "size": item.meta.size,
                    "mode": format!("{:04o}", item.meta.mode & 0o7777),
                    "modified": item.meta.mtime.to_string(),
                })).collect::<Vec<_>>(),
            }));
        } else {
            let paint = self.output.paint(self.zone());
            let snapshot = &located.snapshot;
            self.output.print(&format!(
                "snapshot {} of {} in {}, taken {} on {}\n{}, {}, from {}\n\n",
                snapshot.short_id(),
                plain(&snapshot.backup),
                located.repository,
                paint.moment(snapshot.time),
                plain(&snapshot.host),
                counted(snapshot.files, "file"),
                Size(snapshot.bytes).human(),
                plain(&snapshot.path.to_string_lossy())
            ));
            if let Some(redis) = &snapshot.facts.redis {
                let servers: Vec<String> = redis.to_string().lines().map(plain).collect();
                self.output.print(&format!("{}\n\n", servers.join("\n")));
            }
            if let Some(server) = &snapshot.facts.server {
                let files = snapshot.facts.physical.as_ref();
                let lines = [Some(server.to_string()), files.map(ToString::to_string)];
                let lines: Vec<String> = lines.iter().flatten().map(|line| plain(line)).collect();
                self.output.print(&format!("{}\n\n", lines.join("\n")));
            }
            let rows: Vec<_> = items
                .iter()
                .filter(|item| !item.path.as_os_str().is_empty())
                .map(|item| {
                    let modified = paint.moment(item.meta.mtime);
                    let mut path = plain(&item.path.to_string_lossy());
                    match &item.kind {
                        mainstay_backup::ItemKind::Directory => path.push('/'),
                        mainstay_backup::ItemKind::Symlink(target) => {
                            path.push_str(" -> ");
                            path.push_str(&plain(&target.to_string_lossy()));
                        }
                        _ => {}
                    }
                    vec![
                        (modified, Some(Tone::Faint)),
                        (Size(item.meta.size).human(), None),
                        (path, None),
                    ]
                })
                .collect();
            self.output.print(&render::table(&rows, &paint));
        }
        Ok(Exit::Done)
    }

    fn verify(&self, names: &[String], read_data: bool) -> Result<Exit, Failure> {
        let names = self.names(names)?;
        let depth = if read_data {
            Depth::All
        } else {
            Depth::Structure
        };
        let report = self.backups.verify(&names, depth, &self.progress)?;
        for repository in &report.repositories {
            self.tell_verified(repository, depth);
        }
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "sound": report.is_sound(),
                "repositories": report.repositories.iter().map(|repository| json!({
                    "repository": repository.repository,
                    "error": repository.error.as_ref().map(ToString::to_string),
                    "findings": repository.findings.iter().map(|f| json!({ "damage": f.damage, "what": f.what })).collect::<Vec<_>>(),
                    "proofs": repository.proofs.iter().map(|proof| json!({
                        "backup": proof.backup,
                        "snapshot": proof.snapshot.id,
                        "failure": proof.failure.as_ref().map(ToString::to_string),
                    })).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
            }));
        }
        Ok(if report.is_sound() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

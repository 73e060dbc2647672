//! The daemon as the control API sees it: wire documents on one side, engines on the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_control::wire::{
    self, ActionDocument, ActionRequest, ActionResult, AlertsDocument, DaemonStatus, Desired,
    DiskStatus, DoneDocument, FaultDocument, FaultQuery, FaultReport, FaultsDocument,
    ForgetRequest, LogLevelRequest, LogPaths, LogQuery, LogSinkStatus, OrderOutcome, OrderRequest,
    OrderedDocument, OrdersDocument, ProcessStatus, RaiseRequest, ReportedDocument, SignalRequest,
    SilenceRequest, SilencedDocument, StatusDocument, TriedDocument, UnsilenceRequest,
    VersionDocument,
};
use mainstay_control::{
    Actor, Answer, AuditEntry, AuditOutcome, ByteStream, Bytes, Caller, Daemon, Error, Kind,
    Notice, Reports, Verb, Who,
};
use mainstay_log::{Level, LevelSet, LogFile, Logger, SinkStatus, Tail};
use mainstay_supervise::{Command, Did, Event, Exit, Phase, Refusal, Reply, Status, Supervisor};
use mainstay_supervisord::rpc::Supervision;
use mainstay_sys::{Signal, gauge};
use tokio::sync::{mpsc, watch};

use crate::alerting::{self, Bell, Desk, TIGHT};
use crate::command::logs::OWN;
use crate::config::Config;
use crate::daemon::End;
use crate::faults::Faults;
use crate::jobs::Job;
use crate::records;
use crate::render;
use crate::upgrade::{Invocation, Successor};

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);

/// What the API asks.
pub(crate) struct Facade {
    config: Arc<Config>,
    supervisor: Arc<Supervisor>,
    logger: Logger,
    started: Timestamp,
    origin: std::time::Instant,
    stop: watch::Sender<End>,
    upgrades: mpsc::Sender<Successor>,
    invocation: Invocation,
    told: Mutex<Told>,
    /// Where it is said what a person must know; none under supervisord's name.
    desk: Option<Arc<Desk>>,
    /// What is known of faults; none under supervisord's name.
    faults: Option<Arc<Faults>>,
    /// When it was looked last which processes there are.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// What events said that a status must show.
#[derive(Default)]
struct Told {
    /// Which process ids were taken over from an earlier daemon.
    adopted: BTreeMap<String, u32>,
    /// What is wrong with the output of which process.
    output: BTreeMap<String, String>,
    journal: Option<String>,
    /// What was wrong from the start.
    standing: Vec<String>,
    /// Backups that run in this moment, and their processes.
    jobs: Vec<(Job, Option<u32>)>,
    /// How many new binaries are being asked whether they can take over: processes of ours, too.
    asking: usize,
}

impl Facade {
    /// The daemon's own log.
    pub(crate) fn logger(&self) -> &Logger {
        &self.logger
    }

    pub(crate) fn new(
        config: Arc<Config>,
        supervisor: Arc<Supervisor>,
        logger: Logger,
        started: Timestamp,
        stop: watch::Sender<End>,
        upgrades: mpsc::Sender<Successor>,
        (desk, faults): (Option<Arc<Desk>>, Option<Arc<Faults>>),
    ) -> Self {
        Self {
            config,
            supervisor,
            logger,
            started,
            origin: std::time::Instant::now(),
            stop,
            upgrades,
            invocation: Invocation::current(),
            told: Mutex::default(),
            desk,
            faults,
            looked: tokio::sync::Mutex::default(),
        }
    }

    /// What is known of faults.
    pub(crate) fn faults(&self) -> Option<&Arc<Faults>> {
        self.faults.as_ref()
    }

    fn ledger(&self) -> Result<&Faults, Error> {
        self.faults.as_deref().ok_or_else(|| {
            Error::new(
                Kind::Failed,
                "this daemon keeps no faults, because it runs a config of supervisord",
            )
            .help("run it with a mainstay.toml to have them kept")
        })
    }

    /// Where it is said what a person must know.
    pub(crate) fn desk(&self) -> Option<&Arc<Desk>> {
        self.desk.as_ref()
    }

    /// Ends the alerts about processes that are not there any more, or are well.
    pub(crate) async fn reconcile(&self) {
        let Some(desk) = &self.desk else {
            return;
        };
        if let Ok(statuses) = self.statuses().await {
            desk.reconcile(&statuses);
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a status must show of an event.
    pub(crate) fn note(&self, event: &Event) {
        if let Some(desk) = &self.desk {
            desk.on_event(event);
        }
        if let Some(faults) = &self.faults {
            faults.on_event(event);
        }
        let mut told = self.told();
        match event {
            Event::Adopted { process, pid, .. } | Event::LeftOver { process, pid } => {
                told.adopted.insert(process.clone(), *pid);
            }
            Event::Output {
                process,
                level,
                text,
            } => {
                if *level >= mainstay_log::Level::Error {
                    told.output.insert(process.clone(), text.clone());
                } else {
                    told.output.remove(process);
                }
            }
            Event::JournalFailed { text } => told.journal = Some(text.clone()),
            Event::JournalRecovered => told.journal = None,
            _ => {}
        }
    }

    /// Something that every status of this daemon shows.
    pub(crate) fn warn(&self, text: String) {
        log::warn!("{text}");
        self.told().standing.push(text);
    }

    /// Says that something scheduled begins.
    pub(crate) fn job_begins(&self, job: &Job) {
        self.told().jobs.push((job.clone(), None));
    }

    /// Says which process it is.
    pub(crate) fn job_is(&self, job: &Job, pid: Option<u32>) {
        let mut told = self.told();
        for running in told.jobs.iter_mut().filter(|(other, _)| other == job) {
            running.1 = pid;
        }
    }

    /// Says that it has ended.
    pub(crate) fn job_ends(&self, job: &Job) {
        self.told().jobs.retain(|(other, _)| other != job);
    }

    /// Whether it is under way.
    pub(crate) fn runs(&self, job: &Job) -> bool {
        self.told().jobs.iter().any(|(other, _)| other == job)
    }

    /// Whether this is a process that somebody here waits for.
    pub(crate) fn knows(&self, pid: i32) -> bool {
        let pid = u32::try_from(pid).ok();
        let told = self.told();
        let mut jobs = told.jobs.iter();
        told.asking > 0 || jobs.any(|(_, job)| job.is_none() || *job == pid)
    }

    /// Looks whether the binary on disk can take over, and lets it.
    ///
    /// # Errors
    /// Why it cannot; everything goes on as before.
    pub(crate) async fn begin_upgrade(&self) -> Result<(), String> {
        if let Some((job, _)) = self.told().jobs.first() {
            return Err(format!(
                "{job} runs; upgrade when it has ended (mainstay status)"
            ));
        }
        self.told().asking += 1;
        let checked = self.invocation.check().await;
        self.told().asking -= 1;
        let successor = checked?;
        self.upgrades
            .try_send(successor)
            .map_err(|_| "an upgrade is under way already".to_owned())
    }

    /// Opens all log files anew.
    pub(crate) fn reopen(&self) {
        self.reopen_own();
        self.supervisor
            .request(Command::ReopenLogs, Box::new(|_| ()));
    }

    /// Opens the log files of the daemon itself anew.
    pub(crate) fn reopen_own(&self) {
        for error in self.logger.pipeline().reopen().err().into_iter().flatten() {
            log::error!("{error}");
        }
    }

    async fn ask(&self, command: Command) -> Result<Reply, Error> {
        Supervision::ask(&self.supervisor, command)
            .await
            .map_err(refusal)
    }

    async fn act(&self, verb: Verb, command: Command) -> Result<ActionDocument, Error> {
        match self.ask(command).await? {
            Reply::Done(outcomes) => Ok(ActionDocument::new(
                verb,
                outcomes.into_iter().map(|o| result(verb, o)).collect(),
            )),
            _ => Err(Error::new(
                Kind::Bug,
                format!("{verb} had an answer of another kind"),
            )),
        }
    }

    /// Does something with the alerts that may take its time.
    async fn with_bell<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bell) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(desk) = &self.desk else {
            return Err(Error::new(
                Kind::Failed,
                "this daemon has no alerts, because it runs a config of supervisord",
            )
            .help("run it with a mainstay.toml to have them"));
        };
        let bell = Arc::clone(desk.bell());
        tokio::task::spawn_blocking(move || work(&bell))
            .await
            .map_err(|error| Error::new(Kind::Bug, format!("the alerts did not answer: {error}")))?
    }

    async fn statuses(&self) -> Result<Vec<Status>, Error> {
        match self.ask(Command::Status { names: Vec::new() }).await? {
            Reply::Status(statuses) => Ok(statuses),
            _ => Err(Error::new(
                Kind::Bug,
                "status had an answer of another kind",
            )),
        }
    }

    async fn document(&self) -> Result<StatusDocument, Error> {
        let statuses = self.statuses().await?;
        let new_faults = match &self.faults {
            None => Ok(BTreeMap::new()),
            Some(faults) => faults.news().await,
        };
        let config = Arc::clone(&self.config);
        // The catalog is a database and /proc may be slow: not on this thread.
        let bell = self.desk.as_ref().map(|desk| Arc::clone(desk.bell()));
        let (backups, mut programs, disks, alerts) = tokio::task::spawn_blocking(move || {
            (
                crate::jobs::statuses(&config),
                statuses.into_iter().map(process).collect::<Vec<_>>(),
                disks(&config),
                bell.map(|bell| alerting::summary(&bell)),
            )
        })
        .await
        .map_err(|e| Error::new(Kind::Bug, format!("status could not be put together: {e}")))?;
        let told = self.told();
        let mut warnings = told.standing.clone();
        if *self.stop.borrow() != End::No {
            warnings.push("mainstay is shutting down".to_owned());
        }
        for program in &mut programs {
            program.adopted =
                program.pid.is_some() && told.adopted.get(&program.name) == program.pid.as_ref();
        }
        warnings.extend(
            told.output
                .iter()
                .map(|(process, text)| format!("output of {process}: {text}")),
        );
        warnings.extend(told.journal.iter().map(|text| {
            format!("{text}; until then a kill of mainstay could forget what was started since")
        }));
        let (mut backups, catalog) = match backups {
            Ok(backups) => (backups, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        warnings.extend(catalog);
        let alerts = match alerts {
            Some(Ok(summary)) => Some(summary),
            Some(Err(error)) => {
                warnings.push(error.message);
                None
            }
            None => None,
        };
        let new_faults = new_faults.unwrap_or_else(|error| {
            warnings.push(error.message);
            BTreeMap::new()
        });
        for backup in &mut backups {
            let job = Job::Backup(backup.name.clone());
            backup.running |= told.jobs.iter().any(|(other, _)| *other == job);
        }
        for disk in &disks {
            if disk.free < disk.total / 100 * TIGHT {
                warnings.push(format!("the disk of {} is nearly full", disk.path));
            }
        }
        let sinks = self.logger.pipeline().sinks();
        warnings.extend(sinks.iter().filter_map(losses));
        Ok(StatusDocument {
            schema: wire::SCHEMA,
            host: self.config.host.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon: DaemonStatus {
                pid: std::process::id(),
                started: self.started,
                uptime_seconds: self.origin.elapsed().as_secs(),
            },
            programs,
            backups,
            disks,
            alerts,
            new_faults,
            log: sinks.into_iter().map(log_sink).collect(),
            warnings,
        })
    }

    /// The file that the daemon's own records are in: the usual one, or where a config sends them to
    /// others only, the first of these.
    pub(crate) fn own_file(&self) -> LogFile {
        let usual = self.config.log.directory.join("mainstay.log");
        let mut files = self.logger.pipeline().files();
        let at = files.iter().position(|file| file.path == usual);
        if files.is_empty() {
            return usual.into();
        }
        files.swap_remove(at.unwrap_or(0))
    }

    /// The file behind a log query.
    async fn log_file(&self, query: &LogQuery) -> Result<LogFile, Error> {
        if query.name == OWN {
            return Ok(self.own_file());
        }
        let reply = self
            .ask(Command::Status {
                names: vec![query.name.clone()],
            })
            .await?;
        let Reply::Status(statuses) = reply else {
            return Err(Error::new(
                Kind::Bug,
                "status had an answer of another kind",
            ));
        };
        let [status] = statuses.as_slice() else {
            let names: Vec<String> = statuses.into_iter().map(|status| status.process).collect();
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "`{}` is {} processes, and a log is of one",
                    query.name,
                    names.len()
                ),
            )
            .help(format!("ask for one of: {}", names.join(", "))));
        };
        let path = match query.stream {
            wire::Stream::Stdout => &status.stdout_log,
            wire::Stream::Stderr => &status.stderr_log,
        };
        let path = path.clone().ok_or_else(|| {
            Error::new(
                Kind::Failed,
                format!(
                    "the {} of {} is not kept in a file",
                    query.stream.name(),
                    status.process
                ),
            )
            .help("see its `log` in the config")
        })?;
        Ok(path.into())
    }
}

/// What a person should know of a sink of the log.
fn losses(sink: &SinkStatus) -> Option<String> {
    let lost = || Level::ALL.iter().zip(sink.lost).filter(|(_, n)| *n > 0);
    let total: u64 = sink.lost.iter().sum();
    let levels: Vec<String> = lost().map(|(level, n)| format!("{level} {n}")).collect();
    (total > 0).then(|| {
        format!(
            "the log sink {} has lost {total} records since it was opened ({})",
            sink.name,
            levels.join(", ")
        )
    })
}

fn log_sink(sink: SinkStatus) -> LogSinkStatus {
    let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let lost = Level::ALL.iter().zip(sink.lost).filter(|(_, n)| *n > 0);
    LogSinkStatus {
        lost: lost
            .map(|(level, n)| (level.name().to_owned(), n))
            .collect(),
        delivered: sink.delivered,
        errors: sink.errors,
        waiting: bytes(sink.waiting),
        room: sink.room.map(bytes),
        name: sink.name,
    }
}

fn refusal(refusal: Refusal) -> Error {
    match refusal {
        Refusal::UnknownName { name, nearest } => {
            Error::new(Kind::UnknownName, format!("there is no program `{name}`")).help(
                match nearest {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => "`mainstay status` lists them".to_owned(),
                },
            )
        }
        Refusal::AlreadyThere | Refusal::StillRunning => {
            Error::new(Kind::Failed, refusal.to_string())
        }
        Refusal::ShuttingDown | Refusal::Gone => Error::new(Kind::TryLater, refusal.to_string()),
    }
}

/// The user of that number by name, where there is one.
fn user_name(uid: u32) -> String {
    match mainstay_sys::users::by_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

fn state(phase: Phase) -> wire::State {
    match phase {
        Phase::Stopped => wire::State::Stopped,
        Phase::Starting => wire::State::Starting,
        Phase::Running => wire::State::Running,
        Phase::Backoff => wire::State::Backoff,
        Phase::Stopping => wire::State::Stopping,
        Phase::Exited => wire::State::Exited,
        Phase::Fatal => wire::State::Fatal,
        Phase::Unknown => wire::State::Unknown,
    }
}

fn exit(exit: Exit) -> wire::Exit {
    match exit {
        Exit::Code(code) => wire::Exit::Code(code),
        Exit::Signal { number, core } => wire::Exit::Signal {
            number,
            name: Signal::new(number)
                .map_or_else(|| number.to_string(), |signal| signal.name().into_owned()),
            core,
        },
        Exit::Unknown => wire::Exit::Unknown(
            "it ended while mainstay was away, and this kernel does not tell how".to_owned(),
        ),
    }
}

fn process(status: Status) -> ProcessStatus {
    let mut process = ProcessStatus::new(status.process, status.program, state(status.phase));
    let gauge = status
        .pid
        .and_then(|pid| gauge::process(i32::try_from(pid).ok()?).ok());
    let shown = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
    process.description = match (status.phase, status.pid, status.uptime) {
        (Phase::Running, Some(pid), Some(uptime)) => {
            format!("pid {pid}, up {}", render::ago(uptime.as_secs()))
        }
        _ => status.trouble.clone().unwrap_or_default(),
    };
    let mut reasons = Vec::new();
    if status.phase != Phase::Running && status.phase != Phase::Stopped {
        reasons.extend(status.trouble);
    }
    if let Some(wait) = status.retry_in {
        reasons.push(format!(
            "tried again in {}",
            render::ago(wait.as_secs().max(1))
        ));
    }
    match (status.phase, status.decided) {
        (Phase::Stopped, Some(false)) => reasons.push("stopped by hand".to_owned()),
        (Phase::Stopped, None) if !status.autostart => reasons.push("autostart is off".to_owned()),
        _ => {}
    }
    if status.phase == Phase::Exited && reasons.is_empty() {
        reasons.extend(status.last_exit.map(|exit| exit.to_string()));
    }
    if status.outdated {
        reasons.push("runs with an older config; restart it to apply the new one".to_owned());
    }
    if status.left_over {
        reasons.push("no longer in the config; stop it when it is not needed".to_owned());
    }
    process.reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    process.group = Some(status.group);
    process.instance = status.instance;
    process.pid = status.pid;
    process.since = Some(status.since);
    process.uptime_seconds = status.uptime.map(|uptime| uptime.as_secs());
    process.restarts = u64::from(status.restarts);
    process.exit = status.last_exit.map(exit);
    process.rss_bytes = gauge.as_ref().map(|gauge| gauge.rss_bytes);
    process.cpu_seconds = gauge.as_ref().map(|gauge| gauge.cpu_time.as_secs_f64());
    process.desired = if status.wanted {
        Desired::Up
    } else {
        Desired::Down
    };
    process.logs = LogPaths {
        stdout: shown(status.stdout_log),
        stderr: shown(status.stderr_log),
    };
    process
}

fn result(verb: Verb, outcome: mainstay_supervise::Outcome) -> ActionResult {
    let (word, detail) = match outcome.result {
        Did::Asked => match verb {
            Verb::Start => (
                wire::Outcome::Started,
                Some("asked for, not waited for".to_owned()),
            ),
            Verb::Stop => (
                wire::Outcome::Stopped,
                Some("asked for, not waited for".to_owned()),
            ),
            _ => (
                wire::Outcome::Restarted,
                Some("asked for, not waited for".to_owned()),
            ),
        },
        Did::Started if verb == Verb::Restart => (wire::Outcome::Restarted, None),
        Did::Started => (wire::Outcome::Started, None),
        Did::Finished => (
            wire::Outcome::Started,
            Some("it has ended already, as expected".to_owned()),
        ),
        Did::AlreadyRunning => (wire::Outcome::AlreadyStarted, None),
        Did::Stopped => (wire::Outcome::Stopped, None),
        Did::NotRunning => (wire::Outcome::NotRunning, None),
        // Cleared and sent have commands of their own, and no verb here.
        Did::Signalled | Did::Cleared | Did::Sent => (wire::Outcome::Signalled, None),
        Did::Failed(why) | Did::SpawnFailed(why) | Did::NoFile(why) | Did::NotExecutable(why) => (
            wire::Outcome::Failed,
            Some(format!(
                "{why}; what it said: mainstay logs {}",
                outcome.process
            )),
        ),
    };
    let mut result = ActionResult::new(outcome.process, word);
    result.state = Some(state(outcome.phase));
    result.detail = detail;
    result
}

/// The file systems of the state, the logs and the repositories, each once.
pub(crate) fn disks(config: &Config) -> Vec<DiskStatus> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = Vec::new();
    let mut disks = Vec::new();
    let repositories = config
        .backup
        .repositories
        .iter()
        .filter_map(|repository| repository.place.path());
    let paths = [config.host.state.as_path(), config.log.directory.as_path()]
        .into_iter()
        .chain(repositories);
    for path in paths {
        // A repository may not exist yet; its disk does.
        let Some((path, metadata)) = path
            .ancestors()
            .find_map(|path| Some((path, std::fs::metadata(path).ok()?)))
        else {
            continue;
        };
        if seen.contains(&metadata.dev()) {
            continue;
        }
        seen.push(metadata.dev());
        if let Ok(disk) = gauge::disk(path) {
            disks.push(DiskStatus {
                path: path.display().to_string(),
                total: disk.total,
                free: disk.free,
            });
        }
    }
    disks
}

/// The end of a log file, then what is added to it.
fn tail(file: LogFile, query: &LogQuery) -> Result<ByteStream, Error> {
    let shown = file.path.display().to_string();
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Kind::Failed, format!("cannot read {shown}: {error}"))
            .help("check that the file exists and that the user who runs mainstay may read it")
    };
    let mut tail = Tail::open(file).map_err(|error| failed(&error))?;
    let lines = usize::try_from(query.lines.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut past = tail.last_lines(lines).map_err(|error| failed(&error))?;
    if !query.follow {
        past.extend_from_slice(&tail.take_partial());
    }
    let past = Bytes::from(past);
    if !query.follow {
        return Ok(Box::pin(futures_util::stream::once(std::future::ready(
            Ok(past),
        ))));
    }
    let following =
        futures_util::stream::unfold((tail, Some(past)), |(mut tail, past)| async move {
            if let Some(past) = past
                && !past.is_empty()
            {
                return Some((Ok(past), (tail, None)));
            }
            loop {
                let mut new = Vec::new();
                match tail.read_new(&mut new) {
                    Ok(0) => tokio::time::sleep(FOLLOW).await,
                    Ok(_) => return Some((Ok(Bytes::from(new)), (tail, None))),
                    Err(error) => {
                        return Some((Err(std::io::Error::other(error)), (tail, None)));
                    }
                }
            }
        });
    Ok(Box::pin(following))
}

impl Daemon for Facade {
    fn version(&self) -> VersionDocument {
        VersionDocument {
            schema: wire::SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            run: self.started.as_nanosecond().to_string(),
        }
    }

    fn status(&self, _caller: Caller) -> Answer<'_, StatusDocument> {
        Box::pin(self.document())
    }

    fn start(&self, _caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument> {
        Box::pin(self.act(
            Verb::Start,
            Command::Start {
                names: request.names,
                wait: request.wait,
                strict: false,
            },
        ))
    }

    fn stop(&self, _caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument> {
        Box::pin(self.act(
            Verb::Stop,
            Command::Stop {
                names: request.names,
                wait: request.wait,
            },
        ))
    }

    fn restart(&self, _caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument> {
        Box::pin(self.act(
            Verb::Restart,
            Command::Restart {
                names: request.names,
                wait: request.wait,
            },
        ))
    }

    fn signal(&self, _caller: Caller, request: SignalRequest) -> Answer<'_, ActionDocument> {
        Box::pin(async move {
            let signal = Signal::from_name(&request.signal).ok_or_else(|| {
                Error::new(
                    Kind::Usage,
                    format!("there is no signal `{}`", request.signal),
                )
                .help("name one as HUP, SIGHUP or 1; `kill -l` lists them")
            })?;
            self.act(
                Verb::Signal,
                Command::Signal {
                    names: request.names,
                    signal,
                },
            )
            .await
        })
    }

    fn logs(&self, _caller: Caller, query: LogQuery) -> Answer<'_, ByteStream> {
        Box::pin(async move {
            let file = self.log_file(&query).await?;
            match &query.records {
                Some(wanted) => {
                    let zone = self.config.host.zone.clone();
                    records::stream(file, &query, wanted, zone).await
                }
                None => tail(file, &query),
            }
        })
    }

    fn reopen_logs(&self, _caller: Caller) -> Answer<'_, DoneDocument> {
        Box::pin(async move {
            self.reopen_own();
            self.ask(Command::ReopenLogs).await?;
            Ok(DoneDocument::with("all log files are opened anew"))
        })
    }

    fn log_level(&self, _caller: Caller, request: LogLevelRequest) -> Answer<'_, DoneDocument> {
        Box::pin(async move {
            let levels = match request.level.as_str() {
                "default" => None,
                "off" => Some(LevelSet::NONE),
                level => Some(LevelSet::from(level.parse::<Level>().map_err(|error| {
                    Error::new(Kind::Usage, error.to_string())
                        .help("`off` lets nothing through, `default` is what the config says")
                })?)),
            };
            let time = request.seconds.map(Duration::from_secs);
            let target = request.target.as_deref();
            self.logger.set_levels_of(target, levels, time);
            let of = target.unwrap_or("everything");
            let until = match (levels, time) {
                (None, _) => ", as in the config".to_owned(),
                (Some(_), None) => ", until the daemon ends".to_owned(),
                (Some(_), Some(time)) => format!(", for {time:?}"),
            };
            Ok(DoneDocument::with(format!(
                "{of}: {}{until}",
                request.level
            )))
        })
    }

    fn alerts(&self, _caller: Caller) -> Answer<'_, AlertsDocument> {
        Box::pin(self.with_bell(alerting::document))
    }

    fn raise_alert(&self, _caller: Caller, request: RaiseRequest) -> Answer<'_, DoneDocument> {
        Box::pin(self.with_bell(move |bell| alerting::raise(bell, request)))
    }

    fn silence_alerts(
        &self,
        caller: Caller,
        request: SilenceRequest,
    ) -> Answer<'_, SilencedDocument> {
        Box::pin(self.with_bell(move |bell| {
            let author = request.author.clone();
            let author = author.unwrap_or_else(|| user_name(caller.actor.uid));
            alerting::silence(bell, &request, &author)
        }))
    }

    fn unsilence_alerts(
        &self,
        _caller: Caller,
        request: UnsilenceRequest,
    ) -> Answer<'_, DoneDocument> {
        Box::pin(self.with_bell(move |bell| alerting::unsilence(bell, request.id)))
    }

    fn test_alerts(&self, _caller: Caller) -> Answer<'_, TriedDocument> {
        Box::pin(self.with_bell(alerting::test))
    }

    fn faults(&self, _caller: Caller, query: FaultQuery) -> Answer<'_, FaultsDocument> {
        Box::pin(async move { self.ledger()?.list(query).await })
    }

    fn fault(&self, _caller: Caller, code: String) -> Answer<'_, FaultDocument> {
        Box::pin(async move { self.ledger()?.find(&code).await })
    }

    fn order_fault(&self, caller: Caller, request: OrderRequest) -> Answer<'_, OrderedDocument> {
        let by = user_name(caller.actor.uid);
        Box::pin(async move { self.ledger()?.order(by, request).await })
    }

    fn forget_faults(&self, _caller: Caller, request: ForgetRequest) -> Answer<'_, DoneDocument> {
        Box::pin(async move { self.ledger()?.forget(request).await })
    }

    fn shutdown(&self, caller: Caller) -> Answer<'_, DoneDocument> {
        Box::pin(async move {
            log::warn!(
                "{}: shutdown: stopping every program, then ending",
                caller.actor
            );
            let _ = self.stop.send(End::Stop);
            Ok(DoneDocument::with("stopping every program, then ending"))
        })
    }

    fn upgrade(&self, _caller: Caller) -> Answer<'_, DoneDocument> {
        Box::pin(async move {
            self.begin_upgrade()
                .await
                .map_err(|why| Error::new(Kind::Failed, why))?;
            Ok(DoneDocument::with("the new binary takes over"))
        })
    }

    fn audit(&self, entry: AuditEntry) {
        match entry.outcome {
            AuditOutcome::Done | AuditOutcome::Partly { .. } => {
                log::info!(target: "audit", "{entry}");
            }
            _ => log::warn!(target: "audit", "{entry}"),
        }
    }

    fn notice(&self, notice: Notice) {
        log::warn!(target: "control", "{notice}");
    }
}

/// How often at most it is looked on behalf of strangers which processes there are.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Facade {
    /// The program of whoever asks. The word of a birth may still be on its way: then it is looked
    /// which processes there are, for all at once who ask in the same moment.
    async fn program_of(&self, actor: &Actor) -> Option<String> {
        let faults = self.faults.as_ref()?;
        let asked = Instant::now();
        if let Some(program) = faults.who(actor) {
            return Some(program);
        }
        let mut looked = self.looked.lock().await;
        if looked.is_none_or(|looked| looked < asked) {
            let since = looked.map(|looked| looked.elapsed());
            if let Some(rest) = since.and_then(|since| LOOK_AGAIN.checked_sub(since)) {
                tokio::time::sleep(rest).await;
            }
            let begun = Instant::now();
            faults.refresh(&self.statuses().await.ok()?);
            *looked = Some(begun);
        }
        faults.who(actor)
    }
}

impl Reports for Facade {
    fn who(&self, actor: Actor) -> Who<'_> {
        Box::pin(async move { self.program_of(&actor).await })
    }

    fn report(&self, app: String, report: FaultReport) -> Answer<'_, ReportedDocument> {
        Box::pin(async move { self.ledger()?.report(app, report).await })
    }

    fn orders(&self, app: String, wait: Duration) -> Answer<'_, OrdersDocument> {
        Box::pin(async move { self.ledger()?.orders(app, wait).await })
    }

    fn outcome(&self, app: String, id: i64, outcome: OrderOutcome) -> Answer<'_, DoneDocument> {
        Box::pin(async move { self.ledger()?.outcome(app, id, outcome).await })
    }

    fn notice(&self, notice: Notice) {
        log::warn!(target: "reports", "{notice}");
    }
}

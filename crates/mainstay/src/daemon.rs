//! `mainstay run`: the parts put together, and taken apart again in order.
//!
//! Two threads: supervision has its own, everything else is a current-thread runtime here. They meet
//! in [`Facade`] (commands, with callbacks) and in one channel (events).

use std::fs::Permissions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_control::{Limits, Listener, ReportLimits, serve, serve_reports};
use mainstay_log::{Logger, Pipeline, Surroundings};
use mainstay_supervise::{Command, Event, Reply, Supervisor};
use mainstay_supervisord::rpc::{DaemonState, Host, Rpc, Supervision};
use mainstay_supervisord::server::{self, Login};
use mainstay_sys::daemon::{Daemonized, Verdict, daemonize};
use mainstay_sys::limits::{self, Resource};
use mainstay_sys::{LockError, LockFile, signals};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::alerting::{self, Act, Bell, Desk};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::facade::Facade;
use crate::faults::{self, Faults};
use crate::http::Native;
use crate::jobs;
use crate::output::Output;
use crate::own_log::Terminal;
use crate::supervisord::{Compat, Door, Face, Syslog, prefixed};
use crate::upgrade::{Heritage, Invocation, Successor};

/// How long the lock of a daemon that was killed may still be held on by a process it was starting.
const HANDOVER: Duration = Duration::from_secs(5);

/// The log targets of what is not a Rust path.
const SUPERVISE: &str = "supervise";
const CONTROL: &str = "control";
const BACKUP: &str = "backup";

/// How long answers that are on their way have before another binary takes over.
const GRACE: Duration = Duration::from_millis(100);
/// So many turns of the runtime a signal takes at most from its handler to what it sets off.
const TURNS: usize = 4;
/// How long the log may take to have what the supervision said last, before another binary takes over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long alerts that are due may take to be told when the daemon ends; what is left waits for the
/// next one.
const LAST_ALERTS: Duration = Duration::from_secs(5);

/// Whether and how the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum End {
    /// It lives.
    #[default]
    No,
    /// Everything is stopped, and it ends.
    Stop,
    /// Everything is stopped, the config is read anew, and it begins anew in the same process.
    Restart,
}

impl From<End> for DaemonState {
    fn from(end: End) -> Self {
        match end {
            End::No => Self::Running,
            End::Restart => Self::Restarting,
            End::Stop => Self::Shutdown,
        }
    }
}

/// Runs the config until it is told to end.
pub(crate) fn run(config: Config, output: &Output, background: bool) -> Result<Exit, Failure> {
    Invocation::current();
    for warning in &config.warnings {
        output.print_error(&format!("{warning}\n"));
    }
    let heritage = Heritage::take();
    if heritage.in_place && background {
        // It went to the background in an earlier life.
        return Ok(Daemon::assemble(config, None, heritage)?.live());
    }
    if !background {
        let daemon = Daemon::assemble(config, Some(output), heritage)?;
        return Ok(daemon.live());
    }
    // The daemon's files are made with the modes the code asks for, less what nobody may have.
    match daemonize(0o027).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot go to the background: {error}"),
        )
    })? {
        Daemonized::Parent(Verdict::Ready { pid }) => {
            if output.json {
                output.document(&serde_json::json!({ "schema": 1, "pid": pid }));
            } else {
                output.say(&format!("mainstay is up (pid {pid}); see: mainstay status"));
            }
            Ok(Exit::Done)
        }
        Daemonized::Parent(Verdict::Failed { text, code }) => {
            let (message, help) = match text.split_once("\nhelp: ") {
                Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
                None => (text, None),
            };
            Err(Failure::new(Exit::from_code(code), message).help_if(help))
        }
        Daemonized::Parent(Verdict::Died(status)) => Err(Failure::new(
            Exit::Failed,
            format!("the daemon ended before it was up ({status})"),
        )
        .help("run it in the foreground to see more: mainstay run")),
        Daemonized::Daemon(ready) => {
            let failed = match Daemon::assemble(config, None, heritage) {
                Ok(daemon) => {
                    if let Err(error) = ready.ready() {
                        log::warn!("could not let go of the terminal: {error}");
                    }
                    return Ok(daemon.live());
                }
                Err(failure) => failure,
            };
            let help = failed
                .help
                .as_ref()
                .map(|help| format!("\nhelp: {help}"))
                .unwrap_or_default();
            // Whoever started us says it; there is nobody else to tell.
            let _ = ready.fail(&format!("{}{help}", failed.message), failed.exit as u8);
            Ok(failed.exit)
        }
    }
}

/// Everything that is up, before it does anything.
pub(crate) struct Daemon {
    // The order of the fields is the order in which they are dropped.
    listener: Listener,
    /// The socket of reports.
    reports: Option<Listener>,
    supervisor: Supervisor,
    events: mpsc::UnboundedReceiver<Event>,
    logger: Logger,
    config: Arc<Config>,
    started: Timestamp,
    signals: Signals,
    runtime: Runtime,
    compat: Option<Compat>,
    /// The sockets of HTTP servers.
    doors: Vec<Door>,
    /// The (soft, hard) limit of open files that this process was started with.
    child_nofile: Option<(u64, u64)>,
    /// What the terminal gets of the log.
    terminal: Terminal,
    /// None under supervisord's name.
    bell: Option<Arc<Bell>>,
    /// None under supervisord's name; what is left to do is for the runtime.
    desk: Option<(Arc<Desk>, mpsc::UnboundedReceiver<Act>)>,
    /// None under supervisord's name.
    faults: Option<Arc<Faults>>,
    lock: LockFile,
}

impl Daemon {
    /// As [`Daemon::assemble`], for a daemon that is called supervisord.
    pub(crate) fn assemble_compat(
        config: Config,
        compat: Compat,
        child_nofile: Option<(u64, u64)>,
        mut heritage: Heritage,
    ) -> Result<Self, Failure> {
        let lock = claim_state(&config, None, &mut heritage)?;
        match Self::bring_up(config, None, None, heritage, Some(compat), child_nofile) {
            Ok(up) => Ok(up(lock)),
            Err(failure) => {
                let _ = lock.release();
                Err(failure)
            }
        }
    }

    /// Brings everything up. On an error nothing is left: no socket, no lock, no process.
    fn assemble(
        config: Config,
        terminal: Option<&Output>,
        mut heritage: Heritage,
    ) -> Result<Self, Failure> {
        let group = match &config.control.group {
            None => None,
            Some(name) => Some(group_id(name)?),
        };
        let lock = claim_state(&config, group, &mut heritage)?;
        match Self::bring_up(config, terminal, group, heritage, None, None) {
            Ok(up) => Ok(up(lock)),
            Err(failure) => {
                // Best effort: a lock file that stays is no lock any more once this process ends.
                let _ = lock.release();
                Err(failure)
            }
        }
    }

    fn bring_up(
        config: Config,
        terminal: Option<&Output>,
        group: Option<u32>,
        mut heritage: Heritage,
        mut compat: Option<Compat>,
        child_nofile: Option<(u64, u64)>,
    ) -> Result<impl FnOnce(LockFile) -> Self, Failure> {
        mainstay_sys::memory::one_heap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Its threads for files are rarely needed after the start.
            .thread_keep_alive(Duration::from_secs(1))
            // A signal that one of them took in the moment another binary takes over would be lost.
            .on_thread_start(|| drop(signals::block(&HEEDED)))
            .build()
            .map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot start the control runtime: {error}"),
                )
            })?;
        // From here on a signal ends the daemon in order; before, there is nothing to put in order.
        let signals = Signals::listen(&runtime)?;
        let (path, mode) = (&config.control.socket, config.control.mode);
        let listener = match heritage.control.take() {
            Some(fd) => mainstay_control::inherit(fd.into(), path, mode)
                .or_else(|_| mainstay_control::bind(path, mode, group))?,
            None => mainstay_control::bind(path, mode, group)?,
        };
        let reports = open_reports(&config, &mut heritage);
        // The threads of the alerts, of the faults and of the log are to take no signals either.
        let deaf = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("cannot hold signals back: {error}"))
        };
        signals::block(&HEEDED).map_err(deaf)?;
        let bell = match &config.alert {
            None => None,
            Some(config) => Some(Arc::new(Bell::start(config.clone()).map_err(|error| {
                Failure::new(Exit::Failed, error.to_string()).help(error.help())
            })?)),
        };
        let logger = match &compat {
            None => Terminal::of(terminal).open(config.log.clone(), &config.resolver, bell.as_ref()).map_err(|error| {
                Failure::new(Exit::Failed, error.to_string())
                    .help("set `[log] dir = \"…\"` to a directory that the user who runs mainstay may write, and that has room")
            })?,
            // Its log is supervisord's; there are no routes.
            Some(_) => Logger::new(
                Pipeline::build(&config.log, Surroundings::new(Arc::new(SystemClock::new())))
                    .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?,
            ),
        };
        let desk = bell.clone().map(|bell| {
            let (desk, acts) = Desk::new(bell);
            (Arc::new(desk), acts)
        });
        let faults = desk
            .as_ref()
            .and_then(|(desk, _)| open_faults(&config, desk));
        signals::unblock(&HEEDED).map_err(deaf)?;
        let terminal = Terminal::of(terminal);
        let doors = match &mut compat {
            None => config.control.http.open(&config.resolver, &mut heritage)?,
            Some(compat) => std::mem::take(&mut compat.doors),
        };
        // Before any program starts: one that found its data missing might begin anew without it.
        for done in crate::command::backup::recover(&config)? {
            log::warn!(target: BACKUP, "{done}");
        }
        let (sender, events) = mpsc::unbounded_channel();
        let child_nofile = child_nofile
            .or(heritage.child_nofile)
            .or_else(raise_descriptors);
        let mut settings = crate::config::supervise_settings(&config, &logger, child_nofile);
        settings.inherited = heritage.open;
        if let Some(compat) = &mut compat {
            settings.logger = None;
            settings.group_by_group = true;
            settings.as_supervisord = true;
            settings
                .identifier
                .clone_from(&compat.loaded.supervisord.identifier);
            compat.begin();
        }
        let supervisor = Supervisor::start(
            settings,
            config.programs.clone(),
            config.resolver.clone(),
            Box::new(move |event| {
                // The receiver is gone only when the daemon ends; then nobody wants to know.
                let _ = sender.send(event);
            }),
        )
        .map_err(|error| {
            let exit = match error.kind {
                mainstay_supervise::Kind::Locked(_) => Exit::Locked,
                _ => Exit::Failed,
            };
            Failure::new(exit, error.to_string())
        })?;
        log::info!(
            "mainstay {} is up: pid {}, config {}, {} programs, {} backups",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            config.path.display(),
            config.programs.len(),
            config.backup.backups.len()
        );
        tell_descriptors(child_nofile);
        let config = Arc::new(config);
        let started = Timestamp::now();
        Ok(move |lock| Self {
            listener,
            reports,
            supervisor,
            events,
            logger,
            config,
            started,
            signals,
            runtime,
            compat,
            doors,
            child_nofile,
            terminal,
            bell,
            desk,
            faults,
            lock,
        })
    }

    /// Lives until told to end; then every program has ended, the socket is gone, the lock is free.
    fn live(self) -> Exit {
        let limits = self.child_nofile;
        match self.live_compat() {
            (End::Restart, _) => begin_anew(Invocation::current(), limits),
            (_, exit) => exit,
        }
    }

    /// As [`Daemon::live`], and says whether it is to begin anew.
    pub(crate) fn live_compat(self) -> (End, Exit) {
        let Self {
            listener,
            supervisor,
            mut events,
            logger,
            config,
            started,
            signals,
            runtime,
            compat,
            doors: opened,
            lock,
            child_nofile,
            terminal,
            bell,
            desk,
            faults,
            reports,
        } = self;
        let (stop, mut stopping) = watch::channel(End::No);
        let (upgrades, mut successors) = mpsc::channel(1);
        let mut sockets = vec![("control".to_owned(), listener.try_clone_fd())];
        let (down, is_down) = watch::channel(false);
        let supervisor = Arc::new(supervisor);
        if let Some(reports) = &reports {
            sockets.push(("reports".to_owned(), reports.try_clone_fd()));
        }
        let (desk, acts) = desk.unzip();
        let facade = Arc::new(Facade::new(
            Arc::clone(&config),
            Arc::clone(&supervisor),
            logger.clone(),
            started,
            stop.clone(),
            upgrades,
            (desk, faults.clone()),
        ));
        let mut stopped = stopping.clone();
        let (closing, closed) = watch::channel(false);
        let mut face = None;
        let mut pidfile = None;
        let mut files = Vec::new();
        let mut doors = Vec::new();
        let zone = config.host.zone.clone();
        for door in opened {
            sockets.push((format!("http:{}", door.server.section), door.try_clone_fd()));
            files.extend(door.file);
            let login = door.server.login;
            doors.push(server::Server {
                socket: door.socket,
                login: login.map(|(name, password)| Login::new(name, password)),
                names: vec![config.host.name.clone()],
                limits: server::Limits::default(),
            });
        }
        if let Some(mut compat) = compat {
            pidfile = compat.pidfile.take();
            face = Some(Arc::new(Face::new(
                compat,
                Arc::clone(&supervisor),
                stop.clone(),
                &config.programs,
            )));
        }
        let all_down = runtime.block_on(async {
            let told = Arc::clone(&facade);
            let face_told = face.clone();
            let mut journal = tokio::spawn(async move {
                let mut all_down = true;
                let syslog = Syslog::default();
                let mut batch = Vec::new();
                'all: while events.recv_many(&mut batch, EVENTS_AT_ONCE).await > 0 {
                    match &face_told {
                        Some(face) => face.note(&batch),
                        None => batch.iter().for_each(|event| write_event(event, &syslog)),
                    }
                    for event in batch.drain(..) {
                        all_down &= !matches!(event, Event::LeftRunning { .. });
                        told.note(&event);
                        if event == Event::Down {
                            break 'all;
                        }
                    }
                }
                let _ = down.send(true);
                all_down
            });
            let asked = Arc::clone(&supervisor);
            let host = if let Some(face) = &face {
                serve_doors(doors, asked, Arc::clone(face), zone, &closed);
                Either::Face(Arc::clone(face))
            } else {
                let native = Arc::new(Native::new(
                    Arc::clone(&config),
                    Arc::clone(&supervisor),
                    Arc::clone(&facade),
                    stop.clone(),
                    terminal,
                ));
                serve_doors(doors, asked, Arc::clone(&native), zone, &closed);
                Either::Native(native)
            };
            check_descriptors(&config, &facade);
            if let (Some(acts), Some(bell)) = (acts, &bell) {
                let (bell, asked) = (Arc::clone(bell), Arc::clone(&supervisor));
                tokio::spawn(alerting::work(acts, bell, asked));
                let facade = Arc::clone(&facade);
                tokio::spawn(async move { facade.reconcile().await });
            }
            tokio::spawn(reap(Arc::clone(&facade), face.clone()));
            let signals = tokio::spawn(signals.watch(Arc::clone(&facade), host, stop));
            let timetable = tokio::spawn(jobs::keep(
                Arc::clone(&config),
                Arc::clone(&facade),
                stopping.clone(),
            ));
            if let Some(reports) = reports {
                let facade = Arc::<Facade>::clone(&facade);
                let until = reached(is_down.clone());
                tokio::spawn(async move {
                    let limits = ReportLimits::default();
                    if let Err(error) = serve_reports(reports, facade, limits, until).await {
                        log::error!(target: CONTROL, "apps cannot report faults: {}", error.message);
                    }
                });
            }
            let server =
                tokio::spawn(serve(listener, facade, Limits::default(), reached(is_down)));
            // Whoever asks, by signal or by the API, only sets this; the end itself is here.
            loop {
                let successor = tokio::select! {
                    _ = stopping.wait_for(|end| *end != End::No) => break,
                    Some(successor) = successors.recv() => successor,
                };
                let mut open = vec![("open".to_owned(), lock.as_fd().try_clone_to_owned())];
                // One that could not be held on to would be closed by the exec: then there is none.
                open.extend(sockets.iter().map(|(name, fd)| {
                    let fd = fd.as_ref().map_err(|error| error.kind().into());
                    (name.clone(), fd.and_then(OwnedFd::try_clone))
                }));
                give_way(
                    &successor,
                    &supervisor,
                    (&logger, bell.clone(), faults.clone()),
                    open,
                    child_nofile,
                    &stopping,
                    &mut journal,
                )
                .await;
            }
            let _ = timetable.await;
            if let Some(face) = &face {
                face.report_once().await;
            }
            supervisor.request(Command::Shutdown, Box::new(|_| ()));
            let report = face
                .clone()
                .map(|face| tokio::spawn(async move { face.report_shutdown().await }));
            let all_down = journal.await.unwrap_or(false);
            signals.abort();
            if let Some(report) = report {
                report.abort();
            }
            let _ = closing.send(true);
            if let Ok(Err(error)) = server.await {
                log::error!(target: CONTROL, "the control socket could not be served: {}", error.message);
            }
            all_down
        });
        // What is left of the runtime are calls whose clients are gone.
        runtime.shutdown_timeout(Duration::from_secs(1));
        if let Some(faults) = &faults {
            faults.end();
        }
        if let Some(bell) = &bell {
            bell.shutdown(LAST_ALERTS);
        }
        log::info!("mainstay is down");
        // While the daemon is there, so are its files.
        drop(files);
        drop(pidfile);
        let end = *stopped.borrow_and_update();
        logger.pipeline().flush();
        if let Err(error) = lock.release() {
            log::warn!("could not release the lock of the state directory: {error}");
        }
        (end, if all_down { Exit::Done } else { Exit::Partly })
    }
}

/// Lets another binary take over, which ends this function's world. When even the running one cannot
/// be executed again the process ends: the programs go on, and the next daemon takes them over.
async fn give_way(
    successor: &Successor,
    supervisor: &Supervisor,
    (logger, bell, faults): (&Logger, Option<Arc<Bell>>, Option<Arc<Faults>>),
    open: Vec<(String, std::io::Result<OwnedFd>)>,
    child_nofile: Option<(u64, u64)>,
    stopping: &watch::Receiver<End>,
    journal: &mut JoinHandle<bool>,
) {
    // Whoever asked gets the answer first.
    tokio::time::sleep(GRACE).await;
    if *stopping.borrow() != End::No {
        log::info!("no upgrade: the daemon is to end");
        return;
    }
    let mut kept = Vec::new();
    for (name, fd) in open {
        match fd {
            Ok(fd) => kept.push((name, fd)),
            Err(error) => {
                log::error!("no upgrade: cannot keep a socket open: {error}");
                return;
            }
        }
    }
    let given = match Supervision::ask(supervisor, Command::Handover).await {
        Ok(Reply::Handover(given)) => given,
        other => {
            log::error!("no upgrade: the supervision did not hand over: {other:?}");
            return;
        }
    };
    // Ours is the last handle: whoever else had one answered before.
    let fds = Arc::try_unwrap(given.0).unwrap_or_default();
    kept.extend(fds.into_iter().map(|fd| ("open".to_owned(), fd)));
    // The supervision has ended, and with it what it had to tell: all of that is written down.
    let _ = tokio::time::timeout(LAST_WORDS, journal).await;
    log::info!("another binary takes over");
    if let Some(faults) = faults {
        let _ = tokio::task::spawn_blocking(move || faults.end()).await;
    }
    if let Some(bell) = bell {
        // Not on this thread: signals that come meanwhile must be noted.
        let _ = tokio::task::spawn_blocking(move || bell.shutdown(LAST_WORDS)).await;
    }
    logger.pipeline().flush();
    // From here on a signal waits for the next binary, which would be ended by it otherwise.
    if let Err(error) = signals::block(&HEEDED) {
        log::warn!("a signal in this moment would be lost: {error}");
    }
    // What came before that has been noted by now, but for the turns of the runtime in which it reaches
    // first the task that watches, and then us.
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    // There is no supervision left here that could stop anything.
    let _ = match *stopping.borrow() {
        End::No => Ok(()),
        End::Stop => signals::raise(mainstay_sys::Signal::TERM),
        End::Restart => signals::raise(mainstay_sys::Signal::HUP),
    };
    let Err(why) = successor.become_it(&kept, child_nofile);
    log::error!("{why}; the running binary is started again");
    logger.pipeline().flush();
    if let Ok(same) = successor.same_again() {
        let Err(why) = same.become_it(&kept, child_nofile);
        log::error!("{why}; mainstay ends, the programs go on: start it again");
    }
    logger.pipeline().flush();
    std::process::exit(i32::from(Exit::Bug as u8));
}

/// Opens the socket of reports. Without it the daemon is as good as before: what programs print is
/// still looked through.
fn open_reports(config: &Config, heritage: &mut Heritage) -> Option<Listener> {
    let path = config.reports.as_ref()?;
    let inherited = heritage.reports.take();
    let listener = inherited
        .and_then(|fd| mainstay_control::inherit(fd.into(), path, REPORT_MODE).ok())
        .map_or_else(|| mainstay_control::bind(path, REPORT_MODE, None), Ok);
    listener
        .map_err(|error| log::warn!("apps cannot report faults: {}", error.message))
        .ok()
}

/// Everybody may connect to the socket of reports; who is answered is another thing.
const REPORT_MODE: u32 = 0o666;

/// Opens the ledger of faults, and begins to look through what programs print.
fn open_faults(config: &Config, desk: &Arc<Desk>) -> Option<Arc<Faults>> {
    let path = faults::path(&config.host.state);
    match Faults::start(path, Box::new(Arc::clone(desk))) {
        Ok(faults) => {
            faults.read(&config.programs);
            Some(Arc::new(faults))
        }
        Err(error) => {
            log::error!("no faults are kept: {error}");
            None
        }
    }
}

async fn reached(mut flag: watch::Receiver<bool>) {
    // A sender that is gone has nothing more to say: that is the end, too.
    let _ = flag.wait_for(|value| *value).await;
}

/// Makes the state directory and takes its lock: one daemon per state directory.
///
/// With a group for the control socket its members may pass through it; they can't list it.
fn claim_state(
    config: &Config,
    group: Option<u32>,
    heritage: &mut Heritage,
) -> Result<LockFile, Failure> {
    let state = &config.host.state;
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("cannot {what} the state directory {}: {error}", state.display()))
            .help("set `[host] state = \"…\"` to a directory that the user who runs mainstay may write, and that has room")
    };
    mainstay_base::fs::create_dir_private(state, 0o751).map_err(|e| cannot("make", &e))?;
    if let Some(group) = group
        && config.control.socket.parent() == Some(state)
    {
        std::os::unix::fs::chown(state, None, Some(group))
            .and_then(|()| std::fs::set_permissions(state, Permissions::from_mode(0o710)))
            .map_err(|e| cannot("open to the group of the control socket", &e))?;
    }
    let path = state.join("mainstay.pid");
    if let Some(lock) = LockFile::inherit(&path, &mut heritage.open) {
        return Ok(lock);
    }
    LockFile::succeed(&path, HANDOVER).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(
            Exit::Locked,
            format!(
                "another mainstay runs on the state directory {}: {error}",
                state.display()
            ),
        )
        .help("use it (mainstay status), or stop it first (mainstay shutdown)"),
        other => cannot("lock", &other),
    })
}

fn group_id(name: &str) -> Result<u32, Failure> {
    match mainstay_sys::users::group(name) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(
            Failure::new(Exit::Failed, format!("there is no group `{name}`"))
                .help("make it (groupadd), or correct [control] socket.group"),
        ),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("cannot look up the group `{name}`: {error}"),
        )),
    }
}

/// Serves HTTP at these sockets, for whoever answers.
fn serve_doors<H: Host>(
    doors: Vec<server::Server>,
    supervisor: Arc<Supervisor>,
    host: H,
    zone: TimeZone,
    closed: &watch::Receiver<bool>,
) {
    let rpc = Arc::new(Rpc::new(
        supervisor,
        host,
        Arc::new(SystemClock::new()),
        zone,
    ));
    for door in doors {
        let (rpc, closed) = (Arc::clone(&rpc), closed.clone());
        tokio::spawn(async move {
            if let Err(error) = server::serve(door, rpc, closed).await {
                log::error!("an HTTP server could not be served: {error}");
            }
        });
    }
}

/// Executes the same binary with the same words: the config is read as at any start. Everything of
/// this life has ended.
fn begin_anew(invocation: Invocation, child_nofile: Option<(u64, u64)>) -> Exit {
    lower_descriptors(child_nofile);
    // What it finds tells it that it went to the background already.
    let mark = std::fs::File::open("/dev/null").map(OwnedFd::from);
    let why = match (mark, invocation.again()) {
        (Ok(mark), Ok(same)) => {
            let Err(why) = same.become_it(&[("open".to_owned(), mark)], None);
            why
        }
        (Err(error), _) => error.to_string(),
        (_, Err(why)) => why,
    };
    log::error!("mainstay could not begin anew: {why}; start it again: mainstay run");
    Exit::Failed
}

fn write_event(event: &Event, syslog: &Syslog) {
    if let Event::Syslog { process, text } = event {
        syslog.send("mainstay", &prefixed(process, text));
        return;
    }
    let level = match event.level() {
        mainstay_log::Level::Trace => log::Level::Trace,
        mainstay_log::Level::Debug => log::Level::Debug,
        mainstay_log::Level::Info => log::Level::Info,
        mainstay_log::Level::Warn => log::Level::Warn,
        _ => log::Level::Error,
    };
    log::log!(target: SUPERVISE, level, "{event}");
}

/// How many events are written to the log in one go, at most.
const EVENTS_AT_ONCE: usize = 64;

/// Who knows what the daemon was configured with.
enum Either {
    /// A `supervisord.conf`.
    Face(Arc<Face>),
    /// A `mainstay.toml`.
    Native(Arc<Native>),
}

/// The signals a daemon answers to, as they are held back while another binary takes over.
const HEEDED: [mainstay_sys::Signal; 6] = [
    mainstay_sys::Signal::TERM,
    mainstay_sys::Signal::INT,
    mainstay_sys::Signal::QUIT,
    mainstay_sys::Signal::HUP,
    mainstay_sys::Signal::USR1,
    mainstay_sys::Signal::USR2,
];

/// The signals a daemon answers to.
struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    usr1: Signal,
    usr2: Signal,
    hup: Signal,
}

impl Signals {
    /// Takes the signals over from their defaults, which would end the process.
    fn listen(runtime: &Runtime) -> Result<Self, Failure> {
        let _inside = runtime.enter();
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot listen for signals: {error}"))
            })
        };
        let all = Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            usr1: listen(SignalKind::user_defined1())?,
            usr2: listen(SignalKind::user_defined2())?,
            hup: listen(SignalKind::hangup())?,
        };
        // What came while this process became this binary has waited for this.
        signals::unblock(&HEEDED).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot let signals in: {error}"))
        })?;
        Ok(all)
    }

    /// TERM, INT and QUIT end the daemon; USR1 replaces the binary, USR2 opens the logs anew; HUP applies
    /// the config as it is now, and under supervisord's name begins anew.
    async fn watch(mut self, facade: Arc<Facade>, host: Either, stop: watch::Sender<End>) {
        let face = match &host {
            Either::Face(face) => Some(face),
            Either::Native(_) => None,
        };
        loop {
            let name = tokio::select! {
                _ = self.term.recv() => "SIGTERM",
                _ = self.int.recv() => "SIGINT",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.hup.recv() => {
                    match &host {
                        Either::Face(face) => face.on_hangup(),
                        Either::Native(native) => {
                            log::info!("SIGHUP: reading the config anew");
                            let native = Arc::clone(native);
                            tokio::spawn(async move { native.apply().await });
                        }
                    }
                    continue;
                }
                _ = self.usr1.recv() => {
                    log::info!("SIGUSR1: looking at the binary on disk, to let it take over");
                    let facade = Arc::clone(&facade);
                    tokio::spawn(async move {
                        if let Err(why) = facade.begin_upgrade().await {
                            log::error!("no upgrade: {why}");
                        }
                    });
                    continue;
                }
                _ = self.usr2.recv() => {
                    match &face {
                        Some(face) => face.on_reopen(),
                        None => log::info!("SIGUSR2: opening the log files anew"),
                    }
                    facade.reopen();
                    continue;
                }
            };
            match &face {
                Some(face) => face.on_exit_request(name),
                None => log::warn!("{name}: stopping every program, then ending"),
            }
            let _ = stop.send(End::Stop);
        }
    }
}

/// As the first process of a container every orphan is ours to reap; else somebody else does it.
async fn reap(facade: Arc<Facade>, face: Option<Arc<Face>>) {
    // supervisord does so in any case: whoever executed it may have had children.
    if std::process::id() != 1 && face.is_none() {
        return;
    }
    match signal(SignalKind::child()) {
        Ok(mut ended) => {
            while ended.recv().await.is_some() {
                match mainstay_sys::reap_strangers(|pid| facade.knows(pid)) {
                    Ok(ended) => {
                        for (pid, status) in ended {
                            if let Some(face) = &face {
                                face.on_stranger(pid, status);
                            }
                        }
                    }
                    Err(error) => log::warn!("could not reap orphans: {error}"),
                }
            }
        }
        Err(error) => log::error!("orphans are not reaped: {error}"),
    }
}

/// Tells a limit of open files that is too low before it is felt.
fn check_descriptors(config: &Config, facade: &Facade) {
    let needed = mainstay_supervise::descriptors_needed(&config.programs);
    if let Ok((soft, _)) = limits::get(None, Resource::Nofile)
        && soft < needed
    {
        facade.warn(format!(
            "mainstay may open {soft} files and needs {needed} for these programs: some will not start; raise its hard limit (ulimit -Hn, LimitNOFILE=)"
        ));
    }
}

/// Takes back what [`raise_descriptors`] did, for a daemon that begins anew in this process: its
/// programs find what the first ones found.
fn lower_descriptors(before: Option<(u64, u64)>) {
    if let Some((soft, hard)) = before
        && let Err(error) = limits::set(None, Resource::Nofile, soft, hard)
    {
        log::warn!("could not lower the limit of open files to {soft}: {error}");
    }
}

/// Lets the daemon have as many open files as it may: every program takes some. Gives the (soft,
/// hard) limits that programs inherit all the same.
pub(crate) fn raise_descriptors() -> Option<(u64, u64)> {
    match limits::lift(Resource::Nofile) {
        Ok(before) => Some(before),
        Err(error) => {
            log::warn!("could not raise the limit of open files: {error}");
            limits::get(None, Resource::Nofile).ok()
        }
    }
}

/// Says how many files the daemon may open, and how many its programs: who raises the limit of the
/// system later wonders why nothing changes.
fn tell_descriptors(programs: Option<(u64, u64)>) {
    if let (Ok((now, _)), Some((soft, hard))) = (limits::get(None, Resource::Nofile), programs) {
        log::info!(
            "mainstay may open {now} files; programs without limits.nofile get {soft}, and may raise it to {hard}"
        );
    }
}

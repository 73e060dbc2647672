//! The daemon as supervisord's clients see it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_supervise::{Command, ProcessSpec, ProgramSpec, Refusal, Reply, Supervisor};
use mainstay_supervisord::conf::load::{GroupConfig, Loaded};
use mainstay_supervisord::conf::options::{Output, Process};
use mainstay_supervisord::conf::values::LogFile;
use mainstay_supervisord::conf::{diff, import};
use mainstay_supervisord::namespec;
use mainstay_supervisord::rpc::info::{ConfigInfo, LogPath};
use mainstay_supervisord::rpc::{DaemonState, GroupError, Host, Reread, Supervision};
use mainstay_supervisord::words::{self, Level};
use mainstay_sys::Signal;
use tokio::sync::{oneshot, watch};

use super::mainlog::{MainLog, Syslog};
use super::{AutoLogs, Called, Compat};
use crate::daemon::End;

/// What the clients ask.
pub(crate) struct Face {
    called: Called,
    log: MainLog,
    supervisor: Arc<Supervisor>,
    stop: watch::Sender<End>,
    autos: Arc<AutoLogs>,
    syslog: Syslog,
    roster: Mutex<Roster>,
}

/// What is said of the signal, before what it was about, whoever saw it first: the original reads output,
/// then looks at signals, then at who has ended.
const A_CHILD_QUIT: &str = "received SIGCHLD indicating a child quit";

/// How often a shutdown says whom it waits for.
const REPORT: Duration = Duration::from_secs(3);

/// Which groups there are.
struct Roster {
    /// The config read last.
    read: Loaded,
    /// The groups that are supervised, as they were configured when they were taken in.
    active: BTreeMap<String, Arc<GroupConfig>>,
    /// Each process that is supervised: its program, and its place in that. For the words of the log,
    /// and for the names of logs that are of our making.
    processes: BTreeMap<String, (Arc<ProgramSpec>, usize)>,
}

impl Face {
    pub(crate) fn new(
        compat: Compat,
        supervisor: Arc<Supervisor>,
        stop: watch::Sender<End>,
        programs: &[Arc<ProgramSpec>],
    ) -> Self {
        let Compat {
            called,
            loaded: read,
            log,
            autos,
            ..
        } = compat;
        let active = read
            .groups
            .iter()
            .map(|group| (group.name.clone(), Arc::clone(group)))
            .collect();
        let mut roster = Roster {
            read,
            active,
            processes: BTreeMap::new(),
        };
        roster.learn(programs);
        Self {
            called,
            log,
            supervisor,
            stop,
            autos,
            syslog: Syslog::default(),
            roster: Mutex::new(roster),
        }
    }

    /// A signal to end came.
    pub(crate) fn on_exit_request(&self, name: &str) {
        if let Some(signal) = Signal::from_name(name) {
            self.say(words::exit_request(signal));
        }
    }

    /// A signal to begin anew came.
    pub(crate) fn on_hangup(&self) {
        let ending = *self.stop.borrow() == End::Stop;
        self.say(words::restart_request(Signal::HUP, ending));
        if !ending {
            let _ = self.stop.send(End::Restart);
        }
    }

    /// A signal to open the logs anew came.
    pub(crate) fn on_reopen(&self) {
        self.say(words::reopen_request(Signal::USR2));
        self.say(words::reopening());
        self.log.reopen();
    }

    /// A process ended that nobody here had started.
    pub(crate) fn on_stranger(&self, pid: i32, status: mainstay_sys::ExitStatus) {
        self.log.say(Level::Debug, A_CHILD_QUIT);
        self.say(words::reaped_stranger(pid.cast_unsigned(), status.into()));
    }

    /// Says every three seconds who is waited for, until it is cancelled.
    pub(crate) async fn report_shutdown(&self) {
        loop {
            tokio::time::sleep(REPORT).await;
            if !self.report_once().await {
                return;
            }
        }
    }

    /// Says who is waited for, if anybody is.
    pub(crate) async fn report_once(&self) -> bool {
        let command = Command::Status { names: Vec::new() };
        let Ok(Reply::Status(all)) = self.supervisor.ask(command).await else {
            return false;
        };
        let left: Vec<String> = all
            .iter()
            .filter(|status| !status.phase.is_stopped())
            .map(|status| namespec::member(&status.group, &status.process))
            .collect();
        if left.is_empty() {
            return false;
        }
        self.say(words::waiting_to_die(left));
        true
    }

    fn say(&self, (level, text): words::Line) {
        self.log.say(level, &text);
    }

    fn roster(&self) -> std::sync::MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what happened to a process.
    pub(crate) fn note(&self, events: &[mainstay_supervise::Event]) {
        let mut lines = Vec::new();
        let roster = self.roster();
        for event in events {
            if let mainstay_supervise::Event::Syslog { process, text } = event {
                self.syslog.send("supervisord", &prefixed(process, text));
                continue;
            }
            if let mainstay_supervise::Event::Changed(change) = event
                && change.exit.is_some()
            {
                lines.push((Level::Debug, A_CHILD_QUIT.to_owned()));
            }
            lines.extend(words::line(event, |process| {
                let (program, _) = roster.processes.get(process)?;
                Some(words::Known {
                    group: &program.group.name,
                    policy: &program.policy,
                })
            }));
            // There it is a process of its own that could not become the program.
            if let mainstay_supervise::Event::SpawnFailed { process, text } = event
                && text.starts_with("couldn't ")
            {
                let name = process.rsplit(':').next().unwrap_or(process);
                let text = format!("exited: {name} (exit status 127; not expected)");
                lines.push((Level::Warn, text));
            }
        }
        drop(roster);
        self.log.say_all(&lines);
    }

    async fn add(&self, name: &str) -> Result<(), GroupError> {
        let (group, programs) = {
            let mut roster = self.roster();
            if roster.active.contains_key(name) {
                return Err(GroupError::AlreadyThere);
            }
            let group = roster
                .read
                .groups
                .iter()
                .find(|group| group.name == name)
                .cloned()
                .ok_or(GroupError::Unknown)?;
            let mut auto =
                |name: &str, unique: &str, stream: &str| self.autos.path(name, unique, stream);
            let programs: Vec<Arc<ProgramSpec>> = import::group(&roster.read, &group, &mut auto)
                .into_iter()
                .map(Arc::new)
                .collect();
            roster.learn(&programs);
            (group, programs)
        };
        take_in(&self.supervisor, programs).await?;
        self.roster().active.insert(group.name.clone(), group);
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), GroupError> {
        match forget(&self.supervisor, name).await {
            Ok(()) => {
                let mut roster = self.roster();
                roster.active.remove(name);
                (roster.processes).retain(|_, (program, _)| program.group.name != name);
                Ok(())
            }
            // A group without processes is known to nobody else.
            Err(GroupError::Unknown) if self.roster().active.remove(name).is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Has the programs of a new group supervised.
///
/// # Errors
/// [`GroupError`] says why not.
pub(crate) async fn take_in(
    supervisor: &Supervisor,
    programs: Vec<Arc<ProgramSpec>>,
) -> Result<(), GroupError> {
    for program in &programs {
        if let mainstay_supervise::Stdin::Socket(socket) = &program.stdin {
            mainstay_supervise::try_socket(socket)
                .map_err(|error| GroupError::Failed(error.to_string()))?;
        }
    }
    let (sender, receiver) = oneshot::channel();
    supervisor
        .add_group(programs, move |answer| {
            let _ = sender.send(answer);
        })
        .map_err(|error| GroupError::Failed(error.to_string()))?;
    match receiver.await.unwrap_or(Err(Refusal::Gone)) {
        Ok(Reply::Ok) => Ok(()),
        Err(Refusal::AlreadyThere) => Err(GroupError::AlreadyThere),
        Ok(_) => Err(GroupError::Failed("an answer of another kind".to_owned())),
        Err(refusal) => Err(GroupError::Failed(refusal.to_string())),
    }
}

/// Has a group supervised no longer.
///
/// # Errors
/// [`GroupError`] says why not.
pub(crate) async fn forget(supervisor: &Supervisor, name: &str) -> Result<(), GroupError> {
    let command = Command::RemoveGroup {
        name: name.to_owned(),
    };
    match Supervision::ask(supervisor, command).await {
        Ok(_) => Ok(()),
        Err(Refusal::UnknownName { .. }) => Err(GroupError::Unknown),
        Err(Refusal::StillRunning) => Err(GroupError::StillRunning),
        Err(refusal) => Err(GroupError::Failed(refusal.to_string())),
    }
}

impl Roster {
    fn learn(&mut self, programs: &[Arc<ProgramSpec>]) {
        for program in programs {
            for (at, process) in program.processes.iter().enumerate() {
                let value = (Arc::clone(program), at);
                self.processes.insert(process.process.clone(), value);
            }
        }
    }
}

impl Host for Face {
    fn identification(&self) -> String {
        self.roster().read.supervisord.identifier.clone()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn state(&self) -> DaemonState {
        (*self.stop.borrow()).into()
    }

    fn main_log(&self) -> Option<PathBuf> {
        self.log.path()
    }

    fn clear_main_log(&self) -> io::Result<()> {
        match self.log.path() {
            Some(path) if path.exists() => {}
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        self.log.clear()?;
        self.say(words::cleared());
        Ok(())
    }

    fn shutdown(&self) {
        let _ = self.stop.send(End::Stop);
    }

    fn restart(&self) -> Result<(), String> {
        // As the original, which finds out what is wrong when everything is down.
        let _ = self.stop.send(End::Restart);
        Ok(())
    }

    async fn reload_config(&self) -> Result<Reread, String> {
        let called = self.called.clone();
        // Files and users are looked at: not on this thread.
        let read = tokio::task::spawn_blocking(move || called.load())
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        for text in &read.warnings {
            self.log.say(Level::Warn, text);
        }
        for text in &read.infos {
            self.log.say(Level::Info, text);
        }
        let mut roster = self.roster();
        let found = diff::diff(
            roster
                .active
                .iter()
                .map(|(name, group)| (name.as_str(), group)),
            read.groups.iter().map(|group| (group.name.as_str(), group)),
        );
        roster.read = read;
        Ok(found)
    }

    fn add_process_group(&self, name: &str) -> impl Future<Output = Result<(), GroupError>> + Send {
        self.add(name)
    }

    fn remove_process_group(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), GroupError>> + Send {
        self.remove(name)
    }

    fn configs(&self) -> Vec<ConfigInfo> {
        let roster = self.roster();
        roster
            .read
            .groups
            .iter()
            .flat_map(|group| {
                let inuse = roster.active.contains_key(&group.name);
                let programs = group.programs.iter();
                let processes = programs.flat_map(|program| &program.processes);
                let roster = &roster;
                processes.map(move |process| {
                    let name = namespec::join(&group.name, &process.name);
                    let known = roster.processes.get(&name);
                    let known = known.map(|(program, at)| &program.processes[*at]);
                    info(group, process, inuse, known)
                })
            })
            .collect()
    }

    fn log(&self, level: Level, text: &str) {
        self.log.say(level, text);
    }
}

/// As the original writes output to the system's log: each line behind the name.
pub(crate) fn prefixed(process: &str, text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("{process} {line}"))
        .collect();
    lines.join("\n")
}

/// The id of the user that the config names, as far as there is one.
pub(crate) fn uid(user: Option<&str>) -> Option<u32> {
    let found = mainstay_sys::users::lookup(user?).ok().flatten()?;
    Some(found.identity.uid)
}

fn info(
    group: &GroupConfig,
    process: &Process,
    inuse: bool,
    known: Option<&ProcessSpec>,
) -> ConfigInfo {
    let logs = known.map(|known| [known.stdout.path(), known.stderr.path()]);
    let file = |output: &Output, at: usize| match &output.logfile {
        LogFile::Auto => match logs.and_then(|logs| logs[at]) {
            Some(path) if inuse => LogPath::Path(path.display().to_string()),
            _ => LogPath::Auto,
        },
        LogFile::Off | LogFile::Syslog => LogPath::None,
        LogFile::File(path) => LogPath::Path(path.clone()),
    };
    let count = |backups: i64| u64::try_from(backups).unwrap_or(0);
    ConfigInfo {
        autostart: process.autostart,
        directory: process.directory.clone(),
        uid: uid(process.user.as_deref()),
        command: process.command.clone(),
        exitcodes: process.exitcodes.clone(),
        group: group.name.clone(),
        group_prio: group.priority,
        inuse,
        killasgroup: process.killasgroup,
        name: process.name.clone(),
        process_prio: process.priority,
        redirect_stderr: process.redirect_stderr,
        startretries: process.startretries,
        startsecs: process.startsecs,
        stdout_capture_maxbytes: process.stdout.capture_maxbytes,
        stdout_events_enabled: process.stdout.events_enabled,
        stdout_logfile: file(&process.stdout, 0),
        stdout_logfile_backups: count(process.stdout.backups),
        stdout_logfile_maxbytes: process.stdout.maxbytes,
        stdout_syslog: process.stdout.syslog,
        stopsignal: process.stopsignal,
        stopwaitsecs: process.stopwaitsecs,
        stderr_capture_maxbytes: process.stderr.capture_maxbytes,
        stderr_events_enabled: process.stderr.events_enabled,
        stderr_logfile: file(&process.stderr, 1),
        stderr_logfile_backups: count(process.stderr.backups),
        stderr_logfile_maxbytes: process.stderr.maxbytes,
        stderr_syslog: process.stderr.syslog,
        serverurl: match &process.serverurl {
            Some(url) => LogPath::Path(url.clone()),
            None => LogPath::None,
        },
    }
}

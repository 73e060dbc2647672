//! A supervision and a daemon that do what a test tells them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::ManualClock;
use mainstay_supervise::{Command, Did, Names, Outcome, Phase, Refusal, Reply, Status, select};
use mainstay_supervisord::conf::values::Level;
use mainstay_supervisord::rpc::{
    ConfigInfo, DaemonState, GroupError, Host, LogPath, Reread, Rpc, Supervision,
};

/// The time it is for fakes.
pub(crate) const NOW: &str = "2026-01-31T12:00:00Z";

/// A process that is down and never was up.
pub(crate) fn status(group: &str, process: &str, phase: Phase) -> Status {
    Status {
        process: process.to_owned(),
        program: process.split(':').next_back().unwrap().to_owned(),
        group: group.to_owned(),
        instance: 0,
        phase,
        since: NOW.parse().unwrap(),
        pid: None,
        uptime: None,
        started: None,
        ended: None,
        restarts: 0,
        failures: 0,
        retry_in: None,
        last_exit: None,
        trouble: None,
        wanted: true,
        autostart: true,
        decided: None,
        outdated: false,
        left_over: false,
        stdout_log: None,
        stderr_log: None,
    }
}

/// A process that runs.
pub(crate) fn running(group: &str, process: &str, pid: u32) -> Status {
    Status {
        pid: Some(pid),
        started: Some("2026-01-31T10:58:57Z".parse().unwrap()),
        uptime: Some(Duration::from_secs(3663)),
        ..status(group, process, Phase::Running)
    }
}

/// What is supervised, and what was asked.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) processes: Vec<Status>,
    /// What becomes of a process by a command.
    pub(crate) results: HashMap<String, Did>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) asked: Vec<Command>,
    pub(crate) state: Option<DaemonState>,
    pub(crate) main_log: Option<PathBuf>,
    pub(crate) clear_fails: bool,
    pub(crate) reread: Option<String>,
    pub(crate) said: Vec<String>,
    /// Commands that wait are answered when this is true.
    pub(crate) held: bool,
}

/// Both the supervision and the daemon.
#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<World>>);

impl Fake {
    pub(crate) fn new(processes: Vec<Status>) -> Self {
        let fake = Self::default();
        fake.0.lock().unwrap().processes = processes;
        fake
    }

    pub(crate) fn rpc(&self) -> Rpc<Self, Self> {
        let now: Timestamp = NOW.parse().unwrap();
        let clock = Arc::new(ManualClock::new(now));
        Rpc::new(self.clone(), self.clone(), clock, TimeZone::UTC)
    }

    pub(crate) fn with(self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.0.lock().unwrap());
        self
    }
}

impl World {
    fn chosen(&self, names: &[String]) -> Result<Vec<usize>, Refusal> {
        let known: Vec<Names<'_>> = self
            .processes
            .iter()
            .map(|it| Names {
                process: &it.process,
                program: &it.program,
                group: &it.group,
            })
            .collect();
        let mut all = Vec::new();
        for name in names {
            all.extend(select(name, &known).ok_or_else(|| Refusal::UnknownName {
                name: name.clone(),
                nearest: None,
            })?);
        }
        Ok(all)
    }

    fn answer(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.asked.push(command.clone());
        if let Some(refusal) = &self.refusal
            && !matches!(command, Command::Status { .. })
        {
            return Err(refusal.clone());
        }
        let (names, usual, phase) = match command {
            Command::Status { names } => {
                let chosen = if names.is_empty() {
                    (0..self.processes.len()).collect()
                } else {
                    self.chosen(&names)?
                };
                let all = chosen.into_iter().map(|i| self.processes[i].clone());
                return Ok(Reply::Status(all.collect()));
            }
            Command::Start { names, .. } => (names, Did::Started, Some(Phase::Running)),
            Command::Stop { names, .. } => (names, Did::Stopped, Some(Phase::Stopped)),
            Command::Signal { names, .. } => (names, Did::Signalled, None),
            Command::ClearLogs { names } => (names, Did::Cleared, None),
            Command::Send { name, .. } => (vec![name], Did::Sent, None),
            _ => return Ok(Reply::Ok),
        };
        let mut outcomes = Vec::new();
        for i in self.chosen(&names)? {
            let result = self.results.get(&self.processes[i].process);
            let result = result.unwrap_or(&usual).clone();
            let process = &mut self.processes[i];
            if result == usual
                && let Some(phase) = phase
            {
                process.phase = phase;
                process.pid = (phase == Phase::Running).then_some(4711);
            }
            outcomes.push(Outcome {
                process: process.process.clone(),
                program: process.program.clone(),
                group: process.group.clone(),
                phase: process.phase,
                pid: process.pid,
                result,
            });
        }
        Ok(Reply::Done(outcomes))
    }
}

impl Supervision for Fake {
    async fn ask(&self, command: Command) -> Result<Reply, Refusal> {
        let waits = matches!(
            command,
            Command::Start { wait: true, .. } | Command::Stop { wait: true, .. }
        );
        while waits && self.0.lock().unwrap().held {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.0.lock().unwrap().answer(command)
    }
}

impl Host for Fake {
    fn identification(&self) -> String {
        "supervisor".to_owned()
    }
    fn pid(&self) -> u32 {
        99
    }
    fn state(&self) -> DaemonState {
        self.0.lock().unwrap().state.unwrap_or(DaemonState::Running)
    }
    fn main_log(&self) -> Option<PathBuf> {
        self.0.lock().unwrap().main_log.clone()
    }
    fn clear_main_log(&self) -> io::Result<()> {
        let world = self.0.lock().unwrap();
        if world.clear_fails {
            return Err(io::Error::other("no"));
        }
        std::fs::remove_file(world.main_log.as_ref().unwrap())
    }
    fn shutdown(&self) {
        self.0.lock().unwrap().state = Some(DaemonState::Shutdown);
    }
    fn restart(&self) -> Result<(), String> {
        self.0.lock().unwrap().state = Some(DaemonState::Restarting);
        Ok(())
    }
    async fn reload_config(&self) -> Result<Reread, String> {
        match &self.0.lock().unwrap().reread {
            Some(why) => Err(why.clone()),
            None => Ok(Reread {
                added: vec!["a".to_owned()],
                changed: Vec::new(),
                removed: vec!["r".to_owned(), "s".to_owned()],
            }),
        }
    }
    async fn add_process_group(&self, name: &str) -> Result<(), GroupError> {
        match name {
            "new" => Ok(()),
            "there" => Err(GroupError::AlreadyThere),
            "broken" => Err(GroupError::Failed("no log".to_owned())),
            _ => Err(GroupError::Unknown),
        }
    }
    async fn remove_process_group(&self, name: &str) -> Result<(), GroupError> {
        match name {
            "old" => Ok(()),
            "busy" => Err(GroupError::StillRunning),
            _ => Err(GroupError::Unknown),
        }
    }
    fn configs(&self) -> Vec<ConfigInfo> {
        ["web", "db"].map(config).into()
    }
    fn log(&self, _level: Level, text: &str) {
        self.0.lock().unwrap().said.push(text.to_owned());
    }
}

fn config(name: &str) -> ConfigInfo {
    ConfigInfo {
        autostart: true,
        directory: None,
        uid: None,
        command: format!("/bin/{name} <&>"),
        exitcodes: vec![0, 2],
        group: "shop".to_owned(),
        group_prio: 999,
        inuse: true,
        killasgroup: false,
        name: name.to_owned(),
        process_prio: 999,
        redirect_stderr: false,
        startretries: 3,
        startsecs: 1,
        stdout_capture_maxbytes: 0,
        stdout_events_enabled: false,
        stdout_logfile: LogPath::Auto,
        stdout_logfile_backups: 10,
        stdout_logfile_maxbytes: 50 << 20,
        stdout_syslog: false,
        stopsignal: 15,
        stopwaitsecs: 10,
        stderr_capture_maxbytes: 0,
        stderr_events_enabled: false,
        stderr_logfile: LogPath::None,
        stderr_logfile_backups: 10,
        stderr_logfile_maxbytes: 1 << 40,
        stderr_syslog: false,
        serverurl: LogPath::Path("http://localhost:9001".to_owned()),
    }
}

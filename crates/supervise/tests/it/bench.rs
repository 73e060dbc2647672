//! A supervisor in a scratch directory that leaves nothing behind.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_base::{Resolver, Template};
use mainstay_supervise::{
    Backoff, Command, Did, Event, Outcome, Phase, Policy, ProgramSpec, Reply, Settings, Status,
    Supervisor,
};

/// How long anything may take before a test calls it stuck.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    supervisor: Option<Supervisor>,
}

/// A program that runs this shell script, with delays short enough for tests.
pub(crate) fn script(dir: &Path, name: &str, text: &str) -> ProgramSpec {
    program(dir, name, &["sh", "-c", text])
}

pub(crate) fn program(dir: &Path, name: &str, words: &[&str]) -> ProgramSpec {
    let command = words.iter().map(|word| Template::literal(*word)).collect();
    let mut spec = ProgramSpec::new(name, command, &dir.join("log"));
    spec.policy = Policy {
        start_secs: Duration::from_millis(50),
        stop_wait: Duration::from_secs(10),
        backoff: Backoff::Exponential {
            min: Duration::from_millis(20),
            max: Duration::from_millis(100),
        },
        settle: Duration::from_millis(50),
        ..Policy::default()
    };
    spec
}

pub(crate) fn wait_for<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

pub(crate) fn alive(pid: u32) -> bool {
    // A zombie that its new parent has not reaped yet is not alive.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}

/// Starts a supervisor whose events are collected.
pub(crate) fn supervise(
    dir: &Path,
    programs: Vec<ProgramSpec>,
    events: &Arc<Mutex<Vec<Event>>>,
) -> Supervisor {
    supervise_with(Settings::new(dir), programs, events)
}

/// Starts a supervisor with these settings whose events are collected.
pub(crate) fn supervise_with(
    mut settings: Settings,
    programs: Vec<ProgramSpec>,
    events: &Arc<Mutex<Vec<Event>>>,
) -> Supervisor {
    settings
        .environment
        .insert("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into());
    let events = Arc::clone(events);
    Supervisor::start(
        settings,
        programs,
        Resolver::default(),
        Box::new(move |event| events.lock().unwrap().push(event)),
    )
    .unwrap()
}

impl Bench {
    pub(crate) fn new(programs: impl FnOnce(&Path) -> Vec<ProgramSpec>) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let programs = programs(dir.path());
        Self::within(dir, programs)
    }

    /// In a directory that other supervisors had before.
    pub(crate) fn within(dir: Arc<tempfile::TempDir>, programs: Vec<ProgramSpec>) -> Self {
        let settings = Settings::new(dir.path());
        Self::with(dir, settings, programs)
    }

    /// With settings of its own.
    pub(crate) fn with(
        dir: Arc<tempfile::TempDir>,
        settings: Settings,
        programs: Vec<ProgramSpec>,
    ) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let supervisor = Some(supervise_with(settings, programs, &events));
        Self {
            dir,
            events,
            supervisor,
        }
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        self.supervisor.as_ref().unwrap()
    }

    pub(crate) fn all(&self) -> Vec<Status> {
        match self
            .supervisor()
            .ask(Command::Status { names: vec![] })
            .unwrap()
        {
            Reply::Status(all) => all,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&self, process: &str) -> Status {
        self.all()
            .into_iter()
            .find(|status| status.process == process)
            .unwrap()
    }

    pub(crate) fn until(&self, process: &str, phase: Phase) -> Status {
        wait_for(&format!("{process} to be {phase}"), || {
            Some(self.status(process)).filter(|status| status.phase == phase)
        })
    }

    pub(crate) fn outcomes(&self, command: Command) -> Vec<Outcome> {
        match self.supervisor().ask(command).unwrap() {
            Reply::Done(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn start(&self, name: &str) -> Vec<Did> {
        let names = vec![name.to_owned()];
        did(self.outcomes(Command::Start {
            names,
            wait: true,
            strict: false,
        }))
    }

    pub(crate) fn stop(&self, name: &str) -> Vec<Did> {
        let names = vec![name.to_owned()];
        did(self.outcomes(Command::Stop { names, wait: true }))
    }

    pub(crate) fn restart(&self, name: &str) -> Vec<Did> {
        let names = vec![name.to_owned()];
        did(self.outcomes(Command::Restart { names, wait: true }))
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.dir.path().join("log").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// The phases that a process went through.
    pub(crate) fn phases(&self, process: &str) -> Vec<Phase> {
        self.events()
            .iter()
            .filter_map(|event| match event {
                Event::Changed(change) if change.process == process => Some(change.to),
                _ => None,
            })
            .collect()
    }

    /// Ends the thread and leaves the programs running.
    pub(crate) fn abandon(mut self) -> Arc<tempfile::TempDir> {
        self.supervisor.take().unwrap().abandon();
        Arc::clone(&self.dir)
    }

    /// Stops everything.
    pub(crate) fn shut_down(mut self) -> Arc<tempfile::TempDir> {
        self.down();
        Arc::clone(&self.dir)
    }

    fn down(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.ask(Command::Shutdown);
            let ended = supervisor.join();
            assert!(ended || std::thread::panicking());
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.down();
    }
}

pub(crate) fn did(outcomes: Vec<Outcome>) -> Vec<Did> {
    outcomes.into_iter().map(|outcome| outcome.result).collect()
}

//! The daemon of a `mainstay.toml` as supervisord's clients see it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_base::Diagnostics;
use mainstay_supervise::{Command, Output, ProcessSpec, ProgramSpec, Supervisor};
use mainstay_supervisord::conf::diff::diff;
use mainstay_supervisord::namespec;
use mainstay_supervisord::rpc::info::{ConfigInfo, LogPath};
use mainstay_supervisord::rpc::{DaemonState, GroupError, Host, Reread, Supervision};
use mainstay_supervisord::words::Level;
use tokio::sync::watch;

use crate::config::Config;
use crate::daemon::End;
use crate::facade::Facade;
use crate::own_log::Terminal;
use crate::supervisord::{forget, take_in, uid};

/// The log target of what the HTTP server has to say.
const HTTP: &str = "http";

/// Programs by the name of their group.
type Groups = BTreeMap<String, Vec<Arc<ProgramSpec>>>;

/// What the clients ask.
pub(crate) struct Native {
    config: Arc<Config>,
    supervisor: Arc<Supervisor>,
    facade: Arc<Facade>,
    stop: watch::Sender<End>,
    terminal: Terminal,
    roster: Mutex<Roster>,
    /// Held while the config is applied: one after the other.
    applying: tokio::sync::Mutex<()>,
}

/// Which groups there are.
struct Roster {
    /// Those of the config read last.
    read: Groups,
    /// Those that are supervised, as they were configured when they were taken in.
    active: Groups,
    /// What the config read last says of the log, until it is applied.
    log: Option<mainstay_log::Config>,
    /// The same of alerts.
    alert: Option<mainstay_alert::Config>,
}

impl Native {
    pub(crate) fn new(
        config: Arc<Config>,
        supervisor: Arc<Supervisor>,
        facade: Arc<Facade>,
        stop: watch::Sender<End>,
        terminal: Terminal,
    ) -> Self {
        let groups = by_group(&config.programs);
        Self {
            config,
            supervisor,
            facade,
            stop,
            terminal,
            roster: Mutex::new(Roster {
                read: groups.clone(),
                active: groups,
                log: None,
                alert: None,
            }),
            applying: tokio::sync::Mutex::default(),
        }
    }

    /// Reads the config anew and has what is in it: programs that left it are stopped, those that are
    /// new in it started, changed ones both. All others go on as they are. With a config that is wrong
    /// nothing happens. All of it is told in the log.
    pub(crate) async fn apply(&self) {
        let _alone = self.applying.lock().await;
        let found = match self.reload_config().await {
            Ok(found) => found,
            Err(why) => {
                log::error!(target: HTTP, "the config is not applied, everything goes on: {why}");
                if let Some(desk) = self.facade.desk() {
                    desk.on_refused(&why);
                }
                return;
            }
        };
        self.apply_log().await;
        self.apply_alert().await;
        let Reread {
            added,
            changed,
            removed,
        } = found;
        for name in removed.iter().chain(&changed) {
            let stop = Command::Stop {
                names: vec![format!("{name}:*")],
                wait: true,
            };
            // One that has ended by itself is as well.
            let _ = Supervision::ask(&*self.supervisor, stop).await;
            if let Err(error) = self.remove_process_group(name).await {
                log::error!(target: HTTP, "group {name} cannot be taken out: {error:?}");
            }
        }
        for name in added.iter().chain(&changed) {
            if let Err(error) = self.add_process_group(name).await {
                log::error!(target: HTTP, "group {name} cannot be taken in: {error:?}");
            }
        }
        self.facade.reconcile().await;
        self.apply_faults().await;
        let named = |what: &str, names: &[String]| match names {
            [] => format!("none {what}"),
            names => format!("{what} {}", names.join(", ")),
        };
        log::info!(
            target: HTTP,
            "the config is applied: {}; {}; {}",
            named("added", &added),
            named("changed", &changed),
            named("removed", &removed)
        );
    }

    /// Puts the routes and sinks in place that the config read last asks for. One that cannot be opened
    /// leaves all as they are.
    /// Looks through what the programs print that there are now.
    async fn apply_faults(&self) {
        let Some(faults) = self.facade.faults().map(Arc::clone) else {
            return;
        };
        let programs: Vec<Arc<ProgramSpec>> =
            self.roster().active.values().flatten().cloned().collect();
        // Files are looked at: not on this thread.
        let _ = tokio::task::spawn_blocking(move || faults.read(&programs)).await;
    }

    async fn apply_log(&self) {
        let Some(config) = self.roster().log.take() else {
            return;
        };
        let (logger, terminal) = (self.facade.logger().clone(), self.terminal);
        let resolver = self.config.resolver.clone();
        // Files are opened, and what waits is written: not on this thread.
        let bell = self.facade.desk().map(|desk| Arc::clone(desk.bell()));
        let applied = tokio::task::spawn_blocking(move || {
            terminal.reload(&logger, config, &resolver, bell.as_ref())
        })
        .await;
        match applied {
            Ok(Ok(changes)) if changes.opened.is_empty() && changes.closed.is_empty() => {}
            Ok(Ok(changes)) => log::info!(
                target: HTTP,
                "the log has changed: opened {}; closed {}",
                changes.opened.join(", "),
                changes.closed.join(", ")
            ),
            Ok(Err(error)) => log::error!(target: HTTP, "the log stays as it was: {error}"),
            Err(error) => log::error!(target: HTTP, "the log stays as it was: {error}"),
        }
    }

    /// Has the alerts as the config read last asks for. One that cannot be used leaves all as it is.
    async fn apply_alert(&self) {
        let Some(config) = self.roster().alert.take() else {
            return;
        };
        let Some(bell) = self.facade.desk().map(|desk| Arc::clone(desk.bell())) else {
            return;
        };
        // What is on its way is waited for: not on this thread.
        match tokio::task::spawn_blocking(move || bell.change(config)).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => log::info!(target: HTTP, "[alert] has changed and counts from now on"),
            Ok(Err(error)) => {
                log::error!(target: HTTP, "alerts stay as they were: {error}; {}", error.help());
            }
            Err(error) => log::error!(target: HTTP, "alerts stay as they were: {error}"),
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_log(&self) -> PathBuf {
        self.facade.own_file().path
    }
}

impl Host for Native {
    fn identification(&self) -> String {
        self.config.host.name.clone()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn state(&self) -> DaemonState {
        (*self.stop.borrow()).into()
    }

    fn main_log(&self) -> Option<PathBuf> {
        Some(self.own_log())
    }

    fn clear_main_log(&self) -> io::Result<()> {
        let log = std::fs::OpenOptions::new()
            .write(true)
            .open(self.own_log())?;
        log.set_len(0)?;
        // Who writes it learns that it is empty.
        self.facade.reopen_own();
        Ok(())
    }

    fn shutdown(&self) {
        log::warn!(target: HTTP, "a client asks to stop every program and to end");
        let _ = self.stop.send(End::Stop);
    }

    fn restart(&self) -> Result<(), String> {
        log::warn!(target: HTTP, "a client asks to stop every program and to begin anew");
        // What is wrong with the config is better known while everything is up.
        if let Err(diagnostics) = load(&self.config.path) {
            log::error!(target: HTTP, "mainstay does not begin anew, everything goes on: {diagnostics}");
            return Err(diagnostics.to_string());
        }
        let _ = self.stop.send(End::Restart);
        Ok(())
    }

    async fn reload_config(&self) -> Result<Reread, String> {
        let path = self.config.path.clone();
        // Files are looked at: not on this thread.
        let read = tokio::task::spawn_blocking(move || load(&path))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|diagnostics| diagnostics.to_string())?;
        if !self.config.resolver.agrees_with(&read.resolver) {
            return Err(
                "[secret] is not as it was when mainstay was started: programs get no other \
                 secrets before it is restarted (supervisorctl reload)"
                    .to_owned(),
            );
        }
        for warning in &read.warnings {
            log::warn!(target: HTTP, "{warning}");
        }
        log::info!(
            target: HTTP,
            "the programs, the log and the alerts of {} are read anew; what else it says counts from the next start",
            read.path.display()
        );
        let groups = by_group(&read.programs);
        let mut roster = self.roster();
        let found = difference(&roster.active, &groups);
        roster.read = groups;
        roster.log = Some(read.log);
        roster.alert = read.alert;
        Ok(found)
    }

    async fn add_process_group(&self, name: &str) -> Result<(), GroupError> {
        let programs = {
            let roster = self.roster();
            if roster.active.contains_key(name) {
                return Err(GroupError::AlreadyThere);
            }
            roster.read.get(name).cloned().ok_or(GroupError::Unknown)?
        };
        take_in(&self.supervisor, programs.clone()).await?;
        self.roster().active.insert(name.to_owned(), programs);
        Ok(())
    }

    async fn remove_process_group(&self, name: &str) -> Result<(), GroupError> {
        forget(&self.supervisor, name).await?;
        self.roster().active.remove(name);
        Ok(())
    }

    fn configs(&self) -> Vec<ConfigInfo> {
        let roster = self.roster();
        let programs = roster.read.values().flatten();
        programs
            .flat_map(|program| {
                let inuse = roster.active.contains_key(&program.group.name);
                let processes = program.processes.iter();
                processes.map(move |process| info(program, process, inuse))
            })
            .collect()
    }

    fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Critical | Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
            Level::Trace | Level::Blather => log::Level::Trace,
        };
        log::log!(target: HTTP, level, "{text}");
    }
}

/// The config as it is now.
fn load(path: &Path) -> Result<Config, Diagnostics> {
    crate::config::load(path, crate::command::environment(), false)
}

fn by_group(programs: &[Arc<ProgramSpec>]) -> Groups {
    let mut groups = Groups::new();
    for program in programs {
        let group = groups.entry(program.group.name.clone()).or_default();
        group.push(Arc::clone(program));
    }
    groups
}

fn difference(old: &Groups, new: &Groups) -> Reread {
    fn named(groups: &Groups) -> impl Iterator<Item = (&str, &Vec<Arc<ProgramSpec>>)> {
        groups
            .iter()
            .map(|(name, programs)| (name.as_str(), programs))
    }
    diff(named(old), named(new))
}

fn info(program: &ProgramSpec, process: &ProcessSpec, inuse: bool) -> ConfigInfo {
    let path = |output: &Output| match output.path() {
        Some(path) => LogPath::Path(path.display().to_string()),
        None => LogPath::None,
    };
    let size = |output: &Output| match output {
        Output::File { retain, .. } => (
            retain.size.unwrap_or(0),
            u64::from(retain.files.unwrap_or(0)),
        ),
        Output::Merge | Output::Discard => (0, 0),
    };
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let words: Vec<String> = process.command.iter().map(ToString::to_string).collect();
    let policy = &program.policy;
    let (stdout, stderr) = (size(&process.stdout), size(&process.stderr));
    ConfigInfo {
        autostart: program.autostart,
        directory: program.dir.as_ref().map(|dir| dir.display().to_string()),
        uid: uid(program.user.as_deref()),
        command: shell_words::join(&words),
        exitcodes: policy
            .exit_codes
            .iter()
            .filter_map(|code| u8::try_from(*code).ok())
            .collect(),
        group: program.group.name.clone(),
        group_prio: program.group.priority.into(),
        inuse,
        killasgroup: policy.kill_group,
        name: namespec::member(&program.group.name, &process.process),
        process_prio: program.priority.into(),
        redirect_stderr: process.stderr == Output::Merge,
        // As an imported config has it: a negative number is no limit.
        startretries: policy.start_retries.map_or(-1, i64::from),
        startsecs: seconds(policy.start_secs),
        stdout_capture_maxbytes: process.stdout_tap.capture,
        stdout_events_enabled: process.stdout_tap.events,
        stdout_logfile: path(&process.stdout),
        stdout_logfile_backups: stdout.1,
        stdout_logfile_maxbytes: stdout.0,
        stdout_syslog: process.stdout_tap.syslog,
        stopsignal: policy.stop_signal,
        stopwaitsecs: seconds(policy.stop_wait),
        stderr_capture_maxbytes: process.stderr_tap.capture,
        stderr_events_enabled: process.stderr_tap.events,
        stderr_logfile: path(&process.stderr),
        stderr_logfile_backups: stderr.1,
        stderr_logfile_maxbytes: stderr.0,
        stderr_syslog: process.stderr_tap.syslog,
        serverurl: LogPath::Auto,
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::Template;

    use super::*;

    fn program(name: &str, command: &[&str]) -> Arc<ProgramSpec> {
        let words = command.iter().map(|word| Template::literal(*word));
        Arc::new(ProgramSpec::new(name, words.collect(), Path::new("/log")))
    }

    #[test]
    fn what_differs_is_named() {
        let old = [
            program("a", &["x"]),
            program("b", &["x"]),
            program("c", &["x"]),
        ];
        let new = [
            program("b", &["x"]),
            program("c", &["y"]),
            program("d", &["x"]),
        ];
        let found = difference(&by_group(&old), &by_group(&new));
        let names = |name: &str| vec![name.to_owned()];
        let expected = Reread {
            added: names("d"),
            changed: names("c"),
            removed: names("a"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_config_is_told_in_the_originals_words() {
        let mut program = program("web", &["a", "b c"]);
        let program = Arc::make_mut(&mut program);
        program.processes[0].process = "web:0".to_owned();
        program.processes[0].stderr = Output::Merge;
        let info = info(program, &program.processes[0], true);
        assert_eq!(
            (info.group.as_str(), info.name.as_str()),
            ("web", "0"),
            "{info:?}"
        );
        assert_eq!(info.command, "a 'b c'");
        assert_eq!((info.startretries, info.redirect_stderr), (-1, true));
        assert_eq!(
            info.stdout_logfile,
            LogPath::Path("/log/web.stdout.log".to_owned())
        );
        assert_eq!(info.stderr_logfile, LogPath::None);
    }
}

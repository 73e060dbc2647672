//! Scheduled backups and drills: each is a process of its own, `mainstay backup run NAME` or
//! `mainstay backup drill NAME`.

use std::fmt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_control::wire::BackupStatus;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::daemon::End;
use crate::exit::{Exit, Failure};
use crate::facade::Facade;
use crate::timetable::Timetable;

/// The wall clock may be set by hand or by NTP: a wait for it is never longer than this.
const LOOK: Duration = Duration::from_mins(1);

/// What of a failed run's last words goes to the log.
const LAST_WORDS: usize = 4096;

/// How long a run that is asked to stop may take for it.
const STOP: Duration = Duration::from_secs(20);

/// How long a run waits for another one on the same repository.
const PATIENCE: &str = "1h";

const TARGET: &str = "backup";

/// How often it is looked whether a backup is overdue or a disk is full.
const ROUND: Duration = Duration::from_mins(10);

/// The state of every backup as the catalog has it.
pub(crate) fn statuses(config: &Config) -> Result<Vec<BackupStatus>, String> {
    crate::command::backup::statuses(config)
        .map_err(|error| format!("the state of the backups is not known: {}", error.message))
}

/// Something with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// A run of this backup.
    Backup(String),
    /// A drill of this backup.
    Drill(String),
}

impl Job {
    /// The backup.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Backup(name) | Self::Drill(name) => name,
        }
    }
}

/// `the backup db`
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(name) => write!(f, "the backup {name}"),
            Self::Drill(name) => write!(f, "the drill of {name}"),
        }
    }
}

/// When each job was last begun, for those that ever were.
fn last_begun(config: &Config) -> Result<Vec<(Job, Timestamp)>, Failure> {
    let mut last = Vec::new();
    for (name, run, drill) in crate::command::backup::last_begun(config)? {
        last.extend(run.map(|at| (Job::Backup(name.clone()), at)));
        last.extend(drill.map(|at| (Job::Drill(name), at)));
    }
    Ok(last)
}

/// What happens next in the timetable.
enum Turn {
    /// The daemon ends.
    Stop,
    /// Some run is due.
    Due,
    /// It is time to look how backups and disks are.
    Look,
    /// This job has ended; why it failed, if it did.
    Ended(Job, Option<String>),
}

/// Runs what is due until told to stop; then what still runs is asked to stop, and waited for.
pub(crate) async fn keep(config: Arc<Config>, facade: Arc<Facade>, mut stop: watch::Receiver<End>) {
    let mut timetable = Timetable::default();
    let now = Timestamp::now();
    let known = Arc::clone(&config);
    let last = match tokio::task::spawn_blocking(move || last_begun(&known)).await {
        Ok(Ok(last)) => last,
        Ok(Err(failure)) => {
            log::error!(target: TARGET, "when backups ran last is not known: {}", failure.message);
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    for backup in &config.backup.backups {
        let mut add = |job: Job, due: Box<dyn Fn(Timestamp) -> Option<Timestamp> + Send>| {
            let last = last.iter().find(|(other, _)| *other == job);
            timetable.add(job, due, last.map(|(_, at)| *at), now);
        };
        if backup.at.is_some() {
            let due = backup.clone();
            add(
                Job::Backup(backup.name.clone()),
                Box::new(move |after| due.due_after(after)),
            );
        }
        let drill_at = backup.drill.as_ref().and_then(|drill| drill.at.clone());
        if let Some(at) = drill_at {
            add(
                Job::Drill(backup.name.clone()),
                Box::new(move |after| at.next_after(after)),
            );
        }
    }
    let (ended, mut endings) = mpsc::unbounded_channel::<(Job, Option<String>)>();
    let mut runs = tokio::task::JoinSet::new();
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = Timestamp::now();
        for job in timetable.due(now) {
            facade.job_begins(&job);
            let (config, stop, ended) = (Arc::clone(&config), stop.clone(), ended.clone());
            let facade = Arc::clone(&facade);
            runs.spawn(async move {
                let why = run(&config, &facade, &job, stop).await.err();
                let _ = ended.send((job, why));
            });
        }
        let wait = timetable.next().map(|next| {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            wait.min(LOOK)
        });
        let turn = tokio::select! {
            _ = stop.wait_for(|end| *end != End::No) => Turn::Stop,
            Some((job, why)) = endings.recv() => Turn::Ended(job, why),
            _ = rounds.tick() => Turn::Look,
            () = sleep(wait) => Turn::Due,
        };
        match turn {
            Turn::Stop => break,
            Turn::Due => {}
            Turn::Look => look(&config, &facade).await,
            Turn::Ended(job, why) => {
                facade.job_ends(&job);
                timetable.ended(&job);
                look(&config, &facade).await;
                if let (Some(why), Some(desk)) = (why, facade.desk()) {
                    match &job {
                        Job::Backup(name) => desk.on_failed_run(name, &why),
                        Job::Drill(name) => desk.on_failed_drill(name, &why),
                    }
                }
            }
        }
    }
    while runs.join_next().await.is_some() {}
}

/// Tells what a person must know of backups and disks.
async fn look(config: &Arc<Config>, facade: &Facade) {
    let Some(desk) = facade.desk() else {
        return;
    };
    let config = Arc::clone(config);
    // The catalog is a database: not on this thread.
    let seen = tokio::task::spawn_blocking(move || {
        let backups = if config.backup.backups.is_empty() {
            Vec::new()
        } else {
            statuses(&config).unwrap_or_else(|why| {
                log::error!(target: TARGET, "{why}");
                Vec::new()
            })
        };
        (backups, crate::facade::disks(&config))
    });
    if let Ok((mut backups, disks)) = seen.await {
        for backup in &mut backups {
            backup.running |= facade.runs(&Job::Backup(backup.name.clone()));
        }
        desk.look(&backups, &disks);
    }
}

/// Sleeps, for ever when there is nothing to wait for.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// One run, from its start to its last word. The error is why it failed.
async fn run(
    config: &Config,
    facade: &Facade,
    job: &Job,
    mut stop: watch::Receiver<End>,
) -> Result<(), String> {
    let (verb, name) = match job {
        Job::Backup(name) => ("run", name.clone()),
        Job::Drill(name) => ("drill", format!("drill of {name}")),
    };
    log::info!(target: TARGET, "{name}: begins");
    let spawned = std::env::current_exe().and_then(|binary| {
        Command::new(binary)
            .arg("--config")
            .arg(&config.path)
            .args(["--quiet", "backup", verb, "--wait", PATIENCE, job.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    });
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let why = format!("cannot be started: {error}");
            log::error!(target: TARGET, "{name}: {why}");
            return Err(why);
        }
    };
    facade.job_is(job, child.id());
    let mut words = Vec::new();
    let stderr = child.stderr.take();
    let listen = async {
        if let Some(mut stderr) = stderr {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = stderr.read(&mut piece).await {
                words.extend_from_slice(&piece[..length]);
                let surplus = words.len().saturating_sub(LAST_WORDS);
                words.drain(..surplus);
            }
        }
    };
    let asked = tokio::select! {
        () = listen => false,
        _ = stop.wait_for(|end| *end != End::No) => true,
    };
    if asked {
        log::warn!(target: TARGET, "{name}: is asked to stop, because mainstay ends");
        end(&mut child).await;
    }
    let said = String::from_utf8_lossy(&words).trim().replace('\n', "; ");
    match child.wait().await {
        Ok(status) if status.success() => {
            log::info!(target: TARGET, "{name}: done{}{said}", if said.is_empty() { "" } else { ": " });
        }
        Ok(_) if asked => log::warn!(target: TARGET, "{name}: stopped"),
        // Somebody runs it by hand, or it was begun by a daemon that was killed.
        Ok(status) if status.code() == Some(Exit::Locked as i32) => {
            log::warn!(target: TARGET, "{name}: runs already; this time is passed over");
        }
        Ok(status) => {
            log::error!(target: TARGET, "{name}: FAILED ({status}): {said}");
            return Err(format!("{status}: {said}"));
        }
        Err(error) => {
            let why = format!("its end is not known: {error}");
            log::error!(target: TARGET, "{name}: {why}");
            return Err(why);
        }
    }
    Ok(())
}

/// Asks a run to stop, and ends it when it does not.
async fn end(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // The child is not waited for yet, so that the id is still its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(STOP, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

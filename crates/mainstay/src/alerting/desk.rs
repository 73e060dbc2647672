//! Where what happens is looked at and told: [`Watch`] decides, here it is done.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_alert::Alert;
use mainstay_control::wire::{BackupStatus, DiskStatus};
use mainstay_fault::Notify;
use mainstay_fault::ledger::{Kind, Noted};
use mainstay_log::Tail;
use mainstay_supervise::{Command, Event, Reply, Status, Supervisor};
use mainstay_supervisord::rpc::Supervision;
use tokio::sync::mpsc;

use super::{Act, Bell, Watch};
use crate::faults::Ear;

/// How many of a program's last lines an alert has.
const LINES: usize = 10;

/// How long those may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes what happens, from any thread, and never waits.
pub(crate) struct Desk {
    watch: Mutex<Watch>,
    acts: mpsc::UnboundedSender<Act>,
    bell: Arc<Bell>,
}

impl Desk {
    /// A desk, and what it has to do, for [`work`].
    pub(crate) fn new(bell: Arc<Bell>) -> (Self, mpsc::UnboundedReceiver<Act>) {
        let mut watch = Watch::default();
        if let Some(Ok(overview)) = bell.alerts().map(|alerts| alerts.list()) {
            watch.resume(&overview.alerts);
            // When it came up there was no log yet.
            if let Some(trouble) = &overview.trouble {
                log::warn!("alerts go on in memory only: {trouble}");
            }
        }
        let (acts, work) = mpsc::unbounded_channel();
        let watch = Mutex::new(watch);
        (Self { watch, acts, bell }, work)
    }

    /// The bell.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, acts: impl IntoIterator<Item = Act>) {
        for act in acts {
            // Who does it is gone only when the daemon ends.
            let _ = self.acts.send(act);
        }
    }

    /// Something happened in the supervision.
    pub(crate) fn on_event(&self, event: &Event) {
        // Held until it is sent, so that the end of something never comes before its beginning.
        let mut watch = self.watch();
        self.send(watch.on_event(event, Timestamp::now()));
    }

    /// How the processes are now.
    pub(crate) fn reconcile(&self, statuses: &[Status]) {
        let mut watch = self.watch();
        self.send(watch.reconcile(statuses, Timestamp::now()));
    }

    /// How backups are by their catalog, and disks.
    pub(crate) fn look(&self, backups: &[BackupStatus], disks: &[DiskStatus]) {
        let (mut watch, now) = (self.watch(), Timestamp::now());
        self.send(watch.on_backups(backups, now));
        self.send(watch.on_disks(disks, now));
    }

    /// A run of a backup failed.
    pub(crate) fn on_failed_run(&self, name: &str, why: &str) {
        let mut watch = self.watch();
        self.send(watch.on_failed_run(name, why, Timestamp::now()));
    }

    /// A drill proved nothing, or did not come to an end.
    pub(crate) fn on_failed_drill(&self, name: &str, why: &str) {
        let mut watch = self.watch();
        self.send(watch.on_failed_drill(name, why, Timestamp::now()));
    }

    /// A fault was noted. What is told of it waits for nothing: it is told from here.
    pub(crate) fn on_fault(&self, noted: &Noted, notify: Notify, alerted: bool) {
        let mut watch = self.watch();
        self.do_at_once(watch.on_fault(noted, notify, alerted, Timestamp::now()));
    }

    /// Faults of a kind were forgotten.
    pub(crate) fn on_forgotten(&self, kind: &Kind) {
        let mut watch = self.watch();
        self.do_at_once(watch.on_forgotten(kind));
    }

    fn do_at_once(&self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Raise(alert) | Act::RaiseWithOutput(alert, _) => self.bell.raise(*alert),
                Act::Resolve(key) => self.bell.resolve(key),
            }
        }
    }

    /// The changed config is not applied.
    pub(crate) fn on_refused(&self, why: &str) {
        self.send([Act::Raise(Box::new(super::refused(why)))]);
    }
}

impl Ear for Arc<Desk> {
    fn noted(&mut self, noted: &Noted, notify: Notify, alerted: bool) {
        self.on_fault(noted, notify, alerted);
    }

    fn forgotten(&mut self, kind: &Kind) {
        self.on_forgotten(kind);
    }
}

/// Does what the desk says, one after the other, until there is no desk any more.
pub(crate) async fn work(
    mut acts: mpsc::UnboundedReceiver<Act>,
    bell: Arc<Bell>,
    supervisor: Arc<Supervisor>,
) {
    while let Some(act) = acts.recv().await {
        match act {
            Act::Raise(alert) => bell.raise(*alert),
            Act::RaiseWithOutput(alert, process) => {
                let lines = tokio::time::timeout(PATIENCE, last_lines(&supervisor, &process));
                let lines = lines.await.unwrap_or_default();
                bell.raise(Alert::context(*alert, lines));
            }
            Act::Resolve(key) => bell.resolve(key),
        }
    }
}

/// The last lines that a process wrote: of its errors, or of its output where there are none.
async fn last_lines(supervisor: &Supervisor, process: &str) -> Vec<String> {
    let status = Command::Status {
        names: vec![process.to_owned()],
    };
    let Ok(Reply::Status(statuses)) = Supervision::ask(supervisor, status).await else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for status in statuses {
        files.extend(status.stderr_log);
        files.extend(status.stdout_log);
    }
    // Files are read: not on this thread.
    let read = move || {
        files
            .iter()
            .map(|file| end_of(file))
            .find(|lines| !lines.is_empty())
            .unwrap_or_default()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

fn end_of(file: &Path) -> Vec<String> {
    let read = Tail::open(file).and_then(|mut tail| {
        let mut bytes = tail.last_lines(LINES)?;
        bytes.extend(tail.take_partial());
        Ok(bytes)
    });
    let bytes = read.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::to_owned).collect()
}

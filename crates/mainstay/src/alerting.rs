//! Of what happens in the daemon, which things a person is told. Pure: events and states come in,
//! alerts and their ends go out.
//!
//! What lasts is raised once and ended once, also over restarts of the daemon: what is still raised is
//! given to [`Watch::resume`].

mod answers;
mod bell;
mod desk;
mod faults;
mod records;

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_alert::{Alert, Key, Listed, Scope, Severity, State};
use mainstay_control::wire::{BackupOutcome, BackupStatus, DiskStatus};
use mainstay_log::Level;
use mainstay_supervise::{Change, Event, Phase, Status, Why};

pub(crate) use answers::{document, raise, silence, summary, test, tried, unsilence};
pub(crate) use bell::Bell;
pub(crate) use desk::{Desk, work};
pub(crate) use records::open;

/// So many failed starts in a row are no hiccup: with the default delays half a minute has passed.
const STARTS: u32 = 5;

/// Below this share of free space, in percent, a disk is told; from one more on it is well again.
pub(crate) const TIGHT: u64 = 5;

/// Below this share of free space, in percent, a person should look now.
const FULL: u64 = 1;

/// The fingerprints of what lasts; beside these, everything of the app `disk`.
const DOWN: &str = "program-down";
const OUTPUT: &str = "program-output";
const FAILED: &str = "backup-failed";
const OVERDUE: &str = "backup-overdue";
const SHRUNKEN: &str = "backup-shrunken";
const UNPROVEN: &str = "backup-unproven";
const DRILL: &str = "drill-failed";
const JOURNAL: &str = "journal";
const OURS: [&str; 8] = [
    DOWN, OUTPUT, FAILED, OVERDUE, SHRUNKEN, UNPROVEN, DRILL, JOURNAL,
];

/// The app of alerts about the daemon itself.
pub(crate) const OWN: &str = "mainstay";
const DISK: &str = "disk";

/// What is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// An alert is raised.
    Raise(Box<Alert>),
    /// The same, with the last lines of this process's output.
    RaiseWithOutput(Box<Alert>, String),
    /// What lasted is over.
    Resolve(Key),
}

/// What is raised and not over yet.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// With the words it was told in, and when.
    lasting: BTreeMap<Key, (String, Timestamp)>,
    /// Everything is being stopped: what ends now does so because it was asked to.
    ending: bool,
    /// How often faults are that are told only when they are frequent.
    rates: faults::Rates,
}

impl Watch {
    /// Takes up what an earlier daemon raised.
    pub(crate) fn resume(&mut self, raised: &[Listed]) {
        for listed in raised.iter().filter(|l| l.state != State::Resolved) {
            let fingerprint = listed.key.fingerprint.as_str();
            let ours = listed.key.app == DISK
                || OURS.contains(&fingerprint)
                || faults::is_ours(fingerprint);
            if ours {
                self.lasting
                    .entry(listed.key.clone())
                    .or_insert((listed.title.clone(), listed.since));
            }
        }
    }

    /// A state began, unless it is known in the same words.
    fn begins(&mut self, alert: Alert, now: Timestamp) -> Option<Alert> {
        let known = self.lasting.get(&alert.key);
        if known.is_some_and(|(title, _)| *title == alert.title) {
            return None;
        }
        let since = known.map_or(now, |(_, since)| *since);
        self.lasting
            .insert(alert.key.clone(), (alert.title.clone(), since));
        Some(alert.lasting())
    }

    fn ends(&mut self, key: Key) -> Option<Act> {
        self.lasting.remove(&key).map(|_| Act::Resolve(key))
    }

    /// Something happened in the supervision.
    pub(crate) fn on_event(&mut self, event: &Event, now: Timestamp) -> Option<Act> {
        let raise = |alert: Option<Alert>| alert.map(|alert| Act::Raise(Box::new(alert)));
        match event {
            Event::ShuttingDown => {
                self.ending = true;
                None
            }
            Event::Changed(change) => self.on_change(change, now),
            Event::Adopted { process, .. } => self.ends(Key::new(process, DOWN)),
            Event::Output {
                process,
                level,
                text,
            } if *level >= Level::Error => {
                let title = format!("the output of {process} is not kept");
                let alert = Alert::new(process, Severity::Error, title)
                    .fingerprint(OUTPUT)
                    .body(text)
                    .command("mainstay status");
                raise(self.begins(alert, now))
            }
            Event::Output { process, .. } => self.ends(Key::new(process, OUTPUT)),
            Event::JournalFailed { text } => {
                let title = "a kill of mainstay now could lose sight of programs";
                let alert = Alert::new(OWN, Severity::Error, title)
                    .fingerprint(JOURNAL)
                    .body(text);
                raise(self.begins(alert, now))
            }
            Event::JournalRecovered => self.ends(Key::new(OWN, JOURNAL)),
            Event::Fault { text } => raise(Some(Alert::new(OWN, Severity::Critical, text))),
            _ => None,
        }
    }

    fn on_change(&mut self, change: &Change, now: Timestamp) -> Option<Act> {
        let process = &change.process;
        if self.ending {
            return None;
        }
        let down = |severity, title: String| {
            down(
                process,
                &change.program,
                severity,
                title,
                change.trouble.as_deref(),
            )
        };
        let alert = match change.to {
            Phase::Fatal => self.begins(down(Severity::Critical, given_up(process)), now),
            Phase::Backoff if change.tries >= STARTS => {
                let title = format!("{process} does not start");
                let alert = down(Severity::Error, title);
                // What was given up before is being tried again: that is no news.
                let known = self.lasting.contains_key(&alert.key);
                (!known).then(|| self.begins(alert, now)).flatten()
            }
            Phase::Exited if change.why == Why::Died => {
                let how = match &change.exit {
                    Some(exit) => format!(": {exit}"),
                    None => String::new(),
                };
                let title = format!("{process} ended unexpectedly{how}");
                Some(
                    Alert::new(process, Severity::Error, title)
                        .fingerprint("program-exit")
                        .body(change.trouble.clone().unwrap_or_default())
                        .command(format!("mainstay logs {process}")),
                )
            }
            Phase::Running | Phase::Stopped | Phase::Exited => {
                return self.ends(Key::new(process, DOWN));
            }
            Phase::Starting | Phase::Backoff | Phase::Stopping | Phase::Unknown => None,
        };
        alert.map(|alert| Act::RaiseWithOutput(Box::new(alert), process.clone()))
    }

    /// How the processes are now, where events may have been missed: what is raised about those that
    /// are not there any more, or are not meant to be up, is over.
    pub(crate) fn reconcile(&mut self, statuses: &[Status], now: Timestamp) -> Vec<Act> {
        let over: Vec<Key> = self
            .lasting
            .keys()
            .filter(|key| key.fingerprint == DOWN || key.fingerprint == OUTPUT)
            .filter(|key| {
                let status = statuses.iter().find(|status| status.process == key.app);
                status.is_none_or(|status| match status.phase {
                    Phase::Running => key.fingerprint == DOWN,
                    Phase::Stopped | Phase::Exited => !status.wanted,
                    _ => false,
                })
            })
            .cloned()
            .collect();
        let mut acts: Vec<Act> = over.into_iter().filter_map(|key| self.ends(key)).collect();
        for status in statuses.iter().filter(|s| s.phase == Phase::Fatal) {
            let process = &status.process;
            let trouble = status.trouble.as_deref();
            let title = given_up(process);
            let alert = down(process, &status.program, Severity::Critical, title, trouble);
            acts.extend(
                self.begins(alert, now)
                    .map(|alert| Act::RaiseWithOutput(Box::new(alert), process.clone())),
            );
        }
        acts
    }

    /// How backups are by their catalog.
    pub(crate) fn on_backups(&mut self, backups: &[BackupStatus], now: Timestamp) -> Vec<Act> {
        let mut acts = Vec::new();
        for backup in backups {
            let failed = match backup.last_outcome {
                Some(BackupOutcome::Failed) => Some("the backup {} failed"),
                Some(BackupOutcome::Partly) => Some("the backup {} is not complete"),
                Some(BackupOutcome::Good) | None => None,
            };
            if let Some(title) = failed.filter(|_| !backup.running) {
                let title = title.replace("{}", &backup.name);
                let why = backup.last_error.clone().unwrap_or_default();
                acts.extend(self.backup_failed(&backup.name, title, why, now));
            }
            let key = backup_key(&backup.name, FAILED);
            if let Some((_, since)) = self.lasting.get(&key)
                && backup.last_good.is_some_and(|good| good >= *since)
                && failed.is_none()
            {
                acts.extend(self.ends(key));
            }
            if backup.overdue && !backup.running {
                let name = &backup.name;
                let last = match backup.last_good {
                    Some(good) => format!("The last good one is of {good}."),
                    None => "There is no good one yet.".to_owned(),
                };
                let title = format!("the backup {name} is overdue");
                let alert = Alert::new(backup_app(name), Severity::Error, title)
                    .fingerprint(OVERDUE)
                    .body(last)
                    .command(format!("mainstay backup run {name}"));
                let begun = self.begins(alert, now);
                acts.extend(begun.map(|alert| Act::Raise(Box::new(alert))));
            } else if !backup.overdue {
                acts.extend(self.ends(backup_key(&backup.name, OVERDUE)));
            }
            acts.extend(self.on_shrunken(backup, now));
            acts.extend(self.on_drills(backup, now));
        }
        acts
    }

    /// Far less than usual is in the last good backup.
    fn on_shrunken(&mut self, backup: &BackupStatus, now: Timestamp) -> Option<Act> {
        let name = &backup.name;
        let Some(how) = &backup.shrunken else {
            return self.ends(backup_key(name, SHRUNKEN));
        };
        let title = format!("the backup {name} has shrunken");
        let alert = Alert::new(backup_app(name), Severity::Error, title)
            .fingerprint(SHRUNKEN)
            .body(format!("The last good one has {how}. If that is not meant, an older snapshot has what is missing."))
            .command(format!("mainstay backup list {name}"));
        let begun = self.begins(alert, now)?;
        Some(Act::Raise(Box::new(begun)))
    }

    /// Whether a restore is proven as it should be.
    fn on_drills(&mut self, backup: &BackupStatus, now: Timestamp) -> Vec<Act> {
        let mut acts = Vec::new();
        let name = &backup.name;
        let proven = backup.proven.as_ref().map(|proven| proven.at);
        if let Some(why) = &backup.drill_error {
            acts.extend(self.on_failed_drill(name, why, now));
        } else if let Some((_, since)) = self.lasting.get(&backup_key(name, DRILL))
            && proven.is_some_and(|proven| proven >= *since)
        {
            acts.extend(self.ends(backup_key(name, DRILL)));
        }
        if !backup.unproven {
            acts.extend(self.ends(backup_key(name, UNPROVEN)));
        } else if !backup.drilling {
            let last = match proven {
                Some(proven) => format!("The last proof is of {proven}."),
                None => "There is no proof yet.".to_owned(),
            };
            let title = format!("no restore of {name} was proven for long");
            let alert = Alert::new(backup_app(name), Severity::Warning, title)
                .fingerprint(UNPROVEN)
                .body(last)
                .command(format!("mainstay backup drill {name}"));
            let begun = self.begins(alert, now);
            acts.extend(begun.map(|alert| Act::Raise(Box::new(alert))));
        }
        acts
    }

    /// A drill proved nothing.
    pub(crate) fn on_failed_drill(&mut self, name: &str, why: &str, now: Timestamp) -> Option<Act> {
        let title = format!("the drill of {name} failed");
        let alert = Alert::new(backup_app(name), Severity::Error, title)
            .fingerprint(DRILL)
            .body(why)
            .command(format!("mainstay backup drill --show {name}"));
        let begun = self.begins(alert, now)?;
        Some(Act::Raise(Box::new(begun)))
    }

    fn backup_failed(
        &mut self,
        name: &str,
        title: String,
        why: String,
        now: Timestamp,
    ) -> Option<Act> {
        let alert = Alert::new(backup_app(name), Severity::Error, title)
            .fingerprint(FAILED)
            .body(why)
            .command(format!("mainstay backup run {name}"));
        let begun = self.begins(alert, now)?;
        Some(Act::Raise(Box::new(begun)))
    }

    /// A run that failed; where its catalog has it, that has been said by [`Watch::on_backups`].
    pub(crate) fn on_failed_run(&mut self, name: &str, why: &str, now: Timestamp) -> Option<Act> {
        if self.lasting.contains_key(&backup_key(name, FAILED)) {
            return None;
        }
        let title = format!("the backup {name} failed");
        self.backup_failed(name, title, why.to_owned(), now)
    }

    /// How full disks are.
    ///
    /// The alert has no wider scope than others: a disk that is nearly full for weeks must not keep
    /// other alerts from being told.
    pub(crate) fn on_disks(&mut self, disks: &[DiskStatus], now: Timestamp) -> Vec<Act> {
        let mut acts = Vec::new();
        for disk in disks.iter().filter(|disk| disk.total > 0) {
            let share = u128::from(disk.free) * 100 / u128::from(disk.total);
            let severity = match share {
                _ if share < u128::from(FULL) => Some((Severity::Critical, "is full")),
                _ if share < u128::from(TIGHT) => Some((Severity::Warning, "is nearly full")),
                _ => None,
            };
            let Some((severity, how)) = severity else {
                if share > u128::from(TIGHT) {
                    acts.extend(self.ends(Key::new(DISK, &disk.path)));
                }
                continue;
            };
            let alert = Alert::new(DISK, severity, format!("the disk of {} {how}", disk.path))
                .fingerprint(&disk.path)
                .body(format!(
                    "{} of {} are free.",
                    mainstay_base::Size(disk.free).human(),
                    mainstay_base::Size(disk.total).human()
                ))
                .command("mainstay status");
            let begun = self.begins(alert, now);
            acts.extend(begun.map(|alert| Act::Raise(Box::new(alert))));
        }
        acts
    }
}

fn given_up(process: &str) -> String {
    format!("{process} is FATAL: it is not started again")
}

/// A process is not up, and is meant to be.
fn down(
    process: &str,
    program: &str,
    severity: Severity,
    title: String,
    trouble: Option<&str>,
) -> Alert {
    let alert = Alert::new(process, severity, title)
        .fingerprint(DOWN)
        .scope(Scope::Service)
        .body(trouble.unwrap_or_default())
        .command(format!("mainstay logs {process}"));
    if program == process {
        return alert;
    }
    alert.label("program", program)
}

fn backup_app(name: &str) -> String {
    format!("backup:{name}")
}

fn backup_key(name: &str, fingerprint: &str) -> Key {
    Key::new(backup_app(name), fingerprint)
}

/// A changed config that is not applied, because it is wrong.
pub(crate) fn refused(why: &str) -> Alert {
    Alert::new(OWN, Severity::Error, "the changed config is not applied")
        .fingerprint("config-refused")
        .body(why)
        .command("mainstay check")
}

#[cfg(test)]
mod tests;

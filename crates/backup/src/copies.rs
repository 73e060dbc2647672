//! Copies of snapshots in other repositories, by their content.

use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::{Repository, Snapshot};
use crate::run::{Backups, Selector, accept, choose, repository_lock};

/// What a copy did.
#[derive(Debug, Clone)]
pub struct CopyReport {
    /// Copied now, oldest first, as they are called in the other repository.
    pub copied: Vec<Snapshot>,
    /// How many were there already.
    pub present: usize,
    /// Bytes the other repository grew by.
    pub added: u64,
    /// Why it went no further.
    pub error: Option<Error>,
}

impl Backups {
    /// Copies the snapshots of a backup from one repository to another: one of them, or all that are
    /// not there yet. The source of the backup is not read, and what the other has is not sent again.
    ///
    /// An error is returned if nothing could be begun; one that comes later is in the report.
    pub fn copy(
        &self,
        backup: &str,
        only: Option<&Selector>,
        from: &str,
        to: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<CopyReport, Error> {
        let attempt = format!("copy backup `{backup}` from `{from}` to `{to}`");
        let (source, target) = (self.repository(from)?, self.repository(to)?);
        if from == to {
            return Err(Error::new(
                ErrorKind::UnknownRepository,
                attempt,
                "they are one repository",
            )
            .with_help("name another one as `--to`"));
        }
        let source = source.open(progress)?;
        let of = |snapshots: Vec<Snapshot>| -> Vec<Snapshot> {
            let own = |snapshot: &Snapshot| snapshot.backup == backup;
            snapshots.into_iter().filter(own).collect()
        };
        let mut wanted = of(source.snapshots()?);
        if wanted.is_empty() {
            self.backup_config(backup)?;
        }
        if let Some(selector) = only {
            let chosen = choose(&wanted, selector, self.clock.now(), &attempt)?
                .cloned()
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::UnknownSnapshot,
                        &attempt,
                        "there is no such snapshot",
                    )
                    .with_help(format!(
                        "`mainstay backup list {backup} --repository {from}` shows their ids"
                    ))
                })?;
            wanted = vec![chosen];
        }
        let _lock = self.lock(&repository_lock(to), &attempt, progress)?;
        let target = target.open(progress)?;
        let _announced = target.announce(&self.config.host)?;
        target.mend()?;
        let there = of(target.snapshots()?);
        let same = |a: &Snapshot, b: &Snapshot| {
            (a.time, &a.host, &a.path, a.complete) == (b.time, &b.host, &b.path, b.complete)
        };
        let all = wanted.len();
        wanted.retain(|snapshot| !there.iter().any(|other| same(snapshot, other)));
        let mut report = CopyReport {
            present: all - wanted.len(),
            copied: Vec::new(),
            added: 0,
            error: None,
        };
        for snapshot in &wanted {
            let copied = target
                .copy_from(source.as_ref(), snapshot)
                .and_then(|stored| {
                    accept(to, backup, target.as_ref(), &stored)?;
                    Ok(stored)
                });
            match copied {
                Ok(stored) => {
                    report.added += stored.added;
                    report.copied.push(stored.snapshot);
                }
                Err(error) => {
                    report.error = Some(error);
                    break;
                }
            }
        }
        self.observe(to, &report.copied);
        Ok(report)
    }
}

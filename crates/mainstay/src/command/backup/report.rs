//! What `mainstay backup` tells: lines for people, documents for machines.

use mainstay_backup::{Depth, Error, Item, ItemKind, Located, RepositoryVerify, RunReport, Weight};
use mainstay_base::{Size, counted};
use serde_json::{Value, json};

use super::Session;
use crate::exit::{Exit, Failure};
use crate::render::plain;

impl Session<'_> {
    /// A run's outcome for people; failures go to standard error.
    pub(super) fn tell(&self, report: &RunReport) {
        for run in &report.repositories {
            if let Some(snapshot) = &run.snapshot {
                self.output.say(&format!(
                    "{} → {}: snapshot {}, {}, {} ({} new){}",
                    report.backup,
                    run.repository,
                    snapshot.short_id(),
                    counted(snapshot.files, "file"),
                    Size(snapshot.bytes).human(),
                    Size(run.added).human(),
                    match run.forgotten.len() {
                        0 => String::new(),
                        n => format!(", {n} old removed"),
                    }
                ));
                if let Some(server) = &snapshot.facts.server {
                    self.output.say(&plain(&server.to_string()));
                }
                if let Some(files) = &snapshot.facts.physical {
                    self.output.say(&plain(&files.to_string()));
                }
            }
            for issue in &run.issues {
                let line = issue.to_string();
                match issue.weight {
                    Weight::Missing => self
                        .output
                        .warn(&format!("not in the snapshot: {}", plain(&line))),
                    Weight::Warning => self.output.warn(&plain(&line)),
                }
            }
            for note in &run.notes {
                self.output.warn(note);
            }
            if let Some(error) = &run.error {
                let message = format!("{} → {}: {error}", report.backup, run.repository);
                self.output
                    .failure_text(&Failure::new(Exit::Failed, message).help_if(error.help()));
            }
        }
    }

    pub(super) fn tell_verified(&self, repository: &RepositoryVerify, depth: Depth) {
        let name = &repository.repository;
        let failed = |message: String, help: Option<&str>| {
            self.output
                .failure_text(&Failure::new(Exit::Failed, message).help_if(help));
        };
        if let Some(error) = &repository.error {
            failed(format!("{name}: {error}"), error.help());
            return;
        }
        let mut sound = true;
        for finding in &repository.findings {
            if finding.damage {
                sound = false;
                failed(format!("{name}: {}", finding.what), None);
            } else {
                self.output.warn(&format!("{name}: {}", finding.what));
            }
        }
        for proof in &repository.proofs {
            match &proof.failure {
                Some(error) => {
                    sound = false;
                    failed(format!("{name}: {}: {error}", proof.backup), error.help());
                }
                None => self.output.say(&format!(
                    "{name}: {}: snapshot {} was restored into a private place and is whole",
                    proof.backup,
                    proof.snapshot.short_id()
                )),
            }
        }
        if sound {
            let what = match depth {
                Depth::Structure => {
                    "every snapshot, directory and pack is there (--read-data reads all of them)"
                }
                _ => "every snapshot, directory and pack is there and reads back",
            };
            self.output.say(&format!("{name}: {what}"));
        } else {
            failed(
                format!("{name} is damaged"),
                Some(
                    "keep it as it is, name another path in [repository] and back up into that now; then see what of the old can be saved with `restic repair`",
                ),
            );
        }
    }
}

pub(super) fn item_kind(item: &Item) -> &str {
    match &item.kind {
        ItemKind::Directory => "directory",
        ItemKind::File => "file",
        ItemKind::Symlink(_) => "symlink",
        ItemKind::Other(kind) => kind,
    }
}

pub(super) fn located_document(located: &Located) -> Value {
    let snapshot = &located.snapshot;
    json!({
        "id": snapshot.id,
        "backup": snapshot.backup,
        "repository": located.repository,
        "host": snapshot.host,
        "time": snapshot.time.to_string(),
        "path": snapshot.path.to_string_lossy(),
        "complete": snapshot.complete,
        "pinned": snapshot.pinned,
        "files": snapshot.files,
        "bytes": snapshot.bytes,
        "facts": snapshot.facts,
    })
}

pub(super) fn run_document(report: &RunReport) -> Value {
    json!({
        "backup": report.backup,
        "started": report.started.to_string(),
        "seconds": report.took.as_secs_f64(),
        "outcome": report.outcome.as_str(),
        "repositories": report.repositories.iter().map(|run| json!({
            "repository": run.repository,
            "outcome": run.outcome.as_str(),
            "error": run.error.as_ref().map(ToString::to_string),
            "help": run.error.as_ref().and_then(Error::help),
            "snapshot": run.snapshot.as_ref().map(|s| &s.id),
            "files": run.snapshot.as_ref().map(|s| s.files),
            "bytes": run.snapshot.as_ref().map(|s| s.bytes),
            "facts": run.snapshot.as_ref().map(|s| &s.facts),
            "added": run.added,
            "forgotten": run.forgotten.len(),
            "issues": run.issues.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notes": run.notes,
        })).collect::<Vec<_>>(),
    })
}

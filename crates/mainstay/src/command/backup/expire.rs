//! `mainstay backup expire`, `keep`, `unkeep` and `copy`: which snapshots are where.

use mainstay_backup::{Error, Expiry, Selector};
use mainstay_base::{Size, counted};
use serde_json::{Value, json};

use super::Session;
use super::report::located_document;
use crate::cli::Pin;
use crate::exit::{Exit, Failure};
use crate::render::{self, Tone};

impl Session<'_> {
    pub(super) fn expire(
        &self,
        name: &str,
        repository: Option<&str>,
        dry_run: bool,
        why: bool,
    ) -> Result<Exit, Failure> {
        let expiries = self
            .backups
            .expire(name, repository, dry_run, &self.progress)?;
        let keep = self
            .config
            .backup
            .backup(name)
            .map(|backup| backup.keep.to_string())
            .unwrap_or_default();
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "backup": name,
                "dry_run": dry_run,
                "keep": keep,
                "repositories": expiries.iter().map(expiry_document).collect::<Vec<_>>(),
            }));
        } else {
            if keep.is_empty() {
                self.output
                    .say(&format!("{name} has no `keep`: every snapshot stays"));
            }
            for expiry in &expiries {
                self.tell_expiry(name, &keep, expiry, dry_run, why);
            }
        }
        let failed = expiries.iter().filter(|one| one.error.is_some()).count();
        Ok(match failed {
            0 => Exit::Done,
            _ if failed == expiries.len() => Exit::Failed,
            _ => Exit::Partly,
        })
    }

    fn tell_expiry(&self, name: &str, keep: &str, expiry: &Expiry, dry_run: bool, why: bool) {
        let repository = &expiry.repository;
        if why && !expiry.verdicts.is_empty() {
            let paint = self.output.paint(self.zone());
            let heads = ["SNAPSHOT", "TAKEN", "FILES", "SIZE", "", "WHY"];
            let mut rows = vec![
                heads
                    .iter()
                    .map(|head| ((*head).to_owned(), Some(Tone::Faint)))
                    .collect::<Vec<_>>(),
            ];
            for (snapshot, verdict) in &expiry.verdicts {
                let (what, tone, why) = if verdict.keeps() {
                    let reasons: Vec<String> =
                        verdict.reasons.iter().map(ToString::to_string).collect();
                    ("stays", Tone::Good, reasons.join(", "))
                } else {
                    let goes = if expiry.removed { "removed" } else { "goes" };
                    (goes, Tone::Bad, format!("beyond {keep}"))
                };
                rows.push(vec![
                    (snapshot.short_id().to_owned(), Some(Tone::Strong)),
                    (paint.moment(snapshot.time), None),
                    (snapshot.files.to_string(), None),
                    (Size(snapshot.bytes).human(), None),
                    (what.to_owned(), Some(tone)),
                    (why, None),
                ]);
            }
            self.output.print(&render::table(&rows, &paint));
        }
        if let Some(error) = &expiry.error {
            let message = format!("{name} → {repository}: {error}");
            self.output
                .failure_text(&Failure::new(Exit::Failed, message).help_if(error.help()));
            return;
        }
        let gone = expiry.gone().count();
        let stays = expiry.verdicts.len() - gone;
        self.output.say(&match (gone, dry_run) {
            (0, _) => format!("{name} → {repository}: all {stays} stay"),
            (_, true) => format!("{name} → {repository}: {gone} would go, {stays} stay"),
            (_, false) => format!("{name} → {repository}: {gone} removed, {stays} stay"),
        });
        for note in &expiry.notes {
            self.output.warn(note);
        }
    }

    pub(super) fn copy(
        &self,
        name: &str,
        snapshot: Option<&str>,
        from: &str,
        to: &str,
    ) -> Result<Exit, Failure> {
        let only = snapshot.map(Selector::from);
        let report = self
            .backups
            .copy(name, only.as_ref(), from, to, &self.progress)?;
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "backup": name,
                "from": from,
                "to": to,
                "copied": report.copied.iter().map(|snapshot| json!({
                    "id": snapshot.id,
                    "time": snapshot.time.to_string(),
                    "bytes": snapshot.bytes,
                })).collect::<Vec<_>>(),
                "present": report.present,
                "added": report.added,
                "error": report.error.as_ref().map(ToString::to_string),
                "help": report.error.as_ref().and_then(Error::help),
            }));
        } else {
            self.output.say(&format!(
                "{name}: {} copied from {from} to {to} ({} new), {} there already",
                counted(report.copied.len(), "snapshot"),
                Size(report.added).human(),
                report.present
            ));
            if let Some(error) = &report.error {
                let message = format!("{name} → {to}: {error}");
                self.output
                    .failure_text(&Failure::new(Exit::Failed, message).help_if(error.help()));
            }
        }
        Ok(match &report.error {
            None => Exit::Done,
            Some(_) if report.copied.is_empty() => Exit::Failed,
            Some(_) => Exit::Partly,
        })
    }

    pub(super) fn pin(&self, pin: &Pin, pinned: bool) -> Result<Exit, Failure> {
        let located = self.backups.pin(
            &pin.name,
            &Selector::from(pin.snapshot.as_str()),
            pin.repository.as_deref(),
            pinned,
            &self.progress,
        )?;
        if self.output.json {
            self.output
                .document(&json!({ "schema": 1, "snapshot": located_document(&located) }));
        } else {
            let stays = if pinned {
                "no rule removes it"
            } else {
                "the rules decide about it"
            };
            self.output.say(&format!(
                "snapshot {} of {} in {}: {stays}",
                located.snapshot.short_id(),
                pin.name,
                located.repository
            ));
        }
        Ok(Exit::Done)
    }
}

fn expiry_document(expiry: &Expiry) -> Value {
    json!({
        "repository": expiry.repository,
        "removed": expiry.removed,
        "error": expiry.error.as_ref().map(ToString::to_string),
        "help": expiry.error.as_ref().and_then(Error::help),
        "notes": expiry.notes,
        "snapshots": expiry.verdicts.iter().map(|(snapshot, verdict)| json!({
            "id": snapshot.id,
            "time": snapshot.time.to_string(),
            "complete": snapshot.complete,
            "pinned": snapshot.pinned,
            "files": snapshot.files,
            "bytes": snapshot.bytes,
            "stays": verdict.keeps(),
            "why": verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

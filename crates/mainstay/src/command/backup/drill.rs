//! `mainstay backup drill`: is there a restore, and how long does it take?

use mainstay_backup::drill::{DrillReport, DrillRequest, Verdict, page};
use mainstay_backup::{Error, Selector};
use serde_json::json;

use super::Session;
use crate::exit::{Exit, Failure};
use crate::render::{plain, took};

impl Session<'_> {
    pub(super) fn drill(
        &self,
        names: &[String],
        snapshot: &str,
        repository: Option<&str>,
    ) -> Result<Exit, Failure> {
        let names = self.names(names)?;
        if names.len() > 1 && snapshot != "latest" {
            return Err(
                Failure::new(Exit::Usage, "a snapshot is one of one backup").help(format!(
                    "name the backup: `mainstay backup drill NAME --snapshot {snapshot}`"
                )),
            );
        }
        let mut reports = Vec::new();
        let mut failures = Vec::new();
        for name in &names {
            let request = DrillRequest {
                backup: name.clone(),
                snapshot: Selector::from(snapshot),
                repository: repository.map(str::to_owned),
            };
            match self.backups.drill(&request, &self.progress) {
                Ok(report) => {
                    self.tell_drill(&report);
                    reports.push(report);
                }
                Err(error) => failures.push(Failure::from(error)),
            }
        }
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "drills": reports,
                "errors": failures.iter().map(|f| json!({ "message": f.message, "help": f.help })).collect::<Vec<_>>(),
            }));
        }
        for failure in &failures {
            self.output.failure_text(failure);
        }
        let proven = reports.iter().filter(|report| report.is_proven()).count();
        Ok(match (failures.as_slice(), proven) {
            ([only], 0) if reports.is_empty() => only.exit,
            ([], proven) if proven == reports.len() => Exit::Done,
            (_, 0) => Exit::Failed,
            _ => Exit::Partly,
        })
    }

    fn tell_drill(&self, report: &DrillReport) {
        let name = &report.backup;
        for note in &report.notes {
            self.output.warn(&plain(&format!("{name}: {note}")));
        }
        if report.is_proven() {
            let of = report
                .snapshot
                .as_ref()
                .map_or_else(String::new, |snapshot| {
                    let id = snapshot.id.get(..8).unwrap_or(&snapshot.id);
                    format!("snapshot {id} ")
                });
            self.output.say(&format!(
                "{name}: PROVEN: {of}was restored in {} and {}; the drill took {} (report: mainstay backup drill --show {name})",
                took(report.restore_milliseconds),
                match report.checks.len() {
                    1 => "1 check holds".to_owned(),
                    checks => format!("{checks} checks hold"),
                },
                took(report.milliseconds)
            ));
            return;
        }
        let how = match report.verdict {
            Verdict::Impossible => "NOT DRILLED",
            _ => "DRILL FAILED",
        };
        let why = report.why.as_deref().unwrap_or("no reason is known");
        let message = plain(&format!("{name}: {how}: {why}"));
        self.output
            .failure_text(&Failure::new(Exit::Failed, message).help_if(report.help.as_deref()));
    }

    pub(super) fn drill_show(&self, names: &[String]) -> Result<Exit, Failure> {
        let names = self.names(names)?;
        let mut documents = Vec::new();
        let mut exit = Exit::Done;
        for name in &names {
            let Some(signed) = self.backups.last_report(name)? else {
                self.output.warn(&format!(
                    "{name} was never drilled: mainstay backup drill {name}"
                ));
                exit = Exit::Partly;
                continue;
            };
            let path = signed.path.display().to_string();
            if self.output.json {
                documents.push(json!({ "path": path, "verified": true, "report": signed.report }));
            } else {
                self.output.print(&format!(
                    "{}\nThe signature holds: {path}\n",
                    page(&signed.report)
                ));
            }
            if !signed.report.is_proven() {
                exit = Exit::Partly;
            }
        }
        if self.output.json {
            self.output
                .document(&json!({ "schema": 1, "reports": documents }));
        }
        Ok(exit)
    }

    pub(super) fn drill_key(&self) -> Result<Exit, Failure> {
        let key = self
            .backups
            .drill_key()
            .map_err(|error: Error| Failure::from(error))?;
        if self.output.json {
            self.output
                .document(&json!({ "schema": 1, "public_key": key.to_string() }));
        } else {
            self.output.print(&key.to_string());
        }
        Ok(Exit::Done)
    }
}

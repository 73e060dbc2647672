//! `mainstay backup check`: whether backups could be made now.

use mainstay_backup::{Grade, Preflight};
use serde_json::json;

use super::Session;
use crate::exit::{Exit, Failure};
use crate::render::{self, Tone, plain};

impl Session<'_> {
    pub(super) fn check(&self, names: &[String]) -> Result<Exit, Failure> {
        let names = self.names(names)?;
        let found = self.backups.preflight(&names, &self.progress)?;
        let worst = found.iter().map(Preflight::grade).max();
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "good": worst != Some(Grade::Failed),
                "checks": found.iter().flat_map(|part| part.checks.iter().map(|check| json!({
                    "backup": part.backup,
                    "repository": part.repository,
                    "grade": check.grade.to_string(),
                    "what": check.what,
                    "help": check.help,
                }))).collect::<Vec<_>>(),
            }));
        } else {
            let paint = self.output.paint(self.zone());
            let mut rows = Vec::new();
            for part in &found {
                let about = match (&part.backup, &part.repository) {
                    (Some(backup), _) => format!("backup {backup}"),
                    (None, repository) => {
                        format!("repository {}", repository.as_deref().unwrap_or_default())
                    }
                };
                for check in &part.checks {
                    let tone = match check.grade {
                        Grade::Good => Tone::Good,
                        Grade::Warning => Tone::Busy,
                        Grade::Failed => Tone::Bad,
                    };
                    rows.push(vec![
                        (check.grade.to_string(), Some(tone)),
                        (about.clone(), Some(Tone::Strong)),
                        (plain(&check.what), None),
                    ]);
                    if let Some(help) = &check.help {
                        let line = format!("→ {}", plain(help));
                        rows.push(vec![
                            (String::new(), None),
                            (String::new(), None),
                            (line, Some(Tone::Faint)),
                        ]);
                    }
                }
            }
            self.output.print(&render::table(&rows, &paint));
        }
        Ok(if worst == Some(Grade::Failed) {
            Exit::Failed
        } else {
            Exit::Done
        })
    }
}

//! `mainstay backup export`: a snapshot as files that the stock client loads.

use std::path::Path;

use mainstay_backup::Selector;
use mainstay_backup::classic::{ExportRequest, Format};
use mainstay_base::{Size, counted};
use serde_json::json;

use super::Session;
use crate::cli::DumpFormat;
use crate::exit::{Exit, Failure};
use crate::render::plain;

/// What `backup export` was asked.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) to: &'a Path,
    pub(super) format: DumpFormat,
    pub(super) snapshot: &'a str,
    pub(super) databases: &'a [String],
    pub(super) repository: Option<&'a str>,
}

impl Session<'_> {
    pub(super) fn export(&self, wanted: &Wanted<'_>) -> Result<Exit, Failure> {
        let to = std::path::absolute(wanted.to).map_err(|error| {
            let message = format!("cannot export to {}: {error}", wanted.to.display());
            Failure::new(Exit::Usage, message)
        })?;
        let request = ExportRequest {
            backup: wanted.name.to_owned(),
            snapshot: Selector::from(wanted.snapshot),
            repository: wanted.repository.map(str::to_owned),
            databases: wanted.databases.to_vec(),
            to,
            format: match wanted.format {
                DumpFormat::Sql => Format::Sql,
                DumpFormat::SqlGz => Format::SqlGz,
                DumpFormat::SqlZst => Format::SqlZst,
            },
        };
        let report = self.backups.export(&request, &self.progress)?;
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "backup": wanted.name,
                "repository": report.from.repository,
                "snapshot": report.from.snapshot.id,
                "files": report.files.iter().map(|file| json!({
                    "path": file.path,
                    "database": file.database,
                    "rows": file.rows,
                    "bytes": file.bytes,
                    "size": file.size,
                    "longest_statement": file.longest,
                })).collect::<Vec<_>>(),
                "warnings": report.warnings,
                "seconds": report.took.as_secs_f64(),
            }));
            return Ok(Exit::Done);
        }
        for file in &report.files {
            let what = match file.rows {
                _ if file.database.is_none() => "users and grants, to be loaded last".to_owned(),
                rows => counted(rows, "row"),
            };
            self.output.say(&format!(
                "{}: {what}, {} ({} of statements)",
                plain(&file.path.to_string_lossy()),
                Size(file.size).human(),
                Size(file.bytes).human()
            ));
        }
        for warning in &report.warnings {
            self.output.warn(&plain(warning));
        }
        Ok(Exit::Done)
    }
}

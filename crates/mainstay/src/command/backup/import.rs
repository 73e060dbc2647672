//! `mainstay backup import`: dumps of others, given to a server.

use std::path::PathBuf;

use mainstay_backup::classic::ImportRequest;
use mainstay_base::{Size, counted};
use serde_json::json;

use super::Session;
use crate::cli::Login;
use crate::exit::{Exit, Failure};
use crate::render::plain;

/// What `backup import` was asked.
pub(super) struct Wanted<'a> {
    pub(super) files: &'a [PathBuf],
    pub(super) into: Option<&'a str>,
    pub(super) database: Option<&'a str>,
    pub(super) over: &'a [String],
    pub(super) login: &'a Login,
    pub(super) dry_run: bool,
}

impl Session<'_> {
    pub(super) fn import(&self, wanted: &Wanted<'_>) -> Result<Exit, Failure> {
        let backup = self.server(wanted.into)?;
        let request = ImportRequest {
            server: self.backups.server_at(
                &backup,
                wanted.login.server.as_deref(),
                wanted.login.user.as_deref(),
                wanted.login.password_file.as_deref(),
            )?,
            backup,
            files: wanted.files.to_vec(),
            database: wanted.database.map(str::to_owned),
            over: wanted.over.to_vec(),
            dry_run: wanted.dry_run,
        };
        let report = self.backups.import(&request, &self.progress)?;
        if self.output.json {
            self.output.document(&json!({
                "schema": 1,
                "backup": request.backup,
                "dry_run": wanted.dry_run,
                "files": report.files.iter().map(|file| json!({
                    "path": file.path,
                    "statements": file.statements,
                    "bytes": file.bytes,
                })).collect::<Vec<_>>(),
                "databases": report.databases,
                "warnings": report.warnings,
                "seconds": report.took.as_secs_f64(),
            }));
            return Ok(Exit::Done);
        }
        let done = if wanted.dry_run { "would be" } else { "are" };
        for file in &report.files {
            self.output.say(&format!(
                "{}: {}, {}, {done} loaded",
                plain(&file.path.to_string_lossy()),
                counted(file.statements, "statement"),
                Size(file.bytes).human()
            ));
        }
        if !report.databases.is_empty() {
            let names = plain(&report.databases.join(", "));
            self.output.say(&format!("databases: {names}"));
        }
        for warning in &report.warnings {
            self.output.warn(&plain(warning));
        }
        Ok(Exit::Done)
    }

    /// The backup whose server is meant.
    fn server(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(name) = named {
            return Ok(name.to_owned());
        }
        let servers: Vec<&str> = self
            .config
            .backup
            .backups
            .iter()
            .filter(|backup| backup.source.kind() == "mysql")
            .map(|backup| backup.name.as_str())
            .collect();
        match servers.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(Failure::new(
                Exit::Usage,
                "the config names no server of MySQL or MariaDB",
            )
            .help("add [backup.NAME] with `mysql = { socket = \"…\", user = \"…\" }`")),
            _ => Err(
                Failure::new(Exit::Usage, "there are several servers to import into")
                    .help(format!("say which: --into {}", servers.join(" or --into "))),
            ),
        }
    }
}

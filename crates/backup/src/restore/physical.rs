//! What is special about a restore of a server's files: they are prepared before they are put anywhere,
//! and a server that runs there would lose what it has in memory.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use mainstay_mysql::{Endpoint, Version};

use super::plan::quoted;
use super::{RestorePlan, users_of};
use crate::config::{MysqlConfig, SourceConfig};
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::repository::Snapshot;
use crate::run::Backups;
use crate::source::mysql::{PhysicalFacts, Tool};
use crate::source::{Issue, Weight};

/// How to get at a part of what comes back whole or not at all.
pub(crate) const INSTEAD: &str = "restore all of it into a new directory (`--to DIR`), start a server there as that says, and take from it what you need; backups with `engine = \"dump\"` come back by database and table";

impl Backups {
    fn mysql_config(&self, backup: &str) -> Option<&MysqlConfig> {
        match &self.config.backup(backup)?.source {
            SourceConfig::Mysql(config) => Some(config),
            _ => None,
        }
    }

    /// The program that prepares the files of a snapshot.
    pub(crate) fn tool_for(
        &self,
        backup: &str,
        snapshot: &Snapshot,
        attempt: &str,
    ) -> Result<Tool, Error> {
        let named = self
            .mysql_config(backup)
            .and_then(|config| config.program.as_deref());
        let tool = Tool::find(named, attempt)?;
        let server = snapshot.facts.server.as_ref();
        let version = Version::parse(server.map_or("", |server| &server.version));
        tool.fits(&version, attempt)?;
        Ok(tool)
    }

    /// Looks for the program, and at what a restore in place would meet.
    pub(super) fn plan_physical(&self, plan: &mut RestorePlan, attempt: &str) -> Result<(), Error> {
        let tool = self.tool_for(&plan.backup, &plan.from.snapshot, attempt)?;
        plan.tool = Some(tool);
        if !plan.in_place {
            return Ok(());
        }
        if !self.is_own(&plan.backup, &plan.from.snapshot) {
            return Err(Error::new(
                ErrorKind::TargetNotEmpty,
                attempt,
                format!(
                    "the snapshot is of a server on host {}, and not of the one here",
                    plan.from.snapshot.host
                ),
            )
            .with_help("restore it into a new directory: --to DIR"));
        }
        if let Some(who) = self.running(plan) {
            plan.warnings.push(format!(
                "{who}: the server must be stopped first, or there is no restore"
            ));
        }
        plan.warnings.push(
            "the whole server is as it was then, with users and passwords; its binary logs stay in what is set aside"
                .to_owned(),
        );
        Ok(())
    }

    /// Who shows that the server runs.
    fn running(&self, plan: &RestorePlan) -> Option<String> {
        let ours = std::process::id();
        let user = users_of(&plan.target)
            .into_iter()
            .find(|(pid, _)| *pid != ours);
        if let Some((pid, name)) = user {
            return Some(format!(
                "process {pid} ({name}) has {} open",
                plan.target.display()
            ));
        }
        // Files of another user's process are not seen.
        let endpoint = self
            .mysql_config(&plan.backup)
            .map(|config| &config.endpoint)?;
        match endpoint {
            Endpoint::Unix(socket) if UnixStream::connect(socket).is_ok() => {
                Some(format!("a server answers at {}", socket.display()))
            }
            _ => None,
        }
    }

    /// That no server runs there.
    pub(super) fn refuse_running_mysql(
        &self,
        plan: &RestorePlan,
        attempt: &str,
    ) -> Result<(), Error> {
        match self.running(plan) {
            None => Ok(()),
            Some(who) => Err(Error::new(ErrorKind::InUse, attempt, who).with_help(
                "stop the server (systemctl stop mariadb), or name its program in the config: `restore = { stop = [\"NAME\"] }`; nothing was changed",
            )),
        }
    }
}

/// Makes of the files what a server starts on. Nothing else is ever put into place.
pub(super) fn make(
    plan: &RestorePlan,
    tool: &Tool,
    new: &Path,
    staging: &Path,
    attempt: &str,
    progress: &Arc<dyn Progress>,
    issues: &mut Vec<Issue>,
) -> Result<String, Error> {
    progress.begin("Preparing the files of the server", None);
    let prepared = tool.prepare(new, staging, attempt, progress);
    progress.finish();
    prepared?;
    let replaced = fs::metadata(&plan.target).ok().filter(|_| plan.in_place);
    let owner = match replaced {
        Some(owner) => owner,
        None => fs::metadata(new).map_err(|error| Error::io(attempt, new, &error))?,
    };
    if let Err(error) = give(new, owner.uid(), owner.gid()) {
        issues.push(Issue {
            weight: Weight::Warning,
            path: plan.target.clone(),
            what: format!(
                "not all of it could be given to the user that the server runs as ({}:{}): {error}; chown -R",
                owner.uid(),
                owner.gid()
            ),
        });
    }
    Ok(format!("prepared by {}", tool.said()))
}

/// Gives everything in a directory to one user, what the preparing made too.
fn give(directory: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if (about.uid(), about.gid()) != (uid, gid) {
            lchown(entry.path(), Some(uid), Some(gid))?;
        }
        if about.is_dir() {
            give(&entry.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// What a person does next.
pub(super) fn next(plan: &RestorePlan, facts: &PhysicalFacts) -> Option<String> {
    if plan.in_place {
        return plan.stop.is_empty().then(|| {
            "start the server now (systemctl start mariadb); users and passwords are those of then"
                .to_owned()
        });
    }
    let mut command = format!("mariadbd --no-defaults --datadir={}", quoted(&plan.target));
    for option in options(facts) {
        command.push_str(" --");
        command.push_str(&option);
    }
    Some(format!(
        "a server starts on it: {command} --socket={} --skip-networking (as the user that owns it: --user; where no password of then is known: --skip-grant-tables)",
        quoted(&plan.target.join("server.sock"))
    ))
}

/// The options a server must have to read the files, as `name=value`.
pub(crate) fn options(facts: &PhysicalFacts) -> Vec<String> {
    let usual = [
        ("innodb_page_size", "16384"),
        ("innodb_data_file_path", "ibdata1:12M:autoextend"),
        ("lower_case_table_names", "0"),
        ("innodb_undo_tablespaces", "0"),
    ];
    (facts.settings.iter())
        .filter(|(name, value)| {
            let same = |(known, usual): &(&str, &str)| known == name && usual == value;
            !usual.iter().any(same)
        })
        .map(|(name, value)| format!("{}={value}", name.replace('_', "-")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unusual_is_an_option() {
        let facts = PhysicalFacts {
            program: String::new(),
            data: String::new(),
            to_lsn: 0,
            last_lsn: 0,
            settings: [
                ("innodb_page_size", "8192"),
                ("innodb_data_file_path", "ibdata1:12M:autoextend"),
                ("innodb_undo_tablespaces", "3"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            without_rows: 0,
        };
        assert_eq!(
            options(&facts),
            ["innodb-page-size=8192", "innodb-undo-tablespaces=3"]
        );
    }
}

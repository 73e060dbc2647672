//! What a restore is asked for, what it will do and what it did.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::{Size, counted};

use crate::run::{Located, Selector};
use crate::source::Issue;
use crate::source::mysql::Tool;
use crate::source::redis::Layout;
use crate::swap::Move;

/// What is to be restored, and where to.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The backup.
    pub backup: String,
    /// Which of its snapshots.
    pub snapshot: Selector,
    /// From which repository; the first one of the backup that has it, if none is named.
    pub repository: Option<String>,
    /// Where to.
    pub target: Target,
    /// Only these, relative to the directory that was backed up; everything if there are none.
    pub only: Vec<PathBuf>,
}

/// Where to restore to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To where the config says it is, after what is there now was set aside.
    InPlace,
    /// Into this directory, which must be empty or not exist. A directory's content comes directly into
    /// it, a database under its own name.
    Into(PathBuf),
}

/// What a restore will do. Its `Display` form tells it to a person.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The backup.
    pub backup: String,
    /// The snapshot and the repository it is in.
    pub from: Located,
    /// Whether it goes to where the config says, over what is there.
    pub in_place: bool,
    /// What will be there afterwards.
    pub target: PathBuf,
    /// Only these parts of it, if not empty.
    pub only: Vec<PathBuf>,
    /// Files that will be written.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Bytes free on the file system of the target.
    pub free: u64,
    /// What will be set aside.
    pub set_aside: Vec<Move>,
    /// The programs that must not run meanwhile; the caller stops and starts them.
    pub stop: Vec<String>,
    /// When the plan was made; what is set aside is named by it.
    pub planned: Timestamp,
    /// Things to consider before saying yes.
    pub warnings: Vec<String>,
    /// How the files of a Redis server are called there.
    pub(crate) layout: Option<Layout>,
    /// What prepares the files of a server.
    pub(crate) tool: Option<Tool>,
}

/// What a restore did.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    /// What is there now.
    pub target: PathBuf,
    /// Files written.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How the result was checked before it was put into place.
    pub checked: String,
    /// What was set aside, and where it is now. Removing it is up to a person.
    pub set_aside: Vec<Move>,
    /// What could not be restored as it was: owners without being root, for example.
    pub issues: Vec<Issue>,
    /// What is to be done next, where something is.
    pub next: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl RestoreReport {
    /// The command that removes what was set aside, if anything was.
    pub fn removal(&self) -> Option<String> {
        if self.set_aside.is_empty() {
            return None;
        }
        let mut command = String::from("rm -r --");
        for aside in &self.set_aside {
            command.push(' ');
            command.push_str(&quoted(&aside.to));
        }
        Some(command)
    }
}

/// A path as a shell reads it back.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:+".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = &self.from.snapshot;
        writeln!(
            f,
            "restore {} from snapshot {} of {} in repository {}",
            self.backup,
            snapshot.short_id(),
            snapshot.time.strftime("%Y-%m-%d %H:%M:%S UTC"),
            self.from.repository
        )?;
        write!(f, "  to      {}", self.target.display())?;
        if self.in_place && self.set_aside.is_empty() {
            write!(f, " (nothing is there now)")?;
        }
        writeln!(f)?;
        for only in &self.only {
            writeln!(f, "  only    {}", only.display())?;
        }
        writeln!(
            f,
            "  writes  {}, {}; {} free",
            counted(self.files, "file"),
            Size(self.bytes).human(),
            Size(self.free).human()
        )?;
        if let Some(tool) = &self.tool {
            writeln!(
                f,
                "  then    {} prepares them for a server",
                tool.path().display()
            )?;
        }
        for aside in &self.set_aside {
            writeln!(
                f,
                "  keeps   {}\n     as   {}",
                aside.from.display(),
                aside.to.display()
            )?;
        }
        if !self.stop.is_empty() {
            writeln!(f, "  stops   {} meanwhile", self.stop.join(", "))?;
        }
        for warning in &self.warnings {
            writeln!(f, "  note    {warning}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_for_people_survive_odd_names() {
        assert_eq!(quoted(Path::new("/srv/a-b.db")), "/srv/a-b.db");
        assert_eq!(quoted(Path::new("/srv/it's")), "'/srv/it'\\''s'");
    }
}

//! Looks before a backup is due: whether it could be made now, and what stands in its way.
//!
//! Nothing is stored, nothing is changed, and no data is read.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mainstay_base::Size;

use crate::config::{Engine, SourceConfig};
use crate::error::Error;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::restore::free_space;
use crate::run::Backups;
use crate::source::mysql::{Mysql, Physical};
use crate::source::redis::Redis;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// A backup can be made, and something about it could be better.
    Warning,
    /// No backup can be made, or not a whole one.
    Failed,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "ok",
            Self::Warning => "warn",
            Self::Failed => "fail",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How it is.
    pub grade: Grade,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Check {
    pub(crate) fn good(what: impl Into<String>) -> Self {
        Self {
            grade: Grade::Good,
            what: what.into(),
            help: None,
        }
    }

    pub(crate) fn warning(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            grade: Grade::Warning,
            what: what.into(),
            help: Some(help.into()),
        }
    }

    pub(crate) fn failed(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            grade: Grade::Failed,
            ..Self::warning(what, help)
        }
    }

    pub(crate) fn of_error(error: &Error) -> Self {
        Self {
            grade: Grade::Failed,
            what: error.to_string(),
            help: error.help().map(str::to_owned),
        }
    }
}

/// What was found out about a backup or a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// The backup, or nothing.
    pub backup: Option<String>,
    /// The repository, or nothing.
    pub repository: Option<String>,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
}

impl Preflight {
    /// The worst that was found.
    pub fn grade(&self) -> Grade {
        let grades = self.checks.iter().map(|check| check.grade);
        grades.max().unwrap_or(Grade::Good)
    }
}

impl Backups {
    /// Looks at the sources of these backups and at the repositories they go to.
    pub fn preflight(
        &self,
        names: &[String],
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Preflight>, Error> {
        let mut found = Vec::new();
        let mut repositories: Vec<&String> = Vec::new();
        for name in names {
            let backup = self.backup_config(name)?;
            let mut checks = self.look_at(&backup.source);
            checks.extend(crate::drill::program_of(backup).map(|program| match program {
                Ok(program) => Check::good(format!("a drill can start {}", program.display())),
                Err(why) => Check::warning(
                    format!("it cannot be drilled here: {why}"),
                    "install the server's program, or name it as `drill.program`: it is started for drills only",
                ),
            }));
            found.push(Preflight {
                backup: Some(name.clone()),
                repository: None,
                checks,
            });
            for repository in &backup.to {
                if !repositories.contains(&repository) {
                    repositories.push(repository);
                }
            }
        }
        for name in repositories {
            found.push(Preflight {
                backup: None,
                repository: Some(name.clone()),
                checks: self.look_into(name, progress),
            });
        }
        Ok(found)
    }

    fn look_at(&self, source: &SourceConfig) -> Vec<Check> {
        match source {
            SourceConfig::Mysql(server) => {
                let (resolver, clock) = (self.resolver(), self.clock.as_ref());
                let checked = match server.engine {
                    Engine::Dump => Mysql::new(server, resolver).map(|it| it.preflight(clock)),
                    Engine::MariadbBackup => {
                        Physical::new(server, resolver).map(|it| it.preflight(clock))
                    }
                };
                checked.unwrap_or_else(|error| vec![Check::of_error(&error)])
            }
            SourceConfig::Redis(redis) => {
                Redis::new((**redis).clone(), self.resolver().clone()).preflight()
            }
            SourceConfig::Sqlite { path } => vec![readable(path, fs::File::open(path).map(drop))],
            SourceConfig::Files { path, .. } => {
                vec![readable(path, fs::read_dir(path).map(drop))]
            }
        }
    }

    fn look_into(&self, name: &str, progress: &Arc<dyn Progress>) -> Vec<Check> {
        let opened = self.repository(name).and_then(|repository| {
            repository.open(progress)?;
            Ok(repository.location())
        });
        let location = match opened {
            Ok(location) => location,
            Err(error) => return vec![Check::of_error(&error)],
        };
        let mut checks = vec![Check::good(format!("{location} opens with its password"))];
        if let Some(config) = self.config.repository(name)
            && let Some(path) = config.place.path()
            && let Ok(free) = free_space(path)
        {
            checks.push(self.room(name, free));
        }
        checks
    }

    /// Whether what the backups last added to a repository has room for one more time.
    fn room(&self, repository: &str, free: u64) -> Check {
        let last: u64 = self
            .status()
            .into_iter()
            .flatten()
            .flat_map(|status| status.repositories)
            .filter(|status| status.repository == repository)
            .filter_map(|status| status.last_good?.added)
            .sum();
        let free_text = Size(free).human();
        // Two runs, and what a prune that comes in between writes anew.
        if free < last.saturating_mul(2).max(1 << 30) {
            return Check::warning(
                format!(
                    "{free_text} free, and the last runs have added {}",
                    Size(last).human()
                ),
                "free space on its file system, or keep fewer snapshots",
            );
        }
        Check::good(format!("{free_text} free"))
    }
}

fn readable(path: &Path, opened: std::io::Result<()>) -> Check {
    match opened {
        Ok(()) => Check::good(format!("{} can be read", path.display())),
        Err(error) => {
            let error = Error::io("read what is backed up", path, &error);
            let help = error
                .help()
                .unwrap_or("correct the path in the config, or mount what should be there");
            Check::failed(error.to_string(), help)
        }
    }
}

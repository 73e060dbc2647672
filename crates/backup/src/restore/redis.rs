//! What is special about a restore of Redis: a server that loads nothing of it, or that others follow.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{RestorePlan, aside_name, users_of};
use crate::config::SourceConfig;
use crate::error::{Error, ErrorKind};
use crate::run::Backups;
use crate::source::redis::{
    ACL, CONFIG, Layout, Live, Redis, RedisFacts, arrange, check, displaced, in_words, loaded,
};
use crate::source::{Issue, Weight};
use crate::swap::Move;

/// The version of the format that came with Redis 7 and its directory of append-only files.
const SETS_OF_FILES: u32 = 10;

impl Backups {
    /// The servers that answer where the backup pulls from.
    fn live_redis(&self, backup: &str) -> Result<Vec<Live>, Error> {
        match &self.backup_config(backup)?.source {
            SourceConfig::Redis(config) => {
                Redis::new((**config).clone(), self.resolver().clone()).live()
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Looks at what a restore in place would meet: how the files are called there. Refuses where what
    /// is restored would be lost again, or would take others with it.
    pub(super) fn plan_redis(
        &self,
        plan: &mut RestorePlan,
        facts: &RedisFacts,
        attempt: &str,
    ) -> Result<(), Error> {
        let [shard] = facts.shards.as_slice() else {
            return Err(Error::new(
                ErrorKind::TargetNotEmpty,
                attempt,
                format!("the snapshot is of {} shards of a cluster", facts.shards.len()),
            )
            .with_help("restore into a new directory: it gets a data directory for each shard, and the slots of each are shown by `mainstay backup show`"));
        };
        let mut layout = shard.layout.checked();
        for live in self.live_redis(&plan.backup)? {
            refuse_followed(&live, attempt)?;
            if let Some(told) = &live.layout {
                refuse_elsewhere(told, &plan.target, attempt)?;
                layout = told.checked();
            }
            plan.warnings.push(format!(
                "the server at {} runs and has {} now; the snapshot has {}",
                live.address,
                in_words(live.keys),
                in_words(shard.databases.iter().map(|(db, keys)| (*db, keys.keys)))
            ));
        }
        if layout.appendonly && shard.rdb_version < SETS_OF_FILES {
            plan.warnings.push(
                "a server older than 7 with `appendonly yes` loads none of this: start it with `--appendonly no`, then `redis-cli CONFIG SET appendonly yes`"
                    .to_owned(),
            );
        }
        plan.warnings.extend(loading(shard.bytes));
        plan.warnings.push(format!(
            "users and settings stay as they are; those of the snapshot are {ACL} and {CONFIG} in it"
        ));
        plan.layout = Some(layout);
        Ok(())
    }

    /// That no server runs there now: it would write what it has in memory over what was restored.
    pub(super) fn refuse_running_redis(
        &self,
        plan: &RestorePlan,
        attempt: &str,
    ) -> Result<(), Error> {
        let help = "stop it, or name its program in the config: `restore = { stop = [\"NAME\"] }`; nothing was changed";
        if let Some((pid, name)) = servers_in(&plan.target).into_iter().next() {
            return Err(Error::new(
                ErrorKind::InUse,
                attempt,
                format!("process {pid} ({name}) works in {}", plan.target.display()),
            )
            .with_help(help));
        }
        let Some(live) = self.live_redis(&plan.backup)?.into_iter().next() else {
            return Ok(());
        };
        refuse_followed(&live, attempt)?;
        Err(Error::new(
            ErrorKind::InUse,
            attempt,
            format!(
                "the server at {} still runs, with {}",
                live.address,
                in_words(live.keys)
            ),
        )
        .with_help(help))
    }
}

/// How long the server will not answer after its start, where that is worth a word. Some 60 MB of its
/// file a second is what Redis 7 was measured with; the machine may be another.
fn loading(bytes: u64) -> Option<String> {
    const PER_SECOND: u64 = 60_000_000;
    let seconds = bytes.div_ceil(PER_SECOND);
    (seconds > 1).then(|| format!("the server will load it for about {seconds} s at its start"))
}

/// A server that others follow, or that follows another.
fn refuse_followed(live: &Live, attempt: &str) -> Result<(), Error> {
    let refuse =
        |why: String, help: &str| Err(Error::new(ErrorKind::InUse, attempt, why).with_help(help));
    if let Some(master) = &live.follows {
        return refuse(
            format!(
                "the server at {} is a replica of {master}: at its start it would take the data of that one in place of what is restored",
                live.address
            ),
            "restore the master, or make this server one first: `redis-cli REPLICAOF NO ONE`",
        );
    }
    if live.replicas > 0 {
        return refuse(
            format!(
                "{} replica{} attached to the server at {}: they would drop what they have for what is restored",
                live.replicas,
                if live.replicas == 1 { " is" } else { "s are" },
                live.address
            ),
            "detach them first (`redis-cli REPLICAOF NO ONE` on each, or stop them), so that what they have is not lost with a wrong restore; or restore into another directory",
        );
    }
    Ok(())
}

/// A server that loads its data from somewhere else would not see what is restored.
fn refuse_elsewhere(told: &Layout, target: &Path, attempt: &str) -> Result<(), Error> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if told.dir.is_empty() || real(Path::new(&told.dir)) == real(target) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InUse,
        attempt,
        format!(
            "the server keeps its data in {}, and `redis.data` is {}",
            told.dir,
            target.display()
        ),
    )
    .with_help(
        "name the directory that `redis-cli CONFIG GET dir` says as `data`; nothing was changed",
    ))
}

/// The servers whose working directory this is: what they have open is not always in it.
fn servers_in(directory: &Path) -> Vec<(u32, String)> {
    let mut servers = users_of(directory);
    servers.retain(|(pid, _)| *pid != std::process::id());
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let works_here =
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == directory);
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let name = name.trim();
        if works_here
            && ["redis", "valkey", "keydb"]
                .iter()
                .any(|kind| name.starts_with(kind))
        {
            servers.push((pid, name.to_owned()));
        }
    }
    servers
}

/// Whether what was restored is sound; then it is made into what a server loads. In place, only that.
pub(super) fn make(
    plan: &RestorePlan,
    facts: &RedisFacts,
    new: &Path,
    attempt: &str,
    issues: &mut Vec<Issue>,
) -> Result<String, Error> {
    let checked = match check(new, facts) {
        Ok(checked) => checked,
        // It is never put over the live one; elsewhere a damaged one is better than none.
        Err(why) if plan.in_place => return Err(damaged(attempt, why)),
        Err(why) => {
            issues.push(Issue {
                weight: Weight::Missing,
                path: plan.target.clone(),
                what: why.clone(),
            });
            return Ok(format!("NOT sound: {why}"));
        }
    };
    let fail = |error: std::io::Error| Error::io(attempt, new, &error);
    if plan.in_place {
        for name in [ACL, CONFIG] {
            match fs::remove_file(new.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(fail(error));
                }
                _ => {}
            }
        }
    }
    arrange(new, facts, plan.layout.as_ref()).map_err(fail)?;
    if plan.in_place {
        give(new, &plan.target, issues);
    }
    Ok(format!("{checked}; loads with appendonly yes and no"))
}

pub(crate) fn damaged(attempt: &str, why: String) -> Error {
    Error::new(ErrorKind::Damaged, attempt, why).with_help(
        "restore an older snapshot (`mainstay backup list`), and check the disk of the repository with `mainstay backup verify --read-data`",
    )
}

/// Gives the new files to whom the data directory belongs: the server that starts there.
fn give(new: &Path, target: &Path, issues: &mut Vec<Issue>) {
    let Ok(owner) = fs::metadata(target) else {
        issues.push(Issue {
            weight: Weight::Warning,
            path: target.to_owned(),
            what: "it did not exist: give it to the user that the server runs as (chown -R)"
                .to_owned(),
        });
        return;
    };
    let mut paths = vec![new.to_owned()];
    while let Some(path) = paths.pop() {
        if let Err(error) = std::os::unix::fs::lchown(&path, Some(owner.uid()), Some(owner.gid())) {
            issues.push(Issue {
                weight: Weight::Warning,
                path: target.to_owned(),
                what: format!("the owner could not be set: {error}"),
            });
            return;
        }
        paths.extend(
            fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
    }
}

/// The files that are put into an existing data directory; the rest of it stays.
pub(super) fn parts(plan: &RestorePlan) -> Option<Vec<PathBuf>> {
    let layout = plan.layout.as_ref()?;
    let exists = fs::symlink_metadata(&plan.target).is_ok();
    (plan.in_place && exists).then(|| loaded(layout).to_vec())
}

/// What of an existing data directory must go out of the way.
pub(super) fn asides(plan: &RestorePlan) -> Vec<Move> {
    let Some(layout) = &plan.layout else {
        return Vec::new();
    };
    displaced(layout)
        .into_iter()
        .map(|name| plan.target.join(name))
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .map(|from| Move {
            to: aside_name(&from, plan.planned),
            from,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_load_is_told_before() {
        assert_eq!(loading(0), None);
        assert_eq!(loading(60_000_000), None);
        let said = loading(1_200_000_001).unwrap();
        assert!(said.contains("about 21 s"), "{said}");
    }

    #[test]
    fn servers_in_chains_are_refused() {
        let live = |replicas, follows: Option<&str>| Live {
            address: "db1:6379".to_owned(),
            keys: std::collections::BTreeMap::new(),
            replicas,
            follows: follows.map(str::to_owned),
            layout: None,
        };
        assert!(refuse_followed(&live(0, None), "restore").is_ok());
        for (live, expected) in [
            (live(1, None), "1 replica is attached"),
            (live(2, None), "2 replicas are attached"),
            (live(0, Some("db2:6379")), "is a replica of db2:6379"),
        ] {
            let error = refuse_followed(&live, "restore").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InUse);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

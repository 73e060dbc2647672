//! Drills of Redis: a server of this host loads what was pulled.

use std::collections::BTreeMap;
use std::path::Path;

use mainstay_base::counted;

use super::scratch::Socket;
use super::server::{Running, TEMPORARY, impossible, invite};
use super::{Drill, files};
use crate::error::Error;
use crate::program::find;
use crate::repository::{OpenRepository, Snapshot};
use crate::restore::redis::damaged;
use crate::source::redis::rdb::Keys;
use crate::source::redis::trial::Trial;
use crate::source::redis::{RedisFacts, RedisShard, arrange, check, in_words, inside};

/// What a server is called.
pub(super) const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// The name of the server's socket in its directory.
const SOCKET: &str = "drill.sock";

/// The version that came with a directory of append-only files, which may begin with an RDB file.
const SETS_OF_FILES: u64 = 7;

/// A server, or the shards of a cluster one after the other.
pub(super) fn servers(
    drill: &mut Drill<'_>,
    opened: &dyn OpenRepository,
    snapshot: &Snapshot,
    facts: &RedisFacts,
) -> Result<(), Error> {
    invite(drill, &["redis", "nobody"]);
    // First of all: without it there is nothing to fetch for.
    let (program, version) = program(drill)?;
    let data = drill.scratch.path().join("data");
    files::fetch(drill, opened, snapshot, &data)?;
    let checked = drill.restoring("compare the files with what was pulled", |drill| {
        drill.progress.begin("Checking the restored data", None);
        let checked = check(&data, facts).map_err(|why| damaged(&drill.attempt(), why));
        drill.progress.finish();
        checked
    })?;
    drill.check("files", "as pulled", checked, true);
    drill.restoring("lay out the data directory", |drill| {
        arrange(&data, facts, None).map_err(|error| Error::io(drill.attempt(), &data, &error))
    })?;
    if let Some(guest) = &drill.guest {
        let temporary = drill.scratch.directory(TEMPORARY)?;
        guest
            .take(&[&data, &temporary])
            .map_err(|error| Error::io(drill.attempt(), &data, &error))?;
    }
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let queries: Vec<String> = (drill.config.assertions.iter())
        .filter_map(|assertion| match assertion {
            crate::config::Assertion::Query { query, .. } => Some(query.clone()),
            _ => None,
        })
        .collect();
    let mut alive = None;
    for shard in &facts.shards {
        let directory = data.join(inside(&shard.directory));
        let (server, mut trial) = drill.restoring("start a server and let it load", |drill| {
            drill.progress.begin("Starting a scratch server", None);
            let started = start(drill, &program, version, shard, &directory);
            drill.progress.finish();
            started
        })?;
        let found = drill.checking("count the keys", |drill| {
            trial.keys().map_err(|why| damaged(&drill.attempt(), why))
        })?;
        compare(drill, shard, &found);
        for query in &queries {
            let answer = trial.ask(query).unwrap_or_else(|why| why);
            answers.entry(query.clone()).or_default().push(answer);
        }
        // What the config asserts may be a program that asks it. The shards of a cluster come one
        // after the other: a host may not have the memory for all.
        if facts.shards.len() == 1 {
            alive = Some(server);
        }
    }
    // A key is in one shard of a cluster: the others refuse nothing here, and do not have it.
    let asserted = drill.assert(&data, &mut |query, is| {
        let found = answers.get(query).map_or(&[][..], Vec::as_slice);
        let right = (found.iter()).find(|answer| answer.trim_end() == is.trim_end());
        Ok(right.or(found.first()).cloned().unwrap_or_default())
    });
    drop(alive);
    asserted
}

/// The program, and the first number of its version.
fn program(drill: &mut Drill<'_>) -> Result<(std::path::PathBuf, u64), Error> {
    let named = drill.config.program.clone();
    let Some(program) = named.or_else(|| find(&PROGRAMS)) else {
        return Err(impossible(drill, "there is no redis-server on this host"));
    };
    let said = super::server::version(drill, &program, &["--version"])
        .map_err(|error| impossible(drill, error.reason()))?;
    let version = version(&said).ok_or_else(|| {
        let why = format!("{} is no Redis: it says {said:?}", program.display());
        impossible(drill, &why)
    })?;
    drill.report.server = Some(format!("{}: {said}", program.display()));
    Ok((program, version))
}

/// The 7 in `Redis server v=7.0.15 sha=…`.
fn version(said: &str) -> Option<u64> {
    let number = said.split("v=").nth(1)?;
    number.split('.').next()?.parse().ok()
}

fn start(
    drill: &Drill<'_>,
    program: &Path,
    version: u64,
    shard: &RedisShard,
    directory: &Path,
) -> Result<(Running, Trial), Error> {
    let socket = Socket::in_directory(directory, SOCKET)
        .map_err(|error| Error::io(drill.attempt(), directory, &error))?;
    let guest = drill.guest.as_ref();
    let running = Running::start(
        drill,
        guest,
        program,
        options(version, shard, directory),
        directory,
        "server",
    )?;
    let trial = running.wait_until(drill, || {
        Trial::when_ready(&socket.path).map_err(|why| damaged(&drill.attempt(), why))
    })?;
    Ok((running, trial))
}

/// The options of the scratch server: a socket and no port, and nothing that it does by itself.
fn options(version: u64, shard: &RedisShard, directory: &Path) -> Vec<std::ffi::OsString> {
    let layout = shard.layout.checked();
    let sets = version >= SETS_OF_FILES;
    let last = shard.databases.keys().next_back().copied().unwrap_or(0);
    let mut options: Vec<std::ffi::OsString> = [
        ("port", "0"),
        ("unixsocket", SOCKET),
        ("unixsocketperm", "700"),
        ("daemonize", "no"),
        ("save", ""),
        ("auto-aof-rewrite-percentage", "0"),
        ("dbfilename", &layout.dbfilename),
        ("appendfilename", &layout.appendfilename),
        // An older server would load nothing of the set of files.
        (
            "appendonly",
            if layout.appendonly && sets {
                "yes"
            } else {
                "no"
            },
        ),
        ("databases", &last.saturating_add(1).max(16).to_string()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [format!("--{name}").into(), value.into()])
    .collect();
    if sets {
        options.extend(["--appenddirname".into(), layout.appenddirname.into()]);
    }
    options.extend(["--dir".into(), directory.into()]);
    options
}

/// The keys that a server has, beside those in its file. Those that had expired are not loaded.
fn compare(drill: &mut Drill<'_>, shard: &RedisShard, found: &BTreeMap<u64, u64>) {
    let of = if shard.directory.is_empty() {
        String::new()
    } else {
        format!("{}: ", shard.directory)
    };
    if !shard.counted {
        drill.report.notes.push(format!(
            "{of}the keys could not be counted when they were pulled; the server has {}",
            in_words(found.clone())
        ));
    }
    let mut expired = 0;
    for (database, keys) in &shard.databases {
        let now = found.get(database).copied().unwrap_or(0);
        let holds = is_all(*keys, now) || !shard.counted;
        if holds {
            expired += keys.keys.saturating_sub(now);
        }
        drill.check(
            format!("{of}keys in database {database}"),
            keys.keys.to_string(),
            now.to_string(),
            holds,
        );
    }
    for (database, now) in found {
        if !shard.databases.contains_key(database) {
            let what = format!("{of}keys in database {database}");
            drill.check(what, "0", now.to_string(), !shard.counted);
        }
    }
    if shard.databases.is_empty() && found.is_empty() {
        drill.check(format!("{of}keys"), "0", "0", true);
    }
    if expired > 0 {
        drill.report.notes.push(format!(
            "{of}{} expired since they were stored, and no server loads those",
            counted(expired, "key")
        ));
    }
}

fn is_all(stored: Keys, now: u64) -> bool {
    (stored.keys.saturating_sub(stored.expiring)..=stored.keys).contains(&now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        let said = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4";
        assert_eq!(version(said), Some(7));
        assert_eq!(version("Valkey server v=9.1.2 sha=0"), Some(9));
        assert_eq!(version("mariadbd  Ver 10.11"), None);
    }

    #[test]
    fn keys_may_only_have_expired() {
        let keys = |keys, expiring| Keys {
            keys,
            expiring,
            promised: None,
        };
        for (stored, now, all) in [
            (keys(5, 0), 5, true),
            (keys(5, 0), 4, false),
            (keys(5, 0), 6, false),
            (keys(5, 2), 3, true),
            (keys(5, 2), 2, false),
            (keys(0, 0), 0, true),
        ] {
            assert_eq!(is_all(stored, now), all, "{stored:?} {now}");
        }
    }

    #[test]
    fn a_scratch_server_has_no_port_and_its_own_directory() {
        let shard = RedisShard {
            databases: BTreeMap::from([(40, Keys::default())]),
            ..RedisShard::default()
        };
        for version in [6, 7] {
            let options = options(version, &shard, Path::new("/scratch"));
            let value = |name: &str| {
                let at = options.iter().position(|option| option == name)?;
                options.get(at + 1)?.to_str()
            };
            assert_eq!(value("--port"), Some("0"));
            assert_eq!(value("--unixsocket"), Some(SOCKET));
            assert_eq!(value("--dir"), Some("/scratch"));
            assert_eq!(value("--databases"), Some("41"));
            assert_eq!(value("--appenddirname").is_some(), version == 7);
            assert_eq!(value("--appendonly"), Some("no"));
        }
    }
}

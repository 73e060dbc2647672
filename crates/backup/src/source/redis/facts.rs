//! What a snapshot of Redis knows about itself.

use std::collections::BTreeMap;
use std::fmt;

use super::rdb::Keys;

/// What is known about a server, or about the servers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RedisFacts {
    /// Whether each shard is one of a cluster, in a directory of its own.
    #[serde(default)]
    pub cluster: bool,
    /// The one server, or one for each shard in the order of their slots.
    pub shards: Vec<RedisShard>,
}

/// What is known about the data of one server.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct RedisShard {
    /// Where it lies in the snapshot; empty where there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// Where the server was.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The id of its process.
    pub run_id: String,
    /// `master` or `slave`, as INFO has it.
    pub role: String,
    /// The history of writes that the data is a moment of.
    pub replid: String,
    /// The moment: so many bytes of that history.
    pub offset: u64,
    /// First and last of each run of slots, in a cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<(u16, u16)>,
    /// The version of the file's format. A server reads those up to its own.
    pub rdb_version: u32,
    /// The size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// The keys of each database in the file.
    #[serde(default)]
    pub databases: BTreeMap<u64, Keys>,
    /// Whether all keys were counted: a newer server may write what this version does not know.
    #[serde(default)]
    pub counted: bool,
    /// Libraries of functions in the file.
    #[serde(default)]
    pub functions: u64,
    /// The keys of each database that the server told of before the pull.
    #[serde(default)]
    pub told: BTreeMap<u64, u64>,
    /// How its files are called.
    #[serde(default)]
    pub layout: Layout,
    /// How long the pull took, in milliseconds.
    #[serde(default)]
    pub took_ms: u64,
}

/// The names of a server's files in its data directory, as in redis.conf.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layout {
    /// The directory; empty where the server did not tell.
    pub dir: String,
    /// The RDB file.
    pub dbfilename: String,
    /// What the names of the append-only files begin with.
    pub appendfilename: String,
    /// The directory they are in, since version 7.
    pub appenddirname: String,
    /// Whether they are what the server loads at its start, and not the RDB file.
    pub appendonly: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self::from_settings(&BTreeMap::new())
    }
}

impl Layout {
    /// The layout that these settings give. A name that is not a plain one is taken for the default:
    /// it becomes part of a path.
    pub(super) fn from_settings(settings: &BTreeMap<String, String>) -> Self {
        let name = |key: &str, default: &str| {
            settings
                .get(key)
                .filter(|name| is_plain(name))
                .map_or(default, String::as_str)
                .to_owned()
        };
        Self {
            dir: settings.get("dir").cloned().unwrap_or_default(),
            dbfilename: name("dbfilename", "dump.rdb"),
            appendfilename: name("appendfilename", "appendonly.aof"),
            appenddirname: name("appenddirname", "appendonlydir"),
            appendonly: settings
                .get("appendonly")
                .is_some_and(|value| value == "yes"),
        }
    }

    /// The same as it may be used: what comes out of a repository is looked at again.
    pub(crate) fn checked(&self) -> Self {
        let default = Self::default();
        let name = |name: &String, default: String| {
            if is_plain(name) {
                name.clone()
            } else {
                default
            }
        };
        Self {
            dir: self.dir.clone(),
            dbfilename: name(&self.dbfilename, default.dbfilename),
            appendfilename: name(&self.appendfilename, default.appendfilename),
            appenddirname: name(&self.appenddirname, default.appenddirname),
            appendonly: self.appendonly,
        }
    }
}

/// Whether a name is one component of a path and needs no quotes in a manifest.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl RedisShard {
    /// The keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|keys| keys.keys).sum()
    }
}

/// A line for each server.
impl fmt::Display for RedisFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shard in &self.shards {
            let keys = in_words(shard.databases.iter().map(|(db, keys)| (*db, keys.keys)));
            let at_least = if shard.counted { "" } else { "at least " };
            write!(
                f,
                "Redis {} at {} ({}), {at_least}{keys}, at {}:{}",
                shard.version, shard.address, shard.role, shard.replid, shard.offset
            )?;
            for (index, (first, last)) in shard.slots.iter().enumerate() {
                let before = if index == 0 { ", slots " } else { " " };
                write!(f, "{before}{first}-{last}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Keys for people: `5 keys in database 0, 1 in database 3`.
pub(crate) fn in_words(databases: impl IntoIterator<Item = (u64, u64)>) -> String {
    let parts: Vec<String> = databases
        .into_iter()
        .filter(|(_, keys)| *keys > 0)
        .enumerate()
        .map(|(index, (number, keys))| {
            let word = match (index, keys) {
                (0, 1) => " key",
                (0, _) => " keys",
                _ => "",
            };
            format!("{keys}{word} in database {number}")
        })
        .collect();
    if parts.is_empty() {
        "no keys".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_paths_only_when_plain() {
        let settings = |name: &str| {
            let pairs = ["dbfilename", "appendfilename", "appenddirname"]
                .map(|key| (key.to_owned(), name.to_owned()));
            Layout::from_settings(&BTreeMap::from(pairs))
        };
        assert_eq!(settings("shop.rdb").dbfilename, "shop.rdb");
        for odd in ["", "../x", "a/b", "a b", "..", "-rf", ".hidden", "a\nb"] {
            assert_eq!(settings(odd), Layout::default(), "{odd:?}");
            let stored = Layout {
                dbfilename: odd.to_owned(),
                ..Layout::default()
            };
            assert_eq!(stored.checked(), Layout::default(), "{odd:?}");
        }
    }

    #[test]
    fn a_line_for_each_server() {
        let shard = RedisShard {
            address: "db1:7000".to_owned(),
            version: "7.0.15".to_owned(),
            role: "master".to_owned(),
            replid: "ab".to_owned(),
            offset: 7,
            slots: vec![(0, 99), (200, 300)],
            databases: BTreeMap::from([(
                0,
                Keys {
                    keys: 5,
                    expiring: 0,
                    promised: None,
                },
            )]),
            ..RedisShard::default()
        };
        let facts = RedisFacts {
            cluster: true,
            shards: vec![shard],
        };
        assert_eq!(
            facts.to_string(),
            "Redis 7.0.15 at db1:7000 (master), at least 5 keys in database 0, at ab:7, slots 0-99 200-300\n"
        );
    }

    #[test]
    fn keys_in_words() {
        assert_eq!(in_words([]), "no keys");
        assert_eq!(in_words([(0, 0)]), "no keys");
        assert_eq!(in_words([(3, 1)]), "1 key in database 3");
        assert_eq!(
            in_words([(0, 5), (3, 1)]),
            "5 keys in database 0, 1 in database 3"
        );
    }
}

//! A Redis server, or the shards of a cluster, pulled over the network.
//!
//! Nothing runs on the server's host, and its disk is not used unless it is set up so: we ask for a
//! copy as a replica does (PSYNC). A snapshot has `dump.rdb`, which holds all databases and the functions; `acl.txt` with
//! the users (their passwords as hashes), in the form of an ACL file; and `config.txt` with the
//! settings, in which passwords are struck out: the server's own is in `acl.txt` as a hash, and that
//! of a master is another server's. A cluster has a directory with these for each shard.

mod client;
mod crc64;
mod data;
mod facts;
mod preflight;
mod pull;
pub mod rdb;
pub mod resp;
mod topology;
pub(crate) mod trial;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use mainstay_base::tls::Tls;
use mainstay_base::{Credential, Resolver};

use self::client::{Client, Dial, Trouble};
use self::pull::Pulled;
use self::resp::Value;
use self::topology::Shard;
use super::sqlite::Cancellable;
use super::{Content, Context, Entry, Facts, Issue, Issues, Meta, Reading, Source, Weight};
use crate::error::{Error, ErrorKind, reason_of_io};
use crate::progress::Progress;

pub use self::client::Address;
pub(crate) use self::data::{ACL, CONFIG, arrange, check, displaced, inside, loaded};
pub(crate) use self::facts::in_words;
pub use self::facts::{Layout, RedisFacts, RedisShard};

/// Shards that are pulled at the same time.
const ABREAST: usize = 4;

/// `redis = { … }` of a backup.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Where the server is, or a Sentinel, or any node of a cluster.
    pub address: Address,
    /// The user; the default one when absent.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Credential>,
    /// How TLS is done; none when absent.
    pub tls: Option<Tls>,
    /// The group, where the address is that of a Sentinel.
    pub group: Option<String>,
    /// Whether a replica of the group is asked, and not its master.
    pub replica: bool,
    /// The data directory of the server, where this is its host: what a restore in place replaces.
    pub data: Option<PathBuf>,
    /// What snapshots are of: `/redis/` and the address, or the group.
    pub path: PathBuf,
}

/// A server, or a cluster, as a source.
#[derive(Debug)]
pub struct Redis {
    config: RedisConfig,
    resolver: Resolver,
}

/// A server that data is pulled from.
struct Server {
    address: Address,
    directory: String,
    slots: Vec<(u16, u16)>,
}

/// Which servers there are.
struct Found {
    servers: Vec<Server>,
    /// The shards as the cluster told.
    cluster: Option<Vec<Shard>>,
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) address: String,
    /// The keys of each database.
    pub(crate) keys: BTreeMap<u64, u64>,
    /// How many replicas are attached.
    pub(crate) replicas: u64,
    /// The master that it follows, if it is a replica.
    pub(crate) follows: Option<String>,
    /// How its files are called, if it tells.
    pub(crate) layout: Option<Layout>,
}

impl Redis {
    /// The server that this config names.
    pub fn new(config: RedisConfig, resolver: Resolver) -> Self {
        Self { config, resolver }
    }

    fn attempt(&self) -> String {
        format!("pull the data of Redis at {}", self.config.address)
    }

    fn dial(&self) -> Result<Dial, Error> {
        let refuse = |why: String, help: &str| {
            Error::new(ErrorKind::Secret, self.attempt(), why).with_help(help.to_owned())
        };
        let password = match &self.config.password {
            None => None,
            Some(password) => Some(
                password
                    .read("the password of redis", &self.resolver)
                    .map_err(|error| refuse(error.to_string(), error.help()))?,
            ),
        };
        let tls = match &self.config.tls {
            None => None,
            Some(tls) => {
                // Only a name of the config's own can be none; which one is asked for, the address says.
                let client = tls.name("localhost").and_then(|_| tls.client());
                let client = client.map_err(|error| refuse(error.to_string(), error.help()))?;
                Some((tls.clone(), client))
            }
        };
        Ok(Dial {
            user: self.config.user.clone(),
            password,
            tls,
        })
    }

    /// Which servers to pull from.
    fn find(&self, dial: &Dial) -> Result<Found, Error> {
        let attempt = self.attempt();
        let explain = |trouble: Trouble| trouble.explain(&attempt);
        let mut client = Client::connect(&self.config.address, dial).map_err(explain)?;
        let about = info(&mut client, "server").map_err(explain)?;
        let one = |address: Address| Found {
            servers: vec![Server {
                address,
                directory: String::new(),
                slots: Vec::new(),
            }],
            cluster: None,
        };
        match about.get("redis_mode").map(String::as_str) {
            Some("sentinel") => self.ask_sentinel(&mut client).map(one),
            Some("cluster") => {
                let shards = ask_cluster(&mut client, &self.config.address, &attempt)?;
                let servers = shards
                    .iter()
                    .map(|shard| Server {
                        address: shard.address.clone(),
                        directory: topology::directory(shard),
                        slots: shard.slots.clone(),
                    })
                    .collect();
                Ok(Found {
                    servers,
                    cluster: Some(shards),
                })
            }
            _ if self.config.group.is_some() => Err(Error::new(
                ErrorKind::SourceUnreadable,
                attempt,
                "`redis.group` is set, and the server is not a Sentinel",
            )
            .with_help("name the address of a Sentinel, or remove `group`")),
            _ => Ok(one(self.config.address.clone())),
        }
    }

    fn ask_sentinel(&self, client: &mut Client) -> Result<Address, Error> {
        let attempt = self.attempt();
        let mut ask = |parts: &[&str]| match client.ask(parts) {
            Err(Trouble::Refused(said)) if said.contains("No such master") => Ok(Value::Null),
            answer => answer.map_err(|trouble| trouble.explain(&attempt)),
        };
        let known = topology::groups(&ask(&["SENTINEL", "MASTERS"])?);
        let group = match (&self.config.group, known.as_slice()) {
            (Some(group), _) => group.clone(),
            (None, [only]) => only.clone(),
            (None, _) => {
                return Err(Error::new(
                    ErrorKind::SourceUnreadable,
                    attempt,
                    format!("the Sentinel watches over {} groups", known.len()),
                )
                .with_help(format!("name one as `redis.group`: {}", known.join(", "))));
            }
        };
        let found = if self.config.replica {
            topology::replica(&ask(&["SENTINEL", "REPLICAS", &group])?)
        } else {
            topology::master(&ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &group])?)
        };
        found.ok_or_else(|| {
            let what = if self.config.replica {
                "replica that is well"
            } else {
                "master"
            };
            Error::new(
                ErrorKind::SourceMissing,
                attempt,
                format!("the Sentinel knows no {what} of the group `{group}`"),
            )
            .with_help(format!("it knows: {}", known.join(", ")))
        })
    }

    /// The servers that answer now. One that is down is not an error, and neither is a Sentinel whose
    /// group has no master.
    pub(crate) fn live(&self) -> Result<Vec<Live>, Error> {
        let dial = self.dial()?;
        match Client::connect(&self.config.address, &dial) {
            Err(trouble) if trouble.is_absence() => return Ok(Vec::new()),
            _ => {}
        }
        let found = match self.find(&dial) {
            Err(error) if error.kind() == ErrorKind::SourceMissing => return Ok(Vec::new()),
            found => found?,
        };
        let attempt = format!("look at the server at {}", self.config.address);
        let explain = |trouble: Trouble| trouble.explain(&attempt);
        let mut live = Vec::new();
        for server in found.servers {
            let mut client = match Client::connect(&server.address, &dial) {
                Err(trouble) if trouble.is_absence() => continue,
                client => client.map_err(explain)?,
            };
            let about = info(&mut client, "all").map_err(explain)?;
            let settings = client.ask(&["CONFIG", "GET", "*"]).ok();
            live.push(Live {
                address: server.address.to_string(),
                keys: topology::keyspace(&about),
                replicas: about
                    .get("connected_slaves")
                    .and_then(|count| count.parse().ok())
                    .unwrap_or(0),
                follows: about.get("master_host").map(|host| {
                    let port = about.get("master_port").map_or("?", String::as_str);
                    format!("{host}:{port}")
                }),
                layout: settings.map(|found| Layout::from_settings(&topology::pairs(&found))),
            });
        }
        Ok(live)
    }
}

fn info(client: &mut Client, section: &str) -> Result<BTreeMap<String, String>, Trouble> {
    let text = client.ask(&["INFO", section])?.text().unwrap_or_default();
    Ok(topology::info(&text))
}

fn ask_cluster(client: &mut Client, via: &Address, attempt: &str) -> Result<Vec<Shard>, Error> {
    let answer = client
        .ask(&["CLUSTER", "SLOTS"])
        .map_err(|trouble| trouble.explain(attempt))?;
    topology::shards(&answer, via)
        .filter(|shards| !shards.is_empty())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::SourceUnreadable,
                attempt,
                "the cluster does not say which node has which slots",
            )
            .with_help(
                "look at `redis-cli CLUSTER SLOTS`: nodes must have met and slots be assigned",
            )
        })
}

impl Source for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn open(&self, context: &Context<'_>) -> Result<Box<dyn Reading>, Error> {
        let issues = Issues::default();
        let dial = self.dial()?;
        let found = self.find(&dial)?;
        context.progress.begin(
            &format!("Pulling the data of Redis at {}", self.config.address),
            None,
        );
        let pulled = self.pull_all(&found.servers, &dial, context, &issues);
        context.progress.finish();
        let parts = pulled?;
        if let Some(before) = &found.cluster {
            self.look_again(before, &dial, &issues)?;
        }
        issues.settle();
        Ok(Box::new(Copy {
            path: self.config.path.clone(),
            cluster: found.cluster.is_some(),
            parts,
            issues,
            progress: Arc::clone(context.progress),
        }))
    }
}

impl Redis {
    fn pull_all(
        &self,
        servers: &[Server],
        dial: &Dial,
        context: &Context<'_>,
        issues: &Issues,
    ) -> Result<Vec<Part>, Error> {
        let next = AtomicUsize::new(0);
        // Side by side, so that the moments of the shards are close to each other.
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(server) = servers.get(index) else {
                    return Ok(done);
                };
                let staged = context.staging.join(format!("dump-{index}"));
                let part = self.pull_one(server, &staged, dial, context.progress, issues)?;
                done.push((index, part));
            }
        };
        let mut parts: Vec<(usize, Part)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..servers.len().min(ABREAST))
                .map(|_| scope.spawn(work))
                .collect();
            let mut parts = Vec::new();
            let mut failed = None;
            for thread in threads {
                match thread.join() {
                    Ok(Ok(done)) => parts.extend(done),
                    Ok(Err(error)) => failed = failed.or(Some(error)),
                    Err(_) => {
                        let why = "the thread of a pull failed";
                        failed = failed
                            .or_else(|| Some(Error::new(ErrorKind::Internal, self.attempt(), why)));
                    }
                }
            }
            failed.map_or(Ok(parts), Err)
        })?;
        parts.sort_by_key(|(index, _)| *index);
        Ok(parts.into_iter().map(|(_, part)| part).collect())
    }

    fn pull_one(
        &self,
        server: &Server,
        staged: &Path,
        dial: &Dial,
        progress: &Arc<dyn Progress>,
        issues: &Issues,
    ) -> Result<Part, Error> {
        let attempt = format!("pull the data of Redis at {}", server.address);
        let explain = |trouble: Trouble| trouble.explain(&attempt);
        let mut root = self.config.path.clone();
        if !server.directory.is_empty() {
            root.push(&server.directory);
        }
        let mut client = Client::connect(&server.address, dial).map_err(explain)?;
        if client.needless_password {
            issues.add(
                Weight::Warning,
                &root,
                "the config has a password for the server, and the server asks for none: everybody who reaches it can read and delete its data",
            );
        }
        let about = info(&mut client, "all").map_err(explain)?;
        let settings = self.settings(&mut client, &root, issues).map_err(explain)?;
        let acl = users(&mut client, &root, issues).map_err(explain)?;
        let layout = Layout::from_settings(&settings);
        let pulling = Client::connect(&server.address, dial).map_err(explain)?;
        let pulled = pull::pull(pulling, staged, &attempt, progress)?;
        judge(&pulled, &settings, &root.join(data::DUMP), issues);
        let known = |name: &str| about.get(name).cloned().unwrap_or_default();
        let contents = &pulled.contents;
        let facts = RedisShard {
            directory: server.directory.clone(),
            address: server.address.to_string(),
            version: known("redis_version"),
            run_id: known("run_id"),
            role: known("role"),
            replid: pulled.replid.clone(),
            offset: pulled.offset,
            slots: server.slots.clone(),
            rdb_version: contents.version,
            bytes: contents.bytes,
            sha256: pulled.sha256.clone(),
            databases: contents.databases.clone(),
            counted: contents.unknown.is_none(),
            functions: contents.functions,
            told: topology::keyspace(&about),
            layout,
            took_ms: u64::try_from(pulled.took.as_millis()).unwrap_or(u64::MAX),
        };
        // The server's own time of the data, so that the tree does not change without it.
        let time = contents
            .about
            .get("ctime")
            .and_then(|time| time.parse().ok())
            .and_then(|second| Timestamp::from_second(second).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Part {
            staged: staged.to_owned(),
            time,
            acl,
            config: (!settings.is_empty()).then(|| in_lines(&settings)),
            facts,
        })
    }

    fn settings(
        &self,
        client: &mut Client,
        root: &Path,
        issues: &Issues,
    ) -> Result<BTreeMap<String, String>, Trouble> {
        match client.ask(&["CONFIG", "GET", "*"]) {
            Ok(answer) => Ok(topology::pairs(&answer)),
            Err(Trouble::Refused(said)) => {
                issues.add(
                    Weight::Warning,
                    &root.join(data::CONFIG),
                    format!("the settings are not in the snapshot: the server says: {said}; allow {} `+config|get`", self.who()),
                );
                Ok(BTreeMap::new())
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn who(&self) -> &str {
        self.config.user.as_deref().unwrap_or("the user `default`")
    }

    /// Slots that moved from one shard to another meanwhile may be in both, or in neither.
    fn look_again(&self, before: &[Shard], dial: &Dial, issues: &Issues) -> Result<(), Error> {
        let attempt = self.attempt();
        let mut client = Client::connect(&self.config.address, dial)
            .map_err(|trouble| trouble.explain(&attempt))?;
        let after = ask_cluster(&mut client, &self.config.address, &attempt)?;
        let slots = |shards: &[Shard]| -> Vec<(String, Vec<(u16, u16)>)> {
            shards
                .iter()
                .map(|shard| (shard.node.clone(), shard.slots.clone()))
                .collect()
        };
        if slots(before) != slots(&after) {
            issues.add(
                Weight::Missing,
                &self.config.path,
                "slots went from one node of the cluster to another while it was pulled: run it again",
            );
        }
        for (first, last) in topology::unserved(before) {
            issues.add(
                Weight::Missing,
                &self.config.path,
                format!("no node serves the slots {first} to {last}: what is in them is not in the snapshot"),
            );
        }
        Ok(())
    }
}

/// The users as an ACL file has them.
fn users(client: &mut Client, root: &Path, issues: &Issues) -> Result<Option<String>, Trouble> {
    match client.ask(&["ACL", "LIST"]) {
        Ok(answer) => Ok(Some(answer.items().iter().filter_map(Value::text).fold(
            String::new(),
            |mut lines, user| {
                let _ = writeln!(lines, "{user}");
                lines
            },
        ))),
        Err(Trouble::Refused(said)) => {
            issues.add(
                Weight::Warning,
                &root.join(data::ACL),
                format!(
                    "the users are not in the snapshot: the server says: {said}; allow `+acl|list`"
                ),
            );
            Ok(None)
        }
        Err(trouble) => Err(trouble),
    }
}

/// What is worth a word about a file that is whole.
fn judge(pulled: &Pulled, settings: &BTreeMap<String, String>, path: &Path, issues: &Issues) {
    let contents = &pulled.contents;
    let broken = contents.broken_promises();
    if !broken.is_empty() {
        // With a checksum over it the file is what the server wrote; without one nothing says so.
        let weight = if contents.checksum.is_some() {
            Weight::Warning
        } else {
            Weight::Missing
        };
        issues.add(weight, path, broken.join(", "));
    }
    if contents.checksum.is_none() {
        issues.add(
            Weight::Warning,
            path,
            "the server writes no checksum: `rdbchecksum yes` lets every later reader see damage",
        );
    }
    if let Some(unknown) = &contents.unknown {
        issues.add(
            Weight::Warning,
            path,
            format!("the keys could not all be counted: {unknown} is new to this version; the checksum is right"),
        );
    }
    if !pulled.rdb_only
        && let Some(limit) = settings
            .get("client-output-buffer-limit")
            .and_then(|limits| replica_limit(limits))
        && limit < 64 << 20
    {
        issues.add(
            Weight::Warning,
            path,
            format!("the server cuts off replicas that {limit} bytes of writes wait for: with many writes a pull may not come to its end; raise `client-output-buffer-limit replica`"),
        );
    }
}

/// The hard limit for replicas in `normal 0 0 0 slave 268435456 67108864 60 …`; none if it is 0.
fn replica_limit(limits: &str) -> Option<u64> {
    let mut words = limits.split(' ');
    words.find(|word| matches!(*word, "slave" | "replica"))?;
    words.next()?.parse().ok().filter(|limit| *limit > 0)
}

/// The settings for people, in the words of redis.conf, without passwords.
fn in_lines(settings: &BTreeMap<String, String>) -> String {
    let mut lines = String::from(
        "# The answer to CONFIG GET *; passwords are struck out, users are in acl.txt.\n",
    );
    for (name, value) in settings {
        let is_password = name.contains("pass") || name == "masterauth";
        if is_password && !value.is_empty() {
            let _ = writeln!(lines, "# {name} is set");
        } else {
            let _ = writeln!(lines, "{name} {value:?}");
        }
    }
    lines
}

/// What was pulled from one server.
struct Part {
    staged: PathBuf,
    time: Timestamp,
    acl: Option<String>,
    config: Option<String>,
    facts: RedisShard,
}

struct Copy {
    path: PathBuf,
    cluster: bool,
    parts: Vec<Part>,
    issues: Issues,
    progress: Arc<dyn Progress>,
}

impl Copy {
    fn directory(path: PathBuf, time: Timestamp) -> Entry {
        Entry {
            path,
            meta: Meta {
                mode: 0o700,
                ..Meta::synthetic(0, time)
            },
            content: Content::Directory,
        }
    }

    fn text(path: PathBuf, time: Timestamp, text: String) -> Entry {
        Entry {
            path,
            meta: Meta::synthetic(text.len() as u64, time),
            content: Content::File(Box::new(move || {
                Ok(Box::new(Cursor::new(text)) as Box<dyn Read + Send>)
            })),
        }
    }

    fn dump(&self, path: PathBuf, part: &Part) -> Entry {
        let staged = part.staged.clone();
        let issues = self.issues.clone();
        let progress = Arc::clone(&self.progress);
        let shown = path.clone();
        Entry {
            path,
            meta: Meta::synthetic(part.facts.bytes, part.time),
            content: Content::File(Box::new(move || match File::open(&staged) {
                Ok(file) => Ok(Box::new(Cancellable { file, progress }) as Box<dyn Read + Send>),
                Err(error) => {
                    let what = format!("its staging copy: {}", reason_of_io(&error));
                    issues.add(Weight::Missing, &shown, what);
                    Err(error)
                }
            })),
        }
    }
}

impl Reading for Copy {
    fn root(&self) -> &Path {
        &self.path
    }

    fn total(&self) -> Option<u64> {
        Some(self.parts.iter().map(|part| part.facts.bytes).sum())
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + Send> {
        let time = self
            .parts
            .first()
            .map_or(Timestamp::UNIX_EPOCH, |part| part.time);
        let mut above: Vec<&Path> = self
            .path
            .ancestors()
            .filter(|path| path.parent().is_some())
            .collect();
        above.reverse();
        let mut entries: Vec<Entry> = above
            .into_iter()
            .map(|path| Self::directory(path.to_owned(), time))
            .collect();
        for part in &self.parts {
            let mut root = self.path.clone();
            if self.cluster {
                root.push(&part.facts.directory);
                entries.push(Self::directory(root.clone(), part.time));
            }
            // In the order of their names.
            if let Some(acl) = &part.acl {
                entries.push(Self::text(root.join(data::ACL), part.time, acl.clone()));
            }
            if let Some(config) = &part.config {
                entries.push(Self::text(
                    root.join(data::CONFIG),
                    part.time,
                    config.clone(),
                ));
            }
            entries.push(self.dump(root.join(data::DUMP), part));
        }
        Box::new(entries.into_iter())
    }

    fn take_issues(&self) -> Vec<Issue> {
        self.issues.take()
    }

    fn facts(&self) -> Facts {
        Facts {
            kind: "redis".to_owned(),
            redis: Some(RedisFacts {
                cluster: self.cluster,
                shards: self.parts.iter().map(|part| part.facts.clone()).collect(),
            }),
            ..Facts::default()
        }
    }

    fn rows(&self) -> Option<u64> {
        let counted = self.parts.iter().all(|part| part.facts.counted);
        counted.then(|| self.parts.iter().map(|part| part.facts.keys()).sum())
    }

    fn unchanged_by_times(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_struck_out_of_the_settings() {
        let pairs = [
            ("requirepass", "hunter2"),
            ("masterauth", "hunter3"),
            ("tls-key-file-pass", "hunter4"),
            ("masteruser", "sync"),
            ("tls-client-key-file-pass", ""),
            ("save", "3600 1 \"x"),
        ];
        let settings = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let lines = in_lines(&BTreeMap::from(settings));
        assert!(!lines.contains("hunter"), "{lines}");
        for line in [
            "# requirepass is set",
            "# masterauth is set",
            "masteruser \"sync\"",
            "tls-client-key-file-pass \"\"",
            "save \"3600 1 \\\"x\"",
        ] {
            assert!(lines.lines().any(|found| found == line), "{lines}");
        }
    }

    #[test]
    fn the_limit_for_replicas_is_found() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(replica_limit(limits), Some(268_435_456));
        assert_eq!(replica_limit("normal 0 0 0 replica 0 0 0"), None);
        assert_eq!(replica_limit(""), None);
    }
}

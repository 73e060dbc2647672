//! What the config says about repositories and backups: `[repository.x]` and `[backup.x]`.

mod drill;
mod mysql;
mod place;
mod redis;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::config::Section;
use mainstay_base::tls::Tls;
use mainstay_base::{Diagnostic, Schedule, Spanned, Template, nearest};
use sha2::{Digest, Sha256};

use crate::glob::Excludes;
use crate::retention::Keep;
use crate::source::redis::RedisConfig;

pub use drill::{Assertion, DrillConfig};
pub use mysql::{Engine, MysqlConfig};
pub use place::{Compression, PlaceConfig, S3Config, SftpConfig};

/// No backup begins later than this after its time.
const LONGEST_JITTER: Duration = Duration::from_hours(12);

/// Everything the config says about backups.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host name that snapshots carry.
    pub host: String,
    /// The zone of schedules and of the days, weeks and months of the retention.
    pub zone: TimeZone,
    /// Where snapshots go, in the order of the file.
    pub repositories: Vec<RepositoryConfig>,
    /// What is backed up, in the order of the file.
    pub backups: Vec<BackupConfig>,
}

/// One `[repository.x]`.
#[derive(Debug, Clone)]
pub struct RepositoryConfig {
    /// Its name.
    pub name: String,
    /// Where its files lie.
    pub place: PlaceConfig,
    /// Where its password comes from.
    pub password: Template,
    /// So many bytes in a second go there and come from there at most.
    pub limit: Option<u64>,
    /// How what is stored there is compressed.
    pub compression: Compression,
    /// All of its data is read in so many days, a part each day, after a run.
    pub verify_days: Option<u32>,
}

/// One `[backup.x]`.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// Its name.
    pub name: String,
    /// What it backs up.
    pub source: SourceConfig,
    /// When it runs by itself; never when absent.
    pub at: Option<Schedule>,
    /// So much later than its schedule says it runs: always the same on one host, and another on
    /// others, so that not all of them are at work at once.
    pub delay: Duration,
    /// What stays; everything when no rule is given.
    pub keep: Keep,
    /// The repositories it goes to, in this order.
    pub to: Vec<String>,
    /// The programs that must not run while it is restored in place, with their places in the config
    /// so that whoever knows the programs can point at a wrong name.
    pub restore_stop: Vec<Spanned<String>>,
    /// How its restore is tried; it is not, when absent.
    pub drill: Option<DrillConfig>,
    /// A backup with less than this share, in percent, of what the last ones had is told: in bytes, or
    /// in rows or keys. Nothing is told of it with 0.
    pub shrunken_percent: u64,
}

/// Half of what there was is gone.
pub const SHRUNKEN_PERCENT: u64 = 50;

impl BackupConfig {
    /// When it is due next after this time.
    pub fn due_after(&self, time: Timestamp) -> Option<Timestamp> {
        let schedule = self.at.as_ref()?;
        let before = time.checked_sub(self.delay).ok()?;
        schedule.next_after(before)?.checked_add(self.delay).ok()
    }
}

/// A share of `jitter` that follows from the names of host and backup alone.
fn delay(host: &str, backup: &str, jitter: Duration) -> Duration {
    let digest = Sha256::digest(format!("{host}\0{backup}"));
    let (first, _) = digest.split_at(4);
    let share = first
        .iter()
        .fold(0, |sum, byte| sum * 256 + u64::from(*byte));
    let seconds = (u128::from(jitter.as_secs()) * u128::from(share)) >> 32;
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// What a backup backs up.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// A directory and everything below it.
    Files {
        /// The directory, absolute.
        path: PathBuf,
        /// What to leave out.
        exclude: Excludes,
    },
    /// A `SQLite` database.
    Sqlite {
        /// The database file, absolute.
        path: PathBuf,
    },
    /// A server of `MySQL` or `MariaDB`.
    Mysql(Box<MysqlConfig>),
    /// A Redis server, or a cluster of them.
    Redis(Box<RedisConfig>),
}

impl SourceConfig {
    /// What its snapshots are of: the path in the file system, or one that stands for a server.
    pub fn path(&self) -> &Path {
        match self {
            Self::Files { path, .. } | Self::Sqlite { path } => path,
            Self::Mysql(server) => &server.path,
            Self::Redis(redis) => &redis.path,
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Files { path, .. } | Self::Sqlite { path } => path.display().to_string(),
            Self::Mysql(server) => server.endpoint.to_string(),
            Self::Redis(redis) => match &redis.group {
                Some(group) => format!("{group} of the Sentinel at {}", redis.address),
                None => redis.address.to_string(),
            },
        }
    }

    /// Where a restore in place goes, if it is known.
    pub(crate) fn restore_to(&self) -> Option<&Path> {
        match self {
            Self::Files { path, .. } | Self::Sqlite { path } => Some(path),
            Self::Mysql(_) => None,
            Self::Redis(redis) => redis.data.as_deref(),
        }
    }

    /// `files`, `sqlite`, `mysql` or `redis`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Files { .. } => "files",
            Self::Sqlite { .. } => "sqlite",
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
        }
    }
}

impl Config {
    /// Reads `[repository.x]` and `[backup.x]` from the root of the document.
    ///
    /// What is wrong is reported to the document; what could be read is returned, and must not be
    /// used when the document has errors.
    pub fn read(root: &mut Section<'_>, host: &str, zone: &TimeZone) -> Self {
        let mut repositories = Vec::new();
        for (name, section) in root.sections("repository") {
            repositories.extend(read_repository(name.value, section));
        }
        let known: Vec<&str> = repositories
            .iter()
            .map(|repository: &RepositoryConfig| repository.name.as_str())
            .collect();
        let mut backups = Vec::new();
        for (name, section) in root.sections("backup") {
            backups.extend(read_backup(
                name.value,
                section,
                host,
                zone,
                &known,
                &repositories,
            ));
        }
        Self {
            host: host.to_owned(),
            zone: zone.clone(),
            repositories,
            backups,
        }
    }

    /// The backup of that name.
    pub fn backup(&self, name: &str) -> Option<&BackupConfig> {
        self.backups.iter().find(|backup| backup.name == name)
    }

    /// The repository of that name.
    pub fn repository(&self, name: &str) -> Option<&RepositoryConfig> {
        self.repositories
            .iter()
            .find(|repository| repository.name == name)
    }
}

fn read_repository(name: String, mut section: Section<'_>) -> Option<RepositoryConfig> {
    section.planned(&["rsync", "rest"]);
    let place = place::read(&mut section);
    let limit = place::read_limit(&mut section);
    let compression = place::read_compression(&mut section);
    let verify_days = read_days(&mut section, "verify_within");
    let password = section.get_spanned::<Template>("password");
    match &password {
        None if section.value("password").is_none() => section.report(
            Diagnostic::error(format!("`{}.password` is missing", section.path()))
                .at(section.place())
                .help(
                    "repositories are always encrypted: add `password = \"${secret.NAME}\"` and NAME to [secret]",
                ),
        ),
        Some(password) if password.value.parts().iter().all(|part| {
            matches!(part, mainstay_base::secret::Part::Literal(_))
        }) =>
        {
            section.report(
                Diagnostic::error("a password is not written into the config")
                    .at(&password.place)
                    .help("write `password = \"${secret.NAME}\"` and say in [secret] where NAME is kept"),
            );
        }
        _ => {}
    }
    section.finish();
    Some(RepositoryConfig {
        name,
        place: place?,
        password: password?.value,
        limit,
        compression,
        verify_days,
    })
}

fn read_backup(
    name: String,
    mut section: Section<'_>,
    host: &str,
    zone: &TimeZone,
    known: &[&str],
    repositories: &[RepositoryConfig],
) -> Option<BackupConfig> {
    section.planned(&["postgres", "point_in_time"]);
    let files = section.section("files").and_then(read_files);
    let sqlite = section.section("sqlite").and_then(|mut sqlite| {
        let path = read_path(&mut sqlite, "path", true);
        sqlite.finish();
        path.map(|path| SourceConfig::Sqlite { path })
    });
    let mysql = section.section("mysql").and_then(mysql::read);
    let redis = section.section("redis").and_then(redis::read);
    let named = ["files", "sqlite", "mysql", "redis", "postgres"]
        .iter()
        .filter(|key| section.value(key).is_some())
        .count();
    if named != 1 {
        let message = if named > 1 {
            format!("[{}] has more than one source", section.path())
        } else {
            format!("[{}] does not say what to back up", section.path())
        };
        section.report(Diagnostic::error(message).at(section.place()).help(
            "write one of `files = { path = \"…\" }`,  and `mysql = { socket = \"…\", user = \"…\" }`",
        ));
    }
    let at = section
        .get::<Schedule>("at")
        .map(|schedule| schedule.in_zone(zone.clone()));
    let delay = read_jitter(&mut section, at.is_some())
        .map_or(Duration::ZERO, |jitter| delay(host, &name, jitter));
    let keep = read_keep(&mut section);
    let to = read_to(&mut section, known);
    let restore_stop = section
        .section("restore")
        .map(|mut restore| {
            let stop = read_names(&mut restore, "stop");
            restore.finish();
            stop
        })
        .unwrap_or_default();
    let source = if named == 1 {
        files.or(sqlite).or(mysql).or(redis)
    } else {
        None
    };
    let drill = section
        .section("drill")
        .map(|drill| drill::read(drill, source.as_ref(), zone));
    let shrunken_percent = section.get::<u64>("shrunken_percent");
    if shrunken_percent.is_some_and(|percent| percent > 100)
        && let Some(value) = section.value("shrunken_percent")
    {
        section.report(
            value
                .error("more than all is no share")
                .help("write 0 to 100"),
        );
    }
    if let (Some(SourceConfig::Files { path, exclude }), Some(place)) =
        (&source, section.value("files"))
    {
        for repository in repositories {
            let inside = repository.place.path().is_some_and(|place| {
                place
                    .strip_prefix(path)
                    .is_ok_and(|below| !below.ancestors().any(|part| exclude.matches(part)))
            });
            if inside {
                section.report(
                    Diagnostic::error(format!(
                        "repository `{}` lies inside the directory that is backed up",
                        repository.name
                    ))
                    .at(place.place())
                    .help("every backup would back up the ones before it: move the repository, or exclude its directory"),
                );
            }
        }
    }
    section.finish();
    Some(BackupConfig {
        name,
        source: source?,
        at,
        delay,
        keep,
        to: to?,
        restore_stop,
        drill,
        shrunken_percent: shrunken_percent.unwrap_or(SHRUNKEN_PERCENT),
    })
}

fn read_files(mut files: Section<'_>) -> Option<SourceConfig> {
    let path = read_path(&mut files, "path", true);
    let exclude =
        match files.get_spanned::<Vec<String>>("exclude") {
            None => Some(Excludes::default()),
            Some(patterns) => match Excludes::parse(&patterns.value) {
                Ok(excludes) => Some(excludes),
                Err(why) => {
                    files.report(Diagnostic::error(why).at(&patterns.place).help(
                        "as in .gitignore: `*.tmp`, `/cache`, `logs/**`; no `!` to take back",
                    ));
                    None
                }
            },
        };
    files.finish();
    Some(SourceConfig::Files {
        path: path?,
        exclude: exclude?,
    })
}

/// A duration of whole days.
fn read_days(section: &mut Section<'_>, key: &str) -> Option<u32> {
    const DAY: u64 = 24 * 3600;
    let within = section.get_spanned::<Duration>(key)?;
    let seconds = within.value.as_secs();
    if seconds == 0 || seconds % DAY != 0 || seconds / DAY > 366 {
        section.report(
            Diagnostic::error(format!("`{key}` is a number of whole days, up to 366"))
                .at(&within.place)
                .help(format!(
                    "a part is read each day, all of them in: `{key} = \"30d\"`"
                )),
        );
        return None;
    }
    u32::try_from(seconds / DAY).ok()
}

fn read_jitter(section: &mut Section<'_>, scheduled: bool) -> Option<Duration> {
    let jitter = section.get_spanned::<Duration>("jitter")?;
    let why = if !scheduled {
        "`jitter` is for a backup with a schedule: `at = \"0 3 * * *\"`"
    } else if jitter.value > LONGEST_JITTER {
        "the longest `jitter` is 12h"
    } else {
        return Some(jitter.value);
    };
    section.report(Diagnostic::error(why).at(&jitter.place));
    None
}

fn read_keep(section: &mut Section<'_>) -> Keep {
    let Some(mut keep) = section.section("keep") else {
        return Keep::default();
    };
    let mut rule = |key| keep.get::<u32>(key).unwrap_or(0);
    let read = Keep {
        last: rule("last"),
        days: rule("days"),
        hourly: rule("hourly"),
        daily: rule("daily"),
        weekly: rule("weekly"),
        monthly: rule("monthly"),
        yearly: rule("yearly"),
        verified: keep.get::<u32>("verified").unwrap_or(1),
    };
    if read.is_empty() {
        keep.report(
            Diagnostic::error("`keep` has no rule that keeps anything")
                .at(keep.place())
                .help("leave `keep` out to keep everything, or write `keep = { daily = 7, weekly = 4 }`"),
        );
    }
    keep.finish();
    read
}

fn read_to(section: &mut Section<'_>, known: &[&str]) -> Option<Vec<String>> {
    if section.value("to").is_none() {
        let help = if known.is_empty() {
            "add a repository first: `[repository.local]` with `path` and `password`".to_owned()
        } else {
            format!("write `to = [\"{}\"]`", known.join("\", \""))
        };
        section.report(
            Diagnostic::error(format!("`{}.to` is missing", section.path()))
                .at(section.place())
                .help(help),
        );
        return None;
    }
    let value = section.value("to");
    let names = read_names(section, "to");
    if let Some(value) = value
        && value.as_array().is_ok_and(|items| items.is_empty())
    {
        section.report(
            Diagnostic::error("a backup needs at least one repository to go to").at(value.place()),
        );
    }
    let mut to: Vec<String> = Vec::new();
    for name in names {
        if !known.contains(&name.value.as_str()) {
            let mut unknown = Diagnostic::error(format!("there is no repository `{}`", name.value))
                .at(&name.place);
            unknown = match nearest(&name.value, known.iter().copied()) {
                Some(near) => unknown.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => unknown.help("add it as `[repository.NAME]`"),
                None => unknown.help(format!("there are: {}", known.join(", "))),
            };
            section.report(unknown);
        } else if to.contains(&name.value) {
            section.report(
                Diagnostic::error(format!("repository `{}` is listed twice", name.value))
                    .at(&name.place),
            );
        } else {
            to.push(name.value);
        }
    }
    Some(to)
}

/// A list of names, each with its place.
fn read_names(section: &mut Section<'_>, key: &str) -> Vec<Spanned<String>> {
    let Some(value) = section.value(key) else {
        return Vec::new();
    };
    let items = match value.as_array() {
        Ok(items) => items,
        Err(diagnostic) => {
            section.report(diagnostic);
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for item in items {
        match item.as_str() {
            Ok(name) => names.push(Spanned {
                value: name.to_owned(),
                place: item.place().clone(),
            }),
            Err(diagnostic) => section.report(diagnostic),
        }
    }
    names
}

/// Reads `tls` of a server: yes or no, or a table; `own` reads keys that only this server has in it.
fn read_tls(
    section: &mut Section<'_>,
    own: impl FnOnce(&mut Section<'_>, &mut Tls),
) -> Option<Tls> {
    if !section.value("tls")?.is_table() {
        return section.get::<bool>("tls")?.then(Tls::default);
    }
    let mut table = section.section("tls")?;
    let mut tls = Tls::read(&mut table);
    own(&mut table, &mut tls);
    table.finish();
    Some(tls)
}

/// An absolute path without `.`; one with `..` is refused, because what it means changes with links.
fn read_path(section: &mut Section<'_>, key: &str, required: bool) -> Option<PathBuf> {
    if required && section.value(key).is_none() {
        return section.required(key);
    }
    let path = section.get_spanned::<PathBuf>(key)?;
    let refuse = |section: &Section<'_>, why: &str| {
        section.report(Diagnostic::error(why).at(&path.place));
        None
    };
    if path
        .value
        .components()
        .any(|part| part == Component::ParentDir)
    {
        return refuse(
            section,
            &format!(
                "`{}.{key}`: a path here has no `..` in it: write it out",
                section.path()
            ),
        );
    }
    // Only a config that was itself named by a relative path still has a relative one here.
    let Ok(absolute) = std::path::absolute(&path.value) else {
        return refuse(
            section,
            &format!("`{}.{key}` is not a path", section.path()),
        );
    };
    let clean: PathBuf = absolute.components().collect();
    if clean.parent().is_none() {
        return refuse(
            section,
            &format!(
                "`{}.{key}` cannot be `/` itself: name a directory below it",
                section.path()
            ),
        );
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_base::config::Document;

    fn read(text: &str) -> (Config, String) {
        let document = Document::parse("/etc/mainstay.toml", text).unwrap();
        let mut root = document.root();
        let config = Config::read(&mut root, "shop1", &TimeZone::UTC);
        root.finish();
        (config, document.take_diagnostics().to_string())
    }

    const REPOSITORY: &str = "[repository.local]\npath = \"/backup\"\npassword = \"${secret.r}\"\n";

    #[test]
    fn a_full_config_is_read() {
        let (config, said) = read(&format!(
            "{REPOSITORY}
[backup.db]
sqlite = {{ path = \"/srv/shop/./shop.db\" }}
at = \"0 3 * * *\"
keep = {{ last = 3, daily = 7 }}
to = [\"local\"]
restore = {{ stop = [\"web\"] }}
[backup.uploads]
files = {{ path = \"uploads\", exclude = [\"*.tmp\"] }}
to = [\"local\"]
"
        ));
        assert_eq!(said, "");
        let db = config.backup("db").unwrap();
        assert_eq!(db.source.path(), Path::new("/srv/shop/shop.db"));
        assert_eq!(db.source.kind(), "sqlite");
        assert_eq!((db.keep.last, db.keep.daily), (3, 7));
        assert_eq!(db.restore_stop[0].value, "web");
        assert_eq!(db.at.as_ref().unwrap().to_string(), "0 3 * * *");
        let uploads = config.backup("uploads").unwrap();
        assert_eq!(uploads.source.path(), Path::new("/etc/uploads"));
        assert!(uploads.keep.is_empty() && uploads.at.is_none());
        assert_eq!(
            config.repository("local").unwrap().place.path(),
            Some(Path::new("/backup"))
        );
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        let backup = |body: &str| format!("{REPOSITORY}[backup.x]\n{body}\n");
        let good = "files = { path = \"/srv\" }\nto = [\"local\"]\n";
        for (text, expected) in [
            (
                backup("files = { path = \"/srv\" }\nto = [\"lokal\"]"),
                vec!["no repository `lokal`", "did you mean `local`?"],
            ),
            (
                backup("to = [\"local\"]"),
                vec!["does not say what to back up"],
            ),
            (
                backup("files = { path = \"/a\" }\nsqlite = { path = \"/b\" }\nto = [\"local\"]"),
                vec!["has more than one source"],
            ),
            (
                backup("files = { path = \"/srv\" }"),
                vec!["`backup.x.to` is missing", "write `to = [\"local\"]`"],
            ),
            (
                backup("files = { path = \"/\" }\nto = [\"local\"]"),
                vec!["`/` itself"],
            ),
            (
                backup("files = { path = \"/srv/../etc\" }\nto = [\"local\"]"),
                vec!["has no `..` in it"],
            ),
            (
                backup("files = { path = \"/backup/..\" }\nto = [\"local\"]"),
                vec!["has no `..` in it"],
            ),
            (
                format!(
                    "[repository.local]\npath = \"/srv/backup\"\npassword = \"${{secret.r}}\"\n[backup.x]\n{good}"
                ),
                vec!["lies inside the directory"],
            ),
            (
                backup(&format!("{good}postgres = {{ dsn = \"x\" }}")),
                vec!["`backup.x.postgres` does not work yet"],
            ),
            (
                backup("mysql = { user = \"u\" }\nto = [\"local\"]"),
                vec!["does not say where the server is", "mysqld.sock"],
            ),
            (
                backup("mysql = { host = \"h\", socket = \"/s\", user = \"u\" }\nto = [\"local\"]"),
                vec!["has both `socket` and `host`"],
            ),
            (
                backup("mysql = { socket = \"/s\", port = 1, user = \"u\" }\nto = [\"local\"]"),
                vec!["a socket has no port"],
            ),
            (
                backup(
                    "mysql = { host = \"h\", password = \"hunter2\", tls = { any_name = true, key = \"/k\" } }\nto = [\"local\"]",
                ),
                vec![
                    "`backup.x.mysql.user` is missing",
                    "not written into the config",
                    "any name is taken only from",
                    "`key` does nothing without `cert`",
                ],
            ),
            (
                backup(
                    "mysql = { host = \"h\", user = \"u\", database = [\"shop\"], connections = 0 }\nto = [\"local\"]",
                ),
                vec!["unknown key `database`", "from 1 to 64"],
            ),
            (
                backup("redis = { address = \"db 1\" }\nto = [\"local\"]"),
                vec!["`db 1` is not an address", "host:port"],
            ),
            (
                backup("redis = { user = \"b\" }\nto = [\"local\"]"),
                vec!["does not say where the server is", "needs a `password`"],
            ),
            (
                backup("redis = { address = \"a\", password = \"hunter2\" }\nto = [\"local\"]"),
                vec!["not written into the config"],
            ),
            (
                backup(
                    "redis = { address = \"a\", socket = \"/b\", replica = true }\nto = [\"local\"]",
                ),
                vec!["not both", "`backup.x.redis.replica` needs `group`"],
            ),
            (
                backup("redis = { socket = \"/b\", tls = { key = \"/k\" } }\nto = [\"local\"]"),
                vec![
                    "`key` does nothing without `cert`",
                    "TLS is for addresses",
                ],
            ),
            (
                backup("redis = { adress = \"a\" }\nto = [\"local\"]"),
                vec!["unknown key `adress`", "did you mean `address`?"],
            ),
            (
                backup(&format!("{good}redis = {{ address = \"a\" }}")),
                vec!["has more than one source"],
            ),
            (
                backup(&format!("{good}drill = {{ at = \"x\" }}")),
                vec!["`backup.x.drill.at`", "not a schedule"],
            ),
            (
                backup(&format!("{good}shrunken_percent = 101")),
                vec!["more than all is no share"],
            ),
            (
                backup(&format!("{good}keep = {{ dayly = 3 }}")),
                vec!["unknown key `dayly`", "did you mean `daily`?"],
            ),
            (
                backup(&format!("{good}keep = {{ daily = 0 }}")),
                vec!["no rule that keeps anything"],
            ),
            (
                backup(&format!("{good}jitter = \"10m\"")),
                vec!["`jitter` is for a backup with a schedule"],
            ),
            (
                backup(&format!("{good}at = \"0 3 * * *\"\njitter = \"1d\"")),
                vec!["the longest `jitter` is 12h"],
            ),
            (
                backup(&format!("{good}at = \"noon\"")),
                vec!["not a schedule"],
            ),
            (
                backup("files = { path = \"/srv\", exclude = [\"[a\"] }\nto = [\"local\"]"),
                vec!["is not a pattern"],
            ),
            (
                "[repository.r]\npassword = \"${secret.r}\"".to_owned(),
                vec!["does not say where it is"],
            ),
            (
                format!("{REPOSITORY}s3 = {{ bucket = \"b\" }}\n"),
                vec!["in more than one place"],
            ),
            (
                "[repository.r]\npassword = \"${secret.r}\"\nlimit = \"10MB\"\ncompression = \"zip\"\nverify_within = \"36h\"\ns3 = { endpoint = \"minio:9000\", access_key = \"hunter2\" }".to_owned(),
                vec![
                    "`10MB` is not a rate",
                    "`zip` is no way to compress",
                    "`verify_within` is a number of whole days",
                    "`minio:9000` is not an endpoint",
                    "`repository.r.s3.bucket` is missing",
                    "a key is not written into the config",
                    "`repository.r.s3.secret_key` is missing",
                ],
            ),
            (
                "[repository.r]\npassword = \"${secret.r}\"\nsftp = { host = \"-oProxyCommand=x\" }".to_owned(),
                vec!["is not a host", "`repository.r.sftp.path` is missing"],
            ),
            (
                "[repository.local]\npath = \"/backup\"\npassword = \"hunter2\"".to_owned(),
                vec!["not written into the config"],
            ),
            (
                "[repository.local]\npath = \"/backup\"".to_owned(),
                vec!["`repository.local.password` is missing", "always encrypted"],
            ),
        ] {
            let (_, said) = read(&text);
            for part in expected {
                assert!(said.contains(part), "{text}\n---\n{said}");
            }
            assert!(!said.contains(": hunter2"), "{said}");
        }
    }

    #[test]
    fn a_host_is_late_by_its_own_share_of_the_jitter() {
        let text = format!(
            "{REPOSITORY}[backup.x]\nfiles = {{ path = \"/srv\" }}\nto = [\"local\"]\nat = \"0 3 * * *\"\njitter = \"1h\"\n"
        );
        let due = |host: &str| {
            let document = Document::parse("/etc/mainstay.toml", &text).unwrap();
            let config = Config::read(&mut document.root(), host, &TimeZone::UTC);
            assert!(!document.take_diagnostics().has_errors());
            let backup = config.backup("x").unwrap();
            let due = backup
                .due_after("2026-11-22T03:00:00Z".parse().unwrap())
                .unwrap();
            // Each time is late by the same, and none comes twice or is left out.
            let next = backup.due_after(due).unwrap();
            assert_eq!(next.as_second() - due.as_second(), 24 * 3600);
            due.as_second()
        };
        let three: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        let late: std::collections::BTreeSet<i64> = (0..20)
            .map(|number| (due(&format!("shop{number}")) - three.as_second()).rem_euclid(24 * 3600))
            .collect();
        assert!(late.iter().all(|late| *late < 3600), "{late:?}");
        assert!(late.len() > 10, "{late:?}");
        assert_eq!(due("shop1"), due("shop1"));
    }

    #[test]
    fn places_elsewhere_are_read() {
        let (config, said) = read(
            "[repository.cloud]
s3 = { endpoint = \"https://minio:9000/\", bucket = \"b\", prefix = \"/shop/\", access_key = \"${secret.a}\", secret_key = { file = \"/k\" } }
password = \"${secret.r}\"
limit = \"10MB/s\"
[repository.far]
sftp = { host = \"nas\", port = 2222, user = \"backup\", path = \"shop\", key = \"/etc/mainstay/backup.key\" }
password = \"${secret.r}\"
",
        );
        assert_eq!(said, "");
        let cloud = config.repository("cloud").unwrap();
        assert_eq!(cloud.place.shown(), "s3:https://minio:9000/b/shop");
        assert_eq!(cloud.limit, Some(10_000_000));
        assert_eq!(cloud.place.path(), None);
        let far = config.repository("far").unwrap();
        assert_eq!(far.place.shown(), "sftp:nas:shop");
        let PlaceConfig::Sftp(sftp) = &far.place else {
            panic!("{far:?}");
        };
        assert!(sftp.command().join(" ").ends_with(
            "-oIdentitiesOnly=yes -i /etc/mainstay/backup.key -p 2222 -l backup -s -- nas sftp"
        ));
    }

    #[test]
    fn a_server_is_read() {
        let (config, said) = read(&format!(
            "{REPOSITORY}
[backup.a]
redis = {{ address = \"db1\", user = \"b\", password = \"${{secret.redis}}\", tls = true, data = \"/var/lib/redis\" }}
to = [\"local\"]
[backup.b]
redis = {{ address = \"s1:26379\", group = \"shop\", replica = true, tls = {{ ca = \"/ca.pem\", cert = \"/c.pem\", key = \"/k.pem\", server_name = \"db\" }} }}
to = [\"local\"]
[backup.c]
redis = {{ socket = \"/run/redis.sock\", tls = false }}
to = [\"local\"]
"
        ));
        assert_eq!(said, "");
        let source = |name: &str| &config.backup(name).unwrap().source;
        assert_eq!(source("a").kind(), "redis");
        assert_eq!(source("a").path(), Path::new("/redis/db1:6379"));
        assert_eq!(source("a").restore_to(), Some(Path::new("/var/lib/redis")));
        assert_eq!(source("b").path(), Path::new("/redis/group/shop"));
        assert_eq!(source("b").place(), "shop of the Sentinel at s1:26379");
        assert_eq!(source("b").restore_to(), None);
        assert_eq!(source("c").place(), "/run/redis.sock");
        let SourceConfig::Redis(b) = source("b") else {
            panic!("{:?}", source("b"));
        };
        let tls = b.tls.as_ref().unwrap();
        let identity = tls.identity.as_ref().unwrap();
        assert_eq!(identity.certificates, Path::new("/c.pem"));
        assert_eq!(identity.key, Path::new("/k.pem"));
        let SourceConfig::Redis(c) = source("c") else {
            panic!("{:?}", source("c"));
        };
        assert_eq!(c.tls, None);
    }

    #[test]
    fn a_database_server_is_read() {
        let (config, said) = read(&format!(
            "{REPOSITORY}
[backup.server]
mysql = {{ host = \"db.example\", user = \"backup\", password = \"${{secret.m}}\", databases = [\"shop\", \"wp_*\"], exclude = [\"wp_test\"], tls = {{ ca = \"/ca.pem\" }} }}
to = [\"local\"]
[backup.local]
mysql = {{ socket = \"/run/mysqld/mysqld.sock\", user = \"root\", users = false, connections = 4 }}
to = [\"local\"]
"
        ));
        assert_eq!(said, "");
        let SourceConfig::Mysql(server) = &config.backup("server").unwrap().source else {
            panic!("it is a server")
        };
        assert_eq!(server.endpoint.to_string(), "db.example:3306");
        assert_eq!(server.path, Path::new("/mysql/db.example:3306"));
        assert_eq!(server.selection.databases.len(), 2);
        assert_eq!(server.tls.as_ref().unwrap().ca, [Path::new("/ca.pem")]);
        assert!(server.users && server.connections == 2);
        let SourceConfig::Mysql(local) = &config.backup("local").unwrap().source else {
            panic!("it is a server")
        };
        assert_eq!(local.path, Path::new("/mysql/run/mysqld/mysqld.sock"));
        assert!(!local.users && local.connections == 4 && local.password.is_none());
    }

    #[test]
    fn a_repository_in_an_excluded_directory_is_fine() {
        let (_, said) = read(
            "[repository.local]\npath = \"/srv/backup\"\npassword = \"${secret.r}\"
[backup.x]\nfiles = { path = \"/srv\", exclude = [\"/backup\"] }\nto = [\"local\"]\n",
        );
        assert_eq!(said, "");
    }
}

//! Where a repository is: `path`, `s3 = { … }` or `sftp = { … }`.

use std::path::{Path, PathBuf};

use mainstay_base::config::Section;
use mainstay_base::{Credential, Diagnostic, Size};

use super::read_path;

/// Where the files of a repository lie.
#[derive(Debug, Clone)]
pub enum PlaceConfig {
    /// A directory of this machine, absolute.
    Local(PathBuf),
    /// A bucket.
    S3(S3Config),
    /// A directory on another machine.
    Sftp(SftpConfig),
}

/// How what is stored is compressed. Names and meaning are those of restic's `--compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    Off,
    /// Fast.
    #[default]
    Auto,
    /// Smaller by some percent, in a multiple of the time.
    Max,
}

impl PlaceConfig {
    /// The directory, if it is one of this machine.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }

    /// Where it is, for people.
    pub fn shown(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::S3(s3) => {
                let slash = if s3.prefix.is_empty() { "" } else { "/" };
                format!("s3:{}/{}{slash}{}", s3.endpoint, s3.bucket, s3.prefix)
            }
            Self::Sftp(sftp) => format!("sftp:{}:{}", sftp.host, sftp.path),
        }
    }
}

/// A bucket of S3, or of what speaks like it.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// `https://HOST` or `https://HOST:PORT`.
    pub endpoint: String,
    /// The bucket; it must exist.
    pub bucket: String,
    /// What keys begin with, without slashes at the ends; empty for nothing.
    pub prefix: String,
    /// The region that signatures name.
    pub region: String,
    /// Where the two parts of the key come from.
    pub access_key: Credential,
    /// The secret one.
    pub secret_key: Credential,
    /// Whether the bucket is in the path, and not in the name of the host.
    pub path_style: bool,
    /// A PEM file with the only authorities that are believed; the system's when absent.
    pub ca: Option<PathBuf>,
}

/// A directory on another machine, over SSH.
#[derive(Debug, Clone)]
pub struct SftpConfig {
    /// The host, or its alias in the config of `ssh`.
    pub host: String,
    /// The user there; what `ssh` takes by itself when absent.
    pub user: Option<String>,
    /// The port; what `ssh` takes by itself when absent.
    pub port: Option<u16>,
    /// The directory, absolute or below the home directory.
    pub path: String,
    /// The private key; what `ssh` takes by itself when absent.
    pub key: Option<PathBuf>,
    /// A program and its arguments in place of `ssh`, which speaks SFTP on its standard streams.
    pub program: Vec<String>,
}

impl SftpConfig {
    /// What is started.
    pub(crate) fn command(&self) -> Vec<String> {
        if !self.program.is_empty() {
            return self.program.clone();
        }
        // Nobody is there to answer a question; and a way that died is noticed.
        let mut words: Vec<String> = [
            "ssh",
            "-oBatchMode=yes",
            "-oConnectTimeout=20",
            "-oServerAliveInterval=15",
            "-oServerAliveCountMax=4",
            "-oClearAllForwardings=yes",
        ]
        .map(str::to_owned)
        .into();
        if let Some(key) = &self.key {
            words.extend([
                "-oIdentitiesOnly=yes".to_owned(),
                "-i".to_owned(),
                key.display().to_string(),
            ]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &self.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        words.extend(["-s", "--", &self.host, "sftp"].map(str::to_owned));
        words
    }
}

/// Reads the place of a repository; exactly one must be named.
pub(super) fn read(section: &mut Section<'_>) -> Option<PlaceConfig> {
    let named = ["path", "s3", "sftp"]
        .iter()
        .filter(|key| section.value(key).is_some())
        .count();
    if named != 1 {
        let message = if named == 0 {
            format!("[{}] does not say where it is", section.path())
        } else {
            format!("[{}] is in more than one place", section.path())
        };
        section.report(Diagnostic::error(message).at(section.place()).help(
            "write one of `path = \"…\"`, `s3 = { bucket = \"…\", … }`, `sftp = { host = \"…\", path = \"…\" }`",
        ));
    }
    let local = read_path(section, "path", false).map(PlaceConfig::Local);
    let s3 = section.section("s3").and_then(read_s3);
    let sftp = section.section("sftp").and_then(read_sftp);
    if named == 1 {
        local.or(s3).or(sftp)
    } else {
        None
    }
}

/// `"10MB/s"` as bytes in a second.
pub(super) fn read_limit(section: &mut Section<'_>) -> Option<u64> {
    let limit = section.get_spanned::<String>("limit")?;
    let rate = limit
        .value
        .strip_suffix("/s")
        .and_then(|size| size.trim().parse::<Size>().ok())
        .filter(|size| size.0 > 0);
    if rate.is_none() {
        section.report(
            Diagnostic::error(format!("`{}` is not a rate", limit.value))
                .at(&limit.place)
                .help("write bytes in a second: `limit = \"10MB/s\"`"),
        );
    }
    rate.map(|size| size.0)
}

/// `"off"`, `"auto"` or `"max"`.
pub(super) fn read_compression(section: &mut Section<'_>) -> Compression {
    let Some(named) = section.get_spanned::<String>("compression") else {
        return Compression::default();
    };
    match named.value.as_str() {
        "off" => Compression::Off,
        "auto" => Compression::Auto,
        "max" => Compression::Max,
        other => {
            section.report(
                Diagnostic::error(format!("`{other}` is no way to compress"))
                    .at(&named.place)
                    .help("write `\"off\"`, `\"auto\"` or `\"max\"`"),
            );
            Compression::default()
        }
    }
}

fn read_s3(mut s3: Section<'_>) -> Option<PlaceConfig> {
    let region = s3
        .get::<String>("region")
        .unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = s3.get_spanned::<String>("endpoint");
    if let Some(endpoint) = &endpoint {
        let host = endpoint
            .value
            .strip_prefix("https://")
            .or_else(|| endpoint.value.strip_prefix("http://"))
            .map(|host| host.trim_end_matches('/'));
        if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', ' '])) {
            s3.report(
                Diagnostic::error(format!("`{}` is not an endpoint", endpoint.value))
                    .at(&endpoint.place)
                    .help("write `https://HOST` or `https://HOST:PORT`; the bucket is a key of its own"),
            );
        }
    }
    let bucket = s3.required::<String>("bucket");
    let prefix = s3.get::<String>("prefix").unwrap_or_default();
    let mut credential = |key: &str| {
        let found = s3.get_spanned::<Credential>(key);
        match &found {
            None if s3.value(key).is_none() => {
                s3.required::<Credential>(key);
            }
            Some(found) if !found.value.refers() => s3.report(
                Diagnostic::error("a key is not written into the config")
                    .at(&found.place)
                    .help(format!("write `{key} = \"${{secret.NAME}}\"` and say in [secret] where NAME is kept")),
            ),
            _ => {}
        }
        found.map(|found| found.value)
    };
    let (access_key, secret_key) = (credential("access_key"), credential("secret_key"));
    let path_style = s3.get::<bool>("path_style").unwrap_or(true);
    let ca = read_path(&mut s3, "ca", false);
    s3.finish();
    Some(PlaceConfig::S3(S3Config {
        endpoint: endpoint.map_or_else(
            || format!("https://s3.{region}.amazonaws.com"),
            |endpoint| endpoint.value.trim_end_matches('/').to_owned(),
        ),
        bucket: bucket?,
        prefix: prefix.trim_matches('/').to_owned(),
        region,
        access_key: access_key?,
        secret_key: secret_key?,
        path_style,
        ca,
    }))
}

fn read_sftp(mut sftp: Section<'_>) -> Option<PlaceConfig> {
    let host = sftp.get_spanned::<String>("host");
    match &host {
        None => {
            sftp.required::<String>("host");
        }
        // It would be an option of `ssh`.
        Some(host) if host.value.starts_with('-') || host.value.is_empty() => sftp
            .report(Diagnostic::error(format!("`{}` is not a host", host.value)).at(&host.place)),
        Some(_) => {}
    }
    let path = sftp.required::<String>("path");
    let config = SftpConfig {
        user: sftp.get::<String>("user"),
        port: sftp.get::<u16>("port"),
        key: read_path(&mut sftp, "key", false),
        program: sftp.get::<Vec<String>>("program").unwrap_or_default(),
        host: host.map(|host| host.value).unwrap_or_default(),
        path: path.clone().unwrap_or_default(),
    };
    sftp.finish();
    path.map(|_| PlaceConfig::Sftp(config))
}

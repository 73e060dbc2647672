//! What the shop is told by its arguments and its environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use mainstay_web::REPORT_VARIABLE;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{MySql, Postgres, Sqlite};

use crate::faults::Fault;
use crate::store::Options;

/// Printed by `shop --help`.
pub(crate) const HELP: &str = "\
usage: shop                              run the shop
       shop partner [--listen ADDRESS]   run only the fake partner (default 127.0.0.1:8081)
       shop --help | --version

environment:
  SHOP_LISTEN              address and port (default 127.0.0.1:8080; port 0: any free one)
  SHOP_DATA                directory of shop.db and uploads/ (default ./data)
  SHOP_DATABASE            a database instead of shop.db: mysql://… or postgres://…
  SHOP_PAGES               directory of the error pages (default ./tmpl)
  SHOP_PARTNER_URL         where feedback is handed to (default: the shop's own fake partner)
  SHOP_PARTNER_TIMEOUT_MS  how long the partner may take (default 3000)
  SHOP_LEASE_MS            how long the work of a shop that died waits for another (default 30000)
  SHOP_FAULTS              0: POST /admin/fault does not exist
  SHOP_FAULT               faults to start with, for example exit:3 or hang,ignore-term";

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Shop,
    Partner { listen: String },
    Help,
    Version,
}

impl Command {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let words: Vec<&str> = arguments
            .iter()
            .map(|a| a.to_str().unwrap_or("?"))
            .collect();
        match words.as_slice() {
            [] => Ok(Command::Shop),
            ["--help" | "-h" | "help"] => Ok(Command::Help),
            ["--version" | "-V"] => Ok(Command::Version),
            ["partner"] => Ok(Command::Partner {
                listen: "127.0.0.1:8081".to_owned(),
            }),
            ["partner", "--listen", listen] => Ok(Command::Partner {
                listen: (*listen).to_owned(),
            }),
            other => Err(format!(
                "cannot understand: {}; see shop --help",
                other.join(" ")
            )),
        }
    }
}

/// Where the database is.
#[derive(Clone)]
pub(crate) enum Place {
    Sqlite(Options<Sqlite>),
    MySql(Options<MySql>),
    Postgres(Options<Postgres>),
}

/// What the environment says.
pub(crate) struct Settings {
    /// `host:port`.
    pub(crate) listen: String,
    /// The directory of everything that is kept.
    pub(crate) data: PathBuf,
    pub(crate) database: Place,
    /// The directory of the error pages.
    pub(crate) pages: PathBuf,
    /// How long the journal's works stay with a process that says nothing any more.
    pub(crate) lease: Duration,
    /// Where the daemon that the shop runs under is told of faults.
    pub(crate) report: Option<PathBuf>,
    /// None: the shop's own fake.
    pub(crate) partner: Option<Uri>,
    pub(crate) partner_timeout: Duration,
    /// Whether requests may ask for faults.
    pub(crate) faults_by_request: bool,
    /// Faults to start with.
    pub(crate) faults: Vec<Fault>,
}

impl fmt::Debug for Settings {
    /// Without the password of the database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the variables of this shop by way of `variable`; one that is set but empty counts as
    /// not set.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, String> {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| {
            raw(name)
                .map(OsString::into_string)
                .transpose()
                .map_err(|_| format!("{name} is not text"))
        };
        let partner = text("SHOP_PARTNER_URL")?
            .map(|url| partner_url(&url))
            .transpose()?;
        let milliseconds = |name: &str, default: u64| {
            let given = text(name)?.map_or(Ok(default), |ms| {
                ms.parse().map_err(|_| format!("{name}={ms}: not a number"))
            });
            given.map(Duration::from_millis)
        };
        let data = PathBuf::from(raw("SHOP_DATA").unwrap_or_else(|| OsStr::new("data").to_owned()));
        let database = match text("SHOP_DATABASE")? {
            None => Place::Sqlite(sqlite(&data)),
            Some(url) => database(&url)?,
        };
        Ok(Settings {
            listen: text("SHOP_LISTEN")?.unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
            data,
            database,
            pages: raw("SHOP_PAGES").map_or_else(|| PathBuf::from("tmpl"), PathBuf::from),
            lease: milliseconds("SHOP_LEASE_MS", 30_000)?,
            report: raw(REPORT_VARIABLE).map(PathBuf::from),
            partner,
            partner_timeout: milliseconds("SHOP_PARTNER_TIMEOUT_MS", 3000)?,
            faults_by_request: text("SHOP_FAULTS")?.as_deref() != Some("0"),
            faults: Fault::parse_list(&text("SHOP_FAULT")?.unwrap_or_default())
                .map_err(|error| format!("SHOP_FAULT: {error}"))?,
        })
    }
}

/// The file that the database is without `SHOP_DATABASE`.
fn sqlite(data: &std::path::Path) -> Options<Sqlite> {
    SqliteConnectOptions::new()
        .filename(data.join("shop.db"))
        .create_if_missing(true)
        // A backup can read while the shop writes.
        .journal_mode(SqliteJournalMode::Wal)
        // A visitor who was thanked must find the words again after a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
}

/// The database at this URL, which may have a password in it and so is never shown.
fn database(url: &str) -> Result<Place, String> {
    let refuse = |error: sqlx::Error| format!("SHOP_DATABASE cannot be read: {error}");
    match url.split_once(':') {
        Some(("mysql" | "mariadb", _)) => Ok(Place::MySql(url.parse().map_err(refuse)?)),
        Some(("postgres" | "postgresql", _)) => {
            Ok(Place::Postgres(url.parse().map_err(refuse)?))
        }
        _ => Err("SHOP_DATABASE is not a URL that begins with mysql:// or postgres://; for SQLite leave it away".to_owned()),
    }
}

fn partner_url(url: &str) -> Result<Uri, String> {
    let refuse = |why: &str| format!("SHOP_PARTNER_URL={url}: {why}");
    let uri: Uri = url
        .parse()
        .map_err(|error| refuse(&format!("not a URL: {error}")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(uri),
        (Some("https"), _) => Err(refuse("this small shop speaks no TLS; use an http:// URL")),
        _ => Err(refuse("expected http://host/path")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ffi::OsString;

    use super::{Command, Place, Settings};
    use crate::faults::Fault;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn defaults() {
        let settings = read(&[("SHOP_DATA", "")]).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:8080");
        assert_eq!(settings.data.to_str(), Some("data"));
        assert_eq!(settings.partner, None);
        assert_eq!(settings.partner_timeout.as_secs(), 3);
        assert!(settings.faults_by_request);
        assert_eq!(settings.faults, []);
        assert_eq!(settings.pages.to_str(), Some("tmpl"));
        assert_eq!(settings.lease.as_secs(), 30);
        assert!(matches!(settings.database, Place::Sqlite(_)));
    }

    #[test]
    fn databases() {
        let place = |url| read(&[("SHOP_DATABASE", url)]).unwrap().database;
        assert!(matches!(place("mysql://a:b@host/shop"), Place::MySql(_)));
        assert!(matches!(
            place("postgres://a:b@host/shop"),
            Place::Postgres(_)
        ));
        for url in ["redis://a:secret@host", "mysql://a:secret@:x/"] {
            let error = read(&[("SHOP_DATABASE", url)]).unwrap_err();
            assert!(error.contains("SHOP_DATABASE"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn everything_set() {
        let settings = read(&[
            ("SHOP_LISTEN", "[::1]:9"),
            ("SHOP_DATA", "/srv/shop"),
            ("SHOP_PARTNER_URL", "http://partner.example/in"),
            ("SHOP_PARTNER_TIMEOUT_MS", "50"),
            ("SHOP_FAULTS", "0"),
            ("SHOP_FAULT", "exit:3"),
        ])
        .unwrap();
        assert_eq!(settings.listen, "[::1]:9");
        assert_eq!(settings.partner.unwrap(), "http://partner.example/in");
        assert_eq!(settings.partner_timeout.as_millis(), 50);
        assert!(!settings.faults_by_request);
        assert_eq!(settings.faults, [Fault::Exit { code: 3 }]);
    }

    #[test]
    fn refusals() {
        for (name, value, want) in [
            ("SHOP_PARTNER_URL", "https://x/", "speaks no TLS"),
            ("SHOP_PARTNER_URL", "partner", "expected http://host/path"),
            ("SHOP_PARTNER_URL", "http://", "not a URL"),
            ("SHOP_PARTNER_TIMEOUT_MS", "soon", "not a number"),
            ("SHOP_LEASE_MS", "-1", "not a number"),
            ("SHOP_FAULT", "explode", "there is no fault explode"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(want), "{error}");
        }
    }

    #[test]
    fn commands() {
        for (words, want) in [
            (&[][..], Some(Command::Shop)),
            (&["--help"], Some(Command::Help)),
            (
                &["partner"],
                Some(Command::Partner {
                    listen: "127.0.0.1:8081".into(),
                }),
            ),
            (
                &["partner", "--listen", "[::]:1"],
                Some(Command::Partner {
                    listen: "[::]:1".into(),
                }),
            ),
            (&["partner", "--listen"], None),
            (&["shop"], None),
        ] {
            let got = Command::read(words.iter().map(OsString::from));
            assert_eq!(got.as_ref().ok(), want.as_ref(), "{words:?}");
        }
    }
}

//! The section `[supervisord]`: the daemon's own options with their defaults.

use super::expand::{Expansions, expand};
use super::ini::Ini;
use super::options::Environment;
use super::values::{self, Level};
use super::{ConfigError, Place};

/// The options of the section, spec section 1.2. Paths are as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the options of the same names")]
pub struct SupervisordSection {
    pub logfile: String,
    pub logfile_maxbytes: u64,
    pub logfile_backups: i64,
    pub loglevel: Level,
    pub pidfile: String,
    pub umask: u32,
    pub nodaemon: bool,
    pub silent: bool,
    pub minfds: i64,
    pub minprocs: i64,
    pub nocleanup: bool,
    /// `None` is the directory for temporary files.
    pub childlogdir: Option<String>,
    pub user: Option<String>,
    pub directory: Option<String>,
    pub strip_ansi: bool,
    pub environment: Environment,
    pub identifier: String,
    /// Where mainstay keeps its journal; the original has no such thing.
    pub state_dir: Option<String>,
}

/// Reads the section. `names` holds `ENV_…` and `here`.
///
/// # Errors
/// No such section, a value that its type refuses, an expansion that fails.
pub fn supervisord(ini: &Ini, names: &Expansions) -> Result<SupervisordSection, ConfigError> {
    if ini.section("supervisord").is_none() {
        return Err(ConfigError::new(
            ".ini file does not include supervisord section",
        ));
    }
    let text = |key: &str| ini.expanded("supervisord", key, names);
    let string = |key: &str| text(key).map(|found| found.map(|(text, _)| text));
    let flag = |key: &str| value(text(key)?, false, values::boolean);
    let number = |key: &str, default| value(text(key)?, default, values::integer);
    Ok(SupervisordSection {
        logfile: string("logfile")?.unwrap_or_else(|| "supervisord.log".into()),
        logfile_maxbytes: value(text("logfile_maxbytes")?, 50 << 20, values::byte_size)?,
        logfile_backups: number("logfile_backups", 10)?,
        loglevel: value(text("loglevel")?, Level::Info, values::level)?,
        pidfile: string("pidfile")?.unwrap_or_else(|| "supervisord.pid".into()),
        umask: value(text("umask")?, 0o022, values::octal)?,
        nodaemon: flag("nodaemon")?,
        silent: flag("silent")?,
        minfds: number("minfds", 1024)?,
        minprocs: number("minprocs", 200)?,
        nocleanup: flag("nocleanup")?,
        childlogdir: string("childlogdir")?,
        user: string("user")?,
        directory: string("directory")?,
        strip_ansi: flag("strip_ansi")?,
        // The original expands this value twice.
        environment: value(text("environment")?, Environment::default(), |once| {
            let twice = expand(once, names, "environment")?;
            values::environment(&twice).map(Environment)
        })?,
        identifier: string("identifier")?.unwrap_or_else(|| "supervisor".into()),
        state_dir: string("state_dir")?,
    })
}

fn value<T>(
    found: Option<(String, Place)>,
    default: T,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let Some((text, place)) = found else {
        return Ok(default);
    };
    read(&text).map_err(|why| ConfigError::new(why).at(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<SupervisordSection, ConfigError> {
        let mut ini = Ini::new();
        ini.read("f", text).unwrap();
        supervisord(&ini, &Expansions::from([("here".into(), "/etc".into())]))
    }

    #[test]
    fn defaults_and_values() {
        let plain = section("[supervisord]\n").unwrap();
        assert_eq!(
            (plain.umask, plain.minfds, plain.minprocs),
            (0o022, 1024, 200)
        );
        assert_eq!(plain.loglevel, Level::Info);
        let set = section("[supervisord]\nlogfile=%(here)s/l\nenvironment=A=1\n").unwrap();
        assert_eq!(set.logfile, "/etc/l");
        assert_eq!(set.environment.0, [("A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn faults_have_words_and_places() {
        let missing = section("[a]\n").unwrap_err();
        assert_eq!(
            missing.message,
            ".ini file does not include supervisord section"
        );
        let bad = section("[supervisord]\nnodaemon = perhaps\n").unwrap_err();
        assert_eq!(bad.message, "not a valid boolean value: 'perhaps'");
        assert_eq!(bad.place.unwrap().to_string(), "f:2:12");
    }
}

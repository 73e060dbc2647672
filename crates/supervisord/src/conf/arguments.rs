//! The command line of `supervisord`, and where it looks for its config.

use std::path::{Path, PathBuf};

use super::daemon::SupervisordSection;
use super::values::{self, Level};
use super::{quote, values as read};
use crate::getopt::{self, Flag};

/// What the command line says. `None` leaves it to the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the options of the same names")]
pub struct Arguments {
    pub config: Option<String>,
    pub help: bool,
    pub version: bool,
    pub nodaemon: bool,
    pub silent: bool,
    pub nocleanup: bool,
    pub strip_ansi: bool,
    pub user: Option<String>,
    pub umask: Option<u32>,
    pub directory: Option<String>,
    pub logfile: Option<String>,
    pub logfile_maxbytes: Option<u64>,
    pub logfile_backups: Option<i64>,
    pub loglevel: Option<Level>,
    pub pidfile: Option<String>,
    pub identifier: Option<String>,
    pub childlogdir: Option<String>,
    pub minfds: Option<i64>,
    pub minprocs: Option<i64>,
}

/// A command line that cannot be used; the exit status for it is 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    /// What is wrong, in the original's words.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Config,
    Help,
    Version,
    Nodaemon,
    User,
    Umask,
    Directory,
    Logfile,
    Maxbytes,
    Backups,
    Loglevel,
    Pidfile,
    Identifier,
    Childlogdir,
    Minfds,
    Minprocs,
    Nocleanup,
    StripAnsi,
    Profile,
    Silent,
}

const fn flag(short: char, long: &'static str, value: bool, key: Key) -> Flag<Key> {
    Flag {
        short: Some(short),
        long,
        value,
        key,
    }
}

const fn only(long: &'static str, key: Key) -> Flag<Key> {
    Flag {
        short: None,
        long,
        value: true,
        key,
    }
}

const FLAGS: &[Flag<Key>] = &[
    flag('c', "configuration", true, Key::Config),
    flag('h', "help", false, Key::Help),
    Flag {
        short: Some('?'),
        // It has no long form, and a name with this character cannot be written.
        long: "=",
        value: false,
        key: Key::Help,
    },
    flag('v', "version", false, Key::Version),
    flag('n', "nodaemon", false, Key::Nodaemon),
    flag('u', "user", true, Key::User),
    flag('m', "umask", true, Key::Umask),
    flag('d', "directory", true, Key::Directory),
    flag('l', "logfile", true, Key::Logfile),
    flag('y', "logfile_maxbytes", true, Key::Maxbytes),
    flag('z', "logfile_backups", true, Key::Backups),
    flag('e', "loglevel", true, Key::Loglevel),
    flag('j', "pidfile", true, Key::Pidfile),
    flag('i', "identifier", true, Key::Identifier),
    flag('q', "childlogdir", true, Key::Childlogdir),
    flag('a', "minfds", true, Key::Minfds),
    only("minprocs", Key::Minprocs),
    flag('k', "nocleanup", false, Key::Nocleanup),
    flag('t', "strip_ansi", false, Key::StripAnsi),
    only("profile_options", Key::Profile),
    flag('s', "silent", false, Key::Silent),
];

/// What `-h` shows; `%s` is the program.
const HELP: &str = "\
supervisord -- run a set of applications, restart them, and answer the clients that ask about them.

Usage: %s [options]

  -c/--configuration FILENAME -- read this config (without it: the one in the usual places)
  -n/--nodaemon -- stay in the foreground
  -s/--silent -- in the foreground, do not repeat the log on standard output
  -h/--help -- show this and exit
  -v/--version -- show the version and exit
  -u/--user USER -- become this user (name or number), if started by root
  -m/--umask UMASK -- the umask of the daemon, octal (022)
  -d/--directory DIRECTORY -- go there when in the background
  -l/--logfile FILENAME -- use FILENAME as the log of the daemon
  -y/--logfile_maxbytes BYTES -- roll that log at this size
  -z/--logfile_backups NUMBER -- keep so many rolled logs
  -e/--loglevel LEVEL -- trace, debug, info, warn, error or critical
  -j/--pidfile FILENAME -- write the process id there
  -i/--identifier TEXT -- what event listeners know this daemon by
  -q/--childlogdir DIRECTORY -- make automatic logs of programs there
  -k/--nocleanup -- leave automatic logs of earlier runs
  -a/--minfds NUMBER -- so many open files must be allowed
  -t/--strip_ansi -- keep control sequences out of the logs of programs
  --minprocs NUMBER -- so many processes must be allowed
  --profile_options OPTIONS -- taken for the sake of old command lines, and without effect

Example: %s -n -c /etc/supervisor/supervisord.conf
";

/// What is said when root lets it look for its config.
pub const ROOT_WARNING: &str = "UserWarning: Supervisord is running as root and it is searching for \
its configuration file in default locations (including its current working directory); you probably \
want to specify a \"-c\" argument specifying an absolute path to a configuration file for improved \
security.";

/// Reads a command line. With `-h` or `-v` nothing behind it is read.
///
/// # Errors
/// In the original's words.
pub fn parse(words: &[String]) -> Result<Arguments, UsageError> {
    let (found, rest) = getopt::parse(words, FLAGS).map_err(|message| UsageError { message })?;
    if !rest.is_empty() {
        let rest: Vec<String> = rest.iter().map(|word| quote(word)).collect();
        return Err(UsageError {
            message: format!(
                "positional arguments are not supported: [{}]",
                rest.join(", ")
            ),
        });
    }
    let mut out = Arguments::default();
    for (at, (name, key, value)) in found.iter().enumerate() {
        let repeated = found[..at].iter().any(|(_, before, _)| before == key);
        set(&mut out, *key, value).map_err(|why| UsageError {
            message: format!("invalid value for {name} {}: {why}", quote(value)),
        })?;
        if out.help || out.version {
            break;
        }
        if repeated {
            return Err(UsageError {
                message: format!("conflicting command line option {}", quote(name)),
            });
        }
    }
    Ok(out)
}

fn set(out: &mut Arguments, key: Key, value: &str) -> Result<(), String> {
    let text = || Some(value.to_owned());
    match key {
        Key::Config => out.config = text(),
        Key::Help => out.help = true,
        Key::Version => out.version = true,
        Key::Nodaemon => out.nodaemon = true,
        Key::Silent => out.silent = true,
        Key::Nocleanup => out.nocleanup = true,
        Key::StripAnsi => out.strip_ansi = true,
        Key::User => out.user = text(),
        Key::Umask => out.umask = Some(read::octal(value)?),
        Key::Directory => {
            existing_directory(value)?;
            out.directory = text();
        }
        Key::Childlogdir => {
            existing_directory(value)?;
            out.childlogdir = text();
        }
        Key::Logfile => {
            existing_parent(value)?;
            out.logfile = text();
        }
        Key::Pidfile => {
            existing_parent(value)?;
            out.pidfile = text();
        }
        Key::Maxbytes => out.logfile_maxbytes = Some(read::byte_size(value)?),
        Key::Backups => out.logfile_backups = Some(read::integer(value)?),
        Key::Loglevel => out.loglevel = Some(values::level(value)?),
        Key::Identifier => out.identifier = text(),
        Key::Minfds => out.minfds = Some(read::integer(value)?),
        Key::Minprocs => out.minprocs = Some(read::integer(value)?),
        Key::Profile => {}
    }
    Ok(())
}

fn existing_directory(path: &str) -> Result<(), String> {
    super::load::existing_directory(path, None).map(drop)
}

fn existing_parent(path: &str) -> Result<(), String> {
    super::load::existing_parent(path, None).map(drop)
}

/// Puts what the command line says in place of what the config says. An empty path of the log or the
/// pid file counts as not said, and the log `syslog` is no path.
pub fn apply(said: &Arguments, section: &mut SupervisordSection) {
    fn put<T: Clone>(said: Option<&T>, to: &mut T) {
        if let Some(said) = said {
            to.clone_from(said);
        }
    }
    let path = |path: &Option<String>| {
        path.as_ref().filter(|path| !path.is_empty()).map(|path| {
            let path = super::load::expand_user(path, None);
            super::load::normalize(&path).display().to_string()
        })
    };
    let logfile = match said.logfile.as_deref() {
        Some("syslog") => said.logfile.clone(),
        _ => path(&said.logfile),
    };
    section.nodaemon |= said.nodaemon;
    section.silent |= said.silent;
    section.nocleanup |= said.nocleanup;
    section.strip_ansi |= said.strip_ansi;
    put(said.umask.as_ref(), &mut section.umask);
    put(logfile.as_ref(), &mut section.logfile);
    put(
        said.logfile_maxbytes.as_ref(),
        &mut section.logfile_maxbytes,
    );
    put(said.logfile_backups.as_ref(), &mut section.logfile_backups);
    put(said.loglevel.as_ref(), &mut section.loglevel);
    put(path(&said.pidfile).as_ref(), &mut section.pidfile);
    put(said.identifier.as_ref(), &mut section.identifier);
    put(said.minfds.as_ref(), &mut section.minfds);
    put(said.minprocs.as_ref(), &mut section.minprocs);
    if said.user.is_some() {
        section.user.clone_from(&said.user);
    }
    if said.directory.is_some() {
        section.directory = path(&said.directory);
    }
    if said.childlogdir.is_some() {
        section.childlogdir = path(&said.childlogdir);
    }
}

/// What belongs on standard error before the exit status 2.
pub fn usage(program: &str, text: &str) -> String {
    format!("Error: {text}\nFor help, use {program} -h\n")
}

/// What `-h` shows.
pub fn help(program: &str) -> String {
    HELP.replace("%s", program)
}

fn places(program: &Path) -> Vec<PathBuf> {
    crate::ctl::options::search_paths(&program.to_string_lossy())
}

/// Where the config is when nobody says.
pub fn search(program: &Path, exists: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    places(program).into_iter().find(|path| exists(path))
}

/// What is said when it is nowhere.
pub fn not_found_text(program: &Path) -> String {
    let places: Vec<String> = places(program)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    format!(
        "No config file found at default paths ({}); use the -c option to specify a config file at a \
         different path",
        places.join(", ")
    )
}

/// Whether a file of this name is an automatic log of the daemon with this identifier:
/// `NAME---IDENTIFIER-SUFFIX.log`, rolled ones included.
pub fn is_auto_log(file_name: &str, identifier: &str) -> bool {
    let mark = format!("---{identifier}-");
    file_name.match_indices(&mark).any(|(at, _)| {
        let rest = &file_name[at + mark.len()..];
        let Some(end) = rest.rfind(".log") else {
            return false;
        };
        let number = rest[end + 4..].trim_start_matches('.');
        at > 0
            && end > 0
            && !rest[..end].contains(char::is_whitespace)
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
#[path = "tests/arguments.rs"]
mod tests;

//! The command line and the config of `supervisorctl`.
//!
//! ```
//! use mainstay_supervisord::ctl::options;
//! let words = ["-s", "unix:///run/s.sock", "status", "web"].map(String::from);
//! let options = options::parse(&words).map_err(|why| why.message)?;
//! assert_eq!(options.serverurl.as_deref(), Some("unix:///run/s.sock"));
//! assert_eq!(options.line().as_deref(), Some("status web"));
//! # Ok::<(), String>(())
//! ```

use std::path::{Component, Path, PathBuf};

use mainstay_base::secret::Secret;

use super::Settings;
use crate::conf::expand::{Expansions, Value, expand};
use crate::conf::ini::Ini;
use crate::conf::quote;
use crate::getopt::{self, Flag};

/// What `-h` shows; `%s` is the name of the program.
const USAGE: &str = "\
supervisorctl -- control applications that a supervisord runs.

Usage: %s [options] [action [arguments]]

Options:
-c/--configuration FILENAME -- the config; without it the usual places are searched
-h/--help -- show this text
-i/--interactive -- start an interactive shell if there is no action (without -i too); with an
     action, ask before what cannot be undone
-s/--serverurl URL -- where supervisord listens
     (default \"http://localhost:9001\").
-u/--username USERNAME -- the name to log in with
-p/--password PASSWORD -- the password to it; others on this machine can see it
-r/--history-file -- keep the lines of the shell in this file
-v/--version -- show the version

action [arguments] -- what to do

Without an action a shell is started that reads actions line by line. The action \"help\" lists
the actions.
";

/// What the command line asks for, before any config is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `-c`: the config.
    pub config: Option<String>,
    /// `-i`
    pub interactive: bool,
    /// `-s`
    pub serverurl: Option<String>,
    /// `-u`
    pub username: Option<String>,
    /// `-p`
    pub password: Option<Secret>,
    /// `-r`
    pub history_file: Option<String>,
    /// A text is wanted, and nothing else.
    pub wants: Option<Wanted>,
    /// The action with its arguments.
    pub words: Vec<String>,
}

impl Options {
    /// The line to obey. `None` asks for the shell.
    pub fn line(&self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.join(" "))
    }
}

/// A text instead of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `-h`: see [`usage`].
    Help,
    /// `-v`
    Version,
}

/// A command line or a config that cannot be used. The exit status for it is 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    /// What is wrong, in the original's words.
    pub message: String,
}

impl UsageError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    /// What belongs on stderr.
    pub fn text(&self, program: &str) -> String {
        format!("Error: {}\nFor help, use {program} -h\n", self.message)
    }
}

/// What `-h` shows.
pub fn usage(program: &str) -> String {
    USAGE.replace("%s", program)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Config,
    Help,
    History,
    Interactive,
    Password,
    Serverurl,
    Username,
    Version,
}

const fn flag(short: Option<char>, long: &'static str, value: bool, key: Key) -> Flag<Key> {
    Flag {
        short,
        long,
        value,
        key,
    }
}

/// The options. The original documents `--history-file` and accepts `--history_file`.
const FLAGS: &[Flag<Key>] = &[
    flag(Some('c'), "configuration", true, Key::Config),
    flag(Some('h'), "help", false, Key::Help),
    flag(Some('?'), "?", false, Key::Help),
    flag(Some('r'), "history_file", true, Key::History),
    flag(None, "history-file", true, Key::History),
    flag(Some('i'), "interactive", false, Key::Interactive),
    flag(Some('p'), "password", true, Key::Password),
    flag(Some('s'), "serverurl", true, Key::Serverurl),
    flag(Some('u'), "username", true, Key::Username),
    flag(Some('v'), "version", false, Key::Version),
];

/// Reads the words behind the program's name, by the rules of Python's `getopt`: options end at
/// the first word that is none, long ones may be cut as long as they are clear.
///
/// # Errors
/// An option that is not known or lacks its value, one that is given twice, a URL that is none.
pub fn parse(words: &[String]) -> Result<Options, UsageError> {
    let (found, positional) = getopt::parse(words, FLAGS).map_err(UsageError::new)?;
    let mut options = apply(found)?;
    options.words = positional;
    Ok(options)
}

fn apply(found: Vec<(String, Key, String)>) -> Result<Options, UsageError> {
    let mut options = Options::default();
    for (at, (name, key, value)) in found.iter().enumerate() {
        if found[..at].iter().any(|(_, before, _)| before == key) {
            let message = format!("conflicting command line option {}", quote(name));
            return Err(UsageError::new(message));
        }
        let value = value.clone();
        match key {
            Key::Help => options.wants = Some(Wanted::Help),
            Key::Version => options.wants = Some(Wanted::Version),
            Key::Interactive => options.interactive = true,
            Key::Config => options.config = Some(value),
            Key::Username => options.username = Some(value),
            Key::Password => options.password = Some(Secret::new(value)),
            Key::History => options.history_file = Some(value),
            Key::Serverurl if is_url(&value) => options.serverurl = Some(value),
            Key::Serverurl => {
                let value = quote(&value);
                return Err(UsageError::new(format!(
                    "invalid value for {name} {value}: value {value} is not a URL"
                )));
            }
        }
        if options.wants.is_some() {
            break;
        }
    }
    Ok(options)
}

/// Whether a text has a scheme and something behind it.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let place = rest.strip_prefix("//").unwrap_or(rest);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !place.is_empty()
        && !place.starts_with(['?', '#'])
}

/// What the process knows of where it runs.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// How the program was called.
    pub program: String,
    /// The working directory.
    pub directory: PathBuf,
    /// The user's home directory, if known.
    pub home: Option<PathBuf>,
    /// The environment, which configs can name as `%(ENV_NAME)s`.
    pub variables: Vec<(String, String)>,
}

/// Where a config is looked for, in this order.
pub fn search_paths(program: &str) -> Vec<PathBuf> {
    let parent = |path: &Path| path.parent().unwrap_or(path).to_owned();
    let above = parent(&parent(Path::new(program)));
    vec![
        above.join("etc/supervisord.conf"),
        above.join("supervisord.conf"),
        "supervisord.conf".into(),
        "etc/supervisord.conf".into(),
        "/etc/supervisord.conf".into(),
        "/etc/supervisor/supervisord.conf".into(),
    ]
}

/// The settings: the command line, else the config, else the defaults. Where no config is found
/// the defaults do.
///
/// # Errors
/// A config that cannot be read or lacks `[supervisorctl]`, and values that cannot be expanded.
pub fn settings(options: &Options, around: &Surroundings) -> Result<Settings, UsageError> {
    let path = options.config.clone().map(PathBuf::from).or_else(|| {
        let exists = |path: &PathBuf| around.directory.join(path).exists();
        search_paths(&around.program).into_iter().find(exists)
    });
    let mut settings = match path {
        Some(path) => from_file(&path, around)?,
        None => Settings::default(),
    };
    if let Some(url) = &options.serverurl {
        settings.serverurl.clone_from(url);
    }
    settings.username = options.username.clone().or(settings.username);
    settings.password = options.password.clone().or(settings.password);
    if let Some(file) = &options.history_file {
        settings.history_file = Some(normal(file, around));
    }
    settings.interactive = options.interactive || options.words.is_empty();
    Ok(settings)
}

fn from_file(path: &Path, around: &Surroundings) -> Result<Settings, UsageError> {
    let shown = path.display();
    let full = normal(&path.to_string_lossy(), around);
    let bytes = std::fs::read(&full).map_err(|why| {
        let how = if why.kind() == std::io::ErrorKind::NotFound {
            "find"
        } else {
            "read"
        };
        UsageError::new(format!("could not {how} config file {shown}"))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| UsageError::new(format!("config file {shown} is not UTF-8")))?;
    from_text(&shown.to_string(), &text, Path::new(&full), around)
}

/// Reads the section. `path` is absolute and tells what `%(here)s` is.
fn from_text(
    shown: &str,
    text: &str,
    path: &Path,
    around: &Surroundings,
) -> Result<Settings, UsageError> {
    let mut ini = Ini::new();
    ini.read(shown, text)
        .map_err(|why| UsageError::new(why.message))?;
    if ini.section("supervisorctl").is_none() {
        return Err(UsageError::new(
            ".ini file does not include supervisorctl section",
        ));
    }
    let mut names: Expansions = around
        .variables
        .iter()
        .map(|(name, value)| (format!("ENV_{name}"), Value::from(value.as_str())))
        .collect();
    let value = |names: &Expansions, key: &str| -> Result<Option<String>, UsageError> {
        let Some(entry) = ini.get("supervisorctl", key) else {
            return Ok(None);
        };
        expand(&entry.value, names, &format!("supervisorctl.{key}"))
            .map(Some)
            .map_err(UsageError::new)
    };
    let mut settings = Settings {
        username: value(&names, "username")?,
        password: value(&names, "password")?.map(Secret::new),
        ..Settings::default()
    };
    if let Some(prompt) = value(&names, "prompt")? {
        settings.prompt = prompt;
    }
    let here = path.parent().unwrap_or(path).to_string_lossy();
    names.insert("here".to_owned(), Value::from(&*here));
    if let Some(url) = value(&names, "serverurl")? {
        settings.serverurl = match url.strip_prefix("unix://") {
            Some(path) => format!("unix://{}", normal(path, around)),
            None => url,
        };
    }
    settings.history_file = value(&names, "history_file")?
        .filter(|file| !file.is_empty())
        .map(|file| normal(&file, around));
    for section in ini.sections() {
        let Some(plugin) = section.name.strip_prefix("ctlplugin:") else {
            continue;
        };
        if ini.get(&section.name, "supervisor.ctl_factory").is_none() {
            return Err(UsageError::new(format!(
                "section [{}] does not specify a supervisor.ctl_factory",
                section.name
            )));
        }
        settings.notes.push(format!(
            "the ctlplugin {} is not loaded: plugins are Python, and this program is not",
            quote(plugin)
        ));
    }
    Ok(settings)
}

/// An absolute path without `.`, `..` and `~`, as Python's `normpath(abspath(expanduser(…)))`.
fn normal(path: &str, around: &Surroundings) -> String {
    let expanded = match (path.strip_prefix('~'), &around.home) {
        (Some(""), Some(home)) => home.clone(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(path),
    };
    let mut normal = PathBuf::from("/");
    for part in around.directory.join(expanded).components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "tests/options.rs"]
mod tests;

//! The options of a program section, typed, with their defaults: one [`Process`] for each number.

use std::fmt;

use super::expand::{Expansions, Value, expand};
use super::ini::{Ini, Section};
use super::values::{self, LogFile, Restart};
use super::{ConfigError, quote};

/// The most processes that one section may ask for.
pub const MAX_PROCESSES: i64 = 100_000;

/// Variables in the order of the config. `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(pub Vec<(String, String)>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|pair| &pair.0))
            .finish()
    }
}

/// What happens to one of the two outputs of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it goes.
    pub logfile: LogFile,
    /// When the file rolls, in bytes; 0 is never.
    pub maxbytes: u64,
    /// How many rolled files are kept.
    pub backups: i64,
    /// How much is kept between two capture tokens, in bytes; 0 is no capturing.
    pub capture_maxbytes: u64,
    /// Whether it is sent as events.
    pub events_enabled: bool,
    /// Whether it goes to syslog.
    pub syslog: bool,
}

/// One process of a program, with the options of the spec's section 1.2.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the options of the same names")]
pub struct Process {
    pub name: String,
    pub command: String,
    pub directory: Option<String>,
    pub umask: Option<u32>,
    pub priority: i64,
    pub autostart: bool,
    pub autorestart: Restart,
    pub startsecs: i64,
    pub startretries: i64,
    pub stopsignal: i32,
    pub stopwaitsecs: i64,
    pub stopasgroup: bool,
    pub killasgroup: bool,
    pub exitcodes: Vec<u8>,
    pub redirect_stderr: bool,
    /// As it was written; whether there is such a user is not asked here.
    pub user: Option<String>,
    pub stdout: Output,
    pub stderr: Output,
    pub environment: Environment,
    /// `None` is `AUTO`.
    pub serverurl: Option<String>,
}

/// The processes of the section `program:x`, `eventlistener:x` or `fcgi-program:x`.
///
/// `global` holds `ENV_…`, `here` and `host_node_name`. Messages end with the section and its file.
///
/// # Errors
/// A value that its type refuses, an expansion that fails, no command.
pub fn processes(
    ini: &Ini,
    section: &Section,
    group: &str,
    global: &Expansions,
) -> Result<Vec<Process>, ConfigError> {
    read(ini, section, group, global).map_err(|why| {
        ConfigError::new(format!(
            "{why} in section {} (file: {})",
            quote(&section.name),
            quote(&section.place.file)
        ))
        .at(section.place.clone())
    })
}

struct Reader<'a> {
    ini: &'a Ini,
    section: &'a str,
    names: Expansions,
}

impl Reader<'_> {
    fn raw(&self, key: &str) -> Option<&str> {
        self.ini
            .get(self.section, key)
            .map(|entry| entry.value.as_str())
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        let expanded = |raw: &str| expand(raw, &self.names, &format!("{}.{key}", self.section));
        self.raw(key).map(expanded).transpose()
    }

    fn value<T>(
        &self,
        key: &str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        self.text(key)?.map_or(Ok(default), |text| read(&text))
    }

    fn output(&self, stream: &str) -> Result<Output, String> {
        let key = |option: &str| format!("{stream}_{option}");
        // The original expands this value twice, and so `%%%%` is needed for a percent sign.
        let file = match self.text(&key("logfile"))? {
            Some(text) => values::log_file(&expand(&text, &self.names, &key("logfile"))?),
            None => LogFile::Auto,
        };
        let syslog = self.value(&key("syslog"), false, values::boolean)?;
        let old_syslog = file == LogFile::Syslog;
        Ok(Output {
            logfile: if old_syslog { LogFile::Off } else { file },
            maxbytes: self.value(&key("logfile_maxbytes"), 50 << 20, values::byte_size)?,
            backups: self.value(&key("logfile_backups"), 10, values::integer)?,
            capture_maxbytes: self.value(&key("capture_maxbytes"), 0, values::byte_size)?,
            events_enabled: self.value(&key("events_enabled"), false, values::boolean)?,
            syslog: syslog || old_syslog,
        })
    }
}

fn read(
    ini: &Ini,
    section: &Section,
    group: &str,
    global: &Expansions,
) -> Result<Vec<Process>, String> {
    let program = section.name.split_once(':').map_or("", |(_, name)| name);
    let program = values::name(program)?;
    let mut at = Reader {
        ini,
        section: &section.name,
        names: global.clone(),
    };
    at.names.insert("program_name".into(), Value::Text(program));
    at.names.insert("group_name".into(), group.into());
    let stopasgroup = at.value("stopasgroup", false, values::boolean)?;
    let killasgroup = at.value("killasgroup", stopasgroup, values::boolean)?;
    let count = at.value("numprocs", 1, values::integer)?;
    let first = at.value("numprocs_start", 0, values::integer)?;
    let process_name = values::name(at.raw("process_name").unwrap_or("%(program_name)s"))?;
    if count > 1 && !process_name.contains("%(process_num)") {
        return Err("%(process_num) must be present within process_name when numprocs > 1".into());
    }
    if stopasgroup && !killasgroup {
        return Err("Cannot set stopasgroup=true and killasgroup=false".into());
    }
    if count > MAX_PROCESSES {
        return Err(format!("numprocs is more than {MAX_PROCESSES}"));
    }
    let own = at.names.clone();
    let mut all = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    // What does not differ between processes cannot name them either.
    let priority = at.value("priority", 999, values::integer)?;
    let autostart = at.value("autostart", true, values::boolean)?;
    let autorestart = at.value("autorestart", Restart::Unexpected, values::restart)?;
    let startsecs = at.value("startsecs", 1, values::integer)?;
    let startretries = at.value("startretries", 3, values::integer)?;
    let stopsignal = at.value("stopsignal", 15, values::signal)?;
    let stopwaitsecs = at.value("stopwaitsecs", 10, values::integer)?;
    let exitcodes = at.value("exitcodes", vec![0], values::exit_codes)?;
    let redirect_stderr = at.value("redirect_stderr", false, values::boolean)?;
    let url = at.text("serverurl")?;
    let user = at.text("user")?;
    let umask = at
        .text("umask")?
        .map(|text| values::octal(&text))
        .transpose()?;
    for number in (0..count).map(|step| first.saturating_add(step)) {
        at.names.clone_from(&own);
        at.names.insert("process_num".into(), Value::Number(number));
        at.names.insert("numprocs".into(), Value::Number(count));
        let raw = at.raw("environment").unwrap_or_default();
        let environment = values::environment(&expand(raw, &at.names, "environment")?)?;
        for (key, value) in &environment {
            at.names
                .insert(format!("ENV_{key}"), Value::Text(value.clone()));
        }
        let mut stderr = at.output("stderr")?;
        if redirect_stderr {
            stderr.logfile = LogFile::Off;
        }
        all.push(Process {
            name: expand(&process_name, &at.names, "process_name")?,
            command: at.text("command")?.ok_or_else(|| {
                format!(
                    "program section {} does not specify a command",
                    section.name
                )
            })?,
            directory: at.text("directory")?,
            umask,
            priority,
            autostart,
            autorestart,
            startsecs,
            startretries,
            stopsignal,
            stopwaitsecs,
            stopasgroup,
            killasgroup,
            exitcodes: exitcodes.clone(),
            redirect_stderr,
            user: user.clone(),
            stdout: at.output("stdout")?,
            stderr,
            environment: Environment(environment),
            serverurl: url
                .clone()
                .filter(|url| !url.trim().eq_ignore_ascii_case("auto")),
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

#[cfg(test)]
#[path = "tests/options.rs"]
mod tests;

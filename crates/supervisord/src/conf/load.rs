//! A whole config: the main file, what it includes, every section.
//!
//! This is where files and users are looked at; what the texts mean is decided by the modules beside
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use mainstay_sys::users;

use super::daemon::{SupervisordSection, supervisord};
use super::expand::{Expansions, Value, expand};
use super::extra::{self, Extra};
use super::ini::{Ini, Section};
use super::options::{Process, processes};
use super::servers::{HttpServer, servers};
use super::values::{self, LogFile};
use super::{ConfigError, quote};
use mainstay_supervise::events::Mask;
use mainstay_supervise::{SocketAddress, SocketSpec};

/// The only RPC interface and the only result handler there are. Python cannot be loaded here.
const RPC_FACTORY: &str = "supervisor.rpcinterface:make_main_rpcinterface";
const RESULT_HANDLER: &str = "supervisor.dispatchers:default_handler";

/// How many files one pattern may include.
const MAX_INCLUDED: usize = 10_000;

/// Who asks: the environment and the name of the machine, which a config can refer to.
#[derive(Clone)]
pub struct Surroundings {
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The name of this machine, as `uname -n` gives it.
    pub host: String,
    /// The directory for temporary files, where automatic logs are by default.
    pub temporary: PathBuf,
}

/// A config, read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The main file, absolute.
    pub path: PathBuf,
    /// `[supervisord]`, paths absolute.
    pub supervisord: SupervisordSection,
    /// Where to listen for HTTP, TCP first.
    pub servers: Vec<HttpServer>,
    /// The groups in the order in which they start.
    pub groups: Vec<Arc<GroupConfig>>,
    /// What to log about the reading: first these.
    pub warnings: Vec<String>,
    /// Then these.
    pub infos: Vec<String>,
}

/// A group of programs. Two are equal if a reread would not call the group changed.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupConfig {
    /// Its name.
    pub name: String,
    /// Groups start in ascending order of this.
    pub priority: i64,
    /// What its processes hear, if it is a pool of event listeners.
    pub listener: Option<Listener>,
    /// Its programs, by priority and name.
    pub programs: Vec<ProgramConfig>,
}

/// What is special about a pool of event listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it hears.
    pub events: Mask,
    /// How many notifications may wait.
    pub buffer_size: usize,
}

/// One section `program:x`, `eventlistener:x` or `fcgi-program:x`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramConfig {
    /// The name behind the colon.
    pub name: String,
    /// The socket it shares, if it is a `FastCGI` program.
    pub socket: Option<SocketSpec>,
    /// What only mainstay reads.
    pub extra: Extra,
    /// Its processes.
    pub processes: Vec<Process>,
}

/// Reads the config at `path` and everything it includes.
///
/// # Errors
/// The first fault, in the original's words.
pub fn load(path: &Path, around: &Surroundings) -> Result<Loaded, ConfigError> {
    let path = normalize(path);
    let shown = path.display().to_string();
    let text = match std::fs::read(&path) {
        Ok(bytes) => text_of(&path, bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ConfigError::new(format!(
                "could not find config file {shown}"
            )));
        }
        Err(_) => {
            return Err(ConfigError::new(format!(
                "could not read config file {shown}"
            )));
        }
    };
    let here = directory_of(&path);
    let mut ini = Ini::new();
    ini.read(&shown, &text)?;
    let mut reader = Reader {
        around,
        names: Expansions::new(),
        warnings: Vec::new(),
        infos: Vec::new(),
        found: None,
    };
    reader
        .names
        .insert("here".into(), Value::Text(here.clone()));
    reader
        .names
        .insert("host_node_name".into(), Value::Text(around.host.clone()));
    for (name, value) in &around.environment {
        reader
            .names
            .insert(format!("ENV_{name}"), Value::Text(value.clone()));
    }
    reader.names.share();
    reader.include(&mut ini, &here)?;
    let mut section = supervisord(&ini, &reader.names)?;
    reader.check_supervisord(&mut section)?;
    for (name, value) in &section.environment.0 {
        reader
            .names
            .insert(format!("ENV_{name}"), Value::Text(value.clone()));
    }
    check_interfaces(&ini)?;
    let groups = reader.groups(&ini, &section)?;
    let servers = servers(&ini, &reader.names, reader.home())?;
    reader.warn_of_unknown(&ini);
    Ok(Loaded {
        path,
        supervisord: section,
        servers,
        groups: groups.into_iter().map(Arc::new).collect(),
        warnings: reader.warnings,
        infos: reader.infos,
    })
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        ConfigError::new(format!(
            "could not read config file {}: it is not UTF-8 (at byte {})",
            path.display(),
            error.utf8_error().valid_up_to()
        ))
    })
}

/// Absolute, without `.` and `..`.
pub fn normalize(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut out = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// `~` and `~user` at the beginning, as a shell reads them: HOME counts first.
pub(super) fn expand_user(path: &str, home: Option<&str>) -> PathBuf {
    let Some(rest) = path.strip_prefix('~') else {
        return PathBuf::from(path);
    };
    let (user, rest) = rest
        .split_once('/')
        .map_or((rest, None), |(u, r)| (u, Some(r)));
    if user.is_empty()
        && let Some(home) = home
    {
        return rest.map_or_else(|| home.into(), |rest| Path::new(home).join(rest));
    }
    let found = if user.is_empty() {
        users::by_uid(users::effective_uid())
    } else {
        users::lookup(user)
    };
    match found {
        Ok(Some(user)) => rest.map_or(user.home.clone(), |rest| user.home.join(rest)),
        _ => PathBuf::from(path),
    }
}

fn directory_of(path: &Path) -> String {
    path.parent()
        .map_or_else(|| "/".to_owned(), |at| at.display().to_string())
}

/// A path whose directory exists, `~` expanded.
pub(super) fn existing_parent(path: &str, home: Option<&str>) -> Result<PathBuf, String> {
    existing_parent_but(path, home, &mut None)
}

/// The same for one of many, which are in the same directory mostly: what was found to be one last is
/// not looked at again.
fn existing_parent_but(
    path: &str,
    home: Option<&str>,
    found: &mut Option<PathBuf>,
) -> Result<PathBuf, String> {
    let expanded = expand_user(path, home);
    if let Some(parent) = expanded.parent()
        && !parent.as_os_str().is_empty()
        && found.as_deref() != Some(parent)
    {
        if !parent.is_dir() {
            return Err(format!(
                "The directory named as part of the path {path} does not exist"
            ));
        }
        *found = Some(parent.to_owned());
    }
    Ok(expanded)
}

pub(super) fn existing_directory(path: &str, home: Option<&str>) -> Result<PathBuf, String> {
    let expanded = expand_user(path, home);
    if expanded.is_dir() {
        Ok(expanded)
    } else {
        Err(format!("{path} is not an existing directory"))
    }
}

/// The id of a user given by name or number, in the original's words where there is none.
pub(super) fn user_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = values::integer(name) {
        return u32::try_from(number)
            .ok()
            .filter(|uid| matches!(users::by_uid(*uid), Ok(Some(_))))
            .ok_or_else(|| format!("Invalid user id {name}"));
    }
    match users::lookup(name) {
        Ok(Some(user)) => Ok(user.identity.uid),
        _ => Err(format!("Invalid user name {name}")),
    }
}

/// As [`user_id`], for groups.
pub(super) fn group_id(name: &str) -> Result<u32, String> {
    match users::group(name) {
        Ok(Some(gid)) => Ok(gid),
        _ if values::integer(name).is_ok() => Err(format!("Invalid group id {name}")),
        _ => Err(format!("Invalid group name {name}")),
    }
}

fn check_interfaces(ini: &Ini) -> Result<(), ConfigError> {
    for section in ini.sections() {
        if !section.name.starts_with("rpcinterface:") {
            continue;
        }
        let Some(entry) = ini.get(&section.name, "supervisor.rpcinterface_factory") else {
            return Err(ConfigError::new(format!(
                "section [{}] does not specify a supervisor.rpcinterface_factory",
                section.name
            ))
            .at(section.place.clone()));
        };
        if entry.value != RPC_FACTORY {
            return Err(ConfigError::new(format!(
                "{} cannot be resolved within [{}]: plugins written in Python cannot be loaded; only \
                 {RPC_FACTORY} is known",
                entry.value, section.name
            ))
            .at(entry.value_place.clone()));
        }
    }
    Ok(())
}

/// Names that every program section may have. The rest is told as probably not meant.
const PROGRAM_KEYS: &[&str] = &[
    "autorestart",
    "autostart",
    "command",
    "directory",
    "environment",
    "exitcodes",
    "killasgroup",
    "numprocs",
    "numprocs_start",
    "priority",
    "process_name",
    "redirect_stderr",
    "serverurl",
    "startretries",
    "startsecs",
    "stderr_capture_maxbytes",
    "stderr_events_enabled",
    "stderr_logfile",
    "stderr_logfile_backups",
    "stderr_logfile_maxbytes",
    "stderr_syslog",
    "stdout_capture_maxbytes",
    "stdout_events_enabled",
    "stdout_logfile",
    "stdout_logfile_backups",
    "stdout_logfile_maxbytes",
    "stdout_syslog",
    "stopasgroup",
    "stopsignal",
    "stopwaitsecs",
    "umask",
    "user",
];
const DAEMON_KEYS: &[&str] = &[
    "childlogdir",
    "directory",
    "environment",
    "identifier",
    "logfile",
    "logfile_backups",
    "logfile_maxbytes",
    "loglevel",
    "minfds",
    "minprocs",
    "nocleanup",
    "nodaemon",
    "pidfile",
    "silent",
    "state_dir",
    "strip_ansi",
    "umask",
    "user",
];

struct Reader<'a> {
    around: &'a Surroundings,
    /// `here`, `host_node_name`, `ENV_…`.
    names: Expansions,
    warnings: Vec<String>,
    infos: Vec<String>,
    /// The directory of a log that was seen to exist last.
    found: Option<PathBuf>,
}

impl<'a> Reader<'a> {
    fn home(&self) -> Option<&'a str> {
        self.around.environment.get("HOME").map(String::as_str)
    }

    fn include(&mut self, ini: &mut Ini, here: &str) -> Result<(), ConfigError> {
        if ini.section("include").is_none() {
            return Ok(());
        }
        ini.replace_here(here);
        let Some(entry) = ini.get("include", "files").cloned() else {
            return Err(ConfigError::new(
                ".ini file has [include] section, but no files setting",
            ));
        };
        let files = expand(&entry.value, &self.names, "include.files")
            .map_err(|why| ConfigError::new(why).at(entry.value_place.clone()))?;
        for pattern in files.split_whitespace() {
            let pattern = Path::new(here).join(pattern);
            let pattern = pattern.display();
            let mut found = matching(&pattern.to_string());
            if found.is_empty() {
                self.warnings
                    .push(format!("No file matches via include \"{pattern}\""));
                continue;
            }
            found.sort();
            if found.len() > MAX_INCLUDED {
                return Err(ConfigError::new(format!(
                    "more than {MAX_INCLUDED} files match via include \"{pattern}\""
                ))
                .at(entry.value_place));
            }
            for file in found {
                let shown = file.display().to_string();
                self.infos
                    .push(format!("Included extra file \"{shown}\" during parsing"));
                // The original passes over what it cannot open, a directory too.
                let Ok(bytes) = std::fs::read(&file) else {
                    self.warnings.push(format!(
                        "The included file \"{shown}\" cannot be read and is left out"
                    ));
                    continue;
                };
                ini.read(&shown, &text_of(&file, bytes)?)?;
                ini.replace_here(&directory_of(&normalize(&file)));
            }
        }
        Ok(())
    }

    fn check_supervisord(&self, section: &mut SupervisordSection) -> Result<(), ConfigError> {
        let text = |path: PathBuf| normalize(&path).display().to_string();
        let home = self.home();
        let parent = |path: &str| existing_parent(path, home).map_err(ConfigError::new);
        if let Some(directory) = &section.directory {
            section.directory = Some(text(
                existing_directory(directory, home).map_err(ConfigError::new)?,
            ));
        }
        if section.logfile != "syslog" {
            section.logfile = text(parent(&section.logfile)?);
        }
        section.pidfile = text(parent(&section.pidfile)?);
        section.childlogdir = Some(match &section.childlogdir {
            Some(directory) => text(existing_directory(directory, home).map_err(ConfigError::new)?),
            None => self.around.temporary.display().to_string(),
        });
        Ok(())
    }

    fn groups(
        &mut self,
        ini: &Ini,
        daemon: &SupervisordSection,
    ) -> Result<Vec<GroupConfig>, ConfigError> {
        let mut groups = Vec::new();
        let mut taken = BTreeSet::new();
        for section in with_prefix(ini, "group:") {
            let at = |why: String| ConfigError::new(why).at(section.place.clone());
            let name = values::name(suffix(section)).map_err(at)?;
            let programs = self.text(ini, section, "programs")?.unwrap_or_default();
            let priority = self.number(ini, section, "priority", 999)?;
            let mut members = Vec::new();
            for program in values::strings(&programs) {
                let sections = ["program", "fcgi-program"]
                    .map(|kind| ini.section(&format!("{kind}:{program}")));
                let member = match sections {
                    [Some(one), None] | [None, Some(one)] => one,
                    [None, None] => {
                        return Err(at(format!(
                            "[{}] names unknown program or fcgi-program {program}",
                            section.name
                        )));
                    }
                    [Some(_), Some(_)] => {
                        return Err(at(format!(
                            "[{}] name {program} is ambiguous (exists as program and fcgi-program)",
                            section.name
                        )));
                    }
                };
                taken.insert(member.name.clone());
                members.push(self.program(ini, member, &name, daemon)?);
            }
            groups.push(GroupConfig {
                name,
                priority,
                listener: None,
                programs: members,
            });
        }
        for section in with_prefix(ini, "program:") {
            if !taken.contains(&section.name) {
                groups.push(self.own_group(ini, section, 999, None, daemon)?);
            }
        }
        for section in with_prefix(ini, "eventlistener:") {
            let listener = self.listener(ini, section)?;
            groups.push(self.own_group(ini, section, -1, Some(listener), daemon)?);
        }
        for section in with_prefix(ini, "fcgi-program:") {
            if !taken.contains(&section.name) {
                groups.push(self.own_group(ini, section, 999, None, daemon)?);
            }
        }
        // Ours is a model with one process of each name; there the later group wins silently.
        let mut names = BTreeSet::new();
        for group in &groups {
            if !names.insert(group.name.as_str()) {
                return Err(ConfigError::new(format!(
                    "there are two groups of the name {}",
                    quote(&group.name)
                )));
            }
            let mut members = BTreeSet::new();
            for process in group.programs.iter().flat_map(|program| &program.processes) {
                if !members.insert(process.name.as_str()) {
                    return Err(ConfigError::new(format!(
                        "there are two processes of the name {} in the group {}",
                        quote(&process.name),
                        quote(&group.name)
                    )));
                }
            }
        }
        groups.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        Ok(groups)
    }

    fn own_group(
        &mut self,
        ini: &Ini,
        section: &Section,
        priority: i64,
        listener: Option<Listener>,
        daemon: &SupervisordSection,
    ) -> Result<GroupConfig, ConfigError> {
        let name = if listener.is_some() {
            suffix(section).to_owned()
        } else {
            values::name(suffix(section))
                .map_err(|why| ConfigError::new(why).at(section.place.clone()))?
        };
        let priority = self.number(ini, section, "priority", priority)?;
        let program = self.program(ini, section, &name, daemon)?;
        Ok(GroupConfig {
            name,
            priority,
            listener,
            programs: vec![program],
        })
    }

    fn text(&self, ini: &Ini, section: &Section, key: &str) -> Result<Option<String>, ConfigError> {
        let found = ini.expanded(&section.name, key, &self.names)?;
        Ok(found.map(|(text, _)| text))
    }

    fn number(
        &self,
        ini: &Ini,
        section: &Section,
        key: &str,
        default: i64,
    ) -> Result<i64, ConfigError> {
        match ini.expanded(&section.name, key, &self.names)? {
            None => Ok(default),
            Some((text, place)) => {
                values::integer(&text).map_err(|why| ConfigError::new(why).at(place))
            }
        }
    }

    fn listener(&self, ini: &Ini, section: &Section) -> Result<Listener, ConfigError> {
        let at = |why: String| ConfigError::new(why).at(section.place.clone());
        let buffer = self.number(ini, section, "buffer_size", 10)?;
        let buffer_size = usize::try_from(buffer).ok().filter(|size| *size >= 1);
        let buffer_size = buffer_size.ok_or_else(|| {
            at(format!(
                "[{}] section sets invalid buffer_size ({buffer})",
                section.name
            ))
        })?;
        if let Some(handler) = self.text(ini, section, "result_handler")?
            && handler != RESULT_HANDLER
        {
            return Err(at(format!(
                "{handler} cannot be resolved within [{}]",
                section.name
            )));
        }
        let names = self.text(ini, section, "events")?.unwrap_or_default();
        let mut events = Mask::NONE;
        for name in values::strings(&names) {
            let name = name.to_uppercase();
            let mask = Mask::from_name(&name).ok_or_else(|| {
                at(format!(
                    "Unknown event type {name} in [{}] events",
                    section.name
                ))
            })?;
            events |= mask;
        }
        if events.is_empty() {
            return Err(at(format!(
                "[{}] section requires an \"events\" line",
                section.name
            )));
        }
        let redirect = self.text(ini, section, "redirect_stderr")?;
        if values::boolean(redirect.as_deref().unwrap_or("false")).map_err(at)? {
            return Err(at(format!(
                "[{}] section sets redirect_stderr=true but this is not allowed because it will \
                 interfere with the eventlistener protocol",
                section.name
            )));
        }
        Ok(Listener {
            events,
            buffer_size,
        })
    }

    fn program(
        &mut self,
        ini: &Ini,
        section: &Section,
        group: &str,
        daemon: &SupervisordSection,
    ) -> Result<ProgramConfig, ConfigError> {
        let socket = if section.name.starts_with("fcgi-program:") {
            Some(self.socket(ini, section)?)
        } else {
            None
        };
        let mut processes = processes(ini, section, group, &self.names)?;
        let inside = |why: String| {
            ConfigError::new(format!(
                "{why} in section {} (file: {})",
                quote(&section.name),
                quote(&section.place.file)
            ))
            .at(section.place.clone())
        };
        let mut found = self.found.take();
        for process in &mut processes {
            if let Some(user) = &process.user {
                user_id(user).map_err(inside)?;
            }
            // What the section says itself wins over what the daemon says for all.
            let mut environment = daemon.environment.clone();
            for (name, value) in std::mem::take(&mut process.environment.0) {
                match environment.0.iter_mut().find(|(known, _)| *known == name) {
                    Some(pair) => pair.1 = value,
                    None => environment.0.push((name, value)),
                }
            }
            process.environment = environment;
            for output in [&mut process.stdout, &mut process.stderr] {
                if let LogFile::File(path) = &output.logfile {
                    let expanded =
                        existing_parent_but(path, self.home(), &mut found).map_err(inside)?;
                    output.logfile = LogFile::File(normalize(&expanded).display().to_string());
                }
            }
        }
        self.found = found;
        if let Some(first) = processes.first() {
            self.warn_of_logs(ini, section, first);
        }
        Ok(ProgramConfig {
            name: suffix(section).trim().to_owned(),
            socket,
            extra: extra::read(ini, section, &self.names).map_err(inside)?,
            processes,
        })
    }

    fn warn_of_logs(&mut self, ini: &Ini, section: &Section, process: &Process) {
        let name = &section.name;
        for (stream, output) in [("stdout", &process.stdout), ("stderr", &process.stderr)] {
            let key = format!("{stream}_logfile");
            let raw = ini.get(name, &key).map(|entry| entry.value.to_lowercase());
            if raw.as_deref() == Some("syslog") {
                self.warnings.push(format!(
                    "For [{name}], {key}=syslog but this is deprecated and will be removed.  Use \
                     {stream}_syslog=true to enable syslog instead."
                ));
            }
            let automatic = raw.is_none() || raw.as_deref() == Some("auto");
            if automatic && output.maxbytes == 0 {
                self.warnings.push(format!(
                    "For [{name}], AUTO logging used for {key} without rollover, set maxbytes > 0 \
                     to avoid filling up filesystem unintentionally"
                ));
            }
            let named = raw.is_some_and(|raw| !matches!(raw.as_str(), "auto" | "none" | "off"));
            if stream == "stderr" && process.redirect_stderr && named {
                self.warnings.push(format!(
                    "For [{name}], redirect_stderr=true but stderr_logfile has also been set to a \
                     filename, the filename has been ignored"
                ));
            }
        }
    }

    fn socket(&self, ini: &Ini, section: &Section) -> Result<SocketSpec, ConfigError> {
        let at = |why: String| ConfigError::new(why).at(section.place.clone());
        let user = self.text(ini, section, "user")?;
        if let Some(user) = &user {
            user_id(user).map_err(at)?;
        }
        let backlog = match self.text(ini, section, "socket_backlog")? {
            None => None,
            Some(text) => {
                let number = values::integer(&text).map_err(at)?;
                let backlog = u32::try_from(number)
                    .ok()
                    .filter(|number| (1..=65535).contains(number));
                Some(backlog.ok_or_else(|| at(format!("Invalid socket_backlog value {number}")))?)
            }
        };
        let owner = match self.text(ini, section, "socket_owner")? {
            None => None,
            Some(text) => {
                let (user, group) = values::user_group(&text);
                let known = user_id(user).is_ok() && group.is_none_or(|it| group_id(it).is_ok());
                if !known {
                    return Err(at(format!("Invalid socket_owner value {text}")));
                }
                Some((user.to_owned(), group.map(str::to_owned)))
            }
        };
        let mode = match self.text(ini, section, "socket_mode")? {
            None => None,
            Some(text) => Some(
                values::octal(&text)
                    .map_err(|_| at(format!("Invalid socket_mode value {text}")))?,
            ),
        };
        let mut names = self.names.clone();
        let program = values::name(suffix(section)).map_err(at)?;
        names.insert("program_name".into(), Value::Text(program));
        let entry = ini.get(&section.name, "socket");
        let what = format!("{}.socket", section.name);
        let socket = entry
            .map(|entry| expand(&entry.value, &names, &what).map_err(at))
            .transpose()?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| {
                at(format!(
                    "[{}] section requires a \"socket\" line",
                    section.name
                ))
            })?;
        let bad = |why: String| at(format!("{why} in [{}] socket", section.name));
        if let Some(path) = socket.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(bad(format!(
                    "Unix socket path {path} is not an absolute path"
                )));
            }
            return Ok(SocketSpec {
                address: SocketAddress::Unix(normalize(Path::new(path))),
                backlog,
                owner: owner.or_else(|| user.map(|user| (user, None))),
                mode: mode.unwrap_or(0o700),
            });
        }
        if owner.is_some() || mode.is_some() {
            return Err(bad(
                "socket_owner and socket_mode params should only be used with a Unix domain socket"
                    .to_owned(),
            ));
        }
        let tcp = socket.strip_prefix("tcp://").and_then(|rest| {
            let (host, port) = rest.split_once(':')?;
            let plain = !host.is_empty() && !host.contains(char::is_whitespace);
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            (plain && digits).then_some((host, port))
        });
        let Some((host, port)) = tcp else {
            return Err(bad(format!("Bad socket format {socket}")));
        };
        Ok(SocketSpec {
            address: SocketAddress::Tcp {
                host: host.to_lowercase(),
                port: values::port(port).map_err(bad)?,
            },
            backlog,
            owner: None,
            mode: 0o700,
        })
    }

    /// The original says nothing about an option that it does not know.
    fn warn_of_unknown(&mut self, ini: &Ini) {
        for section in ini.sections() {
            let kind = section.name.split(':').next().unwrap_or_default();
            let mut known: Vec<&str> = match kind {
                "supervisord" => DAEMON_KEYS.to_vec(),
                "program" | "eventlistener" | "fcgi-program" => PROGRAM_KEYS.to_vec(),
                "group" => vec!["priority", "programs"],
                "unix_http_server" => vec!["chmod", "chown", "file", "password", "username"],
                "inet_http_server" => vec!["insecure", "password", "port", "username"],
                _ => continue,
            };
            match kind {
                "eventlistener" => known.extend(["buffer_size", "events", "result_handler"]),
                "fcgi-program" => {
                    known.extend(["socket", "socket_backlog", "socket_mode", "socket_owner"]);
                }
                _ => {}
            }
            if kind.ends_with("program") || kind == "eventlistener" {
                known.extend(extra::keys());
            }
            for entry in section.entries() {
                if known.contains(&entry.key.as_str()) {
                    continue;
                }
                let near = mainstay_base::nearest(&entry.key, known.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean {near}?"));
                self.warnings.push(format!(
                    "{}: [{}] has no option {}, it is ignored{near}",
                    entry.key_place, section.name, entry.key
                ));
            }
        }
    }
}

/// The files that a pattern means, as Python's `glob` reads it: a leading dot has to be written.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    glob::glob_with(pattern, options)
        .map(|paths| paths.flatten().take(MAX_INCLUDED + 1).collect())
        .unwrap_or_default()
}

fn with_prefix<'a>(ini: &'a Ini, prefix: &'static str) -> impl Iterator<Item = &'a Section> {
    ini.sections()
        .iter()
        .filter(move |section| section.name.starts_with(prefix))
}

fn suffix(section: &Section) -> &str {
    section.name.split_once(':').map_or("", |(_, name)| name)
}

#[cfg(test)]
#[path = "tests/load.rs"]
mod tests;

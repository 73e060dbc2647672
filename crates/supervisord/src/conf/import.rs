//! From a config of supervisord to the model that `mainstay.toml` fills too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_base::Template;
use mainstay_log::Retention;
use mainstay_supervise::{
    Autorestart, Backoff, Group, ListenerSpec, Output, Policy, ProcessSpec, ProgramSpec, Stdin, Tap,
};

use super::load::{GroupConfig, Loaded, ProgramConfig};
use super::options::{self, Process};
use super::servers::{Address, HttpServer};
use super::values::{LogFile, Restart};
use crate::namespec;

/// Where an automatic log goes: asked with the name of the process as the config has it, the unique
/// name of the process, and `stdout` or `stderr`.
pub type AutoLog<'a> = &'a mut dyn FnMut(&str, &str, &str) -> PathBuf;

/// The URL that programs are told to reach the daemon at: that of the unix socket if there is one.
pub fn server_url(servers: &[HttpServer]) -> Option<String> {
    let unix = servers.iter().find_map(|server| match &server.address {
        Address::Unix { file, .. } => Some(format!("unix://{}", file.display())),
        Address::Tcp { .. } => None,
    });
    unix.or_else(|| {
        servers.iter().find_map(|server| match &server.address {
            Address::Tcp { host, port } => {
                let host = if host.is_empty() { "localhost" } else { host };
                Some(format!("http://{host}:{port}"))
            }
            Address::Unix { .. } => None,
        })
    })
}

/// The programs of one group.
pub fn group(loaded: &Loaded, group: &GroupConfig, auto: AutoLog<'_>) -> Vec<ProgramSpec> {
    let url = server_url(&loaded.servers);
    group
        .programs
        .iter()
        .filter_map(|program| one(loaded, group, program, url.as_deref(), auto))
        .collect()
}

fn one(
    loaded: &Loaded,
    group: &GroupConfig,
    program: &ProgramConfig,
    url: Option<&str>,
    auto: AutoLog<'_>,
) -> Option<ProgramSpec> {
    // What differs between processes is the command, the environment and the logs; the rest the
    // section says for all.
    let first = program.processes.first()?;
    let mut spec = ProgramSpec::new(&program.name, Vec::new(), Path::new("/"));
    spec.group = Group {
        priority: narrow(group.priority),
        name: group.name.clone(),
    };
    spec.priority = narrow(first.priority);
    spec.autostart = first.autostart;
    spec.policy = policy(first);
    program.extra.apply(&mut spec.policy);
    spec.dir = first
        .directory
        .as_ref()
        .map(|directory| super::load::normalize(Path::new(directory)));
    spec.user.clone_from(&first.user);
    spec.umask = first.umask;
    spec.limits.clone_from(&program.extra.limits);
    spec.no_new_privs = program.extra.no_new_privs;
    spec.stdin = match &program.socket {
        Some(socket) => Stdin::Socket(socket.clone()),
        None => Stdin::Pipe,
    };
    spec.login_variables = false;
    spec.listener = group.listener.as_ref().map(|listener| ListenerSpec {
        events: listener.events,
        buffer: listener.buffer_size,
    });
    let strip = loaded.supervisord.strip_ansi;
    // At that level what programs write is in the daemon's log too.
    let debug = loaded.supervisord.loglevel <= super::values::Level::Debug;
    spec.processes = program
        .processes
        .iter()
        .zip(0..)
        .map(|(process, instance)| {
            let mut made = self::process(group, process, instance, url, strip, debug, auto);
            if spec.listener.is_some() {
                // The original has no capturing there.
                made.stdout_tap.capture = 0;
                made.stdout_tap.events = false;
            }
            made
        })
        .collect();
    Some(spec)
}

fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

fn policy(process: &Process) -> Policy {
    Policy {
        start_secs: seconds(process.startsecs),
        // A negative number is no limit. The original gives up at the first failure then.
        start_retries: u32::try_from(process.startretries)
            .ok()
            .or((process.startretries >= 0).then_some(u32::MAX)),
        autorestart: match process.autorestart {
            Restart::Always => Autorestart::Always,
            Restart::Unexpected => Autorestart::Unexpected,
            Restart::Never => Autorestart::Never,
        },
        exit_codes: process
            .exitcodes
            .iter()
            .map(|code| i32::from(*code))
            .collect(),
        stop_signal: process.stopsignal,
        stop_wait: seconds(process.stopwaitsecs),
        stop_group: process.stopasgroup,
        kill_group: process.killasgroup,
        backoff: Backoff::Linear {
            step: Duration::from_secs(1),
        },
        ..Policy::supervisord()
    }
}

fn process(
    group: &GroupConfig,
    process: &Process,
    instance: u32,
    url: Option<&str>,
    strip_ansi: bool,
    debug: bool,
    auto: AutoLog<'_>,
) -> ProcessSpec {
    let unique = namespec::join(&group.name, &process.name);
    let mut env = Vec::from([
        ("SUPERVISOR_ENABLED".to_owned(), "1".to_owned()),
        ("SUPERVISOR_PROCESS_NAME".to_owned(), process.name.clone()),
        ("SUPERVISOR_GROUP_NAME".to_owned(), group.name.clone()),
    ]);
    if let Some(url) = process.serverurl.as_deref().or(url) {
        env.push(("SUPERVISOR_SERVER_URL".to_owned(), url.to_owned()));
    }
    env.extend(process.environment.0.iter().cloned());
    let mut output = |output: &options::Output, stream: &str| match &output.logfile {
        LogFile::Off | LogFile::Syslog => Output::Discard,
        LogFile::Auto => Output::File {
            path: auto(&process.name, &unique, stream),
            retain: retention(output),
        },
        LogFile::File(path) => Output::File {
            path: PathBuf::from(path),
            retain: retention(output),
        },
    };
    let (command, bad_command) = words(&process.command);
    let stdout = output(&process.stdout, "stdout");
    let stderr = if process.redirect_stderr {
        Output::Merge
    } else {
        output(&process.stderr, "stderr")
    };
    ProcessSpec {
        instance,
        command,
        bad_command,
        env: env
            .into_iter()
            .map(|(name, value)| (name, Template::literal(value)))
            .collect(),
        stdout_tap: tap(&process.stdout, strip_ansi, debug),
        stderr_tap: if process.redirect_stderr {
            Tap::default()
        } else {
            tap(&process.stderr, strip_ansi, debug)
        },
        stdout,
        stderr,
        recognise: true,
        process: unique,
    }
}

/// The command as a shell would split it. One that cannot be split is no fault of the config in the
/// original, but one of each start.
fn words(command: &str) -> (Vec<Template>, Option<String>) {
    if let Ok(words) = shell_words::split(command) {
        return (words.into_iter().map(Template::literal).collect(), None);
    }
    let command = super::quote(command);
    let why = format!("can't parse command {command}: No closing quotation");
    (Vec::new(), Some(why))
}

fn retention(output: &options::Output) -> Retention {
    if output.maxbytes == 0 {
        return Retention::NONE;
    }
    Retention {
        size: Some(output.maxbytes),
        files: Some(u32::try_from(output.backups).unwrap_or(0)),
        ..Retention::NONE
    }
}

fn tap(output: &options::Output, strip_ansi: bool, debug: bool) -> Tap {
    Tap {
        // Only what goes into a file is stripped.
        strip_ansi: strip_ansi && output.logfile != LogFile::Off,
        capture: output.capture_maxbytes,
        events: output.events_enabled,
        syslog: output.syslog,
        debug,
    }
}

#[cfg(test)]
#[path = "tests/import.rs"]
mod tests;

//! From the spec of a process to the call that starts it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use mainstay_base::Resolver;
use mainstay_sys::spawn::{ProgramError, resolve_program};
use mainstay_sys::{Identity, Spawn, SpawnError, Stage, errno_name, users};

use crate::program::{ProcessSpec, ProgramSpec};

/// Where programs are looked for when neither the program nor the daemon has a PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whose words a failed start is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// Ours: what was tried, why it failed, what to do.
    Mainstay,
    /// supervisord's `spawnerr`, which scripts look for.
    Supervisord,
}

/// Why a process cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) text: String,
}

/// What supervisord's faults tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no such program.
    NoFile,
    /// It cannot be executed.
    NotExecutable,
    /// Anything else.
    Other,
}

impl Refused {
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self {
            reason: Reason::Other,
            text: text.into(),
        }
    }

    fn program(process: &str, error: &ProgramError, words: Words) -> Self {
        let at = crate::quote::quote(&error.path().to_string_lossy());
        let (reason, theirs) = match error {
            ProgramError::NotFound { .. } => (Reason::NoFile, format!("can't find command {at}")),
            ProgramError::IsDirectory { .. } => (
                Reason::NotExecutable,
                format!("command at {at} is a directory"),
            ),
            ProgramError::NotExecutable { .. } => (
                Reason::NotExecutable,
                format!("command at {at} is not executable"),
            ),
            _ => (
                Reason::NotExecutable,
                format!("no permission to run command {at}"),
            ),
        };
        Self {
            reason,
            text: match words {
                Words::Supervisord => theirs,
                Words::Mainstay => format!("cannot start {process}: {error}"),
            },
        }
    }

    /// The system refused what was prepared.
    pub(crate) fn spawn(process: &str, error: &SpawnError, words: Words, uid: Option<u32>) -> Self {
        let errno = errno_name(error.errno).map_or_else(|| error.errno.to_string(), str::to_owned);
        let own = || {
            let text = error.to_string();
            let text = text.strip_prefix("cannot start ").unwrap_or(&text);
            format!("cannot start {process}: {text}")
        };
        Self::other(match (words, error.stage) {
            (Words::Mainstay, _) => own(),
            (_, Stage::Clone) => format!("unknown error during fork for '{process}': {errno}"),
            (_, Stage::Groups | Stage::Gid | Stage::Uid) => {
                let why = if error.errno == mainstay_sys::Errno::PERM {
                    "Can't drop privilege as nonroot user".to_owned()
                } else {
                    errno
                };
                format!("couldn't setuid to {}: {why}", uid.unwrap_or_default())
            }
            (_, Stage::Chdir) => format!("couldn't chdir to {}: {errno}", error.subject),
            (_, Stage::Exec) => format!("couldn't exec {}: {errno}", error.program.display()),
            _ => own(),
        })
    }
}

/// Who a program runs as, looked up ahead of its start.
#[derive(Debug, Clone)]
pub(crate) enum RunAs {
    /// As the daemon does.
    Same,
    /// As this user: ids, and the variables that a login would set.
    User {
        identity: Identity,
        variables: Vec<(&'static str, String)>,
    },
    /// The user could not be found: why, and what to do.
    Nobody(String),
}

impl RunAs {
    /// Looks the user and group of `spec` up. May ask directory services, so it is done before
    /// the supervision thread runs; only a failed look-up is repeated on it.
    pub(crate) fn look_up(spec: &ProgramSpec) -> Self {
        if spec.user.is_none() && spec.user_group.is_none() {
            return Self::Same;
        }
        match Self::find(spec) {
            Ok(found) => found,
            Err(text) => Self::Nobody(text),
        }
    }

    fn find(spec: &ProgramSpec) -> Result<Self, String> {
        let name = &spec.name;
        let failed = |what: &str, error: std::io::Error| {
            format!("cannot start {name}: cannot look up {what}: {error}")
        };
        let user = match &spec.user {
            Some(user) => users::lookup(user)
                .map_err(|e| failed(&format!("user {user}"), e))?
                .ok_or_else(|| {
                    format!(
                        "cannot start {name}: there is no user `{user}` on this host; create it \
                         (useradd --system {user}) or correct the program's user"
                    )
                })?,
            None => users::by_uid(users::effective_uid())
                .map_err(|e| failed("the user mainstay runs as", e))?
                .ok_or_else(|| {
                    format!(
                        "cannot start {name}: a group needs a user, and the one mainstay runs as \
                         has no entry; name the program's user too"
                    )
                })?,
        };
        let mut identity = user.identity;
        if let Some(group) = &spec.user_group {
            identity.gid = users::group(group)
                .map_err(|e| failed(&format!("group {group}"), e))?
                .ok_or_else(|| {
                    format!(
                        "cannot start {name}: there is no group `{group}` on this host; create it \
                         (groupadd --system {group}) or correct the program's group"
                    )
                })?;
        }
        let variables = if spec.user.is_some() {
            vec![
                ("HOME", user.home.display().to_string()),
                ("LOGNAME", user.name.clone()),
                ("USER", user.name),
            ]
        } else {
            Vec::new()
        };
        Ok(Self::User {
            identity,
            variables,
        })
    }
}

/// What would keep these programs from starting here and now, in words, without starting any: a user
/// that does not exist, a program that cannot be found, a secret that cannot be read.
pub fn preflight(
    programs: &[Arc<ProgramSpec>],
    environment: &BTreeMap<String, String>,
    resolver: &Resolver,
) -> Vec<String> {
    programs
        .iter()
        .filter_map(|program| {
            let process = program.processes.first()?;
            let run_as = RunAs::look_up(program);
            let fds = Vec::new();
            prepare(
                program,
                process,
                &run_as,
                environment,
                resolver,
                fds,
                Words::Mainstay,
            )
            .err()
            .map(|refused| refused.text)
        })
        .collect()
}

/// The call that starts the process, or in words why there cannot be one and what to do.
///
/// The environment is, later ones winning: what the daemon hands down, the variables of the user,
/// mainstay's own three, what the config says.
pub(crate) fn prepare(
    spec: &ProgramSpec,
    process: &ProcessSpec,
    run_as: &RunAs,
    environment: &BTreeMap<String, String>,
    resolver: &Resolver,
    fds: Vec<(OwnedFd, i32)>,
    words: Words,
) -> Result<Spawn, Refused> {
    let name = &process.process;
    let resolve = |template: &mainstay_base::Template, what: &str| {
        template.resolve(resolver).map_err(|error| {
            Refused::other(format!(
                "cannot start {name}: {what}: {error}; {}",
                error.help()
            ))
        })
    };
    let mut env: BTreeMap<&str, OsString> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.into()))
        .collect();
    let identity = match run_as {
        RunAs::Same => None,
        RunAs::User {
            identity,
            variables,
        } => {
            if spec.login_variables {
                env.extend(variables.iter().map(|(name, value)| (*name, value.into())));
            }
            Some(identity.clone())
        }
        RunAs::Nobody(text) => return Err(Refused::other(text.clone())),
    };
    if words == Words::Mainstay {
        env.insert("MAINSTAY_PROGRAM", (&spec.name).into());
        env.insert("MAINSTAY_PROCESS", name.into());
        env.insert("MAINSTAY_INSTANCE", process.instance.to_string().into());
    }
    for (variable, template) in &process.env {
        let value = resolve(template, &format!("variable {variable}"))?;
        env.insert(variable, value.expose().into());
    }
    if let Some(why) = &process.bad_command {
        return Err(Refused {
            reason: Reason::NotExecutable,
            text: why.clone(),
        });
    }
    let mut args = Vec::with_capacity(process.command.len());
    for word in &process.command {
        args.push(OsString::from(resolve(word, "its command")?.expose()));
    }
    let first = args.first().ok_or_else(|| {
        Refused::other(match words {
            Words::Mainstay => format!("cannot start {name}: its command is empty"),
            Words::Supervisord => "command is empty".to_owned(),
        })
    })?;
    let path = env
        .get("PATH")
        .cloned()
        .unwrap_or_else(|| DEFAULT_PATH.into());
    let cwd = spec.dir.as_deref().unwrap_or(Path::new("."));
    if words == Words::Mainstay
        && let Err(error) = std::fs::metadata(cwd)
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return Err(Refused::other(format!(
            "cannot start {name}: its directory {} does not exist; create it or correct the \
             program's dir",
            cwd.display()
        )));
    }
    let program = resolve_program(first, &path, cwd)
        .map_err(|error| Refused::program(name, &error, words))?;
    let mut spawn = Spawn::new(program);
    spawn.args = args;
    spawn.env = env
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
    spawn.cwd.clone_from(&spec.dir);
    spawn.umask = spec.umask;
    spawn.identity = identity;
    spawn.limits.clone_from(&spec.limits);
    spawn.no_new_privs = spec.no_new_privs;
    spawn.session = true;
    spawn.fds = fds;
    Ok(spawn)
}

#[cfg(test)]
mod tests {
    use mainstay_base::{Secrets, Template};

    use super::*;

    fn prepared(spec: &ProgramSpec, environment: &[(&str, &str)]) -> Result<Spawn, String> {
        let environment: BTreeMap<String, String> = environment
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let resolver = Resolver::new(Secrets::default(), environment.clone());
        prepare(
            spec,
            &spec.processes[0],
            &RunAs::look_up(spec),
            &environment,
            &resolver,
            vec![],
            Words::Mainstay,
        )
        .map_err(|refused| refused.text)
    }

    fn spec(words: &[&str]) -> ProgramSpec {
        let words = words.iter().map(|w| Template::parse(w).unwrap()).collect();
        ProgramSpec::new("web", words, Path::new("/nowhere"))
    }

    #[test]
    fn the_environment_is_layered() {
        let mut spec = spec(&["sh", "${env.WHO}"]);
        spec.processes[0]
            .env
            .insert("A".into(), Template::parse("config ${env.A}").unwrap());
        let spawn = prepared(&spec, &[("A", "daemon"), ("B", "daemon"), ("WHO", "me")]).unwrap();
        let get = |name: &str| {
            spawn
                .env
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.to_str().unwrap().to_owned())
        };
        assert_eq!(get("A").as_deref(), Some("config daemon"));
        assert_eq!(get("B").as_deref(), Some("daemon"));
        assert_eq!(get("MAINSTAY_PROGRAM").as_deref(), Some("web"));
        assert_eq!(get("MAINSTAY_PROCESS").as_deref(), Some("web"));
        assert_eq!(get("MAINSTAY_INSTANCE").as_deref(), Some("0"));
        assert_eq!(spawn.args, ["sh", "me"]);
        assert!(spawn.session);
    }

    #[test]
    fn what_cannot_be_started_says_why_and_what_to_do() {
        let mut no_user = spec(&["sh"]);
        no_user.user = Some("no such user".into());
        let mut no_dir = spec(&["sh"]);
        no_dir.dir = Some("/no/such/dir".into());
        for (spec, words) in [
            (
                spec(&["no-such-program-here"]),
                ["cannot find the program", "PATH"],
            ),
            (
                spec(&["/etc/passwd"]),
                ["not an executable file", "chmod +x"],
            ),
            (spec(&["/etc"]), ["a directory", "name a file"]),
            (spec(&["sh", "${env.NOPE}"]), ["its command", "set NOPE"]),
            (no_user, ["there is no user", "useradd"]),
            (no_dir, ["/no/such/dir does not exist", "create it"]),
        ] {
            let text = prepared(&spec, &[]).unwrap_err();
            assert!(text.starts_with("cannot start web: "), "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}

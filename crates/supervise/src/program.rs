//! What a program is, as the config (or an importer of another format) says it.
//!
//! A [`ProgramSpec`] has what its processes share; each [`ProcessSpec`] has what may differ between
//! them. In `mainstay.toml` the processes of one program differ only in name, number and log files,
//! but other formats build the command and the environment of each from its number, so that these
//! belong to the process here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainstay_base::Template;
use mainstay_log::Retention;
use mainstay_sys::limits::Resource;

use crate::machine::Policy;

/// Programs that start, stop and fail together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Groups start in ascending and stop in descending order of this.
    pub priority: i32,
    /// The name; a program that is in no group is one of its own, with its own name.
    pub name: String,
}

/// A program of the config.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramSpec {
    /// Its name, without `:`.
    pub name: String,
    /// The group it belongs to.
    pub group: Group,
    /// Within the group, programs start in ascending and stop in descending order of this.
    pub priority: i32,
    /// Whether it starts with the daemon.
    pub autostart: bool,
    /// The rules of its life.
    pub policy: Policy,
    /// Where its processes run; `None`: where the daemon runs.
    pub dir: Option<PathBuf>,
    /// The user they run as, by name or number; `None`: the daemon's.
    pub user: Option<String>,
    /// The group they run as, by name or number; `None`: the user's.
    pub user_group: Option<String>,
    /// Their umask; `None`: the daemon's.
    pub umask: Option<u32>,
    /// Resource limits, (which, soft, hard).
    pub limits: Vec<(Resource, u64, u64)>,
    /// Whether the kernel forbids them to gain rights by set-user-id files.
    pub no_new_privs: bool,
    /// What they read from.
    pub stdin: Stdin,
    /// Whether HOME, LOGNAME and USER are those of `user`, as a login would set them.
    pub login_variables: bool,
    /// The notifications they get, if they are event listeners.
    pub listener: Option<ListenerSpec>,
    /// Whether what they print is looked through for faults.
    pub faults: bool,
    /// The processes, at least one.
    pub processes: Vec<ProcessSpec>,
}

/// One process of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSpec {
    /// Its name, unique among all: the program's name, or `program:instance`.
    pub process: String,
    /// Its number among the processes of the program.
    pub instance: u32,
    /// The program and its arguments. No shell is involved.
    pub command: Vec<Template>,
    /// Why the command cannot be used, if it cannot be split into words: each start fails with it.
    pub bad_command: Option<String>,
    /// What is added to the environment that the daemon hands down.
    pub env: BTreeMap<String, Template>,
    /// What happens to its standard output.
    pub stdout: Output,
    /// What happens to its standard error.
    pub stderr: Output,
    /// Who else looks at its standard output.
    pub stdout_tap: Tap,
    /// Who else looks at its standard error. Nobody, if that is merged into the output.
    pub stderr_tap: Tap,
    /// What the routes get of its output: records of the level that they show, lines that belong
    /// together joined; or else each line, of the level of its stream.
    pub recognise: bool,
}

/// What the standard input of a program's processes is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe that [`crate::Command::Send`] writes to. It never ends while the process lives, also
    /// when the daemon is killed.
    Pipe,
    /// A listening socket that all processes of the program share, as `FastCGI` wants it.
    Socket(SocketSpec),
}

/// A socket that is opened for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSpec {
    /// Where it listens.
    pub address: SocketAddress,
    /// How many connections may wait; `None`: the most that the system allows.
    pub backlog: Option<u32>,
    /// Who owns the file of a unix socket: a user and a group, by name or number.
    pub owner: Option<(String, Option<String>)>,
    /// The mode of the file of a unix socket.
    pub mode: u32,
}

impl SocketSpec {
    /// As the config writes it: `tcp://host:port` or `unix:///path`.
    pub fn url(&self) -> String {
        match &self.address {
            SocketAddress::Tcp { host, port } => format!("tcp://{host}:{port}"),
            SocketAddress::Unix(path) => format!("unix://{}", path.display()),
        }
    }
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// TCP.
    Tcp {
        /// A name or an address; empty: all addresses of this host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The file of a unix socket.
    Unix(PathBuf),
}

/// What an event listener wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// The notifications that its processes share: each goes to one of them.
    pub events: crate::events::Mask,
    /// How many may wait; then the oldest is dropped. At least 1.
    pub buffer: usize,
}

/// What is done with a stream besides writing it to its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tap {
    /// Terminal control sequences do not get into the file.
    pub strip_ansi: bool,
    /// What stands between supervisord's capture tokens is a notification and no output; so many
    /// bytes of it are kept, the last ones. 0: no tokens.
    pub capture: u64,
    /// Output is sent as notifications too.
    pub events: bool,
    /// Output is sent to syslog too.
    pub syslog: bool,
    /// Output is told as [`crate::Event::Said`] too, at the level debug.
    pub debug: bool,
}

impl Tap {
    /// Whether anybody looks.
    pub fn is_active(&self) -> bool {
        *self != Self::default()
    }
}

/// Where a stream of a process goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into a rolling file.
    File {
        /// The file; its directory is made when it is missing.
        path: PathBuf,
        /// When it rolls and what is kept.
        retain: Retention,
    },
    /// To the same place as the other stream; only for stderr.
    Merge,
    /// Nowhere: `/dev/null`.
    Discard,
}

impl Output {
    /// The file, if there is one.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Merge | Self::Discard => None,
        }
    }
}

impl ProgramSpec {
    /// A program of one process with all defaults, in a group of its own, whose output goes to
    /// `NAME.stdout.log` and `NAME.stderr.log` in `log_dir`.
    pub fn new(name: &str, command: Vec<Template>, log_dir: &std::path::Path) -> Self {
        let output = |stream: &str| Output::File {
            path: log_dir.join(format!("{name}.{stream}.log")),
            retain: Retention::default(),
        };
        Self {
            name: name.to_owned(),
            group: Group {
                priority: 999,
                name: name.to_owned(),
            },
            priority: 999,
            autostart: true,
            policy: Policy::default(),
            dir: None,
            user: None,
            user_group: None,
            umask: None,
            limits: Vec::new(),
            no_new_privs: false,
            stdin: Stdin::Null,
            login_variables: true,
            listener: None,
            faults: true,
            processes: vec![ProcessSpec {
                process: name.to_owned(),
                instance: 0,
                command,
                bad_command: None,
                env: BTreeMap::new(),
                stdout: output("stdout"),
                stderr: output("stderr"),
                stdout_tap: Tap::default(),
                stderr_tap: Tap::default(),
                recognise: true,
            }],
        }
    }

    /// A number that changes when what a process of this program is started with changes: its
    /// command, directory, environment, user, umask, limits or input. Secrets enter by name only. It is
    /// the same in every build of this version, because the journal keeps it.
    pub fn hash(&self, process: &ProcessSpec) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        for word in &process.command {
            hash.text(&word.to_string());
        }
        hash.text("env");
        for (name, value) in &process.env {
            hash.text(name);
            hash.text(&value.to_string());
        }
        hash.text(&format!(
            "{:?} {:?} {:?} {:?} {}",
            self.dir, self.user, self.user_group, self.umask, self.no_new_privs
        ));
        hash.text(&format!("{:?} {:?}", self.limits, self.stdin));
        hash.0
    }
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Fnv {
    fn text(&mut self, text: &str) {
        // 0xff is no byte of UTF-8, so that two texts never read as one.
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_what_a_process_is_started_with() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|w| Template::literal(*w))
                .collect::<Vec<_>>()
        };
        let base = ProgramSpec::new("web", words(&["a", "b"]), "/log".as_ref());
        let hash = |spec: &ProgramSpec| spec.hash(&spec.processes[0]);
        let mut others = vec![ProgramSpec::new("web", words(&["ab"]), "/log".as_ref())];
        let mut change = |f: fn(&mut ProgramSpec)| {
            let mut spec = base.clone();
            f(&mut spec);
            others.push(spec);
        };
        change(|s| s.dir = Some("/x".into()));
        change(|s| s.user = Some("blog".into()));
        change(|s| s.umask = Some(0o22));
        change(|s| s.stdin = Stdin::Pipe);
        change(|s| {
            s.processes[0]
                .env
                .insert("A".into(), Template::literal("b"));
        });
        for other in &others {
            assert_ne!(hash(other), hash(&base), "{other:?}");
        }
        let mut same = base.clone();
        same.policy.stop_wait *= 2;
        same.priority = 1;
        assert_eq!(hash(&same), hash(&base));
    }
}

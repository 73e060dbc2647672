//! `supervisord`: the daemon under the name, with the config, the words and the habits of the
//! original. What runs underneath is the daemon of `mainstay run`.

mod host;
pub(crate) mod listen;
mod mainlog;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mainstay_base::{Resolver, Secrets};
use mainstay_log::Retention;
use mainstay_supervise::{ProgramSpec, Stdin};
use mainstay_supervisord::conf::arguments::{self, Arguments};
use mainstay_supervisord::conf::load::{Loaded, Surroundings, load, normalize};
use mainstay_supervisord::conf::{ConfigError, Place, import};
use mainstay_supervisord::rpc::COMPATIBLE_VERSION;
use mainstay_supervisord::words::{self, Level, Line};
use mainstay_sys::daemon::{Daemonized, Verdict, daemonize};
use mainstay_sys::limits::{self, Resource};
use mainstay_sys::users;

use crate::config::Config;
use crate::daemon::{Daemon, End, raise_descriptors};
use crate::exit::Exit;
use crate::output::{complain, show};
use crate::upgrade::{Heritage, Invocation};

pub(crate) use host::{Face, forget, prefixed, take_in, uid};
pub(crate) use listen::Door;
pub(crate) use mainlog::{MainLog, Syslog};

/// The exit status of everything that is wrong with the command line or the config.
const USAGE: u8 = 2;

/// How the daemon was called: what a reread needs.
#[derive(Clone)]
pub(crate) struct Called {
    program: String,
    arguments: Arguments,
    path: PathBuf,
    around: Surroundings,
}

impl Called {
    /// Reads the command line. The error is what to print on standard error.
    fn new(program: &str, words: &[String]) -> Result<Self, String> {
        let usage = |text: &str| arguments::usage(program, text);
        let arguments = arguments::parse(words).map_err(|error| usage(&error.message))?;
        let path = match &arguments.config {
            Some(path) => PathBuf::from(path),
            // Who only asks for help needs no config.
            None if arguments.help || arguments.version => PathBuf::new(),
            None => {
                arguments::search(Path::new(program), &|path| path.exists()).ok_or_else(|| {
                    let text = usage(&arguments::not_found_text(Path::new(program)));
                    match users::effective_uid() {
                        0 => format!("{}\n{text}", arguments::ROOT_WARNING),
                        _ => text,
                    }
                })?
            }
        };
        Ok(Self {
            program: program.to_owned(),
            arguments,
            path: normalize(&path),
            around: Surroundings {
                environment: crate::command::environment(),
                host: mainstay_sys::proc::hostname(),
                temporary: std::env::temp_dir(),
            },
        })
    }

    /// Reads the config; what the command line says wins.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = load(&self.path, &self.around)?;
        arguments::apply(&self.arguments, &mut loaded.supervisord);
        Ok(loaded)
    }

    fn usage(&self, text: &str) -> String {
        arguments::usage(&self.program, text)
    }
}

/// What the daemon needs beyond what `mainstay run` needs.
pub(crate) struct Compat {
    pub(crate) called: Called,
    pub(crate) loaded: Loaded,
    pub(crate) log: MainLog,
    pub(crate) doors: Vec<Door>,
    pub(crate) autos: Arc<AutoLogs>,
    pub(crate) pidfile: Option<PidFile>,
}

impl Compat {
    pub(crate) fn say(&self, (level, text): Line) {
        self.log.say(level, &text);
    }

    /// Writes the pid file: the daemon has its number now.
    pub(crate) fn begin(&mut self) {
        let path = PathBuf::from(&self.loaded.supervisord.pidfile);
        match PidFile::write(&path) {
            Ok(file) => {
                self.pidfile = Some(file);
                self.say(words::started(std::process::id()));
            }
            Err(_) => self.log.say(
                Level::Critical,
                &format!("could not write pidfile {}", path.display()),
            ),
        }
    }
}

/// The file that names the daemon's process. Dropping it removes it, if it still names this one.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> std::io::Result<Self> {
        fs::write(path, format!("{}\n", std::process::id()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == own) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Log files with names of our making.
pub(crate) struct AutoLogs {
    directory: PathBuf,
    identifier: String,
    /// Those of processes that live: by unique name, stdout and stderr.
    kept: BTreeMap<String, [PathBuf; 2]>,
}

impl AutoLogs {
    /// Where the output of a process goes.
    pub(crate) fn path(&self, name: &str, unique: &str, stream: &str) -> PathBuf {
        let kept = self.kept.get(unique).map(
            |[stdout, stderr]| {
                if stream == "stdout" { stdout } else { stderr }
            },
        );
        if let Some(path) = kept.filter(|path| self.is_ours(path)) {
            return path.clone();
        }
        let prefix = format!("{name}-{stream}---{}-", self.identifier);
        let made = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".log")
            .rand_bytes(8)
            .tempfile_in(&self.directory)
            .and_then(|file| file.keep().map_err(|error| error.error));
        match made {
            Ok((_, path)) => path,
            // Opening it will fail, and say why.
            Err(_) => self.directory.join(format!("{prefix}.log")),
        }
    }

    fn is_ours(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        path.parent() == Some(&self.directory)
            && name.is_some_and(|name| arguments::is_auto_log(name, &self.identifier))
    }

    /// Removes what earlier daemons left, but for the logs of processes that live.
    fn clean(&self, log: &MainLog) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            log.say(Level::Warn, "Could not clear childlog dir");
            return;
        };
        let kept: HashSet<&Path> = self.kept.values().flatten().map(PathBuf::as_path).collect();
        for entry in entries.flatten() {
            let path = entry.path();
            let rolled = mainstay_supervise::rolled_from(&path);
            let lives = kept.contains(rolled.as_deref().unwrap_or(&path));
            if self.is_ours(&path) && !lives && fs::remove_file(&path).is_err() {
                log.say(
                    Level::Warn,
                    &format!("Failed to clean up '{}'", path.display()),
                );
            }
        }
    }
}

/// Runs `supervisord` with these words of the command line.
pub(crate) fn run(program: &str, words: &[String]) -> ExitCode {
    let called = match Called::new(program, words) {
        Ok(called) => called,
        Err(text) => {
            complain(&text);
            return USAGE.into();
        }
    };
    if called.arguments.help {
        show(&arguments::help(program));
        return ExitCode::SUCCESS;
    }
    if called.arguments.version {
        show(&format!("{COMPATIBLE_VERSION}\n"));
        return ExitCode::SUCCESS;
    }
    if called.arguments.config.is_none() && users::effective_uid() == 0 {
        complain(&format!("{}\n", arguments::ROOT_WARNING));
    }
    Invocation::current();
    let mut heritage = Heritage::take();
    let mut first = !heritage.in_place;
    let mut nofile = heritage.child_nofile;
    loop {
        match turn(&called, first, &mut nofile, std::mem::take(&mut heritage)) {
            Ok(Turn::Again) => first = false,
            Ok(Turn::End(code)) => return code.into(),
            Err(refusal) => {
                complain(&called.usage(&refusal.text));
                // Behind the original's words, because people and scripts look for those.
                if let Some(place) = refusal.place {
                    complain(&format!("  --> {place}\n"));
                }
                return USAGE.into();
            }
        }
    }
}

/// Says that this binary can take over from a daemon that was called like this.
pub(crate) fn self_check(program: &str, words: &[String]) -> Result<(), String> {
    let called = Called::new(program, words)?;
    called.load().map(drop).map_err(|error| error.to_string())
}

/// The `mainstay.toml` side of a config of supervisord: where the state and the socket are, what
/// programs there are.
pub(crate) fn config(path: &Path) -> Result<Config, ConfigError> {
    let words = ["-c".to_owned(), path.display().to_string()];
    let called = Called::new("supervisord", &words).map_err(ConfigError::new)?;
    let loaded = called.load()?;
    let directory = PathBuf::from(loaded.supervisord.childlogdir.clone().unwrap_or_default());
    let mut auto = |name: &str, _: &str, stream: &str| directory.join(format!("{name}-{stream}"));
    let programs = loaded
        .groups
        .iter()
        .flat_map(|group| import::group(&loaded, group, &mut auto))
        .map(Arc::new)
        .collect();
    Ok(crate::config::from_supervisord(
        &called.path,
        &loaded.supervisord.identifier,
        state_directory(&loaded),
        programs,
        called.around.environment.clone(),
    ))
}

/// Where the journal is: beside the pid file, because that is one for each daemon, and in a
/// directory that the daemon may write.
fn state_directory(loaded: &Loaded) -> PathBuf {
    if let Some(directory) = &loaded.supervisord.state_dir {
        return normalize(Path::new(directory));
    }
    Path::new(&loaded.supervisord.pidfile).with_extension("mainstay")
}

/// Why the daemon does not start.
struct Refused {
    text: String,
    /// Where in the config.
    place: Option<Place>,
}

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self { text, place: None }
    }
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Self {
            text: error.to_string(),
            place: error.place,
        }
    }
}

enum Turn {
    /// It is to start anew, in this process.
    Again,
    /// It ended.
    End(u8),
}

/// One life of the daemon, from reading its config to its end. The error is for the usage text.
fn turn(
    called: &Called,
    first: bool,
    nofile: &mut Option<(u64, u64)>,
    mut heritage: Heritage,
) -> Result<Turn, Refused> {
    let loaded = called.load()?;
    let section = &loaded.supervisord;
    let mut notes: Vec<Line> = Vec::new();
    become_user(section.user.as_deref(), &mut notes)?;
    if first {
        raise_limits(section.minfds, section.minprocs, &mut notes)?;
    }
    // What programs find, from the first life on; the daemon itself needs more than they do.
    if nofile.is_none() {
        *nofile = raise_descriptors();
    }
    let child_nofile = *nofile;
    notes.extend(
        loaded
            .warnings
            .iter()
            .map(|text| (Level::Warn, text.clone())),
    );
    notes.extend(loaded.infos.iter().map(|text| (Level::Info, text.clone())));
    let log = MainLog::open(
        &section.logfile,
        retention(section.logfile_maxbytes, section.logfile_backups),
        section.loglevel,
        section.nodaemon && !section.silent,
    )?;
    log.take_records();
    for (level, text) in notes {
        log.say(level, &text);
    }
    log.say(Level::Blather, "the config is read");
    let state = usable_state(state_directory(&loaded), &called.around.temporary, &log)?;
    let autos = Arc::new(AutoLogs {
        directory: PathBuf::from(section.childlogdir.clone().unwrap_or_default()),
        identifier: section.identifier.clone(),
        kept: mainstay_supervise::live_logs(&state).unwrap_or_default(),
    });
    if !section.nocleanup {
        autos.clean(&log);
    }
    let mut auto = |name: &str, unique: &str, stream: &str| autos.path(name, unique, stream);
    let programs: Vec<Arc<ProgramSpec>> = loaded
        .groups
        .iter()
        .flat_map(|group| import::group(&loaded, group, &mut auto))
        .map(Arc::new)
        .collect();
    try_sockets(&programs, &autos, &log)?;
    let doors = open_doors(&loaded, &mut heritage, &log)?;
    let (nodaemon, umask) = (section.nodaemon, section.umask);
    let directory = section.directory.clone();
    let config = crate::config::from_supervisord(
        &called.path,
        &section.identifier,
        state,
        programs,
        called.around.environment.clone(),
    );
    let compat = Compat {
        called: called.clone(),
        loaded,
        log: log.clone(),
        doors,
        autos,
        pidfile: None,
    };
    if nodaemon || !first {
        return match Daemon::assemble_compat(config, compat, child_nofile, heritage) {
            Ok(daemon) => Ok(ended(daemon.live_compat())),
            Err(failure) => Err(failure.message.into()),
        };
    }
    match daemonize(umask).map_err(|error| format!("cannot go to the background: {error}"))? {
        Daemonized::Parent(Verdict::Ready { .. }) => {
            // The sockets are the daemon's now, and so are their files: nothing is dropped here.
            std::process::exit(0)
        }
        Daemonized::Parent(Verdict::Failed { text, .. }) => Err(text.into()),
        Daemonized::Parent(Verdict::Died(status)) => {
            Err(format!("the daemon ended before it was up ({status:?})").into())
        }
        Daemonized::Daemon(ready) => {
            compat.say(words::daemonizing());
            if let Some(directory) = directory {
                match std::env::set_current_dir(&directory) {
                    Ok(()) => log.say(
                        Level::Info,
                        &format!("set current directory: '{directory}'"),
                    ),
                    Err(error) => log.say(
                        Level::Critical,
                        &format!("can't chdir into '{directory}': {error}"),
                    ),
                }
            }
            match Daemon::assemble_compat(config, compat, child_nofile, heritage) {
                Ok(daemon) => {
                    let _ = ready.ready();
                    Ok(ended(daemon.live_compat()))
                }
                Err(failure) => {
                    let _ = ready.fail(&failure.message, USAGE);
                    Ok(Turn::End(USAGE))
                }
            }
        }
    }
}

fn ended((end, exit): (End, Exit)) -> Turn {
    match end {
        End::Restart => Turn::Again,
        End::Stop | End::No => Turn::End(if exit == Exit::Done { 0 } else { exit as u8 }),
    }
}

fn retention(maxbytes: u64, backups: i64) -> Retention {
    Retention {
        size: (maxbytes > 0).then_some(maxbytes),
        files: Some(u32::try_from(backups).unwrap_or(0)),
        ..Retention::NONE
    }
}

/// Gives root's rights up, if the config says to whom.
fn become_user(user: Option<&str>, notes: &mut Vec<Line>) -> Result<(), String> {
    let uid = users::effective_uid();
    let Some(name) = user else {
        if uid == 0 {
            notes.push((
                Level::Critical,
                "Supervisor is running as root.  Privileges were not dropped because no user is \
                 specified in the config file.  If you intend to run as root, you can set user=root \
                 in the config file to avoid this message."
                    .to_owned(),
            ));
        }
        return Ok(());
    };
    let found = users::lookup(name)
        .map_err(|error| format!("cannot look up the user {name}: {error}"))?
        .ok_or_else(|| format!("Invalid user name {name}"))?;
    if found.identity.uid != uid {
        if uid != 0 {
            return Err("Can't drop privilege as nonroot user".to_owned());
        }
        users::become_user(&found.identity)
            .map_err(|error| format!("Could not set user id: {error}"))?;
    }
    notes.push((
        Level::Info,
        format!("Set uid to user {} succeeded", found.identity.uid),
    ));
    Ok(())
}

/// Raises the limits that the config asks for; impossible ones are an error.
fn raise_limits(minfds: i64, minprocs: i64, notes: &mut Vec<Line>) -> Result<(), String> {
    for (resource, wanted, name, what, option) in [
        (
            Resource::Nofile,
            minfds,
            "RLIMIT_NOFILE",
            ("file descriptors", "run this process", "open"),
            "minfds",
        ),
        (
            Resource::Processes,
            minprocs,
            "RLIMIT_NPROC",
            ("available processes", "run this program", "open"),
            "minprocs",
        ),
    ] {
        let Ok(wanted) = u64::try_from(wanted) else {
            continue;
        };
        let (soft, hard) = limits::get(None, resource)
            .map_err(|error| format!("cannot read the limit {name}: {error}"))?;
        if soft >= wanted {
            continue;
        }
        if limits::raise(resource, wanted).is_err() {
            let (things, purpose, verb) = what;
            let usable = if option == "minfds" {
                "file descriptors"
            } else {
                "processes"
            };
            let subject = if option == "minfds" {
                "process"
            } else {
                "program"
            };
            return Err(format!(
                "The minimum number of {things} required to {purpose} is {wanted} as per the \
                 \"{option}\" command-line argument or config file setting. The current environment \
                 will only allow you to {verb} {hard} {usable}.  Either raise the number of usable \
                 {usable} in your environment (see README.rst) or lower the {option} setting in the \
                 config file to allow the {subject} to start."
            ));
        }
        notes.push(words::limit_raised(name, wanted));
    }
    Ok(())
}

/// Makes the directory for the journal, or takes one in the directory for temporary files: the
/// original needs none, and must not be kept from starting by ours.
fn usable_state(wanted: PathBuf, temporary: &Path, log: &MainLog) -> Result<PathBuf, String> {
    let error = match mainstay_base::fs::create_dir_private(&wanted, 0o700)
        .and_then(|()| writable(&wanted))
    {
        Ok(()) => return Ok(wanted),
        Err(error) => error,
    };
    let name: String = wanted
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let uid = users::effective_uid();
    let other = temporary.join(format!("mainstay-{uid}{name}"));
    mainstay_base::fs::create_dir_private(&other, 0o700)
        .and_then(|()| writable(&other))
        .map_err(|second| {
            format!(
                "there is no place for the journal of processes: {}: {error}; {}: {second}; set \
                 state_dir in [supervisord] to a directory that this user may write",
                wanted.display(),
                other.display()
            )
        })?;
    log.say(
        Level::Warn,
        &format!(
            "the journal of processes is in {}, because {} cannot be written: {error}; set state_dir \
             in [supervisord] to a directory of its own",
            other.display(),
            wanted.display()
        ),
    );
    Ok(other)
}

/// Whether the directory is ours alone to write.
fn writable(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let about = fs::symlink_metadata(directory)?;
    let uid = users::effective_uid();
    if !about.is_dir() || (about.uid() != uid && uid != 0) || about.mode() & 0o022 != 0 {
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            "it belongs to somebody else, or others may write there",
        ));
    }
    tempfile::Builder::new()
        .prefix(".probe")
        .tempfile_in(directory)
        .map(drop)
}

/// Fails early when a program's socket cannot be opened. Those of programs that live are open.
fn try_sockets(
    programs: &[Arc<ProgramSpec>],
    autos: &AutoLogs,
    log: &MainLog,
) -> Result<(), String> {
    for program in programs {
        let Stdin::Socket(socket) = &program.stdin else {
            continue;
        };
        let mut processes = program.processes.iter();
        if processes.any(|process| autos.kept.contains_key(&process.process)) {
            continue;
        }
        let url = socket.url();
        log.say(Level::Info, &format!("Creating socket {url}"));
        mainstay_supervise::try_socket(socket)
            .map_err(|error| format!("Could not create FastCGI socket {url}: {error}"))?;
        log.say(Level::Info, &format!("Closing socket {url}"));
    }
    Ok(())
}

fn open_doors(
    loaded: &Loaded,
    heritage: &mut Heritage,
    log: &MainLog,
) -> Result<Vec<Door>, String> {
    let mut doors = Vec::new();
    for server in &loaded.servers {
        if listen::is_open_to_all(server) && !server.insecure {
            log.say(
                Level::Critical,
                &format!(
                    "Server '{}' is not opened: everybody who reaches this machine could stop and \
                     start programs without a password (CVE-2019-12105); set username and password, \
                     or port = 127.0.0.1:PORT, or insecure = true to open it all the same",
                    server.section
                ),
            );
            continue;
        }
        let inherited = heritage.door(&server.section);
        let mut tell = |text: &str| complain(&format!("{text}\n"));
        let door =
            listen::open(server, inherited, &mut tell).map_err(|error| listen::explain(&error))?;
        doors.push(door);
        let (level, text) = words::rpc_ready();
        log.say(level, &text);
        if server.login.is_none() {
            let (level, text) = words::no_password(&server.section);
            log.say(level, &text);
        }
    }
    Ok(doors)
}

/// What programs and clients may refer to: the environment, and no secrets.
pub(crate) fn resolver(environment: BTreeMap<String, String>) -> Resolver {
    Resolver::new(Secrets::default(), environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_processes_that_live_are_not_cleaned_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let names = [
            "a-stdout---me-x.log",
            "a-stdout---me-x.log.1",
            "b-stdout---me-y.log",
            "b-stdout---me-y.log.12",
            "c-stdout---you-z.log",
            "notes.txt",
        ];
        for name in names {
            fs::write(at(name), "").unwrap();
        }
        let autos = AutoLogs {
            directory: dir.path().to_owned(),
            identifier: "me".to_owned(),
            // One that lives, and whose errors go nowhere.
            kept: BTreeMap::from([("a".to_owned(), [at(names[0]), PathBuf::new()])]),
        };
        let log = MainLog::open("/dev/null", Retention::NONE, Level::Info, false).unwrap();
        autos.clean(&log);
        let left: Vec<&str> = names.into_iter().filter(|name| at(name).exists()).collect();
        assert_eq!(left, [names[0], names[1], names[4], names[5]]);
    }
}

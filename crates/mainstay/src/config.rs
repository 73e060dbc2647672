//! `mainstay.toml` as a whole: which file, which sections, and what they come to.
//!
//! Each engine reads its own section; here they are only called in turn. Nothing is applied before
//! everything was read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_base::config::{Document, FileMode, Section};
use mainstay_base::{Diagnostic, Diagnostics, Resolver, Secrets, Severity, nearest};
use mainstay_log::{Format, Logger, Retention, SinkConfig, SinkKind};
use mainstay_supervise::ProgramSpec;

use crate::command::logs::OWN;
use crate::exit::{Exit, Failure};
use crate::http::Http;
use crate::own_log::own_log_sink;

/// The version of the config language.
const SCHEMA: i64 = 1;

/// Sections that are designed and do not work yet.
const PLANNED: [&str; 3] = ["app", "front", "import"];

/// A unix socket's path has at most this many bytes (`sun_path` in unix(7), less its NUL).
const LONGEST_SOCKET: usize = 107;

/// The whole config, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The main file.
    pub(crate) path: PathBuf,
    pub(crate) host: Host,
    pub(crate) control: Control,
    pub(crate) log: mainstay_log::Config,
    pub(crate) programs: Vec<Arc<ProgramSpec>>,
    pub(crate) backup: mainstay_backup::Config,
    /// None for a config of supervisord, which has no words for it.
    pub(crate) alert: Option<mainstay_alert::Config>,
    /// Where apps report faults; none for a config of supervisord, of which nobody expects it.
    pub(crate) reports: Option<PathBuf>,
    pub(crate) resolver: Resolver,
    /// What is probably not meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// `[host]`
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) state: PathBuf,
    pub(crate) zone: TimeZone,
}

/// `[control]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) socket: PathBuf,
    pub(crate) mode: u32,
    pub(crate) group: Option<String>,
    pub(crate) http: Http,
}

/// Where a config has its state when it does not say (ARCHITECTURE.md, decision 1).
fn default_state(config: &Path) -> PathBuf {
    if config.starts_with("/etc") {
        return PathBuf::from("/var/lib/mainstay");
    }
    config.parent().unwrap_or(Path::new("/")).join(".mainstay")
}

/// Where a config has its socket when it does not say.
fn default_socket(config: &Path, state: &Path) -> PathBuf {
    if config.starts_with("/etc") {
        return PathBuf::from("/run/mainstay.sock");
    }
    state.join("control.sock")
}

/// Where apps report faults: beside the control socket.
fn report_socket(control: &Path) -> PathBuf {
    match control.file_name().and_then(|name| name.to_str()) {
        None | Some("control.sock") => control.with_file_name("report.sock"),
        Some(name) => {
            let stem = name.strip_suffix(".sock").unwrap_or(name);
            control.with_file_name(format!("{stem}-report.sock"))
        }
    }
}

/// The config that is meant: the one that was named, else the one here, else the system's.
pub(crate) fn locate(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|e| Failure::new(Exit::Usage, format!("cannot find {}: {e}", path.display())))
    };
    if let Some(named) = named {
        return absolute(named);
    }
    for candidate in ["mainstay.toml", "/etc/mainstay/mainstay.toml"] {
        if Path::new(candidate).exists() {
            return absolute(Path::new(candidate));
        }
    }
    Err(Failure::new(
        Exit::Usage,
        "there is no config: neither ./mainstay.toml nor /etc/mainstay/mainstay.toml exists",
    )
    .help("name one with -c FILE; three lines are enough for a first one: `schema = 1`, `[program.web]`, `command = \"…\"`"))
}

/// The main file and what stands in `conf.d` beside it, as one document.
fn document(path: &Path) -> Result<Document, Diagnostics> {
    let mut document = Document::load(path)?;
    let directory = path.parent().unwrap_or(Path::new("/")).join("conf.d");
    let mut parts: Vec<PathBuf> = match std::fs::read_dir(&directory) {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let hidden = path
                    .file_name()
                    .is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
                !hidden && path.extension().is_some_and(|e| e == "toml")
            })
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(
                Diagnostic::error(format!("cannot list {}: {error}", directory.display()))
                    .help("make it readable for the user that runs mainstay")
                    .into(),
            );
        }
    };
    parts.sort();
    for part in parts {
        document.merge(Document::load(&part)?);
    }
    Ok(document)
}

fn read_schema(root: &mut Section<'_>) {
    if root.value("schema").is_none() {
        root.report(
            Diagnostic::error("`schema` is missing")
                .at(root.place())
                .help("write `schema = 1` as the first line, so that a later mainstay knows how to read this file"),
        );
        return;
    }
    if let Some(schema) = root.get_spanned::<i64>("schema")
        && schema.value != SCHEMA
    {
        root.report(
            Diagnostic::error(format!(
                "this mainstay reads schema {SCHEMA}, not {}",
                schema.value
            ))
            .at(&schema.place)
            .help("write `schema = 1`, or use the mainstay that wrote this file"),
        );
    }
}

fn read_host(root: &mut Section<'_>, default_state: PathBuf) -> Host {
    let mut host = Host {
        name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        state: default_state,
        zone: TimeZone::system(),
    };
    let Some(mut section) = root.section("host") else {
        return host;
    };
    if let Some(name) = section.get_spanned::<String>("name") {
        if name.value.trim().is_empty() {
            section.report(Diagnostic::error("a host has a name").at(&name.place));
        }
        host.name = name.value;
    }
    if let Some(state) = section.get("state") {
        host.state = state;
    }
    if let Some(zone) = section.get_spanned::<String>("timezone") {
        match TimeZone::get(&zone.value) {
            Ok(found) => host.zone = found,
            Err(_) => section.report(
                Diagnostic::error(format!("there is no time zone `{}`", zone.value))
                    .at(&zone.place)
                    .help("write a name of the IANA database, as in \"Europe/Berlin\", or \"UTC\""),
            ),
        }
    }
    section.planned(&["language"]);
    section.finish();
    host
}

fn read_control(root: &mut Section<'_>, default_socket: PathBuf) -> Control {
    let mut control = Control {
        socket: default_socket,
        mode: 0o660,
        group: None,
        http: Http::default(),
    };
    if let Some(mut section) = root.section("control") {
        if let Some(mut socket) = section.section("socket") {
            if let Some(path) = socket.get("path") {
                control.socket = path;
            }
            if let Some(mode) = socket.get_spanned::<FileMode>("mode") {
                control.mode = mode.value.0;
                if control.mode & 0o600 != 0o600 {
                    socket.report(
                        Diagnostic::error("the owner of the socket could not connect to it")
                            .at(&mode.place)
                            .help("let its owner read and write, as in \"0660\""),
                    );
                }
                if control.mode & 0o002 != 0 {
                    socket.report(
                        Diagnostic::warning(
                            "everybody on this machine can connect to the control socket",
                        )
                        .at(&mode.place)
                        .help("use \"0660\" with `group = \"…\"`; others are refused all the same"),
                    );
                }
            }
            control.group = socket.get("group");
            socket.finish();
        }
        if let Some(http) = section.section("http") {
            control.http = Http::read(http);
        }
        section.planned(&["roles"]);
        section.finish();
    }
    if control.socket.as_os_str().len() > LONGEST_SOCKET {
        root.report(
            Diagnostic::error(format!(
                "the control socket's path is too long for a unix socket ({} bytes, at most {LONGEST_SOCKET}): {}",
                control.socket.as_os_str().len(),
                control.socket.display()
            ))
            .help("set a shorter one: `[control]`, `socket = { path = \"/run/…\" }`"),
        );
    }
    control
}

/// What the supervision thread is given.
pub(crate) fn supervise_settings(
    config: &Config,
    logger: &Logger,
    child_nofile: Option<(u64, u64)>,
) -> mainstay_supervise::Settings {
    let mut settings = mainstay_supervise::Settings::new(&config.host.state);
    settings.environment = config.resolver.public_environment();
    if let Some(reports) = config.reports.as_ref().and_then(|path| path.to_str()) {
        let variable = mainstay_control::REPORT_VARIABLE.to_owned();
        settings.environment.insert(variable, reports.to_owned());
    }
    settings.logger = Some(logger.clone());
    settings.identifier.clone_from(&config.host.name);
    settings.child_nofile = child_nofile;
    settings.keeper = Some(vec![
        "mainstay".into(),
        "keep".into(),
        settings.state_dir.clone().into_os_string(),
    ]);
    settings
}

/// A config of supervisord as a config of ours: programs only, and the control socket beside the
/// journal.
pub(crate) fn from_supervisord(
    path: &Path,
    name: &str,
    state: PathBuf,
    programs: Vec<Arc<ProgramSpec>>,
    environment: BTreeMap<String, String>,
) -> Config {
    let zone = TimeZone::system();
    Config {
        path: path.to_owned(),
        control: Control {
            socket: state.join("control.sock"),
            mode: 0o600,
            group: None,
            http: Http::default(),
        },
        log: mainstay_log::Config::new(&state, zone.clone()),
        programs,
        backup: mainstay_backup::Config {
            host: name.to_owned(),
            zone: zone.clone(),
            repositories: Vec::new(),
            backups: Vec::new(),
        },
        alert: None,
        reports: None,
        host: Host {
            name: name.to_owned(),
            state,
            zone,
        },
        resolver: crate::supervisord::resolver(environment),
        warnings: Vec::new(),
    }
}

/// Whether this file is a config of supervisord rather than one of ours, by its name.
pub(crate) fn is_supervisord(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "conf" || ending == "ini")
}

fn read_log(
    root: &mut Section<'_>,
    host: &Host,
    resolver: &Resolver,
    colours: bool,
) -> mainstay_log::Config {
    let defaults = mainstay_log::Defaults {
        directory: host.state.join("log"),
        zone: host.zone.clone(),
        colours,
        sinks: vec![(own_log_sink(Retention::default()), Format::text())],
        resolver: resolver.clone(),
    };
    match root.section("log") {
        Some(section) => mainstay_log::Config::read(section, &defaults),
        None => mainstay_log::Config::standard(&defaults),
    }
}

fn read_alert(root: &mut Section<'_>, host: &Host, resolver: &Resolver) -> mainstay_alert::Config {
    let defaults = mainstay_alert::Defaults {
        host: host.name.clone(),
        zone: host.zone.clone(),
        outbox: host.state.join("alerts.db"),
    };
    let mut config = match root.section("alert") {
        Some(section) => mainstay_alert::Config::read(section, &defaults),
        None => mainstay_alert::Config::standard(&defaults),
    };
    config.resolver = resolver.clone();
    config
}

/// Reads and checks everything. The error holds all that is wrong, not only the first.
pub(crate) fn load(
    path: &Path,
    environment: BTreeMap<String, String>,
    colours: bool,
) -> Result<Config, Diagnostics> {
    if is_supervisord(path) {
        return crate::supervisord::config(path).map_err(foreign);
    }
    let document = document(path)?;
    let mut root = document.root();
    read_schema(&mut root);
    let host = read_host(&mut root, default_state(path));
    let control = read_control(&mut root, default_socket(path, &host.state));
    let resolver = Resolver::new(Secrets::read(&mut root), environment);
    let log = read_log(&mut root, &host, &resolver, colours);
    let defaults = mainstay_supervise::Defaults {
        log_dir: log.directory.clone(),
        retain: log.retention,
    };
    let mut programs = mainstay_supervise::read_all(&mut root, &defaults);
    control.http.introduce(&mut programs);
    if programs.iter().any(|program| program.name == OWN) {
        root.report(
            Diagnostic::error(format!("no program can be called `{OWN}`")).help(format!(
                "`mainstay logs {OWN}` shows the daemon's own log: choose another name"
            )),
        );
    }
    if let Err(error) = mainstay_supervise::check(&programs) {
        root.report(Diagnostic::error(error.to_string()));
    }
    let backup = mainstay_backup::Config::read(&mut root, &host.name, &host.zone);
    check_stops(&root, &backup, &programs);
    let alert = read_alert(&mut root, &host, &resolver);
    let to_alert =
        |sink: &SinkConfig| matches!(&sink.kind, SinkKind::Alert(alert) if alert.mail.is_none());
    if alert.channels.is_empty() && log.sinks.iter().any(to_alert) {
        root.report(
            Diagnostic::warning("a route sends records to alert, and nobody is told of alerts")
                .help("add [alert.to.NAME] with `mail` or `webhook`"),
        );
    }
    root.planned(&PLANNED);
    root.finish();
    document.check_references(&resolver);
    let diagnostics = document.take_diagnostics();
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    debug_assert!(diagnostics.iter().all(|d| d.severity == Severity::Warning));
    Ok(Config {
        path: path.to_owned(),
        host,
        reports: Some(report_socket(&control.socket)),
        control,
        log,
        programs: programs.into_iter().map(Arc::new).collect(),
        backup,
        alert: Some(alert),
        resolver,
        warnings: diagnostics.into_iter().collect(),
    })
}

/// What is wrong with a config of supervisord, among our own diagnostics.
fn foreign(error: mainstay_supervisord::conf::ConfigError) -> Diagnostics {
    let text = match &error.place {
        Some(place) => format!("{place}: {error}"),
        None => error.to_string(),
    };
    Diagnostic::error(text).into()
}

/// The programs a restore stops must exist; only here are both known.
fn check_stops(root: &Section<'_>, backup: &mainstay_backup::Config, programs: &[ProgramSpec]) {
    for stop in backup
        .backups
        .iter()
        .flat_map(|backup| &backup.restore_stop)
    {
        let known = || programs.iter().map(|program| program.name.as_str());
        if known().all(|name| name != stop.value) {
            let diagnostic =
                Diagnostic::error(format!("there is no program `{}`", stop.value)).at(&stop.place);
            root.report(match nearest(&stop.value, known()) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help("name programs of this config"),
            });
        }
    }
}

/// The control socket a config names, even when something else in the config is wrong: a daemon that
/// runs must stay reachable while its config is being edited.
pub(crate) fn socket(path: &Path) -> Result<PathBuf, Diagnostics> {
    if is_supervisord(path) {
        return Ok(crate::supervisord::config(path)
            .map_err(foreign)?
            .control
            .socket);
    }
    let document = document(path)?;
    let mut root = document.root();
    let host = read_host(&mut root, default_state(path));
    Ok(read_control(&mut root, default_socket(path, &host.state)).socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mainstay.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, BTreeMap::new(), false).map_err(|diagnostics| diagnostics.to_string())
    }

    #[test]
    fn three_lines_are_a_config() {
        let config = load_text("schema = 1\n[program.web]\ncommand = \"sleep 1\"\n").unwrap();
        assert_eq!(config.programs.len(), 1);
        assert!(config.host.state.ends_with(".mainstay"));
        assert_eq!(
            config.control.socket,
            config.host.state.join("control.sock")
        );
        assert_eq!(config.control.mode, 0o660);
    }

    #[test]
    fn the_socket_of_reports_is_beside_the_control_socket() {
        for (control, reports) in [
            ("/srv/.mainstay/control.sock", "/srv/.mainstay/report.sock"),
            ("/run/mainstay.sock", "/run/mainstay-report.sock"),
            ("/run/shop/socket", "/run/shop/socket-report.sock"),
        ] {
            assert_eq!(report_socket(Path::new(control)), Path::new(reports));
        }
    }

    #[test]
    fn default_places_follow_from_where_the_config_is() {
        let system = Path::new("/etc/mainstay/mainstay.toml");
        assert_eq!(default_state(system), Path::new("/var/lib/mainstay"));
        assert_eq!(
            default_socket(system, Path::new("/var/x")),
            Path::new("/run/mainstay.sock")
        );
        let own = default_state(Path::new("/srv/shop/mainstay.toml"));
        assert_eq!(own, Path::new("/srv/shop/.mainstay"));
        assert_eq!(
            default_socket(
                Path::new("/srv/shop/mainstay.toml"),
                Path::new("/srv/state")
            ),
            Path::new("/srv/state/control.sock")
        );
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        for (text, expected) in [
            ("[program.web]\ncommand = \"x\"\n", "`schema` is missing"),
            (
                "schema = 2\n",
                ":1:10: error: this mainstay reads schema 1, not 2",
            ),
            (
                "schema = 1\n[host]\ntimezone = \"Mars/Olympus\"\n",
                "there is no time zone `Mars/Olympus`",
            ),
            (
                "schema = 1\n[host]\ntimezon = \"UTC\"\n",
                "did you mean `timezone`?",
            ),
            (
                "schema = 1\n[control]\nsocket = { mode = \"999\" }\n",
                "`999` is not a file mode",
            ),
            (
                "schema = 1\n[control]\nhttp = { listen = \"0.0.0.0:1\" }\n",
                "`control.http.listen`: everybody who reaches this machine",
            ),
            (
                "schema = 1\n[control]\nroles = 1\n",
                "`control.roles` does not work yet",
            ),
            (
                "schema = 1\n[front.blog]\nhosts = []\n",
                ":2:2: error: `front` does not work yet",
            ),
            (
                "schema = 1\n[alert]\nwiat = \"1m\"\n",
                "did you mean `wait`?",
            ),
            (
                "schema = 1\n[alert.to.a]\nwebhook = { kind = \"slack\", url = \"${secret.x}\" }\n",
                "there is no secret `x`",
            ),
            (
                "schema = 1\n[progam.web]\ncommand = \"x\"\n",
                "did you mean `program`?",
            ),
            (
                "schema = 1\n[program.web]\ncommand = \"x\"\nenv = { A = \"${secret.pw}\" }\n",
                "there is no secret `pw`",
            ),
        ] {
            let said = load_text(text).unwrap_err();
            assert!(
                said.contains(expected),
                "{text}\n--- said:\n{said}\n--- expected:\n{expected}"
            );
        }
    }

    #[test]
    fn files_of_conf_d_are_merged_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mainstay.toml");
        std::fs::write(&path, "schema = 1\n").unwrap();
        std::fs::create_dir(directory.path().join("conf.d")).unwrap();
        for (name, program) in [
            ("b.toml", "beta"),
            ("a.toml", "alpha"),
            (".hidden.toml", "no"),
            ("c.txt", "no"),
        ] {
            std::fs::write(
                directory.path().join("conf.d").join(name),
                format!("schema = 1\n[program.{program}]\ncommand = \"true\"\n"),
            )
            .unwrap();
        }
        let config = load(&path, BTreeMap::new(), false).unwrap();
        let names: Vec<&str> = config.programs.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["alpha", "beta"]);
    }

    #[test]
    fn the_socket_is_found_though_something_else_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mainstay.toml");
        std::fs::write(&path, "schema = 1\n[control]\nsocket = { path = \"/run/x.sock\" }\n[program.web]\nnonsense = 1\n").unwrap();
        assert_eq!(socket(&path).unwrap(), Path::new("/run/x.sock"));
    }
}

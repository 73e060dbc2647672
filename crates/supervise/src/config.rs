//! Reads `[program.NAME]` of `mainstay.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_base::config::{FileMode, FromValue, Section, Value};
use mainstay_base::{Diagnostic, Size, Spanned, Template, parse_duration};
use mainstay_log::Retention;
use mainstay_sys::Signal;
use mainstay_sys::limits::{Resource, UNLIMITED};

use crate::events::Mask;
use crate::machine::{Autorestart, Backoff, GIVE_UP_MAX, GiveUp, Policy};
use crate::program::{
    Group, ListenerSpec, Output, ProcessSpec, ProgramSpec, SocketAddress, SocketSpec, Stdin, Tap,
};

/// What a program gets when its section does not say otherwise.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Where the log files of programs are.
    pub log_dir: PathBuf,
    /// When they roll and what is kept.
    pub retain: Retention,
}

/// Keys that the design has and this version does not.
const PLANNED: &[&str] = &[
    "app",
    "cgroup",
    "depends_on",
    "health",
    "ready",
    "reload_signal",
    "schedule",
    "watch",
];

/// A unix socket's path has at most this many bytes (`sun_path` in unix(7), less its NUL).
const LONGEST_SOCKET: usize = 107;

/// Reads every `[program.NAME]` under the root of a config, in the order of the file.
pub fn read_all(root: &mut Section<'_>, defaults: &Defaults) -> Vec<ProgramSpec> {
    root.sections("program")
        .into_iter()
        .filter_map(|(name, section)| read(section, &name.value, defaults))
        .collect()
}

/// Reads one program. What is wrong is reported to the section's document; `None` means that it
/// is too wrong to go on with. Unknown keys are reported too.
pub fn read(mut section: Section<'_>, name: &str, defaults: &Defaults) -> Option<ProgramSpec> {
    let s = &mut section;
    s.planned(PLANNED);
    let command = command(s);
    let dir = s.get::<PathBuf>("dir").or_else(|| config_dir(s));
    let env = environment(s);
    let user = s.get::<String>("user");
    let user_group = s.get::<String>("group");
    let umask = s
        .value("umask")
        .and_then(|value| reported(s, umask(&value)))
        // The same files get the same modes however mainstay was started; supervisord's default.
        .or(Some(0o022));
    let instances = instances(s);
    let autostart = s.get::<bool>("autostart").unwrap_or(true);
    let priority = s.get::<i32>("priority").unwrap_or(999);
    let no_new_privs = s.get::<bool>("no_new_privs").unwrap_or(false);
    let faults = s.get::<bool>("faults").unwrap_or(true);
    let policy = policy(s);
    let limits = s.section("limits").map(limits).unwrap_or_default();
    let logs = Logs::read(s.section("log"), name, instances, defaults);
    let listener = listener(s, logs.merge);
    let stdin = stdin(s, listener.is_some());
    section.finish();
    let command = command?;
    let processes = (0..instances)
        .map(|instance| ProcessSpec {
            process: if instances == 1 {
                name.to_owned()
            } else {
                format!("{name}:{instance}")
            },
            instance,
            command: command.clone(),
            bad_command: None,
            env: env.clone(),
            stdout: logs.output(logs.stdout.as_ref(), instance),
            stdout_tap: if listener.is_some() {
                // What it says to its supervisor makes no notifications of its own.
                Tap {
                    capture: 0,
                    events: false,
                    ..logs.tap
                }
            } else {
                logs.tap
            },
            stderr_tap: if logs.merge { Tap::default() } else { logs.tap },
            recognise: logs.recognise,
            stderr: if logs.merge {
                Output::Merge
            } else {
                logs.output(logs.stderr.as_ref(), instance)
            },
        })
        .collect();
    Some(ProgramSpec {
        name: name.to_owned(),
        group: Group {
            priority,
            name: name.to_owned(),
        },
        priority,
        autostart,
        policy,
        dir,
        user,
        user_group,
        umask,
        limits,
        no_new_privs,
        stdin,
        login_variables: true,
        listener,
        faults,
        processes,
    })
}

/// What its processes read from. Notifications come that way, so a listener has a pipe.
fn stdin(section: &mut Section<'_>, is_listener: bool) -> Stdin {
    let default = if is_listener {
        Stdin::Pipe
    } else {
        Stdin::Null
    };
    let word = section.get_spanned::<String>("stdin");
    if let Some(socket) = section.section("socket") {
        let place = socket.place();
        let spec = socket_spec(socket);
        if word.is_some() || is_listener {
            section.report(
                Diagnostic::error("a socket is what its processes have as standard input")
                    .at(place)
                    .help("remove socket, or stdin and listen_to"),
            );
        }
        return spec.map_or(default, Stdin::Socket);
    }
    let Some(word) = word else {
        return default;
    };
    match word.value.as_str() {
        "none" if is_listener => {
            section.report(
                Diagnostic::error("a listener gets its notifications by its standard input")
                    .at(&word.place)
                    .help("remove stdin, or listen_to"),
            );
            default
        }
        "none" => Stdin::Null,
        "pipe" => Stdin::Pipe,
        other => {
            section.report(
                Diagnostic::error(format!("`{other}` is nothing to read from"))
                    .at(&word.place)
                    .help("write \"none\" or \"pipe\""),
            );
            default
        }
    }
}

/// The socket that its processes share, as `FastCGI` wants it.
fn socket_spec(mut section: Section<'_>) -> Option<SocketSpec> {
    let listen = section.required::<String>("listen");
    let place = section.value("listen").map(|value| value.place().clone());
    let address = listen.and_then(|text| {
        let read = socket_address(&text)
            .map_err(|why| Diagnostic::error(why).at(place.as_ref().unwrap_or(section.place())));
        reported(&section, read)
    });
    let backlog = section.get_spanned::<u32>("backlog");
    if let Some(backlog) = backlog.as_ref().filter(|backlog| backlog.value == 0) {
        section.report(
            Diagnostic::error("at least one connection must be able to wait").at(&backlog.place),
        );
    }
    let owner = section.get_spanned::<String>("owner");
    let mode = section.get_spanned::<FileMode>("mode");
    if let Some(SocketAddress::Tcp { .. }) = &address {
        let places = [
            owner.as_ref().map(|owner| &owner.place),
            mode.as_ref().map(|mode| &mode.place),
        ];
        for place in places.into_iter().flatten() {
            section.report(
                Diagnostic::error("a TCP socket has no file that could belong to somebody")
                    .at(place)
                    .help("remove it, or listen at unix:///…"),
            );
        }
    }
    let owner = owner.and_then(|owner| {
        let (user, group) = match owner.value.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (owner.value.as_str(), None),
        };
        if user.is_empty() || group == Some("") {
            section.report(
                Diagnostic::error(format!("`{}` is no owner", owner.value))
                    .at(&owner.place)
                    .help("write \"user\" or \"user:group\""),
            );
            return None;
        }
        Some((user.to_owned(), group.map(str::to_owned)))
    });
    section.finish();
    Some(SocketSpec {
        address: address?,
        backlog: backlog.map(|backlog| backlog.value.max(1)),
        owner,
        mode: mode.map_or(0o700, |mode| mode.value.0),
    })
}

/// `tcp://host:port` or `unix:///path`; the error says what is wrong.
fn socket_address(text: &str) -> Result<SocketAddress, String> {
    let form = "write \"unix:///run/app.sock\" or \"tcp://127.0.0.1:9000\"";
    if let Some(path) = text.strip_prefix("unix://") {
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(format!("`{path}` is no absolute path of a file: {form}"));
        }
        if path.len() > LONGEST_SOCKET {
            return Err(format!(
                "the path is too long for a unix socket ({} bytes, at most {LONGEST_SOCKET})",
                path.len()
            ));
        }
        return Ok(SocketAddress::Unix(PathBuf::from(path)));
    }
    text.strip_prefix("tcp://")
        .and_then(|rest| rest.rsplit_once(':'))
        .and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let host = if host == "*" { "" } else { host };
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            Some(SocketAddress::Tcp { host, port })
        })
        .ok_or_else(|| format!("`{text}` is no address to listen at: {form}"))
}

/// The notifications it listens to, by supervisord's names.
fn listener(section: &mut Section<'_>, merge: bool) -> Option<ListenerSpec> {
    let buffer = section.get_spanned::<usize>("event_buffer");
    if let Some(buffer) = buffer.as_ref().filter(|buffer| buffer.value == 0) {
        section.report(
            Diagnostic::error("at least one notification must be able to wait").at(&buffer.place),
        );
    }
    let names = section.get_spanned::<Vec<String>>("listen_to")?;
    let mut events = Mask::NONE;
    for name in &names.value {
        if let Some(mask) = Mask::from_name(name) {
            events |= mask;
            continue;
        }
        let near = mainstay_base::nearest(name, Mask::names());
        let diagnostic =
            Diagnostic::error(format!("there are no notifications `{name}`")).at(&names.place);
        section.report(match near {
            Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
            None => diagnostic.help("name kinds of supervisord, as PROCESS_STATE or TICK_60"),
        });
    }
    if merge {
        section.report(
            Diagnostic::error("a listener's standard error cannot go where its protocol goes")
                .at(&names.place)
                .help("remove log.merge"),
        );
    }
    Some(ListenerSpec {
        events,
        buffer: buffer.map_or(10, |buffer| buffer.value.max(1)),
    })
}

fn reported<T>(section: &Section<'_>, result: Result<T, Diagnostic>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(diagnostic) => {
            section.report(diagnostic);
            None
        }
    }
}

/// Programs run in the directory of the config file that names them, unless they say otherwise:
/// so that `command = "python app.py"` means the same wherever mainstay was started.
fn config_dir(section: &Section<'_>) -> Option<PathBuf> {
    let parent = section.place().source.path().parent()?;
    (!parent.as_os_str().is_empty()).then(|| parent.to_owned())
}

fn command(section: &mut Section<'_>) -> Option<Vec<Template>> {
    let Some(value) = section.value("command") else {
        section.report(
            Diagnostic::error(format!("`{}.command` is missing", section.path()))
                .at(section.place())
                .help("write command = \"program argument …\", or [\"program\", \"argument\"]"),
        );
        return None;
    };
    let words = if value.is_str() {
        split(section, &value)
    } else {
        Vec::from_value(&value)
    };
    let words: Vec<Template> = reported(section, words)?;
    if words.first().is_none_or(|word| word.to_string().is_empty()) {
        section.report(value.error("there is no program in it"));
        return None;
    }
    if words.iter().any(Template::has_secret) {
        section.report(
            value
                .error("a secret in a command line can be read by every user of the host")
                .help("hand it over by the environment: env = { NAME = \"${secret.…}\" }"),
        );
    }
    Some(words)
}

/// Splits a command as a shell would, quotes and backslashes included, but without being one.
fn split(section: &Section<'_>, value: &Value<'_>) -> Result<Vec<Template>, Diagnostic> {
    // Notes the references in it, so that they are checked.
    Template::from_value(value)?;
    let text = value.as_str()?;
    if let Some(operator) = shell_operator(text) {
        section.report(
            Diagnostic::warning(format!(
                "`{}`: `{operator}` goes to the program as it is: no shell reads this command",
                value.path()
            ))
            .at(value.place())
            .help(format!(
                "if a shell is meant, write command = [\"sh\", \"-c\", {}]; if the character is \
                 meant, quote it",
                quoted(text)
            )),
        );
    }
    let words = shell_words::split(text).map_err(|_| value.error("a quote is not closed"))?;
    words
        .iter()
        .map(|word| Template::parse(word).map_err(|why| value.error(why)))
        .collect()
}

/// `text` as a TOML string: a literal one where that is possible, because it reads best.
fn quoted(text: &str) -> String {
    if text.contains('\'') || text.contains('\n') {
        format!("\"{}\"", text.escape_debug())
    } else {
        format!("'{text}'")
    }
}

/// The first thing outside of quotes that a shell would act on, and that splitting does not.
fn shell_operator(text: &str) -> Option<&'static str> {
    let mut chars = text.chars().peekable();
    let mut double = false;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match c {
            '\\' => {
                chars.next();
            }
            '\'' if !double => {
                chars.by_ref().find(|c| *c == '\'');
            }
            '"' => double = !double,
            '`' => return Some("`"),
            '$' if next == Some('(') => return Some("$("),
            '|' if !double => return Some(if next == Some('|') { "||" } else { "|" }),
            '&' if !double => return Some(if next == Some('&') { "&&" } else { "&" }),
            '>' if !double => return Some(if next == Some('>') { ">>" } else { ">" }),
            '<' if !double => return Some("<"),
            ';' if !double => return Some(";"),
            _ => {}
        }
    }
    None
}

fn environment(section: &mut Section<'_>) -> BTreeMap<String, Template> {
    let Some(env) = section.get_spanned::<BTreeMap<String, Template>>("env") else {
        return BTreeMap::new();
    };
    for name in env.value.keys() {
        if name.is_empty() || name.contains('=') || name.contains('\0') {
            section.report(
                Diagnostic::error(format!("`{name}` cannot be the name of a variable"))
                    .at(&env.place),
            );
        }
    }
    env.value
}

fn umask(value: &Value<'_>) -> Result<u32, Diagnostic> {
    let form = "write it in octal as a string: umask = \"022\"";
    let text = value.as_str().map_err(|d| d.help(form))?;
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| value.error(format!("`{text}` is not a umask")).help(form))
}

fn instances(section: &mut Section<'_>) -> u32 {
    let Some(instances) = section.get_spanned::<u32>("instances") else {
        return 1;
    };
    if (1..=1000).contains(&instances.value) {
        return instances.value;
    }
    section.report(
        Diagnostic::error(format!("`{}.instances` is from 1 to 1000", section.path()))
            .at(&instances.place)
            .help("to keep a program from starting write autostart = false"),
    );
    1
}

/// Seconds as a number, or a duration with its unit.
fn seconds(section: &mut Section<'_>, key: &str) -> Option<Duration> {
    let value = section.value(key)?;
    let read = if value.is_str() {
        Duration::from_value(&value)
    } else {
        f64::from_value(&value).and_then(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| value.error("a time span is a number of seconds, 0 or more"))
        })
    };
    reported(section, read)
}

fn policy(section: &mut Section<'_>) -> Policy {
    let mut policy = Policy::default();
    if let Some(start_secs) = seconds(section, "start_secs") {
        policy.start_secs = start_secs;
    }
    policy.start_retries = section.get::<u32>("start_retries");
    if let Some(codes) = section.get_spanned::<Vec<i32>>("exit_codes") {
        if let Some(code) = codes.value.iter().find(|code| !(0..=255).contains(*code)) {
            section.report(
                Diagnostic::error(format!("{code} is not an exit code"))
                    .at(&codes.place)
                    .label("exit codes are from 0 to 255"),
            );
        }
        policy.exit_codes = codes.value;
    }
    if let Some(restart) = section.section("restart") {
        read_restart(restart, &mut policy);
    }
    if let Some(stop) = section.section("stop") {
        read_stop(stop, &mut policy);
    }
    policy.settle = policy.settle.max(policy.start_secs);
    policy
}

fn read_restart(mut restart: Section<'_>, policy: &mut Policy) {
    if let Some(word) = restart.get_spanned::<String>("policy") {
        match word.value.as_str() {
            "always" => policy.autorestart = Autorestart::Always,
            "unexpected" => policy.autorestart = Autorestart::Unexpected,
            "never" => policy.autorestart = Autorestart::Never,
            other => {
                let near = mainstay_base::nearest(other, ["always", "unexpected", "never"]);
                let mut diagnostic =
                    Diagnostic::error(format!("`{other}` is not a restart policy")).at(&word.place);
                if let Some(near) = near {
                    diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
                }
                restart.report(
                    diagnostic
                        .help("always; unexpected: unless its exit code is in exit_codes; never"),
                );
            }
        }
    }
    if let Some(text) = restart.get_spanned::<String>("backoff")
        && let Some(backoff) = parsed(
            &restart,
            &text,
            parse_backoff,
            "the first delay and the longest, as in \"1s..60s\"; each failure doubles it",
        )
    {
        policy.backoff = backoff;
    }
    if let Some(text) = restart.get_spanned::<String>("give_up") {
        policy.give_up = parsed(
            &restart,
            &text,
            |text| parse_give_up(text, " in "),
            "so many deaths in so long, as in \"5 in 2m\"; at most 32",
        );
    }
    restart.finish();
}

fn parsed<T>(
    section: &Section<'_>,
    text: &Spanned<String>,
    parse: fn(&str) -> Option<T>,
    form: &str,
) -> Option<T> {
    let value = parse(&text.value);
    if value.is_none() {
        section.report(
            Diagnostic::error(format!("`{}` cannot be read", text.value))
                .at(&text.place)
                .help(format!("write {form}")),
        );
    }
    value
}

/// The first delay and the longest, as in `1s..60s`; each failure doubles it.
pub fn parse_backoff(text: &str) -> Option<Backoff> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let min = parse_duration(min.trim()).ok()?;
    let max = parse_duration(max.trim()).ok()?;
    (min >= Duration::from_millis(10) && max >= min).then_some(Backoff::Exponential { min, max })
}

/// So many deaths in so long, as in `5 in 2m` with `between` being ` in `.
pub fn parse_give_up(text: &str, between: &str) -> Option<GiveUp> {
    let (count, window) = text.split_once(between)?;
    let count: u8 = count.trim().parse().ok()?;
    let window = parse_duration(window.trim()).ok()?;
    ((1..=GIVE_UP_MAX).contains(&count) && !window.is_zero()).then_some(GiveUp { count, window })
}

fn read_stop(mut stop: Section<'_>, policy: &mut Policy) {
    if let Some(text) = stop.get_spanned::<String>("signal")
        && let Some(signal) = parsed(
            &stop,
            &text,
            Signal::from_name,
            "the name or number of a signal: \"TERM\", \"SIGINT\", \"3\"",
        )
    {
        policy.stop_signal = signal.number();
    }
    if let Some(wait) = seconds(&mut stop, "wait") {
        policy.stop_wait = wait;
    }
    if let Some(group) = stop.get::<bool>("group") {
        policy.stop_group = group;
        policy.kill_group = group;
    }
    stop.finish();
}

/// A limit: a number, a size, `"unlimited"`, or `{ soft, hard }` of these.
fn limits(mut section: Section<'_>) -> Vec<(Resource, u64, u64)> {
    section.planned(&["cpu_share", "memory"]);
    let mut limits = Vec::new();
    for name in Resource::names() {
        let Some(value) = section.value(name) else {
            continue;
        };
        let Some(resource) = Resource::from_name(name) else {
            continue;
        };
        let read = if value.is_table() {
            value.as_section().map(|mut both| {
                let soft = both.value("soft").and_then(|v| reported(&both, limit(&v)));
                let hard = both.value("hard").and_then(|v| reported(&both, limit(&v)));
                let place = both.place().clone();
                if let (Some(soft), Some(hard)) = (soft, hard)
                    && soft > hard
                {
                    both.report(
                        Diagnostic::error("the soft limit is above the hard limit").at(&place),
                    );
                }
                if soft.is_none() && hard.is_none() {
                    both.report(
                        Diagnostic::error(format!("`{}` says no limit", both.path()))
                            .at(&place)
                            .help("write a number, { soft = …, hard = … }, or \"unlimited\""),
                    );
                }
                both.finish();
                let hard = hard.or(soft).unwrap_or(UNLIMITED);
                (soft.unwrap_or(hard), hard)
            })
        } else {
            limit(&value).map(|both| (both, both))
        };
        if let Some((soft, hard)) = reported(&section, read) {
            limits.push((resource, soft, hard));
        }
    }
    section.finish();
    limits
}

fn limit(value: &Value<'_>) -> Result<u64, Diagnostic> {
    if value.is_str() && value.as_str()? == "unlimited" {
        return Ok(UNLIMITED);
    }
    Size::from_value(value)
        .map(|size| size.0)
        .map_err(|d| d.help("write a number, a size as in \"512MB\", or \"unlimited\""))
}

/// The `log` table of a program.
struct Logs {
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
    merge: bool,
    retain: Retention,
    tap: Tap,
    recognise: bool,
}

impl Logs {
    fn read(section: Option<Section<'_>>, name: &str, instances: u32, defaults: &Defaults) -> Self {
        let many = if instances > 1 { "@{instance}" } else { "" };
        let file = |stream: &str| Some(defaults.log_dir.join(format!("{name}{many}.{stream}.log")));
        let mut logs = Self {
            stdout: file("stdout"),
            stderr: file("stderr"),
            merge: false,
            retain: defaults.retain,
            tap: Tap::default(),
            recognise: true,
        };
        let Some(mut section) = section else {
            return logs;
        };
        section.planned(&["format", "level", "prefix", "route", "to"]);
        logs.merge = section.get::<bool>("merge").unwrap_or(false);
        for (key, target) in [("stdout", &mut logs.stdout), ("stderr", &mut logs.stderr)] {
            log_file(&mut section, key, instances, target);
        }
        if logs.merge && section.value("stderr").is_some() {
            section.report(
                Diagnostic::error("with merge = true, stderr has no file of its own")
                    .at(section.place())
                    .help("remove stderr, or merge"),
            );
        }
        if let (Some(stdout), Some(stderr)) = (&logs.stdout, &logs.stderr)
            && stdout == stderr
        {
            section.report(
                Diagnostic::error("stdout and stderr cannot share a file by its name")
                    .at(section.place())
                    .help("write merge = true: both then go through one pipe, in order"),
            );
        }
        logs.tap = Tap {
            strip_ansi: section.get("strip_ansi").unwrap_or(false),
            capture: section.get::<Size>("capture").map_or(0, |size| size.0),
            events: section.get("events").unwrap_or(false),
            syslog: section.get("syslog").unwrap_or(false),
            debug: false,
        };
        if let Some(word) = section.get_spanned::<String>("levels") {
            match word.value.as_str() {
                "recognise" => {}
                "stream" => logs.recognise = false,
                other => {
                    let text = format!("`{other}` is no way to tell the level of a line");
                    let mut diagnostic = Diagnostic::error(text).at(&word.place);
                    if let Some(near) = mainstay_base::nearest(other, ["recognise", "stream"]) {
                        diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
                    }
                    section.report(diagnostic.help(
                        "recognise: as the line says; stream: info for stdout, warn for stderr",
                    ));
                }
            }
        }
        logs.retain = Retention::read(&mut section, logs.retain);
        section.finish();
        logs
    }

    fn output(&self, path: Option<&PathBuf>, instance: u32) -> Output {
        match path {
            None => Output::Discard,
            Some(path) => Output::File {
                path: PathBuf::from(
                    path.to_string_lossy()
                        .replace("{instance}", &instance.to_string()),
                ),
                retain: self.retain,
            },
        }
    }
}

/// Reads where a stream goes; `"none"` is nowhere.
fn log_file(section: &mut Section<'_>, key: &str, instances: u32, target: &mut Option<PathBuf>) {
    let Some(value) = section.value(key) else {
        return;
    };
    if value.is_str() && matches!(value.as_str(), Ok("none")) {
        *target = None;
        return;
    }
    let Some(path) = section.get::<PathBuf>(key) else {
        return;
    };
    if instances > 1 && !path.to_string_lossy().contains("{instance}") {
        section.report(
            value
                .error("each instance needs a file of its own")
                .help("write {instance} where the number of the instance goes"),
        );
    }
    *target = Some(path);
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

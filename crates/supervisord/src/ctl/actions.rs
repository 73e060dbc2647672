//! The actions, but for those that stay: `tail -f` and `fg`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::failure::Failure;
use super::session::{Outcome, Session, exit, fault, is_missing};
use super::{full_name, split_name};
use crate::conf::{quote, values};
use crate::xmlrpc::{Fault, Value};

/// Bytes that `tail` and `maintail` show.
const TAIL: i64 = 1600;

/// States in which nothing runs: STOPPED, EXITED, FATAL, UNKNOWN.
const STOPPED_STATES: [i64; 4] = [0, 100, 200, 1000];

/// What became of one process.
struct Done {
    name: String,
    code: i32,
    /// The server's words.
    text: String,
}

impl Done {
    fn of(value: &Value) -> Self {
        let code = value.get("status").and_then(Value::as_int);
        Self {
            name: name_of(value),
            code: code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0),
            text: text_of(value, "description").to_owned(),
        }
    }

    fn one(name: &str, code: i32, text: String) -> Self {
        let name = match split_name(name) {
            (group, Some(process)) => full_name(group, process),
            (_, None) => name.to_owned(),
        };
        Self { name, code, text }
    }

    fn error(&self, text: &str) -> String {
        format!("{}: ERROR ({text})", self.name)
    }
}

fn text_of<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or("")
}

fn name_of(value: &Value) -> String {
    full_name(text_of(value, "group"), text_of(value, "name"))
}

/// An action that is done to processes, groups or all.
struct Verb {
    all: &'static str,
    group: Option<&'static str>,
    one: &'static str,
    show: fn(&Done) -> String,
    /// The fault that is as good as success.
    ignored: Option<i32>,
    /// The exit status where there is no such group.
    no_group: i32,
}

const START: Verb = Verb {
    all: "startAllProcesses",
    group: Some("startProcessGroup"),
    one: "startProcess",
    show: started,
    ignored: Some(fault::ALREADY_STARTED),
    no_group: exit::INVALID_ARGS,
};

const STOP: Verb = Verb {
    all: "stopAllProcesses",
    group: Some("stopProcessGroup"),
    one: "stopProcess",
    show: |done| signalled(done, "stopped"),
    ignored: Some(fault::NOT_RUNNING),
    no_group: exit::GENERIC,
};

const SIGNAL: Verb = Verb {
    all: "signalAllProcesses",
    group: Some("signalProcessGroup"),
    one: "signalProcess",
    show: |done| signalled(done, "signalled"),
    ignored: None,
    no_group: exit::GENERIC,
};

const CLEAR: Verb = Verb {
    all: "clearAllProcessLogs",
    group: None,
    one: "clearProcessLogs",
    show: cleared,
    ignored: None,
    no_group: exit::GENERIC,
};

fn started(done: &Done) -> String {
    match done.code {
        fault::SUCCESS => format!("{}: started", done.name),
        fault::BAD_NAME => done.error("no such process"),
        fault::NO_FILE => done.error("no such file"),
        fault::NOT_EXECUTABLE => done.error("file is not executable"),
        fault::ALREADY_STARTED => done.error("already started"),
        fault::SPAWN_ERROR => done.error("spawn error"),
        fault::ABNORMAL_TERMINATION => done.error("abnormal termination"),
        _ => done.error(&done.text),
    }
}

fn signalled(done: &Done, success: &str) -> String {
    match done.code {
        fault::SUCCESS => format!("{}: {success}", done.name),
        fault::BAD_NAME => done.error("no such process"),
        fault::BAD_SIGNAL => done.error("bad signal name"),
        fault::NOT_RUNNING => done.error("not running"),
        fault::FAILED => done.text.clone(),
        _ => done.error(&done.text),
    }
}

fn cleared(done: &Done) -> String {
    match done.code {
        fault::SUCCESS => format!("{}: cleared", done.name),
        fault::BAD_NAME => done.error("no such process"),
        fault::FAILED => done.error("failed"),
        _ => done.error(&done.text),
    }
}

impl Session<'_> {
    pub(super) fn start(&mut self, argument: &str) -> Outcome {
        self.named(&START, "start", argument, exit::INVALID_ARGS)
    }

    pub(super) fn stop(&mut self, argument: &str) -> Outcome {
        self.named(&STOP, "stop", argument, exit::GENERIC)
    }

    pub(super) fn clear(&mut self, argument: &str) -> Outcome {
        self.named(&CLEAR, "clear", argument, exit::GENERIC)
    }

    pub(super) fn restart(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let names: Vec<&str> = argument.split_whitespace().collect();
        if names.is_empty() {
            let text = "Error: restart requires a process name";
            return self.misuse(text, "restart", exit::GENERIC);
        }
        self.apply(&STOP, &names, None)?;
        self.apply(&START, &names, None)
    }

    pub(super) fn signal(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let words: Vec<&str> = argument.split_whitespace().collect();
        let [signal, names @ ..] = words.as_slice() else {
            return self.no_signal();
        };
        if names.is_empty() {
            return self.no_signal();
        }
        self.apply(&SIGNAL, names, Some(signal))
    }

    fn no_signal(&mut self) -> Outcome {
        let text = "Error: signal requires a signal name and a process name";
        self.misuse(text, "signal", exit::GENERIC)
    }

    fn named(&mut self, verb: &Verb, action: &str, argument: &str, no_name: i32) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let names: Vec<&str> = argument.split_whitespace().collect();
        if names.is_empty() {
            let text = format!("Error: {action} requires a process name");
            return self.misuse(&text, action, no_name);
        }
        self.apply(verb, &names, None)
    }

    fn apply(&mut self, verb: &Verb, names: &[&str], signal: Option<&str>) -> Outcome {
        let with = |name: Option<&str>| -> Vec<Value> {
            name.into_iter().chain(signal).map(Value::from).collect()
        };
        if names.contains(&"all") {
            let all = self.call(verb.all, &with(None))?;
            return self.tell(verb, &all);
        }
        for name in names {
            if let (group, None) = split_name(name)
                && let Some(method) = verb.group
            {
                match self.ask(method, &with(Some(group)))? {
                    Ok(results) => self.tell(verb, &results)?,
                    Err(fault) if fault.code == fault::BAD_NAME => {
                        *self.status = verb.no_group;
                        self.say(&format!("{group}: ERROR (no such group)"))?;
                    }
                    Err(fault) => return Err(Failure::Fault(fault)),
                }
                continue;
            }
            let done = match self.ask(verb.one, &with(Some(name)))? {
                Ok(_) => Done::one(name, fault::SUCCESS, String::new()),
                Err(fault) => Done::one(name, fault.code, fault.text),
            };
            self.say(&(verb.show)(&done))?;
            self.count(verb, done.code);
        }
        Ok(())
    }

    fn tell(&mut self, verb: &Verb, results: &Value) -> Outcome {
        let mut lines = String::new();
        for result in results.items() {
            let done = Done::of(result);
            lines.push_str(&(verb.show)(&done));
            lines.push('\n');
            self.count(verb, done.code);
        }
        self.write(&lines)
    }

    /// Makes a result count in the exit status.
    fn count(&mut self, verb: &Verb, code: i32) {
        match code {
            fault::SUCCESS => {}
            code if verb.ignored == Some(code) => {}
            fault::SPAWN_ERROR | fault::ABNORMAL_TERMINATION | fault::NOT_RUNNING => {
                *self.status = exit::NOT_RUNNING;
            }
            _ => *self.status = exit::GENERIC,
        }
    }

    pub(super) fn show_status(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            *self.status = exit::STATUS_UNKNOWN;
            return Ok(());
        }
        let all = self.call("getAllProcessInfo", &[])?;
        let mut lines = String::new();
        let infos = chosen(all.items(), argument, &mut lines);
        if !lines.is_empty() {
            *self.status = exit::STATUS_UNKNOWN;
        }
        let state = |info: &&Value| info.get("state").and_then(Value::as_int);
        let stopped = |info| state(info).is_some_and(|state| STOPPED_STATES.contains(&state));
        if infos.iter().any(stopped) {
            *self.status = exit::STATUS_NOT_RUNNING;
        }
        table(&infos, &mut lines);
        self.write(&lines)
    }

    pub(super) fn pid(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let number = |value: &Value| value.as_int().unwrap_or(0);
        let pid = |info: &Value| info.get("pid").map_or(0, number);
        let names: Vec<&str> = argument.split_whitespace().collect();
        if names.is_empty() {
            let pid = self.call("getPID", &[])?;
            return self.say(&number(&pid).to_string());
        }
        if names.contains(&"all") {
            let mut lines = String::new();
            for info in self.call("getAllProcessInfo", &[])?.items() {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{}", pid(info));
            }
            return self.write(&lines);
        }
        for name in names {
            match self.ask("getProcessInfo", &[name.into()])? {
                Ok(info) => {
                    let pid = pid(&info);
                    self.say(&pid.to_string())?;
                    if pid == 0 {
                        *self.status = exit::NOT_RUNNING;
                    }
                }
                Err(fault) if fault.code == fault::BAD_NAME => {
                    *self.status = exit::GENERIC;
                    self.say(&format!("No such process {name}"))?;
                }
                Err(fault) => return Err(Failure::Fault(fault)),
            }
        }
        Ok(())
    }

    pub(super) fn tail(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let mut words: Vec<&str> = argument.split_whitespace().collect();
        if words.is_empty() || words.len() > 3 {
            let how = if words.is_empty() { "few" } else { "many" };
            let text = format!("Error: too {how} arguments");
            return self.misuse(&text, "tail", exit::GENERIC);
        }
        let modifier = words[0].starts_with('-').then(|| words.remove(0));
        let Some(&name) = words.first() else {
            return self.refuse("Error: tail requires process name");
        };
        let channel = match words.as_slice() {
            [_] => "stdout".to_owned(),
            [.., last] => last.to_lowercase(),
            [] => String::new(),
        };
        if !matches!(channel.as_str(), "stdout" | "stderr") {
            return self.refuse(&format!("Error: bad channel {}", quote(&channel)));
        }
        if modifier == Some("-f") {
            return self.follow(&format!("/logtail/{name}/{channel}"));
        }
        let Some(bytes) = bytes_of(modifier) else {
            let modifier = modifier.unwrap_or("");
            return self.refuse(&format!("Error: bad argument {modifier}"));
        };
        let method = if channel == "stdout" {
            "readProcessStdoutLog"
        } else {
            "readProcessStderrLog"
        };
        let log = self.ask(method, &[name.into(), (-bytes).into(), 0.into()])?;
        self.show_log(name, log)
    }

    pub(super) fn main_tail(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let words: Vec<&str> = argument.split_whitespace().collect();
        let modifier = match words.as_slice() {
            [] => None,
            [one] => Some(*one),
            _ => {
                return self.misuse("Error: too many arguments", "maintail", exit::GENERIC);
            }
        };
        if modifier == Some("-f") {
            return self.follow("/mainlogtail");
        }
        let given = modifier.is_none_or(|modifier| modifier.starts_with('-'));
        let Some(bytes) = bytes_of(modifier).filter(|_| given) else {
            let modifier = modifier.unwrap_or("");
            return self.refuse(&format!("Error: bad argument {modifier}"));
        };
        let log = self.ask("readLog", &[(-bytes).into(), 0.into()])?;
        self.show_log("supervisord", log)
    }

    fn show_log(&mut self, name: &str, log: Result<Value, Fault>) -> Outcome {
        let why = match log {
            Ok(log) => return self.say(log.as_str().unwrap_or("")),
            Err(fault) => match fault.code {
                fault::NO_FILE => "no log file",
                fault::FAILED => "unknown error reading log",
                fault::BAD_NAME => "no such process name",
                _ => return Err(Failure::Fault(fault)),
            },
        };
        self.refuse(&format!("{name}: ERROR ({why})"))
    }

    /// Says why not, and makes it count.
    pub(super) fn refuse(&mut self, text: &str) -> Outcome {
        *self.status = exit::GENERIC;
        self.say(text)
    }

    pub(super) fn shutdown(&mut self, argument: &str) -> Outcome {
        let question = "Really shut the remote supervisord process down y/N? ";
        if !self.no_argument(argument, "shutdown")? || !self.is_sure(question) {
            return Ok(());
        }
        let url = self.settings.serverurl.clone();
        match self.ask("shutdown", &[]) {
            Ok(Ok(_)) => self.say("Shut down"),
            Ok(Err(fault)) if fault.code == fault::SHUTDOWN_STATE => {
                self.say("ERROR: already shutting down")
            }
            Ok(Err(fault)) => Err(Failure::Fault(fault)),
            Err(Failure::Connect(why)) if why.kind() == io::ErrorKind::ConnectionRefused => self
                .refuse(&format!(
                    "ERROR: {url} refused connection (already shut down?)"
                )),
            Err(Failure::Connect(why)) if is_missing(&why) => {
                self.refuse(&format!("ERROR: {url} no such file (already shut down?)"))
            }
            Err(other) => Err(other),
        }
    }

    pub(super) fn reload(&mut self, argument: &str) -> Outcome {
        let question = "Really restart the remote supervisord process y/N? ";
        if !self.no_argument(argument, "reload")? || !self.is_sure(question) {
            return Ok(());
        }
        match self.ask("restart", &[])? {
            Ok(_) => self.say("Restarted supervisord"),
            Err(fault) if fault.code == fault::SHUTDOWN_STATE => {
                self.refuse("ERROR: already shutting down")
            }
            Err(fault) => Err(Failure::Fault(fault)),
        }
    }

    fn is_sure(&mut self, question: &str) -> bool {
        !self.settings.interactive
            || self
                .console
                .ask(question)
                .is_some_and(|answer| answer.to_lowercase().starts_with('y'))
    }

    pub(super) fn avail(&mut self, argument: &str) -> Outcome {
        if !self.no_argument(argument, "avail")? {
            return Ok(());
        }
        let configs = match self.ask("getAllConfigInfo", &[])? {
            Ok(configs) => configs,
            Err(fault) if fault.code == fault::SHUTDOWN_STATE => {
                return self.refuse("ERROR: supervisor shutting down");
            }
            Err(fault) => return Err(Failure::Fault(fault)),
        };
        let mut lines = String::new();
        for config in configs.items() {
            let is = |member| config.get(member).and_then(Value::as_bool).unwrap_or(false);
            let number = |member| config.get(member).and_then(Value::as_int).unwrap_or(0);
            // Writing to a String cannot fail.
            let _ = writeln!(
                lines,
                "{:<32} {:<9} {:<9} {}:{}",
                name_of(config),
                if is("inuse") { "in use" } else { "avail" },
                if is("autostart") { "auto" } else { "manual" },
                number("group_prio"),
                number("process_prio")
            );
        }
        self.write(&lines)
    }

    pub(super) fn reread(&mut self, argument: &str) -> Outcome {
        if !self.no_argument(argument, "reread")? {
            return Ok(());
        }
        let Some(changes) = self.changes("ERROR: supervisor shutting down")? else {
            return Ok(());
        };
        let mut all = BTreeMap::new();
        for (names, what) in [
            (&changes.added, "available"),
            (&changes.changed, "changed"),
            (&changes.removed, "disappeared"),
        ] {
            all.extend(names.iter().map(|name| (name, what)));
        }
        if all.is_empty() {
            return self.say("No config updates to processes");
        }
        let mut lines = String::new();
        for (name, what) in all {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{name}: {what}");
        }
        self.write(&lines)
    }

    /// Makes the server read its config. `None` if it cannot; that has been said.
    fn changes(&mut self, shutting_down: &str) -> Result<Option<Changes>, Failure> {
        let text = match self.ask("reloadConfig", &[])? {
            Ok(answer) => return Ok(Some(Changes::of(&answer))),
            Err(fault) => match fault.code {
                fault::SHUTDOWN_STATE => shutting_down.to_owned(),
                fault::CANT_REREAD => format!("ERROR: {}", fault.text),
                _ => return Err(Failure::Fault(fault)),
            },
        };
        self.refuse(&text).map(|()| None)
    }

    pub(super) fn add(&mut self, argument: &str) -> Outcome {
        for name in argument.split_whitespace() {
            let text = match self.ask("addProcessGroup", &[name.into()])? {
                Ok(_) => {
                    self.say(&format!("{name}: added process group"))?;
                    continue;
                }
                Err(fault) => match fault.code {
                    fault::ALREADY_ADDED => {
                        self.say("ERROR: process group already active")?;
                        continue;
                    }
                    fault::SHUTDOWN_STATE => "ERROR: shutting down".to_owned(),
                    fault::BAD_NAME => format!("ERROR: no such process/group: {name}"),
                    _ => return Err(Failure::Fault(fault)),
                },
            };
            self.refuse(&text)?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, argument: &str) -> Outcome {
        for name in argument.split_whitespace() {
            let why = match self.ask("removeProcessGroup", &[name.into()])? {
                Ok(_) => {
                    self.say(&format!("{name}: removed process group"))?;
                    continue;
                }
                Err(fault) => match fault.code {
                    fault::STILL_RUNNING => "process/group still running",
                    fault::BAD_NAME => "no such process/group",
                    _ => return Err(Failure::Fault(fault)),
                },
            };
            self.refuse(&format!("ERROR: {why}: {name}"))?;
        }
        Ok(())
    }

    pub(super) fn update(&mut self, argument: &str) -> Outcome {
        let Some(changes) = self.changes("ERROR: already shutting down")? else {
            return Ok(());
        };
        let mut wanted: Vec<&str> = argument.split_whitespace().collect();
        if wanted.contains(&"all") {
            wanted.clear();
        }
        if !wanted.is_empty() {
            let infos = self.call("getAllProcessInfo", &[])?;
            let known = |name: &str| {
                changes.added.iter().any(|group| group == name)
                    || infos
                        .items()
                        .iter()
                        .any(|info| text_of(info, "group") == name)
            };
            for (at, name) in wanted.iter().enumerate() {
                if !known(name) && !wanted[..at].contains(name) {
                    self.refuse(&format!("ERROR: no such group: {name}"))?;
                }
            }
        }
        let is_wanted = |group: &&String| wanted.is_empty() || wanted.contains(&group.as_str());
        for group in changes.removed.iter().filter(is_wanted) {
            let results = self.call("stopProcessGroup", &[group.as_str().into()])?;
            self.say(&format!("{group}: stopped"))?;
            let failed = |result: &Value| Done::of(result).code == fault::FAILED;
            if results.items().iter().any(failed) {
                self.refuse(&format!("{group}: has problems; not removing"))?;
                continue;
            }
            self.call("removeProcessGroup", &[group.as_str().into()])?;
            self.say(&format!("{group}: removed process group"))?;
        }
        for group in changes.changed.iter().filter(is_wanted) {
            self.call("stopProcessGroup", &[group.as_str().into()])?;
            self.say(&format!("{group}: stopped"))?;
            self.call("removeProcessGroup", &[group.as_str().into()])?;
            self.call("addProcessGroup", &[group.as_str().into()])?;
            self.say(&format!("{group}: updated process group"))?;
        }
        for group in changes.added.iter().filter(is_wanted) {
            self.call("addProcessGroup", &[group.as_str().into()])?;
            self.say(&format!("{group}: added process group"))?;
        }
        Ok(())
    }

    pub(super) fn open(&mut self, argument: &str) -> Outcome {
        let scheme = argument
            .split_once(':')
            .map(|(scheme, _)| scheme.to_lowercase());
        if !matches!(scheme.as_deref(), Some("unix" | "http")) {
            return self.refuse("ERROR: url must be http:// or unix://");
        }
        argument.clone_into(&mut self.settings.serverurl);
        self.server = None;
        let status = *self.status;
        self.show_status("")?;
        *self.status = status;
        Ok(())
    }

    pub(super) fn version(&mut self, argument: &str) -> Outcome {
        if !self.no_argument(argument, "version")? || !self.is_up()? {
            return Ok(());
        }
        let version = self.call("getSupervisorVersion", &[])?;
        self.say(version.as_str().unwrap_or(""))
    }
}

/// The number in `-100`, or the default.
fn bytes_of(modifier: Option<&str>) -> Option<i64> {
    match modifier {
        None => Some(TAIL),
        Some(modifier) => values::integer(modifier.get(1..)?)
            .ok()
            .filter(|bytes| *bytes != i64::MIN),
    }
}

/// The processes that the argument of `status` names. Names that are none are said in `lines`.
fn chosen<'v>(all: &'v [Value], argument: &str, lines: &mut String) -> Vec<&'v Value> {
    let names: Vec<&str> = argument.split_whitespace().collect();
    if names.is_empty() || names.contains(&"all") {
        return all.iter().collect();
    }
    let mut chosen = Vec::new();
    for name in names {
        let (group, process) = split_name(name);
        let before = chosen.len();
        chosen.extend(all.iter().filter(|info| {
            text_of(info, "group") == group
                && process.is_none_or(|process| text_of(info, "name") == process)
        }));
        if chosen.len() == before {
            // Writing to a String cannot fail.
            let _ = match process {
                None => writeln!(lines, "{group}: ERROR (no such group)"),
                Some(_) => writeln!(lines, "{name}: ERROR (no such process)"),
            };
        }
    }
    chosen
}

/// The table of `status`: names of at least 30 characters, three spaces, the state in 10.
fn table(infos: &[&Value], lines: &mut String) {
    let names: Vec<String> = infos.iter().map(|info| name_of(info)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max();
    let width = longest.unwrap_or(0).max(30) + 3;
    for (info, name) in infos.iter().zip(&names) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            lines,
            "{name:<width$}{:<10}{}",
            text_of(info, "statename"),
            text_of(info, "description")
        );
    }
}

/// What `reloadConfig` found, as names of groups.
struct Changes {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Changes {
    fn of(answer: &Value) -> Self {
        let lists = answer.items().first().map_or(&[][..], Value::items);
        let names = |at: usize| -> Vec<String> {
            let list = lists.get(at).map_or(&[][..], Value::items);
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        Self {
            added: names(0),
            changed: names(1),
            removed: names(2),
        }
    }
}

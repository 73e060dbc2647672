//! What every action needs while one line is obeyed.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::failure::Failure;
use super::help;
use super::server::Server;
use super::{Console, Flow, Settings};
use crate::xmlrpc::{Fault, Value};

/// The version of the API that is spoken.
const API_VERSION: &str = "3.0";

/// Faults of the server, spec section 1.5.
pub(super) mod fault {
    pub(crate) const UNKNOWN_METHOD: i32 = 1;
    pub(crate) const SHUTDOWN_STATE: i32 = 6;
    pub(crate) const BAD_NAME: i32 = 10;
    pub(crate) const BAD_SIGNAL: i32 = 11;
    pub(crate) const NO_FILE: i32 = 20;
    pub(crate) const NOT_EXECUTABLE: i32 = 21;
    pub(crate) const FAILED: i32 = 30;
    pub(crate) const ABNORMAL_TERMINATION: i32 = 40;
    pub(crate) const SPAWN_ERROR: i32 = 50;
    pub(crate) const ALREADY_STARTED: i32 = 60;
    pub(crate) const NOT_RUNNING: i32 = 70;
    pub(crate) const SUCCESS: i32 = 80;
    pub(crate) const ALREADY_ADDED: i32 = 90;
    pub(crate) const STILL_RUNNING: i32 = 91;
    pub(crate) const CANT_REREAD: i32 = 92;
}

/// Exit statuses, those of LSB init scripts.
pub(super) mod exit {
    pub(crate) const GENERIC: i32 = 1;
    pub(crate) const INVALID_ARGS: i32 = 2;
    pub(crate) const UNIMPLEMENTED_FEATURE: i32 = 3;
    pub(crate) const INSUFFICIENT_PRIVILEGES: i32 = 4;
    pub(crate) const NOT_INSTALLED: i32 = 5;
    pub(crate) const NOT_RUNNING: i32 = 7;
    /// Of `status` alone: something is not running.
    pub(crate) const STATUS_NOT_RUNNING: i32 = 3;
    /// Of `status` alone: something is not known.
    pub(crate) const STATUS_UNKNOWN: i32 = 4;
}

/// One line being obeyed.
pub(super) struct Session<'s> {
    pub(super) server: Option<Server>,
    pub(super) settings: &'s mut Settings,
    pub(super) console: &'s mut dyn Console,
    pub(super) interrupt: &'s Arc<AtomicBool>,
    pub(super) status: &'s mut i32,
    pub(super) out: &'s mut (dyn Write + Send),
}

pub(super) type Outcome = Result<(), Failure>;

impl Session<'_> {
    /// Obeys an action. `line` is for the message that there is no such action.
    pub(super) fn obey(
        &mut self,
        action: &str,
        argument: &str,
        line: &str,
    ) -> Result<Flow, Failure> {
        match action {
            "add" => self.add(argument),
            "avail" => self.avail(argument),
            "clear" => self.clear(argument),
            "fg" => self.foreground(argument),
            "help" => self.help(argument),
            "maintail" => self.main_tail(argument),
            "open" => self.open(argument),
            "pid" => self.pid(argument),
            "reload" => self.reload(argument),
            "remove" => self.remove(argument),
            "reread" => self.reread(argument),
            "restart" => self.restart(argument),
            "shutdown" => self.shutdown(argument),
            "signal" => self.signal(argument),
            "start" => self.start(argument),
            "status" => self.show_status(argument),
            "stop" => self.stop(argument),
            "tail" => self.tail(argument),
            "update" => self.update(argument),
            "version" => self.version(argument),
            "quit" | "exit" | "EOF" => {
                // Who leaves has left, also when nobody hears it: a shell without an output that
                // went on would never end.
                let _ = self.say("");
                return Ok(Flow::Quit);
            }
            _ => {
                *self.status = exit::GENERIC;
                self.say(&format!("*** Unknown syntax: {line}"))
            }
        }
        .map(|()| Flow::Continue)
    }

    /// Writes one or more lines.
    pub(super) fn say(&mut self, text: &str) -> Outcome {
        let mut line = String::with_capacity(text.len() + 1);
        line.push_str(text);
        line.push('\n');
        self.write(&line)
    }

    /// Writes lines that have their ends.
    pub(super) fn write(&mut self, lines: &str) -> Outcome {
        let written = self.out.write_all(lines.as_bytes());
        written
            .and_then(|()| self.out.flush())
            .map_err(Failure::Output)
    }

    /// Says what is wrong with the line, and how the action is used.
    pub(super) fn misuse(&mut self, text: &str, action: &str, status: i32) -> Outcome {
        *self.status = status;
        self.say(text)?;
        self.write(help::of(action).unwrap_or(""))
    }

    /// For actions without arguments: whether there is none. If there is, says so.
    pub(super) fn no_argument(&mut self, argument: &str, action: &str) -> Result<bool, Failure> {
        if argument.is_empty() {
            return Ok(true);
        }
        let text = format!("Error: {action} accepts no arguments");
        self.misuse(&text, action, exit::GENERIC)?;
        Ok(false)
    }

    /// The server, connected to when it is first asked.
    pub(super) fn server(&mut self) -> Result<&mut Server, Failure> {
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::new(self.settings, self.interrupt.clone())?,
        };
        Ok(self.server.insert(server))
    }

    pub(super) fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Failure> {
        self.server()?.call(method, params)
    }

    /// As [`call`](Self::call), with a fault that the caller has words for.
    pub(super) fn ask(
        &mut self,
        method: &str,
        params: &[Value],
    ) -> Result<Result<Value, Fault>, Failure> {
        match self.call(method, params) {
            Ok(value) => Ok(Ok(value)),
            Err(Failure::Fault(fault)) => Ok(Err(fault)),
            Err(other) => Err(other),
        }
    }

    /// Whether there is a server and it is one that we can talk to. If not, says so.
    pub(super) fn is_up(&mut self) -> Result<bool, Failure> {
        let url = self.settings.serverurl.clone();
        let (text, status) = match self.call("getVersion", &[]) {
            Ok(version) => match version.as_str().unwrap_or_default() {
                API_VERSION => return Ok(true),
                version => (
                    format!(
                        "Sorry, this version of supervisorctl expects to talk to a server with \
                         API version {API_VERSION}, but the remote version is {version}."
                    ),
                    exit::NOT_INSTALLED,
                ),
            },
            Err(Failure::Fault(fault)) if fault.code == fault::UNKNOWN_METHOD => (
                "Sorry, supervisord responded but did not recognize the supervisor namespace \
                 commands that supervisorctl uses to control it.  Please check that the \
                 [rpcinterface:supervisor] section is enabled in the configuration file (see \
                 sample.conf)."
                    .to_owned(),
                exit::UNIMPLEMENTED_FEATURE,
            ),
            Err(Failure::Connect(why)) if why.kind() == io::ErrorKind::ConnectionRefused => (
                format!("{url} refused connection"),
                exit::INSUFFICIENT_PRIVILEGES,
            ),
            Err(Failure::Connect(why)) if is_missing(&why) => {
                (format!("{url} no such file"), exit::NOT_RUNNING)
            }
            Err(other) => return Err(other),
        };
        *self.status = status;
        self.say(&text)?;
        Ok(false)
    }

    fn help(&mut self, topic: &str) -> Outcome {
        if topic.is_empty() {
            return self.write(help::LISTING);
        }
        match help::of(topic) {
            Some(text) => self.write(text),
            None => self.say(&format!("*** No help on {topic}")),
        }
    }
}

/// Whether the socket is not there: ENOENT, and not a host that has no address.
pub(super) fn is_missing(why: &io::Error) -> bool {
    why.kind() == io::ErrorKind::NotFound && why.raw_os_error().is_some()
}

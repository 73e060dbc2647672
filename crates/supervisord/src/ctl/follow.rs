//! `tail -f` and `fg`: actions that stay until the person has seen enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::Console;
use super::failure::Failure;
use super::server::Server;
use super::session::{Outcome, Session, exit, fault};
use crate::xmlrpc::{Fault, Value};

/// The state of a process that can be talked to.
const RUNNING: i64 = 20;

impl Session<'_> {
    /// Shows what is appended to a log, until the server ends it or the person interrupts.
    pub(super) fn follow(&mut self, path: &str) -> Outcome {
        self.say("==> Press Ctrl-C to exit <==")?;
        let interrupt = self.interrupt.clone();
        self.server()?;
        let Some(server) = &self.server else {
            return Ok(());
        };
        let out = &mut *self.out;
        let followed = server.follow(path, interrupt, |bytes| {
            out.write_all(bytes)?;
            out.flush()
        });
        match followed {
            Err(Failure::Interrupted) => self.say(""),
            Err(Failure::Http { status, .. }) if status != 401 => {
                let url = &self.settings.serverurl;
                let text = format!("{url}{path} Cannot read, status code {status}");
                self.refuse(&text)
            }
            other => other,
        }
    }

    pub(super) fn foreground(&mut self, argument: &str) -> Outcome {
        if !self.is_up()? {
            return Ok(());
        }
        let names: Vec<&str> = argument.split_whitespace().collect();
        let name = match names.as_slice() {
            [] => {
                let text = "ERROR: no process name supplied";
                return self.misuse(text, "fg", exit::GENERIC);
            }
            [name] => *name,
            _ => return self.refuse("ERROR: too many process names supplied"),
        };
        match self.ask("getProcessInfo", &[name.into()])? {
            Ok(info) if is_running(&info) => {}
            Ok(_) => return self.refuse("ERROR: process not running"),
            Err(fault) if fault.code == fault::BAD_NAME => {
                return self.refuse("ERROR: bad process name supplied");
            }
            Err(fault) => return self.refuse(&error(&fault)),
        }
        self.say("==> Press Ctrl-C to exit <==")?;
        self.server()?;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        let out = Mutex::new(&mut *self.out);
        // A server to call, and one for each log: what is followed holds its connection.
        let logs = [
            Server::new(self.settings, self.interrupt.clone())?,
            Server::new(self.settings, self.interrupt.clone())?,
        ];
        let ended = Arc::new(AtomicBool::new(false));
        let said = thread::scope(|scope| {
            for (log, channel) in logs.iter().zip(["stdout", "stderr"]) {
                let path = format!("/logtail/{name}/{channel}");
                let (ended, out) = (ended.clone(), &out);
                scope.spawn(move || {
                    // There may be no such log; what is typed still arrives.
                    let _ = log.follow(&path, ended, |bytes| {
                        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                        out.write_all(bytes)?;
                        out.flush()
                    });
                });
            }
            let said = talk(server, self.console, name);
            ended.store(true, Ordering::Relaxed);
            said
        })?;
        for line in said {
            self.say(&line)?;
        }
        self.say("Exiting foreground")
    }
}

/// Sends the person's lines to the process, until one of the two is gone. Gives what there is to
/// say about it.
fn talk(
    server: &mut Server,
    console: &mut dyn Console,
    name: &str,
) -> Result<Vec<String>, Failure> {
    let gone = || Ok(vec!["Process got killed".to_owned()]);
    while let Some(line) = console.ask("") {
        match server.call("sendProcessStdin", &[name.into(), (line + "\n").into()]) {
            Ok(_) => {}
            Err(Failure::Fault(fault)) if fault.code == fault::NOT_RUNNING => return gone(),
            Err(Failure::Fault(fault)) => return Ok(vec![error(&fault)]),
            Err(Failure::Interrupted) => break,
            Err(other) => return Err(other),
        }
        match server.call("getProcessInfo", &[name.into()]) {
            Ok(info) if is_running(&info) => {}
            Err(Failure::Interrupted) => break,
            Err(Failure::Fault(_)) | Ok(_) => return gone(),
            Err(other) => return Err(other),
        }
    }
    Ok(Vec::new())
}

fn is_running(info: &Value) -> bool {
    info.get("state").and_then(Value::as_int) == Some(RUNNING)
}

fn error(fault: &Fault) -> String {
    format!(
        "ERROR: <Fault {}: {}>",
        fault.code,
        crate::conf::quote(&fault.text)
    )
}

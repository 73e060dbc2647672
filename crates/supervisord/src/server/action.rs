//! What the buttons and links of the status page do.

use crate::conf;
use crate::namespec;
use crate::rpc::faults::Code;
use crate::rpc::{Allowance, Answer, Host, Rpc, Supervision, times};
use crate::xmlrpc::{Fault, Value};

/// An action that there is not, or not without a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoSuchAction;

/// The words for a failed start.
fn start_error(name: &str, fault: &Fault) -> String {
    let why = [
        (Code::NoFile, "no such file"),
        (Code::NotExecutable, "file not executable"),
        (Code::AlreadyStarted, "already started"),
        (Code::SpawnError, "spawn error"),
        (Code::AbnormalTermination, "abnormal termination"),
    ]
    .into_iter()
    .find(|(code, _)| code.is(fault))
    .map_or_else(|| unexpected(fault), |(_, why)| why.to_owned());
    format!("ERROR: Process {name}: {why}")
}

pub(super) fn unexpected(fault: &Fault) -> String {
    format!("unexpected rpc fault [{}] {}", fault.code, fault.text)
}

/// Whether an action changes something.
pub(super) fn changes(action: &str) -> bool {
    action != "refresh"
}

/// Does it, and says what became of it. Ends when it is done.
pub(super) async fn act<S: Supervision, H: Host>(
    rpc: &Rpc<S, H>,
    action: &str,
    process: Option<&str>,
) -> Result<String, NoSuchAction> {
    let call = async |method: &str, params: &[Value]| -> Result<Answer, Fault> {
        rpc.call(method, params, &mut Allowance::default()).await
    };
    let now = || times::ctime(rpc.now(), rpc.zone());
    match action {
        "refresh" => return Ok(format!("Page refreshed at {}", now())),
        "stopall" => {
            return Ok(match call("supervisor.stopAllProcesses", &[]).await {
                Ok(_) => format!("All stopped at {}", now()),
                Err(fault) => unexpected(&fault),
            });
        }
        "restartall" => {
            let result = match call("supervisor.stopAllProcesses", &[]).await {
                Ok(_) => call("supervisor.startAllProcesses", &[]).await,
                Err(fault) => Err(fault),
            };
            return Ok(match result {
                Ok(_) => format!("All restarted at {}", now()),
                Err(fault) => unexpected(&fault),
            });
        }
        _ => {}
    }
    let name = process.ok_or(NoSuchAction)?;
    if !["start", "stop", "restart", "clearlog"].contains(&action) {
        return Err(NoSuchAction);
    }
    // A group is none here, as in the original.
    if namespec::split(name).1.is_none() {
        return Ok(format!("No such process named {name}"));
    }
    match rpc.process(name).await {
        Err(fault) if Code::BadName.is(&fault) => {
            return Ok(format!("No such process named {name}"));
        }
        _ => {}
    }
    let params = [Value::from(name)];
    Ok(match action {
        "start" => match call("supervisor.startProcess", &params).await {
            Ok(_) => format!("Process {name} started"),
            Err(fault) => start_error(name, &fault),
        },
        "stop" => match call("supervisor.stopProcess", &params).await {
            Ok(_) => format!("Process {name} stopped"),
            Err(fault) => unexpected(&fault),
        },
        "restart" => {
            // One that was not running is started all the same.
            let _ = call("supervisor.stopProcess", &params).await;
            match call("supervisor.startProcess", &params).await {
                Ok(_) => format!("Process {name} restarted"),
                // The original says that it was restarted, whatever became of it.
                Err(fault) => start_error(name, &fault),
            }
        }
        _ => match call("supervisor.clearProcessLogs", &params).await {
            Ok(_) => format!("Log for {name} cleared"),
            Err(fault) => unexpected(&fault),
        },
    })
}

/// A text of a client in a line of the log: in quotes when it could be taken for something else.
pub(super) fn shown(text: &str) -> String {
    if text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        text.to_owned()
    } else {
        conf::quote(&text.chars().take(200).collect::<String>())
    }
}

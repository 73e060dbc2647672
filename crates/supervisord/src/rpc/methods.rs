//! Which methods there are. A name that is not in this one flat table is no method: nothing is
//! looked up in anything else, which is what CVE-2017-11610 was made of.

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `supervisor.addProcessGroup`
    AddProcessGroup,
    /// `supervisor.clearAllProcessLogs`
    ClearAllProcessLogs,
    /// `supervisor.clearLog`
    ClearLog,
    /// `supervisor.clearProcessLogs`
    ClearProcessLogs,
    /// `supervisor.getAPIVersion`
    GetApiVersion,
    /// `supervisor.getAllConfigInfo`
    GetAllConfigInfo,
    /// `supervisor.getAllProcessInfo`
    GetAllProcessInfo,
    /// `supervisor.getIdentification`
    GetIdentification,
    /// `supervisor.getPID`
    GetPid,
    /// `supervisor.getProcessInfo`
    GetProcessInfo,
    /// `supervisor.getState`
    GetState,
    /// `supervisor.getSupervisorVersion`
    GetSupervisorVersion,
    /// `supervisor.readLog`
    ReadLog,
    /// `supervisor.readProcessStdoutLog`
    ReadProcessStdoutLog,
    /// `supervisor.readProcessStderrLog`
    ReadProcessStderrLog,
    /// `supervisor.reloadConfig`
    ReloadConfig,
    /// `supervisor.removeProcessGroup`
    RemoveProcessGroup,
    /// `supervisor.restart`
    Restart,
    /// `supervisor.sendProcessStdin`
    SendProcessStdin,
    /// `supervisor.sendRemoteCommEvent`
    SendRemoteCommEvent,
    /// `supervisor.shutdown`
    Shutdown,
    /// `supervisor.signalAllProcesses`
    SignalAllProcesses,
    /// `supervisor.signalProcess`
    SignalProcess,
    /// `supervisor.signalProcessGroup`
    SignalProcessGroup,
    /// `supervisor.startAllProcesses`
    StartAllProcesses,
    /// `supervisor.startProcess`
    StartProcess,
    /// `supervisor.startProcessGroup`
    StartProcessGroup,
    /// `supervisor.stopAllProcesses`
    StopAllProcesses,
    /// `supervisor.stopProcess`
    StopProcess,
    /// `supervisor.stopProcessGroup`
    StopProcessGroup,
    /// `supervisor.tailProcessStdoutLog`
    TailProcessStdoutLog,
    /// `supervisor.tailProcessStderrLog`
    TailProcessStderrLog,
    /// `system.listMethods`
    ListMethods,
    /// `system.methodHelp`
    MethodHelp,
    /// `system.methodSignature`
    MethodSignature,
    /// `system.multicall`
    Multicall,
}

/// What is known of a method under one of its names.
#[derive(Debug)]
pub struct Entry {
    /// The name that clients call.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The type of its answer, then those of its arguments.
    pub signature: &'static [&'static str],
    /// How many of the arguments, from the end, may be left out.
    pub optional: usize,
    /// What it does, for people.
    pub help: &'static str,
}

impl Entry {
    /// Whether that many arguments are neither too few nor too many.
    pub fn takes(&self, count: usize) -> bool {
        let most = self.signature.len() - 1;
        (most - self.optional..=most).contains(&count)
    }
}

const fn entry(
    name: &'static str,
    method: Method,
    signature: &'static [&'static str],
    optional: usize,
    help: &'static str,
) -> Entry {
    Entry {
        name,
        method,
        signature,
        optional,
        help,
    }
}

const READ: &str = "Part of the log of a process. A negative offset counts from the end, and then \
                    the length must be 0; a length of 0 reads to the end.";
const TAIL: &str = "The newest part of the log of a process: [text, size of the log, whether it \
                    has grown by more than was asked for].";
const START_MANY: &str = "Starts the processes that do not run. With `wait`, which is the default, \
                          the answer comes when all have settled: a struct for each, of name, \
                          group, status and description.";
const STOP_MANY: &str = "Stops the processes that run. With `wait`, which is the default, the \
                         answer comes when all are gone: a struct for each, of name, group, status \
                         and description.";

/// All names, sorted.
pub static METHODS: &[Entry] = &[
    entry(
        "supervisor.addProcessGroup",
        Method::AddProcessGroup,
        &["boolean", "string"],
        0,
        "Takes in a group that the config read last has, and starts what starts by itself.",
    ),
    entry(
        "supervisor.clearAllProcessLogs",
        Method::ClearAllProcessLogs,
        &["array"],
        0,
        OF_ALL_CLEAR,
    ),
    entry(
        "supervisor.clearLog",
        Method::ClearLog,
        &["boolean"],
        0,
        "Empties the log of the daemon.",
    ),
    entry(
        "supervisor.clearProcessLog",
        Method::ClearProcessLogs,
        &["boolean", "string"],
        0,
        CLEAR,
    ),
    entry(
        "supervisor.clearProcessLogs",
        Method::ClearProcessLogs,
        &["boolean", "string"],
        0,
        CLEAR,
    ),
    entry(
        "supervisor.getAPIVersion",
        Method::GetApiVersion,
        &["string"],
        0,
        API_VERSION,
    ),
    entry(
        "supervisor.getAllConfigInfo",
        Method::GetAllConfigInfo,
        &["array"],
        0,
        "A struct for each process of the config read last, in use or not.",
    ),
    entry(
        "supervisor.getAllProcessInfo",
        Method::GetAllProcessInfo,
        &["array"],
        0,
        "How all processes are, sorted by group and name: structs as of getProcessInfo.",
    ),
    entry(
        "supervisor.getIdentification",
        Method::GetIdentification,
        &["string"],
        0,
        "The identifier that the config gives the daemon.",
    ),
    entry(
        "supervisor.getPID",
        Method::GetPid,
        &["int"],
        0,
        "The process id of the daemon.",
    ),
    entry(
        "supervisor.getProcessInfo",
        Method::GetProcessInfo,
        &["struct", "string"],
        0,
        "How a process is, `name` or `group:name`.",
    ),
    entry(
        "supervisor.getState",
        Method::GetState,
        &["struct"],
        0,
        "How the daemon is: statecode and statename.",
    ),
    entry(
        "supervisor.getSupervisorVersion",
        Method::GetSupervisorVersion,
        &["string"],
        0,
        "The version of supervisord that the daemon behaves like.",
    ),
    entry(
        "supervisor.getVersion",
        Method::GetApiVersion,
        &["string"],
        0,
        API_VERSION,
    ),
    entry(
        "supervisor.readLog",
        Method::ReadLog,
        &["string", "int", "int"],
        0,
        READ_MAIN,
    ),
    entry(
        "supervisor.readMainLog",
        Method::ReadLog,
        &["string", "int", "int"],
        0,
        READ_MAIN,
    ),
    entry(
        "supervisor.readProcessLog",
        Method::ReadProcessStdoutLog,
        &["string", "string", "int", "int"],
        0,
        READ,
    ),
    entry(
        "supervisor.readProcessStderrLog",
        Method::ReadProcessStderrLog,
        &["string", "string", "int", "int"],
        0,
        READ,
    ),
    entry(
        "supervisor.readProcessStdoutLog",
        Method::ReadProcessStdoutLog,
        &["string", "string", "int", "int"],
        0,
        READ,
    ),
    entry(
        "supervisor.reloadConfig",
        Method::ReloadConfig,
        &["array"],
        0,
        "Reads the config again and changes nothing: [[added, changed, removed]] names of groups.",
    ),
    entry(
        "supervisor.removeProcessGroup",
        Method::RemoveProcessGroup,
        &["boolean", "string"],
        0,
        "Forgets a group whose processes are all down.",
    ),
    entry(
        "supervisor.restart",
        Method::Restart,
        &["boolean"],
        0,
        "Stops all processes, reads the config again and starts anew.",
    ),
    entry(
        "supervisor.sendProcessStdin",
        Method::SendProcessStdin,
        &["boolean", "string", "string"],
        0,
        "Writes a text to the standard input of a process, as UTF-8.",
    ),
    entry(
        "supervisor.sendRemoteCommEvent",
        Method::SendRemoteCommEvent,
        &["boolean", "string", "string"],
        0,
        "Sends an event of type REMOTE_COMMUNICATION, with this type and data, to the listeners.",
    ),
    entry(
        "supervisor.shutdown",
        Method::Shutdown,
        &["boolean"],
        0,
        "Stops all processes and ends the daemon.",
    ),
    entry(
        "supervisor.signalAllProcesses",
        Method::SignalAllProcesses,
        &["array", "string"],
        0,
        SIGNAL_MANY,
    ),
    entry(
        "supervisor.signalProcess",
        Method::SignalProcess,
        &["boolean", "string", "string"],
        0,
        "Sends a signal, by name (`HUP`) or number, to a process, or with `group:*` to a group.",
    ),
    entry(
        "supervisor.signalProcessGroup",
        Method::SignalProcessGroup,
        &["array", "string", "string"],
        0,
        SIGNAL_MANY,
    ),
    entry(
        "supervisor.startAllProcesses",
        Method::StartAllProcesses,
        &["array", "boolean"],
        1,
        START_MANY,
    ),
    entry(
        "supervisor.startProcess",
        Method::StartProcess,
        &["boolean", "string", "boolean"],
        1,
        "Starts a process, or with `group:*` a group. With `wait`, which is the default, the \
         answer comes when it has started or failed.",
    ),
    entry(
        "supervisor.startProcessGroup",
        Method::StartProcessGroup,
        &["array", "string", "boolean"],
        1,
        START_MANY,
    ),
    entry(
        "supervisor.stopAllProcesses",
        Method::StopAllProcesses,
        &["array", "boolean"],
        1,
        STOP_MANY,
    ),
    entry(
        "supervisor.stopProcess",
        Method::StopProcess,
        &["boolean", "string", "boolean"],
        1,
        "Stops a process, or with `group:*` a group. With `wait`, which is the default, the \
         answer comes when it is gone.",
    ),
    entry(
        "supervisor.stopProcessGroup",
        Method::StopProcessGroup,
        &["array", "string", "boolean"],
        1,
        STOP_MANY,
    ),
    entry(
        "supervisor.tailProcessLog",
        Method::TailProcessStdoutLog,
        &["array", "string", "int", "int"],
        0,
        TAIL,
    ),
    entry(
        "supervisor.tailProcessStderrLog",
        Method::TailProcessStderrLog,
        &["array", "string", "int", "int"],
        0,
        TAIL,
    ),
    entry(
        "supervisor.tailProcessStdoutLog",
        Method::TailProcessStdoutLog,
        &["array", "string", "int", "int"],
        0,
        TAIL,
    ),
    entry(
        "system.listMethods",
        Method::ListMethods,
        &["array"],
        0,
        "The names of all methods.",
    ),
    entry(
        "system.methodHelp",
        Method::MethodHelp,
        &["string", "string"],
        0,
        "What a method does.",
    ),
    entry(
        "system.methodSignature",
        Method::MethodSignature,
        &["array", "string"],
        0,
        "The type of a method's answer, then those of its arguments.",
    ),
    entry(
        "system.multicall",
        Method::Multicall,
        &["array", "array"],
        0,
        "Makes several calls, structs of methodName and params, one after the other. The answer \
         has a value for each, or a struct of faultCode and faultString.",
    ),
];

const OF_ALL_CLEAR: &str = "Empties the logs of all processes. The answer has a struct for each \
                            process: name, group, status, description.";
const CLEAR: &str = "Empties the logs of a process and deletes those that were rolled.";
const API_VERSION: &str = "The version of this API.";
const READ_MAIN: &str = "Part of the log of the daemon. A negative offset counts from the end, and \
                         then the length must be 0; a length of 0 reads to the end.";
const SIGNAL_MANY: &str = "Sends a signal, by name (`HUP`) or number, to all processes that run. \
                           The answer has a struct for each: name, group, status, description.";

/// The method of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    METHODS
        .binary_search_by(|entry| entry.name.cmp(name))
        .ok()
        .map(|at| &METHODS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(METHODS.len(), 41);
        for entry in METHODS {
            assert!(std::ptr::eq(find(entry.name).unwrap(), entry));
            assert!(!entry.help.is_empty() && !entry.signature.is_empty());
            assert!(entry.takes(entry.signature.len() - 1), "{}", entry.name);
            assert!(!entry.takes(entry.signature.len()), "{}", entry.name);
        }
    }
}

//! What `help` says.

/// The actions, in the order of the alphabet.
pub(super) const ACTIONS: &[&str] = &[
    "add", "avail", "clear", "exit", "fg", "help", "maintail", "open", "pid", "quit", "reload",
    "remove", "reread", "restart", "shutdown", "signal", "start", "status", "stop", "tail",
    "update", "version",
];

/// What `help` alone says, in the columns in which Python's `cmd` sets them.
pub(super) const LISTING: &str = "
default commands (type help <topic>):
=====================================
add    exit      open  reload  restart   start   tail   
avail  fg        pid   remove  shutdown  status  update 
clear  maintail  quit  reread  signal    stop    version

";

/// The help on an action, each line with its end.
pub(super) fn of(action: &str) -> Option<&'static str> {
    Some(match action {
        "add" => "add <name> [...]\tMake groups that reread found new part of the running daemon\n",
        "avail" => "avail\t\t\tList all processes of the config\n",
        "clear" => {
            "clear <name>\t\tEmpty the logs of a process\n\
             clear <name> <name>\tEmpty the logs of several processes\n\
             clear all\t\tEmpty the logs of all processes\n"
        }
        "exit" => "exit\tLeave this shell\n",
        "fg" => {
            "fg <process>\tType to a process and see what it prints\n\
             \t\tCtrl-C leaves it running\n"
        }
        "help" => {
            "help\t\tList the actions\n\
             help <action>\tTell how an action is used\n"
        }
        "maintail" => {
            "maintail -f\tFollow the daemon's log (Ctrl-C ends it)\n\
             maintail -100\tThe last 100 *bytes* of the daemon's log\n\
             maintail\tThe last 1600 *bytes* of the daemon's log\n"
        }
        "open" => {
            "open <url>\tTalk to another daemon\n\
             \t\t(http://host:port, or unix:///path/of/the/socket)\n"
        }
        "pid" => {
            "pid\t\t\tThe PID of the daemon\n\
             pid <name>\t\tThe PID of a process\n\
             pid all\t\t\tThe PIDs of all processes, one on each line\n"
        }
        "quit" => "quit\tLeave this shell\n",
        "reload" => "reload\t\t\tStop everything, read the config and start again\n",
        "remove" => "remove <name> [...]\tTake stopped groups out of the running daemon\n",
        "reread" => "reread\t\t\tRead the config and tell what changed, without doing it\n",
        "restart" => {
            "restart <name>\t\tStop and start a process\n\
             restart <gname>:*\tStop and start all processes of a group\n\
             restart <name> <name>\tStop and start several processes or groups\n\
             restart all\t\tStop and start all processes\n\
             Note: the config is not read again; see reread and update.\n"
        }
        "shutdown" => "shutdown\t\tStop everything and the daemon\n",
        "signal" => {
            "signal <signal name> <name>\t\tSend a signal to a process\n\
             signal <signal name> <gname>:*\t\tSend a signal to all processes of a group\n\
             signal <signal name> <name> <name>\tSend a signal to several processes or groups\n\
             signal <signal name> all\t\tSend a signal to all processes\n"
        }
        "start" => {
            "start <name>\t\tStart a process\n\
             start <gname>:*\t\tStart all processes of a group\n\
             start <name> <name>\tStart several processes or groups\n\
             start all\t\tStart all processes\n"
        }
        "status" => {
            "status <name>\t\tThe state of a process\n\
             status <gname>:*\tThe state of all processes of a group\n\
             status <name> <name>\tThe state of several processes\n\
             status\t\t\tThe state of all processes\n"
        }
        "stop" => {
            "stop <name>\t\tStop a process\n\
             stop <gname>:*\t\tStop all processes of a group\n\
             stop <name> <name>\tStop several processes or groups\n\
             stop all\t\tStop all processes\n"
        }
        "tail" => {
            "tail [-f] <name> [stdout|stderr] (default stdout)\n\
             Ex:\n\
             tail -f <name>\t\tFollow what a process prints (Ctrl-C ends it)\n\
             tail -100 <name>\tThe last 100 *bytes* that a process printed\n\
             tail <name> stderr\tThe last 1600 *bytes* that it printed as errors\n"
        }
        "update" => {
            "update\t\t\tRead the config; add, remove and restart what changed\n\
             update all\t\tThe same\n\
             update <gname> [...]\tThe same for some groups only\n"
        }
        "version" => "version\t\t\tThe version of the daemon\n",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_help_and_a_place_in_the_list() {
        for action in ACTIONS {
            assert!(of(action).unwrap().starts_with(action), "{action}");
            assert!(LISTING.contains(action), "{action}");
        }
    }
}

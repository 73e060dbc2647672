//! The words of supervisord's own log, which people and scripts look for.
//!
//! What happens to processes comes from [`line()`]; what the daemon does has a function of its own,
//! named for what happened. [`format_line`] puts a line together as it stands in the file.

use std::borrow::Cow;
use std::fmt::Display;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_supervise::{Change, Event, Exit, Phase, Policy, Why};
use mainstay_sys::Signal;

pub use crate::conf::values::Level;
use crate::namespec;

/// A line of the log.
pub type Line = (Level, String);

/// What the config says of a process, as far as lines about it need it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its group.
    pub group: &'a str,
    /// The rules of its life.
    pub policy: &'a Policy,
}

impl Level {
    /// The four letters in the log.
    pub fn letters(self) -> &'static str {
        match self {
            Self::Blather => "BLAT",
            Self::Trace => "TRAC",
            Self::Debug => "DEBG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERRO",
            Self::Critical => "CRIT",
        }
    }
}

impl From<mainstay_log::Level> for Level {
    fn from(level: mainstay_log::Level) -> Self {
        use mainstay_log::Level as Ours;
        match level {
            Ours::Trace => Self::Trace,
            Ours::Debug => Self::Debug,
            Ours::Info => Self::Info,
            Ours::Warn => Self::Warn,
            Ours::Error => Self::Error,
            Ours::Critical => Self::Critical,
        }
    }
}

/// A line as it stands in the log, without its line end: `2026-01-31 23:59:59,123 INFO text`.
pub fn format_line(at: Timestamp, zone: &TimeZone, level: Level, text: &str) -> String {
    let at = zone.to_datetime(at);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03} {} {text}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond(),
        level.letters()
    )
}

/// The line for something that happened; none, if the original has none and needs none. `known`
/// tells of a process by its name, that which is unique among all.
pub fn line<'a>(event: &Event, known: impl Fn(&str) -> Option<Known<'a>>) -> Option<Line> {
    let name = |process: &str| match known(process) {
        Some(known) => namespec::member(known.group, process),
        None => process.to_owned(),
    };
    Some(match event {
        Event::Changed(change) => return changed(change, known(&change.process)),
        Event::Spawned { process, pid } => (
            Level::Info,
            format!("spawned: '{}' with pid {pid}", name(process)),
        ),
        Event::SpawnFailed { text, .. } => (Level::Info, format!("spawnerr: {text}")),
        Event::Adopted { process, pid, .. } => (
            Level::Info,
            format!("adopted: '{}' with pid {pid}", name(process)),
        ),
        Event::Killing { process, pid } => (
            Level::Warn,
            format!("killing '{}' ({pid}) with SIGKILL", name(process)),
        ),
        Event::Said { level, text } => ((*level).into(), text.clone()),
        Event::Output {
            process,
            level,
            text,
        } => ((*level).into(), format!("{}: {text}", name(process))),
        // They are said by whoever was asked to shut down; and output for syslog goes there.
        Event::ShuttingDown | Event::Down | Event::Syslog { .. } => return None,
        // The original knows nothing of these, so they are told in our words.
        other => (other.level().into(), other.to_string()),
    })
}

fn changed(change: &Change, known: Option<Known<'_>>) -> Option<Line> {
    let name = namespec::member(&change.group, &change.process);
    let usual = Policy::supervisord();
    let policy = known.map_or(&usual, |known| known.policy);
    let pid = change.pid.unwrap_or(0);
    Some(match (change.from, change.to, change.why) {
        (_, Phase::Running, Why::StayedUp) => (
            Level::Info,
            format!(
                "success: {name} entered RUNNING state, process has stayed up for > than {} seconds \
                 (startsecs)",
                policy.start_secs.as_secs()
            ),
        ),
        (_, Phase::Exited, Why::Done) => (
            Level::Info,
            format!("exited: {name} ({}; expected)", ended(change.exit)),
        ),
        // That one could not be spawned has been said.
        (_, Phase::Backoff, Why::TooQuick) | (_, Phase::Exited, _) => (
            Level::Warn,
            format!("exited: {name} ({}; not expected)", ended(change.exit)),
        ),
        (_, Phase::Fatal, Why::GaveUp) => (
            Level::Info,
            format!("gave up: {name} entered FATAL state, too many start retries too quickly"),
        ),
        (Phase::Stopping | Phase::Unknown, Phase::Stopped, _) => {
            let expected = change
                .exit
                .is_some_and(|exit| exit.is_expected(&policy.exit_codes));
            let level = if expected { Level::Info } else { Level::Warn };
            (level, format!("stopped: {name} ({})", ended(change.exit)))
        }
        (Phase::Backoff, Phase::Stopped, _) => (
            Level::Debug,
            format!("Attempted to kill {name}, which is in BACKOFF state."),
        ),
        (_, Phase::Stopping, _) => (
            Level::Debug,
            format!(
                "killing {name} (pid {pid}) {}with signal {}",
                if policy.stop_group {
                    "process group "
                } else {
                    ""
                },
                signal_name(policy.stop_signal)
            ),
        ),
        (_, Phase::Unknown, why) => (
            Level::Critical,
            match why {
                Why::SignalRefused => format!(
                    "unknown problem killing {name} ({pid}):{}",
                    change.trouble.as_deref().unwrap_or("")
                ),
                _ => change.to_string(),
            },
        ),
        _ => return None,
    })
}

/// How a process ended.
fn ended(exit: Option<Exit>) -> Cow<'static, str> {
    match exit {
        Some(Exit::Code(code)) => format!("exit status {code}").into(),
        Some(Exit::Signal { number, core }) => {
            let core = if core { " (core dumped)" } else { "" };
            format!("terminated by {}{core}", signal_name(number)).into()
        }
        Some(Exit::Unknown) | None => "exit status not known".into(),
    }
}

/// The name of a signal as Python has it, where two have the same number the later one.
pub fn signal_name(number: i32) -> Cow<'static, str> {
    match number {
        29 => "SIGPOLL".into(),
        64 => "SIGRTMAX".into(),
        35..64 => format!("signal {number}").into(),
        _ => match Signal::new(number) {
            Some(signal) => signal.name(),
            None => format!("signal {number}").into(),
        },
    }
}

/// The pid file is written.
pub fn started(pid: u32) -> Line {
    (Level::Info, format!("supervisord started with pid {pid}"))
}

/// It goes to the background.
pub fn daemonizing() -> Line {
    (
        Level::Info,
        "daemonizing the supervisord process".to_owned(),
    )
}

/// The methods are there.
pub fn rpc_ready() -> Line {
    (
        Level::Info,
        "RPC interface 'supervisor' initialized".to_owned(),
    )
}

/// A server has no password. `section` is that of the config.
pub fn no_password(section: &str) -> Line {
    (
        Level::Critical,
        format!("Server '{section}' running without any HTTP authentication checking"),
    )
}

/// A limit was raised. `name` is that of setrlimit(2).
pub fn limit_raised(name: &str, to: u64) -> Line {
    (Level::Info, format!("Increased {name} limit to {to}"))
}

/// A signal to end came.
pub fn exit_request(signal: Signal) -> Line {
    (
        Level::Warn,
        format!("received {signal} indicating exit request"),
    )
}

/// A signal to start anew came; it is ignored when the daemon is `ending` already.
pub fn restart_request(signal: Signal, ending: bool) -> Line {
    let text = if ending {
        format!("ignored {signal} indicating restart request (shutdown in progress)")
    } else {
        format!("received {signal} indicating restart request")
    };
    (Level::Warn, text)
}

/// A signal to open the logs anew came.
pub fn reopen_request(signal: Signal) -> Line {
    (
        Level::Info,
        format!("received {signal} indicating log reopen request"),
    )
}

/// The logs are being opened anew.
pub fn reopening() -> Line {
    (Level::Info, "supervisord logreopen".to_owned())
}

/// The log was emptied by `clearLog`.
pub fn cleared() -> Line {
    (Level::Info, "reopening log file".to_owned())
}

/// A signal came that means nothing.
pub fn ignored(signal: Signal) -> Line {
    (
        Level::Blather,
        format!("received {signal} indicating nothing"),
    )
}

/// Processes that a shutdown still waits for; the original says it every 3 seconds. `names` are
/// those within their groups.
pub fn waiting_to_die<T: Display>(names: impl IntoIterator<Item = T>) -> Line {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    (
        Level::Info,
        format!("waiting for {} to die", names.join(", ")),
    )
}

/// A process that a `stopProcess` still waits for; the original says it every 2 seconds.
pub fn waiting_to_stop(name: &str) -> Line {
    (Level::Info, format!("waiting for {name} to stop"))
}

/// A process ended that nobody here had started.
pub fn reaped_stranger(pid: u32, exit: Exit) -> Line {
    (
        Level::Info,
        format!("reaped unknown pid {pid} ({})", ended(Some(exit))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn change(from: Phase, to: Phase, why: Why, exit: Option<Exit>) -> Event {
        Event::Changed(Change {
            process: "shop:web:0".to_owned(),
            program: "web".to_owned(),
            group: "shop".to_owned(),
            from,
            to,
            why,
            pid: Some(7),
            tries: 0,
            exit,
            trouble: Some("EPERM".to_owned()),
            retry_in: None,
        })
    }

    #[test]
    fn lines_are_the_originals() {
        use Phase::{Backoff, Exited, Fatal, Running, Starting, Stopped, Stopping, Unknown};
        let policy = Policy {
            start_secs: Duration::from_secs(5),
            exit_codes: vec![0, 2],
            stop_group: true,
            ..Policy::supervisord()
        };
        let known = |process: &str| {
            (process == "shop:web:0").then_some(Known {
                group: "shop",
                policy: &policy,
            })
        };
        let process = || "shop:web:0".to_owned();
        let signal = |number, core| Some(Exit::Signal { number, core });
        for (event, expected) in [
            (
                Event::Spawned {
                    process: process(),
                    pid: 7,
                },
                "INFO spawned: 'web_0' with pid 7",
            ),
            (
                Event::SpawnFailed {
                    process: process(),
                    text: "can't find command 'x'".to_owned(),
                },
                "INFO spawnerr: can't find command 'x'",
            ),
            (
                change(Starting, Running, Why::StayedUp, None),
                "INFO success: web_0 entered RUNNING state, process has stayed up for > than 5 \
                 seconds (startsecs)",
            ),
            (
                change(Starting, Backoff, Why::TooQuick, Some(Exit::Code(1))),
                "WARN exited: web_0 (exit status 1; not expected)",
            ),
            (change(Starting, Backoff, Why::SpawnFailed, None), ""),
            (
                change(Backoff, Fatal, Why::GaveUp, None),
                "INFO gave up: web_0 entered FATAL state, too many start retries too quickly",
            ),
            (
                change(Running, Exited, Why::Done, Some(Exit::Code(2))),
                "INFO exited: web_0 (exit status 2; expected)",
            ),
            (
                change(Running, Exited, Why::Died, signal(9, false)),
                "WARN exited: web_0 (terminated by SIGKILL; not expected)",
            ),
            (
                change(Running, Exited, Why::Died, signal(11, true)),
                "WARN exited: web_0 (terminated by SIGSEGV (core dumped); not expected)",
            ),
            (
                change(Stopping, Stopped, Why::Gone, signal(15, false)),
                "WARN stopped: web_0 (terminated by SIGTERM)",
            ),
            (
                change(Stopping, Stopped, Why::Gone, Some(Exit::Code(0))),
                "INFO stopped: web_0 (exit status 0)",
            ),
            (
                change(Running, Stopping, Why::Asked, None),
                "DEBG killing web_0 (pid 7) process group with signal SIGTERM",
            ),
            (
                change(Backoff, Stopped, Why::Asked, None),
                "DEBG Attempted to kill web_0, which is in BACKOFF state.",
            ),
            (
                change(Stopping, Unknown, Why::SignalRefused, None),
                "CRIT unknown problem killing web_0 (7):EPERM",
            ),
            (change(Stopped, Starting, Why::Asked, None), ""),
            (change(Exited, Stopped, Why::Asked, None), ""),
            (change(Stopped, Running, Why::Adopted, None), ""),
            (
                Event::Killing {
                    process: process(),
                    pid: 7,
                },
                "WARN killing 'web_0' (7) with SIGKILL",
            ),
            (
                Event::Adopted {
                    process: "stranger".to_owned(),
                    pid: 7,
                    outdated: true,
                },
                "INFO adopted: 'stranger' with pid 7",
            ),
            (
                Event::Said {
                    level: mainstay_log::Level::Error,
                    text: "pool p event buffer overflowed, discarding event 3".to_owned(),
                },
                "ERRO pool p event buffer overflowed, discarding event 3",
            ),
            (Event::ShuttingDown, ""),
            (Event::Down, ""),
            (
                Event::Fault {
                    text: "epoll".to_owned(),
                },
                "ERRO epoll",
            ),
        ] {
            let line = line(&event, known)
                .map(|(level, text)| format!("{} {text}", level.letters()))
                .unwrap_or_default();
            assert_eq!(line, expected, "{event:?}");
        }
    }

    #[test]
    fn lines_about_the_daemon() {
        for ((level, text), expected) in [
            (started(7), "INFO supervisord started with pid 7"),
            (
                exit_request(Signal::TERM),
                "WARN received SIGTERM indicating exit request",
            ),
            (
                restart_request(Signal::HUP, false),
                "WARN received SIGHUP indicating restart request",
            ),
            (
                restart_request(Signal::HUP, true),
                "WARN ignored SIGHUP indicating restart request (shutdown in progress)",
            ),
            (
                reopen_request(Signal::USR2),
                "INFO received SIGUSR2 indicating log reopen request",
            ),
            (waiting_to_die(["a", "b"]), "INFO waiting for a, b to die"),
            (
                reaped_stranger(7, Exit::Code(0)),
                "INFO reaped unknown pid 7 (exit status 0)",
            ),
            (
                no_password("unix_http_server"),
                "CRIT Server 'unix_http_server' running without any HTTP authentication checking",
            ),
        ] {
            assert_eq!(format!("{} {text}", level.letters()), expected);
        }
    }

    #[test]
    fn the_form_of_a_line() {
        let at = "2026-01-31T23:59:58.007Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(
            format_line(at, &zone, Level::Blather, "x"),
            "2026-02-01 00:59:58,007 BLAT x"
        );
    }

    #[test]
    fn signals_are_called_as_python_calls_them() {
        for (number, expected) in [
            (1, "SIGHUP"),
            (6, "SIGABRT"),
            (16, "SIGSTKFLT"),
            (17, "SIGCHLD"),
            (29, "SIGPOLL"),
            (30, "SIGPWR"),
            (31, "SIGSYS"),
            (33, "signal 33"),
            (34, "SIGRTMIN"),
            (35, "signal 35"),
            (64, "SIGRTMAX"),
            (99, "signal 99"),
        ] {
            assert_eq!(signal_name(number), expected);
        }
    }
}

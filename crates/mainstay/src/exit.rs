//! The one table of exit codes.

use std::fmt::Write as _;
use std::process::ExitCode;

use mainstay_base::{Diagnostic, nearest};

/// How a command ended. The numbers are part of the interface: scripts test them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The command line or the config is wrong; nothing was done.
    Usage = 2,
    /// Done in part, or `status` found something that is not as it should be.
    Partly = 3,
    /// There is no program, backup, repository or snapshot of that name.
    UnknownName = 4,
    /// Not allowed.
    Denied = 5,
    /// Somebody else is doing it at this moment.
    Locked = 6,
    /// No daemon answers.
    Unreachable = 7,
    /// A fault of mainstay itself.
    Bug = 70,
    /// Not now; the same command may work later (sysexits(3) `EX_TEMPFAIL`).
    TryLater = 75,
}

/// Every code and its meaning, for `--help`, the man page and the tests.
pub(crate) const TABLE: [(Exit, &str); 10] = [
    (Exit::Done, "done"),
    (Exit::Failed, "tried and failed"),
    (
        Exit::Usage,
        "wrong command line or config; nothing was done",
    ),
    (
        Exit::Partly,
        "done in part, or something is not running or not backed up",
    ),
    (
        Exit::UnknownName,
        "no program, backup, repository or snapshot of that name",
    ),
    (Exit::Denied, "not allowed"),
    (Exit::Locked, "somebody else is doing it now"),
    (Exit::Unreachable, "no daemon answers"),
    (Exit::Bug, "a fault of mainstay itself"),
    (Exit::TryLater, "try again later"),
];

impl Exit {
    /// The exit with this number, [`Exit::Failed`] for a number that is not in the table.
    pub(crate) fn from_code(code: u8) -> Self {
        TABLE
            .iter()
            .map(|(exit, _)| *exit)
            .find(|e| *e as u8 == code)
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table as text.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning) in TABLE {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:>2}  {meaning}", exit as u8);
    }
    text
}

/// A command that did not do what was asked: what, why, what next, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// What is wrong in a config, each with its place.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            help: None,
            diagnostics: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As [`Failure::help`], for guidance that is not always there.
    #[must_use]
    pub(crate) fn help_if(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into);
        self
    }

    /// A name that nobody has: the nearest one, or all there are.
    pub(crate) fn unknown_name(what: &str, name: &str, known: &[&str], more: &str) -> Self {
        Self::new(Exit::UnknownName, format!("there is no {what} `{name}`")).help(
            match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}{more}", known.join(", ")),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for (exit, _) in TABLE {
            assert_eq!(Exit::from_code(exit as u8), exit);
            assert_eq!(
                TABLE
                    .iter()
                    .filter(|(other, _)| *other as u8 == exit as u8)
                    .count(),
                1
            );
        }
        assert_eq!(Exit::from_code(99), Exit::Failed);
    }

    #[test]
    fn what_the_daemon_refuses_has_a_code_of_this_table() {
        for row in mainstay_control::Kind::TABLE {
            assert_eq!(Exit::from_code(row.exit) as u8, row.exit, "{}", row.name);
        }
    }
}

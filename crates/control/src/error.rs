//! What can go wrong, and the one table that ties a kind of error to its name on the wire, its HTTP
//! status and the exit code of the command that asked.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What sort of thing went wrong. The table is [`Kind::TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It was tried and did not work.
    Failed,
    /// The request makes no sense: a wrong field, a missing name, a body that is not JSON.
    Usage,
    /// No program, backup or stream has that name.
    UnknownName,
    /// The caller may not do this.
    Denied,
    /// Somebody else holds what is needed: another daemon, another run.
    Locked,
    /// No daemon answers on the socket. Only a client says this.
    NotReachable,
    /// The daemon has a fault of its own (a panic while it answered).
    Bug,
    /// The daemon is too busy now, or is going away.
    TryLater,
    /// No such path in this API.
    NoSuchRoute,
    /// The path exists, but not for this HTTP method.
    WrongMethod,
    /// The body is larger than [`crate::BODY_LIMIT`].
    TooLarge,
    /// The client took too long to send its request.
    TooSlow,
    /// A body came without `content-type: application/json`.
    NotJson,
    /// The two sides speak different versions of the API.
    OtherVersion,
}

/// One row of [`Kind::TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// Its name on the wire.
    pub name: &'static str,
    /// The HTTP status of the response that carries it (RFC 9110, section 15).
    pub status: u16,
    /// The exit code of the command that meets it.
    pub exit: u8,
}

const fn row(kind: Kind, name: &'static str, status: u16, exit: u8) -> Row {
    Row {
        kind,
        name,
        status,
        exit,
    }
}

impl Kind {
    /// Kind, name on the wire, HTTP status, exit code.
    pub const TABLE: [Row; 14] = [
        row(Kind::Failed, "failed", 500, 1),
        row(Kind::Usage, "usage", 400, 2),
        row(Kind::UnknownName, "unknown_name", 404, 4),
        row(Kind::Denied, "denied", 403, 5),
        row(Kind::Locked, "locked", 409, 6),
        row(Kind::NotReachable, "not_reachable", 502, 7),
        row(Kind::Bug, "bug", 500, 70),
        row(Kind::TryLater, "try_later", 503, 75),
        row(Kind::NoSuchRoute, "no_such_route", 404, 2),
        row(Kind::WrongMethod, "wrong_method", 405, 2),
        row(Kind::TooLarge, "too_large", 413, 2),
        row(Kind::TooSlow, "too_slow", 408, 75),
        row(Kind::NotJson, "not_json", 415, 2),
        row(Kind::OtherVersion, "other_version", 501, 1),
    ];

    fn row(self) -> Row {
        // The match keeps the compiler counting: a kind without a row does not build.
        let index = match self {
            Kind::Failed => 0,
            Kind::Usage => 1,
            Kind::UnknownName => 2,
            Kind::Denied => 3,
            Kind::Locked => 4,
            Kind::NotReachable => 5,
            Kind::Bug => 6,
            Kind::TryLater => 7,
            Kind::NoSuchRoute => 8,
            Kind::WrongMethod => 9,
            Kind::TooLarge => 10,
            Kind::TooSlow => 11,
            Kind::NotJson => 12,
            Kind::OtherVersion => 13,
        };
        Self::TABLE[index]
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The HTTP status of a response with this error.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(self) -> u8 {
        self.row().exit
    }

    /// The kind with that name on the wire, if this version knows it.
    pub fn from_name(name: &str) -> Option<Kind> {
        Self::TABLE
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    /// A kind that this version does not know reads as [`Kind::Failed`]: an older client must still
    /// show what a newer daemon says.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Kind::from_name(&name).unwrap_or(Kind::Failed))
    }
}

/// Why a request was not done: what was tried, on what, why it failed, and what to do next.
///
/// The same value travels: the daemon returns it, the router writes it as JSON, the client reads it
/// back and the command line ends with its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The sort of error, which decides HTTP status and exit code.
    pub kind: Kind,
    /// What was tried, on what, and why it failed. One sentence without a final stop.
    pub message: String,
    /// What to do next.
    #[serde(default)]
    pub help: Option<String>,
}

impl Error {
    /// An error without guidance yet.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documentation of the command line promises; a change here is a change of contract.
    const PROMISED: &[(&str, u16, u8)] = &[
        ("failed", 500, 1),
        ("usage", 400, 2),
        ("unknown_name", 404, 4),
        ("denied", 403, 5),
        ("locked", 409, 6),
        ("not_reachable", 502, 7),
        ("bug", 500, 70),
        ("try_later", 503, 75),
        ("no_such_route", 404, 2),
        ("wrong_method", 405, 2),
        ("too_large", 413, 2),
        ("too_slow", 408, 75),
        ("not_json", 415, 2),
        ("other_version", 501, 1),
    ];

    #[test]
    fn the_table_is_what_was_promised() {
        let table: Vec<_> = Kind::TABLE
            .iter()
            .map(|row| (row.name, row.status, row.exit))
            .collect();
        assert_eq!(table, PROMISED);
    }

    #[test]
    fn every_kind_finds_its_own_row() {
        for row in Kind::TABLE {
            assert_eq!(row.kind.row(), row);
            assert_eq!(Kind::from_name(row.name), Some(row.kind));
        }
    }

    #[test]
    fn an_error_survives_the_wire() {
        for row in Kind::TABLE {
            let error = Error::new(row.kind, "cannot start web").help("look at its log");
            let text = serde_json::to_string(&error).unwrap();
            assert_eq!(serde_json::from_str::<Error>(&text).unwrap(), error);
        }
    }

    #[test]
    fn a_kind_from_the_future_still_reads() {
        let error: Error =
            serde_json::from_str(r#"{"kind":"on_fire","message":"it burns"}"#).unwrap();
        assert_eq!(error, Error::new(Kind::Failed, "it burns"));
    }

    #[test]
    fn text_ends_with_the_guidance() {
        let error = Error::new(Kind::Failed, "cannot start web");
        assert_eq!(error.to_string(), "cannot start web");
        assert_eq!(
            error.help("look").to_string(),
            "cannot start web\nhelp: look"
        );
    }
}

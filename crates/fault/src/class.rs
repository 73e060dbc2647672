//! The taxonomy: what kinds of fault there are, and what follows from each.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

/// How grave a fault is. The order is the order of gravity: `Debug < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the log only, and only if somebody looks.
    Debug,
    /// It belongs to normal operation: a page that is not there.
    Info,
    /// Something is not as it should be, and somebody was turned away.
    Warning,
    /// Something failed.
    Error,
    /// A person should look now.
    Critical,
}

impl Severity {
    /// The name as logs and alerts have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It would fail again.
    No,
    /// It may succeed; when, nobody knows.
    Yes,
    /// It may succeed after so long, which the answer says as `Retry-After`.
    After(Duration),
}

impl Retry {
    /// Whether trying again can help.
    pub const fn is_worth_it(self) -> bool {
        !matches!(self, Self::No)
    }

    /// The whole seconds to wait, at least one.
    pub fn seconds(self) -> Option<u64> {
        match self {
            Self::After(wait) => Some(
                wait.as_secs()
                    .saturating_add(u64::from(wait.subsec_nanos() > 0))
                    .max(1),
            ),
            Self::No | Self::Yes => None,
        }
    }
}

/// Whether a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notify {
    /// Never: it is counted and logged.
    Never,
    /// When it happens often.
    OnRate,
    /// When it begins and when it ends.
    OnChange,
    /// Once for all faults with the same fingerprint.
    Always,
}

impl Notify {
    /// The word in the table of the taxonomy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnRate => "on rate",
            Self::OnChange => "on change",
            Self::Always => "always",
        }
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What kind of fault it is. What follows from it is in [`Class::rule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The database can't be reached, lets nobody in, or does not answer.
    DatabaseConnection,
    /// The database does not understand what it is asked: SQL, tables, columns, types.
    DatabaseQuery,
    /// The row contradicts another one: a key that exists, a reference to nothing.
    DatabaseConflict,
    /// The database does not take the value: too long, out of range, missing.
    DatabaseInvalid,
    /// The transaction met another one: deadlock, serialization, a lock that was waited for too long.
    DatabaseDeadlock,
    /// The transaction could not be committed, so that nothing of it holds.
    DatabaseCommit,
    /// A file of the app is not there.
    FileMissing,
    /// A file of the app may not be read or written.
    FileDenied,
    /// The configuration can't be read.
    Config,
    /// Data that was stored or received can't be read.
    Data,
    /// A third party can't be reached.
    UpstreamConnect,
    /// A third party does not answer in time.
    UpstreamTimeout,
    /// A third party answered with an error, or with nonsense.
    UpstreamResponse,
    /// The request itself is wrong: the classes of HTTP 400 to 499.
    Request,
    /// The request was given up: it took longer than it may.
    Timeout,
    /// We turned the request away to keep going: overload, maintenance, shutdown.
    Overload,
    /// The disk or a quota is full.
    DiskFull,
    /// The system has no more descriptors, memory or processes to give.
    Resources,
    /// The client went away before it had its answer.
    ClientGone,
    /// A panic of Rust or Go.
    Panic,
    /// An exception that nobody caught, in a program of another language.
    Exception,
    /// Anything else.
    Internal,
}

/// What follows from a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The name in logs, alerts and documents.
    pub name: &'static str,
    /// The status of the answer.
    pub status: StatusCode,
    /// How grave it is.
    pub severity: Severity,
    /// Whether the same request may succeed later.
    pub retry: Retry,
    /// Whether a person is told.
    pub notify: Notify,
}

/// nginx's number for a client that closed the connection: nobody reads the answer, the log does.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

impl Class {
    /// All classes, in the order of the documents.
    pub const ALL: [Self; 22] = [
        Self::DatabaseConnection,
        Self::DatabaseQuery,
        Self::DatabaseConflict,
        Self::DatabaseInvalid,
        Self::DatabaseDeadlock,
        Self::DatabaseCommit,
        Self::FileMissing,
        Self::FileDenied,
        Self::Config,
        Self::Data,
        Self::UpstreamConnect,
        Self::UpstreamTimeout,
        Self::UpstreamResponse,
        Self::Request,
        Self::Timeout,
        Self::Overload,
        Self::DiskFull,
        Self::Resources,
        Self::ClientGone,
        Self::Panic,
        Self::Exception,
        Self::Internal,
    ];

    /// What follows from this class, unless a [`Verdict`](crate::Verdict) says otherwise.
    pub const fn rule(self) -> Rule {
        use Notify::{Always, Never, OnChange, OnRate};
        use Retry::{After, No, Yes};
        use Severity::{Critical, Debug, Error, Info, Warning};
        const fn seconds(seconds: u64) -> Retry {
            After(Duration::from_secs(seconds))
        }
        let (name, status, severity, retry, notify) = match self {
            Self::DatabaseConnection => (
                "database.connection",
                StatusCode::SERVICE_UNAVAILABLE,
                Critical,
                seconds(30),
                Always,
            ),
            Self::DatabaseQuery => (
                "database.query",
                StatusCode::INTERNAL_SERVER_ERROR,
                Critical,
                No,
                Always,
            ),
            Self::DatabaseConflict => (
                "database.conflict",
                StatusCode::CONFLICT,
                Warning,
                No,
                Never,
            ),
            Self::DatabaseInvalid => (
                "database.invalid",
                StatusCode::UNPROCESSABLE_ENTITY,
                Warning,
                No,
                Never,
            ),
            Self::DatabaseDeadlock => (
                "database.deadlock",
                StatusCode::SERVICE_UNAVAILABLE,
                Warning,
                seconds(1),
                OnRate,
            ),
            Self::DatabaseCommit => (
                "database.commit",
                StatusCode::SERVICE_UNAVAILABLE,
                Critical,
                seconds(30),
                Always,
            ),
            Self::FileMissing => (
                "file.missing",
                StatusCode::INTERNAL_SERVER_ERROR,
                Error,
                No,
                Always,
            ),
            Self::FileDenied => (
                "file.denied",
                StatusCode::INTERNAL_SERVER_ERROR,
                Error,
                No,
                Always,
            ),
            Self::Config => (
                "config",
                StatusCode::INTERNAL_SERVER_ERROR,
                Critical,
                No,
                Always,
            ),
            Self::Data => ("data", StatusCode::INTERNAL_SERVER_ERROR, Error, No, Always),
            Self::UpstreamConnect => (
                "upstream.connect",
                StatusCode::BAD_GATEWAY,
                Error,
                Yes,
                OnRate,
            ),
            Self::UpstreamTimeout => (
                "upstream.timeout",
                StatusCode::GATEWAY_TIMEOUT,
                Error,
                Yes,
                OnRate,
            ),
            Self::UpstreamResponse => (
                "upstream.response",
                StatusCode::BAD_GATEWAY,
                Error,
                Yes,
                OnRate,
            ),
            Self::Request => ("request", StatusCode::BAD_REQUEST, Info, No, Never),
            Self::Timeout => (
                "timeout",
                StatusCode::SERVICE_UNAVAILABLE,
                Error,
                seconds(5),
                OnRate,
            ),
            Self::Overload => (
                "overload",
                StatusCode::SERVICE_UNAVAILABLE,
                Warning,
                seconds(5),
                OnChange,
            ),
            Self::DiskFull => (
                "disk.full",
                StatusCode::SERVICE_UNAVAILABLE,
                Critical,
                seconds(60),
                Always,
            ),
            Self::Resources => (
                "resources",
                StatusCode::SERVICE_UNAVAILABLE,
                Critical,
                seconds(5),
                Always,
            ),
            Self::ClientGone => ("client.gone", CLIENT_CLOSED_REQUEST, Debug, No, Never),
            Self::Panic => (
                "panic",
                StatusCode::INTERNAL_SERVER_ERROR,
                Critical,
                No,
                Always,
            ),
            Self::Exception => (
                "exception",
                StatusCode::INTERNAL_SERVER_ERROR,
                Critical,
                No,
                Always,
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                Critical,
                No,
                Always,
            ),
        };
        Rule {
            name,
            status,
            severity,
            retry,
            notify,
        }
    }

    /// The name in logs, alerts and documents.
    pub const fn name(self) -> &'static str {
        self.rule().name
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownClass(String);

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no class of faults", self.0)?;
        match mainstay_base::nearest(&self.0, Class::ALL.map(Class::name)) {
            Some(near) => write!(f, "; did you mean `{near}`?"),
            None => write!(
                f,
                "; classes are {}",
                Class::ALL.map(Class::name).join(", ")
            ),
        }
    }
}

impl std::error::Error for UnknownClass {}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Self::ALL
            .into_iter()
            .find(|class| class.name() == text)
            .ok_or_else(|| UnknownClass(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_class() {
        for class in Class::ALL {
            assert_eq!(class.name().parse(), Ok(class));
        }
        let error = "database.connexion".parse::<Class>().unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("did you mean `database.connection`?"),
            "{error}"
        );
    }

    #[test]
    fn what_a_visitor_is_told_to_wait_for_is_worth_it() {
        for class in Class::ALL {
            let rule = class.rule();
            assert_eq!(
                rule.status == StatusCode::SERVICE_UNAVAILABLE,
                matches!(rule.retry, Retry::After(_)),
                "{class}: Retry-After goes with 503"
            );
            assert!(rule.status.is_server_error() || rule.status.is_client_error());
            // Who is told always is told of something grave; who sent a wrong request is no alert.
            assert_eq!(
                rule.notify == Notify::Always,
                rule.severity >= Severity::Error && !rule.retry_is_plain()
            );
        }
    }

    impl Rule {
        fn retry_is_plain(self) -> bool {
            self.retry == Retry::Yes || self.name == "timeout"
        }
    }

    #[test]
    fn seconds_are_whole_and_not_too_few() {
        for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(
                Retry::After(Duration::from_millis(wait)).seconds(),
                Some(seconds),
                "{wait}"
            );
        }
        assert_eq!(Retry::After(Duration::MAX).seconds(), Some(u64::MAX));
        assert_eq!(Retry::Yes.seconds(), None);
    }

    /// The table in docs/errors.md is what the code does.
    #[test]
    fn the_documented_table_is_the_taxonomy() {
        let document = include_str!("../../../docs/errors.md");
        let rows: Vec<Vec<&str>> = document
            .lines()
            .skip_while(|line| !line.starts_with("| class |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let documented: Vec<String> = rows
            .iter()
            .map(|row| [0, 2, 3, 4, 5].map(|at| row[at]).join(" | "))
            .collect();
        let real: Vec<String> = Class::ALL
            .iter()
            .map(|class| {
                let rule = class.rule();
                let retry = match rule.retry {
                    Retry::No => "no".to_owned(),
                    Retry::Yes => "yes".to_owned(),
                    Retry::After(wait) => format!("after {} s", wait.as_secs()),
                };
                let status = if *class == Class::Request {
                    "400–499".to_owned()
                } else {
                    rule.status.as_u16().to_string()
                };
                format!(
                    "`{}` | {status} | {} | {retry} | {}",
                    rule.name, rule.severity, rule.notify
                )
            })
            .collect();
        assert_eq!(documented, real);
    }
}

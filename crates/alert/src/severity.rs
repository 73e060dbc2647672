//! How much an alert asks of a person.

use std::fmt;
use std::str::FromStr;

use mainstay_base::config::{FromValue, Value};
use mainstay_base::{Diagnostic, nearest};
use serde::{Deserialize, Serialize};

/// How much an alert asks of a person. The order is the order of gravity: `Info < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know, nothing to do: a backup that went well.
    Info,
    /// Something is not as it should be, and nothing has failed yet.
    Warning,
    /// Something failed.
    Error,
    /// A person should look now.
    Critical,
}

impl Severity {
    /// All severities, least grave first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The name as a config and a message have it.
    pub const fn name(self) -> &'static str {
        match self {
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

/// A text that is no severity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSeverity(String);

impl fmt::Display for UnknownSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no severity; severities are {}",
            self.0,
            Severity::ALL.map(Severity::name).join(", ")
        )
    }
}

impl std::error::Error for UnknownSeverity {}

impl FromStr for Severity {
    type Err = UnknownSeverity;

    /// Case does not count, and `warn` is `warning`, as log levels have it.
    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        let lower = text.to_ascii_lowercase();
        if lower == "warn" {
            return Ok(Self::Warning);
        }
        Self::ALL
            .into_iter()
            .find(|severity| severity.name() == lower)
            .ok_or_else(|| UnknownSeverity(text.to_owned()))
    }
}

impl FromValue for Severity {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        let text = value.as_str()?;
        text.parse().map_err(|error: UnknownSeverity| {
            let diagnostic = value.error(error);
            match nearest(&text.to_ascii_lowercase(), Self::ALL.map(Self::name)) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, expected) in [
            ("critical", Some(Severity::Critical)),
            ("Error", Some(Severity::Error)),
            ("warn", Some(Severity::Warning)),
            ("warning", Some(Severity::Warning)),
            ("info", Some(Severity::Info)),
            ("debug", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        assert!(Severity::Info < Severity::Critical);
    }
}

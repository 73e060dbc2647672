//! The config of supervisord, read: its INI dialect, its values, its expansions, its programs.
//!
//! Everything but [`load`] is pure: texts in, values out. It hides how a `supervisord.conf` is understood,
//! faults of the original included where configs rely on them.
//!
//! Messages keep the original's wording, because people and scripts look for it; the place of the
//! fault comes beside the message, not inside it.

use std::fmt;
use std::sync::Arc;

pub use mainstay_supervise::quote;

pub mod arguments;
pub mod daemon;
pub mod diff;
pub mod expand;
pub mod extra;
pub mod import;
pub mod ini;
pub mod load;
pub mod options;
pub mod servers;
pub mod values;

/// A place in a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why a config cannot be used. `Display` is the original's wording, without `Error: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong, in the original's words where it has some.
    pub message: String,
    /// Where, if it is in one place.
    pub place: Option<Place>,
}

impl ConfigError {
    /// A fault that is in no single place.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
        }
    }

    /// Adds the place, unless a nearer one is known already.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

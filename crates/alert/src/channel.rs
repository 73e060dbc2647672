//! A way by which messages reach people, and how it fails.

use std::fmt;
use std::time::Duration;

use mainstay_base::{SecretError, tls};

use crate::message::Message;

/// Why a message did not arrive. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether a later attempt may go better.
    pub temporary: bool,
    /// What was tried and why it failed.
    pub why: String,
    /// What to do next.
    pub help: String,
    /// How long the other side asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that may pass.
    pub fn temporary(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            temporary: true,
            why: why.into(),
            help: help.into(),
            retry_after: None,
        }
    }

    /// A failure that will come again however often this message is tried.
    pub fn permanent(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            temporary: false,
            ..Self::temporary(why, help)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A way by which messages reach people. Called on a thread of its own, one message at a time (a test
/// may come beside it); it may block, and must come to an end by itself.
pub trait Channel: Send + Sync {
    /// Who gets the message, each by a name of the channel's choice: what one of them has got is not
    /// sent again for the sake of another.
    fn recipients(&self) -> Vec<String>;

    /// Sends a message to these recipients; one result for each, in their order. A message comes
    /// again after a failure or a crash, with the same [`Message::id`].
    fn deliver(&self, message: &Message, to: &[String]) -> Vec<Result<(), Failure>>;
}

impl From<SecretError> for Failure {
    /// The place may be mended while we run: it is read at each use.
    fn from(error: SecretError) -> Self {
        Self::temporary(error.to_string(), error.help())
    }
}

impl From<tls::Error> for Failure {
    /// The files may be mended while we run: they are read at each use.
    fn from(error: tls::Error) -> Self {
        Self::temporary(error.to_string(), error.help())
    }
}

/// How long a channel is left alone after so many failures in a row: 10 s, doubled each time, at
/// most 15 min. Where the other side says how long, that, but at most a day and at least a hundredth
/// of the former: one that says "now" again and again is not asked without a pause.
pub(crate) fn back_off(failures: u32, retry_after: Option<Duration>) -> Duration {
    let own = Duration::from_secs(10)
        .saturating_mul(
            1_u32
                .checked_shl(failures.saturating_sub(1).min(16))
                .unwrap_or(u32::MAX),
        )
        .min(Duration::from_mins(15));
    match retry_after {
        Some(asked) => asked.clamp(own / 100, Duration::from_hours(24)),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        for (failures, asked, expected) in [
            (1, None, 10),
            (2, None, 20),
            (3, None, 40),
            (7, None, 640),
            (8, None, 900),
            (4_000_000, None, 900),
            (1, Some(3), 3),
            (9, Some(1), 9),
            (1, Some(1_000_000), 86_400),
        ] {
            assert_eq!(
                back_off(failures, asked.map(Duration::from_secs)),
                Duration::from_secs(expected),
                "{failures} {asked:?}"
            );
        }
    }
}

//! When messages go out: the numbers of the state machine.

use std::time::Duration;

use mainstay_base::{Pattern, Schedule};

use crate::severity::Severity;

/// What makes alerts of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupBy {
    /// The same app.
    App,
    /// The same kind of thing.
    Fingerprint,
    /// The same severity.
    Severity,
    /// The same host.
    Host,
}

/// At most so many messages in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many; the last quarter is kept for critical ones.
    pub messages: u32,
    /// In which span, sliding.
    pub per: Duration,
}

/// What goes into the digest, and when it is sent.
#[derive(Debug, Clone)]
pub struct Digest {
    /// Severities below this one wait for it.
    pub below: Severity,
    /// When it is sent; nothing is sent when there is nothing in it.
    pub at: Schedule,
}

/// When messages go out.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What makes alerts of one message.
    pub group_by: Vec<GroupBy>,
    /// How long the first message of a group waits for what belongs to it.
    pub wait: Duration,
    /// The least time between two messages of one group.
    pub interval: Duration,
    /// How often a state that lasts is told again.
    pub repeat: Duration,
    /// How long after its last message an event that did not happen again is forgotten.
    pub forget: Duration,
    /// The limit over all messages; absent for none. What exceeds it is summed and told in the first
    /// message there is room for.
    pub limit: Option<Limit>,
    /// The digest; absent to send everything by itself.
    pub digest: Option<Digest>,
    /// How many kinds of alerts are kept apart; what comes beyond is counted as one kind.
    pub kinds: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            group_by: vec![GroupBy::App, GroupBy::Fingerprint],
            wait: Duration::from_secs(30),
            interval: Duration::from_mins(5),
            repeat: Duration::from_hours(12),
            forget: Duration::from_hours(1),
            limit: Some(Limit {
                messages: 20,
                per: Duration::from_hours(1),
            }),
            digest: Schedule::parse("0 8 * * *", jiff::tz::TimeZone::UTC)
                .ok()
                .map(|at| Digest {
                    below: Severity::Warning,
                    at,
                }),
            kinds: 1000,
        }
    }
}

/// Which alerts a silence is for. Every condition that is given must hold, and at least one is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The key as `app/fingerprint`, with `*`.
    pub key: Option<Pattern>,
    /// The app, with `*`.
    pub app: Option<Pattern>,
    /// The severity, with `*`.
    pub severity: Option<Pattern>,
}

impl Matcher {
    /// Whether nothing is asked of an alert: that would silence everything by mistake.
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.app.is_none() && self.severity.is_none()
    }

    /// Whether an alert is meant.
    pub fn matches(&self, key: &crate::Key, severity: Severity) -> bool {
        let holds = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        !self.is_empty()
            && holds(&self.key, &key.to_string())
            && holds(&self.app, &key.app)
            && holds(&self.severity, severity.name())
    }
}

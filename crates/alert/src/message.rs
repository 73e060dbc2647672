//! What goes out: a message with its entries, whole and without any channel's dialect.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_base::Pattern;
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Key, Link};
use crate::severity::Severity;

/// The most entries a message lists; the rest is summed.
pub(crate) const ENTRIES: usize = 50;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// One group of alerts.
    Alert,
    /// What was held back by the limit, summed.
    Summary,
    /// What can wait: low severities, and what came and went.
    Digest,
    /// Somebody asked whether messages arrive.
    Test,
}

/// How things stand with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It began, or happened.
    New,
    /// It was told before and happened again, or was only counted and is told now.
    Again,
    /// It was told before and lasts.
    Still,
    /// It is over.
    Resolved,
}

/// One kind of alert in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which kind.
    pub key: Key,
    /// The gravest of what it sums.
    pub severity: Severity,
    /// What happened.
    pub title: String,
    /// More of it.
    pub body: String,
    /// Where; empty for the host that tells.
    pub host: String,
    /// How things stand.
    pub standing: Standing,
    /// Whether it is a state with an end.
    pub lasting: bool,
    /// When it began.
    pub since: Timestamp,
    /// When it happened last, or ended.
    pub last: Timestamp,
    /// How often, that no message said before.
    pub fresh: u64,
    /// How often since it began.
    pub total: u64,
    /// How many of these a silence or something wider kept from being told.
    pub muted: u64,
    /// Further facts.
    pub labels: BTreeMap<String, String>,
    /// Where to read on.
    pub links: Vec<Link>,
    /// The last lines of the log.
    pub context: Vec<String>,
    /// The command to run next.
    pub command: Option<String>,
}

impl Entry {
    /// Takes up a later entry of the same kind.
    pub(crate) fn absorb(&mut self, later: Self) {
        let fresh = self.fresh.saturating_add(later.fresh);
        let standing = match (self.standing, later.standing) {
            (Standing::New, Standing::Again | Standing::Still) => Standing::New,
            (_, later) => later,
        };
        let context = std::mem::take(&mut self.context);
        let severity = self.severity.max(later.severity);
        let since = self.since.min(later.since);
        *self = Self {
            fresh,
            standing,
            severity,
            since,
            context: if later.context.is_empty() {
                context
            } else {
                later.context
            },
            ..later
        };
    }

    /// The entry without what takes room in a list.
    pub(crate) fn brief(mut self) -> Self {
        self.context.clear();
        self.links.clear();
        self.body = crate::alert::cut(self.body, 300);
        self
    }
}

/// What a message does not list and only sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// How many alerts.
    pub count: u64,
    /// Of how many kinds.
    pub kinds: u64,
    /// The gravest of them.
    pub severity: Severity,
    /// When the first of them began.
    pub since: Timestamp,
}

/// Which messages a channel takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// The least grave that it takes.
    pub severity: Severity,
    /// The apps it takes; all when empty.
    pub apps: Vec<Pattern>,
}

impl Default for When {
    /// From warnings up, of every app.
    fn default() -> Self {
        Self {
            severity: Severity::Warning,
            apps: Vec::new(),
        }
    }
}

impl When {
    /// Whether an alert of this app and severity goes there.
    pub fn takes(&self, app: &str, severity: Severity) -> bool {
        severity >= self.severity
            && (self.apps.is_empty() || self.apps.iter().any(|pattern| pattern.matches(app)))
    }
}

/// One message to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Unique and the same at each attempt: the Message-ID of mails, the idempotency key of hooks.
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
    /// What it is for.
    pub purpose: Purpose,
    /// The host that tells it.
    pub host: String,
    /// What it tells, gravest first.
    pub entries: Vec<Entry>,
    /// What it does not list.
    pub rest: Option<Rest>,
    /// Further sentences for the end.
    pub notes: Vec<String>,
    /// The channel it is about, which does not get it.
    pub(crate) not_via: Option<String>,
}

impl Message {
    /// A message that asks for nothing: whether messages arrive at all.
    pub fn test(id: impl Into<String>, host: impl Into<String>, at: Timestamp) -> Self {
        let host = host.into();
        let alert = Alert::new("mainstay", Severity::Info, "a test: alerts arrive here")
            .body("Somebody asked mainstay to try each channel. There is nothing to do.");
        Self {
            id: id.into(),
            at,
            purpose: Purpose::Test,
            host,
            entries: vec![Entry {
                key: alert.key,
                severity: alert.severity,
                title: alert.title,
                body: alert.body,
                host: String::new(),
                standing: Standing::New,
                lasting: false,
                since: at,
                last: at,
                fresh: 1,
                total: 1,
                muted: 0,
                labels: BTreeMap::new(),
                links: Vec::new(),
                context: Vec::new(),
                command: None,
            }],
            rest: None,
            notes: Vec::new(),
            not_via: None,
        }
    }

    /// The gravest thing in it.
    pub fn severity(&self) -> Severity {
        self.entries
            .iter()
            .map(|entry| entry.severity)
            .chain(self.rest.iter().map(|rest| rest.severity))
            .max()
            .unwrap_or(Severity::Info)
    }

    /// How many alerts it tells that no message told before.
    pub fn fresh(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| entry.fresh)
            .chain(self.rest.iter().map(|rest| rest.count))
            .sum()
    }

    /// Whether all of it is over.
    pub fn is_resolved(&self) -> bool {
        !self.entries.is_empty()
            && self.rest.is_none()
            && self
                .entries
                .iter()
                .all(|entry| entry.standing == Standing::Resolved)
    }

    /// The part of it that a channel takes; absent when it takes none of it. A digest is for whoever
    /// takes anything of those apps, and a test for everyone.
    pub(crate) fn part_for(&self, when: &When) -> Option<Self> {
        if self.purpose == Purpose::Test || self.not_via.is_some() {
            return Some(self.clone());
        }
        let takes = |app: &str, severity: Severity| {
            let severity = if self.purpose == Purpose::Digest {
                Severity::Critical
            } else {
                severity
            };
            when.takes(app, severity)
        };
        let entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| takes(&entry.key.app, entry.severity))
            .cloned()
            .collect();
        (!entries.is_empty()).then(|| Self {
            entries,
            ..self.clone()
        })
    }
}

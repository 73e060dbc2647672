//! What is told: an alert, and the key that says which alerts are the same.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use mainstay_base::fingerprint;
use serde::{Deserialize, Serialize};

use crate::severity::Severity;

/// The most lines of context an alert keeps.
pub const CONTEXT_LINES: usize = 20;

const TITLE: usize = 300;
const BODY: usize = 8 << 10;
const LINE: usize = 1000;
const COMMAND: usize = 1000;
const NAME: usize = 128;
const LABELS: usize = 32;
const LINKS: usize = 8;

/// Which alerts are one: the app, and a fingerprint of what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The app, the program or the part of mainstay it is about.
    pub app: String,
    /// What kind of thing happened; the same text for what is the same to a person.
    pub fingerprint: String,
}

impl Key {
    /// The key of these two, each as one visible line of at most 128 bytes.
    pub fn new(app: impl Into<String>, fingerprint: impl Into<String>) -> Self {
        Self {
            app: cut(line(&app.into()), NAME),
            fingerprint: cut(line(&fingerprint.into()), NAME),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.fingerprint)
    }
}

/// What an alert is about. While something wider is broken, alerts about what stands on it say
/// nothing new, and are counted instead of sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Something inside an app: what most alerts are about.
    #[default]
    App,
    /// A program or a server that an app needs.
    Service,
    /// A disk.
    Disk,
    /// The whole host.
    Host,
}

/// A place to read on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What is there.
    pub title: String,
    /// Where it is.
    pub url: String,
}

/// Something a person may have to know.
///
/// ```
/// use mainstay_alert::{Alert, Severity};
/// let alert = Alert::new("blog", Severity::Critical, "the database is gone")
///     .body("connection refused")
///     .label("program", "web")
///     .command("mainstay logs web");
/// assert_eq!(alert.key, Alert::new("blog", Severity::Error, "the database is gone").key);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Which alerts are the same as this one.
    pub key: Key,
    /// How much it asks of a person.
    pub severity: Severity,
    /// One line: what happened.
    pub title: String,
    /// More of it; may be empty.
    pub body: String,
    /// The host it happened on; empty for the host that tells it.
    pub host: String,
    /// What it is about.
    pub scope: Scope,
    /// Whether it lasts until it is resolved (a state, "the disk is full"), or has happened and is
    /// over (an event, "a request failed"). A state is repeated and its end is told.
    pub lasting: bool,
    /// Further facts by name.
    pub labels: BTreeMap<String, String>,
    /// Where to read on.
    pub links: Vec<Link>,
    /// When it began; absent for the moment it is raised.
    pub since: Option<Timestamp>,
    /// How often it happened.
    pub count: u64,
    /// The last lines of the log before it.
    pub context: Vec<String>,
    /// The command to run next.
    pub command: Option<String>,
    /// The channel that this alert is about, which would not bring it.
    pub(crate) not_via: Option<String>,
}

impl Alert {
    /// An event of `app`, whose fingerprint is that of its title.
    pub fn new(app: impl Into<String>, severity: Severity, title: impl Into<String>) -> Self {
        let title = title.into();
        Self {
            key: Key::new(app, fingerprint(&title)),
            severity,
            title,
            body: String::new(),
            host: String::new(),
            scope: Scope::App,
            lasting: false,
            labels: BTreeMap::new(),
            links: Vec::new(),
            since: None,
            count: 1,
            context: Vec::new(),
            command: None,
            not_via: None,
        }
    }

    /// An event that a log record tells. Its kind is the app, the target and the message without what
    /// differs from one time to the next ([`fingerprint`](crate::fingerprint())).
    pub fn of_record(app: &str, severity: Severity, target: &str, message: &str) -> Self {
        let (title, body) = message.split_once('\n').unwrap_or((message, ""));
        let mut alert = Self::new(app, severity, title)
            .fingerprint(fingerprint(&format!("{target}\n{message}")))
            .body(body);
        if !target.is_empty() && target != app {
            alert = alert.label("target", target);
        }
        alert
    }

    /// With a fingerprint of the caller's choice.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.key = Key::new(self.key.app, fingerprint);
        self
    }

    /// A state: it lasts until [`Alerts::resolve`](crate::Alerts::resolve) is called with its key.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// About something wider than an app.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// On another host than the one that tells it.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// With more text.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// With one more fact.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// With a place to read on.
    #[must_use]
    pub fn link(mut self, title: impl Into<String>, url: impl Into<String>) -> Self {
        self.links.push(Link {
            title: title.into(),
            url: url.into(),
        });
        self
    }

    /// With the last lines of the log.
    #[must_use]
    pub fn context<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.context = lines.into_iter().map(Into::into).collect();
        self
    }

    /// With the command to run next.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// The alert within the sizes that are kept: a title of one line and 300 bytes, 8 KiB of body,
    /// the last 20 lines of context. What is cut ends in `…`.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        self.key = Key::new(self.key.app, self.key.fingerprint);
        self.title = cut(line(&self.title), TITLE);
        self.body = cut(visible(&self.body), BODY);
        self.host = cut(line(&self.host), NAME);
        let extra = self.context.len().saturating_sub(CONTEXT_LINES);
        self.context.drain(..extra);
        for text in &mut self.context {
            *text = cut(visible(text.trim_end()), LINE);
        }
        self.labels = std::mem::take(&mut self.labels)
            .into_iter()
            .take(LABELS)
            .map(|(name, value)| (cut(line(&name), NAME), cut(visible(&value), LINE)))
            .collect();
        self.links.truncate(LINKS);
        for link in &mut self.links {
            link.title = cut(line(&link.title), TITLE);
            link.url = cut(line(&link.url), LINE);
        }
        self.command = self.command.map(|command| cut(visible(&command), COMMAND));
        self.count = self.count.max(1);
        self
    }
}

/// The text as one visible line.
fn line(text: &str) -> String {
    visible(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text without control characters, and without those that turn the direction of what follows,
/// by which a text shows as another one: a message is read in terminals and by mail programs.
/// Newlines and tabs stay.
fn visible(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

/// At most `most` bytes of the text, cut between characters, with a sign that it was cut.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let mut end = most.saturating_sub('…'.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting() {
        for (text, most, expected) in [
            ("abc", 3, "abc"),
            ("abcdef", 5, "ab…"),
            ("ééé", 5, "é…"),
            ("", 0, ""),
            ("日本語", 8, "日…"),
        ] {
            assert_eq!(cut(text.to_owned(), most), expected, "{text}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_visible() {
        let alert = Alert::new(
            "a".repeat(1000),
            Severity::Error,
            "two\nlines \u{1b}[31mred",
        )
        .body("x".repeat(100_000))
        .context((0..1000).map(|n| format!("line {n}\r\n")))
        .trimmed();
        assert_eq!(alert.title, "two lines [31mred");
        assert_eq!(alert.key.app.len(), NAME);
        assert!(alert.body.len() <= BODY && alert.body.ends_with('…'));
        assert_eq!(alert.context.len(), CONTEXT_LINES);
        assert_eq!(alert.context[0], "line 980");
    }
}

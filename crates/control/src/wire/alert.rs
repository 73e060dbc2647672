//! Documents about alerts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SCHEMA, check_schema, schema};
use crate::error::{Error, Kind};

/// The line about alerts in a status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertSummary {
    /// How many kinds of alerts are raised and not over.
    pub firing: u64,
    /// How many of those are not told, by a silence or because something wider is broken.
    pub muted: u64,
    /// The title of the gravest that is told.
    pub gravest: Option<String>,
    /// How many silences hold.
    pub silences: u64,
    /// When the last of them ends.
    pub silenced_until: Option<Timestamp>,
    /// How many channels there are.
    pub channels: u64,
    /// The channels that do not get messages through.
    #[serde(default)]
    pub failing: Vec<String>,
    /// How many messages wait for a channel.
    pub undelivered: u64,
    /// Why the outbox is in memory only.
    pub trouble: Option<String>,
    /// What is raised and not over, by severity; severities without any are left out.
    #[serde(default)]
    pub open: BTreeMap<String, u64>,
    /// Messages through channels that the outbox has, by [`DeliveryStatus::state`] with `_` for
    /// blanks.
    #[serde(default)]
    pub deliveries: BTreeMap<String, u64>,
    /// Where all alerts are that were ever raised.
    #[serde(default)]
    pub counts: AlertCounts,
}

/// How all alerts stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What is raised and not over, gravest first.
    #[serde(default)]
    pub alerts: Vec<AlertStatus>,
    /// The silences that hold.
    #[serde(default)]
    pub silences: Vec<SilenceStatus>,
    /// The channels, in the order of the configuration, and the heartbeat.
    #[serde(default)]
    pub channels: Vec<ChannelStatus>,
    /// Messages on their way and those before, newest first.
    #[serde(default)]
    pub messages: Vec<DeliveryStatus>,
    /// Where all alerts are that were ever raised.
    pub counts: AlertCounts,
    /// Why the outbox is in memory only.
    pub trouble: Option<String>,
}

/// One kind of alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// `APP/FINGERPRINT`: the error id of messages.
    pub key: String,
    /// What it is about.
    pub app: String,
    /// What kind of thing happened to it.
    pub fingerprint: String,
    /// `info`, `warning`, `error` or `critical`.
    pub severity: String,
    /// What happened.
    pub title: String,
    /// The host; empty for the daemon's own.
    #[serde(default)]
    pub host: String,
    /// `pending`, `firing`, `muted` or `resolved`.
    pub state: String,
    /// What keeps it from being told.
    pub muted_by: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often since it began.
    pub count: u64,
    /// How many of these are in no message yet.
    pub waiting: u64,
}

/// One silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceStatus {
    /// Its number.
    pub id: i64,
    /// The keys it is for, with `*`.
    pub key: Option<String>,
    /// The apps it is for, with `*`.
    pub app: Option<String>,
    /// The severities it is for, with `*`.
    pub severity: Option<String>,
    /// When it was made.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// How a channel does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Since when every attempt fails.
    pub failing_since: Option<Timestamp>,
    /// What the last attempt ran into.
    pub last_error: Option<String>,
    /// What to do about that.
    pub help: Option<String>,
    /// When it is tried next, where it is given a rest.
    pub next_attempt: Option<Timestamp>,
}

/// One message on its way through one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// The message's id.
    pub message: String,
    /// Its subject.
    pub subject: String,
    /// When it was made.
    pub at: Timestamp,
    /// The channel; none for a message that no channel takes.
    pub channel: Option<String>,
    /// `waiting`, `sent`, `failed`, `given up` or `no channel`.
    pub state: String,
    /// Who has not got it yet, or will not.
    #[serde(default)]
    pub owed: Vec<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// In numbers of alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCounts {
    /// Raised since the state was begun.
    pub raised: u64,
    /// Told in a message.
    pub told: u64,
    /// Kept back by a silence.
    pub silenced: u64,
    /// Kept back because something wider was broken.
    pub inhibited: u64,
    /// In no message yet.
    pub waiting: u64,
    /// There was no room for them; they are told as a number.
    pub overflowed: u64,
    /// Messages made.
    pub messages: u64,
}

/// The most bytes of any text in a request about alerts, but for the body.
const LONGEST_TEXT: usize = 1024;

fn check_text(what: &str, text: &str, may_be_empty: bool) -> Result<(), Error> {
    let clean = !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    if clean && text.len() <= LONGEST_TEXT && (may_be_empty || !text.trim().is_empty()) {
        return Ok(());
    }
    let least = u8::from(!may_be_empty);
    Err(Error::new(
        Kind::Usage,
        format!("{what} has {least} to {LONGEST_TEXT} bytes and no control characters"),
    )
    .help("what is longer belongs into the body of the alert, or into a log"))
}

/// Raises an alert, or says that it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaiseRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// What it is about.
    pub app: String,
    /// One line: what happened. May be empty with `resolve` and a fingerprint.
    #[serde(default)]
    pub title: String,
    /// `info`, `warning`, `error` or `critical`; `error` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// More of it.
    #[serde(default)]
    pub body: String,
    /// What makes alerts the same; by their title if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// It lasts until it is resolved.
    #[serde(default)]
    pub lasting: bool,
    /// It is over.
    #[serde(default)]
    pub resolve: bool,
}

impl RaiseRequest {
    /// An event of this app.
    pub fn new(app: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            app: app.into(),
            title: title.into(),
            severity: None,
            body: String::new(),
            fingerprint: None,
            lasting: false,
            resolve: false,
        }
    }

    /// Says what is wrong with it, if anything. Whether there is such a severity is for the daemon to
    /// say.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        check_text("the app of an alert", &self.app, false)?;
        let known = self.resolve && self.fingerprint.is_some();
        check_text("the title of an alert", &self.title, known)?;
        if let Some(fingerprint) = &self.fingerprint {
            check_text("the fingerprint of an alert", fingerprint, false)?;
        }
        if self.resolve && self.lasting {
            return Err(Error::new(
                Kind::Usage,
                "an alert cannot begin and be over in one request",
            )
            .help("say `lasting` when it begins, and `resolve` when it is over"));
        }
        Ok(())
    }
}

impl RaiseRequest {
    /// What it is about, in one line.
    pub(crate) fn object(&self) -> String {
        let what = self.fingerprint.as_ref().unwrap_or(&self.title);
        let over = if self.resolve { " (over)" } else { "" };
        let object = format!("{}/{what}{over}", self.app);
        object.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Asks not to be told of some alerts for a while. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// `APP/FINGERPRINT`, with `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The app, with `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The severity, with `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// For so many seconds.
    pub seconds: u64,
    /// Why.
    pub reason: String,
    /// Who asks; the user that connects if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

impl SilenceRequest {
    /// A silence that matches nothing yet.
    pub fn new(seconds: u64, reason: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            key: None,
            app: None,
            severity: None,
            seconds,
            reason: reason.into(),
            author: None,
        }
    }

    /// Says what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        for (what, text) in [
            ("the key of a silence", &self.key),
            ("the app of a silence", &self.app),
            ("the severity of a silence", &self.severity),
            ("the author of a silence", &self.author),
        ] {
            if let Some(text) = text {
                check_text(what, text, false)?;
            }
        }
        check_text("the reason of a silence", &self.reason, false)
    }

    /// What it is for, in a few words.
    pub(crate) fn object(&self) -> String {
        let named = [
            ("key", &self.key),
            ("app", &self.app),
            ("severity", &self.severity),
        ];
        let named: Vec<String> = named
            .into_iter()
            .filter_map(|(what, text)| text.as_ref().map(|text| format!("{what}={text}")))
            .collect();
        format!("{} for {}s", named.join(" "), self.seconds)
    }
}

/// The silence that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilencedDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its number.
    pub id: i64,
    /// When it ends.
    pub until: Timestamp,
}

impl SilencedDocument {
    /// The silence of this number.
    pub fn new(id: i64, until: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            id,
            until,
        }
    }
}

/// Asks to end a silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsilenceRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Its number.
    pub id: i64,
}

impl UnsilenceRequest {
    /// The silence of this number.
    pub fn new(id: i64) -> Self {
        Self { schema: SCHEMA, id }
    }

    /// Says what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)
    }
}

/// What came of trying each channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// One for each recipient of each channel.
    #[serde(default)]
    pub tried: Vec<TriedChannel>,
}

impl TriedDocument {
    /// These.
    pub fn new(tried: Vec<TriedChannel>) -> Self {
        Self {
            schema: SCHEMA,
            tried,
        }
    }

    /// How many got the message, and how many did not.
    pub fn tally(&self) -> (usize, usize) {
        let done = self.tried.iter().filter(|one| one.error.is_none()).count();
        (done, self.tried.len() - done)
    }
}

/// What came of trying one channel for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedChannel {
    /// The channel.
    pub channel: String,
    /// The recipient, by the channel's name for it.
    pub recipient: String,
    /// Why the message was not taken; none when it was.
    pub error: Option<String>,
    /// What to do about that.
    pub help: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        type Case = (fn(&mut RaiseRequest), &'static str);
        let raise = |change: fn(&mut RaiseRequest)| {
            let mut request = RaiseRequest::new("blog", "it broke");
            change(&mut request);
            request.check().map_err(|error| error.message)
        };
        let table: &[Case] = &[
            (|_| {}, ""),
            (|r| r.app.clear(), "the app of an alert"),
            (|r| r.title = "  ".to_owned(), "the title of an alert"),
            (|r| r.title = "x".repeat(1025), "the title of an alert"),
            (
                |r| r.title = "\u{1b}[2J".to_owned(),
                "the title of an alert",
            ),
            (|r| r.title = "two\nlines".to_owned(), ""),
            (|r| r.fingerprint = Some(String::new()), "the fingerprint"),
            (
                |r| {
                    r.title.clear();
                    r.resolve = true;
                },
                "the title of an alert",
            ),
            (
                |r| {
                    r.title.clear();
                    r.resolve = true;
                    r.fingerprint = Some("x".to_owned());
                },
                "",
            ),
            (
                |r| {
                    r.lasting = true;
                    r.resolve = true;
                },
                "cannot begin and be over",
            ),
            (|r| r.schema = 2, "schema 2"),
        ];
        for (number, (change, expected)) in table.iter().enumerate() {
            match raise(*change) {
                Ok(()) => assert_eq!(*expected, "", "row {number}"),
                Err(said) => assert!(
                    !expected.is_empty() && said.contains(expected),
                    "row {number}: {said}"
                ),
            }
        }
        let mut silence = SilenceRequest::new(60, "deploy");
        silence.app = Some("blog".to_owned());
        assert!(silence.check().is_ok());
        assert_eq!(silence.object(), "app=blog for 60s");
        silence.reason.clear();
        assert!(silence.check().is_err());
    }
}

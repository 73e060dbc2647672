//! What is configured: the plain value, which code can make too.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use mainstay_base::{Credential, Resolver};

use crate::channel::Channel;
use crate::dialect::Dialect;
use crate::message::When;
use crate::policy::Policy;

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// STARTTLS (RFC 3207), and no mail without it.
    Required,
    /// STARTTLS where the server offers it; a password is only sent under it.
    Opportunistic,
    /// TLS from the first byte (RFC 8314), usually port 465.
    Implicit,
    /// None, for a relay on a network one trusts.
    None,
}

impl Tls {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Required,
        Self::Opportunistic,
        Self::Implicit,
        Self::None,
    ];

    /// The name as a config has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Opportunistic => "opportunistic",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }
}

/// Mail by an SMTP server.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// Who gets it, as `ops@example.com` or `Ops <ops@example.com>`.
    pub to: Vec<String>,
    /// Who sends it, in the same form.
    pub from: String,
    /// The server's name, which its certificate must be for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// PEM files with the only authorities that are believed; the system's when empty.
    pub ca: Vec<PathBuf>,
    /// The login; absent for a relay that asks for none.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Credential>,
    /// How long the server may take for each answer; all of a delivery may take four times that.
    pub timeout: Duration,
    /// What stands in front of each subject.
    pub subject: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl MailConfig {
    /// Mail to these by `host`, with STARTTLS at port 587 and without a login.
    pub fn new<S: Into<String>>(
        from: impl Into<String>,
        to: impl IntoIterator<Item = S>,
        host: impl Into<String>,
    ) -> Self {
        Self {
            to: to.into_iter().map(Into::into).collect(),
            from: from.into(),
            host: host.into(),
            port: 587,
            tls: Tls::Required,
            ca: Vec::new(),
            user: None,
            password: None,
            timeout: Duration::from_secs(30),
            subject: String::new(),
            headers: Vec::new(),
        }
    }
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Whose.
    pub dialect: Dialect,
    /// Where it is; for Telegram the server of the Bot API, for `PagerDuty` that of the Events API.
    pub url: Credential,
    /// Telegram: the bot's token; `PagerDuty`: the routing key of the integration.
    pub token: Option<Credential>,
    /// Telegram: the chat's id, or the `@name` of a channel.
    pub chat: String,
    /// JSON: the key of the signature `X-Mainstay-Signature-256: sha256=HEX`, an HMAC-SHA256 of the
    /// body; Feishu and `DingTalk`: the secret of a robot that asks for signatures.
    pub secret: Option<Credential>,
    /// PEM files with the only authorities that are believed; the system's when empty.
    pub ca: Vec<PathBuf>,
    /// How long a request may take in all.
    pub timeout: Duration,
}

impl WebhookConfig {
    /// A webhook of this kind at `url`.
    pub fn new(dialect: Dialect, url: Credential) -> Self {
        Self {
            dialect,
            url,
            token: None,
            chat: String::new(),
            secret: None,
            ca: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A program.
///
/// It gets the message on its standard input, as JSON of the same form as a webhook of kind `json`.
/// Code 0 is that it has taken the message, 65 that it never will; after any other end it is tried
/// again. There is no shell, and nothing of the daemon's environment: only `PATH`, `LANG`,
/// `MAINSTAY_MESSAGE_ID` (the same at each attempt) and what `env` has.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// The program and its arguments. A name without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// Further variables, where secrets go: arguments are read by everyone on the host.
    pub env: Vec<(String, Credential)>,
    /// The user it runs as; as mainstay does when absent.
    pub user: Option<String>,
    /// How long it may take; then it is killed, with all of its process group.
    pub timeout: Duration,
}

impl ExecConfig {
    /// This program with these arguments, as the user that mainstay runs as.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            user: None,
            timeout: Duration::from_secs(30),
        }
    }
}

/// A dead man's switch: an address that is asked (GET) at an interval, so that a service outside
/// notices when the host or its alerts are dead.
#[derive(Debug, Clone)]
pub struct HeartbeatConfig {
    /// The address.
    pub url: Credential,
    /// How often. The service outside should wait for two or three of them.
    pub every: Duration,
    /// PEM files with the only authorities that are believed; the system's when empty.
    pub ca: Vec<PathBuf>,
    /// How long a request may take in all.
    pub timeout: Duration,
}

impl HeartbeatConfig {
    /// A beat each minute.
    pub fn new(url: Credential) -> Self {
        Self {
            url,
            every: Duration::from_mins(1),
            ca: Vec::new(),
            timeout: Duration::from_secs(20),
        }
    }
}

/// By what a channel brings messages.
#[derive(Clone)]
pub enum Target {
    /// Mail.
    Mail(MailConfig),
    /// A webhook.
    Webhook(WebhookConfig),
    /// A program.
    Exec(ExecConfig),
    /// Something of the caller's own.
    Custom(Arc<dyn Channel>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(config) => config.fmt(f),
            Self::Webhook(config) => config.fmt(f),
            Self::Exec(config) => config.fmt(f),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

/// One `[alert.to.x]`.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// Its name.
    pub name: String,
    /// Which messages it takes.
    pub when: When,
    /// By what.
    pub target: Target,
}

/// How much the outbox keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// How long a message waits for its channel before it is given up.
    pub age: Duration,
    /// How many bytes of messages wait; beyond that the oldest are given up.
    pub size: u64,
    /// How long messages are remembered that are delivered.
    pub history: Duration,
    /// How many messages are remembered that are delivered.
    pub messages: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(72),
            size: 16_000_000,
            history: Duration::from_hours(30 * 24),
            messages: 1000,
        }
    }
}

/// Everything that is configured about alerts.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host that messages name.
    pub host: String,
    /// The zone of the times in messages.
    pub zone: TimeZone,
    /// The database of the outbox; its directory exists.
    pub outbox: PathBuf,
    /// When messages go out.
    pub policy: Policy,
    /// How much the outbox keeps.
    pub keep: Keep,
    /// How long a channel may fail before that is told on the others.
    pub channel_failure: Duration,
    /// How many alerts of different kinds may wait for the thread; what exceeds it is counted.
    pub queue: usize,
    /// The dead man's switch; absent for none.
    pub heartbeat: Option<HeartbeatConfig>,
    /// The channels, in the order of the file.
    pub channels: Vec<ChannelConfig>,
    /// What secrets are read with.
    pub resolver: Resolver,
}

impl Config {
    /// A config without channels.
    pub fn new(host: impl Into<String>, outbox: impl Into<PathBuf>) -> Self {
        Self {
            host: host.into(),
            zone: TimeZone::UTC,
            outbox: outbox.into(),
            policy: Policy::default(),
            keep: Keep::default(),
            channel_failure: Duration::from_mins(5),
            queue: 1024,
            heartbeat: None,
            channels: Vec::new(),
            resolver: Resolver::default(),
        }
    }

    /// With one more channel.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>, when: When, target: Target) -> Self {
        self.channels.push(ChannelConfig {
            name: name.into(),
            when,
            target,
        });
        self
    }
}

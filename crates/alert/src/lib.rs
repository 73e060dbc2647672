//! Alerts: from "something is wrong", said by any thread as often as it likes, to the few messages
//! that a person can use.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use mainstay_alert::{Alert, Alerts, Channel, Config, Failure, Message, Severity, Target, When};
//!
//! struct Pager(mpsc::Sender<String>);
//! impl Channel for Pager {
//!     fn recipients(&self) -> Vec<String> {
//!         vec!["me".into()]
//!     }
//!     fn deliver(&self, message: &Message, _: &[String]) -> Vec<Result<(), Failure>> {
//!         let first = &message.entries[0];
//!         let _ = self.0.send(format!("{} × {}", first.title, first.fresh));
//!         vec![Ok(())]
//!     }
//! }
//!
//! let dir = tempfile::tempdir()?;
//! let (sender, told) = mpsc::channel();
//! let mut config = Config::new("shop1", dir.path().join("alerts.db"));
//! config.policy.wait = std::time::Duration::from_millis(50);
//! let config = config.channel("pager", When::default(), Target::Custom(Arc::new(Pager(sender))));
//! let alerts = Alerts::start(config, Arc::new(mainstay_base::SystemClock::new()))?;
//! for user in 0..10_000 {
//!     alerts.raise(Alert::new("blog", Severity::Critical, format!("user {user} has no disk")));
//! }
//! alerts.sync()?;
//! assert!(told.recv()?.starts_with("user 0 has no disk × "));
//! alerts.shutdown(std::time::Duration::from_secs(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate hides:
//!
//! - **When** a message goes out: alerts of one kind are one message, after a wait in which what
//!   belongs together comes together; a state is repeated, and its end is told; low severities wait
//!   for a digest; a limit holds over all, and what exceeds it is summed; silences, and what follows
//!   from something wider, are counted. The state machine ([`Machine`]) is pure, and every alert that
//!   was raised is in exactly one of its counts.
//! - **The outbox**: state and messages are in a `SQLite` database before the thread goes on, so that
//!   a SIGKILL loses nothing that was in it. A message is delivered at least once, with the same id
//!   at each attempt. What a channel cannot bring is told by another.
//! - **The channels** ([`Channel`]): mail by SMTP, webhooks in the dialects of several services,
//!   programs; and a heartbeat, whose absence tells somebody outside what no daemon can tell.
//!
//! What it promises its callers: [`Alerts::raise`] never blocks, does no I/O and cannot fail. What it
//! keeps away from: it starts no runtime, reads neither arguments nor the environment, and asks a
//! [`Clock`](mainstay_base::Clock) for the time.
//!
//! Whoever installs the logger keeps the targets `ureq` and `ureq_proto` above trace: at that level
//! they write down what they send, secret addresses included.

mod alert;
mod alerts;
mod channel;
mod config;
mod dialect;
mod error;
mod exec;
mod heartbeat;
mod http;
mod inbox;
mod machine;
#[cfg(test)]
mod machine_tests;
mod mail;
mod message;
mod outbox;
mod policy;
mod read;
mod read_channel;
mod severity;
mod smtp;
mod text;
mod webhook;
mod worker;

pub use mainstay_base::{fingerprint, shape};

pub use alert::{Alert, CONTEXT_LINES, Key, Link, Scope};
pub use alerts::{Alerts, ChannelHealth, Overview, Tried, try_channels};
pub use channel::{Channel, Failure};
pub use config::{
    ChannelConfig, Config, ExecConfig, HeartbeatConfig, Keep, MailConfig, Target, Tls,
    WebhookConfig,
};
pub use dialect::Dialect;
pub use error::{Error, ErrorKind};
pub use machine::{Counts, Listed, Machine, Silence, State};
pub use message::{Entry, Message, Purpose, Rest, Standing, When};
pub use outbox::{Delivery, DeliveryState};
pub use policy::{Digest, GroupBy, Limit, Matcher, Policy};
pub use read::Defaults;
pub use severity::{Severity, UnknownSeverity};

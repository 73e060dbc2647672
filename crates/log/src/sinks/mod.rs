//! Sinks that leave the machine, and sinks that wrap others.
//!
//! Each is a [`Sink`](crate::Sink) for a queue: it may wait, but never longer than its [`Timeouts`],
//! and what it could not take it leaves to be given again. None logs, and none panics on what a peer
//! sends.
//!
//! - [`StreamSink`]: bytes over TCP, TLS, UDP and unix sockets; [`syslog`] over these.
//! - [`journald`]: the journal of systemd, by its native protocol.
//! - [`otlp`], [`loki`]: HTTP with JSON.
//! - [`Failover`], [`Spool`], [`Redact`]: around other sinks.
//! - [`AlertConfig`]: what a person must know, by whatever the program raises alerts with.
//!
//! What is refused for good by a peer, or cut off because it does not fit, is counted by level
//! ([`Sink::take_lost`](crate::Sink::take_lost)) and said in a [`Notice`](crate::Notice).

pub(crate) mod alert;
mod backoff;
mod connection;
mod endpoint;
mod failover;
mod http;
pub mod journald;
pub mod loki;
mod losses;
pub mod otlp;
pub(crate) mod redact;
pub mod spool;
mod stream;
pub mod syslog;
mod text;
mod tls;

pub use mainstay_base::tls::{Check, Identity, Tls};

pub use alert::{AlertConfig, OpenAlerts, Raise, Raised};
pub use backoff::Pause;
pub use connection::Timeouts;
pub use endpoint::{Net, UnknownNet};
pub use failover::{Failover, FailoverConfig};
pub use http::{HeaderError, HttpConfig, UrlError, check_header, check_url};
pub use journald::{JournaldConfig, JournaldSink};
pub use loki::{LokiConfig, LokiSink};
pub use otlp::{OtlpConfig, OtlpSink};
pub use redact::{Named, OwnPattern, Redact, RedactConfig};
pub use spool::{Spool, SpoolConfig};
pub use stream::{Framing, StreamConfig, StreamSink};
pub use syslog::{SyslogConfig, SyslogFormat};

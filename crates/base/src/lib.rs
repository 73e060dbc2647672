//! The ground everything stands on: what people write in a config file and what it means.
//!
//! This crate hides how TOML is parsed, how a fault in a config is shown, how sizes, durations and
//! schedules are written, where secrets are kept, where time comes from, which texts tell the same
//! kind of thing, how a file is replaced without ever being half of each, how a database of our own is
//! opened whatever became of it, how a connection never waits for ever, and whom a client of TLS
//! believes. It knows nothing of programs, logs or backups: each engine reads its
//! own section through [`config::Section`], so that there is no crate that knows every key.
//!
//! Nothing here prints, reads the environment or starts a thread; what is needed is handed in.
//!
//! ```
//! use mainstay_base::config::Document;
//!
//! let document = Document::parse("shop.toml", "[program.web]\ncomand = \"blog\"\n")?;
//! let mut root = document.root();
//! for (name, mut program) in root.sections("program") {
//!     assert_eq!(name.value, "web");
//!     let command: Option<String> = program.get("command");
//!     assert_eq!(command, None);
//!     program.finish(); // reports the keys nobody asked for
//! }
//! root.finish();
//! let said = document.take_diagnostics().to_string();
//! assert!(said.starts_with("shop.toml:2:1: error: unknown key `comand` in [program.web]"));
//! assert!(said.contains("did you mean `command`?"));
//! # Ok::<(), mainstay_base::Diagnostics>(())
//! ```

mod base64;
mod clock;
pub mod config;
mod diagnostic;
mod fingerprint;
pub mod fs;
mod hmac;
mod mail;
pub mod net;
mod pattern;
#[cfg(feature = "schedule")]
mod schedule;
pub mod secret;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "tls")]
pub mod tls;
mod unit;

pub use base64::base64;
pub use clock::{Clock, ManualClock, SystemClock};
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity, SourceText, Spanned, nearest};
pub use fingerprint::{fingerprint, hex, shape};
pub use hmac::hmac_sha256;
pub use mail::is_composed_header;
pub use pattern::Pattern;
#[cfg(feature = "schedule")]
pub use schedule::{Schedule, ScheduleError};
pub use secret::{Credential, Resolver, Secret, SecretError, SecretRef, Secrets, Template};
pub use unit::{Size, UnitError, counted, format_duration, parse_duration};

//! Records, routes, formats and sinks: mainstay's own log and what it captures from programs.
//!
//! A *record* is one event: time, level, target, message, fields, and for captured output the program
//! and the stream. A *route* says which records go where and in which *format*; a *sink* is where
//! they land: the console, a file, a rolling file, or one of the program's own. A [`Config`] is all
//! that as values, read from `[log]` of a config file or made in code; a [`Pipeline`] is what does
//! it; a [`Logger`] is the handle that stays while pipelines are replaced, and the receiver of the
//! `log` crate's macros.
//!
//! ```
//! use std::sync::Arc;
//!
//! use mainstay_base::SystemClock;
//! use mainstay_log::{
//!     Config, Format, Level, LevelSet, Pipeline, Retention, SinkConfig, Surroundings, When,
//! };
//!
//! let dir = tempfile::tempdir()?;
//! let mut config = Config::new(dir.path(), jiff::tz::TimeZone::UTC);
//! let sink = SinkConfig::Rolling { path: "app.log".into(), retention: Retention::default() };
//! let when = When { levels: LevelSet::from(Level::Info), ..When::default() };
//! config.route("all", when, sink, Format::text());
//!
//! let surroundings = Surroundings::new(Arc::new(SystemClock::new()));
//! let logger = mainstay_log::bridge(Pipeline::build(&config, surroundings)?);
//! logger.install()?;
//!
//! log::debug!("not let through");
//! log::warn!(free = 12; "the disk is nearly full");
//! let text = std::fs::read_to_string(dir.path().join("app.log"))?;
//! assert!(text.ends_with("the disk is nearly full free=12\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate hides:
//!
//! - **Rolling** ([`RollingFile`], usable alone and as [`std::io::Write`]): files end between lines,
//!   old ones go by number, age and total size; a failed roll loses nothing; others may move, delete
//!   or truncate the file.
//! - **Capture** ([`Capture`]): a program's output goes from its pipe into a rolling file by
//!   splice(2), so that killing the daemon at any moment loses none of it, and line by line to the
//!   routes that ask. A full disk neither stops the program for good nor loses anything unsaid. An
//!   [`Inspect`] may look ahead and decide which bytes are kept, without giving any of that up.
//! - **Failing sinks**: none blocks, breaks or feeds back into another; what was lost is counted by
//!   level and declared in place.
//! - **Reading back** ([`Tail`]): the last lines and each new one once, over rolls, moves and
//!   truncation.
//!
//! What it keeps away from: it starts no thread, never sleeps, reads neither the environment nor the
//! arguments, and asks a [`Clock`](mainstay_base::Clock) for the time. Formatting a record takes no
//! lock and, once the thread's buffers have grown, allocates nothing.

mod capture;
mod error;
mod format;
mod inspect;
mod level;
mod logger;
mod model;
mod pipeline;
mod plumbing;
mod read;
mod record;
mod retention;
mod rolling;
mod route;
mod scratch;
mod sink;
mod splitter;
mod stamp;
mod tail;
mod target;

pub use mainstay_base::Pattern;

pub use capture::{Capture, Finish, Progress};
pub use error::{Error, Kind, Notice, WriteError};
pub use format::{Format, NAMES as FORMAT_NAMES};
pub use inspect::{Inspect, Verdict};
pub use level::{Level, LevelSet, UnknownLevel};
pub use logger::{Logger, bridge};
pub use model::{Config, Route, SinkConfig, SinkId};
pub use pipeline::{Pipeline, Surroundings};
pub use read::Defaults;
pub use record::{Field, Location, Message, Record, Stream, Value};
pub use retention::Retention;
pub use rolling::{RollingFile, Spliced};
pub use route::When;
pub use sink::{Console, Sink, StandardStream};
pub use splitter::{Piece, Splitter};
pub use stamp::Stamp;
pub use tail::Tail;

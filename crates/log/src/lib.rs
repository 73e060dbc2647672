//! Records, routes, formats and sinks: mainstay's own log and what it captures from programs.
//!
//! A *record* is one event: time, level, target, message, fields, and for captured output the program
//! and the stream. A *route* says which records go where and in which *format*; a *sink* is where
//! they land: the console, a file, a rolling file, a place on the network, or one of the program's
//! own. A [`Config`] is all that as values, read from `[log]` of a config file, from a config of
//! [`seelog`], or made in code; a [`Pipeline`] is what does it; a [`Logger`] is the handle that stays
//! while pipelines are replaced, and the receiver of the `log` crate's macros, of this crate's own
//! ([`info!`] and its like, with a level [`critical!`]) and of `tracing` ([`layer()`]).
//!
//! Whoever logs by the `log` crate, with fields or without, sets up in two lines:
//!
//! ```
//! use mainstay_log::{Level, Logger, Retention, SinkKind};
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.log");
//!
//! let file = SinkKind::rolling(&path, Retention::default());
//! Logger::to(file, Level::Info, jiff::tz::TimeZone::system())?.install()?;
//!
//! log::debug!("not let through");
//! log::warn!(free = 12; "the disk is nearly full");
//! # let text = std::fs::read_to_string(&path)?;
//! # assert!(text.ends_with("the disk is nearly full free=12\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! By this crate's own macros, which know a level critical, the same (with
//! [`make_global`](Logger::make_global) nothing else of the process is taken over):
//!
//! ```
//! use mainstay_log::{Level, Logger, Retention, SinkKind, critical};
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.log");
//!
//! let file = SinkKind::rolling(&path, Retention::default());
//! Logger::to(file, Level::Info, jiff::tz::TimeZone::system())?.make_global();
//!
//! critical!(free = 0; "the disk is full");
//! # let text = std::fs::read_to_string(&path)?;
//! # assert!(text.ends_with("the disk is full free=0\n"), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! And by `tracing`, here with other levels for one part of the program:
//!
//! ```
//! use mainstay_log::{Level, LevelSet, Logger, Retention, SinkKind, layer};
//! use tracing_subscriber::layer::SubscriberExt as _;
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.log");
//!
//! let file = SinkKind::rolling(&path, Retention::default());
//! let logger = Logger::to(file, Level::Info, jiff::tz::TimeZone::system())?;
//! logger.set_levels_of(Some("shop::db"), Some(LevelSet::from(Level::Trace)), None);
//! tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer(&logger)))?;
//!
//! tracing::debug!(target: "shop::web", "not let through");
//! tracing::debug!(target: "shop::db::pool", size = 3, "a connection is opened");
//! # let text = std::fs::read_to_string(&path)?;
//! # assert!(text.ends_with("shop::db::pool: a connection is opened size=3\n"), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/axum.rs` is a web server that logs so. From a config of seelog it is
//! [`logger_from_config_as_file`]; with sinks, queues and routes a [`Config`]; and the rolling file
//! alone goes into `tracing_subscriber::fmt` as a [`RollingWriter`].
//!
//! What this crate hides:
//!
//! - **Queues** ([`Delivery`]): a sink may have a bounded queue and a thread of its own. What happens
//!   when it is full is a choice ([`Overflow`]); whatever is lost is counted by level and said in place;
//!   what waits is written also when the process panics, exits or is ended by a signal
//!   ([`Logger::drain_at_the_end`]).
//! - **Reloading** ([`Logger::reload`]): another config takes over while records are written, and none
//!   is lost, doubled or out of order. [`Logger::set_levels_of`] changes levels for a time.
//! - **Flight recorder** ([`FlightConfig`]): what is not let through is kept in memory and written when
//!   something goes wrong.
//! - **Rolling** ([`RollingFile`], usable alone and as [`std::io::Write`]): files end between lines, by
//!   size, by the calendar or both; old ones go by number, age and total size, and are compressed in
//!   the background; a failed roll loses nothing; others may move, delete or truncate the file, or
//!   write and roll it too.
//! - **Capture** ([`Capture`]): a program's output goes from its pipe into a rolling file by
//!   splice(2), so that killing the daemon at any moment loses none of it, and line by line to the
//!   routes that ask. A full disk neither stops the program for good nor loses anything unsaid. An
//!   [`Inspect`] may look ahead and decide which bytes are kept, without giving any of that up.
//! - **Failing sinks**: none blocks, breaks or feeds back into another; what was lost is counted by
//!   level and declared in place.
//! - **Sinks that leave the machine** and wrappers ([`sinks`]): streams, syslog, the journal, OTLP, Loki;
//!   failover, a spool on disk, secrets struck out. [`Admission`] spares a sink repetitions and floods.
//! - **Levels and records of any program** ([`recognise`], [`Joiner`]): how grave a line is, in the
//!   ways that loggers say it, and which lines are one record.
//! - **Reading back** ([`Tail`], [`Search`]): the last lines and each new one once, over rolls, moves
//!   and truncation; records by level, time and text, in files of any size.
//!
//! What it keeps away from: it reads neither the environment nor the arguments, and asks a
//! [`Clock`](mainstay_base::Clock) for the time of records. It starts a thread for each queued sink and
//! one that compresses, no other. Formatting a record takes no lock and, once the thread's buffers have
//! grown, allocates nothing.

mod admission;
mod archive;
mod batch;
mod capture;
mod digits;
mod error;
mod explain;
mod flight;
mod format;
mod head;
mod inspect;
mod join;
mod lane;
mod layer;
mod level;
mod logger;
mod loss;
mod macros;
mod model;
mod names;
mod naming;
mod outlet;
mod pack;
mod parts;
mod period;
mod pipeline;
mod plumbing;
mod queue;
mod read;
mod recognise;
mod record;
mod retention;
mod rolling;
mod route;
mod scratch;
mod search;
pub mod seelog;
mod sink;
pub mod sinks;
mod splitter;
mod stamp;
mod tail;
mod target;
mod voice;
mod writer;

pub use mainstay_base::Pattern;

pub use admission::{Admission, AdmissionConfig, Decision, Dedup, Limit, Per, Sample, Summary};
pub use batch::{Batch, Entry, Mark, Unwritten};
pub use capture::{Capture, Finish, Progress};
pub use error::{Error, Kind, Notice, WriteError};
pub use explain::{Answer, Question, RouteAnswer};
pub use flight::FlightConfig;
pub use format::{Format, NAMES as FORMAT_NAMES};
pub use inspect::{Inspect, Verdict};
pub use join::{Joined, Joiner, Limits};
pub use layer::{Events, Levels, layer};
pub use level::{Level, LevelSet, UnknownLevel};
pub use logger::{Logger, bridge};
pub use loss::SinkStatus;
/// What the code of the macros is made of.
#[doc(hidden)]
pub mod __parts {
    pub use crate::parts::{Argument, Arguments, Known, Shown};
}
#[doc(hidden)]
pub use macros::{__enabled, __write};
#[doc(hidden)]
pub use mainstay_log_macros::message as __message;
pub use model::{Config, Route, SinkConfig, SinkId, SinkKind};
pub use names::{
    LoadError, Loading, current, disable_log, disabled, flush, logger_from_config_as_bytes,
    logger_from_config_as_file, logger_from_config_as_string, logger_from_sink_with_min_level,
    replace_logger, use_logger,
};
pub use naming::Naming;
pub use pack::{Compression, open_packed};
pub use period::Every;
pub use pipeline::{Changes, Override, Pipeline, Surroundings};
pub use queue::{Delivery, Overflow, QueueConfig};
pub use read::Defaults;
pub use recognise::{Moment, Recognised, Shape, Trace, recognise};
pub use record::{Field, Location, Message, Record, Spans, Stream, Value};
pub use retention::Retention;
pub use rolling::{RollingFile, Rolls, Spliced};
pub use route::When;
pub use search::{Hit, Search, TextTest, Wanted};
pub use sink::{Console, Sink, StandardStream};
pub use splitter::{Piece, Splitter};
pub use stamp::Stamp;
pub use tail::{LogFile, Place, Tail};
pub use writer::RollingWriter;

/// What README.md shows is compiled with the tests of documents.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

//! Logs.

mod capture;
mod error;
mod format;
mod level;
mod logger;
mod model;
mod pattern;
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

pub use capture::{Capture, Finish, Progress};
pub use error::{Error, Kind, Notice, WriteError};
pub use format::{Format, NAMES as FORMAT_NAMES};
pub use level::{Level, LevelSet, UnknownLevel};
pub use logger::{Logger, bridge};
pub use model::{Config, Route, SinkConfig, SinkId};
pub use pattern::Pattern;
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

//! Logs.

mod error;
mod format;
mod level;
mod pattern;
mod plumbing;
mod record;
mod retention;
mod rolling;
mod route;
mod splitter;
mod stamp;

pub use error::{Error, Kind, Notice, WriteError};
pub use format::{Format, NAMES as FORMAT_NAMES};
pub use level::{Level, LevelSet, UnknownLevel};
pub use pattern::Pattern;
pub use record::{Field, Location, Message, Record, Stream, Value};
pub use retention::Retention;
pub use rolling::{RollingFile, Spliced};
pub use route::When;
pub use splitter::{Piece, Splitter};
pub use stamp::Stamp;

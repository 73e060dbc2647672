//! Placeholder page.
mod adopt;
mod command;
mod config;
mod error;
mod group;
pub mod journal;
mod launch;
pub mod machine;
mod names;
mod output;
mod program;
mod request;
mod runtime;
mod slot;
mod supervisor;
mod timers;

pub use command::{Change, Command, Did, Event, Outcome, Refusal, Reply, Status};
pub use config::{Defaults, read, read_all};
pub use error::{Error, Kind};
pub use machine::{Autorestart, Backoff, Exit, GiveUp, Phase, Policy, Why};
pub use names::{Names, select, suggest};
pub use program::{Group, Output, ProcessSpec, ProgramSpec};
pub use supervisor::{Settings, Supervisor};

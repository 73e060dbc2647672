//! Placeholder page.
mod command;
mod config;
mod error;
pub mod journal;
mod launch;
pub mod machine;
mod names;
mod program;
mod timers;

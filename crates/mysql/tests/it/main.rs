//! The client with real servers, and with one that is none.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "what was skipped")]

mod certificates;
mod data;
mod logins;
mod rogue;
mod servers;
mod statements;
mod values;

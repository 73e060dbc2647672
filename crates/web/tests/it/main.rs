//! The layer around real servers, asked over TCP by clients that know no HTTP library.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

mod client;
mod clients;
mod daemon;
mod database;
mod disk;
mod flood;
mod grpc;
mod leave;
mod load;
mod log;
mod pages;
mod panics;
#[path = "../../../journal/tests/it/servers.rs"]
mod servers;
mod steps;
mod strain;

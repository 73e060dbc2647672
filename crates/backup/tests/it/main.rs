//! Backups from the outside: what goes in must come out, whatever happens in between.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what is skipped is said, and what was measured"
)]

mod bench;
mod buckets;
mod classic;
mod damage;
mod databases;
mod drills;
mod engine;
mod expiry;
mod faults;
mod mysql;
mod mysql_altered;
mod mysql_cuts;
mod mysql_restores;
mod physical;
mod places;
mod preflight;
mod redis;
mod redis_groups;
mod redis_server;
mod restores;
// The servers that the client is tested with.
#[allow(dead_code, reason = "not all that its own tests need")]
#[path = "../../../mysql/tests/it/servers.rs"]
mod servers;
mod shared;
mod stock;
mod streams;
mod trees;

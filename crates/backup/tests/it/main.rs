//! Backups from the outside: what goes in must come out, whatever happens in between.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod bench;
mod damage;
mod databases;
mod engine;
mod faults;
mod redis;
mod redis_groups;
mod redis_server;
mod restores;
mod shared;
mod stock;
mod streams;
mod trees;

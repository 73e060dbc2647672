//! The shop as its visitors and its supervisor see it: the real program on a free port, in a
//! directory of its own, driven over plain TCP.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "how often the shop was killed")]

mod everywhere;
mod faults;
mod pages;
mod running;
#[path = "../../../../crates/journal/tests/it/servers.rs"]
mod servers;
mod twin;

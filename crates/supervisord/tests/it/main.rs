//! The front end from outside: against Debian's supervisord where it is installed, and our server
//! with a supervision that does what it is told.

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

mod beside;
mod ctl;
mod fake;
mod http;
mod info;
mod rpc;

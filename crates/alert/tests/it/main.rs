//! Alerts from the outside: what is raised must arrive, whatever the servers do meanwhile.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::print_stdout,
    reason = "the process that is killed says when it is ready"
)]

mod chat;
mod crash;
mod exec;
mod heartbeat;
mod http;
mod mail;
mod python;
mod scene;
mod smtp;
mod storage;
mod tls;

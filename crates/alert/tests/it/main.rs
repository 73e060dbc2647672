//! Alerts from the outside: what is raised must arrive, whatever the servers do meanwhile.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::print_stdout,
    reason = "the process that is killed says when it is ready"
)]

mod chat;
mod crash;
mod http;
mod mail;
mod scene;
mod smtp;
mod storage;

//! Everything that makes mainstay look like supervisord: its config, its XML-RPC, its web pages,
//! the words of its log, and `supervisorctl`.
//!
//! It hides how supervisord is written to and read from: its INI dialect, its messages and exit
//! statuses, which scripts read, and the XML that its clients speak ([`xmlrpc`] opens with an
//! example).
//!
//! It is a front end and decides nothing about the life of a process: what it reads becomes
//! [`mainstay_supervise::ProgramSpec`]s, what it is asked becomes [`mainstay_supervise::Command`]s.

pub mod conf;
pub mod ctl;
mod getopt;
pub mod namespec;
pub mod pages;
pub mod rpc;
pub mod server;
pub mod words;
pub mod xmlrpc;

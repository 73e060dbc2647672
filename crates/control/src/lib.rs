//! The control API: how a person, a script or a page asks the daemon something, and what it answers.
//!
//! This crate hides HTTP, JSON, the unix socket and its permissions. On one side stands the
//! [`Daemon`] trait, which says in plain Rust what can be asked; on the other side stands
//! [`Client`], which asks it. Between them nobody has to know how a request travels, how many there
//! may be at once, or who may ask what.
//!
//! A daemon [`bind`]s the socket early, while its errors still reach a terminal, and later hands it to
//! [`serve`], inside a tokio runtime that is its own; this crate never starts one. Callers are known by what
//! the kernel says about the process that connected. [`decide`] turns that into a [`Role`] and a yes or no,
//! by a table ([`Verb::TABLE`]) and without looking at anything else:
//!
//! - root and the daemon's own user are admin;
//! - members of the socket file's group are operators, if its mode lets the group in;
//! - everybody else is a stranger, whatever the mode: what they send is never even parsed.
//!
//! Everything that changes something is reported to [`Daemon::audit`], with its outcome, whatever becomes of
//! the client meanwhile; so is everything that was denied. Every error is an [`Error`], whose
//! [`Kind`] ties together its name on the wire, the HTTP status and the exit code of the command line
//! ([`Kind::TABLE`]).
//!
//! Apps have a socket of their own ([`serve_reports`]), open to everybody and answering only processes
//! that belong to a program of the daemon: there they tell of their faults and fetch orders about them,
//! by [`Reporter`] or with any HTTP client.
//!
//! The documents ([`wire`]) carry a schema version. `curl --unix-socket PATH http://localhost/v1/status`
//! is a client too; the paths are listed at [`router`].
//!
//! ```
//! use mainstay_control::{Actor, Decision, Kind, Policy, Role, Verb, decide};
//!
//! // A daemon that runs as user 500; its socket has mode 0660 and group 700.
//! let policy = Policy { own_uid: 500, group: Some(700), closed_to_others: true };
//! let member = Actor { uid: 1000, gid: 1000, pid: Some(4242) };
//!
//! assert_eq!(decide(&policy, &member, Verb::Restart), Decision::Allow(Role::Operator));
//! assert_eq!(
//!     decide(&policy, &member, Verb::Shutdown),
//!     Decision::Deny { has: Some(Role::Operator), needs: Role::Admin },
//! );
//! assert_eq!((Kind::Denied.status(), Kind::Denied.exit_code()), (403, 5));
//! ```

mod auth;
mod bind;
mod client;
mod daemon;
mod error;
pub mod metrics;
pub mod records;
mod report;
mod reporter;
mod router;
mod server;
mod throttle;
pub mod wire;

pub use auth::{Actor, Decision, Policy, Role, Verb, decide, role_of};
pub use bind::{Listener, bind, inherit};
pub use client::{Client, LogStream};
pub use daemon::{Answer, AuditEntry, AuditOutcome, ByteStream, Caller, Daemon, Notice};
pub use error::{Error, Kind, Row};
pub use hyper::body::Bytes;
pub use report::{ReportLimits, Reports, Who, serve_reports};
pub use reporter::{REPORT_VARIABLE, Reporter};
pub use router::{BODY_LIMIT, Peer, router};
pub use server::{Limits, Served, serve};

//! The control API on a real socket, with a daemon that only pretends.
#![allow(clippy::unwrap_used)]

mod fake;
mod limits;
mod reports;
mod socket;
mod strangers;
mod verbs;

//! The journal with real databases, real crashes and a third party that misbehaves.
#![allow(clippy::unwrap_used)]
#![allow(
    clippy::print_stdout,
    reason = "what was skipped, and how many ended which way"
)]

mod backend;
mod conformance;
mod crash;
mod crm;
mod gate;
mod hazard;
mod servers;
mod stores;
mod units;

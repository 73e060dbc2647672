//! The supervisor with real processes.

#![allow(clippy::unwrap_used)]

mod adoption;
mod bench;
mod life;
mod starved;

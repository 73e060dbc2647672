//! The supervisor with real processes.

#![allow(clippy::unwrap_used)]

mod adoption;
mod bench;
mod keeping;
mod life;
mod starved;

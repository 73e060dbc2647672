//! What mainstay promises, checked from outside.
#![allow(clippy::unwrap_used)]

mod backup;
mod command_line;
mod daemon;
mod faults;
mod foreign;
mod idle;
mod life;
mod shop;

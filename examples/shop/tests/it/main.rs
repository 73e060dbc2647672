//! The shop as its visitors and its supervisor see it: the real program on a free port, in a
//! directory of its own, driven over plain TCP.
#![allow(clippy::unwrap_used)]

mod faults;
mod pages;
mod running;
mod twin;

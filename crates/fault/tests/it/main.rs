//! What a fault, an answer and the pages do, from outside: with real errors of the libraries, real
//! files and real servers.

#![allow(clippy::unwrap_used)]

mod answers;
mod libraries;
mod pages;

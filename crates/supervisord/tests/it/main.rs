//! Against Debian's supervisord, where it is installed.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

mod ctl;

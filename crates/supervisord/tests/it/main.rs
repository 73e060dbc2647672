//! Against Debian's supervisord, where it is installed.

mod ctl;
mod fake;
mod http;
mod rpc;

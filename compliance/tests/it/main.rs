//! What mainstay promises, checked from outside.
#![allow(clippy::unwrap_used)]
// What is skipped is told to the test runner.
#![allow(clippy::print_stdout)]

mod alert;
mod backup;
mod command_line;
mod daemon;
mod documents;
mod drills;
mod faults;
mod foreign;
mod http;
mod idle;
mod ledger;
mod life;
mod log;
mod logs;
mod shop;
mod strain;
mod supervisord;
mod upgrade;

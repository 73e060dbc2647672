//! The loggers, each in the set-ups that are measured.
//!
//! A module for each package: a type that implements [`Contestant`], and [`Entry`]s that name its
//! set-ups. Every one is to write lines like
//! `2026-11-25 14:00:00 INFO failed login attempt from 11.22.33.44 user 7 attempt 100000007` in local
//! time, as near as it permits, lets the level info through and nothing below, and rolls its file at
//! [`Job::roll`] bytes if it can.

mod fast_log;
mod flexi;
mod floors;
mod ftlog;
mod log4rs;
mod logforth;
mod mainstay;
mod spdlog;
mod tracing;

use crate::Failed;
use crate::child::Counter;
use crate::job::{Job, Outcome};

/// A logger that is set up.
pub trait Contestant: Sync {
    /// Logs one record of level info, by the way an application would.
    fn log(&self, user: u64, attempt: u64);

    /// The same with level debug, which is switched off.
    fn disabled(&self, user: u64, attempt: u64);

    /// Returns when all that was logged is in its files.
    fn finish(self) -> Result<(), Failed>;

    /// The way to log messages of a given size, where that is measured.
    fn sized(&self) -> Option<&dyn SizedMessages> {
        None
    }
}

/// Logs messages of a given size.
pub trait SizedMessages: Sync {
    /// Logs one record of level info: the filler, and the number in ten digits.
    fn log_sized(&self, filler: &str, attempt: u64);
}

/// A contestant as the list has it.
pub struct Entry {
    /// The logger and its set-up.
    pub name: &'static str,
    /// The package whose version is told; none for the floors.
    pub package: Option<&'static str>,
    /// How the file is rolled: `size`, `day` or `-`.
    pub rolls: &'static str,
    /// Whether it is set up so that it may lose records, which is then no fault.
    pub may_lose: bool,
    /// Whether it writes anything.
    pub writes: bool,
    /// Sets it up and measures it.
    pub run: fn(&Job, Option<Counter>) -> Result<Outcome, Failed>,
}

impl Entry {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.package == Some(mainstay::PACKAGE)
    }
}

/// An entry, from what differs.
macro_rules! entry {
    ($name:literal, $package:expr, $rolls:literal, $start:expr) => {
        $crate::contestants::Entry {
            name: $name,
            package: $package,
            rolls: $rolls,
            may_lose: false,
            writes: true,
            run: |job, counter| $crate::measure::measure($start(job)?, job, counter),
        }
    };
}
use entry;

/// All contestants, ours first.
pub fn all() -> Vec<Entry> {
    [
        mainstay::entries(),
        tracing::entries(),
        log4rs::entries(),
        flexi::entries(),
        ftlog::entries(),
        spdlog::entries(),
        logforth::entries(),
        fast_log::entries(),
        floors::entries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The contestant of this name.
pub fn find(name: &str) -> Option<Entry> {
    all().into_iter().find(|entry| entry.name == name)
}

/// The record, through the `log` crate.
#[inline(always)]
fn log_crate(user: u64, attempt: u64) {
    ::log::info!(target: "login", "failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
}

/// The same with a level that is switched off.
#[inline(always)]
fn log_crate_disabled(user: u64, attempt: u64) {
    ::log::debug!(target: "login", "failed login attempt from 11.22.33.44 user {user} attempt {attempt}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

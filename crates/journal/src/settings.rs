//! What can be set about a journal.

use std::time::Duration;

use crate::machine::Backoff;

/// What can be set about a journal; the default is for works of a web app.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a work stays with a process that no longer says anything. Renewed three times in
    /// that time. Half a minute; all processes at one store should agree.
    pub lease: Duration,
    /// How undos and actions that fail are tried again.
    pub backoff: Backoff,
    /// How long one call of an undo, a probe or an action may take. Half a minute.
    pub call_limit: Duration,
    /// How many works are undone or finished at the same time. Eight.
    pub concurrency: usize,
    /// How long works that are over stay listed. Seven days.
    pub retention: Duration,
    /// The most bytes that the arguments of one step or action have as JSON. 64 KiB.
    pub args_limit: usize,
    /// The most bytes that one work has in the store. One MiB.
    pub work_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            backoff: Backoff::default(),
            call_limit: Duration::from_secs(30),
            concurrency: 8,
            retention: Duration::from_hours(7 * 24),
            args_limit: 64 * 1024,
            work_limit: 1024 * 1024,
        }
    }
}

//! What the tests share: configs with short waits, and waiting for a condition.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_alert::{Alerts, Config};
use mainstay_base::SystemClock;

/// No test needs longer than this, unless something is broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// A config whose waits are short, with its outbox in `directory`.
pub(crate) fn config(directory: &Path) -> Config {
    let mut config = Config::new("shop1", directory.join("alerts.db"));
    config.policy.wait = Duration::from_millis(100);
    config.policy.interval = Duration::from_millis(300);
    config.channel_failure = Duration::from_millis(10);
    config
}

pub(crate) fn start(config: Config) -> Alerts {
    Alerts::start(config, Arc::new(SystemClock::new())).unwrap()
}

/// Waits until `look` gives something, or fails with what was waited for.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

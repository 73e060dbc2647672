//! What was logged, by all tests together.

use std::sync::{Mutex, Once};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Memory;

impl log::Log for Memory {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "mainstay_web"
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}", record.level(), record.args());
            LINES.lock().unwrap().push(line);
        }
    }
    fn flush(&self) {}
}

/// From now on, what is logged is kept.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Memory).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// The lines in which a text is.
pub(crate) fn lines_with(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    let found = lines.iter().filter(|line| line.contains(text));
    found.cloned().collect()
}

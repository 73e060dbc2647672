//! Long work shows how far it is: a bar on a terminal, lines otherwise, JSON for machines.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainstay_backup::Progress;

use crate::render::ago;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar that is drawn over itself.
    Bar,
    /// A line when a step begins, one now and then, one at its end.
    Lines,
    /// The same as JSON objects, one per line.
    Json,
    /// Nothing.
    Silent,
}

impl Style {
    /// The style for this standard error and these flags.
    pub(crate) fn choose(json: bool, quiet: bool) -> Self {
        match (quiet, json, std::io::stderr().is_terminal()) {
            (true, ..) => Self::Silent,
            (_, true, _) => Self::Json,
            (.., true) => Self::Bar,
            _ => Self::Lines,
        }
    }
}

/// How long a step is silent between two of its lines.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
pub(crate) struct Shown {
    style: Style,
    bar: ProgressBar,
    step: Mutex<Step>,
    done: AtomicU64,
    cancelled: &'static AtomicBool,
}

struct Step {
    what: String,
    total: Option<u64>,
    began: Instant,
    spoke: Instant,
}

impl Shown {
    /// Progress in this style; it asks the work to stop once `cancelled` is set.
    pub(crate) fn new(style: Style, cancelled: &'static AtomicBool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let step = Step {
            what: String::new(),
            total: None,
            began: Instant::now(),
            spoke: Instant::now(),
        };
        Self {
            style,
            bar,
            step: Mutex::new(step),
            done: AtomicU64::new(0),
            cancelled,
        }
    }

    fn step(&self) -> std::sync::MutexGuard<'_, Step> {
        self.step
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn say(&self, event: &str, step: &Step, text: Option<&str>) {
        let done = self.done.load(Ordering::Relaxed);
        let left = match event {
            "advance" => left(step.began.elapsed(), done, step.total),
            _ => None,
        };
        let line = match self.style {
            Style::Json => serde_json::json!({
                "schema": 1, "event": event, "step": step.what, "bytes": done, "total": step.total,
                "seconds_left": left, "text": text,
            })
            .to_string(),
            _ => line(event, &step.what, done, step.total, left, text),
        };
        // A closed standard error must not end a backup.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

/// How many seconds are left, if it goes on as so far.
fn left(elapsed: Duration, done: u64, total: Option<u64>) -> Option<u64> {
    let rest = total?.checked_sub(done)?;
    let milliseconds = elapsed.as_millis().checked_mul(u128::from(rest))?;
    let seconds = milliseconds.checked_div(u128::from(done))?.div_ceil(1000);
    u64::try_from(seconds).ok()
}

fn line(
    event: &str,
    what: &str,
    done: u64,
    total: Option<u64>,
    left: Option<u64>,
    text: Option<&str>,
) -> String {
    let human = |bytes| mainstay_base::Size(bytes).human();
    match (event, text, total) {
        ("message", Some(text), _) => text.to_owned(),
        ("begin", _, Some(total)) if total > 0 => format!("{what}: {} to go", human(total)),
        ("begin", ..) => format!("{what} …"),
        ("advance", _, Some(total)) if total > 0 => {
            format!(
                "{what}: {} of {} ({} %){}",
                human(done),
                human(total),
                done.min(total) * 100 / total,
                left.map_or_else(String::new, |left| format!(", {} left", ago(left)))
            )
        }
        ("finish", ..) if done == 0 => format!("{what}: done"),
        ("finish", ..) => format!("{what}: done, {}", human(done)),
        _ => format!("{what}: {}", human(done)),
    }
}

impl Progress for Shown {
    fn begin(&self, what: &str, total: Option<u64>) {
        let mut step = self.step();
        *step = Step {
            what: what.to_owned(),
            total,
            began: Instant::now(),
            spoke: Instant::now(),
        };
        self.done.store(0, Ordering::Relaxed);
        match self.style {
            Style::Silent => {}
            Style::Bar => {
                let template = if total.is_some() {
                    "{wide_msg} [{bar:20}] {decimal_bytes}/{decimal_total_bytes} {eta}"
                } else {
                    "{wide_msg} {spinner} {decimal_bytes}"
                };
                let style = ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> ");
                self.bar.set_style(style);
                self.bar.set_length(total.unwrap_or(0));
                self.bar.set_message(what.to_owned());
                self.bar.reset();
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            Style::Lines | Style::Json => self.say("begin", &step, None),
        }
    }

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        match self.style {
            Style::Silent => {}
            Style::Bar => self.bar.inc(bytes),
            Style::Lines | Style::Json => {
                let mut step = self.step();
                if step.spoke.elapsed() >= QUIET_FOR {
                    step.spoke = Instant::now();
                    self.say("advance", &step, None);
                }
            }
        }
    }

    fn message(&self, text: &str) {
        match self.style {
            Style::Silent => {}
            Style::Bar => self.bar.suspend(|| {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }),
            Style::Lines | Style::Json => self.say("message", &self.step(), Some(text)),
        }
    }

    fn finish(&self) {
        match self.style {
            Style::Silent => {}
            Style::Bar => {
                self.bar.finish_and_clear();
                self.bar.set_draw_target(ProgressDrawTarget::hidden());
            }
            Style::Lines | Style::Json => self.say("finish", &self.step(), None),
        }
    }

    fn wants_total(&self) -> bool {
        self.style != Style::Silent
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_it_is() {
        for (event, done, total, text, expected) in [
            ("begin", 0, Some(2_000_000), None, "uploads: 2.0 MB to go"),
            ("begin", 0, None, None, "uploads …"),
            (
                "advance",
                500_000,
                Some(2_000_000),
                None,
                "uploads: 500 kB of 2.0 MB (25 %)",
            ),
            ("advance", 500_000, None, None, "uploads: 500 kB"),
            (
                "finish",
                2_000_000,
                Some(2_000_000),
                None,
                "uploads: done, 2.0 MB",
            ),
            ("finish", 0, None, None, "uploads: done"),
            ("message", 0, None, Some("a word"), "a word"),
        ] {
            assert_eq!(line(event, "uploads", done, total, None, text), expected);
        }
        assert_eq!(
            line(
                "advance",
                "uploads",
                1_000_000,
                Some(4_000_000),
                Some(90),
                None
            ),
            "uploads: 1.0 MB of 4.0 MB (25 %), 1m left"
        );
    }

    #[test]
    fn what_is_left_follows_from_what_was() {
        let ten = Duration::from_secs(10);
        for (done, total, expected) in [
            (25, Some(100), Some(30)),
            (100, Some(100), Some(0)),
            (0, Some(100), None),
            (120, Some(100), None),
            (50, None, None),
        ] {
            let found = left(ten, done, total);
            assert_eq!(found, expected, "{done} of {total:?}");
        }
    }
}

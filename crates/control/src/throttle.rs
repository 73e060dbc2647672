//! How often the same stranger is written down: at most once per window for each user, with a count
//! of what was passed over. Somebody who knocks a thousand times a second must not fill the audit.

use std::collections::HashMap;
use std::time::Duration;

/// Users remembered at once; beyond it the oldest knowledge is given up.
const REMEMBERED: usize = 1024;

/// Counts per user what fell into a window that was already reported.
#[derive(Debug)]
pub(crate) struct Throttle {
    window: Duration,
    seen: HashMap<u32, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    reported: Duration,
    passed_over: u64,
}

impl Throttle {
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            seen: HashMap::new(),
        }
    }

    /// `Some(n)`: write it down, n earlier ones were passed over. `None`: pass this one over.
    pub(crate) fn knock(&mut self, uid: u32, now: Duration) -> Option<u64> {
        if let Some(seen) = self.seen.get_mut(&uid) {
            if now.saturating_sub(seen.reported) < self.window {
                seen.passed_over += 1;
                return None;
            }
            let passed_over = seen.passed_over;
            *seen = Seen {
                reported: now,
                passed_over: 0,
            };
            return Some(passed_over);
        }
        if self.seen.len() >= REMEMBERED {
            let oldest = self
                .seen
                .iter()
                .min_by_key(|(_, seen)| seen.reported)
                .map(|(uid, _)| *uid);
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        self.seen.insert(
            uid,
            Seen {
                reported: now,
                passed_over: 0,
            },
        );
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_report_per_user_and_window() {
        let mut throttle = Throttle::new(Duration::from_secs(10));
        // (second, user, expected)
        let table: &[(u64, u32, Option<u64>)] = &[
            (0, 7, Some(0)),
            (1, 7, None),
            (2, 8, Some(0)),
            (9, 7, None),
            (10, 7, Some(2)),
            (11, 7, None),
            (30, 7, Some(1)),
            (30, 8, Some(0)),
        ];
        for &(second, uid, expected) in table {
            assert_eq!(
                throttle.knock(uid, Duration::from_secs(second)),
                expected,
                "{second} {uid}"
            );
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::new(Duration::from_secs(10));
        for uid in 0..5000 {
            assert_eq!(
                throttle.knock(uid, Duration::from_millis(u64::from(uid))),
                Some(0)
            );
        }
        assert_eq!(throttle.seen.len(), REMEMBERED);
        assert_eq!(
            throttle.knock(4999, Duration::from_secs(5)),
            None,
            "the newest is kept"
        );
    }
}

//! So many panics that a process which begins anew is the better one. Pure.

use std::collections::VecDeque;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

/// Counts panics. It comes once.
pub(crate) struct Storm {
    limit: usize,
    /// When there was one, within a minute; at most one more than the limit.
    times: VecDeque<Duration>,
    came: bool,
}

impl Storm {
    /// One that comes with more than so many panics in a minute.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            times: VecDeque::new(),
            came: false,
        }
    }

    /// Counts one. Says whether this is the one too many.
    pub(crate) fn add(&mut self, now: Duration) -> bool {
        if self.came {
            return false;
        }
        let is_old = |time: &Duration| now.saturating_sub(*time) >= MINUTE;
        while self.times.front().is_some_and(is_old) {
            self.times.pop_front();
        }
        self.times.push_back(now);
        self.came = self.times.len() > self.limit;
        self.came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_so_many_in_a_minute_and_once() {
        for (name, limit, seconds, expected) in [
            ("the first is too many", 0, vec![5], Some(0)),
            ("as many as may be", 3, vec![0, 1, 2], None),
            ("one more", 3, vec![0, 1, 2, 59], Some(3)),
            ("the first has been forgotten", 3, vec![0, 1, 2, 60], None),
            (
                "a window that goes along",
                2,
                vec![0, 50, 61, 70, 200, 201, 202, 203],
                Some(3),
            ),
        ] {
            let mut storm = Storm::new(limit);
            let came: Vec<usize> = seconds
                .iter()
                .enumerate()
                .filter(|(_, second)| storm.add(Duration::from_secs(**second)))
                .map(|(index, _)| index)
                .collect();
            assert_eq!(came, Vec::from_iter(expected), "{name}");
            assert!(storm.times.len() <= 9);
        }
    }
}

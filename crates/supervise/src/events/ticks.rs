//! When ticks are due.

use std::time::Duration;

use super::kind::{Kind, Mask};

/// The kinds of ticks with their periods in seconds, in supervisord's order.
const PERIODS: [(Kind, u64); 3] = [(Kind::Tick5, 5), (Kind::Tick60, 60), (Kind::Tick3600, 3600)];

/// Which ticks were told last.
///
/// A tick is due when the wall clock has entered another period than the one it was in: also
/// when it was set back, and once however many periods went by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ticks {
    /// The beginning of the last period that was seen, for each kind that is wanted.
    seen: [Option<u64>; 3],
}

impl Ticks {
    /// The ticks that are due at `now`, the time since the epoch, each with the beginning of its
    /// period in seconds since the epoch. `wanted` is what anybody subscribes to.
    ///
    /// A kind that is wanted for the first time is not due before the next period. So this is
    /// to be called, too, when what is wanted changes.
    pub fn due(&mut self, now: Duration, wanted: Mask) -> Vec<(Kind, u64)> {
        let mut due = Vec::new();
        for ((kind, period), seen) in PERIODS.into_iter().zip(&mut self.seen) {
            if !wanted.contains(kind) {
                *seen = None;
                continue;
            }
            let begin = now.as_secs() - now.as_secs() % period;
            if seen.replace(begin).is_some_and(|seen| seen != begin) {
                due.push((kind, begin));
            }
        }
        due
    }

    /// The time since the epoch at which [`Ticks::due`] is to be called next; `None` when
    /// nobody wants a tick, and there is nothing to wake up for.
    pub fn next(now: Duration, wanted: Mask) -> Option<Duration> {
        PERIODS
            .into_iter()
            .filter(|(kind, _)| wanted.contains(*kind))
            .map(|(_, period)| (now.as_secs() - now.as_secs() % period).saturating_add(period))
            .min()
            .map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is due at times one after the other, as in `5@10`.
    fn told(steps: &[(u64, Mask)]) -> Vec<String> {
        let mut ticks = Ticks::default();
        let mut told = Vec::new();
        for (now, wanted) in steps {
            let now = Duration::from_secs(*now) + Duration::from_millis(999);
            for (kind, when) in ticks.due(now, *wanted) {
                let period = kind.name().trim_start_matches("TICK_");
                told.push(format!("{period}@{when}"));
            }
        }
        told
    }

    #[test]
    fn ticks_are_due_when_the_period_changes() {
        let all = Mask::ALL;
        let five = Mask::from(Kind::Tick5);
        let minute = Mask::from(Kind::Tick60);
        let none = Mask::PROCESS_STATE;
        for (name, steps, expected) in [
            ("nothing at first", &[(7203, all)][..], ""),
            ("same period", &[(0, all), (4, all)], ""),
            ("next period", &[(4, all), (5, all), (6, all)], "5@5"),
            ("once for many", &[(0, five), (23, five)], "5@20"),
            (
                "in order",
                &[(3599, all), (3601, all)],
                "5@3600 60@3600 3600@3600",
            ),
            ("clock set back", &[(100, all), (50, all)], "5@50 60@0"),
            (
                "only what is wanted",
                &[(3599, minute), (3600, minute)],
                "60@3600",
            ),
            ("nobody", &[(0, none), (9999, none)], ""),
            (
                "wanted later",
                &[(0, five), (7, none), (22, five), (24, five), (25, five)],
                "5@25",
            ),
        ] {
            assert_eq!(told(steps).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn nobody_is_woken_for_nothing() {
        let seconds = Duration::from_secs;
        for (now, wanted, next) in [
            (seconds(7), Mask::PROCESS_STATE, None),
            (seconds(7), Mask::NONE, None),
            (seconds(7), Mask::ALL, Some(seconds(10))),
            (seconds(10), Mask::TICK, Some(seconds(15))),
            (Duration::from_millis(14_999), Mask::TICK, Some(seconds(15))),
            (seconds(7), Kind::Tick60.into(), Some(seconds(60))),
            (seconds(7205), Kind::Tick3600.into(), Some(seconds(10800))),
        ] {
            assert_eq!(Ticks::next(now, wanted), next, "{now:?} {wanted:?}");
        }
        assert!(Ticks::next(Duration::MAX, Mask::ALL).is_some());
    }
}

//! How often a stream of output is looked at.
//!
//! Whoever reads as soon as there is something is woken for each write of a program that writes all the
//! time, and moves little each time. A moment later there is more: the same bytes cost a third less when
//! they are moved a mebibyte at a time, because the file system then takes them in large pieces. So a
//! stream is let run for a moment, as long as its pipe stays far from full: no writer waits for it.

use std::time::Duration;

/// So much in one turn is a stream.
const STREAM: u64 = 64 * 1024;
/// Turns that follow each other so fast are a stream too, however little they move.
const RUSH: Duration = Duration::from_micros(500);
/// The shortest pause, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_micros(50), Duration::from_micros(400)];
/// How much is moved at a time when few write.
const FEW: usize = 1 << 20;
/// And when many do. All of them together must not grow out of the processor's caches, or the copy costs
/// more than it saves (`benches/supervisord`, `--only log_fifty`).
const MANY: usize = 512 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    pause: Duration,
    /// When the last turn ended that moved anything.
    last: Duration,
    appetite: usize,
    moved: u64,
    /// How full the fullest pipe was, in sixteenths.
    fullest: u64,
}

impl Pace {
    /// A turn begins, in which so many things have happened.
    pub(crate) fn begin(&mut self, events: usize) {
        (self.moved, self.fullest) = (0, 0);
        self.appetite = if events <= 4 { FEW } else { MANY };
    }

    /// How much to take out of each pipe in this turn.
    pub(crate) fn appetite(&self) -> usize {
        self.appetite
    }

    /// So many bytes came out of a pipe, of at most `room`: what it holds, or was asked for.
    pub(crate) fn moved(&mut self, bytes: u64, room: usize) {
        self.moved += bytes;
        let sixteenths = (bytes * 16).checked_div(room as u64);
        self.fullest = self.fullest.max(sixteenths.unwrap_or(16));
    }

    /// The turn ends; how long to do nothing.
    pub(crate) fn end(&mut self, now: Duration) -> Duration {
        if self.moved == 0 {
            return Duration::ZERO;
        }
        let since = now.saturating_sub(self.last);
        self.last = now;
        self.pause = if self.moved < STREAM && since > RUSH + self.pause {
            Duration::ZERO
        } else {
            match self.fullest {
                0..8 => (self.pause * 2).clamp(PAUSE[0], PAUSE[1]),
                8..12 => self.pause,
                _ => self.pause / 2,
            }
        };
        if self.pause < PAUSE[0] {
            self.pause = Duration::ZERO;
        }
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 1 << 20;

    fn us(number: u64) -> Duration {
        Duration::from_micros(number)
    }

    /// The pauses, in microseconds, after turns that begin at these times and move so many bytes.
    fn pauses(turns: &[(u64, u64)]) -> Vec<u128> {
        let mut pace = Pace::default();
        turns
            .iter()
            .map(|&(at, bytes)| {
                pace.begin(1);
                if bytes > 0 {
                    pace.moved(bytes, CAPACITY);
                }
                pace.end(us(at)).as_micros()
            })
            .collect()
    }

    #[test]
    fn the_pause_follows_the_stream() {
        const KIB: u64 = 1024;
        for (what, turns, expected) in [
            (
                "now and then a line",
                &[(10_000, 100), (30_000, 100), (31_000, 100)][..],
                &[0, 0, 0][..],
            ),
            (
                "line after line",
                &[
                    (10_000, 100),
                    (10_050, 100),
                    (10_150, 100),
                    (10_300, 100),
                    (10_600, 100),
                    (11_100, 100),
                ],
                &[0, 50, 100, 200, 400, 400],
            ),
            (
                "a burst now and then",
                &[(10_000, 64 * KIB), (90_000, 64 * KIB), (190_000, 100)],
                &[50, 100, 0],
            ),
            (
                "a stream that fills the pipe is let run no longer",
                &[
                    (10_000, 64 * KIB),
                    (10_100, 128 * KIB),
                    (10_300, 600 * KIB),
                    (10_500, 1024 * KIB),
                    (10_700, 1024 * KIB),
                ],
                &[50, 100, 100, 50, 0],
            ),
            (
                "what moves nothing changes nothing",
                &[(10_000, 64 * KIB), (10_100, 0), (10_200, 128 * KIB)],
                &[50, 0, 100],
            ),
        ] {
            assert_eq!(pauses(turns), expected, "{what}");
        }
    }

    #[test]
    fn many_take_less_each() {
        let mut pace = Pace::default();
        pace.begin(1);
        let few = pace.appetite();
        pace.begin(50);
        assert!(pace.appetite() < few);
        // Of a pipe of unknown size nothing is assumed.
        pace.moved(1 << 20, 0);
        assert_eq!(pace.end(us(1)), Duration::ZERO);
    }

    /// Routes and inspectors see little at a time: what they leave in the pipe must not wait.
    #[test]
    fn who_got_all_that_was_asked_for_is_asked_again_at_once() {
        let mut pace = Pace::default();
        for turn in 1..5 {
            pace.begin(1);
            pace.moved(64 * 1024, 64 * 1024);
            assert_eq!(pace.end(us(turn * 100)), Duration::ZERO);
        }
    }
}

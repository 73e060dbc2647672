//! Which snapshots stay. Pure: names and times in, reasons out.
//!
//! Every rule looks at the snapshots from the newest back and keeps the newest one of each period,
//! as restic(1) does; a snapshot may be kept by several rules. Two things are ours:
//!
//! * The rules are applied twice, once to all snapshots and once to the complete ones alone, and what
//!   either keeps is kept. So a backup that has been incomplete for weeks neither pushes out the
//!   complete snapshots nor grows without bound.
//! * The newest complete snapshot always stays, whatever the rules say; so do the newest that were
//!   verified, and those that a person has pinned. That a backup is old does not make it worthless:
//!   when runs have failed for weeks, the one that works again is not yet known to be good.
//! * One whose time has not come yet was made under a wrong clock, this one's or that of another day. It
//!   stays, and counts for no rule: rules count back from the newest, and everything that is made
//!   with the clock put right would be too old for them.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How many snapshots to keep, by rule; `0` switches a rule off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The newest so many.
    pub last: u32,
    /// Everything made within so many days before the newest snapshot. The newest, not today:
    /// a backup that has been failing for a while must not eat its own past.
    pub days: u32,
    /// The newest of each of so many hours that have one.
    pub hourly: u32,
    /// The newest of each of so many days that have one.
    pub daily: u32,
    /// The newest of each of so many ISO weeks that have one.
    pub weekly: u32,
    /// The newest of each of so many months that have one.
    pub monthly: u32,
    /// The newest of each of so many years that have one.
    pub yearly: u32,
    /// A floor below the rules: the newest so many complete ones that were verified stay however old
    /// they are, and while fewer were verified, the newest other complete ones in their place.
    pub verified: u32,
}

impl Keep {
    /// Whether no rule is switched on; the floor is none.
    pub fn is_empty(&self) -> bool {
        Self {
            verified: 0,
            ..*self
        } == Self::default()
    }
}

/// The rules that are switched on: `daily 7, weekly 4`.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = [
            ("last", self.last),
            ("days", self.days),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
            ("verified", self.verified),
        ];
        let mut separator = "";
        for (name, number) in rules.iter().filter(|(_, number)| *number > 0) {
            write!(f, "{separator}{name} {number}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A snapshot as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id, handed back in the verdict.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// Whether everything that should be in it is in it.
    pub complete: bool,
    /// Whether all of it was read back since, or it was restored and found whole.
    pub verified: bool,
    /// Whether a person has pinned it.
    pub pinned: bool,
}

/// Why a snapshot stays: `daily 2 of 7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The rule.
    pub rule: &'static str,
    /// Which of those that the rule keeps it is, from 1 and the newest, and how many it keeps; for
    /// rules that count.
    pub place: Option<(u32, u32)>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule)?;
        match self.place {
            Some((at, of)) => write!(f, " {at} of {of}"),
            None => Ok(()),
        }
    }
}

/// What the rules say about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub id: String,
    /// The rules that keep it; none means that it goes.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether the snapshot stays.
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What is later was noted under a wrong clock: it lies further ahead than clocks that differ a little,
/// or a wrong zone, could make it.
pub(crate) fn horizon(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(24))
        .unwrap_or(Timestamp::MAX)
}

/// Applies the rules; days, weeks and months are those of `zone`. The verdicts come newest first.
///
/// With no rule at all everything stays.
pub fn decide(
    keep: &Keep,
    zone: &TimeZone,
    now: Timestamp,
    candidates: &[Candidate],
) -> Vec<Verdict> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.id.cmp(&b.id)));
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); sorted.len()];
    let (ahead, all): (Vec<usize>, Vec<usize>) =
        (0..sorted.len()).partition(|at| sorted[*at].time > horizon(now));
    for at in ahead {
        reasons[at].push(simple("of a time to come"));
    }
    let complete: Vec<usize> = all
        .iter()
        .copied()
        .filter(|at| sorted[*at].complete)
        .collect();
    if keep.is_empty() {
        for list in &mut reasons {
            list.push(simple("no rule"));
        }
    }
    for set in [&all, &complete] {
        apply(keep, zone, &sorted, set, &mut reasons);
    }
    for (candidate, list) in sorted.iter().zip(&mut reasons) {
        if candidate.pinned {
            list.push(simple("pinned"));
        }
    }
    let (verified, others): (Vec<usize>, Vec<usize>) = complete
        .iter()
        .copied()
        .partition(|at| sorted[*at].verified);
    let floor = verified
        .iter()
        .map(|at| ("verified", at))
        .chain(others.iter().map(|at| ("in place of a verified one", at)));
    for (number, (rule, at)) in (1..=keep.verified).zip(floor) {
        reasons[*at].push(counted(rule, number, keep.verified));
    }
    if let Some(newest) = complete.first().or(all.first()) {
        reasons[*newest].push(simple("newest"));
    }
    sorted
        .into_iter()
        .zip(reasons)
        .map(|(candidate, mut reasons)| {
            reasons.sort_unstable();
            // A rule that was applied to the complete ones alone says the same once more.
            reasons.dedup_by_key(|reason| reason.rule);
            Verdict {
                id: candidate.id.clone(),
                reasons,
            }
        })
        .collect()
}

fn simple(rule: &'static str) -> Reason {
    Reason { rule, place: None }
}

fn counted(rule: &'static str, at: u32, of: u32) -> Reason {
    Reason {
        rule,
        place: Some((at, of)),
    }
}

const DAY: i64 = 24 * 3600;

/// What two times must have in common to be of one period.
type Period = fn(&jiff::Zoned) -> [i32; 4];

fn apply(
    keep: &Keep,
    zone: &TimeZone,
    sorted: &[&Candidate],
    set: &[usize],
    reasons: &mut [Vec<Reason>],
) {
    let Some(newest) = set.first().map(|at| sorted[*at].time) else {
        return;
    };
    for (number, at) in (1..=keep.last).zip(set) {
        reasons[*at].push(counted("last", number, keep.last));
    }
    if keep.days > 0 {
        let reach = i64::from(keep.days) * DAY;
        for at in set {
            let age = newest.as_second() - sorted[*at].time.as_second();
            if age < reach {
                let day = u32::try_from(age / DAY + 1).unwrap_or(keep.days);
                reasons[*at].push(counted("days", day, keep.days));
            }
        }
    }
    let periods: [(&'static str, u32, Period); 5] = [
        ("hourly", keep.hourly, |t| {
            [
                t.year().into(),
                t.day_of_year().into(),
                t.hour().into(),
                // The hour that a change to winter time repeats is two hours.
                t.offset().seconds(),
            ]
        }),
        ("daily", keep.daily, |t| {
            [t.year().into(), t.day_of_year().into(), 0, 0]
        }),
        ("weekly", keep.weekly, |t| {
            let week = t.date().iso_week_date();
            [week.year().into(), week.week().into(), 0, 0]
        }),
        ("monthly", keep.monthly, |t| {
            [t.year().into(), t.month().into(), 0, 0]
        }),
        ("yearly", keep.yearly, |t| [t.year().into(), 0, 0, 0]),
    ];
    for (name, count, period) in periods {
        let mut left = count;
        let mut previous = None;
        for at in set {
            if left == 0 {
                break;
            }
            let this = period(&sorted[*at].time.to_zoned(zone.clone()));
            if previous != Some(this) {
                left -= 1;
                reasons[*at].push(counted(name, count - left, count));
                previous = Some(this);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(times: &[&str]) -> Vec<Candidate> {
        times
            .iter()
            .map(|text| {
                // `!` is incomplete, `v` verified, `p` pinned.
                let time = text.trim_end_matches(['!', 'v', 'p']);
                let marks = &text[time.len()..];
                Candidate {
                    id: (*text).to_owned(),
                    time: format!("{time}Z").parse().unwrap(),
                    complete: !marks.contains('!'),
                    verified: marks.contains('v'),
                    pinned: marks.contains('p'),
                }
            })
            .collect()
    }

    fn kept(keep: Keep, zone: &str, times: &[&str]) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let now = "2026-11-23T00:00:00Z".parse().unwrap();
        decide(&keep, &zone, now, &candidates(times))
            .into_iter()
            .filter(Verdict::keeps)
            .map(|verdict| verdict.id)
            .collect()
    }

    #[test]
    fn rules_keep_what_they_say() {
        let days = [
            "2026-11-22T01:00:00",
            "2026-11-22T00:00:00",
            "2026-11-21T00:00:00",
            "2026-11-20T00:00:00",
            "2026-11-01T00:00:00",
            "2026-10-15T00:00:00",
            "2025-12-31T00:00:00",
        ];
        let none = Keep::default();
        let cases: &[(Keep, &[usize])] = &[
            (none, &[0, 1, 2, 3, 4, 5, 6]),
            (Keep { last: 1, ..none }, &[0]),
            (Keep { last: 3, ..none }, &[0, 1, 2]),
            (Keep { last: 99, ..none }, &[0, 1, 2, 3, 4, 5, 6]),
            (Keep { hourly: 2, ..none }, &[0, 1]),
            (Keep { daily: 2, ..none }, &[0, 2]),
            (Keep { daily: 3, ..none }, &[0, 2, 3]),
            // 22 November 2026 is a Sunday: the ISO week began on the 16th.
            (Keep { weekly: 2, ..none }, &[0, 4]),
            (Keep { monthly: 2, ..none }, &[0, 5]),
            (Keep { monthly: 3, ..none }, &[0, 5, 6]),
            (Keep { yearly: 2, ..none }, &[0, 6]),
            (Keep { days: 1, ..none }, &[0, 1]),
            (Keep { days: 3, ..none }, &[0, 1, 2, 3]),
            (
                Keep {
                    daily: 1,
                    monthly: 2,
                    ..none
                },
                &[0, 5],
            ),
        ];
        for (keep, expected) in cases {
            let expected: Vec<&str> = expected.iter().map(|at| days[*at]).collect();
            assert_eq!(kept(*keep, "UTC", &days), expected, "{keep:?}");
        }
    }

    #[test]
    fn the_day_is_that_of_the_zone() {
        // 16:30 UTC is the next day in Shanghai.
        let times = ["2026-11-22T16:30:00", "2026-11-22T15:30:00"];
        let keep = Keep {
            daily: 9,
            ..Keep::default()
        };
        assert_eq!(kept(keep, "UTC", &times).len(), 1);
        assert_eq!(kept(keep, "Asia/Shanghai", &times).len(), 2);
    }

    #[test]
    fn incomplete_snapshots_do_not_push_out_complete_ones() {
        let times = [
            "2026-11-22T03:00:00!",
            "2026-11-22T02:00:00!",
            "2026-11-22T01:00:00",
            "2026-11-22T00:00:00",
        ];
        let keep = Keep {
            last: 1,
            ..Keep::default()
        };
        assert_eq!(kept(keep, "UTC", &times), [times[0], times[2]]);
    }

    #[test]
    fn a_floor_of_verified_ones_stays_however_old_it_is() {
        // Runs failed for six weeks; the one of today works again, and nobody has proved it yet.
        let times = [
            "2026-11-22T00:00:00",
            "2026-10-10T00:00:00",
            "2026-10-09T00:00:00v",
            "2026-10-08T00:00:00v",
            "2026-10-07T00:00:00v!",
            "2026-10-06T00:00:00p",
            "2026-10-05T00:00:00",
        ];
        for (days, verified, expected) in [
            (3, 0, vec![0, 5]),
            (3, 1, vec![0, 2, 5]),
            (3, 2, vec![0, 2, 3, 5]),
            // What was never verified fills up, the newest first; the incomplete one never counts.
            (3, 3, vec![0, 2, 3, 5]),
            (3, 4, vec![0, 1, 2, 3, 5]),
            (60, 1, vec![0, 1, 2, 3, 4, 5, 6]),
        ] {
            let keep = Keep {
                days,
                verified,
                ..Keep::default()
            };
            let expected: Vec<&str> = expected.into_iter().map(|at| times[at]).collect();
            assert_eq!(kept(keep, "UTC", &times), expected, "{keep}");
        }
    }

    /// A run under a clock that was ahead costs no other snapshot, now or later.
    #[test]
    fn a_snapshot_of_a_time_to_come_pushes_out_no_other() {
        let times = [
            "2099-01-01T00:00:00",
            "2026-11-23T20:00:00",
            "2026-11-22T00:00:00",
            "2026-11-20T12:00:00",
            "2026-11-01T00:00:00",
        ];
        for (keep, expected) in [
            ("days", vec![0, 1, 2]),
            ("last", vec![0, 1, 2]),
            ("daily", vec![0, 1, 2]),
        ] {
            let on = |rule: &str, number: u32| if rule == keep { number } else { 0 };
            let keep = Keep {
                days: on("days", 3),
                last: on("last", 2),
                daily: on("daily", 2),
                ..Keep::default()
            };
            let expected: Vec<&str> = expected.into_iter().map(|at| times[at]).collect();
            assert_eq!(kept(keep, "UTC", &times), expected, "{keep}");
        }
    }

    #[test]
    fn every_reason_is_told() {
        let keep = Keep {
            last: 2,
            days: 3,
            daily: 7,
            verified: 1,
            ..Keep::default()
        };
        let times = [
            "2026-11-22T00:00:00!",
            "2026-11-20T12:00:00v",
            "2026-11-20T00:00:00",
            "2026-11-01T00:00:00p",
        ];
        let told: Vec<String> = decide(&keep, &TimeZone::UTC, Timestamp::MAX, &candidates(&times))
            .iter()
            .map(|verdict| {
                let reasons: Vec<String> =
                    verdict.reasons.iter().map(ToString::to_string).collect();
                reasons.join(", ")
            })
            .collect();
        assert_eq!(
            told,
            [
                "daily 1 of 7, days 1 of 3, last 1 of 2",
                "daily 1 of 7, days 1 of 3, last 1 of 2, newest, verified 1 of 1",
                "days 1 of 3, last 2 of 2",
                "daily 2 of 7, pinned",
            ]
        );
        assert_eq!(keep.to_string(), "last 2, days 3, daily 7, verified 1");
        assert!(
            Keep {
                verified: 1,
                ..Keep::default()
            }
            .is_empty()
        );
    }

    proptest! {
        #[test]
        fn the_newest_complete_one_always_stays(
            seconds in prop::collection::vec((0i64..100_000_000, any::<bool>(), any::<bool>()), 1..60),
            last in 0u32..3, daily in 0u32..3, weekly in 0u32..3, monthly in 0u32..3,
            verified in 0u32..4,
        ) {
            let list: Vec<Candidate> = seconds
                .iter()
                .enumerate()
                .map(|(at, (second, complete, verified))| Candidate {
                    id: at.to_string(),
                    time: Timestamp::from_second(*second).unwrap(),
                    complete: *complete,
                    verified: *verified,
                    pinned: false,
                })
                .collect();
            let keep = Keep { last, daily, weekly, monthly, verified, ..Keep::default() };
            let verdicts = decide(&keep, &TimeZone::UTC, Timestamp::MAX, &list);
            prop_assert_eq!(verdicts.len(), list.len());
            prop_assert!(verdicts.iter().any(Verdict::keeps));
            let complete = list.iter().filter(|c| c.complete).max_by_key(|c| c.time);
            if let Some(newest) = complete {
                prop_assert!(verdicts.iter().any(|v| v.keeps()
                    && list.iter().any(|c| c.id == v.id && c.complete && c.time == newest.time)));
            }
            let good = |id: &str| list.iter().any(|c| c.id == id && c.complete);
            let proved = |id: &str| list.iter().any(|c| c.id == id && c.complete && c.verified);
            for is in [&good as &dyn Fn(&str) -> bool, &proved] {
                let there = list.iter().filter(|c| is(&c.id)).count();
                let left = verdicts.iter().filter(|v| v.keeps() && is(&v.id)).count();
                prop_assert!(left >= there.min(verified as usize));
            }
            if !keep.is_empty() {
                let most = 2 * (last + daily + weekly + monthly) as usize + verified as usize + 1;
                prop_assert!(verdicts.iter().filter(|v| v.keeps()).count() <= most);
            }
        }
    }
}

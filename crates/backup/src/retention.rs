//! Which snapshots stay. Pure: names and times in, reasons out.
//!
//! Every rule looks at the snapshots from the newest back and keeps the newest one of each period,
//! as restic(1) does; a snapshot may be kept by several rules. Two things are ours:
//!
//! * The rules are applied twice, once to all snapshots and once to the complete ones alone, and what
//!   either keeps is kept. So a backup that has been incomplete for weeks neither pushes out the
//!   complete snapshots nor grows without bound.
//! * The newest complete snapshot always stays, whatever the rules say.

use jiff::Timestamp;
use jiff::tz::TimeZone;

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
}

impl Keep {
    /// Whether no rule is switched on.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
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
}

/// What the rules say about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub id: String,
    /// The rules that keep it; none means that it goes.
    pub reasons: Vec<&'static str>,
}

impl Verdict {
    /// Whether the snapshot stays.
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Applies the rules; days, weeks and months are those of `zone`. The verdicts come newest first.
///
/// With no rule at all everything stays.
pub fn decide(keep: &Keep, zone: &TimeZone, candidates: &[Candidate]) -> Vec<Verdict> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.id.cmp(&b.id)));
    let mut reasons: Vec<Vec<&'static str>> = vec![Vec::new(); sorted.len()];
    let all: Vec<usize> = (0..sorted.len()).collect();
    let complete: Vec<usize> = all
        .iter()
        .copied()
        .filter(|at| sorted[*at].complete)
        .collect();
    if keep.is_empty() {
        for list in &mut reasons {
            list.push("no rule");
        }
    }
    for set in [&all, &complete] {
        apply(keep, zone, &sorted, set, &mut reasons);
    }
    if let Some(newest) = complete.first().or(all.first()) {
        reasons[*newest].push("newest");
    }
    sorted
        .into_iter()
        .zip(reasons)
        .map(|(candidate, mut reasons)| {
            reasons.sort_unstable();
            reasons.dedup();
            Verdict {
                id: candidate.id.clone(),
                reasons,
            }
        })
        .collect()
}

/// What two times must have in common to be of one period.
type Period = fn(&jiff::Zoned) -> [i32; 4];

fn apply(
    keep: &Keep,
    zone: &TimeZone,
    sorted: &[&Candidate],
    set: &[usize],
    reasons: &mut [Vec<&'static str>],
) {
    let Some(newest) = set.first().map(|at| sorted[*at].time) else {
        return;
    };
    for at in set.iter().take(keep.last as usize) {
        reasons[*at].push("last");
    }
    if keep.days > 0 {
        let reach = i64::from(keep.days) * 24 * 3600;
        for at in set {
            if newest.as_second() - sorted[*at].time.as_second() < reach {
                reasons[*at].push("days");
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
                reasons[*at].push(name);
                previous = Some(this);
                left -= 1;
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
                let complete = !text.ends_with('!');
                let time = text.trim_end_matches('!');
                Candidate {
                    id: (*text).to_owned(),
                    time: format!("{time}Z").parse().unwrap(),
                    complete,
                }
            })
            .collect()
    }

    fn kept(keep: Keep, zone: &str, times: &[&str]) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        decide(&keep, &zone, &candidates(times))
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

    proptest! {
        #[test]
        fn the_newest_complete_one_always_stays(
            seconds in prop::collection::vec((0i64..100_000_000, any::<bool>()), 1..60),
            last in 0u32..3, daily in 0u32..3, weekly in 0u32..3, monthly in 0u32..3,
        ) {
            let list: Vec<Candidate> = seconds
                .iter()
                .enumerate()
                .map(|(at, (second, complete))| Candidate {
                    id: at.to_string(),
                    time: Timestamp::from_second(*second).unwrap(),
                    complete: *complete,
                })
                .collect();
            let keep = Keep { last, daily, weekly, monthly, ..Keep::default() };
            let verdicts = decide(&keep, &TimeZone::UTC, &list);
            prop_assert_eq!(verdicts.len(), list.len());
            prop_assert!(verdicts.iter().any(Verdict::keeps));
            let complete = list.iter().filter(|c| c.complete).max_by_key(|c| c.time);
            if let Some(newest) = complete {
                prop_assert!(verdicts.iter().any(|v| v.keeps()
                    && list.iter().any(|c| c.id == v.id && c.complete && c.time == newest.time)));
            }
            if !keep.is_empty() {
                let most = 2 * (last + daily + weekly + monthly) as usize + 1;
                prop_assert!(verdicts.iter().filter(|v| v.keeps()).count() <= most);
            }
        }
    }
}

//! Which kinds are forgotten when there are too many. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Kinds of one app.
    pub(super) each: usize,
    /// Kinds of all.
    pub(super) all: usize,
    /// Bytes of all their details.
    pub(super) bytes: u64,
    /// Since the last occurrence.
    pub(super) age: Duration,
    /// Codes.
    pub(super) codes: u64,
    /// Orders of which the outcome is known.
    pub(super) orders: u64,
}

/// 500 kinds of an app, 2,000 of all, 64 MiB, 90 days, 100,000 codes.
pub(super) const BOUNDS: Bounds = Bounds {
    each: 500,
    all: 2000,
    bytes: 64 << 20,
    age: Duration::from_hours(90 * 24),
    codes: 100_000,
    orders: 1000,
};

/// What decides about a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: i64,
    pub(super) app: String,
    pub(super) last: Timestamp,
    pub(super) bytes: u64,
    /// A person has to decide about a work of it.
    pub(super) stuck: bool,
}

/// Those to forget. The one that was seen last stays longest; one that waits for a person stays as
/// long as another one can go, and whatever its age.
pub(super) fn surplus(mut held: Vec<Held>, bounds: &Bounds, now: Timestamp) -> Vec<i64> {
    held.sort_by_key(|kind| std::cmp::Reverse((kind.stuck, kind.last, kind.id)));
    let mut each: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut all, mut bytes) = (0, 0);
    let oldest = now - bounds.age;
    let mut gone = Vec::new();
    for kind in &held {
        let own = each.entry(&kind.app).or_default();
        let fits = *own < bounds.each
            && all < bounds.all
            && bytes + kind.bytes <= bounds.bytes
            && (kind.stuck || kind.last >= oldest);
        if fits {
            *own += 1;
            all += 1;
            bytes += kind.bytes;
        } else {
            gone.push(kind.id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::super::kind::tests::at;
    use super::*;

    #[test]
    fn what_is_forgotten() {
        let bounds = Bounds {
            each: 3,
            all: 5,
            bytes: 100,
            age: Duration::from_secs(1000),
            codes: 0,
            orders: 0,
        };
        let kind = |id: i64, app: &str, seconds: i64, bytes: u64, stuck: bool| Held {
            id,
            app: app.into(),
            last: at(seconds),
            bytes,
            stuck,
        };
        let many = |apps: &[&str], each: i64| -> Vec<Held> {
            let mut all = Vec::new();
            for (number, app) in apps.iter().enumerate() {
                for n in 0..each {
                    let id = i64::try_from(number).unwrap() * 100 + n;
                    all.push(kind(id, app, n, 1, false));
                }
            }
            all
        };
        let table: Vec<(&str, Vec<Held>, Vec<i64>)> = vec![
            ("nothing", Vec::new(), vec![]),
            ("all fit", many(&["a"], 3), vec![]),
            ("too many of one app", many(&["a"], 5), vec![1, 0]),
            ("too many of all", many(&["a", "b", "c"], 2), vec![0]),
            (
                "too old",
                vec![kind(1, "a", -1001, 1, false), kind(2, "a", -999, 1, false)],
                vec![1],
            ),
            (
                "old, and stuck",
                vec![kind(1, "a", -1001, 1, true), kind(2, "a", -999, 1, false)],
                vec![],
            ),
            (
                "too large together",
                vec![
                    kind(1, "a", 1, 60, false),
                    kind(2, "a", 2, 60, false),
                    kind(3, "a", 0, 30, false),
                ],
                vec![1],
            ),
            (
                "stuck ones are not safe from their own number",
                (0..4).map(|n| kind(n, "a", n, 1, true)).collect(),
                vec![0],
            ),
        ];
        for (what, held, expected) in table {
            assert_eq!(surplus(held, &bounds, at(0)), expected, "{what}");
        }
    }
}

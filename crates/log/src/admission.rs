//! Which records a sink is spared: repetitions, floods, and all but a sample of the less grave.
//!
//! Pure: the time is handed in, and what was held back is told as a [`Summary`] that whoever asks
//! writes in place. Every record that is held back is in exactly one summary.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

use crate::level::Level;
use crate::loss::Counts;
use crate::stamp::Stamp;

/// So many call sites have a limit of their own at a time; those beyond share one.
const MOST_KEYS: usize = 4096;

/// What a sink is spared. Nothing, by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionConfig {
    /// A record that is the same as the one before it is counted instead of written.
    pub dedup: Option<Dedup>,
    /// Of less grave records only some are kept.
    pub sample: Option<Sample>,
    /// More than so many in a time are held back.
    pub limit: Option<Limit>,
}

/// "last message repeated N times".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedup {
    /// After so long a repetition is written again, and what was counted is told.
    pub window: Duration,
}

impl Default for Dedup {
    /// 30 seconds.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
        }
    }
}

/// One record of so many is kept, the first, the (n+1)th and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Records of this level and above are all kept.
    pub below: Level,
    /// One of so many of the others is.
    pub one_of: NonZeroU32,
    /// How often it is told how many were left out.
    pub tell_every: Duration,
}

impl Default for Sample {
    /// One of ten below warn, told each minute.
    fn default() -> Self {
        Self {
            below: Level::Warn,
            one_of: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            tell_every: Duration::from_mins(1),
        }
    }
}

/// At most so many records in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many records …
    pub records: NonZeroU32,
    /// … in such a time, in the long run.
    pub every: Duration,
    /// So many may come at once after a silence.
    pub burst: NonZeroU32,
    /// What the limit is for.
    pub per: Per,
    /// Records of this level and above always pass and use nothing up.
    pub spare: Option<Level>,
    /// How often it is told how many were held back.
    pub tell_every: Duration,
}

impl Default for Limit {
    /// 100 a second and as many at once, for the whole sink, critical records spared, told every 5
    /// seconds.
    fn default() -> Self {
        let hundred = NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN);
        Self {
            records: hundred,
            every: Duration::from_secs(1),
            burst: hundred,
            per: Per::Sink,
            spare: Some(Level::Critical),
            tell_every: Duration::from_secs(5),
        }
    }
}

/// What a [`Limit`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All records of the sink together.
    Sink,
    /// Each place in the code for itself, that is each key.
    CallSite,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is written.
    Keep,
    /// It is written, and before it what [`Admission::take_summaries`] has.
    KeepAfterSummaries,
    /// It is held back and counted.
    Drop,
}

/// What was held back, to be written as a record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How grave that record is.
    pub level: Level,
    held: Held,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Repeated,
    Sampled(Sample),
    Limited(Limit),
}

impl Summary {
    /// How many records it speaks of, by level, trace first.
    pub fn counts(&self) -> [u64; 6] {
        self.held.counts
    }

    /// The words, with times in the zone of `stamp`.
    pub fn text(&self, stamp: &mut Stamp) -> String {
        let mut between = |time| {
            let mut out = Vec::new();
            stamp.full(time, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        let (first, last) = (between(self.held.first), between(self.held.last));
        match &self.why {
            Why::Repeated => {
                let total: u64 = self.held.counts.iter().sum();
                let times = if total == 1 { "time" } else { "times" };
                format!("last message repeated {total} {times} between {first} and {last}")
            }
            Why::Sampled(sample) => format!(
                "{} left out between {first} and {last}: one of {} below {} is kept",
                self.held, sample.one_of, sample.below
            ),
            Why::Limited(limit) => {
                let each = match limit.per {
                    Per::Sink => "",
                    Per::CallSite => " for each place in the code",
                };
                format!(
                    "{} held back by the limit of {}{each} between {first} and {last}",
                    self.held,
                    Rate(limit)
                )
            }
        }
    }
}

/// `100/s`, `5/10s`, `1/500ms`.
struct Rate<'a>(&'a Limit);

impl fmt::Display for Rate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.0.records;
        match self.0.every {
            every if every == Duration::from_secs(1) => write!(f, "{records}/s"),
            every if every == Duration::from_mins(1) => write!(f, "{records}/min"),
            every => write!(f, "{records}/{every:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    counts: Counts,
    first: Timestamp,
    last: Timestamp,
}

impl Held {
    fn add(held: &mut Option<Self>, level: Level, now: Timestamp) {
        let held = held.get_or_insert(Self {
            counts: [0; 6],
            first: now,
            last: now,
        });
        held.counts[level.index()] += 1;
        held.first = held.first.min(now);
        held.last = held.last.max(now);
    }
}

impl fmt::Display for Held {
    /// `12 records (warn 3, info 9)`, gravest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.counts.iter().sum();
        let records = if total == 1 { "record" } else { "records" };
        write!(f, "{total} {records} (")?;
        let counted = Level::ALL.iter().zip(self.counts).rev();
        for (index, (level, count)) in counted.filter(|(_, count)| *count > 0).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{level} {count}")?;
        }
        f.write_str(")")
    }
}

/// The record that repetitions are repetitions of.
struct Last {
    hash: u64,
    level: Level,
    since: Timestamp,
    held: Option<Held>,
}

/// Decides for one sink, record by record in their order.
pub struct Admission {
    config: AdmissionConfig,
    last: Option<Last>,
    /// Counts records that sampling looked at.
    turn: u32,
    sampled: Option<Held>,
    limited: Option<Held>,
    /// For each key when its next record would be due if they came evenly (the generic cell rate
    /// algorithm), in nanoseconds since 1970.
    due: HashMap<u64, i128>,
    ready: Vec<Summary>,
}

impl Admission {
    /// Nothing has been seen yet.
    pub fn new(config: AdmissionConfig) -> Self {
        Self {
            config,
            last: None,
            turn: 0,
            sampled: None,
            limited: None,
            due: HashMap::new(),
            ready: Vec::new(),
        }
    }

    /// What becomes of a record. `key` stands for the place in the code it comes from, `hash` for all
    /// that makes two records the same: level, target and message.
    pub fn decide(&mut self, now: Timestamp, level: Level, key: u64, hash: u64) -> Decision {
        if let Some(dedup) = self.config.dedup
            && let Some(last) = &mut self.last
            && last.hash == hash
            && is_within(last.since, now, dedup.window)
        {
            Held::add(&mut last.held, level, now);
            return Decision::Drop;
        }
        if let Some(sample) = self.config.sample
            && level < sample.below
        {
            let turn = self.turn;
            self.turn = (turn + 1) % sample.one_of;
            if turn != 0 {
                Held::add(&mut self.sampled, level, now);
                return Decision::Drop;
            }
        }
        if let Some(limit) = self.config.limit
            && limit.spare.is_none_or(|spare| level < spare)
            && !self.has_room(&limit, key, now)
        {
            Held::add(&mut self.limited, level, now);
            return Decision::Drop;
        }
        if self.config.dedup.is_some() {
            self.tell_repeated();
            self.last = Some(Last {
                hash,
                level,
                since: now,
                held: None,
            });
        }
        self.tell_due(now);
        if self.ready.is_empty() {
            Decision::Keep
        } else {
            Decision::KeepAfterSummaries
        }
    }

    fn has_room(&mut self, limit: &Limit, key: u64, now: Timestamp) -> bool {
        let now = now.as_nanosecond();
        let step = i128::try_from(limit.every.as_nanos()).unwrap_or(i128::MAX >> 64)
            / i128::from(limit.records.get());
        let ahead = step.saturating_mul(i128::from(limit.burst.get()) - 1);
        let key = match limit.per {
            Per::Sink => 0,
            Per::CallSite if self.due.len() < MOST_KEYS || self.due.contains_key(&key) => key,
            Per::CallSite => {
                self.due.retain(|_, due| *due > now);
                if self.due.len() < MOST_KEYS { key } else { 0 }
            }
        };
        let due = self.due.entry(key).or_insert(now);
        // Further ahead it can only be because the clock went back.
        if *due > now + ahead + step {
            *due = now;
        }
        if *due > now + ahead {
            return false;
        }
        *due = (*due).max(now) + step;
        true
    }

    /// What is to be written before the next record. Empty after most decisions.
    pub fn take_summaries(&mut self) -> Vec<Summary> {
        std::mem::take(&mut self.ready)
    }

    /// When [`Admission::due`] has something to say although no record comes.
    pub fn next_due(&self) -> Option<Timestamp> {
        let repeated = self.last.as_ref().and_then(|last| {
            let window = self.config.dedup?.window;
            last.held.as_ref().map(|_| after(last.since, window))
        });
        let sampled = self
            .sampled
            .as_ref()
            .and_then(|held| Some(after(held.first, self.config.sample?.tell_every)));
        let limited = self
            .limited
            .as_ref()
            .and_then(|held| Some(after(held.first, self.config.limit?.tell_every)));
        [repeated, sampled, limited].into_iter().flatten().min()
    }

    /// What is to be written now because its time has come.
    pub fn due(&mut self, now: Timestamp) -> Vec<Summary> {
        if let (Some(dedup), Some(last)) = (self.config.dedup, &self.last)
            && !is_within(last.since, now, dedup.window)
        {
            self.tell_repeated();
        }
        self.tell_due(now);
        self.take_summaries()
    }

    /// All that was not told yet, because the sink is closed.
    pub fn finish(&mut self) -> Vec<Summary> {
        self.tell_repeated();
        self.tell_sampled();
        self.tell_limited();
        self.take_summaries()
    }

    fn tell_due(&mut self, now: Timestamp) {
        let over = |held: &Option<Held>, every| {
            held.as_ref()
                .is_some_and(|held| !is_within(held.first, now, every))
        };
        if let Some(sample) = self.config.sample
            && over(&self.sampled, sample.tell_every)
        {
            self.tell_sampled();
        }
        if let Some(limit) = self.config.limit
            && over(&self.limited, limit.tell_every)
        {
            self.tell_limited();
        }
    }

    fn tell_repeated(&mut self) {
        if let Some(last) = &mut self.last
            && let Some(held) = last.held.take()
        {
            self.ready.push(Summary {
                level: last.level,
                held,
                why: Why::Repeated,
            });
        }
    }

    fn tell_sampled(&mut self) {
        if let (Some(sample), Some(held)) = (self.config.sample, self.sampled.take()) {
            self.ready.push(Summary {
                level: Level::Info,
                held,
                why: Why::Sampled(sample),
            });
        }
    }

    fn tell_limited(&mut self) {
        if let (Some(limit), Some(held)) = (self.config.limit, self.limited.take()) {
            self.ready.push(Summary {
                level: Level::Warn,
                held,
                why: Why::Limited(limit),
            });
        }
    }
}

/// Whether `now` is less than `span` after `start`; not if the clock went back before it.
fn is_within(start: Timestamp, now: Timestamp, span: Duration) -> bool {
    let passed = now.as_nanosecond() - start.as_nanosecond();
    u128::try_from(passed).is_ok_and(|passed| passed < span.as_nanos())
}

fn after(start: Timestamp, span: Duration) -> Timestamp {
    start.saturating_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn texts(summaries: Vec<Summary>) -> Vec<String> {
        let mut stamp = Stamp::new(TimeZone::UTC);
        summaries.iter().map(|one| one.text(&mut stamp)).collect()
    }

    fn dedup(seconds: u64) -> AdmissionConfig {
        AdmissionConfig {
            dedup: Some(Dedup {
                window: Duration::from_secs(seconds),
            }),
            ..AdmissionConfig::default()
        }
    }

    fn limit(records: u32, burst: u32, per: Per) -> AdmissionConfig {
        AdmissionConfig {
            limit: Some(Limit {
                records: NonZeroU32::new(records).unwrap(),
                burst: NonZeroU32::new(burst).unwrap(),
                per,
                ..Limit::default()
            }),
            ..AdmissionConfig::default()
        }
    }

    /// A table of (time in ms, level, key, hash) and what becomes of it.
    type Rows<'a> = &'a [(i64, Level, u64, u64, Decision)];

    #[test]
    fn decisions() {
        use Decision::{Drop, Keep, KeepAfterSummaries as After};
        use Level::{Critical, Debug, Error, Info, Warn};
        let sample = AdmissionConfig {
            sample: Some(Sample {
                one_of: NonZeroU32::new(3).unwrap(),
                ..Sample::default()
            }),
            ..AdmissionConfig::default()
        };
        let table: &[(&str, AdmissionConfig, Rows<'_>)] = &[
            (
                "nothing is configured",
                AdmissionConfig::default(),
                &[(0, Info, 1, 1, Keep), (0, Info, 1, 1, Keep)],
            ),
            (
                "repetitions",
                dedup(30),
                &[
                    (0, Info, 1, 7, Keep),
                    (1, Info, 1, 7, Drop),
                    (2, Info, 1, 8, After),
                    (3, Info, 1, 7, Keep),
                    (29_000, Info, 1, 7, Drop),
                    (30_003, Info, 1, 7, After),
                    (30_004, Info, 1, 7, Drop),
                ],
            ),
            (
                "a clock that goes back ends a window",
                dedup(30),
                &[
                    (50_000, Info, 1, 7, Keep),
                    (50_001, Info, 1, 7, Drop),
                    (10, Info, 1, 7, After),
                    (11, Info, 1, 7, Drop),
                ],
            ),
            (
                "one of three below warn",
                sample,
                &[
                    (0, Info, 1, 1, Keep),
                    (0, Debug, 1, 2, Drop),
                    (0, Warn, 1, 3, Keep),
                    (0, Info, 1, 4, Drop),
                    (0, Info, 1, 5, Keep),
                    (60_000, Info, 1, 5, Drop),
                    (60_001, Error, 1, 6, After),
                ],
            ),
            (
                "ten a second, three at once",
                limit(10, 3, Per::Sink),
                &[
                    (0, Info, 1, 1, Keep),
                    (0, Info, 2, 2, Keep),
                    (0, Info, 3, 3, Keep),
                    (0, Info, 4, 4, Drop),
                    (0, Critical, 4, 4, Keep),
                    (99, Info, 4, 4, Drop),
                    (100, Info, 4, 4, Keep),
                    (150, Info, 4, 4, Drop),
                    (10_000, Info, 4, 4, After),
                    (10_000, Info, 4, 4, Keep),
                    (10_000, Info, 4, 4, Keep),
                    (10_000, Info, 4, 4, Drop),
                ],
            ),
            (
                "a clock that goes back does not close the tap",
                limit(10, 1, Per::Sink),
                &[
                    (3_600_000, Info, 1, 1, Keep),
                    (0, Info, 1, 2, Keep),
                    (50, Info, 1, 3, Drop),
                    (100, Info, 1, 4, Keep),
                ],
            ),
            (
                "each place for itself",
                limit(1, 1, Per::CallSite),
                &[
                    (0, Info, 1, 1, Keep),
                    (0, Info, 2, 1, Keep),
                    (0, Info, 1, 2, Drop),
                    (1000, Info, 1, 2, Keep),
                ],
            ),
        ];
        for (name, config, rows) in table {
            let mut admission = Admission::new(*config);
            for (index, (time, level, key, hash, expected)) in rows.iter().enumerate() {
                let decision = admission.decide(at(*time), *level, *key, *hash);
                assert_eq!(decision, *expected, "{name}: row {index}");
                let told = admission.take_summaries();
                assert_eq!(
                    !told.is_empty(),
                    decision == After,
                    "{name}: row {index}: {told:?}"
                );
            }
        }
    }

    #[test]
    fn words() {
        let mut admission = Admission::new(AdmissionConfig {
            dedup: Some(Dedup::default()),
            ..limit(100, 1, Per::Sink)
        });
        assert_eq!(admission.next_due(), None);
        admission.decide(at(0), Level::Error, 1, 1);
        admission.decide(at(1), Level::Error, 1, 1);
        assert_eq!(admission.next_due(), Some(at(30_000)));
        admission.decide(at(2), Level::Error, 1, 1);
        for n in 0..9 {
            admission.decide(at(3), Level::Info, 1, n + 10);
        }
        for n in 0..3 {
            admission.decide(at(4), Level::Warn, 1, n + 20);
        }
        assert_eq!(admission.next_due(), Some(at(5003)));
        assert_eq!(admission.due(at(5002)), []);
        assert_eq!(
            texts(admission.due(at(5003))),
            [
                "12 records (warn 3, info 9) held back by the limit of 100/s \
              between 1970-01-01T00:00:00.003+00:00 and 1970-01-01T00:00:00.004+00:00"
            ]
        );
        assert_eq!(admission.next_due(), Some(at(30_000)));
        assert_eq!(
            texts(admission.due(at(30_000))),
            ["last message repeated 2 times \
              between 1970-01-01T00:00:00.001+00:00 and 1970-01-01T00:00:00.002+00:00"]
        );
        assert_eq!(admission.next_due(), None);
        let mut admission = Admission::new(AdmissionConfig {
            sample: Some(Sample::default()),
            ..AdmissionConfig::default()
        });
        admission.decide(at(0), Level::Info, 1, 1);
        admission.decide(at(0), Level::Info, 1, 1);
        assert_eq!(
            texts(admission.finish()),
            [
                "1 record (info 1) left out between 1970-01-01T00:00:00.000+00:00 \
              and 1970-01-01T00:00:00.000+00:00: one of 10 below warn is kept"
            ]
        );
    }

    #[test]
    fn many_places_in_the_code_do_not_take_memory_without_end() {
        let mut admission = Admission::new(limit(1, 1, Per::CallSite));
        for key in 0..100_000 {
            admission.decide(at(0), Level::Info, key + 1, key);
        }
        assert!(admission.due.len() <= MOST_KEYS + 1);
    }

    proptest! {
        #[test]
        fn every_record_is_kept_or_told(
            rows in proptest::collection::vec((-5000_i64..50_000, 0_usize..6, 0_u64..3, 0_u64..3), 0..300),
            one_of in 1_u32..4,
            burst in 1_u32..5,
        ) {
            let mut admission = Admission::new(AdmissionConfig {
                dedup: Some(Dedup { window: Duration::from_secs(2) }),
                sample: Some(Sample {
                    one_of: NonZeroU32::new(one_of).unwrap(),
                    ..Sample::default()
                }),
                ..limit(2, burst, Per::CallSite)
            });
            let mut kept = [0_u64; 6];
            let mut told = [0_u64; 6];
            let mut offered = [0_u64; 6];
            let tell = |told: &mut [u64; 6], summaries: Vec<Summary>| {
                for summary in summaries {
                    for (sum, count) in told.iter_mut().zip(summary.counts()) {
                        *sum += count;
                    }
                }
            };
            let mut time = 100_000;
            for (step, level, key, hash) in rows {
                time += step;
                let level = Level::ALL[level];
                offered[level.index()] += 1;
                if admission.decide(at(time), level, key, hash) != Decision::Drop {
                    kept[level.index()] += 1;
                    tell(&mut told, admission.take_summaries());
                }
                if let Some(due) = admission.next_due() && due <= at(time) {
                    tell(&mut told, admission.due(at(time)));
                    prop_assert!(admission.next_due().is_none_or(|next| next > at(time)));
                }
            }
            tell(&mut told, admission.finish());
            for level in Level::ALL {
                let index = level.index();
                prop_assert_eq!(kept[index] + told[index], offered[index]);
            }
        }
    }
}

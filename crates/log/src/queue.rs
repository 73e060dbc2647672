//! What waits for a sink: bounded, in order, and every loss counted. The deciding part: it takes no
//! lock and asks no clock.
//!
//! Between [`Queue::open`] and [`Queue::shut`] threads add records by themselves, as long as there is
//! room and nothing is to be decided ([`mainstay_sys::spill`]).

use std::num::NonZeroU32;
use std::time::Duration;

use mainstay_sys::spill::Half;

use crate::batch::{Batch, Mark};
use crate::level::Level;
use crate::loss::{Counts, Loss};

/// How records reach a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// The thread that writes a record hands it to the sink and waits until that has it.
    #[default]
    Direct,
    /// Records wait in memory for a thread of the sink's own.
    Queued(QueueConfig),
}

impl Delivery {
    /// How many bytes may wait; `None` without a queue.
    pub(crate) fn room(self) -> Option<usize> {
        match self {
            Self::Direct => None,
            Self::Queued(queue) => Some(queue.bytes),
        }
    }
}

/// How much may wait for a sink, for how long, and what happens when it is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// What happens to a record for which there is no room.
    pub overflow: Overflow,
    /// So many bytes may wait, beside as many that are being written.
    pub bytes: usize,
    /// Records wait at most this long for others to be written together with them.
    pub linger: Duration,
    /// So many bytes are written without waiting for more.
    pub batch: usize,
}

impl Default for QueueConfig {
    /// One mebibyte, nothing is lost, 10 ms.
    fn default() -> Self {
        Self {
            overflow: Overflow::Block,
            bytes: 1 << 20,
            linger: Duration::from_millis(10),
            // Waking the thread costs as much as some hundred records do.
            batch: 256 << 10,
        }
    }
}

/// What happens to a record when as many wait as may.
///
/// Whatever is lost is counted by level and said in place, in a record of its own. An eighth of the
/// queue is kept for records of level error and above, unless nothing is ever dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Who writes it waits. Nothing is lost as long as the process lives.
    Block,
    /// It is lost.
    DropNew,
    /// The oldest that wait are lost instead.
    DropOld,
    /// Records below this level are lost, the least grave and oldest first; who writes a graver one
    /// waits if there is nothing else to drop.
    DropBelow(Level),
    /// From half full on only one of so many below level error is kept; what finds no room then is
    /// lost.
    Sample(NonZeroU32),
}

impl QueueConfig {
    /// So many bytes of what may wait are kept for records of level error and above.
    fn reserve(&self) -> usize {
        match self.overflow {
            Overflow::Block => 0,
            _ => self.bytes / 8,
        }
    }

    /// Up to so many bytes there is nothing to decide about a record below level error.
    pub(crate) fn undecided(&self) -> usize {
        match self.overflow {
            Overflow::Sample(_) => self.bytes / 2,
            _ => self.bytes - self.reserve(),
        }
    }
}

/// What [`Queue::push`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// It waits now.
    Taken,
    /// There is no room, and it may not be dropped: try again when there is.
    Wait,
    /// It is lost, and counted.
    Lost,
    /// It is larger than the whole queue; nothing was counted.
    TooLarge,
}

/// Records one after another with what is known of each.
pub(crate) struct Store {
    half: Half,
    marks: Vec<Mark>,
    /// So many of the first marks are of records that are gone.
    gone: usize,
    /// To be said before these records: what was lost ahead of them.
    pub(crate) preface: Option<Loss>,
}

impl Store {
    pub(crate) fn new(half: Half) -> Self {
        let marks = half.capacity() / 64;
        Self {
            half,
            marks: Vec::with_capacity(marks),
            gone: 0,
            preface: None,
        }
    }

    pub(crate) fn half(&self) -> &Half {
        &self.half
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.marks.len() == self.gone
    }

    fn records(&self) -> usize {
        self.marks.len() - self.gone
    }

    /// What is there, in order.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(self.half.bytes(), &self.marks[self.gone..])
    }

    /// Takes bytes off the front, as when a sink has them. Returns how many whole records went; one
    /// that went in part is shorter then.
    pub(crate) fn discard(&mut self, bytes: usize) -> u64 {
        self.half.discard(bytes);
        let mut left = bytes;
        let mut went = 0;
        while let Some(mark) = self.marks.get_mut(self.gone) {
            if mark.length() > left {
                *mark = mark.shortened(left);
                break;
            }
            left -= mark.length();
            self.gone += 1;
            went += 1;
        }
        if self.is_empty() {
            self.clear();
        }
        went
    }

    /// Forgets all records.
    pub(crate) fn clear(&mut self) {
        self.half.clear();
        self.marks.clear();
        self.gone = 0;
    }

    #[inline]
    fn push(&mut self, bytes: &[u8], mark: Mark) -> bool {
        let taken = self.half.append(bytes);
        if taken {
            if self.gone > 1024 && self.gone * 2 > self.marks.len() {
                self.marks.drain(..self.gone);
                self.gone = 0;
            }
            self.marks.push(mark);
        }
        taken
    }

    /// Drops all records of this level, telling each.
    fn drop_level(&mut self, level: Level, mut lost: impl FnMut(Mark)) {
        let marks = &self.marks[self.gone..];
        self.half.retain(
            marks
                .iter()
                .map(|mark| (mark.length(), mark.level() != level)),
        );
        self.marks.drain(..self.gone);
        self.gone = 0;
        self.marks.retain(|mark| {
            if mark.level() == level {
                lost(*mark);
            }
            mark.level() != level
        });
    }
}

/// The records that wait for one sink.
pub(crate) struct Queue {
    config: QueueConfig,
    /// So many bytes may wait when a record below level error comes: the rest is for graver ones.
    room: usize,
    /// So many records may wait: marks need room too.
    most: usize,
    filling: Store,
    /// Lost ahead of everything that waits.
    before: Option<Loss>,
    /// Lost after everything that waits.
    after: Option<Loss>,
    /// All that was ever lost, by level.
    lost: Counts,
    /// Records that were ever taken, and of these the ones of which it is decided what became of them.
    pushed: u64,
    settled: u64,
    /// And of these the ones that are written.
    delivered: u64,
    /// Counts records for sampling.
    turn: u32,
    /// Why the sink takes nothing now.
    failing: Option<Box<str>>,
}

const FULL: &str = "the queue was full";

impl Queue {
    pub(crate) fn new(config: QueueConfig, filling: Store) -> Self {
        let capacity = config.bytes;
        Self {
            config,
            room: capacity - config.reserve(),
            most: (capacity / 16).max(64),
            filling,
            before: None,
            after: None,
            lost: [0; 6],
            pushed: 0,
            settled: 0,
            delivered: 0,
            turn: 0,
            failing: None,
        }
    }

    /// Lets threads add records by themselves, if nothing is to be decided about them. Nothing else may
    /// be asked of a queue that is open.
    pub(crate) fn open(&mut self) {
        if self.after.is_some() || !self.filling.half.open() {
            self.close();
        }
    }

    /// Ends that.
    pub(crate) fn shut(&mut self) {
        self.take_in(false);
    }

    /// The same for a time in which they should not even try.
    pub(crate) fn close(&mut self) {
        self.take_in(true);
    }

    fn take_in(&mut self, for_long: bool) {
        let Store { half, marks, .. } = &mut self.filling;
        let before = marks.len();
        half.shut(for_long, |words| marks.push(Mark::from_words(words)));
        self.pushed += (marks.len() - before) as u64;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filling.is_empty()
    }

    /// How many bytes wait, beside those that are being written.
    pub(crate) fn bytes(&self) -> usize {
        self.filling.half.len()
    }

    pub(crate) fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn lost(&self) -> Counts {
        self.lost
    }

    /// So many records more are written.
    pub(crate) fn settle(&mut self, records: u64) {
        self.settled += records;
        self.delivered += records;
    }

    /// Why the sink takes nothing, or that it does again.
    pub(crate) fn set_failing(&mut self, reason: Option<Box<str>>) {
        self.failing = reason;
    }

    /// Whether enough waits to be written at once.
    pub(crate) fn is_batch(&self) -> bool {
        self.bytes() >= self.config.batch
    }

    /// What was lost since the last record that waits, if that can be said now: the next record comes
    /// after it.
    pub(crate) fn take_after(&mut self) -> Option<Loss> {
        self.after.take()
    }

    /// Puts back what could not be said.
    pub(crate) fn put_after(&mut self, loss: Loss) {
        self.after = Some(match self.after.take() {
            None => loss,
            Some(newer) => {
                let mut counts = loss.counts;
                for (count, more) in counts.iter_mut().zip(newer.counts) {
                    *count += more;
                }
                Loss {
                    counts,
                    first: loss.first.min(newer.first),
                    last: loss.last.max(newer.last),
                    reason: newer.reason,
                }
            }
        });
    }

    /// Whether something was lost after the last record that waits.
    pub(crate) fn has_after(&self) -> bool {
        self.after.is_some()
    }

    /// Adds a record at the end, or decides what happens to it.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8], mark: Mark) -> Push {
        if self.fits(bytes.len(), mark.level())
            && !self.is_sampled_out(mark.level())
            && self.filling.push(bytes, mark)
        {
            self.pushed += 1;
            return Push::Taken;
        }
        self.push_hard(bytes, mark)
    }

    /// Adds a record of the queue's own, if there is room for it and the one that comes next.
    pub(crate) fn push_before(&mut self, bytes: &[u8], mark: Mark, next: Mark) -> bool {
        let taken =
            self.fits(bytes.len() + next.length(), next.level()) && self.filling.push(bytes, mark);
        self.pushed += u64::from(taken);
        taken
    }

    #[inline]
    fn fits(&self, length: usize, level: Level) -> bool {
        let limit = if level < Level::Error {
            self.room
        } else {
            self.config.bytes
        };
        self.bytes() + length <= limit && self.filling.records() < self.most
    }

    #[inline]
    fn is_sampled_out(&mut self, level: Level) -> bool {
        let Overflow::Sample(one_in) = self.config.overflow else {
            return false;
        };
        if level >= Level::Error || self.bytes() * 2 < self.config.bytes {
            return false;
        }
        self.turn = self.turn.wrapping_add(1);
        !self.turn.is_multiple_of(one_in.get())
    }

    #[cold]
    fn push_hard(&mut self, bytes: &[u8], mark: Mark) -> Push {
        if bytes.len() > self.config.bytes || bytes.len() > Mark::LARGEST {
            return Push::TooLarge;
        }
        match self.config.overflow {
            Overflow::Block => return Push::Wait,
            Overflow::DropNew => {}
            Overflow::Sample(_) => {
                if self.fits(bytes.len(), mark.level()) {
                    self.lose_with(mark, "under load only some are kept");
                    return Push::Lost;
                }
            }
            Overflow::DropOld => {
                // More than is needed, so that not every record moves the whole memory.
                let wanted = bytes.len().max(self.config.bytes / 16);
                self.drop_oldest(wanted);
                while !self.fits(bytes.len(), mark.level()) && !self.filling.is_empty() {
                    self.drop_oldest(1);
                }
                if self.filling.push(bytes, mark) {
                    self.pushed += 1;
                    return Push::Taken;
                }
            }
            Overflow::DropBelow(floor) => {
                for level in Level::ALL {
                    if level >= floor || self.fits(bytes.len(), mark.level()) {
                        break;
                    }
                    if level >= mark.level() {
                        // Nothing less grave waits any more.
                        break;
                    }
                    self.drop_level(level);
                }
                if self.fits(bytes.len(), mark.level()) && self.filling.push(bytes, mark) {
                    self.pushed += 1;
                    return Push::Taken;
                }
                if mark.level() >= floor {
                    return Push::Wait;
                }
            }
        }
        self.lose(mark);
        Push::Lost
    }

    /// Counts a record that does not get in.
    pub(crate) fn lose(&mut self, mark: Mark) {
        let reason = self.failing.clone();
        self.lose_with(mark, reason.as_deref().unwrap_or(FULL));
    }

    pub(crate) fn lose_with(&mut self, mark: Mark, reason: &str) {
        self.lost[mark.level().index()] += 1;
        Loss::add(&mut self.after, mark.level(), mark.time(), reason);
    }

    /// Counts what the sink itself has lost, and has said.
    pub(crate) fn count_lost(&mut self, counts: Counts) {
        for (lost, more) in self.lost.iter_mut().zip(counts) {
            *lost += more;
        }
    }

    /// Counts records that were taken to be written and never will be.
    pub(crate) fn lose_taken(&mut self, marks: impl Iterator<Item = Mark>, reason: &str) {
        for mark in marks {
            self.lost[mark.level().index()] += 1;
            self.settled += 1;
            Loss::add(&mut self.before, mark.level(), mark.time(), reason);
        }
    }

    /// Counts all that waits as lost, and gives all that was lost and not told.
    pub(crate) fn lose_all(&mut self, reason: &str) -> Option<Loss> {
        let marks = self.filling.marks.split_off(self.filling.gone);
        self.filling.clear();
        self.lose_taken(marks.into_iter(), reason);
        let before = self.before.take();
        match (before, self.after.take()) {
            (Some(before), Some(after)) => {
                self.after = Some(after);
                self.put_after(before);
                self.after.take()
            }
            (before, after) => before.or(after),
        }
    }

    fn lose_waiting(&mut self, mark: Mark) {
        self.lost[mark.level().index()] += 1;
        self.settled += 1;
        let reason = self.failing.as_deref().unwrap_or(FULL);
        Loss::add(&mut self.before, mark.level(), mark.time(), reason);
    }

    fn drop_oldest(&mut self, bytes: usize) {
        let mut length = 0;
        let mut at = self.filling.gone;
        while length < bytes
            && let Some(mark) = self.filling.marks.get(at).copied()
        {
            length += mark.length();
            at += 1;
            self.lose_waiting(mark);
        }
        self.filling.discard(length);
    }

    fn drop_level(&mut self, level: Level) {
        let mut gone = Vec::new();
        self.filling.drop_level(level, |mark| gone.push(mark));
        for mark in gone {
            self.lose_waiting(mark);
        }
    }

    /// Takes all that waits, to be written, and leaves an empty store in its place.
    pub(crate) fn take(&mut self, empty: Store) -> Store {
        debug_assert!(empty.is_empty(), "nothing is forgotten in it");
        let mut taken = std::mem::replace(&mut self.filling, empty);
        taken.preface = self.before.take();
        taken
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mainstay_sys::spill;
    use proptest::prelude::*;

    use super::*;

    fn queue(bytes: usize, overflow: Overflow) -> (Queue, Store) {
        let (_, first, second) = spill::pair(bytes, bytes);
        let config = QueueConfig {
            overflow,
            bytes,
            ..QueueConfig::default()
        };
        (Queue::new(config, Store::new(first)), Store::new(second))
    }

    fn mark(level: Level, length: usize) -> Mark {
        Mark::new(Timestamp::UNIX_EPOCH, level, length)
    }

    fn push(queue: &mut Queue, level: Level, text: &str) -> Push {
        queue.push(text.as_bytes(), mark(level, text.len()))
    }

    fn text(store: &Store) -> String {
        String::from_utf8(store.batch().bytes().to_vec()).unwrap()
    }

    use Level::{Critical, Debug, Info, Warn};

    // Into 40 bytes go records of ten, each named by level and number; 35 are for all.
    type Row = (
        &'static str,
        Overflow,
        &'static [(Level, &'static str)],
        &'static str,
        Counts,
    );
    const SIX: &[(Level, &str)] = &[
        (Info, "i1......."),
        (Debug, "d2......."),
        (Warn, "w3......."),
        (Debug, "d4......."),
        (Warn, "w5......."),
        (Critical, "c6......."),
    ];

    #[test]
    fn policies() {
        let two = NonZeroU32::new(2).unwrap();
        let table: [Row; 5] = [
            (
                "drop new",
                Overflow::DropNew,
                SIX,
                "i1 d2 w3 c6",
                [0, 1, 0, 1, 0, 0],
            ),
            (
                "drop old",
                Overflow::DropOld,
                SIX,
                "w3 d4 w5 c6",
                [0, 1, 1, 0, 0, 0],
            ),
            (
                "drop below warn",
                Overflow::DropBelow(Warn),
                SIX,
                "i1 w3 w5 c6",
                [0, 2, 0, 0, 0, 0],
            ),
            (
                "sample",
                Overflow::Sample(two),
                SIX,
                "i1 d2 d4 c6",
                [0, 0, 0, 2, 0, 0],
            ),
            ("block", Overflow::Block, &SIX[..4], "i1 d2 w3 d4", [0; 6]),
        ];
        for (name, overflow, records, expected, lost) in table {
            let (mut queue, empty) = queue(40, overflow);
            for (level, text) in records {
                assert_ne!(
                    push(&mut queue, *level, &format!("{text} ")),
                    Push::Wait,
                    "{name}"
                );
            }
            assert_eq!(queue.lost(), lost, "{name}");
            let seen = text(&queue.take(empty)).replace('.', "");
            assert_eq!(seen.trim(), expected, "{name}");
        }
    }

    #[test]
    fn who_may_not_lose_waits() {
        let (mut blocks, empty) = queue(16, Overflow::Block);
        assert_eq!(push(&mut blocks, Level::Trace, "0123456789"), Push::Taken);
        assert_eq!(push(&mut blocks, Level::Critical, "0123456789"), Push::Wait);
        let taken = blocks.take(empty);
        assert_eq!(
            push(&mut blocks, Level::Critical, "0123456789"),
            Push::Taken
        );
        assert_eq!(taken.batch().len(), 1);
        assert_eq!(
            push(&mut blocks, Level::Info, "01234567890123456"),
            Push::TooLarge
        );

        let (mut drops, _) = queue(40, Overflow::DropBelow(Level::Warn));
        for _ in 0..3 {
            assert_eq!(push(&mut drops, Level::Warn, "0123456789"), Push::Taken);
        }
        assert_eq!(push(&mut drops, Level::Warn, "0123456789"), Push::Wait);
        assert_eq!(push(&mut drops, Level::Info, "0123456789"), Push::Lost);
        assert_eq!(
            push(&mut drops, Level::Error, "0123456789"),
            Push::Taken,
            "the reserve"
        );
        assert_eq!(push(&mut drops, Level::Error, "0123456789"), Push::Wait);
    }

    #[test]
    fn a_loss_is_told_where_it_happened() {
        let (mut old, empty) = queue(20, Overflow::DropOld);
        for _ in 0..5 {
            push(&mut old, Level::Info, "12345678\n");
        }
        assert!(!old.has_after());
        let taken = old.take(empty);
        assert_eq!(taken.batch().len(), 2);
        let loss = taken.preface.unwrap();
        assert_eq!(loss.to_string(), "3 info records lost");
        assert_eq!(&*loss.reason, "the queue was full");

        let (mut new, empty) = queue(20, Overflow::DropNew);
        for _ in 0..5 {
            push(&mut new, Level::Info, "12345678\n");
        }
        let taken = new.take(empty);
        assert!(taken.preface.is_none());
        assert_eq!(new.take_after().unwrap().to_string(), "3 info records lost");
    }

    #[test]
    fn what_a_sink_took_in_part_is_continued() {
        let (mut queue, empty) = queue(100, Overflow::Block);
        for text in ["one\n", "two\n", "three\n"] {
            push(&mut queue, Level::Info, text);
        }
        let mut store = queue.take(empty);
        assert_eq!(store.discard(6), 1);
        assert_eq!(text(&store), "o\nthree\n");
        assert_eq!(store.batch().len(), 2);
        assert_eq!(store.discard(2), 1);
        assert_eq!(store.discard(6), 1);
        assert!(store.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Push(usize, usize),
        Take(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0..6_usize, 1..40_usize).prop_map(|(level, length)| Act::Push(level, length)),
            1 => (0..200_usize).prop_map(Act::Take),
        ]
    }

    fn overflow() -> impl Strategy<Value = Overflow> {
        prop_oneof![
            Just(Overflow::Block),
            Just(Overflow::DropNew),
            Just(Overflow::DropOld),
            (0..6_usize).prop_map(|level| Overflow::DropBelow(Level::ALL[level])),
            (1..5_u32).prop_map(|n| Overflow::Sample(NonZeroU32::new(n).unwrap())),
        ]
    }

    proptest! {
        /// Every record is written once and in order, lost and counted, or refused to the caller.
        #[test]
        fn nothing_is_unaccounted_for(
            overflow in overflow(),
            acts in prop::collection::vec(act(), 1..200),
        ) {
            let (mut queue, empty) = queue(128, overflow);
            let mut spare = Some(empty);
            let (mut given, mut refused, mut written) = (0_u64, 0_u64, Vec::new());
            let mut said = [0_u64; 6];
            let mut count = |loss: Option<Loss>| {
                for (sum, count) in said.iter_mut().zip(loss.map_or([0; 6], |loss| loss.counts)) {
                    *sum += count;
                }
            };
            for act in acts.into_iter().chain([Act::Take(1000)]) {
                match act {
                    Act::Push(level, length) => {
                        let text = format!("{given:length$}\n");
                        match push(&mut queue, Level::ALL[level], &text) {
                            Push::Wait | Push::TooLarge => refused += 1,
                            Push::Taken | Push::Lost => {}
                        }
                        given += 1;
                    }
                    Act::Take(bytes) => {
                        let mut store = queue.take(spare.take().unwrap());
                        count(store.preface.take());
                        let all = text(&store);
                        written.extend(all.lines().map(|line| line.trim().parse::<u64>().unwrap()));
                        let records = store.discard(bytes.min(all.len()));
                        prop_assert_eq!(text(&store), &all[bytes.min(all.len())..]);
                        queue.settle(records + store.batch().len() as u64);
                        store.clear();
                        spare = Some(store);
                        count(queue.take_after());
                    }
                }
            }
            let lost: u64 = queue.lost().iter().sum();
            prop_assert!(written.is_sorted());
            prop_assert_eq!(queue.lost(), said);
            prop_assert_eq!(written.len() as u64 + lost + refused, given);
            prop_assert_eq!(queue.pushed(), queue.settled());
            if overflow == Overflow::Block {
                prop_assert_eq!(lost, 0);
            }
        }
    }
}

//! The notifications that wait for a process of one event listener.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::kind::Mask;
use super::notification::{Notification, Serials};

/// What waits for the processes of one `[eventlistener:x]`: each notification goes to one of
/// them.
///
/// It never holds more than its capacity; the oldest makes room.
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    mask: Mask,
    capacity: usize,
    serials: Serials,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    serial: u64,
    notification: Notification,
}

/// A notification on its way to a listener. It cannot be copied: either the listener accepts it
/// and it is dropped, or it goes back by [`Pool::give_back`].
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    pool: Arc<str>,
    pool_serial: u64,
    notification: Notification,
}

/// A notification that was dropped for want of room. Its text is supervisord's line about it,
/// logged as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// The pool that was full.
    pub pool: Arc<str>,
    /// The number of the notification among all.
    pub serial: u64,
}

impl Pool {
    /// An empty pool. It holds `capacity` notifications, and at least one.
    pub fn new(name: &str, mask: Mask, capacity: usize) -> Self {
        Self {
            name: name.into(),
            mask,
            capacity: capacity.max(1),
            serials: Serials::default(),
            waiting: VecDeque::new(),
        }
    }

    /// Its name, which is the name of the group of its processes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it subscribes to.
    pub fn mask(&self) -> Mask {
        self.mask
    }

    /// How many notifications it holds at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many notifications wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The counter of this pool, for a journal.
    pub fn serials(&self) -> &Serials {
        &self.serials
    }

    /// Goes on with the counter of an earlier daemon.
    pub fn resume(&mut self, serials: Serials) {
        self.serials = serials;
    }

    /// Keeps the notification if the pool subscribes to its kind, and gives it the pool's next
    /// number. The answer tells what was dropped for it.
    #[must_use = "what is dropped is logged"]
    pub fn offer(&mut self, notification: &Notification) -> Option<Discarded> {
        if !self.mask.contains(notification.kind) {
            return None;
        }
        let discarded = self.make_room();
        let serial = self.serials.next();
        self.waiting.push_back(Waiting {
            serial,
            notification: notification.clone(),
        });
        discarded
    }

    /// The oldest notification, for a listener that is ready.
    pub fn take(&mut self) -> Option<Delivery> {
        let Waiting {
            serial,
            notification,
        } = self.waiting.pop_front()?;
        Some(Delivery {
            pool: Arc::clone(&self.name),
            pool_serial: serial,
            notification,
        })
    }

    /// Takes back what a listener rejected or did not live to answer: it is the next to be
    /// taken, with the number that it had. In a full pool the oldest of the others is dropped
    /// for it, as supervisord does.
    ///
    /// `delivery` comes from this pool.
    #[must_use = "what is dropped is logged"]
    pub fn give_back(&mut self, delivery: Delivery) -> Option<Discarded> {
        debug_assert_eq!(self.name, delivery.pool, "it goes back where it came from");
        let discarded = self.make_room();
        self.waiting.push_front(Waiting {
            serial: delivery.pool_serial,
            notification: delivery.notification,
        });
        discarded
    }

    /// supervisord's debug line before a delivery is given back.
    pub fn rebuffering_line(&self, delivery: &Delivery) -> String {
        format!(
            "rebuffering event {} for pool {} (buf size={}, max={})",
            delivery.serial(),
            self.name,
            self.len(),
            self.capacity
        )
    }

    /// A delivery that an earlier daemon took from the pool of this name.
    pub(super) fn redelivery(&self, pool_serial: u64, notification: Notification) -> Delivery {
        Delivery {
            pool: Arc::clone(&self.name),
            pool_serial,
            notification,
        }
    }

    fn make_room(&mut self) -> Option<Discarded> {
        if self.waiting.len() < self.capacity {
            return None;
        }
        let oldest = self.waiting.pop_front()?;
        Some(Discarded {
            pool: Arc::clone(&self.name),
            serial: oldest.notification.serial,
        })
    }
}

impl Delivery {
    /// The name of the pool it comes from.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Its number in the pool.
    pub fn pool_serial(&self) -> u64 {
        self.pool_serial
    }

    /// Its number among all notifications.
    pub fn serial(&self) -> u64 {
        self.notification.serial
    }

    /// What is delivered.
    pub fn notification(&self) -> &Notification {
        &self.notification
    }

    /// What is written to the listener: the header line and the payload. `identifier` is the
    /// daemon's, from `[supervisord]`.
    pub fn envelope(&self, identifier: &str) -> Vec<u8> {
        let Notification {
            kind,
            payload,
            serial,
        } = &self.notification;
        let header = format!(
            "ver:3.0 server:{identifier} serial:{serial} pool:{} poolserial:{} eventname:{kind} len:{}\n",
            self.pool,
            self.pool_serial,
            // What a reader that decodes as it reads gets, as Python's do: characters.
            String::from_utf8_lossy(payload).chars().count()
        );
        let mut envelope = header.into_bytes();
        envelope.extend_from_slice(payload);
        envelope
    }

    /// supervisord's debug line after it was written to `process`.
    pub fn sent_line(&self, process: &str) -> String {
        format!("event {} sent to listener {process}", self.serial())
    }

    /// supervisord's debug line when `process` has closed its stdin.
    pub fn broken_pipe_line(&self, process: &str) -> String {
        format!(
            "epipe occurred while sending event {} to listener {process}, listener state unchanged",
            self.serial()
        )
    }
}

impl fmt::Display for Discarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pool {} event buffer overflowed, discarding event {}",
            self.pool, self.serial
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Kind;
    use super::*;

    fn tick(serial: u64) -> Notification {
        Notification::tick(serial, Kind::Tick5, serial)
    }

    #[test]
    fn only_what_is_subscribed_to_is_kept() {
        let mut pool = Pool::new("p", Mask::PROCESS_STATE, 1);
        assert_eq!(pool.offer(&tick(0)), None);
        assert!(pool.is_empty() && pool.take().is_none());
        assert_eq!(pool.serials().peek(), 0);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut pool = Pool::new("p", Mask::TICK, 2);
        assert_eq!(pool.offer(&tick(10)), None);
        assert_eq!(pool.offer(&tick(11)), None);
        let lost = pool.offer(&tick(12)).unwrap();
        assert_eq!(
            lost.to_string(),
            "pool p event buffer overflowed, discarding event 10"
        );
        // What comes back stays, and the oldest of the others goes.
        let taken = pool.take().unwrap();
        assert_eq!((taken.serial(), taken.pool_serial()), (11, 1));
        assert_eq!(pool.offer(&tick(13)), None);
        assert_eq!(pool.give_back(taken).map(|lost| lost.serial), Some(12));
        let order: Vec<_> = std::iter::from_fn(|| pool.take())
            .map(|delivery| (delivery.serial(), delivery.pool_serial()))
            .collect();
        assert_eq!(order, [(11, 1), (13, 3)]);
        // A pool without room for one has it all the same.
        assert_eq!(Pool::new("p", Mask::TICK, 0).capacity(), 1);
    }

    #[test]
    fn the_header_counts_characters() {
        let mut pool = Pool::new("pool", Mask::ALL, 2);
        assert_eq!(pool.offer(&Notification::remote(3, "t", "é")), None);
        let delivery = pool.take().unwrap();
        let expected = "ver:3.0 server:id serial:3 pool:pool poolserial:0 \
                        eventname:REMOTE_COMMUNICATION len:8\ntype:t\né";
        assert_eq!(
            String::from_utf8(delivery.envelope("id")).unwrap(),
            expected
        );
    }

    #[test]
    fn clones_share_the_payload() {
        let note = tick(0);
        let mut pools = ["a", "b"].map(|name| Pool::new(name, Mask::ALL, 1));
        for pool in &mut pools {
            assert_eq!(pool.offer(&note), None);
        }
        assert_eq!(Arc::strong_count(&note.payload), 3);
    }

    proptest! {
        /// 0 offers, 1 takes, 2 gives back the last that was taken, 3 finishes it.
        #[test]
        fn nothing_comes_twice_or_out_of_order(
            capacity in 1_usize..5,
            todo in proptest::collection::vec(0_u8..4, 0..100),
        ) {
            let mut pool = Pool::new("p", Mask::ALL, capacity);
            let mut taken: Vec<Delivery> = Vec::new();
            let mut gone = std::collections::BTreeSet::new();
            let mut offered = 0;
            for what in todo {
                let discarded = match what {
                    0 => {
                        offered += 1;
                        pool.offer(&tick(offered - 1))
                    }
                    1 => {
                        taken.extend(pool.take());
                        None
                    }
                    2 => taken.pop().and_then(|delivery| {
                        let serial = delivery.serial();
                        let discarded = pool.give_back(delivery);
                        assert_ne!(discarded.as_ref().map(|lost| lost.serial), Some(serial));
                        discarded
                    }),
                    _ => {
                        if let Some(delivery) = taken.pop() {
                            prop_assert!(gone.insert(delivery.serial()));
                        }
                        None
                    }
                };
                if let Some(lost) = discarded {
                    prop_assert!(gone.insert(lost.serial));
                }
                prop_assert!(pool.len() <= capacity);
                let waiting: Vec<u64> =
                    pool.waiting.iter().map(|waiting| waiting.notification.serial).collect();
                prop_assert!(waiting.is_sorted(), "{:?}", waiting);
                // Each is in one place, and none is lost without a word.
                let mut places: Vec<u64> = waiting;
                places.extend(taken.iter().map(Delivery::serial));
                places.extend(&gone);
                places.sort_unstable();
                prop_assert_eq!(places, (0..offered).collect::<Vec<_>>());
                // The pool's own numbers stay with what they were given to.
                let kept = pool.waiting.iter().all(|w| w.serial == w.notification.serial);
                prop_assert!(kept);
            }
        }
    }
}

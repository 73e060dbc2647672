//! What a journal keeps about a listener.

use std::sync::Arc;

use super::kind::Kind;
use super::listener::{Awaits, LONGEST_LINE, LONGEST_RESULT, Listener, RESULT_KEPT};
use super::notification::Notification;
use super::pool::{Delivery, Pool};

/// So many bytes of a payload are kept.
pub const LONGEST_PAYLOAD: usize = 64 * 1024;

const VERSION: u8 = 1;

const TOKEN: u8 = 0;
const NOTIFICATION: u8 = 1;
const LINE: u8 = 2;
const RESULT: u8 = 3;
const NOTHING: u8 = 4;

/// A listener and what it is busy with, to outlive the daemon: the next one goes on reading where
/// this one was, and gives back what the listener rejects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenerRecord {
    /// What the listener has said.
    pub listener: Listener,
    /// What was sent to it, and not answered.
    pub in_flight: Option<InFlight>,
}

/// A [`Delivery`] as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// What is delivered; of its payload the first [`LONGEST_PAYLOAD`] bytes at most.
    pub notification: Notification,
    /// Its number in the pool.
    pub pool_serial: u64,
    /// How many bytes of the payload are not kept. What the listener rejects is delivered again
    /// without them, which is worth a word in the log.
    pub cut: u64,
    /// How many bytes of the envelope are in the pipe; the rest is still to be written.
    pub written: u64,
}

impl InFlight {
    /// What is to be kept of a delivery. It is bounded, and does not cut a character in two.
    pub fn new(delivery: &Delivery, written: u64) -> Self {
        let mut notification = delivery.notification().clone();
        let whole = notification.payload.len();
        if whole > LONGEST_PAYLOAD {
            let continues = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
            let mut end = LONGEST_PAYLOAD;
            while end > LONGEST_PAYLOAD - 3 && continues(notification.payload[end]) {
                end -= 1;
            }
            notification.payload = notification.payload[..end].into();
        }
        Self {
            cut: (whole - notification.payload.len()) as u64,
            notification,
            pool_serial: delivery.pool_serial(),
            written,
        }
    }

    /// The delivery again; `pool` is the pool that it came from.
    pub fn into_delivery(self, pool: &Pool) -> Delivery {
        pool.redelivery(self.pool_serial, self.notification)
    }
}

impl ListenerRecord {
    /// The bytes of it: a version, what the listener is awaited to say with what it has said of
    /// it, and what is in flight. Numbers are little-endian. It is never longer than
    /// [`LONGEST_PAYLOAD`] and some kilobytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        match &self.listener.awaits {
            Awaits::Token(token) => {
                bytes.push(TOKEN);
                put(&mut bytes, token);
            }
            Awaits::Notification => bytes.push(NOTIFICATION),
            Awaits::Line(line) => {
                bytes.push(LINE);
                put(&mut bytes, line);
            }
            Awaits::Result { missing, kept } => {
                bytes.push(RESULT);
                put_number(&mut bytes, *missing as u64);
                put(&mut bytes, kept);
            }
            Awaits::Nothing => bytes.push(NOTHING),
        }
        if let Some(in_flight) = &self.in_flight {
            let notification = &in_flight.notification;
            bytes.push(notification.kind as u8);
            put_number(&mut bytes, notification.serial);
            put_number(&mut bytes, in_flight.pool_serial);
            put_number(&mut bytes, in_flight.cut);
            put_number(&mut bytes, in_flight.written);
            put(&mut bytes, &notification.payload);
        }
        bytes
    }

    /// Reads what [`ListenerRecord::encode`] wrote. `None` for anything that it never writes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.byte()? != VERSION {
            return None;
        }
        let awaits = match from.byte()? {
            TOKEN => Awaits::Token(from.bytes(b"READY".len())?.to_vec()),
            NOTIFICATION => Awaits::Notification,
            LINE => {
                let line = from.bytes(LONGEST_LINE)?;
                if line.contains(&b'\n') {
                    return None;
                }
                Awaits::Line(line.to_vec())
            }
            RESULT => {
                let missing = usize::try_from(from.number()?).ok()?;
                if !(1..=LONGEST_RESULT).contains(&missing) {
                    return None;
                }
                let kept = from.bytes(RESULT_KEPT)?.to_vec();
                Awaits::Result { missing, kept }
            }
            NOTHING => Awaits::Nothing,
            _ => return None,
        };
        let in_flight = if from.0.is_empty() {
            None
        } else {
            Some(InFlight::decode(&mut from)?)
        };
        let listener = Listener { awaits };
        from.0.is_empty().then_some(Self {
            listener,
            in_flight,
        })
    }
}

impl InFlight {
    fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let kind = Kind::from_number(from.byte()?)?;
        let serial = from.number()?;
        let pool_serial = from.number()?;
        let cut = from.number()?;
        let written = from.number()?;
        let payload: Arc<[u8]> = from.bytes(LONGEST_PAYLOAD)?.into();
        let notification = Notification {
            kind,
            payload,
            serial,
        };
        Some(Self {
            notification,
            pool_serial,
            cut,
            written,
        })
    }
}

fn put_number(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

/// Bytes with their length before them.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    /// Bytes with their length before them, which is not above `longest`.
    fn bytes(&mut self, longest: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        if length > longest {
            return None;
        }
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::listener::{State, Step};
    use super::super::notification::{Channel, Who};
    use super::super::{Kind, Mask};
    use super::*;

    fn delivery(pool: &mut Pool, data: &[u8]) -> Delivery {
        let who = Who {
            process: "p",
            group: "g",
        };
        let note = Notification::log(17, who, 9, Channel::Stdout, data);
        assert_eq!(pool.offer(&note), None);
        pool.take().unwrap()
    }

    fn round(record: &ListenerRecord) {
        let bytes = record.encode();
        assert_eq!(ListenerRecord::decode(&bytes).as_ref(), Some(record));
        for end in 0..bytes.len().min(200) {
            let cut = ListenerRecord::decode(&bytes[..end]);
            assert!(cut.is_none_or(|cut| cut.in_flight.is_none()), "{end}");
        }
        let mut more = bytes;
        more.push(0);
        assert_eq!(ListenerRecord::decode(&more), None);
    }

    #[test]
    fn every_state_comes_back() {
        let mut pool = Pool::new("pool", Mask::ALL, 10);
        for (said, then, state) in [
            (&b""[..], &b""[..], State::Acknowledged),
            (b"READY", b"", State::Acknowledged),
            (b"READY\n", b"", State::Busy),
            (b"READY\n", b"RESULT 1", State::Busy),
            (b"READY\n", b"RESULT 12\n", State::Busy),
            (b"READY\n", b"RESULT 12\nOK", State::Busy),
            (b"READY\n", b"\n", State::Unknown),
        ] {
            let mut listener = Listener::default();
            listener.feed(said, drop);
            let in_flight = listener.sent().then(|| {
                let delivery = delivery(&mut pool, b"data");
                InFlight::new(&delivery, 3)
            });
            listener.feed(then, drop);
            assert_eq!(listener.state(), state);
            round(&ListenerRecord {
                listener,
                in_flight,
            });
        }
        let mut listener = Listener::default();
        listener.feed(b"READY\n", drop);
        round(&ListenerRecord {
            listener,
            in_flight: None,
        });
    }

    #[test]
    fn the_next_daemon_goes_on() {
        let mut pool = Pool::new("pool", Mask::ALL, 10);
        let mut listener = Listener::default();
        listener.feed(b"READY\n", drop);
        let sent = delivery(&mut pool, b"data");
        assert!(listener.sent());
        listener.feed(b"RESULT 4\nFA", drop);
        let bytes = ListenerRecord {
            listener,
            in_flight: Some(InFlight::new(&sent, 0)),
        }
        .encode();

        let mut record = ListenerRecord::decode(&bytes).unwrap();
        let mut steps = Vec::new();
        record.listener.feed(b"ILREADY\n", |step| steps.push(step));
        assert_eq!(steps, [Step::Rejected(b"FAIL".to_vec()), Step::Ready]);
        let mut pool = Pool::new("pool", Mask::ALL, 10);
        let again = record.in_flight.unwrap().into_delivery(&pool);
        assert_eq!(again, sent);
        assert_eq!(pool.give_back(again), None);
        assert_eq!(pool.take().unwrap().envelope("id"), sent.envelope("id"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = Pool::new("pool", Mask::ALL, 10);
        for data in ["x", "é", "€", "𝄞"] {
            for shift in ["", "1", "12", "123"] {
                let data = shift.to_owned() + &data.repeat(LONGEST_PAYLOAD);
                let sent = delivery(&mut pool, data.as_bytes());
                let kept = InFlight::new(&sent, 0);
                let whole = &sent.notification().payload;
                let payload = &kept.notification.payload;
                assert_eq!(payload.len() as u64 + kept.cut, whole.len() as u64);
                assert!(whole.starts_with(payload));
                assert!((LONGEST_PAYLOAD - 3..=LONGEST_PAYLOAD).contains(&payload.len()));
                assert!(std::str::from_utf8(payload).is_ok());
                round(&ListenerRecord {
                    listener: Listener::default(),
                    in_flight: Some(kept),
                });
            }
        }
    }

    #[test]
    fn what_is_never_written_is_refused() {
        let number = |number: u64| number.to_le_bytes().to_vec();
        let long = |tag: u8, length: usize| {
            let mut bytes = vec![VERSION, tag];
            put(&mut bytes, &vec![b'x'; length]);
            bytes
        };
        for (name, bytes) in [
            ("nothing", vec![]),
            ("other version", vec![2, NOTIFICATION]),
            ("other tag", vec![VERSION, 5]),
            ("whole token", long(TOKEN, 6)),
            ("long line", long(LINE, LONGEST_LINE + 1)),
            (
                "whole line",
                [vec![VERSION, LINE], number(1), b"\n".to_vec()].concat(),
            ),
            (
                "whole result",
                [vec![VERSION, RESULT], number(0), number(0)].concat(),
            ),
            (
                "large result",
                [vec![VERSION, RESULT], number(1 << 30), number(0)].concat(),
            ),
            (
                "unknown kind",
                [vec![VERSION, NOTIFICATION, 20], vec![0; 40]].concat(),
            ),
            (
                "length beyond the end",
                [vec![VERSION, TOKEN], number(u64::MAX)].concat(),
            ),
        ] {
            assert_eq!(ListenerRecord::decode(&bytes), None, "{name}");
        }
        assert!(ListenerRecord::decode(&long(LINE, LONGEST_LINE)).is_some());
        assert_eq!(Kind::ALL.len(), 20);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            tag in 0_u8..5,
            awaited in any::<bool>(),
        ) {
            if awaited && bytes.len() > 2 {
                bytes[0] = VERSION;
                bytes[1] = tag;
                bytes.iter_mut().skip(3).take(7).for_each(|byte| *byte = 0);
            }
            if let Some(record) = ListenerRecord::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}

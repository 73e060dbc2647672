//! Packets over a stream: headers, sequence numbers, those that are continued, and limits.
//!
//! A packet is at most 16 MiB less one byte long; a payload that is longer goes on in the next, and
//! one that fills its packets exactly ends with an empty one.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use std::io::{ErrorKind as Io, Read, Write};

use crate::error::{Error, ErrorKind};

/// The longest payload of one packet.
pub(crate) const LONGEST: usize = 0xff_ffff;
const HEADER: usize = 4;
/// How much is read at once: few calls, and it stays in the cache of a processor.
const BUFFER: usize = 256 << 10;
/// What is sent in one write with its header.
const SMALL: usize = 16 << 10;

/// Where a payload is until the next one is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    start: usize,
    end: usize,
    joined: bool,
}

pub(crate) struct Channel<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A payload of several packets.
    joined: Vec<u8>,
    sequence: u8,
    /// The longest payload that is taken.
    pub(crate) limit: usize,
}

impl<S: Read + Write> Channel<S> {
    pub(crate) fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            joined: Vec::new(),
            sequence: 0,
            limit,
        }
    }

    /// A new command begins: packets count from 0 again.
    pub(crate) fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Whether something came that nobody has read.
    pub(crate) fn has_unread(&self) -> bool {
        self.end > self.start
    }

    /// Reads the next payload. It stays where it is until the next call.
    pub(crate) fn read(&mut self) -> Result<Packet, Error> {
        if !self.joined.is_empty() {
            // Long ones are rare, and their memory is not kept.
            self.joined = Vec::new();
        }
        loop {
            self.fill(HEADER)?;
            let [a, b, c, sequence] = self.buffer[self.start..][..HEADER] else {
                return Err(Error::protocol("a packet without a header"));
            };
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if sequence != self.sequence {
                return Err(Error::protocol(format_args!(
                    "packet {sequence} came where {} was to come",
                    self.sequence
                )));
            }
            self.sequence = self.sequence.wrapping_add(1);
            if self.joined.len() + length > self.limit {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("the server sent more than {} bytes at once", self.limit),
                ));
            }
            self.start += HEADER;
            self.fill(length)?;
            let start = self.start;
            self.start += length;
            if length < LONGEST && self.joined.is_empty() {
                return Ok(Packet {
                    start,
                    end: self.start,
                    joined: false,
                });
            }
            self.joined
                .extend_from_slice(&self.buffer[start..self.start]);
            if length < LONGEST {
                return Ok(Packet {
                    start: 0,
                    end: self.joined.len(),
                    joined: true,
                });
            }
        }
    }

    /// The payload that was read last.
    pub(crate) fn payload(&self, packet: Packet) -> &[u8] {
        let from = if packet.joined {
            &self.joined
        } else {
            &self.buffer
        };
        &from[packet.start..packet.end]
    }

    /// Has at least `count` unread bytes in the buffer.
    fn fill(&mut self, count: usize) -> Result<(), Error> {
        if self.end - self.start >= count {
            return Ok(());
        }
        if self.start + count > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if count > self.buffer.len() {
                self.buffer.resize(count.max(BUFFER), 0);
            }
        }
        while self.end - self.start < count {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(Error::of_stream(Io::UnexpectedEof.into())),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) => return Err(Error::of_stream(error)),
            }
        }
        Ok(())
    }

    /// Sends a payload as the next packet, or as many as it needs.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut rest = payload;
        loop {
            let (now, later) = rest.split_at(rest.len().min(LONGEST));
            self.write_one(now).map_err(Error::of_stream)?;
            if now.len() < LONGEST {
                return Ok(());
            }
            rest = later;
        }
    }

    fn write_one(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        let header = [length[0], length[1], length[2], self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        if payload.len() <= SMALL {
            // Zeroed when it goes: passwords are among what is small.
            let mut whole = zeroize::Zeroizing::new(Vec::with_capacity(HEADER + payload.len()));
            whole.extend_from_slice(&header);
            whole.extend_from_slice(payload);
            self.stream.write_all(&whole)?;
        } else {
            self.stream.write_all(&header)?;
            self.stream.write_all(payload)?;
        }
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Gives what it was given, a few bytes at a time, and keeps what is written.
    struct Wire {
        from: Cursor<Vec<u8>>,
        step: usize,
        to: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(self.step);
            self.from.read(&mut buffer[..length])
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.to.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn channel(bytes: Vec<u8>, step: usize) -> Channel<Wire> {
        let wire = Wire {
            from: Cursor::new(bytes),
            step,
            to: Vec::new(),
        };
        Channel::new(wire, 100 << 20)
    }

    fn written(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = channel(Vec::new(), 1);
        for payload in payloads {
            out.write(payload).unwrap();
        }
        out.stream.to
    }

    #[test]
    fn long_payloads_are_continued() {
        for length in [0, 1, LONGEST - 1, LONGEST, LONGEST + 1] {
            let payload: Vec<u8> = (0..length)
                .map(|i| u8::try_from(i % 251).unwrap())
                .collect();
            let bytes = written(&[payload.clone(), b"next".to_vec()]);
            assert_eq!(bytes.len(), length + 4 * (length / LONGEST + 1) + 8);
            let mut back = channel(bytes, 1 << 20);
            let packet = back.read().unwrap();
            assert!(back.payload(packet) == payload, "{length}");
            let packet = back.read().unwrap();
            assert_eq!(back.payload(packet), b"next");
            assert_eq!(back.read().unwrap_err().kind(), ErrorKind::Lost);
        }
    }

    #[test]
    fn a_wrong_sequence_and_too_much_are_refused() {
        let mut wrong = channel(vec![1, 0, 0, 1, 9], 10);
        assert_eq!(wrong.read().unwrap_err().kind(), ErrorKind::Protocol);
        let mut long = channel(vec![255, 255, 0, 0], 10);
        long.limit = 1000;
        assert_eq!(long.read().unwrap_err().kind(), ErrorKind::Limit);
        let mut joined = channel(written(&[vec![0; LONGEST + 1]]), 1 << 20);
        joined.limit = LONGEST;
        assert_eq!(joined.read().unwrap_err().kind(), ErrorKind::Limit);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn packets_come_back_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400_000), 0..6),
            step in 1usize..300_000,
        ) {
            let step = step.max(1000);
            let mut back = channel(written(&payloads), step);
            for payload in &payloads {
                let packet = back.read().unwrap();
                prop_assert!(back.payload(packet) == &payload[..]);
            }
            prop_assert!(!back.has_unread());
        }
    }
}

//! A stream of bytes as lines, whatever pieces it comes in.

/// Cuts a stream into lines. Holds the last, unfinished line until its end comes.
#[derive(Debug)]
pub struct Splitter {
    carry: Vec<u8>,
    limit: usize,
    /// How many pieces of the current line were handed on already.
    pieces: u64,
}

/// A line, or a piece of one that was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The bytes without the line feed. A carriage return before it is kept.
    pub bytes: &'a [u8],
    /// 0 for a line or the first piece of one, then 1, 2, ...
    pub index: u64,
    /// Whether the line ends here, by a line feed or at the end of the stream.
    pub last: bool,
}

impl Splitter {
    /// Lines longer than `limit` bytes come in pieces of at most that size, so that a program that
    /// never ends its line cannot fill the memory.
    pub fn new(limit: usize) -> Self {
        Self {
            carry: Vec::new(),
            limit: limit.max(4),
            pieces: 0,
        }
    }

    /// Takes the next bytes and hands on every line that ends in them.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Piece<'_>)) {
        loop {
            let (line, rest) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
                None => (bytes, None),
            };
            self.take(line, rest.is_some(), &mut emit);
            match rest {
                Some(rest) => bytes = rest,
                None => return,
            }
        }
    }

    /// The stream has ended: hands on the line that never did, if there is one.
    pub fn finish(&mut self, mut emit: impl FnMut(Piece<'_>)) {
        if !self.carry.is_empty() || self.pieces > 0 {
            emit(Piece {
                bytes: &self.carry,
                index: self.pieces,
                last: true,
            });
            self.carry.clear();
            self.pieces = 0;
        }
    }

    /// Bytes of the unfinished line that are held.
    pub fn held(&self) -> usize {
        self.carry.len()
    }

    fn take(&mut self, mut line: &[u8], ends: bool, emit: &mut impl FnMut(Piece<'_>)) {
        while self.carry.len() + line.len() > self.limit {
            if self.carry.is_empty() {
                let cut = char_boundary(line, self.limit);
                emit(Piece {
                    bytes: &line[..cut],
                    index: self.pieces,
                    last: false,
                });
                line = &line[cut..];
            } else {
                let free = self.limit - self.carry.len();
                self.carry.extend_from_slice(&line[..free]);
                line = &line[free..];
                let cut = char_boundary(&self.carry, self.limit);
                emit(Piece {
                    bytes: &self.carry[..cut],
                    index: self.pieces,
                    last: false,
                });
                self.carry.drain(..cut);
            }
            self.pieces += 1;
        }
        if !ends {
            self.carry.extend_from_slice(line);
            return;
        }
        let bytes = if self.carry.is_empty() {
            line
        } else {
            self.carry.extend_from_slice(line);
            &self.carry
        };
        emit(Piece {
            bytes,
            index: self.pieces,
            last: true,
        });
        self.carry.clear();
        self.pieces = 0;
    }
}

/// The greatest cut of at most `limit` bytes that goes through no UTF-8 character; `limit` itself
/// where the bytes are no UTF-8 anyway.
fn char_boundary(bytes: &[u8], limit: usize) -> usize {
    let limit = limit.min(bytes.len());
    if limit == bytes.len() {
        // What follows is not known; a character may still be cut here. Its start is within the
        // last three bytes, and its first byte says how long it is.
        for back in 1..=3.min(limit - 1) {
            let size = match bytes[limit - back] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                0x80..=0xbf => continue,
                _ => return limit,
            };
            return if size > back { limit - back } else { limit };
        }
        return limit;
    }
    (limit.saturating_sub(3).max(1)..=limit)
        .rev()
        .find(|at| bytes[*at] & 0xc0 != 0x80)
        .unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, u64, bool);

    fn run(limit: usize, chunks: &[Vec<u8>]) -> Vec<Owned> {
        let mut splitter = Splitter::new(limit);
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |p| pieces.push((p.bytes.to_vec(), p.index, p.last)));
        }
        splitter.finish(|p| pieces.push((p.bytes.to_vec(), p.index, p.last)));
        splitter.finish(|_| panic!("the second finish has nothing to hand on"));
        pieces
    }

    #[test]
    fn table() {
        let whole = |text: &str| (text.as_bytes().to_vec(), 0, true);
        let table: [(&[&str], &[Owned]); 6] = [
            (&[""], &[]),
            (&["a\n"], &[whole("a")]),
            (
                &["a", "b", "\n", "\n", "c"],
                &[whole("ab"), whole(""), whole("c")],
            ),
            (&["a\r\nb\n"], &[whole("a\r"), whole("b")]),
            (
                &["1234567890\nx\n"],
                &[
                    (b"12345678".to_vec(), 0, false),
                    (b"90".to_vec(), 1, true),
                    whole("x"),
                ],
            ),
            // A line of exactly the limit is whole, also in pieces.
            (&["1234", "5678", "\n"], &[whole("12345678")]),
        ];
        for (chunks, expected) in table {
            let chunks: Vec<Vec<u8>> = chunks.iter().map(|c| c.as_bytes().to_vec()).collect();
            assert_eq!(run(8, &chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn characters_are_not_cut() {
        for text in ["aaaaaaa\u{e9}bbb", "aaaaaa\u{20ac}bbb", "aaaaa\u{1f600}bbb"] {
            for cut in 0..text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                for (bytes, _, _) in run(8, &[first.to_vec(), second.to_vec()]) {
                    assert!(std::str::from_utf8(&bytes).is_ok(), "{text} at {cut}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_bytes(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0xc3_u8), Just(0xa9), any::<u8>()], 0..200),
            cuts in prop::collection::vec(1_usize..20, 1..60),
            limit in 4_usize..40,
        ) {
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk.to_vec());
                rest = tail;
            }
            chunks.push(rest.to_vec());
            let pieces = run(limit, &chunks);
            let mut joined = Vec::new();
            let mut index = 0;
            for (bytes, at, last) in &pieces {
                prop_assert!(bytes.len() <= limit);
                prop_assert!(!bytes.contains(&b'\n'));
                prop_assert_eq!(*at, index);
                index = if *last { 0 } else { index + 1 };
                joined.extend_from_slice(bytes);
                if *last {
                    joined.push(b'\n');
                }
            }
            // A stream that does not end its last line gets a line feed there.
            let mut expected = bytes.clone();
            if expected.last().is_some_and(|byte| *byte != b'\n') {
                expected.push(b'\n');
            }
            prop_assert_eq!(&joined, &expected);
        }
    }
}

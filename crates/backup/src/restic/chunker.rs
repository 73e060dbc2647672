//! Where files are cut: the chunker of restic, so that what stock restic stored is found again.
//!
//! A Rabin fingerprint slides over the last 64 bytes; a piece ends where its low bits are zero, but not
//! before a least and not after a greatest length
//! (<https://restic.net/blog/2015-09-12/restic-foundation1-cdc/>). The polynomial is the repository's
//! own. The fingerprint depends on these 64 bytes alone, so four of them slide at once over four parts of
//! the text: one alone waits for memory at each byte.

use std::io::{self, Read};

use rustic_core::repofile::{Chunker, ConfigFile};

/// The bytes that a fingerprint is of.
const WINDOW: usize = 64;
/// How far each of the four fingerprints slides in a turn.
const PART: usize = 16 * 1024;
/// So much is read at once.
const STEP: usize = 512 * 1024;

/// How a repository cuts files.
pub(super) struct Rules {
    /// No piece but the last is shorter.
    least: usize,
    /// None is longer.
    most: usize,
    /// What of the fingerprint must be zero.
    mask: u64,
    /// Cut at `most` only.
    fixed: bool,
    shift: u32,
    out: [u64; 256],
    modulo: [u64; 256],
}

impl Rules {
    /// The rules in the config of the repository; nothing if its polynomial is none.
    pub(super) fn new(config: &ConfigFile) -> Option<Self> {
        let polynomial = config.poly().ok()?;
        let degree = polynomial
            .checked_ilog2()
            .filter(|degree| *degree >= 9 && *degree < 56)?;
        let fixed = config.chunker() == Chunker::FixedSize;
        let size = config.chunk_size();
        let (least, most) = if fixed {
            (size, size)
        } else {
            (config.chunk_min_size(), config.chunk_max_size())
        };
        if least < WINDOW || most < least || (!fixed && !size.is_power_of_two()) {
            return None;
        }
        let mut out = [0; 256];
        let mut modulo = [0; 256];
        for byte in 0..256u64 {
            let mut hash = remainder(byte, polynomial, degree);
            for _ in 1..WINDOW {
                hash = remainder(hash << 8, polynomial, degree);
            }
            let at = usize::try_from(byte).unwrap_or_default();
            out[at] = hash;
            let above = byte << degree;
            modulo[at] = remainder(above, polynomial, degree) | above;
        }
        Some(Self {
            least,
            most,
            mask: size as u64 - 1,
            fixed,
            shift: degree - 8,
            out,
            modulo,
        })
    }

    #[inline]
    fn push(&self, hash: u64, byte: u8) -> u64 {
        let top = usize::try_from(hash >> self.shift & 0xff).unwrap_or_default();
        (hash << 8 | u64::from(byte)) ^ self.modulo[top]
    }

    /// The fingerprint of the bytes before `at`.
    fn before(&self, text: &[u8], at: usize) -> u64 {
        text[at - WINDOW..at]
            .iter()
            .fold(0, |hash, byte| self.push(hash, *byte))
    }

    /// The first place in `from..to` before which the fingerprint is as it must be; at least
    /// [`WINDOW`] bytes lie before `from`.
    fn find(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let mut from = from;
        while from < to {
            let part = PART.min((to - from) / 4);
            if part < WINDOW {
                return self.find_alone(text, from, to);
            }
            let turn = from + 4 * part;
            if let Some(found) = self.find_by_four(&text[from - WINDOW..turn], part) {
                return Some(from + found);
            }
            from = turn;
        }
        None
    }

    fn find_alone(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let mut hash = self.before(text, from);
        for at in from..to {
            if hash & self.mask == 0 {
                return Some(at);
            }
            let old = self.out[usize::from(text[at - WINDOW])];
            hash = self.push(hash ^ old, text[at]);
        }
        None
    }

    /// The same over four parts at once, of a text that begins with a window.
    fn find_by_four(&self, text: &[u8], part: usize) -> Option<usize> {
        let mut found = [usize::MAX; 4];
        let mut hashes = [0, 1, 2, 3].map(|lane| self.before(text, WINDOW + lane * part));
        // Slices of one length, so that the bounds are looked at once.
        let old = [0, 1, 2, 3].map(|lane| &text[lane * part..][..part]);
        let new = [0, 1, 2, 3].map(|lane| &text[WINDOW + lane * part..][..part]);
        for at in 0..part {
            for lane in 0..4 {
                let hash = hashes[lane];
                if hash & self.mask == 0 && found[lane] == usize::MAX {
                    found[lane] = lane * part + at;
                }
                let gone = self.out[usize::from(old[lane][at])];
                hashes[lane] = self.push(hash ^ gone, new[lane][at]);
            }
            if found[0] != usize::MAX {
                break;
            }
        }
        found.into_iter().min().filter(|found| *found != usize::MAX)
    }
}

/// The remainder of a division of polynomials over the field of two elements.
fn remainder(mut value: u64, polynomial: u64, degree: u32) -> u64 {
    while let Some(top) = value.checked_ilog2().filter(|top| *top >= degree) {
        value ^= polynomial << (top - degree);
    }
    value
}

/// Cuts one stream after the other; the buffer is kept.
#[derive(Default)]
pub(super) struct Cutter {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are filled.
    filled: usize,
    /// What of it was given out as a piece.
    given: usize,
    ended: bool,
}

impl Cutter {
    /// Begins a new stream.
    pub(super) fn begin(&mut self) {
        self.filled = 0;
        self.given = 0;
        self.ended = false;
    }

    fn fill(&mut self, reader: &mut dyn Read, until: usize) -> io::Result<()> {
        while self.filled < until && !self.ended {
            let wanted = (until - self.filled).max(STEP);
            if self.buffer.len() < self.filled + wanted {
                self.buffer.resize(self.filled + wanted, 0);
            }
            match reader.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next piece, or nothing at the end of the stream.
    pub(super) fn next(
        &mut self,
        rules: &Rules,
        reader: &mut dyn Read,
    ) -> io::Result<Option<&[u8]>> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        self.fill(reader, rules.least)?;
        if self.filled == 0 {
            return Ok(None);
        }
        let mut looked = rules.least;
        let length = loop {
            if self.filled < looked || (self.ended && self.filled == looked) {
                break self.filled;
            }
            let to = self.filled.min(rules.most);
            if !rules.fixed
                && let Some(found) = rules.find(&self.buffer, looked, to)
            {
                break found;
            }
            looked = to;
            if looked == rules.most {
                break looked;
            }
            self.fill(reader, looked + 1)?;
        };
        self.given = length;
        Ok(Some(&self.buffer[..length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLYNOMIAL: u64 = 0x3d_a335_8b4d_c173;

    fn rules(least: usize, size: usize, most: usize) -> Rules {
        let mut config = ConfigFile::new(2, rustic_core::Id::default().into(), POLYNOMIAL);
        config.chunk_size = Some(size);
        config.chunk_min_size = Some(least);
        config.chunk_max_size = Some(most);
        Rules::new(&config).unwrap()
    }

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .take(length)
        .collect()
    }

    /// Gives few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lengths(rules: &Rules, text: &[u8], step: usize) -> Vec<usize> {
        let mut cutter = Cutter::default();
        cutter.begin();
        let mut reader = Trickle(text, step);
        let mut lengths = Vec::new();
        let mut all = Vec::new();
        while let Some(piece) = cutter.next(rules, &mut reader).unwrap() {
            lengths.push(piece.len());
            all.extend_from_slice(piece);
        }
        assert!(all == text);
        lengths
    }

    /// The definition, byte by byte: the remainder of the window as one long polynomial.
    fn slowly(rules: &Rules, text: &[u8]) -> Vec<usize> {
        let degree = POLYNOMIAL.ilog2();
        let mut lengths = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let mut length = rules.least;
            while start + length < text.len() && length < rules.most {
                let window = &text[start + length - WINDOW..start + length];
                let hash = window.iter().fold(0, |hash, byte| {
                    remainder(hash << 8 | u64::from(*byte), POLYNOMIAL, degree)
                });
                if hash & rules.mask == 0 {
                    break;
                }
                length += 1;
            }
            length = length.min(text.len() - start);
            lengths.push(length);
            start += length;
        }
        lengths
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pieces_end_where_the_definition_says(
            length in 0usize..20_000, seed in any::<u64>(), step in 1usize..5000,
        ) {
            let rules = rules(256, 1024, 4096);
            let text = noise(length, seed);
            prop_assert_eq!(lengths(&rules, &text, step), slowly(&rules, &text));
        }
    }

    #[test]
    fn long_parts_are_cut_as_short_ones() {
        let rules = rules(64, 1 << 15, 1 << 18);
        let text = noise(700_000, 7);
        let found = lengths(&rules, &text, usize::MAX);
        assert!(found.len() > 10, "{found:?}");
        assert_eq!(found, slowly(&rules, &text));
    }

    #[test]
    fn zeros_are_cut_at_the_least_length_and_noise_never_beyond_the_greatest() {
        let rules = rules(512 * 1024, 1 << 20, 8 << 20);
        let zeros = vec![0; 2_000_000];
        assert_eq!(lengths(&rules, &zeros, 65_536), slowly(&rules, &zeros));
        let text = noise(30_000_000, 3);
        let found = lengths(&rules, &text, 1 << 20);
        assert!(found.iter().all(|length| *length <= 8 << 20), "{found:?}");
        assert!(found.len() > 12, "{found:?}");
    }

    #[test]
    fn a_fixed_size_is_kept() {
        let mut config = ConfigFile::new(2, rustic_core::Id::default().into(), POLYNOMIAL);
        config.chunker = Some(Chunker::FixedSize);
        config.chunk_size = Some(1000);
        let rules = Rules::new(&config).unwrap();
        assert_eq!(lengths(&rules, &noise(2500, 1), 300), [1000, 1000, 500]);
        assert_eq!(lengths(&rules, &noise(2000, 1), 4096), [1000, 1000]);
    }
}

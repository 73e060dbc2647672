//! The code that the visitor, the log and the mail share.

use std::fmt;
use std::hash::BuildHasher as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The digits of Crockford's base 32: no I, L, O and U, which are taken for others or make words.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Digits of a code.
const LENGTH: u32 = 10;

/// The name of one fault: fifty random bits, shown as two groups of five digits (`K7Q29-XWD4M`).
///
/// It is short enough to be read out on the phone, and long enough that among a million faults two
/// have the same one once in two thousand times. It is no secret and says nothing: neither when nor
/// where the fault was.
///
/// ```
/// use mainstay_fault::Id;
/// let id = Id::random();
/// let heard = id.to_string().to_lowercase().replace('-', " ").replace('0', "o");
/// assert_eq!(heard.parse::<Id>()?, id);
/// # Ok::<(), mainstay_fault::UnknownId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// A new one.
    pub fn random() -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        // The hasher of std is keyed by the system's random numbers, once for each thread. A keyed
        // hash of a number that is never used twice is as good as a random number, costs no system
        // call in a flood of faults, and can't fail.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let hash = std::hash::RandomState::new().hash_one(serial);
        Self(hash >> (64 - 5 * LENGTH))
    }

    /// The fifty bits as a number, for a store.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// From [`Self::bits`]; `None`: no id has this number.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits >> (5 * LENGTH) == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HALF: usize = LENGTH as usize / 2;
        let mut text = [b'-'; LENGTH as usize + 1];
        let (first, second) = text.split_at_mut(HALF);
        let mut bits = self.0;
        for digit in first.iter_mut().chain(&mut second[1..]).rev() {
            *digit = DIGITS[usize::try_from(bits & 31).unwrap_or(0)];
            bits >>= 5;
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// A text that is no code of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownId;

impl fmt::Display for UnknownId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not the code of a fault: it has ten letters or digits, as the page and the log show it, like K7Q29-XWD4M",
        )
    }
}

impl std::error::Error for UnknownId {}

impl FromStr for Id {
    type Err = UnknownId;

    /// As a person writes it: case, hyphens and spaces do not count, O is 0, I and L are 1.
    fn from_str(text: &str) -> Result<Self, UnknownId> {
        let mut bits = 0_u64;
        let mut digits = 0;
        for c in text.trim().bytes() {
            let c = match c.to_ascii_uppercase() {
                b'-' | b' ' => continue,
                b'O' => b'0',
                b'I' | b'L' => b'1',
                c => c,
            };
            let digit = DIGITS
                .iter()
                .position(|digit| *digit == c)
                .ok_or(UnknownId)?;
            bits = bits << 5 | digit as u64;
            digits += 1;
            if digits > LENGTH {
                return Err(UnknownId);
            }
        }
        if digits == LENGTH {
            Ok(Self(bits))
        } else {
            Err(UnknownId)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_read_as_people_write_them() {
        let id = Id::from_bits(0x2_9c2f_1abc_d012).unwrap();
        let text = id.to_string();
        assert_eq!(text.len(), 11);
        assert_eq!(text.as_bytes()[5], b'-');
        for (written, read) in [
            (text.clone(), Some(id)),
            (text.to_lowercase(), Some(id)),
            (text.replace('-', ""), Some(id)),
            (format!("  {} ", text.replace('-', " ")), Some(id)),
            ("00000-0000O".into(), Id::from_bits(0)),
            ("00000-0000l".into(), Id::from_bits(1)),
            ("00000-0000i".into(), Id::from_bits(1)),
            ("zzzzz-zzzzz".into(), Id::from_bits((1 << 50) - 1)),
            ("00000-0000".into(), None),
            ("00000-000000".into(), None),
            ("00000-0000u".into(), None),
            ("00000-0000é".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(written.parse().ok(), read, "{written}");
        }
        assert_eq!(Id::from_bits(1 << 50), None);
        assert_eq!(format!("{id:?}"), format!("Id({id})"));
    }

    #[test]
    fn ids_differ_also_between_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..5_000).map(|_| Id::random()).collect::<Vec<_>>()))
            .collect();
        let all: Vec<Id> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let distinct: HashSet<Id> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
        // Each bit is set in about half of them: none of the fifty stands still.
        for bit in 0..50 {
            let set = all.iter().filter(|id| id.bits() >> bit & 1 == 1).count();
            assert!((9_000..11_000).contains(&set), "bit {bit}: {set}");
        }
    }
}

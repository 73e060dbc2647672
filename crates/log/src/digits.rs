//! Whole numbers as text.
//!
//! Digits are put together in a register and written as one word. Written one by one and copied then,
//! they would have the processor wait for its own writes, which costs more than the digits do.

/// Digits of one word.
const EIGHT: u64 = 100_000_000;

/// Appends a number without the machinery of `fmt`.
#[inline]
pub(crate) fn unsigned(number: u64, out: &mut Vec<u8>) {
    if number < EIGHT {
        first(number, out);
    } else {
        long(number, out);
    }
}

/// The same with a sign where it is negative.
#[inline]
pub(crate) fn signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    unsigned(number.unsigned_abs(), out);
}

fn long(number: u64, out: &mut Vec<u8>) {
    let (high, low) = (number / EIGHT, number % EIGHT);
    if high < EIGHT {
        first(high, out);
    } else {
        first(high / EIGHT, out);
        further(high % EIGHT, out);
    }
    further(low, out);
}

/// Appends a number of at most eight digits.
#[inline]
fn first(number: u64, out: &mut Vec<u8>) {
    let digits = eight(number);
    // The first digit is the lowest byte. Of zero the last one stays.
    let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
    out.extend_from_slice(&((digits | ASCII) >> (8 * zeros)).to_le_bytes());
    out.truncate(out.len() - zeros as usize);
}

/// Appends eight digits, zeros too.
#[inline]
fn further(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(eight(number) | ASCII).to_le_bytes());
}

const ASCII: u64 = u64::from_ne_bytes([b'0'; 8]);

/// The digits of a number below a hundred million, the first in the lowest byte: halves, quarters and
/// digits of all places at once. A division by a constant is a multiplication that is exact for
/// numbers of so many digits.
#[inline]
fn eight(number: u64) -> u64 {
    // Twice four digits, four times two, eight times one.
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_four_places_and_the_ends_of_others() {
        let same = |number: u64| {
            let mut out = b"x".to_vec();
            unsigned(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{number}"));
        };
        for four in 0..10_000 {
            for number in [
                four,
                four * 10_000,
                four * 10_000 + 9_999,
                four * 100_010_001,
            ] {
                same(number);
            }
        }
        for power in (0..20).map(|exponent| 10_u64.pow(exponent)) {
            for number in [power - 1, power, power + 1, u64::MAX - power] {
                same(number);
            }
        }
    }
}

//! Whole numbers as text.

/// As many digits as the largest number has.
const MOST: usize = 20;

/// Appends a number without the machinery of `fmt`.
#[inline]
pub(crate) fn unsigned(mut number: u64, out: &mut Vec<u8>) {
    // The digits end in the middle, so that as many bytes as ever follow where they begin: to copy a
    // number of bytes that is known takes two instructions, any other one a call.
    let mut digits = [0; 2 * MOST];
    let mut at = MOST;
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair(number % 100));
        number /= 100;
    }
    if number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair(number));
    } else {
        at -= 1;
        digits[at] = pair(number)[1];
    }
    if let Some(copied) = digits[at..].first_chunk::<MOST>() {
        out.extend_from_slice(copied);
        out.truncate(out.len() - at);
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

/// The two digits of a number below a hundred.
#[inline]
fn pair(number: u64) -> [u8; 2] {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[b'0'; 2]; 100];
        let mut number = 0_u8;
        while number < 100 {
            pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
            number += 1;
        }
        pairs
    };
    PAIRS[(number % 100) as usize]
}

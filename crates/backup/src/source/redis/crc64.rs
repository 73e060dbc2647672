//! CRC-64 as Redis has it at the end of an RDB file: the polynomial of Jones, reflected, from 0.

/// The polynomial 0xad93d23594c935a9 with its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// What each value of a byte adds, at eight distances from the end of what is summed: eight bytes take
/// eight look-ups and no loop over bits.
static TABLES: [[u64; 256]; 8] = tables();

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    reason = "a constant function has no From"
)]
const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut distance = 1;
    while distance < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[distance - 1][byte];
            tables[distance][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        distance += 1;
    }
    tables
}

/// The checksum of what `crc` is the checksum of, followed by these bytes.
pub(super) fn update(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        crc = 0;
        for (table, byte) in TABLES.iter().rev().zip(mixed) {
            crc ^= table[usize::from(byte)];
        }
    }
    for byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ TABLES[0][usize::from(low ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::update;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_one_of_redis() {
        // The check value in src/crc64.c of Redis.
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    proptest! {
        #[test]
        fn it_can_be_taken_in_pieces(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(update(update(0, head), tail), update(0, &bytes));
            let by_bytes = bytes.iter().fold(0, |crc, byte| update(crc, &[*byte]));
            prop_assert_eq!(by_bytes, update(0, &bytes));
        }
    }
}

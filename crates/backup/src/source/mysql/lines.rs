//! A row as a line that `LOAD DATA` takes, exactly.
//!
//! The form is the default of `LOAD DATA`: cells with tabs between them, `\N` for NULL, a backslash
//! before what would be mistaken. Text is in the character set of its column and binary data is as it
//! is; so a file is loaded with `CHARACTER SET binary`, which converts nothing. Numbers come from
//! binary rows, so that a `FLOAT` has all its digits. It was chosen over binary rows as they come,
//! because a server loads it without us, and because restic alone gives it back.

use std::io::Write;

use mainstay_mysql::{Cell, ColumnType, DateTime, Error, Row, Time};
use sha2::block_api::compress256;

/// Appends a row as one line.
pub(super) fn line(out: &mut Vec<u8>, row: &Row<'_>) -> Result<(), Error> {
    for (at, (cell, column)) in row.cells().zip(row.columns()).enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        put(out, cell?, column.kind, column.decimals);
    }
    out.push(b'\n');
    Ok(())
}

fn put(out: &mut Vec<u8>, cell: Cell<'_>, kind: ColumnType, decimals: u8) {
    match cell {
        Cell::Null => out.extend_from_slice(b"\\N"),
        // A year of one digit would be taken for one of this century.
        Cell::UInt(year) if kind == ColumnType::Year => integer(out, year, 4),
        Cell::Int(value) => {
            if value < 0 {
                out.push(b'-');
            }
            integer(out, value.unsigned_abs(), 1);
        }
        Cell::UInt(value) => integer(out, value, 1),
        // As the double that it is exactly: the digits of a float alone are rounded twice on the way back.
        Cell::Float(value) => number(out, value.into()),
        Cell::Double(value) => number(out, value),
        Cell::DateTime(value) => date_time(out, value, kind, decimals),
        Cell::Time(value) => time(out, value, decimals),
        Cell::Bytes(bytes) => escape(out, bytes),
    }
}

/// At least so many digits. The formatter of the standard library takes five times as long, and a dump
/// is mostly this.
fn integer(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        digits[at] += (rest % 10).to_le_bytes()[0];
        rest /= 10;
    }
    let start = at.min(digits.len() - width);
    out.extend_from_slice(&digits[start..]);
}

/// The shortest digits that come back as this number.
fn number(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    // Writing into memory cannot fail.
    let _ = if size == 0.0 || (1e-5..1e16).contains(&size) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
}

fn date_time(out: &mut Vec<u8>, value: DateTime, kind: ColumnType, decimals: u8) {
    integer(out, value.year.into(), 4);
    out.push(b'-');
    integer(out, value.month.into(), 2);
    out.push(b'-');
    integer(out, value.day.into(), 2);
    if kind == ColumnType::Date {
        return;
    }
    out.push(b' ');
    clock(out, value.hour.into(), value.minute, value.second);
    fraction(out, value.micros, decimals);
}

fn time(out: &mut Vec<u8>, value: Time, decimals: u8) {
    if value.negative {
        out.push(b'-');
    }
    let hours = u64::from(value.days) * 24 + u64::from(value.hours);
    clock(out, hours, value.minutes, value.seconds);
    fraction(out, value.micros, decimals);
}

fn clock(out: &mut Vec<u8>, hours: u64, minutes: u8, seconds: u8) {
    integer(out, hours, 2);
    out.push(b':');
    integer(out, minutes.into(), 2);
    out.push(b':');
    integer(out, seconds.into(), 2);
}

fn fraction(out: &mut Vec<u8>, micros: u32, decimals: u8) {
    if !(1..=6).contains(&decimals) {
        return;
    }
    out.push(b'.');
    let start = out.len();
    integer(out, micros.into(), 6);
    out.truncate(start + usize::from(decimals));
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | 0))
    {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\t' => b't',
            b'\n' => b'n',
            0 => b'0',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// How many rows there are and what they are, whatever their order and however they are cut: the sum
/// of the first halves of the SHA-256 of their lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    sum: u128,
}

/// The first half of a SHA-256, as a number. Lines are short: for them the general interface takes a third
/// longer than the two or three blocks that are hashed (FIPS 180-4, 5.1.1 and 6.2).
fn half_of_sha256(line: &[u8]) -> u128 {
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let (blocks, rest) = line.as_chunks::<64>();
    compress256(&mut state, blocks);
    let mut last = [[0; 64]; 2];
    last[0][..rest.len()].copy_from_slice(rest);
    last[0][rest.len()] = 0x80;
    let count = if rest.len() < 56 { 1 } else { 2 };
    let bits = line.len() as u64 * 8;
    last[count - 1][56..].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &last[..count]);
    state[..4]
        .iter()
        .fold(0, |half, word| half << 32 | u128::from(*word))
}

impl Tally {
    pub(crate) fn add_line(&mut self, line: &[u8]) {
        self.rows += 1;
        self.bytes += line.len() as u64;
        self.sum = self.sum.wrapping_add(half_of_sha256(line));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// One that was written down.
    pub(crate) fn noted(rows: u64, bytes: u64, digest: &str) -> Option<Self> {
        Some(Self {
            rows,
            bytes,
            sum: u128::from_str_radix(digest, 16).ok()?,
        })
    }

    /// 32 hexadecimal digits.
    pub(crate) fn digest(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_mysql::ColumnType as Type;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    fn shown(cell: Cell<'_>, kind: ColumnType, decimals: u8) -> String {
        let mut out = Vec::new();
        put(&mut out, cell, kind, decimals);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_written_as_they_are_loaded() {
        let date = DateTime {
            year: 2026,
            month: 1,
            day: 2,
            hour: 3,
            minute: 4,
            second: 5,
            micros: 6,
        };
        let span = Time {
            negative: true,
            days: 34,
            hours: 22,
            minutes: 59,
            seconds: 58,
            micros: 120_000,
        };
        for (cell, kind, decimals, text) in [
            (Cell::Null, Type::Int, 0, "\\N"),
            (Cell::Int(i64::MIN), Type::BigInt, 0, "-9223372036854775808"),
            (
                Cell::UInt(u64::MAX),
                Type::BigInt,
                0,
                "18446744073709551615",
            ),
            (Cell::UInt(0), Type::Year, 0, "0000"),
            (Cell::Float(1.1), Type::Float, 31, "1.100000023841858"),
            (
                Cell::Float(f32::MAX),
                Type::Float,
                31,
                "3.4028234663852886e38",
            ),
            (Cell::Double(-0.0), Type::Double, 31, "-0"),
            (Cell::Double(0.1), Type::Double, 31, "0.1"),
            (Cell::Double(5e-324), Type::Double, 31, "5e-324"),
            (Cell::DateTime(date), Type::Date, 0, "2026-01-02"),
            (
                Cell::DateTime(date),
                Type::DateTime,
                0,
                "2026-01-02 03:04:05",
            ),
            (
                Cell::DateTime(date),
                Type::Timestamp,
                6,
                "2026-01-02 03:04:05.000006",
            ),
            (
                Cell::DateTime(DateTime::default()),
                Type::DateTime,
                2,
                "0000-00-00 00:00:00.00",
            ),
            (Cell::Time(span), Type::Time, 2, "-838:59:58.12"),
            (Cell::Time(Time::default()), Type::Time, 0, "00:00:00"),
            (
                Cell::Bytes(b"a\tb\nc\\N\0'"),
                Type::VarChar,
                0,
                "a\\tb\\nc\\\\N\\0'",
            ),
            (Cell::Bytes(b""), Type::VarChar, 0, ""),
        ] {
            assert_eq!(shown(cell, kind, decimals), text, "{cell:?}");
        }
    }

    fn unescape(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            out.push(match byte {
                b'\\' => match rest.next().unwrap() {
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'0' => 0,
                    other => *other,
                },
                other => *other,
            });
        }
        out
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_never_break_a_line(bytes: Vec<u8>) {
            let mut out = Vec::new();
            escape(&mut out, &bytes);
            prop_assert!(!out.iter().any(|byte| matches!(byte, b'\t' | b'\n' | 0)));
            prop_assert_eq!(unescape(&out), bytes);
        }

        #[test]
        fn numbers_come_back(bits: u64, small: u32) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let back: f64 = shown(Cell::Double(value), ColumnType::Double, 31).parse().unwrap();
                prop_assert_eq!(back.to_bits(), bits);
            }
            let float = f32::from_bits(small);
            if float.is_finite() {
                let text = shown(Cell::Float(float), ColumnType::Float, 31);
                let back: f64 = text.parse().unwrap();
                #[allow(clippy::cast_possible_truncation, reason = "what a server does")]
                let back = back as f32;
                prop_assert_eq!(back.to_bits(), small);
            }
        }

        #[test]
        fn half_of_a_hash_is_that(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let whole = Sha256::digest(&line);
            prop_assert_eq!(&half_of_sha256(&line).to_be_bytes()[..], &whole[..16]);
        }

        #[test]
        fn integers_have_their_digits(value: u64, small in 0u64..100_000, width in 1usize..7) {
            for value in [value, small] {
                let mut out = Vec::new();
                integer(&mut out, value, width);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:0width$}"));
            }
        }

        #[test]
        fn a_tally_knows_no_order(mut lines: Vec<Vec<u8>>, at: usize) {
            let tally = |lines: &[Vec<u8>]| {
                let mut tally = Tally::default();
                for line in lines {
                    tally.add_line(line);
                }
                tally
            };
            let whole = tally(&lines);
            let cut = at % (lines.len() + 1);
            let mut parts = tally(&lines[cut..]);
            parts.add(&tally(&lines[..cut]));
            prop_assert_eq!(parts, whole);
            let noted = Tally::noted(whole.rows, whole.bytes, &whole.digest());
            prop_assert_eq!(noted, Some(whole));
            lines.push(b"one more".to_vec());
            prop_assert_ne!(tally(&lines).digest(), whole.digest());
        }
    }
}

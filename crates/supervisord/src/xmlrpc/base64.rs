//! Base64 with the alphabet of RFC 4648 section 4, as lax in reading as Python's.

use mainstay_base::base64;

/// Bytes in one line of [`encode_lines`]: 76 characters, RFC 2045 section 6.8.
const LINE: usize = 57;

/// Appends the encoded bytes in lines of 76 characters, each with its line feed.
pub fn encode_lines(bytes: &[u8], out: &mut Vec<u8>) {
    for line in bytes.chunks(LINE) {
        out.extend_from_slice(base64(line).as_bytes());
        out.push(b'\n');
    }
}

/// The bytes of an encoded text. Characters outside the alphabet are skipped.
///
/// `None` if the text is cut: its padding is missing.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut digits, mut padding) = (0u32, 0u32, 0u32);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if digits >= 2 => {
                padding += 1;
                if digits + padding >= 4 {
                    return Some(bytes);
                }
                continue;
            }
            _ => continue,
        };
        padding = 0;
        bits = bits << 6 | u32::from(digit);
        digits = (digits + 1) % 4;
        if digits != 1 {
            // The lowest six, four or two bits are not complete yet.
            let spare = [0, 0, 4, 2][digits as usize];
            bytes.push((bits >> spare & 0xff) as u8);
        }
    }
    (digits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_rfc_4648_section_10() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(decode(coded).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn what_is_read() {
        assert_eq!(decode(" Zm\n9v\t!").unwrap(), b"foo");
        assert_eq!(decode("Zg==Zg==").unwrap(), b"f");
        assert_eq!(decode("Zg"), None);
        assert_eq!(decode("Zg="), None);
        assert_eq!(decode("Z"), None);
        assert_eq!(decode("===="), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            let mut out = Vec::new();
            encode_lines(&bytes, &mut out);
            prop_assert_eq!(decode(std::str::from_utf8(&out).unwrap()).unwrap(), bytes);
        }
    }
}

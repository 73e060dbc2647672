//! Integers and strings as packets have them.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_data_types.html>

use crate::error::Error;

/// The bytes of a packet that were not read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(short()),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self.0.split_first_chunk() {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(*taken)
            }
            None => Err(short()),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u24(&mut self) -> Result<u32, Error> {
        self.array()
            .map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer whose first byte says how long it is. 0xFB (NULL) and 0xFF (an error) are none.
    pub(crate) fn lenenc(&mut self) -> Result<u64, Error> {
        match self.u8()? {
            small @ 0..=0xfa => Ok(small.into()),
            0xfc => self.u16().map(Into::into),
            0xfd => self.u24().map(Into::into),
            0xfe => self.u64(),
            other => Err(Error::protocol(format_args!(
                "a length that begins with {other:#x}"
            ))),
        }
    }

    /// A string with its length in front.
    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.lenenc()?;
        self.take(usize::try_from(length).map_err(|_| short())?)
    }

    /// The same where 0xFB says that there is none.
    pub(crate) fn lenenc_or_null(&mut self) -> Result<Option<&'a [u8]>, Error> {
        if let Some((0xfb, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(None);
        }
        self.lenenc_bytes().map(Some)
    }

    /// A string that ends with a zero byte, which is taken too.
    pub(crate) fn until_zero(&mut self) -> Result<&'a [u8], Error> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(short)?;
        let found = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(found)
    }

    /// The same; one that goes to the end of the packet may lack its zero.
    pub(crate) fn until_zero_or_end(&mut self) -> &'a [u8] {
        self.until_zero()
            .unwrap_or_else(|_| std::mem::take(&mut self.0))
    }
}

fn short() -> Error {
    Error::protocol("a packet ends too early")
}

/// Appends an integer whose first byte says how long it is.
pub(crate) fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfa => out.push(bytes[0]),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends a string with its length in front.
pub(crate) fn put_lenenc_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_written_as_the_manual_shows() {
        for (value, bytes) in [
            (0u64, &[0u8][..]),
            (250, &[250]),
            (251, &[0xfc, 251, 0]),
            (0xffff, &[0xfc, 0xff, 0xff]),
            (0x1_0000, &[0xfd, 0, 0, 1]),
            (0x100_0000, &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        assert!(Bytes(&[0xfc, 1]).lenenc().is_err());
        assert!(Bytes(&[0xfb]).lenenc().is_err());
        assert!(Bytes(&[0xff]).lenenc().is_err());
        assert!(Bytes(&[5, b'a']).lenenc_bytes().is_err());
        assert!(
            Bytes(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255])
                .lenenc_bytes()
                .is_err()
        );
        assert!(Bytes(b"abc").until_zero().is_err());
        assert_eq!(Bytes(b"abc").until_zero_or_end(), b"abc");
        assert_eq!(Bytes(&[0xfb, 1]).lenenc_or_null().unwrap(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values: Vec<u64>, text: Vec<u8>) {
            let mut out = Vec::new();
            for value in &values {
                put_lenenc(&mut out, *value);
            }
            put_lenenc_bytes(&mut out, &text);
            let mut bytes = Bytes(&out);
            for value in &values {
                prop_assert_eq!(bytes.lenenc().unwrap(), *value);
            }
            prop_assert_eq!(bytes.lenenc_bytes().unwrap(), &text[..]);
            prop_assert!(bytes.is_empty());
        }
    }
}

//! The packets before the first command, and the three answers that every command may get.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>

use crate::error::{Error, ServerError};
use crate::wire::{Bytes, put_lenenc, put_lenenc_bytes};

/// What both sides can do, as bits of one number.
pub(crate) mod can {
    pub(crate) const LONG_PASSWORD: u32 = 1;
    pub(crate) const LONG_FLAG: u32 = 1 << 2;
    pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(crate) const LOCAL_FILES: u32 = 1 << 7;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const SSL: u32 = 1 << 11;
    pub(crate) const TRANSACTIONS: u32 = 1 << 13;
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(crate) const MULTI_STATEMENTS: u32 = 1 << 16;
    pub(crate) const MULTI_RESULTS: u32 = 1 << 17;
    pub(crate) const PS_MULTI_RESULTS: u32 = 1 << 18;
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;
    pub(crate) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    pub(crate) const DEPRECATE_EOF: u32 = 1 << 24;

    /// Without these a server is older than any that is spoken to here (5.5.7, 2010).
    pub(crate) const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
}

/// Bits of the status that a server gives with each answer.
pub(crate) mod status {
    pub(crate) const MORE_RESULTS: u16 = 1 << 3;
}

/// `utf8mb4_general_ci`: what statements and names are sent in, with both flavours and all versions.
const CHARSET: u8 = 45;

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) version: String,
    /// The number by which another connection may `KILL` this one.
    pub(crate) connection_id: u32,
    pub(crate) nonce: Vec<u8>,
    pub(crate) capabilities: u32,
    pub(crate) plugin: String,
}

impl Greeting {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Error> {
        if payload.first() == Some(&0xff) {
            return Err(Error::of_server(server_error(payload)?));
        }
        let mut bytes = Bytes(payload);
        let protocol = bytes.u8()?;
        if protocol != 10 {
            return Err(Error::protocol(format_args!(
                "a greeting of version {protocol}"
            )));
        }
        let version = text(bytes.until_zero()?);
        let connection_id = bytes.u32()?;
        let mut nonce = bytes.take(8)?.to_vec();
        bytes.take(1)?;
        let mut capabilities = u32::from(bytes.u16()?);
        let _charset = bytes.u8()?;
        let _status = bytes.u16()?;
        capabilities |= u32::from(bytes.u16()?) << 16;
        let length = usize::from(bytes.u8()?);
        bytes.take(10)?;
        if capabilities & can::NEEDED != can::NEEDED {
            return Err(Error::protocol(format_args!(
                "version {version} is older than 5.5.7"
            )));
        }
        nonce.extend_from_slice(bytes.take(length.saturating_sub(8).max(13))?);
        Ok(Self {
            version,
            connection_id,
            nonce: without_zero(nonce),
            capabilities,
            plugin: text(bytes.until_zero_or_end()),
        })
    }
}

/// A nonce is sent with a zero byte behind it, which is not part of it.
fn without_zero(mut nonce: Vec<u8>) -> Vec<u8> {
    if nonce.last() == Some(&0) {
        nonce.pop();
    }
    nonce
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Who wants to come in, and how.
pub(crate) struct Response<'a> {
    pub(crate) capabilities: u32,
    pub(crate) user: &'a str,
    pub(crate) auth: &'a [u8],
    pub(crate) database: Option<&'a str>,
    pub(crate) plugin: &'a str,
    pub(crate) attributes: &'a [(&'a str, &'a str)],
}

/// What comes before TLS: the beginning of a [`Response`].
pub(crate) fn request_tls(capabilities: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.extend_from_slice(&capabilities.to_le_bytes());
    // What a packet of ours is at most; servers go by their own setting.
    out.extend_from_slice(&(1u32 << 30).to_le_bytes());
    out.push(CHARSET);
    out.extend_from_slice(&[0; 23]);
    out
}

impl Response<'_> {
    pub(crate) fn bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut out = zeroize::Zeroizing::new(Vec::with_capacity(1024));
        out.extend_from_slice(&request_tls(self.capabilities));
        out.extend_from_slice(self.user.as_bytes());
        out.push(0);
        if self.capabilities & can::PLUGIN_AUTH_LENENC != 0 {
            put_lenenc_bytes(&mut out, self.auth);
        } else {
            // No method here answers with more than 255 bytes in this place.
            out.push(u8::try_from(self.auth.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(self.auth);
        }
        if self.capabilities & can::CONNECT_WITH_DB != 0 {
            out.extend_from_slice(self.database.unwrap_or_default().as_bytes());
            out.push(0);
        }
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(0);
        if self.capabilities & can::CONNECT_ATTRS != 0 {
            let mut pairs = Vec::new();
            for (key, value) in self.attributes {
                put_lenenc_bytes(&mut pairs, key.as_bytes());
                put_lenenc_bytes(&mut pairs, value.as_bytes());
            }
            put_lenenc(&mut out, pairs.len() as u64);
            out.extend_from_slice(&pairs);
        }
        out
    }
}

/// A server's wish for another method of authentication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) plugin: String,
    pub(crate) nonce: Vec<u8>,
}

impl Switch {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut bytes = Bytes(payload);
        bytes.take(1)?;
        if bytes.is_empty() {
            // One byte alone asks for what servers used before 4.1.
            return Ok(Self {
                plugin: "mysql_old_password".to_owned(),
                nonce: Vec::new(),
            });
        }
        let plugin = text(bytes.until_zero()?);
        Ok(Self {
            plugin,
            nonce: without_zero(bytes.0.to_vec()),
        })
    }
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Rows that were changed, or read.
    pub affected: u64,
    /// The first id that an `AUTO_INCREMENT` column got by it, or 0.
    pub last_insert_id: u64,
    /// How many warnings `SHOW WARNINGS` would show.
    pub warnings: u16,
    /// The server's words about it, such as `Records: 3  Duplicates: 0  Warnings: 0`.
    pub info: String,
    pub(crate) status: u16,
}

impl Done {
    /// Reads an OK packet, or one that ends rows in the same form.
    pub(crate) fn parse_ok(payload: &[u8]) -> Result<Self, Error> {
        let mut bytes = Bytes(payload);
        bytes.take(1)?;
        let mut done = Self {
            affected: bytes.lenenc()?,
            last_insert_id: bytes.lenenc()?,
            status: bytes.u16()?,
            warnings: bytes.u16()?,
            info: String::new(),
        };
        // The manual has it go to the end of the packet; servers put its length in front.
        let whole = bytes.0;
        done.info = text(bytes.lenenc_bytes().unwrap_or(whole));
        Ok(done)
    }

    /// Reads an EOF packet: what ends rows where the two sides did not agree on the other.
    pub(crate) fn parse_eof(payload: &[u8]) -> Result<Self, Error> {
        let mut bytes = Bytes(payload);
        bytes.take(1)?;
        let warnings = bytes.u16()?;
        Ok(Self {
            warnings,
            status: bytes.u16()?,
            ..Self::default()
        })
    }

    pub(crate) fn has_more(&self) -> bool {
        self.status & status::MORE_RESULTS != 0
    }
}

/// The most of a server's words that is kept, in characters; servers send at most 512 bytes.
const WORDS: usize = 1000;

/// A server's words as one line: they are shown in terminals and logs.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(WORDS).map(blank).collect()
}

/// Reads an error packet. In place of a greeting it comes without the five letters.
pub(crate) fn server_error(payload: &[u8]) -> Result<ServerError, Error> {
    let mut bytes = Bytes(payload);
    bytes.take(1)?;
    let code = bytes.u16()?;
    let mut sqlstate = "HY000".to_owned();
    if bytes.0.first() == Some(&b'#') {
        bytes.take(1)?;
        sqlstate = words(bytes.take(5)?);
    }
    Ok(ServerError {
        code,
        sqlstate,
        message: words(bytes.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    fn greeting() -> Vec<u8> {
        let mut bytes = vec![10];
        bytes.extend_from_slice(b"5.5.5-10.11.19-MariaDB\0");
        bytes.extend_from_slice(&7u32.to_le_bytes());
        bytes.extend_from_slice(b"12345678\0");
        bytes.extend_from_slice(&[0xfe, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&[0x1d, 0, 0, 0]);
        bytes.extend_from_slice(b"abcdefghijkl\0");
        bytes.extend_from_slice(b"mysql_native_password\0");
        bytes
    }

    #[test]
    fn a_greeting_is_read() {
        let read = Greeting::parse(&greeting()).unwrap();
        assert_eq!(read.version, "5.5.5-10.11.19-MariaDB");
        assert_eq!(read.connection_id, 7);
        assert_eq!(read.nonce, b"12345678abcdefghijkl");
        assert_eq!(read.plugin, "mysql_native_password");
        assert_eq!(read.capabilities, 0x81ff_f7fe);
    }

    #[test]
    fn an_error_may_come_in_place_of_a_greeting() {
        let error = Greeting::parse(b"\xff\x10\x04Too many connections").unwrap_err();
        assert_eq!(error.code(), Some(1040));
        assert_eq!(
            error.to_string(),
            "Too many connections (error 1040, HY000)"
        );
        let error = server_error(b"\xff\x15\x04#28000Access denied").unwrap();
        assert_eq!((error.code, error.sqlstate.as_str()), (1045, "28000"));
        assert_eq!(error.message, "Access denied");
        let error = server_error(b"\xff\x15\x04#2\x1b000a\x1b]0;b\nc\xff").unwrap();
        assert_eq!(error.sqlstate, "2 000");
        assert_eq!(error.message, "a ]0;b c\u{fffd}");
        let mut long = b"\xff\x15\x04".to_vec();
        long.resize(60_000, b'x');
        assert_eq!(server_error(&long).unwrap().message.len(), WORDS);
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        let whole = greeting();
        for cut in 0..whole.len() - 22 {
            assert!(Greeting::parse(&whole[..cut]).is_err(), "{cut}");
        }
        let mut old = whole.clone();
        old[0] = 9;
        assert_eq!(
            Greeting::parse(&old).unwrap_err().kind(),
            ErrorKind::Protocol
        );
        let said = Greeting::parse(b"SSH-2.0-OpenSSH_9.2")
            .unwrap_err()
            .to_string();
        assert!(said.contains("not the protocol of MySQL"), "{said}");
    }

    #[test]
    fn the_answer_has_its_parts_in_order() {
        let response = Response {
            capabilities: can::CONNECT_WITH_DB | can::PLUGIN_AUTH_LENENC | can::CONNECT_ATTRS,
            user: "shop",
            auth: &[1, 2, 3],
            database: Some("orders"),
            plugin: "p",
            attributes: &[("a", "bc")],
        };
        let bytes = response.bytes();
        assert_eq!(
            &bytes[32..],
            b"shop\0\x03\x01\x02\x03orders\0p\0\x05\x01a\x02bc"
        );
    }

    #[test]
    fn ends_of_statements_are_read() {
        let ok = Done::parse_ok(b"\x00\x03\xfc\x00\x01\x0a\x00\x02\x00\x05words").unwrap();
        assert_eq!((ok.affected, ok.last_insert_id, ok.warnings), (3, 256, 2));
        assert_eq!(ok.info, "words");
        assert!(ok.has_more());
        let plain = Done::parse_ok(b"\x00\x00\x00\x00\x00\x00\x00words").unwrap();
        assert_eq!(plain.info, "words");
        let eof = Done::parse_eof(b"\xfe\x01\x00\x02\x00").unwrap();
        assert_eq!(eof.warnings, 1);
        assert!(!eof.has_more());
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_a_panic(bytes: Vec<u8>) {
            let _ = Greeting::parse(&bytes);
            let _ = Switch::parse(&bytes);
            let _ = Done::parse_ok(&bytes);
            let _ = Done::parse_eof(&bytes);
            let _ = server_error(&bytes);
        }
    }
}

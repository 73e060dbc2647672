//! Reads an RDB file from end to end, to know that it is whole and what is in it.
//!
//! Values are skipped, not decoded, so the memory is a buffer whatever the file holds. That every
//! length fits, that the end is where it should be and that the checksum over all of it is right is the
//! proof; the keys of each database are counted on the way. The format is that of `src/rdb.c` and
//! `src/rdb.h` of Redis, up to version 12.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use mainstay_base::counted;

use super::crc64;

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The version of the format. A server reads those up to its own.
    pub version: u32,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The checksum, unless the server was told to write none (`rdbchecksum no`), or is older than
    /// version 5 of the format.
    pub checksum: Option<u64>,
    /// The keys of each database that has some.
    pub databases: BTreeMap<u64, Keys>,
    /// Libraries of functions.
    pub functions: u64,
    /// What the server wrote about itself: `redis-ver`, `ctime` and others.
    pub about: BTreeMap<String, String>,
    /// The first thing in it that this reader does not know: what follows it was not counted, but is
    /// under the checksum.
    pub unknown: Option<String>,
}

/// The keys of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Keys {
    /// All of them.
    pub keys: u64,
    /// Those that expire.
    #[serde(default)]
    pub expiring: u64,
    /// How many the file says there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<u64>,
}

impl Contents {
    /// The databases in which there are not as many keys as the file says.
    pub fn broken_promises(&self) -> Vec<String> {
        if self.unknown.is_some() {
            return Vec::new();
        }
        self.databases
            .iter()
            .filter_map(|(number, keys)| {
                let promised = keys.promised?;
                (promised != keys.keys).then(|| {
                    format!(
                        "database {number} has {} of {}",
                        keys.keys,
                        counted(promised, "key")
                    )
                })
            })
            .collect()
    }
}

/// Why a file is not one, or is not whole.
#[derive(Debug)]
pub enum Fault {
    /// It could not be read.
    Io(io::Error),
    /// It is damaged.
    Damaged {
        /// At this byte.
        at: u64,
        /// What is wrong there.
        what: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Damaged { at, what } => write!(f, "at byte {at}: {what}"),
        }
    }
}

impl std::error::Error for Fault {}

type Result<T> = std::result::Result<T, Fault>;

/// What stands where the type of a value could stand. Those of the file as a whole are large numbers.
mod code {
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION: u8 = 245;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQUENCY: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZE: u8 = 251;
    pub(super) const EXPIRE_MS: u8 = 252;
    pub(super) const EXPIRE: u8 = 253;
    pub(super) const SELECT: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// Reads a file to its end.
pub fn read(input: impl Read) -> Result<Contents> {
    let mut reader = Reader::new(input);
    let mut contents = Contents {
        version: reader.version()?,
        ..Contents::default()
    };
    if reader.everything(&mut contents)? {
        let found = reader.sum();
        if contents.version >= 5 {
            let stored = u64::from_le_bytes(reader.array()?);
            contents.checksum = reader.compare(stored, found)?;
        }
        if reader.fill()? {
            return Err(reader.damaged("something follows its end"));
        }
    } else {
        contents.checksum = reader.unread()?;
    }
    contents.bytes = reader.offset();
    Ok(contents)
}

/// How a value is built that is more than one string.
enum Shape {
    /// Members, each with these parts.
    Members(&'static [Part]),
    Stream(u8),
    Module,
    Unknown,
}

#[derive(Clone, Copy)]
enum Part {
    Text,
    Length,
    /// Eight bytes.
    Double,
    /// A number as digits, with its length in one byte.
    Digits,
}

impl Shape {
    fn of(kind: u8, valkey: bool) -> Option<Self> {
        use Part::{Digits, Double, Length, Text};
        Some(match kind {
            // One string: also what is kept as one, like a listpack.
            0 | 9..=13 | 16 | 17 | 20 => return None,
            // With a time before it.
            25 if !valkey => return None,
            1 | 2 | 14 => Self::Members(&[Text]),
            3 => Self::Members(&[Text, Digits]),
            4 => Self::Members(&[Text, Text]),
            5 => Self::Members(&[Text, Double]),
            7 => Self::Module,
            18 => Self::Members(&[Length, Text]),
            15 => Self::Stream(1),
            19 => Self::Stream(2),
            21 => Self::Stream(3),
            // A time for the hash, then one for each field.
            24 if !valkey => Self::Members(&[Length, Text, Text]),
            _ => Self::Unknown,
        })
    }
}

struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of the buffer was consumed.
    at: usize,
    /// What of it is filled.
    end: usize,
    /// What of it is under the checksum already.
    summed: usize,
    crc: u64,
    /// Where in the file the buffer begins.
    begins: u64,
    valkey: bool,
}

impl<R: Read> Reader<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; 256 << 10],
            at: 0,
            end: 0,
            summed: 0,
            crc: 0,
            begins: 0,
            valkey: false,
        }
    }

    fn offset(&self) -> u64 {
        self.begins + self.at as u64
    }

    fn damaged(&self, what: impl Into<String>) -> Fault {
        Fault::Damaged {
            at: self.offset(),
            what: what.into(),
        }
    }

    /// The checksum of everything consumed.
    fn sum(&mut self) -> u64 {
        self.crc = crc64::update(self.crc, &self.buffer[self.summed..self.at]);
        self.summed = self.at;
        self.crc
    }

    /// Whether there is anything to consume; reads on if need be.
    fn fill(&mut self) -> Result<bool> {
        if self.at < self.end {
            return Ok(true);
        }
        self.sum();
        self.begins += self.at as u64;
        (self.at, self.end, self.summed) = (0, 0, 0);
        loop {
            match self.input.read(&mut self.buffer) {
                Ok(count) => {
                    self.end = count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io(error)),
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        if !self.fill()? {
            return Err(self.damaged("it ends here, in the middle"));
        }
        let byte = self.buffer[self.at];
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            if !self.fill()? {
                return Err(self.damaged("it ends here, in the middle of a value"));
            }
            let here = (self.end - self.at) as u64;
            let step = count.min(here);
            // No more than the buffer holds.
            self.at += usize::try_from(step).unwrap_or_default();
            count -= step;
        }
        Ok(())
    }

    fn version(&mut self) -> Result<u32> {
        let magic: [u8; 9] = self.array()?;
        let digits = if let Some(digits) = magic.strip_prefix(b"REDIS") {
            digits
        } else if let Some(digits) = magic.strip_prefix(b"VALKEY") {
            self.valkey = true;
            digits
        } else {
            return Err(Fault::Damaged {
                at: 0,
                what: "it does not begin as an RDB file does".to_owned(),
            });
        };
        std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.damaged("its version is not a number"))
    }

    /// A length, or the way a string is kept (`rdbLoadLen`).
    fn length_or_encoding(&mut self) -> Result<std::result::Result<u64, u8>> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok(u64::from(u16::from_be_bytes([first & 0x3f, self.byte()?]))),
            2 => match first {
                0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
                0x81 => Ok(u64::from_be_bytes(self.array()?)),
                _ => return Err(self.damaged("a length of an unknown form")),
            },
            _ => Err(first & 0x3f),
        })
    }

    fn length(&mut self) -> Result<u64> {
        self.length_or_encoding()?
            .map_err(|_| self.damaged("a string where a length should be"))
    }

    fn skip_string(&mut self) -> Result<()> {
        match self.length_or_encoding()? {
            Ok(length) => self.skip(length),
            Err(encoding @ 0..=2) => self.skip(1 << encoding),
            Err(3) => {
                let compressed = self.length()?;
                let plain = self.length()?;
                // LZF makes at most 264 bytes of three.
                if plain.div_ceil(264) > compressed {
                    return Err(self.damaged("a compressed string that cannot be so long"));
                }
                self.skip(compressed)
            }
            Err(_) => Err(self.damaged("a string of an unknown form")),
        }
    }

    /// A short string; a long or compressed one is skipped.
    fn short_string(&mut self) -> Result<Option<String>> {
        let number = match self.length_or_encoding()? {
            Ok(length @ 0..=256) => {
                let mut bytes = Vec::new();
                for _ in 0..length {
                    bytes.push(self.byte()?);
                }
                return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Ok(length) => {
                self.skip(length)?;
                return Ok(None);
            }
            Err(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Err(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Err(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Err(3) => {
                let compressed = self.length()?;
                self.length()?;
                self.skip(compressed)?;
                return Ok(None);
            }
            Err(_) => return Err(self.damaged("a string of an unknown form")),
        };
        Ok(Some(number.to_string()))
    }

    /// Up to the code of the end. False where something unknown stopped it.
    fn everything(&mut self, contents: &mut Contents) -> Result<bool> {
        let mut database = 0;
        let mut expires = false;
        loop {
            let code = self.byte()?;
            match code {
                code::END => return Ok(true),
                code::AUX => {
                    let name = self.short_string()?;
                    let value = self.short_string()?;
                    if let (Some(name), Some(value)) = (name, value)
                        && contents.about.len() < 64
                    {
                        contents.about.insert(name, value);
                    }
                }
                code::SELECT => {
                    database = self.length()?;
                    if contents.databases.len() > 1 << 16 {
                        return Err(self.damaged("more databases than a server can have"));
                    }
                }
                code::RESIZE => {
                    let promised = self.length()?;
                    self.length()?;
                    let keys = contents.databases.entry(database).or_default();
                    keys.promised = Some(keys.promised.unwrap_or(0).saturating_add(promised));
                }
                code::EXPIRE_MS => {
                    self.skip(8)?;
                    expires = true;
                }
                code::EXPIRE => {
                    self.skip(4)?;
                    expires = true;
                }
                code::FREQUENCY => self.skip(1)?,
                code::IDLE => {
                    self.length()?;
                }
                code::SLOT_INFO => {
                    for _ in 0..3 {
                        self.length()?;
                    }
                }
                code::FUNCTION => {
                    self.skip_string()?;
                    contents.functions += 1;
                }
                code::MODULE_AUX => {
                    self.length()?;
                    self.module_parts()?;
                }
                kind => {
                    if let Some(Shape::Unknown) = Shape::of(kind, self.valkey) {
                        contents.unknown =
                            Some(format!("type {kind} at byte {}", self.offset() - 1));
                        return Ok(false);
                    }
                    self.skip_string()?;
                    self.skip_value(kind)?;
                    let keys = contents.databases.entry(database).or_default();
                    keys.keys += 1;
                    keys.expiring += u64::from(expires);
                    expires = false;
                }
            }
        }
    }

    fn skip_value(&mut self, kind: u8) -> Result<()> {
        // Hashes whose fields expire begin with the first time of all.
        if matches!(kind, 24 | 25) {
            self.skip(8)?;
        }
        match Shape::of(kind, self.valkey) {
            None | Some(Shape::Unknown) => self.skip_string(),
            Some(Shape::Stream(version)) => self.skip_stream(version),
            Some(Shape::Module) => {
                self.length()?;
                self.module_parts()
            }
            Some(Shape::Members(parts)) => {
                for _ in 0..self.length()? {
                    for part in parts {
                        self.skip_part(*part)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn skip_part(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Text => self.skip_string(),
            Part::Length => self.length().map(drop),
            Part::Double => self.skip(8),
            Part::Digits => match self.byte()? {
                // Not a number, and the two infinities.
                253..=255 => Ok(()),
                length => self.skip(u64::from(length)),
            },
        }
    }

    /// `rdbSaveStreamConsumers` and what is around it.
    fn skip_stream(&mut self, version: u8) -> Result<()> {
        for _ in 0..self.length()? {
            self.skip_string()?;
            self.skip_string()?;
        }
        // Entries and the last id; then the first and the greatest deleted id, and all ever added.
        for _ in 0..if version >= 2 { 8 } else { 3 } {
            self.length()?;
        }
        for _ in 0..self.length()? {
            self.skip_string()?;
            for _ in 0..if version >= 2 { 3 } else { 2 } {
                self.length()?;
            }
            for _ in 0..self.length()? {
                self.skip(16 + 8)?;
                self.length()?;
            }
            for _ in 0..self.length()? {
                self.skip_string()?;
                self.skip(if version >= 3 { 16 } else { 8 })?;
                let pending = self.length()?;
                self.skip(pending.saturating_mul(16))?;
            }
        }
        Ok(())
    }

    /// What a module wrote: each part with its kind before it, and an end.
    fn module_parts(&mut self) -> Result<()> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.length().map(drop)?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_string()?,
                _ => return Err(self.damaged("a part of a module's value of an unknown kind")),
            }
        }
    }

    fn compare(&self, stored: u64, found: u64) -> Result<Option<u64>> {
        match stored {
            0 => Ok(None),
            same if same == found => Ok(Some(same)),
            _ => Err(self.damaged(format!(
                "its checksum is {stored:016x}, and that of what was read {found:016x}"
            ))),
        }
    }

    /// Takes the rest as it comes, for its checksum alone.
    fn unread(&mut self) -> Result<Option<u64>> {
        const END: usize = 9;
        let mut crc = self.sum();
        let mut last: Vec<u8> = Vec::new();
        while self.fill()? {
            last.extend_from_slice(&self.buffer[self.at..self.end]);
            // Summed here, without the end.
            (self.at, self.summed) = (self.end, self.end);
            let keep = last.len().saturating_sub(END);
            crc = crc64::update(crc, &last[..keep]);
            last.drain(..keep);
        }
        let Some((&code::END, stored)) = last.split_first() else {
            return Err(self.damaged("it does not end as an RDB file does"));
        };
        let Ok(stored) = stored.try_into() else {
            return Err(self.damaged("it ends here, in the middle"));
        };
        crc = crc64::update(crc, &[code::END]);
        self.compare(u64::from_le_bytes(stored), crc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with this between its head and its end.
    fn file(version: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = version.as_bytes().to_vec();
        bytes.extend(body);
        bytes.push(code::END);
        let crc = crc64::update(0, &bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    const KEY: &[u8] = b"\x03key";

    fn one(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[code::SELECT, 0, code::RESIZE, 1, 0, kind], KEY, value].concat()
    }

    #[test]
    fn every_kind_of_value_is_skipped_to_its_end() {
        let stream_ids = [0u8; 5];
        let group = [
            b"\x01\x01g".as_slice(),
            &[0, 0, 0],
            &[1],
            &[7; 24],
            &[1],
            b"\x01\x01c",
            &[0; 16],
            &[1],
            &[7; 16],
        ]
        .concat();
        let stream = [
            b"\x01\x10".as_slice(),
            &[1; 16],
            b"\x02ab",
            &[2, 0, 0],
            &stream_ids,
            &group,
        ]
        .concat();
        for (name, kind, value) in [
            ("text", 0, b"\x05hello".to_vec()),
            ("small number", 0, vec![0xc0, 7]),
            ("number", 0, vec![0xc1, 7, 7]),
            ("large number", 0, vec![0xc2, 7, 7, 7, 7]),
            ("compressed", 0, vec![0xc3, 3, 20, 1, 2, 3]),
            (
                "two byte length",
                0,
                [&[0x41, 0x00], vec![b'x'; 256].as_slice()].concat(),
            ),
            ("four byte length", 0, b"\x80\0\0\0\x02ab".to_vec()),
            ("eight byte length", 0, b"\x81\0\0\0\0\0\0\0\x02ab".to_vec()),
            ("list", 1, b"\x02\x01a\x01b".to_vec()),
            ("set", 2, b"\x01\x01a".to_vec()),
            (
                "sorted set in digits",
                3,
                b"\x02\x01a\x031.5\x01b\xff".to_vec(),
            ),
            ("hash", 4, b"\x01\x01f\x01v".to_vec()),
            ("sorted set", 5, b"\x01\x01a12345678".to_vec()),
            (
                "module",
                7,
                b"\x81abcdefgh\x05\x02ab\x02\x07\x04\x01\x02\x03\x04\x05\x06\x07\x08\0".to_vec(),
            ),
            ("intset", 11, b"\x02ab".to_vec()),
            ("quicklist", 14, b"\x01\x02ab".to_vec()),
            ("listpack", 16, b"\x02ab".to_vec()),
            ("quicklist of listpacks", 18, b"\x01\x02\x02ab".to_vec()),
            ("set as listpack", 20, b"\x02ab".to_vec()),
            ("stream", 21, stream),
            (
                "hash with times",
                24,
                b"12345678\x01\x07\x01f\x01v".to_vec(),
            ),
            ("listpack with times", 25, b"12345678\x02ab".to_vec()),
        ] {
            let contents = read(file("REDIS0011", &one(kind, &value)).as_slice());
            let contents = contents.unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert_eq!(contents.databases[&0].keys, 1, "{name}");
            assert_eq!(contents.unknown, None, "{name}");
            assert!(contents.broken_promises().is_empty() && contents.checksum.is_some());
        }
    }

    #[test]
    fn what_is_about_the_file_is_kept() {
        let body = [
            b"\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0\x40".as_slice(),
            b"\xf5\x03lib",
            b"\xfe\x02\xfb\x03\x01",
            b"\xfc12345678\x00\x01a\x01b",
            b"\xf8\x05\x00\x01b\x01b",
            b"\xf9\x05\x00\x01c\x01b",
            b"\xfe\x05\xfb\x02\x00\x00\x01a\x01b",
        ]
        .concat();
        let contents = read(file("REDIS0010", &body).as_slice()).unwrap();
        assert_eq!((contents.version, contents.functions), (10, 1));
        assert_eq!(contents.about["redis-ver"], "7.0.15");
        assert_eq!(contents.about["redis-bits"], "64");
        let two = contents.databases[&2];
        assert_eq!((two.keys, two.expiring, two.promised), (3, 1, Some(3)));
        assert_eq!(contents.broken_promises(), ["database 5 has 1 of 2 keys"]);
    }

    #[test]
    fn what_is_not_known_is_under_the_checksum_all_the_same() {
        for version in ["REDIS0099", "VALKEY080"] {
            let mut bytes = file(version, &one(22, &vec![7; 600_000]));
            let contents = read(bytes.as_slice()).unwrap();
            assert!(contents.unknown.unwrap().starts_with("type 22"));
            assert_eq!(contents.bytes, bytes.len() as u64);
            bytes[300_000] ^= 1;
            assert!(read(bytes.as_slice()).is_err());
            bytes[300_000] ^= 1;
            bytes.pop();
            assert!(read(bytes.as_slice()).is_err());
        }
    }

    #[test]
    fn a_server_may_write_no_checksum() {
        let mut bytes = file("REDIS0010", &one(0, b"\x01a"));
        let end = bytes.len() - 8;
        bytes[end..].fill(0);
        assert_eq!(read(bytes.as_slice()).unwrap().checksum, None);
        let old = b"REDIS0004\xff";
        assert_eq!(read(old.as_slice()).unwrap().checksum, None);
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let bytes = file("REDIS0010", &one(4, b"\x01\x01f\x05value"));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                // Only the version is free to be another, and is under the checksum too.
                assert!(read(damaged.as_slice()).is_err(), "byte {at}, bit {bit}");
            }
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(read(longer.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn noise_ends(body: Vec<u8>) {
            let _ = read(file("REDIS0011", &body).as_slice());
            let _ = read(body.as_slice());
        }
    }
}

//! The bytes of the format: ids, encryption, compression, how files and blobs are framed.
//!
//! Everything is encrypted with AES-256-CTR and authenticated with Poly1305-AES: 16 bytes of nonce, the
//! text, 16 bytes of MAC. Since version 2 of the format the text of an index, a snapshot or a lock is
//! JSON, or a byte 2 and JSON compressed with zstd; a blob is compressed if its index entry gives the
//! length it had before (<https://restic.readthedocs.io/en/stable/100_references.html>).

use std::fmt;

use aes256ctr_poly1305aes::aead::AeadInPlace;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, Tag};
use rustic_core::repofile::{ConfigFile, MasterKey};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use zstd::bulk::{Compressor, Decompressor};

use crate::config::Compression;

/// The nonce before an encrypted text.
pub(super) const NONCE: usize = 16;
/// The MAC after it.
const MAC: usize = 16;
/// What encryption adds.
pub(super) const OVERHEAD: usize = NONCE + MAC;

/// A blob is never larger than this before it is compressed: more than the largest piece of a file,
/// and more than any directory that a machine could hold in memory anyway.
const LARGEST: u64 = 1 << 31;
/// The level of zstd for pieces of files where it may take as long as it wants: beyond, times grow and
/// sizes hardly shrink.
const MOST: i32 = 11;

/// The SHA-256 of something, which is its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Id(pub(super) [u8; 32]);

impl Id {
    /// The id of this content.
    pub(super) fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The id with this name.
    pub(super) fn parse(hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(id))
    }

    fn hex(self) -> [u8; 64] {
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// The same id as the library has it.
    pub(super) fn library(self) -> rustic_core::Id {
        rustic_core::Id::new(self.0)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl From<rustic_core::Id> for Id {
    fn from(id: rustic_core::Id) -> Self {
        Self::parse(id.to_hex().as_str()).unwrap_or_default()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, hex: &str) -> Result<Id, E> {
                Id::parse(hex).ok_or_else(|| E::custom("not an id"))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

/// What a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of a file.
    Data,
    /// The list of a directory.
    Tree,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Data => "data",
            Self::Tree => "tree",
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*std::borrow::Cow::<str>::deserialize(deserializer)? {
            "data" => Ok(Self::Data),
            "tree" => Ok(Self::Tree),
            other => Err(D::Error::custom(format!("no kind of blob: {other}"))),
        }
    }
}

/// Why stored bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spoiled(pub(super) &'static str);

impl fmt::Display for Spoiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Encrypts and compresses, and the other way round. One for each thread: a compressor is costly to
/// make, and small files are many.
pub(super) struct Coder {
    cipher: Aes256CtrPoly1305Aes,
    levels: Levels,
    /// At the level that was needed last.
    compressor: Option<(i32, Compressor<'static>)>,
    decompressor: Option<Decompressor<'static>>,
    scratch: Vec<u8>,
}

/// What coders are made from.
#[derive(Clone)]
pub(super) struct Recipe {
    cipher: Aes256CtrPoly1305Aes,
    levels: Levels,
}

/// Levels of zstd; nothing is compressed where there is none.
#[derive(Clone, Copy)]
struct Levels {
    /// Of pieces of files.
    data: Option<i32>,
    /// Of all else; none in version 1 of the format.
    rest: Option<i32>,
}

impl Levels {
    fn of(self, kind: Kind) -> Option<i32> {
        match kind {
            Kind::Data => self.data,
            Kind::Tree => self.rest,
        }
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe").finish_non_exhaustive()
    }
}

impl Recipe {
    /// For a repository with this key and config.
    pub(super) fn new(key: &MasterKey, config: &ConfigFile) -> Result<Self, Spoiled> {
        let mut bytes = Key::default();
        let parts = [&key.encrypt[..], &key.mac.k, &key.mac.r];
        if parts.map(<[u8]>::len) != [32, 16, 16] {
            return Err(Spoiled("its key has another length than keys have"));
        }
        for (byte, part) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *part;
        }
        let level = config
            .zstd()
            .map_err(|_| Spoiled("its format has a version that is not known"))?;
        Ok(Self {
            cipher: Aes256CtrPoly1305Aes::new(&bytes),
            levels: Levels {
                data: level,
                rest: level,
            },
        })
    }

    /// The same, with pieces of files compressed in this way. As with restic's option of that name all
    /// else is as it was: it is small, and compresses well.
    #[must_use]
    pub(super) fn with_compression(mut self, compression: Compression) -> Self {
        self.levels.data = match compression {
            Compression::Off => None,
            Compression::Auto => self.levels.rest,
            Compression::Max => self.levels.rest.map(|_| MOST),
        };
        self
    }

    pub(super) fn coder(&self) -> Coder {
        Coder {
            cipher: self.cipher.clone(),
            levels: self.levels,
            compressor: None,
            decompressor: None,
            scratch: Vec::new(),
        }
    }
}

impl Coder {
    /// Appends the encrypted text.
    pub(super) fn seal(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Spoiled> {
        let mut nonce = Nonce::default();
        fill_random(&mut nonce).map_err(|()| Spoiled("the system gives no random numbers"))?;
        let start = out.len();
        out.reserve(text.len() + OVERHEAD);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(text);
        let tag = self
            .cipher
            .encrypt_in_place_detached(&nonce, &[], &mut out[start + NONCE..])
            .map_err(|_| Spoiled("it is too long to be encrypted"))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// The text of what was encrypted, in its place.
    pub(super) fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a [u8], Spoiled> {
        let length = sealed.len();
        if length < OVERHEAD {
            return Err(Spoiled("it is cut short"));
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(length - OVERHEAD);
        self.cipher
            .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], text, Tag::from_slice(tag))
            .map_err(|_| Spoiled("its MAC is wrong"))?;
        Ok(text)
    }

    fn compress(&mut self, text: &[u8], level: Option<i32>) -> Option<&[u8]> {
        let level = level?;
        let mut compressor = match self.compressor.take() {
            Some((at, compressor)) if at == level => compressor,
            _ => Compressor::new(level).ok()?,
        };
        self.scratch.clear();
        self.scratch
            .reserve(zstd::zstd_safe::compress_bound(text.len()));
        let done = compressor.compress_to_buffer(text, &mut self.scratch);
        self.compressor = Some((level, compressor));
        done.ok()?;
        Some(&self.scratch)
    }

    /// Appends a blob as it is in a pack, and says what its index entry says of its length before.
    pub(super) fn pack(
        &mut self,
        kind: Kind,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u32, Spoiled> {
        let plain = u32::try_from(text.len()).map_err(|_| Spoiled("it is larger than 4 GiB"))?;
        // What does not become smaller is stored as it is: it is read faster.
        let smaller = self
            .compress(text, self.levels.of(kind))
            .is_some_and(|small| small.len() < text.len());
        if smaller {
            let scratch = std::mem::take(&mut self.scratch);
            let sealed = self.seal(&scratch, out);
            self.scratch = scratch;
            sealed.map(|()| plain)
        } else {
            self.seal(text, out).map(|()| 0)
        }
    }

    /// The content of a blob whose index entry says this of its length; it must have this id.
    pub(super) fn unpack(
        &mut self,
        sealed: &mut [u8],
        plain: u32,
        id: &Id,
    ) -> Result<Vec<u8>, Spoiled> {
        let text = self.open(sealed)?;
        self.content(text, plain, id)
    }

    /// Appends a blob as it is in a pack of another repository. What is compressed stays so.
    pub(super) fn repack(
        &mut self,
        kind: Kind,
        sealed: &mut [u8],
        plain: u32,
        id: &Id,
        to: &mut Self,
        out: &mut Vec<u8>,
    ) -> Result<u32, Spoiled> {
        let text = self.open(sealed)?;
        let content = self.content(text, plain, id)?;
        if plain > 0 && to.levels.rest.is_some() {
            to.seal(text, out).map(|()| plain)
        } else {
            to.pack(kind, &content, out)
        }
    }

    fn content(&mut self, text: &[u8], plain: u32, id: &Id) -> Result<Vec<u8>, Spoiled> {
        let content = if plain == 0 {
            text.to_vec()
        } else {
            if u64::from(plain) > LARGEST {
                return Err(Spoiled("it says to be larger than any"));
            }
            if self.decompressor.is_none() {
                self.decompressor = Decompressor::new().ok();
            }
            let mut content = Vec::with_capacity(plain as usize);
            self.decompressor
                .as_mut()
                .ok_or(Spoiled("there is no memory to decompress it"))?
                .decompress_to_buffer(text, &mut content)
                .map_err(|_| Spoiled("it does not decompress"))?;
            if content.len() != plain as usize {
                return Err(Spoiled("it has another length than its index says"));
            }
            content
        };
        if Id::of(&content) != *id {
            return Err(Spoiled("it is not what its id says"));
        }
        Ok(content)
    }

    /// The JSON in an index, a snapshot or a lock.
    pub(super) fn open_file(&mut self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Spoiled> {
        let text = self.open(&mut sealed)?;
        match text.first() {
            Some(b'{' | b'[') => Ok(text.to_vec()),
            Some(2) => {
                zstd::stream::decode_all(&text[1..]).map_err(|_| Spoiled("it does not decompress"))
            }
            _ => Err(Spoiled("it is in a format that is not known")),
        }
    }

    /// The same the other way round.
    pub(super) fn seal_file(&mut self, json: &[u8]) -> Result<Vec<u8>, Spoiled> {
        let mut text = vec![2];
        let mut sealed = Vec::new();
        match self.compress(json, self.levels.rest) {
            Some(small) => {
                text.extend_from_slice(small);
                self.seal(&text, &mut sealed)?;
            }
            None => self.seal(json, &mut sealed)?,
        }
        Ok(sealed)
    }
}

fn fill_random(bytes: &mut [u8]) -> Result<(), ()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Compression::{Auto, Max, Off};

    fn coder(version: u32) -> Coder {
        coder_with(version, Compression::Auto)
    }

    fn coder_with(version: u32, compression: Compression) -> Coder {
        let config = ConfigFile::new(
            version,
            rustic_core::Id::default().into(),
            0x3d_a335_8b4d_c173,
        );
        let recipe = Recipe::new(&MasterKey::new(), &config).unwrap();
        recipe.with_compression(compression).coder()
    }

    #[test]
    fn only_pieces_of_files_are_compressed_as_it_is_said() {
        let text: Vec<u8> = (0..20_000u32)
            .flat_map(|number| format!("row {}, ", number % 971).into_bytes())
            .collect();
        let length = |version, compression, kind| {
            let mut sealed = Vec::new();
            let mut coder = coder_with(version, compression);
            let plain = coder.pack(kind, &text, &mut sealed).unwrap();
            let length = sealed.len();
            let back = coder.unpack(&mut sealed, plain, &Id::of(&text)).unwrap();
            assert!(back == text);
            length
        };
        let whole = text.len() + OVERHEAD;
        assert_eq!(length(2, Off, Kind::Data), whole);
        assert!(length(2, Auto, Kind::Data) < whole / 2);
        assert!(length(2, Max, Kind::Data) < length(2, Auto, Kind::Data));
        let tree = length(2, Auto, Kind::Tree);
        for compression in [Off, Auto, Max] {
            assert_eq!(length(2, compression, Kind::Tree), tree);
            assert_eq!(length(1, compression, Kind::Data), whole);
        }
    }

    #[test]
    fn blobs_come_back_and_damage_is_seen() {
        let long = b"0123456789".repeat(1000);
        for version in [1, 2] {
            let mut coder = coder(version);
            for text in [&b""[..], b"a", &long] {
                let mut sealed = vec![7; 3];
                let plain = coder.pack(Kind::Data, text, &mut sealed).unwrap();
                let compressed = version == 2 && text.len() > 100;
                assert_eq!(plain as usize, if compressed { text.len() } else { 0 });
                let id = Id::of(text);
                let whole = sealed.split_off(3);
                assert!(!compressed || whole.len() < text.len() / 10);
                let mut copy = whole.clone();
                assert_eq!(coder.unpack(&mut copy, plain, &id).unwrap(), text);
                let mut other = whole.clone();
                let wrong = coder.unpack(&mut other, plain, &Id::of(b"x"));
                assert_eq!(wrong, Err(Spoiled("it is not what its id says")));
                for at in [0, whole.len() / 2, whole.len() - 1] {
                    let mut spoiled = whole.clone();
                    spoiled[at] ^= 1;
                    let found = coder.unpack(&mut spoiled, plain, &id);
                    assert_eq!(found, Err(Spoiled("its MAC is wrong")), "{at}");
                }
                let mut short = whole[..whole.len() - 1].to_vec();
                assert!(coder.unpack(&mut short, plain, &id).is_err());
            }
            assert!(coder.unpack(&mut [0; 31], 0, &Id::default()).is_err());
        }
    }

    #[test]
    fn blobs_move_to_other_repositories() {
        let long = b"0123456789".repeat(1000);
        for (from, to) in [(2, 2), (2, 1), (1, 2), (1, 1)] {
            let (mut from, mut other) = (coder(from), coder(to));
            let id = Id::of(&long);
            let mut sealed = Vec::new();
            let plain = from.pack(Kind::Data, &long, &mut sealed).unwrap();
            let mut moved = Vec::new();
            let plain = from
                .repack(Kind::Data, &mut sealed, plain, &id, &mut other, &mut moved)
                .unwrap();
            assert_eq!(plain > 0, to == 2);
            assert!(from.unpack(&mut moved.clone(), plain, &id).is_err());
            assert_eq!(other.unpack(&mut moved, plain, &id).unwrap(), long);
        }
    }

    #[test]
    fn files_come_back() {
        for version in [1, 2] {
            let mut coder = coder(version);
            let sealed = coder.seal_file(b"{\"a\":1}").unwrap();
            assert_eq!(coder.open_file(sealed).unwrap(), b"{\"a\":1}");
        }
    }

    #[test]
    fn ids_are_read_and_written() {
        let id = Id::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(id.to_string(), text);
        assert_eq!(Id::parse(text), Some(id));
        assert_eq!(Id::from(id.library()), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<Id>(&format!("\"{text}\"")).unwrap(),
            id
        );
        for wrong in ["", "e3", &text[1..], &text.replace('e', "g")] {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }
}

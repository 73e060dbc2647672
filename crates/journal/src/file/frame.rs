//! The bytes of the file: a head, then frames. One frame is what was written in one go, so that a
//! crash leaves all of it or a torn frame at the end.
//!
//! ```text
//! head   "mainstay-journal 1\n" salt:8
//! frame  "\xf7fr\n" number:8 length:4 checksum:4 entry*        (little endian)
//! entry  head-length:4 body-length:4 head body
//! ```
//!
//! The checksum is a CRC-32 over salt, number, length and entries. The salt is of the file's own, so
//! that no bytes a user sends can look like a frame.

use serde::{Deserialize, Serialize};

use crate::store::{Kind, Millis, Row, Status};

const MAGIC: &[u8] = b"mainstay-journal 1\n";
const MARK: &[u8] = b"\xf7fr\n";
/// Of the file's head, in bytes.
pub(super) const HEAD: usize = MAGIC.len() + 8;
/// Of a frame's head, in bytes.
const FRAME_HEAD: usize = MARK.len() + 8 + 4 + 4;

/// One change of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Set(Row),
    Remove(Kind, String),
}

/// What of a row is JSON; the body follows as it is.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    kind: &'a str,
    id: String,
    #[serde(default)]
    version: u64,
    /// None: the row is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    wake: Millis,
}

/// The head of a file with that salt.
pub(super) fn head(salt: [u8; 8]) -> Vec<u8> {
    [MAGIC, &salt].concat()
}

/// A frame of these entries.
pub(super) fn frame(salt: [u8; 8], number: u64, entries: &[Entry]) -> Vec<u8> {
    let mut content = Vec::new();
    for entry in entries {
        let (head, body): (_, &[u8]) = match entry {
            Entry::Set(row) => (
                Head {
                    kind: row.kind.word(),
                    id: row.id.clone(),
                    version: row.version,
                    status: Some(row.status.word()),
                    owner: row.owner.clone(),
                    wake: row.wake,
                },
                &row.body,
            ),
            Entry::Remove(kind, id) => (
                Head {
                    kind: kind.word(),
                    id: id.clone(),
                    version: 0,
                    status: None,
                    owner: String::new(),
                    wake: 0,
                },
                &[],
            ),
        };
        let head = serde_json::to_vec(&head).expect("text and numbers have a form as JSON");
        for part in [&head[..], body] {
            content.extend(length(part).to_le_bytes());
        }
        content.extend(head);
        content.extend(body);
    }
    let mut bytes = MARK.to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.extend(length(&content).to_le_bytes());
    bytes.extend(checksum(salt, number, &content).to_le_bytes());
    bytes.extend(content);
    bytes
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("what is written at once is bounded far below 4 GiB")
}

fn checksum(salt: [u8; 8], number: u64, content: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&salt);
    hash.update(&number.to_le_bytes());
    hash.update(&length(content).to_le_bytes());
    hash.update(content);
    hash.finalize()
}

/// What is in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) salt: [u8; 8],
    pub(super) entries: Vec<Entry>,
    /// Of the next frame.
    pub(super) number: u64,
    /// How many bytes are whole; what follows was torn by a crash.
    pub(super) whole: usize,
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is another kind of file, or of another version.
    Foreign,
    /// There are good frames after a bad one at this byte: this is no torn end.
    Damaged(usize),
}

/// Reads a file. One that is shorter than a head was torn at its birth, and is `None`.
pub(super) fn scan(bytes: &[u8]) -> Result<Option<Scan>, Broken> {
    if bytes.len() < HEAD {
        return if MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            Ok(None)
        } else {
            Err(Broken::Foreign)
        };
    }
    if !bytes.starts_with(MAGIC) {
        return Err(Broken::Foreign);
    }
    let salt = array(&bytes[MAGIC.len()..]).ok_or(Broken::Foreign)?;
    let mut scan = Scan {
        salt,
        entries: Vec::new(),
        number: 0,
        whole: HEAD,
    };
    while let Some((number, content, size)) = read(salt, &bytes[scan.whole..]) {
        // Compaction begins with the number it has come to.
        if scan.number != 0 && number != scan.number {
            return Err(Broken::Damaged(scan.whole));
        }
        scan.entries
            .extend(entries(content).ok_or(Broken::Damaged(scan.whole))?);
        scan.number = number + 1;
        scan.whole += size;
    }
    let rest = &bytes[scan.whole..];
    let later = (1..rest.len())
        .any(|start| rest[start..].starts_with(MARK) && read(salt, &rest[start..]).is_some());
    if later {
        return Err(Broken::Damaged(scan.whole));
    }
    Ok(Some(scan))
}

/// The frame that begins here, if it is whole: its number, its content, its size.
fn read(salt: [u8; 8], bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let rest = bytes.strip_prefix(MARK)?;
    let number = u64::from_le_bytes(array(rest)?);
    let size = usize::try_from(u32::from_le_bytes(array(rest.get(8..)?)?)).ok()?;
    let sum = u32::from_le_bytes(array(rest.get(12..)?)?);
    let content = rest.get(16..)?.get(..size)?;
    (checksum(salt, number, content) == sum).then_some((number, content, FRAME_HEAD + size))
}

fn entries(mut content: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !content.is_empty() {
        let head_size = usize::try_from(u32::from_le_bytes(array(content)?)).ok()?;
        let body_size = usize::try_from(u32::from_le_bytes(array(content.get(4..)?)?)).ok()?;
        let head = content.get(8..)?.get(..head_size)?;
        let body = content.get(8 + head_size..)?.get(..body_size)?;
        let head: Head<'_> = serde_json::from_slice(head).ok()?;
        let kind = Kind::of(head.kind)?;
        entries.push(match head.status {
            Some(status) => Entry::Set(Row {
                kind,
                id: head.id,
                version: head.version,
                status: Status::of(status)?,
                owner: head.owner,
                wake: head.wake,
                body: body.to_vec(),
            }),
            None => Entry::Remove(kind, head.id),
        });
        content = &content[8 + head_size + body_size..];
    }
    Some(entries)
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(..N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: [u8; 8] = *b"saltsalt";

    fn entry() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![Just(Kind::Work), Just(Kind::Key)];
        let status = prop_oneof![Just(Status::Live), Just(Status::Stuck), Just(Status::Ended)];
        (
            kind,
            "[!-~]{1,20}",
            any::<u64>(),
            proptest::option::of(status),
            "[a-f0-9]{0,8}",
            any::<u64>(),
            proptest::collection::vec(any::<u8>(), 0..60),
        )
            .prop_map(
                |(kind, id, version, status, owner, wake, body)| match status {
                    Some(status) => Entry::Set(Row {
                        kind,
                        id,
                        version,
                        status,
                        owner,
                        wake,
                        body,
                    }),
                    None => Entry::Remove(kind, id),
                },
            )
    }

    fn file(frames: &[Vec<Entry>]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = head(SALT);
        let mut ends = vec![bytes.len()];
        for (entries, number) in frames.iter().zip(7..) {
            bytes.extend(frame(SALT, number, entries));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        /// Cut anywhere, a file has the frames that are whole, and says where they end.
        #[test]
        fn a_torn_file_has_its_whole_frames(
            frames in proptest::collection::vec(proptest::collection::vec(entry(), 1..4), 0..5),
            cut in any::<prop::sample::Index>(),
            garbage in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (bytes, ends) = file(&frames);
            let cut = cut.index(bytes.len() + 1);
            let mut torn = bytes[..cut].to_vec();
            if cut < HEAD {
                prop_assert_eq!(scan(&torn), Ok(None));
                return Ok(());
            }
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            let expected: Vec<&Entry> = frames[..whole].iter().flatten().collect();
            for pass in 0..2 {
                let found = scan(&torn).unwrap().unwrap();
                prop_assert_eq!(found.entries.iter().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(found.whole, ends[whole]);
                if pass == 0 && ends[whole] == cut {
                    torn.extend(&garbage);
                }
            }
        }

        /// A bit that has changed before the last frame is not taken for a torn end.
        #[test]
        fn damage_in_the_middle_is_told(
            frames in proptest::collection::vec(proptest::collection::vec(entry(), 1..3), 2..5),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let (mut bytes, ends) = file(&frames);
            let last = ends[ends.len() - 2];
            let at = HEAD + at.index(last - HEAD);
            bytes[at] ^= 1 << bit;
            let begin = ends.iter().rev().find(|end| **end <= at).copied().unwrap();
            prop_assert_eq!(scan(&bytes), Err(Broken::Damaged(begin)));
        }
    }

    #[test]
    fn another_file_is_not_touched() {
        for (name, bytes) in [
            ("text", &b"hello"[..]),
            ("long text", b"this is a text that is longer than a head"),
            ("another version", b"mainstay-journal 2\nsaltsaltsalt"),
        ] {
            assert_eq!(scan(bytes), Err(Broken::Foreign), "{name}");
        }
        assert_eq!(scan(b""), Ok(None));
    }
}

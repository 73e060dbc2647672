//! The stream of `mariadb-backup --stream=xbstream`, taken apart into files.
//!
//! It is a sequence of chunks, each with a head of its own; all numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `XBSTCK01` |
//! | 1 | flags: 1, a reader that does not know it may skip it; 2, the file is written anew |
//! | 1 | `P` bytes of a file, `E` its end, `S` the place where it goes on, `D` it is gone, `R` it is called otherwise |
//! | 4, n | length of the path, and the path |
//!
//! Then `P` has 8 bytes of length, 8 of offset, the CRC-32 of the bytes, and the bytes; `S` has 8 bytes of
//! offset; `R` has length and text of the other path. Several files come at once, their chunks mixed.
//! `D`, `R` and files that are written anew come where a server's tables were changed meanwhile. What is
//! not known here is refused, with that flag and without: a backup that lacks something is none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use crc32fast::Hasher;

const MAGIC: &[u8; 8] = b"XBSTCK01";
/// The flag of a file that is written anew.
const ANEW: u8 = 2;
/// The longest path of a server is an eighth of that.
const LONGEST_PATH: u32 = 4096;
/// Bytes of a file come in pieces of so many at most.
pub const PIECE: usize = 256 << 10;
/// So many files may be open at once. A program has one for each of its threads, and the log.
const OPEN: usize = 256;
/// A file is no longer than this: that of a server is 64 TiB at most.
const LONGEST_FILE: u64 = 1 << 46;

/// What comes next in the stream. Paths are relative and clean: names only, none of them `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next bytes of a file, at most [`PIECE`]; the first of them begin it.
    Bytes(PathBuf, Vec<u8>),
    /// So many zeros of a file: a hole.
    Zeros(PathBuf, u64),
    /// The end of a file. One without bytes is empty.
    End(PathBuf),
    /// A file or directory that came is not there.
    Gone(PathBuf),
    /// A file or directory that came has another path. What was there is replaced.
    Moved(PathBuf, PathBuf),
}

/// Why a stream cannot be read any further.
#[derive(Debug)]
pub enum Broken {
    /// It could not be read.
    Io(io::Error),
    /// It is at its end, and is not whole; completing "the stream …".
    Cut(String),
    /// It is none, or it is spoiled; completing "the stream …".
    Form(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Cut(why) | Self::Form(why) => f.write_str(why),
        }
    }
}

/// Bytes of a file that are still to come of a chunk.
struct Payload {
    path: PathBuf,
    left: u64,
    checksum: u32,
    hasher: Hasher,
    /// Where the chunk begins.
    at: u64,
}

/// Reads a stream.
pub struct Reader<R> {
    from: R,
    /// Bytes that were read.
    offset: u64,
    /// Files that have begun and not ended: what of them is there, and where they go on.
    open: HashMap<PathBuf, (u64, u64)>,
    ended: HashSet<PathBuf>,
    payload: Option<Payload>,
    /// What comes before anything more is read.
    next: VecDeque<Event>,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning of a stream.
    pub fn new(from: R) -> Self {
        Self {
            from,
            offset: 0,
            open: HashMap::new(),
            ended: HashSet::new(),
            payload: None,
            next: VecDeque::new(),
        }
    }

    /// What comes next, or nothing at the end, where all files have ended.
    ///
    /// Bytes are given before their checksum is known; if that is wrong, the error comes after them.
    #[allow(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            if let Some(event) = self.next.pop_front() {
                return Ok(Some(event));
            }
            if let Some(event) = self.go_on()? {
                return Ok(Some(event));
            }
            if !self.chunk()? {
                return match self.open.keys().min() {
                    None => Ok(None),
                    Some(path) => self.cut(&path.display().to_string()),
                };
            }
        }
    }

    /// The next piece of the chunk that is being read.
    fn go_on(&mut self) -> Result<Option<Event>, Broken> {
        let Some(payload) = &mut self.payload else {
            return Ok(None);
        };
        if payload.left == 0 {
            let found = payload.hasher.clone().finalize();
            let (at, path) = (payload.at, std::mem::take(&mut payload.path));
            let same = found == payload.checksum;
            self.payload = None;
            if !same {
                return Err(Broken::Form(format!(
                    "is spoiled: the checksum of {} is wrong in the chunk at byte {at}",
                    path.display()
                )));
            }
            return Ok(None);
        }
        let length = usize::try_from(payload.left).map_or(PIECE, |left| left.min(PIECE));
        let mut bytes = vec![0; length];
        let read = read_full(&mut self.from, &mut bytes)?;
        self.offset += read as u64;
        if read < length {
            let path = payload.path.display().to_string();
            return self.cut(&path);
        }
        payload.hasher.update(&bytes);
        payload.left -= length as u64;
        Ok(Some(Event::Bytes(payload.path.clone(), bytes)))
    }

    /// Reads the head of a chunk; false at the end of the stream.
    fn chunk(&mut self) -> Result<bool, Broken> {
        let at = self.offset;
        let mut head = [0; 14];
        let read = read_full(&mut self.from, &mut head)?;
        self.offset += read as u64;
        if read == 0 {
            return Ok(false);
        }
        if read < head.len() {
            return self.cut("the head of a chunk");
        }
        let [magic @ .., flags, kind, a, b, c, d] = head;
        if &magic != MAGIC {
            return self.broken("is not one, or spoiled: a chunk does not begin as it should");
        }
        let path = self.path(u32::from_le_bytes([a, b, c, d]))?;
        match kind {
            b'P' => {
                let length = self.number()?;
                let offset = self.number()?;
                let checksum = self.short()?;
                self.bytes(path, length, offset, checksum, flags & ANEW != 0, at)?;
            }
            b'S' => {
                let offset = self.number()?;
                self.seek(path, offset)?;
            }
            b'E' => {
                if self.open.remove(&path).is_none() && self.ended.contains(&path) {
                    return self.broken(&format!("ends {} twice", path.display()));
                }
                self.ended.insert(path.clone());
                self.next.push_back(Event::End(path));
            }
            b'D' => {
                self.closed(&path)?;
                self.ended.retain(|file| !file.starts_with(&path));
                self.next.push_back(Event::Gone(path));
            }
            b'R' => {
                let length = self.short()?;
                let to = self.path(length)?;
                self.closed(&path)?;
                self.closed(&to)?;
                if path == to || to.starts_with(&path) {
                    return self.broken(&format!("moves {} into itself", path.display()));
                }
                self.ended.retain(|file| !file.starts_with(&to));
                let moved: Vec<PathBuf> = (self.ended.iter())
                    .filter(|file| file.starts_with(&path))
                    .cloned()
                    .collect();
                for file in moved {
                    let rest = file.strip_prefix(&path).unwrap_or(&file);
                    self.ended.insert(if rest.as_os_str().is_empty() {
                        to.clone()
                    } else {
                        to.join(rest)
                    });
                    self.ended.remove(&file);
                }
                self.next.push_back(Event::Moved(path, to));
            }
            other => {
                return self.broken(&format!(
                    "has a chunk of a kind that is not known here ({:?})",
                    char::from(other)
                ));
            }
        }
        Ok(true)
    }

    fn bytes(
        &mut self,
        path: PathBuf,
        left: u64,
        offset: u64,
        checksum: u32,
        anew: bool,
        at: u64,
    ) -> Result<(), Broken> {
        if !self.open.contains_key(&path) && anew && self.ended.remove(&path) {
            self.next.push_back(Event::Gone(path.clone()));
        }
        let (there, goes_on) = self.begin(&path)?;
        if offset != goes_on {
            return self.broken(&format!(
                "goes on with {} at {offset}, and not at {goes_on}",
                path.display()
            ));
        }
        if left > LONGEST_FILE - goes_on {
            return self.broken(&format!("has too much of {}", path.display()));
        }
        if goes_on > there {
            (self.next).push_back(Event::Zeros(path.clone(), goes_on - there));
        }
        let end = goes_on + left;
        self.open.insert(path.clone(), (end, end));
        self.payload = Some(Payload {
            path,
            left,
            checksum,
            hasher: Hasher::new(),
            at,
        });
        Ok(())
    }

    /// What of a file is there, and where it goes on; it begins if it has not.
    fn begin(&mut self, path: &Path) -> Result<(u64, u64), Broken> {
        if self.ended.contains(path) {
            return self.broken(&format!("goes on with {} after its end", path.display()));
        }
        if !self.open.contains_key(path) && self.open.len() >= OPEN {
            return self.broken("has too many files at once");
        }
        Ok(*self.open.entry(path.to_owned()).or_default())
    }

    fn seek(&mut self, path: PathBuf, offset: u64) -> Result<(), Broken> {
        let (there, _) = self.begin(&path)?;
        // What came before is stored already.
        if offset < there || offset > LONGEST_FILE {
            return self.broken(&format!(
                "goes back in {}, or too far: to {offset}",
                path.display()
            ));
        }
        self.open.insert(path, (there, offset));
        Ok(())
    }

    /// That a file or directory that goes or moves is not being written.
    fn closed(&self, path: &Path) -> Result<(), Broken> {
        if self.open.keys().any(|file| file.starts_with(path)) {
            return self.broken(&format!("moves {} before its end", path.display()));
        }
        Ok(())
    }

    fn path(&mut self, length: u32) -> Result<PathBuf, Broken> {
        use std::os::unix::ffi::OsStringExt;
        if length == 0 || length > LONGEST_PATH {
            return self.broken(&format!("has a path of {length} bytes"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.exactly(&mut bytes)?;
        let raw = PathBuf::from(std::ffi::OsString::from_vec(bytes.clone()));
        let mut clean = PathBuf::new();
        for part in raw.components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::CurDir => {}
                _ => return self.broken(&format!("has the path {}", raw.display())),
            }
        }
        if clean.as_os_str().is_empty() || bytes.contains(&0) {
            return self.broken(&format!("has the path {:?}", raw.display().to_string()));
        }
        Ok(clean)
    }

    fn number(&mut self) -> Result<u64, Broken> {
        let mut bytes = [0; 8];
        self.exactly(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn short(&mut self) -> Result<u32, Broken> {
        let mut bytes = [0; 4];
        self.exactly(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        let read = read_full(&mut self.from, bytes)?;
        self.offset += read as u64;
        if read < bytes.len() {
            return self.cut("the head of a chunk");
        }
        Ok(())
    }

    fn cut<T>(&self, within: &str) -> Result<T, Broken> {
        Err(Broken::Cut(format!(
            "ends within {within} (byte {})",
            self.offset
        )))
    }

    fn broken<T>(&self, why: &str) -> Result<T, Broken> {
        Err(Broken::Form(format!("{why} (byte {})", self.offset)))
    }
}

/// Reads until the buffer is full or the stream at its end.
fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Broken> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Broken::Io(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(kind: u8, flags: u8, path: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([flags, kind]);
        bytes.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
        bytes.extend(path.as_bytes());
        bytes
    }

    fn bytes_of(path: &str, offset: u64, flags: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = head(b'P', flags, path);
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(crc32fast::hash(content).to_le_bytes());
        bytes.extend(content);
        bytes
    }

    fn p(path: &str, offset: u64, content: &str) -> Vec<u8> {
        bytes_of(path, offset, 0, content.as_bytes())
    }

    fn e(path: &str) -> Vec<u8> {
        head(b'E', 0, path)
    }

    fn s(path: &str, offset: u64) -> Vec<u8> {
        [head(b'S', 0, path), offset.to_le_bytes().to_vec()].concat()
    }

    fn r(path: &str, to: &str) -> Vec<u8> {
        let length = u32::try_from(to.len()).unwrap().to_le_bytes();
        [head(b'R', 0, path), length.to_vec(), to.as_bytes().to_vec()].concat()
    }

    /// The files as they are in the end.
    fn files(from: impl Read) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut reader = Reader::new(from);
        let mut files: HashMap<PathBuf, Vec<u8>> = HashMap::new();
        while let Some(event) = reader.next().map_err(|broken| broken.to_string())? {
            match event {
                Event::Bytes(path, bytes) => files.entry(path).or_default().extend(bytes),
                Event::Zeros(path, count) => {
                    let file = files.entry(path).or_default();
                    file.resize(file.len() + usize::try_from(count).unwrap(), 0);
                }
                Event::End(path) => {
                    files.entry(path).or_default();
                }
                Event::Gone(path) => files.retain(|file, _| !file.starts_with(&path)),
                Event::Moved(from, to) => {
                    files.retain(|file, _| !file.starts_with(&to));
                    files = (files.into_iter())
                        .map(|(file, content)| match file.strip_prefix(&from) {
                            Ok(rest) => (to.join(rest).components().collect(), content),
                            Err(_) => (file, content),
                        })
                        .collect();
                }
            }
        }
        let mut files: Vec<(String, Vec<u8>)> = (files.into_iter())
            .map(|(path, content)| (path.display().to_string(), content))
            .collect();
        files.sort();
        Ok(files)
    }

    /// What `mbstream -x` of `MariaDB` 10.11.19 makes of the same streams, where it takes them.
    #[test]
    fn streams_become_files() {
        for (what, stream, expected) in [
            ("nothing", vec![], vec![]),
            ("one", vec![p("a", 0, "ab"), e("a")], vec![("a", "ab")]),
            ("empty", vec![e("a")], vec![("a", "")]),
            ("no bytes", vec![p("a", 0, ""), e("a")], vec![("a", "")]),
            (
                "mixed",
                vec![
                    p("./d/a", 0, "ab"),
                    p("b", 0, "x"),
                    p("d/a", 2, "cd"),
                    e("b"),
                    e("./d/a"),
                ],
                vec![("b", "x"), ("d/a", "abcd")],
            ),
            (
                "a hole",
                vec![p("a", 0, "ab"), s("a", 5), p("a", 5, "cd"), e("a")],
                vec![("a", "ab\0\0\0cd")],
            ),
            (
                "a hole in front",
                vec![s("a", 2), p("a", 2, "cd"), e("a")],
                vec![("a", "\0\0cd")],
            ),
            (
                "a hole at the end is none",
                vec![p("a", 0, "ab"), s("a", 9), e("a")],
                vec![("a", "ab")],
            ),
            (
                "gone",
                vec![
                    p("a", 0, "ab"),
                    e("a"),
                    head(b'D', 0, "a"),
                    head(b'D', 0, "b"),
                ],
                vec![],
            ),
            (
                "moved over another",
                vec![p("a", 0, "ab"), e("a"), e("b"), r("a", "b")],
                vec![("b", "ab")],
            ),
            (
                "a directory moved, and a new one in its place",
                vec![
                    p("d/a", 0, "ab"),
                    e("d/a"),
                    r("d", "x/y"),
                    p("d/a", 0, "c"),
                    e("d/a"),
                ],
                vec![("d/a", "c"), ("x/y/a", "ab")],
            ),
            (
                "anew",
                vec![
                    p("a", 0, "abcde"),
                    e("a"),
                    bytes_of("a", 0, ANEW, b"12"),
                    bytes_of("a", 2, ANEW, b"34"),
                    e("a"),
                    bytes_of("b", 0, ANEW, b"b"),
                    e("b"),
                ],
                vec![("a", "1234"), ("b", "b")],
            ),
        ] {
            let expected: Vec<(String, Vec<u8>)> = (expected.iter())
                .map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec()))
                .collect();
            assert_eq!(
                files(stream.concat().as_slice()).unwrap(),
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn what_is_odd_is_refused() {
        let mut spoiled = p("a", 0, "ab");
        *spoiled.last_mut().unwrap() ^= 1;
        for (stream, expected) in [
            (vec![p("a", 0, "ab")], "ends within a"),
            (
                vec![b"XBSTCK02aaaaaaaaaaaa".to_vec()],
                "does not begin as it should",
            ),
            (vec![b"XBST".to_vec()], "within the head"),
            (
                vec![spoiled],
                "checksum of a is wrong in the chunk at byte 0",
            ),
            (
                vec![p("a", 0, "ab"), p("a", 3, "c")],
                "goes on with a at 3, and not at 2",
            ),
            (vec![p("a", 1, "ab")], "goes on with a at 1, and not at 0"),
            (vec![p("a", 0, "ab"), s("a", 1)], "goes back in a"),
            (vec![s("a", u64::MAX)], "too far"),
            (
                vec![p("a", 0, "ab"), e("a"), p("a", 2, "c")],
                "after its end",
            ),
            (
                vec![p("a", 0, "ab"), e("a"), p("a", 0, "c")],
                "after its end",
            ),
            (vec![e("a"), e("a")], "ends a twice"),
            (vec![p("../a", 0, "ab")], "the path ../a"),
            (vec![p("/a", 0, "ab")], "the path /a"),
            (vec![p("a\0b", 0, "ab")], "the path"),
            (vec![p(".", 0, "ab")], "the path"),
            (vec![head(b'P', 0, "")], "a path of 0 bytes"),
            (vec![head(b'X', 1, "a")], "not known here ('X')"),
            (vec![p("a", 0, "ab"), r("a", "b")], "moves a before its end"),
            (
                vec![p("d/a", 0, "ab"), head(b'D', 0, "d")],
                "moves d before its end",
            ),
            (vec![e("a"), r("a", "a/b")], "into itself"),
        ] {
            let why = files(stream.concat().as_slice()).unwrap_err();
            assert!(why.contains(expected), "{why}: {expected}");
        }
        let many: Vec<u8> = (0..=OPEN).flat_map(|n| p(&n.to_string(), 0, "x")).collect();
        let why = files(many.as_slice()).unwrap_err();
        assert!(why.contains("too many files at once"), "{why}");
    }

    /// Gives few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    proptest! {
        /// However files are mixed and read, they come back; and no stream that is cut off or has a
        /// byte changed passes for another whole one.
        #[test]
        fn files_come_back(
            chunks in prop::collection::vec((0usize..4, prop::collection::vec(any::<u8>(), 0..60)), 1..20),
            step in 1usize..50,
            at in any::<prop::sample::Index>(),
        ) {
            let mut expected: Vec<(String, Vec<u8>)> = Vec::new();
            let mut stream = Vec::new();
            for (file, content) in &chunks {
                let path = format!("d/{file}");
                let at = expected.iter().position(|(known, _)| *known == path).unwrap_or_else(|| {
                    expected.push((path.clone(), Vec::new()));
                    expected.len() - 1
                });
                let known = &mut expected[at].1;
                stream.extend(bytes_of(&path, known.len() as u64, 0, content));
                known.extend(content);
            }
            for (path, _) in &expected {
                stream.extend(e(path));
            }
            expected.sort();
            prop_assert_eq!(files(Trickle(&stream, step)).unwrap(), expected.clone());
            let cut = at.index(stream.len());
            if cut > 0 {
                prop_assert!(files(&stream[..cut]).is_err());
            }
            let mut changed = stream.clone();
            changed[cut] ^= 0x10;
            // In a flag that means nothing here, or in the path of a file that is there once: then it
            // is another stream, with as many bytes.
            if let Ok(found) = files(changed.as_slice()) {
                let bytes = |files: &[(String, Vec<u8>)]| -> usize {
                    files.iter().map(|(_, content)| content.len()).sum()
                };
                prop_assert_eq!(bytes(&found), bytes(&expected));
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = files(bytes.as_slice());
            let _ = files([MAGIC.as_slice(), &bytes].concat().as_slice());
        }
    }
}

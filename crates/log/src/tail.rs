//! Reading a log file while it is written, rolled and compressed: the last lines, then each new one
//! once.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::archive::{Kin, PutAway};
use crate::error::Error;
use crate::naming::{Naming, SUFFIXES, bare, rolled_files, rolled_path};
use crate::pack::Compression;
use crate::search::{Form, Past};
use crate::seelog::Archive;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// How much one [`Tail::read_new`] hands over at most.
const BUDGET: usize = 4 << 20;
/// How often a look at all files is repeated when they are rolled meanwhile.
const TRIES: u32 = 20;
/// A line longer than this is handed over in parts.
const LONG_LINE: usize = 1 << 20;

/// A log file and what is rolled from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file that is written to.
    pub path: PathBuf,
    /// How the rolled ones are called.
    pub naming: Naming,
    /// Where those of them are that were too many.
    pub archive: Option<Archive>,
}

impl From<PathBuf> for LogFile {
    /// With numbers that move up, and without an archive.
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            naming: Naming::Shifted,
            archive: None,
        }
    }
}

impl From<&PathBuf> for LogFile {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&Path> for LogFile {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

/// Reads a log file and the files rolled from it, compressed ones too.
///
/// Lines come as bytes that end in a line feed. A line that is not finished yet is kept until it is;
/// [`Tail::take_partial`] gives it as it stands. Follows the file over rolls (what is rolled is read
/// to its end first, in order, even over several rolls), over deletion and over truncation. A line is
/// lost only if the file it was in is deleted or truncated before it was read; [`Tail::gaps`] counts
/// how often that may have been.
///
/// Has no thread and never waits; the caller asks again when it likes.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    naming: Naming,
    archive: Option<Archive>,
    current: Option<Open>,
    /// The end of the unfinished line.
    partial: Vec<u8>,
    gaps: u64,
}

/// How far a log file was read: enough to read on from there in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The device and the inode of the file.
    pub identity: (u64, u64),
    /// Up to this byte, the end of a line.
    pub offset: u64,
}

struct Open {
    file: File,
    identity: (u64, u64),
    /// How much of it was read; of what is in it, if it is compressed.
    offset: u64,
    /// When it was last written to, as of its opening.
    modified: SystemTime,
    packed: Option<Compression>,
    /// Its name without that of the compression, if it is one that stays.
    bare: Option<OsString>,
    /// What reads it, if it is compressed and some of it was read.
    reader: Option<Box<dyn Read + Send>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("file", &self.file)
            .field("offset", &self.offset)
            .field("packed", &self.packed)
            .finish_non_exhaustive()
    }
}

impl Tail {
    /// Begins at the end of the file as it is now: [`Self::last_lines`] looks back from there and
    /// [`Self::read_new`] goes on from there. The file may come into being later; what is in it then
    /// is read from its start. Of a path alone, rolled files have numbers that move up,
    /// [`Naming::Shifted`]. Only a [`Search`](crate::Search) looks into an archive.
    pub fn open(file: impl Into<LogFile>) -> Result<Self, Error> {
        let mut tail = Self::of(file.into());
        tail.current = tail
            .start()
            .map_err(|error| Error::read(&tail.path, error))?;
        Ok(tail)
    }

    /// Goes on where reading had come to, also over rolls meanwhile; `None`: before the file came into
    /// being. Where that file is gone or was compressed since, which counts as a [gap](Self::gaps),
    /// reading goes on with the start of the present one.
    pub fn resume(file: impl Into<LogFile>, place: Option<Place>) -> Result<Self, Error> {
        let mut tail = Self::of(file.into());
        if let Some(place) = place {
            tail.current = tail
                .found_again(place)
                .map_err(|error| Error::read(&tail.path, error))?;
        }
        Ok(tail)
    }

    fn of(file: LogFile) -> Self {
        Self {
            path: file.path,
            naming: file.naming,
            archive: file.archive,
            current: None,
            partial: Vec::new(),
            gaps: 0,
        }
    }

    fn found_again(&mut self, place: Place) -> io::Result<Option<Open>> {
        let is_it = |open: &Open| open.identity == place.identity && open.packed.is_none();
        let present = Open::path(&self.path)?;
        let found = match present {
            Some(present) if is_it(&present) => Some(present),
            _ => self.files()?.into_iter().find(|open| is_it(open)),
        };
        if let Some(mut open) = found
            && open.file.metadata()?.len() >= place.offset
        {
            open.offset = place.offset;
            return Ok(Some(open));
        }
        self.gaps += 1;
        Open::path(&self.path)
    }

    /// How far whole lines were read; none while there was no file, or where reading is in a
    /// compressed one.
    pub fn place(&self) -> Option<Place> {
        let current = self.current.as_ref().filter(|open| open.packed.is_none())?;
        Some(Place {
            identity: current.identity,
            offset: current.offset.saturating_sub(self.partial.len() as u64),
        })
    }

    fn start(&mut self) -> io::Result<Option<Open>> {
        // Between the two steps of a roll the path is not there; then the newest rolled file is it.
        let newest = match Open::path(&self.path)? {
            None => self.files()?.into_iter().next(),
            there => there,
        };
        let Some(mut open) = newest else {
            return Ok(None);
        };
        if let Some(packed) = open.packed {
            // Nothing but what was rolled is left.
            let mut all = packed.unpack(from_start(&open.file)?)?;
            open.offset = io::copy(&mut all, &mut io::sink())?;
            return Ok(Some(open));
        }
        open.offset = open.file.metadata()?.len();
        self.partial = unfinished_line(&open.file, open.offset)?;
        Ok(Some(open))
    }

    /// The path that is followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often lines may have been missed because they were gone before they could be read.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// What there is up to the place reading has come to, the oldest file first; without the unfinished
    /// line at the end unless `partial`.
    pub(crate) fn past(&self, partial: bool) -> io::Result<Vec<Past>> {
        let Some(current) = &self.current else {
            return Ok(Vec::new());
        };
        let unfinished = if partial {
            0
        } else {
            self.partial.len() as u64
        };
        let mut files = self.files()?;
        files.drain(..self.older(&files)?);
        let past = |file: File, end: Option<u64>, packed: Option<Compression>| {
            let metadata = file.metadata()?;
            Ok::<_, io::Error>(Past {
                end: end.unwrap_or(metadata.len()),
                modified: metadata.modified()?.try_into().unwrap_or(Timestamp::MAX),
                form: match packed {
                    Some(packed) => Form::Packed(file, packed),
                    None => Form::Plain(file),
                },
            })
        };
        let mut all = Vec::with_capacity(files.len() + 1);
        if let Some(archive) = &self.archive {
            // Looked for after the files: what is put away meanwhile is in both, and read once.
            let known = files.iter().filter_map(|open| open.bare.clone()).collect();
            let away = PutAway::list(archive, Kin::of(&self.path, &self.naming, known))?;
            all.extend(away.into_iter().map(|away| Past {
                end: away.size,
                modified: away.modified,
                form: Form::PutAway(away),
            }));
        }
        for open in files.into_iter().rev() {
            all.push(past(open.file, None, open.packed)?);
        }
        let end = current.packed.is_none();
        let end = end.then(|| current.offset.saturating_sub(unfinished));
        all.push(past(current.file.try_clone()?, end, current.packed)?);
        // Of files that were rolled too fast to be looked at in order only the present one is known.
        all.retain(|past: &Past| past.end > 0);
        Ok(all)
    }

    /// The first of the files, newest first, that is older than the one that is read.
    fn older(&self, files: &[Open]) -> io::Result<usize> {
        let Some(current) = &self.current else {
            return Ok(0);
        };
        let same = |file: &Open| file.identity == current.identity;
        if let Some(at) = files.iter().position(same) {
            return Ok(at + 1);
        }
        // Moved away, or compressed since: what was written to later is newer.
        let since = current.file.metadata()?.modified()?;
        if let Some(at) = self.copy_among(files, since)? {
            return Ok(at + 1);
        }
        let newer = |file: &Open| file.modified > since;
        Ok(files.iter().rposition(newer).map_or(0, |at| at + 1))
    }

    /// Which of the files is the current one in its compressed form. That has its time.
    fn copy_among(&self, files: &[Open], since: SystemTime) -> io::Result<Option<usize>> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        for (at, file) in files.iter().enumerate() {
            if let Some(packed) = file.packed
                && file.modified == since
                && current.packed.is_none()
                && is_copy(&file.file, packed, &current.file)?
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The unfinished line as far as it is there; it is not given again.
    pub fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    /// The last `count` whole lines before the place reading has come to, also from rolled files.
    pub fn last_lines(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        self.look_back(count)
            .map_err(|error| Error::read(&self.path, error))
    }

    fn look_back(&self, count: usize) -> io::Result<Vec<u8>> {
        let Some(current) = &self.current else {
            return Ok(Vec::new());
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        // The unfinished line at the end is not one of them.
        let partial = (self.partial.len() as u64).min(current.offset);
        let mut blocks = Backwards::new(count.saturating_add(1));
        let end = current.offset - partial;
        let enough = match current.packed {
            None => blocks.take(&current.file, end)?,
            // Reading has come to a file that was compressed meanwhile.
            Some(packed) => {
                let all = packed.unpack(from_start(&current.file)?)?;
                blocks.take_all(Box::new(all.take(end)))?
            }
        };
        if !enough {
            let files = self.files()?;
            for file in &files[self.older(&files)?..] {
                let enough = match file.packed {
                    None => blocks.take(&file.file, file.file.metadata()?.len())?,
                    Some(packed) => blocks.take_all(packed.unpack(from_start(&file.file)?)?)?,
                };
                if enough {
                    break;
                }
            }
        }
        Ok(blocks.blocks.into_iter().flatten().collect())
    }

    /// The current file and all rolled ones, the newest first. None at all if they were rolled too
    /// fast to be looked at; the next call will find them.
    ///
    fn files(&self) -> io::Result<Vec<Open>> {
        match self.naming {
            Naming::Shifted => self.shifted(),
            Naming::Growing { .. } | Naming::Dated { .. } => self.listed(),
        }
    }

    /// The files of a log whose rolled ones keep their names. A listing may miss one that is just being
    /// compressed, and a roll adds one: two that are the same missed none.
    fn listed(&self) -> io::Result<Vec<Open>> {
        let mut names = self.bare_names();
        for _ in 0..TRIES {
            let mut files: Vec<Open> = Vec::new();
            files.extend(Open::path(&self.path)?);
            for name in &names {
                let open = Open::variant(&self.path.with_file_name(name))?;
                files.extend(open.map(|open| Open {
                    bare: Some(name.clone()),
                    ..open
                }));
            }
            let again = self.bare_names();
            if names == again {
                return Ok(files);
            }
            names = again;
        }
        Ok(Vec::new())
    }

    /// The names of the rolled files before they were compressed, the newest first.
    fn bare_names(&self) -> Vec<OsString> {
        let mut seen = HashSet::new();
        let rolled = rolled_files(&self.path, &self.naming);
        let names = rolled.iter().map(|file| bare(&file.name).to_owned());
        names.filter(|name| seen.insert(name.clone())).collect()
    }

    /// The files of a log whose rolled ones move up.
    ///
    /// Rolling moves a file from a number to the next higher one, and here the numbers are gone
    /// through upwards, as far as there are any by then: no file older than one that was met is
    /// missed, a file may be met twice. But where one moves twice in the meantime, a newer one is met
    /// after it, out of order: then the look is repeated.
    fn shifted(&self) -> io::Result<Vec<Open>> {
        for _ in 0..TRIES {
            let mut files: Vec<Open> = Vec::new();
            let mut last = 0;
            let mut number = 0;
            loop {
                if number > last {
                    // Two more than there seem to be: a listing may miss a file on its way.
                    let highest = rolled_files(&self.path, &Naming::Shifted)
                        .iter()
                        .filter_map(|file| u32::try_from(file.place).ok())
                        .max();
                    last = highest.unwrap_or(0).saturating_add(2);
                    if number > last {
                        break;
                    }
                }
                if let Some(open) = self.numbered(number)?
                    && !files.iter().any(|known| known.identity == open.identity)
                {
                    files.push(open);
                }
                number += 1;
            }
            // A roll that was completed has put another file at the front. The files are held open,
            // so that its number among the inodes is another too.
            let first = match self.numbered(0)? {
                None => self.numbered(1)?,
                there => there,
            };
            if first.map(|open| open.identity) == files.first().map(|open| open.identity) {
                return Ok(files);
            }
        }
        Ok(Vec::new())
    }

    /// The rolled file of this number, the current one for 0. What is no file was never rolled.
    fn numbered(&self, number: u32) -> io::Result<Option<Open>> {
        if number == 0 {
            return Open::path(&self.path);
        }
        Open::variant(&rolled_path(&self.path, number))
    }

    /// Appends the lines that were finished since the last call to `out`; at most a few megabytes,
    /// so call again while there are any. Returns how many bytes were appended.
    pub fn read_new(&mut self, out: &mut Vec<u8>) -> Result<usize, Error> {
        let before = out.len();
        self.follow(out)
            .map_err(|error| Error::read(&self.path, error))?;
        Ok(out.len() - before)
    }

    fn follow(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let limit = out.len() + BUDGET;
        if self.current.is_none() {
            // There was nothing at the start, so all there is now is new; it may be rolled already.
            self.current = self.files()?.pop();
        }
        while self.current.is_some() {
            if !self.drain(out, limit)? {
                return Ok(());
            }
            let Some(next) = self.successor()? else {
                return Ok(());
            };
            // The next file has content, so its writer has done with this one: what comes now is
            // its rest.
            if !self.drain(out, limit)? {
                return Ok(());
            }
            self.current = Some(next);
        }
        Ok(())
    }

    /// Reads the current file to its end. Returns false if `limit` came first.
    fn drain(&mut self, out: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(true);
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            if out.len() >= limit {
                return Ok(false);
            }
            let read = match current.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                if current.packed.is_some() || current.file.metadata()?.len() >= current.offset {
                    return Ok(true);
                }
                // Truncated: what is there now is new. The line that had begun will not end.
                current.offset = 0;
                self.gaps += 1;
                if !self.partial.is_empty() {
                    out.append(&mut self.partial);
                    out.push(b'\n');
                }
                continue;
            }
            current.offset += read as u64;
            let chunk = &chunk[..read];
            let whole = chunk
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            if whole > 0 {
                out.append(&mut self.partial);
                out.extend_from_slice(&chunk[..whole]);
            }
            self.partial.extend_from_slice(&chunk[whole..]);
            if self.partial.len() > LONG_LINE {
                out.append(&mut self.partial);
            }
        }
    }

    /// The file after the current one, once something is in it.
    ///
    /// Until then the writer may still be at the current one: a program that is told by logrotate to
    /// open its log again goes on for a moment where it was.
    fn successor(&mut self) -> io::Result<Option<Open>> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        let at_path = fs::metadata(&self.path).ok().map(|there| identity(&there));
        if at_path == Some(current.identity) {
            return Ok(None);
        }
        let mut files = self.files()?;
        let metadata = current.file.metadata()?;
        let since = metadata.modified()?;
        let at = files
            .iter()
            .position(|file| file.identity == current.identity);
        let at = match at {
            None => self.copy_among(&files, since)?,
            at => at,
        };
        let next = match at {
            Some(0) => None,
            Some(at) => Some(at - 1),
            None => {
                // Deleted, or moved out of sight. Of what is left, the rolled files written to since
                // are newer, and so is what has the path now; the oldest of them is next.
                let next = files
                    .iter()
                    .rposition(|file| file.modified > since || Some(file.identity) == at_path);
                if next.is_some() && metadata.nlink() == 0 {
                    self.gaps += 1;
                }
                next
            }
        };
        Ok(match next {
            Some(next) if files[next].file.metadata()?.len() > 0 => Some(files.swap_remove(next)),
            _ => None,
        })
    }
}

impl Open {
    /// The file at `path` from its start; `None` if there is none. Never waits for a FIFO's writer.
    fn path(path: &Path) -> io::Result<Option<Self>> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no plain file, so nothing can be read back from it",
            ));
        }
        Ok(Some(Self {
            identity: identity(&metadata),
            modified: metadata.modified()?,
            offset: 0,
            packed: Compression::of(path),
            bare: None,
            reader: None,
            file,
        }))
    }

    /// The rolled file of this path as it is or compressed. What is no file was never rolled.
    fn variant(plain: &Path) -> io::Result<Option<Self>> {
        // The compressed one gets its name before the plain one loses it.
        for suffix in ["", SUFFIXES[0], SUFFIXES[1]] {
            let mut path = plain.as_os_str().to_owned();
            path.push(suffix);
            match Self::path(path.as_ref()) {
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                other => return other,
            }
        }
        Ok(None)
    }

    /// Reads on.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(packed) = self.packed else {
            return self.file.read_at(buffer, self.offset);
        };
        if self.reader.is_none() {
            self.reader = Some(packed.unpack(from_start(&self.file)?)?);
        }
        self.reader
            .as_mut()
            .map_or(Ok(0), |reader| reader.read(buffer))
    }
}

/// The same file once more, with an offset of its own.
pub(crate) fn from_start(file: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd as _;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether what is in the compressed file is what is in the plain one.
fn is_copy(file: &File, packed: Compression, plain: &File) -> io::Result<bool> {
    let (mut packed, mut plain) = (packed.unpack(from_start(file)?)?, from_start(plain)?);
    let (mut one, mut other) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = fill(&mut packed, &mut one)?;
        if read != fill(&mut plain, &mut other)? || one[..read] != other[..read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Reads as much as there is room for.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match from.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The bytes between the last line feed before `end` and `end`. Nothing if they are too many to keep:
/// then the line goes on in the middle.
fn unfinished_line(file: &File, end: u64) -> io::Result<Vec<u8>> {
    let mut last = Backwards::new(1);
    // Block by block, since one may be all that is needed.
    let from = end.saturating_sub(LONG_LINE as u64);
    let found = last.take_range(file, from, end)?;
    if from > 0 && !found {
        return Ok(Vec::new());
    }
    Ok(last.blocks.into_iter().flatten().collect())
}

/// Bytes collected from the end of a file towards its start, until so many line feeds were met.
struct Backwards {
    /// In the order of the file.
    blocks: VecDeque<Vec<u8>>,
    /// How many line feeds are still to be met; what stands behind the last is kept.
    wanted: usize,
}

impl Backwards {
    fn new(wanted: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            wanted,
        }
    }

    /// Collects from `end` back to the start of the file. Returns whether that was enough.
    fn take(&mut self, file: &File, end: u64) -> io::Result<bool> {
        self.take_range(file, 0, end)
    }

    fn take_range(&mut self, file: &File, start: u64, mut end: u64) -> io::Result<bool> {
        while end > start {
            let size = (end - start).min(CHUNK as u64);
            end -= size;
            // At most a chunk, which fits.
            let mut block = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
            file.read_exact_at(&mut block, end)?;
            if self.take_block(block) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same for what can only be read forwards; no more of it is held than is wanted.
    fn take_all(&mut self, mut from: Box<dyn Read + Send + '_>) -> io::Result<bool> {
        let mut held: VecDeque<(Vec<u8>, usize)> = VecDeque::new();
        let mut lines: usize = 0;
        loop {
            let mut block = vec![0; CHUNK];
            let read = fill(&mut from, &mut block)?;
            if read == 0 {
                break;
            }
            block.truncate(read);
            let count = block.iter().map(|byte| usize::from(*byte == b'\n')).sum();
            lines += count;
            held.push_back((block, count));
            while held
                .front()
                .is_some_and(|(_, first)| lines - first >= self.wanted)
            {
                lines -= held.pop_front().map_or(0, |(_, first)| first);
            }
        }
        while let Some((block, _)) = held.pop_back() {
            if self.take_block(block) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take_block(&mut self, mut block: Vec<u8>) -> bool {
        for at in (0..block.len()).rev() {
            if block[at] == b'\n' {
                self.wanted -= 1;
                if self.wanted == 0 {
                    block.drain(..=at);
                    self.blocks.push_front(block);
                    return true;
                }
            }
        }
        self.blocks.push_front(block);
        false
    }
}

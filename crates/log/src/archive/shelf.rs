//! Reading what was put away of a log: the members of an archive that are its rolled files, the oldest
//! first, as one stream. Nothing is held but what the decompression of one of them needs, and of a zip
//! its directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use zip::{CompressionMethod, ZipArchive};

use super::plain;
use crate::naming::{Naming, bare};
use crate::pack::Compression;
use crate::seelog::{Archive, ArchiveKind};

/// A tar is made of blocks of this size (POSIX.1-2017, pax).
const BLOCK: usize = 512;
/// A longer name is that of no rolled file.
const LONGEST_NAME: u64 = 4096;

/// How a rolled file was compressed before it was put away, if it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(Option<Compression>);

impl Packed {
    fn of(name: &OsStr) -> Self {
        Self(Compression::of(Path::new(name)))
    }
}

/// Which members of archives are rolled files of a log.
#[derive(Debug)]
pub(crate) struct Kin {
    base: OsString,
    naming: Naming,
    /// Those that are read from where they were before, by their names without a compression's.
    known: HashSet<OsString>,
}

impl Kin {
    /// Those of the log at `path`.
    pub(crate) fn of(path: &Path, naming: &Naming, known: HashSet<OsString>) -> Self {
        Self {
            base: path.file_name().unwrap_or_default().to_owned(),
            naming: naming.clone(),
            known,
        }
    }

    /// What a member of this name is, if it is one. Where another file had its name, it has a number
    /// more.
    fn admits(&self, name: &[u8]) -> Option<Packed> {
        let kin = |name| self.naming.kinship(self.base.as_bytes(), name);
        if kin(name).is_some() {
            let name = OsStr::from_bytes(name);
            let is_new = !self.known.contains(bare(name));
            return is_new.then(|| Packed::of(name));
        }
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        let (name, count) = (&name[..dot], &name[dot + 1..]);
        let counted = !count.is_empty() && count.iter().all(u8::is_ascii_digit);
        (counted && kin(name).is_some()).then(|| Packed::of(OsStr::from_bytes(name)))
    }
}

/// One file in which something of a log was put away. It is opened when its turn comes.
#[derive(Debug)]
pub(crate) struct PutAway {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Rolled files with their names.
    Members(ArchiveKind, Arc<Kin>),
    /// One rolled file as gzip, and what it was compressed with before.
    Alone(Packed),
}

impl PutAway {
    /// What there is, the oldest first.
    ///
    /// # Errors
    /// The folder of exploded archives cannot be listed.
    pub(crate) fn list(archive: &Archive, kin: Kin) -> io::Result<Vec<Self>> {
        let kin = Arc::new(kin);
        let of = |path: PathBuf, form: Form| {
            let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some(Self {
                size: metadata.len(),
                modified: metadata.modified().ok()?.try_into().ok()?,
                form,
                path,
            })
        };
        if !archive.exploded {
            let form = Form::Members(archive.kind, kin);
            return Ok(of(archive.path.clone(), form).into_iter().collect());
        }
        let entries = match fs::read_dir(&archive.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let bytes = name.as_bytes();
            let suffix: &[u8] = match archive.kind {
                ArchiveKind::Zip => b".zip",
                ArchiveKind::Gzip => b".gz",
            };
            let Some(member) = bytes.strip_suffix(suffix) else {
                continue;
            };
            let Some(packed) = kin.admits(member) else {
                continue;
            };
            let form = match archive.kind {
                ArchiveKind::Zip => Form::Members(ArchiveKind::Zip, Arc::clone(&kin)),
                ArchiveKind::Gzip => Form::Alone(packed),
            };
            let kinship = kin.naming.kinship(kin.base.as_bytes(), member);
            let serial = kinship.and_then(|kinship| kinship.number);
            all.extend(of(archive.path.join(&name), form).map(|file| (serial, file)));
        }
        all.sort_by(|(a, one), (b, other)| {
            (a, one.modified, one.path.as_os_str().len(), &one.path).cmp(&(
                b,
                other.modified,
                other.path.as_os_str().len(),
                &other.path,
            ))
        });
        Ok(all.into_iter().map(|(_, file)| file).collect())
    }

    /// A reader of all that is in it; of nothing if it is gone. Times in a zip are of `zone`.
    pub(crate) fn open(&self, zone: &TimeZone) -> io::Result<Shelf> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        };
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Shelf::empty()),
            file => file.map_err(named)?,
        };
        Shelf::open(file, &self.form, zone).map_err(named)
    }
}

/// The members of an archive as one stream. No read goes over the end of a member.
pub(crate) struct Shelf {
    members: Members,
    open: Option<Layers>,
    modified: Option<Timestamp>,
}

impl Shelf {
    fn empty() -> Self {
        Self {
            members: Members::None,
            open: None,
            modified: None,
        }
    }

    fn open(file: File, form: &Form, zone: &TimeZone) -> io::Result<Self> {
        let (kind, kin) = match form {
            Form::Members(kind, kin) => (kind, kin),
            Form::Alone(packed) => {
                let data = Data::Gzip(Box::new(MultiGzDecoder::new(file)));
                return Ok(Self {
                    open: Some(Layers::new(data, *packed)?),
                    ..Self::empty()
                });
            }
        };
        let members = match kind {
            ArchiveKind::Zip => Members::Zip(zip_members(file, kin, zone)?.into_iter()),
            ArchiveKind::Gzip => {
                let stream = MultiGzDecoder::new(BufReader::new(file));
                Members::Tar(Some(Box::new(stream)), Arc::clone(kin))
            }
        };
        Ok(Self {
            members,
            ..Self::empty()
        })
    }

    /// When the member was last written to that is read now, if that is known.
    pub(crate) fn modified(&self) -> Option<Timestamp> {
        self.modified
    }
}

impl Read for Shelf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(open) = &mut self.open {
                let read = open.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            let done = self.open.take().map(Layers::into_data);
            let Some(next) = self.members.next(done)? else {
                return Ok(0);
            };
            self.modified = next.modified;
            self.open = Some(Layers::new(next.data, next.packed)?);
        }
    }
}

/// What is still to come.
enum Members {
    None,
    Zip(std::vec::IntoIter<ZipMember>),
    Tar(Option<Box<Stream>>, Arc<Kin>),
}

type Stream = MultiGzDecoder<BufReader<File>>;

struct Member {
    data: Data,
    packed: Packed,
    modified: Option<Timestamp>,
}

impl Members {
    /// The next one. It has the stream of a tar until it is done and given back.
    fn next(&mut self, done: Option<Data>) -> io::Result<Option<Member>> {
        match self {
            Self::None => Ok(None),
            Self::Zip(members) => members.next().map(ZipMember::open).transpose(),
            Self::Tar(stream, kin) => {
                if let Some(Data::Tar(member)) = done {
                    *stream = Some(member.finish()?);
                }
                let Some(stream) = stream.take() else {
                    return Ok(None);
                };
                next_of_tar(stream, kin)
            }
        }
    }
}

/// The bytes of a member, as it was put away.
enum Data {
    Gzip(Box<MultiGzDecoder<File>>),
    Stored(Range),
    Deflated(Box<DeflateDecoder<Range>>),
    Tar(TarMember),
}

impl Read for Data {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(reader) => reader.read(buffer),
            Self::Stored(range) => range.read(buffer),
            Self::Deflated(reader) => reader.read(buffer),
            Self::Tar(member) => member.read(buffer),
        }
    }
}

/// A member, and what it was compressed with before it was put away.
enum Layers {
    Plain(Data),
    Gzip(Box<MultiGzDecoder<Data>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Data>>>),
}

impl Layers {
    fn new(data: Data, packed: Packed) -> io::Result<Self> {
        Ok(match packed.0 {
            None => Self::Plain(data),
            Some(Compression::Gzip) => Self::Gzip(Box::new(MultiGzDecoder::new(data))),
            Some(Compression::Zstd) => Self::Zstd(Box::new(zstd::Decoder::new(data)?)),
        })
    }

    fn into_data(self) -> Data {
        match self {
            Self::Plain(data) => data,
            Self::Gzip(reader) => reader.into_inner(),
            Self::Zstd(reader) => reader.finish().into_inner(),
        }
    }
}

impl Read for Layers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(data) => data.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// A part of a file.
struct Range {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

struct ZipMember {
    range: Range,
    method: CompressionMethod,
    packed: Packed,
    modified: Option<Timestamp>,
}

impl ZipMember {
    fn open(self) -> io::Result<Member> {
        let data = match self.method {
            CompressionMethod::Stored => Data::Stored(self.range),
            CompressionMethod::Deflated => {
                Data::Deflated(Box::new(DeflateDecoder::new(self.range)))
            }
            other => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("a member is compressed by {other}, which is not read here"),
                ));
            }
        };
        Ok(Member {
            data,
            packed: self.packed,
            modified: self.modified,
        })
    }
}

/// The rolled files in a zip, in the order they were added.
fn zip_members(file: File, kin: &Kin, zone: &TimeZone) -> io::Result<Vec<ZipMember>> {
    let file = Arc::new(file);
    let mut zip = ZipArchive::new(BufReader::new(&*file)).map_err(plain)?;
    let mut members = Vec::new();
    for index in 0..zip.len() {
        let member = zip.by_index_raw(index).map_err(plain)?;
        let Some(packed) = kin.admits(member.name_raw()) else {
            continue;
        };
        let at = member.data_start().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "a member has no place in it")
        })?;
        let modified = member.last_modified().and_then(|time| {
            let part = |value: u8| i8::try_from(value).ok();
            let time = DateTime::new(
                i16::try_from(time.year()).ok()?,
                part(time.month())?,
                part(time.day())?,
                part(time.hour())?,
                part(time.minute())?,
                part(time.second())?,
                0,
            );
            Some(time.ok()?.to_zoned(zone.clone()).ok()?.timestamp())
        });
        members.push(ZipMember {
            range: Range {
                file: Arc::clone(&file),
                at,
                end: at.saturating_add(member.compressed_size()),
            },
            method: member.compression(),
            packed,
            modified,
        });
    }
    Ok(members)
}

struct TarMember {
    stream: Box<Stream>,
    left: u64,
    padding: u64,
}

impl TarMember {
    /// The stream behind it.
    fn finish(mut self) -> io::Result<Box<Stream>> {
        skip(&mut self.stream, self.left + self.padding)?;
        Ok(self.stream)
    }
}

impl Read for TarMember {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(cut_short());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in a member")
}

fn skip(stream: &mut Stream, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut stream.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(cut_short());
    }
    Ok(())
}

/// The next rolled file in a tar.
fn next_of_tar(mut stream: Box<Stream>, kin: &Kin) -> io::Result<Option<Member>> {
    let mut long_name: Option<Vec<u8>> = None;
    while let Some(header) = next_header(&mut stream)? {
        let size = header.entry_size()?;
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        let kind = header.entry_type();
        if kind.is_gnu_longname() && size <= LONGEST_NAME {
            let mut name = Vec::new();
            (&mut stream).take(size).read_to_end(&mut name)?;
            name.truncate(
                name.iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(name.len()),
            );
            skip(&mut stream, padding)?;
            long_name = Some(name);
            continue;
        }
        let name = long_name.take();
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let packed = kin.admits(&name).filter(|_| kind.is_file());
        let Some(packed) = packed else {
            skip(&mut stream, size + padding)?;
            continue;
        };
        let written = header
            .mtime()
            .ok()
            .and_then(|time| i64::try_from(time).ok());
        return Ok(Some(Member {
            data: Data::Tar(TarMember {
                stream,
                left: size,
                padding,
            }),
            packed,
            modified: written.and_then(|time| Timestamp::from_second(time).ok()),
        }));
    }
    Ok(None)
}

/// The next header; none at the end, with or without the blocks that say so.
fn next_header(stream: &mut Stream) -> io::Result<Option<tar::Header>> {
    let mut block = [0; BLOCK];
    let mut read = 0;
    while read < BLOCK {
        match stream.read(&mut block[read..]) {
            Ok(0) if read == 0 => return Ok(None),
            Ok(0) => return Err(cut_short()),
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if block == [0; BLOCK] {
        return Ok(None);
    }
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block);
    // The checksum is that of the block with blanks in its place (POSIX.1-2017, ustar).
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    if header.cksum()? != sum - own + 8 * u32::from(b' ') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the head of a member is damaged",
        ));
    }
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_members_are_of_a_log() {
        let kin = Kin::of(
            Path::new("/logs/a.log"),
            &Naming::Growing { prefix: false },
            [OsString::from("a.log.9")].into(),
        );
        let table: &[(&str, Option<Packed>)] = &[
            ("a.log.1", Some(Packed(None))),
            ("a.log.12", Some(Packed(None))),
            ("a.log.1.2", Some(Packed(None))),
            ("a.log.1.gz", Some(Packed(Some(Compression::Gzip)))),
            ("a.log.1.zst", Some(Packed(Some(Compression::Zstd)))),
            ("a.log.1.gz.2", Some(Packed(Some(Compression::Gzip)))),
            ("a.log.9", None),
            ("a.log.9.gz", None),
            ("a.log.9.2", Some(Packed(None))),
            ("a.log", None),
            ("a.log.old", None),
            ("b.log.1", None),
            ("../a.log.1", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(kin.admits(name.as_bytes()), *expected, "{name}");
        }
    }
}

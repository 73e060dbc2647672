//! Rolled files that are too many go into archives instead of being deleted: one that grows, or one
//! for each, as seelog's `archivetype` and `archiveexploded` have it.
//!
//! An archive is made anew beside the old one, synced, and renamed over it; only then the rolled files
//! that are in it are deleted. Killed at any moment, a line is in a rolled file, in the archive, or in
//! both; one that is in both is not added again.

mod shelf;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression as Effort, Crc, GzBuilder};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::pack::hidden;
use crate::seelog::{Archive, ArchiveKind};
use crate::target::parent_of;

pub(crate) use shelf::{Kin, PutAway, Shelf};

/// A member of a zip may have more bytes than this only if that is said before it is written.
const LARGE: u64 = 0xFFFF_0000;

/// What tells one content from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    size: u64,
    crc: u32,
}

impl Content {
    fn of(mut from: impl Read) -> io::Result<Self> {
        let mut crc = Crc::new();
        let mut chunk = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => {
                    crc.update(&chunk[..read]);
                    size += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            size,
            crc: crc.sum(),
        })
    }
}

/// What an archive holds, by name.
type Members = HashMap<String, Content>;

/// Puts these files, the oldest first, into the archive and deletes them. Those that are gone are
/// left out. `zone` is that of the times in a zip, which knows none.
///
/// On an error every file that is not in an archive is still there.
pub(crate) fn put_away(files: &[PathBuf], archive: &Archive, zone: &TimeZone) -> io::Result<()> {
    let there: Vec<&PathBuf> = files.iter().filter(|file| file.exists()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let directory = if archive.exploded {
        &*archive.path
    } else {
        parent_of(&archive.path)
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)?;
    if archive.exploded {
        for file in there {
            explode(file, archive, zone)?;
            remove(file)?;
        }
        return Ok(());
    }
    grow(&there, archive, zone)?;
    there.into_iter().try_for_each(|file| remove(file))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Adds files to the one archive.
fn grow(files: &[&PathBuf], archive: &Archive, zone: &TimeZone) -> io::Result<()> {
    let before = match File::open(&archive.path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let members = match (&before, archive.kind) {
        (None, _) => Members::new(),
        (Some(file), ArchiveKind::Zip) => zip_members(file)?,
        (Some(file), ArchiveKind::Gzip) => tar_members(file)?,
    };
    let mut wanted = Vec::new();
    let mut members = members;
    for path in files {
        let file = File::open(path)?;
        let content = Content::of(BufReader::new(&file))?;
        if let Some(name) = free_name(&name_of(path), content, &members) {
            members.insert(name.clone(), content);
            wanted.push((name, file, content));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    replace(&archive.path, |part| match archive.kind {
        ArchiveKind::Zip => {
            let mut zip = match &before {
                None => ZipWriter::new(part),
                Some(before) => {
                    copy(before, part, u64::MAX)?;
                    ZipWriter::new_append(part).map_err(plain)?
                }
            };
            for (name, file, content) in &wanted {
                add_to_zip(&mut zip, name, file, *content, zone)?;
            }
            zip.finish().map(drop).map_err(plain)
        }
        ArchiveKind::Gzip => {
            if let Some(before) = &before {
                copy_tar(before, part)?;
            }
            let mut part = part;
            part.seek(SeekFrom::End(0))?;
            for (name, file, _) in &wanted {
                add_to_tar(part, name, file)?;
            }
            part.write_all(&end_of_tar()?)
        }
    })
}

/// Makes an archive of one file alone.
fn explode(path: &Path, archive: &Archive, zone: &TimeZone) -> io::Result<()> {
    let name = name_of(path);
    let file = File::open(path)?;
    let content = Content::of(BufReader::new(&file))?;
    let suffix = match archive.kind {
        ArchiveKind::Zip => "zip",
        ArchiveKind::Gzip => "gz",
    };
    let mut count = 1_u64;
    let target = loop {
        let number = if count == 1 {
            String::new()
        } else {
            format!(".{count}")
        };
        let target = archive.path.join(format!("{name}{number}.{suffix}"));
        match File::open(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break target,
            Err(error) => return Err(error),
            Ok(there) => {
                let held = match archive.kind {
                    ArchiveKind::Zip => zip_members(&there)
                        .ok()
                        .and_then(|members| members.get(&name).copied()),
                    ArchiveKind::Gzip => Content::of(MultiGzDecoder::new(there)).ok(),
                };
                if held == Some(content) {
                    return Ok(());
                }
            }
        }
        count += 1;
    };
    replace(&target, |part| match archive.kind {
        ArchiveKind::Zip => {
            let mut zip = ZipWriter::new(part);
            add_to_zip(&mut zip, &name, &file, content, zone)?;
            zip.finish().map(drop).map_err(plain)
        }
        ArchiveKind::Gzip => {
            let mut out = GzBuilder::new()
                .filename(name.as_bytes())
                .write(BufWriter::new(part), Effort::default());
            copy(&file, &mut out, u64::MAX)?;
            out.finish()?.flush()
        }
    })
}

/// Writes a file beside the one of this path and puts it in its place once it is whole and on disk.
fn replace(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let part = hidden(path, &format!("{}.0.part", std::process::id()));
    let result = (|| {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .mode(0o640)
            .open(&part)?;
        if let Ok(before) = fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
        write(&file)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        mainstay_base::fs::sync_dir(parent_of(path))
    })();
    if result.is_err() {
        // Where that fails too, the next start does it.
        let _ = fs::remove_file(&part);
    }
    result
}

/// Names in archives are text; what is none is shown as well as it can be.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(OsStr::new("log"));
    name.to_string_lossy().into_owned()
}

/// The name for a content, with a count where another one has it; `None` if it is there already.
fn free_name(name: &str, content: Content, members: &Members) -> Option<String> {
    let names = std::iter::once(name.to_owned()).chain((2_u64..).map(|n| format!("{name}.{n}")));
    for name in names {
        match members.get(&name) {
            None => return Some(name),
            Some(there) if *there == content => return None,
            Some(_) => {}
        }
    }
    None
}

fn copy(mut from: &File, to: impl Write, most: u64) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    let mut to = BufWriter::with_capacity(256 * 1024, to);
    io::copy(&mut from.take(most), &mut to)?;
    to.flush()
}

fn plain(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

fn zip_members(file: &File) -> io::Result<Members> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(plain)?;
    let mut members = Members::new();
    for index in 0..zip.len() {
        let member = zip.by_index_raw(index).map_err(plain)?;
        let content = Content {
            size: member.size(),
            crc: member.crc32(),
        };
        let name = String::from_utf8_lossy(member.name_raw()).into_owned();
        members.insert(name, content);
    }
    Ok(members)
}

fn add_to_zip(
    zip: &mut ZipWriter<&File>,
    name: &str,
    file: &File,
    content: Content,
    zone: &TimeZone,
) -> io::Result<()> {
    let mut options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .large_file(content.size > LARGE)
        .unix_permissions(0o640);
    let modified = Timestamp::try_from(file.metadata()?.modified()?);
    if let Some(time) = modified.ok().and_then(|time| zip_time(time, zone)) {
        options = options.last_modified_time(time);
    }
    zip.start_file(name, options).map_err(plain)?;
    copy(file, zip, u64::MAX)
}

/// A zip knows the years from 1980 to 2107.
fn zip_time(time: Timestamp, zone: &TimeZone) -> Option<zip::DateTime> {
    let time = zone.to_datetime(time);
    let part = |value: i8| u8::try_from(value).ok();
    zip::DateTime::from_date_and_time(
        u16::try_from(time.year()).ok()?,
        part(time.month())?,
        part(time.day())?,
        part(time.hour())?,
        part(time.minute())?,
        part(time.second())?,
    )
    .ok()
}

/// What is in a compressed tar, read to its end.
fn tar_members(mut file: &File) -> io::Result<Members> {
    file.seek(SeekFrom::Start(0))?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    let mut members = Members::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        members.insert(name, Content::of(&mut entry)?);
    }
    Ok(members)
}

/// Copies a compressed tar up to its end. One that was made here ends in a gzip member that holds
/// nothing but that, and is copied as it is; any other is compressed anew.
fn copy_tar(mut before: &File, mut part: &File) -> io::Result<()> {
    let end = end_of_tar()?;
    let length = before.metadata()?.len();
    if let Some(rest) = length.checked_sub(end.len() as u64) {
        before.seek(SeekFrom::Start(rest))?;
        let mut last = Vec::with_capacity(end.len());
        before.read_to_end(&mut last)?;
        if last == end {
            return copy(before, part, rest);
        }
    }
    before.seek(SeekFrom::Start(0))?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(before)));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let mut header = entry.header().clone();
        let name = entry.path()?.into_owned();
        let mut out = GzEncoder::new(BufWriter::new(part), Effort::default());
        let mut builder = tar::Builder::new(Unended::new(&mut out));
        builder.append_data(&mut header, name, &mut entry)?;
        builder.get_mut().end();
        drop(builder);
        out.finish()?.flush()?;
    }
    part.flush()
}

fn add_to_tar(part: &File, name: &str, mut file: &File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o640);
    header.set_size(metadata.len());
    header.set_mtime(modified.map_or(0, |time| time.as_secs()));
    let mut out = GzEncoder::new(BufWriter::new(part), Effort::default());
    let mut builder = tar::Builder::new(Unended::new(&mut out));
    builder.append_data(&mut header, name, file.take(metadata.len()))?;
    builder.get_mut().end();
    drop(builder);
    out.finish()?.flush()
}

/// Two blocks of zeros end a tar (POSIX.1-2017, pax). Here they are a gzip member of their own, always
/// of the same bytes, so that the end can be taken off and members be added.
fn end_of_tar() -> io::Result<Vec<u8>> {
    let mut out = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Effort::default());
    out.write_all(&[0; 1024])?;
    out.finish()
}

/// Takes what a builder of tars writes, but not the end, which it writes when it is dropped.
struct Unended<W> {
    to: W,
    ended: bool,
}

impl<W: Write> Unended<W> {
    fn new(to: W) -> Self {
        Self { to, ended: false }
    }

    fn end(&mut self) {
        self.ended = true;
    }
}

impl<W: Write> Write for Unended<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(data.len());
        }
        self.to.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

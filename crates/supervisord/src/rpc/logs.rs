//! Parts of log files, by the original's rules for offset and length.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Why nothing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// There is no such file.
    NoFile,
    /// Offset and length do not go together.
    BadArguments,
    /// The file cannot be read, or is something else than a file.
    Failed,
}

/// The newest part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// What was read.
    pub data: Vec<u8>,
    /// Where to go on.
    pub offset: i64,
    /// Whether the log has grown by more than was asked for.
    pub overflow: bool,
}

/// What is read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    length: u64,
}

/// What [`read`] reads of a file of `size` bytes.
fn read_span(size: u64, offset: i64, length: i64, most: u64) -> Option<Span> {
    let length = u64::try_from(length).ok()?;
    if offset < 0 {
        let back = offset.unsigned_abs().min(most).min(size);
        return (length == 0).then_some(Span {
            from: size - back,
            length: back,
        });
    }
    let from = offset.unsigned_abs();
    let there = size.saturating_sub(from);
    let length = if length == 0 { there } else { length };
    Some(Span {
        from,
        length: length.min(there).min(most),
    })
}

/// What [`tail`] reads of a file of `size` bytes, and whether there is more than was asked for.
fn tail_span(size: u64, offset: i64, length: i64, most: u64) -> (Span, bool) {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let (mut offset, mut length) = (offset, length.min(most));
    let overflow = size > offset.saturating_add(length);
    if overflow {
        offset = size - 1;
    }
    if offset.saturating_add(length) > size {
        if offset > size - 1 {
            length = 0;
        }
        offset = size - length;
    }
    let span = Span {
        from: offset.max(0).unsigned_abs(),
        length: length.max(0).unsigned_abs(),
    };
    (span, overflow)
}

/// Opens a log for reading, if it is a file: reading a terminal or a pipe would take from others, or
/// wait for ever.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// `O_NONBLOCK`, open(2): so that a named pipe does not hold the opener up.
fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

fn read_at(file: &mut File, span: Span) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    // No file system lets one go to where no file can end.
    if span.length == 0 {
        return Ok(data);
    }
    file.seek(SeekFrom::Start(span.from))?;
    file.take(span.length).read_to_end(&mut data)?;
    Ok(data)
}

/// Reads from `offset` on, `length` bytes or, if that is 0, to the end; with a negative offset so
/// many of the last bytes. Never more than `most`.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path, offset: i64, length: i64, most: usize) -> Result<Vec<u8>, ReadError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::NotFound => ReadError::NoFile,
        _ => ReadError::Failed,
    };
    // A device keeps nothing that could be read again.
    if std::fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        return read_span(0, offset, length, most as u64)
            .map(|_| Vec::new())
            .ok_or(ReadError::BadArguments);
    }
    let mut file = open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let span = read_span(size, offset, length, most as u64).ok_or(ReadError::BadArguments)?;
    read_at(&mut file, span).map_err(failed)
}

/// Reads up to `length` bytes from `offset` on, or the last ones if there are more. Never more than
/// `most`. Of a file that is not there nothing is read.
pub fn tail(path: &Path, offset: i64, length: i64, most: usize) -> Tail {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Tail::default(),
        Err(_) => {
            return Tail {
                offset,
                ..Tail::default()
            };
        }
    };
    let read = |file: &mut File| {
        let size = file.metadata()?.len();
        let (span, overflow) = tail_span(size, offset, length, most as u64);
        io::Result::Ok(Tail {
            data: read_at(file, span)?,
            offset: i64::try_from(size).unwrap_or(i64::MAX),
            overflow,
        })
    };
    read(&mut file).unwrap_or(Tail {
        offset,
        ..Tail::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_follows_the_rules_of_offset_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "0123456789").unwrap();
        let bad = Err(ReadError::BadArguments);
        for (offset, length, most, expected) in [
            (0, 0, 100, Ok("0123456789")),
            (0, 4, 100, Ok("0123")),
            (3, 4, 100, Ok("3456")),
            (3, 0, 100, Ok("3456789")),
            (8, 100, 100, Ok("89")),
            (10, 0, 100, Ok("")),
            (100, 5, 100, Ok("")),
            (i64::MAX, i64::MAX, 100, Ok("")),
            (-3, 0, 100, Ok("789")),
            (-100, 0, 100, Ok("0123456789")),
            (i64::MIN, 0, 100, Ok("0123456789")),
            (-3, 1, 100, bad),
            (-3, -1, 100, bad),
            (0, -1, 100, bad),
            (0, 0, 3, Ok("012")),
            (-8, 0, 3, Ok("789")),
        ] {
            let read = read(&path, offset, length, most);
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(read, expected, "{offset} {length} {most}");
        }
        let missing = read(&dir.path().join("no"), 0, 0, 1);
        assert_eq!(missing, Err(ReadError::NoFile));
        assert_eq!(read(dir.path(), 0, 0, 1), Err(ReadError::Failed));
        let device = Path::new("/dev/zero");
        assert_eq!(read(device, 0, 0, 1), Ok(Vec::new()));
        assert_eq!(read(device, 0, -1, 1), Err(ReadError::BadArguments));
    }

    #[test]
    fn tails_follow_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "0123456789").unwrap();
        for (offset, length, expected, overflow) in [
            (0, 4, "6789", true),
            (0, 10, "0123456789", false),
            (0, 100, "0123456789", false),
            (6, 4, "6789", false),
            (5, 4, "6789", true),
            (8, 4, "6789", false),
            (10, 4, "", false),
            (20, 4, "", false),
            (0, 0, "", true),
            (10, 0, "", false),
            (0, -1, "", true),
            (-5, 2, "89", true),
            (i64::MAX, i64::MAX, "", false),
            (i64::MIN, i64::MIN, "", true),
        ] {
            let read = tail(&path, offset, length, 1000);
            let name = format!("{offset} {length}");
            assert_eq!(String::from_utf8(read.data).unwrap(), expected, "{name}");
            assert_eq!((read.offset, read.overflow), (10, overflow), "{name}");
        }
        assert_eq!(tail(&path, 0, 1000, 3).data, b"789");
        assert_eq!(tail(&dir.path().join("no"), 7, 1, 9), Tail::default());
        assert_eq!(tail(dir.path(), 7, 1, 9).offset, 7);
    }
}

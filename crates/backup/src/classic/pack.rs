//! A file of statements that is compressed while it is made, by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;

/// How files of statements are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not at all.
    Sql,
    /// gzip, level 6.
    SqlGz,
    /// zstd, level 3.
    SqlZst,
}

impl Format {
    /// What stands behind the first point of a file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::SqlGz => "sql.gz",
            Self::SqlZst => "sql.zst",
        }
    }
}

/// Small writes are put together to this much.
const BLOCK: usize = 256 << 10;
/// Blocks that wait to be compressed.
const WAITING: usize = 8;

/// A file under way.
pub(super) struct Packed {
    blocks: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<u64>>>,
    block: Vec<u8>,
    bytes: u64,
    longest: u64,
}

/// What a file came to.
pub(super) struct Made {
    /// Before it was compressed.
    pub(super) bytes: u64,
    /// On disk.
    pub(super) size: u64,
    /// The longest statement with rows.
    pub(super) longest: u64,
}

impl Packed {
    /// A file that only its owner reads; one that a killed export left is begun anew. What is there is
    /// never opened: it could be a link to another file, or one that others may read.
    pub(super) fn create(path: &Path, format: Format) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let (blocks, taken) = sync_channel(WAITING);
        let thread = std::thread::spawn(move || pack(file, format, &taken));
        Ok(Self {
            blocks: Some(blocks),
            thread: Some(thread),
            block: Vec::new(),
            bytes: 0,
            longest: 0,
        })
    }

    /// Appends a statement.
    pub(super) fn put_statement(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.longest = self.longest.max(bytes.len() as u64);
        self.put(bytes)
    }

    /// Appends text.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK {
            return self.send();
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK * 2));
        match &self.blocks {
            Some(blocks) if blocks.send(block).is_ok() => Ok(()),
            // It takes no more because it failed.
            _ => Err(self.end().err().unwrap_or_else(gone)),
        }
    }

    fn end(&mut self) -> io::Result<u64> {
        self.blocks = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            _ => Err(gone()),
        }
    }

    /// Has everything on disk.
    pub(super) fn finish(mut self) -> io::Result<Made> {
        self.send()?;
        Ok(Made {
            size: self.end()?,
            bytes: self.bytes,
            longest: self.longest,
        })
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that compresses is gone")
}

/// Compresses what comes; the size of the file.
fn pack(file: File, format: Format, taken: &Receiver<Vec<u8>>) -> io::Result<u64> {
    let all = |out: &mut dyn Write| taken.iter().try_for_each(|block| out.write_all(&block));
    let mut file = io::BufWriter::with_capacity(BLOCK, file);
    match format {
        Format::Sql => all(&mut file)?,
        Format::SqlGz => {
            let mut packer = GzEncoder::new(&mut file, Compression::new(6));
            all(&mut packer)?;
            packer.finish()?;
        }
        Format::SqlZst => {
            let mut packer = zstd::Encoder::new(&mut file, 3)?;
            packer.include_checksum(true)?;
            all(&mut packer)?;
            packer.finish()?;
        }
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_there_is_not_written_into() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("other"), "mine").unwrap();
        symlink(at("other"), at("link")).unwrap();
        fs::write(at("open"), "what a killed export left, and much longer").unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o644)).unwrap();
        for name in ["link", "open", "new"] {
            let mut file = Packed::create(&at(name), Format::Sql).unwrap();
            file.put(b"SELECT 1;").unwrap();
            assert_eq!(file.finish().unwrap().size, 9);
            let about = fs::symlink_metadata(at(name)).unwrap();
            assert!(about.is_file(), "{name}");
            assert_eq!(about.permissions().mode() & 0o777, 0o600, "{name}");
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "SELECT 1;");
        }
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "mine");
    }
}

//! A directory of this machine.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Listed, Pace, Place, STRIDE, wait};

/// A directory.
pub(in crate::restic) struct Local {
    path: PathBuf,
    pace: Option<Pace>,
}

impl Local {
    pub(in crate::restic) fn new(path: PathBuf, pace: Option<Pace>) -> Self {
        Self { path, pace }
    }

    fn list_one(directory: &Path, found: &mut Vec<Listed>) -> io::Result<Vec<PathBuf>> {
        let mut below = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                below.push(entry.path());
                continue;
            }
            match entry.metadata() {
                Ok(metadata) => found.push(Listed {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    size: metadata.len(),
                    modified: metadata.modified().ok(),
                }),
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(below)
    }
}

/// Creates a directory and those above it, 0700, unless it exists.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Place for Local {
    fn path(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    fn top(&self) -> io::Result<Option<Vec<String>>> {
        match fs::read_dir(&self.path) {
            Ok(entries) => Ok(Some(
                entries
                    .map(|entry| {
                        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
                    })
                    .collect::<io::Result<_>>()?,
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self) -> io::Result<()> {
        private_dir(&self.path)?;
        for directory in ["index", "keys", "locks", "snapshots", "data"] {
            private_dir(&self.path.join(directory))?;
        }
        for first in 0..=255u8 {
            private_dir(&self.path.join("data").join(format!("{first:02x}")))?;
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        let below = Self::list_one(&self.path.join(directory), &mut found)?;
        // Packs are in data/00 … data/ff; nothing else has directories.
        if directory == "data" {
            for directory in below {
                Self::list_one(&directory, &mut found)?;
            }
        }
        Ok(found)
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        fs::metadata(self.path(path)).map(|metadata| metadata.len())
    }

    fn read(&self, path: &str) -> io::Result<Bytes> {
        let bytes = fs::read(self.path(path))?;
        wait(self.pace.as_ref(), bytes.len());
        Ok(bytes.into())
    }

    fn read_range(&self, path: &str, offset: u32, length: u32) -> io::Result<Bytes> {
        let mut file = File::open(self.path(path))?;
        file.seek(SeekFrom::Start(offset.into()))?;
        let mut buffer = vec![0; length as usize];
        file.read_exact(&mut buffer)?;
        wait(self.pace.as_ref(), buffer.len());
        Ok(buffer.into())
    }

    fn write(&self, path: &str, parts: &[Bytes]) -> io::Result<()> {
        let path = self.path(path);
        let directory = path.parent().unwrap_or(&self.path);
        let mut name = path
            .file_name()
            .map(std::ffi::OsStr::to_os_string)
            .unwrap_or_default();
        // Not an id, so that no listing of ours or of restic takes it for a finished file.
        name.push("-tmp-");
        let temporary = directory.join(name);
        let result = (|| {
            private_dir(directory)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            for part in parts {
                match &self.pace {
                    None => file.write_all(part)?,
                    Some(pace) => {
                        for stride in part.chunks(STRIDE) {
                            pace.wait(stride.len());
                            file.write_all(stride)?;
                        }
                    }
                }
            }
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(directory)?.sync_all()
        })();
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }
}

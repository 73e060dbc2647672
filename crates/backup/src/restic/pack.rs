//! Packs: blobs one after the other, and a header that says which.

use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use mainstay_base::{Clock, SystemClock};
use rustic_core::{FileType, WriteBackend};

use super::Trouble;
use super::format::{Coder, Id, Kind, Spoiled};
use super::index::{IndexBlob, IndexFile, IndexPack, header_entry, lock};
use super::store::Store;

/// No pack has more blobs; its header stays small then.
const MOST_BLOBS: usize = 10_000;
/// No index file has more blobs than one pack above this.
const INDEX_BLOBS: usize = 50_000;

/// How large packs become in a repository that holds so many bytes of this kind. Large repositories
/// have fewer and larger ones. Half of what the library would make: it repacks those below a third.
pub(super) fn pack_size(kind: Kind, held: u64) -> usize {
    let least: u64 = match kind {
        Kind::Data => 16 << 20,
        Kind::Tree => 4 << 20,
    };
    usize::try_from((least + 16 * held.isqrt()).min(128 << 20)).unwrap_or(16 << 20)
}

/// A pack that is full and has its header.
pub(super) struct Full {
    bytes: Vec<u8>,
    blobs: Vec<IndexBlob>,
}

/// Gathers blobs of one kind.
pub(super) struct Packer {
    kind: Kind,
    size: usize,
    filling: Mutex<Full>,
    out: SyncSender<Full>,
}

impl Packer {
    pub(super) fn new(kind: Kind, size: usize, out: SyncSender<Full>) -> Self {
        Self {
            kind,
            size,
            filling: Mutex::new(Full {
                bytes: Vec::new(),
                blobs: Vec::new(),
            }),
            out,
        }
    }

    /// Adds a blob as the coder has made it.
    pub(super) fn add(
        &self,
        id: Id,
        sealed: &[u8],
        plain: u32,
        coder: &Coder,
    ) -> Result<(), Trouble> {
        let full = {
            let mut filling = lock(&self.filling);
            if filling.bytes.capacity() == 0 {
                // The last blob and the header come on top.
                filling.bytes.reserve(self.size + (1 << 20));
            }
            let offset = u32::try_from(filling.bytes.len()).map_err(|_| too_large())?;
            let length = u32::try_from(sealed.len()).map_err(|_| too_large())?;
            filling.bytes.extend_from_slice(sealed);
            filling.blobs.push(IndexBlob {
                id,
                kind: self.kind,
                offset,
                length,
                uncompressed_length: plain,
            });
            if filling.bytes.len() < self.size && filling.blobs.len() < MOST_BLOBS {
                return Ok(());
            }
            take(&mut filling)
        };
        self.send(full, coder)
    }

    /// Gives out what is left.
    pub(super) fn finish(&self, coder: &Coder) -> Result<(), Trouble> {
        let rest = take(&mut lock(&self.filling));
        if rest.blobs.is_empty() {
            return Ok(());
        }
        self.send(rest, coder)
    }

    fn send(&self, mut full: Full, coder: &Coder) -> Result<(), Trouble> {
        let size = full
            .blobs
            .iter()
            .map(|blob| header_entry(blob.uncompressed_length));
        let mut header = Vec::with_capacity(size.sum());
        for blob in &full.blobs {
            let compressed = blob.uncompressed_length > 0;
            header.push(match (blob.kind, compressed) {
                (Kind::Data, false) => 0,
                (Kind::Tree, false) => 1,
                (Kind::Data, true) => 2,
                (Kind::Tree, true) => 3,
            });
            header.extend_from_slice(&blob.length.to_le_bytes());
            if compressed {
                header.extend_from_slice(&blob.uncompressed_length.to_le_bytes());
            }
            header.extend_from_slice(&blob.id.0);
        }
        let before = full.bytes.len();
        coder.seal(&header, &mut full.bytes)?;
        let length = u32::try_from(full.bytes.len() - before).map_err(|_| too_large())?;
        full.bytes.extend_from_slice(&length.to_le_bytes());
        self.out.send(full).map_err(|_| Trouble::Gone)
    }
}

fn too_large() -> Trouble {
    Spoiled("a pack would be larger than 4 GiB").into()
}

fn take(filling: &mut Full) -> Full {
    Full {
        bytes: std::mem::take(&mut filling.bytes),
        blobs: std::mem::take(&mut filling.blobs),
    }
}

/// Writes packs and then the index of them: an index never names a pack that is not on disk.
pub(super) struct Shelf<'a> {
    store: &'a Store,
    index: Mutex<IndexFile>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            index: Mutex::new(IndexFile::default()),
        }
    }

    /// Writes a pack.
    pub(super) fn put(&self, full: Full, coder: &mut Coder) -> Result<(), Trouble> {
        let id = Id::of(&full.bytes);
        let bytes = Bytes::from(full.bytes);
        self.store
            .write_bytes(FileType::Pack, &id.library(), false, bytes.into())?;
        let file = {
            let mut index = lock(&self.index);
            index.packs.push(IndexPack {
                id,
                blobs: full.blobs,
                // As the library does, which prunes by it.
                time: Some(SystemClock::new().now()),
                size: None,
            });
            let blobs: usize = index.packs.iter().map(|pack| pack.blobs.len()).sum();
            if blobs < INDEX_BLOBS {
                return Ok(());
            }
            std::mem::take(&mut *index)
        };
        self.save(&file, coder)
    }

    /// Writes what is left of the index.
    pub(super) fn finish(&self, coder: &mut Coder) -> Result<(), Trouble> {
        let file = std::mem::take(&mut *lock(&self.index));
        if file.packs.is_empty() {
            return Ok(());
        }
        self.save(&file, coder)
    }

    fn save(&self, file: &IndexFile, coder: &mut Coder) -> Result<(), Trouble> {
        let json =
            serde_json::to_vec(file).map_err(|_| Spoiled("its index cannot be written as JSON"))?;
        let sealed = coder.seal_file(&json)?;
        let id = Id::of(&sealed);
        Ok(self
            .store
            .write_bytes(FileType::Index, &id.library(), false, sealed.into())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_grow_with_the_repository() {
        assert_eq!(pack_size(Kind::Data, 0), 16 << 20);
        assert_eq!(pack_size(Kind::Tree, 0), 4 << 20);
        assert_eq!(pack_size(Kind::Data, 1 << 40), 32 << 20);
        assert_eq!(pack_size(Kind::Data, u64::MAX), 128 << 20);
    }
}

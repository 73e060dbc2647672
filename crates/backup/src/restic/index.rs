//! The index: which blob is where.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustic_core::{FileType, ReadBackend};
use serde::{Deserialize, Serialize};

use super::Trouble;
use super::format::{Id, Kind, OVERHEAD, Recipe};
use super::node::or_null;
use super::store::Store;

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which of the packs of the index.
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// The length before it was compressed; 0 if it was not.
    pub(super) plain: u32,
}

/// A pack that the index names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) id: Id,
    /// The size that its file must have.
    pub(super) size: u32,
}

/// All blobs of a repository: 48 bytes for each, sorted by id.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) packs: Vec<Pack>,
    data: Vec<(Id, Place)>,
    trees: Vec<(Id, Place)>,
}

/// An index file. Keys are those of the format, and those that the library adds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct IndexFile {
    #[serde(default)]
    pub(super) packs: Vec<IndexPack>,
    // `packs_to_delete` is not read: what is marked there is not to be counted on.
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IndexPack {
    pub(super) id: Id,
    pub(super) blobs: Vec<IndexBlob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IndexBlob {
    pub(super) id: Id,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// 0 where it is not given, or `null`, as the library writes it.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "is_zero")]
    pub(super) uncompressed_length: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The length of a blob's entry in the header of its pack.
pub(super) fn header_entry(plain: u32) -> usize {
    if plain == 0 { 37 } else { 41 }
}

/// The size of the file of a pack with these blobs: they follow each other, then comes the encrypted
/// header and its length.
fn pack_size(blobs: &[IndexBlob]) -> u32 {
    let header: usize = blobs
        .iter()
        .map(|blob| header_entry(blob.uncompressed_length))
        .sum();
    let data = blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>();
    u32::try_from(data + (header + OVERHEAD + 4) as u64).unwrap_or(u32::MAX)
}

impl Index {
    fn add(&mut self, file: IndexFile) {
        for pack in file.packs {
            let number = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
            self.packs.push(Pack {
                id: pack.id,
                size: pack.size.unwrap_or_else(|| pack_size(&pack.blobs)),
            });
            for blob in pack.blobs {
                let place = Place {
                    pack: number,
                    offset: blob.offset,
                    length: blob.length,
                    plain: blob.uncompressed_length,
                };
                self.of_mut(blob.kind).push((blob.id, place));
            }
        }
    }

    fn of(&self, kind: Kind) -> &Vec<(Id, Place)> {
        match kind {
            Kind::Data => &self.data,
            Kind::Tree => &self.trees,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Vec<(Id, Place)> {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Tree => &mut self.trees,
        }
    }

    fn sort(&mut self) {
        for list in [&mut self.data, &mut self.trees] {
            list.sort_unstable_by_key(|(id, place)| (*id, place.pack));
            list.dedup_by_key(|(id, _)| *id);
        }
    }

    /// Where a blob is, if it is anywhere.
    pub(super) fn get(&self, kind: Kind, id: &Id) -> Option<Place> {
        let list = self.of(kind);
        let at = list.binary_search_by_key(id, |(id, _)| *id).ok()?;
        Some(list[at].1)
    }

    /// Bytes of all blobs of this kind.
    pub(super) fn bytes(&self, kind: Kind) -> u64 {
        let lengths = self.of(kind).iter();
        lengths.map(|(_, place)| u64::from(place.length)).sum()
    }

    /// Reads all index files, on several threads.
    pub(super) fn load(store: &Store, recipe: &Recipe) -> Result<Self, Trouble> {
        let ids = store.list(FileType::Index)?;
        let next = AtomicUsize::new(0);
        let index = Mutex::new(Self::default());
        let failed = Mutex::new(None);
        let read = |id: &rustic_core::Id| -> Result<IndexFile, Trouble> {
            let sealed = store.read_full(FileType::Index, id)?;
            let spoiled = |why: &dyn std::fmt::Display| {
                Trouble::Spoiled(format!("its index {}: {why}", id.to_hex().as_str()))
            };
            let text = recipe
                .coder()
                .open_file(sealed.into())
                .map_err(|why| spoiled(&why))?;
            serde_json::from_slice(&text).map_err(|why| spoiled(&why))
        };
        let work = || {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                match read(id) {
                    Ok(file) => lock(&index).add(file),
                    Err(error) => {
                        lock(&failed).get_or_insert(error);
                        next.store(ids.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads().min(ids.len()) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = failed.into_inner().unwrap_or_default() {
            return Err(error);
        }
        let mut index = index
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        index.sort();
        Ok(index)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many threads work at once.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |number| number.get().clamp(1, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"supersedes":[],"packs":[
        {"id":"217f145b63fbc10267f5a686186689ea3389bed0d6a54b50ffc84d71f99eb7fa","blobs":[
            {"id":"a3e048f1073299310981d8f5447861df0eca26a706645b5e2fa355c31c2205ed","type":"data","offset":0,"length":2869,"uncompressed_length":9987},
            {"id":"458c0b9b656a6593b7ba85ecdbfe85d6cb32af70c2e9c5fd1871cf3dccc39044","type":"tree","offset":2869,"length":2316,"uncompressed_length":null}]}],
        "packs_to_delete":[{"id":"3b25ec6d16401c31099c259311562160b1b5efbcf70bd69d0463104d3b8148fc","blobs":[
            {"id":"620b2cef43d4c7aab3d7c911a3c0e872d2e0e70f170201002b8af8fb98c59da5","type":"data","offset":6324,"length":1413,"uncompressed_length":null}]}]}"#;

    #[test]
    fn blobs_are_found_and_marked_packs_not_counted_on() {
        let mut index = Index::default();
        for _ in 0..2 {
            index.add(serde_json::from_str(FILE).unwrap());
        }
        index.sort();
        let id = |hex: &str| Id::parse(hex).unwrap();
        let first = id("a3e048f1073299310981d8f5447861df0eca26a706645b5e2fa355c31c2205ed");
        let place = index.get(Kind::Data, &first).unwrap();
        assert_eq!((place.pack, place.length, place.plain), (0, 2869, 9987));
        assert_eq!(index.get(Kind::Tree, &first), None);
        let tree = id("458c0b9b656a6593b7ba85ecdbfe85d6cb32af70c2e9c5fd1871cf3dccc39044");
        assert_eq!(index.get(Kind::Tree, &tree).unwrap().plain, 0);
        let marked = id("620b2cef43d4c7aab3d7c911a3c0e872d2e0e70f170201002b8af8fb98c59da5");
        assert_eq!(index.get(Kind::Data, &marked), None);
        assert_eq!(index.bytes(Kind::Data), 2869);
        assert_eq!(index.packs[0].size, 2869 + 2316 + 41 + 37 + 32 + 4);
    }
}

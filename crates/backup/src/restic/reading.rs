//! Our readings as the library wants them, and its nodes as we want them.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mainstay_base::base64;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{
    ErrorKind as RusticKind, Progress as RusticHandle, ProgressBars, ProgressType, ReadSource,
    ReadSourceEntry, ReadSourceOpen, RusticError, RusticProgress, RusticResult,
};

use crate::progress::Progress;
use crate::repository::ItemKind;
use crate::source::{Content, Entry, Meta, Opener, Reading};

/// Bits of Go's `os.FileMode`, which the format stores (<https://pkg.go.dev/io/fs#FileMode>).
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

type Entries = Box<dyn Iterator<Item = Entry> + Send>;

/// A reading for one archive run. The iterator is taken out of it once.
pub(super) struct Adapted {
    entries: Mutex<Option<Entries>>,
    total: Option<u64>,
}

impl Adapted {
    pub(super) fn new(reading: &dyn Reading, total: Option<u64>) -> Self {
        Self {
            entries: Mutex::new(Some(reading.entries())),
            total,
        }
    }
}

pub(super) struct AdaptedEntries(Entries);

pub(super) struct AdaptedOpen(Opener);

impl ReadSourceOpen for AdaptedOpen {
    type Reader = Box<dyn Read + Send>;

    fn open(self) -> RusticResult<Self::Reader> {
        (self.0)().map_err(|error| {
            RusticError::with_source(RusticKind::InputOutput, "cannot open it", error)
        })
    }
}

impl Iterator for AdaptedEntries {
    type Item = RusticResult<ReadSourceEntry<AdaptedOpen>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|entry| {
            let (node_type, open) = match entry.content {
                Content::Directory => (NodeType::Dir, None),
                Content::Symlink(target) => (NodeType::from_link(&target), None),
                Content::File(open) => (NodeType::File, Some(AdaptedOpen(open))),
            };
            let name = entry.path.file_name().unwrap_or_default();
            let node = Node::new_node(name, node_type.clone(), metadata(&entry.meta, &node_type));
            Ok(ReadSourceEntry {
                path: entry.path,
                node,
                open,
            })
        })
    }
}

impl ReadSource for Adapted {
    type Open = AdaptedOpen;
    type Iter = AdaptedEntries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(self.total)
    }

    fn entries(&self) -> Self::Iter {
        let taken = self
            .entries
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        AdaptedEntries(taken.unwrap_or_else(|| Box::new(std::iter::empty())))
    }
}

fn metadata(meta: &Meta, node_type: &NodeType) -> Metadata {
    let kind = match node_type {
        NodeType::Dir => GO_DIR,
        NodeType::Symlink { .. } => GO_SYMLINK,
        _ => 0,
    };
    let (device_id, inode) = meta.hard_link.unwrap_or_default();
    let mut metadata = Metadata {
        mode: Some(to_go_mode(meta.mode) | kind),
        mtime: Some(meta.mtime),
        // As stock restic does unless told otherwise: the real one changes with every backup.
        atime: Some(meta.mtime),
        ctime: meta.ctime,
        uid: Some(meta.uid),
        gid: Some(meta.gid),
        user: None,
        group: None,
        inode,
        device_id,
        size: meta.size,
        links: if meta.hard_link.is_some() { 2 } else { 0 },
        extended_attributes: Vec::new(),
    };
    if !meta.attributes.is_empty() {
        let list: Vec<serde_json::Value> = meta
            .attributes
            .iter()
            .map(|(name, value)| serde_json::json!({ "name": name, "value": base64(value) }))
            .collect();
        // The library does not export the type of an attribute, but it can be read from JSON.
        metadata.extended_attributes =
            serde_json::from_value(serde_json::Value::Array(list)).unwrap_or_default();
    }
    metadata
}

/// Permission bits as Go has them.
fn to_go_mode(mode: u32) -> u32 {
    let bit = |unix: u32, go: u32| if mode & unix == 0 { 0 } else { go };
    (mode & 0o777) | bit(0o4000, GO_SETUID) | bit(0o2000, GO_SETGID) | bit(0o1000, GO_STICKY)
}

/// Permission bits as Unix has them.
fn from_go_mode(mode: u32) -> u32 {
    let bit = |go: u32, unix: u32| if mode & go == 0 { 0 } else { unix };
    (mode & 0o777) | bit(GO_SETUID, 0o4000) | bit(GO_SETGID, 0o2000) | bit(GO_STICKY, 0o1000)
}

/// What a node is, and its metadata.
pub(super) fn describe(node: &Node) -> (ItemKind, Meta) {
    let kind = match &node.node_type {
        NodeType::Dir => ItemKind::Directory,
        NodeType::File => ItemKind::File,
        NodeType::Symlink { .. } => ItemKind::Symlink(PathBuf::from(node.node_type.to_link())),
        other => ItemKind::Other(other.to_string()),
    };
    let meta = &node.meta;
    let linked = meta.links > 1 && meta.inode != 0;
    (
        kind,
        Meta {
            mode: from_go_mode(meta.mode.unwrap_or(0o600)),
            uid: meta.uid.unwrap_or(0),
            gid: meta.gid.unwrap_or(0),
            mtime: meta.mtime.unwrap_or_default(),
            ctime: meta.ctime,
            size: meta.size,
            hard_link: linked.then_some((meta.device_id, meta.inode)),
            attributes: meta
                .extended_attributes
                .iter()
                .map(|attribute| {
                    (
                        attribute.name.clone(),
                        attribute.value.clone().unwrap_or_default(),
                    )
                })
                .collect(),
        },
    )
}

/// Our progress as the library wants it. Bytes are passed on; what it counts otherwise is not bytes.
pub(super) struct Bars(pub(super) Arc<dyn Progress>);

impl std::fmt::Debug for Bars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bars")
    }
}

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> RusticHandle {
        match kind {
            ProgressType::Bytes => RusticHandle::new(Bar(Arc::clone(&self.0))),
            _ => RusticHandle::hidden(),
        }
    }
}

struct Bar(Arc<dyn Progress>);

impl std::fmt::Debug for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bar")
    }
}

impl RusticProgress for Bar {
    fn is_hidden(&self) -> bool {
        false
    }
    // Steps begin and end where they are called; the library only moves them on.
    fn set_length(&self, _: u64) {}
    fn set_title(&self, _: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.advance(bytes);
    }
    fn finish(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_survive_the_way_there_and_back() {
        for mode in [0o644, 0o755, 0o4755, 0o2775, 0o1777, 0o7777, 0] {
            assert_eq!(from_go_mode(to_go_mode(mode) | GO_DIR), mode, "{mode:o}");
        }
    }
}

//! Reads blobs and walks trees.
//!
//! Who reads one file after the other waits for the disk, for AES and for zstd in turn. So a walk has a
//! scout ahead of it: it lists directories, and as soon as files are read, has the pieces of the next
//! ones fetched by other threads, neighbours in a pack at once. What is ahead is bounded in bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use rustic_core::{FileType, ReadBackend};

use super::Trouble;
use super::format::{Coder, Id, Kind, Recipe};
use super::index::{Index, Place, lock, threads};
use super::node::{Node, NodeKind, Tree};
use super::store::Store;
use crate::error::{Error, ErrorKind};
use crate::repository::{FileContent, Item, Visit};

/// Packs of directories up to this size are read whole: their lists lie side by side.
const WHOLE: u32 = 8 << 20;
/// So many of them are kept.
const KEPT: usize = 4;
/// So many bytes of content may be fetched ahead.
const AHEAD: u64 = 16 << 20;
/// Neighbours in a pack are read at once up to this length.
const AT_ONCE: u32 = 1 << 20;
/// So many entries are handed over at once, and so many times ahead.
const BATCH: usize = 32;
const BATCHES: usize = 4;

/// What reads a repository.
#[derive(Clone, Copy)]
pub(super) struct Library<'a> {
    pub(super) store: &'a Store,
    pub(super) recipe: &'a Recipe,
    pub(super) index: &'a Index,
}

impl Library<'_> {
    pub(super) fn place(&self, kind: Kind, id: &Id) -> Result<Place, Trouble> {
        self.index
            .get(kind, id)
            .ok_or_else(|| Trouble::Spoiled(format!("blob {id} is not in the index")))
    }

    /// One blob.
    fn blob(&self, kind: Kind, id: &Id, coder: &mut Coder) -> Result<Vec<u8>, Trouble> {
        let place = self.place(kind, id)?;
        let bytes = self.range(place.pack, place.offset, place.length)?;
        self.decode(&bytes, id, &place, coder)
    }

    pub(super) fn range(&self, pack: u32, offset: u32, length: u32) -> Result<Bytes, Trouble> {
        let pack = self.index.packs[pack as usize].id.library();
        Ok(self
            .store
            .read_partial(FileType::Pack, &pack, false, offset, length)?)
    }

    fn decode(
        &self,
        sealed: &[u8],
        id: &Id,
        place: &Place,
        coder: &mut Coder,
    ) -> Result<Vec<u8>, Trouble> {
        let mut copy = sealed.to_vec();
        coder.unpack(&mut copy, place.plain, id).map_err(|why| {
            let pack = self.index.packs[place.pack as usize].id;
            Trouble::Spoiled(format!("blob {id} in pack {pack}: {why}"))
        })
    }
}

/// Reads lists of directories.
pub(super) struct Trees<'a> {
    library: Library<'a>,
    coder: Coder,
    /// Whole packs, the one used last at the end.
    packs: VecDeque<(u32, Bytes)>,
}

impl<'a> Trees<'a> {
    pub(super) fn new(library: Library<'a>) -> Self {
        Self {
            library,
            coder: library.recipe.coder(),
            packs: VecDeque::new(),
        }
    }

    /// The list with this id.
    pub(super) fn get(&mut self, id: &Id) -> Result<Tree, Trouble> {
        let place = self.library.place(Kind::Tree, id)?;
        let text = if self.library.index.packs[place.pack as usize].size > WHOLE {
            self.library.blob(Kind::Tree, id, &mut self.coder)?
        } else {
            let bytes = self.pack(place.pack)?;
            let start = place.offset as usize;
            let sealed = bytes
                .get(start..start + place.length as usize)
                .ok_or_else(|| Trouble::Spoiled(format!("the pack of list {id} is cut short")))?;
            self.library.decode(sealed, id, &place, &mut self.coder)?
        };
        serde_json::from_slice(&text)
            .map_err(|why| Trouble::Spoiled(format!("list {id} of a directory: {why}")))
    }

    fn pack(&mut self, number: u32) -> Result<Bytes, Trouble> {
        if let Some(at) = self.packs.iter().position(|(pack, _)| *pack == number)
            && let Some(found) = self.packs.remove(at)
        {
            self.packs.push_back(found);
        } else {
            let id = self.library.index.packs[number as usize].id.library();
            let bytes = self.library.store.read_full(FileType::Pack, &id)?;
            if self.packs.len() >= KEPT {
                self.packs.pop_front();
            }
            self.packs.push_back((number, bytes));
        }
        Ok(self
            .packs
            .back()
            .map(|(_, bytes)| bytes.clone())
            .unwrap_or_default())
    }

    /// The entry at an absolute path.
    pub(super) fn find(&mut self, root: &Id, path: &Path) -> Result<Node, Trouble> {
        let missing = || Trouble::Spoiled(format!("it has no {}", path.display()));
        let mut tree = Some(*root);
        let mut found = None;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let list = self.get(&tree.ok_or_else(missing)?)?;
            let node = list
                .nodes
                .into_iter()
                .find(|node| node.file_name() == name)
                .ok_or_else(missing)?;
            tree = node.subtree;
            found = Some(node);
        }
        found.ok_or_else(missing)
    }
}

/// Bytes that may be fetched ahead.
struct Budget {
    used: Mutex<u64>,
    freed: Condvar,
    /// The walk is over: nobody waits any more.
    over: AtomicBool,
}

/// A part of the budget, until it is dropped.
struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    fn take(self: &Arc<Self>, bytes: u64) -> Share {
        let mut used = lock(&self.used);
        while *used > 0 && *used + bytes > AHEAD && !self.over.load(Ordering::Relaxed) {
            used = self
                .freed
                .wait(used)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *used += bytes;
        Share {
            budget: Arc::clone(self),
            bytes,
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let used = *lock(&self.used);
        used == 0 || used + bytes <= AHEAD
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        let _used = lock(&self.used);
        self.freed.notify_all();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *lock(&self.budget.used) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

/// The content of a blob, or why there is none.
type Text = Result<Vec<u8>, Trouble>;

/// A piece that is being fetched.
struct Piece {
    coming: Receiver<Text>,
    _share: Share,
}

/// What comes next in a walk.
enum Event {
    Enter(Item),
    Leave(Item),
    /// Anything else, its pieces, and those that are fetched ahead, in order.
    Node(Item, Vec<Id>, Option<Receiver<Piece>>),
}

/// Pieces that lie close to each other in a pack.
struct Group {
    pack: u32,
    start: u32,
    end: u32,
    /// Bytes of them all, without what lies between.
    length: u32,
    pieces: Vec<(Id, Place, Sender<Text>)>,
}

impl Group {
    /// Takes a piece up if it lies close enough.
    fn takes(&mut self, place: &Place) -> bool {
        let start = self.start.min(place.offset);
        let end = self.end.max(place.offset.saturating_add(place.length));
        let close = self.pack == place.pack
            && end - start <= AT_ONCE
            && end - start <= 2 * (self.length + place.length) + (64 << 10);
        if close {
            (self.start, self.end) = (start, end);
            self.length += place.length;
        }
        close
    }
}

/// Why a walk ended.
pub(super) enum Stop {
    Trouble(Trouble),
    Visitor(Error),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Walks the tree below an entry.
pub(super) fn walk(
    library: Library<'_>,
    root: Node,
    attempt: &str,
    translate: &dyn Fn(&str, &Trouble) -> Error,
    visit: &mut dyn FnMut(Visit<'_>) -> Result<(), Error>,
) -> Result<(), Stop> {
    let budget = Arc::new(Budget {
        used: Mutex::new(0),
        freed: Condvar::new(),
        over: AtomicBool::new(false),
    });
    let reading = AtomicBool::new(false);
    let (jobs, work) = channel::<Group>();
    let work = Mutex::new(work);
    std::thread::scope(|scope| {
        let (events, coming) = sync_channel(BATCHES);
        for _ in 0..threads() {
            scope.spawn(|| {
                let mut coder = library.recipe.coder();
                loop {
                    let group = lock(&work).recv();
                    let Ok(group) = group else { break };
                    fetch(library, group, &mut coder);
                }
            });
        }
        let scout = Scout {
            library,
            trees: Trees::new(library),
            budget: Arc::clone(&budget),
            reading: &reading,
            jobs,
            group: None,
            events,
            batch: Vec::with_capacity(BATCH),
        };
        scope.spawn(move || scout.run(root));
        // Also when the visitor panics: the scout may wait for room.
        let _over = Over(&budget);
        let mut coder = library.recipe.coder();
        for batch in coming {
            for event in batch? {
                let seen = match event {
                    Event::Enter(item) => visit(Visit::Enter(&item)),
                    Event::Leave(item) => visit(Visit::Leave(&item)),
                    Event::Node(item, pieces, ahead) => {
                        let content = Content {
                            library,
                            pieces,
                            ahead: RefCell::new(ahead),
                            coder: RefCell::new(&mut coder),
                            reading: &reading,
                            attempt: format!("{attempt}: {}", item.path.display()),
                            translate,
                        };
                        visit(Visit::Item(&item, &content))
                    }
                };
                seen.map_err(Stop::Visitor)?;
            }
        }
        Ok(())
    })
}

struct Over<'a>(&'a Budget);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn fetch(library: Library<'_>, group: Group, coder: &mut Coder) {
    let bytes = library.range(group.pack, group.start, group.end - group.start);
    for (id, place, answer) in group.pieces {
        let piece = match &bytes {
            Ok(bytes) => {
                let start = (place.offset - group.start) as usize;
                bytes
                    .get(start..start + place.length as usize)
                    .ok_or_else(|| Trouble::Spoiled(format!("the pack of blob {id} is cut short")))
                    .and_then(|sealed| library.decode(sealed, &id, &place, coder))
            }
            // One of them may be there all the same; the error is that of this one alone.
            Err(_) => library.blob(Kind::Data, &id, coder),
        };
        // Nobody wants a piece of a file that is passed over.
        let _ = answer.send(piece);
    }
}

type Batch = Result<Vec<Event>, Trouble>;

struct Scout<'a> {
    library: Library<'a>,
    trees: Trees<'a>,
    budget: Arc<Budget>,
    reading: &'a AtomicBool,
    jobs: Sender<Group>,
    group: Option<Group>,
    events: SyncSender<Batch>,
    batch: Vec<Event>,
}

impl Scout<'_> {
    fn run(mut self, root: Node) {
        if let Err(Some(trouble)) = self.tree(root).map_err(Refused::trouble) {
            self.flush_group();
            let _ = self.send();
            let _ = self.events.send(Err(trouble));
            return;
        }
        self.flush_group();
        let _ = self.send();
    }

    fn tree(&mut self, root: Node) -> Result<(), Refused> {
        // The directories it is in, and what is left of each.
        let mut open: Vec<(Item, std::vec::IntoIter<Node>)> = Vec::new();
        let mut next = Some((PathBuf::new(), root));
        loop {
            if let Some((path, node)) = next.take() {
                let (kind, meta) = node.describe();
                let item = Item { path, kind, meta };
                if node.kind == NodeKind::Dir {
                    let subtree = node
                        .subtree
                        .ok_or_else(|| spoiled(&item, "a directory without a list"))?;
                    let children = self.trees.get(&subtree)?.nodes;
                    self.push(Event::Enter(item.clone()))?;
                    open.push((item, children.into_iter()));
                } else {
                    self.leaf(item, node.content.unwrap_or_default())?;
                }
            }
            let Some((directory, children)) = open.last_mut() else {
                return Ok(());
            };
            if let Some(child) = children.next() {
                let name = child.file_name();
                // A repository may come from anywhere: a name must not lead out of its directory.
                let mut parts = Path::new(&name).components();
                match (parts.next(), parts.next()) {
                    (Some(Component::Normal(only)), None) if only == name => {}
                    _ => return Err(spoiled(directory, "a name in it is not a file name")),
                }
                next = Some((directory.path.join(&name), child));
            } else if let Some((directory, _)) = open.pop() {
                self.push(Event::Leave(directory))?;
            }
        }
    }

    fn leaf(&mut self, item: Item, pieces: Vec<Id>) -> Result<(), Refused> {
        if pieces.is_empty() || !self.reading.load(Ordering::Relaxed) {
            return self.push(Event::Node(item, pieces, None));
        }
        let (ahead, coming) = channel();
        self.push(Event::Node(item, pieces.clone(), Some(coming)))?;
        for id in pieces {
            // What is not in the index is found out by the one who reads it.
            let Some(place) = self.library.index.get(Kind::Data, &id) else {
                break;
            };
            let bytes = u64::from(place.plain.max(place.length));
            if !self.budget.has_room(bytes) {
                // Who is to make room must have all that was promised.
                self.flush_group();
                self.send()?;
            }
            let share = self.budget.take(bytes);
            let (answer, coming) = channel();
            let piece = Piece {
                coming,
                _share: share,
            };
            if ahead.send(piece).is_err() {
                break;
            }
            self.want(id, place, answer);
        }
        Ok(())
    }

    fn want(&mut self, id: Id, place: Place, answer: Sender<Text>) {
        if !self.group.as_mut().is_some_and(|group| group.takes(&place)) {
            self.flush_group();
            self.group = Some(Group {
                pack: place.pack,
                start: place.offset,
                end: place.offset.saturating_add(place.length),
                length: place.length,
                pieces: Vec::new(),
            });
        }
        if let Some(group) = &mut self.group {
            group.pieces.push((id, place, answer));
        }
    }

    fn flush_group(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = self.jobs.send(group);
        }
    }

    fn push(&mut self, event: Event) -> Result<(), Refused> {
        self.batch.push(event);
        if self.batch.len() >= BATCH {
            self.flush_group();
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Refused> {
        // Who reads a large file takes no batches meanwhile: empty ones would fill the queue, and this
        // thread would wait for who waits for it.
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.events.send(Ok(batch)).map_err(|_| Refused::Deaf)
    }
}

fn spoiled(item: &Item, why: &str) -> Refused {
    Refused::Trouble(Trouble::Spoiled(format!("{}: {why}", item.path.display())))
}

/// Why a scout goes no further.
enum Refused {
    Trouble(Trouble),
    /// Nobody listens any more.
    Deaf,
}

impl Refused {
    fn trouble(self) -> Option<Trouble> {
        match self {
            Self::Trouble(trouble) => Some(trouble),
            Self::Deaf => None,
        }
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// The content of a file.
struct Content<'a> {
    library: Library<'a>,
    pieces: Vec<Id>,
    ahead: RefCell<Option<Receiver<Piece>>>,
    coder: RefCell<&'a mut Coder>,
    reading: &'a AtomicBool,
    attempt: String,
    translate: &'a dyn Fn(&str, &Trouble) -> Error,
}

impl FileContent for Content<'_> {
    fn write_to(&self, target: &mut dyn Write) -> Result<(), Error> {
        self.reading.store(true, Ordering::Relaxed);
        // Taken, so that what is read a second time is fetched again.
        let ahead = self.ahead.take();
        for id in &self.pieces {
            let fetched = ahead
                .as_ref()
                .and_then(|ahead| ahead.recv().ok())
                .and_then(|piece| piece.coming.recv().ok());
            let text = match fetched {
                Some(text) => text,
                None => self
                    .library
                    .blob(Kind::Data, id, &mut self.coder.borrow_mut()),
            };
            let text = text.map_err(|trouble| (self.translate)(&self.attempt, &trouble))?;
            target.write_all(&text).map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    &self.attempt,
                    crate::error::reason_of_io(&error),
                )
            })?;
        }
        Ok(())
    }
}

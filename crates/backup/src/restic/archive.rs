//! Stores a reading: entries come in, a tree of directories and new packs come out.
//!
//! One thread walks the source and puts directories together, in order. Others take files from a queue:
//! they read, cut, hash and, what is new, compress and encrypt. A thread that has cut a piece of a large
//! file gives it to one that waits, so that one large file keeps all of them at work. Packs are written
//! by threads of their own, because a disk takes its time to say that it has them.

mod gather;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex};

use super::Trouble;
use super::chunker::{Cutter, Rules};
use super::fetch::{Library, Trees};
use super::format::{Coder, Id, Kind, Recipe};
use super::index::{Index, lock, threads};
use super::node::{Node, NodeKind, Tree};
use super::pack::{Full, Packer, Shelf, pack_size};
use super::store::Store;
use crate::progress::Progress;
use crate::source::{Content, Entry, Flow, Meta};

/// So many entries may be under way.
const AHEAD: usize = 4096;
/// So many bytes of files that are in memory already may wait for a thread.
const WAITING: u64 = 32 << 20;
/// A file on disk counts as so much at most: it is read piece by piece.
const PIECE: u64 = 1 << 20;
/// A piece that is smaller is not worth to be given to another thread.
const WORTH_GIVING: usize = 64 << 10;
/// So many packs are written at once.
const WRITERS: usize = 2;

/// What is stored where, and what there is already.
pub(super) struct Archive<'a> {
    pub(super) store: &'a Store,
    pub(super) recipe: &'a Recipe,
    pub(super) rules: &'a Rules,
    pub(super) index: &'a Index,
    pub(super) progress: &'a Arc<dyn Progress>,
}

/// What was stored.
#[derive(Debug, Default)]
pub(super) struct Archived {
    /// The list of the root.
    pub(super) tree: Id,
    /// All that it needs.
    pub(super) used: Used,
    pub(super) files: u64,
    pub(super) files_new: u64,
    pub(super) files_changed: u64,
    pub(super) files_unchanged: u64,
    pub(super) directories: u64,
    pub(super) bytes: u64,
    pub(super) data_blobs: u64,
    pub(super) tree_blobs: u64,
    /// Bytes of new blobs before and after compression.
    pub(super) added: u64,
    pub(super) added_packed: u64,
}

/// The blobs that a snapshot needs; some of them more than once.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) data: Vec<Id>,
    pub(super) trees: Vec<Id>,
}

/// What is to be stored, as it comes.
pub(super) enum Coming {
    /// The tree, in its order.
    Entries(Box<dyn Iterator<Item = Entry> + Send>),
    /// Files in any order.
    Flow(Box<dyn Flow>),
}

impl Archive<'_> {
    /// Stores all that comes; an entry that is as in the list `parent` is not read.
    pub(super) fn run(&self, coming: Coming, parent: Option<Id>) -> Result<Archived, Trouble> {
        written(self.store, self.recipe, |out, failure| {
            self.with_workers(coming, parent, out, failure)
        })
    }

    fn with_workers(
        &self,
        coming: Coming,
        parent: Option<Id>,
        out: SyncSender<Full>,
        failure: &Failure,
    ) -> Result<Archived, Trouble> {
        let size = |kind| pack_size(kind, self.index.bytes(kind));
        let work = Work {
            archive: self,
            failure,
            data: Packer::new(Kind::Data, size(Kind::Data), out.clone()),
            trees: Packer::new(Kind::Tree, size(Kind::Tree), out),
            seen: [Mutex::default(), Mutex::default()],
            jobs: Jobs::default(),
            blobs: [AtomicU64::new(0), AtomicU64::new(0)],
            added: AtomicU64::new(0),
            added_packed: AtomicU64::new(0),
        };
        let archived = std::thread::scope(|workers| {
            // Also when this thread panics: the others would wait for ever.
            let _close = Close(&work.jobs);
            for _ in 0..threads() {
                workers.spawn(|| work.take_part());
            }
            let walker = Walker::new(&work, parent);
            match coming {
                Coming::Entries(entries) => walker.run(entries),
                Coming::Flow(mut flow) => gather::gather(workers, &work, walker, flow.as_mut()),
            }
        })?;
        let coder = self.recipe.coder();
        work.data.finish(&coder)?;
        work.trees.finish(&coder)?;
        let [data, trees] = &work.blobs;
        Ok(Archived {
            data_blobs: data.load(Ordering::Relaxed),
            tree_blobs: trees.load(Ordering::Relaxed),
            added: work.added.load(Ordering::Relaxed),
            added_packed: work.added_packed.load(Ordering::Relaxed),
            ..archived
        })
    }
}

/// Does what makes packs while others write them; then the index of them is on disk too.
pub(super) fn written<T>(
    store: &Store,
    recipe: &Recipe,
    work: impl FnOnce(SyncSender<Full>, &Failure) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let (out, coming) = sync_channel::<Full>(0);
    let coming = Mutex::new(coming);
    let shelf = Shelf::new(store);
    let failure = Failure::default();
    let done = std::thread::scope(|writers| {
        for _ in 0..WRITERS {
            writers.spawn(|| {
                let mut coder = recipe.coder();
                loop {
                    let full = lock(&coming).recv();
                    let Ok(full) = full else { break };
                    // After a failure it goes on taking them, so that nobody waits for it.
                    if !failure.is_there()
                        && let Err(trouble) = shelf.put(full, &mut coder)
                    {
                        failure.note(trouble);
                    }
                }
            });
        }
        // The writers end when nobody can give them packs any more.
        work(out, &failure)
    });
    failure.take()?;
    let done = done?;
    shelf.finish(&mut recipe.coder())?;
    Ok(done)
}

/// The first thing that went wrong, for all threads.
#[derive(Default)]
pub(super) struct Failure {
    there: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
}

impl Failure {
    pub(super) fn note(&self, trouble: Trouble) {
        lock(&self.trouble).get_or_insert(trouble);
        self.there.store(true, Ordering::Release);
    }

    pub(super) fn is_there(&self) -> bool {
        self.there.load(Ordering::Acquire)
    }

    fn take(&self) -> Result<(), Trouble> {
        lock(&self.trouble).take().map_or(Ok(()), Err)
    }
}

/// A file to be read.
struct FileJob {
    node: Node,
    content: Content,
    answer: Sender<Option<Node>>,
}

/// A new blob to be compressed, encrypted and packed.
struct BlobJob {
    kind: Kind,
    id: Id,
    text: Vec<u8>,
}

enum Job {
    File(Box<FileJob>),
    Blob(BlobJob),
}

#[derive(Default)]
struct Queue {
    files: VecDeque<Box<FileJob>>,
    blobs: VecDeque<BlobJob>,
    /// Threads that wait.
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Jobs {
    queue: Mutex<Queue>,
    ready: Condvar,
}

impl Jobs {
    fn file(&self, job: FileJob) {
        lock(&self.queue).files.push_back(Box::new(job));
        self.ready.notify_one();
    }

    /// Gives a blob to a thread that waits; gives it back if none does.
    fn blob(&self, job: BlobJob) -> Option<BlobJob> {
        let mut queue = lock(&self.queue);
        if queue.idle <= queue.blobs.len() {
            return Some(job);
        }
        queue.blobs.push_back(job);
        drop(queue);
        self.ready.notify_one();
        None
    }

    /// The next job, or nothing when there will be none.
    fn next(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.blobs.pop_front() {
                return Some(Job::Blob(job));
            }
            if let Some(job) = queue.files.pop_front() {
                return Some(Job::File(job));
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self
                .ready
                .wait(queue)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

struct Close<'a>(&'a Jobs);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.ready.notify_all();
    }
}

/// What all threads of a run share.
struct Work<'a> {
    archive: &'a Archive<'a>,
    failure: &'a Failure,
    data: Packer,
    trees: Packer,
    /// New blobs that somebody has taken on, data and trees.
    seen: [Mutex<HashSet<Id>>; 2],
    jobs: Jobs,
    blobs: [AtomicU64; 2],
    added: AtomicU64,
    added_packed: AtomicU64,
}

/// What each thread has for itself.
struct Bench {
    coder: Coder,
    cutter: Cutter,
    sealed: Vec<u8>,
}

impl Bench {
    fn new(recipe: &Recipe) -> Self {
        Self {
            coder: recipe.coder(),
            cutter: Cutter::default(),
            sealed: Vec::new(),
        }
    }
}

impl Work<'_> {
    fn take_part(&self) {
        let mut bench = Bench::new(self.archive.recipe);
        while let Some(job) = self.jobs.next() {
            match job {
                Job::Blob(blob) => {
                    self.pack(
                        blob.kind,
                        blob.id,
                        &blob.text,
                        &mut bench.coder,
                        &mut bench.sealed,
                    );
                }
                Job::File(file) => {
                    let stored = if self.failure.is_there() {
                        None
                    } else {
                        self.file(file.node, file.content, &mut bench)
                    };
                    // Nobody waits for it any more after a failure.
                    let _ = file.answer.send(stored);
                }
            }
        }
    }

    /// Reads a file. Nothing if it could not be read: the source itself has said so.
    fn file(&self, node: Node, content: Content, bench: &mut Bench) -> Option<Node> {
        let mut node = node;
        let mut reader: Box<dyn Read + Send> = match content {
            Content::File(open) => open().ok()?,
            Content::Late(open) => {
                let (meta, reader) = open().ok()?;
                node = node.with(&meta, 0);
                reader
            }
            Content::Directory | Content::Symlink(_) => return None,
        };
        let rules = self.archive.rules;
        let mut pieces = Vec::new();
        let mut size = 0;
        bench.cutter.begin();
        while let Some(piece) = bench.cutter.next(rules, &mut reader).ok()? {
            let id = Id::of(piece);
            size += piece.len() as u64;
            if self.is_new(Kind::Data, &id) {
                self.store(Kind::Data, id, piece, &mut bench.coder, &mut bench.sealed);
            }
            pieces.push(id);
            self.archive.progress.advance(piece.len() as u64);
            if self.failure.is_there() {
                return None;
            }
        }
        node.content = Some(pieces);
        node.size = size;
        Some(node)
    }

    /// Whether nobody has stored the blob before, nor taken it on.
    fn is_new(&self, kind: Kind, id: &Id) -> bool {
        self.archive.index.get(kind, id).is_none() && lock(&self.seen[kind as usize]).insert(*id)
    }

    /// Stores a new blob, or has another thread do it.
    fn store(&self, kind: Kind, id: Id, text: &[u8], coder: &mut Coder, sealed: &mut Vec<u8>) {
        if text.len() < WORTH_GIVING {
            return self.pack(kind, id, text, coder, sealed);
        }
        let job = BlobJob {
            kind,
            id,
            text: text.to_vec(),
        };
        if let Some(job) = self.jobs.blob(job) {
            self.pack(kind, id, &job.text, coder, sealed);
        }
    }

    fn pack(&self, kind: Kind, id: Id, text: &[u8], coder: &mut Coder, sealed: &mut Vec<u8>) {
        if self.failure.is_there() {
            return;
        }
        sealed.clear();
        let packer = match kind {
            Kind::Data => &self.data,
            Kind::Tree => &self.trees,
        };
        let packed = coder
            .pack(kind, text, sealed)
            .map_err(Trouble::from)
            .and_then(|plain| packer.add(id, sealed, plain, coder));
        if let Err(trouble) = packed {
            return self.failure.note(trouble);
        }
        self.blobs[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.added.fetch_add(text.len() as u64, Ordering::Relaxed);
        self.added_packed
            .fetch_add(sealed.len() as u64, Ordering::Relaxed);
    }
}

/// What comes next in the tree.
enum Step {
    Enter(Node),
    Leave,
    Node(Node),
    /// A file that a thread is at, and as how much it counts.
    Pending(Receiver<Option<Node>>, u64),
}

/// A directory that the walk is in: what the last snapshot had in it.
type Before = HashMap<String, Node>;

struct Walker<'a> {
    work: &'a Work<'a>,
    trees: Trees<'a>,
    bench: Bench,
    /// Where the walk is: the path of the innermost directory, and what was in each of them.
    path: PathBuf,
    before: Vec<Before>,
    steps: VecDeque<Step>,
    waiting: u64,
    /// Directories that are put together, the root first.
    built: Vec<(Option<Node>, Tree)>,
    done: Archived,
}

impl<'a> Walker<'a> {
    fn new(work: &'a Work<'a>, parent: Option<Id>) -> Self {
        let archive = work.archive;
        let mut walker = Self {
            work,
            trees: Trees::new(Library {
                store: archive.store,
                recipe: archive.recipe,
                index: archive.index,
            }),
            bench: Bench::new(archive.recipe),
            path: PathBuf::from("/"),
            before: Vec::new(),
            steps: VecDeque::new(),
            waiting: 0,
            built: vec![(None, Tree::default())],
            done: Archived::default(),
        };
        let root = walker.load(parent);
        walker.before.push(root);
        walker
    }

    /// What the last snapshot had in a directory. What cannot be read is read from the source.
    fn load(&mut self, tree: Option<Id>) -> Before {
        let Some(tree) = tree else {
            return Before::new();
        };
        match self.trees.get(&tree) {
            Ok(tree) => tree
                .nodes
                .into_iter()
                .map(|node| (node.name.clone(), node))
                .collect(),
            Err(trouble) => {
                log::warn!("a directory of the last snapshot cannot be read: {trouble}");
                Before::new()
            }
        }
    }

    fn run(mut self, entries: impl Iterator<Item = Entry>) -> Result<Archived, Trouble> {
        for entry in entries {
            self.entry(entry)?;
            self.retire_most()?;
        }
        self.finish()
    }

    fn retire_most(&mut self) -> Result<(), Trouble> {
        while self.steps.len() > AHEAD || self.waiting > WAITING {
            self.retire()?;
        }
        Ok(())
    }

    /// Leaves all directories, and stores the list of the root.
    fn finish(mut self) -> Result<Archived, Trouble> {
        while self.before.len() > 1 {
            self.leave();
        }
        while !self.steps.is_empty() {
            self.retire()?;
        }
        let (_, root) = self.built.pop().ok_or(Trouble::Gone)?;
        self.done.tree = self.tree(&root)?;
        Ok(self.done)
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Trouble> {
        if self.work.failure.is_there() {
            return Err(Trouble::Gone);
        }
        let Entry {
            path,
            meta,
            content,
        } = entry;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        if parent != self.path {
            self.go_to(parent);
        }
        match content {
            Content::Directory => {
                let node = Node::directory(name, &meta);
                self.enter(&path, node);
            }
            Content::Symlink(target) => {
                let node = Node::symlink(name, &meta, &target);
                match self.find(&node) {
                    Some(before) if node.is_unchanged(&before) => self.done.files_unchanged += 1,
                    Some(_) => self.done.files_changed += 1,
                    None => self.done.files_new += 1,
                }
                self.steps.push_back(Step::Node(node));
            }
            content => self.file(name, &meta, content),
        }
        Ok(())
    }

    fn file(&mut self, name: &std::ffi::OsStr, meta: &Meta, content: Content) {
        let mut node = Node::file(name, meta);
        if let Some(before) = self.find(&node) {
            if node.is_unchanged(&before) && self.is_stored(&before) {
                self.work.archive.progress.advance(node.size);
                self.done.files_unchanged += 1;
                // Attributes cannot have changed without the time of the inode.
                node.take_from(before);
                return self.steps.push_back(Step::Node(node));
            }
            self.done.files_changed += 1;
        } else {
            self.done.files_new += 1;
        }
        let weight = match &content {
            Content::Late(_) => node.size.min(PIECE),
            _ => node.size,
        };
        let (answer, coming) = channel();
        self.work.jobs.file(FileJob {
            node,
            content,
            answer,
        });
        self.waiting += weight;
        self.steps.push_back(Step::Pending(coming, weight));
    }

    fn find(&mut self, node: &Node) -> Option<Node> {
        self.before.last_mut()?.remove(&node.name)
    }

    fn is_stored(&self, node: &Node) -> bool {
        let index = self.work.archive.index;
        node.content
            .iter()
            .flatten()
            .all(|id| index.get(Kind::Data, id).is_some())
    }

    /// Leaves and enters directories until the walk is in this one.
    fn go_to(&mut self, directory: &Path) {
        while !directory.starts_with(&self.path) {
            self.leave();
        }
        let missing: Vec<_> = directory
            .strip_prefix(&self.path)
            .map(|missing| missing.components().collect())
            .unwrap_or_default();
        for part in missing {
            if let Component::Normal(name) = part {
                let path = self.path.join(name);
                self.enter(&path, Node::unknown_directory(name));
            }
        }
    }

    fn enter(&mut self, path: &Path, node: Node) {
        let before = self
            .find(&node)
            .filter(|before| before.kind == NodeKind::Dir)
            .and_then(|before| before.subtree);
        let before = self.load(before);
        self.before.push(before);
        path.clone_into(&mut self.path);
        self.steps.push_back(Step::Enter(node));
    }

    fn leave(&mut self) {
        self.before.pop();
        self.path.pop();
        self.steps.push_back(Step::Leave);
    }

    /// Takes the oldest step out of the queue and puts it into its directory.
    fn retire(&mut self) -> Result<(), Trouble> {
        match self.steps.pop_front() {
            None => {}
            Some(Step::Enter(node)) => self.built.push((Some(node), Tree::default())),
            Some(Step::Leave) => {
                let (node, tree) = self.built.pop().ok_or(Trouble::Gone)?;
                let mut node = node.ok_or(Trouble::Gone)?;
                node.subtree = Some(self.tree(&tree)?);
                self.done.directories += 1;
                self.add(node);
            }
            Some(Step::Node(node)) => self.add(node),
            Some(Step::Pending(coming, weight)) => {
                let node = coming.recv().map_err(|_| Trouble::Gone)?;
                self.waiting -= weight;
                if let Some(node) = node {
                    self.add(node);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, node: Node) {
        if node.kind != NodeKind::Dir {
            self.done.files += 1;
            self.done.bytes += node.size;
        }
        self.done
            .used
            .data
            .extend(node.content.iter().flatten().copied());
        if let Some((_, tree)) = self.built.last_mut() {
            tree.nodes.push(node);
        }
    }

    fn tree(&mut self, tree: &Tree) -> Result<Id, Trouble> {
        let text = tree.to_json().map_err(|error| {
            Trouble::Spoiled(format!("a directory cannot be written as JSON: {error}"))
        })?;
        let id = Id::of(&text);
        if self.work.is_new(Kind::Tree, &id) {
            let Bench { coder, sealed, .. } = &mut self.bench;
            self.work.store(Kind::Tree, id, &text, coder, sealed);
        }
        self.done.used.trees.push(id);
        Ok(id)
    }
}

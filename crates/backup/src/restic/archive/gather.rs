//! Files that come piece by piece, several at once and in any order: each that is not small has a thread
//! of its own that cuts it, so that none waits for another, and the tree is put together in the end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use jiff::Timestamp;

use super::{Archived, Bench, FileJob, Step, Trouble, WAITING, Walker, Work};
use crate::restic::node::Node;
use crate::source::{Content, Flow, Meta, Part};

/// So many pieces of a file may wait for the thread that cuts it.
const PIECES: usize = 8;
/// So much is in memory at once of a hole.
const HOLE: usize = 64 << 10;

/// A piece of a file.
enum Piece {
    Bytes(Vec<u8>),
    Zeros(u64),
}

/// A file.
enum Came {
    /// Its first piece, as long as there is no other: most files have but one.
    Held(Vec<u8>),
    /// A thread cuts it.
    Going(SyncSender<Piece>, Receiver<Option<Node>>),
    /// All of it has come; as how much it counts of what waits.
    Ended(Receiver<Option<Node>>, u64, Box<Meta>),
    /// It is stored.
    Stored(Box<Node>, Box<Meta>),
}

struct Gatherer<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    work: &'scope Work<'scope>,
    files: HashMap<PathBuf, u64>,
    came: HashMap<u64, Came>,
    /// Small files that are not stored yet, oldest first.
    small: VecDeque<u64>,
    waiting: u64,
    next: u64,
}

/// Stores what comes, and then the tree of it.
pub(super) fn gather<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: &'scope Work<'scope>,
    walker: Walker<'_>,
    flow: &mut dyn Flow,
) -> Result<Archived, Trouble> {
    let mut gatherer = Gatherer {
        scope,
        work,
        files: HashMap::new(),
        came: HashMap::new(),
        small: VecDeque::new(),
        waiting: 0,
        next: 0,
    };
    while let Some(part) = flow.next().map_err(Trouble::Source)? {
        if work.failure.is_there() {
            return Err(Trouble::Gone);
        }
        match part {
            Part::Bytes(path, bytes) => gatherer.piece(path, Piece::Bytes(bytes))?,
            Part::Zeros(path, count) => gatherer.piece(path, Piece::Zeros(count))?,
            Part::End(path, meta) => gatherer.end(path, meta)?,
            Part::Gone(path) => gatherer.gone(&path),
            Part::Moved(from, to) => gatherer.moved(&from, &to),
        }
    }
    gatherer.tree(walker, flow)
}

impl Gatherer<'_, '_> {
    fn number(&mut self, path: PathBuf) -> u64 {
        let next = &mut self.next;
        *self.files.entry(path).or_insert_with(|| {
            *next += 1;
            *next
        })
    }

    fn piece(&mut self, path: PathBuf, piece: Piece) -> Result<(), Trouble> {
        let number = self.number(path);
        let going = match (self.came.remove(&number), piece) {
            (None, Piece::Bytes(first)) => {
                self.came.insert(number, Came::Held(first));
                return Ok(());
            }
            (None, piece) => self.begin(vec![piece])?,
            (Some(Came::Held(first)), piece) => self.begin(vec![Piece::Bytes(first), piece])?,
            (Some(Came::Going(pieces, answer)), piece) => {
                // Waits while the thread is behind, and so holds up who sends.
                pieces.send(piece).map_err(|_| Trouble::Gone)?;
                Came::Going(pieces, answer)
            }
            (Some(Came::Ended(..) | Came::Stored(..)), _) => return Err(odd()),
        };
        self.came.insert(number, going);
        Ok(())
    }

    /// Has a thread of its own cut a file.
    fn begin(&self, first: Vec<Piece>) -> Result<Came, Trouble> {
        let (pieces, coming) = sync_channel(PIECES);
        let (answer, stored) = channel();
        let work = self.work;
        self.scope
            .spawn(move || send(&answer, work, Box::new(Pieces::new(coming))));
        for piece in first {
            pieces.send(piece).map_err(|_| Trouble::Gone)?;
        }
        Ok(Came::Going(pieces, stored))
    }

    fn end(&mut self, path: PathBuf, meta: Box<Meta>) -> Result<(), Trouble> {
        let number = self.number(path);
        let ended = match self.came.remove(&number) {
            None => self.whole(number, Vec::new(), meta),
            Some(Came::Held(bytes)) => self.whole(number, bytes, meta),
            // The thread comes to the end when the sender is gone.
            Some(Came::Going(_, stored)) => Came::Ended(stored, 0, meta),
            Some(Came::Ended(..) | Came::Stored(..)) => return Err(odd()),
        };
        self.came.insert(number, ended);
        while self.waiting > WAITING
            && let Some(oldest) = self.small.pop_front()
        {
            self.settle(oldest)?;
        }
        Ok(())
    }

    /// A small file: one of the threads for all of them takes it.
    fn whole(&mut self, number: u64, bytes: Vec<u8>, meta: Box<Meta>) -> Came {
        let (answer, stored) = channel();
        let weight = bytes.len() as u64;
        self.work.jobs.file(FileJob {
            node: nameless(),
            content: Content::File(Box::new(move || {
                Ok(Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>)
            })),
            answer,
        });
        self.waiting += weight;
        self.small.push_back(number);
        Came::Ended(stored, weight, meta)
    }

    /// Waits until a file is stored.
    fn settle(&mut self, number: u64) -> Result<(), Trouble> {
        match self.came.remove(&number) {
            Some(Came::Ended(stored, weight, meta)) => {
                self.waiting -= weight;
                let node = stored.recv().ok().flatten().ok_or(Trouble::Gone)?;
                self.came.insert(number, Came::Stored(Box::new(node), meta));
            }
            Some(other) => {
                self.came.insert(number, other);
            }
            None => {}
        }
        Ok(())
    }

    fn gone(&mut self, path: &Path) {
        let numbers: Vec<u64> = (self.files.extract_if(|file, _| file.starts_with(path)))
            .map(|(_, number)| number)
            .collect();
        for number in numbers {
            // What was stored of it is needed by nothing, and goes with the next prune.
            if let Some(Came::Ended(_, weight, _)) = self.came.remove(&number) {
                self.waiting -= weight;
            }
        }
    }

    fn moved(&mut self, from: &Path, to: &Path) {
        self.gone(to);
        let moved: Vec<(PathBuf, u64)> = self
            .files
            .extract_if(|file, _| file.starts_with(from))
            .collect();
        for (file, number) in moved {
            let place = match file.strip_prefix(from) {
                Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                _ => to.to_owned(),
            };
            self.files.insert(place, number);
        }
    }

    /// Puts the tree together.
    fn tree(mut self, mut walker: Walker<'_>, flow: &dyn Flow) -> Result<Archived, Trouble> {
        // In the order of the parts of paths: what is in a directory comes together, sorted.
        let files: BTreeMap<PathBuf, u64> = std::mem::take(&mut self.files).into_iter().collect();
        for (path, number) in files {
            self.settle(number)?;
            let Some(Came::Stored(stored, meta)) = self.came.remove(&number) else {
                return Err(odd());
            };
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(odd());
            };
            walker.enter_all(parent, flow);
            let mut node = Node::file(name, &meta);
            node.content = stored.content;
            node.size = stored.size;
            walker.done.files_new += 1;
            walker.steps.push_back(Step::Node(node));
            walker.retire_most()?;
        }
        walker.finish()
    }
}

impl Walker<'_> {
    /// Leaves and enters directories until the walk is in this one, as [`Walker::go_to`] does, but with
    /// what they are like.
    fn enter_all(&mut self, directory: &Path, flow: &dyn Flow) {
        while !directory.starts_with(&self.path) {
            self.leave();
        }
        let missing: Vec<PathBuf> = (directory.ancestors())
            .take_while(|above| *above != self.path)
            .map(Path::to_owned)
            .collect();
        for path in missing.into_iter().rev() {
            if let Some(name) = path.file_name() {
                let node = Node::directory(name, &flow.directory(&path));
                self.enter(&path, node);
            }
        }
    }
}

/// Cuts and stores a file, and says what became of it.
fn send(answer: &Sender<Option<Node>>, work: &Work<'_>, reader: Box<dyn Read + Send>) {
    let mut bench = Bench::new(work.archive.recipe);
    let content = Content::File(Box::new(move || Ok(reader)));
    let stored = work.file(nameless(), content, &mut bench);
    // Nobody waits for it any more after a failure.
    let _ = answer.send(stored);
}

/// A file whose name and metadata come later.
fn nameless() -> Node {
    Node::file(OsStr::new(""), &Meta::synthetic(0, Timestamp::UNIX_EPOCH))
}

fn odd() -> Trouble {
    Trouble::Spoiled("what comes goes on after its end, or has none".to_owned())
}

/// The pieces of one file as a stream.
struct Pieces {
    coming: Receiver<Piece>,
    now: Cursor<Vec<u8>>,
    zeros: u64,
}

impl Pieces {
    fn new(coming: Receiver<Piece>) -> Self {
        Self {
            coming,
            now: Cursor::default(),
            zeros: 0,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.zeros > 0 {
                let left = usize::try_from(self.zeros).unwrap_or(usize::MAX);
                let count = left.min(buffer.len()).min(HOLE);
                buffer[..count].fill(0);
                self.zeros -= count as u64;
                return Ok(count);
            }
            let count = self.now.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.coming.recv() {
                Ok(Piece::Bytes(bytes)) => self.now = Cursor::new(bytes),
                Ok(Piece::Zeros(count)) => self.zeros = count,
                Err(_) => return Ok(0),
            }
        }
    }
}

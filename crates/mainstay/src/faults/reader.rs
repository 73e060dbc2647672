//! The thread that looks through what programs print.
//!
//! It reads the files, not the pipes: so it costs the thread that carries output nothing, can be late
//! without holding anybody up, and what was printed while no daemon was there is looked through too. It
//! sleeps until something is written (inotify(7)), then looks at most twice a second, at a bounded
//! number of bytes; what a program writes beyond that is passed over, and that is said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_fault::ledger::Occurrence;
use mainstay_log::{Place, Tail};
use mainstay_supervise::ProgramSpec;
use mainstay_sys::Wake;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::finder::Finder;

/// How long from one look to the next at least.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked when the system cannot tell that something was written.
const BLIND: Duration = Duration::from_secs(5);
/// So many bytes of all programs are looked through at a time.
const BUDGET: usize = 8 << 20;
/// How far the reader of a file may be behind: a burst is read to its end, at which it is said what
/// went wrong.
const BEHIND: u64 = 64 << 20;
/// With how many of the last bytes it goes on when it is further behind.
const LAST: u64 = 4 << 20;
/// How far the marks of places may stay behind. What is in between is looked through twice, after a
/// kill; faults in it are not, since their marks are stored with them.
const MARKS: Duration = Duration::from_mins(1);
/// How often it is said that a program writes too much.
const SPEAK: Duration = Duration::from_mins(10);

/// What was found, and how far everything was read then.
#[derive(Debug, Default)]
pub(super) struct Catch {
    pub(super) occurrences: Vec<Occurrence>,
    /// Places by the path of the file.
    pub(super) marks: Vec<(String, String)>,
}

/// A file that programs' output goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) program: String,
    pub(super) path: PathBuf,
}

/// The files of the programs that are looked at.
pub(super) fn sources(programs: &[Arc<ProgramSpec>]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for program in programs.iter().filter(|program| program.faults) {
        for process in &program.processes {
            for path in [process.stdout.path(), process.stderr.path()]
                .into_iter()
                .flatten()
            {
                if sources.iter().all(|source| source.path != *path) {
                    sources.push(Source {
                        program: program.name.clone(),
                        path: path.clone(),
                    });
                }
            }
        }
    }
    sources
}

/// The thread, from outside.
pub(super) struct Reader {
    orders: Arc<Orders>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Orders {
    wake: Wake,
    state: Mutex<Wanted>,
}

#[derive(Default)]
struct Wanted {
    /// Other files are to be read.
    sources: Option<Vec<Source>>,
    end: bool,
}

impl Reader {
    /// Starts to read. `marks` are those of an earlier reader; `hand_on` may wait.
    ///
    /// # Errors
    /// The system's, if there can be no thread.
    pub(super) fn start(
        sources: Vec<Source>,
        marks: BTreeMap<String, String>,
        hand_on: impl FnMut(Catch) + Send + 'static,
    ) -> std::io::Result<Self> {
        let orders = Arc::new(Orders {
            wake: Wake::new()?,
            state: Mutex::default(),
        });
        let own = Arc::clone(&orders);
        // Here and now: what is written from now on is new.
        let mut reading = Reading::new(marks, hand_on);
        reading.take(sources);
        let thread = std::thread::Builder::new()
            .name("mainstay-faults".to_owned())
            .spawn(move || {
                // Whatever else is to be done on this machine comes first.
                let _ = rustix::process::nice(10);
                reading.run(&own);
            })?;
        Ok(Self {
            orders,
            thread: Mutex::new(Some(thread)),
        })
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        let state = &self.orders.state;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        // One that cannot be woken looks at its next turn.
        let _ = self.orders.wake.wake();
    }

    /// Reads other files from now on; those that it read before it goes on with.
    pub(super) fn read(&self, sources: Vec<Source>) {
        self.want(|wanted| wanted.sources = Some(sources));
    }

    /// Looks at what is there, hands it on, and ends.
    pub(super) fn end(&self) {
        self.want(|wanted| wanted.end = true);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// It was not there: all that is in it is new.
    Nothing,
    Place(Place),
}

impl Reached {
    fn mark(self) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Place(Place {
                identity: (device, inode),
                offset,
            }) => format!("{device} {inode} {offset}"),
        }
    }

    fn parse(mark: &str) -> Option<Self> {
        if mark == "-" {
            return Some(Self::Nothing);
        }
        let mut numbers = mark.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (device, inode, offset) = (next()?, next()?, next()?);
        numbers.next().is_none().then_some(Self::Place(Place {
            identity: (device, inode),
            offset,
        }))
    }
}

struct Stream {
    source: Source,
    finder: Finder,
    reached: Reached,
    /// What the ledger knows of that.
    stored: Option<Reached>,
    /// Bytes that were passed over, how often a file was gone before it was read, and when that was
    /// said last.
    passed_over: u64,
    gone: u64,
    said: Option<Instant>,
    /// It is no file that can be read back.
    unreadable: bool,
}

struct Reading<F> {
    marks: BTreeMap<String, String>,
    hand_on: F,
    streams: BTreeMap<PathBuf, Stream>,
    dirty: BTreeSet<PathBuf>,
    inotify: Option<OwnedFd>,
    /// The directories that are watched, by the number of their watch.
    watched: HashMap<i32, PathBuf>,
    origin: Instant,
    marked: Instant,
    /// When all files were looked at last because not everything is told.
    swept: Instant,
}

impl<F: FnMut(Catch)> Reading<F> {
    fn new(marks: BTreeMap<String, String>, hand_on: F) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = &inotify {
            log::warn!(
                "the output of programs is looked through every {} s only: inotify: {error}",
                BLIND.as_secs()
            );
        }
        Self {
            marks,
            hand_on,
            streams: BTreeMap::new(),
            dirty: BTreeSet::new(),
            inotify: inotify.ok(),
            watched: HashMap::new(),
            origin: Instant::now(),
            marked: Instant::now(),
            swept: Instant::now(),
        }
    }

    fn run(&mut self, orders: &Orders) {
        loop {
            let wanted =
                std::mem::take(&mut *orders.state.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(sources) = wanted.sources {
                self.take(sources);
            }
            self.watch();
            self.look(wanted.end);
            if wanted.end {
                return;
            }
            let begun = Instant::now();
            self.wait(orders);
            // Many small writes are one look.
            let rest = PAUSE.saturating_sub(begun.elapsed());
            if let Ok(rest) = Timespec::try_from(rest) {
                let mut waiting = [PollFd::new(&orders.wake, PollFlags::IN)];
                let _ = poll(&mut waiting, Some(&rest));
            }
            let _ = orders.wake.drain();
        }
    }

    /// Reads these files from now on.
    fn take(&mut self, sources: Vec<Source>) {
        let mut before = std::mem::take(&mut self.streams);
        for source in sources {
            let path = source.path.clone();
            let stream = match before.remove(&path) {
                Some(known) if known.source == source => known,
                _ => Stream::begin(source, &self.marks),
            };
            self.dirty.insert(path.clone());
            self.streams.insert(path, stream);
        }
        // One that comes back goes on where it was.
        for (path, stream) in before {
            let mark = stream.safe().mark();
            self.marks.insert(path.display().to_string(), mark);
        }
    }

    /// Watches the directories of the files, as far as they are there.
    fn watch(&mut self) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let wanted: BTreeSet<&Path> = self
            .streams
            .values()
            .filter(|stream| !stream.unreadable)
            .filter_map(|stream| stream.source.path.parent())
            .collect();
        self.watched.retain(|number, directory| {
            let keep = wanted.contains(directory.as_path());
            if !keep {
                let _ = inotify::remove_watch(inotify, *number);
            }
            keep
        });
        for directory in wanted {
            if self.watched.values().any(|known| known == directory) {
                continue;
            }
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR;
            if let Ok(number) = inotify::add_watch(inotify, directory, flags) {
                self.watched.insert(number, directory.to_owned());
                // What was written before it was watched.
                let in_it = self
                    .streams
                    .keys()
                    .filter(|path| path.parent() == Some(directory));
                self.dirty.extend(in_it.cloned());
            }
        }
    }

    /// Whether everything that is written is told.
    fn sees(&self) -> bool {
        self.inotify.is_some()
            && self.streams.values().all(|stream| {
                let directory = stream.source.path.parent();
                stream.unreadable
                    || self
                        .watched
                        .values()
                        .any(|known| Some(known.as_path()) == directory)
            })
    }

    /// Sleeps until something is written or wanted, or a record is over.
    fn wait(&mut self, orders: &Orders) {
        let now = self.origin.elapsed();
        let records = self.streams.values().filter_map(|s| s.finder.wake_at());
        let mut limit = records.min().map(|at| at.saturating_sub(now));
        let mut sooner =
            |other: Duration| limit = Some(limit.map_or(other, |limit| limit.min(other)));
        if !self.dirty.is_empty() {
            sooner(Duration::ZERO);
        }
        if !self.sees() {
            sooner(BLIND.saturating_sub(self.swept.elapsed()));
        }
        if self.unmarked() {
            sooner(MARKS.saturating_sub(self.marked.elapsed()));
        }
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut waiting = vec![PollFd::new(&orders.wake, PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            waiting.push(PollFd::new(inotify, PollFlags::IN));
        }
        // An interrupted wait is a look too early, which does no harm.
        let _ = poll(&mut waiting, limit.as_ref());
        drop(waiting);
        self.hear();
        if !self.sees() && self.swept.elapsed() >= BLIND {
            self.swept = Instant::now();
            self.dirty.extend(self.streams.keys().cloned());
        }
    }

    /// Takes what was told of writes.
    fn hear(&mut self) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = events.next() {
            let flags = event.events();
            if flags.contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                self.dirty.extend(self.streams.keys().cloned());
            }
            if flags.contains(inotify::ReadFlags::IGNORED) {
                // The directory is gone.
                self.watched.remove(&event.wd());
            }
            let (Some(directory), Some(name)) = (self.watched.get(&event.wd()), event.file_name())
            else {
                continue;
            };
            let path = directory.join(OsStr::from_bytes(name.to_bytes()));
            if self.streams.contains_key(&path) {
                self.dirty.insert(path);
            }
        }
    }

    fn unmarked(&self) -> bool {
        let mut streams = self.streams.values();
        streams.any(|stream| !stream.unreadable && stream.stored != Some(stream.safe()))
    }

    /// Looks through what is new, and hands on what was found.
    fn look(&mut self, last: bool) {
        let mut occurrences = Vec::new();
        let mut budget = BUDGET;
        let at = Timestamp::now();
        for path in std::mem::take(&mut self.dirty) {
            let Some(stream) = self.streams.get_mut(&path) else {
                continue;
            };
            let now = self.origin.elapsed();
            match stream.read(&mut budget, now, at, &mut occurrences) {
                Ok(true) => {}
                Ok(false) => drop(self.dirty.insert(path)),
                Err(why) => {
                    stream.unreadable = true;
                    log::debug!("faults in {} are not found: {why}", path.display());
                }
            }
        }
        let now = self.origin.elapsed();
        for stream in self.streams.values_mut() {
            stream.finder.on_time(now, at, &mut occurrences);
            stream.say();
        }
        // From where on a new file is looked through must be known to the next daemon, too.
        let mut streams = self.streams.values();
        let is_new = streams.any(|stream| !stream.unreadable && stream.stored.is_none());
        if occurrences.is_empty() && !last && !is_new && self.marked.elapsed() < MARKS {
            return;
        }
        let mut marks = Vec::new();
        for (path, stream) in &mut self.streams {
            let safe = stream.safe();
            if stream.stored != Some(safe) && !stream.unreadable {
                stream.stored = Some(safe);
                marks.push((path.display().to_string(), safe.mark()));
            }
        }
        self.marked = Instant::now();
        if !occurrences.is_empty() || !marks.is_empty() {
            (self.hand_on)(Catch { occurrences, marks });
        }
    }
}

impl Stream {
    /// Goes on where an earlier reader was; else begins with what comes from now on.
    fn begin(source: Source, marks: &BTreeMap<String, String>) -> Self {
        let mark = marks.get(&source.path.display().to_string());
        let stored = mark.and_then(|mark| Reached::parse(mark));
        let reached = stored.unwrap_or_else(|| end_of(&source.path));
        Self {
            finder: Finder::new(&source.program),
            source,
            reached,
            stored,
            passed_over: 0,
            gone: 0,
            said: None,
            unreadable: false,
        }
    }

    /// Where the next daemon goes on: before a record that is not known to be over.
    fn safe(&self) -> Reached {
        match self.reached {
            Reached::Nothing => Reached::Nothing,
            Reached::Place(place) => Reached::Place(Place {
                offset: place.offset.saturating_sub(self.finder.open() as u64),
                ..place
            }),
        }
    }

    /// Looks through what is new, as far as there is budget; whether that was all.
    fn read(
        &mut self,
        budget: &mut usize,
        now: Duration,
        at: Timestamp,
        found: &mut Vec<Occurrence>,
    ) -> Result<bool, mainstay_log::Error> {
        if self.unreadable {
            return Ok(true);
        }
        let place = match self.reached {
            Reached::Nothing => None,
            Reached::Place(place) => Some(place),
        };
        let mut tail = Tail::resume(&self.source.path, place)?;
        let mut chunk = Vec::new();
        let mut all = true;
        loop {
            if *budget == 0 {
                all = false;
                break;
            }
            chunk.clear();
            if tail.read_new(&mut chunk)? == 0 {
                break;
            }
            *budget = budget.saturating_sub(chunk.len());
            self.finder.push(&chunk, now, at, found);
        }
        self.gone += tail.gaps();
        if let Some(place) = tail.place() {
            self.reached = Reached::Place(place);
        }
        if !all {
            self.pass_over();
        }
        Ok(all)
    }

    /// More is written than can be looked through: goes on with its end, if that is far away.
    fn pass_over(&mut self) {
        let (Reached::Place(from), Reached::Place(to)) = (self.reached, end_of(&self.source.path))
        else {
            return;
        };
        let behind = behind(&self.source.path, from, to);
        if behind <= BEHIND {
            return;
        }
        // It may begin within a line, which is not taken for anything then.
        let last = to.offset.min(LAST);
        self.finder = Finder::new(&self.source.program);
        self.reached = Reached::Place(Place {
            offset: to.offset - last,
            ..to
        });
        self.passed_over += behind - last;
    }

    fn say(&mut self) {
        if self.said.is_some_and(|said| said.elapsed() < SPEAK) {
            return;
        }
        if std::mem::take(&mut self.gone) > 0 {
            log::warn!(
                "a part of {} was gone before it was looked through for faults",
                self.source.path.display()
            );
            self.said = Some(Instant::now());
        }
        if self.passed_over > 0 {
            log::warn!(
                "{} writes more than is looked through for faults: {} bytes of {} were passed over",
                self.source.program,
                std::mem::take(&mut self.passed_over),
                self.source.path.display()
            );
            self.said = Some(Instant::now());
        }
    }
}

/// How many bytes are between two places of a log, over the files that were rolled meanwhile. Of those
/// that are gone or compressed nothing is known but that they were there.
fn behind(path: &Path, from: Place, to: Place) -> u64 {
    if from.identity == to.identity {
        return to.offset.saturating_sub(from.offset);
    }
    let mut bytes = to.offset;
    for number in 1..1000_u32 {
        let mut rolled = path.as_os_str().to_owned();
        rolled.push(format!(".{number}"));
        let Ok(metadata) = std::fs::metadata(&rolled) else {
            return bytes.max(BEHIND + 1);
        };
        if (metadata.dev(), metadata.ino()) == from.identity {
            return bytes + metadata.len().saturating_sub(from.offset);
        }
        bytes += metadata.len();
    }
    bytes.max(BEHIND + 1)
}

/// The end of a file as it is now.
fn end_of(path: &Path) -> Reached {
    let tail = Tail::open(path).ok();
    tail.and_then(|tail| tail.place())
        .map_or(Reached::Nothing, Reached::Place)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::*;

    const DEADLINE: Duration = Duration::from_mins(1);
    const TRACE: &str =
        "Traceback (most recent call last):\n  File \"/srv/app.py\", line 1, in f\nValueError: x\n";

    #[test]
    fn marks_are_read_as_they_are_written() {
        let place = Reached::Place(Place {
            identity: (1, 2),
            offset: 3,
        });
        for reached in [Reached::Nothing, place] {
            assert_eq!(Reached::parse(&reached.mark()), Some(reached));
        }
        for wrong in ["", "1 2", "1 2 3 4", "x", "1 2 -3"] {
            assert_eq!(Reached::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn how_far_behind_a_reader_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        let place = |offset: u64| match end_of(&path) {
            Reached::Place(place) => Place { offset, ..place },
            Reached::Nothing => panic!("there is a file"),
        };
        append(&path, "one\ntwo\n");
        let (first, now) = (place(4), place(8));
        assert_eq!(behind(&path, first, now), 4);
        let roll = |number: u32| {
            let to = directory.path().join(format!("web.log.{number}"));
            std::fs::rename(&path, to).unwrap();
        };
        roll(2);
        append(&path, "three\n");
        roll(1);
        append(&path, "four\n");
        assert_eq!(behind(&path, first, place(5)), 4 + 6 + 5);
        std::fs::remove_file(directory.path().join("web.log.2")).unwrap();
        assert!(behind(&path, first, place(5)) > BEHIND);
    }

    fn start(path: &Path, marks: &BTreeMap<String, String>) -> (Reader, mpsc::Receiver<Catch>) {
        let (sender, caught) = mpsc::channel();
        let source = Source {
            program: "web".into(),
            path: path.to_owned(),
        };
        let reader = Reader::start(vec![source], marks.clone(), move |catch| {
            let _ = sender.send(catch);
        });
        (reader.unwrap(), caught)
    }

    /// Collects what comes until so many faults were counted.
    fn until(
        caught: &mpsc::Receiver<Catch>,
        count: u64,
        marks: &mut BTreeMap<String, String>,
    ) -> Vec<Occurrence> {
        let mut all = Vec::new();
        while all.iter().map(|one: &Occurrence| one.count).sum::<u64>() < count {
            let catch = caught.recv_timeout(DEADLINE).expect("faults are found");
            marks.extend(catch.marks);
            all.extend(catch.occurrences);
        }
        all
    }

    fn rest(caught: &mpsc::Receiver<Catch>, marks: &mut BTreeMap<String, String>) -> u64 {
        let mut count = 0;
        for catch in caught {
            marks.extend(catch.marks);
            count += catch.occurrences.iter().map(|one| one.count).sum::<u64>();
        }
        count
    }

    fn append(path: &Path, text: &str) {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn each_fault_is_found_once_also_over_restarts_and_rolls() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.log");
        append(&path, &format!("old\n{TRACE}"));
        let mut marks = BTreeMap::new();
        let (reader, caught) = start(&path, &marks);
        // Written and looked at; what was there before is no news.
        loop {
            append(&path, "tick\n");
            append(&path, TRACE);
            if until(&caught, 1, &mut marks)[0].count == 1 {
                break;
            }
        }
        reader.end();
        assert_eq!(rest(&caught, &mut marks), 0);
        // While nobody reads, a roll comes between.
        append(&path, TRACE);
        std::fs::rename(&path, directory.path().join("web.log.1")).unwrap();
        append(&path, &format!("{TRACE}end\n"));
        let (reader, caught) = start(&path, &marks);
        let found = until(&caught, 2, &mut marks);
        assert_eq!(found.iter().map(|one| one.count).sum::<u64>(), 2);
        reader.end();
        assert_eq!(rest(&caught, &mut marks), 0);
        // Killed before it stored more marks: nothing is told twice.
        let (reader, caught) = start(&path, &marks);
        append(&path, "half a record: ");
        reader.end();
        assert_eq!(rest(&caught, &mut marks), 0);
    }

    #[test]
    fn a_file_and_a_directory_may_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log/web.log");
        let mut marks = BTreeMap::new();
        let (reader, caught) = start(&path, &marks);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        append(&path, TRACE);
        assert_eq!(until(&caught, 1, &mut marks)[0].app, "web");
        reader.end();
    }
}

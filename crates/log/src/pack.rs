//! Rolled files are compressed and archived, one after another, by one thread of low priority.

use std::fs::{self, File, FileTimes};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use jiff::tz::TimeZone;
use rustix::fs::{FlockOperation, flock};

use crate::archive;
use crate::error::{Notice, Reason};
use crate::level::Level;
use crate::naming::{Naming, rolled_files};
use crate::outlet::lock;
use crate::seelog::Archive;

/// How rolled files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// `.gz` (RFC 1952), which everything reads.
    Gzip,
    /// `.zst` (RFC 8878), which is smaller and faster.
    Zstd,
}

impl Compression {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The name in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What is added to a file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// How a file of this name is compressed, if it is.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// A reader of what is in a compressed file.
    pub(crate) fn unpack(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
            Self::Zstd => Box::new(zstd::Decoder::new(file)?),
        })
    }

    fn compress(self, from: &File, to: &File) -> io::Result<()> {
        let mut from = BufReader::with_capacity(256 * 1024, from);
        match self {
            Self::Gzip => {
                let mut out = flate2::write::GzEncoder::new(to, flate2::Compression::default());
                io::copy(&mut from, &mut out)?;
                out.finish()?;
            }
            Self::Zstd => {
                let mut out = zstd::Encoder::new(to, 3)?;
                out.include_checksum(true)?;
                io::copy(&mut from, &mut out)?;
                out.finish()?;
            }
        }
        Ok(())
    }
}

/// A reader of a log file that may be compressed, by its name.
pub fn open_packed(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    match Compression::of(path) {
        Some(compression) => compression.unpack(file),
        None => Ok(Box::new(file)),
    }
}

/// What is said of compressing, until the file's owner asks.
pub(crate) type Notices = Arc<Mutex<Vec<Notice>>>;

/// A file to compress.
pub(crate) struct Job {
    /// The log it was rolled from, and how the others are called.
    pub(crate) path: PathBuf,
    pub(crate) naming: Naming,
    pub(crate) compression: Compression,
    /// Other processes roll it too.
    pub(crate) shared: bool,
    /// The file itself: its name may change until its turn comes.
    pub(crate) file: File,
    pub(crate) notices: Notices,
}

/// Files are renamed by one at a time.
static NAMES: Mutex<()> = Mutex::new(());

/// Keeps everybody else from renaming rolled files.
pub(crate) struct NameLock {
    _here: MutexGuard<'static, ()>,
    _everywhere: Option<File>,
}

impl NameLock {
    /// Waits for it. With other processes by a lock on a file beside the log, `.f.log.lock`.
    pub(crate) fn take(path: &Path, shared: bool) -> io::Result<Self> {
        let here = lock(&NAMES);
        let everywhere = if shared {
            Some(lock_file(&hidden(path, "lock"))?)
        } else {
            None
        };
        Ok(Self {
            _here: here,
            _everywhere: everywhere,
        })
    }
}

/// Waits for a lock on a file, which lasts as long as it is open.
fn lock_file(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o640)
        .open(path)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    Ok(file)
}

/// `.f.log.suffix` beside `f.log`.
pub(crate) fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let base = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{base}.{suffix}"))
}

/// Files that go into an archive, the oldest first.
pub(crate) struct Surplus {
    /// The log they were rolled from.
    pub(crate) path: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) archive: Archive,
    pub(crate) zone: TimeZone,
    /// Other processes roll it and archive it too.
    pub(crate) shared: bool,
    /// It could not be done the last time, which was said.
    pub(crate) failing: Arc<AtomicBool>,
    pub(crate) notices: Notices,
}

enum Work {
    Pack(Job),
    PutAway(Surplus),
}

impl Work {
    fn run(&self) -> io::Result<()> {
        match self {
            Self::Pack(job) => job.run(),
            Self::PutAway(surplus) => {
                let _alone = surplus
                    .shared
                    .then(|| lock_file(&hidden(&surplus.path, "archive.lock")))
                    .transpose()?;
                archive::put_away(&surplus.files, &surplus.archive, &surplus.zone)?;
                surplus.failing.store(false, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Says that it did not work out. Of an archive once until it does: what is said may itself be
    /// written to the file, and make it roll.
    fn report(&self, why: &dyn std::fmt::Display) {
        let said = match self {
            Self::Pack(_) => false,
            Self::PutAway(surplus) => surplus.failing.swap(true, Ordering::Relaxed),
        };
        if !said {
            lock(self.notices()).push(self.failed(why));
        }
    }

    fn notices(&self) -> &Notices {
        match self {
            Self::Pack(job) => &job.notices,
            Self::PutAway(surplus) => &surplus.notices,
        }
    }

    /// What is said when it did not work out.
    fn failed(&self, why: &dyn std::fmt::Display) -> Notice {
        match self {
            Self::Pack(job) => Notice {
                level: Level::Warn,
                text: format!(
                    "cannot compress a rolled file of {}: {why}; it stays as it is",
                    job.path.display()
                ),
            },
            Self::PutAway(surplus) => Notice {
                level: Level::Error,
                text: format!(
                    "cannot put rolled files of {} into the archive {}: {why}; they stay, and it is tried again at the next roll",
                    surplus.path.display(),
                    surplus.archive.path.display()
                ),
            },
        }
    }
}

/// Has a file compressed when its turn comes.
pub(crate) fn pack(job: Job) {
    submit(Work::Pack(job));
}

/// Has files archived and deleted when their turn comes.
pub(crate) fn put_away(surplus: Surplus) {
    submit(Work::PutAway(surplus));
}

fn submit(job: Work) {
    static QUEUE: OnceLock<Option<Sender<Work>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("mainstay-pack".into());
        // Without a thread files stay as they are, which is said of each.
        thread.spawn(move || work(&receiver)).ok().map(|_| sender)
    });
    let notices = Arc::clone(job.notices());
    let failed = job.failed(&"there is no thread for it");
    if queue.as_ref().is_none_or(|queue| queue.send(job).is_err()) {
        lock(&notices).push(failed);
    }
}

fn work(jobs: &Receiver<Work>) {
    // Only this thread; where it may not be, it is as important as the others.
    let _ = rustix::process::setpriority_process(None, 19);
    for job in jobs {
        if let Err(error) = job.run() {
            job.report(&Reason(&error));
        }
    }
}

impl Job {
    fn run(&self) -> io::Result<()> {
        let before = self.file.metadata()?;
        // Another process may be in the middle of a write to it.
        let settled = before.modified()?.elapsed().unwrap_or_default();
        if let Some(rest) = SETTLE.checked_sub(settled).filter(|_| self.shared) {
            std::thread::sleep(rest);
        }
        let suffix = format!("{}.{}.part", std::process::id(), before.ino());
        let part = hidden(&self.path, &suffix);
        let result = self.run_by(&part);
        if result.is_err() {
            // Where that fails too, the next start does it.
            let _ = fs::remove_file(&part);
        }
        result
    }

    fn run_by(&self, part: &Path) -> io::Result<()> {
        let before = self.file.metadata()?;
        let to = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(part)?;
        let from = self.at_its_start()?;
        self.compression.compress(&from, &to)?;
        to.set_permissions(before.permissions())?;
        // Only root may; where it fails the file is ours.
        let _ = std::os::unix::fs::fchown(&to, Some(before.uid()), Some(before.gid()));
        // Retention goes by it.
        to.set_times(FileTimes::new().set_modified(before.modified()?))?;
        to.sync_all()?;
        let _names = NameLock::take(&self.path, self.shared)?;
        let after = self.file.metadata()?;
        if (after.len(), after.mtime(), after.mtime_nsec())
            != (before.len(), before.mtime(), before.mtime_nsec())
        {
            return Err(io::Error::other("somebody has written to it meanwhile"));
        }
        let rolled = rolled_files(&self.path, &self.naming);
        let name = rolled.iter().filter(|file| !file.packed).find(|file| {
            let there = fs::symlink_metadata(self.path.with_file_name(&file.name));
            there.is_ok_and(|there| (there.dev(), there.ino()) == (after.dev(), after.ino()))
        });
        let Some(name) = name else {
            // Retention was faster.
            return fs::remove_file(part);
        };
        let plain = self.path.with_file_name(&name.name);
        let mut packed = name.name.clone();
        packed.push(self.compression.suffix());
        fs::rename(part, self.path.with_file_name(packed))?;
        fs::remove_file(plain)
    }

    /// The file once more, with an offset of its own.
    fn at_its_start(&self) -> io::Result<File> {
        use std::os::fd::AsRawFd as _;
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// How long after the last write a file is left alone that other processes write too.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(10);

/// Deletes what a process that is gone has left half compressed.
pub(crate) fn clear_parts(path: &Path) {
    let Some(directory) = path.parent() else {
        return;
    };
    let start = hidden(path, "");
    let start = start.file_name().unwrap_or_default().to_string_lossy();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid = name
            .strip_prefix(&*start)
            .and_then(|rest| rest.strip_suffix(".part"))
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

//! The log against real files, pipes and a full disk.

#![allow(clippy::unwrap_used)]
// Why a test was skipped, and how lines were put together, need no finer means.
#![allow(clippy::print_stderr, clippy::format_collect)]

mod alerts;
mod archives;
mod capture;
mod front;
mod full;
mod inspect;
mod messages;
mod pipeline;
mod queue;
mod rolling;
mod rolls;
mod search;
mod seelog;
mod seelog_any;
mod seelog_rolls;
mod seelog_runs;
mod sinks;
mod tail;
mod target;

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_base::ManualClock;
use mainstay_log::{Retention, RollingFile};

/// A clock that stands at a fixed moment until it is moved.
pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-11-22T06:00:00Z".parse().unwrap()))
}

/// Files of `size` bytes, all kept.
pub(crate) fn keep_all(size: u64) -> Retention {
    Retention {
        size: Some(size),
        ..Retention::NONE
    }
}

pub(crate) fn open(path: &Path, retention: Retention) -> (RollingFile, Arc<ManualClock>) {
    let clock = clock();
    let file = RollingFile::open(path, retention, clock.clone()).unwrap();
    (file, clock)
}

/// The current file and the rolled ones, oldest first.
pub(crate) fn family(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = (1..5000)
        .map(|number| PathBuf::from(format!("{}.{number}", path.display())))
        .take_while(|path| path.exists())
        .collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

/// What they hold, one after another.
pub(crate) fn everything(path: &Path) -> Vec<u8> {
    family(path)
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect()
}

pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// A pipe as the supervisor makes one: nonblocking at the end that is read.
pub(crate) fn pipe() -> (OwnedFd, fs::File) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK).unwrap();
    (read, write.into())
}

pub(crate) fn put(mut to: &fs::File, bytes: &[u8]) {
    to.write_all(bytes).unwrap();
}

/// Moves all that is in the pipe.
pub(crate) fn splice_all(file: &mut RollingFile, pipe: &OwnedFd) {
    while let mainstay_log::Spliced::Moved(_) = file.splice_from(pipe.as_fd(), 1 << 20).unwrap() {}
}

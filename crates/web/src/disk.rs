//! A disk that runs full: while there is little room left, nothing is changed.
//!
//! A database that meets the end of the disk fails in the middle of something, and a log that does
//! takes the reason with it. So the end is kept away from: what may change something is turned away a
//! little earlier.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_fault::{Class, Fault, Frame, Notify, Verdict};
use mainstay_sys::gauge::{self, Disk};

use crate::report::{Reporter, TARGET};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(5);
const FINGERPRINT: &str = "mainstay-web: disk";

/// What is little: two in a hundred of the disk, and never more than this. Of a large disk two in a
/// hundred would be more than most apps ever write.
const PART: u64 = 50;
const BYTES: u64 = 200_000_000;
const FILES: u64 = 1_000;

/// Whether there is little room. Pure.
#[derive(Debug, Default, PartialEq, Eq)]
struct Room {
    is_scarce: bool,
}

impl Room {
    /// Whether that has changed. Once scarce, it is so until there is twice as much.
    fn see(&mut self, disk: &Disk) -> bool {
        let times = if self.is_scarce { 2 } else { 1 };
        let scarce = disk.free < (disk.total / PART).min(BYTES) * times
            || disk.free_files < (disk.total_files / PART).min(FILES) * times;
        std::mem::replace(&mut self.is_scarce, scarce) != scarce
    }
}

/// The watch over one disk.
pub(crate) struct Watch {
    path: PathBuf,
    room: Room,
    is_full: Arc<AtomicBool>,
    /// The last look at it failed, and that was told.
    is_blind: bool,
}

impl Watch {
    /// Looks for the first time.
    pub(crate) fn begin(path: PathBuf, reporter: &Reporter) -> io::Result<Self> {
        let mut watch = Self {
            room: Room::default(),
            is_full: Arc::default(),
            is_blind: false,
            path,
        };
        let disk = gauge::disk(&watch.path)?;
        watch.see(&disk, reporter);
        Ok(watch)
    }

    /// Whether there is little room.
    pub(crate) fn is_full(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_full)
    }

    /// Looks again and again, in a thread of its own, as long as there is a reporter: a network's
    /// disk can make the look a long one.
    pub(crate) fn run(mut self, reporter: &Arc<Reporter>) -> io::Result<()> {
        let reporter = Arc::downgrade(reporter);
        let run = move || loop {
            std::thread::sleep(PERIOD);
            let Some(reporter) = reporter.upgrade() else {
                return;
            };
            match gauge::disk(&self.path) {
                Ok(disk) => {
                    self.is_blind = false;
                    self.see(&disk, &reporter);
                }
                Err(error) if !self.is_blind => {
                    self.is_blind = true;
                    log::warn!(
                        target: TARGET,
                        "cannot see how much room the disk of {} has: {error}; what was last seen counts",
                        self.path.display()
                    );
                }
                Err(_) => {}
            }
        };
        let thread = std::thread::Builder::new().name("mainstay-disk".to_owned());
        thread.spawn(run).map(drop)
    }

    fn see(&mut self, disk: &Disk, reporter: &Reporter) {
        if !self.room.see(disk) {
            return;
        }
        self.is_full.store(self.room.is_scarce, Ordering::Relaxed);
        let left = format!(
            "the disk of {} has {} MB of {} MB and {} files left",
            self.path.display(),
            disk.free / 1_000_000,
            disk.total / 1_000_000,
            disk.free_files
        );
        if self.room.is_scarce {
            let verdict = Verdict::new(Class::DiskFull).with_notify(Notify::OnChange);
            let text = format!("{left}: requests that change something are turned away");
            let fault = Fault::told(verdict, &text)
                .at(Frame::default())
                .with_fingerprint(FINGERPRINT);
            reporter.hold(fault);
        } else {
            log::info!(target: TARGET, "{left}: requests are taken again");
            reporter.release(FINGERPRINT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;
    const GB: u64 = 1_000 * MB;

    #[test]
    fn when_there_is_little_room() {
        let disk = |total, free, total_files, free_files| Disk {
            total,
            free,
            total_files,
            free_files,
        };
        let of = |total, free| disk(total, free, 0, 0);
        for (name, seen, expected) in [
            ("nothing is known of it", vec![of(0, 0)], vec![false]),
            (
                "a small disk by its part",
                vec![of(GB, 20 * MB), of(GB, 20 * MB - 1)],
                vec![false, true],
            ),
            (
                "a large disk by bytes",
                vec![of(4_000 * GB, 200 * MB), of(4_000 * GB, 199 * MB)],
                vec![false, true],
            ),
            (
                "it ends later than it began",
                vec![
                    of(GB, 0),
                    of(GB, 20 * MB),
                    of(GB, 40 * MB - 1),
                    of(GB, 40 * MB),
                    of(GB, 39 * MB),
                ],
                vec![true, true, true, false, false],
            ),
            (
                "files run out too",
                vec![
                    disk(GB, GB, 1_000_000, 999),
                    disk(GB, GB, 1_000_000, 1_999),
                    disk(GB, GB, 1_000_000, 2_000),
                ],
                vec![true, true, false],
            ),
            (
                "both must be well",
                vec![
                    disk(GB, 0, 100, 0),
                    disk(GB, GB, 100, 0),
                    disk(GB, 0, 100, 50),
                    disk(GB, GB, 100, 50),
                ],
                vec![true, true, true, false],
            ),
        ] {
            let mut room = Room::default();
            let mut was = false;
            for (disk, expected) in seen.iter().zip(expected) {
                let changed = room.see(disk);
                assert_eq!(
                    (room.is_scarce, changed),
                    (expected, expected != was),
                    "{name}: {disk:?}"
                );
                was = expected;
            }
        }
    }
}

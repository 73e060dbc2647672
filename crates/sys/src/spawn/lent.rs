//! Low numbers at which a child finds what it is to have, while it still shares our descriptors.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::{DupFlags, dup3};

use super::prologue::Move;

/// How many there are: the three standard streams, and a few to spare.
const PLACES: usize = 4;
/// A place above this would cost what it is there to save.
const HIGHEST: i32 = 255;

/// Reserved numbers, each a duplicate of `/dev/null` as long as nothing is lent.
struct Places {
    null: OwnedFd,
    all: [OwnedFd; PLACES],
    /// One above the highest of them.
    end: i32,
}

static PLACES_OF_PROCESS: Mutex<Option<Places>> = Mutex::new(None);
/// The kernel does not do it, or the numbers are too high.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

impl Places {
    fn new() -> Option<Self> {
        let null: OwnedFd = (std::fs::File::options().read(true).write(true))
            .open("/dev/null")
            .ok()?
            .into();
        let one = || null.try_clone().ok();
        let all = [one()?, one()?, one()?, one()?];
        let end = all.iter().map(std::os::fd::AsRawFd::as_raw_fd).max()? + 1;
        (end <= HIGHEST + 1).then_some(Self { null, all, end })
    }
}

/// Descriptors that stand at low numbers until this is dropped. One at a time in the process.
pub(super) struct Lent {
    places: MutexGuard<'static, Option<Places>>,
    used: usize,
}

/// Puts the sources of these (source, target) at low numbers; `None` where that cannot be.
pub(super) fn lend(wanted: &[(i32, i32)]) -> Option<Lent> {
    if wanted.len() > PLACES || GIVEN_UP.load(Ordering::Relaxed) {
        return None;
    }
    let mut guard = PLACES_OF_PROCESS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        *guard = Places::new();
        if guard.is_none() {
            give_up();
        }
    }
    let mut lent = Lent {
        places: guard,
        used: 0,
    };
    for (source, _) in wanted {
        // SAFETY: the caller holds it open.
        let source = unsafe { BorrowedFd::borrow_raw(*source) };
        let place = lent.places.as_mut()?.all.get_mut(lent.used)?;
        dup3(source, place, DupFlags::CLOEXEC).ok()?;
        lent.used += 1;
    }
    Some(lent)
}

/// Never tries again in this process.
pub(super) fn give_up() {
    GIVEN_UP.store(true, Ordering::Relaxed);
}

impl Lent {
    /// How they get to their targets, in the order they were lent in.
    pub(super) fn moves(&self, wanted: &[(i32, i32)]) -> Vec<Move> {
        let all = self.places.iter().flat_map(|places| &places.all);
        all.zip(wanted)
            .map(|(place, (_, target))| Move::new(place.as_raw_fd(), *target))
            .collect()
    }

    /// The first number above all of them.
    pub(super) fn end(&self) -> i32 {
        self.places.as_ref().map_or(i32::MAX, |places| places.end)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(places) = self.places.as_mut() else {
            return;
        };
        for place in places.all.iter_mut().take(self.used) {
            if dup3(places.null.as_fd(), place, DupFlags::CLOEXEC).is_err() {
                // What stands there would hold a pipe open for ever: better no places at all.
                *self.places = None;
                return give_up();
            }
        }
    }
}

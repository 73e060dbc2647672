//! Panics: seen by a hook, caught by whoever polls, and never paid for twice.
//!
//! The hook notes where a panic was, and keeps the addresses of its backtrace, once a minute for each
//! place: to look up their names costs a hundred times what a request does, and is done by the thread
//! of the [reporter](crate::report). A panic in a request is not given to the hook that was there
//! before, because that one, the hook of std, would do just that for each.

use std::any::Any;
use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use mainstay_fault::{Fault, Frame, Id};

use crate::report;
use crate::scope::Scope;

/// How often a backtrace is captured at one place, at most.
const PAUSE: Duration = Duration::from_mins(1);
/// How many places are remembered.
const PLACES: usize = 1024;

/// A fault, and the addresses that led to it if they were captured.
pub(crate) struct Seen {
    pub(crate) fault: Fault,
    pub(crate) trace: Option<Backtrace>,
}

impl Seen {
    /// A fault without a backtrace.
    pub(crate) const fn of(fault: Fault) -> Self {
        Self { fault, trace: None }
    }

    fn panic(info: &PanicHookInfo<'_>) -> Self {
        let (fault, is_first) = known(info);
        let trace = is_first.then(Backtrace::force_capture);
        Self { fault, trace }
    }
}

/// Has the hook look on from now on. Does nothing the second time.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let in_scope = Scope::with_current(|scope| scope.saw(Box::new(Seen::panic(info))));
            match in_scope {
                // Without a logger nobody would hear of it.
                Some(()) if log::max_level() > log::LevelFilter::Off => {}
                Some(()) => previous(info),
                None => {
                    previous(info);
                    loose(info);
                }
            }
        }));
    });
}

/// A panic in no request and in no task of ours.
fn loose(info: &PanicHookInfo<'_>) {
    report::report_to_any(|| {
        let Seen { fault, trace } = Seen::panic(info);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        (fault.with("thread", name), trace)
    });
}

/// What is remembered of a place at which panics are.
struct Place {
    /// When a backtrace was last captured.
    last: Instant,
    /// The last fault there, and the hash of what was thrown.
    fault: Fault,
    thrown: u64,
}

/// The fault for a panic, and whether it is the first at its place for a while.
///
/// A flood is mostly one panic again and again: what is told of it is put together once, and has
/// another id each time.
fn known(info: &PanicHookInfo<'_>) -> (Fault, bool) {
    type Places = HashMap<u64, Place, RandomState>;
    static SEEN: LazyLock<Mutex<Places>> = LazyLock::new(Mutex::default);
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let build = || Fault::panic(info.payload(), info.location());
    let Some(place) = info.location() else {
        return (build(), true);
    };
    let key = HASHER.hash_one((place.file(), place.line(), place.column()));
    let thrown = HASHER.hash_one(info.payload_as_str());
    let now = Instant::now();
    let is_old = |place: &Place| now.duration_since(place.last) >= PAUSE;
    let places = || SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = places().get_mut(&key)
        && place.thrown == thrown
    {
        let is_first = is_old(place);
        if is_first {
            place.last = now;
        }
        return (place.fault.clone().with_id(Id::random()), is_first);
    }
    let fault = build();
    let mut places = places();
    if let Some(place) = places.get_mut(&key) {
        let is_first = is_old(place);
        if is_first {
            place.last = now;
        }
        place.thrown = thrown;
        place.fault = fault.clone();
        return (fault, is_first);
    }
    if places.len() >= PLACES {
        places.retain(|_, place| !is_old(place));
    }
    if places.len() >= PLACES {
        return (fault, false);
    }
    let last = now;
    places.insert(
        key,
        Place {
            last,
            fault: fault.clone(),
            thrown,
        },
    );
    (fault, true)
}

/// Runs code of the app in its scope. A panic comes back as what was seen of it.
pub(crate) fn catch<T>(scope: &Scope, run: impl FnOnce() -> T) -> Result<T, Box<Seen>> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let seen = scope.take_seen().unwrap_or_else(|| {
            // One that was resumed calls no hook.
            Box::new(Seen::of(Fault::panic(&*payload, None).at(Frame::default())))
        });
        discard(payload);
        seen
    })
}

/// Drops what was thrown, which can panic too.
fn discard(payload: Box<dyn Any + Send>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
}

/// Runs code that must not fail, and may be the app's: nothing of it if it panics.
pub(crate) fn attempt<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).map_err(discard).ok()
}

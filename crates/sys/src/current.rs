//! A value that every thread looks at all the time, and that is replaced now and then.
//!
//! [`Current::with`] lends what is current. Where the kernel has membarrier(2) that takes four plain
//! loads and stores and no instruction that waits for others: it is the one who replaces the value
//! that has all processors come to an understanding. Each thread says in a mark of its own what it looks at
//! (hazard pointers, M. Michael 2004), and nothing that is marked is dropped.
//!
//! ```
//! use std::sync::Arc;
//! use mainstay_sys::current::Current;
//!
//! let config = Current::new();
//! config.replace(Some(Arc::new("one")));
//! assert_eq!(config.with(|config| config.map(|text| text.len())), Some(3));
//! let before = config.replace(Some(Arc::new("two")));
//! assert_eq!(before.as_deref(), Some(&"one"));
//! ```

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering, compiler_fence, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::thread::{MembarrierCommand, membarrier};

/// A value, or none, that can be replaced while threads look at it.
pub struct Current<T> {
    pointer: AtomicPtr<T>,
    /// Something that was replaced is still looked at.
    lingers: AtomicBool,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    /// What `pointer` points to.
    current: Option<Arc<T>>,
    /// What it pointed to before, and somebody still looks at.
    before: Vec<Arc<T>>,
}

/// What one thread looks at. It is never freed, and used again by another thread. Nothing that other
/// threads write is near it.
#[repr(align(128))]
struct Mark {
    taken: AtomicBool,
    looked_at: AtomicPtr<()>,
    next: Option<&'static Mark>,
}

/// All marks there are, the newest first.
static MARKS: Mutex<Option<&'static Mark>> = Mutex::new(None);

/// How threads and who replaces a value come to see each other's writes.
static FENCES: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
/// By membarrier(2).
const ONE_SIDED: u8 = 1;
/// By a fence on both sides.
const BOTH_SIDES: u8 = 2;

thread_local! {
    static OWN: Own = const { Own(Cell::new(None)) };
}

/// The thread's mark, given back when the thread ends.
struct Own(Cell<Option<&'static Mark>>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(mark) = self.0.take() {
            mark.taken.store(false, Ordering::Release);
        }
    }
}

impl Own {
    #[inline]
    fn mark(&self) -> &'static Mark {
        self.0.get().unwrap_or_else(|| self.take())
    }

    #[cold]
    fn take(&self) -> &'static Mark {
        let mut newest = lock(&MARKS);
        let free = marks(*newest).find(|mark| !mark.taken.load(Ordering::Acquire));
        let mark = free.unwrap_or_else(|| {
            let mark = Box::leak(Box::new(Mark {
                taken: AtomicBool::new(false),
                looked_at: AtomicPtr::new(ptr::null_mut()),
                next: *newest,
            }));
            *newest = Some(mark);
            mark
        });
        mark.taken.store(true, Ordering::Relaxed);
        self.0.set(Some(mark));
        mark
    }
}

fn marks(newest: Option<&'static Mark>) -> impl Iterator<Item = &'static Mark> {
    std::iter::successors(newest, |mark| mark.next)
}

/// Clears the mark, also when what looks panics.
struct Looking(&'static Mark);

impl Drop for Looking {
    #[inline]
    fn drop(&mut self) {
        self.0.looked_at.store(ptr::null_mut(), Ordering::Release);
    }
}

impl<T> Current<T> {
    /// None.
    pub const fn new() -> Self {
        Self {
            pointer: AtomicPtr::new(ptr::null_mut()),
            lingers: AtomicBool::new(false),
            held: Mutex::new(Held {
                current: None,
                before: Vec::new(),
            }),
        }
    }

    /// Lends what is current for as long as `look` takes. It is not dropped meanwhile, and may be
    /// replaced.
    #[inline]
    pub fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        // A thread that is ending has no mark any more; one that looks at something has no second.
        let mark = OWN.try_with(Own::mark).ok();
        let free = mark.filter(|mark| mark.looked_at.load(Ordering::Relaxed).is_null());
        let Some(mark) = free else {
            let current = self.get();
            return look(current.as_deref());
        };
        let looking = Looking(mark);
        let mut pointer = self.pointer.load(Ordering::Acquire);
        loop {
            mark.looked_at.store(pointer.cast(), Ordering::Relaxed);
            if FENCES.load(Ordering::Relaxed) == ONE_SIDED {
                compiler_fence(Ordering::SeqCst);
            } else {
                fence(Ordering::SeqCst);
            }
            let now = self.pointer.load(Ordering::Acquire);
            if now == pointer {
                break;
            }
            pointer = now;
        }
        // SAFETY: it is null, or points into an `Arc` that `held` keeps: it was current after the
        // mark was seen by all (see `replace`), and what is marked is kept.
        let current = unsafe { pointer.as_ref() };
        let result = look(current);
        drop(looking);
        if self.lingers.load(Ordering::Relaxed) {
            self.drop_unused();
        }
        result
    }

    /// What is current, for longer.
    pub fn get(&self) -> Option<Arc<T>> {
        lock(&self.held).current.clone()
    }

    /// Puts another value, or none, in its place. Returns the one before, which may still be looked at:
    /// see [`Current::is_settled`].
    pub fn replace(&self, next: Option<Arc<T>>) -> Option<Arc<T>> {
        find_fences();
        let mut held = lock(&self.held);
        let pointer = next
            .as_ref()
            .map_or(ptr::null_mut(), |next| Arc::as_ptr(next).cast_mut());
        let before = std::mem::replace(&mut held.current, next);
        self.pointer.store(pointer, Ordering::SeqCst);
        if let Some(before) = &before {
            held.before.push(Arc::clone(before));
        }
        // From here on: whoever has marked the old value is seen, and who is not sees the new one.
        if !meet()
            && let Some(before) = &before
        {
            // Somebody may look at it unseen, for all we know.
            let _never_dropped = Arc::into_raw(Arc::clone(before));
        }
        self.sweep(held);
        before
    }

    /// Whether nobody looks any more at anything that was replaced.
    pub fn is_settled(&self) -> bool {
        self.drop_unused();
        !self.lingers.load(Ordering::Relaxed)
    }

    #[cold]
    fn drop_unused(&self) {
        self.sweep(lock(&self.held));
    }

    /// Lets go of what was replaced and is not looked at.
    fn sweep(&self, mut held: MutexGuard<'_, Held<T>>) {
        let newest = *lock(&MARKS);
        let is_looked_at = |value: &Arc<T>| {
            let pointer = Arc::as_ptr(value).cast_mut().cast();
            marks(newest).any(|mark| mark.looked_at.load(Ordering::Acquire) == pointer)
        };
        let (looked_at, unused): (Vec<_>, Vec<_>) = held.before.drain(..).partition(is_looked_at);
        self.lingers.store(!looked_at.is_empty(), Ordering::Relaxed);
        held.before = looked_at;
        // Whatever a value does when it is dropped, it does without the lock.
        drop(held);
        drop(unused);
    }
}

impl<T> Default for Current<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Current").field(&self.get()).finish()
    }
}

/// Asks once whether the kernel helps (membarrier(2), since Linux 4.14).
fn find_fences() {
    if FENCES.load(Ordering::Relaxed) == UNKNOWN {
        let helps = membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
        let found = if helps { ONE_SIDED } else { BOTH_SIDES };
        FENCES.store(found, Ordering::SeqCst);
    }
}

/// A full fence in every thread of the process. Returns whether it was one.
fn meet() -> bool {
    fence(Ordering::SeqCst);
    if FENCES.load(Ordering::Relaxed) != ONE_SIDED {
        return true;
    }
    let met = membarrier(MembarrierCommand::PrivateExpedited).is_ok();
    if !met {
        // A filter of system calls has come between.
        FENCES.store(BOTH_SIDES, Ordering::SeqCst);
    }
    met
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Says when it is gone, and spoils what is read of it then.
    struct Witness {
        number: AtomicUsize,
        again: AtomicUsize,
        alive: Arc<AtomicUsize>,
    }

    impl Witness {
        fn new(number: usize, alive: &Arc<AtomicUsize>) -> Arc<Self> {
            alive.fetch_add(1, Ordering::SeqCst);
            Arc::new(Self {
                number: AtomicUsize::new(number),
                again: AtomicUsize::new(number),
                alive: Arc::clone(alive),
            })
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            self.number.store(usize::MAX, Ordering::SeqCst);
            self.again.store(usize::MAX - 1, Ordering::SeqCst);
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_is_looked_at_is_not_dropped() {
        const ROUNDS: usize = 20_000;
        let alive = Arc::new(AtomicUsize::new(0));
        let current = Current::new();
        current.replace(Some(Witness::new(0, &alive)));
        let ready = Barrier::new(4);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    ready.wait();
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        current.with(|witness| {
                            let witness = witness.unwrap();
                            let number = witness.number.load(Ordering::Relaxed);
                            std::hint::spin_loop();
                            assert_eq!(number, witness.again.load(Ordering::Relaxed));
                            assert!(number >= last, "{number} after {last}");
                            last = number;
                        });
                    }
                });
            }
            ready.wait();
            for number in 1..=ROUNDS {
                let before = current.replace(Some(Witness::new(number, &alive)));
                assert_eq!(before.unwrap().number.load(Ordering::Relaxed), number - 1);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(current.is_settled());
        assert_eq!(alive.load(Ordering::SeqCst), 1, "all but the last one");
        drop(current.replace(None));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        assert!(current.with(|witness| witness.is_none()));
    }

    #[test]
    fn who_looks_longest_drops_it() {
        let alive = Arc::new(AtomicUsize::new(0));
        let current = Current::new();
        current.replace(Some(Witness::new(1, &alive)));
        current.with(|witness| {
            drop(current.replace(Some(Witness::new(2, &alive))));
            assert!(!current.is_settled());
            assert_eq!(witness.unwrap().number.load(Ordering::SeqCst), 1);
            // One inside the other sees what is current now.
            let inner = current.with(|inner| inner.unwrap().number.load(Ordering::SeqCst));
            assert_eq!(inner, 2);
            assert_eq!(alive.load(Ordering::SeqCst), 2);
        });
        assert_eq!(alive.load(Ordering::SeqCst), 1, "without being asked");
        assert!(current.is_settled());
    }

    #[test]
    fn a_panic_ends_the_look() {
        let alive = Arc::new(AtomicUsize::new(0));
        let current = Current::new();
        current.replace(Some(Witness::new(1, &alive)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            current.with(|_| panic!("as it is tested"));
        }));
        assert!(panicked.is_err());
        drop(current.replace(None));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn threads_that_end_leave_their_marks_to_others() {
        let current = Current::new();
        current.replace(Some(Arc::new(7)));
        let count = || marks(*lock(&MARKS)).count();
        let look = || {
            std::thread::scope(|scope| scope.spawn(|| current.with(|seven| *seven.unwrap())).join())
        };
        for _ in 0..200 {
            assert_eq!(look().unwrap(), 7);
        }
        // Tests that run beside this one have marks of their own.
        assert!(count() < 100, "{} marks", count());
    }
}

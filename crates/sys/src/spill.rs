//! Buffers that a dying process can still write out.
//!
//! What waits in memory to be written is lost when the process ends without being asked: by a fatal
//! signal, by `abort`, by a signal whose default is to end. A [`Spill`] is a pair of byte buffers
//! that is also reachable from a signal handler, and knows the descriptor its bytes are meant for.
//! [`pour`] writes what all of them hold, with write(2) alone: no lock, no allocation.
//!
//! One half is filled while the other one is written; which is which is up to the owner, who says so
//! by [`Spill::set_older`]. Each half has one owner who changes it ([`Half`] is not shared), so what
//! a handler sees is always whole: bytes are copied first and counted afterwards.
//!
//! ```
//! let (spill, mut first, _second) = mainstay_sys::spill::pair(4096);
//! assert!(first.append(b"a line\n"));
//! assert_eq!(first.bytes(), b"a line\n");
//! first.discard(2);
//! assert_eq!(first.bytes(), b"line\n");
//! # drop(spill);
//! ```

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// So many pairs can be found by a handler; those beyond are ordinary memory.
const SEATS: usize = 64;
/// How long a handler waits for another thread that is in the middle of a write, in all.
const PATIENCE: Duration = Duration::from_millis(200);

/// The writer of a seat that a handler has claimed. No thread has this number.
const DYING: u32 = u32::MAX;

/// Where a handler finds the pairs.
static PAIRS: [Seat; SEATS] = [const { Seat::new() }; SEATS];
/// A handler is at work: memory stays where it is from now on.
static POURING: AtomicBool = AtomicBool::new(false);

/// A place for one pair. It is never freed, so that a handler may look at any time.
struct Seat {
    taken: AtomicBool,
    descriptor: AtomicI32,
    /// The thread that is writing the older half, 0 for none.
    writer: AtomicU32,
    older: AtomicUsize,
    parts: [Part; 2],
}

struct Part {
    memory: AtomicPtr<u8>,
    start: AtomicUsize,
    end: AtomicUsize,
}

impl Seat {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            descriptor: AtomicI32::new(-1),
            writer: AtomicU32::new(0),
            older: AtomicUsize::new(0),
            parts: [const { Part::new() }; 2],
        }
    }
}

impl Part {
    const fn new() -> Self {
        Self {
            memory: AtomicPtr::new(ptr::null_mut()),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
        }
    }
}

/// What both halves share.
struct Shared {
    /// A seat in [`PAIRS`], or one of its own where these are all taken.
    seat: &'static Seat,
    capacity: usize,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.seat.descriptor.store(-1, Ordering::SeqCst);
        for part in &self.seat.parts {
            part.end.store(0, Ordering::SeqCst);
            part.start.store(0, Ordering::SeqCst);
            let memory = part.memory.swap(ptr::null_mut(), Ordering::SeqCst);
            if !memory.is_null() && !POURING.load(Ordering::SeqCst) {
                let slice = ptr::slice_from_raw_parts_mut(memory, self.capacity);
                // SAFETY: `pair` made it by `Box::into_raw` with this length, the halves are gone,
                // and no handler runs.
                drop(unsafe { Box::from_raw(slice) });
            }
        }
        self.seat.writer.store(0, Ordering::SeqCst);
        self.seat.taken.store(false, Ordering::SeqCst);
    }
}

/// The pair as a whole: where its bytes are meant for, and which half is older.
pub struct Spill(Arc<Shared>);

/// One of the two buffers. It has a fixed size and does not move.
pub struct Half {
    shared: Arc<Shared>,
    which: usize,
    /// That of the seat, which is never freed.
    part: &'static Part,
}

/// Makes two empty buffers of this many bytes each. Memory that was never filled costs nothing.
///
/// The first 64 pairs of a process can be found by [`pour`]; [`Spill::is_covered`] tells.
pub fn pair(capacity: usize) -> (Spill, Half, Half) {
    let free = PAIRS.iter().find(|seat| {
        seat.taken
            .compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    });
    // A seat nobody can find is leaked: it is a few words, and pairs are made once per sink.
    let seat = free.unwrap_or_else(|| Box::leak(Box::new(Seat::new())));
    let shared = Arc::new(Shared { seat, capacity });
    for part in &seat.parts {
        // Zeroed pages come from the kernel as they are touched.
        let memory = vec![0; capacity].into_boxed_slice();
        part.memory
            .store(Box::into_raw(memory).cast(), Ordering::SeqCst);
    }
    seat.older.store(0, Ordering::SeqCst);
    let half = |which| Half {
        shared: Arc::clone(&shared),
        which,
        part: &seat.parts[which],
    };
    let (first, second) = (half(0), half(1));
    (Spill(shared), first, second)
}

impl Spill {
    /// Whether a handler can find this pair.
    pub fn is_covered(&self) -> bool {
        PAIRS.iter().any(|seat| ptr::eq(seat, self.0.seat))
    }

    /// Where the bytes are meant for. The descriptor must stay open until another or none is named.
    pub fn set_descriptor(&self, descriptor: Option<BorrowedFd<'_>>) {
        let number = descriptor.map_or(-1, |fd| fd.as_raw_fd());
        self.0.seat.descriptor.store(number, Ordering::Release);
    }

    /// Says which half holds the older bytes.
    pub fn set_older(&self, half: &Half) {
        self.0.seat.older.store(half.which, Ordering::Release);
    }

    /// Says that this thread begins to write the older half. Does not come back when the process is
    /// dying and somebody else is about to write it.
    pub fn begin_writing(&self) {
        let own = this_thread();
        let seat = &self.0.seat;
        while let Err(other) =
            seat.writer
                .compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst)
        {
            if other == own {
                return;
            }
            std::thread::park_timeout(Duration::from_secs(1));
        }
    }

    /// Says that this thread has ended doing so, and that what it wrote is discarded.
    pub fn end_writing(&self) {
        let own = this_thread();
        let writer = &self.0.seat.writer;
        // A handler that ran in this very thread keeps the seat.
        let _ = writer.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl Half {
    /// How many bytes it holds.
    #[inline]
    pub fn len(&self) -> usize {
        let part = self.part;
        part.end.load(Ordering::Relaxed) - part.start.load(Ordering::Relaxed)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> &[u8] {
        let part = self.part;
        let (start, length) = (part.start.load(Ordering::Relaxed), self.len());
        let memory = part.memory.load(Ordering::Relaxed);
        // SAFETY: `start..start + length` lies within the allocation and was written before `end`
        // was set; nobody but the owner of this half, who is borrowed here, changes it.
        unsafe { std::slice::from_raw_parts(memory.wrapping_add(start), length) }
    }

    /// Adds bytes at the end; false if there is no room for all of them, and then none is added.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let part = self.part;
        let end = part.end.load(Ordering::Relaxed);
        if bytes.len() > self.shared.capacity - end {
            let start = part.start.load(Ordering::Relaxed);
            if start == 0 || bytes.len() > self.shared.capacity - (end - start) {
                return false;
            }
            self.move_down();
            return self.append(bytes);
        }
        let memory = part.memory.load(Ordering::Relaxed);
        // SAFETY: there is room behind `end`, where no reader looks yet; a borrowed slice does not
        // overlap a buffer that is borrowed exclusively.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory.wrapping_add(end), bytes.len()) };
        part.end.store(end + bytes.len(), Ordering::Release);
        true
    }

    /// Moves what is there to the beginning of the memory. A handler that comes meanwhile sees none.
    fn move_down(&mut self) {
        let part = self.part;
        let (start, length) = (part.start.load(Ordering::Relaxed), self.len());
        let memory = part.memory.load(Ordering::Relaxed);
        part.end.store(start, Ordering::SeqCst);
        // SAFETY: both ranges lie within the allocation; `copy` allows them to overlap.
        unsafe { ptr::copy(memory.wrapping_add(start), memory, length) };
        part.start.store(0, Ordering::SeqCst);
        part.end.store(length, Ordering::SeqCst);
    }

    /// Drops so many bytes from the front, at most all.
    pub fn discard(&mut self, bytes: usize) {
        let part = self.part;
        let length = self.len();
        if bytes >= length {
            self.clear();
        } else {
            part.start.fetch_add(bytes, Ordering::Release);
        }
    }

    /// Drops all bytes.
    pub fn clear(&mut self) {
        let part = self.part;
        // In this order a handler never sees an end before the start.
        part.end
            .store(part.start.load(Ordering::Relaxed), Ordering::SeqCst);
        part.start.store(0, Ordering::SeqCst);
        part.end.store(0, Ordering::SeqCst);
    }

    /// Drops the bytes of these lengths for which `keep` says no; the lengths, one after another, make
    /// up all that is here. A handler that comes meanwhile sees none.
    pub fn retain(&mut self, lengths: impl Iterator<Item = (usize, bool)>) {
        let part = self.part;
        let (start, length) = (part.start.load(Ordering::Relaxed), self.len());
        let memory = part.memory.load(Ordering::Relaxed);
        part.end.store(start, Ordering::SeqCst);
        let (mut from, mut to) = (start, start);
        for (piece, keep) in lengths {
            let piece = piece.min(start + length - from);
            if keep {
                if from != to {
                    // SAFETY: `to <= from` and `from + piece` is at most the old end, so both ranges
                    // lie within the allocation; `copy` allows them to overlap.
                    unsafe { move_within(memory, from, to, piece) };
                }
                to += piece;
            }
            from += piece;
        }
        part.end.store(to, Ordering::SeqCst);
    }
}

/// Copies within one allocation.
///
/// # Safety
/// `from..from + length` and `to..to + length` lie within the allocation at `memory`.
unsafe fn move_within(memory: *mut u8, from: usize, to: usize, length: usize) {
    let (source, target) = (memory.wrapping_add(from), memory.wrapping_add(to));
    // SAFETY: the caller says that both lie within the allocation; `copy` allows them to overlap.
    unsafe { ptr::copy(source, target, length) };
}

/// Writes what all pairs hold to their descriptors, older half first. May be called from a signal
/// handler, and does nothing when called again.
///
/// A thread that is writing at this moment is waited for, 200 milliseconds in all, so that its bytes
/// are not written twice. A descriptor that does not take all is left after the first error.
pub fn pour() {
    if POURING.swap(true, Ordering::SeqCst) {
        return;
    }
    let own = this_thread();
    let mut waited = Duration::ZERO;
    for seat in PAIRS
        .iter()
        .filter(|seat| seat.taken.load(Ordering::SeqCst))
    {
        let step = Duration::from_millis(1);
        loop {
            let claimed =
                seat.writer
                    .compare_exchange(0, DYING, Ordering::SeqCst, Ordering::SeqCst);
            match claimed {
                Err(writer) if writer != own && waited < PATIENCE => {
                    pause(step);
                    waited += step;
                }
                _ => break,
            }
        }
        let descriptor = seat.descriptor.load(Ordering::SeqCst);
        if descriptor < 0 {
            continue;
        }
        let older = seat.older.load(Ordering::SeqCst) & 1;
        for which in [older, 1 - older] {
            let part = &seat.parts[which];
            let memory = part.memory.load(Ordering::SeqCst);
            let end = part.end.load(Ordering::SeqCst);
            let start = part.start.load(Ordering::SeqCst);
            if memory.is_null() || start >= end {
                continue;
            }
            // SAFETY: the range was written before `end` was set, and memory is not freed while
            // `POURING` is set.
            let bytes =
                unsafe { std::slice::from_raw_parts(memory.wrapping_add(start), end - start) };
            if !write_all(descriptor, bytes) {
                break;
            }
        }
    }
}

fn write_all(descriptor: RawFd, mut bytes: &[u8]) -> bool {
    // Files are not opened for appending, because splice(2) refuses that: their end is looked up.
    // SAFETY: a number; where it is no seekable file this fails and changes nothing.
    unsafe { libc::lseek(descriptor, 0, libc::SEEK_END) };
    while !bytes.is_empty() {
        // SAFETY: the range is readable for its whole length.
        let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = &bytes[written.min(bytes.len())..],
            Ok(_) => return false,
            Err(_) => {
                if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    return false;
                }
            }
        }
    }
    true
}

/// Sleeps without anything that a handler may not do.
fn pause(time: Duration) {
    let wanted = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    // SAFETY: the time outlives the call; what is left of it is not asked for.
    unsafe { libc::nanosleep(&raw const wanted, ptr::null_mut()) };
}

fn this_thread() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// The signals that end a process with what it held: faults, `abort`, and being asked to end.
const FATAL: [libc::c_int; 8] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGTERM,
    libc::SIGHUP,
];

/// Has a function called when the process ends by itself: by `exit`, or by returning from `main`. The
/// first function given stays.
pub fn at_exit(function: fn()) -> io::Result<()> {
    if AT_EXIT.set(function).is_err() {
        return Ok(());
    }
    // SAFETY: the function has the signature asked for and lives as long as the program.
    if unsafe { libc::atexit(call_at_exit) } != 0 {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory));
    }
    Ok(())
}

static AT_EXIT: OnceLock<fn()> = OnceLock::new();

extern "C" fn call_at_exit() {
    if let Some(function) = AT_EXIT.get() {
        // A panic must not cross into C.
        let _ = std::panic::catch_unwind(function);
    }
}

/// Has [`pour`] called when the process is ended by one of the signals SEGV, BUS, FPE, ILL, ABRT, SYS,
/// TERM and HUP, as far as nobody else handles or ignores them. The signal then does what it does by
/// default, so that who waits for the process learns the truth. Signals that get a handler later are
/// that handler's.
pub fn pour_when_killed() -> io::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    for signal in FATAL {
        // SAFETY: all zero is a valid sigaction.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a null action only asks; the place for the answer outlives the call.
        let asked = unsafe { libc::sigaction(signal, ptr::null(), &raw mut before) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // The runtime handles SEGV and BUS to tell a stack overflow; it sets them back to the default
        // and returns when it was none, and the fault comes again.
        let is_default = before.sa_sigaction == libc::SIG_DFL;
        let is_runtime = matches!(signal, libc::SIGSEGV | libc::SIGBUS);
        if !is_default && !is_runtime {
            continue;
        }
        // SAFETY: all zero is a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
        // On the alternate stack where there is one (a stack that overflowed cannot be used), once.
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND | libc::SA_NODEFER;
        // SAFETY: the set is a place to write to.
        unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
        // SAFETY: the handler only does what a handler may do; the old action is not asked for.
        let set = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn handler(signal: libc::c_int) {
    // SAFETY: no arguments, cannot fail.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: it is this thread's own as long as the thread lives.
    let errno = unsafe { *place };
    pour();
    // SAFETY: as above.
    unsafe { *place = errno };
    // The action is the default one again (SA_RESETHAND). A fault comes again by itself, but a signal
    // that was sent does not.
    // SAFETY: a signal to ourselves.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_half_holds_what_is_appended_until_it_is_discarded() {
        let (_spill, mut half, other) = pair(10);
        assert!(half.append(b"0123456"));
        assert!(!half.append(b"789a"), "too much for the room");
        assert_eq!(half.bytes(), b"0123456");
        half.discard(3);
        assert_eq!(half.bytes(), b"3456");
        assert!(half.append(b"789abc"), "what was discarded is room again");
        assert_eq!(half.bytes(), b"3456789abc");
        assert!(!half.append(b"d"));
        half.retain([(2, false), (3, true), (4, false), (1, true)].into_iter());
        assert_eq!(half.bytes(), b"567c");
        half.discard(99);
        assert!(half.is_empty());
        assert!(half.append(b"0123456789"));
        assert!(other.is_empty());
    }

    #[test]
    fn seats_are_free_again() {
        for _ in 0..3 * SEATS {
            let (spill, mut half, _) = pair(16);
            assert!(half.append(b"x"));
            drop(spill);
            assert_eq!(half.bytes(), b"x", "a half keeps the memory");
        }
    }

    #[test]
    fn more_pairs_than_seats_work_all_the_same() {
        let mut all: Vec<_> = (0..SEATS + 3).map(|_| pair(4)).collect();
        assert!(all.iter().any(|(spill, _, _)| !spill.is_covered()));
        for (_, half, _) in &mut all {
            assert!(half.append(b"ab"));
            assert_eq!(half.bytes(), b"ab");
        }
    }

    /// In a process of its own, since a process pours once.
    #[test]
    fn what_is_held_is_written_when_the_process_ends() {
        let me = std::env::current_exe().unwrap();
        let ways = ["exit", "abort", "fault", "terminated", "overflow"];
        for way in ways {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let status = std::process::Command::new(&me)
                .args(["--exact", "spill::tests::child", "--nocapture"])
                .env("MAINSTAY_SPILL_TEST", way)
                .stdin(writer)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "older\nnewer\n", "{way}: {status}");
            assert_eq!(status.success(), way == "exit", "{way}: {status}");
        }
    }

    #[test]
    fn child() {
        let Some(way) = std::env::var_os("MAINSTAY_SPILL_TEST") else {
            return;
        };
        let (spill, mut first, mut second) = pair(100);
        assert!(first.append(b"newer\n"));
        assert!(second.append(b"older\n"));
        spill.set_older(&second);
        spill.set_descriptor(Some(std::io::stdin().as_fd()));
        pour_when_killed().unwrap();
        at_exit(pour).unwrap();
        match way.to_str() {
            Some("exit") => std::process::exit(0),
            Some("abort") => std::process::abort(),
            Some("terminated") => {
                // SAFETY: a signal to ourselves.
                unsafe { libc::raise(libc::SIGTERM) };
            }
            Some("overflow") => {
                fn deeper(depth: u64) -> u64 {
                    let room = std::hint::black_box([depth; 512]);
                    if depth == u64::MAX {
                        return 0;
                    }
                    deeper(depth + 1) + room[7]
                }
                std::hint::black_box(deeper(0));
            }
            _ => {
                let nowhere: *const u8 = std::ptr::without_provenance(8);
                // SAFETY: it is not sound, and meant to be: the fault is what is tested.
                std::hint::black_box(unsafe { nowhere.read_volatile() });
            }
        }
        unreachable!("the process has ended");
    }
}

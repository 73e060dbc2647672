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
//! An owner can [`open`](Half::open) a half: then any thread may add to it by [`Spill::push`], without
//! a lock, until the owner [`shuts`](Half::shut) it again. A thread that adds takes its place by one
//! atomic addition, copies its bytes there, and leaves a note that says so; the owner waits for the
//! notes when it shuts. On most machines it is memory that another processor has written last which
//! makes threads wait; here that is one line for each piece, and the bytes.
//!
//! ```
//! let (spill, mut first, _second) = mainstay_sys::spill::pair(4096, 4096);
//! assert!(first.append(b"a line\n"));
//! assert_eq!(first.bytes(), b"a line\n");
//! first.discard(2);
//! assert_eq!(first.bytes(), b"line\n");
//! # drop(spill);
//! ```

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::time::Duration;

pub use dying::{at_exit, pour, pour_when_killed};

mod dying;

/// So many pairs can be found by a handler; those beyond are ordinary memory.
const SEATS: usize = 64;
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
    /// The half that threads may add to, [`NONE`] for none. Only a hint: [`Gate::state`] decides.
    open: AtomicUsize,
    /// So many bytes of a half may be filled by those who share it, and so many notes there are.
    limit: AtomicUsize,
    slots: AtomicUsize,
    parts: [Part; 2],
    gates: [Gate; 2],
}

const NONE: usize = usize::MAX;

struct Part {
    memory: AtomicPtr<u8>,
    notes: AtomicPtr<Note>,
    start: AtomicUsize,
    /// The end of what the owner knows of, and how many pieces it knows of, packed as in [`Gate`]: a
    /// handler sees both change at once.
    known: AtomicU64,
}

/// Where those who share a half meet. It has its lines of memory for itself.
#[repr(align(128))]
struct Gate {
    /// The number of pieces above the end in bytes, or both as they last were with [`SHUT`].
    state: AtomicU64,
    /// What `state` was before the first piece that found no room, plus one; 0 for none.
    exact: AtomicU64,
}

/// Only the owner may add.
const SHUT: u64 = 1 << 63;
/// Below this bit of a state is the end in bytes, above it the number of pieces.
const PIECE: u64 = 1 << 36;
/// The largest half that can be shared, and the largest piece: however many threads find no room at
/// once, the bytes they add never reach [`PIECE`].
const MOST_SHARED: usize = 1 << 34;
const LARGEST_SHARED: usize = 1 << 20;

const fn pack(end: usize, pieces: usize) -> u64 {
    end as u64 | (pieces as u64) << PIECE.trailing_zeros()
}

const fn unpack(state: u64) -> (usize, usize) {
    let pieces = (state & !SHUT) >> PIECE.trailing_zeros();
    ((state & (PIECE - 1)) as usize, pieces as usize)
}

/// What a thread leaves when its piece is whole.
struct Note {
    /// What it has to say of the piece.
    words: [AtomicU64; 2],
    /// Where the piece begins, and above that one more than its length; 0 as long as it is not whole.
    place: AtomicU64,
}

impl Note {
    #[inline]
    fn leave(&self, words: [u64; 2], offset: usize, length: usize) {
        self.words[0].store(words[0], Ordering::Relaxed);
        self.words[1].store(words[1], Ordering::Relaxed);
        self.place
            .store(pack(offset, length + 1), Ordering::Release);
    }

    /// Where the piece begins, and its length, if it is whole.
    fn place(&self) -> Option<(usize, usize)> {
        match unpack(self.place.load(Ordering::Acquire)) {
            (_, 0) => None,
            (offset, above) => Some((offset, above - 1)),
        }
    }
}

impl Seat {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            descriptor: AtomicI32::new(-1),
            writer: AtomicU32::new(0),
            older: AtomicUsize::new(0),
            open: AtomicUsize::new(NONE),
            limit: AtomicUsize::new(0),
            slots: AtomicUsize::new(0),
            parts: [const { Part::new() }; 2],
            gates: [const { Gate::new() }; 2],
        }
    }
}

impl Gate {
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(SHUT),
            exact: AtomicU64::new(0),
        }
    }
}

impl Part {
    const fn new() -> Self {
        Self {
            memory: AtomicPtr::new(ptr::null_mut()),
            notes: AtomicPtr::new(ptr::null_mut()),
            start: AtomicUsize::new(0),
            known: AtomicU64::new(0),
        }
    }

    #[inline]
    fn end(&self) -> usize {
        unpack(self.known.load(Ordering::Relaxed)).0
    }

    fn pieces(&self) -> usize {
        unpack(self.known.load(Ordering::Relaxed)).1
    }

    /// The note with this number, which is less than the number of slots.
    #[inline]
    fn note(&self, number: usize) -> *const Note {
        self.notes.load(Ordering::Relaxed).wrapping_add(number)
    }
}

/// What both halves share.
struct Shared {
    /// A seat in [`PAIRS`], or one of its own where these are all taken.
    seat: &'static Seat,
    capacity: usize,
    slots: usize,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.seat.descriptor.store(-1, Ordering::SeqCst);
        for part in &self.seat.parts {
            part.known.store(0, Ordering::SeqCst);
            part.start.store(0, Ordering::SeqCst);
            let memory = part.memory.swap(ptr::null_mut(), Ordering::SeqCst);
            let notes = part.notes.swap(ptr::null_mut(), Ordering::SeqCst);
            if POURING.load(Ordering::SeqCst) {
                continue;
            }
            if !memory.is_null() {
                let slice = ptr::slice_from_raw_parts_mut(memory, self.capacity);
                // SAFETY: `pair` made it by `Box::into_raw` with this length, the halves are gone,
                // and no handler runs.
                drop(unsafe { Box::from_raw(slice) });
            }
            if !notes.is_null() {
                let slice = ptr::slice_from_raw_parts_mut(notes.cast::<[u64; 3]>(), self.slots);
                // SAFETY: as above.
                drop(unsafe { Box::from_raw(slice) });
            }
        }
        self.seat.writer.store(0, Ordering::SeqCst);
        self.seat.taken.store(false, Ordering::SeqCst);
    }
}

/// The pair as a whole: where its bytes are meant for, which half is older, and the way in for those
/// who share the half that is open.
pub struct Spill(Arc<Shared>);

/// One of the two buffers. It has a fixed size and does not move.
pub struct Half {
    shared: Arc<Shared>,
    which: usize,
    /// That of the seat, which is never freed.
    part: &'static Part,
    is_open: bool,
}

/// Makes two empty buffers of this many bytes each, of which threads that share one may fill at most
/// `limit`. Memory that was never filled costs nothing.
///
/// The first 64 pairs of a process can be found by [`pour`]; [`Spill::is_covered`] tells.
pub fn pair(capacity: usize, limit: usize) -> (Spill, Half, Half) {
    let free = PAIRS.iter().find(|seat| {
        seat.taken
            .compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    });
    // A seat nobody can find is leaked: it is a few words, and pairs are made once per sink.
    let seat = free.unwrap_or_else(|| Box::leak(Box::new(Seat::new())));
    let slots = (capacity / 16).clamp(64, 1 << 26);
    let shared = Arc::new(Shared {
        seat,
        capacity,
        slots,
    });
    for (part, gate) in seat.parts.iter().zip(&seat.gates) {
        // Zeroed pages come from the kernel as they are touched.
        let memory = vec![0; capacity].into_boxed_slice();
        part.memory
            .store(Box::into_raw(memory).cast(), Ordering::SeqCst);
        let notes = vec![[0_u64; 3]; slots].into_boxed_slice();
        part.notes
            .store(Box::into_raw(notes).cast(), Ordering::SeqCst);
        gate.state.store(SHUT, Ordering::SeqCst);
        gate.exact.store(0, Ordering::SeqCst);
    }
    seat.older.store(0, Ordering::SeqCst);
    seat.open.store(NONE, Ordering::SeqCst);
    seat.limit
        .store(limit.min(capacity).min(MOST_SHARED), Ordering::SeqCst);
    seat.slots.store(slots, Ordering::SeqCst);
    let half = |which| Half {
        shared: Arc::clone(&shared),
        which,
        part: &seat.parts[which],
        is_open: false,
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

    /// Adds a piece at the end of the half that is open, with two words of whoever calls about it.
    /// Returns how many bytes were before it in that half; `None`, and nothing is added, if none is open
    /// or there is no room: then it is the owner who can help.
    ///
    /// Any number of threads may call it at once. It waits for nobody.
    #[inline]
    pub fn push(&self, bytes: &[u8], words: [u64; 2]) -> Option<usize> {
        let seat = self.0.seat;
        let which = seat.open.load(Ordering::Relaxed);
        if which == NONE || bytes.len() > LARGEST_SHARED {
            return None;
        }
        let (part, gate) = (&seat.parts[which & 1], &seat.gates[which & 1]);
        let (limit, slots) = (
            seat.limit.load(Ordering::Relaxed),
            seat.slots.load(Ordering::Relaxed),
        );
        let before = gate.state.fetch_add(pack(bytes.len(), 1), Ordering::SeqCst);
        if before & SHUT != 0 {
            // What was added to it is forgotten when the half is opened again.
            return None;
        }
        let (end, number) = unpack(before);
        if end + bytes.len() > limit || number >= slots {
            if end <= limit && number <= slots {
                // The first that finds no room: from now on nobody does, and nobody else knows where
                // the last piece ends.
                gate.exact.store(before + 1, Ordering::Release);
            }
            return None;
        }
        let memory = part.memory.load(Ordering::Relaxed);
        let note = part.note(number);
        // SAFETY: the range lies below the limit, which is at most the capacity. The addition gave it to
        // this thread alone: the owner looks at it when the note says that it is whole, and waits for
        // that before it shuts the half; the memory lives as long as this pair, which is borrowed.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory.wrapping_add(end), bytes.len()) };
        // SAFETY: the number is less than the number of slots; for the rest, as above.
        let note = unsafe { &*note };
        note.leave(words, end, bytes.len());
        Some(end)
    }
}

impl Half {
    /// Lets all threads add to it by [`Spill::push`]. Nothing may have been discarded from its front.
    /// Returns whether it is open now.
    pub fn open(&mut self) -> bool {
        let part = self.part;
        let known = part.known.load(Ordering::Relaxed);
        let (end, pieces) = unpack(known);
        let seat = self.shared.seat;
        let room = end < seat.limit.load(Ordering::Relaxed) && pieces < self.shared.slots;
        if !room || part.start.load(Ordering::Relaxed) != 0 || self.shared.capacity > MOST_SHARED {
            return false;
        }
        let gate = &seat.gates[self.which];
        gate.exact.store(0, Ordering::Relaxed);
        self.is_open = true;
        gate.state.store(known, Ordering::SeqCst);
        if seat.open.load(Ordering::Relaxed) != self.which {
            seat.open.store(self.which, Ordering::Relaxed);
        }
        true
    }

    /// Takes it back for the owner alone, and waits for who is in the middle of adding. Tells the words
    /// of every piece that was added meanwhile, in order.
    ///
    /// With `for_long` threads that would add are told so before they try.
    pub fn shut(&mut self, for_long: bool, mut added: impl FnMut([u64; 2])) {
        let seat = self.shared.seat;
        let gate = &seat.gates[self.which];
        if self.is_open {
            self.is_open = false;
            // What it was stays readable: a handler may need it before all notes are there.
            let state = gate.state.fetch_or(SHUT, Ordering::SeqCst);
            let limit = seat.limit.load(Ordering::Relaxed);
            let (end, pieces) = unpack(state);
            let state = if end <= limit && pieces <= self.shared.slots {
                state
            } else {
                let mut patience = Patience::default();
                loop {
                    let exact = gate.exact.load(Ordering::Acquire);
                    if exact != 0 {
                        break exact - 1;
                    }
                    patience.wait();
                }
            };
            self.collect(state, &mut added);
            gate.state.store(SHUT, Ordering::SeqCst);
        }
        if for_long && seat.open.load(Ordering::Relaxed) != NONE {
            seat.open.store(NONE, Ordering::Relaxed);
        }
    }

    /// Waits for the notes of all pieces up to this state.
    fn collect(&mut self, state: u64, added: &mut impl FnMut([u64; 2])) {
        let part = self.part;
        let known = part.pieces();
        let (_, pieces) = unpack(state);
        for number in known..pieces {
            // SAFETY: the number is less than the number of slots, and the notes live as long as we.
            let note = unsafe { &*part.note(number) };
            let mut patience = Patience::default();
            while note.place().is_none() {
                patience.wait();
            }
            added(
                note.words
                    .each_ref()
                    .map(|word| word.load(Ordering::Relaxed)),
            );
        }
        // A handler takes what is known from here, and what is not from the notes behind it.
        part.known.store(state, Ordering::SeqCst);
        for number in known..pieces {
            // SAFETY: as above.
            let note = unsafe { &*part.note(number) };
            note.place.store(0, Ordering::Relaxed);
        }
    }

    /// How many bytes it holds, without those that others have added since it was opened.
    #[inline]
    pub fn len(&self) -> usize {
        self.part.end() - self.part.start.load(Ordering::Relaxed)
    }

    /// Whether it holds nothing, without what others have added since it was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// The bytes it holds, without those that others have added since it was opened.
    pub fn bytes(&self) -> &[u8] {
        let part = self.part;
        let (start, length) = (part.start.load(Ordering::Relaxed), self.len());
        let memory = part.memory.load(Ordering::Relaxed);
        // SAFETY: `start..start + length` lies within the allocation and was written before the end
        // was known; nobody but the owner of this half, who is borrowed here, changes it. Others add
        // behind it.
        unsafe { std::slice::from_raw_parts(memory.wrapping_add(start), length) }
    }

    /// Adds a piece at the end; false if there is no room for all of it, and then none is added. The
    /// half must not be open.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        debug_assert!(!self.is_open, "the end is not known");
        let part = self.part;
        let (end, pieces) = unpack(part.known.load(Ordering::Relaxed));
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
        // A number of which there is no note only means that it can't be opened.
        let pieces = (pieces + 1).min(self.shared.slots);
        part.known
            .store(pack(end + bytes.len(), pieces), Ordering::Release);
        true
    }

    /// Changes where the bytes end. The number of pieces stays: it is the number of the next note.
    fn set_end(&mut self, end: usize) {
        let pieces = self.part.pieces();
        self.part.known.store(pack(end, pieces), Ordering::SeqCst);
    }

    /// Moves what is there to the beginning of the memory. A handler that comes meanwhile sees none.
    fn move_down(&mut self) {
        let part = self.part;
        let (start, length) = (part.start.load(Ordering::Relaxed), self.len());
        let memory = part.memory.load(Ordering::Relaxed);
        self.set_end(start);
        // SAFETY: both ranges lie within the allocation; `copy` allows them to overlap.
        unsafe { ptr::copy(memory.wrapping_add(start), memory, length) };
        part.start.store(0, Ordering::SeqCst);
        self.set_end(length);
    }

    /// Drops so many bytes from the front, at most all. The half must not be open.
    pub fn discard(&mut self, bytes: usize) {
        debug_assert!(!self.is_open, "others know where they add");
        let part = self.part;
        let length = self.len();
        if bytes >= length {
            self.clear();
        } else {
            part.start.fetch_add(bytes, Ordering::Release);
        }
    }

    /// Drops all bytes. The half must not be open.
    pub fn clear(&mut self) {
        debug_assert!(!self.is_open, "others know where they add");
        let part = self.part;
        // In this order a handler never sees an end before the start.
        self.set_end(part.start.load(Ordering::Relaxed));
        part.start.store(0, Ordering::SeqCst);
        part.known.store(0, Ordering::SeqCst);
    }

    /// Drops the bytes of these lengths for which `keep` says no; the lengths, one after another, make
    /// up all that is here. A handler that comes meanwhile sees none. The half must not be open.
    pub fn retain(&mut self, lengths: impl Iterator<Item = (usize, bool)>) {
        debug_assert!(!self.is_open, "others know where they add");
        let part = self.part;
        let (start, length) = (part.start.load(Ordering::Relaxed), self.len());
        let memory = part.memory.load(Ordering::Relaxed);
        self.set_end(start);
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
        self.set_end(to);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // Nobody adds any more to what nobody writes.
        self.shut(true, |_| ());
    }
}

/// Waiting for a thread that has a few instructions left to do, if it runs.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn wait(&mut self) {
        self.0 += 1;
        match self.0 {
            ..64 => std::hint::spin_loop(),
            64..128 => std::thread::yield_now(),
            _ => pause(Duration::from_micros(50)),
        }
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_half_holds_what_is_appended_until_it_is_discarded() {
        let (_spill, mut half, other) = pair(10, 10);
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
    fn what_threads_add_is_there_once_and_whole() {
        const THREADS: u64 = 4;
        const PIECES: u64 = 20_000;
        // Small, so that it is found full all the time.
        let (spill, mut half, _) = pair(2000, 1800);
        let running = std::sync::atomic::AtomicU64::new(THREADS);
        let mut words = Vec::new();
        let mut bytes = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (spill, running) = (&spill, &running);
                scope.spawn(move || {
                    for number in 0..PIECES {
                        let length = usize::try_from((thread * 31 + number * 7) % 90).unwrap();
                        let piece = vec![b'a' + u8::try_from(thread).unwrap(); length];
                        while spill.push(&piece, [thread, number]).is_none() {
                            std::thread::yield_now();
                        }
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
            let mut round = 0;
            loop {
                let last = running.load(Ordering::SeqCst) == 0;
                round += 1;
                half.shut(round % 3 == 0, |note| words.push(note));
                bytes.extend_from_slice(half.bytes());
                half.clear();
                if last {
                    break;
                }
                // Its owner adds, too, between two times.
                if round % 2 == 0 {
                    assert!(half.append(b"zz"));
                    words.push([THREADS, 2]);
                }
                assert!(half.open());
                std::thread::yield_now();
            }
        });
        let mut next = [0; 4];
        let mut rest = &bytes[..];
        for [thread, number] in words {
            let (length, byte) = if thread == THREADS {
                (2, b'z')
            } else {
                let expected = &mut next[usize::try_from(thread).unwrap()];
                assert_eq!(number, *expected, "in the order of each thread");
                *expected += 1;
                let length = usize::try_from((thread * 31 + number * 7) % 90).unwrap();
                (length, b'a' + u8::try_from(thread).unwrap())
            };
            let (piece, after) = rest.split_at(length);
            assert!(piece.iter().all(|found| *found == byte), "{piece:?}");
            rest = after;
        }
        assert!(rest.is_empty());
        assert_eq!(next, [PIECES; 4]);
    }

    #[test]
    fn a_half_that_is_shut_or_full_takes_nothing() {
        let (spill, mut half, _) = pair(100, 10);
        assert_eq!(spill.push(b"a", [0, 0]), None, "it was never opened");
        assert!(half.append(b"ab"));
        assert!(half.open());
        assert_eq!(spill.push(b"cdef", [1, 2]), Some(2));
        assert_eq!(spill.push(b"ghijk", [3, 4]), None, "more than the limit");
        assert_eq!(
            spill.push(b"g", [3, 4]),
            None,
            "nobody knows where it would be"
        );
        let mut words = Vec::new();
        half.shut(false, |note| words.push(note));
        assert_eq!(half.bytes(), b"abcdef");
        assert_eq!(words, [[1, 2]]);
        assert_eq!(spill.push(b"g", [3, 4]), None);
        assert!(half.open());
        assert_eq!(spill.push(b"g", [3, 4]), Some(6));
        half.shut(true, |note| words.push(note));
        assert_eq!(half.bytes(), b"abcdefg");
        half.discard(1);
        assert!(!half.open(), "something is gone from its front");
        half.clear();
        assert!(half.append(b"0123456789"));
        assert!(!half.open(), "nobody would find room");
        assert_eq!(words.len(), 2);
    }

    #[test]
    fn seats_are_free_again() {
        for _ in 0..3 * SEATS {
            let (spill, mut half, _) = pair(16, 16);
            assert!(half.append(b"x"));
            drop(spill);
            assert_eq!(half.bytes(), b"x", "a half keeps the memory");
        }
    }

    #[test]
    fn more_pairs_than_seats_work_all_the_same() {
        let mut all: Vec<_> = (0..SEATS + 3).map(|_| pair(4, 4)).collect();
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
        let ways = [
            "exit",
            "abort",
            "fault",
            "terminated",
            "overflow",
            "shutting",
        ];
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
        let (spill, mut first, mut second) = pair(100, 100);
        assert!(first.append(b"new"));
        assert!(first.open());
        assert_eq!(spill.push(b"er", [0, 0]), Some(3));
        first.shut(false, |_| ());
        assert!(first.open());
        assert_eq!(
            spill.push(b"\n", [0, 0]),
            Some(5),
            "of this only a note knows"
        );
        assert!(second.append(b"older\n"));
        spill.set_older(&second);
        spill.set_descriptor(Some(std::io::stdin().as_fd()));
        pour_when_killed().unwrap();
        at_exit(pour).unwrap();
        match way.to_str() {
            Some("exit") => std::process::exit(0),
            Some("abort") => std::process::abort(),
            Some("shutting") => first.shut(false, |_| {
                // SAFETY: a signal to ourselves.
                unsafe { libc::raise(libc::SIGTERM) };
            }),
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

//! What a dying process does: what is held is written out.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{PAIRS, POURING, Seat, pause, this_thread, unpack};

/// How long a handler waits for another thread that is in the middle of a write, in all.
const PATIENCE: Duration = Duration::from_millis(200);

/// The writer of a seat that a handler has claimed. No thread has this number.
const DYING: u32 = u32::MAX;

/// Writes what all pairs hold to their descriptors, older half first. May be called from a signal
/// handler, and does nothing when called again.
///
/// A thread that is writing at this moment is waited for, 200 milliseconds in all, so that its bytes
/// are not written twice, and one that is adding a piece for a moment. A descriptor that does not take
/// all is left after the first error.
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
            if !pour_half(seat, which, descriptor) {
                break;
            }
        }
    }
}

/// Writes one half: what its owner knows of, and then what others have added. Returns whether the
/// descriptor took all.
fn pour_half(seat: &Seat, which: usize, descriptor: RawFd) -> bool {
    /// So often 50 microseconds for pieces that are not whole.
    const PATIENCE: u32 = 20;
    let part = &seat.parts[which];
    let memory = part.memory.load(Ordering::SeqCst);
    if memory.is_null() || part.notes.load(Ordering::SeqCst).is_null() {
        return true;
    }
    let write = |start: usize, end: usize| {
        // SAFETY: the range was written before it was said to be whole, and memory is not freed while
        // `POURING` is set.
        let bytes = unsafe { std::slice::from_raw_parts(memory.wrapping_add(start), end - start) };
        write_all(descriptor, bytes)
    };
    let slots = seat.slots.load(Ordering::SeqCst);
    let mut patience = PATIENCE;
    let mut next = 0;
    let mut written = part.start.load(Ordering::SeqCst);
    loop {
        // The owner may go on meanwhile, and take over what the notes say.
        let (end, pieces) = unpack(part.known.load(Ordering::SeqCst));
        next = next.max(pieces);
        if written < end {
            if !write(written, end) {
                return false;
            }
            written = end;
            continue;
        }
        let state = seat.gates[which].state.load(Ordering::SeqCst);
        let (_, last) = unpack(state);
        if next >= last.min(slots) {
            return true;
        }
        // SAFETY: the number is less than the number of slots, and notes are not freed while `POURING`
        // is set.
        let note = unsafe { &*part.note(next) };
        if let Some((offset, length)) = note.place() {
            if written <= offset && length > 0 && !write(offset, offset + length) {
                return false;
            }
            written = written.max(offset + length);
            next += 1;
        } else if patience > 0 {
            patience -= 1;
            pause(Duration::from_micros(50));
        } else {
            // It may be the thread that this handler has interrupted.
            next += 1;
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

//! System calls as a process that shares our memory may make them: straight to the kernel, no
//! allocation, no lock, no thread-local but `errno`, which belongs to a thread that is suspended
//! meanwhile. The C library's own functions will not do: its `setuid` and its like want to tell all
//! threads, and would tell ours.
//!
//! Errors are plain errno numbers.

use std::convert::Infallible;
use std::ffi::CStr;

use libc::{c_char, c_int, c_long};

use crate::limits::Number;

type Result<T> = std::result::Result<T, c_int>;

/// One system call. Arguments beyond the given ones are zero.
///
/// # Safety
/// Pointers among the arguments must be valid for what the call does with them.
unsafe fn call<const N: usize>(number: c_long, given: [usize; N]) -> Result<usize> {
    let mut args = [0; 5];
    for (place, value) in args.iter_mut().zip(given) {
        *place = value;
    }
    // SAFETY: syscall(3) takes register-sized words; what they mean is the caller's promise.
    let returned = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
    if returned == -1 {
        // SAFETY: no condition, it gives the address of this thread's errno.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: that address is always valid.
        Err(unsafe { *errno })
    } else {
        Ok(usize::try_from(returned).unwrap_or(0))
    }
}

/// An int as the kernel expects it in a register: sign-extended.
fn word(value: c_int) -> usize {
    (value as isize).cast_unsigned()
}

/// A descriptor number that a call returned; the kernel gives no others.
fn descriptor(value: usize) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}

/// An array of strings as `execve` wants it: with a zero byte at the end of each and a null pointer at
/// its own. All are in one piece of memory.
pub(super) struct Strings {
    bytes: Vec<u8>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// One string of each item, whose parts are joined. `None` when there is a zero byte in one.
    pub(super) fn new<'a, const N: usize>(
        strings: impl ExactSizeIterator<Item = [&'a [u8]; N]> + Clone,
    ) -> Option<Self> {
        let total = strings.clone().flatten().map(<[u8]>::len).sum::<usize>() + strings.len();
        let mut bytes = Vec::with_capacity(total);
        let mut starts = Vec::with_capacity(strings.len());
        for parts in strings {
            starts.push(bytes.len());
            for part in parts {
                if part.contains(&0) {
                    return None;
                }
                bytes.extend_from_slice(part);
            }
            bytes.push(0);
        }
        let pointers = (starts.iter().filter_map(|start| bytes.get(*start..)))
            .map(|string| string.as_ptr().cast())
            .chain([std::ptr::null()])
            .collect();
        Some(Self { bytes, pointers })
    }
}

/// Becomes the program; returns only the reason why not.
pub(super) fn execute(program: &CStr, args: &Strings, env: &Strings) -> c_int {
    debug_assert_eq!(
        (args.bytes.last(), env.bytes.last().unwrap_or(&0)),
        (Some(&0), &0)
    );
    let args = args.pointers.as_ptr().expose_provenance();
    let env = env.pointers.as_ptr().expose_provenance();
    // SAFETY: a C string and two arrays of C strings that end with null, all borrowed over the
    // call.
    match unsafe {
        call(
            libc::SYS_execve,
            [program.as_ptr().expose_provenance(), args, env],
        )
    } {
        Err(errno) => errno,
        Ok(_) => 0,
    }
}

pub(super) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: no pointers. Without exit handlers: those are the parent's.
        let _: Result<usize> = unsafe { call(libc::SYS_exit_group, [word(code)]) };
    }
}

/// Best effort: who writes here has nobody else to tell.
pub(super) fn write(fd: c_int, bytes: &[u8]) {
    // SAFETY: the pointer and length of a borrowed slice.
    let _ = unsafe {
        call(
            libc::SYS_write,
            [word(fd), bytes.as_ptr().expose_provenance(), bytes.len()],
        )
    };
}

/// A close-on-exec duplicate at a number of at least `least`.
pub(super) fn duplicate_above(fd: c_int, least: c_int) -> Result<c_int> {
    // SAFETY: no pointers.
    unsafe {
        call(
            libc::SYS_fcntl,
            [word(fd), word(libc::F_DUPFD_CLOEXEC), word(least)],
        )
    }
    .map(descriptor)
}

/// A duplicate at this number that survives `execve`. The two must differ.
pub(super) fn duplicate_to(fd: c_int, target: c_int) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_dup3, [word(fd), word(target)]) }.map(drop)
}

/// Closes `first` to `last`, both included; nothing when `first` is greater. Linux 5.9, and a
/// sandbox may refuse it.
pub(super) fn close_range(first: c_int, last: c_int) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: no pointers; this process uses none of those descriptors any more.
    unsafe { call(libc::SYS_close_range, [word(first), word(last)]) }.map(drop)
}

/// Has a table of descriptors of its own from now on, with those below `first` in it. Only these are
/// copied: the cost does not grow with what the parent has open. Linux 5.9.
pub(super) fn unshare_and_close(first: c_int) -> Result<()> {
    let flags = libc::CLOSE_RANGE_UNSHARE as usize;
    // SAFETY: no pointers; it is the table of this process alone that the closing is done in.
    unsafe {
        call(
            libc::SYS_close_range,
            [word(first), word(c_int::MAX), flags],
        )
    }
    .map(drop)
}

pub(super) fn close(fd: c_int) {
    // SAFETY: no pointers. An error leaves it closed too, close(2).
    let _ = unsafe { call(libc::SYS_close, [word(fd)]) };
}

pub(super) fn open_directory(path: &CStr) -> Result<c_int> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let args = [
        word(libc::AT_FDCWD),
        path.as_ptr().expose_provenance(),
        word(flags),
    ];
    // SAFETY: a borrowed C string.
    unsafe { call(libc::SYS_openat, args) }.map(descriptor)
}

/// A buffer for directory entries, aligned as they are.
#[repr(align(8))]
pub(super) struct Entries(pub(super) [u8; 2048]);

/// Fills the buffer with directory entries (`linux_dirent64`) and says how many bytes; 0 at the
/// end.
pub(super) fn list_directory(fd: c_int, buffer: &mut Entries) -> Result<usize> {
    let bytes = buffer.0.len();
    let args = [word(fd), buffer.0.as_mut_ptr().expose_provenance(), bytes];
    // SAFETY: the pointer and size of a buffer that is ours to write.
    unsafe { call(libc::SYS_getdents64, args) }.map(|filled| filled.min(bytes))
}

pub(super) fn start_session() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setsid, []) }.map(drop)
}

/// `rlimit64` has the same two fields on all architectures.
pub(super) fn set_limit(resource: Number, soft: u64, hard: u64) -> Result<()> {
    let value = [soft, hard];
    // SAFETY: a pointer to the structure, which outlives the call; null for the old value.
    unsafe {
        call(
            libc::SYS_prlimit64,
            [0, resource as usize, value.as_ptr().expose_provenance()],
        )
    }
    .map(drop)
}

pub(super) fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the length and pointer of a borrowed slice of gid_t.
    unsafe {
        call(
            libc::SYS_setgroups,
            [groups.len(), groups.as_ptr().expose_provenance()],
        )
    }
    .map(drop)
}

/// Real, effective and saved.
pub(super) fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setresgid, [gid as usize; 3]) }.map(drop)
}

/// Real, effective and saved.
pub(super) fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_setresuid, [uid as usize; 3]) }.map(drop)
}

pub(super) fn give_up_new_privileges() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_prctl, [word(libc::PR_SET_NO_NEW_PRIVS), 1]) }.map(drop)
}

/// Cannot fail with a signal that exists.
pub(super) fn die_with_parent() {
    let signal = word(libc::SIGKILL);
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_prctl, [word(libc::PR_SET_PDEATHSIG), signal]) };
}

/// Cannot fail.
pub(super) fn parent() -> c_int {
    // SAFETY: no pointers.
    let found = unsafe { call(libc::SYS_getppid, []) };
    found
        .ok()
        .and_then(|pid| c_int::try_from(pid).ok())
        .unwrap_or(-1)
}

/// Cannot fail.
pub(super) fn set_umask(mask: u32) {
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_umask, [mask as usize]) };
}

pub(super) fn change_directory(path: &CStr) -> Result<()> {
    // SAFETY: a borrowed C string.
    unsafe { call(libc::SYS_chdir, [path.as_ptr().expose_provenance()]) }.map(drop)
}

/// What nothing can be: shows that a function only returns on failure.
pub(super) type Never = Infallible;

//! Children that nobody waits for: orphans that come to us because we are a subreaper or the first
//! process.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::call::{Whom, check, wait_id};
use crate::child::ExitStatus;

/// Held for reading from before a child exists until it is in [`OURS`]; held for writing while
/// strangers are reaped.
static GATE: RwLock<()> = RwLock::new(());

/// The pids of all [`Child`](crate::Child) values that are our children and not reaped.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn ours() -> MutexGuard<'static, BTreeSet<i32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds off the reaping of strangers while a child is made.
pub(crate) struct Spawning {
    _gate: RwLockReadGuard<'static, ()>,
}

pub(crate) fn spawning() -> Spawning {
    Spawning {
        _gate: GATE.read().unwrap_or_else(PoisonError::into_inner),
    }
}

impl Spawning {
    /// From now on this pid is one of ours.
    #[expect(clippy::unused_self, reason = "the guard must be held")]
    pub(crate) fn register(&self, pid: i32) {
        ours().insert(pid);
    }
}

/// Its handle is gone and it is a stranger now.
pub(crate) fn unregister(pid: i32) {
    ours().remove(&pid);
}

/// Tries to reap, and takes the pid out if that gave a status. Both under one lock: the number is
/// free from the moment of the reaping, and the next child to get it must not be taken out in its
/// place.
pub(crate) fn unregister_if<T>(
    pid: i32,
    reap: impl FnOnce() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut ours = ours();
    let status = reap()?;
    if status.is_some() {
        ours.remove(&pid);
    }
    Ok(status)
}

/// Makes orphaned descendants our children instead of those of the first process
/// (`PR_SET_CHILD_SUBREAPER`), so that they can be found and reaped. Holds for this process, not
/// for those it starts.
pub fn set_child_subreaper() -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_CHILD_SUBREAPER,
            1_usize,
            0_usize,
            0_usize,
            0_usize,
        )
    })
    .map(drop)
}

/// Reaps children that have ended and belong to nobody, and says who they were and how they ended.
///
/// Processes behind a living [`Child`](crate::Child) of this crate, from any thread, are never
/// taken. `known` names others that must not be: children of `std::process::Command`, whose owner
/// waits for them itself. Call it on `SIGCHLD`; it never waits for a process. `known` must not
/// start one: that waits for us.
pub fn reap_strangers(known: impl Fn(i32) -> bool) -> io::Result<Vec<(i32, ExitStatus)>> {
    let _gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
    let stays = |pid| ours().contains(&pid) || known(pid);
    let mut reaped = Vec::new();
    // Looking without taking shows one ended child at a time, always the same one until it is
    // taken.
    loop {
        let pid = match wait_id(Whom::Any, libc::WNOHANG | libc::WNOWAIT) {
            Ok(Some((pid, _))) => pid,
            Ok(None) => return Ok(reaped),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(reaped),
            Err(error) => return Err(error),
        };
        if stays(pid) {
            break;
        }
        reaped.extend(take(pid)?);
    }
    // One that stays hides those behind it, so go through the list of all children.
    for pid in children() {
        if !stays(pid) {
            reaped.extend(take(pid)?);
        }
    }
    Ok(reaped)
}

fn take(pid: i32) -> io::Result<Option<(i32, ExitStatus)>> {
    match wait_id(Whom::Pid(pid), libc::WNOHANG) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        other => other,
    }
}

/// The pids of our children, of all threads. Empty where the kernel does not list them
/// (`CONFIG_PROC_CHILDREN`); then the hidden strangers are reaped by a later call, once the one in
/// front of them has been.
fn children() -> Vec<i32> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

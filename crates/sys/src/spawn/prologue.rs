//! What the new process does between its birth and the program: system calls, and nothing else.
//!
//! This code runs in a process that may share our memory while our other threads go on (see the
//! module above). It must not allocate, lock, panic, unwind, use thread-locals or call C library
//! functions that do; every step is a system call of [`raw`].

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::mem::offset_of;

use libc::c_int;

use super::raw::{self, Strings};
use crate::error::Stage;
use crate::limits::Number;
use crate::signals::{reset_all_handlers, set_raw_mask};

/// All the child needs, put together beforehand.
pub(super) struct Plan<'a> {
    pub(super) program: &'a CStr,
    pub(super) args: Strings,
    pub(super) env: Strings,
    pub(super) cwd: Option<&'a CStr>,
    pub(super) umask: Option<u32>,
    pub(super) identity: Option<IdentityPlan<'a>>,
    pub(super) limits: &'a [LimitPlan],
    pub(super) moves: Vec<Move>,
    /// The closed ranges below the highest target that are to be closed, see [`gaps`].
    pub(super) gaps: &'a Gaps,
    pub(super) session: bool,
    pub(super) no_new_privs: bool,
    /// The process to die with: the one that starts it.
    pub(super) parent: Option<c_int>,
    pub(super) list_descriptors: bool,
    /// The descriptors are still those of the parent; from this number on the child needs none of
    /// them.
    pub(super) unshare_from: Option<c_int>,
    /// The close-on-exec pipe that a failure is told through where memory is not shared.
    pub(super) report: Option<c_int>,
    /// Where it is told otherwise.
    pub(super) failure: Cell<Option<Failure>>,
}

pub(super) struct IdentityPlan<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: &'a [u32],
}

pub(super) struct LimitPlan {
    pub(super) resource: Number,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// A descriptor on its way to its number.
pub(super) struct Move {
    source: c_int,
    pub(super) target: c_int,
    /// Where it is kept in between, above all targets.
    held: Cell<c_int>,
}

impl Move {
    pub(super) fn new(source: c_int, target: c_int) -> Self {
        Self {
            source,
            target,
            held: Cell::new(-1),
        }
    }
}

/// Which descriptor numbers lie between the targets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gaps {
    /// Inclusive ranges, ascending.
    between: Vec<(c_int, c_int)>,
    /// The first number above all targets.
    above: c_int,
}

impl Gaps {
    fn is_target(&self, number: c_int) -> bool {
        let mut named = number < self.above;
        for &(first, last) in &self.between {
            named &= number < first || number > last;
        }
        named
    }
}

/// The gaps between the targets; `None` when a target is negative, named twice or the highest
/// number there is.
pub(super) fn gaps(targets: &[c_int]) -> Option<Gaps> {
    let mut sorted = targets.to_vec();
    sorted.sort_unstable();
    let mut between = Vec::new();
    let mut next = 0;
    for &target in &sorted {
        if target < next {
            return None;
        }
        if target > next {
            between.push((next, target - 1));
        }
        next = target.checked_add(1)?;
    }
    Some(Gaps {
        between,
        above: next,
    })
}

/// The step that failed, a number that says more about it, and errno.
pub(super) type Failure = (Stage, u32, c_int);

/// No number says more.
pub(super) const NO_DETAIL: u32 = u32::MAX;

/// The table of descriptors could not be unshared; nothing else was done.
pub(super) const STILL_SHARED: u32 = u32::MAX - 1;

pub(super) const REPORT_BYTES: usize = 12;

fn encode((stage, detail, errno): Failure) -> [u8; REPORT_BYTES] {
    let (a, b, c) = (
        (stage as u32).to_ne_bytes(),
        detail.to_ne_bytes(),
        errno.to_ne_bytes(),
    );
    [
        a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3],
    ]
}

/// (stage, detail, errno) from the bytes the child wrote.
pub(super) fn decode(bytes: [u8; REPORT_BYTES]) -> (u32, u32, c_int) {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = bytes;
    (
        u32::from_ne_bytes([a0, a1, a2, a3]),
        u32::from_ne_bytes([b0, b1, b2, b3]),
        c_int::from_ne_bytes([c0, c1, c2, c3]),
    )
}

/// The life of the child. Never returns: it becomes the program, or tells why not and ends with
/// 127.
pub(super) extern "C" fn main(plan: *mut c_void) -> c_int {
    // SAFETY: the parent passes a pointer to its Plan and keeps it until we have left its memory.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    // Out of the way of all targets, and close-on-exec as before.
    let report = plan
        .report
        .map(|report| raw::duplicate_above(report, plan.gaps.above).unwrap_or(report));
    let Err(failure) = carry_out(plan, report);
    match report {
        Some(report) => raw::write(report, &encode(failure)),
        None => plan.failure.set(Some(failure)),
    }
    raw::exit(127)
}

/// The steps, in the order that each needs: descriptors before limits (a low nofile limit would
/// forbid the numbers), limits before the user (only root raises hard ones), groups before the
/// group before the user (root's rights go with the user), directory and program as the user (so
/// that they are refused to whom they should be), signals last (a signal from now on ends the
/// child, which is what the sender wants).
fn carry_out(plan: &Plan<'_>, report: Option<c_int>) -> Result<raw::Never, Failure> {
    let at = |stage, detail| move |errno| (stage, detail, errno);

    // Before anything else: until then every change would be one to the parent's.
    if let Some(first) = plan.unshare_from {
        raw::unshare_and_close(first).map_err(at(Stage::Descriptors, STILL_SHARED))?;
    }
    reset_all_handlers();
    if plan.session {
        raw::start_session().map_err(at(Stage::Session, NO_DETAIL))?;
    }
    place_descriptors(plan, report)?;
    for (index, limit) in (0..).zip(plan.limits) {
        raw::set_limit(limit.resource, limit.soft, limit.hard).map_err(at(Stage::Limits, index))?;
    }
    if let Some(identity) = &plan.identity {
        raw::set_groups(identity.groups).map_err(at(Stage::Groups, NO_DETAIL))?;
        raw::set_gid(identity.gid).map_err(at(Stage::Gid, identity.gid))?;
        raw::set_uid(identity.uid).map_err(at(Stage::Uid, identity.uid))?;
    }
    if plan.no_new_privs {
        raw::give_up_new_privileges().map_err(at(Stage::NoNewPrivs, NO_DETAIL))?;
    }
    if let Some(mask) = plan.umask {
        raw::set_umask(mask);
    }
    if let Some(cwd) = plan.cwd {
        raw::change_directory(cwd).map_err(at(Stage::Chdir, NO_DETAIL))?;
    }
    // After the user, whose change takes it off again.
    if let Some(parent) = plan.parent {
        raw::die_with_parent();
        if raw::parent() != parent {
            // It was killed before that, and nobody is left to be told.
            raw::exit(127);
        }
    }
    set_raw_mask(&0, None);
    Err((
        Stage::Exec,
        NO_DETAIL,
        raw::execute(plan.program, &plan.args, &plan.env),
    ))
}

/// Moves each descriptor to its number and closes all others.
///
/// Sources and targets may overlap in any way, so all sources go above all targets first.
fn place_descriptors(plan: &Plan<'_>, report: Option<c_int>) -> Result<(), Failure> {
    let at = |number: c_int| move |errno| (Stage::Descriptors, number.cast_unsigned(), errno);

    for entry in &plan.moves {
        entry
            .held
            .set(raw::duplicate_above(entry.source, plan.gaps.above).map_err(at(entry.target))?);
    }
    for entry in &plan.moves {
        raw::duplicate_to(entry.held.get(), entry.target).map_err(at(entry.target))?;
    }
    if plan.list_descriptors || close_ranges(plan.gaps, report).is_err() {
        close_listed(plan.gaps, report).map_err(|errno| (Stage::Descriptors, NO_DETAIL, errno))?;
    }
    Ok(())
}

fn close_ranges(gaps: &Gaps, report: Option<c_int>) -> Result<(), c_int> {
    for &(first, last) in &gaps.between {
        raw::close_range(first, last)?;
    }
    let mut first = gaps.above;
    if let Some(report) = report {
        raw::close_range(first, report.wrapping_sub(1))?;
        first = report.wrapping_add(1);
    }
    raw::close_range(first, c_int::MAX)
}

/// Closes what `/proc/self/fd` lists and is not to stay.
///
/// Not a loop up to the limit: that may be 2^30, and descriptors may be open above a limit that was
/// lowered later. Where `/proc` is missing too this fails, and with it the start: leaking
/// descriptors is no fallback.
fn close_listed(gaps: &Gaps, report: Option<c_int>) -> Result<(), c_int> {
    let listing = raw::open_directory(c"/proc/self/fd")?;
    let mut buffer = raw::Entries([0; 2048]);
    loop {
        let filled = raw::list_directory(listing, &mut buffer)?;
        if filled == 0 {
            break;
        }
        let mut rest = buffer.0.get(..filled).unwrap_or_default();
        while let Some((number, following)) = first_entry(rest) {
            rest = following;
            if let Some(number) = number
                && Some(number) != report
                && number != listing
                && !gaps.is_target(number)
            {
                // The numbers come in ascending order, so closing does not disturb the listing.
                raw::close(number);
            }
        }
    }
    // May itself sit in a gap below the targets.
    raw::close(listing);
    Ok(())
}

/// The number that the name of the first directory entry spells (`None` for `.` and `..`), and the
/// entries behind it.
fn first_entry(bytes: &[u8]) -> Option<(Option<c_int>, &[u8])> {
    let length = bytes
        .get(offset_of!(libc::dirent64, d_reclen)..)?
        .first_chunk()?;
    let (entry, rest) = bytes.split_at_checked(usize::from(u16::from_ne_bytes(*length)))?;
    let name = entry.get(offset_of!(libc::dirent64, d_name)..)?;
    let mut number: c_int = 0;
    for byte in name {
        if *byte == 0 {
            return Some((Some(number), rest));
        }
        if !byte.is_ascii_digit() {
            break;
        }
        number = number
            .wrapping_mul(10)
            .wrapping_add(c_int::from(byte.wrapping_sub(b'0')));
    }
    Some((None, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_lie_between_the_targets() {
        for (targets, between, above) in [
            (&[][..], &[][..], 0),
            (&[0, 1, 2], &[], 3),
            (&[2, 0, 1], &[], 3),
            (&[0, 1, 2, 5, 6, 9], &[(3, 4), (7, 8)], 10),
            (&[3], &[(0, 2)], 4),
        ] {
            assert_eq!(
                gaps(targets),
                Some(Gaps {
                    between: between.to_vec(),
                    above
                }),
                "{targets:?}"
            );
        }
        let some = gaps(&[0, 1, 4]).unwrap();
        let named: Vec<c_int> = (0..8).filter(|number| some.is_target(*number)).collect();
        assert_eq!(named, [0, 1, 4]);
        for targets in [&[0, 0][..], &[-1], &[1, 2, 1], &[c_int::MAX]] {
            assert_eq!(gaps(targets), None, "{targets:?}");
        }
    }

    #[test]
    fn a_report_survives_the_pipe() {
        for failure in [
            (Stage::Exec, NO_DETAIL, libc::ENOENT),
            (Stage::Uid, 65534, libc::EPERM),
        ] {
            assert_eq!(
                decode(encode(failure)),
                (failure.0 as u32, failure.1, failure.2)
            );
        }
    }

    #[test]
    fn entries_of_the_listing() {
        let entry = |name: &str| {
            let mut bytes = vec![0_u8; 19];
            bytes.extend(name.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let length = u16::try_from(bytes.len()).unwrap();
            bytes[16..18].copy_from_slice(&length.to_ne_bytes());
            bytes
        };
        let names = [".", "..", "0", "17", "1048575"];
        let bytes = names.map(entry).concat();
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some((number, following)) = first_entry(rest) {
            found.push(number);
            rest = following;
        }
        assert_eq!(found, [None, None, Some(0), Some(17), Some(1_048_575)]);
        assert!(rest.is_empty());
        // Whatever the bytes are, it comes to an end.
        for broken in [&bytes[..10], &bytes[..20], &[0; 40], &[0xff; 40]] {
            assert_eq!(first_entry(broken), None, "{broken:?}");
        }
    }
}

//! Users and groups of this machine, through the C library and so through whatever the machine is
//! set up to ask.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::call::check;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, the primary one usually among them.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Whether we are not root and already have this user and group, so that nothing needs to
    /// change (and nothing could: setgroups(2) is for root even when it changes nothing).
    pub(crate) fn is_ours_already(&self) -> bool {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let (euid, egid) = (effective_uid(), rustix::process::getegid().as_raw());
        euid != 0 && [uid, euid] == [self.uid; 2] && [gid, egid] == [self.gid; 2]
    }
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell; empty when none is named.
    pub shell: PathBuf,
    /// User id, primary group and all supplementary groups, as a login would give them.
    pub identity: Identity,
}

/// The user we act as: 0 is root.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Becomes another user for good, with that user's groups. Only root can, and only before a thread is
/// started (`EBUSY`): the ids belong to a thread, and the others would keep theirs.
pub fn become_user(identity: &Identity) -> io::Result<()> {
    if crate::proc::thread_count()? != 1 {
        return Err(rustix::io::Errno::BUSY.into());
    }
    let groups = &identity.groups;
    // SAFETY: the pointer and the length are of one slice of group ids that outlives the call.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::setgid(identity.gid) })?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::setuid(identity.uid) })?;
    Ok(())
}

/// Finds a user by name, or by number if no name matches (the order of chown(1)). `None` when there
/// is none.
///
/// May read files and ask directory services over the network: not for a thread that must not wait.
pub fn lookup(name: &str) -> io::Result<Option<User>> {
    // A name with a NUL byte cannot exist.
    let Ok(c_name) = CString::new(name) else {
        return Ok(None);
    };
    // SAFETY: the name ends with a NUL, the other pointers come from `entry` and are valid for what
    // they are.
    let by_name = entry(
        |record, buffer, size, found| unsafe {
            libc::getpwnam_r(c_name.as_ptr(), record, buffer, size, found)
        },
        read_user,
    )?;
    match (by_name, number(name)) {
        (None, Some(uid)) => by_uid(uid),
        (user, _) => Ok(user),
    }
}

/// Finds a user by number.
pub fn by_uid(uid: u32) -> io::Result<Option<User>> {
    // SAFETY: the pointers come from `entry` and are valid for what they are.
    entry(
        |record, buffer, size, found| unsafe { libc::getpwuid_r(uid, record, buffer, size, found) },
        read_user,
    )
}

/// The id of a group given by name, or by number if no name matches. `None` when there is no such
/// group.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let Ok(c_name) = CString::new(name) else {
        return Ok(None);
    };
    let gid = |record: &libc::group| Ok(record.gr_gid);
    // SAFETY: the name ends with a NUL, the other pointers come from `entry` and are valid for what
    // they are.
    let by_name = entry(
        |record, buffer, size, found| unsafe {
            libc::getgrnam_r(c_name.as_ptr(), record, buffer, size, found)
        },
        gid,
    )?;
    match (by_name, number(name)) {
        (None, Some(number)) => entry(
            // SAFETY: the pointers come from `entry` and are valid for what they are.
            |record, buffer, size, found| unsafe {
                libc::getgrgid_r(number, record, buffer, size, found)
            },
            gid,
        ),
        (gid, _) => Ok(gid),
    }
}

/// Digits only; the highest number means "no change" to the kernel and is nobody's.
fn number(text: &str) -> Option<u32> {
    let number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?;
    number.filter(|number| *number != u32::MAX)
}

/// One of the `get…_r` calls: the record or null in `found`, strings in a buffer that must be large
/// enough.
fn entry<Raw, T>(
    ask: impl Fn(*mut Raw, *mut libc::c_char, usize, *mut *mut Raw) -> libc::c_int,
    read: impl Fn(&Raw) -> io::Result<T>,
) -> io::Result<Option<T>> {
    const MOST: usize = 16 << 20;
    let mut buffer: Vec<libc::c_char> = vec![0; 4096];
    loop {
        let mut record = MaybeUninit::<Raw>::zeroed();
        let mut found = std::ptr::null_mut();
        match ask(
            record.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        ) {
            0 if found.is_null() => return Ok(None),
            // SAFETY: success and a pointer that is not null: it points to `record`, filled, with
            // its strings in `buffer`; both live until `read` is done.
            0 => return read(unsafe { &*found }).map(Some),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < MOST => buffer.resize(buffer.len() * 4, 0),
            // What "no such entry" looks like differs, see the manual page of getpwnam(3).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn read_user(record: &libc::passwd) -> io::Result<User> {
    // SAFETY: the fields of a found entry are NUL-terminated strings in the buffer of `entry`.
    let name = unsafe { CStr::from_ptr(record.pw_name) };
    // SAFETY: as above.
    let home = unsafe { CStr::from_ptr(record.pw_dir) };
    // SAFETY: as above.
    let shell = unsafe { CStr::from_ptr(record.pw_shell) };
    let path = |text: &CStr| PathBuf::from(OsStr::from_bytes(text.to_bytes()));
    Ok(User {
        name: name.to_string_lossy().into_owned(),
        home: path(home),
        shell: path(shell),
        identity: Identity {
            uid: record.pw_uid,
            gid: record.pw_gid,
            groups: groups_of(name, record.pw_gid)?,
        },
    })
}

/// All groups a login of this user would have, the primary one first.
fn groups_of(name: &CStr, primary: u32) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let room =
            i32::try_from(groups.len()).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))?;
        let mut count = room;
        // SAFETY: the name ends with a NUL, and `count` says how many entries the array has room
        // for.
        let returned = unsafe {
            libc::getgrouplist(name.as_ptr(), primary, groups.as_mut_ptr(), &raw mut count)
        };
        let count = usize::try_from(count).unwrap_or(0);
        if returned >= 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        // Too small; `count` should say how large it must be, but not every C library does.
        groups.resize(count.max(groups.len() * 2), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = lookup("root").unwrap().unwrap();
        assert_eq!(
            (root.name.as_str(), root.identity.uid, root.identity.gid),
            ("root", 0, 0)
        );
        assert!(root.identity.groups.contains(&0));
        assert!(root.home.is_absolute());
        assert_eq!(lookup("0").unwrap(), Some(root.clone()));
        assert_eq!(by_uid(0).unwrap(), Some(root));
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(group("0").unwrap(), Some(0));
    }

    #[test]
    fn who_is_nobody() {
        for name in [
            "",
            "no such user",
            "a\0b",
            "-1",
            "+0",
            "4294967295",
            "4294967294",
            "99999999999",
        ] {
            assert_eq!(lookup(name).unwrap(), None, "{name:?}");
            assert_eq!(group(name).unwrap(), None, "{name:?}");
        }
    }
}

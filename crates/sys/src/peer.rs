//! Who is at the other end of a Unix socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _};

use crate::call::check;

/// Who connected, as the kernel noted it at that moment (`SO_PEERCRED`, unix(7)); it cannot be
/// forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process; `None` when it is in a pid namespace we cannot see into. May have ended since,
    /// so good for the audit log and not for decisions.
    pub pid: Option<i32>,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// The credentials of the peer of a connected Unix stream socket.
pub fn credentials(socket: impl AsFd) -> io::Result<Peer> {
    let mut found = MaybeUninit::<libc::ucred>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of_val(&found)).unwrap_or(0);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the buffer has the size given, which the kernel does not write beyond.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            found.as_mut_ptr().cast(),
            &raw mut size,
        )
    })?;
    // SAFETY: any bytes, zeroes too, are a valid value of it: three integers.
    let found = unsafe { found.assume_init() };
    // An unconnected or foreign kind of socket has nobody: all ones.
    if found.uid == u32::MAX {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Peer {
        pid: (found.pid > 0).then_some(found.pid),
        uid: found.uid,
        gid: found.gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn the_other_end_of_our_own_pair_is_us() {
        let (one, _other) = UnixStream::pair().unwrap();
        let want = Peer {
            pid: i32::try_from(std::process::id()).ok(),
            uid: crate::users::effective_uid(),
            gid: rustix::process::getegid().as_raw(),
        };
        assert_eq!(credentials(&one).unwrap(), want);
    }

    #[test]
    fn nobody_is_an_error_and_not_root() {
        let alone = UnixDatagram::unbound().unwrap();
        assert_eq!(
            credentials(&alone).unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
        assert!(credentials(std::io::stdin()).is_err());
    }
}

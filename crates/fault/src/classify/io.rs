//! Errors of the system.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::class::Class;
use crate::verdict::Verdict;

/// What an error of the system is; `None`: it says nothing.
///
/// A connection that broke is taken for that of a third party, though it may be the client's: a
/// client that leaves is told by the server's own errors, and an outage must not pass for one.
pub(super) fn verdict(error: &io::Error) -> Option<Verdict> {
    let class = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN) => {
            Class::Resources
        }
        // The ports for outgoing connections are used up.
        Some(Errno::ADDRNOTAVAIL) => Class::Resources,
        Some(Errno::NOSPC | Errno::DQUOT) => Class::DiskFull,
        Some(Errno::PERM) => Class::FileDenied,
        _ => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Class::DiskFull,
            ErrorKind::OutOfMemory => Class::Resources,
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::StaleNetworkFileHandle => Class::FileMissing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Class::FileDenied,
            ErrorKind::TimedOut => Class::UpstreamTimeout,
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown => Class::UpstreamConnect,
            _ => return None,
        },
    };
    Some(Verdict::new(class))
}

//! Listening sockets that programs share as their standard input (`FastCGI`).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use mainstay_sys::{Child, users};

use crate::program::{SocketAddress, SocketSpec};

/// SOMAXCONN of Linux since 5.4; the kernel caps what is asked for anyway.
const BACKLOG: u32 = 4096;

/// A socket with its names resolved, so that opening it asks nobody.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    spec: SocketSpec,
    addresses: Vec<SocketAddr>,
    owner: Option<(u32, Option<u32>)>,
}

impl Resolved {
    /// Looks names up: may take time, so not on the supervision thread.
    pub(crate) fn look_up(spec: &SocketSpec) -> io::Result<Self> {
        let addresses = match &spec.address {
            SocketAddress::Tcp { host, port } => {
                let host = if host.is_empty() { "0.0.0.0" } else { host };
                (host, *port).to_socket_addrs()?.collect()
            }
            SocketAddress::Unix(_) => Vec::new(),
        };
        let owner = match &spec.owner {
            None => None,
            Some((user, group)) => {
                let absent = |what: &str, name: &str| {
                    io::Error::new(
                        io::ErrorKind::NotFound,
                        format!("there is no {what} `{name}`"),
                    )
                };
                let found = users::lookup(user)?.ok_or_else(|| absent("user", user))?;
                let group = match group {
                    None => found.identity.gid,
                    Some(name) => users::group(name)?.ok_or_else(|| absent("group", name))?,
                };
                Some((found.identity.uid, Some(group)))
            }
        };
        Ok(Self {
            spec: spec.clone(),
            addresses,
            owner,
        })
    }

    /// Opens the socket and listens.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let backlog = i32::try_from(self.spec.backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX);
        match &self.spec.address {
            SocketAddress::Tcp { .. } => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in &self.addresses {
                    match listen_at(address, backlog) {
                        Ok(fd) => return Ok(fd),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            SocketAddress::Unix(path) => {
                // What an earlier socket left; nothing else is removed.
                if fs::symlink_metadata(path).is_ok_and(|at| at.file_type().is_socket()) {
                    fs::remove_file(path)?;
                }
                let fd = socket_with(
                    AddressFamily::UNIX,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC,
                    None,
                )?;
                bind(&fd, &SocketAddrUnix::new(path)?)?;
                if let Some((uid, gid)) = self.owner {
                    std::os::unix::fs::lchown(path, Some(uid), gid)?;
                }
                fs::set_permissions(path, fs::Permissions::from_mode(self.spec.mode & 0o777))?;
                listen(&fd, backlog)?;
                Ok(fd)
            }
        }
    }
}

fn listen_at(address: &SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    bind(&fd, address)?;
    listen(&fd, backlog)?;
    Ok(fd)
}

/// The open sockets by program: each is there from the first start of one of its processes until
/// the last one is down.
#[derive(Debug, Default)]
pub(crate) struct Sockets(HashMap<String, OwnedFd>);

impl Sockets {
    /// The program's socket, opened if it is not.
    /// The answer says whether it was opened just now.
    pub(crate) fn get(
        &mut self,
        program: &str,
        resolved: &Resolved,
    ) -> io::Result<(OwnedFd, bool)> {
        if let Some(fd) = self.0.get(program) {
            return Ok((fd.try_clone()?, false));
        }
        let fd = resolved.open()?;
        let copy = fd.try_clone()?;
        self.0.insert(program.to_owned(), fd);
        Ok((copy, true))
    }

    /// The socket that a process of an earlier daemon has as its input: what its program goes on
    /// with. Best effort, since the kernel lets only those look who may trace the process.
    pub(crate) fn adopt(&mut self, program: &str, child: &Child) {
        if !self.0.contains_key(program)
            && let Ok(fd) = pidfd_getfd(child, 0, PidfdGetfdFlags::empty())
            && sockopt::socket_acceptconn(&fd).unwrap_or(false)
        {
            self.0.insert(program.to_owned(), fd);
        }
    }

    /// A socket that is open already.
    pub(crate) fn put(&mut self, program: String, fd: OwnedFd) {
        self.0.insert(program, fd);
    }

    /// All that are open.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (String, OwnedFd)> + '_ {
        self.0.drain()
    }

    /// Closes the socket of a program whose processes are all down. Whether there was one.
    pub(crate) fn close(&mut self, program: &str) -> bool {
        self.0.remove(program).is_some()
    }
}

/// Opens the socket for a moment, so that a config that cannot work is refused before it is used.
pub fn try_socket(spec: &SocketSpec) -> io::Result<()> {
    Resolved::look_up(spec)?.open().map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd};

    use super::*;

    fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
        let inode = |fd| rustix::fs::fstat(fd).map(|at| at.st_ino).ok();
        inode(one) == inode(other)
    }

    fn unix(path: std::path::PathBuf) -> SocketSpec {
        SocketSpec {
            address: SocketAddress::Unix(path),
            backlog: Some(3),
            owner: None,
            mode: 0o701,
        }
    }

    #[test]
    fn a_program_has_one_socket_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let resolved = Resolved::look_up(&unix(path.clone())).unwrap();
        let mut sockets = Sockets::default();
        let (one, opened) = sockets.get("p", &resolved).unwrap();
        let (two, again) = sockets.get("p", &resolved).unwrap();
        assert!(opened && !again);
        assert!(same(one.as_fd(), two.as_fd()));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o701
        );
        drop((one, two));
        assert!(sockets.close("p") && !sockets.close("p"));
        assert!(std::os::unix::net::UnixStream::connect(&path).is_err());
        // The file is left, and is no hindrance.
        let _again = sockets.get("p", &resolved).unwrap();
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "data").unwrap();
        assert!(try_socket(&unix(path.clone())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn tcp_listens_and_tells_a_taken_port() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut spec = SocketSpec {
            address: SocketAddress::Tcp {
                host: "127.0.0.1".into(),
                port: taken.local_addr().unwrap().port(),
            },
            backlog: None,
            owner: None,
            mode: 0o700,
        };
        assert_eq!(
            try_socket(&spec).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        spec.address = SocketAddress::Tcp {
            host: "localhost".into(),
            port: 0,
        };
        try_socket(&spec).unwrap();
    }
}

//! The sockets of the HTTP servers: made before the daemon goes to the background, so that whoever
//! starts it sees that one is taken.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use mainstay_supervisord::conf::servers::{Address, HttpServer};
use mainstay_supervisord::server::Socket;
use mainstay_sys::{Errno, errno_name};

/// How often the place is looked at again when somebody else changes it under our hands.
const ATTEMPTS: usize = 5;

/// An open socket.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) server: HttpServer,
    pub(crate) socket: Socket,
    /// The file of a unix socket, which goes with it.
    pub(crate) file: Option<SocketFile>,
}

impl Door {
    /// Another descriptor of the socket.
    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Socket::Unix(socket) => socket.try_clone().map(Into::into),
            Socket::Tcp(socket) => socket.try_clone().map(Into::into),
        }
    }
}

/// The file of a unix socket. Dropping it removes the file, if it still is this one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let about = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity: (about.dev(), about.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(about) = fs::symlink_metadata(&self.path)
            && (about.dev(), about.ino()) == self.identity
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a socket cannot be opened, in the original's words.
pub(crate) fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        return "Another program is already listening on a port that one of our HTTP servers is \
                configured to use.  Shut this program down first before starting supervisord."
            .to_owned();
    }
    match error.raw_os_error() {
        Some(number) => {
            let name = errno_name(Errno::from_raw_os_error(number))
                .map_or_else(|| number.to_string(), str::to_owned);
            format!("Cannot open an HTTP server: socket.error reported errno.{name} ({number})")
        }
        None => format!("Cannot open an HTTP server: {error}"),
    }
}

/// Opens the socket of a server, or takes the one that was left open for it. `tell` gets what the
/// original says on standard error.
pub(crate) fn open(
    server: &HttpServer,
    inherited: Option<OwnedFd>,
    tell: &mut dyn FnMut(&str),
) -> io::Result<Door> {
    let (socket, file) = match (&server.address, inherited) {
        (Address::Tcp { .. }, Some(fd)) => (Socket::Tcp(fd.into()), None),
        (Address::Unix { file, .. }, Some(fd)) => {
            (Socket::Unix(fd.into()), SocketFile::at(file).ok())
        }
        (Address::Tcp { host, port }, None) => (Socket::Tcp(tcp(host, *port)?), None),
        (Address::Unix { file, mode, owner }, None) => {
            let socket = unix(file, *mode, *owner, tell)?;
            (Socket::Unix(socket), Some(SocketFile::at(file)?))
        }
    };
    Ok(Door {
        server: server.clone(),
        socket,
        file,
    })
}

fn tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    // As the original, IPv4 first.
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(addresses.as_slice())
}

/// Whether everybody who reaches this machine reaches the server too, without a password.
pub(crate) fn is_open_to_all(server: &HttpServer) -> bool {
    server.login.is_none() && reaches_others(&server.address)
}

/// Whether others than the users of this machine can connect. A name that nobody knows may be anybody's.
pub(crate) fn reaches_others(address: &Address) -> bool {
    let Address::Tcp { host, port } = address else {
        return false;
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    (host, *port).to_socket_addrs().map_or(true, |mut all| {
        all.any(|address| !address.ip().is_loopback())
    })
}

/// Makes the socket under another name, with its mode and owner, and links it to its place: there is
/// no moment in which the wrong people could connect, and nothing is overwritten.
fn unix(
    file: &Path,
    mode: u32,
    owner: Option<(u32, Option<u32>)>,
    tell: &mut dyn FnMut(&str),
) -> io::Result<UnixListener> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let _ = fs::remove_file(&new);
    let socket = UnixListener::bind(&new)?;
    let result = fs::set_permissions(&new, Permissions::from_mode(mode & 0o777))
        .and_then(|()| match owner {
            Some((uid, gid)) => std::os::unix::fs::lchown(&new, Some(uid), gid),
            None => Ok(()),
        })
        .and_then(|()| claim(&new, file, tell));
    let _ = fs::remove_file(&new);
    result.map(|()| socket)
}

fn claim(new: &Path, file: &Path, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match fs::hard_link(new, file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
        let is_socket = fs::symlink_metadata(file).is_ok_and(|about| about.file_type().is_socket());
        if is_socket && UnixStream::connect(file).is_err() {
            tell(&format!("Unlinking stale socket {}", file.display()));
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            continue;
        }
        break;
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(file: &Path) -> HttpServer {
        HttpServer {
            section: "unix_http_server".into(),
            address: Address::Unix {
                file: file.to_owned(),
                mode: 0o712,
                owner: None,
            },
            login: None,
            insecure: false,
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        let mut said = Vec::new();
        let mut open_it = || open(&server(&file), None, &mut |text| said.push(text.to_owned()));
        let door = open_it().unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o712);
        let taken = open_it().unwrap_err();
        assert!(explain(&taken).starts_with("Another program is already listening"));
        // Its file stays when the process is killed.
        let Door {
            socket,
            file: place,
            ..
        } = door;
        std::mem::drop(socket);
        let door = open_it().unwrap();
        std::mem::drop(place);
        assert!(file.exists(), "the file of another is not removed");
        drop(door);
        assert!(!file.exists());
        assert_eq!(said, [format!("Unlinking stale socket {}", file.display())]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        fs::write(&file, "data").unwrap();
        assert!(open(&server(&file), None, &mut |_| ()).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"data");
    }

    #[test]
    fn who_is_open_to_all() {
        let tcp = |host: &str, login: bool| HttpServer {
            section: "inet_http_server".into(),
            address: Address::Tcp {
                host: host.into(),
                port: 1,
            },
            login: login.then(|| ("u".into(), mainstay_base::Secret::new("p"))),
            insecure: false,
        };
        for (host, login, want) in [
            ("", false, true),
            ("0.0.0.0", false, true),
            ("127.0.0.1", false, false),
            ("localhost", false, false),
            ("", true, false),
        ] {
            assert_eq!(is_open_to_all(&tcp(host, login)), want, "{host} {login}");
        }
    }
}

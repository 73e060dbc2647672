//! Making the control socket appear, and disappear, without a moment at which it could be opened by the
//! wrong people, stand in for somebody else's file, or be taken from a daemon that is alive.
//!
//! The socket is made inside a directory that only we can enter, gets its mode and group there, and is
//! then linked to its place. Linking fails where something exists, so nothing is ever overwritten; a
//! socket that nobody listens on is first moved aside and looked at again. The process's umask plays
//! no part, and no other thread's files are touched by changing it.
//!
//! That directory has a fixed name and is locked, so that of several daemons that start at once each
//! sees what the one before it did. Being ours alone, it cannot be locked by a stranger.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::auth::Policy;
use crate::error::{Error, Kind};

/// Longest path of a socket, in bytes: `sun_path` without its final zero byte (unix(7)).
const LONGEST_PATH: usize = 107;

/// How long whoever holds the path may take to accept before we call them alive but stuck.
const PROBE: Duration = Duration::from_secs(2);

/// How long other daemons that start may keep us waiting.
const TURN: Duration = Duration::from_secs(10);

/// How often the place is looked at again when somebody else changes it under our hands.
const ATTEMPTS: usize = 5;

/// The control socket, listening. Dropping it removes the file, if the file is still this socket.
#[derive(Debug)]
pub struct Listener {
    // Before the socket: while the file is there, somebody listens, so that nobody takes it for stale.
    pub(crate) place: Place,
    pub(crate) socket: UnixListener,
}

impl Listener {
    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Another descriptor of it, to be left open for [`inherit`].
    ///
    /// # Errors
    /// The system's, when no more files can be opened.
    pub fn try_clone_fd(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.socket.try_clone().map(Into::into)
    }

    /// Who is who on this socket, by what the file is now.
    pub fn policy(&self) -> Policy {
        self.place.policy()
    }
}

/// The socket's file: path and identity.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    identity: Identity,
    owner: u32,
    group: Option<u32>,
}

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(meta: &fs::Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }
}

impl Place {
    /// Who is who, by what the file is now. If the file was moved or replaced, its mode proves nothing
    /// about who connected, and only primary groups count.
    pub(crate) fn policy(&self) -> Policy {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) if Identity::of(&meta) == self.identity => Policy {
                own_uid: self.owner,
                group: (meta.mode() & 0o020 != 0).then(|| meta.gid()),
                closed_to_others: meta.mode() & 0o002 == 0,
            },
            _ => Policy {
                own_uid: self.owner,
                group: self.group,
                closed_to_others: false,
            },
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever moved or replaced the file keeps what they put here.
        if let Ok(meta) = fs::symlink_metadata(&self.path)
            && Identity::of(&meta) == self.identity
        {
            // Nothing can be done about a failure here; the next daemon replaces the stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the control socket at `path` with these permission bits (`0o660`) and that group id, and
/// listens.
///
/// A socket there that nobody listens on is replaced. The socket belongs to the user this process runs
/// as. Needs no runtime: a daemon can do this before it detaches, while its errors are still seen.
///
/// # Errors
/// [`Kind::Locked`] if somebody listens there; [`Kind::Usage`] if the path, the mode or what lies there
/// makes it impossible; [`Kind::Denied`] or [`Kind::Failed`] with the system's reason otherwise.
pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Listener, Error> {
    let parent = check(path, mode)?;
    let room = Room::enter(parent, path)?;
    let new = room.path.join("s");
    let socket = listen(&new, &room).map_err(|why| system("make", path, &why))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))
        .map_err(|why| system("set the mode of", path, &why))?;
    if let Some(group) = group {
        chown(&new, None, Some(group)).map_err(|why| {
            system("set the group of", path, &why).help(format!(
                "the daemon's user must be root or a member of the group {group}; \
                 see [control] socket.group"
            ))
        })?;
    }
    let meta = fs::symlink_metadata(&new).map_err(|why| system("look at", path, &why))?;
    claim(path, &new, &room)?;
    let place = Place {
        path: path.to_owned(),
        identity: Identity::of(&meta),
        owner: meta.uid(),
        group: (mode & 0o020 != 0).then(|| meta.gid()),
    };
    Ok(Listener { place, socket })
}

/// Goes on listening on the control socket of the program that this process was before it executed
/// itself anew.
///
/// # Errors
/// [`Kind::Usage`] if there is no socket at `path` any more, so that nobody could reach it.
pub fn inherit(socket: UnixListener, path: &Path, mode: u32) -> Result<Listener, Error> {
    check(path, mode)?;
    let meta = fs::symlink_metadata(path)
        .ok()
        .filter(|meta| meta.file_type().is_socket())
        .ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("the control socket {} is gone", path.display()),
            )
        })?;
    let place = Place {
        path: path.to_owned(),
        identity: Identity::of(&meta),
        owner: meta.uid(),
        group: (mode & 0o020 != 0).then(|| meta.gid()),
    };
    Ok(Listener { place, socket })
}

/// What can be said about path and mode without looking at the disk; returns the directory.
fn check(path: &Path, mode: u32) -> Result<&Path, Error> {
    let shown = path.display();
    if mode & !0o777 != 0 || mode & 0o200 == 0 {
        return Err(Error::new(
            Kind::Usage,
            format!("{mode:#o} cannot be the mode of the control socket {shown}"),
        )
        .help("use permission bits that let at least the owner write, such as 0600 or 0660"));
    }
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "the path of the control socket has {length} bytes, the system allows \
                 {LONGEST_PATH}: {shown}"
            ),
        )
        .help("choose a shorter [control] socket.path"));
    }
    match (path.is_absolute(), path.file_name(), path.parent()) {
        (true, Some(_), Some(parent)) => Ok(parent),
        _ => Err(Error::new(
            Kind::Usage,
            format!("{shown:?} cannot be the path of a control socket"),
        )
        .help("give an absolute path that ends in a file name")),
    }
}

/// Binds in the private directory, by its real name where that is short enough to be one.
fn listen(new: &Path, room: &Room) -> io::Result<UnixListener> {
    if new.as_os_str().len() <= LONGEST_PATH {
        return UnixListener::bind(new);
    }
    // The kernel follows the descriptor's link, so that only this short name has to fit.
    UnixListener::bind(format!("/proc/self/fd/{}/s", room.dir.as_raw_fd()))
}

/// Links the new socket to its place once nothing that matters is there.
fn claim(path: &Path, new: &Path, room: &Room) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        match fs::hard_link(new, path) {
            Ok(()) => return Ok(()),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(system("make", path, &why)),
        }
        let there = match fs::symlink_metadata(path) {
            Ok(there) => there,
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(system("look at", path, &why)),
        };
        if !there.file_type().is_socket() {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "cannot make the control socket {}: there is {} already",
                    path.display(),
                    what_is(there.file_type())
                ),
            )
            .help("it was left as it is; move it away, or choose another [control] socket.path"));
        }
        match probe(path) {
            Probe::Gone => {}
            Probe::Stale => set_aside(path, Identity::of(&there), room)?,
            Probe::Alive(how) => {
                return Err(Error::new(
                    Kind::Locked,
                    format!("cannot listen on {}: {how}", path.display()),
                )
                .help(
                    "stop that daemon first, or give this one another \
                     [control] socket.path",
                ));
            }
        }
    }
    Err(Error::new(
        Kind::Locked,
        format!(
            "cannot listen on {}: somebody else keeps making it",
            path.display()
        ),
    )
    .help("look for another daemon that is starting with the same [control] socket.path"))
}

/// Moves a stale socket into the private directory, where nobody can swap it any more, and makes sure
/// that it is the one that was probed. If it is not, it goes back.
fn set_aside(path: &Path, probed: Identity, room: &Room) -> Result<(), Error> {
    let aside = room.path.join("old");
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(system("set aside the stale socket", path, &why)),
    }
    let meta = fs::symlink_metadata(&aside).map_err(|why| system("look at", path, &why))?;
    if Identity::of(&meta) == probed {
        return fs::remove_file(&aside)
            .map_err(|why| system("remove the stale socket", path, &why));
    }
    // Where even this fails, somebody else's file is at the path, and theirs goes on listening there.
    fs::hard_link(&aside, path).or_else(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(system("put back", path, &why)),
    })
}

enum Probe {
    /// Somebody listens, or may; with what was seen.
    Alive(String),
    /// Nobody listens.
    Stale,
    /// There is nothing there any more.
    Gone,
}

/// Whether somebody listens on the socket at that path.
fn probe(path: &Path) -> Probe {
    // A connect blocks while the queue of the other side is full, and std knows no time limit for it;
    // hence a thread, which ends when the other side accepts or ends.
    let (sender, receiver) = mpsc::channel();
    let target = path.to_owned();
    let started = std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            // The receiver may have given up, which is nobody's loss.
            let _ = sender.send(UnixStream::connect(target).map(who));
        });
    if let Err(why) = started {
        return Probe::Alive(format!(
            "whether somebody listens there could not be tried: {why}"
        ));
    }
    match receiver.recv_timeout(PROBE) {
        Ok(Ok(who)) => Probe::Alive(format!("{who} answers there")),
        Ok(Err(why)) => match why.kind() {
            io::ErrorKind::ConnectionRefused => Probe::Stale,
            io::ErrorKind::NotFound => Probe::Gone,
            _ => Probe::Alive(format!(
                "there is a socket, and connecting to it gives: {why}"
            )),
        },
        Err(_) => Probe::Alive(format!(
            "something listens there and did not accept within {} s",
            PROBE.as_secs()
        )),
    }
}

/// Words for whoever listens at the other end.
fn who(stream: UnixStream) -> String {
    // Seen from the side that connects, the peer's credentials are those of whoever called listen(2),
    // who may have handed the socket on and ended.
    match mainstay_sys::peer::credentials(&stream) {
        Ok(mainstay_sys::peer::Peer {
            pid: Some(pid),
            uid,
            ..
        }) if Path::new(&format!("/proc/{pid}")).exists() => {
            format!("another daemon (pid {pid}, uid {uid})")
        }
        _ => "another daemon".to_owned(),
    }
}

fn what_is(kind: fs::FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "something that is not a socket"
    }
}

fn system(what: &str, path: &Path, why: &io::Error) -> Error {
    let message = format!("cannot {what} the control socket {}: {why}", path.display());
    let parent = path.parent().unwrap_or(path).display();
    match why.kind() {
        io::ErrorKind::NotFound => Error::new(Kind::Failed, message).help(format!(
            "make the directory {parent}, or choose another [control] socket.path"
        )),
        io::ErrorKind::PermissionDenied => Error::new(Kind::Denied, message).help(format!(
            "the daemon's user must be able to write to {parent}; run as root or choose another \
             [control] socket.path"
        )),
        _ => Error::new(Kind::Failed, message).help(format!(
            "look at {parent}: its file system must take sockets and hard links"
        )),
    }
}

/// A directory beside the socket that only we can enter, and only one of us at a time; goes away with
/// all it holds.
struct Room {
    path: PathBuf,
    /// Open and locked (flock(2)): a daemon that is killed in here leaves the directory, not the lock.
    dir: fs::File,
}

impl Room {
    fn enter(parent: &Path, socket: &Path) -> Result<Self, Error> {
        let mut name = std::ffi::OsString::from(".");
        name.push(socket.file_name().unwrap_or_default());
        name.push(".making");
        let path = parent.join(name);
        let started = Instant::now();
        while started.elapsed() < TURN {
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(why) if why.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(system("make", socket, &why));
                }
                Ok(()) | Err(_) => {}
            }
            match Self::lock(&path) {
                Ok(Some(dir)) => {
                    let room = Self { path, dir };
                    room.clear();
                    return Ok(room);
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(why) => {
                    return Err(Error::new(
                        Kind::Failed,
                        format!(
                            "cannot make the control socket {}: {} is in the way: {why}",
                            socket.display(),
                            path.display()
                        ),
                    )
                    .help(
                        "see whose it is, and remove it unless a daemon is just starting there",
                    ));
                }
            }
        }
        Err(Error::new(
            Kind::Locked,
            format!(
                "cannot make the control socket {}: another daemon has been making it for {} s",
                socket.display(),
                TURN.as_secs()
            ),
        )
        .help("look for that daemon, and stop it or give one of the two another [control] socket.path"))
    }

    /// The locked directory; `None` if it is somebody else's turn, or the directory went away meanwhile.
    fn lock(path: &Path) -> io::Result<Option<fs::File>> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        if !found.is_dir() {
            return Err(io::Error::other(format!(
                "it is {}",
                what_is(found.file_type())
            )));
        }
        if found.uid() != mainstay_sys::users::effective_uid() {
            return Err(io::Error::other(format!(
                "it belongs to uid {}",
                found.uid()
            )));
        }
        if found.mode() & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "others can enter it, its mode is {:04o}",
                found.mode() & 0o7777
            )));
        }
        let dir = match fs::File::open(path) {
            Ok(dir) => dir,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        match dir.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(why)) => return Err(why),
        }
        // What was opened must be what was looked at, and must still be there now that it is locked: the
        // one before us removes it before letting go of the lock.
        let same = Identity::of(&dir.metadata()?) == Identity::of(&found)
            && fs::symlink_metadata(path)
                .is_ok_and(|now| Identity::of(&now) == Identity::of(&found));
        Ok(same.then_some(dir))
    }

    /// Removes what is in it, which after a daemon was killed here may be something.
    fn clear(&self) {
        for name in ["s", "old"] {
            // Most often there is nothing; what cannot be removed shows when its name is needed.
            let _ = fs::remove_file(self.path.join(name));
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
        // If it stays, it is empty, and the next daemon uses it.
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_modes() {
        let long = format!("/{}", "x".repeat(LONGEST_PATH));
        // (path, mode, fine)
        let table: &[(&str, u32, bool)] = &[
            ("/run/mainstay.sock", 0o600, true),
            ("/run/mainstay.sock", 0o666, true),
            ("/run/mainstay.sock", 0o060, false),
            ("/run/mainstay.sock", 0o1600, false),
            ("mainstay.sock", 0o600, false),
            ("/", 0o600, false),
            ("/run/..", 0o600, false),
            ("", 0o600, false),
            (&long, 0o600, false),
            (&long[..LONGEST_PATH], 0o600, true),
        ];
        for &(path, mode, fine) in table {
            let found = check(Path::new(path), mode);
            match found {
                Ok(_) => assert!(fine, "{path} {mode:o}"),
                Err(error) => {
                    assert!(!fine, "{path} {mode:o}: {error}");
                    assert_eq!(error.kind, Kind::Usage);
                    assert!(error.help.is_some());
                }
            }
        }
    }
}

//! The keeper: a small process that holds on to captured output while no daemon lives.
//!
//! A program holds its output pipe read-write, so a daemon that dies costs nothing as long as the
//! program lives. When it dies too, before anybody read what it wrote, the pipe would go with its
//! last holder. So one more holds it: the keeper has a duplicate of the reading end of every captured
//! pipe. It never reads; only that end, so that the output ends when all writers are gone. It knows
//! each pipe's process by name, and gives all of them to the next daemon.
//!
//! The daemon opens the socket, starts the keeper with it as descriptor 0 and connects, so that
//! nobody waits for anybody: a pipe that was sent is kept, also if the keeper has not run yet. The
//! keeper leads its own session, dies with nobody, sleeps while a daemon is connected and nothing is
//! said, and ends by itself when there is nothing left to keep and nobody to keep it for.

pub(crate) mod line;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use mainstay_log::Stream;
use mainstay_sys::limits::{self, Resource};
use mainstay_sys::{passing, peer, pipe, users};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::reserve::is_shortage;

/// The name of the socket in the state directory.
const SOCKET: &str = "keeper.sock";
/// What every message begins with.
const VERSION: u8 = 1;
/// The longest name of a process that is kept; other names are not.
const NAME_MAX: usize = 4096;
/// Version, kind, stream, inode.
const HEAD: usize = 1 + 1 + 1 + 8;
/// The longest message.
const MESSAGE_MAX: usize = HEAD + NAME_MAX;

/// How often the keeper looks whether anything is left to keep while no daemon is connected.
const LOOK: Duration = Duration::from_secs(3);
/// Descriptors that the keeper needs for itself.
const OWN_DESCRIPTORS: u64 = 16;
/// How long the keeper does not listen after it was told something. When one thing is said, more often
/// follows, and to be woken for each costs the one who speaks as much as the keeper. What is said
/// meanwhile waits in the socket, and with it the pipes: they are kept there as well as here.
const LINGER: Duration = Duration::from_millis(20);
/// How long a daemon may take to accept what it asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is said over the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Note<'a> {
    /// Keep the pipe that comes with this; from the keeper: this is kept.
    Keep {
        /// The pipe's.
        inode: u64,
        stream: Stream,
        /// The process whose output it is.
        process: &'a str,
    },
    /// The pipe with this inode was read to its end or is of no interest any more.
    Drop { inode: u64 },
    /// The daemon wants all that is kept.
    Get,
    /// That was all.
    End,
    /// Everything is down: nothing is to be kept any more.
    Quit,
}

impl<'a> Note<'a> {
    /// As it is sent; `None` when a name is too long.
    fn write(&self) -> Option<Vec<u8>> {
        let (kind, stream, inode, process) = match *self {
            Self::Keep {
                inode,
                stream,
                process,
            } => {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                (1, stream, inode, process)
            }
            Self::Drop { inode } => (2, 0, inode, ""),
            Self::Get => (3, 0, 0, ""),
            Self::End => (4, 0, 0, ""),
            Self::Quit => (5, 0, 0, ""),
        };
        let mut out = vec![VERSION, kind, stream];
        out.extend(inode.to_le_bytes());
        out.extend(process.as_bytes());
        (process.len() <= NAME_MAX).then_some(out)
    }

    /// What was sent; `None` when it is nothing that this version knows.
    fn read(message: &'a [u8]) -> Option<Self> {
        let (&[version, kind, stream], rest) = message.split_first_chunk()?;
        let (inode, name) = rest.split_first_chunk()?;
        let inode = u64::from_le_bytes(*inode);
        if version != VERSION || name.len() > NAME_MAX {
            return None;
        }
        match (kind, stream, name.is_empty()) {
            (1, 1 | 2, _) => Some(Self::Keep {
                inode,
                stream: if stream == 1 {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                },
                process: std::str::from_utf8(name).ok()?,
            }),
            (2, 0, true) => Some(Self::Drop { inode }),
            (3, 0, true) => Some(Self::Get),
            (4, 0, true) => Some(Self::End),
            (5, 0, true) => Some(Self::Quit),
            _ => None,
        }
    }
}

/// Whether the other end of a connection is this user or root.
fn is_trusted(socket: impl AsFd) -> bool {
    peer::credentials(socket).is_ok_and(|peer| peer.uid == 0 || peer.uid == users::effective_uid())
}

/// Is the keeper of a state directory, until there is nothing left to keep. For a process that was
/// started for that alone, by [`Settings::keeper`](crate::Settings::keeper): its standard input is
/// the socket that it listens at.
///
/// # Errors
/// Standard input is no such socket, or it cannot be waited for any more.
pub fn keep(state_dir: &Path) -> io::Result<()> {
    // `ps` and `top` would show the name of a link.
    let _ = rustix::thread::set_name(c"mainstay-keep");
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    // With fewer it keeps fewer.
    let most = limits::get(None, Resource::Nofile)
        .and_then(|(_, hard)| limits::raise(Resource::Nofile, hard))
        .unwrap_or(1024);
    let path = state_dir.join(SOCKET);
    let place = place(&path);
    let mut keeper = Keeper {
        most: usize::try_from(most.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX),
        ..Keeper::default()
    };
    // Nothing of what led here is needed again.
    mainstay_sys::memory::settle();
    let has_its_name = || place.is_some() && self::place(&path) == place;
    // Held to the end: who sees the end of its connection finds no name any more, and one that it
    // makes then is not removed here.
    let mut daemon = None;
    loop {
        if let Some(next) = accept(&listener)? {
            if keeper.serve(daemon.insert(next))? == Then::Quit {
                break;
            }
            daemon = None;
            continue;
        }
        keeper.forget_what_is_over()?;
        // Without its name no daemon comes any more.
        if keeper.kept.is_empty() || !has_its_name() {
            break;
        }
        wait(&listener, PollFlags::IN, Some(LOOK))?;
    }
    if has_its_name() {
        let _ = fs::remove_file(&path);
    }
    drop((daemon, listener));
    Ok(())
}

/// Which file a path leads to.
fn place(path: &Path) -> Option<(u64, u64)> {
    let about = fs::symlink_metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

/// The next daemon that waits. Who may not ask is sent away.
fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    loop {
        match passing::accept(listener) {
            Ok(socket) if is_trusted(&socket) => return Ok(Some(socket)),
            // It was gone before it came, too.
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                io::ErrorKind::ConnectionAborted => {}
                // Of the whole system: what is kept is not given up for that.
                _ if is_shortage(&error) => std::thread::sleep(LOOK),
                _ => return Err(error),
            },
        }
    }
}

/// Waits until this can be read or written; `None` waits for ever. False: the time is over.
fn wait(fd: impl AsFd, flags: PollFlags, time: Option<Duration>) -> io::Result<bool> {
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match poll(&mut [PollFd::new(&fd, flags)], time.as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(true),
        other => Ok(other? > 0),
    }
}

/// What a daemon's last word was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// None: it has died, or another binary takes its place.
    Stay,
    Quit,
}

#[derive(Debug)]
struct Kept {
    /// The how manieth to come.
    number: u64,
    stream: Stream,
    process: Box<str>,
    reader: OwnedFd,
}

/// What is kept, by inode.
#[derive(Debug, Default)]
struct Keeper {
    kept: HashMap<u64, Kept>,
    /// How many came.
    came: u64,
    /// So many at most, that a daemon can always be heard.
    most: usize,
}

impl Keeper {
    /// Does what a daemon says until it is gone.
    fn serve(&mut self, daemon: &OwnedFd) -> io::Result<Then> {
        let mut buffer = [0; MESSAGE_MAX];
        let mut heard = false;
        loop {
            let (length, fd) = match passing::receive(daemon, &mut buffer) {
                Ok((0, _)) => return Ok(Then::Stay),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if std::mem::take(&mut heard) {
                        std::thread::sleep(LINGER);
                    } else {
                        wait(daemon, PollFlags::IN, None)?;
                    }
                    continue;
                }
                Err(_) => return Ok(Then::Stay),
            };
            heard = true;
            match Note::read(&buffer[..length]) {
                Some(Note::Keep {
                    inode,
                    stream,
                    process,
                }) => {
                    if let Some(fd) = fd {
                        self.keep(inode, stream, process, fd);
                    }
                }
                Some(Note::Drop { inode }) => drop(self.kept.remove(&inode)),
                Some(Note::Get) => {
                    if self.give(daemon).is_err() {
                        return Ok(Then::Stay);
                    }
                }
                Some(Note::Quit) => return Ok(Then::Quit),
                // Of another version: it is told so by the end of the connection.
                Some(Note::End) | None => return Ok(Then::Stay),
            }
        }
    }

    fn keep(&mut self, inode: u64, stream: Stream, process: &str, reader: OwnedFd) {
        // A name of a file that is no pipe, or of another, would be found by nobody.
        if pipe::inode(&reader).ok() != Some(inode) {
            return;
        }
        if self.kept.len() < self.most || self.kept.contains_key(&inode) {
            self.came += 1;
            let one = Kept {
                number: self.came,
                stream,
                process: process.into(),
                reader,
            };
            self.kept.insert(inode, one);
        }
    }

    /// Sends everything to a daemon, in the order in which it came.
    fn give(&self, daemon: &OwnedFd) -> io::Result<()> {
        let mut all: Vec<(&u64, &Kept)> = self.kept.iter().collect();
        all.sort_by_key(|(_, one)| one.number);
        for (&inode, one) in all {
            let note = Note::Keep {
                inode,
                stream: one.stream,
                process: &one.process,
            };
            say(daemon, &note, Some(one.reader.as_fd()))?;
        }
        say(daemon, &Note::End, None)
    }

    /// Lets go of pipes that are empty and that nobody can write to any more.
    fn forget_what_is_over(&mut self) -> io::Result<()> {
        let mut seen: Vec<(u64, PollFd<'_>)> = self
            .kept
            .iter()
            .map(|(inode, one)| (*inode, PollFd::new(&one.reader, PollFlags::empty())))
            .collect();
        let mut fds: Vec<PollFd<'_>> = seen.iter().map(|(_, fd)| fd.clone()).collect();
        match poll(&mut fds, Some(&Timespec::default())) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        let mut ended = fds.iter().map(|fd| fd.revents().contains(PollFlags::HUP));
        seen.retain(|_| ended.next().unwrap_or(false));
        let ended: Vec<u64> = seen.into_iter().map(|(inode, _)| inode).collect();
        for inode in ended {
            let is_empty = |one: &Kept| !pipe::bytes_readable(&one.reader).is_ok_and(|n| n > 0);
            if self.kept.get(&inode).is_some_and(is_empty) {
                self.kept.remove(&inode);
            }
        }
        Ok(())
    }
}

/// Sends a note and waits, for a while, until there is room for it.
fn say(to: &OwnedFd, note: &Note<'_>, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let message = note.write().ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        match passing::send(to, &message, fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !wait(to, PollFlags::OUT, Some(PATIENCE))? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let long = "ä".repeat(NAME_MAX / 2);
        for note in [
            Note::Keep {
                inode: 7,
                stream: Stream::Stdout,
                process: "web:web 1",
            },
            Note::Keep {
                inode: u64::MAX,
                stream: Stream::Stderr,
                process: &long,
            },
            Note::Drop { inode: 1 << 40 },
            Note::Get,
            Note::End,
            Note::Quit,
        ] {
            let message = note.write().unwrap();
            assert!(message.len() <= MESSAGE_MAX);
            assert_eq!(Note::read(&message), Some(note));
        }
        let process = &"x".repeat(NAME_MAX + 1);
        let note = Note::Keep {
            inode: 7,
            stream: Stream::Stdout,
            process,
        };
        assert_eq!(note.write(), None);
    }

    #[test]
    fn what_is_no_note_is_none() {
        let get = Note::Get.write().unwrap();
        let keep = Note::Keep {
            inode: 7,
            stream: Stream::Stdout,
            process: "web",
        };
        let keep = keep.write().unwrap();
        let with = |message: &[u8], at: usize, byte: u8| {
            let mut message = message.to_vec();
            message[at] = byte;
            message
        };
        for (name, message) in [
            ("nothing", vec![]),
            ("a cut one", get[..HEAD - 1].to_vec()),
            ("another version", with(&get, 0, VERSION + 1)),
            ("another kind", with(&get, 1, 9)),
            ("no kind", with(&get, 1, 0)),
            ("a third stream", with(&keep, 2, 3)),
            ("a stream of nothing", with(&get, 2, 1)),
            ("a name of nothing", [&get[..], b"web"].concat()),
            ("a name that is no text", with(&keep, HEAD, 0xff)),
            ("too long a name", [&keep[..], &[b'x'; NAME_MAX]].concat()),
        ] {
            assert_eq!(Note::read(&message), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_note_that_is_written_the_same_or_none(
            mut message in prop::collection::vec(any::<u8>(), 0..64),
            known: bool,
        ) {
            if let (true, [version, kind, ..]) = (known, &mut message[..]) {
                *version = VERSION;
                *kind %= 6;
            }
            if let Some(note) = Note::read(&message) {
                let again = note.write().unwrap();
                prop_assert_eq!(Note::read(&again), Some(note.clone()));
            }
        }
    }

    #[test]
    fn what_is_over_is_forgotten() {
        use std::io::Write as _;
        let mut keeper = Keeper {
            most: 3,
            ..Keeper::default()
        };
        let mut add = |name: &str, stream| {
            let (reader, writer) = pipe::capture_pipe(0).unwrap();
            let inode = pipe::inode(&reader).unwrap();
            let ours = reader.try_clone().unwrap();
            keeper.keep(inode + 1, stream, name, reader.try_clone().unwrap());
            keeper.keep(inode, stream, "before", reader.try_clone().unwrap());
            keeper.keep(inode, stream, name, reader);
            (ours, fs::File::from(writer))
        };
        let (_live, _writer) = add("lives", Stream::Stdout);
        drop(add("over", Stream::Stdout));
        let (_unread, mut writer) = add("unread", Stream::Stderr);
        writer.write_all(b"x").unwrap();
        drop(writer);
        let _one_too_many = add("no room", Stream::Stdout);
        keeper.forget_what_is_over().unwrap();
        let mut left: Vec<&str> = keeper.kept.values().map(|one| &*one.process).collect();
        left.sort_unstable();
        assert_eq!(left, ["lives", "unread"]);
    }
}

//! The daemon's side: what it tells the keeper, and what it gets from the one it finds.
//!
//! Nothing here makes the supervision wait, but for the one answer at the start. What could not be
//! told is told again: whatever is not in `kept` is sent as soon as there is a keeper that listens.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_log::{Level, Stream};
use mainstay_sys::epoll::Interest;
use mainstay_sys::{Child, Errno, Spawn, passing};
use rustix::event::PollFlags;

use super::{MESSAGE_MAX, Note, SOCKET, is_trusted, wait};
use crate::command::Event;
use crate::runtime::{Runtime, Timer, Token};

/// How long a keeper may say nothing after it was asked for what it has.
const ANSWER_TAKES_AT_MOST: Duration = Duration::from_secs(2);
/// How long to wait between attempts to have a keeper: the first time, and the longest.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// The keeper as the supervision knows it.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// How it is started; `None`: there is to be none.
    words: Option<Vec<OsString>>,
    state_dir: PathBuf,
    line: Option<Line>,
    /// The one that this daemon started.
    child: Option<Child>,
    /// The inodes of the pipes that it has.
    kept: HashSet<u64>,
    /// Of pipes that it need not keep and was not told about.
    over: VecDeque<u64>,
    /// The one that is there does not answer: another takes its place.
    is_deaf: bool,
    /// When to try next, and how long to wait after that.
    next: Duration,
    delay: Duration,
    warned: bool,
}

#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    token: u64,
    /// It is full, and watched until it is not.
    is_full: bool,
    since: Duration,
}

/// What became of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    /// There is no room now.
    Later,
    /// Nobody listens.
    Nobody,
}

fn told<T: Default>(result: io::Result<T>) -> (Told, T) {
    match result {
        Ok(sent) => (Told::Yes, sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => (Told::Later, T::default()),
        // Too many descriptors are on their way.
        Err(error) if error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error()) => {
            (Told::Later, T::default())
        }
        Err(_) => (Told::Nobody, T::default()),
    }
}

/// A pipe that the keeper had.
pub(crate) struct Found {
    pub(crate) inode: u64,
    pub(crate) stream: Stream,
    pub(crate) process: String,
    pub(crate) reader: OwnedFd,
}

impl Keeper {
    pub(crate) fn new(words: Option<Vec<OsString>>, state_dir: &Path) -> Self {
        Self {
            words,
            state_dir: std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned()),
            delay: RETRY[0],
            ..Self::default()
        }
    }

    fn tell(&self, note: &Note<'_>, fd: Option<BorrowedFd<'_>>) -> Told {
        let Some(line) = &self.line else {
            return Told::Nobody;
        };
        let Some(message) = note.write() else {
            // With such a name it cannot be kept, now or later.
            return Told::Yes;
        };
        told(passing::send(&line.socket, &message, fd)).0
    }

    /// Connects to the keeper that is there, or to a new one.
    fn connect(&mut self) -> io::Result<OwnedFd> {
        if !self.is_deaf {
            match passing::connect(&self.state_dir, SOCKET) {
                Ok(socket) if is_trusted(&socket) => return Ok(socket),
                Ok(_) => return Err(io::ErrorKind::PermissionDenied.into()),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
                    _ => return Err(error),
                },
            }
        }
        self.start()
    }

    /// Starts a new one in the place of whatever is there.
    fn start(&mut self) -> io::Result<OwnedFd> {
        if let Some(child) = self.child.take() {
            // If it has ended, it is a zombie until here.
            let _ = child.try_wait();
        }
        let path = self.state_dir.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = passing::listen(&self.state_dir, SOCKET)?;
        let socket = passing::connect(&self.state_dir, SOCKET)?;
        let mut call = Spawn::new("/proc/self/exe");
        call.args = self.words.clone().unwrap_or_default();
        call.cwd = Some(PathBuf::from("/"));
        call.session = true;
        call.fds = vec![(listener, 0)];
        let child = call.spawn().map_err(|error| {
            let _ = fs::remove_file(&path);
            io::Error::other(error)
        })?;
        self.child = Some(child);
        self.is_deaf = false;
        Ok(socket)
    }

    /// Asks the keeper at the other end for all that it has.
    fn get(socket: &OwnedFd) -> io::Result<Vec<Found>> {
        let get = Note::Get.write().unwrap_or_default();
        passing::send(socket, &get, None)?;
        let mut all = Vec::new();
        let mut buffer = [0; MESSAGE_MAX];
        loop {
            let (length, fd) = match passing::receive(socket, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait(socket, PollFlags::IN, Some(ANSWER_TAKES_AT_MOST))? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    continue;
                }
                other => other?,
            };
            match Note::read(&buffer[..length]) {
                Some(Note::Keep {
                    inode,
                    stream,
                    process,
                }) => {
                    // Without a descriptor this process may not open more: the keeper keeps it.
                    let reader = fd.filter(|fd| mainstay_sys::pipe::inode(fd).ok() == Some(inode));
                    if let Some(reader) = reader {
                        all.push(Found {
                            inode,
                            stream,
                            process: process.to_owned(),
                            reader,
                        });
                    }
                }
                Some(Note::End) => return Ok(all),
                _ if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

impl Runtime {
    /// Takes from the keeper of the daemon before what it kept. Called once, at the start.
    pub(crate) fn meet_keeper(&mut self) {
        if self.keeper.words.is_none() {
            return;
        }
        let socket = match passing::connect(&self.keeper.state_dir, SOCKET) {
            Ok(socket) if is_trusted(&socket) => socket,
            // One is started at the first need.
            _ => return,
        };
        match Keeper::get(&socket) {
            Ok(all) => {
                for one in all {
                    self.keeper.kept.insert(one.inode);
                    self.inherited.add(one);
                }
                if let Err(error) = self.hold_line(socket) {
                    self.warn_of_keeper(&error);
                }
            }
            Err(error) => {
                // It was about to end, or is another version, or stands still.
                self.keeper.is_deaf = true;
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    self.warn_of_keeper(&error);
                }
            }
        }
    }

    /// Has the reading ends of the pipes of slot `i` kept, (stream, inode, end), if that can be done at
    /// once, and otherwise soon.
    pub(crate) fn keep(&mut self, i: usize, pipes: &[(Stream, u64, &OwnedFd)]) {
        let process = self.slots[i].name();
        let notes: Vec<(u64, Vec<u8>, BorrowedFd<'_>)> = pipes
            .iter()
            .filter_map(|&(stream, inode, reader)| {
                let note = Note::Keep {
                    inode,
                    stream,
                    process,
                };
                // With such a name it cannot be kept, now or later.
                Some((inode, note.write()?, reader.as_fd()))
            })
            .collect();
        let mut rest: Vec<(&[u8], BorrowedFd<'_>)> = (notes.iter())
            .map(|(_, message, reader)| (&message[..], *reader))
            .collect();
        let mut inodes = notes.iter().map(|(inode, ..)| *inode);
        // A keeper that has died unnoticed has a successor.
        for _ in 0..2 {
            if rest.is_empty() || !self.has_line() {
                return;
            }
            let Some(line) = &self.keeper.line else {
                return;
            };
            match told(passing::send_all(&line.socket, &rest)) {
                (Told::Yes, sent) => {
                    self.keeper.kept.extend(inodes.by_ref().take(sent));
                    rest.drain(..sent);
                    if !rest.is_empty() {
                        return self.wait_for_keeper();
                    }
                }
                (Told::Later, _) => return self.wait_for_keeper(),
                (Told::Nobody, _) => self.lose_keeper(),
            }
        }
    }

    /// A pipe was attached: it is kept, or will be.
    pub(crate) fn keep_attached(&mut self, inode: u64) {
        if self.keeper.words.is_some() && !self.keeper.kept.contains(&inode) {
            let now = self.now();
            let at = match self.keeper.line {
                Some(_) => now,
                None => now.max(self.keeper.next),
            };
            self.timers.set(Timer::Keeper, Some(at));
        }
    }

    /// A pipe is read to its end, or of no interest any more.
    pub(crate) fn let_go(&mut self, inode: u64) {
        if !self.keeper.kept.remove(&inode) {
            return;
        }
        if self.keeper.over.is_empty() {
            match self.keeper.tell(&Note::Drop { inode }, None) {
                Told::Yes => return,
                Told::Later => self.wait_for_keeper(),
                // A new keeper does not get it.
                Told::Nobody => return self.lose_keeper(),
            }
        }
        self.keeper.over.push_back(inode);
    }

    /// Tells the keeper all that it does not know yet.
    pub(crate) fn fill_keeper(&mut self) {
        let kept = &self.keeper.kept;
        let mut missing = Vec::new();
        for (i, slot) in self.slots.iter().enumerate() {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let Some(channel) = &slot.channels[crate::slot::index(stream)] else {
                    continue;
                };
                let unknown =
                    |(_, pipe): &(usize, &crate::output::Pipe)| !kept.contains(&pipe.inode);
                let pipes = channel.pipes.iter().enumerate().filter(unknown);
                missing.extend(pipes.map(|(at, _)| (i, stream, at)));
            }
        }
        if missing.is_empty() && self.keeper.over.is_empty() {
            return;
        }
        // Who is told to end is not begun anew.
        let is_over = self.shutdown.is_some() && self.keeper.line.is_none();
        if is_over || !self.has_line() {
            return;
        }
        while let Some(&inode) = self.keeper.over.front() {
            match self.keeper.tell(&Note::Drop { inode }, None) {
                Told::Yes => self.keeper.over.pop_front(),
                Told::Later => return self.wait_for_keeper(),
                Told::Nobody => return self.lose_keeper(),
            };
        }
        for (i, stream, at) in missing {
            let slot = &self.slots[i];
            let Some(channel) = &slot.channels[crate::slot::index(stream)] else {
                continue;
            };
            let pipe = &channel.pipes[at];
            let note = Note::Keep {
                inode: pipe.inode,
                stream,
                process: slot.name(),
            };
            match self.keeper.tell(&note, Some(pipe.fd.as_fd())) {
                Told::Yes => {
                    self.keeper.kept.insert(pipe.inode);
                }
                Told::Later => return self.wait_for_keeper(),
                Told::Nobody => return self.lose_keeper(),
            }
        }
    }

    /// Something came from the keeper, or there is room again.
    pub(crate) fn on_keeper(&mut self) {
        let mut buffer = [0; MESSAGE_MAX];
        let Some(line) = &mut self.keeper.line else {
            return;
        };
        match passing::receive(&line.socket, &mut buffer) {
            // Nothing was asked.
            Ok((1.., _)) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return self.lose_keeper(),
        }
        if line.is_full {
            line.is_full = false;
            let _ = self.epoll.modify(&line.socket, line.token, Interest::READ);
            self.fill_keeper();
        }
    }

    /// Everything is down: nothing is to be kept.
    pub(crate) fn dismiss_keeper(&mut self) {
        // Should it not hear that, it ends when it sees that nothing is left.
        if self.keeper.tell(&Note::Quit, None) == Told::Yes
            && let Some(line) = self.keeper.line.take()
        {
            // Its last act: then nothing of it is in the state directory.
            let _ = wait(&line.socket, PollFlags::IN, Some(ANSWER_TAKES_AT_MOST));
        }
    }

    /// Whether there is a keeper, an old one or a new one.
    fn has_line(&mut self) -> bool {
        if self.keeper.words.is_none() {
            return false;
        }
        if self.keeper.line.is_some() {
            return true;
        }
        let now = self.now();
        if now < self.keeper.next {
            self.timers.set(Timer::Keeper, Some(self.keeper.next));
            return false;
        }
        self.keeper.next = now.saturating_add(self.keeper.delay);
        self.keeper.delay = (self.keeper.delay * 2).min(RETRY[1]);
        match self
            .keeper
            .connect()
            .and_then(|socket| self.hold_line(socket))
        {
            Ok(()) => {
                // Whatever else is open.
                self.timers.set(Timer::Keeper, Some(now));
                true
            }
            Err(error) => {
                self.warn_of_keeper(&error);
                self.timers.set(Timer::Keeper, Some(self.keeper.next));
                false
            }
        }
    }

    fn hold_line(&mut self, socket: OwnedFd) -> io::Result<()> {
        let token = self.token(Token::Keeper);
        if let Err(error) = self.epoll.add(&socket, token, Interest::READ) {
            self.tokens.remove(&token);
            return Err(error);
        }
        self.keeper.line = Some(Line {
            socket,
            token,
            is_full: false,
            since: self.now(),
        });
        Ok(())
    }

    /// It is slow: the rest is told when there is room.
    fn wait_for_keeper(&mut self) {
        let Some(line) = &mut self.keeper.line else {
            return;
        };
        let both = Interest {
            writable: true,
            ..Interest::READ
        };
        line.is_full = self.epoll.modify(&line.socket, line.token, both).is_ok();
    }

    /// It is gone, and what it kept with it: another gets all that is open.
    fn lose_keeper(&mut self) {
        let Some(line) = self.keeper.line.take() else {
            return;
        };
        let _ = self.epoll.delete(&line.socket);
        self.tokens.remove(&line.token);
        self.keeper.kept.clear();
        self.keeper.over.clear();
        if let Some(child) = &self.keeper.child {
            let _ = child.try_wait();
        }
        let now = self.now();
        if now.saturating_sub(line.since) >= RETRY[1] {
            self.keeper.delay = RETRY[0];
        }
        self.timers
            .set(Timer::Keeper, Some(now.max(self.keeper.next)));
        if self.shutdown.is_none() {
            self.warn_of_keeper(&io::Error::other("it has ended"));
        }
    }

    /// Says so once.
    fn warn_of_keeper(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.keeper.warned, true) {
            return;
        }
        self.tell(Event::Said {
            level: Level::Warn,
            text: format!(
                "the process that keeps output while no daemon lives cannot do it: {error}; it is \
                 started again; until then output is lost if mainstay and a program are both killed"
            ),
        });
    }
}

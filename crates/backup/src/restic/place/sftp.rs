//! A directory on another machine, over SFTP.
//!
//! The way there is the system's `ssh`, with what its own config says of the host, keys and agents; of
//! SFTP itself, version 3 (<https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02>) and
//! three extensions of OpenSSH's are spoken here: a rename that replaces, fsync and statvfs. Requests do
//! not wait for each other: a file is read and written in many pieces at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mainstay_base::{Resolver, Template};
use mainstay_sys::spawn::resolve_program;
use mainstay_sys::{Child, Signal, Spawn};

use super::{Advised, Listed, Pace, Place, wait};
use crate::config::SftpConfig;
use crate::restic::index::lock;

/// What is asked for and sent at once; every server takes this much.
const PART: usize = 32 << 10;
/// So many parts may be on their way.
const ON_THE_WAY: usize = 64;
/// No answer is longer.
const LONGEST: usize = 1 << 20;
/// A server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(90);
/// How long the way there may take.
const BEGIN: Duration = Duration::from_mins(1);
/// Of what `ssh` says so much is told.
const WORDS: usize = 2000;
/// Where programs are looked for when the environment does not say.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How often a request is tried while connections break off.
const TRIES: u32 = 5;
/// How often, on a server on which nothing was done yet: most likely it never goes well.
const TRIES_UNHEARD: u32 = 3;
/// How long the pause is before the second new connection; the first is made at once, and each further
/// pause is twice as long. Together they are 7 s, in which a server can be started again.
const PAUSE: Duration = Duration::from_secs(1);

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

/// What a file is opened for.
const FOR_READING: u32 = 1;
const FOR_WRITING: u32 = 2 | 8 | 16;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";

/// A directory on another machine.
pub(in crate::restic) struct Sftp {
    config: SftpConfig,
    /// What `ssh` is told of who we are.
    environment: Vec<(String, String)>,
    pace: Option<Pace>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Whether something was done there, and the server not lost since.
    heard: AtomicBool,
}

/// An answer: what it is, and what is in it behind its number.
type Packet = (u8, Vec<u8>);

struct Connection {
    child: Child,
    /// Nothing once it is shut: whoever else is on the way there sees the end of it.
    input: Mutex<Option<File>>,
    waiting: Arc<Mutex<HashMap<u32, Sender<Packet>>>>,
    next: AtomicU32,
    broken: Arc<AtomicBool>,
    extensions: Vec<String>,
    said: Arc<Mutex<Vec<u8>>>,
}

/// The parts of a request.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn long(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn text(self, text: &[u8]) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut words = self.number(length);
        words.0.extend_from_slice(text);
        words
    }
}

/// The parts of an answer. What is cut short is an error, never a panic.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count).ok_or_else(nonsense)?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(
            bytes.try_into().map_err(|_| nonsense())?,
        ))
    }

    fn long(&mut self) -> io::Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(
            bytes.try_into().map_err(|_| nonsense())?,
        ))
    }

    fn text(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }

    /// Size, whether it is a directory, and the time of the last change.
    fn attributes(&mut self) -> io::Result<Attributes> {
        let flags = self.number()?;
        let mut found = Attributes::default();
        if flags & 1 != 0 {
            found.size = self.long()?;
        }
        if flags & 2 != 0 {
            self.take(8)?;
        }
        if flags & 4 != 0 {
            found.directory = self.number()? & 0o170_000 == 0o040_000;
        }
        if flags & 8 != 0 {
            self.number()?;
            let seconds = self.number()?;
            found.modified =
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.into()));
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok(found)
    }
}

#[derive(Default)]
struct Attributes {
    size: u64,
    directory: bool,
    modified: Option<SystemTime>,
}

fn nonsense() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server's answer is none of SFTP",
    )
}

/// The way there broke off; whoever asked may ask again on a new one.
fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke off")
}

impl Connection {
    fn open(config: &SftpConfig, environment: &[(String, String)]) -> io::Result<Self> {
        let words = config.command();
        let program = words.first().ok_or_else(nonsense)?;
        let missing = |why: &dyn std::fmt::Display| {
            Advised::error(
                io::ErrorKind::NotFound,
                format!("{program} cannot be started: {why}"),
                "install it (the package is often called openssh-client), or name it as `sftp.program`",
            )
        };
        let variable = |name: &str| environment.iter().find(|(known, _)| known.as_str() == name);
        let search = variable("PATH").map_or(PATH, |(_, path)| path.as_str());
        let found = resolve_program(program.as_ref(), search.as_ref(), Path::new("/"))
            .map_err(|error| missing(&error))?;
        let pipe =
            || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from);
        let ((their_input, input), (output, their_output), (errors, their_errors)) =
            (pipe()?, pipe()?, pipe()?);
        let mut spawn = Spawn::new(found);
        spawn.args = words.iter().map(Into::into).collect();
        spawn.env = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        spawn.session = true;
        spawn.fds = vec![(their_input, 0), (their_output, 1), (their_errors, 2)];
        let child = spawn.spawn().map_err(|error| missing(&error))?;
        // Theirs are closed here, or the ends of the pipes would never come.
        drop(spawn);
        let (input, output, errors) = (file(input), file(output), file(errors));
        let waiting: Arc<Mutex<HashMap<u32, Sender<Packet>>>> = Arc::default();
        let broken = Arc::new(AtomicBool::new(false));
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (hello, greeted) = channel();
        let reader = {
            let (waiting, broken) = (Arc::clone(&waiting), Arc::clone(&broken));
            move || {
                let mut output = BufReader::with_capacity(256 << 10, output);
                let mut hello = Some(hello);
                while let Ok((kind, body)) = read_packet(&mut output) {
                    if kind == VERSION {
                        let _ = hello.take().map(|hello| hello.send(body));
                        continue;
                    }
                    let Some((number, rest)) = body.split_first_chunk() else {
                        break;
                    };
                    let asked = lock(&waiting).remove(&u32::from_be_bytes(*number));
                    if let Some(asked) = asked {
                        let _ = asked.send((kind, rest.to_vec()));
                    }
                }
                // Whoever waits for an answer is told by that its sender is gone.
                broken.store(true, Ordering::SeqCst);
                lock(&waiting).clear();
            }
        };
        let (hearing, heard) = channel::<()>();
        let listener = {
            let said = Arc::clone(&said);
            move || {
                let _hearing = hearing;
                let mut errors = errors;
                let mut piece = [0; 512];
                while let Ok(count @ 1..) = errors.read(&mut piece) {
                    let mut said = lock(&said);
                    said.extend_from_slice(&piece[..count]);
                    let surplus = said.len().saturating_sub(WORDS);
                    said.drain(..surplus);
                }
            }
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
        };
        let mut connection = Self {
            child,
            input: Mutex::new(Some(input)),
            waiting,
            next: AtomicU32::new(1),
            broken,
            extensions: Vec::new(),
            said,
        };
        // They end when the pipes do, and nobody waits for that: a program that another one has started may
        // hold them.
        spawn("sftp-answers", Box::new(reader))?;
        spawn("sftp-errors", Box::new(listener))?;
        let asked = connection.raw(INIT, &Words::default().number(3).0);
        let greeting = asked
            .map_err(|_| RecvTimeoutError::Disconnected)
            .and_then(|()| greeted.recv_timeout(BEGIN));
        let Ok(greeting) = greeting else {
            connection.shut();
            if greeting == Err(RecvTimeoutError::Timeout) {
                return Err(Advised::error(
                    io::ErrorKind::TimedOut,
                    format!(
                        "no SFTP with {}: no answer within {} s",
                        config.host,
                        BEGIN.as_secs()
                    ),
                    format!(
                        "see what this waits for, on both sides (the start-up files of the shell there are read too): {}",
                        config.command().join(" ")
                    ),
                ));
            }
            // Its last words may still be on their way.
            let _ = heard.recv_timeout(Duration::from_secs(2));
            return Err(connection.refused(config));
        };
        let mut parts = Parts(&greeting);
        parts.number()?;
        while !parts.0.is_empty() {
            let name = String::from_utf8_lossy(parts.text()?).into_owned();
            parts.text()?;
            connection.extensions.push(name);
        }
        Ok(connection)
    }

    /// Why there is no connection, by what `ssh` says.
    fn refused(&self, config: &SftpConfig) -> io::Error {
        let said = String::from_utf8_lossy(&lock(&self.said)).into_owned();
        let last = said
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or("it said nothing")
            .to_owned();
        let has = |words: &str| said.contains(words);
        let host = &config.host;
        let (kind, help) = if has("Permission denied") {
            (
                io::ErrorKind::PermissionDenied,
                format!(
                    "check `sftp.user` and `sftp.key`; the public key must be in ~/.ssh/authorized_keys on {host}, and the private one without a passphrase or in an agent"
                ),
            )
        } else if has("Host key verification failed") || has("IDENTIFICATION HAS CHANGED") {
            (
                io::ErrorKind::PermissionDenied,
                format!(
                    "connect once by hand as the user that mainstay runs as, and compare the key: ssh {host}"
                ),
            )
        } else if has("Could not resolve")
            || has("Connection refused")
            || has("timed out")
            || has("No route")
        {
            (
                io::ErrorKind::HostUnreachable,
                "check `sftp.host` and `sftp.port`, and that this host may connect to it"
                    .to_owned(),
            )
        } else {
            (
                io::ErrorKind::ConnectionReset,
                format!("see what this says: {}", config.command().join(" ")),
            )
        };
        Advised::error(kind, format!("no SFTP with {host}: {last}"), help)
    }

    fn shut(&self) {
        self.broken.store(true, Ordering::SeqCst);
        let _ = self.child.signal_group(Signal::KILL);
        let _ = self.child.wait(Some(Duration::from_secs(5)));
        // Whoever is in the middle of a write has it, and lets go of it with an error.
        if let Ok(mut input) = self.input.try_lock() {
            *input = None;
        }
    }

    fn raw(&self, kind: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 1).map_err(|_| nonsense())?;
        let mut packet = Vec::with_capacity(body.len() + 5);
        packet.extend_from_slice(&length.to_be_bytes());
        packet.push(kind);
        packet.extend_from_slice(body);
        let mut input = lock(&self.input);
        let input = input.as_mut().ok_or_else(lost)?;
        input.write_all(&packet).map_err(|_| lost())
    }

    /// Asks; the answer comes by itself.
    fn ask(&self, kind: u8, words: Words) -> io::Result<Receiver<Packet>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = channel();
        lock(&self.waiting).insert(number, sender);
        if self.broken.load(Ordering::SeqCst) {
            return Err(lost());
        }
        let mut body = number.to_be_bytes().to_vec();
        body.extend_from_slice(&words.0);
        self.raw(kind, &body)?;
        Ok(answer)
    }

    fn answer(&self, answer: &Receiver<Packet>) -> io::Result<Packet> {
        answer.recv_timeout(SILENCE).map_err(|error| {
            if error == RecvTimeoutError::Timeout {
                // What comes after all would be for nobody.
                self.shut();
            }
            lost()
        })
    }

    fn call(&self, kind: u8, words: Words) -> io::Result<Packet> {
        let answer = self.ask(kind, words)?;
        self.answer(&answer)
    }

    fn handle(&self, kind: u8, words: Words) -> io::Result<Vec<u8>> {
        match self.call(kind, words)? {
            (HANDLE, body) => Ok(Parts(&body).text()?.to_vec()),
            (STATUS, body) => Err(status(&body).err().unwrap_or_else(nonsense)),
            _ => Err(nonsense()),
        }
    }

    fn close(&self, handle: &[u8]) -> io::Result<()> {
        let answer = self.call(CLOSE, Words::default().text(handle))?;
        done(&answer)
    }

    fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|name| name == extension)
    }

    fn open_file(&self, path: &[u8], flags: u32) -> io::Result<Vec<u8>> {
        // Mode 0600, for a file that is created.
        let words = Words::default()
            .text(path)
            .number(flags)
            .number(4)
            .number(0o600);
        self.handle(OPEN, words)
    }

    fn stat(&self, path: &[u8]) -> io::Result<Attributes> {
        match self.call(STAT, Words::default().text(path))? {
            (ATTRS, body) => Parts(&body).attributes(),
            (STATUS, body) => Err(status(&body).err().unwrap_or_else(nonsense)),
            _ => Err(nonsense()),
        }
    }

    fn make_directory(&self, path: &[u8]) -> io::Result<()> {
        let words = Words::default().text(path).number(4).number(0o700);
        let answer = self.call(MKDIR, words)?;
        match done(&answer) {
            Ok(()) => Ok(()),
            // The protocol has no word for "it exists".
            Err(error) => match self.stat(path) {
                Ok(found) if found.directory => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn read_directory(&self, path: &[u8]) -> io::Result<Vec<(String, Attributes)>> {
        let handle = self.handle(OPENDIR, Words::default().text(path))?;
        let mut found = Vec::new();
        let ended = loop {
            match self.call(READDIR, Words::default().text(&handle))? {
                (NAME, body) => names(&body, &mut found)?,
                (STATUS, body) => break status(&body),
                _ => return Err(nonsense()),
            }
        };
        self.close(&handle)?;
        match ended {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(found),
            Err(error) => Err(error),
            Ok(()) => Err(nonsense()),
        }
    }

    /// Reads from an open file until `end`, or to the end of the file.
    fn read_file(
        &self,
        handle: &[u8],
        start: u64,
        end: u64,
        pace: Option<&Pace>,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or(0).min(64 << 20));
        let mut asked = start;
        let mut coming = std::collections::VecDeque::new();
        loop {
            while asked < end && coming.len() < ON_THE_WAY {
                let length = (end - asked).min(PART as u64);
                let words = Words::default()
                    .text(handle)
                    .long(asked)
                    .number(u32::try_from(length).unwrap_or(0));
                coming.push_back((asked, length, self.ask(READ, words)?));
                asked += length;
            }
            let Some((at, length, answer)) = coming.pop_front() else {
                return Ok(bytes);
            };
            let part = match self.answer(&answer)? {
                (DATA, body) => Parts(&body).text()?.to_vec(),
                (STATUS, body) => match status(&body) {
                    Err(error) => return Err(error),
                    Ok(()) => return Err(nonsense()),
                },
                _ => return Err(nonsense()),
            };
            if part.is_empty() || part.len() as u64 > length {
                return Err(nonsense());
            }
            wait(pace, part.len());
            bytes.extend_from_slice(&part);
            // A server may give less than was asked for.
            let got = part.len() as u64;
            if got < length {
                let words = Words::default()
                    .text(handle)
                    .long(at + got)
                    .number(u32::try_from(length - got).unwrap_or(0));
                coming.push_front((at + got, length - got, self.ask(READ, words)?));
            }
        }
    }

    fn write_file(&self, handle: &[u8], parts: &[Bytes], pace: Option<&Pace>) -> io::Result<()> {
        let mut at = 0;
        let mut coming = std::collections::VecDeque::new();
        for part in parts.iter().flat_map(|part| part.chunks(PART)) {
            if coming.len() >= ON_THE_WAY
                && let Some(answer) = coming.pop_front()
            {
                let answer = self.answer(&answer)?;
                done(&answer)?;
            }
            wait(pace, part.len());
            let words = Words::default().text(handle).long(at).text(part);
            coming.push_back(self.ask(WRITE, words)?);
            at += part.len() as u64;
        }
        for answer in coming {
            let answer = self.answer(&answer)?;
            done(&answer)?;
        }
        Ok(())
    }

    fn extended(&self, name: &str, rest: Words) -> io::Result<Packet> {
        let mut words = Words::default().text(name.as_bytes());
        words.0.extend_from_slice(&rest.0);
        self.call(EXTENDED, words)
    }

    /// Puts a file in the place of another.
    fn replace(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let words = Words::default().text(from).text(to);
        if self.has(POSIX_RENAME) {
            let answer = self.extended(POSIX_RENAME, words)?;
            return done(&answer);
        }
        // The rename of the protocol itself does not replace. Names are digests: what is there is the same.
        let answer = self.call(RENAME, words)?;
        done(&answer).or_else(|error| {
            self.remove(to).map_err(|_| error)?;
            let words = Words::default().text(from).text(to);
            let answer = self.call(RENAME, words)?;
            done(&answer)
        })
    }

    fn remove(&self, path: &[u8]) -> io::Result<()> {
        let answer = self.call(REMOVE, Words::default().text(path))?;
        done(&answer)
    }

    /// Whether the file system has less room than that, if the server says so.
    fn is_full(&self, path: &[u8], wanted: u64) -> bool {
        if !self.has(STATVFS) {
            return false;
        }
        let free = || -> io::Result<u64> {
            match self.extended(STATVFS, Words::default().text(path))? {
                (EXTENDED_REPLY, body) => {
                    let mut parts = Parts(&body);
                    let (_, block, _, _) =
                        (parts.long()?, parts.long()?, parts.long()?, parts.long()?);
                    Ok(block.saturating_mul(parts.long()?))
                }
                _ => Err(nonsense()),
            }
        };
        free().is_ok_and(|free| free < wanted.max(64 << 10))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shut();
    }
}

/// The entries of a directory, without itself and the one above.
fn names(body: &[u8], found: &mut Vec<(String, Attributes)>) -> io::Result<()> {
    let mut parts = Parts(body);
    for _ in 0..parts.number()? {
        let name = String::from_utf8_lossy(parts.text()?).into_owned();
        parts.text()?;
        let attributes = parts.attributes()?;
        if name != "." && name != ".." {
            found.push((name, attributes));
        }
    }
    Ok(())
}

/// Reads what a server sends until something is none of the protocol: how many packets were understood.
#[cfg(fuzzing)]
pub fn packets(mut sent: &[u8]) -> usize {
    let mut understood = 0;
    while let Ok((kind, body)) = read_packet(&mut sent) {
        let mut found = Vec::new();
        let read = match kind {
            STATUS => status(&body),
            HANDLE | DATA => Parts(&body).text().map(drop),
            NAME => names(&body, &mut found),
            _ => Parts(&body).attributes().map(drop),
        };
        // Each takes twelve bytes at least.
        assert!(found.len() <= body.len() / 12);
        understood += usize::from(read.is_ok());
    }
    understood
}

/// The answer to what gives nothing but a status.
fn done(packet: &Packet) -> io::Result<()> {
    match packet {
        (STATUS, body) => status(body),
        _ => Err(nonsense()),
    }
}

fn file(end: OwnedFd) -> File {
    File::from(end)
}

fn read_packet(output: &mut impl Read) -> io::Result<Packet> {
    let mut head = [0; 5];
    output.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if !(1..=LONGEST).contains(&length) {
        return Err(nonsense());
    }
    let mut body = vec![0; length - 1];
    output.read_exact(&mut body)?;
    Ok((head[4], body))
}

/// What a status says: 0 is well, 1 the end of a file.
fn status(body: &[u8]) -> io::Result<()> {
    let mut parts = Parts(body);
    let code = parts.number()?;
    let said = parts
        .text()
        .map(|text| String::from_utf8_lossy(text).to_lowercase())
        .unwrap_or_default();
    let kind = match code {
        0 => return Ok(()),
        1 => io::ErrorKind::UnexpectedEof,
        2 => io::ErrorKind::NotFound,
        3 => io::ErrorKind::PermissionDenied,
        6 | 7 => io::ErrorKind::ConnectionReset,
        8 => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    Err(io::Error::new(kind, format!("the server says: {said}")))
}

impl Sftp {
    pub(in crate::restic) fn new(
        config: SftpConfig,
        resolver: &Resolver,
        pace: Option<Pace>,
    ) -> Self {
        // An engine reads no environment; what the caller knows of it is in the resolver.
        let environment = ["HOME", "PATH", "USER", "LOGNAME", "LANG", "SSH_AUTH_SOCK"]
            .into_iter()
            .filter_map(|name| {
                let template = Template::parse(&format!("${{env.{name}}}")).ok()?;
                let value = template.resolve(resolver).ok()?;
                Some((name.to_owned(), value.expose().to_owned()))
            })
            .collect();
        Self {
            environment,
            config,
            pace,
            connection: Mutex::new(None),
            heard: AtomicBool::new(false),
        }
    }

    fn full(&self, path: &str) -> Vec<u8> {
        let base = self.config.path.trim_end_matches('/');
        if path.is_empty() {
            return base.as_bytes().to_vec();
        }
        format!("{base}/{path}").into_bytes()
    }

    fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut held = lock(&self.connection);
        if let Some(connection) = &*held
            && !connection.broken.load(Ordering::SeqCst)
        {
            return Ok(Arc::clone(connection));
        }
        *held = None;
        let connection = Arc::new(Connection::open(&self.config, &self.environment)?);
        *held = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Does it; on a new connection if the one there is breaks off meanwhile. All that is done may be
    /// done twice.
    fn run<T>(&self, work: impl Fn(&Connection) -> io::Result<T>) -> io::Result<T> {
        let mut pause = Duration::ZERO;
        let mut tried = 1;
        loop {
            let connection = self.connection();
            let heard = self.heard.load(Ordering::Relaxed);
            let passing = match connection.map(|connection| work(&connection)) {
                Ok(Ok(done)) => {
                    self.heard.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => None,
                // One that was there a moment ago may be on its way back.
                Err(error) if heard && error.kind() != io::ErrorKind::PermissionDenied => {
                    Some(error)
                }
                Ok(Err(error)) | Err(error) => return Err(error),
            };
            if tried >= if heard { TRIES } else { TRIES_UNHEARD } {
                // What is asked for next (to take a lock away) need not wait as long for nobody.
                self.heard.store(false, Ordering::Relaxed);
                let host = &self.config.host;
                return Err(passing.unwrap_or_else(|| {
                    Advised::error(
                        io::ErrorKind::ConnectionReset,
                        format!("the connection to {host} broke off {tried} times"),
                        "try again later; what was written so far is found again",
                    )
                }));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).max(PAUSE);
            tried += 1;
        }
    }

    fn read_open(&self, path: &str, range: Option<(u32, u32)>) -> io::Result<Bytes> {
        let full = self.full(path);
        self.run(|connection| {
            let end = match range {
                Some((offset, length)) => u64::from(offset) + u64::from(length),
                None => connection.stat(&full)?.size,
            };
            let start = range.map_or(0, |(offset, _)| u64::from(offset));
            let handle = connection.open_file(&full, FOR_READING)?;
            let read = connection.read_file(&handle, start, end, self.pace.as_ref());
            let _ = connection.close(&handle);
            read.map(Bytes::from)
        })
    }
}

impl Place for Sftp {
    fn path(&self, path: &str) -> PathBuf {
        let full = String::from_utf8_lossy(&self.full(path)).into_owned();
        PathBuf::from(format!("sftp:{}:{full}", self.config.host))
    }

    fn top(&self) -> io::Result<Option<Vec<String>>> {
        let path = self.full("");
        match self.run(|connection| connection.read_directory(&path)) {
            Ok(found) => Ok(Some(found.into_iter().map(|(name, _)| name).collect())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self) -> io::Result<()> {
        self.run(|connection| {
            let top = String::from_utf8_lossy(&self.full("")).into_owned();
            for (at, _) in top.match_indices('/').filter(|(at, _)| *at > 0) {
                // What is above may not be ours to look at.
                let _ = connection.make_directory(&top.as_bytes()[..at]);
            }
            connection.make_directory(top.as_bytes())?;
            let subs = (0..=255u8).map(|first| format!("data/{first:02x}"));
            let tops = ["index", "keys", "locks", "snapshots", "data"].map(str::to_owned);
            for directory in tops.into_iter().chain(subs) {
                connection.make_directory(&self.full(&directory))?;
            }
            Ok(())
        })
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Listed>> {
        let listed = |(name, attributes): (String, Attributes)| Listed {
            name,
            size: attributes.size,
            modified: attributes.modified,
        };
        let path = self.full(directory);
        let found = self.run(|connection| connection.read_directory(&path))?;
        let (below, files): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(_, attributes)| attributes.directory);
        let mut files: Vec<Listed> = files.into_iter().map(listed).collect();
        if directory != "data" {
            return Ok(files);
        }
        // Many at once: each takes a few ways there and back.
        let next = AtomicU32::new(0);
        let found = Mutex::new(Ok(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while let Some((name, _)) =
                        below.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                    {
                        let path = self.full(&format!("data/{name}"));
                        let read = self.run(|connection| connection.read_directory(&path));
                        let mut found = lock(&found);
                        match (read, &mut *found) {
                            (Ok(read), Ok(found)) => found.extend(
                                read.into_iter()
                                    .filter(|(_, attributes)| !attributes.directory)
                                    .map(listed),
                            ),
                            (Err(error), Ok(_)) => *found = Err(error),
                            (_, Err(_)) => break,
                        }
                    }
                });
            }
        });
        let found = found.into_inner();
        files.extend(found.unwrap_or_else(std::sync::PoisonError::into_inner)?);
        Ok(files)
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        let path = self.full(path);
        self.run(|connection| connection.stat(&path))
            .map(|found| found.size)
    }

    fn read(&self, path: &str) -> io::Result<Bytes> {
        self.read_open(path, None)
    }

    fn read_range(&self, path: &str, offset: u32, length: u32) -> io::Result<Bytes> {
        self.read_open(path, Some((offset, length)))
    }

    fn write(&self, path: &str, parts: &[Bytes]) -> io::Result<()> {
        let full = self.full(path);
        // Not an id, so that no listing of ours or of restic takes it for a finished file.
        let temporary = [&full[..], b"-tmp-"].concat();
        let size = parts.iter().map(|part| part.len() as u64).sum();
        self.run(|connection| {
            let written = (|| {
                let handle = match connection.open_file(&temporary, FOR_WRITING) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                        connection.make_directory(&self.full(parent))?;
                        connection.open_file(&temporary, FOR_WRITING)?
                    }
                    opened => opened?,
                };
                let written = connection
                    .write_file(&handle, parts, self.pace.as_ref())
                    .and_then(|()| {
                        if connection.has(FSYNC) {
                            let answer = connection.extended(FSYNC, Words::default().text(&handle))?;
                            done(&answer)?;
                        }
                        Ok(())
                    });
                let closed = connection.close(&handle);
                written.and(closed)?;
                connection.replace(&temporary, &full)
            })();
            let Err(error) = written else { return Ok(()) };
            if error.kind() == io::ErrorKind::Other && connection.is_full(&self.full(""), size) {
                let _ = connection.remove(&temporary);
                let host = &self.config.host;
                return Err(Advised::error(
                    io::ErrorKind::StorageFull,
                    format!("no space left on {host}"),
                    format!("free space on {host}, or keep fewer snapshots, and try again; nothing was left half done"),
                ));
            }
            if error.kind() != io::ErrorKind::ConnectionReset {
                let _ = connection.remove(&temporary);
            }
            Err(error)
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.full(path);
        self.run(|connection| connection.remove(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_cut_short_are_errors() {
        let whole = Words::default()
            .number(1 | 2 | 4 | 8)
            .long(77)
            .number(0)
            .number(0)
            .number(0o040_755)
            .number(1)
            .number(2)
            .0;
        let found = Parts(&whole).attributes().unwrap();
        assert!(found.directory && found.size == 77);
        for length in 0..whole.len() {
            assert!(Parts(&whole[..length]).attributes().is_err(), "{length}");
        }
        assert!(Parts(&u32::MAX.to_be_bytes()).text().is_err());
        for packet in [
            &[0, 0, 0, 0, 1][..],
            &[255, 255, 255, 255, 1],
            &[0, 0, 0, 9, 1],
        ] {
            assert!(read_packet(&mut &*packet).is_err(), "{packet:?}");
        }
    }

    #[test]
    fn a_status_has_its_kind() {
        let status_of = |code: u32| {
            let body = Words::default().number(code).text(b"Words").text(b"en").0;
            status(&body).map_err(|error| error.kind())
        };
        assert_eq!(status_of(0), Ok(()));
        assert_eq!(status_of(2), Err(io::ErrorKind::NotFound));
        assert_eq!(status_of(3), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(status_of(4), Err(io::ErrorKind::Other));
        assert!(status(&[]).is_err());
    }
}

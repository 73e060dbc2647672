//! Pulls the RDB of a server as a replica would, and leaves.
//!
//! The server forks and sends what its child writes, without its own disk (`$EOF:` and a mark at the
//! end), or writes a file first and sends that (`$` and a length), as it is set up. Every byte goes to
//! a private file as fast as it comes, and a second thread reads along behind: a server cuts off a
//! replica that is slow, so nothing that could be slow is in between.
//!
//! No `listening-port` is told: what would be told is shown by INFO as the place of a replica, and
//! nobody listens there. With `rdb-only` (6.2 and newer) the server keeps no stream of writes for us
//! either, so that `client-output-buffer-limit` does not matter.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay_base::hex;
use sha2::{Digest, Sha256};

use super::client::{Client, Trouble};
use super::rdb::{self, Contents, Fault};
use crate::error::{Error, ErrorKind, kind_of_io};
use crate::progress::Progress;

/// How long a server may send nothing at all. Its own patience with a replica (`repl-timeout`) is the
/// same by default.
const SILENCE: Duration = Duration::from_mins(1);

/// The bytes of the mark at the end of a transfer whose length is not known.
const MARK: usize = 40;

/// A file that was pulled and found whole.
#[derive(Debug)]
pub(super) struct Pulled {
    /// The history that the server's writes belong to.
    pub(super) replid: String,
    /// How far in it the file is.
    pub(super) offset: u64,
    pub(super) contents: Contents,
    pub(super) sha256: String,
    pub(super) took: Duration,
    /// Whether the server kept no stream of writes for us meanwhile.
    pub(super) rdb_only: bool,
}

/// Pulls to a new file, 0600.
pub(super) fn pull(
    mut client: Client,
    to: &Path,
    attempt: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Pulled, Error> {
    let begun = Instant::now();
    let stop = || progress.cancelled();
    let explain = |trouble: Trouble| {
        if progress.cancelled() {
            Error::new(ErrorKind::Cancelled, attempt, "the caller asked to stop")
        } else {
            trouble.explain(attempt)
        }
    };
    let rdb_only = introduce(&mut client).map_err(explain)?;
    let (replid, offset) = full_resync(&mut client, &stop).map_err(explain)?;
    let form = form(&mut client, &stop).map_err(explain)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|error| Error::io(attempt, to, &error))?;
    if let Form::Length(length) = form {
        progress.begin("Pulling the data", Some(length));
        check_room(to, length, attempt)?;
    }
    let behind = File::open(to).map_err(|error| Error::io(attempt, to, &error))?;
    let shared = Shared::default();
    let (received, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut tail = Tail {
                file: behind,
                at: 0,
                shared: &shared,
                digest: Sha256::new(),
            };
            let contents = rdb::read(&mut tail);
            shared.given_up.store(contents.is_err(), Ordering::Relaxed);
            (contents, tail.digest)
        });
        let mut receiver = Receiver {
            client: &mut client,
            file,
            shared: &shared,
            progress,
            acknowledge: (!rdb_only).then_some(offset),
        };
        let received = receiver.receive(&form);
        shared.finish();
        (received, reader.join())
    });
    match received {
        Err(Failed::Here(error)) => return Err(here(attempt, to, &error)),
        Err(Failed::There(error)) => return Err(explain(error.into())),
        Ok(()) => {}
    }
    client.leave();
    let Ok((contents, digest)) = read else {
        return Err(Error::new(
            ErrorKind::Internal,
            attempt,
            "the reader of the file failed",
        ));
    };
    let contents = contents.map_err(|fault| unsound(attempt, &fault))?;
    Ok(Pulled {
        replid,
        offset,
        contents,
        sha256: hex(&digest.finalize()),
        took: begun.elapsed(),
        rdb_only,
    })
}

fn here(attempt: &str, to: &Path, error: &io::Error) -> Error {
    let made = Error::io(attempt, to, error);
    match kind_of_io(error) {
        ErrorKind::DiskFull => made.with_help(
            "the data is kept in the state directory while it is stored, and needs as much room there as the server's dump.rdb; free some and try again",
        ),
        _ => made,
    }
}

fn unsound(attempt: &str, fault: &Fault) -> Error {
    Error::new(
        ErrorKind::SourceUnreadable,
        attempt,
        format!("what the server sent is not a whole RDB file: {fault}"),
    )
    .with_help("run it again; if it stays so, look at the server's log and the network in between; nothing was stored")
}

/// Says who we are; whether the server gives us the file alone.
fn introduce(client: &mut Client) -> Result<bool, Trouble> {
    client.ask(&["PING"])?;
    // For those who look at CLIENT LIST; a server that refuses it gives the data all the same.
    allowed(client.ask(&["CLIENT", "SETNAME", "mainstay-backup"]))?;
    client.ask(&["REPLCONF", "capa", "eof", "capa", "psync2"])?;
    allowed(client.ask(&["REPLCONF", "rdb-only", "1"]))
}

fn allowed<T>(answer: Result<T, Trouble>) -> Result<bool, Trouble> {
    match answer {
        Ok(_) => Ok(true),
        Err(Trouble::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn full_resync(client: &mut Client, stop: &dyn Fn() -> bool) -> Result<(String, u64), Trouble> {
    client.say(&["PSYNC", "?", "-1"])?;
    let line = client.line(SILENCE, stop)?;
    let mut words = line.split(' ');
    let first = words.next().unwrap_or_default();
    if let Some(refused) = line.strip_prefix('-') {
        return Err(Trouble::Refused(refused.to_owned()));
    }
    match (first, words.next(), words.next().map(str::parse)) {
        ("+FULLRESYNC", Some(replid), Some(Ok(offset))) if replid.len() <= 64 => {
            Ok((replid.to_owned(), offset))
        }
        _ => Err(strange("an answer to PSYNC that is none")),
    }
}

fn strange(what: &str) -> Trouble {
    Trouble::Io(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it sent {what}"),
    ))
}

/// How the end of the file is known.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Length(u64),
    Mark([u8; MARK]),
}

fn form(client: &mut Client, stop: &dyn Fn() -> bool) -> Result<Form, Trouble> {
    let line = client.line(SILENCE, stop)?;
    if let Some(refused) = line.strip_prefix('-') {
        return Err(Trouble::Refused(refused.to_owned()));
    }
    let form = line
        .strip_prefix('$')
        .and_then(|form| match form.strip_prefix("EOF:") {
            Some(mark) => mark.as_bytes().try_into().ok().map(Form::Mark),
            None => form.parse().ok().map(Form::Length),
        });
    form.ok_or_else(|| strange("neither a length nor a mark where its data should begin"))
}

fn check_room(to: &Path, length: u64, attempt: &str) -> Result<(), Error> {
    let Some(directory) = to.parent() else {
        return Ok(());
    };
    let about = rustix::fs::statvfs(directory)
        .map_err(|error| Error::io(attempt, directory, &error.into()))?;
    if about.f_bavail.saturating_mul(about.f_frsize) < length {
        return Err(here(attempt, to, &io::ErrorKind::StorageFull.into()));
    }
    Ok(())
}

/// What the thread that receives tells the one that reads along.
#[derive(Default)]
struct Shared {
    /// Bytes of the file that are no mark, and whether there will be no more.
    visible: Mutex<(u64, bool)>,
    changed: Condvar,
    given_up: AtomicBool,
}

impl Shared {
    fn show(&self, bytes: u64) {
        let mut visible = self.visible.lock().unwrap_or_else(PoisonError::into_inner);
        visible.0 = visible.0.max(bytes);
        self.changed.notify_one();
    }

    fn finish(&self) {
        let mut visible = self.visible.lock().unwrap_or_else(PoisonError::into_inner);
        visible.1 = true;
        self.changed.notify_one();
    }

    /// How much there is beyond `at`; waits for some, or for the end.
    fn beyond(&self, at: u64) -> u64 {
        let mut visible = self.visible.lock().unwrap_or_else(PoisonError::into_inner);
        while visible.0 <= at && !visible.1 {
            visible = self
                .changed
                .wait(visible)
                .unwrap_or_else(PoisonError::into_inner);
        }
        visible.0.saturating_sub(at)
    }
}

/// Reads a file that grows.
struct Tail<'a> {
    file: File,
    at: u64,
    shared: &'a Shared,
    digest: Sha256,
}

impl Read for Tail<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let beyond = usize::try_from(self.shared.beyond(self.at)).unwrap_or(usize::MAX);
        let wanted = beyond.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.digest.update(&buffer[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

/// Where something failed: on our disk, or at the server.
enum Failed {
    Here(io::Error),
    There(io::Error),
}

struct Receiver<'a> {
    client: &'a mut Client,
    file: File,
    shared: &'a Shared,
    progress: &'a Arc<dyn Progress>,
    /// The offset to acknowledge while it lasts, where the server counts us as a replica.
    acknowledge: Option<u64>,
}

impl Receiver<'_> {
    fn receive(&mut self, form: &Form) -> Result<(), Failed> {
        let mut last: Vec<u8> = Vec::with_capacity(2 * MARK);
        let mut received = 0u64;
        let mut acknowledged = Instant::now();
        loop {
            match form {
                Form::Length(length) if received == *length => {
                    self.shared.show(received);
                    return Ok(());
                }
                // The server says nothing after its mark, so the end of what came is where it is.
                Form::Mark(mark) if last == *mark => {
                    return self
                        .file
                        .set_len(received - MARK as u64)
                        .map_err(Failed::Here);
                }
                _ => {}
            }
            // The reader found damage, or an end that is not where it should be.
            if self.shared.given_up.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Some(offset) = self.acknowledge
                && acknowledged.elapsed() > Duration::from_secs(1)
            {
                acknowledged = Instant::now();
                let offset = offset.to_string();
                self.client
                    .say(&["REPLCONF", "ACK", &offset])
                    .map_err(Failed::There)?;
            }
            let progress = self.progress;
            let stop = || progress.cancelled();
            let came = self.client.wait(SILENCE, &stop).map_err(Failed::There)?;
            let came = match form {
                Form::Length(length) => {
                    let left = usize::try_from(length - received).unwrap_or(usize::MAX);
                    &came[..came.len().min(left)]
                }
                Form::Mark(_) => came,
            };
            if came.is_empty() {
                return Err(Failed::There(io::ErrorKind::UnexpectedEof.into()));
            }
            self.file.write_all(came).map_err(Failed::Here)?;
            let count = came.len();
            received += count as u64;
            if let Form::Mark(_) = form {
                last.extend_from_slice(&came[count.saturating_sub(MARK)..]);
                last.drain(..last.len().saturating_sub(MARK));
                self.shared.show(received.saturating_sub(MARK as u64));
            } else {
                self.shared.show(received);
            }
            self.client.consume(count);
            progress.advance(count as u64);
        }
    }
}

#[cfg(test)]
mod tests;

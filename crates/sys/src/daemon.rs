//! Going to the background, with a verdict for whoever started us.
//!
//! The process forks. The parent waits until the daemon says that it is ready or why it failed, so
//! that a bad configuration or an address in use is still seen by the caller, with the right exit
//! code:
//!
//! ```no_run
//! use mainstay_sys::daemon::{Daemonized, Verdict, daemonize};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! match daemonize(0o022)? {
//!     Daemonized::Parent(Verdict::Ready { .. }) => std::process::exit(0),
//!     Daemonized::Parent(Verdict::Failed { text, code }) => { /* print the text, exit with the code */ }
//!     Daemonized::Parent(Verdict::Died(status)) => { /* say so, exit with 1 */ }
//!     Daemonized::Daemon(ready) => {
//!         // open sockets, take the lock, ... and when all is well:
//!         ready.ready()?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::call::{Whom, check, wait_id};
use crate::child::ExitStatus;
use crate::error::DaemonError;
use crate::proc;

/// In which of the two processes we are.
#[derive(Debug)]
pub enum Daemonized {
    /// The one that was called. It has nothing left to do but to tell the verdict and exit.
    Parent(Verdict),
    /// The daemon: leader of its own session, without terminal.
    Daemon(ReadyPipe),
}

/// What became of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Ready {
        /// Its pid.
        pid: i32,
    },
    /// It gave up, and says why.
    Failed {
        /// For standard error.
        text: String,
        /// The exit code for the caller.
        code: u8,
    },
    /// It ended without a word.
    Died(ExitStatus),
}

/// The daemon's side: tells the waiting parent how it went. Dropping it without a word leaves the
/// parent waiting until the daemon ends.
#[derive(Debug)]
pub struct ReadyPipe {
    pipe: File,
}

impl ReadyPipe {
    /// All is well: standard input, output and error become `/dev/null`, and the parent is told to
    /// exit with 0.
    ///
    /// Until now they were the caller's, so that what went wrong could still be seen. If this fails
    /// the daemon has no way left to say so but its log; the parent then reports that it died when
    /// it ends.
    pub fn ready(mut self) -> io::Result<()> {
        let null: OwnedFd = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?
            .into();
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        // Nobody there to be told is no reason to stop: the caller may have been killed while it
        // waited.
        match self.pipe.write_all(&[READY]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// It failed: the parent gets the text for its standard error and the code to exit with.
    pub fn fail(mut self, text: &str, code: u8) -> io::Result<()> {
        self.pipe
            .write_all(&[&[FAILED, code], text.as_bytes()].concat())
    }
}

const READY: u8 = b'R';
const FAILED: u8 = b'F';

/// Forks; the child becomes a session leader with this file mode mask and goes on as the daemon,
/// the parent waits for its verdict. One fork and setsid(2), as supervisord does; the working
/// directory stays.
///
/// Must come before any thread is started. Everything open is open in both: sockets and listeners
/// stay with the daemon. Take a [`LockFile`](crate::LockFile) afterwards, since the pid changes.
pub fn daemonize(umask: u32) -> Result<Daemonized, DaemonError> {
    let failed = |doing| move |source| DaemonError::Io { doing, source };
    // The other threads would be missing in the child, with whatever locks they hold.
    let threads = proc::thread_count().map_err(failed("counting the threads"))?;
    if threads != 1 {
        return Err(DaemonError::Threads(threads));
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| failed("making a pipe")(io::Error::from(errno)))?;
    // SAFETY: there is no other thread, so the child is a whole copy of this process.
    let pid = check(unsafe { libc::fork() }).map_err(failed("fork"))?;
    if pid == 0 {
        drop(reader);
        let ready = ReadyPipe {
            pipe: writer.into(),
        };
        // A fresh child leads no group, so this cannot fail for the only reason there is; told all
        // the same.
        rustix::process::setsid().map_err(|errno| failed("starting a session")(errno.into()))?;
        proc::set_umask(umask);
        return Ok(Daemonized::Daemon(ready));
    }
    drop(writer);
    let mut told = Vec::new();
    // An error here reads like a daemon that said nothing, which is then waited for.
    let _ = File::from(reader).read_to_end(&mut told);
    Ok(Daemonized::Parent(match told.split_first() {
        Some((&READY, _)) => Verdict::Ready { pid },
        Some((&FAILED, [code, text @ ..])) => Verdict::Failed {
            text: String::from_utf8_lossy(text).into_owned(),
            code: *code,
        },
        _ => Verdict::Died(
            wait_id(Whom::Pid(pid), 0)
                .ok()
                .flatten()
                .map_or(ExitStatus::Unknown, |ended| ended.1),
        ),
    }))
}

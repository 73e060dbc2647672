//! A program as a channel: no shell, the message as JSON on its standard input, a time limit for it
//! and all it starts.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use mainstay_base::{Resolver, Secret};
use mainstay_sys::pipe::set_nonblocking;
use mainstay_sys::spawn::resolve_program;
use mainstay_sys::{Child, ExitStatus, Signal, Spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::channel::{Channel, Failure};
use crate::config::ExecConfig;
use crate::dialect;
use crate::message::Message;

/// Where programs without a slash in their name are looked for, and what they find as `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How much of what it says is kept, the end of it.
const SAID: usize = 2 << 10;
/// The exit code by which a program refuses a message for good (`EX_DATAERR` of sysexits.h).
const REFUSED: i32 = 65;

/// A channel that runs a program.
pub(crate) struct ExecChannel {
    name: String,
    config: ExecConfig,
    zone: TimeZone,
    resolver: Resolver,
}

impl ExecChannel {
    pub(crate) fn new(name: &str, config: ExecConfig, zone: TimeZone, resolver: Resolver) -> Self {
        Self {
            name: name.to_owned(),
            config,
            zone,
            resolver,
        }
    }

    fn run(&self, message: &Message) -> Result<(), Failure> {
        let program = self.config.command.first().map_or("", String::as_str);
        let broken = |what: &str, why: &dyn std::fmt::Display| {
            Failure::temporary(
                format!("cannot {what} `{program}`: {why}"),
                "check `command` of the channel, and run it by hand with a message on its standard input",
            )
        };
        let mut secrets = Vec::new();
        let mut environment: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), PATH.into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("MAINSTAY_MESSAGE_ID".into(), message.id.clone().into()),
        ];
        for (name, value) in &self.config.env {
            let what = format!("the variable {name} of the channel");
            let value = value.read(&what, &self.resolver)?;
            environment.retain(|(known, _)| known != name.as_str());
            environment.push((name.into(), value.expose().into()));
            secrets.push(value);
        }
        let path = environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.clone())
            .unwrap_or_default();
        let file = resolve_program(program.as_ref(), &path, Path::new("/"))
            .map_err(|error| broken("run", &error))?;
        let input = handed(&dialect::plain(message, &self.zone).to_string())
            .map_err(|error| broken("hand the message to", &error))?;
        let (output, writer, writer_too) = outlet().map_err(|error| broken("run", &error))?;
        let identity = match &self.config.user {
            None => None,
            Some(user) => Some(
                mainstay_sys::users::lookup(user)
                    .map_err(|error| broken("find the user of", &error))?
                    .ok_or_else(|| {
                        Failure::temporary(
                            format!("there is no user `{user}` on this system"),
                            "check `user` of the channel",
                        )
                    })?
                    .identity,
            ),
        };
        let mut spawn = Spawn::new(file);
        spawn.args = self.config.command.iter().map(OsString::from).collect();
        spawn.env = environment;
        spawn.cwd = Some("/".into());
        spawn.identity = identity;
        spawn.fds = vec![(input, 0), (writer, 1), (writer_too, 2)];
        spawn.session = true;
        let child = spawn.spawn().map_err(|error| broken("run", &error))?;
        // Our writing ends are closed with it.
        drop(spawn);
        let (status, said) = follow(&child, output, self.config.timeout)
            .map_err(|error| broken("follow", &error))?;
        let said = shown(&said, &secrets);
        let failed = |why: String| {
            if said.is_empty() {
                why
            } else {
                format!("{why}: {said}")
            }
        };
        match status {
            Some(ExitStatus::Code(0)) => Ok(()),
            Some(ExitStatus::Code(REFUSED)) => Err(Failure::permanent(
                failed(format!(
                    "`{program}` refuses the message with code {REFUSED}"
                )),
                "see what it says, and run it by hand with a message on its standard input",
            )),
            Some(ExitStatus::Code(code)) => Err(Failure::temporary(
                failed(format!("`{program}` ended with code {code}")),
                "see what it says; it is tried again. A program that wants no further attempt ends with code 65",
            )),
            Some(ExitStatus::Signal(number, _)) => Err(Failure::temporary(
                failed(format!("`{program}` was killed by signal {number}")),
                "see what it says; it is tried again",
            )),
            Some(ExitStatus::Unknown) => Err(Failure::temporary(
                failed(format!("`{program}` ended, and nobody knows how")),
                "nothing: it is tried again",
            )),
            None => Err(Failure::temporary(
                failed(format!("`{program}` did not end in time and was killed")),
                "raise `timeout` of the channel, or see what the program waits for",
            )),
        }
    }
}

impl Channel for ExecChannel {
    fn recipients(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn deliver(&self, message: &Message, to: &[String]) -> Vec<Result<(), Failure>> {
        let result = self.run(message);
        to.iter().map(|_| result.clone()).collect()
    }
}

/// A file in memory with this text, so that no pipe is too small for it and a full disk does not matter.
fn handed(text: &str) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("alert", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// A pipe for what a program says: our end, which does not block, and twice the program's.
fn outlet() -> std::io::Result<(File, OwnedFd, OwnedFd)> {
    let (output, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    set_nonblocking(&output, true)?;
    let writer_too = writer.try_clone()?;
    Ok((output.into(), writer, writer_too))
}

/// Reads what a program says until it ends. One that takes too long is killed with all of its group,
/// and gives no status.
fn follow(
    child: &Child,
    mut output: File,
    timeout: Duration,
) -> std::io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let mut said = Vec::new();
    let mut open = true;
    let mut patience = Patience::Running;
    let mut until = Instant::now() + timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let (signal, next) = match patience {
                Patience::Running => (Signal::TERM, Patience::Asked),
                Patience::Asked | Patience::Killed => (Signal::KILL, Patience::Killed),
            };
            patience = next;
            until = Instant::now() + GRACE;
            // Its leader may have ended just now; the next turn sees that.
            let _ = child.signal_group(signal);
            continue;
        }
        let limit = Timespec::try_from(left).ok();
        let child_fd = child.as_fd();
        let mut fds = vec![PollFd::from_borrowed_fd(child_fd, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(&output, PollFlags::IN));
        }
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = !fds.first().is_none_or(|fd| fd.revents().is_empty());
        drop(fds);
        open = open && drain(&mut output, &mut said);
        if ended {
            if patience != Patience::Running {
                // What it started may have stayed; until it is reaped its number names the group.
                let _ = child.signal_group(Signal::KILL);
                child.try_wait()?;
                return Ok((None, said));
            }
            let status = child.try_wait()?.unwrap_or(ExitStatus::Unknown);
            return Ok((Some(status), said));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Running,
    Asked,
    Killed,
}

/// Takes what is in a pipe now, at most some of it, and keeps the end; whether more may come.
fn drain(output: &mut File, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    for _ in 0..64 {
        match output.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                said.extend_from_slice(&buffer[..count]);
                let extra = said.len().saturating_sub(SAID);
                said.drain(..extra);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// The end of what a program said, in one line and without the secrets it was given.
fn shown(said: &[u8], secrets: &[Secret]) -> String {
    let mut text = String::from_utf8_lossy(said).into_owned();
    for secret in secrets {
        // A very short value is more likely a flag than a secret, and would tear every text apart.
        if secret.expose().len() >= 4 {
            text = text.replace(secret.expose(), "***");
        }
    }
    let text = text.trim_end();
    let mut from = text.len().saturating_sub(200);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    dialect::excerpt(&text[from..])
}

//! Programs that a drill starts: in the scratch directory, with an environment of its own, and gone
//! with us.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_sys::{Child, ExitStatus, Signal, Spawn};

use super::scratch::Guest;
use super::{Check, Drill, brief, cancelled};
use crate::error::{Error, ErrorKind};
use crate::program::environment;

/// So long a program may take for its start, or for its one task.
const PATIENCE: Duration = Duration::from_mins(10);

/// So often it is looked whether a server answers.
const LOOK: Duration = Duration::from_millis(20);

/// So much of what a program prints is read, in bytes.
const PRINTED: u64 = 1 << 20;

/// The directory for temporary files.
pub(super) const TEMPORARY: &str = "tmp";

/// What of a program's last words is told.
const LAST_WORDS: usize = 600;

/// That something cannot be drilled on this host. It is no failure of the backup, and no success.
pub(super) fn impossible(drill: &Drill<'_>, why: &str) -> Error {
    Error::new(
        ErrorKind::NoServer,
        drill.attempt(),
        format!("cannot be drilled here: {why}"),
    )
    .with_help("install the server's program on this host, or name it: `drill = { program = \"/path/to/it\" }`; it is started only for drills, without the network")
}

/// A program in a drill; killed with this, with all that it started.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it in `directory`, as a guest if there is one; what it writes goes into `NAME.log` in the
    /// scratch place.
    pub(super) fn start(
        drill: &Drill<'_>,
        guest: Option<&Guest>,
        program: &Path,
        args: Vec<OsString>,
        directory: &Path,
        name: &str,
    ) -> Result<Self, Error> {
        let attempt = drill.attempt();
        let scratch = drill.scratch.path();
        let log = scratch.join(format!("{name}.log"));
        let fail = |error: std::io::Error| Error::io(&attempt, &log, &error);
        let output: File = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&log)
            .map_err(fail)?;
        let errors = output.try_clone().map_err(fail)?;
        let lock = drill.scratch.share_lock().map_err(fail)?;
        let mut spawn = Spawn::new(program);
        spawn.args.extend(args);
        spawn.env = match guest {
            Some(_) => environment(&scratch.join(TEMPORARY)),
            None => environment(scratch),
        };
        spawn.cwd = Some(directory.to_owned());
        spawn.umask = Some(0o077);
        spawn.session = true;
        spawn.dies_with_us = true;
        spawn.fds = vec![
            (OwnedFd::from(output), 1),
            (OwnedFd::from(errors), 2),
            (lock, 3),
        ];
        if let Some(guest) = guest {
            spawn.identity = Some(guest.identity.clone());
            spawn.no_new_privs = true;
        }
        let child = spawn.spawn().map_err(|error| {
            Error::new(
                ErrorKind::NoServer,
                &attempt,
                format!("cannot be drilled here: {error}"),
            )
        })?;
        Ok(Self { child, log })
    }

    /// Waits until it answers: `ask` says whether it does.
    pub(super) fn wait_until<T>(
        &self,
        drill: &Drill<'_>,
        mut ask: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            if let Some(status) = self.ended(drill)? {
                return Err(self.failed(drill, &format!("it ended: {status}")));
            }
            if begun.elapsed() > PATIENCE {
                let why = format!("it did not answer within {} s", PATIENCE.as_secs());
                return Err(self.failed(drill, &why));
            }
        }
    }

    /// Waits for its end, which must be a good one.
    pub(super) fn finish(self, drill: &Drill<'_>) -> Result<(), Error> {
        let status = self.status(drill, PATIENCE)?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(drill, &format!("it ended: {status}")))
        }
    }

    fn status(&self, drill: &Drill<'_>, patience: Duration) -> Result<ExitStatus, Error> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended(drill)? {
                return Ok(status);
            }
            if begun.elapsed() > patience {
                let why = format!("it did not end within {} s", patience.as_secs());
                return Err(self.failed(drill, &why));
            }
        }
    }

    /// How it ended, if it has; waits for that a little.
    fn ended(&self, drill: &Drill<'_>) -> Result<Option<ExitStatus>, Error> {
        if drill.progress.cancelled() {
            return Err(cancelled(&drill.attempt()));
        }
        self.child
            .wait(Some(LOOK))
            .map_err(|error| Error::io(drill.attempt(), &self.log, &error))
    }

    /// What it did wrong, with its last words.
    fn failed(&self, drill: &Drill<'_>, why: &str) -> Error {
        let words = printed(&self.log).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let lines: Vec<&str> = words.lines().rev().take(4).collect();
        let mut said: String = lines.into_iter().rev().collect::<Vec<_>>().join("; ");
        said.retain(|c| !c.is_control());
        let skip = said.chars().count().saturating_sub(LAST_WORDS);
        let said: String = said.chars().skip(skip).collect();
        let reason = if said.is_empty() {
            format!("the scratch server: {why}")
        } else {
            format!("the scratch server: {why}; its last words: {said}")
        };
        Error::new(ErrorKind::Damaged, drill.attempt(), reason).with_help(
            "if it says that what it reads is damaged, drill an older snapshot; if that it is too old for it, name a newer one as `drill.program`",
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its data is thrown away.
        let _ = self.child.signal_group(Signal::KILL);
        let _ = self.child.wait(Some(PATIENCE));
    }
}

/// What a program has printed: the end of it, if that is much.
fn printed(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(PRINTED)))?;
    let mut end = Vec::new();
    file.take(PRINTED).read_to_end(&mut end)?;
    Ok(end)
}

/// Looks for an account that the server may run as. Where there is none that can, it runs as root, and
/// that is said.
pub(super) fn invite(drill: &mut Drill<'_>, names: &[&str]) {
    let Some(guest) = Guest::find(names) else {
        return;
    };
    let why = match drill.scratch.invite(&guest, &drill.backups.state) {
        Ok(None) => {
            drill.guest = Some(guest);
            return;
        }
        Ok(Some(closed)) => format!("{} is closed to others", closed.display()),
        Err(error) => error.to_string(),
    };
    as_root(drill, &why);
}

fn as_root(drill: &mut Drill<'_>, why: &str) {
    drill.guest = None;
    drill.report.notes.push(format!(
        "the scratch server runs as root, and not as a user without rights: {why}"
    ));
}

/// The version that a server's program says. One that cannot be run by a guest is run as root.
pub(super) fn version(
    drill: &mut Drill<'_>,
    program: &Path,
    args: &[&str],
) -> Result<String, Error> {
    if let Some(guest) = drill.guest.clone() {
        match output(drill, Some(&guest), program, args, "version") {
            Ok(said) => return Ok(said),
            Err(error) => as_root(drill, error.reason()),
        }
    }
    output(drill, None, program, args, "version-as-root")
}

/// What a program prints, which ends by itself.
fn output(
    drill: &Drill<'_>,
    guest: Option<&Guest>,
    program: &Path,
    args: &[&str],
    name: &str,
) -> Result<String, Error> {
    let args = args.iter().map(Into::into).collect();
    let running = Running::start(drill, guest, program, args, drill.scratch.path(), name)?;
    let log = running.log.clone();
    running.finish(drill)?;
    let said = printed(&log).map_err(|error| Error::io(drill.attempt(), &log, &error))?;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// An assertion that is a program.
pub(super) fn command(
    words: &[String],
    is: Option<&str>,
    directory: &Path,
    name: &str,
    drill: &Drill<'_>,
) -> Check {
    let mut check = Check {
        what: words.join(" "),
        expected: is.map_or_else(|| "exit code 0".to_owned(), str::to_owned),
        found: String::new(),
        holds: false,
    };
    let Some((program, args)) = words.split_first() else {
        return check;
    };
    let args = args.iter().map(Into::into).collect();
    let run = Running::start(drill, None, Path::new(program), args, directory, name)
        .and_then(|running| Ok((running.status(drill, PATIENCE)?, running.log.clone())));
    match run {
        Err(error) => error.reason().clone_into(&mut check.found),
        Ok((status, log)) => {
            let said = printed(&log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let printed = brief(&said);
            check.holds = status.success() && is.is_none_or(|is| said.trim_end() == is.trim_end());
            check.found = match (is, status.success()) {
                (Some(_), true) => printed,
                (None, true) => "exit code 0".to_owned(),
                (_, false) if printed.is_empty() => status.to_string(),
                (_, false) => format!("{status}: {printed}"),
            };
        }
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_that_is_printed_the_end_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        for (length, expected) in [
            (0_u64, 0),
            (5, 5),
            (PRINTED, PRINTED),
            (3 * PRINTED, PRINTED),
        ] {
            File::create(&log).unwrap().set_len(length).unwrap();
            let mut file = OpenOptions::new().append(true).open(&log).unwrap();
            std::io::Write::write_all(&mut file, b"end").unwrap();
            let end = printed(&log).unwrap();
            let most = (expected + 3).min(PRINTED);
            assert_eq!(end.len() as u64, most, "{length}");
            assert!(end.ends_with(b"end"));
        }
        assert!(printed(&directory.path().join("none")).is_err());
    }
}

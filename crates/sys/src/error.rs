//! What can go wrong, in words: each error says what was tried, on what, why it failed and what to
//! do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::ExitStatus;

/// The step at which starting a program failed. The order is the order in which the steps are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Stage {
    /// Something in the request itself is wrong (a NUL byte, a target descriptor twice); nothing
    /// was started.
    Prepare = 1,
    /// The new process could not be made: too many processes, no memory, no descriptor left.
    Clone,
    /// `setsid(2)`.
    Session,
    /// Putting the descriptors in place, or closing the others.
    Descriptors,
    /// `setrlimit(2)`.
    Limits,
    /// `setgroups(2)`.
    Groups,
    /// `setresgid(2)`.
    Gid,
    /// `setresuid(2)`.
    Uid,
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    NoNewPrivs,
    /// `chdir(2)`, done as the user of the program.
    Chdir,
    /// `execve(2)`, done as the user of the program.
    Exec,
}

impl Stage {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        use Stage::{
            Chdir, Clone, Descriptors, Exec, Gid, Groups, Limits, NoNewPrivs, Prepare, Session, Uid,
        };
        [
            Prepare,
            Clone,
            Session,
            Descriptors,
            Limits,
            Groups,
            Gid,
            Uid,
            NoNewPrivs,
            Chdir,
            Exec,
        ]
        .into_iter()
        .find(|stage| *stage as u32 == number)
    }
}

/// A program that could not be started: at which step, on what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnError {
    /// The step that failed.
    pub stage: Stage,
    /// Why, as the kernel said it.
    pub errno: Errno,
    /// The program that was to be started.
    pub program: PathBuf,
    /// What the step was about: a directory, a limit, a descriptor, a user id. Empty where there is
    /// nothing to add.
    pub subject: String,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.stage {
            Stage::Prepare => "the request is not valid",
            Stage::Clone => "could not create a process",
            Stage::Session => "could not start a session",
            Stage::Descriptors => "could not put the descriptors in place",
            Stage::Limits => "could not set the limit",
            Stage::Groups => "could not set the supplementary groups",
            Stage::Gid => "could not become group",
            Stage::Uid => "could not become user",
            Stage::NoNewPrivs => "could not give up new privileges",
            Stage::Chdir => "could not change to directory",
            Stage::Exec => "could not execute it",
        };
        write!(out, "cannot start {}: {step}", self.program.display())?;
        if !self.subject.is_empty() {
            write!(out, " {}", self.subject)?;
        }
        write!(out, ": {}", self.errno)?;
        match self.guidance() {
            Some(help) => write!(out, "; {help}"),
            None => Ok(()),
        }
    }
}

impl SpawnError {
    /// What to do about it, where the step and the errno together say enough.
    pub fn guidance(&self) -> Option<&'static str> {
        Some(match (self.stage, self.errno) {
            (Stage::Groups | Stage::Gid | Stage::Uid, Errno::PERM) => {
                "only root can start programs as another user: run mainstay as root or drop the user from the program"
            }
            (Stage::Limits, Errno::PERM) => {
                "only root can raise a hard limit: raise it for mainstay itself, or ask for less"
            }
            (Stage::Limits, Errno::INVAL) => "the soft limit must not be above the hard limit",
            (Stage::Chdir, Errno::NOENT) => "create the directory or correct the program's dir",
            (Stage::Chdir, Errno::ACCESS) => {
                "the program's user may not enter it: check the owner and mode of each part"
            }
            (Stage::Exec, Errno::NOENT) => {
                "the file, or the interpreter named in its first line, does not exist"
            }
            (Stage::Exec, Errno::ACCESS) => {
                "the program's user may not execute it: check its mode, the directories above and noexec mounts"
            }
            (Stage::Exec, Errno::NOEXEC) => {
                "it is neither a binary for this machine nor a script with a #! line"
            }
            (Stage::Exec, Errno::TXTBSY) => {
                "the file is open for writing; try again when it is written"
            }
            (Stage::Exec | Stage::Clone, Errno::AGAIN) => {
                "the user or the container has too many processes: raise its limit"
            }
            (Stage::Exec, Errno::TOOBIG) => {
                "the arguments and the environment together are too long"
            }
            (Stage::Clone | Stage::Descriptors, Errno::MFILE) => {
                "too many open files: raise mainstay's own nofile limit"
            }
            _ => return None,
        })
    }
}

impl std::error::Error for SpawnError {}

/// A program name that leads to nothing that can be run. supervisord tells these cases apart in its
/// faults.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no such file, or no directory of the search path has it.
    NotFound {
        /// The name that was looked for.
        name: PathBuf,
    },
    /// It is a directory.
    IsDirectory {
        /// Where it was found.
        path: PathBuf,
    },
    /// It is a file without any execute bit, or no regular file at all.
    NotExecutable {
        /// Where it was found.
        path: PathBuf,
    },
    /// It may be executed, but not by us, or a directory above it may not be entered.
    NoPermission {
        /// Where it was found.
        path: PathBuf,
    },
}

impl ProgramError {
    /// The name or path it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { name: path }
            | Self::IsDirectory { path }
            | Self::NotExecutable { path }
            | Self::NoPermission { path } => path,
        }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::NotFound { .. } => write!(
                out,
                "cannot find the program {path}; give its full path, or check the PATH the program gets"
            ),
            Self::IsDirectory { .. } => write!(
                out,
                "cannot run {path}: it is a directory; name a file in it"
            ),
            Self::NotExecutable { .. } => {
                write!(
                    out,
                    "cannot run {path}: it is not an executable file; chmod +x it, or name its interpreter"
                )
            }
            Self::NoPermission { .. } => {
                write!(
                    out,
                    "cannot run {path}: no permission; check its mode and the directories above it"
                )
            }
        }
    }
}

impl std::error::Error for ProgramError {}

/// A lock file that could not be taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    Held {
        /// The file.
        path: PathBuf,
        /// Who, as far as the file tells.
        pid: Option<i32>,
    },
    /// There is something at this path that is no lock file of ours; it was left as it is.
    NotALock {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The file system said no.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `open`, `lock`, `write`, …
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held {
                path,
                pid: Some(pid),
            } => {
                write!(
                    out,
                    "{} is held by process {pid}; stop it first, or use another file",
                    path.display()
                )
            }
            Self::Held { path, pid: None } => {
                write!(
                    out,
                    "{} is held by another process; stop it first, or use another file",
                    path.display()
                )
            }
            Self::NotALock { path, found } => write!(
                out,
                "{} is {found}, not a pid file, and was left untouched; choose another path or move it away",
                path.display()
            ),
            Self::Io {
                path,
                doing,
                source,
            } => write!(
                out,
                "cannot {doing} the pid file {}: {source}; check that its directory exists and is writable",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Held { .. } | Self::NotALock { .. } => None,
        }
    }
}

/// Going to the background failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum DaemonError {
    /// The process already has this many threads; only a process with one can fork and go on
    /// safely.
    Threads(usize),
    /// A system call failed.
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for DaemonError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads(count) => write!(
                out,
                "cannot go to the background: the process already has {count} threads; this must come before any is \
                 started"
            ),
            Self::Io { doing, source } => {
                write!(
                    out,
                    "cannot go to the background: {doing}: {source}; run in the foreground instead"
                )
            }
        }
    }
}

impl std::error::Error for DaemonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Threads(_) => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal(number, core) => {
                match crate::Signal::new(*number) {
                    Some(signal) => write!(out, "killed by {signal}")?,
                    None => write!(out, "killed by signal {number}")?,
                }
                out.write_str(if *core { " (core dumped)" } else { "" })
            }
            Self::Unknown => out.write_str("exit status unknown"),
        }
    }
}

/// The symbol of an error number, as errno(3) has it: of those that starting a program or opening a
/// socket can end with.
pub fn errno_name(errno: Errno) -> Option<&'static str> {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::TOOBIG, "E2BIG"),
        (Errno::ACCESS, "EACCES"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::INVAL, "EINVAL"),
        (Errno::IO, "EIO"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::LOOP, "ELOOP"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NFILE, "ENFILE"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::PERM, "EPERM"),
        (Errno::ROFS, "EROFS"),
        (Errno::TXTBSY, "ETXTBSY"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == errno)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_on_what_why_and_what_next() {
        let error = |stage, errno, subject: &str| SpawnError {
            stage,
            errno,
            program: "/srv/web/run".into(),
            subject: subject.into(),
        };
        for (error, want) in [
            (
                error(Stage::Chdir, Errno::NOENT, "/nope"),
                "cannot start /srv/web/run: could not change to directory /nope: No such file or directory (os error \
                 2); create the directory or correct the program's dir",
            ),
            (
                error(Stage::Session, Errno::PERM, ""),
                "cannot start /srv/web/run: could not start a session: Operation not permitted (os error 1)",
            ),
        ] {
            assert_eq!(error.to_string(), want);
        }
        assert_eq!(
            LockError::Held {
                path: "/run/m.pid".into(),
                pid: Some(7)
            }
            .to_string(),
            "/run/m.pid is held by process 7; stop it first, or use another file"
        );
    }

    #[test]
    fn stages_survive_the_way_through_the_pipe() {
        for number in 1..=Stage::Exec as u32 {
            assert_eq!(
                Stage::from_number(number).map(|stage| stage as u32),
                Some(number)
            );
        }
        assert_eq!(Stage::from_number(0), None);
        assert_eq!(Stage::from_number(Stage::Exec as u32 + 1), None);
    }

    #[test]
    fn exit_statuses_in_words() {
        for (status, want) in [
            (ExitStatus::Code(3), "exit code 3"),
            (ExitStatus::Signal(9, false), "killed by SIGKILL"),
            (
                ExitStatus::Signal(11, true),
                "killed by SIGSEGV (core dumped)",
            ),
            (ExitStatus::Signal(99, false), "killed by signal 99"),
            (ExitStatus::Unknown, "exit status unknown"),
        ] {
            assert_eq!(status.to_string(), want);
        }
    }
}

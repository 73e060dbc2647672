//! The program `mariadb-backup`: found, started with nothing that others may see, listened to, judged.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_base::Secret;
use mainstay_mysql::{Endpoint, Flavour, Options, Version};
use mainstay_sys::{Child, ExitStatus, Signal, Spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

use crate::error::{Error, ErrorKind};
use crate::program::{environment, find};
use crate::progress::Progress;

/// What it is called; the second name is the older one.
const NAMES: [&str; 2] = ["mariadb-backup", "mariabackup"];
/// The number at which it finds its options.
const OPTIONS: i32 = 3;
/// The file of a backup that has the settings it is to be prepared with.
const SETTINGS: &str = "backup-my.cnf";
/// So many of its last lines are told when it fails.
const LAST_LINES: usize = 4;
/// A line is cut after so many bytes.
const LINE: u64 = 8 << 10;
/// What it says when it is done; its exit code alone is not enough.
const COMPLETED: &str = "completed OK!";
/// So often it is looked whether the caller wants to stop.
const LOOK: Duration = Duration::from_millis(100);
/// So long it may take to say its version, or to end when nobody listens any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, and of which server it is.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    path: PathBuf,
    version: Version,
}

impl Tool {
    /// The one that the config names, or the first that is found.
    pub(crate) fn find(named: Option<&Path>, attempt: &str) -> Result<Self, Error> {
        let fail = |why: String, help: &str| {
            Error::new(ErrorKind::NoServer, attempt, why).with_help(help.to_owned())
        };
        let path = match named {
            Some(path) => path.to_owned(),
            None => find(&NAMES).ok_or_else(|| {
                fail(
                    "there is no mariadb-backup on this host".to_owned(),
                    "install it (the package `mariadb-backup`, of the server's own series), or name it: `mysql = { program = \"/path/to/it\" }`",
                )
            })?,
        };
        let said = said(&path).map_err(|why| {
            fail(
                format!("{} cannot be used: {why}", path.display()),
                "name the program mariadb-backup of the server's own series as `mysql.program`, or install it",
            )
        })?;
        let version = said
            .split_once("MariaDB server ")
            .map(|(_, version)| Version::parse(version))
            .filter(|version| version.flavour == Flavour::MariaDb)
            .ok_or_else(|| {
                fail(
                    format!("{} is no mariadb-backup: it says {said:?}", path.display()),
                    "name the program mariadb-backup as `mysql.program`",
                )
            })?;
        Ok(Self { path, version })
    }

    /// Which it is.
    pub(crate) fn said(&self) -> String {
        format!("mariadb-backup {}", self.version.text)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// That it is of the same series as a server: it knows the files of no other.
    pub(crate) fn fits(&self, server: &Version, attempt: &str) -> Result<(), Error> {
        let series = |version: &Version| (version.number.0, version.number.1);
        if server.flavour == Flavour::MariaDb && series(server) == series(&self.version) {
            return Ok(());
        }
        let (major, minor) = series(server);
        Err(Error::new(
            ErrorKind::NoServer,
            attempt,
            format!(
                "the server is {}, and {} is of {}",
                server.text,
                self.path.display(),
                self.version.text
            ),
        )
        .with_help(format!(
            "install mariadb-backup {major}.{minor}, or name one as `mysql.program`"
        )))
    }

    /// Starts a backup; its stream is what it prints.
    pub(super) fn backup(
        &self,
        options: &Options,
        data: &Path,
        threads: usize,
        private: &Path,
        attempt: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<(Work, Watched), Error> {
        let fail = |error: io::Error| Error::io(attempt, private, &error);
        let file = options_file(options, data).map_err(fail)?;
        let (stream, output) = io::pipe().map_err(fail)?;
        mainstay_sys::pipe::enlarge(&stream, mainstay_sys::pipe::CAPTURE_SIZE);
        let mut args: Vec<OsString> = vec![
            // The first, or it is none.
            format!("--defaults-file=/dev/fd/{OPTIONS}").into(),
            "--backup".into(),
            "--stream=xbstream".into(),
            format!("--parallel={threads}").into(),
            // It waits for a statement that holds tables; not for ever, because others wait behind it.
            "--ftwrl-wait-timeout=60".into(),
        ];
        args.push(option("target-dir", &private.join("target")));
        args.push(option("tmpdir", private));
        let fds = vec![(OwnedFd::from(output), 1), (file, OPTIONS)];
        let password = options.password.clone();
        let work = self.start(args, private, fds, password, attempt, progress)?;
        let watched = Watched {
            stream,
            progress: Arc::clone(progress),
        };
        Ok((work, watched))
    }

    /// Makes of the files of a backup, in place, what a server can be started on.
    pub(crate) fn prepare(
        &self,
        directory: &Path,
        private: &Path,
        attempt: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        let args = vec![
            // With what the server had for its files: the size of pages, for one.
            option("defaults-file", &directory.join(SETTINGS)),
            "--prepare".into(),
            option("target-dir", directory),
            option("tmpdir", private),
        ];
        let work = self.start(
            args,
            private,
            Vec::new(),
            Secret::new(""),
            attempt,
            progress,
        )?;
        work.finish(attempt, progress).map_err(|error| match error.kind() {
            ErrorKind::Cancelled => error,
            _ => Error::new(
                ErrorKind::Damaged,
                attempt,
                format!("the files cannot be prepared: {}", error.reason()),
            )
            .with_help("if the disk is full, free some and do it again; if not, restore an older snapshot (`mainstay backup list`), and check the repository with `mainstay backup verify --read-data`"),
        })
    }

    fn start(
        &self,
        args: Vec<OsString>,
        private: &Path,
        fds: Vec<(OwnedFd, i32)>,
        password: Secret,
        attempt: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<Work, Error> {
        let fail = |error: io::Error| Error::io(attempt, private, &error);
        let (words, errors) = io::pipe().map_err(fail)?;
        let mut spawn = spawn(&self.path, args, private);
        spawn.fds = fds;
        spawn.fds.push((OwnedFd::from(errors), 2));
        let child = spawn
            .spawn()
            .map_err(|error| Error::new(ErrorKind::NoServer, attempt, error.to_string()))?;
        // Our writing ends, or none of the pipes would ever end.
        drop(spawn);
        let told = Arc::clone(progress);
        let words = std::thread::spawn(move || listen(words, &password, told.as_ref()));
        Ok(Work {
            child,
            words: Some(words),
        })
    }
}

fn spawn(program: &Path, args: Vec<OsString>, private: &Path) -> Spawn {
    let mut spawn = Spawn::new(program);
    spawn.args.extend(args);
    spawn.env = environment(private);
    spawn.cwd = Some(private.to_owned());
    spawn.umask = Some(0o077);
    spawn.session = true;
    spawn.dies_with_us = true;
    spawn
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(path);
    option
}

/// What a program says of itself.
fn said(path: &Path) -> Result<String, String> {
    let (mut output, writer) = io::pipe().map_err(|error| error.to_string())?;
    let also = writer.try_clone().map_err(|error| error.to_string())?;
    let args = vec!["--no-defaults".into(), "--version".into()];
    let mut spawn = spawn(path, args, Path::new("/"));
    spawn.fds = vec![(OwnedFd::from(writer), 1), (OwnedFd::from(also), 2)];
    let child = spawn.spawn().map_err(|error| error.to_string())?;
    drop(spawn);
    let mut work = Work { child, words: None };
    let status = work
        .wait(PATIENCE)
        .map_err(|error| error.to_string())?
        .ok_or("it does not say its version")?;
    let mut text = Vec::new();
    // What it has said is in the pipe; what it may have left running is not waited for.
    work.kill();
    let _ = (&mut output).take(LINE).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if status.success() {
        Ok(text)
    } else {
        Err(format!("asked for its version, it ended: {status}"))
    }
}

/// The options with user and password, as a file that has no name and nobody else can open.
fn options_file(options: &Options, data: &Path) -> io::Result<OwnedFd> {
    let mut text = String::from("[mariabackup]\n");
    let mut add = |name: &str, value: &str| -> io::Result<()> {
        text.push_str(name);
        text.push('=');
        text.push_str(&quoted(value).ok_or_else(|| {
            io::Error::other(format!(
                "the {name} has a character that no option can have"
            ))
        })?);
        text.push('\n');
        Ok(())
    };
    let path = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other("a path is not UTF-8"))
    };
    add("user", &options.user)?;
    if !options.password.expose().is_empty() {
        add("password", options.password.expose())?;
    }
    if let Endpoint::Unix(socket) = &options.endpoint {
        add("socket", &path(socket)?)?;
    }
    add("datadir", &path(data)?)?;
    let file = memfd_create("options", MemfdFlags::CLOEXEC)?;
    // A file that others may write to is not read.
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

/// A value in an option file
/// (<https://mariadb.com/kb/en/configuring-mariadb-with-option-files/#option-file-syntax>).
fn quoted(value: &str) -> Option<String> {
    let mut text = String::from('"');
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0' => return None,
            c => text.push(c),
        }
    }
    text.push('"');
    Some(text)
}

/// What it said.
#[derive(Debug, Default)]
struct Words {
    last: VecDeque<String>,
    completed: bool,
}

/// Reads what it says until nobody can say anything any more. Warnings and errors are told.
fn listen(words: PipeReader, password: &Secret, progress: &dyn Progress) -> Words {
    let mut lines = BufReader::new(words);
    let mut said = Words::default();
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return said,
            Ok(_) => {}
        }
        let line = plain(&String::from_utf8_lossy(&line), password.expose());
        if line.is_empty() {
            continue;
        }
        said.completed |= line.contains(COMPLETED);
        if is_alarm(&line) {
            progress.message(&format!("mariadb-backup: {line}"));
        } else {
            log::debug!("mariadb-backup: {line}");
        }
        if said.last.len() == LAST_LINES {
            said.last.pop_front();
        }
        said.last.push_back(line);
    }
}

/// Whether a line warns of something: tables may be called so too, and most lines name one.
fn is_alarm(line: &str) -> bool {
    let small = line.to_ascii_lowercase();
    ["warning", "error"].iter().any(|word| {
        small
            .match_indices(word)
            .any(|(at, _)| small[at + word.len()..].starts_with([':', ']']))
    })
}

/// A line without the number of its thread, its time, and what a terminal would take for more than text.
fn plain(line: &str, password: &str) -> String {
    let mut line: String = line.trim().chars().filter(|c| !c.is_control()).collect();
    if let Some(rest) = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        && rest.0.chars().all(|c| c.is_ascii_digit())
    {
        // The number in brackets, the date and the time of day.
        let text = rest.1.splitn(3, ' ').nth(2).unwrap_or_default();
        line = text.to_owned();
    }
    if !password.is_empty() {
        line = line.replace(password, "***");
    }
    line
}

/// The program at work; it is killed with this.
pub(super) struct Work {
    child: Child,
    words: Option<JoinHandle<Words>>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

impl Work {
    /// Waits for its end, which must be a good one.
    pub(super) fn finish(
        mut self,
        attempt: &str,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), Error> {
        loop {
            if progress.cancelled() {
                return Err(cancelled(attempt));
            }
            let ended = self.wait(LOOK);
            let ended =
                ended.map_err(|error| Error::new(ErrorKind::Io, attempt, error.to_string()))?;
            if let Some(status) = ended {
                return self.judge(status, attempt);
            }
        }
    }

    /// The error that it ended with, now that its stream is at its end.
    pub(super) fn ended(mut self, attempt: &str) -> Option<Error> {
        let status = self.wait(PATIENCE).ok().flatten()?;
        self.judge(status, attempt).err()
    }

    fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        self.child.wait(Some(patience))
    }

    fn judge(&mut self, status: ExitStatus, attempt: &str) -> Result<(), Error> {
        // What it may have left running would hold its words open.
        self.kill();
        let words = self
            .words
            .take()
            .and_then(|words| words.join().ok())
            .unwrap_or_default();
        let last: Vec<String> = words.last.into();
        let why = match (status.success(), words.completed) {
            (true, true) => return Ok(()),
            (true, false) => format!("mariadb-backup ended without saying `{COMPLETED}`"),
            (false, _) => format!("mariadb-backup ended: {status}"),
        };
        let reason = if last.is_empty() {
            why
        } else {
            format!("{why}; its last words: {}", last.join("; "))
        };
        Err(
            Error::new(ErrorKind::SourceUnreadable, attempt, reason).with_help(
                "nothing was stored, and no older snapshot was removed; `mainstay backup check` says what is missing",
            ),
        )
    }

    fn kill(&self) {
        let _ = self.child.signal_group(Signal::KILL);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait(Some(PATIENCE));
        if let Some(words) = self.words.take() {
            let _ = words.join();
        }
    }
}

pub(super) fn cancelled(attempt: &str) -> Error {
    Error::new(ErrorKind::Cancelled, attempt, "the caller asked to stop")
}

/// Its stream; reading it stops when the caller wants to.
pub(super) struct Watched {
    stream: PipeReader,
    progress: Arc<dyn Progress>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        loop {
            if self.progress.cancelled() {
                return Err(io::Error::other("the caller asked to stop"));
            }
            let stream = self.stream.as_fd();
            let mut ready = [PollFd::from_borrowed_fd(stream, PollFlags::IN)];
            match poll(&mut ready, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.stream.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_errors_is_no_error() {
        for (line, alarm) in [
            ("[Warning] InnoDB: an undo log is long", true),
            (
                "mariadb-backup: Error: xtrabackup_copy_logfile() failed.",
                true,
            ),
            ("[ERROR] InnoDB: Missing MLOG_CHECKPOINT", true),
            (
                "Streaming ./sys/statements_with_errors_or_warnings.frm to <STDOUT>",
                false,
            ),
            ("completed OK!", false),
        ] {
            assert_eq!(is_alarm(line), alarm, "{line}");
        }
    }

    #[test]
    fn values_survive_an_option_file() {
        for (value, expected) in [
            ("plain", r#""plain""#),
            ("a\"b\\c #d'e", r#""a\"b\\c #d'e""#),
            ("line\nnext\t\r", r#""line\nnext\t\r""#),
            ("", r#""""#),
        ] {
            assert_eq!(quoted(value).as_deref(), Some(expected));
        }
        assert_eq!(quoted("a\0b"), None);
    }

    #[test]
    fn options_are_for_nobody_else() {
        use std::io::Seek;
        let mut options = Options::new(Endpoint::Unix("/run/s".into()), "backup");
        options.password = Secret::new("sec\"ret");
        let file = options_file(&options, Path::new("/var/lib/mysql")).unwrap();
        let mode = rustix::fs::fstat(&file).unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o600);
        let mut text = String::new();
        let mut file = File::from(file);
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "[mariabackup]\nuser=\"backup\"\npassword=\"sec\\\"ret\"\nsocket=\"/run/s\"\ndatadir=\"/var/lib/mysql\"\n"
        );
    }

    #[test]
    fn lines_are_told_without_secrets_and_times() {
        for (line, expected) in [
            ("[00] 2026-11-26 13:56:02 completed OK!\n", "completed OK!"),
            (
                "[01] 2026-11-26 13:56:02         ...done",
                "        ...done",
            ),
            (
                "mariabackup: \x1b[1mused s3cret",
                "mariabackup: [1mused ***",
            ),
            (
                "2026-11-26 13:56:02 0 [ERROR] InnoDB: x",
                "2026-11-26 13:56:02 0 [ERROR] InnoDB: x",
            ),
            ("[ERROR] InnoDB: x", "[ERROR] InnoDB: x"),
            ("[00]", "[00]"),
        ] {
            assert_eq!(plain(line, "s3cret"), expected);
        }
    }

    #[test]
    fn only_the_servers_own_series_fits() {
        let tool = Tool {
            path: "/usr/bin/mariadb-backup".into(),
            version: Version::parse("10.11.19-MariaDB debian-linux-gnu (x86_64)"),
        };
        for (server, fits) in [
            ("10.11.2-MariaDB-log", true),
            ("10.6.2-MariaDB", false),
            ("11.8.1-MariaDB", false),
            ("10.11.0", false),
        ] {
            let found = tool.fits(&Version::parse(server), "back it up");
            assert_eq!(found.is_ok(), fits, "{server}");
        }
    }
}

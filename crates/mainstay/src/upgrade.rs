//! Replacing the running binary in place: same process id, programs untouched, sockets open.
//!
//! The new binary is opened once, asked whether it can take over (`mainstay self-check`), and that
//! very file is executed. What it finds: the journal of processes, as after a crash; the descriptors
//! that must not be closed, named in one environment variable.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use mainstay_sys::handover;

/// The variable that tells the next binary which descriptors are open for it.
pub(crate) const VARIABLE: &str = "MAINSTAY_HANDOVER";

/// The variable that tells it how many files programs may open: the daemon has raised its own limit,
/// and could not lower it again with all that is open.
pub(crate) const NOFILE: &str = "MAINSTAY_NOFILE";

/// How long the new binary may think about whether it can take over.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the next binary must understand: the handover and the journal.
const FORMAT: &str = "handover 1, journal 3";

/// What the binary before left open.
#[derive(Debug, Default)]
pub(crate) struct Heritage {
    /// The control socket.
    pub(crate) control: Option<OwnedFd>,
    /// The socket of reports.
    pub(crate) reports: Option<OwnedFd>,
    /// The sockets of HTTP servers, by section.
    pub(crate) http: Vec<(String, OwnedFd)>,
    /// Locks, pipes and whatever else the supervision knows by itself.
    pub(crate) open: Vec<OwnedFd>,
    /// The (soft, hard) limit of open files that programs are to have.
    pub(crate) child_nofile: Option<(u64, u64)>,
    /// Whether this process was a daemon before it became this binary.
    pub(crate) in_place: bool,
}

impl Heritage {
    /// Takes over what was left open. Call it once, before anything else is opened.
    pub(crate) fn take() -> Self {
        let mut out = Self::default();
        let Some(text) = std::env::var_os(VARIABLE) else {
            return out;
        };
        for (name, fd) in handover::take(&text.to_string_lossy()) {
            out.in_place = true;
            if name == "control" {
                out.control = Some(fd);
            } else if name == "reports" {
                out.reports = Some(fd);
            } else if let Some(section) = name.strip_prefix("http:") {
                out.http.push((section.to_owned(), fd));
            } else {
                out.open.push(fd);
            }
        }
        if out.in_place {
            out.child_nofile = std::env::var(NOFILE).ok().and_then(|text| {
                let (soft, hard) = text.split_once(':')?;
                Some((soft.parse().ok()?, hard.parse().ok()?))
            });
        }
        out
    }

    /// The socket of the HTTP server of that section, if it was left open.
    pub(crate) fn door(&mut self, section: &str) -> Option<OwnedFd> {
        let at = self.http.iter().position(|(name, _)| name == section)?;
        Some(self.http.swap_remove(at).1)
    }
}

/// Who we are and how we were called: what is executed again.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    binary: PathBuf,
    arguments: Vec<OsString>,
    /// Where we were then: relative names among the arguments count from there.
    directory: Option<PathBuf>,
}

impl Invocation {
    /// This one. The binary is looked for where it was called, not where it really is, so that a link
    /// to a newer one is followed.
    ///
    /// Looked up once. A daemon begins with it, before it changes its directory or says that it is up:
    /// from then on another binary may be in the place of this one.
    pub(crate) fn current() -> Self {
        static FOUND: OnceLock<Invocation> = OnceLock::new();
        FOUND.get_or_init(Self::look_up).clone()
    }

    fn look_up() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        let called = arguments.first().map(PathBuf::from).unwrap_or_default();
        let absolute = std::path::absolute(&called).unwrap_or(called.clone());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = if called.components().count() > 1 {
            vec![absolute]
        } else {
            std::env::split_paths(&path)
                .map(|directory| directory.join(&called))
                .collect()
        };
        let is_own = |path: &PathBuf| {
            use std::os::unix::fs::MetadataExt;
            let inode = |path: &Path| std::fs::metadata(path).map(|at| (at.dev(), at.ino())).ok();
            inode(path).is_some_and(|one| Some(one) == inode(Path::new("/proc/self/exe")))
        };
        Self {
            binary: candidates.into_iter().find(is_own).unwrap_or(own),
            arguments,
            directory: std::env::current_dir().ok(),
        }
    }

    /// The binary that is there now, unasked: for when there is nothing to take over.
    ///
    /// # Errors
    /// It cannot be opened, in words.
    pub(crate) fn again(self) -> Result<Successor, String> {
        let file = File::open(&self.binary).map_err(|error| {
            format!("cannot open the binary {}: {error}", self.binary.display())
        })?;
        Ok(Successor {
            file,
            invocation: self,
        })
    }

    /// Opens the binary that is there now and asks it whether it can take over.
    ///
    /// # Errors
    /// Why not, in words, and what to do.
    pub(crate) async fn check(&self) -> Result<Successor, String> {
        let path = self.binary.display();
        let file = File::open(&self.binary)
            .map_err(|error| format!("cannot open the new binary {path}: {error}"))?;
        let mut command = tokio::process::Command::new(own_path(&file));
        command
            .arg0("mainstay")
            .arg("self-check")
            .arg("--")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = self.directory.as_deref().filter(|at| at.is_dir()) {
            command.current_dir(directory);
        }
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .map_err(|_| {
                format!(
                    "{path} did not say within {} s whether it can take over",
                    PATIENCE.as_secs()
                )
            })?
            .map_err(|error| format!("cannot run {path}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.success() && said.lines().any(|line| line == answer()) {
            return Ok(Successor {
                file,
                invocation: self.clone(),
            });
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{path} cannot take over ({}): {}; the running one goes on",
            output.status,
            if why.trim().is_empty() {
                "it is no mainstay that knows how"
            } else {
                why.trim()
            }
        ))
    }
}

/// The line by which a binary says that it can take over from this one.
pub(crate) fn answer() -> String {
    format!("mainstay can take over: {FORMAT}")
}

/// A binary that can take over.
#[derive(Debug)]
pub(crate) struct Successor {
    file: File,
    invocation: Invocation,
}

impl Successor {
    /// Becomes it. Returns only when that fails, with the reason; everything is open then as before.
    pub(crate) fn become_it(
        &self,
        open: &[(String, OwnedFd)],
        child_nofile: Option<(u64, u64)>,
    ) -> Result<Infallible, String> {
        let named = || open.iter().map(|(name, fd)| (name.as_str(), fd.as_fd()));
        let text = handover::give(named())
            .map_err(|error| format!("cannot keep the descriptors open: {error}"))?;
        let mut command = std::process::Command::new(own_path(&self.file));
        if let Some((first, rest)) = self.invocation.arguments.split_first() {
            command.arg0(first).args(rest);
        }
        match child_nofile {
            Some((soft, hard)) => command.env(NOFILE, format!("{soft}:{hard}")),
            None => command.env_remove(NOFILE),
        };
        let here = std::env::current_dir();
        // Where that is gone, so is what lay there; absolute names still lead somewhere.
        let _ = (self.invocation.directory.as_ref()).map(std::env::set_current_dir);
        let error = command.env(VARIABLE, text).exec();
        let _ = here.and_then(std::env::set_current_dir);
        let _ = handover::keep_private(open.iter().map(|(_, fd)| fd.as_fd()));
        Err(format!("cannot execute the new binary: {error}"))
    }

    /// The binary that runs now, for when the new one could not be executed.
    pub(crate) fn same_again(&self) -> Result<Self, String> {
        let file = File::open("/proc/self/exe")
            .map_err(|error| format!("cannot open the running binary: {error}"))?;
        Ok(Self {
            file,
            invocation: self.invocation.clone(),
        })
    }
}

/// A path to an open file that is executed, whatever happens to its name meanwhile.
fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

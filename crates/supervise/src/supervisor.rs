//! The handle through which everyone else deals with the supervision thread.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_base::{Clock, Resolver, SystemClock};
use mainstay_log::{Logger, Retention};
use mainstay_sys::{LockFile, Wake};

use crate::command::{Command, Event, Refusal, Reply};
use crate::error::{Error, Kind};
use crate::handover::Inherited;
use crate::journal::Journal;
use crate::keeper::line::Keeper;
use crate::launch::Words;
use crate::program::{Output, ProgramSpec};
use crate::request::Message;
use crate::runtime::Runtime;
use crate::slot::Slot;

/// How long a process may hold the lock of the daemon that was starting it and died. It is the
/// time from clone to exec; more only if the file system of the program hangs.
const BIRTH_TAKES_AT_MOST: Duration = Duration::from_secs(5);

/// What a daemon needs beside its processes: journal, locks, epoll, log files, control connections,
/// the short-lived ones of a start.
const OWN_DESCRIPTORS: u64 = 64;

/// What a supervisor needs to know besides its programs.
pub struct Settings {
    /// Where the journal and its lock are kept. Must exist.
    pub state_dir: PathBuf,
    /// The environment that every program starts from.
    pub environment: BTreeMap<String, String>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whose routes get the output of programs line by line, besides the programs' own files.
    pub logger: Option<Logger>,
    /// The (soft, hard) limit of open files for programs that have none of their own. For a daemon
    /// that has raised its own: what it had before, so that programs find what they always found.
    /// `None`: the daemon's.
    pub child_nofile: Option<(u64, u64)>,
    /// Whether [`Command::Shutdown`] stops one group after the other, as supervisord does, also
    /// those of equal priority. Otherwise these are stopped at the same time.
    pub group_by_group: bool,
    /// Whether to speak and act as supervisord where mainstay would do better: the words of failed
    /// starts, no memory of what a person stopped beyond an orderly shutdown.
    pub as_supervisord: bool,
    /// The name by which event listeners know this supervisor.
    pub identifier: String,
    /// The whole `argv` with which this very binary, executed anew, calls [`keep`](crate::keep) for
    /// the state directory: a process that holds on to output while no daemon lives. `None`: there is
    /// none, and what a program wrote is lost if it and the daemon both die before it was read.
    pub keeper: Option<Vec<OsString>>,
    /// What an earlier supervisor of this same process left open, see [`Command::Handover`].
    pub inherited: Vec<std::os::fd::OwnedFd>,
}

impl Settings {
    /// Settings with the system's clock and no environment.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            environment: BTreeMap::new(),
            clock: Arc::new(SystemClock::new()),
            logger: None,
            child_nofile: None,
            group_by_group: false,
            as_supervisord: false,
            identifier: "supervisor".to_owned(),
            keeper: None,
            inherited: Vec::new(),
        }
    }
}

/// The supervision thread, from outside. Requests may come from any thread.
///
/// Dropping it abandons the programs: the thread ends, they go on running, and the next supervisor
/// with the same state directory takes them over. To stop them send [`Command::Shutdown`] and
/// [`Supervisor::join`].
pub struct Supervisor {
    inbox: Sender<Message>,
    wake: Arc<Wake>,
    turns: Arc<AtomicU64>,
    /// What new slots are made with.
    slot_maker: (Arc<dyn Clock>, Option<Logger>, bool),
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts supervising: takes over what an earlier supervisor with the same state directory
    /// left alive, then starts what is to start, groups and programs in ascending priority.
    ///
    /// That happens on the new thread; a request is answered after it. `events` is called there
    /// too and must be quick. Users are looked up here, in the caller's thread. On an error
    /// nothing was started and no process was touched. A program that cannot be started is no error: it
    /// is reported and tried again like one that died.
    pub fn start(
        settings: Settings,
        programs: Vec<impl Into<Arc<ProgramSpec>>>,
        resolver: Resolver,
        events: Box<dyn Fn(Event) + Send>,
    ) -> Result<Self, Error> {
        let Settings {
            state_dir,
            environment,
            clock,
            logger,
            child_nofile,
            group_by_group,
            as_supervisord,
            identifier,
            keeper,
            mut inherited,
        } = settings;
        let programs: Vec<Arc<ProgramSpec>> = programs.into_iter().map(Into::into).collect();
        check_for(&programs, as_supervisord)?;
        let lock_path = state_dir.join("programs.lock");
        let lock = match LockFile::inherit(&lock_path, &mut inherited) {
            Some(lock) => lock,
            None => LockFile::succeed(&lock_path, BIRTH_TAKES_AT_MOST)
                .map_err(|error| Error::new(Kind::Locked(error), ""))?,
        };
        let boot_id =
            mainstay_sys::boot_id().map_err(|e| Error::system("read the id of this boot", e))?;
        let path = state_dir.join("programs.journal");
        let (journal, earlier) = Journal::open(&path, &boot_id)
            .map_err(|e| Error::system(format!("read the journal {}", path.display()), e))?;
        let count = programs.iter().map(|spec| spec.processes.len()).sum();
        let mut slots = Vec::with_capacity(count);
        for spec in programs {
            for at in 0..spec.processes.len() {
                let mut slot = Slot::new(&spec, at, &clock)?;
                // supervisord opens a log at the first start, and fails that start if it cannot.
                if !as_supervisord {
                    slot.open_channels(&clock, logger.as_ref())?;
                }
                slots.push(slot);
            }
        }
        let slot_maker = (Arc::clone(&clock), logger.clone(), as_supervisord);
        let wake = Arc::new(Wake::new().map_err(|e| Error::system("make an event descriptor", e))?);
        let turns = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = channel();
        let mut runtime = Runtime::new(
            clock,
            events,
            environment,
            resolver,
            logger,
            slots,
            journal,
            lock,
            receiver,
            Arc::clone(&wake),
            Arc::clone(&turns),
        )
        .map_err(|e| Error::system("make an epoll set", e))?;
        runtime.child_nofile = child_nofile;
        runtime.group_by_group = group_by_group;
        runtime.audience.identifier = identifier;
        if as_supervisord {
            runtime.words = Words::Supervisord;
        }
        runtime.keeper = Keeper::new(keeper, &state_dir);
        runtime.inherited = Inherited::new(inherited);
        let thread = std::thread::Builder::new()
            .name("supervise".to_owned())
            .spawn(move || {
                runtime.begin(earlier);
                runtime.run();
            })
            .map_err(|e| Error::system("start the supervision thread", e))?;
        Ok(Self {
            inbox: sender,
            wake,
            turns,
            slot_maker,
            thread: Some(thread),
        })
    }

    /// Takes a group in: opens its log files and looks its users up here, then starts on the
    /// supervision thread what starts by itself. Answered with [`Reply::Ok`], or
    /// [`Refusal::AlreadyThere`] if there is a group or a process of that name.
    ///
    /// # Errors
    /// A log file cannot be opened, a socket's name not be looked up. Nothing was done then, and
    /// `answer` is not called.
    pub fn add_group(
        &self,
        programs: Vec<Arc<ProgramSpec>>,
        answer: impl FnOnce(Result<Reply, Refusal>) + Send + 'static,
    ) -> Result<(), Error> {
        let (clock, logger, as_supervisord) = &self.slot_maker;
        check_for(&programs, *as_supervisord)?;
        let mut slots = Vec::new();
        for spec in programs {
            for at in 0..spec.processes.len() {
                let mut slot = Slot::new(&spec, at, clock)?;
                if !as_supervisord {
                    slot.open_channels(clock, logger.as_ref())?;
                }
                slots.push(slot);
            }
        }
        self.send(Message::AddGroup(slots, Box::new(answer)));
        Ok(())
    }

    fn send(&self, message: Message) {
        if let Err(refused) = self.inbox.send(message) {
            match refused.0 {
                Message::Request(_, answer) | Message::AddGroup(_, answer) => {
                    answer(Err(Refusal::Gone));
                }
                Message::Abandon => {}
            }
            return;
        }
        // The eventfd cannot fail but by a fault of this program; the request then waits for the
        // next turn.
        let _ = self.wake.wake();
    }

    /// Asks for something. `answer` is called once, on the supervision thread (or right here with
    /// [`Refusal::Gone`] when that has ended), and must be quick.
    pub fn request(
        &self,
        command: Command,
        answer: impl FnOnce(Result<Reply, Refusal>) + Send + 'static,
    ) {
        self.send(Message::Request(command, Box::new(answer)));
    }

    /// Asks and waits for the answer. For callers that may wait, like tests and tools.
    pub fn ask(&self, command: Command) -> Result<Reply, Refusal> {
        let (sender, receiver) = channel();
        self.request(command, move |answer| {
            let _ = sender.send(answer);
        });
        receiver.recv().unwrap_or(Err(Refusal::Gone))
    }

    /// How many turns the loop has made. Without anything to do it makes none.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Waits until the supervision thread has ended, after [`Command::Shutdown`]. False when it
    /// panicked; the programs then still run, and the next supervisor takes them over.
    pub fn join(mut self) -> bool {
        self.thread
            .take()
            .is_none_or(|thread| thread.join().is_ok())
    }

    /// Ends the supervision thread and leaves every program running, for the next supervisor.
    pub fn abandon(mut self) {
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.inbox.send(Message::Abandon);
            let _ = self.wake.wake();
            let _ = thread.join();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The log files, stdout and stderr, of the processes that an earlier supervisor with this state
/// directory left alive, as far as its journal knows. Empty after an orderly end.
///
/// # Errors
/// The journal, or the id of this boot, cannot be read.
pub fn live_logs(state_dir: &Path) -> std::io::Result<BTreeMap<String, [PathBuf; 2]>> {
    let boot_id = mainstay_sys::boot_id()?;
    let (_, earlier) = Journal::open(&state_dir.join("programs.journal"), &boot_id)?;
    Ok(earlier
        .slots
        .into_values()
        .filter(|slot| slot.live.is_some())
        .map(|slot| (slot.process, [slot.stdout_log, slot.stderr_log]))
        .collect())
}

/// How many files a daemon with these programs has open at once, its own included: for each
/// process its pidfd, and for each captured stream a pipe and a log file. Compare it with the soft
/// limit of open files before the start; with a lower limit some programs cannot be started or taken
/// over.
pub fn descriptors_needed(programs: &[impl Borrow<ProgramSpec>]) -> u64 {
    let of = |output: &Output| if output.path().is_some() { 2 } else { 0 };
    let processes = (programs.iter()).flat_map(|program| &program.borrow().processes);
    OWN_DESCRIPTORS
        + processes
            .map(|process| 1 + of(&process.stdout) + of(&process.stderr))
            .sum::<u64>()
}

/// What [`Supervisor::start`] refuses before anything else: two processes of one name, two outputs
/// into one file, an output into a file that another's would be rolled over. Paths are compared as
/// they are written, `.` and `..` resolved; symbolic links are not followed.
pub fn check(programs: &[ProgramSpec]) -> Result<(), Error> {
    check_for(programs, false)
}

/// Users of supervisord let several processes write one log file, and may.
fn check_for(programs: &[impl Borrow<ProgramSpec>], as_supervisord: bool) -> Result<(), Error> {
    let mut names = HashSet::new();
    let mut files: BTreeMap<PathBuf, (&str, bool)> = BTreeMap::new();
    let processes = (programs.iter()).flat_map(|program| &program.borrow().processes);
    for process in processes {
        let name = process.process.as_str();
        if !names.insert(name) {
            return Err(Error::new(
                Kind::SameName(name.to_owned()),
                "rename one of the programs, or its processes",
            ));
        }
        if as_supervisord {
            // There one file may be the log of several.
            continue;
        }
        for output in [&process.stdout, &process.stderr] {
            let Output::File { path, retain } = output else {
                continue;
            };
            let path = plain(path);
            let rolls = *retain != Retention::NONE;
            if let Some((other, _)) = files.insert(path.clone(), (name, rolls)) {
                return Err(Error::new(
                    Kind::SameFile {
                        path,
                        one: other.to_owned(),
                        other: name.to_owned(),
                    },
                    "give each its own file",
                ));
            }
        }
    }
    for (path, (name, _)) in &files {
        if let Some((other, true)) = rolled_from(path).and_then(|from| files.get(&from)) {
            return Err(Error::new(
                Kind::RolledFile {
                    path: path.clone(),
                    one: (*name).to_owned(),
                    other: (*other).to_owned(),
                },
                "give it a name that does not end in a number",
            ));
        }
    }
    Ok(())
}

/// The path without `.`, `..` and doubled slashes.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                // The root is its own parent.
                Some(Component::RootDir) => {}
                _ => out.push(part),
            },
            _ => out.push(part),
        }
    }
    out
}

/// The file that this would be a rolled one of: `f.log` for `f.log.3`.
pub fn rolled_from(path: &Path) -> Option<PathBuf> {
    let number = path.extension()?.to_str()?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| path.with_extension(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_that_would_meet_are_refused() {
        let to = |path: &str, retain: Retention| Output::File {
            path: path.into(),
            retain,
        };
        let check = |one: (&str, Retention), other: (&str, Retention)| {
            let mut programs =
                ["web", "db"].map(|name| ProgramSpec::new(name, Vec::new(), Path::new("/log")));
            programs[0].processes[0].stdout = to(one.0, one.1);
            programs[1].processes[0].stderr = to(other.0, other.1);
            check(&programs).map_err(|error| error.to_string())
        };
        let (rolls, never) = (Retention::default(), Retention::NONE);
        for (one, other) in [
            ("/log/l", "/log/l"),
            ("/log/l", "/log/x/../l"),
            ("/log/./l", "/log//l"),
            ("/../log/l", "/log/l"),
            ("log/l", "./log/l"),
        ] {
            let text = check((one, rolls), (other, never)).unwrap_err();
            assert!(text.contains("`web` and `db` both log to"), "{text}");
        }
        let text = check(("/log/l", rolls), ("/log/x/../l.1", never)).unwrap_err();
        assert!(
            text.contains("`db` logs to /log/l.1") && text.contains("of `web`"),
            "{text}"
        );
        assert!(check(("/log/l.12", never), ("/log/l", rolls)).is_err());
        for (one, other) in [
            (("/log/l", never), ("/log/l.1", rolls)),
            (("/log/l", rolls), ("/log/l.x", rolls)),
            (("/log/l", rolls), ("/log/l.1.log", rolls)),
            (("/log/l", rolls), ("/log/k.1", rolls)),
            (("../l", rolls), ("l", rolls)),
        ] {
            assert_eq!(check(one, other), Ok(()), "{one:?} {other:?}");
        }
    }
}

//! Starting a program with everything set: identity, limits, descriptors, session, directory.
//!
//! How it works. Everything the child needs is put together before it exists (`prologue::Plan`).
//! Then a process is made that shares our memory and holds up this thread until it executes the
//! program or fails (`CLONE_VM | CLONE_VFORK`), on a stack of its own, with all signals blocked. It
//! runs `prologue::main`, which makes system calls and nothing else, and leaves word of a failure
//! as (stage, detail, errno) in the plan.
//!
//! Why shared memory, and why it is safe:
//! - A plain fork copies the page tables: time that grows with the daemon (measured on a small
//!   machine: 0.3 ms at nothing, 7 ms at 200 MB, 35 ms at 1 GB), page faults in all its threads
//!   afterwards, and `ENOMEM` under strict overcommit. Sharing costs 0.1 ms at any size.
//! - The usual dangers of vfork are each met: the child has its own stack (it cannot damage our
//!   frames); no signal handler can run in it before all are reset (own handler table, all signals
//!   blocked, the C library's too); it calls the kernel directly (the C library's `setuid` would
//!   talk to *our* threads); it neither allocates nor panics; `errno` is the suspended thread's
//!   own.
//! - Between the change of user and `execve` a process of another user shares our memory. It cannot
//!   be attacked through it: the kernel marks memory undumpable when credentials change
//!   (`commit_creds`), which closes ptrace, `/proc/PID/mem` and `process_vm_writev` to that user.
//!   Go's runtime and the container tools built on it start their programs this way. A lasting
//!   effect: a daemon that has started a program as another user is itself undumpable from then on,
//!   so it writes no core file; as it holds secrets, it should not.
//! - Before Linux 5.16 a process that dumps core takes along those that share its memory. Signals
//!   are blocked in the child until its last step, so that needs a sender in the microseconds
//!   before `execve`, and one with the right to signal us as well: for another user's child the
//!   undumpable memory rules it out.
//! - What stays is common to every way of waiting for `execve`: opening the program on a hung
//!   network file system hangs the thread that spawns.
//!
//! The table of descriptors is shared too, for an instant (`CLONE_FILES`): copying it costs time for
//! every descriptor that a daemon has open, and a daemon of thousands of programs has tens of
//! thousands. What the program is to find open is put at low numbers that are reserved for that
//! (`lent`); the child's first act is `close_range` with `CLOSE_RANGE_UNSHARE`, which copies only
//! what is below the highest of them. Where the kernel does not do that, the table is copied whole.
//!
//! Why `clone` and not `clone3`: it gives the same pidfd, sandboxes that cannot look into the
//! argument structure of `clone3` refuse that call whole (the default profile of common container
//! runtimes does), and the C library starts the child on its new stack for us. Where even `clone`
//! with these flags is refused, a fork and `pidfd_open` do the same, slower; there the failure is told
//! through a close-on-exec pipe.

mod lent;
mod program;
mod prologue;
mod raw;

use std::cell::Cell;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::pipe::{PipeFlags, pipe_with};

pub use crate::error::{ProgramError, SpawnError, Stage};
pub use crate::limits::Resource;
pub use crate::users::Identity;
pub use program::resolve_program;

use crate::call::{Whom, retry, wait_id};
use crate::child::Child;
use crate::signals::AllBlocked;
use prologue::{Failure, IdentityPlan, LimitPlan, Move, Plan, REPORT_BYTES};
use raw::Strings;

/// A program to start and all that is set before it runs.
///
/// The program starts with default signal handlers, no blocked signal, and no descriptor but the
/// named ones; descriptors 0, 1 and 2 that are not named are `/dev/null`, so that nothing the
/// program opens becomes its standard output by accident.
#[derive(Debug)]
pub struct Spawn {
    /// The file to execute, already looked up (see [`resolve_program`]). A relative path counts
    /// from `cwd`.
    pub program: PathBuf,
    /// The whole `argv`, `argv[0]` included.
    pub args: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts, entered as the program's user; ours when `None`.
    pub cwd: Option<PathBuf>,
    /// Its file mode mask (only the nine permission bits count); ours when `None`.
    pub umask: Option<u32>,
    /// Who it runs as; as we do when `None`. If we are not root and already have this user and
    /// group, there is nothing to change and the groups stay as they are.
    pub identity: Option<Identity>,
    /// (resource, soft, hard); [`limits::UNLIMITED`](crate::limits::UNLIMITED) means none. Set
    /// before the user changes, since only root can raise a hard limit.
    pub limits: Vec<(Resource, u64, u64)>,
    /// What the program finds open: (our descriptor, its number there). Ours are closed when this
    /// value is dropped, so drop it after spawning, or the pipe of a dead program never ends.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Whether it leads a session and process group of its own, without terminal; needed for
    /// [`Child::signal_group`].
    pub session: bool,
    /// Whether set-user-id programs lose their effect for it and all it starts
    /// (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// Whether the kernel kills it when the thread that starts it ends (`PR_SET_PDEATHSIG`), and so
    /// also when this process is killed. What it starts itself is not meant, and a program with a
    /// set-user-id bit loses it.
    pub dies_with_us: bool,
}

/// Ways around the usual path, so that tests can walk the fallbacks on a new kernel.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Detour {
    /// Fork and `pidfd_open` instead of a clone with shared memory.
    pub fork: bool,
    /// List `/proc/self/fd` instead of `close_range`.
    pub list_descriptors: bool,
    /// Copy the whole table of descriptors.
    pub copy_descriptors: bool,
    /// Have the kernel refuse to unshare that table.
    pub refuse_unsharing: bool,
}

impl Spawn {
    /// The program with itself as `argv[0]`, an empty environment, and all else as we have it.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        Self {
            args: vec![program.clone().into_os_string()],
            program,
            env: Vec::new(),
            cwd: None,
            umask: None,
            identity: None,
            limits: Vec::new(),
            fds: Vec::new(),
            session: false,
            no_new_privs: false,
            dies_with_us: false,
        }
    }

    /// Starts it. When this returns `Ok`, the program has been executed; dropping the [`Child`]
    /// does not end it.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        self.spawn_by(Detour::default())
    }

    /// [`spawn`](Self::spawn) with a say in how.
    #[doc(hidden)]
    pub fn spawn_by(&self, detour: Detour) -> Result<Child, SpawnError> {
        let refused =
            |errno: Errno, subject: &str| self.error(Stage::Prepare, errno, subject.to_owned());
        let failed =
            |stage| move |error: std::io::Error| self.error(stage, errno_of(&error), String::new());

        let program = c_string(self.program.as_os_str().as_bytes())
            .map_err(|errno| refused(errno, "(program)"))?;
        let args = Strings::new(self.args.iter().map(|arg| [arg.as_bytes()]))
            .ok_or_else(|| refused(Errno::INVAL, "(arguments)"))?;
        let env = Strings::new(
            self.env
                .iter()
                .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()]),
        )
        .ok_or_else(|| refused(Errno::INVAL, "(environment)"))?;
        if self
            .env
            .iter()
            .any(|(name, _)| name.is_empty() || name.as_bytes().contains(&b'='))
        {
            return Err(refused(
                Errno::INVAL,
                "(environment: a name is empty or has a '=' in it)",
            ));
        }
        let cwd = match &self.cwd {
            Some(cwd) => Some(
                c_string(cwd.as_os_str().as_bytes())
                    .map_err(|errno| refused(errno, "(directory)"))?,
            ),
            None => None,
        };
        let null = self
            .null_for_missing()
            .map_err(failed(Stage::Descriptors))?;
        let wanted: Vec<(i32, i32)> = (self.fds.iter())
            .map(|(fd, target)| (fd.as_raw_fd(), *target))
            .chain(null.iter().flat_map(|(fd, targets)| {
                let fd = fd.as_raw_fd();
                targets.iter().map(move |target| (fd, *target))
            }))
            .collect();
        let targets: Vec<i32> = wanted.iter().map(|(_, target)| *target).collect();
        let gaps = prologue::gaps(&targets).ok_or_else(|| {
            refused(
                Errno::INVAL,
                "(descriptors: a target is negative or named twice)",
            )
        })?;
        let limits = &self
            .limits
            .iter()
            .map(|&(resource, soft, hard)| LimitPlan {
                resource: resource.number(),
                soft,
                hard,
            })
            .collect::<Vec<_>>();
        let mut plan = Plan {
            program: &program,
            args,
            env,
            cwd: cwd.as_deref(),
            umask: self.umask.map(|mask| mask & 0o777),
            identity: self
                .identity
                .as_ref()
                .filter(|identity| !identity.is_ours_already())
                .map(|identity| IdentityPlan {
                    uid: identity.uid,
                    gid: identity.gid,
                    groups: &identity.groups,
                }),
            limits,
            moves: Vec::new(),
            gaps: &gaps,
            session: self.session,
            no_new_privs: self.no_new_privs,
            parent: (self.dies_with_us).then(|| rustix::process::getpid().as_raw_nonzero().get()),
            list_descriptors: detour.list_descriptors,
            unshare_from: None,
            report: None,
            failure: Cell::new(None),
        };

        // Held until the child is registered: nobody may take a process of ours for a stranger in
        // between.
        let spawning = crate::reap::spawning();
        let may_lend = !detour.list_descriptors && !detour.copy_descriptors;
        // The cheapest way first; what the kernel or a sandbox refuses is done the next way.
        for lends in [true, false] {
            if detour.fork || (lends && !may_lend) {
                continue;
            }
            let lent = if lends { lent::lend(&wanted) } else { None };
            if lends && lent.is_none() {
                continue;
            }
            plan.moves = match &lent {
                Some(lent) => lent.moves(&wanted),
                None => moves(&wanted),
            };
            plan.unshare_from = lent.as_ref().map(lent::Lent::end);
            if detour.refuse_unsharing && lends {
                // No range begins at the highest number there is.
                plan.unshare_from = Some(-1);
            }
            match start_sharing(&plan) {
                Ok(newborn) => match plan.failure.take() {
                    Some((_, prologue::STILL_SHARED, _)) => {
                        lent::give_up();
                        newborn.bury();
                    }
                    failure => return self.born(newborn, failure, &spawning),
                },
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(failed(Stage::Clone)(error)),
            }
        }
        plan.moves = moves(&wanted);
        plan.unshare_from = None;
        let (report, report_writer) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| self.error(Stage::Descriptors, errno, String::new()))?;
        plan.report = Some(report_writer.as_raw_fd());
        let newborn = start_forking(&plan).map_err(failed(Stage::Clone))?;
        drop(report_writer);
        let failure = read_report(&report);
        self.born(newborn, failure, &spawning)
    }

    /// What became of a process that was made: it is the program, or has failed and is gone.
    fn born(
        &self,
        newborn: Newborn,
        failure: Option<Failure>,
        spawning: &crate::reap::Spawning,
    ) -> Result<Child, SpawnError> {
        let Some((stage, detail, errno)) = failure else {
            let Newborn {
                pid,
                pidfd,
                started,
            } = newborn;
            return Ok(Child::spawned(pid, pidfd, started, spawning));
        };
        newborn.bury();
        let errno = Errno::from_raw_os_error(errno);
        Err(self.error(stage, errno, self.subject(stage, detail)))
    }

    /// `/dev/null` and the standard descriptors that nothing was given for.
    fn null_for_missing(&self) -> std::io::Result<Option<(OwnedFd, Vec<i32>)>> {
        let missing: Vec<i32> = (0..3)
            .filter(|number| !self.fds.iter().any(|(_, target)| target == number))
            .collect();
        if missing.is_empty() {
            return Ok(None);
        }
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        Ok(Some((null.into(), missing)))
    }

    fn error(&self, stage: Stage, errno: Errno, subject: String) -> SpawnError {
        SpawnError {
            stage,
            errno,
            program: self.program.clone(),
            subject,
        }
    }

    /// What a failed step was about, from the number the child sent with it.
    fn subject(&self, stage: Stage, detail: u32) -> String {
        match stage {
            Stage::Limits => usize::try_from(detail)
                .ok()
                .and_then(|index| self.limits.get(index))
                .map_or_else(String::new, |(resource, soft, hard)| {
                    format!("{resource} to {soft}:{hard}")
                }),
            Stage::Descriptors if detail != prologue::NO_DETAIL => format!("(number {detail})"),
            Stage::Gid | Stage::Uid => detail.to_string(),
            Stage::Chdir => self
                .cwd
                .as_deref()
                .unwrap_or(Path::new(""))
                .display()
                .to_string(),
            _ => String::new(),
        }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}

fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}

/// From our descriptors to the numbers of the child.
fn moves(wanted: &[(i32, i32)]) -> Vec<Move> {
    let moves = wanted.iter();
    moves
        .map(|(source, target)| Move::new(*source, *target))
        .collect()
}

/// A process just made.
struct Newborn {
    pid: i32,
    pidfd: OwnedFd,
    /// When, in clock ticks since boot, if that is certain.
    started: Option<u64>,
}

impl Newborn {
    /// It is ending by itself, and must not stay a zombie. What it ended with says nothing new.
    fn bury(self) {
        let _ = wait_id(Whom::Pidfd(self.pidfd.as_raw_fd()), 0);
    }
}

/// Whether a sandbox or an emulator says that it does not do this kind of clone.
fn is_refusal(error: &std::io::Error) -> bool {
    const REFUSED: [i32; 3] = [libc::ENOSYS, libc::EPERM, libc::EINVAL];
    (error.raw_os_error()).is_some_and(|number| REFUSED.contains(&number))
}

/// Makes the process that carries the plan out, on our memory. Returns when it has executed the program
/// or has ended.
fn start_sharing(plan: &Plan<'_>) -> std::io::Result<Newborn> {
    let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    if plan.unshare_from.is_some() {
        flags |= libc::CLONE_FILES;
    }
    let stack = Stack::get()?;
    let before = crate::proc::ticks_since_boot();
    let mut pidfd: libc::c_int = -1;
    let argument = std::ptr::from_ref(plan).cast_mut().cast();
    let blocked = AllBlocked::new();
    // SAFETY: the stack is mapped, writable, aligned and used by nobody else; CLONE_VFORK suspends
    // this thread until the child has left our memory, so `plan`, `stack` and `pidfd` outlive its
    // use of them; `main` only makes system calls and never returns into our frames; no signal
    // handler can run in the child (see the module's page). The kernel writes the pidfd where
    // CLONE_PIDFD says, the third argument after the flags.
    let returned =
        unsafe { libc::clone(prologue::main, stack.top(), flags, argument, &raw mut pidfd) };
    let result = crate::call::check(returned);
    drop(blocked);
    stack.put();
    let pid = result?;
    let started = before
        .zip(crate::proc::ticks_since_boot())
        .and_then(|(before, after)| started(pid, before, after));
    if pidfd < 0 {
        // An emulated kernel that took the flag and did not heed it.
        return hold(pid);
    }
    Ok(Newborn {
        pid,
        // SAFETY: clone succeeded, so this is a new descriptor that only we know.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        started,
    })
}

/// When a process was made, in ticks since boot, that was made between these two.
///
/// `/proc/PID/stat`, where that stands, costs more than all else about a birth, and within one tick it
/// can only say this one. It is asked once, to see that the kernel does go by this clock.
fn started(pid: i32, before: u64, after: u64) -> Option<u64> {
    static GOES_BY_IT: OnceLock<bool> = OnceLock::new();
    let mut asked = None;
    let trusted = *GOES_BY_IT.get_or_init(|| {
        asked = crate::proc::start_time(pid).ok();
        asked.is_some_and(|asked| (before..=after).contains(&asked))
    });
    asked.or_else(|| (trusted && before == after).then_some(before))
}

/// The same with a copy of our memory. Returns at once.
fn start_forking(plan: &Plan<'_>) -> std::io::Result<Newborn> {
    let blocked = AllBlocked::new();
    // The plain system call: no handlers of pthread_atfork, no locks of the allocator, as the child
    // uses neither. SAFETY: with only SIGCHLD this is fork(2). The child has a copy of this one
    // thread and goes straight to the prologue, which makes system calls and does not return.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid == 0 {
        prologue::main(std::ptr::from_ref(plan).cast_mut().cast());
    }
    // Read before anything else can change it.
    let error = std::io::Error::last_os_error();
    drop(blocked);
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return Err(error);
    };
    hold(pid)
}

/// The pidfd of a child that was made without one.
///
/// The pid cannot have been given to another: the child is not reaped yet, and strangers are not
/// reaped while the caller holds its place in the registry.
fn hold(pid: i32) -> std::io::Result<Newborn> {
    let pidfd = crate::child::open_pidfd(pid).inspect_err(|_| {
        // A process we could not hold is worse than none.
        // SAFETY: plain integers; the pid is our unreaped child.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        let _ = wait_id(Whom::Pid(pid), 0);
    })?;
    Ok(Newborn {
        pid,
        pidfd,
        started: None,
    })
}

/// What the child says before it gives up; `None` when the pipe ends in silence because `execve`
/// closed it.
///
/// A child that is killed before that is silent too. It is then a program that ended early, as its
/// exit status says.
fn read_report(report: &OwnedFd) -> Option<Failure> {
    let mut buffer = [0_u8; REPORT_BYTES];
    let count = retry(|| Ok(rustix::io::read(report, &mut buffer)?)).ok()?;
    if count < REPORT_BYTES {
        return None;
    }
    let (stage, detail, errno) = prologue::decode(buffer);
    Some((Stage::from_number(stage)?, detail, errno))
}

/// The stack of a child that shares our memory, with a page below it that faults instead of letting
/// it run over.
struct Stack {
    base: *mut std::ffi::c_void,
}

// SAFETY: a mapping belongs to the process, not to a thread; whoever has the value has it alone.
unsafe impl Send for Stack {}

/// The stack of the child before: a new mapping costs more than all else that a birth does in user
/// space.
static SPARE: Mutex<Option<Stack>> = Mutex::new(None);

impl Stack {
    /// Far more than the prologue needs, even without optimisation; only touched pages cost memory.
    const BYTES: usize = 128 * 1024;
    /// The largest page size of the architectures we build for.
    const GUARD: usize = 64 * 1024;

    fn get() -> std::io::Result<Self> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.map_or_else(Self::new, Ok)
    }

    /// For the next child; this one has left our memory.
    fn put(self) {
        *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    fn new() -> std::io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that
        // exists.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                Self::GUARD + Self::BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK,
            )
        }?;
        let stack = Self { base };
        // SAFETY: the range is the lower part of the mapping just made, which nobody uses yet.
        unsafe { mprotect(stack.base, Self::GUARD, MprotectFlags::empty()) }?;
        Ok(stack)
    }

    /// The upper end: stacks grow downwards on all architectures we build for. Page-aligned.
    fn top(&self) -> *mut std::ffi::c_void {
        self.base.wrapping_byte_add(Self::GUARD + Self::BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the whole mapping made in `new`; the child that used it has left our memory.
        let _ = unsafe { munmap(self.base, Self::GUARD + Self::BYTES) };
    }
}

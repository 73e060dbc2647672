//! Every system call mainstay makes beyond the standard library, and the only `unsafe` code of the
//! product.
//!
//! What this crate hides, so that nobody above has to know it:
//!
//! - **Starting a program** ([`spawn`]): identity, limits, descriptors, session and directory are
//!   set in the child between `clone` and `execve`, where almost nothing is allowed; a failure
//!   there comes back as the exact step and errno instead of a mysterious exit code 127. The new
//!   process is held by a pidfd from its first moment.
//! - **Holding a process** ([`Child`]): signals and exit codes go through the pidfd, so a recycled
//!   pid is never hit. A process that an earlier run of the daemon started can be taken over by
//!   [`Child::adopt`], and its exit code is learned although it is not our child, as far as the
//!   kernel can say it.
//! - **Pipes that outlive us** ([`pipe`]): a program whose output we capture holds both ends of its
//!   pipe, so it gets no `SIGPIPE` when the daemon dies, and the next daemon goes on reading where
//!   the last one stopped.
//! - **Waiting** ([`epoll`], [`signals`]): an epoll set that allocates nothing per wait, a wake-up
//!   handle for other threads, signals as a readable descriptor.
//! - **Giving descriptors away** ([`passing`], [`handover`]): to another process by a socket, to the
//!   next program in this one by an exec.
//! - **Being a daemon** ([`daemon`], [`lock`]): going to the background with a verdict for the
//!   caller, and a pid file that at most one process can hold.
//! - **Not taking what waits to the grave** ([`spill`]): buffers that a signal handler can still
//!   write out when the process ends unasked.
//! - **Looking without waiting** ([`current`]): a value that all threads look at and one replaces.
//! - **Being small afterwards** ([`memory`]): what only the start needed goes back.
//! - **Asking the kernel** ([`users`], [`peer`], [`gauge`], [`limits`], [`proc`]).
//!
//! The crate decides nothing: it never prints, never reads the environment or the command line,
//! starts no thread. Small calls return [`std::io::Error`] and leave the context to the caller, who
//! knows it; calls with more than one way to fail have their own error, see [`SpawnError`],
//! [`ProgramError`], [`LockError`] and [`DaemonError`].
//!
//! The kernel is Linux 5.10 or newer on x86-64 or aarch64. Whatever is newer than 5.10 has a
//! fallback that is named where it is used.
//!
//! ```
//! use std::path::Path;
//! use mainstay_sys::{ExitStatus, spawn::{Spawn, resolve_program}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shell = resolve_program("sh".as_ref(), "/usr/bin:/bin".as_ref(), Path::new("/"))?;
//! let mut spawn = Spawn::new(shell);
//! spawn.args = ["sh", "-c", "exit 3"].map(Into::into).to_vec();
//! spawn.session = true;
//! let child = spawn.spawn()?;
//! assert_eq!(child.wait(None)?, Some(ExitStatus::Code(3)));
//! # Ok(())
//! # }
//! ```

#![expect(
    unsafe_code,
    reason = "this is the one crate that may: all system calls of the product live here"
)]

mod call;
mod child;
pub mod current;
pub mod daemon;
pub mod epoll;
mod error;
pub mod gauge;
pub mod handover;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod passing;
pub mod peer;
pub mod pipe;
pub mod proc;
mod reap;
pub mod signals;
pub mod spawn;
pub mod spill;
pub mod users;

pub use child::{Child, ExitStatus};
pub use epoll::{Epoll, Wake};
pub use error::{DaemonError, LockError, ProgramError, SpawnError, Stage, errno_name};
pub use lock::LockFile;
pub use proc::{boot_id, start_time};
pub use reap::{reap_strangers, set_child_subreaper};
/// An error number of the kernel, as the failing call returned it.
pub use rustix::io::Errno;
pub use signals::{Signal, SignalFd};
pub use spawn::Spawn;
pub use users::Identity;

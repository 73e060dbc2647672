//! Process life: a pure state machine, and the one plain thread that obeys it.
//!
//! This crate hides how programs are started, watched, stopped and started again, how their output
//! gets into files, and how a daemon that died at any moment is followed by one that takes all its
//! processes over. Whoever uses it reads [`ProgramSpec`]s from the config ([`read_all`]), starts a
//! [`Supervisor`], sends it [`Command`]s and listens to its [`Event`]s.
//!
//! How it is built:
//!
//! - [`machine`] decides. It is a function from a policy, a state, an event and the time to the
//!   next state and what to do; supervisord's table of states, with mainstay's own defaults beside
//!   it.
//! - One thread acts. It waits in epoll for the ends of processes (pidfds), for their output
//!   (pipes, moved into files by splice) and for requests, and sleeps without end when nothing is
//!   due. It resolves no host name, speaks no protocol and writes no log of its own: it tells what
//!   happened through a callback. What waits for something, waits outside of it.
//! - [`journal`] remembers. A small append-only file says which process belongs to which slot,
//!   what a person decided, and which pipes are whose. It is written before and after each birth,
//!   so that the next daemon finds every process, also one that was being born when this one died.
//!
//! - A small second process, the keeper ([`keep`]), holds the reading ends of all output pipes, so
//!   that what a program wrote before it died is still there for the next daemon.
//!
//! What never happens, and is tested: two live processes in one slot; a stop that does not end; a
//! signal to a process that is not the one that was started; a process started a second time
//! because the daemon was killed; output lost because of it; a turn of the loop while nothing
//! happens.
//!
//! A program runs in a session of its own. Unless it says otherwise, its process group is its own
//! too: when the leader dies what it left behind is killed before the next start, and when it is
//! stopped what it left behind gets the stop signal and the rest of the time. Orphans outside the
//! group are reaped by [`mainstay_sys::reap_strangers`], if the daemon asked to be their parent.
//!
//! ```
//! use mainstay_base::{Resolver, Template};
//! use mainstay_supervise::{Command, Phase, ProgramSpec, Reply, Settings, Supervisor};
//!
//! # let dir = tempfile::tempdir()?;
//! let sleeper = ["sleep", "1000"].map(Template::literal).to_vec();
//! let web = ProgramSpec::new("web", sleeper, dir.path());
//! let supervisor = Supervisor::start(
//!     Settings::new(dir.path()),
//!     vec![web],
//!     Resolver::default(),
//!     Box::new(|event| { let _line = event.to_string(); }),
//! )?;
//! // `request` never waits; `ask` does, for tools and examples like this one.
//! supervisor.ask(Command::Restart { names: vec!["web".into()], wait: true })?;
//! let Reply::Status(all) = supervisor.ask(Command::Status { names: vec![] })? else { panic!() };
//! assert_eq!(all[0].phase, Phase::Running);
//! supervisor.ask(Command::Shutdown)?;
//! assert!(supervisor.join());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adopt;
mod birth;
mod command;
mod config;
mod error;
pub mod events;
mod group;
mod handover;
mod held;
mod input;
pub mod journal;
mod keeper;
mod launch;
mod listeners;
pub mod machine;
mod names;
mod output;
mod pace;
mod program;
mod quote;
mod request;
mod reserve;
mod roster;
mod runtime;
mod slot;
mod socket;
mod supervisor;
mod tap;
mod timers;

pub use command::{Change, Command, Did, Event, Inheritance, Outcome, Refusal, Reply, Status};
pub use config::{Defaults, parse_backoff, parse_give_up, read, read_all};
pub use error::{Error, Kind};
pub use keeper::keep;
pub use launch::preflight;
pub use machine::{Autorestart, Backoff, Exit, GiveUp, Phase, Policy, Why};
pub use names::{Names, select, suggest};
pub use program::{
    Group, ListenerSpec, Output, ProcessSpec, ProgramSpec, SocketAddress, SocketSpec, Stdin, Tap,
};
pub use quote::quote;
pub use socket::try_socket;
pub use supervisor::{Settings, Supervisor, check, descriptors_needed, live_logs, rolled_from};

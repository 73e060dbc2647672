//! Notifications to event listeners, as supervisord has them (spec `supervisord.md`, 1.7).
//!
//! All of it is pure: bytes and values in, values out. Who holds the pipes and the clock asks
//!
//! - [`Mask`] which kinds anybody wants, before a [`Notification`] is made at all: supervisord
//!   numbers only what some pool takes,
//! - each [`Pool`] to keep what its mask wants until a process of it is ready,
//! - [`Listener`] what the output of such a process means,
//! - [`Ticks`] when the next tick is due, if anybody listens to one,
//! - [`ListenerRecord`] for the bytes by which a listener and what it is busy with outlive the
//!   daemon.
//!
//! It departs from supervisord 4.2.5 where that is wrong, and nowhere else:
//!
//! - Remote communication carries its text, not the `b'…'` of Python.
//! - A pool that names a kind twice, as in `TICK,TICK_5`, gets a notification once.
//! - A rejected notification goes back into its own pool only; there, into every pool of the same
//!   priority.
//! - `RESULT 0` is a result when its line is complete; there, when the next byte arrives.
//! - A negative length of a result, one beyond [`LONGEST_RESULT`], and a line beyond
//!   [`LONGEST_LINE`] violate the protocol; there they are read without end.

mod kind;
mod listener;
mod notification;
mod pool;
mod record;
mod ticks;

pub use kind::{Kind, Mask};
pub use listener::{LONGEST_LINE, LONGEST_RESULT, Listener, RESULT_KEPT, State, Step};
pub use notification::{Channel, Notification, PhaseChange, Serials, Who, as_text};
pub use pool::{Delivery, Discarded, Pool};
pub use record::{InFlight, LONGEST_PAYLOAD, ListenerRecord};
pub use ticks::Ticks;

#[cfg(test)]
#[path = "events/tests/oracle.rs"]
mod oracle;

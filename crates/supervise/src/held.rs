//! Processes of an earlier daemon that live but cannot be taken over for now, most often because
//! the limit of open files is reached.
//!
//! Such a slot keeps its process id and its record in the journal, so that nothing is started beside
//! the process and no later daemon loses sight of it. It is tried again until it works or the process
//! is gone. Until then it can be signalled all the same: by its verified identity, with the
//! descriptors that were kept back for that.

use std::io;
use std::time::Duration;

use mainstay_sys::{Child, Errno, Signal};

use crate::adopt::age;
use crate::command::Event;
use crate::journal::{ProcessRecord, SlotRecord};
use crate::machine::{self, Exit, Phase, State};
use crate::runtime::{Runtime, Timer};

/// How long to wait before the next attempt: the first, and the longest.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// How often to look whether it is gone after it was told to stop.
const GONE_POLL: Duration = Duration::from_millis(100);

/// What is known of such a process.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pid: u32,
    start_ticks: u64,
    /// What the journal goes on saying of it.
    pub(crate) record: SlotRecord,
    delay: Duration,
}

impl Held {
    /// The process as the kernel knows it, if it still is the same.
    fn child(&self) -> io::Result<Option<Child>> {
        Child::adopt(self.pid.cast_signed(), self.start_ticks)
    }
}

/// How such a process is.
enum Seen {
    Lives,
    Gone(Exit),
}

fn see(child: io::Result<Option<Child>>) -> Seen {
    match child {
        Ok(None) => Seen::Gone(Exit::Unknown),
        Ok(Some(child)) => match child.try_wait() {
            Ok(Some(status)) => Seen::Gone(status.into()),
            _ => Seen::Lives,
        },
        // What cannot be seen is believed to live: a second one beside it would be worse.
        Err(_) => Seen::Lives,
    }
}

impl Runtime {
    /// Keeps a process in mind that could not be taken over. False: it is gone.
    pub(crate) fn hold(
        &mut self,
        i: usize,
        (pid, start_ticks): (u32, u64),
        record: &SlotRecord,
        error: &io::Error,
    ) -> bool {
        let live = Some(ProcessRecord::Live { pid, start_ticks });
        let held = Box::new(Held {
            pid,
            start_ticks,
            record: SlotRecord {
                live,
                ..record.clone()
            },
            delay: RETRY[0],
        });
        if let Seen::Gone(_) = self.reserve.lend(|| see(held.child())) {
            return false;
        }
        let now = self.now();
        let slot = &mut self.slots[i];
        let why = format!(
            "pid {pid} is alive, but cannot be taken over: {error}; its output is not read until \
             then; raise the limit of open files, it is tried again"
        );
        slot.live = live;
        slot.live_hash = record.spec_hash;
        slot.held = Some(held);
        slot.state = State::restored(
            Phase::Stopped,
            false,
            record.counters,
            &slot.spec.policy,
            now,
        );
        let started = now.saturating_sub(age(start_ticks));
        self.timers
            .set(Timer::Held(i), Some(now.saturating_add(RETRY[0])));
        self.feed(
            i,
            machine::Event::Unreachable {
                pid,
                started,
                why: why.into(),
            },
        );
        self.carry_on(i, record);
        true
    }

    /// Tries again.
    pub(crate) fn look_at_held(&mut self, i: usize) {
        let Some(mut held) = self.slots[i].held.clone() else {
            return;
        };
        let identity = (held.pid, held.start_ticks);
        match self.reach(i, identity, &held.record) {
            Ok(true) => {
                self.slots[i].held = None;
                self.tell_adopted(i, held.pid);
                let state = &self.slots[i].state;
                if state.phase == Phase::Unknown {
                    let down = !state.wanted;
                    let started = self.now().saturating_sub(age(held.start_ticks));
                    let pid = held.pid;
                    self.feed(i, machine::Event::Adopted { pid, started });
                    if down {
                        self.feed(i, machine::Event::Stop);
                    }
                } else {
                    self.note(i);
                }
            }
            Ok(false) => self.lost(i, Exit::Unknown),
            Err(_) => match self.reserve.lend(|| see(held.child())) {
                Seen::Gone(exit) => self.lost(i, exit),
                Seen::Lives => {
                    let stopping = self.slots[i].state.phase == Phase::Stopping;
                    let delay = if stopping { GONE_POLL } else { held.delay };
                    held.delay = (held.delay * 2).min(RETRY[1]);
                    self.slots[i].held = Some(held);
                    let at = self.now().saturating_add(delay);
                    self.timers.set(Timer::Held(i), Some(at));
                }
            },
        }
    }

    /// A held process is gone.
    fn lost(&mut self, i: usize, exit: Exit) {
        let slot = &mut self.slots[i];
        slot.held = None;
        slot.live = None;
        slot.pipes = [0; 2];
        self.feed(i, machine::Event::Exited(exit));
    }

    /// Signals a held process, if it still is the same.
    pub(crate) fn signal_held(&mut self, i: usize, signal: Signal, group: bool) -> io::Result<()> {
        let Self {
            slots,
            reserve,
            timers,
            ..
        } = self;
        let gone = || Errno::SRCH.into();
        let held = slots[i].held.as_ref().ok_or_else(gone)?;
        let result = reserve.lend(|| match held.child()? {
            Some(child) if group => child.signal_group(signal),
            Some(child) => child.signal(signal),
            None => Err(gone()),
        });
        let soon = self.clock.monotonic().saturating_add(GONE_POLL);
        timers.set(
            Timer::Held(i),
            Some(soon.saturating_add(crate::runtime::ORIGIN)),
        );
        result
    }

    /// Says that the process is supervised again.
    pub(crate) fn tell_adopted(&self, i: usize, pid: u32) {
        let slot = &self.slots[i];
        let process = slot.name().to_owned();
        self.tell(if slot.left_over {
            Event::LeftOver { process, pid }
        } else {
            Event::Adopted {
                process,
                pid,
                outdated: slot.is_outdated(),
            }
        });
    }
}

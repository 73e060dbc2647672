//! Who hears what: the pools of event listeners, and the notifications they share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_log::Stream;

use crate::command::{Change, Event};
use crate::events::{
    Channel, Delivery, InFlight, Kind, Listener, ListenerRecord, Mask, Notification, PhaseChange,
    Pool, Serials, State, Step, Ticks, Who, as_text,
};
use crate::input::Sent;
use crate::journal::SlotRecord;
use crate::machine::{Phase, Why};
use crate::runtime::{Runtime, Timer};
use crate::slot::{Slot, index};
use crate::tap::TapEvent;

/// What was heard on a stream and is not dealt with yet. Filled and emptied on one thread; the lock is
/// there because the inspector belongs to the capture.
pub(crate) type Heard = Arc<Mutex<Vec<TapEvent>>>;

/// What a process does as an event listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerSlot {
    protocol: Listener,
    /// What it is busy with.
    busy: Option<Delivery>,
    /// How many bytes were sent of that, or are about to be.
    sent: usize,
}

/// Everyone who listens.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    pub(crate) identifier: String,
    /// By program.
    pools: BTreeMap<String, Pool>,
    /// What anybody wants to hear.
    wanted: Mask,
    serials: Serials,
    ticks: Ticks,
}

impl Slot {
    /// What the journal keeps of its listening.
    pub(crate) fn listener_record(&self) -> Vec<u8> {
        self.listener.as_ref().map_or_else(Vec::new, |listener| {
            let unwritten = self.input.as_ref().map_or(0, crate::input::Input::waiting);
            let in_flight = listener.busy.as_ref().map(|delivery| {
                // What waits in memory is not in the pipe.
                InFlight::new(delivery, listener.sent.saturating_sub(unwritten) as u64)
            });
            ListenerRecord {
                listener: listener.protocol.clone(),
                in_flight,
            }
            .encode()
        })
    }
}

impl Runtime {
    /// Brings the pools in line with the programs that there are.
    pub(crate) fn listen(&mut self) {
        let mut wanted = Mask::NONE;
        let mut there = BTreeMap::new();
        for slot in self.slots.iter().filter(|slot| !slot.forgotten) {
            if let Some(spec) = &slot.spec.listener {
                wanted |= spec.events;
                there.insert(slot.spec.name.clone(), spec.clone());
            }
        }
        let mut old = std::mem::take(&mut self.audience.pools);
        for (program, spec) in there {
            let pool = old
                .remove(&program)
                .filter(|pool| pool.mask() == spec.events && pool.capacity() == spec.buffer)
                .unwrap_or_else(|| Pool::new(&program, spec.events, spec.buffer));
            self.audience.pools.insert(program, pool);
        }
        self.audience.wanted = wanted;
        self.tick();
    }

    /// Tells whoever listens, if anybody does.
    fn announce_if_wanted(&mut self, kind: Kind, make: impl FnOnce(u64) -> Notification) {
        if !self.audience.wanted.contains(kind) {
            return;
        }
        let notification = make(self.audience.serials.next());
        let mut lost = Vec::new();
        for pool in self.audience.pools.values_mut() {
            lost.extend(pool.offer(&notification));
        }
        for discarded in lost {
            self.tell(Event::Said {
                level: mainstay_log::Level::Error,
                text: discarded.to_string(),
            });
        }
    }

    /// A process changed its phase.
    pub(crate) fn announce_change(&mut self, change: &Change) {
        let kind = Kind::of_phase(change.to);
        if !self.audience.wanted.contains(kind) {
            return;
        }
        let name = crate::names::Names {
            process: &change.process,
            program: &change.program,
            group: &change.group,
        }
        .member();
        self.announce_if_wanted(kind, |serial| {
            let who = Who {
                process: &name,
                group: &change.group,
            };
            let phase = PhaseChange {
                from: change.from,
                to: change.to,
                pid: change.pid.unwrap_or(0),
                tries: change.tries,
                expected: change.why == Why::Done,
            };
            Notification::phase(serial, who, phase)
        });
    }

    /// A client sends something.
    pub(crate) fn announce(&mut self, kind: &str, data: &str) {
        self.announce_if_wanted(Kind::RemoteCommunication, |serial| {
            Notification::remote(serial, kind, data)
        });
    }

    /// The supervision begins or ends.
    pub(crate) fn announce_state(&mut self, running: bool) {
        if running {
            self.announce_if_wanted(
                Kind::SupervisorStateChangeRunning,
                Notification::supervisor_running,
            );
        } else {
            self.announce_if_wanted(
                Kind::SupervisorStateChangeStopping,
                Notification::supervisor_stopping,
            );
        }
    }

    /// A group came or went.
    pub(crate) fn announce_group(&mut self, group: &str, added: bool) {
        if added {
            self.announce_if_wanted(Kind::ProcessGroupAdded, |serial| {
                Notification::group_added(serial, group)
            });
        } else {
            self.announce_if_wanted(Kind::ProcessGroupRemoved, |serial| {
                Notification::group_removed(serial, group)
            });
        }
    }

    /// Sends the ticks that are due, and sets the timer for the next.
    pub(crate) fn tick(&mut self) {
        let wanted = self.audience.wanted;
        let now = epoch(self.clock.now());
        for (kind, when) in self.audience.ticks.due(now, wanted) {
            self.announce_if_wanted(kind, |serial| Notification::tick(serial, kind, when));
        }
        let next =
            Ticks::next(now, wanted).map(|at| self.now().saturating_add(at.saturating_sub(now)));
        self.timers.set(Timer::Tick, next);
    }

    /// Gives waiting notifications to listeners that are ready.
    pub(crate) fn dispatch(&mut self) {
        if self.audience.pools.values().all(Pool::is_empty) {
            return;
        }
        for i in 0..self.slots.len() {
            self.dispatch_to(i);
        }
    }

    fn dispatch_to(&mut self, i: usize) {
        let slot = &self.slots[i];
        let ready = slot.state.phase == Phase::Running
            && slot
                .listener
                .as_ref()
                .is_some_and(|listener| listener.protocol.state() == State::Ready);
        if !ready {
            return;
        }
        let program = slot.spec.name.clone();
        let Some(pool) = self.audience.pools.get_mut(&program) else {
            return;
        };
        let Some(delivery) = pool.take() else { return };
        let envelope = delivery.envelope(&self.audience.identifier);
        match self.write_input(i, &envelope) {
            Sent::All | Sent::Waits => {
                if let Some(listener) = &mut self.slots[i].listener {
                    listener.protocol.sent();
                    listener.busy = Some(delivery);
                    listener.sent = envelope.len();
                }
                self.note(i);
            }
            Sent::Closed | Sent::Full => self.give_back(&program, delivery),
        }
    }

    fn give_back(&mut self, program: &str, delivery: Delivery) {
        if let Some(pool) = self.audience.pools.get_mut(program)
            && let Some(discarded) = pool.give_back(delivery)
        {
            self.tell(Event::Said {
                level: mainstay_log::Level::Error,
                text: discarded.to_string(),
            });
        }
    }

    /// A listener process is about to be born.
    pub(crate) fn listener_begins(&mut self, i: usize) {
        if let Some(listener) = &mut self.slots[i].listener {
            listener.protocol.reset();
        }
    }

    /// A listener process has ended: what it did not finish is for another.
    pub(crate) fn listener_ended(&mut self, i: usize) {
        let slot = &mut self.slots[i];
        if let Some(listener) = &mut slot.listener {
            listener.protocol.reset();
            if let Some(delivery) = listener.busy.take() {
                let program = slot.spec.name.clone();
                self.give_back(&program, delivery);
            }
        }
    }

    /// A listener of an earlier daemon goes on where it was.
    pub(crate) fn listener_adopted(&mut self, i: usize, record: &SlotRecord) {
        let slot = &mut self.slots[i];
        let (Some(listener), Some(spec)) = (&mut slot.listener, &slot.spec.listener) else {
            return;
        };
        let Some(record) = ListenerRecord::decode(&record.listener) else {
            return;
        };
        listener.protocol = record.listener;
        let Some(in_flight) = record.in_flight else {
            return;
        };
        let name = slot.spec.name.clone();
        let pool = Pool::new(&name, spec.events, spec.buffer);
        let written = in_flight.written;
        let whole = in_flight.cut == 0;
        let delivery = in_flight.into_delivery(&pool);
        // What the daemon before had not written yet. An exec in place has it already.
        let envelope = delivery.envelope(&self.audience.identifier);
        let missing = usize::try_from(written)
            .ok()
            .and_then(|at| envelope.get(at..));
        let unwritten = missing
            .filter(|rest| !rest.is_empty() && whole)
            .map(<[u8]>::to_vec);
        listener.busy = Some(delivery);
        listener.sent = envelope.len();
        let inherited = slot.input.as_ref().is_some_and(|input| input.waiting() > 0);
        if let Some(rest) = unwritten.filter(|_| !inherited) {
            let _ = self.write_input(i, &rest);
        }
    }

    /// Deals with what was heard on a stream of slot `i`.
    pub(crate) fn hear(&mut self, i: usize, stream: Stream) {
        let Some(heard) = &self.slots[i].heard[index(stream)] else {
            return;
        };
        let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
        for event in heard {
            match event {
                TapEvent::Log(data) => self.heard_output(i, stream, &data),
                TapEvent::Communication(data) => self.heard_communication(i, stream, &data),
                TapEvent::Raw(data) => {
                    self.tell_output_text(i, stream, &data);
                    self.heard_listener(i, &data);
                }
                TapEvent::Unfinished(data) => {
                    let text = format!(
                        "{}: {} bytes between capture tokens were not finished when it ended, and are no communication",
                        self.slots[i].name(),
                        data.len()
                    );
                    self.tell(Event::Said {
                        level: mainstay_log::Level::Warn,
                        text,
                    });
                }
            }
        }
    }

    fn heard_output(&mut self, i: usize, stream: Stream, data: &[u8]) {
        let slot = &self.slots[i];
        let tap = match stream {
            Stream::Stdout => slot.process.stdout_tap,
            Stream::Stderr => slot.process.stderr_tap,
        };
        if tap.syslog {
            let process = slot.names().member();
            let text = as_text(data).into_owned();
            self.tell(Event::Syslog { process, text });
        }
        self.tell_output_text(i, stream, data);
        if tap.events {
            self.announce_stream(i, stream, data, false);
        }
    }

    /// Tells what was written, if somebody wants to read it in the daemon's own log.
    fn tell_output_text(&self, i: usize, stream: Stream, data: &[u8]) {
        let slot = &self.slots[i];
        let tap = match stream {
            Stream::Stdout => slot.process.stdout_tap,
            Stream::Stderr => slot.process.stderr_tap,
        };
        if tap.debug {
            let process = slot.names().member();
            let text = format!("'{process}' {} output:\n{}", stream.name(), as_text(data));
            self.tell(Event::Said {
                level: mainstay_log::Level::Debug,
                text,
            });
        }
    }

    fn heard_communication(&mut self, i: usize, stream: Stream, data: &[u8]) {
        self.announce_stream(i, stream, data, true);
    }

    fn announce_stream(&mut self, i: usize, stream: Stream, data: &[u8], communication: bool) {
        let (kind, channel) = match (stream, communication) {
            (Stream::Stdout, false) => (Kind::ProcessLogStdout, Channel::Stdout),
            (Stream::Stderr, false) => (Kind::ProcessLogStderr, Channel::Stderr),
            (Stream::Stdout, true) => (Kind::ProcessCommunicationStdout, Channel::Stdout),
            (Stream::Stderr, true) => (Kind::ProcessCommunicationStderr, Channel::Stderr),
        };
        if !self.audience.wanted.contains(kind) {
            return;
        }
        let slot = &self.slots[i];
        let (process, group) = (slot.names().member(), slot.spec.group.name.clone());
        let pid = slot.state.pid.unwrap_or(0);
        self.announce_if_wanted(kind, |serial| {
            let who = Who {
                process: &process,
                group: &group,
            };
            if communication {
                Notification::communication(serial, who, pid, channel, data)
            } else {
                Notification::log(serial, who, pid, channel, data)
            }
        });
    }

    /// A listener said something.
    fn heard_listener(&mut self, i: usize, data: &[u8]) {
        let slot = &mut self.slots[i];
        let process = slot.names().member();
        let program = slot.spec.name.clone();
        let Some(listener) = &mut slot.listener else {
            return;
        };
        let mut steps = Vec::new();
        listener.protocol.feed(data, |step| steps.push(step));
        for step in steps {
            for (level, text) in step.lines(&process) {
                self.tell(Event::Said { level, text });
            }
            let Some(listener) = &mut self.slots[i].listener else {
                return;
            };
            match step {
                Step::Ready => {}
                Step::Accepted => listener.busy = None,
                Step::Rejected(_) | Step::Violation { .. } => {
                    if let Some(delivery) = listener.busy.take() {
                        self.give_back(&program, delivery);
                    }
                }
            }
        }
        self.note(i);
    }
}

fn epoch(now: Timestamp) -> Duration {
    Duration::try_from(now.as_duration()).unwrap_or_default()
}

//! Groups that come and go while the supervision runs.

use std::sync::Arc;

use crate::command::{Did, Refusal, Reply};
use crate::input::Sent;
use crate::journal::Record;
use crate::machine;
use crate::program::Stdin;
use crate::runtime::{Runtime, Timer};
use crate::slot::Slot;

impl Runtime {
    /// Takes the processes of a new group in and starts those that start by themselves.
    pub(crate) fn add_group(&mut self, slots: Vec<Slot>) -> Result<Reply, Refusal> {
        let there = |new: &Slot| {
            self.slots.iter().any(|old| {
                !old.forgotten
                    && !old.left_over
                    && (old.spec.group.name == new.spec.group.name || old.name() == new.name())
            })
        };
        if slots.iter().any(there) {
            return Err(Refusal::AlreadyThere);
        }
        let Some(group) = slots.first().map(|slot| slot.spec.group.name.clone()) else {
            return Ok(Reply::Ok);
        };
        let mut places = Vec::new();
        for slot in slots {
            places.push(self.place(slot));
        }
        self.listen();
        self.announce_group(&group, true);
        for i in self.in_order(places) {
            if self.slots[i].spec.autostart && !self.slots[i].is_live() {
                self.feed(i, machine::Event::Autostart);
            } else {
                self.note(i);
            }
        }
        Ok(Reply::Ok)
    }

    /// Puts a slot where a forgotten one was that nobody asks about any more, or behind the others.
    /// A process of that name that was left over from an earlier config is its own again.
    fn place(&mut self, mut slot: Slot) -> usize {
        let left_over = self
            .slots
            .iter()
            .position(|old| old.left_over && !old.forgotten && old.name() == slot.name());
        if let Some(i) = left_over {
            let old = &mut self.slots[i];
            old.left_over = false;
            old.spec = Arc::clone(&slot.spec);
            old.process = slot.process;
            old.run_as = slot.run_as;
            old.socket = slot.socket;
            for (old, new) in old.channels.iter_mut().zip(&mut slot.channels) {
                match (old, new) {
                    (Some(old), Some(new)) => old.replace(new),
                    (old @ None, new) => *old = new.take(),
                    (Some(_), None) => {}
                }
            }
            return i;
        }
        let asked = |i: usize| {
            let mut waits = self.waits.iter();
            waits.any(|waiting| waiting.open.iter().any(|(other, _)| *other == i))
        };
        let free = (0..self.slots.len()).find(|i| self.slots[*i].forgotten && !asked(*i));
        if let Some(i) = free {
            self.slots[i] = slot;
            i
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        }
    }

    /// Forgets a group whose processes are all down.
    pub(crate) fn remove_group(&mut self, name: &str) -> Result<Reply, Refusal> {
        let members: Vec<usize> = (0..self.slots.len())
            .filter(|i| {
                let slot = &self.slots[*i];
                !slot.forgotten && slot.spec.group.name == name
            })
            .collect();
        if members.is_empty() {
            return Err(Refusal::UnknownName {
                name: name.to_owned(),
                nearest: None,
            });
        }
        let up = |i: &usize| {
            let slot = &self.slots[*i];
            slot.is_live() || !slot.state.phase.is_stopped() || slot.state.deadline.is_some()
        };
        if members.iter().any(up) {
            return Err(Refusal::StillRunning);
        }
        for i in members {
            self.forget(i);
        }
        self.listen();
        self.announce_group(name, false);
        Ok(Reply::Ok)
    }

    fn forget(&mut self, i: usize) {
        for timer in [Timer::Slot(i), Timer::Group(i), Timer::Held(i)] {
            self.timers.set(timer, None);
        }
        self.close_channels(i);
        let slot = &mut self.slots[i];
        slot.forgotten = true;
        slot.noted = None;
        let record = Record::Forget(slot.process.process.clone());
        let result = self.journal.append(&record, false);
        self.journalled(result);
    }

    /// Closes the log files of slot `i` for good, and the pipes that children of its ended processes
    /// still hold: those children are on their own.
    pub(crate) fn close_channels(&mut self, i: usize) {
        for at in 0..2 {
            self.timers.set(Timer::Output(i, at), None);
            self.timers.set(Timer::Record(i, at), None);
            let Some(mut channel) = self.slots[i].channels[at].take() else {
                continue;
            };
            for pipe in &channel.pipes {
                if !pipe.paused {
                    let _ = self.epoll.delete(&pipe.fd);
                }
                self.tokens.remove(&pipe.token);
                self.let_go(pipe.inode);
            }
            channel.give_up();
        }
    }

    /// Empties the log files of slot `i`.
    pub(crate) fn clear_logs(&mut self, i: usize) -> Result<(), String> {
        for channel in self.slots[i].channels.iter_mut().flatten() {
            channel.clear()?;
        }
        Ok(())
    }

    /// Writes to the input of slot `i` what a person sends.
    pub(crate) fn send_input(&mut self, i: usize, data: &[u8]) -> Did {
        let slot = &self.slots[i];
        if slot.state.pid.is_none() || slot.departing.is_some() {
            return Did::NotRunning;
        }
        if slot.spec.stdin != Stdin::Pipe {
            return Did::NoFile("its input is no pipe".to_owned());
        }
        match self.write_input(i, data) {
            Sent::All | Sent::Waits => Did::Sent,
            Sent::Closed => Did::NoFile("it has closed its input".to_owned()),
            Sent::Full => Did::Failed("it does not read, and too much waits already".to_owned()),
        }
    }

    /// Closes the socket of a program whose processes are all down.
    pub(crate) fn close_socket(&mut self, i: usize) {
        let program = &self.slots[i].spec.name;
        if self.slots[i].socket.is_some() {
            let used = self
                .slots
                .iter()
                .any(|slot| slot.spec.name == *program && slot.is_live());
            if !used && self.sockets.close(program) {
                self.tell_socket("Closing", i);
            }
        }
    }
}

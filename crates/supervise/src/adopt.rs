//! What a new daemon does about the processes of the one before it.
//!
//! The deciding part, [`verdict`], is pure. The acting part never touches a process unless boot
//! id, process id and start time all match what the journal says, or, for a process whose birth
//! was noted but whose id was not, unless it holds the very pipe that was made for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_log::Stream;
use mainstay_sys::{Child, pipe, start_time};

use crate::command::Event;
use crate::group::{leads_session, processes};
use crate::input::Input;
use crate::journal::{Inherited, Noted, ProcessRecord, Record, SlotRecord};
use crate::launch::Words;
use crate::machine::{self, Counters, Exit, Phase, State, Trouble, step};
use crate::program::{Output, Stdin};
use crate::reserve::is_shortage;
use crate::runtime::Runtime;
use crate::slot::{Slot, index};

/// What to do with a slot when the daemon starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Start it, as configured or as decided.
    Start,
    /// Leave it down.
    Rest,
    /// Take this process over, if it still is the same.
    Adopt { pid: u32, start_ticks: u64 },
    /// A process may have been born: find it by its pipes.
    Find,
    /// It has ended and was to be tried again: wait and try.
    Resume,
    /// It has ended for good: show it as it was.
    Keep,
}

/// Decides it. The journal's processes have been dropped from `record` already if they belong to
/// another boot or to a daemon that shut down in order ([`crate::journal::inherit`]).
fn verdict(
    record: Option<&SlotRecord>,
    same_boot: bool,
    closed: bool,
    autostart: bool,
    hash: u64,
) -> Verdict {
    let Some(record) = record else {
        return if autostart {
            Verdict::Start
        } else {
            Verdict::Rest
        };
    };
    match record.live {
        Some(ProcessRecord::Live { pid, start_ticks }) => {
            return Verdict::Adopt { pid, start_ticks };
        }
        Some(ProcessRecord::Intent) => return Verdict::Find,
        None => {}
    }
    // The daemon before died (or this would be `closed`), so that how a program was is how it
    // still is: a short job that is done is not done twice. A changed config is a new chance.
    if same_boot && !closed && record.spec_hash == hash {
        match record.phase {
            Phase::Backoff | Phase::Exited if record.waiting => return Verdict::Resume,
            Phase::Exited | Phase::Fatal => return Verdict::Keep,
            _ => {}
        }
    }
    let up = match record.decided {
        Some(false) => false,
        // Started by hand: for this boot. After another, the config counts.
        Some(true) => autostart || same_boot,
        None => autostart,
    };
    if up { Verdict::Start } else { Verdict::Rest }
}

impl Runtime {
    /// Brings every slot to life: adopts, resumes or starts it. Called once, before the loop.
    pub(crate) fn begin(&mut self, inherited: Inherited) {
        if inherited.damaged > 0 {
            self.tell(Event::JournalDamaged {
                bytes: inherited.damaged,
            });
        }
        // As it was found: until a slot has its new record, the old one must stay.
        if let Err(error) = self.journal.rewrite(inherited.slots.values()) {
            self.tell(Event::JournalFailed {
                text: format!("cannot write the journal of processes: {error}"),
            });
        }
        let configured = self.slots.len();
        self.meet_keeper();
        self.inherit_sockets();
        // First take over what lives, then start what does not: an old process may hold the port
        // of a new one.
        let mut later = Vec::new();
        for i in 0..configured {
            let forgets =
                self.words == Words::Supervisord && (inherited.closed || !inherited.same_boot);
            let slot = &mut self.slots[i];
            // supervisord starts anew each time it is started in order.
            let record = inherited.slots.get(slot.name()).filter(|_| !forgets);
            let verdict = verdict(
                record,
                inherited.same_boot,
                inherited.closed,
                slot.spec.autostart,
                slot.hash,
            );
            if let Some(record) = record {
                slot.noted = Some(Noted::of(record.clone()));
                let same = record.decided != Some(true) || inherited.same_boot;
                slot.decided = record
                    .decided
                    .filter(|up| same && *up != slot.spec.autostart);
            }
            match (verdict, record) {
                (Verdict::Adopt { .. } | Verdict::Find, Some(record)) => {
                    if !self.take_over(i, verdict, record) {
                        later.push((i, verdict, record));
                    }
                }
                (verdict, record) => {
                    later.push((i, verdict, record.unwrap_or(&EMPTY)));
                }
            }
        }
        self.adopt_left_over(&inherited);
        self.listen();
        // Before anything is started: what the one before wrote comes first.
        self.begin_with_inherited();
        let groups: std::collections::BTreeSet<_> = self
            .slots
            .iter()
            .map(|slot| slot.spec.group.clone())
            .collect();
        for group in groups {
            self.announce_group(&group.name, true);
        }
        self.announce_state(true);
        later.sort_by_key(|(i, ..)| {
            let slot = &self.slots[*i];
            (
                slot.spec.group.clone(),
                slot.spec.priority,
                slot.spec.name.clone(),
                *i,
            )
        });
        for (i, verdict, record) in later {
            self.bring_up(i, verdict, record);
        }
        if self.journal.is_behind() {
            self.retry_journal();
        }
    }

    /// Slots without a live process.
    fn bring_up(&mut self, i: usize, verdict: Verdict, record: &SlotRecord) {
        let now = self.now();
        let slot = &mut self.slots[i];
        let policy = &slot.spec.policy;
        // Of its last process, until it has another: the daemon after this one must be able to tell
        // whether it is done or has a new config.
        slot.live_hash = record.spec_hash;
        match verdict {
            Verdict::Rest => self.after_start(i),
            Verdict::Resume | Verdict::Keep => {
                slot.state = State::restored(
                    record.phase,
                    verdict == Verdict::Resume,
                    record.counters,
                    policy,
                    now,
                );
                slot.state.trouble = (!record.trouble.is_empty())
                    .then(|| Trouble::Earlier(record.trouble.as_str().into()));
                self.after_start(i);
            }
            // The birth was planned and did not happen.
            Verdict::Find if record.decided == Some(false) => self.after_start(i),
            // It was a restart, and still is: what was counted so far goes on, this one included.
            Verdict::Find if record.counters.restarts > 0 => {
                let counters = Counters {
                    restarts: record.counters.restarts - 1,
                    ..record.counters
                };
                slot.state = State::restored(Phase::Exited, true, counters, policy, now);
                // Its delay was over.
                slot.state.deadline = Some(now);
                self.after_start(i);
            }
            Verdict::Find | Verdict::Start => self.feed(i, machine::Event::Autostart),
            // It ended while nobody watched.
            Verdict::Adopt { pid, .. } => {
                let state = State::restored(Phase::Stopped, false, record.counters, policy, now);
                if record.decided == Some(false) || record.phase == Phase::Stopping {
                    slot.state = state;
                    if self.is_to_come_back(i, record) {
                        self.feed(i, machine::Event::Start);
                    } else {
                        self.after_start(i);
                    }
                    return;
                }
                let started = now.saturating_sub(policy.start_secs);
                let (running, _) = step(
                    policy,
                    &state,
                    machine::Event::Adopted { pid, started },
                    now,
                );
                slot.state = running;
                self.feed(i, machine::Event::Exited(Exit::Unknown));
            }
        }
    }

    /// Notes a slot's state and arms its timer without an event of the machine.
    fn after_start(&mut self, i: usize) {
        // A tick that is too early does nothing but that.
        self.feed(i, machine::Event::Tick);
    }

    /// Takes the process of an earlier daemon over. False: there is none.
    fn take_over(&mut self, i: usize, verdict: Verdict, record: &SlotRecord) -> bool {
        let found = match verdict {
            Verdict::Adopt { pid, start_ticks } => Ok(Some((pid, start_ticks))),
            Verdict::Find => self
                .reserve
                .lend(|| find_by_pipe([record.stdout_pipe, record.stderr_pipe])),
            Verdict::Start | Verdict::Rest | Verdict::Resume | Verdict::Keep => Ok(None),
        };
        let identity = match found {
            Ok(Some(identity)) => identity,
            Ok(None) => return false,
            Err(error) => {
                self.leave_open(i, record, &error);
                return true;
            }
        };
        let (pid, start_ticks) = identity;
        match self.reach(i, identity, record) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => return self.hold(i, identity, record, &error),
        }
        let now = self.now();
        let slot = &mut self.slots[i];
        slot.live = Some(ProcessRecord::Live { pid, start_ticks });
        slot.live_hash = record.spec_hash;
        slot.state = State::restored(
            Phase::Stopped,
            false,
            record.counters,
            &slot.spec.policy,
            now,
        );
        self.listener_adopted(i, record);
        self.tell_adopted(i, pid);
        let started = now.saturating_sub(age(start_ticks));
        self.feed(i, machine::Event::Adopted { pid, started });
        self.carry_on(i, record);
        true
    }

    /// Goes on with what the daemon before was doing to a process that was found alive.
    pub(crate) fn carry_on(&mut self, i: usize, record: &SlotRecord) {
        let slot = &self.slots[i];
        if record.phase == Phase::Stopping || slot.decided == Some(false) {
            self.feed(i, machine::Event::Stop);
            if self.is_to_come_back(i, record) {
                self.feed(i, machine::Event::Start);
            }
        }
    }

    /// Whether a process that was being stopped is started again when it is gone: by a restart, or
    /// because what stopped it was the end of a daemon, which changes nothing about what is wanted.
    /// A person's stop is in the journal before its first signal.
    fn is_to_come_back(&self, i: usize, record: &SlotRecord) -> bool {
        let slot = &self.slots[i];
        let wanted = slot.decided.unwrap_or(slot.spec.autostart);
        !slot.left_over && (record.waiting || wanted)
    }

    /// Nobody can say whether the process whose birth was planned came to be: nothing is started
    /// by itself.
    fn leave_open(&mut self, i: usize, record: &SlotRecord, error: &io::Error) {
        let slot = &mut self.slots[i];
        let process = slot.name().to_owned();
        let text = format!(
            "it may be running, started by a mainstay that was killed, but the processes of this \
             host cannot be listed: {error}; stop it by hand, then `mainstay start {process}`"
        );
        slot.live = Some(ProcessRecord::Intent);
        slot.live_hash = record.spec_hash;
        slot.pipes = [record.stdout_pipe, record.stderr_pipe];
        slot.state.phase = Phase::Unknown;
        slot.state.trouble = Some(Trouble::Signal(text.as_str().into()));
        self.note(i);
        self.tell(Event::Output {
            process,
            level: mainstay_log::Level::Error,
            text,
        });
    }

    /// Watches a process of an earlier daemon and reads its output from now on. False: it is gone.
    /// On an error nothing has changed.
    pub(crate) fn reach(
        &mut self,
        i: usize,
        (pid, start_ticks): (u32, u64),
        record: &SlotRecord,
    ) -> io::Result<bool> {
        let Some(child) = Child::adopt(pid.cast_signed(), start_ticks)? else {
            return Ok(false);
        };
        let slot = &self.slots[i];
        if slot.left_over && slot.process.stdout == Output::Discard && !is_empty(&record.stdout_log)
        {
            // Its log files could not be opened before.
            let complete = Slot::left_over(record, &self.clock, self.logger.as_ref())
                .map_err(io::Error::other)?;
            let slot = &mut self.slots[i];
            slot.channels = complete.channels;
            slot.process = complete.process;
            slot.spec = complete.spec;
        }
        let Self {
            slots,
            clock,
            logger,
            ..
        } = self;
        slots[i]
            .open_channels(clock, logger.as_ref())
            .map_err(io::Error::other)?;
        // A zombie has no descriptors any more; its end is on its way to the loop.
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        let mut readers = Vec::new();
        if !ended {
            let wanted = [
                (Stream::Stdout, 1, record.stdout_pipe),
                (Stream::Stderr, 2, record.stderr_pipe),
            ];
            for (stream, fd, inode) in wanted {
                let Some(channel) = &self.slots[i].channels[index(stream)] else {
                    continue;
                };
                if inode == 0 {
                    continue;
                }
                if channel.pipes.iter().any(|pipe| pipe.inode == inode) {
                    // It was read already while its process could not be watched.
                    self.slots[i].pipes[index(stream)] = inode;
                    continue;
                }
                if let Some(reader) = self.inherited.reader(inode) {
                    readers.push((stream, inode, reader));
                    continue;
                }
                match pipe::reopen_reader(pid.cast_signed(), fd) {
                    Ok((reader, found)) if found == inode => readers.push((stream, inode, reader)),
                    Ok(_) => self.tell_unread(i, stream, pid, "it has been redirected"),
                    // Unread, the process would stand still as soon as the pipe is full.
                    Err(error) if is_shortage(&error) => return Err(error),
                    Err(error) => self.tell_unread(i, stream, pid, &error.to_string()),
                }
            }
        }
        if !ended {
            self.reach_input(i, &child, record);
        }
        self.attach(i, child).map_err(|(_, error)| error)?;
        for (stream, inode, reader) in readers {
            match self.attach_pipe(i, stream, reader, inode) {
                Ok(_) => self.slots[i].pipes[index(stream)] = inode,
                Err(error) => self.tell_unread(i, stream, pid, &error.to_string()),
            }
        }
        Ok(true)
    }

    /// Goes on writing to the input of a process that was found alive.
    fn reach_input(&mut self, i: usize, child: &Child, record: &SlotRecord) {
        match self.slots[i].spec.stdin {
            Stdin::Null => return,
            Stdin::Socket(_) => {
                let program = self.slots[i].spec.name.clone();
                self.sockets.adopt(&program, child);
                return;
            }
            Stdin::Pipe => {}
        }
        if record.stdin_pipe == 0 {
            return;
        }
        let input = self.inherited.input(record.stdin_pipe).or_else(|| {
            match pipe::reopen_writer(child.pid(), 0) {
                Ok((fd, inode)) if inode == record.stdin_pipe => Some(Input::new(fd)),
                // It has put something else there: then nobody can write to it any more.
                _ => None,
            }
        });
        if let Some(input) = input {
            let slot = &mut self.slots[i];
            slot.stdin_pipe = record.stdin_pipe;
            slot.input = Some(input);
            // What waits is written when there is room.
            let _ = self.write_input(i, b"");
        }
    }

    fn tell_unread(&self, i: usize, stream: Stream, pid: u32, why: &str) {
        let process = self.slots[i].name().to_owned();
        let text = format!(
            "the {} of pid {pid} cannot be read on: {why}; restart it to log it again",
            stream.name()
        );
        self.tell(Event::Output {
            process,
            level: mainstay_log::Level::Error,
            text,
        });
    }

    /// Live processes whose programs have left the config. They are left running: a daemon that is
    /// started with the wrong config must not stop a whole site. They can be stopped by name.
    fn adopt_left_over(&mut self, inherited: &Inherited) {
        for (name, record) in &inherited.slots {
            if self.slots.iter().any(|slot| slot.name() == name) {
                continue;
            }
            let verdict = match record.live {
                Some(ProcessRecord::Live { pid, start_ticks }) => {
                    Some(Verdict::Adopt { pid, start_ticks })
                }
                Some(ProcessRecord::Intent) => Some(Verdict::Find),
                None => None,
            };
            let taken = verdict.is_some_and(|verdict| {
                let slot = Slot::left_over(record, &self.clock, self.logger.as_ref());
                let slot = slot.or_else(|error| {
                    self.tell(Event::Output {
                        process: name.clone(),
                        level: mainstay_log::Level::Error,
                        text: format!("its program has left the config, and {error}"),
                    });
                    // Its process is what counts.
                    let mut bare = record.clone();
                    bare.stdout_log = PathBuf::new();
                    bare.stderr_log = PathBuf::new();
                    Slot::left_over(&bare, &self.clock, self.logger.as_ref())
                });
                let Ok(slot) = slot else { return true };
                self.slots.push(slot);
                let i = self.slots.len() - 1;
                let taken = self.take_over(i, verdict, record);
                if !taken {
                    self.finish_inherited(i);
                    self.close_channels(i);
                    self.slots.pop();
                }
                taken
            });
            if !taken {
                let forget = Record::Forget(name.clone());
                let result = self.journal.append(&forget, false);
                self.journalled(result);
            }
        }
    }
}

/// For slots that the journal does not know.
static EMPTY: std::sync::LazyLock<SlotRecord> = std::sync::LazyLock::new(SlotRecord::default);

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// How long ago a process was started, from its start time in ticks since boot.
pub(crate) fn age(start_ticks: u64) -> Duration {
    let Some(uptime) = fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    else {
        return Duration::ZERO;
    };
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let started = Duration::from_secs(start_ticks / per_second)
        + Duration::from_millis(start_ticks % per_second * 1000 / per_second);
    uptime.saturating_sub(started)
}

/// The process that leads its own session and has one of these pipes as its output: the one that
/// was being started when the daemon died. Its children may hold the pipe too, but lead nothing.
fn find_by_pipe(inodes: [u64; 2]) -> io::Result<Option<(u32, u64)>> {
    for pid in processes()? {
        let holds = [1, 2].into_iter().any(|fd| {
            // Follows the link to the pipe itself.
            fs::metadata(format!("/proc/{pid}/fd/{fd}"))
                .is_ok_and(|about| about.ino() != 0 && inodes.contains(&about.ino()))
        });
        if holds && leads_session(pid) {
            return match start_time(pid) {
                Ok(start_ticks) => Ok(Some((pid.cast_unsigned(), start_ticks))),
                Err(error) if is_shortage(&error) => Err(error),
                Err(_) => Ok(None),
            };
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        use Phase::{Backoff, Exited, Fatal, Running, Starting, Stopped, Stopping};
        use Verdict::{Find, Keep, Rest, Resume, Start};
        let live = Some(ProcessRecord::Live {
            pid: 7,
            start_ticks: 9,
        });
        let record = |phase, waiting, live, decided| {
            Some(SlotRecord {
                phase,
                waiting,
                live,
                decided,
                spec_hash: 1,
                ..SlotRecord::default()
            })
        };
        let adopt = Verdict::Adopt {
            pid: 7,
            start_ticks: 9,
        };
        let (crash, closed, reboot) = ((true, false), (true, true), (false, false));
        for (line, (record, from, autostart, hash, expected)) in [
            (None, closed, true, 1, Start),
            (None, closed, false, 1, Rest),
            (record(Running, false, live, None), crash, true, 1, adopt),
            (record(Running, false, live, None), crash, false, 2, adopt),
            (
                record(Stopping, false, live, Some(false)),
                crash,
                true,
                1,
                adopt,
            ),
            (
                record(Starting, false, Some(ProcessRecord::Intent), None),
                crash,
                true,
                1,
                Find,
            ),
            // Ended before the daemon was killed.
            (record(Exited, false, None, None), crash, true, 1, Keep),
            (record(Fatal, false, None, None), crash, true, 1, Keep),
            (record(Exited, true, None, None), crash, true, 1, Resume),
            (record(Backoff, true, None, None), crash, true, 1, Resume),
            (record(Fatal, false, None, None), crash, true, 2, Start),
            (record(Stopped, false, None, None), crash, true, 1, Start),
            // An ordered end: everything starts anew, but not what was stopped by hand.
            (record(Fatal, false, None, None), closed, true, 1, Start),
            (
                record(Stopped, false, None, Some(false)),
                closed,
                true,
                1,
                Rest,
            ),
            (
                record(Stopped, false, None, Some(true)),
                closed,
                false,
                1,
                Start,
            ),
            // Another boot: as configured, but not what was stopped by hand.
            (record(Exited, false, None, None), reboot, true, 1, Start),
            (
                record(Stopped, false, None, Some(false)),
                reboot,
                true,
                1,
                Rest,
            ),
            (
                record(Stopped, false, None, Some(true)),
                reboot,
                false,
                1,
                Rest,
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let seen = verdict(record.as_ref(), from.0, from.1, autostart, hash);
            assert_eq!(seen, expected, "line {line}: {record:?}");
        }
    }

    #[test]
    fn no_process_holds_a_pipe_that_is_none() {
        assert_eq!(find_by_pipe([0, 0]).unwrap(), None);
    }
}

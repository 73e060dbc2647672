//! From one supervisor to the next in the same process: what exec in place keeps open.
//!
//! The journal tells the next supervisor about the processes, as after a crash. Beyond a crash it
//! gets the descriptors themselves: of pipes that no live process names any more, of input that was
//! not written yet, of sockets that nobody may look into. A small text in memory says which is which.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use mainstay_base::hex;
use mainstay_log::Stream;
use mainstay_sys::pipe;
use rustix::fs::{FileType, MemfdFlags, fstat, memfd_create};

use crate::command::{Event, Inheritance, Refusal, Reply};
use crate::input::Input;
use crate::keeper::line::Found;
use crate::program::Output;
use crate::request::Answer;
use crate::runtime::Runtime;
use crate::slot::index;

/// What the text begins with.
const MAGIC: &str = "mainstay handover 1\n";

/// What an earlier supervisor of this process left open.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Pipes and sockets by inode.
    open: HashMap<u64, OwnedFd>,
    notes: Notes,
}

/// What the text says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notes {
    /// Reading ends: inode, stream, process.
    outputs: Vec<(u64, Stream, String)>,
    /// What was still to be written to the pipe with this inode.
    inputs: HashMap<u64, Vec<u8>>,
    /// Sockets of programs by inode.
    sockets: HashMap<u64, String>,
}

impl Notes {
    fn write(&self) -> String {
        let mut text = MAGIC.to_owned();
        for (inode, stream, process) in &self.outputs {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "output {inode} {} {process}", stream.name());
        }
        for (inode, bytes) in &self.inputs {
            let _ = writeln!(text, "input {inode} {}", hex(bytes));
        }
        for (inode, program) in &self.sockets {
            let _ = writeln!(text, "socket {inode} {program}");
        }
        text
    }

    fn read(text: &str) -> Option<Self> {
        let mut notes = Self::default();
        for line in text.strip_prefix(MAGIC)?.lines() {
            let (kind, rest) = line.split_once(' ')?;
            let (inode, rest) = rest.split_once(' ')?;
            let inode = inode.parse().ok()?;
            match kind {
                "output" => {
                    let (stream, process) = rest.split_once(' ')?;
                    let stream = match stream {
                        "stdout" => Stream::Stdout,
                        "stderr" => Stream::Stderr,
                        _ => return None,
                    };
                    notes.outputs.push((inode, stream, process.to_owned()));
                }
                "input" => {
                    let bytes = rest.as_bytes().chunks(2).map(|pair| {
                        let pair = std::str::from_utf8(pair).ok()?;
                        u8::from_str_radix(pair, 16).ok()
                    });
                    notes.inputs.insert(inode, bytes.collect::<Option<_>>()?);
                }
                "socket" => {
                    notes.sockets.insert(inode, rest.to_owned());
                }
                // Of a later version.
                _ => {}
            }
        }
        Some(notes)
    }
}

impl Inherited {
    /// Sorts what was left open. What nobody knows is closed.
    pub(crate) fn new(open: Vec<OwnedFd>) -> Self {
        let mut out = Self::default();
        for fd in open {
            let Ok(about) = fstat(&fd) else { continue };
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Fifo | FileType::Socket => {
                    out.open.insert(about.st_ino, fd);
                }
                _ => {
                    let mut file = std::fs::File::from(fd);
                    let mut text = String::new();
                    if file.seek(SeekFrom::Start(0)).is_ok()
                        && file.read_to_string(&mut text).is_ok()
                        && let Some(notes) = Notes::read(&text)
                    {
                        out.notes = notes;
                    }
                }
            }
        }
        out
    }

    /// The reading end of this pipe.
    pub(crate) fn reader(&mut self, inode: u64) -> Option<OwnedFd> {
        self.notes.outputs.iter().find(|(one, ..)| *one == inode)?;
        self.open.remove(&inode)
    }

    /// Takes in what the keeper had, unless it is here already.
    pub(crate) fn add(&mut self, found: Found) {
        if let Entry::Vacant(place) = self.open.entry(found.inode) {
            place.insert(found.reader);
            let note = (found.inode, found.stream, found.process);
            self.notes.outputs.push(note);
        }
    }

    /// The reading ends of the pipes of this process that nobody took.
    fn of(&mut self, process: &str) -> Vec<(u64, Stream, OwnedFd)> {
        let outputs = self.notes.outputs.iter();
        outputs
            .filter(|(_, _, name)| name == process)
            .filter_map(|(inode, stream, _)| {
                let fd = self.open.remove(inode)?;
                Some((*inode, *stream, fd))
            })
            .collect()
    }

    /// The writing end of this pipe, with what is still to be written.
    pub(crate) fn input(&mut self, inode: u64) -> Option<Input> {
        let rest = self.notes.inputs.remove(&inode)?;
        let mut input = Input::new(self.open.remove(&inode)?);
        let _ = input.send(&rest);
        Some(input)
    }
}

impl Runtime {
    /// Ends the supervision and gives everything away that must stay open.
    pub(crate) fn hand_over(&mut self, answer: Answer) {
        // A leader that has ended is reaped: only this supervisor knows how it ended.
        for i in 0..self.slots.len() {
            if let Some(departing) = &self.slots[i].departing {
                let exit = departing.exit;
                self.ended(i, exit);
            }
        }
        self.settle();
        for waiting in self.waits.drain(..) {
            (waiting.answer)(Err(Refusal::Gone));
        }
        self.rewrite_journal();
        let mut open = Vec::new();
        let mut notes = Notes::default();
        for slot in &mut self.slots {
            let process = slot.process.process.clone();
            for stream in [Stream::Stdout, Stream::Stderr] {
                let Some(channel) = slot.channels[index(stream)].as_mut() else {
                    continue;
                };
                channel.flush();
                for pipe in channel.pipes.drain(..) {
                    notes.outputs.push((pipe.inode, stream, process.clone()));
                    open.push(pipe.fd);
                }
            }
            if let Some(mut input) = slot.input.take()
                && let Ok(inode) = pipe::inode(&input)
            {
                notes.inputs.insert(inode, input.take_waiting().into());
                open.push(input.into_fd());
            }
        }
        for (program, fd) in self.sockets.drain() {
            if let Ok(about) = fstat(&fd) {
                notes.sockets.insert(about.st_ino, program);
                open.push(fd);
            }
        }
        if let Some(lock) = self.lock.take() {
            open.push(lock.into_fd());
        }
        let text = notes.write();
        let written = memfd_create("mainstay-handover", MemfdFlags::CLOEXEC)
            .map(std::fs::File::from)
            .map_err(std::io::Error::from)
            .and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file));
        // Without the text the next supervisor does what it does after a crash.
        open.extend(written.ok().map(OwnedFd::from));
        self.done = true;
        answer(Ok(Reply::Handover(Inheritance(Arc::new(open)))));
    }

    /// Goes on with what the supervisor before left open and no live process names: pipes of
    /// processes that have died meanwhile, and such as children of ended processes hold. Called when
    /// every process was taken over and before any is started.
    pub(crate) fn begin_with_inherited(&mut self) {
        let Inherited { open, notes } = &mut self.inherited;
        notes.outputs.retain(|(inode, ..)| open.contains_key(inode));
        for i in 0..self.slots.len() {
            self.finish_inherited(i);
        }
        let left = std::mem::take(&mut self.inherited);
        for (inode, ..) in left.notes.outputs {
            // Of a process that nobody knows any more.
            if left.open.contains_key(&inode) {
                self.let_go(inode);
            }
        }
    }

    /// Reads what slot `i` has inherited, all that is there at once.
    pub(crate) fn finish_inherited(&mut self, i: usize) {
        for (inode, stream, fd) in self.inherited.of(self.slots[i].name()) {
            let Self {
                slots,
                clock,
                logger,
                ..
            } = self;
            if let Err(error) = slots[i].open_channels(clock, logger.as_ref()) {
                // The keeper has it still, for the next time.
                let process = self.slots[i].name().to_owned();
                let text = format!("what it wrote while no daemon lived is not read: {error}");
                self.tell(Event::Output {
                    process,
                    level: mainstay_log::Level::Error,
                    text,
                });
                continue;
            }
            let slot = &self.slots[i];
            // It may have been apart when it was made.
            let merged = slot.process.stderr == Output::Merge;
            let stream = if merged { Stream::Stdout } else { stream };
            if slot.channels[index(stream)].is_none() {
                self.let_go(inode);
                continue;
            }
            // One that cannot be watched is lost to us and not to its holders, who have both ends.
            let Ok(token) = self.attach_pipe(i, stream, fd, inode) else {
                continue;
            };
            if self.slots[i].held.is_none() {
                self.finish_pipe(i, stream, token);
            }
            let slot = &self.slots[i];
            if slot.is_live() || slot.listener.is_none() {
                self.hear(i, stream);
            } else if let Some(heard) = &slot.heard[index(stream)] {
                // What a dead listener said is not said by the next one.
                heard.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            self.tell_output(i);
        }
    }

    /// Gives the programs the sockets back that the supervisor before had open for them.
    pub(crate) fn inherit_sockets(&mut self) {
        let sockets = std::mem::take(&mut self.inherited.notes.sockets);
        for (inode, program) in sockets {
            if let Some(fd) = self.inherited.open.remove(&inode) {
                self.sockets.put(program, fd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let notes = Notes {
            outputs: vec![
                (3, Stream::Stdout, "web:web 1".into()),
                (4, Stream::Stderr, "a".into()),
            ],
            inputs: HashMap::from([(5, b"\x00\xffx\n".to_vec()), (6, Vec::new())]),
            sockets: HashMap::from([(7, "php".into())]),
        };
        assert_eq!(Notes::read(&notes.write()), Some(notes));
        assert_eq!(Notes::read("something else"), None);
        assert_eq!(Notes::read(&format!("{MAGIC}input 5 zz\n")), None);
        assert_eq!(
            Notes::read(&format!("{MAGIC}later 5 zz\n")),
            Some(Notes::default())
        );
    }
}

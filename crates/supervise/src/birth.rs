//! Starting a process: pipes first, then the note of the intent, then the birth.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mainstay_log::Stream;
use mainstay_sys::limits::Resource;
use mainstay_sys::{Errno, Signal, pipe};

use crate::command::Event;
use crate::input::Input;
use crate::journal::ProcessRecord;
use crate::launch::{self, Refused, RunAs, Words};
use crate::machine;
use crate::program::{Output, Stdin};
use crate::runtime::Runtime;
use crate::slot::{Slot, index};

/// The descriptors of a process to be: its own, and our ends of them.
#[derive(Default)]
struct Plumbing {
    fds: Vec<(OwnedFd, i32)>,
    readers: Vec<(Stream, OwnedFd)>,
    input: Option<Input>,
    /// The inodes of the pipes at 1 and 2, and the one at 0.
    inodes: [u64; 2],
    input_inode: u64,
}

impl Runtime {
    /// Starts the process of slot `i`; the answer is for the machine.
    pub(crate) fn spawn(&mut self, i: usize) -> machine::Event {
        match self.try_spawn(i) {
            Ok(pid) => {
                let process = self.slots[i].name().to_owned();
                self.tell(Event::Spawned { process, pid });
                machine::Event::Spawned(pid)
            }
            Err(Refused { text, .. }) => {
                for inode in self.slots[i].pipes {
                    self.let_go(inode);
                }
                let slot = &mut self.slots[i];
                slot.live = None;
                slot.pipes = [0; 2];
                slot.stdin_pipe = 0;
                slot.input = None;
                self.close_socket(i);
                let slot = &mut self.slots[i];
                match self.words {
                    Words::Mainstay => slot.tell(&format!("mainstay: {text}\n")),
                    // What the original's child says before it ends with 127.
                    Words::Supervisord if text.starts_with("couldn't ") => slot.tell(&format!(
                        "supervisor: {text}\nsupervisor: child process was not spawned\n"
                    )),
                    Words::Supervisord => {}
                }
                self.tell_output(i);
                let process = self.slots[i].name().to_owned();
                self.tell(Event::SpawnFailed {
                    process,
                    text: text.clone(),
                });
                machine::Event::SpawnFailed(text.into())
            }
        }
    }

    /// Says that the socket of a program was opened or closed.
    pub(crate) fn tell_socket(&self, doing: &str, i: usize) {
        if let Stdin::Socket(socket) = &self.slots[i].spec.stdin {
            self.tell(Event::Said {
                level: mainstay_log::Level::Info,
                text: format!("{doing} socket {}", socket.url()),
            });
        }
    }

    /// Whether the process of slot `i` could be started as far as one can tell without doing it.
    pub(crate) fn probe(&mut self, i: usize) -> Result<(), Refused> {
        let Self {
            slots,
            environment,
            resolver,
            words,
            ..
        } = self;
        let slot = &slots[i];
        launch::prepare(
            &slot.spec,
            &slot.process,
            &slot.run_as,
            environment,
            resolver,
            Vec::new(),
            *words,
        )
        .map(drop)
    }

    fn try_spawn(&mut self, i: usize) -> Result<u32, Refused> {
        let words = self.words;
        let slot = &mut self.slots[i];
        if matches!(slot.run_as, RunAs::Nobody(_)) {
            slot.run_as = RunAs::look_up(&slot.spec);
        }
        let name = slot.name().to_owned();
        let system = |doing: &str, error: &io::Error| {
            let full = error.raw_os_error() == Some(Errno::MFILE.raw_os_error());
            Refused::other(match words {
                Words::Supervisord if full => format!("too many open files to spawn '{name}'"),
                Words::Supervisord => {
                    format!("unknown error making dispatchers for '{name}': {error}")
                }
                Words::Mainstay => format!(
                    "cannot start {name}: {doing}: {error}; mainstay may need a higher nofile limit"
                ),
            })
        };
        slot.open_channels(&self.clock, self.logger.as_ref())
            .map_err(|error| {
                Refused::other(match words {
                    Words::Supervisord => {
                        format!("unknown error making dispatchers for '{name}': {error}")
                    }
                    Words::Mainstay => format!("cannot start {name}: {error}"),
                })
            })?;
        let mut plumbing =
            plumb(slot).map_err(|error| system("no pipe for its input or output", &error))?;
        if let Some(resolved) = &slot.socket {
            let (socket, opened) =
                self.sockets
                    .get(&slot.spec.name, resolved)
                    .map_err(|error| {
                        Refused::other(format!(
                            "cannot start {name}: its socket cannot be opened: {error}"
                        ))
                    })?;
            plumbing.fds.push((socket, 0));
            if opened {
                self.tell_socket("Creating", i);
            }
        }
        let slot = &mut self.slots[i];
        let mut call = launch::prepare(
            &slot.spec,
            &slot.process,
            &slot.run_as,
            &self.environment,
            &self.resolver,
            plumbing.fds,
            words,
        )?;
        let uid = call.identity.as_ref().map(|identity| identity.uid);
        let has_own = call
            .limits
            .iter()
            .any(|(which, ..)| *which == Resource::Nofile);
        if let Some((soft, hard)) = self.child_nofile.filter(|_| !has_own) {
            call.limits.push((Resource::Nofile, soft, hard));
        }
        // The intent comes first: if this thread dies between the birth of the process and the
        // note of its id, the next daemon finds the process by its pipes and starts no second.
        slot.live = Some(ProcessRecord::Intent);
        slot.live_hash = slot.hash;
        slot.pipes = plumbing.inodes;
        slot.stdin_pipe = plumbing.input_inode;
        slot.input = plumbing.input;
        self.listener_begins(i);
        self.note(i);
        // Before the birth too: whatever it writes outlives it, whoever is killed when.
        let readers = (plumbing.readers.iter())
            .map(|(stream, reader)| (*stream, plumbing.inodes[index(*stream)], reader))
            .collect::<Vec<_>>();
        self.keep(i, &readers);
        let child = call
            .spawn()
            .map_err(|error| Refused::spawn(&name, &error, words, uid))?;
        // The program's ends in it must not outlive this, or the pipes never end.
        drop(call);
        let start_ticks = child.start_time().unwrap_or(0);
        let pid = child.pid().cast_unsigned();
        self.slots[i].live = Some(ProcessRecord::Live { pid, start_ticks });
        if let Err((child, error)) = self.attach(i, child) {
            let _ = child.signal(Signal::KILL);
            let _ = child.wait(Some(Duration::from_secs(1)));
            return Err(system("cannot watch it", &error));
        }
        for (stream, reader) in plumbing.readers {
            let inode = plumbing.inodes[index(stream)];
            if let Err(error) = self.attach_pipe(i, stream, reader, inode) {
                self.let_go(inode);
                let process = name.clone();
                let text = format!("its {} cannot be read: {error}", stream.name());
                self.tell(Event::Output {
                    process,
                    level: mainstay_log::Level::Error,
                    text,
                });
            }
        }
        Ok(pid)
    }
}

/// Makes the pipes of a process.
fn plumb(slot: &Slot) -> io::Result<Plumbing> {
    let mut out = Plumbing::default();
    if slot.spec.stdin == Stdin::Pipe {
        let (writer, reader) = pipe::input_pipe()?;
        out.input_inode = pipe::inode(&writer)?;
        out.input = Some(Input::new(writer));
        out.fds.push((reader, 0));
    }
    for stream in [Stream::Stdout, Stream::Stderr] {
        if slot.channels[index(stream)].is_none() {
            continue;
        }
        let (reader, writer) = pipe::capture_pipe(0)?;
        out.inodes[index(stream)] = pipe::inode(&reader)?;
        if stream == Stream::Stdout && slot.process.stderr == Output::Merge {
            out.fds.push((writer.try_clone()?, 2));
        }
        out.fds
            .push((writer, if stream == Stream::Stdout { 1 } else { 2 }));
        out.readers.push((stream, reader));
    }
    Ok(out)
}

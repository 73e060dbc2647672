//! One slot: a process of the config, its state, and what of it is alive.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::Clock;
use mainstay_log::{Capture, Logger, Retention, RollingFile, Rolls, Stream};
use mainstay_sys::{Child, ExitStatus};

use crate::command::{Outcome, Status};
use crate::error::{Error, Kind};
use crate::held::Held;
use crate::input::Input;
use crate::journal::{Noted, ProcessRecord, SlotRecord};
use crate::launch::RunAs;
use crate::listeners::{Heard, ListenerSlot};
use crate::machine::{Autorestart, Exit, Phase, Policy, State};
use crate::names::Names;
use crate::output::Channel;
use crate::program::{Group, Output, ProcessSpec, ProgramSpec, Stdin, Tap};
use crate::socket::Resolved;
use crate::tap::TapInspector;

/// A process whose leader has ended while it was stopping, and whose group has not yet.
#[derive(Debug)]
pub(crate) struct Departing {
    pub(crate) exit: Exit,
    /// When to stop waiting for the group: some time after it was killed.
    pub(crate) give_up_at: Option<Duration>,
}

/// One of the processes of a program.
#[derive(Clone)]
pub(crate) struct OneOf {
    spec: Arc<ProgramSpec>,
    at: usize,
}

impl std::ops::Deref for OneOf {
    type Target = ProcessSpec;

    fn deref(&self) -> &ProcessSpec {
        &self.spec.processes[self.at]
    }
}

pub(crate) struct Slot {
    pub(crate) spec: Arc<ProgramSpec>,
    pub(crate) process: OneOf,
    pub(crate) run_as: RunAs,
    pub(crate) state: State,
    /// When the phase was entered, by the wall clock.
    pub(crate) since: Timestamp,
    /// What a person decided against the config.
    pub(crate) decided: Option<bool>,
    pub(crate) child: Option<Child>,
    pub(crate) child_token: u64,
    pub(crate) departing: Option<Departing>,
    /// A live process that could not be taken over yet.
    pub(crate) held: Option<Box<Held>>,
    /// What the journal is to say of the process.
    pub(crate) live: Option<ProcessRecord>,
    /// The hash of the spec that the process was started with.
    pub(crate) live_hash: u64,
    /// The hash of the spec as it is.
    pub(crate) hash: u64,
    /// The inodes of its pipes, stdout and stderr, or 0.
    pub(crate) pipes: [u64; 2],
    /// The inode of the pipe it reads from, or 0.
    pub(crate) stdin_pipe: u64,
    /// Our end of that pipe.
    pub(crate) input: Option<Input>,
    /// The socket it gets instead, ready to be opened.
    pub(crate) socket: Option<Box<Resolved>>,
    /// What the inspectors of its streams heard.
    pub(crate) heard: [Option<Heard>; 2],
    /// What it does as an event listener.
    pub(crate) listener: Option<Box<ListenerSlot>>,
    /// Whether the log files have been opened.
    opened: bool,
    /// stdout and stderr; `None`: discarded, or merged into stdout.
    pub(crate) channels: [Option<Channel>; 2],
    /// What the journal says.
    pub(crate) noted: Option<Noted>,
    /// Its program is not in the config.
    pub(crate) left_over: bool,
    /// It was left over and has ended: as if it had never been.
    pub(crate) forgotten: bool,
}

/// The index of a stream among a slot's channels.
pub(crate) fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Slot {
    /// The slot of the process at this place in its program. Its log files are not open yet.
    pub(crate) fn new(
        spec: &Arc<ProgramSpec>,
        at: usize,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let process = &spec.processes[at];
        let name = &process.process;
        Ok(Self {
            spec: Arc::clone(spec),
            process: OneOf {
                spec: Arc::clone(spec),
                at,
            },
            run_as: RunAs::look_up(spec),
            state: State::default(),
            since: clock.now(),
            decided: None,
            child: None,
            child_token: 0,
            departing: None,
            held: None,
            live: None,
            live_hash: 0,
            hash: spec.hash(process),
            pipes: [0; 2],
            stdin_pipe: 0,
            input: None,
            socket: match &spec.stdin {
                Stdin::Socket(socket) => {
                    Some(Box::new(Resolved::look_up(socket).map_err(|source| {
                        Error::system(format!("look up the socket of {name}"), source)
                    })?))
                }
                Stdin::Null | Stdin::Pipe => None,
            },
            listener: spec.listener.as_ref().map(|_| Box::default()),
            channels: [None, None],
            heard: [None, None],
            opened: false,
            noted: None,
            left_over: false,
            forgotten: false,
        })
    }

    /// Opens the log files, if that has not been done.
    pub(crate) fn open_channels(
        &mut self,
        clock: &Arc<dyn Clock>,
        logger: Option<&Logger>,
    ) -> Result<(), Error> {
        if self.opened {
            return Ok(());
        }
        let (spec, process) = (Arc::clone(&self.spec), self.process.clone());
        let name = &process.process;
        let mut heard = [None, None];
        let mut open = |output: &Output, stream: Stream, tap: Tap| {
            let is_listener = stream == Stream::Stdout && spec.listener.is_some();
            if *output == Output::Merge
                || (*output == Output::Discard && !tap.is_active() && !is_listener)
            {
                return Ok(None);
            }
            let mut capture = match output {
                Output::File { path, retain } => {
                    let zone = logger.map(|logger| logger.pipeline().zone().clone());
                    let rolls = Rolls {
                        zone: zone.unwrap_or(TimeZone::UTC),
                        ..(*retain).into()
                    };
                    RollingFile::open_with(path, rolls, Arc::clone(clock))
                        .map(|file| Capture::new(name, stream, file, logger.cloned()))
                        .map_err(|source| {
                            let process = name.clone();
                            Error::new(Kind::Log { process, source }, "")
                        })?
                }
                _ => Capture::discarding(name, stream, Arc::clone(clock), logger.cloned()),
            };
            if !process.recognise {
                capture = capture.line_by_line();
            }
            if tap.is_active() || is_listener {
                let ears = Heard::default();
                heard[index(stream)] = Some(Arc::clone(&ears));
                capture = capture.inspected(move || {
                    let ears = Arc::clone(&ears);
                    Box::new(TapInspector::new(tap, is_listener, move |event| {
                        ears.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(event);
                    }))
                });
            }
            Ok(Some(Channel::new(capture)))
        };
        self.channels = [
            open(&process.stdout, Stream::Stdout, process.stdout_tap)?,
            open(&process.stderr, Stream::Stderr, process.stderr_tap)?,
        ];
        self.heard = heard;
        self.opened = true;
        Ok(())
    }

    /// A slot for a live process whose program has left the config, from what the journal says.
    pub(crate) fn left_over(
        record: &SlotRecord,
        clock: &Arc<dyn Clock>,
        logger: Option<&Logger>,
    ) -> Result<Self, Error> {
        let output = |path: &Path| {
            if path.as_os_str().is_empty() {
                Output::Discard
            } else {
                // What its retention was is not known: nothing is rolled or deleted.
                Output::File {
                    path: path.to_owned(),
                    retain: Retention::NONE,
                }
            }
        };
        let mut spec = ProgramSpec::new(&record.program, Vec::new(), Path::new(""));
        spec.group = Group {
            priority: 999,
            name: if record.group.is_empty() {
                record.program.clone()
            } else {
                record.group.clone()
            },
        };
        if record.stdin_pipe != 0 {
            spec.stdin = Stdin::Pipe;
        }
        spec.autostart = false;
        spec.policy = Policy {
            // It has started already, in another life.
            start_secs: Duration::ZERO,
            autorestart: Autorestart::Never,
            stop_signal: record.stop_signal,
            stop_wait: Duration::from_millis(record.stop_wait_ms),
            stop_group: record.stop_group,
            kill_group: record.kill_group,
            ..Policy::default()
        };
        spec.processes = vec![ProcessSpec {
            process: record.process.clone(),
            instance: record.instance,
            command: Vec::new(),
            bad_command: None,
            env: BTreeMap::new(),
            stdout_tap: Tap::default(),
            stderr_tap: Tap::default(),
            recognise: true,
            stdout: output(&record.stdout_log),
            stderr: if record.stderr_log == record.stdout_log {
                Output::Merge
            } else {
                output(&record.stderr_log)
            },
        }];
        let mut slot = Self::new(&Arc::new(spec), 0, clock)?;
        slot.open_channels(clock, logger)?;
        slot.left_over = true;
        Ok(slot)
    }

    pub(crate) fn names(&self) -> Names<'_> {
        Names {
            process: &self.process.process,
            program: &self.spec.name,
            group: &self.spec.group.name,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.process.process
    }

    /// Whether nothing more happens to it by itself soon.
    pub(crate) fn is_settled(&self) -> bool {
        self.state.is_settled() && self.departing.is_none()
    }

    /// Whether it has a process.
    pub(crate) fn is_live(&self) -> bool {
        self.child.is_some() || self.held.is_some()
    }

    /// Whether its process was started with another config than the present one.
    pub(crate) fn is_outdated(&self) -> bool {
        self.is_live() && !self.left_over && self.live_hash != self.hash
    }

    /// The channel that takes the stream, and where in it the pipe with this token is.
    pub(crate) fn pipe(&mut self, stream: Stream, token: u64) -> Option<(&mut Channel, usize)> {
        let channel = self.channels[index(stream)].as_mut()?;
        let at = channel.pipes.iter().position(|pipe| pipe.token == token)?;
        Some((channel, at))
    }

    /// The channel that takes the stream.
    pub(crate) fn channel(&mut self, stream: Stream) -> Option<&mut Channel> {
        self.channels[index(stream)].as_mut()
    }

    /// A line for whoever reads the program's log: into the file for errors, if there is one.
    pub(crate) fn tell(&mut self, text: &str) {
        let [stdout, stderr] = &mut self.channels;
        if let Some(channel) = stderr.as_mut().or(stdout.as_mut()) {
            channel.note(text);
        }
    }

    fn log_paths(&self) -> [Option<std::path::PathBuf>; 2] {
        let stdout = self.process.stdout.path().cloned();
        let stderr = match &self.process.stderr {
            Output::Merge => stdout.clone(),
            other => other.path().cloned(),
        };
        [stdout, stderr]
    }

    /// What the journal should say of it.
    pub(crate) fn record(&self) -> SlotRecord {
        if let Some(held) = &self.held {
            // As it was found, but for what was asked since.
            let found = held.record.clone();
            let stopping = self.state.phase == Phase::Stopping;
            return SlotRecord {
                decided: self.decided,
                phase: if stopping {
                    Phase::Stopping
                } else {
                    found.phase
                },
                waiting: self.state.again,
                ..found
            };
        }
        let [stdout_log, stderr_log] = self.log_paths();
        let policy = &self.spec.policy;
        SlotRecord {
            process: self.process.process.clone(),
            program: self.spec.name.clone(),
            instance: self.process.instance,
            decided: self.decided,
            phase: self.state.phase,
            waiting: self.state.again
                || (self.state.pid.is_none() && self.state.deadline.is_some()),
            live: self.live,
            spec_hash: self.live_hash,
            stdout_pipe: self.pipes[0],
            stderr_pipe: self.pipes[1],
            stdout_log: stdout_log.unwrap_or_default(),
            stderr_log: stderr_log.unwrap_or_default(),
            stop_signal: policy.stop_signal,
            stop_wait_ms: u64::try_from(policy.stop_wait.as_millis()).unwrap_or(u64::MAX),
            stop_group: policy.stop_group,
            kill_group: policy.kill_group,
            counters: self.state.counters(),
            // A live process is looked at anew; one that is down goes on saying why.
            trouble: match (&self.state.trouble, self.state.pid) {
                (Some(trouble), None) => trouble.to_string(),
                _ => String::new(),
            },
            group: self.spec.group.name.clone(),
            stdin_pipe: self.stdin_pipe,
            listener: self.listener_record(),
        }
    }

    pub(crate) fn status(&self, now: Duration, wall: Timestamp) -> Status {
        let wall_of = |at: Duration| wall.checked_sub(now.saturating_sub(at)).unwrap_or(wall);
        let [stdout_log, stderr_log] = self.log_paths();
        let s = &self.state;
        Status {
            process: self.process.process.clone(),
            program: self.spec.name.clone(),
            group: self.spec.group.name.clone(),
            instance: self.process.instance,
            phase: s.phase,
            since: self.since,
            pid: s.pid,
            uptime: s.uptime(now),
            started: s.started.map(wall_of),
            ended: s.ended.map(wall_of),
            restarts: s.restarts,
            failures: s.failures,
            retry_in: retry_in(s, now),
            last_exit: s.last_exit,
            trouble: s.trouble.as_ref().map(ToString::to_string),
            wanted: s.wanted,
            autostart: self.spec.autostart,
            decided: self.decided,
            outdated: self.is_outdated(),
            left_over: self.left_over,
            stdout_log,
            stderr_log,
        }
    }

    pub(crate) fn outcome(&self, result: crate::command::Did) -> Outcome {
        Outcome {
            process: self.process.process.clone(),
            program: self.spec.name.clone(),
            group: self.spec.group.name.clone(),
            phase: self.state.phase,
            pid: self.state.pid,
            result,
        }
    }
}

/// In how long a process without a pid is tried again.
pub(crate) fn retry_in(state: &State, now: Duration) -> Option<Duration> {
    match state.phase {
        Phase::Backoff | Phase::Exited => state.deadline.map(|at| at.saturating_sub(now)),
        Phase::Stopped
        | Phase::Starting
        | Phase::Running
        | Phase::Stopping
        | Phase::Fatal
        | Phase::Unknown => None,
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Code(code) => Self::Code(code),
            ExitStatus::Signal(number, core) => Self::Signal { number, core },
            ExitStatus::Unknown => Self::Unknown,
        }
    }
}

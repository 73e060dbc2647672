//! Methods that do something to processes.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use mainstay_supervise::{Command, Did, Outcome, Phase, Reply, Status};
use mainstay_sys::Signal;

use super::faults::Code;
use super::params::shown;
use super::{Answer, DONE, Host, Rpc, Supervision, refused};
use crate::conf::values;
use crate::xmlrpc::{Fault, Value};
use crate::{namespec, words};

/// When it is first said that a stop takes a while, and how often after that: as the original does.
const FIRST_REPORT: Duration = Duration::from_millis(200);
const REPORT: Duration = Duration::from_secs(2);

/// What a command made of a process called `name` by the client, as a fault or none.
type Judge = fn(&str, &Outcome) -> Result<(), Fault>;

/// Which result of one process stands for what in a start.
fn started(name: &str, outcome: &Outcome) -> Result<(), Fault> {
    match &outcome.result {
        Did::NoFile(why) => Err(Code::NoFile.of(why)),
        Did::NotExecutable(why) => Err(Code::NotExecutable.of(why)),
        Did::AlreadyRunning => Err(Code::AlreadyStarted.of(name)),
        Did::SpawnFailed(_) => Err(Code::SpawnError.of(name)),
        Did::Failed(_) => Err(match outcome.phase {
            Phase::Unknown => unknown_state(name),
            // It ended, and what was wrong is known.
            Phase::Backoff | Phase::Fatal | Phase::Exited => Code::SpawnError.of(name),
            // Somebody else stopped it meanwhile.
            Phase::Stopped | Phase::Stopping | Phase::Starting | Phase::Running => {
                Code::AbnormalTermination.of(name)
            }
        }),
        _ => Ok(()),
    }
}

fn unknown_state(name: &str) -> Fault {
    Code::Failed.of(format_args!("{name} is in an unknown process state"))
}

fn stopped(name: &str, outcome: &Outcome) -> Result<(), Fault> {
    match &outcome.result {
        Did::NotRunning => Err(Code::NotRunning.of(name)),
        Did::Failed(why) => Err(Code::Failed.of(why)),
        _ => Ok(()),
    }
}

fn cleared(name: &str, outcome: &Outcome) -> Result<(), Fault> {
    match &outcome.result {
        Did::Failed(_) => Err(Code::Failed.of(name)),
        _ => Ok(()),
    }
}

fn sent(name: &str, outcome: &Outcome) -> Result<(), Fault> {
    match &outcome.result {
        Did::NotRunning => Err(Code::NotRunning.of(name)),
        Did::Failed(_) | Did::NoFile(_) => Err(Code::NoFile.of(name)),
        _ => Ok(()),
    }
}

/// How one process fared in an answer about several.
struct Fared {
    member: String,
    group: String,
    result: Result<(), Fault>,
}

impl Fared {
    fn value(self) -> Value {
        let (status, description) = match self.result {
            Ok(()) => (Code::Success.number(), "OK".to_owned()),
            Err(fault) => (fault.code, fault.text),
        };
        Value::from([
            ("name", self.member.into()),
            ("group", self.group.into()),
            ("status", status.into()),
            ("description", description.into()),
        ])
    }
}

/// The name by which a client knows a process.
fn whole_name(group: &str, process: &str) -> String {
    namespec::join(group, &namespec::member(group, process))
}

/// A signal by name or number; the fault is that there is no such one.
fn signal_of(value: &Value) -> Result<Signal, Fault> {
    let number = match value {
        Value::Int(number) => values::signal(&number.to_string()).ok(),
        Value::Text(_) | Value::Base64(_) => {
            value.as_str().and_then(|text| values::signal(text).ok())
        }
        _ => return Err(Code::IncorrectParameters.plain()),
    };
    number
        .and_then(Signal::new)
        .ok_or_else(|| Code::BadSignal.of(shown(value)))
}

impl<S: Supervision, H: Host> Rpc<S, H> {
    /// Whether a client means a whole group by this name, and which.
    fn meant_group(name: &str) -> Option<&str> {
        match namespec::split(name) {
            (group, None) => Some(group),
            (_, Some(_)) => None,
        }
    }

    /// The group of a name that was meant for a process: the fault shows the whole name.
    async fn group_of(&self, name: &str, group: &str) -> Result<Vec<Status>, Fault> {
        self.group(group).await.map_err(|fault| {
            if Code::BadName.is(&fault) {
                Code::BadName.of(name)
            } else {
                fault
            }
        })
    }

    /// Does something to exactly one process.
    async fn act(
        &self,
        name: &str,
        status: &Status,
        command: impl FnOnce(String) -> Command,
        judge: Judge,
    ) -> Result<Answer, Fault> {
        let exact = namespec::exact(&status.group, &status.process);
        match self.ask(name, command(exact)).await? {
            Reply::Done(outcomes) => {
                outcomes
                    .iter()
                    .try_for_each(|outcome| judge(name, outcome))?;
                Ok(DONE)
            }
            _ => Ok(DONE),
        }
    }

    /// Does something to several processes at the same time. Those that `beforehand` has a fault for
    /// are left out.
    async fn act_on_many(
        &self,
        chosen: Vec<Status>,
        beforehand: impl Fn(&str, &Status) -> Result<(), Fault>,
        command: impl FnOnce(Vec<String>) -> Command,
        judge: Judge,
    ) -> Answer {
        let mut fared = Vec::with_capacity(chosen.len());
        let mut rest = Vec::with_capacity(chosen.len());
        for status in chosen {
            match beforehand(&whole_name(&status.group, &status.process), &status) {
                Ok(()) => rest.push(status),
                Err(fault) => fared.push(Fared {
                    member: namespec::member(&status.group, &status.process),
                    group: status.group,
                    result: Err(fault),
                }),
            }
        }
        // No name at all would mean all of them.
        if !rest.is_empty() {
            let names = rest
                .iter()
                .map(|it| namespec::exact(&it.group, &it.process))
                .collect();
            match self.supervision.ask(command(names)).await {
                Ok(Reply::Done(outcomes)) => fared.extend(outcomes.into_iter().map(|outcome| {
                    let name = whole_name(&outcome.group, &outcome.process);
                    Fared {
                        member: namespec::member(&outcome.group, &outcome.process),
                        result: judge(&name, &outcome),
                        group: outcome.group,
                    }
                })),
                Ok(_) => {}
                Err(refusal) => fared.extend(rest.into_iter().map(|status| {
                    let name = whole_name(&status.group, &status.process);
                    Fared {
                        member: namespec::member(&status.group, &status.process),
                        result: Err(refused(&name, &refusal)),
                        group: status.group,
                    }
                })),
            }
        }
        Value::Array(fared.into_iter().map(Fared::value).collect()).into()
    }

    pub(super) async fn start(&self, name: &str, wait: bool) -> Result<Answer, Fault> {
        if let Some(group) = Self::meant_group(name) {
            let chosen = self.group_of(name, group).await?;
            return Ok(self.start_many(chosen, wait).await);
        }
        let status = self.process(name).await?;
        if status.phase == Phase::Unknown {
            return Err(unknown_state(name));
        }
        let command = |name| Command::Start {
            names: vec![name],
            wait,
            strict: true,
        };
        self.act(name, &status, command, started).await
    }

    pub(super) async fn start_many(&self, mut chosen: Vec<Status>, wait: bool) -> Answer {
        chosen.retain(|status| !status.phase.is_running());
        let beforehand = |name: &str, status: &Status| match status.phase {
            Phase::Unknown => Err(unknown_state(name)),
            _ => Ok(()),
        };
        let command = |names| Command::Start {
            names,
            wait,
            strict: true,
        };
        self.act_on_many(chosen, beforehand, command, started).await
    }

    pub(super) async fn stop(&self, name: &str, wait: bool) -> Result<Answer, Fault> {
        if let Some(group) = Self::meant_group(name) {
            let chosen = self.group_of(name, group).await?;
            return Ok(self.stop_many(chosen, wait).await);
        }
        let status = self.process(name).await?;
        if !status.phase.is_running() {
            return Err(Code::NotRunning.of(name));
        }
        let names = vec![namespec::exact(&status.group, &status.process)];
        let command = |name| Command::Stop {
            names: vec![name],
            wait,
        };
        self.reporting(names, self.act(name, &status, command, stopped))
            .await
    }

    /// Says in the log, now and then, who is still stopping while this goes on.
    async fn reporting<T>(&self, names: Vec<String>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut pause = FIRST_REPORT;
        loop {
            if let Ok(done) = tokio::time::timeout(pause, &mut work).await {
                return done;
            }
            pause = REPORT;
            for status in self.statuses(names.clone()).await.unwrap_or_default() {
                if status.phase == Phase::Stopping {
                    let member = namespec::member(&status.group, &status.process);
                    let (level, text) = words::waiting_to_stop(&member);
                    self.host.log(level, &text);
                }
            }
        }
    }

    pub(super) async fn stop_many(&self, mut chosen: Vec<Status>, wait: bool) -> Answer {
        chosen.retain(|status| status.phase.is_running());
        let names: Vec<String> = (chosen.iter())
            .map(|it| namespec::exact(&it.group, &it.process))
            .collect();
        let command = |names| Command::Stop { names, wait };
        self.reporting(
            names,
            self.act_on_many(chosen, |_, _| Ok(()), command, stopped),
        )
        .await
    }

    pub(super) async fn signal(&self, name: &str, signal: &Value) -> Result<Answer, Fault> {
        if let Some(group) = Self::meant_group(name) {
            let chosen = self.group_of(name, group).await?;
            return self.signal_many(chosen, signal).await;
        }
        let status = self.process(name).await?;
        let signal = signal_of(signal)?;
        if !status.phase.is_signallable() {
            return Err(Code::NotRunning.of(name));
        }
        let command = |name| Command::Signal {
            names: vec![name],
            signal,
        };
        self.act(name, &status, command, stopped).await
    }

    pub(super) async fn signal_many(
        &self,
        mut chosen: Vec<Status>,
        signal: &Value,
    ) -> Result<Answer, Fault> {
        chosen.retain(|status| status.phase.is_signallable());
        let signal = match signal_of(signal) {
            Ok(signal) => signal,
            // Each process is told, as the original does it.
            Err(fault) if Code::BadSignal.is(&fault) => {
                let fared = chosen.into_iter().map(|status| {
                    Fared {
                        member: namespec::member(&status.group, &status.process),
                        group: status.group,
                        result: Err(fault.clone()),
                    }
                    .value()
                });
                return Ok(Value::Array(fared.collect()).into());
            }
            Err(fault) => return Err(fault),
        };
        let command = |names| Command::Signal { names, signal };
        Ok(self
            .act_on_many(chosen, |_, _| Ok(()), command, stopped)
            .await)
    }

    pub(super) async fn clear(&self, name: &str) -> Result<Answer, Fault> {
        let status = self.process(name).await?;
        let command = |name| Command::ClearLogs { names: vec![name] };
        self.act(name, &status, command, cleared).await
    }

    pub(super) async fn clear_many(&self, chosen: Vec<Status>) -> Answer {
        let command = |names| Command::ClearLogs { names };
        self.act_on_many(chosen, |_, _| Ok(()), command, cleared)
            .await
    }

    pub(super) async fn send(&self, name: &str, chars: &str) -> Result<Answer, Fault> {
        let status = self.process(name).await?;
        if status.pid.is_none() || status.phase == Phase::Stopping {
            return Err(Code::NotRunning.of(name));
        }
        let data = chars.as_bytes().to_vec();
        let command = |name| Command::Send { name, data };
        self.act(name, &status, command, sent).await
    }
}

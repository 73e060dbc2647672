//! The methods that supervisord's clients call, spec section 1.5.
//!
//! [`Rpc`] knows their names, their arguments and the texts of their faults. What it answers comes
//! from two places, both behind a trait so that tests can stand in for them: the
//! [`Supervision`] of processes, and the [`Host`], which is the daemon around it. Nothing here
//! blocks: a call that waits for a process holds up nobody else.
//!
//! Two things are different from the original. Where an argument of a wrong type makes it stumble
//! and answer with HTTP status 500, the answer here is the fault `INCORRECT_PARAMETERS`. And no
//! answer is longer than [`ROOM`]: a longer part of a log is cut, of a `system.multicall` the calls
//! that no longer fit are not made and have the fault `FAILED`.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::Clock;
use mainstay_supervise::{Command, Refusal, Reply, Status, Supervisor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::conf::values::Level;
use crate::namespec;
use crate::pages::Row;
use crate::xmlrpc::{Fault, Value, ValueWriter, write_fault, write_response_with};

mod act;
pub mod faults;
pub mod info;
pub mod logs;
pub mod methods;
mod params;
pub mod times;

use faults::Code;
pub use info::{ConfigInfo, LogPath};
use methods::Method;
use params::{number, text, truth};

/// The version of the RPC API.
pub const API_VERSION: &str = "3.0";

/// The version of supervisord that clients are told, because they look at it to know what they
/// may ask.
pub const COMPATIBLE_VERSION: &str = "4.2.5";

/// The most bytes, about, that one answer brings.
pub const ROOM: usize = 32 << 20;

/// What is longer than this is a large part of a log.
const LARGE: u64 = 1 << 20;

/// So many large parts of logs are on their way at the same time; others wait.
const LARGE_AT_ONCE: usize = 2;

/// What one request may still bring. It is kept until the answer is sent.
#[derive(Debug)]
pub struct Allowance {
    room: usize,
    large: Option<OwnedSemaphorePermit>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            room: ROOM,
            large: None,
        }
    }
}

/// Who supervises the processes.
pub trait Supervision: Send + Sync + 'static {
    /// Asks for something; the future ends when it is answered.
    fn ask(&self, command: Command) -> impl Future<Output = Result<Reply, Refusal>> + Send;
}

impl Supervision for Supervisor {
    async fn ask(&self, command: Command) -> Result<Reply, Refusal> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.request(command, move |answer| {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        });
        receiver.await.unwrap_or(Err(Refusal::Gone))
    }
}

impl<S: Supervision> Supervision for Arc<S> {
    fn ask(&self, command: Command) -> impl Future<Output = Result<Reply, Refusal>> + Send {
        (**self).ask(command)
    }
}

/// How the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonState {
    /// It works.
    Running,
    /// It stops everything, to start anew.
    Restarting,
    /// It stops everything, to end.
    Shutdown,
}

impl DaemonState {
    /// supervisord's number for it.
    pub fn code(self) -> i64 {
        match self {
            Self::Running => 1,
            Self::Restarting => 0,
            Self::Shutdown => -1,
        }
    }

    /// supervisord's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

/// How a config read again differs from what is supervised: names of groups.
pub use crate::conf::diff::Diff as Reread;

/// Why a group could not be taken in or forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupError {
    /// There is none of that name.
    Unknown,
    /// It is there already.
    AlreadyThere,
    /// It has processes that run.
    StillRunning,
    /// Something else, in words.
    Failed(String),
}

/// The daemon around the supervision.
pub trait Host: Send + Sync + 'static {
    /// `identifier` of the config.
    fn identification(&self) -> String;
    /// The process id.
    fn pid(&self) -> u32;
    /// How it is.
    fn state(&self) -> DaemonState;
    /// Where its log is, if that is a file.
    fn main_log(&self) -> Option<PathBuf>;
    /// Empties that log.
    ///
    /// # Errors
    /// The system's, when the file cannot be removed or opened again.
    fn clear_main_log(&self) -> io::Result<()>;
    /// Begins to end. Does not wait for it.
    fn shutdown(&self);
    /// Begins to stop everything and start anew. Does not wait for it.
    ///
    /// # Errors
    /// The words of the fault in the config that it would start with. It goes on as it is then.
    fn restart(&self) -> Result<(), String>;
    /// Reads the config again and compares it with what is supervised.
    ///
    /// # Errors
    /// The words of the fault in the config.
    fn reload_config(&self) -> impl Future<Output = Result<Reread, String>> + Send;
    /// Takes in a group of the config read last.
    ///
    /// # Errors
    /// [`GroupError`] says why not.
    fn add_process_group(&self, name: &str) -> impl Future<Output = Result<(), GroupError>> + Send;
    /// Forgets a group.
    ///
    /// # Errors
    /// [`GroupError`] says why not.
    fn remove_process_group(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), GroupError>> + Send;
    /// All processes of the config read last, in any order.
    fn configs(&self) -> Vec<ConfigInfo>;
    /// A line for the daemon's log.
    fn log(&self, level: Level, text: &str);
}

impl<H: Host> Host for Arc<H> {
    fn identification(&self) -> String {
        (**self).identification()
    }

    fn pid(&self) -> u32 {
        (**self).pid()
    }

    fn state(&self) -> DaemonState {
        (**self).state()
    }

    fn main_log(&self) -> Option<PathBuf> {
        (**self).main_log()
    }

    fn clear_main_log(&self) -> io::Result<()> {
        (**self).clear_main_log()
    }

    fn shutdown(&self) {
        (**self).shutdown();
    }

    fn restart(&self) -> Result<(), String> {
        (**self).restart()
    }

    fn reload_config(&self) -> impl Future<Output = Result<Reread, String>> + Send {
        (**self).reload_config()
    }

    fn add_process_group(&self, name: &str) -> impl Future<Output = Result<(), GroupError>> + Send {
        (**self).add_process_group(name)
    }

    fn remove_process_group(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), GroupError>> + Send {
        (**self).remove_process_group(name)
    }

    fn configs(&self) -> Vec<ConfigInfo> {
        (**self).configs()
    }

    fn log(&self, level: Level, text: &str) {
        (**self).log(level, text);
    }
}

/// The methods.
pub struct Rpc<S, H> {
    supervision: S,
    host: H,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    large: Arc<Semaphore>,
}

/// What a call gave.
#[derive(Debug)]
pub enum Answer {
    /// A value.
    Value(Value),
    /// How a process is.
    Process(Box<Status>),
    /// How processes are.
    Processes(Vec<Status>),
    /// What the config says of processes.
    Configs(Vec<ConfigInfo>),
    /// Part of a log.
    Log(Vec<u8>),
    /// The newest part of a log.
    Tail(logs::Tail),
    /// The answers of several calls.
    Several(Vec<Result<Answer, Fault>>),
}

impl Answer {
    /// About how many bytes it has, as XML without what must be escaped.
    pub fn weight(&self) -> usize {
        match self {
            Self::Value(value) => weight(value),
            Self::Process(_) => 2048,
            Self::Processes(all) => all.len() * 2048,
            Self::Configs(all) => all.len() * 4096,
            Self::Log(data) => data.len(),
            Self::Tail(tail) => tail.data.len(),
            Self::Several(all) => all
                .iter()
                .map(|one| one.as_ref().map_or(256, Self::weight))
                .sum(),
        }
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Struct(members) => members
            .iter()
            .map(|(name, value)| 40 + name.len() + weight(value))
            .sum(),
        Value::Text(text) => 40 + text.len(),
        _ => 40,
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// `true`, which is what most methods have to say.
const DONE: Answer = Answer::Value(Value::Bool(true));

impl<S: Supervision, H: Host> Rpc<S, H> {
    /// The methods, with local times in that zone.
    pub fn new(supervision: S, host: H, clock: Arc<dyn Clock>, zone: TimeZone) -> Self {
        Self {
            supervision,
            host,
            clock,
            zone,
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        }
    }

    /// The daemon.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The zone of local times.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Calls a method. `method` is what the client sent, whatever that is.
    ///
    /// # Errors
    /// The fault that the client is answered with.
    pub async fn call(
        &self,
        method: &str,
        params: &[Value],
        allowance: &mut Allowance,
    ) -> Result<Answer, Fault> {
        let entry = methods::find(method).ok_or_else(|| Code::UnknownMethod.plain())?;
        if entry.method != Method::Multicall {
            return self.call_one(entry, params, allowance).await;
        }
        match params {
            [Value::Array(calls)] => self.multicall(calls, allowance).await,
            _ => Err(Code::IncorrectParameters.plain()),
        }
    }

    async fn multicall(&self, calls: &[Value], allowance: &mut Allowance) -> Result<Answer, Fault> {
        let mut answers = Vec::new();
        for call in calls {
            let answer = self.call_of_several(call, allowance).await;
            let used = answer.as_ref().map_or(256, Answer::weight);
            allowance.room = allowance.room.saturating_sub(used.max(64));
            answers.push(answer);
        }
        Ok(Answer::Several(answers))
    }

    async fn call_of_several(
        &self,
        call: &Value,
        allowance: &mut Allowance,
    ) -> Result<Answer, Fault> {
        let Value::Struct(_) = call else {
            return Err(Code::IncorrectParameters.of("Not a call"));
        };
        let method = match call.get("methodName") {
            None | Some(Value::Nil) => return Err(Code::IncorrectParameters.of("No methodName")),
            Some(name) => name.as_str().unwrap_or_default(),
        };
        if method == "system.multicall" {
            return Err(Code::IncorrectParameters.of("Recursive system.multicall forbidden"));
        }
        let params = match call.get("params") {
            None => &[][..],
            Some(Value::Array(params)) => params,
            Some(_) => return Err(Code::IncorrectParameters.plain()),
        };
        let entry = methods::find(method).ok_or_else(|| Code::UnknownMethod.plain())?;
        if allowance.room == 0 {
            return Err(
                Code::Failed.of("the answer to this multicall is too long, make fewer calls")
            );
        }
        self.call_one(entry, params, allowance).await
    }

    /// Calls any method but `system.multicall`.
    async fn call_one(
        &self,
        entry: &methods::Entry,
        params: &[Value],
        allowance: &mut Allowance,
    ) -> Result<Answer, Fault> {
        if !entry.takes(params.len()) {
            return Err(Code::IncorrectParameters.plain());
        }
        // As in the original, events are sent on to the very end, and what the API is can be asked.
        let always = matches!(
            entry.method,
            Method::SendRemoteCommEvent
                | Method::ListMethods
                | Method::MethodHelp
                | Method::MethodSignature
                | Method::Multicall
        );
        if !always && self.host.state() != DaemonState::Running {
            return Err(Code::ShutdownState.plain());
        }
        // The number of arguments was checked, so that what is not there may be left out.
        let given = |at: usize| params.get(at).unwrap_or(&Value::Nil);
        let wait = |at: usize| params.get(at).is_none_or(truth);
        match entry.method {
            Method::GetApiVersion => Ok(Value::from(API_VERSION).into()),
            Method::GetSupervisorVersion => Ok(Value::from(COMPATIBLE_VERSION).into()),
            Method::GetIdentification => Ok(Value::from(self.host.identification()).into()),
            Method::GetPid => Ok(Value::from(self.host.pid()).into()),
            Method::GetState => {
                let state = self.host.state();
                Ok(Value::from([
                    ("statecode", state.code().into()),
                    ("statename", state.name().into()),
                ])
                .into())
            }
            Method::ReadLog => {
                let log = self.host.main_log();
                self.read_log(log, given(0), given(1), allowance).await
            }
            Method::ClearLog => self.clear_log(),
            Method::Shutdown => {
                self.host.shutdown();
                Ok(DONE)
            }
            Method::Restart => {
                let begun = self.host.restart();
                begun.map_err(|why| Code::CantReread.of(why))?;
                Ok(DONE)
            }
            Method::ReloadConfig => {
                let reread = self.host.reload_config().await;
                let reread = reread.map_err(|why| Code::CantReread.of(why))?;
                let names =
                    |names: Vec<String>| Value::Array(names.into_iter().map(Value::from).collect());
                let lists = [
                    names(reread.added),
                    names(reread.changed),
                    names(reread.removed),
                ];
                Ok(Value::from([Value::from(lists)]).into())
            }
            Method::AddProcessGroup => {
                let name = text(given(0))?;
                group_answer(name, self.host.add_process_group(name).await)
            }
            Method::RemoveProcessGroup => {
                let name = text(given(0))?;
                group_answer(name, self.host.remove_process_group(name).await)
            }
            Method::StartProcess => self.start(text(given(0))?, wait(1)).await,
            Method::StartProcessGroup => {
                let chosen = self.group(text(given(0))?).await?;
                Ok(self.start_many(chosen, wait(1)).await)
            }
            Method::StartAllProcesses => {
                let chosen = self.statuses(Vec::new()).await?;
                Ok(self.start_many(chosen, wait(0)).await)
            }
            Method::StopProcess => self.stop(text(given(0))?, wait(1)).await,
            Method::StopProcessGroup => {
                let chosen = self.group(text(given(0))?).await?;
                Ok(self.stop_many(chosen, wait(1)).await)
            }
            Method::StopAllProcesses => {
                let chosen = self.statuses(Vec::new()).await?;
                Ok(self.stop_many(chosen, wait(0)).await)
            }
            Method::SignalProcess => self.signal(text(given(0))?, given(1)).await,
            Method::SignalProcessGroup => {
                let chosen = self.group(text(given(0))?).await?;
                self.signal_many(chosen, given(1)).await
            }
            Method::SignalAllProcesses => {
                let chosen = self.statuses(Vec::new()).await?;
                self.signal_many(chosen, given(0)).await
            }
            Method::GetProcessInfo => {
                let status = self.process(text(given(0))?).await?;
                Ok(Answer::Process(Box::new(status)))
            }
            Method::GetAllProcessInfo => Ok(Answer::Processes(self.all_sorted().await?)),
            Method::GetAllConfigInfo => {
                let mut configs = self.host.configs();
                configs.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(Answer::Configs(configs))
            }
            Method::ReadProcessStdoutLog | Method::ReadProcessStderrLog => {
                let stderr = entry.method == Method::ReadProcessStderrLog;
                let path = self.log_path(text(given(0))?, stderr).await?;
                self.read_log(path, given(1), given(2), allowance).await
            }
            Method::TailProcessStdoutLog | Method::TailProcessStderrLog => {
                let stderr = entry.method == Method::TailProcessStderrLog;
                let path = self.log_path(text(given(0))?, stderr).await?;
                self.tail_log(path, given(1), given(2), allowance).await
            }
            Method::ClearProcessLogs => self.clear(text(given(0))?).await,
            Method::ClearAllProcessLogs => {
                let chosen = self.statuses(Vec::new()).await?;
                Ok(self.clear_many(chosen).await)
            }
            Method::SendProcessStdin => {
                let chars = given(1)
                    .as_str()
                    .ok_or_else(|| Code::IncorrectParameters.of(params::shown(given(1))))?;
                self.send(text(given(0))?, chars).await
            }
            Method::SendRemoteCommEvent => {
                let (kind, data) = (text(given(0))?.to_owned(), text(given(1))?.to_owned());
                self.ask("", Command::Announce { kind, data }).await?;
                Ok(DONE)
            }
            Method::ListMethods => {
                let names = methods::METHODS.iter().map(|it| Value::from(it.name));
                Ok(Value::Array(names.collect()).into())
            }
            Method::MethodHelp => {
                let known = described(given(0))?;
                Ok(Value::from(known.help).into())
            }
            Method::MethodSignature => {
                let known = described(given(0))?;
                let types = known.signature.iter().map(|it| Value::from(*it));
                Ok(Value::Array(types.collect()).into())
            }
            // Who calls this has looked for it already.
            Method::Multicall => Err(Code::IncorrectParameters.plain()),
        }
    }

    /// Appends the whole response.
    pub fn write(&self, answer: &Result<Answer, Fault>, out: &mut Vec<u8>) {
        match answer {
            Ok(answer) => write_response_with(out, |writer| self.write_answer(answer, writer)),
            Err(fault) => write_fault(fault.code, &fault.text, out),
        }
    }

    fn write_answer(&self, answer: &Answer, writer: ValueWriter<'_>) {
        match answer {
            Answer::Value(value) => writer.value(value),
            Answer::Process(status) => {
                info::Writer::new(self.now(), &self.zone).process(status, writer);
            }
            Answer::Processes(all) => {
                let info = info::Writer::new(self.now(), &self.zone);
                writer.array(|array| {
                    for status in all {
                        info.process(status, array.item());
                    }
                });
            }
            Answer::Configs(all) => writer.array(|array| {
                for config in all {
                    config.write(array.item());
                }
            }),
            Answer::Log(data) => writer.log(data),
            Answer::Tail(tail) => writer.array(|array| {
                array.item().log(&tail.data);
                array.item().int(tail.offset);
                array.item().bool(tail.overflow);
            }),
            Answer::Several(answers) => writer.array(|array| {
                for answer in answers {
                    match answer {
                        Ok(answer) => self.write_answer(answer, array.item()),
                        Err(fault) => array.item().structure(|members| {
                            members.member("faultCode").int(fault.code.into());
                            members.member("faultString").text(&fault.text);
                        }),
                    }
                }
            }),
        }
    }

    /// Asks the supervision on behalf of a client who called something `name`.
    async fn ask(&self, name: &str, command: Command) -> Result<Reply, Fault> {
        self.supervision
            .ask(command)
            .await
            .map_err(|refusal| refused(name, &refusal))
    }

    /// How the processes of these names are; all, if there are none.
    async fn statuses(&self, names: Vec<String>) -> Result<Vec<Status>, Fault> {
        match self.ask("", Command::Status { names }).await? {
            Reply::Status(all) => Ok(all),
            _ => Err(Code::Failed.plain()),
        }
    }

    /// How all processes are, in the order in which clients are shown them.
    pub(crate) async fn all_sorted(&self) -> Result<Vec<Status>, Fault> {
        let mut all = self.statuses(Vec::new()).await?;
        all.sort_by_cached_key(|it| (it.group.clone(), namespec::member(&it.group, &it.process)));
        Ok(all)
    }

    /// The processes of a group.
    async fn group(&self, name: &str) -> Result<Vec<Status>, Fault> {
        let mut all = self.statuses(Vec::new()).await?;
        all.retain(|status| status.group == name);
        if all.is_empty() {
            return Err(Code::BadName.of(name));
        }
        Ok(all)
    }

    /// The one process that a client's name means, never a group.
    pub(crate) async fn process(&self, name: &str) -> Result<Status, Fault> {
        let bad = || Code::BadName.of(name);
        let (group, Some(member)) = namespec::split(name) else {
            return Err(bad());
        };
        let find = |all: Vec<Status>| {
            all.into_iter()
                .find(|it| it.group == group && namespec::member(group, &it.process) == member)
        };
        // Those of the group first: with thousands of processes all would be many. The name may
        // mean a program there, in which case all are looked at.
        let some = vec![format!("{group}:*")];
        if let Ok(some) = self.statuses(some).await
            && let Some(found) = find(some)
        {
            return Ok(found);
        }
        find(self.statuses(Vec::new()).await?).ok_or_else(bad)
    }

    /// Where a process writes to.
    async fn log_path(&self, name: &str, stderr: bool) -> Result<Option<PathBuf>, Fault> {
        let status = self.process(name).await?;
        Ok(if stderr {
            info::stderr_log(&status).cloned()
        } else {
            status.stdout_log
        })
    }

    async fn read_log(
        &self,
        path: Option<PathBuf>,
        offset: &Value,
        length: &Value,
        allowance: &mut Allowance,
    ) -> Result<Answer, Fault> {
        let (offset, length) = (number(offset)?, number(length)?);
        let Some(path) = path else {
            return Err(Code::NoFile.plain());
        };
        let wanted = match (offset, length) {
            (..0, _) => offset.unsigned_abs(),
            (_, 0) => u64::MAX,
            _ => length.unsigned_abs(),
        };
        self.queue_for(&path, wanted, allowance).await?;
        let room = allowance.room;
        let shown = path.display().to_string();
        let read = blocking(move || logs::read(&path, offset, length, room)).await?;
        read.map(Answer::Log).map_err(|why| match why {
            logs::ReadError::NoFile => Code::NoFile.of(shown),
            logs::ReadError::BadArguments => Code::BadArguments.plain(),
            logs::ReadError::Failed => Code::Failed.plain(),
        })
    }

    async fn tail_log(
        &self,
        path: Option<PathBuf>,
        offset: &Value,
        length: &Value,
        allowance: &mut Allowance,
    ) -> Result<Answer, Fault> {
        let (offset, length) = (number(offset)?, number(length)?);
        let Some(path) = path else {
            return Ok(Answer::Tail(logs::Tail::default()));
        };
        let wanted = u64::try_from(length).unwrap_or(0);
        self.queue_for(&path, wanted, allowance).await?;
        let room = allowance.room;
        blocking(move || logs::tail(&path, offset, length, room))
            .await
            .map(Answer::Tail)
    }

    /// Waits until a large part of a log may be read, if this is one. A request that reads several
    /// waits once, so that no two of them wait for each other.
    async fn queue_for(
        &self,
        path: &Path,
        wanted: u64,
        allowance: &mut Allowance,
    ) -> Result<(), Fault> {
        if wanted <= LARGE || allowance.large.is_some() {
            return Ok(());
        }
        let path = path.to_owned();
        let size = blocking(move || std::fs::metadata(path).map_or(0, |it| it.len())).await?;
        if size > LARGE {
            let turn = Arc::clone(&self.large).acquire_owned().await;
            allowance.large = turn.ok();
        }
        Ok(())
    }

    /// The last bytes of a process's output, as the page of its tail shows them.
    pub(crate) async fn last_output(&self, name: &str, bytes: i64) -> Result<Vec<u8>, Fault> {
        let status = self.process(name).await?;
        let (offset, length) = (Value::Int(-bytes), Value::Int(0));
        match self
            .read_log(
                status.stdout_log,
                &offset,
                &length,
                &mut Allowance::default(),
            )
            .await?
        {
            Answer::Log(data) => Ok(data),
            _ => Ok(Vec::new()),
        }
    }

    /// Where the log of a process is that a client follows.
    pub(crate) async fn log_of(&self, name: &str, stderr: bool) -> Result<Option<PathBuf>, Fault> {
        let status = self.process(name).await?;
        Ok(if stderr {
            info::stderr_log(&status).cloned()
        } else {
            status.stdout_log
        })
    }

    /// All processes, for the status page.
    pub(crate) async fn rows(&self) -> Result<Vec<Row>, Fault> {
        let all = self.all_sorted().await?;
        let row = |status: &Status| Row {
            name: namespec::join(
                &status.group,
                &namespec::member(&status.group, &status.process),
            ),
            phase: status.phase,
            description: info::description(status, self.now(), &self.zone),
        };
        Ok(all.iter().map(row).collect())
    }

    fn clear_log(&self) -> Result<Answer, Fault> {
        if self.host.main_log().is_none() {
            return Err(Code::NoFile.plain());
        }
        match self.host.clear_main_log() {
            Ok(()) => Ok(DONE),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Err(Code::NoFile.plain()),
            Err(_) => Err(Code::Failed.plain()),
        }
    }
}

/// Does what may take long where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Code::Failed.plain())
}

fn described(name: &Value) -> Result<&'static methods::Entry, Fault> {
    name.as_str()
        .and_then(methods::find)
        .ok_or_else(|| Code::SignatureUnsupported.plain())
}

fn group_answer(name: &str, result: Result<(), GroupError>) -> Result<Answer, Fault> {
    match result {
        Ok(()) => Ok(DONE),
        Err(GroupError::Unknown) => Err(Code::BadName.of(name)),
        Err(GroupError::AlreadyThere) => Err(Code::AlreadyAdded.of(name)),
        Err(GroupError::StillRunning) => Err(Code::StillRunning.of(name)),
        Err(GroupError::Failed(why)) => Err(Code::Failed.of(why)),
    }
}

/// The fault for what the supervision refused.
fn refused(name: &str, refusal: &Refusal) -> Fault {
    match refusal {
        Refusal::UnknownName { .. } => Code::BadName.of(name),
        Refusal::AlreadyThere => Code::AlreadyAdded.of(name),
        Refusal::StillRunning => Code::StillRunning.of(name),
        Refusal::ShuttingDown | Refusal::Gone => Code::ShutdownState.plain(),
    }
}

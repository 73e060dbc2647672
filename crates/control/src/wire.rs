//! What travels: JSON documents, each with its schema version. They are not the types the daemon
//! thinks in, so that those can change while these stay.
//!
//! Requests are read strictly (an unknown field is an error, because a misspelt one would be
//! ignored). Answers are read leniently (an older client meets a newer daemon after an upgrade), and
//! always written whole: what is not known is `null`, never absent.

mod alert;
mod fault;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::Verb;
use crate::error::{Error, Kind};

pub use alert::{
    AlertCounts, AlertStatus, AlertSummary, AlertsDocument, ChannelStatus, DeliveryStatus,
    RaiseRequest, SilenceRequest, SilenceStatus, SilencedDocument, TriedChannel, TriedDocument,
    UnsilenceRequest,
};
pub use fault::{
    FaultDocument, FaultQuery, FaultReport, FaultStatus, FaultsDocument, ForgetRequest,
    OccurrenceStatus, Order, OrderAct, OrderOutcome, OrderRequest, OrderStatus, OrderedDocument,
    OrdersDocument, REPORT_LIMIT, ReportedDocument, ReportedRequest, ReportedStep, ReportedWork,
    WorkState,
};

/// The version of every document here. It changes only when a reader of the old one would
/// misunderstand the new one; a field more does not change it.
pub const SCHEMA: u32 = 1;

fn schema() -> u32 {
    SCHEMA
}

/// Everything about the daemon and what it looks after, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the host, from `[host]` or the system.
    pub host: String,
    /// Version of the daemon.
    pub version: String,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Every process, in the order of the configuration.
    #[serde(default)]
    pub programs: Vec<ProcessStatus>,
    /// Every backup, in the order of the configuration.
    #[serde(default)]
    pub backups: Vec<BackupStatus>,
    /// File systems that hold state, logs or repositories.
    #[serde(default)]
    pub disks: Vec<DiskStatus>,
    /// How alerts stand; none where there are none.
    #[serde(default)]
    pub alerts: Option<AlertSummary>,
    /// How many kinds of faults are new since a day ago, by program; programs without any are left
    /// out.
    #[serde(default)]
    pub new_faults: BTreeMap<String, u64>,
    /// Where records of the log go.
    #[serde(default)]
    pub log: Vec<LogSinkStatus>,
    /// What a person should know although nothing has failed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The daemon's own line in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// Seconds since then, by the monotonic clock.
    pub uptime_seconds: u64,
}

/// A place where records of the log go, and how that went since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSinkStatus {
    /// What the configuration calls it: `rolling:/var/log/mainstay.log`.
    pub name: String,
    /// Records that it took.
    pub delivered: u64,
    /// Records lost to it, by level; levels without a loss are left out.
    #[serde(default)]
    pub lost: BTreeMap<String, u64>,
    /// How often it could not take what it was given; behind a queue that costs nothing yet.
    pub errors: u64,
    /// Bytes that wait in its queue.
    pub waiting: u64,
    /// Bytes that may wait there; missing without a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<u64>,
}

/// One process: a program, or one instance of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// What one calls it: `web`, or `web:1` for one of several instances.
    pub name: String,
    /// The program it is an instance of.
    pub program: String,
    /// The group it starts, stops and fails with.
    pub group: Option<String>,
    /// Its number among the program's instances, from 0.
    pub instance: u32,
    /// Where it is in its life.
    pub state: State,
    /// The number supervisord gives that state: [`State::code`].
    pub statecode: u32,
    /// Process id while there is a process.
    pub pid: Option<u32>,
    /// When it entered this state.
    pub since: Option<Timestamp>,
    /// Seconds it has been running; only in RUNNING and STOPPING.
    pub uptime_seconds: Option<u64>,
    /// Times it was started again without anybody asking, since the daemon knows it.
    #[serde(default)]
    pub restarts: u64,
    /// How it last ended.
    pub exit: Option<Exit>,
    /// Why it is in this state, if that needs a reason: the spawn error, the exit that was not
    /// expected, who stopped it.
    pub reason: Option<String>,
    /// One line for a person, such as `pid 812, uptime 3 days, 4:12:09`.
    #[serde(default)]
    pub description: String,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// Processor time used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// What it should be.
    pub desired: Desired,
    /// Whether an earlier daemon started it and this one took it over.
    #[serde(default)]
    pub adopted: bool,
    /// Where its output goes.
    #[serde(default)]
    pub logs: LogPaths,
}

impl ProcessStatus {
    /// A process in that state, with everything else unknown.
    pub fn new(name: impl Into<String>, program: impl Into<String>, state: State) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            group: None,
            instance: 0,
            state,
            statecode: state.code(),
            pid: None,
            since: None,
            uptime_seconds: None,
            restarts: 0,
            exit: None,
            reason: None,
            description: String::new(),
            rss_bytes: None,
            cpu_seconds: None,
            desired: Desired::Up,
            adopted: false,
            logs: LogPaths::default(),
        }
    }
}

/// Where a process is in its life: supervisord's names, so that what reads those goes on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Stopped on request, or never started.
    Stopped,
    /// Started, not yet up for long enough to count.
    Starting,
    /// Up.
    Running,
    /// Ended too early; waits to be started again.
    Backoff,
    /// Told to stop, not ended yet.
    Stopping,
    /// Ended by itself.
    Exited,
    /// Could not be started, and no more attempts are made.
    Fatal,
    /// Not known (also: a state that only a newer version knows).
    #[serde(other)]
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [
        State::Stopped,
        State::Starting,
        State::Running,
        State::Backoff,
        State::Stopping,
        State::Exited,
        State::Fatal,
        State::Unknown,
    ];

    /// The number supervisord gives it.
    pub fn code(self) -> u32 {
        match self {
            State::Stopped => 0,
            State::Starting => 10,
            State::Running => 20,
            State::Backoff => 30,
            State::Stopping => 40,
            State::Exited => 100,
            State::Fatal => 200,
            State::Unknown => 1000,
        }
    }

    /// The name, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            State::Stopped => "STOPPED",
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Backoff => "BACKOFF",
            State::Stopping => "STOPPING",
            State::Exited => "EXITED",
            State::Fatal => "FATAL",
            State::Unknown => "UNKNOWN",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What a process should be, as last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It should run.
    Up,
    /// It should not run.
    Down,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It left with this exit code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// The signal's name, such as `SIGKILL`.
        name: String,
        /// Whether it left a core file.
        core: bool,
    },
    /// It is gone and its status could not be learnt, for this reason.
    Unknown(String),
}

/// Where the output of a process goes; `None` where it is not kept in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPaths {
    /// File of its standard output.
    pub stdout: Option<String>,
    /// File of its standard error.
    pub stderr: Option<String>,
}

/// One backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What sort of thing it saves: `files`, `sqlite`.
    pub source: String,
    /// Names of the repositories it goes to.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// When it last succeeded everywhere.
    pub last_good: Option<Timestamp>,
    /// Bytes in the snapshot of that run.
    #[serde(default)]
    pub last_good_bytes: Option<u64>,
    /// How the last run ended.
    pub last_outcome: Option<BackupOutcome>,
    /// Why the last run failed, if it did.
    pub last_error: Option<String>,
    /// Since when every run has failed.
    pub failing_since: Option<Timestamp>,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// Whether it is late.
    #[serde(default)]
    pub overdue: bool,
    /// Whether it runs right now.
    #[serde(default)]
    pub running: bool,
    /// Number of snapshots the catalog knows.
    pub snapshots: Option<u64>,
    /// Bytes that the good runs before the last one usually had: their median.
    #[serde(default)]
    pub usual_bytes: Option<u64>,
    /// Bytes of the last good runs, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u64>,
    /// That the last good run has far less than those before it, in words.
    #[serde(default)]
    pub shrunken: Option<String>,
    /// The last restore that a drill proved.
    #[serde(default)]
    pub proven: Option<ProvenRestore>,
    /// Whether a restore should have been proven since.
    #[serde(default)]
    pub unproven: bool,
    /// That the last drill proved nothing, and why.
    #[serde(default)]
    pub drill_error: Option<String>,
    /// When it is drilled next.
    #[serde(default)]
    pub next_drill: Option<Timestamp>,
    /// Whether it is drilled right now.
    #[serde(default)]
    pub drilling: bool,
}

/// A restore that a drill proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenRestore {
    /// When the drill ended.
    pub at: Timestamp,
    /// How long the restore took, without the checks.
    pub milliseconds: u64,
    /// The snapshot.
    pub snapshot: Option<String>,
    /// When that was taken.
    pub taken: Option<Timestamp>,
}

/// How a backup run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupOutcome {
    /// Everything reached every repository.
    Good,
    /// Something is missing: an unreadable file, one of several repositories.
    Partly,
    /// There is no new snapshot.
    #[serde(other)]
    Failed,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// A path on it that matters here.
    pub path: String,
    /// Its size in bytes.
    pub total: u64,
    /// What an ordinary user may still fill, in bytes.
    pub free: u64,
}

/// Which version answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Which run of the binary this is: another after an upgrade in place, which keeps the process id.
    #[serde(default)]
    pub run: String,
}

/// Something was done, and there is nothing more to say than perhaps a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was done, for a person.
    pub detail: Option<String>,
}

impl DoneDocument {
    /// Done, without a word.
    pub fn new() -> Self {
        Self {
            schema: SCHEMA,
            detail: None,
        }
    }

    /// Done, with a sentence.
    pub fn with(detail: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            detail: Some(detail.into()),
        }
    }
}

impl Default for DoneDocument {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks to start, stop or restart programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Names of processes (`web:1`), programs (`web`), groups (`shop:*`), or `all`.
    pub names: Vec<String>,
    /// Answer when they are up (or down, or have failed) rather than when it is begun.
    #[serde(default)]
    pub wait: bool,
}

impl ActionRequest {
    /// Asks for these names.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>, wait: bool) -> Self {
        Self {
            schema: SCHEMA,
            names: names.into_iter().map(Into::into).collect(),
            wait,
        }
    }

    /// Says what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        check_names(&self.names)
    }
}

/// Asks to send a signal to programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// As in [`ActionRequest::names`].
    pub names: Vec<String>,
    /// `HUP`, `SIGHUP` or `1`.
    pub signal: String,
}

impl SignalRequest {
    /// Asks to send that signal to these names.
    pub fn new<N: Into<String>>(
        names: impl IntoIterator<Item = N>,
        signal: impl Into<String>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            names: names.into_iter().map(Into::into).collect(),
            signal: signal.into(),
        }
    }

    /// Says what is wrong with it, if anything. Whether there is such a signal is for the daemon to
    /// say.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        check_names(&self.names)?;
        if self.signal.is_empty() || self.signal.len() > 16 {
            return Err(Error::new(
                Kind::Usage,
                format!("{:?} is not the name or number of a signal", self.signal),
            )
            .help("name one as HUP, SIGHUP or 1; `kill -l` lists them"));
        }
        Ok(())
    }
}

/// Asks to let other levels through, for a time or until the daemon ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevelRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// A target and all below it, or a program; everything if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The lowest level let through, or `off`; `default` as the config has it.
    pub level: String,
    /// For so many seconds; until the daemon ends if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl LogLevelRequest {
    /// Asks for this.
    pub fn new(target: Option<String>, level: impl Into<String>, seconds: Option<u64>) -> Self {
        Self {
            schema: SCHEMA,
            target,
            level: level.into(),
            seconds,
        }
    }

    /// Says what is wrong with it, if anything. Whether there is such a level is for the daemon to
    /// say.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        let target = self.target.as_deref().unwrap_or("all");
        if target.is_empty() || target.len() > LONGEST_NAME || self.level.len() > 16 {
            return Err(Error::new(
                Kind::Usage,
                "a target of 1 to 255 bytes and a level are needed",
            )
            .help("for example `api::db` and `debug`"));
        }
        Ok(())
    }
}

fn check_schema(schema: u32) -> Result<(), Error> {
    if schema == SCHEMA {
        return Ok(());
    }
    Err(Error::new(
        Kind::OtherVersion,
        format!("the request has schema {schema}, this daemon reads schema {SCHEMA}"),
    )
    .help("use the command line of the same version as the daemon"))
}

/// Longest name that can be asked for, in bytes.
const LONGEST_NAME: usize = 255;

pub(crate) fn check_names(names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Err(Error::new(Kind::Usage, "the request names no program")
            .help("name at least one; `all` means every program"));
    }
    for name in names {
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let shown: String = name.chars().take(40).collect();
            return Err(Error::new(
                Kind::Usage,
                format!("{shown:?} cannot be the name of a program"),
            )
            .help(format!(
                "a name has 1 to {LONGEST_NAME} bytes and no control characters; status lists them"
            )));
        }
    }
    Ok(())
}

/// What became of each process that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was asked.
    pub verb: Verb,
    /// One for each process.
    #[serde(default)]
    pub results: Vec<ActionResult>,
}

impl ActionDocument {
    /// The answer to that verb.
    pub fn new(verb: Verb, results: Vec<ActionResult>) -> Self {
        Self {
            schema: SCHEMA,
            verb,
            results,
        }
    }

    /// How many of the results are what was asked for, and how many are not.
    pub fn tally(&self) -> (usize, usize) {
        let done = self
            .results
            .iter()
            .filter(|result| result.outcome.is_done(self.verb))
            .count();
        (done, self.results.len() - done)
    }

    /// The exit code of a command that met this: 0 all done, 4 unknown name among them, 3 some done,
    /// 1 none done.
    pub fn exit_code(&self) -> u8 {
        let (done, not) = self.tally();
        let unknown = self
            .results
            .iter()
            .any(|result| result.outcome == Outcome::UnknownName);
        match (done, not) {
            (_, 0) => 0,
            _ if unknown => Kind::UnknownName.exit_code(),
            (0, _) => Kind::Failed.exit_code(),
            _ => 3,
        }
    }
}

/// What became of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The process.
    pub name: String,
    /// What happened.
    pub outcome: Outcome,
    /// The state it is in now.
    pub state: Option<State>,
    /// Why, if that needs saying.
    pub detail: Option<String>,
}

impl ActionResult {
    /// That outcome for that process.
    pub fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            name: name.into(),
            outcome,
            state: None,
            detail: None,
        }
    }
}

/// What happened to one process that somebody asked something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was started (and is up, if the request waited).
    Started,
    /// It was stopped (and is down, if the request waited).
    Stopped,
    /// It was stopped and started.
    Restarted,
    /// The signal was sent.
    Signalled,
    /// It was up already.
    AlreadyStarted,
    /// There was no process to stop or to signal.
    NotRunning,
    /// No process, program or group has that name.
    UnknownName,
    /// It was tried and did not work (also: an outcome that only a newer version knows).
    #[serde(other)]
    Failed,
}

impl Outcome {
    /// Words for a person.
    pub fn text(self) -> &'static str {
        match self {
            Outcome::Started => "started",
            Outcome::Stopped => "stopped",
            Outcome::Restarted => "restarted",
            Outcome::Signalled => "signalled",
            Outcome::AlreadyStarted => "already started",
            Outcome::NotRunning => "not running",
            Outcome::UnknownName => "unknown name",
            Outcome::Failed => "failed",
        }
    }

    /// Whether this is what the verb wanted. To stop what does not run is done; to signal it is not.
    pub fn is_done(self, verb: Verb) -> bool {
        match self {
            Outcome::Started
            | Outcome::Stopped
            | Outcome::Restarted
            | Outcome::Signalled
            | Outcome::AlreadyStarted => true,
            Outcome::NotRunning => verb == Verb::Stop,
            Outcome::UnknownName | Outcome::Failed => false,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.text())
    }
}

/// One of the two outputs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output (and standard error too, where the configuration merges them).
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Asks for captured output. The answer is the bytes as the program wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// The process.
    pub name: String,
    /// Which of its outputs.
    pub stream: Stream,
    /// How many of the last lines; `None` for all that the current file holds.
    pub lines: Option<u64>,
    /// Go on with what is written from now on, across rotation, until the client leaves or the daemon
    /// ends.
    pub follow: bool,
    /// Records instead of lines, only some of them: then the answer is in the form of
    /// [`records`](crate::records), `lines` counts records, and `None` is all that is in the rolled
    /// files too.
    pub records: Option<RecordQuery>,
}

/// Which records are wanted. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordQuery {
    /// The name of the lowest level.
    pub level: Option<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
    /// A regular expression that matches somewhere in the record; see [`PATTERN_LIMIT`].
    pub pattern: Option<String>,
}

/// How many bytes a pattern may have.
pub const PATTERN_LIMIT: usize = 1024;

/// The part of a [`LogQuery`] that stands behind the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogParameters {
    #[serde(default)]
    pub(crate) stream: Stream,
    pub(crate) lines: Option<u64>,
    #[serde(default)]
    pub(crate) follow: bool,
    #[serde(default)]
    pub(crate) records: bool,
    pub(crate) level: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) pattern: Option<String>,
}

/// An error as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What went wrong.
    pub error: Error,
}

impl From<Error> for ErrorDocument {
    fn from(error: Error) -> Self {
        Self {
            schema: SCHEMA,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_and_numbers_of_supervisord() {
        let table = [
            (State::Stopped, "STOPPED", 0),
            (State::Starting, "STARTING", 10),
            (State::Running, "RUNNING", 20),
            (State::Backoff, "BACKOFF", 30),
            (State::Stopping, "STOPPING", 40),
            (State::Exited, "EXITED", 100),
            (State::Fatal, "FATAL", 200),
            (State::Unknown, "UNKNOWN", 1000),
        ];
        assert_eq!(table.map(|row| row.0), State::ALL);
        for (state, name, code) in table {
            assert_eq!((state.name(), state.code()), (name, code));
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{name}\"")
            );
        }
    }

    #[test]
    fn a_newer_daemon_is_still_understood() {
        let process: ProcessStatus = serde_json::from_str(
            r#"{"name":"web","program":"web","instance":0,"state":"FROZEN","statecode":55,
                "desired":"up","colour":"blue"}"#,
        )
        .unwrap();
        assert_eq!(process.state, State::Unknown);
        assert_eq!((process.pid, process.restarts), (None, 0));
        let result: ActionResult =
            serde_json::from_str(r#"{"name":"web","outcome":"melted"}"#).unwrap();
        assert_eq!(result.outcome, Outcome::Failed);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let process = ProcessStatus::new("web:0", "web", State::Fatal);
        let value = serde_json::to_value(&process).unwrap();
        for key in [
            "group",
            "pid",
            "since",
            "uptime_seconds",
            "exit",
            "reason",
            "rss_bytes",
        ] {
            assert_eq!(value.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        assert_eq!(value["statecode"], 200);
        assert_eq!(value["logs"]["stdout"], serde_json::Value::Null);
    }

    #[test]
    fn exits_on_the_wire() {
        let table = [
            (Exit::Code(3), r#"{"code":3}"#),
            (
                Exit::Signal {
                    number: 9,
                    name: "SIGKILL".into(),
                    core: false,
                },
                r#"{"signal":{"number":9,"name":"SIGKILL","core":false}}"#,
            ),
            (Exit::Unknown("adopted".into()), r#"{"unknown":"adopted"}"#),
        ];
        for (exit, text) in table {
            assert_eq!(serde_json::to_string(&exit).unwrap(), text);
            assert_eq!(serde_json::from_str::<Exit>(text).unwrap(), exit);
        }
    }

    #[test]
    fn requests_are_checked() {
        let long = "x".repeat(256);
        // (names, the kind of error)
        let table: &[(&[&str], Option<Kind>)] = &[
            (&["web"], None),
            (&["web:1", "shop:*", "all"], None),
            (&["商店"], None),
            (&[], Some(Kind::Usage)),
            (&[""], Some(Kind::Usage)),
            (&["web", "a\nb"], Some(Kind::Usage)),
            (&[&long], Some(Kind::Usage)),
        ];
        for (names, expected) in table {
            let found = ActionRequest::new(names.iter().copied(), false).check();
            assert_eq!(found.err().map(|error| error.kind), *expected, "{names:?}");
        }
        let newer = ActionRequest {
            schema: 2,
            ..ActionRequest::new(["web"], false)
        };
        assert_eq!(newer.check().unwrap_err().kind, Kind::OtherVersion);
        assert_eq!(
            SignalRequest::new(["web"], "").check().unwrap_err().kind,
            Kind::Usage
        );
        assert!(SignalRequest::new(["web"], "HUP").check().is_ok());
    }

    #[test]
    fn exit_codes_of_actions() {
        use Outcome::{
            AlreadyStarted, Failed, NotRunning, Signalled, Started, Stopped, UnknownName,
        };
        let table: &[(Verb, &[Outcome], u8)] = &[
            (Verb::Start, &[], 0),
            (Verb::Start, &[Started, AlreadyStarted], 0),
            (Verb::Start, &[Started, Failed], 3),
            (Verb::Start, &[Failed, Failed], 1),
            (Verb::Start, &[Started, UnknownName], 4),
            (Verb::Stop, &[Stopped, NotRunning], 0),
            (Verb::Signal, &[NotRunning], 1),
            (Verb::Signal, &[Signalled, NotRunning], 3),
        ];
        for (verb, outcomes, code) in table {
            let results = outcomes
                .iter()
                .map(|&outcome| ActionResult::new("web", outcome))
                .collect();
            assert_eq!(
                ActionDocument::new(*verb, results).exit_code(),
                *code,
                "{verb} {outcomes:?}"
            );
        }
    }
}

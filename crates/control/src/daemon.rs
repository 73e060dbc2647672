//! What the API needs from the daemon behind it.

use std::fmt;
use std::io;
use std::pin::Pin;

use futures_util::Stream;
use hyper::body::Bytes;

use crate::auth::{Actor, Role, Verb};
use crate::error::Error;
use crate::wire::{
    ActionDocument, ActionRequest, AlertsDocument, DoneDocument, FaultDocument, FaultQuery,
    FaultsDocument, ForgetRequest, LogLevelRequest, LogQuery, OrderRequest, OrderedDocument,
    RaiseRequest, SignalRequest, SilenceRequest, SilencedDocument, StatusDocument, TriedDocument,
    UnsilenceRequest, VersionDocument,
};

/// A future answer. Boxed, so that [`Daemon`] can be used as `dyn Daemon`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Bytes as they come. An error in it cuts the response short: the client learns that something is
/// missing, and [`Daemon::notice`] learns why.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Who asks, and in which role they were let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The process at the other end.
    pub actor: Actor,
    /// Its role.
    pub role: Role,
}

/// The daemon, as the API sees it. Every call was authorised and its request checked before.
///
/// A call runs to its end even when the client goes away meanwhile: nothing that was begun is left
/// half done because somebody pressed Ctrl-C.
pub trait Daemon: Send + Sync + 'static {
    /// Which version this is.
    fn version(&self) -> VersionDocument;

    /// Everything, now.
    fn status(&self, caller: Caller) -> Answer<'_, StatusDocument>;

    /// Starts programs.
    fn start(&self, caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument>;

    /// Stops programs.
    fn stop(&self, caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument>;

    /// Stops programs and starts them again.
    fn restart(&self, caller: Caller, request: ActionRequest) -> Answer<'_, ActionDocument>;

    /// Sends a signal to programs.
    fn signal(&self, caller: Caller, request: SignalRequest) -> Answer<'_, ActionDocument>;

    /// Captured output. What a [`Role::Viewer`] may not see is for the daemon to hide. A stream that
    /// follows is dropped when the client leaves or the server ends.
    fn logs(&self, caller: Caller, query: LogQuery) -> Answer<'_, ByteStream>;

    /// Closes and opens all log files again.
    fn reopen_logs(&self, caller: Caller) -> Answer<'_, DoneDocument>;

    /// Lets other levels through.
    fn log_level(&self, caller: Caller, request: LogLevelRequest) -> Answer<'_, DoneDocument>;

    /// How all alerts stand.
    fn alerts(&self, caller: Caller) -> Answer<'_, AlertsDocument>;

    /// Raises an alert, or says that it is over. The answer comes when that is stored.
    fn raise_alert(&self, caller: Caller, request: RaiseRequest) -> Answer<'_, DoneDocument>;

    /// Silences alerts for a while.
    fn silence_alerts(
        &self,
        caller: Caller,
        request: SilenceRequest,
    ) -> Answer<'_, SilencedDocument>;

    /// Ends a silence.
    fn unsilence_alerts(
        &self,
        caller: Caller,
        request: UnsilenceRequest,
    ) -> Answer<'_, DoneDocument>;

    /// Sends a test message through each channel, and waits for what comes of it.
    fn test_alerts(&self, caller: Caller) -> Answer<'_, TriedDocument>;

    /// Kinds of faults.
    fn faults(&self, caller: Caller, query: FaultQuery) -> Answer<'_, FaultsDocument>;

    /// One fault, by its code as a person writes it.
    fn fault(&self, caller: Caller, code: String) -> Answer<'_, FaultDocument>;

    /// Gives an order to the app of a fault. The answer comes when that is stored.
    fn order_fault(&self, caller: Caller, request: OrderRequest) -> Answer<'_, OrderedDocument>;

    /// Forgets kinds of faults.
    fn forget_faults(&self, caller: Caller, request: ForgetRequest) -> Answer<'_, DoneDocument>;

    /// Begins to end the daemon, and answers before it has ended.
    fn shutdown(&self, caller: Caller) -> Answer<'_, DoneDocument>;

    /// Looks whether the binary on disk can take over, and if so begins to replace the running one
    /// in place: answers before it has happened.
    fn upgrade(&self, caller: Caller) -> Answer<'_, DoneDocument>;

    /// Writes down who did what. Called for everything that changes something, once it is done, and for
    /// everything that was denied. Must not block for long.
    fn audit(&self, entry: AuditEntry);

    /// Something about the server itself that belongs into the daemon's log. Must not block for long.
    fn notice(&self, notice: Notice);
}

/// Who did what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who.
    pub actor: Actor,
    /// In which role; none for a stranger.
    pub role: Option<Role>,
    /// What they asked.
    pub verb: Verb,
    /// Of what: the names as they were given, separated by blanks.
    pub object: String,
    /// How it went.
    pub outcome: AuditOutcome,
    /// How many earlier entries like this were left out. Only strangers that knock faster than once in
    /// a while have any.
    pub passed_over: u64,
}

impl fmt::Display for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.actor)?;
        match self.role {
            Some(role) => write!(f, " ({role})")?,
            None => f.write_str(" (stranger)")?,
        }
        write!(f, ": {}", self.verb)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", self.outcome)?;
        if self.passed_over > 0 {
            write!(f, " ({} more like this before)", self.passed_over)?;
        }
        Ok(())
    }
}

/// How something that was asked for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditOutcome {
    /// As asked.
    Done,
    /// For some of the names only.
    Partly {
        /// How many are as asked.
        done: usize,
        /// How many are not.
        not: usize,
    },
    /// It may not do that.
    Denied,
    /// It was tried in vain.
    Failed(Error),
    /// The daemon lost track of it: a panic, or its end while the act was under way.
    Unknown,
}

impl fmt::Display for AuditOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditOutcome::Done => f.write_str("done"),
            AuditOutcome::Partly { done, not } => write!(f, "partly: {done} done, {not} not"),
            AuditOutcome::Denied => f.write_str("denied"),
            AuditOutcome::Failed(error) => write!(f, "failed: {}", error.message),
            AuditOutcome::Unknown => f.write_str("unknown: cut off while under way"),
        }
    }
}

/// Something the server wants known about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A connection could not be accepted (most likely: no file descriptor left). The server waits
    /// a moment and goes on. Not repeated for a while.
    AcceptFailed(String),
    /// All connections are in use, and somebody was sent away. Not repeated for a while.
    Full,
    /// The code of a connection panicked; the others go on.
    Panicked,
    /// Somebody who belongs to no program connected to the socket of reports.
    ReporterDenied {
        /// Who.
        actor: Actor,
        /// How many earlier ones of theirs were not told.
        passed_over: u64,
    },
    /// This app reports more faults than it may. Not repeated while it goes on.
    ReportsPassedOver(String),
    /// The stream that [`Daemon::logs`] gave ended in an error, and the client got only a part.
    LogsBrokeOff {
        /// The process whose output it was.
        name: String,
        /// The error.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::AcceptFailed(why) => write!(
                f,
                "the control socket could not accept a connection: {why}; trying again in a moment"
            ),
            Notice::Full => f.write_str(
                "all control connections are in use and a caller was sent away; \
                 look for clients that follow logs and were left running",
            ),
            Notice::Panicked => f.write_str(
                "a control connection ended by a panic, which is a fault of this program; \
                 the others go on",
            ),
            Notice::ReporterDenied { actor, passed_over } => {
                write!(
                    f,
                    "{actor} was sent away from the socket of reports: it is no program's"
                )?;
                if *passed_over > 0 {
                    write!(f, " ({passed_over} more like this before)")?;
                }
                Ok(())
            }
            Notice::ReportsPassedOver(app) => write!(
                f,
                "{app} reports more faults than are taken: some are in its own log only"
            ),
            Notice::LogsBrokeOff { name, why } => {
                write!(f, "a client got only a part of the logs of {name}: {why}")
            }
        }
    }
}

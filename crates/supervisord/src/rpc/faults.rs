//! What supervisord answers when it cannot do what it was asked, spec section 1.5.

use std::fmt;

use crate::xmlrpc::Fault;

/// Which fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// There is no such method.
    UnknownMethod = 1,
    /// Too many or too few arguments, or of a wrong type.
    IncorrectParameters = 2,
    /// Arguments that do not go together.
    BadArguments = 3,
    /// Nothing is known of that method.
    SignatureUnsupported = 4,
    /// The daemon is being shut down or restarted.
    ShutdownState = 6,
    /// There is no such process or group.
    BadName = 10,
    /// There is no such signal.
    BadSignal = 11,
    /// There is no such file.
    NoFile = 20,
    /// The file is no program.
    NotExecutable = 21,
    /// It did not work.
    Failed = 30,
    /// The process was not up long enough, for a reason that is not known.
    AbnormalTermination = 40,
    /// The process could not be started.
    SpawnError = 50,
    /// The process runs already.
    AlreadyStarted = 60,
    /// The process does not run.
    NotRunning = 70,
    /// No fault: what answers for several processes say of those that went well.
    Success = 80,
    /// The group is there already.
    AlreadyAdded = 90,
    /// The group has processes that run.
    StillRunning = 91,
    /// The config has a fault.
    CantReread = 92,
}

impl Code {
    /// The number that clients look at.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The name that every text begins with.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownMethod => "UNKNOWN_METHOD",
            Self::IncorrectParameters => "INCORRECT_PARAMETERS",
            Self::BadArguments => "BAD_ARGUMENTS",
            Self::SignatureUnsupported => "SIGNATURE_UNSUPPORTED",
            Self::ShutdownState => "SHUTDOWN_STATE",
            Self::BadName => "BAD_NAME",
            Self::BadSignal => "BAD_SIGNAL",
            Self::NoFile => "NO_FILE",
            Self::NotExecutable => "NOT_EXECUTABLE",
            Self::Failed => "FAILED",
            Self::AbnormalTermination => "ABNORMAL_TERMINATION",
            Self::SpawnError => "SPAWN_ERROR",
            Self::AlreadyStarted => "ALREADY_STARTED",
            Self::NotRunning => "NOT_RUNNING",
            Self::Success => "SUCCESS",
            Self::AlreadyAdded => "ALREADY_ADDED",
            Self::StillRunning => "STILL_RUNNING",
            Self::CantReread => "CANT_REREAD",
        }
    }

    /// The fault with its name for a text.
    pub fn plain(self) -> Fault {
        Fault {
            code: self.number(),
            text: self.name().to_owned(),
        }
    }

    /// The fault with its name and more.
    pub fn of(self, extra: impl fmt::Display) -> Fault {
        Fault {
            code: self.number(),
            text: format!("{}: {extra}", self.name()),
        }
    }

    /// Whether the fault is this one.
    pub fn is(self, fault: &Fault) -> bool {
        fault.code == self.number()
    }
}

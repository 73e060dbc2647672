//! What people want done about works, on its way to the app that can do it.

use jiff::Timestamp;

use crate::id::Id;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// What is next in the work is tried again.
    Retry,
    /// What is next in the work is taken for done.
    Skip,
}

impl Act {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// The app has not asked for it yet.
    Waiting,
    /// The app has it.
    Fetched,
    /// The app says that it was carried out.
    Done,
    /// The app says that it was not.
    Refused,
}

impl OrderState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Fetched => "fetched",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "fetched" => Self::Fetched,
            "done" => Self::Done,
            "refused" => Self::Refused,
            _ => Self::Waiting,
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number; 0 before it is in the ledger.
    pub id: i64,
    /// Whose work it is about.
    pub app: String,
    /// The code of the fault.
    pub code: Id,
    /// The work, by its id in the app's journal.
    pub work: String,
    /// What is wanted.
    pub act: Act,
    /// The step that is meant.
    pub step: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who wants it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// How far it is.
    pub state: OrderState,
    /// When the app told the outcome.
    pub ended: Option<Timestamp>,
    /// What the app said.
    pub detail: Option<String>,
}

//! Backups.
mod catalog;
pub mod config;
mod error;
mod glob;
mod lock;
mod progress;
pub mod repository;
pub mod restic;
mod restore;
pub mod retention;
mod run;
pub mod source;
mod status;
mod swap;
mod verify;
mod writer;

pub use catalog::{Outcome, RunRecord, VerifyRecord};
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use progress::{Progress, Quiet};
pub use repository::{Depth, Finding, Item, ItemKind, Snapshot};
pub use restore::{RestorePlan, RestoreReport, RestoreRequest, Target};
pub use run::{Backups, Listing, Located, RepositoryRun, RunReport, Selector};
pub use source::{Issue, Weight};
pub use status::{BackupStatus, RepositoryStatus};
pub use swap::Move;
pub use verify::{Proof, RepositoryVerify, VerifyReport};

//! Backups: what is to be kept, where it is kept, and how it comes back.
//!
//! This crate hides the format of repositories, the ways to take a consistent copy of something that
//! is in use, the bookkeeping of runs, which snapshots stay, and the order of steps that makes a
//! restore safe. Its words: a *source* is what is backed up, a *repository* where it goes, a *snapshot*
//! one point in time of a source in a repository.
//!
//! [`Backups`] is the engine: [`init`](Backups::init), [`run`](Backups::run), [`list`](Backups::list),
//! [`show`](Backups::show), [`plan_restore`](Backups::plan_restore), [`restore`](Backups::restore),
//! [`verify`](Backups::verify), [`prune`](Backups::prune), [`status`](Backups::status). Behind it two
//! traits: a [`source::Source`] is read as entries of a tree, each file a stream that needs no file on
//! disk behind it; a [`repository::Repository`] takes and gives them. [`restic`] is the one
//! implementation: the repositories are those of stock restic, and can be read without mainstay.
//!
//! What holds whatever happens:
//!
//! * A run that fails, is cancelled or is killed writes no snapshot, removes none, and breaks none.
//! * A snapshot in which something is missing says so, is never preferred to a complete one, and never
//!   pushes one out.
//! * Nothing is removed but by the `keep` rules, after a complete run or by [`expire`](Backups::expire),
//!   among the snapshots of the same backup and host; the newest complete one stays in any case, and so
//!   do the newest that were verified and those that are pinned. Nothing is removed from a repository
//!   in which the last verification found damage.
//! * A restore writes beside the target, checks, and then swaps by renames that can be taken back. What
//!   was there is kept under another name; removing it is left to a person.
//! * Repositories and state are 0700, files in them 0600; nothing is written anywhere else.
//!
//! The engine blocks, starts no runtime, prints nothing, and reads neither arguments nor environment.
//! (The library beneath looks at `TZ` to write offsets of times; the times themselves are not changed by
//! it.) Progress and cancellation go through [`Progress`]. An example, from nothing to a restored file:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//! use mainstay_backup::{Backups, Config, Outcome, Progress, Quiet, RestoreRequest, Selector, Target};
//! use mainstay_base::{Resolver, Secrets, SystemClock, config::Document};
//!
//! let scratch = tempfile::tempdir()?;
//! std::fs::create_dir(scratch.path().join("uploads"))?;
//! std::fs::write(scratch.path().join("uploads/photo"), "a photo")?;
//! let text = r#"
//!     [repository.local]
//!     path = "repository"
//!     password = "${env.PASSWORD}"
//!     [backup.uploads]
//!     files = { path = "uploads", exclude = ["*.tmp"] }
//!     keep = { daily = 7, weekly = 4 }
//!     to = ["local"]
//! "#;
//! // Relative paths start where the config file is.
//! let document = Document::parse(scratch.path().join("mainstay.toml"), text)?;
//! let config = Config::read(&mut document.root(), "shop1", &jiff::tz::TimeZone::UTC);
//! assert!(!document.take_diagnostics().has_errors());
//! let environment = BTreeMap::from([("PASSWORD".to_owned(), "correct horse".to_owned())]);
//! let resolver = Resolver::new(Secrets::default(), environment);
//! let state = scratch.path().join("state");
//! let backups = Backups::new(config, state, resolver, Arc::new(SystemClock::new()))?;
//! let progress: Arc<dyn Progress> = Arc::new(Quiet);
//!
//! backups.init("local", &progress)?;
//! assert_eq!(backups.run("uploads", &progress)?.outcome, Outcome::Ok);
//! assert!(backups.status()?[0].is_well());
//!
//! std::fs::write(scratch.path().join("uploads/photo"), "spoiled")?;
//! let plan = backups.plan_restore(
//!     &RestoreRequest {
//!         backup: "uploads".to_owned(),
//!         snapshot: Selector::Latest,
//!         repository: None,
//!         target: Target::InPlace,
//!         only: Vec::new(),
//!     },
//!     &progress,
//! )?;
//! assert!(plan.to_string().contains("writes  1 file"));
//! let report = backups.restore(&plan, &progress)?;
//! assert_eq!(std::fs::read_to_string(report.target.join("photo"))?, "a photo");
//! assert_eq!(std::fs::read_to_string(report.set_aside[0].to.join("photo"))?, "spoiled");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalog;
pub mod classic;
pub mod config;
mod copies;
pub mod drill;
mod error;
mod glob;
mod lock;
mod preflight;
mod program;
mod progress;
pub mod repository;
pub mod restic;
mod restore;
pub mod retention;
mod run;
pub mod source;
mod status;
mod swap;
mod upkeep;
mod verify;
mod writer;

pub use catalog::{DrillRecord, Outcome, RunRecord, VerifyRecord};
pub use config::Config;
pub use copies::CopyReport;
pub use error::{Error, ErrorKind};
pub use glob::Excludes;
pub use preflight::{Check, Grade, Preflight};
pub use progress::{Progress, Quiet};
pub use repository::{Depth, Finding, Item, ItemKind, Snapshot};
pub use restore::mysql::{Pick, PlannedDatabase, ServerPlan, ServerReport, ServerRequest};
pub use restore::{RestorePlan, RestoreReport, RestoreRequest, Target};
pub use run::{Backups, Listing, Located, RepositoryRun, RunReport, Selector};
pub use source::{Issue, Weight};
pub use status::{BackupStatus, RepositoryStatus, Shrunken};
pub use swap::Move;
pub use upkeep::Expiry;
pub use verify::{Proof, RepositoryVerify, VerifyReport};

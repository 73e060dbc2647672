//! A journal of units of work: steps outside of the database, each with its undo, that are all done
//! or all undone, also after a crash.
//!
//! ```
//! use mainstay_journal::{FileStore, Journal};
//! use serde_json::json;
//!
//! # async fn crm(_: &str, _: &str) -> Result<i64, std::io::Error> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("journal");
//! let journal = Journal::with(FileStore::open(path)?)
//!     .undo("crm.create", |step| async move {
//!         crm("delete, if it is there", &step.key()).await?;
//!         Ok(())
//!     })
//!     .start() // resumes what a crash left behind
//!     .await?;
//!
//! let mut work = journal.work("feedback");
//! let customer = work
//!     .step("crm.create", json!({ "form": 12 }))
//!     .run(|act| async move { Ok(crm("create", act.key()).await?) })
//!     .await?;
//! work.commit().await?; // else, and when it is dropped, the step is undone
//! # assert_eq!(customer, 7);
//! # journal.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! What it promises:
//!
//! - **Intent before act.** What a step is going to do, with all that its undo has to know, is durable
//!   before it is done. An act ends as done, refused or unknown; what is unknown is undone too, after
//!   its [probe](Builder::probe) if it has one. So an undo must be content with nothing to undo.
//! - **All or nothing.** A unit is committed, alone or [inside the caller's own
//!   transaction](Unit::commit_in), or its steps are undone, last first. Actions after the commit are
//!   part of it, and happen at least once.
//! - **Nothing is forgotten.** What fails is tried again with growing waits; what fails too often is
//!   stuck, which is told ([`Builder::on_stuck`]) and waits for a person ([`Operator`]).
//! - **Any number of processes.** Each holds its units by a lease that it renews; when it dies,
//!   another one goes on. Every write carries the version it changes, so that one that was only asleep
//!   cannot write any more; if its act came after the undo, it is undone once more.
//! - **Once for each key.** [`Journal::reserve`] keeps the answers to requests that come twice.
//!
//! What decides is in [`machine`], which knows no clock and no store; what stores is behind
//! [`Store`]. The crate starts no runtime: [`Builder::start`] spawns onto the caller's.

mod args;
mod drive;
mod error;
mod file;
mod held;
mod idempotency;
mod journal;
pub mod machine;
mod operator;
mod registry;
mod settings;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
pub mod store;
mod table;
mod work;

pub use args::{Args, secret};
pub use drive::Ended;
pub use error::{BoxError, Error, ErrorKind, Failure};
pub use file::FileStore;
pub use idempotency::{Fingerprint, Reservation, Reserved};
pub use journal::{Builder, Journal};
pub use machine::{Backoff, Finding};
pub use operator::{Item, Listed, Operator, State, Stuck};
pub use registry::Call;
pub use settings::Settings;
#[cfg(feature = "mysql")]
pub use sql::{MYSQL_SCHEMA, MySqlStore};
#[cfg(feature = "postgres")]
pub use sql::{POSTGRES_SCHEMA, PgStore};
#[cfg(feature = "sqlite")]
pub use sql::{SQLITE_SCHEMA, SqliteStore};
pub use store::{Outbox, Store};
pub use table::MemoryStore;
pub use work::{Act, Sealed, StepRun, Unit};

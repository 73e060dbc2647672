//! A layer around the handlers of a web app: a request that goes wrong is answered, told and undone,
//! and never takes the app down.
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Form, Router, response::Redirect, routing::post};
//! use mainstay_journal::{Journal, SqliteStore};
//! use mainstay_web::{Failed, Guard, Work};
//! use serde_json::json;
//! use sqlx::Sqlite;
//!
//! # struct Crm;
//! # impl Crm {
//! #     async fn create(_: &str, _: &str) -> Result<i64, std::io::Error> { Ok(7) }
//! #     async fn delete(_: &str) -> Result<(), std::io::Error> { Ok(()) }
//! # }
//! # let directory = tempfile::tempdir()?;
//! # let options = sqlx::sqlite::SqliteConnectOptions::new()
//! #     .filename(directory.path().join("app.db"))
//! #     .create_if_missing(true);
//! # let pool = sqlx::SqlitePool::connect_with(options.clone()).await?;
//! # let journal_pool = sqlx::SqlitePool::connect_with(options).await?;
//! # sqlx::query("CREATE TABLE feedback (customer INTEGER, text TEXT)").execute(&pool).await?;
//! let guard = Guard::builder()
//!     .pages("tmpl") // 404.html, error.html, 5xx.zh-Hant.html; else those that are built in
//!     .deadline(std::time::Duration::from_secs(15))
//!     .shed(512)
//!     .on_fault(|notice| eprintln!("{} times: {}", notice.count, notice.fault))
//!     .database(pool)
//!     .journal(
//!         Journal::with(SqliteStore::open(journal_pool).await?)
//!             .undo("crm.create", |step| async move { Ok(Crm::delete(&step.key()).await?) })
//!             .action("mail.thanks", |_| async { Ok(()) }),
//!     )
//!     .start()
//!     .await?;
//! let app: Router = Router::new().route("/form", post(submit)).layer(guard.layer());
//!
//! #[derive(serde::Deserialize)]
//! struct Feedback {
//!     mail: String,
//!     text: String,
//! }
//!
//! async fn submit(mut work: Work<Sqlite>, Form(form): Form<Feedback>) -> Result<Redirect, Failed> {
//!     let customer = work
//!         .step("crm.create", json!({ "mail": form.mail })) // the intent is stored first
//!         .run(|act| {
//!             let mail = form.mail.clone();
//!             async move { Ok(Crm::create(&mail, act.key()).await?) }
//!         })
//!         .await?; // undone, if anything below fails, or the process dies
//!     sqlx::query("INSERT INTO feedback VALUES (?, ?)")
//!         .bind(customer)
//!         .bind(&form.text)
//!         .execute(&mut *work.tx().await?)
//!         .await?;
//!     work.after_commit("mail.thanks", json!({ "to": form.mail }))?;
//!     Ok(Redirect::to("/thanks")) // committed before the first byte leaves
//! }
//! # drop(app);
//! # guard.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "axum"))]
//! # fn main() {}
//! ```
//!
//! What it promises:
//!
//! - **There is always an answer**, in the form and the language that the client reads, with a code
//!   that is in the log too: for errors of handlers ([`Failed`]), panics, deadlines, extractors that
//!   refuse, pages that are not there. The status is never changed. A body that the app has designed
//!   is left alone; what is replaced is an empty one, and a short plain text for clients that read
//!   HTML or JSON ([`Deliberate`] keeps it).
//! - **All of a request holds, or none** ([`Work`]): its transaction, its steps at third parties and
//!   the actions after it are committed before the first byte of a good answer (below 400) leaves, and
//!   rolled back and undone otherwise, also after a crash ([`Outcome`] says otherwise). If the commit
//!   fails, so does the request. One layer does both, so there is no order to get wrong.
//! - **A client that leaves** cuts off nothing that changes something ([`Detach`]).
//! - **A panic costs little**: its backtrace is captured once a minute for each place, and given names
//!   in another thread. Bodies and [spawned tasks](Work::spawn) are watched as well.
//! - **People are told** ([`Notice`]) of what is for them, once a minute for each kind with its number,
//!   and never of pages that are not there. Nothing of that makes a request wait.
//! - **A flood is turned away** with `Retry-After`, and a shutdown lets what runs come to its end. So
//!   are connections for which the process has no descriptors left ([`Listener`]), and what changes
//!   something while the disk is nearly full ([`Builder::disk`]).
//!
//! It works with every service that takes `http::Request` and gives `http::Response`: axum's routers,
//! hyper's services, tonic's. It starts no runtime. docs/web.md is the guide.

#[cfg(feature = "alert")]
mod alerting;
mod body;
#[cfg(feature = "daemon")]
mod courier;
mod disk;
mod error;
mod failed;
mod future;
mod gate;
mod guard;
mod judge;
mod layer;
mod listener;
#[cfg(all(feature = "daemon", feature = "journal"))]
mod orders;
mod page;
mod panics;
#[cfg(feature = "daemon")]
mod post;
#[cfg(feature = "journal")]
mod replay;
mod report;
mod request_id;
mod scope;
mod serve;
#[cfg(feature = "journal")]
mod settle;
#[cfg(feature = "journal")]
mod stake;
#[cfg(feature = "journal")]
mod step;
mod storm;
mod tally;
#[cfg(feature = "database")]
mod transaction;
mod work;

pub use body::{RequestBody, ResponseBody};
pub use error::{BoxError, Error, ErrorKind};
pub use failed::Failed;
pub use future::ResponseFuture;
pub use guard::{Builder, Guard};
pub use judge::{Deliberate, Outcome};
pub use layer::{Detach, GuardLayer, GuardService};
pub use listener::{Listener, Socket};
#[cfg(feature = "daemon")]
pub use mainstay_control::REPORT_VARIABLE;
pub use report::Notice;
#[cfg(feature = "journal")]
pub use step::Step;
#[cfg(feature = "database")]
pub use transaction::{Database, Tx};
pub use work::Work;

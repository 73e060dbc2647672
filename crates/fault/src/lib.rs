//! One value for "something went wrong", and what follows from it.
//!
//! ```
//! use http::{HeaderMap, Method};
//! use mainstay_fault::{Asked, Class, Fault, PageSet, answer};
//!
//! // An error, whatever it is wrapped in, has a class; the class says what follows.
//! let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
//! let fault = Fault::from_error(&error).with("request", "POST /form?token=hunter2");
//! assert_eq!(fault.class(), Class::DiskFull);
//! assert!(!format!("{fault:?}").contains("hunter2"), "secrets never get in");
//!
//! // The visitor gets a page in a language that they read, with the code that is in the log.
//! let mut headers = HeaderMap::new();
//! headers.insert("accept", "text/html".parse()?);
//! headers.insert("accept-language", "zh-TW, en;q=0.5".parse()?);
//! let asked = Asked::of(&Method::POST, &headers);
//! let response = answer(&asked, &fault, &PageSet::built_in()).response;
//! assert_eq!(response.status(), 503);
//! assert_eq!(response.headers()["retry-after"], "60");
//! assert_eq!(response.headers()["content-language"], "zh-Hant");
//! assert!(String::from_utf8(response.into_body())?.contains(&fault.id().to_string()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate hides:
//!
//! - **The taxonomy** ([`Class`], [`Rule`]): which kinds of fault there are; status, severity, retry and
//!   whether a person is told. docs/errors.md is its table.
//! - **What the errors of libraries mean** ([`Verdict::from_error`]): by type, down the chain of
//!   causes. `io`, `serde_json` and our own are always known; `hyper`, `reqwest`, `sqlx` (with `mysql`
//!   for the numbers of `MySQL`), `tokio` and `tower` by features of these names. Errors of an app say it
//!   themselves ([`Classify`]).
//! - **Secrets**: they are struck out of whatever comes in, so that no way of showing a [`Fault`] shows
//!   one. All texts are bounded.
//! - **Pages** ([`PageSet`], [`Pages`]): templates of the app, read again when they change, with the last
//!   good one kept; built-in ones in English, Traditional and Simplified Chinese.
//! - **Negotiation** ([`Asked`], [`answer()`]): HTML, RFC 9457, text or gRPC, and the language. It is a
//!   function of its arguments, so that a layer, a proxy and a daemon answer alike. It cannot fail.
//! - **Tracebacks of seven languages** ([`Recogniser`]) in what programs print.
//! - **What is known of faults over restarts** (`ledger`, by the feature of that name): how many of each
//!   kind there were, since when, the last ones whole.
//!
//! What it keeps away from: it starts no thread and no runtime, opens no file but the pages, and asks a
//! [`Clock`](mainstay_base::Clock) when to look at those again. Which lines of output belong together
//! is not its business: it is given the text of one record.

mod accept;
mod answer;
mod catalog;
mod class;
mod classify;
mod fault;
mod id;
#[cfg(feature = "ledger")]
pub mod ledger;
mod page_set;
mod pages;
mod recognise;
mod redact;
mod verdict;
mod words;

pub use accept::{Asked, Form};
pub use answer::{Answer, answer};
pub use class::{Class, Notify, Retry, Rule, Severity, UnknownClass};
pub use fault::{Fault, Frame};
pub use id::{Id, UnknownId};
pub use page_set::{PageSet, Trouble};
pub use pages::Pages;
pub use recognise::{Language, Raised, Recogniser, Traceback};
pub use redact::redact;
pub use verdict::{Classify, Verdict};

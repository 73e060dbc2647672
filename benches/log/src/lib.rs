//! `mainstay-log` measured beside other loggers of the same language, on the same work, in one run.
//!
//! A *contestant* is a logger in one set-up, see [`contestants`]. A *job* is one measurement of one
//! contestant, and runs in a process of its own ([`child`], [`measure`]), because most loggers can be
//! installed once in a process only. The [`runner`] starts these processes, contestants in turn,
//! several rounds of all, and reads back what each has written ([`check`]): a logger that is fast
//! because it loses records is seen. The [`report`] has the medians.

pub mod check;
pub mod child;
pub mod contestants;
pub mod job;
pub mod machine;
pub mod measure;
pub mod report;
pub mod runner;

/// Why a measurement could not be made; shown to the person who runs it.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

//! What the errors of libraries are. Each library has a module; what it can't tell is asked of the
//! error's cause.

#[cfg(feature = "hyper")]
mod hyper;
mod io;
#[cfg(feature = "reqwest")]
mod reqwest;
mod sql;
#[cfg(feature = "sqlx")]
mod sqlx;
#[cfg(feature = "tokio")]
mod tokio;
#[cfg(feature = "tower")]
mod tower;

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;

use crate::class::Class;
use crate::verdict::{Classify, Verdict};

/// How many causes are gone through: chains are short, unless they are a circle.
const DEPTH: usize = 32;

/// An error and its causes, the outermost first.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |link| cause(*link)).take(DEPTH)
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // What was put into an `io::Error` is not its source: the source of that is.
    if let Some(inner) = find::<std::io::Error>(error).and_then(std::io::Error::get_ref) {
        return Some(inner);
    }
    error.source()
}

/// This very error as one of the type, also where it is shared.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let shared = || error.downcast_ref::<Arc<T>>().map(|shared| &**shared);
    error.downcast_ref::<T>().or_else(shared)
}

/// What this error is by its type alone.
pub(crate) fn known(error: &(dyn Error + 'static)) -> Option<Verdict> {
    if let Some(error) = find::<std::io::Error>(error) {
        return io::verdict(error);
    }
    if let Some(error) = find::<serde_json::Error>(error) {
        // A fault of reading is that of the file or the peer.
        return match error.io_error_kind() {
            Some(kind) => io::verdict(&kind.into()),
            None => Some(Verdict::new(Class::Data)),
        };
    }
    let config =
        error.is::<mainstay_base::Diagnostics>() || error.is::<mainstay_base::SecretError>();
    if config {
        return Some(Verdict::new(Class::Config));
    }
    libraries(error)
}

fn libraries(error: &(dyn Error + 'static)) -> Option<Verdict> {
    #[cfg(feature = "reqwest")]
    if let Some(error) = find::<::reqwest::Error>(error) {
        return Some(reqwest::verdict(error));
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = find::<hyper_util::client::legacy::Error>(error) {
        return Some(hyper::of_client(error));
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = find::<::hyper::Error>(error) {
        return hyper::verdict(error);
    }
    #[cfg(feature = "sqlx")]
    if let Some(error) = find::<::sqlx::Error>(error) {
        return Some(sqlx::verdict(error));
    }
    #[cfg(feature = "tower")]
    if let Some(verdict) = tower::verdict(error) {
        return Some(verdict);
    }
    #[cfg(feature = "tokio")]
    if let Some(verdict) = tokio::verdict(error) {
        return Some(verdict);
    }
    let _ = error;
    None
}

/// Whether the wait for somebody else was too long, anywhere below an error.
#[cfg(any(feature = "hyper", feature = "reqwest"))]
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|link| {
        #[cfg(feature = "tower")]
        if link.is::<::tower::timeout::error::Elapsed>() {
            return true;
        }
        #[cfg(feature = "tokio")]
        if link.is::<::tokio::time::error::Elapsed>() {
            return true;
        }
        find::<std::io::Error>(link)
            .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}

/// A full disk, no descriptors: what goes before what a library says of it.
#[cfg(any(feature = "hyper", feature = "reqwest", feature = "sqlx"))]
fn exhausted(error: &(dyn Error + 'static)) -> Option<Verdict> {
    chain(error)
        .filter_map(find::<std::io::Error>)
        .filter_map(io::verdict)
        .find(|verdict| matches!(verdict.class, Class::DiskFull | Class::Resources))
}

macro_rules! classify_by_type {
    ($($(#[$meta:meta])* $type:ty),* $(,)?) => {
        $($(#[$meta])* impl Classify for $type {
            fn classify(&self) -> Verdict {
                Verdict::from_error(self)
            }
        })*
    };
}

classify_by_type!(
    std::io::Error,
    serde_json::Error,
    mainstay_base::Diagnostics,
    #[cfg(feature = "hyper")]
    ::hyper::Error,
    #[cfg(feature = "hyper")]
    hyper_util::client::legacy::Error,
    #[cfg(feature = "reqwest")]
    ::reqwest::Error,
    #[cfg(feature = "sqlx")]
    ::sqlx::Error,
    #[cfg(feature = "tower")]
    ::tower::timeout::error::Elapsed,
    #[cfg(feature = "tower")]
    ::tower::load_shed::error::Overloaded,
    #[cfg(feature = "tokio")]
    ::tokio::time::error::Elapsed,
    #[cfg(feature = "tokio")]
    ::tokio::task::JoinError,
);

//! Errors of tokio: a deadline, a task that did not end well.

use std::error::Error;

use super::find;
use crate::class::Class;
use crate::verdict::Verdict;

pub(super) fn verdict(error: &(dyn Error + 'static)) -> Option<Verdict> {
    if find::<tokio::time::error::Elapsed>(error).is_some() {
        return Some(Verdict::new(Class::Timeout));
    }
    let ended = find::<tokio::task::JoinError>(error)?;
    // One that was cancelled was cancelled by the app.
    Some(Verdict::new(if ended.is_panic() {
        Class::Panic
    } else {
        Class::Internal
    }))
}

//! Errors of reqwest: always on the way to a third party.

use super::{exhausted, is_timeout};
use crate::class::Class;
use crate::verdict::Verdict;

pub(super) fn verdict(error: &reqwest::Error) -> Verdict {
    if let Some(verdict) = exhausted(error) {
        return verdict;
    }
    Verdict::new(if error.is_builder() {
        // A request that was never sent: the app has made it wrong.
        Class::Internal
    } else if error.is_timeout() || is_timeout(error) {
        Class::UpstreamTimeout
    } else if error.is_connect() {
        Class::UpstreamConnect
    } else {
        Class::UpstreamResponse
    })
}

//! Errors of hyper, and of the client in hyper-util.

use http::StatusCode;

use super::{exhausted, is_timeout};
use crate::class::Class;
use crate::verdict::Verdict;

/// A bare error of hyper is that of a server: those of clients come inside the errors of clients.
pub(super) fn verdict(error: &hyper::Error) -> Option<Verdict> {
    if let Some(verdict) = exhausted(error) {
        return Some(verdict);
    }
    let gone = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || error.is_body_write_aborted();
    Some(if error.is_timeout() {
        Verdict::from_status(StatusCode::REQUEST_TIMEOUT)
    } else if error.is_parse_too_large() {
        Verdict::from_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else if error.is_parse() {
        Verdict::from_status(StatusCode::BAD_REQUEST)
    } else if gone || reset(error) {
        Verdict::new(Class::ClientGone)
    } else {
        // A body of the app's own that failed, and the like: its cause knows more.
        return None;
    })
}

/// Whether the other side closed the connection.
fn reset(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    !error.is_user()
        && super::chain(error)
            .filter_map(super::find::<std::io::Error>)
            .any(|error| {
                matches!(
                    error.kind(),
                    BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
                )
            })
}

/// What went wrong on the way to a third party.
pub(super) fn of_client(error: &hyper_util::client::legacy::Error) -> Verdict {
    if let Some(verdict) = exhausted(error) {
        return verdict;
    }
    Verdict::new(if is_timeout(error) {
        Class::UpstreamTimeout
    } else if error.is_connect() {
        Class::UpstreamConnect
    } else {
        Class::UpstreamResponse
    })
}

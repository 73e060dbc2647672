//! What an answer of a handler is: good, an error that the app has designed, or one that still needs
//! a page. Pure.

use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use mainstay_fault::{Class, Fault, Form, Verdict};

use crate::scope::Facts;

/// A text that is at most so long may be what a framework says of a request that it refused.
pub(crate) const TEXT_BYTES: u64 = 4096;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Put into the extensions of an answer, it says that its body is meant as it is, however it looks.
///
/// ```
/// use mainstay_web::Deliberate;
/// let mut response = http::Response::new("name is taken");
/// *response.status_mut() = http::StatusCode::CONFLICT;
/// response.extensions_mut().insert(Deliberate);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliberate;

/// Put into the extensions of an answer, it says what becomes of the request's work, whatever the
/// status is: a login that failed, and is counted, is an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Commit,
    /// It is rolled back and undone.
    Rollback,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// No error.
    Good,
    /// An error whose body the app has designed.
    Designed,
    /// An error with a short text, which may be for the visitor.
    Text,
    /// An error without a body.
    Bare,
    /// A status of gRPC that is an error.
    Grpc(u16),
}

impl Sort {
    /// Of an answer whose body has at most so many bytes, if that is known. Only who asked by gRPC is
    /// answered by it.
    pub(crate) fn of(parts: &Parts, length: Option<u64>, is_grpc: bool) -> Self {
        if is_grpc && let Some(code) = grpc_error(&parts.headers) {
            return Self::Grpc(code);
        }
        let status = parts.status;
        if !status.is_client_error() && !status.is_server_error() {
            return Self::Good;
        }
        if parts.extensions.get::<Deliberate>().is_some() {
            return Self::Designed;
        }
        let Some(kind) = parts.headers.get(CONTENT_TYPE) else {
            return if length == Some(0) {
                Self::Bare
            } else {
                Self::Designed
            };
        };
        let is_plain = kind
            .to_str()
            .ok()
            .and_then(|kind| kind.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain"));
        match length {
            Some(0) if is_plain => Self::Bare,
            Some(length) if is_plain && length <= TEXT_BYTES => Self::Text,
            _ => Self::Designed,
        }
    }

    /// Whether the client would get another form of answer than it can read.
    pub(crate) fn needs_page(self, form: Form) -> bool {
        match self {
            Self::Bare => true,
            // A short text is what these clients read.
            Self::Text => form != Form::Plain,
            Self::Good | Self::Designed | Self::Grpc(_) => false,
        }
    }
}

/// What becomes of the work of a request, if the answer does not say.
pub(crate) fn outcome(sort: Sort, parts: &Parts) -> Outcome {
    if let Some(outcome) = parts.extensions.get::<Outcome>() {
        return *outcome;
    }
    match sort {
        Sort::Good => Outcome::Commit,
        _ => Outcome::Rollback,
    }
}

/// The status of gRPC in headers or trailers, if it is an error.
pub(crate) fn grpc_error(headers: &HeaderMap) -> Option<u16> {
    let code = headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?;
    (code != 0).then_some(code)
}

/// What an error of gRPC is (`google/rpc/code.proto`).
fn of_grpc(code: u16) -> Verdict {
    let status = match code {
        1 => return Verdict::new(Class::ClientGone),
        4 => return Verdict::new(Class::Timeout),
        3 | 11 => StatusCode::BAD_REQUEST,
        5 => StatusCode::NOT_FOUND,
        6 | 9 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::METHOD_NOT_ALLOWED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Verdict::from_status(status)
}

/// A fault for an error of gRPC.
pub(crate) fn grpc_fault(facts: &Facts, code: u16) -> Fault {
    let text = format!("{} answered grpc-status {code}", facts.name());
    Fault::told(of_grpc(code), &text).at(facts.place())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn parts(status: u16, kind: Option<&str>, grpc: Option<&str>) -> Parts {
        let mut response = Response::builder().status(status);
        if let Some(kind) = kind {
            response = response.header(CONTENT_TYPE, kind);
        }
        if let Some(grpc) = grpc {
            response = response.header(GRPC_STATUS, grpc);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn answers() {
        let text = Some("text/plain; charset=utf-8");
        for (name, status, kind, grpc, length, expected) in [
            ("a page", 200, Some("text/html"), None, None, Sort::Good),
            ("nothing", 204, None, None, Some(0), Sort::Good),
            ("a way on", 303, None, None, Some(0), Sort::Good),
            ("unchanged", 304, None, None, Some(0), Sort::Good),
            ("no such page", 404, None, None, Some(0), Sort::Bare),
            (
                "refused by an extractor",
                422,
                text,
                None,
                Some(80),
                Sort::Text,
            ),
            (
                "a text with nothing in it",
                400,
                text,
                None,
                Some(0),
                Sort::Bare,
            ),
            (
                "a long text",
                400,
                text,
                None,
                Some(1 << 20),
                Sort::Designed,
            ),
            ("a stream of text", 500, text, None, None, Sort::Designed),
            (
                "a page of the app's",
                404,
                Some("text/html"),
                None,
                Some(80),
                Sort::Designed,
            ),
            (
                "the app's JSON",
                409,
                Some("application/json"),
                None,
                Some(9),
                Sort::Designed,
            ),
            ("bytes of no kind", 500, None, None, Some(9), Sort::Designed),
            (
                "a page for HEAD",
                404,
                Some("text/html"),
                None,
                Some(0),
                Sort::Designed,
            ),
            (
                "gRPC",
                200,
                Some("application/grpc"),
                Some("0"),
                None,
                Sort::Good,
            ),
            (
                "gRPC's error",
                200,
                Some("application/grpc"),
                Some("5"),
                Some(0),
                Sort::Grpc(5),
            ),
        ] {
            assert_eq!(
                Sort::of(&parts(status, kind, grpc), length, grpc.is_some()),
                expected,
                "{name}"
            );
        }
        let other = parts(200, None, Some("5"));
        assert_eq!(Sort::of(&other, Some(0), false), Sort::Good);
        let mut meant = parts(400, text, None);
        meant.extensions.insert(Deliberate);
        assert_eq!(Sort::of(&meant, Some(5), false), Sort::Designed);
    }

    #[test]
    fn work_holds_if_the_answer_is_good_or_says_so() {
        for (status, said, expected) in [
            (200, None, Outcome::Commit),
            (303, None, Outcome::Commit),
            (404, None, Outcome::Rollback),
            (500, None, Outcome::Rollback),
            (401, Some(Outcome::Commit), Outcome::Commit),
            (200, Some(Outcome::Rollback), Outcome::Rollback),
        ] {
            let mut parts = parts(status, None, None);
            if let Some(said) = said {
                parts.extensions.insert(said);
            }
            let sort = Sort::of(&parts, Some(0), false);
            assert_eq!(outcome(sort, &parts), expected, "{status} {said:?}");
        }
    }

    #[test]
    fn statuses_of_grpc() {
        for (code, status, class) in [
            (1, 499, Class::ClientGone),
            (2, 500, Class::Internal),
            (4, 503, Class::Timeout),
            (5, 404, Class::Request),
            (13, 500, Class::Internal),
            (14, 503, Class::Overload),
            (99, 500, Class::Internal),
        ] {
            let verdict = of_grpc(code);
            assert_eq!(
                (verdict.status().as_u16(), verdict.class()),
                (status, class),
                "{code}"
            );
        }
    }
}

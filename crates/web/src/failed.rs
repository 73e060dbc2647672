//! A handler's answer when it fails.

use std::error::Error as StdError;
use std::fmt;

use http::{Response, StatusCode};
use mainstay_fault::{Class, Classify, Fault, Verdict};

use crate::error::{Error, ErrorKind};

/// What a handler returns when it fails: any error, by `?`. The layer makes the page of it.
///
/// ```
/// use mainstay_web::Failed;
/// async fn order() -> Result<String, Failed> {
///     Ok(std::fs::read_to_string("/no/such/order")?) // 500, class file.missing
/// }
/// ```
///
/// An error of the app that says itself what it is becomes one with [`Failed::new`]; one without a
/// type, as those of anyhow are, with [`Failed::because`].
pub struct Failed(Box<Fault>);

impl Failed {
    /// From an error of the app, which says itself what it is.
    #[track_caller]
    pub fn new<E: StdError + Classify + 'static>(error: &E) -> Self {
        Self::of(Fault::new(error))
    }

    /// From any error: what it is follows from its type and that of its causes.
    #[track_caller]
    pub fn because(error: &(dyn StdError + 'static)) -> Self {
        Self::of(Fault::from_verdict(verdict(error), error))
    }

    /// Without an error: from what is thought of it, and a sentence for those who look after the app.
    #[track_caller]
    pub fn told(verdict: impl Into<Verdict>, what: &str) -> Self {
        Self::of(Fault::told(verdict, what))
    }

    /// From a fault.
    pub fn of(fault: Fault) -> Self {
        Self(Box::new(fault))
    }

    /// An answer without a body, of which the layer makes a page; without the layer it has the status
    /// alone. For frameworks other than axum.
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(*self.0);
        response
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }
}

/// What an error is. A third party that failed in a way nobody knows is one all the same.
fn verdict(error: &(dyn StdError + 'static)) -> Verdict {
    let verdict = Verdict::from_error(error);
    let of_a_step = std::iter::successors(Some(error), |error| (*error).source())
        .take(32)
        .filter_map(|error| error.downcast_ref::<Error>())
        .any(|error| matches!(error.kind(), ErrorKind::Refused | ErrorKind::Unknown));
    if of_a_step && verdict.class() == Class::Internal {
        return Verdict::new(Class::UpstreamResponse);
    }
    verdict
}

impl<E: StdError + 'static> From<E> for Failed {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::because(&error)
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        Self::into_response::<axum::body::Body>(self)
    }
}

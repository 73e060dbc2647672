//! What is thought of an error: its class, and where it departs from what the class says.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use http::StatusCode;

use crate::class::{Class, Notify, Retry, Severity};
use crate::classify;

/// Errors of an app say what they are.
///
/// ```
/// use std::fmt;
/// use mainstay_fault::{Class, Classify, Fault, Verdict};
///
/// #[derive(Debug)]
/// enum ShopError {
///     NameTaken,
///     NoSuchOrder,
///     Storage(std::io::Error),
/// }
///
/// impl Classify for ShopError {
///     fn classify(&self) -> Verdict {
///         match self {
///             Self::NameTaken => Verdict::conflict("This name is taken. Please choose another one."),
///             Self::NoSuchOrder => Verdict::not_found(),
///             Self::Storage(error) => error.classify(),
///         }
///     }
/// }
/// # impl fmt::Display for ShopError {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("the shop failed") }
/// # }
/// # impl std::error::Error for ShopError {
/// #     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
/// #         match self { Self::Storage(error) => Some(error), _ => None }
/// #     }
/// # }
///
/// assert_eq!(Fault::new(&ShopError::NameTaken).status(), 409);
/// assert_eq!(Fault::new(&ShopError::NoSuchOrder).status(), 404);
/// let full = ShopError::Storage(std::io::ErrorKind::StorageFull.into());
/// assert_eq!(Fault::new(&full).class(), Class::DiskFull);
/// ```
pub trait Classify {
    /// What this error is.
    fn classify(&self) -> Verdict;
}

/// What is thought of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub(crate) class: Class,
    pub(crate) status: StatusCode,
    pub(crate) severity: Severity,
    pub(crate) retry: Retry,
    pub(crate) notify: Notify,
    pub(crate) public: Option<Cow<'static, str>>,
}

impl Verdict {
    /// What the class says.
    pub const fn new(class: Class) -> Self {
        let rule = class.rule();
        Self {
            class,
            status: rule.status,
            severity: rule.severity,
            retry: rule.retry,
            notify: rule.notify,
            public: None,
        }
    }

    /// What is known of an error by its type and that of its causes, the outermost that is known
    /// first; [`Class::Internal`] where none is. For the errors of anyhow, eyre and boxes too:
    /// `Verdict::from_error(error.as_ref())`.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        classify::chain(error)
            .find_map(classify::known)
            .unwrap_or(Self::new(Class::Internal))
    }

    /// What an answer with this status comes from, if nothing else is known of it.
    pub fn from_status(status: StatusCode) -> Self {
        let class = match status.as_u16() {
            499 => Class::ClientGone,
            400..=498 => Class::Request,
            502 => Class::UpstreamResponse,
            503 => Class::Overload,
            504 => Class::UpstreamTimeout,
            507 => Class::DiskFull,
            _ => Class::Internal,
        };
        let verdict = Self::new(class);
        match class {
            Class::Request => verdict.with_status(status),
            // An answer that is no error is none because something is wrong in here.
            Class::Internal if status.is_server_error() => verdict.with_status(status),
            _ => verdict,
        }
    }

    /// 400: the request can't be understood. The text is for the visitor.
    pub fn bad_request(public: impl Into<Cow<'static, str>>) -> Self {
        Self::from_status(StatusCode::BAD_REQUEST).with_public(public)
    }

    /// 401: nobody knows who asks.
    pub fn unauthorized() -> Self {
        Self::from_status(StatusCode::UNAUTHORIZED)
    }

    /// 403: who asks may not.
    pub fn forbidden() -> Self {
        Self::from_status(StatusCode::FORBIDDEN)
    }

    /// 404: there is no such thing.
    pub fn not_found() -> Self {
        Self::from_status(StatusCode::NOT_FOUND)
    }

    /// 409: it contradicts what is there. The text is for the visitor.
    pub fn conflict(public: impl Into<Cow<'static, str>>) -> Self {
        Self::from_status(StatusCode::CONFLICT).with_public(public)
    }

    /// 422: it is understood, and can't be taken. The text is for the visitor.
    pub fn unprocessable(public: impl Into<Cow<'static, str>>) -> Self {
        Self::from_status(StatusCode::UNPROCESSABLE_ENTITY).with_public(public)
    }

    /// 429: too many requests; the next one after so long.
    pub fn too_many_requests(wait: Duration) -> Self {
        Self::from_status(StatusCode::TOO_MANY_REQUESTS).with_retry(Retry::After(wait))
    }

    /// 503: we can't at the moment, and may after so long.
    pub fn unavailable(wait: Duration) -> Self {
        Self::new(Class::Overload).with_retry(Retry::After(wait))
    }

    /// With another status. One that is no error (below 400) is taken as 500.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = if status.is_client_error() || status.is_server_error() {
            status
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        self
    }

    /// With another severity.
    #[must_use]
    pub const fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With another word on trying again.
    #[must_use]
    pub const fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With another word on telling a person.
    #[must_use]
    pub const fn with_notify(mut self, notify: Notify) -> Self {
        self.notify = notify;
        self
    }

    /// With a text for the visitor instead of the one that is built in, in the language of the app.
    #[must_use]
    pub fn with_public(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.public = Some(text.into());
        self
    }

    /// What kind of fault it is.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Class> for Verdict {
    fn from(class: Class) -> Self {
        Self::new(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (status, class, answered) in [
            (400, Class::Request, 400),
            (404, Class::Request, 404),
            (429, Class::Request, 429),
            (499, Class::ClientGone, 499),
            (500, Class::Internal, 500),
            (501, Class::Internal, 501),
            (502, Class::UpstreamResponse, 502),
            (503, Class::Overload, 503),
            (504, Class::UpstreamTimeout, 504),
            (507, Class::DiskFull, 503),
            (599, Class::Internal, 599),
            (200, Class::Internal, 500),
            (302, Class::Internal, 500),
            (999, Class::Internal, 500),
        ] {
            let verdict = Verdict::from_status(StatusCode::from_u16(status).unwrap());
            assert_eq!(
                (verdict.class, verdict.status.as_u16()),
                (class, answered),
                "{status}"
            );
        }
        let odd = Verdict::not_found().with_status(StatusCode::OK);
        assert_eq!(odd.status, 500, "a page about a fault is never a success");
    }
}

//! The layer and its service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::error::BoxError;
use crate::future::ResponseFuture;
use crate::guard::Shared;
use crate::scope::Scope;
#[cfg(feature = "journal")]
use crate::serve::serve_once;
use crate::serve::{Call, serve, within};

/// Whether a request goes on when its client has left.
///
/// A server drops the future of a request whose connection is gone, wherever it stands: between the
/// customer at the third party and the row in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detach {
    /// Those that may change something go on to their end, GET and HEAD are cut off.
    #[default]
    Mutating,
    /// All go on.
    Always,
    /// All are cut off. What they did is rolled back and undone.
    Never,
}

/// What one layer is set to.
#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadline: Option<Duration>,
    detach: Detach,
}

/// The layer: around a router, after its last route, or around any service of HTTP.
#[derive(Clone)]
pub struct GuardLayer {
    set: Arc<Set>,
}

impl GuardLayer {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            set: Arc::new(Set {
                shared: Arc::clone(shared),
                deadline: shared.deadline,
                detach: Detach::default(),
            }),
        }
    }

    /// Another deadline than the guard's, for handlers that need longer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        Arc::make_mut(&mut self.set).deadline = Some(deadline);
        self
    }

    /// Which requests go on when their client has left.
    #[must_use]
    pub fn detach(mut self, detach: Detach) -> Self {
        Arc::make_mut(&mut self.set).detach = detach;
        self
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService {
            inner,
            set: Arc::clone(&self.set),
        }
    }
}

/// A service in its guard. It is always ready, and never fails.
#[derive(Clone)]
pub struct GuardService<S> {
    inner: S,
    set: Arc<Set>,
}

impl<S, B, R> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Infallible;
    type Future = ResponseFuture<R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The inner one is asked where its panic is caught.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<R> {
        let service = self.inner.clone();
        if let Some(scope) = Scope::current() {
            return ResponseFuture::new(within(scope, service, request), false);
        }
        let detach = match self.set.detach {
            Detach::Mutating => !request.method().is_safe(),
            Detach::Always => true,
            Detach::Never => false,
        };
        let call = Call::of(&self.set, &request);
        #[cfg(feature = "journal")]
        if self.set.shared.policy.is_some() {
            return ResponseFuture::new(serve_once(call, service, request), detach);
        }
        let handler = call.handler(service, request.map(RequestBody::stream));
        ResponseFuture::new(serve(call, handler), detach)
    }
}

//! Futures around those of the app: one that ends whatever they do, and one that may go on when nobody
//! waits for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::body::ResponseBody;
use crate::panics::{Seen, attempt, catch};
use crate::scope::Scope;

/// How a future of the app ended.
pub(crate) enum End<T> {
    Done(T),
    Panicked(Box<Seen>),
    /// It took longer than it may.
    Late,
}

pin_project! {
    /// Runs a future of the app in its scope, until it ends, panics, or its time is over. Then it is
    /// dropped at once, whatever its destructors do.
    ///
    /// When this is dropped before, what the scope holds is given up.
    pub(crate) struct Guarded<F> {
        #[pin]
        future: Option<TaskLocalFuture<Arc<Scope>, F>>,
        sleep: Option<Pin<Box<Sleep>>>,
        deadline: Option<Duration>,
        scope: Arc<Scope>,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                this.scope.cut();
                attempt(|| this.future.set(None));
                this.scope.abandon();
            }
        }
    }
}

impl<F: Future> Guarded<F> {
    pub(crate) fn new(scope: &Arc<Scope>, deadline: Option<Duration>, future: F) -> Self {
        Self {
            future: Some(scope.around(future)),
            sleep: None,
            deadline,
            scope: Arc::clone(scope),
        }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = End<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let end = match catch(this.scope, || future.poll(context)) {
            Ok(Poll::Ready(output)) => End::Done(output),
            Err(seen) => End::Panicked(seen),
            Ok(Poll::Pending) => {
                // Most handlers are done at their first turn, and need no timer.
                let Some(deadline) = *this.deadline else {
                    return Poll::Pending;
                };
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(deadline)));
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                this.scope.cut();
                End::Late
            }
        };
        // It is dropped in its scope, as it ran.
        attempt(|| this.future.set(None));
        Poll::Ready(end)
    }
}

pin_project! {
    /// A call of a service, once it is ready.
    ///
    /// By hand: a request is some hundred bytes, and an async function would have it twice.
    #[project = OneshotProjection]
    pub(crate) enum Oneshot<S, Q>
    where
        S: Service<Q>,
    {
        Before { service: S, request: Option<Q> },
        During { #[pin] answer: S::Future },
    }
}

impl<S: Service<Q>, Q> Oneshot<S, Q> {
    pub(crate) const fn new(service: S, request: Q) -> Self {
        Self::Before {
            service,
            request: Some(request),
        }
    }
}

impl<S: Service<Q>, Q> Future for Oneshot<S, Q> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = match self.as_mut().project() {
                OneshotProjection::During { answer } => return answer.poll(context),
                OneshotProjection::Before { service, request } => {
                    ready!(service.poll_ready(context))?;
                    let Some(request) = request.take() else {
                        // The call panicked, and whoever caught that polls again.
                        return Poll::Pending;
                    };
                    service.call(request)
                }
            };
            self.set(Self::During { answer });
        }
    }
}

/// The answer to a request, while it is made.
///
/// Of a request that changes something it goes on when the client leaves, and this with it is dropped:
/// see [`Detach`](crate::Detach).
pub struct ResponseFuture<B: 'static> {
    inner: Option<Making<B>>,
    detach: Option<Handle>,
}

type Making<B> = Pin<Box<dyn Future<Output = Response<ResponseBody<B>>> + Send>>;

impl<B: 'static> ResponseFuture<B> {
    pub(crate) fn new(
        making: impl Future<Output = Response<ResponseBody<B>>> + Send + 'static,
        detach: bool,
    ) -> Self {
        Self {
            inner: Some(Box::pin(making)),
            detach: detach.then(Handle::try_current).and_then(Result::ok),
        }
    }
}

impl<B: 'static> Future for ResponseFuture<B> {
    type Output = Result<Response<ResponseBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(making) = &mut self.inner else {
            return Poll::Pending;
        };
        making.as_mut().poll(context).map(|response| {
            self.inner = None;
            Ok(response)
        })
    }
}

impl<B: 'static> Drop for ResponseFuture<B> {
    fn drop(&mut self) {
        if let (Some(making), Some(runtime)) = (self.inner.take(), self.detach.take()) {
            log::debug!(
                target: crate::report::TARGET,
                "a client has left; its request changes something, and goes on"
            );
            runtime.spawn(async move {
                making.await;
            });
        }
    }
}

//! The bodies around those of the app and of the server.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use mainstay_fault::Fault;
use pin_project_lite::pin_project;

use crate::error::BoxError;
use crate::judge::{grpc_error, grpc_fault};
use crate::panics::{Seen, attempt, catch};
use crate::scope::Scope;

pin_project! {
    /// The body of a request: the server's, or one that was read to its end already, because it has
    /// an idempotency key.
    pub struct RequestBody<B> {
        #[pin]
        inner: Incoming<B>,
    }
}

pin_project! {
    #[project = IncomingProjection]
    enum Incoming<B> {
        Stream { #[pin] body: B },
        Read { body: Full<Bytes> },
    }
}

impl<B> RequestBody<B> {
    pub(crate) const fn stream(body: B) -> Self {
        Self {
            inner: Incoming::Stream { body },
        }
    }

    #[cfg(feature = "journal")]
    pub(crate) fn read(bytes: Bytes) -> Self {
        Self {
            inner: Incoming::Read {
                body: Full::new(bytes),
            },
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().inner.project() {
            IncomingProjection::Stream { body } => body
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            IncomingProjection::Read { body } => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Incoming::Stream { body } => body.is_end_stream(),
            Incoming::Read { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Incoming::Stream { body } => body.size_hint(),
            Incoming::Read { body } => body.size_hint(),
        }
    }
}

pin_project! {
    /// The body of an answer: the app's, watched while it is sent, or a page.
    ///
    /// If the app's body panics or fails in the middle, the connection is broken off, so that nobody
    /// takes the part for the whole, and the fault is told.
    pub struct ResponseBody<B> {
        #[pin]
        inner: Outgoing<B>,
        scope: Arc<Scope>,
    }
}

pin_project! {
    #[project = OutgoingProjection]
    enum Outgoing<B> {
        App { #[pin] body: B },
        Page { body: Full<Bytes> },
        Over,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) const fn app(body: B, scope: Arc<Scope>) -> Self {
        Self {
            inner: Outgoing::App { body },
            scope,
        }
    }

    pub(crate) fn page(bytes: impl Into<Bytes>, scope: Arc<Scope>) -> Self {
        Self {
            inner: Outgoing::Page {
                body: Full::new(bytes.into()),
            },
            scope,
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let scope = &*this.scope;
        let polled = match this.inner.as_mut().project() {
            OutgoingProjection::App { body } => {
                catch(scope, || scope.run(|| body.poll_frame(context)))
            }
            OutgoingProjection::Page { body } => {
                return Pin::new(body)
                    .poll_frame(context)
                    .map(|frame| frame.map(|frame| frame.map_err(|never| match never {})));
            }
            OutgoingProjection::Over => return Poll::Ready(None),
        };
        let seen = match polled {
            Ok(polled) => match ready!(polled) {
                Some(Err(error)) => {
                    let error: BoxError = error.into();
                    Box::new(Seen::of(
                        Fault::from_error(&*error).at(mainstay_fault::Frame::default()),
                    ))
                }
                frame => {
                    if let Some(Ok(frame)) = &frame {
                        told_of_trailers(scope, frame);
                    }
                    return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
                }
            },
            Err(seen) => seen,
        };
        // What has panicked is not asked again, and may panic once more when it goes.
        attempt(|| scope.run(|| this.inner.set(Outgoing::Over)));
        let Seen { fault, trace } = *seen;
        let fault = scope.around_fault(fault).with("while", "sending the body");
        let id = fault.id();
        scope.report(Seen { fault, trace });
        Poll::Ready(Some(Err(format!("the body ended in fault {id}").into())))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Outgoing::App { body } => body.is_end_stream(),
            Outgoing::Page { body } => body.is_end_stream(),
            Outgoing::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Outgoing::App { body } => body.size_hint(),
            Outgoing::Page { body } => body.size_hint(),
            Outgoing::Over => SizeHint::with_exact(0),
        }
    }
}

/// A call of gRPC that ends in an error after its messages: they have been sent, so it is only told.
fn told_of_trailers(scope: &Scope, frame: &Frame<Bytes>) {
    let code = frame.trailers_ref().and_then(grpc_error);
    if let (Some(code), Some(facts)) = (code, &scope.facts) {
        scope.report_around(Seen::of(grpc_fault(facts, code)));
    }
}

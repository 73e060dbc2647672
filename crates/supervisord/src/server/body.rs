//! Bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::pace::Work;
use crate::rpc::Allowance;

/// A body, and what lasts as long as it is being sent.
#[derive(Debug)]
pub(super) struct Content {
    data: Data,
    /// The request that is answered with it.
    pub(super) work: Option<Work>,
    /// What it holds of what all requests share.
    pub(super) allowance: Option<Allowance>,
}

#[derive(Debug)]
enum Data {
    Whole(Bytes),
    Stream(mpsc::Receiver<Bytes>),
}

impl Content {
    pub(super) fn whole(data: impl Into<Bytes>) -> Self {
        Self {
            data: Data::Whole(data.into()),
            work: None,
            allowance: None,
        }
    }

    pub(super) fn stream(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self {
            data: Data::Stream(pieces),
            work: None,
            allowance: None,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.data {
            Data::Whole(data) if data.is_empty() => None,
            Data::Whole(data) => Some(std::mem::take(data)),
            Data::Stream(pieces) => std::task::ready!(pieces.poll_recv(cx)),
        };
        Poll::Ready(next.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.data, Data::Whole(data) if data.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Data::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Data::Stream(_) => SizeHint::default(),
        }
    }
}

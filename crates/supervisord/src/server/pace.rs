//! How slow a connection may be.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing, between two requests.
    Idle,
    /// The client sends the head of a request.
    Head,
    /// We answer.
    Busy,
}

/// What a connection is doing and since when, known to all who deal with it.
#[derive(Debug)]
pub(super) struct Pace {
    doing: watch::Sender<(Doing, Instant)>,
    dismissed: Notify,
}

impl Pace {
    /// Of a new connection: the client has still to say something.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            doing: watch::Sender::new((Doing::Head, Instant::now())),
            dismissed: Notify::new(),
        })
    }

    fn set(&self, doing: Doing) {
        self.doing.send_replace((doing, Instant::now()));
    }

    /// Since when the connection is idle, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let (doing, since) = *self.doing.borrow();
        (doing == Doing::Idle).then_some(since)
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.doing.borrow().0 == Doing::Busy
    }

    /// Asks an idle connection to make room.
    pub(super) fn dismiss(&self) {
        self.dismissed.notify_one();
    }

    /// Ends when the connection has been asked to make room.
    pub(super) async fn dismissed(&self) {
        self.dismissed.notified().await;
    }

    /// Busy until the guard is dropped.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.set(Doing::Busy);
        Work(Arc::clone(self))
    }

    /// Ends when the client has taken longer than it may: `head` for the head of a request, `idle`
    /// to send another one.
    pub(super) async fn overdue(&self, head: Duration, idle: Duration) {
        let mut doing = self.doing.subscribe();
        loop {
            let (what, since) = *doing.borrow_and_update();
            let limit = match what {
                Doing::Idle => Some(since + idle),
                Doing::Head => Some(since + head),
                Doing::Busy => None,
            };
            let changed = doing.changed();
            // We hold the sender, so that there is always another change.
            let Some(limit) = limit else {
                let _ = changed.await;
                continue;
            };
            tokio::select! {
                _ = changed => {}
                () = sleep_until(limit) => return,
            }
        }
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct Work(Arc<Pace>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.set(Doing::Idle);
    }
}

/// A stream that notices when a request begins, and breaks when the client takes nothing of an answer
/// for too long.
pub(super) struct Paced<T> {
    stream: T,
    pace: Arc<Pace>,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Paced<T> {
    pub(super) fn new(stream: T, pace: Arc<Pace>, patience: Duration) -> Self {
        Self {
            stream,
            pace,
            patience,
            stalled: None,
        }
    }

    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.pace.idle_since().is_some() {
            self.pace.set(Doing::Head);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, data);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

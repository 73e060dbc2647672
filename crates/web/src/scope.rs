//! What one request, or one task, has while it runs; found from wherever its code is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use mainstay_fault::{Asked, Fault, Frame};
use tokio::task::futures::TaskLocalFuture;

use crate::guard::Shared;
use crate::panics::Seen;
use crate::request_id::{Ids, RequestId};
#[cfg(feature = "journal")]
use crate::stake::Stake;

tokio::task_local! {
    static CURRENT: Arc<Scope>;
}

/// The headers that say which answer a client can read.
pub(crate) const TELLING: [HeaderName; 4] = [
    ACCEPT,
    ACCEPT_LANGUAGE,
    CONTENT_TYPE,
    HeaderName::from_static("sec-fetch-dest"),
];

/// What is kept of a request that was given away. All of it is shared with the request, not copied.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) id: RequestId,
    telling: Vec<(HeaderName, HeaderValue)>,
}

impl Facts {
    fn of<B>(request: &Request<B>) -> Self {
        let mut telling = Vec::new();
        let mut ids = Ids::default();
        // Once through all of them costs less than looking up each of six.
        for (name, value) in request.headers() {
            if TELLING.contains(name) {
                telling.push((name.clone(), value.clone()));
            } else {
                ids.see(name, value);
            }
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            id: ids.choose(),
            telling,
        }
    }

    /// Which answer the client can read. Only those who are answered with a page pay for it.
    pub(crate) fn asked(&self) -> Asked {
        let mut headers = HeaderMap::with_capacity(self.telling.len());
        for (name, value) in &self.telling {
            headers.append(name, value.clone());
        }
        Asked::of(&self.method, &headers)
    }

    /// Whether it is a call of gRPC, as `application/grpc`, `+proto`, or `-web`.
    pub(crate) fn is_grpc(&self) -> bool {
        self.telling.iter().any(|(name, value)| {
            *name == CONTENT_TYPE && value.as_bytes().starts_with(b"application/grpc")
        })
    }

    /// Method and path, as people call the request.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.uri.path())
    }

    /// The place of a fault of which no more is known than who answered.
    pub(crate) fn place(&self) -> Frame {
        Frame {
            function: self.name(),
            ..Frame::default()
        }
    }
}

/// A request or a task while it runs.
pub(crate) struct Scope {
    pub(crate) shared: Arc<Shared>,
    pub(crate) facts: Option<Facts>,
    task: Option<String>,
    seen: Mutex<Option<Box<Seen>>>,
    /// Whether the hook has ever seen one: most requests need not take the lock to know.
    has_seen: AtomicBool,
    /// What has to be committed or undone when it ends.
    #[cfg(feature = "journal")]
    pub(crate) stake: Stake,
}

impl Scope {
    fn new(shared: &Arc<Shared>, facts: Option<Facts>, task: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            facts,
            task,
            seen: Mutex::new(None),
            has_seen: AtomicBool::new(false),
            #[cfg(feature = "journal")]
            stake: Stake::default(),
        })
    }

    /// That of a request.
    pub(crate) fn of_request<B>(shared: &Arc<Shared>, request: &Request<B>) -> Arc<Self> {
        Self::new(shared, Some(Facts::of(request)), None)
    }

    /// That of a task, which may belong to a request, but has nothing of its transaction.
    pub(crate) fn of_task(shared: &Arc<Shared>, facts: Option<Facts>, name: &str) -> Arc<Self> {
        Self::new(shared, facts, Some(name.to_owned()))
    }

    /// That of the code that runs now.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Looks at that of the code that runs now.
    pub(crate) fn with_current<T>(look: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(|scope| look(scope)).ok()
    }

    /// A future that runs in it.
    pub(crate) fn around<F: Future>(self: &Arc<Self>, future: F) -> TaskLocalFuture<Arc<Self>, F> {
        CURRENT.scope(Arc::clone(self), future)
    }

    /// Runs a function in it.
    pub(crate) fn run<T>(self: &Arc<Self>, function: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Arc::clone(self), function)
    }

    /// The hook has seen a panic in it.
    pub(crate) fn saw(&self, seen: Box<Seen>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        self.has_seen.store(true, Ordering::Release);
    }

    /// The last panic that was seen in it, once.
    pub(crate) fn take_seen(&self) -> Option<Box<Seen>> {
        if !self.has_seen.load(Ordering::Acquire) {
            return None;
        }
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A fault with what is known around it.
    pub(crate) fn around_fault(&self, mut fault: Fault) -> Fault {
        if let Some(facts) = &self.facts {
            fault = fault
                .with("request", format_args!("{} {}", facts.method, facts.uri))
                .with("request id", facts.id.as_str());
        }
        if let Some(task) = &self.task {
            fault = fault.with("task", task);
        }
        #[cfg(feature = "journal")]
        if let Some(work) = self.stake.work() {
            fault = fault.with(crate::report::WORK, work);
        }
        fault
    }

    /// Logs a fault, and has a person told of it if it is one for that.
    pub(crate) fn report(&self, seen: Seen) {
        let Seen { fault, trace } = seen;
        self.shared.reporter.report(fault, trace);
    }

    /// The same with what is known around it.
    pub(crate) fn report_around(&self, seen: Seen) {
        let Seen { fault, trace } = seen;
        let fault = self.around_fault(fault);
        self.report(Seen { fault, trace });
    }

    /// Whether the request may change something (RFC 9110, section 9.2.1).
    pub(crate) fn is_mutating(&self) -> bool {
        (self.facts.as_ref()).is_some_and(|facts| !facts.method.is_safe())
    }

    /// The code that runs in it was stopped where it stood.
    #[cfg_attr(not(feature = "journal"), expect(clippy::unused_self))]
    pub(crate) fn cut(&self) {
        #[cfg(feature = "journal")]
        self.stake.cut();
    }

    /// Nobody waits for it any more: what it holds is rolled back in the background.
    #[cfg_attr(not(feature = "journal"), expect(clippy::unused_self))]
    pub(crate) fn abandon(&self) {
        #[cfg(feature = "journal")]
        crate::settle::abandon(self);
    }

    /// Ends it, if it holds nothing that would have to be committed or undone. Most do not.
    #[cfg_attr(not(feature = "journal"), expect(clippy::unused_self))]
    pub(crate) fn ends_with_nothing(&self) -> bool {
        #[cfg(feature = "journal")]
        {
            self.stake.ends_with_nothing()
        }
        #[cfg(not(feature = "journal"))]
        {
            true
        }
    }

    /// Makes everything that it holds so, or says why nothing of it is.
    #[cfg_attr(not(feature = "journal"), expect(clippy::unused_async))]
    pub(crate) async fn commit(&self, answer: Option<Vec<u8>>) -> Result<(), Fault> {
        #[cfg(feature = "journal")]
        {
            crate::settle::commit(self, answer).await
        }
        #[cfg(not(feature = "journal"))]
        {
            drop(answer);
            Ok(())
        }
    }

    /// Rolls back and undoes everything that it holds.
    #[cfg_attr(not(feature = "journal"), expect(clippy::unused_async))]
    pub(crate) async fn rollback(&self, reason: &'static str) {
        #[cfg(feature = "journal")]
        crate::settle::rollback(self, reason).await;
        #[cfg(not(feature = "journal"))]
        let _ = reason;
    }
}

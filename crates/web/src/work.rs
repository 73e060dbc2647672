//! A request's work, as its handler holds it.

use std::marker::PhantomData;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind};
use crate::future::{End, Guarded};
use crate::panics::catch;
use crate::scope::Scope;

/// What a request does, as one: all of it holds, or none. An extractor for axum (feature `axum`);
/// elsewhere [`Work::current`].
///
/// `D` is the database of its transaction; a request that needs none has `Work`.
pub struct Work<D = ()> {
    scope: Arc<Scope>,
    database: PhantomData<fn() -> D>,
}

impl<D> Work<D> {
    /// That of the request that is being served here. Fails outside of a guard, and so in a task that
    /// was spawned without [`Work::spawn`].
    pub fn current() -> Result<Self, Error> {
        let scope = Scope::current().ok_or_else(|| {
            Error::new(
                ErrorKind::Unguarded,
                "find the request's work",
                "there is no guard around this code",
                "put the guard's layer around the handler, and spawn tasks with Work::spawn",
            )
        })?;
        Ok(Self {
            scope,
            database: PhantomData,
        })
    }

    #[cfg(feature = "journal")]
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The id of the request: from `X-Request-Id` or `traceparent`, or made here. Empty in a task that
    /// belongs to no request.
    pub fn request_id(&self) -> &str {
        let facts = self.scope.facts.as_ref();
        facts.map_or("", |facts| facts.id.as_str())
    }

    /// Spawns a task that may outlive the request, and has nothing of its transaction. Its panic is a
    /// fault like that of a handler, under this name; shutdown waits for it.
    pub fn spawn<F>(&self, name: &str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let scope = Scope::of_task(&self.scope.shared, self.scope.facts.clone(), name);
        spawn(scope, future)
    }

    /// The same for a function that blocks.
    pub fn spawn_blocking<F, T>(&self, name: &str, function: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let scope = Scope::of_task(&self.scope.shared, self.scope.facts.clone(), name);
        let running = scope.shared.gate.task();
        tokio::task::spawn_blocking(move || {
            let _running = running;
            match catch(&scope, || scope.run(function)) {
                Ok(output) => output,
                Err(seen) => {
                    scope.report_around(*seen);
                    resume();
                }
            }
        })
    }
}

/// Spawns a task in its scope.
pub(crate) fn spawn<F>(scope: Arc<Scope>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let running = scope.shared.gate.task();
    tokio::spawn(async move {
        let _running = running;
        match Guarded::new(&scope, None, future).await {
            End::Done(output) => output,
            End::Panicked(seen) => {
                scope.report_around(*seen);
                resume();
            }
            End::Late => unreachable!("it has no deadline"),
        }
    })
}

/// Lets whoever joins the task know, without another call of the hook.
fn resume() -> ! {
    std::panic::resume_unwind(Box::new("the task panicked; its fault was reported"))
}

#[cfg(feature = "axum")]
impl<S: Sync, D> axum::extract::FromRequestParts<S> for Work<D> {
    type Rejection = crate::failed::Failed;

    async fn from_request_parts(
        _: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::current()?)
    }
}

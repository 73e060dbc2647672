//! What is done with a request, from its first byte to the head of its answer.

use std::pin::Pin;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use mainstay_fault::{Asked, Class, Fault, Form, Frame, Notify, Retry, Severity, Verdict};
use tower_service::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::error::BoxError;
use crate::future::{End, Guarded, Oneshot};
use crate::gate::Entered;
use crate::guard::Shared;
use crate::judge::{Outcome, Sort, TEXT_BYTES, grpc_fault, outcome};
use crate::layer::Set;
use crate::page;
use crate::panics::{Seen, attempt};
use crate::report::TARGET;
use crate::request_id::REQUEST_ID;
use crate::scope::{Facts, Scope};

/// How long the text of an answer may take to be read; it is in memory already.
const TEXT_TIME: Duration = Duration::from_secs(1);

/// A request whose head was seen, and whose handler may begin.
pub(crate) struct Call {
    pub(crate) set: Arc<Set>,
    pub(crate) scope: Arc<Scope>,
    has_connections: bool,
}

impl Call {
    pub(crate) fn of<B>(set: &Arc<Set>, request: &Request<B>) -> Self {
        Self {
            set: Arc::clone(set),
            scope: Scope::of_request(&set.shared, request),
            has_connections: request.version() <= Version::HTTP_11,
        }
    }

    /// Its handler, not begun yet. In a box: it would be copied with every future that it is put into.
    pub(crate) fn handler<S, Q>(&self, service: S, request: Q) -> Handler<S, Q>
    where
        S: Service<Q>,
    {
        let call = Oneshot::new(service, request);
        Box::pin(Guarded::new(&self.scope, self.set.deadline, call))
    }

    /// What is answered, with what each answer has.
    fn answer<R>(
        &self,
        made: Result<Response<ResponseBody<R>>, Box<Seen>>,
    ) -> Response<ResponseBody<R>> {
        let mut response = match made {
            Ok(response) => response,
            Err(seen) => page(&self.scope, *seen, None),
        };
        let headers = response.headers_mut();
        if let Some(facts) = &self.scope.facts {
            headers.insert(REQUEST_ID, facts.id.to_value());
        }
        if self.has_connections && self.set.shared.gate.is_draining() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The handler of a request, while it runs.
pub(crate) type Handler<S, Q> = Pin<Box<Guarded<Oneshot<S, Q>>>>;

/// Serves a request. There is always an answer.
pub(crate) async fn serve<S, Q, R>(call: Call, handler: Handler<S, Q>) -> Response<ResponseBody<R>>
where
    S: Service<Q, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let made = match enter(&call.set.shared, &call.scope).await {
        Ok(_entered) => ended(&call, handler.await).await,
        Err(seen) => Err(seen),
    };
    call.answer(made)
}

/// Serves a request that may have an idempotency key.
#[cfg(feature = "journal")]
pub(crate) async fn serve_once<S, B, R>(
    call: Call,
    service: S,
    request: Request<B>,
) -> Response<ResponseBody<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let made = once(&call, service, request).await;
    call.answer(made)
}

#[cfg(feature = "journal")]
async fn once<S, B, R>(
    call: &Call,
    service: S,
    request: Request<B>,
) -> Result<Response<ResponseBody<R>>, Box<Seen>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    use crate::replay::{Begun, begin};
    let Call { set, scope, .. } = call;
    let shared = &*set.shared;
    let _entered = enter(shared, scope).await?;
    let request = match (&shared.policy, &shared.journal) {
        (Some(policy), Some(journal)) => {
            match begin(scope, policy, journal, request, set.deadline).await {
                Ok(Begun::Do(request)) => request,
                Ok(Begun::Done(response)) => {
                    return Ok(response.map(|body| ResponseBody::page(body, Arc::clone(scope))));
                }
                Err(fault) => return Err(unplaced(fault)),
            }
        }
        _ => request.map(RequestBody::stream),
    };
    let end = call.handler(service, request).await;
    ended(call, end).await
}

/// Serves a request that a guard around this one has in its hands already: that one does it all.
pub(crate) async fn within<S, B, R>(
    scope: Arc<Scope>,
    service: S,
    request: Request<B>,
) -> Response<ResponseBody<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        log::warn!(
            target: TARGET,
            "a request came through two guards: the outer one counts, with its deadline; put each route into one"
        );
    });
    match Oneshot::new(service, request.map(RequestBody::stream)).await {
        Ok(response) => response.map(|body| ResponseBody::app(body, scope)),
        Err(error) => {
            let error: BoxError = error.into();
            page(&scope, *unplaced(Fault::from_error(&*error)), None)
        }
    }
}

/// What comes of a handler that has ended.
async fn ended<R, E>(
    call: &Call,
    end: End<Result<Response<R>, E>>,
) -> Result<Response<ResponseBody<R>>, Box<Seen>>
where
    E: Into<BoxError>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let scope = &call.scope;
    told_of(scope, "somebody caught it and went on");
    let seen = match end {
        End::Done(Ok(response)) if is_plainly_good(scope, &response) => {
            return Ok(response.map(|body| ResponseBody::app(body, Arc::clone(scope))));
        }
        // What seldom is, is not to make the future of every request larger.
        End::Done(Ok(response)) => return Box::pin(judged(scope, response)).await,
        End::Done(Err(error)) => {
            Box::pin(scope.rollback("its handler failed")).await;
            let error: BoxError = error.into();
            return Err(unplaced(Fault::from_error(&*error)));
        }
        End::Panicked(seen) => {
            Box::pin(scope.rollback("its handler panicked")).await;
            seen
        }
        End::Late => {
            Box::pin(scope.rollback("it took longer than it may")).await;
            let text = format!(
                "the handler took longer than {:?}",
                call.set.deadline.unwrap_or_default()
            );
            unplaced(Fault::told(Class::Timeout, &text))
        }
    };
    Err(seen)
}

/// Whether an answer is no error, says nothing of what it is, and leaves nothing to be committed: as
/// most are.
fn is_plainly_good<R>(scope: &Scope, response: &Response<R>) -> bool {
    let status = response.status();
    let extensions = response.extensions();
    !status.is_client_error()
        && !status.is_server_error()
        && (extensions.is_empty()
            || extensions.get::<Fault>().is_none() && extensions.get::<Outcome>().is_none())
        && !scope.facts.as_ref().is_some_and(Facts::is_grpc)
        && scope.ends_with_nothing()
}

/// A panic that somebody caught who says nothing of it.
fn told_of(scope: &Scope, circumstance: &str) {
    if let Some(seen) = scope.take_seen() {
        let Seen { fault, trace } = *seen;
        let fault = fault.with("while", circumstance);
        scope.report_around(Seen { fault, trace });
    }
}

/// Lets a request in, or says why not.
async fn enter(shared: &Shared, scope: &Scope) -> Result<Entered, Box<Seen>> {
    let entered = match shared.gate.try_enter() {
        Some(entered) => entered,
        None => Box::pin(shared.gate.enter()).await.ok_or_else(|| {
            let verdict = Verdict::unavailable(shared.come_back);
            unplaced(Fault::told(verdict, "more requests at once than may run"))
        })?,
    };
    if scope.is_mutating()
        && let Some(class) = shared.read_only()
    {
        // The state is what a person is told, or has set; these only follow from it.
        let verdict = Verdict::new(class)
            .with_retry(Retry::After(Duration::from_mins(1)))
            .with_severity(Severity::Warning)
            .with_notify(Notify::Never);
        return Err(unplaced(Fault::told(
            verdict,
            "nothing is changed for the time being",
        )));
    }
    Ok(entered)
}

/// Ends the request's work as its answer says, and sees that the answer is one that can be read.
async fn judged<R>(
    scope: &Arc<Scope>,
    response: Response<R>,
) -> Result<Response<ResponseBody<R>>, Box<Seen>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = response.into_parts();
    if let Some(fault) = parts.extensions.remove::<Fault>() {
        if parts.extensions.get::<Outcome>() == Some(&Outcome::Commit) {
            scope.commit(None).await.map_err(unplaced)?;
        } else {
            scope.rollback("its handler failed").await;
        }
        attempt(|| drop(body));
        return Ok(page(scope, Seen::of(fault), Some(parts.headers)));
    }
    let length = attempt(|| body.size_hint().upper()).flatten();
    let is_grpc = scope.facts.as_ref().is_some_and(Facts::is_grpc);
    let sort = Sort::of(&parts, length, is_grpc);
    let body = match outcome(sort, &parts) {
        Outcome::Commit => committed(scope, &parts, body).await?,
        Outcome::Rollback => {
            scope.rollback("its answer is an error").await;
            ResponseBody::app(body, Arc::clone(scope))
        }
    };
    if sort == Sort::Good {
        return Ok(Response::from_parts(parts, body));
    }
    let Some(facts) = &scope.facts else {
        return Ok(Response::from_parts(parts, body));
    };
    if let Sort::Grpc(code) = sort {
        let fault = scope.around_fault(grpc_fault(facts, code));
        page::mark(&mut parts.headers, &fault);
        scope.report(Seen::of(fault));
        return Ok(Response::from_parts(parts, body));
    }
    let asked = facts.asked();
    let is_ours = sort.needs_page(asked.form);
    if !is_ours && !parts.status.is_server_error() {
        return Ok(Response::from_parts(parts, body));
    }
    let fault = fault_of(facts, &parts);
    if !is_ours {
        let fault = scope.around_fault(fault);
        page::mark(&mut parts.headers, &fault);
        scope.report(Seen::of(fault));
        return Ok(Response::from_parts(parts, body));
    }
    let text = match sort {
        Sort::Text if parts.status.is_client_error() => Box::pin(text(scope, body)).await,
        _ => {
            attempt(|| drop(body));
            None
        }
    };
    let fault = match text {
        // What a framework says of a request is meant for who sent it.
        Some(text) => {
            let verdict = verdict_of(&parts).with_public(text);
            Fault::told(verdict, &answered(facts, &parts)).at(facts.place())
        }
        None => fault,
    };
    Ok(page(scope, Seen::of(fault), Some(parts.headers)))
}

/// Commits; then the body may be sent.
#[cfg(feature = "journal")]
async fn committed<R>(
    scope: &Arc<Scope>,
    parts: &Parts,
    body: R,
) -> Result<ResponseBody<R>, Box<Seen>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    if !scope.stake.has_key() {
        scope.commit(None).await.map_err(unplaced)?;
        return Ok(ResponseBody::app(body, Arc::clone(scope)));
    }
    let bytes = match Box::pin(Guarded::new(scope, None, crate::replay::whole(body))).await {
        End::Done(Ok(bytes)) => bytes,
        End::Done(Err(fault)) => {
            scope.rollback("its answer could not be kept").await;
            return Err(unplaced(fault));
        }
        End::Panicked(seen) => {
            scope.rollback("its answer panicked").await;
            return Err(seen);
        }
        End::Late => unreachable!("it has no deadline"),
    };
    let answer = crate::replay::encoded(parts, &bytes);
    scope.commit(Some(answer)).await.map_err(unplaced)?;
    Ok(ResponseBody::page(bytes, Arc::clone(scope)))
}

#[cfg(not(feature = "journal"))]
async fn committed<R>(
    scope: &Arc<Scope>,
    _: &Parts,
    body: R,
) -> Result<ResponseBody<R>, Box<Seen>> {
    scope.commit(None).await.map_err(unplaced)?;
    Ok(ResponseBody::app(body, Arc::clone(scope)))
}

/// The short text of an answer.
async fn text<R>(scope: &Arc<Scope>, body: ResponseBody<R>) -> Option<String>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let limit = usize::try_from(TEXT_BYTES).unwrap_or(usize::MAX);
    let read = Limited::new(body, limit).collect();
    let End::Done(Ok(read)) = Guarded::new(scope, Some(TEXT_TIME), read).await else {
        return None;
    };
    let text = String::from_utf8(read.to_bytes().into()).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn answered(facts: &Facts, parts: &Parts) -> String {
    format!("{} answered {}", facts.name(), parts.status.as_u16())
}

/// What an answer comes from of which the status alone is known. The status stays, and the time to
/// wait that the app says.
fn verdict_of(parts: &Parts) -> Verdict {
    let verdict = Verdict::from_status(parts.status).with_status(parts.status);
    let wait = parts
        .headers
        .get(RETRY_AFTER)
        .and_then(|wait| wait.to_str().ok()?.parse().ok());
    match wait {
        Some(seconds) => verdict.with_retry(Retry::After(Duration::from_secs(seconds))),
        None => verdict,
    }
}

fn fault_of(facts: &Facts, parts: &Parts) -> Fault {
    Fault::told(verdict_of(parts), &answered(facts, parts)).at(facts.place())
}

/// A fault whose place is not where it was put together.
fn unplaced(fault: Fault) -> Box<Seen> {
    Box::new(Seen::of(fault.at(Frame::default())))
}

/// Answers with a page, and tells of the fault.
fn page<R>(scope: &Arc<Scope>, seen: Seen, old: Option<HeaderMap>) -> Response<ResponseBody<R>> {
    let Seen { fault, trace } = seen;
    let fault = scope.around_fault(fault);
    let asked = scope.facts.as_ref().map_or(Asked::unknown(), Facts::asked);
    let response = scope.run(|| scope.shared.source.answer(&asked, &fault));
    told_of(scope, "it made the page of another fault");
    let (mut parts, body) = response.into_parts();
    if let Some(old) = old
        && asked.form != Form::Grpc
    {
        page::take_over(&mut parts.headers, old);
    }
    page::mark(&mut parts.headers, &fault);
    scope.report(Seen { fault, trace });
    Response::from_parts(parts, ResponseBody::page(body, Arc::clone(scope)))
}

//! Paths and methods to verbs to calls of the daemon. No path is without a guard, and no answer is
//! without a document.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::auth::{Actor, Decision, Policy, Verb, decide};
use crate::daemon::{AuditEntry, AuditOutcome, ByteStream, Caller, Daemon, Notice};
use crate::error::{Error, Kind};
use crate::metrics;
use crate::wire::{
    ActionDocument, ActionRequest, DoneDocument, ErrorDocument, FaultQuery, ForgetRequest,
    LogLevelRequest, LogParameters, LogQuery, OrderRequest, OrderedDocument, PATTERN_LIMIT,
    RaiseRequest, RecordQuery, SignalRequest, SilenceRequest, SilencedDocument, TriedDocument,
    UnsilenceRequest, check_names,
};

/// Largest request body, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// How long a body may take to arrive when the server does not say otherwise.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Who is at the other end of a request, and by which rules they are judged. Whoever serves the router
/// puts it into each request's extensions; a request without it is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The process that asks.
    pub actor: Actor,
    /// The rules.
    pub policy: Policy,
}

/// What the server tells the handlers beside the peer.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// Turns true when the server is about to end.
    pub(crate) closing: watch::Receiver<bool>,
    /// How long a request body may take to arrive.
    pub(crate) body: Duration,
}

impl Terms {
    /// Resolves when the server is about to end.
    pub(crate) async fn ended(mut self) {
        // An error means that the server is gone already, which is an end too.
        drop(self.closing.wait_for(|closing| *closing).await);
    }
}

type Shared = Arc<dyn Daemon>;

/// The API in front of that daemon.
///
/// | method and path | verb | body | answer |
/// |---|---|---|---|
/// | `GET /v1/ping` | ping | | [`DoneDocument`] |
/// | `GET /v1/version` | version | | [`crate::wire::VersionDocument`] |
/// | `GET /v1/status` | status | | [`crate::wire::StatusDocument`] |
/// | `GET /v1/metrics` | metrics | | text, [`crate::metrics::CONTENT_TYPE`] |
/// | `POST /v1/programs/start`, `stop`, `restart` | start, stop, restart | [`ActionRequest`] | [`ActionDocument`] |
/// | `POST /v1/programs/signal` | signal | [`SignalRequest`] | [`ActionDocument`] |
/// | `GET /v1/programs/{name}/logs?stream=&lines=&follow=` | logs | | bytes as captured |
/// | `POST /v1/log/reopen` | `reopen_logs` | | [`DoneDocument`] |
/// | `POST /v1/log/level` | `log_level` | [`LogLevelRequest`] | [`DoneDocument`] |
/// | `GET /v1/alerts` | alerts | | [`crate::wire::AlertsDocument`] |
/// | `POST /v1/alerts/raise` | `raise_alert` | [`RaiseRequest`] | [`DoneDocument`] |
/// | `POST /v1/alerts/silence` | `silence_alerts` | [`SilenceRequest`] | [`SilencedDocument`] |
/// | `POST /v1/alerts/unsilence` | `unsilence_alerts` | [`UnsilenceRequest`] | [`DoneDocument`] |
/// | `POST /v1/alerts/test` | `test_alerts` | | [`TriedDocument`] |
/// | `GET /v1/faults?app=&since=&severity=&limit=` | faults | | [`crate::wire::FaultsDocument`] |
/// | `GET /v1/faults/{code}` | faults | | [`crate::wire::FaultDocument`] |
/// | `POST /v1/faults/order` | `order_fault` | [`OrderRequest`] | [`OrderedDocument`] |
/// | `POST /v1/faults/forget` | `forget_faults` | [`ForgetRequest`] | [`DoneDocument`] |
/// | `POST /v1/shutdown` | shutdown | | [`DoneDocument`] |
/// | `POST /v1/upgrade` | upgrade | | [`DoneDocument`] |
///
/// Every error is an [`ErrorDocument`] with the status of its [`Kind`]. Each request needs a
/// [`Peer`] in its extensions, which [`crate::serve`] provides.
pub fn router(daemon: Arc<dyn Daemon>) -> Router {
    let at = |verb: Verb, methods: MethodRouter<Shared>| {
        methods.layer(from_fn_with_state((Arc::clone(&daemon), verb), guard))
    };
    Router::new()
        .route("/v1/ping", at(Verb::Ping, get(ping)))
        .route("/v1/version", at(Verb::Version, get(version)))
        .route("/v1/status", at(Verb::Status, get(status)))
        .route("/v1/metrics", at(Verb::Metrics, get(numbers)))
        .route("/v1/programs/start", at(Verb::Start, post(start)))
        .route("/v1/programs/stop", at(Verb::Stop, post(stop)))
        .route("/v1/programs/restart", at(Verb::Restart, post(restart)))
        .route("/v1/programs/signal", at(Verb::Signal, post(signal)))
        .route("/v1/programs/{name}/logs", at(Verb::Logs, get(logs)))
        .route("/v1/log/reopen", at(Verb::ReopenLogs, post(reopen_logs)))
        .route("/v1/log/level", at(Verb::LogLevel, post(log_level)))
        .route("/v1/alerts", at(Verb::Alerts, get(alerts)))
        .route("/v1/alerts/raise", at(Verb::RaiseAlert, post(raise_alert)))
        .route(
            "/v1/alerts/silence",
            at(Verb::SilenceAlerts, post(silence_alerts)),
        )
        .route(
            "/v1/alerts/unsilence",
            at(Verb::UnsilenceAlerts, post(unsilence_alerts)),
        )
        .route("/v1/alerts/test", at(Verb::TestAlerts, post(test_alerts)))
        .route("/v1/faults", at(Verb::Faults, get(faults)))
        .route("/v1/faults/{code}", at(Verb::Faults, get(fault)))
        .route("/v1/faults/order", at(Verb::OrderFault, post(order_fault)))
        .route(
            "/v1/faults/forget",
            at(Verb::ForgetFaults, post(forget_faults)),
        )
        .route("/v1/shutdown", at(Verb::Shutdown, post(shutdown)))
        .route("/v1/upgrade", at(Verb::Upgrade, post(upgrade)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(&daemon))
}

/// Lets a request through when its peer may ask it, and leaves the [`Caller`] for the handler.
async fn guard(
    State((daemon, verb)): State<(Shared, Verb)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return refuse(
            Error::new(Kind::Denied, format!("{verb}: it is not known who asks"))
                .help("ask through the control socket"),
        );
    };
    match decide(&peer.policy, &peer.actor, verb) {
        Decision::Allow(role) => {
            request.extensions_mut().insert(Caller {
                actor: peer.actor,
                role,
            });
            next.run(request).await
        }
        Decision::Deny { has, needs } => {
            daemon.audit(AuditEntry {
                actor: peer.actor,
                role: has,
                verb,
                object: String::new(),
                outcome: AuditOutcome::Denied,
                passed_over: 0,
            });
            let Some(role) = has else {
                return refuse(stranger(&peer.actor));
            };
            refuse(
                Error::new(
                    Kind::Denied,
                    format!(
                        "{verb} denied to {}: it needs the role {needs}, they have {role}",
                        peer.actor
                    ),
                )
                .help("ask as root or as the user that the daemon runs as"),
            )
        }
    }
}

/// What somebody without any role is told.
pub(crate) fn stranger(actor: &Actor) -> Error {
    Error::new(
        Kind::Denied,
        format!("the control socket does not answer {actor}"),
    )
    .help(
        "ask as root, as the user that the daemon runs as, or as a member of the socket's group \
         ([control] socket.group; a new membership counts from the next login)",
    )
}

pub(crate) async fn no_such_route(request: Request) -> Response {
    refuse(
        Error::new(
            Kind::NoSuchRoute,
            format!(
                "{} {}: no such path in this API",
                request.method(),
                request.uri().path()
            ),
        )
        .help("see GET /v1/version: the daemon may be older than the program that asks"),
    )
}

pub(crate) async fn wrong_method(request: Request) -> Response {
    refuse(
        Error::new(
            Kind::WrongMethod,
            format!(
                "{} {}: not with this method",
                request.method(),
                request.uri().path()
            ),
        )
        .help("what only looks is GET, what changes something is POST"),
    )
}

pub(crate) fn refuse(error: Error) -> Response {
    let status =
        StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(ErrorDocument::from(error))).into_response();
    // A body that was refused is not read to its end, so that nothing can follow it.
    if matches!(
        status,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
    ) {
        response.headers_mut().insert(
            header::CONNECTION,
            header::HeaderValue::from_static("close"),
        );
    }
    response
}

pub(crate) fn answer<T: Serialize>(result: Result<T, Error>) -> Response {
    match result {
        Ok(document) => Json(document).into_response(),
        Err(error) => refuse(error),
    }
}

/// Runs a call of the daemon as a task of its own, which goes on when the client leaves, and turns a
/// panic in it into an answer.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(gone) if gone.is_panic() => Err(Error::new(
            Kind::Bug,
            "the daemon has a fault: it panicked over this request",
        )
        .help("its log has the place; please report it. The daemon goes on running")),
        Err(_) => Err(Error::new(
            Kind::TryLater,
            "the daemon is ending and dropped the request",
        )
        .help("ask again when it is up")),
    }
}

/// How an answer reads in the audit.
trait Audited {
    fn outcome(&self) -> AuditOutcome;
}

impl Audited for ActionDocument {
    fn outcome(&self) -> AuditOutcome {
        match self.tally() {
            (_, 0) => AuditOutcome::Done,
            (done, not) => AuditOutcome::Partly { done, not },
        }
    }
}

impl Audited for DoneDocument {
    fn outcome(&self) -> AuditOutcome {
        AuditOutcome::Done
    }
}

impl Audited for SilencedDocument {
    fn outcome(&self) -> AuditOutcome {
        AuditOutcome::Done
    }
}

impl Audited for OrderedDocument {
    fn outcome(&self) -> AuditOutcome {
        AuditOutcome::Done
    }
}

impl Audited for TriedDocument {
    fn outcome(&self) -> AuditOutcome {
        match self.tally() {
            (_, 0) => AuditOutcome::Done,
            (done, not) => AuditOutcome::Partly { done, not },
        }
    }
}

/// An audit entry that is written whatever happens: with the outcome, or as unknown when it is
/// dropped by a panic or by the end of the runtime.
struct Pending {
    daemon: Shared,
    entry: Option<AuditEntry>,
}

impl Pending {
    fn new(daemon: &Shared, caller: Caller, verb: Verb, object: String) -> Self {
        Self {
            daemon: Arc::clone(daemon),
            entry: Some(AuditEntry {
                actor: caller.actor,
                role: Some(caller.role),
                verb,
                object,
                outcome: AuditOutcome::Unknown,
                passed_over: 0,
            }),
        }
    }

    fn close<T: Audited>(mut self, result: &Result<T, Error>) {
        if let Some(entry) = &mut self.entry {
            entry.outcome = match result {
                Ok(document) => document.outcome(),
                Err(error) if error.kind == Kind::Denied => AuditOutcome::Denied,
                Err(error) => AuditOutcome::Failed(error.clone()),
            };
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.daemon.audit(entry);
        }
    }
}

async fn ping() -> Response {
    answer(Ok(DoneDocument::new()))
}

async fn version(State(daemon): State<Shared>) -> Response {
    answer(apart(async move { Ok(daemon.version()) }).await)
}

async fn status(State(daemon): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    answer(apart(async move { daemon.status(caller).await }).await)
}

async fn numbers(State(daemon): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    match apart(async move { daemon.status(caller).await }).await {
        Ok(status) => (
            [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
            metrics::exposition(&status),
        )
            .into_response(),
        Err(error) => refuse(error),
    }
}

async fn start(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    act(daemon, caller, Verb::Start, request).await
}

async fn stop(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    act(daemon, caller, Verb::Stop, request).await
}

async fn restart(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    act(daemon, caller, Verb::Restart, request).await
}

async fn act(daemon: Shared, caller: Caller, verb: Verb, request: Request) -> Response {
    let wanted: ActionRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let pending = Pending::new(&daemon, caller, verb, wanted.names.join(" "));
    answer(
        apart(async move {
            let result = match verb {
                Verb::Stop => daemon.stop(caller, wanted).await,
                Verb::Restart => daemon.restart(caller, wanted).await,
                _ => daemon.start(caller, wanted).await,
            };
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn signal(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: SignalRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let object = format!("{} to {}", wanted.signal, wanted.names.join(" "));
    let pending = Pending::new(&daemon, caller, Verb::Signal, object);
    answer(
        apart(async move {
            let result = daemon.signal(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn reopen_logs(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let pending = Pending::new(&daemon, caller, Verb::ReopenLogs, String::new());
    answer(
        apart(async move {
            let result = daemon.reopen_logs(caller).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn log_level(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: LogLevelRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let target = wanted.target.as_deref().unwrap_or("all");
    let object = format!("{target}={}", wanted.level);
    let pending = Pending::new(&daemon, caller, Verb::LogLevel, object);
    answer(
        apart(async move {
            let result = daemon.log_level(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn alerts(State(daemon): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    answer(apart(async move { daemon.alerts(caller).await }).await)
}

async fn raise_alert(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: RaiseRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let object = wanted.object();
    let pending = Pending::new(&daemon, caller, Verb::RaiseAlert, object);
    answer(
        apart(async move {
            let result = daemon.raise_alert(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn silence_alerts(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: SilenceRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let pending = Pending::new(&daemon, caller, Verb::SilenceAlerts, wanted.object());
    answer(
        apart(async move {
            let result = daemon.silence_alerts(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn unsilence_alerts(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: UnsilenceRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let object = wanted.id.to_string();
    let pending = Pending::new(&daemon, caller, Verb::UnsilenceAlerts, object);
    answer(
        apart(async move {
            let result = daemon.unsilence_alerts(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn test_alerts(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let pending = Pending::new(&daemon, caller, Verb::TestAlerts, String::new());
    answer(
        apart(async move {
            let result = daemon.test_alerts(caller).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn faults(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<FaultQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(why) => {
            return refuse(
                Error::new(Kind::Usage, format!("faults: {}", why.body_text())).help(
                    "the parameters are app=NAME, since=TIME (RFC 3339), severity=NAME and                      limit=NUMBER",
                ),
            );
        }
    };
    answer(apart(async move { daemon.faults(caller, query).await }).await)
}

async fn fault(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(code)) = code else {
        return refuse(
            Error::new(Kind::Usage, "the code of the fault cannot be read")
                .help("write it in UTF-8, percent-encoded"),
        );
    };
    answer(apart(async move { daemon.fault(caller, code).await }).await)
}

async fn order_fault(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: OrderRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let pending = Pending::new(&daemon, caller, Verb::OrderFault, wanted.object());
    answer(
        apart(async move {
            let result = daemon.order_fault(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn forget_faults(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let wanted: ForgetRequest = match read_json(request).await {
        Ok(wanted) => wanted,
        Err(error) => return refuse(error),
    };
    if let Err(error) = wanted.check() {
        return refuse(error);
    }
    let object = wanted.codes.join(" ");
    let pending = Pending::new(&daemon, caller, Verb::ForgetFaults, object);
    answer(
        apart(async move {
            let result = daemon.forget_faults(caller, wanted).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn shutdown(State(daemon): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    let pending = Pending::new(&daemon, caller, Verb::Shutdown, String::new());
    answer(
        apart(async move {
            let result = daemon.shutdown(caller).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn upgrade(State(daemon): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    let pending = Pending::new(&daemon, caller, Verb::Upgrade, String::new());
    answer(
        apart(async move {
            let result = daemon.upgrade(caller).await;
            pending.close(&result);
            result
        })
        .await,
    )
}

async fn logs(
    State(daemon): State<Shared>,
    Extension(caller): Extension<Caller>,
    terms: Option<Extension<Terms>>,
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Query<LogParameters>, QueryRejection>,
) -> Response {
    let query = match log_query(name, parameters) {
        Ok(query) => query,
        Err(error) => return refuse(error),
    };
    let follow = query.follow;
    let name = query.name.clone();
    let reporter = Arc::clone(&daemon);
    let bytes = match apart(async move { daemon.logs(caller, query).await }).await {
        Ok(bytes) => unhurried(bytes, name, reporter),
        Err(error) => return refuse(error),
    };
    let body = match terms {
        // What follows never ends by itself: the end of the server ends it, in good order.
        Some(Extension(terms)) if follow => {
            axum::body::Body::from_stream(bytes.take_until(terms.ended()))
        }
        _ => axum::body::Body::from_stream(bytes),
    };
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

/// Reports an error in the stream, and holds it back for one turn: on an error the connection is cut
/// together with whatever it has not sent yet, and what came before the error must still arrive.
fn unhurried(bytes: ByteStream, name: String, reporter: Shared) -> ByteStream {
    Box::pin(bytes.then(move |chunk| {
        let broken = chunk.as_ref().err().map(ToString::to_string);
        if let Some(why) = &broken {
            reporter.notice(Notice::LogsBrokeOff {
                name: name.clone(),
                why: why.clone(),
            });
        }
        async move {
            if broken.is_some() {
                tokio::task::yield_now().await;
            }
            chunk
        }
    }))
}

fn log_query(
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Query<LogParameters>, QueryRejection>,
) -> Result<LogQuery, Error> {
    let Path(name) = name.map_err(|why| {
        Error::new(
            Kind::Usage,
            format!("logs: the name in the path cannot be read: {why}"),
        )
        .help("write it in UTF-8, percent-encoded")
    })?;
    check_names(std::slice::from_ref(&name))?;
    let Query(LogParameters {
        stream,
        lines,
        follow,
        records,
        level,
        since,
        until,
        pattern,
    }) = parameters.map_err(|why| {
        Error::new(Kind::Usage, format!("logs of {name}: {}", why.body_text()))
            .help(
                "the parameters are stream=stdout|stderr, lines=NUMBER, follow=true|false, \
                 records=true|false, and with records level=NAME, since=TIME, until=TIME (RFC 3339) \
                 and pattern=REGEX",
            )
    })?;
    let wanted = RecordQuery {
        level,
        since,
        until,
        pattern,
    };
    if !records && wanted != RecordQuery::default() {
        return Err(Error::new(
            Kind::Usage,
            format!("logs of {name}: level, since, until and pattern are of records"),
        )
        .help("add records=true"));
    }
    if let Some(pattern) = &wanted.pattern
        && pattern.len() > PATTERN_LIMIT
    {
        return Err(Error::new(
            Kind::Usage,
            format!("logs of {name}: the pattern has {} bytes", pattern.len()),
        )
        .help(format!("use at most {PATTERN_LIMIT}")));
    }
    Ok(LogQuery {
        name,
        stream,
        lines,
        follow,
        records: records.then_some(wanted),
    })
}

/// Reads a body that must be one JSON document, within the limits of size and time. The depth of
/// nesting is limited by the parser, to 128.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    read_json_within(request, BODY_LIMIT).await
}

/// The same with another limit, in bytes.
pub(crate) async fn read_json_within<T: DeserializeOwned>(
    request: Request,
    limit: usize,
) -> Result<T, Error> {
    let (parts, body) = request.into_parts();
    let what = format!("{} {}", parts.method, parts.uri.path());
    let json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| is_json(value.as_bytes()));
    if !json {
        return Err(Error::new(
            Kind::NotJson,
            format!("{what}: the body is not marked as JSON"),
        )
        .help("send it with the header `content-type: application/json`"));
    }
    let patience = parts
        .extensions
        .get::<Terms>()
        .map_or(BODY_PATIENCE, |terms| terms.body);
    let bytes = match tokio::time::timeout(patience, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(why)) if why.is::<LengthLimitError>() => {
            return Err(Error::new(
                Kind::TooLarge,
                format!("{what}: the body is larger than {limit} bytes"),
            )
            .help("ask in several smaller requests"));
        }
        Ok(Err(why)) => {
            return Err(
                Error::new(Kind::Usage, format!("{what}: the body broke off: {why}"))
                    .help("send it whole"),
            );
        }
        Err(_) => {
            return Err(Error::new(
                Kind::TooSlow,
                format!(
                    "{what}: the body did not arrive within {} s",
                    patience.as_secs_f32()
                ),
            )
            .help("ask again and send it at once"));
        }
    };
    serde_json::from_slice(&bytes).map_err(|why| {
        Error::new(
            Kind::Usage,
            format!("{what}: the body is not what it should be: {why}"),
        )
        .help("compare it with the documentation of the request; unknown fields are refused")
    })
}

/// Whether that content type is JSON, whatever parameters follow (RFC 9110, section 8.3).
fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn content_types() {
        let table: &[(&str, bool)] = &[
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonp", false),
            ("text/plain; application/json", false),
            ("", false),
        ];
        for &(value, expected) in table {
            assert_eq!(is_json(value.as_bytes()), expected, "{value}");
        }
    }
}

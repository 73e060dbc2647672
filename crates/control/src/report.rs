//! The socket of the apps: what they report of their faults, and the orders they fetch.
//!
//! Everybody may connect to it, so it answers only whom [`Reports::who`] knows: processes that belong to
//! a program of the daemon. Strangers are told so before a byte of theirs is read. The name of the app
//! is that of the program, whatever the report says. Each app has a few connections and so many reports
//! a second; what exceeds that is refused, not queued.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::Actor;
use crate::bind::Listener;
use crate::daemon::{Answer, Notice};
use crate::error::{Error, Kind};
use crate::router::{
    Terms, answer, apart, no_such_route, read_json, read_json_within, refuse, wrong_method,
};
use crate::server::{converse, dismiss};
use crate::throttle::Throttle;
use crate::wire::{
    DoneDocument, FaultReport, OrderOutcome, OrdersDocument, REPORT_LIMIT, ReportedDocument,
};

/// The longest that [`Reports::orders`] may wait for one.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The program of somebody, if it is one.
pub type Who<'a> = Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;

/// The daemon, as apps see it.
pub trait Reports: Send + Sync + 'static {
    /// The program that this process belongs to; none for a stranger.
    fn who(&self, actor: Actor) -> Who<'_>;

    /// A fault of that program. The answer comes when it is stored, as well as it can be. The report is
    /// checked and [fitted](FaultReport::fitted).
    fn report(&self, app: String, report: FaultReport) -> Answer<'_, ReportedDocument>;

    /// The orders for that program that it has told no outcome of. Where there are none, waits so long
    /// for one.
    fn orders(&self, app: String, wait: Duration) -> Answer<'_, OrdersDocument>;

    /// What came of an order for that program.
    fn outcome(&self, app: String, id: i64, outcome: OrderOutcome) -> Answer<'_, DoneDocument>;

    /// Something about the server that belongs into the daemon's log. Must not block for long.
    fn notice(&self, notice: Notice);
}

/// How much the server gives to apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one app.
    pub each: usize,
    /// Reports a second of one app that go on for long.
    pub rate: u32,
    /// Reports of one app that may come at once.
    pub burst: u32,
    /// How long the head of a request may take to arrive, and a connection may stay idle.
    pub head: Duration,
    /// How long the body of a request may take to arrive.
    pub body: Duration,
    /// The same stranger is told of once in this time.
    pub stranger_notice: Duration,
}

impl Default for ReportLimits {
    /// 128 connections, 16 of each app, 50 reports a second and 200 at once; 10 s for a head and a
    /// body; a stranger is told of once a minute.
    fn default() -> Self {
        Self {
            connections: 128,
            each: 16,
            rate: 50,
            burst: 200,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            stranger_notice: Duration::from_mins(1),
        }
    }
}

/// The program behind a request.
#[derive(Debug, Clone)]
struct App(String);

#[derive(Clone)]
struct Shared {
    reports: Arc<dyn Reports>,
    rates: Arc<Mutex<Rates>>,
    origin: Instant,
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/v1/faults", post(report))
        .route("/v1/orders", get(orders))
        .route("/v1/orders/{id}", post(outcome))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn report(
    State(shared): State<Shared>,
    Extension(App(app)): Extension<App>,
    request: Request,
) -> Response {
    let room = {
        let mut rates = lock(&shared.rates);
        rates.take(&app, shared.origin.elapsed())
    };
    if let Err(passed_over) = room {
        if passed_over == 1 {
            shared.reports.notice(Notice::ReportsPassedOver(app));
        }
        return refuse(
            Error::new(Kind::TryLater, "this app reports too many faults")
                .help("report those of one kind together, with their count"),
        );
    }
    let report: FaultReport = match read_json_within(request, REPORT_LIMIT).await {
        Ok(report) => report,
        Err(error) => return refuse(error),
    };
    if let Err(error) = report.check() {
        return refuse(error);
    }
    let report = report.fitted();
    answer(apart(async move { shared.reports.report(app, report).await }).await)
}

/// The parameters of a look at orders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    /// Seconds.
    #[serde(default)]
    wait: u64,
}

async fn orders(
    State(shared): State<Shared>,
    Extension(App(app)): Extension<App>,
    Extension(terms): Extension<Terms>,
    parameters: Result<Query<Wait>, QueryRejection>,
) -> Response {
    let wait = match parameters {
        Ok(Query(Wait { wait })) => Duration::from_secs(wait).min(LONGEST_WAIT),
        Err(why) => {
            return refuse(
                Error::new(Kind::Usage, format!("orders: {}", why.body_text()))
                    .help("the parameter is wait=SECONDS"),
            );
        }
    };
    // Who waits is let go when the server ends, and when the client has left.
    tokio::select! {
        orders = shared.reports.orders(app, wait) => answer(orders),
        () = terms.ended() => answer(Ok(OrdersDocument::new(Vec::new()))),
    }
}

async fn outcome(
    State(shared): State<Shared>,
    Extension(App(app)): Extension<App>,
    id: Result<Path<i64>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(id)) = id else {
        return refuse(
            Error::new(Kind::Usage, "the number of the order cannot be read")
                .help("GET /v1/orders has it"),
        );
    };
    let outcome: OrderOutcome = match read_json(request).await.and_then(OrderOutcome::checked) {
        Ok(outcome) => outcome,
        Err(error) => return refuse(error),
    };
    answer(apart(async move { shared.reports.outcome(app, id, outcome).await }).await)
}

/// Serves apps until `shutdown` resolves, then removes the socket and ends what is under way.
///
/// Must run inside a tokio runtime with time and I/O, which the caller provides.
///
/// # Errors
/// [`Kind::Failed`] if the socket cannot be handed to the runtime; nothing was served then.
pub async fn serve_reports(
    listener: Listener,
    reports: Arc<dyn Reports>,
    limits: ReportLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let Listener { socket, place } = listener;
    let socket = socket
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(socket))
        .map_err(|why| {
            Error::new(
                Kind::Failed,
                format!("cannot serve the socket of reports: {why}"),
            )
            .help("check the limit of open files (ulimit -n)")
        })?;
    let (closing, closed) = watch::channel(false);
    let origin = Instant::now();
    let hall = Arc::new(Hall {
        routes: routes(Shared {
            reports: Arc::clone(&reports),
            rates: Arc::new(Mutex::new(Rates::new(limits))),
            origin,
        }),
        reports,
        limits,
        places: Arc::new(Semaphore::new(limits.connections)),
        strangers: Semaphore::new(STRANGERS),
        each: Mutex::default(),
        closing: closed,
        throttle: Mutex::new(Throttle::new(limits.stranger_notice)),
        origin,
    });
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next() => {
                if ended.is_err_and(|why| why.is_panic()) {
                    hall.reports.notice(Notice::Panicked);
                }
            }
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => {
                    // More than there is room for are cut off: they would wait for each other.
                    if let Ok(place) = Arc::clone(&hall.places).try_acquire_owned() {
                        let hall = Arc::clone(&hall);
                        tasks.spawn(async move {
                            hall.receive(stream).await;
                            drop(place);
                        });
                    }
                }
                Err(why) => {
                    hall.reports.notice(Notice::AcceptFailed(why.to_string()));
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            },
        }
    }
    drop(place);
    drop(socket);
    closing.send_replace(true);
    // The time being over is the other way for this to end, and the next line deals with it.
    let _ = timeout(limits.body, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    tasks.shutdown().await;
    Ok(())
}

/// Strangers that are told so at once; more of them are cut off without a word.
const STRANGERS: usize = 16;

/// What the connections share.
struct Hall {
    reports: Arc<dyn Reports>,
    routes: Router,
    limits: ReportLimits,
    places: Arc<Semaphore>,
    strangers: Semaphore,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
    closing: watch::Receiver<bool>,
    throttle: Mutex<Throttle>,
    origin: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hall {
    /// One connection, to its end.
    async fn receive(&self, stream: UnixStream) {
        let Ok(found) = mainstay_sys::peer::credentials(&stream) else {
            return;
        };
        let actor = Actor {
            uid: found.uid,
            gid: found.gid,
            pid: found.pid,
        };
        let Some(app) = self.reports.who(actor).await else {
            let told = lock(&self.throttle).knock(actor.uid, self.origin.elapsed());
            if let Some(passed_over) = told {
                let notice = Notice::ReporterDenied { actor, passed_over };
                self.reports.notice(notice);
            }
            let error = Error::new(
                Kind::Denied,
                format!("the socket of reports does not answer {actor}: it is no program's"),
            )
            .help("it is for the programs of the config; a person asks `mainstay faults`");
            return self.dismiss(stream, error).await;
        };
        let Some(_own) = self.enter(&app) else {
            let error = Error::new(
                Kind::TryLater,
                "this app has as many connections open as it may",
            )
            .help("report one fault after the other");
            return self.dismiss(stream, error).await;
        };
        let terms = Terms {
            closing: self.closing.clone(),
            body: self.limits.body,
        };
        converse(
            stream,
            self.routes.clone(),
            App(app),
            terms,
            self.limits.head,
        )
        .await;
    }

    fn enter(&self, app: &str) -> Option<OwnedSemaphorePermit> {
        let mut each = lock(&self.each);
        // Apps are programs of the config: there are only so many.
        let own = each
            .entry(app.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(self.limits.each)));
        Arc::clone(own).try_acquire_owned().ok()
    }

    async fn dismiss(&self, stream: UnixStream, error: Error) {
        if let Ok(_room) = self.strangers.try_acquire() {
            dismiss(stream, error).await;
        }
    }
}

/// How many reports each app may still send: a bucket that fills up again.
#[derive(Debug)]
struct Rates {
    rate: f64,
    burst: f64,
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Duration,
    passed_over: u64,
}

impl Rates {
    fn new(limits: ReportLimits) -> Self {
        Self {
            rate: f64::from(limits.rate),
            burst: f64::from(limits.burst),
            buckets: HashMap::new(),
        }
    }

    /// Takes one; if there is none, the number of those that were refused in a row.
    fn take(&mut self, app: &str, now: Duration) -> Result<(), u64> {
        let (rate, burst) = (self.rate, self.burst);
        let bucket = self.buckets.entry(app.to_owned()).or_insert(Bucket {
            left: burst,
            at: now,
            passed_over: 0,
        });
        let since = now.saturating_sub(bucket.at);
        bucket.left = (bucket.left + since.as_secs_f64() * rate).min(burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            bucket.passed_over += 1;
            return Err(bucket.passed_over);
        }
        bucket.left -= 1.0;
        if bucket.left > burst / 2.0 {
            bucket.passed_over = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_a_burst_and_a_rate() {
        let mut rates = Rates::new(ReportLimits {
            rate: 2,
            burst: 3,
            ..ReportLimits::default()
        });
        let at = Duration::from_millis;
        let table = [
            ("web", 0, Ok(())),
            ("web", 0, Ok(())),
            ("web", 0, Ok(())),
            ("web", 0, Err(1)),
            ("web", 100, Err(2)),
            ("worker", 100, Ok(())),
            ("web", 500, Ok(())),
            ("web", 500, Err(3)),
            ("web", 60_000, Ok(())),
            ("web", 60_000, Ok(())),
            ("web", 60_000, Ok(())),
            ("web", 60_000, Err(1)),
        ];
        for (number, (app, now, expected)) in table.into_iter().enumerate() {
            assert_eq!(rates.take(app, at(now)), expected, "row {number}");
        }
    }
}

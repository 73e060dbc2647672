//! What the daemon hears of faults, and what it orders: the real socket, and a daemon that pretends.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post as posted};
use mainstay_control::wire::{
    DoneDocument, FaultReport, Order, OrderAct, OrderOutcome, OrdersDocument, ReportedDocument,
    WorkState,
};
use mainstay_control::{Actor, Answer, Notice, ReportLimits, Reports, bind, serve_reports};
use mainstay_fault::Class;
use mainstay_journal::{Failure, Journal, MemoryStore};
use mainstay_web::{Failed, Guard, Work};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::client::{eventually, get as ask_for, post, serve};
use crate::log;

/// A daemon that keeps what it is told.
#[derive(Default)]
struct Daemon {
    reports: Mutex<Vec<FaultReport>>,
    orders: Mutex<Vec<Order>>,
    ordered: Notify,
    outcomes: Mutex<Vec<(i64, OrderOutcome)>>,
}

impl Daemon {
    fn serve(socket: &Path) -> Arc<Self> {
        let daemon = Arc::new(Self::default());
        let listener = bind(socket, 0o666, None).unwrap();
        let limits = ReportLimits {
            rate: 10_000,
            burst: 10_000,
            ..ReportLimits::default()
        };
        // Until the test's runtime ends.
        let reports: Arc<dyn Reports> = Arc::<Self>::clone(&daemon);
        tokio::spawn(serve_reports(
            listener,
            reports,
            limits,
            std::future::pending(),
        ));
        daemon
    }

    /// What it was told of this code, in the order in which it came.
    fn of(&self, code: &str) -> Vec<FaultReport> {
        let reports = self.reports.lock().unwrap();
        let of_it = reports
            .iter()
            .filter(|report| report.code.as_deref() == Some(code));
        of_it.cloned().collect()
    }

    async fn first_of(&self, code: &str) -> FaultReport {
        eventually("the daemon is told", async || !self.of(code).is_empty()).await;
        self.of(code).remove(0)
    }

    /// Waits until the work of this fault is in that state.
    async fn work_is(&self, code: &str, state: WorkState) -> FaultReport {
        let last = || self.of(code).pop();
        let is_there = || {
            let work = last().and_then(|report| report.work);
            work.is_some_and(|work| work.state == state)
        };
        eventually("the work goes on", async || is_there()).await;
        last().unwrap()
    }

    async fn order(&self, order: Order) -> OrderOutcome {
        let id = order.id;
        *self.orders.lock().unwrap() = vec![order];
        self.ordered.notify_one();
        let outcome = || {
            let outcomes = self.outcomes.lock().unwrap();
            let found = outcomes.iter().find(|(known, _)| *known == id);
            found.map(|(_, outcome)| outcome.clone())
        };
        eventually("the order is answered", async || outcome().is_some()).await;
        outcome().unwrap()
    }
}

impl Reports for Daemon {
    fn who(&self, _: Actor) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> {
        Box::pin(async { Some("app".to_owned()) })
    }

    fn report(&self, _: String, report: FaultReport) -> Answer<'_, ReportedDocument> {
        let code = report.code.clone().unwrap_or_default();
        self.reports.lock().unwrap().push(report);
        Box::pin(async move { Ok(ReportedDocument::new(code, true)) })
    }

    fn orders(&self, _: String, wait: Duration) -> Answer<'_, OrdersDocument> {
        Box::pin(async move {
            if self.orders.lock().unwrap().is_empty() {
                let _ = tokio::time::timeout(wait, self.ordered.notified()).await;
            }
            Ok(OrdersDocument::new(self.orders.lock().unwrap().clone()))
        })
    }

    fn outcome(&self, _: String, id: i64, outcome: OrderOutcome) -> Answer<'_, DoneDocument> {
        self.orders.lock().unwrap().retain(|order| order.id != id);
        self.outcomes.lock().unwrap().push((id, outcome));
        Box::pin(async { Ok(DoneDocument::new()) })
    }

    fn notice(&self, _: Notice) {}
}

/// A directory for the socket, which others may enter.
fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

/// An app whose step can't be undone until it may be.
async fn app(socket: &Path, may_undo: &Arc<AtomicBool>) -> (Guard, SocketAddr) {
    log::listen();
    let may_undo = Arc::clone(may_undo);
    let journal = Journal::with(MemoryStore::default()).undo("crm.create", move |_| {
        let may = may_undo.load(Ordering::SeqCst);
        async move {
            may.then_some(())
                .ok_or_else(|| Failure::refused("they keep it, password=hunter2"))
        }
    });
    let guard = Guard::builder()
        .journal(journal)
        .daemon(Some(socket))
        .release("1.2.3")
        .start()
        .await
        .unwrap();
    let routes = Router::new()
        .route(
            "/fails",
            get(async || -> Result<&'static str, Failed> {
                Err(Failed::told(Class::DatabaseQuery, "no such table"))
            }),
        )
        .route(
            "/panics",
            get(async || -> &'static str { panic!("out of rope") }),
        )
        .route(
            "/order",
            posted(async |mut work: Work| -> Result<&'static str, Failed> {
                work.step("crm.create", json!({}))
                    .run(|_| async { Ok::<(), Failure>(()) })
                    .await?;
                Err(Failed::told(Class::Internal, "and then it failed"))
            }),
        )
        .layer(guard.layer());
    (guard, serve(routes).await)
}

#[tokio::test]
async fn faults_are_told_with_all_that_is_known() {
    let directory = place();
    let socket = directory.path().join("report.sock");
    let daemon = Daemon::serve(&socket);
    let (guard, server) = app(&socket, &Arc::default()).await;
    assert_eq!(ask_for(server, "/nothing").await.status, 404);
    let answer = ask_for(server, "/fails?token=secret").await;
    let report = daemon.first_of(answer.header("x-fault-id")).await;
    assert_eq!(report.title, "no such table");
    assert_eq!(report.class.as_deref(), Some("database.query"));
    assert_eq!((report.status, report.count), (Some(500), 1));
    assert_eq!(report.severity.as_deref(), Some("critical"));
    assert_eq!(report.notify.as_deref(), Some("always"));
    assert_eq!(report.release.as_deref(), Some("1.2.3"));
    assert!(report.place.as_deref().unwrap().contains("daemon.rs"));
    let request = report.request.unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/fails")
    );
    assert_eq!(request.id, answer.header("x-request-id"));
    assert!(report.work.is_none() && !report.alerted);

    let answer = ask_for(server, "/panics").await;
    let report = daemon.first_of(answer.header("x-fault-id")).await;
    assert_eq!(report.title, "out of rope");
    let trace = report.trace.join("\n");
    assert!(trace.contains("daemon::app"), "{trace}");

    guard.shutdown(Duration::from_secs(20)).await;
    let codes = daemon.reports.lock().unwrap().len();
    assert_eq!(codes, 2, "a page that is not there is no fault");
}

#[tokio::test]
async fn an_undo_is_followed_and_people_decide() {
    let directory = place();
    let socket = directory.path().join("report.sock");
    let daemon = Daemon::serve(&socket);
    let may_undo = Arc::new(AtomicBool::new(false));
    let (guard, server) = app(&socket, &may_undo).await;
    let answer = post(server, "/order").await;
    let code = answer.header("x-fault-id").to_owned();
    let report = daemon.work_is(&code, WorkState::Stuck).await;
    let work = report.work.unwrap();
    assert_eq!(work.steps[0].name, "crm.create");
    assert_eq!(work.steps[0].state, "stuck");
    let error = work.steps[0].error.clone().unwrap();
    assert!(error.contains("they keep it"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");

    let order = |id: i64, step: &str| Order {
        id,
        code: code.clone(),
        work: work.id.clone(),
        act: OrderAct::Retry,
        step: Some(step.to_owned()),
        by: "anna".to_owned(),
        reason: Some("they let go".to_owned()),
    };
    let outcome = daemon.order(order(1, "bank.charge")).await;
    assert!(!outcome.done, "{outcome:?}");
    assert!(outcome.detail.unwrap().contains("`crm.create` is next"));
    may_undo.store(true, Ordering::SeqCst);
    let outcome = daemon.order(order(2, "crm.create")).await;
    assert!(outcome.done, "{outcome:?}");
    let report = daemon.work_is(&code, WorkState::Undone).await;
    assert_eq!(report.work.unwrap().steps[0].state, "undone");
    assert_eq!(report.title, "and then it failed", "all of it again");
    let listed = guard.journal().unwrap().operator().show(&work.id).await;
    let interventions = listed.unwrap().report()["work"]["interventions"].to_string();
    assert!(
        interventions.contains("anna: they let go"),
        "{interventions}"
    );
    guard.shutdown(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn what_happens_while_the_daemon_is_away_is_told_later() {
    let directory = place();
    let socket = directory.path().join("report.sock");
    let (guard, server) = app(&socket, &Arc::default()).await;
    let mut codes = Vec::new();
    for _ in 0..100 {
        let answer = ask_for(server, "/fails").await;
        codes.push(answer.header("x-fault-id").to_owned());
    }
    let daemon = Daemon::serve(&socket);
    let told = || {
        let reports = daemon.reports.lock().unwrap();
        reports.iter().map(|report| report.count).sum::<u64>()
    };
    eventually("all are counted", async || told() == 100).await;
    guard.shutdown(Duration::from_secs(20)).await;
    assert_eq!(told(), 100, "none twice");
    // The first ones have codes of their own, the rest is together.
    for code in &codes[..7] {
        assert_eq!(daemon.of(code).len(), 1);
    }
    assert!(daemon.reports.lock().unwrap().len() < 20);
}

//! The socket of the apps.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_control::wire::{
    DoneDocument, FaultReport, Order, OrderAct, OrderOutcome, OrdersDocument, ReportedDocument,
};
use mainstay_control::{
    Actor, Answer, Error, Kind, Notice, ReportLimits, Reporter, Reports, Who, bind, serve_reports,
};
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};

use crate::fake::{DEADLINE, open_dir, post, raw, refusal};

/// A daemon that pretends: whoever asks is `app`, if there is one.
#[derive(Default)]
struct Fake {
    app: Option<&'static str>,
    reports: Mutex<Vec<(String, FaultReport)>>,
    orders: Mutex<Vec<Order>>,
    ordered: Notify,
    outcomes: Mutex<Vec<(i64, OrderOutcome)>>,
    notices: Mutex<Vec<Notice>>,
}

impl Reports for Fake {
    fn who(&self, actor: Actor) -> Who<'_> {
        assert_eq!(
            actor.pid.map(i32::cast_unsigned),
            Some(std::process::id()),
            "the kernel says who"
        );
        Box::pin(async move { self.app.map(str::to_owned) })
    }

    fn report(&self, app: String, report: FaultReport) -> Answer<'_, ReportedDocument> {
        Box::pin(async move {
            let code = report.code.clone().unwrap_or("K7Q29-XWD4M".into());
            self.reports.lock().unwrap().push((app, report));
            Ok(ReportedDocument::new(code, true))
        })
    }

    fn orders(&self, _: String, wait: Duration) -> Answer<'_, OrdersDocument> {
        Box::pin(async move {
            let ready = self.ordered.notified();
            if self.orders.lock().unwrap().is_empty() {
                let _ = tokio::time::timeout(wait, ready).await;
            }
            Ok(OrdersDocument::new(self.orders.lock().unwrap().clone()))
        })
    }

    fn outcome(&self, _: String, id: i64, outcome: OrderOutcome) -> Answer<'_, DoneDocument> {
        Box::pin(async move {
            if id != 7 {
                return Err(Error::new(Kind::UnknownName, "there is no such order"));
            }
            self.outcomes.lock().unwrap().push((id, outcome));
            Ok(DoneDocument::new())
        })
    }

    fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }
}

struct Rig {
    _dir: TempDir,
    path: std::path::PathBuf,
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Rig {
    fn start(app: Option<&'static str>, limits: ReportLimits) -> Self {
        let dir = open_dir();
        let path = dir.path().join("report.sock");
        let listener = bind(&path, 0o666, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let fake = Arc::new(Fake {
            app,
            ..Fake::default()
        });
        let behind: Arc<dyn Reports> = Arc::<Fake>::clone(&fake);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve_reports(listener, behind, limits, async move {
            stopped.await.unwrap();
        }));
        Self {
            _dir: dir,
            path,
            fake,
            stop,
            server,
        }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        let ended = tokio::time::timeout(DEADLINE, self.server).await;
        ended.unwrap().unwrap().unwrap();
        assert!(!self.path.exists());
    }
}

fn order() -> Order {
    Order {
        id: 7,
        code: "K7Q29-XWD4M".into(),
        work: "w1".into(),
        act: OrderAct::Skip,
        step: Some("crm.create".into()),
        by: "ops".into(),
        reason: Some("done by hand".into()),
    }
}

#[tokio::test]
async fn an_app_reports_fetches_orders_and_tells_what_came_of_them() {
    let rig = Rig::start(Some("shop"), ReportLimits::default());
    let reporter = Reporter::new(&rig.path);
    let report = FaultReport::new("it broke");
    let reported = reporter.report(&report).await.unwrap();
    assert_eq!(reported, ReportedDocument::new("K7Q29-XWD4M", true));
    assert_eq!(
        *rig.fake.reports.lock().unwrap(),
        [("shop".to_owned(), report)]
    );

    let none = reporter.orders(Duration::ZERO).await.unwrap();
    assert_eq!(none.orders, []);
    // Who waits is told as soon as there is one.
    let (waited, ()) = tokio::join!(reporter.orders(Duration::from_mins(1)), async {
        rig.fake.orders.lock().unwrap().push(order());
        rig.fake.ordered.notify_one();
    });
    assert_eq!(waited.unwrap().orders, [order()]);

    let refused = OrderOutcome::refused("another step is next");
    reporter.settle(7, &refused).await.unwrap();
    assert_eq!(*rig.fake.outcomes.lock().unwrap(), [(7, refused)]);
    let unknown = reporter.settle(8, &OrderOutcome::done()).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::UnknownName);
    rig.end().await;
}

#[tokio::test]
async fn strangers_are_refused_whatever_they_send() {
    let rig = Rig::start(None, ReportLimits::default());
    for request in [
        post("/v1/faults", r#"{"title":"it broke"}"#),
        b"GET /v1/orders HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"rubbish\r\n\r\n".to_vec(),
    ] {
        let (status, error) = refusal(&raw(&rig.path, &request).await);
        assert_eq!((status, error.kind), (403, Kind::Denied));
    }
    assert!(rig.fake.reports.lock().unwrap().is_empty());
    let notices = rig.fake.notices.lock().unwrap().len();
    assert_eq!(notices, 1, "told once");
    rig.end().await;
}

#[tokio::test]
async fn what_is_no_report_is_refused_and_nothing_else_is_answered() {
    let rig = Rig::start(Some("shop"), ReportLimits::default());
    let large = format!(r#"{{"title":"{}"}}"#, "x".repeat(300_000));
    for (request, status, kind) in [
        (post("/v1/faults", "{}"), 400, Kind::Usage),
        (post("/v1/faults", r#"{"title":""}"#), 400, Kind::Usage),
        (post("/v1/faults", &large), 413, Kind::TooLarge),
        (post("/v1/shutdown", "{}"), 404, Kind::NoSuchRoute),
        (post("/v1/orders/x", r#"{"done":true}"#), 400, Kind::Usage),
        (
            b"GET /v1/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
            405,
            Kind::WrongMethod,
        ),
        (
            b"GET /v1/orders?wait=x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
            400,
            Kind::Usage,
        ),
    ] {
        let (found, error) = refusal(&raw(&rig.path, &request).await);
        assert_eq!((found, error.kind), (status, kind), "{}", error.message);
    }
    rig.end().await;
}

#[tokio::test]
async fn a_flood_is_refused_and_said_once() {
    let limits = ReportLimits {
        rate: 0,
        burst: 3,
        ..ReportLimits::default()
    };
    let rig = Rig::start(Some("shop"), limits);
    let reporter = Reporter::new(&rig.path);
    let mut refused = 0;
    for _ in 0..10 {
        match reporter.report(&FaultReport::new("it broke")).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind, Kind::TryLater);
                refused += 1;
            }
        }
    }
    assert_eq!((refused, rig.fake.reports.lock().unwrap().len()), (7, 3));
    assert_eq!(
        *rig.fake.notices.lock().unwrap(),
        [Notice::ReportsPassedOver("shop".into())]
    );
    rig.end().await;
}

#[tokio::test]
async fn who_waits_for_an_order_does_not_hold_up_the_end() {
    let rig = Rig::start(Some("shop"), ReportLimits::default());
    let reporter = Reporter::new(&rig.path);
    let waiting = tokio::spawn(async move { reporter.orders(Duration::from_mins(1)).await });
    // Once it is counted as waiting, the end lets it go with an answer.
    tokio::time::timeout(DEADLINE, async {
        while Arc::strong_count(&rig.fake) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .ok();
    rig.end().await;
    let ended = tokio::time::timeout(DEADLINE, waiting).await;
    drop(ended.expect("it was let go").unwrap());
}

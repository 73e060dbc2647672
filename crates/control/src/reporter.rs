//! What an app asks of its daemon.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::wire::{DoneDocument, FaultReport, OrderOutcome, OrdersDocument, ReportedDocument};

/// The variable in the environment of a program that holds the path of the socket for [`Reporter`].
pub const REPORT_VARIABLE: &str = "MAINSTAY_REPORT";

/// How long an answer may take: an app has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the daemon that supervises this process of faults, and fetches orders for it.
///
/// Nothing in it blocks a thread; the methods need a tokio runtime, which the caller provides.
///
/// ```no_run
/// use mainstay_control::Reporter;
/// use mainstay_control::wire::FaultReport;
///
/// # async fn example(socket: &str) -> Result<(), mainstay_control::Error> {
/// // The path is in the variable of this process's environment that REPORT_VARIABLE names.
/// let reporter = Reporter::new(socket);
/// let mut report = FaultReport::new("no such table: orders");
/// report.class = Some("database.query".to_owned());
/// let reported = reporter.report(&report).await?;
/// println!("the visitor is shown {}", reported.code);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Reporter(Client);

impl Reporter {
    /// One that reports at that socket. Nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self(Client::new(socket).patience(PATIENCE))
    }

    /// Tells of a fault, cut to what is kept. When this returns it outlives the daemon, if
    /// [`ReportedDocument::stored`] says so. One that failed may be sent again: with a code it counts
    /// once.
    ///
    /// # Errors
    /// [`Kind::NotReachable`](crate::Kind::NotReachable) if no daemon answers,
    /// [`Kind::TryLater`](crate::Kind::TryLater) if this app reports too much,
    /// [`Kind::Denied`](crate::Kind::Denied) if this process is no program's of that daemon.
    pub async fn report(&self, report: &FaultReport) -> Result<ReportedDocument, Error> {
        let fitted = report.clone().fitted();
        self.0.post("/v1/faults", &fitted, true).await
    }

    /// The orders that this app has told no outcome of. Where there are none, the daemon waits so long
    /// for one, at most a minute; whole seconds count.
    ///
    /// # Errors
    /// As [`Self::report`].
    pub async fn orders(&self, wait: Duration) -> Result<OrdersDocument, Error> {
        let wait = wait.as_secs().min(60);
        let client = self
            .0
            .clone()
            .patience(PATIENCE + Duration::from_secs(wait));
        client.get(&format!("/v1/orders?wait={wait}")).await
    }

    /// Says what came of an order. May be said again.
    ///
    /// # Errors
    /// As [`Self::report`]; [`Kind::UnknownName`](crate::Kind::UnknownName) if this app has no such
    /// order.
    pub async fn settle(&self, order: i64, outcome: &OrderOutcome) -> Result<DoneDocument, Error> {
        self.0
            .post(&format!("/v1/orders/{order}"), outcome, true)
            .await
    }
}

//! Faults: what an app reports, what a person is shown, and the orders that go back to the app.
//!
//! Reports are read leniently, unlike other requests: an app may be built with a newer version of this
//! than the daemon has, and what went wrong in it must be known all the same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SCHEMA, check_schema, schema};
use crate::error::{Error, Kind};

/// Largest report, in bytes.
pub const REPORT_LIMIT: usize = 192 * 1024;

/// How much of a report is kept: entries of lists, and bytes of each text.
const CAUSES: usize = 8;
const CAUSE_BYTES: usize = 1024;
const FRAMES: usize = 64;
const FRAME_BYTES: usize = 300;
const RECORDS: usize = 20;
const RECORD_BYTES: usize = 500;
const STEPS: usize = 32;
const ERROR_BYTES: usize = 500;
const TEXT_BYTES: usize = 300;

/// A fault of an app: one occurrence, or several of one kind.
///
/// A report whose code is known brings that one up to date: its `work` and its `count` replace what was
/// said of them before. So one that is sent twice counts once, and how an undo goes on is told by the
/// same report with another [`ReportedWork`].
///
/// Whose fault it is follows from the process that reports it, and is no part of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The release of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The code that the visitor was shown; the daemon makes one if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its class, as docs/errors.md has them: `database.query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The status of the answer; that of its class if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `debug`, `info`, `warning`, `error` or `critical`; that of its class if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Whether a person is told: `always`, `on change`, `on rate` or `never`; as its class says if left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// What makes faults of an app one kind; from class, place and title if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// One line: what went wrong.
    pub title: String,
    /// What caused it, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Where it went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The frames that led to it, the innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
    /// The request in which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<ReportedRequest>,
    /// Records of the log around it, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// How many this report stands for, this one included.
    #[serde(default = "one")]
    pub count: u64,
    /// When the first of them was; now if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// When the last of them was; now if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// What becomes of the work that it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<ReportedWork>,
    /// The app tells people itself: no alert is raised for it.
    #[serde(default)]
    pub alerted: bool,
}

fn one() -> u64 {
    1
}

impl FaultReport {
    /// One occurrence, now, of which nothing else is known.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            release: None,
            code: None,
            class: None,
            status: None,
            severity: None,
            notify: None,
            fingerprint: None,
            title: title.into(),
            causes: Vec::new(),
            place: None,
            trace: Vec::new(),
            request: None,
            records: Vec::new(),
            count: 1,
            first: None,
            last: None,
            work: None,
            alerted: false,
        }
    }

    /// Says what is wrong with it, if anything. Whether there are such a class and such a severity is
    /// for the daemon to say.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        if self.title.trim().is_empty() {
            return Err(
                Error::new(Kind::Usage, "the report of a fault has no title")
                    .help("say in one line what went wrong"),
            );
        }
        if self.count == 0 {
            return Err(
                Error::new(Kind::Usage, "the report of a fault counts none").help("count from 1")
            );
        }
        Ok(())
    }

    /// Cut to what is kept of a report: long lists lose their end (of records: their beginning), long
    /// texts are cut, control characters become blanks, and what comes after `?` in the request's path
    /// is struck out. So it fits into [`REPORT_LIMIT`].
    #[must_use]
    pub fn fitted(mut self) -> Self {
        for text in [
            &mut self.release,
            &mut self.code,
            &mut self.class,
            &mut self.severity,
            &mut self.notify,
            &mut self.fingerprint,
            &mut self.place,
        ]
        .into_iter()
        .flatten()
        {
            fit(text, TEXT_BYTES);
        }
        fit(&mut self.title, TEXT_BYTES);
        fit_all(&mut self.causes, CAUSES, CAUSE_BYTES);
        fit_all(&mut self.trace, FRAMES, FRAME_BYTES);
        let surplus = self.records.len().saturating_sub(RECORDS);
        self.records.drain(..surplus);
        fit_all(&mut self.records, RECORDS, RECORD_BYTES);
        if let Some(request) = &mut self.request {
            for text in [&mut request.id, &mut request.method, &mut request.path] {
                fit(text, TEXT_BYTES);
            }
            if let Some(at) = request.path.find(['?', '#']) {
                request.path.truncate(at);
            }
        }
        if let Some(work) = &mut self.work {
            fit(&mut work.id, TEXT_BYTES);
            work.steps.truncate(STEPS);
            for step in &mut work.steps {
                fit(&mut step.name, TEXT_BYTES);
                fit(&mut step.state, TEXT_BYTES);
                if let Some(error) = &mut step.error {
                    fit(error, ERROR_BYTES);
                }
            }
        }
        self
    }
}

/// Cuts a text to so many bytes, without control characters.
fn fit(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let mut end = bytes - "…".len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    if text.chars().any(char::is_control) {
        *text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
    }
}

fn fit_all(texts: &mut Vec<String>, count: usize, bytes: usize) {
    texts.truncate(count);
    for text in texts {
        fit(text, bytes);
    }
}

/// The request in which a fault was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportedRequest {
    /// Its id, as the log has it.
    #[serde(default)]
    pub id: String,
    /// Its method.
    #[serde(default)]
    pub method: String,
    /// Its path, without the query.
    #[serde(default)]
    pub path: String,
}

/// A unit of work of an app, and how far its undo is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedWork {
    /// Its id in the app's journal.
    pub id: String,
    /// How far it is.
    pub state: WorkState,
    /// Its steps, in the order in which they were begun; of one that is being finished, its actions.
    #[serde(default)]
    pub steps: Vec<ReportedStep>,
}

/// How far a work is that was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// It is not decided yet which way it ends.
    Open,
    /// What it did is being undone.
    Undoing,
    /// All that it did is undone.
    Undone,
    /// It was committed, and the rest of it is being done.
    Finishing,
    /// All of it is done.
    Done,
    /// A step can't be undone, or an action can't be run: a person decides.
    Stuck,
}

impl WorkState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Finishing => "finishing",
            Self::Done => "done",
            Self::Stuck => "stuck",
        }
    }

    /// Whether nothing more becomes of it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Undone | Self::Done)
    }
}

impl std::fmt::Display for WorkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A step of a work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportedStep {
    /// What the app calls it.
    pub name: String,
    /// How far it is: `done`, `undone`, `refused`, `unknown`, `skipped`, `stuck`.
    #[serde(default)]
    pub state: String,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The code of the fault.
    pub code: String,
    /// Whether it is on disk. If not, it is in memory until the disk can be written to again.
    pub stored: bool,
}

impl ReportedDocument {
    /// A report with this code.
    pub fn new(code: impl Into<String>, stored: bool) -> Self {
        Self {
            schema: SCHEMA,
            code: code.into(),
            stored,
        }
    }
}

/// What a person wants done about a work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderAct {
    /// What is next in it is tried again.
    Retry,
    /// What is next in it is taken for done.
    Skip,
}

impl OrderAct {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }
}

impl std::fmt::Display for OrderAct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// An order that an app has to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number, by which its outcome is told.
    pub id: i64,
    /// The code of the fault.
    pub code: String,
    /// The work, by its id in the app's journal.
    pub work: String,
    /// What is wanted.
    pub act: OrderAct,
    /// The step that the person means. If another one is next in the work, the order is out of date:
    /// it is to be refused.
    #[serde(default)]
    pub step: Option<String>,
    /// Who wants it, for the journal.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The orders for an app that it has told no outcome of, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The orders.
    #[serde(default)]
    pub orders: Vec<Order>,
}

impl OrdersDocument {
    /// These.
    pub fn new(orders: Vec<Order>) -> Self {
        Self {
            schema: SCHEMA,
            orders,
        }
    }
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Whether it was carried out. What the work came to by it is told by a report.
    pub done: bool,
    /// Why not, or what there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl OrderOutcome {
    /// It was carried out.
    pub const fn done() -> Self {
        Self {
            schema: SCHEMA,
            done: true,
            detail: None,
        }
    }

    /// It was not, for this reason.
    pub fn refused(why: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            done: false,
            detail: Some(why.into()),
        }
    }

    /// Says what is wrong with it, if anything; cuts what is too long.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        check_schema(self.schema)?;
        if let Some(detail) = &mut self.detail {
            fit(detail, ERROR_BYTES);
        }
        Ok(self)
    }
}

/// Which faults are asked for. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultQuery {
    /// Of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Seen since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// At least as grave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Kinds of faults, the one that was seen last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultsDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The kinds.
    #[serde(default)]
    pub faults: Vec<FaultStatus>,
    /// How many more there are.
    #[serde(default)]
    pub more: u64,
    /// Why some are in memory only; none when all is well.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// Faults of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// The code of the last occurrence.
    pub code: String,
    /// The program.
    pub app: String,
    /// What makes them one kind.
    pub fingerprint: String,
    /// Their class.
    pub class: String,
    /// The status of the answer.
    pub status: u16,
    /// How grave they are.
    pub severity: String,
    /// One line: what went wrong.
    pub title: String,
    /// Where it went wrong.
    pub place: Option<String>,
    /// How many there were.
    pub count: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// The release in which the first was.
    pub introduced: Option<String>,
    /// The release in which the last was.
    pub release: Option<String>,
    /// How far the undo of their works is: of the one that needs a person most.
    pub undo: Option<WorkState>,
}

/// One fault, with its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its kind.
    pub fault: FaultStatus,
    /// The occurrence with the code that was asked for; none if no more is known of it than its kind.
    pub occurrence: Option<OccurrenceStatus>,
    /// The last occurrences of its kind, the newest first.
    #[serde(default)]
    pub last: Vec<OccurrenceStatus>,
    /// What people wanted done about works of its kind, the newest first.
    #[serde(default)]
    pub orders: Vec<OrderStatus>,
    /// Why some of it is in memory only; none when all is well.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// One occurrence of a fault, or several that were told together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceStatus {
    /// Its code.
    pub code: String,
    /// When it was; of several, the last.
    pub at: Timestamp,
    /// How many.
    pub count: u64,
    /// The release.
    pub release: Option<String>,
    /// What it said, where that differs from the title of its kind.
    pub title: String,
    /// What caused it, the nearest first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The frames that led to it, the innermost first.
    #[serde(default)]
    pub trace: Vec<String>,
    /// The request in which it was.
    pub request: Option<ReportedRequest>,
    /// Records of the log around it, the oldest first.
    #[serde(default)]
    pub records: Vec<String>,
    /// What becomes of the work that it broke off.
    pub work: Option<ReportedWork>,
}

/// What a person wanted done about a work, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// The order.
    #[serde(flatten)]
    pub order: Order,
    /// When it was given.
    pub at: Timestamp,
    /// `waiting`, `fetched`, `done` or `refused`.
    pub state: String,
    /// When the app told the outcome.
    pub ended: Option<Timestamp>,
    /// What the app said.
    pub detail: Option<String>,
}

/// Asks for something to be done about the work of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The code of the fault.
    pub code: String,
    /// What.
    pub act: OrderAct,
    /// The step that is meant; needed to skip it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why; needed to skip a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl OrderRequest {
    /// What is next in the work of this fault is to be tried again.
    pub fn retry(code: impl Into<String>, step: Option<String>) -> Self {
        Self {
            schema: SCHEMA,
            code: code.into(),
            act: OrderAct::Retry,
            step,
            reason: None,
        }
    }

    /// This step is to be taken for done, for this reason.
    pub fn skip(
        code: impl Into<String>,
        step: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            code: code.into(),
            act: OrderAct::Skip,
            step: Some(step.into()),
            reason: Some(reason.into()),
        }
    }

    /// Says what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        let given = [
            ("the code of a fault", Some(&self.code)),
            ("the step of an order", self.step.as_ref()),
            ("the reason of an order", self.reason.as_ref()),
        ];
        for (what, text) in given {
            if let Some(text) = text
                && (text.trim().is_empty()
                    || text.len() > TEXT_BYTES
                    || text.chars().any(char::is_control))
            {
                return Err(Error::new(
                    Kind::Usage,
                    format!("{what} has 1 to {TEXT_BYTES} bytes and no control characters"),
                )
                .help("`mainstay faults CODE` shows the steps of its work"));
            }
        }
        if self.act == OrderAct::Skip && (self.step.is_none() || self.reason.is_none()) {
            return Err(Error::new(Kind::Usage, "to skip needs a step and a reason")
                .help("what was not undone stays: say which step, and why it need not be undone"));
        }
        Ok(())
    }

    /// What it is about, in one line.
    pub(crate) fn object(&self) -> String {
        let step = self.step.as_ref().map(|step| format!(" {step}"));
        format!("{} {}{}", self.act, self.code, step.unwrap_or_default())
    }
}

/// The order that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The order.
    pub order: OrderStatus,
    /// The app.
    pub app: String,
    /// Whether a process of the app runs, which could fetch it.
    pub runs: bool,
}

/// Asks to forget kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// [`SCHEMA`]; may be left out.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Codes, each of a kind that is to be forgotten.
    pub codes: Vec<String>,
}

impl ForgetRequest {
    /// The kinds of these.
    pub fn new(codes: Vec<String>) -> Self {
        Self {
            schema: SCHEMA,
            codes,
        }
    }

    /// Says what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Error> {
        check_schema(self.schema)?;
        if self.codes.is_empty() || self.codes.iter().any(|code| code.len() > TEXT_BYTES) {
            return Err(Error::new(Kind::Usage, "the request names no fault")
                .help("give codes as `mainstay faults` lists them"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_a_report() {
        let report: FaultReport =
            serde_json::from_str(r#"{"title":"it broke","of a newer version":1}"#).unwrap();
        assert_eq!(report, FaultReport::new("it broke"));
        assert!(report.check().is_ok());
        for (text, wrong) in [
            (r#"{"title":" "}"#, "no title"),
            (r#"{"title":"x","count":0}"#, "counts none"),
            (r#"{"title":"x","schema":2}"#, "schema 2"),
        ] {
            let report: FaultReport = serde_json::from_str(text).unwrap();
            let said = report.check().unwrap_err().message;
            assert!(said.contains(wrong), "{text}: {said}");
        }
    }

    /// Whatever an app puts in, what is sent fits.
    #[test]
    fn the_largest_report_fits() {
        let long = "\"\u{1b}é".repeat(10_000);
        let mut report = FaultReport::new(&long);
        for text in [
            &mut report.release,
            &mut report.code,
            &mut report.class,
            &mut report.fingerprint,
            &mut report.place,
        ] {
            *text = Some(long.clone());
        }
        report.causes = vec![long.clone(); 1000];
        report.trace = vec![long.clone(); 1000];
        report.records = (0..1000).map(|n| format!("{n} {long}")).collect();
        report.request = Some(ReportedRequest {
            id: long.clone(),
            method: "GET".to_owned(),
            path: "/form?token=hunter2".to_owned(),
        });
        let step = ReportedStep {
            name: long.clone(),
            state: "stuck".to_owned(),
            error: Some(long.clone()),
        };
        report.work = Some(ReportedWork {
            id: long,
            state: WorkState::Stuck,
            steps: vec![step; 1000],
        });
        let fitted = report.fitted();
        let bytes = serde_json::to_vec(&fitted).unwrap();
        assert!(bytes.len() < REPORT_LIMIT, "{}", bytes.len());
        assert!(fitted.records.last().unwrap().starts_with("999 "));
        assert_eq!(fitted.request.unwrap().path, "/form");
        assert!(!fitted.title.contains('\u{1b}') && fitted.title.ends_with('…'));
    }

    #[test]
    fn orders_that_make_no_sense_are_refused() {
        let skip = OrderRequest::skip("K7Q29-XWD4M", "crm.create", "done by hand");
        assert!(skip.check().is_ok());
        assert_eq!(skip.object(), "skip K7Q29-XWD4M crm.create");
        let retry = OrderRequest::retry("K7Q29-XWD4M", None);
        assert!(retry.check().is_ok());
        for change in [
            |order: &mut OrderRequest| order.step = None,
            |order: &mut OrderRequest| order.reason = None,
            |order: &mut OrderRequest| order.reason = Some(" ".to_owned()),
            |order: &mut OrderRequest| order.code = "x\n".to_owned(),
            |order: &mut OrderRequest| order.step = Some("x".repeat(301)),
            |order: &mut OrderRequest| order.schema = 2,
        ] {
            let mut order = skip.clone();
            change(&mut order);
            assert!(order.check().is_err(), "{order:?}");
        }
    }
}

//! Between the documents of the API and what the ledger thinks in. Pure.

use jiff::Timestamp;
use mainstay_control::wire::{
    self, FaultDocument, FaultReport, FaultStatus, OccurrenceStatus, OrderAct, OrderStatus,
    ReportedRequest, ReportedStep, ReportedWork, SCHEMA,
};
use mainstay_control::{Error, Kind as ErrorKind};
use mainstay_fault::ledger::{
    Act, Asking, Detail, Found, Kind, Occurrence, Order, Seen, Step, Work, WorkState,
};
use mainstay_fault::{Class, Id, Notify, Severity};

/// How far a clock of an app may be ahead before it is not believed.
const AHEAD: std::time::Duration = std::time::Duration::from_mins(5);

const SEVERITIES: [Severity; 5] = [
    Severity::Debug,
    Severity::Info,
    Severity::Warning,
    Severity::Error,
    Severity::Critical,
];

const NOTIFIES: [Notify; 4] = [
    Notify::Never,
    Notify::OnRate,
    Notify::OnChange,
    Notify::Always,
];

/// An occurrence, and whether a person is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) occurrence: Occurrence,
    pub(crate) notify: Notify,
    /// The app tells people itself.
    pub(crate) alerted: bool,
}

impl Incoming {
    /// One that was found in output: its class says what follows.
    pub(super) fn found(occurrence: Occurrence) -> Self {
        let class = occurrence.class.parse::<Class>();
        Self {
            notify: class.map_or(Notify::Always, |class| class.rule().notify),
            alerted: false,
            occurrence,
        }
    }
}

/// The code that a person wrote.
pub(crate) fn code(text: &str) -> Result<Id, Error> {
    text.parse()
        .map_err(|why| Error::new(ErrorKind::Usage, format!("`{text}` is {why}")))
        .map_err(|error| error.help("`mainstay faults` lists codes"))
}

/// The severity of that name.
pub(crate) fn severity(name: &str) -> Result<Severity, Error> {
    let found = SEVERITIES.into_iter().find(|one| one.name() == name);
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            format!("`{name}` is no severity of faults"),
        )
        .help(format!(
            "they are {}",
            SEVERITIES.map(Severity::name).join(", ")
        ))
    })
}

/// What an app reports.
pub(super) fn incoming(
    app: String,
    report: FaultReport,
    now: Timestamp,
) -> Result<Incoming, Error> {
    // An app may be newer than this daemon: what it calls something that is not known here is kept.
    let class = match &report.class {
        None => Some(Class::Internal),
        Some(name) => name.parse::<Class>().ok(),
    };
    let rule = class.unwrap_or(Class::Internal).rule();
    let grave = match &report.severity {
        None => rule.severity,
        Some(name) => severity(name)?,
    };
    let notify = match &report.notify {
        Some(name) => *NOTIFIES
            .iter()
            .find(|notify| notify.name() == name)
            .ok_or_else(|| {
                let names = NOTIFIES.map(Notify::name).join(", ");
                Error::new(ErrorKind::Usage, format!("`{name}` is no way to notify"))
                    .help(format!("they are {names}"))
            })?,
        None if class == Some(Class::Request) => Notify::Never,
        None if grave == Severity::Critical => Notify::Always,
        None if class.is_none() => Notify::OnRate,
        None => rule.notify,
    };
    let code = report.code.as_deref().map_or(Ok(Id::random()), code)?;
    let class = report.class.unwrap_or_else(|| rule.name.to_owned());
    let fingerprint = report.fingerprint.unwrap_or_else(|| {
        let place = report.place.as_deref().unwrap_or_default();
        mainstay_base::fingerprint(&format!("{class} {place} {}", report.title))
    });
    let last = report
        .last
        .filter(|last| *last <= now + AHEAD)
        .unwrap_or(now);
    Ok(Incoming {
        notify,
        alerted: report.alerted,
        occurrence: Occurrence {
            app,
            fingerprint,
            class,
            status: report.status.unwrap_or(rule.status.as_u16()),
            severity: grave,
            title: report.title,
            place: report.place,
            code,
            count: report.count,
            first: report.first.unwrap_or(last).min(last),
            last,
            release: report.release,
            detail: Detail {
                causes: report.causes,
                trace: report.trace,
                request: report.request.map(|request| Asking {
                    id: request.id,
                    method: request.method,
                    path: request.path,
                }),
                records: report.records,
                work: report.work.map(|work| Work {
                    id: work.id,
                    state: work_state(work.state),
                    steps: work
                        .steps
                        .into_iter()
                        .map(|step| Step {
                            name: step.name,
                            state: step.state,
                            error: step.error,
                        })
                        .collect(),
                }),
            },
        },
    })
}

fn work_state(state: wire::WorkState) -> WorkState {
    match state {
        wire::WorkState::Open => WorkState::Open,
        wire::WorkState::Undoing => WorkState::Undoing,
        wire::WorkState::Undone => WorkState::Undone,
        wire::WorkState::Finishing => WorkState::Finishing,
        wire::WorkState::Done => WorkState::Done,
        wire::WorkState::Stuck => WorkState::Stuck,
    }
}

fn shown_state(state: WorkState) -> wire::WorkState {
    match state {
        WorkState::Open => wire::WorkState::Open,
        WorkState::Undoing => wire::WorkState::Undoing,
        WorkState::Undone => wire::WorkState::Undone,
        WorkState::Finishing => wire::WorkState::Finishing,
        WorkState::Done => wire::WorkState::Done,
        WorkState::Stuck => wire::WorkState::Stuck,
    }
}

/// A kind in a list.
pub(crate) fn status(kind: &Kind) -> FaultStatus {
    FaultStatus {
        code: kind.code.to_string(),
        app: kind.app.clone(),
        fingerprint: kind.fingerprint.clone(),
        class: kind.class.clone(),
        status: kind.status,
        severity: kind.severity.name().to_owned(),
        title: kind.title.clone(),
        place: kind.place.clone(),
        count: kind.count,
        first: kind.first,
        last: kind.last,
        introduced: kind.introduced.clone(),
        release: kind.release.clone(),
        undo: kind.undo.map(shown_state),
    }
}

fn occurrence(seen: &Seen) -> OccurrenceStatus {
    let detail = &seen.detail;
    OccurrenceStatus {
        code: seen.code.to_string(),
        at: seen.at,
        count: seen.count,
        release: seen.release.clone(),
        title: seen.title.clone(),
        causes: detail.causes.clone(),
        trace: detail.trace.clone(),
        request: detail.request.as_ref().map(|asking| ReportedRequest {
            id: asking.id.clone(),
            method: asking.method.clone(),
            path: asking.path.clone(),
        }),
        records: detail.records.clone(),
        work: detail.work.as_ref().map(|work| ReportedWork {
            id: work.id.clone(),
            state: shown_state(work.state),
            steps: work
                .steps
                .iter()
                .map(|step| ReportedStep {
                    name: step.name.clone(),
                    state: step.state.clone(),
                    error: step.error.clone(),
                })
                .collect(),
        }),
    }
}

/// One fault with its kind.
pub(crate) fn document(found: &Found, code: Id, trouble: Option<&str>) -> FaultDocument {
    let last: Vec<OccurrenceStatus> = found.kind.recent.iter().map(occurrence).collect();
    let shown = code.to_string();
    FaultDocument {
        schema: SCHEMA,
        fault: status(&found.kind),
        occurrence: last.iter().find(|one| one.code == shown).cloned(),
        last,
        orders: found.orders.iter().map(order_status).collect(),
        trouble: trouble.map(str::to_owned),
    }
}

/// An order, for the app.
pub(super) fn order(order: &Order) -> wire::Order {
    wire::Order {
        id: order.id,
        code: order.code.to_string(),
        work: order.work.clone(),
        act: match order.act {
            Act::Retry => OrderAct::Retry,
            Act::Skip => OrderAct::Skip,
        },
        step: order.step.clone(),
        by: order.by.clone(),
        reason: order.reason.clone(),
    }
}

/// An order, for a person.
pub(super) fn order_status(one: &Order) -> OrderStatus {
    OrderStatus {
        order: order(one),
        at: one.at,
        state: one.state.name().to_owned(),
        ended: one.ended,
        detail: one.detail.clone(),
    }
}

pub(super) fn act(act: OrderAct) -> Act {
    match act {
        OrderAct::Retry => Act::Retry,
        OrderAct::Skip => Act::Skip,
    }
}

/// What can be done about the work of this fault: the work, if the order makes sense.
pub(super) fn orderable(
    found: &Found,
    code: Id,
    request: &wire::OrderRequest,
) -> Result<Work, Error> {
    let seen = found.kind.recent.iter().find(|seen| seen.code == code);
    let work = seen
        .and_then(|seen| seen.detail.work.clone())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!("the fault {code} has no work that could be undone or finished"),
            )
            .help(format!(
                "`mainstay faults {code}` shows what is known of it"
            ))
        })?;
    if work.state.is_over() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "the work of the fault {code} is {}: nothing is left to do",
                work.state.name()
            ),
        ));
    }
    if let Some(step) = &request.step
        && work.steps.iter().all(|known| known.name != *step)
    {
        let names: Vec<&str> = work.steps.iter().map(|step| step.name.as_str()).collect();
        let error = Error::new(
            ErrorKind::UnknownName,
            format!("the work of the fault {code} has no step `{step}`"),
        );
        return Err(match mainstay_base::nearest(step, names.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("its steps are {}", names.join(", "))),
        });
    }
    Ok(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_770_000_000).unwrap()
    }

    #[test]
    fn what_a_report_leaves_out_follows_from_its_class() {
        type Change = fn(&mut FaultReport);
        use Notify::{Always, Never, OnRate};
        use Severity::{Critical, Error, Info};
        let table: &[(&str, Change, (u16, Severity, Notify))] = &[
            ("nothing given", |_| {}, (500, Critical, Always)),
            (
                "a class",
                |r| r.class = Some("upstream.timeout".into()),
                (504, Error, OnRate),
            ),
            (
                "a page that is not there, however grave",
                |r| {
                    r.class = Some("request".into());
                    r.severity = Some("critical".into());
                },
                (400, Critical, Never),
            ),
            (
                "more grave than its class",
                |r| {
                    r.class = Some("upstream.timeout".into());
                    r.severity = Some("critical".into());
                },
                (504, Critical, Always),
            ),
            (
                "the app's own word",
                |r| {
                    r.notify = Some("on rate".into());
                    r.status = Some(418);
                    r.severity = Some("info".into());
                },
                (418, Info, OnRate),
            ),
            (
                "a class of a newer version",
                |r| {
                    r.class = Some("quantum".into());
                    r.severity = Some("error".into());
                },
                (500, Error, OnRate),
            ),
        ];
        for (what, change, expected) in table {
            let mut report = FaultReport::new("it broke");
            change(&mut report);
            let incoming = incoming("shop".into(), report, now()).unwrap();
            let one = &incoming.occurrence;
            let found = (one.status, one.severity, incoming.notify);
            assert_eq!(found, *expected, "{what}");
            assert_eq!((one.first, one.last), (now(), now()), "{what}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_a_wrong_clock_is_not_believed() {
        let wrong: [fn(&mut FaultReport); 3] = [
            |r| r.code = Some("nonsense".into()),
            |r| r.severity = Some("awful".into()),
            |r| r.notify = Some("loudly".into()),
        ];
        for change in wrong {
            let mut report = FaultReport::new("it broke");
            change(&mut report);
            let error = incoming("shop".into(), report, now()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
        }
        let mut report = FaultReport::new("it broke");
        report.code = Some("k7q29 xwd4m".into());
        report.last = Some(now() + std::time::Duration::from_hours(1));
        report.first = report.last;
        let one = incoming("shop".into(), report, now()).unwrap().occurrence;
        assert_eq!(one.code.to_string(), "K7Q29-XWD4M");
        assert_eq!((one.first, one.last), (now(), now()));
    }

    #[test]
    fn kinds_of_reports_without_a_fingerprint_are_told_apart() {
        let of = |class: &str, place: &str, title: &str| {
            let mut report = FaultReport::new(title);
            report.class = Some(class.into());
            report.place = Some(place.into());
            incoming("shop".into(), report, now())
                .unwrap()
                .occurrence
                .fingerprint
        };
        let one = of("panic", "a.rs:1", "user 17 is gone");
        assert_eq!(one, of("panic", "a.rs:1", "user 18 is gone"));
        assert_ne!(one, of("data", "a.rs:1", "user 17 is gone"));
        assert_ne!(one, of("panic", "a.rs:1", "group 17 is gone"));
    }
}

//! `mainstay faults`: what went wrong in programs, for people and for scripts.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::SystemClock;
use mainstay_control::wire::{
    FaultDocument, FaultQuery, FaultStatus, FaultsDocument, ForgetRequest, OccurrenceStatus,
    OrderRequest, OrderStatus, ReportedWork, WorkState,
};
use mainstay_control::{Client, Error, Kind};
use mainstay_fault::ledger::Ledger;

use super::logs::when;
use crate::cli::{Cli, FaultAct, Faults};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::render::{self, Paint, Tone, plain, table};
use crate::{command, faults};

/// What nobody needs to look at is listed only if it is asked for.
const LEAST: &str = "warning";
/// So many are listed with `--all`.
const ALL: usize = 100_000;
/// How often is looked whether an order was carried out.
const LOOK: Duration = Duration::from_millis(300);

/// Does it.
pub(crate) fn run(cli: &Cli, output: &Output, asked: &Faults) -> Result<Exit, Failure> {
    match (&asked.act, &asked.code) {
        (Some(FaultAct::Retry { code, step, wait }), _) => {
            let request = OrderRequest::retry(code, step.clone());
            order(cli, output, &request, *wait)
        }
        (
            Some(FaultAct::Skip {
                code,
                step,
                reason,
                wait,
            }),
            _,
        ) => {
            let request = OrderRequest::skip(code, step, reason);
            order(cli, output, &request, *wait)
        }
        (Some(FaultAct::Forget { codes }), _) => {
            let client = command::client(cli)?;
            let request = ForgetRequest::new(codes.clone());
            let document = command::ask(async { Ok(client.forget_faults(&request).await?) })?;
            if output.json {
                output.document(&document);
            } else {
                output.say(document.detail.as_deref().unwrap_or("done"));
            }
            Ok(Exit::Done)
        }
        (None, Some(code)) => show(cli, output, code),
        (None, None) => list(cli, output, asked),
    }
}

/// What the daemon says; without one, what is in its ledger.
fn either<T>(
    cli: &Cli,
    output: &Output,
    ask: impl AsyncFnOnce(Client) -> Result<T, Error>,
    look: impl FnOnce(&Ledger) -> Result<T, Error>,
) -> Result<T, Failure> {
    let client = command::client(cli)?;
    let unreachable = match command::ask(async { Ok(ask(client).await) })? {
        Ok(document) => return Ok(document),
        Err(error) if error.kind == Kind::NotReachable => error,
        Err(error) => return Err(error.into()),
    };
    // Where no config says where its state is, there is nothing to look at.
    let Ok(config) = command::load(cli, output) else {
        return Err(unreachable.into());
    };
    let path = faults::path(&config.host.state);
    if !path.exists() {
        return Err(unreachable.into());
    }
    let ledger = Ledger::look(&path, Arc::new(SystemClock::new())).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("no daemon answers, and its ledger cannot be read: {error}"),
        )
        .help("ask as the user that runs mainstay, or start it: mainstay run")
    })?;
    if !output.quiet {
        output.print_error(&format!(
            "no daemon answers: this is what {} had when it ended\n",
            path.display()
        ));
    }
    look(&ledger).map_err(Failure::from)
}

fn list(cli: &Cli, output: &Output, asked: &Faults) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let zone = TimeZone::system();
    let since = asked.since.as_deref().map(|text| {
        when::parse(text, now, &zone).map_err(|why| {
            Failure::new(Exit::Usage, format!("--since {text}: {why}")).help(when::HELP)
        })
    });
    let severity = asked.severity.map(|severity| severity.name().to_owned());
    let query = FaultQuery {
        app: asked.app.clone(),
        since: since.transpose()?,
        severity: severity.or_else(|| (!asked.all).then(|| LEAST.to_owned())),
        limit: asked.all.then_some(ALL),
    };
    let document = either(
        cli,
        output,
        async |client| client.faults(&query).await,
        |ledger| faults::listed(ledger, &faults::wanted(&query)?),
    )?;
    if output.json {
        output.document(&document);
    } else {
        output.print(&listed(&document, now, &output.paint(zone)));
    }
    Ok(Exit::Done)
}

fn show(cli: &Cli, output: &Output, code: &str) -> Result<Exit, Failure> {
    let document = either(
        cli,
        output,
        async |client| client.fault(code).await,
        |ledger| faults::found(ledger, faults::code(code)?),
    )?;
    if output.json {
        output.document(&document);
    } else {
        let paint = output.paint(TimeZone::system());
        output.print(&shown(&document, Timestamp::now(), &paint));
    }
    Ok(Exit::Done)
}

fn order(
    cli: &Cli,
    output: &Output,
    request: &OrderRequest,
    wait: Option<Duration>,
) -> Result<Exit, Failure> {
    let client = command::client(cli)?;
    let mut ordered = command::ask(async { Ok(client.order(request).await?) })?;
    let (app, code) = (plain(&ordered.app), plain(&ordered.order.order.code));
    if !ordered.runs && !output.json {
        output.say(&format!(
            "{app} does not run: the order {} waits until it does (mainstay start {app})",
            ordered.order.order.id
        ));
    } else if wait.is_none() && !output.json {
        output.say(&format!(
            "the order {} is given to {app}; what comes of it: mainstay faults {code}",
            ordered.order.order.id
        ));
    }
    let Some(wait) = wait else {
        if output.json {
            output.document(&ordered);
        }
        return Ok(Exit::Done);
    };
    let deadline = Instant::now() + wait;
    let id = ordered.order.order.id;
    let settled = command::ask(async {
        loop {
            let document = client.fault(&code).await?;
            let order = document.orders.into_iter().find(|one| one.order.id == id);
            match order {
                Some(order) if order.ended.is_some() => return Ok(Some(order)),
                _ if Instant::now() >= deadline => return Ok(order),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    })?;
    if let Some(order) = settled {
        ordered.order = order;
    }
    let exit = match ordered.order.state.as_str() {
        "done" => Exit::Done,
        "refused" => Exit::Failed,
        _ => Exit::TryLater,
    };
    if output.json {
        output.document(&ordered);
    } else {
        let said = ordered.order.detail.as_deref().map(plain);
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        output.say(&match exit {
            Exit::Done => format!("{app} has carried it out{said}; mainstay faults {code}"),
            Exit::Failed => format!("{app} has refused it{said}"),
            _ => format!(
                "{app} has told no outcome yet; the order {id} stays: mainstay faults {code}"
            ),
        });
    }
    Ok(exit)
}

fn severity_tone(severity: &str) -> Option<Tone> {
    match severity {
        "critical" | "error" => Some(Tone::Bad),
        "warning" => Some(Tone::Busy),
        _ => None,
    }
}

fn work_tone(state: WorkState) -> Tone {
    match state {
        WorkState::Stuck => Tone::Bad,
        WorkState::Undoing | WorkState::Finishing | WorkState::Open => Tone::Busy,
        WorkState::Undone | WorkState::Done => Tone::Good,
    }
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_second() - at.as_second()).unwrap_or(0);
    format!("{} ago", render::ago(seconds))
}

fn trouble(trouble: Option<&str>, paint: &Paint) -> String {
    trouble.map_or_else(String::new, |why| {
        let line = format!("▲ new faults are in memory only: {}", plain(why));
        format!("{}\n", paint.tone(Tone::Bad, &line))
    })
}

/// The table.
fn listed(document: &FaultsDocument, now: Timestamp, paint: &Paint) -> String {
    let mut text = trouble(document.trouble.as_deref(), paint);
    if document.faults.is_empty() {
        text.push_str("no faults are known\n");
        return text;
    }
    let head = [
        "CODE", "APP", "SEVERITY", "COUNT", "FIRST", "LAST", "RELEASE", "UNDO", "WHAT",
    ];
    let head = head.iter();
    let head = head.map(|name| ((*name).to_owned(), Some(Tone::Faint)));
    let mut rows = vec![head.collect::<Vec<_>>()];
    let dash = || ("-".to_owned(), Some(Tone::Faint));
    for fault in &document.faults {
        rows.push(vec![
            (fault.code.clone(), Some(Tone::Strong)),
            (plain(&fault.app), None),
            (fault.severity.clone(), severity_tone(&fault.severity)),
            (fault.count.to_string(), None),
            (ago(fault.first, now), None),
            (ago(fault.last, now), None),
            fault
                .release
                .as_deref()
                .map_or_else(dash, |release| (plain(release), None)),
            fault
                .undo
                .map_or_else(dash, |undo| (undo.name().to_owned(), Some(work_tone(undo)))),
            (plain(&fault.title), None),
        ]);
    }
    text.push_str(&table(&rows, paint));
    if document.more > 0 {
        let _ = writeln!(text, "{} more: mainstay faults --all", document.more);
    }
    text
}

/// One fault, on a page.
fn shown(document: &FaultDocument, now: Timestamp, paint: &Paint) -> String {
    let kind = &document.fault;
    let mut text = trouble(document.trouble.as_deref(), paint);
    let code = document.occurrence.as_ref().map(|one| one.code.as_str());
    let title = document
        .occurrence
        .as_ref()
        .map_or(&kind.title, |one| &one.title);
    let _ = writeln!(
        text,
        "{}  {}",
        paint.tone(Tone::Strong, code.unwrap_or(&kind.code)),
        paint.tone(Tone::Strong, &plain(title))
    );
    let mut fact = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    fact("app", &plain(&kind.app));
    let class = format!(
        "{}, status {}, {}",
        plain(&kind.class),
        kind.status,
        kind.severity
    );
    fact("class", &class);
    if let Some(place) = &kind.place {
        fact("place", &plain(place));
    }
    fact("count", &counted(kind, now, paint));
    if let Some(releases) = releases(kind) {
        fact("release", &releases);
    }
    if document.occurrence.is_none() {
        text.push_str("  of this one no more is known than its kind; the last of it:\n");
    }
    if let Some(one) = document.occurrence.as_ref().or(document.last.first()) {
        occurrence(one, &mut text, paint);
    }
    let others: Vec<String> = document
        .last
        .iter()
        .filter(|one| Some(one.code.as_str()) != code)
        .map(|one| {
            let work = one.work.as_ref().map(|work| format!(", {}", work.state));
            format!(
                "{} ({}{})",
                one.code,
                ago(one.at, now),
                work.unwrap_or_default()
            )
        })
        .collect();
    if !others.is_empty() {
        let _ = writeln!(text, "\nothers of its kind\n  {}", others.join("\n  "));
    }
    if !document.orders.is_empty() {
        text.push_str("\norders\n");
        for order in &document.orders {
            let _ = writeln!(text, "  {}", order_line(order, paint));
        }
    }
    text.push_str("\nwhat to do\n");
    for hint in hints(document) {
        let _ = writeln!(text, "  {hint}");
    }
    text
}

fn counted(kind: &FaultStatus, now: Timestamp, paint: &Paint) -> String {
    if kind.count == 1 {
        return format!("1, {} ({})", paint.moment(kind.last), ago(kind.last, now));
    }
    format!(
        "{}, from {} to {} ({})",
        kind.count,
        paint.moment(kind.first),
        paint.moment(kind.last),
        ago(kind.last, now)
    )
}

fn releases(kind: &FaultStatus) -> Option<String> {
    match (&kind.introduced, &kind.release) {
        (Some(first), Some(last)) if first == last => Some(plain(first)),
        (Some(first), Some(last)) => Some(format!("{}, since {}", plain(last), plain(first))),
        (Some(first), None) => Some(format!("since {}", plain(first))),
        (None, Some(last)) => Some(plain(last)),
        (None, None) => None,
    }
}

fn occurrence(one: &OccurrenceStatus, text: &mut String, paint: &Paint) {
    if one.count > 1 {
        let _ = writeln!(text, "  told      with {} more like it", one.count - 1);
    }
    if let Some(request) = &one.request {
        let id = match request.id.as_str() {
            "" => String::new(),
            id => format!(" (id {})", plain(id)),
        };
        let _ = writeln!(
            text,
            "  request   {} {}{id}",
            plain(&request.method),
            plain(&request.path)
        );
    }
    let mut lines = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}");
            for line in lines {
                let _ = writeln!(text, "  {}", plain(line));
            }
        }
    };
    lines("caused by", &one.causes);
    lines("the way to it", &one.trace);
    lines("records around it", &one.records);
    if let Some(work) = &one.work {
        steps(work, text, paint);
    }
}

fn steps(work: &ReportedWork, text: &mut String, paint: &Paint) {
    let state = paint.tone(work_tone(work.state), work.state.name());
    let _ = writeln!(text, "\nwork {}: {state}", plain(&work.id));
    let rows: Vec<Vec<(String, Option<Tone>)>> = work
        .steps
        .iter()
        .map(|step| {
            let tone = match step.state.as_str() {
                "undone" | "skipped" | "refused" => Some(Tone::Good),
                "stuck" => Some(Tone::Bad),
                _ => Some(Tone::Busy),
            };
            vec![
                (String::from(" "), None),
                (plain(&step.name), None),
                (plain(&step.state), tone),
                (step.error.as_deref().map(plain).unwrap_or_default(), None),
            ]
        })
        .collect();
    text.push_str(&table(&rows, paint));
}

fn order_line(status: &OrderStatus, paint: &Paint) -> String {
    let order = &status.order;
    let step = order.step.as_deref().map(plain);
    let step = step.map(|step| format!(" {step}")).unwrap_or_default();
    let reason = order.reason.as_deref().map(plain);
    let reason = reason
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let detail = status.detail.as_deref().map(plain);
    let detail = detail
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let ended = status.ended.map(|at| format!(" {}", paint.moment(at)));
    format!(
        "{} {}{step}{reason}, by {} {}: {}{}{detail}",
        order.id,
        order.act,
        plain(&order.by),
        paint.moment(status.at),
        status.state,
        ended.unwrap_or_default()
    )
}

/// What a person can do next.
fn hints(document: &FaultDocument) -> Vec<String> {
    let one = document.occurrence.as_ref().or(document.last.first());
    let app = plain(&document.fault.app);
    let code = one.map_or(&document.fault.code, |one| &one.code);
    let mut hints = Vec::new();
    let waits = document.orders.iter().any(|order| order.ended.is_none());
    let work = one.and_then(|one| one.work.as_ref());
    match work.map(|work| work.state) {
        Some(WorkState::Stuck) if waits => {
            hints.push(format!(
                "an order waits for {app} to carry it out; if it does not run: mainstay start {app}"
            ));
        }
        Some(WorkState::Stuck) => {
            let steps = work.map(|work| work.steps.as_slice()).unwrap_or_default();
            let stuck = steps.iter().rev().find(|step| step.state == "stuck");
            let stuck = stuck.or_else(|| steps.iter().rev().find(|step| step.error.is_some()));
            let step = stuck.map_or_else(|| "STEP".to_owned(), |step| plain(&step.name));
            hints.push(format!(
                "mend what keeps `{step}` from it, then: mainstay faults retry {code}"
            ));
            hints.push(format!(
                "if it was done by hand: mainstay faults skip {code} {step} --reason '…'"
            ));
        }
        Some(WorkState::Undoing | WorkState::Finishing | WorkState::Open) => {
            hints.push(format!(
                "nothing: {app} is at it, and tries again by itself"
            ));
        }
        Some(WorkState::Undone | WorkState::Done) | None => {}
    }
    hints.push(format!("see what {app} wrote then: mainstay logs {app}"));
    hints.push(format!(
        "when it is mended, begin to count anew: mainstay faults forget {code}"
    ));
    hints
}

#[cfg(test)]
mod tests {
    use mainstay_control::wire::{Order, OrderAct, ReportedRequest, ReportedStep, SCHEMA};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-11-22T14:00:00Z")
    }

    fn paint() -> Paint {
        Paint {
            color: false,
            zone: TimeZone::UTC,
        }
    }

    fn kind() -> FaultStatus {
        FaultStatus {
            code: "K7Q29-XWD4M".into(),
            app: "shop".into(),
            fingerprint: "0123456789ab".into(),
            class: "upstream.timeout".into(),
            status: 504,
            severity: "error".into(),
            title: "the CRM did not answer".into(),
            place: Some("src/form.rs:42".into()),
            count: 17,
            first: at("2026-11-20T10:00:00Z"),
            last: at("2026-11-22T13:58:00Z"),
            introduced: Some("1.4.0".into()),
            release: Some("1.5.2".into()),
            undo: Some(WorkState::Stuck),
        }
    }

    fn one() -> OccurrenceStatus {
        let step = |name: &str, state: &str, error: Option<&str>| ReportedStep {
            name: name.into(),
            state: state.into(),
            error: error.map(str::to_owned),
        };
        OccurrenceStatus {
            code: "K7Q29-XWD4M".into(),
            at: at("2026-11-22T13:58:00Z"),
            count: 3,
            release: Some("1.5.2".into()),
            title: "the CRM did not answer".into(),
            causes: vec!["deadline has elapsed".into()],
            trace: vec![
                "submit (src/form.rs:42)".into(),
                "main (src/main.rs:7)".into(),
            ],
            request: Some(ReportedRequest {
                id: "01ABC".into(),
                method: "POST".into(),
                path: "/form".into(),
            }),
            records: vec!["INFO form of \x1b[2Jops@example.com".into()],
            work: Some(ReportedWork {
                id: "w-17".into(),
                state: WorkState::Stuck,
                steps: vec![
                    step("crm.create", "stuck", Some("connection refused")),
                    step("mail.send", "undone", None),
                ],
            }),
        }
    }

    fn skip() -> OrderStatus {
        OrderStatus {
            order: Order {
                id: 7,
                code: "K7Q29-XWD4M".into(),
                work: "w-17".into(),
                act: OrderAct::Skip,
                step: Some("crm.create".into()),
                by: "root".into(),
                reason: Some("done by hand".into()),
            },
            at: at("2026-11-22T13:59:00Z"),
            state: "refused".into(),
            ended: Some(at("2026-11-22T13:59:10Z")),
            detail: Some("another step is next".into()),
        }
    }

    #[test]
    fn the_table() {
        let mut other = kind();
        other.code = "00000-00001".into();
        other.app = "worker".into();
        other.severity = "critical".into();
        other.title = "KeyError: 'A-17'".into();
        (other.introduced, other.release, other.undo) = (None, None, None);
        let document = FaultsDocument {
            schema: SCHEMA,
            faults: vec![kind(), other],
            more: 3,
            trouble: Some("the disk is full".into()),
        };
        insta::assert_snapshot!(listed(&document, now(), &paint()));
        let none = FaultsDocument {
            faults: Vec::new(),
            trouble: None,
            ..document
        };
        assert_eq!(listed(&none, now(), &paint()), "no faults are known\n");
    }

    #[test]
    fn the_page_of_one() {
        let mut earlier = one();
        earlier.code = "00000-00001".into();
        earlier.work = None;
        let mut document = FaultDocument {
            schema: SCHEMA,
            fault: kind(),
            occurrence: Some(one()),
            last: vec![one(), earlier],
            orders: vec![skip()],
            trouble: None,
        };
        insta::assert_snapshot!("whole", shown(&document, now(), &paint()));
        // One of which no more is known.
        document.occurrence = None;
        document.orders[0].ended = None;
        document.last.remove(1);
        insta::assert_snapshot!("forgotten", shown(&document, now(), &paint()));
    }
}

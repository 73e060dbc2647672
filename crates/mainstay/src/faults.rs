//! What the daemon knows of faults: who tells it, where it is kept, who asks for it.
//!
//! The ledger is a database, so a thread of its own has it (`mainstay-ledger`); everybody else hands
//! that thread what is to be noted or asked, in a queue with a bound, and nobody waits for it but those
//! who asked. Another thread reads what programs print ([`reader`]).

mod around;
mod convert;
mod finder;
mod reader;
mod roster;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mainstay_base::SystemClock;
use mainstay_control::wire::{
    DoneDocument, FaultDocument, FaultQuery, FaultReport, FaultsDocument, ForgetRequest,
    OrderOutcome, OrderRequest, OrderedDocument, OrdersDocument, ReportedDocument, SCHEMA,
};
use mainstay_control::{Actor, Error, Kind};
use mainstay_fault::ledger::{
    Kind as FaultKind, Ledger, LedgerError, Noted, Occurrence, Order, OrderState, Query,
};
use mainstay_fault::{Notify, Severity};
use mainstay_supervise::{Event, ProgramSpec, Status};
use tokio::sync::{oneshot, watch};

use reader::{Catch, Reader, Source};
use roster::Roster;

pub(crate) use convert::{Incoming, code, document, severity, status};

/// How many may wait for the thread of the ledger.
const QUEUE: usize = 256;
/// How many that were reported are written together at most.
const TOGETHER: usize = 64;
/// How often is tried to go back to a disk that could not be written to.
const MEND: Duration = Duration::from_secs(5);
/// What is new is so young.
const NEW: Duration = Duration::from_hours(24);
/// How many are listed when nobody says how many.
const LISTED: usize = 50;

/// Where the ledger is.
pub(crate) fn path(state: &std::path::Path) -> PathBuf {
    state.join("faults.db")
}

/// Who hears of what was noted, and of whether a person is told.
pub(crate) trait Ear: Send {
    /// An occurrence was noted.
    fn noted(&mut self, noted: &Noted, notify: Notify, alerted: bool);
    /// A kind was forgotten.
    fn forgotten(&mut self, kind: &FaultKind);
}

enum Job {
    Note(
        Vec<Incoming>,
        Vec<(String, String)>,
        Option<oneshot::Sender<Result<bool, Error>>>,
    ),
    Do(Box<dyn FnOnce(&mut Clerk) + Send>),
    End,
}

/// What the thread of the ledger has.
struct Clerk {
    ledger: Ledger,
    ear: Box<dyn Ear>,
    /// The files that programs' output goes to.
    sources: Arc<Mutex<Vec<Source>>>,
    /// Whether it was said that the disk does not take it.
    troubled: bool,
}

/// The faults of a daemon.
pub(crate) struct Faults {
    jobs: SyncSender<Job>,
    ledger: Mutex<Option<std::thread::JoinHandle<()>>>,
    reader: Mutex<Option<Reader>>,
    sources: Arc<Mutex<Vec<Source>>>,
    roster: Roster,
    /// Counts orders: who waits for one is woken by it.
    ordered: watch::Sender<u64>,
}

fn failed(error: &LedgerError) -> Error {
    Error::new(Kind::Failed, error.to_string())
        .help("look whether the disk of the state directory is full or broken")
}

fn busy() -> Error {
    Error::new(Kind::TryLater, "the ledger of faults has too much to do")
        .help("ask again in a moment")
}

fn unknown(code: impl std::fmt::Display) -> Error {
    Error::new(Kind::UnknownName, format!("there is no fault {code}"))
        .help("`mainstay faults --all` lists all that are known; older ones are forgotten")
}

impl Faults {
    /// Opens the ledger.
    ///
    /// # Errors
    /// The system's, if there can be no thread.
    pub(crate) fn start(path: PathBuf, ear: Box<dyn Ear>) -> std::io::Result<Self> {
        let (jobs, work) = sync_channel(QUEUE);
        let sources: Arc<Mutex<Vec<Source>>> = Arc::default();
        let seen = Arc::clone(&sources);
        let thread = std::thread::Builder::new()
            .name("mainstay-ledger".to_owned())
            .spawn(move || {
                let ledger = Ledger::open(path, Arc::new(SystemClock::new()));
                let clerk = Clerk {
                    ledger,
                    ear,
                    sources: seen,
                    troubled: false,
                };
                clerk.run(&work);
            })?;
        Ok(Self {
            jobs,
            ledger: Mutex::new(Some(thread)),
            reader: Mutex::new(None),
            sources,
            roster: Roster::default(),
            ordered: watch::Sender::new(0),
        })
    }

    /// Begins to look through what these programs print, and knows their users.
    pub(crate) fn read(&self, programs: &[Arc<ProgramSpec>]) {
        let own = mainstay_sys::users::effective_uid();
        self.roster.read(programs, own);
        let sources = reader::sources(programs);
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&sources);
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &*reader {
            reader.read(sources);
            return;
        }
        if sources.is_empty() {
            return;
        }
        let (sender, marks) = std::sync::mpsc::channel();
        let names: Vec<String> = sources
            .iter()
            .map(|source| source.path.display().to_string())
            .collect();
        let asked = self.jobs.send(Job::Do(Box::new(move |clerk| {
            // Places in files that nobody writes any more.
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Err(error) = clerk.ledger.keep_marks(&names) {
                log::warn!("{error}");
            }
            let marks = clerk.ledger.marks().unwrap_or_else(|error| {
                log::warn!("output of before is not looked through for faults: {error}");
                BTreeMap::new()
            });
            let _ = sender.send(marks);
        })));
        let marks = asked
            .ok()
            .and_then(|()| marks.recv().ok())
            .unwrap_or_default();
        let jobs = self.jobs.clone();
        let hand_on = move |Catch { occurrences, marks }: Catch| {
            let incoming = occurrences.into_iter().map(Incoming::found).collect();
            // It waits while there is much to do; the ledger is gone only at the end.
            let _ = jobs.send(Job::Note(incoming, marks, None));
        };
        match Reader::start(sources, marks, hand_on) {
            Ok(started) => *reader = Some(started),
            Err(error) => {
                log::error!("the output of programs is not looked through for faults: {error}");
            }
        }
    }

    /// Takes what happened in the supervision.
    pub(crate) fn on_event(&self, event: &Event) {
        self.roster.note(event);
    }

    /// Takes how the processes are now.
    pub(crate) fn refresh(&self, statuses: &[Status]) {
        self.roster.refresh(statuses);
    }

    /// The program that a process belongs to.
    pub(crate) fn who(&self, actor: &Actor) -> Option<String> {
        self.roster.who(actor)
    }

    /// Notes all that was found so far, and ends.
    pub(crate) fn end(&self) {
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            reader.end();
        }
        let _ = self.jobs.send(Job::End);
        let thread = self
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Has the thread of the ledger do this.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Clerk) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answer) = oneshot::channel();
        let job = Job::Do(Box::new(move |clerk| {
            // Who asked may have gone.
            let _ = sender.send(work(clerk));
        }));
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(busy()),
            Err(TrySendError::Disconnected(_)) => return Err(ending()),
        }
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// A fault that an app reports.
    pub(crate) async fn report(
        &self,
        app: String,
        report: FaultReport,
    ) -> Result<ReportedDocument, Error> {
        let incoming = convert::incoming(app, report, Timestamp::now())?;
        let code = incoming.occurrence.code;
        let (sender, answer) = oneshot::channel();
        match self
            .jobs
            .try_send(Job::Note(vec![incoming], Vec::new(), Some(sender)))
        {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(busy()),
            Err(TrySendError::Disconnected(_)) => return Err(ending()),
        }
        let stored = answer.await.unwrap_or_else(|_| Err(ending()))?;
        Ok(ReportedDocument::new(code.to_string(), stored))
    }

    /// The orders for an app; without one, waits so long.
    pub(crate) async fn orders(
        &self,
        app: String,
        wait: Duration,
    ) -> Result<OrdersDocument, Error> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut ordered = self.ordered.subscribe();
        loop {
            let asked = app.clone();
            let orders = self
                .ask(move |clerk| {
                    clerk
                        .ledger
                        .orders_for(&asked)
                        .map_err(|error| failed(&error))
                })
                .await?;
            let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
            let over = !orders.is_empty()
                || rest.is_zero()
                || !matches!(
                    tokio::time::timeout(rest, ordered.changed()).await,
                    Ok(Ok(()))
                );
            if over {
                return Ok(OrdersDocument::new(
                    orders.iter().map(convert::order).collect(),
                ));
            }
        }
    }

    /// What came of an order.
    pub(crate) async fn outcome(
        &self,
        app: String,
        id: i64,
        outcome: OrderOutcome,
    ) -> Result<DoneDocument, Error> {
        let (by, done, detail) = (app.clone(), outcome.done, outcome.detail);
        let said = detail.clone();
        let known = self
            .ask(move |clerk| {
                clerk
                    .ledger
                    .settle(&app, id, done, detail.as_deref())
                    .map_err(|error| failed(&error))
            })
            .await?;
        if !known {
            return Err(
                Error::new(Kind::UnknownName, format!("{by} has no order {id}"))
                    .help("GET /v1/orders has those that it has"),
            );
        }
        let how = if done { "done" } else { "refused" };
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        log::info!(target: "audit", "{by}: order {id}: {how}{said}");
        Ok(DoneDocument::new())
    }

    /// Kinds of faults.
    pub(crate) async fn list(&self, query: FaultQuery) -> Result<FaultsDocument, Error> {
        let query = wanted(&query)?;
        self.ask(move |clerk| listed(&clerk.ledger, &query)).await
    }

    /// One fault.
    pub(crate) async fn find(&self, text: &str) -> Result<FaultDocument, Error> {
        let code = code(text)?;
        self.ask(move |clerk| {
            let mut document = found(&clerk.ledger, code)?;
            clerk.add_records(&mut document);
            Ok(document)
        })
        .await
    }

    /// How many kinds are new, by program.
    pub(crate) async fn news(&self) -> Result<BTreeMap<String, u64>, Error> {
        let since = Timestamp::now() - NEW;
        self.ask(move |clerk| clerk.ledger.news(since).map_err(|error| failed(&error)))
            .await
    }

    /// Gives an order.
    pub(crate) async fn order(
        &self,
        by: String,
        request: OrderRequest,
    ) -> Result<OrderedDocument, Error> {
        let code = code(&request.code)?;
        let (app, order) = self
            .ask(move |clerk| {
                let found = clerk.ledger.find(code).map_err(|error| failed(&error))?;
                let found = found.ok_or_else(|| unknown(code))?;
                let work = convert::orderable(&found, code, &request)?;
                let app = found.kind.app.clone();
                let order = Order {
                    id: 0,
                    app: app.clone(),
                    code,
                    work: work.id,
                    act: convert::act(request.act),
                    step: request.step,
                    reason: request.reason,
                    by,
                    at: Timestamp::now(),
                    state: OrderState::Waiting,
                    ended: None,
                    detail: None,
                };
                let order = clerk.ledger.order(&order).map_err(|error| failed(&error))?;
                Ok((app, order))
            })
            .await?;
        self.ordered
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(OrderedDocument {
            schema: SCHEMA,
            runs: self.roster.runs(&app),
            order: convert::order_status(&order),
            app,
        })
    }

    /// Forgets kinds.
    pub(crate) async fn forget(&self, request: ForgetRequest) -> Result<DoneDocument, Error> {
        let codes = request.codes.iter().map(|text| code(text));
        let codes = codes.collect::<Result<Vec<_>, Error>>()?;
        self.ask(move |clerk| {
            // All of them are looked for first: a slip of the pen forgets nothing.
            for code in &codes {
                let found = clerk.ledger.find(*code).map_err(|error| failed(&error))?;
                found.ok_or_else(|| unknown(code))?;
            }
            let mut count = 0;
            for code in codes {
                // Two codes may be of one kind.
                if let Some(kind) = clerk.ledger.forget(code).map_err(|error| failed(&error))? {
                    clerk.ear.forgotten(&kind);
                    count += kind.count;
                }
            }
            Ok(DoneDocument::with(match count {
                1 => "1 fault is forgotten".to_owned(),
                n => format!("{n} faults are forgotten"),
            }))
        })
        .await
    }
}

fn ending() -> Error {
    Error::new(Kind::TryLater, "the daemon is ending").help("ask again when it is up")
}

/// What a query of the API asks of a ledger.
pub(crate) fn wanted(query: &FaultQuery) -> Result<Query, Error> {
    Ok(Query {
        app: query.app.clone(),
        since: query.since,
        severity: match &query.severity {
            None => Severity::Debug,
            Some(name) => severity(name)?,
        },
        limit: query.limit.unwrap_or(LISTED),
    })
}

/// A list of kinds of a ledger.
pub(crate) fn listed(ledger: &Ledger, query: &Query) -> Result<FaultsDocument, Error> {
    let (kinds, more) = ledger.list(query).map_err(|error| failed(&error))?;
    Ok(FaultsDocument {
        schema: SCHEMA,
        faults: kinds.iter().map(status).collect(),
        more,
        trouble: ledger.trouble().map(str::to_owned),
    })
}

/// One fault of a ledger.
pub(crate) fn found(ledger: &Ledger, code: mainstay_fault::Id) -> Result<FaultDocument, Error> {
    let found = ledger.find(code).map_err(|error| failed(&error))?;
    let found = found.ok_or_else(|| unknown(code))?;
    Ok(document(&found, code, ledger.trouble()))
}

impl Clerk {
    fn run(mut self, jobs: &Receiver<Job>) {
        self.say();
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None if self.ledger.trouble().is_some() => match jobs.recv_timeout(MEND) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.ledger.mend();
                        self.say();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            };
            match job {
                Job::Note(incoming, marks, reply) => {
                    next = self.note(jobs, incoming, marks, reply);
                }
                Job::Do(work) => work(&mut self),
                Job::End => {
                    self.ledger.mend();
                    self.say();
                    return;
                }
            }
            self.say();
        }
    }

    /// Notes what has come, with what came right behind it: a flood is few transactions. The answer is
    /// the first job that is another one.
    fn note(
        &mut self,
        jobs: &Receiver<Job>,
        mut incoming: Vec<Incoming>,
        mut marks: Vec<(String, String)>,
        reply: Option<oneshot::Sender<Result<bool, Error>>>,
    ) -> Option<Job> {
        let mut replies: Vec<_> = reply.into_iter().collect();
        let mut next = None;
        while incoming.len() < TOGETHER {
            match jobs.try_recv() {
                Ok(Job::Note(more, further, reply)) => {
                    incoming.extend(more);
                    marks.extend(further);
                    replies.extend(reply);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let (occurrences, tell): (Vec<_>, Vec<_>) = incoming
            .into_iter()
            .map(|one| (self.with_records(one.occurrence), (one.notify, one.alerted)))
            .unzip();
        let result = self.ledger.note(occurrences, &marks);
        let stored = match &result {
            Ok(noted) => {
                for (noted, (notify, alerted)) in noted.iter().zip(tell) {
                    self.ear.noted(noted, notify, alerted);
                }
                Ok(self.ledger.trouble().is_none())
            }
            Err(error) => {
                log::error!("faults are lost: {error}");
                Err(failed(error))
            }
        };
        for reply in replies {
            let _ = reply.send(stored.clone());
        }
        next
    }

    /// What an app reports without the records around it gets what it printed, the first time.
    fn with_records(&self, mut occurrence: Occurrence) -> Occurrence {
        if occurrence.detail.records.is_empty()
            && matches!(self.ledger.find(occurrence.code), Ok(None))
        {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            let code = occurrence.code.to_string();
            occurrence.detail.records =
                around::around(&sources, &occurrence.app, &code, around::AT_ONCE);
        }
        occurrence
    }

    /// The line with the code may have been written after the report.
    fn add_records(&self, document: &mut FaultDocument) {
        if let Some(occurrence) = &mut document.occurrence
            && occurrence.records.is_empty()
        {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            occurrence.records = around::around(
                &sources,
                &document.fault.app,
                &occurrence.code,
                around::LATER,
            );
        }
    }

    /// Says what a person should know about the ledger, once.
    fn say(&mut self) {
        if let Some(damage) = self.ledger.take_damage() {
            log::warn!("the ledger of faults {damage}; a new one was begun");
        }
        match (self.ledger.trouble(), self.troubled) {
            (Some(trouble), false) => {
                log::warn!("faults are kept in memory only: {trouble}");
                self.troubled = true;
            }
            (None, true) => {
                log::info!("faults are on disk again");
                self.troubled = false;
            }
            _ => {}
        }
    }
}

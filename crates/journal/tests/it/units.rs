//! Units of work, keys and what a person can do, on every store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_base::Secret;
use mainstay_journal::machine::{Phase, StepState, Way};
use mainstay_journal::store::{Kind, Millis, NEVER, Pending, Row, Status};
use mainstay_journal::{
    Backoff, Builder, Ended, Error, ErrorKind, Failure, Finding, Fingerprint, Journal, Operator,
    Reserved, Settings, Store, Stuck, secret,
};
use serde_json::json;
use tokio::sync::Notify;

use crate::backend::{Backend, Forms};
use crate::gate::Gate;

/// All of it.
pub(crate) async fn all(backend: &Backend) {
    a_commit_keeps_the_steps_and_runs_the_actions(backend).await;
    what_fails_is_told_by_its_kind(backend).await;
    what_is_dropped_or_panics_is_undone(backend).await;
    an_undo_goes_on_without_who_asked_for_it(backend).await;
    unknown_is_sent_again_and_probed(backend).await;
    an_undo_that_panics_is_tried_again(backend).await;
    two_works_cannot_have_one_id(backend).await;
    what_is_stuck_waits_for_a_person(backend).await;
    secrets_are_not_shown(backend).await;
    an_answer_that_got_lost_is_found(backend).await;
    one_that_slept_too_long_cannot_go_on(backend).await;
    several_processes_share_the_dead_ones_works(backend).await;
    a_transaction_and_its_work_go_together(backend).await;
    keys_are_answered_once(backend).await;
    keys_and_transactions_go_together(backend).await;
    let rest = backend.store.purge(NEVER).await.unwrap();
    assert!(rest > 0);
    assert_eq!(backend.store.list(None, 10).await.unwrap(), []);
}

/// What stands in the world, by name.
#[derive(Default)]
struct World {
    standing: Mutex<BTreeMap<String, i32>>,
    undos: AtomicU32,
    broken: AtomicBool,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn make(&self, name: &str) {
        *self
            .standing
            .lock()
            .unwrap()
            .entry(name.into())
            .or_default() += 1;
    }

    fn count(&self, name: &str) -> i32 {
        self.standing
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or(0)
    }

    fn unmake(&self, name: &str) -> Result<(), Failure> {
        self.undos.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(Failure::unknown("the world is broken"));
        }
        self.standing.lock().unwrap().remove(name);
        Ok(())
    }
}

fn settings() -> Settings {
    Settings {
        lease: Duration::from_secs(2),
        backoff: Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(40),
            attempts: 3,
        },
        args_limit: 1000,
        work_limit: 5000,
        ..Settings::default()
    }
}

/// A journal whose step `make` makes what its argument `name` says.
fn making(store: impl Store, world: &Arc<World>) -> Builder {
    let (undo, action) = (Arc::clone(world), Arc::clone(world));
    Journal::with(store)
        .settings(settings())
        .undo("make", move |step| {
            let done = undo.unmake(step.args()["name"].as_str().unwrap());
            async move { done }
        })
        .action("tell", move |step| {
            action.make(step.args()["name"].as_str().unwrap());
            async { Ok(()) }
        })
}

async fn start(backend: &Backend, world: &Arc<World>) -> Journal {
    making(Arc::clone(&backend.store), world)
        .start()
        .await
        .unwrap()
}

async fn end(journal: Journal) {
    journal.shutdown(Duration::from_secs(30)).await;
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < Duration::from_secs(90), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn phase(operator: &Operator, id: &str) -> Phase {
    operator.show(id).await.unwrap().work.phase
}

async fn over(journal: &Journal, id: &str, way: Way) {
    let operator = journal.operator();
    until(&format!("{id} {way:?}"), async || {
        phase(&operator, id).await == Phase::Over(way)
    })
    .await;
}

/// A step that makes something.
async fn make(work: &mut mainstay_journal::Unit, world: &World, name: &str) {
    work.step("make", json!({ "name": name }))
        .run(|_| async {
            world.make(name);
            Ok(())
        })
        .await
        .unwrap();
}

async fn a_commit_keeps_the_steps_and_runs_the_actions(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let mut work = journal.work("feedback");
    let id = work.id().to_owned();
    make(&mut work, &world, "a").await;
    make(&mut work, &world, "b").await;
    work.after_commit("tell", json!({ "name": "told" }))
        .unwrap();
    assert_eq!(phase(&journal.operator(), &id).await, Phase::Open);
    work.commit().await.unwrap();
    over(&journal, &id, Way::On).await;
    assert_eq!((world.count("a"), world.count("told")), (1, 1));
    // One without steps leaves nothing.
    let work = journal.work("nothing");
    let id = work.id().to_owned();
    work.commit().await.unwrap();
    let error = journal.operator().show(&id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    // Given up: last first.
    let mut work = journal.work("given up");
    let id = work.id().to_owned();
    make(&mut work, &world, "c").await;
    make(&mut work, &world, "d").await;
    assert_eq!(work.undo("changed my mind").await.unwrap(), Ended::Undone);
    assert_eq!((world.count("c"), world.count("d")), (0, 0));
    let listed = journal.operator().show(&id).await.unwrap();
    assert_eq!(listed.work.reason.as_deref(), Some("changed my mind"));
    end(journal).await;
}

async fn what_fails_is_told_by_its_kind(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let mut work = journal.work("limits");
    for (name, args, kind) in [
        ("nobody", json!({}), ErrorKind::Unregistered),
        (
            "make",
            json!({ "name": "x".repeat(1000) }),
            ErrorKind::Limit,
        ),
    ] {
        let acted = AtomicBool::new(false);
        let error = work
            .step(name, args)
            .run(|_| async {
                acted.store(true, Ordering::SeqCst);
                Ok(())
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.help().is_empty());
        assert!(!acted.load(Ordering::SeqCst), "{name}");
    }
    assert_eq!(
        work.after_commit("make", json!({})).unwrap_err().kind(),
        ErrorKind::Unregistered
    );
    // A whole work has a limit too, and stays what it was when it is met.
    for n in 0.. {
        let step = work.step(
            "make",
            json!({ "name": format!("{n}"), "text": "x".repeat(900) }),
        );
        match step.run(|_| async { Ok(()) }).await {
            Ok(()) => assert!(n < 6),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
                assert!(n > 2);
                break;
            }
        }
    }
    work.commit().await.unwrap();
    let mut odd = journal.work_with_id("odd", "with space");
    let error = odd
        .step("make", json!({}))
        .run(|_| async { Ok(()) })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);

    let mut work = journal.work("kinds");
    let id = work.id().to_owned();
    let mut fail = async |failure: fn() -> Failure| {
        let step = work.step("make", json!({ "name": "k" }));
        let result = step.run(|_| async move { Err::<(), _>(failure()) }).await;
        result.unwrap_err()
    };
    let error = fail(|| Failure::refused("full up")).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().ends_with("full up"), "{error}");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "full up"
    );
    let error = fail(|| std::io::Error::other("torn").into()).await;
    assert_eq!(error.kind(), ErrorKind::Unknown);
    // What is not known cannot be committed; and then it is dropped, and undone.
    let error = work.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    over(&journal, &id, Way::Back).await;
    assert_eq!(world.undos.load(Ordering::SeqCst), 1);
    // After a refusal the rest can be.
    let mut work = journal.work("refused");
    let step = work.step("make", json!({ "name": "r" }));
    step.run(|_| async { Err::<(), _>(Failure::refused("no")) })
        .await
        .unwrap_err();
    work.commit().await.unwrap();
    end(journal).await;
}

async fn what_is_dropped_or_panics_is_undone(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let mut work = journal.work("dropped");
    let dropped = work.id().to_owned();
    make(&mut work, &world, "a").await;
    drop(work);
    over(&journal, &dropped, Way::Back).await;

    let mut work = journal.work("panics");
    let panicked = work.id().to_owned();
    let shared = Arc::clone(&world);
    let task = tokio::spawn(async move {
        make(&mut work, &shared, "b").await;
        work.step("make", json!({ "name": "c" }))
            .run(|_| async {
                shared.make("c");
                assert_ne!(shared.count("c"), 1, "meant to");
                Ok(())
            })
            .await
    });
    assert!(task.await.is_err());
    over(&journal, &panicked, Way::Back).await;
    let listed = journal.operator().show(&panicked).await.unwrap();
    assert_eq!(listed.work.reason.as_deref(), Some("it panicked"));

    // A future that is cancelled in the middle of an act.
    let mut work = journal.work("cancelled");
    let cancelled = work.id().to_owned();
    let begun = Arc::new(Notify::new());
    let (shared, inside) = (Arc::clone(&world), Arc::clone(&begun));
    let task = tokio::spawn(async move {
        work.step("make", json!({ "name": "d" }))
            .run(|_| async {
                shared.make("d");
                inside.notify_one();
                std::future::pending::<Result<(), Failure>>().await
            })
            .await
    });
    begun.notified().await;
    task.abort();
    over(&journal, &cancelled, Way::Back).await;
    for name in ["a", "b", "c", "d"] {
        assert_eq!(world.count(name), 0, "{name}");
    }
    end(journal).await;
}

async fn an_undo_goes_on_without_who_asked_for_it(backend: &Backend) {
    let world = World::new();
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (undo, inside, open) = (Arc::clone(&world), Arc::clone(&begun), Arc::clone(&gate));
    let journal = making(Arc::clone(&backend.store), &world)
        .undo("slow", move |_| {
            let (world, begun, gate) = (Arc::clone(&undo), Arc::clone(&inside), Arc::clone(&open));
            async move {
                begun.notify_one();
                gate.notified().await;
                world.unmake("slow")
            }
        })
        .start()
        .await
        .unwrap();
    let mut work = journal.work("undo");
    let id = work.id().to_owned();
    world.make("slow");
    work.step("slow", json!({}))
        .run(|_| async { Ok(()) })
        .await
        .unwrap();
    let asking = tokio::spawn(work.undo("gone"));
    begun.notified().await;
    asking.abort();
    let _ = asking.await;
    gate.notify_one();
    over(&journal, &id, Way::Back).await;
    assert_eq!(world.count("slow"), 0);
    end(journal).await;
}

async fn unknown_is_sent_again_and_probed(backend: &Backend) {
    let world = World::new();
    let (probe, undo) = (Arc::clone(&world), Arc::clone(&world));
    let journal = making(Arc::clone(&backend.store), &world)
        .undo("probed", move |step| {
            assert!(step.certain());
            let done = undo.unmake(step.args()["name"].as_str().unwrap());
            async move { done }
        })
        .probe("probed", move |step| {
            let found = probe.count(step.args()["name"].as_str().unwrap()) > 0;
            async move { Ok(Finding::from(found)) }
        })
        .start()
        .await
        .unwrap();
    // Sent again with the same key until it is known.
    let mut work = journal.work("resent");
    let keys = Mutex::new(Vec::new());
    let done = work
        .step("make", json!({ "name": "r" }))
        .resend(2)
        .run(|act| {
            keys.lock().unwrap().push(act.key().to_owned());
            async move {
                if act.attempt() < 2 {
                    return Err(Failure::unknown("timeout"));
                }
                Ok(act.attempt())
            }
        })
        .await;
    assert_eq!(done.unwrap(), 2);
    let keys = keys.into_inner().unwrap();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    work.commit().await.unwrap();
    // Not there: no undo. There: one undo, of which it is known that there is something to undo.
    for (happened, undos) in [(false, 0), (true, 1)] {
        world.undos.store(0, Ordering::SeqCst);
        let mut work = journal.work("probed");
        let id = work.id().to_owned();
        let step = work.step("probed", json!({ "name": "p" }));
        let result = step
            .run(|_| async {
                if happened {
                    world.make("p");
                }
                Err::<(), _>(Failure::unknown("timeout"))
            })
            .await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unknown);
        assert_eq!(work.undo("unknown").await.unwrap(), Ended::Undone);
        assert_eq!(world.count("p"), 0);
        assert_eq!(world.undos.load(Ordering::SeqCst), undos);
        let state = journal.operator().show(&id).await.unwrap().work.steps[0].state;
        let expected = if happened {
            StepState::Undone
        } else {
            StepState::Refused
        };
        assert_eq!(state, expected);
    }
    end(journal).await;
}

async fn an_undo_that_panics_is_tried_again(backend: &Backend) {
    let world = World::new();
    let undo = Arc::clone(&world);
    let journal = making(Arc::clone(&backend.store), &world)
        .undo("panics", move |step| {
            // Once before there is a future, once inside of it.
            assert!(step.attempt() > 0, "meant to");
            let world = Arc::clone(&undo);
            async move {
                assert!(step.attempt() > 1, "meant to");
                world.unmake("panics")
            }
        })
        .start()
        .await
        .unwrap();
    let mut work = journal.work("panics");
    let id = work.id().to_owned();
    world.make("panics");
    work.step("panics", json!({}))
        .run(|_| async { Ok(()) })
        .await
        .unwrap();
    assert_eq!(work.undo("it is time").await.unwrap(), Ended::Later);
    over(&journal, &id, Way::Back).await;
    assert_eq!(world.count("panics"), 0);
    end(journal).await;
}

async fn two_works_cannot_have_one_id(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let mut first = journal.work_with_id("first", "twins");
    make(&mut first, &world, "first").await;
    let mut second = journal.work_with_id("second", "twins");
    let step = second.step("make", json!({ "name": "second" }));
    let error = step.run(|_| async { Ok(()) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    drop(second);
    // Nor does one that was in the middle of something else disturb it.
    let mut third = journal.work_with_id("third", "twins");
    third
        .after_commit("tell", json!({ "name": "third" }))
        .unwrap();
    assert_eq!(third.commit().await.unwrap_err().kind(), ErrorKind::State);
    make(&mut first, &world, "more").await;
    first.commit().await.unwrap();
    over(&journal, "twins", Way::On).await;
    assert_eq!((world.count("first"), world.count("third")), (1, 0));
    end(journal).await;
}

async fn what_is_stuck_waits_for_a_person(backend: &Backend) {
    let world = World::new();
    let told: Arc<Mutex<Vec<Stuck>>> = Arc::default();
    let inbox = Arc::clone(&told);
    let journal = making(Arc::clone(&backend.store), &world)
        .on_stuck(move |stuck| inbox.lock().unwrap().push(stuck.clone()))
        .start()
        .await
        .unwrap();
    // A command line beside the app, which knows none of its undos.
    let operator = Operator::new(Arc::clone(&backend.store));
    let mut ids = Vec::new();
    for ends in ["retried", "skipped"] {
        let mut work = journal.work(ends);
        ids.push(work.id().to_owned());
        make(&mut work, &world, &format!("first {ends}")).await;
        make(&mut work, &world, ends).await;
        world.broken.store(true, Ordering::SeqCst);
        let id = ids.last().unwrap();
        assert_eq!(work.undo("broken").await.unwrap(), Ended::Later);
        until("told", async || {
            told.lock().unwrap().iter().any(|one| one.work == *id)
        })
        .await;
        until("listed", async || {
            operator
                .stuck(10)
                .await
                .unwrap()
                .iter()
                .any(|listed| listed.id == *id)
        })
        .await;
        {
            let told = told.lock().unwrap();
            let stuck = told.last().unwrap();
            assert_eq!(
                (stuck.item.as_str(), stuck.attempts, stuck.undoing),
                ("make", 3, true)
            );
            assert_eq!(stuck.error, "the world is broken");
            assert_eq!(stuck.name, ends);
        }
        world.broken.store(false, Ordering::SeqCst);
        if ends == "retried" {
            operator.retry(id, "anna").await.unwrap();
        } else {
            operator.skip(id, "anna").await.unwrap();
        }
        over(&journal, id, Way::Back).await;
        assert_eq!(world.count(&format!("first {ends}")), 0);
        let listed = operator.show(id).await.unwrap();
        assert_eq!(listed.work.interventions.len(), 1);
        assert_eq!(listed.work.interventions[0].by, "anna");
        let error = operator.retry(id, "anna").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
    }
    assert_eq!(told.lock().unwrap().len(), 2);
    // What was skipped still stands.
    assert_eq!((world.count("retried"), world.count("skipped")), (0, 1));
    assert!(operator.stuck(10).await.unwrap().is_empty());
    assert_eq!(
        operator.retry("nobody", "anna").await.unwrap_err().kind(),
        ErrorKind::Missing
    );
    end(journal).await;
}

async fn secrets_are_not_shown(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let mut work = journal.work("secret");
    let id = work.id().to_owned();
    let token = secret(&Secret::new("hunter2"));
    work.step("make", json!({ "name": "s", "token": token.clone() }))
        .run(|act| {
            act.note(json!({ "note": token.clone() }));
            async { Ok(()) }
        })
        .await
        .unwrap();
    let listed = journal.operator().show(&id).await.unwrap();
    assert_eq!(listed.work.steps[0].args["token"], "hunter2");
    assert_eq!(listed.work.steps[0].note["note"], "hunter2");
    let report = listed.report().to_string();
    assert!(
        report.contains("***") && !report.contains("hunter2"),
        "{report}"
    );
    assert!(!format!("{listed:?}").contains("hunter2"));
    let row = backend.store.get(Kind::Work, &id).await.unwrap().unwrap();
    assert!(!format!("{row:?}").contains("hunter2"));
    work.commit().await.unwrap();
    end(journal).await;
}

/// A store in front of another: its answers get lost, or its renewals do.
struct Odd {
    inner: Arc<dyn Store>,
    /// Every other write happens without an answer, and the lease is renewed before anybody asks.
    loses: bool,
    /// Renewals do nothing, as if the process slept; and it takes nothing over.
    sleeps: bool,
    writes: AtomicU32,
}

impl Odd {
    fn new(backend: &Backend, loses: bool, sleeps: bool) -> Self {
        Self {
            inner: Arc::clone(&backend.store),
            loses,
            sleeps,
            writes: AtomicU32::new(0),
        }
    }
}

impl Store for Odd {
    fn now(&self) -> Pending<'_, Millis> {
        self.inner.now()
    }
    fn put<'a>(&'a self, row: &'a Row, expected: u64) -> Pending<'a, bool> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let written = self.inner.put(row, expected).await?;
            if self.loses && number.is_multiple_of(2) {
                let key = [(row.kind, row.id.clone())];
                self.inner.renew(&row.owner, &key, row.wake + 1).await?;
                return Err(Error::store("hear", std::io::Error::other("lost")));
            }
            Ok(written)
        })
    }
    fn get<'a>(&'a self, kind: Kind, id: &'a str) -> Pending<'a, Option<Row>> {
        self.inner.get(kind, id)
    }
    fn claim<'a>(
        &'a self,
        owner: &'a str,
        now: Millis,
        until: Millis,
        limit: usize,
    ) -> Pending<'a, Vec<Row>> {
        if self.sleeps {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.inner.claim(owner, now, until, limit)
    }
    fn renew<'a>(
        &'a self,
        owner: &'a str,
        rows: &'a [(Kind, String)],
        until: Millis,
    ) -> Pending<'a, ()> {
        if self.sleeps {
            return Box::pin(async { Ok(()) });
        }
        self.inner.renew(owner, rows, until)
    }
    fn list(&self, status: Option<Status>, limit: usize) -> Pending<'_, Vec<Row>> {
        self.inner.list(status, limit)
    }
    fn purge(&self, now: Millis) -> Pending<'_, u64> {
        self.inner.purge(now)
    }
}

async fn an_answer_that_got_lost_is_found(backend: &Backend) {
    let world = World::new();
    let journal = making(Odd::new(backend, true, false), &world)
        .start()
        .await
        .unwrap();
    let mut work = journal.work("lost answers");
    let id = work.id().to_owned();
    for name in ["a", "b", "c"] {
        make(&mut work, &world, name).await;
    }
    work.commit().await.unwrap();
    assert_eq!(phase(&journal.operator(), &id).await, Phase::Over(Way::On));
    let print = Fingerprint::of([b"lost".as_slice()]);
    let Reserved::Fresh(reservation) = journal.reserve("lost", print).await.unwrap() else {
        panic!("it was never used");
    };
    reservation
        .answer(b"yes", Duration::from_mins(1))
        .await
        .unwrap();
    end(journal).await;
}

async fn one_that_slept_too_long_cannot_go_on(backend: &Backend) {
    let world = World::new();
    let sleeper = making(Odd::new(backend, false, true), &world)
        .start()
        .await
        .unwrap();
    let rescuer = start(backend, &world).await;
    let undone = Arc::new(AtomicBool::new(false));
    for acts_late in [false, true] {
        let mut work = sleeper.work("sleeps");
        let id = work.id().to_owned();
        make(&mut work, &world, "early").await;
        world.undos.store(0, Ordering::SeqCst);
        let step = work.step("make", json!({ "name": "late" }));
        step.run(|_| async {
            if !acts_late {
                world.make("late");
            }
            over(&rescuer, &id, Way::Back).await;
            undone.store(true, Ordering::SeqCst);
            if acts_late {
                world.make("late");
            }
            Ok(())
        })
        .await
        .unwrap();
        assert!(undone.swap(false, Ordering::SeqCst));
        // Nothing was left of it, and what came after that is undone once more.
        let error = work.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
        until("the late one is undone", async || world.count("late") == 0).await;
        over(&rescuer, &id, Way::Back).await;
        assert_eq!(world.count("early"), 0);
        if acts_late {
            assert!(world.undos.load(Ordering::SeqCst) >= 3);
        }
    }
    end(sleeper).await;
    end(rescuer).await;
}

async fn several_processes_share_the_dead_ones_works(backend: &Backend) {
    let world = World::new();
    let dead = making(Odd::new(backend, false, true), &world)
        .start()
        .await
        .unwrap();
    let mut works = Vec::new();
    for n in 0..30 {
        let mut work = dead.work("shared");
        make(&mut work, &world, &format!("shared {n}")).await;
        works.push(work);
    }
    let ids: Vec<String> = works.iter().map(|work| work.id().to_owned()).collect();
    // Its keeper ends first, so that nobody is told of the drops.
    end(dead).await;
    drop(works);
    world.undos.store(0, Ordering::SeqCst);
    let mut journals = Vec::new();
    for _ in 0..3 {
        journals.push(start(backend, &world).await);
    }
    for id in &ids {
        over(&journals[0], id, Way::Back).await;
    }
    for n in 0..30 {
        assert_eq!(world.count(&format!("shared {n}")), 0, "{n}");
    }
    for journal in journals {
        end(journal).await;
    }
}

/// A transaction with a form in it, ended as asked for.
macro_rules! transaction {
    ($pool:expr, $insert:expr, $id:expr, $commit:expr, $work:expr) => {{
        let mut transaction = $pool.begin().await.unwrap();
        sqlx::query($insert)
            .bind($id.to_owned())
            .execute(&mut *transaction)
            .await
            .unwrap();
        let done = $work(&mut *transaction).await;
        if $commit {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        done
    }};
}

macro_rules! in_transaction {
    ($backend:expr, $id:expr, $commit:expr, $work:expr) => {{
        const PLAIN: &str = "INSERT INTO form (id) VALUES (?)";
        match &$backend.forms {
            Forms::None => return,
            Forms::Sqlite(pool) => transaction!(pool, PLAIN, $id, $commit, $work),
            Forms::MySql(pool) => transaction!(pool, PLAIN, $id, $commit, $work),
            Forms::Postgres(pool) => {
                let insert = "INSERT INTO form (id) VALUES ($1)";
                transaction!(pool, insert, $id, $commit, $work)
            }
        }
    }};
}

async fn a_transaction_and_its_work_go_together(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    // Whether it is committed, and whether its owner believes so.
    for (committed, heard) in [(true, true), (true, false), (false, false)] {
        for steps in [true, false] {
            let mut work = journal.work("in a transaction");
            let id = work.id().to_owned();
            if steps {
                make(&mut work, &world, &id).await;
            }
            let told = format!("told {id}");
            work.after_commit("tell", json!({ "name": told.clone() }))
                .unwrap();
            let mut work = Some(work);
            let sealed = in_transaction!(backend, id, committed, async |connection| {
                work.take().unwrap().commit_in(connection).await.unwrap()
            });
            let result = if heard {
                Ok(())
            } else {
                Err(std::io::Error::other("the connection broke"))
            };
            let settled = sealed.settle(result).await;
            assert_eq!(settled.is_ok(), committed, "{committed} {heard} {steps}");
            assert_eq!(backend.has_form(&id).await, Some(committed));
            if committed {
                over(&journal, &id, Way::On).await;
            } else if steps {
                over(&journal, &id, Way::Back).await;
            }
            assert_eq!(world.count(&id), i32::from(committed && steps));
            assert_eq!(world.count(&told), i32::from(committed));
        }
    }
    // Nobody says how it went: the store knows.
    for committed in [true, false] {
        let mut work = journal.work("unsettled");
        let id = work.id().to_owned();
        make(&mut work, &world, &id).await;
        let mut work = Some(work);
        let sealed = in_transaction!(backend, id, committed, async |connection| {
            work.take().unwrap().commit_in(connection).await.unwrap()
        });
        drop(sealed);
        over(&journal, &id, if committed { Way::On } else { Way::Back }).await;
        assert_eq!(world.count(&id), i32::from(committed));
    }
    end(journal).await;
}

async fn keys_are_answered_once(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let print = Fingerprint::of([b"POST".as_slice(), b"/form"]);
    let other = Fingerprint::of([b"POST".as_slice(), b"/other"]);
    let keep = Duration::from_hours(1);
    let fresh = async |key| match journal.reserve(key, print).await.unwrap() {
        Reserved::Fresh(reservation) => reservation,
        other => panic!("{other:?}"),
    };
    let reservation = fresh("k1").await;
    assert!(
        matches!(journal.reserve("k1", print).await.unwrap(), Reserved::Busy(left) if left > Duration::ZERO)
    );
    assert!(matches!(
        journal.reserve("k1", other).await.unwrap(),
        Reserved::Mismatch
    ));
    reservation.answer(b"\x00answer\xff", keep).await.unwrap();
    let Reserved::Answered(answer) = journal.reserve("k1", print).await.unwrap() else {
        panic!("it was answered");
    };
    assert_eq!(answer, b"\x00answer\xff");
    assert!(matches!(
        journal.reserve("k1", other).await.unwrap(),
        Reserved::Mismatch
    ));
    // One that is dropped is free again.
    drop(fresh("k2").await);
    until("free", async || {
        matches!(
            journal.reserve("k2", print).await.unwrap(),
            Reserved::Fresh(_)
        )
    })
    .await;
    // One that is kept for no time at all too, also for another request.
    fresh("k3")
        .await
        .answer(b"old", Duration::ZERO)
        .await
        .unwrap();
    until("forgotten", async || {
        matches!(
            journal.reserve("k3", other).await.unwrap(),
            Reserved::Fresh(_)
        )
    })
    .await;
    // A process that is gone, and one that only slept: the key is somebody else's.
    let sleeper = making(Odd::new(backend, false, true), &world)
        .start()
        .await
        .unwrap();
    let Reserved::Fresh(late) = sleeper.reserve("k4", print).await.unwrap() else {
        panic!("it was never used");
    };
    let mut taken = None;
    until("its lease is over", async || {
        match journal.reserve("k4", print).await.unwrap() {
            Reserved::Fresh(reservation) => taken = Some(reservation),
            Reserved::Busy(_) => {}
            other => panic!("{other:?}"),
        }
        taken.is_some()
    })
    .await;
    let error = late.answer(b"late", keep).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    taken.unwrap().answer(b"first", keep).await.unwrap();
    let Reserved::Answered(answer) = sleeper.reserve("k4", print).await.unwrap() else {
        panic!("it was answered");
    };
    assert_eq!(answer, b"first");
    // A hundred at once: one does it.
    let mut fresh = 0;
    let asked = (0..100).map(|_| journal.reserve("k5", print));
    let mut held = Vec::new();
    for reserved in futures_util::future::join_all(asked).await {
        match reserved.unwrap() {
            Reserved::Fresh(reservation) => {
                fresh += 1;
                held.push(reservation);
            }
            Reserved::Busy(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fresh, 1);
    for key in ["", "a b", "ü", &"x".repeat(201)] {
        let error = journal.reserve(key, print).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{key}");
    }
    drop(held);
    end(sleeper).await;
    end(journal).await;
}

async fn keys_and_transactions_go_together(backend: &Backend) {
    let world = World::new();
    let journal = start(backend, &world).await;
    let print = Fingerprint::of([b"x".as_slice()]);
    for committed in [false, true] {
        let id = format!("key-{committed}");
        let mut reservation = match journal.reserve(&id, print).await.unwrap() {
            Reserved::Fresh(reservation) => reservation,
            other => panic!("{other:?}"),
        };
        in_transaction!(backend, id, committed, async |connection| {
            reservation
                .answer_in(connection, b"done", Duration::from_mins(1))
                .await
                .unwrap();
        });
        drop(reservation);
        until("decided", async || {
            match journal.reserve(&id, print).await.unwrap() {
                Reserved::Answered(answer) => {
                    assert!(committed);
                    assert_eq!(answer, b"done");
                    true
                }
                Reserved::Fresh(_) => {
                    assert!(!committed);
                    true
                }
                _ => false,
            }
        })
        .await;
    }
    end(journal).await;
}

/// A gate that nobody dies at, for what asks for one.
#[tokio::test]
async fn a_form_is_submitted_with_its_work() {
    let directory = tempfile::tempdir().unwrap();
    let backend = crate::backend::sqlite(&directory.path().join("app.db")).await;
    let world = World::new();
    let journal = start(&backend, &world).await;
    let mut work = journal.work("form");
    let id = work.id().to_owned();
    make(&mut work, &world, "a").await;
    backend
        .submit(work, &Gate::new(u32::MAX, false))
        .await
        .unwrap();
    assert_eq!(backend.has_form(&id).await, Some(true));
    over(&journal, &id, Way::On).await;
    end(journal).await;
}

//! A process that dies at every single point: whatever it was at, in the end all is done or all is
//! undone, in the third party as in the app's own database.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use mainstay_journal::machine::{Phase, Way};
use mainstay_journal::store::Status;
use mainstay_journal::{Backoff, Builder, Error, Failure, Finding, Journal, Settings};
use serde_json::json;

use crate::backend::{self, Backend};
use crate::crm::{Crm, ask};
use crate::gate::{Gate, Mortal};

/// What the app does in a unit of work, and how the third party behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// All is well; the app commits.
    Well,
    /// The second step is refused; the app gives up.
    Refused,
    /// The second step happens, but its answer is lost; the app gives up.
    LostAfter,
    /// The second step's third party dies before it does anything; the app gives up.
    LostBefore,
    /// All is well, but the app forgets the work, as by a panic.
    Dropped,
    /// The app gives up; the first undo fails twice.
    Flaky,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario::Well,
    Scenario::Refused,
    Scenario::LostAfter,
    Scenario::LostBefore,
    Scenario::Dropped,
    Scenario::Flaky,
];

impl Scenario {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn of(name: &str) -> Self {
        SCENARIOS
            .into_iter()
            .find(|one| one.name() == name)
            .unwrap()
    }

    /// How the bank behaves.
    fn bank(self) -> &'static str {
        match self {
            Self::Refused => "refuse",
            Self::LostAfter => "lost",
            Self::LostBefore => "dead",
            _ => "ok",
        }
    }
}

fn settings() -> Settings {
    Settings {
        lease: Duration::from_millis(900),
        backoff: Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(200),
            attempts: 1000,
        },
        ..Settings::default()
    }
}

/// One call of the third party, with a death before or after it.
async fn call(gate: &Gate, crm: SocketAddr, words: &str) -> Result<String, Failure> {
    gate.check()?;
    let answer = ask(crm, words).await;
    gate.check()?;
    answer
}

/// The journal with all that the app registers.
fn registered(builder: Builder, gate: &Arc<Gate>, crm: SocketAddr) -> Builder {
    let undo = |house: &'static str| {
        let gate = Arc::clone(gate);
        move |step: mainstay_journal::Call| {
            let gate = Arc::clone(&gate);
            async move {
                let id = step.work();
                let mode = step.args()["undo"].as_str().unwrap_or("ok").to_owned();
                // "absent" is as good as "ok".
                call(
                    &gate,
                    crm,
                    &format!("delete {house} {id} {} {mode}", step.key()),
                )
                .await?;
                Ok(())
            }
        }
    };
    let (probing, acting) = (Arc::clone(gate), Arc::clone(gate));
    builder
        .settings(settings())
        .undo("crm.create", undo("crm"))
        .undo("bank.charge", undo("bank"))
        .probe("bank.charge", move |step| {
            let gate = Arc::clone(&probing);
            async move {
                let words = format!("find bank {} {} ok", step.work(), step.key());
                Ok(Finding::from(call(&gate, crm, &words).await? == "ok"))
            }
        })
        .action("mail.thanks", move |action| {
            let gate = Arc::clone(&acting);
            async move {
                let words = format!("mail - {} {} ok", action.work(), action.key());
                call(&gate, crm, &words).await?;
                Ok(())
            }
        })
}

/// What a process does until its end.
async fn live(
    backend: &Backend,
    gate: &Arc<Gate>,
    crm: SocketAddr,
    scenario: Scenario,
    id: &str,
) -> Result<(), Error> {
    let mortal = Mortal {
        inner: Arc::clone(&backend.store),
        gate: Arc::clone(gate),
    };
    let journal = registered(Journal::with(mortal), gate, crm).start().await?;
    let handled = handle(&journal, backend, gate, crm, scenario, id).await;
    // What goes on in the background has its chance to die as well.
    let begin = Instant::now();
    while !gate.is_dead() && !settled(backend, id).await && begin.elapsed().as_secs() < 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    journal.shutdown(Duration::from_secs(10)).await;
    handled
}

/// Whether a work waits for nobody, or for another attempt.
async fn settled(backend: &Backend, id: &str) -> bool {
    let kind = mainstay_journal::store::Kind::Work;
    let row = backend.store.get(kind, id).await.unwrap();
    row.is_none_or(|row| row.status != Status::Live || row.owner.is_empty())
}

/// The app's handler of a request.
async fn handle(
    journal: &Journal,
    backend: &Backend,
    gate: &Arc<Gate>,
    crm: SocketAddr,
    scenario: Scenario,
    id: &str,
) -> Result<(), Error> {
    let mut work = journal.work_with_id("feedback", id);
    let undo = if scenario == Scenario::Flaky {
        "flaky"
    } else {
        "ok"
    };
    work.step("crm.create", json!({ "undo": undo }))
        .run(|act| async move {
            call(gate, crm, &format!("create crm {id} {} ok", act.key())).await
        })
        .await?;
    let charged = work
        .step("bank.charge", json!({}))
        .run(|act| async move {
            act.note(json!({ "amount": 12 }));
            let mode = scenario.bank();
            call(gate, crm, &format!("create bank {id} {} {mode}", act.key())).await
        })
        .await;
    match scenario {
        Scenario::Well => {
            charged?;
            work.after_commit("mail.thanks", json!({ "to": "x@example.com" }))?;
            backend.submit(work, gate).await
        }
        Scenario::Dropped => charged.map(drop),
        _ => work.undo("the bank did not want it").await.map(drop),
    }
}

/// Goes on with what dead processes left, until everything is over.
async fn rescue(backend: &Backend, crm: SocketAddr) {
    let gate = Gate::new(u32::MAX, false);
    let journal = registered(Journal::with(Arc::clone(&backend.store)), &gate, crm)
        .start()
        .await
        .unwrap();
    let begin = Instant::now();
    loop {
        let live = backend
            .store
            .list(Some(Status::Live), 10_000)
            .await
            .unwrap();
        if live.is_empty() {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_mins(3),
            "not over: {:?}",
            journal.operator().list(3).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    journal.shutdown(Duration::from_secs(10)).await;
}

/// All or nothing; says which.
async fn check(backend: &Backend, crm: &Crm, scenario: Scenario, id: &str) -> bool {
    let operator = mainstay_journal::Operator::new(Arc::clone(&backend.store));
    let way = match operator.show(id).await {
        Ok(listed) => match listed.work.phase {
            Phase::Over(way) => way,
            phase => panic!("{id}: {phase:?}"),
        },
        // It died before it wrote anything.
        Err(error) => {
            assert_eq!(
                error.kind(),
                mainstay_journal::ErrorKind::Missing,
                "{error}"
            );
            Way::Back
        }
    };
    let all = way == Way::On;
    let expected = u32::from(all);
    assert_eq!(crm.standing("crm", id), expected, "{id}: crm");
    assert_eq!(crm.standing("bank", id), expected, "{id}: bank");
    assert_eq!(crm.mails(id) > 0, all, "{id}: mail");
    if let Some(there) = backend.has_form(id).await {
        assert_eq!(there, all, "{id}: form");
    }
    assert!(!all || scenario == Scenario::Well, "{id} was committed");
    all
}

/// How many points a process passes that does not die.
async fn points(backend: &Backend, crm: &Crm, scenario: Scenario, suite: &str) -> u32 {
    let gate = Gate::new(u32::MAX, false);
    let id = format!("{}-{suite}-whole", scenario.name());
    let _ = live(backend, &gate, crm.address, scenario, &id).await;
    rescue(backend, crm.address).await;
    assert_eq!(
        check(backend, crm, scenario, &id).await,
        scenario == Scenario::Well,
        "{id}"
    );
    gate.passed()
}

/// Dies at every point of every scenario, in this process: nothing that was asked for after that
/// happens.
pub(crate) async fn at_every_point(backend: &Backend, concurrency: usize) {
    let crm = Crm::start();
    let mut cases = Vec::new();
    for scenario in SCENARIOS {
        let points = points(backend, &crm, scenario, "died").await;
        assert!(points >= 10, "{scenario:?} passes only {points} points");
        cases.extend((0..points).map(|point| (scenario, point)));
    }
    let crm = &crm;
    stream::iter(cases.clone())
        .for_each_concurrent(concurrency, |(scenario, point)| async move {
            let gate = Gate::new(point, false);
            let id = format!("{}-{point}", scenario.name());
            let _ = live(backend, &gate, crm.address, scenario, &id).await;
        })
        .await;
    rescue(backend, crm.address).await;
    let mut outcomes = [0, 0];
    for (scenario, point) in cases {
        let id = format!("{}-{point}", scenario.name());
        outcomes[usize::from(check(backend, crm, scenario, &id).await)] += 1;
    }
    println!("{} undone, {} done", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

const VICTIM: &str = "MAINSTAY_JOURNAL_TEST_VICTIM";

/// Where a process finds its store.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File(PathBuf),
    Sqlite(PathBuf),
    MySql(PathBuf),
    Postgres(PathBuf),
}

impl Place {
    fn words(&self) -> String {
        let (word, path) = match self {
            Self::File(path) => ("file", path),
            Self::Sqlite(path) => ("sqlite", path),
            Self::MySql(path) => ("mysql", path),
            Self::Postgres(path) => ("postgres", path),
        };
        format!("{word} {}", path.display())
    }

    async fn open(word: &str, path: &str) -> Backend {
        let path = PathBuf::from(path);
        match word {
            "file" => backend::file(&path),
            "sqlite" => backend::sqlite(&path).await,
            "mysql" => backend::mysql(&path, true).await,
            _ => backend::postgres(&path, true).await,
        }
    }
}

/// Not a test: what is started as a process of its own, and dies by SIGKILL at its point.
#[tokio::test]
async fn victim() {
    let Ok(words) = std::env::var(VICTIM) else {
        return;
    };
    let words: Vec<&str> = words.split(' ').collect();
    let [word, path, crm, scenario, point, id] = words[..] else {
        panic!("{words:?}");
    };
    let backend = Place::open(word, path).await;
    let gate = Gate::new(point.parse().unwrap(), true);
    let crm = crm.parse().unwrap();
    let _ = live(&backend, &gate, crm, Scenario::of(scenario), id).await;
}

fn kill(place: &Place, crm: SocketAddr, scenario: Scenario, point: u32, id: &str) {
    let words = format!("{} {crm} {} {point} {id}", place.words(), scenario.name());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(VICTIM, words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (status, said) = (child.status, String::from_utf8_lossy(&child.stderr));
    assert!(
        status.success() || status.signal() == Some(9),
        "{id}: {status}\n{said}"
    );
}

/// Processes that are killed at every point of the whole way, with everything that is in the kernel
/// or the server going on without them.
pub(crate) async fn killed_at_every_point(place: &Place) {
    let crm = Crm::start();
    let words = place.words();
    let (word, path) = words.split_once(' ').unwrap();
    let scenarios = [Scenario::Well, Scenario::LostAfter];
    let mut cases = Vec::new();
    {
        let backend = Place::open(word, path).await;
        for scenario in scenarios {
            let points = points(&backend, &crm, scenario, "killed").await;
            cases.extend((0..points).map(|point| (scenario, point)));
        }
    }
    let address = crm.address;
    let run = |(scenario, point): (Scenario, u32)| {
        let place = place.clone();
        let id = format!("{}-killed-{point}", scenario.name());
        tokio::task::spawn_blocking(move || kill(&place, address, scenario, point, &id))
    };
    // A file is for one process at a time.
    let concurrency = if matches!(place, Place::File(_)) {
        1
    } else {
        3
    };
    let mut runs = stream::iter(cases.clone())
        .map(run)
        .buffer_unordered(concurrency);
    while let Some(ended) = runs.next().await {
        ended.unwrap();
    }
    drop(runs);
    let backend = Place::open(word, path).await;
    rescue(&backend, crm.address).await;
    let mut outcomes = [0, 0];
    for (scenario, point) in cases {
        let id = format!("{}-killed-{point}", scenario.name());
        outcomes[usize::from(check(&backend, &crm, scenario, &id).await)] += 1;
    }
    println!("{} undone, {} done", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

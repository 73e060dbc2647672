use std::os::unix::fs::PermissionsExt;

use mainstay_base::SystemClock;

use super::kind::tests::{at, code, seen, work};
use super::*;

fn open(path: &Path) -> Ledger {
    let mut ledger = Ledger::open(path, Arc::new(SystemClock::new()));
    // What happens in these tests is some time ago.
    ledger.bounds.age = std::time::Duration::from_hours(24 * 365 * 50);
    ledger
}

/// (app, count, code) of all kinds, the newest first.
fn kinds(ledger: &Ledger) -> Vec<(String, u64, u64)> {
    let (kinds, more) = ledger.list(&Query::default()).unwrap();
    assert_eq!(more, 0);
    kinds
        .into_iter()
        .map(|kind| (kind.app, kind.count, kind.code.bits()))
        .collect()
}

#[test]
fn what_was_noted_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faults.db");
    let mut ledger = open(&path);
    let mut other = seen(3, 5, "1");
    other.app = "worker".into();
    other.severity = Severity::Warning;
    let mut stuck = seen(2, 10, "2");
    stuck.detail.work = Some(work(WorkState::Stuck));
    let mark = ("web.log".to_owned(), "17".to_owned());
    let noted = ledger
        .note(
            vec![seen(1, 0, "1"), other, stuck.clone()],
            std::slice::from_ref(&mark),
        )
        .unwrap();
    let new: Vec<bool> = noted.iter().map(|noted| noted.is_new).collect();
    assert_eq!(new, [true, true, false]);
    assert_eq!(noted[2].kind.count, 2);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(ledger);

    let mut ledger = open(&path);
    assert_eq!(ledger.trouble(), None);
    let all = [("shop".to_owned(), 2, 2), ("worker".to_owned(), 1, 3)];
    assert_eq!(kinds(&ledger), all);
    assert_eq!(ledger.marks().unwrap(), BTreeMap::from([mark]));
    for number in [1, 2] {
        let found = ledger.find(code(number)).unwrap().unwrap();
        assert_eq!(found.kind.introduced.as_deref(), Some("1"));
        assert_eq!(found.kind.undo, Some(WorkState::Stuck));
        assert_eq!(found.kind.recent.len(), 2);
    }
    assert_eq!(ledger.find(code(9)).unwrap(), None);

    // The work goes on: the same code, another state.
    stuck.detail.work = Some(work(WorkState::Undone));
    let noted = ledger.note(vec![stuck], &[]).unwrap();
    assert_eq!((noted[0].more, noted[0].kind.count), (0, 2));
    assert_eq!(noted[0].kind.undo, Some(WorkState::Undone));

    let grave = Query {
        severity: Severity::Error,
        ..Query::default()
    };
    assert_eq!(ledger.list(&grave).unwrap().0.len(), 1);
    let one = Query {
        limit: 1,
        ..Query::default()
    };
    assert_eq!(ledger.list(&one).unwrap().1, 1);
    let late = Query {
        since: Some(at(6)),
        ..Query::default()
    };
    assert_eq!(ledger.list(&late).unwrap().0[0].app, "shop");
    let news = ledger.news(at(1)).unwrap();
    assert_eq!(news, BTreeMap::from([("worker".to_owned(), 1)]));

    let looking = Ledger::look(&path, Arc::new(SystemClock::new())).unwrap();
    assert_eq!(kinds(&looking).len(), 2);

    assert_eq!(ledger.forget(code(1)).unwrap().unwrap().app, "shop");
    assert_eq!(ledger.forget(code(2)).unwrap(), None);
    assert_eq!(kinds(&ledger).len(), 1);
}

#[test]
fn an_app_cannot_touch_what_is_anothers() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(&directory.path().join("faults.db"));
    ledger.note(vec![seen(1, 0, "1")], &[]).unwrap();
    let mut claimed = seen(1, 5, "2");
    claimed.app = "other".into();
    claimed.count = 100;
    ledger.note(vec![claimed], &[]).unwrap();
    let all = [("other".to_owned(), 100, 1), ("shop".to_owned(), 1, 1)];
    assert_eq!(kinds(&ledger), all);
}

fn order(number: u64, act: Act) -> Order {
    Order {
        id: 0,
        app: "shop".into(),
        code: code(number),
        work: "w1".into(),
        act,
        step: Some("crm.create".into()),
        reason: None,
        by: "ops".into(),
        at: at(20),
        state: OrderState::Waiting,
        ended: None,
        detail: None,
    }
}

#[test]
fn orders_go_to_their_app_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faults.db");
    let mut ledger = open(&path);
    ledger.note(vec![seen(1, 0, "1")], &[]).unwrap();
    let first = ledger.order(&order(1, Act::Retry)).unwrap();
    let second = ledger.order(&order(1, Act::Skip)).unwrap();
    assert_eq!(ledger.orders_for("other").unwrap(), []);
    let fetched = ledger.orders_for("shop").unwrap();
    assert_eq!(fetched, [first.clone(), second.clone()]);

    let mut ledger = open(&path);
    // Until the app has said what came of them, they are given again.
    assert_eq!(ledger.orders_for("shop").unwrap().len(), 2);
    assert!(!ledger.settle("other", first.id, true, None).unwrap());
    assert!(ledger.settle("shop", first.id, true, None).unwrap());
    let late = ledger.settle("shop", first.id, false, Some("late"));
    assert!(late.unwrap(), "may be said twice");
    let why = Some("another step is next");
    assert!(ledger.settle("shop", second.id, false, why).unwrap());
    assert_eq!(ledger.orders_for("shop").unwrap(), []);
    let states: Vec<(OrderState, Option<String>)> = ledger
        .find(code(1))
        .unwrap()
        .unwrap()
        .orders
        .into_iter()
        .map(|order| (order.state, order.detail))
        .collect();
    let refused = (OrderState::Refused, why.map(str::to_owned));
    assert_eq!(states, [refused, (OrderState::Done, None)]);
}

/// Lets the file grow no further, as a full disk does.
fn fill(ledger: &Ledger) {
    let pages: i64 = ledger
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    ledger
        .connection
        .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap();
}

fn large(number: u64) -> Occurrence {
    let mut large = seen(number, i64::try_from(number).unwrap(), "1");
    large.fingerprint = number.to_string();
    large.detail.causes = vec!["x ".repeat(500); 8];
    large
}

#[test]
fn a_full_disk_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faults.db");
    let mut ledger = open(&path);
    ledger.note(vec![seen(1, 0, "1")], &[]).unwrap();
    fill(&ledger);
    for number in 2..40 {
        ledger.note(vec![large(number)], &[]).unwrap();
    }
    ledger.order(&order(1, Act::Retry)).unwrap();
    let trouble = ledger.trouble().expect("it went on in memory").to_owned();
    assert!(trouble.contains("full"), "{trouble}");
    assert_eq!(kinds(&ledger).len(), 39, "all of it is seen");
    let before = kinds(&ledger);
    // Opened anew, the file may grow again.
    assert!(ledger.mend(), "{:?}", ledger.trouble());
    assert_eq!(ledger.trouble(), None);
    assert_eq!(kinds(&ledger), before);
    ledger.note(vec![large(50)], &[]).unwrap();
    drop(ledger);
    let mut again = open(&path);
    assert_eq!(kinds(&again).len(), 40);
    assert_eq!(again.orders_for("shop").unwrap().len(), 1);
    assert!(again.find(code(39)).unwrap().is_some());
}

#[test]
fn what_could_not_be_opened_is_joined_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faults.db");
    let mut ledger = open(&path);
    ledger.note(vec![seen(1, 0, "1"), large(2)], &[]).unwrap();
    drop(ledger);
    // Something is in the way, for a while.
    let aside = directory.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    let mut ledger = open(&path);
    assert!(ledger.trouble().is_some());
    let mark = [("web.log".to_owned(), "9".to_owned())];
    ledger.note(vec![seen(5, 50, "2")], &mark).unwrap();
    ledger.order(&order(5, Act::Retry)).unwrap();
    assert!(!ledger.mend());
    assert_eq!(kinds(&ledger), [("shop".to_owned(), 1, 5)]);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    assert!(ledger.mend(), "{:?}", ledger.trouble());
    let found = ledger.find(code(5)).unwrap().unwrap();
    assert_eq!(found.kind.count, 2);
    assert_eq!(found.kind.introduced.as_deref(), Some("1"));
    assert_eq!(found.kind.recent.len(), 2);
    assert_eq!(found.orders.len(), 1);
    assert_eq!(kinds(&ledger).len(), 2);
    assert_eq!(ledger.marks().unwrap().len(), 1);
    ledger.keep_marks(&["other"]).unwrap();
    assert_eq!(ledger.marks().unwrap().len(), 0);
}

#[test]
fn a_damaged_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faults.db");
    std::fs::write(
        &path,
        "this is no database, and long enough to be sure of it",
    )
    .unwrap();
    let mut ledger = open(&path);
    assert_eq!(ledger.trouble(), None);
    let damage = ledger.take_damage().expect("it is said");
    assert!(damage.contains(".damaged-"), "{damage}");
    ledger.note(vec![seen(1, 0, "1")], &[]).unwrap();
    assert_eq!(kinds(&ledger).len(), 1);
}

#[test]
fn it_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = open(&directory.path().join("faults.db"));
    ledger.bounds = Bounds {
        each: 5,
        codes: 20,
        ..ledger.bounds
    };
    let writes = u64::from(PRUNE_EVERY) * 2;
    for number in 1..=writes {
        ledger.note(vec![large(number)], &[]).unwrap();
    }
    let (kinds, _) = ledger.list(&Query::default()).unwrap();
    assert!(kinds.len() < 5 + PRUNE_EVERY as usize, "{}", kinds.len());
    assert_eq!(kinds[0].code, code(writes), "the newest is there");
    // The codes of what was forgotten are gone with it.
    let codes: i64 = ledger
        .connection
        .query_row("SELECT count(*) FROM codes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usize::try_from(codes).unwrap(), kinds.len());
}

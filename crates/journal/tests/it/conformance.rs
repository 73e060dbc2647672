//! What every store has to do, one suite for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use mainstay_journal::Store;
use mainstay_journal::store::{Kind, Millis, NEVER, Row, Status};

fn row(kind: Kind, id: &str) -> Row {
    Row {
        kind,
        id: id.into(),
        version: 1,
        status: Status::Live,
        owner: "me".into(),
        wake: 1000,
        body: vec![0, 255, b'\'', b'\\', b'\n'],
    }
}

fn after(row: &Row, change: impl FnOnce(&mut Row)) -> Row {
    let mut next = row.clone();
    next.version += 1;
    change(&mut next);
    next
}

async fn put(store: &dyn Store, row: &Row) -> bool {
    store.put(row, row.version - 1).await.unwrap()
}

async fn ids(store: &dyn Store, status: Option<Status>, limit: usize) -> Vec<String> {
    let rows = store.list(status, limit).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

/// All of it, in a store that is empty; it is empty again afterwards.
pub(crate) async fn all(store: &Arc<dyn Store>) {
    writes_are_fenced_by_the_version(&**store).await;
    racing_writers_have_one_winner(store).await;
    works_that_are_due_are_given_to_one(&**store).await;
    racing_claims_share_what_there_is(store).await;
    leases_are_renewed_for_their_owner(&**store).await;
    lists_are_in_order_and_bounded(&**store).await;
    the_clock_goes(&**store).await;
    let rest = store.purge(NEVER).await.unwrap();
    assert_eq!(rest, 0);
}

/// Ends rows and removes them.
async fn clear(store: &dyn Store, kind: Kind, ids: &[&str]) {
    for id in ids {
        let row = store.get(kind, id).await.unwrap().unwrap();
        let ended = after(&row, |row| {
            row.status = Status::Ended;
            row.wake = 1;
        });
        assert!(put(store, &ended).await);
    }
    assert_eq!(store.purge(1).await.unwrap(), ids.len() as u64);
}

async fn writes_are_fenced_by_the_version(store: &dyn Store) {
    // 200 bytes, with what databases treat in ways of their own.
    let long = format!("{}aA%_'\"\\;--", "x".repeat(189));
    for kind in [Kind::Work, Kind::Key] {
        for id in ["a", "A", &long] {
            let first = row(kind, id);
            assert_eq!(store.get(kind, id).await.unwrap(), None, "{id}");
            let second = after(&first, |row| row.body = vec![b'x'; 200_000]);
            assert!(!put(store, &second).await, "{id}: over what is not there");
            assert!(put(store, &first).await, "{id}");
            assert_eq!(store.get(kind, id).await.unwrap().as_ref(), Some(&first));
            assert!(!put(store, &first).await, "{id}: there is one");
            assert!(put(store, &second).await, "{id}");
            assert!(!put(store, &second).await, "{id}: an old version");
            let third = after(&second, |row| {
                row.status = Status::Stuck;
                row.owner = String::new();
                row.wake = NEVER;
                row.body = Vec::new();
            });
            assert!(put(store, &third).await, "{id}");
            assert_eq!(store.get(kind, id).await.unwrap(), Some(third), "{id}");
        }
    }
    for kind in [Kind::Work, Kind::Key] {
        clear(store, kind, &["a", "A", &long]).await;
        assert_eq!(store.get(kind, "a").await.unwrap(), None);
    }
}

async fn racing_writers_have_one_winner(store: &Arc<dyn Store>) {
    let mut last = row(Kind::Work, "race");
    for round in 0..5 {
        let tries = (0..8).map(|writer| {
            let store = Arc::clone(store);
            let mut row = last.clone();
            row.owner = format!("writer {writer}");
            tokio::spawn(async move { put(&*store, &row).await })
        });
        let won: Vec<bool> = join_all(tries)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "{round}: {won:?}"
        );
        let stored = store.get(Kind::Work, "race").await.unwrap().unwrap();
        let winner = won.iter().position(|won| *won).unwrap();
        assert_eq!(stored.owner, format!("writer {winner}"), "{round}");
        assert_eq!(stored.version, last.version, "{round}");
        last.version += 1;
    }
    clear(&**store, Kind::Work, &["race"]).await;
}

async fn works_that_are_due_are_given_to_one(store: &dyn Store) {
    for (id, wake) in [("late", 30), ("early", 10), ("middle", 20), ("future", 100)] {
        let mut row = row(Kind::Work, id);
        row.wake = wake;
        assert!(put(store, &row).await);
    }
    let mut stuck = row(Kind::Work, "stuck");
    stuck.status = Status::Stuck;
    let mut ended = row(Kind::Work, "ended");
    ended.status = Status::Ended;
    let key = row(Kind::Key, "key");
    for mut row in [stuck, ended, key] {
        row.wake = 5;
        assert!(put(store, &row).await);
    }
    let taken = store.claim("you", 30, 500, 2).await.unwrap();
    let taken_ids: BTreeSet<&str> = taken.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(taken_ids, BTreeSet::from(["early", "middle"]));
    for row in &taken {
        assert_eq!((row.version, row.owner.as_str(), row.wake), (2, "you", 500));
        assert_eq!(
            store.get(Kind::Work, &row.id).await.unwrap().as_ref(),
            Some(row)
        );
        // Who had it before can no longer write.
        let mut old = row.clone();
        old.owner = "me".into();
        assert!(!put(store, &old).await);
    }
    let rest = store.claim("them", 30, 500, 10).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].id, "late");
    assert!(store.claim("them", 30, 500, 10).await.unwrap().is_empty());
    clear(
        store,
        Kind::Work,
        &["late", "early", "middle", "future", "stuck"],
    )
    .await;
    // What has ended and is due, and keys that nobody answered, are removed without a word.
    assert_eq!(store.purge(4).await.unwrap(), 0);
    assert_eq!(store.purge(5).await.unwrap(), 2);
}

async fn racing_claims_share_what_there_is(store: &Arc<dyn Store>) {
    let names: Vec<String> = (0..30).map(|n| format!("shared{n:02}")).collect();
    for name in &names {
        let mut row = row(Kind::Work, name);
        row.wake = 10;
        assert!(put(&**store, &row).await);
    }
    let claims = (0..4).map(|n| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            let owner = format!("claimer {n}");
            // Others may have what was seen; so it is over only when nothing is due any more.
            loop {
                let taken = store.claim(&owner, 20, 9000, 5).await.unwrap();
                mine.extend(taken.into_iter().map(|row| row.id));
                let left = store.list(Some(Status::Live), 100).await.unwrap();
                if left.iter().all(|row| row.wake > 20) {
                    return mine;
                }
            }
        })
    });
    let all: Vec<String> = join_all(claims)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(all.len(), distinct.len(), "given twice: {all:?}");
    assert_eq!(distinct, names.iter().collect(), "not given");
    clear(
        &**store,
        Kind::Work,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
}

async fn leases_are_renewed_for_their_owner(store: &dyn Store) {
    let mine = [(Kind::Work, "mine"), (Kind::Key, "mine")];
    for (kind, id) in mine {
        assert!(put(store, &row(kind, id)).await);
    }
    let mut other = row(Kind::Work, "other");
    other.owner = "you".into();
    let mut unlisted = row(Kind::Work, "unlisted");
    unlisted.owner = "me".into();
    for row in [&other, &unlisted] {
        assert!(put(store, row).await);
    }
    let mut named: Vec<(Kind, String)> = mine.map(|(kind, id)| (kind, id.into())).into();
    named.push((Kind::Work, "other".into()));
    // More than one statement takes.
    named.extend((0..250).map(|n| (Kind::Work, format!("gone{n}"))));
    store.renew("me", &named, 7777).await.unwrap();
    let wake = async |kind, id| -> (Millis, u64) {
        let row = store.get(kind, id).await.unwrap().unwrap();
        (row.wake, row.version)
    };
    assert_eq!(wake(Kind::Work, "mine").await, (7777, 1));
    assert_eq!(wake(Kind::Key, "mine").await, (7777, 1));
    assert_eq!(wake(Kind::Work, "other").await, (1000, 1));
    assert_eq!(wake(Kind::Work, "unlisted").await, (1000, 1));
    store.renew("me", &[], 8888).await.unwrap();
    clear(store, Kind::Work, &["mine", "other", "unlisted"]).await;
    assert_eq!(store.purge(7777).await.unwrap(), 1);
}

async fn lists_are_in_order_and_bounded(store: &dyn Store) {
    for (id, status) in [
        ("1", Status::Live),
        ("3", Status::Stuck),
        ("2", Status::Ended),
        ("4", Status::Stuck),
    ] {
        let mut row = row(Kind::Work, id);
        row.status = status;
        assert!(put(store, &row).await);
    }
    assert!(put(store, &row(Kind::Key, "5")).await);
    assert_eq!(ids(store, None, 10).await, ["4", "3", "2", "1"]);
    assert_eq!(ids(store, None, 2).await, ["4", "3"]);
    assert_eq!(ids(store, Some(Status::Stuck), 10).await, ["4", "3"]);
    assert_eq!(ids(store, Some(Status::Live), 10).await, ["1"]);
    clear(store, Kind::Work, &["1", "2", "3", "4"]).await;
    assert_eq!(store.purge(1000).await.unwrap(), 1);
}

async fn the_clock_goes(store: &dyn Store) {
    let begin = store.now().await.unwrap();
    // 2025 at least, in milliseconds.
    assert!(begin > 1_735_000_000_000, "{begin}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while store.now().await.unwrap() <= begin {
        assert!(std::time::Instant::now() < deadline, "it stands still");
        tokio::task::yield_now().await;
    }
}

//! Failover, and wrappers around each other.

use std::time::Duration;

use mainstay_log::sinks::{Failover, FailoverConfig, Redact, RedactConfig, Spool, SpoolConfig};
use mainstay_log::{Level, Sink as _};

use super::{Fake, Records, give, give_all, notices, numbers};
use crate::clock;

#[test]
fn records_go_to_the_first_that_works_and_back() {
    let clock = clock();
    let (best, second) = (Fake::default(), Fake::default());
    let mut sink = Failover::new(
        vec![
            ("best".to_owned(), Box::new(best.clone())),
            ("second".to_owned(), Box::new(second.clone())),
        ],
        FailoverConfig::default(),
        clock.clone(),
    )
    .unwrap();
    give(&mut sink, &mut Records::numbered(0..2, 0)).unwrap();
    // It takes one record and a half.
    best.set_room(Some(best.bytes().len() + 15));
    give(&mut sink, &mut Records::numbered(2..5, 0)).unwrap();
    assert_eq!(sink.current(), "second");
    assert_eq!(numbers(&second.bytes()), [3, 4]);
    assert_eq!(
        notices(&mut sink),
        ["the log sink best fails: out of order; records go to second"]
    );
    // Left alone, and tried again when it is time.
    let calls = best.state.lock().unwrap().calls;
    give(&mut sink, &mut Records::numbered(5..6, 0)).unwrap();
    assert_eq!(best.state.lock().unwrap().calls, calls);
    clock.advance(Duration::from_secs(11));
    give(&mut sink, &mut Records::numbered(6..7, 0)).unwrap();
    assert_eq!(best.state.lock().unwrap().calls, calls + 1);
    assert_eq!(sink.current(), "second");
    assert!(notices(&mut sink).is_empty());
    best.state.lock().unwrap().bytes.clear();
    best.set_room(None);
    clock.advance(Duration::from_mins(5));
    give(&mut sink, &mut Records::numbered(7..8, 0)).unwrap();
    assert_eq!(numbers(&best.bytes()), [7]);
    assert_eq!(numbers(&second.bytes()), [3, 4, 5, 6]);
    assert_eq!(
        notices(&mut sink),
        ["the log sink best works again; records go there and no longer to second"]
    );
    // The best works again and is not asked yet, but the other one ends.
    best.set_room(Some(0));
    give(&mut sink, &mut Records::numbered(70..71, 0)).unwrap();
    best.state.lock().unwrap().bytes.clear();
    best.set_room(None);
    second.set_room(Some(0));
    give(&mut sink, &mut Records::numbered(71..72, 0)).unwrap();
    assert_eq!((sink.current(), numbers(&best.bytes())), ("best", vec![71]));
    // None works: what is left is told, and goes later.
    best.state.lock().unwrap().bytes.clear();
    best.set_room(Some(10));
    second.set_room(Some(0));
    let mut records = Records::numbered(8..10, 0);
    let error = give(&mut sink, &mut records).unwrap_err();
    assert_eq!(error.to_string(), "Out of order");
    best.set_room(None);
    give_all(&mut sink, records, &clock);
    assert_eq!(numbers(&best.bytes()), [8, 9]);
    assert!(Failover::new(Vec::new(), FailoverConfig::default(), clock).is_err());
}

#[test]
fn secrets_do_not_reach_the_disk_of_a_spool_around_a_broken_sink() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let fake = Fake::broken();
    let config = SpoolConfig::new(dir.path().join("spool"));
    let spool = Spool::open(Box::new(fake.clone()), config, clock.clone()).unwrap();
    let mut sink = Redact::new(Box::new(spool), &RedactConfig::default()).unwrap();
    let mut records = Records::default();
    records.add(Level::Info, "plain\n");
    records.add(Level::Warn, "login password=hunter2 failed\n");
    give(&mut sink, &mut records).unwrap();
    for entry in std::fs::read_dir(dir.path().join("spool")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
    }
    fake.set_room(None);
    clock.advance(Duration::from_mins(1));
    sink.flush().unwrap();
    assert_eq!(fake.bytes(), b"plain\nlogin password=*** failed\n");
    let state = fake.state.lock().unwrap();
    let (_, level, length) = *state.entries.last().unwrap();
    assert_eq!((level, length), (Level::Warn, 26));
}

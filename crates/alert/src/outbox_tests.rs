//! The outbox on its own: its file, and what is kept in it.

use proptest::prelude::*;

use super::*;
use crate::alert::Alert;
use crate::policy::Policy;

fn routed(id: &str, at: Timestamp) -> Routed {
    let message = Message::test(id, "shop1", at);
    (message, vec![("admin".into(), vec!["ops".into()])])
}

#[test]
fn what_came_while_the_file_could_not_be_written_moves_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alerts.db");
    let now = Timestamp::UNIX_EPOCH;
    let mut outbox = Outbox::open(&path, now).unwrap();
    let mut machine = Machine::new(Policy::default(), "shop1", "salt");
    machine.raise(Alert::new("blog", Severity::Error, "before"), now);
    outbox.commit(&mut machine, &[routed("one", now)]).unwrap();
    outbox.leave_file(&mut machine, "full".into()).unwrap();
    assert_eq!(outbox.trouble(), Some("full"));
    machine.raise(Alert::new("blog", Severity::Error, "after"), now);
    outbox.commit(&mut machine, &[routed("two", now)]).unwrap();
    assert_eq!(outbox.list(10).unwrap().len(), 1);
    assert!(outbox.return_to_file(&mut machine, now));
    assert_eq!(outbox.trouble(), None);
    drop(outbox);
    let outbox = Outbox::open(&path, now).unwrap();
    let ids: Vec<String> = outbox
        .list(10)
        .unwrap()
        .into_iter()
        .map(|delivery| delivery.message)
        .collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let stored = outbox.load().unwrap();
    let again = Machine::from_stored(Policy::default(), "shop1", stored, now);
    assert_eq!((again.counts().raised, again.waiting()), (2, 2));
    assert_eq!(outbox.due("admin", now).unwrap().unwrap().owed, ["ops"]);
}

/// A file with a state, messages and a silence in it.
fn whole() -> &'static [u8] {
    static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    WHOLE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alerts.db");
        let now = Timestamp::UNIX_EPOCH;
        let mut outbox = Outbox::open(&path, now).unwrap();
        let mut machine = Machine::new(Policy::default(), "shop1", "salt");
        for n in 0..20_u32 {
            let alert = Alert::new("blog", Severity::Error, "x").fingerprint(n.to_string());
            machine.raise(alert.body("b".repeat(2000)), now);
            let message = routed(&format!("m{n}"), now);
            outbox.commit(&mut machine, &[message]).unwrap();
        }
        drop(outbox);
        std::fs::read(&path).unwrap()
    })
}

proptest! {
    /// Whatever became of the file, the next start goes on: with it, with a new one, or in memory
    /// until it can be returned to.
    #[test]
    fn no_damage_stops_it(
        cut in 0..1200_usize,
        spots in prop::collection::vec((0..1000_usize, 1..3000_usize, any::<u8>()), 0..4),
    ) {
        let mut bytes = whole().to_vec();
        // In thousandths of the file.
        let place = |share: usize, length: usize| (length * share / 1000).min(length);
        bytes.truncate(place(cut, bytes.len()));
        for (share, length, noise) in spots {
            let from = place(share, bytes.len());
            for byte in bytes.iter_mut().skip(from).take(length) {
                *byte = byte.wrapping_mul(31).wrapping_add(noise);
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alerts.db");
        std::fs::write(&path, &bytes).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let mut outbox = Outbox::open(&path, now).unwrap();
        let stored = outbox.load().unwrap();
        let mut machine = Machine::from_stored(Policy::default(), "shop1", stored, now);
        machine.raise(Alert::new("shop", Severity::Error, "after"), now);
        if let Err(error) = outbox.commit(&mut machine, &[routed("after", now)]) {
            outbox.leave_file(&mut machine, error.to_string()).unwrap();
            outbox.commit(&mut machine, &[routed("after", now)]).unwrap();
        }
        if outbox.trouble().is_some() {
            prop_assert!(outbox.return_to_file(&mut machine, now), "{:?}", outbox);
        }
        while let Some(due) = outbox.due("admin", now).unwrap() {
            outbox.attempted(sent(&due.message.id, now)).unwrap();
        }
        let listed = outbox.list(100).unwrap();
        prop_assert!(listed.iter().any(|delivery| delivery.message == "after"));
    }
}

fn sent(message: &str, now: Timestamp) -> Attempted {
    Attempted {
        message: message.to_owned(),
        channel: "admin".to_owned(),
        state: DeliveryState::Sent,
        owed: Vec::new(),
        next: now,
        now,
        error: None,
    }
}

/// It was on its way when the file could not be written any more.
#[test]
fn what_was_sent_while_the_file_was_left_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let mut outbox = Outbox::open(&directory.path().join("alerts.db"), now).unwrap();
    let mut machine = Machine::new(Policy::default(), "shop1", "salt");
    outbox.commit(&mut machine, &[routed("m", now)]).unwrap();
    outbox
        .leave_file(&mut machine, "it is full".to_owned())
        .unwrap();
    outbox.attempted(sent("m", now)).unwrap();
    assert!(outbox.return_to_file(&mut machine, now));
    assert!(outbox.due("admin", now).unwrap().is_none());
}

#[test]
fn too_old_and_too_much_is_given_up_the_oldest_first_and_what_is_over_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
    let mut outbox = Outbox::open(&directory.path().join("alerts.db"), at(0)).unwrap();
    let mut machine = Machine::new(Policy::default(), "shop1", "salt");
    let all: Vec<Routed> = (0..10).map(|n| routed(&format!("m{n}"), at(n))).collect();
    outbox.commit(&mut machine, &all).unwrap();
    let size = serde_json::to_string(&all[0].0).unwrap().len() as u64;
    let keep = Keep {
        age: Duration::from_secs(7),
        size: size * 4,
        history: Duration::from_hours(1),
        messages: 3,
    };
    // At second 9 those of the seconds 0 and 1 are too old, and four have room.
    let given = outbox.trim(&keep, &["admin"], at(9)).unwrap();
    assert_eq!(given.len(), 1);
    assert_eq!((given[0].count, given[0].channel.as_str()), (6, "admin"));
    let listed = outbox.list(20).unwrap();
    let waiting = listed.iter().filter(|d| d.state == DeliveryState::Waiting);
    assert_eq!(waiting.count(), 4, "{listed:?}");
    assert_eq!(
        listed.len(),
        4,
        "of those given up none is among the last three"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(directory.path().join("alerts.db"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

//! The outbox on a disk that fails, and channels that break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_alert::{
    Alert, Channel, DeliveryState, ErrorKind, Failure, Matcher, Message, Severity, Target, When,
};
use mainstay_base::Pattern;

use crate::http::Http;
use crate::scene::{config, eventually, start};

/// A channel in this process.
#[derive(Default)]
struct Box {
    messages: Mutex<Vec<Message>>,
    panics: AtomicUsize,
}

impl Channel for Box {
    fn recipients(&self) -> Vec<String> {
        vec!["me".into()]
    }

    fn deliver(&self, message: &Message, _: &[String]) -> Vec<Result<(), Failure>> {
        if self.panics.load(Ordering::SeqCst) > 0 {
            self.panics.fetch_sub(1, Ordering::SeqCst);
            panic!("as the test asks");
        }
        self.messages.lock().unwrap().push(message.clone());
        vec![Ok(())]
    }
}

fn told(channel: &Box) -> u64 {
    channel
        .messages
        .lock()
        .unwrap()
        .iter()
        .map(Message::fresh)
        .sum()
}

#[test]
fn a_channel_that_panics_hurts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let channel = Arc::new(Box::default());
    channel.panics.store(1, Ordering::SeqCst);
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let alerts = start(config(directory.path()).channel("own", When::default(), target));
    alerts.raise(Alert::new("blog", Severity::Error, "x"));
    eventually("the panic to be noted", || {
        let overview = alerts.list().unwrap();
        let failure = overview.channels[0].last_error.clone()?;
        failure.why.contains("without a word").then_some(())
    });
    eventually("the next attempt", || (told(&channel) == 1).then_some(()));
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn without_a_disk_alerts_are_told_all_the_same_and_stored_later() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    // A file stands where the directory should be.
    std::fs::write(&place, "").unwrap();
    let make = || config(&place).channel("own", When::default(), target.clone());
    let alerts = start(make());
    alerts.raise(Alert::new("host", Severity::Critical, "the disk is gone").lasting());
    eventually("the alert", || (told(&channel) == 1).then_some(()));
    assert!(alerts.list().unwrap().trouble.is_some());
    alerts.shutdown(Duration::from_secs(10));
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    let alerts = start(make());
    assert!(alerts.list().unwrap().trouble.is_none());
    alerts.shutdown(Duration::from_secs(10));
    assert!(place.join("alerts.db").exists());
}

#[test]
fn a_damaged_outbox_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("alerts.db"),
        "not a database at all".repeat(500),
    )
    .unwrap();
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let alerts = start(config(directory.path()).channel("own", When::default(), target));
    alerts.raise(Alert::new("blog", Severity::Error, "x"));
    eventually("the alert", || (told(&channel) == 1).then_some(()));
    assert!(alerts.list().unwrap().trouble.is_none());
    alerts.shutdown(Duration::from_secs(10));
    let aside = std::fs::read_dir(directory.path()).unwrap().any(|entry| {
        entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".damaged-")
    });
    assert!(aside);
}

#[test]
fn silences_survive_and_ask_for_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let make = || config(directory.path()).channel("own", When::default(), target.clone());
    let blog = || Matcher {
        app: Some(Pattern::new("blog")),
        ..Matcher::default()
    };
    let hour = Duration::from_hours(1);
    let alerts = start(make());
    for (matcher, length, author, reason) in [
        (Matcher::default(), hour, "ops", "known"),
        (blog(), Duration::ZERO, "ops", "known"),
        (blog(), Duration::from_hours(24 * 1000), "ops", "known"),
        (blog(), hour, "", "known"),
        (blog(), hour, "ops", " "),
    ] {
        let error = alerts.silence(matcher, length, author, reason).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(!error.help().is_empty());
    }
    let id = alerts.silence(blog(), hour, "ops", "known").unwrap();
    alerts.shutdown(Duration::from_secs(10));
    assert_eq!(alerts.list().unwrap_err().kind(), ErrorKind::NotRunning);
    let alerts = start(make());
    let silences = alerts.list().unwrap().silences;
    assert_eq!((silences[0].id, silences[0].reason.as_str()), (id, "known"));
    alerts.raise(Alert::new("blog", Severity::Critical, "x"));
    alerts.raise(Alert::new("shop", Severity::Critical, "y"));
    eventually("one of the two", || (told(&channel) == 1).then_some(()));
    eventually("the other to be counted", || {
        (alerts.list().unwrap().counts.silenced == 1).then_some(())
    });
    assert!(alerts.unsilence(id).unwrap());
    assert_eq!(
        channel.messages.lock().unwrap()[0].entries[0].key.app,
        "shop"
    );
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn a_channel_that_left_the_config_gives_up_what_it_had_and_that_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Http::start(&["503 No\nRetry-After: 5000\n"]);
    let alerts =
        start(config(directory.path()).channel("old", When::default(), crate::chat::json(&server)));
    alerts.raise(Alert::new("blog", Severity::Critical, "x"));
    eventually("an attempt", || (!server.asked().is_empty()).then_some(()));
    alerts.shutdown(Duration::from_secs(10));
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let alerts = start(config(directory.path()).channel("new", When::default(), target));
    eventually("the loss to be told", || {
        let messages = channel.messages.lock().unwrap();
        let entry = messages
            .iter()
            .flat_map(|message| &message.entries)
            .next()?;
        assert!(
            entry.title.contains("for the channel old were given up"),
            "{entry:?}"
        );
        assert!(entry.body.contains("[critical] blog: x"), "{entry:?}");
        Some(())
    });
    let states: Vec<_> = alerts
        .list()
        .unwrap()
        .deliveries
        .iter()
        .map(|delivery| (delivery.channel.clone(), delivery.state))
        .filter(|(channel, _)| channel.as_deref() == Some("old"))
        .collect();
    assert_eq!(states, [(Some("old".into()), DeliveryState::GivenUp)]);
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn what_there_is_no_room_for_is_counted_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let mut config = config(directory.path()).channel("own", When::default(), target);
    config.queue = 1;
    config.policy.limit = None;
    let alerts = start(config);
    for n in 0..500_u32 {
        let title: String = (0..4)
            .map(|i| char::from(b'a' + (n >> (4 * i) & 15) as u8))
            .collect();
        alerts.raise(Alert::new("blog", Severity::Error, title));
    }
    eventually("all to be told", || {
        let overview = alerts.list().unwrap();
        (overview.waiting == 0 && told(&channel) == 500).then_some(())
    });
    assert_eq!(alerts.list().unwrap().counts.raised, 500);
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn what_no_channel_takes_is_listed_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let critical = When {
        severity: Severity::Critical,
        ..When::default()
    };
    let alerts = start(config(directory.path()).channel("own", critical, target));
    alerts.raise(Alert::new("blog", Severity::Error, "x"));
    let listed = eventually("the message", || {
        alerts.list().unwrap().deliveries.into_iter().next()
    });
    assert_eq!(
        (listed.channel, listed.state),
        (None, DeliveryState::NoChannel)
    );
    alerts.shutdown(Duration::from_secs(10));
    assert_eq!(told(&channel), 0);
}

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
    eventually("the alert, and that of the damage", || {
        (told(&channel) == 2).then_some(())
    });
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

/// A file system of a megabyte that is full: alerts are told all the same, and are on disk when there
/// is room again.
#[test]
fn a_full_disk_stops_no_alert() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIPPED: no right to mount a small file system");
        return;
    };
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let make = || {
        let mut config = config(disk.path()).channel("own", When::default(), target.clone());
        config.policy.limit = None;
        config
    };
    let alerts = start(make());
    alerts.raise(Alert::new("blog", Severity::Error, "before"));
    eventually("the first", || (told(&channel) == 1).then_some(()));
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 4 << 20]);
    let letters = |n: u8| char::from(b'a' + n).to_string().repeat(3);
    for n in 0..20 {
        let alert = Alert::new("blog", Severity::Critical, format!("kind {}", letters(n)));
        alerts.raise(alert.body("b".repeat(8000)));
    }
    eventually("all to be told", || (told(&channel) == 21).then_some(()));
    let trouble = eventually("the trouble to be said", || alerts.list().unwrap().trouble);
    assert!(trouble.contains("full"), "{trouble}");
    std::fs::remove_file(&filler).unwrap();
    alerts.shutdown(Duration::from_secs(10));
    let alerts = start(make());
    let overview = alerts.list().unwrap();
    assert_eq!(overview.trouble, None);
    assert_eq!((overview.counts.raised, overview.counts.told), (21, 21));
    alerts.shutdown(Duration::from_secs(10));
    assert_eq!(told(&channel), 21, "nothing is told twice");
}

/// A file system of one megabyte in memory, gone with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "mainstay-alert-test"])
            .arg(directory.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(directory))
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

/// Bytes overwritten in the middle, and a file cut short, as a power failure or a bad disk leaves
/// them: the crate goes on, and what is told is told once.
#[test]
fn an_outbox_that_is_damaged_anywhere_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alerts.db");
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let make = || config(directory.path()).channel("own", When::default(), target.clone());
    let alerts = start(make());
    alerts.raise(Alert::new("blog", Severity::Error, "x").body("b".repeat(5000)));
    eventually("the first", || (told(&channel) == 1).then_some(()));
    alerts.shutdown(Duration::from_secs(10));
    let whole = std::fs::read(&path).unwrap();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("cut in the first page", whole[..1000].to_vec()),
        ("cut in half", whole[..whole.len() / 2].to_vec()),
        ("zeros in the middle", {
            let mut bytes = whole.clone();
            let from = bytes.len() / 4;
            bytes[from..from * 3].fill(0);
            bytes
        }),
        ("noise behind the head", {
            let mut bytes = whole.clone();
            for (index, byte) in bytes.iter_mut().enumerate().skip(100) {
                *byte ^= u8::try_from(index * 7 % 251).unwrap();
            }
            bytes
        }),
    ] {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        std::fs::write(&path, bytes).unwrap();
        let damages = || {
            let messages = channel.messages.lock().unwrap();
            messages
                .iter()
                .flat_map(|message| &message.entries)
                .filter(|entry| entry.title.contains("was damaged and begun anew"))
                .count()
        };
        let (before, before_damages) = (told(&channel), damages());
        let alerts = start(make());
        alerts.raise(Alert::new("shop", Severity::Error, "after the damage"));
        eventually(&format!("the alert after: {name}"), || {
            (told(&channel) > before).then_some(())
        });
        let aside = std::fs::read_dir(directory.path()).unwrap().any(|entry| {
            let entry = entry.unwrap();
            let found = entry.file_name().to_string_lossy().contains(".damaged-");
            found && std::fs::remove_file(entry.path()).is_ok()
        });
        // An empty file is a new database.
        if aside {
            eventually(&format!("the damage to be told: {name}"), || {
                (damages() > before_damages).then_some(())
            });
        } else {
            assert_eq!(name, "empty");
        }
        alerts.list().unwrap();
        alerts.shutdown(Duration::from_secs(10));
    }
}

/// The clock is set forward by a year and back again: nothing waits for that year.
#[test]
fn jumps_of_the_clock_stop_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let channel = Arc::new(Box::default());
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let begin: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = Arc::new(mainstay_base::ManualClock::new(begin));
    let make = || config(directory.path()).channel("own", When::default(), target.clone());
    let run = |raised: u64| {
        let alerts = mainstay_alert::Alerts::start(make(), Arc::clone(&clock) as Arc<_>).unwrap();
        alerts.raise(Alert::new("blog", Severity::Critical, "x"));
        alerts.sync().unwrap();
        let year = jiff::SignedDuration::from_hours(365 * 24);
        for now in [begin + year, begin - year, begin] {
            clock.set(now);
            alerts.raise(Alert::new("blog", Severity::Critical, "x"));
            // A question wakes the thread, which has no other reason to look at this clock.
            eventually("all to be told", || {
                clock.advance(Duration::from_secs(1));
                let overview = alerts.list().unwrap();
                (overview.waiting == 0).then_some(())
            });
        }
        let overview = alerts.list().unwrap();
        assert_eq!(
            (overview.counts.raised, overview.counts.told),
            (raised, raised)
        );
        alerts.shutdown(Duration::from_secs(10));
    };
    run(4);
    clock.set(begin - jiff::SignedDuration::from_hours(10 * 365 * 24));
    run(8);
    eventually("all to be delivered", || {
        (told(&channel) == 8).then_some(())
    });
}

/// A caller is not held up by whatever the channels and the thread do: ten thousand kinds at once
/// take their place or are counted, while a delivery hangs.
#[test]
fn raising_waits_for_nobody() {
    /// Holds a delivery until it is let go.
    struct Stuck(Mutex<()>, AtomicUsize);
    impl Channel for Stuck {
        fn recipients(&self) -> Vec<String> {
            vec!["me".into()]
        }
        fn deliver(&self, message: &Message, _: &[String]) -> Vec<Result<(), Failure>> {
            let _held = self.0.lock().unwrap();
            let fresh = usize::try_from(message.fresh()).unwrap();
            self.1.fetch_add(fresh, Ordering::SeqCst);
            vec![Ok(())]
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let channel = Arc::new(Stuck(Mutex::default(), AtomicUsize::default()));
    let target = Target::Custom(Arc::clone(&channel) as Arc<dyn Channel>);
    let mut config = config(directory.path()).channel("own", When::default(), target);
    config.queue = 16;
    let held = channel.0.lock().unwrap();
    let alerts = start(config);
    alerts.raise(Alert::new("blog", Severity::Critical, "first"));
    let threads: Vec<_> = (0..4_u32)
        .map(|thread| {
            let alerts = alerts.clone();
            std::thread::spawn(move || {
                for n in 0..2500_u32 {
                    let alert = Alert::new("blog", Severity::Critical, "kind");
                    alerts.raise(alert.fingerprint(format!("{thread}/{n}")));
                }
            })
        })
        .collect();
    // They end while the delivery is held: that is the test.
    for thread in threads {
        thread.join().unwrap();
    }
    alerts.sync().unwrap();
    let overview = alerts.list().unwrap();
    assert_eq!(overview.counts.raised, 10_001);
    assert!(overview.alerts.len() <= 1001, "{}", overview.alerts.len());
    drop(held);
    alerts.shutdown(Duration::from_secs(10));
}

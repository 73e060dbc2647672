//! The dead man's switch, seen by the service behind it.

use std::time::Duration;

use mainstay_alert::{
    Alert, Dialect, HeartbeatConfig, Severity, Target, WebhookConfig, When, try_channels,
};
use mainstay_base::{Credential, Secret};

use crate::http::Http;
use crate::scene::{config, eventually, start};

fn heartbeat(server: &Http) -> HeartbeatConfig {
    let mut heartbeat = HeartbeatConfig::new(Credential::Value(Secret::new(server.url())));
    heartbeat.every = Duration::from_millis(100);
    heartbeat
}

#[test]
fn it_beats_until_the_end() {
    let server = Http::secure(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    let mut beat = heartbeat(&server);
    beat.ca = vec![server.ca()];
    config.heartbeat = Some(beat);
    assert!(!format!("{config:?}").contains("SECRET"));
    let alerts = start(config);
    eventually("a few beats", || (server.asked().len() >= 3).then_some(()));
    let asked = server.asked().remove(0);
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/hook/SECRET")
    );
    let overview = alerts.list().unwrap();
    let health = overview.heartbeat.unwrap();
    assert_eq!((health.failing_since, health.last_error), (None, None));
    assert_eq!(overview.counts.raised, 0);
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn one_that_fails_is_told_and_so_is_its_return() {
    let broken = "500 No\n\nhttp said SECRET";
    let server = Http::start(&[broken; 40]);
    let chat = Http::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut config =
        config(directory.path()).channel("chat", When::default(), crate::chat::json(&chat));
    config.heartbeat = Some(heartbeat(&server));
    let alerts = start(config);
    let told = eventually("the failure to be told", || {
        chat.asked()
            .into_iter()
            .find(|asked| asked.body.contains("the heartbeat does not get through"))
    });
    assert!(
        told.body.contains("answered with status 500"),
        "{}",
        told.body
    );
    eventually("the end to be told", || {
        chat.asked()
            .iter()
            .any(|asked| asked.json()["resolved"] == true)
            .then_some(())
    });
    assert_eq!(alerts.list().unwrap().counts.raised, 1, "it is told once");
    alerts.shutdown(Duration::from_secs(10));
}

/// Where nobody can be told, silence is the last word that gets out.
#[test]
fn it_is_held_back_while_no_channel_works() {
    let server = Http::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut hook = WebhookConfig::new(
        Dialect::Json,
        Credential::Value(Secret::new("http://127.0.0.1:1/")),
    );
    hook.timeout = Duration::from_secs(20);
    let mut config =
        config(directory.path()).channel("chat", When::default(), Target::Webhook(hook));
    config.heartbeat = Some(heartbeat(&server));
    let alerts = start(config);
    eventually("a beat", || (!server.asked().is_empty()).then_some(()));
    alerts.raise(Alert::new("blog", Severity::Critical, "x"));
    eventually("the channel to fail", || {
        alerts.list().unwrap().channels[0].failing_since
    });
    // It goes on being planned, and nothing comes of it.
    let mut counted = (server.asked().len(), alerts.list().unwrap().heartbeat);
    eventually("the beats to stop", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = (server.asked().len(), alerts.list().unwrap().heartbeat);
        let planned = |health: &Option<mainstay_alert::ChannelHealth>| {
            health.as_ref().and_then(|health| health.next_attempt)
        };
        let stopped = now.0 == counted.0 && planned(&now.1) > planned(&counted.1);
        counted = now;
        stopped.then_some(())
    });
    alerts.shutdown(Duration::from_secs(10));
}

#[test]
fn the_test_of_all_channels_beats_too() {
    let server = Http::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.heartbeat = Some(heartbeat(&server));
    let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
    assert_eq!(tried.len(), 1);
    assert_eq!(
        (tried[0].channel.as_str(), &tried[0].result),
        ("heartbeat", &Ok(()))
    );
    assert_eq!(server.asked().len(), 1);
}

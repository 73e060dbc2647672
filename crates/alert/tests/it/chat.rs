//! Webhooks, seen by the server that is asked.

use std::time::Duration;

use mainstay_alert::{
    Alert, Credential, DeliveryState, Dialect, Severity, Target, WebhookConfig, When, try_channels,
};
use mainstay_base::Secret;

use crate::http::Http;
use crate::scene::{config, eventually, start};

fn hook(dialect: Dialect, url: String) -> WebhookConfig {
    let mut hook = WebhookConfig::new(dialect, Credential::Value(Secret::new(url)));
    hook.timeout = Duration::from_secs(20);
    hook
}

pub(crate) fn json(server: &Http) -> Target {
    Target::Webhook(hook(Dialect::Json, server.url()))
}

#[test]
fn each_dialect_is_what_its_service_reads() {
    type Check = fn(&serde_json::Value);
    let cases: [(Dialect, Check); 5] = [
        (Dialect::Json, |body| {
            assert_eq!(body["schema"], 1);
            assert_eq!(body["severity"], "critical");
            assert_eq!(body["entries"][0]["title"], "disk <!channel> @everyone");
            assert_eq!(body["entries"][0]["key"]["app"], "blog");
            assert_eq!(body["entries"][0]["fresh"], 3);
        }),
        (Dialect::Slack, |body| {
            assert!(body["text"].as_str().unwrap().contains("&lt;!channel&gt;"));
            assert_eq!(body["blocks"][0]["type"], "header");
            assert_eq!(body["blocks"][1]["text"]["type"], "plain_text");
        }),
        (Dialect::Teams, |body| {
            let card = &body["attachments"][0];
            assert_eq!(
                card["contentType"],
                "application/vnd.microsoft.card.adaptive"
            );
            assert_eq!(card["content"]["type"], "AdaptiveCard");
            let first = &card["content"]["body"][0]["inlines"][0];
            assert!(
                first["text"]
                    .as_str()
                    .unwrap()
                    .starts_with("[critical] blog: disk")
            );
            assert_eq!(first["color"], "Attention");
        }),
        (Dialect::Discord, |body| {
            assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]));
            assert!(body["content"].as_str().unwrap().contains("3 times"));
        }),
        (Dialect::Telegram, |body| {
            assert_eq!(body["chat_id"], "-100");
            let text = body["text"].as_str().unwrap();
            assert!(!text.contains("@everyone") && text.contains("everyone"));
        }),
    ];
    for (dialect, check) in cases {
        let server = Http::start(&[]);
        let directory = tempfile::tempdir().unwrap();
        let mut hook = hook(dialect, server.url());
        if dialect == Dialect::Telegram {
            hook = WebhookConfig {
                token: Some(Credential::Value(Secret::new("12:TOKEN"))),
                chat: "-100".into(),
                url: Credential::Value(Secret::new(format!("http://{}", server.address))),
                ..hook
            };
        }
        let config =
            config(directory.path()).channel("chat", When::default(), Target::Webhook(hook));
        let alerts = start(config);
        let mut alert = Alert::new("blog", Severity::Critical, "disk <!channel> @everyone");
        alert.count = 3;
        alerts.raise(alert.context(["```@here"]));
        let asked = eventually("a request", || server.asked().into_iter().next());
        assert_eq!(asked.header("content-type"), Some("application/json"));
        assert!(asked.header("idempotency-key").is_some());
        if dialect == Dialect::Telegram {
            assert_eq!(asked.path, "/bot12:TOKEN/sendMessage");
        } else {
            assert_eq!(asked.path, "/hook/SECRET");
        }
        check(&asked.json());
        alerts.shutdown(Duration::from_secs(10));
    }
}

#[test]
fn a_signature_is_that_of_the_body() {
    let server = Http::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let mut hook = hook(Dialect::Json, server.url());
    hook.secret = Some(Credential::Value(Secret::new("key")));
    let config = config(directory.path()).channel("own", When::default(), Target::Webhook(hook));
    try_channels(&config, jiff::Timestamp::now()).unwrap();
    let asked = server.asked().remove(0);
    let signature = asked.header("x-mainstay-signature-256").unwrap();
    let script =
        "import hmac,sys; print(hmac.new(b'key', sys.stdin.buffer.read(), 'sha256').hexdigest())";
    let Ok(mut python) = std::process::Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    else {
        println!("SKIPPED: there is no python3 to compute the signature with");
        return;
    };
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), asked.body.as_bytes()).unwrap();
    let said = String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(signature, format!("sha256={}", said.trim()));
}

#[test]
fn busy_services_are_asked_again_and_with_the_same_key() {
    for answer in [
        "429 Too Many Requests\nRetry-After: 0\n",
        "429 Too Many Requests\n\n{\"retry_after\": 0.01}",
        "503 Service Unavailable\nRetry-After: 0\n",
        "408 Request Timeout\nRetry-After: 0\n",
    ] {
        let server = Http::start(&[answer]);
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path()).channel("chat", When::default(), json(&server));
        let alerts = start(config);
        alerts.raise(Alert::new("blog", Severity::Critical, "x"));
        let asked = eventually("two requests", || {
            let asked = server.asked();
            (asked.len() >= 2).then_some(asked)
        });
        assert_eq!(
            asked[0].header("idempotency-key"),
            asked[1].header("idempotency-key")
        );
        eventually("the delivery to be noted", || {
            let deliveries = alerts.list().unwrap().deliveries;
            (deliveries[0].state == DeliveryState::Sent && deliveries[0].attempts == 2)
                .then_some(())
        });
        alerts.shutdown(Duration::from_secs(10));
    }
}

#[test]
fn a_wait_that_a_service_asks_for_is_kept() {
    let server = Http::start(&["429 Too Many Requests\nRetry-After: 5000\n"]);
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path()).channel("chat", When::default(), json(&server));
    let alerts = start(config);
    alerts.raise(Alert::new("blog", Severity::Critical, "x"));
    let next = eventually("an attempt", || {
        let overview = alerts.list().unwrap();
        overview.channels[0].next_attempt
    });
    let wait = next.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((4900..=5000).contains(&wait), "{wait}");
    alerts.shutdown(Duration::from_secs(10));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn refusals_are_final_and_hold_no_secret() {
    for answer in [
        "400 Bad Request\n\ninvalid_payload",
        "404 Not Found\n\nno hook SECRET here",
        "302 Found\nLocation: http://127.0.0.1:1/\n",
    ] {
        let server = Http::start(&[answer]);
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path()).channel("chat", When::default(), json(&server));
        assert!(!format!("{config:?}").contains("SECRET"));
        let alerts = start(config);
        alerts.raise(Alert::new("blog", Severity::Critical, "x"));
        let failed = eventually("the refusal", || {
            alerts
                .list()
                .unwrap()
                .deliveries
                .into_iter()
                .find(|delivery| delivery.state == DeliveryState::Failed)
        });
        assert_eq!(failed.attempts, 1);
        assert!(!failed.error.unwrap().contains("/hook/SECRET"));
        alerts.shutdown(Duration::from_secs(10));
        assert_eq!(server.asked().len(), 1, "{answer}");
    }
}

#[test]
fn a_service_that_is_not_there_is_told_without_its_address() {
    let directory = tempfile::tempdir().unwrap();
    for url in [
        "http://127.0.0.1:1/hook/SECRET",
        "http://no-such-host.invalid/hook/SECRET",
        "https://127.0.0.1:1/hook/SECRET",
        "ftp://127.0.0.1/hook/SECRET",
        "http://[::1/hook/SECRET",
    ] {
        let target = Target::Webhook(hook(Dialect::Slack, url.to_owned()));
        let config = config(directory.path()).channel("chat", When::default(), target);
        let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
        let failure = tried[0].result.clone().unwrap_err();
        assert!(failure.temporary, "{url}: {failure}");
        assert!(!failure.why.contains("SECRET"), "{failure}");
        assert!(!failure.help.is_empty());
    }
}

//! Webhooks, seen by the server that is asked.

use std::time::Duration;

use mainstay_alert::{
    Alert, DeliveryState, Dialect, Severity, Target, WebhookConfig, When, try_channels,
};
use mainstay_base::{Credential, Secret};

use crate::http::{DRIP, ENDLESS, Http, SILENCE};
use crate::python::python;
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
    let cases: [(Dialect, Check); 10] = [
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
        (Dialect::Feishu, |body| {
            assert_eq!(body["msg_type"], "post");
            let post = &body["content"]["post"]["en_us"];
            let title = post["title"].as_str().unwrap();
            assert!(title.starts_with("[critical] blog: disk"), "{title}");
            assert_eq!(post["content"][0][0]["tag"], "text");
            assert!(body["timestamp"].as_str().unwrap().parse::<i64>().is_ok());
            assert_eq!(body["sign"].as_str().unwrap().len(), 44);
        }),
        (Dialect::Dingtalk, |body| {
            assert_eq!(body["msgtype"], "text");
            assert_eq!(body["at"]["isAtAll"], false);
            assert!(
                body["text"]["content"]
                    .as_str()
                    .unwrap()
                    .contains("mainstay on shop1")
            );
        }),
        (Dialect::Wecom, |body| {
            assert_eq!(body["msgtype"], "text");
            assert!(
                body["text"]["content"]
                    .as_str()
                    .unwrap()
                    .contains("3 times")
            );
        }),
        (Dialect::Pagerduty, |body| {
            assert_eq!(body["routing_key"], "12:TOKEN");
            assert_eq!(body["event_action"], "trigger");
            assert!(
                body["dedup_key"]
                    .as_str()
                    .unwrap()
                    .starts_with("shop1/blog/")
            );
            assert_eq!(body["payload"]["severity"], "critical");
            assert_eq!(body["payload"]["source"], "shop1");
        }),
        (Dialect::Apprise, |body| {
            assert_eq!(body["type"], "failure");
            assert!(body["body"].as_str().unwrap().contains("3 times"));
        }),
    ];
    for (dialect, check) in cases {
        let server = Http::start(&[match dialect {
            Dialect::Feishu => "200 OK\n\n{\"code\":0,\"msg\":\"success\"}",
            Dialect::Dingtalk | Dialect::Wecom => "200 OK\n\n{\"errcode\":0,\"errmsg\":\"ok\"}",
            Dialect::Pagerduty => "202 Accepted\n\n{\"status\":\"success\"}",
            _ => "200 OK\n\nok",
        }]);
        let directory = tempfile::tempdir().unwrap();
        let mut hook = hook(dialect, server.url());
        hook.secret = Some(Credential::Value(Secret::new("sign")));
        if dialect == Dialect::Pagerduty {
            hook.token = Some(Credential::Value(Secret::new("12:TOKEN")));
        }
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
        } else if dialect == Dialect::Dingtalk {
            let path = &asked.path;
            assert!(path.starts_with("/hook/SECRET?timestamp="), "{path}");
            assert!(path.contains("&sign="), "{path}");
        } else {
            assert_eq!(asked.path, "/hook/SECRET");
        }
        check(&asked.json());
        eventually("the delivery to be noted", || {
            let deliveries = alerts.list().unwrap().deliveries;
            (deliveries[0].state == DeliveryState::Sent).then_some(())
        });
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
    let Some(said) = python(script, asked.body.as_bytes()) else {
        return;
    };
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

#[test]
fn https_believes_the_authority_it_is_told_and_no_other() {
    let server = Http::secure(&[]);
    let stranger = Http::secure(&[]);
    let directory = tempfile::tempdir().unwrap();
    let moment = jiff::Timestamp::now();
    let by_address = format!("https://127.0.0.1:{}/hook/SECRET", server.address.port());
    for (name, url, ca, expected) in [
        ("its own", server.url(), vec![server.ca()], None),
        (
            "several, one of them its own",
            server.url(),
            vec![stranger.ca(), server.ca()],
            None,
        ),
        (
            "another's",
            server.url(),
            vec![stranger.ca()],
            Some(("no TLS with the webhook: invalid peer certificate", "`ca`")),
        ),
        (
            "the system's",
            server.url(),
            Vec::new(),
            Some(("no TLS with the webhook: invalid peer certificate", "`ca`")),
        ),
        (
            "its own, under another name",
            by_address,
            vec![server.ca()],
            Some((
                "no TLS with the webhook: invalid peer certificate",
                "use a name",
            )),
        ),
        (
            "a file that is none",
            server.url(),
            vec!["no/such/ca.pem".into()],
            Some(("cannot read the certificates in no/such/ca.pem", "`ca`")),
        ),
    ] {
        let mut hook = hook(Dialect::Json, url);
        hook.ca = ca;
        let config =
            config(directory.path()).channel("own", When::default(), Target::Webhook(hook));
        let before = server.asked().len();
        let result = try_channels(&config, moment).unwrap().remove(0).result;
        match (result, expected) {
            (Ok(()), None) => assert_eq!(server.asked().len(), before + 1, "{name}"),
            (Err(failure), Some((why, help))) => {
                assert!(failure.why.contains(why), "{name}: {failure}");
                assert!(failure.help.contains(help), "{name}: {}", failure.help);
                assert!(failure.temporary && !failure.why.contains("SECRET"));
                assert_eq!(server.asked().len(), before, "{name}: nothing was sent");
            }
            // A host without any authority says so instead.
            (Err(failure), _) if failure.why.contains("no certificate authority") => {}
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(
        server.asked()[0].header("host"),
        Some(format!("localhost:{}", server.address.port()).as_str())
    );
}

#[test]
fn a_redirect_takes_the_secret_nowhere() {
    let elsewhere = Http::start(&[]);
    for answer in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent",
    ] {
        let server = Http::secure(&[&format!("{answer}\nLocation: {}\n", elsewhere.url())]);
        let directory = tempfile::tempdir().unwrap();
        let mut hook = hook(Dialect::Json, server.url());
        hook.ca = vec![server.ca()];
        hook.secret = Some(Credential::Value(Secret::new("key")));
        let config =
            config(directory.path()).channel("own", When::default(), Target::Webhook(hook));
        let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
        let failure = tried[0].result.clone().unwrap_err();
        assert!(
            !failure.temporary && failure.help.contains("has moved"),
            "{failure}"
        );
    }
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn answers_that_do_not_end_cost_no_more_than_the_timeout_and_no_memory() {
    for (answer, expected) in [
        (SILENCE, Some("did not answer in time")),
        (DRIP, Some("did not answer in time")),
        // It says that it has taken the message; how much it says beyond that does not matter.
        (ENDLESS, None),
    ] {
        let server = Http::secure(&[answer]);
        let directory = tempfile::tempdir().unwrap();
        let mut hook = hook(Dialect::Json, server.url());
        hook.ca = vec![server.ca()];
        hook.timeout = Duration::from_secs(2);
        let config =
            config(directory.path()).channel("own", When::default(), Target::Webhook(hook));
        let tried = try_channels(&config, jiff::Timestamp::now()).unwrap();
        let why = tried[0].result.clone().err().map(|failure| failure.why);
        assert_eq!(
            why.as_ref()
                .map(|why| why.contains(expected.unwrap_or("nothing"))),
            expected.map(|_| true),
            "{answer}: {why:?}"
        );
    }
}

#[test]
fn an_incident_is_opened_once_and_resolved_with_its_alert() {
    let taken = "202 Accepted\n\n{\"status\":\"success\"}";
    let server = Http::start(&[taken, taken, taken]);
    let directory = tempfile::tempdir().unwrap();
    let mut hook = hook(Dialect::Pagerduty, server.url());
    hook.token = Some(Credential::Value(Secret::new("R0UTING")));
    let config = config(directory.path()).channel("pager", When::default(), Target::Webhook(hook));
    assert!(!format!("{config:?}").contains("R0UTING"));
    let alerts = start(config);
    let alert = Alert::new("blog", Severity::Critical, "the database is gone").lasting();
    let key = alert.key.clone();
    alerts.raise(alert);
    eventually("the incident", || (server.asked().len() == 1).then_some(()));
    assert!(alerts.resolve(&key));
    eventually("its end", || (server.asked().len() == 2).then_some(()));
    let [begin, end] = server.asked().try_into().unwrap();
    let (begin, end) = (begin.json(), end.json());
    assert_eq!(begin["event_action"], "trigger");
    assert_eq!(end["event_action"], "resolve");
    assert_eq!(begin["dedup_key"], end["dedup_key"]);
    alerts.shutdown(Duration::from_secs(10));
}

//! Webhooks: a POST for each message, over HTTP or HTTPS.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_base::{
    Clock as _, Credential, Resolver, Secret, SystemClock, base64, hex, hmac_sha256,
};
use serde_json::Value;
use ureq::http::Method;

use crate::channel::{Channel, Failure};
use crate::config::WebhookConfig;
use crate::dialect::{self, Dialect, Word};
use crate::http::{Answer, Request};
use crate::message::Message;

/// A channel that posts to a URL.
pub(crate) struct WebhookChannel {
    name: String,
    config: WebhookConfig,
    zone: TimeZone,
    resolver: Resolver,
}

impl WebhookChannel {
    pub(crate) fn new(
        name: &str,
        config: WebhookConfig,
        zone: TimeZone,
        resolver: Resolver,
    ) -> Self {
        Self {
            name: name.to_owned(),
            config,
            zone,
            resolver,
        }
    }

    fn post(&self, message: &Message) -> Result<(), Failure> {
        let config = &self.config;
        let read = |what: &str, of: Option<&Credential>| {
            of.map(|credential| credential.read(what, &self.resolver))
                .transpose()
        };
        let url = config.url.read("the URL of the webhook", &self.resolver)?;
        let token = read("the token of the webhook", config.token.as_ref())?;
        let secret = read("the secret of the webhook", config.secret.as_ref())?;
        for mut body in dialect::bodies(config.dialect, message, &self.zone, &config.chat) {
            // The real clock: the other side compares the moment with its own.
            let now = SystemClock::new().now();
            let address = address(config.dialect, &url, token.as_ref(), secret.as_ref(), now);
            sign_body(
                config.dialect,
                &mut body,
                token.as_ref(),
                secret.as_ref(),
                now,
            );
            // A wiped copy: the body of some has a token in it.
            let body = Secret::new(body.to_string());
            let mut headers = vec![
                ("Content-Type", "application/json".to_owned()),
                ("Idempotency-Key", message.id.clone()),
            ];
            if let (Dialect::Json, Some(secret)) = (config.dialect, &secret) {
                let signature = hmac_sha256(secret.expose().as_bytes(), body.expose().as_bytes());
                headers.push((
                    "X-Mainstay-Signature-256",
                    format!("sha256={}", hex(&signature)),
                ));
            }
            let answer = Request {
                whom: "the webhook",
                key: "url",
                method: Method::POST,
                url: address.expose(),
                headers: &headers,
                body: body.expose().as_bytes(),
                ca: &config.ca,
                timeout: config.timeout,
            }
            .send()?;
            let secrets: Vec<&str> = [Some(&address), Some(&url), token.as_ref(), secret.as_ref()]
                .into_iter()
                .flatten()
                .map(Secret::expose)
                .collect();
            judge(config.dialect, &answer, &secrets)?;
        }
        Ok(())
    }
}

impl Channel for WebhookChannel {
    fn recipients(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn deliver(&self, message: &Message, to: &[String]) -> Vec<Result<(), Failure>> {
        let result = self.post(message);
        to.iter().map(|_| result.clone()).collect()
    }
}

/// The address that is asked, with what a service wants in it: the token of a Telegram bot, the
/// signature of a `DingTalk` robot.
fn address(
    dialect: Dialect,
    url: &Secret,
    token: Option<&Secret>,
    secret: Option<&Secret>,
    now: Timestamp,
) -> Secret {
    match (dialect, token, secret) {
        (Dialect::Telegram, Some(token), _) => Secret::new(format!(
            "{}/bot{}/sendMessage",
            url.expose().trim_end_matches('/'),
            token.expose()
        )),
        (Dialect::Dingtalk, _, Some(secret)) => {
            // Milliseconds, a line feed and the secret, signed with the secret.
            let at = now.as_millisecond();
            let text = format!("{at}\n{}", secret.expose());
            let signature = base64(&hmac_sha256(secret.expose().as_bytes(), text.as_bytes()));
            let signature = signature
                .replace('+', "%2B")
                .replace('/', "%2F")
                .replace('=', "%3D");
            let mark = if url.expose().contains('?') { '&' } else { '?' };
            Secret::new(format!(
                "{}{mark}timestamp={at}&sign={signature}",
                url.expose()
            ))
        }
        _ => url.clone(),
    }
}

/// What a service wants in the body: the routing key of `PagerDuty`, the signature of a Feishu bot.
fn sign_body(
    dialect: Dialect,
    body: &mut Value,
    token: Option<&Secret>,
    secret: Option<&Secret>,
    now: Timestamp,
) {
    match (dialect, token, secret) {
        (Dialect::Pagerduty, Some(token), _) => body["routing_key"] = token.expose().into(),
        (Dialect::Feishu, _, Some(secret)) => {
            // Nothing, signed with the seconds, a line feed and the secret.
            let at = now.as_second();
            let key = format!("{at}\n{}", secret.expose());
            body["timestamp"] = at.to_string().into();
            body["sign"] = base64(&hmac_sha256(key.as_bytes(), b"")).into();
        }
        _ => {}
    }
}

/// What an answer means: 2xx is taken, 408, 424, 429 and 5xx may pass, everything else will not. Some
/// services say in the body of a 200 that they did not take it.
fn judge(dialect: Dialect, answer: &Answer, secrets: &[&str]) -> Result<(), Failure> {
    let status = answer.status;
    let mut said = answer.text.clone();
    for secret in secrets {
        said = said.replace(secret, "***");
    }
    let said = dialect::excerpt(&said);
    // Apprise: 204 is that it has no config of that key, 424 that a service behind it failed.
    let nobody = dialect == Dialect::Apprise && status == 204;
    if (200..300).contains(&status) && !nobody {
        let why = format!("the service did not take the message: {said}");
        return match dialect::word(dialect, &answer.text) {
            Word::Taken => Ok(()),
            Word::Later(wait) => Err(Failure {
                retry_after: (!wait.is_zero()).then_some(wait),
                ..Failure::temporary(why, "nothing: it is tried again")
            }),
            Word::Never => Err(Failure::permanent(
                why,
                "check `url` and `secret`, and what the robot's settings ask of a message (its keyword, the addresses it takes)",
            )),
        };
    }
    let why = if said.is_empty() {
        format!("the webhook answered with status {status}")
    } else {
        format!("the webhook answered with status {status}: {said}")
    };
    let temporary = status >= 500 || matches!(status, 408 | 424 | 429);
    let help = match status {
        401 | 403 | 404 | 410 => {
            "the address or the token is not valid any more: make a new one and put it where the config refers to"
        }
        204 => "the key in the address has no config on the Apprise server: make one",
        300..400 => "the address has moved: put the new one where the config refers to",
        413 | 400 | 422 => "check `kind` of the channel, and for Telegram `chat`",
        429 => "nothing: it is tried again when the service asks for it",
        _ if temporary => "nothing: it is tried again",
        _ => "check `kind` and `url` of the channel",
    };
    Err(Failure {
        temporary,
        why,
        help: help.to_owned(),
        retry_after: dialect::retry_after(answer.retry_after.as_deref(), &answer.text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        use Dialect::{Apprise, Dingtalk, Feishu, Json, Wecom};
        let no = "no, https://h/SECRET is\nbad";
        for (dialect, status, header, text, expected) in [
            (Json, 200, None, no, None),
            (Json, 204, None, no, None),
            (Json, 302, None, no, Some((false, None))),
            (Json, 400, None, no, Some((false, None))),
            (Json, 404, None, no, Some((false, None))),
            (Json, 408, None, no, Some((true, None))),
            (Json, 429, Some("5"), no, Some((true, Some(5)))),
            (Json, 500, None, no, Some((true, None))),
            (Json, 503, Some("5"), no, Some((true, Some(5)))),
            (Apprise, 200, None, "", None),
            (Apprise, 204, None, "", Some((false, None))),
            (Apprise, 424, None, "", Some((true, None))),
            (Feishu, 200, None, r#"{"code":0,"msg":"success"}"#, None),
            (
                Feishu,
                200,
                None,
                r#"{"StatusCode":0,"StatusMessage":"success"}"#,
                None,
            ),
            (
                Feishu,
                200,
                None,
                r#"{"code":19021,"msg":"sign SECRET"}"#,
                Some((false, None)),
            ),
            (
                Feishu,
                200,
                None,
                r#"{"code":11232,"msg":"limited"}"#,
                Some((true, Some(60))),
            ),
            (Feishu, 200, None, "<html>log in</html>", Some((true, None))),
            (Dingtalk, 200, None, r#"{"errcode":0,"errmsg":"ok"}"#, None),
            (
                Dingtalk,
                200,
                None,
                r#"{"errcode":310000,"errmsg":"sign"}"#,
                Some((false, None)),
            ),
            (
                Dingtalk,
                200,
                None,
                r#"{"errcode":130101,"errmsg":"too fast"}"#,
                Some((true, Some(600))),
            ),
            (Wecom, 200, None, r#"{"errcode":0,"errmsg":"ok"}"#, None),
            (
                Wecom,
                200,
                None,
                r#"{"errcode":93000,"errmsg":"key"}"#,
                Some((false, None)),
            ),
            (
                Wecom,
                200,
                None,
                r#"{"errcode":45009,"errmsg":"limit"}"#,
                Some((true, Some(60))),
            ),
            (
                Wecom,
                200,
                None,
                r#"{"errcode":-1,"errmsg":"busy"}"#,
                Some((true, None)),
            ),
        ] {
            let answer = Answer {
                status,
                retry_after: header.map(str::to_owned),
                text: text.to_owned(),
            };
            let judged = judge(dialect, &answer, &["https://h/SECRET", "SECRET"]);
            let seconds = |failure: &Failure| failure.retry_after.map(|wait| wait.as_secs());
            assert_eq!(
                judged.as_ref().err().map(|f| (f.temporary, seconds(f))),
                expected,
                "{dialect:?} {status} {text}"
            );
            if let Err(failure) = judged {
                assert!(!failure.why.contains("SECRET"), "{failure}");
                assert!(!failure.help.is_empty());
            }
        }
    }

    /// Values computed with Python's hmac, as the services' documents show it.
    #[test]
    fn signatures_are_as_the_services_compute_them() {
        let now = Timestamp::from_millisecond(1_599_360_473_000).unwrap();
        let secret = Secret::new("this is secret");
        let url = Secret::new("https://oapi.dingtalk.com/robot/send?access_token=T");
        let signed = address(Dialect::Dingtalk, &url, None, Some(&secret), now);
        assert_eq!(
            signed.expose(),
            "https://oapi.dingtalk.com/robot/send?access_token=T&timestamp=1599360473000&sign=hXZTWifRGHclNuZSKxoXc%2F%2Fsh51SWfVfRIhcdeKs63I%3D"
        );
        let mut body = serde_json::json!({});
        sign_body(Dialect::Feishu, &mut body, None, Some(&secret), now);
        assert_eq!(body["timestamp"], "1599360473");
        assert_eq!(body["sign"], "/eYKrXQBzTjUZJ3s6NX16VxGbTwmK7AEs8/FnvC1CSw=");
    }
}

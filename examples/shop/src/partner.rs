//! The third party that gets every piece of feedback, seen from both sides: the client that hands
//! it over, and the fake that receives it when there is no real one.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::store::{Feedback, Outcome};

/// The most that is read of the partner's answer, in bytes.
const ANSWER_LIMIT: usize = 64 << 10;

/// The longest reference or reason that is kept, in characters.
const NOTE_LIMIT: usize = 200;

/// Hands feedback to the partner.
pub(crate) struct Partner {
    url: Uri,
    timeout: Duration,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

impl Partner {
    /// A client of the partner at this `http://` URL; an answer that takes longer than `timeout`
    /// counts as a failure.
    pub(crate) fn new(url: Uri, timeout: Duration) -> Partner {
        Partner {
            url,
            timeout,
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Hands over one piece of feedback, once. Returns what became of it, and the partner's
    /// reference or the reason of the failure.
    pub(crate) async fn hand_over(&self, feedback: &Feedback) -> (Outcome, String) {
        match tokio::time::timeout(self.timeout, self.send(feedback)).await {
            Ok(Ok(reference)) => (Outcome::Sent, short(&reference)),
            Ok(Err(reason)) => (Outcome::Failed, short(&reason)),
            Err(_) => {
                let ms = self.timeout.as_millis();
                (
                    Outcome::Failed,
                    format!("no answer within {ms} ms; it may have arrived"),
                )
            }
        }
    }

    async fn send(&self, feedback: &Feedback) -> Result<String, String> {
        let request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            // Lets a partner recognise what it has got already. The time is part of it, because
            // after a restore the same id can be given to other feedback.
            .header(
                "idempotency-key",
                format!("shop-{}-{}", feedback.id, feedback.at),
            )
            .body(Full::new(Bytes::from(message(feedback).to_string())))
            .map_err(|error| format!("cannot make the request: {error}"))?;
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|error| format!("the answer broke off: {error}"))?;
        understand(status, &body.to_bytes())
    }
}

/// What the partner is sent.
fn message(feedback: &Feedback) -> Value {
    json!({
        "id": feedback.id,
        "product": feedback.product.as_ref().map(|(_, name)| name),
        "name": feedback.name,
        "rating": feedback.rating,
        "message": feedback.message,
        "at": feedback.at,
    })
}

/// Reads the partner's answer: its reference, or why it counts as a failure.
fn understand(status: StatusCode, body: &[u8]) -> Result<String, String> {
    if !status.is_success() {
        return Err(format!("the partner answered {status}"));
    }
    serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|answer| answer.get("reference")?.as_str().map(str::to_owned))
        .ok_or_else(|| "the partner's answer has no reference".to_owned())
}

/// An error with its causes: the client's own words do not say that a connection was refused.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

fn short(words: &str) -> String {
    words.chars().take(NOTE_LIMIT).collect()
}

/// What the built-in partner answers to a body: its reference for that feedback, or nothing when
/// it cannot read it.
pub(crate) fn acknowledge(body: &[u8]) -> Option<Value> {
    let id = serde_json::from_slice::<Value>(body)
        .ok()?
        .get("id")?
        .as_i64()?;
    Some(json!({ "reference": format!("P-{id}") }))
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::{acknowledge, message, short, understand};
    use crate::store::{Feedback, Outcome};

    #[test]
    fn answers() {
        for (status, body, want) in [
            (200, "{\"reference\":\"P-1\"}", Ok("P-1")),
            (202, "{\"reference\":\"x\",\"more\":1}", Ok("x")),
            (200, "{}", Err("the partner's answer has no reference")),
            (200, "<html>", Err("the partner's answer has no reference")),
            (
                503,
                "{\"reference\":\"P-1\"}",
                Err("the partner answered 503 Service Unavailable"),
            ),
            (301, "", Err("the partner answered 301 Moved Permanently")),
        ] {
            let status = StatusCode::from_u16(status).expect("a valid status in the table");
            let got = understand(status, body.as_bytes());
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn the_built_in_partner_understands_what_the_shop_sends() {
        let feedback = Feedback {
            id: 12,
            product: None,
            name: "Ada".into(),
            rating: 5,
            message: "\"quoted\"\n船".into(),
            at: "2026-01-01T00:00:00Z".into(),
            outcome: Outcome::Pending,
            note: String::new(),
        };
        let sent = message(&feedback).to_string();
        let answer = acknowledge(sent.as_bytes())
            .expect("it is what we send")
            .to_string();
        assert_eq!(
            understand(StatusCode::OK, answer.as_bytes()),
            Ok("P-12".to_owned())
        );
        for body in ["", "{}", "{\"id\":\"12\"}", "[1]"] {
            assert_eq!(acknowledge(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(short(&"船".repeat(500)).chars().count(), 200);
    }
}

//! The third party that gets every piece of feedback, seen from both sides: the client that hands
//! it over and takes it back, and the fake that receives it when there is no real one.
//!
//! | request | meaning |
//! |---|---|
//! | `POST /partner/feedback`, with `Idempotency-Key` | take this, once for each key; answers with a reference |
//! | `POST /partner/feedback/KEY/close` | answers whether there is something of this key; what comes with it from now on is refused |
//! | `DELETE /partner/feedback/KEY` | take it back, and refuse what comes with this key from now on |
//! | `POST /partner/feedback/KEY/thanks` | thank who wrote it |
//!
//! An answer from 400 to 499 says that nothing was done; of any other trouble nobody knows.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay_journal::{Call, Failure, Finding};
use serde_json::{Value, json};

use crate::html::percent;
use crate::store::Draft;

/// The most that is read of the partner's answer, in bytes.
const ANSWER_LIMIT: usize = 64 << 10;

/// The longest reference that is kept, in characters.
const REFERENCE_LIMIT: usize = 200;

/// Hands feedback to the partner. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Partner {
    url: String,
    timeout: Duration,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// The partner answered, and did not do it.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal(StatusCode);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the partner answered {}", self.0)
    }
}

impl std::error::Error for Refusal {}

impl Partner {
    /// A client of the partner at this `http://` URL; an answer that takes longer than `timeout`
    /// counts as none.
    pub(crate) fn new(url: &Uri, timeout: Duration) -> Partner {
        Partner {
            url: url.to_string().trim_end_matches('/').to_owned(),
            timeout,
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Hands over one piece of feedback. Returns the partner's reference.
    pub(crate) async fn create(&self, key: &str, draft: &Draft) -> Result<String, Failure> {
        let (status, body) = self.ask(Method::POST, "", key, &message(draft)).await?;
        done(status)?;
        reference(&body).ok_or_else(|| Failure::unknown("the partner's answer has no reference"))
    }

    /// Whether the partner has what was sent with this key. What of it is still on its way will be
    /// refused: without that, "it is not there" would be true for a moment only.
    pub(crate) async fn close(&self, key: &str) -> Result<Finding, Failure> {
        let path = format!("{}/close", one(key));
        let (status, body) = self.ask(Method::POST, &path, key, &Value::Null).await?;
        done(status)?;
        let answer: Value = serde_json::from_slice(&body)?;
        Ok(match answer["there"].as_bool() {
            Some(true) => Finding::Happened,
            Some(false) => Finding::Absent,
            None => {
                return Err(Failure::unknown(
                    "the partner does not say whether it is there",
                ));
            }
        })
    }

    /// Takes back what was sent with this key, if it is there.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let (status, _) = self
            .ask(Method::DELETE, &one(key), key, &Value::Null)
            .await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        done(status)
    }

    /// Has the partner thank who wrote it.
    pub(crate) async fn thank(&self, thanks: &Call) -> Result<(), Failure> {
        let args = thanks.args();
        let feedback = args["feedback"].as_str().unwrap_or_default();
        let path = format!("{}/thanks", one(feedback));
        let body = json!({ "to": args["to"], "name": args["name"] });
        let (status, _) = self.ask(Method::POST, &path, &thanks.key(), &body).await?;
        done(status)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Full::new(body))?;
        let answered = async {
            let answer = self.http.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect();
            let body = body.await.map_err(Failure::unknown)?;
            Ok((status, body.to_bytes()))
        };
        let late = |_| {
            let words = format!("no answer of the partner within {:?}", self.timeout);
            io::Error::new(io::ErrorKind::TimedOut, words)
        };
        tokio::time::timeout(self.timeout, answered)
            .await
            .map_err(late)?
    }
}

fn one(key: &str) -> String {
    format!("/{}", percent(key))
}

/// What an answer says of what was asked for.
fn done(status: StatusCode) -> Result<(), Failure> {
    match status.as_u16() {
        200..=299 => Ok(()),
        400..=499 => Err(Failure::refused(Refusal(status))),
        _ => Err(Failure::unknown(Refusal(status))),
    }
}

/// What the partner is sent.
fn message(draft: &Draft) -> Value {
    json!({
        "product": draft.product,
        "name": draft.name,
        "mail": draft.mail,
        "rating": draft.rating,
        "message": draft.message,
    })
}

/// The partner's reference in its answer.
fn reference(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let reference = answer.get("reference")?.as_str()?;
    Some(reference.chars().take(REFERENCE_LIMIT).collect())
}

/// What the fake partner has taken, in memory: it forgets everything when it ends.
#[derive(Default)]
pub(crate) struct Books(Mutex<BTreeMap<String, Entry>>);

/// What the fake partner knows of one key.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Kept {
        reference: String,
        thanks: u32,
    },
    /// It was taken back, or never there: what comes with its key now comes too late.
    Gone,
}

impl Books {
    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something; the same reference for the same key. None: it was taken back already.
    pub(crate) fn take(&self, key: &str) -> Option<String> {
        let mut entries = self.entries();
        let number = entries.len() + 1;
        let entry = entries.entry(key.to_owned()).or_insert(Entry::Kept {
            reference: format!("P-{number}"),
            thanks: 0,
        });
        match entry {
            Entry::Kept { reference, .. } => Some(reference.clone()),
            Entry::Gone => None,
        }
    }

    /// Whether there is something of this key; if not, nothing of it is taken any more.
    pub(crate) fn close(&self, key: &str) -> bool {
        let mut entries = self.entries();
        let entry = entries.entry(key.to_owned()).or_insert(Entry::Gone);
        matches!(entry, Entry::Kept { .. })
    }

    /// Gives back what there is of this key; whether there was something.
    pub(crate) fn give_back(&self, key: &str) -> bool {
        let before = self.entries().insert(key.to_owned(), Entry::Gone);
        matches!(before, Some(Entry::Kept { .. }))
    }

    /// Thanks who wrote what there is of this key; whether there is something.
    pub(crate) fn thank(&self, key: &str) -> bool {
        match self.entries().get_mut(key) {
            Some(Entry::Kept { thanks, .. }) => {
                *thanks += 1;
                true
            }
            _ => false,
        }
    }

    /// What it holds.
    pub(crate) fn list(&self) -> Value {
        let entries = self.entries();
        let held = entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Kept { reference, thanks } => {
                Some(json!({ "key": key, "reference": reference, "thanks": thanks }))
            }
            Entry::Gone => None,
        });
        held.collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::StatusCode;

    use super::{Books, done, reference};

    #[test]
    fn answers() {
        for (status, expected) in [
            (200, "Ok(())"),
            (204, "Ok(())"),
            (422, "refused: true"),
            (404, "refused: true"),
            (301, "refused: false"),
            (503, "refused: false"),
        ] {
            let got = done(StatusCode::from_u16(status).unwrap());
            assert!(format!("{got:?}").contains(expected), "{status}: {got:?}");
        }
        for (body, expected) in [
            ("{\"reference\":\"P-1\"}", Some("P-1".to_owned())),
            ("{\"reference\":7}", None),
            ("{}", None),
            ("<html>", None),
        ] {
            assert_eq!(reference(body.as_bytes()), expected, "{body}");
        }
        let long = format!("{{\"reference\":\"{}\"}}", "船".repeat(500));
        assert_eq!(reference(long.as_bytes()).unwrap().chars().count(), 200);
    }

    #[test]
    fn the_fake_takes_once_for_each_key_and_nothing_that_was_taken_back() {
        let books = Books::default();
        assert_eq!(books.take("a"), Some("P-1".into()));
        assert_eq!(books.take("b"), Some("P-2".into()));
        assert_eq!(books.take("a"), Some("P-1".into()));
        assert!(books.thank("a") && books.give_back("a"));
        assert!(!books.give_back("a") && !books.thank("a"));
        assert_eq!(books.take("a"), None);
        assert!(books.close("b") && !books.close("a") && !books.close("c"));
        assert_eq!(books.take("c"), None, "it was closed before it came");
        assert!(!books.give_back("late"));
        assert_eq!(books.take("late"), None, "its act came after its undo");
        assert_eq!(
            books.list().to_string(),
            r#"[{"key":"b","reference":"P-2","thanks":0}]"#
        );
    }
}

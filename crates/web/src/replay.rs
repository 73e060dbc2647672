//! Idempotency keys: a request that comes twice is done once, and answered twice
//! (draft-ietf-httpapi-idempotency-key-header).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, SET_COOKIE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, response::Parts as Head,
};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mainstay_fault::{Class, Fault, Retry, Verdict};
use mainstay_journal::{Fingerprint, Journal, Reserved};

use crate::body::RequestBody;
use crate::error::BoxError;
use crate::request_id::REQUEST_ID;
use crate::scope::Scope;
use crate::stake::Key;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How large a request with a key may be, and its answer: both are held in memory.
const LIMIT: usize = 1024 * 1024;
/// How long the name of a user may be, and a key.
const NAME_BYTES: usize = 96;

/// What is not given twice: what belongs to the connection or to this one answer, and cookies, which
/// are no text for a store.
const NOT_KEPT: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    SET_COOKIE,
    TRANSFER_ENCODING,
    REQUEST_ID,
];

/// Says whose key a request has.
pub(crate) type Owner = Box<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// Whose keys count, and for how long.
pub(crate) struct Policy {
    pub(crate) owner: Owner,
    pub(crate) keep: Duration,
}

/// What comes of a request that may have a key.
pub(crate) enum Begun<B> {
    /// It is to be done.
    Do(Request<RequestBody<B>>),
    /// It was done: this was the answer.
    Done(Response<Bytes>),
}

/// Looks whether the request has a key, and takes it.
pub(crate) async fn begin<B>(
    scope: &Scope,
    policy: &Policy,
    journal: &Journal,
    request: Request<B>,
    deadline: Option<Duration>,
) -> Result<Begun<B>, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let changes = [Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
    let Some(value) = parts
        .headers
        .get(KEY)
        .filter(|_| changes.contains(&parts.method))
    else {
        return Ok(Begun::Do(Request::from_parts(
            parts,
            RequestBody::stream(body),
        )));
    };
    let key = key(value).ok_or_else(|| {
        let verdict = Verdict::bad_request("The idempotency key is not one.");
        Fault::told(
            verdict,
            "an idempotency key is not 1 to 96 printable characters",
        )
    })?;
    let Some(owner) = (policy.owner)(&parts) else {
        return Ok(Begun::Do(Request::from_parts(
            parts,
            RequestBody::stream(body),
        )));
    };
    if !is_name(owner.as_bytes()) {
        let text = "the owner of an idempotency key is not 1 to 96 printable characters without a space: give the user's id";
        return Err(Fault::told(Class::Internal, text));
    }
    let body = read(body, deadline).await?;
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let print = Fingerprint::of([
        parts.method.as_str().as_bytes(),
        target.as_bytes(),
        &body[..],
    ]);
    let reserved = journal.reserve(&format!("{owner}/{key}"), print).await;
    match reserved.map_err(|error| Fault::from_error(&error))? {
        Reserved::Fresh(reservation) => {
            scope.stake.set_key(Key {
                reservation,
                keep: policy.keep,
            });
            Ok(Begun::Do(Request::from_parts(
                parts,
                RequestBody::read(body),
            )))
        }
        Reserved::Answered(answer) => decoded(&answer).map(Begun::Done).ok_or_else(|| {
            Fault::told(
                Class::Data,
                "the answer that was kept for an idempotency key can't be read",
            )
        }),
        Reserved::Busy(left) => {
            let verdict = Verdict::conflict("This request is being worked on.")
                .with_retry(Retry::After(left.min(Duration::from_secs(5))));
            Err(Fault::told(verdict, "an idempotency key is in use"))
        }
        Reserved::Mismatch => {
            let verdict =
                Verdict::unprocessable("This idempotency key was used for another request.");
            Err(Fault::told(
                verdict,
                "an idempotency key was used for another request",
            ))
        }
    }
}

/// A key as the header has it, with or without the quotes of a structured string.
fn key(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    is_name(text.as_bytes()).then_some(text)
}

fn is_name(name: &[u8]) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic)
}

async fn read<B>(body: B, deadline: Option<Duration>) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let read = Limited::new(body, LIMIT).collect();
    let read = match deadline {
        Some(deadline) => tokio::time::timeout(deadline, read)
            .await
            .map_err(|_| Fault::told(Class::Timeout, "the body of a request took too long"))?,
        None => read.await,
    };
    let read = read.map_err(|error| {
        let verdict = if error.is::<LengthLimitError>() {
            Verdict::from_status(StatusCode::PAYLOAD_TOO_LARGE)
        } else {
            Verdict::from_status(StatusCode::BAD_REQUEST)
        };
        Fault::from_verdict(verdict, &*error)
    })?;
    Ok(read.to_bytes())
}

/// Reads the body of an answer that is to be kept.
pub(crate) async fn whole<B>(body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let read = Limited::new(body, LIMIT).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let text = "the answer to a request with an idempotency key is larger than 1 MiB, which is not kept: answer with where it is found, or return None for this route's owner";
            Fault::told(Class::Internal, text)
        } else {
            Fault::from_error(&*error)
        }
    })?;
    Ok(read.to_bytes())
}

/// An answer as it is kept: the status, a line for each header, an empty line, the body.
pub(crate) fn encoded(head: &Head, body: &[u8]) -> Vec<u8> {
    let mut text = head.status.as_str().as_bytes().to_vec();
    text.push(b'\n');
    for (name, value) in &head.headers {
        if !NOT_KEPT.contains(name) {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            // No value of a header has a line break in it.
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
    }
    text.push(b'\n');
    text.extend_from_slice(body);
    text
}

fn decoded(mut text: &[u8]) -> Option<Response<Bytes>> {
    let mut line = || {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let line = &text[..end];
        text = &text[end + 1..];
        Some(line)
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_bytes(line()?).ok()?;
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
        response.headers_mut().append(name, value);
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    *response.body_mut() = Bytes::copy_from_slice(text);
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (text, expected) in [
            ("8e03978e-40d5", Some("8e03978e-40d5")),
            ("\"8e03978e\"", Some("8e03978e")),
            ("", None),
            ("\"\"", None),
            ("two words", None),
        ] {
            assert_eq!(
                key(&HeaderValue::from_str(text).unwrap()),
                expected,
                "{text}"
            );
        }
        let long = "x".repeat(NAME_BYTES + 1);
        assert_eq!(key(&HeaderValue::from_str(&long).unwrap()), None);
    }

    #[test]
    fn an_answer_is_kept_as_it_is() {
        let response = Response::builder()
            .status(303)
            .header("location", "/thanks")
            .header("x-many", "a")
            .header("x-many", "b:c")
            .header("x-bytes", HeaderValue::from_bytes(b"\xe4\xf6").unwrap())
            .header("set-cookie", "session=secret")
            .header("content-length", "7")
            .body(())
            .unwrap();
        let (head, ()) = response.into_parts();
        let body = b"a\n\nb\x00c\n";
        let kept = encoded(&head, body);
        let again = decoded(&kept).unwrap();
        assert_eq!(again.status(), 303);
        assert_eq!(again.body().as_ref(), body);
        let mut expected = head.headers;
        expected.remove("set-cookie");
        expected.remove("content-length");
        expected.insert(REPLAYED, HeaderValue::from_static("true"));
        assert_eq!(*again.headers(), expected);
        for damaged in [&b""[..], b"200", b"200\n", b"200\nx\n\n", b"2000\n\n"] {
            assert!(decoded(damaged).is_none());
        }
    }
}

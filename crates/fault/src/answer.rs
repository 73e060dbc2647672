//! What a client is answered: status, headers and body.

use std::fmt::Write as _;

use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::accept::{Asked, Form};
use crate::catalog::Tongue;
use crate::class::Class;
use crate::fault::Fault;
use crate::page_set::{PageSet, Trouble};
use crate::words::Words;

/// Header with the code of the fault, for clients that see no body.
const FAULT_ID: HeaderName = HeaderName::from_static("x-fault-id");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The page that is built in loads nothing and runs nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// An answer, and what was wrong with the page that should have been it.
#[derive(Debug)]
pub struct Answer {
    /// Status, headers, and the whole body; empty for HEAD.
    pub response: Response<Vec<u8>>,
    /// Why a page of the app's own could not be used. The answer is then the one that is built in.
    pub trouble: Option<Trouble>,
}

/// What a page can show.
pub(crate) struct Shown<'a> {
    pub(crate) id: String,
    pub(crate) status: StatusCode,
    pub(crate) title: &'a str,
    pub(crate) info: &'a str,
    pub(crate) language: &'a str,
    pub(crate) retry_after: Option<u64>,
}

/// Answers a request in which something went wrong. It is a function of its arguments alone, cannot
/// fail, and is the same for a layer, a proxy and a daemon.
///
/// ```
/// use http::{HeaderMap, Method};
/// use mainstay_fault::{Asked, Fault, PageSet, Verdict, answer};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("accept", "application/json".parse()?);
/// let asked = Asked::of(&Method::GET, &headers);
/// let fault = Fault::told(Verdict::not_found(), "no order 17");
/// let response = answer(&asked, &fault, &PageSet::built_in()).response;
/// assert_eq!(response.status(), 404);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// assert!(!String::from_utf8(response.into_body())?.contains("order 17"), "that is for the log");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn answer(asked: &Asked, fault: &Fault, pages: &PageSet) -> Answer {
    let status = fault.status();
    let language = pages.tongue(&asked.languages);
    let words = language.words(fault.class(), status);
    let info = fault.public().unwrap_or(words.detail);
    let shown = Shown {
        id: fault.id().to_string(),
        status,
        title: words.title,
        info,
        language: language.tag(),
        retry_after: fault.retry().seconds(),
    };
    let mut trouble = None;
    let mut response = match asked.form {
        Form::Grpc => grpc(fault, info),
        Form::Problem => {
            let kind = HeaderValue::from_static("application/problem+json");
            with_body(status, kind, problem(fault, info).into_bytes())
        }
        Form::Plain => {
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            with_body(status, kind, plain(&shown, language).into_bytes())
        }
        Form::Html => {
            let rendered = match pages.render(&asked.languages, &shown) {
                Some(Ok(page)) => Some(page),
                Some(Err(why)) => {
                    trouble = Some(why);
                    None
                }
                None => None,
            };
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            if let Some(page) = rendered {
                let mut response = with_body(status, kind, page.body);
                if let Some(tag) = page
                    .language
                    .and_then(|tag| HeaderValue::from_str(&tag).ok())
                {
                    response.headers_mut().insert(CONTENT_LANGUAGE, tag);
                }
                response
            } else {
                let mut response =
                    with_body(status, kind, built_in(&shown, language, words).into_bytes());
                let headers = response.headers_mut();
                headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
                headers.extend(tag(language).map(|tag| (CONTENT_LANGUAGE, tag)));
                response
            }
        }
    };
    let headers = response.headers_mut();
    if matches!(asked.form, Form::Plain | Form::Problem) {
        headers.extend(tag(language).map(|tag| (CONTENT_LANGUAGE, tag)));
    }
    if asked.form != Form::Grpc {
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Language"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&shown.id) {
        headers.insert(FAULT_ID, id);
    }
    if let Some(seconds) = shown.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if asked.head {
        // The length stays that of the body that GET would get.
        response.body_mut().clear();
    }
    Answer { response, trouble }
}

/// The tag of the language as a header has it.
fn tag(language: Tongue<'_>) -> Option<HeaderValue> {
    HeaderValue::from_str(language.tag()).ok()
}

fn with_body(status: StatusCode, kind: HeaderValue, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // Those of a page, and what is put beside them, without growing.
    *response.headers_mut() = HeaderMap::with_capacity(12);
    let length = HeaderValue::from(response.body().len());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// RFC 9457. `about:blank` says that the problem is no more than its status, and asks for the
/// status's own words as the title.
fn problem(fault: &Fault, info: &str) -> String {
    let status = fault.status();
    let id = fault.id().to_string();
    let mut problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": info,
        "instance": format!("/faults/{id}"),
        "id": id,
        "retryable": fault.retry().is_worth_it(),
    });
    if let (Some(seconds), Some(object)) = (fault.retry().seconds(), problem.as_object_mut()) {
        object.insert("retry_after".into(), seconds.into());
    }
    problem.to_string()
}

fn plain(shown: &Shown<'_>, language: Tongue<'_>) -> String {
    let mut text = format!("{} {}\n\n", shown.status.as_u16(), shown.title);
    // A terminal obeys control characters, and a text of the app may repeat what a visitor sent.
    let is_obeyed = |c: char| c.is_control() && c != '\n';
    text.extend(shown.info.split(is_obeyed));
    let code = language.code();
    let _ = write!(text, "\n\n{code}{}{}\n", gap(code), shown.id);
    text
}

/// A gRPC answer of trailers only: the status is in the headers, HTTP says 200 and has no body.
fn grpc(fault: &Fault, info: &str) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(fault)));
    if let Ok(message) = HeaderValue::from_str(&grpc_message(info)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// The status of gRPC, as `google/rpc/code.proto` sets them beside those of HTTP.
fn grpc_status(fault: &Fault) -> u16 {
    match (fault.class(), fault.status().as_u16()) {
        (Class::DatabaseDeadlock, _) => 10, // ABORTED: again, from the beginning
        (Class::Timeout, _) | (_, 408 | 504) => 4, // DEADLINE_EXCEEDED
        (_, 400 | 422) => 3,                // INVALID_ARGUMENT
        (_, 401) => 16,                     // UNAUTHENTICATED
        (_, 403) => 7,                      // PERMISSION_DENIED
        (_, 404 | 410) => 5,                // NOT_FOUND
        (_, 409) => 6,                      // ALREADY_EXISTS
        (_, 413 | 429 | 507) => 8,          // RESOURCE_EXHAUSTED
        (_, 416) => 11,                     // OUT_OF_RANGE
        (_, 499) => 1,                      // CANCELLED
        (_, 405 | 501) => 12,               // UNIMPLEMENTED
        (_, 502 | 503) => 14,               // UNAVAILABLE
        (_, 402..=498) => 9,                // FAILED_PRECONDITION
        _ => 13,                            // INTERNAL
    }
}

/// Percent-encoded as gRPC's protocol over HTTP/2 asks: all but printable ASCII, and `%`.
fn grpc_message(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// What stands between a text and the code: after a full-width colon there is room already.
fn gap(text: &str) -> &'static str {
    if text.ends_with(['：', ' ']) {
        ""
    } else {
        " "
    }
}

/// Text that is neither element nor entity in HTML, in an attribute too.
fn escaped(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                c => out.push(c),
            }
            out
        })
}

/// The page that is built in: nothing is loaded from anywhere, colours follow the system, and it
/// reads well without style sheets.
fn built_in(shown: &Shown<'_>, language: Tongue<'_>, words: Words<'_>) -> String {
    const STYLE: &str = include_str!("page.css");
    let style: String = STYLE.lines().map(str::trim_start).collect();
    // Asking again helps where waiting does; else the start page is the way out.
    let again = if shown.retry_after.is_some() || shown.status.as_u16() >= 502 {
        format!("<a href=\"\">{}</a> ", escaped(language.again()))
    } else {
        String::new()
    };
    format!(
        "<!doctype html>\n<html lang=\"{tag}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"status\" aria-hidden=\"true\">{status}</p>\n<h1>{title}</h1>\n<p>{info}</p>\n\
         <p class=\"go\">{again}<a href=\"/\">{home}</a></p>\n\
         <p class=\"code\">{code}{gap}<code>{id}</code></p>\n</main>\n</body>\n</html>\n",
        tag = language.tag(),
        title = escaped(words.title),
        status = shown.status.as_u16(),
        info = escaped(shown.info),
        home = escaped(language.home()),
        gap = gap(language.code()),
        code = escaped(language.code()),
        id = shown.id,
    )
}

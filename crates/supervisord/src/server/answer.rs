//! Answering requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::action::{NoSuchAction, act, changes, shown, unexpected};
use super::auth::{self, Proof};
use super::body::Content;
use super::follow::{Follower, follow};
use super::form::Form;
use super::origin::{self, Verdict};
use super::route::{Route, route};
use super::{House, Limits};
use crate::conf::values::Level;
use crate::namespec;
use crate::pages::{self, quote};
use crate::rpc::faults::Code;
use crate::rpc::{Allowance, COMPATIBLE_VERSION, Host, Supervision};
use crate::xmlrpc::{self, ParseErrorKind};

const HTML: &str = "text/html;charset=utf-8";
const PLAIN: &str = "text/plain;charset=utf-8";

/// The last bytes of a log that its page shows: by default and at least, and at most.
const SHOWN: (i64, i64) = (1024, 1 << 20);

/// An answer whose headers are still to be completed.
type Reply = Response<Content>;

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Content::whole(body));
    *reply.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

fn failure(status: StatusCode, why: &str) -> Reply {
    let reason = status.canonical_reason().unwrap_or_default();
    reply(status, HTML, pages::error(status.as_u16(), reason, why))
}

/// What is true of all answers: they are nobody else's business, and a page does only what is in it.
fn complete(reply: &mut Reply) {
    static FRAMES: HeaderName = header::X_FRAME_OPTIONS;
    for (name, value) in [
        (
            &header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
        (&FRAMES, "DENY"),
        (&header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (&header::REFERRER_POLICY, "same-origin"),
        (&header::CACHE_CONTROL, "no-store"),
    ] {
        reply
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}

/// How much of a request that is refused is read all the same, and for how long.
const REST: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(1);

/// Answers a request, whatever it is.
pub(super) async fn answer<S: Supervision, H: Host>(
    house: &Arc<House<S, H>>,
    request: Request<Incoming>,
    stop: watch::Receiver<bool>,
) -> Reply {
    let mut reply = match admit(house, &request).await {
        Ok(()) => serve(house, request, stop).await,
        Err(reply) => {
            // A client that is answered before it has sent all may take that for a broken connection.
            let rest = Limited::new(request.into_body(), REST).collect();
            let _ = tokio::time::timeout(REST_TIME, rest).await;
            reply
        }
    };
    complete(&mut reply);
    reply
}

/// Who may not ask at all.
async fn admit<S: Supervision, H: Host>(
    house: &House<S, H>,
    request: &Request<Incoming>,
) -> Result<(), Reply> {
    let Some(login) = &house.login else {
        if house.is_loopback && !origin::is_local(request.headers(), &house.names) {
            return Err(failure(
                StatusCode::FORBIDDEN,
                "This server answers to localhost only, because it has no password.",
            ));
        }
        return Ok(());
    };
    match auth::check(login, request.headers()) {
        Proof::Admitted => return Ok(()),
        Proof::Malformed => {
            return Err(closing(failure(
                StatusCode::BAD_REQUEST,
                "The Authorization header cannot be read.",
            )));
        }
        Proof::Missing => {}
        Proof::Wrong => {
            let (delay, say) = house.throttle.failed();
            if say {
                let text = "a wrong name or password was given to the HTTP server";
                house.rpc.host().log(Level::Warn, text);
            }
            tokio::time::sleep(delay).await;
        }
    }
    let mut reply = closing(failure(
        StatusCode::UNAUTHORIZED,
        "The name and password of this server are needed.",
    ));
    reply.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"default\""),
    );
    Err(reply)
}

/// An answer after which the connection ends, because what the client still sends is not read.
fn closing(mut reply: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(header::CONNECTION, close);
    reply
}

fn foreign() -> Reply {
    closing(failure(
        StatusCode::FORBIDDEN,
        "Another site asked for this. Open the status page and use its buttons.",
    ))
}

async fn serve<S: Supervision, H: Host>(
    house: &Arc<House<S, H>>,
    request: Request<Incoming>,
    stop: watch::Receiver<bool>,
) -> Reply {
    let route = route(request.method(), request.uri().path());
    // Nothing that another site sends is even read, but it may link to what only shows.
    let verdict = origin::judge(request.headers());
    if request.method() == Method::POST && verdict == Verdict::Foreign {
        return foreign();
    }
    match route {
        Route::Rpc => rpc(house, request).await,
        Route::LogTail { name, stderr } => log_tail(house, &name, stderr, stop).await,
        Route::MainLogTail => match house.rpc.host().main_log() {
            Some(path) => tail(&path, stop).await,
            None => not_found(),
        },
        Route::Status => status(house, request, verdict).await,
        Route::Tail => tail_page(house, request).await,
        Route::Alive => reply(StatusCode::OK, "text/plain", "OK"),
        Route::Style => reply(StatusCode::OK, "text/css", pages::STYLE),
        Route::Icon => reply(StatusCode::OK, "image/svg+xml", pages::ICON),
        Route::Not(StatusCode::NOT_FOUND) => not_found(),
        Route::Not(status) => closing(failure(status, "This cannot be asked here.")),
    }
}

fn not_found() -> Reply {
    failure(StatusCode::NOT_FOUND, "There is nothing here.")
}

/// The whole body, if it is not too long and does not take too long.
async fn body(request: Request<Incoming>, limits: &Limits) -> Result<Bytes, Reply> {
    let too_long = || {
        closing(failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request is too long.",
        ))
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.body) {
        return Err(too_long());
    }
    let read = Limited::new(request.into_body(), limits.body).collect();
    match timeout(limits.body_time, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(closing(failure(
            StatusCode::BAD_REQUEST,
            "The request broke off.",
        ))),
        Err(_) => Err(closing(failure(
            StatusCode::REQUEST_TIMEOUT,
            "The request took too long.",
        ))),
    }
}

async fn rpc<S: Supervision, H: Host>(house: &House<S, H>, request: Request<Incoming>) -> Reply {
    let body = match body(request, &house.limits).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let host = house.rpc.host();
    let call = match xmlrpc::parse_call(&body) {
        Ok(call) => call,
        Err(why) => {
            let text = match why.kind {
                ParseErrorKind::NoMethod => "no method name",
                _ => "unmarshallable",
            };
            host.log(
                Level::Error,
                &format!("XML-RPC request data is invalid: {text}: {why}"),
            );
            return failure(StatusCode::BAD_REQUEST, "This is no call.");
        }
    };
    drop(body);
    let method = shown(&call.method);
    host.log(Level::Trace, &format!("XML-RPC method called: {method}()"));
    let mut allowance = Allowance::default();
    let answer = house
        .rpc
        .call(&call.method, &call.params, &mut allowance)
        .await;
    let text = match &answer {
        Ok(_) => format!("XML-RPC method {method}() returned successfully"),
        Err(fault) => format!(
            "XML-RPC method {method}() returned fault: [{}] {}",
            fault.code,
            shown(&fault.text)
        ),
    };
    host.log(Level::Trace, &text);
    let mut bytes = Vec::new();
    house.rpc.write(&answer, &mut bytes);
    let mut reply = reply(StatusCode::OK, "text/xml", bytes);
    reply.body_mut().allowance = Some(allowance);
    reply
}

async fn log_tail<S: Supervision, H: Host>(
    house: &House<S, H>,
    name: &str,
    stderr: bool,
    stop: watch::Receiver<bool>,
) -> Reply {
    let path = match house.rpc.log_of(name, stderr).await {
        Ok(path) => path,
        Err(fault) if Code::BadName.is(&fault) => None,
        Err(fault) => return failure(StatusCode::SERVICE_UNAVAILABLE, &fault.text),
    };
    match path {
        Some(path) => {
            let mut reply = tail(&path, stop).await;
            // nginx would collect the lines before it passes them on.
            reply.headers_mut().insert(
                HeaderName::from_static("x-accel-buffering"),
                HeaderValue::from_static("no"),
            );
            reply
        }
        None => not_found(),
    }
}

/// A log as it grows.
async fn tail(path: &Path, stop: watch::Receiver<bool>) -> Reply {
    let path: PathBuf = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let follower = Follower::open(&path)?;
        let modified = follower.modified();
        std::io::Result::Ok((follower, modified))
    });
    let Ok(Ok((follower, modified))) = opened.await else {
        return not_found();
    };
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(follow(follower, sender, stop));
    let mut reply = Response::new(Content::stream(pieces));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    let modified = modified.and_then(|it| {
        jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&it)
            .ok()
    });
    if let Some(modified) = modified.and_then(|it| HeaderValue::try_from(it).ok()) {
        headers.insert(header::LAST_MODIFIED, modified);
    }
    reply
}

async fn form(request: Request<Incoming>, limits: &Limits) -> Result<Form, Reply> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    if request.method() != Method::POST {
        return Ok(Form::new(&query, ""));
    }
    let body = body(request, limits).await?;
    Ok(Form::new(&query, &String::from_utf8_lossy(&body)))
}

async fn status<S: Supervision, H: Host>(
    house: &House<S, H>,
    request: Request<Incoming>,
    verdict: Verdict,
) -> Reply {
    let method = request.method().clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let place = home(request.headers());
    let form = match form(request, &house.limits).await {
        Ok(form) => form,
        Err(reply) => return reply,
    };
    // Whoever only wants the headers wants nothing done.
    let action = form.get("action").filter(|_| method != Method::HEAD);
    let Some(action) = action else {
        return table(house, form.get("message")).await;
    };
    if changes(action) {
        match verdict {
            Verdict::Foreign => return foreign(),
            // A browser always says who asked with `POST`: this one is none.
            Verdict::Unsure if method != Method::POST => {
                return reply(StatusCode::FORBIDDEN, HTML, pages::confirm(&query));
            }
            Verdict::Trusted | Verdict::Unsure => {}
        }
    }
    match act(&house.rpc, action, form.get("processname")).await {
        Ok(message) => {
            let place = format!("{place}?message={}", quote(&message));
            // The original's status for its links. Behind a form the next request must be a `GET`.
            let status = if method == Method::POST {
                StatusCode::SEE_OTHER
            } else {
                StatusCode::MOVED_PERMANENTLY
            };
            let mut reply = reply(status, "text/plain", "");
            if let Ok(place) = HeaderValue::try_from(place) {
                reply.headers_mut().insert(header::LOCATION, place);
            }
            reply
        }
        Err(NoSuchAction) => failure(
            StatusCode::BAD_REQUEST,
            "There is no such action, or it needs the name of a process.",
        ),
    }
}

/// Where the status page is for the client: with the host, as in the original; behind a proxy, which
/// may have changed scheme and path, beside where it is now.
fn home(headers: &hyper::HeaderMap) -> String {
    let proxied = ["forwarded", "x-forwarded-proto", "x-forwarded-host"]
        .iter()
        .any(|name| headers.contains_key(*name));
    match origin::clean_host(headers) {
        Some(host) if !proxied => {
            let host = host.strip_suffix(":80").unwrap_or(host);
            format!("http://{host}/")
        }
        _ => "./".to_owned(),
    }
}

async fn table<S: Supervision, H: Host>(house: &House<S, H>, message: Option<&str>) -> Reply {
    let rows = match house.rpc.rows().await {
        Ok(rows) => rows,
        Err(fault) => return failure(StatusCode::SERVICE_UNAVAILABLE, &fault.text),
    };
    let identification = house.rpc.host().identification();
    let page = pages::status(&rows, message, &identification, COMPATIBLE_VERSION);
    reply(StatusCode::OK, HTML, page)
}

async fn tail_page<S: Supervision, H: Host>(
    house: &House<S, H>,
    request: Request<Incoming>,
) -> Reply {
    let form = match form(request, &house.limits).await {
        Ok(form) => form,
        Err(reply) => return reply,
    };
    let limit = form
        .get("limit")
        .and_then(|limit| limit.parse::<i64>().ok())
        .unwrap_or(SHOWN.0)
        .clamp(SHOWN.0, SHOWN.1);
    let process = form.get("processname");
    let text = match process {
        None => "No process name found".to_owned(),
        Some(name) => match house.rpc.last_output(name, limit).await {
            Ok(data) => String::from_utf8_lossy(&data).into_owned(),
            Err(fault) if Code::NoFile.is(&fault) => format!("No file for {name}"),
            Err(fault) => format!("ERROR: {}", unexpected(&fault)),
        },
    };
    // The name as the table has it, whichever way it was written.
    let process = process.map(|name| match namespec::split(name) {
        (group, Some(member)) => namespec::join(group, member),
        (_, None) => name.to_owned(),
    });
    reply(
        StatusCode::OK,
        HTML,
        pages::tail(process.as_deref(), &text, limit),
    )
}

//! Requests in, pages out: the routes of the shop and of the fake partner.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::multipart::MultipartError;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Form, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use crate::faults::{Fault, Faults, Mood};
use crate::pages::{self, Typed};
use crate::partner::{Partner, acknowledge};
use crate::say;
use crate::store::{Draft, Store};
use crate::uploads::{self, Incoming, Uploads};

/// Everything a request may need.
pub(crate) struct Shop {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) partner: Partner,
    pub(crate) faults: Arc<Faults>,
}

/// After a file that is too large, this many more bytes are read and thrown away, so that the
/// browser gets to read the answer instead of seeing the connection break.
const DISCARD_LIMIT: u64 = 100_000_000;

/// The shop.
pub(crate) fn shop(shop: Arc<Shop>) -> Router {
    let faults = Arc::clone(&shop.faults);
    let pages = Router::new()
        .route("/", get(home))
        .route("/product/{id}", get(product))
        .route("/feedback", get(feedback).post(give_feedback))
        .route(
            "/uploads",
            get(list_uploads)
                .post(upload)
                .layer(DefaultBodyLimit::disable()),
        )
        .route("/uploads/{name}", get(download))
        .route("/up", get(up))
        .with_state(shop);
    around(pages.merge(fake_partner(&faults)), faults)
}

/// The fake partner alone.
pub(crate) fn partner(faults: Arc<Faults>) -> Router {
    let routes = fake_partner(&faults).route("/up", get(async || "up\n"));
    around(routes, faults)
}

fn fake_partner(faults: &Arc<Faults>) -> Router {
    let routes = Router::new().route("/partner/feedback", post(take_feedback));
    let routes = if faults.by_request {
        routes.route("/admin/fault", post(fault))
    } else {
        routes
    };
    routes.with_state(Arc::clone(faults))
}

/// What all routes have in common: answers for what is not there, the faults that concern every
/// request, the line in the log.
fn around(routes: Router, faults: Arc<Faults>) -> Router {
    routes
        .fallback(async || Trouble::new(StatusCode::NOT_FOUND, "There is no such page."))
        .method_not_allowed_fallback(async || {
            Trouble::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "That cannot be done with this page.",
            )
        })
        .layer(middleware::from_fn_with_state(faults, every_request))
}

/// A request that did not end well, in words for the visitor and, where it is our fault, for us.
struct Trouble {
    status: StatusCode,
    words: String,
    cause: Option<String>,
}

impl Trouble {
    fn new(status: StatusCode, words: impl Into<String>) -> Trouble {
        Trouble {
            status,
            words: words.into(),
            cause: None,
        }
    }

    /// Our own failure: the visitor is told that there is one, the log which.
    fn ours(cause: impl Display) -> Trouble {
        Trouble {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            words: "Something broke on our side. Nothing you did; please try again later.".into(),
            cause: Some(cause.to_string()),
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.cause {
            say::error(cause);
        }
        let title = self.status.canonical_reason().unwrap_or("Trouble");
        (self.status, Html(pages::trouble(title, &self.words))).into_response()
    }
}

type Answer<T> = Result<T, Trouble>;

/// Runs what blocks (the database, the disk) away from the threads that serve requests.
async fn blocking<T, E, F>(shop: &Arc<Shop>, work: F) -> Answer<T>
where
    T: Send + 'static,
    E: Display + Send + 'static,
    F: FnOnce(&Shop) -> Result<T, E> + Send + 'static,
{
    let shop = Arc::clone(shop);
    match tokio::task::spawn_blocking(move || work(&shop)).await {
        Ok(done) => done.map_err(Trouble::ours),
        Err(panicked) => Err(Trouble::ours(panicked)),
    }
}

async fn every_request(
    State(faults): State<Arc<Faults>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    // In a task of its own, a request that was begun is finished even if the visitor leaves:
    // feedback that was stored is also handed over, and every request leaves its line.
    finish(async move {
        if faults.hanging() {
            std::future::pending::<()>().await;
        }
        let delay = faults.delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let began = Instant::now();
        let what = format!("{} {}", request.method(), request.uri());
        let refused = foreign_form(request.method(), request.headers());
        let mut response = if refused {
            Trouble::new(
                StatusCode::FORBIDDEN,
                "This form was sent from another site.",
            )
            .into_response()
        } else {
            // Again a task, so that a panic costs this request and nothing else.
            finish(next.run(request)).await
        };
        guard(response.headers_mut());
        let status = response.status();
        let bytes = response.body().size_hint().exact().unwrap_or_default();
        let line = format!(
            "{what} {} {bytes} B {:.1?} {}",
            status.as_u16(),
            began.elapsed(),
            peer.ip()
        );
        if status.is_server_error() {
            say::error(&line);
        }
        say::info(&line);
        response
    })
    .await
}

/// Runs a request as a task of its own; one that panics becomes a page that says so.
async fn finish(request: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(request).await {
        Ok(response) => response,
        Err(panicked) => Trouble::ours(format!("a request failed: {panicked}")).into_response(),
    }
}

/// Whether a request that changes something comes from a page of another site. Browsers name the
/// page's origin; what is no browser sends none, and needs no protection from itself.
fn foreign_form(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => origin != host,
        _ => true,
    }
}

/// Headers that make a browser trust no more than these pages need: no script at all, no frames,
/// no guessing of types. What a handler has set stays.
fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

async fn home(State(shop): State<Arc<Shop>>) -> Answer<Html<String>> {
    let products = blocking(&shop, |shop| shop.store.products()).await?;
    Ok(Html(pages::home(&products)))
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<String>) -> Answer<Html<String>> {
    let unknown = || Trouble::new(StatusCode::NOT_FOUND, "We do not sell that.");
    let id: i64 = id.parse().map_err(|_| unknown())?;
    let found = blocking(&shop, move |shop| {
        let Some(product) = shop.store.product(id)? else {
            return Ok(None);
        };
        shop.store
            .feedback(Some(id))
            .map(|said| Some((product, said)))
    });
    let (product, said) = found.await?.ok_or_else(unknown)?;
    Ok(Html(pages::product(&product, &said)))
}

async fn feedback(State(shop): State<Arc<Shop>>) -> Answer<Html<String>> {
    let said = blocking(&shop, |shop| shop.store.feedback(None)).await?;
    Ok(Html(pages::feedback(&said)))
}

/// The feedback form as it arrives; what is missing counts as empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FeedbackForm {
    product: String,
    name: String,
    rating: String,
    message: String,
}

/// Checks what a visitor typed; what is wrong with it is said in words for the visitor.
fn check(typed: &Typed) -> Result<Draft, &'static str> {
    let product = match typed.product.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|_| "We do not sell that.")?),
    };
    let name = match typed.name.trim() {
        "" => "Somebody",
        name if name.chars().count() > 80 => return Err("The name is too long (80 letters)."),
        name => name,
    };
    let Ok(rating @ 1..=5) = typed.rating.parse() else {
        return Err("Please choose a rating from 1 to 5.");
    };
    // Browsers send line breaks as CR LF.
    let message = typed.message.replace("\r\n", "\n");
    match message.trim() {
        "" => Err("The message is empty."),
        message if message.chars().count() > 4000 => Err("The message is too long (4000 letters)."),
        message => Ok(Draft {
            product,
            name: name.to_owned(),
            rating,
            message: message.to_owned(),
        }),
    }
}

async fn give_feedback(
    State(shop): State<Arc<Shop>>,
    Form(form): Form<FeedbackForm>,
) -> Answer<Response> {
    let FeedbackForm {
        product,
        name,
        rating,
        message,
    } = form;
    let typed = Typed {
        product,
        name,
        rating,
        message,
    };
    let again = |problem: &str| {
        let page = Html(pages::feedback_again(&typed, problem));
        (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
    };
    let draft = match check(&typed) {
        Ok(draft) => draft,
        Err(problem) => return Ok(again(problem)),
    };
    let Some(stored) = blocking(&shop, move |shop| shop.store.add(&draft)).await? else {
        return Ok(again("We do not sell that."));
    };
    let (outcome, note) = shop.partner.hand_over(&stored).await;
    let line = format!("feedback {} {}: {note}", stored.id, outcome.word());
    match outcome {
        crate::store::Outcome::Failed => say::error(line),
        _ => say::info(line),
    }
    blocking(&shop, move |shop| {
        shop.store.settle(stored.id, outcome, &note)
    })
    .await?;
    let back = match stored.product {
        Some((id, _)) => format!("/product/{id}#feedback"),
        None => "/feedback#feedback".to_owned(),
    };
    Ok(Redirect::to(&back).into_response())
}

async fn list_uploads(State(shop): State<Arc<Shop>>) -> Answer<Html<String>> {
    let files = blocking(&shop, |shop| shop.uploads.list()).await?;
    Ok(Html(pages::uploads(&files, uploads::LIMIT, None)))
}

async fn upload(State(shop): State<Arc<Shop>>, mut form: Multipart) -> Answer<Response> {
    let mut kept = None;
    let mut problem = None;
    while let Some(mut field) = form.next_field().await.map_err(|e| broken(&e))? {
        if field.name() != Some("file") || kept.is_some() || problem.is_some() {
            continue;
        }
        // A refused file is received all the same, for the reason given at DISCARD_LIMIT.
        let name = uploads::accept(field.file_name().unwrap_or_default());
        if let Err(why) = name {
            problem = Some((StatusCode::BAD_REQUEST, format!("Refused: {why}.")));
        }
        let mut incoming = Some(blocking(&shop, |shop| shop.uploads.receive()).await?);
        let mut size = 0;
        while let Some(bytes) = field.chunk().await.map_err(|e| broken(&e))? {
            size += bytes.len() as u64;
            if size > uploads::LIMIT {
                let words = "Refused: the file is larger than 10 MB.".to_owned();
                problem = Some((StatusCode::PAYLOAD_TOO_LARGE, words));
            }
            if size > DISCARD_LIMIT {
                break;
            }
            if problem.is_some() {
                incoming = None;
            } else if let Some(file) = incoming.take() {
                incoming = Some(append(&shop, file, bytes).await?);
            }
        }
        if size > DISCARD_LIMIT {
            break;
        }
        if let (Ok(name), Some(file), None) = (name, incoming, &problem) {
            kept = Some(blocking(&shop, move |_| file.keep(&name)).await?);
        }
    }
    let (status, words) = match (kept, problem) {
        (Some(name), _) => {
            say::info(format_args!("kept upload {name}"));
            return Ok(Redirect::to("/uploads").into_response());
        }
        (None, Some(problem)) => problem,
        (None, None) => (StatusCode::BAD_REQUEST, "Please choose a file.".to_owned()),
    };
    let files = blocking(&shop, |shop| shop.uploads.list()).await?;
    let page = pages::uploads(&files, uploads::LIMIT, Some(&words));
    Ok((status, Html(page)).into_response())
}

async fn append(shop: &Arc<Shop>, mut file: Incoming, bytes: Bytes) -> Answer<Incoming> {
    blocking(shop, move |_| file.write(&bytes).map(|()| file)).await
}

fn broken(error: &MultipartError) -> Trouble {
    Trouble::new(
        error.status(),
        format!("The upload broke off: {}.", error.body_text()),
    )
}

async fn download(State(shop): State<Arc<Shop>>, Path(name): Path<String>) -> Answer<Response> {
    let (kind, inline) = uploads::content_type(&name);
    let disposition = uploads::disposition(&name, inline);
    let bytes = blocking(&shop, move |shop| shop.uploads.read(&name)).await?;
    let bytes = bytes.ok_or_else(|| Trouble::new(StatusCode::NOT_FOUND, "No such file."))?;
    let headers: [(HeaderName, String); 3] = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        // Whatever it is, it runs nothing and belongs to no origin.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox".to_owned(),
        ),
    ];
    Ok((headers, Body::from(bytes)).into_response())
}

async fn up(State(shop): State<Arc<Shop>>) -> Response {
    match blocking(&shop, |shop| shop.store.check()).await {
        Ok(()) => "up\n".into_response(),
        Err(trouble) => {
            let _ = trouble.into_response();
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n",
            )
                .into_response()
        }
    }
}

async fn take_feedback(State(faults): State<Arc<Faults>>, body: Bytes) -> Response {
    match faults.mood() {
        Mood::Silent => std::future::pending().await,
        Mood::Refusing => (StatusCode::SERVICE_UNAVAILABLE, "out of order\n").into_response(),
        Mood::Well => match acknowledge(&body) {
            Some(answer) => Json(answer).into_response(),
            None => (StatusCode::BAD_REQUEST, "expected JSON with an id\n").into_response(),
        },
    }
}

/// Whether this request comes from the machine itself. A proxy on the same machine speaks for
/// somebody else and says so in a header.
fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    peer.to_canonical().is_loopback()
        && !headers.contains_key(header::FORWARDED)
        && !headers.contains_key("x-forwarded-for")
}

async fn fault(
    State(faults): State<Arc<Faults>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(given): Query<HashMap<String, String>>,
) -> Response {
    if !is_local(peer.ip(), &headers) {
        let words = "faults can be asked for only from this machine\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    let name = given.get("do").map_or("", String::as_str);
    let fault = match Fault::parse(name, &given) {
        Ok(fault) => fault,
        Err(words) => return (StatusCode::BAD_REQUEST, words + "\n").into_response(),
    };
    let done = if matches!(fault, Fault::Panic { .. }) {
        // Here, in the request, as an error in a handler would.
        faults.act(&fault)
    } else {
        tokio::task::spawn_blocking(move || faults.act(&fault))
            .await
            .unwrap_or_else(|panicked| Err(panicked.to_string()))
    };
    match done {
        Ok(words) => (words + "\n").into_response(),
        Err(words) => (StatusCode::CONFLICT, words + "\n").into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::{check, foreign_form, is_local};
    use crate::pages::Typed;
    use crate::store::Draft;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect()
    }

    fn typed(product: &str, name: &str, rating: &str, message: &str) -> Typed {
        Typed {
            product: product.into(),
            name: name.into(),
            rating: rating.into(),
            message: message.into(),
        }
    }

    #[test]
    fn feedback_is_checked() {
        let draft = Draft {
            product: Some(3),
            name: "Ada".into(),
            rating: 5,
            message: "two\nlines".into(),
        };
        assert_eq!(
            check(&typed("3", " Ada ", "5", "two\r\nlines \n")),
            Ok(draft)
        );
        let nobody = check(&typed("", "", "1", "x")).unwrap();
        assert_eq!((nobody.product, nobody.name.as_str()), (None, "Somebody"));
        let long = "é".repeat(4001);
        for (wrong, want) in [
            (typed("x", "", "5", "m"), "We do not sell that."),
            (
                typed("", &long, "5", "m"),
                "The name is too long (80 letters).",
            ),
            (
                typed("", "", "0", "m"),
                "Please choose a rating from 1 to 5.",
            ),
            (
                typed("", "", "6", "m"),
                "Please choose a rating from 1 to 5.",
            ),
            (
                typed("", "", "", "m"),
                "Please choose a rating from 1 to 5.",
            ),
            (typed("", "", "5", " \r\n "), "The message is empty."),
            (
                typed("", "", "5", &long),
                "The message is too long (4000 letters).",
            ),
        ] {
            assert_eq!(check(&wrong), Err(want));
        }
        assert!(check(&typed("", "", "5", &long[2..])).is_ok());
    }

    #[test]
    fn only_forms_of_this_site_count() {
        for (method, pairs, foreign) in [
            (
                Method::GET,
                &[("origin", "http://evil"), ("host", "shop")][..],
                false,
            ),
            (Method::POST, &[("host", "shop")], false),
            (
                Method::POST,
                &[("origin", "http://shop:8080"), ("host", "shop:8080")],
                false,
            ),
            (
                Method::POST,
                &[("origin", "https://shop"), ("host", "shop")],
                false,
            ),
            (
                Method::POST,
                &[("origin", "http://evil"), ("host", "shop")],
                true,
            ),
            (
                Method::POST,
                &[("origin", "http://shop:1"), ("host", "shop:2")],
                true,
            ),
            (Method::POST, &[("origin", "null"), ("host", "shop")], true),
            (Method::POST, &[("origin", "http://shop")], true),
        ] {
            assert_eq!(
                foreign_form(&method, &headers(pairs)),
                foreign,
                "{method} {pairs:?}"
            );
        }
    }

    #[test]
    fn only_this_machine_is_local() {
        for (peer, pairs, local) in [
            ("127.0.0.1", &[][..], true),
            ("127.8.8.8", &[], true),
            ("::1", &[], true),
            ("::ffff:127.0.0.1", &[], true),
            ("192.0.2.1", &[], false),
            ("::ffff:192.0.2.1", &[], false),
            ("127.0.0.1", &[("x-forwarded-for", "192.0.2.1")], false),
            ("127.0.0.1", &[("forwarded", "for=192.0.2.1")], false),
        ] {
            assert_eq!(
                is_local(peer.parse().unwrap(), &headers(pairs)),
                local,
                "{peer} {pairs:?}"
            );
        }
    }
}

//! Requests in, pages out: the routes of the shop and of the fake partner.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::multipart::MultipartError;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Form, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mainstay_fault::{Class, Fault as Told, Notify, Verdict};
use mainstay_web::{Failed, Guard, Work};
use serde::Deserialize;
use serde_json::json;
use sqlx::Pool;

use crate::around::{CREATE, THANK};
use crate::faults::{Fault, Faults, Mood};
use crate::pages::{self, Typed};
use crate::partner::{Books, Partner};
use crate::store::{Draft, Store};
use crate::uploads::{self, Incoming, Uploads};

/// Everything a request may need. `D` is the database.
pub(crate) struct Shop<D: Store> {
    pub(crate) pool: Pool<D>,
    pub(crate) uploads: Uploads,
    pub(crate) partner: Partner,
    pub(crate) faults: Arc<Faults>,
}

/// After a file that is too large, this many more bytes are read and thrown away, so that the
/// browser gets to read the answer instead of seeing the connection break.
const DISCARD_LIMIT: u64 = 100_000_000;

/// How long a file may take on its way: longer than other requests.
const UPLOAD_TIME: Duration = Duration::from_mins(2);

/// The shop: its pages in the guard, the partner beside it.
pub(crate) fn shop<D: Store>(shop: Arc<Shop<D>>, guard: &Guard) -> Router {
    let faults = Arc::clone(&shop.faults);
    let mut pages = Router::new()
        .route("/", get(home::<D>))
        .route("/product/{id}", get(product::<D>))
        .route("/feedback", get(feedback::<D>).post(give_feedback::<D>))
        .route("/uploads/{name}", get(download::<D>))
        .route("/up", get(up::<D>));
    if faults.by_request {
        let admin = Router::new().route("/admin/fault", post(fault));
        pages = pages.merge(admin.with_state(Arc::clone(&faults)));
    }
    let pages = pages
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(middleware::from_fn(own_forms_only))
        .layer(guard.layer())
        .with_state(Arc::clone(&shop));
    let uploads = get(list_uploads::<D>)
        .post(upload::<D>)
        .layer(DefaultBodyLimit::disable());
    let uploads = Router::new()
        .route("/uploads", uploads)
        .layer(middleware::from_fn(own_forms_only))
        .layer(guard.layer().deadline(UPLOAD_TIME))
        .with_state(shop);
    let all = pages.merge(uploads).merge(fake_partner(&faults));
    all.layer(middleware::from_fn_with_state(faults, every_request))
}

/// The fake partner alone.
pub(crate) fn partner(faults: Arc<Faults>) -> Router {
    let mut routes = fake_partner(&faults).route("/up", get(async || "up\n"));
    if faults.by_request {
        let admin = Router::new().route("/admin/fault", post(fault));
        routes = routes.merge(admin.with_state(Arc::clone(&faults)));
    }
    routes.layer(middleware::from_fn_with_state(faults, every_request))
}

fn fake_partner(faults: &Arc<Faults>) -> Router {
    let state = Third {
        books: Arc::new(Books::default()),
        faults: Arc::clone(faults),
    };
    Router::new()
        .route("/partner/feedback", get(list_taken).post(take_feedback))
        .route("/partner/feedback/{key}", axum::routing::delete(give_back))
        .route("/partner/feedback/{key}/close", post(close))
        .route("/partner/feedback/{key}/thanks", post(thank))
        .with_state(state)
}

type Answer<T> = Result<T, Failed>;

/// What is not there, in words for the visitor.
fn not_found(words: &'static str) -> Failed {
    Failed::told(Verdict::not_found().with_public(words), words)
}

/// Runs what blocks, the disk, away from the threads that serve requests.
async fn blocking<D, T, E, F>(shop: &Arc<Shop<D>>, name: &str, work: F) -> Answer<T>
where
    D: Store,
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
    F: FnOnce(&Shop<D>) -> Result<T, E> + Send + 'static,
{
    let shop = Arc::clone(shop);
    let task = Work::<()>::current()?.spawn_blocking(name, move || work(&shop));
    Ok(task.await??)
}

/// Around the guard: what all answers have in common, whoever makes them.
async fn every_request(
    State(faults): State<Arc<Faults>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if faults.hanging() {
        std::future::pending::<()>().await;
    }
    let delay = faults.delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let began = Instant::now();
    let what = format!("{} {}", request.method(), request.uri());
    let mut response = next.run(request).await;
    harden(response.headers_mut());
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    log::info!(
        "{what} {} {bytes} B {:.1?} {}",
        response.status().as_u16(),
        began.elapsed(),
        peer.ip()
    );
    response
}

/// Refuses forms of other sites.
async fn own_forms_only(request: Request, next: Next) -> Answer<Response> {
    if foreign_form(request.method(), request.headers()) {
        let words = "This form was sent from another site.";
        return Err(Failed::told(Verdict::forbidden().with_public(words), words));
    }
    Ok(next.run(request).await)
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
fn harden(headers: &mut HeaderMap) {
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

async fn home<D: Store>(State(shop): State<Arc<Shop<D>>>) -> Answer<Html<String>> {
    Ok(Html(pages::home(&D::products(&shop.pool).await?)))
}

async fn product<D: Store>(
    State(shop): State<Arc<Shop<D>>>,
    Path(id): Path<String>,
) -> Answer<Html<String>> {
    let unknown = || not_found("We do not sell that.");
    let id = id.parse().map_err(|_| unknown())?;
    let product = D::product(&shop.pool, id).await?.ok_or_else(unknown)?;
    let said = D::feedback(&shop.pool, Some(id)).await?;
    Ok(Html(pages::product(&product, &said)))
}

async fn feedback<D: Store>(State(shop): State<Arc<Shop<D>>>) -> Answer<Html<String>> {
    Ok(Html(pages::feedback(&D::feedback(&shop.pool, None).await?)))
}

/// The feedback form as it arrives; what is missing counts as empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FeedbackForm {
    product: String,
    name: String,
    mail: String,
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
    let mail = match typed.mail.trim() {
        "" => None,
        mail if mail.len() > 200 || !mail.contains('@') || mail.contains(char::is_whitespace) => {
            return Err("That is no mail address.");
        }
        mail => Some(mail.to_owned()),
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
            mail,
            rating,
            message: message.to_owned(),
        }),
    }
}

/// Feedback is in the shop's database and at the partner, or at neither, whatever fails.
async fn give_feedback<D: Store>(
    State(shop): State<Arc<Shop<D>>>,
    mut work: Work<D>,
    Form(form): Form<FeedbackForm>,
) -> Answer<Response> {
    let typed = Typed {
        product: form.product,
        name: form.name,
        mail: form.mail,
        rating: form.rating,
        message: form.message,
    };
    let again = |problem: &str| {
        let page = Html(pages::feedback_again(&typed, problem));
        (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
    };
    let draft = match check(&typed) {
        Ok(draft) => draft,
        Err(problem) => return Ok(again(problem)),
    };
    if let Some(id) = draft.product
        && D::product(&shop.pool, id).await?.is_none()
    {
        return Ok(again("We do not sell that."));
    }

    // The third party first. That it is going to be asked is in the journal before it is: if
    // anything fails from here on, or the process dies, it is asked to give this back.
    let (key, reference) = work
        .step(CREATE, json!({ "rating": draft.rating }))
        .run(|act| {
            let (partner, draft) = (shop.partner.clone(), draft.clone());
            async move {
                let reference = partner.create(act.key(), &draft).await?;
                Ok((act.key().to_owned(), reference))
            }
        })
        .await
        .map_err(not_handed_over)?;
    // Then the row, in the transaction of this request.
    D::add(&mut *work.tx().await?, &draft, &reference).await?;
    // And what is to happen once all of it holds.
    if let Some(mail) = &draft.mail {
        let thanks = json!({ "feedback": key, "to": mail, "name": draft.name });
        work.after_commit(THANK, thanks)?;
    }
    // The guard commits before the first byte of this leaves.
    let back = match draft.product {
        Some(id) => format!("/product/{id}#feedback"),
        None => "/feedback#feedback".to_owned(),
    };
    Ok(Redirect::to(&back).into_response())
}

/// What a visitor wrote is lost with it, so that a person is told of the first one already.
fn not_handed_over(error: mainstay_web::Error) -> Failed {
    let verdict = match Verdict::from_error(&error) {
        // It answered something that is no answer.
        verdict if verdict.class() == Class::Internal => Verdict::new(Class::UpstreamResponse),
        verdict => verdict,
    };
    let verdict = verdict
        .with_notify(Notify::Always)
        .with_public("We could not pass on what you wrote, and so have kept nothing of it. Please try again later.");
    Failed::of(Told::from_verdict(verdict, &error))
}

async fn list_uploads<D: Store>(State(shop): State<Arc<Shop<D>>>) -> Answer<Html<String>> {
    let files = blocking(&shop, "list uploads", |shop| shop.uploads.list()).await?;
    Ok(Html(pages::uploads(&files, uploads::LIMIT, None)))
}

async fn upload<D: Store>(
    State(shop): State<Arc<Shop<D>>>,
    mut form: Multipart,
) -> Answer<Response> {
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
        let mut incoming =
            Some(blocking(&shop, "receive an upload", |shop| shop.uploads.receive()).await?);
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
            kept = Some(blocking(&shop, "keep an upload", move |_| file.keep(&name)).await?);
        }
    }
    let (status, words) = match (kept, problem) {
        (Some(name), _) => {
            log::info!("kept upload {name}");
            return Ok(Redirect::to("/uploads").into_response());
        }
        (None, Some(problem)) => problem,
        (None, None) => (StatusCode::BAD_REQUEST, "Please choose a file.".to_owned()),
    };
    let files = blocking(&shop, "list uploads", |shop| shop.uploads.list()).await?;
    let page = pages::uploads(&files, uploads::LIMIT, Some(&words));
    Ok((status, Html(page)).into_response())
}

async fn append<D: Store>(
    shop: &Arc<Shop<D>>,
    mut file: Incoming,
    bytes: Bytes,
) -> Answer<Incoming> {
    blocking(shop, "write an upload", move |_| {
        file.write(&bytes).map(|()| file)
    })
    .await
}

fn broken(error: &MultipartError) -> Failed {
    let words = format!("The upload broke off: {}.", error.body_text());
    Failed::told(
        Verdict::from_status(error.status()).with_public(words),
        "an upload broke off",
    )
}

async fn download<D: Store>(
    State(shop): State<Arc<Shop<D>>>,
    Path(name): Path<String>,
) -> Answer<Response> {
    let (kind, inline) = uploads::content_type(&name);
    let disposition = uploads::disposition(&name, inline);
    let bytes = blocking(&shop, "read an upload", move |shop| {
        shop.uploads.read(&name)
    })
    .await?;
    let bytes = bytes.ok_or_else(|| not_found("No such file."))?;
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

async fn up<D: Store>(State(shop): State<Arc<Shop<D>>>) -> Answer<&'static str> {
    D::check(&shop.pool).await?;
    Ok("up\n")
}

/// What the fake partner has.
#[derive(Clone)]
struct Third {
    books: Arc<Books>,
    faults: Arc<Faults>,
}

async fn take_feedback(State(third): State<Third>, headers: HeaderMap) -> Response {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok());
    let Some(key) = key else {
        return (StatusCode::BAD_REQUEST, "expected an Idempotency-Key\n").into_response();
    };
    let mood = third.faults.mood();
    if mood == Mood::Refusing {
        return (StatusCode::FORBIDDEN, "not from you\n").into_response();
    }
    let taken = third.books.take(key);
    if matches!(mood, Mood::Silent | Mood::Greedy) {
        std::future::pending::<()>().await;
    }
    match taken {
        Some(reference) => Json(json!({ "reference": reference })).into_response(),
        None => (StatusCode::GONE, "that was taken back\n").into_response(),
    }
}

async fn list_taken(State(third): State<Third>) -> Response {
    Json(third.books.list()).into_response()
}

async fn close(State(third): State<Third>, Path(key): Path<String>) -> Response {
    Json(json!({ "there": third.books.close(&key) })).into_response()
}

async fn give_back(State(third): State<Third>, Path(key): Path<String>) -> Response {
    if third.faults.mood() == Mood::Greedy {
        return (StatusCode::FORBIDDEN, "ours now\n").into_response();
    }
    if third.books.give_back(&key) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn thank(State(third): State<Third>, Path(key): Path<String>) -> Response {
    if third.books.thank(&key) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
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
            mail: String::new(),
            rating: rating.into(),
            message: message.into(),
        }
    }

    #[test]
    fn feedback_is_checked() {
        let draft = Draft {
            product: Some(3),
            name: "Ada".into(),
            mail: None,
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
        for (mail, want) in [
            (" a@b.example ", Ok(Some("a@b.example".to_owned()))),
            ("a", Err("That is no mail address.")),
            ("a@b c", Err("That is no mail address.")),
        ] {
            let mut typed = typed("", "", "5", "m");
            typed.mail = mail.into();
            assert_eq!(check(&typed).map(|draft| draft.mail), want);
        }
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

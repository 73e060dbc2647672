//! What is answered: each form, for each kind of request.

use std::time::Duration;

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use mainstay_fault::{Asked, Class, Fault, PageSet, Verdict, answer};
use proptest::prelude::*;

fn asked(headers: &[(&'static str, &str)]) -> Asked {
    asked_by(&Method::GET, headers)
}

fn asked_by(method: &Method, headers: &[(&'static str, &str)]) -> Asked {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Asked::of(method, &map)
}

fn answered(asked: &Asked, fault: &Fault) -> Response<Vec<u8>> {
    let answer = answer(asked, fault, &PageSet::built_in());
    assert_eq!(answer.trouble, None);
    answer.response
}

fn body(response: &Response<Vec<u8>>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

#[test]
fn each_form_says_the_same_and_is_never_stored() {
    let fault = Fault::told(Class::DatabaseConnection, "refused by db.internal");
    for (headers, kind) in [
        (vec![("accept", "text/html")], "text/html; charset=utf-8"),
        (
            vec![("accept", "application/json")],
            "application/problem+json",
        ),
        (vec![("accept", "*/*")], "text/plain; charset=utf-8"),
        (vec![], "text/plain; charset=utf-8"),
    ] {
        let response = answered(&asked(&headers), &fault);
        assert_eq!(response.status(), 503);
        let headers = response.headers();
        assert_eq!(headers[CONTENT_TYPE], kind);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(headers[VARY], "Accept, Accept-Language");
        assert_eq!(headers[RETRY_AFTER], "30");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-fault-id"], fault.id().to_string().as_str());
        assert_eq!(
            headers[CONTENT_LENGTH],
            response.body().len().to_string().as_str()
        );
        let body = body(&response);
        assert!(body.contains(&fault.id().to_string()), "{body}");
        assert!(
            body.contains("Please try again in a little while."),
            "{body}"
        );
        assert!(!body.contains("db.internal"), "what is for the log: {body}");
    }
}

#[test]
fn problem_json_is_that_of_the_rfc() {
    let wait = Duration::from_secs(7);
    let fault = Fault::told(
        Verdict::too_many_requests(wait).with_public("Slow down, \"please\"."),
        "x",
    );
    let response = answered(
        &asked(&[("accept", "application/json"), ("accept-language", "en")]),
        &fault,
    );
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    let id = fault.id().to_string();
    assert_eq!(
        problem,
        serde_json::json!({
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "detail": "Slow down, \"please\".",
            "instance": format!("/faults/{id}"),
            "id": id,
            "retryable": true,
            "retry_after": 7,
        })
    );
}

#[test]
fn languages_of_the_built_in_pages() {
    let fault = Fault::told(Verdict::not_found(), "x");
    for (asks, tag, title) in [
        ("zh-TW", "zh-Hant", "找不到頁面"),
        ("zh-HK, en;q=0.9", "zh-Hant", "找不到頁面"),
        ("zh-CN", "zh-Hans", "找不到页面"),
        ("zh", "zh-Hans", "找不到页面"),
        ("en-GB", "en", "Page not found"),
        ("fr", "en", "Page not found"),
        ("", "en", "Page not found"),
    ] {
        for accept in ["text/html", "text/plain"] {
            let response = answered(
                &asked(&[("accept", accept), ("accept-language", asks)]),
                &fault,
            );
            assert_eq!(response.headers()["content-language"], tag, "{asks}");
            assert!(body(&response).contains(title), "{asks}");
        }
    }
    let pages = PageSet::built_in().with_fallback("zh-TW");
    let response = answer(&asked(&[("accept-language", "fr")]), &fault, &pages).response;
    assert_eq!(response.headers()["content-language"], "zh-Hant");
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let fault = Fault::told(Verdict::not_found(), "x");
    let headers = [("accept", "text/html")];
    let get = answered(&asked(&headers), &fault);
    let head = answered(&asked_by(&Method::HEAD, &headers), &fault);
    assert!(head.body().is_empty() && !get.body().is_empty());
    assert_eq!(get.headers(), head.headers());
    assert_eq!(head.status(), 404);
}

#[test]
fn grpc_is_told_by_its_own_status() {
    let headers = [
        ("content-type", "application/grpc+proto"),
        ("accept-language", "zh-TW"),
    ];
    for (verdict, status) in [
        (Verdict::bad_request("x"), 3),
        (Verdict::unauthorized(), 16),
        (Verdict::forbidden(), 7),
        (Verdict::not_found(), 5),
        (Verdict::conflict("x"), 6),
        (Verdict::too_many_requests(Duration::from_secs(1)), 8),
        (Class::Internal.into(), 13),
        (Class::Panic.into(), 13),
        (Class::DatabaseConnection.into(), 14),
        (Class::DatabaseDeadlock.into(), 10),
        (Class::UpstreamTimeout.into(), 4),
        (Class::Timeout.into(), 4),
        (Class::ClientGone.into(), 1),
        (Verdict::from_status(StatusCode::METHOD_NOT_ALLOWED), 12),
    ] {
        let response = answered(&asked(&headers), &Fault::told(verdict.clone(), "x"));
        assert_eq!(response.status(), 200, "gRPC has its status elsewhere");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(
            response.headers()["grpc-status"],
            status.to_string().as_str(),
            "{verdict:?}"
        );
        assert!(response.body().is_empty());
    }
    let fault = Fault::told(Verdict::conflict("已有 100%"), "x");
    let response = answered(&asked(&headers), &fault);
    assert_eq!(
        response.headers()["grpc-message"],
        "%E5%B7%B2%E6%9C%89 100%25"
    );
}

#[test]
fn a_built_in_page_is_small_and_loads_nothing() {
    for status in (400..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
        for language in ["en", "zh-TW", "zh-CN"] {
            let fault = Fault::told(Verdict::from_status(status), "x");
            let response = answered(
                &asked(&[("accept", "text/html"), ("accept-language", language)]),
                &fault,
            );
            let page = body(&response);
            assert!(page.len() < 3 * 1024, "{status} {language}: {}", page.len());
            for outside in [
                "http:", "https:", "src=", "url(", "@import", "<script", "<link",
            ] {
                assert!(!page.contains(outside), "{status} {language}: {outside}");
            }
            assert!(page.contains("prefers-color-scheme:dark"));
            assert!(page.starts_with("<!doctype html>"));
        }
    }
}

#[test]
fn a_hostile_request_gets_a_valid_answer() {
    let mut map = HeaderMap::new();
    map.insert(ACCEPT, HeaderValue::from_static("text/html"));
    let mut long = b"../../etc/passwd,<script>;q=9,".repeat(2200);
    long.truncate(65_000);
    map.insert(ACCEPT_LANGUAGE, HeaderValue::from_bytes(&long).unwrap());
    let response = answered(
        &Asked::of(&Method::GET, &map),
        &Fault::told(Class::Internal, "x"),
    );
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["content-language"]
        ),
        (500, &HeaderValue::from_static("en"))
    );
    assert!(!body(&response).contains("script"));
}

proptest! {
    #[test]
    fn what_a_visitor_is_told_is_text_and_never_markup(
        text in "\\PC{0,200}", hostile in prop::sample::select(vec!["<script>alert(1)</script>", "\"><img src=x onerror=y>", "{{ id }}", "&lt;", "'"]),
    ) {
        let fault = Fault::told(Verdict::conflict(format!("{text}{hostile}")), "x");
        let response = answered(&asked(&[("accept", "text/html")]), &fault);
        let page = body(&response);
        let plain = answered(&asked(&[("accept", "text/html")]), &Fault::told(Verdict::conflict("x"), "x"));
        // No element and no attribute has come in.
        prop_assert_eq!(page.matches('<').count(), body(&plain).matches('<').count());
        prop_assert_eq!(page.matches('"').count(), body(&plain).matches('"').count());
        let problem = answered(&asked(&[("accept", "application/json")]), &fault);
        let problem: serde_json::Value = serde_json::from_slice(problem.body()).unwrap();
        prop_assert_eq!(problem["detail"].as_str(), fault.public());
        let grpc = answered(&asked(&[("content-type", "application/grpc")]), &fault);
        prop_assert!(grpc.headers().contains_key("grpc-message"));
    }
}

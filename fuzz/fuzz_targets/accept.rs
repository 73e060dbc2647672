//! Headers of a request that is answered with a fault.

#![no_main]

use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use mainstay_fault::{Asked, Fault, PageSet, Verdict, answer};

const NAMES: [&str; 4] = [
    "accept",
    "accept-language",
    "content-type",
    "sec-fetch-dest",
];

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    let mut lines = input.split(|byte| *byte == b'\n');
    let told = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    for (at, line) in lines.take(64).enumerate() {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(NAMES[at % NAMES.len()], value);
        }
    }
    let method = if input.len() % 2 == 0 {
        Method::GET
    } else {
        Method::HEAD
    };
    let asked = Asked::of(&method, &headers);
    let answer = answer(
        &asked,
        &Fault::told(Verdict::conflict(told.clone()), &told),
        &PageSet::built_in(),
    );
    assert!(answer.trouble.is_none());
    let response = answer.response;
    let kind = response.headers()["content-type"].to_str().expect("ours");
    if kind == "application/grpc" {
        assert!(response.headers().contains_key("grpc-status") && response.body().is_empty());
        return;
    }
    assert_eq!(response.status(), 409);
    assert_eq!(method == Method::HEAD, response.body().is_empty());
    let body = std::str::from_utf8(response.body()).expect("text");
    match kind {
        "application/problem+json" if !body.is_empty() => {
            let _: serde_json::Value = serde_json::from_str(body).expect("JSON");
        }
        kind if kind.starts_with("text/html") => assert!(!body.contains("<script")),
        _ => {}
    }
});

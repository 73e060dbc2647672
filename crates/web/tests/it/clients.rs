//! Real clients: curl, and a browser with its `fetch`, by itself and as a person sees its pages.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use mainstay_web::Guard;

use crate::client::serve;
use crate::log;

/// Where to leave the pictures, for who wants to look at them.
const PICTURES: &str = "MAINSTAY_PICTURES";

/// Asks as `fetch` asks, and writes down what came back.
const FETCHES: &str = r#"<!doctype html><title>fetch</title><pre id="out"></pre><script>
const asks = [
  ["plain", "/nothing", {}],
  ["json", "/nothing", {headers: {accept: "application/json"}}],
  ["html", "/nothing", {headers: {accept: "text/html"}}],
  ["sent json", "/form", {method: "POST", headers: {"content-type": "application/json"}, body: "{}"}],
  ["head", "/nothing", {method: "HEAD"}],
  ["panic", "/panic", {}],
];
(async () => {
  for (const [name, path, options] of asks) {
    const answer = await fetch(path, options);
    const text = await answer.text();
    const kind = (answer.headers.get("content-type") || "").split(";")[0];
    const coded = text.includes(answer.headers.get("x-fault-id"));
    out.textContent += [name, answer.status, kind, text.length > 0, coded].join(" ") + "\n";
  }
  out.textContent += "all\n";
})();
</script>"#;

async fn start() -> SocketAddr {
    log::listen();
    let guard = Guard::builder().start().await.unwrap();
    let app = Router::new()
        .route("/", get(async || Html(FETCHES)))
        .route("/form", get(async || "form"))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("for a browser") }),
        )
        .route("/busy", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(guard.layer());
    serve(app).await
}

/// A program in PATH; says what is skipped without it.
fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        println!("SKIPPED: no {} here", names[0]);
    }
    found
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_what_it_can_read() {
    let Some(curl) = installed(&["curl"]) else {
        return;
    };
    let server = start().await;
    for (name, arguments, status, kind) in [
        ("as it is", &[][..], 404, "text/plain"),
        (
            "JSON",
            &["-H", "Accept: application/json"][..],
            404,
            "application/problem+json",
        ),
        (
            "JSON was sent",
            &["--json", "{}", "-H", "Accept: */*"][..],
            404,
            "application/problem+json",
        ),
        ("HTML", &["-H", "Accept: text/html"][..], 404, "text/html"),
        ("HEAD", &["-I"][..], 404, "text/plain"),
        (
            "gRPC",
            &["-X", "POST", "-H", "Content-Type: application/grpc"][..],
            200,
            "application/grpc",
        ),
    ] {
        let mut command = Command::new(&curl);
        command
            .args(["-s", "-i", "--max-time", "60", "--noproxy", "*"])
            .args(arguments);
        let text = output(command.arg(format!("http://{server}/nothing")));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let header = |wanted: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let mut found = lines.filter(|(name, _)| *name == wanted);
            found
                .next()
                .map(|(_, value)| value.to_owned())
                .unwrap_or_default()
        };
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {head}"
        );
        assert_eq!(
            header("content-type").split(';').next(),
            Some(kind),
            "{name}"
        );
        let code = header("x-fault-id");
        match name {
            "HEAD" => assert!(body.is_empty() && header("content-length") != "0", "{name}"),
            "gRPC" => assert_eq!((body, header("grpc-status").as_str()), ("", "5"), "{name}"),
            _ => assert!(!code.is_empty() && body.contains(&code), "{name}: {body}"),
        }
    }
}

/// A browser without a window, for one command.
fn browser(program: &Path, profile: &Path, language: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args(["--hide-scrollbars", "--no-first-run", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--accept-lang={language}"))
        .env("HOME", profile);
    command
}

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_in_a_browser_gets_what_it_can_read() {
    let Some(program) = installed(&BROWSERS) else {
        return;
    };
    let server = start().await;
    let profile = tempfile::tempdir().unwrap();
    let mut command = browser(&program, profile.path(), "en");
    // Time in the page stands still while an answer is waited for.
    command.args(["--virtual-time-budget=60000", "--dump-dom"]);
    let dom = output(command.arg(format!("http://{server}/")));
    let expected = "plain 404 text/plain true true\n\
                    json 404 application/problem+json true true\n\
                    html 404 text/html true true\n\
                    sent json 405 application/problem+json true true\n\
                    head 404 text/plain false false\n\
                    panic 500 text/plain true true\n\
                    all\n";
    assert!(dom.contains(expected), "{dom}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_the_page_in_three_languages_and_on_a_phone() {
    let Some(program) = installed(&BROWSERS) else {
        return;
    };
    let server = start().await;
    let scratch = tempfile::tempdir().unwrap();
    let pictures = std::env::var_os(PICTURES).map_or(scratch.path().to_owned(), PathBuf::from);
    for (language, tag, words) in [
        ("zh-TW", "zh-Hant", "找不到頁面"),
        ("zh-CN", "zh-Hans", "找不到页面"),
        ("en-GB", "en", "Page not found"),
    ] {
        let profile = scratch.path().join(tag);
        let mut dump = browser(&program, &profile, language);
        let dom = output(
            dump.arg("--dump-dom")
                .arg(format!("http://{server}/nothing")),
        );
        assert!(
            dom.contains(&format!("lang=\"{tag}\"")) && dom.contains(words),
            "{dom}"
        );
        for (path, width) in [("nothing", 1100_u32), ("nothing", 390), ("busy", 390)] {
            let picture = pictures.join(format!("{path}-{tag}-{width}.png"));
            let mut shoot = browser(&program, &profile, language);
            shoot.arg(format!("--window-size={width},844"));
            shoot.arg(format!("--screenshot={}", picture.display()));
            output(shoot.arg(format!("http://{server}/{path}")));
            let bytes = std::fs::read(&picture).unwrap();
            // The header of a PNG: its width is at byte 16 (PNG specification, section 11.2.1).
            assert_eq!(bytes[16..20], width.to_be_bytes(), "{}", picture.display());
            assert!(
                bytes.len() > 5_000,
                "there is something on it: {}",
                picture.display()
            );
        }
    }
}

//! Pages of an app: which one is taken, and what happens to those that can't be used.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response};
use mainstay_base::{Clock as _, ManualClock};
use mainstay_fault::{Asked, Class, Fault, PageSet, Pages, Verdict, answer};

fn html(language: &str) -> Asked {
    let mut map = HeaderMap::new();
    map.insert("accept", HeaderValue::from_static("text/html"));
    map.insert("accept-language", HeaderValue::from_str(language).unwrap());
    Asked::of(&Method::GET, &map)
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

fn text(response: &Response<Vec<u8>>) -> String {
    String::from_utf8(response.body().clone()).unwrap()
}

fn fault(status: u16) -> Fault {
    Fault::told(
        Verdict::from_status(http::StatusCode::from_u16(status).unwrap()),
        "x",
    )
}

#[test]
fn the_nearest_page_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("404.html", "404"),
            ("404.zh-Hant.html", "404 zh-Hant"),
            ("404.fr.html", "404 fr"),
            ("4xx.html", "4xx"),
            ("5xx.zh-TW.html", "5xx zh-TW"),
            ("5xx.en.html", "5xx en"),
            ("503.html", "503"),
            ("error.html", "error"),
            ("200.html", "never"),
            ("base.html", "never"),
        ],
    );
    let (pages, troubles) = PageSet::load(dir.path(), &PageSet::built_in());
    assert_eq!(troubles, []);
    for (status, language, expected) in [
        (404, "en", "404"),
        (404, "zh-HK", "404 zh-Hant"),
        (404, "zh-CN", "404"),
        (404, "fr-CA", "404 fr"),
        (404, "de, fr;q=0.5", "404 fr"),
        (403, "zh-HK", "4xx"),
        (503, "zh-HK", "503"),
        (500, "zh-HK", "5xx zh-TW"),
        (500, "de", "5xx en"),
    ] {
        let response = answer(&html(language), &fault(status), &pages).response;
        assert_eq!(text(&response), expected, "{status} {language}");
        assert_eq!(response.status(), status, "a page never changes the status");
        assert_eq!(
            response.headers()["content-type"],
            "text/html; charset=utf-8"
        );
    }
    let response = answer(&html("zh-HK"), &fault(404), &pages).response;
    assert_eq!(response.headers()["content-language"], "zh-Hant");

    let few = tempfile::tempdir().unwrap();
    write(
        few.path(),
        &[("error.html", "error"), ("5xx.fr.html", "5xx fr")],
    );
    let (pages, _) = PageSet::load(few.path(), &PageSet::built_in());
    assert_eq!(
        text(&answer(&html("en"), &fault(500), &pages).response),
        "error"
    );
    assert_eq!(
        text(&answer(&html("fr"), &fault(500), &pages).response),
        "5xx fr"
    );
}

#[test]
fn a_page_shows_what_it_asks_for_escaped() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            (
                "base.html",
                "<html lang={{ language }}>{% block body %}{% endblock %}</html>",
            ),
            (
                "error.html",
                "{% extends 'base.html' %}{% block body %}{{ status }} {{ title }}|{{ info }}|{{.ErrorInfo}}|{{ id }}|{{ retry_after }}{% endblock %}",
            ),
        ],
    );
    let (pages, troubles) = PageSet::load(dir.path(), &PageSet::built_in());
    assert_eq!(troubles, []);
    let fault = Fault::told(Verdict::conflict("<b>& more"), "x");
    let response = answer(&html("en"), &fault, &pages).response;
    let escaped = "&lt;b&gt;&amp; more";
    assert_eq!(
        text(&response),
        format!(
            "<html lang=en>409 Already exists|{escaped}|{escaped}|{}|</html>",
            fault.id()
        )
    );
}

fn pages(dir: &Path) -> (Pages, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(now()));
    (
        Pages::open(dir, "en", Arc::<ManualClock>::clone(&clock)),
        clock,
    )
}

fn now() -> jiff::Timestamp {
    mainstay_base::SystemClock::new().now()
}

/// A file that is replaced is another one, so that its change shows whatever the clock of the disk.
fn replace(dir: &Path, name: &str, text: &str) {
    mainstay_base::fs::replace(&dir.join(name), text.as_bytes(), 0o644).unwrap();
}

#[test]
fn changes_are_seen_and_the_last_good_page_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (pages, clock) = pages(dir.path());
    let shown = |status| text(&pages.answer(&html("en"), &fault(status)));
    let later = || clock.advance(Duration::from_secs(2));
    assert!(
        shown(404).starts_with("<!doctype"),
        "nothing there: the built-in one"
    );

    replace(dir.path(), "404.html", "one");
    assert!(
        shown(404).starts_with("<!doctype"),
        "looked at once in a second"
    );
    later();
    assert_eq!(shown(404), "one");
    replace(dir.path(), "404.html", "two");
    later();
    assert_eq!(shown(404), "two");

    for (broken, why) in [
        ("{% if %}", "syntax"),
        ("{{ 1 / 0 }}", "fails when rendered"),
        ("{% include 'none.html' %}", "what it includes is missing"),
        (
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
            "never ends",
        ),
        ("{% include '404.html' %}", "includes itself"),
    ] {
        replace(dir.path(), "404.html", broken);
        replace(dir.path(), "500.html", "500 beside it");
        later();
        assert_eq!(shown(404), "two", "{why}");
        assert_eq!(shown(500), "500 beside it", "{why}");
    }
    mainstay_base::fs::replace(&dir.path().join("404.html"), &vec![b'x'; 10 << 20], 0o644).unwrap();
    later();
    assert_eq!(shown(404), "two", "ten megabytes");
    mainstay_base::fs::replace(&dir.path().join("404.html"), b"\xff\xfe", 0o644).unwrap();
    later();
    assert_eq!(shown(404), "two", "not UTF-8");

    replace(dir.path(), "404.html", "three");
    later();
    assert_eq!(shown(404), "three");
    fs::remove_file(dir.path().join("404.html")).unwrap();
    later();
    assert!(shown(404).starts_with("<!doctype"), "taken away on purpose");

    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    later();
    assert_eq!(
        shown(500),
        "500 beside it",
        "the directory is gone for a moment"
    );
    fs::rename(&away, dir.path()).unwrap();
}

#[test]
fn what_is_extended_may_break_without_breaking_the_page() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("base.html", "old {% block b %}{% endblock %}"),
            (
                "500.html",
                "{% extends 'base.html' %}{% block b %}x{% endblock %}",
            ),
        ],
    );
    let (first, troubles) = PageSet::load(dir.path(), &PageSet::built_in());
    assert_eq!(troubles, []);
    fs::remove_file(dir.path().join("base.html")).unwrap();
    let (second, troubles) = PageSet::load(dir.path(), &first);
    assert_eq!(troubles.len(), 1);
    assert!(
        troubles[0].to_string().contains("500.html"),
        "{}",
        troubles[0]
    );
    assert_eq!(
        text(&answer(&html("en"), &fault(500), &second).response),
        "old x"
    );
}

#[test]
fn troubles_name_file_line_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("404.html", "a\nb {% if %}\n"),
            ("500.html", "{{ 'x' * 5 }}{{ none.x.y }}"),
        ],
    );
    fs::create_dir(dir.path().join("410.html")).unwrap();
    let (_, troubles) = PageSet::load(dir.path(), &PageSet::built_in());
    let told: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    let path = |name: &str| dir.path().join(name).display().to_string();
    assert!(
        told.iter().any(|one| one.starts_with(&format!(
            "cannot use the error page {}:2: syntax error",
            path("404.html")
        ))),
        "{told:?}"
    );
    assert!(
        told.iter().any(|one| one.starts_with(&format!(
            "cannot use the error page {}:1: ",
            path("500.html")
        ))),
        "{told:?}"
    );
    assert!(
        told.iter().any(|one| one
            == &format!(
                "cannot use the error page {}: it is no file",
                path("410.html")
            )),
        "{told:?}"
    );
    let missing = dir.path().join("missing");
    let (_, troubles) = PageSet::load(&missing, &PageSet::built_in());
    assert!(
        troubles[0].to_string().contains("No such file"),
        "{}",
        troubles[0]
    );
}

#[test]
fn a_page_that_fails_for_one_fault_only_is_told_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[(
            "error.html",
            "{% if status == 500 %}fine{% else %}{{ 1 / 0 }}{% endif %}",
        )],
    );
    let (pages, troubles) = PageSet::load(dir.path(), &PageSet::built_in());
    assert_eq!(troubles, []);
    assert_eq!(
        text(&answer(&html("en"), &fault(500), &pages).response),
        "fine"
    );
    let answer = answer(&html("en"), &fault(404), &pages);
    assert!(answer.trouble.unwrap().to_string().contains("error.html:1"));
    assert_eq!(answer.response.status(), 404);
    assert!(text(&answer.response).starts_with("<!doctype"));
}

#[test]
fn no_name_that_a_visitor_sends_leads_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("pages");
    fs::create_dir(&inside).unwrap();
    write(
        dir.path(),
        &[("404.html", "outside"), ("secret.html", "outside")],
    );
    write(
        &inside,
        &[
            ("500.html", "{% include '../secret.html' %}"),
            ("404...html", "odd"),
        ],
    );
    let (pages, troubles) = PageSet::load(&inside, &PageSet::built_in());
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    for language in ["../../404", "..%2f404", "/etc/passwd", "../secret"] {
        for status in [404, 500] {
            let page = text(&answer(&html(language), &fault(status), &pages).response);
            assert!(!page.contains("outside"), "{language} {status}");
        }
    }
    assert_eq!(Fault::told(Class::Internal, "x").status(), 500);
}

#[test]
fn texts_of_the_app_take_the_place_of_those_that_are_built_in() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(now()));
    let pages = Pages::open(dir.path(), "en", clock.clone());
    let show = |language: &str| text(&pages.answer(&html(language), &fault(404)));
    assert!(show("en").contains("<h1>Page not found</h1>"));
    let german = "[language.de]\ncode = \"Ihr <Code>:\"\nhome = \"Zur Startseite\"\nagain = \"Noch einmal\"\n[language.de.page.error]\ntitle = \"Fehler\"\ndetail = \"Etwas ging schief.\"\n[language.en.page.404]\ntitle = \"Nothing & nobody\"\n";
    write(dir.path(), &[("words.toml", german)]);
    clock.advance(Duration::from_secs(2));
    let shown = show("de-CH");
    for part in [
        "<html lang=\"de\">",
        "<h1>Fehler</h1>",
        "Etwas ging schief.",
        "Ihr &lt;Code&gt;:",
        "Zur Startseite",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let response = pages.answer(&html("de"), &fault(404));
    assert_eq!(response.headers()["content-language"], "de");
    assert!(show("en").contains("<h1>Nothing &amp; nobody</h1>"));
    assert!(show("zh-TW").contains("找不到頁面"));

    // One that is wrong is told with its place, and the last good one stays.
    write(
        dir.path(),
        &[("words.toml", "[language.en]\nhom = \"x\"\n")],
    );
    let (loaded, troubles) = PageSet::load(dir.path(), &pages.current());
    let said: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    let file = dir.path().join("words.toml");
    assert_eq!(
        said,
        [format!(
            "cannot use the texts {}:2:1: unknown key `hom` in [language.en]",
            file.display()
        )]
    );
    let kept = answer(&html("de"), &fault(404), &loaded).response;
    assert!(text(&kept).contains("<h1>Fehler</h1>"));
    clock.advance(Duration::from_secs(2));
    assert!(show("de").contains("<h1>Fehler</h1>"));

    // Without the file all is as it was, and a page of the app shows its texts too.
    write(
        dir.path(),
        &[
            ("words.toml", german),
            ("error.html", "{{ language }} {{ title }} {{ info }}"),
        ],
    );
    clock.advance(Duration::from_secs(2));
    assert_eq!(show("de"), "de Fehler Etwas ging schief.");
    fs::remove_file(file).unwrap();
    fs::remove_file(dir.path().join("error.html")).unwrap();
    clock.advance(Duration::from_secs(2));
    assert!(show("en").contains("<h1>Page not found</h1>"));
}

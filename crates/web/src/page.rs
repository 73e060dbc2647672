//! The page for a fault, whatever is wrong with pages.

use std::path::Path;
use std::sync::Arc;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, ETAG, LAST_MODIFIED, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use mainstay_base::SystemClock;
use mainstay_fault::{Asked, Fault, Form, PageSet, Pages, answer};

use crate::panics::attempt;
use crate::report::TARGET;

/// The header with the code of the fault.
pub(crate) const FAULT_ID: HeaderName = HeaderName::from_static("x-fault-id");

/// What speaks of a body that is not sent.
const OF_THE_BODY: [HeaderName; 8] = [
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    ETAG,
    LAST_MODIFIED,
];

/// Answers of the app's own making.
pub(crate) type Render =
    Box<dyn Fn(&Asked, &Fault) -> Option<Response<Vec<u8>>> + Send + Sync + 'static>;

/// Where pages come from.
pub(crate) struct Source {
    render: Option<Render>,
    pages: Option<Pages>,
    built_in: PageSet,
}

impl Source {
    pub(crate) fn new(directory: Option<&Path>, fallback: &str, render: Option<Render>) -> Self {
        let pages = directory
            .map(|directory| Pages::open(directory, fallback, Arc::new(SystemClock::new())));
        Self {
            render,
            pages,
            built_in: PageSet::built_in().with_fallback(fallback),
        }
    }

    /// The answer to a fault. The app's own comes first, and its status stays that of the fault;
    /// what panics is passed over.
    pub(crate) fn answer(&self, asked: &Asked, fault: &Fault) -> Response<Vec<u8>> {
        let own = self.render.as_ref().and_then(|render| {
            attempt(|| render(asked, fault)).unwrap_or_else(|| {
                log::error!(target: TARGET, "the app's own page for {} panicked", fault.id());
                None
            })
        });
        let mut response = own
            .or_else(|| attempt(|| self.rendered(asked, fault)))
            .unwrap_or_else(|| bare(fault));
        if asked.form != Form::Grpc {
            *response.status_mut() = fault.status();
        }
        if asked.head {
            response.body_mut().clear();
        }
        response
    }

    fn rendered(&self, asked: &Asked, fault: &Fault) -> Response<Vec<u8>> {
        if let Some(pages) = &self.pages {
            pages.answer(asked, fault)
        } else {
            answer(asked, fault, &self.built_in).response
        }
    }
}

/// The least that is an answer.
fn bare(fault: &Fault) -> Response<Vec<u8>> {
    let text = format!("{} {}\n", fault.status().as_u16(), fault.id());
    let mut response = Response::new(text.into_bytes());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let none = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, none);
    response
}

/// The page's headers, and those of the answer that it stands for which are not about its body:
/// `Allow`, `WWW-Authenticate`, cookies, those of CORS.
pub(crate) fn take_over(page: &mut HeaderMap, mut old: HeaderMap) {
    for name in OF_THE_BODY {
        old.remove(name);
    }
    old.remove(TRANSFER_ENCODING);
    for value in old.get_all(VARY) {
        page.append(VARY, value.clone());
    }
    old.remove(VARY);
    let names: Vec<HeaderName> = old.keys().cloned().collect();
    for name in names {
        page.remove(&name);
        for value in old.get_all(&name) {
            page.append(name.clone(), value.clone());
        }
    }
}

/// Names the fault in an answer that is not ours.
pub(crate) fn mark(headers: &mut HeaderMap, fault: &Fault) {
    if let Ok(id) = HeaderValue::from_str(&fault.id().to_string()) {
        headers.insert(FAULT_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_fault::{Class, Verdict};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_is_taken_over() {
        let mut page = headers(&[
            ("content-type", "text/html"),
            ("vary", "Accept"),
            ("retry-after", "5"),
        ]);
        take_over(
            &mut page,
            headers(&[
                ("allow", "GET,HEAD"),
                ("content-type", "text/plain"),
                ("content-length", "3"),
                ("etag", "x"),
                ("vary", "Origin"),
                ("retry-after", "7"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
            ]),
        );
        let expected = headers(&[
            ("content-type", "text/html"),
            ("vary", "Accept"),
            ("vary", "Origin"),
            ("retry-after", "7"),
            ("allow", "GET,HEAD"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        assert_eq!(page, expected);
    }

    #[test]
    fn a_page_that_panics_or_lies_is_a_page() {
        let fault = Fault::told(Verdict::not_found(), "it");
        let asked = Asked::unknown();
        let panics = Source::new(None, "en", Some(Box::new(|_, _| panic!("in the page"))));
        let response = panics.answer(&asked, &fault);
        assert_eq!(response.status(), 404);
        assert!(
            String::from_utf8(response.into_body())
                .unwrap()
                .contains(&fault.id().to_string())
        );

        let lies = Source::new(
            None,
            "en",
            Some(Box::new(|_, _| Some(Response::new(vec![1])))),
        );
        let response = lies.answer(&asked, &fault);
        assert_eq!(
            (response.status().as_u16(), response.into_body()),
            (404, vec![1])
        );

        let last = bare(&Fault::told(Class::Panic, "it"));
        assert!(!last.body().is_empty());
    }
}

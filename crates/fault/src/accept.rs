//! What a client asks for: the form of an answer, and its language.
//!
//! Pure, and bounded: of a header only the first 4 KiB and the first 64 entries count.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};

/// How much of a header counts.
const HEADER_BYTES: usize = 4096;
const ENTRIES: usize = 64;
/// Longer tags of languages than this are none.
const TAG: usize = 35;

/// Weight of an entry, in thousandths, as RFC 9110 (section 12.4.2) writes it: `0.25` is 250.
type Weight = u16;
const FULL: Weight = 1000;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A page for a browser.
    Html,
    /// RFC 9457: `application/problem+json`.
    Problem,
    /// Text, for people at a terminal.
    Plain,
    /// gRPC: status and message in the headers, as an answer of trailers only.
    Grpc,
}

/// What is to be known of a request to answer it. It is no more than this, so that a layer that has
/// given the request away can still answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whether the body must be left out.
    pub head: bool,
    /// The form of the answer.
    pub form: Form,
    /// The languages that the client reads, the best first, as it writes them; at most 64.
    pub languages: Vec<String>,
}

impl Asked {
    /// From the method and the headers of a request.
    ///
    /// The form is, in this order: gRPC, if that is what came; what `Accept` names with the highest
    /// weight; HTML for what a browser loads as a document (`Sec-Fetch-Dest`); JSON, if that is what
    /// came; text. `*/*` names nothing: tools and scripts send it, and can't read a page.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        Self {
            head: method == Method::HEAD,
            form: form(headers),
            languages: languages(&joined(headers, &ACCEPT_LANGUAGE)),
        }
    }

    /// For a request of which nothing is known.
    pub const fn unknown() -> Self {
        Self {
            head: false,
            form: Form::Plain,
            languages: Vec::new(),
        }
    }
}

/// All headers of a name as one, as far as they count.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let mut all = String::new();
    for value in headers.get_all(name) {
        if all.len() >= HEADER_BYTES {
            break;
        }
        if !all.is_empty() {
            all.push(',');
        }
        let bytes = value.as_bytes();
        all.push_str(&String::from_utf8_lossy(
            &bytes[..bytes.len().min(HEADER_BYTES + 1)],
        ));
    }
    if all.len() > HEADER_BYTES {
        // The entry at the cut is not whole.
        let cut = crate::redact::cut(&all, HEADER_BYTES);
        let whole = cut.rfind(',').unwrap_or(0);
        all.truncate(whole);
    }
    all
}

/// The entries of a list with weights. One whose weight can't be read is left out.
fn entries(list: &str) -> impl Iterator<Item = (&str, Weight)> {
    list.split(',').take(ENTRIES).filter_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        for part in parts {
            if let Some((key, value)) = part.split_once('=')
                && key.trim_end().eq_ignore_ascii_case("q")
            {
                return Some((name, weight(value.trim())?));
            }
        }
        Some((name, FULL))
    })
}

fn weight(text: &str) -> Option<Weight> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(3)
        .fold(0, |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    match (whole, thousandths) {
        ("0", part) => Some(part),
        ("1", 0) => Some(FULL),
        _ => None,
    }
}

fn is_json(kind: &str) -> bool {
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

fn form(headers: &HeaderMap) -> Form {
    let text = |name: &HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let sent = text(&CONTENT_TYPE);
    // `application/grpc`, `application/grpc+proto`, `application/grpc-web+proto`.
    if sent
        .get(..16)
        .is_some_and(|start| start.eq_ignore_ascii_case("application/grpc"))
    {
        return Form::Grpc;
    }
    let mut best: Option<(Form, Weight)> = None;
    let mut anything = 0;
    let mut refused: Vec<Form> = Vec::new();
    for (range, weight) in entries(&joined(headers, &ACCEPT)) {
        let range = range.to_ascii_lowercase();
        let form = match range.as_str() {
            "*/*" | "*" => {
                anything = anything.max(weight);
                continue;
            }
            "text/html" | "application/xhtml+xml" => Form::Html,
            "text/plain" | "text/*" => Form::Plain,
            "application/*" => Form::Problem,
            kind if is_json(kind) => Form::Problem,
            _ => continue,
        };
        if weight == 0 {
            refused.push(form);
        } else if best.is_none_or(|(_, known)| weight > known) {
            best = Some((form, weight));
        }
    }
    if let Some((form, weight)) = best
        && weight >= anything
    {
        return form;
    }
    let destination = text(&HeaderName::from_static("sec-fetch-dest"));
    let is_document = ["document", "iframe", "frame", "embed", "object"]
        .iter()
        .any(|document| destination.eq_ignore_ascii_case(document));
    let by_request = if is_document {
        Form::Html
    } else if is_json(sent) {
        Form::Problem
    } else {
        Form::Plain
    };
    if refused.contains(&by_request) {
        let other = [Form::Plain, Form::Problem, Form::Html];
        // Who refuses all of them gets text: an answer that can't be read is better than none.
        return other
            .into_iter()
            .find(|form| !refused.contains(form))
            .unwrap_or(Form::Plain);
    }
    by_request
}

/// The tags of an `Accept-Language`, the heaviest first; of the same weight, as they stand.
fn languages(list: &str) -> Vec<String> {
    let mut all: Vec<(&str, Weight)> = entries(list)
        .filter(|(tag, weight)| *weight > 0 && is_tag(tag))
        .collect();
    all.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    all.into_iter().map(|(tag, _)| tag.to_owned()).collect()
}

/// Whether this has the form of a language tag (RFC 5646), or is `*`.
pub(crate) fn is_tag(tag: &str) -> bool {
    tag == "*"
        || tag.len() <= TAG
            && tag.split('-').all(|part| {
                (1..=8).contains(&part.len())
                    && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
            && tag.split('-').next().is_some_and(|first| {
                first.len() >= 2 && first.bytes().all(|byte| byte.is_ascii_alphabetic())
            })
}

/// Which of two ways Chinese is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Hant,
    Hans,
}

/// The script of a tag that means Chinese; `None`: it means another language. As CLDR's likely
/// subtags have it: what is written decides, then where it is spoken.
fn script(tag: &str) -> Option<Script> {
    let mut parts = tag.split('-');
    let language = parts.next()?;
    let mut found = match language {
        "zh" | "cmn" | "wuu" | "hsn" => Script::Hans,
        "yue" | "nan" | "hak" | "lzh" => Script::Hant,
        _ => return None,
    };
    for part in parts {
        match part {
            "hant" => return Some(Script::Hant),
            "hans" => return Some(Script::Hans),
            "tw" | "hk" | "mo" => found = Script::Hant,
            "cn" | "sg" | "my" => found = Script::Hans,
            _ => {}
        }
    }
    Some(found)
}

/// How well what there is fits what is asked for: less is better.
fn distance(asked: &str, have: &str) -> Option<usize> {
    if asked == have {
        return Some(0);
    }
    if let (Some(one), Some(other)) = (script(asked), script(have)) {
        // Whoever writes one page of plain `zh` has written it for all who read Chinese.
        let plain = have == "zh";
        return if plain {
            Some(60)
        } else {
            (one == other).then_some(10)
        };
    }
    let below = |long: &str, short: &str| {
        long.strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('-'))
    };
    if below(asked, have) {
        // RFC 4647, section 3.4: the range is cut from its end until it fits.
        Some(20 + asked.len() - have.len())
    } else if below(have, asked) {
        Some(80)
    } else {
        None
    }
}

/// The best of the languages that there are, as an index; `None`: none fits. Tags are compared
/// without case.
pub(crate) fn choose(asked: &[String], have: &[&str]) -> Option<usize> {
    let have: Vec<String> = have.iter().map(|tag| tag.to_ascii_lowercase()).collect();
    asked
        .iter()
        .map(|tag| tag.to_ascii_lowercase())
        .find_map(|asked| {
            have.iter()
                .enumerate()
                .filter_map(|(index, have)| Some((distance(&asked, have)?, index)))
                .min()
                .map(|(_, index)| index)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn asked(headers: &[(&'static str, &str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Asked::of(&Method::GET, &map)
    }

    const CHROME: &str =
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

    #[test]
    fn forms() {
        use Form::{Grpc, Html, Plain, Problem};
        type Case<'a> = (&'a [(&'static str, &'a str)], Form);
        let json = ("content-type", "application/json");
        let document = ("sec-fetch-dest", "document");
        let table: &[Case<'_>] = &[
            (&[], Plain),
            (&[("accept", CHROME)], Html),
            (&[("accept", CHROME), json], Html),
            (&[("accept", "*/*")], Plain),
            (&[("accept", "*/*"), json], Problem),
            (
                &[
                    ("accept", "*/*"),
                    ("content-type", "application/vnd.api+json; charset=utf-8"),
                ],
                Problem,
            ),
            (&[("accept", "*/*"), document], Html),
            (
                &[("accept", "*/*"), ("sec-fetch-dest", "empty"), json],
                Problem,
            ),
            (&[("accept", "*/*"), ("sec-fetch-dest", "empty")], Plain),
            (
                &[("accept", "*/*"), ("sec-fetch-dest", "iframe"), json],
                Html,
            ),
            (&[document], Html),
            (&[json], Problem),
            (
                &[("content-type", "application/x-www-form-urlencoded")],
                Plain,
            ),
            (&[("accept", "application/json")], Problem),
            (&[("accept", "application/problem+json")], Problem),
            (&[("accept", "application/vnd.shop.v2+json")], Problem),
            (&[("accept", "application/*")], Problem),
            (&[("accept", "application/json, text/plain, */*")], Problem),
            (&[("accept", "application/json"), document], Problem),
            (&[("accept", "text/plain")], Plain),
            (&[("accept", "text/*")], Plain),
            (&[("accept", "TEXT/HTML")], Html),
            (&[("accept", "text/html;q=0.5, application/json")], Problem),
            (
                &[("accept", "text/html;q=0.5, application/json;q=0.4")],
                Html,
            ),
            (
                &[("accept", "application/json;q=0.9, text/html;q=0.9")],
                Problem,
            ),
            (&[("accept", "text/html;q=0.1, */*")], Plain),
            (
                &[("accept", "text/html;level=1;q=0.1, text/plain; Q = 0.2")],
                Plain,
            ),
            (&[("accept", "text/html;q=0, */*"), document], Plain),
            (&[("accept", "text/plain;q=0, */*")], Problem),
            (
                &[(
                    "accept",
                    "text/plain;q=0, application/json;q=0, text/html;q=0",
                )],
                Plain,
            ),
            (&[("accept", "image/png")], Plain),
            (
                &[("accept", "image/png"), ("sec-fetch-dest", "image")],
                Plain,
            ),
            (
                &[("accept", "text/html;q=2, application/json;q=0.5")],
                Problem,
            ),
            (&[("accept", "text/html;q=x")], Plain),
            (&[("accept", ",,;q=1, ,")], Plain),
            (
                &[("accept", "text/plain;q=0.1"), ("accept", "text/html")],
                Html,
            ),
            (&[("content-type", "application/grpc")], Grpc),
            (
                &[
                    ("content-type", "application/grpc+proto"),
                    ("accept", "text/html"),
                ],
                Grpc,
            ),
            (&[("content-type", "application/grpc-web-text")], Grpc),
            (&[("content-type", "application/graphql")], Plain),
        ];
        for (headers, form) in table {
            assert_eq!(asked(headers).form, *form, "{headers:?}");
        }
        let head = Asked::of(&Method::HEAD, &HeaderMap::new());
        assert!(head.head && head.form == Form::Plain);
    }

    #[test]
    fn weights() {
        for (text, weight) in [
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("1.000", Some(1000)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.25", Some(250)),
            ("0.001", Some(1)),
            ("0.0001", None),
            ("1.001", None),
            ("2", None),
            ("-1", None),
            ("", None),
            ("0.x", None),
            ("NaN", None),
        ] {
            assert_eq!(super::weight(text), weight, "{text}");
        }
    }

    #[test]
    fn languages_come_by_weight() {
        let of = |list: &str| asked(&[("accept-language", list)]).languages.join(" ");
        for (list, expected) in [
            ("", ""),
            ("en", "en"),
            ("en;q=0.5, zh-TW", "zh-TW en"),
            ("en;q=0.5, fr;q=0.5, de;q=0.9", "de en fr"),
            ("en;q=0, fr", "fr"),
            ("*", "*"),
            ("../../etc/passwd, en", "en"),
            ("zh_TW, en", "en"),
            ("a, toolonglanguage, 12, en-, -en, en", "en"),
            ("en;q=0.1;x=y", "en"),
        ] {
            assert_eq!(of(list), expected, "{list}");
        }
    }

    #[test]
    fn chinese_is_two() {
        let have = ["en", "zh-Hant", "zh-Hans"];
        let of = |list: &str| {
            let asked = asked(&[("accept-language", list)]).languages;
            choose(&asked, &have).map_or("-", |index| have[index])
        };
        for (list, expected) in [
            ("zh-Hant", "zh-Hant"),
            ("zh-TW", "zh-Hant"),
            ("zh-tw", "zh-Hant"),
            ("zh-HK", "zh-Hant"),
            ("zh-MO", "zh-Hant"),
            ("zh-Hant-HK", "zh-Hant"),
            ("yue", "zh-Hant"),
            ("yue-CN", "zh-Hans"),
            ("zh-Hans", "zh-Hans"),
            ("zh-CN", "zh-Hans"),
            ("zh-SG", "zh-Hans"),
            ("zh", "zh-Hans"),
            ("cmn", "zh-Hans"),
            ("cmn-TW", "zh-Hant"),
            ("zh-Hans-TW", "zh-Hans"),
            ("zh-Hant-CN", "zh-Hant"),
            ("zh-TW,zh;q=0.9,en;q=0.8", "zh-Hant"),
            ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
            ("zh;q=0.8,en;q=0.9", "en"),
            ("en-GB", "en"),
            ("en-US,en;q=0.9,zh-TW;q=0.8", "en"),
            ("fr,zh-TW;q=0.1", "zh-Hant"),
            ("fr", "-"),
            ("zht", "-"),
            ("*", "-"),
            ("", "-"),
        ] {
            assert_eq!(of(list), expected, "{list}");
        }
    }

    #[test]
    fn pages_of_the_apps_own_languages() {
        for (asked, have, expected) in [
            ("zh-HK", vec!["zh-TW", "en"], Some(0)),
            ("zh-TW", vec!["zh-Hant", "zh-TW"], Some(1)),
            ("zh-TW", vec!["zh-CN", "en"], None),
            ("zh-TW", vec!["zh", "en"], Some(0)),
            ("zh-TW", vec!["zh", "zh-HK"], Some(1)),
            ("pt-BR", vec!["pt", "pt-BR"], Some(1)),
            ("pt-PT", vec!["pt-BR", "pt"], Some(1)),
            ("de-CH-1901", vec!["de", "de-CH"], Some(1)),
            ("de", vec!["en", "de-AT"], Some(1)),
            ("d", vec!["de"], None),
        ] {
            assert_eq!(
                choose(&[asked.to_owned()], &have),
                expected,
                "{asked} {have:?}"
            );
        }
    }

    #[test]
    fn a_hostile_header_costs_little() {
        let mut map = HeaderMap::new();
        let long = "zh-TW;q=0.1,".repeat(6000);
        map.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(&long).unwrap());
        map.insert(
            ACCEPT,
            HeaderValue::from_bytes(&vec![0xff; 65_000]).unwrap(),
        );
        for _ in 0..100 {
            map.append(ACCEPT_LANGUAGE, HeaderValue::from_str(&long).unwrap());
        }
        let asked = Asked::of(&Method::GET, &map);
        assert_eq!(asked.form, Form::Plain);
        assert_eq!(asked.languages.len(), ENTRIES);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(
            accept in prop::collection::vec(32_u8.., 0..200), language in "[ -~]{0,200}", sent in "[ -~]{0,40}",
        ) {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&accept) {
                map.insert(ACCEPT, value);
            }
            map.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(&language).unwrap());
            map.insert(CONTENT_TYPE, HeaderValue::from_str(&sent).unwrap());
            let asked = Asked::of(&Method::POST, &map);
            prop_assert!(asked.languages.len() <= ENTRIES);
            prop_assert!(asked.languages.iter().all(|tag| is_tag(tag)));
        }
    }
}

//! Which requests come from where they may come from.
//!
//! A page that someone visits can make their browser send requests here, with the password that the
//! browser keeps, and in the original every link does something. What changes something is therefore
//! refused when a browser says that another site asked for it, spec section 3.6. Programs that are no
//! browsers send none of these headers, and nothing is asked of them.
//!
//! A page can also have a name of its own point to a loopback address (DNS rebinding), and is then
//! the same site for the browser. A server on a loopback address without a password therefore
//! answers to names of this host only. With a password this is not needed, because the browser has
//! it for the right name only; and on other addresses the names are not known, and the network
//! reaches the server anyway.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN, REFERER, USER_AGENT};

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All that it asks for.
    Trusted,
    /// Nothing that changes something: another site asked for it.
    Foreign,
    /// Nothing that changes something before a person has said that they mean it: a browser that
    /// does not say who asked.
    Unsure,
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or(""))
}

/// Host and port of `http://host:port/path`.
fn authority(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    Some(authority.rsplit_once('@').map_or(authority, |(_, it)| it))
}

/// The same host and port, where those of `http` and `https` may be left out.
fn same_host(one: &str, other: &str) -> bool {
    let plain = |host: &str| {
        host.strip_suffix(":80")
            .or_else(|| host.strip_suffix(":443"))
            .unwrap_or(host)
            .to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

/// Judges who asked for a request.
pub(super) fn judge(headers: &HeaderMap) -> Verdict {
    static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    // The browser's own word, which also holds behind a proxy that changes `Host`. `none` is a
    // person who typed the address.
    if let Some(site) = text(headers, &SITE) {
        return match site {
            "same-origin" | "none" => Verdict::Trusted,
            _ => Verdict::Foreign,
        };
    }
    let host = text(headers, &HOST).unwrap_or("");
    let from = text(headers, &ORIGIN).or_else(|| text(headers, &REFERER));
    if let Some(from) = from {
        let own = authority(from).is_some_and(|from| same_host(from, host));
        return if own {
            Verdict::Trusted
        } else {
            Verdict::Foreign
        };
    }
    // Without TLS a browser does not send the first, and a page can keep it from sending the others
    // with what is but a link.
    let browser = text(headers, &USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/"));
    if browser {
        Verdict::Unsure
    } else {
        Verdict::Trusted
    }
}

/// The name in a `Host`, without its port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    match host.rsplit_once(':') {
        Some((name, _)) => name,
        None => host,
    }
}

/// Whether a server on a loopback address is meant by this `Host`. `known` are other names that it
/// answers to. No `Host` at all is no browser's.
pub(super) fn is_local(headers: &HeaderMap, known: &[String]) -> bool {
    let Some(host) = text(headers, &HOST).filter(|host| !host.is_empty()) else {
        return true;
    };
    let name = name_of(host);
    // An address cannot be made to point elsewhere.
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok()
        || known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The `Host` as it may stand in an answer: nothing but a name or an address and a port.
pub(super) fn clean_host(headers: &HeaderMap) -> Option<&str> {
    text(headers, &HOST).filter(|host| {
        !host.is_empty()
            && host.len() <= 255
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn who_asked() {
        use Verdict::{Foreign, Trusted, Unsure};
        let firefox = ("user-agent", "Mozilla/5.0 (X11)");
        let host = ("host", "box:9001");
        for (name, given, expected) in [
            ("a program", vec![host], Trusted),
            ("nothing", vec![], Trusted),
            ("curl", vec![host, ("user-agent", "curl/8")], Trusted),
            ("a silent browser", vec![host, firefox], Unsure),
            (
                "own page",
                vec![host, firefox, ("sec-fetch-site", "same-origin")],
                Trusted,
            ),
            (
                "typed",
                vec![host, firefox, ("sec-fetch-site", "none")],
                Trusted,
            ),
            (
                "another site",
                vec![host, firefox, ("sec-fetch-site", "cross-site")],
                Foreign,
            ),
            (
                "a neighbour",
                vec![host, firefox, ("sec-fetch-site", "same-site")],
                Foreign,
            ),
            ("rubbish", vec![host, ("sec-fetch-site", "x")], Foreign),
            (
                "another site behind its own referer",
                vec![
                    host,
                    ("sec-fetch-site", "cross-site"),
                    ("referer", "http://box:9001/"),
                ],
                Foreign,
            ),
            (
                "own page through a proxy",
                vec![
                    host,
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://admin.example"),
                ],
                Trusted,
            ),
            (
                "own origin",
                vec![host, ("origin", "http://box:9001")],
                Trusted,
            ),
            (
                "other port",
                vec![host, ("origin", "http://box:9002")],
                Foreign,
            ),
            ("other host", vec![host, ("origin", "http://evil")], Foreign),
            (
                "own host as user",
                vec![host, ("origin", "http://box:9001@evil")],
                Foreign,
            ),
            (
                "own host in the path",
                vec![host, ("referer", "http://evil/box:9001")],
                Foreign,
            ),
            ("sandbox", vec![host, ("origin", "null")], Foreign),
            (
                "own referer",
                vec![host, firefox, ("referer", "http://BOX:9001/?message=x")],
                Trusted,
            ),
            (
                "other referer",
                vec![host, ("referer", "http://evil/")],
                Foreign,
            ),
            (
                "origin before referer",
                vec![
                    host,
                    ("origin", "http://evil"),
                    ("referer", "http://box:9001/"),
                ],
                Foreign,
            ),
            (
                "usual port",
                vec![("host", "box"), ("origin", "https://box:443")],
                Trusted,
            ),
            ("no host", vec![("origin", "http://evil")], Foreign),
        ] {
            assert_eq!(judge(&headers(&given)), expected, "{name}");
        }
    }

    #[test]
    fn names_of_this_host() {
        let known = ["supervisor.lan".to_owned()];
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:9001", true),
            ("app.localhost:9001", true),
            ("127.0.0.1:9001", true),
            ("127.8.8.8", true),
            ("[::1]:9001", true),
            ("[::1]", true),
            ("supervisor.lan:9001", true),
            ("192.168.1.1:9001", true),
            ("", true),
            ("evil.example:9001", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9001", false),
            ("evil.example", false),
        ] {
            let given = headers(&[("host", host)]);
            assert_eq!(is_local(&given, &known), expected, "{host}");
        }
        assert!(is_local(&HeaderMap::new(), &[]));
    }

    #[test]
    fn hosts_in_answers() {
        for (host, expected) in [
            ("box:9001", true),
            ("[::1]:80", true),
            ("box/x", false),
            ("a b", false),
            ("<x>", false),
            ("", false),
        ] {
            let given = headers(&[("host", host)]);
            assert_eq!(clean_host(&given).is_some(), expected, "{host}");
        }
    }
}

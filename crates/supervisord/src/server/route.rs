//! Which request is for what.

use hyper::{Method, StatusCode};

use super::form::unquote;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A method.
    Rpc,
    /// The log of a process, by its name; of its errors?
    LogTail { name: String, stderr: bool },
    /// The log of the daemon.
    MainLogTail,
    /// The table.
    Status,
    /// The end of a log.
    Tail,
    /// Whether there is anybody.
    Alive,
    /// The style sheet.
    Style,
    /// The icon.
    Icon,
    /// Nothing there is.
    Not(StatusCode),
}

/// Reads method and path. The order in which things are tried is the original's, and so is which
/// methods are met with status 400 and which with 404.
pub(super) fn route(method: &Method, path: &str) -> Route {
    let path = unquote(path);
    if path.starts_with("/RPC2") {
        return if method == Method::POST {
            Route::Rpc
        } else {
            Route::Not(StatusCode::BAD_REQUEST)
        };
    }
    if path.starts_with("/logtail") || path.starts_with("/mainlogtail") {
        if method != Method::GET {
            return Route::Not(StatusCode::BAD_REQUEST);
        }
        return match path.strip_prefix("/logtail") {
            Some(rest) => log_tail(rest),
            None => Route::MainLogTail,
        };
    }
    let page = match path.trim_start_matches('/') {
        "" | "index.html" => Some(Route::Status),
        "tail.html" => Some(Route::Tail),
        "ok.html" => Some(Route::Alive),
        _ => None,
    };
    let reading = method == Method::GET || method == Method::HEAD;
    match (page, path.trim_start_matches('/')) {
        (Some(page), _) if reading || method == Method::POST => page,
        _ if !reading => Route::Not(StatusCode::BAD_REQUEST),
        (_, "stylesheets/supervisor.css") => Route::Style,
        (_, "images/icon.svg") => Route::Icon,
        _ => Route::Not(StatusCode::NOT_FOUND),
    }
}

/// What stands behind `/logtail`.
fn log_tail(rest: &str) -> Route {
    let not_found = Route::Not(StatusCode::NOT_FOUND);
    let Some(rest) = rest.strip_prefix('/') else {
        return not_found;
    };
    let (name, channel) = rest.split_once('/').unwrap_or((rest, "stdout"));
    match channel {
        "stdout" | "stderr" => Route::LogTail {
            name: name.to_owned(),
            stderr: channel == "stderr",
        },
        _ => not_found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let get = Method::GET;
        let not = |code: u16| Route::Not(StatusCode::from_u16(code).unwrap());
        let tail = |name: &str, stderr| Route::LogTail {
            name: name.to_owned(),
            stderr,
        };
        for (method, path, expected) in [
            (Method::POST, "/RPC2", Route::Rpc),
            (Method::POST, "/RPC2/", Route::Rpc),
            (Method::POST, "/RPC2anything", Route::Rpc),
            (Method::POST, "/%52PC2", Route::Rpc),
            (get.clone(), "/RPC2", not(400)),
            (Method::OPTIONS, "/RPC2", not(400)),
            (Method::POST, "/rpc2", not(400)),
            (get.clone(), "/logtail/web", tail("web", false)),
            (get.clone(), "/logtail/g%3Ap/stderr", tail("g:p", true)),
            (get.clone(), "/logtail/g:p/stdout", tail("g:p", false)),
            (get.clone(), "/logtail/web/stdin", not(404)),
            (get.clone(), "/logtail/web/stdout/", not(404)),
            (get.clone(), "/logtail/", tail("", false)),
            (get.clone(), "/logtail", not(404)),
            (Method::HEAD, "/logtail/web", not(400)),
            (Method::POST, "/mainlogtail", not(400)),
            (get.clone(), "/mainlogtail", Route::MainLogTail),
            (get.clone(), "/", Route::Status),
            (get.clone(), "//", Route::Status),
            (Method::POST, "/index.html", Route::Status),
            (Method::HEAD, "/index.html", Route::Status),
            (get.clone(), "/tail.html", Route::Tail),
            (get.clone(), "/ok.html", Route::Alive),
            (get.clone(), "/stylesheets/supervisor.css", Route::Style),
            (Method::POST, "/stylesheets/supervisor.css", not(400)),
            (get.clone(), "/images/icon.svg", Route::Icon),
            (get.clone(), "/../etc/passwd", not(404)),
            (get, "/favicon.ico", not(404)),
            (Method::DELETE, "/", not(400)),
            (Method::DELETE, "/x", not(400)),
        ] {
            assert_eq!(route(&method, path), expected, "{method} {path}");
        }
    }
}

//! Just enough HTTP/1.1 to post a body and read the answer (RFC 9110, RFC 9112): one connection that
//! is kept, no redirects, no proxies, everything within a time and a size.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use mainstay_base::tls::Tls;
use mainstay_base::{Clock, Credential, Resolver, Secret};

use super::backoff::{Backoff, Pause};
use super::connection::{Connection, Target, Timeouts};
use super::endpoint::{self, Net};
use super::losses::Losses;
use super::tls::TlsClient;
use crate::batch::{Batch, Entry, Unwritten};
use crate::error::{Error, Reason};

/// Where and how something is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// `http://…` or `https://…`, see [`check_url`].
    pub url: String,
    /// Headers beside those that belong to the protocol; for instance `Authorization`.
    pub headers: Vec<(String, Credential)>,
    /// TLS, for `https`.
    pub tls: Tls,
    /// How long to wait for the server.
    pub timeouts: Timeouts,
    /// Compresses what is posted.
    pub gzip: bool,
    /// So many bytes of records are posted at once. What a server finds too large is halved.
    pub largest: usize,
    /// How long a server that fails is left alone, where it says nothing itself.
    pub pause: Pause,
}

impl HttpConfig {
    /// The address without what may be a secret in it: no login, no query.
    pub(crate) fn place(&self) -> &str {
        let rest = self
            .url
            .split_once("//")
            .map_or(&*self.url, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        rest.rsplit_once('@').map_or(rest, |(_, place)| place)
    }

    /// The same with the values of headers that were only referred to.
    pub(crate) fn read_headers(&mut self, resolver: &Resolver) -> Result<(), Error> {
        for (name, value) in &mut self.headers {
            let read = value.read(name, resolver).map_err(|error| {
                let help = error.help().to_owned();
                let source = io::Error::other(format!("{error} ({help})"));
                Error::setup(format!("the header {name}"), source)
            })?;
            *value = Credential::Value(read);
        }
        Ok(())
    }

    /// A place, and defaults: no headers, [`Timeouts::default`], gzip, one mebibyte,
    /// [`Pause::CONNECT`].
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            tls: Tls::default(),
            timeouts: Timeouts::default(),
            gzip: true,
            largest: 1 << 20,
            pause: Pause::CONNECT,
        }
    }
}

/// Why something is no address that can be posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlError(&'static str);

impl std::fmt::Display for UrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.0)
    }
}

impl std::error::Error for UrlError {}

/// Why something is no name of a header that can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderError(&'static str);

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.0)
    }
}

impl std::error::Error for HeaderError {}

/// Checks the name of a header: a token (RFC 9110, 5.6.2), and none of those that belong to the
/// protocol.
pub fn check_header(name: &str) -> Result<(), HeaderError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderError(
            "the name of a header has letters, digits and - only",
        ));
    }
    if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(HeaderError("this header belongs to the protocol"));
    }
    Ok(())
}

/// Headers that frame a request: another one of these would make it another request.
const OWN_HEADERS: [&str; 9] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "user-agent",
];

#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    tls: bool,
    /// `host` or `host:port`, as written.
    authority: &'a str,
    /// `host:port`.
    address: String,
    path: &'a str,
}

/// Checks an address: `http` or `https`, a host, perhaps a port and a path; printable ASCII. A name
/// and password do not belong into it, since addresses are shown.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    parse(url).map(drop)
}

fn parse(url: &str) -> Result<Url<'_>, UrlError> {
    let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(UrlError("an address begins with http:// or https://")),
    };
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UrlError("an address has printable ASCII only"));
    }
    if url.contains('#') {
        return Err(UrlError("an address to post to has no fragment"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err(UrlError(
            "a name and password do not belong into an address: use the header Authorization",
        ));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return Err(UrlError("an address needs a host"));
    }
    let address = match port {
        None => format!("{host}:{}", if tls { 443 } else { 80 }),
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => authority.to_owned(),
        Some(_) => return Err(UrlError("the port of an address is a number up to 65535")),
    };
    Ok(Url {
        tls,
        authority,
        address,
        path,
    })
}

/// An answer, as far as it matters.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// At most [`MOST_BODY`] bytes of it.
    pub(super) body: Vec<u8>,
    reusable: bool,
}

const MOST_HEAD: usize = 32 << 10;
const MOST_BODY: usize = 64 << 10;
const MOST_HEADERS: usize = 64;
/// A server that asks for more patience than this is asked again all the same.
const MOST_PATIENCE: Duration = Duration::from_hours(1);

/// A client of one address.
pub(super) struct Http {
    config: HttpConfig,
    target: Target,
    /// Request line and headers up to the length.
    head: Secret,
    connection: Option<Connection>,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    trouble: Option<(io::ErrorKind, String)>,
}

impl Http {
    /// Checks address and headers, reads certificates. `path` is what an address without one means.
    pub(super) fn new(
        config: HttpConfig,
        path: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let invalid = |text: &str| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, text);
            Error::setup(config.url.clone(), source)
        };
        let url = parse(&config.url).map_err(|UrlError(text)| invalid(text))?;
        let tls = if url.tls {
            Some(TlsClient::load(&config.tls, endpoint::host(&url.address))?)
        } else {
            None
        };
        let path = match url.path {
            "" | "/" => path.to_owned(),
            query if query.starts_with('?') => format!("{path}{query}"),
            path => path.to_owned(),
        };
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: mainstay\r\n\
             Content-Type: application/json\r\nAccept: application/json\r\n",
            url.authority
        );
        if config.gzip {
            head.push_str("Content-Encoding: gzip\r\n");
        }
        for (name, value) in &config.headers {
            check_header(name).map_err(|HeaderError(text)| invalid(text))?;
            let Credential::Value(value) = value else {
                return Err(invalid(
                    "a header is a reference that was not read: call Config::with_secrets",
                ));
            };
            let value = value.expose();
            if !value
                .bytes()
                .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
            {
                return Err(invalid("the value of a header is one line of ASCII"));
            }
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        let target = Target {
            net: Net::Tcp,
            address: url.address,
            tls,
            timeouts: config.timeouts,
            keepalive: Some(Duration::from_secs(30)),
        };
        Ok(Self {
            backoff: Backoff::new(config.pause),
            target,
            head: Secret::new(head),
            connection: None,
            clock,
            trouble: None,
            config,
        })
    }

    /// The address.
    pub(super) fn url(&self) -> &str {
        &self.config.url
    }

    /// Reads certificates again; the next request makes a new connection.
    pub(super) fn reopen(&mut self) -> Result<(), Error> {
        if self.target.tls.is_some() {
            let host = endpoint::host(&self.target.address);
            self.target.tls = Some(TlsClient::load(&self.config.tls, host)?);
        }
        self.connection = None;
        Ok(())
    }

    /// Posts a body. After an error it is not known whether the server has it, unless the connection
    /// could not be made.
    fn post(&mut self, body: &[u8]) -> io::Result<Answer> {
        let now = self.clock.monotonic();
        if let Some((kind, text)) = &self.trouble
            && !self.backoff.is_over(now)
        {
            return Err(io::Error::new(*kind, text.clone()));
        }
        let result = self.try_post(body);
        match &result {
            Ok(_) => self.trouble = None,
            Err(error) => {
                self.backoff.failed(self.clock.monotonic());
                self.trouble = Some((error.kind(), Reason(error).to_string()));
            }
        }
        result
    }

    /// The server answered that it cannot take this now.
    fn hold(&mut self, answer: &Answer, text: &str) -> io::Error {
        let now = self.clock.monotonic();
        match answer.retry_after {
            Some(span) => self.backoff.hold(now, span.min(MOST_PATIENCE)),
            None => self.backoff.failed(now),
        }
        self.trouble = Some((io::ErrorKind::Other, text.to_owned()));
        io::Error::other(text.to_owned())
    }

    fn try_post(&mut self, body: &[u8]) -> io::Result<Answer> {
        let compressed;
        let body = if self.config.gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body)?;
            compressed = encoder.finish()?;
            &compressed
        } else {
            body
        };
        // A server closes a connection that was silent for long.
        let kept = self.connection.take();
        let kept = kept.and_then(|mut kept| kept.check().is_ok().then_some(kept));
        let mut connection = match kept {
            Some(kept) => kept,
            None => Connection::open(&self.target)?,
        };
        let head = format!(
            "{}Content-Length: {}\r\n\r\n",
            self.head.expose(),
            body.len()
        );
        let head = Secret::new(head);
        let until = Instant::now() + self.config.timeouts.write;
        connection.send(head.expose().as_bytes(), &mut 0, until)?;
        connection.send(body, &mut 0, until)?;
        let until = Instant::now() + self.config.timeouts.read;
        let mut read = |buffer: &mut [u8]| connection.receive(buffer, until);
        let answer = receive(&mut read, self.clock.now())?;
        if answer.reusable {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

/// Reads an answer by `read`, which returns 0 at the end.
fn receive(
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    now: Timestamp,
) -> io::Result<Answer> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head
            .parse(&bytes)
            .map_err(|_| invalid("the server's answer is no HTTP"))?;
        let httparse::Status::Complete(length) = parsed else {
            if bytes.len() > MOST_HEAD {
                return Err(invalid("the head of the server's answer has no end"));
            }
            match read(&mut chunk)? {
                0 => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection without an answer",
                    ));
                }
                more => bytes.extend_from_slice(&chunk[..more]),
            }
            continue;
        };
        let status = head.code.unwrap_or(0);
        if (100..200).contains(&status) {
            bytes.drain(..length);
            continue;
        }
        let header = |name: &str| {
            head.headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))
                .and_then(|header| std::str::from_utf8(header.value).ok())
                .map(str::trim)
        };
        let closes = head.version == Some(0)
            || header("connection").is_some_and(|value| {
                value
                    .split(',')
                    .any(|word| word.trim().eq_ignore_ascii_case("close"))
            });
        let retry_after = header("retry-after").and_then(|value| patience(value, now));
        let chunked = header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
        let promised = header("content-length").and_then(|value| value.parse::<usize>().ok());
        let kind = match (status, chunked, promised) {
            (204 | 304, ..) => Body::Length(0),
            (_, true, _) => Body::Chunked,
            (_, false, Some(length)) => Body::Length(length),
            (_, false, None) => Body::ToEnd,
        };
        let mut rest = bytes.split_off(length);
        let (body, whole) = receive_body(kind, &mut rest, read);
        return Ok(Answer {
            status,
            retry_after,
            body,
            reusable: whole && !closes,
        });
    }
}

#[derive(Clone, Copy)]
enum Body {
    Length(usize),
    Chunked,
    ToEnd,
}

/// Reads a body, as much of it as is kept. The status has said what matters: one that breaks off or
/// is too long costs the connection, not the answer.
fn receive_body(
    kind: Body,
    rest: &mut Vec<u8>,
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let whole = match kind {
            Body::Length(length) => {
                if rest.len() >= length {
                    rest.truncate(length);
                    return (std::mem::take(rest), true);
                }
                false
            }
            Body::Chunked => unchunk(rest, &mut body),
            Body::ToEnd => false,
        };
        if whole {
            return (body, true);
        }
        if rest.len() + body.len() > MOST_BODY {
            break;
        }
        match read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(more) => rest.extend_from_slice(&chunk[..more]),
        }
    }
    if !matches!(kind, Body::Chunked) {
        body.append(rest);
    }
    body.truncate(MOST_BODY);
    (body, false)
}

/// Moves whole chunks from `rest` to `body`. Returns whether that was all.
fn unchunk(rest: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
    loop {
        let Ok(httparse::Status::Complete((head, size))) = httparse::parse_chunk_size(rest) else {
            return false;
        };
        let Ok(size) = usize::try_from(size) else {
            return false;
        };
        if size == 0 {
            // Trailers, of which nobody sends any, would be taken for the next answer.
            return rest.get(head..) == Some(b"\r\n");
        }
        let Some(end) = head.checked_add(size) else {
            return false;
        };
        if rest.len() < end.saturating_add(2) {
            return false;
        }
        body.extend_from_slice(&rest[head..end]);
        rest.drain(..end + 2);
    }
}

/// What `Retry-After` says: seconds, or a date (RFC 9110, 10.2.3).
fn patience(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// What an answer means for what was posted.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// Give it again: later, or when a person has mended something.
    Later,
    /// Give it in smaller parts.
    TooLarge,
    /// Never give it again.
    Refused,
}

/// Which server errors pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// OTLP: 502, 503 and 504 alone ("Retryable Response Codes").
    Gateways,
    /// All of 500 to 599.
    All,
}

fn judge(status: u16, passing: Passing) -> Verdict {
    match status {
        200..300 => Verdict::Taken,
        // Busy; or a wrong address, password or proxy: that is mended, and then the records are worth
        // having.
        300..=399 | 401 | 403..=405 | 407 | 408 | 429 | 502..=504 => Verdict::Later,
        413 => Verdict::TooLarge,
        500..600 if passing == Passing::All => Verdict::Later,
        _ => Verdict::Refused,
    }
}

/// Posts a batch in parts. `encode` makes the body of some records; `accepted` looks at the answer of
/// a server that took it.
pub(super) fn post_batch(
    http: &mut Http,
    losses: &mut Losses,
    batch: &Batch<'_>,
    passing: Passing,
    mut encode: impl FnMut(&[Entry<'_>]) -> Vec<u8>,
    mut accepted: impl FnMut(&Answer, &[Entry<'_>], &mut Losses),
) -> Result<(), Unwritten> {
    let entries: Vec<Entry<'_>> = batch.entries().collect();
    let mut rest = entries.as_slice();
    let mut most = http.config.largest;
    let mut taken = 0;
    while !rest.is_empty() {
        let mut size = 0;
        let count = rest
            .iter()
            .take_while(|entry| {
                size += entry.bytes.len();
                size <= most
            })
            .count()
            .max(1);
        let (part, after) = rest.split_at(count);
        let answer = http
            .post(&encode(part))
            .map_err(|error| Unwritten { taken, error })?;
        let verdict = judge(answer.status, passing);
        let reason = || {
            let said = String::from_utf8_lossy(&answer.body);
            let said: String = said
                .chars()
                .take(200)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let said = said.trim().to_owned();
            let colon = if said.is_empty() { "" } else { ": " };
            format!(
                "{} answered {}{colon}{said}",
                http.config.url, answer.status
            )
        };
        match verdict {
            Verdict::Taken => {
                http.backoff.succeeded();
                accepted(&answer, part, losses);
            }
            Verdict::Later => {
                let text = reason();
                let error = http.hold(&answer, &text);
                return Err(Unwritten { taken, error });
            }
            Verdict::TooLarge if count > 1 => {
                most = part.iter().map(|entry| entry.bytes.len()).sum::<usize>() / 2;
                continue;
            }
            Verdict::TooLarge | Verdict::Refused => {
                let reason = reason();
                for entry in part {
                    losses.lose(entry.level, entry.time, &reason);
                }
            }
        }
        taken += part.iter().map(|entry| entry.bytes.len()).sum::<usize>();
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url = |tls, authority, address: &str, path| {
            Some(Url {
                tls,
                authority,
                address: address.to_owned(),
                path,
            })
        };
        for (text, expected) in [
            ("http://h", url(false, "h", "h:80", "")),
            ("https://h/a?b", url(true, "h", "h:443", "/a?b")),
            ("http://h:4318/", url(false, "h:4318", "h:4318", "/")),
            ("http://[::1]/x", url(false, "[::1]", "[::1]:80", "/x")),
            ("http://[::1]:9/x", url(false, "[::1]:9", "[::1]:9", "/x")),
            ("http://h?q", url(false, "h", "h:80", "?q")),
            ("ftp://h", None),
            ("h:80", None),
            ("http://", None),
            ("http://:80", None),
            ("http://h:0", None),
            ("http://h:x", None),
            ("http://u:p@h/", None),
            ("http://h/a b", None),
            ("http://h/a#b", None),
            ("http://h/\r\nX: y", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    /// Hands out `bytes` in parts of `step`.
    fn answer(bytes: &[u8], step: usize) -> io::Result<Answer> {
        let mut rest = bytes;
        let mut read = |buffer: &mut [u8]| {
            let count = rest.len().min(step).min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            Ok(count)
        };
        receive(&mut read, "2026-11-22T06:00:00Z".parse().unwrap())
    }

    /// Status, body, and whether the connection is kept.
    type Expected<'a> = Option<(u16, &'a str, bool)>;

    #[test]
    fn answers() {
        let huge = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MOST_HEAD + 9000));
        let table: [(&str, &str, Expected<'_>); 12] = [
            (
                "length",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                Some((200, "ok", true)),
            ),
            (
                "none",
                "HTTP/1.1 204 No Content\r\n\r\n",
                Some((204, "", true)),
            ),
            (
                "chunked",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x=y\r\n!\r\n0\r\n\r\n",
                Some((200, "ok!", true)),
            ),
            (
                "to the end",
                "HTTP/1.1 400 Bad\r\n\r\nwhy",
                Some((400, "why", false)),
            ),
            (
                "closes",
                "HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 0\r\n\r\n",
                Some((200, "", false)),
            ),
            (
                "go on first",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
                Some((503, "", true)),
            ),
            (
                "breaks off",
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
                Some((200, "ok", false)),
            ),
            (
                "old",
                "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
                Some((200, "", false)),
            ),
            ("nothing", "", None),
            ("half a head", "HTTP/1.1 200 OK\r\nA: b", None),
            ("no HTTP", "SSH-2.0-OpenSSH\r\n", None),
            ("no end", &huge, None),
        ];
        for (name, bytes, expected) in table {
            for step in [1, 7, 10_000] {
                let found = answer(bytes.as_bytes(), step).ok();
                let found = found.map(|answer| {
                    let body = String::from_utf8(answer.body).unwrap();
                    (answer.status, body, answer.reusable)
                });
                let expected =
                    expected.map(|(status, body, reusable)| (status, body.to_owned(), reusable));
                assert_eq!(found, expected, "{name} by {step}");
            }
        }
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "z".repeat(MOST_BODY * 3));
        let found = answer(endless.as_bytes(), 8192).unwrap();
        assert_eq!((found.body.len(), found.reusable), (MOST_BODY, false));
    }

    #[test]
    fn patience_of_servers() {
        let now = "2026-11-22T06:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            ("Sun, 22 Nov 2026 06:00:30 GMT", Some(30)),
            ("Sun, 22 Nov 2026 05:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                patience(text, now),
                expected.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn verdicts() {
        for (status, otlp, loki) in [
            (200, Verdict::Taken, Verdict::Taken),
            (204, Verdict::Taken, Verdict::Taken),
            (301, Verdict::Later, Verdict::Later),
            (400, Verdict::Refused, Verdict::Refused),
            (401, Verdict::Later, Verdict::Later),
            (413, Verdict::TooLarge, Verdict::TooLarge),
            (422, Verdict::Refused, Verdict::Refused),
            (429, Verdict::Later, Verdict::Later),
            (500, Verdict::Refused, Verdict::Later),
            (503, Verdict::Later, Verdict::Later),
        ] {
            assert_eq!(judge(status, Passing::Gateways), otlp, "{status}");
            assert_eq!(judge(status, Passing::All), loki, "{status}");
        }
    }
}

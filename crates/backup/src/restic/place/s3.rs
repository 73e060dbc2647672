//! A bucket of S3, or of what speaks like it.
//!
//! Of the protocol five requests are needed: get, put, head, delete and list, signed with version 4 of
//! Amazon's signatures
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>). They are sent by
//! the same blocking client as webhooks.

use std::fmt::Write as _;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use mainstay_base::{Clock, Credential, Resolver, Secret, SystemClock, hex, hmac_sha256, tls};
use sha2::{Digest, Sha256};
use ureq::http::Method;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy, SendBody};

use super::{Advised, Listed, Pace, Place, STRIDE, wait};
use crate::config::S3Config;

/// How often a request is tried that fails in a way that may pass, and how long the first pause is; each
/// further one is twice as long. Together they are 12 s.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(400);
/// How often, while no request has been answered: most likely there is nobody.
const TRIES_UNHEARD: u32 = 3;
/// A server may ask for a longer pause, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A body that is larger is sent when the server has said that it wants it: one that does not may close
/// the connection while it comes, and then nobody hears why.
const LARGE: u64 = 1 << 20;
/// Servers take no request that is older or newer; Amazon's say 15 minutes.
const SKEW: Duration = Duration::from_mins(14);
/// A server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_mins(1);
/// So slow a connection is as good as none: bytes in a second.
const SLOWEST: u64 = 20_000;
/// Of an error's text so much is read.
const WORDS: u64 = 16 << 10;

/// A bucket, or a part of one.
pub(in crate::restic) struct S3 {
    agent: Agent,
    config: S3Config,
    /// `https` or `http`.
    scheme: String,
    /// The host, with its port, as it is in the header.
    host: String,
    /// What is before the key in a path: the bucket, where it is not in the host.
    base: String,
    access_key: Secret,
    secret_key: Secret,
    pace: Option<Pace>,
    /// Whether the server has answered, and not been lost since.
    heard: AtomicBool,
}

/// What was answered.
struct Answer {
    status: u16,
    length: Option<u64>,
    /// Where in the file the body begins, if it is a part.
    start: Option<usize>,
    /// What the server's clock says.
    date: Option<Timestamp>,
    /// For how long the server wants to be left alone.
    pause: Option<Duration>,
    body: Vec<u8>,
}

struct Request<'a> {
    method: Method,
    /// The key below the prefix; nothing for the bucket itself.
    key: Option<&'a str>,
    /// Sorted by name.
    query: &'a [(&'a str, String)],
    range: Option<(u32, u32)>,
    body: &'a [Bytes],
}

impl S3 {
    pub(in crate::restic) fn new(
        config: &S3Config,
        resolver: &Resolver,
        pace: Option<Pace>,
    ) -> Result<Self, String> {
        let (scheme, host) = config
            .endpoint
            .split_once("://")
            .ok_or("its endpoint is no URL")?;
        let host = host.trim_end_matches('/');
        // A port that is the scheme's own is not sent, and must not be signed.
        let own = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(own).unwrap_or(host);
        let (host, base) = if config.path_style {
            (host.to_owned(), format!("/{}", config.bucket))
        } else {
            (format!("{}.{host}", config.bucket), String::new())
        };
        let secret = |key: &Credential, what: &str| {
            key.read(what, resolver)
                .map_err(|error| format!("{error}; {}", error.help()))
        };
        let access_key = secret(&config.access_key, "s3.access_key")?;
        // It is sent as it is, in the middle of a header.
        let goes = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if access_key.expose().is_empty() || !access_key.expose().bytes().all(goes) {
            return Err("what `s3.access_key` refers to is no key: check that it is the key's id alone, without spaces and commas".to_owned());
        }
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(SILENCE))
            .max_idle_connections_per_host(8)
            .proxy(None::<Proxy>)
            .user_agent("mainstay");
        if scheme == "https" {
            let certificates: Vec<_> = tls::authorities(config.ca.as_slice())
                .map_err(|error| format!("{error}; {}", error.help()))?
                .iter()
                .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
                .collect();
            builder = builder.tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::new_with_certs(&certificates))
                    .unversioned_rustls_crypto_provider(tls::provider())
                    .build(),
            );
        }
        Ok(Self {
            agent: builder.build().new_agent(),
            scheme: scheme.to_owned(),
            host,
            base,
            access_key,
            secret_key: secret(&config.secret_key, "s3.secret_key")?,
            config: config.clone(),
            pace,
            heard: AtomicBool::new(false),
        })
    }

    fn key(&self, path: &str) -> String {
        match self.config.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    /// Sends it, and again if that may help. Any answer that is none of trouble is one.
    fn send(&self, request: &Request<'_>) -> io::Result<Answer> {
        let mut pause = PAUSE;
        let mut tried = 1;
        loop {
            let (passing, answered, asked) = match self.send_once(request) {
                Ok(answer) => {
                    self.heard.store(true, Ordering::Relaxed);
                    match self.trouble(&answer) {
                        None => return Ok(answer),
                        Some((error, false)) => return Err(error),
                        Some((error, true)) => (error, true, answer.pause),
                    }
                }
                Err(Broken::Passing(error)) => (error, false, None),
                Err(Broken::Lasting(error)) => return Err(error),
            };
            let heard = self.heard.load(Ordering::Relaxed);
            if tried >= if heard { TRIES } else { TRIES_UNHEARD } {
                // What is asked for next (to take a lock away) need not wait as long for nobody.
                self.heard.fetch_and(answered, Ordering::Relaxed);
                return Err(passing);
            }
            log::debug!(target: "backup", "S3: {passing}; tried again");
            sleep(pause.max(asked.unwrap_or_default()));
            pause *= 2;
            tried += 1;
        }
    }

    fn send_once(&self, request: &Request<'_>) -> Result<Answer, Broken> {
        let path = match request.key {
            Some(key) => format!("{}/{}", self.base, encoded(&self.key(key), true)),
            None => format!("{}/", self.base),
        };
        let query = request
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value, false)))
            .collect::<Vec<_>>()
            .join("&");
        let mut hash = Sha256::new();
        let mut length = 0;
        for part in request.body {
            hash.update(part);
            length += part.len() as u64;
        }
        let signed = self.signature(
            SystemClock::new().now(),
            request.method.as_str(),
            &path,
            &query,
            &hex(&hash.finalize()),
        );
        let mut url = format!("{}://{}{path}", self.scheme, self.host);
        if !query.is_empty() {
            let _ = write!(url, "?{query}");
        }
        let mut built = ureq::http::Request::builder()
            .method(request.method.clone())
            .uri(url)
            .header("x-amz-date", signed.date)
            .header("x-amz-content-sha256", signed.content)
            .header("authorization", signed.authorization);
        let mut expected = length;
        if let Some((offset, length)) = request.range {
            let last = u64::from(offset) + u64::from(length) - 1;
            built = built.header("range", format!("bytes={offset}-{last}"));
            expected = length.into();
        }
        // Packs are larger than what is said here of a body that comes.
        let time = SILENCE + Duration::from_secs(expected.max(128 << 20) / SLOWEST);
        let answered = if request.method == Method::PUT {
            let mut body = Upload {
                parts: request.body,
                current: Cursor::new(Bytes::new()),
                pace: self.pace.as_ref(),
            };
            built = built.header("content-length", length);
            if length > LARGE {
                built = built.header("expect", "100-continue");
            }
            built
                .body(SendBody::from_reader(&mut body))
                .map_err(ureq::Error::Http)
                .and_then(|built| {
                    let built = self
                        .agent
                        .configure_request(built)
                        .timeout_global(Some(time))
                        .build();
                    self.agent.run(built)
                })
        } else {
            built.body(()).map_err(ureq::Error::Http).and_then(|built| {
                let built = self
                    .agent
                    .configure_request(built)
                    .timeout_global(Some(time))
                    .build();
                self.agent.run(built)
            })
        };
        let mut response = answered.map_err(|error| self.broken(&error))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let length = header("content-length").and_then(|value| value.parse().ok());
        let start = header("content-range").and_then(part_start);
        let date = header("date").and_then(|value| rfc2822::parse(value).ok());
        let pause = header("retry-after").and_then(|value| value.trim().parse().ok());
        let mut body = Vec::new();
        if request.method != Method::HEAD {
            let good = (200..300).contains(&status);
            let mut reader = response.body_mut().as_reader();
            let read = if good {
                self.download(&mut reader, &mut body)
            } else {
                reader.take(WORDS).read_to_end(&mut body).map(|_| ())
            };
            if good {
                read.map_err(|error| {
                    Broken::Passing(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        format!("the answer of {} broke off: {error}", self.host),
                    ))
                })?;
                if length.is_some_and(|length: u64| length != body.len() as u64) {
                    return Err(Broken::Passing(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        format!("the answer of {} broke off", self.host),
                    )));
                }
            }
        }
        Ok(Answer {
            status,
            length,
            start,
            date: date.map(|date| date.timestamp()),
            pause: pause.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
            body,
        })
    }

    fn download(&self, reader: &mut dyn Read, body: &mut Vec<u8>) -> io::Result<()> {
        if self.pace.is_none() {
            reader.read_to_end(body)?;
            return Ok(());
        }
        loop {
            let before = body.len();
            (&mut *reader).take(STRIDE as u64).read_to_end(body)?;
            if body.len() == before {
                return Ok(());
            }
            wait(self.pace.as_ref(), body.len() - before);
        }
    }

    /// What is wrong with an answer, and whether it may pass.
    fn trouble(&self, answer: &Answer) -> Option<(io::Error, bool)> {
        if (200..300).contains(&answer.status) {
            return None;
        }
        let text = String::from_utf8_lossy(&answer.body);
        let code = element(&text, "Code").unwrap_or_default();
        let said = element(&text, "Message").unwrap_or_default();
        let what = match (code.as_str(), said.as_str()) {
            ("", _) => format!("{} answered with status {}", self.host, answer.status),
            (code, "") => format!("{} answered: {code}", self.host),
            (code, said) => format!("{} answered: {code}: {said}", self.host),
        };
        let bucket = &self.config.bucket;
        // Not all servers have a word of its own for a time that is off.
        let off = (answer.status == 403)
            .then(|| skew(answer, SystemClock::new().now()))
            .flatten()
            .or_else(|| (code == "RequestTimeTooSkewed").then(String::new));
        if let Some(off) = off {
            let help = format!("set the clock of this machine{off}: signatures carry the time");
            let error = Advised::error(io::ErrorKind::PermissionDenied, what, help);
            return Some((error, false));
        }
        let (kind, help, passing) = match (answer.status, code.as_str()) {
            (_, "NoSuchBucket") => (
                io::ErrorKind::NotADirectory,
                format!("create the bucket `{bucket}`, or check `s3.bucket` in the config"),
                false,
            ),
            (
                _,
                "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AuthorizationHeaderMalformed",
            ) => (
                io::ErrorKind::PermissionDenied,
                "check what `s3.access_key` and `s3.secret_key` refer to, and `s3.region`"
                    .to_owned(),
                false,
            ),
            (507, _)
            | (_, "QuotaExceeded" | "XMinioStorageFull" | "StorageFull" | "EntityTooLarge") => (
                io::ErrorKind::StorageFull,
                format!(
                    "make room in the bucket `{bucket}`, or keep fewer snapshots, and try again; nothing was left half done"
                ),
                false,
            ),
            (404, _) => (io::ErrorKind::NotFound, String::new(), false),
            (401 | 403, _) => (
                io::ErrorKind::PermissionDenied,
                format!(
                    "the key must be allowed to list the bucket `{bucket}`, and to get, put and delete what is in it"
                ),
                false,
            ),
            (301 | 307, _) => (
                io::ErrorKind::Other,
                "check `s3.endpoint` and `s3.region`: the bucket is elsewhere".to_owned(),
                false,
            ),
            (status, _) => (
                io::ErrorKind::Other,
                "try again later; check `s3.endpoint`".to_owned(),
                status >= 500 || status == 429 || status == 408,
            ),
        };
        Some((Advised::error(kind, what, help), passing))
    }

    /// No answer at all.
    fn broken(&self, error: &ureq::Error) -> Broken {
        let host = &self.host;
        let advice = "check `s3.endpoint`, and that this host may connect to it";
        let passing = |kind, why: String| Broken::Passing(Advised::error(kind, why, advice));
        let no_tls = |fault: &rustls::Error| {
            Broken::Lasting(Advised::error(
                io::ErrorKind::ConnectionRefused,
                format!("no TLS with {host}: {fault}"),
                tls::help(fault),
            ))
        };
        match error {
            ureq::Error::Timeout(_) => passing(
                io::ErrorKind::TimedOut,
                format!("{host} did not answer in time"),
            ),
            ureq::Error::HostNotFound => Broken::Lasting(Advised::error(
                io::ErrorKind::HostUnreachable,
                format!("{host} has no address"),
                advice,
            )),
            ureq::Error::Rustls(fault) => no_tls(fault),
            ureq::Error::Tls(why) => Broken::Lasting(Advised::error(
                io::ErrorKind::ConnectionRefused,
                format!("no TLS with {host}: {why}"),
                advice,
            )),
            ureq::Error::Io(error) => match tls::fault(error) {
                Some(fault) => no_tls(fault),
                None => passing(error.kind(), format!("{host} cannot be reached: {error}")),
            },
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Broken::Lasting(Advised::error(
                io::ErrorKind::InvalidInput,
                format!("the address {host} is none"),
                advice,
            )),
            error => passing(
                io::ErrorKind::ConnectionReset,
                format!("the connection to {host} broke off: {error}"),
            ),
        }
    }

    /// The signature of a request, its time, and the digest of its body.
    fn signature(
        &self,
        now: Timestamp,
        method: &str,
        path: &str,
        query: &str,
        content: &str,
    ) -> Signed {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &date[..8];
        let region = &self.config.region;
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{}\nx-amz-content-sha256:{content}\nx-amz-date:{date}\n\n{names}\n{content}",
            self.host
        );
        let scope = format!("{day}/{region}/s3/aws4_request");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex(&Sha256::digest(&canonical))
        );
        let mut key = hmac_sha256(
            format!("AWS4{}", self.secret_key.expose()).as_bytes(),
            day.as_bytes(),
        );
        for part in [region.as_str(), "s3", "aws4_request"] {
            key = hmac_sha256(&key, part.as_bytes());
        }
        let signature = hex(&hmac_sha256(&key, to_sign.as_bytes()));
        Signed {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                self.access_key.expose()
            ),
            content: content.to_owned(),
            date,
        }
    }

    fn simple(&self, method: Method, path: &str) -> io::Result<Answer> {
        self.send(&Request {
            method,
            key: Some(path),
            query: &[],
            range: None,
            body: &[],
        })
    }

    /// Lists keys below a prefix, or with a delimiter the names right below it.
    fn keys(
        &self,
        prefix: &str,
        delimiter: bool,
        found: &mut dyn FnMut(String, u64, Option<SystemTime>),
    ) -> io::Result<()> {
        let prefix = self.key(prefix);
        let mut token = None;
        loop {
            let mut query = Vec::new();
            if let Some(token) = token.take() {
                query.push(("continuation-token", token));
            }
            if delimiter {
                query.push(("delimiter", "/".to_owned()));
            }
            query.push(("list-type", "2".to_owned()));
            query.push(("prefix", prefix.clone()));
            let answer = self.send(&Request {
                method: Method::GET,
                key: None,
                query: &query,
                range: None,
                body: &[],
            })?;
            let text = String::from_utf8_lossy(&answer.body);
            let part = listed(&text, &prefix).map_err(|why| {
                Advised::error(
                    io::ErrorKind::InvalidData,
                    format!("{} {why}", self.host),
                    "check that `s3.endpoint` is a server of S3, and that nobody on the way there answers in its place",
                )
            })?;
            for (name, size, modified) in part.names {
                found(name, size, modified);
            }
            token = part.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}

/// Why there was no answer.
enum Broken {
    Passing(io::Error),
    Lasting(io::Error),
}

struct Signed {
    authorization: String,
    content: String,
    date: String,
}

/// The parts of a body, one after the other, no faster than they may be.
struct Upload<'a> {
    parts: &'a [Bytes],
    current: Cursor<Bytes>,
    pace: Option<&'a Pace>,
}

impl Read for Upload<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let most = buffer.len().min(STRIDE);
            let count = self.current.read(&mut buffer[..most])?;
            if count > 0 || buffer.is_empty() {
                wait(self.pace, count);
                return Ok(count);
            }
            let Some((first, rest)) = self.parts.split_first() else {
                return Ok(0);
            };
            self.current = Cursor::new(first.clone());
            self.parts = rest;
        }
    }
}

impl Place for S3 {
    fn path(&self, path: &str) -> PathBuf {
        let path = self.key(path);
        PathBuf::from(format!(
            "s3:{}/{}/{path}",
            self.config.endpoint, self.config.bucket
        ))
    }

    fn top(&self) -> io::Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        self.keys("", true, &mut |name, _, _| {
            if !name.is_empty() {
                names.push(name);
            }
        })?;
        Ok(Some(names))
    }

    fn create(&self) -> io::Result<()> {
        // There are no directories.
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        self.keys(
            &format!("{directory}/"),
            false,
            &mut |name, size, modified| {
                let name = name.rsplit('/').next().unwrap_or_default().to_owned();
                found.push(Listed {
                    name,
                    size,
                    modified,
                });
            },
        )?;
        Ok(found)
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        let answer = self.simple(Method::HEAD, path)?;
        answer
            .length
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the server gives no length"))
    }

    fn read(&self, path: &str) -> io::Result<Bytes> {
        Ok(self.simple(Method::GET, path)?.body.into())
    }

    fn read_range(&self, path: &str, offset: u32, length: u32) -> io::Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let answer = self.send(&Request {
            method: Method::GET,
            key: Some(path),
            query: &[],
            range: Some((offset, length)),
            body: &[],
        })?;
        let bytes = Bytes::from(answer.body);
        // A server may give the whole instead. That it is a part is not always said by the status: rclone
        // answers with 200.
        let begins = answer.start.unwrap_or_else(|| {
            let part = answer.status == 206;
            if part { offset as usize } else { 0 }
        });
        (offset as usize)
            .checked_sub(begins)
            .map(|start| start..start + length as usize)
            .filter(|wanted| wanted.end <= bytes.len())
            .map(|wanted| bytes.slice(wanted))
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write(&self, path: &str, parts: &[Bytes]) -> io::Result<()> {
        self.send(&Request {
            method: Method::PUT,
            key: Some(path),
            query: &[],
            range: None,
            body: parts,
        })
        .map(drop)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.simple(Method::DELETE, path).map(drop)
    }
}

/// A part of a list.
struct Part {
    names: Vec<(String, u64, Option<SystemTime>)>,
    /// Where it goes on.
    next: Option<String>,
}

/// Reads a part of a list, with the names as they are behind the prefix. All of it must be there and be
/// understood: what a list leaves out is taken for lost, or for not needed.
fn listed(text: &str, prefix: &str) -> Result<Part, &'static str> {
    const ODD: &str = "lists what it was not asked for";
    let text = elements(text, "ListBucketResult")
        .next()
        .ok_or("does not answer with a list")?;
    let mut names = Vec::new();
    for entry in elements(text, "Contents") {
        let size = element(entry, "Size").and_then(|size| size.parse().ok());
        let (Some(key), Some(size)) = (element(entry, "Key"), size) else {
            return Err("lists something without its name or its size");
        };
        let modified = element(entry, "LastModified")
            .and_then(|text| text.parse::<Timestamp>().ok())
            .map(SystemTime::from);
        let name = key.strip_prefix(prefix).ok_or(ODD)?;
        names.push((name.to_owned(), size, modified));
    }
    for entry in elements(text, "CommonPrefixes") {
        let key = element(entry, "Prefix").ok_or(ODD)?;
        let name = key.strip_prefix(prefix).ok_or(ODD)?;
        names.push((name.trim_end_matches('/').to_owned(), 0, None));
    }
    let next = match element(text, "IsTruncated").as_deref() {
        Some("true") => {
            let next = element(text, "NextContinuationToken");
            Some(next.ok_or("does not say how its list goes on")?)
        }
        _ => None,
    };
    Ok(Part { names, next })
}

/// The names in a part of a list, and the token that leads to the next one.
#[cfg(fuzzing)]
pub fn names(text: &str, prefix: &str) -> Option<(Vec<String>, Option<String>)> {
    let part = listed(text, prefix).ok()?;
    let names = part.names.into_iter().map(|(name, ..)| name).collect();
    Some((names, part.next))
}

/// Where a part begins: `bytes 5-14/10205`.
fn part_start(range: &str) -> Option<usize> {
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

/// By how much the clock here differs from the server's, if that is more than servers bear.
fn skew(answer: &Answer, now: Timestamp) -> Option<String> {
    let behind = answer.date?.duration_since(now);
    let minutes = behind.unsigned_abs().as_secs() / 60;
    (behind.unsigned_abs() > SKEW).then(|| {
        let word = if behind.is_negative() {
            "ahead of"
        } else {
            "behind"
        };
        format!(" ({minutes} minutes {word} the server's)")
    })
}

/// As signatures want it: everything but letters, digits and `-._~` as `%XX`.
fn encoded(text: &str, path: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The texts of all elements of that name, as they stand there. What a list of keys has is never nested
/// in itself, and attributes in it say nothing.
fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find(&open)? + open.len()..];
            // Other names may begin alike.
            if rest.starts_with(['>', ' ', '\n', '\r', '\t']) {
                break;
            }
        }
        let inner = &rest[rest.find('>')? + 1..];
        let length = inner.find(&close)?;
        rest = &inner[length + close.len()..];
        Some(&inner[..length])
    })
}

/// The text of the first element of that name.
fn element(text: &str, name: &str) -> Option<String> {
    elements(text, name).next().map(plain)
}

/// `&#x10FFFF;`, and zeros before it.
const LONGEST_ENTITY: usize = 16;

/// What a text of XML stands for.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // None that is known is longer; a text may be nothing but the beginnings of such.
        let known = rest
            .bytes()
            .take(LONGEST_ENTITY)
            .position(|byte| byte == b';')
            .and_then(|end| Some((letter(&rest[1..end])?, end + 1)));
        let (letter, length) = known.unwrap_or(('&', 1));
        out.push(letter);
        rest = &rest[length..];
    }
    out + rest
}

/// The letter that an entity stands for.
fn letter(entity: &str) -> Option<char> {
    Some(match entity {
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "amp" => '&',
        _ => {
            let digits = entity.strip_prefix('#')?;
            let number = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => digits.parse(),
            };
            char::from_u32(number.ok()?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(path_style: bool) -> S3 {
        let key = |text: &str| Credential::Value(Secret::new(text.to_owned()));
        let config = S3Config {
            endpoint: "https://s3.amazonaws.com".to_owned(),
            bucket: "examplebucket".to_owned(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            access_key: key("AKIAIOSFODNN7EXAMPLE"),
            secret_key: key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            path_style,
            ca: None,
        };
        S3::new(&config, &resolver(), None).unwrap()
    }

    fn resolver() -> Resolver {
        Resolver::new(
            mainstay_base::Secrets::default(),
            std::collections::BTreeMap::new(),
        )
    }

    /// The example "GET Bucket (List Objects)" of Amazon's manual.
    #[test]
    fn requests_are_signed_as_the_manual_does() {
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        let empty = hex(&Sha256::digest(b""));
        let signed = s3(false).signature(now, "GET", "/", "max-keys=2&prefix=J", &empty);
        assert!(
            signed.authorization.ends_with(
                "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
            ),
            "{}",
            signed.authorization
        );
        assert!(
            signed
                .authorization
                .contains("Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request")
        );
    }

    #[test]
    fn buckets_are_in_the_path_or_in_the_host() {
        assert_eq!(s3(true).host, "s3.amazonaws.com");
        assert_eq!(s3(true).base, "/examplebucket");
        assert_eq!(s3(false).host, "examplebucket.s3.amazonaws.com");
        assert_eq!(s3(false).base, "");
    }

    #[test]
    fn a_port_that_is_the_schemes_own_is_not_signed() {
        for (endpoint, host) in [
            ("https://minio:443", "minio"),
            ("http://minio:80/", "minio"),
            ("http://minio:443", "minio:443"),
            ("https://[::1]:443", "[::1]"),
            ("https://minio:8443", "minio:8443"),
        ] {
            let mut config = s3(true).config.clone();
            config.endpoint = endpoint.to_owned();
            assert_eq!(S3::new(&config, &resolver(), None).unwrap().host, host);
        }
    }

    #[test]
    fn lists_are_read() {
        let entry = "<Contents><Key>a&#39;s/data/ab</Key><LastModified>2026-11-22T03:00:00.000Z</LastModified><Size>7</Size></Contents>";
        let below = "<CommonPrefixes><Prefix>a&apos;s/keys/</Prefix></CommonPrefixes>";
        let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b==</NextContinuationToken>";
        let list = |inner: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListBucketResult>"
            )
        };
        let part = listed(&list(&format!("{more}{entry}{below}")), "a's/").unwrap();
        assert_eq!(part.next.as_deref(), Some("a&b=="));
        let names: Vec<_> = part
            .names
            .iter()
            .map(|(name, size, _)| (name.as_str(), *size))
            .collect();
        assert_eq!(names, [("data/ab", 7), ("keys", 0)]);
        assert!(part.names[0].2.is_some());
        let last = listed(&list("<IsTruncated>false</IsTruncated>"), "").unwrap();
        assert!(last.names.is_empty() && last.next.is_none());
        let whole = list(entry);
        for (name, text) in [
            ("a page of somebody else", "<html>please log in</html>"),
            ("nothing", ""),
            ("cut off", &whole[..whole.len() - 5]),
            ("no size", &list("<Contents><Key>a's/x</Key></Contents>")),
            (
                "a size that is none",
                &list("<Contents><Key>a's/x</Key><Size>?</Size></Contents>"),
            ),
            (
                "another prefix",
                &list("<Contents><Key>b/x</Key><Size>1</Size></Contents>"),
            ),
            ("no next", &list("<IsTruncated>true</IsTruncated>")),
        ] {
            assert!(listed(text, "a's/").is_err(), "{name}");
        }
    }

    #[test]
    fn texts_are_what_they_stand_for() {
        for (text, expected) in [
            ("a&lt;b&gt;c", "a<b>c"),
            ("&quot;&#34;&#x22;&apos;&#39;", "\"\"\"''"),
            ("&amp;lt;", "&lt;"),
            ("&#228;&#xE4;ä", "äää"),
            ("R&D; &#xD800; &#; &", "R&D; &#xD800; &#; &"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert_eq!(element("<Code>", "Code"), None);
        let alike = "<KeyCount>1</KeyCount><Key>x</Key>";
        assert_eq!(element(alike, "Key").unwrap(), "x");
        assert_eq!(encoded("a b/ä+", true), "a%20b/%C3%A4%2B");
        assert_eq!(encoded("a/b", false), "a%2Fb");
        assert_eq!(part_start("bytes 5-14/10205"), Some(5));
        assert_eq!(part_start("bytes */10205"), None);
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let now: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        for (date, expected) in [
            ("Sun, 22 Nov 2026 03:00:00 GMT", None),
            ("Sun, 22 Nov 2026 03:13:00 GMT", None),
            (
                "Sun, 22 Nov 2026 04:05:30 GMT",
                Some(" (65 minutes behind the server's)"),
            ),
            (
                "Sun, 22 Nov 2026 02:40:00 GMT",
                Some(" (20 minutes ahead of the server's)"),
            ),
        ] {
            let answer = Answer {
                status: 403,
                length: None,
                start: None,
                date: Some(rfc2822::parse(date).unwrap().timestamp()),
                pause: None,
                body: Vec::new(),
            };
            assert_eq!(skew(&answer, now).as_deref(), expected, "{date}");
        }
    }

    #[test]
    fn what_cannot_be_in_a_header_is_no_key() {
        for text in ["", "a b", "a,b", "sch\u{fc}ssel", "a\r"] {
            let mut config = s3(true).config.clone();
            config.access_key = Credential::Value(Secret::new(text.to_owned()));
            let why = S3::new(&config, &resolver(), None).err().unwrap();
            assert!(why.contains("s3.access_key"), "{why}");
        }
    }
}

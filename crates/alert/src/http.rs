//! One HTTP request: a deadline over all of it, no redirects, no proxy, and no secret in what is
//! said of its failure.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_base::tls;
use ureq::http::Method;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use crate::channel::Failure;

/// How much of an answer is read: enough to say why.
const ANSWER: u64 = 4 << 10;

/// What is asked.
pub(crate) struct Request<'a> {
    /// What errors call the other side, as in `the webhook`.
    pub(crate) whom: &'static str,
    /// The key of the config that has the address.
    pub(crate) key: &'static str,
    pub(crate) method: Method,
    /// The whole address, which may be a secret.
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: &'a [u8],
    /// PEM files with the only authorities that are believed; the system's when empty.
    pub(crate) ca: &'a [PathBuf],
    /// How long all of it may take.
    pub(crate) timeout: Duration,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The begin of the body, of what came of it in time.
    pub(crate) text: String,
}

impl Request<'_> {
    /// Sends it. Any answer is one; a failure is that there was none, and may pass.
    pub(crate) fn send(&self) -> Result<Answer, Failure> {
        let secure = starts_with(self.url, "https://");
        if !secure && !starts_with(self.url, "http://") {
            return Err(Failure::temporary(
                format!(
                    "the address of {} does not begin with https:// or http://",
                    self.whom
                ),
                format!("check what `{}` refers to", self.key),
            ));
        }
        let mut request = ureq::http::Request::builder()
            .method(self.method.clone())
            .uri(self.url);
        for (name, value) in self.headers {
            request = request.header(*name, value);
        }
        let agent = self.agent(secure)?;
        let response = if self.body.is_empty() {
            request
                .body(())
                .map_err(ureq::Error::Http)
                .and_then(|request| agent.run(request))
        } else {
            request
                .body(self.body)
                .map_err(ureq::Error::Http)
                .and_then(|request| agent.run(request))
        };
        let mut response = response.map_err(|error| self.broken(&error))?;
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut text = Vec::new();
        // The status has been said; a body that breaks off or does not end takes nothing from it.
        let _ = response
            .body_mut()
            .as_reader()
            .take(ANSWER)
            .read_to_end(&mut text);
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    fn agent(&self, secure: bool) -> Result<Agent, Failure> {
        let mut builder = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            // A redirect would carry the alert, and its secret address, elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None::<Proxy>)
            .user_agent("mainstay");
        if secure {
            let certificates: Vec<_> = tls::authorities(self.ca)?
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
        Ok(builder.build().new_agent())
    }

    /// No answer at all. The library's own words may hold the URL, so they are not repeated where
    /// they could.
    fn broken(&self, error: &ureq::Error) -> Failure {
        let whom = self.whom;
        let no_tls = |fault: &rustls::Error| {
            Failure::temporary(format!("no TLS with {whom}: {fault}"), tls::help(fault))
        };
        match error {
            ureq::Error::Timeout(_) => Failure::temporary(
                format!("{whom} did not answer in time"),
                "check that the service is up and that no firewall swallows the connection",
            ),
            ureq::Error::HostNotFound => Failure::temporary(
                format!("the host of {whom} has no address"),
                "check the address, and the name servers of this host",
            ),
            ureq::Error::Rustls(fault) => no_tls(fault),
            ureq::Error::Io(error) => match tls::fault(error) {
                Some(fault) => no_tls(fault),
                None => Failure::temporary(
                    format!("{whom} cannot be reached: {error}"),
                    "check the address, and that this host may connect to it",
                ),
            },
            ureq::Error::Tls(why) => Failure::temporary(
                format!("no TLS with {whom}: {why}"),
                format!("check the host in what `{}` refers to", self.key),
            ),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::temporary(
                format!("the address of {whom} is not a URL"),
                format!("check what `{}` refers to", self.key),
            ),
            ureq::Error::Protocol(_) => Failure::temporary(
                format!("{whom} does not answer in HTTP"),
                "check the port in the address",
            ),
            _ => Failure::temporary(
                format!("the request to {whom} failed"),
                format!("check what `{}` refers to", self.key),
            ),
        }
    }
}

/// Schemes are written in any case (RFC 3986 section 3.1).
fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

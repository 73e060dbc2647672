//! Webhooks: one POST for each message, over HTTP or HTTPS.

use jiff::tz::TimeZone;
use mainstay_base::{Resolver, Secret};
use sha2::{Digest, Sha256};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use crate::channel::{Channel, Failure};
use crate::config::WebhookConfig;
use crate::dialect;
use crate::fingerprint::hex;
use crate::message::Message;
use crate::trust;

/// How much of an answer is read: enough to say why.
const ANSWER: u64 = 4 << 10;

/// A channel that posts to a URL.
pub(crate) struct WebhookChannel {
    name: String,
    config: WebhookConfig,
    zone: TimeZone,
    resolver: Resolver,
}

impl WebhookChannel {
    pub(crate) fn new(
        name: &str,
        config: WebhookConfig,
        zone: TimeZone,
        resolver: Resolver,
    ) -> Self {
        Self {
            name: name.to_owned(),
            config,
            zone,
            resolver,
        }
    }

    fn url(&self) -> Result<Secret, Failure> {
        let url = self
            .config
            .url
            .read("the URL of the webhook", &self.resolver)?;
        let Some(token) = &self.config.token else {
            return Ok(url);
        };
        let token = token.read("the token of the bot", &self.resolver)?;
        Ok(Secret::new(format!(
            "{}/bot{}/sendMessage",
            url.expose().trim_end_matches('/'),
            token.expose()
        )))
    }

    fn agent(&self, secure: bool) -> Result<Agent, Failure> {
        let mut builder = Agent::config_builder()
            .timeout_global(Some(self.config.timeout))
            .http_status_as_error(false)
            // A redirect would carry the alert, and its secret address, elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None::<Proxy>)
            .user_agent("mainstay");
        if secure {
            let certificates: Vec<_> = trust::authorities(&self.config.ca)?
                .iter()
                .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
                .collect();
            builder = builder.tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::new_with_certs(&certificates))
                    .unversioned_rustls_crypto_provider(trust::provider())
                    .build(),
            );
        }
        Ok(builder.build().new_agent())
    }

    fn post(&self, message: &Message) -> Result<(), Failure> {
        let url = self.url()?;
        let secure = url.expose().starts_with("https://");
        if !secure && !url.expose().starts_with("http://") {
            return Err(Failure::temporary(
                "the URL of the webhook does not begin with https:// or http://",
                "check what the channel's `url` refers to",
            ));
        }
        let agent = self.agent(secure)?;
        let body =
            dialect::body(self.config.dialect, message, &self.zone, &self.config.chat).to_string();
        let mut request = agent
            .post(url.expose())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", &message.id);
        if let Some(secret) = &self.config.secret {
            let secret = secret.read("the secret of the webhook's signature", &self.resolver)?;
            let signature = hmac_sha256(secret.expose().as_bytes(), body.as_bytes());
            let hex = hex(&signature);
            request = request.header("X-Mainstay-Signature-256", format!("sha256={hex}"));
        }
        let mut response = request
            .send(body.as_bytes())
            .map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let header = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let answer = response
            .body_mut()
            .with_config()
            .limit(ANSWER)
            .lossy_utf8(true)
            .read_to_string()
            .unwrap_or_default();
        judge(status, header.as_deref(), &answer, &[url.expose()])
    }
}

impl Channel for WebhookChannel {
    fn recipients(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn deliver(&self, message: &Message, to: &[String]) -> Vec<Result<(), Failure>> {
        let result = self.post(message);
        to.iter().map(|_| result.clone()).collect()
    }
}

/// What an answer means: 2xx is taken, 408, 429 and 5xx may pass, everything else will not.
fn judge(
    status: u16,
    retry_after: Option<&str>,
    answer: &str,
    secrets: &[&str],
) -> Result<(), Failure> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let mut said = dialect::excerpt(answer);
    for secret in secrets {
        said = said.replace(secret, "***");
    }
    let why = if said.is_empty() {
        format!("the webhook answered with status {status}")
    } else {
        format!("the webhook answered with status {status}: {said}")
    };
    let temporary = status >= 500 || matches!(status, 408 | 429);
    let help = match status {
        401 | 403 | 404 | 410 => {
            "the address or the token is not valid any more: make a new one and put it where the config refers to"
        }
        300..400 => "the address has moved: put the new one where the config refers to",
        413 | 400 | 422 => "check `kind` of the channel, and for Telegram `chat`",
        429 => "nothing: it is tried again when the service asks for it",
        _ if temporary => "nothing: it is tried again",
        _ => "check `kind` and `url` of the channel",
    };
    Err(Failure {
        temporary,
        why,
        help: help.to_owned(),
        retry_after: dialect::retry_after(retry_after, answer),
    })
}

/// No answer at all. The library's own words may hold the URL, so they are not repeated where they
/// could.
fn broken(error: &ureq::Error) -> Failure {
    let (why, help) = match error {
        ureq::Error::Timeout(_) => (
            "the webhook did not answer in time".to_owned(),
            "check that the service is up and that no firewall swallows the connection",
        ),
        ureq::Error::HostNotFound => (
            "the host of the webhook has no address".to_owned(),
            "check the address, and the name servers of this host",
        ),
        ureq::Error::Io(error) => (
            format!("the webhook cannot be reached: {error}"),
            "check the address, and that this host may connect to it",
        ),
        ureq::Error::Rustls(error) => (
            format!("no TLS with the webhook: {error}"),
            "check that the server's certificate is for this name and signed by an authority in `ca`",
        ),
        ureq::Error::Tls(why) => (
            format!("no TLS with the webhook: {why}"),
            "check the address and `ca` of the channel",
        ),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => (
            "the URL of the webhook is not a URL".to_owned(),
            "check what the channel's `url` refers to",
        ),
        ureq::Error::Protocol(_) => (
            "the webhook does not answer in HTTP".to_owned(),
            "check the port in the address",
        ),
        _ => (
            "the request to the webhook failed".to_owned(),
            "check the address of the webhook",
        ),
    };
    Failure::temporary(why, help)
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn hmac() {
        for (key, text, expected) in [
            (
                vec![0x0b; 20],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac_sha256(&key, text.as_bytes())), expected);
        }
    }

    #[test]
    fn answers() {
        for (status, header, expected) in [
            (200, None, None),
            (204, None, None),
            (302, None, Some(false)),
            (400, None, Some(false)),
            (404, None, Some(false)),
            (408, None, Some(true)),
            (429, Some("5"), Some(true)),
            (500, None, Some(true)),
            (503, Some("5"), Some(true)),
        ] {
            let judged = judge(
                status,
                header,
                "no, https://h/SECRET is\nbad",
                &["https://h/SECRET"],
            );
            assert_eq!(
                judged.as_ref().err().map(|f| f.temporary),
                expected,
                "{status}"
            );
            if let Err(failure) = judged {
                assert!(!failure.why.contains("SECRET"), "{failure}");
                assert_eq!(failure.retry_after.is_some(), header.is_some());
            }
        }
    }
}

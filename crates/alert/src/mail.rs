//! Mail by SMTP (RFC 5321), as MIME (RFC 2045) with the headers that mail programs sort by.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, SmtpConnection, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use mainstay_base::Resolver;

use crate::channel::{Channel, Failure};
use crate::config::{MailConfig, Tls};
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::text;
use crate::trust;

/// Headers that are ours to set.
const OWN_HEADERS: [&str; 12] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "sender",
    "auto-submitted",
];

/// A channel that sends mail.
pub(crate) struct MailChannel {
    config: MailConfig,
    from: Mailbox,
    to: Vec<Mailbox>,
    host: String,
    zone: TimeZone,
    resolver: Resolver,
}

impl MailChannel {
    pub(crate) fn new(
        name: &str,
        config: MailConfig,
        host: &str,
        zone: TimeZone,
        resolver: Resolver,
    ) -> Result<Self, Error> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>().map_err(|error| {
                Error::new(
                    ErrorKind::Config,
                    format!("send mail by the channel `{name}`"),
                    format!("`{text}` is no mail address: {error}"),
                    "write ops@example.com or Ops <ops@example.com>",
                )
            })
        };
        let to = config
            .to
            .iter()
            .map(|text| mailbox(text))
            .collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("send mail by the channel `{name}`"),
                "it has no recipient",
                "name at least one address in `to`",
            ));
        }
        for (header, value) in &config.headers {
            check_header(header, value).map_err(|why| {
                Error::new(
                    ErrorKind::Config,
                    format!("send mail by the channel `{name}`"),
                    why,
                    "remove or rename the header",
                )
            })?;
        }
        Ok(Self {
            from: mailbox(&config.from)?,
            to,
            config,
            host: host.to_owned(),
            zone,
            resolver,
        })
    }

    /// The whole mail, headers and body.
    fn compose(&self, message: &Message) -> Result<Vec<u8>, Failure> {
        let domain = self.from.email.domain();
        let mut builder = Mail::builder()
            .from(self.from.clone())
            .subject(text::subject(message))
            .date(SystemTime::from(message.at))
            .message_id(Some(format!("<{}@{domain}>", message.id)))
            // RFC 3834: nobody's holiday notice answers a machine.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        for (name, value) in &self.config.headers {
            if let Ok(name) = HeaderName::new_from_ascii(name.clone()) {
                builder = builder.raw_header(HeaderValue::new(name, value.clone()));
            }
        }
        builder
            .body(text::full(message, &self.zone))
            .map(|mail| mail.formatted())
            .map_err(|error| {
                Failure::permanent(
                    format!("cannot compose the mail: {error}"),
                    "check `from`, `to` and `headers` of the channel",
                )
            })
    }

    fn connect(&self) -> Result<SmtpConnection, Failure> {
        let config = &self.config;
        let server = format!("{}:{}", config.host, config.port);
        let hello = ClientId::Domain(hello_name(&self.host));
        let tls = match config.tls {
            Tls::None => None,
            Tls::Required | Tls::Opportunistic | Tls::Implicit => Some(self.tls()?),
        };
        let failed = |step: &str, error: &SmtpError| transport_failure(&server, step, error);
        let at_once = tls.as_ref().filter(|_| config.tls == Tls::Implicit);
        let mut connection = SmtpConnection::connect(
            (config.host.as_str(), config.port),
            Some(config.timeout),
            &hello,
            at_once,
            None,
        )
        .map_err(|error| failed("connect", &error))?;
        match (config.tls, &tls) {
            (Tls::Required, Some(tls)) => {
                if !connection.can_starttls() {
                    connection.abort();
                    return Err(Failure::temporary(
                        format!("{server} does not offer STARTTLS, and the channel asks for it"),
                        "use `tls = \"implicit\"` with port 465, or `tls = \"none\"` for a relay on a network you trust",
                    ));
                }
                connection
                    .starttls(tls, &hello)
                    .map_err(|error| failed("begin TLS", &error))?;
            }
            (Tls::Opportunistic, Some(tls)) if connection.can_starttls() => {
                connection
                    .starttls(tls, &hello)
                    .map_err(|error| failed("begin TLS", &error))?;
            }
            _ => {}
        }
        if let Some(user) = &config.user {
            if !connection.is_encrypted() && config.tls != Tls::None {
                connection.abort();
                return Err(Failure::temporary(
                    format!("{server} offers no TLS, and a password is not sent in the clear"),
                    "use another server, or `tls = \"none\"` on a network you trust",
                ));
            }
            let password = match &config.password {
                Some(password) => {
                    password.read("the password of the mail server", &self.resolver)?
                }
                None => mainstay_base::Secret::new(""),
            };
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                .map_err(|error| {
                    // A refused password is mended in the config; the message can wait for that.
                    Failure::temporary(
                        format!(
                            "{server} does not accept the login of `{user}`: {}",
                            words(&error)
                        ),
                        "check `user` and the password of the channel",
                    )
                })?;
        }
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, Failure> {
        let refused = |error: SmtpError| {
            Failure::temporary(
                format!("cannot prepare TLS for {}: {error}", self.config.host),
                "check `server` and `ca` of the channel",
            )
        };
        let mut builder = TlsParameters::builder(self.config.host.clone())
            .certificate_store(CertificateStore::None);
        for der in trust::authorities(&self.config.ca)? {
            builder =
                builder.add_root_certificate(Certificate::from_der(der.to_vec()).map_err(refused)?);
        }
        builder.build_rustls().map_err(refused)
    }

    /// One mail to these addresses; what the server says of each.
    fn send(
        &self,
        message: &Message,
        to: &[&Mailbox],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mail = self.compose(message)?;
        let mut connection = self.connect()?;
        let outcome = self.converse(&mut connection, &mail, to);
        match &outcome {
            Ok(_) => {
                let _ = connection.quit();
            }
            Err(_) => connection.abort(),
        }
        outcome
    }

    fn converse(
        &self,
        connection: &mut SmtpConnection,
        mail: &[u8],
        to: &[&Mailbox],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let server = format!("{}:{}", self.config.host, self.config.port);
        let mut parameters = Vec::new();
        if !mail.is_ascii()
            && connection
                .server_info()
                .supports_feature(Extension::EightBitMime)
        {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let addresses: Vec<&Address> = to.iter().map(|mailbox| &mailbox.email).collect();
        let utf8 = std::iter::once(&self.from.email)
            .chain(addresses.iter().copied())
            .any(|address| !AsRef::<str>::as_ref(address).is_ascii());
        if utf8
            && connection
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
        {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = Some(self.from.email.clone());
        connection
            .command(MailFrom::new(from, parameters))
            .map_err(|error| {
                refusal(
                    &format!("{server} does not take mail from {}", self.from.email),
                    &error,
                )
            })?;
        let mut results = Vec::new();
        for address in &addresses {
            match connection.command(Rcpt::new((*address).clone(), Vec::new())) {
                Ok(_) => results.push(Ok(())),
                Err(error) if error.status().is_some() => results.push(Err(refusal(
                    &format!("{server} does not take mail for {address}"),
                    &error,
                ))),
                Err(error) => {
                    return Err(transport_failure(&server, "name the recipients", &error));
                }
            }
        }
        if results.iter().all(Result::is_err) {
            return Ok(results);
        }
        let said = connection
            .command(Data)
            .and_then(|_| connection.message(mail));
        if let Err(error) = said {
            let failure = if error.status().is_some() {
                refusal(&format!("{server} does not take the mail"), &error)
            } else {
                transport_failure(&server, "hand over the mail", &error)
            };
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(failure.clone());
            }
        }
        Ok(results)
    }
}

impl Channel for MailChannel {
    fn recipients(&self) -> Vec<String> {
        self.to.iter().map(|to| to.email.to_string()).collect()
    }

    fn deliver(&self, message: &Message, to: &[String]) -> Vec<Result<(), Failure>> {
        let known: Vec<Option<&Mailbox>> = to
            .iter()
            .map(|name| self.to.iter().find(|to| to.email.to_string() == *name))
            .collect();
        let present: Vec<&Mailbox> = known.iter().flatten().copied().collect();
        let mut said = if present.is_empty() {
            Vec::new()
        } else {
            match self.send(message, &present) {
                Ok(results) => results,
                Err(failure) => vec![Err(failure); present.len()],
            }
        }
        .into_iter();
        known
            .iter()
            .zip(to)
            .map(|(known, name)| match known {
                Some(_) => said.next().unwrap_or_else(|| {
                    Err(Failure::temporary(
                        format!("nothing was heard about {name}"),
                        "nothing: it is tried again",
                    ))
                }),
                None => Err(Failure::permanent(
                    format!("{name} is no recipient of the channel any more"),
                    "nothing, if that is as it should be",
                )),
            })
            .collect()
    }
}

/// The name that EHLO tells: the host's, or an address where that is no domain name
/// (RFC 5321 section 4.1.4).
fn hello_name(host: &str) -> String {
    let plain = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if plain {
        host.to_owned()
    } else {
        "[127.0.0.1]".to_owned()
    }
}

/// Why a header of the config cannot be sent.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), String> {
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("the header `{name}` is set by mainstay itself"));
    }
    // RFC 5322 section 2.2: printable ASCII without the colon.
    if HeaderName::new_from_ascii(name.to_owned()).is_err()
        || !name.bytes().all(|byte| (33..=126).contains(&byte))
    {
        return Err(format!("`{name}` is no name of a header"));
    }
    if value.contains(['\r', '\n']) {
        return Err(format!("the header `{name}` has more than one line"));
    }
    Ok(())
}

fn words(error: &SmtpError) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    error
        .to_string()
        .replace(['\r', '\n'], " ")
        .trim()
        .to_owned()
}

/// The server said no (RFC 5321 section 4.2.1): 4yz may pass, 5yz will not, but for a login that is
/// missing, which is mended in the config.
fn refusal(what: &str, error: &SmtpError) -> Failure {
    let status = error.status().map(|code| code.to_string());
    let mend = matches!(status.as_deref(), Some("530" | "534" | "535" | "538"));
    let why = format!("{what}: {}", words(error));
    if error.is_permanent() && !mend {
        Failure::permanent(
            why,
            "check the addresses of the channel with who runs the mail server",
        )
    } else if mend {
        Failure::temporary(why, "check `user`, the password and `tls` of the channel")
    } else {
        Failure::temporary(why, "nothing: it is tried again")
    }
}

fn transport_failure(server: &str, step: &str, error: &SmtpError) -> Failure {
    let help = if error.is_tls() {
        "check that the server's certificate is for this name and signed by an authority in `ca`"
    } else if error.is_timeout() {
        "check that the server is up and that no firewall swallows the connection"
    } else {
        "check `server` and `tls` of the channel, and that the server is up"
    };
    Failure::temporary(format!("cannot {step} at {server}: {}", words(error)), help)
}

/// The least and the most that a server may take to answer.
pub(crate) const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

//! Mail by SMTP (RFC 5321), as MIME (RFC 2045) with the headers that mail programs sort by.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message as Mail};
use mainstay_base::{Resolver, Secret, base64, is_composed_header, tls};

use crate::channel::{Channel, Failure};
use crate::config::{MailConfig, Tls};
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::smtp::{Conversation, Protection, Reply, Trouble};
use crate::text;

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
            .subject(format!("{}{}", self.config.subject, text::subject(message)))
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

    fn connect(&self) -> Result<Conversation, Failure> {
        let config = &self.config;
        let tls = match config.tls {
            Tls::None => None,
            Tls::Required | Tls::Opportunistic | Tls::Implicit => Some(self.protection()?),
        };
        let at_once = tls.as_ref().filter(|_| config.tls == Tls::Implicit);
        let hello = hello_name(&self.host);
        let mut conversation =
            Conversation::begin(&config.host, config.port, config.timeout, hello, at_once)
                .map_err(|trouble| self.failure("connect", &trouble))?;
        let mut encrypted = at_once.is_some();
        if let (Tls::Required | Tls::Opportunistic, Some(tls)) = (config.tls, &tls) {
            if conversation.offer("STARTTLS").is_some() {
                conversation = conversation
                    .start_tls(tls)
                    .map_err(|trouble| self.failure("begin TLS", &trouble))?;
                encrypted = true;
            } else if config.tls == Tls::Required {
                conversation.end();
                return Err(Failure::temporary(
                    format!(
                        "{} does not offer STARTTLS, and the channel asks for it",
                        self.server()
                    ),
                    "use `tls = \"implicit\"` with port 465, or `tls = \"none\"` for a relay on a network you trust",
                ));
            }
        }
        if let Some(user) = &config.user {
            if !encrypted && config.tls != Tls::None {
                conversation.end();
                return Err(Failure::temporary(
                    format!(
                        "{} offers no TLS, and a password is not sent in the clear",
                        self.server()
                    ),
                    "use another server, or `tls = \"none\"` on a network you trust",
                ));
            }
            let password = match &config.password {
                Some(password) => {
                    password.read("the password of the mail server", &self.resolver)?
                }
                None => Secret::new(""),
            };
            conversation
                .log_in(user, &password)
                .map_err(|trouble| self.login_failure(user, &password, &trouble))?;
        }
        Ok(conversation)
    }

    fn server(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// A login that is refused is mended in the config; the message can wait for that.
    fn login_failure(&self, user: &str, password: &Secret, trouble: &Trouble) -> Failure {
        let mut why = trouble.to_string();
        // A server that says what it was told.
        let encoded = [
            base64(password.expose().as_bytes()),
            base64(format!("\0{user}\0{}", password.expose()).as_bytes()),
        ];
        for secret in encoded
            .iter()
            .map(String::as_str)
            .chain([password.expose()])
        {
            if !secret.is_empty() {
                why = why.replace(secret, "***");
            }
        }
        Failure::temporary(
            format!(
                "{} does not accept the login of `{user}`: {why}",
                self.server()
            ),
            "check `user` and the password of the channel",
        )
    }

    fn protection(&self) -> Result<Protection, Failure> {
        let tls = tls::Tls {
            ca: self.config.ca.clone(),
            ..tls::Tls::default()
        };
        Ok(Protection {
            name: tls.name(&self.config.host)?,
            config: tls.client()?,
        })
    }

    /// What goes wrong at a step that a server has no reason to refuse.
    fn failure(&self, step: &str, trouble: &Trouble) -> Failure {
        let help = match trouble {
            Trouble::Tls(_, help) => *help,
            Trouble::Late => {
                "check that the server is up and that no firewall swallows the connection"
            }
            Trouble::Refused(_) | Trouble::Broken(_) => {
                "check `server` and `tls` of the channel, and that the server is up"
            }
        };
        Failure::temporary(
            format!("cannot {step} at {}: {trouble}", self.server()),
            help,
        )
    }

    /// One mail to these addresses; what the server says of each.
    fn send(
        &self,
        message: &Message,
        to: &[&Mailbox],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mail = self.compose(message)?;
        let mut conversation = self.connect()?;
        let results = self.converse(&mut conversation, &mail, to)?;
        conversation.end();
        Ok(results)
    }

    fn converse(
        &self,
        conversation: &mut Conversation,
        mail: &[u8],
        to: &[&Mailbox],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let server = self.server();
        let from = &self.from.email;
        let mut line = format!("MAIL FROM:<{from}>");
        if !mail.is_ascii() && conversation.offer("8BITMIME").is_some() {
            line.push_str(" BODY=8BITMIME");
        }
        let utf8 = std::iter::once(from)
            .chain(to.iter().map(|mailbox| &mailbox.email))
            .any(|address| !AsRef::<str>::as_ref(address).is_ascii());
        if utf8 && conversation.offer("SMTPUTF8").is_some() {
            line.push_str(" SMTPUTF8");
        }
        conversation
            .command(&line, 250)
            .map_err(|trouble| match &trouble {
                Trouble::Refused(reply) => {
                    refusal(&format!("{server} does not take mail from {from}"), reply)
                }
                _ => self.failure("name the sender", &trouble),
            })?;
        let mut results = Vec::new();
        for mailbox in to {
            let address = &mailbox.email;
            match conversation.command(&format!("RCPT TO:<{address}>"), 250) {
                Ok(_) => results.push(Ok(())),
                Err(Trouble::Refused(reply)) => results.push(Err(refusal(
                    &format!("{server} does not take mail for {address}"),
                    &reply,
                ))),
                Err(trouble) => return Err(self.failure("name the recipients", &trouble)),
            }
        }
        if results.iter().all(Result::is_err) {
            return Ok(results);
        }
        if let Err(trouble) = conversation.data(mail) {
            let failure = match &trouble {
                Trouble::Refused(reply) => {
                    refusal(&format!("{server} does not take the mail"), reply)
                }
                _ => self.failure("hand over the mail", &trouble),
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
    if is_composed_header(name) {
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

/// The server said no (RFC 5321 section 4.2.1): 4yz may pass, 5yz will not, but for a login that is
/// missing, which is mended in the config.
fn refusal(what: &str, reply: &Reply) -> Failure {
    let why = format!("{what}: {reply}");
    match reply.code {
        530 | 534 | 535 | 538 => {
            Failure::temporary(why, "check `user`, the password and `tls` of the channel")
        }
        500.. => Failure::permanent(
            why,
            "check the addresses of the channel with who runs the mail server",
        ),
        _ => Failure::temporary(why, "nothing: it is tried again"),
    }
}

/// The least and the most that a server may take to answer.
pub(crate) const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

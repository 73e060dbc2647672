//! `[alert.to.x]` and `[alert.heartbeat]`: the channels of a config.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_base::config::{FromValue, Section, Value, one_of};
use mainstay_base::{Credential, Diagnostic, Pattern, SecretRef, Template};

use crate::config::{
    ChannelConfig, ExecConfig, HeartbeatConfig, MailConfig, Target, Tls, WebhookConfig,
};
use crate::dialect::Dialect;
use crate::mail::{TIMEOUTS, check_header};
use crate::message::When;

pub(crate) fn read_channel(name: String, mut section: Section<'_>) -> Option<ChannelConfig> {
    let text = section.value("when").filter(Value::is_str);
    let when = if let Some(text) = text {
        section.report(
            text.error("a condition is a table")
                .help("write when = { severity = \"critical\" }"),
        );
        When::default()
    } else {
        section.section("when").map(read_when).unwrap_or_default()
    };
    for dialect in Dialect::ALL {
        // A service that is known, written as if it were a channel of its own.
        if let Some(value) = section.misplaced(dialect.name()) {
            section.report(
                value
                    .error(format!("`{}` is a kind of webhook", dialect.name()))
                    .help(format!(
                        "write webhook = {{ kind = \"{}\", … }}",
                        dialect.name()
                    )),
            );
        }
    }
    let kinds = ["mail", "webhook", "exec"];
    let given = kinds
        .iter()
        .filter(|kind| section.value(kind).is_some())
        .count();
    let mail = section.section("mail").and_then(read_mail);
    let webhook = section.section("webhook").and_then(read_webhook);
    let exec = section.section("exec").and_then(read_exec);
    if given != 1 {
        section.report(
            Diagnostic::error(format!(
                "the channel `{name}` is exactly one of `mail`, `webhook` and `exec`"
            ))
            .at(section.place())
            .help(format!(
                "write mail = {{ … }}, webhook = {{ … }} or exec = {{ … }} in [{}]",
                section.path()
            )),
        );
    }
    section.finish();
    Some(ChannelConfig {
        name,
        when,
        target: mail
            .map(Target::Mail)
            .or(webhook.map(Target::Webhook))
            .or(exec.map(Target::Exec))?,
    })
}

/// A list, or a text alone for a list of one.
fn one_or_more<T: FromValue>(section: &mut Section<'_>, key: &str) -> Vec<T> {
    match section.value(key) {
        Some(value) if value.is_str() => section.get::<T>(key).into_iter().collect(),
        Some(_) => section.get::<Vec<T>>(key).unwrap_or_default(),
        None => Vec::new(),
    }
}

fn read_when(mut section: Section<'_>) -> When {
    let default = When::default();
    let when = When {
        severity: section.get("severity").unwrap_or(default.severity),
        apps: one_or_more::<String>(&mut section, "app")
            .into_iter()
            .map(Pattern::new)
            .collect(),
    };
    section.finish();
    when
}

fn missing(section: &mut Section<'_>, key: &str, form: &str) -> bool {
    let missing = section.value(key).is_none();
    if missing {
        section.report(
            Diagnostic::error(format!("`{}.{key}` is missing", section.path()))
                .at(section.place())
                .help(format!("add {form}")),
        );
    }
    missing
}

fn read_timeout(section: &mut Section<'_>, default: Duration) -> Duration {
    let Some(timeout) = section.get_spanned::<Duration>("timeout") else {
        return default;
    };
    let (least, most) = TIMEOUTS;
    if timeout.value < least || timeout.value > most {
        section.report(
            Diagnostic::error("`timeout` is from 1s to 10m")
                .at(&timeout.place)
                .help("30s is enough for most servers"),
        );
    }
    timeout.value
}

fn read_mail(mut section: Section<'_>) -> Option<MailConfig> {
    let tls = section.get::<Tls>("tls").unwrap_or(Tls::Required);
    missing(&mut section, "to", "to = [\"ops@example.com\"]");
    let to = addresses(&mut section, "to");
    missing(&mut section, "from", "from = \"mainstay@example.com\"");
    let from = addresses(&mut section, "from").into_iter().next();
    missing(&mut section, "server", "server = \"smtp.example.com:587\"");
    let server = section.value("server").and_then(|value| {
        read_server(&value, tls)
            .map_err(|diagnostic| section.report(diagnostic))
            .ok()
    });
    let user = section.get::<String>("user");
    let password = read_credential(&mut section, "password", true);
    let password_file = section
        .get::<PathBuf>("password_file")
        .map(|path| Credential::Reference(SecretRef::File(path)));
    let has_password = section.value("password").is_some();
    let has_file = section.value("password_file").is_some();
    if has_password && has_file {
        section.report(
            Diagnostic::error("`password` and `password_file` exclude each other")
                .at(section.place())
                .help("keep one of them"),
        );
    }
    if user.is_some() != (has_password || has_file) {
        section.report(
            Diagnostic::error("`user` and a password belong together")
                .at(section.place())
                .help("give both for a server with a login, none for a relay without one"),
        );
    }
    let ca = one_or_more(&mut section, "ca");
    let timeout = read_timeout(&mut section, Duration::from_secs(30));
    let subject = section.get_spanned::<String>("subject");
    if let Some(subject) = subject.as_ref().filter(|s| s.value.contains(['\r', '\n'])) {
        section.report(
            Diagnostic::error("a subject is one line")
                .at(&subject.place)
                .help("write subject = \"[shop] \""),
        );
    }
    let mut headers = Vec::new();
    if let Some(value) = section.value("headers") {
        let named = section
            .get::<BTreeMap<String, String>>("headers")
            .unwrap_or_default();
        for (name, text) in named {
            if let Err(why) = check_header(&name, &text) {
                section.report(value.error(why).help("remove or rename the header"));
            }
            headers.push((name, text));
        }
    }
    section.finish();
    let (host, port) = server?;
    Some(MailConfig {
        to,
        from: from?,
        host,
        port,
        tls,
        ca,
        user,
        password: password.or(password_file),
        timeout,
        subject: subject.map(|subject| subject.value).unwrap_or_default(),
        headers,
    })
}

/// Mail addresses, each checked; a text alone is a list of one.
fn addresses(section: &mut Section<'_>, key: &str) -> Vec<String> {
    let found = one_or_more::<String>(section, key);
    if let Some(value) = section.value(key) {
        for text in &found {
            if let Err(error) = text.parse::<lettre::message::Mailbox>() {
                section.report(
                    value
                        .error(format!("`{text}` is no mail address: {error}"))
                        .help("write ops@example.com or Ops <ops@example.com>"),
                );
            }
        }
        if found.is_empty() && value.as_array().is_ok_and(|items| items.is_empty()) {
            section.report(
                value
                    .error("it names nobody")
                    .help("name at least one address"),
            );
        }
    }
    found
}

/// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
fn read_server(value: &Value<'_>, tls: Tls) -> Result<(String, u16), Diagnostic> {
    let text = String::from_value(value)?;
    let default = match tls {
        Tls::Required | Tls::Opportunistic => 587,
        Tls::Implicit => 465,
        Tls::None => 25,
    };
    let refuse = || {
        value
            .error(format!("`{text}` is no server"))
            .help("write smtp.example.com or smtp.example.com:587")
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(refuse)?;
            (
                host,
                rest.strip_prefix(':')
                    .or(if rest.is_empty() { None } else { Some("") }),
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text.as_str(), None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| refuse())?,
        None => default,
    };
    if host.is_empty() || host.contains([' ', '/', '@']) || port == 0 {
        return Err(refuse());
    }
    Ok((host.to_owned(), port))
}

/// A secret by reference. Where `secret` is set, a text without a reference is refused: the config
/// names where secrets are, it does not hold them.
fn read_credential(section: &mut Section<'_>, key: &str, secret: bool) -> Option<Credential> {
    let value = section.value(key)?;
    let form = "write \"${secret.NAME}\" or { file = \"…\" }";
    let credential = section.get::<Credential>(key)?;
    if secret && !credential.refers() {
        section.report(
            value
                .error("a secret is never written into the config")
                .label("readable by whoever reads the config")
                .help(form),
        );
        return None;
    }
    Some(credential)
}

fn read_webhook(mut section: Section<'_>) -> Option<WebhookConfig> {
    use Dialect::{Dingtalk, Feishu, Json, Pagerduty, Telegram};
    missing(&mut section, "kind", "kind = \"slack\"");
    let dialect = section.get::<Dialect>("kind");
    // The address of these is all that it takes to post there.
    let address_is_secret = matches!(
        dialect,
        Some(
            Dialect::Slack
                | Dialect::Teams
                | Dialect::Discord
                | Dialect::Feishu
                | Dialect::Dingtalk
                | Dialect::Wecom
        )
    );
    let standard = dialect.and_then(Dialect::standard_url);
    if standard.is_none() && dialect.is_some() {
        missing(&mut section, "url", "url = { file = \"secrets/webhook\" }");
    }
    let url = read_credential(&mut section, "url", address_is_secret)
        .or_else(|| standard.map(|url| Credential::Template(Template::literal(url))));
    let token = read_credential(&mut section, "token", true);
    let secret = read_credential(&mut section, "secret", true);
    let chat = match section.value("chat") {
        Some(value) if value.is_str() => section.get::<String>("chat"),
        Some(_) => section.get::<i64>("chat").map(|id| id.to_string()),
        None => None,
    };
    for (key, kinds, form) in [
        (
            "token",
            [Telegram, Pagerduty].as_slice(),
            Some("token = { file = \"secrets/token\" }"),
        ),
        (
            "chat",
            &[Telegram],
            Some("chat = \"-1001234567890\", the id of the chat"),
        ),
        ("secret", &[Json, Feishu, Dingtalk], None),
    ] {
        let Some(dialect) = dialect else { break };
        if !kinds.contains(&dialect) {
            only_for(&mut section, key, kinds);
        } else if let Some(form) = form {
            missing(&mut section, key, form);
        }
    }
    let ca = one_or_more(&mut section, "ca");
    let timeout = read_timeout(&mut section, Duration::from_secs(30));
    section.finish();
    Some(WebhookConfig {
        dialect: dialect?,
        url: url?,
        token,
        chat: chat.unwrap_or_default(),
        secret,
        ca,
        timeout,
    })
}

fn only_for(section: &mut Section<'_>, key: &str, kinds: &[Dialect]) {
    if let Some(value) = section.value(key) {
        let names: Vec<String> = kinds
            .iter()
            .map(|kind| format!("`{}`", kind.name()))
            .collect();
        section.report(
            value
                .error(format!(
                    "only a webhook of kind {} has it",
                    names.join(" or ")
                ))
                .help("remove it, or change `kind`"),
        );
    }
}

fn read_exec(mut section: Section<'_>) -> Option<ExecConfig> {
    missing(
        &mut section,
        "command",
        "command = [\"/usr/local/bin/page\", \"--urgent\"]",
    );
    let command = section.value("command").and_then(|value| {
        read_command(&value)
            .map_err(|diagnostic| section.report(diagnostic))
            .ok()
    });
    let env = section.get_spanned::<BTreeMap<String, Template>>("env");
    if let Some(env) = &env {
        for name in env.value.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                section.report(
                    Diagnostic::error(format!("`{name}` is no name of a variable"))
                        .at(&env.place)
                        .help("write it as a program reads it, as in TOKEN = \"${secret.pager}\""),
                );
            }
        }
    }
    let env = env.map_or_else(Vec::new, |env| {
        env.value
            .into_iter()
            .map(|(name, value)| (name, Credential::Template(value)))
            .collect()
    });
    let user = section.get::<String>("user");
    let timeout = read_timeout(&mut section, Duration::from_secs(30));
    section.finish();
    Some(ExecConfig {
        command: command?,
        env,
        user,
        timeout,
    })
}

/// A list of words, or a text that is split into some.
fn read_command(value: &Value<'_>) -> Result<Vec<String>, Diagnostic> {
    let words: Vec<String> = if value.is_str() {
        shell_words::split(value.as_str()?).map_err(|_| value.error("a quote is not closed"))?
    } else {
        value
            .as_array()?
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect::<Result<_, _>>()?
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(value
            .error("it names no program")
            .help("write command = [\"/usr/local/bin/page\"]"));
    }
    if words
        .iter()
        .any(|word| word.contains("${secret.") || word.contains("${env."))
    {
        return Err(value
            .error("a command has no references in it: everybody on the host can read the arguments of a process")
            .help("hand it over in a variable, as in env = { TOKEN = \"${secret.NAME}\" }"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(value.error("an argument has no NUL in it"));
    }
    Ok(words)
}

pub(crate) fn read_heartbeat(mut section: Section<'_>) -> Option<HeartbeatConfig> {
    missing(
        &mut section,
        "url",
        "url = { file = \"secrets/heartbeat\" }",
    );
    let url = read_credential(&mut section, "url", false);
    let every = section.get_spanned::<Duration>("every");
    if let Some(every) = &every
        && !(Duration::from_secs(10)..=Duration::from_hours(24)).contains(&every.value)
    {
        section.report(
            Diagnostic::error("`every` is from 10s to 24h")
                .at(&every.place)
                .help("1m is what most services expect"),
        );
    }
    let ca = one_or_more(&mut section, "ca");
    let timeout = read_timeout(&mut section, Duration::from_secs(20));
    section.finish();
    let default = HeartbeatConfig::new(url?);
    Some(HeartbeatConfig {
        every: every.map_or(default.every, |every| every.value),
        ca,
        timeout,
        ..default
    })
}

impl FromValue for Tls {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "way to protect a connection", &Self::ALL, Self::name)
    }
}

impl FromValue for Dialect {
    fn from_value(value: &Value<'_>) -> Result<Self, Diagnostic> {
        one_of(value, "kind of webhook", &Self::ALL, Self::name)
    }
}
